//! Whether every document that the writer's schema allows is one that the reader's schema allows, as far as
//! Confluent's documented rules decide it: open and closed content models, limits, sums and products.

use serde_json::{Map, Value};

use super::{Document, limits, objects, sums};

/// What `reader` refuses of what `writer` allows.
pub(in super::super) fn unreadable(reader: &Document, writer: &Document) -> Vec<String> {
    let mut check = Containment { reader, writer, seen: Vec::new(), problems: Vec::new() };
    let (new, old) = (Place::root(reader), Place::root(writer));
    check.compare(new, old, "#");
    check.problems
}

/// A schema and the document it is in, which its `$ref`s start from.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) schema: &'a Value,
    pub(super) base: &'a Value,
}

impl<'a> Place<'a> {
    fn root(document: &'a Document) -> Self {
        Self { schema: &document.root, base: &document.root }
    }

    pub(super) fn at(self, schema: &'a Value) -> Self {
        Self { schema, ..self }
    }

    pub(super) fn get(self, keyword: &str) -> Option<Self> {
        self.schema.get(keyword).map(|schema| self.at(schema))
    }

    pub(super) fn map(self, keyword: &str) -> Option<&'a Map<String, Value>> {
        self.schema.get(keyword)?.as_object()
    }

    /// Follows `$ref`s, a bounded number of times.
    fn followed(mut self, document: &'a Document) -> Self {
        for _ in 0..32 {
            let target = self.schema.get("$ref").and_then(Value::as_str);
            match target.and_then(|target| document.find(target, self.base)) {
                Some((schema, base)) => self = Self { schema, base },
                None => break,
            }
        }
        self
    }

    /// Whether it allows everything.
    pub(super) fn allows_all(self) -> bool {
        match self.schema {
            Value::Bool(allows) => *allows,
            Value::Object(schema) => schema.keys().all(|keyword| !asserts(keyword)),
            _ => false,
        }
    }

    /// Whether it allows nothing.
    pub(super) fn allows_nothing(self) -> bool {
        *self.schema == Value::Bool(false)
    }
}

/// Whether a keyword can refuse a document; the others describe it.
fn asserts(keyword: &str) -> bool {
    const DESCRIBE: [&str; 15] = [
        "$schema",
        "$id",
        "id",
        "$comment",
        "title",
        "description",
        "default",
        "examples",
        "definitions",
        "$defs",
        "readOnly",
        "writeOnly",
        "deprecated",
        "$anchor",
        "format",
    ];
    !DESCRIBE.contains(&keyword) && !keyword.starts_with("x-") && !keyword.starts_with("connect.")
}

pub(super) struct Containment<'a> {
    reader: &'a Document,
    writer: &'a Document,
    /// Pairs that were, or are being, compared, by their addresses: what ends a recursion.
    seen: Vec<(*const Value, *const Value)>,
    problems: Vec<String>,
}

impl<'a> Containment<'a> {
    pub(super) fn compare(&mut self, reader: Place<'a>, writer: Place<'a>, path: &str) {
        let (reader, writer) = (reader.followed(self.reader), writer.followed(self.writer));
        let (reader, writer) = (sums::alone(reader), sums::alone(writer));
        let (reader, writer) = (reader.followed(self.reader), writer.followed(self.writer));
        let pair = (std::ptr::from_ref(reader.schema), std::ptr::from_ref(writer.schema));
        if reader.allows_all() || writer.allows_nothing() || self.seen.contains(&pair) {
            return;
        }
        if reader.allows_nothing() {
            return self.problem(path, "nothing is allowed any more");
        }
        self.seen.push(pair);
        if !sums::compare(self, reader, writer, path) {
            self.assertions(reader, writer, path);
        }
    }

    /// All keywords but sums and products.
    fn assertions(&mut self, reader: Place<'a>, writer: Place<'a>, path: &str) {
        for problem in limits::problems(reader.schema, writer.schema) {
            self.problem(path, &problem);
        }
        objects::properties(self, reader, writer, path);
        objects::dependencies(self, reader, writer, path);
        objects::items(self, reader, writer, path);
        match (reader.get("not"), writer.get("not")) {
            // What the reader forbids must have been forbidden: so the other way round.
            (Some(new), Some(old)) => {
                let mut turned =
                    Containment { reader: self.writer, writer: self.reader, seen: Vec::new(), problems: Vec::new() };
                turned.compare(old, new, "");
                if !turned.problems.is_empty() {
                    self.problem(path, "more is forbidden by \"not\"");
                }
            }
            (Some(_), None) => self.problem(path, "\"not\" was added"),
            (None, _) => {}
        }
    }

    /// Whether `reader` reads all of `writer`; leaves no problem behind.
    pub(super) fn reads(&mut self, reader: Place<'a>, writer: Place<'a>) -> bool {
        let (problems, seen) = (self.problems.len(), self.seen.len());
        self.compare(reader, writer, "");
        let reads = self.problems.len() == problems;
        self.problems.truncate(problems);
        if !reads {
            // What a failed attempt saw proves nothing to the next.
            self.seen.truncate(seen);
        }
        reads
    }

    pub(super) fn problem(&mut self, path: &str, why: &str) {
        self.problems.push(format!("{path}: {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RegisteredSchema, Schema};

    fn problems(reader: &str, writer: &str) -> Vec<String> {
        let parse = |text: &str| Document::parse(&RegisteredSchema::new(Schema::json(text), Vec::new())).unwrap();
        unreadable(&parse(reader), &parse(writer))
    }

    #[track_caller]
    fn reads(reader: &str, writer: &str) {
        assert_eq!(problems(reader, writer), [""; 0], "{reader} reads {writer}");
    }

    #[track_caller]
    fn refuses(reader: &str, writer: &str) {
        assert_ne!(problems(reader, writer), [""; 0], "{reader} refuses {writer}");
    }

    fn object(properties: &str, more: &str) -> String {
        format!(r#"{{"type":"object","properties":{{{properties}}}{more}}}"#)
    }

    const CLOSED: &str = r#","additionalProperties":false"#;
    const STRINGS: &str = r#","additionalProperties":{"type":"string"}"#;

    #[test]
    fn an_open_content_model_takes_no_new_property_and_gives_any_up() {
        let (without, with) = (object("", ""), object(r#""a":{"type":"string"}"#, ""));
        refuses(&with, &without);
        reads(&without, &with);
        reads(&object(r#""a":{}"#, ""), &without);
        reads(&object(r#""a":true"#, ""), &without);
    }

    #[test]
    fn a_closed_content_model_takes_optional_properties_and_gives_none_up() {
        let (without, with) = (object("", CLOSED), object(r#""a":{"type":"string"}"#, CLOSED));
        reads(&with, &without);
        refuses(&without, &with);
        refuses(&object(r#""a":{"type":"string"}"#, &format!(r#"{CLOSED},"required":["a"]"#)), &without);
        let with_default = object(r#""a":{"type":"string","default":""}"#, &format!(r#"{CLOSED},"required":["a"]"#));
        reads(&with_default, &without);
        reads(&without, &object(r#""a":false"#, CLOSED));
    }

    #[test]
    fn a_partially_open_content_model_takes_what_it_covers() {
        let without = object("", STRINGS);
        reads(&object(r#""a":{"type":"string"}"#, STRINGS), &without);
        refuses(&object(r#""a":{"type":"integer"}"#, STRINGS), &without);
        reads(&without, &object(r#""a":{"type":"string"}"#, STRINGS));
        refuses(&without, &object(r#""a":{"type":"integer"}"#, STRINGS));
        let pattern = object("", r#","patternProperties":{"^s_":{"type":"string"}},"additionalProperties":false"#);
        let with = |name: &str| {
            let more = r#","patternProperties":{"^s_":{"type":"string"}},"additionalProperties":false"#;
            object(&format!(r#""{name}":{{"type":"integer"}}"#), more)
        };
        refuses(&with("s_a"), &pattern);
        reads(&with("a"), &pattern);
    }

    #[test]
    fn opening_is_compatible_and_closing_is_not() {
        reads(&object("", ""), &object("", CLOSED));
        reads(&object("", STRINGS), &object("", CLOSED));
        reads(&object("", ""), &object("", STRINGS));
        refuses(&object("", CLOSED), &object("", ""));
        refuses(&object("", STRINGS), &object("", ""));
    }

    #[test]
    fn required_may_go_and_may_not_come_without_a_default() {
        let a = |more: &str| object(r#""a":{"type":"string"}"#, more);
        reads(&a(""), &a(r#","required":["a"]"#));
        refuses(&a(r#","required":["a"]"#), &a(""));
        reads(&object(r#""a":{"type":"string","default":"x"}"#, r#","required":["a"]"#), &a(""));
    }

    #[test]
    fn types_may_widen() {
        reads(r#"{"type":"number"}"#, r#"{"type":"integer"}"#);
        refuses(r#"{"type":"integer"}"#, r#"{"type":"number"}"#);
        refuses(r#"{"type":"string"}"#, r#"{"type":"integer"}"#);
        reads(r#"{"type":["string","null"]}"#, r#"{"type":"string"}"#);
        refuses(r#"{"type":"string"}"#, r#"{"type":["string","null"]}"#);
        reads("true", r#"{"type":"string"}"#);
        refuses(r#"{"type":"string"}"#, "{}");
        reads(r#"{"type":"string","title":"b"}"#, r#"{"type":"string","title":"a"}"#);
    }

    #[test]
    fn sums_may_grow_and_products_may_shrink() {
        let (s, i, b) = (r#"{"type":"string"}"#, r#"{"type":"integer"}"#, r#"{"type":"boolean"}"#);
        for of in ["oneOf", "anyOf"] {
            let two = format!(r#"{{"{of}":[{s},{i}]}}"#);
            let three = format!(r#"{{"{of}":[{b},{i},{s}]}}"#);
            reads(&three, &two);
            refuses(&two, &three);
            reads(&two, s);
            refuses(s, &two);
            refuses(&two, b);
            reads(r#"{"type":["integer","string"]}"#, &two);
        }
        let limit = |limits: &str| format!(r#"{{"allOf":[{{"type":"integer"}}{limits}]}}"#);
        reads(&limit(""), &limit(r#",{"maximum":5}"#));
        refuses(&limit(r#",{"maximum":5}"#), &limit(""));
        reads(&format!(r#"{{"anyOf":[{s},{i}]}}"#), &format!(r#"{{"oneOf":[{s},{i}]}}"#));
        refuses(&format!(r#"{{"oneOf":[{s},{i}]}}"#), &format!(r#"{{"anyOf":[{s},{i}]}}"#));
        reads(&format!(r#"{{"oneOf":[{s}]}}"#), s);
        reads(s, &format!(r#"{{"allOf":[{s}]}}"#));
    }

    #[test]
    fn each_branch_that_is_written_needs_a_branch_of_its_own() {
        let (a, b) = (r#"{"type":"string","maxLength":5}"#, r#"{"type":"string","maxLength":9}"#);
        reads(&format!(r#"{{"oneOf":[{b},{a}]}}"#), &format!(r#"{{"oneOf":[{a},{b}]}}"#));
        refuses(&format!(r#"{{"oneOf":[{a},{{"type":"null"}}]}}"#), &format!(r#"{{"oneOf":[{a},{b}]}}"#));
    }

    #[test]
    fn not_may_forbid_less() {
        reads(r#"{"not":{"type":"integer"}}"#, r#"{"not":{"type":"number"}}"#);
        refuses(r#"{"not":{"type":"number"}}"#, r#"{"not":{"type":"integer"}}"#);
        refuses(r#"{"not":{"type":"number"}}"#, "{}");
    }

    #[test]
    fn arrays_follow_their_items_and_content_model() {
        let list = |items: &str| format!(r#"{{"type":"array","items":{items}}}"#);
        reads(&list(r#"{"type":"number"}"#), &list(r#"{"type":"integer"}"#));
        refuses(&list(r#"{"type":"integer"}"#), &list(r#"{"type":"number"}"#));
        reads(r#"{"type":"array"}"#, &list(r#"{"type":"integer"}"#));
        refuses(&list(r#"{"type":"integer"}"#), r#"{"type":"array"}"#);
        let one = r#"{"type":"array","items":[{"type":"integer"}],"additionalItems":false}"#;
        let two = r#"{"type":"array","items":[{"type":"integer"},{"type":"string"}],"additionalItems":false}"#;
        reads(two, one);
        refuses(one, two);
        let open = r#"{"type":"array","prefixItems":[{"type":"integer"}]}"#;
        let open_two = r#"{"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}]}"#;
        reads(open, open_two);
        refuses(open_two, open);
    }

    #[test]
    fn dependencies_may_shrink() {
        let with = |names: &str| format!(r#"{{"type":"object","dependencies":{{"a":[{names}]}}}}"#);
        reads(&with(r#""b""#), &with(r#""b","c""#));
        refuses(&with(r#""b","c""#), &with(r#""b""#));
        reads(r#"{"type":"object"}"#, &with(r#""b""#));
        refuses(&with(r#""b""#), r#"{"type":"object"}"#);
    }

    #[test]
    fn references_are_followed_also_in_circles() {
        let list = |of: &str| {
            format!(
                r##"{{"$ref":"#/definitions/list","definitions":{{"list":{{"type":"object","properties":{{
                    "value":{{"type":"{of}"}},"next":{{"$ref":"#/definitions/list"}}}}}}}}}}"##
            )
        };
        reads(&list("number"), &list("integer"));
        refuses(&list("integer"), &list("number"));
        let own = r##"{"type":"object","properties":{"next":{"$ref":"#"}}}"##;
        reads(own, own);
        let itself = r##"{"$ref":"#"}"##;
        reads(itself, itself);
    }
}

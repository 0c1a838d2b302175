//! Objects and arrays: content models.

use serde_json::Value;

use super::containment::{Containment, Place};

/// What an object or array may hold beside what is named.
enum Rest<'a> {
    /// Anything.
    Open,
    /// What this schema allows.
    Partially(Place<'a>),
    /// Nothing.
    Closed,
}

fn rest<'a>(place: Place<'a>, keyword: &str) -> Rest<'a> {
    match place.get(keyword) {
        None => Rest::Open,
        Some(rest) if *rest.schema == Value::Bool(true) => Rest::Open,
        Some(rest) if rest.allows_nothing() => Rest::Closed,
        Some(rest) => Rest::Partially(rest),
    }
}

/// What a property that is not named may be.
fn unnamed<'a>(place: Place<'a>, name: &str) -> Rest<'a> {
    for (pattern, schema) in place.map("patternProperties").into_iter().flatten() {
        // A pattern in a dialect of its own covers nothing.
        if regex_lite::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(name)) {
            return Rest::Partially(place.at(schema));
        }
    }
    rest(place, "additionalProperties")
}

fn requires(place: Place<'_>, name: &str) -> bool {
    let required = place.schema.get("required").and_then(Value::as_array);
    required.into_iter().flatten().any(|required| required == name)
}

pub(super) fn properties<'a>(check: &mut Containment<'a>, reader: Place<'a>, writer: Place<'a>, path: &str) {
    let (new, old) = (reader.map("properties"), writer.map("properties"));
    let find =
        |properties: Option<&'a serde_json::Map<String, Value>>, name: &str| properties.and_then(|all| all.get(name));
    for (name, was) in old.into_iter().flatten() {
        let path = format!("{path}/properties/{name}");
        match find(new, name) {
            Some(is) => {
                if requires(reader, name) && !requires(writer, name) && is.get("default").is_none() {
                    check.problem(&path, "it became required, and has no default");
                }
                check.compare(reader.at(is), writer.at(was), &path);
            }
            None => removed(check, unnamed(reader, name), writer.at(was), &path),
        }
    }
    for (name, is) in new.into_iter().flatten() {
        if find(old, name).is_none() {
            let path = format!("{path}/properties/{name}");
            added(check, reader.at(is), unnamed(writer, name), requires(reader, name), &path);
        }
    }
    let at = format!("{path}/patternProperties");
    for (pattern, is) in reader.map("patternProperties").into_iter().flatten() {
        if let Some(was) = find(writer.map("patternProperties"), pattern) {
            check.compare(reader.at(is), writer.at(was), &format!("{at}/{pattern}"));
        }
    }
    let (new, old) = (rest(reader, "additionalProperties"), rest(writer, "additionalProperties"));
    compare_rest(check, new, old, &format!("{path}/additionalProperties"));
}

fn removed<'a>(check: &mut Containment<'a>, rest: Rest<'a>, was: Place<'a>, path: &str) {
    match rest {
        Rest::Open => {}
        Rest::Partially(covers) => check.compare(covers, was, path),
        Rest::Closed if was.allows_nothing() => {}
        Rest::Closed => check.problem(path, "it was removed from a closed content model"),
    }
}

fn added<'a>(check: &mut Containment<'a>, is: Place<'a>, rest: Rest<'a>, required: bool, path: &str) {
    match rest {
        // A record written before may hold anything under this name.
        Rest::Open if !is.allows_all() => {
            return check.problem(path, "it was added to an open content model");
        }
        Rest::Open => return,
        Rest::Partially(covers) => check.compare(is, covers, path),
        Rest::Closed => {}
    }
    if required && is.schema.get("default").is_none() {
        check.problem(path, "it was added as required, and has no default");
    }
}

fn compare_rest<'a>(check: &mut Containment<'a>, reader: Rest<'a>, writer: Rest<'a>, path: &str) {
    match (reader, writer) {
        (Rest::Open, _) | (_, Rest::Closed) => {}
        (Rest::Partially(new), Rest::Partially(old)) => check.compare(new, old, path),
        (Rest::Partially(new), Rest::Open) if new.allows_all() => {}
        (Rest::Partially(_), Rest::Open) => check.problem(path, "less is allowed"),
        (Rest::Closed, _) => check.problem(path, "nothing more is allowed, and something was"),
    }
}

pub(super) fn dependencies<'a>(check: &mut Containment<'a>, reader: Place<'a>, writer: Place<'a>, path: &str) {
    for keyword in ["dependencies", "dependentRequired", "dependentSchemas"] {
        for (name, is) in reader.map(keyword).into_iter().flatten() {
            let path = format!("{path}/{keyword}/{name}");
            let was = writer.map(keyword).and_then(|all| all.get(name));
            match (is.as_array(), was.map(|was| (was, was.as_array()))) {
                (_, None) => check.problem(&path, "it was added"),
                (Some(is), Some((_, Some(was)))) => {
                    if !is.iter().all(|name| was.contains(name)) {
                        check.problem(&path, "more is required");
                    }
                }
                (None, Some((was, None))) => check.compare(reader.at(is), writer.at(was), &path),
                _ => check.problem(&path, "it is another kind of dependency"),
            }
        }
    }
}

/// The items with a place of their own, and what the others may be.
fn tuple(place: Place<'_>) -> (&[Value], Rest<'_>) {
    let list = |keyword| place.schema.get(keyword).and_then(Value::as_array);
    match (list("prefixItems"), list("items")) {
        (Some(first), _) => (first, rest(place, "items")),
        (None, Some(first)) => (first, rest(place, "additionalItems")),
        (None, None) => (&[], rest(place, "items")),
    }
}

pub(super) fn items<'a>(check: &mut Containment<'a>, reader: Place<'a>, writer: Place<'a>, path: &str) {
    let ((new, new_rest), (old, old_rest)) = (tuple(reader), tuple(writer));
    for i in 0..new.len().max(old.len()) {
        let path = format!("{path}/items/{i}");
        match (new.get(i), old.get(i)) {
            (Some(is), Some(was)) => check.compare(reader.at(is), writer.at(was), &path),
            (None, Some(was)) => removed(check, tuple(reader).1, writer.at(was), &path),
            (Some(is), None) => added(check, reader.at(is), tuple(writer).1, false, &path),
            (None, None) => {}
        }
    }
    compare_rest(check, new_rest, old_rest, &format!("{path}/items"));
}

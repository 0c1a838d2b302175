//! Keywords with one value: types, values, limits.

use serde_json::{Number, Value};

/// What one-valued keywords of `reader` refuse of what `writer` allows.
pub(super) fn problems(reader: &Value, writer: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    problems.extend(types(reader, writer));
    problems.extend(values(reader, writer));
    for keyword in ["maxLength", "maxItems", "maxProperties"] {
        problems.extend(limit(keyword, number(reader, keyword), number(writer, keyword), |new, old| new >= old));
    }
    for keyword in ["minLength", "minItems", "minProperties"] {
        // Not less than nothing is no limit.
        let new = number(reader, keyword).filter(|least| *least > 0.0);
        problems.extend(limit(keyword, new, number(writer, keyword), |new, old| new <= old));
    }
    problems.extend(limit("maximum", upper(reader), upper(writer), |(new, open), (old, was_open)| {
        new > old || (new == old && (!open || was_open))
    }));
    problems.extend(limit("minimum", lower(reader), lower(writer), |(new, open), (old, was_open)| {
        new < old || (new == old && (!open || was_open))
    }));
    let whole = |quotient: f64| (quotient - quotient.round()).abs() < 1e-9;
    let multiples = |of: &Value| number(of, "multipleOf");
    problems.extend(limit("multipleOf", multiples(reader), multiples(writer), |new, old| whole(old / new)));
    problems.extend(limit("pattern", reader.get("pattern"), writer.get("pattern"), |new, old| new == old));
    let unique = |of: &Value| of.get("uniqueItems").and_then(Value::as_bool).filter(|unique| *unique);
    problems.extend(limit("uniqueItems", unique(reader), unique(writer), |_, _| true));
    problems
}

/// A limit may go or loosen, and may not come or tighten.
fn limit<T>(keyword: &str, reader: Option<T>, writer: Option<T>, loose: impl FnOnce(T, T) -> bool) -> Option<String> {
    match (reader, writer) {
        (None, _) => None,
        (Some(_), None) => Some(format!("{keyword} was added")),
        (Some(new), Some(old)) => (!loose(new, old)).then(|| format!("{keyword} allows less")),
    }
}

fn types(reader: &Value, writer: &Value) -> Option<String> {
    let new = names(reader)?;
    let Some(old) = names(writer) else {
        // The values themselves may say their types.
        let fits = |value: &Value| new.iter().any(|name| is(value, name));
        return match allowed(writer) {
            Some(values) if values.iter().all(|value| fits(value)) => None,
            _ => Some(format!("only {} is allowed, and everything was", new.join(", "))),
        };
    };
    let reads = |old: &&str| new.iter().any(|new| new == old || (*new == "number" && *old == "integer"));
    let lost: Vec<&str> = old.iter().filter(|old| !reads(old)).copied().collect();
    (!lost.is_empty()).then(|| format!("type {} is not allowed any more", lost.join(", ")))
}

fn names(schema: &Value) -> Option<Vec<&str>> {
    match schema.get("type")? {
        Value::String(name) => Some(vec![name]),
        Value::Array(names) => Some(names.iter().filter_map(Value::as_str).collect()),
        _ => None,
    }
}

fn is(value: &Value, name: &str) -> bool {
    match value {
        Value::Null => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::Number(number) => name == "number" || (name == "integer" && !number.is_f64()),
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
    }
}

fn values(reader: &Value, writer: &Value) -> Option<String> {
    let new = allowed(reader)?;
    let Some(old) = allowed(writer) else { return Some("enum or const was added".to_owned()) };
    let lost: Vec<String> = old.iter().filter(|value| !new.contains(value)).map(|value| value.to_string()).collect();
    (!lost.is_empty()).then(|| format!("{} is not allowed any more", lost.join(", ")))
}

/// The values of `enum` or `const`.
fn allowed(schema: &Value) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(Value::Array(values))) => Some(values.iter().collect()),
        _ => None,
    }
}

fn number(schema: &Value, keyword: &str) -> Option<f64> {
    schema.get(keyword).and_then(Value::as_number).and_then(Number::as_f64)
}

/// The highest value, and whether it is itself out: draft 4 says that beside it, later drafts by another keyword.
fn upper(schema: &Value) -> Option<(f64, bool)> {
    bound(schema, "maximum", "exclusiveMaximum", |a, b| a < b)
}

fn lower(schema: &Value) -> Option<(f64, bool)> {
    bound(schema, "minimum", "exclusiveMinimum", |a, b| a > b)
}

fn bound(schema: &Value, closed: &str, open: &str, tighter: fn(f64, f64) -> bool) -> Option<(f64, bool)> {
    let beside = schema.get(open).and_then(Value::as_bool).unwrap_or(false);
    let at = number(schema, closed).map(|at| (at, beside));
    let own = number(schema, open).map(|at| (at, true));
    match (at, own) {
        (Some((a, _)), Some((b, _))) if tighter(a, b) => at,
        (_, Some(_)) => own,
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_may_loosen_and_not_tighten() {
        for (loose, tight) in [
            (json!({"maxLength": 5}), json!({"maxLength": 4})),
            (json!({"minLength": 4}), json!({"minLength": 5})),
            (json!({"maxItems": 5}), json!({"maxItems": 4})),
            (json!({"minItems": 4}), json!({"minItems": 5})),
            (json!({"maxProperties": 5}), json!({"maxProperties": 4})),
            (json!({"minProperties": 4}), json!({"minProperties": 5})),
            (json!({"maximum": 5}), json!({"maximum": 4.5})),
            (json!({"minimum": -5}), json!({"minimum": -4})),
            (json!({"maximum": 5}), json!({"exclusiveMaximum": 5})),
            (json!({"minimum": 5}), json!({"minimum": 5, "exclusiveMinimum": true})),
            (json!({"multipleOf": 5}), json!({"multipleOf": 10})),
            (json!({"multipleOf": 0.1}), json!({"multipleOf": 0.3})),
            (json!({"enum": ["a", "b"]}), json!({"enum": ["a"]})),
            (json!({"enum": ["a", "b"]}), json!({"const": "b"})),
            (json!({}), json!({"pattern": "^a"})),
            (json!({}), json!({"uniqueItems": true})),
            (json!({"type": "string"}), json!({"enum": ["a"]})),
        ] {
            assert_eq!(problems(&loose, &tight), [""; 0], "{loose} reads {tight}");
            assert_eq!(problems(&tight, &tight), [""; 0], "{tight} reads itself");
            assert_ne!(problems(&tight, &loose), [""; 0], "{tight} refuses {loose}");
            assert_ne!(problems(&tight, &json!({})), [""; 0], "{tight} refuses everything");
        }
        assert_eq!(problems(&json!({"minLength": 0}), &json!({})), [""; 0], "no limit at all");
        assert_ne!(problems(&json!({"pattern": "a"}), &json!({"pattern": "b"})), [""; 0]);
    }
}

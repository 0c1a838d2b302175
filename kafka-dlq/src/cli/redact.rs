//! What must not be seen: its length stands in its place.

use serde_json::Value;

/// How long it is; null stays null.
pub(super) fn length(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "null".to_owned(), |bytes| format!("<{} bytes>", bytes.len()))
}

/// The value without what stands in fields of these names, however deep.
pub(super) fn redacted(value: Value, names: &[String]) -> Value {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (String, Value)| match names.contains(&name) {
                true => (name, hidden(&value)),
                false => (name, redacted(value, names)),
            };
            fields.into_iter().map(field).collect()
        }
        Value::Array(values) => values.into_iter().map(|value| redacted(value, names)).collect(),
        other => other,
    }
}

/// That there is something, and how long it is as text or as JSON; null tells nothing.
fn hidden(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) => length(Some(text.as_bytes())).into(),
        other => length(Some(other.to_string().as_bytes())).into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_hidden_however_deep_and_all_else_is_shown() {
        let value = json!({"id": 7, "email": "a@b.example", "lines": [{"email": null, "card": {"number": 4711}}]});
        let names = ["email".to_owned(), "card".to_owned()];
        let shown = json!({"id": 7, "email": "<11 bytes>", "lines": [{"email": null, "card": "<15 bytes>"}]});
        assert_eq!(redacted(value, &names), shown);
    }
}

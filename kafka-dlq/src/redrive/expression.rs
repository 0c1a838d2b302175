//! jq expressions over dead letters and their values, by `jaq`.
//!
//! What an expression sees of a dead letter, for selecting:
//!
//! ```text
//! { value, key, headers: {name: value}, reason, class, message, trace, group, attempts, dialect,
//!   source: {topic, partition, offset}, topic, partition, offset, timestamp_ms }
//! ```
//!
//! A value or key is JSON where it is JSON, else text, else null. For transforming, its input is the value alone, and all of
//! the above is `$letter`.

use std::sync::Arc;

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::{Val, read};
use kafka_client::serde::Part;
use kafka_client::{BoxError, RawRecord};
use serde_json::{Value, json};

use super::select::Selection;
use crate::dead_letter::DeadLetter;
use crate::error::{Error, ErrorKind};
use crate::values::Values;

/// How many outputs are looked at: one more than there may be.
const MOST_OUTPUTS: usize = 2;

/// The dead letter, to expressions that change its value.
const LETTER: &str = "$letter";

/// What an expression is given of a value, and makes of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum As {
    /// What the bytes say, which have to be JSON, or of a known schema.
    Value,
    /// The bytes as text, whatever they are; a text that comes out is the bytes.
    Text,
}

/// An expression, compiled once.
#[derive(Clone)]
pub(crate) struct Expression {
    text: Arc<str>,
    /// Whether it looks at the dead letter, which takes longer than most values.
    sees_letter: bool,
    filter: Arc<jaq_core::compile::Filter<jaq_core::Native<data::JustLut<Val>>>>,
}

impl Expression {
    /// # Errors
    /// [`ErrorKind::Expression`] tells what cannot be read.
    pub(crate) fn new(text: &str) -> Result<Self, Error> {
        let wrong = |what: String| Error::new(ErrorKind::Expression, format!("the expression {text:?}: {what}"));
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let defs = defs.filter(|def| !def.name.starts_with("halt"));
        let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        // An expression is about a record: it ends no process, and reads no secrets of the environment.
        let funs = funs.filter(|(name, ..)| !["halt", "env"].contains(name));
        let arena = Arena::default();
        let modules = Loader::new(defs)
            .load(&arena, File { code: text, path: () })
            .map_err(|errors| wrong(format!("cannot be read: {:?}", errors.first().map(|(_, error)| error))))?;
        let filter = Compiler::default()
            .with_funs(funs)
            .with_global_vars([LETTER])
            .compile(modules)
            .map_err(|errors| wrong(format!("is not known: {:?}", errors.first().map(|(_, error)| error))))?;
        Ok(Self { text: text.into(), sees_letter: text.contains(LETTER), filter: Arc::new(filter) })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What it makes of `input`; the first two of its outputs.
    fn outputs(&self, input: Val, letter: Val) -> Result<Vec<Val>, BoxError> {
        let context = Ctx::<data::JustLut<Val>>::new(&self.filter.lut, Vars::new([letter]));
        let run = self.filter.id.run((context, input)).map(unwrap_valr);
        run.take(MOST_OUTPUTS).map(|one| one.map_err(|error| BoxError::from(error.to_string()))).collect()
    }

    /// Whether its first output is neither false nor null. One that fails on a record does not hold.
    pub(crate) fn holds(&self, letter: &DeadLetter<'_>, values: Option<&Values>) -> bool {
        let seen = seen(letter, values).to_string();
        let Ok(input) = read::parse_single(seen.as_bytes()) else { return false };
        let letter = if self.sees_letter { input.clone() } else { Val::Null };
        let outputs = self.outputs(input, letter).unwrap_or_default();
        outputs.first().is_some_and(|first| !matches!(first, Val::Null | Val::Bool(false)))
    }

    /// What it makes of the value of a dead letter: bytes, a tombstone for null, nothing for no output.
    fn changed(
        &self,
        letter: &DeadLetter<'_>,
        decoded: Option<&Value>,
        values: Option<&Values>,
        how: As,
    ) -> Result<Option<Option<Vec<u8>>>, BoxError> {
        let of_json = |json: &[u8]| read::parse_single(json).map_err(|error| format!("the value is no JSON: {error}"));
        let input = match (letter.record().value, decoded) {
            (Some(value), _) if how == As::Text => {
                of_json(Value::from(String::from_utf8_lossy(value)).to_string().as_bytes())?
            }
            (_, Some(decoded)) => of_json(decoded.to_string().as_bytes())?,
            (Some(value), None) => of_json(value)?,
            (None, None) => Val::Null,
        };
        let seen = match self.sees_letter {
            true => of_json(seen(letter, values).to_string().as_bytes())?,
            false => Val::Null,
        };
        let outputs = self.outputs(input, seen)?;
        match outputs.as_slice() {
            [] => Ok(None),
            [Val::Null] => Ok(Some(None)),
            [Val::TStr(text)] if how == As::Text => Ok(Some(Some(text.to_vec()))),
            [one] => Ok(Some(Some(one.to_string().into_bytes()))),
            _ => Err("the expression makes more than one value of it".into()),
        }
    }
}

/// What an expression sees of a dead letter.
pub(crate) fn seen(letter: &DeadLetter<'_>, values: Option<&Values>) -> Value {
    let (record, origin) = (letter.record(), letter.origin());
    let mut headers = serde_json::Map::new();
    record.headers.for_each(|name, value| {
        let value = value.map_or(Value::Null, |value| String::from_utf8_lossy(value).into());
        headers.insert(String::from_utf8_lossy(name).into_owned(), value);
    });
    let decoded = |bytes, part| {
        let by_schema = values.and_then(|values| values.decoded(bytes, record.topic, part));
        by_schema.unwrap_or_else(|| decoded(bytes))
    };
    json!({
        "value": decoded(record.value, Part::Value),
        "key": decoded(record.key, Part::Key),
        "headers": headers,
        "reason": letter.reason(),
        "class": letter.class(),
        "message": letter.message(),
        "trace": letter.trace(),
        "group": letter.group(),
        "attempts": letter.attempts(),
        "dialect": letter.dialect().map(|dialect| dialect.name()),
        "source": { "topic": origin.topic, "partition": origin.partition, "offset": origin.offset },
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
    })
}

fn decoded(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    serde_json::from_slice(bytes)
        .ok()
        .or_else(|| std::str::from_utf8(bytes).ok().map(Value::from))
        .unwrap_or(Value::Null)
}

impl Selection {
    /// Those for which this jq expression holds: whose first output is neither false nor null.
    ///
    /// It sees `value`, `key`, `headers`, `reason`, `class`, `message`, `trace`, `group`, `attempts`, `dialect`, `source`,
    /// `topic`, `partition`, `offset` and `timestamp_ms`. A value or key is what its schema says, where the job has a
    /// [registry](super::Redrive::registry); else JSON where it is JSON, else text, else null.
    ///
    /// # Errors
    /// [`ErrorKind::Expression`] for a text that is no expression.
    ///
    /// ```
    /// # use kafka_dlq::Selection;
    /// let large = Selection::all().jq(".value.amount > 100 and .source.topic == \"orders\"")?;
    /// # Ok::<(), kafka_dlq::Error>(())
    /// ```
    pub fn jq(self, expression: &str) -> Result<Self, Error> {
        let expression = Expression::new(expression)?;
        let text = expression.text().to_owned();
        Ok(self.expression(text, move |letter, values| expression.holds(letter, values)))
    }
}

impl super::Redrive {
    /// Changes the value of each record by a jq expression over it, which must be JSON, or be decoded by the job's
    /// [registry](Self::registry), and is written as the newest schema of its target then. Null makes a tombstone; no output
    /// (`empty`) leaves the dead letter, and so does a failure. `$letter` is what [`Selection::jq`] sees of the dead letter.
    ///
    /// # Errors
    /// [`ErrorKind::Expression`] for a text that is no expression.
    ///
    /// ```
    /// # use kafka_client::Kafka;
    /// # use kafka_dlq::Redrive;
    /// # fn example(kafka: Kafka) -> Result<(), kafka_dlq::Error> {
    /// let mended = Redrive::new(&kafka, "orders.dlq").transform_jq(".amount |= tonumber | .customer = $letter.key")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn transform_jq(mut self, expression: &str) -> Result<Self, Error> {
        let expression = Expression::new(expression)?;
        self.orders.changes = Some(expression.text().to_owned());
        self.orders.transform =
            Some(Arc::new(move |letter: &DeadLetter<'_>, mut record: RawRecord, values: Option<&Values>| {
                let value = record.value.as_deref();
                let decoded = values.and_then(|values| values.decoded(value, letter.record().topic, Part::Value));
                let changed = expression.changed(letter, decoded.as_ref(), values, As::Value)?;
                let Some(changed) = changed else { return Ok(None) };
                record.value = match (changed, values) {
                    (Some(json), Some(values)) if decoded.is_some() => {
                        Some(values.written(serde_json::from_slice(&json)?, value, record.topic())?)
                    }
                    (changed, _) => changed,
                };
                Ok(Some(record))
            }));
        Ok(self)
    }

    /// Changes the value of each record by a jq expression over its text: for values that are no JSON, and are to become
    /// some. What is no UTF-8 of it is U+FFFD there. A text that comes out is the new value as it is, all else as JSON; null
    /// makes a tombstone, and no output, or a failure, leaves the dead letter. `$letter` is as for
    /// [`transform_jq`](Self::transform_jq), in whose place this stands.
    ///
    /// # Errors
    /// [`ErrorKind::Expression`] for a text that is no expression.
    ///
    /// ```
    /// # use kafka_client::Kafka;
    /// # use kafka_dlq::Redrive;
    /// # fn example(kafka: Kafka) -> Result<(), kafka_dlq::Error> {
    /// let closed = Redrive::new(&kafka, "orders.dlq").transform_text_jq(r#". + "}""#)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn transform_text_jq(mut self, expression: &str) -> Result<Self, Error> {
        let expression = Expression::new(expression)?;
        self.orders.changes = Some(format!("text: {}", expression.text()));
        self.orders.transform =
            Some(Arc::new(move |letter: &DeadLetter<'_>, mut record: RawRecord, values: Option<&Values>| {
                let Some(changed) = expression.changed(letter, None, values, As::Text)? else { return Ok(None) };
                record.value = changed;
                Ok(Some(record))
            }));
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(expression: &str, value: &[u8], how: As) -> Result<Option<Option<Vec<u8>>>, BoxError> {
        let mut record = RawRecord::new("orders.dlq", Some(b"o-1".to_vec()), Some(value.to_vec()));
        record.headers.push("tag", "a");
        Expression::new(expression).unwrap().changed(&DeadLetter::of(&record), None, None, how)
    }

    fn changed(expression: &str, value: &str) -> Option<Option<String>> {
        let changed = outcome(expression, value.as_bytes(), As::Value).unwrap();
        changed.map(|value| value.map(|value| String::from_utf8(value).unwrap()))
    }

    #[test]
    fn a_text_is_mended_whatever_it_is() {
        let text = |expression, value: &[u8]| {
            outcome(expression, value, As::Text).unwrap().flatten().map(|value| String::from_utf8(value).unwrap())
        };
        assert_eq!(text(r#". + "}""#, br#"{"id":1"#).as_deref(), Some(r#"{"id":1}"#));
        assert_eq!(text(r#"gsub("\ufffd"; "")"#, b"caf\xff\xfee").as_deref(), Some("cafe"));
        assert_eq!(text(r#"{text: .}"#, b"a\"b").as_deref(), Some(r#"{"text":"a\"b"}"#));
        assert_eq!(text("null", b"a"), None);
        assert_eq!(outcome("empty", b"a", As::Text).unwrap(), None);
    }

    #[test]
    fn what_is_missing_can_be_taken_from_the_dead_letter() {
        assert_eq!(
            changed(".id = $letter.key | .tag = $letter.headers.tag", "{}"),
            Some(Some(r#"{"id":"o-1","tag":"a"}"#.into()))
        );
        assert!(Expression::new(".id = $other").is_err());
    }

    #[test]
    fn values_are_changed() {
        assert_eq!(changed(".amount |= tonumber", r#"{"amount":"12"}"#), Some(Some(r#"{"amount":12}"#.into())));
        assert_eq!(changed("null", "{}"), Some(None));
        assert_eq!(changed("empty", "{}"), None);
        assert!(outcome(".a, .b", b"{}", As::Value).is_err());
        assert!(outcome(".", b"\xff", As::Value).is_err());
        // A large number keeps its digits.
        assert_eq!(changed(".", "12345678901234567890123"), Some(Some("12345678901234567890123".into())));
    }

    #[test]
    fn a_dead_letter_is_seen_as_described() {
        let mut record = RawRecord::new("orders.dlq", None, Some(br#"{"amount":150}"#.to_vec()));
        record.headers.push("__connect.errors.topic", "orders");
        let letter = DeadLetter::of(&record);
        let holds = |text| Expression::new(text).unwrap().holds(&letter, None);
        assert!(holds(r#".value.amount > 100 and .source.topic == "orders" and .dialect == "connect""#));
        assert!(!holds(".value.amount > 200") && !holds(".value.nothing.there") && !holds(".value | error"));
    }

    #[test]
    fn what_is_no_expression_is_an_error_and_an_endless_one_ends() {
        assert_eq!(Expression::new(".a[").err().map(|error| error.kind()), Some(ErrorKind::Expression));
        assert_eq!(Expression::new("nonsense(1)").err().map(|error| error.kind()), Some(ErrorKind::Expression));
        assert!(outcome("repeat(1)", b"1", As::Value).is_err());
    }
}

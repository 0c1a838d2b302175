//! The subject that a schema is registered under.

use std::fmt;
use std::sync::Arc;

use crate::{Error, ErrorKind, Part};

/// Names a subject from topic, half of the record, and the record type's full name where the schema has one.
type Namer = dyn Fn(&str, Part, Option<&str>) -> String + Send + Sync;

/// How the subject of a schema is called, as `value.subject.name.strategy` does.
///
/// ```
/// use kafka_serde::{Part, SubjectName};
///
/// let name = |by: SubjectName| by.subject("orders", Part::Value, Some("shop.Order"));
/// assert_eq!(name(SubjectName::Topic)?, "orders-value");
/// assert_eq!(name(SubjectName::Record)?, "shop.Order");
/// assert_eq!(name(SubjectName::TopicRecord)?, "orders-shop.Order");
/// assert_eq!(name(SubjectName::custom(|topic, _, _| format!("eu.{topic}")))?, "eu.orders");
/// # Ok::<(), kafka_serde::Error>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum SubjectName {
    /// `orders-key`, `orders-value`: one type a topic. The default.
    #[default]
    Topic,
    /// The record type's full name: one evolution of a type, whatever the topic.
    Record,
    /// Topic and full name, `orders-shop.Order`: several types in a topic, each with its own evolution.
    TopicRecord,
    /// Whatever a function says.
    Custom(Arc<Namer>),
}

impl SubjectName {
    /// Names the subject by a function of topic, half of the record, and the record type's full name where it has one.
    pub fn custom(name: impl Fn(&str, Part, Option<&str>) -> String + Send + Sync + 'static) -> Self {
        Self::Custom(Arc::new(name))
    }

    /// The subject for one half of the records of `topic`; `record` is the full name of an Avro record or Protobuf
    /// message, or the title of a JSON Schema.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSchema`] when the name is made of the record type's name and the schema has none, as
    /// a top-level `string` has none, or when the function names nothing.
    pub fn subject(&self, topic: &str, part: Part, record: Option<&str>) -> Result<String, Error> {
        let named = || {
            record.filter(|name| !name.is_empty()).ok_or_else(|| {
                let message = "the subject is named after the record type, and this schema names none; \
                               name the subject by topic";
                Error::new(ErrorKind::InvalidSchema, message).at(topic, part)
            })
        };
        match self {
            Self::Topic => Ok(format!("{topic}-{part}")),
            Self::Record => Ok(named()?.to_owned()),
            Self::TopicRecord => Ok(format!("{topic}-{}", named()?)),
            Self::Custom(name) => match name(topic, part, record) {
                empty if empty.is_empty() => {
                    Err(Error::new(ErrorKind::InvalidSchema, "the subject's name is empty").at(topic, part))
                }
                subject => Ok(subject),
            },
        }
    }
}

impl fmt::Debug for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Topic => "Topic",
            Self::Record => "Record",
            Self::TopicRecord => "TopicRecord",
            Self::Custom(_) => "Custom",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_have_different_subjects() {
        assert_eq!(SubjectName::Topic.subject("orders", Part::Key, None).unwrap(), "orders-key");
        assert_eq!(SubjectName::Topic.subject("orders", Part::Value, None).unwrap(), "orders-value");
    }

    #[test]
    fn a_schema_without_a_name_cannot_name_a_subject() {
        for by in [SubjectName::Record, SubjectName::TopicRecord] {
            let error = by.subject("orders", Part::Value, None).unwrap_err();
            assert_eq!((error.kind(), error.topic()), (ErrorKind::InvalidSchema, Some("orders")));
        }
        let empty = SubjectName::custom(|_, _, _| String::new());
        assert!(empty.subject("orders", Part::Value, None).is_err());
    }
}

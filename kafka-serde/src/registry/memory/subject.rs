//! Subjects with their contexts: `orders-value` is in the default one, `:.eu:orders-value` in `.eu`.

use std::fmt;

/// The default context.
pub(super) const DEFAULT: &str = ".";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subject {
    /// With its dot.
    pub(super) context: String,
    /// Empty where the context itself is meant.
    pub(super) name: String,
}

impl Subject {
    /// Reads a subject as requests name it; without a context of its own it is in `parent`.
    pub(super) fn read(text: &str, parent: &str) -> Self {
        let qualified = text.strip_prefix(":.").and_then(|rest| rest.split_once(':'));
        let (context, name) = match qualified {
            Some((context, name)) => (format!(".{context}"), name),
            None => (parent.to_owned(), text),
        };
        Self { context, name: name.to_owned() }
    }

    pub(super) fn of_default(text: &str) -> Self {
        Self::read(text, DEFAULT)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.context.as_str() {
            DEFAULT => f.write_str(&self.name),
            context => write!(f, ":{context}:{}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_part_of_the_name() {
        for (text, context, name) in [
            ("orders", ".", "orders"),
            (":.eu:orders", ".eu", "orders"),
            (":.eu:", ".eu", ""),
            (":.:orders", ".", "orders"),
            (":odd", ".", ":odd"),
            (":.eu:a:b", ".eu", "a:b"),
        ] {
            let subject = Subject::of_default(text);
            assert_eq!((subject.context.as_str(), subject.name.as_str()), (context, name), "{text}");
        }
        assert_eq!(Subject::read("orders", ".eu").to_string(), ":.eu:orders");
        assert_eq!(Subject::of_default(":.:orders").to_string(), "orders");
    }
}

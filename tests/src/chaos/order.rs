//! What a member process is to do: names and values, as one line of text.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use super::ledger::Pen;
use super::protocol::Protocol;

/// The sign beside the ledger that what members depend on is down.
pub(super) const DOWN: &str = "down";

/// An order to a member process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order(BTreeMap<String, String>);

impl Order {
    /// Adds to the order.
    ///
    /// # Panics
    ///
    /// If the value has a space or an equals sign.
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        let value = value.to_string();
        assert!(!value.contains([' ', '=']), "no value for an order: {value}");
        self.0.insert(name.to_owned(), value);
        self
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Self {
        let pair = |word: &str| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self(text.split(' ').filter_map(pair).collect())
    }

    /// What it says about this, if anything.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// What it says about this.
    ///
    /// # Panics
    ///
    /// If it says nothing.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("the order does not say {name}: {self}"))
    }

    /// A number, if it says one.
    ///
    /// # Panics
    ///
    /// If it says something else.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
    }

    /// A time, which is told in milliseconds.
    ///
    /// # Panics
    ///
    /// If it says something else.
    pub fn time(&self, name: &str) -> Option<Duration> {
        self.number(name).map(Duration::from_millis)
    }

    /// The session of the group's members.
    ///
    /// # Panics
    ///
    /// If it does not say.
    pub fn session(&self) -> Duration {
        self.time("session").unwrap_or_else(|| panic!("the order does not say session: {self}"))
    }

    /// The group's protocol.
    ///
    /// # Panics
    ///
    /// If it does not say.
    pub fn protocol(&self) -> Protocol {
        Protocol::named(self.text("protocol"))
    }

    /// Whether what the member depends on is down now.
    pub fn is_down(&self) -> bool {
        self.get("ledger").is_some_and(|ledger| Path::new(ledger).with_file_name(DOWN).exists())
    }

    /// A pen for the ledger it names, and the member that it names.
    ///
    /// # Panics
    ///
    /// If it names none, or the file cannot be opened.
    pub fn pen(&self) -> Pen {
        let by = char::from_str(self.text("by")).unwrap_or_else(|_| panic!("a member has one letter: {self}"));
        Pen::open(Path::new(self.text("ledger")), by)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_arrives_as_it_was_given() {
        let order = Order::default().with("topic", "orders").with("session", 3_000);
        let arrived = Order::parse(&order.to_string());
        assert_eq!(arrived, order);
        assert_eq!((arrived.text("topic"), arrived.session()), ("orders", Duration::from_secs(3)));
        assert_eq!(arrived.get("group"), None);
    }
}

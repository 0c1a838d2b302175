//! What the name of a topic tells about what it holds. A guess, from the conventions of the frameworks.

/// What a topic holds, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicKind {
    /// Dead letters: `orders-dlt`, `orders.DLQ`, `dead-letter-topic-orders`.
    DeadLetters,
    /// Records that wait for another attempt: `orders-retry-0`, `orders.retry`.
    Retries,
    /// Kafka's or Kafka Streams' own: `__consumer_offsets`, `app-store-changelog`, `app-key-repartition`.
    Internal,
    /// Anything else.
    Ordinary,
}

impl TopicKind {
    /// Guesses by the words of the name, which is split at everything that is neither letter nor digit.
    ///
    /// ```
    /// # use kafka_dlq::TopicKind;
    /// assert_eq!(TopicKind::of("orders-retry-dlt"), TopicKind::DeadLetters);
    /// assert_eq!(TopicKind::of("orders-retry-1000"), TopicKind::Retries);
    /// assert_eq!(TopicKind::of("deadlines"), TopicKind::Ordinary);
    /// ```
    pub fn of(topic: &str) -> Self {
        if topic.starts_with("__") || topic.ends_with("-repartition") || topic.ends_with("-changelog") {
            return Self::Internal;
        }
        let (mut dead, mut retries, mut before) = (false, false, "");
        for word in topic.split(|letter: char| !letter.is_ascii_alphanumeric()) {
            let is = |other: &str| word.eq_ignore_ascii_case(other);
            dead |= ["dlt", "dlq", "deadletter", "deadletters", "poison", "parking"].iter().any(|other| is(other));
            dead |= before.eq_ignore_ascii_case("dead") && (is("letter") || is("letters"));
            retries |= is("retry") || is("retries");
            before = word;
        }
        match (dead, retries) {
            (true, _) => Self::DeadLetters,
            (false, true) => Self::Retries,
            (false, false) => Self::Ordinary,
        }
    }
}

/// How a place from which a record was dead-lettered follows another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// It is where the earlier failure had put the record: a dead-letter or retry topic.
    Moved,
    /// It is the same topic: the record was sent back with its headers, and failed again.
    SentBack,
}

/// How `later` follows `earlier`; `None` where it does not: what tells of `earlier` came with the data (a stream processor
/// hands headers on to records that are new).
pub(crate) fn link(later: &str, earlier: &str) -> Option<Link> {
    if later == earlier {
        return Some(Link::SentBack);
    }
    let moved = match TopicKind::of(later) {
        TopicKind::DeadLetters | TopicKind::Retries => true,
        // A suffix of somebody's own: `orders` and `orders-failed`.
        TopicKind::Ordinary => {
            later.strip_prefix(earlier).is_some_and(|rest| rest.starts_with(|next: char| !next.is_alphanumeric()))
        }
        TopicKind::Internal => false,
    };
    moved.then_some(Link::Moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conventions_of_the_frameworks_are_known() {
        for name in ["orders-dlt", "orders.DLT", "dead-letter-topic-orders", "DLQ", "orders_dlq_v2", "a-retry-dlt"] {
            assert_eq!(TopicKind::of(name), TopicKind::DeadLetters, "{name}");
        }
        for name in ["orders-retry", "orders-retry-0", "orders_retry_5000", "billing.retries"] {
            assert_eq!(TopicKind::of(name), TopicKind::Retries, "{name}");
        }
        for name in ["orders", "deadlines", "entry", "dead.poets", "", "---"] {
            assert_eq!(TopicKind::of(name), TopicKind::Ordinary, "{name}");
        }
        for name in ["__consumer_offsets", "app-KSTREAM-0003-repartition", "app-store-changelog"] {
            assert_eq!(TopicKind::of(name), TopicKind::Internal, "{name}");
        }
    }

    #[test]
    fn a_topic_that_has_nothing_to_do_with_the_earlier_one_does_not_follow_it() {
        assert_eq!(link("orders-dlt", "orders"), Some(Link::Moved));
        assert_eq!(link("orders", "orders"), Some(Link::SentBack));
        assert_eq!(link("orders-failed", "orders"), Some(Link::Moved));
        assert_eq!(link("invoices", "orders"), None);
        assert_eq!(link("ordersheet", "orders"), None);
    }
}

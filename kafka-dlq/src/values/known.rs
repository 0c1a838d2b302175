//! What a registry has said about topics and schemas: read by every decision, replaced as a whole when something is learned.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kafka_client::serde::{Part, RegisteredSchema};

/// How many answers are remembered; with more, it starts again.
const MOST: usize = 10_000;

#[derive(Clone, Default)]
pub(super) struct Known {
    topics: HashMap<Arc<str>, Subjects>,
    /// Ids that the registry does not know: bytes that look like one.
    unknown: HashSet<i32>,
    answers: usize,
}

/// What the two subjects of a topic say.
#[derive(Clone, Default)]
struct Subjects {
    key: HashMap<Option<i32>, Result<Fits, String>>,
    value: HashMap<Option<i32>, Result<Fits, String>>,
    /// The newest schema of its values; `Some(None)` where there is no such subject.
    newest: Option<Option<Arc<RegisteredSchema>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fits {
    /// The subject has schemas, and this one is among them, or could be.
    Checked,
    /// There is no such subject: its topic takes any bytes.
    Anything,
}

#[derive(Clone)]
pub(super) enum Learned {
    Unknown(i32),
    /// Whether a schema fits a topic's subject, or why not.
    Fits(String, Part, Option<i32>, Result<Fits, String>),
    Newest(String, Option<Arc<RegisteredSchema>>),
}

impl Known {
    pub(super) fn is_unknown(&self, id: i32) -> bool {
        self.unknown.contains(&id)
    }

    pub(super) fn newest(&self, topic: &str) -> Option<&Option<Arc<RegisteredSchema>>> {
        self.topics.get(topic)?.newest.as_ref()
    }

    pub(super) fn fits(&self, topic: &str, part: Part, id: Option<i32>) -> Option<&Result<Fits, String>> {
        let subjects = self.topics.get(topic)?;
        let by_id = if part == Part::Key { &subjects.key } else { &subjects.value };
        by_id.get(&id)
    }

    /// The same, and what was learned.
    pub(super) fn with(&self, learned: &[Learned]) -> Self {
        let mut known = self.clone();
        learned.iter().cloned().for_each(|learned| known.learn(learned));
        known
    }

    fn learn(&mut self, learned: Learned) {
        if self.answers >= MOST {
            *self = Self::default();
        }
        self.answers += 1;
        match learned {
            Learned::Unknown(id) => drop(self.unknown.insert(id)),
            Learned::Newest(topic, newest) => self.subjects(&topic).newest = Some(newest),
            Learned::Fits(topic, part, id, fits) => {
                let subjects = self.subjects(&topic);
                let by_id = if part == Part::Key { &mut subjects.key } else { &mut subjects.value };
                by_id.insert(id, fits);
            }
        }
    }

    fn subjects(&mut self, topic: &str) -> &mut Subjects {
        self.topics.entry(topic.into()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_of_a_topic_is_known_of_that_half_and_id_alone() {
        let learned = [
            Learned::Fits("orders".into(), Part::Value, Some(7), Ok(Fits::Checked)),
            Learned::Fits("orders".into(), Part::Key, None, Err("no".into())),
            Learned::Newest("refunds".into(), None),
            Learned::Unknown(9),
        ];
        let known = Known::default().with(&learned);
        assert_eq!(known.fits("orders", Part::Value, Some(7)), Some(&Ok(Fits::Checked)));
        assert_eq!(known.fits("orders", Part::Key, None), Some(&Err("no".into())));
        for (topic, part, id) in [
            ("orders", Part::Key, Some(7)),
            ("orders", Part::Value, None),
            ("orders", Part::Value, Some(8)),
            ("refunds", Part::Value, Some(7)),
        ] {
            assert_eq!(known.fits(topic, part, id), None);
        }
        assert!(known.newest("refunds").is_some_and(Option::is_none) && known.newest("orders").is_none());
        assert!(known.is_unknown(9) && !known.is_unknown(7));
    }

    #[test]
    fn it_holds_no_more_answers_than_it_may() {
        let learned = Vec::from_iter((0..25_000).map(Learned::Unknown));
        let known = Known::default().with(&learned);
        assert!(known.unknown.len() <= MOST && known.is_unknown(24_999));
    }
}

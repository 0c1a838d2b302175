//! What is next for a topic, decided from what was found. Asks nobody.

use super::{Ensured, TopicChange, TopicSpec};
use crate::native::admin::Found;
use crate::{Error, ErrorKind};

/// One topic on its way to be as it should.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) spec: TopicSpec,
    /// As last seen; `None`: not there.
    pub(super) found: Option<Found>,
    /// Whether the stated configuration was compared.
    pub(super) checked: bool,
    /// What this call has done to it.
    pub(super) change: Option<TopicChange>,
}

/// What is next for a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Create,
    /// Compare its configuration.
    Check,
    Grow,
    /// Look again.
    Wait,
    Done,
}

impl Progress {
    pub(super) fn new(spec: TopicSpec) -> Self {
        Self { spec, found: None, checked: false, change: None }
    }

    /// Decides what is next; the error says how an existing topic differs.
    pub(super) fn next(&self) -> Result<Step, Error> {
        let Some(found) = &self.found else {
            // What this call has created becomes visible in a moment.
            return Ok(if self.change.is_none() { Step::Create } else { Step::Wait });
        };
        let created = self.change == Some(TopicChange::Created);
        self.check_replication(found)?;
        Ok(match self.change {
            _ if !created && !self.checked && !self.spec.config.is_empty() => Step::Check,
            None if found.partitions < self.spec.partitions => Step::Grow,
            Some(_) if found.partitions < self.spec.partitions || found.leaderless > 0 => Step::Wait,
            _ => Step::Done,
        })
    }

    fn check_replication(&self, found: &Found) -> Result<(), Error> {
        match self.spec.replication {
            Some(wanted) if wanted != found.replication => {
                Err(self.mismatch(&[difference("replication factor", &found.replication, &wanted)]))
            }
            _ => Ok(()),
        }
    }

    /// Compares the stated configuration with what is in force.
    pub(super) fn check_config(&mut self, config: &[(String, Option<String>)]) -> Result<(), Error> {
        let mut differences = Vec::new();
        for (key, wanted) in &self.spec.config {
            let Some((_, found)) = config.iter().find(|(name, _)| name == key) else {
                let text = format!("`{key}` is no configuration of a topic");
                return Err(Error::config(text).with_topic(&self.spec.name));
            };
            let found = found.as_deref().unwrap_or_default();
            if !same_value(found, wanted) {
                differences.push(difference(&format!("`{key}`"), &found, wanted));
            }
        }
        self.checked = true;
        match differences.is_empty() {
            true => Ok(()),
            false => Err(self.mismatch(&differences)),
        }
    }

    fn mismatch(&self, differences: &[String]) -> Error {
        let text = format!("the topic exists, but {}", differences.join("; "));
        Error::new(ErrorKind::Mismatch, text).with_topic(&self.spec.name)
    }

    /// Why it is not as it should be yet.
    pub(super) fn describe(&self) -> String {
        match &self.found {
            None => "it is not visible yet".to_owned(),
            Some(found) if found.partitions < self.spec.partitions => {
                format!("it has {} of {} partitions", found.partitions, self.spec.partitions)
            }
            Some(found) => format!("{} of {} partitions have no leader yet", found.leaderless, found.partitions),
        }
    }

    pub(super) fn into_ensured(self) -> Ensured {
        let partitions = self.found.map_or(self.spec.partitions, |found| found.partitions);
        Ensured { name: self.spec.name, partitions, change: self.change.unwrap_or(TopicChange::Unchanged) }
    }
}

fn difference(what: &str, found: &dyn std::fmt::Display, wanted: &dyn std::fmt::Display) -> String {
    format!("{what} is {found}, wanted {wanted}")
}

/// Lists may be written in any order and with spaces.
fn same_value(found: &str, wanted: &str) -> bool {
    let parts = |value: &str| {
        let mut parts: Vec<String> = value.split(',').map(|part| part.trim().to_owned()).collect();
        parts.sort_unstable();
        parts
    };
    found == wanted || parts(found) == parts(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(partitions: i32, leaderless: i32) -> Option<Found> {
        Some(Found { partitions, replication: 3, leaderless, operations: None })
    }

    fn progress(spec: TopicSpec, found: Option<Found>, change: Option<TopicChange>) -> Progress {
        Progress { spec, found, checked: false, change }
    }

    fn six() -> TopicSpec {
        TopicSpec::new("orders", 6)
    }

    const GROWN: TopicChange = TopicChange::Grown { from: 2 };

    #[test]
    fn a_topic_is_created_grown_awaited_or_done() {
        for (found, change, step) in [
            (None, None, Step::Create),
            (None, Some(TopicChange::Created), Step::Wait),
            (None, Some(GROWN), Step::Wait),
            (topic(2, 0), None, Step::Grow),
            (topic(2, 0), Some(GROWN), Step::Wait),
            (topic(2, 0), Some(TopicChange::Created), Step::Wait),
            (topic(6, 1), Some(TopicChange::Created), Step::Wait),
            (topic(6, 1), Some(GROWN), Step::Wait),
            (topic(6, 0), Some(TopicChange::Created), Step::Done),
            (topic(6, 0), Some(GROWN), Step::Done),
            (topic(6, 0), None, Step::Done),
            (topic(9, 0), None, Step::Done),
            // An old topic may be without a leader for long; that is not what was asked.
            (topic(6, 6), None, Step::Done),
        ] {
            let progress = progress(six(), found, change);
            assert_eq!(progress.next().unwrap(), step, "{progress:?}");
        }
    }

    #[test]
    fn the_configuration_is_compared_before_anything_is_changed() {
        let spec = six().config("retention.ms", "1");
        let mut progress = progress(spec, topic(2, 0), None);
        assert_eq!(progress.next().unwrap(), Step::Check);
        progress.check_config(&[("retention.ms".into(), Some("1".into()))]).unwrap();
        assert_eq!(progress.next().unwrap(), Step::Grow);
    }

    #[test]
    fn what_this_call_has_created_is_not_compared() {
        let created = progress(six().config("retention.ms", "1"), topic(6, 0), Some(TopicChange::Created));
        assert_eq!(created.next().unwrap(), Step::Done);
    }

    #[test]
    fn a_mismatch_names_topic_key_wanted_and_found() {
        let spec = six().config("retention.ms", "1").config("cleanup.policy", "compact").config("segment.ms", "7");
        let mut existing = progress(spec, topic(6, 0), None);
        let config = [("retention.ms", "604800000"), ("segment.ms", "7"), ("cleanup.policy", "delete")]
            .map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
        let error = existing.check_config(&config).unwrap_err().with_operation("ensure topics");
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        assert_eq!(error.topic(), Some("orders"));
        assert_eq!(
            error.to_string(),
            "ensure topics failed for orders: the topic exists, but `retention.ms` is 604800000, wanted 1; \
             `cleanup.policy` is delete, wanted compact"
        );
    }

    #[test]
    fn a_stated_replication_factor_is_compared() {
        assert_eq!(progress(six().replication(3), topic(6, 0), None).next().unwrap(), Step::Done);
        let error = progress(six().replication(2), topic(6, 0), None).next().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        assert_eq!(error.to_string(), "the topic exists, but replication factor is 3, wanted 2");
    }

    #[test]
    fn an_unknown_configuration_is_named() {
        let mut existing = progress(six().config("retention.msec", "1"), topic(6, 0), None);
        let error = existing.check_config(&[("retention.ms".into(), Some("1".into()))]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.to_string(), "`retention.msec` is no configuration of a topic");
    }

    #[test]
    fn lists_are_compared_as_lists() {
        assert!(same_value("compact,delete", "delete, compact"));
        assert!(same_value("1", "1"));
        assert!(!same_value("1", "10"));
        assert!(!same_value("compact", "compact,delete"));
        assert!(!same_value("", "compact"));
    }

    #[test]
    fn the_outcome_tells_what_this_call_has_done() {
        for (change, told) in [(None, TopicChange::Unchanged), (Some(GROWN), GROWN)] {
            let ensured = progress(six(), topic(9, 0), change).into_ensured();
            assert_eq!((ensured.name(), ensured.partitions(), ensured.change()), ("orders", 9, told));
        }
    }
}

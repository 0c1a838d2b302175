//! `Refused` remembers for a while what a registry refused, so that a stream of bad records does not become a stream
//! of requests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::failure::Failure;
use super::known::Place;
use crate::{Schema, SchemaChoice, SchemaId};

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    Id(SchemaId),
    Version(Place),
    Choice(Arc<str>, Schema, SchemaChoice),
}

/// At most `capacity` refusals, each for `lifetime`. Outages are not remembered: they may be over the next moment.
pub(crate) struct Refused {
    known: Mutex<HashMap<Question, (Failure, Instant)>>,
    capacity: usize,
    lifetime: Duration,
}

impl Refused {
    pub(crate) fn new(capacity: usize, lifetime: Duration) -> Self {
        Self { known: Mutex::new(HashMap::new()), capacity: capacity.max(1), lifetime }
    }

    pub(crate) fn get(&self, question: &Question, now: Instant) -> Option<Failure> {
        let known = self.known.lock();
        let (failure, at) = known.get(question)?;
        (now.duration_since(*at) < self.lifetime).then(|| failure.clone())
    }

    pub(crate) fn remember(&self, question: Question, failure: &Failure, now: Instant) {
        if !failure.is_answer() || self.lifetime.is_zero() {
            return;
        }
        let mut known = self.known.lock();
        if known.len() >= self.capacity {
            known.retain(|_, (_, at)| now.duration_since(*at) < self.lifetime);
        }
        if known.len() >= self.capacity {
            // All are fresh: as many different bad questions as there is room for. Whichever goes is asked again.
            known.clear();
        }
        known.insert(question, (failure.clone(), now));
    }

    pub(crate) fn clear(&self) {
        self.known.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn question(id: i32) -> Question {
        Question::Id(SchemaId::Id(id))
    }

    #[test]
    fn a_refusal_is_forgotten_after_its_lifetime() {
        let refused = Refused::new(10, Duration::from_secs(10));
        let now = Instant::now();
        refused.remember(question(1), &Failure::new(ErrorKind::SchemaNotFound, "no"), now);
        assert!(refused.get(&question(1), now + Duration::from_secs(9)).is_some());
        assert!(refused.get(&question(1), now + Duration::from_secs(10)).is_none());
    }

    #[test]
    fn an_outage_is_not_remembered() {
        let refused = Refused::new(10, Duration::from_secs(10));
        let now = Instant::now();
        for kind in [ErrorKind::RegistryUnavailable, ErrorKind::RegistryAnswer, ErrorKind::AccessDenied] {
            refused.remember(question(1), &Failure::new(kind, "down"), now);
        }
        assert!(refused.get(&question(1), now).is_none());
    }

    #[test]
    fn there_is_a_bound() {
        let refused = Refused::new(10, Duration::from_secs(10));
        let now = Instant::now();
        for id in 0..1_000 {
            refused.remember(question(id), &Failure::new(ErrorKind::SchemaNotFound, "no"), now);
        }
        assert!(refused.known.lock().len() <= 10);
        assert!(refused.get(&question(999), now).is_some());
    }
}

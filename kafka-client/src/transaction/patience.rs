//! How a session goes on after failures: how much it dares, for how long it waits, and when it gives up. Pure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::failure::Cause;
use crate::consumer::Source;
use crate::error::{Error, ErrorKind};

/// The first pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The first pause before a new producer; it doubles.
const FIRST_REBUILD: Duration = Duration::from_millis(100);
/// The pause where another producer has taken the id: a broker that is asked for it while a transaction is open has that
/// aborted and is asked again, so that a new transaction meanwhile would be in the other's way, and be fenced once more.
const AFTER_FENCED: Duration = Duration::from_secs(1);
/// How often a producer is built anew before a transaction is committed.
const MOST_REBUILDS: u32 = 5;
/// In how many times a transaction's timeout a producer comes back twice, at most, after another one of the same id has
/// replaced it without its having been late. It does, since the other may be an old instance that is about to end, and
/// twice, since one that begins while a transaction is open takes the id twice: to have that aborted, and for itself. Two
/// that are meant to run replace each other each time that one of them commits, and would for ever.
const RETURNS_WITHIN: u32 = 2;

pub(crate) struct Patience {
    /// How large a transaction may be when nothing fails.
    records: usize,
    attempts: u32,
    /// How large it may be now: halved by each failure of the processing, doubled by each commit. So what fails is alone
    /// after a few tries, and the others are not held up.
    most: usize,
    suspect: Option<Suspect>,
    undone: u32,
    rebuilds: u32,
    /// The last two returns, the later one first.
    returned: [Option<Instant>; 2],
    returns_within: Duration,
    gives_up: bool,
}

/// The record that failed alone.
struct Suspect {
    topic: Arc<str>,
    partition: i32,
    offset: i64,
    failures: u32,
    error: Error,
}

/// What to do after a transaction was undone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Again(Duration),
    Stop,
}

impl Patience {
    pub(crate) fn new(records: usize, attempts: u32, timeout: Duration) -> Self {
        Self {
            records,
            attempts,
            most: records,
            suspect: None,
            undone: 0,
            rebuilds: 0,
            returned: [None; 2],
            returns_within: timeout * RETURNS_WITHIN,
            gives_up: false,
        }
    }

    /// How many records a transaction may have now.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Whether a record is being looked for that fails: its bytes will be wanted.
    pub(crate) fn isolates(&self) -> bool {
        self.most < self.records || self.suspect.is_some()
    }

    /// The processing of a batch has failed: of so many records, of one that was alone, and whether its bytes are at hand.
    pub(crate) fn failed(&mut self, count: usize, only: Option<(Source, i64)>, has_bytes: bool, error: &Error) {
        // A partition that has moved is nobody's fault.
        if error.kind() == ErrorKind::Fenced {
            return;
        }
        self.most = (count / 2).max(1);
        if let Some((source, offset)) = only.filter(|_| has_bytes) {
            self.failed_alone(source.topic(), source.partition(), offset, error);
        }
    }

    fn failed_alone(&mut self, topic: &Arc<str>, partition: i32, offset: i64, error: &Error) {
        let before = self.suspect.take().filter(|one| one.is(topic, partition, offset)).map_or(0, |one| one.failures);
        let (topic, error) = (topic.clone(), error.clone());
        self.suspect = Some(Suspect { topic, partition, offset, failures: before + 1, error });
    }

    /// Whether a record has failed too often.
    pub(crate) fn has_given_up(&self, source: &Source, offset: i64) -> bool {
        self.is_hopeless(source.topic(), source.partition(), offset)
    }

    fn is_hopeless(&self, topic: &str, partition: i32, offset: i64) -> bool {
        let hopeless = self.suspect.as_ref().filter(|one| one.failures >= self.attempts);
        hopeless.is_some_and(|one| one.is(topic, partition, offset))
    }

    /// With which error it failed the last time.
    pub(crate) fn last_error(&self) -> Error {
        match &self.suspect {
            Some(suspect) => suspect.error.clone(),
            None => Error::new(ErrorKind::Handler, "the processing failed"),
        }
    }

    /// What had failed too often is out of the way, if the transaction is committed.
    pub(crate) fn buried(&mut self) {
        self.most = self.most.max(2);
    }

    /// Nobody takes what failed too often.
    pub(crate) fn give_up(&mut self) {
        self.gives_up = true;
    }

    pub(crate) fn committed(&mut self) {
        self.most = (self.most * 2).min(self.records);
        (self.undone, self.rebuilds) = (0, 0);
        if self.most == self.records {
            self.suspect = None;
        }
    }

    pub(crate) fn undone(&mut self, error: &Error) -> Verdict {
        if self.gives_up || error.kind() == ErrorKind::Denied {
            return Verdict::Stop;
        }
        let pause = FIRST_PAUSE * 2u32.pow(self.undone.min(10));
        self.undone += 1;
        Verdict::Again(pause.min(LONGEST_PAUSE))
    }

    /// How long to wait before a new producer; `None` when there is to be none.
    pub(crate) fn rebuild(&mut self, cause: Cause, now: Instant) -> Option<Duration> {
        match cause {
            Cause::Hopeless => return None,
            Cause::Fenced if self.returned[1].is_some_and(|at| now.duration_since(at) < self.returns_within) => {
                return None;
            }
            Cause::Fenced => {
                self.returned = [Some(now), self.returned[0]];
                return Some(AFTER_FENCED);
            }
            Cause::Expired | Cause::Broken if self.rebuilds >= MOST_REBUILDS => return None,
            Cause::Expired | Cause::Broken => self.rebuilds += 1,
        }
        Some(FIRST_REBUILD * 2u32.pow(self.rebuilds))
    }
}

impl Suspect {
    fn is(&self, topic: &str, partition: i32, offset: i64) -> bool {
        *self.topic == *topic && self.partition == partition && self.offset == offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn error() -> Error {
        Error::new(ErrorKind::Handler, "no")
    }

    #[test]
    fn a_failing_record_is_alone_after_as_many_tries_as_the_batch_halves() {
        let mut patience = Patience::new(1_024, 3, TIMEOUT);
        let mut tries = 0;
        while patience.most() > 1 {
            patience.failed(patience.most(), None, false, &error());
            tries += 1;
        }
        assert_eq!(tries, 10);
        assert!(patience.isolates());
        for _ in 0..10 {
            patience.committed();
        }
        assert_eq!((patience.most(), patience.isolates()), (1_024, false));
    }

    #[test]
    fn a_record_that_fails_alone_is_given_up_after_its_attempts_and_no_other_is() {
        let mut patience = Patience::new(10, 3, TIMEOUT);
        let topic = Arc::from("orders");
        for failures in 0..3 {
            assert!(!patience.is_hopeless("orders", 1, 7), "after {failures}");
            patience.failed_alone(&topic, 1, 7, &error());
        }
        assert!(patience.is_hopeless("orders", 1, 7));
        assert!(!patience.is_hopeless("orders", 1, 8) && !patience.is_hopeless("orders", 2, 7));
    }

    #[test]
    fn pauses_grow_to_a_bound_and_begin_again_after_a_commit() {
        let mut patience = Patience::new(10, 3, TIMEOUT);
        let pauses: Vec<_> = (0..12).map(|_| patience.undone(&error())).collect();
        assert_eq!(pauses[0], Verdict::Again(FIRST_PAUSE));
        assert_eq!(pauses[11], Verdict::Again(LONGEST_PAUSE));
        patience.committed();
        assert_eq!(patience.undone(&error()), Verdict::Again(FIRST_PAUSE));
    }

    #[test]
    fn what_is_denied_is_not_tried_again() {
        let mut patience = Patience::new(10, 3, TIMEOUT);
        assert_eq!(patience.undone(&Error::new(ErrorKind::Denied, "no")), Verdict::Stop);
    }

    #[test]
    fn a_producer_comes_back_twice_against_another_and_a_few_times_against_bad_luck() {
        let mut patience = Patience::new(10, 3, TIMEOUT);
        let now = Instant::now();
        assert!(patience.rebuild(Cause::Fenced, now).is_some());
        assert!(patience.rebuild(Cause::Fenced, now).is_some());
        assert_eq!((0..9).filter_map(|_| patience.rebuild(Cause::Expired, now)).count(), MOST_REBUILDS as usize);
        assert!(patience.rebuild(Cause::Hopeless, now).is_none());
        patience.committed();
        assert!(patience.rebuild(Cause::Broken, now).is_some());
        // The other instance commits as well.
        assert!(patience.rebuild(Cause::Fenced, now + TIMEOUT).is_none());
        assert!(patience.rebuild(Cause::Fenced, now + 2 * TIMEOUT).is_some());
    }
}

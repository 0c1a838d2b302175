//! Transactions one call at a time, on a thread that may block.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::failure::{Cause, Ended, Failure};
use crate::error::{Error, ErrorKind};
use crate::native::{Code, Membership, NativeError, Partitions};
use crate::producer::Producer;

/// One step of waiting for acknowledgements.
const STEP: Duration = Duration::from_millis(100);
/// How long an abort waits for records to be acknowledged first. librdkafka loses the transaction for good where it
/// aborts one whose first request is still on its way (its issue 4849).
const BEFORE_ABORT: Duration = Duration::from_millis(500);
/// Between two tries of a call that may be made again.
const PAUSE: Duration = Duration::from_millis(10);
/// How many times the timeout of a transaction the first call may be tried: its coordinator may be coming up.
const MOST_TIMEOUTS: u32 = 3;

/// Offsets that become part of a transaction, and the membership under which their records were read.
pub(crate) struct Offsets {
    pub(crate) list: Partitions,
    pub(crate) membership: Arc<Membership>,
}

/// A producer and its transaction.
pub(super) struct Stage {
    producer: Producer,
    id: Arc<str>,
    timeout: Duration,
    /// Since when a transaction is open.
    open: Option<Instant>,
    ended: Option<Ended>,
}

impl Stage {
    pub(super) fn new(producer: Producer, id: Arc<str>, timeout: Duration) -> Self {
        Self { producer, id, timeout, open: None, ended: None }
    }

    /// Makes this the only producer of its id.
    pub(super) fn init(&mut self) -> Result<(), Failure> {
        let since = Instant::now();
        loop {
            match self.producer.client().init_transactions() {
                Ok(()) => return Ok(()),
                Err(error) if error.retriable && since.elapsed() < self.timeout * MOST_TIMEOUTS => thread::sleep(PAUSE),
                Err(error) => return Err(self.end(error, "begin transactions")),
            }
        }
    }

    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        // What a caller has dropped was aborted, or is now.
        self.abort()?;
        self.settle();
        match self.producer.client().begin_transaction() {
            Ok(()) => {
                self.open = Some(Instant::now());
                Ok(())
            }
            Err(error) => Err(self.end(error, "begin transaction")),
        }
    }

    /// Commits what was sent, together with offsets. Asks `valid` before it is too late.
    pub(super) fn commit(&mut self, offsets: Vec<Offsets>, valid: impl Fn() -> bool) -> Result<(), Failure> {
        self.usable()?;
        self.acknowledged()?;
        for offsets in offsets {
            if !offsets.membership.is_bound() {
                let text = "the consumer is no member of its group now";
                return Err(self.abort_because(Error::new(ErrorKind::Fenced, text)));
            }
            self.still(&valid)?;
            self.send_offsets(&offsets)?;
        }
        self.still(&valid)?;
        self.end_by_commit()
    }

    fn still(&mut self, valid: &impl Fn() -> bool) -> Result<(), Failure> {
        match valid() {
            true => Ok(()),
            false => {
                let text = "a partition that was read from has moved to another member";
                Err(self.abort_because(Error::new(ErrorKind::Fenced, text)))
            }
        }
    }

    /// Waits for the answer to every record. Offsets that are sent before that wait for a retry.
    fn acknowledged(&mut self) -> Result<(), Failure> {
        let client = self.producer.client().clone();
        while self.producer.in_flight() > 0 && !self.is_poisoned() {
            match client.flush(STEP) {
                // All answers are there, and are being forwarded.
                true => thread::yield_now(),
                false if self.overdue() => break,
                false => (),
            }
        }
        match self.producer.poison().and_then(|poison| poison.take()) {
            Some(error) => {
                let error = self.cause(error);
                Err(self.abort_because(error))
            }
            None if self.producer.in_flight() > 0 => {
                let text = "records were not acknowledged in time";
                Err(self.abort_because(Error::new(ErrorKind::Timeout, text)))
            }
            None => Ok(()),
        }
    }

    /// Why records failed. When a transaction can only be aborted any more, librdkafka drops what waits in its queue, and
    /// says the reason to whoever asks for a commit.
    fn cause(&self, error: Error) -> Error {
        match error.code() {
            Some("_PURGE_QUEUE" | "_PURGE_INFLIGHT") => match self.producer.client().commit_transaction() {
                Err(native) if native.requires_abort => Error::native(native).with_operation("commit transaction"),
                _ => error,
            },
            _ => error,
        }
    }

    fn send_offsets(&mut self, offsets: &Offsets) -> Result<(), Failure> {
        loop {
            match self.producer.client().send_offsets(&offsets.list, &offsets.membership) {
                Ok(()) => return Ok(()),
                Err(error) if error.fatal => return Err(self.end(error, "commit offsets in a transaction")),
                Err(error) if error.retriable && !error.requires_abort && !self.overdue() => thread::sleep(PAUSE),
                Err(error) => {
                    return Err(
                        self.abort_because(Error::native(error).with_operation("commit offsets in a transaction"))
                    );
                }
            }
        }
    }

    fn end_by_commit(&mut self) -> Result<(), Failure> {
        loop {
            match self.producer.client().commit_transaction() {
                Ok(()) => {
                    self.open = None;
                    return Ok(());
                }
                Err(error) if error.requires_abort && !error.fatal => {
                    return Err(self.abort_because(Error::native(error).with_operation("commit transaction")));
                }
                // Its outcome is unknown: only the same call can find it out.
                Err(error) if may_be_resumed(&error) && !self.overdue() => thread::sleep(PAUSE),
                Err(error) => return Err(self.end(error, "commit transaction")),
            }
        }
    }

    /// Aborts the open transaction, if any.
    pub(super) fn abort(&mut self) -> Result<(), Failure> {
        self.usable()?;
        if self.open.is_none() {
            return Ok(());
        }
        let client = self.producer.client().clone();
        client.flush(BEFORE_ABORT);
        loop {
            match client.abort_transaction() {
                Ok(()) => break,
                Err(error) if may_be_resumed(&error) && !self.overdue() => thread::sleep(PAUSE),
                Err(error) => return Err(self.end(error, "abort transaction")),
            }
        }
        self.open = None;
        self.settle();
        Ok(())
    }

    fn abort_because(&mut self, error: Error) -> Failure {
        match self.abort() {
            Ok(()) => Failure::Aborted(error),
            // librdkafka cannot abort what no broker has let begin; why that was is what somebody can do something about.
            Err(Failure::Ended(_)) if error.kind() == ErrorKind::Denied => {
                let ended = Ended { error, cause: Cause::Hopeless };
                self.ended = Some(ended.clone());
                Failure::Ended(ended)
            }
            Err(failure) => failure,
        }
    }

    /// Forgets what became of the records of an ended transaction.
    fn settle(&self) {
        let until = Instant::now() + BEFORE_ABORT;
        while self.producer.in_flight() > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        if let Some(poison) = self.producer.poison() {
            poison.take();
        }
    }

    fn is_poisoned(&self) -> bool {
        self.producer.poison().is_some_and(|poison| poison.is_there()) || self.producer.client().fatal_error().is_some()
    }

    fn usable(&self) -> Result<(), Failure> {
        match &self.ended {
            Some(ended) => Err(Failure::Ended(ended.clone())),
            None => Ok(()),
        }
    }

    /// Whether the broker has aborted the transaction by itself, or is about to: then the producer is given up, and the next
    /// one finds out how it ended.
    fn overdue(&self) -> bool {
        self.open.is_some_and(|since| since.elapsed() > self.timeout)
    }

    /// The producer can do nothing more: what was open is aborted by whoever comes next under its id.
    fn end(&mut self, error: NativeError, operation: &'static str) -> Failure {
        let error = match error.code {
            Code::Fatal => self.producer.client().fatal_error().unwrap_or(error),
            _ => error,
        };
        let expired = self.open.take().is_some_and(|since| since.elapsed() >= self.timeout);
        let ended = Ended::new(error, operation, &self.id, expired.then_some(self.timeout));
        self.ended = Some(ended.clone());
        Failure::Ended(ended)
    }
}

/// Whether the call has not ended yet: its timeout has, and a second call goes on with it.
fn may_be_resumed(error: &NativeError) -> bool {
    !error.fatal && !error.requires_abort && (error.retriable || error.code == Code::OperationTimedOut)
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use super::*;
    use crate::native::{Client, Role};
    use crate::{Kafka, RawRecord};

    /// Brokers accept it for any group, from anybody: a member that was put out would move the offsets of those who have
    /// its partitions now.
    #[test]
    fn offsets_without_a_membership_are_refused_and_the_transaction_is_aborted() {
        let kafka = Kafka::embedded().unwrap();
        kafka.embedded_broker().unwrap().create_topic("lines", 1).unwrap();
        let servers = kafka.embedded_broker().unwrap().bootstrap_servers().to_owned();
        let consumer = Client::new(Role::Consumer, [("bootstrap.servers", &*servers), ("group.id", "g")]).unwrap();
        let membership = Arc::new(consumer.membership().unwrap());
        assert_eq!((membership.generation(), membership.member(), membership.is_bound()), (-1, String::new(), false));

        let mut builder = kafka.producer();
        builder.settings().typed("transactional.id", "t");
        let producer = builder.build_transactional().unwrap();
        let mut stage = Stage::new(producer.clone(), Arc::from("t"), Duration::from_secs(10));
        stage.init().unwrap();
        stage.begin().unwrap();
        assert!(producer.try_enqueue(RawRecord::new("lines", None, None)).is_ok());
        let mut list = Partitions::new();
        list.add("lines", 0, Some(7), None).unwrap();
        match stage.commit(vec![Offsets { list, membership }], || true) {
            Err(Failure::Aborted(error)) => assert!(error.to_string().contains("no member"), "{error}"),
            other => panic!("{other:?}"),
        }
        // And the producer goes on.
        stage.begin().unwrap();
        stage.commit(Vec::new(), || true).unwrap();
    }

    #[test]
    fn what_was_read_of_a_partition_that_has_moved_is_not_committed() {
        let kafka = Kafka::embedded().unwrap();
        let mut builder = kafka.producer();
        builder.settings().typed("transactional.id", "t");
        let mut stage = Stage::new(builder.build_transactional().unwrap(), Arc::from("t"), Duration::from_secs(10));
        stage.init().unwrap();
        stage.begin().unwrap();
        assert!(matches!(stage.commit(Vec::new(), || false), Err(Failure::Aborted(_))));
    }
}

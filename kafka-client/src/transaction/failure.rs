//! How a transaction ends when it is not committed.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Retry};
use crate::native::{Code, NativeError};

/// Why a transaction was not committed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// It was aborted, and the producer goes on.
    Aborted(Error),
    /// The producer has ended, and with it the transaction: it was aborted, or will be, or (where the error came during a
    /// commit) was committed.
    Ended(Ended),
}

/// Why a producer has ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) error: Error,
    pub(crate) cause: Cause,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The transaction took longer than it may, by our own clock; a new producer goes on.
    Expired,
    /// Another producer uses the same id.
    Fenced,
    /// A new producer may do better.
    Broken,
    /// No producer will: permission, or a setting.
    Hopeless,
}

impl Ended {
    /// To a broker a transaction that has expired and one whose producer was replaced are the same thing; `expired` is the
    /// timeout that the transaction has outlived.
    pub(super) fn new(native: NativeError, operation: &'static str, id: &str, expired: Option<Duration>) -> Self {
        let fenced = matches!(native.code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch);
        let refused = matches!(native.code, Code::InvalidTransactionTimeout);
        let error = Error::native(native).with_operation(operation).fatal();
        let hopeless = refused || matches!(error.kind(), ErrorKind::Denied | ErrorKind::Config);
        let (error, cause) = match expired {
            Some(timeout) => {
                let advice = format!("the transaction outlived `transaction.timeout.ms={}`", timeout.as_millis());
                (error.with_advice(&advice).with_retry(Retry::Temporary), Cause::Expired)
            }
            None if fenced => {
                let advice = format!(
                    "another producer has `transactional.id={id}`: each running instance needs one of its own, and a new one \
                     replaces the old"
                );
                (error.with_advice(&advice), Cause::Fenced)
            }
            None if refused => {
                let advice = "`transaction.timeout.ms` is above the broker's `transaction.max.timeout.ms`";
                (error.with_advice(advice), Cause::Hopeless)
            }
            None if hopeless => (error, Cause::Hopeless),
            None => (error.with_retry(Retry::Temporary), Cause::Broken),
        };
        Self { error, cause }
    }
}

impl Failure {
    pub(crate) fn error(&self) -> &Error {
        match self {
            Failure::Aborted(error) => error,
            Failure::Ended(ended) => &ended.error,
        }
    }
}

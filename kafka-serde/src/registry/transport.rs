//! The one thing a registry handle needs from outside: somebody who answers requests.

use futures::future::BoxFuture;

use super::failure::Failure;
use super::request::{Answer, Request};
use crate::ErrorKind;

/// Carries a request to a registry and brings the answer, with its own retries. An answer may be a refusal; a failure
/// means that there is no answer.
pub(crate) trait Transport: Send + Sync + 'static {
    fn send<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Answer, Failure>>;

    /// How errors and `Debug` call the registry; without secrets.
    fn name(&self) -> String;

    /// Requests sent again so far.
    fn retries(&self) -> u64 {
        0
    }
}

/// HTTP needs a runtime's timers and sockets; without one it would panic.
pub(crate) fn in_a_runtime() -> Result<(), Failure> {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => Ok(()),
        Err(_) => {
            let message = "a registry on the network is asked in a tokio runtime; run this future in one";
            Err(Failure::new(ErrorKind::RegistryUnavailable, message))
        }
    }
}

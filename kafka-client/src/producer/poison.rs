//! The failure that a transaction cannot survive.

use parking_lot::Mutex;

use super::outcome::SendError;
use crate::error::Error;

/// The first record of a transaction that was not delivered, whoever has heard of it: without it the transaction must
/// not be committed.
#[derive(Default)]
pub(crate) struct Poison {
    first: Mutex<Option<Error>>,
}

impl Poison {
    #[cold]
    pub(crate) fn taint(&self, error: &SendError) {
        self.first.lock().get_or_insert_with(|| error.clone().into_parts().0);
    }

    pub(crate) fn is_there(&self) -> bool {
        self.first.lock().is_some()
    }

    pub(crate) fn take(&self) -> Option<Error> {
        self.first.lock().take()
    }
}

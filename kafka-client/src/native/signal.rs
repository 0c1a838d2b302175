//! How a queue wakes the task that drains it.

use std::task::Waker;

use futures::task::AtomicWaker;

/// The waker of the one task that waits for a queue. librdkafka's thread only wakes it; nothing else runs there.
#[derive(Default)]
pub(crate) struct Signal {
    waker: AtomicWaker,
}

impl Signal {
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }
}

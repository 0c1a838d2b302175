//! Handlers that run at the same time, in one task: a slot each, used again and again.
//!
//! A future is polled where it stands, at once: a handler that has nothing to wait for costs no allocation, no task and
//! no wakeup. Only a handler that was woken is polled again.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

/// Up to `width` futures of one type, each with a tag that comes back with its output.
pub(super) struct Pool<F, T> {
    slots: Vec<Slot<F, T>>,
    free: Vec<usize>,
    width: usize,
    woken: Arc<Woken>,
    /// Woken slots that are being looked at.
    looked_at: Vec<usize>,
}

struct Slot<F, T> {
    future: Pin<Box<Option<F>>>,
    tag: Option<T>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Wakes one slot.
struct Bell {
    index: usize,
    rung: AtomicBool,
    woken: Arc<Woken>,
}

/// The slots that were woken, and the task that looks at them.
#[derive(Default)]
struct Woken {
    slots: Mutex<Vec<usize>>,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.woken.slots.lock().push(self.index);
            self.woken.task.wake();
        }
    }
}

impl<F: Future, T> Pool<F, T> {
    pub(super) fn new(width: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), width: width.max(1), woken: Arc::default(), looked_at: Vec::new() }
    }

    /// How many futures run.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn has_room(&self) -> bool {
        self.len() < self.width
    }

    /// The slot that the next future will stand in, for whoever keeps notes about slots.
    pub(super) fn next_slot(&self) -> usize {
        self.free.last().copied().unwrap_or(self.slots.len())
    }

    /// Starts a future, and polls it once: its output, where it is ready. There must be room.
    pub(super) fn start(&mut self, tag: T, future: F) -> Option<(T, F::Output)> {
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        let slot = &mut self.slots[index];
        slot.future.as_mut().set(Some(future));
        slot.tag = Some(tag);
        self.poll_slot(index)
    }

    fn grow(&mut self) -> usize {
        let index = self.slots.len();
        let bell = Arc::new(Bell { index, rung: AtomicBool::new(false), woken: self.woken.clone() });
        let waker = Waker::from(bell.clone());
        self.slots.push(Slot { future: Box::pin(None), tag: None, bell, waker });
        index
    }

    /// The output of a slot's future, which is then empty.
    fn poll_slot(&mut self, index: usize) -> Option<(T, F::Output)> {
        let slot = &mut self.slots[index];
        let future = slot.future.as_mut().as_pin_mut()?;
        let Poll::Ready(output) = future.poll(&mut Context::from_waker(&slot.waker)) else { return None };
        slot.future.as_mut().set(None);
        self.free.push(index);
        slot.tag.take().map(|tag| (tag, output))
    }

    /// The next future that is ready. Waits for ever while none runs.
    ///
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> (T, F::Output) {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<(T, F::Output)> {
        // Registered before the look: what is woken after it wakes the task again.
        self.woken.task.register(context.waker());
        // No more in one go than there are slots: a future that wakes itself must not keep the task for itself.
        for _ in 0..=self.slots.len() {
            if self.looked_at.is_empty() {
                mem::swap(&mut self.looked_at, &mut self.woken.slots.lock());
            }
            let Some(index) = self.looked_at.pop() else { return Poll::Pending };
            // Before the poll: a wakeup during it counts.
            self.slots[index].bell.rung.store(false, Ordering::Release);
            if let Some(done) = self.poll_slot(index) {
                return Poll::Ready(done);
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Drops the future whose tag is wanted, and returns the tag.
    pub(super) fn cancel(&mut self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        let index = self.slots.iter().position(|slot| slot.tag.as_ref().is_some_and(&wanted))?;
        self.slots[index].future.as_mut().set(None);
        self.free.push(index);
        self.slots[index].tag.take()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::FutureExt;
    use futures::channel::oneshot;
    use futures::future::BoxFuture;

    use super::*;

    type Boxed = BoxFuture<'static, u32>;

    fn after(receiver: oneshot::Receiver<u32>) -> Boxed {
        receiver.map(Result::unwrap).boxed()
    }

    #[test]
    fn what_is_ready_at_once_comes_back_at_once_and_leaves_its_slot() {
        let mut pool = Pool::new(1);
        for at in 0..3 {
            assert_eq!(pool.start(at, ready(at * 2)), Some((at, at * 2)));
        }
        assert_eq!((pool.len(), pool.slots.len()), (0, 1));
    }

    #[tokio::test]
    async fn outputs_come_in_the_order_in_which_they_are_ready() {
        let mut pool = Pool::new(3);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
        for (at, receiver) in receivers.into_iter().enumerate() {
            assert_eq!(pool.start(at, after(receiver)), None);
        }
        assert!(!pool.has_room() && pool.next().now_or_never().is_none());
        for (at, sender) in senders.into_iter().enumerate().rev() {
            sender.send(at as u32 * 10).unwrap();
            assert_eq!(pool.next().await, (at, at as u32 * 10));
        }
        assert!(pool.is_empty());
    }

    #[tokio::test]
    async fn a_future_that_is_cancelled_makes_room_and_its_late_wakeup_does_no_harm() {
        let mut pool = Pool::new(2);
        let (sender, receiver) = oneshot::channel();
        pool.start('a', after(receiver));
        pool.start('b', pending().boxed());
        assert_eq!(pool.cancel(|tag| *tag == 'a'), Some('a'));
        assert_eq!(pool.cancel(|tag| *tag == 'a'), None);
        drop(sender);
        assert_eq!(pool.start('c', ready(7).boxed()), Some(('c', 7)));
        assert!(pool.next().now_or_never().is_none());
        assert_eq!(pool.len(), 1);
    }

    #[tokio::test]
    async fn a_future_that_always_wakes_itself_leaves_others_their_turn() {
        let mut pool = Pool::new(2);
        let restless = poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::<u32>::Pending
        });
        let (sender, receiver) = oneshot::channel();
        pool.start('a', restless.boxed());
        pool.start('b', after(receiver));
        assert!(pool.next().now_or_never().is_none(), "it comes back to its task");
        sender.send(1).unwrap();
        assert_eq!(pool.next().await, ('b', 1));
    }
}

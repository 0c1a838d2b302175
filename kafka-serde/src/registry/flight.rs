//! `Flights` lets everybody who asks the same at the same time share one answer.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;

use super::failure::Failure;

type Answer<V> = BoxFuture<'static, Result<V, Failure>>;

/// The questions that are being asked now. Bounded by the callers: a question goes when it is answered, or when the
/// last who waits for it gives up.
pub(crate) struct Flights<K, V: Clone> {
    flying: Arc<Mutex<Board<K, V>>>,
}

struct Board<K, V: Clone> {
    flights: HashMap<K, (u64, WeakShared<Answer<V>>)>,
    next: u64,
}

impl<K: Hash + Eq + Clone + Send + 'static, V: Clone + Send + Sync + 'static> Flights<K, V> {
    pub(crate) fn new() -> Self {
        Self { flying: Arc::new(Mutex::new(Board { flights: HashMap::new(), next: 0 })) }
    }

    /// Joins the question `key`, or asks it by `ask`.
    ///
    /// Whoever waits also drives it, so that it goes on when the first who asked gives up.
    pub(crate) async fn join<F>(&self, key: K, ask: impl FnOnce() -> F) -> Result<V, Failure>
    where
        F: Future<Output = Result<V, Failure>> + Send + 'static,
    {
        let shared = self.shared(key, ask);
        shared.await
    }

    fn shared<F>(&self, key: K, ask: impl FnOnce() -> F) -> Shared<Answer<V>>
    where
        F: Future<Output = Result<V, Failure>> + Send + 'static,
    {
        let mut board = self.flying.lock();
        if let Some(flight) = board.flights.get(&key).and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        let number = board.next;
        board.next += 1;
        let landed = Landed { flying: Arc::clone(&self.flying), key: key.clone(), number };
        let answer = ask();
        let flight = async move {
            let _landed = landed;
            answer.await
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            board.flights.insert(key, (number, weak));
        }
        flight
    }
}

/// Takes a question off the board.
struct Landed<K: Hash + Eq, V: Clone> {
    flying: Arc<Mutex<Board<K, V>>>,
    key: K,
    number: u64,
}

impl<K: Hash + Eq, V: Clone> Drop for Landed<K, V> {
    fn drop(&mut self) {
        let mut board = self.flying.lock();
        // Another question of this name may have taken off since the last waiter of this one gave up.
        if board.flights.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            board.flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::task::{Context, Waker};

    use futures::channel::oneshot;
    use futures::executor::block_on;
    use futures::future::{join, ready};

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn who_asks_the_same_at_once_shares_one_answer() {
        let flights = Flights::new();
        let asked = AtomicU32::new(0);
        let (answer, gate) = oneshot::channel::<i32>();
        let mut gate = Some(gate);
        let mut ask = || {
            asked.fetch_add(1, SeqCst);
            let gate = gate.take();
            async move { gate.unwrap().await.map_err(|_| Failure::new(ErrorKind::RegistryAnswer, "gone")) }
        };
        let first = flights.join("a", &mut ask);
        let mut first = Box::pin(first);
        assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let second = flights.join("a", || ready(Ok(0)));
        answer.send(7).unwrap();
        assert_eq!(block_on(join(first, second)).0.unwrap(), 7);
        assert_eq!(asked.load(SeqCst), 1);
        assert!(flights.flying.lock().flights.is_empty());
    }

    #[test]
    fn the_others_go_on_when_the_first_gives_up() {
        let flights = Flights::new();
        let (answer, gate) = oneshot::channel::<i32>();
        let ask = async { gate.await.map_err(|_| Failure::new(ErrorKind::RegistryAnswer, "gone")) };
        let mut context = Context::from_waker(Waker::noop());
        let mut first = Box::pin(flights.join("a", || ask));
        let mut second = Box::pin(flights.join("a", || ready(Ok(0))));
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(first);
        answer.send(7).unwrap();
        assert_eq!(block_on(second).unwrap(), 7);
    }

    #[test]
    fn a_question_that_everybody_gave_up_is_asked_anew() {
        let flights = Flights::<_, i32>::new();
        let mut given_up = Box::pin(flights.join("a", futures::future::pending));
        assert!(given_up.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(given_up);
        assert!(flights.flying.lock().flights.is_empty());
        assert_eq!(block_on(flights.join("a", || ready(Ok(1)))).unwrap(), 1);
    }
}

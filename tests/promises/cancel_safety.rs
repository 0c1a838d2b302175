//! Every future of the producer may be dropped at any point: nothing leaks, nobody is held up, and what was accepted
//! is stored once.
//!
//! ```text
//!   cut(future, 0)   dropped before its first poll        cut(future, n)   dropped after n polls, or ready by then
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::join_all;
use kafka_client::{ErrorKind, Outcome, Outgoing, Producer, ProducerInterceptor};
use parking_lot::Mutex;
use tests::harness::eventually;

use crate::given::{self, Lines, built};

const PATIENCE: Duration = Duration::from_secs(30);
/// How many records fit in the queue.
const ROOM: usize = 3;
/// More than any of these futures needs.
const MOST_POLLS: usize = 20;

/// Polls a future so many times at most, then drops it; its output, if it was ready by then.
async fn cut<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Knows which records were accepted, and how often each.
#[derive(Clone, Default)]
struct Witness {
    accepted: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl ProducerInterceptor for Witness {
    fn on_send(&self, record: &mut Outgoing<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        *self.accepted.lock().entry(given::text(record.value())).or_default() += 1;
        Ok(())
    }
}

/// A producer with room for three records, of which only a flush sends any.
struct Bench {
    producer: Producer,
    lines: Lines,
    witness: Witness,
}

/// A use of the producer, to be cut short: what it is called, and a future made of the bench and the record's value.
type Use = (&'static str, for<'a> fn(&'a Bench, &'a str) -> Pin<Box<dyn Future<Output = ()> + 'a>>);

const USES: [Use; 11] = [
    ("send", |bench, value| {
        Box::pin(async {
            bench.producer.send(bench.lines.record("k", value)).await.unwrap();
        })
    }),
    ("send_within", |bench, value| {
        Box::pin(async {
            bench.producer.send_within(bench.lines.record("k", value), PATIENCE).await.unwrap();
        })
    }),
    ("enqueue", |bench, value| {
        let enqueue = bench.producer.enqueue(bench.lines.record("k", value));
        Box::pin(async { drop(enqueue.await.unwrap()) })
    }),
    ("raw enqueue", |bench, value| {
        let enqueue = bench.producer.enqueue(given::raw(&bench.lines, "k", value));
        Box::pin(async { drop(enqueue.await.unwrap()) })
    }),
    ("delivery", |bench, value| {
        Box::pin(async {
            bench.producer.enqueue(bench.lines.record("k", value)).await.unwrap().await.unwrap();
        })
    }),
    ("within", |bench, value| {
        Box::pin(async {
            let delivery = bench.producer.enqueue(bench.lines.record("k", value)).await.unwrap();
            delivery.within(PATIENCE).await.unwrap();
        })
    }),
    ("send_with", |bench, value| {
        let send = bench.producer.send_with(bench.lines.record("k", value), |outcome| assert!(outcome.is_ok()));
        Box::pin(async { send.await.unwrap() })
    }),
    ("callback", |bench, value| {
        Box::pin(async {
            let (called, mut call) = tokio::sync::mpsc::unbounded_channel();
            // Nobody may be there any more to hear of it.
            let callback = move |outcome: Outcome| called.send(outcome).unwrap_or_default();
            bench.producer.send_with(bench.lines.record("k", value), callback).await.unwrap();
            call.recv().await.unwrap().unwrap();
        })
    }),
    ("send_batch", |bench, value| {
        Box::pin(async move {
            // More than fits at once.
            let values: Vec<_> = (0..2 * ROOM + 1).map(|n| format!("{value} of a batch {n}")).collect();
            let batch = values.iter().map(|value| bench.lines.record("k", value));
            assert_eq!(bench.producer.send_batch(batch).await.unwrap(), 2 * ROOM + 1);
        })
    }),
    ("sender", |bench, value| {
        Box::pin(async {
            let mut sender = bench.producer.sender(&bench.lines).unwrap();
            drop(sender.enqueue(bench.lines.record("k", value)).await.unwrap());
        })
    }),
    ("flush", |bench, _| {
        Box::pin(async {
            let _ = bench.producer.flush(PATIENCE).await;
        })
    }),
];

impl Bench {
    fn new(name: &str) -> Self {
        let witness = Witness::default();
        let builder = given::kafka().producer().linger(Duration::from_secs(200)).max_in_flight_records(ROOM);
        let producer = built(builder.interceptor(witness.clone()));
        Self { producer, lines: given::topic(name, 1), witness }
    }

    /// Sends what is in the queue, again and again, so that all who wait get on.
    fn keep_flushing(&self) -> impl Drop + use<> {
        let producer = self.producer.clone();
        let flushing = tokio::spawn(async move {
            loop {
                let _ = producer.flush(PATIENCE).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        OnDrop(move || flushing.abort())
    }

    /// The whole queue is there for others: it takes as many records as it has room for, and delivers them.
    async fn is_whole(&self, after: &str) {
        eventually("nothing is in flight", PATIENCE, async || {
            let _ = self.producer.flush(PATIENCE).await;
            self.producer.in_flight() == 0
        })
        .await;
        let mut deliveries = Vec::new();
        let full = loop {
            let value = format!("{after}, filling {}", deliveries.len());
            match self.producer.try_enqueue(self.lines.record("k", &value)) {
                Ok(delivery) => deliveries.push(delivery),
                Err(error) => break error.error().kind(),
            }
            assert!(self.producer.in_flight() <= ROOM, "{after}");
        };
        assert_eq!(full, ErrorKind::Full, "{after}");
        // Or more, where a flush that was cut short still sends.
        assert!(deliveries.len() >= ROOM, "{after}: there is room for {} of {ROOM} only", deliveries.len());
        assert!(self.producer.flush(PATIENCE).await.is_complete(), "{after}");
        let offsets: Vec<_> = join_all(deliveries).await.into_iter().map(|outcome| outcome.unwrap().offset()).collect();
        assert!(offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{after}: each its own answer, not {offsets:?}");
    }

    /// The log holds what was accepted, each record once.
    async fn stored_what_was_accepted(&self) {
        assert!(self.producer.close(PATIENCE).await.is_complete());
        let mut stored = BTreeMap::new();
        given::values(&given::log(&self.lines)).into_iter().for_each(|value| *stored.entry(value).or_default() += 1);
        assert_eq!(stored, *self.witness.accepted.lock());
        assert!(stored.values().all(|count| *count == 1), "{stored:?}");
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[tokio::test]
async fn with_room_in_the_queue_every_future_may_be_dropped_at_every_poll() {
    let bench = Bench::new("cut");
    for (name, using) in USES {
        for polls in 0..=MOST_POLLS {
            assert!(polls < MOST_POLLS, "{name} is never ready");
            let value = format!("{name} cut after {polls} polls");
            let flushing = bench.keep_flushing();
            let ready = cut(using(&bench, &value), polls).await.is_some();
            drop(flushing);
            bench.is_whole(&value).await;
            if ready && polls > 0 {
                break;
            }
        }
    }
    bench.stored_what_was_accepted().await;
}

#[tokio::test]
async fn in_line_for_room_every_future_may_be_dropped_at_every_poll_and_the_next_one_gets_on() {
    let bench = Bench::new("cut-in-line");
    for (name, using) in USES {
        for polls in 0..=MOST_POLLS {
            assert!(polls < MOST_POLLS, "{name} is never ready");
            let value = format!("{name} in line cut after {polls} polls");
            let full: Vec<_> = (0..ROOM)
                .map(|n| {
                    bench.producer.try_enqueue(given::raw(&bench.lines, "k", format!("{value}, before {n}"))).unwrap()
                })
                .collect();
            // In line before the next one, who waits behind it. Whatever it is, it goes on only when that one waits.
            let mut cutting = pin!(cut(using(&bench, &value), polls));
            let at_once = cut(cutting.as_mut(), 1).await;
            let next = tokio::spawn({
                let (producer, record) =
                    (bench.producer.clone(), given::raw(&bench.lines, "k", format!("{value}, behind")));
                async move { producer.send(record).await }
            });
            tokio::task::yield_now().await;
            let flushing = bench.keep_flushing();
            let ready = match at_once {
                Some(output) => output.is_some(),
                None => cutting.await.is_some(),
            };
            tokio::time::timeout(PATIENCE, next).await.expect("the next one gets on").unwrap().unwrap();
            drop(flushing);
            for delivery in full {
                delivery.await.unwrap();
            }
            bench.is_whole(&value).await;
            if ready && polls > 0 {
                break;
            }
        }
    }
    bench.stored_what_was_accepted().await;
}

#[tokio::test]
async fn who_gives_up_its_place_in_line_was_never_accepted() {
    let bench = Bench::new("given-up");
    let full: Vec<_> = (0..ROOM)
        .map(|n| bench.producer.try_enqueue(given::raw(&bench.lines, "k", format!("full {n}"))).unwrap())
        .collect();
    for (name, using) in USES.into_iter().filter(|(name, _)| *name != "flush") {
        for polls in 0..2 {
            assert!(cut(using(&bench, name), polls).await.is_none(), "{name} waits");
        }
    }
    let waiting = bench.producer.enqueue(bench.lines.record("k", "patient"));
    let flushing = bench.keep_flushing();
    waiting.await.unwrap().await.unwrap();
    drop(flushing);
    drop(full);
    let accepted = bench.witness.accepted.lock().clone();
    assert_eq!(accepted.len(), ROOM + 1, "{accepted:?}");
    bench.stored_what_was_accepted().await;
}

/// Woken, but dropped before it runs: the permit is on its way to somebody who is not there any more.
#[tokio::test]
async fn room_that_was_granted_to_a_future_that_is_dropped_goes_to_the_next() {
    for (name, using) in USES.into_iter().filter(|(name, _)| *name != "flush") {
        // One of its own for each: nothing is sent until the flush below, not even by an earlier one that still ends.
        let bench = Bench::new("granted");
        let value = |what: &str| format!("{name}: {what}");
        for n in 0..ROOM {
            drop(bench.producer.try_enqueue(given::raw(&bench.lines, "k", value(&format!("full {n}")))).unwrap());
        }
        // As many as there is room for, and one behind them.
        let values: Vec<_> = (0..ROOM).map(|n| value(&format!("granted {n}"))).collect();
        let mut granted: Vec<_> = values.iter().map(|value| using(&bench, value)).collect();
        for future in &mut granted {
            assert!(cut(future, 1).await.is_none());
        }
        let behind = value("behind");
        let mut next = pin!(bench.producer.enqueue(bench.lines.record("k", &behind)));
        assert!(cut(next.as_mut(), 1).await.is_none());
        let _ = bench.producer.flush(PATIENCE).await;
        assert_eq!(bench.producer.in_flight(), 0, "all room is granted, none is taken");
        drop(granted);
        drop(tokio::time::timeout(PATIENCE, next).await.expect("the next one gets on").unwrap());
        bench.is_whole(name).await;
        bench.stored_what_was_accepted().await;
    }
}

#[tokio::test]
async fn close_may_be_dropped_at_every_poll_and_goes_on_in_the_background() {
    for polls in 0..=MOST_POLLS {
        assert!(polls < MOST_POLLS, "close is never ready");
        let bench = Bench::new("cut-close");
        let full: Vec<_> = (0..ROOM)
            .map(|n| bench.producer.try_enqueue(given::raw(&bench.lines, "k", format!("full {n}"))).unwrap())
            .collect();
        let late = given::raw(&bench.lines, "k", "in line");
        let in_line = tokio::spawn({
            let (producer, record) = (bench.producer.clone(), late.clone());
            async move { producer.send(record).await }
        });
        tokio::task::yield_now().await;

        let closed = cut(bench.producer.close(PATIENCE), polls).await;
        if polls == 0 {
            assert!(!in_line.is_finished());
            assert_eq!(bench.producer.in_flight(), ROOM, "a future that is not polled does nothing");
            let flushing = bench.keep_flushing();
            in_line.await.unwrap().unwrap();
            drop(flushing);
        } else {
            let error = in_line.await.unwrap().unwrap_err();
            assert_eq!((error.error().kind(), error.maybe_written()), (ErrorKind::Closed, false));
            assert_eq!(error.record(), Some(&late));
        }
        let delivered = tokio::time::timeout(PATIENCE / 2, join_all(full)).await.expect("what lingered was sent");
        assert!(delivered.iter().all(Result::is_ok), "{delivered:?}");
        let report = bench.producer.close(PATIENCE).await;
        assert!(report.is_complete(), "{report:?}");
        bench.stored_what_was_accepted().await;
        if closed.is_some() {
            break;
        }
    }
}

/// The negative control: room that is given back by hand is lost with the future that would have done it.
#[tokio::test]
async fn a_permit_without_a_guard_is_lost_with_its_future() {
    let (producer, lines) = (built(given::kafka().producer()), given::topic("naive", 1));
    let room = tokio::sync::Semaphore::new(ROOM);
    let send = async || {
        room.acquire().await.unwrap().forget();
        producer.send(lines.record("k", "v")).await.unwrap();
        room.add_permits(1);
    };
    send().await;
    assert_eq!(room.available_permits(), ROOM);
    for left in (0..ROOM).rev() {
        assert!(cut(send(), 1).await.is_none());
        assert!(producer.flush(PATIENCE).await.is_complete());
        assert_eq!(room.available_permits(), left);
    }
}

/// A place in the queue that was granted, but not taken yet, when the producer was closed.
#[tokio::test]
async fn a_send_that_is_woken_after_close_is_refused() {
    let bench = Bench::new("woken-late");
    let full: Vec<_> = (0..ROOM)
        .map(|n| bench.producer.try_enqueue(given::raw(&bench.lines, "k", format!("full {n}"))).unwrap())
        .collect();
    let (one, two) = (given::raw(&bench.lines, "k", "late"), given::raw(&bench.lines, "k", "late in a batch"));
    let mut late = pin!(bench.producer.send(&one));
    let mut late_batch = pin!(bench.producer.send_batch([&two]));
    assert!(cut(late.as_mut(), 1).await.is_none() && cut(late_batch.as_mut(), 1).await.is_none());
    assert!(bench.producer.flush(PATIENCE).await.is_complete());
    assert!(bench.producer.close(PATIENCE).await.is_complete());

    let error = tokio::time::timeout(PATIENCE / 3, late).await.expect("it has an answer").unwrap_err();
    assert_eq!((error.error().kind(), error.record()), (ErrorKind::Closed, Some(&one)));
    let error = tokio::time::timeout(PATIENCE / 3, late_batch).await.expect("it has an answer").unwrap_err();
    let error = error.failures()[0].error();
    assert_eq!((error.error().kind(), error.record()), (ErrorKind::Closed, Some(&two)));
    assert!(join_all(full).await.iter().all(Result::is_ok));
    bench.stored_what_was_accepted().await;
}

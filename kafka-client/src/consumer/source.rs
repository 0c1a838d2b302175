//! The route of records whose offsets are committed in transactions: decoded, and handed to whoever runs those.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use kafka_serde::Deserializer;
use tokio::sync::{Notify, mpsc};
use tokio::task::coop;

use super::lane::{Ended, Lane, Request};
use super::received::{FailedRecord, Origin, Received};
use super::router::{Route, decoded};
use super::state::LaneState;
use crate::native::Client;
use crate::native::message::Fetched;
use crate::record::RawRecord;
use crate::topic::Topic;

/// How many portions wait for a session: enough to go on reading while it commits.
pub(crate) const WAITING_PORTIONS: usize = 16;

/// One record of a portion.
pub(crate) struct Entry<I> {
    pub(crate) offset: i64,
    pub(crate) input: Result<I, FailedRecord>,
    /// Its bytes, where somebody has asked for them.
    pub(crate) raw: Option<RawRecord>,
}

/// Records of one partition that were fetched together.
pub(crate) struct Portion<I> {
    pub(crate) source: Source,
    pub(crate) entries: std::vec::IntoIter<Entry<I>>,
    pub(crate) hold: Hold,
}

/// The life of a partition that records were read in.
#[derive(Clone)]
pub(crate) struct Source {
    state: Arc<LaneState>,
    client: Arc<Client>,
    requests: mpsc::UnboundedSender<Request>,
}

impl Source {
    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.state.topic
    }

    pub(crate) fn partition(&self) -> i32 {
        self.state.partition
    }

    /// The consumer that has read them.
    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Whether no more records of this life are to be processed; what is in a transaction may be committed.
    pub(crate) fn is_over(&self) -> bool {
        self.state.is_stopping()
    }

    /// Whether the partition has gone: not even what is in a transaction may be committed.
    pub(crate) fn is_lost(&self) -> bool {
        self.state.is_lost()
    }

    /// Records up to `last` are processed.
    pub(crate) fn start(&self, last: i64, count: u64) {
        self.state.start_all(last, count);
    }

    /// What was [started](Self::start), in so many batches, was committed.
    pub(crate) fn committed(&self, batches: &[(i64, u64)], last: i64) {
        batches.iter().for_each(|(last, count)| self.state.finish_all(*last, *count));
        // Without the control task the consumer has ended, and nobody counts.
        let _ = self.requests.send(Request::Committed(self.state.clone(), last + 1));
    }

    /// Nothing more of this life is processed, and the partition goes on at the committed offset.
    pub(crate) fn rewind(&self) {
        self.state.stop();
        let _ = self.requests.send(Request::Rewind(self.state.clone()));
    }
}

/// Records that were read and are not finished: a partition is not given away in good order before they are.
pub(crate) struct Hold {
    state: Arc<LaneState>,
    records: usize,
    bytes: usize,
    opened: bool,
}

impl Hold {
    /// Begins to process them. `false` once the life is over: then they must not be.
    pub(crate) fn open(&mut self) -> bool {
        self.opened = self.opened || self.state.open_one();
        self.opened && !self.state.is_stopping()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.state.held.remove(self.records, self.bytes);
        if self.opened {
            self.state.close_one();
        }
    }
}

/// Where the portions of a session arrive.
pub(crate) struct Inbox<I> {
    pub(crate) portions: mpsc::Receiver<Portion<I>>,
    pub(crate) door: Arc<Door>,
}

/// What lanes and their session tell each other beside the records.
#[derive(Default)]
pub(crate) struct Door {
    /// Told when a partition is about to go, or has gone: what was begun should come to its end.
    pub(crate) hurry: Notify,
    /// Whether records come with their bytes.
    pub(crate) with_bytes: AtomicBool,
}

/// A lane's way to its session.
pub(crate) struct Outlet<I> {
    portions: mpsc::Sender<Portion<I>>,
    door: Arc<Door>,
}

impl<I> Clone for Outlet<I> {
    fn clone(&self) -> Self {
        Self { portions: self.portions.clone(), door: self.door.clone() }
    }
}

pub(crate) fn inbox<I>() -> (Outlet<I>, Inbox<I>) {
    let (sender, portions) = mpsc::channel(WAITING_PORTIONS);
    let door = Arc::new(Door::default());
    (Outlet { portions: sender, door: door.clone() }, Inbox { portions, door })
}

/// The route: partitions are split among the outlets by their number, so that the same partitions of several topics meet.
pub(crate) struct SourceRoute<K: Deserializer, V: Deserializer, I> {
    topic: Topic<K, V>,
    into: Into<K::Output, V::Output, I>,
    outlets: Vec<Outlet<I>>,
}

/// What is made of a record.
pub(crate) type Into<K, V, I> = Arc<dyn Fn(Received<K, V>) -> I + Send + Sync>;

impl super::ConsumerBuilder {
    /// Hands the records of a topic to sessions of transactions.
    pub(crate) fn route_source<K: Deserializer, V: Deserializer, I: Send + 'static>(
        self,
        topic: Topic<K, V>,
        into: Into<K::Output, V::Output, I>,
        outlets: Vec<Outlet<I>>,
    ) -> Self {
        self.add(SourceRoute { topic, into, outlets })
    }
}

impl<K: Deserializer, V: Deserializer, I: Send + 'static> Route for SourceRoute<K, V, I> {
    fn topic(&self) -> &str {
        self.topic.name()
    }

    fn tells_records_apart(&self) -> bool {
        false
    }

    fn is_transactional(&self) -> bool {
        true
    }

    fn run(self: Arc<Self>, lane: Lane) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let at = lane.state.partition.unsigned_abs() as usize % self.outlets.len();
            self.feed(lane, &self.outlets[at]).await;
        })
    }
}

/// Says that a partition has gone when its lane does not come to an orderly end.
struct Goes<'a> {
    state: Arc<LaneState>,
    door: &'a Door,
    in_order: bool,
}

impl Drop for Goes<'_> {
    fn drop(&mut self) {
        if !self.in_order {
            self.state.lose();
        }
        self.door.hurry.notify_one();
    }
}

impl<K: Deserializer, V: Deserializer, I: Send + 'static> SourceRoute<K, V, I> {
    async fn feed(&self, mut lane: Lane, outlet: &Outlet<I>) {
        let mut goes = Goes { state: lane.state.clone(), door: &outlet.door, in_order: false };
        while let Ok(Some(fetched)) = lane.fetch().await {
            if self.portion(&mut lane, outlet, fetched).await.is_err() {
                break;
            }
        }
        lane.state.until_stopping().await;
        outlet.door.hurry.notify_one();
        lane.state.settled().await;
        goes.in_order = true;
    }

    async fn portion(&self, lane: &mut Lane, outlet: &Outlet<I>, fetched: Fetched) -> Result<(), Ended> {
        let (records, bytes) = (fetched.len(), fetched.bytes());
        if let Some(first) = fetched.get(0) {
            lane.state.expect(first.offset());
        }
        lane.state.held.add(records, bytes);
        let hold = Hold { state: lane.state.clone(), records, bytes, opened: false };
        let with_bytes = outlet.door.with_bytes.load(Ordering::Relaxed);
        let mut entries = Vec::with_capacity(records);
        for message in fetched.into_messages() {
            coop::consume_budget().await;
            lane.settings.interceptors.received(&lane.state.topic, &message);
            let offset = message.view().offset();
            let entry =
                match decoded(&self.topic, &lane.state.topic, &lane.state, Origin::own(&lane.state, message)).await {
                    Some(Ok(record)) => {
                        let raw = with_bytes.then(|| record.to_raw());
                        Entry { offset, input: Ok((self.into)(record)), raw }
                    }
                    Some(Err(failed)) => Entry { offset, raw: Some(failed.to_raw()), input: Err(failed) },
                    None => return Err(Ended),
                };
            entries.push(entry);
        }
        let source = Source {
            state: lane.state.clone(),
            client: lane.client().clone(),
            requests: lane.settings.requests.clone(),
        };
        let portion = Portion { source, entries: entries.into_iter(), hold };
        tokio::select! {
            sent = outlet.portions.send(portion) => sent.map_err(|_| Ended),
            () = lane.state.until_stopping() => Err(Ended),
        }
    }
}

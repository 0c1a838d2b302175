//! Topic handles: made at a topic's first record, found without hashing its name again.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use crate::error::Error;
use crate::native::{self, Client, NativeError};
use crate::topic::{CarriedHash, TopicName};

/// How old a partition count may be before it is asked for again, in the background; Kafka's clients use the same
/// (`metadata.max.age.ms`).
const COUNT_AGE: Duration = Duration::from_secs(300);
/// How long the cluster has to tell a partition count.
const COUNT_WAIT: Duration = Duration::from_secs(30);

/// A topic of one producer.
pub(crate) struct Handle {
    pub(super) topic: native::Topic,
    client: Arc<Client>,
    /// For custom partitioners; -1: not asked yet.
    partitions: AtomicI32,
    counted: Mutex<Option<Instant>>,
    counting: AtomicBool,
}

/// One handle a topic name; they stay as long as the producer.
pub(super) struct Handles {
    /// Unlike that of any other producer of the process.
    producer: u64,
    client: Arc<Client>,
    map: RwLock<HashMap<TopicName, Arc<Handle>, BuildHasherDefault<CarriedHash>>>,
}

impl Handles {
    pub(super) fn new(client: Arc<Client>) -> Self {
        static PRODUCERS: AtomicU64 = AtomicU64::new(0);
        Self { producer: PRODUCERS.fetch_add(1, Ordering::Relaxed), client, map: RwLock::default() }
    }

    /// Runs `with` on the handle of a topic.
    #[inline]
    pub(super) fn with<T>(&self, name: &TopicName, with: impl FnOnce(&Arc<Handle>) -> T) -> Result<T, NativeError> {
        match name.handle(self.producer) {
            Some(handle) => Ok(with(&handle)),
            None => self.find(name).map(|handle| with(&handle)),
        }
    }

    /// As [`with`](Self::with), if the handle is found without a look into the map.
    #[inline]
    pub(super) fn known<T>(&self, name: &TopicName, with: impl FnOnce(&Handle) -> T) -> Option<T> {
        name.handle(self.producer).map(|handle| with(&handle))
    }

    #[cold]
    fn find(&self, name: &TopicName) -> Result<Arc<Handle>, NativeError> {
        let known = self.map.read().get(name).cloned();
        let handle = known.map_or_else(|| self.create(name), Ok)?;
        name.remember(self.producer, &handle);
        Ok(handle)
    }

    fn create(&self, name: &TopicName) -> Result<Arc<Handle>, NativeError> {
        let mut map = self.map.write();
        if let Some(handle) = map.get(name) {
            return Ok(handle.clone());
        }
        let handle = Arc::new(Handle {
            topic: native::Topic::new(&self.client, name.as_str())?,
            client: self.client.clone(),
            partitions: AtomicI32::new(-1),
            counted: Mutex::new(None),
            counting: AtomicBool::new(false),
        });
        map.insert(name.clone(), handle.clone());
        Ok(handle)
    }
}

impl Handle {
    /// How many partitions the topic has, as far as known; a stale number is renewed in the background.
    pub(super) fn partitions(self: &Arc<Self>) -> Option<i32> {
        let partitions = self.partitions.load(Ordering::Acquire);
        let stale = self.counted.lock().is_none_or(|counted| counted.elapsed() > COUNT_AGE);
        if stale && !self.counting.swap(true, Ordering::AcqRel) {
            let handle = self.clone();
            let count = move || {
                native::client::this_thread_may_block();
                if let Err(error) = handle.count() {
                    tracing::debug!(%error, "the partition count could not be renewed");
                }
                handle.counting.store(false, Ordering::Release);
            };
            if std::thread::Builder::new().name("kafka-metadata".into()).spawn(count).is_err() {
                self.counting.store(false, Ordering::Release);
            }
        }
        (partitions > 0).then_some(partitions)
    }

    /// Asks the cluster, without blocking the task.
    pub(super) async fn ask_partitions(self: &Arc<Self>) -> Result<(), Error> {
        let handle = self.clone();
        let counted = tokio::task::spawn_blocking(move || handle.count()).await;
        let failed = |error| Error::native(error).with_operation("partition count");
        match counted {
            Ok(counted) => counted.map_err(failed),
            Err(_) => Err(Error::new(crate::ErrorKind::Closed, "the runtime is shutting down")),
        }
    }

    fn count(&self) -> Result<(), NativeError> {
        let partitions = self.client.partition_count(&self.topic, COUNT_WAIT)?;
        self.partitions.store(partitions, Ordering::Release);
        *self.counted.lock() = Some(Instant::now());
        Ok(())
    }
}

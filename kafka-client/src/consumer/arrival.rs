//! What happens between an assignment and the first record: the committed offsets with what rides on them, the
//! listener, and the places where it wants to start.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::control::Key;
use super::listener::{Assigned, DynListener, StartAt};
use super::offset_map::OffsetMap;
use super::suspects::{self, Mark, Suspects};
use super::tracker::Tracker;
use crate::error::{Error, ErrorKind};
use crate::native::admin::Requests;
use crate::native::admin::offsets::{Listed, Spec};
use crate::native::client::{EARLIEST, LATEST};
use crate::native::{Client, Code, Entry, NativeError, Partitions, Queue};
use crate::partition::TopicPartition;
use crate::producer::panic_text;

/// How long one request may take before it is tried again.
const REQUEST: Duration = Duration::from_secs(10);
/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// A partition that was just assigned is not ready to seek for a moment.
const SEEK_PAUSE: Duration = Duration::from_millis(5);

/// Where the lane of a partition begins.
pub(super) struct Beginning {
    pub(super) key: Key,
    pub(super) tracker: Tracker,
    pub(super) suspects: Suspects,
}

impl Beginning {
    /// Nothing is known of what was before.
    pub(super) fn anew(key: Key) -> Self {
        Self { key, tracker: Tracker::new(), suspects: Suspects::default() }
    }
}

/// Where a group stands on a partition.
pub(super) struct Committed {
    pub(super) offset: i64,
    /// What is finished beyond it.
    map: OffsetMap,
    /// What may have ended the process that has committed it.
    mark: Option<Mark>,
}

/// Prepares partitions that were assigned.
///
/// # Errors
/// When waiting cannot help: the listener failed, permission is missing. Dropped when the partitions move away first.
pub(super) async fn arrive(
    client: Arc<Client>,
    keys: Vec<Key>,
    needs_committed: bool,
    listener: Option<Arc<dyn DynListener>>,
    start_fails: bool,
) -> Result<Vec<Beginning>, Error> {
    let placed = start_fails && listener.is_some();
    let mut committed = match needs_committed || listener.is_some() {
        true => committed(&client, &keys).await?,
        false => BTreeMap::new(),
    };
    only_what_was_there(&client, &mut committed).await?;
    let starts = match listener {
        Some(listener) => listened(&*listener, &keys, &committed).await?,
        None => BTreeMap::new(),
    };
    for (key, start) in &starts {
        seek(&client, key, *start).await?;
        committed.remove(key);
    }
    // Those were assigned at no place in particular.
    for key in keys.iter().filter(|key| placed && !starts.contains_key(*key)) {
        match committed.get(key) {
            Some(committed) => seek(&client, key, StartAt::Offset(committed.offset)).await?,
            None => {
                let text = "the group has no offset for the partition, and `start_from` says to fail then";
                let error = Error::new(ErrorKind::Broker, text).with_operation("receive");
                return Err(error.with_topic(&*key.0).with_partition(Some(key.1)));
            }
        }
    }
    let beginning = |key: Key| {
        let Some(Committed { offset, map, mark }) = committed.remove(&key) else { return Beginning::anew(key) };
        if mark.as_ref().is_some_and(|mark| mark.open) {
            let text = "whoever handled the partition before has died, or was lost to its group";
            tracing::warn!(topic = %key.0, partition = key.1, offset, "{text}");
        }
        Beginning { key, tracker: Tracker::resume(offset, map), suspects: Suspects::resume(mark) }
    };
    Ok(keys.into_iter().map(beginning).collect())
}

/// Nobody has handled what is written from now on: where what was told ahead goes beyond the end of a partition, it is cut.
async fn only_what_was_there(client: &Arc<Client>, committed: &mut BTreeMap<Key, Committed>) -> Result<(), Error> {
    let marked = committed.iter().filter(|(_, one)| one.mark.is_some());
    let marked: Vec<_> = marked.map(|(key, _)| (key.clone(), LATEST)).collect();
    if marked.is_empty() {
        return Ok(());
    }
    for entry in ends(client, &marked).await? {
        let key = (Arc::from(entry.topic), entry.partition);
        let mark = committed.get_mut(&key).and_then(|one| one.mark.as_mut());
        if let (Some(end), Some(mark)) = (entry.offset, mark) {
            mark.end = mark.end.min(end);
        }
    }
    Ok(())
}

/// Asks the cluster for the group's offsets, until it answers.
pub(super) async fn committed(client: &Arc<Client>, keys: &[Key]) -> Result<BTreeMap<Key, Committed>, Error> {
    let entries = repeatedly("fetch offsets", || {
        let list = list(keys.iter().map(|key| (key, None)))?;
        Ok(blocking(client, move |client| client.committed(&list, REQUEST)))
    })
    .await?;
    Ok(entries.into_iter().filter_map(resumable).collect())
}

fn resumable(entry: Entry) -> Option<(Key, Committed)> {
    let offset = entry.offset?;
    let text = entry.metadata.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    let (text, mark) = suspects::split(&text);
    let mark = Mark::decode(mark, offset).unwrap_or_else(|problem| {
        let text = "what commit metadata tells of suspects cannot be read";
        tracing::warn!(topic = entry.topic, partition = entry.partition, problem, "{text}");
        None
    });
    let map = match OffsetMap::decode(text, offset) {
        Ok(Some(map)) => map,
        Ok(None) => {
            if !text.is_empty() {
                tracing::debug!(topic = entry.topic, partition = entry.partition, "commit metadata of another client");
            }
            OffsetMap::default()
        }
        Err(error) => {
            // What it said is finished is handled again; nothing is lost.
            tracing::warn!(topic = entry.topic, partition = entry.partition, %error, "commit metadata cannot be read");
            OffsetMap::default()
        }
    };
    Some(((Arc::from(entry.topic), entry.partition), Committed { offset, map, mark }))
}

async fn listened(
    listener: &dyn DynListener,
    keys: &[Key],
    committed: &BTreeMap<Key, Committed>,
) -> Result<BTreeMap<Key, StartAt>, Error> {
    let partition = |key: &Key| TopicPartition::new(key.0.clone(), key.1);
    let offsets = committed.iter().map(|(key, one)| (partition(key), one.offset)).collect();
    let mut assigned = Assigned::new(keys.iter().map(partition).collect(), offsets);
    told("assigned", listener.assigned(&mut assigned)).await?;
    let starts = assigned.into_starts().into_iter();
    Ok(starts.map(|(partition, start)| ((partition.topic_arc().clone(), partition.partition()), start)).collect())
}

/// Calls a listener; a panic becomes an error.
///
/// # Errors
/// The listener's.
pub(super) async fn told(
    what: &'static str,
    call: impl Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
) -> Result<(), Error> {
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Error::new(ErrorKind::Handler, format!("the rebalance listener failed ({what})"))
            .with_operation("rebalance")
            .with_source(error)),
        Err(panic) => {
            let text = format!("the rebalance listener panicked ({what}): {}", panic_text(&*panic));
            Err(Error::new(ErrorKind::Panicked, text).with_operation("rebalance"))
        }
    }
}

/// Moves a partition to a place, once it is ready for that.
pub(super) async fn seek(client: &Arc<Client>, key: &Key, to: StartAt) -> Result<(), Error> {
    let offset = place(client, key, to).await?;
    move_to(client, key, offset).await?;
    // An assignment without an offset makes librdkafka ask where the partition begins, or ends. An answer that comes after
    // a seek is out of date: it asks again half a second later, and goes there, past whatever was written meanwhile. A
    // leader answers in order, so that behind this question no such answer is on its way; and a seek takes the plan back.
    offset_for(client, key, LATEST).await?;
    move_to(client, key, offset).await
}

async fn move_to(client: &Arc<Client>, key: &Key, offset: i64) -> Result<(), Error> {
    loop {
        let positions = list([(key, Some(offset))].into_iter()).map_err(Error::native)?;
        let moved = blocking(client, move |client| client.seek(&positions, REQUEST)).await;
        let code = match &moved {
            Ok(entries) => entries.first().and_then(|entry| entry.code),
            Err(error) => Some(error.code),
        };
        match code {
            None => return Ok(()),
            Some(Code::State | Code::PreviousInProgress | Code::OperationTimedOut) => {
                tokio::time::sleep(SEEK_PAUSE).await;
            }
            Some(code) => {
                let error = moved.err().unwrap_or_else(|| NativeError::named(Some(code), "seek"));
                return Err(named(error, "seek", key));
            }
        }
    }
}

/// Moves a partition to where the group has committed, or without that to `first`. Transactions that are about to end are
/// waited for (KIP-447). What is finished from there on, as far as is told.
pub(super) async fn at_committed(client: &Arc<Client>, key: &Key, first: Option<i64>) -> Result<Tracker, Error> {
    let committed = committed(client, std::slice::from_ref(key)).await?.remove(key);
    match (committed, first) {
        (Some(Committed { offset, map, .. }), _) => {
            seek(client, key, StartAt::Offset(offset)).await?;
            Ok(Tracker::resume(offset, map))
        }
        (None, Some(first)) => seek(client, key, StartAt::Offset(first)).await.map(|()| Tracker::new()),
        // Nothing was ever read: it stands where it began.
        (None, None) => Ok(Tracker::new()),
    }
}

async fn place(client: &Arc<Client>, key: &Key, to: StartAt) -> Result<i64, Error> {
    let time = match to {
        StartAt::Offset(offset) if offset < 0 => {
            return Err(named(NativeError::named(Some(Code::InvalidArgument), "negative offset"), "seek", key));
        }
        StartAt::Offset(offset) => return Ok(offset),
        StartAt::Beginning => EARLIEST,
        StartAt::End => LATEST,
        StartAt::Time(time) => millis(time),
    };
    match offset_for(client, key, time).await? {
        Some(offset) => Ok(offset),
        // No record is as young as that.
        None => offset_for(client, key, LATEST).await.map(Option::unwrap_or_default),
    }
}

async fn offset_for(client: &Arc<Client>, key: &Key, time: i64) -> Result<Option<i64>, Error> {
    let entries = ends(client, &[(key.clone(), time)]).await?;
    Ok(entries.first().and_then(|entry| entry.offset))
}

/// The offsets of times, asked until the cluster answers.
pub(super) async fn ends(client: &Arc<Client>, times: &[(Key, i64)]) -> Result<Vec<Entry>, Error> {
    repeatedly("list offsets", || {
        let list = list(times.iter().map(|(key, time)| (key, Some(*time))))?;
        Ok(blocking(client, move |client| client.offsets_for_times(&list, REQUEST)))
    })
    .await
}

/// Where a partition ends, also for those who read what is committed only: [`ends`] tells them where the first open
/// transaction begins, behind which others may have been committed already.
pub(super) async fn log_end(client: &Arc<Client>, key: &Key) -> Result<i64, Error> {
    let listed = repeatedly("list offsets", || {
        let answers = Queue::new(client).wakes();
        let requests = Requests { client, answers: &answers, wait: REQUEST, broker: None };
        requests.list_offsets(&[(&key.0, key.1, Spec::Latest)], false)?;
        let client = client.clone();
        Ok(async move {
            // librdkafka answers in time, whatever happens.
            let event = answers.next().await;
            drop(client);
            event.error()?;
            let listed = event.listed_offsets().unwrap_or_default().into_iter();
            let entry = |((topic, partition), listed): ((String, i32), Result<Listed, NativeError>)| {
                let offset = listed?.offset;
                Ok(Entry { topic, partition, offset, metadata: None, code: None, error: None })
            };
            listed.map(entry).collect()
        }
        .boxed())
    })
    .await?;
    Ok(listed.first().and_then(|entry| entry.offset).unwrap_or(0))
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Asks again while that may help. An answer with an error in one partition is no answer.
async fn repeatedly(
    operation: &'static str,
    mut ask: impl FnMut() -> Result<BoxFuture<'static, Result<Vec<Entry>, NativeError>>, NativeError>,
) -> Result<Vec<Entry>, Error> {
    loop {
        let error = match ask().map_err(Error::native)?.await {
            Ok(entries) => match entries.iter().find(|entry| entry.code.is_some()) {
                None => return Ok(entries),
                Some(entry) => Error::native(NativeError::named(entry.code, entry.error.unwrap_or("unknown")))
                    .with_topic(&entry.topic)
                    .with_partition(Some(entry.partition)),
            },
            Err(error) => Error::native(error),
        };
        let error = error.with_operation(operation);
        match error.kind() {
            ErrorKind::Denied | ErrorKind::Config | ErrorKind::Closed => return Err(error),
            _ => tracing::debug!(%error, "asked again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn list<'k>(lines: impl Iterator<Item = (&'k Key, Option<i64>)>) -> Result<Partitions, NativeError> {
    let mut list = Partitions::new();
    for (key, offset) in lines {
        list.add(&key.0, key.1, offset, None)?;
    }
    Ok(list)
}

/// Calls librdkafka where it may block.
fn blocking(
    client: &Arc<Client>,
    call: impl FnOnce(&Client) -> Result<Vec<Entry>, NativeError> + Send + 'static,
) -> BoxFuture<'static, Result<Vec<Entry>, NativeError>> {
    let client = client.clone();
    let task = tokio::task::spawn_blocking(move || call(&client));
    let ended = || NativeError::named(Some(Code::OperationTimedOut), "_TIMED_OUT").with_text("the runtime ends");
    task.map(move |result| result.unwrap_or_else(|_| Err(ended()))).boxed()
}

fn named(error: NativeError, operation: &'static str, key: &Key) -> Error {
    Error::native(error).with_operation(operation).with_topic(&*key.0).with_partition(Some(key.1))
}

/// Where the group stands on partitions: its committed offset, or that of the oldest record.
pub(super) async fn starts(client: &Arc<Client>, keys: &[Key]) -> Result<BTreeMap<Key, i64>, Error> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let times: Vec<_> = keys.iter().map(|key| (key.clone(), EARLIEST)).collect();
    let oldest = ends(client, &times).await?.into_iter();
    let mut starts: BTreeMap<Key, i64> =
        oldest.filter_map(|entry| Some(((Arc::from(entry.topic), entry.partition), entry.offset?))).collect();
    starts.extend(committed(client, keys).await?.into_iter().map(|(key, one)| (key, one.offset)));
    Ok(starts)
}

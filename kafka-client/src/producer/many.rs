//! `send_batch`: records are encoded in portions, and handed over with one native call a portion.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kafka_serde::{Miss, Stop};

use super::attempt::{choose, closed, refused};
use super::batch::{BatchError, BatchFailure, Progress};
use super::core::{Permit, Refusal, Settled};
use super::handles::Handle;
use super::missing::Waiting;
use super::outcome::SendError;
use super::{Producer, Shared};
use crate::error::Error;
use crate::headers::Headers;
use crate::native::Token;
use crate::native::topic::{Batch as NativeBatch, Filling, Outgoing, Piece};
use crate::record::sealed::{Scratch, Sendable as Encode};
use crate::record::{Sendable, sealed};
use crate::topic::TopicName;

/// How many records, and about how many bytes, are handed over at once.
const PORTION_RECORDS: usize = 512;
const PORTION_BYTES: usize = 256 * 1024;

impl Producer {
    /// Sends many records, of one or more topics, and waits for all answers. Records keep their order.
    ///
    /// Returns how many were delivered: all of them.
    ///
    /// # Errors
    /// A [`BatchError`] when any failed: how many were delivered, and which were not, each with its [`SendError`].
    /// Others are not held up by one that fails. While a schema registry is down, the records after one that waits for
    /// it wait as well, since they keep their order; all together for `message.timeout.ms` at most.
    ///
    /// # Cancel safety
    /// Dropping the future: records that were handed over are sent, the others are not.
    pub async fn send_batch<R: Sendable>(&self, records: impl IntoIterator<Item = R>) -> Result<usize, BatchError> {
        self.hand_over_batch(records).await.finished().await
    }

    /// Hands over many records without waiting for answers; the first that was refused at once.
    pub(crate) async fn enqueue_batch<R: Sendable>(
        &self,
        records: impl IntoIterator<Item = R>,
    ) -> Result<usize, SendError> {
        let batch = self.hand_over_batch(records).await;
        match batch.progress.refused() {
            Some(error) => Err(error),
            None => Ok(batch.count),
        }
    }

    async fn hand_over_batch<R: Sendable>(&self, records: impl IntoIterator<Item = R>) -> OpenBatch<'_> {
        let mut batch = OpenBatch::new(self.shared());
        let mut portions = Portions::default();
        let mut waiting = Waiting::new();
        let mut records = records.into_iter();
        let mut taken: Vec<R> = Vec::with_capacity(records.size_hint().0.clamp(1, PORTION_RECORDS));
        loop {
            taken.clear();
            taken.extend(records.by_ref().take(PORTION_RECORDS));
            if taken.is_empty() {
                break;
            }
            batch.hand_over(&taken, &mut portions, &mut waiting).await;
        }
        drop(taken);
        batch
    }
}

/// A batch whose records are being handed over; given up when it is dropped before its answer.
struct OpenBatch<'a> {
    shared: &'a Shared,
    progress: Arc<Progress>,
    index: u32,
    /// Records handed over or refused so far.
    count: usize,
    answered: bool,
}

/// Buffers of a batch, reused from portion to portion.
#[derive(Default)]
struct Portions {
    scratch: Scratch,
    native: NativeBatch,
    handle: Option<(TopicName, Arc<Handle>)>,
}

/// What came of one portion.
enum Portion {
    /// So many records were handed over or refused.
    Done(usize),
    /// No room for so many records and bytes.
    Full(usize, usize),
    Miss(Miss),
    Uncounted(Arc<Handle>),
}

impl<'a> OpenBatch<'a> {
    fn new(shared: &'a Shared) -> Self {
        let progress = Arc::new(Progress::default());
        let index = shared.core.batches.insert(progress.clone());
        Self { shared, progress, index, count: 0, answered: false }
    }

    async fn hand_over<R: Sendable>(&mut self, records: &[R], portions: &mut Portions, waiting: &mut Waiting) {
        let mut from = 0;
        while from < records.len() {
            let topic = records[from].topic_text();
            let met = match self.portion(&records[from..], portions, &mut waiting.permit) {
                Portion::Done(count) => {
                    from += count;
                    self.count += count;
                    waiting.next_record();
                    continue;
                }
                Portion::Full(count, bytes) => {
                    self.shared.wait_for_room(count, bytes, waiting).await;
                    continue;
                }
                Portion::Miss(miss) => self.shared.fetch(miss, topic, waiting).await,
                Portion::Uncounted(handle) => self.shared.ask_partitions(&handle, waiting).await,
            };
            if let Err(error) = met {
                // This record fails; the next one may not need what was missing.
                self.fail(self.count, self.shared.unaccepted(&records[from], error));
                self.count += 1;
                from += 1;
                waiting.next_record();
            }
        }
    }

    /// Hands over records from the front of `records`: as many as go together into one native call, or one alone.
    fn portion<R: Sendable>(&self, records: &[R], portions: &mut Portions, permit: &mut Option<Permit>) -> Portion {
        let limits = self.shared.core.limits();
        let most_records = permit.as_ref().map_or(limits.records, Permit::records).min(records.len());
        portions.scratch.reset();
        let handle = match portions.handle_of(self.shared, &records[0]) {
            Ok(handle) => handle,
            Err(error) => {
                self.fail(self.count, SendError::new(error.with_topic(records[0].topic_text()), false, None));
                return Portion::Done(1);
            }
        };
        let Portions { scratch, native, .. } = portions;
        let mut filling = native.fill(most_records);
        let most_bytes = PORTION_BYTES.min(limits.bytes);
        let mut bytes = 0;
        for record in &records[..most_records] {
            let first = filling.len() == 0;
            // Anything out of the ordinary begins a portion of its own, so that a portion succeeds or waits as one.
            let together = self.shared.is_plain(record) && same_topic(&records[0], record);
            if !first && !together {
                break;
            }
            let before = scratch.bytes.len();
            let mut encoded = self.shared.encode(record, scratch);
            if let (Ok((_, key, value)), Some(_)) = (&encoded, &self.shared.partitioner) {
                encoded = self.shared.assigned(record, &handle, scratch, *key, *value);
            }
            match encoded {
                Ok((partition, key, value)) => {
                    let size = key.len() + value.len();
                    if !first && (bytes + size > most_bytes || !scratch.headers.is_empty()) {
                        // It goes with the next portion, and so do its headers.
                        scratch.headers.clear();
                        break;
                    }
                    bytes += size;
                    filling.push(partition, key, value);
                    if !scratch.headers.is_empty() {
                        break;
                    }
                }
                Err(Unencoded::Failed(error)) if first => {
                    self.fail(self.count, error);
                    return Portion::Done(1);
                }
                Err(Unencoded::Needs(need)) if first => return need,
                Err(_) => {
                    scratch.bytes.truncate(before);
                    scratch.headers.clear();
                    break;
                }
            }
            if first && !self.shared.is_plain(record) {
                break;
            }
        }
        let count = filling.len();
        let taken = match permit.take() {
            Some(permit) => self.shared.core.start_many(permit, count, bytes),
            None => self.shared.core.take_many(count, bytes),
        };
        let epoch = match taken {
            Ok(epoch) => epoch,
            Err(Refusal::Full) => return Portion::Full(count, bytes),
            Err(Refusal::Closed) => {
                for (at, record) in records[..count].iter().enumerate() {
                    if let Some((_, key, value)) = filling.get(at, &scratch.bytes) {
                        self.fail(self.count + at, refused(record, scratch.encoding(key, value), closed()));
                    }
                }
                return Portion::Done(count);
            }
        };
        self.produce(records, filling, epoch, &handle, scratch);
        Portion::Done(count)
    }

    fn produce<R: Sendable>(
        &self,
        records: &[R],
        filling: Filling<'_, '_>,
        epoch: usize,
        handle: &Handle,
        scratch: &Scratch,
    ) {
        let token = |at| Token::of_batch(self.index, (self.count + at) as u32, epoch);
        let mut failures = Vec::new();
        let mut settled = Settled::default();
        let mut refuse = |at: usize, error, key: Option<&[u8]>, value: Option<&[u8]>, headers: Headers| {
            let encoding = scratch.encoding(Piece::of(key), Piece::of(value));
            settled.records += 1;
            settled.bytes += encoding.bytes() + headers.bytes();
            let error = self.shared.refused(&records[at], encoding, headers, error);
            settled.totals[epoch].failed += 1;
            failures.push(BatchFailure { index: self.count + at, error });
        };
        if self.shared.is_plain(&records[0]) && scratch.headers.is_empty() {
            filling.produce(&handle.topic, &scratch.bytes, token, |at, error, key, value| {
                refuse(at, error, key, value, Headers::new());
            });
        } else if let Some((partition, key, value)) = filling.get(0, &scratch.bytes) {
            let encoding = scratch.encoding(key, value);
            let headers = self.shared.headers(&records[0], encoding, partition);
            self.shared.count_headers(&headers);
            let list = headers.iter().map(|header| (header.name_bytes(), header.value()));
            let outgoing = Outgoing { partition, key: encoding.key, value: encoding.value, token: token(0) };
            let produced = handle.topic.produce_with(outgoing, records[0].timestamp(), list);
            if let Err(error) = produced {
                refuse(0, error, encoding.key, encoding.value, headers);
            }
        }
        self.shared.core.settle(&mut settled);
        self.progress.add(0, &mut failures);
    }

    fn fail(&self, index: usize, error: SendError) {
        self.progress.add(0, &mut vec![BatchFailure { index, error }]);
    }

    async fn finished(mut self) -> Result<usize, BatchError> {
        self.progress.handed_over(self.count);
        let answer = self.progress.finished().await;
        self.answered = true;
        answer
    }
}

impl Drop for OpenBatch<'_> {
    fn drop(&mut self) {
        // Reports of a batch that nobody waits for still find it, until the last one removes it.
        if self.answered || self.progress.abandon(self.count) {
            self.shared.core.batches.remove(self.index);
        }
    }
}

impl Portions {
    fn handle_of<R: Sendable>(&mut self, shared: &Shared, record: &R) -> Result<Arc<Handle>, Error> {
        record.with_topic(|name| match &self.handle {
            Some((known, handle)) if known == name => Ok(handle.clone()),
            _ => {
                let handle = shared.handles.with(name, Arc::clone).map_err(|error| shared.native(error))?;
                self.handle = Some((name.clone(), handle.clone()));
                Ok(handle)
            }
        })
    }
}

/// A record's partition, where it has one, and its encoded halves.
type Encoded<'r> = (Option<i32>, Piece<'r>, Piece<'r>);

/// Why a record has no encoding yet.
enum Unencoded {
    Failed(SendError),
    Needs(Portion),
}

#[inline]
fn same_topic<R: sealed::Sendable>(one: &R, other: &R) -> bool {
    one.with_topic(|one| other.with_topic(|other| one == other))
}

impl Shared {
    /// Whether the native batch call can carry this record.
    #[inline]
    fn is_plain<R: sealed::Sendable>(&self, record: &R) -> bool {
        self.interceptors.is_empty() && record.is_plain()
    }

    /// Encodes one record of a batch at the end of the buffer.
    #[inline]
    fn encode<'r, R: Encode>(&self, record: &'r R, scratch: &mut Scratch) -> Result<Encoded<'r>, Unencoded> {
        match record.encode_parts(scratch) {
            Ok([key, value]) => Ok((record.partition(), key, value)),
            Err(stop) => Err(unencoded(record, stop)),
        }
    }

    /// Asks the custom partitioner about a record that does not name its partition.
    fn assigned<'r, R: Encode>(
        &self,
        record: &'r R,
        handle: &Arc<Handle>,
        scratch: &Scratch,
        key: Piece<'r>,
        value: Piece<'r>,
    ) -> Result<Encoded<'r>, Unencoded> {
        let Some(partitioner) = self.partitioner.as_deref().filter(|_| record.partition().is_none()) else {
            return Ok((record.partition(), key, value));
        };
        let Some(partitions) = handle.partitions() else {
            return Err(Unencoded::Needs(Portion::Uncounted(handle.clone())));
        };
        let encoding = scratch.encoding(key, value);
        match choose(partitioner, record, encoding, partitions) {
            Ok(partition) => Ok((partition, key, value)),
            Err(error) => Err(Unencoded::Failed(refused(record, encoding, error))),
        }
    }

    /// Counts the bytes of a record's headers, which were not part of its permit.
    pub(super) fn count_headers(&self, headers: &Headers) {
        if !headers.is_empty() {
            self.control.headers_used.store(true, Ordering::Relaxed);
            self.core.overdraw(headers.bytes());
        }
    }
}

#[cold]
fn unencoded<R: Encode>(record: &R, stop: Stop) -> Unencoded {
    match stop {
        Stop::Miss(miss) => Unencoded::Needs(Portion::Miss(miss)),
        Stop::Error(error) => {
            let error = Error::unencodable(error).with_topic(record.topic_text());
            Unencoded::Failed(SendError::new(error, false, None))
        }
    }
}

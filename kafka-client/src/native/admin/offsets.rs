//! Offsets: where partitions start and end, and what groups have committed.

use std::ptr;
use std::slice;

use rdkafka_sys::bindings as sys;

use super::{Options, Owned, Requests, error_of, list, text};
use crate::native::client::{c_string, millis};
use crate::native::{Client, Event, NativeError, Partitions};

/// What a request says about one of its partitions.
pub(crate) type PerPartition<T> = Vec<((String, i32), Result<T, NativeError>)>;

/// An offset that a leader tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// `None`: there is no such offset, as for a timestamp after the last record.
    pub(crate) offset: Option<i64>,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) leader_epoch: Option<i32>,
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// `None`: nothing.
    pub(crate) offset: Option<i64>,
    pub(crate) metadata: Vec<u8>,
    pub(crate) leader_epoch: Option<i32>,
}

/// Which offset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spec {
    Earliest,
    Latest,
    MaxTimestamp,
    /// Milliseconds since the epoch, not negative.
    Timestamp(i64),
}

impl Spec {
    /// As Kafka writes it where a timestamp goes.
    fn raw(self) -> i64 {
        use sys::rd_kafka_OffsetSpec_t as Raw;
        match self {
            Self::Earliest => Raw::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64,
            Self::Latest => Raw::RD_KAFKA_OFFSET_SPEC_LATEST as i64,
            Self::MaxTimestamp => Raw::RD_KAFKA_OFFSET_SPEC_MAX_TIMESTAMP as i64,
            Self::Timestamp(millis) => millis.max(0),
        }
    }
}

impl Requests<'_> {
    /// Asks the leaders for offsets. No partition may be named twice; with none, nothing is asked.
    pub(crate) fn list_offsets(&self, of: &[(&str, i32, Spec)], read_committed: bool) -> Result<(), NativeError> {
        use sys::rd_kafka_IsolationLevel_t as Isolation;
        let mut partitions = Partitions::new();
        for (topic, partition, spec) in of {
            partitions.add(topic, *partition, Some(spec.raw()), None)?;
        }
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS)?;
        let isolation = match read_committed {
            true => Isolation::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
            false => Isolation::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
        };
        // SAFETY: client, queue, options and list are alive, librdkafka copies the list; the error object is ours.
        unsafe {
            NativeError::take(sys::rd_kafka_AdminOptions_set_isolation_level(options.raw(), isolation))?;
            sys::rd_kafka_ListOffsets(self.client.raw(), partitions.raw(), options.raw(), self.answers.raw());
        }
        Ok(())
    }

    /// Asks what a group has committed, for these partitions or for all.
    ///
    /// The client must be a consumer with a group: to a coordinator that says that it is none, librdkafka answers by
    /// asking the client's own group for another, without looking whether there is one.
    pub(crate) fn group_offsets(&self, group: &str, of: Option<&[(&str, i32)]>) -> Result<(), NativeError> {
        let id = c_string(group)?;
        let partitions = of.map(named).transpose()?;
        let list = partitions.as_ref().map_or(ptr::null_mut(), Partitions::raw);
        // SAFETY: id and list are alive, or the list is null; both are copied. The object is ours.
        let request = unsafe { sys::rd_kafka_ListConsumerGroupOffsets_new(id.as_ptr(), list) };
        let request = Owned::new(request, sys::rd_kafka_ListConsumerGroupOffsets_destroy)?;
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS)?;
        // SAFETY: client, queue, options and request are alive; librdkafka copies the one request.
        unsafe {
            sys::rd_kafka_ListConsumerGroupOffsets(
                self.client.raw(),
                &mut request.raw(),
                1,
                options.raw(),
                self.answers.raw(),
            );
        }
        Ok(())
    }

    /// Commits offsets for a group, without metadata.
    pub(crate) fn alter_group_offsets(&self, group: &str, to: &[(&str, i32, i64)]) -> Result<(), NativeError> {
        let id = c_string(group)?;
        let mut partitions = Partitions::new();
        for (topic, partition, offset) in to {
            partitions.add(topic, *partition, Some(*offset), None)?;
        }
        // SAFETY: as for `group_offsets`.
        let request = unsafe { sys::rd_kafka_AlterConsumerGroupOffsets_new(id.as_ptr(), partitions.raw()) };
        let request = Owned::new(request, sys::rd_kafka_AlterConsumerGroupOffsets_destroy)?;
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS)?;
        // SAFETY: as for `group_offsets`.
        unsafe {
            sys::rd_kafka_AlterConsumerGroupOffsets(
                self.client.raw(),
                &mut request.raw(),
                1,
                options.raw(),
                self.answers.raw(),
            );
        }
        Ok(())
    }

    /// Asks for committed offsets of a group to go.
    pub(crate) fn delete_group_offsets(&self, group: &str, of: &[(&str, i32)]) -> Result<(), NativeError> {
        let id = c_string(group)?;
        let partitions = named(of)?;
        // SAFETY: as for `group_offsets`.
        let request = unsafe { sys::rd_kafka_DeleteConsumerGroupOffsets_new(id.as_ptr(), partitions.raw()) };
        let request = Owned::new(request, sys::rd_kafka_DeleteConsumerGroupOffsets_destroy)?;
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETECONSUMERGROUPOFFSETS)?;
        // SAFETY: as for `group_offsets`.
        unsafe {
            sys::rd_kafka_DeleteConsumerGroupOffsets(
                self.client.raw(),
                &mut request.raw(),
                1,
                options.raw(),
                self.answers.raw(),
            );
        }
        Ok(())
    }
}

fn named(partitions: &[(&str, i32)]) -> Result<Partitions, NativeError> {
    let mut list = Partitions::new();
    for (topic, partition) in partitions {
        list.add(topic, *partition, None, None)?;
    }
    Ok(list)
}

impl NativeError {
    /// What is said of a partition that nobody has said anything about.
    pub(crate) fn no_answer() -> Self {
        Self::from_raw(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT)
    }
}

impl Event {
    /// What the leaders say about each partition. `None` if the event answers something else.
    pub(crate) fn listed_offsets(&self) -> Option<PerPartition<Listed>> {
        let mut count = 0;
        // SAFETY: the event is alive; the result is null, or lives as long as the event, and its parts with it.
        unsafe {
            let result = sys::rd_kafka_event_ListOffsets_result(self.raw());
            if result.is_null() {
                return None;
            }
            let infos = list(sys::rd_kafka_ListOffsets_result_infos(result, &mut count), count);
            Some(infos.map(|info| listed(info)).collect())
        }
    }

    /// What a group has committed. `None` if the event answers something else.
    pub(crate) fn committed_offsets(&self) -> Option<PerPartition<Committed>> {
        let mut count = 0;
        // SAFETY: the event is alive; the result is null, or lives as long as the event.
        let groups = unsafe {
            let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(self.raw());
            if result.is_null() {
                return None;
            }
            list(sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count), count)
        };
        // SAFETY: the groups live as long as the event.
        Some(unsafe { per_partition(groups, committed) })
    }

    /// What became of offsets that were to be committed or to go. `None` if the event answers something else.
    pub(crate) fn changed_offsets(&self) -> Option<PerPartition<()>> {
        let mut count = 0;
        // SAFETY: the event is alive; each call returns null unless the event answers its request. A non-null result
        // lives as long as the event.
        let groups = unsafe {
            let altered = sys::rd_kafka_event_AlterConsumerGroupOffsets_result(self.raw());
            let deleted = sys::rd_kafka_event_DeleteConsumerGroupOffsets_result(self.raw());
            let groups = match () {
                () if !altered.is_null() => sys::rd_kafka_AlterConsumerGroupOffsets_result_groups(altered, &mut count),
                () if !deleted.is_null() => sys::rd_kafka_DeleteConsumerGroupOffsets_result_groups(deleted, &mut count),
                () => return None,
            };
            list(groups, count)
        };
        // SAFETY: the groups live as long as the event.
        Some(unsafe { per_partition(groups, |_| ()) })
    }
}

/// # Safety
/// `info` is alive.
unsafe fn listed(info: *const sys::rd_kafka_ListOffsetsResultInfo_t) -> ((String, i32), Result<Listed, NativeError>) {
    // SAFETY: alive by the contract, and its line with it.
    unsafe {
        let line = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
        let timestamp = sys::rd_kafka_ListOffsetsResultInfo_timestamp(info);
        let answer = match NativeError::check(line.err) {
            // A leader that did not answer leaves neither error nor offset behind.
            Ok(()) if line.offset < -1 => Err(NativeError::no_answer()),
            Ok(()) => Ok(Listed {
                offset: known(line.offset),
                timestamp_ms: known(timestamp),
                leader_epoch: leader_epoch(line),
            }),
            Err(error) => Err(error),
        };
        ((text(line.topic), line.partition), answer)
    }
}

/// # Safety
/// The groups are alive.
unsafe fn per_partition<T>(
    groups: impl Iterator<Item = *const sys::rd_kafka_group_result_t>,
    read: impl Fn(&sys::rd_kafka_topic_partition_t) -> T,
) -> PerPartition<T> {
    let mut all = Vec::new();
    for group in groups {
        // SAFETY: the group is alive by the contract, and so are its error and its list, where it has one, whose
        // `elems` holds `cnt` lines.
        let (error, lines) = unsafe {
            let list = sys::rd_kafka_group_result_partitions(group);
            let lines: &[sys::rd_kafka_topic_partition_t] = match list.is_null() || (*list).cnt <= 0 {
                true => &[],
                false => slice::from_raw_parts((*list).elems, (*list).cnt as usize),
            };
            (error_of(sys::rd_kafka_group_result_error(group)), lines)
        };
        all.extend(lines.iter().map(|line| {
            // SAFETY: the topic is a C string.
            let topic = unsafe { text(line.topic) };
            let result = error.clone().and_then(|()| NativeError::check(line.err));
            ((topic, line.partition), result.map(|()| read(line)))
        }));
    }
    all
}

/// What a line says that is alive, as every reference is.
fn committed(line: &sys::rd_kafka_topic_partition_t) -> Committed {
    let metadata = match line.metadata.is_null() {
        true => &[],
        // SAFETY: not null, so of the stated size. Whoever commits may put any bytes in it.
        false => unsafe { slice::from_raw_parts(line.metadata.cast::<u8>(), line.metadata_size) },
    };
    Committed { offset: known(line.offset), metadata: metadata.to_vec(), leader_epoch: leader_epoch(line) }
}

fn leader_epoch(line: &sys::rd_kafka_topic_partition_t) -> Option<i32> {
    // SAFETY: the line is alive.
    let epoch = unsafe { sys::rd_kafka_topic_partition_get_leader_epoch(line) };
    (epoch >= 0).then_some(epoch)
}

/// Kafka writes what there is not as a negative number.
fn known(number: i64) -> Option<i64> {
    (number >= 0).then_some(number)
}

impl Client {
    /// Every partition of every topic, asked of the cluster. Blocks for up to `wait`.
    pub(crate) fn all_partitions(&self, wait: std::time::Duration) -> Result<Vec<(String, i32)>, NativeError> {
        let mut metadata: *const sys::rd_kafka_metadata = ptr::null();
        // SAFETY: the instance is alive; on success `metadata` points to an object that we destroy below.
        NativeError::check(unsafe {
            sys::rd_kafka_metadata(self.raw(), 1, ptr::null_mut(), &mut metadata, millis(wait))
        })?;
        let mut all = Vec::new();
        // SAFETY: librdkafka filled the object: `topics` holds `topic_cnt` topics, each with a C string for a name. It
        // is ours since the successful call, and not used after it is destroyed.
        unsafe {
            for topic in slice::from_raw_parts((*metadata).topics, (*metadata).topic_cnt.max(0) as usize) {
                let name = text(topic.topic);
                all.extend((0..topic.partition_cnt).map(|partition| (name.clone(), partition)));
            }
            sys::rd_kafka_metadata_destroy(metadata);
        }
        Ok(all)
    }
}

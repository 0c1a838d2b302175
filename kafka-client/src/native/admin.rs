//! Admin requests: submitted here, answered by an event on a queue. Topics and the cluster are in this file.

pub(crate) mod configs;
pub(crate) mod groups;
pub(crate) mod offsets;

use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka_sys::bindings as sys;

use super::client::{c_string, millis};
use super::code::{ERROR_TEXT_BYTES, text_of};
use super::{Client, Event, NativeError, Queue};

/// A topic to create.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewTopic<'a> {
    pub(crate) name: &'a str,
    pub(crate) partitions: i32,
    /// `None`: the broker's default.
    pub(crate) replication: Option<i16>,
    pub(crate) config: &'a [(String, String)],
}

/// A topic as one broker knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) partitions: i32,
    /// The smallest number of replicas of a partition.
    pub(crate) replication: i16,
    pub(crate) leaderless: i32,
    /// Names of operations that this client may do (KIP-430); `None` if that was not asked, or the broker does not say.
    pub(crate) operations: Option<Vec<String>>,
}

/// What a request says about one of its topics.
pub(crate) type PerTopic<T> = Vec<(String, Result<T, NativeError>)>;

/// Submits requests of one client, each answered by an event on `answers`.
pub(crate) struct Requests<'a> {
    pub(crate) client: &'a Client,
    pub(crate) answers: &'a Queue,
    pub(crate) wait: Duration,
    /// Whom to ask; `None`: the controller. The mock cluster has none.
    pub(crate) broker: Option<i32>,
}

impl Requests<'_> {
    /// Asks for new topics.
    pub(crate) fn create_topics(&self, topics: &[NewTopic<'_>]) -> Result<(), NativeError> {
        let topics = topics.iter().map(new_topic).collect::<Result<Vec<_>, _>>()?;
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS)?;
        let mut list = pointers(&topics);
        // SAFETY: client, queue and options are alive, and so is each of the `list.len()` topics; librdkafka copies.
        unsafe {
            sys::rd_kafka_CreateTopics(
                self.client.raw(),
                list.as_mut_ptr(),
                list.len(),
                options.raw(),
                self.answers.raw(),
            );
        }
        Ok(())
    }

    /// Asks for topics to have as many partitions in all.
    pub(crate) fn create_partitions(&self, topics: &[(&str, i32)]) -> Result<(), NativeError> {
        let topics = topics.iter().map(|(name, total)| new_partitions(name, *total)).collect::<Result<Vec<_>, _>>()?;
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS)?;
        let mut list = pointers(&topics);
        // SAFETY: as for `create_topics`.
        unsafe {
            sys::rd_kafka_CreatePartitions(
                self.client.raw(),
                list.as_mut_ptr(),
                list.len(),
                options.raw(),
                self.answers.raw(),
            );
        }
        Ok(())
    }

    /// Asks for topics to go.
    pub(crate) fn delete_topics(&self, names: &[&str]) -> Result<(), NativeError> {
        let topics = names.iter().map(|name| delete_topic(name)).collect::<Result<Vec<_>, _>>()?;
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETETOPICS)?;
        let mut list = pointers(&topics);
        // SAFETY: as for `create_topics`.
        unsafe {
            sys::rd_kafka_DeleteTopics(
                self.client.raw(),
                list.as_mut_ptr(),
                list.len(),
                options.raw(),
                self.answers.raw(),
            );
        }
        Ok(())
    }

    /// Asks for partitions and leaders of topics, and for what this client may do with them. Creates none.
    pub(crate) fn describe_topics(&self, names: &[&str], operations: bool) -> Result<(), NativeError> {
        let names = names.iter().map(|name| c_string(name)).collect::<Result<Vec<CString>, _>>()?;
        let mut list: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS)?;
        if operations {
            // SAFETY: the options are alive; the error is ours, or null.
            unsafe {
                NativeError::take(sys::rd_kafka_AdminOptions_set_include_authorized_operations(options.raw(), 1))?;
            }
        }
        // SAFETY: `list` holds that many C strings, which are alive and copied; the collection is ours.
        let collection = unsafe { sys::rd_kafka_TopicCollection_of_topic_names(list.as_mut_ptr(), list.len()) };
        let collection = Owned::new(collection, sys::rd_kafka_TopicCollection_destroy)?;
        // SAFETY: client, queue, options and collection are alive; librdkafka copies the names.
        unsafe {
            sys::rd_kafka_DescribeTopics(self.client.raw(), collection.raw(), options.raw(), self.answers.raw());
        }
        Ok(())
    }

    /// Asks for the brokers of the cluster.
    pub(crate) fn describe_cluster(&self) -> Result<(), NativeError> {
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER)?;
        // SAFETY: client, queue and options are alive.
        unsafe { sys::rd_kafka_DescribeCluster(self.client.raw(), options.raw(), self.answers.raw()) };
        Ok(())
    }
}

/// An object of librdkafka's that is ours, and how it is destroyed.
struct Owned<T> {
    ptr: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes over what a call of librdkafka has made; null is its way to say that it could not.
    fn new(ptr: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<Self, NativeError> {
        match NonNull::new(ptr) {
            Some(ptr) => Ok(Self { ptr, destroy }),
            None => Err(NativeError::from_raw(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG)),
        }
    }

    fn raw(&self) -> *mut T {
        self.ptr.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: ours, made by the call that `destroy` belongs to, and dropped once.
        unsafe { (self.destroy)(self.raw()) };
    }
}

fn pointers<T>(objects: &[Owned<T>]) -> Vec<*mut T> {
    objects.iter().map(Owned::raw).collect()
}

struct Options;

impl Options {
    /// Options of a request: how long librdkafka, and how long the broker, may take.
    #[allow(clippy::new_ret_no_self, reason = "the options are an owned object of librdkafka's like the others")]
    fn new(
        requests: &Requests<'_>,
        operation: sys::rd_kafka_admin_op_t,
    ) -> Result<Owned<sys::rd_kafka_AdminOptions_t>, NativeError> {
        /// The longest wait that librdkafka takes.
        const LONGEST_MS: i32 = 3_600_000;
        let wait_ms = millis(requests.wait).clamp(1, LONGEST_MS);
        let mut text = [0u8; ERROR_TEXT_BYTES];
        // SAFETY: the client is alive; the options are ours.
        let options = unsafe { sys::rd_kafka_AdminOptions_new(requests.client.raw(), operation) };
        let options = Owned::new(options, sys::rd_kafka_AdminOptions_destroy)?;
        // SAFETY: the options are alive and the buffer has the length that is passed.
        let set = unsafe {
            sys::rd_kafka_AdminOptions_set_request_timeout(options.raw(), wait_ms, text.as_mut_ptr().cast(), text.len())
        };
        NativeError::check(set).map_err(|error| error.with_text(text_of(&text)))?;
        if let Some(broker) = requests.broker {
            // SAFETY: as above.
            let set = unsafe {
                sys::rd_kafka_AdminOptions_set_broker(options.raw(), broker, text.as_mut_ptr().cast(), text.len())
            };
            NativeError::check(set).map_err(|error| error.with_text(text_of(&text)))?;
        }
        let changes = [
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETETOPICS,
        ];
        if changes.contains(&operation) {
            // SAFETY: as above.
            let set = unsafe {
                sys::rd_kafka_AdminOptions_set_operation_timeout(
                    options.raw(),
                    wait_ms,
                    text.as_mut_ptr().cast(),
                    text.len(),
                )
            };
            NativeError::check(set).map_err(|error| error.with_text(text_of(&text)))?;
        }
        Ok(options)
    }
}

fn new_topic(topic: &NewTopic<'_>) -> Result<Owned<sys::rd_kafka_NewTopic_t>, NativeError> {
    let name = c_string(topic.name)?;
    let replication = topic.replication.map_or(-1, i32::from);
    let mut text = [0u8; ERROR_TEXT_BYTES];
    // SAFETY: the name is alive and copied, and the buffer has the length that is passed; the object is ours.
    let object = unsafe {
        sys::rd_kafka_NewTopic_new(name.as_ptr(), topic.partitions, replication, text.as_mut_ptr().cast(), text.len())
    };
    let object = Owned::new(object, sys::rd_kafka_NewTopic_destroy).map_err(|error| error.with_text(text_of(&text)))?;
    for (key, value) in topic.config {
        let (key, value) = (c_string(key)?, c_string(value)?);
        // SAFETY: the object and both C strings are alive; librdkafka copies them.
        NativeError::check(unsafe { sys::rd_kafka_NewTopic_set_config(object.raw(), key.as_ptr(), value.as_ptr()) })?;
    }
    Ok(object)
}

fn new_partitions(name: &str, total: i32) -> Result<Owned<sys::rd_kafka_NewPartitions_t>, NativeError> {
    let name = c_string(name)?;
    let mut text = [0u8; ERROR_TEXT_BYTES];
    let total = usize::try_from(total).unwrap_or(0);
    // SAFETY: the name is alive and copied, and the buffer has the length that is passed; the object is ours.
    let object = unsafe { sys::rd_kafka_NewPartitions_new(name.as_ptr(), total, text.as_mut_ptr().cast(), text.len()) };
    Owned::new(object, sys::rd_kafka_NewPartitions_destroy).map_err(|error| error.with_text(text_of(&text)))
}

fn delete_topic(name: &str) -> Result<Owned<sys::rd_kafka_DeleteTopic_t>, NativeError> {
    let name = c_string(name)?;
    // SAFETY: the name is alive and copied; the object is ours.
    Owned::new(unsafe { sys::rd_kafka_DeleteTopic_new(name.as_ptr()) }, sys::rd_kafka_DeleteTopic_destroy)
}

impl NativeError {
    /// What a broker says of a topic that does not exist.
    pub(crate) fn unknown_topic() -> Self {
        Self::from_raw(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
    }
}

impl Event {
    /// What became of each topic that was to be created, grown or deleted. `None` if the event answers something else.
    pub(crate) fn topic_results(&self) -> Option<PerTopic<()>> {
        let mut count = 0;
        // SAFETY: the event is alive; each call returns null unless the event answers its request. A non-null result
        // lives as long as the event.
        let results = unsafe {
            let created = sys::rd_kafka_event_CreateTopics_result(self.raw());
            let grown = sys::rd_kafka_event_CreatePartitions_result(self.raw());
            let deleted = sys::rd_kafka_event_DeleteTopics_result(self.raw());
            match () {
                () if !created.is_null() => sys::rd_kafka_CreateTopics_result_topics(created, &mut count),
                () if !grown.is_null() => sys::rd_kafka_CreatePartitions_result_topics(grown, &mut count),
                () if !deleted.is_null() => sys::rd_kafka_DeleteTopics_result_topics(deleted, &mut count),
                () => return None,
            }
        };
        let one = |result: *const sys::rd_kafka_topic_result_t| {
            // SAFETY: the result lives as long as the event; its texts are copied.
            unsafe {
                let error = NativeError::check(sys::rd_kafka_topic_result_error(result))
                    .map_err(|error| with_c_text(error, sys::rd_kafka_topic_result_error_string(result)));
                (text(sys::rd_kafka_topic_result_name(result)), error)
            }
        };
        // SAFETY: `results` holds `count` results.
        Some(unsafe { list(results, count) }.map(one).collect())
    }

    /// Partitions and leaders of each topic that was asked about. `None` if the event answers something else.
    pub(crate) fn topic_descriptions(&self) -> Option<PerTopic<Found>> {
        let mut count = 0;
        // SAFETY: the event is alive; the result is null, or lives as long as the event.
        let topics = unsafe {
            let result = sys::rd_kafka_event_DescribeTopics_result(self.raw());
            if result.is_null() {
                return None;
            }
            sys::rd_kafka_DescribeTopics_result_topics(result, &mut count)
        };
        let one = |topic: *const sys::rd_kafka_TopicDescription_t| {
            // SAFETY: the description lives as long as the event, and its error with it: neither is destroyed here.
            unsafe {
                let error = sys::rd_kafka_TopicDescription_error(topic);
                let code = match error.is_null() {
                    true => sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
                    false => sys::rd_kafka_error_code(error),
                };
                (text(sys::rd_kafka_TopicDescription_name(topic)), NativeError::check(code).map(|()| found(topic)))
            }
        };
        // SAFETY: `topics` holds `count` descriptions.
        Some(unsafe { list(topics, count) }.map(one).collect())
    }

    /// The numbers of the brokers. `None` if the event answers something else.
    pub(crate) fn brokers(&self) -> Option<Vec<i32>> {
        let mut count = 0;
        // SAFETY: the event is alive; the result is null, or lives as long as the event, and its nodes with it.
        unsafe {
            let result = sys::rd_kafka_event_DescribeCluster_result(self.raw());
            if result.is_null() {
                return None;
            }
            // Of a failed request there is nothing to list, and librdkafka asserts that there is.
            if self.error().is_err() {
                return Some(Vec::new());
            }
            let nodes = list(sys::rd_kafka_DescribeCluster_result_nodes(result, &mut count), count);
            Some(nodes.map(|node| sys::rd_kafka_Node_id(node)).collect())
        }
    }
}

/// Names of operations.
///
/// # Safety
/// `operations` is null, or an array of `count` that is alive.
unsafe fn operations(operations: *const sys::rd_kafka_AclOperation_t, count: usize) -> Option<Vec<String>> {
    if operations.is_null() {
        return None;
    }
    // SAFETY: an array of `count` by the contract; the names are static.
    let name = |at| unsafe { text(sys::rd_kafka_AclOperation_name(*operations.add(at))) };
    Some((0..count).map(name).collect())
}

/// # Safety
/// `topic` is alive.
unsafe fn found(topic: *const sys::rd_kafka_TopicDescription_t) -> Found {
    let mut count = 0;
    // SAFETY: alive by the contract; the array holds `count` partitions, which live as long as the topic.
    let partitions = unsafe { list(sys::rd_kafka_TopicDescription_partitions(topic, &mut count), count) };
    let mut found = Found { partitions: 0, replication: i16::MAX, leaderless: 0, operations: None };
    // SAFETY: alive by the contract; the array lives as long as the topic.
    found.operations = unsafe {
        let mut count = 0;
        let allowed = sys::rd_kafka_TopicDescription_authorized_operations(topic, &mut count);
        operations(allowed, count)
    };
    for partition in partitions {
        let mut replicas = 0;
        // SAFETY: the partition lives as long as the topic; only the number of replicas is read.
        let leader = unsafe {
            sys::rd_kafka_TopicPartitionInfo_replicas(partition, &mut replicas);
            sys::rd_kafka_TopicPartitionInfo_leader(partition)
        };
        found.partitions += 1;
        found.replication = found.replication.min(i16::try_from(replicas).unwrap_or(i16::MAX));
        // SAFETY: not null, so a node that lives as long as the topic.
        let leads = !leader.is_null() && unsafe { sys::rd_kafka_Node_id(leader) } >= 0;
        found.leaderless += i32::from(!leads);
    }
    found
}

/// The objects of an array of pointers, without those that are null.
///
/// # Safety
/// `first` is null, or points to `count` pointers that live for `'a`.
unsafe fn list<'a, T: 'a>(first: *mut *const T, count: usize) -> impl Iterator<Item = *const T> + 'a {
    let items: &'a [*const T] = match first.is_null() {
        true => &[],
        // SAFETY: by the contract.
        false => unsafe { std::slice::from_raw_parts(first, count) },
    };
    items.iter().copied().filter(|item| !ptr::eq(*item, ptr::null()))
}

/// # Safety
/// `text` is null or a C string.
unsafe fn text(text: *const c_char) -> String {
    match text.is_null() {
        true => String::new(),
        // SAFETY: by the contract.
        false => unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned(),
    }
}

/// # Safety
/// `words` is null or a C string.
unsafe fn with_c_text(error: NativeError, words: *const c_char) -> NativeError {
    // SAFETY: by the contract.
    match unsafe { text(words) } {
        words if words.is_empty() => error,
        words => error.with_text(words),
    }
}

/// What an error object says that belongs to somebody else; null means success.
///
/// # Safety
/// `error` is null or alive.
unsafe fn error_of(error: *const sys::rd_kafka_error_t) -> Result<(), NativeError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: alive by the contract; the text is copied, and nothing is destroyed.
    unsafe {
        NativeError::check(sys::rd_kafka_error_code(error))
            .map_err(|native| with_c_text(native, sys::rd_kafka_error_string(error)))
    }
}

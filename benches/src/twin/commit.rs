//! The C commit loop: a record, its commit, and the answer from a queue of its own.

use std::ffi::CString;
use std::ptr;
use std::time::Instant;

use rdkafka_sys::bindings as c;

use super::{Client, NO_ERROR, consume, error_text};
use crate::frame::{Load, Outcome, Sample};
use crate::meter::Window;
use crate::trip::UNMEASURED;

/// The time from `rd_kafka_commit_queue` to its event, and to the next record, which is there already.
pub(crate) fn commit_queue(load: &Load) -> Outcome<Sample> {
    let client = consume::open(load, &())?;
    consume::assign(&client, load)?;
    let topic = CString::new(load.topic.as_str())?;
    let answers = Answers::new(&client);
    let (mut latencies, mut window) = (Vec::with_capacity(load.messages as usize), None);
    let mut offset = next_record(&client);
    for number in 1..load.messages {
        if number >= UNMEASURED {
            window.get_or_insert_with(Window::open);
        }
        let start = Instant::now();
        commit(&client, &topic, offset? + 1, &answers)?;
        offset = next_record(&client);
        if number >= UNMEASURED {
            latencies.push(start.elapsed());
        }
    }
    Sample::median_latency(&mut latencies, window.ok_or("too few records were read")?.close())
}

/// The offset of the next record.
fn next_record(client: &Client<'_, ()>) -> Outcome<i64> {
    loop {
        // SAFETY: the client is alive; a message that is not null is ours until it is destroyed.
        let (error, offset) = unsafe {
            let message = c::rd_kafka_consumer_poll(client.handle, 100);
            if message.is_null() {
                continue;
            }
            let read = ((*message).err, (*message).offset);
            c::rd_kafka_message_destroy(message);
            read
        };
        return if error == NO_ERROR { Ok(offset) } else { Err(error_text(error).into()) };
    }
}

/// Commits one offset and waits for the answer.
fn commit(client: &Client<'_, ()>, topic: &CString, offset: i64, answers: &Answers) -> Outcome<()> {
    // SAFETY: client, queue and topic are alive; the list is made and destroyed here, and librdkafka copies it; the event
    // is ours until it is destroyed. Without a callback the answer is an event of the queue.
    let answer = unsafe {
        let list = c::rd_kafka_topic_partition_list_new(1);
        (*c::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), 0)).offset = offset;
        let begun = c::rd_kafka_commit_queue(client.handle, list, answers.0, None, ptr::null_mut());
        c::rd_kafka_topic_partition_list_destroy(list);
        if begun != NO_ERROR {
            return Err(error_text(begun).into());
        }
        loop {
            let event = c::rd_kafka_queue_poll(answers.0, 1000);
            if event.is_null() {
                continue;
            }
            let (kind, answer) = (c::rd_kafka_event_type(event), c::rd_kafka_event_error(event));
            c::rd_kafka_event_destroy(event);
            if kind == c::RD_KAFKA_EVENT_OFFSET_COMMIT {
                break answer;
            }
        }
    };
    if answer == NO_ERROR { Ok(()) } else { Err(error_text(answer).into()) }
}

/// The queue of the answers. It must go before the client.
struct Answers(*mut c::rd_kafka_queue_t);

impl Answers {
    fn new(client: &Client<'_, ()>) -> Self {
        // SAFETY: the client is alive.
        Self(unsafe { c::rd_kafka_queue_new(client.handle) })
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        // SAFETY: the queue came from rd_kafka_queue_new and is destroyed once.
        unsafe { c::rd_kafka_queue_destroy(self.0) }
    }
}

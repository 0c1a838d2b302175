//! The room's own tests: each goes through every kind of object, and lets them end in an awkward order. They run under
//! valgrind too (`.ci/valgrind`), which is what they are made for: small, and without a runtime where possible.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::executor::block_on;

use super::admin::Requests;
use super::admin::configs::{Change, Kind};
use super::admin::offsets::Spec;
use super::message::Status;
use super::mock::Mock;
use super::topic::{Batch, Outgoing, Piece};
use super::{Client, Event, EventKind, Message, Owner, Partitions, Queue, Role, Token, Topic};

const WAIT: Duration = Duration::from_secs(60);

struct Fixture {
    mock: Mock,
}

impl Fixture {
    fn new(topic: &str, partitions: i32) -> Self {
        let mock = Mock::new(1).unwrap();
        mock.create_topic(topic, partitions).unwrap();
        Self { mock }
    }

    fn producer(&self) -> (Arc<Client>, Queue) {
        let servers = self.mock.bootstrap_servers();
        let client = Client::new(Role::Producer, [("bootstrap.servers", &*servers), ("linger.ms", "0")]).unwrap();
        let queue = Queue::main(&client);
        (client, queue)
    }

    fn consumer(&self, group: &str) -> (Arc<Client>, Queue) {
        let servers = self.mock.bootstrap_servers();
        let settings = [
            ("bootstrap.servers", &*servers),
            ("group.id", group),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "earliest"),
        ];
        let client = Client::new(Role::Consumer, settings).unwrap();
        let queue = Queue::consumer(&client).unwrap();
        (client, queue)
    }
}

/// Polls for events of a kind until `done` says so.
fn events(queue: &Queue, kind: EventKind, mut done: impl FnMut(&Event) -> bool) {
    let until = Instant::now() + WAIT;
    while Instant::now() < until {
        if let Some(event) = queue.poll(Duration::from_millis(100))
            && event.kind() == kind
            && done(&event)
        {
            return;
        }
    }
    panic!("no {kind:?} that ends the wait within {WAIT:?}");
}

/// The number in a token that `outgoing` has made.
fn number(token: Token) -> u32 {
    let Owner::Batch { batch: 0, index } = token.owner() else { panic!("not one of ours: {token:?}") };
    index
}

fn reports(queue: &Queue, count: usize) -> Vec<(u32, i64, Status)> {
    let mut all = Vec::new();
    events(queue, EventKind::Delivery, |event| {
        event.for_each_delivery(|message, token| all.push((number(token), message.offset(), message.status())));
        all.len() >= count
    });
    all
}

fn outgoing<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>, number: u32) -> Outgoing<'a> {
    Outgoing { partition: Some(0), key, value, token: Token::of_batch(0, number, 0) }
}

const NO_HEADERS: [(&[u8], Option<&[u8]>); 0] = [];

/// Assigns partition 0 by hand and fetches `count` records.
fn fetch(client: &Arc<Client>, topic: &str, count: usize) -> Vec<Message> {
    let mut list = Partitions::new();
    list.add(topic, 0, Some(0), None).unwrap();
    client.assign(Some(&list)).unwrap();
    let queue = Queue::partition(client, topic, 0).unwrap().wakes();
    let mut messages = Vec::new();
    while messages.len() < count {
        messages.extend(block_on(queue.fetched(7, || false)).into_messages());
    }
    messages
}

#[test]
fn every_way_to_produce_comes_back_with_its_token() {
    let fixture = Fixture::new("t", 1);
    let (client, queue) = fixture.producer();
    let topic = Topic::new(&client, "t").unwrap();
    assert!(topic.produce(outgoing(Some(b"k"), Some(b"v"), 1)));
    assert!(topic.produce(outgoing(None, None, 2)));
    assert!(topic.produce(outgoing(Some(b""), Some(b""), 3)));
    let headers: [(&[u8], Option<&[u8]>); 3] = [(b"a", Some(b"1")), (b"a", None), (b"b", Some(b""))];
    topic.produce_with(outgoing(None, Some(b"x"), 4), Some(1_234), headers.into_iter()).unwrap();
    topic.produce_with(outgoing(None, Some(b"y"), 5), None, NO_HEADERS.into_iter()).unwrap();
    let values: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; 50]).collect();
    let mut batch = Batch::default();
    let mut filling = batch.fill(100);
    values.iter().for_each(|value| filling.push(Some(0), Piece::Null, Piece::InPlace(value)));
    filling.produce(
        &topic,
        &[],
        |at| Token::of_batch(0, 100 + at as u32, 0),
        |at, error, _, _| panic!("{at}: {error}"),
    );
    let mut numbers: Vec<u32> = reports(&queue, 105)
        .into_iter()
        .map(|(number, offset, status)| {
            assert!(offset >= 0 && status == Status::Persisted);
            number
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=5).chain(100..200).collect::<Vec<_>>());
}

#[test]
fn the_report_of_a_delivered_record_has_its_timestamp() {
    let fixture = Fixture::new("t", 1);
    let (client, queue) = fixture.producer();
    let topic = Topic::new(&client, "t").unwrap();
    topic.produce_with(outgoing(None, Some(b"x"), 0), Some(1_234), NO_HEADERS.into_iter()).unwrap();
    assert!(topic.produce(outgoing(None, Some(b"y"), 1)));
    let mut timestamps = [0; 2];
    let mut left = timestamps.len();
    events(&queue, EventKind::Delivery, |event| {
        event.for_each_delivery(|message, token| {
            assert_eq!(message.timestamp().map(|(millis, _)| millis), Some(message.delivered_timestamp()));
            timestamps[number(token) as usize] = message.delivered_timestamp();
            left -= 1;
        });
        left == 0
    });
    assert_eq!(timestamps[0], 1_234);
    // The mock stamps a batch as a whole, so it may be the first one's or the time of sending.
    assert!(timestamps[1] >= 1_234, "{timestamps:?}");
}

#[test]
fn records_come_out_as_they_went_in_and_outlive_their_consumer() {
    let fixture = Fixture::new("t", 1);
    let (client, queue) = fixture.producer();
    let topic = Topic::new(&client, "t").unwrap();
    let headers: [(&[u8], Option<&[u8]>); 3] = [(b"a", Some(b"1")), (b"a", None), (b"b", Some(b""))];
    topic.produce_with(outgoing(Some(b"k"), Some(b"v"), 0), Some(1_234), headers.into_iter()).unwrap();
    assert!(topic.produce(outgoing(None, None, 0)));
    assert!(topic.produce(outgoing(Some(b""), Some(b""), 0)));
    reports(&queue, 3);

    let (client, _) = fixture.consumer("g");
    let messages = fetch(&client, "t", 3);
    drop(client);
    drop(fixture);

    let view = messages[0].view();
    assert_eq!((view.topic(), view.partition(), view.offset()), ("t", 0, 0));
    assert_eq!((view.key(), view.payload()), (Some(&b"k"[..]), Some(&b"v"[..])));
    assert_eq!(view.timestamp(), Some((1_234, false)));
    assert_eq!((messages[1].view().key(), messages[1].view().payload()), (None, None));
    assert!(messages[1].headers().is_none());
    // An empty value is not null; an empty key neither.
    assert_eq!((messages[2].view().key(), messages[2].view().payload()), (Some(&b""[..]), Some(&b""[..])));
    // Headers are parsed into the message by whoever comes first.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let list = messages[0].headers().unwrap();
                let all: Vec<_> = (0..list.len()).map(|at| list.get(at).unwrap()).collect();
                assert_eq!(all, [(&b"a"[..], Some(&b"1"[..])), (b"a", None), (b"b", Some(b""))]);
                assert!(list.get(3).is_none());
            });
        }
    });
}

#[test]
fn a_group_is_joined_committed_for_and_left() {
    let fixture = Fixture::new("t", 2);
    let (client, queue) = fixture.consumer("g");
    client.subscribe(&Partitions::topics(["t"]).unwrap()).unwrap();
    let mut assigned = Vec::new();
    events(&queue, EventKind::Rebalance, |event| {
        assigned = event.partitions();
        event.assigns() == Some(true)
    });
    let mut list = Partitions::new();
    assigned.iter().for_each(|entry| list.add(&entry.topic, entry.partition, None, None).unwrap());
    client.assign(Some(&list)).unwrap();
    assert_eq!(assigned.len(), 2);

    let results = Queue::new(&client).wakes();
    let mut offsets = Partitions::new();
    offsets.add("t", 1, Some(7), Some(b"metadata \xff")).unwrap();
    client.commit(&offsets, &results).unwrap();
    let committed = block_on(results.next());
    assert_eq!(committed.kind(), EventKind::OffsetCommit);
    assert!(committed.error().is_ok());
    assert_eq!((committed.partitions()[0].partition, committed.partitions()[0].offset), (1, Some(7)));

    assert!(!client.assignment_lost());
    client.close_into(&queue).unwrap();
    while !client.closed() {
        if let Some(event) = queue.poll(Duration::from_millis(50))
            && event.kind() == EventKind::Rebalance
        {
            client.assign(None).unwrap();
        }
    }
}

#[test]
fn errors_say_what_and_which() {
    let error = Client::new(Role::Producer, [("no.such.property", "x")]).err().unwrap();
    assert!(error.text.contains("no.such.property"), "{error}");
    let fixture = Fixture::new("t", 1);
    let (client, queue) = fixture.producer();
    let topic = Topic::new(&client, "t").unwrap();
    assert_eq!(Topic::new(&client, "nul\0").err().unwrap().name, "_INVALID_ARG");
    let large = vec![0u8; 2_000_000];
    assert_eq!(
        {
            assert!(!topic.produce(outgoing(None, Some(&large), 0)));
            Topic::last_error().name
        },
        "MSG_SIZE_TOO_LARGE"
    );
    let headers: [(&[u8], Option<&[u8]>); 1] = [(b"h", Some(b"v"))];
    let refused = topic.produce_with(outgoing(None, Some(&large), 0), None, headers.into_iter()).unwrap_err();
    assert_eq!(refused.name, "MSG_SIZE_TOO_LARGE");
    let mut refused = Vec::new();
    let mut batch = Batch::default();
    let mut filling = batch.fill(3);
    filling.push(Some(0), Piece::Buffered { from: 3, len: 2 }, Piece::InPlace(b"ok"));
    filling.push(None, Piece::Buffered { from: 0, len: 3 }, Piece::InPlace(&large));
    filling.push(None, Piece::Null, Piece::Buffered { from: 5, len: 0 });
    let (partition, key, value) = filling.get(0, b"keyk2").unwrap();
    assert_eq!((partition, key.slice(b""), value.slice(b"")), (Some(0), Some(&b"k2"[..]), Some(&b"ok"[..])));
    filling.produce(
        &topic,
        b"keyk2",
        |at| Token::of_batch(0, at as u32, 0),
        |at, error, key, value| {
            refused.push((at, error.name, key.map(Vec::from), value.map(<[u8]>::len)));
        },
    );
    assert_eq!(refused, [(1, "MSG_SIZE_TOO_LARGE", Some(b"key".to_vec()), Some(2_000_000))]);
    assert_eq!(reports(&queue, 2).len(), 2);
    assert!(client.fatal_error().is_none());
}

#[test]
fn purged_records_come_back_unwritten() {
    let fixture = Fixture::new("t", 1);
    fixture.mock.reachable(1, false).unwrap();
    let (client, queue) = fixture.producer();
    let topic = Topic::new(&client, "t").unwrap();
    (0..10).for_each(|number| assert!(topic.produce(outgoing(None, Some(b"v"), number))));
    assert!(!client.flush(Duration::from_millis(10)));
    client.purge();
    assert!(reports(&queue, 10).iter().all(|(_, _, status)| *status == Status::NotPersisted));
}

#[test]
fn injected_errors_and_delays_reach_the_client() {
    const PRODUCE: i16 = 0;
    const RECORD_TOO_LARGE: i16 = 10;
    let fixture = Fixture::new("t", 1);
    let (client, queue) = fixture.producer();
    let topic = Topic::new(&client, "t").unwrap();
    assert_eq!(client.partition_count(&topic, WAIT).unwrap(), 1);
    fixture.mock.round_trip(1, Duration::from_millis(5)).unwrap();
    fixture.mock.fail_requests(PRODUCE, RECORD_TOO_LARGE, 1).unwrap();
    assert!(fixture.mock.fail_requests(PRODUCE, 31_999, 1).is_err());
    assert!(topic.produce(outgoing(None, Some(b"v"), 9)));
    events(&queue, EventKind::Delivery, |event| {
        event.for_each_delivery(|message, token| {
            assert_eq!((number(token), message.failed()), (9, true));
            assert_eq!(message.report_error().unwrap_err().name, "MSG_SIZE_TOO_LARGE");
        });
        true
    });
}

#[test]
fn a_waiting_poll_is_interrupted_and_a_dropped_queue_wakes_nobody() {
    let fixture = Fixture::new("t", 1);
    let (client, queue) = fixture.producer();
    let (queue, start) = (Arc::new(queue), Instant::now());
    let waiting = queue.clone();
    let poll = std::thread::spawn(move || {
        // Log lines may come first.
        while start.elapsed() < WAIT && waiting.poll(WAIT).is_some() {}
    });
    while !poll.is_finished() {
        queue.interrupt();
        std::thread::sleep(Duration::from_millis(10));
    }
    poll.join().unwrap();
    for _ in 0..20 {
        let wakes = Queue::new(&client).wakes();
        assert!(wakes.poll(Duration::ZERO).is_none());
    }
    // A consumer each: librdkafka 2.12.1 asserts when a partition is assigned again while it is still being stopped.
    for _ in 0..3 {
        let (consumer, _) = fixture.consumer("g");
        drop(fetch(&consumer, "t", 0));
    }
}

#[test]
fn fetched_records_can_be_cut_short() {
    let fixture = Fixture::new("t", 1);
    let (client, queue) = fixture.producer();
    let topic = Topic::new(&client, "t").unwrap();
    let headers: [(&[u8], Option<&[u8]>); 1] = [(b"h", Some(b"v"))];
    for number in 0..10 {
        topic.produce_with(outgoing(None, Some(b"v"), number), None, headers.into_iter()).unwrap();
    }
    reports(&queue, 10);
    let (client, _) = fixture.consumer("g");
    let mut list = Partitions::new();
    list.add("t", 0, Some(0), None).unwrap();
    client.assign(Some(&list)).unwrap();
    let partition = Queue::partition(&client, "t", 0).unwrap().wakes();
    let mut seen = 0;
    while seen < 10 {
        let mut fetched = block_on(partition.fetched(4, || false));
        seen += fetched.len();
        assert_eq!(fetched.headers(0).unwrap().len(), 1);
        fetched.truncate(1);
        assert_eq!((fetched.len(), fetched.get(1).is_none()), (1, true));
        // Half of an iterator is dropped unread.
        let _ = fetched.into_messages().next();
    }
    assert_eq!(block_on(partition.fetched(4, || true)).len(), 0);
}

/// Polls for the answer to an admin request.
fn answer<T>(queue: &Queue, read: impl Fn(&Event) -> Option<T>) -> T {
    let mut answer = None;
    events(queue, EventKind::Other, |event| {
        event.error().unwrap();
        answer = read(event);
        answer.is_some()
    });
    answer.unwrap()
}

#[test]
fn offsets_are_committed_read_and_listed_by_request_and_metadata_may_be_any_bytes() {
    let fixture = Fixture::new("t", 2);
    let (client, queue) = fixture.consumer("g");
    let requests = Requests { client: &client, answers: &queue, wait: WAIT, broker: None };
    requests.list_offsets(&[("t", 0, Spec::Earliest), ("t", 1, Spec::Latest)], true).unwrap();
    let listed = answer(&queue, Event::listed_offsets);
    let offsets: Vec<_> = listed.iter().map(|(at, one)| (at.1, one.as_ref().unwrap().offset)).collect();
    assert_eq!(offsets, [(0, Some(0)), (1, Some(0))]);
    requests.list_offsets(&[("t", 0, Spec::Timestamp(5)), ("t", 7, Spec::Latest)], false).unwrap();
    let listed = answer(&queue, Event::listed_offsets);
    assert_eq!(listed[0].1.as_ref().unwrap().offset, None);
    assert_eq!(listed[1].1.as_ref().unwrap_err().name, "_UNKNOWN_PARTITION");

    requests.alter_group_offsets("g", &[("t", 1, 7), ("u", 0, 1)]).unwrap();
    let altered = answer(&queue, Event::changed_offsets);
    let failed: Vec<_> = altered.iter().map(|(at, one)| (at.0.as_str(), one.as_ref().err().map(|e| e.name))).collect();
    assert_eq!(failed, [("t", None), ("u", Some("UNKNOWN_TOPIC_OR_PART"))]);

    let results = Queue::new(&client).wakes();
    let mut offsets = Partitions::new();
    offsets.add("t", 0, Some(3), Some(b"any \xff \0 bytes")).unwrap();
    client.commit(&offsets, &results).unwrap();
    block_on(results.next()).error().unwrap();
    requests.group_offsets("g", Some(&[("t", 1), ("t", 0)])).unwrap();
    let committed = answer(&queue, Event::committed_offsets);
    let told: Vec<_> = committed.into_iter().map(|((_, partition), one)| (partition, one.unwrap())).collect();
    let told: Vec<_> = told.iter().map(|(at, one)| (*at, one.offset, one.metadata.as_slice())).collect();
    assert_eq!(told, [(0, Some(3), &b"any \xff \0 bytes"[..]), (1, Some(7), b"")]);

    let all = client.all_partitions(WAIT).unwrap();
    assert_eq!(all, [("t".to_owned(), 0), ("t".to_owned(), 1)]);
}

#[test]
fn requests_that_nobody_answers_are_answered_as_such() {
    let fixture = Fixture::new("t", 1);
    fixture.mock.reachable(1, false).unwrap();
    let (client, queue) = fixture.producer();
    let requests = Requests { client: &client, answers: &queue, wait: Duration::from_millis(50), broker: None };
    requests.list_groups(&["Stable", "Empty"]).unwrap();
    let listing = answer(&queue, Event::groups);
    assert!(listing.groups.is_empty());
    assert_eq!(listing.errors.iter().map(|error| error.name).collect::<Vec<_>>(), ["_TIMED_OUT"]);
    requests.describe_groups(&["g"]).unwrap();
    let described = answer(&queue, Event::group_descriptions);
    assert_eq!((described[0].0.as_str(), described[0].1.as_ref().unwrap_err().name), ("g", "_TIMED_OUT"));
    requests.delete_groups(&["g"]).unwrap();
    assert_eq!(answer(&queue, Event::deleted_groups)[0].1.as_ref().unwrap_err().name, "_TIMED_OUT");
    // These fail as a whole: there is nothing to read.
    let failed = || {
        events(&queue, EventKind::Other, |event| {
            assert_eq!(event.error().unwrap_err().name, "_TIMED_OUT");
            assert!(event.groups().is_none() && event.configs().is_none_or(|configs| configs.is_empty()));
            assert!(event.committed_offsets().is_none_or(|offsets| offsets.is_empty()));
            true
        });
    };
    requests.delete_group_offsets("g", &[("t", 0)]).unwrap();
    failed();
    requests.group_offsets("g", None).unwrap();
    failed();
    requests.list_offsets(&[("t", 0, Spec::MaxTimestamp)], true).unwrap();
    failed();
    requests.describe_configs(&[(Kind::Topic, "t"), (Kind::Group, "g")]).unwrap();
    failed();
    let lines =
        [("a", Change::Set("1")), ("b", Change::Delete), ("c", Change::Append("2")), ("d", Change::Subtract("3"))];
    requests.alter_configs(&[(Kind::Topic, "t", lines.to_vec())]).unwrap();
    failed();
}

//! The main job: 3,375 real flights go out and come in as typed events, and every one of them is accounted for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use csv::StringRecord;
use futures::future::try_join_all;
use kafka_client::{Delivered, Error, Json, Kafka, Producer, Received, Topic, TopicSpec, Utf8};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tests::harness::oracle::{self, Isolation, Stored};
use tests::harness::{Cluster, eventually, unique};
use tokio::sync::oneshot;

use crate::given;
use crate::group::{Member, quick};

/// New York, 7 to 10 February 2013: a blizzard.
const FILE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/flights.csv"));
const FLIGHTS: usize = 3_375;
const CANCELLED: usize = 895;
const WITHOUT_TAILNUM: usize = 337;
const PARTITIONS: i32 = 4;
/// For what takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One line of the file; what is empty there is absent here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Flight {
    time_hour: String,
    carrier: String,
    flight: u16,
    tailnum: Option<String>,
    origin: String,
    dest: String,
    sched_dep_time: u16,
    dep_time: Option<u16>,
    dep_delay: Option<i16>,
    sched_arr_time: u16,
    arr_time: Option<u16>,
    arr_delay: Option<i16>,
    air_time: Option<u16>,
    distance: u16,
}

type Flights = Topic<Utf8, Json<Flight>>;

/// The file, read by nothing but a reader of CSV: the names of the fields, and the fields of each line as text.
struct File {
    names: StringRecord,
    lines: Vec<StringRecord>,
}

impl File {
    fn read() -> Self {
        let mut reader = csv::Reader::from_reader(FILE.as_bytes());
        let names = reader.headers().unwrap().clone();
        let lines: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(lines.len(), FLIGHTS);
        Self { names, lines }
    }

    fn flights(&self) -> Vec<Flight> {
        self.lines.iter().map(|line| line.deserialize(Some(&self.names)).unwrap()).collect()
    }

    fn carriers(&self) -> Carriers<StringRecord> {
        let carrier = self.names.iter().position(|name| name == "carrier").unwrap();
        by_carrier(self.lines.iter().map(|line| (line[carrier].to_owned(), line.clone())))
    }

    /// A value of the log as a line of the file, field by field and without the help of a type.
    #[track_caller]
    fn line_of(&self, value: &[u8]) -> StringRecord {
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(value) else { panic!("no JSON object: {value:?}") };
        let mut text = |name| match fields.remove(name) {
            Some(Value::Null) => String::new(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::String(text)) if !text.is_empty() => text,
            other => panic!("{name} is {other:?}"),
        };
        let line = self.names.iter().map(&mut text).collect();
        assert!(fields.is_empty(), "fields on top: {fields:?}");
        line
    }
}

/// Flights by carrier, in an order.
type Carriers<T> = BTreeMap<String, Vec<T>>;

fn by_carrier<T>(flights: impl IntoIterator<Item = (String, T)>) -> Carriers<T> {
    let mut carriers = Carriers::new();
    for (carrier, flight) in flights {
        carriers.entry(carrier).or_insert_with(Vec::new).push(flight);
    }
    carriers
}

/// The carriers that have lost a flight, got one more, or have them changed or in another order.
fn differing<T: PartialEq>(one: &Carriers<T>, other: &Carriers<T>) -> Vec<String> {
    let carriers = one.keys().chain(other.keys().filter(|carrier| !one.contains_key(*carrier)));
    carriers.filter(|carrier| one.get(*carrier) != other.get(*carrier)).cloned().collect()
}

#[test]
fn a_lost_doubled_changed_or_displaced_flight_is_noticed() {
    let file = File::read().carriers();
    assert_eq!(differing(&file, &file.clone()), [""; 0]);
    assert_eq!(file.len(), 15);
    let tamperings: [fn(&mut Vec<StringRecord>); 5] = [
        |flights| drop(flights.remove(17)),
        |flights| flights.push(flights[17].clone()),
        |flights| flights.swap(17, 18),
        |flights| flights[17] = flights[17].iter().map(|field| field.replace("EWR", "JFK")).collect(),
        Vec::clear,
    ];
    for tamper in tamperings {
        let mut tampered = file.clone();
        tamper(tampered.get_mut("UA").unwrap());
        assert_eq!(differing(&file, &tampered), ["UA"]);
        assert_eq!(differing(&tampered, &file), ["UA"]);
    }
    let mut lost = file.clone();
    lost.remove("HA");
    assert_eq!((differing(&file, &lost), differing(&lost, &file)), (vec!["HA".to_owned()], vec!["HA".to_owned()]));
}

/// Sends every flight in the order of the file, by one way of the producer after the other. Returns how many were
/// delivered, and by their line where those stand of which the producer tells.
async fn produce(producer: &Producer, topic: &Flights, flights: &[Flight]) -> (usize, BTreeMap<usize, Delivered>) {
    let record = |line: usize| topic.record(&flights[line].carrier, &flights[line]);
    let mut places = BTreeMap::new();
    let batched = producer.send_batch((0..1_500).map(record)).await.unwrap();

    let mut deliveries = Vec::new();
    for line in 1_500..2_400 {
        deliveries.push(producer.enqueue(record(line)).await.unwrap());
    }
    for line in 2_400..2_500 {
        deliveries.push(producer.try_enqueue(record(line)).unwrap());
    }
    let mut sender = producer.sender(topic).unwrap();
    for line in 2_500..3_300 {
        deliveries.push(sender.enqueue(record(line)).await.unwrap());
    }
    places.extend((1_500..).zip(try_join_all(deliveries).await.unwrap()));
    let mut answers = Vec::new();
    for line in 3_300..3_350 {
        let (answer, answered) = oneshot::channel();
        producer.send_with(record(line), move |outcome| drop(answer.send(outcome))).await.unwrap();
        answers.push(answered);
    }
    for (line, answered) in (3_300..).zip(answers) {
        places.insert(line, answered.await.unwrap().unwrap());
    }
    for line in 3_350..flights.len() {
        places.insert(line, producer.send(record(line)).await.unwrap());
    }
    (batched + places.len(), places)
}

/// Every flight is in the log once, as the file has it, in its carrier's order, and where its delivery said.
#[track_caller]
fn all_stored(file: &File, log: &[Stored], places: &BTreeMap<usize, Delivered>) {
    assert_eq!(log.len(), FLIGHTS);
    let mut partitions = BTreeMap::new();
    let stored = log.iter().map(|stored| {
        let (key, line) = (given::text(stored.key.as_deref()), file.line_of(stored.value.as_deref().unwrap()));
        assert_eq!(*partitions.entry(key.clone()).or_insert(stored.partition), stored.partition, "{key} in one");
        (key, line)
    });
    assert_eq!(differing(&file.carriers(), &by_carrier(stored)), [""; 0]);

    let at: BTreeMap<_, _> = log.iter().map(|stored| ((stored.partition, stored.offset), stored)).collect();
    for (line, place) in places {
        let stored = at[&(place.partition(), place.offset())];
        assert_eq!(file.line_of(stored.value.as_deref().unwrap()), file.lines[*line], "line {line}");
    }
}

/// How the second member of the group comes to its flights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandOver {
    /// It takes over some partitions while the first one goes on with the others.
    Shared,
    /// It begins when the first one has left. The embedded broker refuses commits from the moment at which another
    /// member joins, so there a shared hand-over handles again what was finished last.
    InTurn,
}

/// A flight that was handled: by whom, and where it stood.
#[derive(Clone, Debug)]
struct Handled {
    by: char,
    place: (i32, i64),
    key: String,
    flight: Flight,
}

/// What was handled, in the order in which it was.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<Vec<Handled>>>);

impl Book {
    fn len(&self) -> usize {
        self.0.lock().len()
    }

    fn of(&self, by: char) -> usize {
        self.0.lock().iter().filter(|handled| handled.by == by).count()
    }

    fn member(&self, kafka: &Kafka, group: &str, topic: &Flights, by: char) -> Member {
        let book = self.clone();
        let handler = move |record: Received<String, Flight>| {
            let book = book.clone();
            async move {
                // Whoever is alone goes slowly after the first third, so that there is something left to share.
                if book.len() > FLIGHTS / 3 && book.of(by) == book.len() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let place = (record.partition(), record.offset());
                let (key, flight) = record.into_parts();
                book.0.lock().push(Handled { by, place, key, flight });
                Ok::<_, Error>(())
            }
        };
        Member::start(quick(kafka, group).max_batch_records(50).route(topic, handler))
    }
}

async fn every_flight_is_accounted_for(kafka: &Kafka, bootstrap: &str, hand_over: HandOver) {
    let file = File::read();
    let flights = file.flights();
    let topic = Topic::new(unique("flights"), Utf8, Json::new());
    kafka.ensure_topics(&[TopicSpec::new(topic.name(), PARTITIONS)]).await.unwrap();

    let producer = given::built(kafka.producer());
    let (delivered, places) = produce(&producer, &topic, &flights).await;
    assert!(producer.close(PATIENCE).await.is_complete());
    assert_eq!(delivered, FLIGHTS);
    let log = oracle::read_all(bootstrap, topic.name(), Isolation::ReadUncommitted);
    all_stored(&file, &log, &places);

    let (group, book) = (unique("airport"), Book::default());
    let first = book.member(kafka, &group, &topic, 'a');
    eventually("a third is handled", PATIENCE, async || book.len() > FLIGHTS / 3).await;
    let (first, second) = match hand_over {
        HandOver::Shared => {
            let second = book.member(kafka, &group, &topic, 'b');
            eventually("both take part", PATIENCE, async || book.of('b') > 0).await;
            (first.stop().await, second)
        }
        HandOver::InTurn => (first.stop().await, book.member(kafka, &group, &topic, 'b')),
    };
    let ends = oracle::end_offsets(bootstrap, topic.name());
    eventually("all is committed", PATIENCE, async || oracle::committed(bootstrap, &group, topic.name()) == ends).await;
    let second = second.stop().await;

    assert!(book.of('a') > FLIGHTS / 3 && book.of('b') > 0, "{} and {}", book.of('a'), book.of('b'));
    assert_eq!((first.handled, second.handled), (book.of('a') as u64, book.of('b') as u64));
    assert_eq!((first.failed, first.unfinished, first.left_group), (0, 0, true));
    assert_eq!((second.failed, second.unfinished, second.left_group), (0, 0, true));
    let mut committed = first.committed;
    committed.extend(second.committed);
    assert_eq!(committed, ends.into_iter().map(|(at, next)| ((topic.name().to_owned(), at), next)).collect());

    // Each once, and each as the file has it, in its carrier's order, whoever handled it.
    let book = book.0.lock();
    let mut times: BTreeMap<_, Vec<char>> = log.iter().map(|at| ((at.partition, at.offset), vec![])).collect();
    book.iter().for_each(|handled| times.entry(handled.place).or_default().push(handled.by));
    times.retain(|_, by| by.len() != 1);
    assert_eq!(times, BTreeMap::new());
    assert!(book.iter().all(|handled| handled.key == handled.flight.carrier));
    let expected = by_carrier(flights.into_iter().map(|flight| (flight.carrier.clone(), flight)));
    let arrived = by_carrier(book.iter().map(|handled| (handled.key.clone(), handled.flight.clone())));
    assert_eq!(differing(&expected, &arrived), [""; 0]);
    let count = |is: fn(&Flight) -> bool| book.iter().filter(|handled| is(&handled.flight)).count();
    assert_eq!(count(|flight| flight.dep_time.is_none()), CANCELLED);
    assert_eq!(count(|flight| flight.tailnum.is_none()), WITHOUT_TAILNUM);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flight_is_accounted_for_through_a_real_kafka() {
    every_flight_is_accounted_for(&given::kafka(), Cluster::shared().bootstrap(), HandOver::Shared).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flight_is_accounted_for_through_the_embedded_broker() {
    let kafka = Kafka::embedded().unwrap();
    let bootstrap = kafka.embedded_broker().unwrap().bootstrap_servers().to_owned();
    every_flight_is_accounted_for(&kafka, &bootstrap, HandOver::InTurn).await;
}

//! A record is decoded once, in the lane of its partition; and not at all where nobody looks into it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kafka_client::serde::{Deserializer, Source, Stop};
use kafka_client::{Concurrency, Error, RawReceived, RawRecord, Received, Topic, Utf8};
use tests::harness::unique;

use crate::given::{self, kafka, topic};
use crate::group::{Account, Member, quick};

const RECORDS: usize = 200;
/// Each tenth is looked into; of the others each second is no text.
const EACH: usize = 10;

/// Text, and how often it was decoded.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Deserializer for Counted {
    type Output = String;

    fn deserialize(&self, bytes: Option<&[u8]>, from: &Source<'_>) -> Result<String, Stop> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Utf8.deserialize(bytes, from)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_decoded_once_however_often_its_handler_looks() {
    let (lines, counted, account) = (topic("once", 3), Counted::default(), Account::default());
    let records = (0..RECORDS).map(|number| given::raw(&lines, number, number));
    assert_eq!(given::built(kafka().producer()).send_batch(records).await.unwrap(), RECORDS);
    let typed = Topic::new(lines.name(), Utf8, counted.clone());
    let book = account.clone();
    let member =
        Member::start(quick(&kafka(), &unique("reader")).route(&typed, move |line: Received<String, String>| {
            assert_eq!((line.key(), line.value()), (line.value(), line.key()));
            book.record('a', &line);
            async { Ok::<_, Error>(()) }
        }));
    account.reaches(RECORDS).await;
    assert_eq!(member.stop().await.handled, RECORDS as u64);
    assert_eq!(counted.times(), RECORDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_looks_into_few_records_decodes_those_alone() {
    let (lines, counted, account) = (topic("few", 3), Counted::default(), Account::default());
    let records = (0..RECORDS).map(|number| {
        let value =
            if number.is_multiple_of(EACH) || number.is_multiple_of(2) { b"text".to_vec() } else { vec![0xff, 0xfe] };
        RawRecord::new(lines.name(), Some(number.to_string().into_bytes()), Some(value))
    });
    assert_eq!(given::built(kafka().producer()).send_batch(records).await.unwrap(), RECORDS);
    let typed = Topic::new(lines.name(), Utf8, counted.clone());
    let book = account.clone();
    let handler = move |record: RawReceived| {
        let (typed, book) = (typed.clone(), book.clone());
        async move {
            let number: usize = String::from_utf8_lossy(record.key_bytes().unwrap_or_default()).parse().unwrap();
            if number.is_multiple_of(EACH) {
                assert_eq!(record.decode(&typed).await.unwrap().value(), "text");
            }
            book.add('a', record.partition(), record.offset());
            Ok::<_, Error>(())
        }
    };
    let consumer = quick(&kafka(), &unique("reader")).route_undecoded(lines.name(), Concurrency::by_key(10), handler);
    let member = Member::start(consumer);
    account.reaches(RECORDS).await;
    let report = member.stop().await;
    assert_eq!((report.handled, report.failed), (RECORDS as u64, 0), "what nobody looks into is nobody's failure");
    assert_eq!(counted.times(), RECORDS / EACH);
}

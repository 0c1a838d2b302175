//! Dead letters of every framework go back: what can, as it was; what cannot, with the reason.

use std::sync::atomic::{AtomicBool, Ordering};

use kafka_client::{Headers, Kafka, RawRecord};
use kafka_dlq::{Failure, Progress, Redrive, Selection, Target, dialect};
use tests::harness::Cluster;
use tests::harness::oracle::{self, Isolation, Stored, ToProduce};

use crate::given::{self, Lines};

/// A dead-letter topic with the topic its letters came from.
pub(crate) struct Given {
    pub(crate) kafka: Kafka,
    pub(crate) orders: Lines,
    pub(crate) letters: Lines,
}

impl Given {
    pub(crate) fn new(partitions: i32) -> Self {
        Self {
            kafka: given::kafka(),
            orders: given::topic("orders", partitions),
            letters: given::topic("orders.dlq", partitions),
        }
    }

    /// A dead letter of our dialect, of the record at `offset`.
    pub(crate) fn letter(&self, offset: i64, reason: &str) -> RawRecord {
        let key = format!("k-{}", offset % 7);
        let mut record = given::raw(&self.letters, key, format!("{{\"id\":{offset}}}"));
        record.headers = application();
        let failure = Failure {
            reason: Some(reason),
            class: Some("CardDeclined"),
            attempts: Some(3),
            group: Some("billing"),
            ..Failure::at(self.orders.name(), (offset % 3) as i32, offset)
        };
        dialect::ours::write(&failure, &mut record.headers);
        record
    }

    pub(crate) async fn write(&self, letters: impl IntoIterator<Item = RawRecord>) {
        let producer = given::built(self.kafka.producer());
        producer.send_batch(letters.into_iter().collect::<Vec<_>>()).await.unwrap();
    }

    pub(crate) fn redrive(&self) -> Redrive {
        Redrive::new(&self.kafka, self.letters.name())
    }

    /// What consumers with `read_committed` see of the orders.
    pub(crate) fn sent(&self) -> Vec<Stored> {
        oracle::read_all(Cluster::shared().bootstrap(), self.orders.name(), Isolation::ReadCommitted)
    }
}

fn application() -> Headers {
    let mut headers = Headers::new();
    headers.push("tag", "a");
    headers.push("tag", "b");
    headers.push_null("null");
    headers.push("empty", "");
    headers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_that_come_while_the_last_are_sent_back_do_not_undo_them() {
    let given = Given::new(1);
    given.write((0..30).map(|offset| given.letter(offset, "timeout"))).await;
    // The job knows what it is about when it tells of its progress for the first time, and has read nothing of it yet.
    let (topic, told) = (given.letters.name().to_owned(), AtomicBool::new(false));
    let late = move |_: &Progress| {
        if !told.swap(true, Ordering::SeqCst) {
            let late: [ToProduce<'_>; 5] = [(Some(0), Some(b"k"), Some(b"late")); 5];
            oracle::produce(Cluster::shared().bootstrap(), &topic, &late);
        }
    };
    let report = given.redrive().on_progress(late).run_until(std::future::pending::<()>()).await.unwrap();
    assert_eq!((report.read(), report.sent()), (30, 30), "{report}");
    assert_eq!(ids(&given.sent()), (0..30).collect::<Vec<_>>());
    assert_eq!(given::log(&given.orders).len(), 30, "nothing was sent that was undone");
    let rest = given.redrive().run_until(std::future::pending::<()>()).await.unwrap();
    assert_eq!((rest.read(), rest.sent()), (5, 0), "{rest}");
}

#[tokio::test]
async fn a_dry_run_tells_what_would_be_sent_and_sends_nothing() {
    let given = Given::new(3);
    let reasons = ["timeout", "timeout", "decode"];
    given.write((0..30).map(|offset| given.letter(offset, reasons[offset as usize % 3]))).await;
    given.write([given::raw(&given.letters, "k", "nobody knows where this came from")]).await;

    let report = given.redrive().select(Selection::all().reason("timeout")).dry_run().await.unwrap();
    assert!(report.is_dry_run());
    assert_eq!((report.read(), report.sent(), report.parked()), (31, 20, 0), "{report}");
    assert_eq!(report.targets().get(given.orders.name()), Some(&20));
    assert_eq!(report.left().get("not selected"), Some(&11));

    let all = given.redrive().dry_run().await.unwrap();
    assert_eq!((all.sent(), all.left().len()), (30, 1), "{all}");
    assert!(all.left().keys().next().unwrap().contains("name a target"), "{all}");
    assert_eq!(given.sent(), []);
}

#[tokio::test]
async fn an_empty_topic_and_one_that_is_not_there_end_at_once() {
    let given = Given::new(3);
    let report = given.redrive().dry_run().await.unwrap();
    assert_eq!((report.read(), report.sent()), (0, 0));
    let error = Redrive::new(&given.kafka, "no-such-topic.dlq").dry_run().await.unwrap_err();
    assert_eq!(error.kind(), kafka_dlq::ErrorKind::UnknownTopic);
    assert!(error.to_string().contains("no-such-topic.dlq"));
}

#[tokio::test]
async fn the_same_record_twice_counts_once() {
    let given = Given::new(1);
    given.write([given.letter(1, "a"), given.letter(2, "a"), given.letter(1, "a")]).await;
    let report = given.redrive().dry_run().await.unwrap();
    assert_eq!(report.sent(), 2, "{report}");
    let both = given.redrive().duplicates(true).dry_run().await.unwrap();
    assert_eq!(both.sent(), 3, "{both}");
}

#[tokio::test]
async fn what_a_target_would_refuse_is_left_with_the_reason() {
    let given = Given::new(3);
    let mut far = given.letter(1, "a");
    far.headers.remove("dlq.timestamp");
    far.headers.push("dlq.timestamp", (given::yesterday() + 3 * 86_400_000).to_string());
    let mut elsewhere = given.letter(2, "a");
    elsewhere.headers.remove("dlq.partition");
    elsewhere.headers.push("dlq.partition", "77");
    given.write([far, elsewhere, given.letter(3, "a")]).await;
    let redrive = given.redrive().keep_timestamp(true).keep_partition(true);
    let report = redrive.dry_run().await.unwrap();
    assert_eq!(report.sent(), 1, "{report}");
    let reasons = report.left().keys().cloned().collect::<Vec<_>>().join("\n");
    assert!(reasons.contains("message.timestamp.after.max.ms") && reasons.contains("no partition 77"), "{reasons}");

    let nowhere = given.redrive().to(Target::Topic("no-such-topic".into())).dry_run().await.unwrap();
    assert_eq!(nowhere.sent(), 0);
    assert_eq!(nowhere.left().get("there is no topic no-such-topic"), Some(&3));
}

/// The offsets in the values, sorted.
pub(crate) fn ids(sent: &[Stored]) -> Vec<i64> {
    let mut ids: Vec<i64> = sent.iter().map(id).collect();
    ids.sort_unstable();
    ids
}

fn id(stored: &Stored) -> i64 {
    let text = given::text(stored.value.as_deref());
    text.trim_start_matches("{\"id\":").trim_end_matches('}').parse().unwrap()
}

/// Each key's records in the order in which they were dead-lettered.
fn assert_ordered(sent: &[Stored]) {
    for partition in 0..8 {
        for key in 0..7 {
            let of_key = |stored: &&Stored| stored.partition == partition && id(stored) % 7 == key;
            let ids: Vec<i64> = sent.iter().filter(of_key).map(id).collect();
            assert!(ids.is_sorted(), "{ids:?}");
        }
    }
}

#[tokio::test]
async fn what_goes_back_is_bit_for_bit_what_it_was() {
    let given = Given::new(3);
    let mut odd = given.letter(1, "a");
    (odd.key, odd.value) = (Some(vec![0xff, 0]), Some(vec![0xfe, 0xff, 0]));
    let mut tombstone = given.letter(2, "a");
    (tombstone.key, tombstone.value) = (None, None);
    let mut empty = given.letter(3, "a");
    empty.value = Some(Vec::new());
    let letters = [odd, tombstone, empty];
    given.write(letters.clone()).await;
    let report =
        given.redrive().mark(false).keep_partition(true).run_until(std::future::pending::<()>()).await.unwrap();
    assert_eq!((report.sent(), report.is_dry_run()), (3, false), "{report}");

    let sent = given.sent();
    assert_eq!(sent.len(), 3);
    for (offset, letter) in (1..).zip(&letters) {
        let stored = sent.iter().find(|stored| stored.partition == offset % 3).unwrap();
        assert_eq!((&stored.key, &stored.value), (&letter.key, &letter.value));
        let headers: Vec<(Vec<u8>, Option<Vec<u8>>)> =
            application().iter().map(|header| (header.name_bytes().to_vec(), header.value().map(Vec::from))).collect();
        let stored: Vec<(Vec<u8>, Option<Vec<u8>>)> =
            stored.headers.iter().map(|(name, value)| (name.clone().into(), value.clone())).collect();
        assert_eq!(stored, headers);
    }
}

#[tokio::test]
async fn the_same_job_goes_on_where_it_stopped_and_sends_nothing_twice() {
    let given = Given::new(3);
    given.write((0..300).map(|offset| given.letter(offset, "a"))).await;
    for sent in [100, 200, 300] {
        let report = given.redrive().limit(100).run_until(std::future::pending::<()>()).await.unwrap();
        assert_eq!(report.sent(), 100, "{report}");
        assert_eq!(given.sent().len(), sent);
    }
    let report = given.redrive().run_until(std::future::pending::<()>()).await.unwrap();
    assert_eq!((report.sent(), report.dealt_with_before()), (0, 300), "{report}");
    assert_eq!(ids(&given.sent()), (0..300).collect::<Vec<_>>());
    assert_ordered(&given.sent());

    // What comes later is the same job's, the next time.
    given.write([given.letter(300, "a")]).await;
    let report = given.redrive().run_until(std::future::pending::<()>()).await.unwrap();
    assert_eq!(report.sent(), 1, "{report}");
}

#[tokio::test]
async fn a_job_that_is_dropped_at_any_point_goes_on_and_sends_each_once() {
    let given = Given::new(3);
    given.write((0..2_000).map(|offset| given.letter(offset, "a"))).await;
    for cut_ms in [300, 900, 1_500, 2_100] {
        let job = given.redrive().rate(400.0);
        let run = job.run_until(std::future::pending::<()>());
        let _ = tokio::time::timeout(std::time::Duration::from_millis(cut_ms), run).await;
    }
    given.redrive().run_until(std::future::pending::<()>()).await.unwrap();
    assert_eq!(ids(&given.sent()), (0..2_000).collect::<Vec<_>>());
    assert_ordered(&given.sent());
}

#[tokio::test]
async fn two_copies_at_once_share_the_work_and_send_each_once() {
    let given = Given::new(4);
    given.write((0..2_000).map(|offset| given.letter(offset, "a"))).await;
    let copy = || async { given.redrive().run_until(std::future::pending::<()>()).await.unwrap() };
    let (one, other) = tokio::join!(copy(), copy());
    assert_eq!(one.sent() + other.sent(), 2_000, "{one}\n{other}");
    assert_eq!(ids(&given.sent()), (0..2_000).collect::<Vec<_>>());
    assert_ordered(&given.sent());
}

#[tokio::test]
async fn a_selective_job_does_not_hide_what_it_left() {
    let given = Given::new(2);
    given.write((0..20).map(|offset| given.letter(offset, if offset % 2 == 0 { "timeout" } else { "decode" }))).await;
    let timeouts = given.redrive().select(Selection::all().reason("timeout"));
    let report = timeouts.run_until(std::future::pending::<()>()).await.unwrap();
    assert_eq!((report.sent(), report.left().get("not selected")), (10, Some(&10)), "{report}");
    let others = given.redrive().select(Selection::all().reason("decode"));
    assert_eq!(others.dry_run().await.unwrap().sent(), 10);
    assert_eq!(others.run_until(std::future::pending::<()>()).await.unwrap().sent(), 10);
    assert_eq!(ids(&given.sent()), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_came_back_too_often_is_parked_with_its_history() {
    let given = Given::new(1);
    let lot = given::topic("orders.parked", 1);
    let mut often = given.letter(1, "a");
    often.headers.push("dlq.redrives", "3");
    given.write([often, given.letter(2, "a")]).await;
    let redrive = given.redrive().loop_cap(3).parking_lot(lot.name());
    let report = redrive.run_until(std::future::pending::<()>()).await.unwrap();
    assert_eq!((report.sent(), report.parked()), (1, 1), "{report}");
    let parked = given::log(&lot);
    assert_eq!(parked.len(), 1);
    assert!(parked[0].headers.iter().any(|(name, _)| name == "dlq.topic"), "with its history");
    // The other has been marked.
    let sent = given.sent();
    assert!(sent[0].headers.iter().any(|(name, value)| name == "dlq.redrives" && value.as_deref() == Some(&b"1"[..])));
}

#[tokio::test]
async fn a_record_that_comes_back_ends_the_job() {
    let given = Given::new(1);
    given.write((0..1_000).map(|offset| given.letter(offset, "a"))).await;
    let comes_back = async {
        tests::harness::eventually("some are sent", std::time::Duration::from_secs(60), async || {
            !given.sent().is_empty()
        })
        .await;
        let mut back = given.letter(5_000, "a");
        back.headers.push("dlq.redrives", "1");
        given.write([back]).await;
    };
    let job = given.redrive().rate(20.0).stop_on_repeat(true);
    let (report, ()) = tokio::join!(job.run_until(std::future::pending::<()>()), comes_back);
    let report = report.unwrap();
    assert!(matches!(report.end(), kafka_dlq::End::Repeated(place) if place.ends_with("@1000")), "{report}");
    assert!(report.sent() < 1_000);
    assert_eq!(given.sent().len() as u64, report.sent(), "what is told is what was committed");
}

#[tokio::test]
async fn a_run_leaves_an_audit_record() {
    let given = Given::new(1);
    let audits = given::topic("audit", 1);
    given.write([given.letter(1, "a")]).await;
    given.redrive().audit(audits.name(), "ann").run_until(std::future::pending::<()>()).await.unwrap();
    let log = given::log(&audits);
    let audit: serde_json::Value = serde_json::from_slice(log[0].value.as_deref().unwrap()).unwrap();
    assert_eq!((&audit["who"], &audit["sent"]), (&"ann".into(), &1.into()));
    assert_eq!(audit["source"], given.letters.name());
}

#[tokio::test]
async fn a_rate_is_kept() {
    let given = Given::new(3);
    given.write((0..600).map(|offset| given.letter(offset, "a"))).await;
    let begun = std::time::Instant::now();
    given.redrive().rate(200.0).run_until(std::future::pending::<()>()).await.unwrap();
    // Load may only make it slower.
    assert!(begun.elapsed() >= std::time::Duration::from_millis(2_900), "{:?}", begun.elapsed());
    assert_eq!(ids(&given.sent()), (0..600).collect::<Vec<_>>());
}

//! Kafka Connect's `connect-standalone` with sinks that cannot read what they get.

use std::fs;
use std::path::Path;

use kafka_dlq::{Dialect, Missing, Redrive, Refusal, Target};
use tests::harness::oracle::Stored;
use tests::harness::{JavaProgram, unique};

use super::spring::dead_letters_of_a_listener;
use super::{
    PARTITIONS, Pair, assert_returned, bootstrap, create, is_at, kafka, letter_of, letters, producer, sent_back,
    wait_for, write,
};

/// Key and value are to be JSON, and the value a map.
const RECORDS: [(Pair<'static>, Option<&str>); 6] = [
    ((Some(b"\"o-1\""), Some(&[0xfe, 0xff, 0])), Some("VALUE_CONVERTER")),
    ((Some(&[0xff, 0, 0xfe]), Some(b"{\"id\":2}")), Some("KEY_CONVERTER")),
    ((Some(b"\"o-3\""), Some(b"\"no map\"")), Some("TRANSFORMATION")),
    ((None, Some(b"{")), Some("VALUE_CONVERTER")),
    ((Some(b"no json"), None), Some("KEY_CONVERTER")),
    // Nothing is wrong with it.
    ((Some(b"\"o-6\""), Some(b"{\"id\":6}")), None),
];

fn worker(folder: &Path) -> String {
    format!(
        "bootstrap.servers={}\nlisteners=http://127.0.0.1:0\nplugin.discovery=service_load\n\
         key.converter=org.apache.kafka.connect.json.JsonConverter\nkey.converter.schemas.enable=false\n\
         value.converter=org.apache.kafka.connect.json.JsonConverter\nvalue.converter.schemas.enable=false\n\
         offset.storage.file.filename={}\nconsumer.auto.offset.reset=earliest\n",
        bootstrap(),
        folder.join("offsets").display(),
    )
}

fn sink(folder: &Path, name: &str, topic: &str, dead: &str, with_headers: bool) -> String {
    format!(
        "name={name}\nconnector.class=org.apache.kafka.connect.file.FileStreamSinkConnector\ntopics={topic}\n\
         file={}\nerrors.tolerance=all\nerrors.deadletterqueue.topic.name={dead}\n\
         errors.deadletterqueue.topic.replication.factor=1\nerrors.deadletterqueue.context.headers.enable={with_headers}\n\
         transforms=seen\ntransforms.seen.type=org.apache.kafka.connect.transforms.InsertField$Value\n\
         transforms.seen.static.field=seen\ntransforms.seen.static.value=yes\n",
        folder.join(name).display(),
    )
}

#[tokio::test]
async fn a_sinks_dead_letters_go_back_bit_for_bit_and_without_headers_only_where_one_says() {
    let stem = unique("connect");
    let of = |name: &str| format!("{stem}-{name}");
    create(&["orders", "orders-dlq", "bare", "bare-dlq", "behind-dlq"].map(of), PARTITIONS).await;
    let records = RECORDS.map(|(pair, _)| pair);
    let producer = producer();
    let orders = write(&producer, &of("orders"), &records).await;
    let bare = write(&producer, &of("bare"), &records).await;
    let folder = tempfile::tempdir().unwrap();
    let connector = of("warehouse");
    // Behind Spring: a sink that reads its dead letters.
    let (listened, spring, dead) = dead_letters_of_a_listener().await;
    let files = [
        ("worker", worker(folder.path())),
        ("one", sink(folder.path(), &connector, &of("orders"), &of("orders-dlq"), true)),
        ("other", sink(folder.path(), &of("other"), &of("bare"), &of("bare-dlq"), false)),
        ("behind", sink(folder.path(), &of("behind"), &dead, &of("behind-dlq"), true)),
    ]
    .map(|(name, text)| {
        let path = folder.path().join(format!("{name}.properties"));
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let arguments = files.each_ref().map(String::as_str);
    let mut program = JavaProgram::start("connect", "connect.Standalone", &arguments);
    wait_for(&mut program, &[(&of("orders-dlq"), 5), (&of("bare-dlq"), 5), (&of("behind-dlq"), 4)]);
    drop(program);

    let all = letters(&of("orders-dlq"));
    assert_eq!(all.len(), 5);
    for (original, (_, stage)) in orders.iter().zip(RECORDS).take(5) {
        let found = letter_of(&all, &of("orders"), original);
        let letter = found.read();
        assert_eq!(letter.dialects().collect::<Vec<_>>(), [Dialect::Connect]);
        assert_eq!(letter.reason().as_deref(), stage);
        assert_eq!(letter.is_undecodable(), stage != Some("TRANSFORMATION"));
        assert_eq!(letter.class().as_deref(), Some("org.apache.kafka.connect.errors.DataException"));
        assert!(letter.message().is_some() && letter.trace().is_some());
        assert_eq!(letter.group(), Some(format!("connect-{connector}").into()));
        assert_eq!(letter.original_timestamp_ms(), original.timestamp);
        assert_eq!((letter.missing(), letter.damage()), (vec![Missing::Attempts], vec![]));
        found.assert_holds(original);
    }
    assert_eq!(all[0].explained()["redrive"], format!("goes to {}", of("orders")));
    let report = sent_back(&of("orders-dlq"), |redrive| redrive).await;
    assert_eq!(report.sent(), 5, "{report}");
    assert_returned(&of("orders"), &orders, &orders[..5]);

    // Connect's default: no header says anything.
    let all = letters(&of("bare-dlq"));
    let no_dialect = Refusal::NoDialect.to_string();
    for letter in &all {
        assert_eq!((letter.read().dialect(), letter.read().refusal()), (None, None));
    }
    assert_eq!(all[0].explained()["redrive"], format!("stays, without a target: {no_dialect}"));
    let report = sent_back(&of("bare-dlq"), |redrive| redrive).await;
    assert_eq!((report.sent(), report.left().get(&no_dialect)), (0, Some(&5)), "{report}");
    let report = sent_back(&of("bare-dlq"), |redrive| redrive.to(Target::Topic(of("bare"))).job("named")).await;
    assert_eq!(report.sent(), 5, "{report}");
    // Neither the partition nor the timestamp is told; the bytes are the same.
    let log = super::log(&of("bare"));
    let is_new = |stored: &&Stored| !bare.iter().any(|one| is_at(one, stored));
    let mut back: Vec<_> = log.iter().filter(is_new).map(bytes).collect();
    let mut sent: Vec<_> = bare[..5].iter().map(bytes).collect();
    back.sort();
    sent.sort();
    assert_eq!(back, sent);

    // Spring failed first, and Connect on what Spring had made of it: the chain is followed to its begin.
    let all = letters(&of("behind-dlq"));
    assert!(all.len() >= 4, "those whose key or value is no JSON");
    for letter in &all {
        let read = letter.read();
        assert_eq!(read.dialects().collect::<Vec<_>>(), [Dialect::Connect, Dialect::Spring]);
        assert_eq!(read.last_hop().topic, Some(dead.as_str()));
        assert_eq!(read.group(), Some(format!("connect-{}", of("behind")).into()), "of the last failure");
        assert_eq!(read.attempts(), Some(3), "of Spring, who counts them");
        assert_eq!(read.life(), read.origin());
        let is_origin =
            |one: &&Stored| read.origin().to_string() == format!("{listened}-{}@{}", one.partition, one.offset);
        let original = spring.iter().find(is_origin).expect("it comes from where Spring read it");
        assert_eq!(read.original_timestamp_ms(), original.timestamp);
        letter.assert_holds(original);
    }
    let report = Redrive::new(&kafka(), of("behind-dlq")).dry_run().await.unwrap();
    assert_eq!(report.targets().get(&listened), Some(&(all.len() as u64)), "{report}");
}

type Bytes<'a> = (&'a Option<Vec<u8>>, &'a Option<Vec<u8>>, &'a [(String, Option<Vec<u8>>)]);

fn bytes(stored: &Stored) -> Bytes<'_> {
    (&stored.key, &stored.value, &stored.headers)
}

//! Kafka Streams, with its dead-letter topic.

use kafka_dlq::{Dialect, Missing, Refusal};
use tests::harness::{JavaProgram, unique};

use super::{
    ODD, PARTITIONS, Pair, assert_returned, bootstrap, create, letter_of, letters, producer, sent_back, wait_for, write,
};

/// The last is an integer.
const INTEGERS: [Pair<'static>; 4] = [
    (Some(&[0, 0, 0, 7]), Some(b"no integer")),
    (Some(b"no integer"), Some(&[0, 0, 0, 7])),
    (None, Some(&[0xff])),
    (Some(&[0, 0, 0, 7]), Some(&[0, 0, 0, 7])),
];

#[tokio::test]
async fn what_kept_its_bytes_goes_back_and_what_has_no_origin_stays() {
    let stem = unique("streams");
    let of = |name: &str| format!("{stem}-{name}");
    create(&["process", "decode", "group", "clock", "dlq"].map(of), PARTITIONS).await;
    let mut records = ODD.to_vec();
    records.push((Some(b"k"), Some(b"silent")));
    let producer = producer();
    let process = write(&producer, &of("process"), &records).await;
    let decode = write(&producer, &of("decode"), &INTEGERS).await;
    let group = write(&producer, &of("group"), &[(Some(b"k"), Some(b"new key"))]).await;
    let state = tempfile::tempdir().unwrap();
    let dead = of("dlq");
    let arguments = [bootstrap(), &stem, &dead, state.path().to_str().unwrap()];
    let mut program = JavaProgram::start("streams", "streams.Failures", &arguments);
    wait_for(&mut program, &[(&dead, process.len() + 3 + 1 + 1)]);
    drop(program);

    let all = letters(&dead);
    for original in process.iter().chain(&decode[..3]) {
        let is_decoding = decode.contains(original);
        let topic = of(if is_decoding { "decode" } else { "process" });
        let found = letter_of(&all, &topic, original);
        let letter = found.read();
        assert_eq!(letter.dialects().collect::<Vec<_>>(), [Dialect::Streams]);
        assert_eq!(letter.is_undecodable(), is_decoding);
        assert_eq!((letter.group(), letter.attempts()), (None, None));
        assert_eq!(letter.missing(), [Missing::Group, Missing::Attempts]);
        assert_eq!(letter.original_timestamp_ms(), original.timestamp);
        assert_eq!((letter.damage(), letter.refusal()), (vec![], None));
        if !is_decoding {
            assert_eq!(letter.class().as_deref(), Some("streams.Failures$Declined"), "without a wrapper");
            let silent = original.value.as_deref() == Some(b"silent");
            assert_eq!(letter.message().as_deref(), (!silent).then_some("card declined"));
            assert_eq!(letter.reason().as_deref(), Some("streams.Failures$Declined"));
        }
        assert!(letter.trace().is_some());
        found.assert_holds(original);
        if original.value == decode[0].value {
            assert_eq!(found.explained()["redrive"], format!("goes to {topic}"));
        }
    }

    // Behind a repartition: the topic is the application's own, and the key is the new one.
    let internal = all.iter().find(|letter| letter.stored.key.as_deref() == Some(b"new key")).unwrap();
    let (repartition, value) = (internal.read().origin().topic.unwrap().to_owned(), &internal.stored.value);
    assert!(repartition.starts_with(&stem) && repartition.ends_with("-repartition"), "{repartition}");
    assert_eq!(value, &group[0].value);
    let refused = Refusal::InternalTopic(&repartition).to_string();
    assert_eq!(internal.explained()["redrive"], format!("stays, without a target: {refused}"));

    // Of a punctuator: no record.
    let punctuator = all.iter().find(|letter| letter.read().origin().topic.is_none()).unwrap();
    let letter = punctuator.read();
    assert_eq!(letter.class().as_deref(), Some("java.lang.IllegalStateException"));
    assert_eq!(letter.message().as_deref(), Some("the clock is wrong"));
    assert_eq!((&punctuator.stored.key, &punctuator.stored.value), (&None, &None));
    assert_eq!(letter.way_back(), Err(Refusal::NoRecord));
    let no_record = Refusal::NoRecord.to_string();
    assert_eq!(punctuator.explained()["redrive"], format!("stays, without a target: {no_record}"));

    let report = sent_back(&dead, |redrive| redrive).await;
    assert_eq!(report.sent(), process.len() as u64 + 3, "{report}");
    assert_eq!(report.left().get(&refused), Some(&1), "{report}");
    assert_eq!(report.left().get(&no_record), Some(&1), "{report}");
    assert_returned(&of("process"), &process, &process);
    assert_returned(&of("decode"), &decode, &decode[..3]);
}

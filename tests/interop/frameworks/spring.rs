//! Spring Kafka's `DeadLetterPublishingRecoverer`, of versions 3 and 4.

use kafka_dlq::{Damage, Dialect, Missing, TimestampType};
use tests::harness::oracle::Stored;
use tests::harness::{JavaProgram, unique};
use tokio::sync::OnceCell;

use super::{
    ODD, PARTITIONS, Pair, assert_returned, bootstrap, create, letter_of, letters, producer, sent_back, wait_for, write,
};

/// What one version made of what was written, each way in topics of its own.
struct Ways {
    stem: String,
    listener: Vec<Stored>,
    twice: Vec<Stored>,
    decode: Vec<Stored>,
    retained: Vec<Stored>,
    strings: Vec<Stored>,
    bare: Vec<Stored>,
    batch: Vec<Stored>,
    kept: Vec<Stored>,
}

const INTEGER: Option<&[u8]> = Some(&[0, 0, 0, 7]);

/// What an integer is expected to be: of the last, nothing is wrong.
const INTEGERS: [Pair<'static>; 5] = [
    (INTEGER, Some(b"no integer")),
    (Some(&[0xff, 0, 0xfe]), INTEGER),
    (Some(b"key"), Some(b"value")),
    (None, Some(&[0xff])),
    (INTEGER, INTEGER),
];

const TEXTS: [Pair<'static>; 4] = [
    (Some("Köln".as_bytes()), Some("Müller".as_bytes())),
    (Some(b"k"), Some(&[b'M', 0xfc, b'l'])),
    (Some(&[b'K', 0xf6, b'l']), Some(b"v")),
    (Some(b"gone"), None),
];

const BATCH: [Pair<'static>; 6] = [
    (Some(b"a"), Some(b"fine 1")),
    (Some(&[0xff]), Some(&[0, 0xfe])),
    (Some(b"b"), Some(b"fine 2")),
    (None, None),
    (Some(b"c"), Some(b"bad")),
    (Some(b"d"), Some(b"fine 3")),
];

async fn run(module: &'static str) -> Ways {
    let stem = unique(module);
    let of = |way: &str| format!("{stem}-{way}");
    let ways = ["listener", "twice", "decode", "retained", "strings", "bare", "batch", "kept"];
    let made = ["twice-dlt-dlt", "kept-dlt-dlt", "parked"].map(String::from);
    let topics = ways.iter().flat_map(|way| [(*way).to_owned(), format!("{way}-dlt")]).chain(made);
    create(&topics.map(|name| of(&name)).collect::<Vec<_>>(), PARTITIONS).await;
    let producer = producer();
    let ways = Ways {
        listener: write(&producer, &of("listener"), &ODD).await,
        twice: write(&producer, &of("twice"), &ODD).await,
        decode: write(&producer, &of("decode"), &INTEGERS).await,
        retained: write(&producer, &of("retained"), &INTEGERS).await,
        strings: write(&producer, &of("strings"), &TEXTS).await,
        bare: write(&producer, &of("bare"), &ODD).await,
        batch: write(&producer, &of("batch"), &BATCH).await,
        kept: write(&producer, &of("kept"), &ODD[..2]).await,
        stem: stem.clone(),
    };
    let mut program = JavaProgram::start(module, "spring.Recoverer", &[bootstrap(), &stem]);
    let expected = [
        ("listener-dlt", ODD.len()),
        ("twice-dlt-dlt", ODD.len()),
        ("decode-dlt", INTEGERS.len() - 1),
        ("retained-dlt", INTEGERS.len() - 1),
        ("strings-dlt", TEXTS.len()),
        ("parked", ODD.len()),
        ("batch-dlt", BATCH.len() - 3),
        ("kept-dlt-dlt", 2),
    ];
    let expected = expected.map(|(topic, count)| (of(topic), count));
    wait_for(&mut program, &expected.each_ref().map(|(topic, count)| (topic.as_str(), *count)));
    ways
}

/// A topic, what an application wrote into it, and the topic where Spring put it when its listener failed.
pub(super) async fn dead_letters_of_a_listener() -> (String, &'static [Stored], String) {
    let [_, ways] = versions().await;
    (ways.topic("listener"), &ways.listener, ways.topic("listener-dlt"))
}

/// Both versions, run once for all tests.
async fn versions() -> [&'static Ways; 2] {
    static RUNS: [OnceCell<Ways>; 2] = [const { OnceCell::const_new() }; 2];
    [RUNS[0].get_or_init(|| run("spring-3")).await, RUNS[1].get_or_init(|| run("spring-4")).await]
}

impl Ways {
    fn topic(&self, way: &str) -> String {
        format!("{}-{way}", self.stem)
    }
}

#[tokio::test]
async fn a_listeners_dead_letters_tell_everything_and_go_back_bit_for_bit() {
    for ways in versions().await {
        let (topic, dead) = (ways.topic("listener"), ways.topic("listener-dlt"));
        let all = letters(&dead);
        assert_eq!(all.len(), ways.listener.len());
        for original in &ways.listener {
            let found = letter_of(&all, &topic, original);
            let letter = found.read();
            assert_eq!(letter.dialects().collect::<Vec<_>>(), [Dialect::Spring]);
            assert_eq!((letter.life(), letter.last_hop()), (letter.origin(), letter.origin()));
            assert_eq!(letter.attempts(), Some(3));
            assert_eq!(letter.class().as_deref(), Some("spring.Declined"), "not that of Spring's wrapper");
            assert_eq!(letter.message().as_deref(), Some("card declined"));
            assert_eq!(letter.cause_class().as_deref(), Some("java.io.IOException"), "the innermost");
            assert_eq!(letter.reason().as_deref(), Some("spring.Declined"));
            assert!(letter.trace().unwrap().contains("card declined"));
            assert_eq!(letter.group().as_deref(), Some(topic.as_str()));
            assert_eq!(letter.original_timestamp_ms(), original.timestamp);
            assert_eq!(letter.original_timestamp_type(), Some(TimestampType::CreateTime));
            assert_eq!((letter.missing(), letter.damage()), (vec![], vec![]));
            assert_eq!(letter.refusal(), None);
            assert!(!letter.is_undecodable() && !letter.is_pending());
            assert_eq!(found.stored.partition, original.partition, "Spring keeps the partition");
            found.assert_holds(original);
        }
        let explained = all[0].explained();
        assert_eq!(explained["redrive"], format!("goes to {topic}"));
        assert_eq!((&explained["loop"], &explained["undecodable"]), (&false.into(), &false.into()));
        assert_eq!(explained["hops"].as_array().unwrap().len(), 1);

        let report = sent_back(&dead, |redrive| redrive).await;
        assert_eq!((report.sent(), report.left().len()), (ways.listener.len() as u64, 0), "{report}");
        assert_returned(&topic, &ways.listener, &ways.listener);
        // Said again, the job has nothing left to do.
        assert_eq!(sent_back(&dead, |redrive| redrive).await.sent(), 0);
        assert_returned(&topic, &ways.listener, &ways.listener);
    }
}

#[tokio::test]
async fn a_listener_of_dead_letters_that_fails_too_leaves_the_first_origin() {
    for ways in versions().await {
        let (topic, dead) = (ways.topic("twice"), ways.topic("twice-dlt-dlt"));
        let (first, all) = (letters(&ways.topic("twice-dlt")), letters(&dead));
        for original in &ways.twice {
            let (first, found) = (letter_of(&first, &topic, original), letter_of(&all, &topic, original));
            let letter = found.read();
            assert_eq!(letter.dialect(), Some(Dialect::Spring));
            assert_eq!(letter.last_hop().to_string(), first.place());
            assert_eq!(letter.life(), letter.origin());
            assert_eq!(letter.hops().len(), 2);
            assert_eq!(letter.group(), Some(ways.topic("twice-dlt").into()), "of the last failure");
            assert_eq!(letter.original_timestamp_ms(), original.timestamp, "of the first");
            assert_eq!(found.count("kafka_dlt-original-topic"), 2, "Spring appends");
            assert_eq!(found.count("kafka_dlt-exception-fqcn"), 1, "and replaces");
            assert_eq!((letter.missing(), letter.damage()), (vec![], vec![]));
            found.assert_holds(original);
        }
        assert_eq!(all[0].explained()["hops"].as_array().unwrap().len(), 2);
        let report = sent_back(&dead, |redrive| redrive).await;
        assert_eq!(report.sent(), ways.twice.len() as u64, "{report}");
        assert_returned(&topic, &ways.twice, &ways.twice);
    }
}

#[tokio::test]
async fn what_cannot_be_decoded_is_kept_as_it_was() {
    for ways in versions().await {
        for (way, originals) in [("decode", &ways.decode), ("retained", &ways.retained)] {
            let (topic, dead) = (ways.topic(way), ways.topic(&format!("{way}-dlt")));
            let all = letters(&dead);
            let wrong = &originals[..INTEGERS.len() - 1];
            assert_eq!(all.len(), wrong.len(), "nothing is wrong with the last");
            for original in wrong {
                let found = letter_of(&all, &topic, original);
                let letter = found.read();
                assert_eq!(letter.dialects().collect::<Vec<_>>(), [Dialect::Spring]);
                assert!(letter.is_undecodable());
                let class = "org.springframework.kafka.support.serializer.DeserializationException";
                assert_eq!(letter.class().as_deref(), Some(class));
                let cause = "org.apache.kafka.common.errors.SerializationException";
                assert_eq!(letter.cause_class().as_deref(), Some(cause), "from the stack trace");
                assert_eq!(letter.message().as_deref(), Some("failed to deserialize"));
                assert_eq!(letter.group().as_deref(), Some(topic.as_str()));
                assert_eq!((letter.missing(), letter.damage()), (vec![], vec![]));
                let kept = ["Key", "Value"].map(|of| found.count(&format!("springDeserializerException{of}")));
                assert_eq!(kept.iter().sum::<usize>() > 0, way == "retained", "{kept:?}");
                found.assert_holds(original);
            }
            let explained = all[0].explained();
            assert_eq!((&explained["undecodable"], &explained["loop"]), (&true.into(), &false.into()));
            let report = sent_back(&dead, |redrive| redrive).await;
            assert_eq!(report.sent(), wrong.len() as u64, "{report}");
            assert_returned(&topic, originals, wrong);
        }
    }
}

#[tokio::test]
async fn what_a_string_serde_has_replaced_is_refused_and_the_rest_goes_back() {
    for ways in versions().await {
        let (topic, dead) = (ways.topic("strings"), ways.topic("strings-dlt"));
        let all = letters(&dead);
        let damage = [None, Some(Damage::ReplacedInValue), Some(Damage::ReplacedInKey), None];
        for (original, damage) in ways.strings.iter().zip(&damage) {
            let found = letter_of(&all, &topic, original);
            let letter = found.read();
            assert_eq!(letter.damage(), Vec::from_iter(damage.clone()), "{}", found.place());
            match damage {
                None => found.assert_holds(original),
                Some(damage) => {
                    assert_ne!((&found.stored.key, &found.stored.value), (&original.key, &original.value));
                    assert_eq!(found.explained()["redrive"], format!("stays: {damage}"));
                }
            }
        }
        let report = sent_back(&dead, |redrive| redrive).await;
        assert_eq!(report.sent(), 2, "{report}");
        for damage in damage.iter().flatten() {
            assert_eq!(report.left().get(&damage.to_string()), Some(&1), "{report}");
        }
        assert_returned(&topic, &ways.strings, [&ways.strings[0], &ways.strings[3]]);
    }
}

#[tokio::test]
async fn a_destination_of_ones_own_and_headers_that_are_switched_off_leave_what_is_needed() {
    for ways in versions().await {
        let (topic, dead) = (ways.topic("bare"), ways.topic("parked"));
        let all = letters(&dead);
        for original in &ways.bare {
            let found = letter_of(&all, &topic, original);
            let letter = found.read();
            assert_eq!(letter.class().as_deref(), Some("spring.Declined"));
            assert_eq!((letter.group(), letter.trace(), letter.original_timestamp_type()), (None, None, None));
            assert_eq!(letter.original_timestamp_ms(), original.timestamp);
            assert_eq!(letter.missing(), [Missing::Group]);
            found.assert_holds(original);
        }
        let report = sent_back(&dead, |redrive| redrive).await;
        assert_eq!(report.sent(), ways.bare.len() as u64, "{report}");
        // To the partition that the headers name, and not to the one in which the dead letter stands.
        assert_returned(&topic, &ways.bare, &ways.bare);
    }
}

#[tokio::test]
async fn of_a_batch_only_the_failed_records_are_dead() {
    for ways in versions().await {
        let (topic, dead) = (ways.topic("batch"), ways.topic("batch-dlt"));
        let all = letters(&dead);
        let failed = [&ways.batch[1], &ways.batch[3], &ways.batch[4]];
        assert_eq!(all.len(), failed.len());
        for original in failed {
            let found = letter_of(&all, &topic, original);
            let letter = found.read();
            assert_eq!(letter.class().as_deref(), Some("spring.Declined"), "not that of Spring's wrappers");
            assert_eq!(letter.message().as_deref(), Some("card declined"));
            assert_eq!(letter.cause_class().as_deref(), Some("java.io.IOException"));
            assert_eq!(letter.missing(), [Missing::Attempts], "a batch has no header that counts them");
            found.assert_holds(original);
        }
        let report = sent_back(&dead, |redrive| redrive).await;
        assert_eq!(report.sent(), 3, "{report}");
        assert_returned(&topic, &ways.batch, failed);
    }
}

#[tokio::test]
async fn a_second_hop_that_is_not_appended_leaves_the_first() {
    for ways in versions().await {
        let topic = ways.topic("kept");
        let all = letters(&ways.topic("kept-dlt-dlt"));
        for original in &ways.kept {
            let found = letter_of(&all, &topic, original);
            let letter = found.read();
            assert_eq!(letter.last_hop(), letter.origin(), "the last topic is not recorded");
            assert_eq!(found.count("kafka_dlt-exception-fqcn"), 2, "the exceptions are");
            assert_eq!(letter.class().as_deref(), Some("spring.Declined"));
            assert_eq!(letter.damage(), []);
            found.assert_holds(original);
        }
        let report = sent_back(&ways.topic("kept-dlt-dlt"), |redrive| redrive).await;
        assert_eq!(report.sent(), 2, "{report}");
        assert_returned(&topic, &ways.kept, &ways.kept);
    }
}

//! Topics of nothing and of garbage.

use kafka_client::RawRecord;

use super::*;

#[tokio::test]
async fn a_topic_of_garbage_is_shown_and_never_obeyed() {
    let given = Given::new(1);
    let garbage: Vec<RawRecord> = (0..200_u64)
        .map(|seed| {
            let bytes = |salt: u64| -> Vec<u8> {
                let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt;
                (0..state % 60)
                    .map(|_| {
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        state as u8
                    })
                    .collect()
            };
            let mut record = RawRecord::new(given.letters.name(), Some(bytes(1)), Some(bytes(2)));
            record.headers.push("kafka_dlt-original-topic", "\x1b[2J\x1b]0;owned\x07");
            record.headers.push("kafka_dlt-original-offset", bytes(3));
            record.headers.push("dlq.reason", "\x1b[31mred\u{202e}");
            record.headers.push("\u{9b}31m", bytes(4));
            record
        })
        .collect();
    given.write(garbage).await;
    let name = given.letters.name();
    let place = format!("{name}-0@0");
    let runs: [&[&str]; 6] = [
        &["peek", name, "-n", "200"],
        &["stats", name, "--by", "key"],
        &["show", &place],
        &["explain", &place],
        &["ls", name],
        &["redrive", name],
    ];
    for arguments in runs {
        let text = done(&run(arguments));
        let obeyed = |letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}';
        assert!(!text.contains(obeyed), "{arguments:?}: {text:?}");
    }
}

#[tokio::test]
async fn an_empty_topic_is_no_error_and_a_missing_one_is() {
    let given = Given::new(2);
    let name = given.letters.name();
    for arguments in
        [&["stats", name][..], &["peek", name], &["ls", name], &["redrive", name, "--execute"], &["export", name]]
    {
        done(&run(arguments));
    }
    for arguments in [&["stats", "no-such.dlq"][..], &["redrive", "no-such.dlq"], &["ls", "no-such.dlq"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("there is no topic no-such.dlq"));
    }
}

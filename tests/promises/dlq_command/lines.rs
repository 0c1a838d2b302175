//! Out as lines and in again: bit for bit, all or none.

use std::io::Write;

use kafka_client::RawRecord;

use super::*;

/// Bytes and headers of any kind, by a seed.
fn any_record(topic: &str, seed: u64) -> RawRecord {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = |most: u64| -> Option<Vec<u8>> {
        let length = next() % most;
        (next() % 5 > 0).then(|| (0..length).map(|_| next() as u8).collect())
    };
    let (key, value) = (bytes(20), bytes(200));
    let mut record = RawRecord::new(topic, key, value);
    for name in ["a", "b", "a", "Ü", "c"].into_iter().take(seed as usize % 6) {
        match bytes(12) {
            Some(value) => record.headers.push(name, value),
            None => record.headers.push_null(name),
        }
    }
    record.timestamp = Some(given::yesterday() + seed as i64);
    record
}

#[tokio::test]
async fn any_record_survives_dead_letter_export_import_and_redrive_bit_for_bit() {
    let given = Given::new(1);
    let copy = given::topic("copy.dlq", 1);
    let originals: Vec<RawRecord> = (0..200).map(|seed| any_record(given.orders.name(), seed)).collect();
    let dead = (0..).zip(&originals).map(|(offset, original)| {
        let mut letter = RawRecord::new(given.letters.name(), original.key.clone(), original.value.clone());
        (letter.headers, letter.timestamp) = (original.headers.clone(), original.timestamp);
        let failure = kafka_dlq::Failure {
            timestamp_ms: original.timestamp,
            message: Some("boom"),
            ..kafka_dlq::Failure::at(given.orders.name(), 0, offset)
        };
        match offset % 3 {
            0 => kafka_dlq::dialect::ours::write(&failure, &mut letter.headers),
            1 => kafka_dlq::dialect::spring::write(&failure, &mut letter.headers),
            _ => kafka_dlq::dialect::connect::write(&failure, &mut letter.headers),
        }
        letter
    });
    given.write(dead.collect::<Vec<_>>()).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    done(&run(&["export", given.letters.name(), "--file", path]));
    done(&run(&["import", path, "--to", copy.name(), "--execute"]));
    done(&run(&["redrive", copy.name(), "--execute", "--no-mark", "--keep-timestamp", "--accept-damage"]));
    let sent = given.sent();
    assert_eq!(sent.len(), originals.len());
    for (stored, original) in sent.iter().zip(&originals) {
        assert_eq!(
            (&stored.key, &stored.value, stored.timestamp),
            (&original.key, &original.value, original.timestamp)
        );
        let headers: Vec<(String, Option<Vec<u8>>)> =
            original.headers.iter().map(|header| (header.name().into_owned(), header.value().map(Vec::from))).collect();
        assert_eq!(stored.headers, headers);
    }
}

#[tokio::test]
async fn an_export_comes_back_bit_for_bit() {
    let given = thirty().await;
    let mut odd = given.letter(30, "a");
    (odd.key, odd.value) = (None, Some(vec![0xff, 0, 0x1b]));
    given.write([odd]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    done(&run(&["export", given.letters.name(), "--file", path]));
    let copy = given::topic("copy.dlq", 3);
    assert!(done(&run(&["import", path, "--to", copy.name()])).contains("would write 31"));
    assert_eq!(given::log(&copy), []);
    done(&run(&["import", path, "--to", copy.name(), "--keep-partition", "--execute"]));
    let sorted = |mut log: Vec<tests::harness::oracle::Stored>| {
        log.sort_by_key(|stored| (stored.partition, stored.offset));
        log
    };
    assert_eq!(sorted(given::log(&copy)), sorted(given::log(&given.letters)));

    // Piped, and refused as a whole for one line that is wrong.
    let mut child = command()
        .args(["import", "-", "--to", copy.name(), "--execute"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    child.stdin.take().unwrap().write_all(format!("{text}{{\"topic\":1}}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 32"), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(given::log(&copy).len(), 31);
}

//! Many records at once.

use std::time::Instant;

use super::*;

/// All verbs over so many dead letters.
async fn all_verbs(records: i64) {
    let given = Given::new(4);
    for from in (0..records).step_by(50_000) {
        given.write((from..records.min(from + 50_000)).map(|offset| given.letter(offset, "timeout"))).await;
    }
    let name = given.letters.name();
    let timed = |arguments: &[&str]| {
        let begun = Instant::now();
        let text = done(&run(arguments));
        // For whoever runs it with --nocapture: no promise.
        eprintln!("{:>8.1} s  {}", begun.elapsed().as_secs_f64(), arguments.join(" "));
        text
    };
    let counted = timed(&["stats", name, "--by", "source", "--json"]);
    assert_eq!(lines(&counted)[0]["count"], records, "{counted}");
    // As many keys as there are: the most frequent are told apart, the others are one line.
    let listed = timed(&["ls", name, "--json"]);
    assert_eq!(lines(&listed)[0]["depth"], records, "{listed}");
    let last = timed(&["peek", name, "--last", "-n", "3", "--json"]);
    assert_eq!(lines(&last).len(), 3);
    let rare = format!(".value.id == {}", records - 1);
    assert_eq!(lines(&timed(&["peek", name, "--where", &rare, "--json"])).len(), 1);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("letters.jsonl");
    let path = file.to_str().unwrap();
    timed(&["export", name, "--file", path]);
    let copy = given::topic("copy.dlq", 4);
    let imported = timed(&["import", path, "--to", copy.name(), "--execute", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&imported).unwrap()["records"], records);

    let report = timed(&["redrive", copy.name(), "--execute", "--json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["sent"], &report["end"]), (&records.into(), &"done".into()), "{report}");
    // Each once: the numbers in the values are all there are.
    let mut sent = vec![false; records as usize];
    for stored in given.sent() {
        let value: Value = serde_json::from_slice(stored.value.as_deref().unwrap()).unwrap();
        let id = value["id"].as_u64().unwrap() as usize;
        assert!(!std::mem::replace(&mut sent[id], true), "{id} was sent twice");
    }
    assert!(sent.iter().all(|sent| *sent), "some were not sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_takes_a_hundred_thousand() {
    all_verbs(100_000).await;
}

/// `cargo test --release -p tests --test promises a_million -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; run by .ci/interop"]
async fn every_verb_takes_a_million() {
    all_verbs(1_000_000).await;
}

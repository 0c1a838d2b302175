//! Back it goes: a dry run first, then exactly once, however it ends.

use std::time::Duration;

use tests::harness::eventually;

use super::*;
use crate::dead_letters::ids;

#[tokio::test]
async fn redrive_is_a_dry_run_until_told_otherwise() {
    let given = thirty().await;
    let name = given.letters.name();
    let text = done(&run(&["redrive", name, "--reason", "timeout"]));
    assert!(text.contains("would send 20") && text.contains("--execute"), "{text}");
    assert_eq!(given.sent(), []);
    let json: Value =
        serde_json::from_str(&done(&run(&["redrive", name, "--reason", "timeout", "--execute", "--json"]))).unwrap();
    assert_eq!((&json["sent"], &json["end"]), (&20.into(), &"done".into()));
    assert_eq!(given.sent().len(), 20);
    // At its limit, and again.
    let limited = run(&["redrive", name, "--reason", "decode", "--limit", "4", "--execute"]);
    assert_eq!(limited.status.code(), Some(4), "{}", stdout(&limited));
    done(&run(&["redrive", name, "--reason", "decode", "--execute"]));
    assert_eq!(ids(&given.sent()), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_transform_mends_what_goes_back() {
    let given = Given::new(1);
    given.write([given.letter(7, "decode")]).await;
    let transform = ["redrive", given.letters.name(), "--transform", "{id: (.id + 1)}", "--execute"];
    done(&run(&transform));
    assert_eq!(ids(&given.sent()), [8]);
    assert_eq!(run(&["redrive", given.letters.name(), "--transform", ".["]).status.code(), Some(2));
}

#[tokio::test]
async fn killed_at_any_moment_the_same_command_goes_on() {
    let given = Given::new(3);
    given.write((0..3_000).map(|offset| given.letter(offset, "a"))).await;
    let arguments = ["redrive", given.letters.name(), "--execute"];
    for kill in 1..=5 {
        let mut child = command().args(arguments).args(["--rate", "400"]).stdout(Stdio::null()).spawn().unwrap();
        let some_more = kill * 300;
        eventually("some more are sent", Duration::from_secs(120), async || given.sent().len() >= some_more).await;
        tokio::time::sleep(Duration::from_millis(137 * kill as u64)).await;
        // Kill -9: whatever is open stays open.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(given.sent().len() < 3_000, "nothing is left to go on with");
    done(&run(&arguments));
    assert_eq!(ids(&given.sent()), (0..3_000).collect::<Vec<_>>());
    // The control: the log holds what the kills have cut off, which a copy without transactions would have sent twice.
    assert!(given::log(&given.orders).len() > 3_000, "no transaction was open when the process was killed");
}

#[tokio::test]
async fn interrupted_it_commits_and_says_so() {
    let given = Given::new(1);
    given.write((0..3_000).map(|offset| given.letter(offset, "a"))).await;
    let arguments = ["redrive", given.letters.name(), "--execute", "--rate", "100"];
    let child = command().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("some are sent", Duration::from_secs(60), async || !given.sent().is_empty()).await;
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    let text = stdout(&output);
    assert!(text.contains("stopped"), "{text}");
    assert!(text.contains(&format!("sent {} ", given.sent().len())), "{text}");
}

#[tokio::test]
async fn what_is_discarded_is_marked_and_left() {
    let given = thirty().await;
    let name = given.letters.name();
    let discard = ["discard", name, "--reason", "timeout", "--why", "test data"];
    let dry = done(&run(&discard));
    assert!(dry.contains("would send 20"), "{dry}");
    let marks = kafka_client::Topic::new(format!("{name}.discarded"), kafka_client::Utf8, kafka_client::Utf8);
    done(&run(&[&discard[..], &["--execute"]].concat()));
    let log = given::log(&marks);
    assert_eq!(log.len(), 20);
    assert!(given::text(log[0].value.as_deref()).contains("test data"));
    assert_eq!(given::log(&given.letters).len(), 30, "nothing was deleted");
    let report = given.redrive().dry_run().await.unwrap();
    assert_eq!((report.sent(), report.left().get("discarded")), (10, Some(&20)), "{report}");
    // Said again, nothing is left to mark.
    done(&run(&[&discard[..], &["--execute"]].concat()));
    assert_eq!(given::log(&marks).len(), 20);
}

//! What lies there: counted, shown, explained, listed and watched.

use std::time::Duration;

use serde_json::Value;
use tests::harness::eventually;

use super::*;

#[tokio::test]
async fn stats_count_by_reason_and_by_source() {
    let given = thirty().await;
    let text = done(&run(&["stats", given.letters.name()]));
    let first: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((first[0], first[1], *first.last().unwrap()), ("20", "66.7%", "timeout"), "{text}");
    let json = lines(&done(&run(&["stats", given.letters.name(), "--by", "source", "--json"])));
    assert_eq!((&json[0]["is"], &json[0]["count"]), (&given.orders.name().into(), &30.into()));
}

#[tokio::test]
async fn peek_shows_the_oldest_the_newest_and_the_selected() {
    let given = thirty().await;
    let name = given.letters.name();
    assert_eq!(lines(&done(&run(&["peek", name, "--json"]))).len(), 10);
    let decode = lines(&done(&run(&["peek", name, "--json", "-n", "100", "--reason", "decode"])));
    assert_eq!(decode.len(), 10);
    assert!(decode.iter().all(|one| one["reason"] == "decode"));
    let some =
        lines(&done(&run(&["peek", name, "--json", "-n", "100", "--where", ".value.id >= 25 and .attempts == 3"])));
    assert_eq!(some.len(), 5);
    let redacted = done(&run(&["peek", name, "--redact", "--last"]));
    assert!(redacted.contains("bytes>") && !redacted.contains("{\"id\""), "{redacted}");
}

#[tokio::test]
async fn show_and_explain_tell_of_one_record() {
    let given = Given::new(1);
    given.write([given.letter(7, "timeout")]).await;
    let place = format!("{}-0@0", given.letters.name());
    let shown = done(&run(&["show", &place]));
    for part in
        ["CardDeclined", "billing", "{\"id\":7}", "tag = a", "null = null", &format!("{}-1@7", given.orders.name())]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let explained = done(&run(&["explain", &place]));
    assert!(explained.contains("goes to") && explained.contains("a loop      no"), "{explained}");
    let json: Value = serde_json::from_str(&done(&run(&["explain", &place, "--json"]))).unwrap();
    assert_eq!(json["loop"], false);
    assert_eq!(run(&["show", &format!("{}-0@99", given.letters.name())]).status.code(), Some(3));
}

#[tokio::test]
async fn ls_finds_the_topics_that_hold_dead_letters() {
    let given = thirty().await;
    let name = given.letters.name();
    let named = lines(&done(&run(&["ls", name, "--json"])));
    assert_eq!((&named[0]["depth"], &named[0]["reasons"][0]["reason"]), (&30.into(), &"timeout".into()));
    let all = done(&run(&["ls"]));
    assert!(all.lines().any(|line| line.starts_with(name)), "{all}");
    assert!(!all.lines().any(|line| line.starts_with(given.orders.name()) && !line.starts_with(name)), "{all}");
}

#[tokio::test]
async fn watch_shows_what_comes() {
    let given = thirty().await;
    let out = tempfile::NamedTempFile::new().unwrap();
    let mut child =
        command().args(["watch", given.letters.name(), "--json"]).stdout(out.reopen().unwrap()).spawn().unwrap();
    let told = async || {
        given.write([given.letter(99, "late")]).await;
        lines(&std::fs::read_to_string(out.path()).unwrap()).iter().any(|one| one["reason"] == "late")
    };
    eventually("it is shown", Duration::from_secs(60), told).await;
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(lines(&std::fs::read_to_string(out.path()).unwrap()).iter().all(|one| one["reason"] == "late"));
}

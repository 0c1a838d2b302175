//! In a pipe: no colours, no bar, and a reader that goes early is no error.

use std::io::{BufRead, BufReader, Read};

use super::*;

/// Runs it, reads so many lines of its output, and goes.
fn head(arguments: &[&str], lines: usize) -> (Option<i32>, Vec<String>, String) {
    let mut child =
        command().args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let read: Vec<String> =
        BufReader::with_capacity(64, child.stdout.take().unwrap()).lines().take(lines).map(Result::unwrap).collect();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), read, String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn a_reader_that_goes_early_ends_it_without_a_word() {
    let given = Given::new(1);
    // More than a pipe holds, so that somebody has to be there to read it.
    given.write((0..3_000).map(|offset| given.letter(offset, &"reason".repeat(20)))).await;
    let name = given.letters.name();
    let place = format!("{name}-0@0");
    let verbs: [&[&str]; 13] = [
        &["ls"],
        &["stats", name, "--by", "key"],
        &["peek", name, "-n", "3000"],
        &["peek", name, "-n", "3000", "--json"],
        &["show", &place],
        &["explain", &place],
        &["redrive", name],
        &["discard", name, "--why", "test"],
        &["export", name],
        &["doctor", name],
        &["completions", "bash"],
        &["man"],
        &["--help"],
    ];
    for arguments in verbs {
        for lines in [0, 1] {
            let (code, read, said) = head(arguments, lines);
            assert_eq!((code, said.as_str()), (Some(0), ""), "{arguments:?}");
            assert_eq!(read.len(), lines, "{arguments:?}");
        }
    }
    // A job that is at its limit says so, whoever listens.
    let (code, _, said) = head(&["redrive", name, "--limit", "5", "--execute"], 0);
    assert_eq!((code, said.as_str()), (Some(4), ""));
}

#[tokio::test]
async fn watching_ends_when_nobody_reads_it_any_more() {
    let given = Given::new(1);
    let mut child = command().args(["watch", given.letters.name()]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = async || {
        given.write([given.letter(1, "late")]).await;
        child.try_wait().unwrap().is_some()
    };
    tests::harness::eventually("it has ended", std::time::Duration::from_secs(60), ended).await;
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_pipe_gets_neither_colours_nor_a_bar_and_everything_of_long_values() {
    let given = Given::new(1);
    let mut letters: Vec<_> = (0..300).map(|offset| given.letter(offset, "a")).collect();
    letters[0].value = Some("x".repeat(500).into_bytes());
    given.write(letters).await;
    let name = given.letters.name();
    let peeked = done(&run(&["peek", name]));
    assert!(peeked.contains(&"x".repeat(500)), "{peeked}");
    let job = run(&["redrive", name, "--execute", "--rate", "200"]);
    let (text, said) = (done(&job), String::from_utf8(job.stderr).unwrap());
    assert_eq!(said, "", "no bar");
    for text in [&peeked, &text] {
        assert!(!text.contains('\x1b'), "{text:?}");
    }
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child = command().args(["man"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(said.contains("cannot be written"), "{said}");
}

//! In a terminal, which is a pseudo-terminal here: tables that fit, colours, a bar; and a record's bytes drive nothing.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::JoinHandle;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::*;

const COLUMNS: u16 = 80;

/// A terminal of 80 columns, and what is written to it.
struct Terminal {
    seen: JoinHandle<Vec<u8>>,
    other_side: File,
}

impl Terminal {
    fn open() -> Self {
        let side = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&side).unwrap();
        unlockpt(&side).unwrap();
        let size = Winsize { ws_row: 24, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&side, size).unwrap();
        let name: CString = ptsname(&side, Vec::new()).unwrap();
        let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let other_side = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut side = File::from(side);
        let seen = std::thread::spawn(move || {
            let (mut seen, mut some) = (Vec::new(), [0; 4096]);
            // It fails when nobody holds the other side any more.
            while let Ok(read @ 1..) = side.read(&mut some) {
                seen.extend(&some[..read]);
            }
            seen
        });
        Self { seen, other_side }
    }

    /// Runs the command with all its streams in the terminal; the code it ended with, and what was seen.
    fn run(self, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
        let Self { seen, other_side } = self;
        let stream = || Stdio::from(other_side.try_clone().unwrap());
        let mut command = command();
        command.args(arguments).envs(variables.iter().copied()).stdin(stream()).stdout(stream()).stderr(stream());
        let status = command.status().unwrap();
        // The last of those who hold it.
        drop((command, other_side));
        (status.code(), String::from_utf8(seen.join().unwrap()).unwrap())
    }
}

fn in_terminal(arguments: &[&str]) -> String {
    let (code, seen) = Terminal::open().run(arguments, &[]);
    assert_eq!(code, Some(0), "{arguments:?}: {seen}");
    seen
}

/// Without what the command itself says to a terminal: bold, red, plain, and the rest of a line cleared.
fn without_ours(seen: &str) -> String {
    ["\x1b[1m", "\x1b[31m", "\x1b[0m", "\x1b[K"].iter().fold(seen.to_owned(), |seen, ours| seen.replace(ours, ""))
}

/// Columns that a terminal would fill: letters of Chinese and the like take two.
fn columns(line: &str) -> usize {
    line.chars().map(|letter| if letter >= '\u{2e80}' { 2 } else { 1 }).sum()
}

#[tokio::test]
async fn tables_fit_its_columns_and_have_a_bold_heading() {
    let given = Given::new(1);
    let wide = |offset: i64| {
        let mut letter = given.letter(offset, &"because ".repeat(40));
        letter.key = Some("注文番号".repeat(10).into_bytes());
        letter.value = Some(format!("{{\"text\":\"{}\"}}", "値段が高い🛒".repeat(30)).into_bytes());
        letter
    };
    given.write((0..20).map(wide)).await;
    let name = given.letters.name();
    for arguments in
        [&["ls", name][..], &["peek", name], &["stats", name], &["stats", name, "--by", "key"], &["doctor", name]]
    {
        let seen = in_terminal(arguments);
        assert!(seen.contains("\x1b[1m"), "{arguments:?}: no bold heading: {seen:?}");
        let plain = without_ours(&seen);
        // What a bar has drawn stands before the last return of the carriage.
        for line in plain.split("\r\n").map(|line| line.rsplit('\r').next().unwrap_or_default()) {
            assert!(columns(line) <= COLUMNS.into(), "{arguments:?}: {} columns: {line}", columns(line));
        }
        assert!(!plain.contains('\x1b'), "{arguments:?}: {plain:?}");
    }
    // Who wants no colours gets none.
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let (code, seen) = Terminal::open().run(&["peek", name], &[variable]);
        assert!(code == Some(0) && !seen.contains("\x1b[1m"), "{variable:?}: {seen:?}");
    }
}

#[tokio::test]
async fn a_long_job_has_a_bar_with_its_rate_and_the_time_left_and_takes_it_away() {
    let given = Given::new(1);
    given.write((0..400).map(|offset| given.letter(offset, "a"))).await;
    let seen = in_terminal(&["redrive", given.letters.name(), "--execute", "--rate", "150"]);
    let bars: Vec<&str> = seen.split('\r').filter(|part| part.starts_with('[')).collect();
    assert!(bars.len() > 2, "{seen:?}");
    assert!(bars.iter().all(|bar| bar.contains("/400 ") && bar.contains("/s, ") && bar.contains(" left")), "{bars:?}");
    assert!(bars.iter().any(|bar| bar.starts_with("[####")), "{bars:?}");
    // Wiped away before the report.
    let report = seen.rsplit("\r\x1b[K").next().unwrap();
    assert!(report.contains("sent 400 ") && !report.contains("[###"), "{seen:?}");
}

#[tokio::test]
async fn what_stands_in_a_record_is_shown_and_not_obeyed() {
    let given = Given::new(1);
    let hostile = "\x1b[2J\x1b]0;owned\x07\x1b]52;c;aGk=\x07\u{9b}31m\r\u{202e}\u{8}";
    let mut letter = given.letter(0, hostile);
    (letter.key, letter.value) = (Some(hostile.into()), Some(hostile.into()));
    letter.headers.push(hostile, hostile);
    given.write([letter]).await;
    let name = given.letters.name();
    let place = format!("{name}-0@0");
    for arguments in [
        &["peek", name][..],
        &["show", &place],
        &["explain", &place],
        &["stats", name],
        &["stats", name, "--by", "key"],
        &["ls", name],
        &["redrive", name],
    ] {
        let plain = without_ours(&in_terminal(arguments)).replace("\r\n", "\n");
        let obeyed = |letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}';
        assert!(!plain.contains(obeyed), "{arguments:?}: {plain:?}");
    }
    let shown = in_terminal(&["show", &place]);
    assert!(shown.contains("\\u{1b}[2J") && shown.contains("\\u{202e}"), "{shown}");
}

#[tokio::test]
async fn an_error_is_told_in_red_and_has_its_code() {
    let (code, seen) = Terminal::open().run(&["stats", "no-such.dlq"], &[]);
    assert_eq!(code, Some(3));
    assert!(seen.contains("\x1b[31mkafka-dlq:\x1b[0m there is no topic no-such.dlq"), "{seen:?}");
}

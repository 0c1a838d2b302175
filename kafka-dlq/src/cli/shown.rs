//! Bytes as text that a terminal does not obey.

use std::error::Error as StdError;
use std::fmt::Write;

pub(super) use crate::values::hex;

/// Text with everything escaped that could move a cursor, change a colour, turn the direction of writing, or hide.
pub(super) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            hidden if is_hidden(hidden) => drop(write!(out, "\\u{{{:x}}}", u32::from(hidden))),
            other => out.push(other),
        }
    }
    out
}

/// As [`text`], with lines and indents left as they are.
pub(super) fn lines(of: &str) -> String {
    of.split('\n').map(|line| text(line).replace("\\t", "    ")).collect::<Vec<_>>().join("\n")
}

fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{61c}' | '\u{180e}' | '\u{e0000}'..='\u{e007f}')
}

/// Text where it is text, hex where it is not; null says so.
pub(super) fn bytes(bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => "null".to_owned(),
        Some((_, Ok(utf8))) => text(utf8),
        Some((bytes, Err(_))) => hex(bytes),
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(line, ": {error}");
        cause = error.source();
    }
    text(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_reaches_the_terminal_that_it_would_obey() {
        let hostile = "\x1b[2J\x1b]0;owned\x07\u{9b}31m\r\u{202e}txt\u{200b}\u{feff}\x7f";
        let safe = text(hostile);
        assert!(!safe.chars().any(is_hidden), "{safe}");
        assert!(safe.contains("\\u{1b}[2J") && safe.contains("\\u{202e}"), "{safe}");
        assert_eq!(bytes(Some(b"\xff\x1b")), "0xff1b");
        assert_eq!((bytes(None), bytes(Some(b""))), ("null".into(), String::new()));
        assert_eq!(text("grüße 😀"), "grüße 😀");
    }
}

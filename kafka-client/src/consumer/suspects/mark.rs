//! What a commit's metadata tells about records that may end their process, and its text.
//!
//! ```text
//!   kq1.  base64url( flags · end · (offset, deaths).. · CRC-32 )
//! ```
//!
//! It stands behind the offset map, after a space, or alone. Offsets count from the committed one; the checksum covers that
//! too, as that of the map does.

use std::cmp::Reverse;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use crate::consumer::offset_map::varint;

const MAGIC: &str = "kq1.";
const BETWEEN: char = ' ';
const OPEN: u8 = 1;
const ALONE: u8 = 2;

/// What it takes of the metadata at most, with the space before it.
pub(in crate::consumer) const MAX_BYTES: usize = 56;
/// What base64 leaves of that. There is room for two that are named, wherever they lie, and for seven as a rule.
const MAX_BODY: usize = (MAX_BYTES - 1 - MAGIC.len()) * 3 / 4 - size_of::<u32>();

/// What a commit tells about the records that are handled, or may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct Mark {
    /// Whether whoever wrote it was at work: without a later commit, it has died.
    pub(in crate::consumer) open: bool,
    /// Below this, what is unfinished may be handled now; or, if it is not open, was when an earlier process died.
    pub(in crate::consumer) end: i64,
    /// Records that were handled alone, and how many processes have died.
    pub(in crate::consumer) named: Vec<Named>,
    /// The one of them that is handled alone now.
    pub(in crate::consumer) alone: Option<i64>,
}

/// A suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct Named {
    pub(in crate::consumer) offset: i64,
    /// How many processes in a row have died while they may have been handling it.
    pub(in crate::consumer) deaths: u8,
}

/// The text of the offset map, and that of the mark.
pub(in crate::consumer) fn split(metadata: &str) -> (&str, &str) {
    match metadata.starts_with(MAGIC) {
        true => ("", metadata),
        false => metadata.split_once(BETWEEN).filter(|(_, mark)| mark.starts_with(MAGIC)).unwrap_or((metadata, "")),
    }
}

impl Mark {
    /// Appends the text that goes with `committed`. Of those that are named, the one that is alone goes first, and then those
    /// of which most is known, as far as there is room.
    pub(in crate::consumer) fn encode(&self, committed: i64, out: &mut String) {
        let mut body = Vec::with_capacity(MAX_BODY + size_of::<u32>());
        let away = |offset: i64| u64::try_from(offset.saturating_sub(committed)).unwrap_or(0);
        let mut named: Vec<&Named> = self.named.iter().collect();
        named.sort_by_key(|one| (Some(one.offset) != self.alone, Reverse(one.deaths)));
        let has_alone = named.first().is_some_and(|first| Some(first.offset) == self.alone);
        body.push(u8::from(self.open) * OPEN + u8::from(has_alone) * ALONE);
        varint::write(away(self.end), &mut body);
        for one in named {
            let distance = away(one.offset);
            if body.len() + varint::len(distance) + 1 > MAX_BODY {
                break;
            }
            varint::write(distance, &mut body);
            body.push(one.deaths);
        }
        body.extend(checksum(committed, &body).to_be_bytes());
        if !out.is_empty() {
            out.push(BETWEEN);
        }
        out.push_str(MAGIC);
        BASE64.encode_string(&body, out);
    }

    /// Reads what [`split`] has left. `None` where there is none.
    ///
    /// # Errors
    /// What is wrong with it. Going on without it is safe: nothing is known of suspects then.
    pub(in crate::consumer) fn decode(text: &str, committed: i64) -> Result<Option<Self>, &'static str> {
        let Some(code) = text.strip_prefix(MAGIC) else { return Ok(None) };
        if text.len() > MAX_BYTES {
            return Err("it is too long");
        }
        let bytes = BASE64.decode(code).map_err(|_| "it is no base64")?;
        let (body, sum) = bytes.split_last_chunk().ok_or("it is cut off")?;
        if checksum(committed, body) != u32::from_be_bytes(*sum) {
            return Err("it is damaged, or belongs to another offset");
        }
        read(body, committed).ok_or("it is malformed").map(Some)
    }
}

fn read(body: &[u8], committed: i64) -> Option<Mark> {
    let (&flags, mut rest) = body.split_first()?;
    let end = offset(&mut rest, committed)?;
    let mut named = Vec::new();
    while !rest.is_empty() {
        let offset = offset(&mut rest, committed)?;
        let (&deaths, behind) = rest.split_first()?;
        rest = behind;
        named.push(Named { offset, deaths });
    }
    let alone = match flags & ALONE != 0 {
        true => Some(named.first()?.offset),
        false => None,
    };
    Some(Mark { open: flags & OPEN != 0, end, named, alone })
}

/// One that can still be counted up.
fn offset(bytes: &mut &[u8], committed: i64) -> Option<i64> {
    committed.checked_add_unsigned(varint::read(bytes)?).filter(|offset| *offset < i64::MAX)
}

fn checksum(committed: i64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(MAGIC.as_bytes());
    hasher.update(&committed.to_be_bytes());
    hasher.update(body);
    hasher.finalize()
}

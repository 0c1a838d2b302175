//! The text around a code: what makes it recognisable, whole, and fit for a string.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::bound::LEVELS;
use super::{MAX_BYTES, MAX_MAP_BYTES, OffsetMap, runs, tree};

/// What the text begins with: that it is ours, and the version.
pub(super) const MAGIC: &str = "kt1.";
const NAME: &str = "kt";
const VERSION: &str = "1";

/// The bytes beside the code: the one that names it, and the checksum.
pub(super) const OVERHEAD: usize = 1 + size_of::<u32>();

/// The name of the runs; a tree is named by its levels.
const RUNS: u8 = 0;

/// Why metadata of ours cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// Another version wrote it.
    OtherVersion,
    /// It is longer than what this version ever writes.
    TooLong,
    /// It is no base64.
    NotBase64,
    /// The checksum does not fit: it is damaged, or belongs to another offset.
    Checksum,
    /// It is no map in spite of its checksum; tells what is wrong.
    Malformed(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherVersion => f.write_str("the offset map is of another version"),
            Self::TooLong => write!(f, "the offset map is longer than {MAX_BYTES} bytes"),
            Self::NotBase64 => f.write_str("the offset map is no base64"),
            Self::Checksum => f.write_str("the offset map is damaged, or belongs to another offset"),
            Self::Malformed(what) => write!(f, "the offset map is malformed: {what}"),
        }
    }
}

impl std::error::Error for DecodeError {}

pub(super) fn encode(map: &OffsetMap, committed: i64, out: &mut String) -> bool {
    if committed < 0 || map.ranges.first().is_none_or(|first| first.start <= committed) {
        return false;
    }
    let (runs, shape) = (runs::len(map, committed), tree::shape(map, committed));
    let bytes = OVERHEAD + runs.min(shape.len);
    if MAGIC.len() + (bytes * 4).div_ceil(3) > MAX_MAP_BYTES {
        return false;
    }
    let mut body = Vec::with_capacity(bytes);
    if runs <= shape.len {
        body.push(RUNS);
        runs::write(map, committed, &mut body);
    } else {
        body.push(shape.levels);
        tree::write(map, committed, shape, &mut body);
    }
    body.extend(checksum(committed, &body).to_be_bytes());
    out.push_str(MAGIC);
    BASE64.encode_string(&body, out);
    true
}

pub(super) fn decode(text: &str, committed: i64) -> Result<Option<OffsetMap>, DecodeError> {
    let Some(rest) = text.strip_prefix(NAME) else { return Ok(None) };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (version, rest) = rest.split_at(digits);
    let Some(code) = rest.strip_prefix('.').filter(|_| !version.is_empty()) else { return Ok(None) };
    if version != VERSION {
        return Err(DecodeError::OtherVersion);
    }
    if text.len() > MAX_BYTES {
        return Err(DecodeError::TooLong);
    }
    let bytes = BASE64.decode(code).map_err(|_| DecodeError::NotBase64)?;
    let (body, sum) = bytes.split_last_chunk().ok_or(DecodeError::Checksum)?;
    if checksum(committed, body) != u32::from_be_bytes(*sum) {
        return Err(DecodeError::Checksum);
    }
    if committed < 0 {
        return Err(DecodeError::Malformed("the committed offset is negative"));
    }
    let map = match body.split_first() {
        Some((&RUNS, code)) => runs::read(code, committed)?,
        Some((&levels, code)) if u32::from(levels) <= LEVELS => tree::read(levels, code, committed)?,
        _ => return Err(DecodeError::Malformed("an unknown code")),
    };
    // A tracker that goes on from here relies on it, and none has ever written another.
    match map.bound(committed).is_possible() {
        true => Ok(Some(map)),
        false => Err(DecodeError::Malformed("more is unfinished than a map may hold")),
    }
}

/// Over the committed offset too: tools that move a group's offset carry its metadata along, and a map applied to the
/// wrong offset would skip records that nobody has handled.
fn checksum(committed: i64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&committed.to_be_bytes());
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
pub(super) fn sealed(committed: i64, body: &[u8]) -> String {
    let whole: Vec<u8> = body.iter().copied().chain(checksum(committed, body).to_be_bytes()).collect();
    format!("{MAGIC}{}", BASE64.encode(whole))
}

//! The code for few or long runs: for each finished run its length and that of the unfinished one before it. A single
//! unfinished offset, which is the usual length, takes one bit.

use super::text::DecodeError;
use super::{OffsetMap, varint};

/// The number for the lengths, and the one that follows it where more than one offset is unfinished.
fn token(unfinished: u64, finished: u64) -> (u64, Option<u64>) {
    ((finished - 1) << 1 | u64::from(unfinished > 1), unfinished.checked_sub(2))
}

fn tokens(map: &OffsetMap, committed: i64) -> impl Iterator<Item = (u64, Option<u64>)> {
    let length = |range: &std::ops::Range<i64>| range.end.abs_diff(range.start);
    map.holes(committed).zip(&map.ranges).map(move |(hole, finished)| token(length(&hole), length(finished)))
}

pub(super) fn len(map: &OffsetMap, committed: i64) -> usize {
    tokens(map, committed).map(|(first, more)| varint::len(first) + more.map_or(0, varint::len)).sum()
}

pub(super) fn write(map: &OffsetMap, committed: i64, out: &mut Vec<u8>) {
    for (first, more) in tokens(map, committed) {
        varint::write(first, out);
        more.into_iter().for_each(|more| varint::write(more, out));
    }
}

pub(super) fn read(mut bytes: &[u8], committed: i64) -> Result<OffsetMap, DecodeError> {
    let mut map = OffsetMap::new();
    let mut at = committed;
    let mut number = || varint::read(&mut bytes).map(|number| (number, bytes.is_empty()));
    let mut ended = false;
    while !ended {
        let (first, last) = number().ok_or(DecodeError::Malformed("a number is cut off"))?;
        let (unfinished, last) = match first & 1 {
            0 => (Some(1), last),
            _ => number()
                .map(|(more, last)| (more.checked_add(2), last))
                .ok_or(DecodeError::Malformed("a length is missing"))?,
        };
        let start = unfinished.and_then(|length| at.checked_add_unsigned(length));
        let end = start.and_then(|start| start.checked_add_unsigned((first >> 1) + 1));
        let (Some(start), Some(end)) = (start, end) else {
            return Err(DecodeError::Malformed("an offset is too large"));
        };
        map.push(start..end);
        (at, ended) = (end, last);
    }
    Ok(map)
}

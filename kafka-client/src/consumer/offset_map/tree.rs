//! The code for many scattered offsets: a bitmap of what is unfinished, in which bytes of nothing are left out.
//!
//! A byte on the lowest level is a bitmap of eight offsets, one on the level above tells which of eight such bytes there
//! are, and so on, up to the level where one byte spans everything from the committed offset on. Each is followed by
//! what is below it. Offsets have their place by their number and not by their distance from the committed one, so
//! that a tree of fewer offsets is never the larger one, wherever it begins.

use super::bound::{LEVELS, new_nodes};
use super::text::DecodeError;
use super::{OffsetMap, varint};

/// How the tree of a map is laid out.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) levels: u8,
    /// From the committed offset to one past the last finished one.
    span: u64,
    pub(super) len: usize,
}

/// The shape of a map that is not empty, without looking at every offset.
pub(super) fn shape(map: &OffsetMap, committed: i64) -> Shape {
    let bound = map.bound(committed);
    let levels = match bound.last() ^ committed {
        0 => 1,
        _ => 1 + new_nodes(committed, bound.last()),
    };
    let span = map.end().map_or(0, |end| end.abs_diff(committed));
    // The bound counts a path through all levels.
    Shape { levels: levels as u8, span, len: varint::len(span) + bound.nodes() - (LEVELS - levels) as usize }
}

pub(super) fn write(map: &OffsetMap, committed: i64, shape: Shape, out: &mut Vec<u8>) {
    varint::write(shape.span, out);
    let levels = usize::from(shape.levels);
    // Where the present byte of each level stands.
    let mut at = [0; LEVELS as usize];
    let mut before = None;
    for offset in map.holes(committed).flatten() {
        let new = before.map_or(levels, |before| new_nodes(before, offset) as usize);
        for place in at[..new].iter_mut().rev() {
            *place = out.len();
            out.push(0);
        }
        for (level, place) in at[..levels].iter().enumerate().take(new + 1) {
            out[*place] |= 1 << ((offset >> (3 * level)) & 7);
        }
        before = Some(offset);
    }
}

pub(super) fn read(levels: u8, mut bytes: &[u8], committed: i64) -> Result<OffsetMap, DecodeError> {
    let span = varint::read(&mut bytes).ok_or(DecodeError::Malformed("the span is cut off"))?;
    let end = committed.checked_add_unsigned(span).ok_or(DecodeError::Malformed("an offset is too large"))?;
    let mut reader = Reader { bytes, map: OffsetMap::new(), from: committed, first: true };
    reader.node(levels - 1, committed >> (3 * u32::from(levels)))?;
    if !reader.bytes.is_empty() {
        return Err(DecodeError::Malformed("bytes follow the tree"));
    }
    if end <= reader.from {
        return Err(DecodeError::Malformed("nothing is finished"));
    }
    reader.map.push(reader.from..end);
    Ok(reader.map)
}

struct Reader<'a> {
    bytes: &'a [u8],
    map: OffsetMap,
    /// One past the last unfinished offset.
    from: i64,
    first: bool,
}

impl Reader<'_> {
    /// Reads a byte and what is below it; `prefix` is what the offsets there have in common. As deep as `level`, which
    /// is at most 20; each call takes a byte.
    fn node(&mut self, level: u8, prefix: i64) -> Result<(), DecodeError> {
        let (mut bits, rest) = match self.bytes.split_first() {
            None => return Err(DecodeError::Malformed("the tree is cut off")),
            Some((0, _)) => return Err(DecodeError::Malformed("a byte of the tree is empty")),
            Some((bits, rest)) => (*bits, rest),
        };
        self.bytes = rest;
        while bits != 0 {
            let child = prefix << 3 | i64::from(bits.trailing_zeros());
            bits &= bits - 1;
            match level {
                0 => self.leaf(child)?,
                _ => self.node(level - 1, child)?,
            }
        }
        Ok(())
    }

    fn leaf(&mut self, offset: i64) -> Result<(), DecodeError> {
        if std::mem::take(&mut self.first) && offset != self.from {
            return Err(DecodeError::Malformed("the committed offset is finished"));
        }
        self.map.push(self.from..offset);
        self.from = offset + 1;
        Ok(())
    }
}

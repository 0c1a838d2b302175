//! Lists.
//!
//! ```text
//!   constant size   00 │ number of nulls │ index of each null │ number of entries │ entries that are not null
//!   variable size   01 │ number of entries │ per entry: its length, or -1 for null │ its bytes
//! ```
//!
//! Every number is an `i32`, big-endian. Java writes the first layout for `ShortSerializer`, `IntegerSerializer`,
//! `LongSerializer`, `FloatSerializer`, `DoubleSerializer` and `UUIDSerializer`, the second one for all others.

use std::any::TypeId;
use std::borrow::Borrow;

use super::{F32, F64, I16, I32, I64};
use crate::optional::required;
use crate::{Deserializer, Encoded, Error, ErrorKind, Optional, Serializer, Source, Stop, Target};

const CONSTANT_SIZE: u8 = 0;
const VARIABLE_SIZE: u8 = 1;
const NULL_ENTRY: i32 = -1;

/// A list of entries that all have the serde `S`; Java's `ListSerializer` around the serializer that `S` stands for.
///
/// Like Java's, it writes the entries of [`I16`], [`I32`], [`I64`], [`F32`], [`F64`] and `Uuid` without their
/// lengths, and all others with; it reads both. With [`Optional`] entries may be null:
/// `List::new(Optional::new(I32))` is a list of `Option<i32>`.
///
/// Bytes after the last entry are malformed; Java ignores them.
///
/// ```
/// use kafka_serde::{Deserializer, I32, List, Part, Serializer, Source, Target};
///
/// let mut bytes = Vec::new();
/// List::new(I32).serialize(&[1, 2], &mut Target::new("sizes", Part::Value), &mut bytes)?;
/// assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
/// assert_eq!(List::new(I32).deserialize(Some(&bytes), &Source::new("sizes", Part::Value))?, [1, 2]);
/// # Ok::<(), kafka_serde::Stop>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct List<S> {
    entry: S,
}

impl<S> List<S> {
    /// A list whose entries have the serde `entry`.
    pub const fn new(entry: S) -> Self {
        Self { entry }
    }
}

impl<S> Serializer for List<S>
where
    S: Serializer + Deserializer,
    S::Output: Borrow<S::Input>,
{
    type Input = [S::Output];

    fn serialize(&self, value: &[S::Output], to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        match constant_size::<S>() {
            Some(_) => self.write_constant(value, to, out)?,
            None => self.write_variable(value, to, out)?,
        }
        Ok(Encoded::Bytes)
    }
}

impl<S> List<S>
where
    S: Serializer + Deserializer,
    S::Output: Borrow<S::Input>,
{
    fn write_constant(&self, list: &[S::Output], to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
        out.push(CONSTANT_SIZE);
        let nulls_at = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&length(list.len())?);
        // Empty, and so without an allocation, unless an entry is null.
        let mut nulls = Vec::new();
        for (index, entry) in list.iter().enumerate() {
            match self.entry.serialize(entry.borrow(), to, out).map_err(|stop| at_entry(index, stop))? {
                Encoded::Null => nulls.extend_from_slice(&length(index)?),
                Encoded::Bytes => {}
            }
        }
        if !nulls.is_empty() {
            let number = length(nulls.len() / 4)?;
            out.splice(nulls_at..nulls_at + 4, number.into_iter().chain(nulls));
        }
        Ok(())
    }

    fn write_variable(&self, list: &[S::Output], to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
        out.push(VARIABLE_SIZE);
        out.extend_from_slice(&length(list.len())?);
        for (index, entry) in list.iter().enumerate() {
            let length_at = out.len();
            let entry_at = length_at + 4;
            out.extend_from_slice(&NULL_ENTRY.to_be_bytes());
            match self.entry.serialize(entry.borrow(), to, out).map_err(|stop| at_entry(index, stop))? {
                Encoded::Null => {}
                Encoded::Bytes => {
                    let length = length(out.len() - entry_at).map_err(|error| at_entry(index, error.into()))?;
                    out[length_at..entry_at].copy_from_slice(&length);
                }
            }
        }
        Ok(())
    }
}

impl<S: Deserializer> Deserializer for List<S> {
    type Output = Vec<S::Output>;

    fn deserialize(&self, bytes: Option<&[u8]>, from: &Source<'_>) -> Result<Self::Output, Stop> {
        let mut wire = Wire { rest: required(bytes, "a list")? };
        match (wire.byte()?, constant_size::<S>()) {
            (CONSTANT_SIZE, Some(size)) => self.read_constant(wire, size, from),
            (CONSTANT_SIZE, None) => Err(malformed(
                "the list has entries of constant size, as of Java's numbers and UUIDs, but the expected ones have none",
            )),
            (VARIABLE_SIZE, _) => self.read_variable(wire, from),
            (other, _) => Err(malformed(format!("a list starts with 00 or 01, got {other:02x}"))),
        }
    }
}

impl<S: Deserializer> List<S> {
    fn read_constant(&self, mut wire: Wire<'_>, size: usize, from: &Source<'_>) -> Result<Vec<S::Output>, Stop> {
        let nulls = wire.nulls()?;
        let count = wire.count()?;
        let present = count
            .checked_sub(nulls.len())
            .ok_or_else(|| malformed(format!("the list has {count} entries but {} nulls", nulls.len())))?;
        // Checked before anything is allocated; no overflow, since each factor is below 2^32.
        if present as u64 * size as u64 != wire.rest.len() as u64 {
            return Err(malformed(format!(
                "wrong length for a list: {present} entries of {size} bytes, got {} bytes",
                wire.rest.len()
            )));
        }
        let mut list = bounded(count, wire.rest.len());
        let mut nulls = nulls.iter().map(|index| i32::from_be_bytes(*index)).peekable();
        for index in 0..count {
            let null = nulls.next_if(|null| usize::try_from(*null) == Ok(index)).is_some();
            let entry = if null { None } else { Some(wire.take(size)?) };
            list.push(self.entry.deserialize(entry, from).map_err(|stop| at_entry(index, stop))?);
        }
        match nulls.next() {
            None => Ok(list),
            Some(index) => {
                Err(malformed(format!("the list has no entry {index} to be null, or its nulls are unsorted")))
            }
        }
    }

    fn read_variable(&self, mut wire: Wire<'_>, from: &Source<'_>) -> Result<Vec<S::Output>, Stop> {
        let count = wire.count()?;
        if count > wire.rest.len() / 4 {
            return Err(malformed(format!("{count} entries do not fit in {} bytes", wire.rest.len())));
        }
        let mut list = bounded(count, wire.rest.len());
        for index in 0..count {
            let entry = match wire.int()? {
                NULL_ENTRY => None,
                length => Some(wire.take(size(length)?)?),
            };
            list.push(self.entry.deserialize(entry, from).map_err(|stop| at_entry(index, stop))?);
        }
        match wire.rest.len() {
            0 => Ok(list),
            more => Err(malformed(format!("{more} bytes after the last entry of the list"))),
        }
    }
}

/// The bytes that are still unread.
struct Wire<'a> {
    rest: &'a [u8],
}

impl<'a> Wire<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.cut_short(length))?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let (byte, rest) = self.rest.split_first().ok_or_else(|| self.cut_short(1))?;
        self.rest = rest;
        Ok(*byte)
    }

    fn int(&mut self) -> Result<i32, Stop> {
        let (int, rest) = self.rest.split_first_chunk().ok_or_else(|| self.cut_short(4))?;
        self.rest = rest;
        Ok(i32::from_be_bytes(*int))
    }

    fn count(&mut self) -> Result<usize, Stop> {
        size(self.int()?)
    }

    fn nulls(&mut self) -> Result<&'a [[u8; 4]], Stop> {
        let count = self.count()?;
        let bytes = self.take(count.saturating_mul(4))?;
        Ok(bytes.as_chunks().0)
    }

    fn cut_short(&self, wanted: usize) -> Stop {
        malformed(format!("the list is cut short: {wanted} bytes expected, {} left", self.rest.len()))
    }
}

/// The length that every entry of `S` has, where Java leaves it out. Java too decides by the serializer's class.
fn constant_size<S: 'static>() -> Option<usize> {
    fn is<S: 'static, T: 'static>() -> bool {
        [TypeId::of::<T>(), TypeId::of::<Optional<T>>()].contains(&TypeId::of::<S>())
    }
    #[cfg(feature = "uuid")]
    if is::<S, super::Uuid>() {
        return Some(36);
    }
    if is::<S, I16>() {
        Some(2)
    } else if is::<S, I32>() || is::<S, F32>() {
        Some(4)
    } else if is::<S, I64>() || is::<S, F64>() {
        Some(8)
    } else {
        None
    }
}

/// An empty list with room for `count` entries, but for no more bytes than were received.
fn bounded<T>(count: usize, received_bytes: usize) -> Vec<T> {
    Vec::with_capacity(count.min(received_bytes / size_of::<T>().max(1)))
}

/// A length as Java writes it.
fn length(length: usize) -> Result<[u8; 4], Error> {
    i32::try_from(length).map(i32::to_be_bytes).map_err(|_| {
        Error::new(ErrorKind::Unencodable, format!("{length} does not fit in the 31 bits of a list length"))
    })
}

/// A length as Java reads it.
fn size(length: i32) -> Result<usize, Stop> {
    usize::try_from(length).map_err(|_| malformed(format!("the list has a negative length: {length}")))
}

fn malformed(message: impl Into<String>) -> Stop {
    Error::new(ErrorKind::Malformed, message).into()
}

fn at_entry(index: usize, stop: Stop) -> Stop {
    match stop {
        Stop::Error(error) => Error::new(error.kind(), format!("failed at entry {index} of the list"))
            .with_retry(error.retry())
            .with_source(error)
            .into(),
        miss @ Stop::Miss(_) => miss,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{decode, encode, random_bytes, refusal, survives_poison};
    use crate::{Bool, Bytes, NoKey, U32, Utf8};

    /// `java` is what the Java serializer of kafka-clients 4.3.1 wrote for `list`.
    fn agrees<S>(entry: S, list: &[S::Output], java: &[u8])
    where
        S: Serializer + Deserializer + Clone,
        S::Output: Borrow<S::Input> + PartialEq + std::fmt::Debug,
    {
        let serde = List::new(entry);
        assert_eq!(encode(&serde, list).as_deref(), Some(java), "encoding {list:?}");
        assert_eq!(decode(&serde, Some(java)).unwrap(), list, "decoding {java:02x?}");
    }

    #[test]
    fn a_list_of_numbers_is_what_java_writes() {
        agrees(I32, &[1, 2, -1], &[0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff]);
        agrees(I32, &[], &[0, 0, 0, 0, 0, 0, 0, 0, 0]);
        agrees(I16, &[258], &[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2]);
        agrees(I64, &[1], &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        agrees(F32, &[1.0], &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0x3f, 0x80, 0, 0]);
        agrees(F64, &[1.0], &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn null_numbers_are_listed_in_front_as_java_does() {
        let java = [0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 7];
        agrees(Optional::new(I32), &[None, Some(7), None], &java);
    }

    #[cfg(feature = "uuid")]
    #[test]
    fn a_list_of_uuids_is_what_java_writes() {
        let id = ::uuid::Uuid::from_u128(0x67e55044_10b1_426f_9247_bb680e5fe0c8);
        let mut java = vec![0, 0, 0, 0, 0, 0, 0, 0, 1];
        java.extend_from_slice(b"67e55044-10b1-426f-9247-bb680e5fe0c8");
        agrees(crate::Uuid, &[id], &java);
        survives_poison(&List::new(crate::Uuid));
    }

    #[test]
    fn a_list_of_texts_is_what_java_writes() {
        let texts = ["a", "", "bc"].map(str::to_owned);
        agrees(Utf8, &texts, &[1, 0, 0, 0, 3, 0, 0, 0, 1, 0x61, 0, 0, 0, 0, 0, 0, 0, 2, 0x62, 0x63]);
        agrees(Utf8, &[], &[1, 0, 0, 0, 0]);
        let java = [1, 0, 0, 0, 2, 0, 0, 0, 1, 0x61, 0xff, 0xff, 0xff, 0xff];
        agrees(Optional::new(Utf8), &[Some("a".to_owned()), None], &java);
    }

    #[test]
    fn booleans_and_lists_carry_their_lengths_as_in_java() {
        agrees(Bool, &[true, false], &[1, 0, 0, 0, 2, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0]);
        let java = [
            1, 0, 0, 0, 2, // two lists
            0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, // [1]
            0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, // []
        ];
        agrees(List::new(I32), &[vec![1], vec![]], &java);
    }

    #[test]
    fn numbers_with_lengths_are_read_too() {
        assert_eq!(decode(&List::new(I32), Some(&[1, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 7])).unwrap(), [7]);
    }

    #[test]
    fn numbers_without_lengths_are_refused_where_no_length_is_known() {
        let constant = [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7];
        for (kind, message) in [refusal(&List::new(Utf8), Some(&constant)), refusal(&List::new(U32), Some(&constant))] {
            assert_eq!(kind, ErrorKind::Malformed);
            assert!(message.contains("constant size"), "{message}");
        }
    }

    #[test]
    fn a_null_list_and_a_null_entry_need_optional() {
        assert_eq!(refusal(&List::new(I32), None).0, ErrorKind::UnexpectedNull);
        for (serde, bytes) in [
            (List::new(I32), &[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1][..]),
            (List::new(I32), &[1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]),
        ] {
            let from = Source::new("t", crate::Part::Value);
            let Err(Stop::Error(error)) = serde.deserialize(Some(bytes), &from) else { panic!("decoded") };
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (ErrorKind::UnexpectedNull, "failed at entry 0 of the list")
            );
            let source = std::error::Error::source(&error).unwrap();
            assert_eq!(source.to_string(), "null where i32 is expected; use Optional to accept null");
        }
    }

    #[test]
    fn entries_that_write_null_are_null_entries() {
        assert_eq!(
            encode(&List::new(NoKey), &[(), ()]).unwrap(),
            [1, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]
        );
    }

    #[test]
    fn an_entry_that_cannot_be_decoded_is_named() {
        let bytes = [1, 0, 0, 0, 2, 0, 0, 0, 1, 0x61, 0, 0, 0, 1, 0xff];
        assert_eq!(
            refusal(&List::new(Utf8), Some(&bytes)),
            (ErrorKind::Malformed, "failed at entry 1 of the list".to_owned())
        );
    }

    #[test]
    fn every_lie_about_a_length_is_malformed() {
        let lies: [(&str, &[u8]); 13] = [
            ("the list is cut short: 1 bytes expected, 0 left", &[]),
            ("a list starts with 00 or 01, got 02", &[2]),
            ("the list is cut short: 4 bytes expected, 2 left", &[0, 0, 0]),
            ("the list has a negative length: -1", &[0, 0xff, 0xff, 0xff, 0xff]),
            ("the list is cut short: 8589934588 bytes expected, 0 left", &[0, 0x7f, 0xff, 0xff, 0xff]),
            ("the list has a negative length: -2", &[0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe]),
            ("the list has 0 entries but 1 nulls", &[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
            (
                "wrong length for a list: 2147483647 entries of 4 bytes, got 0 bytes",
                &[0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff],
            ),
            ("wrong length for a list: 1 entries of 4 bytes, got 5 bytes", &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 9]),
            ("2147483647 entries do not fit in 4 bytes", &[1, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
            ("the list has a negative length: -2", &[1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe]),
            ("the list is cut short: 5 bytes expected, 4 left", &[1, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 1]),
            ("1 bytes after the last entry of the list", &[1, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1, 9]),
        ];
        for (message, bytes) in lies {
            assert_eq!(refusal(&List::new(I32), Some(bytes)), (ErrorKind::Malformed, message.to_owned()));
        }
    }

    #[test]
    fn null_indexes_that_are_unsorted_repeated_or_outside_are_malformed() {
        let nulls = |indexes: [i32; 2]| {
            let mut bytes = vec![0, 0, 0, 0, 2];
            bytes.extend(indexes.iter().flat_map(|index| index.to_be_bytes()));
            bytes.extend([0, 0, 0, 3, 0, 0, 0, 7]);
            bytes
        };
        assert_eq!(decode(&List::new(Optional::new(I32)), Some(&nulls([0, 2]))).unwrap(), [None, Some(7), None]);
        for lie in [[2, 0], [1, 1], [0, 3], [-1, 0], [i32::MIN, i32::MAX]] {
            assert_eq!(refusal(&List::new(Optional::new(I32)), Some(&nulls(lie))).0, ErrorKind::Malformed, "{lie:?}");
        }
    }

    #[test]
    fn no_more_memory_is_reserved_than_bytes_were_received() {
        assert_eq!(bounded::<i32>(1_000, 40).capacity(), 10);
        assert_eq!(bounded::<[u8; 4096]>(1_000, 4_000).capacity(), 0);
        assert!(bounded::<String>(3, 1_000).capacity() >= 3);
    }

    #[test]
    fn poison_bytes_are_an_error_or_a_value_never_a_panic() {
        survives_poison(&List::new(I32));
        survives_poison(&List::new(Optional::new(I16)));
        survives_poison(&List::new(Utf8));
        survives_poison(&List::new(Optional::new(List::new(Bytes))));
        survives_poison(&List::new(NoKey));
    }

    #[test]
    fn a_valid_list_with_one_wrong_byte_is_an_error_or_a_value_never_a_panic() {
        let optional = List::new(Optional::new(I16));
        let texts = List::new(Utf8);
        let seeds = [
            encode(&optional, &[None, Some(1), None, Some(2)]).unwrap(),
            encode(&texts, &["a".to_owned(), String::new(), "bcd".to_owned()]).unwrap(),
        ];
        for mut bytes in seeds {
            for at in 0..bytes.len() {
                for wrong in random_bytes(8).into_iter().chain([0, 1, 0x7f, 0x80, 0xff]) {
                    let right = std::mem::replace(&mut bytes[at], wrong);
                    let _ = decode(&optional, Some(&bytes));
                    let _ = decode(&texts, Some(&bytes));
                    bytes[at] = right;
                }
            }
        }
    }
}

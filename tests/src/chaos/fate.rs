//! What becomes of a record is decided by its bytes: members and judges agree on it without a word.

use std::hash::Hasher as _;

/// What handlers do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is handled.
    Handled,
    /// Its handler fails now and then, and handles it in the end.
    Flaky,
    /// Its handler says at once that it is bad.
    Bad,
    /// Its handler fails with it for ever, until no attempts are left.
    Hopeless,
    /// Its handler puts it aside.
    Parked,
    /// No handler sees it: key or value are no text.
    Undecodable,
}

/// How many of a hundred records have which fate; the others are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fates {
    pub(super) flaky: u64,
    pub(super) bad: u64,
    pub(super) hopeless: u64,
    pub(super) parked: u64,
}

impl Fates {
    /// The fate of a record with this key and value. A null key is text, a null value is none.
    pub(super) fn of(self, key: Option<&[u8]>, value: Option<&[u8]>) -> Fate {
        let is_text = |bytes: Option<&[u8]>| bytes.is_none_or(|bytes| std::str::from_utf8(bytes).is_ok());
        if !is_text(key) || !is_text(value) || value.is_none() {
            return Fate::Undecodable;
        }
        let mut rolled = fingerprint(&[key, value]) % 100;
        let fates = [
            (self.flaky, Fate::Flaky),
            (self.bad, Fate::Bad),
            (self.hopeless, Fate::Hopeless),
            (self.parked, Fate::Parked),
        ];
        for (share, fate) in fates {
            if rolled < share {
                return fate;
            }
            rolled -= share;
        }
        Fate::Handled
    }
}

impl Fate {
    /// Whether the record is to become a dead letter.
    pub(super) fn is_dead(self) -> bool {
        matches!(self, Self::Bad | Self::Hopeless | Self::Undecodable)
    }

    /// Whether it is to be handled, sooner or later.
    pub(super) fn is_handled(self) -> bool {
        matches!(self, Self::Handled | Self::Flaky)
    }
}

/// Tells these bytes from others, nulls from empty ones, and where one ends from where the next begins.
pub(super) fn fingerprint(parts: &[Option<&[u8]>]) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    for part in parts {
        hasher.write(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        hasher.write(part.unwrap_or_default());
    }
    // FNV's low bits alone follow those of its last byte.
    let mixed = (hasher.finish() ^ (hasher.finish() >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// FNV-1a: the same in every process and version, which std's hashers do not promise.
struct Fnv(u64);

impl std::hash::Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FATES: Fates = Fates { flaky: 20, bad: 5, hopeless: 5, parked: 10 };

    #[test]
    fn fates_come_as_often_as_they_should() {
        let of = |number: usize| FATES.of(Some(b"key-7"), Some(number.to_string().as_bytes()));
        let count = |fate| (0..10_000).filter(|number| of(*number) == fate).count();
        for (fate, percent) in
            [(Fate::Handled, 60), (Fate::Flaky, 20), (Fate::Bad, 5), (Fate::Hopeless, 5), (Fate::Parked, 10)]
        {
            let count = count(fate);
            assert!(count.abs_diff(percent * 100) < 150, "{fate:?}: {count}");
        }
        assert_eq!(FATES.of(None, None), Fate::Undecodable);
        assert_eq!(FATES.of(Some(&[0xff]), Some(b"1")), Fate::Undecodable);
        assert_ne!(FATES.of(None, Some(b"1")), Fate::Undecodable);
    }

    #[test]
    fn a_fingerprint_tells_null_from_empty_and_where_a_part_ends() {
        let some = [
            fingerprint(&[None, Some(b"")]),
            fingerprint(&[Some(b""), None]),
            fingerprint(&[Some(b""), Some(b"")]),
            fingerprint(&[Some(b"ab"), Some(b"c")]),
            fingerprint(&[Some(b"a"), Some(b"bc")]),
        ];
        let mut different = some.to_vec();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), some.len());
    }
}

//! Records that wait because another one of their key is being handled.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

/// A key, hashed. Two keys of one hash wait for each other, which costs time and no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyHash(u64);

impl KeyHash {
    pub(super) fn of(key: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Keys that are busy, each with the records that wait for it, in their order.
pub(super) struct Keyed<R> {
    busy: HashMap<u64, Line, BuildHasherDefault<Same>>,
    waiting: Vec<Option<Waiting<R>>>,
    free: Vec<usize>,
}

/// First and last of the records that wait for a key.
#[derive(Default)]
struct Line {
    ends: Option<(usize, usize)>,
}

struct Waiting<R> {
    record: R,
    next: Option<usize>,
}

impl<R> Keyed<R> {
    pub(super) fn new() -> Self {
        Self { busy: HashMap::default(), waiting: Vec::new(), free: Vec::new() }
    }

    /// How many records wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() - self.free.len()
    }

    #[inline]
    pub(super) fn is_busy(&self, key: KeyHash) -> bool {
        !self.busy.is_empty() && self.busy.contains_key(&key.0)
    }

    /// A record of this key is being handled from now on.
    pub(super) fn begin(&mut self, key: KeyHash) {
        self.busy.entry(key.0).or_default();
    }

    /// Puts a record in line behind its key, which is busy.
    pub(super) fn wait(&mut self, key: KeyHash, record: R) {
        let waiting = Some(Waiting { record, next: None });
        let at = match self.free.pop() {
            Some(at) => {
                self.waiting[at] = waiting;
                at
            }
            None => {
                self.waiting.push(waiting);
                self.waiting.len() - 1
            }
        };
        let line = self.busy.entry(key.0).or_default();
        let first = match line.ends {
            Some((first, last)) => {
                if let Some(last) = &mut self.waiting[last] {
                    last.next = Some(at);
                }
                first
            }
            None => at,
        };
        line.ends = Some((first, at));
    }

    /// The record of this key is done: the next one in line, whose turn it is now; without one the key is free.
    pub(super) fn end(&mut self, key: KeyHash) -> Option<R> {
        let line = self.busy.get_mut(&key.0)?;
        let Some((first, last)) = line.ends else {
            self.busy.remove(&key.0);
            return None;
        };
        let waiting = self.waiting[first].take()?;
        self.free.push(first);
        line.ends = waiting.next.map(|next| (next, last));
        Some(waiting.record)
    }
}

/// Keys of the map are hashes already.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_a_key_come_in_their_order_and_keys_do_not_wait_for_each_other() {
        let (a, b) = (KeyHash::of(b"a"), KeyHash::of(b"b"));
        let mut keyed = Keyed::new();
        assert!(!keyed.is_busy(a));
        keyed.begin(a);
        keyed.wait(a, 1);
        keyed.begin(b);
        keyed.wait(b, 10);
        keyed.wait(a, 2);
        assert_eq!(keyed.len(), 3);
        assert_eq!([keyed.end(a), keyed.end(a), keyed.end(a)], [Some(1), Some(2), None]);
        assert!(!keyed.is_busy(a) && keyed.is_busy(b));
        keyed.begin(a);
        keyed.wait(a, 3);
        assert_eq!([keyed.end(b), keyed.end(b), keyed.end(a), keyed.end(a)], [Some(10), None, Some(3), None]);
        assert_eq!((keyed.len(), keyed.busy.len()), (0, 0));
        assert!(keyed.waiting.len() <= 3, "places are used again");
    }
}

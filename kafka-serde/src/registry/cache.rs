//! `ReadMostly` is a bounded map that readers look at without a lock.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

/// A map of at most `capacity` entries. A reader takes no lock and writes nothing that another thread reads, but for
/// a mark on an entry that nobody used since the mark was last wiped; a writer copies the map.
///
/// Full, it drops an entry that was not used since the marks were wiped (second chance).
pub(crate) struct ReadMostly<K, V> {
    map: ArcSwap<HashMap<K, Arc<Slot<V>>>>,
    writers: Mutex<()>,
    capacity: usize,
}

struct Slot<V> {
    value: V,
    used: AtomicBool,
}

impl<K: Hash + Eq + Clone, V: Clone> ReadMostly<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { map: ArcSwap::default(), writers: Mutex::new(()), capacity: capacity.max(1) }
    }

    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let map = self.map.load();
        let slot = map.get(key)?;
        if !slot.used.load(Relaxed) {
            slot.used.store(true, Relaxed);
        }
        Some(slot.value.clone())
    }

    /// Sets what `change` makes of the present value; `None` removes the entry.
    pub(crate) fn update(&self, key: K, change: impl FnOnce(Option<&V>) -> Option<V>) {
        let _one_writer = self.writers.lock();
        let mut map = HashMap::clone(&self.map.load());
        match change(map.get(&key).map(|slot| &slot.value)) {
            Some(value) => {
                if map.len() >= self.capacity && !map.contains_key(&key) {
                    make_room(&mut map);
                }
                map.insert(key, Arc::new(Slot { value, used: AtomicBool::new(true) }));
            }
            None => drop(map.remove(&key)),
        }
        self.map.store(Arc::new(map));
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        self.update(key, |_| Some(value));
    }

    pub(crate) fn clear(&self) {
        let _one_writer = self.writers.lock();
        self.map.store(Arc::default());
    }

    /// All entries as they are now.
    pub(crate) fn entries(&self) -> Vec<(K, V)> {
        self.map.load().iter().map(|(key, slot)| (key.clone(), slot.value.clone())).collect()
    }
}

fn make_room<K: Hash + Eq + Clone, V>(map: &mut HashMap<K, Arc<Slot<V>>>) {
    let unused = map.iter().find(|(_, slot)| !slot.used.load(Relaxed)).map(|(key, _)| key.clone());
    if unused.is_none() {
        map.values().for_each(|slot| slot.used.store(false, Relaxed));
    }
    if let Some(key) = unused.or_else(|| map.keys().next().cloned()) {
        map.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_no_more_than_its_capacity() {
        let cache = ReadMostly::new(10);
        (0..1_000).for_each(|key| cache.insert(key, key));
        assert_eq!(cache.entries().len(), 10);
        assert_eq!(cache.get(&999), Some(999), "the newest is kept");
    }

    #[test]
    fn what_is_used_stays_longer_than_what_is_not() {
        let cache = ReadMostly::new(10);
        (0..10).for_each(|key| cache.insert(key, ()));
        // Wipes the marks of all but itself, and drops one of the first ten.
        cache.insert(10, ());
        let kept: Vec<i32> = cache.entries().into_iter().map(|(key, ())| key).filter(|key| *key < 10).collect();
        let used = kept[0];
        for key in 11..19 {
            assert_eq!(cache.get(&used), Some(()));
            cache.insert(key, ());
        }
        assert_eq!(cache.get(&used), Some(()));
    }

    #[test]
    fn writers_do_not_lose_each_others_entries() {
        let cache = ReadMostly::new(1_000);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let cache = &cache;
                scope.spawn(move || (0..100).for_each(|i| cache.insert(thread * 100 + i, i)));
            }
        });
        assert_eq!(cache.entries().len(), 400);
    }
}

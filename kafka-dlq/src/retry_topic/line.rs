//! What waits in one partition of a retry topic, and in which order it is handed out. Pure: the time is an argument.
//!
//! ```text
//!   Unordered     every record by its own time
//!   KeepOrder     by key: [first: by its time] ─ [behind it, in the order of the source] ─ ..
//!   LatestWins    by key: the newest one alone; the others are finished unhandled
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};

use super::Order;

/// A time that never comes: the record is parked.
pub(crate) const NEVER: i64 = i64::MAX;

/// A record that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item<R> {
    pub(crate) record: R,
    /// Where it stands in the retry topic.
    pub(crate) offset: i64,
    /// Its key, with the topic it came from; 0 where it has none.
    pub(crate) key: u64,
    /// Where it stood in that topic.
    pub(crate) source: i64,
    /// In milliseconds since the epoch.
    pub(crate) due: i64,
    /// How much memory it takes.
    pub(crate) bytes: u32,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<R> {
    Handle(Item<R>),
    /// The record at this offset is finished, unhandled: a newer one of its key has come, or the same one again.
    Finish(i64),
    Until(i64),
    Nothing,
}

/// The records of one partition of a retry topic.
#[derive(Debug)]
pub(crate) struct Line<R> {
    order: Order,
    /// Whether everything that was there at the beginning has arrived: only then is the order known.
    loaded: bool,
    /// Records without a key to keep, by time.
    free: BinaryHeap<Timed<R>>,
    /// Keys whose first record waits, by its time. May hold times that are over: the key knows better.
    due: BinaryHeap<Reverse<(i64, u64)>>,
    keys: HashMap<u64, Box<OfKey<R>>>,
    /// Records of the source that are on their way here, and whether they are known to be written.
    in_transit: HashMap<u64, BTreeMap<i64, bool>>,
    /// Keys of which a record is being handled: its offset and its source offset. And the other way round.
    running: HashMap<u64, (i64, i64)>,
    running_at: HashMap<i64, u64>,
    /// To be finished unhandled.
    finished: Vec<i64>,
    waiting: usize,
    bytes: usize,
}

/// The records of one key, in the order of the source. Small, and boxed: there may be a hundred thousand.
#[derive(Debug)]
struct OfKey<R> {
    first: Option<Item<R>>,
    /// Few keys have more than one.
    #[allow(clippy::box_collection, reason = "a pointer is a quarter of an empty queue")]
    rest: Option<Box<VecDeque<Item<R>>>>,
}

impl<R> OfKey<R> {
    fn has(&self, source: i64) -> bool {
        let behind = |rest: &VecDeque<Item<R>>| rest.binary_search_by_key(&source, |item| item.source).is_ok();
        self.first.as_ref().is_some_and(|first| first.source == source) || self.rest.as_deref().is_some_and(behind)
    }

    fn insert(&mut self, item: Item<R>) {
        let next = self.rest.as_ref().and_then(|rest| rest.front()).map(|next| next.source);
        match &mut self.first {
            None if next.is_none_or(|next| item.source < next) => self.first = Some(item),
            Some(first) if item.source < first.source => {
                let second = std::mem::replace(first, item);
                self.rest.get_or_insert_default().push_front(second);
            }
            _ => {
                let rest = self.rest.get_or_insert_default();
                let at = rest.partition_point(|other| other.source < item.source);
                rest.insert(at, item);
            }
        }
    }
}

#[derive(Debug)]
struct Timed<R>(Item<R>);

impl<R> PartialEq for Timed<R> {
    fn eq(&self, other: &Self) -> bool {
        (self.0.due, self.0.offset) == (other.0.due, other.0.offset)
    }
}

impl<R> Eq for Timed<R> {}

impl<R> PartialOrd for Timed<R> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The earliest is the greatest, as the heap wants it.
impl<R> Ord for Timed<R> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.0.due, other.0.offset).cmp(&(self.0.due, self.0.offset))
    }
}

impl<R> Line<R> {
    pub(crate) fn new(order: Order) -> Self {
        Self {
            order,
            loaded: false,
            free: BinaryHeap::new(),
            due: BinaryHeap::new(),
            keys: HashMap::new(),
            in_transit: HashMap::new(),
            running: HashMap::new(),
            running_at: HashMap::new(),
            finished: Vec::new(),
            waiting: 0,
            bytes: 0,
        }
    }

    /// The partition's life begins anew, or has ended: what waits, and what is written, is read again. What is being written
    /// still is.
    pub(crate) fn clear(&mut self) {
        let mut in_transit = std::mem::take(&mut self.in_transit);
        in_transit.retain(|_, sources| {
            sources.retain(|_, written| !*written);
            !sources.is_empty()
        });
        *self = Self { in_transit, ..Self::new(self.order) };
    }

    /// How many records wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    /// How many keys are blocked.
    pub(crate) fn blocked_keys(&self) -> usize {
        let on_their_way = self.in_transit.keys().filter(|key| !self.keys.contains_key(key));
        self.keys.len() + on_their_way.count()
    }

    /// Whether records of this key have to queue here, or to wait.
    pub(crate) fn is_blocked(&self, key: u64) -> bool {
        self.keys.contains_key(&key) || self.in_transit.contains_key(&key)
    }

    pub(crate) fn loaded(&mut self) {
        self.loaded = true;
    }

    /// A record of the source is being written here.
    pub(crate) fn sent(&mut self, key: u64, source: i64) {
        self.in_transit.entry(key).or_default().insert(source, false);
    }

    /// It is written, and will arrive.
    pub(crate) fn written(&mut self, key: u64, source: i64) {
        if let Some(written) = self.in_transit.get_mut(&key).and_then(|sources| sources.get_mut(&source)) {
            *written = true;
        }
    }

    /// It has arrived, or will not.
    pub(crate) fn not_in_transit(&mut self, key: u64, source: i64) {
        let Some(sources) = self.in_transit.get_mut(&key) else { return };
        if sources.remove(&source).is_some() {
            if sources.is_empty() {
                self.in_transit.remove(&key);
            }
            // It may have been what the key's first record waited for.
            if self.keys.get(&key).and_then(|of| of.first.as_ref()).is_some_and(|first| source < first.source) {
                self.ask(key);
            }
        }
    }

    /// A record was read.
    pub(crate) fn arrived(&mut self, item: Item<R>) {
        let (key, source) = (item.key, item.source);
        self.enter(item, true);
        self.not_in_transit(key, source);
    }

    /// The record that is being handled is to be handled again. To be said before [`ended`](Self::ended).
    pub(crate) fn again(&mut self, item: Item<R>) {
        self.enter(item, false);
    }

    fn enter(&mut self, item: Item<R>, is_new: bool) {
        self.waiting += 1;
        self.bytes += item.bytes as usize;
        if self.order == Order::Unordered || item.key == 0 {
            return push(&mut self.free, Timed(item));
        }
        let (key, offset) = (item.key, item.offset);
        let of = self.keys.entry(key).or_insert_with(|| Box::new(OfKey { first: None, rest: None }));
        let running = self.running.get(&key).map(|(_, source)| *source).filter(|_| is_new);
        let superseded = match self.order {
            _ if is_new && (running == Some(item.source) || of.has(item.source)) => Some(item),
            Order::LatestWins => {
                let newest = running.unwrap_or(i64::MIN);
                match &mut of.first {
                    _ if item.source < newest => Some(item),
                    Some(first) if item.source < first.source => Some(item),
                    first => first.replace(item),
                }
            }
            Order::KeepOrder | Order::Unordered => {
                of.insert(item);
                None
            }
        };
        if let Some(item) = superseded {
            self.left(&item);
            self.finished.push(item.offset);
        }
        // Not for each record behind the first: those get their turn when it has ended.
        if self.keys.get(&key).and_then(|of| of.first.as_ref()).is_some_and(|first| first.offset == offset) {
            self.ask(key);
        }
    }

    fn left(&mut self, item: &Item<R>) {
        self.waiting -= 1;
        self.bytes -= item.bytes as usize;
    }

    /// Sees to it that the key's first record gets its turn.
    fn ask(&mut self, key: u64) {
        if self.running.contains_key(&key) {
            return;
        }
        if let Some(first) = self.keys.get(&key).and_then(|of| of.first.as_ref()) {
            let turn = Reverse((first.due, key));
            if self.due.peek() != Some(&turn) {
                push(&mut self.due, turn);
            }
        }
    }

    /// A newer record of this key is about to be handled elsewhere: what waits up to it is finished unhandled.
    pub(crate) fn supersede(&mut self, key: u64, source: i64) {
        let Some(of) = self.keys.get_mut(&key) else { return };
        if let Some(first) = of.first.take_if(|first| first.source <= source) {
            let gone = !self.running.contains_key(&key);
            self.left(&first);
            self.finished.push(first.offset);
            if gone {
                self.keys.remove(&key);
            }
        }
    }

    /// What to do now.
    pub(crate) fn next(&mut self, now: i64) -> Next<R> {
        if let Some(offset) = self.finished.pop() {
            return Next::Finish(offset);
        }
        if self.order == Order::Unordered || self.loaded {
            let keyed = self.next_key(now);
            if let Some(item) = keyed {
                return Next::Handle(item);
            }
            if self.free.peek().is_some_and(|Timed(item)| item.due <= now)
                && let Some(Timed(item)) = self.free.pop()
            {
                self.left(&item);
                return Next::Handle(item);
            }
            let keyed = self.due.peek().map(|Reverse((due, _))| *due);
            let due = self.free.peek().map(|Timed(item)| item.due).into_iter().chain(keyed).min();
            return due.filter(|due| *due != NEVER).map_or(Next::Nothing, Next::Until);
        }
        Next::Nothing
    }

    fn next_key(&mut self, now: i64) -> Option<Item<R>> {
        while let Some(Reverse((due, key))) = self.due.peek().copied() {
            let first = self.keys.get(&key).and_then(|of| of.first.as_ref()).filter(|first| first.due == due);
            let source = first.filter(|_| !self.running.contains_key(&key)).map(|first| first.source);
            let waits = |source: i64| {
                let earlier = self.in_transit.get(&key).and_then(BTreeMap::first_key_value);
                self.order == Order::KeepOrder && earlier.is_some_and(|(earlier, _)| *earlier < source)
            };
            match source {
                Some(source) if !waits(source) => {
                    if due > now {
                        return None;
                    }
                    self.due.pop();
                    let item = self.keys.get_mut(&key)?.first.take()?;
                    self.running.insert(key, (item.offset, item.source));
                    self.running_at.insert(item.offset, key);
                    self.left(&item);
                    return Some(item);
                }
                // Over, or asked again when what it waits for has arrived.
                _ => drop(self.due.pop()),
            }
        }
        None
    }

    /// A record that was handed out was handled, or is to be again.
    pub(crate) fn ended(&mut self, offset: i64) {
        let Some(key) = self.running_at.remove(&offset) else { return };
        self.running.remove(&key);
        let Some(of) = self.keys.get_mut(&key) else { return };
        if of.first.is_none() {
            of.first = of.rest.as_mut().and_then(|rest| rest.pop_front());
            of.rest.take_if(|rest| rest.is_empty());
        }
        match of.first {
            Some(_) => self.ask(key),
            None => drop(self.keys.remove(&key)),
        }
    }

    /// What waits is due now: everything, or one key.
    pub(crate) fn hurry(&mut self, key: Option<u64>) -> usize {
        let mut hurried = 0;
        let keys: Vec<u64> = self.keys.keys().copied().filter(|one| key.is_none_or(|key| key == *one)).collect();
        for key in keys {
            let waiting = self.keys.get_mut(&key).filter(|_| !self.running.contains_key(&key));
            if let Some(first) = waiting.and_then(|of| of.first.as_mut()) {
                first.due = 0;
                hurried += 1;
            }
            self.ask(key);
        }
        let items: Vec<Timed<R>> = std::mem::take(&mut self.free).into_vec();
        let of_key = |item: &Item<R>| key.is_none_or(|key| key == item.key);
        let due_now = |Timed(item): Timed<R>| {
            let due = if of_key(&item) { 0 } else { item.due };
            hurried += usize::from(due == 0);
            Timed(Item { due, ..item })
        };
        self.free = items.into_iter().map(due_now).collect();
        hurried
    }

    /// Sets when one record is due; [`NEVER`] parks it. `false` where it does not wait here.
    pub(crate) fn set_due(&mut self, offset: i64, due: i64) -> bool {
        let keyed = self.keys.iter_mut().find_map(|(key, of)| {
            let behind = of.rest.iter_mut().flat_map(|rest| rest.iter_mut());
            of.first.iter_mut().chain(behind).find(|item| item.offset == offset).map(|item| (*key, item))
        });
        if let Some((key, item)) = keyed {
            item.due = due;
            self.ask(key);
            return true;
        }
        if !self.free.iter().any(|Timed(item)| item.offset == offset) {
            return false;
        }
        let items = std::mem::take(&mut self.free).into_vec().into_iter();
        let moved = |Timed(item): Timed<R>| {
            let due = if item.offset == offset { due } else { item.due };
            Timed(Item { due, ..item })
        };
        self.free = items.map(moved).collect();
        true
    }

    /// The records that wait, in no order, and whether they wait behind another one of their key.
    pub(crate) fn items(&self) -> impl Iterator<Item = (&Item<R>, bool)> {
        let keyed = self.keys.values().flat_map(|of| {
            let behind = of.rest.iter().flat_map(|rest| rest.iter());
            of.first.iter().map(|first| (first, false)).chain(behind.map(|item| (item, true)))
        });
        keyed.chain(self.free.iter().map(|Timed(item)| (item, false)))
    }

    /// How much memory the waiting records take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// No more room than an eighth is kept in reserve: there may be a hundred thousand.
fn push<T: Ord>(heap: &mut BinaryHeap<T>, item: T) {
    if heap.len() == heap.capacity() {
        heap.reserve_exact(heap.len() / 8 + 16);
    }
    heap.push(item);
}

#[cfg(test)]
mod tests;

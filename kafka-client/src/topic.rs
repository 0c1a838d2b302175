//! A topic: a name and the two serdes of its records.

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock, Weak};

use kafka_serde::Serializer;

use crate::producer::Handle;
use crate::record::Record;

/// A topic and the types of its records: a name, a serde for keys and a serde for values. Cheap to clone.
///
/// The types belong to the topic, so one producer serves every topic, and a consumer's handler gets typed records.
///
/// ```
/// use kafka_client::{Json, Topic, Utf8};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Order { item: String }
///
/// let orders = Topic::new("orders", Utf8, Json::<Order>::new());
/// let record = orders.record("o-1", &Order { item: "book".into() });
/// ```
pub struct Topic<K, V> {
    inner: Arc<Inner<K, V>>,
}

struct Inner<K, V> {
    name: TopicName,
    key: K,
    value: V,
}

impl<K, V> Topic<K, V> {
    /// The topic called `name`, whose keys and values these serdes encode and decode.
    pub fn new(name: impl Into<Arc<str>>, key: K, value: V) -> Self {
        Self { inner: Arc::new(Inner { name: TopicName::new(name.into()), key, value }) }
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.inner.name.text
    }

    /// The serde of the keys.
    pub fn key(&self) -> &K {
        &self.inner.key
    }

    /// The serde of the values.
    pub fn value(&self) -> &V {
        &self.inner.value
    }

    pub(crate) fn id(&self) -> &TopicName {
        &self.inner.name
    }
}

impl<K: Serializer, V: Serializer> Topic<K, V> {
    /// A record of this topic, to be encoded when it is sent.
    pub fn record<'a>(&'a self, key: &'a K::Input, value: &'a V::Input) -> Record<'a, K, V> {
        Record::new(self, key, Some(value))
    }

    /// A record whose value is null, which deletes the key from a compacted topic.
    pub fn tombstone<'a>(&'a self, key: &'a K::Input) -> Record<'a, K, V> {
        Record::new(self, key, None)
    }
}

impl<K, V> Clone for Topic<K, V> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<K, V> fmt::Debug for Topic<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.name()).finish()
    }
}

/// A topic's name with its hash, so that finding a topic's handle hashes nothing for each record.
pub struct TopicName {
    text: Arc<str>,
    hash: u64,
    /// The handle by which the first producer knows this topic, and that producer's number. Most topics meet one
    /// producer only, which then looks nothing up. Weak, so that a topic keeps no producer alive.
    handle: OnceLock<(u64, Weak<Handle>)>,
}

impl TopicName {
    pub(crate) fn new(text: Arc<str>) -> Self {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&text);
        Self { text, hash, handle: OnceLock::new() }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The handle, if this producer was the first.
    #[inline]
    pub(crate) fn handle(&self, producer: u64) -> Option<Arc<Handle>> {
        let (first, handle) = self.handle.get()?;
        if *first == producer { handle.upgrade() } else { None }
    }

    /// Remembers the handle of the first producer.
    pub(crate) fn remember(&self, producer: u64, handle: &Arc<Handle>) {
        let _ = self.handle.set((producer, Arc::downgrade(handle)));
    }
}

impl Clone for TopicName {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), hash: self.hash, handle: OnceLock::new() }
    }
}

impl PartialEq for TopicName {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.text, &other.text) || self.text == other.text
    }
}

impl Eq for TopicName {}

impl Hash for TopicName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Passes on the hash that a [`TopicName`] carries.
#[derive(Default)]
pub(crate) struct CarriedHash(u64);

impl Hasher for CarriedHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only topic names are hashed here, and they write one u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

//! One view over the dead letters of every framework.
//!
//! ```text
//! RecordView ─▶ dialects, the newest first ─▶ chain: which of them belong to this record ─▶ origin · life · last hop
//!                                                 └▶ the rest came with the data, and is the application's
//! ```
//!
//! Pure: no I/O, no clock.

mod view;
mod names;
mod place;
mod damage;

use std::borrow::Cow;

use crate::dialect::{Account, Dialect, Marks, ours};
use crate::failure::TimestampType;
use kafka_client::Headers;

pub use damage::{Damage, Missing, Refusal};
pub use names::TopicKind;
pub(crate) use names::{Link, link};
pub use place::Place;
pub use view::{HeadersView, RecordView};

/// A record as a dead letter: where it came from, why it is here, and what was lost, in whichever dialect it says so.
///
/// Reading costs one pass over the names of the headers, and one more for each dialect that is found; nothing is copied. A
/// record without a dialect stays readable; it has no origin.
///
/// ```
/// use kafka_client::RawRecord;
/// use kafka_dlq::{DeadLetter, Dialect};
///
/// let mut record = RawRecord::new("orders.dlq", None, Some(b"{}".to_vec()));
/// record.headers.push("__connect.errors.topic", "orders");
/// record.headers.push("__connect.errors.partition", "3");
/// record.headers.push("__connect.errors.offset", "4211");
/// record.headers.push("trace-id", "7");
///
/// let letter = DeadLetter::of(&record);
/// assert_eq!(letter.dialect(), Some(Dialect::Connect));
/// assert_eq!(letter.origin().to_string(), "orders-3@4211");
/// assert_eq!(letter.application_headers().len(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct DeadLetter<'a> {
    record: RecordView<'a>,
    newest: Option<Account<'a>>,
    /// Earlier links of the chain, the newest first.
    earlier: Vec<Account<'a>>,
    /// Whether there is an origin of the current life that is not that of the first.
    life: Option<Place<'a>>,
}

impl<'a> DeadLetter<'a> {
    /// Reads a record: a [`Received`](kafka_client::Received), a [`FailedRecord`](kafka_client::FailedRecord), a
    /// [`RawRecord`](kafka_client::RawRecord), or a [`RecordView`] of parts.
    pub fn of(record: impl Into<RecordView<'a>>) -> Self {
        let record = record.into();
        let marks = Marks::of(record.headers);
        let mut letter = Self { record, newest: None, earlier: Vec::new(), life: None };
        if !marks.is_empty() {
            letter.follow(marks);
        }
        letter
    }

    /// Puts the accounts in order, and keeps those that belong together.
    fn follow(&mut self, marks: Marks) {
        let mut accounts = marks.dialects().map(|dialect| Account::read(dialect, self.record.headers));
        let (Some(first), second) = (accounts.next(), accounts.next()) else { return };
        let Some(second) = second else {
            self.life = Some(first.life);
            self.newest = Some(first);
            return;
        };
        let mut sorted = vec![first];
        for account in [second].into_iter().chain(accounts) {
            let at = sorted.iter().position(|other| is_newer(&account, other)).unwrap_or(sorted.len());
            sorted.insert(at, account);
        }
        let mut sorted = sorted.into_iter();
        let Some(newest) = sorted.next() else { return };
        let (mut life, mut sent_back) = (newest.life, newest.life != newest.origin);
        let mut later = &newest;
        for account in sorted {
            match follows(later, &account) {
                Some(Link::Moved) => (),
                Some(Link::SentBack) => sent_back = true,
                None => break,
            }
            if !sent_back {
                (life, sent_back) = (account.life, account.life != account.origin);
            }
            self.earlier.push(account);
            later = self.earlier.last().unwrap_or(&newest);
        }
        self.life = Some(life);
        self.newest = Some(newest);
    }

    /// The record.
    pub fn record(&self) -> &RecordView<'a> {
        &self.record
    }

    /// The dialect of the last failure; `None` for a record that carries none.
    pub fn dialect(&self) -> Option<Dialect> {
        self.newest.as_ref().map(|account| account.dialect)
    }

    /// The dialects that tell of this record, the newest first.
    pub fn dialects(&self) -> impl Iterator<Item = Dialect> {
        self.accounts().map(|account| account.dialect)
    }

    fn accounts(&self) -> impl Iterator<Item = &Account<'a>> {
        self.newest.iter().chain(&self.earlier)
    }

    /// The oldest account: of the first life.
    fn first(&self) -> Option<&Account<'a>> {
        self.earlier.last().or(self.newest.as_ref())
    }

    /// Where the record failed for the first time, in its first life.
    pub fn origin(&self) -> Place<'a> {
        self.first().map_or_else(Place::default, |account| account.origin)
    }

    /// Where it failed for the first time since it was sent back last: the place that names this life of the record. Two
    /// dead letters of equal life are one record.
    pub fn life(&self) -> Place<'a> {
        self.life.unwrap_or_default()
    }

    /// Where it failed last: the origin, or a retry or dead-letter topic.
    pub fn last_hop(&self) -> Place<'a> {
        self.newest.as_ref().map_or_else(Place::default, |account| account.last)
    }

    /// Every place at which it failed, the oldest first; one that came with the data is not among them.
    pub fn hops(&self) -> Vec<(Dialect, Place<'a>)> {
        let mut hops = Vec::new();
        for account in self.earlier.iter().rev().chain(&self.newest) {
            let places = match account.dialect {
                Dialect::Ours if account.last != account.origin => vec![account.origin, account.last],
                Dialect::Ours => vec![account.origin],
                dialect => crate::dialect::places(dialect, self.record.headers),
            };
            let places = if places.is_empty() { vec![account.origin] } else { places };
            let from = places.iter().position(|place| *place == account.origin).unwrap_or(0);
            hops.extend(places[from..].iter().map(|place| (account.dialect, *place)));
        }
        hops
    }

    /// How many deliveries have failed, where it is counted.
    pub fn attempts(&self) -> Option<u32> {
        self.accounts().find_map(Account::attempts)
    }

    /// Why it is here, in a few words to select and count by: the dialect's own word, else the class of the error, else
    /// its message.
    pub fn reason(&self) -> Option<Cow<'a, str>> {
        let account = self.newest.as_ref()?;
        account.reason().or_else(|| account.class()).or_else(|| account.message()).map(String::from_utf8_lossy)
    }

    /// The class of the error: the application's, where the framework wraps it in its own.
    pub fn class(&self) -> Option<Cow<'a, str>> {
        self.newest.as_ref()?.class().map(String::from_utf8_lossy)
    }

    /// The class of the error's cause.
    pub fn cause_class(&self) -> Option<Cow<'a, str>> {
        self.newest.as_ref()?.cause_class().map(String::from_utf8_lossy)
    }

    /// The error's message.
    pub fn message(&self) -> Option<Cow<'a, str>> {
        self.newest.as_ref()?.message().map(String::from_utf8_lossy)
    }

    /// The stack trace, or the chain of causes.
    pub fn trace(&self) -> Option<Cow<'a, str>> {
        self.newest.as_ref()?.trace().map(String::from_utf8_lossy)
    }

    /// The consumer group that failed, where the dialect writes it.
    pub fn group(&self) -> Option<Cow<'a, str>> {
        self.accounts().find_map(Account::group)
    }

    /// Whether a decoder failed, so that sending the same bytes back fails again.
    pub fn is_undecodable(&self) -> bool {
        self.newest.as_ref().is_some_and(Account::is_decoding)
    }

    /// The timestamp it had at its origin, in milliseconds since the epoch: from a header, or its own where the framework
    /// keeps that.
    pub fn original_timestamp_ms(&self) -> Option<i64> {
        let first = self.first()?;
        let all_keep = || self.accounts().all(|account| account.dialect.keeps_timestamp());
        first.timestamp_ms().or_else(|| self.record.timestamp_ms.filter(|_| all_keep()))
    }

    /// Who set that timestamp, where it is known.
    pub fn original_timestamp_type(&self) -> Option<TimestampType> {
        self.first()?.timestamp_type()
    }

    /// When it failed for the first time, in milliseconds since the epoch.
    pub fn first_failure_ms(&self) -> Option<i64> {
        self.accounts().filter_map(Account::first_failure_ms).last()
    }

    /// When it failed last, in milliseconds since the epoch.
    pub fn failed_at_ms(&self) -> Option<i64> {
        self.newest.as_ref()?.failed_at_ms()
    }

    /// How often [`Redrive`](crate::Redrive) has sent it back.
    pub fn redrives(&self) -> u32 {
        let written = self.record.headers.last(ours::REDRIVES).flatten();
        written.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0)
    }

    /// Whether it waits for another attempt (on a retry topic), and is not dead.
    pub fn is_pending(&self) -> bool {
        let kind = TopicKind::of(self.record.topic);
        match self.dialect() {
            // Its copies wait in the source topic itself.
            Some(Dialect::Ruststream) => kind != TopicKind::DeadLetters,
            Some(dialect) => dialect.has_retries() && kind == TopicKind::Retries,
            None => false,
        }
    }

    /// What its headers do not tell.
    pub fn missing(&self) -> Vec<Missing> {
        let origin = self.origin();
        let told = [
            (Missing::Topic, origin.topic.is_some()),
            (Missing::Partition, origin.partition.is_some_and(|partition| partition >= 0)),
            (Missing::Offset, origin.offset.is_some_and(|offset| offset >= 0)),
            (Missing::Timestamp, self.original_timestamp_ms().is_some()),
            (Missing::Group, self.group().is_some()),
            (Missing::Class, self.class().is_some()),
            (Missing::Attempts, self.attempts().is_some()),
        ];
        told.into_iter().filter(|(_, told)| !told).map(|(missing, _)| missing).collect()
    }

    /// What it has lost, or may have lost. Looks at every byte of key and value.
    pub fn damage(&self) -> Vec<Damage<'a>> {
        let mut damage = Vec::new();
        for account in self.accounts() {
            account.damage(&self.record, &mut damage);
        }
        damage.dedup();
        damage
    }

    /// Whether a header is a framework's, and not the application's.
    fn is_a_frameworks(&self, name: &[u8], value: Option<&[u8]>) -> bool {
        self.dialects().any(|dialect| dialect.owns(name, value))
    }

    /// The application's headers, bit for bit: order, duplicates and nulls. Headers of a dialect that came with the data
    /// are among them.
    pub fn application_headers(&self) -> Headers {
        self.record
            .headers
            .filtered(|name, value| name != ours::REDRIVES.as_bytes() && !self.is_a_frameworks(name, value))
    }

    /// Where to send it back: the topic of its origin.
    ///
    /// # Errors
    /// Says why that cannot be told, or should not be done. With a target of the user's own, see [`refusal`](Self::refusal).
    pub fn way_back(&self) -> Result<Place<'a>, Refusal<'a>> {
        let Some(first) = self.first() else { return Err(Refusal::NoDialect) };
        let origin = first.origin;
        let Some(topic) = origin.topic.filter(|topic| !topic.is_empty()) else {
            return Err(match first.dialect {
                Dialect::Streams => Refusal::NoRecord,
                dialect => Refusal::NoTopic(dialect),
            });
        };
        if origin.partition.is_some_and(|partition| partition < 0) || origin.offset.is_some_and(|offset| offset < 0) {
            return Err(Refusal::NegativeOrigin(origin.to_string()));
        }
        match TopicKind::of(topic) {
            TopicKind::Internal => Err(Refusal::InternalTopic(topic)),
            TopicKind::DeadLetters => Err(Refusal::DeadLetterTopic(topic)),
            TopicKind::Retries | TopicKind::Ordinary => Ok(origin),
        }
    }

    /// Why it should not be sent anywhere: it is pending, or not what it was.
    pub fn refusal(&self) -> Option<Refusal<'a>> {
        if self.is_pending() {
            return Some(Refusal::Pending);
        }
        self.damage().into_iter().find(Damage::changes_the_record).map(Refusal::Damaged)
    }
}

/// How the later account's first place follows the earlier one's last.
fn follows(later: &Account<'_>, earlier: &Account<'_>) -> Option<Link> {
    // A retry topic's dead letter that the recoverer writes is one framework's work.
    match (later.origin.topic, earlier.last.topic) {
        (Some(to), Some(from)) => link(to, from),
        _ => None,
    }
}

/// Whether `one` was written after `other`.
fn is_newer(one: &Account<'_>, other: &Account<'_>) -> bool {
    let (Some(topic), Some(other_topic)) = (one.origin.topic, other.origin.topic) else {
        return position(one) > position(other);
    };
    if topic == other_topic {
        return one.life.offset > other.life.offset;
    }
    match (link(topic, other_topic), link(other_topic, topic)) {
        (Some(_), None) => true,
        (None, Some(_)) => false,
        _ => position(one) > position(other),
    }
}

/// Where among the headers the account ends: those of most dialects are appended, SmallRye's are put in front.
fn position(account: &Account<'_>) -> usize {
    match account.dialect {
        Dialect::SmallRye | Dialect::SmallRyeRetry => usize::MAX - account.fields.last_index,
        _ => account.fields.last_index,
    }
}

//! What becomes of each dead letter: decided here, without I/O and with the clock as an argument.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use kafka_client::{BoxError, RawRecord};

use super::select::Selection;
use super::target::{Known, Shape, Target};
use crate::dead_letter::{DeadLetter, Place, Refusal};
use crate::values::Values;

/// Changes a record before it is sent; `None` leaves the dead letter where it is.
pub(crate) type Transform =
    Arc<dyn Fn(&DeadLetter<'_>, RawRecord, Option<&Values>) -> Result<Option<RawRecord>, BoxError> + Send + Sync>;

/// Refuses a record that is about to be sent.
pub(crate) type Check = Arc<dyn Fn(&RawRecord) -> Result<(), BoxError> + Send + Sync>;

/// What a job does, without how.
#[derive(Clone)]
pub(crate) struct Orders {
    pub(crate) selection: Selection,
    pub(crate) target: Target,
    pub(crate) shape: Shape,
    pub(crate) accept_damage: bool,
    pub(crate) duplicates: bool,
    /// Records that were sent back so often are not sent again.
    pub(crate) loop_cap: u32,
    pub(crate) parking: Option<String>,
    pub(crate) transform: Option<Transform>,
    /// What the transform is, where that can be told by a text.
    pub(crate) changes: Option<String>,
    pub(crate) check: Option<Check>,
    pub(crate) values: Option<Values>,
    /// Whether what is sent has to fit the subjects of its topic.
    pub(crate) validates: bool,
}

/// What becomes of a dead letter.
#[derive(Debug)]
pub(crate) enum Verdict {
    Send(RawRecord),
    /// To the parking lot, as it is.
    Park(RawRecord),
    Left(String),
}

impl Orders {
    /// What tells one job from another.
    pub(crate) fn told(&self) -> String {
        let Self { selection, target, shape, accept_damage, duplicates, changes, .. } = self;
        format!("{selection:?}|{target:?}|{shape:?}|{accept_damage}|{duplicates}|{changes:?}")
    }

    /// Where it would go, or why it stays.
    pub(crate) fn destination<'a>(&'a self, letter: &'a DeadLetter<'a>) -> Result<&'a str, Refusal<'a>> {
        match letter.refusal() {
            Some(Refusal::Damaged(_)) if self.accept_damage => (),
            Some(refusal) => return Err(refusal),
            None => (),
        }
        match &self.target {
            Target::Topic(topic) => Ok(topic),
            Target::Origin => letter.way_back().map(|place| place.topic.unwrap_or_default()),
            Target::LastHop => {
                let origin = letter.way_back()?;
                Ok(letter.last_hop().topic.or(origin.topic).unwrap_or_default())
            }
        }
    }

    /// `known` are the topics that [`Survey`] has found, `duplicates` the places it names.
    pub(crate) fn verdict(
        &self,
        letter: &DeadLetter<'_>,
        known: &Known,
        duplicates: &HashSet<(i32, i64)>,
        now_ms: i64,
    ) -> Verdict {
        if !self.selection.matches_by(letter, self.values.as_ref()) {
            return Verdict::Left("not selected".into());
        }
        let record = letter.record();
        if let (Some(partition), Some(offset)) = (record.partition, record.offset)
            && duplicates.contains(&(partition, offset))
        {
            return Verdict::Left("another dead letter of the same record".into());
        }
        let topic = match self.destination(letter) {
            Ok(topic) => topic,
            Err(refusal) => return Verdict::Left(refusal.to_string()),
        };
        if letter.redrives() >= self.loop_cap {
            return self.too_often(letter, known);
        }
        let record = self.shape.record(letter, topic);
        let record =
            match self.transform.as_ref().map(|transform| transform(letter, record.clone(), self.values.as_ref())) {
                None => record,
                Some(Ok(Some(changed))) => changed,
                Some(Ok(None)) => return Verdict::Left("the transform drops it".into()),
                Some(Err(error)) => return Verdict::Left(format!("the transform fails: {error}")),
            };
        if let Some(Err(error)) = self.check.as_ref().map(|check| check(&record)) {
            return Verdict::Left(format!("it does not fit the target: {error}"));
        }
        if let Some(values) = self.values.as_ref().filter(|_| self.validates)
            && let Err(error) = values.check(&record)
        {
            return Verdict::Left(format!("it does not fit the target: {error}"));
        }
        match known.get(record.topic()) {
            Some(Some(facts)) => match facts.refuses(&record, now_ms) {
                Some(reason) => Verdict::Left(reason),
                None => Verdict::Send(record),
            },
            _ => Verdict::Left(format!("there is no topic {}", record.topic())),
        }
    }

    fn too_often(&self, letter: &DeadLetter<'_>, known: &Known) -> Verdict {
        let Some(parking) = &self.parking else {
            return Verdict::Left(format!("it was sent back {} times already", letter.redrives()));
        };
        if !known.get(parking).is_some_and(Option::is_some) {
            return Verdict::Left(format!("there is no topic {parking}"));
        }
        let record = letter.record();
        // As it is: with every header, so that its history is not lost.
        let mut raw = RawRecord::new(parking.as_str(), record.key.map(Vec::from), record.value.map(Vec::from));
        raw.headers = record.headers.to_owned();
        Verdict::Park(raw)
    }
}

/// What a first pass over the topic finds: where records would go, and which of them stand there twice.
pub(crate) struct Survey {
    targets: BTreeSet<String>,
    topics: HashMap<String, u32>,
    /// The place of the first dead letter of a life.
    first: HashMap<Life, At>,
    duplicates: HashSet<(i32, i64)>,
    /// Whether there were more lives than are remembered.
    pub(crate) is_full: bool,
}

/// A place as numbers: the topic by its number.
type Life = (u32, i32, i64);

/// Before the job's progress come those that an earlier run has dealt with.
type At = (bool, i32, i64);

impl Survey {
    /// How many lives are remembered; about 80 bytes each.
    const MOST: usize = 5_000_000;

    pub(crate) fn new() -> Self {
        Self {
            targets: BTreeSet::new(),
            topics: HashMap::new(),
            first: HashMap::new(),
            duplicates: HashSet::new(),
            is_full: false,
        }
    }

    /// `is_dealt_with`: whether an earlier run of the job has passed it.
    pub(crate) fn note(&mut self, orders: &Orders, letter: &DeadLetter<'_>, is_dealt_with: bool) {
        if !orders.selection.matches_by(letter, orders.values.as_ref()) {
            return;
        }
        let Ok(topic) = orders.destination(letter) else { return };
        if !self.targets.contains(topic) {
            self.targets.insert(topic.to_owned());
        }
        if !orders.duplicates {
            self.remember(letter, is_dealt_with);
        }
    }

    fn remember(&mut self, letter: &DeadLetter<'_>, is_dealt_with: bool) {
        let (life, record) = (letter.life(), letter.record());
        let Place { topic: Some(topic), partition: Some(partition), offset: Some(offset) } = life else { return };
        let (Some(stands_in), Some(stands_at)) = (record.partition, record.offset) else { return };
        if !life.is_complete() {
            return;
        }
        if self.first.len() >= Self::MOST {
            self.is_full = true;
            return;
        }
        let next = self.topics.len() as u32;
        let number = match self.topics.get(topic) {
            Some(number) => *number,
            None => *self.topics.entry(topic.to_owned()).or_insert(next),
        };
        let at = (!is_dealt_with, stands_in, stands_at);
        let first = self.first.entry((number, partition, offset)).or_insert(at);
        if *first == at {
            return;
        }
        let (earlier, later) = if at < *first { (at, *first) } else { (*first, at) };
        *first = earlier;
        self.duplicates.insert((later.1, later.2));
    }

    /// The topics that records would go to, and the places of duplicates.
    pub(crate) fn found(self) -> (BTreeSet<String>, HashSet<(i32, i64)>) {
        (self.targets, self.duplicates)
    }
}

impl Verdict {
    pub(crate) fn is_left(&self) -> bool {
        matches!(self, Self::Left(_))
    }
}

//! What a registry handle knows: schemas by id, versions of subjects, and what was chosen to write with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::cache::ReadMostly;
use super::flight::Flights;
use super::refused::Refused;
use super::settings::Settings;
use super::stats::Counters;
use super::wire::Found;
use crate::{RegisteredSchema, Schema, SchemaChoice, SchemaId};

/// A version of a subject, which never changes.
pub(crate) type Place = (Arc<str>, i32);

/// How many schemas and choices are remembered for one subject: `max.schemas.per.subject` of Java.
const CHOICES_PER_SUBJECT: usize = 1_000;

pub(crate) struct Known {
    pub(crate) ids: ReadMostly<SchemaId, Arc<RegisteredSchema>>,
    pub(crate) versions: ReadMostly<Place, Arc<Found>>,
    chosen: ReadMostly<Arc<str>, Arc<Vec<Chosen>>>,
    pub(crate) refused: Refused,
    pub(crate) id_flights: Flights<SchemaId, Arc<RegisteredSchema>>,
    pub(crate) version_flights: Flights<Place, Arc<Found>>,
    pub(crate) choice_flights: Flights<(Arc<str>, Schema, SchemaChoice), Arc<RegisteredSchema>>,
    pub(crate) counters: Counters,
    generation: AtomicU64,
    pub(crate) refresher: Mutex<Option<AbortHandle>>,
}

/// What an encoder's schema was turned into under one subject.
#[derive(Clone)]
pub(crate) struct Chosen {
    pub(crate) schema: Schema,
    pub(crate) choice: SchemaChoice,
    pub(crate) found: Arc<RegisteredSchema>,
    pub(crate) at: Instant,
}

impl Known {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            ids: ReadMostly::new(settings.capacity),
            versions: ReadMostly::new(settings.capacity),
            chosen: ReadMostly::new(settings.capacity),
            refused: Refused::new(settings.capacity, settings.missing_lifetime),
            id_flights: Flights::new(),
            version_flights: Flights::new(),
            choice_flights: Flights::new(),
            counters: Counters::default(),
            generation: AtomicU64::new(0),
            refresher: Mutex::new(None),
        }
    }

    pub(crate) fn chosen(&self, subject: &str, schema: &Schema, choice: &SchemaChoice) -> Option<Chosen> {
        let chosen = self.chosen.get(subject)?;
        chosen.iter().find(|known| known.is_for(schema, choice)).cloned()
    }

    /// Remembers a choice; moves the generation where an older one was another schema.
    pub(crate) fn choose(&self, subject: &Arc<str>, chosen: Chosen) {
        let mut moved = false;
        self.chosen.update(Arc::clone(subject), |present| {
            let mut all = present.map(|all| Vec::clone(all)).unwrap_or_default();
            match all.iter_mut().find(|known| known.is_for(&chosen.schema, &chosen.choice)) {
                Some(known) => {
                    moved = known.found != chosen.found;
                    *known = chosen;
                }
                None => {
                    if all.len() >= CHOICES_PER_SUBJECT {
                        // The oldest, as they are in the order in which they came.
                        all.remove(0);
                    }
                    all.push(chosen);
                }
            }
            Some(Arc::new(all))
        });
        if moved {
            self.move_generation();
        }
    }

    /// All choices whose answer can change with time.
    pub(crate) fn moving(&self) -> Vec<(Arc<str>, Chosen)> {
        let of = |(subject, all): (Arc<str>, Arc<Vec<Chosen>>)| {
            let moving: Vec<_> = all.iter().filter(|chosen| chosen.choice.moves()).cloned().collect();
            moving.into_iter().map(move |chosen| (Arc::clone(&subject), chosen))
        };
        self.chosen.entries().into_iter().flat_map(of).collect()
    }

    /// Forgets what a change to `subject` makes wrong.
    pub(crate) fn forget_subject(&self, subject: &str) {
        for (place, _) in self.versions.entries() {
            if &*place.0 == subject {
                self.versions.update(place, |_| None);
            }
        }
        self.chosen.update(subject.into(), |_| None);
        self.refused.clear();
        self.move_generation();
    }

    pub(crate) fn clear(&self) {
        self.ids.clear();
        self.versions.clear();
        self.chosen.clear();
        self.refused.clear();
        self.move_generation();
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn move_generation(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        if let Some(refresher) = self.refresher.get_mut().take() {
            refresher.abort();
        }
    }
}

impl Chosen {
    fn is_for(&self, schema: &Schema, choice: &SchemaChoice) -> bool {
        self.choice == *choice && self.schema == *schema
    }
}

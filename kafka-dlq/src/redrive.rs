//! Dead letters go back.
//!
//! ```text
//! spans: what stands there now ─▶ survey (a first pass): targets, duplicates
//!                                    │
//!            dead letter ─▶ verdict ─┴─▶ send ─┐
//!                                   ├─▶ park ─┤ one transaction with the job's offsets ─▶ report, audit
//!                                   └─▶ left: counted, with the reason
//! ```

mod select;
mod target;
mod plan;
mod pace;
mod report;
mod survey;
mod discard;
mod run;
mod execute;
#[cfg(feature = "expressions")]
mod expression;

use std::fmt;
use std::sync::Arc;

use kafka_client::{BoxError, Kafka, RawRecord};

use crate::dead_letter::DeadLetter;
use crate::error::Error;
#[cfg(feature = "registry")]
use crate::values::Values;

use plan::Orders;
use target::Shape;

pub use report::{End, RedriveReport};
pub use run::Progress;
pub use select::Selection;
pub use target::Target;

/// Sends dead letters back, exactly once.
///
/// A job has a name; what it has dealt with is committed under a group of that name, in the transaction that sends the
/// records. So the same job, run again after a kill or Ctrl-C, goes on where it stopped: nothing is lost and nothing is
/// sent twice. Two copies at the same time share the work. Without a [name](Self::job) of its own, a job is told from
/// others by what it selects and where it sends: another selection starts from the beginning, and what one job leaves is
/// there for the next.
///
/// Kafka forgets the progress of a group that nobody uses for `offsets.retention.minutes` (7 days): a job that is run again
/// later than that begins anew. Give it [limits of time or offsets](Selection) then.
///
/// A job ends when it has seen what stood in the topic when it began. The order of each partition is kept.
///
/// ```no_run
/// # use kafka_client::Kafka;
/// # use kafka_dlq::{Redrive, Selection};
/// # async fn example(kafka: Kafka) -> Result<(), kafka_dlq::Error> {
/// let redrive = Redrive::new(&kafka, "orders.dlq").select(Selection::all().reason("Timeout")).rate(500.0);
/// println!("{}", redrive.dry_run().await?);
/// println!("{}", redrive.run_until(tokio::signal::ctrl_c()).await?);
/// # Ok(())
/// # }
/// ```
#[must_use = "a job does nothing until it is run"]
#[derive(Clone)]
pub struct Redrive {
    kafka: Kafka,
    source: String,
    job: Option<String>,
    orders: Orders,
    rate: Option<f64>,
    limit: Option<u64>,
    stop_on_repeat: bool,
    audit: Option<String>,
    who: String,
    progress: Option<Tell>,
    /// Whether it writes marks, instead of sending back.
    marks: bool,
    /// Whether what is done cannot be told by the options alone.
    needs_name: bool,
}

type Tell = Arc<dyn Fn(&Progress) + Send + Sync>;

/// How often a record is sent back, unless set.
const DEFAULT_LOOP_CAP: u32 = 5;

impl Redrive {
    /// A job over the dead letters in `source`: all of them, to the topics they came from.
    pub fn new(kafka: &Kafka, source: impl Into<String>) -> Self {
        let orders = Orders {
            selection: Selection::all(),
            target: Target::Origin,
            shape: Shape { keep_partition: false, keep_timestamp: false, keep_headers: false, mark: true },
            accept_damage: false,
            duplicates: false,
            loop_cap: DEFAULT_LOOP_CAP,
            parking: None,
            transform: None,
            changes: None,
            check: None,
            values: None,
            validates: true,
        };
        Self {
            kafka: kafka.clone(),
            source: source.into(),
            job: None,
            orders,
            rate: None,
            limit: None,
            stop_on_repeat: false,
            audit: None,
            who: String::new(),
            progress: None,
            marks: false,
            needs_name: false,
        }
    }

    /// Names the job, overriding the default of a name made of its options. The group of its progress is
    /// `kafka-dlq.redrive.<topic>.<job>`.
    pub fn job(mut self, name: impl Into<String>) -> Self {
        self.job = Some(name.into());
        self
    }

    /// Sets which dead letters it is about, overriding the default of all.
    pub fn select(mut self, selection: Selection) -> Self {
        self.orders.selection = selection;
        self
    }

    /// Sets where they go, overriding the default of the topic they came from.
    pub fn to(mut self, target: Target) -> Self {
        self.orders.target = target;
        self
    }

    /// Sends each to the partition it came from, instead of the one that its key says.
    pub fn keep_partition(mut self, keep: bool) -> Self {
        self.orders.shape.keep_partition = keep;
        self
    }

    /// Sends each with the timestamp it had, instead of the time at which it is sent. One that the broker would refuse, for
    /// lying too far ahead or back, is left.
    pub fn keep_timestamp(mut self, keep: bool) -> Self {
        self.orders.shape.keep_timestamp = keep;
        self
    }

    /// Sends all headers, instead of the application's alone.
    pub fn keep_headers(mut self, keep: bool) -> Self {
        self.orders.shape.keep_headers = keep;
        self
    }

    /// Sets whether each is sent with `dlq.redrives`, which counts how often it was sent back, overriding the default of
    /// yes. Without it, loops are not noticed, and the record is bit for bit what it was.
    pub fn mark(mut self, mark: bool) -> Self {
        self.orders.shape.mark = mark;
        self
    }

    /// Sends also what may not be what it was (see [`DeadLetter::damage`]), instead of leaving it.
    pub fn accept_damage(mut self, accept: bool) -> Self {
        self.orders.accept_damage = accept;
        self
    }

    /// Sends every dead letter of a record, instead of the first.
    pub fn duplicates(mut self, send: bool) -> Self {
        self.orders.duplicates = send;
        self
    }

    /// Sets how often a record is sent back, overriding the default of 5: one that has come back more often stays, or goes
    /// to the [parking lot](Self::parking_lot).
    pub fn loop_cap(mut self, times: u32) -> Self {
        self.orders.loop_cap = times;
        self
    }

    /// Sets the topic to which records go that came back too often, with all their headers, instead of leaving them.
    pub fn parking_lot(mut self, topic: impl Into<String>) -> Self {
        self.orders.parking = Some(topic.into());
        self
    }

    /// Changes each record before it is sent; `None` leaves the dead letter. Such a job needs a [name](Self::job).
    pub fn transform(
        mut self,
        change: impl Fn(&DeadLetter<'_>, RawRecord) -> Result<Option<RawRecord>, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.orders.transform = Some(Arc::new(move |letter, record, _| change(letter, record)));
        self.needs_name = true;
        self
    }

    /// Checks each record before it is sent, against the schema of its target for instance; what it refuses is left.
    pub fn check(mut self, check: impl Fn(&RawRecord) -> Result<(), BoxError> + Send + Sync + 'static) -> Self {
        self.orders.check = Some(Arc::new(check));
        self
    }

    /// Reads and writes values by the schemas of this registry: expressions see them decoded, what a
    /// [`transform_jq`](Self::transform_jq) makes of one is written as the newest schema of its target, and a record whose
    /// schema, or whose bytes, do not fit the subject of its target is left. A target without a subject
    /// (`orders-value`) takes anything. Protobuf messages are seen as [ProtoJSON](kafka_client::serde::protobuf::ProtoJson),
    /// and written as the message of their name.
    ///
    /// While the registry cannot be asked, the job fails: nothing is left for that.
    #[cfg(feature = "registry")]
    pub fn registry(mut self, registry: &kafka_client::serde::Registry) -> Self {
        self.orders.values = Some(Values::new(registry));
        self
    }

    /// Sets whether records are checked against the subjects of their targets, overriding the default of yes, where there
    /// is a [registry](Self::registry).
    #[cfg(feature = "registry")]
    pub fn validate(mut self, validate: bool) -> Self {
        self.orders.validates = validate;
        self
    }

    /// Sets how many are sent a second, by this process, at most.
    pub fn rate(mut self, a_second: f64) -> Self {
        self.rate = Some(a_second);
        self
    }

    /// Sets how many are sent, by this run of this process, at most.
    pub fn limit(mut self, records: u64) -> Self {
        self.limit = Some(records);
        self
    }

    /// Ends the job when a record that was sent back comes back to the dead-letter topic while it runs. Needs
    /// [`mark`](Self::mark).
    pub fn stop_on_repeat(mut self, stop: bool) -> Self {
        self.stop_on_repeat = stop;
        self
    }

    /// Writes a record about the run to this topic when it ends: JSON, with the job, who ran it, what and how many.
    pub fn audit(mut self, topic: impl Into<String>, who: impl Into<String>) -> Self {
        (self.audit, self.who) = (Some(topic.into()), who.into());
        self
    }

    /// Tells how far it is, a few times a second.
    pub fn on_progress(mut self, tell: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(tell));
        self
    }

    /// The name of the job.
    pub fn job_name(&self) -> String {
        self.job.clone().unwrap_or_else(|| format!("{:016x}", fnv(self.orders.told().as_bytes())))
    }

    /// The consumer group under which the job's progress is committed.
    pub fn group(&self) -> String {
        format!("kafka-dlq.redrive.{}.{}", self.source, self.job_name())
    }

    fn checked(&self) -> Result<(), Error> {
        if (self.needs_name || !self.orders.selection.is_told_by_text()) && self.job.is_none() {
            return Err(Error::config("job: a job with a function of your own needs a name, to be told from others"));
        }
        if self.job.as_deref().is_some_and(str::is_empty) {
            return Err(Error::config("job: the name is empty"));
        }
        if self.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return Err(Error::config("rate: must be more than zero"));
        }
        if self.stop_on_repeat && !self.orders.shape.mark {
            return Err(Error::config("stop_on_repeat contradicts mark=false: a record that comes back is not known"));
        }
        if self.orders.target == Target::Topic(self.source.clone()) {
            return Err(Error::config(format!("to: {} is the topic of the dead letters itself", self.source)));
        }
        if self.orders.parking.as_ref() == Some(&self.source) {
            return Err(Error::config(format!("parking_lot: {} is the topic of the dead letters itself", self.source)));
        }
        Ok(())
    }
}

impl fmt::Debug for Redrive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redrive").field("source", &self.source).field("job", &self.job_name()).finish_non_exhaustive()
    }
}

/// FNV-1a: the same for the same bytes in every version and process, as a name has to be.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

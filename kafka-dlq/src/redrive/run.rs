//! The run: read, decide, send; records and progress in one transaction.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::Redrive;
use super::plan::Verdict;
use super::report::{End, RedriveReport};
use super::survey::Surveyed;
use crate::dead_letter::DeadLetter;
use crate::error::Error;
use crate::reader;
use crate::values::PASSES;

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Dead letters that were read, and decided about.
    pub read: u64,
    /// How many there are.
    pub of: u64,
    /// How many were sent.
    pub sent: u64,
    /// Since when.
    pub elapsed: Duration,
}

impl Redrive {
    /// Tells what the job would do. Sends nothing, and changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for options that contradict each other,
    /// [`ErrorKind::UnknownTopic`](crate::ErrorKind::UnknownTopic), and what the client reports.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn dry_run(&self) -> Result<RedriveReport, Error> {
        let begun = Instant::now();
        let mut surveyed = self.survey().await?;
        if self.marks {
            // Made when the job runs.
            surveyed.make_believe(super::discard::topic_of_marks(&self.source));
        }
        let surveyed = Arc::new(surveyed);
        let mut report = self.dry_pass(&surveyed).await?;
        // What the registry had to be asked for is known in the next pass.
        if let Some(values) = &self.orders.values {
            for _ in 1..PASSES {
                if !values.resolve().await? {
                    break;
                }
                report = self.dry_pass(&surveyed).await?;
            }
        }
        report.elapsed = begun.elapsed();
        Ok(report)
    }

    async fn dry_pass(&self, surveyed: &Arc<Surveyed>) -> Result<RedriveReport, Error> {
        let mut report = self.report(surveyed);
        report.dry = true;
        let report = Arc::new(Mutex::new(report));
        let (orders, counted, limit, now) = (self.orders.clone(), report.clone(), self.limit, now_ms());
        let surveyed = surveyed.clone();
        let spans = surveyed.spans.clone();
        let each = move |letter: &DeadLetter<'_>| {
            let verdict = surveyed.verdict(&orders, letter, now);
            let mut report = counted.lock();
            if !verdict.is_left() && limit == Some(report.sent + report.parked) {
                report.end = End::Limit;
                return ControlFlow::Break(());
            }
            report.count(&verdict);
            ControlFlow::Continue(())
        };
        reader::read(&self.kafka, &self.source, &spans, each).await?;
        Ok(std::mem::take(&mut *report.lock()))
    }

    pub(super) fn report(&self, surveyed: &Surveyed) -> RedriveReport {
        RedriveReport {
            job: self.job_name(),
            source: self.source.clone(),
            before: surveyed.before,
            ..RedriveReport::default()
        }
    }
}

impl RedriveReport {
    pub(super) fn count(&mut self, verdict: &Verdict) {
        self.read += 1;
        match verdict {
            Verdict::Send(record) | Verdict::Park(record) => {
                match verdict {
                    Verdict::Park(_) => self.parked += 1,
                    _ => self.sent += 1,
                }
                self.bytes +=
                    [&record.key, &record.value].into_iter().flatten().map(|part| part.len() as u64).sum::<u64>();
                match self.targets.get_mut(record.topic()) {
                    Some(count) => *count += 1,
                    None => drop(self.targets.insert(record.topic().to_owned(), 1)),
                }
            }
            Verdict::Left(reason) => self.leave(reason),
        }
    }

    /// Reasons may hold what records hold: no more than so many are told apart.
    fn leave(&mut self, reason: &str) {
        const MOST: usize = 100;
        const OTHERS: &str = "other reasons";
        let reason = if self.left.len() < MOST || self.left.contains_key(reason) { reason } else { OTHERS };
        match self.left.get_mut(reason) {
            Some(count) => *count += 1,
            None => drop(self.left.insert(reason.to_owned(), 1)),
        }
    }
}

pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

//! Outputs, retries and dead letters in one transaction.

use std::collections::BTreeSet;

use super::{Findings, OUTPUT, copied};
use crate::chaos::evidence::Evidence;
use crate::chaos::kind::recover::{DEAD, ORDERED, RETRY};
use crate::chaos::ledger::What;
use crate::harness::oracle::{Isolation, Stored};

/// A `read_committed` reader sees of each record one output, or one dead letter where its handler says so, and both in the
/// order of its key: through retries, on a retry topic, too. A run counts if records waited there and were dead-lettered, and
/// handlers had handled records again, so that something was undone.
pub(in crate::chaos) fn exactly_once_retries(evidence: &Evidence<'_>) -> Findings {
    let [output, dead, retried] =
        [OUTPUT, DEAD, RETRY].map(|role| evidence.written(role.name, Isolation::ReadCommitted));
    let is_dead = |record: &&Stored| ORDERED.of(record.key.as_deref(), record.value.as_deref()).is_dead();
    let (bad, good): (Vec<_>, Vec<_>) = evidence.input.iter().partition(is_dead);
    let owned = |records: Vec<&Stored>| records.into_iter().cloned().collect::<Vec<_>>();
    let mut findings = copied(&owned(good), &output);
    let letters = copied(&owned(bad), &dead);
    findings.lost += letters.lost;
    findings.duplicated += letters.duplicated;
    findings.reordered += letters.reordered;
    findings.broken.extend(letters.broken.into_iter().map(|broken| format!("of dead letters: {broken}")));
    findings.broken.extend(evidence.unfinished.clone());
    findings.breaks("members died by themselves: who, and the last they said", &evidence.broken_lives());
    let handled = evidence.lines.of(What::Finish).count();
    let once: BTreeSet<_> = evidence.lines.of(What::Finish).map(|line| (&line.key, &line.value)).collect();
    let again = handled - once.len();
    findings.counts = Some(again > 0 && !retried.is_empty() && !dead.is_empty());
    let died = evidence.deaths().count();
    findings
        .with("dead_lettered", dead.len())
        .with("waited", retried.len())
        .with("handled_again", again)
        .with("died", died)
}

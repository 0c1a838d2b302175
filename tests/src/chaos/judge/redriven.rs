//! Dead letters went back exactly once.

use super::{Findings, OUTPUT, copied};
use crate::chaos::evidence::Evidence;
use crate::chaos::feed::APPLICATION;
use crate::harness::oracle::{Isolation, Stored};

/// A read_committed reader of the topic they came from sees each record once, those of a key in their order, with the headers
/// that the application had given it and the one that counts how often it went back. A run counts if a kill hit an open
/// transaction: the log has records that such a reader does not see.
pub(in crate::chaos) fn redriven(evidence: &Evidence<'_>) -> Findings {
    let [committed, all] = [Isolation::ReadCommitted, Isolation::ReadUncommitted]
        .map(|isolation| evidence.written(OUTPUT.name, isolation));
    let mut findings = copied(&evidence.input, &committed);
    let marked: Vec<_> = committed
        .iter()
        .filter(|record| !is_as_it_was(record))
        .map(|record| (record.partition, record.offset))
        .collect();
    findings.breaks("records went back with other headers", &marked);
    findings.broken.extend(evidence.unfinished.clone());
    findings.breaks("members died by themselves: who, and the last they said", &evidence.broken_lives());
    let unseen = all.len().saturating_sub(committed.len());
    findings.counts = Some(unseen > 0);
    findings.with("uncommitted_seen", unseen).with("died", evidence.deaths().count())
}

fn is_as_it_was(record: &Stored) -> bool {
    let names: Vec<&str> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
    let value = |index: usize| record.headers.get(index).and_then(|(_, value)| value.as_deref());
    names == [APPLICATION[0], APPLICATION[1], "dlq.redrives"]
        && value(0).is_some_and(|value| value.starts_with(b"t-"))
        && value(1).is_none()
        && value(2) == Some(b"1")
}

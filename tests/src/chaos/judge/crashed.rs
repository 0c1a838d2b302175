//! Records that end their process do so a few times.

use std::collections::{HashMap, HashSet};

use super::Findings;
use crate::chaos::evidence::Evidence;
use crate::chaos::kind::recover::{DEAD, DEATHS, is_deadly};
use crate::chaos::ledger::What;
use crate::harness::oracle::{Isolation, Stored};

/// By key and number, as text.
type Name = (String, String);

/// A record that ends its process is begun in no more than three of them, and is a dead letter then, for that reason; every
/// other record is handled, and none of them is a dead letter. A run counts if such a record was begun.
pub(in crate::chaos) fn crash_loop(evidence: &Evidence<'_>) -> Findings {
    let mut findings = Findings::default();
    let dead = evidence.written(DEAD.name, Isolation::ReadUncommitted);
    let letters: HashSet<Name> = dead.iter().map(name).collect();
    let handled: HashSet<Name> =
        evidence.lines.of(What::Finish).map(|line| (line.key.clone(), line.value.clone())).collect();
    let lost: Vec<_> =
        evidence.input.iter().map(name).filter(|one| !handled.contains(one) && !letters.contains(one)).collect();
    findings.lost = lost.len();
    findings.breaks("records were neither handled nor dead-lettered", &lost);

    let innocent: Vec<_> = letters.iter().filter(|(key, number)| !is_deadly(key, number)).collect();
    findings.breaks("records were dead-lettered that end no process", &innocent);
    let because = |record: &&Stored| {
        let reason = record.headers.iter().rev().find(|(name, _)| name == "dlq.reason");
        reason.and_then(|(_, reason)| reason.as_deref()) == Some(b"quarantine")
    };
    let otherwise: Vec<_> = dead.iter().filter(|record| !because(record)).map(name).collect();
    findings.breaks("records were dead-lettered for another reason", &otherwise);

    let mut begun: HashMap<Name, usize> = HashMap::new();
    for line in evidence.lines.of(What::Begin).filter(|line| is_deadly(&line.key, &line.value)) {
        *begun.entry((line.key.clone(), line.value.clone())).or_default() += 1;
    }
    let too_often: Vec<_> = begun.iter().filter(|(_, times)| **times > DEATHS as usize).collect();
    findings.breaks("records have ended more processes than they may", &too_often);

    findings.duplicated = evidence.lines.of(What::Finish).count() - handled.len() + dead.len() - letters.len();
    findings.broken.extend(evidence.unfinished.clone());
    findings.counts = Some(!begun.is_empty());
    let most = begun.values().max().copied().unwrap_or(0);
    let died = evidence.deaths().count();
    findings.with("dead_lettered", letters.len()).with("most_processes_ended", most).with("died", died)
}

fn name(record: &Stored) -> Name {
    let text = |bytes: &Option<Vec<u8>>| String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
    (text(&record.key), text(&record.value))
}

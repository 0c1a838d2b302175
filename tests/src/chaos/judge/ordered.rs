//! Keys keep their order through retries.

use std::collections::{HashMap, HashSet};

use super::Findings;
use crate::chaos::evidence::Evidence;
use crate::chaos::kind::recover::{DEAD, ORDERED, RETRY};
use crate::chaos::ledger::{Lines, What};
use crate::harness::oracle::{Isolation, Stored};

/// By key and number.
type Name = (String, u64);

/// Every record is handled, or a dead letter where its handler says so; and of each key records are handled for the first time
/// in their order, and begun before a later one is handled. A run counts if records waited on the retry topic and others were
/// dead-lettered.
///
/// The window that [`Order::KeepOrder`](kafka_dlq::Order::KeepOrder) states (a write to the retry topic fails for good, after
/// five minutes, and its process dies before it has written it again) is out of reach of a plan: nothing is excused.
pub(in crate::chaos) fn retry_order(evidence: &Evidence<'_>) -> Findings {
    let read = |role: &str| evidence.written(role, Isolation::ReadUncommitted);
    let (dead, retried) = (read(DEAD.name), read(RETRY.name));
    let letters: HashSet<Name> = dead.iter().map(name).collect();
    let handled: HashSet<Name> =
        evidence.lines.of(What::Finish).map(|line| (line.key.clone(), number(&line.value))).collect();
    let fate = |record: &Stored| ORDERED.of(record.key.as_deref(), record.value.as_deref());

    let mut findings = Findings::default();
    let lost: Vec<_> =
        evidence.input.iter().map(name).filter(|one| !handled.contains(one) && !letters.contains(one)).collect();
    findings.lost = lost.len();
    findings.breaks("records were neither handled nor dead-lettered", &lost);
    let blamed: Vec<_> = dead.iter().filter(|record| !fate(record).is_dead()).map(name).collect();
    findings.breaks("records were dead-lettered that should have been handled", &blamed);

    let inversions = inversions(&evidence.lines);
    findings.reordered = inversions.len();
    findings.breaks("records were overtaken by a later one of their key", &inversions);
    findings.duplicated = evidence.lines.of(What::Finish).count() - handled.len() + dead.len() - letters.len();

    findings.breaks("members died by themselves: who, and the last they said", &evidence.broken_lives());
    findings.broken.extend(evidence.unfinished.clone());
    findings.counts = Some(!retried.is_empty() && !dead.is_empty());
    let waited: HashSet<Name> = retried.iter().map(name).collect();
    findings.with("dead_lettered", letters.len()).with("waited", waited.len())
}

fn name(record: &Stored) -> Name {
    let text = |bytes: &Option<Vec<u8>>| String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
    (text(&record.key), number(&text(&record.value)))
}

fn number(value: &str) -> u64 {
    value.parse().unwrap_or_else(|_| panic!("`{value}` is no number of a record"))
}

/// Records that were begun for the first time, or handled for the first time, after a later one of their key was handled.
fn inversions(lines: &Lines) -> Vec<Name> {
    let mut highest: HashMap<&str, u64> = HashMap::new();
    let mut seen: HashSet<(What, &str, u64)> = HashSet::new();
    let mut wrong = Vec::new();
    for line in &lines.0 {
        if !matches!(line.what, What::Begin | What::Finish) {
            continue;
        }
        let (key, number) = (line.key.as_str(), number(&line.value));
        if !seen.insert((line.what, key, number)) {
            continue;
        }
        if highest.get(key).is_some_and(|highest| number < *highest) {
            wrong.push((key.to_owned(), number));
        }
        if line.what == What::Finish {
            let highest = highest.entry(key).or_insert(number);
            *highest = (*highest).max(number);
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::ledger::{Entry, Ledger};

    fn wrong(lines: &[(What, u64)]) -> Vec<u64> {
        let ledger = Ledger::new();
        for (what, number) in lines {
            let value = number.to_string();
            ledger.pen('a').write(Entry { what: *what, topic: "", partition: 0, offset: 0, key: "k", value: &value });
        }
        inversions(&ledger.lines()).into_iter().map(|(_, number)| number).collect()
    }

    #[test]
    fn who_is_overtaken_is_found_and_who_is_only_repeated_is_not() {
        use What::{Begin, Failed, Finish};
        let in_order =
            [(Begin, 0), (Failed, 0), (Begin, 0), (Finish, 0), (Begin, 1), (Failed, 1), (Begin, 2), (Finish, 2)];
        assert_eq!(wrong(&in_order), [0_u64; 0]);
        assert_eq!(wrong(&[&in_order[..], &[(Begin, 0), (Finish, 0)]].concat()), [0_u64; 0], "again, after a kill");
        assert_eq!(wrong(&[&in_order[..], &[(Begin, 1), (Finish, 1)]].concat()), [1], "handled after a later one");
        assert_eq!(
            wrong(&[(Begin, 1), (Finish, 1), (Begin, 0), (Failed, 0)]),
            [0],
            "not even begun before a later one"
        );
    }
}

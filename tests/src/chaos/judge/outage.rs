//! An outage is nobody's fault.

use std::collections::{HashMap, HashSet};

use super::Findings;
use crate::chaos::evidence::Evidence;
use crate::chaos::kind::recover::{DEAD, RETRY};
use crate::chaos::ledger::{Line, Lines, What};
use crate::harness::oracle::{Isolation, Stored};

/// By key and number, as text.
type Name = (String, String);

/// How long it may take after an outage until everything goes on, in microseconds.
const BACK_WITHIN: u64 = 2_000_000;
/// How long a rate is looked at.
const WINDOW: u64 = 500_000;
const BEFORE: u64 = 2_000_000;

/// Every record is handled, and none of them has lost an attempt for good or become a dead letter. After an outage that nothing
/// else has disturbed, everything goes on within two seconds. A run counts if handlers have failed during an outage.
///
/// No record fails at other times. One that does may be at its last attempt when an outage begins, and the breaker cannot know
/// of that from the first few failures: such a record becomes a dead letter, and no promise says otherwise.
pub(in crate::chaos) fn outage(evidence: &Evidence<'_>) -> Findings {
    let lines = &evidence.lines;
    let mut findings = Findings::default();
    let dead = evidence.written(DEAD.name, Isolation::ReadUncommitted);
    let letters: HashSet<Name> = dead.iter().map(name).collect();
    let handled: HashSet<Name> = lines.of(What::Finish).map(name_of).collect();
    let lost: Vec<_> =
        evidence.input.iter().map(name).filter(|one| !handled.contains(one) && !letters.contains(one)).collect();
    findings.lost = lost.len();
    findings.breaks("records were neither handled nor dead-lettered", &lost);

    findings.breaks("records were dead-lettered for an outage", &letters.iter().collect::<Vec<_>>());
    // What waits there has lost an attempt for good: the first two are made in place.
    let waited = evidence.written(RETRY.name, Isolation::ReadUncommitted);
    findings.breaks("records have lost attempts to an outage", &waited.iter().map(name).collect::<Vec<_>>());

    let outages = Outage::all(lines);
    let back: Vec<u64> =
        outages.iter().filter(|outage| outage.is_alone(lines)).filter_map(|one| one.back(lines)).collect();
    let late: Vec<u64> = back.iter().copied().filter(|after| *after > BACK_WITHIN).collect();
    findings.breaks("outages were over, and not everything went on within 2 s: after so many microseconds", &late);

    findings.duplicated = lines.of(What::Finish).count() - handled.len() + dead.len() - letters.len();
    findings.breaks("members died by themselves: who, and the last they said", &evidence.broken_lives());
    findings.broken.extend(evidence.unfinished.clone());
    let failed = failures(lines);
    findings.counts = Some(failed > 0);
    let slowest = back.iter().max().map_or(0, |micros| micros / 1_000);
    findings
        .with("outages", outages.len())
        .with("failed_meanwhile", failed)
        .with("undisturbed", back.len())
        .with("back_after_ms", slowest)
}

fn name(record: &Stored) -> Name {
    let text = |bytes: &Option<Vec<u8>>| String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
    (text(&record.key), text(&record.value))
}

fn name_of(line: &Line) -> Name {
    (line.key.clone(), line.value.clone())
}

/// How many calls failed during outages.
fn failures(lines: &Lines) -> usize {
    let (mut is_down, mut failed) = (false, 0);
    for line in &lines.0 {
        match line.what {
            What::Down => is_down = true,
            What::Up => is_down = false,
            What::Failed => failed += usize::from(is_down),
            _ => (),
        }
    }
    failed
}

/// From when to when, in microseconds.
struct Outage {
    from: u64,
    to: u64,
}

impl Outage {
    fn all(lines: &Lines) -> Vec<Self> {
        let times = |what| lines.of(what).map(|line| line.at);
        times(What::Down).zip(times(What::Up)).map(|(from, to)| Self { from, to }).collect()
    }

    /// Whether nothing else has happened that slows down a group: a kill, the session after it, members that come and go.
    fn is_alone(&self, lines: &Lines) -> bool {
        const UNSETTLED: u64 = 3_000_000;
        let around = self.from.saturating_sub(UNSETTLED)..self.to + BACK_WITHIN + WINDOW;
        let mut firsts: HashMap<char, u64> = HashMap::new();
        let mut lasts: HashMap<char, u64> = HashMap::new();
        for line in lines.of(What::Begin) {
            firsts.entry(line.by).or_insert(line.at);
            lasts.insert(line.by, line.at);
        }
        // Whoever handles its first record has just come, and whoever handles its last one goes.
        let moves = firsts.values().chain(lasts.values()).any(|at| around.contains(at));
        !moves && !lines.of(What::Disrupted).any(|line| around.contains(&line.at))
    }

    /// How long after it everything went on: at half the rate of before, at least. `None` if there was nothing to go on with.
    fn back(&self, lines: &Lines) -> Option<u64> {
        let finished: Vec<u64> = lines.of(What::Finish).map(|line| line.at).collect();
        let between = |from: u64, to: u64| finished.iter().filter(|at| (from..to).contains(*at)).count();
        let rate = between(self.from.saturating_sub(BEFORE), self.from) as u64 * WINDOW / BEFORE;
        let last = finished.last().copied().unwrap_or(0);
        if rate == 0 || last < self.to + BACK_WITHIN + WINDOW {
            return None;
        }
        (self.to..last).step_by(50_000).find(|at| between(*at, at + WINDOW) as u64 * 2 >= rate).map(|at| at - self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn line(by: char, what: What, at: u64, value: u64) -> Line {
        Line {
            at,
            by,
            what,
            topic: String::new(),
            partition: 0,
            offset: 0,
            key: "k".to_owned(),
            value: value.to_string(),
        }
    }

    /// A record every 10 ms for 30 s, but for an outage after 10 s and until `back`.
    fn lines(back: u64) -> Lines {
        let (down, up) = (10 * SECOND, 15 * SECOND);
        let mut lines = vec![line('-', What::Down, down, 0), line('-', What::Up, up, 0)];
        for at in (0..30 * SECOND).step_by(10_000) {
            let failed = (down..back).contains(&at);
            lines.push(line('a', What::Begin, at, at));
            lines.push(line('a', if failed { What::Failed } else { What::Finish }, at, at));
        }
        lines.sort_by_key(|line| line.at);
        Lines(lines)
    }

    #[test]
    fn how_long_it_takes_until_everything_goes_on_is_measured() {
        for (back, within) in [(15 * SECOND, 0..50_000), (18 * SECOND, 2_700_000..3_000_000)] {
            let lines = lines(back);
            let outages = Outage::all(&lines);
            assert_eq!(outages.len(), 1);
            assert!(outages[0].is_alone(&lines));
            let after = outages[0].back(&lines);
            assert!(after.is_some_and(|after| within.contains(&after)), "{after:?}");
        }
        let mut disturbed = lines(15 * SECOND);
        disturbed.0.push(line('a', What::Disrupted, 9 * SECOND, 0));
        assert!(!Outage::all(&disturbed)[0].is_alone(&disturbed));
        let mut joined = lines(15 * SECOND);
        joined.0.push(line('b', What::Begin, 12 * SECOND, 0));
        assert!(!Outage::all(&joined)[0].is_alone(&joined));
    }

    #[test]
    fn failures_during_an_outage_are_counted_and_later_ones_are_not() {
        assert_eq!(failures(&lines(15 * SECOND + 30_000)), 500);
    }
}

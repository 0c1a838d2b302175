//! Judges: what is wrong between what was produced, what was written down, and what was written out.

mod counted;
mod crashed;
mod ordered;
mod outage;
mod redriven;
mod retried;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};

use super::evidence::{Evidence, Life};
use super::ledger::{Line, Lines, What};
use super::plan::Role;
use crate::harness::oracle::{Isolation, Stored};

pub(super) use counted::nothing_lost;
pub(super) use crashed::crash_loop;
pub(super) use ordered::retry_order;
pub(super) use outage::outage;
pub(super) use redriven::redriven;
pub(super) use retried::exactly_once_retries;

/// How many examples of something wrong are told.
const EXAMPLES: usize = 5;

/// What a judge found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Records of the input of which nothing became.
    pub lost: usize,
    /// Times that something became of a record again.
    pub duplicated: usize,
    /// Records that came after a later one of their key.
    pub reordered: usize,
    /// Sentences about each promise that was broken.
    pub broken: Vec<String>,
    /// Whether the run proves something; `None` where every run does.
    pub counts: Option<bool>,
    /// Other figures, by name.
    pub more: Map<String, Value>,
}

impl Findings {
    /// Adds a figure to the report.
    pub fn with(mut self, name: &str, figure: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), figure.into());
        self
    }

    fn breaks<T: std::fmt::Debug>(&mut self, what: &str, examples: &[T]) {
        if !examples.is_empty() {
            let some = &examples[..examples.len().min(EXAMPLES)];
            self.broken.push(format!("{} {what}, such as {some:?}", examples.len()));
        }
    }
}

/// Handled at least once: every record is finished by somebody, a key's records are begun in order, and what is begun again
/// is no more than `exposure` for each disruption, and nothing where there was none.
pub(super) fn at_least_once(evidence: &Evidence<'_>, exposure: usize) -> Findings {
    let (lines, lives) = (&evidence.lines, &evidence.lives);
    let mut findings = Findings::default();
    let finished = lines.finished();
    let place = |record: &Stored| (record.partition, record.offset);
    let lost: Vec<_> = evidence.input.iter().map(place).filter(|place| !finished.contains(place)).collect();
    findings.lost = lost.len();
    findings.breaks("records were lost", &lost);

    let reordered = lines.out_of_order();
    findings.reordered = reordered.len();
    findings.breaks("records were begun before an earlier one of their key was finished", &reordered);

    let repeats = lines.repeats();
    findings.duplicated = repeats.len();
    // A member may also be given up by its group for being too slow, which it tells.
    let evicted = |life: &Life| lines.count(life.by, What::Lost);
    let disruptions = |life: &Life| (life.by, life.disruptions + evicted(life));
    let disruptions: BTreeMap<char, usize> = lives.iter().map(disruptions).filter(|(_, count)| *count > 0).collect();
    let (most, unexplained) = charge(&repeats, &disruptions);
    findings.breaks("records were repeated that nothing had disturbed", &unexplained);
    let repeated = |(by, count): (&char, &usize)| (*by, most.get(by).copied().unwrap_or(0), exposure * count);
    let over: Vec<_> = disruptions.iter().map(repeated).filter(|(_, repeated, allowed)| repeated > allowed).collect();
    findings.breaks("members were repeated beyond their exposure: who, by how much, how much was allowed", &over);
    let exposed = lines.of(What::Exposed).map(|line| line.offset).max().unwrap_or(0);
    if usize::try_from(exposed).is_ok_and(|exposed| exposed > exposure) {
        findings.broken.push(format!("{exposed} records were exposed, and {exposure} is the bound"));
    }

    findings.breaks("records were handled with another key or value than was produced", &changed(evidence));
    findings.breaks("members died by themselves: who, and the last they said", &evidence.broken_lives());
    findings.broken.extend(evidence.unfinished.clone());
    let worst = most.values().max().copied().unwrap_or(0);
    let evictions = lines.of(What::Lost).count();
    let findings = findings.with("evictions_told", evictions);
    findings.with("exposure", exposure).with("most_exposed", exposed).with("most_repeated_of_a_member", worst)
}

/// Charges each repeat to a disrupted life of the two that began the record. Returns how much each is charged, and what can
/// be charged to none.
fn charge(
    repeats: &[((i32, i64), char, char)],
    disruptions: &BTreeMap<char, usize>,
) -> (BTreeMap<char, usize>, Vec<(i32, i64)>) {
    let mut charged: BTreeMap<char, usize> = BTreeMap::new();
    let mut unexplained = Vec::new();
    for (place, before, again) in repeats {
        // What the first of them held was taken over; or the second one, which had lost it, went on for a moment.
        match [before, again].into_iter().find(|by| disruptions.contains_key(by)) {
            Some(by) => *charged.entry(*by).or_default() += 1,
            None => unexplained.push(*place),
        }
    }
    (charged, unexplained)
}

fn changed(evidence: &Evidence<'_>) -> Vec<(i32, i64)> {
    let text = |bytes: &Option<Vec<u8>>| String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
    let produced: HashMap<_, _> = evidence
        .input
        .iter()
        .map(|record| ((record.partition, record.offset), (text(&record.key), text(&record.value))))
        .collect();
    let is_other = |line: &&Line| match produced.get(&line.place()) {
        Some((key, value)) => (key, value) != (&line.key, &line.value),
        None => true,
    };
    evidence.lines.of(What::Begin).filter(is_other).map(Line::place).collect()
}

/// What copiers write to.
pub(super) const OUTPUT: Role = Role { name: "output", is_read: false };
/// The header that names the batch which a record of the output belongs to.
pub(super) const BATCH: &str = "batch";

/// Copied exactly once: a read_committed reader of the output sees each record of the input once, and those of a key in
/// their order. A run counts if something that happened hit an open transaction: records of it are in the log, and such a
/// reader does not see them. Where no batch fails of its own accord, any record that such a reader does not see says so.
pub(super) fn exactly_once(evidence: &Evidence<'_>) -> Findings {
    let [committed, all] = [Isolation::ReadCommitted, Isolation::ReadUncommitted]
        .map(|isolation| evidence.written(OUTPUT.name, isolation));
    let mut findings = copied(&evidence.input, &committed);
    findings.broken.extend(evidence.unfinished.clone());
    findings.breaks("members died by themselves: who, and the last they said", &evidence.broken_lives());
    let hits = hits(&evidence.lines, &committed, &all);
    let unseen = all.len().saturating_sub(committed.len());
    let undone_by_itself = evidence.lines.of(What::Abandoned).count() > 0;
    findings.counts = Some(hits > 0 || (unseen > 0 && !undone_by_itself));
    let died = evidence.deaths().count();
    findings.with("uncommitted_seen", unseen).with("hits", hits).with("died", died)
}

/// How many batches were begun and not finished when something happened to their member, had records in the log by then or later,
/// and never became visible; those that the member has abandoned of its own accord are none.
fn hits(lines: &Lines, committed: &[Stored], all: &[Stored]) -> usize {
    let place = |record: &Stored| (record.partition, record.offset);
    let seen: HashSet<_> = committed.iter().map(place).collect();
    let batch = |record: &Stored| {
        let header = record.headers.iter().find(|(name, _)| name == BATCH);
        header.and_then(|(_, batch)| batch.as_deref().map(|name| String::from_utf8_lossy(name).into_owned()))
    };
    let unseen: HashSet<String> =
        all.iter().filter(|record| !seen.contains(&place(record))).filter_map(batch).collect();
    let abandoned: HashSet<&str> = lines.of(What::Abandoned).map(|line| line.value.as_str()).collect();
    let mut open: HashSet<(char, &str)> = HashSet::new();
    let mut hit: HashSet<&str> = HashSet::new();
    for line in &lines.0 {
        match line.what {
            What::Begin => drop(open.insert((line.by, &line.value))),
            What::Finish | What::Abandoned => drop(open.remove(&(line.by, &*line.value))),
            What::Disrupted => hit.extend(open.iter().filter(|(by, _)| *by == line.by).map(|(_, batch)| batch)),
            _ => (),
        }
    }
    hit.into_iter().filter(|batch| unseen.contains(*batch) && !abandoned.contains(batch)).count()
}

/// Compares keys and values, as often as they are there, and the order of each key.
pub(super) fn copied(input: &[Stored], output: &[Stored]) -> Findings {
    type Content<'s> = (&'s Option<Vec<u8>>, &'s Option<Vec<u8>>);
    fn content(record: &Stored) -> Content<'_> {
        (&record.key, &record.value)
    }
    let mut balance: HashMap<Content<'_>, i64> = HashMap::new();
    input.iter().for_each(|record| *balance.entry(content(record)).or_default() += 1);
    output.iter().for_each(|record| *balance.entry(content(record)).or_default() -= 1);
    let missing: usize = balance.values().filter_map(|left| usize::try_from(*left).ok()).sum();
    let extra: usize = balance.values().filter_map(|left| usize::try_from(-*left).ok()).sum();

    // A key's records have numbers; as partitions are read one after the other, its order is that of its partition.
    let number = |record: &Stored| {
        std::str::from_utf8(record.value.as_deref().unwrap_or_default()).ok().and_then(|text| text.parse::<u64>().ok())
    };
    let mut highest: HashMap<&Option<Vec<u8>>, u64> = HashMap::new();
    let mut seen: BTreeSet<Content<'_>> = BTreeSet::new();
    let mut late = Vec::new();
    for record in output {
        let Some(number) = number(record) else {
            late.push((record.partition, record.offset));
            continue;
        };
        // A duplicate is counted as such, and not once more for its place.
        let highest = highest.entry(&record.key).or_insert(number);
        if seen.insert(content(record)) && number < *highest {
            late.push((record.partition, record.offset));
        }
        *highest = (*highest).max(number);
    }
    let mut findings = Findings { lost: missing, duplicated: extra, reordered: late.len(), ..Findings::default() };
    let examples = |sign: i64| {
        let text = |bytes: &Option<Vec<u8>>| String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
        let wrong = balance.iter().filter(|(_, left)| **left * sign > 0);
        wrong.map(|((key, value), _)| format!("{} {}", text(key), text(value))).collect::<Vec<_>>()
    };
    findings.breaks("records were lost", &examples(1));
    findings.breaks("records were duplicated", &examples(-1));
    findings.breaks("records came after a later one of their key", &late);
    findings
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::chaos::evidence::End;
    use crate::chaos::feed::Sort;
    use crate::chaos::ledger::{Entry, Ledger};
    use crate::chaos::order::Order;
    use crate::chaos::plan::{Plan, any_group};
    use crate::chaos::protocol::Protocol;

    fn stored(offset: i64, key: &str, value: u64) -> Stored {
        let bytes = |text: String| Some(text.into_bytes());
        let (key, value) = (bytes(key.to_owned()), bytes(value.to_string()));
        Stored { partition: 0, offset, key, value, headers: Vec::new(), timestamp: None }
    }

    fn figures(findings: &Findings) -> (usize, usize, usize, bool) {
        (findings.lost, findings.duplicated, findings.reordered, findings.broken.is_empty())
    }

    #[test]
    fn a_copy_is_judged_by_what_it_lacks_has_twice_and_has_late() {
        let input = [stored(0, "a", 0), stored(1, "b", 0), stored(2, "a", 1), stored(3, "a", 2)];
        // Between markers of transactions, and keys may overtake each other.
        let exact = [stored(4, "b", 0), stored(5, "a", 0), stored(7, "a", 1), stored(9, "a", 2)];
        assert_eq!(figures(&copied(&input, &exact)), (0, 0, 0, true));
        assert_eq!(figures(&copied(&input, &exact[1..])), (1, 0, 0, false));
        let twice = [&exact[..], &[stored(10, "a", 0)]].concat();
        assert_eq!(figures(&copied(&input, &twice)), (0, 1, 0, false));
        let late = [stored(4, "b", 0), stored(5, "a", 1), stored(6, "a", 0), stored(7, "a", 2)];
        assert_eq!(figures(&copied(&input, &late)), (0, 0, 1, false));
    }

    #[test]
    fn a_hit_is_a_batch_that_was_in_the_middle_and_was_never_seen() {
        let ledger = Ledger::new();
        let tell = |by: char, what, batch: &str| {
            ledger.pen(by).write(Entry { what, topic: "in", partition: 0, offset: 0, key: "", value: batch });
        };
        let of = |offset, batch: &str| Stored {
            headers: vec![(BATCH.to_owned(), Some(batch.as_bytes().to_vec()))],
            ..stored(offset, "k", 0)
        };
        // a-2 is in the middle when a is killed; a-1 was not, nor was b-1, which b gives up, nor c-1, which is seen.
        ["a-1", "a-2"].iter().for_each(|batch| tell('a', What::Begin, batch));
        tell('a', What::Finish, "a-1");
        ["b-1", "c-1"]
            .iter()
            .for_each(|batch| tell(if batch.starts_with('b') { 'b' } else { 'c' }, What::Begin, batch));
        ['a', 'b', 'c'].iter().for_each(|by| tell(*by, What::Disrupted, ""));
        tell('b', What::Abandoned, "b-1");
        let all = [of(0, "a-1"), of(1, "a-2"), of(2, "b-1"), of(3, "c-1")];
        assert_eq!(hits(&ledger.lines(), &all[3..], &all), 1);
        assert_eq!(hits(&ledger.lines(), &all[1..], &all), 0);
    }

    /// `by` begins and finishes the record at each offset, of a key that has them all.
    fn handled(ledger: &Ledger, by: char, offsets: &[i64]) {
        for offset in offsets {
            let value = offset.to_string();
            for what in [What::Begin, What::Finish] {
                ledger.pen(by).write(Entry {
                    what,
                    topic: "in",
                    partition: 0,
                    offset: *offset,
                    key: "k",
                    value: &value,
                });
            }
        }
    }

    fn judged(ledger: &Ledger, lives: &[(char, usize, End)], exposure: usize) -> Findings {
        let plan = Plan {
            protocol: Protocol::Range,
            session: Duration::from_secs(1),
            partitions: 1,
            topics: &[],
            keys: 1,
            records: Sort::Numbered,
            group: any_group,
            order: Order::default(),
            steps: Vec::new(),
        };
        let life = |(by, disruptions, end): &(char, usize, End)| Life {
            by: *by,
            disruptions: *disruptions,
            contested: false,
            end: end.clone(),
        };
        let evidence = Evidence {
            worker: &crate::chaos::kind::handler::BY_KEY,
            plan: &plan,
            bootstrap: "",
            group: String::new(),
            topics: BTreeMap::new(),
            input_name: String::new(),
            input: (0..4).map(|offset| stored(offset, "k", offset as u64)).collect(),
            lines: ledger.lines(),
            lives: lives.iter().map(life).collect(),
            unfinished: None,
        };
        at_least_once(&evidence, exposure)
    }

    #[test]
    fn repeats_are_allowed_to_a_kill_within_its_exposure_only() {
        let ledger = Ledger::new();
        handled(&ledger, 'a', &[0, 1, 2]);
        handled(&ledger, 'b', &[1, 2, 3]);
        let lives = |disruptions| [('a', disruptions, End::Killed), ('b', 0, End::Stopped)];
        assert_eq!(figures(&judged(&ledger, &lives(1), 2)), (0, 2, 0, true));
        assert_eq!(figures(&judged(&ledger, &lives(1), 1)), (0, 2, 0, false));
        let findings = judged(&ledger, &lives(0), 2);
        assert!(findings.broken[0].contains("nothing had disturbed"), "{findings:?}");
    }

    #[test]
    fn what_is_lost_changed_or_died_is_found() {
        let ledger = Ledger::new();
        handled(&ledger, 'a', &[0, 1, 3]);
        let findings = judged(&ledger, &[('a', 1, End::Killed)], 2);
        assert_eq!(figures(&findings), (1, 0, 0, false));
        handled(&ledger, 'a', &[2]);
        let findings = judged(&ledger, &[('a', 1, End::Killed)], 2);
        assert_eq!(figures(&findings), (0, 0, 1, false));

        let ledger = Ledger::new();
        handled(&ledger, 'a', &[0, 1, 2, 3]);
        let died = judged(&ledger, &[('a', 0, End::Died("no way".to_owned()))], 2);
        assert!(died.broken[0].contains("no way"), "{died:?}");
        let entry = Entry { what: What::Begin, topic: "in", partition: 0, offset: 9, key: "k", value: "9" };
        ledger.pen('a').write(entry);
        let changed = judged(&ledger, &[('a', 0, End::Stopped)], 2);
        assert!(changed.broken[0].contains("another key or value"), "{changed:?}");
    }
}

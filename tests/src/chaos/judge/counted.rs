//! Whatever is produced is somewhere, and as it was.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Findings;
use crate::chaos::evidence::Evidence;
use crate::chaos::kind::recover::{COUNTED, DEAD, WAITING, print_of, redeem};
use crate::chaos::ledger::{Line, Lines, Place, What};
use crate::harness::oracle::{Isolation, Stored};

/// Produced = handled + dead-lettered + pending, bit for bit. Pending is what stands on the retry topic, and is in fact handed
/// to the group's next member, as it was. A run counts if records were to be dead-lettered while that was impossible.
pub(in crate::chaos) fn nothing_lost(evidence: &Evidence<'_>) -> Findings {
    let mut findings = Findings::default();
    let input: BTreeMap<Place, &Stored> =
        evidence.input.iter().map(|record| ((record.partition, record.offset), record)).collect();
    let prints: BTreeMap<Place, String> = input.iter().map(|(place, record)| (*place, print_of(record))).collect();
    let is_as_it_was = |place: Place, print: &str| prints.get(&place).is_some_and(|produced| produced == print);

    let finished: Vec<&Line> = evidence.lines.of(What::Finish).collect();
    let handled: BTreeSet<Place> = finished.iter().map(|line| line.place()).collect();
    let changed: Vec<Place> = evidence
        .lines
        .of(What::Begin)
        .filter(|line| !is_as_it_was(line.place(), &line.value))
        .map(Line::place)
        .collect();
    findings.breaks("records were handled that are not what was produced", &changed);

    let [dead, waiting] = [DEAD, WAITING].map(|role| evidence.written(role.name, Isolation::ReadUncommitted));
    let [letters, waits] = [(&dead, "dead letters"), (&waiting, "records on the retry topic")].map(|(copies, what)| {
        let mut places = BTreeSet::new();
        let mut wrong = Vec::new();
        for copy in copies {
            let origin = origin(copy);
            match origin.and_then(|place| input.get(&place)) {
                Some(record) if is_copy(record, copy) => places.extend(origin),
                _ => wrong.push((copy.partition, copy.offset)),
            }
        }
        findings.breaks(&format!("{what} are not what was produced"), &wrong);
        places
    });

    let fate = |place: &Place| {
        let record = input.get(place);
        record.map(|record| COUNTED.of(record.key.as_deref(), record.value.as_deref()))
    };
    let blamed: Vec<&Place> = letters.iter().filter(|place| !fate(place).is_some_and(|fate| fate.is_dead())).collect();
    findings.breaks("records were dead-lettered that should not have been", &blamed);

    let settled = |place: &Place| handled.contains(place) || letters.contains(place);
    let pending: BTreeSet<Place> = waits.iter().copied().filter(|place| !settled(place)).collect();
    let lost: Vec<&Place> = input.keys().filter(|place| !settled(place) && !pending.contains(place)).collect();
    findings.lost = lost.len();
    findings.breaks("records are neither handled, nor dead-lettered, nor do they wait", &lost);
    let missing = redeem(evidence).map(|given| {
        let is_given = |place: &Place| given.contains(&(*place, prints.get(place).cloned().unwrap_or_default()));
        pending.iter().copied().filter(|place| !is_given(place)).collect::<Vec<_>>()
    });
    match missing {
        Ok(missing) => findings.breaks("records wait, and the next member was not given them", &missing),
        Err(why) => findings.broken.push(why),
    }

    findings.duplicated = finished.len() - handled.len() + dead.len() - letters.len();
    findings.breaks("members died by themselves: who, and the last they said", &evidence.broken_lives());
    findings.broken.extend(evidence.unfinished.clone());
    let refused = failed_meanwhile(&evidence.lines, |line| fate(&line.place()).is_some_and(|fate| fate.is_dead()));
    findings.counts = Some(refused > 0 && !pending.is_empty());
    let (handled, letters, pending) = (handled.len(), letters.len(), pending.len());
    findings.with("handled", handled).with("dead_lettered", letters).with("pending", pending).with("held", refused)
}

/// Where a copy says that its record comes from.
fn origin(copy: &Stored) -> Option<Place> {
    let number = |name: &str| {
        let (_, value) = copy.headers.iter().rev().find(|(other, _)| other == name)?;
        std::str::from_utf8(value.as_deref()?).ok()?.parse::<i64>().ok()
    };
    Some((i32::try_from(number("dlq.partition")?).ok()?, number("dlq.offset")?))
}

/// Whether a copy has every bit of its record, its headers in their order in front of those that tell of the failure.
fn is_copy(record: &Stored, copy: &Stored) -> bool {
    let own = record.headers.len();
    (&record.key, &record.value, record.timestamp) == (&copy.key, &copy.value, copy.timestamp)
        && copy.headers.get(..own) == Some(&record.headers[..])
        && copy.headers[own..].iter().all(|(name, _)| name.starts_with("dlq."))
}

/// How many records failed for which this holds, while the dead-letter topic took nothing.
fn failed_meanwhile(lines: &Lines, holds: impl Fn(&Line) -> bool) -> usize {
    let (mut is_down, mut failed) = (false, HashSet::new());
    for line in &lines.0 {
        match line.what {
            What::Down if line.topic == DEAD.name => is_down = true,
            What::Up if line.topic == DEAD.name => is_down = false,
            What::Failed if is_down && holds(line) => drop(failed.insert(line.place())),
            _ => (),
        }
    }
    failed.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_every_bit() {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let record = Stored {
            partition: 1,
            offset: 7,
            key: None,
            value: text(""),
            headers: vec![("tag".to_owned(), None), ("tag".to_owned(), text(""))],
            timestamp: Some(17),
        };
        let ours = [("dlq.partition".to_owned(), text("1")), ("dlq.offset".to_owned(), text("7"))];
        let copy = Stored { offset: 0, headers: [&record.headers[..], &ours].concat(), ..record.clone() };
        assert_eq!((origin(&copy), origin(&record)), (Some((1, 7)), None));
        assert!(is_copy(&record, &copy));
        let headers = |headers: &[(String, Option<Vec<u8>>)]| [headers, &ours].concat();
        let [one, other] = [&record.headers[..1], &record.headers[1..]];
        for changed in [
            Stored { key: text(""), ..copy.clone() },
            Stored { value: None, ..copy.clone() },
            Stored { timestamp: Some(18), ..copy.clone() },
            Stored { headers: headers(one), ..copy.clone() },
            Stored { headers: headers(&[other, one].concat()), ..copy.clone() },
            Stored { headers: headers(&[&record.headers[..], one].concat()), ..copy.clone() },
        ] {
            assert!(!is_copy(&record, &changed), "{changed:?}");
            assert_ne!(print_of(&record), print_of(&changed), "{changed:?}");
        }
        assert_eq!(print_of(&record), print_of(&copy));
    }
}

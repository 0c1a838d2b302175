use std::collections::BTreeMap;

use super::*;

fn item(key: u64, source: i64, offset: i64, due: i64) -> Item<()> {
    Item { record: (), offset, key, source, due, bytes: 10 }
}

/// What is handed out until `now`, each finished at once.
fn run(line: &mut Line<()>, now: i64) -> Vec<i64> {
    let mut handled = Vec::new();
    loop {
        match line.next(now) {
            Next::Handle(item) => {
                handled.push(item.source);
                line.ended(item.offset);
            }
            Next::Finish(offset) => handled.push(-offset),
            Next::Until(_) | Next::Nothing => return handled,
        }
    }
}

#[test]
fn unordered_records_come_by_their_time_whatever_arrived_first() {
    let mut line = Line::new(Order::Unordered);
    for (offset, due) in [50, 10, 30, NEVER, 20].into_iter().enumerate() {
        line.arrived(item(1, offset as i64, offset as i64, due));
    }
    assert_eq!(line.next(9), Next::Until(10));
    assert_eq!(run(&mut line, 29), [1, 4]);
    assert_eq!(line.next(29), Next::Until(30));
    assert_eq!(run(&mut line, 1_000), [2, 0]);
    assert_eq!((line.next(i64::MAX - 1), line.len(), line.bytes()), (Next::Nothing, 1, 10), "what is parked stays");
    assert_eq!((line.hurry(Some(2)), line.hurry(Some(1))), (0, 1));
    assert_eq!(run(&mut line, 1_000), [3]);
    assert_eq!((line.len(), line.bytes()), (0, 0));
}

#[test]
fn nothing_is_handed_out_before_the_order_is_known() {
    let mut line = Line::new(Order::KeepOrder);
    line.arrived(item(1, 8, 0, 0));
    line.arrived(item(1, 7, 1, 0));
    assert_eq!(line.next(100), Next::Nothing);
    line.loaded();
    assert_eq!(run(&mut line, 100), [7, 8]);
    assert!(!line.is_blocked(1));
}

#[test]
fn what_is_behind_a_record_waits_for_it_and_other_keys_do_not() {
    let mut line = Line::new(Order::KeepOrder);
    line.loaded();
    line.arrived(item(1, 10, 0, 500));
    line.arrived(item(1, 11, 1, 0));
    line.arrived(item(2, 12, 2, 100));
    line.arrived(item(0, 13, 3, 0));
    assert_eq!(run(&mut line, 499), [12, 13]);
    assert!(line.is_blocked(1) && !line.is_blocked(2));
    let Next::Handle(first) = line.next(500) else { panic!("it is due") };
    assert_eq!((first.source, line.next(500)), (10, Next::Nothing));
    line.again(Item { due: 900, ..first });
    line.ended(0);
    assert_eq!(line.next(899), Next::Until(900));
    assert_eq!(run(&mut line, 900), [10, 11]);
    assert_eq!((line.blocked_keys(), line.len()), (0, 0));
}

#[test]
fn a_key_is_blocked_from_the_sending_on_and_a_later_record_waits_for_an_earlier_one_on_its_way() {
    let mut line = Line::new(Order::KeepOrder);
    line.loaded();
    line.sent(1, 10);
    line.sent(1, 11);
    assert!(line.is_blocked(1));
    // The first write failed and is tried again; the second one was faster.
    line.arrived(item(1, 11, 0, 0));
    assert_eq!(line.next(1), Next::Nothing);
    line.arrived(item(1, 10, 1, 0));
    assert_eq!(run(&mut line, 1), [10, 11]);
    assert!(!line.is_blocked(1));
    line.sent(1, 12);
    line.clear();
    assert!(line.is_blocked(1), "what is being written survives a new life of the retry topic's partition");
    line.written(1, 12);
    line.clear();
    assert!(!line.is_blocked(1), "and what is written is read again");
}

#[test]
fn the_same_record_twice_is_handled_once() {
    let mut line = Line::new(Order::KeepOrder);
    line.loaded();
    for (source, offset) in [(10, 0), (11, 1), (10, 2), (11, 3)] {
        line.arrived(item(1, source, offset, 0));
    }
    let mut all = run(&mut line, 0);
    all.sort_unstable();
    assert_eq!(all, [-3, -2, 10, 11]);
}

#[test]
fn the_newest_record_of_a_key_wins() {
    let mut line = Line::new(Order::LatestWins);
    line.loaded();
    line.arrived(item(1, 10, 5, 100));
    line.arrived(item(1, 12, 6, 50));
    line.arrived(item(1, 11, 7, 0));
    let mut all = run(&mut line, 1_000);
    all.sort_unstable();
    assert_eq!(all, [-7, -5, 12]);
    // One that is being handled is not taken away, and is not handled again when a newer one has come.
    line.arrived(item(1, 20, 8, 0));
    let Next::Handle(running) = line.next(0) else { panic!("it is due") };
    line.arrived(item(1, 21, 9, 0));
    line.again(running);
    line.ended(8);
    assert_eq!(run(&mut line, 0), [-8, 21]);
    // And one that is handled elsewhere finishes what waits.
    line.arrived(item(1, 30, 10, 100));
    line.supersede(1, 29);
    assert!(line.is_blocked(1));
    line.supersede(1, 31);
    assert_eq!((run(&mut line, 0), line.is_blocked(1), line.len()), (vec![-10], false, 0));
}

/// Many keys, times, failures and duplicates: every record is handled once, a key in order, and never early.
#[test]
fn whatever_happens_a_key_keeps_its_order_and_nothing_is_lost_or_early() {
    for seed in 0..300u64 {
        let mut state = seed * 2 + 1;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut line = Line::new(Order::KeepOrder);
        let (mut offset, mut source, mut now) = (0, 0, 0);
        let (mut handled, mut dropped): (BTreeMap<u64, Vec<i64>>, usize) = Default::default();
        let mut running: Vec<(Item<()>, i64)> = Vec::new();
        let (mut sent, mut arrivals) = (Vec::new(), 0);
        for step in 0..400 {
            now += random(5) as i64;
            match random(10) {
                0..3 if step < 300 => {
                    let key = random(4) + 1;
                    source += 1;
                    line.sent(key, source);
                    sent.push((key, source, now + random(50) as i64));
                }
                3..6 if !sent.is_empty() => {
                    // The order of arrival is any; now and then twice.
                    let at = random(sent.len() as u64) as usize;
                    let (key, source, due) = if random(10) == 0 { sent[at] } else { sent.swap_remove(at) };
                    line.arrived(item(key, source, offset, due));
                    (offset, arrivals) = (offset + 1, arrivals + 1);
                }
                6 if !running.is_empty() => {
                    let (item, due) = running.swap_remove(random(running.len() as u64) as usize);
                    if random(3) == 0 {
                        line.again(Item { due: now + random(30) as i64, ..item.clone() });
                    } else {
                        assert!(due <= now);
                        handled.entry(item.key).or_default().push(item.source);
                    }
                    line.ended(item.offset);
                }
                7 => line.loaded(),
                _ => match line.next(now) {
                    Next::Handle(item) => {
                        assert!(item.due <= now, "early");
                        assert!(running.iter().all(|(other, _)| other.key != item.key), "two of a key at once");
                        running.push((item.clone(), item.due));
                    }
                    Next::Finish(_) => dropped += 1,
                    Next::Until(due) => assert!(due > now),
                    Next::Nothing => (),
                },
            }
        }
        line.loaded();
        for (key, source, due) in sent.drain(..) {
            line.arrived(item(key, source, offset, due));
            (offset, arrivals) = (offset + 1, arrivals + 1);
        }
        loop {
            while let Some((item, _)) = running.pop() {
                handled.entry(item.key).or_default().push(item.source);
                line.ended(item.offset);
            }
            match line.next(1_000_000) {
                Next::Handle(item) => running.push((item.clone(), 0)),
                Next::Finish(_) => dropped += 1,
                Next::Until(_) | Next::Nothing => break,
            }
        }
        let mut total = 0;
        for (key, mut sources) in handled {
            total += sources.len();
            // A duplicate that arrives after its record was handled is handled again; the first time counts.
            let mut seen = std::collections::BTreeSet::new();
            sources.retain(|source| seen.insert(*source));
            assert!(sources.is_sorted(), "seed {seed}, key {key}: {sources:?}");
        }
        assert_eq!((total + dropped, line.len(), line.blocked_keys()), (arrivals, 0, 0), "seed {seed}");
    }
}

use proptest::prelude::*;

use super::*;

const COMMITTED: i64 = 100;

/// What a life tells before anything runs: the commit that was asked for is confirmed.
fn told(suspects: &mut Suspects, lowest: i64) -> Option<Mark> {
    let mark = suspects.mark(lowest, false);
    suspects.confirmed(mark.as_ref());
    mark
}

/// Begins a record, with as many commits as that takes.
fn begun(suspects: &mut Suspects, offset: i64, lowest: i64) -> usize {
    let mut commits = 0;
    while !matches!(suspects.begin(offset), Begin::Now { .. }) {
        told(suspects, lowest);
        commits += 1;
    }
    commits
}

/// The next life, after a death: what was told last, through its text.
fn died(suspects: &mut Suspects, lowest: i64) -> Suspects {
    // What was not confirmed may be told, or not: here it is not.
    let told = Mark { open: true, end: suspects.told.end, named: suspects.named.clone(), alone: suspects.told.alone };
    let mut text = String::new();
    told.encode(lowest, &mut text);
    Suspects::resume(Mark::decode(&text, lowest).unwrap())
}

#[test]
fn nobody_who_asks_for_nothing_is_told_about() {
    let mut suspects = Suspects::default();
    assert_eq!((suspects.mark(5, false), suspects.mark(9, true)), (None, None));
    assert_eq!(suspects.deaths(7), 0);
}

#[test]
fn the_first_record_waits_for_a_commit_and_the_next_ones_do_not() {
    let mut suspects = Suspects::default();
    assert_eq!(suspects.begin(COMMITTED), Begin::Told);
    assert!(suspects.must_tell());
    let mark = told(&mut suspects, COMMITTED).unwrap();
    assert!(mark.open && mark.end > COMMITTED + 1 && mark.alone.is_none());
    assert_eq!(begun(&mut suspects, COMMITTED, COMMITTED), 0);
    assert_eq!(begun(&mut suspects, COMMITTED + 1, COMMITTED), 0);
}

#[test]
fn on_the_normal_road_commits_become_rare() {
    let mut suspects = Suspects::default();
    let mut commits = 0;
    for offset in 0..100_000 {
        commits += begun(&mut suspects, offset, offset);
        suspects.ended(offset);
    }
    assert!(commits < 40, "{commits}");
    // With the commits that are made anyway, in good time, there are none.
    let mut steady = Suspects::default();
    let mut late = 0;
    for offset in 0..100_000 {
        late += begun(&mut steady, offset, offset);
        steady.ended(offset);
        if offset % 1_000 == 0 {
            told(&mut steady, offset + 1);
        }
    }
    assert!(late < 12, "{late}");
}

#[test]
fn a_record_is_never_begun_beyond_what_was_told() {
    let mut suspects = Suspects::default();
    begun(&mut suspects, 10, 10);
    let end = suspects.told.end;
    assert_eq!(suspects.begin(end), Begin::Told);
    assert!(suspects.wants_commit() || suspects.ahead.hurried);
    assert!(told(&mut suspects, 10).unwrap().end > end);
    assert!(matches!(suspects.begin(end), Begin::Now { .. }));
}

#[test]
fn a_commit_that_tells_less_holds_from_the_moment_it_is_made() {
    let mut suspects = Suspects::default();
    begun(&mut suspects, 10, 10);
    (0..9).for_each(|_| {
        suspects.ahead.hurried = false;
        suspects.ahead.hurry();
    });
    let far = told(&mut suspects, 10).unwrap().end;
    suspects.ended(10);
    // Under way, and not answered: it may be what the next life reads.
    suspects.ahead.step = LEAST_AHEAD;
    let less = suspects.mark(11, false).unwrap().end;
    assert!(less < far);
    assert_eq!(suspects.begin(far - 1), Begin::Told);
}

#[test]
fn an_idle_partition_tells_the_same_again_and_again() {
    let mut suspects = Suspects::default();
    begun(&mut suspects, 10, 10);
    suspects.ended(10);
    // What rests after a burst becomes smaller for a while, and then no more.
    (0..20).for_each(|_| drop(told(&mut suspects, 11)));
    let mark = told(&mut suspects, 11);
    assert!((0..9).all(|_| told(&mut suspects, 11) == mark));
}

#[test]
fn the_record_that_kills_is_known_after_three_deaths_and_its_neighbours_are_not_blamed() {
    let mut life = Suspects::default();
    for offset in COMMITTED..COMMITTED + 5 {
        begun(&mut life, offset, COMMITTED);
    }
    let killer = COMMITTED + 3;
    let mut life = died(&mut life, COMMITTED);
    for deaths in 1..3 {
        for offset in COMMITTED..killer {
            assert_eq!(life.deaths(offset), 1, "{offset}");
            assert_eq!(begun(&mut life, offset, COMMITTED), 1);
            life.ended(offset);
            assert_eq!(life.deaths(offset), 0);
        }
        assert_eq!(life.deaths(killer), deaths);
        assert_eq!(begun(&mut life, killer, killer), 1);
        assert_eq!(life.told.alone, Some(killer));
        life = died(&mut life, COMMITTED);
    }
    assert_eq!(life.deaths(killer), 3);
    assert_eq!((life.deaths(killer - 1), life.deaths(killer + 1)), (1, 1));
}

#[test]
fn an_orderly_end_makes_no_suspects_and_forgets_none() {
    let mut life = Suspects::default();
    begun(&mut life, COMMITTED, COMMITTED);
    assert!(life.mark(COMMITTED, true).unwrap().open, "while something runs nobody knows how it ends");
    life.ended(COMMITTED);
    assert_eq!(life.mark(COMMITTED + 1, true), None);
    assert_eq!(life.begin(COMMITTED + 1), Begin::Never);

    let mut life = Suspects::default();
    begun(&mut life, COMMITTED, COMMITTED);
    let mut life = died(&mut life, COMMITTED);
    begun(&mut life, COMMITTED, COMMITTED);
    let mut life = died(&mut life, COMMITTED);
    assert_eq!(life.deaths(COMMITTED), 2);
    let handed_over = life.mark(COMMITTED, true).unwrap();
    assert!(!handed_over.open);
    let next = Suspects::resume(Some(handed_over));
    assert_eq!((next.deaths(COMMITTED), next.deaths(COMMITTED + 1)), (2, 1));
}

#[test]
fn a_death_is_counted_once_whoever_comes_and_goes_before_the_next_record() {
    let mut life = Suspects::default();
    begun(&mut life, COMMITTED, COMMITTED);
    let mut life = died(&mut life, COMMITTED);
    begun(&mut life, COMMITTED, COMMITTED);
    let mut guest = died(&mut life, COMMITTED);
    assert!(guest.must_tell() && guest.wants_commit());
    let told = guest.mark(COMMITTED, true);
    guest.confirmed(told.as_ref());
    assert!(!guest.must_tell() && !guest.wants_commit());
    let next = Suspects::resume(told);
    assert_eq!(next.deaths(COMMITTED), 2);
    assert!(!next.must_tell());
}

#[test]
fn a_record_that_waits_and_is_given_back_is_not_named() {
    let mut life = Suspects::default();
    begun(&mut life, COMMITTED, COMMITTED);
    let mut life = died(&mut life, COMMITTED);
    life.wait();
    assert_eq!(life.begin(COMMITTED), Begin::Told);
    assert!(life.wants_commit());
    life.waited(COMMITTED, false);
    assert_eq!(life.mark(COMMITTED, false).unwrap().alone, None);
}

#[test]
fn a_name_is_withdrawn_when_its_record_was_handled() {
    let mut life = Suspects::default();
    begun(&mut life, COMMITTED, COMMITTED);
    let mut life = died(&mut life, COMMITTED);
    begun(&mut life, COMMITTED, COMMITTED);
    assert!(!life.wants_commit());
    life.ended(COMMITTED);
    // Without another record to name.
    assert!(life.wants_commit());
    told(&mut life, COMMITTED);
    assert!(!life.wants_commit());
    assert_eq!(died(&mut life, COMMITTED).deaths(COMMITTED), 1);
}

#[test]
fn text_that_is_damaged_foreign_or_of_another_offset_is_refused() {
    let mark = Mark { open: true, end: 108, named: vec![Named { offset: 103, deaths: 2 }], alone: Some(103) };
    let mut text = String::new();
    mark.encode(COMMITTED, &mut text);
    assert_eq!(Mark::decode(&text, COMMITTED), Ok(Some(mark)));
    assert!(Mark::decode(&text, COMMITTED + 1).is_err());
    for at in 4..text.len() {
        let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
        assert!(Mark::decode(&[&text[..at], other, &text[at + 1..]].concat(), COMMITTED).is_err());
        assert!(Mark::decode(&text[..at], COMMITTED).is_err());
    }
    for foreign in ["", "kq", "kq1", "{}", "kt1.AAAA", "kq2.AAAA"] {
        assert_eq!(Mark::decode(split(foreign).1, COMMITTED), Ok(None), "{foreign}");
    }
    assert_eq!(split("two words"), ("two words", ""));
}

fn marks() -> impl Strategy<Value = (i64, Mark)> {
    let named = (0..i64::MAX / 4, any::<u8>()).prop_map(|(offset, deaths)| Named { offset, deaths });
    (0..i64::MAX / 4, any::<bool>(), 0..i64::MAX / 4, prop::collection::vec(named, 0..=2), any::<bool>()).prop_map(
        |(committed, open, end, mut named, alone)| {
            named.iter_mut().enumerate().for_each(|(at, one)| one.offset += committed + at as i64);
            named.sort_unstable_by_key(|one| one.offset);
            named.dedup_by_key(|one| one.offset);
            named.sort_by_key(|one| std::cmp::Reverse(one.deaths));
            let alone = named.first().filter(|_| alone).map(|one| one.offset);
            (committed, Mark { open, end: committed + end, named, alone })
        },
    )
}

#[test]
fn where_there_is_no_room_for_all_that_are_named_those_go_of_which_least_is_known() {
    let named = |at: i64| Named { offset: COMMITTED + at * 1_000_000, deaths: 3 - (at % 3) as u8 };
    let mark =
        Mark { open: true, end: 1 << 40, named: (0..8).map(named).collect(), alone: Some(COMMITTED + 2_000_000) };
    let mut text = String::new();
    mark.encode(COMMITTED, &mut text);
    let read = Mark::decode(&text, COMMITTED).unwrap().unwrap();
    assert_eq!((read.open, read.end, read.alone), (mark.open, mark.end, mark.alone));
    assert!((4..8).contains(&read.named.len()), "{read:?}");
    assert_eq!(read.named[0], named(2));
    assert!(
        read.named[1..].iter().all(|one| one.deaths >= 2)
            && [0, 3, 6].map(named).iter().all(|one| read.named.contains(one))
    );
}

proptest! {
    #[test]
    fn every_mark_comes_back_and_takes_no_more_than_its_room((committed, mark) in marks(), map in "(kt1\\.[a-zA-Z0-9]{0,40})?") {
        let mut text = map.clone();
        mark.encode(committed, &mut text);
        prop_assert!(text.len() - map.len() <= MAX_BYTES);
        let (of_map, of_mark) = split(&text);
        prop_assert_eq!(of_map, map);
        prop_assert_eq!(Mark::decode(of_mark, committed), Ok(Some(mark)));
    }

    #[test]
    fn whatever_bytes_come_nothing_panics(text in "kq1\\.[a-zA-Z0-9_-]{0,90}", committed in 0..i64::MAX) {
        let _ = Mark::decode(&text, committed);
    }
}

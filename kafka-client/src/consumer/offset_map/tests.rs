#![allow(
    clippy::single_range_in_vec_init,
    clippy::reversed_empty_ranges,
    reason = "maps are lists of ranges, empty ones too"
)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::text::sealed;
use super::*;

fn map(ranges: impl IntoIterator<Item = Range<i64>>) -> OffsetMap {
    let mut map = OffsetMap::new();
    ranges.into_iter().for_each(|range| map.push(range));
    map
}

/// All but these offsets, from the lowest of them to `end`.
fn all_but(unfinished: &BTreeSet<i64>, end: i64) -> (i64, OffsetMap) {
    let committed = *unfinished.first().unwrap();
    let nexts = unfinished.iter().skip(1).copied().chain([end]);
    (committed, map(unfinished.iter().zip(nexts).map(|(hole, next)| hole + 1..next)))
}

fn text(map: &OffsetMap, committed: i64) -> Option<String> {
    let mut text = String::new();
    map.encode(committed, &mut text).then_some(text)
}

/// A generator that gives the same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Offsets as they come: dense, with small gaps, sparse, and all of these in a row.
fn offsets(most: usize) -> impl Strategy<Value = BTreeSet<i64>> {
    let step = prop_oneof![20 => Just(1i64), 4 => 2..9i64, 2 => 10..200i64, 1 => 1_000..100_000i64, 1 => 1..1i64 << 40];
    let from = prop_oneof![0..1_000i64, (1i64 << 45) - 500..(1 << 45) + 500];
    (from, prop::collection::vec(step, 0..most)).prop_map(|(from, steps)| {
        let rising = steps.into_iter().scan(from, |at, step| {
            *at += step;
            Some(*at)
        });
        [from].into_iter().chain(rising).collect()
    })
}

#[test]
fn one_hole_in_a_million_takes_less_than_24_bytes() {
    for committed in [0, 77, 1 << 40] {
        let text = text(&map([committed + 1..committed + 1_000_000]), committed).unwrap();
        assert!(text.len() <= 24, "{text}");
        let inside = map([committed + 1..committed + 500_000, committed + 500_001..committed + 1_000_000]);
        assert!(self::text(&inside, committed).unwrap().len() <= 24);
    }
}

#[test]
fn ten_thousand_offsets_of_which_each_second_one_is_finished_at_random_take_less_than_2_kib() {
    let mut numbers = Numbers(7);
    for committed in [0, 1_234_567, (1 << 30) - 5_000] {
        let unfinished = (committed + 1..committed + 10_000).filter(|_| numbers.next() >> 63 == 0);
        let (committed, map) = all_but(&[committed].into_iter().chain(unfinished).collect(), committed + 10_001);
        let text = text(&map, committed).unwrap();
        assert!(text.len() <= 2048, "{}", text.len());
    }
}

#[test]
fn the_text_starts_with_its_name_and_is_plain_ascii() {
    let text = text(&map([6..9]), 5).unwrap();
    assert!(text.starts_with("kt1.") && text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
}

#[test]
fn an_empty_map_has_no_text_and_neither_has_one_that_contains_its_committed_offset() {
    assert_eq!(text(&OffsetMap::new(), 5), None);
    assert_eq!(text(&map([5..9]), 5), None);
    assert_eq!(text(&map([3..4, 6..9]), 5), None);
}

/// What a tracker must not let come about.
#[test]
fn what_does_not_fit_has_no_text() {
    let every_second = map((0..30_000).map(|at| 2 * at + 1..2 * at + 2));
    let mut out = String::from("as it was");
    assert!(!every_second.encode(0, &mut out));
    assert_eq!(out, "as it was");
}

#[test]
fn foreign_metadata_is_nobodys_fault() {
    for foreign in
        ["", "k", "kt", "kt1", "kt.", "kt1:AAAA", "kta.AAAA", "{}", "KT1.AAAA", "kubernetes", "ключ", "kt1é."]
    {
        assert!(OffsetMap::decode(foreign, 5).unwrap().is_none(), "{foreign}");
    }
    let megabytes = "k".repeat(4 << 20);
    assert!(OffsetMap::decode(&megabytes, 5).unwrap().is_none());
}

#[test]
fn of_ours_it_is_told_what_is_wrong() {
    let error = |text: &str| OffsetMap::decode(text, 5).unwrap_err();
    assert_eq!(error("kt2.AAAA"), DecodeError::OtherVersion);
    assert_eq!(error("kt999999999999999999999.AAAA"), DecodeError::OtherVersion);
    assert_eq!(error(&format!("kt1.{}", "A".repeat(4 << 20))), DecodeError::TooLong);
    assert_eq!(error("kt1.AA=="), DecodeError::NotBase64);
    assert_eq!(error("kt1.A"), DecodeError::NotBase64);
    assert_eq!(error("kt1.ключ"), DecodeError::NotBase64);
    assert_eq!(error("kt1."), DecodeError::Checksum);
    assert_eq!(error("kt1.AAAAAAAAAA"), DecodeError::Checksum);
}

#[test]
fn every_damaged_character_and_every_cut_is_noticed() {
    let scattered = (0..300).map(|at| 3 * at + 6..3 * at + 7 + at % 2);
    for map in [map([6..1_000_005]), map(scattered)] {
        let whole = text(&map, 5).unwrap();
        for at in 4..whole.len() {
            let other = if whole.as_bytes()[at] == b'A' { "B" } else { "A" };
            let damaged = [&whole[..at], other, &whole[at + 1..]].concat();
            assert!(OffsetMap::decode(&damaged, 5).is_err(), "{damaged}");
            assert!(OffsetMap::decode(&whole[..at], 5).is_err());
        }
    }
}

/// Tools that reset or translate a group's offsets may keep its metadata.
#[test]
fn a_map_of_another_offset_is_refused() {
    let text = text(&map([6..9]), 5).unwrap();
    assert!(OffsetMap::decode(&text, 5).unwrap().is_some());
    for other in (0..5).chain(6..5_000).chain([-1, -1001, i64::MIN, i64::MAX]) {
        assert_eq!(OffsetMap::decode(&text, other).unwrap_err(), DecodeError::Checksum);
    }
}

#[test]
fn what_no_tracker_writes_is_refused_in_spite_of_its_checksum() {
    let refused = |committed: i64, body: &[u8]| match OffsetMap::decode(&sealed(committed, body), committed) {
        Err(DecodeError::Malformed(what)) => what,
        other => panic!("{body:?}: {other:?}"),
    };
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    refused(5, &[]);
    refused(5, &[22, 1, 1]);
    refused(-5, &[0, 0]);
    // Runs.
    refused(5, &[0]);
    refused(5, &[0, 0x80]);
    refused(5, &[0, 1]);
    refused(5, &[&[0][..], &huge, &huge].concat());
    refused(5, &[&[0][..], &huge, &[0, 0]].concat());
    refused(i64::MAX, &[0, 0]);
    // All but the end unfinished: a tracker that went on from it could not keep its promise.
    refused(5, &[0, 1, 0xff, 0xff, 0xff, 0x7f]);
    // Trees.
    refused(5, &[1]);
    refused(5, &[1, 3]);
    refused(5, &[1, 3, 0]);
    refused(5, &[1, 3, 0x60, 1]);
    refused(5, &[1, 3, 0x40]);
    refused(5, &[1, 3, 0xe0]);
    refused(5, &[2, 3, 0x01]);
    refused(5, &[&[1][..], &huge, &[0x20]].concat());
    assert_eq!(OffsetMap::decode(&sealed(5, &[1, 3, 0x60]), 5).unwrap().unwrap().ranges(), &[7..8]);
    assert_eq!(OffsetMap::decode(&sealed(5, &[0, 0]), 5).unwrap().unwrap().ranges(), &[6..7]);
}

/// As a fuzzer would: valid texts with bytes changed, cut, doubled and swapped, sealed again so that the code behind the
/// checksum is reached. Always the same ones.
#[test]
fn no_input_makes_the_decoder_panic_or_allocate_more_than_it_was_given() {
    let mut numbers = Numbers(42);
    let mut accepted = 0;
    for round in 0..30_000u64 {
        let committed = [0, 5, 1 << 20, i64::MAX - 1_000, i64::MAX][(round % 5) as usize];
        let mut body: Vec<u8> = match round % 3 {
            0 => (0..numbers.next() % 40).map(|_| numbers.next() as u8).collect(),
            _ => {
                let holes = (0..numbers.next() % 60).map(|_| (numbers.next() % (8 << (round % 9))) as i64);
                let unfinished: BTreeSet<i64> =
                    holes.chain([0]).map(|hole| (committed.min(1 << 62)).saturating_add(hole)).collect();
                let (committed, map) = all_but(&unfinished, unfinished.last().unwrap() + 9);
                let mut body = Vec::new();
                let shape = tree::shape(&map, committed);
                match round % 3 {
                    1 => runs::write(&map, committed, &mut body),
                    _ => tree::write(&map, committed, shape, &mut body),
                }
                body.insert(0, if round % 3 == 1 { 0 } else { shape.levels });
                body
            }
        };
        for _ in 0..numbers.next() % 4 {
            let at = (numbers.next() as usize) % body.len().max(1);
            match numbers.next() % 5 {
                0 if at < body.len() => body[at] ^= 1 << (numbers.next() % 8),
                1 => body.truncate(at),
                2 => body.insert(at, numbers.next() as u8),
                3 if at < body.len() => body[at] = [0, 0xff, 0x80, 1][(numbers.next() % 4) as usize],
                _ => body.extend_from_within(at..),
            }
        }
        if let Ok(Some(map)) = OffsetMap::decode(&sealed(committed, &body), committed) {
            accepted += 1;
            assert!(map.ranges().len() <= 8 * body.len() && !map.is_empty());
            assert!(map.ranges()[0].start > committed);
            assert!(map.ranges().iter().all(|range| range.start < range.end));
            assert!(map.ranges().windows(2).all(|pair| pair[0].end < pair[1].start));
            // It fits, so it can be written again, and says the same.
            let again = OffsetMap::decode(&text(&map, committed).unwrap(), committed).unwrap().unwrap();
            assert_eq!(again.ranges(), map.ranges());
        }
    }
    assert!(accepted > 3_000, "only {accepted} reached the end of the decoder");
}

#[test]
fn membership_is_told_in_any_order() {
    let mut map = map([2..4, 10..11, 20..30]);
    for offset in [0, 2, 3, 4, 9, 10, 11, 25, 30, 99, 3, 25, 1, 10, 40, 20] {
        let expected = (2..4).contains(&offset) || offset == 10 || (20..30).contains(&offset);
        assert_eq!(map.contains(offset), expected, "{offset}");
    }
}

#[test]
fn ranges_that_touch_or_overlap_become_one() {
    let map = map([1..3, 3..5, 4..6, 9..9, 9..8, 10..12, 0..11]);
    assert_eq!(map.ranges(), &[1..6, 10..12]);
    assert_eq!((map.count(), map.end(), map.is_empty()), (7, Some(12), false));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn what_is_written_is_read(unfinished in offsets(600), beyond in 2..1_000_000i64) {
        let (committed, map) = all_but(&unfinished, unfinished.last().unwrap() + beyond);
        let text = text(&map, committed).unwrap();
        let read = OffsetMap::decode(&text, committed).unwrap().unwrap();
        prop_assert_eq!(read.ranges(), map.ranges());
    }

    /// Each code by itself, whichever would be the shorter one.
    #[test]
    fn each_code_reads_what_it_has_written(unfinished in offsets(300), beyond in 2..1_000_000i64) {
        let (committed, map) = all_but(&unfinished, unfinished.last().unwrap() + beyond);
        let (mut written, shape) = (Vec::new(), tree::shape(&map, committed));
        runs::write(&map, committed, &mut written);
        prop_assert_eq!(written.len(), runs::len(&map, committed));
        let read = runs::read(&written, committed).unwrap();
        prop_assert_eq!(read.ranges(), map.ranges());
        written.clear();
        tree::write(&map, committed, shape, &mut written);
        prop_assert_eq!(written.len(), shape.len);
        let read = tree::read(shape.levels, &written, committed).unwrap();
        prop_assert_eq!(read.ranges(), map.ranges());
    }

    /// The promise that the bound makes: it holds for whatever is left of the offsets, wherever the map ends.
    #[test]
    fn whatever_finishes_neither_the_bound_nor_the_text_grows(
        unfinished in offsets(5_000), keep in 1..80u8, seed in 1..u64::MAX, beyond in 2..1i64 << 42,
    ) {
        let bound = unfinished.iter().fold(Bound::EMPTY, |bound, offset| bound.with(*offset));
        let mut numbers = Numbers(seed);
        let mut left = unfinished;
        loop {
            left.retain(|_| numbers.next() % 100 < u64::from(keep));
            let Some(last) = left.last() else { break };
            let (committed, map) = all_but(&left, last + beyond);
            let now = map.bound(committed);
            prop_assert!(now.nodes() <= bound.nodes() && now.gaps() <= bound.gaps());
            prop_assert!(runs::len(&map, committed) <= bound.gaps() + varint::MAX_LEN);
            prop_assert!(tree::shape(&map, committed).len <= bound.nodes() + varint::MAX_LEN);
            prop_assert!(text(&map, committed).is_some() || !bound.fits());
        }
    }

    /// A guess at how many offsets come is never less than what comes.
    #[test]
    fn any_offsets_cost_at_most_what_so_many_may_cost(before in offsets(200), after in offsets(3_000)) {
        let shift = before.last().unwrap() + 1;
        let after: Vec<i64> = after.into_iter().map(|offset| offset + shift).collect();
        let start = before.iter().fold(Bound::EMPTY, |bound, offset| bound.with(*offset));
        let known = after.iter().fold(start, |bound, offset| bound.with(*offset));
        for end in [after.last().unwrap() + 1, after.last().unwrap() + 77_777] {
            let guessed = start.with_any(after.len(), shift..end);
            prop_assert!(known.nodes() <= guessed.nodes() && known.gaps() <= guessed.gaps());
        }
    }
}

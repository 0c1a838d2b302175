mod guard;
mod model;

use super::*;

fn begun(offsets: impl IntoIterator<Item = i64>) -> Tracker {
    let mut tracker = Tracker::new();
    offsets.into_iter().for_each(|offset| assert_eq!(tracker.begin(offset), Begun::New));
    tracker
}

/// The tracker of the next life, if this one commits now.
fn restarted(tracker: &Tracker) -> Tracker {
    let (committed, mut text) = (tracker.watermark().unwrap(), String::new());
    tracker.encode_map(&mut text);
    Tracker::resume(committed, OffsetMap::decode(&text, committed).unwrap().unwrap_or_default())
}

#[test]
fn in_order_every_finish_moves_the_watermark() {
    let mut tracker = begun(0..3);
    assert_eq!(tracker.watermark(), None);
    assert_eq!([0, 1, 2].map(|offset| tracker.finish(offset)), [Some(1), Some(2), Some(3)]);
    assert_eq!((tracker.watermark(), tracker.unfinished(), tracker.oldest_unfinished()), (Some(3), 0, None));
}

#[test]
fn an_unfinished_record_holds_back_all_that_follow() {
    let mut tracker = begun(10..14);
    assert_eq!([11, 12, 13].map(|offset| tracker.finish(offset)), [None, None, None]);
    assert_eq!((tracker.watermark(), tracker.finished_beyond(), tracker.oldest_unfinished()), (Some(10), 3, Some(10)));
    assert_eq!(tracker.finish(10), Some(14));
    assert_eq!(tracker.finished_beyond(), 0);
}

#[test]
fn gaps_count_as_finished() {
    let mut tracker = begun([3, 7, 20]);
    assert_eq!(tracker.finish(3), Some(7));
    assert_eq!(tracker.finish(20), None);
    assert_eq!(tracker.finish(7), Some(21));
}

#[test]
fn finishing_twice_or_what_never_began_changes_nothing() {
    let mut tracker = begun(0..2);
    assert_eq!(tracker.finish(0), Some(1));
    for offset in [0, 99, 2, -1, i64::MIN, i64::MAX] {
        assert_eq!(tracker.finish(offset), None);
    }
    assert_eq!(tracker.finish(1), Some(2));
    assert_eq!(Tracker::new().finish(0), None);
}

#[test]
fn a_record_of_an_earlier_life_is_ignored() {
    let mut tracker = begun([5, 6]);
    tracker.finish(5);
    for offset in [5, 6, 0, -1, i64::MIN, i64::MAX] {
        assert_eq!(tracker.begin(offset), Begun::Old, "{offset}");
    }
    assert_eq!((tracker.unfinished(), tracker.finish(6)), (1, Some(7)));
    assert_eq!(Tracker::resume(100, OffsetMap::new()).begin(99), Begun::Old);
}

#[test]
fn a_record_that_is_given_up_holds_the_watermark_and_comes_again_but_what_is_beyond_it_does_not() {
    let mut tracker = begun(0..5);
    tracker.give_up(1);
    assert_eq!([3, 1, 4].map(|offset| tracker.finish(offset)), [None, None, None]);
    assert_eq!(tracker.finish(0), Some(1));
    assert_eq!((tracker.watermark(), tracker.unfinished()), (Some(1), 2));
    let mut next = restarted(&tracker);
    assert_eq!([1, 2, 3, 4, 5].map(|offset| next.begin(offset) == Begun::New), [true, true, false, false, true]);
}

#[test]
fn a_finished_record_cannot_be_given_up() {
    let mut tracker = begun(0..3);
    assert_eq!([2, 1].map(|offset| tracker.finish(offset)), [None, None]);
    [2, 99, -5].into_iter().for_each(|offset| tracker.give_up(offset));
    assert_eq!(tracker.finish(0), Some(3));
}

#[test]
fn the_watermark_passes_control_records_at_the_end_once_nothing_is_unfinished() {
    let mut tracker = begun(0..2);
    assert_eq!(tracker.finish(0), Some(1));
    assert_eq!(tracker.position(3), None);
    assert_eq!(tracker.finish(1), Some(3));
    assert_eq!((tracker.position(3), tracker.position(2), tracker.position(4)), (None, None, Some(4)));
    assert_eq!((tracker.watermark(), tracker.begin(3), tracker.begin(4)), (Some(4), Begun::Old, Begun::New));
    let mut unread = Tracker::resume(7, OffsetMap::new());
    assert_eq!((unread.watermark(), unread.position(9), unread.watermark()), (None, Some(9), Some(9)));
}

#[test]
fn nothing_finished_beyond_the_watermark_is_no_metadata() {
    let mut tracker = begun(0..3);
    let mut text = String::from("of another partition");
    assert!(!tracker.encode_map(&mut text) && text.is_empty());
    tracker.finish(0);
    assert!(!tracker.encode_map(&mut text));
    tracker.finish(2);
    assert!(tracker.encode_map(&mut text) && text.starts_with("kt1."));
    tracker.finish(1);
    assert!(!tracker.encode_map(&mut text) && text.is_empty());
}

#[test]
fn gaps_alone_are_no_metadata() {
    let mut tracker = begun([3, 7, 20, 31]);
    tracker.finish(3);
    let mut text = String::new();
    assert!(!tracker.encode_map(&mut text));
    tracker.finish(20);
    assert!(tracker.encode_map(&mut text));
}

#[test]
fn after_a_restart_only_the_unfinished_records_are_new() {
    let mut tracker = begun(100..200);
    (100..200).filter(|offset| ![120, 150, 151].contains(offset)).for_each(|offset| _ = tracker.finish(offset));
    let mut next = restarted(&tracker);
    let new: Vec<i64> = (120..203).filter(|offset| next.begin(*offset) == Begun::New).collect();
    assert_eq!(new, [120, 150, 151, 200, 201, 202]);
    // The watermark passes what the earlier life has finished.
    assert_eq!([120, 151, 150].map(|offset| next.finish(offset)), [Some(150), None, Some(200)]);
}

#[test]
fn what_an_earlier_life_has_finished_is_not_forgotten_before_it_is_read_again() {
    let mut tracker = begun(0..10);
    [0, 2, 4, 6, 8].into_iter().for_each(|offset| _ = tracker.finish(offset));
    let mut second = restarted(&tracker);
    assert_eq!((second.begin(1), second.finish(1)), (Begun::New, Some(3)));
    let mut third = restarted(&second);
    let new: Vec<i64> = (3..11).filter(|offset| third.begin(*offset) == Begun::New).collect();
    assert_eq!(new, [3, 5, 7, 9, 10]);
}

#[test]
fn the_watermark_passes_what_the_map_says_before_it_is_read_again() {
    let mut tracker = begun(0..10);
    (0..9).filter(|offset| *offset != 3).for_each(|offset| _ = tracker.finish(offset));
    let mut next = restarted(&tracker);
    assert_eq!((next.begin(3), next.finish(3)), (Begun::New, Some(9)));
    assert_eq!((next.begin(4), next.begin(8), next.begin(9)), (Begun::Finished, Begun::Finished, Begun::New));
    assert_eq!((next.watermark(), next.finished_beyond()), (Some(9), 0));
}

#[test]
fn a_million_finished_records_behind_one_that_is_stuck_cost_no_memory() {
    let mut tracker = begun([0]);
    for offset in 1..=1_000_000 {
        assert_eq!((tracker.begin(offset), tracker.finish(offset)), (Begun::New, None));
    }
    assert!(tracker.blocks.len() <= 64, "{} blocks", tracker.blocks.len());
    assert_eq!((tracker.finished_beyond(), tracker.unfinished(), tracker.watermark()), (1_000_000, 1, Some(0)));
    let mut text = String::new();
    assert!(tracker.encode_map(&mut text) && text.len() <= 24);
    assert_eq!((tracker.finish(0), tracker.finished_beyond()), (Some(1_000_001), 0));
}

#[test]
fn records_far_apart_cost_no_memory_for_what_is_between() {
    let mut tracker = begun((0..200).map(|at| at << 50));
    assert!(tracker.blocks.len() <= 200);
    (1..200).rev().for_each(|at| assert_eq!(tracker.finish(at << 50), None));
    assert_eq!((tracker.finished_beyond(), tracker.finish(0)), (199, Some((199 << 50) + 1)));
}

#[test]
fn it_never_passes_an_unfinished_record_in_any_order() {
    // All orders of six records.
    let mut order: Vec<i64> = (0..6).collect();
    permute(&mut order, 0, &mut |order| {
        let mut tracker = begun(0..6);
        let mut done = [false; 6];
        for offset in order {
            done[*offset as usize] = true;
            let expected = done.iter().take_while(|done| **done).count() as i64;
            tracker.finish(*offset);
            assert_eq!(tracker.watermark(), Some(expected));
        }
    });
}

fn permute(order: &mut Vec<i64>, from: usize, check: &mut impl FnMut(&[i64])) {
    if from == order.len() {
        return check(order);
    }
    for at in from..order.len() {
        order.swap(from, at);
        permute(order, from + 1, check);
        order.swap(from, at);
    }
}

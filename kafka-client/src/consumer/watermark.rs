//! The watermark of a partition: up to where everything is finished. Pure: no I/O, no clock.

use std::collections::VecDeque;

/// Follows the records of one partition from their start to their end, in any order.
///
/// Offsets may have gaps: compaction removes records, and control records of transactions take offsets. What is not
/// there counts as finished.
#[derive(Debug, Default)]
pub(crate) struct Watermark {
    /// Records that were begun, in order of offset; the first one is unfinished.
    open: VecDeque<(i64, bool)>,
    /// The offset to commit: one past the last finished record that has no unfinished one before it.
    next: Option<i64>,
    /// Whether a record was given up: nothing after it can be committed, so no account is kept of it.
    given_up: bool,
}

impl Watermark {
    /// A record was taken. Offsets rise; one that does not is ignored, it belongs to an earlier life of the partition.
    pub(crate) fn begin(&mut self, offset: i64) {
        let rises = self.open.back().map_or(self.next.is_none_or(|next| offset >= next), |(last, _)| offset > *last);
        if rises && !self.given_up {
            self.open.push_back((offset, false));
        }
    }

    /// A record is finished. Returns the new offset to commit, where it moved.
    pub(crate) fn finish(&mut self, offset: i64) -> Option<i64> {
        let at = self.open.binary_search_by_key(&offset, |(offset, _)| *offset).ok()?;
        self.open[at].1 = true;
        if at > 0 {
            return None;
        }
        while let Some((offset, true)) = self.open.front() {
            self.next = Some(offset + 1);
            self.open.pop_front();
        }
        self.next
    }

    /// A record will not be finished.
    pub(crate) fn give_up(&mut self, offset: i64) {
        if let Ok(at) = self.open.binary_search_by_key(&offset, |(offset, _)| *offset)
            && !self.open[at].1
        {
            self.open.truncate(at + 1);
            self.given_up = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(offsets: impl IntoIterator<Item = i64>) -> Watermark {
        let mut watermark = Watermark::default();
        offsets.into_iter().for_each(|offset| watermark.begin(offset));
        watermark
    }

    #[test]
    fn in_order_every_finish_moves_the_watermark() {
        let mut watermark = begun(0..3);
        assert_eq!([0, 1, 2].map(|offset| watermark.finish(offset)), [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn an_unfinished_record_holds_back_all_that_follow() {
        let mut watermark = begun(10..14);
        assert_eq!([11, 12, 13].map(|offset| watermark.finish(offset)), [None, None, None]);
        assert_eq!(watermark.finish(10), Some(14));
    }

    #[test]
    fn gaps_count_as_finished() {
        let mut watermark = begun([3, 7, 20]);
        assert_eq!(watermark.finish(3), Some(4));
        assert_eq!(watermark.finish(20), None);
        assert_eq!(watermark.finish(7), Some(21));
    }

    #[test]
    fn finishing_twice_or_what_never_began_changes_nothing() {
        let mut watermark = begun(0..2);
        assert_eq!(watermark.finish(0), Some(1));
        assert_eq!(watermark.finish(0), None);
        assert_eq!(watermark.finish(99), None);
        assert_eq!(watermark.finish(1), Some(2));
    }

    #[test]
    fn a_record_that_is_given_up_holds_back_what_follows_and_costs_no_memory() {
        let mut watermark = begun(0..4);
        watermark.give_up(1);
        (4..1_000).for_each(|offset| watermark.begin(offset));
        assert_eq!(watermark.open.len(), 2);
        assert_eq!([3, 2, 500].map(|offset| watermark.finish(offset)), [None, None, None]);
        assert_eq!(watermark.finish(0), Some(1));
        assert_eq!(watermark.next, Some(1));
    }

    #[test]
    fn a_finished_record_cannot_be_given_up() {
        let mut watermark = begun(0..3);
        assert_eq!([2, 1].map(|offset| watermark.finish(offset)), [None, None]);
        watermark.give_up(2);
        watermark.give_up(99);
        watermark.begin(3);
        assert_eq!([0, 3].map(|offset| watermark.finish(offset)), [Some(3), Some(4)]);
    }

    #[test]
    fn it_never_passes_an_unfinished_record_in_any_order() {
        // All orders of six records.
        let mut order: Vec<i64> = (0..6).collect();
        permute(&mut order, 0, &mut |order| {
            let mut watermark = begun(0..6);
            let mut done = [false; 6];
            for offset in order {
                done[*offset as usize] = true;
                let expected = done.iter().take_while(|done| **done).count() as i64;
                if let Some(next) = watermark.finish(*offset) {
                    assert_eq!(next, expected);
                }
            }
            assert_eq!(watermark.next, Some(6));
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
}

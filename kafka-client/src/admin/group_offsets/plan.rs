//! Where a group's offset on one partition is to go. Pure: the plan of a dry run is the plan that is carried out.

use super::OffsetTarget;
use crate::admin::offsets::OffsetSpec;

/// Where a partition starts and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) earliest: i64,
    pub(super) latest: i64,
}

/// Where an offset is to go, and where it was wanted, if that is not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Goal {
    pub(super) offset: i64,
    pub(super) wanted: Option<i64>,
}

/// Where the offset is to go; `None`: there is none to shift. `found` is what was looked for by time.
pub(super) fn goal(target: OffsetTarget, committed: Option<i64>, range: Range, found: Option<i64>) -> Option<Goal> {
    let wanted = match target {
        OffsetTarget::At(OffsetSpec::Earliest) => range.earliest,
        OffsetTarget::At(OffsetSpec::Latest) => range.latest,
        // Nothing is that young: all that is there has been read.
        OffsetTarget::At(_) => found.unwrap_or(range.latest),
        OffsetTarget::Exact(offset) => offset,
        OffsetTarget::ShiftBy(records) => committed?.saturating_add(records),
    };
    // Retention may have taken the start past an end that was asked for before.
    let offset = wanted.min(range.latest).max(range.earliest);
    Some(Goal { offset, wanted: (wanted != offset).then_some(wanted) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    const RANGE: Range = Range { earliest: 10, latest: 20 };

    fn at(offset: i64) -> Option<Goal> {
        Some(Goal { offset, wanted: None })
    }

    fn clamped(offset: i64, wanted: i64) -> Option<Goal> {
        Some(Goal { offset, wanted: Some(wanted) })
    }

    #[test]
    fn each_target_leads_into_the_log_and_says_where_it_had_to_be_held_back() {
        let time = OffsetTarget::At(OffsetSpec::Timestamp(SystemTime::UNIX_EPOCH));
        for (target, committed, found, expected) in [
            (OffsetTarget::At(OffsetSpec::Earliest), Some(15), None, at(10)),
            (OffsetTarget::At(OffsetSpec::Latest), None, None, at(20)),
            (OffsetTarget::At(OffsetSpec::MaxTimestamp), None, Some(19), at(19)),
            (time, None, Some(12), at(12)),
            (time, Some(15), None, at(20)),
            (OffsetTarget::Exact(13), None, None, at(13)),
            (OffsetTarget::Exact(20), None, None, at(20)),
            (OffsetTarget::Exact(9), None, None, clamped(10, 9)),
            (OffsetTarget::Exact(21), None, None, clamped(20, 21)),
            (OffsetTarget::ShiftBy(-3), Some(15), None, at(12)),
            (OffsetTarget::ShiftBy(3), Some(15), None, at(18)),
            (OffsetTarget::ShiftBy(-6), Some(15), None, clamped(10, 9)),
            (OffsetTarget::ShiftBy(6), Some(15), None, clamped(20, 21)),
            (OffsetTarget::ShiftBy(i64::MIN), Some(15), None, clamped(10, i64::MIN + 15)),
            (OffsetTarget::ShiftBy(i64::MAX), Some(15), None, clamped(20, i64::MAX)),
            // Committed before retention took the records away.
            (OffsetTarget::ShiftBy(1), Some(3), None, clamped(10, 4)),
            (OffsetTarget::ShiftBy(1), None, None, None),
        ] {
            assert_eq!(goal(target, committed, RANGE, found), expected, "{target:?} from {committed:?}");
        }
    }

    #[test]
    fn an_empty_partition_has_one_place_to_be() {
        let range = Range { earliest: 7, latest: 7 };
        for target in [OffsetTarget::At(OffsetSpec::Earliest), OffsetTarget::At(OffsetSpec::Latest)] {
            assert_eq!(goal(target, None, range, None), at(7));
        }
        assert_eq!(goal(OffsetTarget::Exact(0), None, range, None), clamped(7, 0));
    }
}

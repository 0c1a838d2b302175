//! Which records may have ended the processes that handled them. Pure: no I/O, no clock.
//!
//! ```text
//!   committed                                        told as "may be handled"
//!   ──────────┬── ○ ── ● ── ○ ── ○ ────────────┬────────────────┬──────
//!             │  handled now, or perhaps        │  room ahead    │ not begun before
//!             │                                 │                │ a commit has told so
//! ```
//!
//! A record is begun only below an offset that a confirmed commit has told ([`Mark::end`]). So when a process dies,
//! whoever reads the offset next knows a window that contains all records that were being handled: its **suspects**. From
//! then on each of them is handled alone, after a commit that names it ([`Mark::alone`]): another death is that record's.
//! A suspect that was handled, whatever came of it, is none any more.
//!
//! The room ahead grows with the traffic, so that on the normal road the commits that are made anyway suffice.

mod mark;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub(super) use mark::{MAX_BYTES, Mark, Named, split};

/// How far ahead of the highest record that was begun a commit reaches, at least.
const LEAST_AHEAD: i64 = 8;
/// And at most.
const MOST_AHEAD: i64 = 1 << 16;
/// How many suspects' deaths are remembered at a time: each death names one more at most, and each that is handled, or is
/// committed, goes.
const MOST_NAMED: usize = 8;

/// The account of one partition, through one life.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Below this offset, what is unfinished was perhaps being handled when a process died.
    window: i64,
    /// Those among them that were handled alone when another one died.
    named: Vec<Named>,
    /// Those among them that were handled since, and nothing happened.
    proved: BTreeSet<i64>,
    /// The one that is handled alone now, or is about to.
    alone: Option<i64>,
    /// Records that are being handled.
    running: usize,
    /// Records that wait for a commit.
    waiting: usize,
    /// Whether anybody asks. Until then nothing new is told.
    asked: bool,
    /// Whether the life has ended in good order: nothing more is begun.
    closed: bool,
    /// Whether a death was counted that is not told yet: whoever comes next would count it again.
    counted: bool,
    ahead: Ahead,
    /// What the last confirmed commit has told.
    told: Told,
}

/// How far ahead commits reach.
#[derive(Debug)]
struct Ahead {
    /// One past the highest record that was begun, or is about to.
    highest: i64,
    /// What it was at the last commit.
    before: i64,
    step: i64,
    end: i64,
    /// Whether somebody could not wait for the next commit.
    hurried: bool,
}

impl Default for Ahead {
    fn default() -> Self {
        Self { highest: 0, before: 0, step: LEAST_AHEAD, end: 0, hurried: false }
    }
}

#[derive(Debug, Default)]
struct Told {
    end: i64,
    alone: Option<i64>,
}

/// Whether a record may be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Now {
        /// Whether a commit should not wait for its timer.
        commit_soon: bool,
    },
    /// When a commit has told so.
    Told,
    /// Not any more.
    Never,
}

impl Suspects {
    /// Goes on after what was told with the committed offset.
    pub(super) fn resume(mark: Option<Mark>) -> Self {
        let Some(mark) = mark else { return Self::default() };
        let mut suspects = Self { window: mark.end, named: mark.named, counted: mark.open, ..Self::default() };
        if let Some(alone) = mark.alone.filter(|_| mark.open) {
            let named = suspects.name(alone);
            named.deaths = named.deaths.saturating_add(1);
        }
        suspects.window = suspects.named.iter().map(|one| one.offset + 1).fold(suspects.window, i64::max);
        suspects
    }

    /// Goes on in another life of the same process: nobody has died.
    pub(super) fn again(&self) -> Self {
        Self { window: self.window, named: self.named.clone(), proved: self.proved.clone(), ..Self::default() }
    }

    /// How many processes in a row have died while they may have been handling this record.
    pub(super) fn deaths(&self, offset: i64) -> u32 {
        if offset >= self.window || self.proved.contains(&offset) {
            return 0;
        }
        self.named.iter().find(|one| one.offset == offset).map_or(1, |one| u32::from(one.deaths))
    }

    /// A record waits for [`begin`](Self::begin).
    pub(super) fn wait(&mut self) {
        self.waiting += 1;
    }

    /// It waits no longer; `begun` unless it was given back.
    pub(super) fn waited(&mut self, offset: i64, begun: bool) {
        self.waiting -= 1;
        if !begun && self.alone == Some(offset) {
            self.alone = None;
        }
    }

    /// Whether a record may be begun, which then counts as being handled until it has [`ended`](Self::ended).
    pub(super) fn begin(&mut self, offset: i64) -> Begin {
        if self.closed {
            return Begin::Never;
        }
        self.asked = true;
        let ahead = &mut self.ahead;
        ahead.highest = ahead.highest.max(offset + 1);
        if offset < self.window && !self.proved.contains(&offset) {
            self.name(offset);
            self.alone = Some(offset);
            if self.told.alone != Some(offset) {
                return Begin::Told;
            }
        } else if offset >= self.told.end {
            ahead.hurry();
            return Begin::Told;
        }
        self.running += 1;
        let ahead = &mut self.ahead;
        let commit_soon = !ahead.hurried && ahead.highest + ahead.step / 4 > self.told.end;
        if commit_soon {
            ahead.hurry();
        }
        Begin::Now { commit_soon }
    }

    /// A record was handled, whatever came of it, and the process lives.
    pub(super) fn ended(&mut self, offset: i64) {
        self.running -= 1;
        if offset < self.window {
            self.named.retain(|one| one.offset != offset);
            self.proved.insert(offset);
        }
        if self.alone == Some(offset) {
            self.alone = None;
        }
    }

    /// The handlers that run are cancelled: they end, though nobody waits for them, and the process lives.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// What the next commit tells. All below `lowest` is finished; `stopping`: nothing more is taken.
    pub(super) fn mark(&mut self, lowest: i64, stopping: bool) -> Option<Mark> {
        if !self.asked && self.window == 0 {
            return None;
        }
        self.forget_below(lowest);
        self.closed |= stopping && self.running == 0;
        let open = self.asked && !self.closed;
        if !open && self.window == 0 {
            return None;
        }
        let end = if open { self.ahead.told().max(self.window) } else { self.window };
        let alone = self.alone.filter(|_| open);
        // From now on this may be what the log says: what was told before no longer counts where it says more.
        self.told.end = self.told.end.min(end);
        self.told.alone = self.told.alone.filter(|told| Some(*told) == alone);
        Some(Mark { open, end: end.max(lowest), named: self.named.clone(), alone })
    }

    /// A commit was confirmed that has told this.
    pub(super) fn confirmed(&mut self, mark: Option<&Mark>) {
        self.told = match mark.filter(|mark| mark.open) {
            Some(mark) => Told { end: mark.end, alone: mark.alone },
            None => Told::default(),
        };
        self.counted = false;
        self.ahead.confirmed();
    }

    /// Whether there is something to commit even while nothing is finished. Where the partition stands is known then.
    pub(super) fn must_tell(&self) -> bool {
        self.asked || self.counted
    }

    /// Whether a commit should be tried again soon: somebody waits for it, or it still names what was handled long ago.
    pub(super) fn wants_commit(&self) -> bool {
        self.waiting > 0 || self.counted || (self.told.alone.is_some() && self.told.alone != self.alone)
    }

    fn forget_below(&mut self, lowest: i64) {
        if self.window == 0 {
            return;
        }
        if self.window <= lowest {
            self.window = 0;
            self.named.clear();
            self.proved.clear();
            return;
        }
        self.named.retain(|one| one.offset >= lowest);
        self.proved = self.proved.split_off(&lowest);
    }

    fn name(&mut self, offset: i64) -> &mut Named {
        let at = match self.named.iter().position(|one| one.offset == offset) {
            Some(at) => at,
            None => {
                if self.named.len() == MOST_NAMED {
                    // The one of which least is known.
                    let least = self.named.iter().enumerate().min_by_key(|(_, one)| one.deaths);
                    let least = least.map_or(0, |(at, _)| at);
                    self.named.swap_remove(least);
                }
                self.named.push(Named { offset, deaths: 1 });
                self.named.len() - 1
            }
        };
        &mut self.named[at]
    }
}

impl Ahead {
    fn hurry(&mut self) {
        if !self.hurried {
            self.hurried = true;
            self.step = (self.step * 2).min(MOST_AHEAD);
        }
    }

    /// Moves on what is told where that is due: not with each record, so that an idle partition needs no commits.
    fn told(&mut self) -> i64 {
        let enough = self.highest + self.step / 2 <= self.end && self.end <= self.highest + 4 * self.step;
        if !enough {
            self.end = self.highest + self.step;
        }
        self.end
    }

    fn confirmed(&mut self) {
        let used = self.highest - self.before;
        self.before = self.highest;
        if !std::mem::take(&mut self.hurried) {
            self.step = (used * 2).max(self.step / 2).clamp(LEAST_AHEAD, MOST_AHEAD);
        }
    }
}

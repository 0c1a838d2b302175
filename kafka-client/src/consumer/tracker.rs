//! Stand-in until the tracker of its own room arrives.

use super::offset_map::OffsetMap;
use super::watermark::Watermark;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    New,
    Finished,
    Old,
}

#[derive(Debug, Default)]
pub struct Tracker {
    watermark: Watermark,
    next: Option<i64>,
    unfinished: usize,
}

impl Tracker {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn resume(_committed: i64, _map: OffsetMap) -> Self {
        Self::default()
    }

    pub fn begin(&mut self, offset: i64) -> Begun {
        self.watermark.begin(offset);
        self.unfinished += 1;
        Begun::New
    }

    pub fn finish(&mut self, offset: i64) -> Option<i64> {
        self.unfinished = self.unfinished.saturating_sub(1);
        let next = self.watermark.finish(offset);
        self.next = next.or(self.next);
        next
    }

    pub fn give_up(&mut self, offset: i64) {
        self.watermark.give_up(offset);
    }

    pub fn position(&mut self, next: i64) -> Option<i64> {
        if self.unfinished == 0 && self.next.is_some_and(|now| now < next) {
            self.next = Some(next);
            return self.next;
        }
        None
    }

    pub fn watermark(&self) -> Option<i64> {
        self.next
    }

    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    pub fn finished_beyond(&self) -> usize {
        0
    }

    pub fn leaves_room_for(&self, _more: usize, _next: i64) -> bool {
        true
    }

    pub fn encode_map(&self, _out: &mut String) {}
}

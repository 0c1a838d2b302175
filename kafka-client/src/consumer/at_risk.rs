//! What is told before a record is handled that may end the process.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::handler::GivenBack;
use super::state::LaneState;
use super::suspects::Begin;

/// Held while a record is handled that may end the process; made by
/// [`RawReceived::at_risk`](crate::RawReceived::at_risk).
#[must_use = "the record counts as handled when this is dropped"]
pub struct AtRisk {
    /// `None`: offsets were committed before, so nothing is handled twice.
    lane: Option<Arc<LaneState>>,
    offset: i64,
    turn: Option<Turn>,
}

/// Suspects are handled alone: by readers and writers of nothing but this.
pub(super) type Floor = Arc<RwLock<()>>;

enum Turn {
    Among(#[allow(dead_code, reason = "held for its drop")] OwnedRwLockReadGuard<()>),
    Alone(#[allow(dead_code, reason = "held for its drop")] OwnedRwLockWriteGuard<()>),
}

impl AtRisk {
    /// Waits until the record may be handled, and says so durably before.
    pub(super) async fn begin(lane: &Arc<LaneState>, offset: i64) -> Result<Self, GivenBack> {
        if lane.is_at_most_once() {
            return Ok(Self { lane: None, offset, turn: None });
        }
        let alone = lane.suspects().lock().deaths(offset) > 0;
        let floor = lane.floor().clone();
        let turn = async {
            match alone {
                true => Turn::Alone(floor.write_owned().await),
                false => Turn::Among(floor.read_owned().await),
            }
        };
        let turn = tokio::select! {
            biased;
            () = lane.until_stopping() => return Err(GivenBack),
            turn = turn => turn,
        };
        let mut waiting = Waiting::new(lane, offset);
        loop {
            let told = lane.told();
            tokio::pin!(told);
            told.as_mut().enable();
            if lane.is_stopping() {
                return Err(GivenBack);
            }
            let begin = lane.suspects().lock().begin(offset);
            match begin {
                Begin::Now { commit_soon } => {
                    waiting.begun = true;
                    if commit_soon {
                        lane.commit_soon();
                    }
                    return Ok(Self { lane: Some(lane.clone()), offset, turn: Some(turn) });
                }
                Begin::Never => return Err(GivenBack),
                Begin::Told => lane.commit_soon(),
            }
            tokio::select! {
                () = told => (),
                () = lane.until_stopping() => return Err(GivenBack),
            }
        }
    }

    /// Whether no other record is handled meanwhile, because this one is a suspect.
    pub fn is_alone(&self) -> bool {
        matches!(self.turn, Some(Turn::Alone(_)))
    }
}

impl Drop for AtRisk {
    fn drop(&mut self) {
        if let Some(lane) = &self.lane {
            lane.suspects().lock().ended(self.offset);
        }
    }
}

impl fmt::Debug for AtRisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtRisk").field("offset", &self.offset).field("alone", &self.is_alone()).finish()
    }
}

/// Takes back what was wanted when nobody waits any more.
struct Waiting<'l> {
    lane: &'l LaneState,
    offset: i64,
    begun: bool,
}

impl<'l> Waiting<'l> {
    fn new(lane: &'l LaneState, offset: i64) -> Self {
        lane.suspects().lock().wait();
        Self { lane, offset, begun: false }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.lane.suspects().lock().waited(self.offset, self.begun);
    }
}

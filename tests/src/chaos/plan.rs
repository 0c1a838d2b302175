//! What a seed decides: who runs, and what happens to them when.

use std::time::Duration;

use super::Dice;
use super::feed::Sort;
use super::order::Order;
use super::protocol::Protocol;
use crate::harness::unique;

/// The plan of a seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How the members agree on who reads what.
    pub protocol: Protocol,
    /// When a silent member is taken for dead.
    pub session: Duration,
    /// Partitions of the input, and of all other topics.
    pub partitions: i32,
    /// The other topics. Members are told of each under its role's name, as they are of the `input`.
    pub topics: &'static [Role],
    /// How many keys the records have.
    pub keys: usize,
    /// What the records are.
    pub records: Sort,
    /// The name of the group, given that of the input.
    pub group: fn(&str) -> String,
    /// What the members are told beside the names of cluster, topics and group.
    pub order: Order,
    /// What happens, in order of time. Records flow from the start until a second after the last of it.
    pub steps: Vec<Step>,
}

/// A topic beside the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// What it is for: `output`, say.
    pub name: &'static str,
    /// Whether the group reads it too: a seed is over when it has committed its end.
    pub is_read: bool,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, since the start. If something takes longer, all that follows comes so much later.
    pub at: Duration,
    /// What.
    pub event: Event,
}

/// What may happen. `whom` is counted among those that run at the time, round and round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// So many members are to run: others are started, or ended in good order.
    Scale(usize),
    /// A member gets SIGKILL as it begins something, or shortly after; another one is started in its place.
    Kill {
        /// Which member.
        whom: usize,
        /// How long after it begins something.
        late: Duration,
        /// How long its place is empty.
        away: Duration,
    },
    /// A member gets SIGSTOP as it begins something, or shortly after, and SIGCONT.
    Suspend {
        /// Which member.
        whom: usize,
        /// How long after it begins something.
        late: Duration,
        /// How long it is stopped.
        away: Duration,
        /// Whether another one takes its place at once, under the same transactional id: then it comes back as one too many.
        replaced: bool,
    },
    /// A broker gets SIGKILL, and is started again. With several, its leaderships move, and come back.
    KillBroker {
        /// Which broker.
        whom: usize,
        /// How long it is away, its start not counted.
        away: Duration,
    },
    /// A broker gets SIGSTOP and SIGCONT. With several and for longer than 3 s, its leaderships move, and it does not know.
    SuspendBroker {
        /// Which broker.
        whom: usize,
        /// How long it is stopped.
        away: Duration,
    },
    /// All connections of members are cut.
    Cut,
    /// A broker cannot be reached by members; other brokers reach it.
    Unreachable {
        /// Which broker.
        whom: usize,
        /// How long.
        away: Duration,
    },
    /// What members and brokers say to each other takes longer.
    Delay {
        /// In each direction.
        by: Duration,
        /// For how long.
        lasts: Duration,
    },
    /// A topic refuses every record: its `max.message.bytes` is 1.
    Unwritable {
        /// The role of the topic.
        role: &'static str,
        /// For how long.
        lasts: Duration,
    },
    /// What the members depend on is down, which they see by a sign beside the ledger: [`is_down`](super::Order::is_down).
    Outage {
        /// For how long.
        lasts: Duration,
    },
}

/// The name of a group that is known by nothing else.
pub(super) fn any_group(_input: &str) -> String {
    unique("billing")
}

impl Plan {
    /// When the last step is due.
    pub fn length(&self) -> Duration {
        self.steps.last().map_or(Duration::ZERO, |step| step.at)
    }
}

/// Rolls an event of some sort.
pub(super) type Happening = fn(&mut Dice) -> Event;

/// Steps, one after the other.
#[derive(Debug, Default)]
pub(super) struct Steps {
    at: Duration,
    steps: Vec<Step>,
}

impl Steps {
    /// Adds an event, so long after the one before.
    pub(super) fn then(&mut self, after: Duration, event: Event) {
        self.at += after;
        self.steps.push(Step { at: self.at, event });
    }

    /// Adds so many events, each chosen by weight, half a second to two after the one before.
    pub(super) fn some(&mut self, count: usize, dice: &mut Dice, choice: &[(u32, Happening)]) {
        for _ in 0..count {
            let event = dice.weighted(choice)(dice);
            let after = dice.millis(500..2_000);
            self.then(after, event);
        }
    }

    pub(super) fn done(self) -> Vec<Step> {
        self.steps
    }
}

/// A member is killed in the middle of what it does.
pub(super) fn kill(dice: &mut Dice) -> Event {
    Event::Kill { whom: dice.number(0..6), late: dice.millis(0..100), away: dice.millis(0..1_000) }
}

/// A member is stopped for this long, in the middle of what it does.
pub(super) fn suspend(dice: &mut Dice, away: std::ops::Range<u64>) -> Event {
    Event::Suspend { whom: dice.number(0..6), late: dice.millis(0..100), away: dice.millis(away), replaced: false }
}

//! Routes whose records wait for a time, or for each other, in an order that somebody else decides.
//!
//! ```text
//!   fetched ──▶ copied, off librdkafka ──▶ Schedule: arrived
//!                                             │ next: handle · finish · wait until
//!                      finished ◀── handler ◀─┘
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use tokio::task::coop;

use super::arrival::{ends, log_end};
use super::crew::Outcome;
use super::handler::Handler;
use super::lane::{Ended, Lane, Next, Offsets};
use super::pool::Pool;
use super::received::RawReceived;
use super::router::{Route, guarded};
use super::state::{LaneState, Taken};
use crate::error::Error;
use crate::native::Message;
use crate::native::client::EARLIEST;
use crate::native::message::{Fetched, Messages};
use crate::partition::TopicPartition;

/// The wall clock may be set: no longer sleep than this without a look at it.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Decides which record of a partition is handled next, and when: for topics whose records wait, as those of a retry topic
/// do. Made anew for each life of a partition; see
/// [`ConsumerBuilder::route_scheduled`](crate::ConsumerBuilder::route_scheduled).
///
/// It holds the records that wait. They are copies that hold nothing of librdkafka's; what is not finished when the partition
/// moves away is read again by whoever gets it.
pub trait Schedule: Send + 'static {
    /// A record was read. It stays unfinished until it is handed out and handled, or [`Turn::Finish`] names it.
    fn arrived(&mut self, record: RawReceived);

    /// Everything that was there when this life began has arrived. Called once, and before that nothing need be handed out.
    fn caught_up(&mut self) {}

    /// What to do now. Asked again after everything that happens, and when somebody [rings](Bell::ring).
    fn next(&mut self, now: SystemTime) -> Turn;

    /// A record that was handed out is finished, or was given back because the partition is to stop.
    fn ended(&mut self, offset: i64);

    /// Whether it can take more records. While it cannot, nothing more is read.
    fn has_room(&self) -> bool {
        true
    }
}

/// What a [`Schedule`] wants now.
#[derive(Debug)]
pub enum Turn {
    /// Hand this record to the handler.
    Handle(RawReceived),
    /// The record at this offset is finished without being handled.
    Finish(i64),
    /// Nothing before this time.
    WaitUntil(SystemTime),
    /// Nothing before something happens.
    Wait,
}

/// Makes the lane of a partition ask its [`Schedule`] again. Cheap to clone.
#[derive(Clone)]
pub struct Bell(Arc<LaneState>);

impl Bell {
    /// Asks again, soon.
    pub fn ring(&self) {
        self.0.ring();
    }
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Bell").field(&self.0.topic).field(&self.0.partition).finish()
    }
}

/// Makes the schedule of a life of a partition.
pub(super) type MakeSchedule = Box<dyn Fn(&TopicPartition, Bell) -> Box<dyn Schedule> + Send + Sync>;

pub(super) struct ScheduledRoute<H> {
    pub(super) topic: Arc<str>,
    pub(super) width: usize,
    pub(super) schedule: MakeSchedule,
    pub(super) handler: H,
}

impl<H: Handler<RawReceived>> Route for ScheduledRoute<H> {
    fn topic(&self) -> &str {
        &self.topic
    }

    fn width(&self) -> usize {
        self.width
    }

    fn holds_records(&self) -> bool {
        true
    }

    fn run(self: Arc<Self>, mut lane: Lane) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let state = &lane.state;
            let schedule =
                (self.schedule)(&TopicPartition::new(state.topic.clone(), state.partition), Bell(state.clone()));
            let start = |record| async { Outcome::Handled(guarded(&self.handler, record).await) };
            let end = Box::pin(whole(&lane));
            let runs = Runs {
                schedule,
                pool: Pool::new(self.width),
                start,
                fetched: None,
                next: None,
                end: Some(end),
                target: None,
                exposed: false,
                due: None,
            };
            runs.run(&mut lane).await;
        })
    }
}

/// Where the partition begins and ends now.
fn whole(lane: &Lane) -> impl Future<Output = Result<(i64, i64), Error>> + Send + 'static {
    let (client, key) = (lane.client().clone(), (lane.state.topic.clone(), lane.state.partition));
    async move {
        let first = ends(&client, &[(key.clone(), EARLIEST)]).await?;
        let first = first.first().and_then(|entry| entry.offset).unwrap_or(0);
        // What an open transaction hides, or something behind it, may have to be handled before what is read elsewhere.
        Ok((first, log_end(&client, &key).await?))
    }
}

/// A lane at work.
struct Runs<F, S> {
    schedule: Box<dyn Schedule>,
    pool: Pool<F, Tag>,
    start: S,
    /// Records that were fetched and not taken.
    fetched: Option<Messages>,
    /// The first of them, where it cannot be taken before something is finished.
    next: Option<Message>,
    /// Asks where the partition ends.
    end: Option<BoxFuture<'static, Result<(i64, i64), Error>>>,
    /// Where it began and ended when this life began, until that is reached.
    target: Option<(i64, i64)>,
    /// Whether the bound on exposure holds up the next record.
    exposed: bool,
    due: Option<SystemTime>,
}

struct Tag {
    offset: i64,
    slot: usize,
}

enum Event {
    Done(Tag, Outcome),
    Lane(Next),
    End(Result<(i64, i64), Error>),
    Due,
    Room,
}

impl<F: Future<Output = Outcome>, S: Fn(RawReceived) -> F> Runs<F, S> {
    async fn run(mut self, lane: &mut Lane) {
        while !lane.state.is_stopping() && !lane.has_ended() {
            if self.turn(lane).await.is_err() {
                break;
            }
        }
        while !self.pool.is_empty() {
            let event = self.wait(lane, false).await;
            // A failure is reported, and the others may still come to their end.
            let _ = self.happened(lane, event);
        }
        lane.drain().await;
    }

    async fn turn(&mut self, lane: &mut Lane) -> Result<(), Ended> {
        lane.reap().await?;
        self.take(lane).await;
        self.look_for_end(lane);
        self.hand_out(lane).await?;
        let wants =
            self.fetched.is_none() && self.next.is_none() && self.schedule.has_room() && lane.wants_records()?;
        let event = self.wait(lane, wants).await;
        self.happened(lane, event)
    }

    /// Gives what was fetched to the schedule.
    async fn take(&mut self, lane: &mut Lane) {
        while !lane.state.is_held_up() {
            let message = match self.next.take() {
                Some(message) => message,
                None => match self.fetched.as_mut().and_then(Iterator::next) {
                    Some(message) => message,
                    None => {
                        self.fetched = None;
                        return;
                    }
                },
            };
            coop::consume_budget().await;
            let (offset, bytes) = (message.view().offset(), message.view().size());
            lane.state.wait_for_finished(true);
            match lane.state.take(offset) {
                Taken::New => {
                    lane.state.wait_for_finished(false);
                    lane.settings.interceptors.received(&lane.state.topic, &message);
                    lane.state.held.remove(1, bytes);
                    self.schedule.arrived(RawReceived::kept(&lane.state, &message));
                }
                Taken::Finished => lane.state.held.remove(1, bytes),
                Taken::NotYet => {
                    self.next = Some(message);
                    return;
                }
            }
        }
    }

    fn look_for_end(&mut self, lane: &Lane) {
        let Some((first, end)) = self.target else { return };
        let reached = || lane.state.frontier().max(first) >= end || lane.position().is_some_and(|next| next >= end);
        if self.fetched.is_none() && self.next.is_none() && reached() {
            self.target = None;
            self.schedule.caught_up();
        }
    }

    /// Starts handlers as far as the schedule, and the slots, allow.
    async fn hand_out(&mut self, lane: &mut Lane) -> Result<(), Ended> {
        self.due = None;
        while !lane.state.is_held_up() && !self.exposed && self.pool.has_room() {
            coop::consume_budget().await;
            if !lane.state.may_start(1) {
                self.exposed = true;
                return Ok(());
            }
            let record = match self.schedule.next(SystemTime::now()) {
                Turn::Handle(record) => record,
                Turn::Finish(offset) => {
                    lane.state.start(offset);
                    lane.state.finish(offset);
                    continue;
                }
                nothing => {
                    lane.state.not_started(1);
                    if let Turn::WaitUntil(due) = nothing {
                        self.due = Some(due);
                    }
                    return Ok(());
                }
            };
            let (offset, slot) = (record.offset(), self.pool.next_slot());
            lane.state.running.begin(slot, offset, record.key_bytes(), &lane.settings.clock);
            lane.state.start(offset);
            if let Some((tag, outcome)) = self.pool.start(Tag { offset, slot }, (self.start)(record)) {
                self.done(lane, &tag, outcome)?;
            }
            lane.reap().await?;
        }
        Ok(())
    }

    fn done(&mut self, lane: &mut Lane, tag: &Tag, outcome: Outcome) -> Result<(), Ended> {
        lane.state.running.end(tag.slot);
        self.schedule.ended(tag.offset);
        match outcome {
            Outcome::Handled(result) | Outcome::Failed(result) => lane.handled(Offsets::One(tag.offset), result),
            Outcome::Undecodable(error) => Err(lane.fail(error, Some(tag.offset))),
            Outcome::GivenBack => Ok(()),
        }
    }

    async fn wait(&mut self, lane: &mut Lane, wants_records: bool) -> Event {
        let state = lane.state.clone();
        let (due, runs) = (self.due, !state.is_held_up());
        tokio::select! {
            biased;
            (tag, outcome) = self.pool.next(), if !self.pool.is_empty() => Event::Done(tag, outcome),
            Some(end) = async { Some(self.end.as_mut()?.await) }, if self.end.is_some() && runs => Event::End(end),
            next = lane.next(wants_records) => Event::Lane(next),
            () = sleep_until(due), if due.is_some() && runs => Event::Due,
            () = state.has_exposure_room(1), if self.exposed => Event::Room,
        }
    }

    fn happened(&mut self, lane: &mut Lane, event: Event) -> Result<(), Ended> {
        match event {
            Event::Done(tag, outcome) => self.done(lane, &tag, outcome),
            Event::Lane(Next::Fetched(fetched)) => {
                self.accept(lane, fetched);
                Ok(())
            }
            Event::Lane(Next::Completed(offsets, result)) => lane.completed(&offsets, result),
            Event::Lane(Next::Rung) => {
                self.cancel(lane);
                Ok(())
            }
            Event::End(Ok(end)) => {
                (self.end, self.target) = (None, Some(end));
                Ok(())
            }
            Event::End(Err(error)) => {
                self.end = None;
                Err(lane.fail(error, None))
            }
            Event::Due => Ok(()),
            Event::Room => {
                self.exposed = false;
                Ok(())
            }
        }
    }

    fn accept(&mut self, lane: &mut Lane, fetched: Fetched) {
        let Some(fetched) = lane.accept(fetched) else { return };
        lane.state.held.add(fetched.len(), fetched.bytes());
        self.fetched = Some(fetched.into_messages());
    }

    /// Cancels the handlers that the watchdog has given up. Their records are read again.
    fn cancel(&mut self, lane: &mut Lane) {
        for offset in lane.state.take_cancelled() {
            let Some(tag) = self.pool.cancel(|tag| tag.offset == offset) else { continue };
            lane.state.running.end(tag.slot);
            lane.state.give_up(offset);
        }
    }
}

/// Sleeps until this time by the wall clock, or for a while.
async fn sleep_until(due: Option<SystemTime>) {
    let left = due.and_then(|due| due.duration_since(SystemTime::now()).ok()).unwrap_or_default();
    tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
}

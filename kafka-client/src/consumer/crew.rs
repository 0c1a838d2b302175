//! Record by record: one handler at a time, one a key, or as many as there are slots.
//!
//! ```text
//!   fetched ──▶ taken in order ──▶ its key is free, and a slot ──▶ decode + handler ──▶ finished
//!                                  └▶ its key is busy: waits behind it ──▲
//! ```

use tokio::sync::oneshot;
use tokio::task::coop;

use super::Guarantee;
use super::concurrency::Concurrency;
use super::handler::{Completion, HandlerError};
use super::keyed::{KeyHash, Keyed};
use super::lane::{Ended, Lane, Next, Offsets};
use super::pool::Pool;
use super::state::Taken;
use crate::error::Error;
use crate::native::Message;
use crate::native::message::{Fetched, Messages};

/// What came of a record.
pub(super) enum Outcome {
    Handled(Result<Completion, HandlerError>),
    /// It could not be decoded; this is what the handler for such records came to.
    Failed(Result<Completion, HandlerError>),
    /// It could not be decoded, and nobody takes such records.
    Undecodable(Error),
    /// The lane is to end, and the record was not handed out.
    GivenBack,
}

/// A record in a slot.
struct Tag {
    offset: i64,
    bytes: usize,
    key: Option<KeyHash>,
    slot: usize,
}

/// The handlers of a lane: `make` turns a message into the future that decodes and handles it.
pub(super) struct Crew<F, M> {
    make: M,
    concurrency: Concurrency,
    pool: Pool<F, Tag>,
    /// Records that wait behind another one of their key.
    keyed: Keyed<Message>,
    /// Keys whose next record may begin: their turn came while the lane was held up.
    ready: Vec<KeyHash>,
    /// Records that were fetched and not taken.
    fetched: Option<Messages>,
    /// The first of them, where it cannot be taken before something is finished.
    next: Option<Message>,
    /// At most once: the records are not taken before they are committed.
    committing: Option<oneshot::Receiver<()>>,
    /// Whether the bound on exposure holds up the next record.
    exposed: bool,
}

enum Event {
    Done(Tag, Outcome),
    Lane(Next),
    Committed(bool),
    Room,
}

impl<F: Future<Output = Outcome>, M: Fn(Message) -> F> Crew<F, M> {
    pub(super) fn new(concurrency: Concurrency, make: M) -> Self {
        Self {
            make,
            pool: Pool::new(concurrency.width()),
            concurrency,
            keyed: Keyed::new(),
            ready: Vec::new(),
            fetched: None,
            next: None,
            committing: None,
            exposed: false,
        }
    }

    /// Handles records until the lane is to end, and waits for what was begun. What was only fetched is read again.
    pub(super) async fn run(mut self, lane: &mut Lane) {
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
        self.begin(lane).await?;
        if lane.state.is_stopping() {
            return Ok(());
        }
        // One portion after the other: what is behind it stays with librdkafka, which stops fetching then.
        let wants_records = self.fetched.is_none() && self.next.is_none() && lane.wants_records()?;
        let event = self.wait(lane, wants_records).await;
        self.happened(lane, event)
    }

    /// Begins what is there, as far as it may.
    async fn begin(&mut self, lane: &mut Lane) -> Result<(), Ended> {
        // A completion that has failed already comes before anything new.
        lane.reap().await?;
        while !lane.state.is_held_up() && self.pool.has_room() {
            let Some(key) = self.ready.pop() else { break };
            self.next_of_key(lane, key)?;
        }
        while !lane.state.is_held_up() && self.pool.has_room() && self.may_look_ahead(lane) {
            let Some(message) = self.take(lane) else { break };
            // Handlers that are ready at once are not waited for: without this a lane with a backlog would never let
            // another task of its thread run.
            coop::consume_budget().await;
            let key = self.concurrency.key(message.view().key());
            match key {
                Some(key) if self.keyed.is_busy(key) => self.keyed.wait(key, message),
                key => self.start(lane, message, key)?,
            }
            lane.reap().await?;
        }
        Ok(())
    }

    /// Records that wait behind their keys are held, too.
    fn may_look_ahead(&self, lane: &Lane) -> bool {
        self.keyed.len() < lane.settings.max_records
    }

    /// The next record that is to be handled.
    fn take(&mut self, lane: &mut Lane) -> Option<Message> {
        if self.committing.is_some() {
            return None;
        }
        loop {
            let message = match self.next.take() {
                Some(message) => message,
                None => self.fetched.as_mut()?.next().or_else(|| {
                    self.fetched = None;
                    None
                })?,
            };
            if !lane.state.may_start(1) {
                self.exposed = true;
                self.next = Some(message);
                return None;
            }
            let (offset, bytes) = (message.view().offset(), message.view().size());
            lane.state.wait_for_finished(true);
            match lane.state.take(offset) {
                Taken::New => {
                    lane.state.wait_for_finished(false);
                    return Some(message);
                }
                Taken::Finished => {
                    lane.state.not_started(1);
                    lane.state.held.remove(1, bytes);
                }
                Taken::NotYet => {
                    lane.state.not_started(1);
                    self.next = Some(message);
                    return None;
                }
            }
        }
    }

    /// Starts a record; and where its handler is ready at once, those that wait behind its key.
    fn start(&mut self, lane: &mut Lane, message: Message, key: Option<KeyHash>) -> Result<(), Ended> {
        let Some((tag, outcome)) = self.place(lane, message, key) else {
            if let Some(key) = key {
                self.keyed.begin(key);
            }
            return Ok(());
        };
        // Its key was never busy.
        let key = tag.key;
        self.done(lane, tag, outcome)?;
        match key {
            Some(key) if self.keyed.is_busy(key) => self.next_of_key(lane, key),
            _ => Ok(()),
        }
    }

    /// The key's turn goes to the next record that waits behind it.
    fn next_of_key(&mut self, lane: &mut Lane, key: KeyHash) -> Result<(), Ended> {
        loop {
            if lane.has_ended() || lane.state.is_held_up() {
                self.ready.push(key);
                return Ok(());
            }
            let Some(message) = self.keyed.end(key) else { return Ok(()) };
            match self.place(lane, message, Some(key)) {
                Some((tag, outcome)) => self.done(lane, tag, outcome)?,
                None => return Ok(()),
            }
        }
    }

    fn place(&mut self, lane: &Lane, message: Message, key: Option<KeyHash>) -> Option<(Tag, Outcome)> {
        let view = message.view();
        let slot = self.pool.next_slot();
        lane.state.running.begin(slot, view.offset(), view.key(), &lane.settings.clock);
        let tag = Tag { offset: view.offset(), bytes: view.size(), key, slot };
        self.pool.start(tag, (self.make)(message))
    }

    fn done(&mut self, lane: &mut Lane, tag: Tag, outcome: Outcome) -> Result<(), Ended> {
        lane.state.running.end(tag.slot);
        lane.state.held.remove(1, tag.bytes);
        match outcome {
            Outcome::Handled(result) => lane.handled(Offsets::One(tag.offset), result),
            Outcome::Failed(result) => lane.handled(Offsets::Failed(tag.offset), result),
            Outcome::Undecodable(error) => Err(lane.fail(error, Some(tag.offset))),
            Outcome::GivenBack => {
                lane.state.not_started(1);
                Ok(())
            }
        }
    }

    async fn wait(&mut self, lane: &mut Lane, wants_records: bool) -> Event {
        let state = lane.state.clone();
        tokio::select! {
            biased;
            (tag, outcome) = self.pool.next(), if !self.pool.is_empty() => Event::Done(tag, outcome),
            Ok(answer) = async { Ok::<_, ()>(answered(&mut self.committing).await) }, if self.committing.is_some() => {
                Event::Committed(answer)
            }
            next = lane.next(wants_records) => Event::Lane(next),
            () = state.has_exposure_room(1), if self.exposed => Event::Room,
        }
    }

    fn happened(&mut self, lane: &mut Lane, event: Event) -> Result<(), Ended> {
        match event {
            Event::Done(tag, outcome) => {
                let key = tag.key;
                let done = self.done(lane, tag, outcome);
                match key {
                    Some(key) if done.is_ok() => self.next_of_key(lane, key),
                    _ => done,
                }
            }
            Event::Lane(Next::Fetched(fetched)) => {
                self.accept(lane, fetched);
                Ok(())
            }
            Event::Lane(Next::Completed(offsets, result)) => lane.completed(&offsets, result),
            Event::Lane(Next::Rung) => {
                self.cancel(lane);
                Ok(())
            }
            Event::Committed(answer) => {
                self.committing = None;
                if !answer {
                    // These records are not handled, so none after them may be.
                    lane.give_back();
                }
                Ok(())
            }
            Event::Room => {
                self.exposed = false;
                Ok(())
            }
        }
    }

    fn accept(&mut self, lane: &mut Lane, fetched: Fetched) {
        let Some(fetched) = lane.accept(fetched) else { return };
        if lane.settings.guarantee == Guarantee::AtMostOnce {
            self.committing = lane.ask_to_commit(&fetched);
            if self.committing.is_none() {
                return lane.give_back();
            }
        }
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

/// Whether the commit was confirmed that records wait for.
async fn answered(committing: &mut Option<oneshot::Receiver<()>>) -> bool {
    match committing {
        Some(answer) => answer.await.is_ok(),
        None => false,
    }
}

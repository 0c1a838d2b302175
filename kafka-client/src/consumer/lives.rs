//! The lives of partitions with this member: a lane begins, begins anew elsewhere, and ends.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::task::AbortHandle;

use super::Guarantee;
use super::arrival::{Beginning, arrive, at_committed, seek};
use super::control::{Control, Key};
use super::handle::Answer as CommandAnswer;
use super::lane::{Lane, Request, Turn};
use super::listener::StartAt;
use super::offset_map::OffsetMap;
use super::rebalance::until_told;
use super::router::Route;
use super::state::{CommitPoint, LaneState};
use super::tracker::Tracker;
use crate::error::{Error, ErrorKind};
use crate::native::Queue;
use crate::producer::panic_text;

/// A lane and its task.
pub(super) struct RunningLane {
    pub(super) state: Arc<LaneState>,
    pub(super) abort: AbortHandle,
    pub(super) life: u64,
    /// What Kafka has confirmed.
    pub(super) committed: Option<CommitPoint>,
    /// Whether its task has ended.
    pub(super) ended: bool,
    /// Whether it begins anew when it has ended, and where.
    pub(super) again: Option<Again>,
    /// Whether its partition is being taken away.
    pub(super) leaves: bool,
}

/// Why a lane begins anew.
pub(super) enum Again {
    /// Somebody has asked for another place.
    Seek(StartAt, CommandAnswer<()>),
    /// A handler was given up: at the lowest unfinished record.
    Rewind,
    /// A transaction was undone: at the committed offset.
    Undone,
}

/// A partition whose lane is about to start.
pub(super) struct Arriving {
    life: u64,
    queue: Queue,
    /// Not, when it has been taken away meanwhile.
    pub(super) wanted: bool,
    pub(super) abort: AbortHandle,
    answer: Option<CommandAnswer<()>>,
}

/// Lives that may start now.
pub(super) struct Arrived {
    lives: Vec<(Key, u64)>,
    result: Result<Vec<Beginning>, Error>,
}

impl Control {
    /// Prepares partitions; their lanes start when that is done.
    pub(super) fn arrive(&mut self, queues: Vec<(Key, Queue)>, answer: Option<CommandAnswer<()>>) {
        let keys: Vec<Key> = queues.iter().map(|(key, _)| key.clone()).collect();
        let tells_apart = |key: &Key| self.routes.find(&key.0).is_some_and(|route| route.tells_records_apart());
        let needs_committed = self.options.guarantee != Guarantee::AtMostOnce && keys.iter().any(tells_apart);
        let (listener, start_fails) = (self.listener.clone(), self.options.start_fails);
        let work = arrive(self.client.clone(), keys, needs_committed, listener, start_fails);
        // What is lost is told before what comes: it may be the same partitions.
        let telling = self.telling.clone();
        self.arrive_after(queues, answer, async move {
            // Its failure is reported where it is awaited in any case.
            let _ = until_told(telling).await;
            work.await
        });
    }

    fn arrive_after(
        &mut self,
        queues: Vec<(Key, Queue)>,
        mut answer: Option<CommandAnswer<()>>,
        work: impl Future<Output = Result<Vec<Beginning>, Error>> + Send + 'static,
    ) {
        self.lives += 1;
        let life = self.lives;
        let task = tokio::spawn(work);
        let abort = task.abort_handle();
        let mut lives = Vec::new();
        for (key, queue) in queues {
            lives.push((key.clone(), life));
            let arriving = Arriving { life, queue, wanted: true, abort: abort.clone(), answer: answer.take() };
            self.arriving.insert(key, arriving);
        }
        self.arrivals.push(Box::pin(async move {
            let result = task.await.unwrap_or_else(|_| Ok(Vec::new()));
            Arrived { lives, result }
        }));
    }

    pub(super) fn arrived(&mut self, arrived: Arrived) -> Result<(), Error> {
        let mut beginnings = match arrived.result {
            Ok(beginnings) => beginnings,
            Err(error) => {
                for (key, life) in arrived.lives {
                    if self.arriving.get(&key).is_some_and(|arriving| arriving.life == life)
                        && let Some(Arriving { answer: Some(answer), .. }) = self.arriving.remove(&key)
                    {
                        // Only who asked to seek can do something about it; but the partition must not stand still.
                        let _ = answer.send(Err(error.clone()));
                    }
                }
                return Err(error);
            }
        };
        for (key, life) in arrived.lives {
            if self.arriving.get(&key).is_none_or(|arriving| arriving.life != life) {
                continue;
            }
            let Some(arriving) = self.arriving.remove(&key) else { continue };
            let Some(at) = beginnings.iter().position(|beginning| beginning.key == key) else { continue };
            if self.listener.is_some() {
                self.heard.insert(key.clone());
            }
            let beginning = beginnings.swap_remove(at);
            if arriving.wanted {
                self.start_lane(key, arriving.queue, beginning);
                if let Some(answer) = arriving.answer {
                    let _ = answer.send(Ok(()));
                }
            }
        }
        self.status.assigned(self.lanes.len());
        Ok(())
    }

    fn start_lane(&mut self, key: Key, queue: Queue, beginning: Beginning) {
        let Some(route) = self.routes.find(&key.0).cloned() else { return };
        self.lives += 1;
        let life = self.lives;
        let Beginning { tracker, suspects, .. } = match route.tells_records_apart() {
            true => beginning,
            false => Beginning::anew(key.clone()),
        };
        let state = Arc::new(LaneState::new(&key, tracker, suspects, route.width(), &self.shared));
        state.pause(self.paused.contains(&key));
        let turn = self.turns.entry(key.clone()).or_default().clone();
        let lane = Lane::new(state.clone(), queue, self.settings.clone());
        let task = tokio::spawn(live(lane, route, turn));
        let lane = RunningLane {
            state,
            abort: task.abort_handle(),
            life,
            committed: None,
            ended: false,
            again: None,
            leaves: false,
        };
        self.lanes.insert(key.clone(), lane);
        self.ended.push(Box::pin(async move {
            // A panic was caught inside; what is left is that it was cancelled.
            let _ = task.await;
            (key, life)
        }));
    }

    pub(super) fn lane_ended(&mut self, key: Key, life: u64) {
        let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.life == life) else { return };
        lane.ended = true;
        if lane.again.is_some() {
            self.begin_again(key);
        }
    }

    /// What a life has done goes into the books.
    pub(super) fn life_ended(&mut self, key: &Key, lane: &RunningLane) {
        let totals = lane.state.end();
        self.metrics.ended(key, lane.life, totals);
        self.report.add(totals);
    }

    /// A transaction was undone: the partition goes on where the group has committed, if it is still ours.
    pub(super) fn undone(&mut self, state: &Arc<LaneState>) {
        let key = (state.topic.clone(), state.partition);
        let Some(lane) = self.lanes.get_mut(&key).filter(|lane| Arc::ptr_eq(&lane.state, state)) else { return };
        if lane.leaves || lane.again.is_some() {
            return;
        }
        lane.again = Some(Again::Undone);
        if lane.ended {
            self.begin_again(key);
        }
    }

    /// A transaction has committed an offset.
    pub(super) fn committed_elsewhere(&mut self, state: &Arc<LaneState>, offset: i64) {
        let key = (state.topic.clone(), state.partition);
        let Some(lane) = self.lanes.get(&key).filter(|lane| Arc::ptr_eq(&lane.state, state)) else { return };
        // Nothing was ever exposed: a kill undoes what is not committed.
        let point = CommitPoint::at(offset);
        self.status.committed();
        self.confirmed(&key, lane.life, &point);
    }

    /// Lanes that have ended, and wait for a transaction before they begin anew.
    pub(super) fn begin_those_again(&mut self) {
        if self.transactions.is_some() {
            let ready = self.lanes.iter().filter(|(_, lane)| lane.ended && lane.again.is_some());
            let keys: Vec<Key> = ready.map(|(key, _)| key.clone()).collect();
            keys.into_iter().for_each(|key| self.begin_again(key));
        }
    }

    /// A lane has ended to begin anew.
    fn begin_again(&mut self, key: Key) {
        // What is finished goes into the next commit while the lane is still known.
        self.commit();
        if self.transactions.is_some()
            && let Some(lane) = self.lanes.get(&key)
            && !lane.state.is_lost()
            && lane.state.commit_point() != lane.committed
        {
            // Its results would be lost with it: first the transaction, whose end comes back here.
            return;
        }
        let Some(mut lane) = self.lanes.remove(&key) else { return };
        let (again, point) = (lane.again.take(), lane.state.commit_point());
        self.life_ended(&key, &lane);
        let Some(queue) = Queue::partition(&self.client, &key.0, key.1) else { return };
        let client = self.client.clone();
        let (start, beginning, answer) = match again {
            Some(Again::Undone) => {
                let first = lane.state.began();
                let suspects = lane.state.suspects().lock().again();
                return self.arrive_after(vec![(key.clone(), queue)], None, async move {
                    let tracker = at_committed(&client, &key, first).await?;
                    Ok(vec![Beginning { key, tracker, suspects }])
                });
            }
            Some(Again::Seek(start, answer)) => (start, Beginning::anew(key.clone()), Some(answer)),
            _ => {
                let suspects = lane.state.suspects().lock().again();
                match point.or_else(|| lane.state.not_handed_out()) {
                    Some(point) => {
                        let beginning = Beginning { key: key.clone(), tracker: resumed(&point), suspects };
                        (StartAt::Offset(point.offset), beginning, None)
                    }
                    // Nothing was ever taken.
                    None => {
                        let beginning = Beginning { suspects, ..Beginning::anew(key.clone()) };
                        return self.start_lane(key, queue, beginning);
                    }
                }
            }
        };
        let moving = key.clone();
        self.arrive_after(vec![(key, queue)], answer, async move {
            seek(&client, &moving, start).await?;
            Ok(vec![beginning])
        });
    }
}

/// The life of a lane.
async fn live(lane: Lane, route: Arc<dyn Route>, turn: Turn) {
    // Two readers of one queue would take each other's wakeups, so the one before must be gone. As a rule it is; a
    // handler that was cancelled and never awaits anything holds up the next life of its partition.
    let state = lane.state.clone();
    let _turn = tokio::select! {
        turn = turn.lock_owned() => turn,
        () = state.until_stopping() => return,
    };
    let requests = lane.settings.requests.clone();
    if let Err(panic) = AssertUnwindSafe(route.run(lane.listening())).catch_unwind().await {
        // Handlers' panics are caught where their record is known: this is a serde's, or a fault of ours.
        let error = Error::new(ErrorKind::Panicked, format!("panicked: {}", panic_text(&*panic)));
        let error = error.with_operation("receive").with_topic(&*state.topic).with_partition(Some(state.partition));
        let _ = requests.send(Request::Fail(error));
    }
}

/// What the lane before has finished is not handled again.
fn resumed(point: &CommitPoint) -> Tracker {
    let map = point.map.as_deref().and_then(|text| OffsetMap::decode(text, point.offset).ok().flatten());
    Tracker::resume(point.offset, map.unwrap_or_default())
}

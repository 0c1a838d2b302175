//! How far partitions are behind: asked of the cluster for handles, and for the gauge where fetching does not tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::arrival::{ends, starts};
use super::control::Key;
use super::handle::{Answer, Lag};
use super::lives::RunningLane;
use crate::error::Error;
use crate::native::Client;
use crate::native::client::LATEST;
use crate::partition::TopicPartition;

/// How often the cluster is asked at most, while some partition stands still.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// After how long an answer is not waited for any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// The offset that would be committed now, or was.
pub(super) fn reached(lane: &RunningLane) -> Option<i64> {
    lane.state.reached().or_else(|| lane.committed.as_ref().map(|point| point.offset))
}

/// Asks the cluster how far partitions are behind.
pub(super) async fn lag(client: Arc<Client>, positions: Vec<(Key, Option<i64>)>, answer: Answer<Vec<Lag>>) {
    let found = measured(&client, positions).await;
    let _ = answer.send(found.map(|found| found.into_iter().map(Measured::into_lag).collect()));
}

/// Where a partition stands, and its end.
struct Measured {
    key: Key,
    at: i64,
    end: i64,
}

impl Measured {
    fn into_lag(self) -> Lag {
        let records = u64::try_from(self.end - self.at).unwrap_or(0);
        Lag { partition: TopicPartition::new(self.key.0, self.key.1), records, end: self.end }
    }
}

async fn measured(client: &Arc<Client>, positions: Vec<(Key, Option<i64>)>) -> Result<Vec<Measured>, Error> {
    if positions.is_empty() {
        return Ok(Vec::new());
    }
    let times: Vec<_> = positions.iter().map(|(key, _)| (key.clone(), LATEST)).collect();
    let found = ends(client, &times).await?;
    // Where nothing was handled yet, the group's offset counts, or that of the oldest record.
    let unknown: Vec<Key> =
        positions.iter().filter(|(_, offset)| offset.is_none()).map(|(key, _)| key.clone()).collect();
    let begins = starts(client, &unknown).await?;
    let measured = |(key, offset): (Key, Option<i64>)| {
        let end = found.iter().find(|entry| entry.topic == *key.0 && entry.partition == key.1)?.offset?;
        let at = offset.or_else(|| begins.get(&key).copied())?;
        Some(Measured { key, at, end })
    };
    Ok(positions.into_iter().filter_map(measured).collect())
}

/// What the gauge knows of partitions.
///
/// Each fetch tells the end of its partition. A partition that is not fetched, because it is paused or its handlers hold
/// all that they may, stands still there: its end is asked for.
#[derive(Default)]
pub(super) struct LagWatch {
    /// Where lanes stood at the last look.
    positions: BTreeMap<Key, Option<i64>>,
    asked: Arc<Mutex<Asked>>,
}

#[derive(Default)]
struct Asked {
    /// By partition: where it stood, and its end.
    answers: BTreeMap<Key, (i64, i64)>,
    since: Option<Instant>,
    waiting: bool,
}

impl LagWatch {
    /// How far the partitions are behind, as far as it is known; and what to wait for, so that it is known the next time.
    pub(super) fn look(
        &mut self,
        client: &Arc<Client>,
        lanes: &BTreeMap<Key, RunningLane>,
    ) -> (BTreeMap<Key, i64>, Option<impl Future<Output = ()> + Send + use<>>) {
        let mut asked = self.asked.lock();
        asked.answers.retain(|key, _| lanes.contains_key(key));
        let (mut lags, mut unknown, mut positions) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        for (key, lane) in lanes {
            let (at, position) = (reached(lane), lane.state.position());
            let moves = self.positions.get(key).is_none_or(|before| *before != position);
            let stands = lane.state.is_paused() || (lane.state.held.records() > 0 && !moves);
            if at.is_none() || stands {
                unknown.push((key.clone(), at));
            }
            let answer = asked.answers.get(key);
            let at = at.or(answer.map(|(at, _)| *at));
            let end = client.known_end(&key.0, key.1).max(answer.map(|(_, end)| *end));
            if let (Some(at), Some(end)) = (at, end) {
                lags.insert(key.clone(), (end - at).max(0));
            }
            positions.insert(key.clone(), position);
        }
        self.positions = positions;
        let due = asked.since.is_none_or(|since| since.elapsed() >= ASK_EVERY);
        if unknown.is_empty() || asked.waiting || !due {
            return (lags, None);
        }
        (asked.waiting, asked.since) = (true, Some(Instant::now()));
        let (client, answers) = (client.clone(), self.asked.clone());
        let asking = async move {
            let found = timeout(PATIENCE, measured(&client, unknown)).await;
            let mut asked = answers.lock();
            asked.waiting = false;
            // Without an answer what was known before stays: the gauge is no place to tell of an outage.
            let found = found.into_iter().flatten().flatten();
            asked.answers.extend(found.map(|one| (one.key, (one.at, one.end))));
        };
        (lags, Some(asking))
    }
}

//! The end of a member: it leaves its group.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::control::Control;
use super::handle::Command;
use super::report::ConsumerReport;
use crate::logging;
use crate::native::{Event, EventKind};

/// How long leaving the group may take. librdkafka asks for 5 s, and then counts as closed without an answer: what is
/// closed before that was answered.
const LEAVE_WAIT: Duration = Duration::from_millis(4_500);

/// How much of it a member that is still joining waits for its first answer.
const JOIN_WAIT: Duration = Duration::from_secs(3);

impl Control {
    /// Shutdown, second half: leaves the group. Events are answered inline from here on.
    pub(super) async fn leave(mut self) -> (ConsumerReport, mpsc::Receiver<Command>) {
        if let Some(transactions) = self.transactions.take() {
            transactions.close(Instant::now() + LEAVE_WAIT).await;
        }
        let deadline = Instant::now() + LEAVE_WAIT;
        // librdkafka says nothing when it ends in the middle of a join, and the broker counts on a member that will never
        // come: the group's next rebalance would wait for the end of its session.
        let join = Instant::now() + JOIN_WAIT;
        while !self.has_joined && self.options.assigned.is_none() && self.client.fatal_error().is_none() {
            let Ok(event) = timeout_at(join, self.events.next()).await else { break };
            self.has_joined = event.kind() == EventKind::Rebalance;
            self.answer(event).await;
        }
        let queue = self.events.clone();
        let closing = queue.clone();
        let started = self.native(move |client| client.close_into(&closing)).await;
        if started.is_ok() {
            while !self.client.closed() && Instant::now() < deadline {
                if let Ok(event) = timeout_at(Instant::now() + Duration::from_millis(20), queue.next()).await {
                    self.answer(event).await;
                }
            }
        }
        self.report.left_group = self.client.closed();
        if !self.report.left_group {
            tracing::warn!("the group was not left in time; the broker notices after session.timeout.ms");
        }
        let (_, nobody) = mpsc::channel(1);
        (std::mem::take(&mut self.report), std::mem::replace(&mut self.commands, nobody))
    }

    /// Deals with an event while leaving.
    async fn answer(&mut self, event: Event) {
        match event.kind() {
            EventKind::Rebalance => {
                let (assigns, list) = (event.assigns(), super::rebalance::list(&event.partitions()));
                drop(event);
                let answer = self.native(move |client| match (client.is_cooperative(), assigns, list) {
                    // Nobody reads what is fetched now. It is taken away in a moment; to refuse it would be an error,
                    // and librdkafka would wait for a better answer.
                    (true, Some(true), Ok(list)) => client.incremental_assign(&list),
                    (true, Some(false), Ok(list)) => client.incremental_unassign(&list),
                    _ => client.assign(None),
                });
                if let Err(error) = answer.await {
                    tracing::debug!(%error, "while leaving");
                }
            }
            EventKind::Log => logging::client_log(&event),
            EventKind::Error => logging::client_error(&event, "consumer"),
            _ => (),
        }
    }
}

//! Routes: a topic joined to a handler.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_serde::{Deserializer, Miss};
use regex_lite::Regex;
use tracing::Instrument;

use super::concurrency::Concurrency;
use super::crew::{Crew, Outcome};
use super::handler::{Completion, Handler, HandlerError};
use super::lane::{FailedRecordRoute, Lane, LaneSettings};
use super::received::{Decoded, FailedRecord, Origin, RawReceived, Received, decode, failed};
use super::state::LaneState;
use crate::error::Error;
use crate::native::Message;
use crate::outage::Outage;
use crate::producer::panic_text;
use crate::topic::Topic;

/// What a consumer does with one topic. A whole lane is one call, so that nothing is boxed for each record.
pub(super) trait Route: Send + Sync {
    /// The topic's name, or a pattern that begins with `^`.
    fn topic(&self) -> &str;

    /// How many handlers of a partition may run at the same time.
    fn width(&self) -> usize {
        1
    }

    /// Whether records are told apart: those that an earlier life has finished are not handed out again then.
    fn tells_records_apart(&self) -> bool {
        true
    }

    /// Whether what is made of its records, and their offsets, are in transactions.
    fn is_transactional(&self) -> bool {
        false
    }

    /// Whether it holds records back, which at most once has no sense.
    fn holds_records(&self) -> bool {
        false
    }

    fn run(self: Arc<Self>, lane: Lane) -> BoxFuture<'static, ()>;
}

/// All routes of a consumer.
#[derive(Clone, Default)]
pub(super) struct Routes {
    exact: HashMap<Arc<str>, Arc<dyn Route>>,
    /// Those whose topic is a pattern; the first that matches counts.
    patterns: Vec<(Regex, Arc<dyn Route>)>,
}

impl Routes {
    /// # Errors
    /// For two routes of one topic, for a pattern that is none, and for no route at all.
    pub(super) fn new(all: Vec<Arc<dyn Route>>) -> Result<Self, Error> {
        if all.is_empty() {
            return Err(Error::config("a consumer needs at least one route"));
        }
        let mut routes = Self::default();
        for route in all {
            let topic: Arc<str> = Arc::from(route.topic());
            let twice = routes.topics().any(|other| other == &*topic);
            if twice {
                return Err(Error::config(format!("topic {topic} has two routes")));
            }
            if topic.starts_with('^') {
                let pattern = Regex::new(&topic).map_err(|error| {
                    Error::config(format!("`{topic}` begins with `^`, and is no regular expression")).with_source(error)
                })?;
                routes.patterns.push((pattern, route));
            } else {
                routes.exact.insert(topic, route);
            }
        }
        Ok(routes)
    }

    /// The route for a topic.
    pub(super) fn find(&self, topic: &str) -> Option<&Arc<dyn Route>> {
        let by_pattern = || self.patterns.iter().find(|(pattern, _)| pattern.is_match(topic)).map(|(_, route)| route);
        self.exact.get(topic).or_else(by_pattern)
    }

    /// Whether sessions of transactions read them.
    ///
    /// # Errors
    /// Where they read some of them: those have their offsets in transactions of their own.
    pub(super) fn are_for_sessions(&self) -> Result<bool, Error> {
        let mut routes = self.exact.values().chain(self.patterns.iter().map(|(_, route)| route));
        let sessions = routes.clone().filter(|route| route.is_transactional()).count();
        match routes.find(|route| !route.is_transactional()) {
            Some(route) if sessions > 0 => Err(Error::config(format!(
                "`route({})` contradicts `exactly_once(..)`: its pipeline reads with `from`; handlers of single records are \
                 for a consumer with `guarantee=exactly-once`",
                route.topic()
            ))),
            _ => Ok(sessions > 0),
        }
    }

    /// What to subscribe to: names, and patterns that begin with `^`.
    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        self.exact.values().chain(self.patterns.iter().map(|(_, route)| route)).map(|route| route.topic())
    }
}

/// A handler that panicked.
#[derive(Debug)]
pub(super) struct HandlerPanic(pub(super) String);

impl fmt::Display for HandlerPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HandlerPanic {}

impl From<Box<dyn Any + Send>> for HandlerPanic {
    fn from(panic: Box<dyn Any + Send>) -> Self {
        Self(panic_text(&*panic).to_owned())
    }
}

/// Runs user code; a panic becomes an error.
pub(super) async fn guarded<I, H: Handler<I>>(handler: &H, input: I) -> Result<Completion, HandlerError> {
    // In a block, so that a handler that panics before it returns its future is caught as well.
    match AssertUnwindSafe(async { handler.handle(input).await }).catch_unwind().await {
        Ok(result) => result.map_err(Into::into),
        Err(panic) => Err(Box::new(HandlerPanic::from(panic))),
    }
}

/// One handler call a record.
pub(super) struct RecordRoute<K, V, H> {
    pub(super) topic: Topic<K, V>,
    pub(super) concurrency: Concurrency,
    pub(super) handler: H,
}

impl<K, V, H> Route for RecordRoute<K, V, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Received<K::Output, V::Output>>,
{
    fn topic(&self) -> &str {
        self.topic.name()
    }

    fn width(&self) -> usize {
        self.concurrency.width()
    }

    fn run(self: Arc<Self>, mut lane: Lane) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let (state, settings) = (lane.state.clone(), lane.settings.clone());
            let crew = Crew::new(self.concurrency, |message| self.record(&state, &settings, message));
            crew.run(&mut lane).await;
        })
    }
}

impl<K, V, H> RecordRoute<K, V, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Received<K::Output, V::Output>>,
{
    /// Decodes a record and handles it.
    async fn record(&self, state: &Arc<LaneState>, settings: &LaneSettings, message: Message) -> Outcome {
        let offset = message.view().offset();
        settings.interceptors.received(&state.topic, &message);
        match decoded(&self.topic, &state.topic, state, Origin::own(state, message)).await {
            Some(Ok(record)) => {
                state.start(offset);
                let handling = guarded(&self.handler, record);
                let span = match tracing::enabled!(tracing::Level::DEBUG) {
                    false => tracing::Span::none(),
                    true => tracing::debug_span!("receive", topic = %state.topic, partition = state.partition, offset),
                };
                Outcome::Handled(handling.instrument(span).await)
            }
            Some(Err(failed)) => {
                state.start(offset);
                match &settings.failed_records {
                    Some(route) => Outcome::Failed(route.handle(failed).await),
                    None => Outcome::Undecodable(failed.into_error()),
                }
            }
            None => Outcome::GivenBack,
        }
    }
}

/// One handler call a record, undecoded.
pub(super) struct UndecodedRoute<H> {
    pub(super) topic: Arc<str>,
    pub(super) concurrency: Concurrency,
    pub(super) handler: H,
}

impl<H: Handler<RawReceived>> Route for UndecodedRoute<H> {
    fn topic(&self) -> &str {
        &self.topic
    }

    fn width(&self) -> usize {
        self.concurrency.width()
    }

    fn run(self: Arc<Self>, mut lane: Lane) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let (state, interceptors) = (lane.state.clone(), lane.settings.interceptors.clone());
            let crew = Crew::new(self.concurrency, |message| async {
                interceptors.received(&state.topic, &message);
                state.start(message.view().offset());
                Outcome::Handled(guarded(&self.handler, RawReceived::new(&state, message)).await)
            });
            crew.run(&mut lane).await;
        })
    }
}

/// Decodes a record, fetching what is missing. `None` when the lane is to end first. The serdes know its topic as `name`:
/// that of the route may be a pattern.
///
/// An outage (of a registry, say) is not the record's fault: it is waited out.
pub(super) async fn decoded<K: Deserializer, V: Deserializer>(
    topic: &Topic<K, V>,
    name: &str,
    lane: &LaneState,
    origin: Origin,
) -> Option<Result<Received<K::Output, V::Output>, FailedRecord>> {
    match decode(topic, name, origin) {
        Decoded::Received(record) => Some(Ok(record)),
        Decoded::Failed(record) => Some(Err(record)),
        // In a box: the future that each record has stays small.
        Decoded::Miss(miss, origin) => Box::pin(decoded_later(topic, name, lane, origin, miss)).await,
    }
}

async fn decoded_later<K: Deserializer, V: Deserializer>(
    topic: &Topic<K, V>,
    name: &str,
    lane: &LaneState,
    mut origin: Origin,
    mut miss: Miss,
) -> Option<Result<Received<K::Output, V::Output>, FailedRecord>> {
    let mut outage = Outage::none();
    loop {
        match resolved(miss, &mut outage, lane).await {
            Resolved::Again => (),
            Resolved::Never(error) => return Some(Err(failed(origin, error))),
            Resolved::Stopping => return None,
        }
        match decode(topic, name, origin) {
            Decoded::Received(record) => return Some(Ok(record)),
            Decoded::Failed(record) => return Some(Err(record)),
            Decoded::Miss(again, same) => (miss, origin) = (again, same),
        }
    }
}

enum Resolved {
    Again,
    Never(kafka_serde::Error),
    Stopping,
}

async fn resolved(miss: Miss, outage: &mut Outage, lane: &LaneState) -> Resolved {
    let waiting = |error: &kafka_serde::Error| {
        tracing::warn!(topic = %lane.topic, partition = lane.partition, %error, "waiting to decode");
    };
    tokio::select! {
        fetched = outage.fetch(miss, waiting) => match fetched {
            Ok(_) => Resolved::Again,
            Err(error) => Resolved::Never(error),
        },
        () = lane.until_stopping() => Resolved::Stopping,
    }
}

/// The handler for undecodable records.
pub(super) struct FailedHandler<H>(pub(super) H);

impl<H: Handler<FailedRecord>> FailedRecordRoute for FailedHandler<H> {
    fn handle(&self, record: FailedRecord) -> BoxFuture<'_, Result<Completion, HandlerError>> {
        Box::pin(guarded(&self.0, record))
    }
}

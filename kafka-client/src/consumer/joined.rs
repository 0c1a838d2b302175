//! What can be joined to a topic as a route: handlers, and wrappers that set up more than one.

use kafka_serde::Deserializer;

use super::batch::BatchRoute;
use super::builder::ConsumerBuilder;
use super::concurrency::{Batching, Concurrency};
use super::handler::Handler;
use super::received::Received;
use super::router::RecordRoute;
use crate::topic::Topic;

/// What [`route`](ConsumerBuilder::route) joins to a topic. Every [`Handler`] of the topic's records is one.
///
/// A wrapper that needs more than the decoded record implements this instead of [`Handler`]: it adds what it needs to
/// the builder, such as a route for [undecoded](ConsumerBuilder::route_undecoded) records, another topic, or something to
/// do [before the start](ConsumerBuilder::before_start).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler for records of this topic",
    note = "a handler is an async function of `Received<K, V>`, with the types that the topic's serdes decode to, and returns \
            a `Result`"
)]
pub trait RouteHandler<K, V> {
    /// Adds itself as the route of `topic`.
    fn join(self, builder: ConsumerBuilder, topic: &Topic<K, V>, concurrency: Concurrency) -> ConsumerBuilder;
}

impl<K, V, H> RouteHandler<K, V> for H
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Received<K::Output, V::Output>>,
{
    fn join(self, builder: ConsumerBuilder, topic: &Topic<K, V>, concurrency: Concurrency) -> ConsumerBuilder {
        builder.add(RecordRoute { topic: topic.clone(), concurrency, handler: self })
    }
}

/// What [`route_batch`](ConsumerBuilder::route_batch) joins to a topic. Every [`Handler`] of a `Vec` of the topic's
/// records is one. See [`RouteHandler`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler for batches of this topic",
    note = "a handler is an async function of `Vec<Received<K, V>>`, with the types that the topic's serdes decode to, and \
            returns a `Result`"
)]
pub trait BatchRouteHandler<K, V> {
    /// Adds itself as the route of `topic`. Without `batching`, a batch is what was fetched together.
    fn join(self, builder: ConsumerBuilder, topic: &Topic<K, V>, batching: Option<Batching>) -> ConsumerBuilder;
}

impl<K, V, H> BatchRouteHandler<K, V> for H
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Vec<Received<K::Output, V::Output>>>,
{
    fn join(self, builder: ConsumerBuilder, topic: &Topic<K, V>, batching: Option<Batching>) -> ConsumerBuilder {
        builder.add(BatchRoute { opener: topic.clone(), batching, handler: self })
    }
}

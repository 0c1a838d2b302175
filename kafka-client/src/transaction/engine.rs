//! A transactional producer as it is built, and built again.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::conductor::Conductor;
use super::failure::{Cause, Ended, Failure};
use crate::error::Error;
use crate::kafka::Kafka;
use crate::producer::{Producer, ProducerBuilder};

/// What the user's function does to the builder of each producer.
pub(crate) type Customize = Arc<dyn Fn(ProducerBuilder) -> ProducerBuilder + Send + Sync>;

/// How producers of one id are made.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) kafka: Kafka,
    pub(crate) id: Arc<str>,
    pub(crate) timeout: Duration,
    pub(crate) customize: Option<Customize>,
}

/// A producer, and the thread of its transactions.
pub(crate) struct Engine {
    pub(crate) producer: Producer,
    pub(crate) conductor: Conductor,
}

/// How soon a request that a coordinator was not ready for is made again: each transaction makes some.
const RETRY_BACKOFF_MS: u32 = 15;

impl Engine {
    /// Ends it in good order; nothing is open.
    pub(crate) fn close(self) -> BoxFuture<'static, ()> {
        let Self { producer, conductor } = self;
        drop(conductor);
        Box::pin(async move {
            // Nothing is in flight any more.
            let _ = producer.close(Duration::from_secs(1)).await;
        })
    }
}

impl Recipe {
    /// Whether such a producer can be made; its `message.max.bytes`, where that is set.
    ///
    /// # Errors
    /// For settings that contradict each other.
    pub(crate) fn check(&self) -> Result<Option<usize>, Error> {
        let mut builder = self.builder()?;
        let most = builder.settings().number("message.max.bytes")?;
        builder.check().map(|()| most)
    }

    fn builder(&self) -> Result<ProducerBuilder, Error> {
        let mut builder = self.kafka.producer();
        if let Some(customize) = &self.customize {
            builder = customize(builder);
        }
        let settings = builder.settings();
        settings.force("transactional.id", &self.id, "the id of the transactional producer")?;
        settings.force("transaction.timeout.ms", self.timeout.as_millis(), "the timeout of its transactions")?;
        settings.default("retry.backoff.ms", RETRY_BACKOFF_MS);
        Ok(builder)
    }

    fn make(&self) -> Result<Engine, Error> {
        let producer = self.builder()?.build_transactional()?;
        let conductor = Conductor::start(producer.clone(), self.id.clone(), self.timeout)?;
        Ok(Engine { producer, conductor })
    }

    /// Makes a producer, and makes it the only one of its id.
    pub(crate) fn start(&self) -> BoxFuture<'static, Result<Engine, Ended>> {
        let made = self.make().map_err(|error| Ended { error, cause: Cause::Hopeless });
        Box::pin(async move {
            let engine = made?;
            match engine.conductor.init().await {
                Ok(()) => Ok(engine),
                Err(Failure::Ended(ended)) => Err(ended),
                Err(Failure::Aborted(error)) => Err(Ended { error, cause: Cause::Broken }),
            }
        })
    }
}

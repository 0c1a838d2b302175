//! The schema registry: where the schemas behind the ids are.
//!
//! ```text
//!                      known ids, versions, choices (bounded, never forgotten while the registry is down)
//!                        ▲
//!   known(id) ───────────┤  warm: no lock, no allocation, no string
//!                        │
//!   schema(id) ──────────┤  cold: one request however many ask ──▶ retry ──▶ failover ──▶ HTTP ──▶ registry
//!   to_write(..)         │                                     └──▶ the registry in this process
//!                        │
//!   refresh ─────────────┘  a task renews every "latest" before anybody waits for it
//! ```

mod cache;
mod choose;
mod client;
mod code;
mod compatibility;
#[cfg(feature = "schema-registry-converter")]
mod converter;
mod failure;
mod flight;
mod http;
mod known;
mod memory;
mod refresh;
mod refused;
mod request;
mod resolve;
#[cfg(feature = "registry-server")]
mod server;
mod settings;
mod stats;
mod transport;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

pub use client::{Compatibility, Delete, Deleted, Mode, SubjectVersion, Version};
pub use code::RegistryCode;
pub use compatibility::CompatibilityLevel;
pub use http::{OAuth, RegistryBuilder};
#[cfg(feature = "registry-server")]
pub use server::RegistryServer;
pub use stats::RegistryStats;

use failure::Failure;
use known::Known;
use memory::Memory;
use request::{Answer, Request};
use settings::Settings;
use transport::Transport;

use crate::{Error, ErrorKind};

/// A schema registry: registers schemas, finds them again, and remembers what it found.
///
/// It is cheap to clone, and its clones share what they know. A schema that was found is known for ever (the newest
/// 4,096 that are used; see [`RegistryBuilder::capacity`](crate::RegistryBuilder::capacity)), so that a warm record
/// asks nobody and goes on while the registry is down.
///
/// ```
/// use kafka_serde::{Registry, Schema, SchemaChoice, SchemaId};
///
/// # async fn example() -> Result<(), kafka_serde::Error> {
/// let registry = Registry::in_memory();
/// let written = registry.to_write("orders-value", &Schema::avro(r#""string""#), &SchemaChoice::default()).await?;
/// let id = written.id.unwrap_or_default();
///
/// let read = registry.schema(SchemaId::Id(id)).await?;
/// assert_eq!(&*read.schema.text, r#""string""#);
/// assert!(registry.known(SchemaId::Id(id)).is_some());
/// # Ok(())
/// # }
/// # futures::executor::block_on(example()).unwrap();
/// ```
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    transport: Arc<dyn Transport>,
    /// The registry behind the transport, where it is one in this process.
    memory: Option<Memory>,
    settings: Settings,
    known: Known,
}

impl Registry {
    /// A registry of its own in this process, empty: the real rules without a server.
    ///
    /// It checks compatibility and answers as Confluent documents it. It is gone with its last clone. For one that
    /// several parts of a program find by a name, see [`in_memory_named`](Self::in_memory_named).
    pub fn in_memory() -> Self {
        Self::of_memory(Memory::new("in-memory"), Settings::default())
    }

    /// The registry in this process called `name`, made when it is asked for first, as `mock://name` is in Java.
    ///
    /// It lives as long as somebody has a handle to it.
    pub fn in_memory_named(name: &str) -> Self {
        Self::of_memory(Memory::named(name), Settings::default())
    }

    /// This registry seen from `context`: every subject without a context of its own is in that one, and ids are that
    /// one's. What is known is not shared with this handle, as ids differ between contexts.
    ///
    /// ```
    /// # use kafka_serde::{Registry, Schema, SchemaChoice};
    /// # async fn example() -> Result<(), kafka_serde::Error> {
    /// let registry = Registry::in_memory();
    /// let staging = registry.with_context("staging");
    /// staging.register("orders-value", &Schema::avro(r#""string""#)).await?;
    /// assert_eq!(registry.contexts().await?, [".", ".staging"]);
    /// # Ok(())
    /// # }
    /// # futures::executor::block_on(example()).unwrap();
    /// ```
    pub fn with_context(&self, context: &str) -> Self {
        let mut settings = self.shared.settings.clone();
        settings.context = Settings::context_named(context);
        Self::new(Arc::clone(&self.shared.transport), self.shared.memory.clone(), settings)
    }

    fn of_memory(memory: Memory, settings: Settings) -> Self {
        Self::new(Arc::new(memory.clone()), Some(memory), settings)
    }

    fn new(transport: Arc<dyn Transport>, memory: Option<Memory>, settings: Settings) -> Self {
        let known = Known::new(&settings);
        Self { shared: Arc::new(Shared { transport, memory, settings, known }) }
    }

    /// What was counted since this handle was made; its clones count together.
    pub fn stats(&self) -> RegistryStats {
        self.shared.known.counters.read(self.shared.transport.retries())
    }

    /// Moves when something that [`to_write`](Self::to_write) answered would be answered otherwise now: a newer
    /// version became the latest. An encoder compares it on every record, which costs one load, and asks again when it
    /// moved.
    pub fn generation(&self) -> u64 {
        self.shared.known.generation()
    }

    /// Forgets everything that is known, so that the next use asks again.
    pub fn forget(&self) {
        self.shared.known.clear();
    }
}

impl Shared {
    /// Asks, counts, and turns a refusal into a failure.
    async fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        if let Some(segment) = request.path.iter().find(|segment| matches!(segment.as_str(), "" | "." | "..")) {
            // Every URL library folds these away, escaped or not, and the request would reach another resource.
            let message = format!("no subject or version can be called {segment:?}");
            return Err(Failure::new(ErrorKind::Refused, message));
        }
        let start = Instant::now();
        let answered = self.transport.send(request).await;
        let answered = answered.and_then(|answer| match answer.is_success() {
            true => Ok(answer),
            false => Err(Failure::refused(request, &answer)),
        });
        self.known.counters.request(start.elapsed(), answered.is_ok());
        answered
    }

    /// Asks for JSON.
    async fn ask_json(&self, request: &Request) -> Result<Value, Failure> {
        let answer = self.ask(request).await?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| Failure::not_understood(request, &answer, "a body that is not JSON").with_source(error))
    }

    /// Asks for JSON, and reads it.
    async fn ask_for<T>(
        &self,
        request: &Request,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let body = self.ask_json(request).await?;
        read(&body).map_err(|why| {
            let answer = Answer { status: 200, retry_after: None, body: body.to_string().into_bytes() };
            Failure::not_understood(request, &answer, why)
        })
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Registry");
        debug.field("name", &self.shared.transport.name());
        if let Some(context) = &self.shared.settings.context {
            debug.field("context", context);
        }
        debug.finish_non_exhaustive()
    }
}

fn setting(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidSetting, message)
}

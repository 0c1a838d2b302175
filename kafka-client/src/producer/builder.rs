//! Building a producer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::callbacks::Runners;
use super::core::{Core, Limits};
use super::events::{Control, Events, Local};
use super::handles::Handles;
use super::missing::Told;
use super::{OwnedProducer, Producer, Shared};
use crate::config::{self, Settings};
use crate::error::{Error, ErrorKind};
use crate::interceptor::{Acknowledgement, AcknowledgementHook, DeliveryHook, ProducerInterceptor};
use crate::kafka::Kafka;
use crate::native::{Client, Queue, Role, client};
use crate::partitioner::Partitioner;

/// How many records may be in flight, unless set.
const DEFAULT_MAX_RECORDS: usize = 100_000;
/// How many bytes of keys, values and headers may be in flight, unless set.
const DEFAULT_MAX_BYTES: usize = 256 * 1024 * 1024;
/// How long a record is retried, unless set: librdkafka's own default.
const DEFAULT_DELIVERY_TIMEOUT: Duration = Duration::from_secs(300);

/// Which replicas must have a record before it counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// All that are in sync; the default, and the only choice with idempotence.
    All,
    /// The leader; what it loses before others have copied it is lost.
    Leader,
    /// None: sent is all that is known. Offsets are unknown too.
    None,
}

/// How record batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all; the default.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard; needs the feature `zstd`.
    Zstd,
}

/// Builds a [`Producer`]; made by [`Kafka::producer`].
///
/// ```
/// # use std::time::Duration;
/// # use kafka_client::{Compression, Kafka};
/// # fn main() -> Result<(), kafka_client::Error> {
/// # let kafka = Kafka::embedded()?;
/// let producer = kafka
///     .producer()
///     .linger(Duration::from_millis(20))
///     .compression(Compression::Lz4)
///     .max_in_flight_records(10_000)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct ProducerBuilder {
    kafka: Kafka,
    settings: Settings,
    max_records: Option<usize>,
    max_bytes: Option<usize>,
    partitioner: Option<Box<dyn Partitioner>>,
    interceptors: Vec<Arc<dyn ProducerInterceptor>>,
    hooks: Vec<Box<dyn AcknowledgementHook>>,
}

impl Kafka {
    /// Starts building a producer. One producer serves all topics; a service rarely needs a second one.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder {
            kafka: self.clone(),
            settings: self.settings().clone(),
            max_records: None,
            max_bytes: None,
            partitioner: None,
            interceptors: Vec::new(),
            hooks: Vec::new(),
        }
    }
}

impl ProducerBuilder {
    /// Sets how long a record waits for others to share a request with, overriding the default of 5 ms. Corresponds
    /// to `linger.ms`. Zero gives the least latency, 20 to 100 ms the best throughput for many small records.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.typed("linger.ms", linger.as_secs_f64() * 1000.0);
        self
    }

    /// Sets the compression of batches, overriding the default of none. Corresponds to `compression.type`.
    pub fn compression(mut self, compression: Compression) -> Self {
        let codec = match compression {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        };
        self.settings.typed("compression.type", codec);
        self
    }

    /// Sets which replicas must have a record, overriding the default of all in-sync ones. Corresponds to `acks`.
    /// Anything but [`Acks::All`] contradicts idempotence, which must then be switched off.
    pub fn acks(mut self, acks: Acks) -> Self {
        let acks = match acks {
            Acks::All => "all",
            Acks::Leader => "1",
            Acks::None => "0",
        };
        self.settings.typed("acks", acks);
        self
    }

    /// Sets whether retries are kept from duplicating and reordering records, overriding the default of true.
    /// Corresponds to `enable.idempotence`.
    pub fn idempotence(mut self, idempotence: bool) -> Self {
        self.settings.typed("enable.idempotence", idempotence);
        self
    }

    /// Sets how long a record is retried before it fails, overriding the default of 5 minutes; and how long one waits,
    /// before that, for a schema registry that is down. Corresponds to `message.timeout.ms` (`delivery.timeout.ms`). Less than 2 minutes is refused with idempotence: records that
    /// expire between others that do not are lost in the middle, and have been seen duplicated. To wait less long,
    /// use [`Producer::send_within`] or [`Delivery::within`](crate::Delivery::within), which end the waiting only.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.settings.typed("message.timeout.ms", timeout.as_millis());
        self
    }

    /// Sets how many records may be in flight before sends wait for room, overriding the default of 100,000.
    /// Corresponds to `queue.buffering.max.messages`.
    pub fn max_in_flight_records(mut self, records: usize) -> Self {
        self.max_records = Some(records);
        self
    }

    /// Sets how many bytes may be in flight before sends wait for room, overriding the default of 256 MiB.
    /// Corresponds to `queue.buffering.max.kbytes`. A record larger than this is sent alone.
    pub fn max_in_flight_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets the partitioner, overriding the default, which is Java's (murmur2 of the key; sticky without one).
    pub fn partitioner(mut self, partitioner: impl Partitioner) -> Self {
        self.partitioner = Some(Box::new(partitioner));
        self
    }

    /// Adds an interceptor; they run in the order in which they were added.
    pub fn interceptor(mut self, interceptor: impl ProducerInterceptor) -> Self {
        let interceptor: Arc<dyn ProducerInterceptor> = Arc::new(interceptor);
        self.hooks.push(Box::new(interceptor.clone()));
        self.interceptors.push(interceptor);
        self
    }

    /// Adds a function that hears how every record ended, whichever way it was sent. It runs on a thread of its own.
    pub fn on_delivery(mut self, hook: impl Fn(&Acknowledgement) + Send + Sync + 'static) -> Self {
        self.hooks.push(Box::new(DeliveryHook(hook)));
        self
    }

    /// Sets any property of librdkafka. A typed option for the same property wins, and says so in the log.
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.set(key, value);
        self
    }

    /// Builds the producer. Brokers are contacted in the background: that none can be reached shows at the first send.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a setting that is unknown, malformed or contradicts another; the message names it.
    pub fn build(self) -> Result<Producer, Error> {
        config::check_producer(&self.settings)
            .and_then(|()| config::check_plain(&self.settings))
            .map_err(|error| error.with_operation("build producer"))?;
        self.build_named(Control::default()).map_err(|error| error.with_operation("build producer"))
    }

    /// Builds the producer of transactions, of which only this crate's own code has hold.
    pub(crate) fn build_transactional(self) -> Result<Producer, Error> {
        let control = Control::transactional();
        self.build_named(control).map_err(|error| error.with_operation("build producer"))
    }

    /// Whether the settings fit, without building anything.
    pub(crate) fn check(mut self) -> Result<(), Error> {
        self.limits()?;
        self.settings.default("enable.idempotence", "true");
        config::check_producer(&self.settings)
    }

    pub(crate) fn settings(&mut self) -> &mut Settings {
        &mut self.settings
    }

    fn build_named(mut self, control: Control) -> Result<Producer, Error> {
        let limits = self.limits()?;
        let settings = &mut self.settings;
        settings.default("enable.idempotence", "true");
        // Java's partitioner, so that a key stays on its partition whoever writes it.
        settings.default("partitioner", "murmur2_random");
        config::check_producer(settings)?;
        let delivery_timeout = match settings.number::<u64>("message.timeout.ms")? {
            Some(0) => None,
            wait_ms => Some(wait_ms.map_or(DEFAULT_DELIVERY_TIMEOUT, Duration::from_millis)),
        };
        let first_offset = if settings.get("acks") == Some("0") { i64::MIN } else { 0 };
        let client = Client::new(Role::Producer, settings.iter()).map_err(Error::native)?;
        let core = Arc::new(Core::new(limits));
        let control = Arc::new(control);
        let runners = Runners::new(self.hooks);
        let events = Events {
            queue: Queue::main(&client),
            client: client.clone(),
            core: core.clone(),
            runners: runners.clone(),
            control: control.clone(),
            intercepted: !self.interceptors.is_empty(),
            first_offset,
            local: Local::default(),
        };
        let shared = Shared {
            core,
            handles: Handles::new(client.clone()),
            queue: Queue::main(&client),
            client: client.clone(),
            runners,
            control,
            delivery_timeout,
            told: Told::default(),
            fetching: Arc::default(),
            simple: self.partitioner.is_none() && self.interceptors.is_empty(),
            partitioner: self.partitioner,
            interceptors: self.interceptors,
            #[cfg(feature = "embedded")]
            _embedded: self.kafka.embedded_handle().cloned(),
        };
        #[cfg(not(feature = "embedded"))]
        let _ = &self.kafka;
        std::thread::Builder::new()
            .name("kafka-producer".into())
            .spawn(move || events.run())
            .map_err(|error| Error::new(ErrorKind::Closed, "no thread for the producer's events").with_source(error))?;
        meet_a_broker(client);
        Ok(Producer { handle: Arc::new(OwnedProducer { shared: Arc::new(shared) }) })
    }

    /// Takes the queue's limits over from librdkafka: our permits stand in front of its queue, and it refuses nothing.
    fn limits(&mut self) -> Result<Limits, Error> {
        let settings = &mut self.settings;
        let records = settings.number::<usize>("queue.buffering.max.messages")?;
        let kilobytes = settings.number::<usize>("queue.buffering.max.kbytes")?;
        settings.take("queue.buffering.max.messages");
        settings.take("queue.buffering.max.kbytes");
        settings.default("queue.buffering.max.messages", "0");
        settings.default("queue.buffering.max.kbytes", i32::MAX / 1024);
        let records = self.max_records.or(records).unwrap_or(DEFAULT_MAX_RECORDS);
        let bytes = self.max_bytes.or(kilobytes.map(|kilobytes| kilobytes * 1024)).unwrap_or(DEFAULT_MAX_BYTES);
        // librdkafka's own limit for bytes must stay above ours, or it would refuse what has a permit.
        const MOST_BYTES: usize = 1 << 30;
        match (records, bytes) {
            (0, _) => Err(Error::config("queue.buffering.max.messages: at least one record must fit")),
            (_, 0) => Err(Error::config("queue.buffering.max.kbytes: at least one byte must fit")),
            (_, bytes) if bytes > MOST_BYTES => Err(Error::config("queue.buffering.max.kbytes: must be at most 1 GiB")),
            _ => Ok(Limits { records, bytes }),
        }
    }
}

/// Lets the client connect to a broker of the cluster now, in the background.
///
/// Idempotence needs an id from a broker. librdkafka asks for it when the first answer arrives, from an address that
/// is no broker of its list yet, and then sleeps for half a second, twice if need be. A client that has met a broker
/// by then does not.
fn meet_a_broker(client: Arc<Client>) {
    const WAIT: Duration = Duration::from_millis(500);
    let meet = move || {
        client::this_thread_may_block();
        // The first answers come from the bootstrap address. Without any there is nothing to be fast for.
        for _ in 0..3 {
            match client.answering_broker(WAIT) {
                Ok(None) => (),
                Ok(Some(_)) | Err(_) => return,
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("kafka-meet".into()).spawn(meet) {
        tracing::debug!(%error, "no thread to meet a broker on; the first record may take half a second longer");
    }
}

impl fmt::Debug for ProducerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

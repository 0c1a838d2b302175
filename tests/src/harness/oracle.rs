//! An independent view of the log, through the plain `rdkafka` crate: what the toolkit wrote is not read back by
//! the toolkit.
//!
//! All functions block, and panic with the reason when Kafka does not do what is asked: a test has no use for a
//! result that says that its measuring stick is broken.

mod groups;
mod produce;
mod read;
mod topics;

use std::time::Duration;

use rdkafka::ClientConfig;

pub use groups::{configure_group, configure_topic};
pub use produce::{ToProduce, produce};
pub use read::{Isolation, Stored, committed, end_offsets, end_offsets_as, read_all};
pub(crate) use topics::brokers;
pub use topics::{create_topic, delete_topic, leader};

/// How long Kafka may take for one answer, an election included.
const PATIENCE: Duration = Duration::from_secs(30);

fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    // A broker that is being started again is found within half a second, not ten.
    config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "500");
    config
}

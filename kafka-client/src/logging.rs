//! What librdkafka says, as `tracing` events.

use crate::native::Event;

/// A log line of the native client.
pub(crate) fn client_log(event: &Event) {
    let Some((level, facility, text)) = event.log_line() else { return };
    match level {
        ..=3 => tracing::error!(target: "kafka_client::native", facility, "{text}"),
        4 => tracing::warn!(target: "kafka_client::native", facility, "{text}"),
        5 | 6 => tracing::info!(target: "kafka_client::native", facility, "{text}"),
        _ => tracing::debug!(target: "kafka_client::native", facility, "{text}"),
    }
}

/// An error that concerns the client as a whole. Most pass by themselves: a broker restarts, a connection breaks.
pub(crate) fn client_error(event: &Event, client: &'static str) {
    if let Err(error) = event.error() {
        match error.fatal {
            true => tracing::error!(target: "kafka_client::native", client, code = error.name, "{}", error.text),
            false => tracing::warn!(target: "kafka_client::native", client, code = error.name, "{}", error.text),
        }
    }
}

//! Settings of groups and topics, which the broker keeps.

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use super::PATIENCE;

/// Sets configs of a group of the consumer protocol, such as `consumer.session.timeout.ms`.
///
/// # Panics
///
/// If the broker refuses one, or does not answer within 30 s.
#[track_caller]
pub fn configure_group(bootstrap: &str, group: &str, settings: &[(&'static str, &str)]) {
    configure(bootstrap, ResourceSpecifier::Group(group), settings);
}

/// Sets configs of a topic, such as `max.message.bytes`; what was set before is gone.
///
/// # Panics
///
/// If the broker refuses one, or does not answer within 30 s.
#[track_caller]
pub fn configure_topic(bootstrap: &str, topic: &str, settings: &[(&'static str, &str)]) {
    configure(bootstrap, ResourceSpecifier::Topic(topic), settings);
}

#[track_caller]
fn configure(bootstrap: &str, of: ResourceSpecifier<'_>, settings: &[(&'static str, &str)]) {
    let admin: AdminClient<DefaultClientContext> =
        super::client(bootstrap).create().unwrap_or_else(|e| panic!("no admin client: {e}"));
    let config = AlterConfig::new(of);
    let config = settings.iter().fold(config, |config, (key, value)| config.set(key, value));
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let answer = futures::executor::block_on(admin.alter_configs([&config], &options));
    for result in answer.unwrap_or_else(|e| panic!("{of:?} could not be configured: {e}")) {
        result.unwrap_or_else(|(_, e)| panic!("{of:?} could not be configured: {e}"));
    }
}

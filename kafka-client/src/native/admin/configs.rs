//! Configurations of topics, brokers and groups.

use std::ffi::c_int;
use std::ptr;

use rdkafka_sys::bindings as sys;

use super::{Options, Owned, Requests, list, pointers, text, with_c_text};
use crate::native::client::c_string;
use crate::native::{Event, NativeError};

/// What has a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Topic,
    Broker,
    Group,
}

/// What a request says about one of its resources.
pub(crate) type PerResource<T> = Vec<((Kind, String), Result<T, NativeError>)>;

/// A line of a configuration.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// `None` where the broker keeps it to itself.
    pub(crate) value: Option<String>,
    /// Kafka's number for where the value comes from.
    pub(crate) source: i32,
    pub(crate) read_only: bool,
    pub(crate) sensitive: bool,
}

/// A change of one line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    Set(&'a str),
    Delete,
    Append(&'a str),
    Subtract(&'a str),
}

/// The changes of one resource: its name, and by key what to do.
pub(crate) type Changes<'a> = (Kind, &'a str, Vec<(&'a str, Change<'a>)>);

unsafe extern "C" {
    /// As the bindings have it, but returning the number that it is: a broker may name a source that librdkafka's
    /// enumeration does not have.
    fn rd_kafka_ConfigEntry_source(entry: *const sys::rd_kafka_ConfigEntry_t) -> c_int;
}

impl Requests<'_> {
    /// Asks for configurations. One broker at most may be among the resources: it is the one that is asked.
    pub(crate) fn describe_configs(&self, of: &[(Kind, &str)]) -> Result<(), NativeError> {
        let resources = of.iter().map(|(kind, name)| resource(*kind, name)).collect::<Result<Vec<_>, _>>()?;
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS)?;
        let mut list = pointers(&resources);
        // SAFETY: client, queue and options are alive, and so is each of the `list.len()` resources; librdkafka copies.
        unsafe {
            sys::rd_kafka_DescribeConfigs(
                self.client.raw(),
                list.as_mut_ptr(),
                list.len(),
                options.raw(),
                self.answers.raw(),
            );
        }
        Ok(())
    }

    /// Asks for changes of configurations; what is not named stays. One broker at most may be among the resources.
    pub(crate) fn alter_configs(&self, changes: &[Changes<'_>]) -> Result<(), NativeError> {
        let resources = changes.iter().map(changed).collect::<Result<Vec<_>, _>>()?;
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS)?;
        let mut list = pointers(&resources);
        // SAFETY: as for `describe_configs`.
        unsafe {
            sys::rd_kafka_IncrementalAlterConfigs(
                self.client.raw(),
                list.as_mut_ptr(),
                list.len(),
                options.raw(),
                self.answers.raw(),
            );
        }
        Ok(())
    }
}

fn resource(kind: Kind, name: &str) -> Result<Owned<sys::rd_kafka_ConfigResource_t>, NativeError> {
    let name = c_string(name)?;
    let kind = match kind {
        Kind::Topic => sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
        Kind::Broker => sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_BROKER,
        Kind::Group => sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_GROUP,
    };
    // SAFETY: the name is alive and copied; the object is ours.
    Owned::new(unsafe { sys::rd_kafka_ConfigResource_new(kind, name.as_ptr()) }, sys::rd_kafka_ConfigResource_destroy)
}

fn changed((kind, name, changes): &Changes<'_>) -> Result<Owned<sys::rd_kafka_ConfigResource_t>, NativeError> {
    use sys::rd_kafka_AlterConfigOpType_t as Raw;
    let resource = resource(*kind, name)?;
    for (key, change) in changes {
        let key = c_string(key)?;
        let (operation, value) = match change {
            Change::Set(value) => (Raw::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET, Some(*value)),
            Change::Delete => (Raw::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE, None),
            Change::Append(value) => (Raw::RD_KAFKA_ALTER_CONFIG_OP_TYPE_APPEND, Some(*value)),
            Change::Subtract(value) => (Raw::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SUBTRACT, Some(*value)),
        };
        let value = value.map(c_string).transpose()?;
        let value = value.as_ref().map_or(ptr::null(), |value| value.as_ptr());
        // SAFETY: resource and C strings are alive, the value may be null where it is not needed; librdkafka copies.
        // The error object, if any, is ours.
        unsafe {
            NativeError::take(sys::rd_kafka_ConfigResource_add_incremental_config(
                resource.raw(),
                key.as_ptr(),
                operation,
                value,
            ))?;
        }
    }
    Ok(resource)
}

impl Event {
    /// The configuration of each resource that was asked about. `None` if the event answers something else.
    pub(crate) fn configs(&self) -> Option<PerResource<Vec<Entry>>> {
        let mut count = 0;
        // SAFETY: the event is alive; the result is null, or lives as long as the event, and its parts with it.
        unsafe {
            let result = sys::rd_kafka_event_DescribeConfigs_result(self.raw());
            if result.is_null() {
                return None;
            }
            let resources = list(sys::rd_kafka_DescribeConfigs_result_resources(result, &mut count), count);
            Some(resources.filter_map(|resource| outcome(resource, |resource| entries(resource))).collect())
        }
    }

    /// What became of each resource that was to be changed. `None` if the event answers something else.
    pub(crate) fn altered_configs(&self) -> Option<PerResource<()>> {
        let mut count = 0;
        // SAFETY: as above.
        unsafe {
            let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(self.raw());
            if result.is_null() {
                return None;
            }
            let resources = list(sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &mut count), count);
            Some(resources.filter_map(|resource| outcome(resource, |_| ())).collect())
        }
    }
}

type Outcome<T> = ((Kind, String), Result<T, NativeError>);

/// # Safety
/// `resource` is alive.
unsafe fn outcome<T>(
    resource: *const sys::rd_kafka_ConfigResource_t,
    read: impl FnOnce(*const sys::rd_kafka_ConfigResource_t) -> T,
) -> Option<Outcome<T>> {
    // SAFETY: alive by the contract; texts are copied.
    unsafe {
        let kind = match sys::rd_kafka_ConfigResource_type(resource) {
            sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC => Kind::Topic,
            sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_BROKER => Kind::Broker,
            sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_GROUP => Kind::Group,
            _ => return None,
        };
        let error = NativeError::check(sys::rd_kafka_ConfigResource_error(resource))
            .map_err(|error| with_c_text(error, sys::rd_kafka_ConfigResource_error_string(resource)));
        Some(((kind, text(sys::rd_kafka_ConfigResource_name(resource))), error.map(|()| read(resource))))
    }
}

/// # Safety
/// `resource` is alive.
unsafe fn entries(resource: *const sys::rd_kafka_ConfigResource_t) -> Vec<Entry> {
    let mut count = 0;
    // SAFETY: alive by the contract; the array holds `count` entries, which live as long as the resource.
    let entries = unsafe { list(sys::rd_kafka_ConfigResource_configs(resource, &mut count), count) };
    entries
        .map(|entry| {
            // SAFETY: the entry is alive; the value is null where the broker keeps it to itself. Both are copied.
            unsafe {
                let value = sys::rd_kafka_ConfigEntry_value(entry);
                Entry {
                    name: text(sys::rd_kafka_ConfigEntry_name(entry)),
                    value: (!value.is_null()).then(|| text(value)),
                    source: rd_kafka_ConfigEntry_source(entry),
                    read_only: sys::rd_kafka_ConfigEntry_is_read_only(entry) > 0,
                    sensitive: sys::rd_kafka_ConfigEntry_is_sensitive(entry) > 0,
                }
            }
        })
        .collect()
}

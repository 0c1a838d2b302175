//! Groups: which there are, who is in them, and how they go.

use std::ffi::{CString, c_char};

use rdkafka_sys::bindings as sys;

use super::{Options, Owned, Requests, error_of, list, pointers, text};
use crate::native::client::c_string;
use crate::native::{Event, NativeError};

/// Whether each group was done with, or why not.
pub(crate) type PerGroup<T> = Vec<(String, Result<T, NativeError>)>;

/// A state of a group, in librdkafka's words: `Stable`.
pub(crate) type StateName = String;

/// A group as a broker lists it.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) state: StateName,
    pub(crate) kind: Kind,
    pub(crate) simple: bool,
}

/// What the brokers list, and what those say that could not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    pub(crate) groups: Vec<Listed>,
    pub(crate) errors: Vec<NativeError>,
}

/// Which protocol a group speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unknown,
    Classic,
    Consumer,
}

/// A group as its coordinator describes it.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) state: StateName,
    pub(crate) kind: Kind,
    pub(crate) simple: bool,
    pub(crate) assignor: String,
    /// Number, host and port of the broker.
    pub(crate) coordinator: Option<(i32, String, u16)>,
    /// Names of operations; `None` where the broker does not tell.
    pub(crate) operations: Option<Vec<String>>,
    pub(crate) members: Vec<DescribedMember>,
}

/// A member as its coordinator describes it.
#[derive(Clone, Debug)]
pub(crate) struct DescribedMember {
    pub(crate) id: String,
    pub(crate) client_id: String,
    pub(crate) host: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) assignment: Vec<(String, i32)>,
    pub(crate) target: Option<Vec<(String, i32)>>,
}

impl Requests<'_> {
    /// Asks every broker for its groups, in one of these states or in any.
    pub(crate) fn list_groups(&self, states: &[&str]) -> Result<(), NativeError> {
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS)?;
        if !states.is_empty() {
            let names = states.iter().map(|name| c_string(name)).collect::<Result<Vec<CString>, _>>()?;
            // SAFETY: the names are C strings, which librdkafka looks up.
            let states: Vec<_> =
                names.iter().map(|name| unsafe { sys::rd_kafka_consumer_group_state_code(name.as_ptr()) }).collect();
            // SAFETY: the options are alive, the array has the length that is passed and is copied; the error object,
            // if any, is ours.
            unsafe {
                NativeError::take(sys::rd_kafka_AdminOptions_set_match_consumer_group_states(
                    options.raw(),
                    states.as_ptr(),
                    states.len(),
                ))?;
            }
        }
        // SAFETY: client, queue and options are alive.
        unsafe { sys::rd_kafka_ListConsumerGroups(self.client.raw(), options.raw(), self.answers.raw()) };
        Ok(())
    }

    /// Asks for members and state of groups. None may be named twice.
    pub(crate) fn describe_groups(&self, ids: &[&str]) -> Result<(), NativeError> {
        let ids = ids.iter().map(|id| c_string(id)).collect::<Result<Vec<CString>, _>>()?;
        let mut list: Vec<*const c_char> = ids.iter().map(|id| id.as_ptr()).collect();
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS)?;
        // SAFETY: the options are alive; the error object, if any, is ours. Client and queue are alive, `list` holds
        // that many C strings, and librdkafka copies them.
        unsafe {
            NativeError::take(sys::rd_kafka_AdminOptions_set_include_authorized_operations(options.raw(), 1))?;
            sys::rd_kafka_DescribeConsumerGroups(
                self.client.raw(),
                list.as_mut_ptr(),
                list.len(),
                options.raw(),
                self.answers.raw(),
            );
        }
        Ok(())
    }

    /// Asks for groups to go. None may be named twice.
    pub(crate) fn delete_groups(&self, ids: &[&str]) -> Result<(), NativeError> {
        let groups = ids.iter().map(|id| delete_group(id)).collect::<Result<Vec<_>, _>>()?;
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETEGROUPS)?;
        let mut list = pointers(&groups);
        // SAFETY: client, queue and options are alive, and so is each of the `list.len()` groups; librdkafka copies.
        unsafe {
            sys::rd_kafka_DeleteGroups(
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

fn delete_group(id: &str) -> Result<Owned<sys::rd_kafka_DeleteGroup_t>, NativeError> {
    let id = c_string(id)?;
    // SAFETY: the id is alive and copied; the object is ours.
    Owned::new(unsafe { sys::rd_kafka_DeleteGroup_new(id.as_ptr()) }, sys::rd_kafka_DeleteGroup_destroy)
}

impl NativeError {
    /// What a coordinator says of a group that does not exist.
    pub(crate) fn no_such_group() -> Self {
        Self::from_raw(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND)
    }

    /// What a coordinator says of a group that has members.
    pub(crate) fn group_has_members() -> Self {
        Self::from_raw(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP)
    }
}

impl Event {
    /// What every broker lists. `None` if the event answers something else, or its request has failed.
    pub(crate) fn groups(&self) -> Option<Listing> {
        // Of a failed request there is nothing to list, and librdkafka asserts that there is.
        self.error().ok()?;
        let (mut valid, mut failed) = (0, 0);
        // SAFETY: the event is alive; the result is null, or lives as long as the event, and both arrays with it.
        unsafe {
            let result = sys::rd_kafka_event_ListConsumerGroups_result(self.raw());
            if result.is_null() {
                return None;
            }
            let groups = list(sys::rd_kafka_ListConsumerGroups_result_valid(result, &mut valid), valid);
            let errors = list(sys::rd_kafka_ListConsumerGroups_result_errors(result, &mut failed), failed);
            Some(Listing {
                groups: groups.map(|group| listed(group)).collect(),
                errors: errors.filter_map(|error| error_of(error).err()).collect(),
            })
        }
    }

    /// What the coordinators say about each group. `None` if the event answers something else.
    pub(crate) fn group_descriptions(&self) -> Option<PerGroup<Described>> {
        let mut count = 0;
        // SAFETY: the event is alive; the result is null, or lives as long as the event, and its groups with it.
        unsafe {
            let result = sys::rd_kafka_event_DescribeConsumerGroups_result(self.raw());
            if result.is_null() {
                return None;
            }
            let groups = list(sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count), count);
            let one = |group| {
                let error = error_of(sys::rd_kafka_ConsumerGroupDescription_error(group));
                (text(sys::rd_kafka_ConsumerGroupDescription_group_id(group)), error.map(|()| described(group)))
            };
            Some(groups.map(one).collect())
        }
    }

    /// What became of each group that was to go. `None` if the event answers something else.
    pub(crate) fn deleted_groups(&self) -> Option<PerGroup<()>> {
        let mut count = 0;
        // SAFETY: as above.
        unsafe {
            let result = sys::rd_kafka_event_DeleteGroups_result(self.raw());
            if result.is_null() {
                return None;
            }
            let groups = list(sys::rd_kafka_DeleteGroups_result_groups(result, &mut count), count);
            let one = |group| {
                (text(sys::rd_kafka_group_result_name(group)), error_of(sys::rd_kafka_group_result_error(group)))
            };
            Some(groups.map(one).collect())
        }
    }
}

/// # Safety
/// `group` is alive.
unsafe fn listed(group: *const sys::rd_kafka_ConsumerGroupListing_t) -> Listed {
    // SAFETY: alive by the contract; texts are copied.
    unsafe {
        Listed {
            id: text(sys::rd_kafka_ConsumerGroupListing_group_id(group)),
            state: text(sys::rd_kafka_consumer_group_state_name(sys::rd_kafka_ConsumerGroupListing_state(group))),
            kind: kind(sys::rd_kafka_ConsumerGroupListing_type(group)),
            simple: sys::rd_kafka_ConsumerGroupListing_is_simple_consumer_group(group) != 0,
        }
    }
}

/// # Safety
/// `group` is alive.
unsafe fn described(group: *const sys::rd_kafka_ConsumerGroupDescription_t) -> Described {
    let mut count = 0;
    // SAFETY: alive by the contract, and all parts of it with it; texts are copied. The operations are an array of
    // `count`, or null.
    unsafe {
        let node = sys::rd_kafka_ConsumerGroupDescription_coordinator(group);
        let allowed = sys::rd_kafka_ConsumerGroupDescription_authorized_operations(group, &mut count);
        let members = sys::rd_kafka_ConsumerGroupDescription_member_count(group);
        Described {
            state: text(sys::rd_kafka_consumer_group_state_name(sys::rd_kafka_ConsumerGroupDescription_state(group))),
            kind: kind(sys::rd_kafka_ConsumerGroupDescription_type(group)),
            simple: sys::rd_kafka_ConsumerGroupDescription_is_simple_consumer_group(group) != 0,
            assignor: text(sys::rd_kafka_ConsumerGroupDescription_partition_assignor(group)),
            coordinator: (!node.is_null()).then(|| {
                let host = text(sys::rd_kafka_Node_host(node));
                (sys::rd_kafka_Node_id(node), host, sys::rd_kafka_Node_port(node))
            }),
            operations: super::operations(allowed, count),
            members: (0..members).map(|at| member(sys::rd_kafka_ConsumerGroupDescription_member(group, at))).collect(),
        }
    }
}

/// # Safety
/// `member` is alive.
unsafe fn member(member: *const sys::rd_kafka_MemberDescription_t) -> DescribedMember {
    // SAFETY: alive by the contract, and its assignments with it; the instance and the target may be null.
    unsafe {
        let instance = sys::rd_kafka_MemberDescription_group_instance_id(member);
        let target = sys::rd_kafka_MemberDescription_target_assignment(member);
        DescribedMember {
            id: text(sys::rd_kafka_MemberDescription_consumer_id(member)),
            client_id: text(sys::rd_kafka_MemberDescription_client_id(member)),
            host: text(sys::rd_kafka_MemberDescription_host(member)),
            instance_id: (!instance.is_null()).then(|| text(instance)),
            assignment: partitions(sys::rd_kafka_MemberDescription_assignment(member)),
            target: (!target.is_null()).then(|| partitions(target)),
        }
    }
}

/// # Safety
/// `assignment` is null or alive.
unsafe fn partitions(assignment: *const sys::rd_kafka_MemberAssignment_t) -> Vec<(String, i32)> {
    if assignment.is_null() {
        return Vec::new();
    }
    // SAFETY: alive, and the list with it; it is copied, and not changed.
    let entries =
        unsafe { crate::native::partitions::entries(sys::rd_kafka_MemberAssignment_partitions(assignment).cast_mut()) };
    entries.into_iter().map(|entry| (entry.topic, entry.partition)).collect()
}

fn kind(kind: sys::rd_kafka_consumer_group_type_t) -> Kind {
    use sys::rd_kafka_consumer_group_type_t as Raw;
    match kind {
        Raw::RD_KAFKA_CONSUMER_GROUP_TYPE_CLASSIC => Kind::Classic,
        Raw::RD_KAFKA_CONSUMER_GROUP_TYPE_CONSUMER => Kind::Consumer,
        _ => Kind::Unknown,
    }
}

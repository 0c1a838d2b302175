//! Writes a node's `server.properties`: one combined broker and controller, tuned so that time-based behaviour
//! shows within seconds.

use std::fmt::Write;

/// Who a node is in its cluster, as the properties of every node name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// `node.id`, from 1.
    pub(crate) id: i32,
    /// The port that clients connect to.
    pub(crate) port: u16,
    /// The port that the controllers talk on.
    pub(crate) controller_port: u16,
    /// The port that the proxy connects to, and the port of the proxy, which clients are told.
    pub(crate) proxied: Option<(u16, u16)>,
}

/// What the broker does on a timer, so often that a test need not wait: expired transactions, retention,
/// compaction, sessions of group members.
const SOON: &str = "\
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
log.retention.check.interval.ms=1000
log.initial.task.delay.ms=500
log.cleaner.backoff.ms=200
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=200
";

/// Returns the properties of `node`; `extra` comes last, so it overrides what stands above it.
///
/// Paths are relative to the cluster's directory, where the broker is started.
pub(crate) fn server_properties(node: Member, cluster: &[Member], extra: &[(&str, &str)]) -> String {
    let Member { id, port, controller_port, proxied } = node;
    // Three copies of which two must be there, or all that one node can hold.
    let (replicas, in_sync) = if cluster.len() == 1 { (1, 1) } else { (3, 2) };
    let listener = |port| format!(",PROXIED://127.0.0.1:{port}");
    let (listens, advertises) =
        proxied.map_or_else(Default::default, |(behind, proxy)| (listener(behind), listener(proxy)));
    let mut text = format!(
        "\
process.roles=broker,controller
node.id={id}
{quorum}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{listens}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{advertises}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=node-{id}/data
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.num.partitions=4
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
{SOON}",
        quorum = quorum(cluster),
    );
    for (key, value) in extra {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key}={value}");
    }
    text
}

/// One node bootstraps itself (`format --standalone`); several are told of each other.
fn quorum(cluster: &[Member]) -> String {
    if let [only] = cluster {
        return format!("controller.quorum.bootstrap.servers=127.0.0.1:{}", only.controller_port);
    }
    let voters: Vec<_> = cluster.iter().map(|node| format!("{}@127.0.0.1:{}", node.id, node.controller_port)).collect();
    format!("controller.quorum.voters={}", voters.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Member = Member { id: 1, port: 101, controller_port: 201, proxied: None };
    const B: Member = Member { id: 2, port: 102, controller_port: 202, proxied: None };
    const C: Member = Member { id: 3, port: 103, controller_port: 203, proxied: None };

    #[test]
    fn one_node_bootstraps_itself_and_keeps_one_copy() {
        let text = server_properties(A, &[A], &[]);
        assert!(text.contains("\ncontroller.quorum.bootstrap.servers=127.0.0.1:201\n"), "{text}");
        assert!(text.contains("\noffsets.topic.replication.factor=1\n"), "{text}");
    }

    #[test]
    fn three_nodes_know_each_other_and_keep_three_copies() {
        let text = server_properties(B, &[A, B, C], &[]);
        let voters = "\ncontroller.quorum.voters=1@127.0.0.1:201,2@127.0.0.1:202,3@127.0.0.1:203\n";
        assert!(text.contains(voters), "{text}");
        assert!(text.contains("\nnode.id=2\n"), "{text}");
        assert!(text.contains("\nmin.insync.replicas=2\n"), "{text}");
    }

    #[test]
    fn an_extra_property_comes_last_and_so_wins() {
        let text = server_properties(A, &[A], &[("log.cleaner.backoff.ms", "50")]);
        assert!(text.ends_with("\nlog.cleaner.backoff.ms=50\n"), "{text}");
    }

    #[test]
    fn a_proxy_has_a_listener_of_its_own_that_tells_clients_of_the_proxy() {
        let text = server_properties(Member { proxied: Some((301, 401)), ..A }, &[A], &[]);
        let told = |key: &str, port: u16| {
            let told =
                format!("\n{key}=PLAINTEXT://127.0.0.1:101,CONTROLLER://127.0.0.1:201,PROXIED://127.0.0.1:{port}\n");
            assert!(text.contains(&told), "{text}");
        };
        told("listeners", 301);
        told("advertised.listeners", 401);
    }
}

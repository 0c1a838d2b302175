//! The cases: what is compared with what.

use serde::{Deserialize, Serialize};

use crate::frame::{SATURATED_TASKS, Side};
use crate::{ours, peers, twin};

/// One comparison.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) unit: Unit,
    pub(crate) starts: Starts,
    /// Messages a side and round; where records keep a pace, at most as many.
    pub(crate) messages: u64,
    /// How long librdkafka waits for more of a batch.
    pub(crate) linger_ms: u32,
    pub(crate) ours: Side,
    pub(crate) baseline: Peer,
    pub(crate) second: Option<Peer>,
    /// Measured in the same rounds and told in the same line.
    pub(crate) further: Option<Further>,
    /// Whether `--instructions` counts it.
    pub(crate) hot: bool,
}

/// A further comparison of a case.
pub(crate) struct Further {
    /// Its key in the line.
    pub(crate) key: &'static str,
    pub(crate) ours: Side,
    pub(crate) baseline: Peer,
    pub(crate) second: Option<Peer>,
}

/// What ours is compared with.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) side: Side,
}

#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// More is better.
    MessagesASecond,
    /// Less is better: the median of a round.
    Microseconds,
    /// Less is better: the mean of a round.
    Nanoseconds,
    /// Less is better.
    Bytes,
    /// Less is better: how far from what was asked for.
    Percent,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MessagesASecond => "msg/s",
            Self::Microseconds => "us",
            Self::Nanoseconds => "ns",
            Self::Bytes => "bytes",
            Self::Percent => "%",
        }
    }

    pub(crate) fn is_rate(self) -> bool {
        matches!(self, Self::MessagesASecond)
    }
}

/// The topic at the start of a case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Starts {
    /// Whoever reads it starts at its end: a later round finds the records of those before.
    Empty,
    /// It holds as many messages as a round reads.
    Full,
    /// Its first partitions hold messages whose keys matter.
    Keyed(Keyed),
    /// There is none: the case needs no broker.
    Nowhere,
    /// It is for transactions, and starts empty.
    Transactions(Stage),
    /// It holds as many messages as a round reads, and there is a second one for what is made of them. A round trip to the
    /// broker takes 2 ms.
    Pipeline,
    /// As [`Starts::Transactions`], with a second one.
    Group,
}

/// The brokers that transactions are measured with. librdkafka's mock proves nothing about them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// One node.
    One,
    /// Three nodes, which keep three copies.
    Three,
    /// One node, behind a proxy that delays what goes either way by 1 ms.
    Away,
}

impl Starts {
    /// Whether there is something to read from the beginning.
    pub(crate) fn is_filled(self) -> bool {
        matches!(self, Self::Full | Self::Keyed(_) | Self::Pipeline)
    }

    /// Whether there is a second topic.
    pub(crate) fn has_output(self) -> bool {
        matches!(self, Self::Pipeline | Self::Group)
    }

    /// The real brokers that it takes, if it does.
    pub(crate) fn stage(self) -> Option<Stage> {
        match self {
            Self::Transactions(stage) => Some(stage),
            Self::Pipeline => Some(Stage::Away),
            Self::Group => Some(Stage::One),
            Self::Empty | Self::Full | Self::Keyed(_) | Self::Nowhere => None,
        }
    }
}

/// The messages of a topic whose keys matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Keyed {
    /// Partition 0 holds all messages, with keys drawn at random of 1,000; partition 1 as many, with those keys in turn.
    AtRandomAndInTurn,
    /// Partition 0 holds all messages, each with a key of its own.
    Own,
    /// Three partitions hold them, with keys in turn.
    InThree,
}

const C_PRODUCE: Peer = Peer { name: "C produce loop", side: twin::produce };

const PLAIN: Peer = Peer { name: "ours, without a recovery", side: ours::recovery::plain };

const SAFE_TRANSACTIONS: Peer = Peer { name: "rdkafka's safe calls", side: peers::transactions::of_ten };

const IN_HAND: &str = "the codec, its schema in hand";

const CLIENT: &str = "schema-registry-client";

const PYTHON: &str = "confluent-kafka-python";

const AT_LEAST_ONCE: Peer = Peer { name: "ours, without transactions", side: ours::pipeline::without_transactions };

/// All cases, in the order of the README's table.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "produce-batch",
        about: "batches of 100-byte records to 8 partitions, one answer a batch",
        unit: Unit::MessagesASecond,
        starts: Starts::Empty,
        messages: 1_000_000,
        linger_ms: 5,
        ours: ours::batch,
        baseline: C_PRODUCE,
        second: Some(Peer { name: "C produce_batch", side: twin::produce_in_batches }),
        further: None,
        hot: true,
    },
    Case {
        name: "produce-await",
        about: "the single-owner sender, every delivery awaited",
        unit: Unit::MessagesASecond,
        starts: Starts::Empty,
        messages: 1_000_000,
        linger_ms: 5,
        ours: ours::awaited,
        baseline: C_PRODUCE,
        second: None,
        further: None,
        hot: true,
    },
    Case {
        name: "produce-await-shared",
        about: "the cloned handle, every delivery awaited",
        unit: Unit::MessagesASecond,
        starts: Starts::Empty,
        messages: 1_000_000,
        linger_ms: 5,
        ours: ours::awaited_shared,
        baseline: C_PRODUCE,
        second: None,
        further: None,
        hot: true,
    },
    Case {
        name: "produce-callback",
        about: "a callback a record",
        unit: Unit::MessagesASecond,
        starts: Starts::Empty,
        messages: 1_000_000,
        linger_ms: 5,
        ours: ours::callback,
        baseline: C_PRODUCE,
        second: None,
        further: None,
        hot: true,
    },
    Case {
        name: "produce-saturated",
        about: "3,000 tasks share a queue of 100",
        unit: Unit::MessagesASecond,
        starts: Starts::Empty,
        messages: 4 * SATURATED_TASKS,
        // A queue of 100 never fills a batch: waiting would only cap both sides at 100 records a wait.
        linger_ms: 0,
        ours: ours::saturated,
        baseline: Peer { name: "rdkafka FutureProducer", side: peers::future_producer_saturated },
        second: Some(Peer { name: "FutureProducer, one at a time", side: peers::future_producer_one_at_a_time }),
        further: None,
        hot: false,
    },
    Case {
        name: "consume-batch",
        about: "batches of borrowed records",
        unit: Unit::MessagesASecond,
        starts: Starts::Full,
        messages: 2_000_000,
        linger_ms: 5,
        ours: ours::batches,
        baseline: Peer { name: "C consume_batch_queue", side: twin::consume_batch },
        second: Some(Peer { name: "C consumer_poll", side: twin::consumer_poll }),
        further: None,
        hot: true,
    },
    Case {
        name: "consume-records",
        about: "a handler a typed record that does nothing",
        unit: Unit::MessagesASecond,
        starts: Starts::Full,
        messages: 1_000_000,
        linger_ms: 5,
        ours: ours::records,
        baseline: Peer { name: "rdkafka stream().next()", side: peers::stream_next },
        second: None,
        further: None,
        hot: false,
    },
    Case {
        name: "latency",
        about: "linger 0: from send to acknowledgement, one in flight; and to the consumer, 1,000 records a second",
        unit: Unit::Microseconds,
        starts: Starts::Empty,
        messages: 2_000,
        linger_ms: 0,
        ours: ours::acknowledgement,
        baseline: Peer { name: "C sync poll", side: twin::sync_produce },
        second: None,
        further: Some(Further {
            key: "end_to_end",
            ours: ours::end_to_end,
            baseline: Peer { name: "rdkafka BaseConsumer::poll", side: peers::base_consumer_end_to_end },
            second: Some(Peer { name: "C consumer_poll", side: twin::end_to_end }),
        }),
        hot: false,
    },
    Case {
        name: "tracker",
        about: "a record begun and finished: in order, and at random within 10,000",
        unit: Unit::Nanoseconds,
        starts: Starts::Nowhere,
        messages: 2_000_000,
        linger_ms: 0,
        ours: ours::tracker::in_order,
        baseline: Peer { name: "BTreeSet, in order", side: ours::tracker::tree_in_order },
        second: None,
        further: Some(Further {
            key: "second",
            ours: ours::tracker::at_random,
            baseline: Peer { name: "BTreeSet, at random within 10,000", side: ours::tracker::tree_at_random },
            second: None,
        }),
        hot: true,
    },
    Case {
        name: "dialect-read",
        about: "a record with ten headers, asked whether it is a dead letter: none, and one of Spring's",
        unit: Unit::Nanoseconds,
        starts: Starts::Nowhere,
        messages: 1_000_000,
        linger_ms: 0,
        ours: ours::dialect::undecided,
        baseline: Peer { name: "a map of the headers, none", side: ours::dialect::map_undecided },
        second: None,
        further: Some(Further {
            key: "second",
            ours: ours::dialect::dead_letter,
            baseline: Peer { name: "a map of the headers, Spring's", side: ours::dialect::map_dead_letter },
            second: None,
        }),
        hot: true,
    },
    Case {
        name: "offset-map",
        about: "10,000 records, each second one finished at random, written and read",
        unit: Unit::Microseconds,
        starts: Starts::Nowhere,
        messages: 2_000,
        linger_ms: 0,
        ours: ours::offset_map::written_and_read,
        baseline: Peer { name: "JSON list of ranges", side: ours::offset_map::json_written_and_read },
        second: None,
        further: None,
        hot: false,
    },
    Case {
        name: "consume-keyed",
        about: "0 to 5 ms of work a record, 1 partition, 1,000 keys: 100 in flight, in order by key",
        unit: Unit::MessagesASecond,
        starts: Starts::Keyed(Keyed::AtRandomAndInTurn),
        messages: 10_000,
        linger_ms: 5,
        ours: ours::keyed::at_random,
        baseline: Peer { name: "ours, by partition", side: ours::keyed::serial },
        second: None,
        further: Some(Further {
            key: "second",
            ours: ours::keyed::in_turn,
            baseline: Peer { name: "ideal: slept / 100, keys in turn", side: ours::keyed::in_turn_ideal },
            second: None,
        }),
        hot: false,
    },
    Case {
        name: "consume-keyed-empty",
        about: "by key, no work, 3 partitions",
        unit: Unit::MessagesASecond,
        starts: Starts::Keyed(Keyed::InThree),
        messages: 1_000_000,
        linger_ms: 5,
        ours: ours::keyed::empty,
        baseline: Peer { name: "ours, by partition", side: ours::keyed::empty_serial },
        second: None,
        further: None,
        hot: true,
    },
    Case {
        name: "consume-efficiency",
        about: "the worst of 1, 5, 20, 100 ms of work, 10, 100, 1,000 in flight, without order and by key",
        unit: Unit::Microseconds,
        starts: Starts::Keyed(Keyed::Own),
        messages: 100_000,
        linger_ms: 5,
        ours: ours::efficiency::worst,
        baseline: Peer { name: "ideal: slept / in flight", side: ours::efficiency::ideal },
        second: None,
        further: None,
        hot: false,
    },
    Case {
        name: "commit-awaited",
        about: "from a record that is finished to the next one, which waits for its commit to be confirmed",
        unit: Unit::Microseconds,
        starts: Starts::Keyed(Keyed::Own),
        messages: 2_100,
        linger_ms: 5,
        ours: ours::commit::awaited,
        baseline: Peer { name: "C commit_queue", side: twin::commit_queue },
        second: None,
        further: None,
        hot: false,
    },
    Case {
        name: "recovery-pipeline-none",
        about: "a handler in a recovery, no record fails",
        unit: Unit::MessagesASecond,
        starts: Starts::Full,
        messages: 1_000_000,
        linger_ms: 5,
        ours: ours::recovery::none_fail,
        baseline: PLAIN,
        second: None,
        further: None,
        hot: true,
    },
    Case {
        name: "recovery-pipeline-one",
        about: "1 % dead-lettered, until the last is acknowledged",
        unit: Unit::MessagesASecond,
        starts: Starts::Full,
        messages: 1_000_000,
        linger_ms: 5,
        ours: ours::recovery::one_percent,
        baseline: PLAIN,
        second: None,
        further: None,
        hot: false,
    },
    Case {
        name: "recovery-pipeline-ten",
        about: "10 % dead-lettered, until the last is acknowledged",
        unit: Unit::MessagesASecond,
        starts: Starts::Full,
        messages: 1_000_000,
        linger_ms: 5,
        ours: ours::recovery::ten_percent,
        baseline: PLAIN,
        second: None,
        further: None,
        hot: false,
    },
    Case {
        name: "retry-isolation",
        about: "5,000 records a second of 1,000 keys, one of which fails for ever: p99 of the others, from send to handler",
        unit: Unit::Microseconds,
        starts: Starts::Empty,
        messages: 50_000,
        linger_ms: 0,
        ours: ours::recovery::one_sick,
        baseline: Peer { name: "all keys are well", side: ours::recovery::all_well },
        second: None,
        further: None,
        hot: false,
    },
    Case {
        name: "retry-delay",
        about: "100,000 records wait for 100 different times: p99 of how late they are tried, without an order and with",
        unit: Unit::Microseconds,
        starts: Starts::Empty,
        messages: 100_000,
        linger_ms: 5,
        ours: ours::recovery::delay,
        baseline: Peer { name: "the goal, 50 ms", side: ours::recovery::delay_goal },
        second: None,
        further: Some(Further {
            key: "in_order",
            ours: ours::recovery::delay_in_order,
            baseline: Peer { name: "the goal, 50 ms", side: ours::recovery::delay_goal },
            second: None,
        }),
        hot: false,
    },
    Case {
        name: "retry-memory",
        about: "the same: memory a waiting record beside its own bytes",
        unit: Unit::Bytes,
        starts: Starts::Empty,
        messages: 100_000,
        linger_ms: 5,
        ours: ours::recovery::memory,
        baseline: Peer { name: "the goal, 256 bytes", side: ours::recovery::memory_goal },
        second: None,
        further: Some(Further {
            key: "in_order",
            ours: ours::recovery::memory_in_order,
            baseline: Peer { name: "the goal, 256 bytes", side: ours::recovery::memory_goal },
            second: None,
        }),
        hot: false,
    },
    Case {
        name: "redrive",
        about: "dead letters of 100 bytes go back, exactly once, from the call to its report",
        unit: Unit::MessagesASecond,
        starts: Starts::Transactions(Stage::One),
        messages: 500_000,
        linger_ms: 5,
        ours: ours::redrive::uncapped,
        baseline: Peer { name: "resent without survey and transactions", side: ours::redrive::resent },
        second: None,
        further: None,
        hot: false,
    },
    Case {
        name: "redrive-rate",
        about: "100, 1,000 and 10,000 a second are asked for: the worst error of what the broker's clock tells",
        unit: Unit::Percent,
        starts: Starts::Transactions(Stage::One),
        messages: 100_000,
        linger_ms: 5,
        ours: ours::redrive::at_rates,
        baseline: Peer { name: "the goal, 2 %", side: ours::redrive::allowed },
        second: None,
        further: None,
        hot: false,
    },
    Case {
        name: "txn-commit",
        about: "transactions of 10 records",
        unit: Unit::MessagesASecond,
        starts: Starts::Transactions(Stage::One),
        messages: 4_000,
        linger_ms: 5,
        ours: ours::transactions::of_ten,
        baseline: SAFE_TRANSACTIONS,
        second: Some(Peer { name: "C transactions", side: twin::transactions_of_ten }),
        further: None,
        hot: false,
    },
    Case {
        name: "txn-commit-three",
        about: "transactions of 10 records on three nodes, three copies; and at an interval of 100 ms",
        unit: Unit::MessagesASecond,
        starts: Starts::Transactions(Stage::Three),
        messages: 600,
        linger_ms: 5,
        ours: ours::transactions::of_ten,
        baseline: SAFE_TRANSACTIONS,
        second: Some(Peer { name: "C transactions", side: twin::transactions_of_ten }),
        further: Some(Further {
            key: "interval",
            ours: ours::transactions::of_an_interval,
            baseline: Peer { name: "ours, one record a transaction", side: ours::transactions::of_one },
            second: None,
        }),
        hot: false,
    },
    Case {
        name: "txn-large",
        about: "transactions of 10,000 records, of four producers at a time; and of one",
        unit: Unit::MessagesASecond,
        starts: Starts::Transactions(Stage::One),
        messages: 400_000,
        linger_ms: 5,
        ours: ours::transactions::large_in_lanes,
        baseline: Peer { name: "C transactions, one producer", side: twin::large_transactions },
        second: None,
        further: Some(Further {
            key: "one_producer",
            ours: ours::transactions::large,
            baseline: Peer { name: "C transactions, one producer", side: twin::large_transactions },
            second: None,
        }),
        hot: false,
    },
    Case {
        name: "eos-pipeline",
        about: "read and written on, 2 ms from the broker: 10,000 records a transaction, one lane",
        unit: Unit::MessagesASecond,
        starts: Starts::Pipeline,
        messages: 1_000_000,
        linger_ms: 5,
        ours: ours::pipeline::in_one_lane,
        baseline: AT_LEAST_ONCE,
        second: None,
        further: None,
        hot: false,
    },
    Case {
        name: "eos-pipeline-lanes",
        about: "the same in four lanes",
        unit: Unit::MessagesASecond,
        starts: Starts::Pipeline,
        messages: 1_000_000,
        linger_ms: 5,
        ours: ours::pipeline::in_four_lanes,
        baseline: AT_LEAST_ONCE,
        second: None,
        further: None,
        hot: false,
    },
    Case {
        name: "eos-pipeline-interval",
        about: "the same in one lane, with a commit each 100 ms",
        unit: Unit::MessagesASecond,
        starts: Starts::Pipeline,
        messages: 1_000_000,
        linger_ms: 5,
        ours: ours::pipeline::at_an_interval,
        baseline: AT_LEAST_ONCE,
        second: None,
        further: None,
        hot: false,
    },
    Case {
        name: "eos-recovery",
        about: "from the kill of a member, in the middle of a transaction, to the first commit on its partitions",
        unit: Unit::Microseconds,
        starts: Starts::Group,
        messages: 2_000,
        linger_ms: 5,
        ours: ours::failover::from_a_kill,
        baseline: Peer { name: "the session's timeout", side: ours::failover::session },
        second: None,
        further: None,
        hot: false,
    },
    Case {
        name: "eos-ticker",
        about: "how late a timer of 1 ms is at worst, on one thread with commits, aborts, rebalances and closes",
        unit: Unit::Microseconds,
        starts: Starts::Group,
        messages: 400,
        linger_ms: 5,
        ours: ours::ticker::beside_transactions,
        baseline: Peer { name: "the same timer on an idle thread", side: ours::ticker::idle },
        second: Some(Peer { name: "rdkafka's safe calls in a task", side: peers::transactions::ticker }),
        further: None,
        hot: false,
    },
    Case {
        name: "avro-encode",
        about: "a struct of 8 fields, registered schema",
        unit: Unit::MessagesASecond,
        starts: Starts::Nowhere,
        messages: 1_000_000,
        linger_ms: 0,
        ours: ours::serde::avro_encode,
        baseline: Peer { name: "schema_registry_converter", side: peers::serde::avro_encode },
        second: Some(Peer { name: "bare apache-avro", side: peers::serde::apache_encode }),
        further: None,
        hot: true,
    },
    Case {
        name: "avro-decode",
        about: "to a struct that owns its strings",
        unit: Unit::MessagesASecond,
        starts: Starts::Nowhere,
        messages: 1_000_000,
        linger_ms: 0,
        ours: ours::serde::avro_decode,
        baseline: Peer { name: "schema_registry_converter", side: peers::serde::avro_decode },
        second: Some(Peer { name: "bare apache-avro", side: peers::serde::apache_decode }),
        further: None,
        hot: true,
    },
    Case {
        name: "avro-decode-borrowed",
        about: "to a struct that borrows its strings",
        unit: Unit::MessagesASecond,
        starts: Starts::Nowhere,
        messages: 1_000_000,
        linger_ms: 0,
        ours: ours::serde::avro_borrow,
        baseline: Peer { name: "schema_registry_converter", side: peers::serde::avro_decode },
        second: None,
        further: None,
        hot: true,
    },
    Case {
        name: "avro-decode-evolved",
        about: "written with an older schema, a field added and one dropped",
        unit: Unit::MessagesASecond,
        starts: Starts::Nowhere,
        messages: 1_000_000,
        linger_ms: 0,
        ours: ours::serde::avro_evolved,
        baseline: Peer { name: "ours without evolution", side: ours::serde::avro_decode },
        second: None,
        further: None,
        hot: true,
    },
    Case {
        name: "json-encode",
        about: "the same struct as JSON, registered schema",
        unit: Unit::MessagesASecond,
        starts: Starts::Nowhere,
        messages: 1_000_000,
        linger_ms: 0,
        ours: ours::serde::json_encode,
        baseline: Peer { name: "bare serde_json", side: peers::serde::json_encode },
        second: None,
        further: None,
        hot: true,
    },
    Case {
        name: "json-decode",
        about: "the same struct from JSON",
        unit: Unit::MessagesASecond,
        starts: Starts::Nowhere,
        messages: 1_000_000,
        linger_ms: 0,
        ours: ours::serde::json_decode,
        baseline: Peer { name: "bare serde_json", side: peers::serde::json_decode },
        second: None,
        further: None,
        hot: true,
    },
    Case {
        name: "json-encode-validated",
        about: "checked against the schema first",
        unit: Unit::MessagesASecond,
        starts: Starts::Nowhere,
        messages: 200_000,
        linger_ms: 0,
        ours: ours::serde::json_validated,
        baseline: Peer { name: "schema_registry_converter", side: peers::serde::json_checked },
        second: Some(Peer { name: "serde_json and jsonschema by hand", side: peers::serde::json_validated }),
        further: None,
        hot: true,
    },
    Case {
        name: "protobuf-encode",
        about: "the same as a message",
        unit: Unit::MessagesASecond,
        starts: Starts::Nowhere,
        messages: 1_000_000,
        linger_ms: 0,
        ours: ours::serde::protobuf_encode,
        baseline: Peer { name: "bare prost with a prefix", side: peers::serde::protobuf_encode },
        second: Some(Peer { name: "schema_registry_converter", side: peers::serde::protobuf_raw }),
        further: None,
        hot: true,
    },
    Case {
        name: "protobuf-decode",
        about: "to a message that owns its strings",
        unit: Unit::MessagesASecond,
        starts: Starts::Nowhere,
        messages: 1_000_000,
        linger_ms: 0,
        ours: ours::serde::protobuf_decode,
        baseline: Peer { name: "bare prost with a prefix", side: peers::serde::protobuf_decode },
        second: None,
        further: None,
        hot: true,
    },
    Case {
        name: "avro-two-threads",
        about: "two threads encode with one serde",
        unit: Unit::MessagesASecond,
        starts: Starts::Nowhere,
        messages: 1_000_000,
        linger_ms: 0,
        ours: ours::serde::avro_two_threads,
        baseline: Peer { name: "one thread", side: ours::serde::avro_encode },
        second: None,
        further: None,
        hot: true,
    },
    Case {
        name: "serde-layer-avro",
        about: "what finding, writing and reading the schema id adds to Avro: encoded, and decoded",
        unit: Unit::Nanoseconds,
        starts: Starts::Nowhere,
        messages: 1_000_000,
        linger_ms: 0,
        ours: ours::serde::layer::avro_encode,
        baseline: Peer { name: IN_HAND, side: ours::serde::layer::bare_avro_encode },
        second: None,
        further: Some(Further {
            key: "decode",
            ours: ours::serde::layer::avro_decode,
            baseline: Peer { name: IN_HAND, side: ours::serde::layer::bare_avro_decode },
            second: None,
        }),
        hot: true,
    },
    Case {
        name: "serde-layer-json",
        about: "what finding, writing and reading the schema id adds to JSON: encoded, and decoded",
        unit: Unit::Nanoseconds,
        starts: Starts::Nowhere,
        messages: 1_000_000,
        linger_ms: 0,
        ours: ours::serde::layer::json_encode,
        baseline: Peer { name: IN_HAND, side: ours::serde::layer::bare_json_encode },
        second: None,
        further: Some(Further {
            key: "decode",
            ours: ours::serde::layer::json_decode,
            baseline: Peer { name: IN_HAND, side: ours::serde::layer::bare_json_decode },
            second: None,
        }),
        hot: true,
    },
    Case {
        name: "serde-layer-protobuf",
        about: "what finding, writing and reading the schema id adds to Protobuf: encoded, and decoded",
        unit: Unit::Nanoseconds,
        starts: Starts::Nowhere,
        messages: 1_000_000,
        linger_ms: 0,
        ours: ours::serde::layer::protobuf_encode,
        baseline: Peer { name: IN_HAND, side: ours::serde::layer::bare_protobuf_encode },
        second: None,
        further: Some(Further {
            key: "decode",
            ours: ours::serde::layer::protobuf_decode,
            baseline: Peer { name: IN_HAND, side: ours::serde::layer::bare_protobuf_decode },
            second: None,
        }),
        hot: true,
    },
    Case {
        name: "hostile-bytes",
        about: "six bytes that claim a string of 268 MB: what the worst of our decoders asks the allocator for",
        unit: Unit::Bytes,
        starts: Starts::Nowhere,
        messages: 1,
        linger_ms: 0,
        ours: ours::serde::hostile::worst,
        baseline: Peer { name: "the goal, 4 KiB", side: ours::serde::hostile::goal },
        second: Some(Peer { name: "schema_registry_converter, Avro", side: peers::serde::hostile }),
        further: None,
        hot: false,
    },
    Case {
        name: "client-avro",
        about: "Avro: the struct encoded, and decoded",
        unit: Unit::MessagesASecond,
        starts: Starts::Nowhere,
        messages: 200_000,
        linger_ms: 0,
        ours: ours::serde::avro_encode,
        baseline: Peer { name: CLIENT, side: peers::client::avro_encode },
        second: None,
        further: Some(Further {
            key: "decode",
            ours: ours::serde::avro_decode,
            baseline: Peer { name: CLIENT, side: peers::client::avro_decode },
            second: None,
        }),
        hot: false,
    },
    Case {
        name: "client-json",
        about: "JSON, not validated: the struct encoded, and decoded",
        unit: Unit::MessagesASecond,
        starts: Starts::Nowhere,
        messages: 200_000,
        linger_ms: 0,
        ours: ours::serde::json_encode,
        baseline: Peer { name: CLIENT, side: peers::client::json_encode },
        second: None,
        further: Some(Further {
            key: "decode",
            ours: ours::serde::json_decode,
            baseline: Peer { name: CLIENT, side: peers::client::json_decode },
            second: None,
        }),
        hot: false,
    },
    Case {
        name: "client-protobuf",
        about: "Protobuf: the struct encoded, and decoded",
        unit: Unit::MessagesASecond,
        starts: Starts::Nowhere,
        messages: 200_000,
        linger_ms: 0,
        ours: ours::serde::protobuf_encode,
        baseline: Peer { name: CLIENT, side: peers::client::protobuf_encode },
        second: None,
        further: Some(Further {
            key: "decode",
            ours: ours::serde::protobuf_decode,
            baseline: Peer { name: CLIENT, side: peers::client::protobuf_decode },
            second: None,
        }),
        hot: false,
    },
    Case {
        name: "python-avro",
        about: "Avro: the struct encoded, and decoded",
        unit: Unit::MessagesASecond,
        starts: Starts::Nowhere,
        messages: 100_000,
        linger_ms: 0,
        ours: ours::serde::avro_encode,
        baseline: Peer { name: PYTHON, side: peers::python::avro_encode },
        second: None,
        further: Some(Further {
            key: "decode",
            ours: ours::serde::avro_decode,
            baseline: Peer { name: PYTHON, side: peers::python::avro_decode },
            second: None,
        }),
        hot: false,
    },
    Case {
        name: "python-json",
        about: "JSON, not validated: the struct encoded, and decoded",
        unit: Unit::MessagesASecond,
        starts: Starts::Nowhere,
        messages: 100_000,
        linger_ms: 0,
        ours: ours::serde::json_encode,
        baseline: Peer { name: PYTHON, side: peers::python::json_encode },
        second: None,
        further: Some(Further {
            key: "decode",
            ours: ours::serde::json_decode,
            baseline: Peer { name: PYTHON, side: peers::python::json_decode },
            second: None,
        }),
        hot: false,
    },
    Case {
        name: "python-protobuf",
        about: "Protobuf: the struct encoded, and decoded",
        unit: Unit::MessagesASecond,
        starts: Starts::Nowhere,
        messages: 100_000,
        linger_ms: 0,
        ours: ours::serde::protobuf_encode,
        baseline: Peer { name: PYTHON, side: peers::python::protobuf_encode },
        second: None,
        further: Some(Further {
            key: "decode",
            ours: ours::serde::protobuf_decode,
            baseline: Peer { name: PYTHON, side: peers::python::protobuf_decode },
            second: None,
        }),
        hot: false,
    },
];

/// The case of that name, or those whose names start with it and a hyphen.
pub(crate) fn named(name: &str) -> Vec<&'static Case> {
    let begins = |case: &&Case| case.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
    match CASES.iter().find(|case| case.name == name) {
        Some(case) => vec![case],
        None => CASES.iter().filter(begins).collect(),
    }
}

/// One line a case, for people.
pub(crate) fn list() -> String {
    let lines = CASES.iter().map(|case| format!("  {:<22}  {} ({})\n", case.name, case.about, case.baseline.name));
    format!("cases, and what each is compared with:\n{}", lines.collect::<String>())
}

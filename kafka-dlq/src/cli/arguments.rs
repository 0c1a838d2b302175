//! What can be said to the command. The texts are its manual.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Looks into dead letters on Kafka, and sends them back.
///
/// Understands the headers of Spring Kafka, Kafka Streams, Kafka Connect, SmallRye, Watermill, arroyo, ruststream, share
/// groups, Silverback, Wolverine, Karafka and of kafka-dlq itself.
#[derive(Debug, Parser)]
#[command(name = "kafka-dlq", version, max_term_width = 100, after_long_help = AFTER)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) connection: Connection,

    /// Print JSON: one document, or one a line for lists
    #[arg(long, global = true)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) verb: Verb,
}

const AFTER: &str = "\
From the first look to the last record:
  kafka-dlq ls                                     which topics hold dead letters, how many, why
  kafka-dlq stats orders-dlt --by reason           what fails most
  kafka-dlq peek orders-dlt --reason Timeout       the first ten of them
  kafka-dlq show orders-dlt-0@42                   one, with its headers and its value
  kafka-dlq explain orders-dlt-0@42                where it came from, and what would become of it
  kafka-dlq redrive orders-dlt --reason Timeout    what would be sent: a dry run
  kafka-dlq redrive orders-dlt --reason Timeout --execute

Nothing is written without --execute. A redrive is exactly once: stopped or killed, the same command goes on
(for 7 days: then Kafka forgets the progress of a job that is not run).

Exit codes:
  0  done
  1  Kafka, the registry or a file failed
  2  the arguments or settings are wrong
  3  there is no such topic or record
  4  a job ended before its end: at its limit, by a signal, or because a record came back
  5  doctor has found something

A reader of the output that has gone (| head) changes none of them.

Rights: READ on the topic, on TOPIC.discarded and on groups that begin with kafka-dlq. ; to redrive, WRITE on the targets and
on transactional ids that begin with kafka-dlq. ; what is missing is named.

A file for --config (or KAFKA_DLQ_CONFIG), in which # begins a comment:
  bootstrap.servers=broker-1:9092,broker-2:9092
  security.protocol=SASL_SSL
  sasl.mechanism=PLAIN
  sasl.username=me
  schema.registry.url=http://registry:8081";

/// Where Kafka is.
#[derive(Args, Debug)]
pub(super) struct Connection {
    /// Brokers: host:port, separated by commas
    #[arg(short, long, global = true, env = "KAFKA_BOOTSTRAP_SERVERS", hide_env_values = true)]
    pub(super) bootstrap: Option<String>,

    /// Any setting of librdkafka, as key=value; KAFKA_SECURITY_PROTOCOL and the like do the same
    #[arg(short = 'X', global = true, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,

    /// A file of settings, key=value a line; variables of the environment win over it, flags over both
    #[arg(long, global = true, env = "KAFKA_DLQ_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// The schema registry that values are decoded with
    #[arg(long, global = true, env = "SCHEMA_REGISTRY_URL", hide_env_values = true, value_name = "URL")]
    pub(super) registry: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List the topics that look like dead letters: how many, how old, the most frequent reasons
    Ls {
        /// These topics, instead of those whose names say so
        topics: Vec<String>,
    },
    /// Count dead letters
    Stats {
        topic: String,
        /// By what
        #[arg(long, value_enum, default_value_t = By::Reason)]
        by: By,
        #[command(flatten)]
        which: Which,
    },
    /// Show some dead letters, a line each
    Peek {
        topic: String,
        /// The newest, instead of the oldest
        #[arg(long)]
        last: bool,
        /// How many
        #[arg(short = 'n', long, default_value_t = 10)]
        count: usize,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        view: View,
    },
    /// Show one dead letter, with all its headers
    Show {
        /// Where it stands: topic-partition@offset
        place: String,
        #[command(flatten)]
        view: View,
    },
    /// Tell the history of one dead letter: where it came from, how often it came back, what would become of it
    Explain {
        /// Where it stands: topic-partition@offset
        place: String,
        #[command(flatten)]
        view: View,
    },
    /// Send dead letters back: a dry run, unless told to --execute
    Redrive(Box<Redrive>),
    /// Mark dead letters that nobody wants back, in the topic TOPIC.discarded: a dry run, unless told to --execute
    Discard {
        topic: String,
        /// Why; stands in the mark, with who and when
        #[arg(long, value_name = "TEXT")]
        why: String,
        /// Do it
        #[arg(long)]
        execute: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Write dead letters to a file, as JSON lines that lose nothing
    Export {
        topic: String,
        /// The file, instead of the standard output
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        which: Which,
    },
    /// Write the records of an export to a topic, all or none: checks the file only, unless told to --execute
    ///
    /// The import is one transaction: until it ends, and when it is stopped, killed, or finds a line that is wrong, consumers
    /// with isolation.level=read_committed see nothing of it, and the same command begins anew. It may take 15 minutes.
    Import {
        /// The file; - is the standard input
        file: PathBuf,
        /// The topic, instead of the one that each was exported from
        #[arg(long, value_name = "TOPIC")]
        to: Option<String>,
        /// To the partition that each was exported from
        #[arg(long)]
        keep_partition: bool,
        /// Do it
        #[arg(long)]
        execute: bool,
    },
    /// Show dead letters as they come, until interrupted
    Watch {
        topic: String,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        view: View,
    },
    /// Find out what is misconfigured: can Kafka be reached, read, written, in transactions
    Doctor {
        /// Look at this topic, too
        topic: Option<String>,
    },
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
    /// Print the manual page, or that of a verb
    Man { verb: Option<String> },
}

/// What dead letters are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// Why they are here
    Reason,
    /// The topic they came from
    Source,
    /// The hour in which they failed
    Hour,
    /// Their key
    Key,
    /// Who wrote the headers
    Dialect,
    /// The class of the error
    Class,
    /// The consumer group that failed
    Group,
}

/// Which dead letters are meant: those that meet every condition.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which dead letters")]
pub(super) struct Which {
    /// Whose reason, message or trace contains this; said again, another will do, too
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Vec<String>,
    /// Whose origin is this topic
    #[arg(long, value_name = "TOPIC")]
    pub(super) source: Vec<String>,
    /// Whose origin is a partition of this number
    #[arg(long, value_name = "NUMBER")]
    pub(super) source_partition: Vec<i32>,
    /// Whose offset at the origin is in this range: 100..200, 100.., ..200
    #[arg(long, value_name = "FROM..TO")]
    pub(super) source_offsets: Option<String>,
    /// In this partition of the dead-letter topic
    #[arg(long, value_name = "NUMBER")]
    pub(super) partition: Vec<i32>,
    /// At these offsets of the dead-letter topic
    #[arg(long, value_name = "FROM..TO")]
    pub(super) offsets: Option<String>,
    /// Not older than this: 2h, 3d, or a time like 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Older than this
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
    /// With this key
    #[arg(long)]
    pub(super) key: Vec<String>,
    /// With this header, or with this value of it
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(super) header: Vec<String>,
    /// Whose headers were written by this framework: spring, connect, streams, ..
    #[arg(long)]
    pub(super) dialect: Vec<String>,
    /// That this consumer group failed on
    #[arg(long)]
    pub(super) group: Vec<String>,
    /// For which this jq expression holds, over .value, .key, .headers, .reason, .source ..
    #[arg(long, value_name = "JQ")]
    pub(super) r#where: Option<String>,
}

/// How records are shown.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct View {
    /// Show lengths instead of keys, values, headers and messages of errors
    #[arg(long)]
    pub(super) redact: bool,
    /// Show lengths instead of the fields of this name, however deep, and the header of this name; keys and values that have
    /// no fields are shown as lengths
    #[arg(long, value_name = "NAME")]
    pub(super) redact_field: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct Redrive {
    pub(super) topic: String,
    /// Do it
    #[arg(long)]
    pub(super) execute: bool,
    /// To this topic, instead of the one each came from; "last-hop" is the topic it failed in last
    #[arg(long, value_name = "TOPIC")]
    pub(super) to: Option<String>,
    /// To the partition it came from, instead of the one its key says
    #[arg(long)]
    pub(super) keep_partition: bool,
    /// With the timestamp it had, instead of now
    #[arg(long)]
    pub(super) keep_timestamp: bool,
    /// With the frameworks' headers, instead of the application's alone
    #[arg(long)]
    pub(super) keep_headers: bool,
    /// Without the header dlq.redrives, which tells how often it was sent back
    #[arg(long)]
    pub(super) no_mark: bool,
    /// Change each value by this jq expression over it; null is a tombstone, "empty" leaves the dead letter; $letter is what
    /// --where sees: .amount |= tonumber | .customer = $letter.key
    #[arg(long, value_name = "JQ")]
    pub(super) transform: Option<String>,
    /// Change each value by this jq expression over its text, where it is no JSON: . + "}"
    #[arg(long, value_name = "JQ", conflicts_with = "transform")]
    pub(super) transform_text: Option<String>,
    /// Also what does not fit the schemas of its target, where there is a --registry
    #[arg(long)]
    pub(super) no_validate: bool,
    /// Also what may have been damaged on its way
    #[arg(long)]
    pub(super) accept_damage: bool,
    /// Every dead letter of a record, instead of the first
    #[arg(long)]
    pub(super) duplicates: bool,
    /// How many a second, at most
    #[arg(long, value_name = "NUMBER")]
    pub(super) rate: Option<f64>,
    /// How many, at most
    #[arg(long, value_name = "NUMBER")]
    pub(super) limit: Option<u64>,
    /// End as soon as one comes back
    #[arg(long)]
    pub(super) stop_on_repeat: bool,
    /// Send none that was sent back so often
    #[arg(long, value_name = "TIMES", default_value_t = 5)]
    pub(super) loop_cap: u32,
    /// Where those go, instead of staying
    #[arg(long, value_name = "TOPIC")]
    pub(super) parking_lot: Option<String>,
    /// The name of the job, whose progress is kept; made of the options, if not said
    #[arg(long, value_name = "NAME")]
    pub(super) job: Option<String>,
    /// Write a record of what was done to this topic
    #[arg(long, value_name = "TOPIC")]
    pub(super) audit: Option<String>,
    #[command(flatten)]
    pub(super) which: Which,
}

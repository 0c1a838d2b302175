//! The broker that both sides talk to, always in another process.

use std::env;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::mocking::MockCluster;
use tests::harness::Cluster;

use crate::cases::{Stage, Starts};
use crate::frame::{Outcome, PARTITIONS};

/// The command with which this program starts itself as a mock broker.
pub(crate) const MOCK_COMMAND: &str = "mock-broker";

/// Which broker to measure with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `KAFKA_BOOTSTRAP_SERVERS` if it is set, else an Apache Kafka started for this run.
    Real,
    /// librdkafka's mock cluster: for trying the program out. It keeps 5 MiB a partition, and its figures are not those
    /// of a broker.
    Mock,
}

/// How long the proxy keeps what goes one way.
const ONE_WAY: Duration = Duration::from_millis(1);

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "real" => Ok(Self::Real),
            "mock" => Ok(Self::Mock),
            other => Err(format!("`{other}` is not a broker: real or mock")),
        }
    }
}

/// A running broker; what this program started ends with it.
pub(crate) enum Broker {
    /// Somebody else's: its address.
    Given(String),
    /// An Apache Kafka from the harness of the tests.
    Started(Cluster),
    /// The same, with the address of the proxy in front of it.
    Away {
        proxied: String,
        _behind: Cluster,
    },
    Mock(MockChild),
    None,
}

/// The broker of one case after the other: started when a case needs another one.
pub(crate) struct Stages {
    kind: Kind,
    now: Option<(Need, Broker)>,
}

/// What a case needs; another need is another broker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    Broker,
    Stage(Stage),
}

impl Stages {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, now: None }
    }

    pub(crate) fn broker(&mut self, starts: Starts) -> Outcome<&Broker> {
        let need = match (starts, starts.stage()) {
            (Starts::Nowhere, _) => Need::Nothing,
            // What every case has that says nothing.
            (_, None | Some(Stage::One)) if self.kind == Kind::Real => Need::Broker,
            (_, None) => Need::Broker,
            (_, Some(stage)) => Need::Stage(stage),
        };
        let now = match self.now.take() {
            Some((had, broker)) if had == need => (had, broker),
            other => {
                // Two at a time would share the machine.
                drop(other);
                (need, Broker::start(self.kind, need)?)
            }
        };
        Ok(&self.now.insert(now).1)
    }
}

impl Broker {
    fn start(kind: Kind, need: Need) -> Outcome<Self> {
        let given = env::var("KAFKA_BOOTSTRAP_SERVERS").ok().filter(|servers| !servers.is_empty());
        let broker = match (kind, need, given) {
            (_, Need::Nothing, _) => Self::None,
            (Kind::Mock, Need::Broker, _) => Self::Mock(MockChild::start()?),
            (Kind::Mock, Need::Stage(_), _) => return Err("the mock broker proves nothing about transactions".into()),
            (Kind::Real, Need::Stage(Stage::Away), Some(_)) => {
                return Err("this case delays what goes to a broker of its own: unset KAFKA_BOOTSTRAP_SERVERS".into());
            }
            (Kind::Real, _, Some(servers)) => Self::Given(servers),
            (Kind::Real, Need::Broker | Need::Stage(Stage::One), None) => Self::Started(Cluster::start(1)),
            (Kind::Real, Need::Stage(Stage::Three), None) => Self::Started(Cluster::start(3)),
            (Kind::Real, Need::Stage(Stage::Away), None) => {
                let cluster = Cluster::start_proxied(1, &[]);
                cluster.node(0).proxy().delay(ONE_WAY);
                Self::Away { proxied: cluster.proxied_bootstrap(), _behind: cluster }
            }
        };
        eprintln!("broker: {broker}");
        Ok(broker)
    }

    pub(crate) fn bootstrap(&self) -> &str {
        match self {
            Self::Given(servers) => servers,
            Self::Started(cluster) => cluster.bootstrap(),
            Self::Away { proxied, .. } => proxied,
            Self::Mock(child) => &child.bootstrap,
            Self::None => "",
        }
    }

    /// Creates a topic of [`PARTITIONS`] partitions that is deleted when the answer is dropped.
    pub(crate) fn topic(&self, purpose: &str) -> Outcome<Topic<'_>> {
        let name = format!("benches-{purpose}-{:08x}", crate::frame::random() as u32);
        match self {
            Self::Given(_) | Self::Started(_) | Self::Away { .. } => self.create(&name)?,
            Self::Mock(child) => child.create(&name)?,
            Self::None => (),
        }
        Ok(Topic { broker: self, name })
    }

    /// How many messages of a hundred bytes a topic keeps; the mock forgets the oldest.
    pub(crate) fn keeps(&self) -> u64 {
        match self {
            Self::Given(_) | Self::Started(_) | Self::Away { .. } | Self::None => u64::MAX,
            Self::Mock(_) => 200_000,
        }
    }

    /// How long a fetch waits for records: librdkafka's default, or briefly on the mock, where a fetch that finds one
    /// partition empty waits to the end, and returns one batch a partition.
    pub(crate) fn fetch_wait_ms(&self) -> u32 {
        match self {
            Self::Given(_) | Self::Started(_) | Self::Away { .. } | Self::None => 500,
            Self::Mock(_) => 5,
        }
    }

    fn admin(&self) -> Outcome<AdminClient<DefaultClientContext>> {
        Ok(ClientConfig::new().set("bootstrap.servers", self.bootstrap()).create()?)
    }

    fn create(&self, name: &str) -> Outcome<()> {
        let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(-1));
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let admin = self.admin()?;
        let results = futures::executor::block_on(admin.create_topics([&topic], &options))?;
        for result in results {
            result.map_err(|(name, code)| format!("topic {name} was not created: {code}"))?;
        }
        Ok(())
    }

    fn delete(&self, name: &str) -> Outcome<()> {
        let admin = self.admin()?;
        futures::executor::block_on(admin.delete_topics(&[name], &AdminOptions::new()))?;
        Ok(())
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(servers) => write!(f, "{servers} (given)"),
            Self::Started(cluster) => write!(f, "{} (Apache Kafka, started for this run)", cluster.bootstrap()),
            Self::Away { proxied, .. } => write!(f, "{proxied} (Apache Kafka, started for this run, behind a proxy)"),
            Self::Mock(child) => write!(f, "{} (librdkafka's mock)", child.bootstrap),
            Self::None => f.write_str("none"),
        }
    }
}

/// A topic of one case.
pub(crate) struct Topic<'b> {
    broker: &'b Broker,
    pub(crate) name: String,
}

impl Drop for Topic<'_> {
    fn drop(&mut self) {
        if !matches!(self.broker, Broker::Mock(_) | Broker::None)
            && let Err(error) = self.broker.delete(&self.name)
        {
            eprintln!("topic {} was left behind: {error}", self.name);
        }
    }
}

/// A child process that is a mock broker. It lives until its standard input closes, so also when we are killed.
pub(crate) struct MockChild {
    bootstrap: String,
    process: Child,
    talk: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
}

impl MockChild {
    fn start() -> Outcome<Self> {
        let mut process =
            Command::new(env::current_exe()?).arg(MOCK_COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let commands = process.stdin.take().ok_or("the mock broker has no standard input")?;
        let mut answers = BufReader::new(process.stdout.take().ok_or("the mock broker has no standard output")?);
        let mut bootstrap = String::new();
        answers.read_line(&mut bootstrap)?;
        if bootstrap.trim().is_empty() {
            return Err("the mock broker did not start".into());
        }
        let bootstrap = bootstrap.trim().to_owned();
        Ok(Self { bootstrap, process, talk: Mutex::new(Some((commands, answers))) })
    }

    fn create(&self, topic: &str) -> Outcome<()> {
        let mut talk = self.talk.lock().map_err(|_| "another thread gave up on the mock broker")?;
        let (commands, answers) = talk.as_mut().ok_or("the mock broker is stopped")?;
        writeln!(commands, "{topic}")?;
        commands.flush()?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        match answer.trim() {
            "ok" => Ok(()),
            complaint => Err(format!("the mock broker did not create {topic}: {complaint}").into()),
        }
    }
}

impl Drop for MockChild {
    fn drop(&mut self) {
        if let Ok(mut talk) = self.talk.lock() {
            *talk = None;
        }
        if let Err(error) = self.process.wait() {
            eprintln!("the mock broker did not end: {error}");
        }
    }
}

/// Is the mock broker: prints its address, creates the topics named on standard input, ends with it.
pub(crate) fn serve_mock() -> Outcome<()> {
    let cluster = MockCluster::new(1)?;
    println!("{}", cluster.bootstrap_servers());
    for topic in io::stdin().lines() {
        match cluster.create_topic(&topic?, PARTITIONS, 1) {
            Ok(()) => println!("ok"),
            Err(error) => println!("{error}"),
        }
    }
    Ok(())
}

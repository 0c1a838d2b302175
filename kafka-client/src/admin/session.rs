//! One call's conversation with the cluster.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::topics::{TopicConfig, TopicSpec};
use super::{is_embedded, is_transient};
use crate::config::check_client;
use crate::native::admin::configs::{Entry, Kind};
use crate::native::admin::groups::Listing;
use crate::native::admin::{Found, NewTopic, PerTopic, Requests};
use crate::native::{Client, Code, Event, EventKind, NativeError, Queue, Role};
use crate::{Error, ErrorKind, Kafka, Retry, logging};

/// What librdkafka says when time is up says more than we could: give it this long to say so.
const GRACE: Duration = Duration::from_millis(250);

/// The number of the one broker of the embedded cluster.
const EMBEDDED_BROKER: i32 = 1;

/// How long the first request may take: a healthy cluster answers in milliseconds.
const FIRST_ATTEMPT: Duration = Duration::from_secs(3);

/// How long all brokers together may take to know what one of them knows.
const EVERYWHERE: Duration = Duration::from_secs(5);

/// How long one of them may take to answer.
const ONE_BROKER: Duration = Duration::from_secs(1);

/// Topics that exist, as one broker knows them.
pub(super) type Known = HashMap<String, Result<Found, Error>>;

/// Whom a request is for (`None`: the controller), and how long it may take.
struct Whom {
    broker: Option<i32>,
    wait: Duration,
}

/// A client for the length of one call. Its main queue takes answers, errors and log lines alike; this task reads it.
pub(super) struct Session {
    client: Arc<Client>,
    events: Queue,
    kafka: Kafka,
    /// Whose consumer the client is, where it is one.
    group: Option<String>,
    wait: Duration,
    deadline: Instant,
    /// How long the next request may take before another client tries, growing.
    attempt: Duration,
    /// The pause before the next look, growing.
    pause: Duration,
    /// The last thing that went wrong with a connection: the likely reason when time is up.
    trouble: Option<NativeError>,
}

impl Session {
    pub(super) async fn open(kafka: &Kafka, wait: Duration) -> Result<Self, Error> {
        Self::open_as(kafka, wait, None).await
    }

    /// Opens with a consumer of this group, which never joins it: to read the offsets of a group librdkafka wants the
    /// client to have one.
    pub(super) async fn open_for_group(kafka: &Kafka, wait: Duration, group: &str) -> Result<Self, Error> {
        Self::open_as(kafka, wait, Some(group.to_owned())).await
    }

    async fn open_as(kafka: &Kafka, wait: Duration, group: Option<String>) -> Result<Self, Error> {
        check_client(&kafka.settings().connection())?;
        let deadline = Instant::now() + wait;
        let (client, events) = connect(kafka, group.clone()).await?;
        let (attempt, pause) = (FIRST_ATTEMPT, Duration::from_millis(5));
        Ok(Self { client, events, kafka: kafka.clone(), group, wait, deadline, attempt, pause, trouble: None })
    }

    /// Begins anew with another client. One that was told to talk to a broker which has just died would wait for that
    /// broker, and one that has found a coordinator asks no more where it is; another asks who is there.
    async fn reconnect(&mut self) -> Result<(), Error> {
        (self.client, self.events) = connect(&self.kafka, self.group.clone()).await?;
        Ok(())
    }

    /// What the cluster can do of a spec: the embedded broker has neither configurations nor replicas.
    pub(super) fn supported(&self, spec: &TopicSpec) -> TopicSpec {
        if !self.is_embedded() || spec.is_bare() {
            return spec.clone();
        }
        tracing::debug!(topic = spec.name(), "the embedded broker has no configurations and no replicas: left out");
        TopicSpec::new(spec.name(), spec.partitions())
    }

    pub(super) fn is_embedded(&self) -> bool {
        is_embedded(&self.kafka)
    }

    /// What is known of topics, by whichever broker is asked; one that does not exist is left out.
    pub(super) async fn describe(&mut self, names: &[&str]) -> Result<Known, Error> {
        self.ask(|requests| requests.describe_topics(names, false), Event::topic_descriptions).await.map(known)
    }

    /// The same, with what this client may do with them; the embedded broker does not know.
    pub(super) async fn describe_with_operations(&mut self, names: &[&str]) -> Result<Known, Error> {
        let operations = !self.is_embedded();
        self.ask(|requests| requests.describe_topics(names, operations), Event::topic_descriptions).await.map(known)
    }

    pub(super) async fn configs(&mut self, names: &[&str]) -> Result<PerTopic<TopicConfig>, Error> {
        match self.is_embedded() {
            true => Ok(Vec::new()),
            false => {
                let topics: Vec<(Kind, &str)> = names.iter().map(|name| (Kind::Topic, *name)).collect();
                let configs = self.ask(|requests| requests.describe_configs(&topics), Event::configs).await?;
                let lines =
                    |entries: Vec<_>| entries.into_iter().map(|entry: Entry| (entry.name, entry.value)).collect();
                Ok(configs.into_iter().map(|((_, name), config)| (name, config.map(lines))).collect())
            }
        }
    }

    pub(super) async fn create(&mut self, topics: &[NewTopic<'_>]) -> Result<PerTopic<()>, Error> {
        #[cfg(feature = "embedded")]
        if let Some(embedded) = self.kafka.embedded_handle() {
            let topics: Vec<(String, i32)> =
                topics.iter().map(|topic| (topic.name.to_owned(), topic.partitions)).collect();
            let embedded = embedded.clone();
            let create = move |(name, partitions): (String, i32)| {
                let created = embedded.mock().create_topic(&name, partitions);
                (name, created)
            };
            return blocking(move || topics.into_iter().map(create).collect()).await;
        }
        self.ask(|requests| requests.create_topics(topics), Event::topic_results).await
    }

    pub(super) async fn grow(&mut self, topics: &[(&str, i32)]) -> Result<PerTopic<()>, Error> {
        if let Some((name, partitions)) = topics.first().filter(|_| self.is_embedded()) {
            let text = format!("it has fewer than {partitions} partitions, and the embedded broker cannot add any");
            return Err(Error::new(ErrorKind::Mismatch, text).with_topic(*name));
        }
        self.ask(|requests| requests.create_partitions(topics), Event::topic_results).await
    }

    pub(super) async fn delete(&mut self, names: &[&str]) -> Result<PerTopic<()>, Error> {
        if !self.is_embedded() {
            return self.ask(|requests| requests.delete_topics(names), Event::topic_results).await;
        }
        let existing = self.describe(names).await?;
        match existing.keys().next() {
            Some(name) => {
                let text = "the embedded broker cannot delete a topic";
                Err(Error::new(ErrorKind::Broker, text).with_topic(name))
            }
            None => {
                let missing = NativeError::unknown_topic();
                Ok(names.iter().map(|name| ((*name).to_owned(), Err(missing.clone()))).collect())
            }
        }
    }

    /// Waits until every broker knows topics as they are now: whoever is asked next may be another one than the one
    /// that was asked here. Waits [`EVERYWHERE`] at most, and not for brokers that do not answer.
    pub(super) async fn everywhere(&mut self, names: &[&str], fits: impl Fn(&Known) -> bool) -> Result<(), Error> {
        if names.is_empty() || self.is_embedded() {
            return Ok(());
        }
        let brokers = self.ask(|requests| requests.describe_cluster(), Event::brokers).await?;
        let until = self.deadline.min(Instant::now() + EVERYWHERE);
        for broker in brokers {
            while let Some(wait) = until.checked_duration_since(Instant::now()) {
                let whom = Whom { broker: Some(broker), wait: wait.min(ONE_BROKER) };
                let describe = |requests: &Requests<'_>| requests.describe_topics(names, false);
                match self.ask_once(whom, describe, &Event::topic_descriptions).await?.map(known) {
                    Ok(known) if fits(&known) => break,
                    Ok(_) => sleep(self.next_pause()).await,
                    Err(error) => {
                        tracing::debug!(broker, %error, "a broker does not answer; not waiting for it");
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits before another look; fails when time is up, with what is `missing`: a topic, and why it is not done.
    pub(super) async fn pause(&mut self, missing: impl FnOnce() -> (String, String)) -> Result<(), Error> {
        let next = Instant::now() + self.next_pause();
        if next < self.deadline {
            sleep_until(next).await;
            return Ok(());
        }
        let (topic, reason) = missing();
        Err(self.too_late(&reason).with_topic(topic))
    }

    fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(Duration::from_millis(500));
        pause
    }

    /// The groups that the brokers list, and what those say that cannot.
    pub(super) async fn list_groups(&mut self, states: &[&str]) -> Result<Listing, Error> {
        loop {
            let listing = self.insist(|requests| requests.list_groups(states), Event::groups).await?;
            let Listing { groups, errors } = &listing;
            let late = |error: &NativeError| error.code == Code::OperationTimedOut;
            let in_vain = groups.is_empty() && !errors.is_empty() && errors.iter().all(late);
            // Else some broker takes over groups just now, or is done.
            if !in_vain && !errors.iter().any(is_transient) {
                return Ok(listing);
            }
            match self.wait_a_little().await {
                true if in_vain => {
                    self.attempt *= 2;
                    self.reconnect().await?;
                }
                true => {}
                false if in_vain => return Err(self.too_late("no answer")),
                false => return Ok(listing),
            }
        }
    }

    /// Waits before another look; `false` when time is up.
    async fn wait_a_little(&mut self) -> bool {
        let next = Instant::now() + self.next_pause();
        if next >= self.deadline {
            return false;
        }
        sleep_until(next).await;
        true
    }

    /// Sends a request about some things, and again about those that the cluster is too busy with itself to answer
    /// for, until each has an answer or time is up. `submit` is given the positions of what is open, `read` takes the
    /// answers out of an event, and `explain` makes an error of one that stays. The answers come in the order of
    /// `keys`, none of which may be there twice.
    ///
    /// Fails as a whole only when nothing was answered.
    pub(super) async fn each<K: Eq + Hash, T>(
        &mut self,
        keys: &[K],
        submit: impl Fn(&Requests<'_>, &[usize]) -> Result<(), NativeError>,
        read: impl Fn(&Event) -> Option<Vec<(K, Result<T, NativeError>)>>,
        explain: impl Fn(usize, NativeError) -> Error,
    ) -> Result<Vec<Result<T, Error>>, Error> {
        let at: HashMap<&K, usize> = keys.iter().enumerate().map(|(at, key)| (key, at)).collect();
        let mut answers: Vec<Option<Result<T, Error>>> = keys.iter().map(|_| None).collect();
        loop {
            let mut open: HashSet<usize> = (0..keys.len()).filter(|at| answers[*at].is_none()).collect();
            if open.is_empty() {
                break;
            }
            let mut asked: Vec<usize> = open.iter().copied().collect();
            asked.sort_unstable();
            let heard = match self.insist(|requests| submit(requests, &asked), &read).await {
                Ok(heard) => heard,
                Err(error) if open.len() == keys.len() => return Err(error),
                Err(error) => {
                    open.iter().for_each(|at| answers[*at] = Some(Err(error.clone())));
                    break;
                }
            };
            let mut busy: HashMap<usize, NativeError> = HashMap::new();
            for (key, result) in heard {
                let Some(at) = at.get(&key).copied().filter(|at| open.remove(at)) else { continue };
                match result {
                    Err(error) if is_transient(&error) || error.code == Code::OperationTimedOut => {
                        busy.insert(at, error);
                    }
                    result => answers[at] = Some(result.map_err(|error| explain(at, error))),
                }
            }
            busy.extend(open.into_iter().map(|at| (at, NativeError::no_answer())));
            if busy.is_empty() {
                break;
            }
            let late = busy.values().any(|error| error.code == Code::OperationTimedOut);
            let moved = busy.values().any(|error| error.code == Code::NotCoordinator);
            let in_vain = busy.len() == keys.len();
            if !in_vain {
                self.trouble = None;
            }
            if !self.wait_a_little().await {
                if in_vain && busy.values().all(|error| error.code == Code::OperationTimedOut) {
                    return Err(self.too_late("no answer"));
                }
                for (at, error) in busy {
                    answers[at] = Some(Err(explain(at, error).with_retry(Retry::Temporary)));
                }
                break;
            }
            if late {
                self.attempt *= 2;
            }
            if (late || moved)
                && let Err(error) = self.reconnect().await
            {
                busy.into_keys().for_each(|at| answers[at] = Some(Err(error.clone())));
                break;
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Every partition of every topic.
    pub(super) async fn all_partitions(&mut self) -> Result<Vec<(String, i32)>, Error> {
        let (client, wait) = (self.client.clone(), self.deadline.saturating_duration_since(Instant::now()));
        blocking(move || client.all_partitions(wait).map_err(Error::native)).await?
    }

    /// Sends a request and waits for its answer, again and again while the cluster is busy with itself.
    pub(super) async fn ask<T>(
        &mut self,
        submit: impl Fn(&Requests<'_>) -> Result<(), NativeError>,
        read: impl Fn(&Event) -> Option<T>,
    ) -> Result<T, Error> {
        let answer = self.insist(submit, read).await?;
        self.trouble = None;
        Ok(answer)
    }

    /// As [`ask`](Self::ask), for an answer that may hold nothing but trouble.
    async fn insist<T>(
        &mut self,
        submit: impl Fn(&Requests<'_>) -> Result<(), NativeError>,
        read: impl Fn(&Event) -> Option<T>,
    ) -> Result<T, Error> {
        loop {
            let broker = self.is_embedded().then_some(EMBEDDED_BROKER);
            let left = self.deadline.saturating_duration_since(Instant::now());
            let whom = Whom { broker, wait: left.min(self.attempt) };
            match self.ask_once(whom, &submit, &read).await? {
                Ok(answer) => return Ok(answer),
                Err(error) if is_transient(&error) => {
                    let (reason, moved) = (error.to_string(), error.code == Code::NotCoordinator);
                    self.trouble = Some(error);
                    if !self.wait_a_little().await {
                        return Err(self.too_late(&reason));
                    }
                    if moved {
                        self.reconnect().await?;
                    }
                }
                Err(error) if error.code == Code::OperationTimedOut => match left > self.attempt {
                    true => {
                        self.attempt *= 2;
                        self.reconnect().await?;
                    }
                    false => return Err(self.too_late(&error.text)),
                },
                Err(error) => return Err(Error::native(error)),
            }
        }
    }

    async fn ask_once<T>(
        &mut self,
        whom: Whom,
        submit: impl Fn(&Requests<'_>) -> Result<(), NativeError>,
        read: &impl Fn(&Event) -> Option<T>,
    ) -> Result<Result<T, NativeError>, Error> {
        let Whom { broker, wait } = whom;
        let requests = Requests { client: &self.client, answers: &self.events, wait, broker };
        submit(&requests).map_err(Error::native)?;
        // librdkafka answers within `wait` whatever happens, so no answer is left over for the next request.
        self.answer(read).await
    }

    /// The answer to the one request that is under way.
    async fn answer<T>(&mut self, read: &impl Fn(&Event) -> Option<T>) -> Result<Result<T, NativeError>, Error> {
        loop {
            let Ok(event) = timeout_at(self.deadline + GRACE, self.events.next()).await else {
                return Err(self.too_late("no answer"));
            };
            match event.kind() {
                EventKind::Log => logging::client_log(&event),
                EventKind::Error => self.note_trouble(&event)?,
                // Of a failed request there is nothing to read; librdkafka asserts that nobody tries.
                _ => match event.error().map(|()| read(&event)) {
                    Err(error) => return Ok(Err(error)),
                    Ok(Some(answer)) => return Ok(Ok(answer)),
                    // Not an answer: statistics, say.
                    Ok(None) => {}
                },
            }
        }
    }

    /// Most trouble passes, and the request with it. A login that is refused does not.
    fn note_trouble(&mut self, event: &Event) -> Result<(), Error> {
        let Err(error) = event.error() else { return Ok(()) };
        if error.fatal || matches!(error.code, Code::Authentication | Code::SaslAuthenticationFailed) {
            return Err(Error::native(error));
        }
        // That all are down says less than why the last one is.
        if error.code != Code::AllBrokersDown || self.trouble.is_none() {
            self.trouble = Some(error);
        }
        Ok(())
    }

    /// Time is up: for want of a connection, or for something that takes longer.
    fn too_late(&self, reason: &str) -> Error {
        let text = format!("{reason} after {:?}", self.wait);
        let timeout = |kind| Error::new(kind, text).with_retry(Retry::Temporary);
        match &self.trouble {
            Some(trouble) if Error::native(trouble.clone()).kind() == ErrorKind::Unreachable => {
                timeout(ErrorKind::Unreachable).with_source(trouble.clone())
            }
            Some(trouble) => timeout(ErrorKind::Timeout).with_source(trouble.clone()),
            None => timeout(ErrorKind::Timeout),
        }
    }
}

async fn connect(kafka: &Kafka, group: Option<String>) -> Result<(Arc<Client>, Queue), Error> {
    let mut settings = kafka.settings().connection();
    let role = match group {
        Some(group) => {
            settings.typed("group.id", group);
            Role::Consumer
        }
        None => Role::Producer,
    };
    // Starting a client reads certificates and starts threads.
    let client = blocking(move || Client::new(role, settings.iter()).map_err(Error::native)).await??;
    let own = match role {
        Role::Consumer => Queue::consumer(&client),
        Role::Producer => None,
    };
    let events = own.unwrap_or_else(|| Queue::main(&client)).wakes();
    Ok((client, events))
}

/// Without the topics that do not exist, and those that are on their way.
fn known(topics: PerTopic<Found>) -> Known {
    let exists = |found: &Result<Found, NativeError>| match found {
        Ok(_) => true,
        Err(error) => error.code != Code::UnknownTopicOrPartition && !is_transient(error),
    };
    let topics = topics.into_iter().filter(|(_, found)| exists(found));
    topics.map(|(name, found)| (name.clone(), found.map_err(|error| Error::native(error).with_topic(name)))).collect()
}

/// Runs a short native call that may block.
async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(call)
        .await
        .map_err(|error| Error::new(ErrorKind::Closed, "the runtime is shutting down").with_source(error))
}

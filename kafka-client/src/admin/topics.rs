//! Topics: create them, check them, grow them, delete them.
//!
//! ```text
//!   ensure_topics ──▶ session: describe ──▶ plan: what is missing, smaller, different? ──▶ all as wanted: done
//!                        ▲                     │ create · grow · check the configuration
//!                        └────── pause ◀───────┘ different: the error that names it
//! ```
//!
//! One loop, in which only the state of the cluster counts. Who finds that another process was faster looks again.

mod model;
mod plan;

use std::collections::{BTreeMap, HashSet};

use super::session::{Known, Session};
use super::{AclOperation, Admin, is_topic_name, is_transient, refusal};
use crate::native::Code;
use crate::native::admin::NewTopic;
use crate::{Error, Kafka};
use plan::{Progress, Step};

pub(super) use model::TopicConfig;
pub use model::{Deleted, Ensured, ListedTopic, TopicChange, TopicDescription, TopicSpec};

const ENSURE: &str = "ensure topics";
const DELETE: &str = "delete topics";
const DESCRIBE: &str = "describe topic";
const LIST: &str = "list topics";

impl Admin {
    /// Makes topics be as they should: creates what is missing, checks what exists, adds partitions where there are
    /// fewer. Returns when new topics and partitions have leaders, and every broker that answers knows them.
    ///
    /// Of an existing topic the stated configuration and replication factor are checked, and never changed. More
    /// partitions than asked for are fine. Any number of processes may call this at once, each as often as it likes.
    ///
    /// Adding partitions moves keys to other partitions: records of one key then lie in two, in no order between them.
    ///
    /// The [embedded broker](Kafka::embedded) has neither configurations nor replicas, so those are left out there,
    /// and it cannot grow a topic.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Mismatch`]: a topic exists but differs; the message names what was wanted and what was found.
    ///   Change one of the two. Topics that do not differ may be left uncreated: nothing is changed before all that
    ///   exists is checked.
    /// - [`ErrorKind::Config`]: a name, number or configuration that cannot be.
    /// - [`ErrorKind::Unreachable`], [`ErrorKind::Timeout`]: call again.
    /// - [`ErrorKind::Denied`], [`ErrorKind::Broker`]: the cluster refuses; [`Error::code`] says why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting. Topics may have been created or grown, or may be still; calling again
    /// picks up from there.
    ///
    /// [`ErrorKind::Mismatch`]: crate::ErrorKind::Mismatch
    /// [`ErrorKind::Config`]: crate::ErrorKind::Config
    /// [`ErrorKind::Unreachable`]: crate::ErrorKind::Unreachable
    /// [`ErrorKind::Timeout`]: crate::ErrorKind::Timeout
    /// [`ErrorKind::Denied`]: crate::ErrorKind::Denied
    /// [`ErrorKind::Broker`]: crate::ErrorKind::Broker
    pub async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<Vec<Ensured>, Error> {
        self.ensure(topics).await.map_err(|error| error.with_operation(ENSURE))
    }

    async fn ensure(&self, topics: &[TopicSpec]) -> Result<Vec<Ensured>, Error> {
        check_names(topics.iter().map(TopicSpec::name))?;
        topics.iter().try_for_each(TopicSpec::check)?;
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let mut session = Session::open(&self.kafka, self.timeout).await?;
        let mut progress: Vec<Progress> = topics.iter().map(|topic| Progress::new(session.supported(topic))).collect();
        let names: Vec<&str> = topics.iter().map(TopicSpec::name).collect();
        let mut settled = true;
        loop {
            let mut found = session.describe(&names).await?;
            for progress in &mut progress {
                progress.found = found.remove(&progress.spec.name).transpose()?;
            }
            let steps = progress.iter().map(Progress::next).collect::<Result<Vec<_>, _>>()?;
            if steps.iter().all(|step| *step == Step::Done) {
                break;
            }
            match steps.contains(&Step::Check) {
                // Before anything is changed.
                true => check_configs(&mut session, &mut progress, &steps).await?,
                false => {
                    settled = false;
                    create(&mut session, &mut progress, &steps).await?;
                    grow(&mut session, &mut progress, &steps).await?;
                    session.pause(|| still_to_do(&progress)).await?;
                }
            }
        }
        if !settled {
            let led = |progress: &Progress, known: &Known| {
                let found = known.get(&progress.spec.name).and_then(|found| found.as_ref().ok());
                found.is_some_and(|found| found.partitions >= progress.spec.partitions && found.leaderless == 0)
            };
            session.everywhere(&names, |known| progress.iter().all(|progress| led(progress, known))).await?;
        }
        Ok(progress.into_iter().map(Progress::into_ensured).collect())
    }

    /// Deletes topics with everything in them. A topic that does not exist is no error. Returns when they are gone.
    ///
    /// The [embedded broker](Kafka::embedded) cannot delete a topic.
    ///
    /// # Errors
    ///
    /// As for [`ensure_topics`](Self::ensure_topics), without the mismatch.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting. Topics may have been deleted, or may be still; calling again is fine.
    pub async fn delete_topics(&self, names: &[&str]) -> Result<Vec<Deleted>, Error> {
        self.delete(names).await.map_err(|error| error.with_operation(DELETE))
    }

    async fn delete(&self, names: &[&str]) -> Result<Vec<Deleted>, Error> {
        check_names(names.iter().copied())?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut session = Session::open(&self.kafka, self.timeout).await?;
        let mut deleted = HashSet::new();
        let mut pending = names.to_vec();
        loop {
            for (name, result) in session.delete(&pending).await? {
                match result {
                    Ok(()) => {
                        deleted.insert(name.clone());
                    }
                    Err(error) if error.code == Code::UnknownTopicOrPartition => {}
                    Err(error) if is_transient(&error) => continue,
                    Err(error) => return Err(Error::native(error).with_topic(name)),
                }
                pending.retain(|pending| *pending != name);
            }
            if pending.is_empty() {
                break;
            }
            session.pause(|| (pending[0].to_owned(), "it is not deleted yet".to_owned())).await?;
        }
        let gone: Vec<&str> = names.iter().copied().filter(|name| deleted.contains(*name)).collect();
        session.everywhere(&gone, |known| known.is_empty()).await?;
        Ok(names.iter().map(|name| Deleted { name: (*name).to_owned(), existed: deleted.contains(*name) }).collect())
    }

    /// Lists the topics of the cluster that this client may see, by name; Kafka's own (`__consumer_offsets`) too.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unreachable`], [`ErrorKind::Timeout`]: call again. A topic without the right to describe it is left out
    /// by the brokers.
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    ///
    /// [`ErrorKind::Unreachable`]: crate::ErrorKind::Unreachable
    /// [`ErrorKind::Timeout`]: crate::ErrorKind::Timeout
    pub async fn list_topics(&self) -> Result<Vec<ListedTopic>, Error> {
        self.listed_topics().await.map_err(|error| error.with_operation(LIST))
    }

    async fn listed_topics(&self) -> Result<Vec<ListedTopic>, Error> {
        let mut partitions: BTreeMap<String, i32> = BTreeMap::new();
        for (topic, _) in Session::open(&self.kafka, self.timeout).await?.all_partitions().await? {
            *partitions.entry(topic).or_default() += 1;
        }
        Ok(partitions.into_iter().map(|(name, partitions)| ListedTopic { name, partitions }).collect())
    }

    /// Tells what a topic is like; `None` if there is none of that name.
    ///
    /// Without the right to describe its configuration (`DESCRIBE_CONFIGS`), all else is told, and
    /// [`TopicDescription::is_config_known`] is false.
    ///
    /// # Errors
    ///
    /// As for [`ensure_topics`](Self::ensure_topics), without the mismatch.
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    pub async fn describe_topic(&self, name: &str) -> Result<Option<TopicDescription>, Error> {
        self.describe(name).await.map_err(|error| error.with_operation(DESCRIBE).with_topic(name))
    }

    async fn describe(&self, name: &str) -> Result<Option<TopicDescription>, Error> {
        check_names([name])?;
        let mut session = Session::open(&self.kafka, self.timeout).await?;
        let Some(found) = session.describe_with_operations(&[name]).await?.remove(name).transpose()? else {
            return Ok(None);
        };
        let config = match session.configs(&[name]).await?.pop() {
            Some((_, Ok(config))) => Some(config),
            // Deleted in between.
            Some((_, Err(error))) if error.code == Code::UnknownTopicOrPartition => return Ok(None),
            // Who may see the topic may not see its configuration for that.
            Some((_, Err(error))) if error.code == Code::TopicAuthorizationFailed => None,
            Some((_, Err(error))) => return Err(Error::native(error)),
            None => Some(Vec::new()),
        };
        Ok(Some(TopicDescription {
            name: name.to_owned(),
            partitions: found.partitions,
            replication: found.replication,
            leaderless: found.leaderless,
            config,
            operations: found.operations.map(|names| names.iter().map(|name| AclOperation::named(name)).collect()),
        }))
    }
}

impl Kafka {
    /// Makes topics be as they should; short for [`admin().ensure_topics(..)`](Admin::ensure_topics).
    ///
    /// # Errors
    ///
    /// Those of [`Admin::ensure_topics`].
    ///
    /// # Cancel safety
    ///
    /// That of [`Admin::ensure_topics`].
    pub async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<Vec<Ensured>, Error> {
        self.admin().ensure_topics(topics).await
    }

    /// Deletes topics with everything in them; short for [`admin().delete_topics(..)`](Admin::delete_topics).
    ///
    /// # Errors
    ///
    /// Those of [`Admin::delete_topics`].
    ///
    /// # Cancel safety
    ///
    /// That of [`Admin::delete_topics`].
    pub async fn delete_topics(&self, names: &[&str]) -> Result<Vec<Deleted>, Error> {
        self.admin().delete_topics(names).await
    }
}

/// Refuses names that cannot be, and names said twice.
fn check_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for name in names {
        if !is_topic_name(name) {
            let rule = "a topic's name is 1 to 249 letters, digits, dots, underscores and dashes";
            return Err(Error::config(format!("{rule}, not {name:?}")));
        }
        if !seen.insert(name) {
            return Err(Error::config("the topic is named twice").with_topic(name));
        }
    }
    Ok(())
}

/// Compares the configuration of topics that are due for it.
async fn check_configs(session: &mut Session, progress: &mut [Progress], steps: &[Step]) -> Result<(), Error> {
    let mut due = due(progress, steps, |step| matches!(step, Step::Check));
    let names: Vec<&str> = due.iter().map(|progress| progress.spec.name.as_str()).collect();
    let configs = session.configs(&names).await?;
    for (name, config) in configs {
        let Some(progress) = due.iter_mut().find(|progress| progress.spec.name == name) else { continue };
        match config {
            Ok(config) => progress.check_config(&config)?,
            // Deleted in between, or not known to that broker yet: the next look tells.
            Err(error) if is_transient(&error) || error.code == Code::UnknownTopicOrPartition => {}
            Err(error) => return Err(Error::native(error).with_topic(name)),
        }
    }
    let unchecked = due.iter().find(|progress| !progress.checked).map(|progress| progress.spec.name.clone());
    match unchecked {
        Some(name) => session.pause(|| (name, "its configuration cannot be read yet".to_owned())).await,
        None => Ok(()),
    }
}

/// Creates the topics that are due for it. Another process may be faster; the next look tells what it has made.
async fn create(session: &mut Session, progress: &mut [Progress], steps: &[Step]) -> Result<(), Error> {
    let mut due = due(progress, steps, |step| matches!(step, Step::Create));
    let topics: Vec<NewTopic<'_>> = due.iter().map(|progress| progress.spec.as_new()).collect();
    if topics.is_empty() {
        return Ok(());
    }
    for (name, result) in session.create(&topics).await? {
        let Some(progress) = due.iter_mut().find(|progress| progress.spec.name == name) else { continue };
        match result {
            Ok(()) => {
                tracing::info!(topic = %name, partitions = progress.spec.partitions, "topic created");
                progress.change = Some(TopicChange::Created);
            }
            Err(error) if error.code == Code::TopicAlreadyExists || is_transient(&error) => {}
            Err(error) => return Err(refusal(error).with_topic(name)),
        }
    }
    Ok(())
}

/// Adds partitions to the topics that are due for it. Again another process may be faster.
async fn grow(session: &mut Session, progress: &mut [Progress], steps: &[Step]) -> Result<(), Error> {
    let mut due = due(progress, steps, |step| matches!(step, Step::Grow));
    let topics: Vec<(&str, i32)> =
        due.iter().map(|progress| (progress.spec.name.as_str(), progress.spec.partitions)).collect();
    if topics.is_empty() {
        return Ok(());
    }
    for (name, result) in session.grow(&topics).await? {
        let Some(progress) = due.iter_mut().find(|progress| progress.spec.name == name) else { continue };
        match result {
            Ok(()) => {
                let from = progress.found.as_ref().map_or(0, |found| found.partitions);
                tracing::info!(topic = %name, from, to = progress.spec.partitions, "partitions added");
                progress.change = Some(TopicChange::Grown { from });
            }
            // Somebody else has grown it, or is moving it, or has deleted it: the next look tells.
            Err(error)
                if matches!(
                    error.code,
                    Code::InvalidPartitions | Code::ReassignmentInProgress | Code::UnknownTopicOrPartition
                ) || is_transient(&error) => {}
            Err(error) => return Err(refusal(error).with_topic(name)),
        }
    }
    Ok(())
}

fn due<'a>(progress: &'a mut [Progress], steps: &[Step], wanted: impl Fn(&Step) -> bool) -> Vec<&'a mut Progress> {
    progress.iter_mut().zip(steps).filter(|(_, step)| wanted(step)).map(|(progress, _)| progress).collect()
}

/// The first topic that is not as it should be, and why; for the error when time is up.
fn still_to_do(progress: &[Progress]) -> (String, String) {
    let late = progress.iter().find(|progress| !matches!(progress.next(), Ok(Step::Done)));
    late.or(progress.first()).map(|progress| (progress.spec.name.clone(), progress.describe())).unwrap_or_default()
}

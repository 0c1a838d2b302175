//! Fetches Apache Kafka's jars, and those of a schema registry, through Maven, once a machine.
//!
//! ```text
//!   <cache>/kafka-4.3.1.lock       held while fetching, so that one process does it and the others wait
//!   <cache>/kafka-4.3.1.partial/   what Maven fills
//!   <cache>/kafka-4.3.1/           the same directory after one rename: it is complete or it is not there
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};

use super::java::{not_started, tail};

/// Something that Maven has.
pub(crate) struct Program {
    /// What people call it, with its version.
    name: &'static str,
    /// Its directory in the cache.
    folder: &'static str,
    size: &'static str,
    /// Group, artifact, version, and type and classifier where it is no plain jar.
    dependencies: &'static [(&'static str, &'static str, &'static str, &'static str)],
    /// What Maven is to do with them.
    goal: &'static [&'static str],
    /// The directory of its jars, within its own.
    jars: &'static str,
    /// The jar without which it was not fetched.
    proof: &'static str,
}

/// The Apache Kafka that the tests run against.
pub(crate) const KAFKA: Program = Program {
    name: "Apache Kafka 4.3.1",
    folder: "kafka-4.3.1",
    size: "54 MB",
    dependencies: &[
        ("org.apache.kafka", "kafka_2.13", "4.3.1", ""),
        ("org.apache.kafka", "kafka-tools", "4.3.1", ""),
        ("org.apache.logging.log4j", "log4j-core", "2.24.3", ""),
        // Kafka comes with slf4j-api 1.7, so not log4j-slf4j2-impl.
        ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.24.3", ""),
    ],
    goal: &["dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=libs"],
    jars: "libs",
    proof: "libs/kafka_2.13-4.3.1.jar",
};

/// A schema registry that speaks Confluent's API. The newest that runs on Java 17.
pub(crate) const REGISTRY: Program = Program {
    name: "Apicurio Registry 3.0.9",
    folder: "apicurio-3.0.9",
    size: "109 MB",
    dependencies: &[(
        "io.apicurio",
        "apicurio-registry-app",
        "3.0.9",
        "<type>tar.gz</type><classifier>all</classifier>",
    )],
    goal: &["dependency:unpack-dependencies", "-DexcludeTransitive=true", "-DoutputDirectory=."],
    jars: "",
    proof: "apicurio-registry-app-3.0.9-runner.jar",
};

impl Program {
    /// Returns the directory of its jars, fetching them if this machine does not have them yet.
    pub(crate) fn jars(&self) -> Result<PathBuf, String> {
        fetch(self, &cache()?, Command::new("mvn"), say)
    }
}

/// The cache is outside `target`, so that `cargo clean` does not cost a download.
pub(super) fn cache() -> Result<PathBuf, String> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = set("KAFKA_TOOLKIT_CACHE")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("kafka-toolkit")))
        .or_else(|| Some(set("HOME")?.join(".cache").join("kafka-toolkit")))
        .ok_or("no place to keep what Maven fetches: set KAFKA_TOOLKIT_CACHE to a directory")?;
    // A relative path would mean another directory to every process that reads it.
    std::path::absolute(&dir)
        .map_err(|e| format!("{} is no directory to keep what Maven fetches in: {e}", dir.display()))
}

fn fetch(program: &Program, cache: &Path, mut mvn: Command, say: fn(&str)) -> Result<PathBuf, String> {
    let Program { name, folder, size, .. } = program;
    let home = cache.join(folder);
    let jars = home.join(program.jars);
    if jars.is_dir() {
        return Ok(jars);
    }
    let failed = |e: io::Error| format!("fetching {name} into {} failed: {e}", cache.display());
    fs::create_dir_all(cache).map_err(failed)?;
    let lock = lock(&cache.join(format!("{folder}.lock")), name, say).map_err(failed)?;
    if jars.is_dir() {
        // Another process fetched them while this one waited for the lock.
        return Ok(jars);
    }
    say(&format!("fetching {name} through Maven ({size}, once) into {} ...", home.display()));
    let partial = cache.join(format!("{folder}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(failed)?;
    }
    fs::create_dir_all(&partial).map_err(failed)?;
    fs::write(partial.join("pom.xml"), pom(program)).map_err(failed)?;
    let output = run_maven(&mut mvn, program.goal, &partial, lock.try_clone().map_err(failed)?);
    let output = output.map_err(|e| not_started("mvn", &e))?;
    if !output.status.success() || !partial.join(program.proof).is_file() {
        let said = [output.stdout, output.stderr].concat();
        let said = tail(&String::from_utf8_lossy(&said), 20);
        return Err(format!("Maven did not fetch {name} ({}):\n{said}", output.status));
    }
    fs::rename(&partial, &home).map_err(failed)?;
    drop(lock);
    Ok(jars)
}

/// Runs Maven with the lock as its standard input: a lock belongs to the open file, not to a process, so a Maven
/// that outlives a killed test process still keeps others out of the directory it writes to.
pub(super) fn run_maven(mvn: &mut Command, goal: &[&str], partial: &Path, lock: File) -> io::Result<Output> {
    mvn.args(["-q", "-B"]).args(goal).current_dir(partial).stdin(lock).output()
}

pub(super) fn lock(path: &Path, name: &str, say: fn(&str)) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    // File::lock of std would do, but needs Rust 1.89.
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            say(&format!("waiting for another process that fetches {name} ..."));
            retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
        }
        done => done?,
    }
    Ok(file)
}

/// Writes a line that is seen under `cargo test` too: libtest captures what the print macros write, and only that.
pub(super) fn say(line: &str) {
    // A closed stderr is no reason to fail a test.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn pom(program: &Program) -> String {
    let dependency = |(group, artifact, version, kind): &(&str, &str, &str, &str)| {
        format!(
            "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version>{kind}</dependency>\n"
        )
    };
    let dependencies: String = program.dependencies.iter().map(dependency).collect();
    format!(
        "<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>kafka-toolkit</groupId>
  <artifactId>for-tests</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
{dependencies}  </dependencies>
</project>
"
    )
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// A Maven that runs `script` in place of a download; `calls` in the cache counts how often it is called.
    fn maven(script: &str) -> Command {
        let mut sh = Command::new("sh");
        sh.args(["-c", &format!("echo >>../calls; {script}"), "mvn"]);
        sh
    }

    fn calls(cache: &Path) -> usize {
        fs::read_to_string(cache.join("calls")).map_or(0, |calls| calls.lines().count())
    }

    fn fetch_quietly(cache: &Path, mvn: Command) -> Result<PathBuf, String> {
        fetch(&KAFKA, cache, mvn, |_| ())
    }

    fn empty_cache() -> tempfile::TempDir {
        tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary directory: {e}"))
    }

    const FILL: &str = "mkdir libs && sleep 0.2 && touch libs/kafka_2.13-4.3.1.jar";

    #[test]
    fn two_at_once_fetch_once() {
        let cache = empty_cache();
        let fetched = || fetch_quietly(cache.path(), maven(FILL));
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(fetched);
            (fetched(), other.join())
        });
        assert_eq!(one.as_deref(), Ok(cache.path().join("kafka-4.3.1/libs").as_path()));
        assert_eq!(other.ok(), Some(one));
        assert_eq!(calls(cache.path()), 1);
    }

    #[test]
    fn a_cache_that_was_left_half_filled_is_filled_anew() {
        let cache = empty_cache();
        let problem = fetch_quietly(cache.path(), maven("mkdir libs; touch libs/a.jar; echo no route to host; exit 1"));
        assert!(problem.as_ref().is_err_and(|said| said.contains("no route to host")), "{problem:?}");
        let incomplete = fetch_quietly(cache.path(), maven("mkdir libs; touch libs/a.jar"));
        assert!(incomplete.is_err(), "{incomplete:?}");

        let libs = fetch_quietly(cache.path(), maven(FILL)).unwrap_or_else(|e| panic!("{e}"));
        assert!(!libs.join("a.jar").exists());
        assert_eq!(calls(cache.path()), 3);
    }

    #[test]
    fn a_filled_cache_needs_no_maven() {
        let cache = empty_cache();
        let libs = cache.path().join("kafka-4.3.1/libs");
        fs::create_dir_all(&libs).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(fetch_quietly(cache.path(), Command::new("there-is-no-such-maven")), Ok(libs));
    }

    #[test]
    fn a_missing_maven_is_one_sentence_that_says_what_to_install() {
        let cache = empty_cache();
        let Err(said) = fetch_quietly(cache.path(), Command::new("there-is-no-such-maven")) else {
            panic!("fetched by nothing")
        };
        assert!(said.starts_with("`mvn` is not on PATH: "), "{said}");
        assert!(said.contains("Maven") && said.contains("KAFKA_BOOTSTRAP_SERVERS"), "{said}");
        assert_eq!(said.lines().count(), 1);
    }
}

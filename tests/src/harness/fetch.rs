//! Fetches Apache Kafka's jars through Maven, once a machine.
//!
//! ```text
//!   <cache>/kafka-4.3.1.lock       held while fetching, so that one process does it and the others wait
//!   <cache>/kafka-4.3.1.partial/   what Maven fills
//!   <cache>/kafka-4.3.1/libs/      the same directory after one rename: it is complete or it is not there
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};

use super::java::{not_started, tail};

/// The version of Apache Kafka that the tests run against.
const VERSION: &str = "4.3.1";

/// Returns the directory of Kafka's jars, fetching them if this machine does not have them yet.
pub(crate) fn libs() -> Result<PathBuf, String> {
    fetch(&cache()?, Command::new("mvn"), say)
}

/// The cache is outside `target`, so that `cargo clean` does not cost a download.
fn cache() -> Result<PathBuf, String> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = set("KAFKA_TOOLKIT_CACHE")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("kafka-toolkit")))
        .or_else(|| Some(set("HOME")?.join(".cache").join("kafka-toolkit")))
        .ok_or("no place to keep Apache Kafka: set KAFKA_TOOLKIT_CACHE to a directory")?;
    // A relative path would mean another directory to every process that reads it.
    std::path::absolute(&dir).map_err(|e| format!("{} is no directory to keep Apache Kafka in: {e}", dir.display()))
}

fn fetch(cache: &Path, mvn: Command, say: fn(&str)) -> Result<PathBuf, String> {
    let home = cache.join(format!("kafka-{VERSION}"));
    let libs = home.join("libs");
    if libs.is_dir() {
        return Ok(libs);
    }
    let failed = |e: io::Error| format!("fetching Apache Kafka into {} failed: {e}", cache.display());
    fs::create_dir_all(cache).map_err(failed)?;
    let lock = lock(&cache.join(format!("kafka-{VERSION}.lock")), say).map_err(failed)?;
    if libs.is_dir() {
        // Another process fetched them while this one waited for the lock.
        return Ok(libs);
    }
    say(&format!("fetching Apache Kafka {VERSION} through Maven (54 MB, once) into {} ...", home.display()));
    let partial = cache.join(format!("kafka-{VERSION}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(failed)?;
    }
    fs::create_dir_all(&partial).map_err(failed)?;
    fs::write(partial.join("pom.xml"), pom()).map_err(failed)?;
    let output = run_maven(mvn, &partial, lock.try_clone().map_err(failed)?)?;
    if !output.status.success() || !partial.join("libs").join(format!("kafka_2.13-{VERSION}.jar")).is_file() {
        let said = [output.stdout, output.stderr].concat();
        let said = tail(&String::from_utf8_lossy(&said), 20);
        return Err(format!("Maven did not fetch Apache Kafka {VERSION} ({}):\n{said}", output.status));
    }
    fs::rename(&partial, &home).map_err(failed)?;
    drop(lock);
    Ok(libs)
}

/// Runs Maven with the lock as its standard input: a lock belongs to the open file, not to a process, so a Maven
/// that outlives a killed test process still keeps others out of the directory it writes to.
fn run_maven(mut mvn: Command, partial: &Path, lock: File) -> Result<Output, String> {
    mvn.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=libs"])
        .current_dir(partial)
        .stdin(lock)
        .output()
        .map_err(|e| not_started("mvn", &e))
}

fn lock(path: &Path, say: fn(&str)) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    // File::lock of std would do, but needs Rust 1.89.
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            say("waiting for another process that fetches Apache Kafka ...");
            retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
        }
        done => done?,
    }
    Ok(file)
}

/// Writes a line that is seen under `cargo test` too: libtest captures what the print macros write, and only that.
fn say(line: &str) {
    // A closed stderr is no reason to fail a test.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn pom() -> String {
    let dependencies: String = [
        ("org.apache.kafka", "kafka_2.13", VERSION),
        ("org.apache.kafka", "kafka-tools", VERSION),
        ("org.apache.logging.log4j", "log4j-core", "2.24.3"),
        // Kafka comes with slf4j-api 1.7, so not log4j-slf4j2-impl.
        ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.24.3"),
    ]
    .iter()
    .map(|(group, artifact, version)| {
        format!(
            "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>\n"
        )
    })
    .collect();
    format!(
        "<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>kafka-toolkit</groupId>
  <artifactId>kafka-for-tests</artifactId>
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
        fetch(cache, mvn, |_| ())
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

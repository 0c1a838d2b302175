//! Asks Apache Kafka's own Java code, the last word on what interoperates.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

const PARTITIONS: &str = include_str!("../../java/Partitions.java");

/// The oldest Java that Apache Kafka's brokers run on.
const OLDEST: u32 = 17;

/// Returns the partition that Kafka's Java producer chooses for each of `keys` in a topic of `partitions`.
///
/// `libs` is the directory of Kafka's jars, [`Cluster::libs`](super::Cluster::libs). Starting Java takes about a
/// second, so ask about many keys at once.
///
/// # Panics
///
/// If Java is missing or the program fails; the message holds what it printed.
pub fn partitions(libs: &Path, keys: &[Vec<u8>], partitions: i32) -> Vec<i32> {
    ask_for_partitions(libs, keys, partitions).unwrap_or_else(|problem| panic!("{problem}"))
}

fn ask_for_partitions(libs: &Path, keys: &[Vec<u8>], partitions: i32) -> Result<Vec<i32>, String> {
    let failed = |e: io::Error| format!("running Partitions.java failed: {e}");
    let dir = tempfile::tempdir().map_err(failed)?;
    let program = dir.path().join("Partitions.java");
    std::fs::write(&program, PARTITIONS).map_err(failed)?;
    let mut java = Command::new("java")
        .arg("-cp")
        .arg(libs.join("*"))
        .arg(&program)
        .arg(partitions.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| not_started("java", &e))?;

    let lines: String = keys.iter().map(|key| hex(key) + "\n").collect();
    let input = java.stdin.take();
    // Written beside, so that neither side waits for the other with a full pipe. If Java is gone before it has
    // read everything, its status says more than the error of this write.
    let writer = thread::spawn(move || input.map(|mut input| input.write_all(lines.as_bytes())));
    let output = java.wait_with_output().map_err(failed)?;
    let _ = writer.join();

    let said = String::from_utf8_lossy(&output.stdout);
    let chosen: Result<Vec<i32>, _> = said.lines().map(str::parse).collect();
    match chosen {
        Ok(chosen) if output.status.success() && chosen.len() == keys.len() => Ok(chosen),
        _ => Err(format!(
            "Partitions.java ended with {}:\n{said}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

/// One key a line, as hex.
fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks that there is a Java new enough to run a broker.
pub(crate) fn check() -> Result<(), String> {
    let output = Command::new("java").arg("-version").output().map_err(|e| not_started("java", &e))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        // macOS has a `java` that only says that there is none.
        return Err(missing("the `java` on PATH does not run"));
    }
    match major_version(&said) {
        Some(major) if major < OLDEST => Err(missing(&format!("the `java` on PATH is version {major}"))),
        // A version that this does not understand is newer than this.
        _ => Ok(()),
    }
}

/// The sentence for a machine that cannot start a broker: what is wrong, and the two ways out.
fn missing(what: &str) -> String {
    format!(
        "{what}: to start a real Apache Kafka, install a JDK {OLDEST} or newer and Maven, or set \
         KAFKA_BOOTSTRAP_SERVERS to the address of an existing broker"
    )
}

/// The last `lines` of what a program printed.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Tells why `java` or `mvn` could not be started.
pub(crate) fn not_started(program: &str, e: &io::Error) -> String {
    match e.kind() {
        // Denied is what a directory or a plain file of that name on PATH gives.
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => missing(&format!("`{program}` is not on PATH")),
        _ => format!("`{program}` did not start: {e}"),
    }
}

/// Reads `17` from `openjdk version "17.0.15" 2025-04-15`; before Java 9 the major version was the second number.
fn major_version(said: &str) -> Option<u32> {
    let version = said.split('"').nth(1)?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match numbers.next()?.ok()? {
        1 => numbers.next()?.ok(),
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_java_is_read_old_style_and_new() {
        assert_eq!(major_version("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime ..."), Some(17));
        assert_eq!(major_version("java version \"1.8.0_292\""), Some(8));
        assert_eq!(major_version("openjdk version \"25\" 2025-09-16 LTS"), Some(25));
        assert_eq!(major_version("openjdk version \"26-ea\""), Some(26));
        assert_eq!(major_version("no idea"), None);
    }

    #[test]
    fn a_tail_is_the_last_lines_or_all_there_is() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a\n", 2), "a");
    }
}

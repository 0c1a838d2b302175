//! Programs in Java that Maven builds, once a machine and a state of their sources: the project in `interop/java`.
//!
//! ```text
//!   <cache>/dead-letters-<hash>.lock        held while building
//!   <cache>/dead-letters-<hash>.partial/    a copy of the project, which Maven builds
//!   <cache>/dead-letters-<hash>/            the same directory after one rename
//!       spring-3/target/classes, classpath  one module: its classes, and where Maven keeps the jars it needs
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use super::fetch::{cache, lock, run_maven, say};
use super::java::{self, tail};

const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/java");

/// Small programs that live for seconds: C1 alone starts faster.
const FLAGS: [&str; 4] = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"];

/// How long a program may take to do what it is for.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long to pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// A running program of `interop/java`. Gone when it is dropped, or when the process ends, in whichever way: it ends with
/// its standard input.
#[derive(Debug)]
pub struct JavaProgram {
    name: String,
    process: Child,
    dir: tempfile::TempDir,
}

impl JavaProgram {
    /// Starts the `main` of a class of this module, after building the project if this machine has not yet.
    ///
    /// # Panics
    ///
    /// If Java or Maven is missing, or the project does not build; the message says why.
    pub fn start(module: &str, class: &str, arguments: &[&str]) -> Self {
        static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let built = BUILT.get_or_init(build).as_ref().unwrap_or_else(|problem| panic!("{problem}"));
        Self::spawn(&built.join(module).join("target"), class, arguments)
            .unwrap_or_else(|e| panic!("{class} did not start: {e}"))
    }

    fn spawn(target: &Path, class: &str, arguments: &[&str]) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let log = fs::File::create(dir.path().join("log"))?;
        let jars = fs::read_to_string(target.join("classpath"))?;
        let process = Command::new("java")
            .args(FLAGS)
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .arg(format!("-Djava.io.tmpdir={}", dir.path().display()))
            .arg("-cp")
            .arg(format!("{}:{}", target.join("classes").display(), jars.trim()))
            .arg(class)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { name: class.to_owned(), process, dir })
    }

    /// Waits until `done` says so.
    ///
    /// # Panics
    ///
    /// If the program ends before, or 90 s are over; the message holds the end of what it has said.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut done: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !done() {
            let problem = match self.process.try_wait() {
                Ok(None) if begun.elapsed() < PATIENCE => {
                    thread::sleep(PAUSE);
                    continue;
                }
                Ok(None) => format!("took more than {} s", PATIENCE.as_secs()),
                Ok(Some(status)) => format!("ended with {status}"),
                Err(e) => format!("cannot be looked at ({e})"),
            };
            let said = fs::read(self.dir.path().join("log")).unwrap_or_default();
            panic!("{} {problem} before {what}; it said:\n{}", self.name, tail(&String::from_utf8_lossy(&said), 60));
        }
    }
}

impl Drop for JavaProgram {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the directory of the built project.
fn build() -> Result<PathBuf, String> {
    java::check()?;
    let sources = sources(Path::new(PROJECT)).map_err(|e| format!("{PROJECT} cannot be read: {e}"))?;
    let cache = cache()?;
    let name = format!("dead-letters-{:016x}", hash(&sources));
    let home = cache.join(&name);
    let failed = |e: io::Error| format!("building {PROJECT} into {} failed: {e}", home.display());
    fs::create_dir_all(&cache).map_err(failed)?;
    let lock = lock(&cache.join(format!("{name}.lock")), &name, say).map_err(failed)?;
    if is_whole(&home) {
        return Ok(home);
    }
    say(&format!("building the programs of the frameworks through Maven (once) into {} ...", home.display()));
    let partial = cache.join(format!("{name}.partial"));
    for left in [&partial, &home] {
        if left.exists() {
            fs::remove_dir_all(left).map_err(failed)?;
        }
    }
    for (path, content) in &sources {
        let path = partial.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&partial)).map_err(failed)?;
        fs::write(path, content).map_err(failed)?;
    }
    let output = run_maven(&mut Command::new("mvn"), &["compile"], &partial, lock.try_clone().map_err(failed)?);
    let output = output.map_err(|e| {
        format!(
            "`mvn` did not start ({e}): to build the programs of the frameworks, install Maven and a JDK 17 or newer"
        )
    })?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = tail(&String::from_utf8_lossy(&said), 30);
        return Err(format!("Maven did not build {PROJECT} ({}):\n{said}", output.status));
    }
    fs::rename(&partial, &home).map_err(failed)?;
    drop(lock);
    Ok(home)
}

/// Whether it is built, and Maven still has the jars.
fn is_whole(home: &Path) -> bool {
    let Ok(modules) = fs::read_dir(home) else { return false };
    let mut paths = modules.flatten().map(|module| module.path()).filter(|module| module.join("pom.xml").is_file());
    let has_jars = |module: PathBuf| {
        let jars = fs::read_to_string(module.join("target/classpath")).unwrap_or_default();
        !jars.is_empty() && jars.trim().split(':').all(|jar| Path::new(jar).is_file())
    };
    paths.all(has_jars)
}

/// The project's files by their paths within it, without what a build has left there.
fn sources(project: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let (mut folders, mut files) = (vec![project.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true if path.ends_with("target") => (),
                true => folders.push(path),
                false => {
                    let content = fs::read(&path)?;
                    files.push((path.strip_prefix(project).map_err(io::Error::other)?.to_owned(), content));
                }
            }
        }
    }
    files.sort();
    Ok(files)
}

/// FNV-1a over names and contents.
fn hash(files: &[(PathBuf, Vec<u8>)]) -> u64 {
    let bytes = files.iter().flat_map(|(path, content)| path.as_os_str().as_encoded_bytes().iter().chain(content));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_whole_as_long_as_maven_has_the_jars() {
        let home = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary directory: {e}"));
        let (module, jar) = (home.path().join("spring-3"), home.path().join("a.jar"));
        let write = |path: PathBuf, text: &str| fs::write(path, text).unwrap_or_else(|e| panic!("{e}"));
        fs::create_dir_all(module.join("target")).unwrap_or_else(|e| panic!("{e}"));
        write(module.join("pom.xml"), "");
        assert!(!is_whole(home.path()), "there is no class path");
        write(module.join("target/classpath"), &format!("{}\n", jar.display()));
        assert!(!is_whole(home.path()), "there is no jar");
        write(jar, "");
        assert!(is_whole(home.path()));
        assert!(!is_whole(&home.path().join("elsewhere")));
    }

    #[test]
    fn another_state_of_the_sources_has_another_name_and_what_a_build_leaves_has_none() {
        let project = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary directory: {e}"));
        let name = || hash(&sources(project.path()).unwrap_or_else(|e| panic!("{e}")));
        let write =
            |path: &str, text: &str| fs::write(project.path().join(path), text).unwrap_or_else(|e| panic!("{e}"));
        write("pom.xml", "1");
        let before = name();
        fs::create_dir(project.path().join("target")).unwrap_or_else(|e| panic!("{e}"));
        write("target/classpath", "x");
        assert_eq!(name(), before);
        write("pom.xml", "2");
        assert_ne!(name(), before);
    }
}

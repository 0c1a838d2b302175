//! Confluent's client for Python, in an environment of its own, made once a machine.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use super::fetch::{cache, lock, say};
use super::java::tail;

/// The version that the tests speak with.
const VERSION: &str = "2.16.0";

/// Runs a Python program that has confluent-kafka and its serializers, gives it `input`, and returns what it prints.
///
/// The environment is made on first use, with pip; what it needs is a `python3` with the module `venv`.
///
/// # Panics
///
/// If there is no such Python, if pip fails, or if the program does; the message holds what it said.
pub fn python(program: &str, input: &str) -> String {
    try_python(program, input).unwrap_or_else(|problem| panic!("{problem}"))
}

/// The same for those who tell it themselves.
///
/// # Errors
///
/// What [`python`] panics with.
pub fn try_python(program: &str, input: &str) -> Result<String, String> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    run(PYTHON.get_or_init(environment).as_ref()?, program, input)
}

fn run(python: &Path, program: &str, input: &str) -> Result<String, String> {
    let failed = |e: io::Error| format!("running Python failed: {e}");
    let mut child = Command::new(python)
        .args(["-I", "-W", "ignore", "-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (stdin, input) = (child.stdin.take(), input.as_bytes().to_vec());
    // Written beside, so that neither side waits for the other with a full pipe.
    let writer = thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)));
    let output = child.wait_with_output().map_err(failed)?;
    let _ = writer.join();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(said),
        false => {
            Err(format!("Python ended with {}:\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr)))
        }
    }
}

fn environment() -> Result<PathBuf, String> {
    let cache = cache()?;
    let name = format!("confluent-kafka-{VERSION}");
    let home = cache.join(&name);
    let python = home.join("bin/python");
    let failed = |e: io::Error| format!("making {} failed: {e}", home.display());
    fs::create_dir_all(&cache).map_err(failed)?;
    let lock = lock(&cache.join(format!("{name}.lock")), &name, say).map_err(failed)?;
    // The last thing that is made; what is there without it was left half done.
    let done = home.join("done");
    if done.is_file() {
        return Ok(python);
    }
    if home.exists() {
        fs::remove_dir_all(&home).map_err(failed)?;
    }
    say(&format!("installing confluent-kafka {VERSION} for Python into {} ...", home.display()));
    step(Command::new("python3").args(["-m", "venv"]).arg(&home), "install python3 with its module venv")?;
    let packages = format!("confluent-kafka[avro,json,protobuf,schemaregistry]=={VERSION}");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", packages.as_str()];
    step(Command::new(&python).args(pip), "check the package index of pip")?;
    fs::write(done, "").map_err(failed)?;
    drop(lock);
    Ok(python)
}

fn step(command: &mut Command, advice: &str) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("{:?} did not start ({e}): {advice}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{command:?} ended with {}: {advice}\n{}", output.status, tail(&String::from_utf8_lossy(&said), 20)))
}

//! A registry that lies: answers of any size and shape.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_serde::{Deleted, ErrorKind, Registry, Schema, SchemaId, Version};
use serde_json::{Value, json};

use crate::meter::Meter;
use crate::mutate::Dice;
use crate::rounds;

/// Says the same to everybody, until it is told to say something else. Ends with the process.
pub(crate) struct Liar {
    url: String,
    /// Shared, so that a liar who is measured along allocates nothing.
    answer: Arc<Mutex<Arc<Vec<u8>>>>,
}

impl Liar {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = Arc::<Mutex<Arc<Vec<u8>>>>::default();
        let said = Arc::clone(&answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = Arc::clone(&said.lock().unwrap());
                // A client that breaks off is what is hoped for.
                let _ = say(stream, &answer);
            }
        });
        Self { url, answer }
    }

    /// Every byte of it, head and all.
    pub(crate) fn says(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap() = Arc::new(answer);
    }

    pub(crate) fn says_body(&self, status: &str, body: &[u8]) {
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        self.says([head.as_bytes(), body].concat());
    }

    pub(crate) fn gives(&self, schema: &Schema) {
        let body = json!({"schema": &*schema.text, "schemaType": schema.schema_type.as_str()});
        self.says_body("200 OK", body.to_string().as_bytes());
    }

    pub(crate) fn client(&self) -> Registry {
        Registry::builder(&self.url).retries(0).timeout(Duration::from_secs(20)).build().unwrap()
    }
}

fn say(stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let mut reader = BufReader::new(&stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    reader.take(length).read_to_end(&mut Vec::new())?;
    (&stream).write_all(answer)
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The longest answer that the client reads.
const LONGEST: usize = 16 << 20;

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    let (liar, runtime, meter) = (Liar::start(), runtime(), Meter::take());
    let body = vec![b' '; 40 << 20];
    let chunk = |body: &[u8]| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        [head.as_bytes(), format!("{:x}\r\n", body.len()).as_bytes(), body].concat()
    };
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
    for (what, answer) in [
        ("chunks", chunk(&body)),
        ("a length", [length.as_bytes(), &body].concat()),
        ("no length", [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &body].concat()),
    ] {
        liar.says(answer);
        let registry = liar.client();
        // Twice the longest answer, for a vector that grows; the rest for what is read from the socket, piece by piece.
        let most = 5 * LONGEST;
        let mut failed = None;
        let used = meter.bytes(most, || failed = runtime.block_on(registry.schema(SchemaId::Id(1))).err());
        let error = failed.expect(what);
        assert_eq!(error.kind(), ErrorKind::RegistryAnswer, "{what}: {error:?}");
        assert!(error.to_string().contains("more than 16777216 bytes"), "{what}: {error}");
        assert!(used <= most, "{what}: {used} bytes");
    }
}

#[test]
fn a_length_that_is_claimed_and_not_kept_costs_nothing() {
    let (liar, runtime, meter) = (Liar::start(), runtime(), Meter::take());
    liar.says(b"HTTP/1.1 200 OK\r\nContent-Length: 16000000\r\n\r\n{\"schema\":".to_vec());
    let registry = liar.client();
    let most = 512 * 1024;
    let mut failed = None;
    let used = meter.bytes(most, || failed = runtime.block_on(registry.schema(SchemaId::Id(1))).err());
    assert_eq!(failed.expect("half an answer").kind(), ErrorKind::RegistryUnavailable);
    assert!(used <= most, "{used} bytes");
}

#[test]
fn heads_without_end_are_refused() {
    let (liar, runtime, meter) = (Liar::start(), runtime(), Meter::take());
    let long = "x".repeat(8 << 20);
    let many: String = (0..100_000).map(|n| format!("X-{n}: y\r\n")).collect();
    for head in [format!("X: {long}\r\n"), many, long] {
        liar.says(format!("HTTP/1.1 200 OK\r\n{head}\r\n{{}}").into_bytes());
        let registry = liar.client();
        let most = 8 << 20;
        let mut failed = false;
        let used = meter.bytes(most, || failed = runtime.block_on(registry.schema(SchemaId::Id(1))).is_err());
        assert!(failed && used <= most, "{used} bytes");
    }
}

#[test]
fn a_schema_that_refers_to_half_the_world_is_refused() {
    let (liar, runtime, meter) = (Liar::start(), runtime(), Meter::take());
    // Every version of every subject is this one: it refers to itself, and to two thousand others.
    let references: Vec<Value> =
        (0..2_000).map(|n| json!({"name": format!("R{n}"), "subject": format!("s{n}"), "version": 1})).collect();
    let body = json!({"schema": "\"string\"", "references": references}).to_string();
    liar.says_body("200 OK", body.as_bytes());
    let registry = liar.client();
    let most = 256 << 20;
    let mut failed = None;
    let used = meter.bytes(most, || failed = runtime.block_on(registry.schema(SchemaId::Id(1))).err());
    let error = failed.expect("it goes in circles");
    assert_eq!(error.kind(), ErrorKind::InvalidSchema, "{error:?}");
    assert!(error.to_string().len() < 8 * 1024, "{} bytes of text", error.to_string().len());
    assert!(used <= most, "{used} bytes");
}

/// Asks everything that has an answer of its own shape.
async fn ask_all(registry: &Registry) {
    let schema = Schema::avro("\"string\"");
    let mut long = Vec::new();
    let mut note =
        |error: Option<kafka_serde::Error>| long.extend(error.map(|error| format!("{error} {error:?}").len()));
    note(registry.schema(SchemaId::Id(1)).await.err());
    note(registry.latest("s").await.err());
    note(registry.register("s", &schema).await.err());
    note(registry.look_up("s", &schema).await.err());
    note(registry.subjects(Deleted::Without).await.err());
    note(registry.versions("s", Deleted::Without).await.err());
    note(registry.places(1).await.err());
    note(registry.contexts().await.err());
    note(registry.is_compatible("s", Version::Latest, &schema).await.err());
    note(registry.compatibility_level(None).await.err());
    note(registry.mode(None).await.err());
    assert!(long.iter().all(|length| *length < 32 * 1024), "{long:?}");
}

#[test]
fn answers_with_wounds_are_errors_or_answers() {
    let (liar, runtime, meter) = (Liar::start(), runtime(), Meter::take());
    let seeds = [
        r#"{"schema":"\"string\"","schemaType":"AVRO","id":1,"guid":"89791762-2336-4186-9674-299b90a802e2","version":1,
            "references":[],"metadata":{"properties":{"a":"b"}},"ruleSet":{"domainRules":[{"name":"r"}]}}"#,
        r#"["orders-value","other"]"#,
        r#"[1,2,3]"#,
        r#"[{"subject":"s","version":1}]"#,
        r#"{"is_compatible":false,"messages":["a","b"]}"#,
        r#"{"compatibilityLevel":"BACKWARD"}"#,
        r#"{"mode":"READWRITE"}"#,
        r#"{"error_code":40401,"message":"Subject 's' not found."}"#,
    ]
    .map(|text| text.as_bytes().to_vec());
    let mut dice = Dice::new(0xa45);
    for round in 0..rounds(150) {
        let body = match round {
            0 => "[".repeat(1 << 20).into_bytes(),
            1 => "{\"schema\":".repeat(1 << 18).into_bytes(),
            2 => format!(r#"{{"schema":"{}"}}"#, "x".repeat(1 << 20)).into_bytes(),
            3 => format!(r#"{{"error_code":42201,"message":"{}"}}"#, "x".repeat(1 << 20)).into_bytes(),
            4 => format!("[{}1]", "1,".repeat(1 << 18)).into_bytes(),
            _ => dice.payload(&seeds),
        };
        let status = ["200 OK", "200 OK", "404 Not Found", "409 Conflict", "422 No", "500 No"][dice.roll(6)];
        liar.says_body(status, &body);
        // Every answer is read as often as it is asked for, as bytes and as JSON.
        let most = (4 << 20) + 11 * 64 * body.len();
        let registry = liar.client();
        let used = meter.bytes(most, || runtime.block_on(ask_all(&registry)));
        assert!(used <= most, "{used} bytes for {}", String::from_utf8_lossy(&body[..body.len().min(200)]));
    }
}

//! A registry that answers what a script says, byte for byte, and writes down what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_serde::{Registry, RegistryBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) struct Script {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Script {
    /// Gives one answer a request, on a connection of its own; the last one for ever.
    pub(crate) async fn start(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers: Vec<String> = answers.iter().map(|answer| answer.to_string()).collect();
        let log = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (log, answers) = (Arc::clone(&log), answers.clone());
                tokio::spawn(answer(stream, log, answers));
            }
        });
        Self { url, asked, task }
    }

    /// The heads of all requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, log: Arc<Mutex<Vec<String>>>, answers: Vec<String>) {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                let number = {
                    let mut log = log.lock().unwrap();
                    log.push(head.to_owned());
                    log.len() - 1
                };
                let answer = answers.get(number).or(answers.last()).unwrap();
                // An answer that needs its time, so that others can ask meanwhile.
                tokio::time::sleep(Duration::from_millis(20)).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                return;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => read.extend_from_slice(&buffer[..count]),
        }
    }
}

/// An answer with a length.
pub(crate) fn answered(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// The schema `"string"`.
pub(crate) fn found() -> String {
    answered("200 OK", "", r#"{"schema":"\"string\""}"#)
}

/// A client that does not wait long.
pub(crate) fn hasty(urls: &str) -> RegistryBuilder {
    Registry::builder(urls)
        .retry_pause(Duration::from_millis(1), Duration::from_secs(3))
        .timeout(Duration::from_secs(2))
        .missing_lifetime(Duration::ZERO)
}

//! `RegistryServer` is the registry in the process behind a port.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::memory::Memory;
use super::request::{Answer, Method, Request, unescape};
use super::setting;
use crate::{Error, ErrorKind, Registry, Retry};

/// The longest request body, in bytes.
const LONGEST_BODY: usize = 16 << 20;

/// How many connections are served at a time; the next ones wait.
const MOST_CONNECTIONS: usize = 1_024;

/// How long a connection may take to send a request's head, and to stay without one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Parameters that the API knows.
const PARAMETERS: [&str; 14] = [
    "defaultToGlobal",
    "deleted",
    "deletedOnly",
    "fetchMaxId",
    "force",
    "format",
    "key",
    "latestOnly",
    "normalize",
    "permanent",
    "subject",
    "subjectPrefix",
    "value",
    "verbose",
];

/// A registry in this process, served over HTTP to whoever speaks Confluent's API: other programs, other languages.
///
/// For development and tests: what it holds is in memory, and it asks nobody who they are. Dropping it closes the port
/// and every connection.
///
/// ```
/// use kafka_serde::{Deleted, Registry, RegistryServer, Schema};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), kafka_serde::Error> {
/// let registry = Registry::in_memory();
/// let server = RegistryServer::start(&registry, "127.0.0.1:0").await?;
///
/// let remote = Registry::connect(server.url())?;
/// remote.register("orders-value", &Schema::avro(r#""string""#)).await?;
/// assert_eq!(registry.subjects(Deleted::Without).await?, ["orders-value"]);
/// # Ok(())
/// # }
/// ```
pub struct RegistryServer {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl RegistryServer {
    /// Serves `registry` on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSetting`] when `registry` is not one in this process, or the port cannot be opened.
    ///
    /// # Cancel safety
    /// Dropping the future leaves no port open.
    pub async fn start(registry: &Registry, address: impl ToSocketAddrs) -> Result<Self, Error> {
        let memory = registry.shared.memory.clone();
        let memory = memory.ok_or_else(|| setting("only a registry in this process can be served"))?;
        let unopened = |error: io::Error| {
            Error::new(ErrorKind::InvalidSetting, "the registry's port cannot be opened")
                .with_retry(Retry::Temporary)
                .with_source(error)
        };
        let listener = TcpListener::bind(address).await.map_err(unopened)?;
        let address = listener.local_addr().map_err(unopened)?;
        Ok(Self { address, accepting: tokio::spawn(accept(listener, memory)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for clients on this machine: `http://127.0.0.1:8081`.
    pub fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address.is_ipv4() {
                true => std::net::Ipv4Addr::LOCALHOST.into(),
                false => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{address}")
    }
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for RegistryServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryServer").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The connections are this task's own, and end with it.
async fn accept(listener: TcpListener, memory: Memory) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let memory = memory.clone();
                connections.spawn(async move {
                    serve(stream, memory).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the registry cannot take a connection");
                // Too many open files, most likely: a pause, in place of a busy loop.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, memory: Memory) {
    let service = service_fn(|request| {
        let memory = memory.clone();
        async move { Ok::<_, Infallible>(response(answer(&memory, request).await)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the registry broke");
    }
}

async fn answer(memory: &Memory, request: hyper::Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let method = match head.method {
        hyper::Method::GET => Method::Get,
        hyper::Method::POST => Method::Post,
        hyper::Method::PUT => Method::Put,
        hyper::Method::DELETE => Method::Delete,
        _ => return refusal(405, "HTTP 405 Method Not Allowed"),
    };
    let Some(mut asked) = read_target(method, head.uri.path(), head.uri.query().unwrap_or_default()) else {
        return refusal(400, "a wrong escape in the URL");
    };
    let body = match tokio::time::timeout(PATIENCE, Limited::new(body, LONGEST_BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return refusal(413, "HTTP 413 Request Entity Too Large"),
        Ok(Err(_)) => return refusal(400, "the body broke off"),
        Err(_) => return refusal(408, "HTTP 408 Request Timeout"),
    };
    match String::from_utf8(body.into()) {
        Ok(body) => asked.body = Some(body),
        Err(_) => return refusal(400, "Malformed request: not UTF-8"),
    }
    memory.answer(&asked)
}

/// Reads path and parameters; `None` where something is escaped wrongly.
fn read_target(method: Method, path: &str, query: &str) -> Option<Request> {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let path = segments.map(unescape).collect::<Option<Vec<String>>>()?;
    let mut request = Request { method, path, query: Vec::new(), body: None };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = unescape(name)?;
        // A newer client may send what this registry does not know, as it may to Confluent's.
        if let Some(known) = PARAMETERS.into_iter().find(|known| *known == name) {
            request.query.push((known, unescape(&value.replace('+', " "))?));
        }
    }
    Some(request)
}

fn refusal(status: u16, message: &str) -> Answer {
    let body = json!({"error_code": status, "message": message}).to_string();
    Answer { status, retry_after: None, body: body.into_bytes() }
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.body.into()));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let media = HeaderValue::from_static("application/vnd.schemaregistry.v1+json");
    response.headers_mut().insert(CONTENT_TYPE, media);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_may_hold_anything() {
        let read =
            read_target(Method::Get, "/subjects/a%2Fb%20%C3%BC/versions", "subjectPrefix=%3A%2A%3A&x=1").unwrap();
        assert_eq!(read.path, ["subjects", "a/b ü", "versions"]);
        assert_eq!(read.query, [("subjectPrefix", ":*:".to_owned())]);
        assert!(read_target(Method::Get, "/subjects/%zz", "").is_none());
        assert!(read_target(Method::Get, "/subjects", "deleted=%").is_none());
    }
}

//! `InspectServer` is an [`Inspector`] behind a port.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::Inspector;
use super::json::{Order, limit, partitions};
use crate::error::{Error, ErrorKind};

/// The longest request body, in bytes.
const LONGEST_BODY: usize = 64 << 10;
/// How many connections are served at a time; the next ones wait.
const MOST_CONNECTIONS: usize = 64;
/// How long a connection may take to send a request, and to stay without one.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many waiting records of a partition are shown, unless asked for others.
const DEFAULT_WAITING: usize = 100;
/// And at most.
const MOST_WAITING: usize = 10_000;

/// Shows over HTTP what waits in the recoveries of a consumer, and takes orders. Dropping it closes the port and every
/// connection.
///
/// | request | answer |
/// |---|---|
/// | `GET /partitions?waiting=100` | an array of [`PartitionView`](super::PartitionView)s; times in milliseconds since the epoch |
/// | `GET /health` | what [`ConsumerHandle::health`](kafka_client::ConsumerHandle::health) says: 200, or 503 if it is not live |
/// | `POST /steer` with `{"action": "retry", "topic": "billing.retry", "partition": 3, "offset": 42}` | `{"done": true}` |
///
/// The actions are those of [`Steer`](super::Steer): `retry`, `skip`, `dead-letter`, `park`, `unpark`. What cannot be done is
/// `{"error": .., "field": ..}` with 400 for a request that is wrong, 404 for a record that does not wait here, 409 for
/// something the recovery cannot do.
///
/// It asks nobody who they are, and so listens on the loopback address, for requests that name it by its address or as
/// `localhost`: a page in a browser on this machine cannot reach it by another name. For others, put something in front of
/// it that knows them.
///
/// ```no_run
/// # async fn example(consumer: kafka_client::Consumer) -> Result<(), Box<dyn std::error::Error>> {
/// use kafka_dlq::{Inspect, inspect::InspectServer};
///
/// let server = InspectServer::start(consumer.inspect(), 8085).await?;
/// println!("{}/partitions", server.url());
/// # Ok(())
/// # }
/// ```
pub struct InspectServer {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl InspectServer {
    /// Listens on this port of `127.0.0.1`; 0 takes a free one.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the port cannot be opened.
    ///
    /// # Cancel safety
    /// Dropping the future leaves no port open.
    pub async fn start(inspector: Inspector, port: u16) -> Result<Self, Error> {
        Self::start_on(inspector, SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
    }

    /// Listens on this address, for whoever can reach it.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// As [`start`](Self::start).
    pub async fn start_on(inspector: Inspector, address: SocketAddr) -> Result<Self, Error> {
        let unopened =
            |error: io::Error| Error::config(format!("address: {address} cannot be listened on")).with_source(error);
        let listener = TcpListener::bind(address).await.map_err(unopened)?;
        let address = listener.local_addr().map_err(unopened)?;
        let view = View { inspector, loopback: address.ip().is_loopback() };
        Ok(Self { address, accepting: tokio::spawn(accept(listener, Arc::new(view))) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL: `http://127.0.0.1:8085`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for InspectServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for InspectServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InspectServer").field("address", &self.address).finish_non_exhaustive()
    }
}

struct View {
    inspector: Inspector,
    /// Whether only this machine is to ask.
    loopback: bool,
}

/// The connections are this task's own, and end with it.
async fn accept(listener: TcpListener, view: Arc<View>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let view = view.clone();
                connections.spawn(async move {
                    serve(stream, view).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the inspection's port cannot take a connection");
                // Too many open files, most likely: a pause, in place of a busy loop.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, view: Arc<View>) {
    let service = service_fn(|request| {
        let view = view.clone();
        async move { Ok::<_, Infallible>(view.answer(request).await.unwrap_or_else(Refusal::into_response)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the inspection broke");
    }
}

impl View {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Refusal> {
        let (head, body) = request.into_parts();
        if self.loopback && !is_local(&head.headers) {
            return Err(Refusal::new(403, "host", "Host: this is for requests to this machine by its address"));
        }
        match (&head.method, head.uri.path()) {
            (&Method::GET, "/" | "/partitions") => {
                let most = limit(head.uri.query().unwrap_or_default(), DEFAULT_WAITING, MOST_WAITING)?;
                Ok(response(200, &partitions(&self.inspector.partitions(most).await?)))
            }
            (&Method::GET, "/health") => {
                let health = self.inspector.handle().health();
                let status = if health.live { 200 } else { 503 };
                let shown = json!({
                    "live": health.live,
                    "ready": health.ready,
                    "assigned": health.assigned,
                    "stuck": health.stuck.len(),
                    "last_commit_ms": health.last_commit.map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
                });
                Ok(response(status, &shown))
            }
            (&Method::POST, "/steer") => {
                // A form in a browser cannot send this without asking first, and is not answered then.
                if !is_json(&head.headers) {
                    return Err(Refusal::new(415, "content-type", "Content-Type: must be application/json"));
                }
                let order = Order::read(&read(body).await?)?;
                self.inspector.steer(&order.partition, order.offset, order.steer)?;
                Ok(response(200, &json!({ "done": true })))
            }
            (_, "/" | "/partitions" | "/health" | "/steer") => {
                Err(Refusal::new(405, "method", format!("method: {} is not for this path", head.method)))
            }
            (_, path) => {
                let text = format!("path: there is no {path}; there are /partitions, /health, /steer");
                Err(Refusal::new(404, "path", text))
            }
        }
    }
}

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(PATIENCE, Limited::new(body, LONGEST_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Refusal::new(413, "body", format!("body: no more than {LONGEST_BODY} bytes")))
        }
        Ok(Err(_)) => Err(Refusal::new(400, "body", "body: broke off")),
        Err(_) => Err(Refusal::new(408, "body", format!("body: not there within {PATIENCE:?}"))),
    }
}

/// Whether the request names this machine by an address, or as `localhost`: not by a name that somebody else has pointed
/// here.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
    media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// Why a request is not answered as it wants.
struct Refusal {
    status: u16,
    field: String,
    text: String,
}

impl Refusal {
    fn new(status: u16, field: &str, text: impl Into<String>) -> Self {
        Self { status, field: field.to_owned(), text: text.into() }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        response(self.status, &json!({ "error": self.text, "field": self.field }))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        // What is wrong begins with the name of the field.
        let field = text.split(':').next().unwrap_or_default().to_owned();
        match error.kind() {
            ErrorKind::NotWaiting => Self { status: 404, field: "offset".to_owned(), text },
            ErrorKind::Unsupported => Self { status: 409, field, text },
            ErrorKind::Config => Self { status: 400, field, text },
            _ => Self { status: 503, field: "consumer".to_owned(), text },
        }
    }
}

fn response(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.to_string().into_bytes().into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_name_this_machine() {
        let local = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
            is_local(&headers)
        };
        for host in ["127.0.0.1", "127.0.0.1:8085", "localhost", "LOCALHOST:1", "[::1]:8085", "[::1]"] {
            assert!(local(host), "{host}");
        }
        for host in ["evil.example", "evil.example:8085", "127.0.0.1.evil.example", "localhost.evil.example:80", ""] {
            assert!(!local(host), "{host}");
        }
        assert!(!is_local(&HeaderMap::new()));
    }
}

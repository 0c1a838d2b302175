//! `Proxy` stands between clients and a broker, to cut their connections and to keep their bytes waiting.
//!
//! ```text
//!   client ──▶ Proxy ── delay ──▶ broker
//!          ◀── delay ──   │
//!                         └─ cut(): all connections end     close(): and no new one is let through, until open()
//! ```
//!
//! A broker advertises the address of its proxy to clients, on a listener of their own: brokers talk to each other, and
//! oracles to brokers, without it.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use super::port::Port;

/// How much is read at once.
const CHUNK: usize = 64 << 10;
/// How many chunks of a direction of a connection may be on their way; then no more are read.
const MOST_CHUNKS: usize = 256;

/// A TCP proxy in front of one broker; dropped, it ends with all its connections.
pub struct Proxy {
    port: Port,
    state: Arc<State>,
    /// Dropped, it ends the thread.
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

struct State {
    target: u16,
    /// Microseconds, in each direction.
    delay: AtomicU64,
    closed: AtomicBool,
    /// Rung for connections to end.
    cut: Notify,
    connections: AtomicUsize,
    bytes: AtomicU64,
}

impl Proxy {
    /// Starts to listen on a port of its own, for a server on `target` of this machine, which need not run yet.
    ///
    /// # Panics
    ///
    /// If there is no port, or no thread.
    pub fn start(target: u16) -> Self {
        Self::try_start(target).unwrap_or_else(|problem| panic!("{problem}"))
    }

    pub(crate) fn try_start(target: u16) -> Result<Self, String> {
        let failed = |e: io::Error| format!("a proxy for port {target} did not start: {e}");
        let port = Port::claim()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let state = Arc::new(State {
            target,
            delay: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            cut: Notify::new(),
            connections: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (end, ended) = oneshot::channel();
        let serving = state.clone();
        let serve = move || {
            // The runtime ends with this, and its tasks with it.
            runtime.block_on(async {
                tokio::select! {
                    () = serving.serve(listener) => (),
                    _ = ended => (),
                }
            });
        };
        let thread = thread::Builder::new().name(format!("proxy-{target}")).spawn(serve).map_err(failed)?;
        Ok(Self { port, state, end: Some(end), thread: Some(thread) })
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The address that clients connect to.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Keeps what is sent from now on waiting for so long, in each direction: a round trip takes twice as long more. None of
    /// it is overtaken.
    pub fn delay(&self, delay: Duration) {
        self.state.delay.store(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Ends all connections; clients may connect again at once.
    pub fn cut(&self) {
        self.state.cut.notify_waiters();
    }

    /// Ends all connections and lets no new ones through, until [`open`](Self::open).
    pub fn close(&self) {
        // In this order: who connects in between is cut.
        self.state.closed.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Lets connections through again.
    pub fn open(&self) {
        self.state.closed.store(false, Ordering::SeqCst);
    }

    /// How many connections go through it now.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// How many bytes went through it, both ways.
    pub fn bytes(&self) -> u64 {
        self.state.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("port", &self.port()).field("target", &self.state.target).finish_non_exhaustive()
    }
}

impl State {
    async fn serve(self: Arc<Self>, listener: std::net::TcpListener) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(e) => panic!("a proxy cannot listen: {e}"),
        };
        loop {
            match listener.accept().await {
                Ok((client, _)) => drop(tokio::spawn(self.clone().connect(client))),
                // Of one connection that was gone again, or no file is left: others will come.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// A connection, until one of its sides ends it or it is cut.
    async fn connect(self: Arc<Self>, client: TcpStream) {
        let cut = self.cut.notified();
        tokio::pin!(cut);
        // Before the look at `closed`, so that no `close` is missed.
        cut.as_mut().enable();
        if self.closed.load(Ordering::SeqCst) {
            return;
        }
        self.connections.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            () = self.carry(client) => (),
            () = cut => (),
        }
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    async fn carry(&self, client: TcpStream) {
        // No broker there: the client sees its connection end, as it would see it refused.
        let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.target)).await else { return };
        // Errors say that a side is gone, which reading finds too.
        let _ = (client.set_nodelay(true), broker.set_nodelay(true));
        let ((from_client, to_client), (from_broker, to_broker)) = (client.into_split(), broker.into_split());
        // When one side ends, the other one has nobody to talk to: Kafka knows no half-closed connection.
        tokio::select! {
            () = self.pipe(from_client, to_broker) => (),
            () = self.pipe(from_broker, to_client) => (),
        }
    }

    /// One direction of a connection. Reading goes on while what was read waits for its time.
    async fn pipe(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
        let mut chunk = vec![0; CHUNK];
        loop {
            let due = waiting.front().map(|(due, _)| *due);
            tokio::select! {
                read = from.read(&mut chunk), if waiting.len() < MOST_CHUNKS => match read {
                    Ok(0) | Err(_) => break,
                    Ok(read) => {
                        let delay = Duration::from_micros(self.delay.load(Ordering::Relaxed));
                        let last = waiting.back().map(|(due, _)| *due);
                        let due = last.map_or(Instant::now() + delay, |last| last.max(Instant::now() + delay));
                        waiting.push_back((due, chunk[..read].to_vec()));
                    }
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let Some((_, bytes)) = waiting.pop_front() else { continue };
                    self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    if to.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    use super::*;
    use crate::harness::eventually_blocking;

    const SOON: Duration = Duration::from_secs(10);

    /// A server that says again what it hears, and a proxy in front of it.
    fn echo() -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap_or_else(|e| panic!("{e}"));
        let port = listener.local_addr().map_or(0, |address| address.port());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || stream.try_clone().map(|mut from| io::copy(&mut from, &mut stream)));
            }
        });
        Proxy::start(port)
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address()).unwrap_or_else(|e| panic!("{e}"));
        stream.set_read_timeout(Some(SOON)).unwrap_or_else(|e| panic!("{e}"));
        stream
    }

    /// Whether what is said comes back.
    fn answers(stream: &mut TcpStream, what: &[u8]) -> bool {
        let mut heard = vec![0; what.len()];
        stream.write_all(what).is_ok() && stream.read_exact(&mut heard).is_ok() && heard == what
    }

    #[test]
    fn bytes_go_through_both_ways_in_order_and_late() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        let large: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut writing = stream.try_clone().unwrap_or_else(|e| panic!("{e}"));
        let said = large.clone();
        let writer = thread::spawn(move || writing.write_all(&said));
        let mut heard = vec![0; large.len()];
        stream.read_exact(&mut heard).unwrap_or_else(|e| panic!("{e}"));
        assert!(heard == large, "all of it, in order");
        assert!(writer.join().is_ok_and(|written| written.is_ok()));
        assert_eq!(proxy.bytes(), 2_000_000);

        proxy.delay(Duration::from_millis(40));
        let start = Instant::now();
        assert!(answers(&mut stream, b"late"));
        assert!(start.elapsed() >= Duration::from_millis(80), "{:?}", start.elapsed());
        proxy.delay(Duration::ZERO);
    }

    #[test]
    fn a_cut_ends_the_connections_and_a_closed_proxy_lets_none_through() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        assert!(answers(&mut stream, b"hello"));
        assert_eq!(proxy.connections(), 1);
        proxy.cut();
        assert!(!answers(&mut stream, b"hello"), "it was cut");
        let mut stream = connect(&proxy);
        assert!(answers(&mut stream, b"again"));

        proxy.close();
        assert!(!answers(&mut stream, b"hello"), "it was cut");
        assert!(!answers(&mut connect(&proxy), b"hello"), "it is closed");
        proxy.open();
        assert!(answers(&mut connect(&proxy), b"again"));
        drop(stream);
        eventually_blocking("all connections have ended", SOON, || proxy.connections() == 0);
    }

    #[test]
    fn where_nobody_listens_the_client_sees_its_connection_end() {
        let nobody = Port::claim().unwrap_or_else(|e| panic!("{e}"));
        let proxy = Proxy::start(nobody.number());
        assert!(!answers(&mut connect(&proxy), b"hello"));
    }
}

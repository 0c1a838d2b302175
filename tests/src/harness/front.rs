//! `Front` stands in front of an HTTP server, and gives its clients trouble.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

/// What a client gets that asks through a [`Front`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The server's own answers.
    None,
    /// No connection stays open long enough for an answer.
    Stopped,
    /// Connections stay open, and nothing comes.
    Silent,
    /// "429 Too Many Requests"
    Throttled,
    /// "500 Internal Server Error"
    Failing,
    /// "200 OK", with a page in place of an answer.
    Garbage,
    /// The first half of an answer, then the end of the connection.
    Half,
}

impl Trouble {
    /// All of them, of those that are trouble.
    pub const ALL: [Self; 6] = [Self::Stopped, Self::Silent, Self::Throttled, Self::Failing, Self::Garbage, Self::Half];

    fn answer(self) -> &'static str {
        match self {
            Self::None | Self::Stopped | Self::Silent => "",
            Self::Throttled => "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            Self::Failing => "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 4\r\n\r\noops",
            Self::Garbage => "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 19\r\n\r\n<html>log in</html>",
            Self::Half => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"schema\":",
        }
    }
}

/// A server's port as troubled clients see it. Gone when it is dropped.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    orders: mpsc::Sender<(Trouble, oneshot::Sender<()>)>,
    refused: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl Front {
    /// Stands in front of `server`, without trouble so far.
    ///
    /// # Panics
    ///
    /// If no port can be opened.
    pub async fn of(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|e| panic!("no port for a front: {e}"));
        let address = listener.local_addr().unwrap_or_else(|e| panic!("a port without a number: {e}"));
        let (orders, given) = mpsc::channel(1);
        let refused = Arc::<Mutex<usize>>::default();
        let task = tokio::spawn(accept(listener, server, given, refused.clone()));
        Self { address, orders, refused, task }
    }

    /// The URL of the server behind it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on clients get this. When it returns, the connections that were open are not any more.
    ///
    /// # Panics
    ///
    /// If the runtime that it was made in is gone.
    pub async fn give(&self, trouble: Trouble) {
        let (done, given) = oneshot::channel();
        let ordered = self.orders.send((trouble, done)).await;
        ordered.unwrap_or_else(|_| panic!("the front is gone"));
        given.await.unwrap_or_else(|_| panic!("the front is gone"));
    }

    /// How many requests have met trouble.
    pub fn refused(&self) -> usize {
        *self.refused.lock()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The connections are this task's own, and end with it.
async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    mut orders: mpsc::Receiver<(Trouble, oneshot::Sender<()>)>,
    refused: Arc<Mutex<usize>>,
) {
    let mut connections = JoinSet::new();
    let mut now = Trouble::None;
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => {
                let Some((trouble, done)) = order else { return };
                connections.shutdown().await;
                now = trouble;
                let _ = done.send(());
            }
            Some(_) = connections.join_next() => (),
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                connections.spawn(serve(client, server, now, refused.clone()));
            }
        }
    }
}

async fn serve(mut client: TcpStream, server: SocketAddr, trouble: Trouble, refused: Arc<Mutex<usize>>) {
    if trouble == Trouble::None {
        if let Ok(mut server) = TcpStream::connect(server).await {
            // Whichever side breaks off, the other one hears of it.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
        return;
    }
    if trouble == Trouble::Stopped {
        *refused.lock() += 1;
        return;
    }
    // A request is small, and comes in one piece.
    let mut request = [0; 16 * 1024];
    if !matches!(client.read(&mut request).await, Ok(1..)) {
        return;
    }
    *refused.lock() += 1;
    match trouble {
        Trouble::Silent => tokio::time::sleep(Duration::from_secs(600)).await,
        _ => drop(client.write_all(trouble.answer().as_bytes()).await),
    }
}

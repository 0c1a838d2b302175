//! A way to a broker that can be cut, or be long, while other clients go on: a proxy, which the broker names to whoever
//! comes by it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tests::harness::Cluster;

/// A broker, and the way to it; one test at a time has it for itself.
pub(crate) struct Way {
    shared: MutexGuard<'static, Option<Shared>>,
}

struct Shared {
    cluster: Cluster,
    bootstrap: String,
    road: Arc<Road>,
}

#[derive(Default)]
struct Road {
    is_cut: AtomicBool,
    /// How long everything takes, in milliseconds.
    takes: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Way {
    /// Waits until no other test has it, and mends it.
    pub(crate) fn shared() -> Self {
        static SHARED: Mutex<Option<Shared>> = Mutex::new(None);
        let mut shared = SHARED.lock();
        let way = shared.get_or_insert_with(|| Shared::start().unwrap_or_else(|e| panic!("no proxy: {e}")));
        way.road.is_cut.store(false, SeqCst);
        way.road.takes.store(0, SeqCst);
        Self { shared }
    }

    fn get(&self) -> &Shared {
        self.shared.as_ref().expect("it was started before it was handed out")
    }

    /// The cluster, and the direct way to it.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.get().cluster
    }

    /// Where the way begins.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.get().bootstrap
    }

    /// Breaks every connection, and lets no new one through.
    pub(crate) fn cut(&self) {
        let road = &self.get().road;
        road.is_cut.store(true, SeqCst);
        for stream in road.open.lock().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Makes the way take so long, there and back each.
    pub(crate) fn takes(&self, millis: u64) {
        self.get().road.takes.store(millis, SeqCst);
    }

    /// Lets connections through again.
    pub(crate) fn mend(&self) {
        self.get().road.is_cut.store(false, SeqCst);
    }
}

impl Shared {
    fn start() -> io::Result<Self> {
        let cluster = Cluster::start(1);
        let entry = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        // Free now; it is taken as soon as the broker is there again.
        let behind = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let bootstrap = entry.local_addr()?.to_string();
        let file = cluster.node(0).dir().join("server.properties");
        let also = |line: &str| match line.split_once('=') {
            Some(("listeners", _)) => format!("{line},WAY://127.0.0.1:{behind}"),
            Some(("advertised.listeners", _)) => format!("{line},WAY://{bootstrap}"),
            Some(("listener.security.protocol.map", _)) => format!("{line},WAY:PLAINTEXT"),
            _ => line.to_owned(),
        };
        let properties: Vec<String> = std::fs::read_to_string(&file)?.lines().map(also).collect();
        std::fs::write(&file, properties.join("\n"))?;
        cluster.node(0).kill();
        cluster.node(0).start();
        let road = Arc::new(Road::default());
        let open = road.clone();
        thread::spawn(move || entry.incoming().flatten().for_each(|client| open.join(&client, behind)));
        Ok(Self { cluster, bootstrap, road })
    }
}

impl Road {
    fn join(self: &Arc<Self>, client: &TcpStream, behind: u16) {
        let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)) else { return };
        let mut open = self.open.lock();
        // Under the lock: whoever cuts the way finds either the flag read before or the connection.
        if self.is_cut.load(SeqCst) {
            return;
        }
        let copies = [client, &broker].map(|one| one.try_clone().expect("a socket can be cloned"));
        open.extend(copies);
        for (from, to) in [(client, &broker), (&broker, client)] {
            let both = [from, to].map(|one| one.try_clone().expect("a socket can be cloned"));
            let road = self.clone();
            thread::spawn(move || {
                let [mut from, mut to] = both;
                let _ = road.copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    }
    fn copy(&self, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(self.takes.load(SeqCst)));
            to.write_all(&buffer[..read])?;
        }
    }
}

//! `Breakable` is a broker that one test at a time may stop and kill: a start for all such tests, not one for each.

use std::ops::Deref;

use parking_lot::{Mutex, MutexGuard};

use super::{Cluster, Node};

/// A cluster of one node that the holder has for itself, to break.
///
/// However it is left, the next holder gets it whole: whoever breaks it and panics spoils nothing for others.
#[derive(Debug)]
pub struct Breakable {
    cluster: MutexGuard<'static, Option<Cluster>>,
}

impl Cluster {
    /// Waits until no other test of this process holds the breakable cluster, and returns it with its node running.
    ///
    /// # Panics
    ///
    /// If it does not start; the next call tries again.
    pub fn breakable() -> Breakable {
        static BREAKABLE: Mutex<Option<Cluster>> = Mutex::new(None);
        let mut cluster = BREAKABLE.lock();
        let node = cluster.get_or_insert_with(|| Cluster::start(1)).node(0);
        match node.pid() {
            Some(_) => node.cont(),
            None => node.start(),
        }
        Breakable { cluster }
    }
}

impl Breakable {
    /// The one node.
    pub fn broker(&self) -> &Node {
        self.node(0)
    }
}

impl Deref for Breakable {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster.as_ref().unwrap_or_else(|| unreachable!("it was started before the guard was handed out"))
    }
}

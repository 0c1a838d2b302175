//! Our registry, served over HTTP for clients that know nothing of this process.

use kafka_serde::{Registry, RegistryServer};
use tokio::runtime::{Builder, Runtime};

use crate::frame::Outcome;

/// An empty registry on a free port, served by a thread of its own as long as this lives. Whoever is warm asks it nothing.
pub(crate) struct Place {
    server: RegistryServer,
    _runtime: Runtime,
}

impl Place {
    pub(crate) fn new() -> Outcome<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let server = runtime.block_on(RegistryServer::start(&Registry::in_memory(), "127.0.0.1:0"))?;
        Ok(Self { server, _runtime: runtime })
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }
}

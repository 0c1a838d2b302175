//! A registry in this process: Confluent's documented behaviour without a server, and the same behind a port.
//!
//! ```text
//!   Registry::in_memory() ──┐
//!                           ├──▶ routes (the REST API) ──▶ store (contexts, subjects, versions) ──▶ compatibility
//!   RegistryServer (HTTP) ──┘
//! ```
//!
//! A client in the process asks by the same requests that travel over HTTP, so that what is proven of one holds for the
//! other.

mod levels;
mod reads;
mod refusal;
mod routes;
mod store;
mod subject;
mod writes;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use parking_lot::Mutex;

use super::failure::Failure;
use super::request::{Answer, Request};
use super::transport::Transport;
use store::Store;

/// The registries that are found by name, while somebody uses them.
static NAMED: LazyLock<Mutex<HashMap<String, Weak<Shelf>>>> = LazyLock::new(Mutex::default);

#[derive(Clone)]
pub(crate) struct Memory {
    shelf: Arc<Shelf>,
}

struct Shelf {
    name: String,
    store: Mutex<Store>,
}

impl Memory {
    pub(crate) fn new(name: &str) -> Self {
        let shelf = Shelf { name: name.to_owned(), store: Mutex::new(Store::default()) };
        Self { shelf: Arc::new(shelf) }
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut named = NAMED.lock();
        named.retain(|_, shelf| shelf.strong_count() > 0);
        if let Some(shelf) = named.get(name).and_then(Weak::upgrade) {
            return Self { shelf };
        }
        let memory = Self::new(name);
        named.insert(name.to_owned(), Arc::downgrade(&memory.shelf));
        memory
    }

    pub(crate) fn answer(&self, request: &Request) -> Answer {
        routes::answer(&mut self.shelf.store.lock(), request)
    }
}

impl Transport for Memory {
    fn send<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Answer, Failure>> {
        ready(Ok(self.answer(request))).boxed()
    }

    fn name(&self) -> String {
        format!("mock://{}", self.shelf.name)
    }
}

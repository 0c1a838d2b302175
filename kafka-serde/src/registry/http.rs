//! `Http` carries requests to a registry on the network: retry around failover around one exchange.

mod auth;
mod builder;
mod environment;
mod exchange;
mod oauth;
mod retry;
mod tls;

pub use builder::RegistryBuilder;
pub use oauth::OAuth;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::failure::Failure;
use super::request::{Answer, Request};
use super::transport::{Transport, in_a_runtime};
use crate::{ErrorKind, Retry};
use auth::Auth;
use exchange::{Broken, exchange};
use retry::Policy;

struct Http {
    client: reqwest::Client,
    urls: Vec<Base>,
    /// The one that answered last, so that a registry that is down is not asked first again.
    preferred: AtomicUsize,
    auth: Auth,
    retry: Policy,
    retries: AtomicU64,
}

/// Where a registry is, and what its URL says about who asks.
struct Base {
    /// Without user info, and without a slash at the end.
    url: String,
    auth: Option<Auth>,
}

impl Http {
    /// Asks until there is an answer that another attempt would not change.
    async fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        in_a_runtime()?;
        let mut attempt = 0;
        loop {
            let outcome = self.ask_all(request).await;
            let Some(pause) = self.retry.pause(request, &outcome, attempt, fastrand::f64()) else {
                return outcome.map_err(|broken| self.failure(request, broken, attempt));
            };
            tracing::debug!(request = request.name(), attempt, ?pause, "the registry is asked again");
            tokio::time::sleep(pause).await;
            self.retries.fetch_add(1, Relaxed);
            attempt += 1;
        }
    }

    /// Asks each registry once, beginning with the one that answered last, until one answers for good.
    async fn ask_all(&self, request: &Request) -> Result<Answer, Broken> {
        let first = self.preferred.load(Relaxed);
        let mut outcome = self.ask_one(request, first).await;
        for next in 1..self.urls.len() {
            if !retry::can_repeat(request, &outcome) {
                break;
            }
            let index = (first + next) % self.urls.len();
            self.retries.fetch_add(1, Relaxed);
            outcome = self.ask_one(request, index).await;
            if !retry::is_outage(&outcome) {
                self.preferred.store(index, Relaxed);
            }
        }
        outcome
    }

    async fn ask_one(&self, request: &Request, index: usize) -> Result<Answer, Broken> {
        let base = &self.urls[index];
        let auth = base.auth.as_ref().unwrap_or(&self.auth);
        let outcome = exchange(&self.client, &base.url, auth, request).await;
        match outcome {
            // The token may have been withdrawn before its time.
            Ok(answer) if answer.status == 401 && auth.renew().await => {
                self.retries.fetch_add(1, Relaxed);
                exchange(&self.client, &base.url, auth, request).await
            }
            outcome => outcome,
        }
    }

    fn failure(&self, request: &Request, broken: Broken, attempts: u32) -> Failure {
        match broken {
            Broken::Settled(failure) => failure,
            Broken::Lost { why, .. } => {
                let again = if attempts == 0 { String::new() } else { format!(", {} attempts", attempts + 1) };
                let message = format!("{} got no answer from {}{again}", request.name(), self.name());
                Failure::new(ErrorKind::RegistryUnavailable, message).with_retry(Retry::Temporary).with_source(why)
            }
        }
    }
}

impl Transport for Http {
    fn send<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Answer, Failure>> {
        self.ask(request).boxed()
    }

    fn name(&self) -> String {
        self.urls.iter().map(|base| base.url.as_str()).collect::<Vec<_>>().join(",")
    }

    fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }
}

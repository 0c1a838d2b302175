//! Who asks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;

use super::oauth::Tokens;
use crate::Error;
use crate::ErrorKind;
use crate::Retry;
use crate::registry::failure::Failure;

type Provide = dyn Fn() -> BoxFuture<'static, Result<String, Error>> + Send + Sync;

/// Where the `Authorization` header comes from.
pub(super) enum Auth {
    None,
    /// The same each time.
    Fixed(String),
    /// Tokens that expire.
    Tokens(Box<Tokens>),
    /// The user's own function.
    Custom(Box<Provide>),
}

impl Auth {
    pub(super) fn basic(user: &str, password: &str) -> Self {
        Self::Fixed(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    }

    pub(super) fn bearer(token: &str) -> Self {
        Self::Fixed(format!("Bearer {token}"))
    }

    pub(super) async fn header(&self, client: &reqwest::Client) -> Result<Option<String>, Failure> {
        match self {
            Auth::None => Ok(None),
            Auth::Fixed(value) => Ok(Some(value.clone())),
            Auth::Tokens(tokens) => Ok(Some(format!("Bearer {}", tokens.token(client).await?))),
            Auth::Custom(provide) => provide().await.map(Some).map_err(|error| {
                let retry = if error.retry() == Retry::Permanent { Retry::Permanent } else { Retry::Temporary };
                let kind = match retry {
                    Retry::Permanent => ErrorKind::AccessDenied,
                    _ => ErrorKind::RegistryUnavailable,
                };
                Failure::new(kind, "the provider of credentials failed").with_retry(retry).with_source(error)
            }),
        }
    }

    /// Whether other credentials may be accepted where these were not.
    pub(super) async fn renew(&self) -> bool {
        match self {
            Auth::Tokens(tokens) => tokens.forget().await,
            _ => false,
        }
    }
}

//! OAuth 2 client credentials: a token is fetched once for all who need it, and again before it expires.

use std::fmt;
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use tokio::sync::Mutex;

use super::auth::Auth;
use super::exchange::bounded;
use crate::registry::failure::Failure;
use crate::registry::request::escape;
use crate::{ErrorKind, Retry};

/// How long a token is believed to hold where the answer does not say.
const UNSAID: Duration = Duration::from_secs(300);

/// The longest answer of an issuer that is read, in bytes; tokens have some thousand.
const LONGEST_ANSWER: usize = 1 << 20;

/// OAuth 2 client credentials: `bearer.auth.credentials.source=OAUTHBEARER` in Java.
///
/// ```
/// use kafka_serde::{OAuth, Registry};
///
/// let oauth = OAuth::new("https://login.example.com/oauth2/token", "orders-service", "secret").scope("registry");
/// let registry = Registry::builder("https://registry.example.com").oauth(oauth).build()?;
/// # Ok::<(), kafka_serde::Error>(())
/// ```
#[derive(Clone)]
pub struct OAuth {
    pub(super) token_url: String,
    client_id: String,
    client_secret: String,
    scope: Option<String>,
}

impl OAuth {
    /// Tokens come from `token_url` (`bearer.auth.issuer.endpoint.url`), for this client and its secret.
    pub fn new(token_url: impl Into<String>, client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        let (token_url, client_id) = (token_url.into(), client_id.into());
        Self { token_url, client_id, client_secret: client_secret.into(), scope: None }
    }

    /// Asks for a token of this scope; without it the issuer decides. Corresponds to `bearer.auth.scope`.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    async fn fetch(&self, client: &reqwest::Client) -> Result<Token, Failure> {
        let unavailable = |why: &str| {
            Failure::new(ErrorKind::RegistryUnavailable, format!("no token for the registry: the issuer {why}"))
                .with_retry(Retry::Temporary)
        };
        let mut form = "grant_type=client_credentials".to_owned();
        if let Some(scope) = &self.scope {
            form.push_str("&scope=");
            escape(scope, &mut form);
        }
        // The standard has both escaped before they are joined.
        let (mut id, mut secret) = (String::new(), String::new());
        escape(&self.client_id, &mut id);
        escape(&self.client_secret, &mut secret);
        let Auth::Fixed(basic) = Auth::basic(&id, &secret) else { return Err(unavailable("has no client")) };
        let mut basic = HeaderValue::try_from(basic).map_err(|_| unavailable("cannot be sent the client"))?;
        basic.set_sensitive(true);
        let asked = client
            .post(&self.token_url)
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, basic)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        let answered = asked.send().await;
        let mut response = answered.map_err(|error| unavailable("gave no answer").with_source(error.without_url()))?;
        let status = response.status().as_u16();
        let body = bounded(&mut response, LONGEST_ANSWER).await;
        let body = body.map_err(|error| unavailable("broke off").with_source(error.without_url()))?;
        let body = body.ok_or_else(|| unavailable(&format!("answered more than {LONGEST_ANSWER} bytes")))?;
        match status {
            200..=299 => Token::read(&body).ok_or_else(|| unavailable("answered without a token")),
            408 | 429 | 500.. => Err(unavailable(&format!("answered {status}"))),
            _ => {
                let message = format!(
                    "no token for the registry: the issuer answered {status}; check client id, secret and scope"
                );
                Err(Failure::new(ErrorKind::AccessDenied, message))
            }
        }
    }
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

struct Token {
    text: String,
    /// From when on another one is fetched: four fifths of its life.
    renew_at: Instant,
    ends_at: Instant,
}

impl Token {
    fn read(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let text = body.get("access_token")?.as_str()?.to_owned();
        let life = match body.get("expires_in").and_then(Value::as_u64) {
            // A year is as good as for ever, and cannot overflow a clock.
            Some(seconds) => Duration::from_secs(seconds.min(365 * 24 * 3_600)),
            None => UNSAID,
        };
        let now = Instant::now();
        Some(Self { text, renew_at: now + life * 4 / 5, ends_at: now + life })
    }
}

/// The token in use.
pub(super) struct Tokens {
    oauth: OAuth,
    /// Held while a token is fetched, so that everybody else waits for that one.
    current: Mutex<Option<Token>>,
}

impl Tokens {
    pub(super) fn new(oauth: OAuth) -> Self {
        Self { oauth, current: Mutex::new(None) }
    }

    pub(super) async fn token(&self, client: &reqwest::Client) -> Result<String, Failure> {
        let mut current = self.current.lock().await;
        let now = Instant::now();
        match &*current {
            Some(token) if now < token.renew_at => return Ok(token.text.clone()),
            _ => {}
        }
        match (self.oauth.fetch(client).await, &*current) {
            (Ok(token), _) => Ok(current.insert(token).text.clone()),
            // It holds a while longer, and so may the issuer's outage be over in time.
            (Err(_), Some(token)) if now < token.ends_at => Ok(token.text.clone()),
            (Err(failure), _) => Err(failure),
        }
    }

    /// Forgets the token; whether there was one.
    pub(super) async fn forget(&self) -> bool {
        self.current.lock().await.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> reqwest::Client {
        // Fails where it is set already, which is what is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder().no_proxy().build().unwrap()
    }

    /// A token that is due for another one, and holds for an hour yet.
    fn due() -> Tokens {
        // Nobody listens there.
        let tokens = Tokens::new(OAuth::new("http://127.0.0.1:1/token", "id", "secret"));
        let now = Instant::now();
        let token = Token { text: "old".into(), renew_at: now, ends_at: now + Duration::from_secs(3_600) };
        Tokens { current: Mutex::new(Some(token)), ..tokens }
    }

    #[test]
    fn a_token_is_due_for_renewal_when_a_fifth_of_its_life_is_left() {
        let token = Token::read(br#"{"access_token":"t","expires_in":500}"#).unwrap();
        assert_eq!(token.ends_at - token.renew_at, Duration::from_secs(100));
        assert_eq!(
            Token::read(br#"{"access_token":"t"}"#).map(|token| token.ends_at - token.renew_at),
            Some(UNSAID / 5)
        );
        assert!(Token::read(br#"{"access_token":"t","expires_in":18446744073709551615}"#).is_some());
        assert!(Token::read(b"{}").is_none() && Token::read(b"token").is_none());
    }

    #[tokio::test]
    async fn a_token_that_still_holds_outlasts_an_outage_of_its_issuer() {
        assert_eq!(due().token(&client()).await.unwrap(), "old");
        let spent = due();
        spent.current.lock().await.as_mut().unwrap().ends_at = Instant::now();
        assert!(spent.token(&client()).await.is_err(), "and one that does not is not used");
    }
}

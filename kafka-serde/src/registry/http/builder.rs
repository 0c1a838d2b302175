//! `RegistryBuilder` is everything that can be said about a registry.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use futures::FutureExt;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Proxy, Url, redirect};

use super::auth::Auth;
use super::oauth::{OAuth, Tokens};
use super::retry::Policy;
use super::tls::Tls;
use super::{Base, Http};
use crate::registry::settings::Settings;
use crate::registry::{Memory, setting};
use crate::{Error, Registry};

/// Settings of a [`Registry`] on the network; [`build`](Self::build) checks them all. Nothing is connected before the
/// first question.
///
/// ```
/// use std::time::Duration;
/// use kafka_serde::Registry;
///
/// let registry = Registry::builder("https://registry-1:8081,https://registry-2:8081")
///     .basic_auth("orders-service", "secret")
///     .timeout(Duration::from_secs(5))
///     .build()?;
/// # Ok::<(), kafka_serde::Error>(())
/// ```
#[must_use = "nothing is set up before build()"]
pub struct RegistryBuilder {
    urls: String,
    settings: Settings,
    auths: Vec<Auth>,
    token_url: Option<String>,
    headers: Vec<(String, String)>,
    tls: Tls,
    proxy: Option<String>,
    connect_timeout: Duration,
    timeout: Duration,
    retry: Policy,
}

impl RegistryBuilder {
    pub(super) fn new(urls: String) -> Self {
        Self {
            urls,
            settings: Settings::default(),
            auths: Vec::new(),
            token_url: None,
            headers: Vec::new(),
            tls: Tls::default(),
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            retry: Policy::default(),
        }
    }

    /// Sends a user's name and password, as `basic.auth.user.info` does. A URL may hold them in place of this:
    /// `https://user:password@registry`.
    pub fn basic_auth(self, user: &str, password: &str) -> Self {
        self.auth(Auth::basic(user, password))
    }

    /// Sends a token that does not expire: `bearer.auth.token`.
    pub fn bearer_token(self, token: &str) -> Self {
        self.auth(Auth::bearer(token))
    }

    /// Sends tokens of an OAuth issuer, each fetched once and again before it expires.
    pub fn oauth(mut self, oauth: OAuth) -> Self {
        self.token_url = Some(oauth.token_url.clone());
        self.auth(Auth::Tokens(Box::new(Tokens::new(oauth))))
    }

    /// Asks `provide` before each request for the value of the `Authorization` header: `Bearer ...`. It should remember
    /// what holds for longer.
    ///
    /// An error of it that is [`Retry::Permanent`](crate::Retry::Permanent) is one of access, any other is an outage.
    pub fn authorization<F, A>(self, provide: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<String, Error>> + Send + 'static,
    {
        self.auth(Auth::Custom(Box::new(move || provide().boxed())))
    }

    fn auth(mut self, auth: Auth) -> Self {
        self.auths.push(auth);
        self
    }

    /// Sends this header with each request: `request.header.*`; for Confluent Cloud `target-sr-cluster` and
    /// `Confluent-Identity-Pool-Id`. The value is not printed.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Trusts these certificate authorities, in PEM form, in place of the platform's: `ssl.ca.location`.
    pub fn ca_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.authorities = Some(pem.into());
        self
    }

    /// Shows this certificate (with its chain) and proves it by this key, both in PEM form: mutual TLS,
    /// `ssl.certificate.location` and `ssl.key.location`.
    pub fn client_certificate(mut self, chain_pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> Self {
        self.tls.identity = Some((chain_pem.into(), key_pem.into()));
        self
    }

    /// Goes through this HTTP proxy; a user and a password may be in its URL. Without it none is used, whatever
    /// `HTTPS_PROXY` says. Corresponds to `proxy.host` and `proxy.port`.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(url.into());
        self
    }

    /// Sets how long opening a connection may take, overriding the default of 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long one attempt may take up to the last byte of its answer, overriding the default of 60 s.
    /// Corresponds to `http.read.timeout.ms`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how often a request is sent again when no registry could answer it now (a broken connection, 408, 429, 500,
    /// 502, 503, 504), overriding the default of 3. Corresponds to `max.retries`. A deletion that may have been done is
    /// never sent again.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retry.retries = retries;
        self
    }

    /// Sets the longest first pause before a request is sent again, and the longest of all, overriding 1 s and 20 s. A
    /// pause is anything from nothing to its longest, which doubles each time. A registry that asks by `Retry-After` for
    /// a longer one than `longest` is not asked again. Correspond to `retries.wait.ms` and `retries.max.wait.ms`.
    pub fn retry_pause(mut self, first: Duration, longest: Duration) -> Self {
        self.retry.first_pause = first;
        self.retry.longest_pause = longest;
        self
    }

    /// Puts every subject without a context of its own into this one; see [`Registry::with_context`].
    pub fn context(mut self, name: &str) -> Self {
        self.settings.context = Settings::context_named(name);
        self
    }

    /// Sets how many schemas are remembered, overriding the default of 4,096.
    pub fn capacity(mut self, schemas: usize) -> Self {
        self.settings.capacity = schemas;
        self
    }

    /// Sets after how long a "latest" is renewed, overriding the default of 60 s. Corresponds to
    /// `latest.cache.ttl.sec`.
    pub fn latest_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.latest_lifetime = lifetime;
        self
    }

    /// Sets how long "there is no such schema" is remembered, overriding the default of 10 s; zero asks each time.
    /// Corresponds to `missing.schema.cache.ttl.sec`.
    pub fn missing_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.missing_lifetime = lifetime;
        self
    }

    /// The registry's handle.
    ///
    /// # Errors
    /// [`InvalidSetting`](crate::ErrorKind::InvalidSetting), which names the setting: a URL that is none, two ways to
    /// authenticate, certificates that cannot be used, a header that cannot be sent.
    pub fn build(self) -> Result<Registry, Error> {
        for (name, duration) in [("timeout", self.timeout), ("connect_timeout", self.connect_timeout)] {
            if duration.is_zero() {
                return Err(setting(format!("{name}: must be longer than nothing")));
            }
        }
        if self.settings.capacity == 0 {
            return Err(setting("capacity: must be 1 or more"));
        }
        if self.auths.len() > 1 {
            return Err(setting("two ways to authenticate are set: choose one"));
        }
        if let Some(name) = self.urls.trim().strip_prefix("mock://") {
            return Ok(Registry::of_memory(Memory::named(name), self.settings));
        }
        let urls = self.bases()?;
        if !self.auths.is_empty() && urls.iter().any(|base| base.auth.is_some()) {
            return Err(setting("url: holds a user, while another way to authenticate is set: choose one"));
        }
        if let Some(url) = &self.token_url {
            base("oauth: the token url", url)?;
        }
        let http = Http {
            client: self.client()?,
            urls,
            preferred: AtomicUsize::new(0),
            auth: self.auths.into_iter().next().unwrap_or(Auth::None),
            retry: self.retry,
            retries: AtomicU64::new(0),
        };
        Ok(Registry::new(Arc::new(http), None, self.settings))
    }

    fn bases(&self) -> Result<Vec<Base>, Error> {
        let urls = self.urls.split(',').map(str::trim).filter(|url| !url.is_empty());
        let bases: Vec<Base> = urls.map(|url| base("url", url)).collect::<Result<_, _>>()?;
        if bases.is_empty() {
            return Err(setting("url: is empty; it holds one or more of http://host:port, separated by commas"));
        }
        Ok(bases)
    }

    fn client(&self) -> Result<Client, Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let key = HeaderName::try_from(name).map_err(|_| setting(format!("header {name:?}: no header's name")))?;
            if key == AUTHORIZATION {
                return Err(setting("header: Authorization is set by basic_auth, bearer_token, oauth, authorization"));
            }
            let value = HeaderValue::try_from(value);
            let mut value = value.map_err(|_| setting(format!("header {name:?}: a value that cannot be sent")))?;
            value.set_sensitive(true);
            headers.append(key, value);
        }
        let mut client = Client::builder()
            .tls_backend_preconfigured(self.tls.config()?)
            .default_headers(headers)
            .user_agent(concat!("kafka-serde/", env!("CARGO_PKG_VERSION")))
            // A redirection would carry headers and schemas to where nobody meant them to go.
            .redirect(redirect::Policy::none())
            .connect_timeout(self.connect_timeout)
            .timeout(self.timeout)
            .no_proxy();
        if let Some(proxy) = &self.proxy {
            // The cause is not shown: it may quote a password.
            let proxy = Proxy::all(proxy).map_err(|_| setting("proxy: not a URL as http://host:port"))?;
            client = client.proxy(proxy);
        }
        client.build().map_err(|error| setting("no HTTP client can be made").with_source(error.without_url()))
    }
}

/// Reads a URL; errors do not show what stands before its host.
fn base(name: &str, text: &str) -> Result<Base, Error> {
    let shown = text.rsplit('@').next().unwrap_or_default();
    let refused = |why: &str| setting(format!("{name}: {shown:?} {why}"));
    let mut url = Url::parse(text).map_err(|error| refused("is not a URL as http://host:port").with_source(error))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refused("is not a URL as http://host:port"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("has something after its path"));
    }
    let auth = match (url.username(), url.password()) {
        ("", None) => None,
        (user, password) => Some(Auth::basic(&decoded(user), &decoded(password.unwrap_or_default()))),
    };
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(refused("cannot be used without its user"));
    }
    Ok(Base { url: url.as_str().trim_end_matches('/').to_owned(), auth })
}

/// What a part of a URL stands for; a part that is escaped wrongly stands for itself.
fn decoded(part: &str) -> String {
    crate::registry::request::unescape(part).unwrap_or_else(|| part.to_owned())
}

impl fmt::Debug for RegistryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // URLs, headers and the proxy may hold secrets.
        f.debug_struct("RegistryBuilder")
            .field("settings", &self.settings)
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// A registry on the network, with settings: one URL as `https://host:8081`, or several of one registry separated
    /// by commas, of which the next is asked where one does not answer. `mock://name` is
    /// [`in_memory_named`](Self::in_memory_named).
    pub fn builder(urls: impl Into<String>) -> RegistryBuilder {
        RegistryBuilder::new(urls.into())
    }

    /// A registry on the network with the default settings.
    ///
    /// # Errors
    /// As [`RegistryBuilder::build`].
    pub fn connect(urls: impl Into<String>) -> Result<Self, Error> {
        Self::builder(urls).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn refused(builder: RegistryBuilder) -> String {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSetting);
        format!("{error} {error:?}")
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (urls, named) in [
            ("", "url: is empty"),
            (" , ", "url: is empty"),
            ("registry:8081", "is not a URL"),
            ("ftp://registry", "is not a URL"),
            ("http://registry?a=b", "after its path"),
        ] {
            assert!(refused(Registry::builder(urls)).contains(named), "{urls}");
        }
        let registry = || Registry::builder("http://registry");
        assert!(refused(registry().timeout(Duration::ZERO)).starts_with("timeout"));
        assert!(refused(registry().capacity(0)).starts_with("capacity"));
        assert!(refused(registry().header("a b", "c")).contains("no header's name"));
        assert!(refused(registry().header("authorization", "c")).contains("basic_auth"));
        assert!(refused(registry().ca_certificates("no PEM")).contains("ca_certificates"));
        assert!(refused(registry().client_certificate("no PEM", "none")).contains("client_certificate"));
        assert!(refused(registry().oauth(OAuth::new("nowhere", "a", "b"))).contains("oauth"));
    }

    #[test]
    fn two_ways_to_authenticate_are_refused() {
        let two = Registry::builder("http://registry").basic_auth("a", "b").bearer_token("c");
        assert!(refused(two).contains("choose one"));
        let two = Registry::builder("http://a:b@registry").bearer_token("c");
        assert!(refused(two).contains("choose one"));
    }

    #[test]
    fn secrets_are_never_printed() {
        let registry = Registry::connect("http://ann:s3cret@one:8081/api/,http://two").unwrap();
        assert_eq!(format!("{registry:?}"), r#"Registry { name: "http://one:8081/api,http://two", .. }"#);
        let builder = Registry::builder("http://ann:s3cret@one")
            .bearer_token("s3cret")
            .header("x", "s3cret")
            .proxy("http://a:s3cret@b");
        assert!(!format!("{builder:?}").contains("s3cret"));
        assert!(!refused(builder).contains("s3cret"));
        assert!(!refused(Registry::builder("http//ann:s3cret@one")).contains("s3cret"));
        assert!(!format!("{:?}", OAuth::new("http://issuer", "id", "s3cret")).contains("s3cret"));
    }
}

//! One request to one registry, and its answer.

use std::fmt;
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};

use super::auth::Auth;
use crate::ErrorKind;
use crate::registry::failure::Failure;
use crate::registry::request::{Answer, Method, Request};

const MEDIA: &str = "application/vnd.schemaregistry.v1+json";

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection did not carry it; `sent` tells whether the registry may have done what was asked.
    Lost { why: Cause, sent: bool },
    /// Another attempt is of no use, or was made already.
    Settled(Failure),
}

/// What the connection says; without the URL, which the error above it names.
#[derive(Debug)]
pub(super) struct Cause(reqwest::Error);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl From<reqwest::Error> for Broken {
    fn from(error: reqwest::Error) -> Self {
        let sent = !error.is_connect();
        Broken::Lost { why: Cause(error.without_url()), sent }
    }
}

pub(super) async fn exchange(
    client: &reqwest::Client,
    base: &str,
    auth: &Auth,
    request: &Request,
) -> Result<Answer, Broken> {
    let method = match request.method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Delete => reqwest::Method::DELETE,
    };
    let mut asked = client
        .request(method, format!("{base}{}", request.target()))
        .header(ACCEPT, MEDIA)
        // So that a newer registry does not refuse what an older one would not know.
        .header("Confluent-Accept-Unknown-Properties", "true");
    if let Some(value) = auth.header(client).await.map_err(Broken::Settled)? {
        let mut value = HeaderValue::try_from(value).map_err(|_| {
            Broken::Settled(Failure::new(ErrorKind::AccessDenied, "the credentials cannot be sent in an HTTP header"))
        })?;
        value.set_sensitive(true);
        asked = asked.header(AUTHORIZATION, value);
    }
    if let Some(body) = &request.body {
        asked = asked.header(CONTENT_TYPE, MEDIA).body(body.clone());
    }
    let mut response = asked.send().await?;
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    match bounded(&mut response, LONGEST_ANSWER).await? {
        Some(body) => Ok(Answer { status, retry_after, body }),
        None => {
            let message = format!("{} answered more than {LONGEST_ANSWER} bytes", request.name());
            Err(Broken::Settled(Failure::new(ErrorKind::RegistryAnswer, message)))
        }
    }
}

/// The body of an answer; `None` where it is longer than `most`, of which no more is read then.
pub(super) async fn bounded(response: &mut reqwest::Response, most: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// A number of seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let until = httpdate::parse_http_date(value).ok()?;
            Some(until.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(value: &str) -> Option<Duration> {
        retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::try_from(value).unwrap())]))
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO), "a date that is over");
        let in_an_hour = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3_600));
        assert!(wait(&in_an_hour) > Some(Duration::from_secs(3_000)));
        assert_eq!(wait("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}

//! A registry through the settings of the crate `schema_registry_converter`, for who has configured that one already.

use futures::FutureExt;
use futures::future::BoxFuture;
use schema_registry_converter::async_impl::schema_registry::{SrSettings, perform_sr_call};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, RawRegisteredSchema, SrCall};
use serde_json::{Value, json};

use super::Registry;
use super::failure::Failure;
use super::request::{Answer, Method, Request, escape};
use super::settings::Settings;
use super::transport::{Transport, in_a_runtime};
use crate::{ErrorKind, Retry};

impl Registry {
    /// A registry that is asked through the settings of `schema_registry_converter` 6: its URLs, credentials, headers,
    /// proxy and middleware. For moving over without configuring twice; [`connect`](Self::connect) can do more.
    ///
    /// That crate knows six questions, which are those of encoding and decoding: a schema by id, by GUID, the latest or one
    /// version of a subject, registering and looking up. It tries its URLs one after the other, and nothing a second time.
    /// A reference to a version that was deleted softly is not found through it.
    ///
    /// This crate has reqwest take rustls without a provider; where nothing else in the program brings one (the features
    /// `native_tls`, a default, and `rustls_tls` of that crate do), install it before the settings are made:
    /// `rustls::crypto::ring::default_provider().install_default()`.
    ///
    /// ```no_run
    /// use kafka_serde::Registry;
    /// use schema_registry_converter::async_impl::schema_registry::SrSettings;
    ///
    /// let registry = Registry::through(SrSettings::new("http://localhost:8081".to_owned()));
    /// ```
    ///
    /// # Errors
    /// Every other question (deleting, compatibility, modes, contexts, `normalize`) is
    /// [`InvalidSetting`](ErrorKind::InvalidSetting), which names it.
    pub fn through(settings: SrSettings) -> Self {
        Self::new(std::sync::Arc::new(Converter { settings }), None, Settings::default())
    }
}

struct Converter {
    settings: SrSettings,
}

impl Transport for Converter {
    fn send<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Answer, Failure>> {
        async move {
            in_a_runtime()?;
            let subject = request.path.get(1).map(|subject| escaped(subject)).unwrap_or_default();
            let call = call(request, &subject).ok_or_else(|| {
                let message = format!("{} cannot be asked through `schema_registry_converter`", asked(request));
                Failure::new(ErrorKind::InvalidSetting, message)
            })?;
            match perform_sr_call(&self.settings, call).await {
                Ok(found) => body(&found, request),
                Err(error) => refusal(error, request),
            }
        }
        .boxed()
    }

    fn name(&self) -> String {
        // Its URLs are its secret, and so are the credentials in them.
        "schema_registry_converter".to_owned()
    }
}

/// That crate escapes slashes only.
fn escaped(subject: &str) -> String {
    let mut text = String::new();
    escape(subject, &mut text);
    text
}

fn asked(request: &Request) -> String {
    let parameters: Vec<_> = request.query.iter().map(|(name, _)| *name).collect();
    match parameters.is_empty() {
        true => request.name(),
        false => format!("{} with `{}`", request.name(), parameters.join("`, `")),
    }
}

/// The question in that crate's words, if it has them.
fn call<'a>(request: &'a Request, subject: &'a str) -> Option<SrCall<'a>> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    // For ids it says `deleted` by itself, and for versions it cannot.
    if request.query.iter().any(|(name, _)| *name != "deleted") {
        return None;
    }
    let body = request.body.as_deref();
    Some(match (request.method, path.as_slice(), body) {
        (Method::Get, ["schemas", "ids", id], None) => SrCall::GetById(id.parse().ok()?),
        (Method::Get, ["schemas", "guids", guid], None) => SrCall::GetByGuid(guid),
        (Method::Get, ["subjects", _, "versions", "latest"], None) => SrCall::GetLatest(subject),
        (Method::Get, ["subjects", _, "versions", version], None) => {
            SrCall::GetBySubjectAndVersion(subject, version.parse().ok()?)
        }
        (Method::Post, ["subjects", _, "versions"], Some(body)) => SrCall::PostNew(subject, body),
        (Method::Post, ["subjects", _], Some(body)) => SrCall::PostForVersion(subject, body),
        _ => return None,
    })
}

fn body(found: &RawRegisteredSchema, request: &Request) -> Result<Answer, Failure> {
    let mut body = serde_json::to_value(found).map_err(|error| {
        Failure::new(ErrorKind::RegistryAnswer, format!("{} cannot be read", request.name())).with_source(error)
    })?;
    // What an answer does not have is absent in it.
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    Ok(answer(200, &body))
}

fn answer(status: u16, body: &Value) -> Answer {
    Answer { status, retry_after: None, body: body.to_string().into_bytes() }
}

/// A refusal of the registry is an answer; all else is none.
fn refusal(error: SRCError, request: &Request) -> Result<Answer, Failure> {
    // It tells the status in words only.
    let status = error.error.split_once("failed with status ").and_then(|(_, rest)| rest.get(..3)?.parse().ok());
    match (status, std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<RawError>())) {
        (Some(status), Some(RawError { error_code: 0, .. }) | None) => Ok(answer(status, &Value::Null)),
        (Some(status), Some(RawError { error_code, message, .. })) => {
            Ok(answer(status, &json!({ "error_code": error_code, "message": message })))
        }
        (None, _) => {
            let kind = match error.retriable {
                true => ErrorKind::RegistryUnavailable,
                false => ErrorKind::RegistryAnswer,
            };
            let message = format!("{} has no answer that can be read", request.name());
            Err(Failure::new(kind, message).with_retry(Retry::Temporary).with_source(error))
        }
    }
}

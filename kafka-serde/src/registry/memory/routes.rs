//! The REST API over the store.

use serde_json::{Value, json};

use super::reads::Deleted;
use super::refusal::Refusal;
use super::store::Store;
use super::subject::{DEFAULT, Subject};
use super::writes::Wanted;
use crate::registry::client::Version;
use crate::registry::code::RegistryCode;
use crate::registry::request::{Answer, Method, Request};

/// Answers a request, whatever it is.
pub(super) fn answer(store: &mut Store, request: &Request) -> Answer {
    match route(store, request) {
        Ok(body) => Answer { status: 200, retry_after: None, body: body.into_bytes() },
        Err(refusal) => refusal.answer(),
    }
}

fn route(store: &mut Store, request: &Request) -> Result<String, Refusal> {
    use Method::{Delete, Get, Post, Put};
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    let deleted = Deleted { with: request.flag("deleted"), only: request.flag("deletedOnly") };
    let (normalize, permanent) = (request.flag("normalize"), request.flag("permanent"));
    let subject = |name: &str| Subject::of_default(name);
    // Which context an id is of is told by a subject in it.
    let context = || request.parameter("subject").map_or_else(|| DEFAULT.to_owned(), |name| subject(name).context);
    let or_global = request.flag("defaultToGlobal");
    let answer = match (request.method, path.as_slice()) {
        (Get, []) => json!({}),
        (Get, ["contexts"]) => store.list_contexts(),
        (Get, ["schemas"]) => {
            let prefix = request.parameter("subjectPrefix").unwrap_or(":*:");
            store.list_schemas(prefix, deleted, request.flag("latestOnly"))?
        }
        (Get, ["schemas", "types"]) => json!(["JSON", "PROTOBUF", "AVRO"]),
        (Get, ["schemas", "ids", id]) => store.get_id(&context(), number(id)?, request.flag("fetchMaxId"))?,
        (Get, ["schemas", "ids", id, "schema"]) => return store.get_id_text(&context(), number(id)?),
        (Get, ["schemas", "ids", id, "subjects"]) => store.get_places(&context(), number(id)?, deleted.with, false)?,
        (Get, ["schemas", "ids", id, "versions"]) => store.get_places(&context(), number(id)?, deleted.with, true)?,
        (Get, ["schemas", "guids", guid]) => store.get_guid(guid)?,
        (Get, ["schemas", "guids", guid, "ids"]) => store.get_guid_ids(guid)?,
        (Get, ["subjects"]) => store.list_subjects(request.parameter("subjectPrefix").unwrap_or(":*:"), deleted),
        (Post, ["subjects", name]) => {
            store.look_up(&subject(name), &Wanted::read(&body(request)?)?, normalize, deleted.with)?
        }
        (Delete, ["subjects", name]) => store.delete_subject(&subject(name), permanent)?,
        (Get, ["subjects", name, "versions"]) => store.list_versions(&subject(name), deleted)?,
        (Post, ["subjects", name, "versions"]) => {
            store.register(&subject(name), &Wanted::read(&body(request)?)?, normalize)?
        }
        (Get, ["subjects", name, "metadata"]) => {
            let values = |wanted: &str| {
                let wanted = wanted.to_owned();
                request.query.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| value.as_str())
            };
            let properties: Vec<_> = values("key").zip(values("value")).collect();
            store.get_with_metadata(&subject(name), &properties, deleted.with)?
        }
        (Get, ["subjects", name, "versions", at]) => store.get_version(&subject(name), version(at)?, deleted.with)?,
        (Get, ["subjects", name, "versions", at, "schema"]) => {
            return store.get_version_text(&subject(name), version(at)?, deleted.with);
        }
        (Get, ["subjects", name, "versions", at, "referencedby"]) => {
            let subject = subject(name);
            let (at, _) = store.entry(&subject, version(at)?, true)?;
            store.users(&subject, at).into()
        }
        (Delete, ["subjects", name, "versions", at]) => {
            store.delete_version(&subject(name), version(at)?, permanent)?
        }
        (Post, ["compatibility", "subjects", name, "versions"]) => {
            store.test(&subject(name), None, &Wanted::read(&body(request)?)?, request.flag("verbose"))?
        }
        (Post, ["compatibility", "subjects", name, "versions", at]) => {
            let wanted = Wanted::read(&body(request)?)?;
            store.test(&subject(name), Some(version(at)?), &wanted, request.flag("verbose"))?
        }
        (Get, ["config"]) => store.get_level(None, false)?,
        (Put, ["config"]) => store.put_level(None, &body(request)?)?,
        (Delete, ["config"]) => store.delete_level(None)?,
        (Get, ["config", name]) => store.get_level(Some(&subject(name)), or_global)?,
        (Put, ["config", name]) => store.put_level(Some(&subject(name)), &body(request)?)?,
        (Delete, ["config", name]) => store.delete_level(Some(&subject(name)))?,
        (Get, ["mode"]) => store.get_mode(None, false)?,
        (Put, ["mode"]) => store.put_mode(None, &body(request)?, request.flag("force"))?,
        (Get, ["mode", name]) => store.get_mode(Some(&subject(name)), or_global)?,
        (Put, ["mode", name]) => store.put_mode(Some(&subject(name)), &body(request)?, request.flag("force"))?,
        (Delete, ["mode", name]) => store.delete_mode(Some(&subject(name)))?,
        _ => return Err(Refusal::bad_request(404, "HTTP 404 Not Found")),
    };
    // Python's client reads Protobuf in this form alone.
    let answer = match request.parameter("format") {
        Some("serialized") => store.serialized(answer)?,
        _ => answer,
    };
    Ok(answer.to_string())
}

fn body(request: &Request) -> Result<Value, Refusal> {
    let text = request.body.as_deref().unwrap_or_default();
    serde_json::from_str(text).map_err(|error| Refusal::bad_request(400, format!("Malformed request: {error}")))
}

fn number(id: &str) -> Result<i32, Refusal> {
    id.parse().map_err(|_| Refusal::bad_request(404, "HTTP 404 Not Found"))
}

fn version(text: &str) -> Result<Version, Refusal> {
    let number: i32 = match text {
        // The API takes -1 for it too.
        "latest" | "-1" => return Ok(Version::Latest),
        other => other.parse().unwrap_or(0),
    };
    if number > 0 {
        return Ok(Version::Number(number));
    }
    let message = format!(
        "The specified version '{text}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""
    );
    Err(Refusal::new(RegistryCode::INVALID_VERSION, message))
}

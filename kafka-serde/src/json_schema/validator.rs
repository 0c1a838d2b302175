//! A compiled schema.

use jsonschema::{Draft, Registry, Retrieve, Uri};
use serde_json::Value;

use super::document::{Document, Documents};
use crate::{Error, ErrorKind, RegisteredSchema, json};

/// Where a schema without an `$id` is said to be, so that relative references have something to start from.
const NOWHERE: &str = "json-schema:///";

/// The longest message of a check, in characters: it quotes the document.
const LONGEST: usize = 512;

pub(crate) struct Validator(jsonschema::Validator<Documents>);

impl Validator {
    /// Compiles a schema with those that it refers to. What is not among these cannot be reached.
    pub(crate) fn new(schema: &RegisteredSchema) -> Result<Self, Error> {
        let main = parse(&schema.schema.text)?;
        let base = id(&main).unwrap_or(NOWHERE).to_owned();
        let mut registry = Registry::new().retriever(Nothing);
        for (reference, used) in schema.dependencies() {
            let document = parse(&used.schema.text)?;
            // A schema is found by the name it is used by, and by what it calls itself.
            let mut places = vec![resolve(&base, &reference.name)];
            places.extend(id(&document).map(str::to_owned));
            places.dedup();
            for place in places {
                registry = registry.add(place, document.clone()).map_err(|error| invalid(&error))?;
            }
        }
        let registry = registry.prepare().map_err(|error| invalid(&error))?;
        let mut options = jsonschema::options_for::<Documents>().with_retriever(Nothing).with_registry(&registry);
        if main.get("$schema").is_none() {
            options = options.with_draft(Draft::Draft7);
        }
        if id(&main).is_none() {
            options = options.with_base_uri(NOWHERE);
        }
        options.build(&main).map(Self).map_err(|error| invalid(&error))
    }

    /// The first thing that is wrong with a document, given as its text.
    pub(crate) fn check(&self, text: &[u8], kind: ErrorKind) -> Result<(), Error> {
        let document = match Document::read(text) {
            Ok(document) => document,
            // Read once more, for an error that says where.
            Err(error) => {
                let unread = |error| Error::new(kind, "the document cannot be read").with_source(error);
                return Err(json::read::<Value>(text).err().unwrap_or_else(|| unread(error)));
            }
        };
        // Asking only whether it is valid is the cheaper question.
        if self.0.is_valid(&document) {
            return Ok(());
        }
        let Err(error) = self.0.validate(&document) else { return Ok(()) };
        let field = field(error.instance_path().as_str());
        let what: String = error.to_string().chars().take(LONGEST).collect();
        Err(match field.as_str() {
            "" => Error::new(kind, what),
            field => Error::new(kind, format!("{field}: {what}")).with_field(field),
        })
    }
}

/// Nothing is fetched: a schema comes from a registry, and must not make this process read files or ask other hosts.
struct Nothing;

impl Retrieve for Nothing {
    fn retrieve(&self, _: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err("it is not among the references that the schema is registered with".into())
    }
}

fn parse(text: &str) -> Result<Value, Error> {
    serde_json::from_str(text)
        .map_err(|error| Error::new(ErrorKind::InvalidSchema, "the schema is not JSON").with_source(error))
}

fn id(schema: &Value) -> Option<&str> {
    let id = schema.get("$id").or_else(|| schema.get("id"))?.as_str()?;
    (!id.is_empty()).then_some(id)
}

/// A name seen from a base: as it is where it is a whole address, else beside the base.
fn resolve(base: &str, name: &str) -> String {
    if name.contains(':') {
        return name.to_owned();
    }
    let (folder, _) = base.rsplit_once('/').unwrap_or((base, ""));
    format!("{folder}/{}", name.trim_start_matches('/'))
}

fn invalid(error: &dyn std::fmt::Display) -> Error {
    let what: String = error.to_string().chars().take(LONGEST).collect();
    Error::new(ErrorKind::InvalidSchema, format!("the JSON Schema cannot be used: {what}"))
}

/// `/items/0/price` as `items[0].price`.
fn field(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        match part.parse::<usize>() {
            Ok(index) => path.push_str(&format!("[{index}]")),
            Err(_) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&part.replace("~1", "/").replace("~0", "~"));
            }
        }
        if path.len() > LONGEST {
            break;
        }
    }
    path.chars().take(LONGEST).collect()
}

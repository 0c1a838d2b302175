//! From the text of a schema to its graph.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use serde_json::{Map, Value as Json};

use super::default;
use super::model::{Enum, Field, Fixed, Kind, Logical, Model, Node, NodeId, Record};

/// More than any real schema has; a text that asks for more is refused.
const MOST_NODES: usize = 100_000;

/// Parses `text`, which may use the types that `references` define; each of those may use the ones before it.
///
/// Names are resolved as Java does: a name without a dot is looked for in the enclosing namespace first, then in none.
pub(crate) fn parse<'a>(text: &str, references: impl IntoIterator<Item = &'a str>) -> Result<Model, String> {
    let mut parser = Parser { nodes: Vec::new(), names: HashMap::new() };
    for reference in references {
        parser.text(reference).map_err(|error| format!("in a referenced schema: {error}"))?;
    }
    let root = parser.text(text)?;
    let mut model = Model { nodes: parser.nodes, root };
    default::encode_all(&mut model);
    Ok(model)
}

struct Parser {
    nodes: Vec<Node>,
    names: HashMap<String, NodeId>,
}

type Object = Map<String, Json>;

impl Parser {
    fn text(&mut self, text: &str) -> Result<NodeId, String> {
        // Depth is bounded by serde_json: 128.
        let json: Json = match serde_json::from_str(text) {
            Ok(json) => json,
            // Some registries hand out a primitive's name without its quotes.
            Err(_) if primitive(text.trim()).is_some() => Json::String(text.trim().to_owned()),
            Err(error) => return Err(format!("the schema is not JSON: {error}")),
        };
        self.schema(&json, "")
    }

    fn push(&mut self, node: Node) -> Result<NodeId, String> {
        if self.nodes.len() == MOST_NODES {
            return Err(format!("the schema has more than {MOST_NODES} parts"));
        }
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    fn schema(&mut self, json: &Json, space: &str) -> Result<NodeId, String> {
        match json {
            Json::String(name) => match primitive(name) {
                Some(kind) => self.push(Node::plain(kind)),
                None => self.known(name, space),
            },
            Json::Array(branches) => self.union(branches, space),
            Json::Object(object) => self.object(object, space),
            other => Err(format!("a schema is a string, an object or an array, not {other}")),
        }
    }

    fn known(&self, name: &str, space: &str) -> Result<NodeId, String> {
        let found =
            if name.contains('.') || space.is_empty() { None } else { self.names.get(&format!("{space}.{name}")) };
        found.or_else(|| self.names.get(name)).copied().ok_or_else(|| {
            format!("there is no type called {name:?}: it is not defined before its use, nor in a reference")
        })
    }

    fn union(&mut self, branches: &[Json], space: &str) -> Result<NodeId, String> {
        let id = self.push(Node::plain(Kind::Null))?;
        let mut kept: Vec<NodeId> = Vec::with_capacity(branches.len());
        for branch in branches {
            let branch = self.schema(branch, space)?;
            let kind = &self.nodes[branch].kind;
            if matches!(kind, Kind::Union(_)) {
                return Err("a union stands directly in a union".into());
            }
            if kept.iter().any(|known| self.nodes[*known].kind.label() == kind.label()) {
                return Err(format!("a union has two branches of type {}", kind.label()));
            }
            kept.push(branch);
        }
        if kept.is_empty() {
            return Err("a union has no branch".into());
        }
        self.nodes[id].kind = Kind::Union(kept);
        Ok(id)
    }

    fn object(&mut self, object: &Object, space: &str) -> Result<NodeId, String> {
        let name = match object.get("type") {
            Some(Json::String(name)) => name.as_str(),
            // `{"type": {"type": "string"}}`
            Some(inner) => return self.schema(inner, space),
            None => return Err("a schema object has no \"type\"".into()),
        };
        match name {
            "record" | "error" => self.record(object, space),
            "enum" => self.enumeration(object, space),
            "fixed" => self.fixed(object, space),
            "array" => {
                let items = self.schema(object.get("items").ok_or("an array has no \"items\"")?, space)?;
                self.push(Node::plain(Kind::Array(items)))
            }
            "map" => {
                let values = self.schema(object.get("values").ok_or("a map has no \"values\"")?, space)?;
                self.push(Node::plain(Kind::Map(values)))
            }
            name => match primitive(name) {
                Some(kind) => {
                    let logical = logical(object, &kind);
                    self.push(Node { kind, logical })
                }
                None => self.known(name, space),
            },
        }
    }

    fn record(&mut self, object: &Object, space: &str) -> Result<NodeId, String> {
        let name = FullName::of(object, space)?;
        // Known before its fields are read: they may refer to it.
        let open = Record { name: Arc::clone(&name.full), aliases: Vec::new(), fields: Vec::new() };
        let id = self.define(&name, Kind::Record(open))?;
        let Some(Json::Array(list)) = object.get("fields") else {
            return Err(format!("record {} has no \"fields\"", name.full));
        };
        let mut fields: Vec<Field> = Vec::with_capacity(list.len());
        for field in list {
            let field = self.field(field, &name)?;
            if fields.iter().any(|known| known.name == field.name) {
                return Err(format!("record {} has two fields called {:?}", name.full, field.name));
            }
            fields.push(field);
        }
        let aliases = name.aliases(object);
        self.nodes[id].kind = Kind::Record(Record { name: name.full, aliases, fields });
        Ok(id)
    }

    fn field(&mut self, json: &Json, record: &FullName) -> Result<Field, String> {
        let place = || format!("a field of record {}", record.full);
        let object = json.as_object().ok_or_else(|| format!("{} is not an object", place()))?;
        let name = object.get("name").and_then(Json::as_str).ok_or_else(|| format!("{} has no \"name\"", place()))?;
        let schema = object.get("type").ok_or_else(|| format!("field {name:?} of {} has no \"type\"", record.full))?;
        let node = self
            .schema(schema, &record.space)
            .map_err(|error| format!("field {name:?} of {}: {error}", record.full))?;
        let default = object.get("default").cloned();
        Ok(Field {
            name: name.into(),
            aliases: strings(object.get("aliases")),
            node,
            default,
            default_bytes: None,
            found: AtomicUsize::new(0),
        })
    }

    fn enumeration(&mut self, object: &Object, space: &str) -> Result<NodeId, String> {
        let name = FullName::of(object, space)?;
        let symbols: Vec<Arc<str>> = strings(object.get("symbols")).into_iter().map(Arc::from).collect();
        if object.get("symbols").and_then(Json::as_array).is_none_or(|list| list.len() != symbols.len()) {
            return Err(format!("enum {} has no \"symbols\", or one that is not a string", name.full));
        }
        let mut sorted: Vec<_> = symbols.iter().collect();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("enum {} has the symbol {:?} twice", name.full, twice[0]));
        }
        let default = object.get("default").and_then(Json::as_str);
        let default = default.and_then(|default| symbols.iter().position(|symbol| **symbol == *default));
        let aliases = name.aliases(object);
        let kind = Kind::Enum(Enum { name: Arc::clone(&name.full), aliases, symbols, default });
        self.define(&name, kind)
    }

    fn fixed(&mut self, object: &Object, space: &str) -> Result<NodeId, String> {
        let name = FullName::of(object, space)?;
        let size = object.get("size").and_then(Json::as_u64).and_then(|size| i32::try_from(size).ok());
        let size = size.ok_or_else(|| format!("fixed {} has no \"size\", or one out of range", name.full))? as usize;
        let kind = Kind::Fixed(Fixed { name: Arc::clone(&name.full), aliases: name.aliases(object), size });
        let logical = logical(object, &kind);
        let id = self.define(&name, kind)?;
        self.nodes[id].logical = logical;
        Ok(id)
    }

    fn define(&mut self, name: &FullName, kind: Kind) -> Result<NodeId, String> {
        let id = self.push(Node::plain(kind))?;
        match self.names.insert((*name.full).to_owned(), id) {
            None => Ok(id),
            Some(_) => Err(format!("type {} is defined twice", name.full)),
        }
    }
}

struct FullName {
    full: Arc<str>,
    space: String,
}

impl FullName {
    fn of(object: &Object, enclosing: &str) -> Result<Self, String> {
        let name = object.get("name").and_then(Json::as_str).filter(|name| !name.is_empty());
        let name = name.ok_or("a record, an enum or a fixed has no \"name\"")?;
        if let Some((space, _)) = name.rsplit_once('.') {
            return Ok(Self { full: name.into(), space: space.to_owned() });
        }
        let space = object.get("namespace").and_then(Json::as_str).unwrap_or(enclosing);
        Ok(Self { full: qualified(space, name).into(), space: space.to_owned() })
    }

    fn aliases(&self, object: &Object) -> Vec<String> {
        let aliases = strings(object.get("aliases")).into_iter();
        aliases.map(|alias| if alias.contains('.') { alias } else { qualified(&self.space, &alias) }).collect()
    }
}

fn qualified(space: &str, name: &str) -> String {
    if space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
}

fn strings(json: Option<&Json>) -> Vec<String> {
    let list = json.and_then(Json::as_array).into_iter().flatten();
    list.filter_map(|entry| entry.as_str().map(str::to_owned)).collect()
}

fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        _ => return None,
    })
}

/// The logical type, if it is one that changes how the bytes are read, and stands on a type it may stand on. Avro says
/// to ignore all others.
fn logical(object: &Object, kind: &Kind) -> Option<Logical> {
    let name = object.get("logicalType")?.as_str()?;
    match (name, kind) {
        ("decimal", Kind::Bytes | Kind::Fixed(_)) => {
            let precision = object.get("precision")?.as_u64()?;
            let scale = object.get("scale").map_or(Some(0), Json::as_u64)?;
            (precision > 0 && scale <= precision).then_some(())?;
            Some(Logical::Decimal { scale: u32::try_from(scale).ok()? })
        }
        ("uuid", Kind::String) => Some(Logical::Uuid),
        ("uuid", Kind::Fixed(Fixed { size: 16, .. })) => Some(Logical::Uuid),
        ("duration", Kind::Fixed(Fixed { size: 12, .. })) => Some(Logical::Duration),
        _ => None,
    }
}

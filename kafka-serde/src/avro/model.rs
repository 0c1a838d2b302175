//! An Avro schema as a graph: what the readers and writers walk.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A node's place in [`Model::nodes`].
pub(crate) type NodeId = usize;

/// A schema with all that it refers to.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: NodeId,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) logical: Option<Logical>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record(Record),
    Enum(Enum),
    Fixed(Fixed),
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) name: Arc<str>,
    pub(crate) aliases: Vec<String>,
    pub(crate) fields: Vec<Field>,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: Arc<str>,
    pub(crate) aliases: Vec<String>,
    pub(crate) node: NodeId,
    pub(crate) default: Option<serde_json::Value>,
    /// The default in this schema's binary form; `None` without one, or where it does not fit the field's type.
    pub(crate) default_bytes: Option<Arc<[u8]>>,
    /// Where the name in the program is that was last found to be this field's; 0 for none.
    pub(crate) found: AtomicUsize,
}

impl Field {
    /// Whether a struct's field has this name. A string that lives as long as the program is the same whenever it is at
    /// the same address, so mostly no text is compared.
    #[inline]
    pub(crate) fn is(&self, name: &'static str) -> bool {
        if name.len() != self.name.len() {
            return false;
        }
        let at = name.as_ptr().addr();
        if self.found.load(Ordering::Relaxed) == at {
            return true;
        }
        let same = *self.name == *name;
        if same {
            self.found.store(at, Ordering::Relaxed);
        }
        same
    }
}

#[derive(Debug)]
pub(crate) struct Enum {
    pub(crate) name: Arc<str>,
    pub(crate) aliases: Vec<String>,
    pub(crate) symbols: Vec<Arc<str>>,
    pub(crate) default: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Fixed {
    pub(crate) name: Arc<str>,
    pub(crate) aliases: Vec<String>,
    pub(crate) size: usize,
}

/// What the bytes of a node stand for, where that changes how they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logical {
    Decimal { scale: u32 },
    Uuid,
    Duration,
}

impl Model {
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub(crate) fn root(&self) -> &Node {
        self.node(self.root)
    }
}

impl Node {
    pub(crate) const fn plain(kind: Kind) -> Self {
        Self { kind, logical: None }
    }

    /// Top-level `bytes`, which Confluent's clients write without a length.
    pub(crate) fn is_raw(&self) -> bool {
        matches!(self, Self { kind: Kind::Bytes, logical: None })
    }
}

impl Kind {
    /// The full name and the aliases of a type that has a name of its own.
    pub(crate) fn named(&self) -> Option<(&str, &[String])> {
        match self {
            Self::Record(Record { name, aliases, .. })
            | Self::Enum(Enum { name, aliases, .. })
            | Self::Fixed(Fixed { name, aliases, .. }) => Some((name, aliases)),
            _ => None,
        }
    }

    /// What schemas call it: the full name, or the name of the primitive.
    pub(crate) fn label(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Union(_) => "union",
            Self::Record(Record { name, .. }) | Self::Enum(Enum { name, .. }) | Self::Fixed(Fixed { name, .. }) => name,
        }
    }

    /// Whether both are of one kind, whatever their names and parts.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The name without its namespace.
pub(crate) fn short(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, short)| short)
}

/// Whether the variant of a Rust enum called `variant` stands for the type that schemas call `label`: `shop.Order` or
/// `Order` for a record, `String` or `string` for a string.
pub(crate) fn names(label: &str, variant: &str) -> bool {
    variant == label || variant == short(label) || (!label.contains('.') && variant.eq_ignore_ascii_case(label))
}

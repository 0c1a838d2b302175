//! How data of a writer's schema is read as a reader's schema: decided once for each pair of schemas.
//!
//! ```text
//!   writer's model ─┐
//!                   ├─▶ plan: a graph of steps in the order of the bytes ─▶ read, into a T or a Value
//!   reader's model ─┘
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::input::DEEPEST;
use super::model::{Enum, Field, Fixed, Kind, Logical, Model, Node, NodeId, Record, short};

pub(crate) type StepId = usize;

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) root: StepId,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) act: Act,
    /// What the reader's schema calls the type.
    pub(crate) label: Arc<str>,
}

/// What is read next, and as what.
#[derive(Debug)]
pub(crate) enum Act {
    Null,
    Boolean,
    Int,
    Long,
    Float(Number),
    Double(Number),
    /// Whole: all that is left, without a length.
    Bytes {
        whole: bool,
    },
    String {
        whole: bool,
    },
    Array(Items),
    Map(Items),
    Union(Vec<Result<StepId, Arc<str>>>),
    Record(RecordPlan),
    Enum(Vec<Result<Arc<str>, Arc<str>>>),
    Fixed(usize),
    Decimal {
        size: Option<usize>,
        scale: u32,
    },
    UuidFixed,
    Duration,
    /// The two schemas do not fit here; an error where data comes to it.
    Unreadable(Arc<str>),
}

/// How a number that is read as a float or a double was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Varint,
    Single,
    Double,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Items {
    pub(crate) step: StepId,
    /// The least bytes that an item takes (with its key, in a map).
    pub(crate) least: usize,
}

#[derive(Debug)]
pub(crate) struct RecordPlan {
    /// In the order of the bytes.
    pub(crate) moves: Vec<Move>,
    /// Fields that the writer does not have; they come last.
    pub(crate) defaults: Vec<Default>,
    /// The names of the fields as they come, defaults and all.
    pub(crate) names: Vec<Arc<str>>,
    /// Where the field list of the Rust type is that was last found to have these names in this order; 0 for none.
    pub(crate) fits: AtomicUsize,
}

#[derive(Debug)]
pub(crate) enum Move {
    Read(StepId),
    Skip(StepId),
}

#[derive(Debug)]
pub(crate) struct Default {
    pub(crate) step: StepId,
    /// The default, in the reader's binary form.
    pub(crate) bytes: Arc<[u8]>,
}

impl Plan {
    pub(crate) fn step(&self, id: StepId) -> &Step {
        &self.steps[id]
    }

    /// Reads data as it was written.
    pub(crate) fn of(writer: &Model) -> Result<Self, String> {
        Self::resolve(writer, writer)
    }

    /// Reads data of `writer` as `reader` says.
    pub(crate) fn resolve(writer: &Model, reader: &Model) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut resolver =
            Resolver { steps: &mut steps, known: HashMap::new(), least: vec![None; writer.nodes.len()], depth: 0 };
        let root = resolver.node(Side(writer), writer.root, Side(reader), reader.root)?;
        if writer.root().is_raw() {
            // Confluent's clients write it without a length. Its step is the root's alone: primitives are not shared.
            match &mut steps[root].act {
                Act::Bytes { whole } | Act::String { whole } => *whole = true,
                _ => {}
            }
        }
        Ok(Self { steps, root })
    }
}

/// A model, compared by where it is.
#[derive(Clone, Copy)]
struct Side<'m>(&'m Model);

type Key = (usize, NodeId, usize, NodeId);

impl<'m> Side<'m> {
    fn at(self) -> usize {
        std::ptr::from_ref(self.0).addr()
    }

    fn node(self, id: NodeId) -> &'m Node {
        self.0.node(id)
    }
}

struct Resolver<'s> {
    steps: &'s mut Vec<Step>,
    /// What each pair of nodes came to; also of those that are not finished, since types may contain themselves.
    known: HashMap<Key, Result<StepId, String>>,
    /// The least bytes of each of the writer's nodes.
    least: Vec<Option<usize>>,
    depth: usize,
}

/// Types within types, unions counted: data that deep is not read either.
const DEEPEST_SCHEMA: usize = 2 * DEEPEST;

/// Steps of one plan; two schemas that differ multiply at worst.
const MOST_STEPS: usize = 200_000;

impl Resolver<'_> {
    fn node(&mut self, w: Side<'_>, writer: NodeId, r: Side<'_>, reader: NodeId) -> Result<StepId, String> {
        let key = (w.at(), writer, r.at(), reader);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        if self.depth >= DEEPEST_SCHEMA || self.steps.len() >= MOST_STEPS {
            return Err("the schemas are too deep or too large".into());
        }
        // A union on the reader's side alone leaves no step of its own: its branch is what is read.
        if let (Kind::Union(branches), false) = (&r.node(reader).kind, matches!(w.node(writer).kind, Kind::Union(_))) {
            self.depth += 1;
            let step = self.union_branch(w, writer, r, branches);
            self.depth -= 1;
            self.known.insert(key, step.clone());
            return step;
        }
        let id = self.steps.len();
        let label = r.node(reader).kind.label();
        self.steps.push(Step { act: Act::Null, label: label.into() });
        self.known.insert(key, Ok(id));
        self.depth += 1;
        let act = self.act(w, writer, r, reader);
        self.depth -= 1;
        match act {
            Ok(act) => {
                self.steps[id].act = act;
                Ok(id)
            }
            Err(error) => {
                // What has been given this step already, inside itself, must not read with it.
                self.steps[id].act = Act::Unreadable(error.as_str().into());
                self.known.insert(key, Err(error.clone()));
                Err(error)
            }
        }
    }

    fn act(&mut self, w: Side<'_>, writer: NodeId, r: Side<'_>, reader: NodeId) -> Result<Act, String> {
        let (from, to) = (w.node(writer), r.node(reader));
        if let Kind::Union(branches) = &from.kind {
            let branches: Vec<_> =
                branches.iter().map(|branch| self.node(w, *branch, r, reader).map_err(Arc::<str>::from)).collect();
            return match branches.iter().find_map(|branch| branch.as_ref().err()) {
                Some(error) if branches.iter().all(Result::is_err) => Err(error.to_string()),
                _ => Ok(Act::Union(branches)),
            };
        }
        self.plain(w, from, r, to)
    }

    /// The first branch that is the same type, else the first that can be read with a promotion.
    fn union_branch(
        &mut self,
        w: Side<'_>,
        writer: NodeId,
        r: Side<'_>,
        branches: &[NodeId],
    ) -> Result<StepId, String> {
        let from = w.node(writer);
        let rank = |branch: &NodeId| {
            let to = &r.node(*branch).kind;
            match (from.kind.named(), to.named()) {
                (Some((one, _)), Some((other, _))) if from.kind.is_like(to) && one == other => 0,
                _ if from.kind.is_like(to) => 1,
                _ => 2,
            }
        };
        let mut order = branches.to_vec();
        order.sort_by_key(rank);
        let mut first = None;
        for branch in order {
            match self.node(w, writer, r, branch) {
                Ok(step) => return Ok(step),
                Err(error) => first = first.or(Some(error)),
            }
        }
        let wanted: Vec<_> = branches.iter().map(|branch| r.node(*branch).kind.label()).collect();
        let why = first.map(|error| format!(" ({error})")).unwrap_or_default();
        Err(format!("{} does not fit any of {}{why}", from.kind.label(), wanted.join(", ")))
    }

    fn plain(&mut self, w: Side<'_>, from: &Node, r: Side<'_>, to: &Node) -> Result<Act, String> {
        if let (Some(Logical::Decimal { scale: one }), Some(Logical::Decimal { scale: other })) =
            (from.logical, to.logical)
            && one != other
        {
            return Err(format!("a decimal of scale {one} cannot be read with scale {other}"));
        }
        Ok(match (&from.kind, &to.kind) {
            (Kind::Null, Kind::Null) => Act::Null,
            (Kind::Boolean, Kind::Boolean) => Act::Boolean,
            (Kind::Int, Kind::Int) => Act::Int,
            // The same bytes, whatever their range.
            (Kind::Int | Kind::Long, Kind::Long) => Act::Long,
            (Kind::Int | Kind::Long, Kind::Float) => Act::Float(Number::Varint),
            (Kind::Float, Kind::Float) => Act::Float(Number::Single),
            (Kind::Int | Kind::Long, Kind::Double) => Act::Double(Number::Varint),
            (Kind::Float, Kind::Double) => Act::Double(Number::Single),
            (Kind::Double, Kind::Double) => Act::Double(Number::Double),
            (Kind::Bytes | Kind::String, Kind::Bytes) => match to.logical {
                Some(Logical::Decimal { scale }) => Act::Decimal { size: None, scale },
                _ => Act::Bytes { whole: false },
            },
            (Kind::Bytes | Kind::String, Kind::String) => Act::String { whole: false },
            (Kind::Fixed(one), Kind::Fixed(other)) => return fixed(one, other, to.logical),
            (Kind::Enum(one), Kind::Enum(other)) => return enumeration(one, other),
            (Kind::Array(one), Kind::Array(other)) => {
                let step = self.node(w, *one, r, *other)?;
                Act::Array(Items { step, least: self.least(w, *one, DEEPEST) })
            }
            (Kind::Map(one), Kind::Map(other)) => {
                Act::Map(Items { step: self.node(w, *one, r, *other)?, least: 1 + self.least(w, *one, DEEPEST) })
            }
            (Kind::Record(one), Kind::Record(other)) => return self.record(w, one, r, other),
            (one, other) => return Err(format!("{} cannot be read as {}", one.label(), other.label())),
        })
    }

    fn record(&mut self, w: Side<'_>, from: &Record, r: Side<'_>, to: &Record) -> Result<Act, String> {
        check_names("record", &from.name, &to.name, &to.aliases)?;
        let in_field = |name: &str, error: String| format!("field {name:?} of {}: {error}", to.name);
        let mut plan = RecordPlan {
            moves: Vec::with_capacity(from.fields.len()),
            defaults: Vec::new(),
            names: Vec::with_capacity(to.fields.len()),
            fits: AtomicUsize::new(0),
        };
        let mut written = vec![false; to.fields.len()];
        for field in &from.fields {
            plan.moves.push(match counterpart(field, &to.fields).filter(|at| !written[*at]) {
                Some(at) => {
                    written[at] = true;
                    plan.names.push(Arc::clone(&to.fields[at].name));
                    let step = self.node(w, field.node, r, to.fields[at].node);
                    Move::Read(step.map_err(|error| in_field(&field.name, error))?)
                }
                None => Move::Skip(self.node(w, field.node, w, field.node)?),
            });
        }
        for field in to.fields.iter().zip(&written).filter(|(_, written)| !**written).map(|(field, _)| field) {
            let missing = match (&field.default, &field.default_bytes) {
                (_, Some(bytes)) => {
                    plan.names.push(Arc::clone(&field.name));
                    let step = self.node(r, field.node, r, field.node).map_err(|error| in_field(&field.name, error))?;
                    plan.defaults.push(Default { step, bytes: Arc::clone(bytes) });
                    continue;
                }
                (Some(_), None) => "its default does not fit its type, and the writer has no such field",
                (None, None) => "it has no default, and the writer has no such field",
            };
            return Err(in_field(&field.name, missing.to_owned()));
        }
        Ok(Act::Record(plan))
    }

    /// The least bytes that data of a node takes; what is unknown while a type contains itself counts as nothing.
    fn least(&mut self, w: Side<'_>, id: NodeId, deeper: usize) -> usize {
        // No promise for what is too deep: nothing is always right.
        let Some(deeper) = deeper.checked_sub(1) else { return 0 };
        if let Some(known) = self.least.get(id).copied().flatten() {
            return known;
        }
        if let Some(slot) = self.least.get_mut(id) {
            *slot = Some(0);
        }
        let least = match &w.node(id).kind {
            Kind::Null => 0,
            Kind::Float => 4,
            Kind::Double => 8,
            Kind::Fixed(fixed) => fixed.size,
            Kind::Record(record) => {
                record.fields.iter().fold(0_usize, |sum, field| sum.saturating_add(self.least(w, field.node, deeper)))
            }
            _ => 1,
        };
        if let Some(slot) = self.least.get_mut(id) {
            *slot = Some(least);
        }
        least
    }
}

/// The field of the reader that `field` of the writer is read as.
fn counterpart(field: &Field, reader: &[Field]) -> Option<usize> {
    let same = reader.iter().position(|known| known.name == field.name);
    same.or_else(|| reader.iter().position(|known| known.aliases.iter().any(|alias| **alias == *field.name)))
}

/// Types with names must have the same, without the namespace, or one must be an alias of the reader's.
fn check_names(what: &str, from: &str, to: &str, aliases: &[String]) -> Result<(), String> {
    let fits = short(from) == short(to) || aliases.iter().any(|alias| alias == from || short(alias) == short(from));
    if fits { Ok(()) } else { Err(format!("{what} {from} cannot be read as {what} {to}")) }
}

fn fixed(from: &Fixed, to: &Fixed, logical: Option<Logical>) -> Result<Act, String> {
    check_names("fixed", &from.name, &to.name, &to.aliases)?;
    if from.size != to.size {
        return Err(format!("fixed {} of {} bytes cannot be read as one of {}", from.name, from.size, to.size));
    }
    Ok(match logical {
        Some(Logical::Decimal { scale }) => Act::Decimal { size: Some(to.size), scale },
        Some(Logical::Uuid) => Act::UuidFixed,
        Some(Logical::Duration) => Act::Duration,
        None => Act::Fixed(to.size),
    })
}

fn enumeration(from: &Enum, to: &Enum) -> Result<Act, String> {
    check_names("enum", &from.name, &to.name, &to.aliases)?;
    let symbol = |symbol: &Arc<str>| {
        let same = to.symbols.iter().find(|known| *known == symbol);
        let read = same.or_else(|| to.default.map(|default| &to.symbols[default]));
        read.cloned().ok_or_else(|| format!("enum {} has no symbol {symbol:?} and no default", to.name).into())
    };
    Ok(Act::Enum(from.symbols.iter().map(symbol).collect()))
}

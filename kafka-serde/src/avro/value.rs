//! Values of a schema that is not known at build time.

use std::fmt::Write as _;

use super::de::{branch, bytes, double, duration, float, one_deeper, symbol, text};
use super::decimal;
use super::fault::Fault;
use super::input::{DEEPEST, Input, put_bytes, put_long};
use super::model::{Kind, Logical, Model, NodeId, short};
use super::plan::{Act, Items, Move, Plan, Step};

/// Any Avro value.
///
/// A union's value is the value of its branch: a record, an enum and a fixed carry their full names, so that the branch
/// is found again. Dates and times are the numbers that Avro stores.
///
/// ```
/// use kafka_serde::avro::Value;
///
/// let order = Value::record("shop.Order", [("id", Value::Long(1)), ("note", Value::Null)]);
/// assert_eq!(order.get("id"), Some(&Value::Long(1)));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `null`
    Null,
    /// `boolean`
    Boolean(bool),
    /// `int`, also as `date` and `time-millis`
    Int(i32),
    /// `long`, also as `time-micros` and the timestamps
    Long(i64),
    /// `float`
    Float(f32),
    /// `double`
    Double(f64),
    /// `bytes`
    Bytes(Vec<u8>),
    /// `string`, also as `uuid`
    String(String),
    /// `array`
    Array(Vec<Value>),
    /// `map`, in the order of the bytes
    Map(Vec<(String, Value)>),
    /// `record`: its full name and its fields
    Record(String, Vec<(String, Value)>),
    /// `enum`: its full name and a symbol
    Enum(String, String),
    /// `fixed`: its full name and its bytes
    Fixed(String, Vec<u8>),
    /// `decimal`, on `bytes` or `fixed`
    Decimal {
        /// The digits without the point, two's complement, big-endian.
        unscaled: Vec<u8>,
        /// How many of them stand behind the point.
        scale: u32,
    },
    /// `uuid` on a `fixed`
    Uuid(uuid::Uuid),
    /// `duration`
    Duration {
        /// Months.
        months: u32,
        /// Days, which no month has a fixed number of.
        days: u32,
        /// Milliseconds.
        milliseconds: u32,
    },
}

impl Value {
    /// A record of this full name.
    pub fn record<K: Into<String>>(name: impl Into<String>, fields: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Record(name.into(), fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// A field of a record, or an entry of a map.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Record(_, entries) | Self::Map(entries) => {
                entries.iter().find(|(known, _)| known == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The text of a string or the symbol of an enum.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Enum(_, text) => Some(text),
            _ => None,
        }
    }

    /// The number of an int or a long.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some((*number).into()),
            Self::Long(number) => Some(*number),
            _ => None,
        }
    }

    /// The number of a float, a double, an int, or a long, as near as a double comes.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some((*number).into()),
            Self::Double(number) => Some(*number),
            other => other.as_i64().map(|number| number as f64),
        }
    }

    /// A decimal as text, `-12.50`; `None` for other values, and for a decimal of more than 38 digits.
    pub fn to_decimal_text(&self) -> Option<String> {
        match self {
            Self::Decimal { unscaled, scale } => decimal::to_text(unscaled, *scale).ok(),
            _ => None,
        }
    }

    fn label(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "boolean",
            Self::Int(_) => "int",
            Self::Long(_) => "long",
            Self::Float(_) => "float",
            Self::Double(_) => "double",
            Self::Bytes(_) => "bytes",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Record(name, _) | Self::Enum(name, _) | Self::Fixed(name, _) => name,
            Self::Decimal { .. } => "decimal",
            Self::Uuid(_) => "uuid",
            Self::Duration { .. } => "duration",
        }
    }
}

/// Reads the datum in `input`.
pub(crate) fn read(plan: &Plan, input: &mut Input<'_>) -> Result<Value, Fault> {
    read_step(plan, plan.step(plan.root), input, DEEPEST)
}

fn read_step(plan: &Plan, step: &Step, input: &mut Input<'_>, deeper: usize) -> Result<Value, Fault> {
    Ok(match &step.act {
        Act::Null => Value::Null,
        Act::Boolean => Value::Boolean(input.boolean()?),
        Act::Int => Value::Int(input.int()?),
        Act::Long => Value::Long(input.long()?),
        Act::Float(number) => Value::Float(float(*number, input)?),
        Act::Double(number) => Value::Double(double(*number, input)?),
        Act::Bytes { whole } => Value::Bytes(bytes(*whole, input)?.to_vec()),
        Act::String { whole } => Value::String(text(*whole, input)?.to_owned()),
        Act::Array(items) => {
            let mut list = Vec::new();
            blocks(*items, input, deeper, |input, deeper| {
                let item = read_step(plan, plan.step(items.step), input, deeper);
                list.push(item.map_err(|fault| fault.in_item(list.len()))?);
                Ok(())
            })?;
            Value::Array(list)
        }
        Act::Map(items) => {
            let mut entries = Vec::new();
            blocks(*items, input, deeper, |input, deeper| {
                let key = text(false, input)?;
                let value = read_step(plan, plan.step(items.step), input, deeper);
                entries.push((key.to_owned(), value.map_err(|fault| fault.in_field(key))?));
                Ok(())
            })?;
            Value::Map(entries)
        }
        Act::Union(branches) => {
            let step = branch(branches, input)?;
            read_step(plan, plan.step(step), input, deeper)?
        }
        Act::Record(record) => {
            let deeper = one_deeper(deeper)?;
            let mut fields = Vec::with_capacity(record.names.len());
            let mut names = record.names.iter();
            let mut field = |step, input: &mut Input<'_>| {
                let name = names.next().map_or("", |name| &**name);
                let value = read_step(plan, plan.step(step), input, deeper).map_err(|fault| fault.in_field(name))?;
                fields.push((name.to_owned(), value));
                Ok(())
            };
            for next in &record.moves {
                match next {
                    Move::Read(step) => field(*step, input)?,
                    Move::Skip(step) => super::de::skip(plan, plan.step(*step), input, deeper)?,
                }
            }
            for default in &record.defaults {
                field(default.step, &mut Input::new(&default.bytes))?;
            }
            Value::Record((*step.label).to_owned(), fields)
        }
        Act::Enum(symbols) => Value::Enum((*step.label).to_owned(), symbol(symbols, input)?.to_owned()),
        Act::Fixed(size) => Value::Fixed((*step.label).to_owned(), input.take(*size)?.to_vec()),
        Act::Decimal { size, scale } => {
            let bytes = match size {
                Some(size) => input.take(*size)?,
                None => input.bytes()?,
            };
            Value::Decimal { unscaled: decimal::minimal(bytes).to_vec(), scale: *scale }
        }
        Act::UuidFixed => Value::Uuid(uuid::Uuid::from_bytes(input.array()?)),
        Act::Duration => {
            let [months, days, milliseconds] = duration(input.array()?);
            Value::Duration { months, days, milliseconds }
        }
        Act::Unreadable(why) => return Err(Fault::new(&**why)),
    })
}

fn blocks<'de>(
    items: Items,
    input: &mut Input<'de>,
    deeper: usize,
    mut item: impl FnMut(&mut Input<'de>, usize) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let deeper = one_deeper(deeper)?;
    loop {
        match input.block(items.least)? {
            0 => return Ok(()),
            count => {
                for _ in 0..count {
                    item(input, deeper)?;
                }
            }
        }
    }
}

/// Appends `value` as the model's root says.
pub(crate) fn write(model: &Model, value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
    write_node(model, model.root, value, out)
}

fn write_node(model: &Model, id: NodeId, value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
    let node = model.node(id);
    match (&node.kind, value) {
        (Kind::Union(branches), value) => {
            let rank = |id: &NodeId| rank(model, *id, value);
            let best = branches.iter().enumerate().filter_map(|(index, id)| Some((rank(id)?, index, *id))).min();
            let (_, index, branch) = best.ok_or_else(|| unfit(model, id, value))?;
            put_long(index as i64, out);
            return write_node(model, branch, value, out);
        }
        (Kind::Null, Value::Null) => {}
        (Kind::Boolean, Value::Boolean(value)) => out.push(u8::from(*value)),
        (Kind::Int, Value::Int(number)) => put_long((*number).into(), out),
        (Kind::Long, Value::Int(number)) => put_long((*number).into(), out),
        (Kind::Long, Value::Long(number)) => put_long(*number, out),
        (Kind::Float, Value::Float(number)) => out.extend_from_slice(&number.to_le_bytes()),
        (Kind::Double, Value::Float(number)) => out.extend_from_slice(&f64::from(*number).to_le_bytes()),
        (Kind::Double, Value::Double(number)) => out.extend_from_slice(&number.to_le_bytes()),
        (Kind::Bytes | Kind::Fixed(_), Value::Decimal { unscaled, scale }) => match node.logical {
            Some(Logical::Decimal { scale: wanted }) if wanted == *scale => {
                let size = if let Kind::Fixed(fixed) = &node.kind { Some(fixed.size) } else { None };
                let zero: &[u8] = &[0];
                decimal::put(if unscaled.is_empty() { zero } else { unscaled }, size, out)?;
            }
            Some(Logical::Decimal { scale: wanted }) => {
                return Err(Fault::new(format!("the decimal has scale {scale}, the schema {wanted}")));
            }
            _ => return Err(unfit(model, id, value)),
        },
        (Kind::Bytes, Value::Bytes(bytes)) => put_bytes(bytes, out),
        (Kind::String, Value::String(text)) => put_bytes(text.as_bytes(), out),
        (Kind::String, Value::Uuid(id)) => {
            put_bytes(id.hyphenated().encode_lower(&mut [0; 36]).as_bytes(), out);
        }
        (Kind::Fixed(fixed), Value::Fixed(_, bytes) | Value::Bytes(bytes)) if bytes.len() == fixed.size => {
            out.extend_from_slice(bytes);
        }
        (Kind::Fixed(fixed), Value::Uuid(id)) if fixed.size == 16 => out.extend_from_slice(id.as_bytes()),
        (Kind::Fixed(_), Value::Duration { months, days, milliseconds }) if node.logical == Some(Logical::Duration) => {
            [months, days, milliseconds].iter().for_each(|part| out.extend_from_slice(&part.to_le_bytes()));
        }
        (Kind::Enum(kind), Value::Enum(_, symbol) | Value::String(symbol)) => {
            let index = kind.symbols.iter().position(|known| **known == **symbol);
            let index = index.ok_or_else(|| Fault::new(format!("enum {} has no symbol {symbol:?}", kind.name)))?;
            put_long(index as i64, out);
        }
        (Kind::Array(items), Value::Array(list)) => {
            if !list.is_empty() {
                put_long(list.len() as i64, out);
            }
            for (index, item) in list.iter().enumerate() {
                write_node(model, *items, item, out).map_err(|fault| fault.in_item(index))?;
            }
            out.push(0);
        }
        (Kind::Map(values), Value::Map(entries)) => {
            if !entries.is_empty() {
                put_long(entries.len() as i64, out);
            }
            for (key, value) in entries {
                put_bytes(key.as_bytes(), out);
                write_node(model, *values, value, out).map_err(|fault| fault.in_field(key))?;
            }
            out.push(0);
        }
        (Kind::Record(record), Value::Record(_, fields)) => {
            if let Some((stray, _)) = fields.iter().find(|(name, _)| !record.fields.iter().any(|f| *f.name == **name)) {
                return Err(Fault::new(format!("record {} has no such field", record.name)).in_field(stray));
            }
            for field in &record.fields {
                match (fields.iter().find(|(name, _)| **name == *field.name), &field.default_bytes) {
                    (Some((_, value)), _) => {
                        write_node(model, field.node, value, out).map_err(|fault| fault.in_field(&field.name))?;
                    }
                    (None, Some(default)) => out.extend_from_slice(default),
                    (None, None) => {
                        return Err(Fault::new("the field is missing and has no default").in_field(&field.name));
                    }
                }
            }
        }
        _ => return Err(unfit(model, id, value)),
    }
    Ok(())
}

/// How well a branch of a union fits: the less the better, `None` for not at all.
fn rank(model: &Model, id: NodeId, value: &Value) -> Option<u8> {
    let node = model.node(id);
    let named = |name: &str, known: &str| match name {
        name if name == known => Some(0),
        name if short(name) == short(known) => Some(1),
        _ => None,
    };
    match (&node.kind, value) {
        (Kind::Null, Value::Null)
        | (Kind::Boolean, Value::Boolean(_))
        | (Kind::Int, Value::Int(_))
        | (Kind::Long, Value::Long(_))
        | (Kind::Float, Value::Float(_))
        | (Kind::Double, Value::Double(_))
        | (Kind::Bytes, Value::Bytes(_))
        | (Kind::String, Value::String(_))
        | (Kind::Array(_), Value::Array(_))
        | (Kind::Map(_), Value::Map(_)) => Some(0),
        (Kind::Record(record), Value::Record(name, _)) => named(name, &record.name),
        (Kind::Enum(kind), Value::Enum(name, _)) => named(name, &kind.name),
        (Kind::Fixed(fixed), Value::Fixed(name, _)) => named(name, &fixed.name),
        (_, Value::Decimal { scale, .. }) => (node.logical == Some(Logical::Decimal { scale: *scale })).then_some(0),
        (Kind::Fixed(_), Value::Uuid(_)) => (node.logical == Some(Logical::Uuid)).then_some(0),
        (Kind::Fixed(_), Value::Duration { .. }) => (node.logical == Some(Logical::Duration)).then_some(0),
        (Kind::Long, Value::Int(_)) | (Kind::Double, Value::Float(_)) | (Kind::String, Value::Uuid(_)) => Some(2),
        _ => None,
    }
}

fn unfit(model: &Model, id: NodeId, value: &Value) -> Fault {
    let mut wanted = model.node(id).kind.label().to_owned();
    if let Kind::Union(branches) = &model.node(id).kind {
        let labels: Vec<_> = branches.iter().map(|branch| model.node(*branch).kind.label()).collect();
        let _ = write!(wanted, " of {}", labels.join(", "));
    }
    Fault::new(format!("a value of type {} does not fit {wanted}", value.label()))
}

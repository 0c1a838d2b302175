//! The codec with its schema in hand, for the benchmarks: what `Avro` takes longer is the layer's.

use serde::{Deserialize, Serialize};

use super::model::Model;
use super::plan::Plan;
use super::{ErrorKind, parse};
use crate::Error;

/// Writes and reads the datum alone, of one schema: no id, no registry, nothing to look up.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "`internals` shows it to the benchmarks")]
pub struct BareAvro {
    model: Model,
    plan: Plan,
}

impl BareAvro {
    /// The codec of the schema `text`, which refers to no other.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSchema`].
    pub fn new(text: &str) -> Result<Self, Error> {
        let invalid = |why| Error::new(ErrorKind::InvalidSchema, why);
        let model = parse::parse(text, []).map_err(invalid)?;
        let plan = Plan::of(&model).map_err(invalid)?;
        Ok(Self { model, plan })
    }

    /// Appends the datum.
    ///
    /// # Errors
    /// [`ErrorKind::Unencodable`].
    #[inline]
    pub fn encode<T: Serialize>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
        super::write(&self.model, value, out).map_err(|fault| fault.into_error(ErrorKind::Unencodable))
    }

    /// Reads the datum.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`].
    #[inline]
    pub fn decode<'de, T: Deserialize<'de>>(&'de self, data: &'de [u8]) -> Result<T, Error> {
        super::read(&self.plan, data).map_err(|fault| fault.into_error(ErrorKind::Malformed))
    }
}

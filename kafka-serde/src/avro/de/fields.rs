//! Records.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess};

use super::{De, Walk};
use crate::avro::fault::Fault;
use crate::avro::input::Input;
use crate::avro::plan::{Move, RecordPlan, StepId};

/// The fields of a record: those in the bytes, then those that only the reader has.
pub(super) struct Fields<'a, 'de> {
    record: &'de RecordPlan,
    walk: &'a mut Walk<'de>,
    /// Of the moves.
    next: usize,
    /// Of the names.
    named: usize,
    pending: Option<StepId>,
    /// The payload behind this record, while defaults are read.
    after: Option<Input<'de>>,
}

impl<'a, 'de> Fields<'a, 'de> {
    #[inline]
    pub(super) fn new(de: De<'a, 'de>, record: &'de RecordPlan) -> Result<Self, Fault> {
        de.walk.descend()?;
        Ok(Self { record, walk: de.walk, next: 0, named: 0, pending: None, after: None })
    }

    /// Goes past what is not wanted, up to the next field that is.
    #[inline]
    fn advance(&mut self) -> Result<Option<StepId>, Fault> {
        while let Some(next) = self.record.moves.get(self.next) {
            self.next += 1;
            match next {
                Move::Read(step) => return Ok(Some(*step)),
                Move::Skip(step) => self.walk.skip(*step)?,
            }
        }
        Ok(None)
    }

    #[inline]
    fn value<S: DeserializeSeed<'de>>(&mut self, step: Option<StepId>, seed: S) -> Result<S::Value, Fault> {
        let named = self.named;
        self.named += 1;
        let step = match step {
            Some(step) => step,
            None => self.begin_default(named),
        };
        match seed.deserialize(De { step: self.walk.plan.step(step), walk: self.walk }) {
            Ok(value) => Ok(value),
            Err(fault) => Err(fault.in_field(&self.record.names[named])),
        }
    }

    /// Goes to the default of a field. Nothing of this record is in the payload any more: what follows it there is read
    /// from `finish` on.
    #[cold]
    fn begin_default(&mut self, named: usize) -> StepId {
        let reads = self.record.names.len() - self.record.defaults.len();
        let default = &self.record.defaults[named - reads];
        let input = std::mem::replace(&mut self.walk.input, Input::new(&default.bytes));
        self.after.get_or_insert(input);
        default.step
    }

    #[inline]
    pub(super) fn finish(mut self) -> Result<(), Fault> {
        if let Some(after) = self.after.take() {
            self.walk.input = after;
        }
        while let Some(step) = self.advance()? {
            self.walk.skip(step)?;
        }
        self.walk.deeper += 1;
        Ok(())
    }
}

impl<'de> SeqAccess<'de> for &mut Fields<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.named == self.record.names.len() {
            return Ok(None);
        }
        let step = self.advance()?;
        self.value(step, seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.record.names.len() - self.named)
    }
}

impl<'de> MapAccess<'de> for &mut Fields<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some(name) = self.record.names.get(self.named) else { return Ok(None) };
        self.pending = self.advance()?;
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        self.value(self.pending, seed)
    }
}

//! Arrays and maps.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess};

use super::{De, Walk, text};
use crate::avro::fault::Fault;
use crate::avro::plan::{Items, Step};

/// The items of an array or the entries of a map.
pub(super) struct Blocks<'a, 'de> {
    step: &'de Step,
    walk: &'a mut Walk<'de>,
    least: usize,
    left: usize,
    index: usize,
    ended: bool,
    key: &'de str,
}

impl<'a, 'de> Blocks<'a, 'de> {
    #[inline]
    pub(super) fn new(de: De<'a, 'de>, items: Items) -> Result<Self, Fault> {
        let walk = de.walk;
        walk.descend()?;
        let step = walk.plan.step(items.step);
        let mut blocks = Self { step, walk, least: items.least, left: 0, index: 0, ended: false, key: "" };
        blocks.next_block()?;
        Ok(blocks)
    }

    #[inline]
    fn next_block(&mut self) -> Result<(), Fault> {
        self.left = self.walk.input.block(self.least)?;
        self.ended = self.left == 0;
        Ok(())
    }

    /// Whether there is one more.
    #[inline]
    fn advance(&mut self) -> Result<bool, Fault> {
        if self.ended {
            return Ok(false);
        }
        if self.left == 0 {
            self.next_block()?;
            if self.ended {
                return Ok(false);
            }
        }
        self.left -= 1;
        Ok(true)
    }

    #[inline]
    fn value<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(De { step: self.step, walk: self.walk })
    }

    /// A type of fixed length stops at its last item; then nothing may follow.
    #[inline]
    pub(super) fn finish(mut self) -> Result<(), Fault> {
        if self.advance()? {
            return Err(Fault::new(format!("there are more than {} items", self.index)));
        }
        self.walk.deeper += 1;
        Ok(())
    }
}

impl<'de> SeqAccess<'de> for &mut Blocks<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if !self.advance()? {
            return Ok(None);
        }
        let index = self.index;
        self.index += 1;
        self.value(seed).map(Some).map_err(|fault| fault.in_item(index))
    }

    // A block's count is checked against the bytes that are left, so it is no more than the payload can hold.
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for &mut Blocks<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if !self.advance()? {
            return Ok(None);
        }
        self.index += 1;
        self.key = text(false, &mut self.walk.input)?;
        seed.deserialize(BorrowedStrDeserializer::new(self.key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let key = self.key;
        self.value(seed).map_err(|fault| fault.in_field(key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

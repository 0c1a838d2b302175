//! The number that travels with a record through librdkafka, and says who waits for its report.

/// Whose report it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// The slot at this index.
    Slot(u32),
    /// The record at `index` of this batch.
    Batch { batch: u32, index: u32 },
}

const FIELD_BITS: u32 = 30;
const FIELD: usize = (1 << FIELD_BITS) - 1;
const EPOCH_BIT: u32 = 2 * FIELD_BITS;
const BATCH_BIT: u32 = EPOCH_BIT + 1;

const _: () = assert!(usize::BITS == 64, "a token has two fields of 30 bits; librdkafka's opaque holds it");

impl Token {
    /// How many records a batch may have, and how many slots and batches there may be.
    pub(super) const MOST: usize = FIELD;

    #[inline]
    pub(super) fn encode(self, epoch: usize) -> usize {
        debug_assert!(matches!(self, Token::Slot(low) | Token::Batch { batch: low, .. } if low as usize <= Self::MOST));
        let fields = match self {
            Token::Slot(slot) => slot as usize,
            Token::Batch { batch, index } => (1 << BATCH_BIT) | ((index as usize) << FIELD_BITS) | batch as usize,
        };
        fields | (epoch << EPOCH_BIT)
    }

    #[inline]
    pub(super) fn decode(token: usize) -> (Self, usize) {
        let epoch = (token >> EPOCH_BIT) & 1;
        let low = (token & FIELD) as u32;
        match (token >> BATCH_BIT) & 1 {
            0 => (Token::Slot(low), epoch),
            _ => (Token::Batch { batch: low, index: ((token >> FIELD_BITS) & FIELD) as u32 }, epoch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_went() {
        let top = Token::MOST as u32;
        for epoch in [0, 1] {
            for token in [0, 1, top].into_iter().flat_map(|low| {
                [Token::Slot(low)].into_iter().chain([0, 7, top].map(|index| Token::Batch { batch: low, index }))
            }) {
                assert_eq!(Token::decode(token.encode(epoch)), (token, epoch));
            }
        }
    }
}

//! The account of what members of a group did, for promises: that of chaos.

pub(crate) use tests::chaos::ledger::{Ledger, Line, Lines, Pen, What};

//! What a member process may be.

pub(super) mod copy;
pub(super) mod handler;
mod member;
pub(super) mod recover;
pub(super) mod redrive;

use super::order::Order;

/// A kind of member, which scenarios name.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name on the command line, unlike that of any other kind.
    pub name: &'static str,
    /// What it does, or leaves out.
    pub about: &'static str,
    /// Whether it promises not to end by itself, unless another process runs in its place.
    pub lives: bool,
    /// Runs it until its input ends. What it writes to the order's ledger is all that is known of it when it is killed.
    ///
    /// # Errors
    ///
    /// Why it ended by itself.
    pub run: fn(&Order) -> Result<(), String>,
}

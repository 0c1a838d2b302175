//! The harness keeps its own promises: what the other files are built on is proven first.

mod clean_up;
mod failures;
mod missing;
mod views;

/// This test binary, to be run again as a child.
pub(crate) use tests::chaos::process::this_program as this_binary;

//! The harness keeps its own promises: what the other files are built on is proven first.

mod clean_up;
mod failures;
mod missing;
mod views;

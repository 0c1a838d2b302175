//! Bytes from anybody: decoding never panics, and asks the allocator for no more than the bytes can justify.
//!
//! ```text
//!   seeds (payloads that are in order) ──▶ mutate ──▶ decode, under an allocation meter
//!                         random bytes ──┘
//! ```
//!
//! The same numbers in each run; `HOSTILE_ROUNDS` asks for more of them than CI does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod answers;
mod meter;
mod mutate;
mod payloads;
mod schemas;

/// How many payloads each target is given.
fn rounds(of_ci: usize) -> usize {
    std::env::var("HOSTILE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(of_ci)
}

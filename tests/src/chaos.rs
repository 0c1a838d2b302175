//! Chaos: processes of ours on a real Kafka, a seeded schedule of what happens to them, and an account of what became of
//! the records, kept outside of them.
//!
//! ```text
//!                    ┌───────────────── Plan (of a seed) ──────────────────┐
//!                    ▼                                                     ▼
//!   Feed ──▶ input topic ──▶ member processes (a Kind) ──▶ output topic   Stage: kill, suspend, scale, brokers, network
//!                │                 │                            │
//!                │                 ▼                            │
//!                └────────────▶ Ledger ◀── Judge ◀──────────────┘ ──▶ Report, a line of JSON
//! ```
//!
//! A [`Scenario`] joins the three: what the members are (the one whose promise is tested, and naive ones, which the judge
//! must find fault with), what happens to them, and who judges. Each is a file of `scenario/`, and a line in
//! [`SCENARIOS`].
//!
//! What a seed decides is the plan. How the processes' own steps fall between its events is up to the machine, so a seed
//! that breaks a promise may have to be run a few times to do it again.

pub mod ledger;
pub mod order;
pub mod process;
pub mod protocol;

mod clock;
mod dice;
mod evidence;
mod fate;
mod feed;
mod judge;
mod kind;
mod plan;
mod report;
mod run;
mod scenario;
mod stage;

pub use dice::Dice;
pub use evidence::{End, Evidence, Life};
pub use feed::Sort;
pub use judge::Findings;
pub use kind::Kind;
pub use order::Order;
pub use plan::{Event, Plan, Role, Step};
pub use report::Report;
pub use run::{Options, Runner, worker};
pub use scenario::{SCENARIOS, Scenario};

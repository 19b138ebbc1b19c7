//! The decision core of trimtab.
//!
//! [`decide()`] takes what the operator wants ([`Policy`]), what is remembered ([`State`]) and what is seen ([`Snapshot`]), and
//! says what to do and why ([`Decision`]). Nothing here waits, reads a clock, an environment or a network, draws a
//! random number or writes a log line; the four drivers (live, shadow, replay, simulator) call the same function.

// A reason or an absence that is added must be thought of wherever one is told from another.
#![warn(clippy::wildcard_enum_match_arm)]

pub use decide::{backfill, decide};
pub use decision::{Decision, LeadTime, Reason, Verb};
pub use policy::Policy;
pub use snapshot::Snapshot;
pub use state::State;

mod backlog;
mod decide;
mod gate;

pub mod capacity;
pub mod decision;
pub mod demand;
pub mod forecast;
pub mod invariant;
pub mod limit;
mod moves;
pub mod plan;
pub mod policy;
pub mod protect;
pub mod queue;
pub mod snapshot;
mod state;
pub mod trust;
pub mod unit;
mod utilization;

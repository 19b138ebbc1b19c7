//! The reference service: the benchmark's replica made real, and an example of a service that scales well.
//!
//! One server with a bounded first-come-first-served queue: 50 requests/s, service times exponential with a mean of 20 ms, seeded.
//! A share of each service time burns CPU, the rest sleeps, so that two cores carry dozens of replicas. The binary runs one; `trimtab demo`
//! runs a fleet of them in one process.

pub mod database;
pub mod drain;
mod metrics;
mod queue;
mod replica;
mod serve;

pub use replica::{Replica, Settings};
pub use serve::serve;

use std::time::Duration;

/// A duration as flags and addresses have it.
///
/// # Errors
/// Where it is none: what was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|error| format!("expected a duration such as 20ms or 5s: {error}"))?;
    Duration::try_from(span).map_err(|_| "expected a duration of at least 0".to_owned())
}

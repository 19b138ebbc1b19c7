//! Compare: what the autoscaler in charge did, and what trimtab would have done on the same demand.
//!
//! What happened is observed. What trimtab would have done is played (`play`): the very decision, on the demand that there was, with
//! replicas that take as long to start as this workload's own. Both are judged (`judge`) by one model, fitted to the workload's own latency;
//! its error on what did happen is part of the answer, and where it is too large, or the data too few, the answer is that nobody can say.
//!
//! The past comes from the agents' journals, piece by piece (`stretch`), from a journal that is at hand, or from Prometheus. One workload is
//! held at a time, and of a course no more than a bounded number of moments.
//!
//! Deliberately absent: what demand would have been under another size (a slow service sees fewer or repeated requests), prices, and
//! anything that the two share (nodes, databases).

mod command;
mod episode;
mod judge;
mod page;
mod play;
pub(crate) mod stretch;

pub use command::{backtest, compare};
pub use judge::{Judgement, Misses};
pub use page::{Comparison, html, text};
pub use stretch::Stretch;

use serde::{Deserialize, Serialize};
use trimtab_core::Policy;
use trimtab_core::unit::{Erlangs, Replicas, RequestsPerSecond, Seconds, Timestamp};

/// From ordering a replica to its being ready, where nobody measured it: as the decision itself guesses.
const STARTUP: Seconds = Seconds::whole(30);

/// A moment as it is sent: there are many.
type Row = (Timestamp, Option<RequestsPerSecond>, Option<RequestsPerSecond>, Option<Seconds>, Replicas, Replicas);

/// What was seen of a workload at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// Demand; `None` where nobody knows: such a moment counts for neither side.
    pub demand: Option<RequestsPerSecond>,
    /// What a replica serves, where that is measured.
    pub capacity: Option<RequestsPerSecond>,
    /// The latency that the objective is about, where it is measured.
    pub latency: Option<Seconds>,
    /// The size that was asked for.
    pub wanted: Replicas,
    /// How many were ready.
    pub ready: Replicas,
}

impl From<Row> for Moment {
    fn from((at, demand, capacity, latency, wanted, ready): Row) -> Self {
        Self { at, demand, capacity, latency, wanted, ready }
    }
}

impl From<Moment> for Row {
    fn from(Moment { at, demand, capacity, latency, wanted, ready }: Moment) -> Self {
        (at, demand, capacity, latency, wanted, ready)
    }
}

/// A workload's past.
#[derive(Clone, Debug)]
pub struct Course {
    /// Namespace/kind/name.
    pub workload: String,
    /// What is wanted of it.
    pub policy: Policy,
    /// Oldest first.
    pub moments: Vec<Moment>,
    /// From ordering a replica to its being ready.
    pub startup: Seconds,
    /// Whether that was measured.
    pub startup_measured: bool,
    /// What is to be known about where all this comes from.
    pub remarks: Vec<String>,
}

/// No moment stands for longer than this: what was in a longer gap, nobody knows.
const LONGEST: Seconds = Seconds::whole(90);

impl Course {
    /// How long a moment stands for.
    fn lasts(&self, place: usize) -> Seconds {
        match (self.moments.get(place), self.moments.get(place + 1)) {
            (Some(now), Some(next)) => next.at.since(now.at).min(LONGEST),
            _ => Seconds::ZERO,
        }
    }
}

// What a mean of measured values is: finite, and not negative.

fn seconds(raw: f64) -> Seconds {
    Seconds::new(raw).unwrap_or(Seconds::ZERO)
}

fn rate(raw: f64) -> RequestsPerSecond {
    RequestsPerSecond::new(raw).unwrap_or(RequestsPerSecond::ZERO)
}

fn erlangs(raw: f64) -> Erlangs {
    Erlangs::new(raw).unwrap_or(Erlangs::ZERO)
}

#[cfg(test)]
pub(crate) mod tests;

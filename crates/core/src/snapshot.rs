//! All that one decision may look at.
//!
//! The shell builds a [`Snapshot`]; the core never fetches. A reading is fresh, stale or missing with its cause,
//! and says how much of what it should cover it does cover: there is no silent zero and no NaN.

use crate::unit::{Level, Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What is known of one workload at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Timestamp,
    /// Demand: requests that arrive a second, served or not.
    pub demand: Reading<RequestsPerSecond>,
    /// What one replica can serve at full use.
    pub capacity: Reading<RequestsPerSecond>,
    /// The latency that the objective is about (a 99th percentile).
    pub latency: Reading<Seconds>,
    /// The share of the time since the last look that the ready replicas were busy.
    #[serde(default = "nobody_measures")]
    pub utilization: Reading<Ratio>,
    /// What a forecast from outside says, earliest first; empty where there is none.
    #[serde(default)]
    pub foretold: Vec<Foretold>,
    /// What is to be protected downstream, by the name that the policy gives it.
    pub protected: BTreeMap<String, Reading<Level>>,
    /// The replicas as the API server reports them.
    pub fleet: Fleet,
}

#[cfg(test)]
impl Snapshot {
    /// Nothing is measured of replicas that stand.
    pub(crate) fn blind(at: Timestamp, ready: Replicas) -> Self {
        Self {
            at,
            demand: nobody_measures(),
            capacity: nobody_measures(),
            latency: nobody_measures(),
            utilization: nobody_measures(),
            foretold: Vec::new(),
            protected: BTreeMap::new(),
            fleet: Fleet {
                desired: ready,
                ready,
                starting: Replicas(0),
                stuck: Replicas(0),
                startup: None,
                rolling_out: false,
            },
        }
    }
}

/// Snapshots that were recorded before they told utilization did not have it.
const fn nobody_measures<T>() -> Reading<T> {
    Reading::Missing(Absence::NotConfigured)
}

/// What a forecast from outside says of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Foretold {
    /// The moment.
    pub at: Timestamp,
    /// Requests that will arrive a second.
    pub rate: RequestsPerSecond,
}

/// A measured value, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading<T> {
    /// Young enough to act on.
    Fresh(Sample<T>),
    /// The last that was seen; too old to act on.
    Stale(Sample<T>),
    /// Nothing usable, and why.
    Missing(Absence),
}

/// A value with its age and what stands behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample<T> {
    /// The value.
    pub value: T,
    /// How long before the snapshot the oldest sample behind it was taken; `None` where nobody can tell.
    pub age: Option<Seconds>,
    /// How much of what it should cover it does cover.
    pub coverage: Coverage,
}

/// How much of what a reading should cover it does cover.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coverage {
    /// This share of the ready replicas reports (it may exceed 1 while replicas leave).
    Share(Ratio),
    /// The source itself says that its answer is incomplete.
    Partial,
    /// Nobody counted what stands behind the value.
    Unmeasured,
}

impl Coverage {
    /// Below this share a sum is not trusted to have fallen: losing one target of ten looks like 10 % less
    /// demand, which is about the change that one replica of ten is removed for.
    pub const COMPLETE: Ratio = Ratio::percent(90);

    /// Whether a fall of the value may be believed.
    #[must_use]
    pub fn is_complete(self) -> bool {
        match self {
            Self::Share(share) => share >= Self::COMPLETE,
            Self::Partial => false,
            Self::Unmeasured => true,
        }
    }

    /// Whether somebody counted, and the count was complete.
    #[must_use]
    pub fn is_proven(self) -> bool {
        matches!(self, Self::Share(share) if share >= Self::COMPLETE)
    }
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absence {
    /// The policy names no query for it.
    NotConfigured,
    /// It was not asked for yet.
    NotYetAsked,
    /// The source could not be reached.
    Unreachable,
    /// The source did not answer in time.
    TimedOut,
    /// The source refused to answer (credentials, overload, an internal error).
    Refused,
    /// The source does not understand the query.
    BadQuery,
    /// The query gave no series.
    NoSeries,
    /// The query gave more than one series where one value is wanted.
    ManySeries,
    /// The query gave NaN or a negative number.
    NotANumber,
    /// The query gave infinity: above any limit, and no number to reckon with.
    Infinite,
    /// The query gave something else than numbers.
    WrongType,
    /// The answer was too large to read.
    TooLarge,
    /// A zero that what was seen before contradicts, with nobody to vouch for it.
    SuspiciousZero,
    /// A steep fall while the replicas are as busy as before.
    SuspiciousFall,
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConfigured => "no query is configured",
            Self::NotYetAsked => "not asked yet",
            Self::Unreachable => "the source is unreachable",
            Self::TimedOut => "the source did not answer in time",
            Self::Refused => "the source refused to answer",
            Self::BadQuery => "the source does not understand the query",
            Self::NoSeries => "the query returned no series",
            Self::ManySeries => "the query returned more than one series",
            Self::NotANumber => "the query returned NaN or a negative number",
            Self::Infinite => "the query returned infinity",
            Self::WrongType => "the query returned something else than numbers",
            Self::TooLarge => "the answer was too large to read",
            Self::SuspiciousZero => "a zero that contradicts what was seen before",
            Self::SuspiciousFall => "a steep fall while the replicas are as busy as before",
        })
    }
}

impl<T: Copy> Reading<T> {
    /// The value, where it is young enough to act on.
    pub fn fresh(&self) -> Option<T> {
        match self {
            Self::Fresh(sample) => Some(sample.value),
            Self::Stale(_) | Self::Missing(_) => None,
        }
    }
}

/// The replicas of a workload as the API server reports them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// What is asked for: `spec.replicas`.
    pub desired: Replicas,
    /// Pods that are Ready, pods on their way out not counted.
    pub ready: Replicas,
    /// Pods that exist and were never Ready yet. One that was, and no longer is, counts nowhere.
    pub starting: Replicas,
    /// Those of them that have existed for [`Fleet::STUCK`] or longer.
    pub stuck: Replicas,
    /// From creation to Ready, 90th percentile of this workload's own pods; `None` before one was seen.
    pub startup: Option<Seconds>,
    /// Whether pods of two versions exist side by side.
    pub rolling_out: bool,
}

impl Fleet {
    /// A pod that has been starting for so long does not start.
    pub const STUCK: Seconds = Seconds::whole(300);

    /// Whether so many of the replicas are ready that what they report stands for all.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        f64::from(self.ready.0) >= f64::from(self.desired.0) * Coverage::COMPLETE.get()
    }
}

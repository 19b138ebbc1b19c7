//! What to do, and every value that led there.
//!
//! A [`Decision`] is the reasoning itself, not a log of it: what the explanation prints, what the journal keeps and
//! what the actuator carries out are these very fields.

use crate::capacity::Capacity;
use crate::demand::Demand;
use crate::forecast::Forecast;
use crate::limit::{Bite, Limit};
use crate::plan::Plan;
use crate::protect::Guard;
use crate::snapshot::Absence;
use crate::trust::Trust;
use crate::unit::{Erlangs, Replicas, Seconds, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What to do with one workload, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use = "a decision that is neither performed nor recorded is lost"]
pub struct Decision {
    /// When it was taken: the snapshot's moment.
    pub at: Timestamp,
    /// How many replicas were asked for before it.
    pub from: Replicas,
    /// How many are asked for after it.
    pub to: Replicas,
    /// The outcome in one word.
    pub verb: Verb,
    /// Why, and what it waits for.
    pub reason: Reason,
    /// Step 1: what was believed of demand.
    pub demand: Demand,
    /// What was believed of a replica's capacity.
    pub capacity: Capacity,
    /// How long it takes until a replica that is ordered now serves.
    pub lead: LeadTime,
    /// Step 2: demand now and in the windows ahead, where demand is known.
    pub forecast: Option<Forecast>,
    /// Step 4: what the workload's own latency says of the model.
    pub trust: Trust,
    /// Requests that are taken to wait when an order of now is ready.
    pub backlog: Erlangs,
    /// Step 5: the size that costs least, the risk priced in; `None` where demand or capacity is not known.
    pub plan: Option<Plan>,
    /// Step 3: what is protected downstream.
    pub guards: Vec<Guard>,
    /// Step 6: the limits that bit, in their order.
    pub bites: Vec<Bite>,
}

/// The outcome in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verb {
    /// More replicas.
    ScaleOut,
    /// The same work on cheaper capacity. Not chosen while snapshots carry no offers.
    MoveToCheaperNode,
    /// Fewer replicas.
    ScaleDown,
    /// Nothing.
    Hold,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ScaleOut => "ScaleOut",
            Self::MoveToCheaperNode => "MoveToCheaperNode",
            Self::ScaleDown => "ScaleDown",
            Self::Hold => "Hold",
        })
    }
}

/// How long it takes until a replica that is ordered now serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeadTime {
    /// From creation to Ready, 90th percentile.
    pub startup: Seconds,
    /// Whether that was measured on this workload's pods, or is the default.
    pub measured: bool,
    /// How old the newest knowledge of demand is when it is acted on.
    pub metric_lag: Seconds,
}

impl LeadTime {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Seconds {
        self.startup + self.metric_lag
    }
}

/// Why the outcome is what it is. Codes are stable; each has its page in the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// More replicas cost less than the misses that they prevent.
    Needed,
    /// Fewer are enough, over all the time that it would take to get one back.
    Spare,
    /// A bound of the policy asks for it, whatever demand does.
    Bound(Limit),
    /// The size is right.
    Settled,
    /// The first look after a start: nothing is changed before a second one agrees.
    FirstLook,
    /// The workload is at 0 replicas: a human paused it.
    Paused,
    /// Demand is not known.
    DemandUnknown(Absence),
    /// Demand was last known too long ago.
    DemandStale {
        /// How long, where that is known.
        age: Option<Seconds>,
    },
    /// What a replica can serve is not known.
    CapacityUnknown(Absence),
    /// A limit holds a change back.
    Limited {
        /// Which.
        limit: Limit,
        /// The size without it.
        wanted: Replicas,
        /// When it lets go, where that is known.
        until: Option<Timestamp>,
    },
}

impl Reason {
    /// The stable code of this reason.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Needed => "TT-R01",
            Self::Spare => "TT-R02",
            Self::Bound(_) => "TT-R03",
            Self::Settled => "TT-R10",
            Self::FirstLook => "TT-R11",
            Self::Paused => "TT-R12",
            Self::DemandUnknown(_) => "TT-R20",
            Self::DemandStale { .. } => "TT-R21",
            Self::CapacityUnknown(_) => "TT-R22",
            Self::Limited { limit, .. } => limit.code(),
        }
    }
}

impl Limit {
    /// The stable code of a hold that this limit causes.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Min => "TT-R30",
            Self::Max => "TT-R31",
            Self::Stabilization => "TT-R32",
            Self::PartialDemand => "TT-R33",
            Self::Latency => "TT-R34",
            Self::LatencyUnknown(_) => "TT-R35",
            Self::Rollout => "TT-R36",
            Self::Protected(_) => "TT-R37",
            Self::StuckPods => "TT-R38",
            Self::Step => "TT-R39",
            Self::Unready => "TT-R40",
            Self::Ramp => "TT-R41",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Needed => f.write_str("needed for what comes within the lead time"),
            Self::Spare => f.write_str("fewer are enough until one could be back"),
            Self::Bound(limit) => write!(f, "the policy's {limit}"),
            Self::Settled => f.write_str("the size is right"),
            Self::FirstLook => f.write_str("first look after a start"),
            Self::Paused => f.write_str("paused at 0 replicas"),
            Self::DemandUnknown(absence) => write!(f, "demand is unknown: {absence}"),
            Self::DemandStale { age: Some(age) } => write!(f, "demand was last known {:.0} s ago", age.get()),
            Self::DemandStale { age: None } => f.write_str("demand was last known too long ago"),
            Self::CapacityUnknown(absence) => write!(f, "what a replica serves is unknown: {absence}"),
            Self::Limited { limit, wanted, .. } => write!(f, "{limit} (without it: {wanted})"),
        }
    }
}

//! What the operator wants, already validated: no strings to parse, no defaults left to apply.

use crate::unit::{Level, Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How one workload is to be sized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Least and most replicas.
    pub replicas: Bounds,
    /// The latency that users are promised.
    pub objective: Objective,
    /// What one replica can serve.
    pub capacity: Capacity,
    /// What must not be overloaded by scaling out.
    pub protect: Vec<Protection>,
    /// Scale-down stabilization window: a replica goes only when none of this span would have kept it.
    pub stabilization: Seconds,
    /// Demand that the operator knows to come.
    #[serde(default)]
    pub events: Vec<Event>,
    /// The largest net change of replicas, either way, within any half-minute that whoever carries decisions out lets
    /// through; `None` is unlimited.
    #[serde(default)]
    pub ramp: Option<Replicas>,
    /// How the size is chosen.
    #[serde(default, skip_serializing_if = "Method::is_default")]
    pub method: Method,
}

#[cfg(test)]
impl Policy {
    /// 200 ms in all but half of a hundredth, and 50 requests/s a replica.
    pub(crate) const PLAIN: Self = Self {
        replicas: Bounds { min: Replicas(1), max: Replicas(60) },
        objective: Objective {
            latency: Seconds::milliseconds(200),
            misses: Ratio::permille(5),
            window: Objective::WINDOW,
        },
        capacity: Capacity::Declared(RequestsPerSecond::whole(50)),
        protect: Vec::new(),
        stabilization: Seconds::whole(300),
        events: Vec::new(),
        ramp: None,
        method: Method::Priced,
    };
}

/// How the size is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// By the price of a miss against that of a replica.
    #[default]
    Priced,
    /// By the published confidence gate, on the same forecast: to compare with (`gate`).
    Gate,
    /// By the price, with one part left out: to measure what the part is worth. Not for operation.
    Without(Part),
}

impl Method {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_default(&self) -> bool {
        *self == Self::Priced
    }

    /// Whether a part is left out.
    #[must_use]
    pub fn lacks(self, part: Part) -> bool {
        self == Self::Without(part)
    }
}

/// A part of the decision that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The damped trend among the experts.
    Trend,
    /// The longer season among them.
    Season,
    /// The shorter season within it.
    ShortSeason,
    /// Day and week, from the coarse history.
    CoarseSeason,
    /// What a window that runs shows of itself.
    Surprise,
    /// Jumps that go on.
    Momentum,
    /// Jumps that may come.
    Hazard,
    /// Doubt of a fall that experts foresee.
    Doubt,
    /// Help that a window can still get.
    Help,
    /// Decisions that are planned for later.
    Ahead,
    /// The price of a change.
    Hysteresis,
    /// The queue that stands when an order is ready.
    Backlog,
    /// What the latency says of how replicas share their queues.
    Sharing,
    /// The margin that misses teach.
    Margin,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Trend,
        Self::Season,
        Self::ShortSeason,
        Self::CoarseSeason,
        Self::Surprise,
        Self::Momentum,
        Self::Hazard,
        Self::Doubt,
        Self::Help,
        Self::Ahead,
        Self::Hysteresis,
        Self::Backlog,
        Self::Sharing,
        Self::Margin,
    ];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trend => "trend",
            Self::Season => "season",
            Self::ShortSeason => "short season",
            Self::CoarseSeason => "day and week",
            Self::Surprise => "surprise within a window",
            Self::Momentum => "momentum of jumps",
            Self::Hazard => "hazard of jumps",
            Self::Doubt => "doubt of falls",
            Self::Help => "help within a window",
            Self::Ahead => "planning ahead",
            Self::Hysteresis => "hysteresis",
            Self::Backlog => "backlog",
            Self::Sharing => "sharing learned",
            Self::Margin => "margin learned",
        })
    }
}

/// Demand that is known to come: a sale, a match, the end of a school holiday.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Requests a second that are to be served meanwhile, at least.
    pub rate: RequestsPerSecond,
}

/// Least and most replicas; `1 <= min <= max` holds by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawBounds", into = "RawBounds")]
pub struct Bounds {
    min: Replicas,
    max: Replicas,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct RawBounds {
    min: Replicas,
    max: Replicas,
}

impl Bounds {
    /// The bounds, or `None` unless `1 <= min <= max`.
    #[must_use]
    pub const fn new(min: Replicas, max: Replicas) -> Option<Self> {
        if 1 <= min.0 && min.0 <= max.0 { Some(Self { min, max }) } else { None }
    }

    /// The least.
    #[must_use]
    pub const fn min(self) -> Replicas {
        self.min
    }

    /// The most.
    #[must_use]
    pub const fn max(self) -> Replicas {
        self.max
    }
}

impl TryFrom<RawBounds> for Bounds {
    type Error = &'static str;
    fn try_from(raw: RawBounds) -> Result<Self, Self::Error> {
        Self::new(raw.min, raw.max).ok_or("bounds need 1 <= min <= max")
    }
}

impl From<Bounds> for RawBounds {
    fn from(bounds: Bounds) -> Self {
        Self { min: bounds.min, max: bounds.max }
    }
}

/// A latency objective: in all but `misses` of the time, 99 of 100 requests end within `latency`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// The 99th percentile that is promised.
    pub latency: Seconds,
    /// The share of windows that may miss it.
    pub misses: Ratio,
    /// How long one window is.
    #[serde(default = "window")]
    pub window: Seconds,
}

impl Objective {
    /// The length of a window where nobody says another: long enough for the hundreds of requests that a 99th
    /// percentile needs, short enough that a bad minute is not averaged away.
    pub const WINDOW: Seconds = Seconds::whole(30);
    /// The latency of an objective that promises none: nobody waits for a day.
    const UNPROMISED: Seconds = Seconds::whole(86_400);

    /// No promise of latency: a replica is loaded up to its capacity, which then is what it may carry, not what it can.
    #[must_use]
    pub const fn unpromised() -> Self {
        Self { latency: Self::UNPROMISED, misses: Ratio::permille(5), window: Self::WINDOW }
    }

    /// Whether a latency is promised.
    #[must_use]
    pub fn is_promised(&self) -> bool {
        self.latency < Self::UNPROMISED
    }
}

/// Policies that were recorded before they named a window meant this one.
const fn window() -> Seconds {
    Objective::WINDOW
}

/// What one replica can serve at full use.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capacity {
    /// The operator says so.
    Declared(RequestsPerSecond),
    /// The snapshot's `capacity` reading says so.
    Measured,
}

/// Something downstream that more replicas could overload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Protection {
    /// The name that its reading carries in the snapshot.
    pub name: String,
    /// Above this level nothing is scaled out into it.
    pub limit: Level,
}

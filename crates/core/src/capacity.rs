//! Capacity: what one replica serves a second at full use.
//!
//! Declared by the policy, or measured and smoothed. It changes with releases, not with the minute, so the last
//! good value serves through a gap, with its age shown; nothing is ever sized with a capacity that nobody gave.

use crate::policy;
use crate::snapshot::{Absence, Reading};
use crate::unit::{RequestsPerSecond, Seconds, Timestamp};
use serde::{Deserialize, Serialize};

/// Time constant of the smoothing: a mean service time over one minute scatters by a few per cent, and every
/// twitch of it would move the size of the whole workload.
const SMOOTHING: Seconds = Seconds::whole(60);

/// What is believed of a replica's capacity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capacity {
    /// The policy says so.
    Declared(RequestsPerSecond),
    /// Measured, and smoothed over a minute.
    Measured {
        /// Requests a second.
        rate: RequestsPerSecond,
        /// How long ago it was last measured.
        age: Seconds,
    },
    /// Nobody said.
    Unknown(Absence),
}

impl Capacity {
    /// Requests a second that one replica serves, where that is known.
    #[must_use]
    pub fn rate(&self) -> Option<RequestsPerSecond> {
        match self {
            Self::Declared(rate) | Self::Measured { rate, .. } => Some(*rate),
            Self::Unknown(_) => None,
        }
    }
}

/// What is remembered of capacity: the smoothed value, and when it was last fed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    measured: Option<(Timestamp, RequestsPerSecond)>,
}

pub(crate) fn assess(
    policy: &policy::Capacity,
    memory: &mut Memory,
    reading: &Reading<RequestsPerSecond>,
    at: Timestamp,
) -> Capacity {
    if let policy::Capacity::Declared(rate) = policy {
        return Capacity::Declared(*rate);
    }
    if let Some(rate) = reading.fresh().filter(|rate| *rate > RequestsPerSecond::ZERO) {
        let smoothed = memory.measured.map_or(rate, |(when, last)| smooth(last, rate, at.since(when)));
        memory.measured = Some((at, smoothed));
    }
    match (memory.measured, reading) {
        (Some((when, rate)), _) => Capacity::Measured { rate, age: at.since(when) },
        (None, Reading::Missing(absence)) => Capacity::Unknown(*absence),
        (None, Reading::Fresh(_) | Reading::Stale(_)) => Capacity::Unknown(Absence::NotANumber),
    }
}

fn smooth(last: RequestsPerSecond, rate: RequestsPerSecond, elapsed: Seconds) -> RequestsPerSecond {
    let weight = -libm::expm1(-elapsed.get() / SMOOTHING.get());
    RequestsPerSecond::clamped(last.get() + weight * (rate.get() - last.get()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Coverage, Sample};

    fn measured(rate: f64) -> Reading<RequestsPerSecond> {
        let value = RequestsPerSecond::new(rate).unwrap();
        Reading::Fresh(Sample { value, age: None, coverage: Coverage::Unmeasured })
    }

    #[test]
    fn the_last_good_value_serves_through_a_gap() {
        let mut memory = Memory::default();
        assess(&policy::Capacity::Measured, &mut memory, &measured(50.0), Timestamp(0));
        let gap = Reading::Missing(Absence::Unreachable);
        let seen = assess(&policy::Capacity::Measured, &mut memory, &gap, Timestamp(90_000));
        assert_eq!(seen, Capacity::Measured { rate: RequestsPerSecond::new(50.0).unwrap(), age: Seconds::whole(90) });
    }

    #[test]
    fn a_capacity_of_zero_is_no_capacity() {
        let seen = assess(&policy::Capacity::Measured, &mut Memory::default(), &measured(0.0), Timestamp(0));
        assert_eq!(seen, Capacity::Unknown(Absence::NotANumber));
    }

    #[test]
    fn one_odd_measurement_hardly_moves_it() {
        let mut memory = Memory::default();
        assess(&policy::Capacity::Measured, &mut memory, &measured(50.0), Timestamp(0));
        let seen = assess(&policy::Capacity::Measured, &mut memory, &measured(10.0), Timestamp(5_000));
        assert!(seen.rate().unwrap().get() > 46.0, "{seen:?}");
    }
}

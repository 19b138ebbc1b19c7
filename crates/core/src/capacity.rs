//! Capacity: what one replica serves a second at full use.
//!
//! Declared by the policy, or measured and smoothed. It changes with releases, not with the minute, so the last
//! good value serves through a gap, with its age shown; nothing is ever sized with a capacity that nobody gave.
//!
//! Where utilization is measured, it corrects either: what was served over how long the replicas were busy for it (the utilization law,
//! Denning and Buzen, Computing Surveys 10(3), 1978), faded over ten minutes, with the belief weighing as much as some minutes of one
//! replica. Nothing is learned while replicas are nearly always busy: then what arrives is not what is served.

use crate::demand::Demand;
use crate::policy;
use crate::snapshot::{Absence, Reading, Snapshot};
use crate::unit::{Ratio, RequestsPerSecond, Seconds, Timestamp};
use crate::utilization::USED;
use serde::{Deserialize, Serialize};

/// Time constant of the smoothing: a mean service time over one minute scatters by a few per cent, and every
/// twitch of it would move the size of the whole workload.
const SMOOTHING: Seconds = Seconds::whole(60);
/// Time constant of what utilization says: a release is learned in ten minutes.
const FADING: Seconds = Seconds::whole(600);
/// The belief weighs as much as so long of one busy replica.
const BELIEF: Seconds = Seconds::whole(40);

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
    /// Declared or measured, and corrected by how busy the replicas are.
    Corrected {
        /// Requests a second.
        rate: RequestsPerSecond,
        /// What it would be without.
        believed: RequestsPerSecond,
    },
    /// Nobody said.
    Unknown(Absence),
}

impl Capacity {
    /// Requests a second that one replica serves, where that is known.
    #[must_use]
    pub fn rate(&self) -> Option<RequestsPerSecond> {
        match self {
            Self::Declared(rate) | Self::Measured { rate, .. } | Self::Corrected { rate, .. } => Some(*rate),
            Self::Unknown(_) => None,
        }
    }
}

/// What is remembered of capacity: the smoothed value, and when it was last fed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    measured: Option<(Timestamp, RequestsPerSecond)>,
    #[serde(default)]
    looked: Option<Timestamp>,
    /// Requests that were served while utilization told something, and how long replicas were busy with them.
    #[serde(default)]
    served: f64,
    #[serde(default)]
    busy: Seconds,
}

/// What is believed of capacity; `busy` tells how busy the replicas are, where no request waits for one.
pub(crate) fn assess(
    policy: &policy::Capacity,
    memory: &mut Memory,
    demand: &Demand,
    busy: Option<Ratio>,
    snapshot: &Snapshot,
) -> Capacity {
    let at = snapshot.at;
    let elapsed = memory.looked.map_or(Seconds::ZERO, |looked| at.since(looked)).min(SMOOTHING);
    memory.looked = Some(at);
    if let (Demand::Known { rate, .. }, Some(busy)) = (demand, busy) {
        learn(memory, (*rate, busy), elapsed, snapshot);
    }
    let believed = believe(policy, memory, &snapshot.capacity, at);
    match believed.rate() {
        Some(rate) if memory.busy > Seconds::ZERO => {
            let corrected = (rate.get() * BELIEF.get() + memory.served) / (BELIEF + memory.busy).get();
            Capacity::Corrected { rate: RequestsPerSecond::clamped(corrected), believed: rate }
        }
        _ => believed,
    }
}

fn learn(memory: &mut Memory, (rate, busy): (RequestsPerSecond, Ratio), elapsed: Seconds, snapshot: &Snapshot) {
    if busy <= USED.0 || busy >= USED.1 {
        return;
    }
    let keep = libm::exp(-elapsed.get() / FADING.get());
    memory.served = memory.served * keep + rate.get() * elapsed.get();
    let replicas = f64::from(snapshot.fleet.ready.0);
    memory.busy = Seconds::clamped(memory.busy.get() * keep + busy.get() * replicas * elapsed.get());
}

fn believe(
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
    use crate::unit::Replicas;

    fn reading<T>(value: T) -> Reading<T> {
        Reading::Fresh(Sample { value, age: None, coverage: Coverage::Unmeasured })
    }

    fn measured(rate: f64) -> Reading<RequestsPerSecond> {
        reading(RequestsPerSecond::new(rate).unwrap())
    }

    fn believed(memory: &mut Memory, reading: &Reading<RequestsPerSecond>, second: i64) -> Capacity {
        believe(&policy::Capacity::Measured, memory, reading, Timestamp(second * 1_000))
    }

    #[test]
    fn the_last_good_value_serves_through_a_gap() {
        let mut memory = Memory::default();
        believed(&mut memory, &measured(50.0), 0);
        let seen = believed(&mut memory, &Reading::Missing(Absence::Unreachable), 90);
        assert_eq!(seen, Capacity::Measured { rate: RequestsPerSecond::new(50.0).unwrap(), age: Seconds::whole(90) });
    }

    #[test]
    fn a_capacity_of_zero_is_no_capacity() {
        assert_eq!(believed(&mut Memory::default(), &measured(0.0), 0), Capacity::Unknown(Absence::NotANumber));
    }

    #[test]
    fn one_odd_measurement_hardly_moves_it() {
        let mut memory = Memory::default();
        believed(&mut memory, &measured(50.0), 0);
        let seen = believed(&mut memory, &measured(10.0), 5);
        assert!(seen.rate().unwrap().get() > 46.0, "{seen:?}");
    }

    #[test]
    fn a_declared_capacity_is_corrected_by_how_busy_replicas_are() {
        let demand = Demand::Known { rate: RequestsPerSecond::whole(320), age: None, complete: true };
        let snapshot = |second: i64| Snapshot::blind(Timestamp(second * 1_000), Replicas(10));
        let declared = policy::Capacity::Declared(RequestsPerSecond::whole(50));
        let after = |busy| {
            let mut memory = Memory::default();
            (0..=24)
                .map(|tick| assess(&declared, &mut memory, &demand, busy, &snapshot(5 * tick)))
                .last()
                .and_then(|capacity| capacity.rate())
                .unwrap()
                .get()
        };
        let seen = after(Some(Ratio::percent(80)));
        assert!((40.0..41.6).contains(&seen), "320/s keep 8 of 10 busy: 40 each, not 50: {seen}");
        assert_eq!(after(Some(Ratio::percent(99))).to_bits(), 50.0_f64.to_bits(), "a queue may hide demand");
        assert_eq!(after(None).to_bits(), 50.0_f64.to_bits(), "and does where one is known");
    }
}

//! Limits: what stands between the size that demand asks for and the size that is set.
//!
//! Applied in one order; each that bites says so with what it made of what. The order is the promise: the operator's
//! bounds, then what keeps replicas (stabilization, doubts about the inputs), then what holds replicas back
//! (protection, pods that do not start), then the largest single step.

use crate::demand::Demand;
use crate::plan::Plan;
use crate::policy::{Bounds, Policy};
use crate::protect::Guard;
use crate::snapshot::{Absence, Fleet, Reading, Snapshot};
use crate::unit::{Replicas, RequestsPerSecond, Seconds, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;

/// So many pods that do not start hold nothing back: one in ten, or one. A single bad node must not keep a fleet from growing.
const STUCK_SHARE: u32 = 10;
/// Longer than this without a reading, and the stabilization window starts anew: what was not seen may have been a peak.
const BLIND: Seconds = Seconds::whole(60);
/// Below this demand a window of seconds may be without a request, and so without a percentile.
const IDLE: RequestsPerSecond = RequestsPerSecond::whole(1);

/// A limit that changed the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bite {
    /// Which.
    pub limit: Limit,
    /// The size before it.
    pub from: Replicas,
    /// The size after it.
    pub to: Replicas,
    /// When it will let go, where that is known.
    pub until: Option<Timestamp>,
}

/// What can stand in the way of a size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The policy's least number of replicas.
    Min,
    /// The policy's most.
    Max,
    /// Within the stabilization window more were needed, or it (at least one window of the objective) was not watched to its end yet.
    Stabilization,
    /// Part of the replicas does not report, so a fall of demand is not believed.
    PartialDemand,
    /// The objective is being missed now; nothing is removed meanwhile.
    Latency,
    /// Whether the objective is kept is not known, because its source failed.
    LatencyUnknown(Absence),
    /// Two versions of the pods exist side by side.
    Rollout,
    /// Fewer than nine in ten of the replicas are ready: what they serve is less than what is asked for.
    Unready,
    /// Something downstream is above its limit.
    Protected(String),
    /// More than a tenth of the replicas were asked for long ago and do not start: more of the same would wait beside them.
    StuckPods,
    /// The ramp that the policy names: no more changes within half a minute.
    Ramp,
    /// The largest change that is made at once: up to four times plus four, down to half.
    Step,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Min => f.write_str("min replicas"),
            Self::Max => f.write_str("max replicas"),
            Self::Stabilization => f.write_str("scale-down stabilization window"),
            Self::PartialDemand => f.write_str("only part of the replicas report"),
            Self::Latency => f.write_str("the objective is being missed"),
            Self::LatencyUnknown(absence) => write!(f, "latency is unknown: {absence}"),
            Self::Rollout => f.write_str("a rollout is in progress"),
            Self::Unready => f.write_str("not all replicas are ready"),
            Self::Protected(name) => write!(f, "{name} is above its limit"),
            Self::StuckPods => f.write_str("pods that were asked for do not become ready"),
            Self::Ramp => f.write_str("the ramp of half a minute is used up"),
            Self::Step => f.write_str("largest step at once"),
        }
    }
}

/// What is remembered for the stabilization window: each size that was worth keeping and when it last was,
/// larger before smaller, so that the first is the largest of the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    kept: VecDeque<Kept>,
    watched_since: Option<Timestamp>,
    watched_last: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    at: Timestamp,
    replicas: Replicas,
}

/// Notes what would be kept now, so that the window knows it later.
pub(crate) fn watch(memory: &mut Memory, keep: Replicas, window: Seconds, at: Timestamp) {
    if memory.watched_last.is_none_or(|last| at.since(last) > BLIND) {
        memory.watched_since = Some(at);
    }
    memory.watched_last = Some(at);
    while memory.kept.back().is_some_and(|kept| kept.replicas <= keep) {
        memory.kept.pop_back();
    }
    memory.kept.push_back(Kept { at, replicas: keep });
    while memory.kept.front().is_some_and(|kept| at.since(kept.at) > window) {
        memory.kept.pop_front();
    }
}

/// The size that is set, and what bit on the way to it.
pub(crate) fn apply(
    policy: &Policy,
    memory: &Memory,
    (demand, plan): (&Demand, Option<&Plan>),
    (guards, room): (&[Guard], (Replicas, Replicas)),
    snapshot: &Snapshot,
) -> (Replicas, Vec<Bite>) {
    let desired = snapshot.fleet.desired;
    let mut limited = Limited { desired, now: plan.map_or(desired, |plan| plan.replicas), bites: Vec::new() };
    limited.bound(policy.replicas, plan);
    if limited.lowers() {
        limited.stabilize(policy, memory, snapshot.at);
        limited.doubt(policy, demand, snapshot);
    }
    if limited.raises() {
        limited.hold_back(guards, &snapshot.fleet);
    }
    limited.ramp(room);
    limited.step();
    (limited.now, limited.bites)
}

fn is_idle(demand: &Demand) -> bool {
    matches!(demand, Demand::Known { rate, .. } if *rate <= IDLE)
}

struct Limited {
    desired: Replicas,
    now: Replicas,
    bites: Vec<Bite>,
}

impl Limited {
    fn lowers(&self) -> bool {
        self.now < self.desired
    }

    fn raises(&self) -> bool {
        self.now > self.desired
    }

    fn bite(&mut self, limit: Limit, to: Replicas, until: Option<Timestamp>) {
        if to != self.now {
            self.bites.push(Bite { limit, from: self.now, to, until });
            self.now = to;
        }
    }

    fn bound(&mut self, bounds: Bounds, plan: Option<&Plan>) {
        if self.now < bounds.min() {
            self.bite(Limit::Min, bounds.min(), None);
        }
        // Who is blind does not remove, not even down to a maximum that was lowered.
        let most = if plan.is_none() { bounds.max().max(self.desired) } else { bounds.max() };
        if self.now > most {
            self.bite(Limit::Max, most, None);
        }
    }

    fn stabilize(&mut self, policy: &Policy, memory: &Memory, at: Timestamp) {
        let window = policy.stabilization;
        // After a gap one whole window of the objective is watched first, whatever the operator says: one look is no course.
        let watched_until = memory.watched_since.map(|since| since.after(window.max(policy.objective.window)));
        if watched_until.is_none_or(|until| until > at) {
            return self.bite(Limit::Stabilization, self.desired, watched_until);
        }
        if let Some(largest) = memory.kept.front() {
            // A maximum that was lowered is an order, however much is needed.
            let to = largest.replicas.min(self.desired).min(policy.replicas.max()).max(self.now);
            self.bite(Limit::Stabilization, to, Some(largest.at.after(window)));
        }
    }

    fn doubt(&mut self, policy: &Policy, demand: &Demand, snapshot: &Snapshot) {
        if matches!(demand, Demand::Known { complete: false, .. }) {
            self.bite(Limit::PartialDemand, self.desired, None);
        }
        match &snapshot.latency {
            Reading::Fresh(sample) if sample.value > policy.objective.latency => {
                self.bite(Limit::Latency, self.desired.min(policy.replicas.max()).max(self.now), None);
            }
            Reading::Missing(Absence::NotConfigured) | Reading::Fresh(_) => {}
            // No request, no percentile: that is how a service without traffic looks, and only that.
            Reading::Missing(Absence::NoSeries | Absence::NotANumber) if is_idle(demand) => {}
            Reading::Missing(absence) => self.bite(Limit::LatencyUnknown(*absence), self.desired, None),
            Reading::Stale(_) => self.bite(Limit::LatencyUnknown(Absence::NoSeries), self.desired, None),
        }
        if snapshot.fleet.rolling_out {
            self.bite(Limit::Rollout, self.desired, None);
        }
        if !snapshot.fleet.is_ready() {
            self.bite(Limit::Unready, self.desired, None);
        }
    }

    fn hold_back(&mut self, guards: &[Guard], fleet: &Fleet) {
        for guard in guards {
            if let Some(until) = guard.blocks_until {
                self.bite(Limit::Protected(guard.name.clone()), self.desired, Some(until));
            }
        }
        if fleet.stuck > Replicas((fleet.desired.0 / STUCK_SHARE).max(1)) {
            self.bite(Limit::StuckPods, self.desired, None);
        }
    }

    /// What whoever carries decisions out lets through within half a minute.
    fn ramp(&mut self, (down, up): (Replicas, Replicas)) {
        let (least, most) = (self.desired.minus(down.0), self.desired.plus(up.0));
        self.bite(Limit::Ramp, self.now.clamp(least, most), None);
    }

    /// The same step that the admission policy of the default install enforces.
    fn step(&mut self) {
        let most = Replicas(self.desired.0.saturating_mul(4)).plus(4);
        let least = Replicas(self.desired.0.div_ceil(2));
        self.bite(Limit::Step, self.now.clamp(least, most), None);
    }
}

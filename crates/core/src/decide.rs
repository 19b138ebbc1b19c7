//! The decision: one pure function, the same live, in shadow, in replay and in the simulator.

use crate::capacity::{self, Capacity};
use crate::decision::{Decision, LeadTime, Reason, Verb, Wanted};
use crate::demand::{self, Demand};
use crate::forecast::{self, Forecast};
use crate::limit::{self, Bite, Limit};
use crate::policy::{self, Objective, Policy};
use crate::protect;
use crate::size::size;
use crate::snapshot::{Fleet, Snapshot};
use crate::state::State;
use crate::unit::{Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use serde::{Deserialize, Serialize};

/// From creation to Ready before any pod of the workload was seen to become ready.
const STARTUP: Seconds = Seconds::whole(30);
/// Age of what is known of demand where its source cannot tell: the commonest scrape interval.
const METRIC_LAG: Seconds = Seconds::whole(15);
/// A replica goes only if the others would carry so much more as well. Half of the relative noise of a rate over a
/// scrape at moderate demand: without it a size at its edge goes back and forth with every sample.
const HYSTERESIS: Ratio = Ratio::percent(5);

/// Decides how many replicas one workload has. Total, synchronous, silent, deterministic: the same arguments give the
/// same decision, to the bit, on any machine.
pub fn decide(policy: &Policy, state: &mut State, snapshot: &Snapshot) -> Decision {
    let at = snapshot.at;
    let demand = demand::assess(&mut state.demand, &snapshot.demand, at);
    let capacity = capacity::assess(&policy.capacity, &mut state.capacity, &snapshot.capacity, at);
    let lead = lead_time(&mut state.lead, &demand, &snapshot.fleet);
    let forecast = forecast::predict(&mut state.forecast, &demand, lead.total(), at);
    let wanted = want(&policy.objective, &demand, &capacity, forecast.as_ref());
    if let Wanted::Known { keep, .. } = &wanted {
        limit::watch(&mut state.limit, keep.replicas, policy.stabilization, at);
    }
    let guards = protect::check(&policy.protect, &mut state.protect, &snapshot.protected, at);
    let (to, bites) = limit::apply(policy, &state.limit, (&demand, &wanted), &guards, snapshot);
    let first_look = !std::mem::replace(&mut state.looked, true);
    let from = snapshot.fleet.desired;
    let (to, verb, reason) = conclude((from, to), first_look, (&demand, &capacity), &wanted, &bites);
    Decision { at, from, to, verb, reason, demand, capacity, lead, forecast, wanted, guards, bites }
}

/// Rebuilds what a restart forgot from `history` (moments and demand, oldest first), with what a replica serves now.
/// The next [`decide`] still holds; the one after it knows the course of demand and the stabilization window.
pub fn backfill(
    policy: &Policy,
    state: &mut State,
    per_replica: Option<RequestsPerSecond>,
    history: &[(Timestamp, RequestsPerSecond)],
) {
    let declared = match policy.capacity {
        policy::Capacity::Declared(rate) => Some(rate),
        policy::Capacity::Measured => per_replica,
    };
    let Some(capacity) = declared.map(Capacity::Declared) else { return };
    for (at, rate) in history {
        let demand = Demand::Known { rate: *rate, age: None, complete: true };
        let forecast = forecast::predict(&mut state.forecast, &demand, STARTUP, *at);
        if let Wanted::Known { keep, .. } = want(&policy.objective, &demand, &capacity, forecast.as_ref()) {
            limit::watch(&mut state.limit, keep.replicas, policy.stabilization, *at);
        }
    }
}

/// The start-up time that was last measured: pods that are all ready measure nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lead {
    startup: Option<Seconds>,
}

fn lead_time(memory: &mut Lead, demand: &Demand, fleet: &Fleet) -> LeadTime {
    memory.startup = fleet.startup.or(memory.startup);
    let metric_lag = match demand {
        Demand::Known { age, .. } | Demand::Stale { age, .. } => age.unwrap_or(METRIC_LAG),
        Demand::Unknown(_) => METRIC_LAG,
    };
    LeadTime { startup: memory.startup.unwrap_or(STARTUP), measured: memory.startup.is_some(), metric_lag }
}

fn want(objective: &Objective, demand: &Demand, capacity: &Capacity, forecast: Option<&Forecast>) -> Wanted {
    let (Demand::Known { .. }, Some(per_replica), Some(forecast)) = (demand, capacity.rate(), forecast) else {
        return Wanted::Unknown;
    };
    let peak = forecast.peak();
    Wanted::Known {
        need: size(objective, per_replica, peak),
        keep: size(objective, per_replica, peak * (Ratio::ONE + HYSTERESIS)),
    }
}

/// The outcome, and the one reason that stands for it.
fn conclude(
    (from, to): (Replicas, Replicas),
    first_look: bool,
    known: (&Demand, &Capacity),
    wanted: &Wanted,
    bites: &[Bite],
) -> (Replicas, Verb, Reason) {
    let hold = |reason| (from, Verb::Hold, reason);
    if from == Replicas(0) {
        return hold(Reason::Paused);
    }
    if first_look {
        return hold(Reason::FirstLook);
    }
    let before_limits = wanted.replicas(from);
    if to > from {
        let reason = if before_limits > from { Reason::Needed } else { Reason::Bound(Limit::Min) };
        return (to, Verb::ScaleOut, reason);
    }
    if to < from {
        let reason = if before_limits < from { Reason::Spare } else { Reason::Bound(Limit::Max) };
        return (to, Verb::ScaleDown, reason);
    }
    if let (Some(first), Some(last)) = (bites.first(), bites.last()) {
        return hold(Reason::Limited { limit: last.limit.clone(), wanted: first.from, until: last.until });
    }
    hold(match known {
        (Demand::Unknown(absence), _) => Reason::DemandUnknown(*absence),
        (Demand::Stale { age, .. }, _) => Reason::DemandStale { age: *age },
        (Demand::Known { .. }, Capacity::Unknown(absence)) => Reason::CapacityUnknown(*absence),
        (Demand::Known { .. }, Capacity::Declared(_) | Capacity::Measured { .. }) => Reason::Settled,
    })
}

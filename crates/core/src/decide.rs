//! The decision: one pure function, the same live, in shadow, in replay and in the simulator.

use crate::capacity::{self, Capacity};
use crate::decision::{Decision, LeadTime, Reason, Verb};
use crate::demand::{self, Demand};
use crate::forecast::{self, Sight};
use crate::limit::{self, Bite, Limit};
use crate::plan::{self, Outset, Plan};
use crate::policy::Policy;
use crate::snapshot::{Fleet, Snapshot};
use crate::state::State;
use crate::trust::{self, Lesson};
use crate::unit::{Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use crate::utilization::Busy;
use crate::{backlog, moves, protect, utilization};
use serde::{Deserialize, Serialize};

/// From creation to Ready before any pod of the workload was seen to become ready.
const STARTUP: Seconds = Seconds::whole(30);
/// Age of what is known of demand where its source cannot tell: the commonest scrape interval.
pub(crate) const METRIC_LAG: Seconds = Seconds::whole(15);

/// Decides how many replicas one workload has. Total, synchronous, silent, deterministic: the same arguments give the
/// same decision, to the bit, on any machine.
pub fn decide(policy: &Policy, state: &mut State, snapshot: &Snapshot) -> Decision {
    let (at, fleet) = (snapshot.at, &snapshot.fleet);
    moves::look(&mut state.moves, fleet.desired, at);
    let busy = utilization::assess(&mut state.utilization, snapshot);
    let keeps_busy = busy.and_then(|busy| state.backlog.demand_that_keeps(fleet.ready, busy));
    let demand = demand::assess(&mut state.demand, &snapshot.demand, keeps_busy, at);
    let lead = lead_time(&mut state.lead, &demand, fleet);
    let guards = protect::check(&policy.protect, &mut state.protect, &snapshot.protected, at);
    let alone = guards.iter().all(|guard| guard.blocks_until.is_none());
    // Where no latency is promised, more than a replica may carry does not wait for it.
    if policy.objective.is_promised() {
        backlog::watch(&mut state.backlog, &demand, busy.and_then(Busy::telling), (&policy.objective, alone), snapshot);
    }
    let queued = state.backlog.is_queued();
    let learned = busy.and_then(Busy::learned).filter(|_| !queued);
    let capacity = capacity::assess(&policy.capacity, &mut state.capacity, &demand, learned, snapshot);
    let forecast =
        forecast::predict(&mut state.forecast, &demand, lead.total(), sight(policy, state.moves.every(), snapshot));
    let foreseen = alone && !queued && state.forecast.is_calm();
    let lesson = Lesson { demand: state.forecast.last(), foreseen, busy: busy.and_then(Busy::telling) };
    let trust = trust::learn(&mut state.trust, policy, capacity.rate(), lesson, snapshot);
    state.backlog.keep(capacity.rate());
    let running = forecast.as_ref().map_or(RequestsPerSecond::ZERO, |forecast| forecast.windows[0].mean);
    let backlog = backlog::when_ready(&state.backlog, &state.moves, running, (fleet, lead.total()), at);
    let plan = forecast.as_ref().zip(capacity.rate()).map(|(forecast, rate)| {
        let (per_replica, startup, desired) = (rate / (Ratio::ONE + trust.margin), lead.total(), fleet.desired);
        let every = state.moves.every();
        plan::choose(policy, Outset { forecast, per_replica, trust, startup, backlog, desired, every })
    });
    if let Some(plan) = &plan {
        limit::watch(&mut state.limit, plan.needed, policy.stabilization, at);
    }
    let room = moves::room(&state.moves, policy.ramp, at);
    let (to, bites) = limit::apply(policy, &state.limit, (&demand, plan.as_ref()), (&guards, room), snapshot);
    let first_look = !std::mem::replace(&mut state.looked, true);
    let (to, verb, reason) = conclude((fleet.desired, to), first_look, (&demand, &capacity), plan.as_ref(), &bites);
    let from = fleet.desired;
    Decision { at, from, to, verb, reason, demand, capacity, lead, forecast, trust, backlog, plan, guards, bites }
}

fn sight<'a>(policy: &'a Policy, every: Seconds, snapshot: &'a Snapshot) -> Sight<'a> {
    Sight { policy, every, foretold: &snapshot.foretold, at: snapshot.at }
}

/// Rebuilds what a restart forgot of demand from `history` (moments and demand, oldest first; each stands for the time since the one
/// before). The next [`decide`] still holds.
pub fn backfill(policy: &Policy, state: &mut State, history: &[(Timestamp, RequestsPerSecond)]) {
    for (at, rate) in history {
        let sight = Sight { policy, every: state.moves.every(), foretold: &[], at: *at };
        forecast::observe(&mut state.forecast, *rate, sight);
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

/// The outcome, and the one reason that stands for it.
fn conclude(
    (from, to): (Replicas, Replicas),
    first_look: bool,
    known: (&Demand, &Capacity),
    plan: Option<&Plan>,
    bites: &[Bite],
) -> (Replicas, Verb, Reason) {
    let hold = |reason| (from, Verb::Hold, reason);
    if from == Replicas(0) {
        return hold(Reason::Paused);
    }
    if first_look {
        return hold(Reason::FirstLook);
    }
    let before_limits = plan.map_or(from, |plan| plan.replicas);
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
        (Demand::Known { .. }, Capacity::Declared(_) | Capacity::Measured { .. } | Capacity::Corrected { .. }) => {
            Reason::Settled
        }
    })
}

//! Backlog: requests that wait because more arrive than is served.
//!
//! A fluid estimate: what arrives less what the ready replicas serve, never below nothing. It is what makes a size right for demand too
//! small after a surprise: the queue that grew before help came has to be worked off, and every window until then is missed.
//!
//! While something downstream is above its limit, replicas serve less than they can, nobody knows how much. Then all that arrived since the
//! objective was last kept is taken to wait; after it, and until the objective is kept again, at least what arrived in the time that those
//! who are answered have waited (Little's law; of what is longer than a histogram's last bucket it tells nothing).

use crate::demand::Demand;
use crate::moves::{self, Order};
use crate::policy::Objective;
use crate::snapshot::{Fleet, Snapshot};
use crate::unit::{Erlangs, Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use crate::utilization::Busy;
use serde::{Deserialize, Serialize};

/// No look is taken to stand for longer than this: of a jump in a longer gap nobody knows when it came.
const LONGEST: Seconds = Seconds::whole(30);
/// Replicas that are less busy than this have no queue, whatever the estimate says.
const BUSY: Ratio = Ratio::percent(95);
/// Clients do not wait for ever: no queue is taken to be longer than this at what arrives.
const PATIENCE: Seconds = Seconds::whole(120);

/// What is remembered: requests that wait, in requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    waiting: f64,
    looked: Option<Timestamp>,
    per_replica: RequestsPerSecond,
    /// When the objective was last seen to be kept, and whether something downstream was above its limit since then.
    #[serde(default)]
    kept: Option<Timestamp>,
    #[serde(default)]
    held_up: bool,
}

impl Memory {
    /// Whether requests are taken to wait.
    pub(crate) fn is_queued(&self) -> bool {
        self.waiting > 0.0
    }

    /// The demand that keeps the replicas so busy, unless requests wait.
    pub(crate) fn demand_that_keeps(&self, ready: Replicas, busy: Busy) -> Option<RequestsPerSecond> {
        let known = self.per_replica > RequestsPerSecond::ZERO && !self.is_queued();
        busy.demand(ready, self.per_replica).filter(|_| known)
    }

    /// Keeps what a replica serves for the next look.
    pub(crate) fn keep(&mut self, per_replica: Option<RequestsPerSecond>) {
        self.per_replica = per_replica.unwrap_or(self.per_replica);
    }
}

/// Takes in what arrived since the last look; `alone` is whether nothing downstream is above its limit.
pub(crate) fn watch(
    memory: &mut Memory,
    demand: &Demand,
    busy: Option<Ratio>,
    (objective, alone): (&Objective, bool),
    snapshot: &Snapshot,
) {
    let (fleet, at) = (&snapshot.fleet, snapshot.at);
    let elapsed = memory.looked.map_or(Seconds::ZERO, |looked| at.since(looked)).min(LONGEST);
    memory.looked = Some(at);
    let Demand::Known { rate, .. } = demand else { return };
    if memory.per_replica == RequestsPerSecond::ZERO {
        return;
    }
    let served = memory.per_replica * fleet.ready;
    memory.waiting = (memory.waiting + (rate.get() - served.get()) * elapsed.get()).max(0.0);
    let told = told(memory, (objective, alone), snapshot);
    if let Some(since) = told {
        memory.waiting = memory.waiting.max(rate.get() * since.get());
    }
    memory.waiting = memory.waiting.clamp(0.0, rate.get() * PATIENCE.get());
    if busy.is_some_and(|busy| busy < BUSY) {
        memory.waiting = 0.0;
    }
}

/// For how long the demand has been left waiting, by what latency and what is downstream tell; nothing where they tell nothing. A queue that
/// was held up is over when the objective is kept.
fn told(memory: &mut Memory, (objective, alone): (&Objective, bool), snapshot: &Snapshot) -> Option<Seconds> {
    let latency = snapshot.latency.fresh()?;
    memory.held_up |= !alone;
    if latency <= objective.latency {
        memory.waiting = if memory.held_up { 0.0 } else { memory.waiting };
        (memory.kept, memory.held_up) = (Some(snapshot.at), !alone);
        return None;
    }
    let since = memory.kept.filter(|_| !alone).map_or(latency, |kept| snapshot.at.since(kept));
    memory.held_up.then_some(since)
}

/// What will wait when an order of now is ready, at this demand: as long as it would take one replica to serve it.
pub(crate) fn when_ready(
    memory: &Memory,
    moves: &moves::Memory,
    demand: RequestsPerSecond,
    (fleet, startup): (&Fleet, Seconds),
    at: Timestamp,
) -> Erlangs {
    // Replicas that are not ready for another reason than that they were just ordered are taken to come back.
    let ordered: u32 = moves::orders(moves, startup, at).map(|order| order.replicas.0).sum();
    let served = memory.per_replica * fleet.desired.minus(ordered);
    if startup == Seconds::ZERO || (memory.waiting <= 0.0 && demand < served) {
        return Erlangs::clamped(memory.waiting);
    }
    let end = at.after(startup);
    let (mut waiting, mut since, mut served) = (memory.waiting, at, served.get());
    let last = Order { due: end, replicas: Replicas(0) };
    for order in moves::orders(moves, startup, at).chain(std::iter::once(last)) {
        waiting = (waiting + (demand.get() - served) * order.due.since(since).get()).max(0.0);
        since = order.due;
        served += memory.per_replica.get() * f64::from(order.replicas.0);
    }
    Erlangs::clamped(waiting.min(demand.get() * PATIENCE.get()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Coverage, Reading, Sample};

    const OBJECTIVE: Objective =
        Objective { latency: Seconds::whole(1), misses: Ratio::percent(1), window: Objective::WINDOW };

    fn snapshot(ready: u32, second: i64) -> Snapshot {
        Snapshot::blind(Timestamp(second * 1_000), Replicas(ready))
    }

    fn known(rate: u32) -> Demand {
        Demand::Known { rate: RequestsPerSecond::whole(rate), age: None, complete: true }
    }

    #[test]
    fn it_grows_by_what_is_not_served_and_is_worked_off() {
        let mut memory = Memory::default();
        memory.keep(Some(RequestsPerSecond::whole(50)));
        for second in (0..=30).step_by(5) {
            watch(&mut memory, &known(300), None, (&OBJECTIVE, true), &snapshot(4, second));
        }
        assert!((memory.waiting - 3_000.0).abs() < 1e-9, "100 a second too many for 30 s");
        watch(&mut memory, &known(300), None, (&OBJECTIVE, true), &snapshot(8, 60));
        assert!(!memory.is_queued(), "100 a second too few for 30 s");
    }

    #[test]
    fn while_something_downstream_is_slow_and_until_the_objective_is_kept_latency_tells() {
        let mut memory = Memory::default();
        memory.keep(Some(RequestsPerSecond::whole(50)));
        let mut look = |second, latency, alone| {
            let value = Seconds::whole(latency);
            let latency = Reading::Fresh(Sample { value, age: None, coverage: Coverage::Unmeasured });
            let snapshot = Snapshot { latency, ..snapshot(8, second) };
            watch(&mut memory, &known(300), None, (&OBJECTIVE, alone), &snapshot);
            memory.waiting
        };
        assert!(look(0, 61, true) <= 0.0, "replicas could serve all, and nothing holds them up");
        assert!((look(5, 61, false) - 18_300.0).abs() < 1e-9, "what arrived in as long as they waited");
        assert!((look(10, 31, true) - 17_800.0).abs() < 1e-9, "worked off at 100 a second");
        assert!((look(15, 81, true) - 24_300.0).abs() < 1e-9, "still told");
        assert!(look(20, 1, true) <= 0.0, "kept");
        assert!(look(25, 81, true) <= 0.0, "for another reason");
        assert!((look(60, 81, false) - 12_000.0).abs() < 1e-9, "all that arrived since it was kept");
    }

    #[test]
    fn it_goes_on_growing_until_help_is_ready() {
        let mut memory = Memory::default();
        memory.keep(Some(RequestsPerSecond::whole(50)));
        watch(&mut memory, &known(300), None, (&OBJECTIVE, true), &snapshot(4, 0));
        let seen = when_ready(
            &memory,
            &moves::Memory::default(),
            RequestsPerSecond::whole(300),
            (&snapshot(4, 0).fleet, Seconds::whole(30)),
            Timestamp(0),
        );
        assert!((seen.get() - 3_000.0).abs() < 1e-9, "{seen:?}");
    }
}

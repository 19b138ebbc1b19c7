//! Backlog: requests that wait because more arrive than is served.
//!
//! A fluid estimate: what arrives less what the ready replicas serve, never below nothing. It is what makes a size right for demand too
//! small after a surprise: the queue that grew before help came has to be worked off, and every window until then is missed.

use crate::demand::Demand;
use crate::moves::{self, Order};
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

/// Takes in what arrived since the last look.
pub(crate) fn watch(memory: &mut Memory, demand: &Demand, busy: Option<Ratio>, snapshot: &Snapshot) {
    let (fleet, at) = (&snapshot.fleet, snapshot.at);
    let elapsed = memory.looked.map_or(Seconds::ZERO, |looked| at.since(looked)).min(LONGEST);
    memory.looked = Some(at);
    let Demand::Known { rate, .. } = demand else { return };
    if memory.per_replica == RequestsPerSecond::ZERO {
        return;
    }
    let served = memory.per_replica * fleet.ready;
    let waiting = memory.waiting + (rate.get() - served.get()) * elapsed.get();
    memory.waiting = waiting.clamp(0.0, rate.get() * PATIENCE.get());
    if busy.is_some_and(|busy| busy < BUSY) {
        memory.waiting = 0.0;
    }
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
            watch(&mut memory, &known(300), None, &snapshot(4, second));
        }
        assert!((memory.waiting - 3_000.0).abs() < 1e-9, "100 a second too many for 30 s");
        watch(&mut memory, &known(300), None, &snapshot(8, 60));
        assert!(!memory.is_queued(), "100 a second too few for 30 s");
    }

    #[test]
    fn it_goes_on_growing_until_help_is_ready() {
        let mut memory = Memory::default();
        memory.keep(Some(RequestsPerSecond::whole(50)));
        watch(&mut memory, &known(300), None, &snapshot(4, 0));
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

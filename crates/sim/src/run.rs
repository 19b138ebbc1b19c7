//! A policy in charge of a service, tick by tick, and what came of it.

use crate::service::{INTERVAL, Law, Service};
use crate::workload::Workload;
use std::collections::{BTreeMap, VecDeque};
use trimtab_core::invariant::{self, Breach};
use trimtab_core::snapshot::{Absence, Coverage, Fleet, Reading, Sample, Snapshot};
use trimtab_core::unit::{Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_core::{Decision, Policy, State, Verb, decide};

/// The benchmark's ramp limit: the net change of replicas within any half-minute.
const RAMP: i64 = 4;

/// How a run is made.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The service.
    pub law: Law,
    /// Between two decisions; an interval is a whole number of ticks.
    pub tick: Seconds,
    /// What becomes of the demand reading at each tick, counted from 0.
    pub fault: fn(u64, Reading<RequestsPerSecond>) -> Reading<RequestsPerSecond>,
}

/// Readings as they are.
#[must_use]
pub fn no_fault(_: u64, reading: Reading<RequestsPerSecond>) -> Reading<RequestsPerSecond> {
    reading
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Intervals that violate the objective.
    pub violations: u64,
    /// Intervals.
    pub intervals: u64,
    /// Hours of replicas, starting ones too.
    pub replica_hours: f64,
    /// Sum of all changes of the size.
    pub churn: u64,
    /// Requests that took longer than the target.
    pub slow: u64,
    /// Requests.
    pub requests: u64,
    /// The most requests that ever waited.
    pub largest_backlog: usize,
    /// Invariants that a decision broke.
    pub breaches: Vec<Breach>,
}

/// Runs `policy` on `workload`; `watch` sees every decision.
pub fn run(
    policy: &Policy,
    workload: &Workload,
    scenario: &Scenario,
    mut watch: impl FnMut(&Snapshot, &Decision),
) -> Score {
    let mut state = State::default();
    let mut score = Score::default();
    let first = workload.rates.first().copied().unwrap_or_default().get();
    // The benchmark's start: ceil(first rate / 35).
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let mut replicas = (first / 35.0).ceil().max(1.0) as u32;
    let mut service = Service::new(scenario.law, replicas as usize);
    let mut moves: VecDeque<(Timestamp, i64)> = VecDeque::new();
    let mut at = Timestamp(0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let ticks = (INTERVAL.get() / scenario.tick.get()).round().max(1.0) as u64;
    let mut tick = 0;
    for rate in &workload.rates {
        for _ in 0..ticks {
            let observed = service.advance(scenario.tick, *rate);
            score.replica_hours += f64::from(replicas) * scenario.tick.get() / 3600.0;
            at = at.after(scenario.tick);
            let demand = RequestsPerSecond::new(observed.arrived as f64 / scenario.tick.get()).unwrap_or_default();
            let snapshot =
                snapshot(at, (scenario.fault)(tick, fresh(demand)), observed.p99(), &service, replicas, &scenario.law);
            let decision = decide(policy, &mut state, &snapshot);
            score.breaches.extend(invariant::breaches(policy, &snapshot, &decision));
            watch(&snapshot, &decision);
            let to = ramp(&mut moves, at, replicas, if decision.verb == Verb::Hold { replicas } else { decision.to.0 });
            score.churn += u64::from(to.abs_diff(replicas));
            replicas = to;
            service.scale(replicas as usize);
            tick += 1;
        }
    }
    service.drain();
    score.largest_backlog = service.largest_backlog();
    for grade in service.grades().values() {
        score.intervals += 1;
        score.violations += u64::from(grade.violates());
        score.requests += grade.requests;
        score.slow += grade.slow;
    }
    score
}

fn fresh<T>(value: T) -> Reading<T> {
    Reading::Fresh(Sample { value, age: Some(Seconds::ZERO), coverage: Coverage::Share(Ratio::ONE) })
}

fn snapshot(
    at: Timestamp,
    demand: Reading<RequestsPerSecond>,
    p99: Option<Seconds>,
    service: &Service,
    replicas: u32,
    law: &Law,
) -> Snapshot {
    let count = |count: usize| Replicas(u32::try_from(count).unwrap_or(u32::MAX));
    Snapshot {
        at,
        demand,
        capacity: Reading::Missing(Absence::NotConfigured),
        latency: p99.map_or(Reading::Missing(Absence::NoSeries), fresh),
        protected: BTreeMap::new(),
        fleet: Fleet {
            desired: Replicas(replicas),
            ready: count(service.ready()),
            starting: count(service.starting()),
            stuck: Replicas(0),
            startup: Some(law.startup),
            rolling_out: false,
        },
    }
}

/// The size that the ramp limit lets through.
fn ramp(moves: &mut VecDeque<(Timestamp, i64)>, at: Timestamp, from: u32, to: u32) -> u32 {
    while moves.front().is_some_and(|(when, _)| at.since(*when) >= INTERVAL) {
        moves.pop_front();
    }
    let net: i64 = moves.iter().map(|(_, change)| change).sum();
    let change = (i64::from(to) - i64::from(from)).clamp((-RAMP - net).min(0), (RAMP - net).max(0));
    if change != 0 {
        moves.push_back((at, change));
    }
    u32::try_from(i64::from(from) + change).unwrap_or(from)
}

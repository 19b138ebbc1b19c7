//! Decisions a second, and what they allocate: `cargo bench -p trimtab-core`.
//!
//! One workload whose demand moves, as a live loop sees it: every decision learns, forecasts, sizes and limits.
#![expect(clippy::unwrap_used, reason = "a bench fails loudly")]

use divan::{AllocProfiler, Bencher, black_box};
use std::collections::BTreeMap;
use trimtab_core::policy::{Bounds, Capacity, Event, Method, Objective, Policy};
use trimtab_core::snapshot::{Absence, Coverage, Fleet, Foretold, Reading, Sample, Snapshot};
use trimtab_core::unit::{Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_core::{Decision, State, backfill, decide};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

/// Windows of a day.
const DAY: u32 = 2_880;

fn main() {
    divan::main();
}

fn policy() -> Policy {
    Policy {
        replicas: Bounds::new(Replicas(1), Replicas(2_000)).unwrap(),
        objective: Objective {
            latency: Seconds::new(0.2).unwrap(),
            misses: Ratio::new(0.005).unwrap(),
            window: Objective::WINDOW,
        },
        capacity: Capacity::Declared(RequestsPerSecond::whole(50)),
        protect: Vec::new(),
        stabilization: Seconds::whole(300),
        events: Vec::new(),
        ramp: None,
        method: Method::Priced,
    }
}

fn fresh<T>(value: T) -> Reading<T> {
    Reading::Fresh(Sample { value, age: Some(Seconds::whole(3)), coverage: Coverage::Share(Ratio::ONE) })
}

fn snapshot(tick: u32, replicas: u32) -> Snapshot {
    let demand = f64::from(replicas) * 45.0 * (1.0 + 0.1 * f64::from(tick % 60) / 60.0);
    Snapshot {
        at: Timestamp(i64::from(tick) * 5_000),
        demand: fresh(RequestsPerSecond::new(demand).unwrap()),
        capacity: Reading::Missing(Absence::NotConfigured),
        latency: Reading::Missing(Absence::NotConfigured),
        utilization: Reading::Missing(Absence::NotConfigured),
        foretold: Vec::new(),
        protected: BTreeMap::new(),
        fleet: Fleet {
            desired: Replicas(replicas),
            ready: Replicas(replicas),
            starting: Replicas(0),
            stuck: Replicas(0),
            startup: Some(Seconds::whole(20)),
            rolling_out: false,
        },
    }
}

/// Demand of a window: hours and days come again.
fn seasonal(window: u32, replicas: u32) -> f64 {
    let phase = |length: u32| std::f64::consts::TAU * f64::from(window % length) / f64::from(length);
    f64::from(replicas) * (35.0 + 8.0 * phase(120).sin() + 5.0 * phase(DAY).sin())
}

/// What a decision has to do with every expert, reading and limit that there is.
struct Everything {
    policy: Policy,
    state: State,
    snapshot: Snapshot,
    replicas: u32,
    tick: u32,
}

impl Everything {
    /// After three days of the past, and half an hour of decisions.
    fn warm(replicas: u32) -> Self {
        let events = vec![Event {
            from: Timestamp(i64::from(u32::MAX)),
            until: Timestamp(2 * i64::from(u32::MAX)),
            rate: RequestsPerSecond::whole(900),
        }];
        let policy = Policy { events, ramp: Some(Replicas(4 + replicas / 10)), ..policy() };
        let mut state = State::default();
        let past = 3 * DAY;
        let rate = |window: u32| RequestsPerSecond::new(seasonal(window, replicas)).unwrap();
        let history: Vec<_> =
            (0..past).map(|window| (Timestamp(30_000 * (i64::from(window) - i64::from(past))), rate(window))).collect();
        backfill(&policy, &mut state, &history);
        let foretold = vec![Foretold { at: Timestamp(0), rate: RequestsPerSecond::whole(1) }; 14];
        let snapshot = Snapshot { foretold, ..snapshot(0, replicas) };
        let mut all = Self { policy, state, snapshot, replicas, tick: 0 };
        for _ in 0..360 {
            let _ = all.decide();
        }
        all
    }

    /// The next look, with what somebody else forecasts of the next 14 windows; nothing is allocated for it.
    fn decide(&mut self) -> Decision {
        self.tick += 1;
        let at = Timestamp(5_000 * i64::from(self.tick));
        let window = self.tick / 6;
        let rate = |window: u32| RequestsPerSecond::new(seasonal(window, self.replicas)).unwrap();
        self.snapshot.at = at;
        self.snapshot.demand = fresh(rate(window));
        self.snapshot.latency = fresh(Seconds::milliseconds(120));
        self.snapshot.utilization = fresh(Ratio::new(seasonal(window, 1) / 50.0).unwrap());
        for (ahead, foretold) in (1..).zip(&mut self.snapshot.foretold) {
            *foretold = Foretold { at: at.after(Seconds::whole(30 * ahead)), rate: rate(window + ahead) };
        }
        decide(black_box(&self.policy), &mut self.state, black_box(&self.snapshot))
    }
}

/// By the size of the workload: the queueing model's recursion takes a step for each replica.
#[divan::bench(args = [5, 50, 500])]
fn one_decision(bencher: Bencher<'_, '_>, replicas: u32) {
    let policy = policy();
    let mut state = State::default();
    for tick in 0..200 {
        let _ = decide(&policy, &mut state, &snapshot(tick, replicas));
    }
    let mut tick = 200;
    bencher.bench_local(|| {
        tick += 1;
        decide(black_box(&policy), &mut state, black_box(&snapshot(tick, replicas)))
    });
}

/// With all experts: seasons that were found, and a forecast from outside; with latency, utilization, a ramp and an event.
#[divan::bench(args = [5, 50, 500])]
fn with_everything(bencher: Bencher<'_, '_>, replicas: u32) {
    let mut all = Everything::warm(replicas);
    bencher.bench_local(|| all.decide());
}

//! Decisions a second: `cargo bench -p trimtab-core`.
//!
//! One workload whose demand moves, as a live loop sees it: every decision learns, forecasts, sizes and limits.
#![expect(clippy::unwrap_used, reason = "a bench fails loudly")]

use divan::{Bencher, black_box};
use std::collections::BTreeMap;
use trimtab_core::policy::{Bounds, Capacity, Method, Objective, Policy};
use trimtab_core::snapshot::{Absence, Coverage, Fleet, Reading, Sample, Snapshot};
use trimtab_core::unit::{Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_core::{State, decide};

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

fn snapshot(tick: u32, replicas: u32) -> Snapshot {
    let demand = f64::from(replicas) * 45.0 * (1.0 + 0.1 * f64::from(tick % 60) / 60.0);
    let sample = Sample {
        value: RequestsPerSecond::new(demand).unwrap(),
        age: Some(Seconds::whole(3)),
        coverage: Coverage::Share(Ratio::ONE),
    };
    Snapshot {
        at: Timestamp(i64::from(tick) * 5_000),
        demand: Reading::Fresh(sample),
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

//! What the simulator says of a run before it was made: the same trace, the same first size, the same limits, and the start-up that was
//! measured. Requests are others of the same law, so that single windows differ, and their share need not.
//!
//! What is corrected of the benchmark's plant: each replica has a queue of its own behind a balancer that counts what is under way; it holds
//! what [`Run::queue`] lets wait, which is a client that gives up after as long; metrics are seen when they are scraped; the demand that
//! a policy asks for is a rate over a window, not that of the last tick; and the CPU use that an HPA reads is that of half a minute ago to a
//! quarter of a minute ago, to which replicas that have come since add nothing.

use super::figures::Figures;
use super::record::{Fleet, Record};
use crate::bench::surge;
use std::collections::VecDeque;
use trimtab_core::Policy;
use trimtab_core::policy::{Bounds, Capacity, Method, Objective};
use trimtab_core::snapshot::Reading;
use trimtab_core::unit::{Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_sim::baseline::{self, Controller};
use trimtab_sim::law::{Balancing, Law, Startup};
use trimtab_sim::run::{self, BOUNDS, Look, Scenario};
use trimtab_sim::service::INTERVAL;
use trimtab_sim::sight::Sight;
use trimtab_sim::workload::Workload;

/// Between two scrapes: the testbed's.
const SCRAPE: Seconds = Seconds::whole(5);
/// What the HPA reads of a CPU is that old: kubelet and metrics-server look every 10 s each, one after the other.
const METER_LAG: Seconds = Seconds::whole(15);
/// And it is the mean of so long.
const METER_SPAN: Seconds = Seconds::whole(15);
/// The ticks that the rate in trimtab's policy spans: 15 s.
const RATE_TICKS: usize = 3;

/// The world of a run.
pub(super) fn scenario(record: &Record, startup: Seconds, seed: u64) -> Scenario {
    let run = &record.run;
    let capacity = RequestsPerSecond::new(run.capacity).unwrap_or_default();
    let benchmark = Scenario::benchmark(seed);
    Scenario {
        law: Law {
            capacity,
            balancing: Balancing::LeastOutstanding,
            startup: Startup::Fixed(startup),
            patience: Seconds::new(f64::from(run.queue) / run.capacity),
            target: Seconds::new(run.slo).unwrap_or_default(),
            ..benchmark.law
        },
        tick: SCRAPE,
        ramp: None,
        bounds: Bounds::new(Replicas(run.min), Replicas(run.max)).unwrap_or(BOUNDS),
        sight: Sight { lag: Seconds::ZERO, ..Sight::CLEAR },
        ..benchmark
    }
}

/// What the simulator makes of a run; `None` of a contestant or of a disturbance that it does not know.
pub(super) fn predict(record: &Record, startup: Seconds, seed: u64) -> Option<Figures> {
    if !record.run.disturbance.is_empty() {
        return None;
    }
    let scenario = scenario(record, startup, seed);
    let mut controller = controller(record, &scenario)?;
    let whole = |seconds: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "minutes")]
        let whole = seconds.round() as u32;
        whole
    };
    let (begins, ends) = (whole(record.run.warm_up), whole(record.run.ends));
    // The rate in the middle of each second.
    let demand = |second: u32| record.rate(f64::from(second) + 0.5);
    let course = surge::course(
        &mut *controller,
        &scenario,
        &surge::Given { demand: &demand, first: record.run.first, seconds: ends, graded: begins },
    );
    let fleet: Vec<Fleet> = (0_u32..)
        .zip(&course.moments)
        .map(|(second, moment)| {
            let ready = u32::try_from(moment.ready).unwrap_or(u32::MAX);
            Fleet { at: f64::from(second), desired: moment.wanted, pods: moment.wanted, ready, said: None }
        })
        .collect();
    let writes = fleet.windows(2).filter_map(|pair| match pair {
        [one, next] if one.desired != next.desired => Some(next.at),
        _ => None,
    });
    let writes: Vec<f64> = writes.collect();
    let share = |above: u32| course.whole.quantile(Ratio::permille(above)).map_or(0.0, Seconds::get);
    let figures = Figures {
        p50: share(500),
        p95: share(50),
        p99: share(10),
        missed: u32::try_from(course.violations).unwrap_or(u32::MAX),
        windows: u32::try_from(course.intervals).unwrap_or(u32::MAX),
        late: course.slow,
        ..Figures::default()
    };
    Some(figures.with_fleet(record, &fleet, &writes, &|rate| enough(&scenario, rate)))
}

/// The fewest replicas that keep the objective at a steady rate.
pub(super) fn enough(scenario: &Scenario, rate: f64) -> u32 {
    baseline::meets(scenario, rate, scenario.law.target).0
}

fn controller(record: &Record, scenario: &Scenario) -> Option<Controller> {
    match record.run.contestant.as_str() {
        "hpa-cpu" => Some(metered(baseline::cpu_hpa(Ratio::percent(70), scenario))),
        // An HPA on a rate, whoever serves the metric.
        "hpa-rate" | "keda" => Some(baseline::keda(RequestsPerSecond::whole(35), scenario)),
        "static" => Some(baseline::fixed(Replicas(record.run.first))),
        "own" => {
            let workload = Workload { season: 0, history: Vec::new(), rates: Vec::new() };
            let policy = Policy {
                replicas: scenario.bounds,
                objective: Objective { latency: scenario.law.target, misses: Ratio::permille(5), window: INTERVAL },
                capacity: Capacity::Declared(scenario.law.capacity),
                protect: Vec::new(),
                stabilization: Seconds::new(record.run.stabilization).unwrap_or_default(),
                events: Vec::new(),
                ramp: None,
                method: Method::Priced,
            };
            Some(averaged(Box::new(run::trimtab(policy, &workload, |_, _, _| {}))))
        }
        _ => None,
    }
}

/// Shows CPU use as metrics-server does: that of some time ago, over some time, spread over all replicas that are ready now; those of which
/// nothing is known yet count as idle, as the HPA has it when it scales out.
fn metered(mut controller: Controller) -> Controller {
    let mut recent: VecDeque<(Timestamp, f64)> = VecDeque::new();
    Box::new(move |look: &Look| {
        let mut look = look.clone();
        let (at, ready) = (look.snapshot.at, f64::from(look.snapshot.fleet.ready.0.max(1)));
        if let Reading::Fresh(sample) = &mut look.snapshot.utilization {
            recent.push_back((at, sample.value.get() * ready));
            while recent.front().is_some_and(|(when, _)| at.since(*when) >= METER_LAG + METER_SPAN) {
                recent.pop_front();
            }
            let seen = || recent.iter().filter(|(when, _)| at.since(*when) >= METER_LAG).map(|(_, busy)| *busy);
            let mean = seen().sum::<f64>() / seen().count().max(1) as f64;
            sample.value = Ratio::new(mean / ready).unwrap_or(sample.value);
        }
        controller(&look)
    })
}

/// Shows the rate over a window instead of that of the last tick.
fn averaged(mut controller: Controller) -> Controller {
    let mut recent: VecDeque<f64> = VecDeque::new();
    Box::new(move |look: &Look| {
        let mut look = look.clone();
        if let Reading::Fresh(sample) = &mut look.snapshot.demand {
            recent.push_back(sample.value.get());
            if recent.len() > RATE_TICKS {
                recent.pop_front();
            }
            let mean = recent.iter().sum::<f64>() / recent.len() as f64;
            sample.value = RequestsPerSecond::new(mean).unwrap_or(sample.value);
        }
        controller(&look)
    })
}

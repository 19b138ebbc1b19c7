//! A contest: every policy on every workload and seed, all of them serving the very same requests.

use crate::baseline::{self, Controller, Gate, Published};
use crate::run::{self, BOUNDS, Scenario, Score};
use crate::service::INTERVAL;
use crate::shape::Shape;
use crate::workload::Workload;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use trimtab_core::Policy;
use trimtab_core::policy::{Capacity, Objective};
use trimtab_core::unit::{Ratio, Replicas, RequestsPerSecond, Seconds};

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// trimtab as it is.
    Trimtab,
    /// The published gate, in the calibration that reproduces its figures.
    Gate,
    /// The published static floor.
    StaticFloor,
    /// The published pure prediction.
    PurePredictive,
    /// The CPU HPA at 70 %.
    CpuHpa,
    /// KEDA on 35 requests/s a replica.
    Keda,
    /// Who knows each interval's true rate and sizes for its steady p99.
    Oracle,
}

impl Contender {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Trimtab, Self::Gate, Self::StaticFloor, Self::PurePredictive, Self::CpuHpa, Self::Keda, Self::Oracle];

    /// Its name in tables and files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trimtab => "trimtab",
            Self::Gate => "gate",
            Self::StaticFloor => "static floor",
            Self::PurePredictive => "pure predictive",
            Self::CpuHpa => "CPU HPA",
            Self::Keda => "KEDA",
            Self::Oracle => "oracle",
        }
    }

    /// What was published of it on a shape: violation rate and replica-hours.
    #[must_use]
    pub fn published(self, shape: Shape) -> Option<(f64, f64)> {
        // Pure predictive, static floor, gate.
        let row = match shape {
            Shape::Diurnal => [(0.015, 30.3), (0.000, 39.0), (0.003, 32.5)],
            Shape::WeekdayWeekend => [(0.016, 20.2), (0.000, 25.9), (0.003, 21.6)],
            Shape::Sawtooth => [(0.020, 18.7), (0.000, 24.1), (0.004, 20.0)],
            Shape::FlashCrowd => [(0.033, 13.4), (0.017, 17.5), (0.018, 14.6)],
            Shape::MultiBurst => [(0.058, 11.7), (0.029, 14.8), (0.033, 12.9)],
            Shape::RealWeek => [(0.048, 20.1), (0.015, 25.6), (0.026, 21.7)],
            Shape::Wikipedia => [(0.104, 30.5), (0.006, 40.5), (0.020, 35.0)],
        };
        match self {
            Self::PurePredictive => Some(row[0]),
            Self::StaticFloor => Some(row[1]),
            Self::Gate => Some(row[2]),
            Self::Trimtab | Self::CpuHpa | Self::Keda | Self::Oracle => None,
        }
    }

    /// Between two of its looks: the published policies decide once in an interval.
    #[must_use]
    pub fn tick(self, asked: Seconds) -> Seconds {
        match self {
            Self::Trimtab | Self::CpuHpa | Self::Keda => asked,
            Self::Gate | Self::StaticFloor | Self::PurePredictive | Self::Oracle => INTERVAL,
        }
    }

    fn controller(self, workload: &Workload, scenario: &Scenario) -> Controller {
        let capacity = scenario.law.capacity;
        match self {
            Self::Trimtab => Box::new(run::trimtab(policy(scenario), workload, |_, _, _| {})),
            Self::Gate => baseline::published(Published::Gate(Gate::CALIBRATED), capacity, workload),
            Self::StaticFloor => baseline::published(Published::StaticFloor, capacity, workload),
            Self::PurePredictive => baseline::published(Published::PurePredictive, capacity, workload),
            Self::CpuHpa => baseline::cpu_hpa(Ratio::percent(70)),
            Self::Keda => baseline::keda(RequestsPerSecond::whole(35)),
            Self::Oracle => baseline::oracle(capacity, scenario.law.target, workload),
        }
    }
}

/// trimtab's policy in a contest: the one setting for all workloads.
#[must_use]
pub fn policy(scenario: &Scenario) -> Policy {
    Policy {
        replicas: BOUNDS,
        objective: Objective { latency: scenario.law.target, misses: Ratio::permille(5), window: INTERVAL },
        capacity: Capacity::Declared(scenario.law.capacity),
        protect: Vec::new(),
        stabilization: Seconds::whole(300),
        ramp: scenario.ramp.map(Replicas),
    }
}

/// What came of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Which workload, by its place.
    pub workload: usize,
    /// Who.
    pub contender: Contender,
    /// The seed of its requests.
    pub seed: u64,
    /// What came of it.
    pub score: Score,
}

/// Runs all of it on all cores; `done` is called after each run. The outcomes come in the order of workloads, contenders and seeds,
/// whichever ended first.
pub fn hold(
    workloads: &[Workload],
    contenders: &[Contender],
    seeds: std::ops::RangeInclusive<u64>,
    scenario: &Scenario,
    done: &(dyn Fn() + Sync),
) -> Vec<Outcome> {
    let runs: Vec<(usize, Contender, u64)> = (0..workloads.len())
        .flat_map(|workload| contenders.iter().map(move |contender| (workload, *contender)))
        .flat_map(|(workload, contender)| seeds.clone().map(move |seed| (workload, contender, seed)))
        .collect();
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(runs.len())));
    let work = || {
        while let Some((workload, contender, seed)) = runs.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
            let Some(course) = workloads.get(workload) else { continue };
            let mut scenario = scenario.clone();
            scenario.law.seed = seed;
            scenario.tick = contender.tick(scenario.tick);
            let score = run::run(course, &scenario, &mut *contender.controller(course, &scenario));
            outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(Outcome {
                workload,
                contender,
                seed,
                score,
            });
            done();
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    outcomes.sort_by_key(|outcome| (outcome.workload, outcome.contender, outcome.seed));
    outcomes
}

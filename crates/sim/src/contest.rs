//! A contest: every policy on every workload and seed, all of them serving the very same requests.
//!
//! Who takes part is a [`Contender`]; how it is set, an [`Entrant`]: at its default, with its knob turned, or driven by a forecaster that others
//! have too. [`hold`] is for defaults, [`contend`] for all else.

use crate::baseline::{self, Controller, Gate, Published, Trigger};
use crate::forecaster::Driver;
use crate::knowing::{self, Clairvoyant};
use crate::run::{self, Scenario, Score};
use crate::service::INTERVAL;
use crate::shape::Shape;
use crate::statistics::Point;
use crate::workload::Workload;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use trimtab_core::Policy;
use trimtab_core::policy::{Capacity, Method, Objective};
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
    /// The gate in the setting with the fewest violations on this very workload, of those that cost no more than the calibrated one.
    GateFewest,
    /// The gate in the cheapest setting on this very workload, of those with no more violations than the calibrated one.
    GateCheapest,
    /// Pure prediction that plans ahead under the ramp.
    RecedingHorizon,
    /// KEDA and a trigger on what was there a season ago.
    SeasonalTrigger,
    /// KEDA and a forecast of its own replica counts.
    Phpa,
    /// KEDA and the largest of a window of the seasons before.
    WindowMax,
    /// Always the same size, for the largest rate of the past.
    Fixed,
    /// Who knows all true rates, prices the risk and plans exactly under ramp and start-up.
    OracleAhead,
    /// Who knows every request.
    Clairvoyant,
}

/// What can be turned of a contender, to see what it gains or loses elsewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knob {
    /// What it is, with its unit.
    pub name: &'static str,
    /// Where it stands by default.
    pub default: f64,
    /// Where else a frontier looks.
    pub sweep: &'static [f64],
}

/// Requests a second for each replica that KEDA and what is built upon it aim at.
const PER_REPLICA: Knob = Knob {
    name: "requests/s a replica",
    default: 35.0,
    sweep: &[20.0, 24.0, 28.0, 31.0, 33.0, 35.0, 37.0, 39.0, 41.0, 43.0, 45.0, 47.0],
};
/// The p99 in seconds that prediction is sized for; below 92 ms there is no size for it.
const SIZED: Knob = Knob {
    name: "p99 sized for, s",
    default: 0.165,
    sweep: &[0.100, 0.108, 0.116, 0.125, 0.135, 0.145, 0.155, 0.165, 0.180, 0.200, 0.240],
};
/// Sustained utilisation.
const UTILISATION: Knob = Knob {
    name: "utilisation",
    default: 0.70,
    sweep: &[0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95],
};

impl Contender {
    /// Everybody.
    pub const EVERYBODY: [Self; 16] = [
        Self::Trimtab,
        Self::Gate,
        Self::GateFewest,
        Self::GateCheapest,
        Self::StaticFloor,
        Self::PurePredictive,
        Self::RecedingHorizon,
        Self::CpuHpa,
        Self::Keda,
        Self::SeasonalTrigger,
        Self::Phpa,
        Self::WindowMax,
        Self::Fixed,
        Self::Oracle,
        Self::OracleAhead,
        Self::Clairvoyant,
    ];

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
            Self::GateFewest => "gate, fewest misses",
            Self::GateCheapest => "gate, cheapest",
            Self::RecedingHorizon => "receding horizon",
            Self::SeasonalTrigger => "seasonal trigger",
            Self::Phpa => "PHPA",
            Self::WindowMax => "window max",
            Self::Fixed => "fixed",
            Self::OracleAhead => "oracle, planned",
            Self::Clairvoyant => "clairvoyant",
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
            _ => None,
        }
    }

    /// Between two of its looks: the published policies decide once in an interval.
    #[must_use]
    pub fn tick(self, asked: Seconds) -> Seconds {
        match self {
            Self::Trimtab
            | Self::CpuHpa
            | Self::Keda
            | Self::SeasonalTrigger
            | Self::Phpa
            | Self::WindowMax
            | Self::Fixed => asked,
            Self::Gate
            | Self::GateFewest
            | Self::GateCheapest
            | Self::StaticFloor
            | Self::PurePredictive
            | Self::RecedingHorizon
            | Self::Oracle
            | Self::OracleAhead
            | Self::Clairvoyant => INTERVAL,
        }
    }

    /// What can be turned of it; nothing of the clairvoyant.
    #[must_use]
    pub fn knob(self) -> Option<Knob> {
        const MISSES: Knob = Knob {
            name: "misses allowed",
            default: 0.005,
            sweep: &[0.0005, 0.001, 0.002, 0.003, 0.005, 0.008, 0.012, 0.02, 0.03, 0.05],
        };
        const U_HIGH: Knob = Knob {
            name: "utilisation with confidence",
            default: 0.86,
            sweep: &[0.70, 0.74, 0.78, 0.80, 0.82, 0.84, 0.86, 0.88, 0.90, 0.92, 0.95],
        };
        const PRICE: Knob = Knob {
            name: "price of a violation, replicas held for an interval",
            default: 100.0,
            sweep: &[3.0, 10.0, 20.0, 30.0, 50.0, 100.0, 200.0, 500.0, 1_000.0],
        };
        match self {
            Self::Trimtab => Some(MISSES),
            Self::Gate | Self::GateFewest | Self::GateCheapest => Some(U_HIGH),
            Self::StaticFloor | Self::CpuHpa | Self::Fixed => Some(UTILISATION),
            Self::PurePredictive | Self::RecedingHorizon => Some(SIZED),
            Self::Oracle => Some(Knob { default: 0.200, ..SIZED }),
            Self::Keda | Self::SeasonalTrigger | Self::Phpa | Self::WindowMax => Some(PER_REPLICA),
            Self::OracleAhead => Some(PRICE),
            Self::Clairvoyant => None,
        }
    }

    /// It with its knob turned there.
    #[must_use]
    pub fn with_knob(self, knob: f64) -> Entrant {
        Entrant { knob: Some(knob), ..self.by_default() }
    }

    /// It as it is by default.
    #[must_use]
    pub fn by_default(self) -> Entrant {
        Entrant { contender: self, knob: None, gate: None, driver: Driver::Own, horizon: None, method: Method::Priced }
    }

    /// It at each setting of its sweep, for a frontier; at its default where nothing can be turned.
    #[must_use]
    pub fn sweep(self) -> Vec<Entrant> {
        self.knob().map_or_else(
            || vec![self.by_default()],
            |knob| knob.sweep.iter().map(|setting| self.with_knob(*setting)).collect(),
        )
    }

    fn is_tuned(self) -> bool {
        matches!(self, Self::GateFewest | Self::GateCheapest)
    }
}

/// A contender and how it is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entrant {
    /// Who.
    pub contender: Contender,
    /// Where its knob stands; `None` is its default.
    pub knob: Option<f64>,
    /// The gate's settings, where they are not the calibrated ones.
    pub gate: Option<Gate>,
    /// Whose forecasts drive it.
    pub driver: Driver,
    /// Intervals that a receding horizon looks ahead; `None` are as many as start-up and ramp ask for.
    pub horizon: Option<u32>,
    /// How trimtab chooses its sizes.
    pub method: Method,
}

impl Entrant {
    /// Driven by these forecasts.
    #[must_use]
    pub fn driven(self, driver: Driver) -> Self {
        Self { driver, ..self }
    }

    /// Between two of its looks: trimtab's forecasts are made of all that it sees.
    fn tick(&self, asked: Seconds) -> Seconds {
        if self.driver == Driver::Trimtab { asked } else { self.contender.tick(asked) }
    }

    fn controller(&self, workload: &Workload, scenario: &Scenario) -> Controller {
        let knob = self.knob.or_else(|| self.contender.knob().map(|knob| knob.default)).unwrap_or_default();
        let (share, span) = (Ratio::new(knob).unwrap_or_default(), Seconds::new(knob).unwrap_or_default());
        let per_replica = RequestsPerSecond::new(knob).unwrap_or_default();
        let published = |policy| baseline::published(policy, self.driver, scenario, workload);
        let triggered = |own: Trigger, window: u32| {
            let trigger = if self.driver == Driver::Own { own } else { Trigger::Driven(self.driver, window) };
            baseline::triggered(per_replica, trigger, scenario, workload)
        };
        match self.contender {
            Contender::Trimtab => {
                let policy = policy(scenario);
                let objective = Objective { misses: share, ..policy.objective };
                Box::new(run::trimtab(Policy { objective, method: self.method, ..policy }, workload, |_, _, _| {}))
            }
            Contender::Gate | Contender::GateFewest | Contender::GateCheapest => {
                let gate = self.gate.unwrap_or(Gate::CALIBRATED);
                let high = self.knob.unwrap_or(gate.utilisation.1);
                published(Published::Gate(Gate { utilisation: (gate.utilisation.0, high), ..gate }))
            }
            Contender::StaticFloor => published(Published::StaticFloor(share)),
            Contender::PurePredictive => published(Published::PurePredictive(span)),
            Contender::RecedingHorizon => published(Published::RecedingHorizon(span, self.horizon)),
            Contender::CpuHpa => baseline::cpu_hpa(share, scenario),
            Contender::Keda => baseline::keda(per_replica, scenario),
            Contender::SeasonalTrigger => triggered(Trigger::SeasonAgo, Trigger::SEASON_AGO_WINDOW),
            Contender::WindowMax => triggered(Trigger::Replayed, Trigger::REPLAYED_WINDOW),
            Contender::Phpa => baseline::phpa(per_replica, self.driver, scenario, workload),
            Contender::Fixed => baseline::fixed(baseline::for_peak(share, scenario, workload)),
            Contender::Oracle => knowing::oracle(span, scenario, workload),
            Contender::OracleAhead => knowing::oracle_ahead(knob, scenario, workload),
            Contender::Clairvoyant => {
                let (plan, _) = Clairvoyant::foresee(None, workload, scenario).served(workload, scenario);
                knowing::follow(plan)
            }
        }
    }
}

/// trimtab's policy in a contest: the one setting for all workloads.
#[must_use]
pub fn policy(scenario: &Scenario) -> Policy {
    Policy {
        replicas: scenario.bounds,
        objective: Objective { latency: scenario.law.target, misses: Ratio::permille(5), window: INTERVAL },
        capacity: Capacity::Declared(scenario.law.capacity),
        protect: Vec::new(),
        stabilization: Seconds::ZERO,
        events: Vec::new(),
        ramp: scenario.ramp.map(Replicas),
        method: Method::Priced,
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

/// Runs all contenders at their defaults on all cores; `done` is called after each run. The outcomes come in the order of workloads,
/// contenders and seeds, whichever ended first.
pub fn hold(
    workloads: &[Workload],
    contenders: &[Contender],
    seeds: std::ops::RangeInclusive<u64>,
    scenario: &Scenario,
    done: &(dyn Fn() + Sync),
) -> Vec<Outcome> {
    let entrants: Vec<Entrant> = contenders.iter().map(|contender| contender.by_default()).collect();
    let mut outcomes: Vec<Outcome> =
        contend(workloads, &entrants, seeds, scenario, done).into_iter().flatten().flatten().collect();
    outcomes.sort_by_key(|outcome| (outcome.workload, outcome.contender, outcome.seed));
    outcomes
}

/// Runs all entrants on all cores; `done` is called after each run. By workload, entrant and seed, each in the order given.
///
/// The tuned gates are tuned first, on the workloads and on up to two of the seeds that they are then judged by.
pub fn contend(
    workloads: &[Workload],
    entrants: &[Entrant],
    seeds: std::ops::RangeInclusive<u64>,
    scenario: &Scenario,
    done: &(dyn Fn() + Sync),
) -> Vec<Vec<Vec<Outcome>>> {
    let seeds: Vec<u64> = seeds.collect();
    let tuning: Vec<u64> = seeds.iter().copied().take(2).collect();
    let is_tuned = |entrant: &Entrant| entrant.contender.is_tuned() && entrant.gate.is_none();
    let tuned = entrants.iter().any(is_tuned).then(|| tune(workloads, &tuning, scenario));
    let entrant_on = |workload: usize, entrant: &Entrant| {
        let gates = tuned.as_ref().and_then(|tuned| tuned.get(workload)).filter(|_| is_tuned(entrant));
        let gate = gates.map(|(fewest, cheapest)| match entrant.contender {
            Contender::GateCheapest => *cheapest,
            _ => *fewest,
        });
        Entrant { gate: gate.or(entrant.gate), ..*entrant }
    };
    let jobs: Vec<(usize, Entrant, u64)> = (0..workloads.len())
        .flat_map(|workload| entrants.iter().map(move |entrant| (workload, entrant)))
        .flat_map(|(workload, entrant)| {
            let entrant = entrant_on(workload, entrant);
            seeds.iter().map(move |seed| (workload, entrant, *seed))
        })
        .collect();
    let scores = spread(&jobs, |(workload, entrant, seed)| {
        let score = workloads.get(*workload).map(|course| serve(course, entrant, *seed, scenario)).unwrap_or_default();
        done();
        Outcome { workload: *workload, contender: entrant.contender, seed: *seed, score }
    });
    let mut outcomes = scores.into_iter();
    let mut of_entrant = || outcomes.by_ref().take(seeds.len()).collect::<Vec<_>>();
    workloads.iter().map(|_| entrants.iter().map(|_| of_entrant()).collect()).collect()
}

fn serve(workload: &Workload, entrant: &Entrant, seed: u64, scenario: &Scenario) -> Score {
    let mut scenario = scenario.clone();
    scenario.law.seed = seed;
    scenario.tick = entrant.tick(scenario.tick);
    run::run(workload, &scenario, &mut *entrant.controller(workload, &scenario))
}

/// Does all jobs on all cores; what came of them in their order.
pub fn spread<J: Sync, R: Send>(jobs: &[J], work: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(jobs.len())));
    let worker = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(number) else { break };
            let result = work(job);
            results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((number, result));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(worker);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// For each workload the gate's setting with the fewest violations at no more than the calibrated one's cost, and the cheapest with no
/// more violations: as favourable as can be, for no policy knows in advance what it will be judged by.
#[must_use]
pub fn tune(workloads: &[Workload], seeds: &[u64], scenario: &Scenario) -> Vec<(Gate, Gate)> {
    const ERRORS: [(f64, f64); 2] = [(0.02, 0.10), (0.03, 0.15)];
    const LOW: [f64; 4] = [0.65, 0.70, 0.75, 0.80];
    const HIGH: [f64; 5] = [0.82, 0.84, 0.86, 0.88, 0.90];
    let grid = ERRORS.into_iter().flat_map(|errors| LOW.map(|low| (errors, low)));
    let grid: Vec<Gate> =
        grid.flat_map(|(errors, low)| HIGH.map(|high| Gate { errors, utilisation: (low, high) })).collect();
    let served = |(workload, gate): &(&Workload, Gate), seeds: &[u64]| {
        let entrant = Entrant { gate: Some(*gate), ..Contender::Gate.by_default() };
        seeds.iter().map(|seed| serve(workload, &entrant, *seed, scenario)).collect::<Vec<Score>>()
    };
    let jobs: Vec<(&Workload, Gate)> =
        workloads.iter().flat_map(|workload| grid.iter().map(move |gate| (workload, *gate))).collect();
    let (first, others) = seeds.split_at(seeds.len().min(1));
    let of_first = spread(&jobs, |job| served(job, first));
    // Neither choice costs more than the calibrated one, and what a gate costs hardly depends on the seed: the dearer ones are out.
    let cost = |scores: &[Score]| scores.iter().map(|score| score.replica_hours).sum::<f64>();
    let jobs: Vec<_> = jobs
        .chunks(grid.len())
        .zip(of_first.chunks(grid.len()))
        .flat_map(|(jobs, scores)| {
            let calibrated = jobs.iter().zip(scores).find(|((_, gate), _)| *gate == Gate::CALIBRATED);
            let most = calibrated.map_or(f64::INFINITY, |(_, scores)| 1.01 * cost(scores));
            jobs.iter().zip(scores).map(move |(job, scores)| (job, scores, cost(scores) <= most))
        })
        .collect();
    let points = spread(&jobs, |(job, scores, stays)| {
        let others = if *stays { served(job, others) } else { Vec::new() };
        mean(scores.iter().cloned().chain(others))
    });
    let best = |points: &[Point]| {
        let settings = || grid.iter().copied().zip(points.iter().copied());
        let calibrated = settings().find(|(gate, _)| *gate == Gate::CALIBRATED).map(|(_, point)| point);
        let calibrated = calibrated.unwrap_or(Point { violations: f64::INFINITY, cost: f64::INFINITY });
        let fewest = settings().filter(|(_, point)| point.cost <= calibrated.cost).min_by(|(_, one), (_, other)| {
            one.violations.total_cmp(&other.violations).then(one.cost.total_cmp(&other.cost))
        });
        let cheapest =
            settings().filter(|(_, point)| point.violations <= calibrated.violations).min_by(|(_, one), (_, other)| {
                one.cost.total_cmp(&other.cost).then(one.violations.total_cmp(&other.violations))
            });
        let of = |setting: Option<(Gate, Point)>| setting.map_or(Gate::CALIBRATED, |(gate, _)| gate);
        (of(fewest), of(cheapest))
    };
    points.chunks(grid.len()).map(best).collect()
}

/// What some runs come to: means.
#[must_use]
pub fn mean(scores: impl Iterator<Item = Score>) -> Point {
    let (mut runs, mut sum) = (0_u32, Point { violations: 0.0, cost: 0.0 });
    for score in scores {
        runs += 1;
        sum = Point { violations: sum.violations + score.rate(), cost: sum.cost + score.replica_hours };
    }
    let runs = f64::from(runs.max(1));
    Point { violations: sum.violations / runs, cost: sum.cost / runs }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that a forecast drives: what [`Entrant::sharing`] gives the same one.
    const FORECASTING: [Contender; 8] = [
        Contender::Gate,
        Contender::GateFewest,
        Contender::StaticFloor,
        Contender::PurePredictive,
        Contender::RecedingHorizon,
        Contender::SeasonalTrigger,
        Contender::Phpa,
        Contender::WindowMax,
    ];

    fn short(shape: Shape) -> Workload {
        let whole = shape.published();
        Workload { rates: whole.rates.into_iter().take(40).collect(), ..whole }
    }

    #[test]
    fn outcomes_stand_where_their_entrants_do() {
        let workloads = [short(Shape::Diurnal), short(Shape::Sawtooth)];
        let entrants =
            [Contender::Keda.with_knob(20.0), Contender::Fixed.by_default(), Contender::Keda.with_knob(45.0)];
        let outcomes = contend(&workloads, &entrants, 1..=2, &Scenario::benchmark(0), &|| {});
        assert_eq!((outcomes.len(), outcomes[0].len(), outcomes[0][0].len()), (2, 3, 2));
        for of_workload in &outcomes {
            let hours = |entrant: usize| of_workload[entrant][1].score.replica_hours;
            assert!(hours(0) > 1.5 * hours(2), "{} and {}", hours(0), hours(2));
            assert_eq!(of_workload[1][0].contender, Contender::Fixed);
            assert_eq!(of_workload[1][0].score.churn, of_workload[1][1].score.churn);
        }
    }

    #[test]
    fn everybody_serves_the_same_requests_whosever_forecasts_drive_it() {
        let workloads = [short(Shape::RealWeek)];
        let own = Contender::EVERYBODY.map(Contender::by_default);
        let driven = |driver| FORECASTING.map(|contender| contender.by_default().driven(driver));
        let scenario = Scenario::benchmark(0);
        let all: Vec<Outcome> = [
            contend(&workloads, &own, 1..=1, &scenario, &|| {}),
            contend(&workloads, &driven(Driver::Published), 1..=1, &scenario, &|| {}),
            contend(&workloads, &driven(Driver::Trimtab), 1..=1, &scenario, &|| {}),
        ]
        .into_iter()
        .flatten()
        .flatten()
        .flatten()
        .collect();
        let requests = all[0].score.requests;
        for outcome in &all {
            assert_eq!(outcome.score.requests, requests, "{}", outcome.contender.name());
            assert!(outcome.score.rate() < 0.5, "{}: {}", outcome.contender.name(), outcome.score.rate());
        }
        let clairvoyant = all.iter().find(|outcome| outcome.contender == Contender::Clairvoyant).unwrap();
        assert!(clairvoyant.score.violations <= 1, "{}", clairvoyant.score.violations);
    }

    #[test]
    fn a_knob_trades_replicas_for_violations() {
        let workloads = [short(Shape::MultiBurst)];
        for contender in Contender::EVERYBODY {
            let Some(knob) = contender.knob() else { continue };
            assert!(knob.sweep.is_sorted() && knob.sweep.contains(&knob.default), "{}: {knob:?}", contender.name());
            let ends = [knob.sweep[0], knob.sweep[knob.sweep.len() - 1]].map(|setting| {
                let gate = Some(Gate::CALIBRATED);
                Entrant { gate, ..contender.with_knob(setting) }
            });
            let outcomes = contend(&workloads, &ends, 1..=1, &Scenario::benchmark(0), &|| {});
            let hours = |end: usize| outcomes[0][end][0].score.replica_hours;
            let differ = (hours(0) - hours(1)).abs() > 0.01 * hours(1);
            assert!(differ || contender == Contender::Trimtab, "{}: {} and {}", contender.name(), hours(0), hours(1));
        }
    }

    #[test]
    fn a_tuned_gate_is_no_worse_than_the_calibrated_one() {
        let workloads = [short(Shape::Wikipedia)];
        let scenario = Scenario::benchmark(0);
        let (fewest, cheapest) = tune(&workloads, &[1], &scenario)[0];
        let of = |gate| {
            let entrant = Entrant { gate: Some(gate), ..Contender::Gate.by_default() };
            mean(std::iter::once(serve(&workloads[0], &entrant, 1, &scenario)))
        };
        let (calibrated, fewest, cheapest) = (of(Gate::CALIBRATED), of(fewest), of(cheapest));
        assert!(
            fewest.violations <= calibrated.violations && fewest.cost <= calibrated.cost,
            "{fewest:?} {calibrated:?}"
        );
        assert!(cheapest.violations <= calibrated.violations && cheapest.cost <= calibrated.cost, "{cheapest:?}");
    }
}

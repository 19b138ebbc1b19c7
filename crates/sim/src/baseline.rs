//! What others do, as plain functions of the same look: the arithmetic of the autoscalers in use, and the published policies.
//!
//! Each returns a controller for [`crate::run::run`]. Sources: autoscaling/v2 (kubernetes/kubernetes,
//! `pkg/controller/podautoscaler/replica_calculator.go` and `horizontal.go`), KEDA's Prometheus scaler (an external metric through the same
//! arithmetic), and the definitions of the benchmark page.

use crate::run::{BOUNDS, Look};
use crate::workload::Workload;
use std::collections::VecDeque;
use trimtab_core::queue;
use trimtab_core::unit::{Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};

/// A controller.
pub type Controller = Box<dyn FnMut(&Look) -> Replicas>;

/// The HPA's sync period.
const SYNC: Seconds = Seconds::whole(15);
/// The HPA changes nothing while its ratio is this close to 1.
const TOLERANCE: f64 = 0.1;
/// The HPA takes the largest of what it wanted in this span before it removes.
const DOWN_WINDOW: Seconds = Seconds::whole(300);

/// What the HPA does with a ratio of metric to target.
#[derive(Default)]
struct Hpa {
    synced: Option<Timestamp>,
    wanted: VecDeque<(Timestamp, u32)>,
}

impl Hpa {
    /// `of` replicas that the ratio is about: the ready ones of a CPU metric, those of the spec of an external one.
    fn sync(&mut self, look: &Look, ratio: f64, of: Replicas) -> Replicas {
        let (at, desired) = (look.snapshot.at, look.snapshot.fleet.desired);
        if self.synced.is_some_and(|synced| at.since(synced) < SYNC) {
            return desired;
        }
        self.synced = Some(at);
        let wanted = if (ratio - 1.0).abs() <= TOLERANCE { desired.0 } else { whole(f64::from(of.0) * ratio) };
        self.wanted.push_back((at, wanted.clamp(BOUNDS.min().0, BOUNDS.max().0)));
        while self.wanted.front().is_some_and(|(when, _)| at.since(*when) > DOWN_WINDOW) {
            self.wanted.pop_front();
        }
        let largest = self.wanted.iter().map(|(_, wanted)| *wanted).max().unwrap_or(wanted);
        Replicas(if wanted >= desired.0 { wanted } else { largest.min(desired.0) })
    }
}

fn whole(replicas: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let up = replicas.ceil() as u32;
    up
}

/// The CPU HPA at a target utilisation, averaged over its sync period.
#[must_use]
pub fn cpu_hpa(target: Ratio) -> Controller {
    let mut hpa = Hpa::default();
    let mut recent: VecDeque<(Timestamp, f64)> = VecDeque::new();
    Box::new(move |look| {
        keep(&mut recent, look.snapshot.at, look.busy.get(), SYNC);
        let mean = mean(&recent);
        hpa.sync(look, mean / target.get(), look.snapshot.fleet.ready)
    })
}

/// KEDA on requests a second over a minute, so many to a replica.
#[must_use]
pub fn keda(per_replica: RequestsPerSecond) -> Controller {
    let mut hpa = Hpa::default();
    let mut recent: VecDeque<(Timestamp, f64)> = VecDeque::new();
    Box::new(move |look| {
        if let Some(rate) = look.snapshot.demand.fresh() {
            keep(&mut recent, look.snapshot.at, rate.get(), Seconds::whole(60));
        }
        let desired = look.snapshot.fleet.desired;
        hpa.sync(look, mean(&recent) / (per_replica.get() * f64::from(desired.0)), desired)
    })
}

fn keep(recent: &mut VecDeque<(Timestamp, f64)>, at: Timestamp, value: f64, span: Seconds) {
    recent.push_back((at, value));
    while recent.front().is_some_and(|(when, _)| at.since(*when) >= span) {
        recent.pop_front();
    }
}

fn mean(recent: &VecDeque<(Timestamp, f64)>) -> f64 {
    recent.iter().map(|(_, value)| value).sum::<f64>() / recent.len().max(1) as f64
}

/// Always the same size.
#[must_use]
pub fn fixed(replicas: Replicas) -> Controller {
    Box::new(move |_| replicas)
}

/// The forecaster that the published policies share: the weighted median of the last seasons at this phase plus most of the last
/// residual where a season is known, a damped trend otherwise (Gardner and McKenzie 1985).
#[derive(Clone, Debug)]
struct Forecaster {
    past: Vec<f64>,
    season: usize,
    level: f64,
    trend: f64,
}

impl Forecaster {
    /// Weight of a season against the one after it.
    const FADING: f64 = 0.8;
    /// How much of the last residual is carried on.
    const CARRY: f64 = 0.85;
    /// Weights of level and trend, and the damping.
    const HOLT: (f64, f64, f64) = (0.8, 0.25, 0.8);

    fn new(workload: &Workload) -> Self {
        let mut forecaster = Self { past: Vec::new(), season: workload.season, level: 0.0, trend: 0.0 };
        for rate in &workload.history {
            forecaster.learn(rate.get());
        }
        forecaster
    }

    fn learn(&mut self, rate: f64) {
        if self.past.is_empty() {
            self.level = rate;
        } else {
            let (level, trend, damping) = Self::HOLT;
            let before = self.level;
            let expected = before + damping * self.trend;
            self.level = expected + level * (rate - expected);
            self.trend = damping * self.trend + trend * (self.level - before - damping * self.trend);
        }
        self.past.push(rate);
    }

    /// The rate of the interval that comes next.
    fn next(&self) -> f64 {
        let now = self.past.len();
        match (self.seasonal(now), now.checked_sub(1).and_then(|last| Some((last, self.seasonal(last)?)))) {
            (Some(next), Some((last, expected))) => {
                next + Self::CARRY * (self.past.get(last).copied().unwrap_or(expected) - expected)
            }
            _ => self.level + Self::HOLT.2 * self.trend,
        }
        .max(0.0)
    }

    /// The weighted median of what the seasons before had at this phase.
    fn seasonal(&self, at: usize) -> Option<f64> {
        if self.season == 0 {
            return None;
        }
        let phases = (1..).map_while(|back| self.past.get(at.checked_sub(back * self.season)?).copied());
        let mut weighted: Vec<(f64, f64)> =
            phases.zip(std::iter::successors(Some(1.0), |weight| Some(weight * Self::FADING))).collect();
        weighted.sort_by(|one, other| one.0.total_cmp(&other.0));
        let half = weighted.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
        let mut sum = 0.0;
        weighted
            .into_iter()
            .find(|(_, weight)| {
                sum += weight;
                sum >= half
            })
            .map(|(rate, _)| rate)
    }
}

/// The published policies that are driven by the shared forecaster, once in an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Published {
    /// The fewest replicas whose p99 meets the target at the forecast.
    PurePredictive,
    /// That, and never above 70 % of what the replicas serve at the last rate.
    StaticFloor,
    /// That share rises with confidence in the forecast.
    Gate(Gate),
}

/// The settings of the gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// Mean relative error that means full confidence, and none.
    pub errors: (f64, f64),
    /// Utilisation without confidence, and with it.
    pub utilisation: (f64, f64),
}

impl Gate {
    /// The calibration that reproduces the published figures.
    pub const CALIBRATED: Self = Self { errors: (0.02, 0.10), utilisation: (0.70, 0.86) };
    /// Errors that confidence is judged by.
    const ERRORS: usize = 5;

    fn target(self, errors: &VecDeque<f64>) -> f64 {
        let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
        let (low, high) = self.errors;
        let confidence = ((high - mean) / (high - low)).clamp(0.0, 1.0);
        self.utilisation.0 + confidence * (self.utilisation.1 - self.utilisation.0)
    }
}

/// The latency that the published prediction is sized for, of the 200 ms that are promised.
const SIZED_FOR: Seconds = Seconds::milliseconds(165);

/// One of the published policies, for replicas that each serve `capacity`.
#[must_use]
pub fn published(policy: Published, capacity: RequestsPerSecond, workload: &Workload) -> Controller {
    let mut forecaster = Forecaster::new(workload);
    let mut errors: VecDeque<f64> = VecDeque::new();
    let mut forecast = forecaster.next();
    Box::new(move |look| {
        let Some(interval) = look.interval else { return look.snapshot.fleet.desired };
        let rate = interval.rate.get();
        if rate > 0.0 {
            errors.push_back((forecast - rate).abs() / rate);
        }
        if errors.len() > Gate::ERRORS {
            errors.pop_front();
        }
        forecaster.learn(rate);
        forecast = forecaster.next();
        let predictive = meets(capacity, forecast, SIZED_FOR);
        let floor = |share: f64| Replicas(whole(rate / (capacity.get() * share)));
        match policy {
            Published::PurePredictive => predictive,
            Published::StaticFloor => predictive.max(floor(0.70)),
            Published::Gate(gate) => predictive.max(floor(gate.target(&errors))),
        }
    })
}

/// Knows the true rate of the interval that comes, and sizes for its steady p99.
#[must_use]
pub fn oracle(capacity: RequestsPerSecond, target: Seconds, workload: &Workload) -> Controller {
    let rates = workload.rates.clone();
    Box::new(move |look| {
        let Some(interval) = look.interval else { return look.snapshot.fleet.desired };
        let next = rates.get(interval.number + 1).or(rates.last()).copied().unwrap_or_default();
        meets(capacity, next.get(), target)
    })
}

/// The fewest replicas whose steady p99 is within `target`.
fn meets(capacity: RequestsPerSecond, rate: f64, target: Seconds) -> Replicas {
    let rate = RequestsPerSecond::new(rate).unwrap_or_default();
    let enough = |replicas: &u32| queue::exceeds(Replicas(*replicas), rate, capacity, target) <= Ratio::percent(1);
    Replicas((BOUNDS.min().0..BOUNDS.max().0).find(enough).unwrap_or(BOUNDS.max().0))
}

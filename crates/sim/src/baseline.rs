//! What others do, as plain functions of the same look: the arithmetic of the autoscalers in use, what is built upon it, and the
//! published policies.
//!
//! Each returns a controller for [`crate::run::run`]. Sources: autoscaling/v2 (kubernetes/kubernetes,
//! `pkg/controller/podautoscaler/replica_calculator.go` and `horizontal.go`), KEDA's Prometheus scaler (an external metric through the same
//! arithmetic), Grafana Mimir's seasonal trigger (grafana/mimir, pull request 7775), the predictive-horizontal-pod-autoscaler
//! (jthomperoo), Crane's effective HPA (gocrane/crane), and the definitions of the benchmark page. What cannot be read is held, as they do.

use crate::forecaster::{Driver, Forecaster};
use crate::run::{Look, Scenario};
use crate::service::INTERVAL;
use crate::workload::Workload;
use std::collections::VecDeque;
use trimtab_core::policy::Bounds;
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
/// KEDA's rate is over this span.
const RATE_WINDOW: Seconds = Seconds::whole(60);

/// What the HPA does with what its metrics propose.
#[derive(Debug)]
struct Hpa {
    bounds: Bounds,
    synced: Option<Timestamp>,
    wanted: VecDeque<(Timestamp, u32)>,
}

impl Hpa {
    fn new(bounds: Bounds) -> Self {
        Self { bounds, synced: None, wanted: VecDeque::new() }
    }

    /// Whether its sync period is over; a new one begins.
    fn is_due(&mut self, look: &Look) -> bool {
        let at = look.snapshot.at;
        let due = self.synced.is_none_or(|synced| at.since(synced) >= SYNC);
        if due {
            self.synced = Some(at);
        }
        due
    }

    /// The size, where its metrics propose `wanted`.
    fn stabilize(&mut self, look: &Look, wanted: u32) -> Replicas {
        let (at, desired) = (look.snapshot.at, look.snapshot.fleet.desired);
        let wanted = Replicas(wanted).clamp(self.bounds.min(), self.bounds.max()).0;
        self.wanted.push_back((at, wanted));
        while self.wanted.front().is_some_and(|(when, _)| at.since(*when) > DOWN_WINDOW) {
            self.wanted.pop_front();
        }
        let largest = self.wanted.iter().map(|(_, wanted)| *wanted).max().unwrap_or(wanted);
        Replicas(if wanted >= desired.0 { wanted } else { largest.min(desired.0) })
    }
}

/// What a metric proposes at a ratio of its value to the target, `of` replicas that the ratio is about: the ready ones of a CPU metric, those
/// of the spec of an external one.
fn proposal(ratio: f64, of: Replicas, desired: Replicas) -> u32 {
    if (ratio - 1.0).abs() <= TOLERANCE { desired.0 } else { whole(f64::from(of.0) * ratio) }
}

fn whole(replicas: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let up = replicas.ceil() as u32;
    up
}

/// The CPU HPA at a target utilisation, averaged over its sync period.
#[must_use]
pub fn cpu_hpa(target: Ratio, scenario: &Scenario) -> Controller {
    let mut hpa = Hpa::new(scenario.bounds);
    let mut recent: VecDeque<(Timestamp, f64)> = VecDeque::new();
    Box::new(move |look| {
        let fleet = &look.snapshot.fleet;
        let Some(busy) = look.snapshot.utilization.fresh() else { return fleet.desired };
        keep(&mut recent, look.snapshot.at, busy.get(), SYNC);
        if !hpa.is_due(look) {
            return fleet.desired;
        }
        hpa.stabilize(look, proposal(mean(&recent) / target.get(), fleet.ready, fleet.desired))
    })
}

/// KEDA's trigger on requests a second over a minute.
#[derive(Debug)]
struct Keda {
    per_replica: RequestsPerSecond,
    recent: VecDeque<(Timestamp, f64)>,
}

impl Keda {
    fn new(per_replica: RequestsPerSecond) -> Self {
        Self { per_replica, recent: VecDeque::new() }
    }

    fn see(&mut self, look: &Look) {
        if let Some(rate) = look.snapshot.demand.fresh() {
            keep(&mut self.recent, look.snapshot.at, rate.get(), RATE_WINDOW);
        }
    }

    /// What a rate proposes.
    fn of(&self, rate: f64, look: &Look) -> u32 {
        let desired = look.snapshot.fleet.desired;
        proposal(rate / (self.per_replica.get() * f64::from(desired.0)), desired, desired)
    }

    /// What the rate of the last minute proposes; nothing where there is none now.
    fn proposes(&self, look: &Look) -> Option<u32> {
        look.snapshot.demand.fresh().map(|_| self.of(mean(&self.recent), look))
    }
}

/// KEDA on requests a second over a minute, so many to a replica.
#[must_use]
pub fn keda(per_replica: RequestsPerSecond, scenario: &Scenario) -> Controller {
    let (mut hpa, mut keda) = (Hpa::new(scenario.bounds), Keda::new(per_replica));
    Box::new(move |look| {
        keda.see(look);
        match keda.proposes(look).filter(|_| hpa.is_due(look)) {
            Some(wanted) => hpa.stabilize(look, wanted),
            None => look.snapshot.fleet.desired,
        }
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

/// The size that keeps the largest rate of a workload's past at this utilisation.
#[must_use]
pub fn for_peak(utilisation: Ratio, scenario: &Scenario, workload: &Workload) -> Replicas {
    let past = if workload.history.is_empty() { &workload.rates } else { &workload.history };
    let peak = past.iter().map(|rate| rate.get()).fold(0.0, f64::max);
    Replicas(whole(peak / (scenario.law.capacity.get() * utilisation.get())))
}

/// What a second trigger beside KEDA's own takes for the demand to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Mimir's: the largest rate of a window one season ago, from now on. Without a season there is none.
    SeasonAgo,
    /// Crane's: the largest of a window of the mean of the last three seasons and a tenth, uncorrected by what happens now.
    Replayed,
    /// The largest that a forecaster, which others have too, sees within so many intervals.
    Driven(Driver, u32),
}

impl Trigger {
    /// Mimir looks half an hour of a day of hours ahead; of a season of four hours that is five minutes.
    pub const SEASON_AGO_WINDOW: u32 = 10;
    /// The least window that Crane allows, ten minutes.
    pub const REPLAYED_WINDOW: u32 = 20;

    fn driver(self) -> Driver {
        match self {
            Self::SeasonAgo | Self::Replayed => Driver::Own,
            Self::Driven(driver, _) => driver,
        }
    }

    fn sees(self, forecaster: &Forecaster) -> Option<f64> {
        let largest = |window: u32, of: &dyn Fn(u32) -> Option<f64>| (1..=window).filter_map(of).reduce(f64::max);
        match self {
            Self::SeasonAgo => largest(Self::SEASON_AGO_WINDOW, &|ahead| forecaster.a_season_ago(ahead, 1)),
            Self::Replayed => largest(Self::REPLAYED_WINDOW, &|ahead| {
                let seasons: Vec<f64> = (1..=3).filter_map(|ago| forecaster.a_season_ago(ahead, ago)).collect();
                (!seasons.is_empty()).then(|| 1.1 * seasons.iter().sum::<f64>() / seasons.len() as f64)
            }),
            Self::Driven(_, window) => largest(window, &|ahead| Some(forecaster.ahead(ahead))),
        }
    }
}

/// KEDA with a second trigger on demand to come; the HPA takes the larger proposal.
#[must_use]
pub fn triggered(
    per_replica: RequestsPerSecond,
    trigger: Trigger,
    scenario: &Scenario,
    workload: &Workload,
) -> Controller {
    let (mut hpa, mut keda) = (Hpa::new(scenario.bounds), Keda::new(per_replica));
    let mut forecaster = Forecaster::driven(trigger.driver(), workload, scenario);
    let (error, seed) = (scenario.forecast_error, scenario.law.seed);
    let mut coming = trigger.sees(&forecaster);
    Box::new(move |look| {
        keda.see(look);
        forecaster.see(look);
        if let Some(interval) = look.interval {
            forecaster.learn(interval.rate.get());
            coming = trigger.sees(&forecaster).map(|rate| error.on(rate, seed, interval.number));
        }
        if !hpa.is_due(look) {
            return look.snapshot.fleet.desired;
        }
        match keda.proposes(look).max(coming.map(|rate| keda.of(rate, look))) {
            Some(wanted) => hpa.stabilize(look, wanted),
            None => look.snapshot.fleet.desired,
        }
    })
}

/// Holt and Winters' additive smoothing, one step ahead.
#[derive(Debug)]
struct HoltWinters {
    past: Vec<f64>,
    level: f64,
    trend: f64,
    season: Vec<f64>,
}

impl HoltWinters {
    /// Weights of level, trend and season: what a user sets; these favour it.
    const WEIGHTS: (f64, f64, f64) = (0.5, 0.05, 0.3);

    fn new(season: usize) -> Self {
        Self { past: Vec::new(), level: 0.0, trend: 0.0, season: vec![0.0; season] }
    }

    fn learn(&mut self, value: f64) {
        let length = self.season.len();
        let phase = self.past.len() % length.max(1);
        self.past.push(value);
        if self.past.len() == 2 * length {
            let mean = |rows: &[f64]| rows.iter().sum::<f64>() / length as f64;
            let (first, second) = self.past.split_at(length);
            self.level = mean(second);
            self.trend = (mean(second) - mean(first)) / length as f64;
            let level = self.level;
            self.season = second.iter().map(|value| value - level).collect();
        } else if self.past.len() > 2 * length
            && let Some(seasonal) = self.season.get_mut(phase)
        {
            let (alpha, beta, gamma) = Self::WEIGHTS;
            let before = self.level;
            self.level = alpha * (value - *seasonal) + (1.0 - alpha) * (before + self.trend);
            self.trend = beta * (self.level - before) + (1.0 - beta) * self.trend;
            *seasonal = gamma * (value - self.level) + (1.0 - gamma) * *seasonal;
        }
    }

    /// `None` before two seasons were seen.
    fn next(&self) -> Option<f64> {
        let length = self.season.len();
        (length > 0 && self.past.len() >= 2 * length)
            .then(|| self.level + self.trend + self.season.get(self.past.len() % length).copied().unwrap_or_default())
    }
}

/// The straight line through the last values, so many steps on (least squares).
fn line(values: &VecDeque<f64>, on: f64) -> Option<f64> {
    let count = values.len() as f64;
    let (mean, middle) = (values.iter().sum::<f64>() / count, (count - 1.0) / 2.0);
    let (mut up, mut across) = (0.0, 0.0);
    for (number, value) in values.iter().enumerate() {
        let from = number as f64 - middle;
        up += from * (value - mean);
        across += from * from;
    }
    (across > 0.0).then(|| mean + up / across * (count - 1.0 - middle + on))
}

/// PHPA: forecasts the replica counts that the HPA (here KEDA's) reckons, by a line through the last six and, where a season is known, by
/// Holt and Winters; the largest of all is taken. Any `driver` but its own puts a forecast of demand in the place of both.
#[must_use]
pub fn phpa(per_replica: RequestsPerSecond, driver: Driver, scenario: &Scenario, workload: &Workload) -> Controller {
    /// Its default history.
    const HISTORY: usize = 6;
    let (mut hpa, mut keda) = (Hpa::new(scenario.bounds), Keda::new(per_replica));
    let mut forecaster = Forecaster::driven(driver, workload, scenario);
    let mut winters = HoltWinters::new(workload.season);
    workload.history.iter().for_each(|rate| winters.learn((rate.get() / per_replica.get()).ceil()));
    let mut calculated: VecDeque<f64> = VecDeque::new();
    let (error, seed, mut number) = (scenario.forecast_error, scenario.law.seed, 0);
    // Half a minute, in sync periods.
    let on = INTERVAL.get() / SYNC.get();
    Box::new(move |look| {
        keda.see(look);
        forecaster.see(look);
        if let Some(interval) = look.interval {
            forecaster.learn(interval.rate.get());
            winters.learn((interval.rate.get() / per_replica.get()).ceil());
            number = interval.number;
        }
        let Some(now) = keda.proposes(look).filter(|_| hpa.is_due(look)) else {
            return look.snapshot.fleet.desired;
        };
        calculated.push_back(f64::from(now));
        if calculated.len() > HISTORY {
            calculated.pop_front();
        }
        let models = match driver {
            Driver::Own => [line(&calculated, on), winters.next()],
            Driver::Published | Driver::Trimtab => [Some(forecaster.ahead(1) / per_replica.get()), None],
        };
        let models = models.into_iter().flatten().map(|replicas| whole(error.on(replicas, seed, number)));
        hpa.stabilize(look, models.fold(now, u32::max))
    })
}

/// The published policies, which decide once in an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Published {
    /// The fewest replicas whose p99 is within this at the forecast.
    PurePredictive(Seconds),
    /// The same for each of so many intervals to come, by default as many as start-up and ramp ask for; and so many replicas now that
    /// the ramp lets through what they need.
    RecedingHorizon(Seconds, Option<u32>),
    /// The single step, and never above this share of what the replicas serve at the last rate.
    StaticFloor(Ratio),
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
pub const SIZED_FOR: Seconds = Seconds::milliseconds(165);

/// One of the published policies.
#[must_use]
pub fn published(policy: Published, driver: Driver, scenario: &Scenario, workload: &Workload) -> Controller {
    let mut forecaster = Forecaster::driven(driver, workload, scenario);
    let mut errors: VecDeque<f64> = VecDeque::new();
    let scenario = scenario.clone();
    let (capacity, seed) = (scenario.law.capacity, scenario.law.seed);
    let mut forecast = forecaster.ahead(1);
    Box::new(move |look| {
        forecaster.see(look);
        let Some(interval) = look.interval else { return look.snapshot.fleet.desired };
        let rate = interval.rate.get();
        if rate > 0.0 {
            errors.push_back((forecast - rate).abs() / rate);
        }
        if errors.len() > Gate::ERRORS {
            errors.pop_front();
        }
        forecaster.learn(rate);
        forecast = scenario.forecast_error.on(forecaster.ahead(1), seed, interval.number);
        let predictive = |limit: Seconds| meets(&scenario, forecast, limit);
        let floor = |share: f64| Replicas(whole(rate / (capacity.get() * share)));
        match policy {
            Published::PurePredictive(limit) => predictive(limit),
            Published::RecedingHorizon(limit, intervals) => {
                let off = forecast / forecaster.ahead(1).max(f64::MIN_POSITIVE);
                let needs = (1..=intervals.unwrap_or_else(|| horizon(&scenario)))
                    .map(|ahead| meets(&scenario, off * forecaster.ahead(ahead), limit));
                planned(&needs.collect::<Vec<_>>(), &scenario)
            }
            Published::StaticFloor(share) => predictive(SIZED_FOR).max(floor(share.get())),
            Published::Gate(gate) => predictive(SIZED_FOR).max(floor(gate.target(&errors))),
        }
    })
}

/// Intervals that a plan looks ahead: the start-up, and what the ramp needs for half of all replicas.
fn horizon(scenario: &Scenario) -> u32 {
    let climb = scenario.ramp.map_or(0, |most| (scenario.bounds.max().0 / 2).div_ceil(most.max(1)));
    (1 + delay(scenario) + climb).min(20)
}

/// Whole intervals that a replica takes to start.
pub(crate) fn delay(scenario: &Scenario) -> u32 {
    whole(scenario.law.startup.p90().get() / INTERVAL.get())
}

/// The size now that serves all `needs` under ramp and start-up with the fewest replicas: what is needed while a replica starts is needed
/// now, and what the ramp would not let through later is ordered before (a backward envelope).
fn planned(needs: &[Replicas], scenario: &Scenario) -> Replicas {
    let lead = 1 + delay(scenario) as usize;
    let mut next: Option<Replicas> = None;
    for first in (0..needs.len()).rev() {
        let need = needs.iter().skip(first).take(lead).copied().max().unwrap_or_default();
        let climb = next.zip(scenario.ramp).map_or(Replicas(0), |(next, most)| next.minus(most));
        next = Some(need.max(climb));
    }
    next.unwrap_or_default()
}

/// The fewest replicas within the bounds whose steady p99 is within `limit` at `rate` requests a second; the most, where none are enough.
#[must_use]
pub fn meets(scenario: &Scenario, rate: f64, limit: Seconds) -> Replicas {
    let (capacity, bounds) = (scenario.law.capacity, scenario.bounds);
    let demand = RequestsPerSecond::new(rate).unwrap_or_default();
    let enough = |replicas: &u32| queue::exceeds(Replicas(*replicas), demand, capacity, limit) <= Ratio::percent(1);
    // Fewer than the load are never enough.
    let first = (demand / capacity).floor().max(bounds.min());
    Replicas((first.0..bounds.max().0).find(enough).unwrap_or(bounds.max().0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_climbs_before_it_is_needed() {
        let scenario = Scenario::benchmark(1);
        let needs: Vec<Replicas> = [5, 5, 5, 18].map(Replicas).into();
        assert_eq!(planned(&needs, &scenario), Replicas(6), "6, 10, 14, 18");
        assert_eq!(planned(&needs, &Scenario { ramp: None, ..scenario }), Replicas(5));
    }

    #[test]
    fn a_line_goes_on() {
        assert_eq!(line(&VecDeque::from([2.0, 4.0, 6.0]), 2.0), Some(10.0));
        assert_eq!(line(&VecDeque::from([2.0]), 2.0), None);
    }

    #[test]
    fn holt_and_winters_learn_a_season() {
        let mut winters = HoltWinters::new(4);
        (0..12).for_each(|row| winters.learn([10.0, 20.0, 30.0, 20.0][row % 4]));
        assert!((winters.next().unwrap() - 10.0).abs() < 0.5);
        winters.learn(10.0);
        assert!((winters.next().unwrap() - 20.0).abs() < 0.5);
    }
}

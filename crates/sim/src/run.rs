//! A controller in charge of a service, tick by tick, and what came of it.

use crate::foretold::Forecasts;
use crate::law::Law;
use crate::service::{Grade, INTERVAL, Observed, Service};
use crate::sight::{Eye, ForecastError, Measured, Seen, Sight};
use crate::workload::Workload;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use trimtab_core::forecast::AHEAD;
use trimtab_core::invariant::{self, Breach};
use trimtab_core::policy::Bounds;
use trimtab_core::snapshot::{Absence, Fleet, Foretold, Reading, Snapshot};
use trimtab_core::unit::{Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_core::{Decision, Policy, State, Verb, backfill, decide};

/// The benchmark's least and most replicas.
pub const BOUNDS: Bounds = match Bounds::new(Replicas(1), Replicas(60)) {
    Some(bounds) => bounds,
    None => panic!("they are in order"),
};

/// A forecast is shown as far as trimtab looks ahead: windows are intervals.
#[expect(clippy::cast_possible_truncation, reason = "fourteen")]
pub const FORESEEN: Seconds = Seconds::whole(30 * (AHEAD as u32 + 1));

/// How a run is made.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The service.
    pub law: Law,
    /// Between two looks; an interval is a whole number of ticks.
    pub tick: Seconds,
    /// The net change of replicas within any half-minute; `None` is unlimited.
    pub ramp: Option<u32>,
    /// Least and most replicas.
    pub bounds: Bounds,
    /// What a controller gets to see.
    pub sight: Sight,
    /// An error that is put on the forecasts of policies that are driven by one, and on those that somebody else made.
    pub forecast_error: ForecastError,
    /// What somebody else forecast of it, for who takes part with that.
    pub foretold: Arc<Forecasts>,
    /// What becomes of the demand reading at each tick, counted from 0: for faults that [`Sight`] does not draw.
    pub fault: fn(u64, Reading<RequestsPerSecond>) -> Reading<RequestsPerSecond>,
}

impl Scenario {
    /// The benchmark's: its service, at most 4 replicas in half a minute, a look every 5 s.
    #[must_use]
    pub fn benchmark(seed: u64) -> Self {
        Self {
            law: Law::benchmark(seed),
            tick: Seconds::whole(5),
            ramp: Some(4),
            bounds: BOUNDS,
            sight: Sight::CLEAR,
            forecast_error: ForecastError::NONE,
            foretold: Arc::default(),
            fault: no_fault,
        }
    }

    /// The same for so many times the load ([`Workload::scaled`]): the most replicas and the ramp go with it, the ramp down to one replica
    /// and the most down to four, for a service of fewer has nothing to decide.
    #[must_use]
    pub fn at_scale(self, scale: Ratio) -> Self {
        let of = |count: u32, least: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
            let scaled = (f64::from(count) * scale.get()).round().max(least) as u32;
            scaled
        };
        let min = self.bounds.min();
        let bounds = Bounds::new(min, Replicas(of(self.bounds.max().0, 4.0)).max(min)).unwrap_or(self.bounds);
        Self { bounds, ramp: self.ramp.map(|most| of(most, 1.0)), ..self }
    }
}

/// Readings as they are.
#[must_use]
pub fn no_fault(_: u64, reading: Reading<RequestsPerSecond>) -> Reading<RequestsPerSecond> {
    reading
}

/// What a controller sees at one tick.
#[derive(Clone, Debug)]
pub struct Look {
    /// What trimtab sees: demand is that of the tick.
    pub snapshot: Snapshot,
    /// The whole interval, where one is seen to have ended with this tick.
    pub interval: Option<Interval>,
}

/// What was seen of an interval.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    /// Which, from 0.
    pub number: usize,
    /// Requests that arrived a second.
    pub rate: RequestsPerSecond,
    /// 99th percentile of what ended.
    pub p99: Option<Seconds>,
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
    /// The most requests that waited at a tick.
    pub largest_backlog: usize,
    /// What happened in each interval.
    pub rows: Vec<Row>,
}

/// One interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Row {
    /// The true rate.
    pub rate: RequestsPerSecond,
    /// Replicas when it ended, before the decision there.
    pub replicas: u32,
    /// Those of them that were ready.
    pub ready: u32,
    /// 99th percentile of what ended in it.
    pub p99: Option<Seconds>,
    /// What became of its requests.
    pub grade: Grade,
}

impl Score {
    /// Share of intervals that violate the objective.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.violations as f64 / self.intervals as f64
    }
}

/// Puts `controller` in charge of `workload`: it says how many replicas it wants at each tick.
pub fn run(workload: &Workload, scenario: &Scenario, controller: &mut dyn FnMut(&Look) -> Replicas) -> Score {
    let mut score = Score::default();
    let mut replicas = first_size(workload, scenario);
    let mut service = Service::new(scenario.law, replicas as usize);
    let mut eye = Eye::new(scenario.sight, scenario.law.seed);
    let mut moves: VecDeque<(Timestamp, i64)> = VecDeque::new();
    let mut at = Timestamp(0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let ticks = (INTERVAL.get() / scenario.tick.get()).round().max(1.0) as u64;
    let mut tick = 0;
    for (number, rate) in workload.rates.iter().enumerate() {
        let mut whole = Observed::default();
        for left in (0..ticks).rev() {
            let observed = service.advance(scenario.tick, *rate);
            whole.absorb(&observed);
            score.replica_hours += f64::from(replicas) * scenario.tick.get() / 3600.0;
            at = at.after(scenario.tick);
            let interval =
                (left == 0).then(|| Interval { number, rate: per_second(&whole, INTERVAL), p99: whole.p99() });
            if let Some(Interval { p99, .. }) = interval {
                let ready = u32::try_from(service.ready()).unwrap_or(u32::MAX);
                score.rows.push(Row { rate: *rate, replicas, ready, p99, grade: Grade::default() });
            }
            let busy = busy(&observed, scenario.tick, &service);
            let mut seen = eye.look(Measured { at, rate: per_second(&observed, scenario.tick), busy, interval });
            seen.demand = (scenario.fault)(tick, seen.demand);
            let interval = seen.interval;
            let snapshot = snapshot(at, seen, &service, replicas, scenario);
            let wanted = controller(&Look { snapshot, interval });
            let to = wanted.clamp(scenario.bounds.min(), scenario.bounds.max()).0;
            let to = scenario.ramp.map_or(to, |most| ramp(&mut moves, most, at, replicas, to));
            score.churn += u64::from(to.abs_diff(replicas));
            replicas = to;
            service.scale(replicas as usize);
            tick += 1;
        }
    }
    service.drain();
    score.largest_backlog = service.largest_backlog();
    for (row, grade) in score.rows.iter_mut().zip(service.grades()) {
        row.grade = *grade;
        score.violations += u64::from(grade.violates());
        score.requests += grade.requests;
        score.slow += grade.slow;
    }
    score.intervals = workload.rates.len() as u64;
    score
}

/// trimtab itself, started with the workload's past; `watch` sees every decision, with the invariants that it broke.
pub fn trimtab<W: FnMut(&Snapshot, &Decision, Vec<Breach>)>(
    policy: Policy,
    workload: &Workload,
    mut watch: W,
) -> impl FnMut(&Look) -> Replicas + use<W> {
    let mut state = begun(&policy, workload);
    move |look| {
        let decision = decide(&policy, &mut state, &look.snapshot);
        let breaches = invariant::breaches(&policy, &look.snapshot, &decision);
        watch(&look.snapshot, &decision, breaches);
        if decision.verb == Verb::Hold { look.snapshot.fleet.desired } else { decision.to }
    }
}

/// What trimtab remembers of a workload's past when a run begins.
pub(crate) fn begun(policy: &Policy, workload: &Workload) -> State {
    let mut state = State::default();
    let past: Vec<(Timestamp, RequestsPerSecond)> =
        workload.history.iter().rev().zip(0_i64..).map(|(rate, ago)| (Timestamp(-30_000 * ago), *rate)).collect();
    backfill(policy, &mut state, &past.into_iter().rev().collect::<Vec<_>>());
    state
}

/// The benchmark's start: ceil(first rate / 35).
pub(crate) fn first_size(workload: &Workload, scenario: &Scenario) -> u32 {
    let first = workload.rates.first().copied().unwrap_or_default().get();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is clamped")]
    let size = (first / 35.0).ceil() as u32;
    Replicas(size).clamp(scenario.bounds.min(), scenario.bounds.max()).0
}

/// Demand over a span of which this was observed.
#[must_use]
pub fn per_second(observed: &Observed, span: Seconds) -> RequestsPerSecond {
    RequestsPerSecond::new(observed.arrived as f64 / span.get()).unwrap_or_default()
}

/// How busy the replicas that are ready were in a span of which this was observed.
#[must_use]
pub fn busy(observed: &Observed, span: Seconds, service: &Service) -> Ratio {
    Ratio::new(observed.busy.get() / (span.get() * (service.ready() as f64).max(1.0))).unwrap_or_default()
}

/// What a controller is shown: what is seen, and the fleet as it is, of which `replicas` are ordered.
#[must_use]
pub fn snapshot(at: Timestamp, seen: Seen, service: &Service, replicas: u32, scenario: &Scenario) -> Snapshot {
    let count = |count: usize| Replicas(u32::try_from(count).unwrap_or(u32::MAX));
    Snapshot {
        at,
        demand: seen.demand,
        capacity: Reading::Missing(Absence::NotConfigured),
        latency: seen.latency,
        utilization: seen.utilization,
        foretold: foretold(at, scenario),
        protected: BTreeMap::new(),
        fleet: Fleet {
            desired: Replicas(replicas),
            ready: count(service.ready()),
            starting: count(service.starting()),
            stuck: Replicas(0),
            startup: Some(scenario.law.startup.p90()),
            rolling_out: false,
        },
    }
}

/// What somebody else forecast, with the error that is put on it: the same for all that is shown within an interval.
fn foretold(at: Timestamp, scenario: &Scenario) -> Vec<Foretold> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and saturates")]
    let interval = (at.since(Timestamp(0)).get() / INTERVAL.get()) as usize;
    let wrong = |rate: RequestsPerSecond| scenario.forecast_error.on(rate.get(), scenario.law.seed, interval);
    let shown = scenario.foretold.at(at, FORESEEN).into_iter();
    shown.map(|it| Foretold { rate: RequestsPerSecond::new(wrong(it.rate)).unwrap_or_default(), ..it }).collect()
}

/// The size that a limit of `most` replicas within any half-minute lets through on the way from one to the other; `moves` are the changes
/// before, and this one is added to them.
pub fn ramp(moves: &mut VecDeque<(Timestamp, i64)>, most: u32, at: Timestamp, from: u32, to: u32) -> u32 {
    while moves.front().is_some_and(|(when, _)| at.since(*when) >= INTERVAL) {
        moves.pop_front();
    }
    let (net, most): (i64, i64) = (moves.iter().map(|(_, change)| change).sum(), i64::from(most));
    let change = (i64::from(to) - i64::from(from)).clamp((-most - net).min(0), (most - net).max(0));
    if change != 0 {
        moves.push_back((at, change));
    }
    u32::try_from(i64::from(from) + change).unwrap_or(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline;
    use crate::shape::Shape;

    fn keda(scenario: &Scenario, workload: &Workload) -> Score {
        run(workload, scenario, &mut *baseline::keda(RequestsPerSecond::whole(40), scenario))
    }

    fn short(shape: Shape) -> Workload {
        let whole = shape.published();
        Workload { rates: whole.rates.into_iter().take(100).collect(), ..whole }
    }

    #[test]
    fn who_sees_late_violates_more() {
        let (workload, clear) = (short(Shape::MultiBurst), Scenario::benchmark(1));
        let late = Scenario { sight: Sight { lag: Seconds::whole(60), ..Sight::CLEAR }, ..clear.clone() };
        let (clear, late) = (keda(&clear, &workload), keda(&late, &workload));
        assert!(late.violations > clear.violations, "{} and {}", late.violations, clear.violations);
        assert_eq!(late.requests, clear.requests);
    }

    #[test]
    fn faults_are_those_of_the_seed() {
        let percent = Ratio::percent;
        let sight = Sight { missing: percent(10), resets: percent(5), zeros: percent(5), ..Sight::CLEAR };
        let workload = short(Shape::Diurnal);
        let of = |seed| keda(&Scenario { sight, ..Scenario::benchmark(seed) }, &workload);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn what_somebody_else_forecast_is_as_wrong_as_is_asked_for() {
        let forecasts = Forecasts::read(b"t_seconds,rate\n0,100\n30,200\n60,400\n").unwrap();
        let rates = |forecast_error: ForecastError| {
            let scenario = Scenario { foretold: Arc::new(forecasts.clone()), forecast_error, ..Scenario::benchmark(1) };
            foretold(Timestamp(0), &scenario).into_iter().map(|it| it.rate.get()).collect::<Vec<_>>()
        };
        let (right, high) = (rates(ForecastError::NONE), rates(ForecastError { bias: 0.5, noise: 0.0 }));
        assert!(right.len() > 1, "{right:?}");
        assert_eq!(high, right.iter().map(|rate| 1.5 * rate).collect::<Vec<_>>());
        assert_ne!(rates(ForecastError { bias: 0.0, noise: 0.3 }), right);
    }

    #[test]
    fn so_many_times_the_load_costs_about_so_many_times_the_replicas() {
        let whole = Shape::Diurnal.published();
        let workload = Workload { rates: whole.rates.into_iter().skip(10).take(40).collect(), ..whole };
        let of = |percent| {
            let scale = Ratio::percent(percent);
            let scenario = Scenario::benchmark(1).at_scale(scale);
            keda(&scenario, &workload.scaled(scale)).replica_hours / scale.get()
        };
        let (small, one, large) = (of(10), of(100), of(1_000));
        assert!((large / one - 1.0).abs() < 0.05, "{large} and {one}");
        assert!(small > one, "replicas are whole: {small} and {one}");
        let bounds = Scenario::benchmark(1).at_scale(Ratio::percent(1_000));
        assert_eq!((bounds.bounds.max(), bounds.ramp), (Replicas(600), Some(40)));
        let bounds = Scenario::benchmark(1).at_scale(Ratio::percent(10));
        assert_eq!((bounds.bounds.max(), bounds.ramp), (Replicas(6), Some(1)));
    }
}

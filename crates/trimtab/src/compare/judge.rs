//! Judging two courses of sizes on the same demand: replica-hours, changes, starts, and windows that miss the objective.
//!
//! Misses are told by the queueing model of the core, its capacity and sharing fitted to the workload's own latency: on every second
//! window, and judged on the others. Where no latency is promised, a window is missed whose replicas carry more than a tenth above what
//! they may: that needs no model.

use super::play::Played;
use super::{Course, Moment, erlangs, rate, seconds};
use serde::Serialize;
use trimtab_core::policy::Capacity;
use trimtab_core::queue::Curve;
use trimtab_core::unit::{Ratio, Replicas, RequestsPerSecond, Seconds};
use trimtab_sim::statistics::{self, Estimate};

/// Fewer windows with a latency say nothing of a model: half an hour of half-minutes.
const FITTED: usize = 60;
/// The model may be off by this share of windows, or by half of what was measured.
const OFF: f64 = 0.005;
/// What is carried above what may be, where no latency is promised: the tolerance of the horizontal pod autoscaler.
const TOLERATED: f64 = 1.1;
/// An interval needs so many blocks of an hour.
const BLOCKS: f64 = 8.0;
/// Blocks are made of so many bins of five minutes.
const BLOCK: usize = 12;
const BIN: Seconds = Seconds::whole(300);
/// What the intervals are resampled from: figures are the same each time.
const SEED: u64 = 6;

/// One side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Side {
    /// Replicas × hours.
    pub replica_hours: f64,
    /// Changes of the size that is asked for.
    pub changes: u32,
    /// Replicas that were started by them.
    pub starts: u32,
    /// Share of windows that miss, by the model; `None` where nobody can say.
    pub misses: Option<f64>,
}

/// What is known of misses.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Misses {
    /// No latency is promised: windows that carry more than a tenth above what they may.
    Load,
    /// The model was fitted, and on what did happen it says nearly what was measured.
    Modelled {
        /// What was measured, on windows that the model was not fitted to.
        measured: f64,
        /// What the model says of them.
        model: f64,
    },
    /// Nobody can say, and why.
    Unknown(String),
}

/// Two sides on the same demand.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// What happened.
    pub theirs: Side,
    /// What would have happened.
    pub ours: Side,
    /// What is known of misses.
    pub misses: Misses,
    /// How many replicas fewer (below 0) or more on average, with the interval that holds it in 95 of 100 cases; `None` where the data are
    /// too few for one.
    pub difference: Option<Interval>,
    /// Hours that were judged.
    pub hours: f64,
    /// Hours in which nobody knows the demand: they count for neither side.
    pub blind_hours: f64,
}

/// A mean with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl From<Estimate> for Interval {
    fn from(Estimate { mean, low, high }: Estimate) -> Self {
        Self { mean, low, high }
    }
}

/// The queueing model as it fits a workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Model {
    /// What a replica serves, where it is declared.
    declared: Option<RequestsPerSecond>,
    /// Times what is declared or measured.
    factor: Ratio,
    sharing: Ratio,
    target: Seconds,
}

impl Model {
    fn rate(&self, measured: Option<RequestsPerSecond>) -> Option<RequestsPerSecond> {
        Some(self.declared.or(measured)? * self.factor)
    }

    /// The 99th percentile of so many replicas.
    pub(super) fn latency(
        &self,
        ready: Replicas,
        demand: RequestsPerSecond,
        measured: Option<RequestsPerSecond>,
    ) -> Seconds {
        let curve = self.rate(measured).and_then(|rate| Curve::new(rate, self.target, self.sharing));
        curve.map_or(Seconds::ZERO, |curve| curve.latency(erlangs(f64::from(ready.0)), demand))
    }

    /// How likely a window misses.
    fn misses(&self, ready: Replicas, demand: RequestsPerSecond, measured: Option<RequestsPerSecond>) -> Option<f64> {
        let curve = Curve::new(self.rate(measured)?, self.target, self.sharing)?;
        Some(curve.missed(ready, demand, Ratio::ONE).get())
    }
}

/// A window of the objective: means over it.
#[derive(Clone, Copy, Debug)]
struct Window {
    demand: RequestsPerSecond,
    capacity: Option<RequestsPerSecond>,
    latency: Option<Seconds>,
    theirs: Replicas,
    ours: Replicas,
}

/// The windows in which demand is known; `ours` gives the replicas of the other side, by moment.
fn windows(course: &Course, ours: &dyn Fn(usize) -> Replicas) -> Vec<Window> {
    let length = course.policy.objective.window;
    let mut windows = Vec::new();
    let mut place = 0;
    while let Some(first) = course.moments.get(place) {
        let window = first.at.window(length);
        let inside: Vec<(usize, &Moment)> = course
            .moments
            .iter()
            .enumerate()
            .skip(place)
            .take_while(|(_, moment)| moment.at.window(length) == window)
            .collect();
        place += inside.len().max(1);
        let known: Vec<(usize, &Moment)> = inside.into_iter().filter(|(_, moment)| moment.demand.is_some()).collect();
        if known.is_empty() {
            continue;
        }
        let mean = |value: &dyn Fn(usize, &Moment) -> Option<f64>| {
            let values: Vec<f64> = known.iter().filter_map(|(place, moment)| value(*place, moment)).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let replicas = |value: Option<f64>| erlangs(value.unwrap_or_default() + 1e-9).floor();
        windows.push(Window {
            demand: rate(mean(&|_, moment| moment.demand.map(RequestsPerSecond::get)).unwrap_or_default()),
            capacity: mean(&|_, moment| moment.capacity.map(RequestsPerSecond::get)).map(rate),
            latency: mean(&|_, moment| moment.latency.map(Seconds::get)).map(seconds),
            theirs: replicas(mean(&|_, moment| Some(f64::from(moment.ready.0)))),
            ours: replicas(mean(&|place, _| Some(f64::from(ours(place).0)))),
        });
    }
    windows
}

/// The model that fits the workload's own latency, with what it says of windows that it was not fitted to.
pub(super) fn fit(course: &Course) -> Result<(Model, Misses), String> {
    let objective = &course.policy.objective;
    if !objective.is_promised() {
        return Err("no latency is promised".to_owned());
    }
    let all = windows(course, &|_| Replicas(0));
    let told: Vec<&Window> = all.iter().filter(|window| window.latency.is_some() && window.theirs.0 > 0).collect();
    if told.len() < 2 * FITTED {
        return Err(format!(
            "{} windows have a latency, and {} are the least that a model can be fitted to",
            told.len(),
            2 * FITTED
        ));
    }
    let declared = match course.policy.capacity {
        Capacity::Declared(rate) => Some(rate),
        Capacity::Measured => None,
    };
    let candidates = (0..=14).flat_map(|step| (0..=8).map(move |eighth| (70 + 5 * step, eighth)));
    let models = candidates.map(|(percent, eighth)| Model {
        declared,
        factor: Ratio::percent(percent),
        sharing: Ratio::permille(125 * eighth),
        target: objective.latency,
    });
    let error = |model: &Model| -> f64 { told.iter().step_by(2).map(|window| off(model, window)).sum() };
    let best = models.map(|model| (error(&model), model)).min_by(|(one, _), (other, _)| one.total_cmp(other));
    let Some((_, model)) = best else { return Err("there is no model".to_owned()) };
    let others: Vec<&&Window> = told.iter().skip(1).step_by(2).collect();
    let count = others.len() as f64;
    let measured =
        others.iter().filter(|window| window.latency.is_some_and(|latency| latency > objective.latency)).count() as f64
            / count;
    let said =
        others.iter().filter_map(|window| model.misses(window.theirs, window.demand, window.capacity)).sum::<f64>()
            / count;
    if (said - measured).abs() > OFF.max(measured / 2.0) {
        return Err(format!(
            "on what did happen the model says {:.2} % where {:.2} % was measured: it does not fit this workload",
            100.0 * said,
            100.0 * measured
        ));
    }
    Ok((model, Misses::Modelled { measured, model: said }))
}

/// How far the model is from a window's latency: the square of the logarithm, so that twice and half are as far; bounded, since an odd
/// window is no evidence against a model of all others.
fn off(model: &Model, window: &Window) -> f64 {
    let seen = window.latency.map_or(0.0, Seconds::get).max(1e-4);
    let said = model.latency(window.theirs, window.demand, window.capacity).get().max(1e-4);
    (seen / said).ln().powi(2).min(1.0)
}

/// Judges what happened and what was played.
pub(super) fn judge(course: &Course, played: &[Played], fitted: &Result<(Model, Misses), String>) -> Judgement {
    let mut theirs = side(course, &|place| course.moments.get(place).map_or(Replicas(0), |moment| moment.wanted));
    let mut ours = side(course, &|place| played.get(place).map_or(Replicas(0), |played| played.wanted));
    let all = windows(course, &|place| played.get(place).map_or(Replicas(0), |played| played.ready));
    let misses = match fitted {
        Ok((model, said)) => {
            let share = |replicas: &dyn Fn(&Window) -> Replicas| {
                let missed =
                    all.iter().filter_map(|window| model.misses(replicas(window), window.demand, window.capacity));
                Some(missed.sum::<f64>() / all.len().max(1) as f64)
            };
            theirs.misses = share(&|window| window.theirs);
            ours.misses = share(&|window| window.ours);
            said.clone()
        }
        Err(_) if !course.policy.objective.is_promised() => {
            let share = |replicas: &dyn Fn(&Window) -> Replicas| {
                let known: Vec<bool> =
                    all.iter().filter_map(|window| overloaded(course, window, replicas(window))).collect();
                (!known.is_empty()).then(|| known.iter().filter(|over| **over).count() as f64 / known.len() as f64)
            };
            theirs.misses = share(&|window| window.theirs);
            ours.misses = share(&|window| window.ours);
            Misses::Load
        }
        Err(why) => Misses::Unknown(why.clone()),
    };
    let hours = |known: bool| -> f64 {
        let moments = course.moments.iter().enumerate().filter(|(_, moment)| moment.demand.is_some() == known);
        moments.map(|(place, _)| course.lasts(place).get()).fold(0.0, |sum, lasts| sum + lasts) / 3_600.0
    };
    Judgement {
        theirs,
        ours,
        misses,
        difference: difference(course, played),
        hours: hours(true),
        blind_hours: hours(false),
    }
}

fn overloaded(course: &Course, window: &Window, replicas: Replicas) -> Option<bool> {
    let rate = match course.policy.capacity {
        Capacity::Declared(rate) => Some(rate),
        Capacity::Measured => window.capacity,
    };
    Some(window.demand.get() > (rate? * replicas).get() * TOLERATED)
}

fn side(course: &Course, wanted: &dyn Fn(usize) -> Replicas) -> Side {
    let mut side = Side::default();
    for (place, moment) in course.moments.iter().enumerate() {
        if moment.demand.is_some() {
            side.replica_hours += f64::from(wanted(place).0) * course.lasts(place).get() / 3_600.0;
        }
        if place > 0 {
            let (before, now) = (wanted(place - 1).0, wanted(place).0);
            side.changes += u32::from(before != now);
            side.starts += now.saturating_sub(before);
        }
    }
    side
}

/// The mean difference in replicas with its interval, by blocks of an hour, whose demands hardly resemble each other any more.
fn difference(course: &Course, played: &[Played]) -> Option<Interval> {
    let mut bins: Vec<(i64, f64, f64)> = Vec::new();
    for (place, (moment, ours)) in course.moments.iter().zip(played).enumerate() {
        if moment.demand.is_none() {
            continue;
        }
        let lasts = course.lasts(place).get();
        let apart = (f64::from(ours.wanted.0) - f64::from(moment.wanted.0)) * lasts;
        let bin = moment.at.begins(BIN).0;
        match bins.last_mut().filter(|(last, ..)| *last == bin) {
            Some((_, sum, time)) => (*sum, *time) = (*sum + apart, *time + lasts),
            None => bins.push((bin, apart, lasts)),
        }
    }
    let means: Vec<f64> = bins.iter().filter(|(_, _, time)| *time > 0.0).map(|(_, sum, time)| sum / time).collect();
    if (means.len() as f64) < BLOCKS * BLOCK as f64 {
        return None;
    }
    statistics::blocks(&means, BLOCK, SEED).map(Interval::from)
}

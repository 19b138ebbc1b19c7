//! The course of a workload, read from the journal: every figure is one that was decided on, taken again from its record.
//!
//! Thinned to what a screen shows: of each stretch the last record, those with the most demand and the longest latency, and every change
//! remain, so that neither a peak nor a miss is thinned away. Points that follow live are made by the same function.

use crate::explain;
use crate::words::chain;
use serde::Serialize;
use std::collections::VecDeque;
use std::path::Path;
use trimtab_core::plan::Plan;
use trimtab_core::unit::{Ratio, RequestsPerSecond, Seconds, Timestamp};
use trimtab_core::{Decision, Policy, Snapshot, Verb};
use trimtab_journal::Reader;

/// Stretches that a course is thinned to: one for every other pixel of a wide screen.
const STRETCHES: usize = 600;
/// Records of one course at most: a day at the quickest. Older ones are left out, and the answer says so.
const RECORDS: usize = 100_000;

/// What was seen and decided at one moment. What is not known is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Point {
    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) at: Timestamp,
    /// Requests a second.
    pub(crate) demand: Option<f64>,
    /// The forecast at the lead time: median, and the edge that 90 of 100 are below.
    pub(crate) median: Option<f64>,
    pub(crate) upper: Option<f64>,
    /// Seconds from `at` to the moment that these are about.
    pub(crate) ahead: f64,
    /// What one replica serves, requests a second.
    pub(crate) per_replica: Option<f64>,
    pub(crate) desired: u32,
    pub(crate) ready: u32,
    pub(crate) starting: u32,
    pub(crate) decided: u32,
    /// Before limits.
    pub(crate) needed: Option<u32>,
    /// Seconds.
    pub(crate) latency: Option<f64>,
    pub(crate) target: f64,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) verb: Verb,
    pub(crate) code: &'static str,
    pub(crate) because: String,
    /// Replica-hours that were asked for and that trimtab decided, since the first point of the span.
    pub(crate) asked_hours: f64,
    pub(crate) decided_hours: f64,
    /// A window of the objective.
    #[serde(skip)]
    window: Seconds,
}

impl Point {
    pub(crate) fn of(policy: &Policy, snapshot: &Snapshot, decision: &Decision) -> Self {
        let forecast = decision.forecast.as_ref();
        Self {
            at: decision.at,
            demand: super::rows::known(&decision.demand).map(RequestsPerSecond::get),
            median: forecast.map(|forecast| forecast.median.get()),
            upper: forecast.map(|forecast| forecast.upper.get()),
            ahead: forecast.map_or(decision.lead.total(), |forecast| forecast.horizon).get(),
            per_replica: decision.capacity.rate().map(RequestsPerSecond::get),
            desired: snapshot.fleet.desired.0,
            ready: snapshot.fleet.ready.0,
            starting: snapshot.fleet.starting.0,
            decided: decision.to.0,
            needed: decision.plan.as_ref().map(|plan: &Plan| plan.replicas.0),
            latency: snapshot.latency.fresh().map(Seconds::get),
            target: policy.objective.latency.get(),
            min: policy.replicas.min().0,
            max: policy.replicas.max().0,
            verb: decision.verb,
            code: decision.reason.code(),
            because: explain::because(decision),
            asked_hours: 0.0,
            decided_hours: 0.0,
            window: policy.objective.window,
        }
    }

    /// Whether it differs from the one before in what people look for.
    fn differs(&self, before: &Self) -> bool {
        (self.verb, self.decided, self.code) != (before.verb, before.decided, before.code)
    }
}

/// A change: the outcome or its reason is another one than before.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Changed {
    pub(crate) at: Timestamp,
    pub(crate) verb: Verb,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) because: String,
}

/// The course of a workload.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Series {
    schema: &'static str,
    pub(crate) workload: String,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    /// Records behind it.
    pub(crate) records: usize,
    /// Whether older ones of the span were left out.
    pub(crate) cut: bool,
    /// Windows of the objective whose latency is known, those above the target, and the share that the policy allows.
    pub(crate) windows: usize,
    pub(crate) missed: usize,
    pub(crate) allowed: Option<Ratio>,
    /// Share of forecasts whose upper edge the demand stayed below; 0.9 is what is meant.
    pub(crate) covered: Option<f64>,
    /// Hours of replicas that were asked for, and that trimtab decided.
    pub(crate) replica_hours: f64,
    pub(crate) decided_hours: f64,
    pub(crate) points: Vec<Point>,
    /// Newest first.
    pub(crate) changes: Vec<Changed>,
}

/// Reads a course.
///
/// # Errors
/// Where the journal cannot be read: why.
pub(crate) fn read(journal: &Path, workload: &str, from: Timestamp, until: Timestamp) -> Result<Series, String> {
    let reader = Reader::open(journal).map_err(|error| chain(&error))?;
    let mut points = Newest::of(RECORDS);
    let mut allowed = None;
    let records = reader.records(workload, from..=until).map_err(|error| chain(&error))?;
    for record in records.decided() {
        // What follows from a damaged record is not known; what stands on its own comes again.
        let Ok((stored, decision)) = record else { continue };
        allowed = Some(stored.policy.objective.misses);
        points.push(Point::of(&stored.policy, &stored.snapshot, &decision));
    }
    Ok(summed_up(workload, (from, until), points.kept.into(), allowed, points.cut))
}

/// The newest of what is pushed: the oldest goes as soon as there is one too many, so that a long span needs no more memory than a short one.
#[derive(Debug)]
struct Newest<T> {
    kept: VecDeque<T>,
    most: usize,
    /// Whether any had to go.
    cut: bool,
}

impl<T> Newest<T> {
    fn of(most: usize) -> Self {
        Self { kept: VecDeque::new(), most, cut: false }
    }

    fn push(&mut self, one: T) {
        self.kept.push_back(one);
        if self.kept.len() > self.most {
            self.kept.pop_front();
            self.cut = true;
        }
    }
}

fn summed_up(
    workload: &str,
    (from, until): (Timestamp, Timestamp),
    mut points: Vec<Point>,
    allowed: Option<Ratio>,
    cut: bool,
) -> Series {
    let (windows, missed) = windows(&points);
    let (replica_hours, decided_hours) = add_up(&mut points);
    let mut changes: Vec<Changed> = Vec::new();
    let mut before: Option<&Point> = None;
    for point in &points {
        if before.is_none_or(|before| point.differs(before)) {
            let (verb, because) = (point.verb, point.because.clone());
            changes.push(Changed { at: point.at, verb, from: point.desired, to: point.decided, because });
        }
        before = Some(point);
    }
    changes.reverse();
    changes.truncate(200);
    Series {
        schema: "trimtab.dev/series/v1",
        workload: workload.to_owned(),
        from,
        until,
        records: points.len(),
        cut,
        windows,
        missed,
        allowed,
        covered: covered(&points),
        replica_hours,
        decided_hours,
        points: thinned(points),
        changes,
    }
}

/// Says at each point how many replica-hours there were until then, and gives the last of it.
fn add_up(points: &mut [Point]) -> (f64, f64) {
    let (mut asked, mut decided) = (0.0, 0.0);
    let mut before: Option<(Timestamp, u32, u32)> = None;
    for point in points {
        if let Some((at, desired, would)) = before {
            let hours = point.at.since(at).min(Seconds::whole(60)).get() / 3600.0;
            asked += f64::from(desired) * hours;
            decided += f64::from(would) * hours;
        }
        (point.asked_hours, point.decided_hours) = (asked, decided);
        before = Some((point.at, point.desired, point.decided));
    }
    (asked, decided)
}

/// Windows of the objective with a known latency, and those in which it was above its target at some look.
fn windows(points: &[Point]) -> (usize, usize) {
    let windows = points.chunk_by(|one, next| one.at.window(one.window) == next.at.window(one.window));
    windows.fold((0, 0), |(windows, missed), window| {
        let known = window.iter().any(|point| point.latency.is_some());
        let above = window.iter().any(|point| point.latency.is_some_and(|latency| latency > point.target));
        (windows + usize::from(known), missed + usize::from(above))
    })
}

/// Of the forecasts whose moment has come, the share that demand stayed below.
fn covered(points: &[Point]) -> Option<f64> {
    let (mut kept, mut all, mut then) = (0_usize, 0_usize, 0);
    for point in points {
        let (Some(upper), Some(meant)) = (point.upper, Seconds::new(point.ahead)) else { continue };
        let when = point.at.after(meant);
        while points.get(then).is_some_and(|later| later.at < when) {
            then += 1;
        }
        // Only where somebody looked at about that time.
        let Some(later) = points.get(then).filter(|later| later.at.since(when) < Seconds::whole(30)) else { continue };
        if let Some(demand) = later.demand {
            all += 1;
            kept += usize::from(demand <= upper);
        }
    }
    (all > 0).then(|| kept as f64 / all as f64)
}

fn thinned(points: Vec<Point>) -> Vec<Point> {
    let size = points.len().div_ceil(STRETCHES);
    if size <= 1 {
        return points;
    }
    let mut kept = vec![false; points.len()];
    for (number, stretch) in points.chunks(size).enumerate() {
        let first = number * size;
        let most = |of: &dyn Fn(&Point) -> Option<f64>| {
            let known = stretch.iter().enumerate().filter_map(|(place, point)| Some((place, of(point)?)));
            known.max_by(|one, other| one.1.total_cmp(&other.1)).map_or(stretch.len() - 1, |(place, _)| place)
        };
        for place in [stretch.len() - 1, most(&|point| point.demand), most(&|point| point.latency)] {
            if let Some(kept) = kept.get_mut(first + place) {
                *kept = true;
            }
        }
    }
    let mut before: Option<(u32, u32)> = None;
    for (point, kept) in points.iter().zip(&mut kept) {
        let now = (point.decided, point.ready);
        *kept |= before.replace(now).is_some_and(|before| before != now);
    }
    points.into_iter().zip(kept).filter_map(|(point, kept)| kept.then_some(point)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(second: i64, demand: f64, latency: f64, decided: u32) -> Point {
        Point {
            at: Timestamp(second * 1_000),
            demand: Some(demand),
            median: Some(demand),
            upper: Some(demand + 10.0),
            ahead: 30.0,
            per_replica: Some(50.0),
            desired: decided,
            ready: decided,
            starting: 0,
            decided,
            needed: Some(decided),
            latency: Some(latency),
            target: 0.2,
            min: 1,
            max: 9,
            verb: Verb::Hold,
            code: "TT-R10",
            because: String::new(),
            asked_hours: 0.0,
            decided_hours: 0.0,
            window: Seconds::whole(30),
        }
    }

    #[test]
    fn no_more_than_the_newest_are_held_at_any_time() {
        let mut newest = Newest::of(3);
        for number in 0..5 {
            assert_eq!(newest.cut, number > 3);
            newest.push(number);
            assert!(newest.kept.len() <= 3);
        }
        assert_eq!((Vec::from(newest.kept), newest.cut), (vec![2, 3, 4], true));
    }

    #[test]
    fn thinning_keeps_peaks_misses_and_changes() {
        let mut points: Vec<Point> = (0..10_000).map(|second| point(second, 100.0, 0.1, 4)).collect();
        points[5_003].demand = Some(900.0);
        points[7_001].latency = Some(2.0);
        for point in &mut points[9_001..] {
            point.decided = 5;
        }
        let series = summed_up("w", (Timestamp(0), Timestamp(0)), points, None, false);
        assert!(series.points.len() < 2_000, "{}", series.points.len());
        assert!(series.points.iter().any(|point| point.demand == Some(900.0)));
        assert!(series.points.iter().any(|point| point.latency == Some(2.0)));
        assert!(series.points.iter().any(|point| point.at == Timestamp(9_001_000)));
        assert_eq!((series.windows, series.missed, series.changes.len()), (335, 1, 2));
        let last = series.points.last().unwrap();
        assert!((last.asked_hours - series.replica_hours).abs() < 1e-9, "what is thinned is no less");
        assert!((series.replica_hours - 4.0 * 9_999.0 / 3_600.0).abs() < 0.1, "{}", series.replica_hours);
    }

    #[test]
    fn a_window_is_as_long_as_the_objective_says() {
        let minutes = |point: Point| Point { window: Seconds::whole(60), ..point };
        let points: Vec<Point> = (0..600).map(|second| minutes(point(second, 100.0, 0.1, 4))).collect();
        let series = summed_up("w", (Timestamp(0), Timestamp(0)), points, None, false);
        assert!((10..=11).contains(&series.windows), "{}", series.windows);
    }

    #[test]
    fn a_forecast_is_judged_at_the_moment_that_it_is_about() {
        // Demand rises by 1 a second: 30 s later it is 30 higher, which is 20 above the edge.
        let rising: Vec<Point> = (0..100).map(|second| point(second, second as f64, 0.1, 4)).collect();
        assert_eq!(covered(&rising), Some(0.0));
        let steady: Vec<Point> = (0..100).map(|second| point(second, 100.0, 0.1, 4)).collect();
        assert_eq!(covered(&steady), Some(1.0));
        assert_eq!(covered(&[]), None);
    }
}

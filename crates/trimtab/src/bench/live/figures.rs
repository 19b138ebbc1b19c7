//! What a live run comes to, measured and predicted alike.

use super::record::{End, Fleet, Record, Request};

/// The windows of the objective, seconds.
pub(super) const WINDOW: f64 = 30.0;
/// A window whose 99th percentile of the generator's own lateness is above this says more of the machine than of who was in charge:
/// a tenth of the objective.
const DISTURBED: f64 = 0.02;
/// Demand that rises by half within ten seconds is a step.
const STEP: (f64, f64) = (1.5, 10.0);

/// What came of a run, or would come of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    /// Seconds.
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    /// Windows that missed the objective, and all of them.
    pub(super) missed: u32,
    pub(super) windows: u32,
    /// Share of the requests that took longer than promised or were not served at all.
    pub(super) late: f64,
    /// Share of the requests that were not served: refused, timed out or lost.
    pub(super) unserved: f64,
    /// Requests whose connection broke or that found nobody.
    pub(super) lost: u64,
    /// Hours of replicas that were asked for, that were there, and that were ready.
    pub(super) desired_hours: f64,
    pub(super) pod_hours: f64,
    pub(super) ready_hours: f64,
    /// Hours that a trimtab which only watched would have asked for.
    pub(super) said_hours: Option<f64>,
    pub(super) churn: u32,
    /// Seconds from the first step in demand to the first size that was written, and until as many were ready as it needs.
    pub(super) to_write: Option<f64>,
    pub(super) to_ready: Option<f64>,
    /// Windows in which the generator itself was late.
    pub(super) disturbed: u32,
}

impl Figures {
    /// Of a recorded run. `enough` says how many replicas a rate needs.
    pub(super) fn of(record: &Record, enough: &dyn Fn(f64) -> u32) -> Self {
        let (begins, ends) = (record.run.warm_up, record.run.ends);
        let graded: Vec<Request> =
            record.requests.iter().filter(|request| (begins..ends).contains(&request.due)).copied().collect();
        let served = |request: &&Request| request.end == End::Served;
        let mut latencies: Vec<f64> = graded.iter().filter(served).map(|request| request.latency).collect();
        latencies.sort_by(f64::total_cmp);
        let count = |wanted: &dyn Fn(&Request) -> bool| graded.iter().filter(|request| wanted(request)).count() as f64;
        let slow = |request: &Request| request.end != End::Served || request.latency > record.run.slo;
        let all = (graded.len() as f64).max(1.0);
        let mut figures = Self {
            p50: quantile(&latencies, 0.5),
            p95: quantile(&latencies, 0.95),
            p99: quantile(&latencies, 0.99),
            late: count(&slow) / all,
            unserved: count(&|request| request.end != End::Served) / all,
            lost: graded.iter().filter(|request| request.end == End::Lost).count() as u64,
            ..Self::default()
        };
        let mut from = begins;
        while from + WINDOW <= ends + 0.5 {
            let window = || graded.iter().filter(|request| (from..from + WINDOW).contains(&request.due));
            let requests = window().count();
            let mut lateness: Vec<f64> = window().map(|request| request.late).collect();
            lateness.sort_by(f64::total_cmp);
            figures.windows += 1;
            figures.missed += u32::from(window().filter(|request| slow(request)).count() > requests / 100);
            figures.disturbed += u32::from(quantile(&lateness, 0.99) > DISTURBED);
            from += WINDOW;
        }
        figures.with_fleet(record, &record.fleet, &record.writes, enough)
    }

    /// With what is known from the course of the fleet.
    pub(super) fn with_fleet(
        self,
        record: &Record,
        fleet: &[Fleet],
        writes: &[f64],
        enough: &dyn Fn(f64) -> u32,
    ) -> Self {
        let (begins, ends) = (record.run.warm_up, record.run.ends);
        let hours = |of: &dyn Fn(&Fleet) -> f64| {
            // A sample stands until the next one.
            let spans = fleet.iter().zip(fleet.iter().skip(1).map(|next| next.at).chain([ends]));
            let sum: f64 = spans.map(|(it, until)| of(it) * (until.min(ends) - it.at.max(begins)).max(0.0)).sum();
            sum / 3600.0
        };
        let inside: Vec<&Fleet> = fleet.iter().filter(|it| (begins..ends).contains(&it.at)).collect();
        let churn = inside.windows(2).filter_map(|pair| match pair {
            [one, next] => Some(one.desired.abs_diff(next.desired)),
            _ => None,
        });
        let said = inside.iter().any(|it| it.said.is_some());
        let step = step(record);
        let to_write = step.and_then(|(at, _)| writes.iter().find(|write| **write > at).map(|write| write - at));
        let to_ready = step.and_then(|(at, rate)| {
            let needed = enough(rate);
            fleet.iter().find(|it| it.at > at && it.ready >= needed).map(|it| it.at - at)
        });
        Self {
            desired_hours: hours(&|it| f64::from(it.desired)),
            pod_hours: hours(&|it| f64::from(it.pods)),
            ready_hours: hours(&|it| f64::from(it.ready)),
            said_hours: said.then(|| hours(&|it| f64::from(it.said.unwrap_or(it.desired)))),
            churn: churn.sum(),
            to_write,
            to_ready,
            ..self
        }
    }

    /// Share of the windows that missed the objective.
    pub(super) fn missed_share(&self) -> f64 {
        f64::from(self.missed) / f64::from(self.windows.max(1))
    }
}

/// The first step in demand of a trace after the warm-up: when, and the rate that it leads to.
pub(super) fn step(record: &Record) -> Option<(f64, f64)> {
    let (least, within) = STEP;
    let mut points = record.trace.iter().filter(|(at, _)| *at >= record.run.warm_up);
    points.find_map(|(at, _)| {
        let before = record.rate(at - 0.001);
        let after = record.trace.iter().filter(|(then, _)| (*at..=at + within).contains(then));
        let highest = after.map(|(_, rate)| *rate).fold(0.0, f64::max);
        let jumps = record.rate(*at) > 1.1 * before;
        (before > 0.0 && jumps && highest >= least * before).then_some((*at, highest))
    })
}

/// By nearest rank, of numbers in order; 0 of none.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the list")]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

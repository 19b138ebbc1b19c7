//! What if: the recorded demand of a workload once more, on a simulated service, with another policy; asked by the sliders of a page and by
//! `trimtab explain --what-if`.
//!
//! Both the policy as it is and the one that is asked about are played by [`trimtab_sim`] on the very same requests, so that the difference
//! between them is the policy's alone; what was measured stands beside it, because a simulated service is not the real one: one queue before
//! all replicas, exponential needs, a replica serves what was believed of it.

use crate::explain::number;
use crate::words::chain;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::path::Path;
use trimtab_core::Policy;
use trimtab_core::policy::{Bounds, Objective};
use trimtab_core::unit::{Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_journal::Reader;
use trimtab_sim::law::{Law, Startup};
use trimtab_sim::run::{self, Scenario, Score};
use trimtab_sim::workload::Workload;

/// Half-minutes that are played at most: six hours take about a second.
const MOST: usize = 720;
/// What they last.
pub(crate) const LONGEST: Seconds = Seconds::whole(21_600);
const HALF_MINUTE: Seconds = Seconds::whole(30);

/// What is asked; what is left out is as recorded.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Asked {
    pub(crate) min: Option<u32>,
    pub(crate) max: Option<u32>,
    /// Milliseconds.
    pub(crate) slo_ms: Option<u32>,
    /// Seconds from ordering a replica to its serving.
    pub(crate) startup_s: Option<u32>,
    /// The span, milliseconds since 1970: without it the last six hours, which are played at most.
    pub(crate) from: Option<i64>,
    pub(crate) until: Option<i64>,
}

/// What comes of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Answer {
    schema: String,
    /// Hours of recorded demand that were played.
    pub(crate) hours: f64,
    pub(crate) recorded: Setting,
    pub(crate) asked: Setting,
    /// Simulated, with the policy as it is.
    pub(crate) as_is: Outcome,
    /// Simulated, with what is asked.
    pub(crate) then: Outcome,
}

/// A policy, as far as it can be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Setting {
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) slo_ms: f64,
    pub(crate) startup_s: f64,
}

/// What came of a simulated run.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Outcome {
    pub(crate) windows: u64,
    pub(crate) missed: u64,
    pub(crate) replica_hours: f64,
    pub(crate) churn: u64,
    /// Most replicas at the end of a half-minute.
    pub(crate) most: u32,
}

impl Outcome {
    fn of(score: &Score) -> Self {
        Self {
            windows: score.intervals,
            missed: score.violations,
            replica_hours: score.replica_hours,
            churn: score.churn,
            most: score.rows.iter().map(|row| row.replicas).max().unwrap_or_default(),
        }
    }
}

impl Asked {
    /// The same, as an address has it.
    pub(crate) fn query(&self) -> String {
        let part = |name: &str, value: Option<i64>| value.map(|value| format!("{name}={value}"));
        let parts = [
            part("min", self.min.map(i64::from)),
            part("max", self.max.map(i64::from)),
            part("slo_ms", self.slo_ms.map(i64::from)),
            part("startup_s", self.startup_s.map(i64::from)),
            part("from", self.from),
            part("until", self.until),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("&")
    }

    /// The span that is played, where the last record, or now, is `until`.
    pub(crate) fn span(&self, until: Timestamp) -> RangeInclusive<Timestamp> {
        let until = self.until.map_or(until, Timestamp);
        self.from.map_or_else(|| super::before(until, LONGEST), Timestamp)..=until
    }
}

impl Answer {
    /// For a terminal: what changes, and what comes of it.
    pub(crate) fn text(&self, workload: &str) -> String {
        let Self { recorded, asked, as_is, then, .. } = self;
        let changed = [
            (recorded.min != asked.min).then(|| format!("min {} (is {})", asked.min, recorded.min)),
            (recorded.max != asked.max).then(|| format!("max {} (is {})", asked.max, recorded.max)),
            differs(recorded.slo_ms, asked.slo_ms)
                .then(|| format!("p99 below {:.0} ms (is {:.0} ms)", asked.slo_ms, recorded.slo_ms)),
            differs(recorded.startup_s, asked.startup_s)
                .then(|| format!("start-up {:.0} s (is {:.0} s)", asked.startup_s, recorded.startup_s)),
        ];
        let changed: Vec<String> = changed.into_iter().flatten().collect();
        let changed = if changed.is_empty() { "nothing were different".to_owned() } else { changed.join(", ") };
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(["", "AS IT IS", "THEN", "DIFFERENCE"]);
        let rows: [(&str, f64, f64); 4] = [
            ("missed half-minutes", as_is.missed as f64, then.missed as f64),
            ("replica-hours", as_is.replica_hours, then.replica_hours),
            ("replicas added and removed", as_is.churn as f64, then.churn as f64),
            ("most replicas", f64::from(as_is.most), f64::from(then.most)),
        ];
        for (name, is, then) in rows {
            let difference = match then - is {
                more if more.abs() < 1e-9 => "none".to_owned(),
                more if more > 0.0 => format!("+{}", number(more)),
                more => format!("-{}", number(-more)),
            };
            table.add_row([name.to_owned(), number(is), number(then), difference]);
        }
        let table: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        let table = table.join("\n");
        format!(
            "{workload}: what if {changed}?\nThe recorded demand once more, simulated: {} h, {} half-minutes, the same requests for both\n\n{table}\n\n\
             A simulated service is not the real one: one queue before all replicas, each serving what was believed of it. Nothing was written.\n",
            number(self.hours),
            then.windows
        )
    }
}

fn differs(one: f64, other: f64) -> bool {
    (one - other).abs() > 1e-6
}

/// What was recorded, as far as it is played again.
#[derive(Clone, Debug)]
struct Recorded {
    policy: Policy,
    capacity: RequestsPerSecond,
    startup: Seconds,
    demand: Workload,
}

/// Plays the recorded demand of a span again.
///
/// # Errors
/// Where it cannot be: why, in words for whoever asked.
pub(crate) fn answer(
    journal: &Path,
    workload: &str,
    asked: Asked,
    span: RangeInclusive<Timestamp>,
) -> Result<Answer, String> {
    let recorded = recorded(journal, workload, span)?;
    let bounds = recorded.policy.replicas;
    let min = asked.min.unwrap_or(bounds.min().0);
    let max = asked.max.unwrap_or(bounds.max().0);
    let Some(then) = Bounds::new(Replicas(min), Replicas(max)).filter(|bounds| bounds.max() <= Replicas(1_000)) else {
        return Err(format!("expected 1 <= min <= max <= 1000, not min {min} and max {max}"));
    };
    let of = |bounds: Bounds, latency: Seconds, startup: Seconds| Setting {
        min: bounds.min().0,
        max: bounds.max().0,
        slo_ms: 1000.0 * latency.get(),
        startup_s: startup.get(),
    };
    let target = recorded.policy.objective.latency;
    let latency = asked.slo_ms.map_or(target, Seconds::milliseconds);
    let startup = asked.startup_s.map_or(recorded.startup, Seconds::whole);
    Ok(Answer {
        schema: "trimtab.dev/what-if/v1".into(),
        hours: recorded.demand.rates.len() as f64 / 120.0,
        recorded: of(bounds, target, recorded.startup),
        asked: of(then, latency, startup),
        as_is: play(&recorded, bounds, target, recorded.startup),
        then: play(&recorded, then, latency, startup),
    })
}

fn recorded(journal: &Path, workload: &str, span: RangeInclusive<Timestamp>) -> Result<Recorded, String> {
    let reader = Reader::open(journal).map_err(|error| chain(&error))?;
    let mut rates: Vec<(Timestamp, RequestsPerSecond)> = Vec::new();
    let mut last = None;
    for record in reader.records(workload, span).map_err(|error| chain(&error))?.decided() {
        let Ok((stored, decision)) = record else { continue };
        if let Some(rate) = super::rows::known(&decision.demand) {
            rates.push((stored.at, rate));
        }
        last = Some((stored.policy, decision.capacity.rate(), decision.lead.startup));
    }
    let Some((policy, capacity, startup)) = last else {
        return Err(format!("the journal has no decision of {workload} in that span"));
    };
    let Some(capacity) = capacity.filter(|rate| *rate > RequestsPerSecond::ZERO) else {
        return Err("what a replica serves is not known, so that nothing can be simulated".into());
    };
    let rates = by_half_minute(&rates);
    if rates.len() < 2 {
        return Err("fewer than two half-minutes of demand are recorded in that span: come back in a minute".into());
    }
    let skip = rates.len().saturating_sub(MOST);
    let demand = Workload { season: 0, history: Vec::new(), rates: rates.into_iter().skip(skip).collect() };
    Ok(Recorded { policy, capacity, startup, demand })
}

/// The mean of each half-minute; one without a reading is as the one before.
fn by_half_minute(rates: &[(Timestamp, RequestsPerSecond)]) -> Vec<RequestsPerSecond> {
    let mut means: Vec<RequestsPerSecond> = Vec::new();
    let mut next = None;
    for chunk in rates.chunk_by(|one, other| one.0.window(HALF_MINUTE) == other.0.window(HALF_MINUTE)) {
        let Some((at, _)) = chunk.first() else { continue };
        let window = at.window(HALF_MINUTE).0;
        if let (Some(expected), Some(before)) = (next, means.last().copied()) {
            let gap = usize::try_from(window - expected).unwrap_or_default().min(MOST);
            means.extend(std::iter::repeat_n(before, gap));
        }
        let mean = chunk.iter().map(|(_, rate)| rate.get()).sum::<f64>() / chunk.len() as f64;
        means.push(RequestsPerSecond::new(mean).unwrap_or_default());
        next = Some(window + 1);
    }
    means
}

fn play(recorded: &Recorded, bounds: Bounds, latency: Seconds, startup: Seconds) -> Outcome {
    let law =
        Law { capacity: recorded.capacity, startup: Startup::Fixed(startup), target: latency, ..Law::benchmark(1) };
    let ramp = recorded.policy.ramp.map(|most| most.0);
    let scenario = Scenario { law, bounds, ramp, ..Scenario::benchmark(1) };
    let policy = Policy {
        replicas: bounds,
        objective: Objective { latency, ..recorded.policy.objective },
        capacity: trimtab_core::policy::Capacity::Declared(recorded.capacity),
        // What was downstream then is not played again, and simulated time knows no dates.
        protect: Vec::new(),
        events: Vec::new(),
        ..recorded.policy.clone()
    };
    let mut controller = run::trimtab(policy, &recorded.demand, |_, _, _| {});
    Outcome::of(&run::run(&recorded.demand, &scenario, &mut controller))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_was_asked_and_what_differs() {
        let recorded = Setting { min: 2, max: 40, slo_ms: 200.0, startup_s: 30.0 };
        let as_is = Outcome { windows: 720, missed: 3, replica_hours: 41.25, churn: 90, most: 12 };
        let answer = Answer {
            schema: String::new(),
            hours: 6.0,
            recorded,
            asked: Setting { slo_ms: 150.0, ..recorded },
            as_is,
            then: Outcome { missed: 1, replica_hours: 44.0, ..as_is },
        };
        let text = answer.text("shop/deployment/checkout");
        assert!(text.starts_with("shop/deployment/checkout: what if p99 below 150 ms (is 200 ms)?\n"), "{text}");
        for row in
            ["missed half-minutes         3         1     -2", "most replicas               12        12    none"]
        {
            assert!(text.contains(row), "{row} in:\n{text}");
        }
        let asked = Asked { slo_ms: Some(150), until: Some(7), ..Asked::default() };
        assert_eq!(asked.query(), "slo_ms=150&until=7");
        let hours = asked.span(Timestamp(99));
        assert_eq!((hours.end().since(*hours.start()), *hours.end()), (LONGEST, Timestamp(7)));
    }

    #[test]
    fn a_gap_is_filled_with_what_was_before() {
        let at = |half_minute: i64, rate| (Timestamp(half_minute * 30_000 + 1), RequestsPerSecond::whole(rate));
        let means = by_half_minute(&[at(0, 10), at(0, 20), at(1, 30), at(4, 50)]);
        assert_eq!(means, [15, 30, 30, 30, 50].map(RequestsPerSecond::whole));
    }
}

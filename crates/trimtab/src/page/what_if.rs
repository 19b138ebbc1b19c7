//! What if: the recorded demand of a workload once more, on a simulated service, with another policy; asked by the sliders of a page and by
//! `trimtab explain --what-if`.
//!
//! Both the policy as it is and the one that is asked about are played by [`trimtab_sim`] on the very same requests, so that the difference
//! between them is the policy's alone; what was measured stands beside it, because a simulated service is not the real one: one queue before
//! all replicas, exponential needs, a replica serves what was believed of it.
//!
//! What is played is bounded in time and in requests, so that no question keeps an agent busy for long: the newest part of what was asked for
//! is played, and the answer says what was left out.

use crate::explain::number;
use crate::progress::Progress;
use crate::serve::listing;
use crate::words::chain;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::path::Path;
use trimtab_core::Policy;
use trimtab_core::policy::{Bounds, Objective};
use trimtab_core::unit::{Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_journal::Reader;
use trimtab_sim::law::{Law, Startup};
use trimtab_sim::run::{self, Look, Scenario, Score};
use trimtab_sim::workload::Workload;

/// Half-minutes that are played at most.
const MOST: usize = 720;
/// Requests that are played at most, each twice: a second or two of one core.
const MOST_REQUESTS: f64 = 5_000_000.0;
/// Whoever waits for so long has gone: nothing else bounds the queue of a size that is far too small.
const PATIENCE: Seconds = Seconds::whole(30);
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
    /// What of the span was not played, and why, for people; nothing where all of it was.
    #[serde(default)]
    pub(crate) left_out: Option<String>,
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
    /// Requests that were simulated.
    #[serde(default)]
    pub(crate) requests: u64,
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
            requests: score.requests,
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

    /// The span that is asked about, where the last record, or now, is `until`.
    pub(crate) fn span(&self, until: Timestamp) -> RangeInclusive<Timestamp> {
        let until = self.until.map_or(until, Timestamp);
        self.from.map_or_else(|| super::before(until, LONGEST), Timestamp)..=until
    }
}

/// Why there is no answer, in words for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing of that name was ever decided.
    Unknown(String),
    /// It cannot be played, or not like this.
    Unable(String),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Unable(why)
    }
}

impl Answer {
    /// For a terminal: what changes, and what comes of it.
    pub(crate) fn text(&self, workload: &str) -> String {
        let Self { recorded, asked, as_is, then, left_out, .. } = self;
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
            "{workload}: what if {changed}?\nThe recorded demand once more, simulated: {} h, {} half-minutes, the same requests for both\n{}\n{table}\n\n\
             A simulated service is not the real one: one queue before all replicas, each serving what was believed of it. Nothing was written.\n",
            number(self.hours),
            then.windows,
            left_out.as_ref().map(|left_out| format!("{left_out}\n")).unwrap_or_default(),
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
    left_out: Option<String>,
}

/// Plays the recorded demand of a span again: its newest part, as far as that is bounded. `progress` is told of each half-minute that was played.
///
/// # Errors
/// Where it cannot be: why.
pub(crate) fn answer(
    journal: &Path,
    workload: &str,
    asked: Asked,
    span: RangeInclusive<Timestamp>,
    progress: &Progress,
) -> Result<Answer, Refusal> {
    let recorded = recorded(journal, workload, span)?;
    progress.all(2 * recorded.demand.rates.len() as u64);
    let bounds = recorded.policy.replicas;
    let min = asked.min.unwrap_or(bounds.min().0);
    let max = asked.max.unwrap_or(bounds.max().0);
    let Some(then) = Bounds::new(Replicas(min), Replicas(max)).filter(|bounds| bounds.max() <= Replicas(1_000)) else {
        return Err(format!("expected 1 <= min <= max <= 1000, not min {min} and max {max}").into());
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
        hours: hours(recorded.demand.rates.len()),
        left_out: recorded.left_out.clone(),
        recorded: of(bounds, target, recorded.startup),
        asked: of(then, latency, startup),
        as_is: play(&recorded, bounds, target, recorded.startup, progress),
        then: play(&recorded, then, latency, startup, progress),
    })
}

fn hours(half_minutes: usize) -> f64 {
    half_minutes as f64 / 120.0
}

fn recorded(journal: &Path, workload: &str, span: RangeInclusive<Timestamp>) -> Result<Recorded, Refusal> {
    let reader = Reader::open(journal).map_err(|error| chain(&error))?;
    // Whoever asks for a year is not read a year.
    let from = (*span.start()).max(super::before(*span.end(), LONGEST));
    let older = reader.at(workload, Timestamp(from.0.saturating_sub(1))).ok().flatten();
    let cut_short = older.is_some_and(|older| older.at >= *span.start());
    let mut rates: Vec<(Timestamp, RequestsPerSecond)> = Vec::new();
    let mut last = None;
    for record in reader.records(workload, from..=*span.end()).map_err(|error| chain(&error))?.decided() {
        let Ok((stored, decision)) = record else { continue };
        if let Some(rate) = super::rows::known(&decision.demand) {
            rates.push((stored.at, rate));
        }
        last = Some((stored.policy, decision.capacity.rate(), decision.lead.startup));
    }
    let Some((policy, capacity, startup)) = last else {
        let known = reader.workloads().map_err(|error| chain(&error))?;
        return Err(if known.iter().any(|known| known == workload) {
            Refusal::Unable(format!("the journal has no decision of {workload} in that span"))
        } else {
            Refusal::Unknown(format!("the journal has no decision of {workload}; it has some of {}", listing(&known)))
        });
    };
    let Some(capacity) = capacity.filter(|rate| *rate > RequestsPerSecond::ZERO) else {
        return Err("what a replica serves is not known, so that nothing can be simulated".to_owned().into());
    };
    let mut rates = by_half_minute(&rates);
    let (there, few) = (rates.len().min(MOST), rates.len() < 2);
    if few {
        let why = "fewer than two half-minutes of demand are recorded in that span: come back in a minute";
        return Err(why.to_owned().into());
    }
    let played = playable(&rates);
    if played < 2 {
        let why = format!("in one minute there more requests arrive than are played again ({MOST_REQUESTS})");
        return Err(why.into());
    }
    rates.drain(..rates.len() - played);
    let left_out = match (played < there, cut_short) {
        (true, _) => Some(format!(
            "Only the last {} of {} h: at this demand, no more than {} million requests are played again",
            number(hours(played)),
            number(hours(there)),
            MOST_REQUESTS / 1e6
        )),
        (false, true) => {
            Some(format!("Only the last {} h of what was asked for: no more is played again", number(hours(MOST))))
        }
        (false, false) => None,
    };
    let demand = Workload { season: 0, history: Vec::new(), rates };
    Ok(Recorded { policy, capacity, startup, demand, left_out })
}

/// How many of the last half-minutes are few enough, and have few enough requests.
fn playable(rates: &[RequestsPerSecond]) -> usize {
    let mut requests = 0.0;
    let newest_first = rates.iter().rev().take(MOST);
    newest_first
        .take_while(|rate| {
            requests += rate.get() * HALF_MINUTE.get();
            requests <= MOST_REQUESTS
        })
        .count()
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

fn play(recorded: &Recorded, bounds: Bounds, latency: Seconds, startup: Seconds, progress: &Progress) -> Outcome {
    let law = Law {
        capacity: recorded.capacity,
        startup: Startup::Fixed(startup),
        target: latency,
        patience: Some(PATIENCE),
        ..Law::benchmark(1)
    };
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
    let mut decide = run::trimtab(policy, &recorded.demand, |_, _, _| {});
    let mut controller = |look: &Look| {
        if look.interval.is_some() {
            progress.step();
        }
        decide(look)
    };
    Outcome::of(&run::run(&recorded.demand, &scenario, &mut controller))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_was_asked_and_what_differs() {
        let recorded = Setting { min: 2, max: 40, slo_ms: 200.0, startup_s: 30.0 };
        let as_is = Outcome { requests: 1_000, windows: 720, missed: 3, replica_hours: 41.25, churn: 90, most: 12 };
        let answer = Answer {
            schema: String::new(),
            hours: 6.0,
            left_out: Some("Only the last 6 h".into()),
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
        assert!(text.contains("the same requests for both\nOnly the last 6 h\n\n"), "{text}");
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

    /// A journal of `hours` in which so many requests a second arrived, decided each half-minute, and its last moment.
    fn journal(directory: &Path, rate: u32, hours: i64) -> (std::path::PathBuf, Timestamp) {
        let path = directory.join("journal.db");
        let objective = Objective {
            latency: Seconds::milliseconds(200),
            misses: trimtab_core::unit::Ratio::permille(5),
            window: Objective::WINDOW,
        };
        let replicas = Bounds::new(Replicas(2), Replicas(400)).unwrap();
        let policy = Policy { replicas, ..crate::compare::tests::policy(objective) };
        let moments = (0..120 * hours).map(|look| Timestamp(1_795_511_000_000 + 30_000 * look));
        let workload = ("shop/deployment/checkout", &policy);
        let last = crate::compare::tests::journal(&path, workload, moments, (rate, rate / 40 + 2));
        (path, last)
    }

    #[test]
    fn a_busy_workloads_newest_hours_are_played_and_the_rest_is_said_to_be_left_out() {
        let kept = tempfile::tempdir().unwrap();
        let name = "shop/deployment/checkout";
        let (path, last) = journal(kept.path(), 10_000, 1);
        let asked = Asked { max: Some(60), ..Asked::default() };
        let said = answer(&path, name, asked, asked.span(last), &Progress::hidden()).unwrap();
        for outcome in [said.as_is, said.then] {
            assert!(outcome.requests as f64 <= 1.02 * MOST_REQUESTS && outcome.requests > 1_000_000, "{outcome:?}");
            assert_eq!(outcome.windows, 16, "5 million requests at 10,000 a second");
        }
        assert_eq!(said.then.missed, 16, "60 replicas are far too few, and the queue stays bounded");
        let left_out = said.left_out.clone().unwrap();
        assert_eq!(
            left_out,
            "Only the last 0.13 of 1 h: at this demand, no more than 5 million requests are played again"
        );
        assert!(said.text(name).contains(&left_out));
    }

    #[test]
    fn whoever_asks_for_all_time_is_answered_for_six_hours_and_told_so() {
        let kept = tempfile::tempdir().unwrap();
        let name = "shop/deployment/checkout";
        let (path, last) = journal(kept.path(), 3, 8);
        let asked = Asked { from: Some(0), ..Asked::default() };
        let progress = Progress::hidden();
        let said = answer(&path, name, asked, asked.span(last), &progress).unwrap();
        assert_eq!((said.as_is.windows, progress.done()), (720, 2 * 720));
        assert_eq!(said.left_out.as_deref(), Some("Only the last 6 h of what was asked for: no more is played again"));
        // Six hours, asked for or not, are all that was asked for.
        let asked = Asked::default();
        assert_eq!(answer(&path, name, asked, asked.span(last), &Progress::hidden()).unwrap().left_out, None);
        // What ends long ago reads nothing of what came later.
        let asked = Asked { until: Some(last.0 - 7 * 3_600_000), ..asked };
        let said = answer(&path, name, asked, asked.span(last), &Progress::hidden()).unwrap();
        assert!((1.0..1.02).contains(&said.hours), "{}", said.hours);
        let nobody = answer(&path, "shop/deployment/nobody", asked, asked.span(last), &Progress::hidden()).unwrap_err();
        assert_eq!(
            nobody,
            Refusal::Unknown(
                "the journal has no decision of shop/deployment/nobody; it has some of shop/deployment/checkout".into()
            )
        );
    }
}

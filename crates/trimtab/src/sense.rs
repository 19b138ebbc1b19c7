//! Sensing: from what Prometheus answered to readings that a decision may be based on.
//!
//! All workloads' signals go out as one batch ([`crate::prometheus`]); here each answer becomes a [`Reading`]. Absence keeps
//! its cause, age is that of the samples and not of the question, and coverage is the share of ready replicas that stand
//! behind a sum.

use crate::config::{Target, Workload};
use crate::inbox::{Event, Inbox};
use crate::prometheus::{self, Answer, Question, QuestionId, Source};
use crate::report;
use crate::sources::Sources;
use futures::future::{BoxFuture, join_all};
use futures::{StreamExt, stream};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use trimtab_core::snapshot::{Absence, Coverage, Foretold, Reading, Sample};
use trimtab_core::unit::{Level, Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};

/// A reading whose newest sample is older is not acted on: twice the longest scrape interval in common use, 30 s.
const FRESH: Duration = Duration::from_mins(1);
/// Step of the history that a start is filled in from.
const HISTORY_STEP: Duration = Duration::from_secs(15);
/// Histories that are read at the same time: a start with a thousand workloads must not be a burst on Prometheus.
const HISTORIES_AT_ONCE: usize = 8;

/// One of a workload's queries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Requests that arrive a second.
    Demand,
    /// What one replica serves.
    Capacity,
    /// The latency of the objective.
    Latency,
    /// How busy replicas are.
    Utilization,
    /// What somebody else forecasts demand to be so far ahead.
    Forecast(Duration),
    /// A protected level, by its name.
    Protect(String),
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Demand => f.write_str("demand"),
            Self::Capacity => f.write_str("capacity"),
            Self::Latency => f.write_str("latency"),
            Self::Utilization => f.write_str("utilization"),
            Self::Forecast(ahead) => write!(f, "forecast {ahead:?} ahead"),
            Self::Protect(name) => write!(f, "protect {name}"),
        }
    }
}

/// The answers of one round, by workload and signal.
#[derive(Debug)]
pub struct Round {
    /// HTTP requests that it took.
    pub requests: u32,
    /// How long it took.
    pub took: Duration,
    /// What is wrong with each server that was asked, with the cure; `None` where nothing is.
    pub troubles: BTreeMap<String, Option<String>>,
    /// The time that each server took it to be, milliseconds since 1970-01-01 UTC, where it said.
    pub clocks: BTreeMap<String, i64>,
    /// The answers.
    pub answers: BTreeMap<(Target, Signal), Answer>,
}

/// The queries of a workload, by signal.
pub fn signals(workload: &Workload) -> impl Iterator<Item = (Signal, &str)> {
    let queries = &workload.queries;
    let fixed = [
        Some((Signal::Demand, queries.demand.as_str())),
        queries.capacity.as_deref().map(|query| (Signal::Capacity, query)),
        queries.latency.as_deref().map(|query| (Signal::Latency, query)),
        queries.utilization.as_deref().map(|query| (Signal::Utilization, query)),
    ];
    let foretold = queries.forecast.iter().map(|(ahead, query)| (Signal::Forecast(*ahead), query.as_str()));
    let protected = queries.protect.iter().map(|(name, query)| (Signal::Protect(name.clone()), query.as_str()));
    fixed.into_iter().flatten().chain(foretold).chain(protected)
}

/// Asks for all signals of all workloads, one batch for each source, and puts the round into the inbox.
#[must_use]
pub fn ask(sources: Sources, workloads: Vec<Arc<Workload>>, inbox: Inbox) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut by_source: BTreeMap<Option<&str>, Vec<&Workload>> = BTreeMap::new();
        for workload in &workloads {
            by_source.entry(workload.queries.prometheus.as_deref()).or_default().push(workload);
        }
        // A source that nobody configured asks nothing; its policies say so.
        let known = by_source.into_iter().filter_map(|(name, workloads)| Some((name, sources.get(name)?, workloads)));
        let rounds = join_all(known.map(|(name, source, workloads)| ask_one(name, source, workloads))).await;
        // A server that nobody asks any more is in no trouble.
        let troubles = sources.names().into_iter().map(|name| (server(Some(name)), None)).collect();
        let mut all =
            Round { requests: 0, took: Duration::ZERO, troubles, clocks: BTreeMap::new(), answers: BTreeMap::new() };
        for round in rounds {
            all.requests += round.requests;
            all.took = all.took.max(round.took);
            all.troubles.extend(round.troubles);
            all.clocks.extend(round.clocks);
            all.answers.extend(round.answers);
        }
        inbox.send(Event::Sensed(all)).await;
    })
}

async fn ask_one(name: Option<&str>, source: &Source, workloads: Vec<&Workload>) -> Round {
    let wanted: Vec<(&Target, Signal, &str)> = workloads
        .into_iter()
        .flat_map(|workload| signals(workload).map(|(signal, query)| (&workload.target, signal, query)))
        .collect();
    let questions: Vec<Question> = wanted
        .iter()
        .zip(0..)
        .map(|((_, _, promql), id)| Question { id: QuestionId(id), promql: (*promql).to_owned(), freshness: FRESH })
        .collect();
    let mut round = source.ask(&questions).await;
    let answers: BTreeMap<(Target, Signal), Answer> = wanted
        .into_iter()
        .zip(0..)
        .filter_map(|((target, signal, _), id)| {
            Some(((target.clone(), signal), round.answers.remove(&QuestionId(id))?))
        })
        .collect();
    let troubles = BTreeMap::from([(server(name), source_trouble(&answers))]);
    let clocks = round.server_time_ms.map(|time| (server(name), time)).into_iter().collect();
    Round { requests: round.requests, took: round.took, troubles, clocks, answers }
}

/// What a Prometheus server is called in messages.
fn server(name: Option<&str>) -> String {
    name.map_or_else(|| "prometheus".to_owned(), |name| format!("prometheus {name}"))
}

/// What is wrong with the source itself: an absence that no query is to blame for.
fn source_trouble(answers: &BTreeMap<(Target, Signal), Answer>) -> Option<String> {
    let absence = answers
        .values()
        .filter_map(|answer| answer.value.as_ref().err())
        .find(|absence| matches!(cause(absence), Absence::Unreachable | Absence::TimedOut | Absence::Refused));
    absence.map(ToString::to_string)
}

/// Reads the demand of each workload in the `span` before `now` and puts it into the inbox.
#[must_use]
pub fn backfill(
    sources: Sources,
    workloads: Vec<Arc<Workload>>,
    (now, span): (Timestamp, Duration),
    inbox: Inbox,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let from = now.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
        let read = |workload: Arc<Workload>| {
            let source = sources.get(workload.queries.prometheus.as_deref()).cloned();
            async move {
                let points = match source {
                    Some(source) => source.history(&workload.queries.demand, from, now.0, HISTORY_STEP).await,
                    None => Err(prometheus::Absence::NoSeries),
                };
                let points = points.unwrap_or_else(|absence| {
                    tracing::info!(workload = %workload.target, %absence, "no past demand to start from");
                    Vec::new()
                });
                let demand = points
                    .into_iter()
                    .filter_map(|(at, rate)| Some((Timestamp(at), RequestsPerSecond::new(rate)?)))
                    .filter(|(_, rate)| *rate > RequestsPerSecond::ZERO)
                    .collect();
                Event::History { target: workload.target.clone(), query: workload.queries.demand.clone(), demand }
            }
        };
        let mut histories = stream::iter(workloads.into_iter().map(read)).buffer_unordered(HISTORIES_AT_ONCE);
        while let Some(event) = histories.next().await {
            inbox.send(event).await;
        }
    })
}

/// The reading that an answer is; `ready` is what a sum over all replicas should cover, where the signal is one.
pub fn reading<T>(answer: Option<&Answer>, make: fn(f64) -> Option<T>, ready: Option<Replicas>) -> Reading<T> {
    let Some(answer) = answer else { return Reading::Missing(Absence::NotYetAsked) };
    let value = match &answer.value {
        Ok(value) => match make(*value) {
            Some(value) => value,
            None => return Reading::Missing(Absence::NotANumber),
        },
        Err(absence) => return Reading::Missing(cause(absence)),
    };
    let age = |age: Option<Duration>| age.and_then(|age| Seconds::new(age.as_secs_f64()));
    let sample = Sample { value, age: age(answer.oldest), coverage: coverage(answer, ready) };
    if answer.newest.is_some_and(|newest| newest > FRESH) { Reading::Stale(sample) } else { Reading::Fresh(sample) }
}

/// The reading of a signal that a policy may leave out.
pub fn configured<T>(configured: bool, answer: Option<&Answer>, make: fn(f64) -> Option<T>) -> Reading<T> {
    if configured { reading(answer, make, None) } else { Reading::Missing(Absence::NotConfigured) }
}

/// What somebody else forecasts, from `now` on: the demand of now, and a point for each distance that a fresh answer is there for.
pub fn foretold<'a>(
    now: (Timestamp, &Reading<RequestsPerSecond>),
    workload: &'a Workload,
    answer: impl Fn(Signal) -> Option<&'a Answer>,
) -> Vec<Foretold> {
    let (at, demand) = now;
    let points = workload.queries.forecast.keys().filter_map(|ahead| {
        let rate = reading(answer(Signal::Forecast(*ahead)), RequestsPerSecond::new, None).fresh()?;
        Some(Foretold { at: at.after(Seconds::new(ahead.as_secs_f64())?), rate })
    });
    let mut points = points.peekable();
    // Between now and the first point demand is on its way there; without knowing where it is, nothing is said of that.
    let first = demand.fresh().filter(|_| points.peek().is_some()).map(|rate| Foretold { at, rate });
    first.into_iter().chain(points).collect()
}

/// A level in its query's unit may not be negative; what is compared with a limit from above may be, and counts as zero.
#[must_use]
pub fn level(value: f64) -> Option<Level> {
    Level::new(value.max(0.0)).filter(|_| value.is_finite())
}

fn coverage(answer: &Answer, ready: Option<Replicas>) -> Coverage {
    if answer.partial {
        return Coverage::Partial;
    }
    match (answer.targets, ready) {
        // Nobody reports any more, or nobody is ready to be counted: what a window still gives is fading.
        (Some(0), _) | (Some(_), Some(Replicas(0))) => Coverage::Partial,
        (Some(targets), Some(ready)) => {
            Ratio::new(f64::from(targets) / f64::from(ready.0)).map_or(Coverage::Unmeasured, Coverage::Share)
        }
        (None, _) | (_, None) => Coverage::Unmeasured,
    }
}

fn cause(absence: &prometheus::Absence) -> Absence {
    use prometheus::Absence as Said;
    match absence {
        Said::Unreachable { .. } | Said::NotPrometheus { .. } => Absence::Unreachable,
        Said::TimedOut { .. } => Absence::TimedOut,
        Said::Refused { .. } | Said::NoCredentials { .. } => Absence::Refused,
        Said::BadQuery { .. } => Absence::BadQuery,
        Said::NoSeries => Absence::NoSeries,
        Said::ManySeries { .. } => Absence::ManySeries,
        Said::NotANumber => Absence::NotANumber,
        Said::Infinite => Absence::Infinite,
        Said::WrongType { .. } => Absence::WrongType,
        Said::TooLarge { .. } => Absence::TooLarge,
        Said::Postponed => Absence::NotYetAsked,
    }
}

/// What is wrong with each of a workload's signals, for its report.
#[must_use]
pub fn problems(workload: &Workload, answers: &BTreeMap<(Target, Signal), Answer>) -> Vec<report::Signal> {
    signals(workload)
        .map(|(signal, query)| {
            let answer = answers.get(&(workload.target.clone(), signal.clone()));
            let problem = answer.and_then(|answer| problem(&signal, answer));
            report::Signal { name: signal.to_string(), query: query.to_owned(), problem }
        })
        .collect()
}

fn problem(signal: &Signal, answer: &Answer) -> Option<String> {
    match &answer.value {
        Err(absence) => Some(absence.to_string()),
        // A protected level may be negative, and then is below its limit.
        Ok(value) if *value < 0.0 && !matches!(signal, Signal::Protect(_)) => Some(format!(
            "the query gives {value}, expected 0 or more: look for a difference, or for a gauge where a counter is meant"
        )),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, parse};

    #[test]
    fn a_forecast_begins_with_the_demand_of_now_and_has_a_point_for_each_answer() {
        let text = "workloads:
- target: shop/web
  replicas: { min: 1, max: 2 }
  demand: { query: x }
  capacity: { rate: 5 }
  slo: { target: 1s }
  forecast: [{ ahead: 5m, query: c }, { ahead: 1m, query: a }, { ahead: 2m, query: b }]
";
        let parsed = parse(&Document { name: "p", namespace: None, text: text.as_bytes() }, &|_| Vec::new());
        let [workload] = <[Workload; 1]>::try_from(parsed.workloads).unwrap();
        let answered =
            |value| Answer { value, oldest: None, newest: None, targets: None, partial: false, warnings: Vec::new() };
        let answers = BTreeMap::from([
            (Signal::Forecast(Duration::from_mins(1)), answered(Ok(20.0))),
            (Signal::Forecast(Duration::from_mins(2)), answered(Err(prometheus::Absence::NoSeries))),
            (Signal::Forecast(Duration::from_mins(5)), answered(Ok(50.0))),
        ]);
        let (now, rate) = (Timestamp(7_000), RequestsPerSecond::whole(10));
        let known = Reading::Fresh(Sample { value: rate, age: None, coverage: Coverage::Unmeasured });
        let points = |demand: &Reading<RequestsPerSecond>, answers: &BTreeMap<Signal, Answer>| {
            let foretold = foretold((now, demand), &workload, |signal| answers.get(&signal));
            foretold.iter().map(|point| (point.at.since(now).get(), point.rate.get())).collect::<Vec<_>>()
        };
        assert_eq!(points(&known, &answers), [(0.0, 10.0), (60.0, 20.0), (300.0, 50.0)]);
        assert_eq!(points(&Reading::Missing(Absence::NoSeries), &answers), [(60.0, 20.0), (300.0, 50.0)]);
        assert_eq!(points(&known, &BTreeMap::new()), []);
        let asked: Vec<String> = signals(&workload).map(|(signal, query)| format!("{signal}: {query}")).collect();
        assert_eq!(asked, ["demand: x", "forecast 60s ahead: a", "forecast 120s ahead: b", "forecast 300s ahead: c"]);
    }
}

//! What an agent shows: `/metrics`, `/healthz`, `/readyz` and the read-only API. No endpoint changes anything.

use crate::compare::stretch::{self, Piece};
use crate::config::Target;
use crate::door::Door;
use crate::page;
use crate::report::{Considered, Report, Sights, Workload};
use crate::words::chain;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use std::path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use trimtab_core::unit::{Seconds, Timestamp};
use trimtab_journal::Explained;

/// An agent whose loop did not complete a turn for so long is dead, whatever its process does: the slowest interval that it
/// may be given is a minute, and a round of queries is given up long before the other half.
const DEAD: Duration = Duration::from_secs(90);

/// What the endpoints read.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The last report.
    pub report: watch::Receiver<Arc<Report>>,
    /// What this agent has seen by itself.
    pub sights: watch::Receiver<Arc<Sights>>,
    /// When the loop last completed a turn.
    pub turned: watch::Receiver<Instant>,
    /// Whether everything was listed once, and if not, what is missing.
    pub ready: watch::Receiver<Result<(), String>>,
    /// The metrics.
    pub registry: Arc<Registry>,
    /// The journal, for moments that are past.
    pub journal: path::PathBuf,
    /// Looks into the journal that may run at the same time: each takes tens of milliseconds of a core.
    pub looks: Arc<Semaphore>,
    /// What all this is.
    pub stage: Stage,
}

/// What an agent decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Workloads of a cluster.
    Cluster,
    /// Replicas on this machine, in real time.
    Loopback,
    /// Simulated replicas, in virtual time.
    Simulated,
}

/// All endpoints, open to whoever reaches them.
pub fn app(shown: Shown) -> Router {
    app_behind(shown, None)
}

/// The same, behind a door where there is one.
pub(crate) fn app_behind(shown: Shown, door: Option<Door>) -> Router {
    let endpoints = endpoints().with_state(shown);
    page::guarded(match door {
        Some(door) => door.before(endpoints),
        None => endpoints,
    })
}

/// The same, before they know what to show and are guarded.
pub(crate) fn endpoints() -> Router<Shown> {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/report", get(report))
        .route("/api/v1/workloads/{namespace}/{kind}/{name}", get(workload))
        .route("/api/v1/recorded", get(what_is_recorded))
        .route("/api/v1/course/{namespace}/{kind}/{name}", get(course))
        .merge(page::pages())
}

async fn metrics(State(shown): State<Shown>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &shown.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn healthz(State(shown): State<Shown>) -> (StatusCode, String) {
    let idle = shown.turned.borrow().elapsed();
    if idle < DEAD {
        (StatusCode::OK, "ok\n".into())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("the loop has not completed a turn for {} s\n", idle.as_secs()))
    }
}

async fn readyz(State(shown): State<Shown>) -> (StatusCode, String) {
    match shown.ready.borrow().as_ref() {
        Ok(()) => (StatusCode::OK, "ok\n".into()),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
    }
}

async fn report(State(shown): State<Shown>) -> Json<Report> {
    Json(Report::clone(&shown.report.borrow()))
}

#[derive(Deserialize)]
struct When {
    /// Milliseconds since 1970-01-01 UTC.
    at: Option<i64>,
}

async fn workload(State(shown): State<Shown>, name: page::Name, Query(when): Query<When>) -> Response {
    match page::target(name) {
        Ok(target) => page::json(page::find(&shown, target, when.at.map(Timestamp)).await),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// What an agent has recorded.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Recorded {
    /// The workloads that its journal has decisions of, by namespace/kind/name.
    pub workloads: Vec<String>,
}

async fn what_is_recorded(State(shown): State<Shown>) -> Response {
    let read = page::look(&shown, |journal| {
        let reader = trimtab_journal::Reader::open(journal).map_err(|error| chain(&error))?;
        Ok(Recorded { workloads: reader.workloads().map_err(|error| chain(&error))? })
    });
    match read.await {
        Ok(recorded) => Json(recorded).into_response(),
        Err((_, problem)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{problem}\n")).into_response(),
    }
}

/// A span of the past, in milliseconds since 1970-01-01 UTC, and one moment of each `step` milliseconds.
#[derive(Deserialize)]
struct Span {
    from: i64,
    until: i64,
    step: i64,
}

/// What happened to a workload as this agent recorded it, a bounded piece at a time: `next` says where the next one begins.
async fn course(
    State(shown): State<Shown>,
    name: page::Name,
    Query(Span { from, until, step }): Query<Span>,
) -> Response {
    let target = match page::target(name) {
        Ok(target) => target,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    // Nobody decides more often than a second, nor is a moment good for longer than a minute.
    let step = Seconds::new(step.clamp(1_000, 60_000) as f64 / 1_000.0).unwrap_or(Seconds::whole(1));
    let span = (Timestamp(from), Timestamp(until), step);
    let read = page::look(&shown, move |journal| stretch::read(journal, &target.to_string(), span, Piece::OF_AN_AGENT));
    match read.await {
        Ok(stretch) => Json(stretch).into_response(),
        Err((_, problem)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{problem}\n")).into_response(),
    }
}

/// What a journal says of a workload at a moment.
#[derive(Debug)]
pub enum Past {
    /// The decision that was in force.
    Known(Box<Workload>),
    /// None was, and what there is instead.
    Unknown(String),
}

/// The decision that was in force at `at`, recomputed from the journal.
///
/// # Errors
/// Where the journal cannot be read: why, with the cure.
pub fn past(journal: &path::Path, target: &Target, at: Timestamp) -> Result<Past, String> {
    let reader = trimtab_journal::Reader::open(journal).map_err(|error| chain(&error))?;
    let name = target.to_string();
    let explained = reader.explain(&name, at).map_err(|error| chain(&error))?;
    let Some(explained) = explained else {
        let known = reader.workloads().map_err(|error| chain(&error))?;
        return Ok(Past::Unknown(if known.contains(&name) {
            format!("the journal has no decision of {name} at that time")
        } else {
            format!("the journal has no decision of {name}; it has some of {}", listing(&known))
        }));
    };
    let Explained { policy, snapshot, decision, outcome, .. } = explained;
    Ok(Past::Known(Box::new(Workload::recorded(name, Considered { policy, snapshot, decision, outcome }))))
}

/// Names for a message: the first ten.
#[must_use]
pub fn listing(names: &[String]) -> String {
    let first = names.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "nothing".into(),
        1..=10 => first,
        all => format!("{first} and {} more", all - 10),
    }
}

//! What an agent shows: `/metrics`, `/healthz`, `/readyz` and the read-only API. No endpoint changes anything.

use crate::config::Target;
use crate::report::{Considered, Report, Workload};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use trimtab_core::unit::Timestamp;

/// An agent whose loop did not complete a turn for so long is dead, whatever its process does: six missed turns of the
/// slowest interval it may be given would be longer than any probe is patient.
const DEAD: Duration = Duration::from_secs(90);

/// What the endpoints read.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The last report.
    pub report: watch::Receiver<Arc<Report>>,
    /// When the loop last completed a turn.
    pub turned: watch::Receiver<Instant>,
    /// Whether everything was listed once, and if not, what is missing.
    pub ready: watch::Receiver<Result<(), String>>,
    /// The metrics.
    pub registry: Arc<Registry>,
    /// The journal, for moments that are past.
    pub journal: PathBuf,
}

/// All endpoints.
pub fn app(shown: Shown) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/report", get(report))
        .route("/api/v1/workloads/{namespace}/{kind}/{name}", get(workload))
        .with_state(shown)
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

async fn workload(
    State(shown): State<Shown>,
    Path((namespace, kind, name)): Path<(String, String, String)>,
    Query(when): Query<When>,
) -> Response {
    let target: Target = match format!("{namespace}/{kind}/{name}").parse() {
        Ok(target) => target,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let known =
        shown.report.borrow().workloads.iter().find(|workload| workload.workload == target.to_string()).cloned();
    let Some(mut known) = known else {
        return (StatusCode::NOT_FOUND, format!("no policy names {target}\n")).into_response();
    };
    if let Some(at) = when.at {
        let journal = shown.journal.clone();
        let past = tokio::task::spawn_blocking(move || past(&journal, &target, Timestamp(at))).await;
        match past {
            Ok(Ok(considered)) => known = Workload { last: considered, signals: Vec::new(), problem: None, ..known },
            Ok(Err(problem)) => return (StatusCode::INTERNAL_SERVER_ERROR, format!("{problem}\n")).into_response(),
            Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        }
    }
    Json(known).into_response()
}

/// The decision that was in force at `at`, recomputed from the journal.
pub fn past(journal: &std::path::Path, target: &Target, at: Timestamp) -> Result<Option<Considered>, String> {
    let reader = trimtab_journal::Reader::open(journal).map_err(|error| crate::words::chain(&error))?;
    let explained = reader.explain(&target.to_string(), at).map_err(|error| crate::words::chain(&error))?;
    Ok(explained.map(|explained| Considered {
        policy: explained.policy,
        snapshot: explained.snapshot,
        decision: explained.decision,
        outcome: explained.outcome,
    }))
}

//! One replica: what it answers, and what it tells of itself.

use crate::database;
use crate::drain::Phase;
use crate::metrics::{InFlight, Metrics};
use crate::queue::{Full, Queue, Served};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a replica is like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Mean service time.
    pub service_time: Duration,
    /// Share of it that burns CPU, 0 to 1; the rest sleeps.
    pub cpu_share: f64,
    /// Requests that wait at most; further ones are refused with 503.
    pub queue: usize,
    /// Of the service times.
    pub seed: u64,
    /// URL of the database that each request asks once, and connections to it at most.
    pub database: Option<(String, usize)>,
}

/// A replica.
#[derive(Clone, Debug)]
pub struct Replica {
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    phase: Phase,
    database: Option<Arc<database::Client>>,
    cpu_share: f64,
}

impl Replica {
    /// A replica that is starting: it answers, and is not ready until its [`Phase`] is told that it has started.
    ///
    /// # Errors
    /// Where the database's URL is none.
    pub fn new(settings: Settings) -> anyhow::Result<Self> {
        let database = settings.database.map(|(url, connections)| database::Client::new(&url, connections));
        Ok(Self {
            queue: Arc::new(Queue::new(settings.service_time, settings.queue, settings.seed)),
            metrics: Arc::default(),
            phase: Phase::starting(),
            database: database.transpose()?.map(Arc::new),
            cpu_share: settings.cpu_share,
        })
    }

    /// Where in its life it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.clone()
    }

    /// `/work`, `/healthz`, `/readyz` and `/metrics`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/work", get(work))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(exposition))
            .with_state(self.clone())
    }
}

/// One request's work.
async fn work(State(replica): State<Replica>) -> Response {
    replica.metrics.arrived.inc();
    let begun = Instant::now();
    let served = replica.queue.enter();
    let outcome = match served {
        Ok(Served { starts, ends, _place }) => {
            let _in_flight = InFlight::enter(&replica.metrics.in_flight);
            let service = ends - starts;
            let burn = service.mul_f64(replica.cpu_share);
            tokio::time::sleep_until(ends - burn).await;
            burn_cpu(burn);
            let answered = match &replica.database {
                Some(database) => database.ask(&replica.metrics).await,
                None => true,
            };
            replica.metrics.service.observe(service.as_secs_f64());
            if answered { Ok((starts - begun, service)) } else { Err(StatusCode::BAD_GATEWAY) }
        }
        Err(Full) => Err(StatusCode::SERVICE_UNAVAILABLE),
    };
    match outcome {
        Ok((waited, service)) => {
            replica.metrics.answered(StatusCode::OK);
            replica.metrics.duration.observe(begun.elapsed().as_secs_f64());
            Json(serde_json::json!({"waited_s": waited.as_secs_f64(), "service_s": service.as_secs_f64()}))
                .into_response()
        }
        Err(status) => {
            replica.metrics.answered(status);
            replica.metrics.duration.observe(begun.elapsed().as_secs_f64());
            (status, [(header::RETRY_AFTER, "1")]).into_response()
        }
    }
}

fn burn_cpu(span: Duration) {
    let until = std::time::Instant::now() + span;
    while std::time::Instant::now() < until {
        std::hint::spin_loop();
    }
}

async fn readyz(State(replica): State<Replica>) -> (StatusCode, &'static str) {
    if replica.phase.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting or draining\n")
    }
}

async fn exposition(State(replica): State<Replica>) -> Response {
    replica.metrics.queue_depth.set(i64::try_from(replica.queue.waiting()).unwrap_or(i64::MAX));
    replica.metrics.exposition()
}

//! The database behind all replicas, and a replica's way to it.
//!
//! Its capacity is a number of requests served at a time; more of them wait, for all replicas alike. Both capacity and
//! latency can be tuned while it runs, where `--tunable` allows it.

use crate::metrics::{InFlight, Metrics, exposition};
use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, put};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// A replica waits so long for the database at most.
const DEADLINE: Duration = Duration::from_secs(5);

/// The database.
#[derive(Clone, Debug)]
pub struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    latency_us: AtomicU64,
    permits: Mutex<Arc<Semaphore>>,
    registry: Registry,
    duration: Histogram,
    in_flight: Gauge,
    setting: Gauge<f64, AtomicU64>,
}

impl Database {
    /// A database whose requests take so long, so many of them at a time.
    #[must_use]
    pub fn new(latency: Duration, capacity: usize) -> Self {
        let (duration, in_flight, setting) =
            (Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]), Gauge::default(), Gauge::default());
        let mut registry = Registry::with_prefix("database");
        registry.register("request_duration_seconds", "From arrival to answer", duration.clone());
        registry.register("in_flight", "Requests that wait or are served", in_flight.clone());
        registry.register("latency_setting_seconds", "The latency that it is tuned to", setting.clone());
        let database = Self(Arc::new(Inner {
            latency_us: AtomicU64::new(0),
            permits: Mutex::new(Arc::new(Semaphore::new(capacity))),
            registry,
            duration,
            in_flight,
            setting,
        }));
        database.set_latency(latency);
        database
    }

    /// `/query`, `/healthz`, `/readyz` and `/metrics`; where it is tunable, `PUT /tune` too.
    pub fn router(&self, tunable: bool) -> Router {
        let mut router = Router::new()
            .route("/query", get(query))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(async || "ok\n"))
            .route(
                "/metrics",
                get(async |State(database): State<Self>| -> Response { exposition(&database.0.registry) }),
            );
        if tunable {
            router = router.route("/tune", put(tune));
        }
        router.with_state(self.clone())
    }

    /// From now on a request takes so long.
    pub fn set_latency(&self, latency: Duration) {
        self.0.latency_us.store(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.0.setting.set(latency.as_secs_f64());
    }

    fn set_capacity(&self, capacity: usize) {
        *self.0.permits.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Semaphore::new(capacity));
    }
}

async fn query(State(database): State<Database>) -> &'static str {
    let begun = Instant::now();
    let database = database.0;
    let _in_flight = InFlight::enter(&database.in_flight);
    let permits = Arc::clone(&database.permits.lock().unwrap_or_else(PoisonError::into_inner));
    let permit = permits.acquire_owned().await;
    tokio::time::sleep(Duration::from_micros(database.latency_us.load(Ordering::Relaxed))).await;
    drop(permit);
    database.duration.observe(begun.elapsed().as_secs_f64());
    "row\n"
}

#[derive(Deserialize)]
struct Tuning {
    latency: Option<String>,
    capacity: Option<usize>,
}

async fn tune(State(database): State<Database>, Query(tuning): Query<Tuning>) -> (StatusCode, String) {
    match tuning.latency.as_deref().map(crate::duration).transpose() {
        Ok(latency) => {
            if let Some(latency) = latency {
                database.set_latency(latency);
            }
            if let Some(capacity) = tuning.capacity {
                database.set_capacity(capacity);
            }
            (StatusCode::OK, "tuned\n".into())
        }
        Err(problem) => (StatusCode::BAD_REQUEST, format!("latency: {problem}\n")),
    }
}

/// A replica's bounded pool of connections to the database.
#[derive(Debug)]
pub(crate) struct Client {
    http: Http<HttpConnector, Empty<Bytes>>,
    url: hyper::Uri,
    pool: Semaphore,
}

impl Client {
    pub(crate) fn new(url: &str, connections: usize) -> anyhow::Result<Self> {
        let expected = || format!("expected a URL such as http://db:8080, got {url:?}");
        let url: hyper::Uri = format!("{}/query", url.trim_end_matches('/')).parse().with_context(expected)?;
        ensure!(url.scheme_str() == Some("http") && url.host().is_some(), expected());
        let http = Http::builder(TokioExecutor::new()).pool_max_idle_per_host(connections).build_http();
        Ok(Self { http, url, pool: Semaphore::new(connections) })
    }

    /// Asks once; whether an answer came in time.
    pub(crate) async fn ask(&self, metrics: &Metrics) -> bool {
        let begun = Instant::now();
        let _in_flight = InFlight::enter(&metrics.database_in_flight);
        let answered = tokio::time::timeout(DEADLINE, self.ask_whole()).await.unwrap_or(false);
        metrics.database.observe(begun.elapsed().as_secs_f64());
        answered
    }

    async fn ask_whole(&self) -> bool {
        let _permit = self.pool.acquire().await;
        let Ok(answer) = self.http.get(self.url.clone()).await else { return false };
        // Read to its end, so that the connection can be used again.
        answer.status().is_success() && answer.into_body().collect().await.is_ok()
    }
}

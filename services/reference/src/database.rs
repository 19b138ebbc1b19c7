//! The database behind all replicas, and a replica's way to it.
//!
//! Its capacity is a number of requests served at a time; more of them wait, for all replicas alike. Both capacity and
//! latency can be tuned while it runs, where `--tunable` allows it.

use crate::drain;
use crate::metrics::{InFlight, Metrics, exposition};
use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, put};
use clap::Args;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// A replica waits so long for the database at most.
const DEADLINE: Duration = Duration::from_secs(5);

/// `trimtab-reference database`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Settings {
    /// Address to listen on
    #[arg(long, env = "REFERENCE_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Time that a request takes
    #[arg(long, env = "DATABASE_LATENCY", default_value = "5ms", value_parser = crate::duration)]
    latency: Duration,
    /// Requests served at a time; further ones wait
    #[arg(long, env = "DATABASE_CAPACITY", default_value_t = 50)]
    capacity: usize,
    /// Accept PUT /tune?latency=400ms&capacity=10
    #[arg(long, env = "DATABASE_TUNABLE")]
    tunable: bool,
}

#[derive(Debug)]
struct Database {
    latency_us: AtomicU64,
    permits: Mutex<Arc<Semaphore>>,
    registry: Registry,
    duration: Histogram,
    in_flight: Gauge,
    setting: Gauge<f64, AtomicU64>,
}

/// Serves until SIGTERM.
pub(crate) async fn serve(settings: Settings) -> anyhow::Result<()> {
    let (duration, in_flight, setting) =
        (Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]), Gauge::default(), Gauge::default());
    let mut registry = Registry::with_prefix("database");
    registry.register("request_duration_seconds", "From arrival to answer", duration.clone());
    registry.register("in_flight", "Requests that wait or are served", in_flight.clone());
    registry.register("latency_setting_seconds", "The latency that it is tuned to", setting.clone());
    let database = Arc::new(Database {
        latency_us: AtomicU64::new(0),
        permits: Mutex::new(Arc::new(Semaphore::new(settings.capacity))),
        registry,
        duration,
        in_flight,
        setting,
    });
    database.set_latency(settings.latency);
    let phase = drain::Phase::starting();
    phase.started();
    let mut router = Router::new()
        .route("/query", get(query))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async || "ok\n"))
        .route(
            "/metrics",
            get(async |State(database): State<Arc<Database>>| -> Response { exposition(&database.registry) }),
        );
    if settings.tunable {
        router = router.route("/tune", put(tune));
    }
    let listener = tokio::net::TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("failed to listen on {}", settings.listen))?;
    tracing::info!(listen = %listener.local_addr()?, "database started");
    axum::serve(listener, router.with_state(database))
        .with_graceful_shutdown(drain::signalled(phase, Duration::ZERO))
        .await?;
    Ok(())
}

impl Database {
    fn set_latency(&self, latency: Duration) {
        self.latency_us.store(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.setting.set(latency.as_secs_f64());
    }
}

async fn query(State(database): State<Arc<Database>>) -> &'static str {
    let begun = Instant::now();
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

async fn tune(State(database): State<Arc<Database>>, Query(tuning): Query<Tuning>) -> (StatusCode, String) {
    match tuning.latency.as_deref().map(crate::duration).transpose() {
        Ok(latency) => {
            if let Some(latency) = latency {
                database.set_latency(latency);
            }
            if let Some(capacity) = tuning.capacity {
                *database.permits.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Semaphore::new(capacity));
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
        let expected = || format!("--database-url: expected a URL such as http://db:8080, got {url:?}");
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

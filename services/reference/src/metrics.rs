//! What the service tells of itself; names are in services/README.md.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Fine around the objective of 200 ms, where a quantile is read off.
const LATENCY: [f64; 18] =
    [0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.225, 0.25, 0.3, 0.5, 1.0, 2.5, 5.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u16,
}

/// All metrics of a replica.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Code, Counter>,
    pub(crate) arrived: Counter,
    pub(crate) duration: Histogram,
    pub(crate) service: Histogram,
    pub(crate) in_flight: Gauge,
    pub(crate) queue_depth: Gauge,
    pub(crate) database: Histogram,
    pub(crate) database_in_flight: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("reference");
        let metrics = Self {
            requests: Family::default(),
            arrived: Counter::default(),
            duration: Histogram::new(LATENCY),
            service: Histogram::new(LATENCY),
            in_flight: Gauge::default(),
            queue_depth: Gauge::default(),
            database: Histogram::new(LATENCY),
            database_in_flight: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register(
            "requests_arrived",
            "Requests that arrived, refused ones too: the offered load",
            metrics.arrived.clone(),
        );
        registry.register("requests", "Requests answered, by status code", metrics.requests.clone());
        registry.register("request_duration_seconds", "From arrival to answer", metrics.duration.clone());
        registry.register("service_seconds", "Time at the server, without waiting", metrics.service.clone());
        registry.register("in_flight", "Requests that wait or are served", metrics.in_flight.clone());
        registry.register("queue_depth", "Requests that wait", metrics.queue_depth.clone());
        registry.register(
            "database_seconds",
            "Time that the database takes, waiting for a connection included",
            metrics.database.clone(),
        );
        registry.register("database_in_flight", "Requests to the database", metrics.database_in_flight.clone());
        Self { registry, ..metrics }
    }
}

/// A request in flight until it is dropped, also where its client went away.
#[derive(Debug)]
pub(crate) struct InFlight(Gauge);

impl InFlight {
    /// One more in `gauge`.
    pub(crate) fn enter(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    pub(crate) fn answered(&self, status: StatusCode) {
        self.requests.get_or_create(&Code { code: status.as_u16() }).inc();
    }

    pub(crate) fn exposition(&self) -> Response {
        exposition(&self.registry)
    }
}

/// A registry as text.
pub(crate) fn exposition(registry: &Registry) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

//! The reference service: the benchmark's replica made real, and an example of a service that scales well.
//!
//! One server with a bounded first-come-first-served queue: 50 requests/s, service times exponential with a mean of 20 ms, seeded.
//! A share of each service time burns CPU, the rest sleeps, so that two cores carry dozens of replicas.

mod database;
mod drain;
mod metrics;
mod queue;

use anyhow::Context;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use clap::{Args, Parser, Subcommand};
use metrics::{InFlight, Metrics};
use queue::{Full, Queue, Served};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug, Parser)]
#[command(name = "trimtab-reference", version, about = "One server of 50 requests a second a replica, made real")]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    service: Service,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The database behind all replicas: a latency and a capacity that can be tuned while it runs
    Database(database::Settings),
}

#[derive(Args, Clone, Debug)]
struct Service {
    /// Address to listen on
    #[arg(long, env = "REFERENCE_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Mean service time
    #[arg(long, env = "REFERENCE_SERVICE_TIME", default_value = "20ms", value_parser = duration)]
    #[expect(clippy::struct_field_names, reason = "it is the flag's name")]
    service_time: Duration,
    /// Share of the service time that burns CPU; the rest sleeps
    #[arg(long, env = "REFERENCE_CPU_SHARE", default_value_t = 0.05, value_parser = share)]
    cpu_share: f64,
    /// Requests that wait at most; further ones are refused with 503
    #[arg(long, env = "REFERENCE_QUEUE", default_value_t = 200)]
    queue: usize,
    /// Seed of the service times
    #[arg(long, env = "REFERENCE_SEED", default_value_t = 1)]
    seed: u64,
    /// Not ready before this time has passed
    #[arg(long, env = "REFERENCE_STARTUP", default_value = "0s", value_parser = duration)]
    startup: Duration,
    /// After SIGTERM, served on for so long: until no load balancer sends here any more
    #[arg(long, env = "REFERENCE_DRAIN_DELAY", default_value = "2s", value_parser = duration)]
    drain_delay: Duration,
    /// URL of the database that each request asks once
    #[arg(long, env = "REFERENCE_DATABASE_URL")]
    database_url: Option<String>,
    /// Connections to the database at most
    #[arg(long, env = "REFERENCE_DATABASE_POOL", default_value_t = 10)]
    database_pool: usize,
    /// Memory over time: steady:64Mi, spike:200Mi:20s or leak:1Mi/s
    #[arg(long, env = "REFERENCE_MEMORY", value_parser = memory)]
    memory: Option<Memory>,
}

/// Memory that is held over time, MiB.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Memory {
    Steady(usize),
    Spike(usize, Duration),
    Leak(usize),
}

fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|error| format!("expected a duration such as 20ms or 5s: {error}"))?;
    Duration::try_from(span).map_err(|_| "expected a duration of at least 0".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "expected a share from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("expected a share from 0 to 1".into()) }
}

fn memory(text: &str) -> Result<Memory, String> {
    let wrong = || "expected steady:64Mi, spike:200Mi:20s or leak:1Mi/s".to_owned();
    let mebibytes = |text: &str| text.strip_suffix("Mi").and_then(|number| number.parse().ok()).ok_or_else(wrong);
    match text.split(':').collect::<Vec<_>>().as_slice() {
        ["steady", amount] => Ok(Memory::Steady(mebibytes(amount)?)),
        ["spike", amount, span] => Ok(Memory::Spike(mebibytes(amount)?, duration(span)?)),
        ["leak", rate] => Ok(Memory::Leak(mebibytes(rate.strip_suffix("/s").ok_or_else(wrong)?)?)),
        _ => Err(wrong()),
    }
}

#[derive(Clone)]
struct App {
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    phase: drain::Phase,
    database: Option<Arc<database::Client>>,
    cpu_share: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    // A log that nobody reads any more does not end the process.
    tracing_subscriber::fmt().json().flatten_event(true).log_internal_errors(false).with_writer(std::io::stderr).init();
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Database(settings)) => database::serve(settings).await,
        None => serve(cli.service).await,
    }
}

async fn serve(settings: Service) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::default());
    let phase = drain::Phase::starting();
    let database = settings.database_url.as_deref().map(|url| database::Client::new(url, settings.database_pool));
    let app = App {
        queue: Arc::new(Queue::new(settings.service_time, settings.queue, settings.seed)),
        metrics: Arc::clone(&metrics),
        phase: phase.clone(),
        database: database.transpose()?.map(Arc::new),
        cpu_share: settings.cpu_share,
    };
    let router = Router::new()
        .route("/work", get(work))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(exposition))
        .with_state(app);
    let listener = tokio::net::TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("failed to listen on {}", settings.listen))?;
    tracing::info!(listen = %listener.local_addr()?, "started");
    if let Some(memory) = settings.memory {
        tokio::spawn(hold(memory));
    }
    let ready = phase.clone();
    tokio::spawn(async move {
        tokio::time::sleep(settings.startup).await;
        ready.started();
    });
    axum::serve(listener, router).with_graceful_shutdown(drain::signalled(phase, settings.drain_delay)).await?;
    tracing::info!("ended with no request left");
    Ok(())
}

/// One request's work.
async fn work(State(app): State<App>) -> Response {
    app.metrics.arrived.inc();
    let begun = Instant::now();
    let served = app.queue.enter();
    let outcome = match served {
        Ok(Served { starts, ends, _place }) => {
            let _in_flight = InFlight::enter(&app.metrics.in_flight);
            let service = ends - starts;
            let burn = service.mul_f64(app.cpu_share);
            tokio::time::sleep_until(ends - burn).await;
            burn_cpu(burn);
            let answered = match &app.database {
                Some(database) => database.ask(&app.metrics).await,
                None => true,
            };
            app.metrics.service.observe(service.as_secs_f64());
            if answered { Ok((starts - begun, service)) } else { Err(StatusCode::BAD_GATEWAY) }
        }
        Err(Full) => Err(StatusCode::SERVICE_UNAVAILABLE),
    };
    match outcome {
        Ok((waited, service)) => {
            app.metrics.answered(StatusCode::OK);
            app.metrics.duration.observe(begun.elapsed().as_secs_f64());
            Json(serde_json::json!({"waited_s": waited.as_secs_f64(), "service_s": service.as_secs_f64()}))
                .into_response()
        }
        Err(status) => {
            app.metrics.answered(status);
            app.metrics.duration.observe(begun.elapsed().as_secs_f64());
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

async fn readyz(State(app): State<App>) -> (StatusCode, &'static str) {
    if app.phase.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting or draining\n")
    }
}

async fn exposition(State(app): State<App>) -> Response {
    app.metrics.queue_depth.set(i64::try_from(app.queue.waiting()).unwrap_or(i64::MAX));
    app.metrics.exposition()
}

/// Holds memory as the flag says, every page of it touched.
async fn hold(memory: Memory) {
    let mut held: Vec<Vec<u8>> = Vec::new();
    match memory {
        Memory::Steady(mebibytes) => held.push(vec![1; mebibytes << 20]),
        Memory::Spike(mebibytes, span) => {
            held.push(vec![1; mebibytes << 20]);
            tokio::time::sleep(span).await;
            held.clear();
        }
        Memory::Leak(mebibytes) => {
            let mut second = tokio::time::interval(Duration::from_secs(1));
            loop {
                second.tick().await;
                held.push(vec![1; mebibytes << 20]);
            }
        }
    }
    std::future::pending::<()>().await;
    drop(held);
}

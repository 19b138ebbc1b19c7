//! An open-loop load generator: Poisson arrivals at a rate from a constant, steps or a trace, whatever the service answers.
//!
//! Latency counts from the moment at which a request was meant to be sent, so that a service that stalls does not
//! quiet the load that measures it (coordinated omission).

mod course;
mod results;

use anyhow::Context;
use clap::Parser;
use course::Course;
use results::Results;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use trimtab_load::{Balance, Fleet, arrivals};

#[derive(Debug, Parser)]
#[command(name = "trimtab-load", version, about = "Open-loop load from a rate, steps or a trace", group(clap::ArgGroup::new("course").required(true).args(["rate", "steps", "trace"])), group(clap::ArgGroup::new("where").required(true).args(["target", "targets_file"])))]
struct Cli {
    /// URL that is asked, such as `http://10.0.0.7:8080/work`; repeatable
    #[arg(long, value_name = "URL")]
    target: Vec<String>,
    /// File with one URL a line; followed while running
    #[arg(long, value_name = "FILE")]
    targets_file: Option<PathBuf>,
    /// Requests a second
    #[arg(long, value_name = "RATE")]
    rate: Option<f64>,
    /// Spans with their rates, such as 30s:100,60s:200
    #[arg(long, value_name = "SPAN:RATE,…")]
    steps: Option<String>,
    /// Trace (CSV or CSV.gz with columns `t_seconds` and `rate`)
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// A trace is played so many times as fast
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    time_scale: f64,
    /// Its rates are multiplied by this
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    rate_scale: f64,
    /// Which target a request goes to
    #[arg(long, value_enum, default_value = "least-outstanding")]
    balance: Balance,
    /// Ends after this time; a trace ends by itself
    #[arg(long, value_name = "DURATION", value_parser = course::duration)]
    duration: Option<Duration>,
    /// Seed of the arrivals, and of random balancing
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A request that takes longer is an error
    #[arg(long, default_value = "10s", value_parser = course::duration)]
    timeout: Duration,
    /// A new connection for each request, as for a Service's cluster IP
    #[arg(long)]
    no_keepalive: bool,
    /// Span of one row of results
    #[arg(long, default_value = "10s", value_parser = course::duration)]
    interval: Duration,
    /// File for the results (CSV); standard output otherwise
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// File for every single request (CSV)
    #[arg(long, value_name = "FILE")]
    requests: Option<PathBuf>,
    /// Accept `PUT /rate` with a number at this address
    #[arg(long, value_name = "ADDRESS")]
    control: Option<SocketAddr>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let course = Course::new(cli.rate, cli.steps.as_deref(), cli.trace.as_deref(), cli.time_scale, cli.rate_scale)?;
    let fleet = Arc::new(Fleet::new(cli.balance, cli.seed, cli.timeout, !cli.no_keepalive));
    fleet.become_these(cli.target.clone());
    if let Some(file) = cli.targets_file.clone() {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("failed to read the targets in {}", file.display()))?;
        fleet.become_these(lines(&text));
        tokio::spawn(follow(file, Arc::clone(&fleet)));
    }
    let set_rate = Arc::new(AtomicU64::new(f64::NAN.to_bits()));
    if let Some(address) = cli.control {
        control(address, Arc::clone(&set_rate)).await?;
    }
    let results = Arc::new(Results::open(cli.out.as_deref(), cli.requests.as_deref(), cli.interval)?);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let rate = |due: Duration| {
        let set = f64::from_bits(set_rate.load(Ordering::Relaxed));
        let rate = if set.is_nan() { course.rate(due) } else { Some(set) };
        rate.filter(|_| cli.duration.is_none_or(|duration| due < duration))
    };
    let begun = tokio::time::Instant::now();
    let sending = arrivals(
        cli.seed,
        || begun,
        rate,
        |meant, rate, arrives| {
            results.turn(meant.due, rate, || fleet.len());
            if arrives {
                let (fleet, results) = (Arc::clone(&fleet), Arc::clone(&results));
                results.sent();
                tokio::spawn(async move { results.ended(&fleet.ask(meant).await) });
            }
        },
    );
    tokio::select! {
        // What is under way when the course ends is waited for: it was sent, and counts.
        () = async { sending.await; results.all_ended().await } => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    results.finish()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// Reads the targets again whenever the file changes.
async fn follow(file: PathBuf, fleet: Arc<Fleet>) {
    let mut last = String::new();
    let mut look = tokio::time::interval(Duration::from_millis(100));
    loop {
        look.tick().await;
        // A file that is being replaced keeps its last targets.
        if let Ok(text) = tokio::fs::read_to_string(&file).await.map(|text| (text != last).then_some(text))
            && let Some(text) = text
        {
            fleet.become_these(lines(&text));
            last = text;
        }
    }
}

/// Accepts a new rate while running.
async fn control(address: SocketAddr, rate: Arc<AtomicU64>) -> anyhow::Result<()> {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::put;
    let set = async move |body: String| match body.trim().parse::<f64>() {
        Ok(new) if new.is_finite() && new >= 0.0 => {
            rate.store(new.to_bits(), Ordering::Relaxed);
            (StatusCode::OK, "set\n".to_owned())
        }
        _ => (StatusCode::BAD_REQUEST, format!("expected requests a second, got {body:?}\n")),
    };
    let listener =
        tokio::net::TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))?;
    let router = Router::new().route("/rate", put(set));
    tokio::spawn(axum::serve(listener, router).into_future());
    Ok(())
}

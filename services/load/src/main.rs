//! An open-loop load generator: Poisson arrivals at a rate from a constant, steps or a trace, whatever the service answers.
//!
//! Latency counts from the moment at which a request was meant to be sent, so that a service that stalls does not
//! quiet the load that measures it (coordinated omission).

mod balance;
mod client;
mod course;
mod results;

use anyhow::Context;
use balance::{Balance, Targets};
use clap::Parser;
use client::Client;
use course::Course;
use rand::SeedableRng;
use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64Mcg;
use results::{End, Ended, Results};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

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
    let targets = Arc::new(Mutex::new(Targets::new(cli.balance, cli.seed)));
    let client = Arc::new(Client::new(cli.timeout, !cli.no_keepalive));
    replace(&targets, &client, cli.target.clone());
    if let Some(file) = cli.targets_file.clone() {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("failed to read the targets in {}", file.display()))?;
        replace(&targets, &client, lines(&text));
        tokio::spawn(follow(file, Arc::clone(&targets), Arc::clone(&client)));
    }
    let set_rate = Arc::new(AtomicU64::new(f64::NAN.to_bits()));
    if let Some(address) = cli.control {
        control(address, Arc::clone(&set_rate)).await?;
    }
    let results = Arc::new(Results::open(cli.out.as_deref(), cli.requests.as_deref(), cli.interval)?);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let sending = send(&cli, &course, (&targets, &client), &set_rate, &results);
    tokio::select! {
        // What is under way when the course ends is waited for: it was sent, and counts.
        () = async { sending.await; results.all_ended().await } => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    results.finish()
}

/// Sends requests at the moments of a Poisson process until the course ends.
async fn send(
    cli: &Cli,
    course: &Course,
    (targets, client): (&Arc<Mutex<Targets>>, &Arc<Client>),
    set_rate: &AtomicU64,
    results: &Arc<Results>,
) {
    let mut arrivals = Pcg64Mcg::seed_from_u64(cli.seed);
    let begun = Instant::now();
    let mut due = Duration::ZERO;
    loop {
        let set = f64::from_bits(set_rate.load(Ordering::Relaxed));
        let rate = if set.is_nan() { course.rate(due) } else { Some(set) };
        let Some(rate) = rate.filter(|_| cli.duration.is_none_or(|duration| due < duration)) else { return };
        // An exponential gap at the rate of this moment; a silent course is looked at again a little later.
        let gap: f64 = Exp1.sample(&mut arrivals);
        let step = if rate > 0.0 {
            Duration::from_secs_f64((gap / rate).min(LOOK_AGAIN))
        } else {
            Duration::from_secs_f64(LOOK_AGAIN)
        };
        let arrives = rate > 0.0 && gap / rate <= LOOK_AGAIN;
        due += step;
        tokio::time::sleep_until(begun + due).await;
        results.turn(due, rate, || lock(targets).len());
        if arrives {
            let (client, targets, results) = (Arc::clone(client), Arc::clone(targets), Arc::clone(results));
            results.sent();
            tokio::spawn(one(client, targets, results, Meant { begun, due }));
        }
    }
}

/// The exponential law has no memory: a gap that is cut here and drawn anew keeps it, and follows a rate that changes.
const LOOK_AGAIN: f64 = 0.5;

/// When a request was meant to be sent: so long after the beginning.
#[derive(Clone, Copy, Debug)]
struct Meant {
    begun: Instant,
    due: Duration,
}

async fn one(client: Arc<Client>, targets: Arc<Mutex<Targets>>, results: Arc<Results>, meant: Meant) {
    let at = meant.begun + meant.due;
    let late = at.elapsed();
    let target = lock(&targets).pick();
    let end = match target {
        Some(target) => {
            let answer = client.get(&target).await;
            lock(&targets).done(&target);
            match answer {
                Ok(Some(status)) if status < 500 => End::Served,
                Ok(Some(_)) => End::Refused,
                Ok(None) => End::TimedOut,
                Err(_) => End::Lost,
            }
        }
        None => End::Lost,
    };
    results.ended(&Ended { due: meant.due, late, latency: at.elapsed(), end });
}

fn lock(targets: &Mutex<Targets>) -> std::sync::MutexGuard<'_, Targets> {
    targets.lock().unwrap_or_else(PoisonError::into_inner)
}

fn replace(targets: &Mutex<Targets>, client: &Client, urls: Vec<String>) {
    client.follow(&urls);
    lock(targets).replace(urls);
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// Reads the targets again whenever the file changes.
async fn follow(file: PathBuf, targets: Arc<Mutex<Targets>>, client: Arc<Client>) {
    let mut last = String::new();
    let mut look = tokio::time::interval(Duration::from_millis(100));
    loop {
        look.tick().await;
        // A file that is being replaced keeps its last targets.
        if let Ok(text) = tokio::fs::read_to_string(&file).await.map(|text| (text != last).then_some(text))
            && let Some(text) = text
        {
            replace(&targets, &client, lines(&text));
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

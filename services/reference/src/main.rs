//! The reference service as a process: a replica, or the database behind all of them.

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use trimtab_reference::database::Database;
use trimtab_reference::{Replica, Settings, drain, duration, serve};

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
    Database(Behind),
}

/// `trimtab-reference database`.
#[derive(Args, Clone, Debug)]
struct Behind {
    /// Address to listen on
    #[arg(long, env = "REFERENCE_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Time that a request takes
    #[arg(long, env = "DATABASE_LATENCY", default_value = "5ms", value_parser = duration)]
    latency: Duration,
    /// Requests served at a time; further ones wait
    #[arg(long, env = "DATABASE_CAPACITY", default_value_t = 50)]
    capacity: usize,
    /// Accept PUT /tune?latency=400ms&capacity=10
    #[arg(long, env = "DATABASE_TUNABLE")]
    tunable: bool,
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

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    // A log that nobody reads any more does not end the process.
    tracing_subscriber::fmt().json().flatten_event(true).log_internal_errors(false).with_writer(std::io::stderr).init();
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Database(settings)) => run_database(settings).await,
        None => run_replica(cli.service).await,
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))
}

async fn run_database(settings: Behind) -> anyhow::Result<()> {
    let database = Database::new(settings.latency, settings.capacity);
    let listener = listen(settings.listen).await?;
    tracing::info!(listen = %listener.local_addr()?, "database started");
    let phase = drain::Phase::starting();
    phase.started();
    serve(listener, database.router(settings.tunable), drain::signalled(phase, Duration::ZERO)).await;
    Ok(())
}

async fn run_replica(settings: Service) -> anyhow::Result<()> {
    let replica = Replica::new(Settings {
        service_time: settings.service_time,
        cpu_share: settings.cpu_share,
        queue: settings.queue,
        seed: settings.seed,
        database: settings.database_url.map(|url| (url, settings.database_pool)),
    })
    .context("--database-url")?;
    let phase = replica.phase();
    let listener = listen(settings.listen).await?;
    tracing::info!(listen = %listener.local_addr()?, "started");
    if let Some(memory) = settings.memory {
        tokio::spawn(hold(memory));
    }
    let ready = phase.clone();
    tokio::spawn(async move {
        tokio::time::sleep(settings.startup).await;
        ready.started();
    });
    serve(listener, replica.router(), drain::signalled(phase, settings.drain_delay)).await;
    tracing::info!("ended with no request left");
    Ok(())
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

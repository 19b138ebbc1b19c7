//! What was typed for `trimtab bench`.

use super::duration;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;
use trimtab_core::unit::{Ratio, RequestsPerSecond};
use trimtab_sim::contest::Contender;
use trimtab_sim::law::{Balancing, Needs};

/// `trimtab bench`.
#[derive(Args, Clone, Debug)]
pub struct Bench {
    /// What to look at; the table where nothing is said.
    #[command(subcommand)]
    pub view: Option<View>,
    /// Seeds of requests: every policy serves the same ones; 5, where a view does not say otherwise
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub seeds: Option<u64>,
    /// Of the table: only these beside trimtab, each as its author made it, such as gate,static-floor,cpu-hpa,keda
    #[arg(long, global = true, value_name = "NAMES", value_delimiter = ',', value_parser = contender)]
    pub policies: Vec<Contender>,
    /// Directory for CSV and figures; `none` writes none
    #[arg(long, global = true, value_name = "DIRECTORY", default_value = "runs")]
    pub out: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub demand: Demand,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub service: Service,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub sight: Sight,
}

/// What to look at.
#[derive(Clone, Debug, Subcommand)]
pub enum View {
    /// All policies on all workloads, beside the published figures
    Table,
    /// Whoever is driven by forecasts, each by its own, by the published forecaster and by trimtab's (5 seeds)
    Forecasters,
    /// Cost against violations with every policy's knob swept, and the hypervolume of each
    Frontier,
    /// How far a plan looks ahead, for several start-ups and ramp limits (1 seed)
    Horizon,
    /// Changes and reversals of each policy on each workload
    Churn,
    /// Each part of the decision left out, one at a time, and the published gate on the same forecast (2 seeds)
    Ablation,
    /// Every way in which the service and the metrics may differ from what is believed, one at a time (1 seed)
    ModelError,
    /// 500 requests/s, then 10,000 within a minute, and back; and the least floor that survives it (1 seed)
    Surge(Surge),
    /// What `testbed/match` recorded on a real cluster, beside what is simulated of the same (5 seeds)
    Live {
        /// Its `--out`
        #[arg(value_name = "DIRECTORY")]
        directory: PathBuf,
    },
    /// Every request-rate file of a directory, the gate tuned on that very trace (1 seed)
    Traces {
        /// CSV files, also compressed with gzip, with the columns `t_seconds,rate`
        #[arg(value_name = "DIRECTORY")]
        directory: PathBuf,
    },
}

/// The demand.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Demand")]
pub struct Demand {
    /// Seed of the seven traces; 1 is the published one
    #[arg(long, global = true, value_name = "N", default_value_t = 1)]
    pub trace_seed: u64,
    /// A trace of your own instead: CSV, also gzip, with `t_seconds,rate`; each row is half a minute
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "trace_seed")]
    pub trace: Option<PathBuf>,
    /// Rescale a trace to this peak, in requests a second
    #[arg(long, global = true, value_name = "RATE", value_parser = rate)]
    pub peak: Option<RequestsPerSecond>,
    /// Rows of a trace that are past and not graded, instead of what its `history_rows` says
    #[arg(long, global = true, value_name = "ROWS")]
    pub history: Option<usize>,
    /// Rows to a season, instead of what its `period` says; told to those who ask for it
    #[arg(long, global = true, value_name = "ROWS")]
    pub season: Option<usize>,
    /// Draw a straight line over rows that are missing, instead of refusing them
    #[arg(long, global = true)]
    pub bridge: bool,
    /// What your own model forecast of the trace: CSV with `made_seconds,t_seconds,rate` on its clock; shown to trimtab as one expert of several
    #[arg(long, global = true, value_name = "FILE")]
    pub forecast: Option<PathBuf>,
    /// So many times the load, with as many times the ramp and the most replicas
    #[arg(long, global = true, value_name = "RATIO", default_value = "1", value_parser = scale)]
    pub scale: Ratio,
}

/// The service.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Service")]
pub struct Service {
    /// From ordering a replica to its serving, 0s where nothing is said; several separated by commas
    #[arg(long, global = true, value_name = "DURATION", value_delimiter = ',', value_parser = duration)]
    pub start_up: Vec<Duration>,
    /// Let start-ups scatter around it (lognormal, coefficient of variation 0.5)
    #[arg(long, global = true)]
    pub scattered: bool,
    /// For so long after its start a replica needs twice the time for a request
    #[arg(long, global = true, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub slow_start: Duration,
    /// Who gets a request: one-queue, least-outstanding, power-of-two, round-robin or random
    #[arg(long, global = true, value_name = "BALANCING", default_value = "one-queue", value_parser = balancing)]
    pub lb: Balancing,
    /// How service times scatter: deterministic, exponential, lognormal:CV or h2:CV
    #[arg(long, global = true, value_name = "LAW", default_value = "exponential", value_parser = needs)]
    pub service: Needs,
    /// What a replica is believed to serve, in requests a second
    #[arg(long, global = true, value_name = "RATE", default_value = "50", value_parser = rate)]
    pub mu: RequestsPerSecond,
    /// What it does serve, relative to that: 0.8 is a fifth less
    #[arg(long, global = true, value_name = "RATIO", default_value = "1", value_parser = bias)]
    pub mu_bias: Ratio,
    /// From what is believed to this in the course of so long: 0.8:4h
    #[arg(long, global = true, value_name = "RATIO:DURATION", conflicts_with_all = ["mu_bias", "mu_rollout"], value_parser = paced)]
    pub mu_drift: Option<(Ratio, Duration)>,
    /// From what is believed to this at once, after so long: 0.8:2h
    #[arg(long, global = true, value_name = "RATIO:DURATION", conflicts_with = "mu_bias", value_parser = paced)]
    pub mu_rollout: Option<(Ratio, Duration)>,
    /// A client that waited for so long gives up
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration)]
    pub patience: Option<Duration>,
    /// The promised 99th percentile
    #[arg(long, global = true, value_name = "DURATION", default_value = "200ms", value_parser = duration)]
    pub slo: Duration,
    /// Least replicas
    #[arg(long, global = true, value_name = "REPLICAS", default_value_t = 1)]
    pub min: u32,
    /// Most replicas; 60, of a surge 400
    #[arg(long, global = true, value_name = "REPLICAS")]
    pub max: Option<u32>,
    /// Most net change of replicas within any half-minute, or `none`; 4, of a surge none
    #[arg(long, global = true, value_name = "REPLICAS", value_parser = ramp)]
    pub ramp: Option<Ramp>,
}

/// What controllers get to see.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Metrics")]
pub struct Sight {
    /// How often trimtab and the autoscalers in use look; the published policies do every 30s
    #[arg(long, global = true, value_name = "DURATION", default_value = "5s", value_parser = tick)]
    pub tick: Duration,
    /// How old at least what is seen is; 0s where nothing is said
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration)]
    pub lag: Option<Duration>,
    /// Share of looks that see nothing
    #[arg(long, global = true, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub missing: Ratio,
    /// Nothing is seen from so long after the beginning, for so long: 1h:10m
    #[arg(long, global = true, value_name = "BEGINS:LASTS", value_parser = outage)]
    pub outage: Option<(Duration, Duration)>,
    /// Share of looks at which counters were reset, and demand reads as less than half
    #[arg(long, global = true, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub resets: Ratio,
    /// Share of looks at which demand reads as zero
    #[arg(long, global = true, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub zeros: Ratio,
    /// Every forecast of a rival, and one of --forecast, is off by this: 0.1 is a tenth too much
    #[arg(
        long,
        global = true,
        value_name = "RELATIVE",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        value_parser = forecast_bias
    )]
    pub forecast_bias: f64,
    /// Every forecast of a rival, and one of --forecast, scatters by this, relative to it
    #[arg(long, global = true, value_name = "RELATIVE", default_value_t = 0.0, value_parser = forecast_noise)]
    pub forecast_noise: f64,
}

/// `trimtab bench surge`.
#[derive(Args, Clone, Debug)]
pub struct Surge {
    /// From the creation of a pod to its serving, without its node: scheduling, pull and boot; several separated by commas
    #[arg(long, value_name = "DURATION", default_value = "30s,90s,180s", value_delimiter = ',', value_parser = duration)]
    pub boot: Vec<Duration>,
    /// Pods that the nodes hold that are there
    #[arg(long, value_name = "PODS", default_value_t = 60)]
    pub room: u32,
    /// Until a further node has come
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = duration)]
    pub node: Duration,
    /// How old at least what is seen is
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub metric_lag: Duration,
}

/// A ramp limit, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp(pub Option<u32>);

fn ramp(text: &str) -> Result<Ramp, String> {
    match text {
        "none" => Ok(Ramp(None)),
        text => {
            let most = text.parse().ok().filter(|most| *most >= 1);
            most.map(|most| Ramp(Some(most))).ok_or_else(|| "expected a number of at least 1, or none".into())
        }
    }
}

/// By its name in tables, in small letters and with dashes.
fn contender(text: &str) -> Result<Contender, String> {
    let name = |it: &Contender| it.name().to_lowercase().replace(", ", "-").replace(' ', "-");
    Contender::EVERYBODY.into_iter().find(|it| name(it) == text).ok_or_else(|| {
        let names: Vec<String> = Contender::EVERYBODY.iter().map(name).collect();
        format!("expected some of {}", names.join(", "))
    })
}

fn tick(text: &str) -> Result<Duration, String> {
    let tick = duration(text)?;
    let fits = !tick.is_zero() && Duration::from_secs(30).as_millis().is_multiple_of(tick.as_millis().max(1));
    if fits { Ok(tick) } else { Err("expected a span that 30s is a multiple of, such as 5s, 10s or 30s".into()) }
}

fn balancing(text: &str) -> Result<Balancing, String> {
    match text {
        "one-queue" => Ok(Balancing::OneQueue),
        "least-outstanding" => Ok(Balancing::LeastOutstanding),
        "power-of-two" => Ok(Balancing::PowerOfTwo),
        "round-robin" => Ok(Balancing::RoundRobin),
        "random" => Ok(Balancing::Random),
        _ => Err("expected one-queue, least-outstanding, power-of-two, round-robin or random".into()),
    }
}

fn needs(text: &str) -> Result<Needs, String> {
    let wrong = || {
        "expected deterministic, exponential, lognormal:CV or h2:CV, with a CV above 0 (h2: of at least 1)".to_owned()
    };
    let (law, cv) = text.split_once(':').unwrap_or((text, "0"));
    let cv: f64 = cv.parse().map_err(|_| wrong())?;
    match law {
        "deterministic" => Ok(Needs::Deterministic),
        "exponential" => Ok(Needs::Exponential),
        "lognormal" if cv > 0.0 && cv < 10.0 => Ok(Needs::Lognormal(cv)),
        "h2" if (1.0..10.0).contains(&cv) => Ok(Needs::Hyperexponential(cv)),
        _ => Err(wrong()),
    }
}

fn within(text: &str, range: std::ops::RangeInclusive<f64>) -> Option<f64> {
    text.parse().ok().filter(|number| range.contains(number))
}

fn bias(text: &str) -> Result<Ratio, String> {
    let bias = within(text, 0.1..=10.0).and_then(Ratio::new);
    bias.ok_or_else(|| "expected a ratio from 0.1 to 10, such as 0.8".into())
}

fn scale(text: &str) -> Result<Ratio, String> {
    let scale = within(text, 0.01..=100.0).and_then(Ratio::new);
    scale.ok_or_else(|| "expected a ratio from 0.01 to 100, such as 10".into())
}

fn share(text: &str) -> Result<Ratio, String> {
    let share = within(text, 0.0..=1.0).and_then(Ratio::new);
    share.ok_or_else(|| "expected a share from 0 to 1, such as 0.05".into())
}

fn forecast_bias(text: &str) -> Result<f64, String> {
    within(text, -0.9..=9.0)
        .ok_or_else(|| "expected a number from -0.9 to 9, such as -0.1 for a tenth too little".into())
}

fn forecast_noise(text: &str) -> Result<f64, String> {
    within(text, 0.0..=2.0).ok_or_else(|| "expected a number from 0 to 2, such as 0.1".into())
}

fn rate(text: &str) -> Result<RequestsPerSecond, String> {
    let rate = within(text, f64::MIN_POSITIVE..=1e7).and_then(RequestsPerSecond::new);
    rate.ok_or_else(|| "expected requests a second, above 0 and at most 1e7".into())
}

fn paced(text: &str) -> Result<(Ratio, Duration), String> {
    let (pace, span) = text.split_once(':').ok_or("expected a ratio and a duration, such as 0.8:2h")?;
    Ok((bias(pace)?, duration(span)?))
}

fn outage(text: &str) -> Result<(Duration, Duration), String> {
    let (begins, lasts) = text.split_once(':').ok_or("expected two durations, such as 1h:10m")?;
    Ok((duration(begins)?, duration(lasts)?))
}

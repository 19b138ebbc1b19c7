//! What was typed, as a scenario and as courses of demand; what cannot be is refused with every reason.

use super::surge;
use crate::cli::{Bench, Demand, Ramp, View};
use anyhow::Context;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use trimtab_core::policy::Bounds;
use trimtab_core::unit::{Ratio, Replicas, Seconds};
use trimtab_sim::foretold::{Forecasts, Replay};
use trimtab_sim::law::{Balancing, Law, Needs, Pace, Startup};
use trimtab_sim::run::{BOUNDS, Scenario};
use trimtab_sim::service::INTERVAL;
use trimtab_sim::shape::Shape;
use trimtab_sim::sight::{ForecastError, Outage, Sight};
use trimtab_sim::trace::{self, Gaps, Trace};
use trimtab_sim::workload::Workload;

/// A course of demand with the name that tables show.
#[derive(Clone, Debug)]
pub(super) struct Course {
    pub(super) name: String,
    /// The published trace of this shape.
    pub(super) published: Option<Shape>,
    /// The seed that it was generated with; `None` where it was measured.
    pub(super) trace_seed: Option<u64>,
    /// So many times the load.
    pub(super) scale: Ratio,
    pub(super) workload: Workload,
}

/// The length of a span that was typed.
pub(super) fn seconds(span: Duration) -> Seconds {
    Seconds::new(span.as_secs_f64()).unwrap_or_default()
}

/// The scenarios that were asked for: one for each start-up.
///
/// # Errors
/// Where settings contradict each other: all of it.
pub(super) fn scenarios(command: &Bench) -> anyhow::Result<Vec<Scenario>> {
    let service = &command.service;
    let mut problems = Vec::new();
    let most = service.max.map_or(if is_surge(command) { surge::MOST } else { BOUNDS.max() }, Replicas);
    let bounds = Bounds::new(Replicas(service.min), most);
    if bounds.is_none() {
        problems
            .push(format!("--min {} and --max {most}: the least must be at least 1 and at most the most", service.min));
    }
    let slowest = slowest(command);
    let needed = 1.0 / (service.mu.get() * slowest.get());
    if service.slo.as_secs_f64() < needed {
        problems.push(format!(
            "--slo {:?} is below the mean service time of {needed:.4} s: no number of replicas keeps it",
            service.slo
        ));
    }
    if !command.policies.is_empty() && !matches!(command.view, None | Some(View::Table)) {
        problems.push("--policies is of the table: the other views have their own".to_owned());
    }
    if is_surge(command) {
        problems.extend(surge::refused(command));
    } else if command.demand.trace.is_none() {
        let given = [
            ("--peak", command.demand.peak.is_some()),
            ("--history", command.demand.history.is_some()),
            ("--season", command.demand.season.is_some()),
            ("--bridge", command.demand.bridge),
            ("--forecast", command.demand.forecast.is_some()),
        ];
        let is_traces = matches!(command.view, Some(View::Traces { .. }));
        let useless = given.iter().filter(|(name, given)| *given && !(is_traces && *name == "--peak"));
        problems.extend(useless.map(|(name, _)| format!("{name} is of a trace: say which with --trace FILE")));
    }
    anyhow::ensure!(problems.is_empty(), "settings that cannot be:\n  {}", problems.join("\n  "));
    let bounds = bounds.unwrap_or(BOUNDS);
    let foretold = foretold(&command.demand)?;
    let one = |start_up: &Duration| {
        let foretold = Arc::clone(&foretold);
        Scenario { foretold, ..scenario(command, bounds, seconds(*start_up)) }
    };
    let start_ups = if service.start_up.is_empty() { &[Duration::ZERO] } else { service.start_up.as_slice() };
    Ok(start_ups.iter().map(one).collect())
}

fn is_surge(command: &Bench) -> bool {
    matches!(command.view, Some(View::Surge(_)))
}

/// What somebody else forecast of the trace, on the clock and at the load of the simulation.
fn foretold(demand: &Demand) -> anyhow::Result<Arc<Forecasts>> {
    let (Some(path), Some(measured)) = (&demand.forecast, &demand.trace) else { return Ok(Arc::default()) };
    let forecasts = forecasts(path)?;
    let (trace, course) = one_trace(demand, measured)?;
    let workload = scaled(course, demand.scale).workload;
    let largest = |rates: &mut dyn Iterator<Item = f64>| rates.fold(0.0, f64::max);
    let there = largest(&mut trace.rows.iter().flatten().map(|rate| rate.get()));
    let here = largest(&mut workload.history.iter().chain(&workload.rates).map(|rate| rate.get()));
    let step = trace.step.get();
    Ok(Arc::new(forecasts.replayed(Replay {
        begins: trace.begins + workload.history.len() as f64 * step,
        pace: INTERVAL.get() / step,
        scale: if there > 0.0 { here / there } else { 1.0 },
    })))
}

/// Reads forecasts.
///
/// # Errors
/// Where they cannot be read: the file, and all that is wrong with it.
pub fn forecasts(path: &Path) -> anyhow::Result<Forecasts> {
    let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    Forecasts::read(&bytes).with_context(|| format!("failed to read the forecast {}", path.display()))
}

/// What a replica serves at its slowest, relative to what is believed.
fn slowest(command: &Bench) -> Ratio {
    let service = &command.service;
    let later = service.mu_drift.or(service.mu_rollout).map_or(Ratio::ONE, |(pace, _)| pace);
    service.mu_bias.min(later)
}

fn scenario(command: &Bench, bounds: Bounds, start_up: Seconds) -> Scenario {
    let (service, sight) = (&command.service, &command.sight);
    let pace = match (service.mu_drift, service.mu_rollout) {
        (Some((to, span)), _) => Pace::Drifting(Ratio::ONE, to, seconds(span)),
        (None, Some((to, when))) => Pace::Changing(Ratio::ONE, to, seconds(when)),
        (None, None) => Pace::Steady(service.mu_bias),
    };
    let law = Law {
        capacity: service.mu,
        pace,
        needs: service.service,
        balancing: service.lb,
        startup: if service.scattered { Startup::Scattered(start_up) } else { Startup::Fixed(start_up) },
        slow_start: seconds(service.slow_start),
        patience: service.patience.map(seconds),
        target: seconds(service.slo),
        ..Law::benchmark(1)
    };
    let Ramp(ramp) = service.ramp.unwrap_or(Ramp(if is_surge(command) { None } else { Some(4) }));
    let scenario = Scenario {
        law,
        tick: seconds(sight.tick),
        ramp,
        bounds,
        sight: Sight {
            lag: seconds(sight.lag.unwrap_or_default()),
            missing: sight.missing,
            outage: sight.outage.map(|(begins, lasts)| Outage { begins: seconds(begins), lasts: seconds(lasts) }),
            resets: sight.resets,
            zeros: sight.zeros,
        },
        forecast_error: ForecastError { bias: sight.forecast_bias, noise: sight.forecast_noise },
        ..Scenario::benchmark(1)
    };
    if command.demand.scale == Ratio::ONE { scenario } else { scenario.at_scale(command.demand.scale) }
}

/// The one scenario of a view that has start-ups of its own, or none to compare.
///
/// # Errors
/// Where several were asked for.
pub(super) fn only(scenarios: Vec<Scenario>) -> anyhow::Result<Scenario> {
    let [scenario] = <[Scenario; 1]>::try_from(scenarios)
        .map_err(|several| anyhow::anyhow!("this view takes one --start-up, and was given {}", several.len()))?;
    Ok(scenario)
}

/// The columns that tell of a scenario, in files: an axis each.
pub(super) fn axes(scenario: &Scenario) -> Vec<(&'static str, String)> {
    let (law, sight) = (&scenario.law, &scenario.sight);
    let pace = match law.pace {
        Pace::Steady(pace) => pace.get().to_string(),
        Pace::Drifting(_, to, span) => format!("drift to {} in {} s", to.get(), span.get()),
        Pace::Changing(_, to, when) => format!("rollout to {} after {} s", to.get(), when.get()),
    };
    let outage = sight.outage.map_or_else(String::new, |it| format!("{}+{}", it.begins.get(), it.lasts.get()));
    let or_none = |count: Option<f64>| count.map_or_else(|| "none".to_owned(), |count| count.to_string());
    vec![
        ("start_up_s", law.startup.median().get().to_string()),
        ("scattered", matches!(law.startup, Startup::Scattered(_)).to_string()),
        ("slow_start_s", law.slow_start.get().to_string()),
        ("lb", balancing(law.balancing).to_owned()),
        ("service", needs(law.needs)),
        ("mu", law.capacity.get().to_string()),
        ("mu_bias", pace),
        ("patience_s", or_none(law.patience.map(Seconds::get))),
        ("slo_s", law.target.get().to_string()),
        ("min", scenario.bounds.min().to_string()),
        ("max", scenario.bounds.max().to_string()),
        ("ramp", or_none(scenario.ramp.map(f64::from))),
        ("tick_s", scenario.tick.get().to_string()),
        ("lag_s", sight.lag.get().to_string()),
        ("missing", sight.missing.get().to_string()),
        ("outage_s", outage),
        ("resets", sight.resets.get().to_string()),
        ("zeros", sight.zeros.get().to_string()),
        ("forecast_bias", scenario.forecast_error.bias.to_string()),
        ("forecast_noise", scenario.forecast_error.noise.to_string()),
        ("foretold", (*scenario.foretold != Forecasts::default()).to_string()),
    ]
}

fn balancing(balancing: Balancing) -> &'static str {
    match balancing {
        Balancing::OneQueue => "one-queue",
        Balancing::LeastOutstanding => "least-outstanding",
        Balancing::PowerOfTwo => "power-of-two",
        Balancing::RoundRobin => "round-robin",
        Balancing::Random => "random",
    }
}

fn needs(needs: Needs) -> String {
    match needs {
        Needs::Deterministic => "deterministic".into(),
        Needs::Exponential => "exponential".into(),
        Needs::Lognormal(cv) => format!("lognormal:{cv}"),
        Needs::Hyperexponential(cv) => format!("h2:{cv}"),
    }
}

/// The courses of demand that were asked for.
///
/// # Errors
/// Where a trace cannot be read: which, and all that is wrong with it.
pub(super) fn courses(demand: &Demand) -> anyhow::Result<Vec<Course>> {
    let courses = match &demand.trace {
        Some(path) => vec![one_trace(demand, path)?.1],
        None => Shape::ALL
            .map(|shape| {
                let (published, workload) = match demand.trace_seed {
                    1 => (Some(shape), shape.published()),
                    seed => (None, shape.generate(seed)),
                };
                let trace_seed = Some(demand.trace_seed);
                Course { name: shape.name().into(), published, trace_seed, scale: Ratio::ONE, workload }
            })
            .into(),
    };
    Ok(courses.into_iter().map(|course| scaled(course, demand.scale)).collect())
}

fn scaled(course: Course, scale: Ratio) -> Course {
    match scale {
        Ratio::ONE => course,
        scale => Course { workload: course.workload.scaled(scale), published: None, scale, ..course },
    }
}

fn one_trace(demand: &Demand, path: &Path) -> anyhow::Result<(Trace, Course)> {
    let trace = read(path, if demand.bridge { Gaps::Bridge } else { Gaps::Refuse })?;
    let note = |name: &str| {
        let Some(note) = trace.notes.get(name) else { return Ok(0) };
        note.parse().with_context(|| {
            format!("failed to read {}: expected a whole number after {name}, found `{note}`", path.display())
        })
    };
    let course = trace::Course {
        peak: demand.peak,
        step: None,
        skip: 0,
        history: demand.history.map_or_else(|| note("history_rows"), Ok)?,
        graded: None,
        season: demand.season.map_or_else(|| note("period"), Ok)?,
    };
    let workload = trace.workload(&course).with_context(|| format!("failed to use the trace {}", path.display()))?;
    let course = Course { name: name(path), published: None, trace_seed: None, scale: Ratio::ONE, workload };
    Ok((trace, course))
}

/// Reads a trace.
///
/// # Errors
/// Where it cannot be read: the file, and all that is wrong with it.
pub(super) fn read(path: &Path, gaps: Gaps) -> anyhow::Result<Trace> {
    let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    Trace::read(&bytes, gaps).with_context(|| format!("failed to read the trace {}", path.display()))
}

/// A file's name without what says that it is a compressed CSV.
pub(super) fn name(path: &Path) -> String {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.strip_suffix(".csv").unwrap_or(name).to_owned()
}

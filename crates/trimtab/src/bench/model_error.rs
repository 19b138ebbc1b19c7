//! What becomes of each policy where service and metrics are not what is believed: one difference at a time.

use super::files::{Files, runs_csv};
use super::setting::courses;
use super::{Runs, by_default, columns, progress, seeds, trimmed};
use crate::cli::Bench;
use trimtab_core::unit::{Ratio, Seconds};
use trimtab_sim::contest::Contender;
use trimtab_sim::law::{Balancing, Needs, Pace, Startup};
use trimtab_sim::run::Scenario;
use trimtab_sim::sight::{ForecastError, Outage};

const SHOWN: [Contender; 6] = [
    Contender::Trimtab,
    Contender::Gate,
    Contender::StaticFloor,
    Contender::SeasonalTrigger,
    Contender::CpuHpa,
    Contender::Keda,
];

/// A difference, and how it changes a scenario; the scale of load changes the workloads too.
struct Difference {
    name: String,
    scenario: Scenario,
    scale: Ratio,
}

pub(super) fn view(command: &Bench, scenario: &Scenario, files: &mut Files) -> anyhow::Result<String> {
    let courses = courses(&command.demand)?;
    let differences = differences(scenario);
    let seeds = seeds(command, 1);
    let progress = progress(courses.len() * SHOWN.len() * differences.len(), seeds);
    let names = SHOWN.map(|contender| contender.name().to_owned());
    let header = std::iter::once("VIOLATIONS @ HOURS".to_owned()).chain(names);
    let mut table = columns(&header.collect::<Vec<_>>());
    let mut all = Vec::new();
    for Difference { name, scenario, scale } in differences {
        let scaled: Vec<_> = courses
            .iter()
            .cloned()
            .map(|mut course| {
                course.workload = course.workload.scaled(scale);
                course
            })
            .collect();
        let runs = Runs::hold(&scaled, by_default(&SHOWN), seeds, &scenario, &progress);
        table.add_row(std::iter::once(name).chain((0..SHOWN.len()).map(|it| runs.mean(None, it).cell())));
        all.push(runs);
    }
    files.write("model-error.csv", &runs_csv(&all))?;
    let note = "Forecasts that are off or scatter are those of rivals: trimtab's own come of what it sees.";
    Ok(format!("{}\n\n{note}\n", trimmed(&table)))
}

fn differences(base: &Scenario) -> Vec<Difference> {
    let one = |name: &str, change: &dyn Fn(&mut Scenario)| {
        let mut scenario = base.clone();
        change(&mut scenario);
        Difference { name: name.to_owned(), scenario, scale: Ratio::ONE }
    };
    let mut all = vec![one("as believed", &|_| {})];
    for (seconds, scattered) in [(10, false), (30, false), (30, true), (60, false), (120, false), (300, false)] {
        let span = Seconds::whole(seconds);
        let startup = if scattered { Startup::Scattered(span) } else { Startup::Fixed(span) };
        let name = format!("start-up {seconds} s{}", if scattered { ", scattered" } else { "" });
        all.push(one(&name, &|it| it.law.startup = startup));
    }
    all.push(one("slow start of 60 s", &|it| {
        it.law.startup = Startup::Fixed(Seconds::whole(30));
        it.law.slow_start = Seconds::whole(60);
    }));
    all.extend(services(&one));
    all.extend(metrics(&one));
    for (bias, noise) in [(-0.2, 0.0), (0.2, 0.0), (0.0, 0.1), (0.0, 0.3)] {
        let name = format!("forecasts {:+.0} %, scatter {:.0} %", 100.0 * bias, 100.0 * noise);
        all.push(one(&name, &|it| it.forecast_error = ForecastError { bias, noise }));
    }
    for percent in [10, 30, 300, 1_000] {
        let scale = Ratio::percent(percent);
        let scenario = base.clone().at_scale(scale);
        all.push(Difference { name: format!("load times {}", scale.get()), scenario, scale });
    }
    all
}

type One<'a> = &'a dyn Fn(&str, &dyn Fn(&mut Scenario)) -> Difference;

fn services(one: One<'_>) -> Vec<Difference> {
    let mut all = Vec::new();
    for (name, needs) in [
        ("deterministic service", Needs::Deterministic),
        ("lognormal service, CV 2", Needs::Lognormal(2.0)),
        ("H2 service, CV 3", Needs::Hyperexponential(3.0)),
    ] {
        all.push(one(name, &|it| it.law.needs = needs));
    }
    for (name, balancing) in [
        ("least outstanding", Balancing::LeastOutstanding),
        ("power of two", Balancing::PowerOfTwo),
        ("round robin", Balancing::RoundRobin),
        ("random balancing", Balancing::Random),
    ] {
        all.push(one(name, &|it| it.law.balancing = balancing));
    }
    for percent in [70, 80, 90, 110, 120, 130] {
        let name = format!("serves {percent} % of belief");
        all.push(one(&name, &|it| it.law.pace = Pace::Steady(Ratio::percent(percent))));
    }
    let slow = Ratio::percent(80);
    all.push(one("drifts to 80 % in 2 h", &|it| it.law.pace = Pace::Drifting(Ratio::ONE, slow, Seconds::whole(7_200))));
    all.push(one("a rollout to 80 % after 1 h", &|it| {
        it.law.pace = Pace::Changing(Ratio::ONE, slow, Seconds::whole(3_600));
    }));
    all.push(one("clients give up after 1 s", &|it| it.law.patience = Some(Seconds::whole(1))));
    all
}

fn metrics(one: One<'_>) -> Vec<Difference> {
    let mut all = Vec::new();
    for seconds in [15, 30, 60] {
        all.push(one(&format!("metrics {seconds} s old"), &|it| it.sight.lag = Seconds::whole(seconds)));
    }
    let share = Ratio::percent(10);
    all.push(one("a tenth of readings missing", &|it| it.sight.missing = share));
    all.push(one("no readings for 10 min", &|it| {
        it.sight.outage = Some(Outage { begins: Seconds::whole(3_600), lasts: Seconds::whole(600) });
    }));
    all.push(one("a tenth of readings after a reset", &|it| it.sight.resets = share));
    all.push(one("a tenth of readings lying zeros", &|it| it.sight.zeros = share));
    all.push(one("looks every 30 s", &|it| it.tick = Seconds::whole(30)));
    all
}

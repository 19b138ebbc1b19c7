//! The published table: everybody on every workload, beside what was published; and how sure the differences are.

use super::files::{Files, intervals_csv, quoted, runs_csv};
use super::setting::{Course, axes, courses};
use super::{Mean, Named, Runs, by_default, columns, figures, progress, seeds, shown, trimmed};
use crate::cli::Bench;
use std::fmt::Write;
use trimtab_sim::contest::Contender;
use trimtab_sim::run::{Scenario, Score};
use trimtab_sim::service::INTERVAL;
use trimtab_sim::statistics::{Estimate, blocks, estimate, tally};

/// Fewer pairs than this have no interval that is worth printing.
const PAIRS: u64 = 5;
/// Ten minutes: what a burst or a backlog hangs together for.
const BLOCK: usize = 20;
/// Less than a tenth of an interval in a thousand apart is a tie.
const TIE: f64 = 1e-4;
/// Resamples are drawn from it.
const SEED: u64 = 1;

pub(super) fn view(command: &Bench, scenarios: &[Scenario], files: &mut Files) -> anyhow::Result<String> {
    let courses = courses(&command.demand)?;
    let seeds = seeds(command, 5);
    let entrants =
        if command.policies.is_empty() { by_default(&Contender::EVERYBODY) } else { chosen(&command.policies) };
    let progress = progress(courses.len() * entrants.len() * scenarios.len(), seeds);
    let (mut text, mut all) = (String::new(), Vec::new());
    for scenario in scenarios {
        let runs = Runs::hold(&courses, entrants.clone(), seeds, scenario, &progress);
        if scenarios.len() > 1 {
            let _ = writeln!(text, "Start-up {}\n", shown(scenario.law.startup.median()));
        }
        text.push_str(&tables(&runs));
        if seeds >= PAIRS {
            text.push_str(&pairs(&runs));
        }
        all.push(runs);
    }
    files.write("runs.csv", &runs_csv(&all))?;
    files.write("intervals.csv", &intervals_csv(&all))?;
    if seeds >= PAIRS {
        files.write("pairs.csv", &pairs_csv(&all))?;
    }
    for runs in &all {
        let suffix = match scenarios.len() {
            1 => String::new(),
            _ => format!("-start-up-{}s", runs.scenario.law.startup.median().get()),
        };
        files.draw(&format!("violations{suffix}"), &figures::violations(runs))?;
        for (number, course) in runs.courses.iter().enumerate() {
            files.draw(&format!("series-{}{suffix}", course.name), &figures::series(runs, number))?;
        }
    }
    Ok(text)
}

/// trimtab, and those that were asked for, in the order of all.
fn chosen(policies: &[Contender]) -> Vec<Named> {
    let all = Contender::EVERYBODY.into_iter();
    let some: Vec<Contender> = all.filter(|it| *it == Contender::Trimtab || policies.contains(it)).collect();
    by_default(&some)
}

fn tables(runs: &Runs) -> String {
    let header = ["MEAN OF ALL", "VIOLATIONS", "REPLICA-HOURS", "CHURN", "SLOW REQUESTS", "LARGEST BACKLOG"];
    let mut means = columns(&header.map(str::to_owned));
    for (number, named) in runs.entrants.iter().enumerate() {
        let Mean { violations, replica_hours, churn, slow, backlog } = runs.mean(None, number);
        means.add_row([
            named.name.clone(),
            format!("{violations:.4}"),
            format!("{replica_hours:.2}"),
            format!("{churn:.0}"),
            format!("{slow:.5}"),
            backlog.to_string(),
        ]);
    }
    let comparable = is_published(&runs.scenario);
    let names = runs.courses.iter().map(|course| course.name.clone());
    let mut each = columns(&std::iter::once("VIOLATIONS @ HOURS".to_owned()).chain(names).collect::<Vec<_>>());
    for (entrant, named) in runs.entrants.iter().enumerate() {
        let cell = |course: usize| runs.mean(Some(course), entrant).cell();
        each.add_row(std::iter::once(named.name.clone()).chain((0..runs.courses.len()).map(cell)));
        let of = |course: &Course| {
            course.published.filter(|_| comparable).and_then(|it| named.entrant.contender.published(it))
        };
        let published: Vec<Option<(f64, f64)>> = runs.courses.iter().map(of).collect();
        if published.iter().any(Option::is_some) {
            let cell = |it: &Option<(f64, f64)>| {
                it.map_or_else(String::new, |(rate, hours)| format!("{rate:.3}  @ {hours:.1}"))
            };
            each.add_row(std::iter::once("  as published".to_owned()).chain(published.iter().map(cell)));
        }
    }
    format!("{}\n\n{}\n\n", trimmed(&means), trimmed(&each))
}

/// Whether the published figures are of such a world; their policies look every half-minute, however often others do.
fn is_published(scenario: &Scenario) -> bool {
    let world = |of: &Scenario| axes(&Scenario { tick: INTERVAL, ..of.clone() });
    world(scenario) == world(&Scenario::benchmark(1))
}

/// The first entrant against another.
struct Pair {
    /// Differences of the violation rate and of replica-hours, trimtab minus the other: one for each seed.
    violations: Option<Estimate>,
    hours: Option<Estimate>,
    /// The violation rate again, resampled over blocks of intervals.
    blocks: Option<Estimate>,
    /// Wins, ties and losses in violations.
    rounds: (usize, usize, usize),
}

fn pair(runs: &Runs, course: Option<usize>, other: usize) -> Pair {
    let of_seeds = |of: &dyn Fn(&Score) -> f64| {
        let (mut sums, mut each) = (Vec::<f64>::new(), Vec::new());
        for of_course in runs.outcomes.iter().enumerate().filter(|(it, _)| course.is_none_or(|wanted| wanted == *it)) {
            let (Some(ours), Some(theirs)) = (of_course.1.first(), of_course.1.get(other)) else { continue };
            sums.resize(ours.len(), 0.0);
            for ((ours, theirs), sum) in ours.iter().zip(theirs).zip(&mut sums) {
                let difference = of(&ours.score) - of(&theirs.score);
                *sum += difference;
                each.push(difference);
            }
        }
        let courses = (each.len() / sums.len().max(1)).max(1) as f64;
        (sums.into_iter().map(|sum| sum / courses).collect::<Vec<f64>>(), each)
    };
    let (violations, each) = of_seeds(&Score::rate);
    let (hours, _) = of_seeds(&|score| score.replica_hours);
    let tally = tally(&each, TIE);
    Pair {
        violations: estimate(&violations, SEED),
        hours: estimate(&hours, SEED),
        blocks: blocks(&by_interval(runs, course, other), BLOCK, SEED),
        rounds: (tally.wins, tally.ties, tally.losses),
    }
}

/// How much oftener an interval was violated than under the other, mean of the seeds, one course after the other.
fn by_interval(runs: &Runs, course: Option<usize>, other: usize) -> Vec<f64> {
    let mut series = Vec::new();
    for (number, of_course) in runs.outcomes.iter().enumerate() {
        let (Some(ours), Some(theirs)) = (of_course.first(), of_course.get(other)) else { continue };
        if course.is_some_and(|wanted| wanted != number) {
            continue;
        }
        let intervals = ours.first().map_or(0, |outcome| outcome.score.rows.len());
        let mut differences = vec![0.0; intervals];
        for (ours, theirs) in ours.iter().zip(theirs) {
            let rows = ours.score.rows.iter().zip(&theirs.score.rows);
            for ((ours, theirs), difference) in rows.zip(&mut differences) {
                *difference += f64::from(ours.grade.violates()) - f64::from(theirs.grade.violates());
            }
        }
        series.extend(differences.into_iter().map(|difference| difference / ours.len().max(1) as f64));
    }
    series
}

fn interval(estimate: Option<Estimate>, digits: usize) -> String {
    estimate.map_or_else(String::new, |it| {
        let sure = if it.is_sure() { "" } else { "  (unsure)" };
        format!("{:+.digits$} [{:+.digits$}, {:+.digits$}]{sure}", it.mean, it.low, it.high)
    })
}

fn pairs(runs: &Runs) -> String {
    let header = [
        "TRIMTAB MINUS",
        "VIOLATIONS, 95 % OVER SEEDS",
        "95 % OVER BLOCKS OF 10 MIN",
        "REPLICA-HOURS, 95 % OVER SEEDS",
        "WIN/TIE/LOSS IN VIOLATIONS",
    ];
    let mut table = columns(&header.map(str::to_owned));
    for (number, named) in runs.entrants.iter().enumerate().skip(1) {
        let pair = pair(runs, None, number);
        let (wins, ties, losses) = pair.rounds;
        table.add_row([
            named.name.clone(),
            interval(pair.violations, 4),
            interval(pair.blocks, 4),
            interval(pair.hours, 2),
            format!("{wins}/{ties}/{losses}"),
        ]);
    }
    format!("{}\n\n", trimmed(&table))
}

fn pairs_csv(all: &[Runs]) -> String {
    let mut text = "start_up_s,workload,against,violations,low,high,blocks_low,blocks_high,replica_hours,hours_low,hours_high,wins,ties,losses\n"
        .to_owned();
    for runs in all {
        let start_up = runs.scenario.law.startup.median().get();
        let places = (0..runs.courses.len()).map(Some).chain([None]);
        for place in places {
            let course = place.and_then(|place| runs.courses.get(place)).map_or("all", |course| course.name.as_str());
            for (number, named) in runs.entrants.iter().enumerate().skip(1) {
                let pair = pair(runs, place, number);
                let three = |it: Option<Estimate>| {
                    it.map_or_else(|| ",,".to_owned(), |it| format!("{:.6},{:.6},{:.6}", it.mean, it.low, it.high))
                };
                let blocks = pair.blocks.map_or_else(|| ",".to_owned(), |it| format!("{:.6},{:.6}", it.low, it.high));
                let (wins, ties, losses) = pair.rounds;
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "{start_up},{},{},{},{blocks},{},{wins},{ties},{losses}",
                    quoted(course),
                    quoted(&named.name),
                    three(pair.violations),
                    three(pair.hours)
                );
            }
        }
    }
    text
}

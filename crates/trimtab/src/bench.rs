//! `trimtab bench`: the decision against what others decide, on the seven workloads of the benchmark or on anybody's trace.

use crate::cli::Bench;
use crate::commands::Printed;
use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Write;
use std::path::Path;
use trimtab_core::unit::Seconds;
use trimtab_sim::contest::{self, Contender, Outcome};
use trimtab_sim::law::{Law, Pace, Startup};
use trimtab_sim::run::{Scenario, Score};
use trimtab_sim::shape::Shape;
use trimtab_sim::workload::Workload;

/// A course of demand with the name that tables show.
struct Course {
    name: String,
    /// The published trace of this shape.
    published: Option<Shape>,
    workload: Workload,
}

/// Runs the benchmark, prints its tables and writes its files.
///
/// # Errors
/// Where a trace cannot be read, or a file not be written: which, and why.
pub fn bench(command: &Bench) -> anyhow::Result<Printed> {
    let scenario = scenario(command);
    let courses = courses(command)?;
    let workloads: Vec<Workload> = courses.iter().map(|course| course.workload.clone()).collect();
    let runs = workloads.len() as u64 * Contender::ALL.len() as u64 * command.seeds;
    // On a terminal only; elsewhere nothing is drawn.
    let progress = ProgressBar::with_draw_target(Some(runs), ProgressDrawTarget::stderr());
    progress.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} runs, {eta} left")?);
    let seeds = 1..=command.seeds;
    let outcomes = contest::hold(&workloads, &Contender::ALL, seeds, &scenario, &|| progress.inc(1));
    progress.finish_and_clear();
    if let Some(directory) = &command.out {
        write_files(directory, &courses, &outcomes)?;
    }
    Ok(Printed::done(tables(&courses, &outcomes)))
}

fn scenario(command: &Bench) -> Scenario {
    let start_up = Seconds::new(command.start_up.as_secs_f64()).unwrap_or_default();
    let law = Law {
        startup: Startup::Fixed(start_up),
        balancing: command.lb,
        needs: command.service,
        pace: Pace::Steady(command.mu_bias),
        ..Law::benchmark(1)
    };
    Scenario { law, tick: Seconds::new(command.tick.as_secs_f64()).unwrap_or_default(), ..Scenario::benchmark(1) }
}

fn courses(command: &Bench) -> anyhow::Result<Vec<Course>> {
    if let Some(path) = &command.trace {
        let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        let workload = Workload::read(&text).with_context(|| format!("failed to read the trace {}", path.display()))?;
        let name = path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        return Ok(vec![Course { name, published: None, workload }]);
    }
    let course = |shape: Shape| match command.trace_seed {
        1 => Course { name: shape.name().into(), published: Some(shape), workload: shape.published() },
        seed => Course { name: shape.name().into(), published: None, workload: shape.generate(seed) },
    };
    Ok(Shape::ALL.map(course).into())
}

/// What a contender came to on some runs: means.
struct Mean {
    violations: f64,
    replica_hours: f64,
    churn: f64,
    slow: f64,
    backlog: usize,
}

fn mean<'a>(scores: impl Iterator<Item = &'a Score>) -> Mean {
    let scores: Vec<&Score> = scores.collect();
    let of = |of: &dyn Fn(&Score) -> f64| scores.iter().map(|score| of(score)).sum::<f64>() / scores.len() as f64;
    Mean {
        violations: of(&Score::rate),
        replica_hours: of(&|score| score.replica_hours),
        churn: of(&|score| score.churn as f64),
        slow: of(&|score| score.slow as f64 / score.requests.max(1) as f64),
        backlog: scores.iter().map(|score| score.largest_backlog).max().unwrap_or_default(),
    }
}

fn tables(courses: &[Course], outcomes: &[Outcome]) -> String {
    let of = |contender: Contender, workload: Option<usize>| {
        mean(
            outcomes
                .iter()
                .filter(|outcome| outcome.contender == contender && workload.is_none_or(|it| it == outcome.workload))
                .map(|outcome| &outcome.score),
        )
    };
    let mut means = table(&["MEAN OF ALL", "VIOLATIONS", "REPLICA-HOURS", "CHURN", "SLOW REQUESTS", "LARGEST BACKLOG"]);
    for contender in Contender::ALL {
        let Mean { violations, replica_hours, churn, slow, backlog } = of(contender, None);
        means.add_row([
            contender.name().to_owned(),
            format!("{violations:.4}"),
            format!("{replica_hours:.2}"),
            format!("{churn:.0}"),
            format!("{slow:.5}"),
            backlog.to_string(),
        ]);
    }
    let header: Vec<&str> =
        std::iter::once("VIOLATIONS @ REPLICA-HOURS").chain(Contender::ALL.map(Contender::name)).collect();
    let mut each = table(&header);
    for (number, course) in courses.iter().enumerate() {
        let cell = |contender: Contender| {
            let mean = of(contender, Some(number));
            format!("{:.4} @ {:.2}", mean.violations, mean.replica_hours)
        };
        each.add_row(std::iter::once(course.name.clone()).chain(Contender::ALL.map(cell)));
        let Some(shape) = course.published else { continue };
        let published = |contender: Contender| {
            contender.published(shape).map_or_else(String::new, |(rate, hours)| format!("{rate:.3}  @ {hours:.1}"))
        };
        each.add_row(std::iter::once("  as published".to_owned()).chain(Contender::ALL.map(published)));
    }
    format!("{}\n\n{}\n", trimmed(&means), trimmed(&each))
}

fn table(header: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header);
    table
}

fn trimmed(table: &comfy_table::Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// `runs.csv`, a row for each run, and `intervals.csv`, a row for each interval of each.
fn write_files(directory: &Path, courses: &[Course], outcomes: &[Outcome]) -> anyhow::Result<()> {
    let mut runs =
        "workload,policy,seed,intervals,violations,replica_hours,churn,requests,slow,largest_backlog\n".to_owned();
    let mut intervals = "workload,policy,seed,interval,rate,replicas,ready,requests,slow,p99_s\n".to_owned();
    for Outcome { workload, contender, seed, score } in outcomes {
        let course = courses.get(*workload).map_or("", |course| course.name.as_str());
        let run = format!("{course},{},{seed}", contender.name());
        let Score { intervals: graded, violations, replica_hours, churn, requests, slow, largest_backlog, .. } = score;
        // Writing to a String cannot fail.
        let _ = writeln!(
            runs,
            "{run},{graded},{violations},{replica_hours:.4},{churn},{requests},{slow},{largest_backlog}"
        );
        for (number, row) in score.rows.iter().enumerate() {
            let p99 = row.p99.map_or_else(String::new, |p99| format!("{:.3}", p99.get()));
            let (rate, grade) = (row.rate.get(), row.grade);
            let _ = writeln!(
                intervals,
                "{run},{number},{rate},{},{},{},{},{p99}",
                row.replicas, row.ready, grade.requests, grade.slow
            );
        }
    }
    std::fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
    for (name, text) in [("runs.csv", runs), ("intervals.csv", intervals)] {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn command(arguments: &[&str]) -> Bench {
        match Cli::try_parse_from(["trimtab", "bench"].iter().chain(arguments)).unwrap().command {
            Command::Bench(command) => command,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_files() {
        let directory = tempfile::tempdir().unwrap();
        let trace = directory.path().join("trace.csv");
        let rows: Vec<String> = (0..12).map(|row| format!("{},{}\n", row * 30, 60 + 10 * row)).collect();
        std::fs::write(&trace, format!("# history_rows=2\nt_seconds,rate\n{}", rows.concat())).unwrap();
        let files = ["one", "other"].map(|name| {
            let out = directory.path().join(name);
            let command =
                command(&["--trace", trace.to_str().unwrap(), "--seeds", "2", "--out", out.to_str().unwrap()]);
            bench(&command).unwrap();
            ["runs.csv", "intervals.csv"].map(|file| std::fs::read_to_string(out.join(file)).unwrap())
        });
        assert_eq!(files[0], files[1]);
        let [runs, intervals] = &files[0];
        assert_eq!((runs.lines().count(), intervals.lines().count()), (1 + 7 * 2, 1 + 7 * 2 * 10));
    }

    #[test]
    fn a_trace_that_is_none_is_named_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let trace = directory.path().join("trace.csv");
        std::fs::write(&trace, "t_seconds,rate\n0,60\n30,many\n").unwrap();
        let error = bench(&command(&["--trace", trace.to_str().unwrap()])).unwrap_err();
        let said = format!("{error:#}");
        assert!(said.contains("trace.csv") && said.contains("line 3"), "{said}");
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        for arguments in
            [["--tick", "7s"], ["--mu-bias", "0"], ["--lb", "fair"], ["--service", "h2:0.5"], ["--seeds", "0"]]
        {
            let arguments = ["trimtab", "bench"].into_iter().chain(arguments);
            assert!(Cli::try_parse_from(arguments.clone()).is_err(), "{:?}", arguments.collect::<Vec<_>>());
        }
    }
}

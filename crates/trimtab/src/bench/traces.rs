//! Measured courses: every request-rate file of a directory, each rescaled to one peak, against the autoscalers in use and the gate tuned on that very trace.
//!
//! A row is one interval; rows of less than half a minute are averaged to half minutes. Coarser rows make time run faster than it did, which
//! is harder for all alike. The end of each file is taken: so many intervals are graded, and what is before them is history.

use super::files::{Files, runs_csv};
use super::setting::{Course, name, read};
use super::{Mean, Runs, by_default, columns, figures, progress, seeds, trimmed};
use crate::cli::Bench;
use anyhow::Context;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use trimtab_core::unit::{Ratio, RequestsPerSecond, Seconds};
use trimtab_sim::contest::Contender;
use trimtab_sim::run::Scenario;
use trimtab_sim::service::INTERVAL;
use trimtab_sim::trace::{self, Gaps, Trace};

const SHOWN: [Contender; 7] = [
    Contender::Trimtab,
    Contender::CpuHpa,
    Contender::Keda,
    Contender::StaticFloor,
    Contender::Gate,
    Contender::GateFewest,
    Contender::GateCheapest,
];
/// Half of what the largest fleet serves, so that nobody is stopped by the bound.
const PEAK: RequestsPerSecond = RequestsPerSecond::whole(1_000);
/// Twelve hours: long enough for what a day holds of surprises, short enough for a dozen files to be run in minutes.
const GRADED: usize = 1_440;
/// Of a file at most this share is history.
const HISTORY: usize = 3;

pub(super) fn view(
    command: &Bench,
    directory: &Path,
    scenario: &Scenario,
    files: &mut Files,
) -> anyhow::Result<String> {
    let peak = command.demand.peak.unwrap_or(PEAK);
    let (courses, said) = courses(directory, peak)?;
    let seeds = seeds(command, 1);
    let progress = progress(courses.len() * SHOWN.len(), seeds);
    let runs = Runs::hold(&courses, by_default(&SHOWN), seeds, scenario, &progress);
    let names = SHOWN.map(|contender| contender.name().to_owned());
    let header = std::iter::once("VIOLATIONS @ HOURS".to_owned()).chain(names).chain(["TRIMTAB LOSES TO".to_owned()]);
    let mut table = columns(&header.collect::<Vec<_>>());
    for place in (0..courses.len()).map(Some).chain([None]) {
        let means: Vec<Mean> = (0..SHOWN.len()).map(|entrant| runs.mean(place, entrant)).collect();
        let name = place.and_then(|place| courses.get(place)).map_or("mean of all", |course| course.name.as_str());
        let row = std::iter::once(name.to_owned()).chain(means.iter().map(|mean| mean.cell()));
        table.add_row(row.chain([losses(&means)]));
    }
    files.write("traces.csv", &runs_csv(std::slice::from_ref(&runs)))?;
    files.draw("traces-violations", &figures::violations(&runs))?;
    for (number, course) in courses.iter().enumerate() {
        files.draw(&format!("series-{}", course.name), &figures::series(&runs, number))?;
    }
    Ok(format!(
        "{}\n\nA trace loses where another has no more violations and costs no more, and one of the two is less.\n\n{said}\n",
        trimmed(&table)
    ))
}

/// Who is no worse in both, and better in one; less than a thousandth of the cost is no difference.
fn losses(means: &[Mean]) -> String {
    let Some(ours) = means.first() else { return String::new() };
    let beats = |theirs: &Mean| {
        let cost = theirs.replica_hours / ours.replica_hours;
        let no_worse = theirs.violations <= ours.violations && cost <= 1.001;
        no_worse && (theirs.violations < ours.violations || cost < 0.999)
    };
    let losses =
        SHOWN.iter().zip(means).skip(1).filter(|(_, theirs)| beats(theirs)).map(|(contender, _)| contender.name());
    losses.collect::<Vec<_>>().join(", ")
}

/// The courses of a directory, and what was made of each file.
fn courses(directory: &Path, peak: RequestsPerSecond) -> anyhow::Result<(Vec<Course>, String)> {
    let entries = fs::read_dir(directory).with_context(|| format!("failed to read {}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let is_csv = |path: &&PathBuf| {
        let name = path.to_string_lossy();
        name.ends_with(".csv") || name.ends_with(".csv.gz")
    };
    let (mut courses, mut problems, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    let header = ["FILE", "A ROW IS", "HISTORY", "GRADED", "SEASON", "PEAK THERE"].map(str::to_owned);
    let mut table = columns(&header);
    for path in paths.iter().filter(is_csv) {
        if !has_rates(path)? {
            left_out.push(name(path));
            continue;
        }
        match read(path, Gaps::Bridge).and_then(|trace| course(path, &trace, peak).map(|course| (trace, course))) {
            Ok((trace, (course, row))) => {
                let largest = trace.rows.iter().flatten().map(|rate| rate.get()).fold(0.0, f64::max);
                let Course { name, workload, .. } = &course;
                table.add_row([
                    name.clone(),
                    row,
                    workload.history.len().to_string(),
                    workload.rates.len().to_string(),
                    if workload.season == 0 { "none".to_owned() } else { workload.season.to_string() },
                    format!("{largest:.1}/s"),
                ]);
                courses.push(course);
            }
            Err(error) => problems.push(format!("{error:#}")),
        }
    }
    anyhow::ensure!(problems.is_empty(), "traces that cannot be used:\n{}", problems.join("\n"));
    anyhow::ensure!(!courses.is_empty(), "{} has no CSV with the columns t_seconds,rate", directory.display());
    let mut said = trimmed(&table);
    if !left_out.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(said, "\n\nNo request rates, left out: {}", left_out.join(", "));
    }
    Ok((courses, said))
}

/// Whether the columns are those of a rate.
fn has_rates(path: &Path) -> anyhow::Result<bool> {
    let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(trace::columns(&bytes).is_some_and(|columns| columns == "t_seconds,rate"))
}

fn course(path: &Path, trace: &Trace, peak: RequestsPerSecond) -> anyhow::Result<(Course, String)> {
    let row = trace.step.get();
    let step = (row < INTERVAL.get()).then_some(INTERVAL);
    let span = step.map_or(row, Seconds::get);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rows of a file")]
    let whole = |count: f64| count as usize;
    let rows = whole((trace.rows.len() as f64 * row / span).floor());
    // A day; where it has few rows, a week.
    let day = whole((86_400.0 / span).round());
    let season = if day < 100 { 7 * day } else { day };
    let season = if rows >= 3 * season { season } else { 0 };
    let history = (rows / HISTORY).min(if season == 0 { GRADED / 3 } else { 2 * season });
    let graded = GRADED.min(rows.saturating_sub(history));
    let skip = rows.saturating_sub(history + graded);
    let course = trace::Course { peak: Some(peak), step, skip, history, graded: Some(graded), season };
    let workload = trace.workload(&course).with_context(|| format!("failed to use the trace {}", path.display()))?;
    let row = match step {
        Some(_) => format!("{row} s, 30 s averaged"),
        None => format!("{row} s, as 30 s"),
    };
    let course = Course { name: name(path), published: None, trace_seed: None, scale: Ratio::ONE, workload };
    Ok((course, row))
}

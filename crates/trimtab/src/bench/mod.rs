//! `trimtab bench`: the decision against what others decide, on the seven workloads of the benchmark or on anybody's traces.
//!
//! A view is a module: it runs what it needs through `Runs`, returns what is printed, and writes its CSV and figures into the directory that
//! was named. Nothing of the clock or the machine reaches a file: the same command gives the same bytes.

use crate::cli::{Bench, View};
use crate::commands::Printed;
use crate::progress::Progress;
use files::Files;
pub use live::Run as LiveRun;
use setting::Course;
pub use setting::forecasts;
use trimtab_core::unit::Seconds;
use trimtab_sim::contest::{self, Contender, Entrant, Outcome};
use trimtab_sim::run::{Scenario, Score};
use trimtab_sim::statistics::Point;
use trimtab_sim::workload::Workload;

mod ablation;
mod canvas;
mod churn;
mod figures;
mod files;
mod forecasters;
mod frontier;
mod horizon;
mod live;
mod model_error;
mod setting;
mod surge;
mod table;
mod traces;

/// Runs what was asked for, prints its tables and writes its files.
///
/// # Errors
/// Where settings contradict each other, a trace cannot be read, or a file not be written: which, and why.
pub fn bench(command: &Bench) -> anyhow::Result<Printed> {
    let scenarios = setting::scenarios(command)?;
    let mut files = Files::new(&command.out);
    let text = match &command.view {
        None | Some(View::Table) => table::view(command, &scenarios, &mut files)?,
        Some(View::Forecasters) => forecasters::view(command, &setting::only(scenarios)?, &mut files)?,
        Some(View::Frontier) => frontier::view(command, &setting::only(scenarios)?, &mut files)?,
        Some(View::Horizon) => horizon::view(command, &setting::only(scenarios)?, &mut files)?,
        Some(View::Churn) => churn::view(command, &setting::only(scenarios)?, &mut files)?,
        Some(View::Ablation) => ablation::view(command, &setting::only(scenarios)?, &mut files)?,
        Some(View::ModelError) => model_error::view(command, &setting::only(scenarios)?, &mut files)?,
        Some(View::Surge(surge)) => surge::view(command, surge, &setting::only(scenarios)?, &mut files)?,
        Some(View::Live { directory }) => live::view(directory, seeds(command, 5), &mut files)?,
        Some(View::Traces { directory }) => traces::view(command, directory, &setting::only(scenarios)?, &mut files)?,
    };
    Ok(Printed::done(format!("{text}{}", files.finish()?)))
}

/// An entrant with the name that tables show.
#[derive(Clone, Debug)]
struct Named {
    name: String,
    entrant: Entrant,
}

/// So many seeds, where nobody says otherwise.
fn seeds(command: &Bench, otherwise: u64) -> u64 {
    command.seeds.unwrap_or(otherwise)
}

/// Everybody at their defaults.
fn by_default(contenders: &[Contender]) -> Vec<Named> {
    contenders.iter().map(|it| Named { name: it.name().to_owned(), entrant: it.by_default() }).collect()
}

/// What came of all entrants on all courses.
struct Runs {
    courses: Vec<Course>,
    entrants: Vec<Named>,
    scenario: Scenario,
    /// By course, entrant and seed.
    outcomes: Vec<Vec<Vec<Outcome>>>,
}

impl Runs {
    /// Runs all of it; the bar moves on by one with each run.
    fn hold(courses: &[Course], entrants: Vec<Named>, seeds: u64, scenario: &Scenario, progress: &Progress) -> Self {
        let workloads: Vec<Workload> = courses.iter().map(|course| course.workload.clone()).collect();
        let plain: Vec<Entrant> = entrants.iter().map(|named| named.entrant).collect();
        let outcomes = contest::contend(&workloads, &plain, 1..=seeds, scenario, &|| progress.step());
        Self { courses: courses.to_vec(), entrants, scenario: scenario.clone(), outcomes }
    }

    /// The scores of an entrant: on one course, or on all of them one after the other.
    fn scores(&self, course: Option<usize>, entrant: usize) -> impl Iterator<Item = &Score> {
        self.outcomes
            .iter()
            .enumerate()
            .filter(move |(number, _)| course.is_none_or(|wanted| wanted == *number))
            .filter_map(move |(_, entrants)| entrants.get(entrant))
            .flatten()
            .map(|outcome| &outcome.score)
    }

    fn mean(&self, course: Option<usize>, entrant: usize) -> Mean {
        Mean::of(self.scores(course, entrant))
    }
}

/// What some runs come to: means, and the largest backlog of all.
#[derive(Clone, Copy, Debug)]
struct Mean {
    violations: f64,
    replica_hours: f64,
    churn: f64,
    slow: f64,
    backlog: usize,
}

impl Mean {
    fn of<'a>(scores: impl Iterator<Item = &'a Score>) -> Self {
        let (mut runs, mut mean) =
            (0.0, Self { violations: 0.0, replica_hours: 0.0, churn: 0.0, slow: 0.0, backlog: 0 });
        for score in scores {
            runs += 1.0;
            mean.violations += score.rate();
            mean.replica_hours += score.replica_hours;
            mean.churn += score.churn as f64;
            mean.slow += score.slow as f64 / score.requests.max(1) as f64;
            mean.backlog = mean.backlog.max(score.largest_backlog);
        }
        let runs = f64::max(runs, 1.0);
        let Self { violations, replica_hours, churn, slow, backlog } = mean;
        Self {
            violations: violations / runs,
            replica_hours: replica_hours / runs,
            churn: churn / runs,
            slow: slow / runs,
            backlog,
        }
    }

    fn point(self) -> Point {
        Point { violations: self.violations, cost: self.replica_hours }
    }

    /// Violation rate and cost, as the published tables write them.
    fn cell(self) -> String {
        format!("{:.4} @ {:.2}", self.violations, self.replica_hours)
    }
}

/// The way through so many runs.
fn progress(runs: usize, seeds: u64) -> Progress {
    let runs = runs as u64 * seeds;
    Progress::of(runs, format!("{runs} runs"))
}

/// A span as tables show it.
fn shown(span: Seconds) -> String {
    format!("{} s", span.get())
}

fn columns(header: &[String]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header);
    table
}

/// The lines of a table, without the blanks that fill its last column.
fn trimmed(table: &comfy_table::Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;

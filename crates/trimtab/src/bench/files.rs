//! What a view leaves behind: CSV and figures in the directory that was named.
//!
//! Figures are SVG. Where `rsvg-convert` is installed (Debian: librsvg2-bin) each is turned into a PNG as well; a renderer inside the binary
//! would make it half as large again for what a browser does.

use super::canvas::Canvas;
use super::setting::{Course, axes};
use super::{Named, Runs};
use anyhow::Context;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use trimtab_sim::run::Score;

/// Pixels of a PNG for one of the drawing: sharp on today's screens, and in print.
const ZOOM: &str = "2";

/// Where files go, and which were written.
#[derive(Debug)]
pub(super) struct Files {
    /// `None` where none are wanted.
    directory: Option<PathBuf>,
    written: Vec<String>,
}

impl Files {
    pub(super) fn new(directory: &Path) -> Self {
        let wanted = directory != Path::new("none");
        Self { directory: wanted.then(|| directory.to_owned()), written: Vec::new() }
    }

    pub(super) fn write(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        self.written.push(name.to_owned());
        Ok(())
    }

    /// Draws a figure, as `name.svg`.
    pub(super) fn draw(&mut self, name: &str, canvas: &Canvas) -> anyhow::Result<()> {
        self.write(&format!("{name}.svg"), &canvas.svg())
    }

    /// Turns figures into PNG, and says what was written.
    pub(super) fn finish(self) -> anyhow::Result<String> {
        let Some(directory) = self.directory.filter(|_| !self.written.is_empty()) else { return Ok(String::new()) };
        let mut said = format!("\nWritten to {}: {}\n", directory.display(), self.written.join(", "));
        let mut drawn = 0;
        for svg in self.written.iter().map(|name| directory.join(name)) {
            if svg.extension().is_none_or(|extension| extension != "svg") {
                continue;
            }
            let png = svg.with_extension("png");
            let converted =
                Command::new("rsvg-convert").args(["--zoom", ZOOM, "--output"]).arg(&png).arg(&svg).status();
            match converted {
                Ok(status) => {
                    anyhow::ensure!(status.success(), "rsvg-convert failed on {}: {status}", svg.display());
                    drawn += 1;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    said.push_str("No PNG of them: rsvg-convert is not installed (Debian: librsvg2-bin)\n");
                    break;
                }
                Err(error) => return Err(error).context("failed to start rsvg-convert"),
            }
        }
        if drawn > 0 {
            said.push_str("Each figure is there as PNG too\n");
        }
        Ok(said)
    }
}

/// A row for each run: the axes, who, and what came of it.
pub(super) fn runs_csv(all: &[Runs]) -> String {
    let mut text = String::new();
    for runs in all {
        let axes = axes(&runs.scenario);
        if text.is_empty() {
            let names: Vec<&str> = axes.iter().map(|(name, _)| *name).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "workload,trace_seed,scale,policy,knob,seed,{},intervals,violations,replica_hours,churn,requests,slow,largest_backlog",
                names.join(",")
            );
        }
        let axes: Vec<&str> = axes.iter().map(|(_, value)| value.as_str()).collect();
        let axes = axes.join(",");
        for_each_run(runs, |course, named, seed, score| {
            let trace_seed = course.trace_seed.map_or_else(|| "measured".to_owned(), |seed| seed.to_string());
            let scale = course.scale.get();
            let knob = named.entrant.knob.map_or_else(String::new, |knob| knob.to_string());
            let Score { intervals, violations, replica_hours, churn, requests, slow, largest_backlog, .. } = score;
            let _ = writeln!(
                text,
                "{},{trace_seed},{scale},{},{knob},{seed},{axes},{intervals},{violations},{replica_hours:.4},{churn},{requests},{slow},{largest_backlog}",
                quoted(&course.name),
                quoted(&named.name)
            );
        });
    }
    text
}

/// A row for each interval of each run.
pub(super) fn intervals_csv(all: &[Runs]) -> String {
    let mut text = "workload,policy,start_up_s,seed,interval,rate,replicas,ready,requests,slow,p99_s\n".to_owned();
    for runs in all {
        let start_up = runs.scenario.law.startup.median().get();
        for_each_run(runs, |course, named, seed, score| {
            let (course, name) = (quoted(&course.name), quoted(&named.name));
            for (number, row) in score.rows.iter().enumerate() {
                let p99 = row.p99.map_or_else(String::new, |p99| format!("{:.3}", p99.get()));
                let (rate, grade) = (row.rate.get(), row.grade);
                let _ = writeln!(
                    text,
                    "{course},{name},{start_up},{seed},{number},{rate},{},{},{},{},{p99}",
                    row.replicas, row.ready, grade.requests, grade.slow
                );
            }
        });
    }
    text
}

fn for_each_run(runs: &Runs, mut row: impl FnMut(&Course, &Named, u64, &Score)) {
    for (course, of_course) in runs.courses.iter().zip(&runs.outcomes) {
        for (named, outcomes) in runs.entrants.iter().zip(of_course) {
            for outcome in outcomes {
                row(course, named, outcome.seed, &outcome.score);
            }
        }
    }
}

/// A field of a CSV: names of rivals have commas in them.
pub(super) fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}

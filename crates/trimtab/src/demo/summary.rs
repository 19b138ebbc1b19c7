//! What came of a demo: the figures of each contestant, and the moments that tell them apart.

use super::clock;
use super::day::BEGINS;
use super::fleet::{CONTESTANTS, Stage, WINDOW};
use serde::Serialize;
use std::fmt::Write;
use trimtab_core::unit::{Seconds, Timestamp};

/// Moments that are told.
const MOMENTS: usize = 3;

/// What came of a demo.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    schema: &'static str,
    seed: u64,
    /// Hours of the day that were played.
    hours: f64,
    requests: u64,
    pub(crate) contestants: Vec<Contestant>,
    moments: Vec<Telling>,
}

/// One contestant.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Contestant {
    name: &'static str,
    /// Half-minutes in which more than 1 % of the requests took longer than 200 ms, and all.
    missed_windows: usize,
    windows: usize,
    replica_hours: f64,
    changes: u64,
    /// Replicas added and removed, all together.
    churn: u64,
}

/// A moment that tells contestants apart.
#[derive(Clone, Debug, Serialize)]
struct Telling {
    at: Timestamp,
    what: String,
}

/// Consecutive half-minutes that somebody missed, a kept one between two missed ones counted in.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    from: usize,
    until: usize,
    missed: [usize; 3],
}

impl Summary {
    pub(crate) fn of(stage: &Stage) -> Self {
        let missed = missed(stage);
        let windows = stage.moments.len();
        let contestants =
            CONTESTANTS.iter().zip(&stage.plants).zip(&missed).map(|((name, plant), missed)| Contestant {
                name,
                missed_windows: missed.iter().filter(|missed| **missed).count(),
                windows,
                replica_hours: plant.hours,
                changes: plant.changes,
                churn: plant.churn,
            });
        let [ours, ..] = &stage.plants;
        Self {
            schema: "trimtab.dev/demo/v1",
            seed: stage.seed,
            hours: stage.at.since(BEGINS).get() / 3600.0,
            requests: ours.windows().map(|(requests, _)| requests).sum(),
            contestants: contestants.collect(),
            moments: telling(stage, &missed),
        }
    }

    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header([
            String::new(),
            "MISSED HALF-MINUTES".into(),
            "REPLICA-HOURS".into(),
            "CHANGES".into(),
            "REPLICAS +/-".into(),
        ]);
        for one in &self.contestants {
            let share = 100.0 * one.missed_windows as f64 / one.windows.max(1) as f64;
            table.add_row([
                one.name.to_owned(),
                format!("{} of {} ({share:.2} %)", one.missed_windows, one.windows),
                format!("{:.1}", one.replica_hours),
                one.changes.to_string(),
                one.churn.to_string(),
            ]);
        }
        let mut text = format!(
            "\n{:.1} simulated hours, seed {}, {} requests, the same for all; objective: p99 below 200 ms\n",
            self.hours, self.seed, self.requests
        );
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "HPA: CPU at 70 %. KEDA: 35 requests/s a replica. Both as Kubernetes 1.36 computes them.\n");
        for line in table.lines() {
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if !self.moments.is_empty() {
            let _ = writeln!(text, "\nMost telling:");
        }
        for moment in &self.moments {
            let _ = writeln!(text, "  {}  {}", clock(moment.at), moment.what);
        }
        text
    }
}

/// Whether each contestant missed each half-minute.
pub(crate) fn missed(stage: &Stage) -> [Vec<bool>; 3] {
    let windows = stage.moments.len();
    stage.plants.each_ref().map(|plant| {
        let mut missed: Vec<bool> = plant.windows().map(|(_, missed)| missed).take(windows).collect();
        missed.resize(windows, false);
        missed
    })
}

/// The longest runs of misses, one of trimtab's own first where there is one, and what it did without sight.
fn telling(stage: &Stage, missed: &[Vec<bool>; 3]) -> Vec<Telling> {
    let mut runs = runs(missed);
    let weight = |run: &Run| run.missed.iter().max().copied().unwrap_or_default();
    runs.sort_by_key(|run| (std::cmp::Reverse(weight(run)), run.from));
    let ours = runs.iter().position(|run| run.missed.first().is_some_and(|missed| *missed > 0));
    let mut chosen: Vec<Run> = ours.map(|place| runs.remove(place)).into_iter().collect();
    chosen.extend(runs);
    let mut told: Vec<Telling> = chosen.iter().take(MOMENTS).map(|run| tell(stage, run)).collect();
    told.sort_by_key(|telling| telling.at);
    told
}

fn runs(missed: &[Vec<bool>; 3]) -> Vec<Run> {
    let windows = missed.iter().map(Vec::len).max().unwrap_or_default();
    let of = |window: usize| missed.each_ref().map(|one| usize::from(one.get(window).copied().unwrap_or_default()));
    let mut runs: Vec<Run> = Vec::new();
    for window in 0..windows {
        let now = of(window);
        if now == [0; 3] {
            continue;
        }
        match runs.last_mut().filter(|run| window <= run.until + 2) {
            Some(run) => {
                run.until = window;
                run.missed.iter_mut().zip(now).for_each(|(sum, one)| *sum += one);
            }
            None => runs.push(Run { from: window, until: window, missed: now }),
        }
    }
    runs
}

fn tell(stage: &Stage, run: &Run) -> Telling {
    let start = |window: usize| {
        let since = WINDOW.get() * window as f64;
        BEGINS.after(Seconds::new(since).unwrap_or_default())
    };
    let (from, until) = (start(run.from), start(run.until + 1));
    let cause = stage.day.spans.iter().rev().find(|span| {
        // What it leaves behind lasts a little longer than it does.
        span.from <= until && from < span.until.after(Seconds::whole(300))
    });
    let cause = cause.map_or_else(|| "no disturbance".to_owned(), |span| span.what.to_string());
    let sizes = |who: usize| {
        let at = |window: usize| {
            stage.moments.get(window).and_then(|moment| moment.sides.get(who)).map_or(0, |side| side.ready)
        };
        let most = (run.from..=run.until).map(at).max().unwrap_or_default();
        format!("{} to {most} ready", at(run.from))
    };
    let each: Vec<String> = CONTESTANTS
        .iter()
        .zip(run.missed)
        .enumerate()
        .map(|(who, (name, missed))| format!("{name} missed {missed} ({})", sizes(who)))
        .collect();
    Telling { at: from, what: format!("{cause}, until {}: {}", clock(until), each.join(", ")) }
}

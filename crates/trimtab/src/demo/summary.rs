//! What came of a demo: the figures of each contestant, and the moments that tell them apart.

use super::scene::{Burden, CONTESTANTS, Form, Ledger, Scene};
use crate::explain::number;
use serde::Serialize;
use std::fmt::Write;
use trimtab_core::unit::Timestamp;

/// Moments that are told.
const MOMENTS: usize = 3;

/// What came of a demo.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    schema: &'static str,
    form: Form,
    seed: u64,
    /// Hours that were played: of the simulated day, or real ones.
    hours: f64,
    /// Seconds that a window of the objective lasts.
    window_s: f64,
    requests: u64,
    pub(crate) contestants: Vec<Contestant>,
    moments: Vec<Telling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    burden: Option<Burden>,
}

/// One contestant.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    /// Windows in which more than 1 % of the requests took longer than 200 ms, and all.
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
    /// The same for people.
    clock: String,
    what: String,
}

/// Consecutive windows that somebody missed, a kept one between two missed ones counted in.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    from: usize,
    until: usize,
    missed: [usize; 3],
}

impl Contestant {
    /// Its figures for people, the same in a terminal, on the page and in a report: missed windows, what replicas cost, changes, churn.
    pub(crate) fn cells(&self, form: Form) -> [String; 4] {
        let share = 100.0 * self.missed_windows as f64 / self.windows.max(1) as f64;
        // Minutes of replicas where all of it takes five.
        let unit = if form == Form::Real { 60.0 } else { 1.0 };
        [
            format!("{} of {} ({share:.2} %)", self.missed_windows, self.windows),
            number(unit * self.replica_hours),
            self.changes.to_string(),
            self.churn.to_string(),
        ]
    }
}

impl Summary {
    pub(crate) fn of(scene: &Scene<'_>) -> Self {
        let missed = scene.missed();
        let [ours, ..] = &scene.ledgers;
        Self {
            schema: "trimtab.dev/demo/v1",
            form: scene.form,
            seed: scene.seed,
            hours: scene.at.since(scene.begins).get() / 3600.0,
            window_s: scene.window.get(),
            requests: ours.windows.iter().map(|(requests, _)| requests).sum(),
            contestants: contestants(scene, &missed),
            moments: telling(scene, &missed),
            burden: scene.burden,
        }
    }

    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let (windows, replicas) = match self.form {
            Form::Simulated => ("MISSED HALF-MINUTES".to_owned(), "REPLICA-HOURS"),
            Form::Real => (format!("MISSED WINDOWS OF {:.0} s", self.window_s), "REPLICA-MINUTES"),
        };
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header([String::new(), windows, replicas.into(), "CHANGES".into(), "REPLICAS +/-".into()]);
        for one in &self.contestants {
            let [missed, hours, changes, churn] = one.cells(self.form);
            table.add_row([one.name.to_owned(), missed, hours, changes, churn]);
        }
        let mut text = self.heading();
        for line in table.lines() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if !self.moments.is_empty() {
            let _ = writeln!(text, "\nMost telling:");
        }
        for moment in &self.moments {
            let _ = writeln!(text, "  {}  {}", moment.clock, moment.what);
        }
        text
    }

    fn heading(&self) -> String {
        let (seed, requests) = (self.seed, self.requests);
        let rivals = "HPA: CPU at 70 %. KEDA: 35 requests/s a replica. Both as Kubernetes 1.36 computes them";
        match self.form {
            Form::Simulated => format!(
                "\n{:.1} simulated hours, seed {seed}, {requests} requests, the same for all; objective: p99 below 200 ms\n{rivals}.\n\n",
                self.hours
            ),
            Form::Real => format!(
                "\n{:.1} minutes, seed {seed}, {requests} real requests to each, at the same moments; objective: p99 below 200 ms\n\
                 {rivals}, with a tenth of its waiting times.\n{}\n",
                60.0 * self.hours,
                self.burden.map(burden).unwrap_or_default()
            ),
        }
    }
}

/// The end of a demo, told in one go, so that the report says what the summary says.
#[derive(Clone, Debug)]
pub(crate) struct Closing {
    pub(crate) summary: Summary,
    /// As one file, where somebody asked for it.
    pub(crate) report: Option<String>,
}

impl Closing {
    pub(crate) fn of(scene: &Scene<'_>, as_file: bool) -> Self {
        let summary = Summary::of(scene);
        let report = as_file.then(|| super::show::report(scene, &summary));
        Self { summary, report }
    }
}

/// The figures of each; `missed` says which windows each missed.
pub(crate) fn contestants(scene: &Scene<'_>, missed: &[Vec<bool>; 3]) -> Vec<Contestant> {
    let of = |((name, ledger), missed): ((&&'static str, &Ledger), &Vec<bool>)| Contestant {
        name,
        missed_windows: missed.iter().filter(|missed| **missed).count(),
        windows: missed.len(),
        replica_hours: ledger.hours,
        changes: ledger.changes,
        churn: ledger.churn,
    };
    CONTESTANTS.iter().zip(&scene.ledgers).zip(missed).map(of).collect()
}

fn burden(burden: Burden) -> String {
    let cores = burden.cores.map_or_else(String::new, |cores| format!("; {cores:.1} of {} cores in use", burden.of));
    let verdict = if burden.is_too_much() {
        "This machine was too slow for it: latencies are not the fleets' alone. Try --simulated, a release build, or a quieter machine.\n"
    } else {
        ""
    };
    format!(
        "Sent at most {:.0} ms late, 99 of 100 within {:.0} ms{cores}.\n{verdict}",
        1000.0 * burden.late_most,
        1000.0 * burden.late_p99
    )
}

/// The longest runs of misses, one of trimtab's own first where there is one, and what it did without sight.
fn telling(scene: &Scene<'_>, missed: &[Vec<bool>; 3]) -> Vec<Telling> {
    let mut runs = runs(missed);
    let weight = |run: &Run| run.missed.iter().max().copied().unwrap_or_default();
    runs.sort_by_key(|run| (std::cmp::Reverse(weight(run)), run.from));
    let ours = runs.iter().position(|run| run.missed.first().is_some_and(|missed| *missed > 0));
    let mut chosen: Vec<Run> = ours.map(|place| runs.remove(place)).into_iter().collect();
    chosen.extend(runs);
    let mut told: Vec<Telling> = chosen.iter().take(MOMENTS).map(|run| tell(scene, run)).collect();
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

fn tell(scene: &Scene<'_>, run: &Run) -> Telling {
    let start = |window: usize| scene.begins.after(scene.window_starts(window));
    let (from, until) = (start(run.from), start(run.until + 1));
    // What a trouble leaves behind lasts a little longer than it does: as long as ten windows.
    let after = scene.window_starts(10);
    let cause = scene.spans.iter().rev().find(|span| span.from <= until && from < span.until.after(after));
    let cause = cause.map_or_else(|| "no disturbance".to_owned(), |span| span.what.to_string());
    let sizes = |who: usize| {
        let at = |window: usize| {
            scene.moment_of(window).and_then(|moment| moment.sides.get(who)).map_or(0, |side| side.ready)
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
    Telling {
        at: from,
        clock: scene.clock(from),
        what: format!("{cause}, until {}: {}", scene.clock(until), each.join(", ")),
    }
}

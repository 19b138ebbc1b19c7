//! Runs on a real cluster, as `testbed/match` recorded them: what each contestant came to, and what the simulator says of the same.
//!
//! Percentiles and windows are from the client's side and count from the moment at which a request was meant to be sent. A figure of several
//! repeats is their mean, with the least and the largest beside it where they differ. What the machine did not leave room for is counted and said.

mod draw;
mod figures;
mod predict;
mod record;

pub use record::Run;

use super::files::{Files, quoted};
use super::{columns, trimmed};
use figures::Figures;
use record::Record;
use std::collections::BTreeMap;
use std::fmt::Write;
use trimtab_core::unit::Seconds;

/// A run with what came of it, and what the simulator says would: one for each seed.
struct Judged {
    record: Record,
    measured: Figures,
    predicted: Vec<Figures>,
}

pub(super) fn view(directory: &std::path::Path, seeds: u64, files: &mut Files) -> anyhow::Result<String> {
    let records = Record::all(directory)?;
    let startup = startup(&records);
    let judged: Vec<Judged> = records.into_iter().map(|record| judge(record, startup, seeds)).collect();
    let mut traces: BTreeMap<&str, Vec<&Judged>> = BTreeMap::new();
    for one in &judged {
        traces.entry(&one.record.run.trace).or_default().push(one);
    }
    let mut text = String::new();
    for (trace, runs) in &traces {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", of_trace(trace, runs));
        files.draw(&format!("live-{trace}"), &draw::figure(trace, runs))?;
    }
    let _ = writeln!(
        text,
        "Start-up, from a larger size asked for to as many ready: {:.1} s (median of all runs); the simulator is given it.",
        startup.get()
    );
    text.push_str(&warning(&judged));
    files.write("live.csv", &csv(&judged))?;
    Ok(text)
}

fn judge(record: Record, startup: Seconds, seeds: u64) -> Judged {
    let scenario = predict::scenario(&record, startup, 1);
    let measured = Figures::of(&record, &|rate| predict::enough(&scenario, rate));
    let predicted = (1..=seeds).filter_map(|seed| predict::predict(&record, startup, seed)).collect();
    Judged { record, measured, predicted }
}

/// From a larger size asked for until as many are ready: the median of all.
fn startup(records: &[Record]) -> Seconds {
    let mut spans: Vec<f64> = Vec::new();
    for record in records {
        for (place, pair) in record.fleet.windows(2).enumerate() {
            let [before, asked] = pair else { continue };
            if asked.desired <= before.desired {
                continue;
            }
            let later = record.fleet.iter().skip(place + 1);
            // One that is asked for less meanwhile never gets there.
            let mut on = later.take_while(|it| it.desired >= asked.desired);
            spans.extend(on.find(|it| it.ready >= asked.desired).map(|it| it.at - asked.at));
        }
    }
    spans.sort_by(f64::total_cmp);
    Seconds::new(figures::quantile(&spans, 0.5)).unwrap_or_default()
}

/// The runs of each contestant, in the order of their names.
fn by_contestant<'a>(runs: &[&'a Judged]) -> BTreeMap<String, Vec<&'a Judged>> {
    let mut contestants: BTreeMap<String, Vec<&Judged>> = BTreeMap::new();
    for run in runs {
        let Judged { record, .. } = run;
        let disturbance = &record.run.disturbance;
        let name = &record.run.contestant;
        let name = if disturbance.is_empty() { name.clone() } else { format!("{name}, {disturbance}") };
        contestants.entry(name).or_default().push(run);
    }
    contestants
}

/// A mean, and the least and the largest where several differ.
fn spread(values: &[f64], digits: usize) -> String {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    let (least, most) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(*value), most.max(*value)));
    let shown = |value: f64| format!("{value:.digits$}");
    if values.is_empty() {
        "-".to_owned()
    } else if shown(least) == shown(most) {
        shown(mean)
    } else {
        format!("{} ({}-{})", shown(mean), shown(least), shown(most))
    }
}

fn of_trace(trace: &str, runs: &[&Judged]) -> String {
    let contestants = by_contestant(runs);
    format!(
        "{trace}: what clients saw\n\n{}\n\n{trace}: what it cost\n\n{}\n\n{trace}: measured, and what the simulator says\n\n{}\n",
        clients(&contestants),
        costs(&contestants),
        predictions(&contestants)
    )
}

type Contestants<'a> = BTreeMap<String, Vec<&'a Judged>>;

fn measured(runs: &[&Judged], of: &dyn Fn(&Figures) -> f64) -> Vec<f64> {
    runs.iter().map(|run| of(&run.measured)).collect()
}

fn clients(contestants: &Contestants<'_>) -> String {
    let header = [
        "CONTESTANT",
        "RUNS",
        "P50 MS",
        "P95 MS",
        "P99 MS",
        "WINDOWS MISSED %",
        "LATE %",
        "UNSERVED %",
        "LOST",
        "FIRST WRITE S",
        "CAPACITY READY S",
        "DISTURBED %",
    ];
    let mut table = columns(&header.map(str::to_owned));
    for (name, runs) in contestants {
        let of = |digits: usize, of: &dyn Fn(&Figures) -> f64| spread(&measured(runs, of), digits);
        let some = |of: &dyn Fn(&Figures) -> Option<f64>| {
            let known: Vec<f64> = runs.iter().filter_map(|run| of(&run.measured)).collect();
            spread(&known, 1)
        };
        table.add_row([
            name.clone(),
            runs.len().to_string(),
            of(0, &|it| 1e3 * it.p50),
            of(0, &|it| 1e3 * it.p95),
            of(0, &|it| 1e3 * it.p99),
            of(0, &|it| 100.0 * it.missed_share()),
            of(1, &|it| 100.0 * it.late),
            of(1, &|it| 100.0 * it.unserved),
            of(0, &|it| it.lost as f64),
            some(&|it| it.to_write),
            some(&|it| it.to_ready),
            of(0, &|it| 100.0 * f64::from(it.disturbed) / f64::from(it.windows.max(1))),
        ]);
    }
    trimmed(&table)
}

/// The processes that are a contestant's own. The HPA itself runs within kube-controller-manager and cannot be told from the rest of it.
fn own_processes(contestant: &str) -> &'static [&'static str] {
    match contestant {
        "hpa-cpu" => &["metrics-server"],
        "own" => &["trimtab"],
        "floor" => &["trimtab", "metrics-server"],
        name if name.starts_with("hpa-rate") => &["prometheus-adapter"],
        name if name.starts_with("keda") => &["keda-operator", "keda-adapter"],
        _ => &[],
    }
}

fn costs(contestants: &Contestants<'_>) -> String {
    let header = [
        "CONTESTANT",
        "REPLICA-HOURS",
        "POD-HOURS",
        "READY-HOURS",
        "CHURN",
        "OWN CPU %",
        "OWN MEMORY MB",
        "CONTROLLER-MANAGER CPU %",
        "API REQUESTS/MIN",
        "SHADOW WOULD HAVE ASKED FOR, H",
    ];
    let mut table = columns(&header.map(str::to_owned));
    for (name, runs) in contestants {
        let of = |digits: usize, of: &dyn Fn(&Figures) -> f64| spread(&measured(runs, of), digits);
        let each = |digits: usize, of: &dyn Fn(&Run) -> f64| {
            let values: Vec<f64> = runs.iter().map(|run| of(&run.record.run)).collect();
            spread(&values, digits)
        };
        let seconds = |run: &Run| (run.ends - run.warm_up).max(1.0);
        let own = |of: &BTreeMap<String, f64>, run: &Run| {
            let processes = own_processes(&run.contestant).iter();
            processes.filter_map(|process| of.get(*process)).sum::<f64>()
        };
        let manager = |run: &Run| run.cpu.get("kube-controller-manager").copied().unwrap_or_default();
        let said: Vec<f64> = runs.iter().filter_map(|run| run.measured.said_hours).collect();
        table.add_row([
            name.clone(),
            of(3, &|it| it.desired_hours),
            of(3, &|it| it.pod_hours),
            of(3, &|it| it.ready_hours),
            of(0, &|it| f64::from(it.churn)),
            each(2, &|run| 100.0 * own(&run.cpu, run) / seconds(run)),
            each(0, &|run| own(&run.memory, run) / 1e6),
            each(2, &|run| 100.0 * manager(run) / seconds(run)),
            each(0, &|run| 60.0 * run.api_requests / seconds(run)),
            spread(&said, 3),
        ]);
    }
    trimmed(&table)
}

/// A figure: its name, the digits that are shown, and which it is.
type Shown = (&'static str, usize, fn(&Figures) -> Option<f64>);

/// What is predicted.
const PREDICTED: [Shown; 7] = [
    ("P50 MS", 0, |it| Some(1e3 * it.p50)),
    // The simulator counts to two seconds.
    ("P99 MS, AT MOST 2000", 0, |it| Some(1e3 * it.p99.min(2.0))),
    ("WINDOWS MISSED %", 0, |it| Some(100.0 * it.missed_share())),
    ("LATE %", 1, |it| Some(100.0 * it.late)),
    ("REPLICA-HOURS", 3, |it| Some(it.desired_hours)),
    ("CHURN", 0, |it| Some(f64::from(it.churn))),
    ("CAPACITY READY S", 0, |it| it.to_ready),
];

fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.flatten().collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn predictions(contestants: &Contestants<'_>) -> String {
    let names = PREDICTED.iter().map(|(name, ..)| (*name).to_owned());
    let header: Vec<String> = std::iter::once("CONTESTANT".to_owned()).chain(names).collect();
    let mut table = columns(&header);
    for (name, runs) in contestants {
        if runs.iter().all(|run| run.predicted.is_empty()) {
            continue;
        }
        let cells = PREDICTED.iter().map(|(_, digits, of)| {
            let digits = *digits;
            let measured = mean(runs.iter().map(|run| of(&run.measured)));
            let predicted = mean(runs.iter().flat_map(|run| run.predicted.iter().map(of)));
            match (measured, predicted) {
                (Some(measured), Some(predicted)) => {
                    format!("{measured:.digits$}, {predicted:.digits$} ({:+.digits$})", predicted - measured)
                }
                _ => "-".to_owned(),
            }
        });
        table.add_row(std::iter::once(name.clone()).chain(cells));
    }
    format!("{}\n\nEach cell: measured, simulated (simulated less measured).", trimmed(&table))
}

/// What the machine did to the figures.
fn warning(judged: &[Judged]) -> String {
    let (disturbed, windows) = judged
        .iter()
        .fold((0, 0), |(disturbed, windows), it| (disturbed + it.measured.disturbed, windows + it.measured.windows));
    let busy: Vec<f64> = judged.iter().map(|it| 100.0 * it.record.run.busy).collect();
    let mut text = format!("The machine's processors were {} % busy.\n", spread(&busy, 0));
    if 20 * disturbed > windows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "SATURATED: in {disturbed} of {windows} windows the load generator itself was late by more than 20 ms (99th percentile): the machine, \
             not who was in charge, made part of the misses. Run it on an idle machine before anything is concluded."
        );
    }
    text
}

fn csv(judged: &[Judged]) -> String {
    let mut text = "trace,contestant,disturbance,repeat,began,by,seed,p50_s,p95_s,p99_s,windows,missed,late_share,unserved_share,lost,replica_hours,\
                    pod_hours,ready_hours,shadow_hours,churn,first_write_s,capacity_ready_s,disturbed_windows,own_cpu_s,own_memory_bytes,api_requests,busy_share\n"
        .to_owned();
    for Judged { record, measured, predicted } in judged {
        let run = &record.run;
        let own = |of: &BTreeMap<String, f64>| {
            own_processes(&run.contestant).iter().filter_map(|process| of.get(*process)).sum::<f64>()
        };
        let rows = std::iter::once(("measured", String::new(), measured))
            .chain((1..).zip(predicted).map(|(seed, it): (u32, _)| ("simulated", seed.to_string(), it)));
        for (by, seed, it) in rows {
            let known = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
            let real = by == "measured";
            let if_real = |value: f64| known(real.then_some(value));
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{},{},{},{},{},{by},{seed},{:.4},{:.4},{:.4},{},{},{:.5},{:.5},{},{:.4},{:.4},{:.4},{},{},{},{},{},{},{},{},{}",
                quoted(&run.trace),
                quoted(&run.contestant),
                quoted(&run.disturbance),
                run.repeat,
                run.began,
                it.p50,
                it.p95,
                it.p99,
                it.windows,
                it.missed,
                it.late,
                it.unserved,
                it.lost,
                it.desired_hours,
                it.pod_hours,
                it.ready_hours,
                known(it.said_hours),
                it.churn,
                known(it.to_write),
                known(it.to_ready),
                it.disturbed,
                if_real(own(&run.cpu)),
                if_real(own(&run.memory)),
                if_real(run.api_requests),
                if_real(run.busy),
            );
        }
    }
    text
}

#[cfg(test)]
mod tests;

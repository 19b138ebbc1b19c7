//! Churn: how often each policy changes its mind. The published gate changes more on irregular bursts than the static floor that it is built
//! upon: each burst costs it its confidence, and each calm gives it back.

use super::files::{Files, quoted};
use super::setting::courses;
use super::{Runs, by_default, columns, progress, seeds, trimmed};
use crate::cli::Bench;
use std::fmt::Write;
use trimtab_sim::contest::Contender;
use trimtab_sim::run::{Row, Scenario};

const SHOWN: [Contender; 8] = [
    Contender::Trimtab,
    Contender::Gate,
    Contender::GateFewest,
    Contender::GateCheapest,
    Contender::StaticFloor,
    Contender::PurePredictive,
    Contender::CpuHpa,
    Contender::Keda,
];
/// A change is taken back where the next one goes the other way within five minutes.
const SOON: usize = 10;

pub(super) fn view(command: &Bench, scenario: &Scenario, files: &mut Files) -> anyhow::Result<String> {
    let courses = courses(&command.demand)?;
    let seeds = seeds(command, 5);
    let progress = progress(courses.len() * SHOWN.len(), seeds);
    let runs = Runs::hold(&courses, by_default(&SHOWN), seeds, scenario, &progress);
    let names = runs.courses.iter().map(|course| course.name.clone());
    let header = std::iter::once("CHANGES (TAKEN BACK)".to_owned()).chain(names).chain(["MEAN".to_owned()]);
    let mut table = columns(&header.collect::<Vec<_>>());
    let mut csv = "workload,policy,churn,reversals,violations,replica_hours\n".to_owned();
    for (entrant, named) in runs.entrants.iter().enumerate() {
        let of = |course: Option<usize>| {
            let (mut count, mut reversed) = (0.0, 0.0);
            for score in runs.scores(course, entrant) {
                count += 1.0;
                reversed += reversals(&score.rows) as f64;
            }
            (runs.mean(course, entrant), reversed / f64::max(count, 1.0))
        };
        let mut row = vec![named.name.clone()];
        for place in (0..runs.courses.len()).map(Some).chain([None]) {
            let (mean, reversed) = of(place);
            row.push(format!("{:.0} ({reversed:.1})", mean.churn));
            let course = place.and_then(|place| runs.courses.get(place)).map_or("all", |course| course.name.as_str());
            // Writing to a String cannot fail.
            let _ = writeln!(
                csv,
                "{},{},{:.2},{reversed:.2},{:.6},{:.4}",
                quoted(course),
                quoted(&named.name),
                mean.churn,
                mean.violations,
                mean.replica_hours
            );
        }
        table.add_row(row);
    }
    files.write("churn.csv", &csv)?;
    Ok(format!("{}\n", trimmed(&table)))
}

/// Changes that the next change takes back soon after.
fn reversals(rows: &[Row]) -> usize {
    let mut last: Option<(usize, bool)> = None;
    let mut reversed = 0;
    for (number, pair) in rows.windows(2).enumerate() {
        let [before, after] = pair else { continue };
        if before.replicas == after.replicas {
            continue;
        }
        let up = after.replicas > before.replicas;
        reversed += usize::from(last.is_some_and(|(when, was_up)| was_up != up && number - when <= SOON));
        last = Some((number, up));
    }
    reversed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_the_next_one_takes_back_is_counted_once() {
        let rows = |sizes: &[u32]| -> Vec<Row> {
            sizes.iter().map(|size| Row { replicas: *size, ..Row::default() }).collect()
        };
        assert_eq!(reversals(&rows(&[5, 6, 7, 7, 8])), 0);
        assert_eq!(reversals(&rows(&[5, 6, 5, 5, 6])), 2);
        let slow: Vec<u32> = [5, 6].into_iter().chain([6; 12]).chain([5]).collect();
        assert_eq!(reversals(&rows(&slow)), 0, "six minutes apart");
    }
}

//! How far a plan should look: pure prediction under a receding horizon of 1 to 20 intervals, for several start-ups and ramp limits.
//!
//! A longer horizon can only matter where something must be ordered before its interval: the start-up takes longer than one, or the ramp lets
//! through less than what comes. Elsewhere it is dormant: the same sizes as with a shorter one. The forecaster is the shared one, so that what differs is the plan alone.

use super::files::Files;
use super::setting::courses;
use super::{Named, Runs, columns, progress, seeds, trimmed};
use crate::cli::Bench;
use std::fmt::Write;
use trimtab_core::unit::Seconds;
use trimtab_sim::contest::{Contender, Entrant};
use trimtab_sim::law::Startup;
use trimtab_sim::run::Scenario;

/// In intervals of half a minute.
const HORIZONS: [u32; 10] = [1, 2, 3, 4, 5, 6, 8, 10, 15, 20];
/// In seconds.
const START_UPS: [u32; 4] = [0, 30, 60, 120];
const RAMPS: [Option<u32>; 4] = [Some(1), Some(2), Some(4), None];
/// Same sizes in all but one of a hundred intervals: dormant.
const DORMANT: f64 = 0.01;

/// What a horizon comes to.
struct Cell {
    violations: f64,
    hours: f64,
    /// Share of intervals with another size than under the horizon before it.
    differs: f64,
}

pub(super) fn view(command: &Bench, scenario: &Scenario, files: &mut Files) -> anyhow::Result<String> {
    let courses = courses(&command.demand)?;
    let seeds = seeds(command, 1);
    let rounds = START_UPS.len() * RAMPS.len();
    let progress = progress(courses.len() * HORIZONS.len() * rounds, seeds);
    let header = ["START-UP", "RAMP"].map(str::to_owned).into_iter();
    let header = header.chain(HORIZONS.map(|horizon| format!("H={horizon}"))).chain(["DORMANT BEYOND".to_owned()]);
    let mut table = columns(&header.collect::<Vec<_>>());
    let mut csv = "start_up_s,ramp,horizon,violations,replica_hours,differs\n".to_owned();
    for start_up in START_UPS {
        for ramp in RAMPS {
            let mut scenario = Scenario { ramp, ..scenario.clone() };
            scenario.law.startup = Startup::Fixed(Seconds::whole(start_up));
            let runs = Runs::hold(&courses, entrants(), seeds, &scenario, &progress);
            let cells: Vec<Cell> = (0..HORIZONS.len()).map(|number| cell(&runs, number)).collect();
            let ramp = ramp.map_or_else(|| "none".to_owned(), |most| most.to_string());
            for (horizon, Cell { violations, hours, differs }) in HORIZONS.iter().zip(&cells) {
                // Writing to a String cannot fail.
                let _ = writeln!(csv, "{start_up},{ramp},{horizon},{violations:.6},{hours:.4},{differs:.4}");
            }
            let shown = cells.iter().map(|cell| {
                if cell.differs <= DORMANT {
                    "=".to_owned()
                } else {
                    format!("{:.4} @ {:.1}", cell.violations, cell.hours)
                }
            });
            table.add_row([format!("{start_up} s"), ramp].into_iter().chain(shown).chain([dormant_beyond(&cells)]));
        }
    }
    files.write("horizon.csv", &csv)?;
    let note = "= is dormant: in 99 of 100 intervals the size is that of the shorter horizon to its left. H is in half-minutes.";
    Ok(format!("{}\n{note}\n", trimmed(&table)))
}

fn entrants() -> Vec<Named> {
    let of = |horizon: u32| Named {
        name: format!("horizon {horizon}"),
        entrant: Entrant { horizon: Some(horizon), ..Contender::RecedingHorizon.by_default() },
    };
    HORIZONS.map(of).into()
}

fn cell(runs: &Runs, entrant: usize) -> Cell {
    let mean = runs.mean(None, entrant);
    let Some(before) = entrant.checked_sub(1) else {
        return Cell { violations: mean.violations, hours: mean.replica_hours, differs: 1.0 };
    };
    let (mut others, mut intervals) = (0_usize, 0_usize);
    for (longer, shorter) in runs.scores(None, entrant).zip(runs.scores(None, before)) {
        intervals += longer.rows.len();
        others += longer.rows.iter().zip(&shorter.rows).filter(|(one, other)| one.replicas != other.replicas).count();
    }
    Cell { violations: mean.violations, hours: mean.replica_hours, differs: others as f64 / intervals.max(1) as f64 }
}

/// The longest horizon that still changed a size.
fn dormant_beyond(cells: &[Cell]) -> String {
    let last = cells.iter().rposition(|cell| cell.differs > DORMANT).unwrap_or_default();
    HORIZONS.get(last).map_or_else(String::new, |horizon| format!("H={horizon}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_dormant_beyond_the_last_horizon_that_changed_a_size() {
        let cells = |differs: &[f64]| -> Vec<Cell> {
            differs.iter().map(|differs| Cell { violations: 0.0, hours: 0.0, differs: *differs }).collect()
        };
        assert_eq!(dormant_beyond(&cells(&[1.0, 0.0, 0.0])), "H=1");
        assert_eq!(dormant_beyond(&cells(&[1.0, 0.2, 0.05, 0.009, 0.0])), "H=3");
    }
}

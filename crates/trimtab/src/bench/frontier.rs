//! The frontier: every policy with its knob swept, one setting for all workloads, and how much of the plane of cost and violations it commands.

use super::figures::{self, Sweep};
use super::files::{Files, runs_csv};
use super::setting::courses;
use super::{Named, Runs, columns, progress, seeds, trimmed};
use crate::cli::Bench;
use trimtab_sim::contest::Contender;
use trimtab_sim::run::Scenario;
use trimtab_sim::statistics::{Point, cost_at, hypervolume};

/// Who is swept; the tuned gates would be tuned anew for each setting, and the one that is always the same size has no business here.
const SWEPT: [Contender; 11] = [
    Contender::Trimtab,
    Contender::Gate,
    Contender::StaticFloor,
    Contender::PurePredictive,
    Contender::RecedingHorizon,
    Contender::CpuHpa,
    Contender::Keda,
    Contender::SeasonalTrigger,
    Contender::Phpa,
    Contender::WindowMax,
    Contender::OracleAhead,
];
/// Violation rates at which frontiers are compared by what they cost: half of what the static floor has, and about what the gate has.
const AT: [f64; 2] = [0.005, 0.015];

pub(super) fn view(command: &Bench, scenario: &Scenario, files: &mut Files) -> anyhow::Result<String> {
    let courses = courses(&command.demand)?;
    let entrants: Vec<Named> = SWEPT.into_iter().flat_map(swept).collect();
    let seeds = seeds(command, 5);
    let progress = progress(courses.len() * entrants.len(), seeds);
    let runs = Runs::hold(&courses, entrants, seeds, scenario, &progress);
    let points: Vec<Point> = (0..runs.entrants.len()).map(|number| runs.mean(None, number).point()).collect();
    let is_default = |named: &Named| {
        let (contender, knob) = (named.entrant.contender, named.entrant.knob);
        contender.knob().is_some_and(|it| knob == Some(it.default))
    };
    // An anchor that does not move with what is compared: half as dear again as the published static floor, and three times as bad as the gate.
    let floor = runs
        .entrants
        .iter()
        .zip(&points)
        .find(|(it, _)| it.entrant.contender == Contender::StaticFloor && is_default(it));
    let reference = Point { violations: 0.05, cost: floor.map_or(1.0, |(_, point)| (1.5 * point.cost).ceil()) };
    let sweeps: Vec<Sweep> = SWEPT
        .into_iter()
        .map(|contender| {
            let of = || runs.entrants.iter().zip(&points).filter(move |(it, _)| it.entrant.contender == contender);
            let points: Vec<Point> = of().map(|(_, point)| *point).collect();
            let default = of().find(|(named, _)| is_default(named)).map(|(_, point)| *point);
            Sweep { contender, hypervolume: hypervolume(&points, reference), points, default }
        })
        .collect();
    files.write("frontier.csv", &runs_csv(std::slice::from_ref(&runs)))?;
    files.draw("frontier", &figures::cost_and_violations(&sweeps, reference))?;
    Ok(format!("{}\n\n{}\n", trimmed(&summary(&sweeps, reference)), trimmed(&each(&runs, &points))))
}

fn swept(contender: Contender) -> Vec<Named> {
    let name = |knob: Option<f64>| knob.map_or_else(String::new, |knob| knob.to_string());
    contender
        .sweep()
        .into_iter()
        .map(|entrant| Named { name: format!("{} {}", contender.name(), name(entrant.knob)), entrant })
        .collect()
}

fn summary(sweeps: &[Sweep], reference: Point) -> comfy_table::Table {
    let header = [
        "POLICY".to_owned(),
        "KNOB".to_owned(),
        format!("HYPERVOLUME TO {} @ {}", reference.violations, reference.cost),
        format!("HOURS AT {}", AT[0]),
        format!("HOURS AT {}", AT[1]),
    ];
    let mut table = columns(&header);
    for sweep in sweeps {
        let at = |violations: f64| {
            cost_at(&sweep.points, violations).map_or_else(|| "not reached".to_owned(), |cost| format!("{cost:.2}"))
        };
        table.add_row([
            sweep.contender.name().to_owned(),
            sweep.contender.knob().map_or("", |knob| knob.name).to_owned(),
            format!("{:.3}", sweep.hypervolume),
            at(AT[0]),
            at(AT[1]),
        ]);
    }
    table
}

fn each(runs: &Runs, points: &[Point]) -> comfy_table::Table {
    let mut table = columns(&["POLICY AND KNOB", "VIOLATIONS", "REPLICA-HOURS"].map(str::to_owned));
    for (named, point) in runs.entrants.iter().zip(points) {
        table.add_row([named.name.clone(), format!("{:.4}", point.violations), format!("{:.2}", point.cost)]);
    }
    table
}

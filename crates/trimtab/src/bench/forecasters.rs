//! Whoever is driven by forecasts, each by its own, by the published forecaster and by trimtab's: what a policy makes of a forecast, apart
//! from whose it is.

use super::files::{Files, runs_csv};
use super::setting::courses;
use super::{Named, Runs, columns, progress, seeds, trimmed};
use crate::cli::Bench;
use trimtab_sim::contest::Contender;
use trimtab_sim::forecaster::Driver;
use trimtab_sim::run::Scenario;

/// Rivals that are driven by forecasts.
const DRIVEN: [Contender; 7] = [
    Contender::Gate,
    Contender::StaticFloor,
    Contender::PurePredictive,
    Contender::RecedingHorizon,
    Contender::SeasonalTrigger,
    Contender::Phpa,
    Contender::WindowMax,
];

pub(super) fn view(command: &Bench, scenario: &Scenario, files: &mut Files) -> anyhow::Result<String> {
    let courses = courses(&command.demand)?;
    let (entrants, seeds) = (entrants(), seeds(command, 5));
    let progress = progress(courses.len() * entrants.len(), seeds);
    let runs = Runs::hold(&courses, entrants, seeds, scenario, &progress);
    let text = format!("{}\n\n", trimmed(&table(&runs)));
    files.write("forecasters.csv", &runs_csv(&[runs]))?;
    Ok(text)
}

/// Whether a rival's author gave it forecasts other than the published ones.
fn has_own(contender: Contender) -> bool {
    matches!(contender, Contender::SeasonalTrigger | Contender::Phpa | Contender::WindowMax)
}

fn entrants() -> Vec<Named> {
    let of = |contender: Contender, driver: Driver| {
        let whose = match driver {
            Driver::Own => "own",
            Driver::Published => "published",
            Driver::Trimtab => "trimtab's",
        };
        let entrant = contender.by_default().driven(driver);
        Named { name: format!("{}, {whose} forecast", contender.name()), entrant }
    };
    let rivals = DRIVEN.iter().flat_map(|it| {
        let published = has_own(*it).then_some(Driver::Published);
        [Some(Driver::Own), published, Some(Driver::Trimtab)].into_iter().flatten().map(|driver| of(*it, driver))
    });
    std::iter::once(of(Contender::Trimtab, Driver::Own)).chain(rivals).collect()
}

fn table(runs: &Runs) -> comfy_table::Table {
    let header =
        ["DRIVEN BY, VIOLATIONS @ HOURS", "ITS OWN FORECAST", "THE PUBLISHED FORECASTER", "TRIMTAB'S FORECAST"];
    let mut table = columns(&header.map(str::to_owned));
    for contender in std::iter::once(Contender::Trimtab).chain(DRIVEN) {
        let cell = |driver: Driver| {
            let is_it = |named: &Named| named.entrant.contender == contender && named.entrant.driver == driver;
            let place = runs.entrants.iter().position(is_it);
            place.map_or_else(|| "-".to_owned(), |place| runs.mean(None, place).cell())
        };
        let (published, trimtabs) = match contender {
            Contender::Trimtab => (Driver::Published, Driver::Own),
            it if has_own(it) => (Driver::Published, Driver::Trimtab),
            _ => (Driver::Own, Driver::Trimtab),
        };
        table.add_row([contender.name().to_owned(), cell(Driver::Own), cell(published), cell(trimtabs)]);
    }
    table
}

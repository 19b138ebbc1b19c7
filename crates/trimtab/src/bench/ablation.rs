//! Ablation: what each part of the decision is worth, by leaving it out, where service and start-up are as believed and where they are not.

use super::files::{Files, quoted};
use super::setting::courses;
use super::{Named, Runs, columns, progress, seeds, trimmed};
use crate::cli::Bench;
use std::fmt::Write;
use trimtab_core::policy::{Method, Part};
use trimtab_core::unit::{Ratio, Seconds};
use trimtab_sim::contest::{Contender, Entrant};
use trimtab_sim::law::{Balancing, Pace, Startup};
use trimtab_sim::run::Scenario;

pub(super) fn view(command: &Bench, scenario: &Scenario, files: &mut Files) -> anyhow::Result<String> {
    let courses = courses(&command.demand)?;
    let (settings, methods) = (settings(scenario), methods());
    let seeds = seeds(command, 2);
    let progress = progress(courses.len() * methods.len() * settings.len(), seeds);
    let header =
        std::iter::once("VIOLATIONS @ HOURS".to_owned()).chain(settings.iter().map(|(name, _)| (*name).into()));
    let mut table = columns(&header.collect::<Vec<_>>());
    let mut csv = "setting,left_out,violations,replica_hours,churn\n".to_owned();
    let runs: Vec<(&str, Runs)> = settings
        .iter()
        .map(|(name, scenario)| (*name, Runs::hold(&courses, methods.clone(), seeds, scenario, &progress)))
        .collect();
    for (place, method) in methods.iter().enumerate() {
        let mut row = vec![method.name.clone()];
        for (setting, runs) in &runs {
            let mean = runs.mean(None, place);
            row.push(mean.cell());
            // Writing to a String cannot fail.
            let _ = writeln!(
                csv,
                "{},{},{:.6},{:.4},{:.2}",
                quoted(setting),
                quoted(&method.name),
                mean.violations,
                mean.replica_hours,
                mean.churn
            );
        }
        table.add_row(row);
    }
    files.write("ablation.csv", &csv)?;
    Ok(format!("{}\n", trimmed(&table)))
}

/// The whole, each part left out, and the gate.
fn methods() -> Vec<Named> {
    let named = |name: String, method| Named { name, entrant: Entrant { method, ..Contender::Trimtab.by_default() } };
    let without = |part: Part| named(format!("without {part}"), Method::Without(part));
    std::iter::once(named("trimtab".into(), Method::Priced))
        .chain(Part::ALL.map(without))
        .chain([named("the gate, on its forecast".into(), Method::Gate)])
        .collect()
}

/// As it was asked for, and where parts are needed that are idle there.
fn settings(base: &Scenario) -> Vec<(&'static str, Scenario)> {
    let mut all = vec![("as asked for", base.clone()); 4];
    if let [_, (slow, late), (apart, random), (weak, less)] = all.as_mut_slice() {
        (*slow, late.law.startup) = ("start-up 30 s", Startup::Fixed(Seconds::whole(30)));
        (*apart, random.law.balancing) = ("random balancing", Balancing::Random);
        (*weak, less.law.pace) = ("serves 80 %", Pace::Steady(Ratio::percent(80)));
    }
    all
}

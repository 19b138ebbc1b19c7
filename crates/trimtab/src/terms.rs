//! The same decision at depth: each step with its numbers and where they come from, each window ahead, and why not one more or fewer.

use crate::explain;
use crate::explain::{because, clock, number, per_second, plural, span};
use crate::report::{Considered, Workload};
use std::fmt::Write;
use trimtab_core::capacity::Capacity;
use trimtab_core::decision::Reason;
use trimtab_core::demand::Demand;
use trimtab_core::limit::Bite;
use trimtab_core::plan::{Plan, Rule};
use trimtab_core::snapshot::Reading;
use trimtab_core::unit::Ratio;
use trimtab_core::{Decision, Snapshot};

/// `-v`: a line for each step, in the order of `decide`; `-vv`: the windows ahead, every expert and the policy too.
#[must_use]
pub(crate) fn terms(workload: &Workload, depth: u8) -> String {
    let mut text = String::new();
    let Some(Considered { policy, snapshot, decision, .. }) = &workload.last else { return text };
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["STEP", "VALUE", "FROM"]);
    for row in steps(snapshot, decision) {
        table.add_row(row);
    }
    put(&mut text, &table);
    if depth < 2 {
        return text;
    }
    if let Some(forecast) = &decision.forecast {
        let mut windows = comfy_table::Table::new();
        windows.load_style(comfy_table::presets::NOTHING);
        windows.set_header(["WINDOW IN", "LASTS", "EXPECTED", "ERROR", "OR", "MORE", "JUMP"]);
        for window in &forecast.windows {
            windows.add_row([
                span(window.starts),
                span(window.lasts),
                per_second(window.mean),
                per_second(window.error),
                share(window.chance),
                per_second(window.more),
                share(window.hazard),
            ]);
        }
        text.push('\n');
        put(&mut text, &windows);
        let experts = forecast.shares.iter().map(|(expert, share)| format!("{expert:?} {:.1} %", 100.0 * share.get()));
        line(&mut text, &format!("\nExperts  {}", experts.collect::<Vec<_>>().join(", ")));
    }
    let objective = &policy.objective;
    line(
        &mut text,
        &format!(
            "Policy   {} to {} replicas; p99 below {} in all but {:.2} % of windows of {}; stabilization {}",
            policy.replicas.min(),
            policy.replicas.max(),
            span(objective.latency),
            100.0 * objective.misses.get(),
            span(objective.window),
            span(policy.stabilization),
        ),
    );
    for signal in &workload.signals {
        line(&mut text, &format!("Query    {}: {}", signal.name, signal.query));
    }
    line(&mut text, "Every number: --json");
    text
}

fn share(share: Ratio) -> String {
    format!("{:.2} %", 100.0 * share.get())
}

fn write_limit(bite: &Bite) -> String {
    let until = bite.until.map_or_else(String::new, |until| format!(" until {}", clock(until)));
    format!("{}: {} -> {}{until} [{}]", bite.limit, bite.from, bite.to, bite.limit.code())
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

fn put(text: &mut String, table: &comfy_table::Table) {
    for row in table.lines() {
        line(text, row.trim());
    }
}

fn steps(snapshot: &Snapshot, decision: &Decision) -> Vec<[String; 3]> {
    let lead = &decision.lead;
    let mut steps = vec![
        demand(snapshot, decision),
        [
            "lead time".into(),
            format!("{} = start-up {} + metrics {}", span(lead.total()), span(lead.startup), span(lead.metric_lag)),
            if lead.measured { "90th percentile of its own pods" } else { "default: no pod was seen to start" }.into(),
        ],
    ];
    steps.push(match &decision.forecast {
        Some(forecast) => {
            let mut best: Vec<_> = forecast.shares.iter().filter(|(_, share)| *share >= Ratio::percent(5)).collect();
            best.sort_by(|one, other| other.1.get().total_cmp(&one.1.get()));
            let best: Vec<String> =
                best.iter().map(|(expert, share)| format!("{:.0} % {expert:?}", 100.0 * share.get())).collect();
            let season = forecast.season.map_or_else(|| "none found".into(), span);
            [
                "forecast".into(),
                format!("median {}, 90 of 100 below {}", per_second(forecast.median), per_second(forecast.upper)),
                format!("{}; season {season}; {}", best.join(", "), plural(forecast.errors as usize, "past error")),
            ]
        }
        None => ["forecast".into(), "none".into(), "demand is not known".into()],
    });
    steps.push([
        "backlog".into(),
        format!("{} requests", number(decision.backlog.get())),
        "will wait when an order of now is ready".into(),
    ]);
    let (capacity, from) = capacity(&decision.capacity);
    steps.push(["capacity".into(), capacity, from]);
    let trust = &decision.trust;
    steps.push([
        "trust".into(),
        format!("{:.0} % of a queue shared, margin {:.1} %", 100.0 * trust.sharing.get(), 100.0 * trust.margin.get()),
        "learned from its own latency".into(),
    ]);
    if let Some(plan) = &decision.plan {
        steps.push(planned(plan));
    }
    for guard in &decision.guards {
        let level = guard.level.map_or_else(|absence| absence.to_string(), |level| number(level.get()));
        let verdict = if guard.blocks_until.is_some() { "blocks scaling out" } else { "clear" };
        let limit = number(guard.limit.get());
        steps.push(["protect".into(), format!("{}: {level} of {limit}", guard.name), verdict.into()]);
    }
    for bite in &decision.bites {
        steps.push(["limit".into(), write_limit(bite), String::new()]);
    }
    steps.push([
        "outcome".into(),
        format!("{} {} -> {}", decision.verb, decision.from, decision.to),
        because(decision),
    ]);
    steps
}

fn demand(snapshot: &Snapshot, decision: &Decision) -> [String; 3] {
    let from = match &snapshot.demand {
        Reading::Fresh(sample) | Reading::Stale(sample) => {
            let age = sample.age.map_or_else(|| "of unknown age".into(), |age| format!("{} old", span(age)));
            format!("read, {age}")
        }
        Reading::Missing(absence) => absence.to_string(),
    };
    let value = match &decision.demand {
        Demand::Known { rate, complete, .. } => {
            format!("{}{}", per_second(*rate), if *complete { "" } else { ", and perhaps more" })
        }
        Demand::Stale { last, .. } => format!("unknown, last {}", per_second(*last)),
        Demand::Unknown(absence) => format!("unknown: {absence}"),
    };
    ["demand".into(), value, from]
}

fn capacity(capacity: &Capacity) -> (String, String) {
    match capacity {
        Capacity::Declared(rate) => (format!("{} a replica", per_second(*rate)), "declared".into()),
        Capacity::Measured { rate, age } => {
            (format!("{} a replica", per_second(*rate)), format!("measured {} ago", span(*age)))
        }
        Capacity::Corrected { rate, believed } => (
            format!("{} a replica", per_second(*rate)),
            format!("as busy as they are; believed {}", per_second(*believed)),
        ),
        Capacity::Unknown(absence) => ("unknown".into(), absence.to_string()),
    }
}

fn planned(plan: &Plan) -> [String; 3] {
    let value = format!(
        "{} for {} ({} busy); {} if changes cost nothing",
        plural(plan.replicas.0 as usize, "replica"),
        per_second(plan.demand),
        number(plan.load.get()),
        plan.needed
    );
    let from = if plan.rule == Rule::Misses {
        format!(
            "misses {}, with one fewer {}, with one more {}; a missed window is priced at {} windows of a replica",
            share(plan.misses),
            share(plan.misses_with_fewer),
            share(plan.misses_with_more),
            number(plan.price.get())
        )
    } else {
        "not by the price of misses".into()
    };
    ["plan".into(), value, from]
}

/// What one replica more or fewer would have been worth, in replicas: what it changes of the chance of a missed window, at its price.
fn worth(plan: &Plan, other: Ratio) -> f64 {
    (plan.misses.get() - other.get()).abs() * plan.price.get()
}

/// `--why-not-more`.
#[must_use]
pub(crate) fn why_not_more(workload: &Workload) -> String {
    let Some(Considered { decision, .. }) = &workload.last else { return undecided(workload) };
    let mut text = format!("Why not more than {}?\n", decision.to);
    match &decision.plan {
        Some(plan) if plan.rule == Rule::Misses => line(
            &mut text,
            &format!(
                "Plan     {} were planned; one more costs 1 replica, and lowers the windows that miss from {} to {}, which is worth {} of a replica",
                plan.replicas,
                share(plan.misses),
                share(plan.misses_with_more),
                number(worth(plan, plan.misses_with_more)),
            ),
        ),
        Some(_) | None => line(&mut text, &format!("Because  {}", because(decision))),
    }
    let cut: Vec<_> = decision.bites.iter().filter(|bite| bite.to < bite.from).collect();
    for bite in &cut {
        line(&mut text, &format!("Limit    {}", write_limit(bite)));
    }
    for guard in decision.guards.iter().filter(|guard| guard.blocks_until.is_some()) {
        line(&mut text, &format!("Protect  {} is above its limit: nothing is scaled out into it", guard.name));
    }
    if cut.is_empty() {
        line(&mut text, "Limits   none held more back");
    }
    text
}

/// `--why-not-fewer`.
#[must_use]
pub(crate) fn why_not_fewer(workload: &Workload) -> String {
    let Some(Considered { decision, .. }) = &workload.last else { return undecided(workload) };
    let mut text = format!("Why not fewer than {}?\n", decision.to);
    match &decision.plan {
        Some(plan) if plan.rule == Rule::Misses => line(
            &mut text,
            &format!(
                "Plan     {} were planned; one fewer saves 1 replica, and raises the windows that miss from {} to {}, which costs {} of a replica; \
                 a removal also has to be right until the replica could be back, in {}",
                plan.replicas,
                share(plan.misses),
                share(plan.misses_with_fewer),
                number(worth(plan, plan.misses_with_fewer)),
                span(decision.lead.total()),
            ),
        ),
        Some(_) | None => line(&mut text, &format!("Because  {}", because(decision))),
    }
    let kept: Vec<_> = decision.bites.iter().filter(|bite| bite.to > bite.from).collect();
    for bite in &kept {
        line(&mut text, &format!("Limit    {}", write_limit(bite)));
    }
    if matches!(decision.reason, Reason::DemandUnknown(_) | Reason::DemandStale { .. }) {
        line(&mut text, "Blind    without demand nothing is removed, however long it lasts");
    } else if kept.is_empty() {
        line(&mut text, "Limits   none held fewer back");
    }
    text
}

fn undecided(workload: &Workload) -> String {
    let why = explain::undecided(workload).unwrap_or_else(|| "nothing was decided at that time".to_owned());
    format!("{}: no decision\nBecause  {why}\n", workload.workload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Writes;

    /// A workload on which nothing was decided yet.
    fn undecided() -> Workload {
        Workload {
            workload: "shop/deployment/checkout".into(),
            policy_origin: "policy.yaml:2".into(),
            writes: Writes::Shadow,
            problem: Some("it does not exist".into()),
            signals: Vec::new(),
            last: None,
            changed: None,
            claim: None,
            mode: None,
            autoscaler: None,
            conditions: Vec::new(),
            set_by: None,
        }
    }

    #[test]
    fn what_was_not_decided_says_why_whatever_is_asked() {
        for said in [why_not_more(&undecided()), why_not_fewer(&undecided())] {
            assert!(said.contains("no decision") && said.contains("it does not exist"), "{said}");
        }
        assert_eq!(terms(&undecided(), 2), "");
    }
}

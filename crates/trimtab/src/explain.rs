//! A decision in words: what it was taken from, what each step made of it, what bound the answer, what it waits for.
//!
//! Every number printed is a field of the recorded decision: nothing is estimated and nothing is computed twice.

use crate::page::rows::State;
use crate::report::{self, Autoscaler, Condition, Considered, Report, Workload, Writes};
use std::fmt::Write;
use trimtab_core::capacity::Capacity;
use trimtab_core::decision::Reason;
use trimtab_core::demand::Demand;
use trimtab_core::forecast::Expert;
use trimtab_core::plan::Rule;
use trimtab_core::policy::Objective;
use trimtab_core::snapshot::{Coverage, Fleet, Reading};
use trimtab_core::unit::{Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_core::{Decision, Policy, Snapshot, Verb};

/// What stands where a value is not known.
pub(crate) const UNKNOWN: &str = "?";

/// `explain` for one workload.
#[must_use]
pub fn explain(workload: &Workload) -> String {
    let mut text = String::new();
    let name = &workload.workload;
    let Some(considered) = &workload.last else {
        let problem = undecided(workload).unwrap_or_else(|| "nothing was decided at that time".to_owned());
        lines(&mut text, &[format!("{name}: no decision"), format!("Because  {problem}")]);
        if let Some(other) = &workload.autoscaler {
            lines(&mut text, &[format!("Beside   {}", beside(other))]);
        }
        signals(&mut text, workload);
        return text;
    };
    let Considered { policy, snapshot, decision, .. } = considered;
    lines(
        &mut text,
        &[
            format!("{name}: {} ({})", headline(decision), written(workload, considered)),
            format!("At       {}, policy {}", clock(decision.at), workload.policy_origin),
            format!("Because  {}", because(decision)),
            format!("Demand   {}", demand(decision, snapshot)),
            format!("Ahead    {}", ahead(decision)),
            format!("Size     {}", size(decision, &policy.objective)),
            format!("Latency  {}", latency(snapshot, &policy.objective)),
        ],
    );
    lines(&mut text, &known(policy, snapshot, decision));
    for guard in &decision.guards {
        let level = guard.level.map_or_else(
            |absence| absence.to_string(),
            |level| format!("{} of {}", number(level.get()), number(guard.limit.get())),
        );
        let verdict = guard
            .blocks_until
            .map_or_else(|| "clear".to_owned(), |until| format!("nothing is scaled out before {}", clock(until)));
        lines(&mut text, &[format!("Protect  {}: {level}: {verdict}", guard.name)]);
    }
    lines(&mut text, &[format!("Limits   {}", limits(decision)), format!("Fleet    {}", fleet(snapshot))]);
    if let Some(other) = &workload.autoscaler {
        lines(&mut text, &[format!("Beside   {}", beside(other))]);
    }
    if let Some(until) = waits_until(decision) {
        lines(&mut text, &[format!("Waits    until {}", clock(until))]);
    }
    for condition in &workload.conditions {
        lines(&mut text, &[format!("Problem  {condition}")]);
    }
    signals(&mut text, workload);
    text
}

/// Why nothing is decided, where that is known.
pub(crate) fn undecided(workload: &Workload) -> Option<String> {
    workload.conditions.first().map(ToString::to_string).or_else(|| workload.problem.clone())
}

fn lines(text: &mut String, lines: &[String]) {
    for line in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    }
}

fn signals(text: &mut String, workload: &Workload) {
    for signal in &workload.signals {
        if let Some(problem) = &signal.problem {
            lines(text, &[format!("Signal   {}: {problem}", signal.name), format!("         query: {}", signal.query)]);
        }
    }
}

fn headline(decision: &Decision) -> String {
    match decision.verb {
        Verb::Hold => format!("Hold at {}", decision.to),
        verb => format!("{verb} {} -> {}", decision.from, decision.to),
    }
}

fn written(workload: &Workload, considered: &Considered) -> String {
    match (&workload.writes, &considered.outcome) {
        (_, Some(outcome)) => outcome.to_string(),
        (Writes::Own, None) => "own".into(),
        (Writes::Floor, None) => "floor: the least size of its autoscaler follows".into(),
        (Writes::FloorNotOptedIn, None) => "not written: its autoscaler carries no label trimtab.dev/mode=floor".into(),
        (Writes::NoFloor(why), None) => format!("not written: {why}"),
        (Writes::Beside(other), None) => {
            format!("not written: {other} scales it; trimtab own pauses that, or delete it")
        }
        (Writes::NotRecorded, None) => "no write of it is recorded".into(),
        (Writes::Shadow, None) => "shadow: not written".into(),
        (Writes::NotOptedIn, None) => "not written: the workload carries no label trimtab.dev/mode=own".into(),
        (Writes::OtherAgent(Some(agent)), None) => format!("not written here: agent {agent} writes"),
        (Writes::OtherAgent(None), None) => "not written: no agent has claimed it yet".into(),
        (Writes::StandingDown(until), None) => {
            format!("not written before {}: {} changed the size", clock(*until), rival(workload))
        }
        (Writes::Blocked { until, why }, None) => format!("not written before {}: {why}", clock(*until)),
    }
}

/// Who else changed the size.
pub(crate) fn rival(workload: &Workload) -> &str {
    workload.set_by.as_deref().unwrap_or("somebody else")
}

/// The one reason that stands for the outcome, with its code.
pub(crate) fn because(decision: &Decision) -> String {
    let code = decision.reason.code();
    let reason = match (&decision.reason, &decision.plan) {
        (Reason::Needed | Reason::Settled, Some(plan)) => {
            let (replicas, demand) = (plural(plan.replicas.0 as usize, "replica"), per_second(plan.demand));
            match plan.rule {
                Rule::Misses => format!("{replicas} cost least for {demand}"),
                Rule::Utilization => format!("{replicas} carry {demand}"),
                Rule::Gate => format!("the published gate asks for {replicas} at {demand}"),
            }
        }
        (reason, _) => reason.to_string(),
    };
    format!("{reason} [{code}]")
}

/// What stands behind the demand: how old it is, and of how many replicas.
pub(crate) fn reading(snapshot: &Snapshot) -> String {
    match &snapshot.demand {
        Reading::Fresh(sample) | Reading::Stale(sample) => format!(
            "{}, {}",
            sample.age.map_or_else(|| "age unknown".to_owned(), |age| format!("{} old", span(age))),
            coverage(sample.coverage)
        ),
        Reading::Missing(_) => "no reading".to_owned(),
    }
}

fn demand(decision: &Decision, snapshot: &Snapshot) -> String {
    let reading = reading(snapshot);
    match &decision.demand {
        Demand::Known { rate, .. } => format!("{} ({reading})", per_second(*rate)),
        Demand::Stale { last, .. } => format!("unknown; last {} ({reading})", per_second(*last)),
        Demand::Unknown(absence) => format!("unknown: {absence} ({reading})"),
    }
}

fn coverage(coverage: Coverage) -> String {
    match coverage {
        Coverage::Share(share) => format!("{:.0} % of the ready replicas report", 100.0 * share.get()),
        Coverage::Partial => "the source says that its answer is partial".into(),
        Coverage::Unmeasured => "coverage unknown".into(),
    }
}

fn ahead(decision: &Decision) -> String {
    let lead = &decision.lead;
    let startup = if lead.measured { "measured" } else { "default" };
    let lead_time = format!(
        "in {} (start-up {} {startup} + metric age {})",
        span(lead.total()),
        span(lead.startup),
        span(lead.metric_lag)
    );
    match &decision.forecast {
        Some(forecast) => format!(
            "median {}, 90 of 100 below {} {lead_time}; {}",
            per_second(forecast.median),
            per_second(forecast.upper),
            if forecast.errors == 0 {
                "band guessed".to_owned()
            } else {
                format!("band from {}", plural(forecast.errors as usize, "past error"))
            }
        ),
        None => format!("no forecast {lead_time}"),
    }
}

/// What others said of the future: the forecast from outside, and the events that reach into what is planned for.
fn known(policy: &Policy, snapshot: &Snapshot, decision: &Decision) -> Vec<String> {
    let outside = decision.forecast.as_ref().zip(snapshot.foretold.last()).map(|(forecast, last)| {
        let share = forecast.shares.get(Expert::External);
        let (rate, ahead) = (per_second(last.rate), span(last.at.since(decision.at)));
        format!(
            "Outside  the forecast from outside says {rate} in {ahead}, and counts for {:.0} %",
            100.0 * share.get()
        )
    });
    let windows = decision.forecast.as_ref().and_then(|forecast| forecast.windows.last());
    let until = windows.map_or(decision.at, |last| decision.at.after(last.starts + last.lasts));
    let events = policy.events.iter().filter(|event| event.until > decision.at && event.from < until);
    let events = events.map(|event| {
        format!("Event    at least {} from {} until {}", per_second(event.rate), clock(event.from), clock(event.until))
    });
    outside.into_iter().chain(events).collect()
}

fn size(decision: &Decision, objective: &Objective) -> String {
    let latency = objective.latency;
    let replica = match &decision.capacity {
        Capacity::Declared(rate) => format!("a replica serves {} (declared)", per_second(*rate)),
        Capacity::Measured { rate, age } => {
            format!("a replica serves {} (measured {} ago)", per_second(*rate), span(*age))
        }
        Capacity::Corrected { rate, believed } => {
            format!("a replica serves {} (as busy as they are; believed {})", per_second(*rate), per_second(*believed))
        }
        Capacity::Unknown(absence) => format!("what a replica serves is unknown: {absence}"),
    };
    let Some(plan) = &decision.plan else { return replica };
    let trust = &decision.trust;
    let learned = match (trust.sharing < Ratio::percent(90), trust.margin > Ratio::permille(5)) {
        (false, false) => String::new(),
        (true, false) => format!("; replicas share {:.0} % of a queue, by their latency", 100.0 * trust.sharing.get()),
        (_, true) => format!("; {:.1} % more, because the objective was missed", 100.0 * trust.margin.get()),
    };
    match plan.rule {
        Rule::Misses => format!(
            "{}: p99 above {} expected in {} of windows; with {} in {}, with {} in {}; {replica}{learned}",
            plan.replicas,
            span(latency),
            share(plan.misses),
            plan.replicas.minus(1),
            share(plan.misses_with_fewer),
            plan.replicas.plus(1),
            share(plan.misses_with_more),
        ),
        Rule::Gate => format!("{}: by the published confidence gate; {replica}", plan.replicas),
        Rule::Utilization if !objective.is_promised() => format!(
            "{}: no latency is promised, so each is loaded to what it may carry, in nine of ten cases; {replica}",
            plan.replicas
        ),
        Rule::Utilization => format!(
            "{}: no number of replicas keeps p99 within {}, so they are loaded to 70 %; {replica}",
            plan.replicas,
            span(latency)
        ),
    }
}

fn share(share: Ratio) -> String {
    let percent = 100.0 * share.get();
    if percent < 0.1 {
        "under 0.1 %".into()
    } else if percent < 10.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

fn latency(snapshot: &Snapshot, objective: &Objective) -> String {
    if !objective.is_promised() {
        return "none promised".into();
    }
    let target = span(objective.latency);
    match &snapshot.latency {
        Reading::Fresh(sample) => format!("{} of {target}", span(sample.value)),
        Reading::Stale(sample) => format!("unknown; last {} of {target}", span(sample.value)),
        Reading::Missing(absence) => format!("unknown: {absence} (target {target})"),
    }
}

fn limits(decision: &Decision) -> String {
    if decision.bites.is_empty() {
        return "none bit".into();
    }
    let bites = decision.bites.iter().map(|bite| {
        let until = bite.until.map_or_else(String::new, |until| format!(" until {}", clock(until)));
        format!("{}: {} -> {}{until} [{}]", bite.limit, bite.from, bite.to, bite.limit.code())
    });
    bites.collect::<Vec<_>>().join(" | ")
}

fn fleet(snapshot: &Snapshot) -> String {
    let fleet = &snapshot.fleet;
    let mut text = format!("{} wanted, {} ready, {} starting", fleet.desired, fleet.ready, fleet.starting);
    if fleet.stuck > Replicas(0) {
        let _ = write!(text, ", {} of them for longer than {}", fleet.stuck, span(Fleet::STUCK));
    }
    let unready = fleet.desired.0.saturating_sub(fleet.ready.0 + fleet.starting.0);
    if unready > 0 {
        let _ = write!(text, ", {unready} no longer ready or not created");
    }
    if fleet.rolling_out {
        text.push_str(", rollout in progress");
    }
    text
}

fn waits_until(decision: &Decision) -> Option<Timestamp> {
    match &decision.reason {
        Reason::Limited { until, .. } => *until,
        Reason::Needed
        | Reason::Spare
        | Reason::Bound(_)
        | Reason::Settled
        | Reason::FirstLook
        | Reason::Paused
        | Reason::DemandUnknown(_)
        | Reason::DemandStale { .. }
        | Reason::CapacityUnknown(_) => None,
    }
}

/// `status`: one row a workload, of all that agents say; who needs a look comes first.
#[must_use]
pub fn status(reports: Vec<Report>, namespace: Option<&str>) -> String {
    let writers: Vec<String> =
        reports.iter().filter(|report| report.may_write).map(|report| report.agent.clone()).collect();
    let report = report::of_all(reports);
    let mut rows: Vec<&Workload> = report
        .workloads
        .iter()
        .filter(|workload| namespace.is_none_or(|namespace| workload.workload.split('/').next() == Some(namespace)))
        .collect();
    rows.sort_by_key(|workload| State::of(workload));
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["WORKLOAD", "WRITES", "NOW", "WANT", "HPA", "DEMAND", "AHEAD p90", "LATENCY", "WHY"]);
    for workload in &rows {
        table.add_row(row(workload));
    }
    let mut text = String::new();
    lines(&mut text, &table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>());
    let blind = rows.iter().filter(|workload| State::of(workload).is_blind()).count();
    let changing = rows.iter().filter(|workload| State::of(workload).is_changing()).count();
    lines(
        &mut text,
        &[format!(
            "{}: {changing} would change, {blind} blind; may write: {}; as of {}",
            plural(rows.len(), "workload"),
            if writers.is_empty() { "none".to_owned() } else { writers.join(", ") },
            clock(report.at)
        )],
    );
    for workload in &rows {
        if let Writes::Blocked { until, why } = &workload.writes {
            lines(&mut text, &[format!("blocked until {}: {}: {why}", clock(*until), workload.workload)]);
        }
    }
    // The table has no room for all of it.
    for condition in rows.iter().flat_map(|workload| workload.conditions.iter().map(move |one| (workload, one))) {
        let (workload, Condition { name, why }) = condition;
        lines(&mut text, &[format!("{name}: {}: {why}", workload.workload)]);
    }
    for (what, problem) in &report.troubles {
        lines(&mut text, &[format!("trouble: {what}: {problem}")]);
    }
    text
}

/// `status --agents`: one row a workload that an agent has claimed, or should have, by agent.
#[must_use]
pub fn agents(reports: &[Report]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["AGENT", "WORKLOAD", "EPOCH", "FOR", "MOVED BECAUSE"]);
    let mut rows = Vec::new();
    for workload in report::of_all(reports.to_vec()).workloads {
        let unclaimed = matches!(workload.writes, Writes::OtherAgent(None));
        match workload.claim {
            Some(claim) => rows.push((claim.agent.clone(), workload.workload, Some(claim))),
            None if unclaimed => rows.push(("nobody".to_owned(), workload.workload, None)),
            None => {}
        }
    }
    rows.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    let at = reports.iter().map(|report| report.at).max().unwrap_or_default();
    let mut text = String::new();
    for (agent, workload, claim) in &rows {
        let (epoch, held, why) = claim.as_ref().map_or_else(
            || ("-".to_owned(), "-".to_owned(), "no agent has claimed it".to_owned()),
            |claim| {
                let number = claim.epoch.split('.').next().unwrap_or_default().to_owned();
                let why = claim.why.clone().unwrap_or_else(|| "its agent does not say".to_owned());
                (number, span(at.since(claim.since)), why)
            },
        );
        table.add_row([agent.clone(), workload.clone(), epoch, held, why]);
    }
    lines(&mut text, &table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>());
    let (may_write, silent): (Vec<&Report>, Vec<&Report>) = reports.iter().partition(|report| report.may_write);
    let silent: Vec<&str> = silent.iter().map(|report| report.agent.as_str()).collect();
    let others = if silent.is_empty() { String::new() } else { format!("; without a Lease: {}", silent.join(", ")) };
    lines(&mut text, &[format!("{} agents may write{others}; as of {}", may_write.len(), clock(at))]);
    text
}

/// Who else scales it and what that asks for, for a table.
pub(crate) fn wish(workload: &Workload) -> String {
    workload.autoscaler.as_ref().map_or_else(|| "-".to_owned(), Autoscaler::wish)
}

/// The same in a sentence.
fn beside(other: &Autoscaler) -> String {
    let wants = match (&other.problem, other.wants) {
        _ if !other.active => "is paused".to_owned(),
        (Some(problem), _) => format!("cannot decide: {problem}"),
        (None, Some(wants)) => format!("wants {wants}"),
        (None, None) => "does not say what it wants".to_owned(),
    };
    let min = other.min.map_or_else(|| "unset".to_owned(), |min| min.to_string());
    format!("{} {wants} (least {min}, most {})", other.name, other.max)
}

fn row(workload: &Workload) -> [String; 9] {
    let unknown = || UNKNOWN.to_owned();
    let Some(last) = &workload.last else {
        let why = undecided(workload).unwrap_or_else(|| "starting".into());
        return [
            workload.workload.clone(),
            workload.writes.to_string(),
            unknown(),
            unknown(),
            wish(workload),
            unknown(),
            unknown(),
            unknown(),
            short(&why),
        ];
    };
    let demand = match &last.decision.demand {
        Demand::Known { rate, .. } if last.is_partial() => format!("{} in part", per_second(*rate)),
        Demand::Known { rate, .. } => per_second(*rate),
        Demand::Stale { .. } | Demand::Unknown(_) => "blind".into(),
    };
    let upper = last
        .decision
        .forecast
        .as_ref()
        .map_or_else(unknown, |forecast| format!("{} {}", per_second(forecast.upper), span(forecast.horizon)));
    [
        workload.workload.clone(),
        workload.writes.to_string(),
        last.snapshot.fleet.ready.to_string(),
        last.decision.to.to_string(),
        wish(workload),
        demand,
        upper,
        last.snapshot.latency.fresh().map_or_else(unknown, span),
        short(&format!("{} {}", last.decision.verb, because(&last.decision))),
    ]
}

/// A reason for a table: the first 72 characters.
fn short(text: &str) -> String {
    if text.chars().count() <= 72 { text.to_owned() } else { text.chars().take(71).chain(['…']).collect() }
}

/// The Event's and the log's sentence for a change.
#[must_use]
pub fn sentence(decision: &Decision) -> String {
    let demand = match &decision.demand {
        Demand::Known { rate, .. } => format!("; demand {}", per_second(*rate)),
        Demand::Stale { .. } | Demand::Unknown(_) => String::new(),
    };
    let ahead = decision.forecast.as_ref().map_or_else(String::new, |forecast| {
        format!(", up to {} in {}", per_second(forecast.upper), span(forecast.horizon))
    });
    format!("{}: {}{demand}{ahead}", headline(decision), because(decision))
}

/// A rate as people read it.
pub(crate) fn per_second(rate: RequestsPerSecond) -> String {
    format!("{}/s", number(rate.get()))
}

/// Three significant digits or all of the integer part.
pub(crate) fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// A length of time as people say it.
#[must_use]
pub fn span(time: Seconds) -> String {
    match time.get() {
        seconds if seconds < 1.0 => format!("{:.0} ms", 1000.0 * seconds),
        seconds if seconds < 10.0 => format!("{seconds:.1} s"),
        seconds if seconds < 600.0 => format!("{seconds:.0} s"),
        seconds => format!("{:.0} min", seconds / 60.0),
    }
}

/// A count with its noun.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// What is known, or the sign that it is not.
pub(crate) fn or_unknown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| value.to_string())
}

/// A moment in UTC, to the second.
#[must_use]
pub fn clock(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| at.0.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use trimtab_core::policy::{Bounds, Event, Method, Objective, Protection};
    use trimtab_core::snapshot::{Absence, Foretold, Sample};
    use trimtab_core::unit::{Level, Ratio};
    use trimtab_core::{State, decide};
    use trimtab_journal::Outcome;

    const START: i64 = 1_795_511_000_000;

    fn policy() -> Policy {
        Policy {
            replicas: Bounds::new(Replicas(2), Replicas(12)).unwrap(),
            objective: Objective {
                latency: Seconds::new(0.2).unwrap(),
                misses: Ratio::new(0.005).unwrap(),
                window: Objective::WINDOW,
            },
            capacity: trimtab_core::policy::Capacity::Declared(RequestsPerSecond::whole(50)),
            protect: vec![Protection { name: "postgres".into(), limit: Level::whole(250) }],
            stabilization: Seconds::whole(300),
            events: Vec::new(),
            ramp: None,
            method: Method::Priced,
        }
    }

    fn snapshot(second: i64, demand: Option<f64>, desired: u32, postgres: u32) -> Snapshot {
        let coverage = Coverage::Share(Ratio::ONE);
        let age = Some(Seconds::whole(3));
        let reading = demand
            .and_then(RequestsPerSecond::new)
            .map_or(Reading::Missing(Absence::Unreachable), |value| Reading::Fresh(Sample { value, age, coverage }));
        Snapshot {
            at: Timestamp(START + second * 1_000),
            demand: reading,
            capacity: Reading::Missing(Absence::NotConfigured),
            latency: Reading::Fresh(Sample {
                value: Seconds::new(0.087).unwrap(),
                age,
                coverage: Coverage::Unmeasured,
            }),
            utilization: Reading::Missing(Absence::NotConfigured),
            foretold: Vec::new(),
            protected: BTreeMap::from([(
                "postgres".to_owned(),
                Reading::Fresh(Sample { value: Level::whole(postgres), age, coverage: Coverage::Unmeasured }),
            )]),
            fleet: Fleet {
                desired: Replicas(desired),
                ready: Replicas(desired),
                starting: Replicas(0),
                stuck: Replicas(0),
                startup: Some(Seconds::whole(48)),
                rolling_out: false,
            },
        }
    }

    #[test]
    fn what_others_say_of_the_future_is_shown_while_it_reaches_into_the_plan() {
        let at = |second: i64| Timestamp(START + second * 1_000);
        let event = |from, until| Event { from: at(from), until: at(until), rate: RequestsPerSecond::whole(900) };
        let policy = Policy { events: vec![event(200, 900), event(-900, -200), event(9_000, 9_900)], ..policy() };
        let mut state = State::default();
        let said = |second: i64, state: &mut State| {
            let rate = RequestsPerSecond::whole(340);
            let snapshot = Snapshot {
                foretold: vec![Foretold { at: at(second + 300), rate }],
                ..snapshot(second, Some(300.0), 8, 100)
            };
            let decision = decide(&policy, state, &snapshot);
            known(&policy, &snapshot, &decision)
        };
        let _ = said(0, &mut state);
        let lines = said(30, &mut state);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("says 340/s in 300 s, and counts for"), "{lines:?}");
        assert!(lines[1].starts_with("Event    at least 900/s from "), "{lines:?}");
    }

    /// The explanation after the last of these moments: second, demand, replicas, postgres.
    fn explained(course: &[(i64, Option<f64>, u32, u32)], writes: Writes, outcome: Option<&Outcome>) -> String {
        let mut state = State::default();
        let mut last = None;
        for (second, demand, desired, postgres) in course {
            let snapshot = snapshot(*second, *demand, *desired, *postgres);
            let decision = decide(&policy(), &mut state, &snapshot);
            last = Some(Considered { policy: policy(), snapshot, decision, outcome: outcome.cloned() });
        }
        explain(&Workload {
            workload: "shop/deployment/checkout".into(),
            policy_origin: "policy.yaml:2".into(),
            writes,
            problem: None,
            signals: vec![report(last.as_ref())],
            last,
            changed: None,
            claim: None,
            mode: None,
            autoscaler: None,
            conditions: Vec::new(),
            set_by: None,
        })
    }

    fn report(last: Option<&Considered>) -> crate::report::Signal {
        let blind = last.is_none_or(|last| last.snapshot.demand.fresh().is_none());
        crate::report::Signal {
            name: "demand".into(),
            query: "sum(rate(http_requests_total[1m]))".into(),
            problem: blind.then(|| "cannot reach Prometheus at http://prometheus:9090: connection refused".to_owned()),
        }
    }

    #[test]
    fn a_scale_out_in_shadow() {
        insta::assert_snapshot!(explained(&[(0, Some(280.0), 6, 41), (5, Some(420.0), 6, 41)], Writes::Shadow, None));
    }

    #[test]
    fn a_scale_out_that_was_written_up_to_the_maximum() {
        let course = [(0, Some(280.0), 6, 41), (5, Some(900.0), 6, 41)];
        insta::assert_snapshot!(explained(&course, Writes::Own, Some(&Outcome::Committed)));
    }

    #[test]
    fn a_blackout() {
        insta::assert_snapshot!(explained(&[(0, Some(280.0), 6, 41), (5, None, 6, 41)], Writes::Own, None));
    }

    #[test]
    fn a_database_above_its_limit() {
        insta::assert_snapshot!(explained(&[(0, Some(280.0), 6, 41), (5, Some(420.0), 6, 300)], Writes::Own, None));
    }

    #[test]
    fn a_removal_that_waits_for_its_window() {
        let course = [(0, Some(280.0), 8, 41), (5, Some(130.0), 8, 41), (10, Some(130.0), 8, 41)];
        insta::assert_snapshot!(explained(&course, Writes::Own, None));
    }

    #[test]
    fn the_first_look() {
        insta::assert_snapshot!(explained(&[(0, Some(280.0), 6, 41)], Writes::OtherAgent(None), None));
    }

    #[test]
    fn a_workload_that_does_not_exist() {
        let workload = Workload {
            workload: "shop/deployment/checkuot".into(),
            policy_origin: "policy.yaml:2".into(),
            writes: Writes::Shadow,
            problem: Some(
                "shop/deployment/checkuot does not exist: create it, or correct the target at policy.yaml:2".into(),
            ),
            signals: Vec::new(),
            last: None,
            changed: None,
            claim: None,
            mode: None,
            autoscaler: None,
            conditions: Vec::new(),
            set_by: None,
        };
        insta::assert_snapshot!(explain(&workload));
    }

    #[test]
    fn another_autoscaler_is_told_beside_the_decision() {
        let other = |wants: Option<u32>, active, problem: Option<&str>| Autoscaler {
            name: "hpa shop/web".to_owned(),
            wants: wants.map(Replicas),
            min: Some(2),
            max: 14,
            active,
            problem: problem.map(str::to_owned),
            is_policy: true,
        };
        assert_eq!(beside(&other(Some(9), true, None)), "hpa shop/web wants 9 (least 2, most 14)");
        assert_eq!(beside(&other(Some(9), false, None)), "hpa shop/web is paused (least 2, most 14)");
        let blind = beside(&other(None, true, Some("FailedGetResourceMetric: no metrics")));
        assert_eq!(blind, "hpa shop/web cannot decide: FailedGetResourceMetric: no metrics (least 2, most 14)");
        assert!(beside(&other(None, true, None)).contains("does not say what it wants"));
    }

    #[test]
    fn status_puts_first_who_needs_a_look() {
        let mut state = State::default();
        let mut considered = |second, demand, desired| {
            let snapshot = snapshot(second, demand, desired, 41);
            let decision = decide(&policy(), &mut state, &snapshot);
            Some(Considered { policy: policy(), snapshot, decision, outcome: None })
        };
        let workload = |name: &str, writes, last| Workload {
            workload: name.into(),
            policy_origin: "policy.yaml:2".into(),
            writes,
            problem: None,
            signals: Vec::new(),
            last,
            changed: None,
            claim: None,
            mode: None,
            autoscaler: None,
            conditions: Vec::new(),
            set_by: None,
        };
        let beside = |mut workload: Workload, wants: Option<u32>, active| {
            let wants = wants.map(Replicas);
            let name = "hpa shop/x".to_owned();
            let other = Autoscaler { name, wants, min: Some(2), max: 14, active, problem: None, is_policy: false };
            workload.autoscaler = Some(other);
            workload
        };
        considered(0, Some(280.0), 7);
        let report = Report {
            agent: "trimtab-x7k2p".into(),
            version: "0.1.0".into(),
            at: Timestamp(START + 20_000),
            may_write: true,
            unclaimed: 0,
            troubles: BTreeMap::from([(
                "pods in all namespaces".to_owned(),
                "not allowed to list and watch pods".to_owned(),
            )]),
            workloads: vec![
                beside(workload("shop/deployment/search", Writes::Own, considered(5, Some(280.0), 8)), None, false),
                beside(
                    workload("shop/deployment/checkout", Writes::Shadow, considered(10, Some(420.0), 6)),
                    Some(9),
                    true,
                ),
                workload("pay/deployment/ledger", Writes::Shadow, considered(15, None, 6)),
            ],
        };
        insta::assert_snapshot!(status(vec![report], None));
    }
}

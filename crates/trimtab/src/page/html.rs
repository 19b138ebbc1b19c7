//! What the pages look like, without any script: everything can be read and followed by links alone.

use super::Shown;
use super::rows::{Asked, Row, Rows};
use crate::explain::{self, UNKNOWN, or_unknown, per_second, plural};
use crate::report::{Considered, Report, Sight, Sights, Workload, Writes};
use crate::serve::Stage;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::collections::BTreeMap;
use trimtab_core::Snapshot;
use trimtab_core::forecast::{Expert, TrackRecord};
use trimtab_core::snapshot::{Coverage, Reading};
use trimtab_core::unit::{Ratio, Seconds, Timestamp, Windows};

/// A page: its title, what its script is to do, and what is in it.
pub(crate) fn page(shown: &Shown, kind: &str, title: &str, live: &str, content: &Markup) -> Markup {
    let report = shown.report.borrow().clone();
    let current = |name: &str| (name == kind).then_some("page");
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · trimtab" }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/uplot.css";
                link rel="stylesheet" href="/assets/page.css";
                script src="/assets/uplot.js" defer {}
                script src="/assets/page.js" defer {}
            }
            body data-page=(kind) data-live=(live) data-zone=[(shown.stage == Stage::Simulated).then_some("UTC")] data-span=[(shown.stage == Stage::Loopback).then_some("300")] {
                a.skip href="#main" { "Skip to content" }
                header.top {
                    a.brand href="/" { "trimtab" }
                    nav aria-label="Pages" {
                        @if shown.stage != Stage::Cluster { a href="/demo" aria-current=[current("demo")] { "Demo" } }
                        a href="/" aria-current=[current("overview")] { "Workloads" }
                        a href="/agents" aria-current=[current("agents")] { "Agents" }
                    }
                    p.live id="live" role="status" aria-live="polite" { "as of " (time(report.at)) }
                    button.plain id="theme" type="button" hidden { "Dark" }
                }
                main id="main" {
                    p.trouble id="gone" role="alert" hidden {}
                    (content)
                }
                footer {
                    p { "trimtab " (report.version) " · agent " (report.agent) " · read-only · times in " span id="zone" { "UTC" } }
                }
            }
        }
    }
}

/// A moment, for people and for the script, which shows it in the viewer's zone.
pub(crate) fn time(at: Timestamp) -> Markup {
    html! { time data-at=(at.0) { (explain::clock(at)) } }
}

/// What `explain` says below its headline, by its headings; a line that goes on has none.
fn lines(workload: &Workload) -> Vec<(String, String)> {
    let text = explain::explain(workload);
    let split = |line: &str| {
        let (heading, rest) = line.split_at_checked(9).unwrap_or((line, ""));
        (heading.trim().to_owned(), rest.to_owned())
    };
    text.lines().skip(1).map(split).collect()
}

/// Where a workload's page is.
pub(crate) fn address(workload: &str) -> String {
    format!("/w/{workload}")
}

// === the overview ===

/// The overview's columns: what an address calls them, what people read, and whether they are numbers.
const COLUMNS: [(&str, &str, bool); 12] = [
    ("state", "State", false),
    ("workload", "Workload", false),
    ("writes", "Mode", false),
    ("ready", "Ready", true),
    ("decided", "Want", true),
    ("autoscaler", "HPA", true),
    ("demand", "Demand", true),
    ("ahead", "Ahead p90", true),
    ("latency", "p99 / target", true),
    ("missed", "Missed 1 h", true),
    ("replica_hours", "Replica-h 1 h", true),
    ("signals", "Signals", false),
];

pub(crate) fn overview(report: &Report, sights: &Sights, asked: &Asked) -> Markup {
    html! {
        h1.hidden { "Workloads" }
        div id="rows" { (rows(report, sights, asked)) }
    }
}

/// What of the overview changes while it is looked at.
pub(crate) fn rows(report: &Report, sights: &Sights, asked: &Asked) -> Markup {
    let rows = Rows::of(report, sights, asked);
    html! {
        (tiles(&rows, report))
        @for (what, problem) in &report.troubles {
            p.trouble { b { (what) } ": " (problem) }
        }
        form.filter role="search" action="/" method="get" {
            label for="q" { "Filter" }
            input id="q" name="q" type="search" value=(asked.q) placeholder="shop blind" autocomplete="off";
            input type="hidden" name="sort" value=(asked.sort);
            noscript { button { "Filter" } }
            p.count role="status" { (rows.found) " of " (rows.all) " workloads" }
        }
        @if rows.all == 0 {
            div.empty {
                h2 { "No policy names a workload yet" }
                p { "Give " code { "trimtab run" } " a file with " code { "--policy" } ", or label a ConfigMap " code { "trimtab.dev/policy" } "." }
            }
        } @else if rows.found == 0 {
            div.empty { p { "No workload contains “" (asked.q) "”. " a href="/" { "Show all" } } }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Workloads" {
                table.rows {
                    thead { tr {
                        @for (name, shown, number) in COLUMNS {
                            th.number[number] scope="col" aria-sort=[sorted(asked, name)] { a href=(sort_address(asked, name)) { (shown) } }
                        }
                        th scope="col" { "Why" }
                    } }
                    tbody { @for one in &rows.rows { (row(one)) } }
                }
            }
            (pages(&rows, asked))
        }
        (command("trimtab status", "/api/v1/overview"))
    }
}

fn tiles(rows: &Rows, report: &Report) -> Markup {
    let share = 100.0 * f64::from(rows.missed) / f64::from(rows.windows.max(1));
    html! {
        dl.tiles {
            div { dt { "Would change now" } dd data-value="changing" { (rows.changing) " of " (rows.all) } }
            div { dt { "Blind or undecided" } dd data-value="blind" { (rows.blind) } }
            div { dt { "Windows missed, 1 h" } dd data-value="missed" { @if rows.windows == 0 { "nothing yet" } @else { (format!("{share:.2} %")) small { " " (rows.missed) " of " (rows.windows) } } } }
            div { dt { "Replica-hours, 1 h" } dd data-value="replica_hours" { (format!("{:.1}", rows.replica_hours)) } }
            div { dt { "This agent" } dd.name { @if report.may_write { "may write" } @else { "may not write" } } }
        }
    }
}

fn sorted(asked: &Asked, column: &str) -> Option<&'static str> {
    let (by, down) = asked.sort.strip_prefix('-').map_or((asked.sort.as_str(), false), |by| (by, true));
    let by = if by.is_empty() { "state" } else { by };
    (by == column).then_some(if down { "descending" } else { "ascending" })
}

fn sort_address(asked: &Asked, column: &str) -> String {
    let sort = if asked.sort == column { format!("-{column}") } else { column.to_owned() };
    overview_address(&Asked { sort, page: 1, q: asked.q.clone() })
}

fn overview_address(asked: &Asked) -> String {
    let q: String = asked.q.bytes().fold(String::new(), |text, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'/' => text + &char::from(byte).to_string(),
        byte => text + &format!("%{byte:02X}"),
    });
    format!("/?q={q}&sort={}&page={}", asked.sort, asked.page)
}

fn pages(rows: &Rows, asked: &Asked) -> Markup {
    let to = |page: usize| overview_address(&Asked { page, ..asked.clone() });
    html! {
        @if rows.pages > 1 {
            nav.pages aria-label="Pages of workloads" {
                @if rows.page > 1 { a rel="prev" href=(to(rows.page - 1)) { "← Before" } }
                span { "Page " (rows.page) " of " (rows.pages) }
                @if rows.page < rows.pages { a rel="next" href=(to(rows.page + 1)) { "Next →" } }
            }
        }
    }
}

fn row(row: &Row) -> Markup {
    let (sign, word) = row.state.shown();
    html! {
        tr data-workload=(row.workload) {
            td.state data-state=(word) { span.sign aria-hidden="true" { (sign) } " " (word) }
            th scope="row" { a href=(address(&row.workload)) { (row.workload) } }
            td data-value="writes" { (row.writes) }
            td.number data-value="ready" { (or_unknown(row.ready)) }
            td.number data-value="decided" { (or_unknown(row.decided)) }
            td.number data-value="autoscaler" { (row.autoscaler) }
            td.number data-value="demand" { (or_unknown(row.demand.map(per_second))) }
            td.number data-value="ahead" { (or_unknown(row.ahead.map(per_second))) }
            td.number data-value="latency" {
                @if row.is_late() { span.miss aria-label="above its target" { "▲ " } }
                (or_unknown(row.latency.map(explain::span))) small { " / " (or_unknown(row.target.map(explain::span))) }
            }
            td.number data-value="missed" { (row.missed) small { " / " (row.windows) } }
            td.number data-value="replica_hours" { (format!("{:.1}", row.replica_hours)) }
            td data-value="signals" { @if row.signals_wrong == 0 { span.ok { "ok" } } @else { span.miss { "▲ " (row.signals_wrong) " of " (row.signals) } } }
            td.why { (row.why) }
        }
    }
}

/// The command that prints the same, and the same as JSON.
fn command(command: &str, json: &str) -> Markup {
    html! { p.command { code { (command) } " · " a href=(json) { "JSON" } } }
}

// === a workload ===

/// A chart: what it is called, what it shows in words, and its heading.
const CHARTS: [(&str, &str); 4] = [
    ("demand", "Demand and capacity, requests/s"),
    ("replicas", "Replicas"),
    ("latency", "p99 and target, ms"),
    ("hours", "Replica-hours, summed up over the span"),
];

/// The page of a workload; `past` where it is about a moment that is not now.
pub(crate) fn workload(shown: &Shown, workload: &Workload, past: Option<Timestamp>) -> Markup {
    html! {
        p.path { a href="/" { "Workloads" } " / " (workload.workload) }
        div.columns {
            section.charts aria-label="Course" {
                (spans())
                @for (name, title) in CHARTS { (chart(name, title)) }
                p.strip id="legend-note" {
                    "Blue: trimtab. Dashed: not carried out. Band: what demand stays below in 9 of 10 cases. "
                    span id="covered" {}
                }
                (what_if(workload))
            }
            section.side aria-label="Reasoning" {
                div id="facts" { (facts(workload, &sight(&shown.sights.borrow(), workload), past)) }
                section.box {
                    h2 { "Decisions" }
                    ol.decisions id="changes" {}
                    noscript { p { "The list of decisions needs a script; " code { "trimtab explain --at TIME" } " answers for any moment." } }
                }
                (command(&format!("trimtab explain {}", workload.workload), &format!("/api/v1/workloads/{}", workload.workload)))
            }
        }
        @match shown.stage { Stage::Cluster => {}, Stage::Loopback => p.note { "A demo on this machine: no cluster is touched." }, Stage::Simulated => p.note { "Simulated: no cluster is touched." } }
    }
}

fn spans() -> Markup {
    html! {
        div.spans role="group" aria-label="Span" {
            @for (name, seconds) in [("5 m", 300), ("15 m", 900), ("1 h", 3_600), ("2 h", 7_200), ("6 h", 21_600), ("24 h", 86_400)] {
                button type="button" data-span=(seconds) { (name) }
            }
            label { input type="checkbox" id="then"; " as forecast then" }
        }
    }
}

/// A chart that the script draws; what it says stands below it in words, and as a table.
pub(crate) fn chart(name: &str, title: &str) -> Markup {
    html! {
        figure.chart data-chart=(name) {
            figcaption { h2 { (title) } p.says aria-live="off" {} }
            div.plot tabindex="0" role="img" aria-label=(title) {}
            details { summary { "Data" } div.scroll tabindex="0" role="region" aria-label=(format!("{title}: data")) { table.data {} } }
        }
    }
}

/// What this agent has seen of a workload by itself.
pub(crate) fn sight(sights: &Sights, workload: &Workload) -> Sight {
    sights.get(&workload.workload).cloned().unwrap_or_default()
}

/// What is known of a workload now, or was at a moment.
pub(crate) fn facts(workload: &Workload, sight: &Sight, past: Option<Timestamp>) -> Markup {
    let headline = explain::explain(workload);
    let headline = headline.lines().next().unwrap_or_default();
    let decision = workload.last.as_ref().map(|last| &last.decision);
    let outcome = workload.last.as_ref().and_then(|last| last.outcome.as_ref());
    html! {
        @if let Some(at) = past {
            p.past { "As it was at " (time(at)) ". " a href=(address(&workload.workload)) { "Back to now" } }
        }
        section.box {
            h1 data-value="headline" data-writes=(workload.writes) data-outcome=[outcome] { (headline) }
            @if let Some(decision) = decision { p.because { (explain::because(decision)) } }
            dl.facts {
                @for (heading, text) in lines(workload).into_iter().filter(|(heading, _)| heading != "Because") {
                    dt { (heading) }
                    @if let ("At", Some(decision)) = (heading.as_str(), decision) {
                        dd { (time(decision.at)) ", policy " (workload.policy_origin) }
                    } @else {
                        dd { (text) }
                    }
                }
            }
        }
        @if let Some(decision) = decision {
            // What was seen until now says nothing of a moment that is past.
            @if let Some(last) = &workload.last { (forecasters(last, sight.track_record.as_ref().filter(|_| past.is_none()))) }
            (lead(sight, &decision.lead))
        }
        (signals(workload))
    }
}

/// Who forecasts with which weight and, of now, how near each came with what it said of the windows ahead.
fn forecasters(considered: &Considered, track: Option<&TrackRecord>) -> Markup {
    let Some(forecast) = &considered.decision.forecast else { return html! {} };
    let window = considered.policy.objective.window.get();
    let ahead = |windows: Windows| explain::span(Seconds::new(windows.0 as f64 * window).unwrap_or_default());
    let share = |expert: Expert| forecast.shares.get(expert).get();
    let errors = |expert: Expert| track.and_then(|track| track.experts.get(&expert));
    let mut experts: Vec<Expert> =
        Expert::ALL.into_iter().filter(|it| share(*it) >= 0.005 || errors(*it).is_some()).collect();
    experts.sort_by(|one, other| share(*other).total_cmp(&share(*one)));
    html! {
        section.box {
            h2 { "Who forecasts" }
            p.small {
                "Weights by how near each came; " (plural(forecast.errors as usize, "past error")) " behind the band"
                @if let Some(season) = forecast.season { "; season of " (explain::span(season)) }
                "."
            }
            div.scroll tabindex="0" role="region" aria-label="Who forecasts" {
                table.weights {
                    thead { tr {
                        th scope="col" { "Expert" } th.number scope="col" { "Weight" }
                        @if let Some(track) = track {
                            @for windows in track.windows { th.number scope="col" { "Off, " (ahead(windows)) } }
                        }
                    } }
                    tbody {
                        @for expert in &experts {
                            tr data-expert=(words(&format!("{expert:?}"))) {
                                th scope="row" { (words(&format!("{expert:?}"))) }
                                td.number { meter min="0" max="1" value=(share(*expert)) {} (format!("{:.0} %", 100.0 * share(*expert))) }
                                @if let Some(track) = track { (off(errors(*expert).unwrap_or(&track.windows.map(|_| None)))) }
                            }
                        }
                        @if let Some(track) = track {
                            tr data-expert="together" { th scope="row" { b { "together" } } td {} (off(&track.together)) }
                        }
                    }
                }
            }
            @if let Some(track) = track {
                p.small {
                    "Off: how far what was said of the window that ends " (track.windows.map(ahead).join(", ")) " later was from what came, relative to what was said "
                    "(root mean square; older errors fade, to a third in 33 windows, and a surge that nobody foresaw counts for four standard errors of all). "
                    "“Together” is what is planned with, and makes the band."
                }
            }
        }
    }
}

/// Errors in the cells of a row.
fn off(errors: &[Option<Ratio>]) -> Markup {
    html! { @for error in errors { td.number { (or_unknown(error.map(|error| format!("{:.1} %", 100.0 * error.get())))) } } }
}

/// `SeasonCarried` as words.
fn words(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

fn lead(sight: &Sight, lead: &trimtab_core::LeadTime) -> Markup {
    let mut starts = sight.startups.clone();
    starts.sort_by(|one, other| one.get().total_cmp(&other.get()));
    let at = |share: usize| starts.get((starts.len().saturating_sub(1)) * share / 100).copied().map(explain::span);
    html! {
        section.box {
            h2 { "Lead time " (explain::span(lead.total())) }
            dl.facts {
                dt { "Start-up" } dd { (explain::span(lead.startup)) @if lead.measured { ", 90th percentile of its own pods" } @else { ", the default: no pod was seen to start" } }
                dt { "Metrics" } dd { (explain::span(lead.metric_lag)) " old when acted on" }
                @if let (Some(least), Some(half), Some(most)) = (at(0), at(50), at(100)) {
                    dt { "Seen" } dd { (starts.len()) " starts: " (least) " to " (most) ", half within " (half) }
                }
            }
            (dots(&starts))
        }
    }
}

/// Start-ups in their order as dots above a scale, those of about the same length above each other.
fn dots(starts: &[Seconds]) -> Markup {
    const WIDTH: f64 = 320.0;
    const STEP: f64 = 8.0;
    let Some(most) = starts.last().map(|most| most.get()).filter(|most| *most > 0.0) else { return html! {} };
    // The longest is at the right end of the scale.
    let columns = (WIDTH / STEP).floor() - 1.0;
    let mut heights: BTreeMap<u32, u32> = BTreeMap::new();
    let placed: Vec<(f64, u32)> = starts
        .iter()
        .map(|start| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "one of 39 columns")]
            let column = (columns * start.get() / most).round() as u32;
            let height = heights.entry(column).or_default();
            *height += 1;
            (STEP * (f64::from(column) + 0.5), *height)
        })
        .collect();
    let ground = STEP * f64::from(heights.into_values().max().unwrap_or_default()) + 2.0;
    let all: Vec<String> = starts.iter().map(|start| explain::span(*start)).collect();
    html! {
        svg.dots viewBox=(format!("0 0 {WIDTH} {}", ground + 18.0)) role="img" aria-label=(format!("{} by length: {}", plural(starts.len(), "start-up"), all.join(", "))) {
            line x1="0" x2=(WIDTH) y1=(ground) y2=(ground) {}
            @for (across, height) in placed { circle cx=(across) cy=(ground - STEP * (f64::from(height) - 0.5) - 1.0) r="3.2" {} }
            text x="0" y=(ground + 14.0) { "0" }
            text x=(WIDTH) y=(ground + 14.0) text-anchor="end" { (explain::span(Seconds::new(most).unwrap_or_default())) }
        }
    }
}

fn signals(workload: &Workload) -> Markup {
    let last = workload.last.as_ref();
    let age = |name: &str| -> String {
        let Some(last) = last else { return UNKNOWN.into() };
        let snapshot = &last.snapshot;
        match name {
            "demand" => aged(&snapshot.demand),
            "capacity" => aged(&snapshot.capacity),
            "latency" => aged(&snapshot.latency),
            "utilization" => aged(&snapshot.utilization),
            // Of a forecast only whether it came is known.
            name if name.starts_with("forecast ") => String::new(),
            name => name
                .strip_prefix("protect ")
                .and_then(|level| snapshot.protected.get(level))
                .map_or_else(|| UNKNOWN.into(), aged),
        }
    };
    html! {
        @if !workload.signals.is_empty() {
            section.box {
                h2 { "Signals" }
                ul.signals {
                    @for signal in &workload.signals {
                        li {
                            b { (signal.name) } " "
                            @if let Some(problem) = &signal.problem { span.miss { "▲ " (problem) } } @else { span.ok { "ok" } " " (age(&signal.name)) }
                            code { (signal.query) }
                        }
                    }
                }
            }
        }
    }
}

fn aged<T>(reading: &Reading<T>) -> String {
    match reading {
        Reading::Fresh(sample) | Reading::Stale(sample) => {
            let age = sample.age.map_or_else(|| "age unknown".to_owned(), |age| format!("{} old", explain::span(age)));
            match sample.coverage {
                Coverage::Share(share) => format!("{age}, {:.0} % report", 100.0 * share.get()),
                Coverage::Partial => format!("{age}, partial"),
                Coverage::Unmeasured => age,
            }
        }
        Reading::Missing(absence) => absence.to_string(),
    }
}

fn what_if(workload: &Workload) -> Markup {
    let Some(last) = &workload.last else { return html! {} };
    let policy = &last.policy;
    let (min, max) = (policy.replicas.min().0, policy.replicas.max().0);
    let slo = (1000.0 * policy.objective.latency.get()).round();
    let startup = last.decision.lead.startup.get().round();
    let slider = |name: &str, label: &str, range: (f64, f64), value: f64, unit: &str| {
        html! {
            div.slider {
                label for=(name) { (label) }
                input id=(name) name=(name) type="range" min=(range.0) max=(range.1) step="1" value=(value);
                output for=(name) data-unit=(unit) { (value) (unit) }
            }
        }
    };
    html! {
        section.box id="what-if" data-workload=(workload.workload) {
            h2 { "What if?" }
            p.small { "The recorded demand of the span above, played again through trimtab and a simulated service: once with the policy as it is, once as set here. Nothing is written." }
            form action=(format!("/api/v1/what-if/{}", workload.workload)) method="get" {
                (slider("min", "Min replicas", (1.0, f64::from(max.max(10))), f64::from(min), ""))
                (slider("max", "Max replicas", (1.0, f64::from(max.saturating_mul(2).clamp(20, 1_000))), f64::from(max), ""))
                (slider("slo_ms", "p99 target", (50.0, (5.0 * slo).max(500.0)), slo, " ms"))
                (slider("startup_s", "Start-up time", (0.0, (4.0 * startup).max(120.0)), startup, " s"))
                noscript { button { "Answer" } }
            }
            div.scroll tabindex="0" role="region" aria-label="The answer" {
                table.answer hidden {
                    thead { tr { th {} th.number scope="col" { "As it is" } th.number scope="col" { "As set here" } th.number scope="col" { "Difference" } } }
                    tbody {
                        @for (name, label) in [("missed", "Missed half-minutes"), ("replica_hours", "Replica-hours"), ("churn", "Replicas added and removed"), ("most", "Most replicas")] {
                            tr data-row=(name) { th scope="row" { (label) } td.number {} td.number {} td.number {} }
                        }
                    }
                }
            }
            p.small id="what-if-says" role="status" { "Move a slider." }
        }
    }
}

// === agents ===

/// Workloads that are named of each agent.
const NAMED: usize = 12;

pub(crate) fn agents(report: &Report) -> Markup {
    html! { h1 { "Agents" } div id="facts" { (agent(report)) } }
}

pub(crate) fn agent(report: &Report) -> Markup {
    let waiting: Vec<&Workload> = report
        .workloads
        .iter()
        .filter(|workload| matches!(workload.writes, Writes::Blocked { .. } | Writes::StandingDown(_)))
        .collect();
    let count = |shown: &str| report.workloads.iter().filter(|workload| workload.writes.to_string() == shown).count();
    let modes: std::collections::BTreeSet<String> =
        report.workloads.iter().map(|workload| workload.writes.to_string()).collect();
    html! {
        section.box {
            h2 { (report.agent) }
            dl.facts {
                dt { "Version" } dd { (report.version) }
                dt { "Last turn" } dd { (time(report.at)) }
                dt { "Writes" } dd {
                    @if report.may_write { "this agent, what it has claimed" }
                    @else { "nothing: no policy says own, or this agent's Lease does not last" }
                }
                dt { "Decides" } dd { (plural(report.workloads.len(), "workload")) }
                @for mode in &modes { dt { (mode) } dd { (count(mode)) } }
            }
        }
        section.box {
            h2 { "Trouble" }
            @if report.troubles.is_empty() { p { span.ok { "ok" } " nothing is in trouble" } }
            @for (what, problem) in &report.troubles { p.trouble { b { (what) } ": " (problem) } }
        }
        (owners(report))
        (sources(report))
        section.box {
            h2 { "Writes that wait" }
            @if waiting.is_empty() { p { "None." } }
            ul {
                @for workload in waiting {
                    li {
                        a href=(address(&workload.workload)) { (workload.workload) } ": "
                        @match &workload.writes {
                            Writes::Blocked { until, why } => { "refused, not tried before " (time(*until)) ": " (why) }
                            Writes::StandingDown(until) => { (explain::rival(workload)) " changed the size; nothing is written before " (time(*until)) }
                            _ => {}
                        }
                    }
                }
            }
        }
        section.box {
            h2 { "Last changes written" }
            ul {
                @for (workload, changed) in report.workloads.iter().filter_map(|workload| Some((workload, workload.changed.as_ref()?))).take(50) {
                    li { (time(changed.at)) " " a href=(address(&workload.workload)) { (workload.workload) } " " (changed.from) " → " (changed.to) ": " (changed.outcome) }
                }
            }
        }
        (command("trimtab status", "/api/v1/report"))
    }
}

/// Which agent has which workloads, as this one knows it.
fn owners(report: &Report) -> Markup {
    let mut owners: BTreeMap<&str, Vec<&Workload>> = BTreeMap::new();
    for workload in &report.workloads {
        if let Some(claim) = &workload.claim {
            owners.entry(&claim.agent).or_default().push(workload);
        }
    }
    html! {
        @if !owners.is_empty() {
            section.box {
                h2 { "Who has what" }
                dl.facts {
                    @for (agent, workloads) in &owners {
                        dt { (agent) }
                        dd {
                            (plural(workloads.len(), "workload")) ": "
                            @for (place, workload) in workloads.iter().take(NAMED).enumerate() {
                                @if place > 0 { ", " }
                                a href=(address(&workload.workload)) { (workload.workload) }
                            }
                            @if workloads.len() > NAMED { " and " (workloads.len() - NAMED) " more" }
                        }
                    }
                }
            }
        }
    }
}

/// What is read of one kind.
#[derive(Default)]
struct Source<'a> {
    all: usize,
    /// Those that say nothing.
    wrong: usize,
    /// The oldest, and whose it is.
    oldest: Option<(Seconds, &'a str)>,
}

/// How old what each kind of signal says is, at its oldest, and how many say nothing.
fn sources(report: &Report) -> Markup {
    let mut kinds: BTreeMap<&str, Source<'_>> = BTreeMap::new();
    for workload in &report.workloads {
        for signal in &workload.signals {
            let kind = signal.name.split(' ').next().unwrap_or(&signal.name);
            let source = kinds.entry(kind).or_default();
            source.all += 1;
            source.wrong += usize::from(signal.problem.is_some());
            let age = workload.last.as_ref().and_then(|last| age_of(&last.snapshot, &signal.name));
            if let Some(age) = age.filter(|age| source.oldest.is_none_or(|(oldest, _)| *age > oldest)) {
                source.oldest = Some((age, &workload.workload));
            }
        }
    }
    html! {
        section.box {
            h2 { "Sources" }
            @if kinds.is_empty() { p { "None is read: no policy names a workload yet." } }
            dl.facts {
                @for (kind, Source { all, wrong, oldest }) in &kinds {
                    dt { (kind) }
                    dd {
                        @if *wrong == 0 { span.ok { "ok" } " " (all) " of " (all) } @else { span.miss { "▲ " (wrong) " of " (all) " say nothing" } }
                        @if let Some((age, workload)) = oldest { "; the oldest is of " (explain::span(*age)) " ago, " a href=(address(workload)) { (workload) } }
                    }
                }
            }
        }
    }
}

/// The age of a reading, where it is known.
fn age_of(snapshot: &Snapshot, name: &str) -> Option<Seconds> {
    fn age<T>(reading: &Reading<T>) -> Option<Seconds> {
        match reading {
            Reading::Fresh(sample) | Reading::Stale(sample) => sample.age,
            Reading::Missing(_) => None,
        }
    }
    match name {
        "demand" => age(&snapshot.demand),
        "capacity" => age(&snapshot.capacity),
        "latency" => age(&snapshot.latency),
        "utilization" => age(&snapshot.utilization),
        name => snapshot.protected.get(name.strip_prefix("protect ")?).and_then(age),
    }
}

/// A page that says what is wrong.
pub(crate) fn wrong(shown: &Shown, title: &str, why: &str) -> Markup {
    let content = html! { h1 { (title) } p { (why) } p { a href="/" { "All workloads" } } };
    page(shown, "wrong", title, "", &content)
}

/// A part of a page as a string.
pub(crate) fn text(markup: &Markup) -> String {
    let PreEscaped(text) = markup;
    text.clone()
}

//! What a comparison prints: a table, JSON, or one page of HTML with its plots.

use super::episode::{self, Episode};
use super::judge::{self, Interval, Judgement, Misses, Side};
use super::play::{self, Played};
use super::{Course, LONGEST};
use crate::explain::clock;
use serde::Serialize;
use std::fmt::Write;
use trimtab_core::unit::{Replicas, RequestsPerSecond, Seconds, Timestamp};

/// Episodes that the table shows: the widest.
const SHOWN: usize = 10;
/// Points of a plot; a screen has no more.
const POINTS: usize = 900;

/// One workload, compared.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Namespace/kind/name.
    pub workload: String,
    /// The first moment, milliseconds since 1970-01-01 UTC.
    pub from: i64,
    /// The last.
    pub until: i64,
    /// What came of both.
    pub judgement: Judgement,
    /// Every disagreement of more than one replica.
    pub episodes: Vec<Episode>,
    /// What is to be known about where all this comes from.
    pub remarks: Vec<String>,
    #[serde(skip)]
    plot: Plot,
}

/// What a plot shows of a course: the course itself is not kept, it may be long, and there may be many.
#[derive(Clone, Debug, Default)]
struct Plot {
    /// Each moment's time, demand, and the sizes that were asked for: what happened, and trimtab's.
    points: Vec<(Timestamp, Option<RequestsPerSecond>, Replicas, Replicas)>,
    /// Whether there were more of them.
    thinned: bool,
    /// The largest size, and the largest demand, of any moment.
    most: Replicas,
    most_demand: RequestsPerSecond,
}

impl Plot {
    fn of(course: &Course, played: &[Played]) -> Self {
        let step = course.moments.len().div_ceil(POINTS).max(1);
        let mut plot = Self { thinned: step > 1, most: Replicas(1), ..Self::default() };
        for (place, (moment, ours)) in course.moments.iter().zip(played).enumerate() {
            plot.most = plot.most.max(moment.wanted).max(ours.wanted);
            if let Some(demand) = moment.demand.filter(|demand| *demand > plot.most_demand) {
                plot.most_demand = demand;
            }
            if place % step == 0 {
                plot.points.push((moment.at, moment.demand, moment.wanted, ours.wanted));
            }
        }
        plot
    }
}

impl Comparison {
    /// Plays and judges a course; `None` where it has no moments.
    #[must_use]
    pub fn of(course: Course) -> Option<Self> {
        Self::watched(course, &|| {})
    }

    /// The same; `played` is called for each of its moments.
    pub(super) fn watched(course: Course, played: &dyn Fn()) -> Option<Self> {
        let (from, until) = (course.moments.first()?.at.0, course.moments.last()?.at.0);
        let fitted = judge::fit(&course);
        let played = play::play(&course, fitted.as_ref().ok().map(|(model, _)| model), played);
        let judgement = judge::judge(&course, &played, &fitted);
        let episodes = episode::episodes(&course, &played);
        let plot = Plot::of(&course, &played);
        let mut remarks = course.remarks;
        let measured = if course.startup_measured { "measured" } else { "guessed: nobody measured it" };
        remarks.push(format!(
            "a replica of trimtab's takes {} to start ({measured})",
            crate::explain::span(course.startup)
        ));
        Some(Self { workload: course.workload, from, until, judgement, episodes, remarks, plot })
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "cannot say".to_owned(), |share| format!("{:.2} %", 100.0 * share))
}

fn change(theirs: f64, ours: f64) -> String {
    if theirs <= 0.0 { "-".to_owned() } else { format!("{:+.1} %", 100.0 * (ours - theirs) / theirs) }
}

/// The difference in replica-hours in words; no number without its uncertainty.
fn hours(judgement: &Judgement) -> String {
    let Side { replica_hours: theirs, .. } = judgement.theirs;
    let mean = theirs / judgement.hours.max(f64::MIN_POSITIVE);
    match judgement.difference {
        None => format!("cannot say: {:.1} h are too few for an interval, 8 are the least", judgement.hours),
        Some(Interval { low, high, .. }) if low <= 0.0 && high >= 0.0 => {
            format!("no difference (95 %: {:+.1} % … {:+.1} %)", 100.0 * low / mean, 100.0 * high / mean)
        }
        Some(Interval { mean: apart, low, high }) => {
            format!("{:+.1} % (95 %: {:+.1} … {:+.1})", 100.0 * apart / mean, 100.0 * low / mean, 100.0 * high / mean)
        }
    }
}

/// How sure the misses are.
fn sure(judgement: &Judgement) -> String {
    match &judgement.misses {
        Misses::Load => {
            "no latency is promised: a miss is a window whose replicas carry more than a tenth above what they may"
                .to_owned()
        }
        Misses::Modelled { measured, model } => format!(
            "misses are modelled; of what did happen the model says {} where {} was measured (on windows that it was not fitted to)",
            percent(Some(*model)),
            percent(Some(*measured))
        ),
        Misses::Unknown(why) => format!("of misses nobody can say: {why}"),
    }
}

fn rows(one: &Comparison) -> Vec<[String; 4]> {
    let Judgement { theirs, ours, .. } = &one.judgement;
    let apart = match (theirs.misses, ours.misses) {
        (Some(theirs), Some(ours)) => format!("{:+.2} points", 100.0 * (ours - theirs)),
        _ => "cannot say".to_owned(),
    };
    let count =
        |theirs: u32, ours: u32| [theirs.to_string(), ours.to_string(), change(f64::from(theirs), f64::from(ours))];
    let row = |name: &str, [theirs, ours, apart]: [String; 3]| [name.to_owned(), theirs, ours, apart];
    let figure = |hours: f64| format!("{hours:.1}");
    vec![
        row("misses", [percent(theirs.misses), percent(ours.misses), apart]),
        row("replica-hours", [figure(theirs.replica_hours), figure(ours.replica_hours), hours(&one.judgement)]),
        row("changes of size", count(theirs.changes, ours.changes)),
        row("replicas started", count(theirs.starts, ours.starts)),
    ]
}

fn title(one: &Comparison) -> String {
    format!(
        "{}: what happened and what trimtab would have done, {} to {}",
        one.workload,
        clock(Timestamp(one.from)),
        clock(Timestamp(one.until))
    )
}

fn data(one: &Comparison) -> String {
    let Judgement { hours, blind_hours, .. } = one.judgement;
    format!("{hours:.1} h judged; {blind_hours:.1} h without a demand, which count for neither")
}

fn line(episode: &Episode) -> String {
    let took = crate::explain::span(Timestamp(episode.until).since(Timestamp(episode.from)));
    format!(
        "{} for {took}: {} there, trimtab {} ({:+.2} replica-hours); {}; {}",
        clock(Timestamp(episode.from)),
        episode.theirs,
        episode.ours,
        episode.replica_hours,
        episode.who,
        episode.why
    )
}

/// As a table.
#[must_use]
pub fn text(all: &[Comparison]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    for one in all {
        let _ = writeln!(out, "{}", title(one));
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(["", "happened", "trimtab (played)", "difference"]);
        for row in rows(one) {
            table.add_row(row);
        }
        for line in table.lines() {
            let _ = writeln!(out, "  {}", line.trim_end());
        }
        let _ = writeln!(out, "How sure: {}.\nData: {}.", sure(&one.judgement), data(one));
        for remark in &one.remarks {
            let _ = writeln!(out, "Know: {remark}.");
        }
        let mut widest: Vec<&Episode> = one.episodes.iter().collect();
        widest.sort_by(|one, other| other.replica_hours.abs().total_cmp(&one.replica_hours.abs()));
        let _ = writeln!(out, "Disagreements of more than one replica: {}", one.episodes.len());
        for episode in widest.iter().take(SHOWN) {
            let _ = writeln!(out, "  {}", line(episode));
        }
        if widest.len() > SHOWN {
            let _ = writeln!(out, "  and {} smaller ones: --json lists all", widest.len() - SHOWN);
        }
        out.push('\n');
    }
    if all.len() > 1 {
        let _ = writeln!(out, "{}", total(all));
    }
    out
}

/// All workloads together.
fn total(all: &[Comparison]) -> String {
    let sum = |side: fn(&Judgement) -> f64| all.iter().map(|one| side(&one.judgement)).sum::<f64>();
    let (theirs, ours) =
        (sum(|judgement| judgement.theirs.replica_hours), sum(|judgement| judgement.ours.replica_hours));
    let known = all.iter().filter(|one| one.judgement.difference.is_some()).count();
    let worse: Vec<&str> = all
        .iter()
        .filter(|one| one.judgement.difference.is_some_and(|difference| difference.low > 0.0))
        .map(|one| one.workload.as_str())
        .collect();
    let worse = if worse.is_empty() { String::new() } else { format!("; dearer here: {}", worse.join(", ")) };
    let apart = if known == all.len() {
        format!("{:+.1}; how sure that is stands at each", ours - theirs)
    } else {
        format!("cannot say: {known} of {} have an interval", all.len())
    };
    format!("all {}: {theirs:.1} replica-hours happened, {ours:.1} played; difference {apart}{worse}", all.len())
}

// === HTML ===

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// As one file without links, which also prints.
#[must_use]
pub fn html(all: &[Comparison]) -> String {
    const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
table{border-collapse:collapse;margin:.8rem 0}td,th{padding:.25rem .9rem .25rem 0;text-align:left;border-bottom:1px solid #ddd}\
figure{margin:1rem 0}svg{width:100%;height:auto}figcaption,small{color:#555}li{margin:.2rem 0}";
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>trimtab compare</title><style>{STYLE}</style>\n<h1>What happened, and what trimtab would have done</h1>\n"
    );
    for one in all {
        let _ = write!(
            out,
            "<h2>{}</h2>\n<table><tr><th></th><th>happened</th><th>trimtab (played)</th><th>difference</th></tr>\n",
            escaped(&title(one))
        );
        for row in rows(one) {
            let cells: Vec<String> = row.iter().map(|cell| escaped(cell)).collect();
            let _ = writeln!(out, "<tr><td>{}</td></tr>", cells.join("</td><td>"));
        }
        let _ = writeln!(out, "</table>\n<p>{}. {}.</p>", escaped(&sure(&one.judgement)), escaped(&data(one)));
        for remark in &one.remarks {
            let _ = writeln!(out, "<p><small>{}.</small></p>", escaped(remark));
        }
        out.push_str(&plot(one));
        let _ = writeln!(out, "<h3>Disagreements of more than one replica: {}</h3><ol>", one.episodes.len());
        for episode in &one.episodes {
            let _ = writeln!(out, "<li>{}</li>", escaped(&line(episode)));
        }
        out.push_str("</ol>\n");
    }
    if all.len() > 1 {
        let _ = writeln!(out, "<p>{}</p>", escaped(&total(all)));
    }
    out.push_str("</html>\n");
    out
}

/// Sizes above, demand below, on one axis of time.
fn plot(one: &Comparison) -> String {
    let Plot { points, thinned, most, most_demand } = &one.plot;
    let (most, demand) = (f64::from(most.0), most_demand.get().max(1e-9));
    let span = (one.until - one.from).max(1) as f64;
    let x = |at: Timestamp| 40.0 + 910.0 * (at.0 - one.from) as f64 / span;
    let steps = |value: &dyn Fn(usize) -> Option<f64>| {
        let mut path = String::new();
        let mut pen: Option<(Timestamp, f64)> = None;
        for (place, (at, ..)) in points.iter().enumerate() {
            match (value(place), pen) {
                (Some(y), Some((before, last))) if at.since(before) < LONGEST + Seconds::whole(60) || *thinned => {
                    let _ = write!(path, "L{:.1} {last:.1}L{:.1} {y:.1}", x(*at), x(*at));
                }
                (Some(y), _) => {
                    let _ = write!(path, "M{:.1} {y:.1}", x(*at));
                }
                (None, _) => {}
            }
            pen = value(place).map(|y| (*at, y));
        }
        path
    };
    let size = |replicas: Replicas| 200.0 - 180.0 * f64::from(replicas.0) / most;
    let theirs = steps(&|place| points.get(place).map(|(_, _, theirs, _)| size(*theirs)));
    let ours = steps(&|place| points.get(place).map(|(.., ours)| size(*ours)));
    let course = steps(&|place| Some(330.0 - 100.0 * points.get(place)?.1?.get() / demand));
    let caption = format!(
        "Above: replicas that were asked for, what happened (grey) and trimtab (blue, dashed), up to {most:.0}. Below: demand, up to {demand:.1}/s."
    );
    format!(
        "<figure><svg viewBox=\"0 0 960 350\" role=\"img\" aria-label=\"{caption}\"><g fill=\"none\" stroke-width=\"1.6\">\
<path d=\"M40 200H950M40 330H950\" stroke=\"#bbb\" stroke-width=\"1\"/><path d=\"{theirs}\" stroke=\"#777\"/>\
<path d=\"{ours}\" stroke=\"#0b62c4\" stroke-dasharray=\"6 3\"/><path d=\"{course}\" stroke=\"#222\"/></g>\
<g font-size=\"12\" fill=\"#555\"><text x=\"4\" y=\"26\">{most:.0}</text><text x=\"4\" y=\"204\">0</text>\
<text x=\"4\" y=\"236\">{demand:.0}/s</text><text x=\"40\" y=\"346\">{}</text><text x=\"950\" y=\"346\" text-anchor=\"end\">{}</text></g></svg>\
<figcaption>{caption}</figcaption></figure>\n",
        clock(Timestamp(one.from)),
        clock(Timestamp(one.until))
    )
}

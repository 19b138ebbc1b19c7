//! A trace as it was lived through: demand, capacity and latency over time, one above the other.

use super::Judged;
use super::figures::quantile;
use super::record::{End, Record};
use crate::bench::canvas::{Anchor, Axis, Canvas, colour};
use crate::bench::figures::LETTER;

/// A colour for each contestant in the order of their names: more than these cannot be told apart.
const COLOURS: [&str; 7] =
    [colour::ORANGE, colour::SKY, colour::BLUE, colour::GREEN, colour::PURPLE, colour::VERMILION, colour::INK];
/// Seconds of a point of the latency.
const SPAN: f64 = 5.0;
const LEFT: f64 = 86.0;
const RIGHT: f64 = 1160.0;

/// The first run of each contestant.
pub(super) fn figure(trace: &str, runs: &[&Judged]) -> Canvas {
    let contestants = super::by_contestant(runs);
    let shown: Vec<(&str, &str, &Record)> = contestants
        .iter()
        .zip(COLOURS.iter().cycle())
        .filter_map(|((name, runs), colour)| Some((name.as_str(), *colour, &runs.first()?.record)))
        .collect();
    let mut canvas = Canvas::new(1200.0, 720.0);
    canvas.title((24.0, 34.0), &format!("{trace}: demand, capacity and latency on a real cluster"));
    let mut x = 32.0;
    for (name, colour, _) in &shown {
        canvas.line((x, 60.0), (x + 22.0, 60.0), colour, 3.0);
        canvas.words((x + 28.0, 64.5), Anchor::Start, colour::INK, name);
        x += 60.0 + LETTER * name.len() as f64;
    }
    let Some((_, _, first)) = shown.first() else { return canvas };
    let (begins, ends) = (first.run.warm_up, first.run.ends);
    let across = Axis { numbers: (0.0, ends - begins), places: (LEFT, RIGHT), root: false };
    let points = || first.trace.iter().filter(|(at, _)| (begins..=ends).contains(at));
    let most = points().map(|(_, rate)| *rate).fold(1.0, f64::max);
    let demand = panel(&mut canvas, &across, (96.0, 226.0), 1.1 * most, "requests/s");
    canvas.path(
        steps(points().map(|(at, rate)| (at - begins, *rate)), ends - begins, &across, &demand),
        colour::INK,
        1.8,
    );

    let sizes = shown.iter().flat_map(|(_, _, record)| &record.fleet).map(|it| it.ready.max(it.desired)).max();
    let capacity = panel(&mut canvas, &across, (276.0, 446.0), 1.1 * f64::from(sizes.unwrap_or(1)), "replicas ready");
    canvas.path(
        steps(points().map(|(at, rate)| (at - begins, rate / first.run.capacity)), ends - begins, &across, &capacity),
        colour::SOFT,
        1.2,
    );
    let latency = panel(&mut canvas, &across, (496.0, 666.0), 2.0, "p99, s (2 is 2 or more)");
    let promised = latency.place(first.run.slo);
    canvas.line((LEFT, promised), (RIGHT, promised), colour::SOFT, 1.2);
    for (_, colour, record) in &shown {
        let fleet = record.fleet.iter().filter(|it| (begins..=ends).contains(&it.at));
        let ready = fleet.map(|it| (it.at - begins, f64::from(it.ready)));
        canvas.path(steps(ready, ends - begins, &across, &capacity), colour, 1.8);
        let course = p99(record).into_iter().map(|(at, p99)| (across.place(at), latency.place(p99)));
        canvas.path(course, colour, 1.8);
    }
    canvas.words(
        (f64::midpoint(LEFT, RIGHT), 706.0),
        Anchor::Middle,
        colour::SOFT,
        "seconds; grey: what is needed at full use, and what is promised",
    );
    canvas
}

fn panel(canvas: &mut Canvas, across: &Axis, (top, bottom): (f64, f64), most: f64, name: &str) -> Axis {
    let up = Axis { numbers: (0.0, most), places: (bottom, top), root: false };
    for tick in up.ticks(4.0) {
        canvas.line((LEFT, up.place(tick)), (RIGHT, up.place(tick)), colour::FAINT, 1.0);
        let words = ((tick * 10.0).round() / 10.0).to_string();
        canvas.words((LEFT - 8.0, up.place(tick) + 4.5), Anchor::End, colour::INK, &words);
    }
    for tick in across.ticks(9.0) {
        canvas.line((across.place(tick), bottom), (across.place(tick), bottom + 5.0), colour::SOFT, 1.0);
        canvas.words((across.place(tick), bottom + 20.0), Anchor::Middle, colour::INK, &tick.to_string());
    }
    canvas.upright((LEFT - 50.0, f64::midpoint(top, bottom)), name);
    up
}

/// Each value stands until the next one.
fn steps(points: impl Iterator<Item = (f64, f64)>, end: f64, across: &Axis, up: &Axis) -> Vec<(f64, f64)> {
    let mut path: Vec<(f64, f64)> = Vec::new();
    for (at, value) in points {
        let (x, y) = (across.place(at), up.place(value));
        if let Some((_, before)) = path.last().copied() {
            path.push((x, before));
        }
        path.push((x, y));
    }
    if let Some((_, before)) = path.last().copied() {
        path.push((across.place(end), before));
    }
    path
}

/// The 99th percentile of the requests that were meant to be sent in each span; one that was not served took for ever.
fn p99(record: &Record) -> Vec<(f64, f64)> {
    let (begins, ends) = (record.run.warm_up, record.run.ends);
    let mut spans: std::collections::BTreeMap<u32, Vec<f64>> = std::collections::BTreeMap::new();
    for request in record.requests.iter().filter(|request| (begins..ends).contains(&request.due)) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "minutes, after the beginning")]
        let span = ((request.due - begins) / SPAN) as u32;
        let latency = if request.end == End::Served { request.latency } else { f64::INFINITY };
        spans.entry(span).or_default().push(latency);
    }
    let point = |(span, mut latencies): (u32, Vec<f64>)| {
        latencies.sort_by(f64::total_cmp);
        (SPAN * (f64::from(span) + 0.5), quantile(&latencies, 0.99).min(1e6))
    };
    spans.into_iter().map(point).collect()
}

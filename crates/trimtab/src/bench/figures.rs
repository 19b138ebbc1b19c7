//! The figures: violations on each workload, cost against violations, and the course of each workload.

use super::Runs;
use super::canvas::{Anchor, Axis, Canvas, Mark, colour};
use trimtab_sim::contest::Contender;
use trimtab_sim::forecaster::Driver;
use trimtab_sim::run::Row;
use trimtab_sim::service::INTERVAL;
use trimtab_sim::statistics::{Point, frontier};

/// About how wide a letter is, at 13 pixels.
pub(super) const LETTER: f64 = 7.6;

/// Those that a figure shows: more would hide each other.
const SHOWN: [Contender; 7] = [
    Contender::Trimtab,
    Contender::Gate,
    Contender::StaticFloor,
    Contender::PurePredictive,
    Contender::CpuHpa,
    Contender::Keda,
    Contender::OracleAhead,
];

/// Colour and mark of a policy, the same in all figures.
pub(super) fn style(contender: Contender) -> (&'static str, Mark) {
    match contender {
        Contender::Trimtab => (colour::BLUE, Mark::Circle),
        Contender::Gate | Contender::GateFewest | Contender::GateCheapest => (colour::VERMILION, Mark::Square),
        Contender::StaticFloor => (colour::GREEN, Mark::Diamond),
        Contender::PurePredictive => (colour::PURPLE, Mark::Triangle),
        Contender::RecedingHorizon => (colour::PURPLE, Mark::Plus),
        Contender::CpuHpa => (colour::ORANGE, Mark::Inverted),
        Contender::Keda => (colour::SKY, Mark::Ring),
        Contender::SeasonalTrigger => (colour::SKY, Mark::Cross),
        Contender::Phpa => (colour::ORANGE, Mark::Cross),
        Contender::WindowMax => (colour::GREEN, Mark::Plus),
        Contender::Oracle | Contender::OracleAhead | Contender::Clairvoyant => (colour::INK, Mark::Cross),
        Contender::Fixed => (colour::SOFT, Mark::Plus),
    }
}

/// The place of each policy that is shown among the entrants, at its default.
fn shown(runs: &Runs) -> Vec<(usize, Contender)> {
    let place = |contender: Contender| {
        let is_it =
            |entrant: &trimtab_sim::contest::Entrant| entrant.contender == contender && entrant.driver == Driver::Own;
        runs.entrants.iter().position(|named| is_it(&named.entrant)).map(|place| (place, contender))
    };
    SHOWN.into_iter().filter_map(place).collect()
}

fn legend(canvas: &mut Canvas, (x, y): (f64, f64), contenders: impl Iterator<Item = Contender>) {
    let mut x = x;
    for contender in contenders {
        let (colour, mark) = style(contender);
        canvas.mark(mark, (x, y - 4.5), 5.0, colour);
        canvas.words((x + 11.0, y), Anchor::Start, colour::INK, contender.name());
        x += 44.0 + LETTER * contender.name().len() as f64;
    }
}

/// The share of intervals that violate the objective: a row for each workload, a mark for each policy.
pub(super) fn violations(runs: &Runs) -> Canvas {
    const ROW: f64 = 44.0;
    /// From one policy's lane within a row to the next: marks at the same place stay in sight.
    const LANE: f64 = 4.5;
    // One course is its own mean.
    let rows = if runs.courses.len() == 1 { 1 } else { runs.courses.len() + 1 };
    let longest = runs.courses.iter().map(|course| course.name.chars().count()).max().unwrap_or_default();
    let left = f64::max(142.0, 42.0 + LETTER * longest as f64);
    let (right, top) = (left + 820.0, 108.0);
    let bottom = top + ROW * rows as f64;
    let mut canvas = Canvas::new(right + 30.0, bottom + 62.0);
    let shown = shown(runs);
    let most = (0..runs.courses.len()).flat_map(|course| shown.iter().map(move |(place, _)| (course, *place)));
    let most = most.map(|(course, place)| runs.mean(Some(course), place).violations).fold(0.05, f64::max);
    let axis = Axis { numbers: (0.0, (1.08 * most).min(1.0)), places: (left, right), root: true };
    canvas.title((24.0, 34.0), "Share of half-minutes that miss the latency objective");
    let seeds = runs.outcomes.first().and_then(|course| course.first()).map_or(0, Vec::len);
    let start_up = runs.scenario.law.startup.median().get();
    let seeds = if seeds == 1 { "one seed".to_owned() } else { format!("mean of {seeds} seeds") };
    let about = format!("{seeds}, start-up {start_up} s; left is better; square-root scale");
    canvas.words((24.0, 54.0), Anchor::Start, colour::SOFT, &about);
    legend(&mut canvas, (32.0, 84.0), shown.iter().map(|(_, contender)| *contender));
    for tick in axis.ticks(6.0) {
        let x = axis.place(tick);
        canvas.line((x, top), (x, bottom), colour::FAINT, 1.0);
        canvas.words((x, bottom + 20.0), Anchor::Middle, colour::INK, &percent(tick));
    }
    canvas.words((f64::midpoint(left, right), bottom + 44.0), Anchor::Middle, colour::INK, "violations");
    for row in 0..rows {
        let course = runs.courses.get(row);
        let y = top + ROW * (row as f64 + 0.5);
        let name = course.map_or("mean of all", |course| course.name.as_str());
        if course.is_none() {
            canvas.line((24.0, y - ROW / 2.0), (right, y - ROW / 2.0), colour::SOFT, 1.0);
        }
        canvas.sized((left - 14.0, y + 4.5), Anchor::End, (13.0, course.is_none()), colour::INK, name);
        canvas.line((left, y), (right, y), colour::FAINT, 1.0);
        // trimtab last, so that nothing hides it.
        for (lane, (place, contender)) in shown.iter().enumerate().rev() {
            let (colour, mark) = style(*contender);
            let y = y + LANE * (lane as f64 - (shown.len() - 1) as f64 / 2.0);
            let at = axis.place(runs.mean(course.map(|_| row), *place).violations);
            let radius = if *contender == Contender::Trimtab { 6.5 } else { 5.0 };
            canvas.mark(mark, (at, y), radius, colour);
        }
    }
    canvas
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1000.0).round() / 10.0)
}

/// A policy's swept knob: where each setting came to, and which is the default.
pub(super) struct Sweep {
    pub(super) contender: Contender,
    pub(super) points: Vec<Point>,
    pub(super) default: Option<Point>,
    pub(super) hypervolume: f64,
}

/// Cost against violations, a line for each policy's frontier.
pub(super) fn cost_and_violations(sweeps: &[Sweep], reference: Point) -> Canvas {
    let mut canvas = Canvas::new(1120.0, 640.0);
    let (left, right, top, bottom) = (86.0, 800.0, 76.0, 566.0);
    let inside = |point: &&Point| point.cost <= reference.cost && point.violations <= reference.violations;
    let least = sweeps
        .iter()
        .flat_map(|sweep| &sweep.points)
        .filter(inside)
        .map(|point| point.cost)
        .fold(f64::INFINITY, f64::min);
    let across = Axis { numbers: (least - 0.8, reference.cost), places: (left, right), root: false };
    let up = Axis { numbers: (0.0, reference.violations), places: (bottom, top), root: true };
    canvas.title((24.0, 34.0), "What each policy can be set to: cost against violations");
    canvas.words(
        (24.0, 56.0),
        Anchor::Start,
        colour::SOFT,
        "one setting for all workloads; lower and further left is better; large marks: defaults",
    );
    for tick in across.ticks(7.0) {
        let x = across.place(tick);
        canvas.line((x, top), (x, bottom), colour::FAINT, 1.0);
        canvas.words((x, bottom + 20.0), Anchor::Middle, colour::INK, &tick.to_string());
    }
    for tick in up.ticks(6.0) {
        let y = up.place(tick);
        canvas.line((left, y), (right, y), colour::FAINT, 1.0);
        canvas.words((left - 8.0, y + 4.5), Anchor::End, colour::INK, &percent(tick));
    }
    canvas.words(
        (f64::midpoint(left, right), bottom + 46.0),
        Anchor::Middle,
        colour::INK,
        "replica-hours, mean of the workloads",
    );
    canvas.upright((28.0, f64::midpoint(top, bottom)), "half-minutes that miss the objective");
    for sweep in sweeps.iter().rev() {
        let (colour, mark) = style(sweep.contender);
        let place = |point: &Point| (across.place(point.cost), up.place(point.violations));
        let line = frontier(&sweep.points);
        let width = if sweep.contender == Contender::Trimtab { 3.0 } else { 1.6 };
        if line.iter().filter(inside).count() > 1 {
            canvas.path(line.iter().filter(inside).map(place), colour, width);
        }
        for point in line.iter().filter(inside) {
            canvas.mark(mark, place(point), 3.6, colour);
        }
        if let Some(default) = sweep.default.as_ref().filter(inside) {
            canvas.mark(mark, place(default), 8.0, colour);
        }
    }
    canvas.sized((right + 34.0, top + 8.0), Anchor::Start, (13.0, true), colour::INK, "policy");
    canvas.sized((1096.0, top + 8.0), Anchor::End, (13.0, true), colour::INK, "hypervolume");
    for (number, sweep) in sweeps.iter().enumerate() {
        let (colour, mark) = style(sweep.contender);
        let y = top + 34.0 + 24.0 * number as f64;
        canvas.mark(mark, (right + 40.0, y - 4.5), 5.5, colour);
        canvas.words((right + 54.0, y), Anchor::Start, colour::INK, sweep.contender.name());
        canvas.words((1096.0, y), Anchor::End, colour::INK, &format!("{:.3}", sweep.hypervolume));
    }
    canvas
}

/// The course of one workload, first seed: demand, what the replicas serve, and the half-minutes that miss the objective.
pub(super) fn series(runs: &Runs, course: usize) -> Canvas {
    const STRIP: f64 = 24.0;
    let shown: Vec<(usize, Contender)> =
        shown(runs).into_iter().filter(|(_, contender)| *contender != Contender::OracleAhead).collect();
    let (left, right, top, bottom) = (112.0, 1176.0, 96.0, 436.0);
    let strips = bottom + 62.0;
    let mut canvas = Canvas::new(1200.0, strips + STRIP * shown.len() as f64 + 24.0);
    let rows = |place: usize| {
        let outcomes = runs.outcomes.get(course).and_then(|course| course.get(place));
        outcomes.and_then(|outcomes| outcomes.first()).map_or(&[][..], |outcome| outcome.score.rows.as_slice())
    };
    let demand = rows(0);
    let capacity = |row: &Row| runs.scenario.law.capacity.get() * f64::from(row.ready);
    let hour = INTERVAL.get() / 3600.0;
    let most = shown.iter().take(2).flat_map(|(place, _)| rows(*place)).map(capacity);
    let most = most.chain(demand.iter().map(|row| row.rate.get())).fold(1.0, f64::max);
    let across = Axis { numbers: (0.0, hour * demand.len() as f64), places: (left, right), root: false };
    let up = Axis { numbers: (0.0, 1.06 * most), places: (bottom, top), root: false };
    let name = runs.courses.get(course).map_or("", |course| course.name.as_str());
    canvas.title((24.0, 34.0), &format!("{name}: demand, capacity and violations"));
    let start_up = runs.scenario.law.startup.median().get();
    canvas.words(
        (24.0, 56.0),
        Anchor::Start,
        colour::SOFT,
        &format!("seed 1, start-up {start_up} s; capacity is what the ready replicas serve at full use"),
    );
    scales(&mut canvas, &across, &up);
    let mut x = left;
    let mut curve = |canvas: &mut Canvas, name: &str, colour: &str, width: f64, values: Vec<f64>| {
        canvas.path(steps(&values, &across, &up, hour), colour, width);
        canvas.line((x, 76.0), (x + 24.0, 76.0), colour, width.max(2.0));
        canvas.words((x + 30.0, 80.5), Anchor::Start, colour::INK, name);
        x += 60.0 + LETTER * name.len() as f64;
    };
    // trimtab last, so that nothing hides it; the other one thin, because it may change in every interval.
    for (place, contender) in shown.iter().skip(1).take(1) {
        let name = format!("capacity under {}", contender.name());
        curve(&mut canvas, &name, style(*contender).0, 0.8, rows(*place).iter().map(capacity).collect());
    }
    curve(&mut canvas, "demand", colour::INK, 1.0, demand.iter().map(|row| row.rate.get()).collect());
    for (place, contender) in shown.iter().take(1) {
        let name = format!("capacity under {}", contender.name());
        curve(&mut canvas, &name, style(*contender).0, 2.2, rows(*place).iter().map(capacity).collect());
    }
    for (number, (place, contender)) in shown.iter().enumerate() {
        let y = strips + STRIP * number as f64;
        canvas.area((left, y), (right - left, STRIP - 6.0), "#f4f4f4");
        canvas.sized((left - 8.0, y + 13.5), Anchor::End, (11.0, false), colour::INK, contender.name());
        let rows = rows(*place);
        let width = ((right - left) / rows.len().max(1) as f64).max(2.0);
        for (interval, _) in rows.iter().enumerate().filter(|(_, row)| row.grade.violates()) {
            canvas.area((across.place(hour * interval as f64), y), (width, STRIP - 6.0), style(*contender).0);
        }
    }
    canvas
}

/// Requests a second upwards, hours to the right.
fn scales(canvas: &mut Canvas, across: &Axis, up: &Axis) {
    let ((left, right), (bottom, top)) = (across.places, up.places);
    for tick in up.ticks(6.0) {
        canvas.line((left, up.place(tick)), (right, up.place(tick)), colour::FAINT, 1.0);
        canvas.words((left - 8.0, up.place(tick) + 4.5), Anchor::End, colour::INK, &tick.to_string());
    }
    canvas.upright((48.0, f64::midpoint(top, bottom)), "requests a second");
    for tick in across.ticks(10.0) {
        canvas.line((across.place(tick), bottom), (across.place(tick), bottom + 5.0), colour::SOFT, 1.0);
        canvas.words(
            (across.place(tick), bottom + 20.0),
            Anchor::Middle,
            colour::INK,
            &((tick * 100.0).round() / 100.0).to_string(),
        );
    }
    canvas.words((f64::midpoint(left, right), bottom + 40.0), Anchor::Middle, colour::INK, "hours");
}

/// A course that keeps its value for an interval each.
fn steps<'a>(values: &'a [f64], across: &'a Axis, up: &'a Axis, hour: f64) -> impl Iterator<Item = (f64, f64)> + 'a {
    values.iter().enumerate().flat_map(move |(number, value)| {
        let at = |number: usize| across.place(hour * number as f64);
        [(at(number), up.place(*value)), (at(number + 1), up.place(*value))]
    })
}

//! A surge: 500 requests/s for ten minutes, 10,000 within a minute, and back after ten more. Pods of 50 requests/s that take their time to boot,
//! metrics that are late, and nodes that must come first for most of them. Second by second: what was wanted, what was there, what it meant.
//!
//! And the lead-time budget: how long it takes until help comes, what demand does meanwhile, and so the least floor that survives it, by
//! reckoning and by trying. No forecast is asked to help there: who has seen no surge before cannot see this one. One is told: the seasonal
//! trigger by a day before that had the same surge, trimtab by an event of its policy.

use super::canvas::{Anchor, Axis, Canvas, colour};
use super::figures::LETTER;
use super::files::Files;
use super::setting::seconds;
use super::{columns, trimmed};
use crate::cli::{Bench, Surge};
use std::collections::VecDeque;
use std::fmt::Write;
use trimtab_core::Policy;
use trimtab_core::policy::{Bounds, Event};
use trimtab_core::queue;
use trimtab_core::snapshot::{Absence, Coverage, Fleet, Reading, Sample, Snapshot};
use trimtab_core::unit::{Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_sim::baseline::{self, Controller, Trigger};
use trimtab_sim::contest::{policy, spread};
use trimtab_sim::law::{Law, Nodes, Startup};
use trimtab_sim::run::{self, Interval, Look, Scenario};
use trimtab_sim::service::{INTERVAL, Observed, Service};
use trimtab_sim::workload::Workload;

/// Requests a second before and after, and at the height.
const CALM: f64 = 500.0;
const HEIGHT: f64 = 10_000.0;
/// Seconds: when it begins, how long it rises and falls, and how long it stays.
const BEGINS: u32 = 600;
const RISES: u32 = 60;
const STAYS: u32 = 600;
const ENDS: u32 = BEGINS + RISES + STAYS + RISES + 600;
/// A day, in intervals: the season of who has seen it before.
const DAY: usize = 2_880;
/// No fleet grows beyond it: twice what the height needs.
const MOST: u32 = 400;
/// Seconds after the beginning that are printed; the file has all.
const PRINTED: [u32; 21] =
    [0, 15, 30, 45, 60, 75, 90, 105, 120, 150, 180, 210, 240, 300, 360, 480, 600, 660, 720, 900, 1_200];

/// Who faces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    CpuHpa,
    Keda,
    SeasonalUnknown,
    SeasonalKnown,
    Trimtab,
    TrimtabKnown,
}

impl Who {
    const ALL: [Self; 6] =
        [Self::Trimtab, Self::TrimtabKnown, Self::CpuHpa, Self::Keda, Self::SeasonalUnknown, Self::SeasonalKnown];
    /// Those whose least floor is sought.
    const UNTOLD: [Self; 3] = [Self::Trimtab, Self::CpuHpa, Self::Keda];

    fn name(self) -> &'static str {
        match self {
            Self::CpuHpa => "CPU HPA",
            Self::Keda => "KEDA",
            Self::SeasonalUnknown => "seasonal, unknown",
            Self::SeasonalKnown => "seasonal, known",
            Self::Trimtab => "trimtab",
            Self::TrimtabKnown => "trimtab, told",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::CpuHpa => colour::ORANGE,
            Self::Keda => colour::SKY,
            Self::SeasonalUnknown => colour::PURPLE,
            Self::SeasonalKnown => colour::GREEN,
            Self::Trimtab => colour::BLUE,
            Self::TrimtabKnown => colour::INK,
        }
    }

    fn controller(self, scenario: &Scenario) -> Controller {
        let per_replica = RequestsPerSecond::whole(35);
        let workload = workload(self == Self::SeasonalKnown);
        match self {
            Self::CpuHpa => baseline::cpu_hpa(Ratio::percent(70), scenario),
            Self::Keda => baseline::keda(per_replica, scenario),
            Self::SeasonalUnknown | Self::SeasonalKnown => {
                baseline::triggered(per_replica, Trigger::SeasonAgo, scenario, &workload)
            }
            Self::Trimtab => Box::new(run::trimtab(policy(scenario), &workload, |_, _, _| {})),
            Self::TrimtabKnown => {
                let policy = Policy { events: vec![event()], ..policy(scenario) };
                Box::new(run::trimtab(policy, &workload, |_, _, _| {}))
            }
        }
    }
}

/// Requests a second at a moment.
fn demand(second: u32) -> f64 {
    let share = if second < BEGINS + RISES + STAYS {
        f64::from(second.saturating_sub(BEGINS)) / f64::from(RISES)
    } else {
        1.0 - f64::from(second - BEGINS - RISES - STAYS) / f64::from(RISES)
    };
    CALM + (HEIGHT - CALM) * share.clamp(0.0, 1.0)
}

/// What an operator says who knows of it.
fn event() -> Event {
    let second = |second: u32| Timestamp(i64::from(second) * 1_000);
    let rate = RequestsPerSecond::new(HEIGHT).unwrap_or_default();
    Event { from: second(BEGINS), until: second(BEGINS + RISES + STAYS + RISES), rate }
}

/// The day before: calm, or with the same surge at the same time.
fn workload(known: bool) -> Workload {
    let interval = |number: usize| {
        let begins = u32::try_from(30 * number).unwrap_or(u32::MAX);
        let mean = (begins..begins.saturating_add(30)).map(demand).sum::<f64>() / 30.0;
        RequestsPerSecond::new(if known && begins < ENDS { mean } else { CALM }).unwrap_or_default()
    };
    Workload { season: DAY, history: (0..DAY).map(interval).collect(), rates: Vec::new() }
}

/// A second.
#[derive(Clone, Copy, Debug)]
struct Moment {
    demand: f64,
    wanted: u32,
    ready: usize,
    starting: usize,
    waiting: usize,
    p99: Option<Seconds>,
}

/// What came of it.
#[derive(Clone, Debug)]
struct Course {
    moments: Vec<Moment>,
    violations: usize,
    slow: f64,
    hours: f64,
}

/// What was measured and is not to be seen yet.
#[derive(Clone, Copy, Debug)]
struct Measured {
    at: Timestamp,
    rate: RequestsPerSecond,
    busy: Ratio,
    interval: Option<Interval>,
}

/// Lets `who` face it for so many seconds.
fn face(who: Who, scenario: &Scenario, seconds: u32) -> Course {
    let mut controller = who.controller(scenario);
    // What calm needs at 70 %.
    let mut wanted = Replicas(15).clamp(scenario.bounds.min(), scenario.bounds.max()).0;
    let mut service = Service::new(scenario.law, wanted as usize);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a divisor of 30, and at least 1 here")]
    let tick = scenario.tick.get().max(1.0) as u32;
    let (mut look, mut whole) = (Observed::default(), Observed::default());
    let (mut underway, mut moments) = (VecDeque::new(), Vec::new());
    let mut hours = 0.0;
    for second in 0..seconds {
        let rate = RequestsPerSecond::new(demand(second)).unwrap_or_default();
        let observed = service.advance(Seconds::whole(1), rate);
        look.absorb(&observed);
        whole.absorb(&observed);
        hours += f64::from(wanted) / 3600.0;
        let (ready, starting, waiting) = (service.ready(), service.starting(), service.waiting());
        moments.push(Moment { demand: rate.get(), wanted, ready, starting, waiting, p99: observed.p99() });
        let at = Timestamp(1_000 * i64::from(second + 1));
        if (second + 1).is_multiple_of(tick) {
            let interval = (second + 1).is_multiple_of(30).then(|| Interval {
                number: (second / 30) as usize,
                rate: per_second(&whole, INTERVAL),
                p99: whole.p99(),
            });
            if interval.is_some() {
                whole = Observed::default();
            }
            let busy = look.busy.get() / (scenario.tick.get() * (ready as f64).max(1.0));
            let busy = Ratio::new(busy).unwrap_or_default();
            underway.push_back(Measured { at, rate: per_second(&look, scenario.tick), busy, interval });
            look = Observed::default();
            let seen = see(&mut underway, at, scenario);
            let fleet = fleet(wanted, &service, scenario);
            let to = controller(&Look {
                interval: seen.and_then(|seen| seen.interval),
                snapshot: snapshot(at, seen, fleet),
            });
            wanted = to.clamp(scenario.bounds.min(), scenario.bounds.max()).0;
            service.scale(wanted as usize);
        }
    }
    service.drain();
    let grades = service.grades();
    let slow = grades.iter().map(|grade| grade.slow).sum::<u64>() as f64;
    let requests = grades.iter().map(|grade| grade.requests).sum::<u64>().max(1) as f64;
    let violations = grades.iter().filter(|grade| grade.violates()).count();
    Course { moments, violations, slow: slow / requests, hours }
}

fn per_second(observed: &Observed, span: Seconds) -> RequestsPerSecond {
    RequestsPerSecond::new(observed.arrived as f64 / span.get()).unwrap_or_default()
}

/// The newest that may be seen.
fn see(underway: &mut VecDeque<Measured>, at: Timestamp, scenario: &Scenario) -> Option<Measured> {
    let mut seen = None;
    while let Some(next) = underway.front().filter(|next| at.since(next.at) >= scenario.sight.lag).copied() {
        seen = Some(next);
        underway.pop_front();
    }
    seen
}

fn fleet(wanted: u32, service: &Service, scenario: &Scenario) -> Fleet {
    let count = |count: usize| Replicas(u32::try_from(count).unwrap_or(u32::MAX));
    Fleet {
        desired: Replicas(wanted),
        ready: count(service.ready()),
        starting: count(service.starting()),
        stuck: Replicas(0),
        startup: Some(scenario.law.startup.p90()),
        rolling_out: false,
    }
}

fn snapshot(at: Timestamp, seen: Option<Measured>, fleet: Fleet) -> Snapshot {
    fn reading<T>(value: Option<T>, age: Seconds) -> Reading<T> {
        value.map_or(Reading::Missing(Absence::NoSeries), |value| {
            Reading::Fresh(Sample { value, age: Some(age), coverage: Coverage::Share(Ratio::ONE) })
        })
    }
    let age = seen.map_or(Seconds::ZERO, |seen| at.since(seen.at));
    Snapshot {
        at,
        demand: reading(seen.map(|seen| seen.rate), age),
        capacity: Reading::Missing(Absence::NotConfigured),
        latency: reading(seen.and_then(|seen| seen.interval).and_then(|interval| interval.p99), age),
        utilization: reading(seen.map(|seen| seen.busy), age),
        foretold: Vec::new(),
        protected: std::collections::BTreeMap::new(),
        fleet,
    }
}

/// The scenario at a boot time.
fn scenario(base: &Scenario, surge: &Surge, boot: Seconds, least: u32) -> Scenario {
    let nodes = Some(Nodes { hold: surge.room, arrival: seconds(surge.node) });
    let mut scenario = base.clone();
    scenario.law = Law { startup: Startup::Fixed(boot), nodes, ..base.law };
    scenario.sight.lag = seconds(surge.metric_lag);
    scenario.ramp = None;
    scenario.bounds = Bounds::new(Replicas(least), Replicas(MOST)).unwrap_or(base.bounds);
    scenario
}

pub(super) fn view(command: &Bench, surge: &Surge, base: &Scenario, files: &mut Files) -> anyhow::Result<String> {
    anyhow::ensure!(
        base.tick >= Seconds::whole(1) && base.tick.get().fract() == 0.0,
        "--tick {}: a surge is told second by second, so a tick is of whole seconds",
        base.tick.get()
    );
    let mut base = base.clone();
    base.law.seed = command.seeds.unwrap_or(1);
    let boots: Vec<Seconds> = surge.boot.iter().map(|boot| seconds(*boot)).collect();
    let jobs: Vec<(Seconds, Who)> = boots.iter().flat_map(|boot| Who::ALL.map(|who| (*boot, who))).collect();
    let progress = super::progress(jobs.len() + boots.len() * Who::UNTOLD.len(), 1)?;
    let courses = spread(&jobs, |(boot, who)| {
        let course = face(*who, &scenario(&base, surge, *boot, 1), ENDS);
        progress.inc(1);
        course
    });
    let sought: Vec<(Seconds, Who)> = boots.iter().flat_map(|boot| Who::UNTOLD.map(|who| (*boot, who))).collect();
    let floors = spread(&sought, |(boot, who)| {
        let floor = least_floor(*who, &base, surge, *boot);
        progress.inc(1);
        floor
    });
    let mut text = String::new();
    for (boot, of_boot) in boots.iter().zip(courses.chunks(Who::ALL.len())) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}\n", moments(*boot, of_boot));
    }
    let _ = writeln!(text, "{}\n\n{}", summary(&boots, &courses), budget(&base, surge, &boots, &floors));
    files.write("surge.csv", &csv(&jobs, &courses))?;
    files.draw("surge", &figure(&boots, &courses))?;
    Ok(text)
}

/// The least floor with which no half-minute of the rise and of the five minutes after it misses the objective.
fn least_floor(who: Who, base: &Scenario, surge: &Surge, boot: Seconds) -> Option<u32> {
    let survives = |floor: u32| face(who, &scenario(base, surge, boot, floor), BEGINS + RISES + 300).violations == 0;
    if !survives(MOST) {
        return None;
    }
    let (mut fails, mut holds) = (0, MOST);
    while holds - fails > 1 {
        let middle = u32::midpoint(fails, holds);
        if survives(middle) { holds = middle } else { fails = middle }
    }
    Some(holds)
}

fn p99(moment: &Moment) -> String {
    // The service counts in milliseconds up to two seconds.
    moment.p99.map_or_else(
        || "-".to_owned(),
        |p99| if p99.get() >= 2.0 { ">2 s".to_owned() } else { format!("{:.2} s", p99.get()) },
    )
}

fn moments(boot: Seconds, courses: &[Course]) -> String {
    let header = ["SECOND".to_owned(), "DEMAND".to_owned()];
    let header: Vec<String> = header.into_iter().chain(Who::ALL.map(|who| who.name().to_owned())).collect();
    let mut table = columns(&header);
    for printed in PRINTED {
        let at = |course: &Course| course.moments.get((BEGINS + printed) as usize).copied();
        let cell = |course: &Course| {
            at(course).map_or_else(String::new, |moment| {
                let Moment { wanted, ready, starting, waiting, .. } = moment;
                format!("{wanted} {starting} {ready} {waiting} {}", p99(&moment))
            })
        };
        let demand = format!("{:.0}/s", demand(BEGINS + printed));
        table.add_row([printed.to_string(), demand].into_iter().chain(courses.iter().map(cell)));
    }
    format!("Start-up {} s: wanted, starting, ready, queue, p99\n\n{}\n", boot.get(), trimmed(&table))
}

fn summary(boots: &[Seconds], courses: &[Course]) -> String {
    let header = [
        "START-UP",
        "POLICY",
        "HALF-MINUTES MISSED",
        "SLOW REQUESTS",
        "LARGEST QUEUE",
        "200 READY AFTER",
        "REPLICA-HOURS",
    ];
    let mut table = columns(&header.map(str::to_owned));
    for (boot, of_boot) in boots.iter().zip(courses.chunks(Who::ALL.len())) {
        for (who, course) in Who::ALL.iter().zip(of_boot) {
            let queue = course.moments.iter().map(|moment| moment.waiting).max().unwrap_or_default();
            let needed = |moment: &Moment| moment.ready as f64 * 50.0 >= HEIGHT;
            let after = course.moments.iter().skip(BEGINS as usize).position(needed);
            table.add_row([
                format!("{} s", boot.get()),
                who.name().to_owned(),
                course.violations.to_string(),
                format!("{:.1} %", 100.0 * course.slow),
                queue.to_string(),
                after.map_or_else(|| "never".to_owned(), |after| format!("{after} s")),
                format!("{:.1}", course.hours),
            ]);
        }
    }
    trimmed(&table)
}

/// The fewest replicas for a demand.
fn needed(base: &Scenario, demand: f64) -> u32 {
    let demand = RequestsPerSecond::new(demand).unwrap_or_default();
    let enough = |replicas: &u32| {
        queue::exceeds(Replicas(*replicas), demand, base.law.capacity, base.law.target) <= Ratio::percent(1)
    };
    (1..=MOST).find(enough).unwrap_or(MOST)
}

fn budget(base: &Scenario, surge: &Surge, boots: &[Seconds], floors: &[Option<u32>]) -> String {
    let header = [
        "LEAD-TIME BUDGET",
        "METRIC LAG",
        "DECISION",
        "SCHEDULING, PULL, BOOT",
        "NODE",
        "HELP WITHIN ROOM",
        "HELP BEYOND",
        "DEMAND BY THEN",
        "LEAST FLOOR",
    ];
    let found = Who::UNTOLD.map(|who| format!("WITH {}", who.name().to_uppercase()));
    let mut table = columns(&header.map(str::to_owned).into_iter().chain(found).collect::<Vec<_>>());
    for (boot, of_boot) in boots.iter().zip(floors.chunks(Who::UNTOLD.len())) {
        let (lag, node) = (surge.metric_lag.as_secs_f64(), surge.node.as_secs_f64());
        // A look happens at most a tick after what it sees.
        let within = lag + base.tick.get() + boot.get();
        let beyond = within + node;
        let risen = |after: f64| CALM + (HEIGHT - CALM) * (after / f64::from(RISES)).min(1.0);
        let (early, late) = (needed(base, risen(within)), needed(base, risen(beyond)));
        let least = if late > surge.room { late } else { early };
        let found = of_boot.iter().map(|floor| floor.map_or_else(|| "none".to_owned(), |floor| floor.to_string()));
        let reckoned = [
            format!("start-up {} s", boot.get()),
            format!("{lag} s"),
            format!("{} s", base.tick.get()),
            format!("{} s", boot.get()),
            format!("{node} s"),
            format!("{within} s"),
            format!("{beyond} s"),
            format!("{:.0}/s, {:.0}/s", risen(within), risen(beyond)),
            least.to_string(),
        ];
        table.add_row(reckoned.into_iter().chain(found));
    }
    format!(
        "{}\nThe least floor is reckoned from demand at the moment when help comes; with a policy, it is the least min with which no half-minute\nof the rise and the five minutes after it misses {} ms.\n",
        trimmed(&table),
        1000.0 * base.law.target.get()
    )
}

fn csv(jobs: &[(Seconds, Who)], courses: &[Course]) -> String {
    let mut text = "start_up_s,policy,second,demand,wanted,starting,ready,queue,p99_s\n".to_owned();
    for ((boot, who), course) in jobs.iter().zip(courses) {
        for (second, moment) in course.moments.iter().enumerate() {
            let Moment { demand, wanted, ready, starting, waiting, p99 } = moment;
            let p99 = p99.map_or_else(String::new, |p99| format!("{:.3}", p99.get()));
            let since = i64::try_from(second).unwrap_or(i64::MAX) - i64::from(BEGINS);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{},\"{}\",{since},{demand:.1},{wanted},{starting},{ready},{waiting},{p99}",
                boot.get(),
                who.name()
            );
        }
    }
    text
}

/// For each start-up the replicas that are ready, and the p99.
fn figure(boots: &[Seconds], courses: &[Course]) -> Canvas {
    const PANEL: f64 = 236.0;
    let mut canvas = Canvas::new(1200.0, 118.0 + PANEL * boots.len() as f64);
    canvas.title((24.0, 34.0), "500 requests/s, 10,000 within a minute, and back: what is ready, and the p99");
    let mut x = 32.0;
    for who in Who::ALL {
        canvas.line((x, 60.0), (x + 22.0, 60.0), who.colour(), 3.0);
        canvas.words((x + 28.0, 64.5), Anchor::Start, colour::INK, who.name());
        x += 64.0 + LETTER * who.name().len() as f64;
    }
    canvas.line((x, 60.0), (x + 22.0, 60.0), colour::SOFT, 1.2);
    canvas.words((x + 28.0, 64.5), Anchor::Start, colour::INK, "needed at full use");
    for (number, (boot, of_boot)) in boots.iter().zip(courses.chunks(Who::ALL.len())).enumerate() {
        let top = 96.0 + PANEL * number as f64;
        let bottom = top + PANEL - 62.0;
        let most = of_boot.iter().flat_map(|course| &course.moments).map(|moment| moment.ready).max();
        let replicas = (0.0, 1.05 * (most.unwrap_or(1) as f64).max(HEIGHT / 50.0));
        let across = |places| Axis { numbers: (-60.0, f64::from(ENDS - BEGINS)), places, root: false };
        let (left, right) = (across((86.0, 590.0)), across((680.0, 1176.0)));
        let ready = Axis { numbers: replicas, places: (bottom, top), root: false };
        let latency = Axis { numbers: (0.0, 2.0), places: (bottom, top), root: false };
        frame(&mut canvas, &left, &ready, &format!("ready, start-up {} s", boot.get()));
        frame(&mut canvas, &right, &latency, "p99, s (2 is 2 or more)");
        canvas.line((680.0, latency.place(0.2)), (1176.0, latency.place(0.2)), colour::SOFT, 1.2);
        let needed = (0..ENDS).map(|second| (since(second), ready.place(demand(second) / 50.0)));
        canvas.path(needed.map(|(at, y)| (left.place(at), y)), colour::SOFT, 1.2);
        for (who, course) in Who::ALL.iter().zip(of_boot).rev() {
            // Without a surge a season ago its trigger adds nothing to KEDA: the wider line shows beneath.
            let width = match who {
                Who::Trimtab => 2.6,
                Who::SeasonalUnknown => 4.5,
                _ => 1.6,
            };
            let shown = || {
                (0_u32..).zip(&course.moments).filter(|(second, _)| second.is_multiple_of(5) && since(*second) >= -60.0)
            };
            let line = shown().map(|(second, moment)| (left.place(since(second)), ready.place(moment.ready as f64)));
            canvas.path(line, who.colour(), width);
            let line = shown()
                .filter_map(|(second, moment)| Some((right.place(since(second)), latency.place(moment.p99?.get()))));
            canvas.path(line, who.colour(), width);
        }
    }
    canvas
}

/// Seconds since it began.
fn since(second: u32) -> f64 {
    f64::from(second) - f64::from(BEGINS)
}

fn frame(canvas: &mut Canvas, across: &Axis, up: &Axis, name: &str) {
    let ((left, right), (bottom, top)) = (across.places, up.places);
    for tick in up.ticks(4.0) {
        canvas.line((left, up.place(tick)), (right, up.place(tick)), colour::FAINT, 1.0);
        canvas.words(
            (left - 8.0, up.place(tick) + 4.5),
            Anchor::End,
            colour::INK,
            &((tick * 10.0).round() / 10.0).to_string(),
        );
    }
    for tick in across.ticks(7.0) {
        canvas.line((across.place(tick), bottom), (across.place(tick), bottom + 5.0), colour::SOFT, 1.0);
        canvas.words((across.place(tick), bottom + 20.0), Anchor::Middle, colour::INK, &tick.to_string());
    }
    canvas.words(
        (f64::midpoint(left, right), bottom + 38.0),
        Anchor::Middle,
        colour::SOFT,
        "seconds since the surge began",
    );
    canvas.upright((left - 50.0, f64::midpoint(top, bottom)), name);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Surge {
        let span = std::time::Duration::from_secs;
        Surge { boot: vec![span(30)], room: 60, node: span(90), metric_lag: span(15) }
    }

    #[test]
    fn demand_rises_within_a_minute_stays_and_falls_back() {
        let at = [0, BEGINS, BEGINS + 30, BEGINS + RISES, BEGINS + RISES + STAYS, ENDS - 600, ENDS];
        let demand = at.map(|second| demand(second).to_string());
        assert_eq!(demand, ["500", "500", "5250", "10000", "10000", "500", "500"]);
    }

    #[test]
    fn what_is_late_is_seen_late_and_the_newest_of_it() {
        let base = Scenario::benchmark(1);
        let scenario = scenario(&base, &settings(), Seconds::whole(30), 1);
        let measured = |second: i64| Measured {
            at: Timestamp(1_000 * second),
            rate: RequestsPerSecond::whole(1),
            busy: Ratio::ONE,
            interval: None,
        };
        let mut underway: VecDeque<Measured> = [5, 10, 15].map(measured).into();
        assert!(see(&mut underway, Timestamp(19_000), &scenario).is_none());
        assert_eq!(see(&mut underway, Timestamp(26_000), &scenario).unwrap().at, Timestamp(10_000));
        assert_eq!(underway.len(), 1);
    }

    #[test]
    fn help_beyond_the_room_of_the_nodes_waits_for_them() {
        let base = Scenario::benchmark(1);
        let course = face(Who::Keda, &scenario(&base, &settings(), Seconds::whole(30), 1), BEGINS + 200);
        let ready = |after: u32| course.moments[(BEGINS + after) as usize].ready;
        assert!(ready(45) < 20 && ready(150) == 60 && ready(199) > 60, "{} {} {}", ready(45), ready(150), ready(199));
    }
}

//! A surge: 500 requests/s for ten minutes, 10,000 within a minute, and back after ten more. Pods of 50 requests/s that take their time to boot,
//! metrics that are late, and nodes that must come first for most of them. Second by second: what was wanted, what was there, what it meant.
//!
//! And the lead-time budget: how long it takes until help comes, what demand does meanwhile, and so the least floor that survives it, by
//! reckoning and by trying. No forecast is asked to help there: who has seen no surge before cannot see this one. One is told: the seasonal
//! trigger by a day before that had the same surge, trimtab by an event of its policy.
//!
//! Several seeds are means; what is told second by second is the first of them.

use super::canvas::{Anchor, Axis, Canvas, colour};
use super::figures::LETTER;
use super::files::Files;
use super::setting::seconds;
use super::{columns, seeds, trimmed};
use crate::cli::{Bench, Surge};
use std::collections::VecDeque;
use std::fmt::Write;
use trimtab_core::Policy;
use trimtab_core::policy::{Bounds, Event};
use trimtab_core::unit::{Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_sim::baseline::{self, Controller, Trigger};
use trimtab_sim::contest::{policy, spread};
use trimtab_sim::law::{Law, Nodes, Startup};
use trimtab_sim::run::{self, Interval, Look, Scenario, per_second};
use trimtab_sim::service::{INTERVAL, Observed, Service};
use trimtab_sim::sight::{Eye, Measured};
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
/// No fleet grows beyond it, where nothing else is said: twice what the height needs.
pub(super) const MOST: Replicas = Replicas(400);
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
pub(super) struct Moment {
    demand: f64,
    pub(super) wanted: u32,
    pub(super) ready: usize,
    starting: usize,
    waiting: usize,
    p99: Option<Seconds>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) struct Course {
    pub(super) moments: Vec<Moment>,
    pub(super) intervals: usize,
    pub(super) violations: usize,
    pub(super) slow: f64,
    hours: f64,
    /// What was observed of it.
    pub(super) whole: Observed,
}

/// What somebody faces.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    /// Requests a second in each second.
    pub(super) demand: &'a dyn Fn(u32) -> f64,
    /// Replicas at the beginning.
    pub(super) first: u32,
    /// How long it is.
    pub(super) seconds: u32,
    /// From when on it is graded: a whole number of intervals.
    pub(super) graded: u32,
}

/// Lets `who` face it for so many seconds.
fn face(who: Who, scenario: &Scenario, seconds: u32) -> Course {
    course(&mut *who.controller(scenario), scenario, &surge(scenario, seconds))
}

/// The first seconds of the surge, from a size for the calm before it.
fn surge(scenario: &Scenario, seconds: u32) -> Given<'static> {
    let at_70_percent = RequestsPerSecond::new(0.7 * scenario.law.capacity.get()).unwrap_or_default();
    let calm = RequestsPerSecond::new(CALM).unwrap_or_default() / at_70_percent;
    let first = calm.ceil().clamp(scenario.bounds.min(), scenario.bounds.max()).0;
    Given { demand: &demand, first, seconds, graded: 0 }
}

/// Lets a controller face what is given, second by second.
pub(super) fn course(controller: &mut dyn FnMut(&Look) -> Replicas, scenario: &Scenario, given: &Given<'_>) -> Course {
    let mut wanted = given.first;
    let mut service = Service::new(scenario.law, wanted as usize);
    let mut eye = Eye::new(scenario.sight, scenario.law.seed);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a divisor of 30, and at least 1 here")]
    let tick = scenario.tick.get().max(1.0) as u32;
    let (mut look, mut interval_so_far, mut whole) = (Observed::default(), Observed::default(), Observed::default());
    let (mut moves, mut moments) = (VecDeque::new(), Vec::new());
    let mut hours = 0.0;
    for second in 0..given.seconds {
        let rate = RequestsPerSecond::new((given.demand)(second)).unwrap_or_default();
        let observed = service.advance(Seconds::whole(1), rate);
        look.absorb(&observed);
        interval_so_far.absorb(&observed);
        if second >= given.graded {
            whole.absorb(&observed);
        }
        hours += f64::from(wanted) / 3600.0;
        let (ready, starting, waiting) = (service.ready(), service.starting(), service.waiting());
        moments.push(Moment { demand: rate.get(), wanted, ready, starting, waiting, p99: observed.p99() });
        let at = Timestamp(1_000 * i64::from(second + 1));
        if (second + 1).is_multiple_of(tick) {
            let interval = (second + 1).is_multiple_of(30).then(|| Interval {
                number: (second / 30) as usize,
                rate: per_second(&interval_so_far, INTERVAL),
                p99: interval_so_far.p99(),
            });
            if interval.is_some() {
                interval_so_far = Observed::default();
            }
            let busy = run::busy(&look, scenario.tick, &service);
            let seen = eye.look(Measured { at, rate: per_second(&look, scenario.tick), busy, interval });
            look = Observed::default();
            let interval = seen.interval;
            let to = controller(&Look { snapshot: run::snapshot(at, seen, &service, wanted, scenario), interval });
            let to = to.clamp(scenario.bounds.min(), scenario.bounds.max()).0;
            wanted = scenario.ramp.map_or(to, |most| run::ramp(&mut moves, most, at, wanted, to));
            service.scale(wanted as usize);
        }
    }
    service.drain();
    let graded = (given.graded / 30) as usize;
    let grades = service.grades().get(graded..).unwrap_or_default();
    let slow = grades.iter().map(|grade| grade.slow).sum::<u64>() as f64;
    let requests = grades.iter().map(|grade| grade.requests).sum::<u64>().max(1) as f64;
    let violations = grades.iter().filter(|grade| grade.violates()).count();
    Course { moments, intervals: grades.len(), violations, slow: slow / requests, hours, whole }
}

/// What was typed and cannot be of a surge: each with its reason.
pub(super) fn refused(command: &Bench) -> Vec<String> {
    let Bench { demand, service, sight, .. } = command;
    let own = "a surge is its own demand";
    let given = [
        ("--trace", demand.trace.is_some(), own),
        ("--trace-seed", demand.trace_seed != 1, own),
        ("--peak", demand.peak.is_some(), own),
        ("--history", demand.history.is_some(), own),
        ("--season", demand.season.is_some(), own),
        ("--bridge", demand.bridge, own),
        ("--forecast", demand.forecast.is_some(), "no forecast helps who has seen no surge: leave it out"),
        ("--scale", demand.scale != Ratio::ONE, own),
        (
            "--start-up",
            !service.start_up.is_empty(),
            "a surge has start-ups without and with a node: say --boot and --node",
        ),
        ("--lag", sight.lag.is_some(), "the lag is part of a surge's budget: say --metric-lag"),
    ];
    given
        .iter()
        .filter(|(_, given, _)| *given)
        .map(|(name, _, why)| format!("{name} is not of a surge: {why}"))
        .collect()
}

/// The scenario at a boot time; several replicas at least.
fn scenario(base: &Scenario, surge: &Surge, boot: Seconds, least: Replicas, seed: u64) -> Scenario {
    let nodes = Some(Nodes { hold: surge.room, arrival: seconds(surge.node) });
    let startup = match base.law.startup {
        Startup::Fixed(_) => Startup::Fixed(boot),
        Startup::Scattered(_) => Startup::Scattered(boot),
    };
    let mut scenario = base.clone();
    scenario.law = Law { startup, nodes, seed, ..base.law };
    scenario.sight.lag = seconds(surge.metric_lag);
    scenario.bounds = Bounds::new(least, base.bounds.max()).unwrap_or(base.bounds);
    scenario
}

pub(super) fn view(command: &Bench, surge: &Surge, base: &Scenario, files: &mut Files) -> anyhow::Result<String> {
    anyhow::ensure!(
        base.tick >= Seconds::whole(1) && base.tick.get().fract() == 0.0,
        "--tick {}: a surge is told second by second, so a tick is of whole seconds",
        base.tick.get()
    );
    let seeds = seeds(command, 1);
    let boots: Vec<Seconds> = surge.boot.iter().map(|boot| seconds(*boot)).collect();
    let of_boot = |boot: &Seconds| Who::ALL.map(|who| (*boot, who));
    let faced: Vec<(Seconds, Who)> = boots.iter().flat_map(of_boot).collect();
    let jobs: Vec<(Seconds, Who, u64)> =
        faced.iter().flat_map(|(boot, who)| (1..=seeds).map(|seed| (*boot, *who, seed))).collect();
    let progress = super::progress(jobs.len() + boots.len() * Who::UNTOLD.len(), 1);
    let courses = spread(&jobs, |(boot, who, seed)| {
        let course = face(*who, &scenario(base, surge, *boot, base.bounds.min(), *seed), ENDS);
        progress.step();
        course
    });
    let sought: Vec<(Seconds, Who)> = boots.iter().flat_map(|boot| Who::UNTOLD.map(|who| (*boot, who))).collect();
    let floors = spread(&sought, |(boot, who)| {
        let floor = least_floor(*who, base, surge, *boot, seeds);
        progress.step();
        floor
    });
    let of_seeds: Vec<&[Course]> = courses.chunks((jobs.len() / faced.len().max(1)).max(1)).collect();
    let first: Vec<&Course> = of_seeds.iter().filter_map(|courses| courses.first()).collect();
    let mut text = String::new();
    for (boot, of_boot) in boots.iter().zip(first.chunks(Who::ALL.len())) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}\n", moments(*boot, of_boot));
    }
    let _ = writeln!(text, "{}\n\n{}", summary(base, &boots, &of_seeds), budget(base, surge, &boots, &floors));
    files.write("surge.csv", &csv(&jobs, &courses))?;
    files.draw("surge", &figure(base, &boots, &first))?;
    Ok(text)
}

/// The least floor with which no half-minute of the rise and of the five minutes after it misses the objective, whatever the seed.
fn least_floor(who: Who, base: &Scenario, surge: &Surge, boot: Seconds, seeds: u64) -> Option<u32> {
    let survives = |floor: u32| {
        (1..=seeds).all(|seed| {
            let scenario = scenario(base, surge, boot, Replicas(floor), seed);
            face(who, &scenario, BEGINS + RISES + 300).violations == 0
        })
    };
    let (mut fails, mut holds) = (0, base.bounds.max().0);
    if !survives(holds) {
        return None;
    }
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

fn moments(boot: Seconds, courses: &[&Course]) -> String {
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
        table.add_row([printed.to_string(), demand].into_iter().chain(courses.iter().map(|course| cell(course))));
    }
    format!("Start-up {} s: wanted, starting, ready, queue, p99\n\n{}\n", boot.get(), trimmed(&table))
}

/// How many replicas serve the height when all are busy.
fn for_the_height(base: &Scenario) -> f64 {
    HEIGHT / base.law.capacity.get()
}

/// Means of the seeds, and the largest queue of all.
fn summary(base: &Scenario, boots: &[Seconds], courses: &[&[Course]]) -> String {
    let header = [
        "START-UP".to_owned(),
        "POLICY".to_owned(),
        "HALF-MINUTES MISSED".to_owned(),
        "SLOW REQUESTS".to_owned(),
        "LARGEST QUEUE".to_owned(),
        format!("{:.0} READY AFTER", for_the_height(base).ceil()),
        "REPLICA-HOURS".to_owned(),
    ];
    let mut table = columns(&header);
    for (boot, of_boot) in boots.iter().zip(courses.chunks(Who::ALL.len())) {
        for (who, of_seeds) in Who::ALL.iter().zip(of_boot) {
            let mean =
                |of: &dyn Fn(&Course) -> f64| of_seeds.iter().map(of).sum::<f64>() / of_seeds.len().max(1) as f64;
            let queue = of_seeds.iter().flat_map(|course| &course.moments).map(|moment| moment.waiting).max();
            let enough = |moment: &Moment| moment.ready as f64 >= for_the_height(base);
            let after = |course: &Course| course.moments.iter().skip(BEGINS as usize).position(enough);
            let ever = of_seeds.iter().all(|course| after(course).is_some());
            let after = mean(&|course| after(course).unwrap_or_default() as f64);
            let intervals = of_seeds.first().map_or(0, |course| course.intervals);
            // A mean of several seeds need not be whole.
            let digits = usize::from(of_seeds.len() > 1);
            table.add_row([
                format!("{} s", boot.get()),
                who.name().to_owned(),
                format!("{:.digits$} of {intervals}", mean(&|course| course.violations as f64)),
                format!("{:.1} %", 100.0 * mean(&|course| course.slow)),
                queue.unwrap_or_default().to_string(),
                if ever { format!("{after:.0} s") } else { "never".to_owned() },
                format!("{:.1}", mean(&|course| course.hours)),
            ]);
        }
    }
    trimmed(&table)
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
        let reckoned = scenario(base, surge, *boot, Replicas(1), 1);
        let needed = |demand: f64| baseline::meets(&reckoned, demand, base.law.target).0;
        let (early, late) = (needed(risen(within)), needed(risen(beyond)));
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

fn csv(jobs: &[(Seconds, Who, u64)], courses: &[Course]) -> String {
    let mut text = "start_up_s,policy,seed,second,demand,wanted,starting,ready,queue,p99_s\n".to_owned();
    for ((boot, who, seed), course) in jobs.iter().zip(courses) {
        for (second, moment) in course.moments.iter().enumerate() {
            let Moment { demand, wanted, ready, starting, waiting, p99 } = moment;
            let p99 = p99.map_or_else(String::new, |p99| format!("{:.3}", p99.get()));
            let since = i64::try_from(second).unwrap_or(i64::MAX) - i64::from(BEGINS);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{},\"{}\",{seed},{since},{demand:.1},{wanted},{starting},{ready},{waiting},{p99}",
                boot.get(),
                who.name()
            );
        }
    }
    text
}

/// For each start-up the replicas that are ready, and the p99.
fn figure(base: &Scenario, boots: &[Seconds], courses: &[&Course]) -> Canvas {
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
        let replicas = (0.0, 1.05 * (most.unwrap_or(1) as f64).max(for_the_height(base)));
        let across = |places| Axis { numbers: (-60.0, f64::from(ENDS - BEGINS)), places, root: false };
        let (left, right) = (across((86.0, 590.0)), across((680.0, 1176.0)));
        let ready = Axis { numbers: replicas, places: (bottom, top), root: false };
        let latency = Axis { numbers: (0.0, 2.0), places: (bottom, top), root: false };
        frame(&mut canvas, &left, &ready, &format!("ready, start-up {} s", boot.get()));
        frame(&mut canvas, &right, &latency, "p99, s (2 is 2 or more)");
        canvas.line(
            (680.0, latency.place(base.law.target.get())),
            (1176.0, latency.place(base.law.target.get())),
            colour::SOFT,
            1.2,
        );
        let promised = format!("{} ms promised", 1000.0 * base.law.target.get());
        canvas.sized(
            (1174.0, latency.place(base.law.target.get()) - 5.0),
            Anchor::End,
            (11.0, false),
            colour::SOFT,
            &promised,
        );
        let needed = (0..ENDS).map(|second| (since(second), ready.place(demand(second) / base.law.capacity.get())));
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
    use trimtab_sim::sight::Outage;

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

    /// What is typed for a surge with pods that take 30 s.
    fn base() -> Scenario {
        Scenario { bounds: Bounds::new(Replicas(1), MOST).unwrap(), ramp: None, ..Scenario::benchmark(1) }
    }

    fn at_30_seconds(base: &Scenario) -> Scenario {
        scenario(base, &settings(), Seconds::whole(30), base.bounds.min(), 1)
    }

    #[test]
    fn a_percentile_stands_until_the_next_one() {
        let (mut known, scenario) = (Vec::new(), at_30_seconds(&base()));
        let mut watch = |look: &Look| {
            known.push(look.snapshot.latency.fresh().is_some());
            look.snapshot.fleet.desired
        };
        course(&mut watch, &scenario, &surge(&scenario, 300));
        // The first half-minute is seen 15 s after its end, at the ninth look.
        assert_eq!(known.iter().position(|known| *known), Some(8));
        assert!(known[8..].iter().all(|known| *known), "{known:?}");
    }

    #[test]
    fn what_the_metrics_do_they_do_in_a_surge_too() {
        let sizes = |change: &dyn Fn(&mut Scenario)| {
            let mut base = base();
            change(&mut base);
            let course = face(Who::Keda, &at_30_seconds(&base), BEGINS + 120);
            course.moments.iter().map(|moment| moment.wanted).collect::<Vec<_>>()
        };
        let plain = sizes(&|_| {});
        assert!(plain.last() > Some(&100), "{:?}", plain.last());
        assert!(sizes(&|it| it.sight.missing = Ratio::ONE).iter().all(|wanted| *wanted == 15));
        let outage = Some(Outage { begins: Seconds::whole(BEGINS), lasts: Seconds::whole(90) });
        let dark = sizes(&|it| it.sight.outage = outage);
        assert!(dark[..690].iter().all(|wanted| *wanted <= 15) && dark.last() > Some(&100), "{:?}", dark.last());
        assert_ne!(sizes(&|it| it.sight.zeros = Ratio::percent(20)), plain);
        assert_ne!(sizes(&|it| it.sight.resets = Ratio::percent(20)), plain);
        let ramped = sizes(&|it| it.ramp = Some(4));
        assert!(ramped.windows(31).all(|within| within[30] <= within[0] + 4), "{:?}", ramped.last());
    }

    #[test]
    fn help_beyond_the_room_of_the_nodes_waits_for_them() {
        let course = face(Who::Keda, &at_30_seconds(&base()), BEGINS + 200);
        let ready = |after: u32| course.moments[(BEGINS + after) as usize].ready;
        assert!(ready(45) < 20 && ready(150) == 60 && ready(199) > 60, "{} {} {}", ready(45), ready(150), ready(199));
    }
}

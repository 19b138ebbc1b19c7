//! The demo with real requests: three fleets of the reference service on this machine's loopback, the load generator's open loop on all of
//! them at the same moments, their metrics scraped, and the contestants deciding in real time.
//!
//! A day lasts five minutes, so that waiting times are a tenth of common ones for everybody: starting a replica, stabilization, the HPA's
//! sync. Request times are what they are.

mod deployment;
mod scrape;
mod seat;

use super::day::{Day, REAL_DAY, Span, Trouble};
use super::rival::{On, Pace, Rival, Seen};
use super::scene::{Burden, CONTESTANTS, Form, Happened, Ledger, Moment, Scene, Side};
use crate::clock::{Clock, Stopwatch};
use crate::inbox::Inbox;
use crate::world::World;
use anyhow::Context;
use deployment::Deployment;
use scrape::Scraper;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;
use trimtab_core::unit::{Seconds, Timestamp};
use trimtab_load::{End, Ended};

/// What the objective counts: the shortest window that a policy may name.
const WINDOW: Seconds = Seconds::whole(10);
/// Between two moments of the course.
const STEP: Duration = Duration::from_secs(2);
/// A percentile is over so many of them: a window.
const STEPS: usize = 5;
/// The objective.
const TARGET: Duration = Duration::from_millis(200);
/// Whoever got no answer waited for at least so long, seconds.
const NEVER: f64 = 5.0;
/// How often others look whether it is time for them to look.
const LOOK: Duration = Duration::from_millis(250);
/// Open files: each connection of a process with itself is two.
const FILES: u64 = 8_192;

/// A demo of real requests.
#[derive(Debug)]
pub(crate) struct Real {
    clock: Clock,
    /// Its course: time in which this process is stopped is none of it, and is not caught up with.
    course: Arc<Stopwatch>,
    /// What of it had passed when the fleets were ready.
    begun: Duration,
    begins: Timestamp,
    /// How long it lasts where nobody ends it.
    pub(crate) lasts: Seconds,
    book: Mutex<Book>,
    deployments: [Arc<Deployment>; 3],
}

/// What has happened so far.
#[derive(Debug)]
struct Book {
    seed: u64,
    day: Day,
    at: Timestamp,
    moments: Vec<Moment>,
    happened: Vec<Happened>,
    graded: [Vec<Graded>; 3],
    latencies: [VecDeque<Vec<f64>>; 3],
    hours: [f64; 3],
    arrived: u64,
    late: Late,
}

/// The requests of a window.
#[derive(Clone, Copy, Debug, Default)]
struct Graded {
    sent: u64,
    ended: u64,
    /// Slower than the objective, or not answered.
    slow: u64,
}

/// How late requests were sent: a count for each millisecond.
#[derive(Debug)]
struct Late {
    counts: Vec<u64>,
    most: f64,
}

impl Late {
    /// What is later counts as this, in milliseconds.
    const LATEST: usize = 2_000;

    fn new() -> Self {
        Self { counts: vec![0; Self::LATEST + 1], most: 0.0 }
    }

    fn add(&mut self, late: Duration) {
        let place = usize::try_from(late.as_millis()).unwrap_or(Self::LATEST).min(Self::LATEST);
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.most = self.most.max(late.as_secs_f64());
    }

    /// 99 of 100 were less late than this, seconds.
    fn p99(&self) -> f64 {
        let all: u64 = self.counts.iter().sum();
        let mut seen = 0;
        for (count, end) in self.counts.iter().zip(1_u32..) {
            seen += count;
            if seen * 100 >= all * 99 {
                return f64::from(end) / 1000.0;
            }
        }
        0.0
    }
}

impl Real {
    /// Starts the fleets.
    ///
    /// # Errors
    /// Where this machine gives no ports.
    pub(crate) async fn start(seed: u64, lasts: Seconds) -> anyhow::Result<Arc<Self>> {
        raise_file_limit();
        let course = Stopwatch::start();
        let clock = Clock::of(Arc::clone(&course));
        let why = "failed to start a replica on this machine's loopback; --simulated needs none";
        let start = async || Deployment::start(seed, clock.clone()).await.context(why);
        let deployments = [start().await?, start().await?, start().await?];
        let (begun, begins) = (course.passed(), clock.now());
        let book = Book::new(seed, begins);
        let lasts = lasts.min(REAL_DAY);
        Ok(Arc::new(Self { clock, course, begun, begins, lasts, book: Mutex::new(book), deployments }))
    }

    /// What a loop senses through and acts on that scales the first of them.
    pub(crate) fn seat(self: &Arc<Self>, inbox: Inbox) -> Box<dyn World> {
        Box::new(seat::Seat { real: Arc::clone(self), inbox })
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Whoever panicked left counts that lack at most one request.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ours(&self) -> &Arc<Deployment> {
        let [ours, ..] = &self.deployments;
        ours
    }

    fn is_dark(&self) -> bool {
        self.book().day.is(Trouble::Blackout, self.now())
    }

    fn note(&self, happened: Happened) {
        self.book().happened.push(happened);
    }

    /// Puts the load on, and lets everybody but trimtab act; all ends when what is returned is dropped.
    pub(crate) fn play(self: &Arc<Self>) -> Vec<AbortOnDropHandle<()>> {
        let tasks = [
            tokio::spawn(Arc::clone(self).load()),
            tokio::spawn(Arc::clone(self).scrape()),
            tokio::spawn(Arc::clone(self).look()),
            tokio::spawn(Arc::clone(self).write_down()),
        ];
        tasks.into_iter().map(AbortOnDropHandle::new).collect()
    }

    /// Resolves when the day is over.
    pub(crate) async fn over(&self) {
        self.course.until(self.begun + Duration::from_secs_f64(self.lasts.get())).await;
    }

    // === what is done beside each other ===

    /// Each request goes to all three fleets at the same moment.
    async fn load(self: Arc<Self>) {
        let seed = self.book().seed;
        let rate = |due: Duration| {
            let since = Seconds::new(due.as_secs_f64()).filter(|since| *since < self.lasts)?;
            Some(self.book().day.rate(self.begins.after(since)).get())
        };
        let begun = self.course.passed();
        trimtab_load::arrivals(
            seed,
            || self.course.began() + begun,
            rate,
            |meant, _, arrives| {
                if arrives {
                    self.book().send(meant.due);
                    for (place, fleet) in self.deployments.iter().enumerate() {
                        let (load, real) = (Arc::clone(&fleet.load), Arc::clone(&self));
                        let stood = self.course.stood();
                        tokio::spawn(async move {
                            let ended = load.ask(meant).await;
                            let in_one_go = real.course.stood() == stood;
                            real.book().end(place, &ended, in_one_go);
                        });
                    }
                }
            },
        )
        .await;
    }

    async fn scrape(self: Arc<Self>) {
        let scraper = Scraper::new();
        let mut turns = tokio::time::interval(scrape::EVERY);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stood = Duration::ZERO;
        loop {
            turns.tick().await;
            let until_now = self.course.stood();
            if until_now > stood {
                self.deployments.iter().for_each(|fleet| fleet.forget());
                self.note(Happened {
                    at: self.now(),
                    who: "world",
                    what: stood_still(until_now.saturating_sub(stood)),
                });
                stood = until_now;
            }
            let dark = self.is_dark();
            let [ours, hpa, keda] = &self.deployments;
            tokio::join!(ours.scrape(&scraper, dark), hpa.scrape(&scraper, dark), keda.scrape(&scraper, dark));
        }
    }

    /// Lets the others look, each when it is time for it.
    async fn look(self: Arc<Self>) {
        let mut rivals = [On::Cpu, On::Rate].map(|on| Rival::new(on, Pace::tenth()));
        let mut turns = tokio::time::interval(LOOK);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let (at, dark) = (self.now(), self.is_dark());
            let [_, others @ ..] = &self.deployments;
            for ((rival, fleet), who) in rivals.iter_mut().zip(others).zip([CONTESTANTS[1], CONTESTANTS[2]]) {
                let shown = fleet.shown();
                let rate = fleet.measured().filter(|_| !dark).map(|measured| measured.rate);
                let cpu = fleet.scraped().cpu();
                let wanted = trimtab_core::unit::Replicas(shown.wanted);
                let seen = Seen { wanted, replicas: shown.replicas, cpu, rate };
                if let Some(did) = rival.look(&seen, at) {
                    fleet.scale(did.to);
                    self.note(Happened { at, who, what: did.because });
                }
            }
        }
    }

    /// Writes each step of the course down, and lets begin and end what goes wrong.
    async fn write_down(self: Arc<Self>) {
        let mut before = self.begins;
        for step in 1_u32.. {
            self.course.until(self.begun + STEP * step).await;
            let at = self.begins.after(Seconds::new((STEP * step).as_secs_f64()).unwrap_or_default());
            for fleet in &self.deployments {
                // One that could not be started is tried again.
                fleet.reconcile();
                if let Some(trouble) = fleet.trouble() {
                    self.note(Happened { at, who: "world", what: trouble });
                }
            }
            let sides = [0, 1, 2].map(|place| self.side(place));
            let mut book = self.book();
            book.step(at, sides);
            for (what, begins) in book.day.turns(before, at).collect::<Vec<_>>() {
                self.turn(&mut book, at, what, begins);
            }
            before = at;
        }
    }

    fn side(&self, place: usize) -> Side {
        let Some(fleet) = self.deployments.get(place) else {
            return Side { wanted: 0, ready: 0, waiting: 0, p99: None, hours: 0.0 };
        };
        let shown = fleet.shown();
        let ready = shown.replicas.iter().filter(|replica| replica.ready.is_some()).count();
        let hours = shown.replicas.len() as f64 * STEP.as_secs_f64() / 3600.0;
        Side {
            wanted: shown.wanted,
            ready: u32::try_from(ready).unwrap_or(u32::MAX),
            waiting: fleet.scraped().waiting(),
            p99: None,
            hours,
        }
    }

    fn turn(&self, book: &mut Book, at: Timestamp, what: Trouble, begins: bool) {
        for fleet in &self.deployments {
            match what {
                Trouble::SlowDatabase => fleet.make_database_slow(begins),
                Trouble::SlowStart => fleet.make_starts_slow(begins),
                Trouble::FlashCrowd | Trouble::Blackout => {}
            }
        }
        let what = format!("{what} {}", if begins { "begins" } else { "is over" });
        book.happened.push(Happened { at, who: "world", what });
    }

    // === buttons ===

    /// A replica of everybody's is lost.
    pub(crate) fn kill(&self) {
        self.deployments.iter().for_each(Deployment::kill);
        self.note(Happened { at: self.now(), who: "world", what: "a replica of everybody's is lost".into() });
    }

    /// Something goes wrong for everybody from now on; it is told with the next step.
    pub(crate) fn strike(&self, what: Trouble) {
        let at = self.now();
        self.book().day.strike(what, at);
    }

    // === what is shown ===

    /// Reads what is to be shown.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Scene<'_>) -> T) -> T {
        let changes = self.deployments.each_ref().map(|fleet| fleet.changes());
        let now = self.now();
        let book = self.book();
        let ledgers = [0, 1, 2].map(|place| book.ledger(place, self.begins, now, changes));
        let spans: &[Span] = &book.day.spans;
        read(&Scene {
            form: Form::Real,
            seed: book.seed,
            begins: self.begins,
            at: now,
            lasts: self.lasts,
            window: WINDOW,
            step: Seconds::new(STEP.as_secs_f64()).unwrap_or_default(),
            moments: &book.moments,
            happened: &book.happened,
            spans,
            ledgers,
            burden: Some(self.burden(&book)),
        })
    }

    fn burden(&self, book: &Book) -> Burden {
        let cores = processor_time().map(|time| time.as_secs_f64() / self.course.passed().as_secs_f64().max(1.0));
        let of = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Burden { late_p99: book.late.p99(), late_most: book.late.most, cores, of }
    }
}

impl Book {
    fn new(seed: u64, begins: Timestamp) -> Self {
        Self {
            seed,
            day: Day::real(seed, begins),
            at: begins,
            moments: Vec::new(),
            happened: Vec::new(),
            graded: <[Vec<Graded>; 3]>::default(),
            latencies: [(); 3].map(|()| VecDeque::from([Vec::new()])),
            hours: [0.0; 3],
            arrived: 0,
            late: Late::new(),
        }
    }

    fn window(due: Duration) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "windows of five minutes")]
        let window = (due.as_secs_f64() / WINDOW.get()) as usize;
        window
    }

    fn graded(&mut self, place: usize, due: Duration) -> Option<&mut Graded> {
        let window = Self::window(due);
        let graded = self.graded.get_mut(place)?;
        if graded.len() <= window {
            graded.resize(window + 1, Graded::default());
        }
        graded.get_mut(window)
    }

    /// A request is sent to everybody.
    fn send(&mut self, due: Duration) {
        self.arrived += 1;
        for place in 0..CONTESTANTS.len() {
            if let Some(graded) = self.graded(place, due) {
                graded.sent += 1;
            }
        }
    }

    /// One of them has ended; how long it took says nothing where time stood still meanwhile.
    fn end(&mut self, place: usize, ended: &Ended, in_one_go: bool) {
        let served = ended.end == End::Served;
        if let Some(graded) = self.graded(place, ended.due) {
            graded.ended += 1;
            graded.slow += u64::from(in_one_go && (!served || ended.latency > TARGET));
        }
        if !in_one_go {
            return;
        }
        self.late.add(ended.late);
        let latency = if served { ended.latency.as_secs_f64() } else { NEVER };
        if let Some(now) = self.latencies.get_mut(place).and_then(VecDeque::back_mut) {
            now.push(latency);
        }
    }

    /// A step of the course has ended; `sides` hold what this step has cost.
    fn step(&mut self, at: Timestamp, sides: [Side; 3]) {
        self.at = at;
        let mut sides = sides;
        for ((side, hours), latencies) in sides.iter_mut().zip(&mut self.hours).zip(&mut self.latencies) {
            *hours += side.hours;
            side.hours = *hours;
            side.p99 = p99(latencies);
            latencies.push_back(Vec::new());
            if latencies.len() > STEPS {
                latencies.pop_front();
            }
        }
        let rate = self.arrived as f64 / STEP.as_secs_f64();
        self.arrived = 0;
        self.moments.push(Moment { at, rate, sides });
    }

    fn ledger(&self, place: usize, begins: Timestamp, now: Timestamp, changes: [(u64, u64); 3]) -> Ledger {
        let (changes, churn) = changes.get(place).copied().unwrap_or_default();
        let empty = Vec::new();
        let graded = self.graded.get(place).unwrap_or(&empty);
        let windows = graded.iter().zip(1_u32..).map(|(graded, ends)| {
            // What was sent so long ago and has not ended is slow already.
            let ended =
                begins.after(Seconds::new(WINDOW.get() * f64::from(ends) + TARGET.as_secs_f64()).unwrap_or_default());
            let open = if now > ended { graded.sent.saturating_sub(graded.ended) } else { 0 };
            (graded.sent, graded.slow + open > graded.sent / 100)
        });
        let hours = self.hours.get(place).copied().unwrap_or_default();
        Ledger { hours, changes, churn, windows: windows.collect() }
    }
}

fn stood_still(stood: Duration) -> String {
    format!(
        "this process stood still for {} s: the course goes on where it was, nothing is caught up with",
        stood.as_secs()
    )
}

/// The 99th percentile of what ended in the last steps.
fn p99(latencies: &VecDeque<Vec<f64>>) -> Option<f64> {
    let mut all: Vec<f64> = latencies.iter().flatten().copied().collect();
    let rank = all.len().checked_sub(1)? * 99 / 100;
    let (_, p99, _) = all.select_nth_unstable_by(rank, f64::total_cmp);
    Some(*p99)
}

/// Processor time that this process has used, where the system says (proc(5): in hundredths of a second).
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the process stands in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
}

/// Lets this process open as many files as it may, up to what it could need: a shell often gives 1,024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(FILES, |maximum| maximum.min(FILES));
    if current.is_some_and(|current| current < wanted) {
        // Where it may not, requests that find no connection are lost, and count as such.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_was_not_answered_is_slow_and_one_under_way_is_not_yet() {
        let begins = Timestamp(1_000);
        let mut book = Book::new(1, begins);
        let due = Duration::from_secs(3);
        book.send(due);
        book.send(due);
        let ended = |end, milliseconds| Ended {
            due,
            late: Duration::from_millis(2),
            latency: Duration::from_millis(milliseconds),
            end,
        };
        book.end(0, &ended(End::Served, 50), true);
        book.end(1, &ended(End::Served, 250), true);
        book.end(2, &ended(End::Refused, 1), true);
        let missed = |now: u32, place| {
            let now = begins.after(Seconds::whole(now));
            book.ledger(place, begins, now, [(0, 0); 3]).windows
        };
        assert_eq!([0, 1, 2].map(|place| missed(5, place)), [vec![(2, false)], vec![(2, true)], vec![(2, true)]]);
        assert_eq!(missed(11, 0), [(2, true)], "the second one is still not answered");
        assert!((book.late.p99() - 0.003).abs() < 1e-9, "{}", book.late.p99());
        book.end(0, &ended(End::TimedOut, 60_000), false);
        let windows = book.ledger(0, begins, begins.after(Seconds::whole(11)), [(0, 0); 3]).windows;
        assert_eq!(windows, [(2, false)], "time stood still while it was under way");
        let side = Side { wanted: 1, ready: 1, waiting: 0, p99: None, hours: 0.5 };
        book.step(begins, [side; 3]);
        book.step(begins, [side; 3]);
        let [first, last] = book.moments.as_slice() else { panic!("two steps") };
        assert_eq!((first.sides[0].p99, first.sides[2].p99), (Some(0.05), Some(NEVER)));
        assert!((last.sides[0].hours - 1.0).abs() < 1e-9 && (first.rate - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_system_says_how_long_this_process_has_run() {
        assert!(processor_time().is_some_and(|time| time < Duration::from_hours(1)));
    }
}

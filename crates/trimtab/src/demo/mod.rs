//! `trimtab demo`: a day of one service in a few minutes, with nothing installed: trimtab, the HPA and KEDA on the same demand.
//!
//! trimtab decides through the live loop itself (`Loop`), with its policy, its journal and its report; what it senses and acts on is a fleet
//! of replicas that answer real requests on loopback (`real`), or a simulated one (`fleet`) in virtual time. In virtual time a tick is: time
//! passes for everybody, the loop hears what changed, reads its signals and decides, and what it decided is done; the same seed gives the
//! same bytes, whatever the speed.

mod day;
mod fleet;
mod plant;
mod real;
mod rival;
mod scene;
mod show;
mod summary;

use crate::agent;
use crate::boot::BootClock;
use crate::cli;
use crate::clock::Clock;
use crate::commands::Printed;
use crate::config::Mode;
use crate::inbox::{Event, Inbox};
use crate::metrics::Counters;
use crate::owner::Identity;
use crate::policies::Policies;
use crate::progress::Progress;
use crate::record::Recorder;
use crate::run::{Loop, Parts};
use crate::serve::{Shown, Stage};
use crate::world::World;
use anyhow::Context;
use day::{BEGINS, DAY, REAL_DAY};
use fleet::Fleet;
use futures::future::BoxFuture;
use plant::TICK;
use real::Real;
use scene::Scene;
use show::{Board, Played};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use summary::Closing;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use trimtab_claim::{AgentId, Incarnation};
use trimtab_core::unit::{Seconds, Timestamp};
use trimtab_journal::{Bound, Journal};

/// The demo's policies: the files that a team would write.
const POLICY: &str = include_str!("policy.yaml");
const REAL_POLICY: &str = include_str!("real/policy.yaml");
/// What they are called.
const POLICY_NAME: &str = "demo policy.yaml";
/// How often the signals of real replicas are read: as in a cluster.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often it is looked whether there is something to tell.
const SHOWN: Duration = Duration::from_millis(200);
/// How long the end waits for answers and writes that are under way.
const LAST: Duration = Duration::from_secs(1);
/// A tick that is so far behind is not caught up with: a laptop that slept does not race through its day.
const BEHIND: Duration = Duration::from_millis(500);

/// A demo that can be stepped.
struct Demo {
    fleet: Fleet,
    agent: Loop,
    until: Timestamp,
}

/// A loop that decides about a demo's fleet.
fn seat(
    world: Box<dyn World>,
    (clock, interval): (Clock, Duration),
    (journal, inbox): (&Path, Inbox),
    stage: Stage,
) -> anyhow::Result<(Loop, Shown)> {
    let counters = Counters::default();
    let opened = Journal::open(journal, Bound::mebibytes(256)).context("failed to open the demo's journal")?;
    let recorder = Recorder::start(opened.journal, counters.clone(), inbox)?;
    // Time that is simulated can wait for the disk.
    let recorder = if stage == Stage::Simulated { recorder.waiting() } else { recorder };
    let ((report, sights, turned, ready), shown) = agent::channels("demo", &counters, journal, stage);
    let parts = Parts {
        agent: Identity { agent: AgentId::new("demo").context("a name")?, run: Incarnation(0), name: "demo".into() },
        boot: BootClock::start(),
        world,
        mode: Mode::Own,
        interval,
        scopes: vec![None],
        recorder,
        counters,
        clock,
        report,
        sights,
        turned,
        ready,
    };
    let mut agent = Loop::new(parts, Policies::of(Some(POLICY_NAME.into()), &[]));
    let policy = if stage == Stage::Simulated { POLICY } else { REAL_POLICY };
    agent.apply(Event::PolicyFile(Ok(policy.into())));
    Ok((agent, shown))
}

impl Demo {
    /// A demo before its first tick, and what an agent's endpoints show of it.
    fn new(seed: u64, lasts: Seconds, journal: &Path) -> anyhow::Result<(Self, Shown)> {
        let clock = Arc::new(AtomicI64::new(0));
        let fleet = Fleet::new(seed, Arc::clone(&clock));
        // Nobody listens: the journal's troubles are returned by each record.
        let (inbox, _) = Inbox::new();
        let pace = (Clock::moved_by(clock), Duration::from_secs_f64(TICK.get()));
        let (agent, shown) = seat(Box::new(fleet.clone()), pace, (journal, inbox), Stage::Simulated)?;
        let mut demo = Self { fleet, agent, until: BEGINS.after(lasts) };
        demo.deliver();
        Ok((demo, shown))
    }

    /// Hands the loop what has happened, until nothing more follows from it.
    fn deliver(&mut self) {
        while let Some(event) = self.fleet.next_event() {
            self.agent.apply(event);
        }
    }

    /// One tick; `false` when the day is over.
    fn step(&mut self) -> bool {
        self.fleet.stage().advance();
        self.deliver();
        self.agent.begin_round();
        self.deliver();
        self.fleet.stage().at < self.until
    }

    /// Ends it, wherever it is.
    fn end(self, as_file: bool) -> Closing {
        self.agent.end();
        let mut stage = self.fleet.stage();
        stage.plants.iter_mut().for_each(plant::Plant::end);
        Closing::of(&stage.scene(), as_file)
    }
}

/// Runs the demo until its day is over or somebody ends it, and says what came of it.
#[must_use]
pub fn demo(settings: cli::Demo) -> BoxFuture<'static, anyhow::Result<Printed>> {
    Box::pin(async move {
        // A journal that nobody named ends with the demo.
        let (journal, _directory) = if let Some(named) = &settings.journal {
            (named.clone(), None)
        } else {
            let directory = tempfile::Builder::new().prefix("trimtab-demo-").tempdir();
            let directory = directory.context("failed to make a temporary directory for the demo's journal")?;
            (directory.path().join("journal.db"), Some(directory))
        };
        let (ended, Closing { summary, report }) =
            if settings.simulated { simulated(&settings, &journal).await? } else { real(&settings, &journal).await? };
        if let (Some(file), Some(report)) = (&settings.html, report) {
            std::fs::write(file, report).with_context(|| format!("failed to write {}", file.display()))?;
        }
        let text =
            if settings.json { format!("{}\n", serde_json::to_string_pretty(&summary)?) } else { summary.text() };
        Ok(Printed { text, code: if ended == Ended::Interrupted { 130 } else { 0 } })
    })
}

/// A day of virtual time.
async fn simulated(settings: &cli::Demo, journal: &Path) -> anyhow::Result<(Ended, Closing)> {
    let (mut demo, shown) = Demo::new(settings.seed, settings.lasts(DAY), journal)?;
    let speed = Arc::new(AtomicU64::new(settings.speed.unwrap_or(cli::Speed::DAY_IN_FIVE_MINUTES).0.to_bits()));
    let played = Played::Simulated { fleet: demo.fleet.clone(), speed: Arc::clone(&speed) };
    // Whoever still looks at the page when it is dropped keeps nothing from ending.
    let _server = serve(settings, Board::new(played, shown, settings.listen)).await?;
    let progress = settings.json.then(|| progress(demo.until.since(BEGINS)));
    let ended = drive(&mut demo, &speed, progress.as_ref()).await;
    drop(progress);
    let as_file = settings.html.is_some();
    let closing = tokio::task::spawn_blocking(move || demo.end(as_file)).await.context("the demo's end failed")?;
    Ok((ended, closing))
}

/// A demo of real requests, under way.
struct Running {
    real: Arc<Real>,
    /// What makes it go on.
    tasks: Vec<AbortOnDropHandle<()>>,
    /// trimtab's loop, and where it is told to end.
    agent: tokio::task::JoinHandle<()>,
    inbox: Inbox,
    shown: Shown,
}

impl Running {
    async fn begin(seed: u64, lasts: Seconds, journal: &Path) -> anyhow::Result<Self> {
        let (inbox, events) = Inbox::new();
        let real = Real::start(seed, lasts).await?;
        let pace = (real.clock(), INTERVAL);
        let (agent, shown) = seat(real.seat(inbox.clone()), pace, (journal, inbox.clone()), Stage::Loopback)?;
        let agent = tokio::spawn(agent.run(events));
        Ok(Self { tasks: real.play(), real, agent, inbox, shown })
    }

    /// Ends it, wherever it is.
    async fn end(self, as_file: bool) -> Closing {
        let closing = self.real.read(|scene| Closing::of(scene, as_file));
        drop(self.tasks);
        self.inbox.send(Event::Stop).await;
        drop(tokio::time::timeout(LAST, self.agent).await);
        closing
    }
}

/// Five minutes of real requests.
async fn real(settings: &cli::Demo, journal: &Path) -> anyhow::Result<(Ended, Closing)> {
    let lasts = Seconds::new(settings.lasts(DAY).get() / DAY.get() * REAL_DAY.get()).unwrap_or(REAL_DAY);
    let running = Running::begin(settings.seed, lasts, journal).await?;
    let played = Played::Real(Arc::clone(&running.real));
    let _server = serve(settings, Board::new(played.clone(), running.shown.clone(), settings.listen)).await?;
    let progress = settings.json.then(|| progress(lasts));
    let ended = tokio::select! {
        _ = tokio::signal::ctrl_c() => Ended::Interrupted,
        () = running.real.over() => Ended::DayOver,
        () = tell_on(&played, progress.as_ref()) => Ended::DayOver,
    };
    drop(progress);
    if ended == Ended::DayOver {
        // What was sent last is answered first.
        tokio::time::sleep(LAST).await;
    }
    Ok((ended, running.end(settings.html.is_some()).await))
}

/// Tells what happens, for as long as somebody listens.
async fn tell_on(played: &Played, progress: Option<&Progress>) {
    let mut told = 0;
    loop {
        tokio::time::sleep(SHOWN).await;
        told = played.read(|scene| {
            if let Some(progress) = progress {
                progress.to(ticks(scene.at.since(scene.begins)));
                return told;
            }
            tell(scene, told)
        });
    }
}

/// Serves the page, where there is to be one, until what is returned is dropped.
async fn serve(settings: &cli::Demo, board: Board) -> anyhow::Result<Option<AbortOnDropHandle<std::io::Result<()>>>> {
    if settings.headless {
        return Ok(None);
    }
    let listener = tokio::net::TcpListener::bind(settings.listen).await.with_context(|| {
        format!("failed to listen on {}: is another trimtab running? see --listen, or --headless", settings.listen)
    })?;
    let page = format!("http://{}/demo", listener.local_addr()?);
    // Whoever reads us may stop reading.
    drop(writeln!(anstream::stderr(), "page  {page}   Ctrl-C ends the demo with its summary"));
    if settings.open || !settings.no_open && has_desktop() {
        // Where nothing opens it, the address stands above.
        let opener =
            std::process::Command::new("xdg-open").arg(&page).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        // Somebody waits for it, so that it does not stay behind as a dead process.
        drop(opener.map(|mut opener| std::thread::spawn(move || opener.wait())));
    }
    Ok(Some(AbortOnDropHandle::new(tokio::spawn(axum::serve(listener, show::app(board)).into_future()))))
}

/// Whether somebody sits at a terminal on a desktop.
fn has_desktop() -> bool {
    let named = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && (named("WAYLAND_DISPLAY") || named("DISPLAY"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    DayOver,
    Interrupted,
}

/// Steps the demo at `speed` seconds of its day a second; infinite: as fast as it goes.
async fn drive(demo: &mut Demo, speed: &AtomicU64, progress: Option<&Progress>) -> Ended {
    let mut told = 0;
    let mut next = Instant::now();
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let speed = f64::from_bits(speed.load(Ordering::Relaxed));
        let paused = speed <= 0.0;
        if paused {
            next = Instant::now() + Duration::from_millis(100);
        } else if speed.is_finite() {
            next += Duration::from_secs_f64(TICK.get() / speed);
            next = next.max(Instant::now().checked_sub(BEHIND).unwrap_or(next));
        } else {
            next = Instant::now();
        }
        tokio::select! {
            biased;
            _ = &mut interrupted => return Ended::Interrupted,
            () = tokio::time::sleep_until(next) => {}
        }
        if paused {
            continue;
        }
        let more = demo.step();
        match progress {
            Some(progress) => progress.step(),
            None => told = tell(&demo.fleet.stage().scene(), told),
        }
        if !more {
            return Ended::DayOver;
        }
        // Signals and the page get their turn.
        tokio::task::yield_now().await;
    }
}

/// The ticks in a span.
fn ticks(span: Seconds) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a day has 17280 ticks")]
    let ticks = (span.get() / TICK.get()) as u64;
    ticks
}

/// The bar of a demo that prints nothing but JSON: what happens is printed otherwise, and moves by itself.
fn progress(lasts: Seconds) -> Progress {
    Progress::of(ticks(lasts), "the day")
}

/// Prints what has happened since, on standard error; how much was told.
fn tell(scene: &Scene<'_>, told: usize) -> usize {
    let mut error = anstream::stderr();
    for event in scene.happened.iter().skip(told) {
        // Whoever reads us may stop reading.
        drop(writeln!(error, "{}  {:<8}{}", scene.clock(event.at), event.who, event.what));
    }
    scene.happened.len()
}

#[cfg(test)]
mod tests {
    use super::day::Trouble;
    use super::*;
    use crate::report::Report;
    use trimtab_core::limit::Limit;
    use trimtab_core::snapshot::Reading;

    /// The summary of so many minutes from midnight; `strike` is a button that is pressed after five of them.
    fn play(seed: u64, minutes: u32, strike: Option<Trouble>) -> (String, Vec<String>) {
        let kept = tempfile::tempdir().unwrap();
        let journal = kept.path().join("journal.db");
        let (mut demo, _shown) = Demo::new(seed, Seconds::whole(60 * minutes), &journal).unwrap();
        let mut ticks = 0;
        while demo.step() {
            ticks += 1;
            if let Some(trouble) = strike.filter(|_| ticks == 60) {
                demo.fleet.stage().strike(trouble);
            }
        }
        let told =
            demo.fleet.stage().scene().happened.iter().map(|event| format!("{} {}", event.who, event.what)).collect();
        let summary = demo.end(false).summary;
        let reader = trimtab_journal::Reader::open(&journal).unwrap();
        let replay = trimtab_journal::replay(&reader, &trimtab_journal::Filter::everything()).unwrap();
        assert!(replay.records > 0 && replay.is_clean() && replay.gaps.is_empty(), "{replay}");
        (serde_json::to_string(&summary).unwrap() + &summary.text(), told)
    }

    #[tokio::test]
    async fn the_same_seed_gives_the_same_bytes() {
        let (one, two, other) = (play(7, 30, None), play(7, 30, None), play(8, 30, None));
        assert_eq!(one, two);
        assert_ne!(one.0, other.0);
    }

    #[tokio::test]
    async fn a_flash_crowd_is_followed_by_everybody_and_a_blackout_by_nobody_who_is_blind() {
        let (_, told) = play(1, 30, Some(Trouble::FlashCrowd));
        for who in scene::CONTESTANTS {
            assert!(told.iter().any(|event| event.starts_with(who)), "{who}: {told:?}");
        }
        assert!(told.iter().any(|event| event.starts_with("trimtab ScaleOut")), "{told:?}");
        let (_, told) = play(1, 24, Some(Trouble::Blackout));
        let dark = told.iter().skip_while(|event| !event.contains("metrics lost begins"));
        assert!(!dark.clone().any(|event| event.starts_with("trimtab") || event.starts_with("KEDA")), "{told:?}");
        assert!(dark.count() > 0, "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulated_day_is_not_raced_through_after_time_stood_still() {
        let kept = tempfile::tempdir().unwrap();
        let (mut demo, _shown) = Demo::new(1, DAY, &kept.path().join("journal.db")).unwrap();
        let speed = AtomicU64::new(50.0_f64.to_bits());
        let progress = Progress::hidden();
        // Ten ticks a second.
        let driving = drive(&mut demo, &speed, Some(&progress));
        let standing_still = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let before = progress.done();
            tokio::time::advance(Duration::from_hours(1)).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            (before, progress.done())
        };
        let (before, after) = tokio::select! {
            ended = driving => panic!("{ended:?}"),
            positions = standing_still => positions,
        };
        assert!((25..=31).contains(&before), "{before}");
        assert!(after > before && after - before <= 7, "half a second of it, not an hour: {before} to {after}");
    }

    /// Whether trimtab says that the database, of what it read above its limit, keeps it from more, or that it did not hear of the demand.
    fn held_back(report: &Report) -> bool {
        report.workloads.iter().filter_map(|workload| workload.last.as_ref()).any(|last| {
            let database = last.snapshot.protected.get("postgres").and_then(Reading::fresh);
            last.snapshot.demand.fresh().is_none()
                || last.decision.bites.iter().any(|bite| bite.limit == Limit::Protected("postgres".into()))
                    && last.policy.protect.iter().zip(database).any(|(protection, level)| level > protection.limit)
        })
    }

    /// The report has the summary in it, to the digit.
    fn repeats(report: &str, summary: &summary::Summary) {
        for one in &summary.contestants {
            let row = report.split("<tr data-who=\"").find(|row| row.starts_with(one.name)).unwrap();
            for cell in one.cells(scene::Form::Real) {
                assert!(row.contains(&format!(">{cell}</td>")), "{cell} in {row}");
                assert!(summary.text().contains(&cell), "{cell} in {}", summary.text());
            }
        }
        assert!(
            report.contains(&summary.text().replace('>', "&gt;")),
            "the report has the summary in it, to the digit"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn real_requests_are_answered_and_scaled_out_for_and_a_lost_replica_comes_back() {
        let kept = tempfile::tempdir().unwrap();
        let journal = kept.path().join("journal.db");
        let running = Running::begin(1, Seconds::whole(300), &journal).await.unwrap();
        let real = Arc::clone(&running.real);
        let until = async |what: &str, is: &dyn Fn(&Scene<'_>) -> bool| {
            let holds = async {
                while !real.read(is) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(Duration::from_mins(4), holds).await.unwrap_or_else(|_| {
                panic!("not within four minutes: {what}; {:?}", real.read(|scene| scene.happened.to_vec()))
            });
        };
        until("requests are answered", &|scene| {
            scene
                .moments
                .last()
                .is_some_and(|moment| moment.rate > 10.0 && moment.sides.iter().all(|side| side.p99.is_some()))
        })
        .await;
        let mut report = running.shown.report.clone();
        let known = report.wait_for(|report| {
            let last = report.workloads.first().and_then(|workload| workload.last.as_ref());
            last.is_some_and(|last| last.snapshot.demand.fresh().is_some() && last.snapshot.fleet.ready.0 > 0)
        });
        tokio::time::timeout(Duration::from_mins(2), known).await.unwrap().unwrap();
        // A crowd comes: trimtab itself orders more, and they serve.
        let before = real.read(|scene| scene.moments.last().map(|moment| moment.sides[0].wanted)).unwrap();
        let crowds = async {
            loop {
                real.strike(Trouble::FlashCrowd);
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
        };
        // A machine that cannot send in time slows the database down with all else, and nothing is scaled out into that: then trimtab says so, of
        // what it read of the database above its limit, or that it did not hear of the demand. One of the two holds on any machine.
        let report = running.shown.report.clone();
        let answers_the_crowd = |scene: &Scene<'_>| {
            let ours = |event: &scene::Happened| event.who == "trimtab" && event.what.starts_with("ScaleOut");
            let more = scene.moments.iter().any(|moment| moment.sides[0].ready > before);
            let too_slow = scene.burden.is_some_and(|burden| burden.is_too_much());
            scene.happened.iter().any(ours) && more || too_slow && held_back(&report.borrow())
        };
        let ready =
            until("trimtab scales out and what it ordered is ready, or says what keeps it from it", &answers_the_crowd);
        tokio::select! { () = ready => {}, () = crowds => {} }
        real.kill();
        until("the lost one is replaced", &|scene| {
            let lost = scene.happened.iter().rfind(|event| event.what.contains("is lost")).map(|event| event.at);
            let later = scene.moments.iter().filter(|moment| Some(moment.at) > lost);
            later.into_iter().any(|moment| moment.sides.iter().all(|side| side.ready == side.wanted))
        })
        .await;
        let Closing { summary, report } = running.end(true).await;
        let report = report.unwrap();
        repeats(&report, &summary);
        assert!(serde_json::to_string(&summary).unwrap().contains("\"form\":\"real\""));
        assert!(summary.text().contains("real requests") && summary.text().contains("cores in use"));
        // What was decided about real replicas comes out again.
        let reader = trimtab_journal::Reader::open(&journal).unwrap();
        let replay = trimtab_journal::replay(&reader, &trimtab_journal::Filter::everything()).unwrap();
        assert!(replay.records > 0 && replay.is_clean(), "{replay}");
    }
}

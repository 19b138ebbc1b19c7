//! `trimtab demo`: a day of one service in a few minutes, with nothing installed: trimtab, the HPA and KEDA on the same demand.
//!
//! trimtab decides through the live loop itself (`Loop`), with its policy, its journal and its report; what it senses and acts on
//! is a simulated fleet (`fleet`) in virtual time. A tick is: time passes for everybody, the loop hears what changed, reads its signals
//! and decides, and what it decided is done. The same seed gives the same bytes, whatever the speed.

mod day;
mod fleet;
mod plant;
mod rival;
mod show;
mod summary;

use crate::boot::BootClock;
use crate::cli;
use crate::clock::Clock;
use crate::commands::Printed;
use crate::config::Mode;
use crate::inbox::{Event, Inbox};
use crate::metrics::{self, Counters};
use crate::owner::Identity;
use crate::policies::Policies;
use crate::record::Recorder;
use crate::report::Report;
use crate::run::{Loop, Parts};
use crate::serve::Shown;
use anyhow::Context;
use day::{BEGINS, DAY, MIDNIGHT};
use fleet::Fleet;
use futures::future::BoxFuture;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use plant::TICK;
use show::Board;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use summary::Summary;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use trimtab_claim::{AgentId, Incarnation};
use trimtab_core::unit::{Seconds, Timestamp};
use trimtab_journal::{Bound, Journal};

/// The demo's policy: the file that a team would write.
const POLICY: &str = include_str!("policy.yaml");
/// What it is called.
const POLICY_NAME: &str = "demo policy.yaml";
/// A tick that is so far behind is not caught up with: a laptop that slept does not race through its day.
const BEHIND: Duration = Duration::from_millis(500);

/// A demo that can be stepped.
struct Demo {
    fleet: Fleet,
    agent: Loop,
    until: Timestamp,
}

impl Demo {
    /// A demo before its first tick, and what an agent's endpoints show of it.
    fn new(seed: u64, lasts: Seconds, journal: &Path) -> anyhow::Result<(Self, Shown)> {
        let clock = Arc::new(AtomicI64::new(0));
        let fleet = Fleet::new(seed, Arc::clone(&clock));
        let counters = Counters::default();
        // Nobody listens: the journal's troubles are returned by each record.
        let (inbox, _) = Inbox::new();
        let opened = Journal::open(journal, Bound::mebibytes(256)).context("failed to open the demo's journal")?;
        let recorder = Recorder::start(opened.journal, counters.clone(), inbox)?.waiting();
        let (report, reports) = watch::channel(Arc::new(Report::of("demo")));
        let (sights, seen) = watch::channel(Arc::default());
        let (turned, turns) = watch::channel(Instant::now());
        let (ready, readiness) = watch::channel(Err("the first round has not ended yet".to_owned()));
        let shown = Shown {
            registry: Arc::new(metrics::registry(&counters, reports.clone(), seen.clone())),
            report: reports,
            sights: seen,
            turned: turns,
            ready: readiness,
            journal: journal.to_owned(),
            looks: Arc::new(Semaphore::new(2)),
            demo: true,
        };
        let parts = Parts {
            agent: Identity {
                agent: AgentId::new("demo").context("a name")?,
                run: Incarnation(0),
                name: "demo".into(),
            },
            boot: BootClock::start(),
            world: Box::new(fleet.clone()),
            mode: Mode::Own,
            interval: Duration::from_secs_f64(TICK.get()),
            scopes: vec![None],
            recorder,
            counters,
            clock: Clock::moved_by(clock),
            report,
            sights,
            turned,
            ready,
        };
        let mut agent = Loop::new(parts, Policies::of(Some(POLICY_NAME.into()), &[]));
        agent.apply(Event::PolicyFile(Ok(POLICY.into())));
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
    fn end(self) -> Summary {
        self.agent.end();
        let mut stage = self.fleet.stage();
        stage.plants.iter_mut().for_each(plant::Plant::end);
        Summary::of(&stage)
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
        let (mut demo, shown) = Demo::new(settings.seed, settings.lasts(DAY), &journal)?;
        let speed = Arc::new(AtomicU64::new(settings.speed.0.to_bits()));
        let local = settings.listen.ip().is_loopback();
        let board = Board { fleet: demo.fleet.clone(), speed: Arc::clone(&speed), shown, local };
        let server = if settings.headless { None } else { Some(serve(&settings, board).await?) };
        let progress = progress(&demo, settings.json)?;
        let ended = drive(&mut demo, &speed, &progress).await;
        progress.finish_and_clear();
        let fleet = demo.fleet.clone();
        let summary = tokio::task::spawn_blocking(move || demo.end()).await.context("the demo's end failed")?;
        if let Some(file) = &settings.html {
            let report = show::report(&fleet.stage(), &summary);
            std::fs::write(file, report).with_context(|| format!("failed to write {}", file.display()))?;
        }
        // Whoever still looks at the page keeps nothing from ending.
        drop(server);
        let text =
            if settings.json { format!("{}\n", serde_json::to_string_pretty(&summary)?) } else { summary.text() };
        Ok(Printed { text, code: if ended == Ended::Interrupted { 130 } else { 0 } })
    })
}

/// Serves the page until what is returned is dropped.
async fn serve(settings: &cli::Demo, board: Board) -> anyhow::Result<AbortOnDropHandle<std::io::Result<()>>> {
    let listener = tokio::net::TcpListener::bind(settings.listen).await.with_context(|| {
        format!("failed to listen on {}: is another trimtab running? see --listen, or --headless", settings.listen)
    })?;
    let page = format!("http://{}/demo", listener.local_addr()?);
    // Whoever reads us may stop reading.
    drop(writeln!(anstream::stderr(), "page  {page}   Ctrl-C ends the demo with its summary"));
    if settings.open {
        // Where there is no desktop the address stands above.
        drop(std::process::Command::new("xdg-open").arg(&page).stderr(Stdio::null()).spawn());
    }
    Ok(AbortOnDropHandle::new(tokio::spawn(axum::serve(listener, show::app(board)).into_future())))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    DayOver,
    Interrupted,
}

/// Steps the demo at `speed` seconds of its day a second; infinite: as fast as it goes.
async fn drive(demo: &mut Demo, speed: &AtomicU64, progress: &ProgressBar) -> Ended {
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
        told = tell(demo, progress, told);
        if !more {
            return Ended::DayOver;
        }
        // Signals and the page get their turn.
        tokio::task::yield_now().await;
    }
}

/// The bar of a demo that prints nothing but JSON: what happens is printed otherwise, and moves by itself.
fn progress(demo: &Demo, json: bool) -> anyhow::Result<ProgressBar> {
    if !json {
        return Ok(ProgressBar::hidden());
    }
    let lasts = demo.until.since(BEGINS).get() / TICK.get();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a day has 17280 ticks")]
    let progress = ProgressBar::with_draw_target(Some(lasts as u64), ProgressDrawTarget::stderr());
    progress.set_style(ProgressStyle::with_template("{bar:40} {percent} % of the day, {eta} left")?);
    Ok(progress)
}

/// Prints what has happened since, on standard error, or moves the bar; how much was told.
fn tell(demo: &Demo, progress: &ProgressBar, told: usize) -> usize {
    progress.inc(1);
    if progress.length().is_some() {
        return told;
    }
    let stage = demo.fleet.stage();
    let mut error = anstream::stderr();
    for event in stage.happened.iter().skip(told) {
        // Whoever reads us may stop reading.
        drop(writeln!(error, "{}  {:<8}{}", clock(event.at), event.who, event.what));
    }
    stage.happened.len()
}

/// A time of the day: hours, minutes and seconds.
fn clock(at: Timestamp) -> String {
    let seconds = (at.0 - MIDNIGHT.0).div_euclid(1000);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::day::Trouble;
    use super::*;

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
        let told = demo.fleet.stage().happened.iter().map(|event| format!("{} {}", event.who, event.what)).collect();
        let summary = demo.end();
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
        for who in fleet::CONTESTANTS {
            assert!(told.iter().any(|event| event.starts_with(who)), "{who}: {told:?}");
        }
        assert!(told.iter().any(|event| event.starts_with("trimtab ScaleOut")), "{told:?}");
        let (_, told) = play(1, 24, Some(Trouble::Blackout));
        let dark = told.iter().skip_while(|event| !event.contains("metrics lost begins"));
        assert!(!dark.clone().any(|event| event.starts_with("trimtab") || event.starts_with("KEDA")), "{told:?}");
        assert!(dark.count() > 0, "{told:?}");
    }
}

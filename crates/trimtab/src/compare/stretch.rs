//! Stretches: what a journal knows of a workload's past, piece by piece, as an agent answers it and as a course is put together from several.
//!
//! An agent only reads: a piece takes it a second of one core and a megabyte at the most, and says where the next one begins. Whoever compares
//! asks piece by piece, one at a time, every agent that knows the workload, and judges. One moment of each step counts, so that a course has
//! a bounded length, however long it is ago and however many agents recorded it.

use super::{Course, Moment, STARTUP};
use crate::words::chain;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;
use trimtab_core::Policy;
use trimtab_core::unit::{Seconds, Timestamp, Windows};
use trimtab_journal::Reader;

/// The form of an answer.
const SCHEMA: &str = "trimtab.dev/course/v1";
/// Moments of a course: more are thinned by a longer step. A week is one moment every seven seconds.
const MOMENTS: f64 = 100_000.0;
/// No decision is taken more often.
const FINEST: Seconds = Seconds::whole(1);
/// No moment may stand for much longer than this, and be thinned further: what happens in between counts.
const COARSEST: Seconds = Seconds::whole(60);

/// How much one piece may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    moments: usize,
    took: Duration,
}

impl Piece {
    /// What an agent spends on one question.
    pub(crate) const OF_AN_AGENT: Self = Self { moments: 20_000, took: Duration::from_secs(1) };
    /// What a command reads of a file of its own before it says how far it has come.
    pub(crate) const OF_A_FILE: Self = Self { moments: 5_000, took: Duration::from_secs(1) };
}

/// The step of a course over so long.
pub(crate) fn step(over: Duration) -> Seconds {
    let step = Seconds::new((over.as_secs_f64() / MOMENTS).ceil()).unwrap_or(COARSEST);
    step.max(FINEST).min(COARSEST)
}

/// A piece of a workload's course.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// Its form.
    pub schema: String,
    /// Oldest first, one of each step.
    pub moments: Vec<Moment>,
    /// What was wanted at its end.
    pub policy: Option<Policy>,
    /// Whether something else was wanted before.
    pub policy_changed: bool,
    /// Whether a decision was another size than was there: it may have been written.
    pub resized: bool,
    /// From ordering a replica to its being ready, as it was measured last.
    pub startup: Option<Seconds>,
    /// Records that are damaged, and left out.
    pub damaged: u32,
    /// Where the next piece begins; `None` where there is no more.
    pub next: Option<Timestamp>,
}

/// Reads the piece of a course that begins at `from`.
///
/// # Errors
/// Where the journal cannot be read: why.
pub(crate) fn read(
    journal: &Path,
    workload: &str,
    (from, until, step): (Timestamp, Timestamp, Seconds),
    piece: Piece,
) -> Result<Stretch, String> {
    let begun = Instant::now();
    let reader = Reader::open(journal).map_err(|error| chain(&error))?;
    let mut stretch = Stretch { schema: SCHEMA.to_owned(), ..Stretch::default() };
    let mut last: Option<Windows> = None;
    for stored in reader.records(workload, from..=until).map_err(|error| chain(&error))? {
        let stored = match stored {
            Ok(stored) => stored,
            Err(trimtab_journal::ReadError::Damaged { .. }) => {
                stretch.damaged += 1;
                continue;
            }
            Err(error) => return Err(chain(&error)),
        };
        let snapshot = &stored.snapshot;
        let window = snapshot.at.window(step);
        // A clock that was set back says nothing twice.
        if last.is_none_or(|last| last < window) {
            if stretch.moments.len() >= piece.moments || (last.is_some() && begun.elapsed() > piece.took) {
                stretch.next = Some(snapshot.at);
                break;
            }
            last = Some(window);
            stretch.moments.push(Moment {
                at: snapshot.at,
                demand: snapshot.demand.fresh(),
                capacity: snapshot.capacity.fresh(),
                latency: snapshot.latency.fresh(),
                wanted: snapshot.fleet.desired,
                ready: snapshot.fleet.ready,
            });
        }
        stretch.startup = snapshot.fleet.startup.or(stretch.startup);
        stretch.policy_changed |= stretch.policy.as_ref().is_some_and(|before| *before != stored.policy);
        stretch.resized |= stored.from != stored.to;
        stretch.policy = Some(stored.policy);
    }
    Ok(stretch)
}

/// A course that is being put together.
#[derive(Debug)]
pub(super) struct Gathered {
    workload: String,
    step: Seconds,
    moments: BTreeMap<Windows, Moment>,
    /// What was wanted last, and when that was.
    policy: Option<(Timestamp, Policy)>,
    startup: Option<Seconds>,
    policy_changed: bool,
    resized: bool,
    damaged: u32,
    remarks: Vec<String>,
}

impl Gathered {
    pub(super) fn of(workload: &str, step: Seconds) -> Self {
        Self {
            workload: workload.to_owned(),
            step,
            moments: BTreeMap::new(),
            policy: None,
            startup: None,
            policy_changed: false,
            resized: false,
            damaged: 0,
            remarks: Vec::new(),
        }
    }

    /// What is to be known of where it comes from.
    pub(super) fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    /// Takes a piece in. Of two that tell of the same step the first counts, unless it did not know the demand.
    pub(super) fn take(&mut self, stretch: Stretch) {
        let ends = stretch.moments.last().map(|last| last.at);
        for moment in stretch.moments {
            let known = self.moments.entry(moment.at.window(self.step)).or_insert(moment);
            if known.demand.is_none() && moment.demand.is_some() {
                *known = moment;
            }
        }
        self.policy_changed |= stretch.policy_changed;
        self.resized |= stretch.resized;
        self.damaged = self.damaged.saturating_add(stretch.damaged);
        let Some((ends, policy)) = ends.zip(stretch.policy) else { return };
        self.policy_changed |= self.policy.as_ref().is_some_and(|(_, before)| *before != policy);
        if self.policy.as_ref().is_none_or(|(before, _)| *before <= ends) {
            self.startup = stretch.startup.or(self.startup);
            self.policy = Some((ends, policy));
        }
    }

    /// The course; `None` where nothing is recorded of it.
    pub(super) fn course(self) -> Option<Course> {
        let (_, policy) = self.policy?;
        let mut remarks = self.remarks;
        if self.step > FINEST {
            remarks.push(format!("one moment in every {} is looked at", crate::explain::span(self.step)));
        }
        if self.damaged > 0 {
            remarks.push(format!("{} damaged records are left out", self.damaged));
        }
        if self.policy_changed {
            remarks.push("its policy changed meanwhile; it is played with the last one".to_owned());
        }
        if self.resized {
            remarks.push("what happened may be trimtab's own doing where its mode was own or floor".to_owned());
        }
        let (startup, startup_measured) = self.startup.map_or((STARTUP, false), |startup| (startup, true));
        // By the moment itself: clocks of two agents may differ by less than a step.
        let mut moments: Vec<Moment> = self.moments.into_values().collect();
        moments.sort_by_key(|moment| moment.at);
        moments.dedup_by_key(|moment| moment.at);
        Some(Course { workload: self.workload, policy, moments, startup, startup_measured, remarks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests;
    use trimtab_core::policy::Objective;
    use trimtab_core::unit::{Replicas, RequestsPerSecond};

    const START: i64 = 1_795_500_000_000;

    fn moment(second: i64, demand: Option<u32>, wanted: u32) -> Moment {
        Moment {
            at: Timestamp(START + second * 1_000),
            demand: demand.map(RequestsPerSecond::whole),
            capacity: None,
            latency: None,
            wanted: Replicas(wanted),
            ready: Replicas(wanted),
        }
    }

    fn stretch(moments: Vec<Moment>) -> Stretch {
        let policy = Some(tests::policy(Objective::unpromised()));
        Stretch { schema: SCHEMA.to_owned(), moments, policy, ..Stretch::default() }
    }

    #[test]
    fn what_several_agents_recorded_is_one_course() {
        let mut gathered = Gathered::of("shop/deployment/web", FINEST);
        // The first had it until its node went; the second followed, blind at first.
        gathered.take(stretch((0..10).map(|second| moment(second, Some(100), 4)).collect()));
        let second = (5..20).map(|second| moment(second, (second > 7).then_some(200), 6));
        gathered.take(stretch(second.collect()));
        gathered.take(stretch(vec![moment(12, None, 9)]));
        let course = gathered.course().unwrap();
        let demands: Vec<_> = course.moments.iter().map(|moment| moment.demand).collect();
        let [low, high] = [100, 200].map(|demand| Some(RequestsPerSecond::whole(demand)));
        assert_eq!(demands, [vec![low; 10], vec![high; 10]].concat());
        assert!(course.moments.is_sorted_by_key(|moment| moment.at));
    }

    #[test]
    fn a_course_has_a_bounded_length() {
        for (days, seconds) in [(1, 1), (7, 7), (14, 13), (400, 60)] {
            assert_eq!(step(Duration::from_secs(86_400 * days)), Seconds::whole(seconds), "{days} days");
        }
        let mut gathered = Gathered::of("shop/deployment/web", Seconds::whole(10));
        for agent in 0..3 {
            gathered.take(stretch((0..1_000).map(|second| moment(second, Some(100), 4 + agent)).collect()));
        }
        let course = gathered.course().unwrap();
        assert!((100..=101).contains(&course.moments.len()), "{}", course.moments.len());
        assert!(
            course.remarks.iter().any(|remark| remark.contains("one moment in every 10 s")),
            "{:?}",
            course.remarks
        );
    }

    const WHOLE: Piece = Piece { moments: usize::MAX, took: Duration::MAX };

    /// A journal that was kept: two workloads, 159 rounds of five seconds, one of them lost, and a second process.
    fn journal() -> (tempfile::TempDir, std::path::PathBuf) {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../journal/tests/golden/v2.db");
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("journal.db");
        std::fs::copy(golden, &copy).unwrap();
        (directory, copy)
    }

    #[test]
    fn pieces_put_together_are_the_whole() {
        let (_directory, journal) = journal();
        let all = (Timestamp(0), Timestamp(i64::MAX));
        let read = |from, step, piece| read(&journal, "shop/Deployment/web-0", (from, all.1, step), piece).unwrap();
        let whole = read(all.0, FINEST, WHOLE);
        assert!(whole.moments.len() > 100 && whole.next.is_none() && whole.policy.is_some(), "{whole:?}");
        let (mut moments, mut next, mut pieces) = (Vec::new(), Some(all.0), 0);
        while let Some(from) = next {
            let stretch = read(from, FINEST, Piece { moments: 7, took: Duration::MAX });
            assert!(stretch.moments.len() <= 7);
            moments.extend(stretch.moments);
            (next, pieces) = (stretch.next, pieces + 1);
        }
        assert_eq!(moments, whole.moments);
        assert_eq!(pieces, whole.moments.len().div_ceil(7));
        // However little time there is, it gets on.
        let hurried = read(all.0, FINEST, Piece { moments: 7, took: Duration::ZERO });
        assert!(hurried.moments.len() == 1 && hurried.next.is_some(), "{hurried:?}");
        let coarse = read(all.0, Seconds::whole(60), WHOLE).moments;
        assert!(coarse.len() * 10 < whole.moments.len(), "{}", coarse.len());
        assert!(coarse.windows(2).all(|pair| pair[0].at < pair[1].at));
    }

    #[test]
    fn a_moment_is_a_short_row() {
        let text = serde_json::to_string(&moment(1, Some(100), 4)).unwrap();
        assert!(text.starts_with('[') && text.len() < 60, "{text}");
        assert_eq!(serde_json::from_str::<Moment>(&text).unwrap(), moment(1, Some(100), 4));
    }
}

//! One workload's memory between its decisions: what was learned, what was written, and what keeps us from writing.

use crate::act::Written;
use crate::config::Target;
use crate::explain;
use crate::report::{self, Changed, Condition, Considered, Writes};
use crate::tally::Tally;
use crate::view::Scalable;
use trimtab_core::policy::Capacity;
use trimtab_core::snapshot::{Reading, Snapshot};
use trimtab_core::unit::{RequestsPerSecond, Seconds, Timestamp};
use trimtab_core::{Policy, State};
use trimtab_journal::{Outcome, Refusal};

/// A workload is decided at least this often, also when nothing that it is decided from has changed.
const AT_LEAST: Seconds = Seconds::whole(5);
/// How long a refusal that would be repeated keeps us from asking again, at first; doubles up to the next.
const BLOCKED_FIRST: Seconds = Seconds::whole(15);
/// At most.
const BLOCKED_LONGEST: Seconds = Seconds::whole(600);
/// So often in a row the API server may say that an object has changed which has not: then the patch does not fit its kind.
const MISFITS: u32 = 3;
/// How long the view may take to show our own write before it is read as the truth again.
const OWN_WRITE_SHOWS: Seconds = Seconds::whole(30);
/// The past is waited for so long at a start; then it is decided without.
const HISTORY_PATIENCE: Seconds = Seconds::whole(10);

/// A new replica is scraped within the longest interval in common use.
const PARTIAL_LASTS: Seconds = Seconds::whole(30);

/// One workload's memory.
#[derive(Debug, Default)]
pub(crate) struct Tracked {
    pub(crate) state: State,
    pub(crate) past: Past,
    /// Decisions taken with this memory.
    pub(crate) ordinal: u64,
    pub(crate) decided: Option<Timestamp>,
    pub(crate) last: Option<Considered>,
    pub(crate) signals: Vec<report::Signal>,
    /// Why nothing is decided, where that is the workload's own.
    pub(crate) lack: Option<Condition>,
    /// What it waits for at a start.
    pub(crate) waits: Option<&'static str>,
    /// Since when demand is known of some replicas only, and whether that was said.
    pub(crate) partial: Option<(Timestamp, bool)>,
    pub(crate) writing: bool,
    pub(crate) wrote: Option<Wrote>,
    /// The size that nobody else is to change, while we may write.
    pub(crate) settled: Option<Settled>,
    pub(crate) standing_down: Option<Timestamp>,
    /// For whom, where that can be told.
    pub(crate) rival: Option<String>,
    /// A least size that somebody else set over ours, and that was said.
    pub(crate) foreign_floor: Option<u32>,
    pub(crate) blocked: Option<Blocked>,
    /// Writes in a row that were refused as outdated, though the object was still at this generation.
    pub(crate) misfits: (i64, u32),
    pub(crate) changed: Option<Changed>,
    /// What was learned is about this demand, in windows of this length.
    pub(crate) about: Option<(String, Seconds)>,
    pub(crate) tally: Tally,
}

/// What is known of demand before the start.
#[derive(Debug, Default)]
pub(crate) enum Past {
    /// Not asked for yet.
    #[default]
    Unasked,
    /// Asked for.
    Asked(Timestamp),
    /// Here, and waiting for the first snapshot.
    Here(Timestamp, Vec<(Timestamp, RequestsPerSecond)>),
    /// Taken in, or given up.
    Done,
}

/// A size that was there when we could write at last, or that we wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    uid: String,
    replicas: u32,
}

/// Our last write: what tells it from a foreign one, and a view that does not show it yet.
#[derive(Clone, Debug)]
pub(crate) struct Wrote {
    at: Timestamp,
    /// To which object: one that was created anew under its name counts its generations anew.
    uid: String,
    /// The generation that it led to, or would have led to.
    generation: i64,
    replicas: u32,
    /// The size before, where nobody knows whether the write was done.
    or: Option<u32>,
}

#[derive(Clone, Debug)]
pub(crate) struct Blocked {
    pub(crate) until: Timestamp,
    pub(crate) wait: Seconds,
    pub(crate) why: String,
}

impl Past {
    /// The past, once it is to be taken in; that happens one time.
    pub(crate) fn take_in(
        &mut self,
        policy: &Policy,
        snapshot: &Snapshot,
    ) -> Option<Vec<(Timestamp, RequestsPerSecond)>> {
        let sized = !matches!(policy.capacity, Capacity::Measured) || snapshot.capacity.fresh().is_some();
        let taken = match self {
            Self::Asked(since) if snapshot.at.since(*since) >= HISTORY_PATIENCE => Vec::new(),
            // Without a capacity the past says nothing of sizes: it waits a little for one.
            Self::Here(since, past) if sized || past.is_empty() || snapshot.at.since(*since) >= HISTORY_PATIENCE => {
                std::mem::take(past)
            }
            Self::Here(..) | Self::Unasked | Self::Asked(_) | Self::Done => return None,
        };
        *self = Self::Done;
        Some(taken)
    }
}

impl Tracked {
    /// Demand is what this query says, learned in windows of this length. Another query is another demand, and what was learned in
    /// windows of another length means something else: both would mislead, and are forgotten; what was written stays written.
    pub(crate) fn follow(&mut self, query: &str, window: Seconds) {
        if self.about.as_ref().is_some_and(|(old, length)| old != query || *length != window) {
            let Self { writing, wrote, settled, standing_down, rival, blocked, misfits, changed, .. } =
                std::mem::take(self);
            *self =
                Self { writing, wrote, settled, standing_down, rival, blocked, misfits, changed, ..Self::default() };
        }
        self.about = Some((query.to_owned(), window));
    }

    /// The past demand arrived. An answer that comes too late, or to a query that was changed since, is of no use.
    pub(crate) fn learn_past(&mut self, query: &str, demand: Vec<(Timestamp, RequestsPerSecond)>, now: Timestamp) {
        if matches!(self.past, Past::Asked(_)) && self.about.as_ref().is_some_and(|(own, _)| own == query) {
            self.past = Past::Here(now, demand);
        }
    }

    /// Says once that demand is known of some replicas only, when that lasts: a replica that has just become ready is not scraped yet.
    /// Says when it is over.
    pub(crate) fn say_partial(&mut self, target: &Target, considered: &Considered) {
        let at = considered.decision.at;
        let reading = || explain::reading(&considered.snapshot);
        match (considered.is_partial(), self.partial) {
            (true, None) => self.partial = Some((at, false)),
            (true, Some((since, false))) if at.since(since) >= PARTIAL_LASTS => {
                self.partial = Some((since, true));
                tracing::warn!(workload = %target, reading = reading(), "demand is known in part: no fall of it is believed");
            }
            (false, Some((_, said))) => {
                self.partial = None;
                if said {
                    tracing::info!(workload = %target, reading = reading(), "demand is known in full again");
                }
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Whether somebody else changed the size behind our back, whether or not we ever did; says so once. Where we may not write,
    /// somebody else may, and rightly: what is there when we may again is where we start.
    pub(crate) fn notices_somebody_else(&mut self, writes: &Writes, object: &Scalable) -> bool {
        let now = Settled { uid: object.uid.clone(), replicas: object.replicas };
        match writes {
            // What a write of ours does is shown before its answer is here.
            Writes::Own | Writes::Blocked { .. } if self.writing => false,
            Writes::Own | Writes::Blocked { .. } => {
                let foreign = self.settled.as_ref().is_some_and(|settled| {
                    settled.uid == now.uid && settled.replicas != now.replicas && !self.is_ours(object)
                });
                self.settled = Some(now);
                foreign
            }
            // While nobody knows who may write, whoever does is not an agent of ours.
            Writes::OtherAgent(None) => false,
            Writes::StandingDown(_) | Writes::OtherAgent(Some(_)) => {
                self.settled = Some(now);
                false
            }
            Writes::Shadow
            | Writes::NotOptedIn
            | Writes::NotRecorded
            | Writes::Floor
            | Writes::FloorNotOptedIn
            | Writes::NoFloor(_)
            | Writes::Beside(_) => {
                self.settled = None;
                false
            }
        }
    }

    /// Whether our last write explains the size: it was done, or the view does not show it yet, or nobody knows and it was not.
    fn is_ours(&self, object: &Scalable) -> bool {
        self.wrote.as_ref().is_some_and(|wrote| {
            object.uid == wrote.uid
                && (object.generation < wrote.generation
                    || object.replicas == wrote.replicas
                    || wrote.or == Some(object.replicas))
        })
    }

    /// What follows from how a write ended.
    pub(crate) fn end_write(&mut self, written: Written, at: Timestamp) {
        let Written { outcome, at: decided, from, to, uid, seen, generation } = written;
        self.writing = false;
        if let Some(last) = self.last.as_mut().filter(|last| last.decision.at == decided) {
            last.outcome = Some(outcome.clone());
        }
        let (generation, or) = match (&outcome, generation) {
            (Outcome::Committed, Some(generation)) => (Some(generation), None),
            (Outcome::Unknown(_), _) => (Some(seen + 1), Some(from.0)),
            (Outcome::Committed | Outcome::Refused(_), _) => (None, None),
        };
        if let Some(generation) = generation {
            self.wrote = Some(Wrote { at, uid, generation, replicas: to.0, or });
        }
        self.misfits = match &outcome {
            Outcome::Refused(Refusal::Changed) if self.misfits.0 == seen => (seen, self.misfits.1 + 1),
            Outcome::Refused(Refusal::Changed) => (seen, 1),
            Outcome::Committed | Outcome::Refused(_) | Outcome::Unknown(_) => (seen, 0),
        };
        let why = match &outcome {
            Outcome::Refused(Refusal::Changed) if self.misfits.1 >= MISFITS => Some(
                "the API server says that the object has changed, and it has not: it may keep what trimtab writes elsewhere (.spec.replicas, \
                 or an autoscaler's least size), or not hold it"
                    .to_owned(),
            ),
            Outcome::Refused(Refusal::Changed) | Outcome::Committed | Outcome::Unknown(_) => None,
            Outcome::Refused(refusal) => Some(refusal.to_string()),
        };
        let before = self.blocked.take();
        self.blocked = why.map(|why| {
            let wait = before.map_or(BLOCKED_FIRST, |blocked| (blocked.wait + blocked.wait).min(BLOCKED_LONGEST));
            Blocked { until: at.after(wait), wait, why }
        });
        self.changed = Some(Changed { at: decided, from, to, outcome });
    }

    /// Whether there is something to decide: nothing of ours is under way, and something is new, or it is time.
    pub(crate) fn is_due(&self, snapshot: &Snapshot, object: &Scalable) -> bool {
        // A view that does not show our own last write yet is older than what we know.
        let behind = self.wrote.as_ref().is_some_and(|wrote| {
            object.uid == wrote.uid
                && wrote.or.is_none()
                && object.generation < wrote.generation
                && snapshot.at.since(wrote.at) < OWN_WRITE_SHOWS
        });
        if self.writing || behind {
            return false;
        }
        let Some(last) = self.last.as_ref().zip(self.decided) else { return true };
        snapshot.at.since(last.1) >= AT_LEAST || news(&last.0.snapshot, snapshot)
    }
}

/// Whether anything differs that a decision is taken from; ages grow by themselves and are no news.
fn news(before: &Snapshot, now: &Snapshot) -> bool {
    let levels = |snapshot: &Snapshot| snapshot.protected.values().map(Reading::fresh).collect::<Vec<_>>();
    let foretold = |snapshot: &Snapshot| snapshot.foretold.iter().map(|point| point.rate).collect::<Vec<_>>();
    before.demand.fresh() != now.demand.fresh()
        || before.capacity.fresh() != now.capacity.fresh()
        || before.latency.fresh() != now.latency.fresh()
        || before.utilization.fresh() != now.utilization.fresh()
        || before.fleet != now.fleet
        || levels(before) != levels(now)
        || foretold(before) != foretold(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Selector;
    use trimtab_core::unit::Replicas;

    const AT: Timestamp = Timestamp(1_000_000);
    const WINDOW: Seconds = Seconds::whole(30);

    fn object(generation: i64, replicas: u32) -> Scalable {
        Scalable {
            uid: "u".into(),
            generation,
            replicas,
            selector: Selector::default(),
            mode_label: Some("own".into()),
            shown: crate::view::Shown::default(),
            rolling_out: false,
            manager: None,
        }
    }

    /// A write from 4 to 6 replicas that was decided on generation 7.
    fn ended(outcome: Outcome) -> Written {
        let generation = matches!(outcome, Outcome::Committed).then_some(8);
        Written { outcome, at: AT, from: Replicas(4), to: Replicas(6), uid: "u".into(), seen: 7, generation }
    }

    /// Sees 4 replicas at generation 7, while it may write.
    fn watching() -> Tracked {
        let mut tracked = Tracked::default();
        assert!(!tracked.notices_somebody_else(&Writes::Own, &object(7, 4)), "the first look");
        tracked
    }

    #[test]
    fn a_size_that_is_not_ours_is_noticed_once() {
        let mut tracked = watching();
        tracked.writing = true;
        assert!(!tracked.notices_somebody_else(&Writes::Own, &object(8, 6)), "our write, before its answer");
        tracked.end_write(ended(Outcome::Committed), AT);
        assert!(!tracked.notices_somebody_else(&Writes::Own, &object(7, 4)), "the view is behind");
        assert!(!tracked.notices_somebody_else(&Writes::Own, &object(9, 6)), "a rollout is no change of size");
        assert!(tracked.notices_somebody_else(&Writes::Own, &object(10, 5)));
        assert!(!tracked.notices_somebody_else(&Writes::Own, &object(10, 5)));
    }

    #[test]
    fn a_size_that_somebody_sets_is_noticed_though_we_never_wrote() {
        assert!(watching().notices_somebody_else(&Writes::Own, &object(8, 10)));
        let mut tracked = watching();
        assert!(!tracked.notices_somebody_else(&Writes::OtherAgent(None), &object(8, 10)));
        assert!(tracked.notices_somebody_else(&Writes::Own, &object(8, 10)), "also while no agent was chosen");
        let mut tracked = watching();
        tracked.notices_somebody_else(&Writes::StandingDown(AT), &object(8, 10));
        assert!(tracked.notices_somebody_else(&Writes::Own, &object(9, 3)), "and again after it stood down");
    }

    #[test]
    fn an_object_created_anew_under_the_same_name_is_another_one() {
        let anew = Scalable { uid: "v".into(), ..object(9, 2) };
        assert!(!watching().notices_somebody_else(&Writes::Own, &anew));
    }

    #[test]
    fn who_may_not_write_notices_nobody() {
        for writes in [Writes::Shadow, Writes::NotOptedIn, Writes::OtherAgent(Some("b".into()))] {
            let mut tracked = watching();
            assert!(!tracked.notices_somebody_else(&writes, &object(9, 5)));
            assert!(
                !tracked.notices_somebody_else(&Writes::Own, &object(9, 5)),
                "nor later, of what was done meanwhile"
            );
        }
    }

    #[test]
    fn our_own_write_of_unknown_outcome_is_not_somebody_elses() {
        for (generation, replicas, foreign) in [(8, 6, false), (7, 4, false), (8, 4, false), (8, 5, true)] {
            let mut tracked = watching();
            tracked.end_write(ended(Outcome::Unknown("no answer".into())), AT);
            let noticed = tracked.notices_somebody_else(&Writes::Own, &object(generation, replicas));
            assert_eq!(noticed, foreign, "{replicas} replicas at generation {generation}");
        }
    }

    #[test]
    fn a_patch_that_does_not_fit_its_kind_is_not_tried_for_ever() {
        let mut tracked = Tracked::default();
        for _ in 0..2 {
            tracked.end_write(ended(Outcome::Refused(Refusal::Changed)), AT);
            assert!(tracked.blocked.is_none());
        }
        tracked.end_write(ended(Outcome::Refused(Refusal::Changed)), AT);
        assert!(tracked.blocked.as_ref().is_some_and(|blocked| blocked.why.contains(".spec.replicas")));
        // The object did change: that is what the refusal is for.
        tracked.end_write(Written { seen: 8, ..ended(Outcome::Refused(Refusal::Changed)) }, AT);
        assert!(tracked.blocked.is_none());
    }

    #[test]
    fn a_refusal_that_would_be_repeated_waits_longer_each_time() {
        let mut tracked = Tracked::default();
        let waits: Vec<Seconds> = (0..8)
            .map(|_| {
                tracked.end_write(ended(Outcome::Refused(Refusal::Forbidden("no".into()))), AT);
                tracked.blocked.as_ref().map(|blocked| blocked.wait).unwrap()
            })
            .collect();
        assert_eq!(waits[..3], [Seconds::whole(15), Seconds::whole(30), Seconds::whole(60)]);
        assert_eq!(waits[7], BLOCKED_LONGEST);
    }

    #[test]
    fn another_query_or_window_forgets_demand_and_keeps_what_was_written() {
        let mut tracked = watching();
        tracked.follow("a", WINDOW);
        tracked.ordinal = 9;
        tracked.standing_down = Some(AT);
        tracked.end_write(ended(Outcome::Committed), AT);
        tracked.follow("a", WINDOW);
        assert_eq!(tracked.ordinal, 9);
        tracked.follow("b", WINDOW);
        assert_eq!((tracked.ordinal, tracked.standing_down), (0, Some(AT)));
        assert!(tracked.notices_somebody_else(&Writes::Own, &object(9, 5)), "our write is remembered");
        tracked.ordinal = 9;
        tracked.follow("b", Seconds::whole(60));
        assert_eq!(tracked.ordinal, 0);
    }

    #[test]
    fn a_past_that_comes_too_late_or_for_another_query_is_not_taken_in() {
        let past = vec![(AT, RequestsPerSecond::whole(50))];
        let mut tracked = Tracked::default();
        tracked.follow("b", WINDOW);
        tracked.past = Past::Asked(AT);
        tracked.learn_past("a", past.clone(), AT);
        assert!(matches!(tracked.past, Past::Asked(_)));
        tracked.learn_past("b", past.clone(), AT);
        assert!(matches!(tracked.past, Past::Here(..)));
        tracked.past = Past::Done;
        tracked.learn_past("b", past, AT);
        assert!(matches!(tracked.past, Past::Done));
    }
}

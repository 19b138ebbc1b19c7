//! The live loop: one task that owns every workload's memory.
//!
//! One event at a time: it is applied, synchronously, and that is all the concurrency there is. What takes time
//! (queries, writes, the journal) runs elsewhere and comes back as an event. A round of readings makes one decision for each
//! workload; whether a decision is carried out is asked in one place, [`Loop::may_write`].

use crate::act::{self, Written};
use crate::cli;
use crate::clock::Clock;
use crate::config::{Kind, Mode, Target, Workload};
use crate::explain;
use crate::inbox::{Event, Inbox};
use crate::lease::{self, Leadership};
use crate::metrics::Counters;
use crate::policies::Policies;
use crate::record::Recorder;
use crate::report::{self, Changed, Considered, Report, Writes};
use crate::sense::{self, Round, Signal};
use crate::sources::Sources;
use crate::view::{Scalable, View};
use crate::watch;
use crate::words;
use kube::Client;
use kube::api::ApiResource;
use kube::runtime::events::{EventType, Recorder as EventRecorder};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use trimtab_core::invariant;
use trimtab_core::policy::Capacity;
use trimtab_core::snapshot::{Reading, Snapshot};
use trimtab_core::unit::{RequestsPerSecond, Seconds, Timestamp};
use trimtab_core::{Decision, Policy, State, Verb, backfill, decide};
use trimtab_journal::{Entry, Outcome, Record, Refusal};

/// A workload is decided at least this often, also when nothing that it is decided from has changed.
const AT_LEAST: Seconds = Seconds::whole(5);
/// Prometheus is asked for at most this share of the time: after a round that took long, the next one waits.
const QUIET: u32 = 4;
/// How long nothing is written to a workload whose size somebody else changed. Ten minutes let a human finish, and keep a
/// loop that fights us to six rounds an hour.
const STAND_DOWN: Seconds = Seconds::whole(600);
/// How long a refusal that would be repeated keeps us from asking again, at first; doubles up to the next.
const BLOCKED_FIRST: Seconds = Seconds::whole(15);
/// At most.
const BLOCKED_LONGEST: Seconds = Seconds::whole(600);
/// So often in a row the API server may say that an object has changed which has not: then the patch does not fit its kind.
const MISFITS: u32 = 3;
/// How long the view may take to show our own write before it is read as the truth again.
const OWN_WRITE_SHOWS: Seconds = Seconds::whole(30);
/// How long the end of the process waits for the Lease to be released.
const RELEASE: Duration = Duration::from_secs(10);
/// A kind that the API server does not know is asked for again so often.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(30);
/// The past is waited for so long at a start; then it is decided without.
const HISTORY_PATIENCE: Seconds = Seconds::whole(10);

/// What a trouble with Events is called.
const EVENTS: &str = "events";

/// One workload's memory.
#[derive(Debug, Default)]
struct Tracked {
    state: State,
    past: Past,
    /// Decisions taken with this memory.
    ordinal: u64,
    decided: Option<Timestamp>,
    last: Option<Considered>,
    signals: Vec<report::Signal>,
    problem: Option<String>,
    writing: bool,
    wrote: Option<Wrote>,
    standing_down: Option<Timestamp>,
    blocked: Option<Blocked>,
    /// Writes in a row that were refused as outdated, though the object was still at this generation.
    misfits: (i64, u32),
    changed: Option<Changed>,
    demand_query: Option<String>,
}

/// What is known of demand before the start.
#[derive(Debug, Default)]
enum Past {
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

/// Our last write, until the view shows it; and after that, what makes a foreign one recognisable.
#[derive(Clone, Copy, Debug)]
struct Wrote {
    at: Timestamp,
    /// The generation that it led to, or would have led to.
    generation: i64,
    replicas: u32,
    /// The size before, where nobody knows whether the write was done.
    or: Option<u32>,
}

#[derive(Clone, Debug)]
struct Blocked {
    until: Timestamp,
    wait: Seconds,
    why: String,
}

impl Past {
    /// The past, once it is to be taken in; that happens one time.
    fn take_in(&mut self, policy: &Policy, snapshot: &Snapshot) -> Option<Vec<(Timestamp, RequestsPerSecond)>> {
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
    /// Forgets what was learned of demand, and nothing else.
    fn forget_demand(&mut self) {
        let old = std::mem::take(self);
        let Self { writing, wrote, standing_down, blocked, misfits, changed, .. } = old;
        *self = Self { writing, wrote, standing_down, blocked, misfits, changed, ..Self::default() };
    }

    /// What follows from how a write ended.
    fn end_write(&mut self, written: Written, at: Timestamp) {
        let Written { outcome, at: decided, from, to, seen, generation } = written;
        self.writing = false;
        if let Some(last) = self.last.as_mut().filter(|last| last.decision.at == decided) {
            last.outcome = Some(outcome.clone());
        }
        self.wrote = match (&outcome, generation) {
            (Outcome::Committed, Some(generation)) => Some(Wrote { at, generation, replicas: to.0, or: None }),
            (Outcome::Unknown(_), _) => Some(Wrote { at, generation: seen + 1, replicas: to.0, or: Some(from.0) }),
            (Outcome::Committed | Outcome::Refused(_), _) => self.wrote,
        };
        self.misfits = match &outcome {
            Outcome::Refused(Refusal::Changed) if self.misfits.0 == seen => (seen, self.misfits.1 + 1),
            Outcome::Refused(Refusal::Changed) => (seen, 1),
            Outcome::Committed | Outcome::Refused(_) | Outcome::Unknown(_) => (seen, 0),
        };
        let why = match &outcome {
            Outcome::Refused(Refusal::Changed) if self.misfits.1 >= MISFITS => Some(
                "the API server says that the object has changed, and it has not: trimtab writes .spec.replicas, which this kind \
                 may keep elsewhere or not hold"
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

    /// Whether somebody else changed the size since we last wrote it. Forgets our write then, so that it is said once.
    fn somebody_else_wrote(&mut self, object: &Scalable) -> bool {
        let foreign = self.wrote.is_some_and(|wrote| {
            object.generation >= wrote.generation
                && object.replicas != wrote.replicas
                && wrote.or != Some(object.replicas)
        });
        if foreign {
            self.wrote = None;
        }
        foreign
    }

    /// Whether there is something to decide: nothing of ours is under way, and something is new, or it is time.
    fn is_due(&self, snapshot: &Snapshot, object: &Scalable) -> bool {
        // A view that does not show our own last write yet is older than what we know.
        let behind = self.wrote.is_some_and(|wrote| {
            wrote.or.is_none() && object.generation < wrote.generation && snapshot.at.since(wrote.at) < OWN_WRITE_SHOWS
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
    before.demand.fresh() != now.demand.fresh()
        || before.capacity.fresh() != now.capacity.fresh()
        || before.latency.fresh() != now.latency.fresh()
        || before.fleet != now.fleet
        || levels(before) != levels(now)
}

/// What the loop is made of that does not change.
pub(crate) struct Parts {
    pub(crate) settings: cli::Run,
    pub(crate) agent: String,
    pub(crate) client: Client,
    /// A client that never repeats a request.
    pub(crate) writer: Client,
    pub(crate) events: EventRecorder,
    pub(crate) sources: Sources,
    pub(crate) candidate: lease::Candidate,
    pub(crate) recorder: Recorder,
    pub(crate) counters: Counters,
    pub(crate) clock: Clock,
    pub(crate) inbox: Inbox,
    pub(crate) report: channel::Sender<Arc<Report>>,
    pub(crate) turned: channel::Sender<Instant>,
    pub(crate) ready: channel::Sender<Result<(), String>>,
}

/// The loop's memory.
pub(crate) struct Loop {
    parts: Parts,
    policies: Policies,
    view: View,
    tracked: BTreeMap<Target, Tracked>,
    kinds: BTreeMap<Kind, Option<ApiResource>>,
    kind_problems: BTreeMap<Kind, String>,
    leadership: Leadership,
    /// Asks for the Lease, once a policy wants to write.
    election: Option<JoinHandle<()>>,
    troubles: BTreeMap<String, String>,
    /// When the next round begins; `None` while one is under way.
    next_round: Option<Instant>,
}

impl Loop {
    pub(crate) fn new(parts: Parts, policies: Policies) -> Self {
        let scopes: Vec<Option<String>> = scopes(&parts.settings);
        Self {
            parts,
            policies,
            view: View::new(scopes),
            tracked: BTreeMap::new(),
            kinds: BTreeMap::new(),
            kind_problems: BTreeMap::new(),
            leadership: Leadership::Unknown,
            election: None,
            troubles: BTreeMap::new(),
            next_round: Some(Instant::now()),
        }
    }

    /// Runs until it is told to stop.
    pub(crate) async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        self.follow_policies();
        loop {
            let round = self.next_round;
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Stop) | None => break,
                    Some(event) => self.apply(event),
                },
                () = async { tokio::time::sleep_until(round.unwrap_or_else(Instant::now)).await }, if round.is_some() => self.begin_round(),
            }
        }
        self.parts.recorder.finish();
        // Closing the inbox is the sign for everything that this loop started; the Lease is released before the process ends.
        drop(events);
        if let Some(election) = self.election {
            drop(tokio::time::timeout(RELEASE, election).await);
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Object { kind, change } => self.view.apply_object(&kind, change),
            Event::Pod { scope, change } => self.view.apply_pod(&scope, change),
            Event::PolicyMap { scope, change } => {
                self.policies.apply_map(&scope, change);
                self.follow_policies();
            }
            Event::PolicyFile(text) => {
                self.policies.apply_file(text);
                self.follow_policies();
            }
            Event::Kind { kind, resource } => self.know_kind(kind, resource),
            Event::Sensed(round) => self.decide_all(&round),
            Event::History { target, query, demand } => {
                // An answer that comes too late, or to a query that was changed since, is of no use.
                if let Some(tracked) = self.tracked.get_mut(&target)
                    && matches!(tracked.past, Past::Asked(_))
                    && tracked.demand_query.as_ref() == Some(&query)
                {
                    tracked.past = Past::Here(self.parts.clock.now(), demand);
                }
            }
            Event::Written { target, written } => self.end_write(&target, written),
            Event::Leadership(leadership) => {
                tracing::info!(leadership = ?leadership, "leadership changed");
                self.leadership = leadership;
            }
            Event::Trouble { what, problem } => self.note_trouble(what, problem),
            Event::Stop => {}
        }
    }

    fn note_trouble(&mut self, what: String, problem: Option<String>) {
        match problem {
            Some(problem) if self.troubles.get(&what) != Some(&problem) => {
                tracing::warn!(what, problem, "trouble");
                self.troubles.insert(what, problem);
            }
            Some(_) => {}
            None => {
                if self.troubles.remove(&what).is_some() {
                    tracing::info!(what, "trouble is over");
                }
            }
        }
    }

    /// Tracks what the policies name and forgets what they no longer do.
    fn follow_policies(&mut self) {
        let wanted = self.policies.workloads();
        self.tracked.retain(|target, _| wanted.contains_key(target));
        let mut kinds = Vec::new();
        for (target, workload) in wanted {
            let tracked = self.tracked.entry(target.clone()).or_default();
            let other_query = tracked.demand_query.as_ref().is_some_and(|query| *query != workload.queries.demand);
            if other_query {
                // Another query is another demand: what was learned of the old one would mislead. What was written stays written.
                tracked.forget_demand();
            }
            tracked.demand_query = Some(workload.queries.demand.clone());
            if !self.kinds.contains_key(&target.kind) {
                self.kinds.insert(target.kind.clone(), None);
                kinds.push(target.kind.clone());
            }
        }
        for kind in kinds {
            tokio::spawn(look_up(self.parts.client.clone(), kind, self.parts.inbox.clone()));
        }
        if self.election.is_none()
            && self.policies.workloads().values().any(|workload| self.mode(workload) == Mode::Own)
        {
            let Parts { writer, candidate, turned, inbox, .. } = &self.parts;
            let election = lease::run(writer.clone(), candidate.clone(), turned.subscribe(), inbox.clone());
            self.election = Some(tokio::spawn(election));
        }
    }

    fn know_kind(&mut self, kind: Kind, resource: Result<ApiResource, String>) {
        match resource {
            Ok(resource) => {
                self.kind_problems.remove(&kind);
                for scope in scopes(&self.parts.settings) {
                    let (client, inbox) = (self.parts.client.clone(), self.parts.inbox.clone());
                    tokio::spawn(watch::objects(client, kind.clone(), resource.clone(), scope, inbox));
                }
                self.kinds.insert(kind, Some(resource));
            }
            Err(problem) => {
                tracing::warn!(kind = %kind, problem, "kind cannot be watched");
                self.kind_problems.insert(kind, problem);
            }
        }
    }

    fn mode(&self, workload: &Workload) -> Mode {
        workload.mode.unwrap_or(self.parts.settings.mode)
    }

    // === a round ===

    fn begin_round(&mut self) {
        self.next_round = None;
        let now = self.parts.clock.now();
        self.ask_for_the_past(now);
        let workloads: Vec<Arc<Workload>> = self.policies.workloads().values().cloned().collect();
        tokio::spawn(sense::ask(self.parts.sources.clone(), workloads, self.parts.inbox.clone()));
    }

    fn ask_for_the_past(&mut self, now: Timestamp) {
        let mut wanted = Vec::new();
        let mut longest = Duration::ZERO;
        for (target, workload) in self.policies.workloads() {
            let Some(tracked) = self.tracked.get_mut(target) else { continue };
            if matches!(tracked.past, Past::Unasked) {
                tracked.past = Past::Asked(now);
                wanted.push(Arc::clone(workload));
                let window = Duration::from_secs_f64(workload.policy.stabilization.get());
                longest = longest.max(window + Duration::from_mins(1));
            }
        }
        if !wanted.is_empty() {
            let (sources, inbox) = (self.parts.sources.clone(), self.parts.inbox.clone());
            tokio::spawn(sense::backfill(sources, wanted, (now, longest), inbox));
        }
    }

    fn decide_all(&mut self, round: &Round) {
        self.parts.counters.asked(round.requests, round.took);
        self.note_trouble("prometheus".into(), round.trouble.clone());
        let at = self.parts.clock.now();
        let mut entries = Vec::new();
        let workloads: Vec<Arc<Workload>> = self.policies.workloads().values().cloned().collect();
        for workload in &workloads {
            let decided = self.decide_one(workload, round, at);
            entries.extend(decided.map(|record| Entry::Decided(Box::new(record))));
        }
        self.record(entries);
        // Not what a policy names: a tenant's policy for a kind that nobody may list must not take agents out of service.
        let ready = if self.view.has_pods() { Ok(()) } else { Err("pods have not been listed yet".to_owned()) };
        self.publish(at, ready);
        let pause = self.parts.settings.interval.max(round.took * QUIET);
        self.next_round = Some(Instant::now() + pause);
    }

    /// Takes one workload's decision, where everything that it needs is there, and something to decide.
    fn decide_one(&mut self, workload: &Arc<Workload>, round: &Round, at: Timestamp) -> Option<Record> {
        let target = &workload.target;
        let fleet = self.view.fleet(target, at);
        let problem = self.why_undecided(workload, fleet.is_some());
        let tracked = self.tracked.get_mut(target)?;
        tracked.signals = sense::problems(workload, &round.answers);
        tracked.problem = problem;
        let Some(fleet) = fleet else {
            tracked.last = None;
            return None;
        };
        let answer = |signal: Signal| round.answers.get(&(target.clone(), signal));
        let snapshot = Snapshot {
            at,
            demand: sense::reading(answer(Signal::Demand), RequestsPerSecond::new, Some(fleet.ready)),
            capacity: sense::configured(
                workload.queries.capacity.is_some(),
                answer(Signal::Capacity),
                RequestsPerSecond::new,
            ),
            latency: sense::configured(workload.queries.latency.is_some(), answer(Signal::Latency), Seconds::new),
            protected: workload
                .queries
                .protect
                .keys()
                .map(|name| (name.clone(), sense::reading(answer(Signal::Protect(name.clone())), sense::level, None)))
                .collect(),
            fleet,
        };
        let writes = self.may_write(workload, at);
        let tracked = self.tracked.get_mut(target)?;
        let object = self.view.object(target)?;
        match writes {
            Writes::Own | Writes::Blocked { .. } if tracked.somebody_else_wrote(object) => {
                tracked.standing_down = Some(at.after(STAND_DOWN));
                self.say_standing_down(target, object);
                return None;
            }
            Writes::Own | Writes::Blocked { .. } | Writes::StandingDown(_) => {}
            // Somebody else may write now, and rightly.
            Writes::Shadow | Writes::NotOptedIn | Writes::OtherAgent(_) => tracked.wrote = None,
        }
        if !tracked.is_due(&snapshot, object) {
            return None;
        }
        if let Some(past) = tracked.past.take_in(&workload.policy, &snapshot) {
            backfill(&workload.policy, &mut tracked.state, snapshot.capacity.fresh(), &past);
            tracked.ordinal = 0;
        }
        if !matches!(tracked.past, Past::Done) {
            return None;
        }
        let before = Box::new(tracked.state.clone());
        let decision = decide(&workload.policy, &mut tracked.state, &snapshot);
        tracked.decided = Some(at);
        let ordinal = tracked.ordinal;
        tracked.ordinal += 1;
        self.parts.counters.decided(decision.verb);
        let considered = Considered { policy: workload.policy.clone(), snapshot, decision, outcome: None };
        let Considered { policy, snapshot, decision, .. } = considered.clone();
        self.consider(workload, considered);
        Some(Record { workload: target.to_string(), ordinal, before, policy, snapshot, decision })
    }

    fn why_undecided(&self, workload: &Workload, known: bool) -> Option<String> {
        let target = &workload.target;
        if let Some(problem) = self.kind_problems.get(&target.kind) {
            return Some(problem.clone());
        }
        if known {
            return None;
        }
        if !self.view.watches(&target.namespace) {
            return Some(format!("namespace {} is not watched by this agent: see --namespace", target.namespace));
        }
        if !self.view.knows(target) {
            return Some("waiting for the first listing of the cluster".into());
        }
        Some(format!("{target} does not exist: create it, or correct the target at {}", workload.origin))
    }

    /// What follows from a decision: a log line where it changed, and a write where we may.
    fn consider(&mut self, workload: &Arc<Workload>, considered: Considered) {
        let decision = &considered.decision;
        let target = &workload.target;
        let breaches = invariant::breaches(&considered.policy, &considered.snapshot, decision);
        for breach in &breaches {
            tracing::error!(workload = %target, invariant = breach.name(), "a decision broke an invariant and is not carried out");
            self.parts.counters.broke(breach.name());
        }
        let writes = self.may_write(workload, decision.at);
        let Some(tracked) = self.tracked.get_mut(target) else { return };
        let before =
            tracked.last.as_ref().map(|last| (last.decision.verb, last.decision.to, last.decision.reason.code()));
        if before != Some((decision.verb, decision.to, decision.reason.code())) {
            tracing::info!(workload = %target, verb = %decision.verb, from = decision.from.0, to = decision.to.0,
                code = decision.reason.code(), writes = %writes, because = explain::sentence(decision), "decided");
        }
        let write = decision.verb != Verb::Hold && writes == Writes::Own && breaches.is_empty();
        if write && let (Some(object), Some(Some(resource))) = (self.view.object(target), self.kinds.get(&target.kind))
        {
            tracked.writing = true;
            let job = WriteJob {
                writer: self.parts.writer.clone(),
                events: self.parts.events.clone(),
                inbox: self.parts.inbox.clone(),
                resource: resource.clone(),
                target: target.clone(),
                object: object.clone(),
                decision: decision.clone(),
            };
            tokio::spawn(job.run());
        }
        tracked.last = Some(considered);
    }

    // === writing ===

    /// The actuator's door: the only place where it is asked whether a decision is carried out.
    fn may_write(&self, workload: &Workload, at: Timestamp) -> Writes {
        let Some(tracked) = self.tracked.get(&workload.target) else { return Writes::Shadow };
        if self.mode(workload) != Mode::Own {
            return Writes::Shadow;
        }
        let label = self.view.object(&workload.target).and_then(|object| object.mode_label.as_deref());
        if label != Some("own") {
            return Writes::NotOptedIn;
        }
        match &self.leadership {
            Leadership::Ours => {}
            Leadership::Theirs(agent) => return Writes::OtherAgent(Some(agent.clone())),
            Leadership::Unknown => return Writes::OtherAgent(None),
        }
        if let Some(until) = tracked.standing_down.filter(|until| *until > at) {
            return Writes::StandingDown(until);
        }
        match &tracked.blocked {
            Some(blocked) if blocked.until > at => Writes::Blocked { until: blocked.until, why: blocked.why.clone() },
            _ => Writes::Own,
        }
    }

    fn end_write(&mut self, target: &Target, written: Written) {
        let at = self.parts.clock.now();
        self.parts.counters.wrote(match written.outcome {
            Outcome::Committed => "committed",
            Outcome::Refused(_) => "refused",
            Outcome::Unknown(_) => "unknown",
        });
        tracing::info!(workload = %target, from = written.from.0, to = written.to.0, outcome = %written.outcome, "wrote");
        let ended = Entry::Ended { workload: target.to_string(), at: written.at, outcome: written.outcome.clone() };
        self.record(vec![ended]);
        if let Some(tracked) = self.tracked.get_mut(target) {
            tracked.end_write(written, at);
        }
    }

    fn record(&self, round: Vec<Entry>) {
        if !self.parts.recorder.record(round) {
            self.parts.counters.journal_failed();
        }
    }

    fn say_standing_down(&self, target: &Target, object: &Scalable) {
        let note = format!(
            "somebody else set {} replicas; trimtab writes nothing to this workload for {}. Remove the other autoscaler, or set mode: shadow",
            object.replicas,
            explain::span(STAND_DOWN)
        );
        tracing::warn!(workload = %target, note, "standing down");
        if let Some(Some(resource)) = self.kinds.get(&target.kind) {
            let (events, resource, target, object) =
                (self.parts.events.clone(), resource.clone(), target.clone(), object.clone());
            let inbox = self.parts.inbox.clone();
            tokio::spawn(async move {
                let problem =
                    act::announce(&events, &resource, (&target, &object), EventType::Warning, "StandingDown", note)
                        .await;
                inbox.send(Event::Trouble { what: EVENTS.into(), problem }).await;
            });
        }
    }

    fn publish(&self, at: Timestamp, ready: Result<(), String>) {
        let workloads = self.policies.workloads().values().filter_map(|workload| {
            let tracked = self.tracked.get(&workload.target)?;
            Some(report::Workload {
                workload: workload.target.to_string(),
                policy_origin: workload.origin.to_string(),
                writes: self.may_write(workload, at),
                problem: tracked.problem.clone(),
                signals: tracked.signals.clone(),
                last: tracked.last.clone(),
                changed: tracked.changed.clone(),
            })
        });
        let report = Report {
            agent: self.parts.agent.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            at,
            leader: match &self.leadership {
                Leadership::Ours => Some(self.parts.agent.clone()),
                Leadership::Theirs(agent) => Some(agent.clone()),
                Leadership::Unknown => None,
            },
            troubles: self
                .troubles
                .iter()
                .chain(self.policies.problems())
                .map(|(what, why)| (what.clone(), why.clone()))
                .collect(),
            workloads: workloads.collect(),
        };
        self.parts.report.send_replace(Arc::new(report));
        drop(self.parts.ready.send_replace(ready));
        self.parts.turned.send_replace(Instant::now());
    }
}

/// One write, away from the loop: the patch, the Event, and the word back.
struct WriteJob {
    writer: Client,
    events: EventRecorder,
    inbox: Inbox,
    resource: ApiResource,
    target: Target,
    object: Scalable,
    decision: Decision,
}

impl WriteJob {
    async fn run(self) {
        let Self { writer, events, inbox, resource, target, object, decision } = self;
        let written = act::write(&writer, &resource, &target, &object, &decision).await;
        let said = match &written.outcome {
            Outcome::Committed => Some((EventType::Normal, decision.verb.to_string(), explain::sentence(&decision))),
            Outcome::Refused(Refusal::Changed) => None,
            Outcome::Refused(refusal) => Some((
                EventType::Warning,
                "ScalingRefused".into(),
                format!("{}: {refusal}", explain::sentence(&decision)),
            )),
            Outcome::Unknown(why) => {
                Some((EventType::Warning, "ScalingUnknown".into(), format!("{}: {why}", explain::sentence(&decision))))
            }
        };
        inbox.send(Event::Written { target: target.clone(), written }).await;
        if let Some((kind, reason, note)) = said {
            let problem = act::announce(&events, &resource, (&target, &object), kind, &reason, note).await;
            inbox.send(Event::Trouble { what: EVENTS.into(), problem }).await;
        }
    }
}

/// The namespaces that are watched one by one, or all at once.
pub(crate) fn scopes(settings: &cli::Run) -> Vec<Option<String>> {
    if settings.namespace.is_empty() { vec![None] } else { settings.namespace.iter().cloned().map(Some).collect() }
}

/// Asks the API server for a kind until it knows it: a CRD may be installed later.
async fn look_up(client: Client, kind: Kind, inbox: Inbox) {
    loop {
        let resource = watch::resolve(&client, &kind).await;
        let known = resource.is_ok();
        let resource = resource.map_err(|error| words::chain(&error));
        inbox.send(Event::Kind { kind: kind.clone(), resource }).await;
        if known {
            return;
        }
        tokio::select! {
            () = inbox.closed() => return,
            () = tokio::time::sleep(LOOK_UP_AGAIN) => {}
        }
    }
}

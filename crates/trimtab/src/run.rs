//! The live loop: one task that owns every workload's memory.
//!
//! One event at a time: it is applied, synchronously, and that is all the concurrency there is. What takes time
//! (queries, writes, the journal) runs elsewhere and comes back as an event. A round of readings makes one decision for each
//! workload; whether a decision is carried out is asked in one place, [`Loop::may_write`].

use crate::act::Written;
use crate::boot::BootClock;
use crate::clock::{self, Clock};
use crate::config::{CountedAt, Kind, Mode, Target, Workload};
use crate::explain;
use crate::import::Source;
use crate::inbox::Event;
use crate::metrics::Counters;
use crate::owner::{Identity, Ownership, Site};
use crate::policies::Policies;
use crate::record::Recorder;
use crate::report::{Considered, Lack, Report, Sights, Writes};
use crate::sense::{self, Round, Signal};
use crate::track::{Past, Tracked};
use crate::view::{Change, Scalable, View};
use crate::words::NOT_ALLOWED;
use crate::world::{Note, Order, Tasks, World};
use kube::api::ApiResource;
use kube::runtime::events::EventType;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tell::Lacking;
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use trimtab_core::invariant;
use trimtab_core::snapshot::Snapshot;
use trimtab_core::unit::{Ratio, RequestsPerSecond, Seconds, Timestamp};
use trimtab_core::{Verb, backfill, decide};
use trimtab_journal::{Entry, Outcome, Record, Refusal};

mod claims;
mod floors;
mod tell;

/// Prometheus is asked for at most this share of the time: after a round that took long, the next one waits.
const QUIET: u32 = 4;
/// How often signals are read of what another agent decides, to keep a forecast warm: the commonest scrape interval.
const FOLLOWING: Duration = Duration::from_secs(15);
/// How long nothing is written to a workload whose size somebody else changed. Ten minutes let a human finish, and keep a
/// loop that fights us to six rounds an hour.
const STAND_DOWN: Seconds = Seconds::whole(600);
/// How long the end of the process waits for writes that are under way, which read back an unknown outcome.
const LAST_WRITES: Duration = Duration::from_secs(10);
/// How long it then waits for what was claimed to be handed over.
const HANDOVER: Duration = Duration::from_secs(8);
/// After two periods without an answer from any Prometheus an agent says that it sees nothing, and lets others decide who do.
const BLIND: Duration = FOLLOWING.saturating_mul(2);
/// How long it then waits for the Lease to be released.
const RELEASE: Duration = Duration::from_secs(10);

/// That an object may not be written, with the cure.
fn not_allowed(object: &str, said: &str) -> String {
    format!("{NOT_ALLOWED}patch {object}: grant this verb to trimtab's service account ({said})")
}

/// What the loop is made of that does not change.
pub(crate) struct Parts {
    pub(crate) agent: Identity,
    pub(crate) boot: BootClock,
    pub(crate) world: Box<dyn World>,
    /// Of policies that do not say.
    pub(crate) mode: Mode,
    /// How often the signals are read.
    pub(crate) interval: Duration,
    /// What is watched: namespaces one by one, or all at once.
    pub(crate) scopes: Vec<Option<String>>,
    pub(crate) recorder: Recorder,
    pub(crate) counters: Counters,
    pub(crate) clock: Clock,
    pub(crate) report: channel::Sender<Arc<Report>>,
    pub(crate) sights: channel::Sender<Arc<Sights>>,
    pub(crate) turned: channel::Sender<Instant>,
    pub(crate) ready: channel::Sender<Result<(), String>>,
}

/// What is known of a kind that a policy names. Its tasks end with it.
#[derive(Default)]
struct Known {
    /// How the API server calls it.
    resource: Option<ApiResource>,
    /// Why it cannot be watched, with the cure.
    problem: Option<String>,
    /// Its look-up, and then its watches.
    #[expect(dead_code, reason = "held, because dropping them ends them")]
    tasks: Tasks,
}

/// The loop's memory.
pub(crate) struct Loop {
    parts: Parts,
    policies: Policies,
    view: View,
    tracked: BTreeMap<Target, Tracked>,
    kinds: BTreeMap<Kind, Known>,
    /// The targets, for those who read what costs a request for each.
    targets: channel::Sender<Arc<BTreeSet<Target>>>,
    ownership: Ownership,
    /// Keeps the Lease, once a policy wants to write.
    membership: Option<JoinHandle<()>>,
    /// Since when no Prometheus answers.
    blind: Option<Instant>,
    /// What the round that is under way reads.
    asked: BTreeSet<Target>,
    /// When what others decide is read again.
    next_following: Instant,
    /// The writes that are under way, with their Events.
    writes: TaskTracker,
    troubles: BTreeMap<String, String>,
    /// What workloads lack, since when, and whether that was said.
    lacking: BTreeMap<(String, Lack), Lacking>,
    /// Workloads that nobody has claimed though somebody should have.
    unclaimed: usize,
    /// When floors were last handed back, by autoscaler.
    handed_back: BTreeMap<Source, Timestamp>,
    /// When the next round begins; `None` while one is under way.
    next_round: Option<Instant>,
}

impl Loop {
    pub(crate) fn new(parts: Parts, policies: Policies) -> Self {
        let ownership = Ownership::new(parts.agent.clone());
        Self {
            view: View::new(parts.scopes.clone()),
            parts,
            policies,
            tracked: BTreeMap::new(),
            kinds: BTreeMap::new(),
            targets: channel::Sender::default(),
            ownership,
            membership: None,
            blind: None,
            asked: BTreeSet::new(),
            next_following: Instant::now(),
            writes: TaskTracker::new(),
            troubles: BTreeMap::new(),
            lacking: BTreeMap::new(),
            unclaimed: 0,
            handed_back: BTreeMap::new(),
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
        // What was begun is brought to its end, while nobody else may write yet.
        drop(tokio::time::timeout(LAST_WRITES, self.end_writes(&mut events)).await);
        drop(tokio::time::timeout(HANDOVER, self.hand_over(&mut events)).await);
        // Closing the inbox is the sign for everything that this loop started; the Lease is released before the process ends.
        drop(events);
        if let Some(membership) = self.membership {
            drop(tokio::time::timeout(RELEASE, membership).await);
        }
        drop(tokio::task::spawn_blocking(|| self.parts.recorder.finish()).await);
    }

    /// Ends a loop that somebody else drives, event by event, instead of [`Loop::run`].
    pub(crate) fn end(self) {
        self.parts.recorder.finish();
    }

    /// Waits for the writes that are under way, and for their Events.
    async fn end_writes(&mut self, events: &mut mpsc::Receiver<Event>) {
        self.writes.close();
        let writes = self.writes.clone();
        let mut ended = std::pin::pin!(writes.wait());
        loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => if let Event::Written { target, written } = event {
                    self.end_write(&target, written);
                },
                () = &mut ended => break,
            }
        }
    }

    /// Hands over what this agent has, so that nobody need wait until it is found to be gone.
    async fn hand_over(&mut self, events: &mut mpsc::Receiver<Event>) {
        self.ownership.leave();
        self.writes.reopen();
        for site in self.sites() {
            self.settle(&site);
        }
        self.end_writes(events).await;
    }

    /// Applies one event.
    pub(crate) fn apply(&mut self, event: Event) {
        match event {
            Event::Object { kind, scope, change } if self.kinds.contains_key(&kind) => {
                let shown = if let Change::Is(target, _) = &change { Some(target.clone()) } else { None };
                self.view.apply_object(&kind, &scope, change);
                if let Some(target) = shown.filter(|target| self.tracked.contains_key(target)) {
                    self.see_claim(&Site::Workload(target));
                }
            }
            Event::Pod { scope, change } => self.view.apply_pod(&scope, change),
            Event::PolicyMap { scope, change } => {
                self.policies.apply_map(&scope, change);
                self.follow_policies();
            }
            Event::Autoscaler { kind, scope, change } => {
                let shown = if let Change::Is(source, _) = &change { Some(source.clone()) } else { None };
                if self.policies.apply_autoscaler(kind, &scope, change) {
                    self.follow_policies();
                }
                if let Some(source) = shown {
                    self.see_claim(&Site::Autoscaler(source));
                }
            }
            Event::Wish { scope, change } => self.policies.apply_wish(&scope, change),
            Event::PolicyFile(text) => {
                self.policies.apply_file(text);
                self.follow_policies();
            }
            Event::Kind { kind, resource } => self.know_kind(&kind, resource),
            Event::Sensed(round) => self.decide_all(&round),
            Event::History { target, query, demand } => {
                if let Some(tracked) = self.tracked.get_mut(&target) {
                    tracked.learn_past(&query, demand, self.parts.clock.now());
                }
            }
            Event::Written { target, written } => self.end_write(&target, written),
            Event::Leased(leased) => self.ownership.learn(leased, self.parts.boot.now()),
            Event::Members(change) => self.ownership.apply_members(change),
            Event::Alone => self.ownership.be_alone(),
            Event::Claimed { site, refused } => self.end_claim(&site, refused),
            Event::Trouble { what, problem } => self.note_trouble(what, problem),
            // A watch that was given up may have said something before.
            Event::Object { .. } | Event::Stop => {}
        }
    }

    fn note_trouble(&mut self, what: String, problem: Option<String>) {
        match problem {
            Some(problem) if self.troubles.get(&what) != Some(&problem) => {
                if !self.is_condition(&what) {
                    tracing::warn!(what, problem, "trouble");
                }
                self.troubles.insert(what, problem);
            }
            Some(_) => {}
            None => {
                if self.troubles.remove(&what).is_some() && !self.is_condition(&what) {
                    tracing::info!(what, "trouble is over");
                }
            }
        }
    }

    /// Tracks what the policies name and forgets what they no longer do.
    fn follow_policies(&mut self) {
        let wanted = self.policies.workloads();
        self.tracked.retain(|target, _| wanted.contains_key(target));
        // Nobody writes any more what nobody wants.
        let written = |what: &str| what.strip_prefix("writing ").and_then(|target| target.parse::<Target>().ok());
        self.troubles.retain(|what, _| written(what).is_none_or(|target| wanted.contains_key(&target)));
        for (target, workload) in wanted {
            let tracked = self.tracked.entry(target.clone()).or_default();
            tracked.follow(&workload.queries.demand, workload.policy.objective.window);
        }
        self.follow_kinds();
        self.forget_claims();
        let writes = |workload: &Arc<Workload>| self.mode(workload) != Mode::Shadow;
        if self.membership.is_none() && (self.has_floors() || self.policies.workloads().values().any(writes)) {
            let joined = self.parts.world.join(self.parts.turned.subscribe(), self.ownership.wanted());
            self.membership = Some(joined);
        }
    }

    /// Looks kinds up that are named for the first time, and lets go of those that no policy names any more.
    fn follow_kinds(&mut self) {
        let targets: BTreeSet<Target> = self.policies.workloads().keys().cloned().collect();
        let wanted: BTreeSet<&Kind> = targets.iter().map(|target| &target.kind).collect();
        for kind in
            self.kinds.extract_if(.., |kind, _| !wanted.contains(kind)).map(|(kind, _)| kind).collect::<Vec<_>>()
        {
            self.view.forget(&kind);
        }
        for kind in wanted {
            if !self.kinds.contains_key(kind) {
                let tasks = self.parts.world.look_up(kind);
                self.kinds.insert(kind.clone(), Known { tasks, ..Known::default() });
            }
        }
        self.targets.send_if_modified(|known| {
            let changed = **known != targets;
            *known = Arc::new(targets);
            changed
        });
    }

    fn know_kind(&mut self, kind: &Kind, resource: Result<ApiResource, String>) {
        let Some(known) = self.kinds.get_mut(kind) else { return };
        match resource {
            Ok(resource) => {
                let tasks = self.parts.world.watch(kind, &resource, self.targets.subscribe());
                *known = Known { tasks, resource: Some(resource), problem: None };
            }
            Err(problem) => {
                // Said of each workload that is of it.
                known.problem = Some(problem);
            }
        }
    }

    fn mode(&self, workload: &Workload) -> Mode {
        workload.mode.unwrap_or(self.parts.mode)
    }

    // === a round ===

    /// Asks for all signals.
    pub(crate) fn begin_round(&mut self) {
        self.next_round = None;
        let now = self.parts.clock.now();
        self.ask_for_the_past(now);
        // What others decide only keeps a forecast warm: one agent on each node must not be a multiple of all queries.
        let all = self.next_following <= Instant::now();
        if all {
            self.next_following = Instant::now() + FOLLOWING;
        }
        let workloads: Vec<Arc<Workload>> = self.policies.workloads().values().cloned().collect();
        let asked: Vec<Arc<Workload>> =
            workloads.into_iter().filter(|workload| all || self.is_ours(workload)).collect();
        self.asked = asked.iter().map(|workload| workload.target.clone()).collect();
        self.parts.world.ask(asked);
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
            self.parts.world.recall(wanted, (now, longest));
        }
    }

    fn decide_all(&mut self, round: &Round) {
        self.parts.counters.asked(round.requests, round.took);
        for (server, problem) in &round.troubles {
            self.note_trouble(server.clone(), problem.clone());
        }
        let at = self.parts.clock.now();
        self.compare_clocks(at, &round.clocks);
        let mut entries = Vec::new();
        self.look_around(round);
        let workloads: Vec<Arc<Workload>> = self.policies.workloads().values().cloned().collect();
        for site in self.sites() {
            self.settle(&site);
        }
        for workload in &workloads {
            if !self.asked.contains(&workload.target) {
                continue;
            }
            let decided = self.decide_one(workload, round, at);
            entries.extend(decided.map(|record| Entry::Decided(Box::new(record))));
        }
        self.record(entries);
        self.hand_back_floors(at);
        // Not what a policy names: a tenant's policy for a kind that nobody may list must not take agents out of service.
        let ready = if self.view.has_pods() { Ok(()) } else { Err("pods have not been listed yet".to_owned()) };
        self.say_conditions(at);
        self.publish(at, ready);
        let pause = self.parts.interval.max(round.took * QUIET);
        self.next_round = Some(Instant::now() + pause);
    }

    /// A clock that is off, here or there, makes ages and the past wrong: it is said, and what can be is judged without it.
    fn compare_clocks(&mut self, at: Timestamp, clocks: &BTreeMap<String, i64>) {
        for (server, theirs) in clocks {
            let problem = clock::apart(at, server, Timestamp(*theirs));
            self.note_trouble(format!("clock against {server}"), problem);
        }
    }

    /// Takes one workload's decision, where everything that it needs is there, and something to decide.
    fn decide_one(&mut self, workload: &Arc<Workload>, round: &Round, at: Timestamp) -> Option<Record> {
        let target = &workload.target;
        let fleet = self.view.fleet(target, at);
        let (lack, waits) = (self.lack(workload, fleet.is_some()), self.waits(target));
        let fleet = fleet.filter(|_| lack.is_none());
        let tracked = self.tracked.get_mut(target)?;
        tracked.signals = sense::problems(workload, &round.answers);
        (tracked.lack, tracked.waits) = (lack, waits);
        let Some(fleet) = fleet else {
            tracked.last = None;
            return None;
        };
        let answer = |signal: Signal| round.answers.get(&(target.clone(), signal));
        let reporting = (workload.queries.counted_at == CountedAt::Pods).then_some(fleet.ready);
        let demand = sense::reading(answer(Signal::Demand), RequestsPerSecond::new, reporting);
        let foretold = sense::foretold((at, &demand), workload, answer);
        let snapshot = Snapshot {
            at,
            demand,
            capacity: sense::configured(
                workload.queries.capacity.is_some(),
                answer(Signal::Capacity),
                RequestsPerSecond::new,
            ),
            latency: sense::configured(workload.queries.latency.is_some(), answer(Signal::Latency), Seconds::new),
            utilization: sense::configured(
                workload.queries.utilization.is_some(),
                answer(Signal::Utilization),
                Ratio::new,
            ),
            foretold,
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
        if tracked.notices_somebody_else(&writes, object) {
            tracked.standing_down = Some(at.after(STAND_DOWN));
            tracked.rival.clone_from(&object.manager);
            self.say_standing_down(target, object);
            return None;
        }
        if !tracked.is_due(&snapshot, object) {
            return None;
        }
        if let Some(past) = tracked.past.take_in(&workload.policy, &snapshot) {
            backfill(&workload.policy, &mut tracked.state, &past);
            tracked.ordinal = 0;
        }
        if !matches!(tracked.past, Past::Done) {
            return None;
        }
        let before = Box::new(tracked.state.clone());
        let decision = decide(&workload.policy, &mut tracked.state, &snapshot);
        tracked.tally.note(&workload.policy, &snapshot, &decision);
        tracked.decided = Some(at);
        let ordinal = tracked.ordinal;
        tracked.ordinal += 1;
        self.parts.counters.decided(decision.verb);
        let considered = Considered { policy: workload.policy.clone(), snapshot, decision, outcome: None };
        let Considered { policy, snapshot, decision, .. } = considered.clone();
        self.consider(workload, considered);
        Some(Record { workload: target.to_string(), ordinal, before, policy, snapshot, decision })
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
        let epoch = self.permit(&Site::Workload(target.clone()));
        let Some(tracked) = self.tracked.get_mut(target) else { return };
        let before =
            tracked.last.as_ref().map(|last| (last.decision.verb, last.decision.to, last.decision.reason.code()));
        if before != Some((decision.verb, decision.to, decision.reason.code())) {
            tracing::info!(workload = %target, verb = %decision.verb, from = decision.from.0, to = decision.to.0,
                code = decision.reason.code(), writes = %writes, because = explain::sentence(decision), "decided");
        }
        tracked.say_partial(target, &considered);
        let write = decision.verb != Verb::Hold && writes == Writes::Own && breaches.is_empty();
        let resource = self.kinds.get(&target.kind).and_then(|known| known.resource.as_ref());
        if write && let (Some(object), Some(resource), Some(epoch)) = (self.view.object(target), resource, epoch) {
            tracked.writing = true;
            let order = Order {
                resource: resource.clone(),
                target: target.clone(),
                object: object.clone(),
                decision: decision.clone(),
                epoch,
            };
            self.parts.world.write(order, &self.writes);
        }
        tracked.last = Some(considered);
        if writes == Writes::Floor && breaches.is_empty() {
            self.follow_floor(workload);
        }
    }

    // === writing ===

    /// The actuator's door: the only place where it is asked whether a decision is carried out.
    fn may_write(&self, workload: &Workload, at: Timestamp) -> Writes {
        let Some(tracked) = self.tracked.get(&workload.target) else { return Writes::Shadow };
        let allowed = match self.mode(workload) {
            Mode::Shadow => return Writes::Shadow,
            Mode::Own => self.may_own(workload),
            Mode::Floor => self.may_raise(workload),
        };
        if !matches!(allowed, Writes::Own | Writes::Floor) {
            return allowed;
        }
        if self.permit(&self.site(workload)).is_none() {
            return Writes::OtherAgent(self.other_agent(workload));
        }
        if let Some(until) = tracked.standing_down.filter(|until| *until > at) {
            return Writes::StandingDown(until);
        }
        match &tracked.blocked {
            Some(blocked) if blocked.until > at => Writes::Blocked { until: blocked.until, why: blocked.why.clone() },
            _ => allowed,
        }
    }

    /// Whether the owner of a workload lets its size be written, and nobody else writes it.
    fn may_own(&self, workload: &Workload) -> Writes {
        let label = self.view.object(&workload.target).and_then(|object| object.mode_label.as_deref());
        if label != Some("own") {
            return Writes::NotOptedIn;
        }
        if !self.policies.knows_autoscalers(&self.parts.scopes) {
            let why = "other autoscalers have not been listed yet, so nobody knows whether one scales it";
            return Writes::Blocked { until: self.parts.clock.now(), why: why.into() };
        }
        if let Some(why) = self.autoscalers_hidden(&workload.target) {
            return Writes::Blocked { until: self.parts.clock.now(), why: why.to_owned() };
        }
        let mut others = self.policies.autoscalers_of(&workload.target);
        others
            .find(|(_, other)| other.object.active)
            .map_or(Writes::Own, |(source, _)| Writes::Beside(source.to_string()))
    }

    fn end_write(&mut self, target: &Target, written: Written) {
        let at = self.parts.clock.now();
        self.parts.counters.wrote(match written.outcome {
            Outcome::Committed => "committed",
            Outcome::Refused(_) => "refused",
            Outcome::Unknown(_) => "unknown",
        });
        match &written.outcome {
            Outcome::Refused(Refusal::Forbidden(said)) => {
                self.note_trouble(format!("writing {target}"), Some(not_allowed(&target.to_string(), said)));
            }
            outcome => {
                tracing::info!(workload = %target, from = written.from.0, to = written.to.0, %outcome, "wrote");
                self.note_trouble(format!("writing {target}"), None);
            }
        }
        let ended = Entry::Ended { workload: target.to_string(), at: written.at, outcome: written.outcome.clone() };
        self.record(vec![ended]);
        if let Some(tracked) = self.tracked.get_mut(target) {
            tracked.end_write(written, at);
        }
    }

    fn record(&mut self, round: Vec<Entry>) {
        let problem = self.parts.recorder.record(round).err().map(str::to_owned);
        self.note_trouble("recording".into(), problem);
    }

    fn say_standing_down(&self, target: &Target, object: &Scalable) {
        let manager = object.manager.as_deref().unwrap_or("somebody else");
        let note = format!(
            "{manager} set {} replicas; trimtab writes nothing to this workload for {}. Remove the other autoscaler, or set mode: shadow",
            object.replicas,
            explain::span(STAND_DOWN)
        );
        tracing::warn!(workload = %target, manager, note, "standing down");
        if let Some(resource) = self.kinds.get(&target.kind).and_then(|known| known.resource.as_ref()) {
            let note = Note {
                resource: resource.clone(),
                target: target.clone(),
                object: object.clone(),
                kind: EventType::Warning,
                reason: "StandingDown",
                text: note,
            };
            self.parts.world.say(note, &self.writes);
        }
    }
}

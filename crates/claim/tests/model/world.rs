//! The model's world: an API server with one object, agents with caches that lag, and requests between them.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::sync::Arc;
use trimtab_claim::claim::{Label, Seen};
use trimtab_claim::guard::{self, Test};
use trimtab_claim::{AgentId, Around, Boot, Epoch, Incarnation, Members, Memory, Standing, Step, Term, next};

/// What keeps the promises; each is taken away in turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guards {
    pub(crate) epoch: bool,
    pub(crate) uid: bool,
    pub(crate) generation: bool,
    pub(crate) claim: bool,
    pub(crate) highest: bool,
    pub(crate) restart: bool,
    pub(crate) listing: bool,
    /// No guard: holds the protocol without the admission policy to the promise that it keeps with it.
    pub(crate) strict: bool,
}

impl Guards {
    pub(crate) const ALL: Self = Self {
        epoch: true,
        uid: true,
        generation: true,
        claim: true,
        highest: true,
        restart: true,
        listing: true,
        strict: false,
    };
}

/// What may go wrong, and how often in all. That a cache lags, that agents judge each other dead, and that requests arrive in any order is no
/// fault but always possible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) most: u8,
    pub(crate) lost: bool,
    pub(crate) repeated: bool,
    pub(crate) restarts: bool,
    pub(crate) crashes: bool,
    pub(crate) lists: bool,
    pub(crate) leaves: bool,
    pub(crate) labels: bool,
    pub(crate) recreated: bool,
    pub(crate) edits: bool,
    pub(crate) backup: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) agents: usize,
    pub(crate) guards: Guards,
    pub(crate) faults: Faults,
    /// Whether the admission policy keeps the epoch against everyone but agents.
    pub(crate) policy: bool,
    /// Steps that are followed.
    pub(crate) depth: usize,
    /// Whether claims and writes are so few that there is an end to what can happen.
    pub(crate) bounded: bool,
}

/// A broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    /// A write of an agent, or of a process, that was no longer the one to write took effect.
    Deposed,
    /// A write landed on an object that it was not decided on.
    OtherObject,
    /// A write landed on a state that it was not decided on.
    OldIntention,
    /// A claim replaced one of a higher or the same number.
    NumberFell,
    /// An agent asks for a claim that there was before.
    SameClaimTwice,
    /// The workload was not decided within 95 s, though everything worked again.
    Undecided,
}

const MOST_CLAIMS: u8 = 4;
const MOST_GENERATION: u8 = 4;
const MOST_IN_FLIGHT: usize = 2;

/// The object, and what a historian would know of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Server {
    pub(crate) uid: u8,
    pub(crate) version: u8,
    pub(crate) generation: u8,
    pub(crate) label: Label,
    /// Every claim of this object, in order, with the process that made it.
    claims: Vec<(Epoch, (usize, u8))>,
    /// The place in it of the claim under which it was written last.
    wrote: usize,
}

/// A request on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    from: usize,
    process: u8,
    tests: Vec<Test>,
    /// The claim, or none for a write.
    epoch: Option<Epoch>,
    /// For a write: the object and the generation that it was decided on.
    basis: (u8, u8),
    /// Whether somebody still waits for the answer.
    awaited: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Agent {
    pub(crate) memory: Memory,
    /// What its cache shows: object and generation as they were.
    pub(crate) view: Option<(Seen, (u8, u8))>,
    /// What the watch will bring before it brings what is there now.
    coming: Vec<Seen>,
    listing: u64,
    process: u8,
    pub(crate) alive: bool,
    pub(crate) leaving: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) backup: Option<Box<Server>>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) requests: Vec<Request>,
    pub(crate) faults: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The agent's watch catches up.
    Observe(usize),
    /// The agent does its next step, taking the others for alive or for dead.
    Act(usize, bool),
    /// The API server carries a request out and the answer arrives.
    Deliver(usize),
    // Faults.
    /// It is carried out, and the answer is lost.
    DeliverSilently(usize),
    /// The request is lost.
    Lose(usize),
    /// The agent no longer waits for the answer; the request is on its way still.
    GiveUp(usize),
    /// The request will arrive twice.
    Repeat(usize),
    Restart(usize),
    Crash(usize),
    List(usize),
    Leave(usize),
    Prune,
    Restore(usize),
    Recreate,
    Edit,
    Backup,
    RestoreBackup,
}

/// The agents' names.
pub(crate) fn names(agents: usize) -> Vec<AgentId> {
    thread_local! {
        static NAMES: Vec<AgentId> = ["a", "b", "c"].iter().filter_map(|name| AgentId::new(name)).collect();
    }
    NAMES.with(|names| names.iter().take(agents).cloned().collect())
}

/// A number as a text, made once: the model does hardly anything else.
fn text(number: u8) -> Arc<str> {
    thread_local! {
        static TEXTS: Vec<Arc<str>> = (0..=u8::MAX).map(|number| number.to_string().into()).collect();
    }
    TEXTS.with(|texts| Arc::clone(&texts[usize::from(number)]))
}

impl Server {
    fn seen(&self, listing: u64) -> Seen {
        Seen {
            uid: text(self.uid),
            version: text(self.version),
            generation: Some(i64::from(self.generation)),
            label: self.label.clone(),
            listing,
        }
    }

    fn text(&self) -> Option<String> {
        match &self.label {
            Label::Absent => None,
            Label::Epoch(epoch) => Some(epoch.to_string()),
            Label::Other(text) => Some(text.to_string()),
        }
    }

    fn holds(&self, test: &Test) -> bool {
        match test {
            Test::Uid(uid) => *uid == text(self.uid),
            Test::Label(label) => self.text().as_deref() == Some(label),
            Test::Version(version) => *version == text(self.version),
            Test::Generation(generation) => *generation == i64::from(self.generation),
        }
    }

    /// The place of the claim that the label shows.
    fn place(&self) -> Option<usize> {
        let shown = self.label.epoch()?;
        self.claims.iter().rposition(|(claim, _)| claim == shown)
    }
}

impl World {
    pub(crate) fn new(setup: &Setup) -> Self {
        let agent = Agent {
            memory: Memory::default(),
            view: None,
            coming: Vec::new(),
            listing: 0,
            process: 0,
            alive: true,
            leaving: false,
        };
        Self {
            server: Server { uid: 0, version: 0, generation: 1, label: Label::Absent, claims: Vec::new(), wrote: 0 },
            backup: None,
            agents: vec![agent; setup.agents],
            requests: Vec::new(),
            faults: 0,
        }
    }

    /// All that may happen next.
    pub(crate) fn actions(&self, setup: &Setup) -> Vec<Action> {
        let mut all = Vec::new();
        for (i, agent) in self.agents.iter().enumerate().filter(|(_, agent)| agent.alive) {
            if agent.view.as_ref().is_none_or(|(seen, _)| *seen != self.server.seen(agent.listing))
                || !agent.coming.is_empty()
            {
                all.push(Action::Observe(i));
            }
            if agent.view.is_some() && self.requests.len() < MOST_IN_FLIGHT {
                all.extend([Action::Act(i, false), Action::Act(i, true)]);
            }
        }
        all.extend((0..self.requests.len()).map(Action::Deliver));
        if self.faults < setup.faults.most {
            self.faults(setup, &mut all);
        }
        all
    }

    fn faults(&self, setup: &Setup, all: &mut Vec<Action>) {
        let faults = &setup.faults;
        for (j, request) in self.requests.iter().enumerate() {
            if faults.lost {
                all.extend([Action::DeliverSilently(j), Action::Lose(j)]);
                all.extend(request.awaited.then_some(Action::GiveUp(j)));
            }
            if faults.repeated && self.requests.len() < MOST_IN_FLIGHT + 1 {
                all.push(Action::Repeat(j));
            }
        }
        let staying = self.agents.iter().filter(|agent| agent.alive && !agent.leaving).count();
        for (i, agent) in self.agents.iter().enumerate().filter(|(_, agent)| agent.alive) {
            all.extend(faults.restarts.then_some(Action::Restart(i)));
            all.extend(faults.lists.then_some(Action::List(i)));
            if staying > 1 {
                all.extend(faults.crashes.then_some(Action::Crash(i)));
                all.extend((faults.leaves && !agent.leaving).then_some(Action::Leave(i)));
            }
        }
        if faults.labels && !setup.policy {
            all.push(Action::Prune);
            all.extend((0..self.server.claims.len()).map(Action::Restore));
        }
        all.extend((faults.recreated && self.server.uid == 0).then_some(Action::Recreate));
        all.extend((faults.edits && self.server.generation < MOST_GENERATION).then_some(Action::Edit));
        if faults.backup {
            all.push(if self.backup.is_some() { Action::RestoreBackup } else { Action::Backup });
        }
    }

    /// What the world is like after `action`, or which promise it breaks.
    pub(crate) fn after(&self, action: &Action, setup: &Setup) -> Result<Self, Breach> {
        let mut world = self.clone();
        if !matches!(action, Action::Observe(_) | Action::Act(..) | Action::Deliver(_)) {
            world.faults += 1;
        }
        match *action {
            Action::Observe(i) => world.observe(i),
            Action::Act(i, dead) => {
                let standing = if dead { Standing::Gone } else { Standing::Working };
                let others = names(setup.agents).into_iter().map(|name| (name, standing)).collect();
                world.act(i, &others, &members(setup.agents, &[]), Boot(0), setup)?;
            }
            Action::Deliver(j) => {
                let request = world.requests.remove(j);
                world.deliver(&request, request.awaited, setup)?;
            }
            Action::DeliverSilently(j) => {
                let request = world.requests.remove(j);
                world.give_up(&request);
                world.deliver(&request, false, setup)?;
            }
            Action::Lose(j) => {
                let request = world.requests.remove(j);
                world.give_up(&request);
            }
            Action::GiveUp(j) => {
                let request = world.requests[j].clone();
                world.give_up(&request);
                world.requests[j].awaited = false;
            }
            Action::Repeat(j) => {
                let again = Request { awaited: false, ..world.requests[j].clone() };
                world.requests.push(again);
            }
            Action::Restart(i) => world.restart(i, setup),
            Action::Crash(i) => {
                world.agents[i].alive = false;
                world.orphan(i);
            }
            Action::List(i) => world.list(i, setup),
            Action::Leave(i) => world.agents[i].leaving = true,
            Action::Prune => world.change(|server| server.label = Label::Absent),
            Action::Restore(place) => {
                let label = Label::Epoch(self.server.claims[place].0.clone());
                world.change(|server| server.label = label);
            }
            Action::Recreate => world.change(|server| {
                (server.uid, server.generation) = (server.uid + 1, 1);
                (server.claims, server.wrote) = (Vec::new(), 0);
            }),
            Action::Edit => world.change(|server| server.generation += 1),
            Action::Backup => world.backup = Some(Box::new(world.server.clone())),
            Action::RestoreBackup => {
                let kept = world.backup.take().expect("offered only where there is one");
                world.change(|server| *server = *kept);
            }
        }
        Ok(world)
    }

    /// Something changes the object; every watch will bring it.
    fn change(&mut self, how: impl FnOnce(&mut Server)) {
        for agent in &mut self.agents {
            // What is there now is brought before what comes next.
            agent.coming.push(self.server.seen(agent.listing));
        }
        how(&mut self.server);
        self.server.version = self.server.version.wrapping_add(1);
        for agent in &mut self.agents {
            let label_of = |seen: &Seen| (seen.uid.clone(), seen.label.clone());
            // Who has no view yet lists first, and of the same label one is enough.
            let shown = agent.view.as_ref().map(|(seen, _)| label_of(seen));
            agent.coming.dedup_by_key(|seen| label_of(seen));
            if agent.coming.first().map(label_of) == shown || shown.is_none() {
                agent.coming.drain(..1);
            }
            if shown.is_none() {
                agent.coming.clear();
            }
        }
    }

    pub(crate) fn observe(&mut self, i: usize) {
        let agent = &mut self.agents[i];
        for seen in std::mem::take(&mut agent.coming) {
            agent.memory.see(&seen, Boot(0));
        }
        let seen = self.server.seen(agent.listing);
        agent.memory.see(&seen, Boot(0));
        agent.view = Some((seen, (self.server.uid, self.server.generation)));
    }

    fn list(&mut self, i: usize, setup: &Setup) {
        let agent = &mut self.agents[i];
        agent.coming.clear();
        if setup.guards.listing {
            agent.listing += 1;
        }
        self.observe(i);
    }

    fn restart(&mut self, i: usize, setup: &Setup) {
        self.orphan(i);
        let agent = &mut self.agents[i];
        agent.process += 1;
        agent.memory = Memory::default();
        agent.coming.clear();
        agent.view = None;
        if !setup.guards.restart {
            // Takes the claim of the process before it for its own.
            self.observe(i);
            let agent = &mut self.agents[i];
            let Some((seen, _)) = &agent.view else { return };
            if let Some(epoch) =
                seen.label.epoch().filter(|epoch| epoch.agent == names(i + 1)[i] && epoch.run.is_some())
            {
                let before = Seen { label: Label::Absent, ..seen.clone() };
                agent.memory.ask(epoch.clone(), Term(0), &before);
                agent.memory.see(seen, Boot(0));
            }
        }
    }

    fn orphan(&mut self, i: usize) {
        for request in self.requests.iter_mut().filter(|request| request.from == i) {
            request.awaited = false;
        }
    }

    fn give_up(&mut self, request: &Request) {
        if request.awaited && request.epoch.is_some() {
            self.agents[request.from].memory.give_up();
        }
    }

    /// One step of an agent; what it sends is on its way then.
    pub(crate) fn act(
        &mut self,
        i: usize,
        standings: &BTreeMap<AgentId, Standing>,
        members: &Members,
        now: Boot,
        setup: &Setup,
    ) -> Result<Option<Step>, Breach> {
        let me = names(setup.agents).swap_remove(i);
        let agent = &mut self.agents[i];
        let Some((seen, basis)) = agent.view.clone() else { return Ok(None) };
        let run = Incarnation(if setup.guards.restart { u32::from(agent.process) } else { 0 });
        let hosts = BTreeSet::new();
        let around = Around {
            me: &me,
            run,
            term: Some(Term(0)),
            members,
            hosts: &hosts,
            standings,
            leaving: agent.leaving,
            blind: false,
            now,
        };
        let step = next(&mut agent.memory, &seen, &around);
        let process = agent.process;
        let request = |tests, epoch| Request { from: i, process, tests, epoch, basis, awaited: true };
        match &step {
            Step::Wait(_) => {}
            // Decided on this already, by this process: nothing new to write.
            Step::Decide(epoch) => {
                let write = request(write_tests(&seen, epoch, setup), None);
                if (!setup.bounded || self.server.generation < MOST_GENERATION) && !self.requests.contains(&write) {
                    self.requests.push(write);
                }
            }
            Step::Claim(epoch, _) | Step::HandOver(epoch, _) => {
                let mut epoch = epoch.clone();
                if !setup.guards.highest {
                    let shown = seen.label.epoch().map(|epoch| epoch.number).unwrap_or_default();
                    epoch.number = shown.next();
                }
                if !setup.bounded || self.server.claims.len() < usize::from(MOST_CLAIMS) {
                    if epoch.run.is_some() && self.server.claims.iter().any(|(claim, _)| *claim == epoch) {
                        return Err(Breach::SameClaimTwice);
                    }
                    let tests =
                        if setup.guards.claim { guard::of_claim(&seen) } else { vec![Test::Uid(seen.uid.clone())] };
                    agent.memory.ask(epoch.clone(), Term(0), &seen);
                    self.requests.push(request(tests, Some(epoch)));
                }
            }
        }
        Ok(Some(step))
    }

    pub(crate) fn deliver(&mut self, request: &Request, told: bool, setup: &Setup) -> Result<(), Breach> {
        if !request.tests.iter().all(|test| self.server.holds(test)) {
            if told && request.epoch.is_some() {
                self.agents[request.from].memory.give_up();
            }
            return Ok(());
        }
        match &request.epoch {
            Some(epoch) => self.commit_claim(request, epoch),
            None => self.commit_write(request, setup),
        }
    }

    fn commit_claim(&mut self, request: &Request, epoch: &Epoch) -> Result<(), Breach> {
        if self.server.label.epoch().is_some_and(|shown| shown.number >= epoch.number) {
            return Err(Breach::NumberFell);
        }
        let claim = (epoch.clone(), (request.from, request.process));
        self.change(|server| {
            server.label = Label::Epoch(claim.0.clone());
            server.claims.push(claim);
        });
        Ok(())
    }

    fn commit_write(&mut self, request: &Request, setup: &Setup) -> Result<(), Breach> {
        let server = &self.server;
        let newest = server.claims.len();
        let place = server.place().map_or(0, |place| place + 1);
        let writer = (request.from, request.process);
        let owner = place.checked_sub(1).and_then(|place| server.claims.get(place)).map(|(_, owner)| *owner);
        if request.basis.0 != server.uid {
            return Err(Breach::OtherObject);
        }
        let strict = setup.policy || setup.guards.strict;
        if owner != Some(writer) || (strict && place != newest) || place < server.wrote {
            return Err(Breach::Deposed);
        }
        if request.basis.1 != server.generation {
            return Err(Breach::OldIntention);
        }
        self.change(|server| {
            server.generation += 1;
            server.wrote = place;
        });
        Ok(())
    }
}

fn write_tests(seen: &Seen, epoch: &Epoch, setup: &Setup) -> Vec<Test> {
    let guards = &setup.guards;
    let kept = |test: &Test| match test {
        Test::Uid(_) => guards.uid,
        Test::Label(_) => guards.epoch,
        Test::Generation(_) => guards.generation,
        Test::Version(_) => true,
    };
    guard::of_write(seen, epoch).into_iter().filter(kept).collect()
}

/// All agents but those.
pub(crate) fn members(agents: usize, without: &[usize]) -> Members {
    let there = names(agents).into_iter().enumerate().filter(|(i, _)| !without.contains(i));
    there.map(|(_, name)| (name, None)).collect()
}

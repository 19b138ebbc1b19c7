//! The protocol: what an agent does next about one workload.
//!
//! [`next`] takes what the agent remembers of the object, what its watch shows, and what it knows around it, and says one
//! [`Step`]. A claim counts when the watch shows it, not when an answer says so: a lost answer, a repeated
//! delivery and a claim that was overtaken need no case of their own. It ends with whatever could hide another claim from its holder:
//! a watch that had to list anew, a lease that ended, a process that was started again. It is then made anew, one number above
//! the highest that was ever seen of this object, and never resumed.

use crate::epoch::{AgentId, Epoch, Incarnation, Number};
use crate::lease::{DURATION, Standing, Term};
use crate::member::{Members, Node};
use crate::unit::{Boot, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A workload that changed hands is not handed to a preferred agent again for so long. Preference follows the pods, which move
/// whenever a workload grows.
pub const SETTLE: Span = Span::seconds(600);

/// The label of an object, as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Label {
    /// There is none.
    #[default]
    Absent,
    /// An epoch.
    Epoch(Epoch),
    /// Something else, which claims nothing.
    Other(Arc<str>),
}

impl Label {
    /// What `text` says.
    #[must_use]
    pub fn read(text: Option<&str>) -> Self {
        match text.map(|text| text.parse::<Epoch>().map_err(|_| text)) {
            None => Self::Absent,
            Some(Ok(epoch)) => Self::Epoch(epoch),
            Some(Err(text)) => Self::Other(text.into()),
        }
    }

    /// The epoch, where it is one.
    #[must_use]
    pub fn epoch(&self) -> Option<&Epoch> {
        match self {
            Self::Epoch(epoch) => Some(epoch),
            Self::Absent | Self::Other(_) => None,
        }
    }
}

/// An object, as the watch shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`.
    pub version: Arc<str>,
    /// `metadata.generation`, where the kind has a dependable one.
    pub generation: Option<i64>,
    /// Who claims it.
    pub label: Label,
    /// How often the watch had to list: between two listings anything may have happened unseen.
    pub listing: u64,
}

/// What an agent remembers of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    uid: Arc<str>,
    /// The highest number that was seen of it.
    highest: Number,
    held: Option<Held>,
    /// What this run held last, whatever became of it.
    last: Option<Epoch>,
    /// A claim or hand-over that was sent and is not shown by the watch yet, with the label that it is to replace.
    asked: Option<(Held, Label)>,
    label: Label,
    /// Since when the label is what it is, as seen here.
    moved: Boot,
}

/// A claim, and what it ends with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Held {
    epoch: Epoch,
    term: Term,
    listing: u64,
}

/// What an agent knows around a workload.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// This agent.
    pub me: &'a AgentId,
    /// This run of it.
    pub run: Incarnation,
    /// The term of its own lease, while it lasts.
    pub term: Option<Term>,
    /// Who is there.
    pub members: &'a Members,
    /// The nodes of the workload's pods.
    pub hosts: &'a BTreeSet<Node>,
    /// What is known of others.
    pub standings: &'a BTreeMap<AgentId, Standing>,
    /// Whether this agent is about to end.
    pub leaving: bool,
    /// Whether it has seen nothing to decide from for two periods.
    pub blind: bool,
    /// The moment.
    pub now: Boot,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// It is ours: decide, and write under this epoch.
    Decide(Epoch),
    /// Write this epoch, which is ours, into the label.
    Claim(Epoch, Cause),
    /// Write this epoch, which invites another agent, into the label.
    HandOver(Epoch, Cause),
    /// Nothing.
    Wait(Waiting),
}

/// Why a workload changes hands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nobody had claimed it, and this agent is preferred.
    Unclaimed,
    /// The label names this agent: it was invited, or claims anew what could have been claimed unseen by another.
    Named,
    /// Somebody who is no agent changed the label of what was this agent's.
    Restored,
    /// That agent's Lease has not changed for long enough.
    Silent(AgentId),
    /// That agent has released its Lease, or has none.
    Gone(AgentId),
    /// That agent lives, and does not claim what is its to claim.
    Idle(AgentId),
    /// This agent ends.
    Leaving,
    /// This agent sees nothing to decide from, and another one does.
    Blind,
    /// Another agent is preferred, by the nodes of the pods or by lot.
    Preferred,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unclaimed => f.write_str("nobody had claimed it"),
            Self::Named => f.write_str("it was handed over, or is claimed anew"),
            Self::Restored => f.write_str("somebody else had changed its label"),
            Self::Silent(agent) => write!(f, "agent {agent} had not renewed its Lease for {DURATION}"),
            Self::Gone(agent) => write!(f, "agent {agent} was gone"),
            Self::Idle(agent) => write!(f, "agent {agent} had not claimed it for {DURATION}"),
            Self::Leaving => f.write_str("its agent ends"),
            Self::Blind => f.write_str("its agent sees nothing to decide from"),
            Self::Preferred => f.write_str("another agent is preferred"),
        }
    }
}

/// Why there is nothing to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Waiting {
    /// This agent's lease has ended: it could not renew it, or does not decide.
    Fenced,
    /// A claim is under way.
    Asked,
    /// That agent has it, or is to claim it.
    Other(AgentId),
    /// There is nobody who could claim it.
    Nobody,
}

/// What to do next about the object that `memory` is of.
pub fn next(memory: &mut Memory, seen: &Seen, around: &Around<'_>) -> Step {
    memory.see(seen, around.now);
    let Some(term) = around.term else {
        memory.let_go();
        return Step::Wait(Waiting::Fenced);
    };
    memory.end_what_was_before(term, seen.listing);
    if memory.asked.is_some() {
        return Step::Wait(Waiting::Asked);
    }
    match (memory.held(), seen.label.epoch()) {
        (Some(held), _) => successor(memory, around)
            .map_or(Step::Decide(held.clone()), |(next, cause)| Step::HandOver(invitation(memory, next), cause)),
        (None, Some(named)) if named.agent == *around.me => enter(memory, Cause::Named, around),
        _ if memory.was_taken_away() => enter(memory, Cause::Restored, around),
        (None, Some(named)) => succeed(memory, &named.agent, named.run.is_none(), around),
        (None, None) => match around.members.preferred(&seen.uid, around.hosts, None) {
            Some(preferred) if preferred == around.me => enter(memory, Cause::Unclaimed, around),
            Some(preferred) => succeed(memory, preferred, true, around),
            None => Step::Wait(Waiting::Nobody),
        },
    }
}

/// Nobody else has it: it is this agent's turn, or that of whom it prefers when it ends.
fn enter(memory: &Memory, cause: Cause, around: &Around<'_>) -> Step {
    if around.leaving {
        let next = successor(memory, around);
        return next
            .map_or(Step::Wait(Waiting::Nobody), |(next, cause)| Step::HandOver(invitation(memory, next), cause));
    }
    let epoch = Epoch { number: memory.highest.next(), agent: around.me.clone(), run: Some(around.run) };
    Step::Claim(epoch, cause)
}

/// It is `other`'s, or `other`'s to claim; who looks after `other` claims it when that one does not live, or does not come.
fn succeed(memory: &Memory, other: &AgentId, vacant: bool, around: &Around<'_>) -> Step {
    let cause = match around.standings.get(other) {
        Some(Standing::Silent) => Some(Cause::Silent(other.clone())),
        Some(Standing::Gone) => Some(Cause::Gone(other.clone())),
        _ if vacant && around.now.since(memory.moved) >= DURATION => Some(Cause::Idle(other.clone())),
        _ => None,
    };
    match cause {
        Some(cause) if around.members.watchers(other).contains(&around.me) => enter(memory, cause, around),
        _ => Step::Wait(Waiting::Other(other.clone())),
    }
}

fn invitation(memory: &Memory, next: &AgentId) -> Epoch {
    Epoch { number: memory.highest.next(), agent: next.clone(), run: None }
}

/// Who should have it instead of this agent, if anybody, and why.
fn successor<'a>(memory: &Memory, around: &Around<'a>) -> Option<(&'a AgentId, Cause)> {
    let standing = |agent: &AgentId| around.standings.get(agent).copied().unwrap_or(Standing::Unknown);
    let works = |agent: &&AgentId| standing(agent) == Standing::Working;
    if around.leaving {
        let preferred = around.members.preferred(&memory.uid, around.hosts, Some(around.me));
        let mut others = preferred.into_iter().chain(around.members.watchers(around.me));
        return others.find(|agent| !standing(agent).is_over()).map(|next| (next, Cause::Leaving));
    }
    if around.blind {
        return around.members.watchers(around.me).into_iter().find(works).map(|next| (next, Cause::Blind));
    }
    let preferred = memory.heir(around)?;
    works(&preferred).then_some((preferred, Cause::Preferred))
}

impl Memory {
    /// The watch shows this. To be told of everything that it shows, also where nothing is to be done.
    pub fn see(&mut self, seen: &Seen, now: Boot) {
        if self.uid != seen.uid {
            *self = Self { uid: Arc::clone(&seen.uid), label: seen.label.clone(), moved: now, ..Self::default() };
        }
        if self.label != seen.label {
            self.label = seen.label.clone();
            self.moved = now;
        }
        let shown = seen.label.epoch();
        self.highest = self.highest.max(shown.map_or(Number(0), |epoch| epoch.number));
        self.held = self.held.take().filter(|held| shown == Some(&held.epoch));
        // Whatever the label is next was ours, or came before ours, which then failed its test.
        if let Some((asked, _)) = self.asked.take_if(|(_, from)| *from != seen.label) {
            let ours = asked.epoch.run.is_some() && shown == Some(&asked.epoch) && asked.listing == seen.listing;
            self.held = ours.then_some(asked);
        }
        if let Some(held) = &self.held {
            self.last = Some(held.epoch.clone());
        }
    }

    /// A claim or a hand-over of this epoch is sent, in this term, on what was seen.
    pub fn ask(&mut self, epoch: Epoch, term: Term, seen: &Seen) {
        self.highest = self.highest.max(epoch.number);
        // What is handed over is given up first: a hand-over whose answer is lost may have happened.
        self.held = None;
        self.asked = Some((Held { epoch, term, listing: seen.listing }, seen.label.clone()));
    }

    /// The claim or hand-over was not done, or nobody knows: then the watch will show it, and it is made anew.
    pub fn give_up(&mut self) {
        self.asked = None;
    }

    /// The claim that is held: it may be written under, while its term lasts.
    #[must_use]
    pub fn held(&self) -> Option<&Epoch> {
        self.held.as_ref().map(|held| &held.epoch)
    }

    /// The claim that is held in `term`, where it was made in it.
    #[must_use]
    pub fn held_in(&self, term: Option<Term>) -> Option<&Epoch> {
        self.held.as_ref().filter(|held| Some(held.term) == term).map(|held| &held.epoch)
    }

    /// Since when the label is what it is, as this agent saw it.
    #[must_use]
    pub fn moved(&self) -> Boot {
        self.moved
    }

    /// Who is to have what this agent holds, once it is seen to work: who is preferred, where it has not changed hands lately.
    #[must_use]
    pub fn heir<'a>(&self, around: &Around<'a>) -> Option<&'a AgentId> {
        let settled = around.now.since(self.moved) >= SETTLE;
        self.held.as_ref().filter(|_| settled)?;
        around.members.preferred(&self.uid, around.hosts, None).filter(|preferred| *preferred != around.me)
    }

    /// The label, as it was seen last.
    #[must_use]
    pub fn label(&self) -> &Label {
        &self.label
    }

    fn let_go(&mut self) {
        self.held = None;
        self.asked = None;
    }

    fn end_what_was_before(&mut self, term: Term, listing: u64) {
        let lasts = |held: &Held| held.term == term && held.listing == listing;
        self.held = self.held.take().filter(lasts);
        self.asked = self.asked.take().filter(|(asked, _)| lasts(asked));
    }

    /// Whether what this run held last was the highest claim ever, and the label was changed by somebody who is no agent.
    fn was_taken_away(&self) -> bool {
        let shown = self.label.epoch().map_or(Number(0), |epoch| epoch.number);
        shown < self.highest && self.last.as_ref().is_some_and(|last| last.number == self.highest)
    }
}

//! Which objects are this agent's to write: what the protocol of [`trimtab_claim`] needs to know, gathered from the watches and the Leases.
//!
//! The loop asks `Ownership::next` after everything that it sees of a workload that it may write to, and `Ownership::held` before it
//! writes. Nothing here waits or asks anybody; what is to be asked of the API server is returned, or left in [`Wanted`] for
//! the task that looks at Leases.

use crate::config::Target;
use crate::import::Source;
use crate::lease::{Leased, Wanted};
use crate::view::{Change, Scalable, Shelf};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;
use trimtab_claim::answer::Meaning;
use trimtab_claim::claim::Label;
use trimtab_claim::lease::{LONGEST_GAP, Sight};
use trimtab_claim::member::Node;
use trimtab_claim::{
    AgentId, Around, Boot, Cause, Epoch, Incarnation, Members, Memory, Seen, Span, Standing, Step, Tenure, Waiting,
    next,
};

/// A claim that was not done is made again after so long; sooner where somebody was quicker and the watch shows something newer.
const CLAIM_AGAIN: Span = Span::seconds(15);

/// One agent as the agents' own Service lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name in labels.
    pub agent: AgentId,
    /// Its pod.
    pub pod: String,
    /// Its node.
    pub node: Option<Node>,
}

/// Who this agent is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name in labels and Leases.
    pub agent: AgentId,
    /// This run of its process.
    pub run: Incarnation,
    /// How it is called in what people read: its pod, or host and process.
    pub name: String,
}

/// An object that is written, and so is claimed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Site {
    /// A workload, whose size is.
    Workload(Target),
    /// An autoscaler, whose least size is.
    Autoscaler(Source),
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Workload(target) => target.fmt(f),
            Self::Autoscaler(source) => source.fmt(f),
        }
    }
}

impl Site {
    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self {
            Self::Workload(target) => &target.namespace,
            Self::Autoscaler(source) => &source.namespace,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Workload(target) => &target.name,
            Self::Autoscaler(source) => &source.name,
        }
    }
}

/// An object that changed hands, as this agent knows it.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) epoch: Epoch,
    /// Since when, as this agent saw it.
    pub(crate) since: Boot,
    /// Why, where this agent claimed it.
    pub(crate) cause: Option<Cause>,
}

/// What is to be written into a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) epoch: Epoch,
    pub(crate) cause: Cause,
}

/// Which objects are whose.
pub(crate) struct Ownership {
    me: Identity,
    tenure: Tenure,
    slices: Shelf<String, Vec<Member>>,
    members: Members,
    /// The members that this agent looks after.
    wards: BTreeSet<AgentId>,
    sights: BTreeMap<AgentId, Sight>,
    standings: BTreeMap<AgentId, Standing>,
    sites: BTreeMap<Site, Owned>,
    leaving: bool,
    blind: bool,
    /// There is no other agent, and no Lease.
    alone: bool,
    wanted: watch::Sender<Wanted>,
}

#[derive(Debug, Default)]
struct Owned {
    memory: Memory,
    hosts: BTreeSet<Node>,
    /// What this agent asked for last, and the version of the object that it asked on.
    asked: Option<(Ask, Arc<str>)>,
    /// The claim that was not done last.
    vain: Option<Vain>,
}

/// A claim that was not done. Asked for again on the same state of the object, it would be refused again: a watch may lag.
#[derive(Debug)]
struct Vain {
    at: Boot,
    /// The version that it was asked for on, where somebody was quicker; `None` where it was refused for another reason.
    version: Option<Arc<str>>,
}

impl Vain {
    /// Whether asking again would be no use yet.
    fn lasts(&self, seen: &Seen, now: Boot) -> bool {
        let another = self.version.as_ref().is_some_and(|version| *version != seen.version);
        !another && now.since(self.at) < CLAIM_AGAIN
    }
}

impl Ownership {
    pub(crate) fn new(me: Identity) -> Self {
        let mut new = Self {
            me,
            tenure: Tenure::default(),
            slices: Shelf::new(),
            members: Members::default(),
            wards: BTreeSet::new(),
            sights: BTreeMap::new(),
            standings: BTreeMap::new(),
            sites: BTreeMap::new(),
            leaving: false,
            blind: false,
            alone: false,
            wanted: watch::Sender::default(),
        };
        new.count_members();
        new
    }

    /// What the task that looks at Leases is to do.
    pub(crate) fn wanted(&self) -> watch::Receiver<Wanted> {
        self.wanted.subscribe()
    }

    /// There is no other agent.
    pub(crate) fn be_alone(&mut self) {
        self.alone = true;
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    pub(crate) fn name(&self) -> &AgentId {
        &self.me.agent
    }

    /// The task that keeps the Lease says something.
    pub(crate) fn learn(&mut self, leased: Leased, now: Boot) {
        match leased {
            Leased::Renewed { sent } => self.tenure.renew(sent, now),
            Leased::Lost => self.tenure.end(),
            Leased::Looked { agent, said, at } => {
                let sight = self.sights.entry(agent.clone()).or_default();
                sight.look(said, at);
                self.standings.insert(agent, sight.standing());
            }
        }
    }

    /// The watch on the agents' own Service speaks.
    pub(crate) fn apply_members(&mut self, change: Change<String, Vec<Member>>) {
        let listing = matches!(change, Change::Listing);
        self.slices.apply(change);
        if !listing {
            self.count_members();
        }
    }

    /// An agent that no Service lists, such as one on a laptop, knows of no other: it claims what nobody else has.
    fn count_members(&mut self) {
        let listed = self
            .slices
            .iter()
            .flat_map(|(_, members)| members)
            .map(|member| (member.agent.clone(), member.node.clone()));
        self.members = listed.collect();
        if self.members.agents().next().is_none() {
            self.members = [(self.me.agent.clone(), None)].into_iter().collect();
        }
        self.wards = self.members.agents().filter(|agent| self.looks_after(agent)).cloned().collect();
    }

    fn looks_after(&self, agent: &AgentId) -> bool {
        *agent != self.me.agent && self.members.watchers(agent).contains(&&self.me.agent)
    }

    /// How people call an agent.
    pub(crate) fn called(&self, agent: &AgentId) -> String {
        if *agent == self.me.agent {
            return self.me.name.clone();
        }
        let member = self.slices.iter().flat_map(|(_, members)| members).find(|member| member.agent == *agent);
        member.map_or_else(|| agent.to_string(), |member| member.pod.clone())
    }

    /// This process ends: everything is handed over.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
    }

    #[cfg(test)]
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving
    }

    pub(crate) fn forget_others(&mut self, keeps: impl Fn(&Site) -> bool) {
        self.sites.retain(|site, _| keeps(site));
    }

    /// The watch shows this of an object.
    pub(crate) fn see(&mut self, site: &Site, seen: &Seen, now: Boot) {
        self.sites.entry(site.clone()).or_default().memory.see(seen, now);
    }

    /// What is to be done about an object that may be written. What is returned is to be sent.
    pub(crate) fn next(&mut self, site: &Site, seen: &Seen, hosts: BTreeSet<Node>, now: Boot) -> Option<Ask> {
        let owned = self.sites.entry(site.clone()).or_default();
        owned.hosts = hosts;
        if owned.vain.as_ref().is_some_and(|vain| vain.lasts(seen, now)) {
            return None;
        }
        let term = self.tenure.term_at(now);
        let around = Around {
            me: &self.me.agent,
            run: self.me.run,
            term,
            members: &self.members,
            hosts: &owned.hosts,
            standings: &self.standings,
            leaving: self.leaving,
            blind: self.blind,
            now,
        };
        match next(&mut owned.memory, seen, &around) {
            Step::Claim(epoch, cause) | Step::HandOver(epoch, cause) => {
                owned.memory.ask(epoch.clone(), term?, seen);
                let ask = Ask { epoch, cause };
                owned.asked = Some((ask.clone(), Arc::clone(&seen.version)));
                Some(ask)
            }
            Step::Decide(_) | Step::Wait(Waiting::Fenced | Waiting::Asked | Waiting::Other(_) | Waiting::Nobody) => {
                None
            }
        }
    }

    /// What was asked for was not done, or nobody knows. Says whether that is because somebody was quicker: the watch shows by whom.
    pub(crate) fn give_up(&mut self, site: &Site, meaning: Meaning, now: Boot) -> bool {
        let quicker = matches!(meaning, Meaning::Changed | Meaning::Gone);
        if let Some(owned) = self.sites.get_mut(site) {
            owned.memory.give_up();
            let version = owned.asked.as_ref().filter(|_| quicker).map(|(_, version)| Arc::clone(version));
            owned.vain = Some(Vain { at: now, version });
        }
        quicker
    }

    /// The claim under which an object may be written now.
    pub(crate) fn held(&self, site: &Site, now: Boot) -> Option<&Epoch> {
        self.sites.get(site)?.memory.held_in(self.tenure.term_at(now))
    }

    /// Whether this agent may write at all.
    pub(crate) fn has_lease(&self, now: Boot) -> bool {
        self.alone || self.tenure.term_at(now).is_some()
    }

    /// Whom the label names.
    pub(crate) fn owner(&self, site: &Site) -> Option<&AgentId> {
        self.sites.get(site)?.memory.label().epoch().map(|epoch| &epoch.agent)
    }

    /// Who has it, since when, and why.
    pub(crate) fn claimed(&self, site: &Site) -> Option<Claimed> {
        let owned = self.sites.get(site)?;
        let epoch = owned.memory.label().epoch()?.clone();
        let asked = owned.asked.as_ref().filter(|(asked, _)| asked.epoch == epoch);
        let cause = asked.map(|(asked, _)| asked.cause.clone());
        Some(Claimed { since: owned.memory.moved(), cause, epoch })
    }

    /// Whether an object is this agent's: it has it, or would have it.
    pub(crate) fn is_ours(&self, site: &Site, uid: &str, hosts: &BTreeSet<Node>) -> bool {
        if self.alone {
            return true;
        }
        let preferred = || self.members.preferred(uid, hosts, None);
        self.owner(site).or_else(preferred).is_none_or(|agent| *agent == self.me.agent)
    }

    /// How long an object has been without a claim that could be written under, where that is longer than it may be.
    pub(crate) fn unclaimed(&self, site: &Site, now: Boot) -> Option<Span> {
        let memory = &self.sites.get(site)?.memory;
        let claimed = matches!(memory.label(), Label::Epoch(Epoch { run: Some(_), .. }));
        let since = now.since(memory.moved());
        (!self.alone && !claimed && since > LONGEST_GAP).then_some(since)
    }

    /// Whether this agent sees nothing to decide from, and whose Leases are to be looked at from now on.
    pub(crate) fn look_around(&mut self, blind: bool, now: Boot) {
        self.blind = blind;
        let me = &self.me.agent;
        let named = self.sites.values().filter_map(|owned| Some(&owned.memory.label().epoch()?.agent));
        let strangers: BTreeSet<&AgentId> = named.filter(|agent| !self.members.contains(agent)).collect();
        let mut looks = self.wards.clone();
        looks.extend(strangers.into_iter().filter(|agent| self.looks_after(agent)).cloned());
        if blind {
            looks.extend(self.members.watchers(me).into_iter().cloned());
        }
        for owned in self.sites.values() {
            let around = Around {
                me,
                run: self.me.run,
                term: None,
                members: &self.members,
                hosts: &owned.hosts,
                standings: &self.standings,
                leaving: false,
                blind,
                now,
            };
            looks.extend(owned.memory.heir(&around).cloned());
        }
        // What was seen long ago is no longer known.
        self.sights.retain(|agent, _| looks.contains(agent));
        self.standings.retain(|agent, _| looks.contains(agent));
        let wanted = Wanted { looks, blind };
        self.wanted.send_if_modified(|before| {
            let changed = *before != wanted;
            *before = wanted;
            changed
        });
    }
}

/// A workload, as the protocol looks at it.
pub(crate) fn seen(object: &Scalable) -> Seen {
    Seen {
        uid: object.uid.as_str().into(),
        version: object.shown.version.as_str().into(),
        generation: Some(object.generation),
        label: object.shown.label.clone(),
        listing: object.shown.listing,
    }
}

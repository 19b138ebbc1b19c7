//! Whose it is, in the live loop: what is claimed of the objects that are to be written, and what is handed over.
//!
//! A workload that trimtab owns is claimed itself; of one that has a floor its autoscaler is, because that is what is written.

use super::{Loop, not_allowed};
use crate::autoscalers;
use crate::config::{Mode, Target, Workload};
use crate::floor;
use crate::owner::{self, Ask, Claimed, Site};
use crate::report;
use crate::sense::Round;
use crate::world::Claim;
use kube::api::ApiResource;
use std::sync::Arc;
use tokio::time::Instant;
use trimtab_claim::Seen;
use trimtab_claim::answer::Meaning;
use trimtab_claim::epoch::{AgentId, Epoch};
use trimtab_core::unit::Timestamp;

/// An object that is to be claimed.
struct Claimable<'a> {
    resource: ApiResource,
    seen: Seen,
    labelled: bool,
    /// The workload that it is about.
    target: &'a Target,
}

impl Loop {
    /// What would be written for a workload.
    pub(super) fn site(&self, workload: &Workload) -> Site {
        let target = &workload.target;
        let autoscaler = if self.mode(workload) == Mode::Floor { self.policies.autoscaler(target) } else { None };
        autoscaler.map_or_else(|| Site::Workload(target.clone()), |(source, _)| Site::Autoscaler(source.clone()))
    }

    /// All that may be to be written: what is wanted for each workload, and floors that nobody asks for any more.
    pub(super) fn sites(&self) -> Vec<Site> {
        let wanted = self.policies.workloads().values().map(|workload| self.site(workload));
        let left = self.policies.autoscalers().filter(|(_, autoscaler)| autoscaler.object.kept.is_some());
        let mut sites: Vec<Site> = wanted.chain(left.map(|(source, _)| Site::Autoscaler(source.clone()))).collect();
        sites.sort();
        sites.dedup();
        sites
    }

    /// The object, where its owner lets it be written. Only that is anybody's.
    fn claimable<'a>(&'a self, site: &'a Site) -> Option<Claimable<'a>> {
        match site {
            Site::Workload(target) => {
                let workload = self.policies.workloads().get(target)?;
                let object = self.view.object(target).filter(|_| self.view.knows(target))?;
                let resource = self.kinds.get(&target.kind)?.resource.clone()?;
                let wanted = self.mode(workload) == Mode::Own && object.mode_label.as_deref() == Some("own");
                wanted.then(|| Claimable { resource, seen: owner::seen(object), labelled: true, target })
            }
            Site::Autoscaler(source) => {
                let autoscaler = self.policies.autoscaler_named(source)?;
                let (object, target) = (&autoscaler.object, autoscaler.imported.target.as_ref()?);
                let may = || floor::refused(target, Some(&autoscaler.floor())).is_none();
                let wanted = object.kept.is_some() || (self.asks_for_floor(source, autoscaler) && may());
                let resource = autoscalers::resource(source.kind);
                wanted.then(|| Claimable { resource, seen: object.seen(), labelled: object.labelled, target })
            }
        }
    }

    /// The watch shows an object: its label may name another agent now, or this one.
    pub(super) fn see_claim(&mut self, site: &Site) {
        let now = self.parts.boot.now();
        let seen = match site {
            Site::Workload(target) => self.view.object(target).map(owner::seen),
            Site::Autoscaler(_) => self.claimable(site).map(|claimable| claimable.seen),
        };
        if let Some(seen) = seen {
            self.ownership.see(site, &seen, now);
        }
        self.settle(site);
    }

    /// Claims or hands over what is to be claimed or handed over.
    pub(super) fn settle(&mut self, site: &Site) {
        if self.membership.is_none() || self.ownership.is_alone() {
            return;
        }
        let Some(Claimable { resource, seen, labelled, target }) = self.claimable(site) else { return };
        if self.tracked.get(target).is_some_and(|tracked| tracked.writing) {
            return;
        }
        let target = target.clone();
        let hosts = self.view.hosts(&target);
        let asked = self.ownership.next(site, &seen, hosts, self.parts.boot.now());
        if let Some(Ask { epoch, cause }) = asked {
            let to = self.ownership.called(&epoch.agent);
            tracing::info!(workload = %target, object = %site, epoch = %epoch, agent = to, because = %cause, "claiming");
            let claim = Claim { resource, site: site.clone(), seen, labelled, epoch };
            self.parts.world.claim(claim, &self.writes);
        }
    }

    pub(super) fn end_claim(&mut self, site: &Site, refused: Option<(Meaning, String)>) {
        let what = format!("claiming {site}");
        let Some((meaning, said)) = refused else { return self.note_trouble(what, None) };
        let said = if meaning == Meaning::Forbidden { not_allowed(&site.to_string(), &said) } else { said };
        if !self.ownership.give_up(site, meaning, self.parts.boot.now()) {
            self.note_trouble(what, Some(said));
        }
    }

    /// What the round says of this agent's own sight, and what nobody has though somebody should.
    pub(super) fn look_around(&mut self, round: &Round) {
        let (now, boot) = (Instant::now(), self.parts.boot.now());
        let sees = round.troubles.values().any(Option::is_none) || round.troubles.is_empty();
        self.blind = if sees { None } else { self.blind.or(Some(now)) };
        let blind = self.blind.is_some_and(|since| now.duration_since(since) >= super::BLIND);
        self.ownership.look_around(blind, boot);
        self.unclaimed = 0;
        for workload in self.policies.workloads().values().cloned().collect::<Vec<Arc<Workload>>>() {
            let site = self.site(&workload);
            let unclaimed = self.ownership.unclaimed(&site, boot).filter(|_| self.claimable(&site).is_some());
            self.unclaimed += usize::from(unclaimed.is_some());
            let problem =
                unclaimed.map(|since| format!("no agent has claimed it for {since}, so its decisions are not written"));
            self.note_trouble(format!("{} (claim)", workload.target), problem);
        }
    }

    /// Forgets whose it was of what is of no concern any more.
    pub(super) fn forget_claims(&mut self) {
        let (workloads, policies) = (self.policies.workloads(), &self.policies);
        self.ownership.forget_others(|site| match site {
            Site::Workload(target) => workloads.contains_key(target),
            Site::Autoscaler(source) => policies.autoscaler_named(source).is_some(),
        });
    }

    /// Whether a workload's signals are to be read as often as they can be.
    pub(super) fn is_ours(&mut self, workload: &Workload) -> bool {
        let site = self.site(workload);
        let hosts = self.view.hosts(&workload.target);
        let uid = match &site {
            Site::Workload(target) => self.view.object(target).map(|object| object.uid.as_str()),
            Site::Autoscaler(source) => {
                self.policies.autoscaler_named(source).map(|autoscaler| autoscaler.object.uid.as_str())
            }
        };
        uid.is_none_or(|uid| self.ownership.is_ours(&site, uid, &hosts))
    }

    /// Under what an object may be written now: a claim, or nothing where there is no other agent. `None` where it may not.
    #[expect(clippy::option_option, reason = "whether it may be, and under what")]
    pub(super) fn permit(&self, site: &Site) -> Option<Option<Epoch>> {
        let held = self.ownership.held(site, self.parts.boot.now()).cloned();
        (held.is_some() || self.ownership.is_alone()).then_some(held)
    }

    /// Who has a workload, for people to read.
    pub(super) fn claim_of(&self, workload: &Workload, at: Timestamp) -> Option<report::Claim> {
        let Claimed { epoch, since, cause } = self.ownership.claimed(&self.site(workload))?;
        let ago = self.parts.boot.now().since(since);
        Some(report::Claim {
            agent: self.ownership.called(&epoch.agent),
            epoch: epoch.to_string(),
            since: Timestamp(at.0.saturating_sub(i64::try_from(ago.0).unwrap_or(i64::MAX))),
            why: cause.map(|cause| cause.to_string()),
        })
    }

    /// The agent that has a workload, where it is another one.
    pub(super) fn other_agent(&self, workload: &Workload) -> Option<String> {
        let owner: &AgentId = self.ownership.owner(&self.site(workload))?;
        (owner != self.ownership.name()).then(|| self.ownership.called(owner))
    }
}

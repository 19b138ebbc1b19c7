//! What the loop tells: its report, and what workloads lack, each said once.

use super::Loop;
use crate::cluster::EVENTS;
use crate::config::{Mode, Target, Workload};
use crate::policies::Undecided;
use crate::report::{self, Condition, Lack, Report, Sight, Writes};
use crate::words::NOT_ALLOWED;
use crate::{autoscalers, import, view, watch};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;
use trimtab_core::unit::{Seconds, Timestamp};

/// What is lacking is said once it has lasted so long: who applies an autoscaler together with its target may create it first.
const LASTS: Seconds = Seconds::whole(5);

/// Since when a workload lacks something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lacking {
    since: Timestamp,
    said: bool,
}

impl Loop {
    /// What keeps a workload from being decided; `known` is whether it is there.
    pub(super) fn lack(&self, workload: &Workload, known: bool) -> Option<Condition> {
        let target = &workload.target;
        if let Some(problem) = self.kinds.get(&target.kind).and_then(|known| known.problem.as_ref()) {
            return Some(Lack::KindUnknown.because(problem));
        }
        // What is not shown any more may have changed since.
        let hidden = self.unreadable(target, |why| why.starts_with(NOT_ALLOWED));
        if known || hidden.is_some() {
            return hidden;
        }
        if !self.view.watches(&target.namespace) {
            return Some(
                Lack::NotWatched
                    .because(format!("namespace {} is not watched by this agent: see --namespace", target.namespace)),
            );
        }
        if !self.view.knows(target) {
            return self.unreadable(target, |_| true);
        }
        // It is there, but its size cannot be read.
        if let Some(trouble) = self.troubles.get(&target.to_string()) {
            return Some(Lack::NotScalable.because(trouble));
        }
        let origin = &workload.origin;
        Some(
            Lack::TargetMissing
                .because(format!("{target} does not exist: create it, or correct the target at {origin}")),
        )
    }

    /// What keeps its kind or its pods from being listed: the same for all workloads of the kind, and said once as a trouble.
    fn unreadable(&self, target: &Target, counts: impl Fn(&str) -> bool) -> Option<Condition> {
        let plural = self.kinds.get(&target.kind).and_then(|known| known.resource.as_ref()).map(|kind| &*kind.plural);
        let scopes = self.parts.scopes.iter().filter(|scope| view::covers(scope, &target.namespace));
        let mut watches = scopes.flat_map(|scope| {
            let called = |what: &str| watch::called(what, scope.as_deref());
            plural.into_iter().chain(["pods"]).map(called).collect::<Vec<_>>()
        });
        watches.find_map(|what| {
            let why = self.troubles.get(&what).filter(|why| counts(why))?;
            Some(Lack::NotReadable.because(why))
        })
    }

    /// What keeps other autoscalers from being seen: then nobody can say whether one scales the workload.
    pub(super) fn autoscalers_hidden(&self, target: &Target) -> Option<&str> {
        let kinds = [import::Kind::Hpa, import::Kind::ScaledObject].map(|kind| autoscalers::resource(kind).plural);
        let mut hidden = kinds.iter().filter_map(|plural| self.forbidden_in(plural, target));
        hidden.next()
    }

    /// Why these objects may not be read where a target is, where they may not.
    fn forbidden_in(&self, plural: &str, target: &Target) -> Option<&str> {
        let mut scopes = self.parts.scopes.iter().filter(|scope| view::covers(scope, &target.namespace));
        scopes.find_map(|scope| self.forbidden(&watch::called(plural, scope.as_deref())))
    }

    /// What of this is not allowed.
    fn forbidden(&self, what: &str) -> Option<&str> {
        self.troubles.get(what).map(String::as_str).filter(|why| why.starts_with(NOT_ALLOWED))
    }

    /// What trimtab may not do, of all that it needs for a workload beyond reading it. Each was said once, for all of them.
    fn rights_lacking(&self, workload: &Workload) -> Option<Condition> {
        let target = &workload.target;
        let of_writers = [format!("claiming {}", self.site(workload)), format!("writing {target}")];
        let shared = |what: &str| what.starts_with("leases in ") || what.starts_with("endpointslices in ");
        let writes = self.mode(workload) != Mode::Shadow;
        let of_writers = self
            .troubles
            .keys()
            .filter(|what| writes && (shared(what) || of_writers.contains(what)))
            .filter_map(|what| self.forbidden(what));
        let events = watch::called(EVENTS, Some(&target.namespace));
        let all = [self.forbidden_in(&watch::maps(), target), self.autoscalers_hidden(target), self.forbidden(&events)];
        let all: Vec<&str> = all.into_iter().flatten().chain(of_writers).collect();
        (!all.is_empty()).then(|| Lack::Forbidden.because(all.join("; ")))
    }

    /// What is waited for before a workload can be decided.
    pub(super) fn waits(&self, target: &Target) -> Option<&'static str> {
        (!self.view.knows(target)).then_some("waiting for the first listing of the cluster")
    }

    /// Whether a trouble is told as a condition of the workload that it is about.
    pub(super) fn is_condition(&self, what: &str) -> bool {
        let target = what.parse().ok();
        target.is_some_and(|target| self.tracked.contains_key(&target) && self.view.object(&target).is_none())
    }

    /// What of a workload somebody has to mend.
    fn conditions(&self, workload: &Workload) -> Vec<Condition> {
        let lack = self.tracked.get(&workload.target).and_then(|tracked| tracked.lack.clone());
        lack.into_iter()
            .chain(self.rights_lacking(workload))
            .chain(self.policies.scaled_twice(&workload.target))
            .collect()
    }

    /// Who set the size last; while trimtab stands back for somebody, who that is.
    fn set_by(&self, workload: &Workload, at: Timestamp) -> Option<String> {
        let tracked = self.tracked.get(&workload.target)?;
        if tracked.standing_down.is_some_and(|until| until > at) {
            return tracked.rival.clone();
        }
        self.view.object(&workload.target)?.manager.clone()
    }

    /// Says once what a workload lacks, when that lasts, and when it is over.
    pub(super) fn say_conditions(&mut self, at: Timestamp) {
        let decided = self.policies.workloads().values().flat_map(|workload| {
            let name = workload.target.to_string();
            self.conditions(workload).into_iter().map(move |condition| (name.clone(), condition))
        });
        let undecided = self.policies.undecided().iter().map(|(name, one)| (name.clone(), one.condition.clone()));
        let now: BTreeMap<(String, Lack), String> =
            decided.chain(undecided).map(|(name, Condition { name: lack, why })| ((name, lack), why)).collect();
        for ((workload, lack), lacking) in self.lacking.extract_if(.., |key, _| !now.contains_key(key)) {
            if lacking.said {
                tracing::info!(workload, condition = lack.name(), "no longer lacking");
            }
        }
        for ((workload, lack), why) in now {
            let key = (workload, lack);
            let lacking = self.lacking.entry(key.clone()).or_insert(Lacking { since: at, said: false });
            // What is of all workloads alike was said of all of them at once.
            let alike = matches!(key.1, Lack::NotReadable | Lack::Forbidden);
            if !lacking.said && !alike && at.since(lacking.since) >= LASTS {
                lacking.said = true;
                tracing::warn!(workload = key.0, condition = lack.name(), why, "lacking");
            }
        }
    }

    /// Publishes what is known of everything.
    pub(super) fn publish(&self, at: Timestamp, ready: Result<(), String>) {
        let decided = self.policies.workloads().values().filter_map(|workload| {
            let tracked = self.tracked.get(&workload.target)?;
            let lack = tracked.lack.as_ref().map(|lack| lack.why.clone());
            Some(report::Workload {
                workload: workload.target.to_string(),
                policy_origin: workload.origin.to_string(),
                writes: self.may_write(workload, at),
                problem: lack.or_else(|| tracked.waits.map(str::to_owned)),
                signals: tracked.signals.clone(),
                last: tracked.last.clone(),
                changed: tracked.changed.clone(),
                claim: self.claim_of(workload, at),
                mode: Some(self.mode(workload)),
                autoscaler: self.policies.beside(&workload.target),
                conditions: self.conditions(workload),
                set_by: self.set_by(workload, at),
            })
        });
        let undecided = self.policies.undecided().iter().map(|(name, one)| self.undecided(name, one));
        let mut workloads: Vec<report::Workload> = decided.chain(undecided).collect();
        workloads.sort_by(|one, other| one.workload.cmp(&other.workload));
        let troubles =
            self.troubles.iter().filter(|(what, _)| !self.is_condition(what)).chain(self.policies.problems());
        let report = Report {
            agent: self.parts.agent.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            at,
            may_write: self.ownership.has_lease(self.parts.boot.now()),
            unclaimed: self.unclaimed,
            troubles: troubles.map(|(what, why)| (what.clone(), why.clone())).collect(),
            workloads,
        };
        let sights = self.tracked.iter().map(|(target, tracked)| {
            let startups = self.view.startups(target);
            let track_record = tracked.state.track_record();
            (target.to_string(), Sight { hour: tracked.tally.hour(at), startups, track_record })
        });
        self.parts.sights.send_replace(Arc::new(sights.collect()));
        self.parts.report.send_replace(Arc::new(report));
        drop(self.parts.ready.send_replace(ready));
        self.parts.turned.send_replace(Instant::now());
    }

    /// A workload that no policy is in force for.
    fn undecided(&self, name: &str, one: &Undecided) -> report::Workload {
        report::Workload {
            workload: name.to_owned(),
            policy_origin: one.origin.clone(),
            writes: Writes::Shadow,
            problem: Some(one.condition.why.clone()),
            signals: Vec::new(),
            last: None,
            changed: None,
            claim: None,
            mode: None,
            autoscaler: one.target.as_ref().and_then(|target| self.policies.beside(target)),
            conditions: vec![one.condition.clone()],
            set_by: None,
        }
    }
}

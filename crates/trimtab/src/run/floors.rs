//! Floors in the live loop: what a decision makes of another autoscaler's least size, and handing it back.

use super::{Loop, STAND_DOWN};
use crate::autoscalers::Autoscaler;
use crate::config::{Mode, Workload};
use crate::explain;
use crate::floor::{self, Move};
use crate::import::Source;
use crate::owner::Site;
use crate::report::Writes;
use crate::world::Raise;
use std::sync::Arc;
use trimtab_core::unit::{Seconds, Timestamp};

/// What could not be handed back is tried again after so long.
const AGAIN: Seconds = Seconds::whole(30);

impl Loop {
    /// Whether a floor of ours stands somewhere.
    pub(super) fn has_floors(&self) -> bool {
        self.policies.autoscalers().any(|(_, autoscaler)| autoscaler.object.kept.is_some())
    }

    /// Whether the owner of the workload's autoscaler asks for a floor, and there is one to raise.
    pub(super) fn may_raise(&self, workload: &Workload) -> Writes {
        let autoscaler = self.policies.autoscaler(&workload.target).map(|(_, autoscaler)| autoscaler);
        if let Some(why) = floor::refused(&workload.target, autoscaler.map(Autoscaler::floor).as_ref()) {
            return Writes::NoFloor(why);
        }
        match autoscaler.and_then(|one| one.object.mode_label.as_deref()) {
            Some("floor") => Writes::Floor,
            _ => Writes::FloorNotOptedIn,
        }
    }

    /// What follows from the last decision for the floor.
    pub(super) fn follow_floor(&mut self, workload: &Arc<Workload>) {
        let target = &workload.target;
        let Some((source, autoscaler)) = self.policies.autoscaler(target) else { return };
        let (floor, object) = (autoscaler.floor(), &autoscaler.object);
        let Some(epoch) = self.permit(&Site::Autoscaler(source.clone())) else { return };
        let Some(tracked) = self.tracked.get_mut(target) else { return };
        if tracked.writing {
            return;
        }
        let least = floor.min.unwrap_or(1);
        if !floor.is_foreign() {
            tracked.foreign_floor = None;
        }
        if floor.is_foreign() && tracked.foreign_floor != Some(least) {
            tracked.foreign_floor = Some(least);
            tracked.standing_down = Some(self.parts.clock.now().after(STAND_DOWN));
            tracked.rival.clone_from(&object.manager);
            let manager = object.manager.as_deref().unwrap_or("somebody");
            tracing::warn!(workload = %target, autoscaler = %source, manager, min = floor.min,
                "somebody else set the least size: it is theirs, and nothing is written for ten minutes");
            return;
        }
        let Some(decision) = tracked.last.as_ref().map(|last| &last.decision) else { return };
        let (kept, why) = match floor.follow(decision) {
            Move::Stay => return,
            Move::Set(kept) => (kept, explain::sentence(decision)),
            Move::Ceiling(kept) => {
                (kept, format!("the ceiling of the day is reached: {:.1} replica-hours", floor.ceiling()))
            }
        };
        let min = Some(kept.set);
        let from = floor.min.map_or_else(|| "none".to_owned(), |min| min.to_string());
        let raise = Raise {
            source: source.clone(),
            object: object.clone(),
            target: target.clone(),
            kept: Some(kept),
            min,
            at: decision.at,
            epoch,
            because: format!("least size {from} -> {}: {why}", kept.set),
        };
        tracing::info!(workload = %target, autoscaler = %source, because = raise.because, "floor");
        tracked.writing = true;
        self.parts.world.raise(raise, &self.writes);
    }

    /// Whether a policy wants a floor of this autoscaler, and its owner asks for one.
    pub(super) fn asks_for_floor(&self, source: &Source, autoscaler: &Autoscaler) -> bool {
        let wanted = autoscaler.imported.target.as_ref().is_some_and(|target| {
            self.policies.workloads().get(target).is_some_and(|workload| self.mode(workload) == Mode::Floor)
                && self.policies.autoscaler(target).is_some_and(|(only, _)| only == source)
        });
        wanted && autoscaler.object.mode_label.as_deref() == Some("floor")
    }

    /// Hands floors back that nobody asks for any more: the label was taken away, or the policy says something else.
    pub(super) fn hand_back_floors(&mut self, at: Timestamp) {
        self.handed_back.retain(|source, _| self.policies.autoscaler_named(source).is_some());
        let scopes = &self.parts.scopes;
        if !self.policies.knows_policies(scopes) || !self.policies.knows_autoscalers(scopes) {
            return;
        }
        let mut back = Vec::new();
        for (source, autoscaler) in self.policies.autoscalers().filter(|(_, one)| one.object.kept.is_some()) {
            let Some(target) = &autoscaler.imported.target else { continue };
            let site = Site::Autoscaler(source.clone());
            let tried = self.handed_back.get(source).is_some_and(|tried| at.since(*tried) < AGAIN);
            let writing = self.tracked.get(target).is_some_and(|tracked| tracked.writing);
            if self.asks_for_floor(source, autoscaler) || tried || writing {
                continue;
            }
            let Some(epoch) = self.permit(&site) else { continue };
            let min = autoscaler.floor().own();
            let said = min.map_or_else(|| "unset".to_owned(), |min| min.to_string());
            back.push(Raise {
                source: source.clone(),
                object: autoscaler.object.clone(),
                target: target.clone(),
                kept: None,
                min,
                at,
                epoch,
                because: format!("handed back: least size {said}"),
            });
        }
        for raise in back {
            tracing::info!(workload = %raise.target, autoscaler = %raise.source, because = raise.because, "floor");
            self.handed_back.insert(raise.source.clone(), at);
            if let Some(tracked) = self.tracked.get_mut(&raise.target) {
                tracked.writing = true;
            }
            self.parts.world.raise(raise, &self.writes);
        }
    }
}

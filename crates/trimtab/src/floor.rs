//! Floor: trimtab raises the least size of another autoscaler, and nothing else.
//!
//! The autoscaler stays in charge and is the net: whatever becomes of trimtab, it goes on. What the floor adds is bounded by a ceiling for
//! each day, and the least size that its owner set is kept on the object itself (the annotation [`ANNOTATION`]): the floor is never below
//! it, and whoever takes the floor back (this agent, the next one after a crash, `trimtab release`) restores it from there.
//!
//! A decision moves the floor only by what it says: `ScaleOut` raises it, `ScaleDown` lowers it, and `Hold` raises it to what is needed of
//! what is there. All of it is pure.

use crate::config::Target;
use serde::{Deserialize, Serialize};
use trimtab_core::decision::Reason;
use trimtab_core::unit::{Replicas, Seconds, Timestamp};
use trimtab_core::{Decision, Verb};

/// Where the owner's value is kept.
pub const ANNOTATION: &str = "trimtab.dev/floor";
/// The most that a floor adds in a day, as hours of the whole range: holding the maximum for half a day. A forecast that is wrong all day
/// costs no more than that.
const CEILING: Seconds = Seconds::whole(12 * 3_600);
/// A day, in milliseconds.
const DAY: i64 = 86_400_000;

/// What is kept on the object.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The least size that its owner set; `None` where nobody set any.
    pub own: Option<u32>,
    /// The least size that trimtab set.
    pub set: u32,
    /// Since when, in milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// What floors have added on that day before, in replica-hours.
    pub spent: f64,
}

impl Kept {
    /// What stands in the annotation; `None` where it cannot be read.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|kept: &Self| kept.spent.is_finite() && kept.spent >= 0.0)
    }

    /// What is written into the annotation.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The owner's least size.
    #[must_use]
    pub fn least(&self) -> u32 {
        self.own.unwrap_or(1).max(1)
    }

    /// What floors have added on the day of `at`, in replica-hours.
    #[must_use]
    pub fn spent(&self, at: Timestamp) -> f64 {
        let midnight = at.0.div_euclid(DAY) * DAY;
        let before = if self.at >= midnight { self.spent } else { 0.0 };
        let hours = (at.0 - self.at.max(midnight)).max(0) as f64 / 3_600_000.0;
        before + f64::from(self.set.saturating_sub(self.least())) * hours
    }
}

/// The least size of an autoscaler as it is now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// What stands on the object.
    pub min: Option<u32>,
    /// The most that the autoscaler may give.
    pub max: u32,
    /// What trimtab keeps on it.
    pub kept: Option<Kept>,
}

/// What is to be done with a floor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Move {
    /// Nothing.
    Stay,
    /// The least size is to be this, and this is to be kept.
    Set(Kept),
    /// The ceiling of the day is reached: the owner's least size is restored, and what was spent is kept.
    Ceiling(Kept),
}

impl Floor {
    /// Whether somebody else changed the least size since trimtab set it.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.kept.is_some_and(|kept| self.min != Some(kept.set))
    }

    /// The owner's least size.
    #[must_use]
    pub fn own(&self) -> Option<u32> {
        match self.kept {
            Some(kept) if !self.is_foreign() => kept.own,
            _ => self.min,
        }
    }

    /// The most that floors may add in a day, in replica-hours.
    #[must_use]
    pub fn ceiling(&self) -> f64 {
        f64::from(self.max.saturating_sub(self.own().unwrap_or(1).max(1))) * CEILING.get() / 3_600.0
    }

    /// What follows from a decision.
    #[must_use]
    pub fn follow(&self, decision: &Decision) -> Move {
        let at = decision.at;
        let own = self.own();
        let least = own.unwrap_or(1).max(1);
        let now = self.min.unwrap_or(1).max(1);
        let spent = self.kept.map_or(0.0, |kept| kept.spent(at));
        let kept = |set: u32| Kept { own, set, at: at.0, spent };
        if spent >= self.ceiling() {
            return if now > least { Move::Ceiling(kept(least)) } else { Move::Stay };
        }
        let Replicas(to) = decision.to;
        let wanted = match decision.verb {
            Verb::ScaleOut => to.max(now),
            Verb::ScaleDown => to.min(now),
            // The size may be there by the autoscaler's grace, which may end.
            Verb::Hold | Verb::MoveToCheaperNode => needed(decision).map_or(now, |needed| needed.max(now)),
        };
        let wanted = wanted.clamp(least, self.max.max(least));
        if wanted == now { Move::Stay } else { Move::Set(kept(wanted)) }
    }
}

/// What is needed of the size that is there; `None` where that is not known, or at the first look, which changes nothing.
fn needed(decision: &Decision) -> Option<u32> {
    let plan = decision.plan.as_ref().filter(|_| decision.reason != Reason::FirstLook)?;
    Some(plan.needed.min(decision.to).0)
}

/// What a workload is called whose autoscaler cannot have a floor, and why.
#[must_use]
pub fn refused(target: &Target, floor: Option<&Floor>) -> Option<String> {
    match floor {
        None => Some(format!(
            "mode floor raises the least size of an autoscaler, and exactly one was expected for {target}: create it, or set mode: own"
        )),
        // Its going to 0 and coming back is its own.
        Some(floor) if floor.own() == Some(0) => Some(
            "its autoscaler may scale to 0, which a floor would prevent: set its least size to 1, or leave it in shadow".to_owned(),
        ),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act;
    use proptest::prelude::*;
    use trimtab_core::plan::{Plan, Rule};
    use trimtab_core::unit::{Ratio, RequestsPerSecond};

    const MORNING: i64 = 20_000 * DAY + 6 * 3_600_000;

    fn decision(verb: Verb, to: u32, at: i64) -> Decision {
        Decision { verb, at: Timestamp(at), ..act::tests::decision(Replicas(4), Replicas(to)) }
    }

    fn floor(min: u32, kept: Option<Kept>) -> Floor {
        Floor { min: Some(min), max: 10, kept }
    }

    fn kept(own: u32, set: u32, at: i64) -> Kept {
        Kept { own: Some(own), set, at, spent: 0.0 }
    }

    #[test]
    fn a_floor_rises_and_falls_by_decisions_and_keeps_what_was_there() {
        let first = floor(2, None).follow(&decision(Verb::ScaleOut, 6, MORNING));
        assert_eq!(first, Move::Set(kept(2, 6, MORNING)));
        let raised = floor(6, Some(kept(2, 6, MORNING)));
        assert_eq!(raised.follow(&decision(Verb::Hold, 8, MORNING)), Move::Stay);
        assert_eq!(raised.follow(&decision(Verb::ScaleOut, 6, MORNING)), Move::Stay);
        assert_eq!(raised.follow(&decision(Verb::ScaleDown, 8, MORNING)), Move::Stay, "the autoscaler may hold more");
        assert_eq!(raised.follow(&decision(Verb::ScaleDown, 4, MORNING)), Move::Set(kept(2, 4, MORNING)));
        assert_eq!(raised.follow(&decision(Verb::ScaleDown, 1, MORNING)), Move::Set(kept(2, 2, MORNING)));
    }

    #[test]
    fn what_is_needed_of_the_size_that_is_there_is_held() {
        let plan = Plan {
            replicas: Replicas(7),
            needed: Replicas(5),
            rule: Rule::Utilization,
            demand: RequestsPerSecond::whole(200),
            load: trimtab_core::unit::Erlangs::whole(4),
            misses: Ratio::ZERO,
            misses_with_fewer: Ratio::ZERO,
            misses_with_more: Ratio::ZERO,
            price: Ratio::ZERO,
        };
        let hold = Decision { plan: Some(plan), reason: Reason::Settled, ..decision(Verb::Hold, 7, MORNING) };
        assert_eq!(floor(2, None).follow(&hold), Move::Set(kept(2, 5, MORNING)));
        assert_eq!(
            floor(6, Some(kept(2, 6, MORNING))).follow(&hold),
            Move::Stay,
            "only a decision to go down lowers it"
        );
        let first = Decision { reason: Reason::FirstLook, ..hold };
        assert_eq!(floor(2, None).follow(&first), Move::Stay);
    }

    #[test]
    fn what_somebody_else_set_is_the_owners_value_from_then_on() {
        let foreign = floor(3, Some(kept(2, 6, MORNING)));
        assert!(foreign.is_foreign());
        assert_eq!(foreign.follow(&decision(Verb::ScaleOut, 5, MORNING)), Move::Set(kept(3, 5, MORNING)));
        assert!(!floor(6, Some(kept(2, 6, MORNING))).is_foreign());
    }

    #[test]
    fn a_day_has_a_ceiling() {
        // 8 above the owner's 2, of a range of 8: after twelve hours the day is spent.
        let raised = kept(2, 10, MORNING);
        let later = |hours: i64| MORNING + hours * 3_600_000;
        let at = |hours| floor(10, Some(raised)).follow(&decision(Verb::ScaleOut, 10, later(hours)));
        assert_eq!(at(11), Move::Stay);
        let Move::Ceiling(after) = at(12) else { panic!("{:?}", at(12)) };
        assert_eq!((after.set, after.spent), (2, 96.0));
        let spent = |hours| floor(2, Some(after)).follow(&decision(Verb::ScaleOut, 10, later(hours)));
        assert_eq!(spent(13), Move::Stay, "until midnight");
        assert!(matches!(spent(18), Move::Set(Kept { set: 10, .. })), "{:?}", spent(18));
    }

    #[test]
    fn what_is_kept_reads_back_and_anything_else_is_nothing() {
        let kept = Kept { own: None, set: 3, at: MORNING, spent: 1.5 };
        assert_eq!(Kept::read(&kept.text()), Some(kept));
        // As a later version may write it.
        assert_eq!(Kept::read(r#"{"own":2,"set":3,"at":0,"spent":0,"new":true}"#).map(|kept| kept.own), Some(Some(2)));
        for text in ["", "{}", "3", r#"{"own":2,"set":3,"at":0,"spent":-1}"#] {
            assert_eq!(Kept::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_floor_needs_one_autoscaler_that_does_not_go_to_zero() {
        let target = "shop/web".parse().unwrap();
        assert!(refused(&target, None).unwrap().contains("exactly one"));
        assert!(refused(&target, Some(&floor(0, None))).unwrap().contains("scale to 0"));
        assert_eq!(refused(&target, Some(&floor(2, None))), None);
    }

    proptest! {
        #[test]
        fn a_floor_is_never_below_the_owners_value_nor_above_the_maximum(
            min in 1_u32..12, own in 0_u32..12, set in 0_u32..12, spent in 0.0..200.0, has in any::<bool>(),
            to in 0_u32..40, verb in prop::sample::select(vec![Verb::ScaleOut, Verb::ScaleDown, Verb::Hold]), hours in 0_i64..48,
        ) {
            let kept = has.then_some(Kept { own: Some(own), set, at: MORNING, spent });
            let floor = floor(min, kept);

            let moved = floor.follow(&decision(verb, to, MORNING + hours * 3_600_000));
            if let Move::Set(kept) | Move::Ceiling(kept) = moved {
                prop_assert!(kept.set >= floor.own().unwrap_or(1).max(1));
                prop_assert!(kept.set <= 10.max(kept.least()));
                prop_assert_eq!(kept.own, floor.own());
            }
        }
    }
}

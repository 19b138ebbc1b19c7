//! What holds of every decision, whoever drives it: one list for property tests, the simulator and production, where
//! a breach stops writes for that workload and is counted.
//!
//! Each is derived again from the snapshot alone, not from what the decision says of itself.

use crate::decision::{Decision, Verb};
use crate::policy::Policy;
use crate::snapshot::{Coverage, Reading, Snapshot};
use crate::unit::{Replicas, RequestsPerSecond};
use std::fmt;

/// An invariant that a decision breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// A replica is removed without fresh, complete and unsuspicious demand, or while a tenth of the replicas is not ready.
    BlindRemoval,
    /// A change leads out of the policy's bounds.
    OutOfBounds,
    /// A change is larger than up to four times plus four, or down to half, or leads to or from 0.
    TooLargeStep,
    /// Verb and numbers disagree.
    Inconsistent,
    /// Something is scaled out into a protected level that is above its limit.
    IntoProtected,
}

impl Breach {
    /// The stable name, for metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlindRemoval => "blind_removal",
            Self::OutOfBounds => "out_of_bounds",
            Self::TooLargeStep => "too_large_step",
            Self::Inconsistent => "inconsistent",
            Self::IntoProtected => "into_protected",
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The invariants that `decision` breaks; none, unless there is a defect.
#[must_use]
pub fn breaches(policy: &Policy, snapshot: &Snapshot, decision: &Decision) -> Vec<Breach> {
    let (from, to) = (snapshot.fleet.desired, decision.to);
    let mut broken = Vec::new();
    let mut check = |holds: bool, breach| {
        if !holds {
            broken.push(breach);
        }
    };
    check(to >= from || demand_may_fall(snapshot), Breach::BlindRemoval);
    // A step that is cut short may end between the old size and the bounds; it never leads further out.
    let (min, max) = (policy.replicas.min(), policy.replicas.max());
    check(to == from || (to >= from.min(min) && to <= from.max(max)), Breach::OutOfBounds);
    let (least, most) = (from.0.div_ceil(2), from.0.saturating_mul(4).saturating_add(4));
    check(
        to == from || (from > Replicas(0) && to > Replicas(0) && (least..=most).contains(&to.0)),
        Breach::TooLargeStep,
    );
    let verb = match to.cmp(&from) {
        std::cmp::Ordering::Greater => Verb::ScaleOut,
        std::cmp::Ordering::Equal => Verb::Hold,
        std::cmp::Ordering::Less => Verb::ScaleDown,
    };
    check(decision.verb == verb && decision.from == from, Breach::Inconsistent);
    let overloaded = policy.protect.iter().any(|protection| {
        snapshot.protected.get(&protection.name).and_then(Reading::fresh).is_some_and(|level| level > protection.limit)
    });
    check(to <= from || !overloaded, Breach::IntoProtected);
    broken
}

fn demand_may_fall(snapshot: &Snapshot) -> bool {
    let fleet = &snapshot.fleet;
    if u64::from(fleet.ready.0) * 10 < u64::from(fleet.desired.0) * 9 {
        return false;
    }
    match &snapshot.demand {
        Reading::Fresh(sample) => {
            sample.coverage.is_complete()
                && (sample.value > RequestsPerSecond::ZERO || sample.coverage != Coverage::Unmeasured)
        }
        Reading::Stale(_) | Reading::Missing(_) => false,
    }
}

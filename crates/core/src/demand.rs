//! Demand: how many requests arrive a second, as far as that is known.
//!
//! The query is the user's and is expected to count arrivals, not completions: a saturated service completes what
//! it can, whatever is asked of it. This step decides what may be believed. A gap is no demand of zero, and a zero
//! is believed only when replicas that were counted vouch for it, for two minutes on end: a metrics pipeline that
//! breaks reports zero far oftener than a service with ready replicas loses all its users at once
//! (kubernetes/kubernetes#104387, kedacore/keda#3065). A steep fall is not believed while the replicas are as busy as before: counters
//! that were reset, and targets that were lost without a word, make demand look small and keep nobody less busy.

use crate::snapshot::{Absence, Reading};
use crate::unit::{Ratio, RequestsPerSecond, Seconds, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a vouched-for zero must last before it counts as demand: eight scrapes at 15 s.
const ZERO_PERSISTS: Seconds = Seconds::whole(120);
/// And a steep fall that replicas contradict: utilization is a mean over a minute or two, and falls later than demand.
const FALL_PERSISTS: Seconds = Seconds::whole(120);
/// Less than this share of the last reading, and of what keeps the replicas busy, is such a fall.
const STEEP: Ratio = Ratio::percent(70);

/// No service is asked for more; what a broken source says beyond it would only overflow the arithmetic that follows.
const MOST: RequestsPerSecond = RequestsPerSecond::whole(u32::MAX);

/// What is believed of demand at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    /// It is known.
    Known {
        /// Requests that arrive a second.
        rate: RequestsPerSecond,
        /// Age of the oldest sample behind it, where that is known.
        age: Option<Seconds>,
        /// Whether a fall may be believed: enough of the replicas report.
        complete: bool,
    },
    /// The last known is too old to act on.
    Stale {
        /// What it was.
        last: RequestsPerSecond,
        /// How old that is, where that is known.
        age: Option<Seconds>,
    },
    /// It is not known.
    Unknown(Absence),
}

/// What is remembered of demand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    zero_since: Option<Timestamp>,
    /// The last that was believed.
    #[serde(default)]
    last: RequestsPerSecond,
    #[serde(default)]
    fall_since: Option<Timestamp>,
}

/// What is believed of demand; `busy` is what keeps the replicas busy, where that is known.
pub(crate) fn assess(
    memory: &mut Memory,
    reading: &Reading<RequestsPerSecond>,
    busy: Option<RequestsPerSecond>,
    at: Timestamp,
) -> Demand {
    let sample = match reading {
        Reading::Fresh(sample) => sample,
        Reading::Stale(sample) => {
            (memory.zero_since, memory.fall_since) = (None, None);
            return Demand::Stale { last: sample.value, age: sample.age };
        }
        Reading::Missing(absence) => {
            (memory.zero_since, memory.fall_since) = (None, None);
            return Demand::Unknown(*absence);
        }
    };
    if sample.value > RequestsPerSecond::ZERO {
        memory.zero_since = None;
    } else if !sample.coverage.is_proven() {
        memory.zero_since = None;
        return Demand::Unknown(Absence::SuspiciousZero);
    } else {
        let since = *memory.zero_since.get_or_insert(at);
        if at.since(since) < ZERO_PERSISTS {
            return Demand::Unknown(Absence::SuspiciousZero);
        }
    }
    let rate = sample.value.min(MOST);
    if busy.is_some_and(|busy| rate < memory.last.min(busy) * STEEP) {
        let since = *memory.fall_since.get_or_insert(at);
        if at.since(since) < FALL_PERSISTS {
            return Demand::Unknown(Absence::SuspiciousFall);
        }
    } else {
        memory.fall_since = None;
    }
    memory.last = rate.brief();
    Demand::Known { rate, age: sample.age, complete: sample.coverage.is_complete() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Coverage, Sample};

    fn zero(coverage: Coverage) -> Reading<RequestsPerSecond> {
        Reading::Fresh(Sample { value: RequestsPerSecond::ZERO, age: None, coverage })
    }

    #[test]
    fn a_zero_that_nobody_vouches_for_is_never_believed() {
        let mut memory = Memory::default();
        for coverage in [Coverage::Unmeasured, Coverage::Partial, Coverage::Share(Ratio::percent(89))] {
            for second in 0..1_000 {
                let seen = assess(&mut memory, &zero(coverage), None, Timestamp(second * 1_000));
                assert_eq!(seen, Demand::Unknown(Absence::SuspiciousZero), "{coverage:?} after {second} s");
            }
        }
    }

    #[test]
    fn a_zero_that_all_replicas_report_is_believed_after_two_minutes() {
        let mut memory = Memory::default();
        let vouched = zero(Coverage::Share(Ratio::ONE));
        assert_eq!(assess(&mut memory, &vouched, None, Timestamp(0)), Demand::Unknown(Absence::SuspiciousZero));
        assert_eq!(assess(&mut memory, &vouched, None, Timestamp(119_999)), Demand::Unknown(Absence::SuspiciousZero));
        assert!(matches!(
            assess(&mut memory, &vouched, None, Timestamp(120_000)),
            Demand::Known { complete: true, .. }
        ));
    }

    #[test]
    fn a_gap_starts_the_wait_for_a_zero_anew() {
        let mut memory = Memory::default();
        let vouched = zero(Coverage::Share(Ratio::ONE));
        assess(&mut memory, &vouched, None, Timestamp(0));
        assess(&mut memory, &Reading::Missing(Absence::Unreachable), None, Timestamp(60_000));
        assert_eq!(assess(&mut memory, &vouched, None, Timestamp(125_000)), Demand::Unknown(Absence::SuspiciousZero));
    }

    fn fresh(rate: u32) -> Reading<RequestsPerSecond> {
        let value = RequestsPerSecond::whole(rate);
        Reading::Fresh(Sample { value, age: None, coverage: Coverage::Unmeasured })
    }

    #[test]
    fn a_steep_fall_is_believed_when_the_replicas_agree_or_it_lasts() {
        let busy = |rate| Some(RequestsPerSecond::whole(rate));
        let unknown = Demand::Unknown(Absence::SuspiciousFall);
        let mut memory = Memory::default();
        let mut at = |second: i64, rate, busy| assess(&mut memory, &fresh(rate), busy, Timestamp(second * 1_000));
        assert!(matches!(at(0, 300, busy(900)), Demand::Known { .. }), "no fall: capacity may be believed too large");
        assert_eq!(at(5, 140, busy(300)), unknown, "a counter that was reset");
        assert!(matches!(at(10, 300, busy(300)), Demand::Known { .. }));
        assert!(matches!(at(15, 140, busy(150)), Demand::Known { .. }), "half of the users left");
        assert!(matches!(at(20, 300, busy(300)), Demand::Known { .. }));
        for second in (25..145).step_by(5) {
            assert_eq!(at(second, 140, busy(300)), unknown, "after {second} s");
        }
        assert!(matches!(at(145, 140, busy(300)), Demand::Known { .. }), "two minutes");
        assert!(matches!(at(150, 140, busy(300)), Demand::Known { .. }), "and from then on");
    }

    #[test]
    fn a_gap_starts_the_doubt_of_a_fall_anew() {
        let busy = Some(RequestsPerSecond::whole(300));
        let mut memory = Memory::default();
        let mut at = |second: i64, reading| assess(&mut memory, &reading, busy, Timestamp(second * 1_000));
        at(0, fresh(300));
        assert_eq!(at(5, fresh(140)), Demand::Unknown(Absence::SuspiciousFall));
        at(60, Reading::Missing(Absence::Unreachable));
        assert_eq!(at(130, fresh(140)), Demand::Unknown(Absence::SuspiciousFall));
    }
}

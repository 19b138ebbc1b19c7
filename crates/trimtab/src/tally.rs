//! The last hour of a workload in figures: windows of its objective that were missed, and replicas that were paid for.
//!
//! Bounded: one entry for each window. A window is missed where the latency was above its target at any look in it.

use crate::report::Hour;
use std::collections::VecDeque;
use trimtab_core::demand::Demand;
use trimtab_core::unit::{Seconds, Timestamp, Windows};
use trimtab_core::{Decision, Policy, Snapshot};

/// So much of the past is kept: an hour in milliseconds.
const KEPT: i64 = 3_600_000;
/// A decision stands for at most so long: nobody knows what was between two that are further apart.
const STANDS: Seconds = Seconds::whole(60);

/// The last hour.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How long a window is.
    length: Seconds,
    windows: VecDeque<Window>,
    last: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    number: Windows,
    known: bool,
    missed: bool,
    blind: bool,
    seen: f64,
    asked: f64,
    decided: f64,
}

impl Tally {
    /// Takes a decision in.
    pub(crate) fn note(&mut self, policy: &Policy, snapshot: &Snapshot, decision: &Decision) {
        let at = snapshot.at;
        let since = self.last.replace(at).map_or(Seconds::ZERO, |last| at.since(last).min(STANDS)).get() / 3600.0;
        let length = policy.objective.window;
        if self.length != length {
            *self = Self { length, last: self.last, windows: VecDeque::new() };
        }
        let number = at.window(length);
        if self.windows.back().is_none_or(|last| last.number != number) {
            let none =
                Window { number, known: false, missed: false, blind: false, seen: 0.0, asked: 0.0, decided: 0.0 };
            self.windows.push_back(none);
        }
        let first = self.first(at);
        self.windows.retain(|window| window.number > first);
        let Some(now) = self.windows.back_mut() else { return };
        let latency = snapshot.latency.fresh();
        now.known |= latency.is_some();
        now.missed |= latency.is_some_and(|latency| latency > policy.objective.latency);
        now.blind |= !matches!(decision.demand, Demand::Known { .. });
        now.seen += since;
        now.asked += f64::from(snapshot.fleet.desired.0) * since;
        now.decided += f64::from(decision.to.0) * since;
    }

    /// The last window that is not of the hour before `at`.
    fn first(&self, at: Timestamp) -> Windows {
        Timestamp(at.0.saturating_sub(KEPT)).window(self.length)
    }

    /// The hour before `at`.
    pub(crate) fn hour(&self, at: Timestamp) -> Hour {
        let mut hour = Hour::default();
        if self.windows.is_empty() {
            return hour;
        }
        let first = self.first(at);
        for one in self.windows.iter().filter(|one| one.number > first) {
            hour.windows += u32::from(one.known);
            hour.missed += u32::from(one.missed);
            hour.blind += u32::from(one.blind);
            hour.replica_hours += one.asked;
            hour.decided_hours += one.decided;
            hour.seen += one.seen;
        }
        hour
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act;
    use trimtab_core::snapshot::{Coverage, Reading, Sample};
    use trimtab_core::{State, decide};

    #[test]
    fn an_hour_counts_what_was_missed_in_it_and_no_more() {
        let policy = act::tests::policy();
        let (mut tally, mut state) = (Tally::default(), State::default());
        // Two hours; one look in ten seconds; in the second hour, ten minutes are slow.
        for look in 1..=720 {
            let slow = (400..460).contains(&look);
            let value = Seconds::milliseconds(if slow { 300 } else { 100 });
            let snapshot = Snapshot {
                at: Timestamp(look * 10_000),
                latency: Reading::Fresh(Sample { value, age: None, coverage: Coverage::Unmeasured }),
                ..act::tests::snapshot()
            };
            let decision = decide(&policy, &mut state, &snapshot);
            tally.note(&policy, &snapshot, &decision);
        }
        let hour = tally.hour(Timestamp(7_200_000));
        assert_eq!((hour.windows, hour.blind), (120, 120));
        assert!((20..=22).contains(&hour.missed), "{hour:?}");
        assert!((hour.replica_hours - 4.0).abs() < 0.05 && (hour.seen - 1.0).abs() < 0.01, "{hour:?}");
        assert_eq!(tally.hour(Timestamp(7_200_000 + 7_200_000)), Hour::default(), "what is old is no part of it");
    }
}

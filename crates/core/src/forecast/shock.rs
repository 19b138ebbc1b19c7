//! Shocks: windows that no forecast explains.
//!
//! A shock says where demand is, not where it goes, and nothing of how good forecasts are: it moves levels and leaves track records and
//! the band alone. Two things are learned from shocks. **Hazard**: how often demand jumps up, and how far, which is what headroom over
//! a lead time is held for. **Momentum**: how often a jump is followed by another of its kind; a flash crowd comes in several steps, and
//! the second is met by those who expect it.

use super::Relative;
use crate::unit::{Ratio, RequestsPerSecond, Seconds};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// So many standard errors are a shock: a window in 16,000 by chance, were errors normal.
const SHOCK: f64 = 4.0;
/// No error below so many times this is a shock, however good forecasts are: the sampling noise of a few thousand requests.
const LEAST: f64 = 0.012;
/// Jumps that are remembered.
const JUMPS: usize = 4;
/// Windows over which the hazard is counted: a jump fades in about a day of half-minutes.
const MEMORY: f64 = 2_000.0;
/// Windows without a jump that everybody is credited with at the start.
const CREDIT: f64 = 100.0;
/// How much of the hazard is planned for: of the window that an order of now will serve, and of each before it. A jump in the first is
/// met by the next look; nothing can be done for those during a lead time but what headroom does. Chosen by the benchmark's costs and
/// misses at start-ups of 0 to 120 s.
const SOON: f64 = 0.2;
const LATER: f64 = 0.5;
/// Before any is known: three of ten jumps go on, as if two had been seen.
const SEEN: f64 = 2.0;
const WENT_ON: f64 = 0.6;

/// What is remembered of shocks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Relative heights of the last jumps upwards.
    jumps: VecDeque<Relative>,
    /// Jumps and windows, faded.
    count: f64,
    windows: f64,
    /// Jumps whose next window was seen, and those of them that were followed by another.
    followed: f64,
    went_on: f64,
    /// How far the last window jumped up, in requests a second; nothing where it did not.
    last: RequestsPerSecond,
    /// Shocks in a row.
    running: u32,
    /// Windows since the last shock.
    since: u32,
}

/// Whether `seen` is a shock to who forecast `expected` with this standard error.
pub(crate) fn is_shock(seen: RequestsPerSecond, expected: RequestsPerSecond, error: Ratio) -> bool {
    (seen.get() - expected.get()).abs() > SHOCK * error.get().max(LEAST) * expected.get()
}

impl Memory {
    /// Takes the window that has just ended; `before` is the one before it.
    pub(crate) fn learn(
        &mut self,
        seen: RequestsPerSecond,
        expected: RequestsPerSecond,
        before: RequestsPerSecond,
        error: Ratio,
    ) {
        let fading = 1.0 - 1.0 / MEMORY;
        (self.count, self.windows) = (self.count * fading, self.windows * fading + 1.0);
        let shock = is_shock(seen, expected, error);
        let up = shock && seen > expected;
        if self.last > RequestsPerSecond::ZERO {
            self.followed += 1.0;
            self.went_on += if up { 1.0 } else { 0.0 };
        }
        self.last = if up { seen.less(before) } else { RequestsPerSecond::ZERO };
        self.running = if shock { self.running.saturating_add(1) } else { 0 };
        self.since = if shock { 0 } else { self.since.saturating_add(1) };
        if up && self.running == 1 && expected > RequestsPerSecond::ZERO {
            super::push_bounded(&mut self.jumps, Relative(seen.get() / expected.get() - 1.0), JUMPS);
            self.count += 1.0;
        }
    }

    /// How far the last window jumped up.
    pub(crate) fn last(&self) -> RequestsPerSecond {
        self.last
    }

    /// Whether this window and the one before were shocks: the level has shifted and is not settled.
    pub(crate) fn shifts(&self) -> bool {
        self.running >= 2
    }

    /// Windows since the last shock, and that one.
    pub(crate) fn settled(&self) -> usize {
        self.since as usize + 1
    }

    /// The probability that a jump is followed by another.
    pub(crate) fn momentum(&self) -> Ratio {
        Ratio::clamped((WENT_ON + self.went_on) / (SEEN + self.followed))
    }

    /// The probability that demand has jumped when `ahead` has passed.
    pub(crate) fn hazard(&self, ahead: Seconds, window: Seconds) -> Ratio {
        let windows = SOON + LATER * ahead.get() / window.get();
        Ratio::clamped((self.count / (self.windows + CREDIT) * windows).min(0.5))
    }

    /// Relative heights of the jumps that are to be expected.
    pub(crate) fn jumps(&self) -> impl Iterator<Item = Ratio> {
        self.jumps.iter().map(|jump| Ratio::clamped(jump.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(raw: f64) -> RequestsPerSecond {
        RequestsPerSecond::new(raw).unwrap()
    }

    #[test]
    fn calm_demand_has_no_hazard() {
        let mut memory = Memory::default();
        for _ in 0..500 {
            memory.learn(rate(305.0), rate(300.0), rate(300.0), Ratio::percent(2));
        }
        assert_eq!(memory.hazard(Seconds::whole(60), Seconds::whole(30)), Ratio::ZERO);
    }

    #[test]
    fn jumps_are_counted_with_their_height() {
        let mut memory = Memory::default();
        for window in 0..400 {
            let seen = if window % 100 == 50 { 450.0 } else { 300.0 };
            memory.learn(rate(seen), rate(300.0), rate(300.0), Ratio::percent(2));
        }
        let hazard = memory.hazard(Seconds::ZERO, Seconds::whole(30)).get();
        assert!((SOON * 4.0 / 500.0 / hazard - 1.0).abs() < 0.2, "{hazard}");
        assert!(memory.jumps().all(|jump| (jump.get() - 0.5).abs() < 1e-9));
        assert!(memory.momentum() < Ratio::percent(15), "none went on");
    }

    #[test]
    fn a_crowd_that_comes_in_steps_has_momentum() {
        let mut memory = Memory::default();
        for step in 0..4 {
            let (before, seen) = (300.0 + 150.0 * f64::from(step), 450.0 + 150.0 * f64::from(step));
            memory.learn(rate(seen), rate(before), rate(before), Ratio::percent(2));
        }
        assert!(memory.momentum() > Ratio::percent(65), "{:?}", memory.momentum());
        assert_eq!(memory.last(), rate(150.0));
    }
}

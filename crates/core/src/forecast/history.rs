//! What demand was: the mean of each window, and the seasons that repeat in it.
//!
//! A season is a lag at which the autocorrelation of the past has its highest peak, after a dip that tells it from mere slowness; the
//! shortest lag with nearly as high a peak is kept beside it (a day within a week). The profile of a season at one phase is a median of
//! the last cycles, weighted towards the newest: one surge in one of them leaves no trace. The sweep over all lags is spread over
//! `SWEEP` windows, so that no single decision pays for it.

use crate::unit::{Ratio, RequestsPerSecond, Windows};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// A sweep over all lags takes so many values.
const SWEEP: usize = 12;
/// Fewer values than this show no season.
const LEAST: usize = 48;
/// Lags below this are slowness, not seasons.
const SHORTEST: usize = 3;
/// The correlation that a season needs when it is found, and that it may fall to before it is given up.
const FOUND: f64 = 0.6;
const KEPT: f64 = 0.5;
/// How far the correlation must have dipped before a peak counts, and how high the peak must rise above the dip.
const DIP: f64 = 0.5;
const RISE: f64 = 0.3;
/// A longer season must be better than a shorter one by this to take its place.
const BETTER: f64 = 0.03;
/// A season that was found stays while it is no worse than another by this; one that differs by less than an eighth is the same, measured better.
const STICKY: f64 = 0.1;
/// The short season lies below this share of the long one, with this share of its correlation.
const SHORT: f64 = 2.0 / 3.0;
const NEARLY: f64 = 0.6;
/// Cycles that make a profile, and the weight of each against the one after it.
const CYCLES: usize = 5;
const FADING: f64 = 0.8;

/// The mean of one window; negative where nothing was seen, so that half of the memory of an `Option` is enough.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Mean(f32);

impl Mean {
    const GAP: Self = Self(-1.0);

    fn new(rate: Option<RequestsPerSecond>) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "seven digits of a rate are more than it is known to")]
        rate.map_or(Self::GAP, |rate| Self((rate.get() as f32).min(f32::MAX)))
    }

    fn get(self) -> Option<f64> {
        (self.0 >= 0.0).then(|| f64::from(self.0))
    }
}

/// A distance between values of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lag(usize);

/// A place in a history: values after the last one; those that have passed are negative.
#[derive(Clone, Copy, Debug)]
struct Steps(i64);

/// A correlation, as precise as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Parts(i16);

impl Parts {
    /// A correlation of 1: thirty thousand parts, so that a flat peak still has one highest point.
    const ONE: i16 = 30_000;
}

/// Which of the two seasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Season {
    /// The one with the highest peak.
    Long,
    /// The shortest within it.
    Short,
}

/// The past at one resolution. Shared, not copied, when the memory of a workload is cloned for the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    #[serde(with = "shared")]
    past: Arc<Past>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Past {
    /// Windows that make one value.
    stride: usize,
    /// Values that are remembered.
    capacity: usize,
    /// Number of the value that comes next.
    next: i64,
    values: VecDeque<Mean>,
    /// Of the value that is being filled: the sum of its windows, and how many were seen and have passed.
    filling: (f64, u32, u32),
    /// Correlation at each lag, as far as the sweep has come.
    correlation: Vec<Parts>,
    lag: usize,
    long: usize,
    short: usize,
}

mod shared {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::sync::Arc;

    pub(super) fn serialize<T: Serialize, S: Serializer>(value: &Arc<T>, to: S) -> Result<S::Ok, S::Error> {
        T::serialize(value, to)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Arc<T>, D::Error> {
        T::deserialize(from).map(Arc::new)
    }
}

/// How coarse a history is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolution {
    /// Windows that make one value.
    pub(crate) stride: usize,
    /// Values that are remembered.
    pub(crate) capacity: usize,
}

impl History {
    pub(crate) fn new(resolution: Resolution) -> Self {
        let Resolution { stride, capacity } = resolution;
        Self { past: Arc::new(Past { stride, capacity, lag: SHORTEST, ..Past::default() }) }
    }

    /// Takes the mean of the window that has just ended; `None` where nothing was seen of it.
    pub(crate) fn push(&mut self, rate: Option<RequestsPerSecond>) {
        Arc::make_mut(&mut self.past).push(rate);
    }

    /// What the profile of a season says of the window `ahead` after the last one; windows that have passed are negative.
    pub(crate) fn profile(&self, season: Season, ahead: Windows) -> Option<RequestsPerSecond> {
        self.past.profile(season, ahead)
    }

    /// The length of a season in windows, where one is known.
    pub(crate) fn season(&self, season: Season) -> Option<Windows> {
        let windows = i64::try_from(self.past.length(season).0 * self.past.stride).ok()?;
        (windows > 0).then_some(Windows(windows))
    }
}

impl Past {
    fn length(&self, season: Season) -> Lag {
        Lag(match season {
            Season::Long => self.long,
            Season::Short => self.short,
        })
    }

    fn push(&mut self, rate: Option<RequestsPerSecond>) {
        let (sum, seen, passed) = &mut self.filling;
        *passed += 1;
        if let Some(rate) = rate {
            *sum += rate.get();
            *seen += 1;
        }
        if (*passed as usize) < self.stride {
            return;
        }
        let mean = (*seen > 0).then(|| RequestsPerSecond::clamped(*sum / f64::from(*seen)));
        self.filling = (0.0, 0, 0);
        if self.values.len() >= self.capacity {
            self.values.pop_front();
        }
        self.values.push_back(Mean::new(mean));
        self.next += 1;
        self.sweep();
    }

    /// Correlates some more lags; at the end of a sweep the seasons are concluded and it begins anew.
    fn sweep(&mut self) {
        let longest = self.values.len() * 5 / 9;
        if self.values.len() < LEAST {
            return;
        }
        let seen = || self.values.iter().filter_map(|value| value.get());
        let count = seen().count().max(1) as f64;
        let mean = seen().sum::<f64>() / count;
        let upto = (self.lag + longest / SWEEP + 1).min(longest + 1);
        self.correlation.resize((longest + 2).max(self.correlation.len()), Parts(Parts::ONE));
        for lag in self.lag..upto {
            let correlated = self.correlate(Lag(lag), RequestsPerSecond::clamped(mean));
            if let Some(value) = self.correlation.get_mut(lag) {
                #[expect(clippy::cast_possible_truncation, reason = "a correlation lies between -1 and 1")]
                let rounded = (correlated.clamp(-1.0, 1.0) * f64::from(Parts::ONE)).round() as i16;
                *value = Parts(rounded);
            }
        }
        self.lag = upto;
        if upto > longest {
            self.conclude(Lag(longest));
            self.lag = SHORTEST;
        }
    }

    fn correlate(&self, lag: Lag, mean: RequestsPerSecond) -> f64 {
        let mean = mean.get();
        let (mut both, mut early, mut late) = (0.0, 0.0, 0.0);
        for (one, other) in self.values.iter().zip(self.values.iter().skip(lag.0)) {
            if let (Some(one), Some(other)) = (one.get(), other.get()) {
                let (one, other) = (one - mean, other - mean);
                both += one * other;
                early += one * one;
                late += other * other;
            }
        }
        both / ((early * late).sqrt() + f64::MIN_POSITIVE)
    }

    fn conclude(&mut self, longest: Lag) {
        let (best, height) = self.highest(longest);
        let at = |lag: usize| self.correlation.get(lag).map_or(0.0, |value| f64::from(value.0) / f64::from(Parts::ONE));
        let same = best.abs_diff(self.long) * 8 < self.long;
        let keeps =
            !same && self.long > 0 && self.long <= longest.0 && at(self.long) > (height.get() - STICKY).max(KEPT);
        if !keeps {
            self.long = if height.get() > FOUND { best } else { 0 };
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a lag")]
        let below = (self.long as f64 * SHORT) as usize;
        let enough = Ratio::clamped(NEARLY * at(self.long));
        self.short = if self.long == 0 { 0 } else { self.first(Lag(below), enough) };
    }

    /// The lag of the highest peak, and its height; 0 where there is none.
    fn highest(&self, longest: Lag) -> (usize, Ratio) {
        let mut best = (0, Ratio::ZERO);
        for (lag, height) in self.peaks(longest) {
            if height.get() > best.1.get() + BETTER {
                best = (lag, height);
            }
        }
        best
    }

    fn first(&self, longest: Lag, least: Ratio) -> usize {
        self.peaks(longest).find(|(_, height)| *height > least).map_or(0, |(lag, _)| lag)
    }

    /// Lags with a peak after a dip, shortest first.
    fn peaks(&self, longest: Lag) -> impl Iterator<Item = (usize, Ratio)> {
        let at =
            move |lag: usize| self.correlation.get(lag).map_or(0.0, |value| f64::from(value.0) / f64::from(Parts::ONE));
        let mut lowest = 1.0_f64;
        (SHORTEST..longest.0).filter_map(move |lag| {
            lowest = lowest.min(at(lag));
            let before = if lag == SHORTEST { 1.0 } else { at(lag - 1) };
            let peak = at(lag) >= before && at(lag) >= at(lag + 1);
            (peak && lowest < DIP && at(lag) - lowest > RISE).then(|| (lag, Ratio::clamped(at(lag))))
        })
    }

    fn profile(&self, season: Season, ahead: Windows) -> Option<RequestsPerSecond> {
        let length = self.length(season);
        let stride = i64::try_from(self.stride).ok()?;
        // The window's middle among the middles of the values, in halves of a window so that whole numbers do.
        let halves = 2 * (i64::from(self.filling.2) + ahead.0) - stride + 1;
        let (before, rest) = (halves.div_euclid(2 * stride), halves.rem_euclid(2 * stride));
        let one = self.cycle(Steps(before), length)?;
        if rest == 0 {
            return Some(RequestsPerSecond::clamped(one));
        }
        let other = self.cycle(Steps(before + 1), length)?;
        Some(RequestsPerSecond::clamped(one + (other - one) * rest as f64 / (2 * stride) as f64))
    }

    /// The weighted median of what was `ahead` of the next value, whole cycles ago.
    fn cycle(&self, Steps(ahead): Steps, Lag(length): Lag) -> Option<f64> {
        let length = i64::try_from(length).ok().filter(|length| *length > 0)?;
        let known = i64::try_from(self.values.len()).ok()?;
        let mut at = known + ahead;
        at -= length * (1 + (at - known).div_euclid(length).max(0));
        let mut cycles = [(0.0, 0.0); CYCLES];
        let (mut found, mut weight) = (0, 1.0);
        while at >= 0 && found < CYCLES {
            if let (Some(value), Some(slot)) =
                (usize::try_from(at).ok().and_then(|at| self.values.get(at)?.get()), cycles.get_mut(found))
            {
                *slot = (value, weight);
                found += 1;
            }
            weight *= FADING;
            at -= length;
        }
        middle(cycles.get_mut(..found)?)
    }
}

/// The middle of weighted values: their mean while there are two, the mean without the extremes up to four, then the median.
fn middle(values: &mut [(f64, f64)]) -> Option<f64> {
    values.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mean = |of: &[(f64, f64)]| {
        let weight: f64 = of.iter().map(|(_, weight)| weight).sum();
        (weight > 0.0).then(|| of.iter().map(|(value, weight)| value * weight).sum::<f64>() / weight)
    };
    match values.len() {
        0..=2 => mean(values),
        3 | 4 => mean(values.get(1..values.len() - 1)?),
        _ => {
            let half = values.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
            let mut sum = 0.0;
            values
                .iter()
                .find(|(_, weight)| {
                    sum += weight;
                    sum >= half
                })
                .map(|(value, _)| *value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(values: impl Iterator<Item = f64>) -> History {
        let mut history = History::new(Resolution { stride: 1, capacity: 1_536 });
        for value in values {
            history.push(RequestsPerSecond::new(value));
        }
        history
    }

    fn wave(window: i64, period: i64) -> f64 {
        let phase = std::f64::consts::TAU * (window.rem_euclid(period)) as f64 / period as f64;
        300.0 - 200.0 * libm::cos(phase)
    }

    #[test]
    fn a_season_is_found_in_its_second_cycle() {
        let seen = history((0..252).map(|window| wave(window, 120)));
        assert_eq!(seen.season(Season::Long), Some(Windows(120)));
        let ahead = seen.profile(Season::Long, Windows(10)).unwrap().get();
        assert!((ahead - wave(252 + 10, 120)).abs() < 1.0, "{ahead}");
    }

    #[test]
    fn steady_demand_has_no_season() {
        assert_eq!(history((0..500).map(|_| 300.0)).season(Season::Long), None);
        assert_eq!(history((0..500).map(f64::from)).season(Season::Long), None, "nor has a steady rise");
    }

    #[test]
    fn a_day_is_found_within_a_week() {
        let weekend = |window: i64| if (window / 48) % 7 >= 5 { 0.6 } else { 1.0 };
        let seen = history((0..800).map(|window| wave(window, 48) * weekend(window)));
        assert_eq!((seen.season(Season::Long), seen.season(Season::Short)), (Some(Windows(336)), Some(Windows(48))));
    }

    #[test]
    fn one_surge_leaves_no_trace_in_the_profile() {
        let seen =
            history((0..600).map(|window| wave(window, 48) * if (530..536).contains(&window) { 1.7 } else { 1.0 }));
        for ahead in 0..48 {
            let (profile, expected) =
                (seen.profile(Season::Long, Windows(ahead)).unwrap().get(), wave(600 + ahead, 48));
            assert!((profile / expected - 1.0).abs() < 0.02, "{ahead} ahead: {profile} instead of {expected}");
        }
    }

    #[test]
    fn gaps_are_no_values() {
        let mut seen = history((0..400).map(|window| wave(window, 48)));
        for _ in 0..10 {
            seen.push(None);
        }
        let profile = seen.profile(Season::Long, Windows(0)).unwrap().get();
        assert!((profile - wave(410, 48)).abs() < 1.0, "{profile}");
    }

    #[test]
    fn a_coarse_history_lies_between_its_values() {
        let mut seen = History::new(Resolution { stride: 10, capacity: 4_032 });
        for window in 0..9_000 {
            seen.push(RequestsPerSecond::new(wave(window, 2_880)));
        }
        assert_eq!(seen.season(Season::Long), Some(Windows(2_880)));
        for ahead in [-3, 0, 7, 500] {
            let (profile, expected) =
                (seen.profile(Season::Long, Windows(ahead)).unwrap().get(), wave(9_000 + ahead, 2_880));
            assert!((profile / expected - 1.0).abs() < 0.02, "{ahead} ahead: {profile} instead of {expected}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let seen = history((0..5_000).map(|window| wave(window, 48)));
        assert_eq!(seen.past.values.len(), 1_536);
        assert!(seen.past.correlation.len() <= 855);
    }
}

//! What demand was: the mean of each window, and the seasons that repeat in it.
//!
//! A season is a lag at which the autocorrelation of the past has its highest peak, after a dip that tells it from mere slowness; the
//! shortest lag with nearly as high a peak is kept beside it (a day within a week). The profile of a season at one phase is a median of
//! the last cycles, weighted towards the newest: one surge in one of them leaves no trace. The sweep over all lags is spread over
//! windows, `SWEEP` products each, so that no single decision pays for it.

use super::brief::Brief;
use crate::unit::{RequestsPerSecond, Windows};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// Products of a sweep that are summed at the end of one window: some 20 microseconds.
const SWEEP: usize = 30_000;
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

/// A distance between values of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lag(usize);

/// A place in a history: values after the last one; those that have passed are negative.
#[derive(Clone, Copy, Debug)]
struct Steps(i64);

/// A correlation in ten-thousandths: as precise as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
struct Parts(i16);

impl Parts {
    const ONE: Self = Self(10_000);

    fn get(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ONE.0)
    }
}

/// A sweep over all lags, shortest first, as far as it has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sweep {
    /// The lag that comes next.
    lag: usize,
    /// Correlations at the two lags before it, and the lowest so far.
    before: Parts,
    last: Parts,
    lowest: Parts,
    /// Correlation at the season that is known.
    kept: Parts,
    /// Peaks after a dip, each higher than those at shorter lags.
    peaks: Vec<(usize, Parts)>,
}

impl Sweep {
    const START: Self = Self {
        lag: SHORTEST,
        before: Parts::ONE,
        last: Parts::ONE,
        lowest: Parts::ONE,
        kept: Parts(0),
        peaks: Vec::new(),
    };

    /// Takes the correlation at the next lag: the lag before it is a peak where neither neighbour is higher.
    fn take(&mut self, correlation: Parts) {
        let peak = self.lag > SHORTEST && self.last >= self.before && self.last >= correlation;
        let rises = self.lowest.get() < DIP && self.last.get() - self.lowest.get() > RISE;
        if peak && rises && self.peaks.last().is_none_or(|(_, highest)| self.last > *highest) {
            self.peaks.push((self.lag - 1, self.last));
        }
        (self.before, self.last) = (self.last, correlation);
        self.lowest = self.lowest.min(correlation);
        self.lag += 1;
    }
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Past {
    /// Windows that make one value.
    stride: usize,
    /// Values that are remembered.
    capacity: usize,
    values: VecDeque<Brief>,
    /// Of the value that is being filled: the sum of its windows, and how many were seen and have passed.
    filling: (f64, u32, u32),
    sweep: Sweep,
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
        let values = VecDeque::new();
        Self {
            past: Arc::new(Past {
                stride,
                capacity,
                values,
                filling: (0.0, 0, 0),
                sweep: Sweep::START,
                long: 0,
                short: 0,
            }),
        }
    }

    /// Takes the mean of the window that has just ended; `None` where nothing was seen of it.
    pub(crate) fn push(&mut self, rate: Option<RequestsPerSecond>) {
        let past = Arc::make_mut(&mut self.past);
        if past.push(rate) {
            past.sweep();
        }
    }

    /// So many windows passed of which nothing was seen.
    pub(crate) fn skip(&mut self, Windows(windows): Windows) {
        let past = Arc::make_mut(&mut self.past);
        let all = i64::try_from(past.stride * past.capacity).unwrap_or(i64::MAX);
        for _ in 0..windows.min(all) {
            past.push(None);
        }
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

    /// Takes a window; whether that completed a value.
    fn push(&mut self, rate: Option<RequestsPerSecond>) -> bool {
        let (sum, seen, passed) = &mut self.filling;
        *passed += 1;
        if let Some(rate) = rate {
            *sum += rate.get();
            *seen += 1;
        }
        if (*passed as usize) < self.stride {
            return false;
        }
        let mean = (*seen > 0).then(|| RequestsPerSecond::clamped(*sum / f64::from(*seen)));
        self.filling = (0.0, 0, 0);
        if self.values.len() >= self.capacity {
            self.values.pop_front();
        }
        self.values.push_back(Brief::new(mean));
        true
    }

    /// Correlates some more lags; at the end of a sweep the seasons are concluded and it begins anew.
    fn sweep(&mut self) {
        let longest = self.values.len() * 5 / 9;
        if self.values.len() < LEAST {
            return;
        }
        let values = &*self.values.make_contiguous();
        let seen = || values.iter().filter_map(|value| value.get());
        let mean = RequestsPerSecond::clamped(seen().sum::<f64>() / seen().count().max(1) as f64);
        let mut work = 0;
        while work < SWEEP && self.sweep.lag <= longest {
            let lag = Lag(self.sweep.lag);
            let correlation = correlate(values, lag, mean);
            if lag.0 == self.long {
                self.sweep.kept = correlation;
            }
            self.sweep.take(correlation);
            work += values.len() - lag.0;
        }
        if self.sweep.lag > longest {
            self.conclude();
        }
    }

    fn conclude(&mut self) {
        let Sweep { kept, peaks, .. } = std::mem::replace(&mut self.sweep, Sweep::START);
        let (mut best, mut height) = (0, 0.0);
        for (lag, peak) in &peaks {
            if peak.get() > height + BETTER {
                (best, height) = (*lag, peak.get());
            }
        }
        let same = best.abs_diff(self.long) * 8 < self.long;
        if same || self.long == 0 || kept.get() <= (height - STICKY).max(KEPT) {
            (self.long, height) = if height > FOUND { (best, height) } else { (0, 0.0) };
        } else {
            height = kept.get();
        }
        let short =
            |(lag, peak): &&(usize, Parts)| (*lag as f64) < SHORT * self.long as f64 && peak.get() > NEARLY * height;
        self.short = peaks.iter().find(short).map_or(0, |(lag, _)| *lag);
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

/// The correlation of values with those `lag` later.
fn correlate(values: &[Brief], lag: Lag, mean: RequestsPerSecond) -> Parts {
    let mean = mean.get();
    let late = values.get(lag.0..).unwrap_or_default();
    let (mut products, mut squares, mut later) = (0.0, 0.0, 0.0);
    for (one, other) in values.iter().zip(late) {
        if let (Some(one), Some(other)) = (one.get(), other.get()) {
            let (one, other) = (one - mean, other - mean);
            products += one * other;
            squares += one * one;
            later += other * other;
        }
    }
    let correlation = (products / ((squares * later).sqrt() + f64::MIN_POSITIVE)).clamp(-1.0, 1.0);
    #[expect(clippy::cast_possible_truncation, reason = "a correlation lies between -1 and 1")]
    Parts((correlation * f64::from(Parts::ONE.0)).round() as i16)
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
        assert!(seen.past.sweep.peaks.len() <= 8, "{:?}", seen.past.sweep);
    }
}

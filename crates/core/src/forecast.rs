//! Forecast: what demand will be when a replica that is ordered now is ready.
//!
//! Persistence plus a damped trend (Gardner and `McKenzie`, Management Science 31(10), 1985; Holt's two equations with weights from the time
//! that has passed, so that an irregular tick changes nothing), and a band from this workload's own past errors: signed,
//! relative to the forecast, at the horizon they were made for. A jump that the trend cannot explain moves the
//! level and leaves the trend and the band alone: it says where demand is, not where it goes.
//! Seasons and the combination of experts are deliberately absent here.

use crate::demand::Demand;
use crate::unit::{Ratio, RequestsPerSecond, Seconds, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Time constant of the level behind the trend: two scrapes at 5 s, so that sampling noise does not look like a trend.
const LEVEL: Seconds = Seconds::whole(10);
/// Time constant of the trend: a ramp of minutes is followed within a minute.
const TREND: Seconds = Seconds::whole(60);
/// How long a trend is expected to last; a trend extrapolated for ever would order replicas for a demand that never comes.
const DAMPING: Seconds = Seconds::whole(120);
/// A change larger than this share of the forecast is a jump. Poisson noise of 40 requests a second over 5 s is 7 %.
const JUMP: Ratio = Ratio::percent(25);
/// A gap longer than this starts the forecast anew from the next reading.
const GAP: Seconds = Seconds::whole(120);
/// Past errors that make the band: about five minutes of them, whatever the tick.
const ERRORS: usize = 64;
/// Errors are noted at most this often, so that a fast tick does not fill the memory with the same error.
const NOTE_EVERY: Seconds = Seconds::whole(5);
/// Forecasts that wait for their hour; 128 of them 5 s apart reach 10 minutes ahead, longer than pods take to start.
const PENDING: usize = 128;
/// Before this many errors are known the band is a guess.
const LEARNED: usize = 8;
/// That guess: the mid-range of the relative errors one start-up time ahead in the benchmark's seven workloads (1.4 to 4.5 % noise, surges above).
const GUESS: Ratio = Ratio::percent(10);
/// The share of past errors that the upper edge covers.
const COVER: Ratio = Ratio::percent(90);
/// No single error widens the band by more.
const WORST: f64 = 0.5;

/// Demand now and at the horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Demand now.
    pub now: RequestsPerSecond,
    /// How far ahead it looks.
    pub horizon: Seconds,
    /// The middle of what is expected then.
    pub median: RequestsPerSecond,
    /// 90 of 100 past errors would stay below this.
    pub upper: RequestsPerSecond,
    /// How many past errors the band comes from; 0 while it is a guess.
    pub errors: u32,
}

impl Forecast {
    /// The most that is to be served from now until the horizon.
    #[must_use]
    pub fn peak(&self) -> RequestsPerSecond {
        self.now.max(self.upper)
    }
}

/// A signed change of demand, requests a second per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Trend(f64);

/// A past error relative to its forecast, signed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Error(f64);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Level {
    at: Timestamp,
    rate: RequestsPerSecond,
}

/// What is remembered of demand's course: constant in size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    level: Option<Level>,
    trend: Trend,
    pending: VecDeque<Level>,
    errors: VecDeque<Error>,
    noted: Option<Timestamp>,
}

/// The forecast for `horizon` ahead, where demand is known.
pub(crate) fn predict(memory: &mut Memory, demand: &Demand, horizon: Seconds, at: Timestamp) -> Option<Forecast> {
    let Demand::Known { rate, .. } = demand else { return None };
    learn(memory, *rate, at);
    let damped = DAMPING.get() * -libm::expm1(-horizon.get() / DAMPING.get());
    let median = RequestsPerSecond::clamped(rate.get() + memory.trend.0 * damped);
    note(memory, median, horizon, at);
    let (spread, errors) = spread(&memory.errors);
    let upper = median * (Ratio::ONE + spread);
    Some(Forecast { now: *rate, horizon, median, upper, errors })
}

/// Takes one reading into the level and the trend, and settles the forecasts that were made for this moment.
fn learn(memory: &mut Memory, rate: RequestsPerSecond, at: Timestamp) {
    let Some(last) = memory.level else {
        memory.level = Some(Level { at, rate });
        return;
    };
    let elapsed = at.since(last.at);
    if elapsed == Seconds::ZERO {
        return;
    }
    let expected = RequestsPerSecond::clamped(last.rate.get() + memory.trend.0 * elapsed.get());
    let surprise = (rate.get() - expected.get()).abs();
    if elapsed > GAP || surprise > JUMP.get() * expected.get() {
        if elapsed > GAP {
            memory.trend = Trend::default();
        }
        memory.pending.clear();
        memory.level = Some(Level { at, rate });
        return;
    }
    settle(memory, rate, at);
    let weight = |constant: Seconds| -libm::expm1(-elapsed.get() / constant.get());
    let level = RequestsPerSecond::clamped(expected.get() + weight(LEVEL) * (rate.get() - expected.get()));
    let slope = (level.get() - last.rate.get()) / elapsed.get();
    memory.trend.0 += weight(TREND) * (slope - memory.trend.0);
    memory.level = Some(Level { at, rate: level });
}

fn settle(memory: &mut Memory, rate: RequestsPerSecond, at: Timestamp) {
    while let Some(due) = memory.pending.front().copied().filter(|due| due.at <= at) {
        memory.pending.pop_front();
        if due.rate > RequestsPerSecond::ZERO {
            let error = (rate.get() - due.rate.get()) / due.rate.get();
            push_bounded(&mut memory.errors, Error(error.clamp(-WORST, WORST)), ERRORS);
        }
    }
}

fn note(memory: &mut Memory, median: RequestsPerSecond, horizon: Seconds, at: Timestamp) {
    if memory.noted.is_some_and(|noted| at.since(noted) < NOTE_EVERY && noted <= at) {
        return;
    }
    memory.noted = Some(at);
    // A horizon that shrank would break the order of the queue: such a forecast waits for its turn.
    let due = memory.pending.back().map_or(at.after(horizon), |last| last.at.max(at.after(horizon)));
    push_bounded(&mut memory.pending, Level { at: due, rate: median }, PENDING);
}

/// The relative height of the band's upper edge, and how many errors it comes from.
fn spread(errors: &VecDeque<Error>) -> (Ratio, u32) {
    if errors.len() < LEARNED {
        return (GUESS, 0);
    }
    let mut sorted: Vec<f64> = errors.iter().map(|error| error.0).collect();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of at most 64")]
    let rank = (COVER.get() * sorted.len() as f64).ceil() as usize;
    let edge = sorted.get(rank.saturating_sub(1)).copied().unwrap_or(WORST);
    (Ratio::clamped(edge), u32::try_from(sorted.len()).unwrap_or(u32::MAX))
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, bound: usize) {
    if queue.len() >= bound {
        queue.pop_front();
    }
    queue.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(rate: f64) -> Demand {
        Demand::Known { rate: RequestsPerSecond::new(rate).unwrap(), age: None, complete: true }
    }

    /// Feeds `course(second)` every 5 s for `seconds`, and returns the last forecast 30 s ahead.
    fn after(seconds: i64, course: impl Fn(f64) -> f64) -> Forecast {
        let mut memory = Memory::default();
        let mut last = None;
        for second in (0..=seconds).step_by(5) {
            last = predict(&mut memory, &known(course(second as f64)), Seconds::whole(30), Timestamp(second * 1_000));
        }
        last.unwrap()
    }

    #[test]
    fn it_is_useful_at_the_first_reading() {
        let first = after(0, |_| 100.0);
        assert_eq!((first.median.get(), first.errors), (100.0, 0));
        assert!((first.upper.get() - 110.0).abs() < 1e-9);
    }

    #[test]
    fn a_steady_ramp_is_seen_ahead() {
        let ramp = after(300, |t| 100.0 + t);
        assert!((420.0..=436.0).contains(&ramp.median.get()), "400 now, 1 more each second: {ramp:?}");
    }

    #[test]
    fn steady_demand_has_a_narrow_band() {
        let steady = after(600, |_| 200.0);
        assert_eq!((steady.median.get(), steady.upper.get(), steady.errors), (200.0, 200.0, 64));
    }

    #[test]
    fn a_jump_is_followed_at_once_and_not_extrapolated() {
        let jump = after(600, |t| if t < 595.0 { 200.0 } else { 400.0 });
        assert_eq!((jump.median.get(), jump.upper.get()), (400.0, 400.0));
    }

    #[test]
    fn nothing_is_forecast_from_unknown_demand() {
        let gap = Demand::Unknown(crate::snapshot::Absence::Unreachable);
        assert_eq!(predict(&mut Memory::default(), &gap, Seconds::whole(30), Timestamp(0)), None);
    }

    #[test]
    fn memory_does_not_grow() {
        let mut memory = Memory::default();
        for second in 0..100_000_i64 {
            predict(&mut memory, &known(100.0 + (second % 7) as f64), Seconds::whole(90), Timestamp(second * 1_000));
        }
        assert!(memory.pending.len() <= PENDING && memory.errors.len() <= ERRORS);
    }
}

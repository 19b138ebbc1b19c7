//! What a controller gets to see of the service: late, with gaps, with counters that were reset, with zeros that are none.
//!
//! Whatever is wrong is drawn for each tick from the seed and the tick's number alone, so that a fault happens to every policy at the
//! same moment, and again in the next run. A fault is one of the measurement: the service goes on.

use crate::run::Interval;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::collections::VecDeque;
use trimtab_core::snapshot::{Absence, Coverage, Reading, Sample};
use trimtab_core::unit::{Ratio, RequestsPerSecond, Seconds, Timestamp};

/// How far what is seen is from what is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sight {
    /// What is seen is at least this old: scrape interval, range of the query, pipeline.
    pub lag: Seconds,
    /// Share of ticks at which nothing can be read, each for itself.
    pub missing: Ratio,
    /// A span in which nothing can be read.
    pub outage: Option<Outage>,
    /// Share of ticks at which counters were reset: demand reads as anything below half of what it is.
    pub resets: Ratio,
    /// Share of ticks at which demand reads as zero, with nobody to vouch for it.
    pub zeros: Ratio,
}

/// A span in which nothing can be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outage {
    /// After the beginning.
    pub begins: Seconds,
    /// How long it lasts.
    pub lasts: Seconds,
}

impl Sight {
    /// Everything at once, and as it is.
    pub const CLEAR: Self =
        Self { lag: Seconds::ZERO, missing: Ratio::ZERO, outage: None, resets: Ratio::ZERO, zeros: Ratio::ZERO };
}

/// What was measured at the end of a tick.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// The end of the tick.
    pub at: Timestamp,
    /// Demand in the tick.
    pub rate: RequestsPerSecond,
    /// How busy the ready replicas were in it.
    pub busy: Ratio,
    /// The interval that ended with it.
    pub interval: Option<Interval>,
}

/// What is seen at a tick.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Demand in the newest tick that may be seen.
    pub demand: Reading<RequestsPerSecond>,
    /// 99th percentile of the newest interval that may be seen.
    pub latency: Reading<Seconds>,
    /// How busy the ready replicas were in that tick.
    pub utilization: Reading<Ratio>,
    /// The interval that can be seen since this tick.
    pub interval: Option<Interval>,
}

impl Seen {
    fn nothing(absence: Absence) -> Self {
        Self {
            demand: Reading::Missing(absence),
            latency: Reading::Missing(absence),
            utilization: Reading::Missing(absence),
            interval: None,
        }
    }
}

/// Looks through a [`Sight`].
#[derive(Debug)]
pub struct Eye {
    sight: Sight,
    seed: u64,
    ticks: u64,
    /// Measured and not yet to be seen.
    underway: VecDeque<Measured>,
    last: Option<Measured>,
    /// The last percentile of a whole interval, and when it was measured.
    percentile: Option<(Seconds, Timestamp)>,
}

impl Eye {
    /// An eye that has seen nothing; faults are drawn from the seed.
    #[must_use]
    pub fn new(sight: Sight, seed: u64) -> Self {
        Self { sight, seed, ticks: 0, underway: VecDeque::new(), last: None, percentile: None }
    }

    /// What is seen at the tick at which this is measured.
    pub fn look(&mut self, measured: Measured) -> Seen {
        let now = measured.at;
        self.underway.push_back(measured);
        // The golden ratio's bits spread seeds that follow one another; the word keeps this stream from those of the service.
        let spread = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from_be_bytes(*b"darkness");
        let mut random = Pcg64Mcg::seed_from_u64(spread ^ self.ticks);
        self.ticks += 1;
        let mut happens = |share: Ratio| random.random::<f64>() < share.get();
        let (missing, reset, zero) =
            (happens(self.sight.missing), happens(self.sight.resets), happens(self.sight.zeros));
        let left = if reset { random.random_range(0.0..0.5) } else { 1.0 };
        let mut interval = None;
        while let Some(due) = self.underway.front().filter(|due| now.since(due.at) >= self.sight.lag).copied() {
            self.underway.pop_front();
            interval = due.interval.or(interval);
            self.percentile = due.interval.and_then(|it| it.p99).map(|p99| (p99, due.at)).or(self.percentile);
            self.last = Some(due);
        }
        let Some(last) = self.last else { return Seen::nothing(Absence::NotYetAsked) };
        let out = self.sight.outage.is_some_and(|outage| {
            let since = now.since(Timestamp(0)).get() - outage.begins.get();
            (0.0..outage.lasts.get()).contains(&since)
        });
        if missing || out {
            return Seen::nothing(Absence::TimedOut);
        }
        let read = |rate: RequestsPerSecond| match (zero, Ratio::new(left)) {
            (true, _) => RequestsPerSecond::ZERO,
            (false, share) => rate * share.unwrap_or(Ratio::ONE),
        };
        let age = now.since(last.at);
        let interval = interval.map(|interval| Interval { rate: read(interval.rate), ..interval });
        let vouched = if zero { Coverage::Unmeasured } else { Coverage::Share(Ratio::ONE) };
        Seen {
            demand: Reading::Fresh(Sample { value: read(last.rate), age: Some(age), coverage: vouched }),
            // A percentile is known of whole intervals alone, as in the benchmark, and stands until the next one.
            latency: self
                .percentile
                .map_or(Reading::Missing(Absence::NoSeries), |(p99, when)| sample(p99, now.since(when))),
            utilization: sample(last.busy, age),
            interval,
        }
    }
}

fn sample<T>(value: T, age: Seconds) -> Reading<T> {
    Reading::Fresh(Sample { value, age: Some(age), coverage: Coverage::Share(Ratio::ONE) })
}

/// An error that is put on any forecast: how far off on average, and how much it scatters around that, both relative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForecastError {
    /// 0.1 forecasts a tenth too much.
    pub bias: f64,
    /// Standard deviation of a normal factor that is drawn for each forecast.
    pub noise: f64,
}

impl ForecastError {
    /// None.
    pub const NONE: Self = Self { bias: 0.0, noise: 0.0 };

    /// A forecast that was made in an interval, with this error on it.
    pub(crate) fn on(self, forecast: f64, seed: u64, interval: usize) -> f64 {
        if self == Self::NONE {
            return forecast;
        }
        let spread = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from_be_bytes(*b"forecast");
        let mut random = Pcg64Mcg::seed_from_u64(spread ^ interval as u64);
        let normal: f64 = rand_distr::Distribution::sample(&rand_distr::StandardNormal, &mut random);
        (forecast * (1.0 + self.bias + self.noise * normal)).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is seen at so many ticks of 5 s at which demand is 100, 101, 102 ... and an interval ends with each sixth.
    fn seen(sight: Sight, ticks: u32) -> Vec<Seen> {
        let mut eye = Eye::new(sight, 1);
        let measured = |tick: u32| Measured {
            at: Timestamp(i64::from(tick + 1) * 5_000),
            rate: RequestsPerSecond::whole(100 + tick),
            busy: Ratio::percent(70),
            interval: (tick % 6 == 5).then(|| Interval {
                number: tick as usize / 6,
                rate: RequestsPerSecond::whole(100 + tick),
                p99: Some(Seconds::milliseconds(80)),
            }),
        };
        (0..ticks).map(|tick| eye.look(measured(tick))).collect()
    }

    fn rates(seen: &[Seen]) -> Vec<Option<f64>> {
        seen.iter().map(|seen| seen.demand.fresh().map(RequestsPerSecond::get)).collect()
    }

    #[test]
    fn a_clear_sight_shows_what_is_at_once() {
        let seen = seen(Sight::CLEAR, 6);
        assert_eq!(rates(&seen), [100.0, 101.0, 102.0, 103.0, 104.0, 105.0].map(Some));
        assert_eq!(seen[5].interval.map(|interval| interval.number), Some(0));
        assert!(seen[4].latency.fresh().is_none() && seen[5].latency.fresh().is_some());
    }

    #[test]
    fn a_lag_shows_the_past_and_tells_its_age() {
        let seen = seen(Sight { lag: Seconds::whole(12), ..Sight::CLEAR }, 10);
        let expected = [None, None, None, Some(100.0), Some(101.0), Some(102.0)];
        assert_eq!(rates(&seen)[..6], expected, "what is 12 s old is seen at the third tick after");
        let Reading::Fresh(sample) = &seen[5].demand else { panic!("{:?}", seen[5]) };
        assert_eq!(sample.age, Some(Seconds::whole(15)));
        let ended: Vec<usize> = (0..10).filter(|tick| seen[*tick].interval.is_some()).collect();
        assert_eq!(ended, [8], "an interval is seen when its time has come, and once");
    }

    #[test]
    fn gaps_come_as_often_as_stated_and_again_in_the_next_run() {
        let sight = Sight { missing: Ratio::percent(20), ..Sight::CLEAR };
        let gaps = |seen: &[Seen]| rates(seen).iter().filter(|rate| rate.is_none()).count();
        let (once, again) = (seen(sight, 1_000), seen(sight, 1_000));
        assert!((150..250).contains(&gaps(&once)), "{}", gaps(&once));
        assert_eq!(rates(&once), rates(&again));
    }

    #[test]
    fn an_outage_is_a_span() {
        let outage = Some(Outage { begins: Seconds::whole(20), lasts: Seconds::whole(15) });
        let seen = seen(Sight { outage, ..Sight::CLEAR }, 8);
        let dark: Vec<usize> = (0..8).filter(|tick| rates(&seen)[*tick].is_none()).collect();
        assert_eq!(dark, [3, 4, 5], "20, 25 and 30 s after the beginning");
        assert!(seen[5].interval.is_none());
    }

    #[test]
    fn a_reset_collapses_one_reading_and_a_lying_zero_has_no_witness() {
        let resets = seen(Sight { resets: Ratio::percent(10), ..Sight::CLEAR }, 500);
        let true_rates = (0..500_u32).map(|tick| f64::from(100 + tick));
        let collapsed = rates(&resets)
            .iter()
            .flatten()
            .zip(true_rates)
            .filter(|(seen, true_rate)| **seen <= true_rate / 2.0)
            .count();
        assert!((25..80).contains(&collapsed), "{collapsed}");
        let zeros = seen(Sight { zeros: Ratio::percent(10), ..Sight::CLEAR }, 500);
        let lies: Vec<&Seen> =
            zeros.iter().filter(|seen| seen.demand.fresh() == Some(RequestsPerSecond::ZERO)).collect();
        assert!((25..80).contains(&lies.len()), "{}", lies.len());
        for lie in lies {
            assert!(matches!(&lie.demand, Reading::Fresh(Sample { coverage: Coverage::Unmeasured, .. })), "{lie:?}");
        }
    }

    #[test]
    fn an_error_on_a_forecast_has_its_bias_and_its_scatter() {
        let error = ForecastError { bias: 0.1, noise: 0.05 };
        let forecasts: Vec<f64> = (0..4_000).map(|interval| error.on(100.0, 3, interval)).collect();
        let mean = forecasts.iter().sum::<f64>() / 4_000.0;
        let scatter = (forecasts.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / 4_000.0).sqrt();
        assert!((mean - 110.0).abs() < 0.3 && (scatter - 5.0).abs() < 0.2, "{mean} and {scatter}");
        assert!((ForecastError::NONE.on(100.0, 3, 1) - 100.0).abs() < f64::EPSILON);
    }
}

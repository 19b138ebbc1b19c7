//! Generators of the benchmark's seven shapes, for trace seeds other than the published one.
//!
//! Measured on the published traces: levels, seasons, noise and its correlation, and what surges are like. A generated trace has
//! the rows, history and season of its model; what is random in it (noise, and when a surge comes, how high and how long) is drawn
//! from the trace seed.

use crate::workload::Workload;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;
use std::f64::consts::TAU;
use trimtab_core::unit::RequestsPerSecond;

/// A shape of demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// A sine a day.
    Diurnal,
    /// A sine a day, less of it at weekends.
    WeekdayWeekend,
    /// A ramp that drops at once, again and again.
    Sawtooth,
    /// Calm, and one spike within two minutes that decays.
    FlashCrowd,
    /// Calm, and steps at irregular times.
    MultiBurst,
    /// Days and weeks with short surges.
    RealWeek,
    /// Page views by the hour: days that differ, and surges of interest.
    Wikipedia,
}

/// A season as its mean and its first harmonics: cosine and sine of one, two, ... waves a season (least squares on the published
/// trace, surges left out).
struct Season {
    mean: f64,
    harmonics: &'static [(f64, f64)],
}

impl Season {
    /// `wikipedia`'s day.
    const WIKIPEDIA: Self = Self { mean: 482.5, harmonics: &[(14.7, -111.0), (24.0, 27.0), (0.6, -9.0), (0.9, -3.1)] };
    /// `real_week`'s working day.
    const REAL_WEEK: Self = Self { mean: 306.0, harmonics: &[(-128.6, 0.0), (-25.6, -30.9)] };

    /// Its rate after this share of it.
    fn at(&self, share: f64) -> f64 {
        let wave = |(number, (cosine, sine)): (u32, &(f64, f64))| {
            let angle = TAU * f64::from(number) * share;
            cosine * libm::cos(angle) + sine * libm::sin(angle)
        };
        self.mean + (1..).zip(self.harmonics).map(wave).sum::<f64>()
    }
}

/// What `wikipedia` has of its mean on each day of a week.
const DAYS_OF_WIKIPEDIA: [f64; 7] = [1.03, 1.04, 1.035, 1.0, 0.975, 0.93, 0.985];

/// Relative noise of the intervals, autoregressive of order one.
struct Noise {
    deviation: f64,
    /// Of an interval's with the one before.
    correlation: f64,
}

impl Shape {
    /// All seven, in the order of the published table.
    pub const ALL: [Self; 7] = [
        Self::Diurnal,
        Self::WeekdayWeekend,
        Self::Sawtooth,
        Self::FlashCrowd,
        Self::MultiBurst,
        Self::RealWeek,
        Self::Wikipedia,
    ];

    /// Its name in the published table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Diurnal => "diurnal",
            Self::WeekdayWeekend => "weekday_weekend",
            Self::Sawtooth => "sawtooth",
            Self::FlashCrowd => "flash_crowd",
            Self::MultiBurst => "multi_burst",
            Self::RealWeek => "real_week",
            Self::Wikipedia => "wikipedia",
        }
    }

    /// The published trace of this shape (trace seed 1).
    #[must_use]
    pub fn published(self) -> Workload {
        let text = match self {
            Self::Diurnal => include_str!("../workloads/diurnal.csv"),
            Self::WeekdayWeekend => include_str!("../workloads/weekday_weekend.csv"),
            Self::Sawtooth => include_str!("../workloads/sawtooth.csv"),
            Self::FlashCrowd => include_str!("../workloads/flash_crowd.csv"),
            Self::MultiBurst => include_str!("../workloads/multi_burst.csv"),
            Self::RealWeek => include_str!("../workloads/real_week.csv"),
            Self::Wikipedia => include_str!("../workloads/wikipedia.csv"),
        };
        match Workload::read(text) {
            Ok(workload) => workload,
            Err(malformed) => unreachable!("{}: {malformed}", self.name()),
        }
    }

    /// Rows, rows of them that are past, and the season in intervals (0: none).
    fn frame(self) -> (usize, usize, usize) {
        match self {
            Self::Diurnal => (720, 240, 120),
            Self::WeekdayWeekend => (1_008, 672, 336),
            Self::Sawtooth => (420, 120, 60),
            Self::FlashCrowd => (300, 120, 0),
            Self::MultiBurst => (420, 180, 0),
            Self::RealWeek => (1_008, 672, 48),
            Self::Wikipedia => (672, 336, 24),
        }
    }

    fn noise(self) -> Noise {
        let (deviation, correlation) = match self {
            Self::Diurnal | Self::WeekdayWeekend | Self::Sawtooth | Self::FlashCrowd => (0.0148, 0.25),
            Self::MultiBurst => (0.0316, 0.0),
            Self::RealWeek => (0.0138, 0.45),
            Self::Wikipedia => (0.040, 0.5),
        };
        Noise { deviation, correlation }
    }

    /// A trace of this shape.
    #[must_use]
    pub fn generate(self, trace_seed: u64) -> Workload {
        // A stream for each purpose: another course keeps its noise.
        let stream = |purpose: u64| {
            let number = 2 * (self as u64) + purpose;
            Pcg64Mcg::seed_from_u64(trace_seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number)
        };
        let (mut events, mut noises) = (stream(0), stream(1));
        let (rows, past, season) = self.frame();
        let Noise { deviation, correlation } = self.noise();
        let mut normal = move || -> f64 { StandardNormal.sample(&mut noises) };
        let mut noise = deviation * normal();
        let mut noisy = |rate: f64| {
            let rate = (rate * (1.0 + noise)).max(0.0);
            noise = correlation * noise + deviation * (1.0 - correlation * correlation).sqrt() * normal();
            RequestsPerSecond::new(rate).unwrap_or_default()
        };
        let mut rates: Vec<RequestsPerSecond> =
            self.course(rows, past, &mut events).into_iter().map(&mut noisy).collect();
        let graded = rates.split_off(past);
        Workload { season, history: rates, rates: graded }
    }

    /// Its rates without noise.
    fn course(self, rows: usize, past: usize, random: &mut Pcg64Mcg) -> Vec<f64> {
        let at = |row: usize, period: usize| (row % period) as f64 / period as f64;
        let weekend = |row: usize| (row / 48) % 7 >= 5;
        let rows = 0..rows;
        match self {
            Self::Diurnal => rows.map(|row| 322.0 - 240.0 * libm::cos(TAU * at(row, 120))).collect(),
            Self::WeekdayWeekend => rows
                .map(|row| (342.0 - 220.0 * libm::cos(TAU * at(row, 48))) * if weekend(row) { 0.62 } else { 1.0 })
                .collect(),
            // The last of its 60 rows is at the top.
            Self::Sawtooth => rows.map(|row| 115.0 + 405.0 * (row % 60) as f64 / 59.0).collect(),
            Self::FlashCrowd => {
                let begins = random.random_range(past + 30..past + 150);
                // One spike was published: others are up to a seventh higher or lower, and take as much longer or shorter to decay.
                let (height, decay) = (random.random_range(506.0..674.0), random.random_range(12.0..16.0));
                rows.map(|row| 314.0 + height * spike(row as f64 - begins as f64, decay)).collect()
            }
            Self::MultiBurst => {
                let surges = Surges { gaps: (40, 56), lengths: (15, 20), heights: (125.0, 235.0) };
                surges.over(rows.map(|_| 190.0).collect(), random, |base, height, _| base + height)
            }
            Self::RealWeek => {
                let surges = Surges { gaps: (50, 98), lengths: (4, 9), heights: (0.37, 0.76) };
                let day = |row| Season::REAL_WEEK.at(at(row, 48)) * if weekend(row) { 0.8 } else { 1.0 };
                surges.over(rows.map(day).collect(), random, |base, height, _| base * (1.0 + height))
            }
            Self::Wikipedia => {
                // Up at once, and forgotten within hours.
                let surges = Surges { gaps: (5, 125), lengths: (10, 10), heights: (0.20, 0.37) };
                let week = |row: usize| DAYS_OF_WIKIPEDIA.get(row / 24 % 7).copied().unwrap_or(1.0);
                let day = |row| Season::WIKIPEDIA.at(at(row, 24)) * week(row);
                surges.over(rows.map(day).collect(), random, |base, height, since| {
                    base * (1.0 + height * libm::exp(-since / 3.3))
                })
            }
        }
    }
}

/// Up within four intervals, seven at the top, then down exponentially.
fn spike(since: f64, decay: f64) -> f64 {
    if since < 0.0 {
        0.0
    } else if since < 11.0 {
        ((since + 1.0) / 4.0).min(1.0)
    } else {
        libm::exp(-(since - 10.0) / decay)
    }
}

/// What comes at irregular times: each uniform within these.
struct Surges {
    /// Rows between the end of one and the next.
    gaps: (usize, usize),
    /// Rows.
    lengths: (usize, usize),
    heights: (f64, f64),
}

impl Surges {
    /// Puts them over `rates`: `with` is told a rate, the height, and the rows since the surge began.
    fn over(&self, mut rates: Vec<f64>, random: &mut Pcg64Mcg, with: impl Fn(f64, f64, f64) -> f64) -> Vec<f64> {
        let mut begins = random.random_range(0..self.gaps.1);
        while begins < rates.len() {
            let length = random.random_range(self.lengths.0..=self.lengths.1);
            let height = random.random_range(self.heights.0..self.heights.1);
            for (since, rate) in (0_u32..).zip(rates.iter_mut().skip(begins).take(length)) {
                *rate = with(*rate, height, f64::from(since));
            }
            begins += length + random.random_range(self.gaps.0..=self.gaps.1);
        }
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What makes a trace hard: its level, how it moves from row to row, how that goes on, how often it jumps.
    #[derive(Debug)]
    struct Portrait {
        mean: f64,
        /// Relative deviation of all rates.
        scatter: f64,
        /// Relative change from row to row, jumps left out (root mean square).
        step: f64,
        /// Of one such change with the next, jumps left out.
        turning: f64,
        /// Rises by more than a seventh.
        jumps: f64,
    }

    fn portrait(workload: &Workload) -> Portrait {
        let rates: Vec<f64> = workload.history.iter().chain(&workload.rates).map(|rate| rate.get()).collect();
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        let scatter = (rates.iter().map(|rate| (rate / mean - 1.0).powi(2)).sum::<f64>() / rates.len() as f64).sqrt();
        let changes: Vec<f64> = rates.windows(2).map(|pair| pair[1] / pair[0] - 1.0).collect();
        let jumps = changes.iter().filter(|change| **change > 0.14).count() as f64;
        let calm: Vec<&[f64]> =
            changes.windows(2).filter(|pair| pair.iter().all(|change| change.abs() < 0.14)).collect();
        let squares = calm.iter().map(|pair| pair[0] * pair[0]).sum::<f64>();
        let turning = calm.iter().map(|pair| pair[0] * pair[1]).sum::<f64>() / squares;
        Portrait { mean, scatter, step: (squares / calm.len() as f64).sqrt(), turning, jumps }
    }

    #[test]
    fn generated_traces_look_like_the_published_one() {
        const SEEDS: u64 = 40;
        for shape in Shape::ALL {
            let published = portrait(&shape.published());
            let generated: Vec<Portrait> = (2..2 + SEEDS).map(|seed| portrait(&shape.generate(seed))).collect();
            let mean = |of: fn(&Portrait) -> f64| generated.iter().map(of).sum::<f64>() / SEEDS as f64;
            let close = |of: fn(&Portrait) -> f64, within: f64| {
                let (seen, expected) = (mean(of), of(&published));
                assert!((seen - expected).abs() < within, "{}: {seen} against {published:?}", shape.name());
            };
            close(|it| it.mean, 0.02 * published.mean);
            close(|it| it.scatter, 0.07 * published.scatter);
            close(|it| it.step, 0.10 * published.step);
            close(|it| it.turning, 0.09);
            close(|it| it.jumps, 0.25 * published.jumps + 1.0);
        }
    }

    #[test]
    fn a_trace_is_its_seeds() {
        for shape in Shape::ALL {
            assert_eq!(shape.generate(5), shape.generate(5));
            assert_ne!(shape.generate(5), shape.generate(6));
        }
    }
}

//! Generators of the benchmark's seven shapes, for trace seeds other than the published one.
//!
//! Measured on the published traces: levels, periods, noise. A generated trace has the rows, history and season of its model; what
//! is random in it (noise, and when a burst comes, how high and how long) is drawn from the trace seed.

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

/// `wikipedia`'s hours of a day, mean of the published trace.
const HOURS: [f64; 24] = [
    526.0, 500.0, 460.0, 432.0, 404.0, 380.0, 360.0, 340.0, 342.0, 357.0, 392.0, 440.0, 490.0, 540.0, 570.0, 592.0,
    588.0, 572.0, 560.0, 550.0, 552.0, 558.0, 552.0, 548.0,
];
/// `real_week`'s half-hours of a weekday, each third of them; those between lie on straight lines.
const HALF_HOURS: [f64; 16] =
    [151.0, 148.0, 184.0, 252.0, 331.0, 394.0, 428.0, 430.0, 410.0, 383.0, 366.0, 354.0, 332.0, 296.0, 247.0, 191.0];

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

    /// Relative noise of each interval.
    fn noise(self) -> f64 {
        match self {
            Self::Diurnal | Self::WeekdayWeekend | Self::Sawtooth => 0.015,
            Self::FlashCrowd | Self::RealWeek => 0.014,
            Self::MultiBurst => 0.032,
            Self::Wikipedia => 0.030,
        }
    }

    /// A trace of this shape.
    #[must_use]
    pub fn generate(self, trace_seed: u64) -> Workload {
        let mut random = Pcg64Mcg::seed_from_u64(trace_seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self as u64);
        let (rows, past, season) = self.frame();
        let course = self.course(rows, past, &mut random);
        let mut rates: Vec<RequestsPerSecond> = course
            .into_iter()
            .map(|rate| {
                let normal: f64 = StandardNormal.sample(&mut random);
                RequestsPerSecond::new((rate * (1.0 + self.noise() * normal)).max(0.0)).unwrap_or_default()
            })
            .collect();
        let graded = rates.split_off(past);
        Workload { season, history: rates, rates: graded }
    }

    fn course(self, rows: usize, past: usize, random: &mut Pcg64Mcg) -> Vec<f64> {
        let at = |row: usize, period: usize| (row % period) as f64 / period as f64;
        let weekend = |row: usize| (row / 48) % 7 >= 5;
        let rows = 0..rows;
        match self {
            Self::Diurnal => rows.map(|row| 322.0 - 240.0 * libm::cos(TAU * at(row, 120))).collect(),
            Self::WeekdayWeekend => rows
                .map(|row| (343.0 - 223.0 * libm::cos(TAU * at(row, 48))) * if weekend(row) { 0.62 } else { 1.0 })
                .collect(),
            Self::Sawtooth => rows.map(|row| 115.0 + 405.0 * at(row, 60)).collect(),
            Self::FlashCrowd => {
                let begins = random.random_range(past + 30..past + 150);
                rows.map(|row| 314.0 + 590.0 * spike(row as f64 - begins as f64)).collect()
            }
            Self::MultiBurst => {
                let bursts = bursts(rows.end, (28, 60), (15, 22), random);
                let heights: Vec<f64> = bursts.iter().map(|_| random.random_range(125.0..235.0)).collect();
                add(rows.map(|_| 190.0).collect(), &bursts, &heights, |base, height| base + height)
            }
            Self::RealWeek => {
                let bursts = bursts(rows.end, (30, 110), (2, 9), random);
                let heights: Vec<f64> = bursts.iter().map(|_| random.random_range(0.35..0.75)).collect();
                let base = rows.map(|row| half_hour(row) * if weekend(row) { 0.8 } else { 1.0 }).collect();
                add(base, &bursts, &heights, |base, height| base * (1.0 + height))
            }
            Self::Wikipedia => {
                let bursts = bursts(rows.end, (50, 190), (2, 6), random);
                let heights: Vec<f64> = bursts.iter().map(|_| random.random_range(0.15..0.45)).collect();
                let mut day = 0.0;
                let base = rows
                    .map(|row| {
                        if row % 24 == 0 {
                            let normal: f64 = StandardNormal.sample(random);
                            day = 0.7 * day + 0.04 * normal;
                        }
                        HOURS.get(row % 24).copied().unwrap_or_default() * (1.0 + day)
                    })
                    .collect();
                add(base, &bursts, &heights, |base, height| base * (1.0 + height))
            }
        }
    }
}

/// Up within four intervals, seven at the top, then down by a fifteenth an interval.
fn spike(since: f64) -> f64 {
    if since < 0.0 {
        0.0
    } else if since < 11.0 {
        ((since + 1.0) / 4.0).min(1.0)
    } else {
        libm::exp(-(since - 10.0) / 15.0)
    }
}

fn half_hour(row: usize) -> f64 {
    let (slot, part) = (row % 48 / 3, (row % 3) as f64 / 3.0);
    let of = |slot: usize| HALF_HOURS.get(slot % 16).copied().unwrap_or_default();
    of(slot) + part * (of(slot + 1) - of(slot))
}

/// Spans of rows, with gaps and lengths within these.
fn bursts(
    rows: usize,
    gaps: (usize, usize),
    lengths: (usize, usize),
    random: &mut Pcg64Mcg,
) -> Vec<std::ops::Range<usize>> {
    let mut bursts = Vec::new();
    let mut row = random.random_range(0..gaps.1);
    while row < rows {
        let ends = row + random.random_range(lengths.0..=lengths.1);
        bursts.push(row..ends);
        row = ends + random.random_range(gaps.0..=gaps.1);
    }
    bursts
}

fn add(
    mut base: Vec<f64>,
    bursts: &[std::ops::Range<usize>],
    heights: &[f64],
    with: impl Fn(f64, f64) -> f64,
) -> Vec<f64> {
    for (burst, height) in bursts.iter().zip(heights) {
        for rate in base.iter_mut().take(burst.end).skip(burst.start) {
            *rate = with(*rate, *height);
        }
    }
    base
}

//! How sure a difference is: paired differences over seeds with bootstrap intervals, blocks of intervals that resemble each other,
//! wins and losses; and how much of the plane of cost and violations a frontier commands.
//!
//! Percentile intervals of the mean (Efron and Tibshirani, *An Introduction to the Bootstrap*, chapter 13). All contenders serve the very
//! same requests, so that the difference of a pair scatters far less than either of the two. Violations cluster: a mean over the
//! intervals of one run is resampled in circular blocks (Politis and Romano 1992), which keep what hangs together. Deterministic: the
//! resamples are drawn from the seed that is given.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Blocks, or values, from which on an interval is given.
const FEWEST: usize = 5;
/// Resamples: the ends of a 95 % interval rest on a hundred of them each.
const RESAMPLES: usize = 4_000;
/// Of a hundred resamples, so many lie beyond either end.
const BEYOND: f64 = 0.025;

/// A mean, and the interval that holds the true one in 95 of 100 cases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Estimate {
    /// Whether zero lies outside the interval: the difference has a sign.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// The mean of values that are independent of each other, such as the differences of pairs, one for each seed; `None` of fewer than
/// five.
#[must_use]
pub fn estimate(values: &[f64], seed: u64) -> Option<Estimate> {
    blocks(values, 1, seed)
}

/// The mean of a series whose neighbours resemble each other, in circular blocks of `length`; `None` of fewer than five blocks, which
/// say too little of how they scatter.
///
/// A block is long enough when what is further apart hardly resembles any more: twenty intervals where a burst takes ten minutes.
#[must_use]
pub fn blocks(series: &[f64], length: usize, seed: u64) -> Option<Estimate> {
    let (count, length) = (series.len(), length.max(1));
    if count < FEWEST * length {
        return None;
    }
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut resample = || {
        let (mut sum, mut left) = (0.0, count);
        while left > 0 {
            let begins = random.random_range(0..count);
            let taken = length.min(left);
            sum += series.iter().cycle().skip(begins).take(taken).sum::<f64>();
            left -= taken;
        }
        sum / count as f64
    };
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| resample()).collect();
    means.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a few thousand")]
    let beyond = (BEYOND * RESAMPLES as f64) as usize;
    let mean = series.iter().sum::<f64>() / count as f64;
    let low = means.get(beyond).copied().unwrap_or(mean);
    let high = means.get(RESAMPLES - 1 - beyond).copied().unwrap_or(mean);
    Some(Estimate { mean, low, high })
}

/// How pairs came out for the first of the two, less being better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The first had less.
    pub wins: usize,
    /// They differ by no more than was allowed for a tie.
    pub ties: usize,
    /// The first had more.
    pub losses: usize,
}

/// Counts `differences` (first minus second); up to `tie` apart is a tie.
#[must_use]
pub fn tally(differences: &[f64], tie: f64) -> Tally {
    let mut tally = Tally::default();
    for difference in differences {
        if difference.abs() <= tie {
            tally.ties += 1;
        } else if *difference < 0.0 {
            tally.wins += 1;
        } else {
            tally.losses += 1;
        }
    }
    tally
}

/// What a setting comes to: less of both is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Share of intervals that violate the objective.
    pub violations: f64,
    /// Replica-hours.
    pub cost: f64,
}

/// Those points that no other beats in both, from the cheapest to the dearest.
#[must_use]
pub fn frontier(points: &[Point]) -> Vec<Point> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|one, other| {
        one.cost.total_cmp(&other.cost).then_with(|| one.violations.total_cmp(&other.violations))
    });
    let mut least = f64::INFINITY;
    sorted.retain(|point| {
        let better = point.violations < least;
        least = least.min(point.violations);
        better
    });
    sorted
}

/// The area between `points` and a reference that is worse in both: what the frontier commands, in replica-hours times the share of
/// intervals. A point that is not better than the reference in both adds nothing.
#[must_use]
pub fn hypervolume(points: &[Point], reference: Point) -> f64 {
    let (mut area, mut ceiling) = (0.0, reference.violations);
    for point in frontier(points).iter().filter(|point| point.cost < reference.cost) {
        area += (reference.cost - point.cost) * (ceiling - point.violations).max(0.0);
        ceiling = ceiling.min(point.violations);
    }
    area
}

/// What a frontier costs at so many violations, on straight lines between its points; `None` where it reaches no so few.
#[must_use]
pub fn cost_at(points: &[Point], violations: f64) -> Option<f64> {
    let frontier = frontier(points);
    let enough = frontier.iter().position(|point| point.violations <= violations)?;
    let point = frontier.get(enough)?;
    let before = enough.checked_sub(1).and_then(|before| frontier.get(before));
    Some(before.map_or(point.cost, |before| {
        let share = (before.violations - violations) / (before.violations - point.violations);
        before.cost + share * (point.cost - before.cost)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, StandardNormal};

    /// A normal series in which each value keeps `kept` of the one before.
    fn series(count: usize, kept: f64, seed: u64) -> Vec<f64> {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut value = 0.0;
        (0..count)
            .map(|_| {
                let normal: f64 = StandardNormal.sample(&mut random);
                value = kept * value + (1.0_f64 - kept * kept).sqrt() * normal;
                value
            })
            .collect()
    }

    #[test]
    fn the_interval_of_independent_values_is_the_normal_one() {
        let values = series(400, 0.0, 1);
        let estimate = estimate(&values, 7).unwrap();
        let width = (estimate.high - estimate.low) / 2.0;
        let expected = 1.96 / 20.0;
        assert!((width / expected - 1.0).abs() < 0.1, "{width} against {expected}");
        assert!(estimate.low < estimate.mean && estimate.mean < estimate.high);
    }

    #[test]
    fn about_ninety_five_of_a_hundred_intervals_hold_the_truth() {
        let held = (0..200).filter(|seed| {
            let estimate = estimate(&series(30, 0.0, 100 + seed), *seed).unwrap();
            !estimate.is_sure()
        });
        let held = held.count();
        assert!((176..=198).contains(&held), "{held} of 200");
    }

    #[test]
    fn blocks_see_that_neighbours_resemble_each_other() {
        // The mean of a series that keeps 0.8 scatters three times as much as that of an independent one.
        let values = series(4_000, 0.8, 2);
        let width = |length| {
            let estimate = blocks(&values, length, 3).unwrap();
            (estimate.high - estimate.low) / (2.0 * 1.96 / 4_000_f64.sqrt())
        };
        assert!((0.9..1.1).contains(&width(1)), "{}", width(1));
        assert!((2.5..3.4).contains(&width(60)), "{}", width(60));
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let values = series(50, 0.5, 4);
        assert_eq!(blocks(&values, 5, 9), blocks(&values, 5, 9));
        assert_eq!(estimate(&[0.25; 8], 1), Some(Estimate { mean: 0.25, low: 0.25, high: 0.25 }));
        assert_eq!((estimate(&[0.25; 4], 1), estimate(&[], 1)), (None, None));
        assert_eq!(blocks(&[0.25; 99], 20, 1), None, "less than five blocks");
    }

    #[test]
    fn pairs_are_counted() {
        let tally = tally(&[-1.0, -0.2, 0.0, 0.1, 0.3], 0.15);
        assert_eq!(tally, Tally { wins: 2, ties: 2, losses: 1 });
    }

    fn point(violations: f64, cost: f64) -> Point {
        Point { violations, cost }
    }

    #[test]
    fn a_frontier_holds_what_nothing_beats() {
        let points = [point(0.02, 22.0), point(0.01, 26.0), point(0.03, 23.0), point(0.015, 24.0), point(0.02, 25.0)];
        assert_eq!(frontier(&points), [point(0.02, 22.0), point(0.015, 24.0), point(0.01, 26.0)]);
    }

    #[test]
    fn the_hypervolume_is_the_area_that_is_commanded() {
        let points = [point(2.0, 1.0), point(1.0, 3.0), point(9.0, 9.0)];
        // To the reference at (4, 5): 4 wide above the first, 2 wide below it.
        let seen = hypervolume(&points, point(4.0, 5.0));
        assert!((seen - (2.0 * 4.0 + 1.0 * 2.0)).abs() < 1e-12, "{seen}");
        assert!(hypervolume(&points, point(0.5, 0.5)).abs() < 1e-12);
    }

    #[test]
    fn cost_is_read_at_equal_violations() {
        let points = [point(0.02, 22.0), point(0.01, 24.0)];
        assert!((cost_at(&points, 0.015).unwrap() - 23.0).abs() < 1e-9);
        assert_eq!(cost_at(&points, 0.5), Some(22.0));
        assert_eq!(cost_at(&points, 0.001), None);
    }
}

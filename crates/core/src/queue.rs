//! The queueing model: how likely a request waits too long, and a window misses its objective.
//!
//! M/M/c with one queue. `B` is Erlang's loss formula by its recursion, `C` his delay formula, and with the spare
//! rate `θ = cμ − λ` the sojourn time `T` of a request has the tail
//!
//! `P(T > t) = e^(−μt) · (1 + C · μt · φ((θ − μ)t))`, `φ(x) = (1 − e^(−x)) / x`, `φ(0) = 1`
//!
//! (Gross et al., *Fundamentals of Queueing Theory*, 4th ed., section 2.3, in a form without cancellation at `θ = μ`).
//!
//! The objective is about windows of half a minute, whose own percentile scatters: a size that meets it in the steady state misses it in
//! about every tenth window. The share of windows that miss falls with `x = θT` alone, at any number of replicas: the headroom that is
//! needed is **additive**, about one replica at any scale. `MISSED` is that share, measured with the simulator at `μT = 10`, for a
//! window that runs at `x` for only part of its time and is safe for the rest; at another `μT` it is shifted by how much more spare rate
//! the steady state takes (`Curve::new`).
//!
//! Where replicas do not share one queue, `G` groups of them do, `G = c^(1−s)` with the sharing `s` from 1 (one queue) to 0 (each has its
//! own, as behind a random balancer). Each group has `x/G`; the groups' misses average out, so that the curve is steeper, around the
//! point where 1 of 100 requests is late. Measured: `logit ψ = −0.95 G^0.75 (x/G − 4.6 + 1.25/G)` for random balancing with 5 to 20
//! replicas. The tail of one group uses Sakasegawa's approximation `C ≈ ρ^(√(2(k+1)) − 1)` for `k = c/G` replicas
//! (Annals of the Institute of Statistical Mathematics 29, 1977), since `k` is no whole number.

use crate::unit::{Erlangs, Ratio, Replicas, RequestsPerSecond, Seconds};

/// Probability that an arriving request has to wait (Erlang C); 1 where demand is more than the replicas serve.
#[must_use]
pub fn waits(replicas: Replicas, load: Erlangs) -> Ratio {
    let (a, c) = (load.get(), f64::from(replicas.0));
    if a >= c {
        return Ratio::ONE;
    }
    let mut blocked = 1.0;
    for k in 1..=replicas.0 {
        blocked = a * blocked / (f64::from(k) + a * blocked);
    }
    Ratio::clamped(blocked / (1.0 - a / c * (1.0 - blocked))).min(Ratio::ONE)
}

/// Probability that a request takes longer than `limit`, waiting and service together; 1 without spare rate.
#[must_use]
pub fn exceeds(replicas: Replicas, demand: RequestsPerSecond, per_replica: RequestsPerSecond, limit: Seconds) -> Ratio {
    let spare = (per_replica * replicas).less(demand);
    if spare <= RequestsPerSecond::ZERO {
        return Ratio::ONE;
    }
    tail(per_replica, spare, waits(replicas, demand / per_replica), limit)
}

/// The tail of the sojourn time, by what one replica serves, the spare rate and the probability to wait.
fn tail(per_replica: RequestsPerSecond, spare: RequestsPerSecond, waits: Ratio, limit: Seconds) -> Ratio {
    let (rate, t) = (per_replica.get(), limit.get());
    let x = (spare.get() - rate) * t;
    let phi = if x.abs() < 1e-12 { 1.0 } else { -libm::expm1(-x) / x };
    Ratio::clamped(libm::exp(-rate * t) * (1.0 + waits.get() * rate * t * phi)).min(Ratio::ONE)
}

/// The share of requests that a 99th percentile lets be late.
const LATE: f64 = 0.01;
/// Spare rates `x = θT` of [`MISSED`].
const SPARE: [f64; 13] = [-10.0, -5.0, -2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0];
/// Share of windows that miss after having run at [`SPARE`] for a sixth, two sixths ... all of their time, as
/// `ln(p / (1 − p))`: simulated with 5 to 18 replicas of `μT = 10`, 600 to 2,000 windows a point.
const MISSED: [[f64; 13]; 6] = [
    [9.2, 2.31, 0.49, -0.49, -1.13, -1.66, -2.23, -2.90, -4.12, -4.89, -5.29, -6.50, -8.11],
    [9.2, 4.60, 2.31, 0.94, 0.20, -0.49, -1.16, -1.93, -2.81, -3.73, -4.70, -5.52, -7.26],
    [9.2, 9.2, 3.89, 1.82, 0.90, 0.16, -0.59, -1.39, -2.22, -3.03, -4.00, -5.11, -6.91],
    [9.2, 9.2, 5.29, 2.59, 1.54, 0.66, -0.20, -0.99, -1.90, -2.75, -3.62, -4.70, -6.57],
    [9.2, 9.2, 9.2, 3.18, 2.09, 1.08, 0.18, -0.68, -1.62, -2.46, -3.44, -4.50, -6.38],
    [9.2, 9.2, 9.2, 3.89, 2.94, 1.52, 0.49, -0.45, -1.28, -2.25, -3.23, -4.27, -5.65],
];
/// Up to the first point every window misses that ran so for a sixth of its time, in the table's own terms; from `SAFE` on one in a million.
const CERTAIN: f64 = 0.999_9;
const SAFE: f64 = 20.0;
/// Beyond the last point the logarithm falls by this with each step of `x`.
const BEYOND: f64 = 0.9;
/// And no spare rate less than this share of a replica's.
const LEAST_SPARE: f64 = 0.002;
/// No percentile is reckoned to be longer than so many times the limit.
const LONGEST: f64 = 20.0;
/// Fewer groups than this are one queue, as far as latency can tell.
const NEARLY_ONE: f64 = 1.25;
/// `μT` that the table was measured at, and the `x` that the steady state needs there (with `C = 1`).
const MEASURED_AT: f64 = 10.0;

/// How likely a window misses its objective.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curve {
    per_replica: RequestsPerSecond,
    limit: Seconds,
    sharing: Ratio,
    shift: f64,
}

impl Curve {
    /// The curve of replicas that serve `per_replica` each and share queues by `sharing`; `None` where even a request that never waits
    /// takes longer than `limit` more often than once in a hundred.
    #[must_use]
    pub fn new(per_replica: RequestsPerSecond, limit: Seconds, sharing: Ratio) -> Option<Self> {
        let own = per_replica.get() * limit.get();
        let feasible = libm::exp(-own) < LATE / 2.0;
        feasible.then(|| {
            let needed = |own: f64| {
                let (rate, limit) = (RequestsPerSecond::clamped(own), Seconds::whole(1));
                let enough = |x: f64| tail(rate, RequestsPerSecond::clamped(x), Ratio::ONE, limit).get() <= LATE;
                bisect(0.0..60.0, |x| !enough(x))
            };
            Self { per_replica, limit, sharing, shift: needed(own.min(50.0)) - needed(MEASURED_AT) }
        })
    }

    /// Share of windows that miss, when `replicas` meet `demand` for that `share` of the window.
    #[must_use]
    pub fn missed(&self, replicas: Replicas, demand: RequestsPerSecond, share: Ratio) -> Ratio {
        self.of(replicas).missed(demand, share)
    }

    /// The curve of so many replicas: a plan asks each size for its misses at many demands.
    #[must_use]
    pub fn of(&self, replicas: Replicas) -> Stand {
        let count = f64::from(replicas.0);
        let groups = if self.sharing >= Ratio::ONE { 1.0 } else { libm::pow(count, 1.0 - self.sharing.get()) };
        let steepness = if groups < NEARLY_ONE { 0.0 } else { 0.95 * libm::pow(groups, 0.75) };
        Stand { serves: count * self.per_replica.get(), limit: self.limit.get(), groups, steepness, shift: self.shift }
    }

    /// The 99th percentile that `replicas` have at `demand` in the steady state, up to twenty times the limit.
    #[must_use]
    pub fn latency(&self, replicas: Erlangs, demand: RequestsPerSecond) -> Seconds {
        let (count, rate) = (replicas.get().max(1.0), self.per_replica.get());
        let groups = libm::pow(count, 1.0 - self.sharing.get());
        let busy = (demand.get() / (count * rate)).min(0.999);
        let spare = RequestsPerSecond::clamped(((count * rate - demand.get()) / groups).max(LEAST_SPARE * rate));
        let waits = Ratio::clamped(libm::pow(busy, (2.0 * (count / groups + 1.0)).sqrt() - 1.0));
        let late = |t: f64| tail(self.per_replica, spare, waits, Seconds::clamped(t)).get() > LATE;
        Seconds::clamped(bisect(0.0..LONGEST * self.limit.get(), late))
    }
}

/// So many replicas: what of their curve does not depend on demand.
#[derive(Clone, Copy, Debug)]
pub struct Stand {
    /// Requests a second, at full use.
    serves: f64,
    /// Seconds.
    limit: f64,
    groups: f64,
    steepness: f64,
    shift: f64,
}

impl Stand {
    /// Share of windows that miss, when it meets `demand` for that `share` of the window.
    #[must_use]
    pub fn missed(&self, demand: RequestsPerSecond, share: Ratio) -> Ratio {
        if share <= Ratio::ZERO {
            return Ratio::ZERO;
        }
        let x = (self.serves - demand.get()) * self.limit;
        if self.groups < NEARLY_ONE {
            return of_one_queue(Odds(x - self.shift), share);
        }
        let x = x / self.groups - self.shift;
        let centre = 4.6 - 1.25 / self.groups;
        Ratio::clamped(logistic(Odds(-self.steepness * (x - centre))) * share.get().min(1.0))
    }
}

/// Where `below` turns false.
fn bisect(range: std::ops::Range<f64>, below: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (range.start, range.end);
    for _ in 0..26 {
        let middle = f64::midpoint(low, high);
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

fn of_one_queue(Odds(x): Odds, share: Ratio) -> Ratio {
    let sixths = (share.get() * 6.0).min(6.0);
    if x <= SPARE[0] {
        return Ratio::clamped(CERTAIN * sixths.min(1.0));
    }
    if x >= SAFE {
        return Ratio::ZERO;
    }
    let right = SPARE.iter().position(|point| *point > x);
    let at = |row: &[f64; 13]| {
        let odds = match right {
            None => row[12] - BEYOND * (x - SPARE[12]),
            Some(right) => {
                let left = right.saturating_sub(1);
                let point = |place: usize| {
                    (SPARE.get(place).copied().unwrap_or_default(), row.get(place).copied().unwrap_or_default())
                };
                let ((from, low), (to, high)) = (point(left), point(right));
                if to > from { low + (high - low) * (x - from) / (to - from) } else { low }
            }
        };
        logistic(Odds(odds))
    };
    if sixths <= 1.0 {
        return Ratio::clamped(sixths * at(&MISSED[0]));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 6")]
    let row = (sixths as usize - 1).min(4);
    let (between, high) = (sixths - 1.0 - row as f64, MISSED.get(row + 1).map_or(1.0, at));
    if between >= 1.0 {
        return Ratio::clamped(high);
    }
    let low = MISSED.get(row).map_or(1.0, at);
    Ratio::clamped(low + between * (high - low))
}

/// A dimensionless number of any sign: `θT`, or the logarithm of odds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Odds(pub(crate) f64);

/// The probability that has these odds, given as their logarithm.
pub(crate) fn logistic(Odds(odds): Odds) -> f64 {
    1.0 / (1.0 + libm::exp(-odds.clamp(-40.0, 40.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Seconds = Seconds::milliseconds(200);

    fn rate(raw: f64) -> RequestsPerSecond {
        RequestsPerSecond::new(raw).unwrap()
    }

    fn curve(sharing: Ratio) -> Curve {
        Curve::new(rate(50.0), LIMIT, sharing).unwrap()
    }

    #[test]
    fn erlang_c_matches_known_values() {
        // One server: the probability to wait is the load. Others: Erlang C tables, 4 digits.
        for (servers, load, expected) in [(1, 0.7, 0.7), (2, 1.0, 0.3333), (5, 4.0, 0.5541), (10, 8.0, 0.4092)] {
            let seen = waits(Replicas(servers), Erlangs::new(load).unwrap()).get();
            assert!((seen - expected).abs() < 5e-5, "{servers} servers at {load}: {seen}");
        }
    }

    #[test]
    fn one_server_has_an_exponential_sojourn_time() {
        let seen = exceeds(Replicas(1), rate(30.0), rate(50.0), Seconds::new(0.1).unwrap()).get();
        assert!((seen - libm::exp(-2.0)).abs() < 1e-12, "{seen}");
    }

    #[test]
    fn the_tail_is_smooth_where_the_spare_rate_equals_the_service_rate() {
        let at = |demand: f64| exceeds(Replicas(2), rate(demand), rate(50.0), Seconds::new(0.1).unwrap()).get();
        assert!((at(50.0) - f64::midpoint(at(49.999), at(50.001))).abs() < 1e-9);
    }

    #[test]
    fn more_demand_never_waits_less_nor_misses_less() {
        for sharing in [Ratio::ZERO, Ratio::percent(50), Ratio::ONE] {
            for demand in 1..700 {
                let (less, more) = (rate(f64::from(demand)), rate(f64::from(demand) + 1.0));
                assert!(
                    exceeds(Replicas(10), less, rate(50.0), LIMIT) <= exceeds(Replicas(10), more, rate(50.0), LIMIT)
                );
                for share in 1..=12 {
                    let share = Ratio::new(f64::from(share) / 12.0).unwrap();
                    let missed = |demand| curve(sharing).missed(Replicas(10), demand, share);
                    assert!(missed(less) <= missed(more), "{demand} at {sharing:?} for {share:?}");
                }
            }
        }
    }

    #[test]
    fn the_headroom_of_one_queue_is_additive() {
        for replicas in [2_u32, 5, 20, 100] {
            let demand = rate(f64::from(replicas) * 50.0 - 43.0);
            let missed = curve(Ratio::ONE).missed(Replicas(replicas), demand, Ratio::ONE).get();
            assert!((0.005..0.015).contains(&missed), "{replicas}: {missed}");
        }
    }

    #[test]
    fn what_every_request_needs_alone_can_make_a_promise_impossible() {
        assert_eq!(Curve::new(rate(50.0), Seconds::milliseconds(90), Ratio::ONE), None);
        let tight = Curve::new(rate(50.0), Seconds::milliseconds(120), Ratio::ONE).unwrap();
        assert!(
            tight.missed(Replicas(10), rate(450.0), Ratio::ONE)
                > curve(Ratio::ONE).missed(Replicas(10), rate(450.0), Ratio::ONE)
        );
    }

    #[test]
    fn replicas_that_share_nothing_are_as_many_single_ones() {
        // Ten M/M/1 queues: p99 = ln 100 / (50 − 27).
        let seen = curve(Ratio::ZERO).latency(Erlangs::whole(10), rate(270.0)).get();
        assert!((seen - libm::log(100.0) / 23.0).abs() < 1e-3, "{seen}");
        let shared = curve(Ratio::ONE).latency(Erlangs::whole(10), rate(270.0)).get();
        assert!(shared < 0.1, "one queue hardly waits at that load: {shared}");
    }
}

//! The queueing model: how likely a request waits too long, and a half-minute misses its objective.
//!
//! M/M/c with one queue. `B` is Erlang's loss formula by its recursion, `C` his delay formula, and with the spare
//! rate `θ = cμ − λ` the sojourn time `T` of a request has the tail
//!
//! `P(T > t) = e^(−μt) · (1 + C · μt · φ((θ − μ)t))`, `φ(x) = (1 − e^(−x)) / x`, `φ(0) = 1`
//!
//! (Gross et al., *Fundamentals of Queueing Theory*, 4th ed., section 2.3, in a form without cancellation at `θ = μ`).
//! The objective is about windows of half a minute, whose own percentile scatters: a size that meets it in the steady
//! state misses it in about every tenth window. The share of windows that miss falls with the spare rate alone, at
//! any number of replicas, as `ψ(θ) = exp(−0.894 (θT − 3.35))` (fitted to discrete-event simulation at
//! `μT = 10`, 30 s windows, one queue): the headroom that is needed is **additive**, about one replica at any scale.

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
    let (rate, t) = (per_replica.get(), limit.get());
    let spare = (per_replica * replicas).less(demand).get();
    if spare <= 0.0 {
        return Ratio::ONE;
    }
    let x = (spare - rate) * t;
    let phi = if x == 0.0 { 1.0 } else { -libm::expm1(-x) / x };
    let delayed = waits(replicas, demand / per_replica).get();
    Ratio::clamped(libm::exp(-rate * t) * (1.0 + delayed * rate * t * phi)).min(Ratio::ONE)
}

/// Share of half-minute windows whose 99th percentile exceeds `limit`, at this spare rate.
#[must_use]
pub fn windows_missed(
    replicas: Replicas,
    demand: RequestsPerSecond,
    per_replica: RequestsPerSecond,
    limit: Seconds,
) -> Ratio {
    let spare = (per_replica * replicas).less(demand).get();
    Ratio::clamped(libm::exp(-0.894 * (spare * limit.get() - 3.35))).min(Ratio::ONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(raw: f64) -> RequestsPerSecond {
        RequestsPerSecond::new(raw).unwrap()
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
    fn more_demand_never_waits_less() {
        for demand in 1..500 {
            let (less, more) = (rate(f64::from(demand)), rate(f64::from(demand) + 1.0));
            let limit = Seconds::new(0.2).unwrap();
            assert!(exceeds(Replicas(10), less, rate(50.0), limit) <= exceeds(Replicas(10), more, rate(50.0), limit));
        }
    }
}

//! Size: the fewest replicas that keep the objective at a given demand.

use crate::policy::Objective;
use crate::queue;
use crate::unit::{Erlangs, Ratio, Replicas, RequestsPerSecond};
use serde::{Deserialize, Serialize};

/// The promised latency is a 99th percentile: one request of a hundred may take longer.
const SLOW: Ratio = Ratio::percent(1);
/// Where no number of replicas can keep the promise (a request's own service time is too long for it), a replica
/// is loaded to this share; the middle of what CPU autoscalers are commonly set to.
const UTILISATION: Ratio = Ratio::percent(70);
/// Erlang's recursion takes as many steps as there are replicas. Beyond this offered load the additive headroom
/// alone decides; there it is far below 1 % of the size.
const EXACT: Erlangs = Erlangs::whole(5_000);
/// How many sizes above the offered load are tried. Where the promise can be kept at all, each replica adds at least
/// 4.6 to `θT`, and 19 is enough for one miss in a million windows.
const TRIES: u32 = 64;

/// Demand that leads to a number of replicas, and what holds there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// The demand that is sized for.
    pub demand: RequestsPerSecond,
    /// Replicas that it keeps busy.
    pub load: Erlangs,
    /// The fewest replicas that keep the objective.
    pub replicas: Replicas,
    /// Which part of the objective took the last of them.
    pub rule: Rule,
    /// Share of half-minute windows that are expected to miss the objective with so many.
    pub misses: Ratio,
}

/// What decided the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Windows that may miss.
    Misses,
    /// The promise cannot be kept by any number of replicas: utilisation instead.
    Utilisation,
}

/// The fewest replicas that keep `objective` at `demand`, each serving `per_replica` at full use (above 0).
#[must_use]
pub fn size(objective: &Objective, per_replica: RequestsPerSecond, demand: RequestsPerSecond) -> Size {
    let load = demand / per_replica;
    let of = |replicas, rule| {
        let misses = queue::windows_missed(replicas, demand, per_replica, objective.latency);
        Size { demand, load, replicas, rule, misses }
    };
    // The service time of a single request, with nobody before it.
    if libm::exp(-per_replica.get() * objective.latency.get()) > SLOW.get() {
        return of((load / UTILISATION).ceil().max(Replicas(1)), Rule::Utilisation);
    }
    let least = load.floor().plus(1);
    let enough = |replicas: Replicas| {
        queue::windows_missed(replicas, demand, per_replica, objective.latency) <= objective.misses
            && (load > EXACT || queue::exceeds(replicas, demand, per_replica, objective.latency) <= SLOW)
    };
    let replicas = (0..TRIES).map(|more| least.plus(more)).find(|tried| enough(*tried));
    of(replicas.unwrap_or(least.plus(TRIES)), Rule::Misses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Seconds;

    fn replicas(demand: f64, misses: f64, latency: f64) -> Size {
        let objective = Objective {
            latency: Seconds::new(latency).unwrap(),
            misses: Ratio::new(misses).unwrap(),
            window: Objective::WINDOW,
        };
        size(&objective, RequestsPerSecond::whole(50), RequestsPerSecond::new(demand).unwrap())
    }

    #[test]
    fn headroom_is_added_and_not_a_share() {
        let spare = |demand: f64| f64::from(replicas(demand, 0.005, 0.2).replicas.0) * 50.0 - demand;
        for demand in [100.0, 500.0, 2_500.0, 50_000.0] {
            assert!((46.0..100.0).contains(&spare(demand)), "{demand}: {} spare", spare(demand));
        }
    }

    #[test]
    fn fewer_misses_take_more_replicas() {
        assert!(replicas(500.0, 0.0001, 0.2).replicas > replicas(500.0, 0.1, 0.2).replicas);
    }

    #[test]
    fn a_promise_that_no_size_keeps_is_sized_by_utilisation() {
        let seen = replicas(350.0, 0.005, 0.02);
        assert_eq!((seen.replicas, seen.rule), (Replicas(10), Rule::Utilisation));
    }

    #[test]
    fn extreme_demand_means_the_most_and_never_a_wrapped_few() {
        assert_eq!(replicas(f64::MAX, 0.005, 0.02).replicas, Replicas(u32::MAX));
        assert_eq!(replicas(f64::MAX, 0.005, 0.2).replicas, Replicas(u32::MAX));
    }

    #[test]
    fn no_demand_still_takes_one_replica() {
        assert_eq!(replicas(0.0, 0.005, 0.2).replicas, Replicas(1));
    }
}

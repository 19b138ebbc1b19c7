//! What could be decided by who knows more than anybody does: the true rates, or every request in advance.
//!
//! A plan is found exactly by dynamic programming over sizes, an interval each, under the ramp:
//! `J_k(c) = cost_k(c) + min over |c' − c| ≤ ramp of J_(k+1)(c')`. A replica that takes so many intervals to start must be there for all
//! that comes meanwhile, so that an interval's cost is that of the worst of these.
//!
//! **The clairvoyant** knows for each interval the fewest replicas with which it does not violate the objective: found by serving its very
//! requests from an idle service, followed to their end by all replicas there may be. Both are as kind as can be (nothing is carried in, whatever
//! is left over goes at once), and with one queue more replicas and less work never let a request begin later (Kiefer and Wolfowitz
//! 1955). So the cheapest plan over these needs is a **lower bound** for whoever changes the size at the ends of intervals only;
//! [`Clairvoyant::served`] raises it where simulation still shows a violation, which gives an upper one: the truth lies between
//! them. Whoever looks within intervals may be cheaper by what an interval does not need all the time; with other balancers the bound is an
//! estimate; start-up delays count as whole intervals, rounded down in the bound and up in what is served.

use crate::baseline::{Controller, delay, meets};
use crate::law::{Law, Startup};
use crate::run::{self, Look, Scenario, Score};
use crate::service::{INTERVAL, Service};
use crate::workload::Workload;
use trimtab_core::unit::{Replicas, RequestsPerSecond, Seconds};

/// Sizes, one for each interval.
pub type Plan = Vec<u32>;

/// Knows the true rate of the interval that comes, and sizes for a steady p99 within `limit`.
#[must_use]
pub fn oracle(limit: Seconds, scenario: &Scenario, workload: &Workload) -> Controller {
    let (rates, scenario) = (workload.rates.clone(), scenario.clone());
    Box::new(move |look| {
        let Some(interval) = look.interval else { return look.snapshot.fleet.desired };
        let next = rates.get(interval.number + 1).or(rates.last()).copied().unwrap_or_default();
        meets(&scenario, next.get(), limit)
    })
}

/// Knows all true rates, prices an interval that violates the objective at so many replicas held for one, and plans exactly.
#[must_use]
pub fn oracle_ahead(price: f64, scenario: &Scenario, workload: &Workload) -> Controller {
    let lead = 1 + delay(scenario) as usize;
    let worst: Vec<RequestsPerSecond> = (0..workload.rates.len())
        .map(|first| {
            let meanwhile = workload.rates.iter().skip(first).take(lead);
            meanwhile.copied().fold(RequestsPerSecond::ZERO, RequestsPerSecond::max)
        })
        .collect();
    follow(cheapest(workload, scenario, |interval, size| {
        let rate = worst.get(interval).copied().unwrap_or_default();
        f64::from(size) + price * misses(&scenario.law, rate, size)
    }))
}

/// Share of intervals that violate the objective at this rate and size: `exp(−0.894 (θT − 3.35))` with the spare rate `θ`, fitted to this
/// simulator at `μT` = 10 and one queue.
fn misses(law: &Law, rate: RequestsPerSecond, size: u32) -> f64 {
    let spare = (law.capacity * Replicas(size)).get() - rate.get();
    libm::exp(-0.894 * (spare * law.target.get() - 3.35)).min(1.0)
}

/// Follows a plan.
#[must_use]
pub fn follow(plan: Plan) -> Controller {
    Box::new(move |look: &Look| {
        let Some(interval) = look.interval else { return look.snapshot.fleet.desired };
        plan.get(interval.number + 1).copied().map_or(look.snapshot.fleet.desired, Replicas)
    })
}

/// The cheapest plan from the size that a run begins with.
fn cheapest(workload: &Workload, scenario: &Scenario, cost: impl Fn(usize, u32) -> f64) -> Plan {
    let (least, most) = (scenario.bounds.min().0, scenario.bounds.max().0);
    let ramp = scenario.ramp.unwrap_or(most).min(most);
    let sizes = || least..=most;
    // What each size costs to the end, and where it goes next; intervals backwards.
    let mut to_end: Vec<f64> = sizes().map(|_| 0.0).collect();
    let mut steps: Vec<Vec<u32>> = Vec::with_capacity(workload.rates.len());
    for interval in (0..workload.rates.len()).rev() {
        let at = |size: u32| to_end.get((size - least) as usize).copied().unwrap_or(f64::INFINITY);
        let best = |size: u32| {
            let reach = size.saturating_sub(ramp).max(least)..=size.saturating_add(ramp).min(most);
            // Of equals the nearest: no change without a reason.
            reach.min_by(|one, other| {
                at(*one).total_cmp(&at(*other)).then(one.abs_diff(size).cmp(&other.abs_diff(size)))
            })
        };
        let next: Vec<u32> = sizes().map(|size| best(size).unwrap_or(size)).collect();
        to_end = sizes().zip(&next).map(|(size, next)| cost(interval, size) + at(*next)).collect();
        steps.push(next);
    }
    let mut size = run::first_size(workload, scenario);
    steps
        .iter()
        .rev()
        .map(|next| {
            let now = size;
            size = next.get((size - least) as usize).copied().unwrap_or(size);
            now
        })
        .collect()
}

/// Who knows every request in advance.
#[derive(Clone, Debug)]
pub struct Clairvoyant {
    /// The fewest replicas with which each interval keeps the objective; one more than there may be where none do.
    pub needs: Vec<u32>,
    /// The cheapest plan over them: fewest violations first, or by price.
    pub plan: Plan,
    /// Its replica-hours: no plan with as few violations, changed at the ends of intervals, costs less.
    pub bound: f64,
}

impl Clairvoyant {
    /// Looks at every request of a workload under this scenario's seed. `price` is what a violation may cost, in replicas held for an
    /// interval; `None` allows none that can be avoided.
    #[must_use]
    pub fn foresee(price: Option<f64>, workload: &Workload, scenario: &Scenario) -> Self {
        let needs: Vec<u32> =
            workload.rates.iter().zip(0_u64..).map(|(rate, interval)| need(*rate, interval, scenario)).collect();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a start-up is of a few intervals")]
        let lead = 1 + (scenario.law.startup.median().get() / INTERVAL.get()) as usize;
        let plan = over(&needs, lead, price, workload, scenario);
        let bound = plan.iter().map(|size| f64::from(*size)).sum::<f64>() * INTERVAL.get() / 3600.0;
        Self { needs, plan, bound }
    }

    /// A plan that holds in simulation: the needs of intervals that still violate the objective are raised until none does, or nothing
    /// helps. With what came of it.
    #[must_use]
    pub fn served(&self, workload: &Workload, scenario: &Scenario) -> (Plan, Score) {
        /// What a need is raised by in all is small; more rounds than that help nobody.
        const ROUNDS: usize = 12;
        let scenario = Scenario { tick: INTERVAL, ..scenario.clone() };
        let lead = 1 + delay(&scenario) as usize;
        let mut needs = self.needs.clone();
        let mut best: Option<(Plan, Score)> = None;
        for _ in 0..ROUNDS {
            let plan = over(&needs, lead, None, workload, &scenario);
            let score = run::run(workload, &scenario, &mut *follow(plan.clone()));
            for (need, row) in needs.iter_mut().zip(&score.rows) {
                *need += u32::from(row.grade.violates() && *need <= scenario.bounds.max().0);
            }
            let better = best.as_ref().is_none_or(|(_, so_far)| score.violations < so_far.violations);
            let done = score.violations == 0;
            if better {
                best = Some((plan, score));
            }
            if done {
                break;
            }
        }
        best.unwrap_or_default()
    }
}

/// The cheapest plan that meets needs, each for as long as a replica takes to come.
fn over(needs: &[u32], lead: usize, price: Option<f64>, workload: &Workload, scenario: &Scenario) -> Plan {
    // More than all replicas of a month: nothing is worth a violation.
    let price = price.unwrap_or(1e7);
    let worst: Vec<u32> =
        (0..needs.len()).map(|first| needs.iter().skip(first).take(lead).copied().max().unwrap_or(0)).collect();
    cheapest(workload, scenario, |interval, size| {
        let need = worst.get(interval).copied().unwrap_or_default();
        // One that is given up is not abandoned: what it leaves over would fall on the next.
        f64::from(size.max(need)) + if size < need { price } else { 0.0 }
    })
}

/// The fewest replicas with which an interval keeps the objective, were it served alone.
fn need(rate: RequestsPerSecond, interval: u64, scenario: &Scenario) -> u32 {
    let (least, most) = (scenario.bounds.min().0, scenario.bounds.max().0);
    let law = Law { startup: Startup::Fixed(Seconds::ZERO), nodes: None, ..scenario.law };
    let keeps = |size: u32| {
        let mut service = Service::idle_at(law, size as usize, interval);
        service.advance(INTERVAL, rate);
        service.scale(most as usize);
        service.drain();
        !service.grades().iter().any(crate::service::Grade::violates)
    };
    let mut size = (rate / law.capacity).ceil().0.clamp(least, most);
    if keeps(size) {
        while size > least && keeps(size - 1) {
            size -= 1;
        }
        return size;
    }
    while size < most {
        size += 1;
        if keeps(size) {
            return size;
        }
    }
    most + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;

    fn short() -> Workload {
        let whole = Shape::Sawtooth.published();
        Workload { rates: whole.rates.into_iter().take(90).collect(), ..whole }
    }

    #[test]
    fn a_plan_keeps_the_ramp_and_costs_the_least() {
        let rates = [100, 100, 100, 600, 100].map(RequestsPerSecond::whole).to_vec();
        let workload = Workload { season: 0, history: Vec::new(), rates };
        // Three to begin with, and eleven needed in the fourth interval: 3, 3, 7, 11, 7.
        let needs = [3, 3, 3, 11, 2];
        let plan = over(&needs, 1, None, &workload, &Scenario::benchmark(1));
        assert_eq!(plan, [3, 3, 7, 11, 7]);
        let dear = over(&needs, 1, Some(5.0), &workload, &Scenario::benchmark(1));
        assert_eq!(dear, [3, 3, 3, 3, 2], "one violation for five is cheaper than sixteen more");
        let slow = over(&needs, 2, None, &workload, &Scenario::benchmark(1));
        assert_eq!(slow, [3, 7, 11, 11, 7], "who takes an interval to start is ordered one before");
    }

    #[test]
    fn the_clairvoyant_is_below_what_is_served_and_that_below_who_knows_rates_alone() {
        let (workload, scenario) = (short(), Scenario::benchmark(1));
        let clairvoyant = Clairvoyant::foresee(None, &workload, &scenario);
        let (plan, score) = clairvoyant.served(&workload, &scenario);
        assert_eq!((score.violations, plan.len()), (0, 90));
        assert!(clairvoyant.bound <= score.replica_hours + 1e-9, "{} and {}", clairvoyant.bound, score.replica_hours);
        assert!(score.replica_hours < 1.02 * clairvoyant.bound, "{} and {}", clairvoyant.bound, score.replica_hours);
        let scenario = Scenario { tick: INTERVAL, ..scenario };
        let oracle = run::run(&workload, &scenario, &mut *oracle_ahead(100.0, &scenario, &workload));
        assert!(clairvoyant.bound < oracle.replica_hours, "{} and {}", clairvoyant.bound, oracle.replica_hours);
        assert!(oracle.violations <= 1, "{}", oracle.violations);
    }

    #[test]
    fn who_waits_for_replicas_needs_more_of_them() {
        let (workload, scenario) = (short(), Scenario::benchmark(1));
        let late = Scenario { law: Law { startup: Startup::Fixed(Seconds::whole(60)), ..scenario.law }, ..scenario };
        let (at_once, later) = (
            Clairvoyant::foresee(None, &workload, &Scenario::benchmark(1)),
            Clairvoyant::foresee(None, &workload, &late),
        );
        assert!(later.bound > at_once.bound);
        let (_, score) = later.served(&workload, &late);
        assert!(score.violations <= 1, "the first intervals cannot be helped: {}", score.violations);
    }
}

//! Trust: what the workload's own latency says of the model.
//!
//! **Sharing.** How far replicas share their queues decides how many are needed by a factor of two (one queue: 47 of 50 requests/s each;
//! random balancing: 27). It is learned by Bayes' rule over nine values: each predicts the 99th percentile at the load that was seen
//! (`Curve::latency`), and gains by how near it came. The prior prefers one queue; what was learned fades over fifty windows, so that a
//! changed balancer or service law is learned anew. Service laws heavier or lighter than exponential act like less or more sharing.
//!
//! **Margin.** Whatever else is wrong, the objective's own misses correct it (conformal control of the outcome: Angelopoulos, Candes and
//! Tibshirani, "Conformal PID control", `NeurIPS` 2023, their integrator): each missed window takes `GAIN` off the capacity that is
//! reckoned with, each kept one gives the objective's share of that back, never more than there was. Windows whose demand nobody foresaw,
//! or with a queue left from before, or while something downstream is above its limit, teach nothing.
//!
//! **Futility.** Where the objective is missed for an hour by replicas that are idle for half of their time, more of them do not help: the
//! requests themselves take too long. Then latency asks for nothing more, until a window is kept, or busy replicas have missed for as long.
//! It is no reason to remove any: while the objective is missed, nothing is removed (`limit`), for an incident looks like this too.

use crate::policy::{Objective, Part, Policy};
use crate::queue::Curve;
use crate::snapshot::Snapshot;
use crate::unit::{Erlangs, Ratio, RequestsPerSecond, Seconds, Timestamp};
use serde::{Deserialize, Serialize};

/// Values of sharing that are weighed: from 0 to 1 in eighths.
const VALUES: usize = 9;
/// Scatter of the logarithm of a window's 99th percentile around the steady state's.
const SCATTER: f64 = 0.3;
/// One window's say is bounded by so many of that.
const BOUND: f64 = 3.0;
/// Evidence fades to a third in fifty windows.
const FADING: f64 = 0.98;
/// Prior log-odds of each eighth away from one queue.
const PRIOR: f64 = 2.0;
/// Share of the capacity up to which a load is steady enough to predict its percentile.
const STEADY: Ratio = Ratio::percent(97);
/// What a missed window takes off, and the most that all may. Two misses are chance: that much is forgiven before any counts.
const GAIN: f64 = 0.03;
const FORGIVEN: f64 = 2.0 * GAIN;
const MOST: f64 = 0.6;
/// How long idle replicas must have missed, and what idle is.
const FUTILE: Seconds = Seconds::whole(3_600);
const IDLE: Ratio = Ratio::percent(50);

/// What the latency says of the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trust {
    /// How far replicas share their queues: 1 is one queue, 0 a queue each.
    pub sharing: Ratio,
    /// How much more capacity is reckoned with than the model asks for, because the objective was missed.
    pub margin: Ratio,
    /// Whether no number of replicas keeps the objective, by all that was seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub futile: bool,
}

impl Default for Trust {
    fn default() -> Self {
        Self { sharing: Ratio::ONE, margin: Ratio::ZERO, futile: false }
    }
}

/// What is remembered of the latency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Log-likelihood of each value, faded.
    evidence: [f64; VALUES],
    trust: Trust,
    /// Of what misses took off, before what is forgiven.
    taken: f64,
    /// How long idle replicas have missed since a window was kept, less how long busy ones have.
    #[serde(default)]
    missed_idle: Seconds,
    /// When it was last learned, and the looks and ready replicas since.
    learned: Option<Timestamp>,
    looks: u32,
    ready: f64,
}

impl Default for Memory {
    fn default() -> Self {
        let (evidence, trust) = ([0.0; VALUES], Trust::default());
        Self { evidence, trust, taken: 0.0, missed_idle: Seconds::ZERO, learned: None, looks: 0, ready: 0.0 }
    }
}

/// What a window taught: its demand where it is known, whether it was one like others, and how busy the replicas were.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lesson {
    pub(crate) demand: Option<RequestsPerSecond>,
    pub(crate) foreseen: bool,
    pub(crate) busy: Option<Ratio>,
}

/// Takes a look; once in a window, with a fresh percentile, learns from it.
pub(crate) fn learn(
    memory: &mut Memory,
    policy: &Policy,
    per_replica: Option<RequestsPerSecond>,
    lesson: Lesson,
    snapshot: &Snapshot,
) -> Trust {
    let objective = &policy.objective;
    memory.looks = memory.looks.saturating_add(1);
    memory.ready += f64::from(snapshot.fleet.ready.0);
    let (Some(seen), Some(per_replica)) = (snapshot.latency.fresh(), per_replica) else { return memory.trust };
    if memory.learned.is_some_and(|learned| snapshot.at.since(learned) < objective.window) {
        return memory.trust;
    }
    let replicas = Erlangs::clamped(memory.ready / f64::from(memory.looks.max(1)));
    (memory.learned, memory.looks, memory.ready) = (Some(snapshot.at), 0, 0.0);
    let Some(demand) = lesson.demand.filter(|_| lesson.foreseen) else { return memory.trust };
    if demand.get() >= STEADY.get() * replicas.get() * per_replica.get() || demand < RequestsPerSecond::whole(1) {
        return memory.trust;
    }
    let missed = seen > objective.latency;
    if is_futile(memory, missed, lesson.busy, objective.window) {
        // What misses taught was wrong: it starts anew with the first window that is kept.
        (memory.evidence, memory.taken) = ([0.0; VALUES], 0.0);
        memory.trust = Trust { futile: true, ..Trust::default() };
        return memory.trust;
    }
    memory.trust.futile = false;
    weigh(&mut memory.evidence, objective, per_replica, (replicas, demand), seen);
    if !policy.method.lacks(Part::Sharing) {
        memory.trust.sharing = expected(&memory.evidence);
    }
    let missed = if missed { 1.0 } else { 0.0 };
    memory.taken = (memory.taken + GAIN * (missed - objective.misses.get())).clamp(0.0, FORGIVEN + MOST);
    if !policy.method.lacks(Part::Margin) {
        memory.trust.margin = Ratio::clamped(memory.taken - FORGIVEN);
    }
    memory.trust
}

/// Whether it is, once this window is counted.
fn is_futile(memory: &mut Memory, missed: bool, busy: Option<Ratio>, window: Seconds) -> bool {
    memory.missed_idle = match (missed, busy) {
        (false, _) => Seconds::ZERO,
        (true, Some(busy)) if busy < IDLE => (memory.missed_idle + window).min(FUTILE),
        (true, Some(_)) => memory.missed_idle.less(window),
        (true, None) => memory.missed_idle,
    };
    memory.missed_idle >= FUTILE || (memory.trust.futile && memory.missed_idle > Seconds::ZERO)
}

fn values() -> impl Iterator<Item = Ratio> {
    (0..VALUES).map(|place| Ratio::clamped(place as f64 / (VALUES - 1) as f64))
}

fn weigh(
    evidence: &mut [f64; VALUES],
    objective: &Objective,
    per_replica: RequestsPerSecond,
    (replicas, demand): (Erlangs, RequestsPerSecond),
    seen: Seconds,
) {
    for (sharing, weight) in values().zip(evidence) {
        let Some(curve) = Curve::new(per_replica, objective.latency, sharing) else { return };
        let predicted = curve.latency(replicas, demand).get();
        let miss = (libm::log(seen.get().max(1e-6) / predicted) / SCATTER).abs().min(BOUND);
        *weight = *weight * FADING - 0.5 * miss * miss;
    }
}

fn expected(evidence: &[f64; VALUES]) -> Ratio {
    let odds: [f64; VALUES] = std::array::from_fn(|place| {
        evidence.get(place).copied().unwrap_or_default() - PRIOR * (VALUES - 1 - place) as f64
    });
    let best = odds.iter().copied().fold(f64::MIN, f64::max);
    let (mut sum, mut weights) = (0.0, 0.0);
    for (sharing, odds) in values().zip(odds) {
        let weight = libm::exp(odds - best);
        sum += weight * sharing.get();
        weights += weight;
    }
    Ratio::clamped(sum / weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Coverage, Reading, Sample};
    use crate::unit::Replicas;

    /// Trust after so many windows at 300 requests/s on ten replicas with this percentile.
    fn after(windows: i64, percentile: f64, foreseen: bool) -> Trust {
        with(windows, percentile, foreseen, None)
    }

    fn with(windows: i64, percentile: f64, foreseen: bool, busy: Option<Ratio>) -> Trust {
        let mut memory = Memory::default();
        let mut trust = memory.trust;
        for window in 0..windows {
            let sample = Sample { value: Seconds::new(percentile).unwrap(), age: None, coverage: Coverage::Unmeasured };
            let at = Timestamp(window * 30_000);
            let snapshot = Snapshot { latency: Reading::Fresh(sample), ..Snapshot::blind(at, Replicas(10)) };
            let lesson = Lesson { demand: Some(RequestsPerSecond::whole(300)), foreseen, busy };
            trust = learn(&mut memory, &Policy::PLAIN, Some(RequestsPerSecond::whole(50)), lesson, &snapshot);
        }
        trust
    }

    #[test]
    fn a_latency_as_of_one_queue_leaves_the_model_alone() {
        let trust = after(100, 0.093, true);
        assert!(trust.sharing > Ratio::percent(95) && trust.margin == Ratio::ZERO, "{trust:?}");
    }

    #[test]
    fn a_random_balancer_is_learned_from_the_latency_within_a_few_windows() {
        // ln 100 / (50 − 30): each replica by itself.
        let trust = after(6, 0.23, true);
        assert!(trust.sharing < Ratio::percent(20), "{trust:?}");
    }

    #[test]
    fn misses_take_off_capacity_and_kept_windows_give_it_back_slowly() {
        let trust = after(10, 1.0, true);
        assert!((trust.margin.get() - 8.0 * GAIN).abs() < 0.01, "{trust:?}");
        assert_eq!(after(10, 0.1, true).margin, Ratio::ZERO);
    }

    #[test]
    fn what_nobody_foresaw_teaches_nothing() {
        assert_eq!(after(100, 1.0, false), Trust::default());
    }

    #[test]
    fn misses_of_idle_replicas_are_no_reason_for_more_of_them_after_an_hour() {
        let idle = Some(Ratio::percent(40));
        assert!(with(119, 1.0, true, idle).margin > Ratio::ZERO);
        assert_eq!(with(120, 1.0, true, idle), Trust { futile: true, ..Trust::default() });
        assert!(!with(200, 1.0, true, Some(Ratio::percent(60))).futile, "busy ones may lack help");
        assert!(!with(200, 1.0, true, None).futile, "nobody knows how busy they are");
    }

    #[test]
    fn futility_ends_with_a_window_that_is_kept_or_when_busy_replicas_miss_for_as_long() {
        let hour = Seconds::whole(3_600);
        let after = |missed, busy, windows: u32| {
            let trust = Trust { futile: true, ..Trust::default() };
            let mut memory = Memory { trust, missed_idle: hour, ..Memory::default() };
            (0..windows).map(|_| is_futile(&mut memory, missed, busy, Seconds::whole(30))).last().unwrap()
        };
        assert!(!after(false, Some(Ratio::percent(40)), 1), "kept");
        let busy = Some(Ratio::percent(70));
        assert!(after(true, busy, 119) && !after(true, busy, 120), "an hour of misses by busy ones");
    }
}

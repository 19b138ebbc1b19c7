//! From a usage to a number of replicas (`replica_calculator.go`). Every function here has its counterpart there, in the same order.

use crate::case::Controller;
use crate::metric::{Sample, Samples};
use crate::number::{TWO_TO_THE_63, to_i32, to_i64};
use crate::object::Behavior;
use crate::pods::Groups;
use std::collections::BTreeMap;

/// How far off its target a usage is still on it, in each direction, as shares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerances {
    down: f64,
    up: f64,
}

impl Tolerances {
    /// The controller's, or the autoscaler's own.
    pub(crate) fn of(behavior: Option<&Behavior>, controller: &Controller) -> Self {
        let own = |rules: fn(&Behavior) -> &Option<crate::object::Rules>| {
            let behavior = behavior.filter(|_| controller.feature_gates.configurable_tolerance)?;
            rules(behavior).as_ref()?.tolerance.map(crate::quantity::Quantity::approximate)
        };
        Self {
            down: own(|behavior| &behavior.scale_down).unwrap_or(controller.tolerance),
            up: own(|behavior| &behavior.scale_up).unwrap_or(controller.tolerance),
        }
    }

    fn within(self, ratio: f64) -> bool {
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// What a usage asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) replicas: i32,
    /// Thousandths; percent for a utilization.
    pub(crate) usage: i64,
}

/// Usage as a share of the target, and the usage itself.
#[derive(Clone, Copy)]
struct Ratio {
    share: f64,
    usage: i64,
}

/// `int64` to `float64`.
#[expect(clippy::cast_precision_loss, reason = "upstream does the same")]
fn float(number: i64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "a number of pods")]
fn count(number: usize) -> f64 {
    number as f64
}

/// Go's `%` and `/` have no overflow: the smallest integer divided by -1 is itself.
fn divide(number: i64, divisor: i64) -> i64 {
    number.wrapping_div(divisor)
}

/// Utilization: the sum of what is used in percent of the sum of what is asked for; pods without a request are not known.
#[expect(clippy::cast_possible_truncation, reason = "upstream cuts it to 32 bits")]
fn utilization(samples: &Samples, requests: &BTreeMap<&str, i64>, target: i32) -> Result<Ratio, String> {
    let (mut used, mut asked) = (0i64, 0i64);
    for (name, sample) in samples {
        if let Some(request) = requests.get(name.as_str()) {
            used = used.wrapping_add(sample.value);
            asked = asked.wrapping_add(*request);
        }
    }
    if asked == 0 {
        return Err("no sample is of a known pod that requests something".to_owned());
    }
    let percent = divide(used.wrapping_mul(100), asked) as i32;
    Ok(Ratio { share: f64::from(percent) / f64::from(target), usage: percent.into() })
}

/// The average over the samples, whoever they are of.
fn average(samples: &Samples, target: i64) -> Ratio {
    let sum = samples.values().fold(0i64, |sum, sample| sum.wrapping_add(sample.value));
    let usage = divide(sum, i64::try_from(samples.len()).unwrap_or(i64::MAX));
    Ratio { share: float(usage) / float(target), usage }
}

/// What pods ask for of a resource whose utilization is the target, in percent of their requests.
pub(crate) fn by_utilization(
    current: i32,
    samples: Samples,
    groups: &Groups,
    requests: &BTreeMap<&str, i64>,
    (target, tolerances): (i32, Tolerances),
) -> Result<Wanted, String> {
    // On the way down, a pod without a sample may use all that it asked for, or the target where that is more.
    let full = i64::from(target.max(100));
    let fill = |name: &str| divide(requests.get(name).copied().unwrap_or_default().wrapping_mul(full), 100);
    rebalance(current, samples, groups, tolerances, |samples| utilization(samples, requests, target), fill)
}

/// What pods ask for whose average is the target, in thousandths.
pub(crate) fn by_average(
    current: i32,
    samples: Samples,
    groups: &Groups,
    (target, tolerances): (i64, Tolerances),
) -> Result<Wanted, String> {
    rebalance(current, samples, groups, tolerances, |samples| Ok(average(samples, target)), |_| target)
}

/// Takes the pods whose samples do not count out, and puts them and those without a sample in again as what would argue against
/// the change most.
fn rebalance(
    current: i32,
    mut samples: Samples,
    groups: &Groups,
    tolerances: Tolerances,
    ratio: impl Fn(&Samples) -> Result<Ratio, String>,
    fill: impl Fn(&str) -> i64,
) -> Result<Wanted, String> {
    let Ratio { share, usage } = ratio(&samples)?;
    let wanted = |replicas| Ok(Wanted { replicas, usage });
    let grows_with_unready = !groups.unready.is_empty() && share > 1.0;
    if !grows_with_unready && groups.missing.is_empty() {
        return wanted(if tolerances.within(share) { current } else { to_i32((share * count(groups.ready)).ceil()) });
    }
    let idle = |name: &String| (name.clone(), Sample::assumed(0));
    if share < 1.0 {
        samples.extend(groups.missing.iter().map(|name| (name.clone(), Sample::assumed(fill(name)))));
    } else if share > 1.0 {
        samples.extend(groups.missing.iter().map(idle));
    }
    if grows_with_unready {
        samples.extend(groups.unready.iter().map(idle));
    }
    let again = ratio(&samples)?.share;
    if tolerances.within(again) || (share < 1.0 && again > 1.0) || (share > 1.0 && again < 1.0) {
        return wanted(current);
    }
    let replicas = to_i32((again * count(samples.len())).ceil());
    // More samples than before may turn the direction round.
    let turned = (again < 1.0 && replicas > current) || (again > 1.0 && replicas < current);
    wanted(if turned { current } else { replicas })
}

/// What a value asks for that is to be the target as a whole. `ready` is not asked for while there is no replica.
pub(crate) fn by_value(
    current: i32,
    usage: i64,
    (target, tolerances): (i64, Tolerances),
    ready: impl FnOnce() -> Result<usize, String>,
) -> Result<Wanted, String> {
    let share = float(usage) / float(target);
    let replicas = if current == 0 {
        to_i32(share.ceil())
    } else if tolerances.within(share) {
        current
    } else {
        let replicas = share * count(ready()?);
        if replicas > f64::from(i32::MAX) { i32::MAX } else { to_i32(replicas.ceil()) }
    };
    Ok(Wanted { replicas, usage })
}

/// What a value asks for of which each replica is to have the target. `there` is how many replicas there are.
pub(crate) fn by_share(there: i32, usage: i64, (target, tolerances): (i64, Tolerances), external: bool) -> Wanted {
    let share = float(usage) / (float(target) * f64::from(there));
    let replicas = if tolerances.within(share) {
        there
    } else {
        let replicas = (float(usage) / float(target)).ceil();
        if external && replicas > f64::from(i32::MAX) { i32::MAX } else { to_i32(replicas) }
    };
    let each = if external && float(usage) >= TWO_TO_THE_63 {
        i64::MAX
    } else {
        to_i64((float(usage) / f64::from(there)).ceil())
    };
    Wanted { replicas, usage: each }
}

/// The sum of an external metric's series; what is too much for 64 bits is the most that they hold.
pub(crate) fn sum(values: &[i64], each: bool) -> i64 {
    let mut sum = 0i64;
    for value in values {
        if !each && *value > 0 && sum > i64::MAX - value {
            return i64::MAX;
        }
        sum = sum.wrapping_add(*value);
        // Upstream takes any negative sum for an overflow here.
        if each && sum < 0 {
            return i64::MAX;
        }
    }
    sum
}

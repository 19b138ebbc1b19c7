//! From what the metrics ask for to what is set: what was asked for recently, the rates, and the bounds (`normalizeDesiredReplicas`,
//! with and without `behavior`). Without `behavior`, a size may double at a time (or go to 4), and the largest recommendation of the
//! controller's window holds. Windows and periods leave out what is exactly as old as they are, but for the one without `behavior`.

use crate::case::{Case, Recommendation, ScaleEvent};
use crate::moment::{Moment, Span};
use crate::number::to_i32;
use crate::object::{Behavior, Policy, Rules};

/// Who decided the final number, and how a condition names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounded {
    pub(crate) replicas: i32,
    pub(crate) reason: &'static str,
}

/// What came of what the metrics ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limited {
    /// After recent recommendations, and why it differs from what the metrics ask for.
    pub(crate) stabilized: Bounded,
    /// After rates and bounds.
    pub(crate) bounded: Bounded,
}

/// Both sizes of a decision, and what bounds it.
#[derive(Clone, Copy)]
struct Sizes {
    current: i32,
    desired: i32,
    least: i32,
    most: i32,
}

const READY: &str = "ReadyForNewScale";
const WITHIN: &str = "DesiredWithinRange";

/// Limits what the metrics ask for. `recommendations` are those that the controller remembers.
pub(crate) fn limit(case: &Case, recommendations: &[Recommendation], least: i32, desired: i32) -> Limited {
    let sizes = Sizes { current: case.scale.spec.replicas, desired, least, most: case.hpa.spec.max_replicas };
    match &case.hpa.spec.behavior {
        None => {
            let window = case.controller.downscale_stabilization;
            let stabilized = highest_recent(recommendations, case.now - window, desired);
            Limited { stabilized, bounded: bound(Sizes { desired: stabilized.replicas, ..sizes }) }
        }
        Some(behavior) => {
            let rules = Both::of(behavior);
            let stabilized = stabilize(case, recommendations, &rules, sizes);
            let bounded = bound_rate(case, &rules, Sizes { desired: stabilized.replicas, ..sizes });
            Limited { stabilized, bounded }
        }
    }
}

// === without behavior ===

fn highest_recent(recommendations: &[Recommendation], since: Moment, desired: i32) -> Bounded {
    let recent = recommendations.iter().filter(|one| one.at >= since).map(|one| one.replicas);
    let replicas = recent.fold(desired, i32::max);
    Bounded { replicas, reason: if replicas == desired { READY } else { "ScaleDownStabilized" } }
}

fn bound(sizes: Sizes) -> Bounded {
    let at_once = to_i32((2.0 * f64::from(sizes.current)).max(4.0));
    let (most, reason) = if sizes.most > at_once { (at_once, "ScaleUpLimit") } else { (sizes.most, "TooManyReplicas") };
    if sizes.desired < sizes.least {
        Bounded { replicas: sizes.least, reason: "TooFewReplicas" }
    } else if sizes.desired > most {
        Bounded { replicas: most, reason }
    } else {
        Bounded { replicas: sizes.desired, reason: WITHIN }
    }
}

// === with behavior ===

/// What the API server fills in where one direction is not given.
struct Both {
    up: Rules,
    down: Rules,
}

impl Both {
    fn of(behavior: &Behavior) -> Self {
        let policy = |kind: &str, value| Policy { kind: kind.to_owned(), value, period_seconds: 15 };
        let up = || Rules { policies: vec![policy("Pods", 4), policy("Percent", 100)], ..Rules::default() };
        let down = || Rules { policies: vec![policy("Percent", 100)], ..Rules::default() };
        Self {
            up: behavior.scale_up.clone().unwrap_or_else(up),
            down: behavior.scale_down.clone().unwrap_or_else(down),
        }
    }
}

fn stabilize(case: &Case, recommendations: &[Recommendation], rules: &Both, sizes: Sizes) -> Bounded {
    let up = Span::from_seconds(rules.up.stabilization_window_seconds.unwrap_or(0));
    let default = case.controller.downscale_stabilization.seconds();
    let down = Span::from_seconds(rules.down.stabilization_window_seconds.unwrap_or(default));
    let recent = |window: Span| {
        let since = case.now - window;
        recommendations.iter().filter(move |one| one.at > since).map(|one| one.replicas)
    };
    let lowest = recent(up).fold(sizes.desired, i32::min);
    let highest = recent(down).fold(sizes.desired, i32::max);
    let replicas = sizes.current.max(lowest).min(highest);
    let reason = if replicas == sizes.desired {
        READY
    } else if sizes.desired >= sizes.current {
        "ScaleUpStabilized"
    } else {
        "ScaleDownStabilized"
    };
    Bounded { replicas, reason }
}

fn bound_rate(case: &Case, rules: &Both, sizes: Sizes) -> Bounded {
    let Sizes { current, desired, least, most } = sizes;
    if desired > current {
        let at_once = fastest(case, &rules.up, current, Direction::Up).max(current);
        let (most, reason) = if most > at_once { (at_once, "ScaleUpLimit") } else { (most, "TooManyReplicas") };
        if desired > most {
            return Bounded { replicas: most, reason };
        }
    } else if desired < current {
        let at_once = fastest(case, &rules.down, current, Direction::Down).min(current);
        let (least, reason) = if least < at_once { (at_once, "ScaleDownLimit") } else { (least, "TooFewReplicas") };
        if desired < least {
            return Bounded { replicas: least, reason };
        }
    }
    Bounded { replicas: desired, reason: WITHIN }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// How far the policies of one direction let it go.
fn fastest(case: &Case, rules: &Rules, current: i32, direction: Direction) -> i32 {
    let select = rules.select_policy.as_deref().unwrap_or("Max");
    if select == "Disabled" {
        return current;
    }
    // The larger change is the larger size on the way up, and the smaller one on the way down.
    let takes_larger = (select == "Min") == (direction == Direction::Down);
    let mut result = if takes_larger { i32::MIN } else { i32::MAX };
    // Upstream keeps what the policy before proposed where it does not know a type.
    let mut proposed = 0;
    for policy in &rules.policies {
        let since = case.now - Span::from_seconds(policy.period_seconds);
        let added = changed(&case.scale_up_events, since);
        let removed = changed(&case.scale_down_events, since);
        let start = current.wrapping_sub(added).wrapping_add(removed);
        proposed = match (policy.kind.as_str(), direction) {
            ("Pods", Direction::Up) => start.wrapping_add(policy.value),
            ("Pods", Direction::Down) => start.wrapping_sub(policy.value),
            // Rounded up, so that a small size grows at all.
            ("Percent", Direction::Up) => to_i32((f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil()),
            ("Percent", Direction::Down) => to_i32(f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)),
            _ => proposed,
        };
        result = if takes_larger { result.max(proposed) } else { result.min(proposed) };
    }
    result
}

fn changed(events: &[ScaleEvent], since: Moment) -> i32 {
    events.iter().filter(|event| event.at > since).fold(0, |sum, event| sum.wrapping_add(event.change))
}

//! One look of the controller (`reconcileAutoscaler`): from the size and its bounds over the metrics to the size that is set, with the
//! conditions in the order in which upstream sets them.

use crate::answer::{Answer, MetricAnswer, Missing};
use crate::because::{self, Course};
use crate::calculate::Tolerances;
use crate::case::{Case, Recommendation};
use crate::limit::{Bounded, Limited, limit};
use crate::metric::{self, Look};
use crate::object::Condition;
use crate::{pods, selector};

/// What the controller makes of a case.
///
/// # Errors
/// Where a part of a metric is not there without which upstream crashes.
pub fn evaluate(case: &Case) -> Result<Answer, Missing> {
    let current = case.scale.spec.replicas;
    let unasked = |spec: &crate::object::MetricSpec| MetricAnswer {
        name: metric::name(spec).to_owned(),
        proposal: None,
        usage: None,
        error: None,
        groups: None,
    };
    let mut answer = Answer {
        id: case.id.clone(),
        metrics: case.hpa.spec.metrics.iter().map(unasked).collect(),
        proposal: None,
        desired: current,
        conditions: case.hpa.status.conditions.clone(),
        because: String::new(),
    };
    let course = decide(case, &mut answer)?;
    answer.because = because::words(case, &answer, &course);
    Ok(answer)
}

fn decide(case: &Case, answer: &mut Answer) -> Result<Course, Missing> {
    let spec = &case.hpa.spec;
    let current = case.scale.spec.replicas;
    if spec.scale_target_ref.api_version.matches('/').count() > 1 {
        set(answer, "AbleToScale", false, "FailedGetScale");
        return Ok(Course::NoTarget);
    }
    set(answer, "AbleToScale", true, "SucceededGetScale");
    let least = spec.min_replicas.unwrap_or(1);
    let from_zero = case.controller.feature_gates.scale_to_zero && was_scaled_to_zero(case);
    if current == 0 {
        if !from_zero || (least == 0 && !counts_a_whole(case)) {
            set(answer, "ScalingActive", false, "ScalingDisabled");
            if !case.controller.feature_gates.scale_to_zero {
                answer.conditions.retain(|condition| condition.kind != "ScaledToZero");
            }
            return Ok(Course::Paused);
        }
    } else if current > spec.max_replicas {
        rescale(case, answer, spec.max_replicas, least);
        return Ok(Course::AboveMost);
    } else if current < least {
        rescale(case, answer, least, least);
        return Ok(Course::BelowLeast);
    }
    let asked = match ask(case, answer)? {
        Asked::Number(number) => number,
        Asked::Nothing(course) => return Ok(course),
    };
    // A proposal below 0 (of no metrics at all, or an overflow) asks for nothing.
    let desired = asked.max(0);
    let seeded = [Recommendation { at: case.now, replicas: current }];
    let recommendations = case.recommendations.as_deref().unwrap_or(&seeded);
    let limited = limit(case, recommendations, least, desired);
    say(answer, limited);
    let mut replicas = limited.bounded.replicas;
    if current == 0 && least != 0 && from_zero {
        replicas = replicas.max(least);
    }
    if replicas != current {
        rescale(case, answer, replicas, least);
    }
    Ok(Course::Decided { asked: desired, limited })
}

fn say(answer: &mut Answer, limited: Limited) {
    let Limited { stabilized, bounded: Bounded { replicas, reason } } = limited;
    set(answer, "AbleToScale", true, stabilized.reason);
    set(answer, "ScalingLimited", replicas != stabilized.replicas, reason);
}

/// What the metrics say together.
enum Asked {
    Number(i32),
    Nothing(Course),
}

/// Asks each metric; the largest proposal wins. Where one fails, the others may only add replicas.
fn ask(case: &Case, answer: &mut Answer) -> Result<Asked, Missing> {
    let selector = match case.scale.status.selector.as_str() {
        "" => Err("the scale has none".to_owned()),
        text => selector::parse(text),
    };
    let selector = match selector {
        Ok(selector) => selector,
        Err(error) => {
            set(answer, "ScalingActive", false, "InvalidSelector");
            return Ok(Asked::Nothing(Course::NoSelector(error)));
        }
    };
    let pods = pods::selected(case, &selector);
    let tolerances = Tolerances::of(case.hpa.spec.behavior.as_ref(), &case.controller);
    let look = Look { case, selector, pods, tolerances };
    let (mut most, mut failed, mut first) = (0, 0, None);
    for (index, (spec, said)) in case.hpa.spec.metrics.iter().zip(&mut answer.metrics).enumerate() {
        match metric::propose(&look, spec, index)? {
            Ok(proposal) => {
                // A 0 is overruled by anything, also by what an overflow made of a large number.
                if most == 0 || proposal.replicas > most {
                    most = proposal.replicas;
                }
                said.proposal = Some(proposal.replicas);
                said.usage = Some(proposal.usage);
                said.groups = proposal.groups;
            }
            Err(failure) => {
                failed += 1;
                said.error = Some(failure.error);
                first = first.or(Some(failure.reason));
            }
        }
    }
    if failed >= answer.metrics.len() || (failed > 0 && most < case.scale.spec.replicas) {
        let Some(reason) = first else {
            // Of no metrics at all, upstream sets an empty condition, and goes on with a proposal of -1 and no error.
            put(answer, Condition::default());
            return Ok(Asked::Number(-1));
        };
        set(answer, "ScalingActive", false, reason);
        let held = if failed < answer.metrics.len() { Course::HeldBy { would: most } } else { Course::AllFailed };
        return Ok(Asked::Nothing(held));
    }
    set(answer, "ScalingActive", true, "ValidMetricFound");
    // -1 is upstream's sign of a failure, which an overflow can give without one.
    answer.proposal = (most != -1).then_some(most);
    if most == -1 && failed > 0 {
        return Ok(Asked::Nothing(Course::AllFailed));
    }
    Ok(Asked::Number(most))
}

/// Sets the size, and says so.
fn rescale(case: &Case, answer: &mut Answer, replicas: i32, least: i32) {
    let current = case.scale.spec.replicas;
    answer.desired = replicas;
    set(answer, "AbleToScale", true, "SucceededRescale");
    if case.controller.feature_gates.scale_to_zero {
        let to_zero = current > 0 && replicas == 0 && least == 0 && counts_a_whole(case);
        set(answer, "ScaledToZero", to_zero, if to_zero { "ScaledToZero" } else { "NotScaledToZero" });
    } else {
        answer.conditions.retain(|condition| condition.kind != "ScaledToZero");
    }
}

fn was_scaled_to_zero(case: &Case) -> bool {
    let own = case.hpa.status.conditions.iter().find(|condition| condition.kind == "ScaledToZero");
    own.is_some_and(|condition| condition.status == "True")
}

/// Whether a metric is of something that is there without replicas.
fn counts_a_whole(case: &Case) -> bool {
    case.hpa.spec.metrics.iter().any(|spec| ["Object", "External"].contains(&spec.kind.as_str()))
}

fn set(answer: &mut Answer, kind: &str, holds: bool, reason: &str) {
    let status = if holds { "True" } else { "False" };
    put(answer, Condition { kind: kind.to_owned(), status: status.to_owned(), reason: reason.to_owned() });
}

/// In the place of the one of its kind, or at the end.
fn put(answer: &mut Answer, condition: Condition) {
    match answer.conditions.iter_mut().find(|own| own.kind == condition.kind) {
        Some(own) => *own = condition,
        None => answer.conditions.push(condition),
    }
}

//! An answer in one line of words: what was asked for, what bound it, and which pods did not count.

use crate::answer::{Answer, MetricAnswer, Usage};
use crate::case::Case;
use crate::limit::Limited;
use crate::object::{MetricSpec, Target};
use crate::quantity::text_of_milli;

/// How the controller got to its answer.
#[derive(Clone, Debug)]
pub(crate) enum Course {
    /// The reference to the target cannot be read.
    NoTarget,
    /// There are no replicas, and the autoscaler did not do that.
    Paused,
    /// The size was above the most.
    AboveMost,
    /// The size was below the least.
    BelowLeast,
    /// Nobody knows which pods count.
    NoSelector(String),
    /// No metric could say anything.
    AllFailed,
    /// The others would remove replicas, down to this, and one failed.
    HeldBy {
        /// What the others ask for.
        would: i32,
    },
    /// The metrics asked for a number, which was limited.
    Decided {
        /// That number, at least 0.
        asked: i32,
        /// What came of it.
        limited: Limited,
    },
}

/// The answer in words.
pub(crate) fn words(case: &Case, answer: &Answer, course: &Course) -> String {
    let current = case.scale.spec.replicas;
    let set = answer.desired;
    match course {
        Course::NoTarget => format!("{current} stay: the apiVersion of the target has more than one '/'"),
        Course::Paused => "no replicas, and not of its own doing: that is how scaling is paused".to_owned(),
        Course::AboveMost => format!("{current} -> {set}: more than maxReplicas; no metric was asked"),
        Course::BelowLeast => format!("{current} -> {set}: less than minReplicas; no metric was asked"),
        Course::NoSelector(error) => format!("{current} stay: which pods count cannot be said: the selector: {error}"),
        Course::AllFailed => format!("{current} stay: {}", failures(answer)),
        Course::HeldBy { would } => {
            format!(
                "{current} stay: {would} would be enough, but nothing is removed while a metric fails: {}",
                failures(answer)
            )
        }
        Course::Decided { asked, limited } => {
            let change = if set == current { format!("{current} stay") } else { format!("{current} -> {set}") };
            let mut parts = vec![format!("{change}: {}", asking(case, answer, *asked))];
            parts.extend(limits(*asked, *limited));
            if answer.metrics.iter().any(|metric| metric.error.is_some()) {
                parts.push(failures(answer));
            }
            parts.join("; ")
        }
    }
}

fn failures(answer: &Answer) -> String {
    let failed = |metric: &MetricAnswer| metric.error.as_ref().map(|error| format!("{}: {error}", metric.name));
    answer.metrics.iter().filter_map(failed).collect::<Vec<_>>().join("; ")
}

/// Who asked for the number that won.
fn asking(case: &Case, answer: &Answer, asked: i32) -> String {
    let mut pairs = answer.metrics.iter().zip(&case.hpa.spec.metrics);
    let Some((metric, spec)) = pairs.find(|(metric, _)| metric.proposal == Some(asked)) else {
        return format!("{asked} asked for, by no metric");
    };
    let usage = metric.usage.map(|usage| format!(" at {usage}")).unwrap_or_default();
    let target = target(spec, metric.usage).map(|target| format!(" (target {target})")).unwrap_or_default();
    format!("{}{usage}{target} asks for {asked}{}", metric.name, left_out(metric))
}

fn target(spec: &MetricSpec, usage: Option<Usage>) -> Option<String> {
    let resource = spec.resource.as_ref().or(spec.container_resource.as_ref()).map(|source| &source.target);
    let custom = spec.pods.as_ref().or(spec.object.as_ref()).or(spec.external.as_ref()).map(|source| &source.target);
    let Target { value, average_value, average_utilization, .. } = resource.or(custom)?;
    match usage? {
        Usage::Percent(_) => average_utilization.map(|percent| format!("{percent}%")),
        Usage::Milli { binary, .. } => average_value.or(*value).map(|target| text_of_milli(target.milli(), binary)),
    }
}

fn left_out(metric: &MetricAnswer) -> String {
    let Some(groups) = &metric.groups else { return String::new() };
    let counts = [
        (groups.unready.len(), "not ready or just started"),
        (groups.missing.len(), "without a sample"),
        (groups.ignored.len(), "going or failed"),
    ];
    let some: Vec<String> =
        counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if some.is_empty() { String::new() } else { format!(" (pods: {} count, {})", groups.ready, some.join(", ")) }
}

/// What stood between the number that was asked for and the one that is set.
fn limits(asked: i32, limited: Limited) -> Vec<String> {
    let Limited { stabilized, bounded } = limited;
    let mut limits = Vec::new();
    if stabilized.replicas != asked {
        limits.push(format!("{} by what was asked for recently ({})", stabilized.replicas, stabilized.reason));
    }
    if bounded.replicas != stabilized.replicas {
        let what = match bounded.reason {
            "ScaleUpLimit" => "more at a time is not allowed",
            "ScaleDownLimit" => "fewer at a time is not allowed",
            "TooManyReplicas" => "maxReplicas",
            _ => "minReplicas",
        };
        limits.push(format!("{} by {what} ({})", bounded.replicas, bounded.reason));
    }
    limits
}

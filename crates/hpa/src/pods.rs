//! Which pods count. Upstream sorts them into ready ones, unready ones, ones without a sample, and ones that are going
//! (`groupPods`); only of CPU does it doubt samples that were taken while a pod started.

use crate::case::{Case, Controller};
use crate::metric::Samples;
use crate::moment::Moment;
use crate::object::{Pod, PodCondition};
use crate::selector::Selector;
use std::collections::{BTreeMap, BTreeSet};

/// The target's pods by name.
pub(crate) type Pods<'a> = BTreeMap<&'a str, &'a Pod>;

/// What upstream's lister would list.
pub(crate) fn selected<'a>(case: &'a Case, selector: &Selector) -> Pods<'a> {
    let namespace = case.hpa.metadata.namespace.as_str();
    // Of two pods of one name, the later is the newer.
    let mut pods: BTreeMap<(&str, &str), &Pod> = BTreeMap::new();
    for pod in &case.pods {
        let own = if pod.metadata.namespace.is_empty() { namespace } else { &pod.metadata.namespace };
        pods.insert((own, &pod.metadata.name), pod);
    }
    // Without a namespace, upstream lists all of them.
    pods.into_iter()
        .filter(|((own, _), pod)| (namespace.is_empty() || *own == namespace) && selector.matches(&pod.metadata.labels))
        .map(|((_, name), pod)| (name, pod))
        .collect()
}

/// The pods in their groups. Who is in none is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// How many count in full.
    pub ready: usize,
    /// Who does not serve yet, or whose sample is of its start.
    pub unready: BTreeSet<String>,
    /// Who has no sample.
    pub missing: BTreeSet<String>,
    /// Who is going or failed.
    pub ignored: BTreeSet<String>,
}

/// Sorts the pods by what they can say of a resource or metric.
pub(crate) fn group(pods: &Pods<'_>, samples: &Samples, cpu: bool, controller: &Controller, now: Moment) -> Groups {
    let mut groups = Groups::default();
    for (name, pod) in pods {
        let name = (*name).to_owned();
        if pod.metadata.deletion_timestamp.is_some() || pod.status.phase == "Failed" {
            groups.ignored.insert(name);
        } else if pod.status.phase == "Pending" {
            groups.unready.insert(name);
        } else if let Some(sample) = samples.get(&name) {
            let covered_since = sample.at;
            let starts = |ready: &PodCondition| match pod.status.start_time {
                None => true,
                Some(started) => {
                    let changed = ready.last_transition_time.unwrap_or(Moment::ABSENT);
                    if started + controller.cpu_initialization_period > now {
                        ready.status == "False" || covered_since < changed + sample.window
                    } else {
                        ready.status == "False" && started + controller.initial_readiness_delay > changed
                    }
                }
            };
            if cpu && readiness(pod).is_none_or(starts) {
                groups.unready.insert(name);
            } else {
                groups.ready += 1;
            }
        } else {
            groups.missing.insert(name);
        }
    }
    groups
}

fn readiness(pod: &Pod) -> Option<&PodCondition> {
    pod.status.conditions.iter().find(|condition| condition.kind == "Ready")
}

/// How many pods run and are ready.
pub(crate) fn ready(pods: &Pods<'_>) -> usize {
    let serves =
        |pod: &&&Pod| pod.status.phase == "Running" && readiness(pod).is_some_and(|ready| ready.status == "True");
    pods.values().filter(serves).count()
}

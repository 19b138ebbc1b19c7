//! What pods ask for of a resource, in thousandths: of one container, of the whole pod where it says so itself, or of all containers
//! together (`calculateRequests`, and `resourcehelpers.PodRequests` with its defaults).

use crate::object::{Container, Pod, Resources};
use crate::pods::Pods;
use crate::quantity::Quantity;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What each pod asks for, by name. `container` is empty for the whole pod.
pub(crate) fn requests<'a>(
    pods: &Pods<'a>,
    container: &str,
    resource: &str,
    pod_level: bool,
) -> Result<BTreeMap<&'a str, i64>, String> {
    let one = |(name, pod): (&&'a str, &&Pod)| {
        let asked = if pod_level && container.is_empty() && says_itself(pod) {
            let missing = || format!("pod {name} has requests as a whole, but none of {resource}");
            of_pod(pod, resource).map(Quantity::milli).ok_or_else(missing)?
        } else {
            of_containers(pod, name, container, resource)?
        };
        Ok((*name, asked))
    };
    pods.iter().map(one).collect()
}

/// Of which resources a pod can ask as a whole.
fn fits_pod(resource: &str) -> bool {
    ["cpu", "memory"].contains(&resource) || resource.starts_with("hugepages-")
}

fn says_itself(pod: &Pod) -> bool {
    pod.spec.resources.as_ref().is_some_and(|own| own.requests.keys().any(|resource| fits_pod(resource)))
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy == "Always"
}

fn of_containers(pod: &Pod, name: &str, container: &str, resource: &str) -> Result<i64, String> {
    let sidecars = pod.spec.init_containers.iter().filter(|container| is_sidecar(container));
    let mut sum = 0i64;
    for one in pod.spec.containers.iter().chain(sidecars) {
        if !container.is_empty() && container != one.name {
            continue;
        }
        let Some(request) = one.resources.requests.get(resource) else {
            return Err(format!("container {} of pod {name} has no request of {resource}", one.name));
        };
        sum = sum.wrapping_add(request.milli());
        if container == one.name {
            return Ok(sum);
        }
    }
    if container.is_empty() { Ok(sum) } else { Err(format!("pod {name} has no container {container}")) }
}

/// What a pod asks for that says so itself: its own word first, else the most that its containers need at a time; and the overhead.
fn of_pod(pod: &Pod, resource: &str) -> Option<Quantity> {
    let own = pod.spec.resources.as_ref().and_then(|own| own.requests.get(resource));
    let asked = match own {
        Some(own) if fits_pod(resource) => Some(*own),
        _ => at_most(pod, resource),
    };
    plus(asked, &pod.spec.overhead, resource)
}

fn plus(sum: Option<Quantity>, more: &Resources, resource: &str) -> Option<Quantity> {
    match (sum, more.get(resource)) {
        (Some(sum), Some(more)) => Some(sum.plus(*more)),
        (sum, more) => sum.or(more.copied()),
    }
}

/// All containers and sidecars together, or an init container beside the sidecars before it, whichever is more.
fn at_most(pod: &Pod, resource: &str) -> Option<Quantity> {
    let mut together = None;
    for container in &pod.spec.containers {
        together = plus(together, &container.resources.requests, resource);
    }
    let (mut sidecars, mut starting) = (None, None);
    for container in &pod.spec.init_containers {
        let requests = &container.resources.requests;
        let beside = plus(sidecars, requests, resource);
        if is_sidecar(container) {
            together = plus(together, requests, resource);
            sidecars = beside;
        }
        starting = larger(starting, beside);
    }
    larger(together, starting)
}

fn larger(one: Option<Quantity>, other: Option<Quantity>) -> Option<Quantity> {
    match (one, other) {
        (Some(one), Some(other)) if other.compare(one) == Ordering::Greater => Some(other),
        (one, other) => one.or(other),
    }
}

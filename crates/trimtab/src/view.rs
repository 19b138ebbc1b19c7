//! The cluster as the watches told it: a synchronous index that a decision's [`Fleet`] is read from.
//!
//! Watch events change it ([`View::apply_object`], [`View::apply_pod`]); nothing here waits or asks the API server. Pods are kept as a few
//! dozen bytes each. Until everything that was asked for has been listed once, there is no fleet: an empty index
//! looks like an empty cluster (kubernetes/autoscaler#446).

use crate::config::{Kind, Target};
use kube::core::{Selector, SelectorExt};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use trimtab_claim::claim::Label;
use trimtab_claim::member::Node;
use trimtab_core::snapshot::Fleet;
use trimtab_core::unit::{Replicas, Seconds, Timestamp};

/// Start-up times that the 90th percentile is taken of.
const STARTS: usize = 32;
/// A pod that took longer was not starting up: it was ready before, or waited for a node or an image that did not come.
const LONGEST_START: Seconds = Seconds::whole(900);

/// Something that has replicas, as the API server reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalable {
    /// `metadata.uid`: a re-created object is another object.
    pub uid: String,
    /// `metadata.generation`: raised by every change of the spec, whoever makes it.
    pub generation: i64,
    /// `spec.replicas`.
    pub replicas: u32,
    /// Which pods are its own.
    pub selector: Selector,
    /// The label `trimtab.dev/mode`, where it carries one.
    pub mode_label: Option<String>,
    /// What the claims of agents go by.
    pub shown: Shown,
    /// Whether pods of two versions exist side by side.
    pub rolling_out: bool,
    /// Who set the size last, where that can be told: a field manager.
    pub manager: Option<String>,
}

/// What the claims of agents on an object go by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// `metadata.resourceVersion`.
    pub version: String,
    /// The label `trimtab.dev/epoch`.
    pub label: Label,
    /// How often the watch had listed when it showed this.
    pub listing: u64,
}

/// A pod, as far as it matters here.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Its labels, for selectors.
    pub labels: BTreeMap<String, String>,
    /// When it was created.
    pub created: Timestamp,
    /// Since when it is Ready, if it is.
    pub ready: Option<Timestamp>,
    /// Whether it was Ready at some time: then it is not starting, and its becoming Ready again tells no start-up time.
    pub was_ready: bool,
    /// Whether it is on its way out, or has ended.
    pub leaving: bool,
    /// The node that it was given, once it was.
    pub node: Option<Arc<str>>,
}

/// What a watch says.
#[derive(Clone, Debug)]
pub enum Change<K, V> {
    /// A listing begins: what it does not name is gone when it ends.
    Listing,
    /// This is how it is now.
    Is(K, V),
    /// It is gone.
    Gone(K),
    /// The listing ended.
    Listed,
}

/// A pod's namespace and name.
pub type PodName = (String, String);

/// What a watch looks at: a namespace, or `None` for all of them.
pub type Scope = Option<String>;

/// Objects by the watch that tells them: each lists and forgets its own.
type Objects = BTreeMap<(Kind, Scope), Shelf<Target, Scalable>>;

pub(crate) fn covers(scope: &Scope, namespace: &str) -> bool {
    scope.as_ref().is_none_or(|scope| scope == namespace)
}

/// What one watch listed and keeps up to date.
#[derive(Debug)]
pub(crate) struct Shelf<K, V> {
    items: BTreeMap<K, V>,
    listing: Option<BTreeSet<K>>,
}

impl<K: Ord + Clone, V> Shelf<K, V> {
    pub(crate) const fn new() -> Self {
        Self { items: BTreeMap::new(), listing: None }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.items.get(key)
    }

    /// Whether it lists just now.
    pub(crate) const fn is_listing(&self) -> bool {
        self.listing.is_some()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.items.iter()
    }

    /// Applies a change and returns what it concerned: key, and value before.
    pub(crate) fn apply(&mut self, change: Change<K, V>) -> Vec<(K, Option<V>)> {
        match change {
            Change::Listing => {
                self.listing = Some(BTreeSet::new());
                Vec::new()
            }
            Change::Is(key, value) => {
                if let Some(named) = &mut self.listing {
                    named.insert(key.clone());
                }
                let before = self.items.insert(key.clone(), value);
                vec![(key, before)]
            }
            Change::Gone(key) => self.items.remove(&key).map(|before| (key, Some(before))).into_iter().collect(),
            Change::Listed => {
                let Some(named) = self.listing.take() else { return Vec::new() };
                let gone: Vec<K> = self.items.keys().filter(|key| !named.contains(*key)).cloned().collect();
                gone.into_iter().filter_map(|key| self.items.remove(&key).map(|before| (key, Some(before)))).collect()
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Count {
    ready: u32,
    hosts: BTreeSet<Node>,
    /// When the pods were created that are starting.
    starting: Vec<Timestamp>,
}

/// The index.
#[derive(Debug)]
pub struct View {
    objects: Objects,
    pods: BTreeMap<Scope, Shelf<PodName, Pod>>,
    listed_objects: BTreeSet<(Kind, Scope)>,
    listed_pods: BTreeSet<Scope>,
    counts: BTreeMap<Target, Count>,
    starts: BTreeMap<Target, VecDeque<Seconds>>,
}

impl View {
    /// An empty index, of what is watched in these scopes.
    #[must_use]
    pub fn new(pod_scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self {
            objects: BTreeMap::new(),
            pods: pod_scopes.into_iter().map(|scope| (scope, Shelf::new())).collect(),
            listed_objects: BTreeSet::new(),
            listed_pods: BTreeSet::new(),
            counts: BTreeMap::new(),
            starts: BTreeMap::new(),
        }
    }

    /// A watch on objects of one kind speaks.
    pub fn apply_object(&mut self, kind: &Kind, scope: &Scope, change: Change<Target, Scalable>) {
        let watch = (kind.clone(), scope.clone());
        if matches!(change, Change::Listed) {
            self.listed_objects.insert(watch.clone());
        }
        let shelf = self.objects.entry(watch).or_insert_with(Shelf::new);
        for (target, before) in shelf.apply(change) {
            let now = shelf.items.get(&target);
            if now.map(|object| &object.selector) != before.as_ref().map(|object| &object.selector) {
                self.counts.remove(&target);
            }
            if now.is_none() {
                self.starts.remove(&target);
            }
        }
    }

    /// A kind is no longer watched.
    pub fn forget(&mut self, kind: &Kind) {
        self.objects.retain(|(watched, _), _| watched != kind);
        self.listed_objects.retain(|(watched, _)| watched != kind);
        self.counts.retain(|target, _| target.kind != *kind);
        self.starts.retain(|target, _| target.kind != *kind);
    }

    /// A watch on pods speaks.
    pub fn apply_pod(&mut self, scope: &Scope, change: Change<PodName, Pod>) {
        if matches!(change, Change::Listed) {
            self.listed_pods.insert(scope.clone());
        }
        let Some(shelf) = self.pods.get_mut(scope) else { return };
        for (name, before) in shelf.apply(change) {
            let now = shelf.items.get(&name);
            for pod in [now, before.as_ref()].into_iter().flatten() {
                for target in owners(&self.objects, &name.0, &pod.labels) {
                    self.counts.remove(&target);
                }
            }
            let Some(pod) = now else { continue };
            let Some(start) = start_up(pod, before.as_ref()) else { continue };
            for target in owners(&self.objects, &name.0, &pod.labels) {
                let starts = self.starts.entry(target).or_default();
                if starts.len() == STARTS {
                    starts.pop_front();
                }
                starts.push_back(start);
            }
        }
    }

    /// Whether everything that this target needs has been listed once.
    #[must_use]
    pub fn knows(&self, target: &Target) -> bool {
        let objects = |scope: &Scope| self.listed_objects.contains(&(target.kind.clone(), scope.clone()));
        let mut scopes = self.pods.keys().filter(|scope| covers(scope, &target.namespace));
        scopes.any(|scope| self.listed_pods.contains(scope) && objects(scope))
    }

    /// Whether all pods that are watched have been listed once.
    #[must_use]
    pub fn has_pods(&self) -> bool {
        self.pods.keys().all(|scope| self.listed_pods.contains(scope))
    }

    /// Whether the namespace is one of those that are watched.
    #[must_use]
    pub fn watches(&self, namespace: &str) -> bool {
        self.pods.keys().any(|scope| covers(scope, namespace))
    }

    /// The object, where it exists.
    #[must_use]
    pub fn object(&self, target: &Target) -> Option<&Scalable> {
        object(&self.objects, target)
    }

    /// How long pods of `target` took from creation to Ready, oldest first.
    #[must_use]
    pub fn startups(&self, target: &Target) -> Vec<Seconds> {
        self.starts.get(target).into_iter().flatten().copied().collect()
    }

    /// The nodes that the pods of `target` are on.
    pub fn hosts(&mut self, target: &Target) -> BTreeSet<Node> {
        let Some(object) = object(&self.objects, target) else { return BTreeSet::new() };
        let count = self.counts.entry(target.clone()).or_insert_with(|| count(&self.pods, target, &object.selector));
        count.hosts.clone()
    }

    /// The replicas of `target` as they are at `at`, where it exists and everything is known.
    pub fn fleet(&mut self, target: &Target, at: Timestamp) -> Option<Fleet> {
        if !self.knows(target) {
            return None;
        }
        let object = object(&self.objects, target)?;
        let count = self.counts.entry(target.clone()).or_insert_with(|| count(&self.pods, target, &object.selector));
        if !self.starts.contains_key(target) {
            let starts = known_starts(&self.pods, target, &object.selector);
            self.starts.insert(target.clone(), starts);
        }
        Some(Fleet {
            desired: Replicas(object.replicas),
            ready: Replicas(count.ready),
            starting: replicas(count.starting.len()),
            stuck: replicas(count.starting.iter().filter(|created| at.since(**created) >= Fleet::STUCK).count()),
            startup: self.starts.get(target).and_then(percentile_90),
            rolling_out: object.rolling_out,
        })
    }
}

fn object<'a>(objects: &'a Objects, target: &Target) -> Option<&'a Scalable> {
    [Some(target.namespace.clone()), None]
        .into_iter()
        .find_map(|scope| objects.get(&(target.kind.clone(), scope))?.items.get(target))
}

/// Targets in `namespace` whose selector takes these labels.
fn owners(objects: &Objects, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<Target> {
    let in_namespace = |((kind, _), shelf): (&(Kind, Scope), &'_ Shelf<Target, Scalable>)| {
        let first = Target { namespace: namespace.to_owned(), kind: kind.clone(), name: String::new() };
        let items = shelf.items.range(first..).take_while(|(target, _)| target.namespace == namespace);
        items
            .filter(|(_, object)| object.selector.matches(labels))
            .map(|(target, _)| target.clone())
            .collect::<Vec<_>>()
    };
    objects.iter().flat_map(in_namespace).collect()
}

fn own_pods<'a>(
    pods: &'a BTreeMap<Scope, Shelf<PodName, Pod>>,
    target: &'a Target,
    selector: &'a Selector,
) -> impl Iterator<Item = &'a Pod> {
    let first = (target.namespace.clone(), String::new());
    pods.iter()
        .filter(|(scope, _)| covers(scope, &target.namespace))
        .flat_map(move |(_, shelf)| shelf.items.range(first.clone()..))
        .take_while(|((namespace, _), _)| *namespace == target.namespace)
        .map(|(_, pod)| pod)
        .filter(|pod| selector.matches(&pod.labels))
}

fn count(pods: &BTreeMap<Scope, Shelf<PodName, Pod>>, target: &Target, selector: &Selector) -> Count {
    let mut count = Count { ready: 0, hosts: BTreeSet::new(), starting: Vec::new() };
    for pod in own_pods(pods, target, selector).filter(|pod| !pod.leaving) {
        count.hosts.extend(pod.node.as_deref().map(str::to_owned));
        if pod.ready.is_some() {
            count.ready += 1;
        } else if !pod.was_ready {
            count.starting.push(pod.created);
        }
    }
    count
}

/// The start-up time that a pod's becoming ready tells.
fn start_up(now: &Pod, before: Option<&Pod>) -> Option<Seconds> {
    let seen_starting = before.is_some_and(|pod| !pod.was_ready);
    now.ready.filter(|_| seen_starting).map(|ready| ready.since(now.created)).filter(|took| *took < LONGEST_START)
}

/// The start-up times that pods tell which were ready before the watch began.
fn known_starts(
    pods: &BTreeMap<Scope, Shelf<PodName, Pod>>,
    target: &Target,
    selector: &Selector,
) -> VecDeque<Seconds> {
    own_pods(pods, target, selector)
        .filter_map(|pod| pod.ready.map(|ready| ready.since(pod.created)))
        .filter(|took| *took < LONGEST_START)
        .take(STARTS)
        .collect()
}

fn replicas(pods: usize) -> Replicas {
    Replicas(u32::try_from(pods).unwrap_or(u32::MAX))
}

/// Nearest rank.
fn percentile_90(starts: &VecDeque<Seconds>) -> Option<Seconds> {
    let mut sorted: Vec<Seconds> = starts.iter().copied().collect();
    sorted.sort_by(|a, b| a.get().total_cmp(&b.get()));
    sorted.get((sorted.len() * 9).div_ceil(10).saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(1_000_000);

    fn shop() -> Target {
        "shop/deployment/web".parse().unwrap()
    }

    fn object(replicas: u32) -> Scalable {
        Scalable {
            uid: "u".into(),
            generation: 1,
            replicas,
            selector: Selector::from_iter([("app", "web")]),
            mode_label: None,
            shown: Shown::default(),
            rolling_out: false,
            manager: None,
        }
    }

    fn pod(created: i64, ready: Option<i64>) -> Pod {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let ready = ready.map(Timestamp);
        Pod { labels, created: Timestamp(created), ready, was_ready: ready.is_some(), leaving: false, node: None }
    }

    fn name(name: &str) -> PodName {
        ("shop".into(), name.into())
    }

    fn listed(pods: &[(&str, Pod)]) -> View {
        let mut view = View::new([None]);
        let target = shop();
        view.apply_object(&target.kind, &None, Change::Listing);
        view.apply_object(&target.kind, &None, Change::Is(target.clone(), object(3)));
        view.apply_object(&target.kind, &None, Change::Listed);
        view.apply_pod(&None, Change::Listing);
        for (pod_name, pod) in pods {
            view.apply_pod(&None, Change::Is(name(pod_name), pod.clone()));
        }
        view.apply_pod(&None, Change::Listed);
        view
    }

    #[test]
    fn there_is_no_fleet_before_everything_was_listed() {
        let mut view = View::new([None]);
        let target = shop();
        view.apply_object(&target.kind, &None, Change::Listing);
        view.apply_object(&target.kind, &None, Change::Is(target.clone(), object(3)));
        assert_eq!(view.fleet(&target, AT), None);
        view.apply_object(&target.kind, &None, Change::Listed);
        assert_eq!(view.fleet(&target, AT), None, "pods are not listed yet");
        view.apply_pod(&None, Change::Listing);
        view.apply_pod(&None, Change::Listed);
        assert_eq!(view.fleet(&target, AT).unwrap().desired, Replicas(3));
    }

    #[test]
    fn a_namespace_that_is_listed_anew_takes_nothing_from_another() {
        let scopes = ["shop", "pay"].map(|namespace| Some(namespace.to_owned()));
        let mut view = View::new(scopes.clone());
        let targets: [Target; 2] = ["shop/deployment/web".parse().unwrap(), "pay/deployment/web".parse().unwrap()];
        let list = |view: &mut View, number: usize| {
            let (scope, target) = (&scopes[number], &targets[number]);
            view.apply_object(&target.kind, scope, Change::Listing);
            view.apply_object(&target.kind, scope, Change::Is(target.clone(), object(3)));
            view.apply_object(&target.kind, scope, Change::Listed);
            view.apply_pod(scope, Change::Listing);
            view.apply_pod(scope, Change::Listed);
        };
        list(&mut view, 0);
        assert!(view.knows(&targets[0]) && !view.knows(&targets[1]), "only one was listed yet");
        list(&mut view, 1);
        list(&mut view, 0);
        assert!(targets.iter().all(|target| view.fleet(target, AT).is_some()));
    }

    #[test]
    fn ready_starting_and_leaving_pods_are_told_apart() {
        let leaving = Pod { leaving: true, ..pod(0, Some(1_000)) };
        let mut foreign = pod(0, Some(1_000));
        foreign.labels.insert("app".into(), "other".into());
        let mut view = listed(&[("a", pod(0, Some(5_000))), ("b", pod(980_000, None)), ("c", leaving), ("d", foreign)]);
        let fleet = view.fleet(&shop(), AT).unwrap();
        assert_eq!((fleet.ready, fleet.starting), (Replicas(1), Replicas(1)));
        assert_eq!(fleet.stuck, Replicas(0));
        assert_eq!(view.fleet(&shop(), Timestamp(980_000 + 300_000)).unwrap().stuck, Replicas(1));
        assert_eq!(fleet.startup, Some(Seconds::whole(5)));
    }

    #[test]
    fn the_start_up_time_is_learned_from_pods_that_become_ready() {
        let mut view = listed(&[("a", pod(0, Some(2_000)))]);
        for (i, took) in [(1, 8_000), (2, 9_000), (3, 10_000)] {
            let pod_name = name(&format!("n{i}"));
            view.apply_pod(&None, Change::Is(pod_name.clone(), pod(i * 1_000, None)));
            view.apply_pod(&None, Change::Is(pod_name, pod(i * 1_000, Some(i * 1_000 + took))));
        }
        assert_eq!(view.fleet(&shop(), AT).unwrap().startup, Some(Seconds::whole(10)));
    }

    #[test]
    fn a_readiness_that_flaps_is_no_start_up() {
        let mut view = listed(&[("a", pod(0, Some(2_000)))]);
        view.fleet(&shop(), AT);
        let lost = Pod { was_ready: true, ..pod(0, None) };
        view.apply_pod(&None, Change::Is(name("a"), lost));
        let fleet = view.fleet(&shop(), AT).unwrap();
        assert_eq!((fleet.ready, fleet.starting, fleet.stuck), (Replicas(0), Replicas(0), Replicas(0)));
        view.apply_pod(&None, Change::Is(name("a"), pod(0, Some(100_000))));
        assert_eq!(view.fleet(&shop(), AT).unwrap().startup, Some(Seconds::whole(2)));
    }

    #[test]
    fn what_a_new_listing_does_not_name_is_gone() {
        let mut view = listed(&[("a", pod(0, Some(1))), ("b", pod(0, Some(1)))]);
        assert_eq!(view.fleet(&shop(), AT).unwrap().ready, Replicas(2));
        view.apply_pod(&None, Change::Listing);
        view.apply_pod(&None, Change::Is(name("b"), pod(0, Some(1))));
        assert_eq!(view.fleet(&shop(), AT).unwrap().ready, Replicas(2), "not before the listing ends");
        view.apply_pod(&None, Change::Listed);
        assert_eq!(view.fleet(&shop(), AT).unwrap().ready, Replicas(1));
    }
}

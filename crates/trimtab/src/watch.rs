//! The watches: what the API server tells, as it tells it.
//!
//! Watches only, no polling: a listing once, then changes, with the library's jittered back-off after an error. Where the API server was
//! away, that ends when the agent's Lease is renewed, so that who may write again soon sees what is; the tests in each write guard the rest. Objects are decoded into slim types and turned at once into what [`crate::view`] keeps; a full pod would take twenty times the memory.
//! Kinds outside `apps` are read through their `scale` subresource, after each change of their spec. A watch ends with the
//! process: what it still says then, nobody reads.

use crate::act::FIELD_MANAGER;
use crate::config::{Kind, Target};
use crate::inbox::{Event, Inbox};
use crate::owner::Member;
use crate::view::{Change, Pod, Scalable, Scope, Shown};
use crate::words::{self, NOT_ALLOWED};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use kube::api::{Api, ApiResource, DynamicObject, Object};
use kube::core::Selector;
use kube::error::DiscoveryError;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch as channel;
use tokio::time::Instant;
use trimtab_claim::claim::Label;
use trimtab_claim::{AgentId, epoch};
use trimtab_core::unit::Seconds;
use trimtab_core::unit::Timestamp;

/// The label of a `ConfigMap` that holds policies.
pub const POLICY_LABEL: &str = "trimtab.dev/policy";
/// The label by which the owner of a workload lets trimtab write to it.
pub const MODE_LABEL: &str = "trimtab.dev/mode";
/// The agents' own Service.
const SERVICE: &str = "trimtab";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimSpec {
    #[serde(default, deserialize_with = "where_it_fits")]
    replicas: Option<u32>,
    #[serde(default, deserialize_with = "where_it_fits")]
    selector: Option<LabelSelector>,
}

/// What other kinds have in a field of that name is their own, and no reason not to read the rest.
fn where_it_fits<'de, D: serde::Deserializer<'de>, T: serde::de::DeserializeOwned>(
    field: D,
) -> Result<Option<T>, D::Error> {
    let value = serde_json::Value::deserialize(field)?;
    Ok(serde_json::from_value(value).ok())
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimStatus {
    /// Left out where it is 0.
    #[serde(default, deserialize_with = "where_it_fits")]
    replicas: Option<u32>,
    /// Left out where it is 0.
    #[serde(default, deserialize_with = "where_it_fits")]
    updated_replicas: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimPodSpec {
    node_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimPodStatus {
    phase: Option<String>,
    start_time: Option<Time>,
    #[serde(default)]
    conditions: Vec<SlimCondition>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    last_transition_time: Option<Time>,
}

/// Why a target's kind cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// The API server does not know it.
    #[error("the API server knows no kind `{0}`: is its CRD installed, and is the group right (resource.group)?")]
    Unknown(Kind),
    /// The API server did not say.
    #[error("failed to look up kind `{kind}`")]
    Discovery {
        /// Which.
        kind: Kind,
        /// What it said.
        #[source]
        source: kube::Error,
    },
}

/// How the API server calls `kind`.
pub async fn resolve(client: &Client, kind: &Kind) -> Result<ApiResource, KindError> {
    let group = kind.group.as_deref().unwrap_or_default();
    if group == "apps" {
        let known = [("deployments", "Deployment"), ("statefulsets", "StatefulSet"), ("replicasets", "ReplicaSet")];
        if let Some((plural, name)) = known.into_iter().find(|(plural, _)| *plural == kind.resource) {
            return Ok(ApiResource {
                group: "apps".into(),
                version: "v1".into(),
                api_version: "apps/v1".into(),
                kind: name.into(),
                plural: plural.into(),
            });
        }
    }
    let found = match kube::discovery::group(client, group).await {
        Ok(found) => found,
        Err(kube::Error::Discovery(DiscoveryError::MissingApiGroup(_))) => {
            return Err(KindError::Unknown(kind.clone()));
        }
        Err(source) => return Err(KindError::Discovery { kind: kind.clone(), source }),
    };
    found
        .recommended_resources()
        .into_iter()
        .map(|(resource, _)| resource)
        .find(|resource| resource.plural == kind.resource || resource.kind.to_lowercase() == kind.resource)
        .ok_or_else(|| KindError::Unknown(kind.clone()))
}

/// What a watch on objects is about.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The kind, as policies name it.
    pub kind: Kind,
    /// How the API server calls it.
    pub resource: ApiResource,
    /// Where.
    pub scope: Scope,
}

/// Watches objects of one kind for as long as the task lives; `targets` are those whose size matters.
#[must_use]
pub fn objects(
    client: Client,
    watched: Watched,
    mut targets: channel::Receiver<Arc<BTreeSet<Target>>>,
    inbox: Inbox,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let Watched { kind, resource, scope } = watched;
        let what = called(&resource.plural, scope.as_deref());
        let api = api_of(client.clone(), scope.as_deref(), &resource);
        let mut watch = Watch::start(api, watcher::Config::default(), what, inbox.clone());
        let mut scales = Scales::new(client, kind.clone(), resource, inbox.clone());
        scales.wanted = Arc::clone(&targets.borrow_and_update());
        loop {
            let changes = tokio::select! {
                event = watch.next() => match event {
                    watcher::Event::Init => {
                        scales.listing += 1;
                        scales.named.clear();
                        vec![Change::Listing]
                    }
                    watcher::Event::InitDone => {
                        scales.forget_others().await;
                        vec![Change::Listed]
                    }
                    watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                        scales.is(object).await.into_iter().collect()
                    }
                    watcher::Event::Delete(object) => vec![scales.gone(&object).await],
                },
                Ok(()) = targets.changed() => {
                    scales.wanted = Arc::clone(&targets.borrow_and_update());
                    scales.again().await
                }
                () = scales.due() => scales.again().await,
            };
            for change in changes {
                inbox.send(Event::Object { kind: kind.clone(), scope: scope.clone(), change }).await;
            }
        }
    })
}

/// Watches pods in one namespace, or in all, for as long as the process lives.
#[must_use]
pub fn pods(client: Client, namespace: Option<String>, inbox: Inbox) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let what = called("pods", namespace.as_deref());
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
        let api = api_of(client, namespace.as_deref(), &resource);
        let mut watch = Watch::start(api, watcher::Config::default(), what, inbox.clone());
        loop {
            let name = |pod: &Object<SlimPodSpec, SlimPodStatus>| (pod.namespace().unwrap_or_default(), pod.name_any());
            let change = match watch.next().await {
                watcher::Event::Init => Change::Listing,
                watcher::Event::InitDone => Change::Listed,
                watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => Change::Is(name(&pod), slim_pod(pod)),
                watcher::Event::Delete(pod) => Change::Gone(name(&pod)),
            };
            inbox.send(Event::Pod { scope: namespace.clone(), change }).await;
        }
    })
}

/// Watches the `ConfigMap`s that hold policies, in one namespace or in all, for as long as the process lives.
#[must_use]
pub fn policies(client: Client, namespace: Option<String>, inbox: Inbox) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let what = called(&maps(), namespace.as_deref());
        let api: Api<ConfigMap> = match &namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let mut watch = Watch::start(api, watcher::Config::default().labels(POLICY_LABEL), what, inbox.clone());
        loop {
            let name = |map: &ConfigMap| (map.namespace().unwrap_or_default(), map.name_any());
            let change = match watch.next().await {
                watcher::Event::Init => Change::Listing,
                watcher::Event::InitDone => Change::Listed,
                watcher::Event::Apply(map) | watcher::Event::InitApply(map) => {
                    Change::Is(name(&map), map.data.unwrap_or_default())
                }
                watcher::Event::Delete(map) => Change::Gone(name(&map)),
            };
            inbox.send(Event::PolicyMap { scope: namespace.clone(), change }).await;
        }
    })
}

/// Watches who the agents are, as their own Service lists them, for as long as the process lives.
#[must_use]
pub fn members(client: Client, namespace: String, inbox: Inbox) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let what = format!("endpointslices in namespace {namespace}");
        let config = watcher::Config::default().labels(&format!("kubernetes.io/service-name={SERVICE}"));
        let api: Api<EndpointSlice> = Api::namespaced(client, &namespace);
        let mut watch = Watch::start(api, config, what, inbox.clone());
        loop {
            let change = match watch.next().await {
                watcher::Event::Init => Change::Listing,
                watcher::Event::InitDone => Change::Listed,
                watcher::Event::Apply(slice) | watcher::Event::InitApply(slice) => {
                    Change::Is(slice.name_any(), agents(&slice))
                }
                watcher::Event::Delete(slice) => Change::Gone(slice.name_any()),
            };
            inbox.send(Event::Members(change)).await;
        }
    })
}

/// What the `ConfigMap`s that hold policies are called in messages.
pub(crate) fn maps() -> String {
    format!("configmaps labelled {POLICY_LABEL}")
}

/// The agents that a slice lists as ready. A pod that ends is not among them.
fn agents(slice: &EndpointSlice) -> Vec<Member> {
    let ready = slice.endpoints.iter().filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.is_none_or(|conditions| conditions.ready != Some(false) && conditions.terminating != Some(true))
    });
    ready
        .filter_map(|endpoint| {
            let pod = endpoint.target_ref.as_ref()?;
            let agent = AgentId::of_pod(pod.uid.as_deref()?)?;
            Some(Member { agent, pod: pod.name.clone().unwrap_or_default(), node: endpoint.node_name.clone() })
        })
        .collect()
}

pub(crate) fn api_of<P: Clone, U: Clone>(
    client: Client,
    namespace: Option<&str>,
    resource: &ApiResource,
) -> Api<Object<P, U>> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, resource),
        None => Api::all_with(client, resource),
    }
}

/// A watch of which only what happened is seen. Its errors are told as trouble, and tried again with back-off, until it
/// works again.
pub(crate) struct Watch<K> {
    stream: BoxStream<'static, watcher::Result<watcher::Event<K>>>,
    backoff: DefaultBackoff,
    pause: Option<Pause>,
    /// What came and was not taken yet.
    held: Option<watcher::Event<K>>,
    what: String,
    inbox: Inbox,
    /// What is wrong with it, and whether that, or that nothing is any more, was told.
    problem: Option<String>,
    told: bool,
}

/// Until when it is not tried again, and whether a renewed Lease ends that: the API server was away, and did not refuse.
struct Pause {
    until: Instant,
    was_away: bool,
}

/// A watch that gave no error for so long works, though nothing happened: a connection that cannot be made fails within 30 s.
const WORKS_AGAIN: Duration = Duration::from_secs(90);

impl<K> Watch<K>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    pub(crate) fn start(api: Api<K>, config: watcher::Config, what: String, inbox: Inbox) -> Self {
        let stream = watcher(api, config.any_semantic()).boxed();
        let backoff = DefaultBackoff::default();
        Self { stream, backoff, pause: None, held: None, what, inbox, problem: None, told: true }
    }

    /// What happens next. Whoever stops waiting for it loses nothing: what came, what is to be told and how long is to be waited stay.
    pub(crate) async fn next(&mut self) -> watcher::Event<K> {
        loop {
            self.tell().await;
            if let Some(event) = self.held.take() {
                return event;
            }
            self.rest().await;
            let patience = if self.problem.is_some() { WORKS_AGAIN } else { Duration::MAX };
            match tokio::time::timeout(patience, self.stream.next()).await {
                Ok(Some(Ok(event))) => {
                    // A listing begins before anybody knows whether it is allowed.
                    if !matches!(event, watcher::Event::Init) {
                        self.backoff.reset();
                        self.works();
                    }
                    self.held = Some(event);
                }
                Ok(Some(Err(error))) => self.breaks(&error),
                Err(_) => self.works(),
                Ok(None) => std::future::pending().await,
            }
        }
    }

    async fn tell(&mut self) {
        if !self.told {
            let (what, problem) = (self.what.clone(), self.problem.clone());
            self.inbox.send(Event::Trouble { what, problem }).await;
            self.told = true;
        }
    }

    async fn rest(&mut self) {
        let Some(Pause { until, was_away }) = self.pause else { return };
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = self.inbox.renewed(), if was_away => {}
        }
        self.pause = None;
    }

    fn works(&mut self) {
        self.told &= self.problem.take().is_none();
    }

    fn breaks(&mut self, error: &watcher::Error) {
        let wait = self.backoff.next().expect("it goes on for ever");
        self.pause = Some(Pause { until: Instant::now() + wait, was_away: was_away(error) });
        let what = &self.what;
        let problem = match error {
            // The API server forgot where we were, as it may: everything is listed anew.
            watcher::Error::WatchError(status) if status.code == 410 => return,
            watcher::Error::InitialListFailed(source)
            | watcher::Error::WatchStartFailed(source)
            | watcher::Error::WatchFailed(source) => explain_refusal(what, source),
            watcher::Error::WatchError(status) => format!("watch of {what} broke: {}", status.message),
            watcher::Error::NoResourceVersion => format!("watch of {what} broke: no resourceVersion in the answer"),
        };
        (self.problem, self.told) = (Some(problem), false);
    }
}

/// Whether there was no answer, or none but that the API server cannot: who is refused, or asked to wait, is not let in by trying sooner.
fn was_away(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code >= 500,
        _ => true,
    }
}

/// Sizes of objects that only their `scale` subresource tells: it is read for targets alone, when their spec has changed, and
/// again, ever less often, where that fails. Until then what it said before is what is known.
struct Scales {
    client: Client,
    kind: Kind,
    resource: ApiResource,
    inbox: Inbox,
    wanted: Arc<BTreeSet<Target>>,
    /// How often the watch began to list.
    listing: u64,
    /// What was named since the last listing began.
    named: BTreeSet<Target>,
    known: BTreeMap<Target, Scalable>,
    /// Those whose scale is not read: nobody wants it, or it could not be.
    unread: BTreeMap<Target, Scaled>,
    /// Those of them that are in trouble.
    failed: BTreeSet<Target>,
    wait: Duration,
    due: Instant,
}

type Scaled = Object<SlimSpec, SlimStatus>;

/// A scale that could not be read is read again after so long; after twice as long when that fails too.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// At most after so long.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

impl Scales {
    fn new(client: Client, kind: Kind, resource: ApiResource, inbox: Inbox) -> Self {
        Self {
            client,
            kind,
            resource,
            inbox,
            wanted: Arc::default(),
            listing: 0,
            named: BTreeSet::new(),
            known: BTreeMap::new(),
            unread: BTreeMap::new(),
            failed: BTreeSet::new(),
            wait: FIRST_WAIT,
            due: Instant::now(),
        }
    }

    async fn is(&mut self, object: Scaled) -> Option<Change<Target, Scalable>> {
        let target = target(&self.kind, &object.metadata);
        self.named.insert(target.clone());
        let size = match (object.spec.replicas, &object.spec.selector) {
            (Some(replicas), Some(selector)) if self.resource.group == "apps" => {
                Selector::try_from(selector.clone()).map(|selector| (replicas, selector)).map_err(|e| e.to_string())
            }
            _ if !self.wanted.contains(&target) => {
                self.unread.insert(target, object);
                return None;
            }
            _ => self.size(&target, &object).await,
        };
        match size {
            Ok((replicas, selector)) => {
                self.unread.remove(&target);
                self.end_trouble(&target).await;
                let scalable = self.scalable(&object, replicas, selector);
                if self.resource.group != "apps" {
                    self.known.insert(target.clone(), scalable.clone());
                }
                Some(Change::Is(target, scalable))
            }
            Err(problem) => {
                self.inbox.send(Event::Trouble { what: target.to_string(), problem: Some(problem) }).await;
                if self.failed.is_empty() {
                    self.wait = FIRST_WAIT;
                    self.due = Instant::now() + self.wait;
                }
                self.failed.insert(target.clone());
                self.unread.insert(target.clone(), object);
                // Its generation is the one that it was read at: a decision on it is refused, should it have changed.
                self.known.get(&target).cloned().map(|known| Change::Is(target, known))
            }
        }
    }

    fn scalable(&self, object: &Scaled, replicas: u32, selector: Selector) -> Scalable {
        let metadata = &object.metadata;
        let counts_updated = self.resource.group == "apps" && self.resource.plural != "replicasets";
        let rolling_out =
            |status: &SlimStatus| counts_updated && status.updated_replicas.unwrap_or(0) < status.replicas.unwrap_or(0);
        Scalable {
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            replicas,
            selector,
            mode_label: object.labels().get(MODE_LABEL).cloned(),
            shown: Shown {
                version: metadata.resource_version.clone().unwrap_or_default(),
                label: Label::read(object.labels().get(epoch::LABEL).map(String::as_str)),
                listing: self.listing,
            },
            rolling_out: object.status.as_ref().is_some_and(rolling_out),
            manager: sizer(metadata),
        }
    }

    async fn gone(&mut self, object: &Scaled) -> Change<Target, Scalable> {
        let target = target(&self.kind, &object.metadata);
        self.known.remove(&target);
        self.unread.remove(&target);
        self.end_trouble(&target).await;
        Change::Gone(target)
    }

    /// Resolves when scales that could not be read are to be read again.
    async fn due(&self) {
        if self.failed.is_empty() { std::future::pending().await } else { tokio::time::sleep_until(self.due).await }
    }

    /// Reads what is wanted and was not read.
    async fn again(&mut self) -> Vec<Change<Target, Scalable>> {
        let mut changes = Vec::new();
        let wanted = Arc::clone(&self.wanted);
        for object in self
            .unread
            .iter()
            .filter(|(target, _)| wanted.contains(*target))
            .map(|(_, object)| object.clone())
            .collect::<Vec<_>>()
        {
            changes.extend(self.is(object).await);
        }
        for target in self.failed.iter().filter(|target| !wanted.contains(*target)).cloned().collect::<Vec<_>>() {
            self.end_trouble(&target).await;
        }
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        self.due = Instant::now() + self.wait;
        changes
    }

    /// A listing has ended: what it did not name is gone.
    async fn forget_others(&mut self) {
        self.known.retain(|target, _| self.named.contains(target));
        self.unread.retain(|target, _| self.named.contains(target));
        for target in self.failed.difference(&self.named).cloned().collect::<Vec<_>>() {
            self.end_trouble(&target).await;
        }
    }

    async fn size(&mut self, target: &Target, object: &Scaled) -> Result<(u32, Selector), String> {
        let (uid, generation) = (object.uid().unwrap_or_default(), object.metadata.generation.unwrap_or_default());
        if let Some(known) = self.known.get(target).filter(|known| (&known.uid, known.generation) == (&uid, generation))
        {
            return Ok((known.replicas, known.selector.clone()));
        }
        read_scale(&self.client, &self.resource, target).await
    }

    async fn end_trouble(&mut self, target: &Target) {
        if self.failed.remove(target) {
            self.inbox.send(Event::Trouble { what: target.to_string(), problem: None }).await;
        }
    }
}

/// What a watch is called in messages.
pub(crate) fn called(plural: &str, namespace: Option<&str>) -> String {
    format!("{plural} in {}", place(namespace))
}

pub(crate) fn place(namespace: Option<&str>) -> String {
    namespace.map_or_else(|| "all namespaces".to_owned(), |namespace| format!("namespace {namespace}"))
}

/// What the API server refused to show, and the cure, in one sentence.
#[must_use]
pub fn explain_refusal(what: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!(
                "{NOT_ALLOWED}list and watch {what}: grant these verbs to trimtab's service account ({})",
                status.message
            )
        }
        other => format!("cannot read {what}: {}", words::api(other)),
    }
}

/// Who set `spec.replicas` last. Whoever changes it takes it from all others; those who set the same later have it beside.
fn sizer(metadata: &ObjectMeta) -> Option<String> {
    let entries = metadata.managed_fields.iter().flatten();
    let sets = entries.filter(|entry| {
        let fields = entry.fields_v1.as_ref();
        fields.is_some_and(|fields| fields.0.pointer("/f:spec/f:replicas").is_some())
    });
    // Times are of whole seconds: of two in the same one, it was not us whom somebody asks about.
    sets.max_by_key(|entry| (entry.time.clone(), entry.manager.as_deref() != Some(FIELD_MANAGER)))?.manager.clone()
}

fn target(kind: &Kind, metadata: &ObjectMeta) -> Target {
    Target {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        kind: kind.clone(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

/// Replicas and selector as the `scale` subresource gives them.
async fn read_scale(client: &Client, resource: &ApiResource, target: &Target) -> Result<(u32, Selector), String> {
    let Target { namespace, name, .. } = target;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, resource);
    let scale = api.get_scale(name).await.map_err(|error| match &error {
        kube::Error::Api(status) if status.code == 404 => {
            format!(
                "{} {namespace}/{name} has no scale subresource: only what kubectl scale can scale can be a target",
                resource.kind
            )
        }
        other => explain_refusal(&format!("the scale of {} {namespace}/{name}", resource.kind), other),
    })?;
    let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or_default();
    let labels = scale.status.and_then(|status| status.selector).unwrap_or_default();
    // The scale subresource serialises its selector; equality pairs are all that a pod template can promise.
    let pairs: BTreeMap<String, String> = labels
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect();
    if pairs.is_empty() {
        return Err(format!(
            "the scale of {} {namespace}/{name} names no selector of its pods (`{labels}`)",
            resource.kind
        ));
    }
    Ok((u32::try_from(replicas).unwrap_or_default(), pairs.into_iter().collect()))
}

/// A pod that loses its readiness sooner after the kubelet took it is held for one that never had it. Conditions have seconds.
const READY_AT_ONCE: Seconds = Seconds::whole(2);

fn slim_pod(pod: Object<SlimPodSpec, SlimPodStatus>) -> Pod {
    let status = pod.status.unwrap_or_default();
    let millis = |time: &Time| Timestamp(time.0.as_millisecond());
    let created = pod.metadata.creation_timestamp.as_ref().map(millis).unwrap_or_default();
    let condition = status.conditions.iter().find(|condition| condition.kind == "Ready");
    let turned = condition.and_then(|condition| condition.last_transition_time.as_ref()).map(millis);
    let ready = condition.filter(|condition| condition.status == "True").map(|_| turned.unwrap_or(created));
    // The kubelet writes Ready=False when it takes the pod, and again only when readiness is lost.
    let taken = status.start_time.as_ref().map_or(created, millis);
    let lost = turned.is_some_and(|turned| turned.since(taken) > READY_AT_ONCE);
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    Pod {
        labels: pod.metadata.labels.unwrap_or_default(),
        created,
        ready,
        was_ready: ready.is_some() || lost,
        leaving: pod.metadata.deletion_timestamp.is_some() || ended,
        node: pod.spec.node_name.map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use serde_json::json;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn kind() -> Kind {
        Kind { resource: "rollouts".into(), group: Some("argoproj.io".into()) }
    }

    fn resource() -> ApiResource {
        ApiResource {
            group: "argoproj.io".into(),
            version: "v1alpha1".into(),
            api_version: "argoproj.io/v1alpha1".into(),
            kind: "Rollout".into(),
            plural: "rollouts".into(),
        }
    }

    fn rollout(generation: i64, resource_version: &str) -> serde_json::Value {
        json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {
                "namespace": "shop", "name": "web", "uid": "u",
                "generation": generation, "resourceVersion": resource_version,
            },
            "spec": { "replicas": 4 }, "status": { "replicas": 4 },
        })
    }

    fn event(generation: i64, resource_version: &str) -> String {
        format!("{}\n", json!({ "type": "MODIFIED", "object": rollout(generation, resource_version) }))
    }

    /// An API server with one Rollout, whose status changes once and whose spec changes once. Its scale cannot be read at first.
    fn api_server(scales: &Arc<AtomicUsize>) -> Client {
        let (scales, watches) = (Arc::clone(scales), Arc::new(AtomicUsize::new(0)));
        let answer = move |request: http::Request<Body>| {
            let uri = request.uri().to_string();
            let (scales, watches) = (Arc::clone(&scales), Arc::clone(&watches));
            async move {
                let list = json!({
                    "apiVersion": "argoproj.io/v1alpha1", "kind": "RolloutList",
                    "metadata": { "resourceVersion": "1" }, "items": [rollout(1, "1")],
                });
                let (status, body) = if uri.contains("/scale") {
                    let read = scales.fetch_add(1, Ordering::SeqCst);
                    let failure = json!({ "kind": "Status", "status": "Failure", "message": "etcd", "code": 500 });
                    let scale = json!({
                        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": { "name": "web" },
                        "spec": { "replicas": 4 }, "status": { "replicas": 4, "selector": "app=web" },
                    });
                    if read < 2 { (500, failure.to_string()) } else { (200, scale.to_string()) }
                } else if !uri.contains("watch=true") {
                    (200, list.to_string())
                } else if watches.fetch_add(1, Ordering::SeqCst) == 0 {
                    // Long after the scale could be read.
                    tokio::time::sleep(Duration::from_mins(1)).await;
                    (200, event(1, "2") + &event(2, "3"))
                } else {
                    std::future::pending().await
                };
                let response = http::Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap();
                Ok::<_, std::convert::Infallible>(response)
            }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test(start_paused = true)]
    async fn a_scale_that_could_not_be_read_is_read_again_and_then_only_when_the_spec_changed() {
        let scales = Arc::new(AtomicUsize::new(0));
        let (inbox, mut events) = Inbox::new();
        let target = Target { namespace: "shop".into(), kind: kind(), name: "web".into() };
        let targets = channel::Sender::new(Arc::new(BTreeSet::from([target])));
        let watched = Watched { kind: kind(), resource: resource(), scope: None };
        let watching = tokio::spawn(objects(api_server(&scales), watched, targets.subscribe(), inbox));
        let mut seen = Vec::new();
        while seen.last().is_none_or(|what| what != "is 2") {
            seen.push(match events.recv().await.unwrap() {
                Event::Trouble { what, problem } => format!("{what} is in trouble: {}", problem.is_some()),
                Event::Object { change: Change::Is(_, object), .. } => {
                    assert_eq!((object.replicas, object.rolling_out), (4, false));
                    format!("is {}", object.generation)
                }
                Event::Object { change, .. } => format!("{change:?}"),
                other => panic!("{other:?}"),
            });
        }
        watching.abort();
        let (trouble, over) =
            ("shop/rollouts.argoproj.io/web is in trouble: true", "shop/rollouts.argoproj.io/web is in trouble: false");
        assert_eq!(seen, ["Listing", trouble, "Listed", trouble, over, "is 1", "is 1", "is 2"]);
        assert_eq!(scales.load(Ordering::SeqCst), 4, "two failed; one for each spec, none for the status");
    }

    /// A watch on an API server that answers with this status alone, and how often it was asked.
    fn refused(code: u16) -> (Watch<DynamicObject>, Inbox, Arc<AtomicUsize>) {
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&tries);
        let refuses = move |_: http::Request<Body>| {
            counted.fetch_add(1, Ordering::SeqCst);
            let status = json!({ "kind": "Status", "status": "Failure", "message": "no", "reason": "", "code": code });
            let body = Body::from(status.to_string().into_bytes());
            async move { Ok::<_, std::convert::Infallible>(http::Response::builder().status(code).body(body).unwrap()) }
        };
        let (inbox, mut events) = Inbox::new();
        tokio::spawn(async move { while events.recv().await.is_some() {} });
        let api = Api::all_with(Client::new(tower::service_fn(refuses), "default"), &resource());
        (Watch::start(api, watcher::Config::default(), "rollouts".into(), inbox.clone()), inbox, tries)
    }

    /// How often it is asked within so long by somebody who turns to something else ten times a second.
    async fn tried(watch: &mut Watch<DynamicObject>, tries: &AtomicUsize, span: Duration) -> usize {
        let (before, end) = (tries.load(Ordering::SeqCst), Instant::now() + span);
        while Instant::now() < end {
            drop(tokio::time::timeout(Duration::from_millis(100), watch.next()).await);
        }
        tries.load(Ordering::SeqCst) - before
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_waits_to_try_again_does_so_when_the_lease_is_renewed() {
        for (code, sooner) in [(503, true), (403, false), (429, false)] {
            let (mut watch, inbox, tries) = refused(code);
            let within = tried(&mut watch, &tries, Duration::from_mins(5)).await;
            assert!((6..=20).contains(&within), "{code}: backs off, whoever turns away meanwhile: {within} times");
            let (mut waited, mut renewed) = (0, 0);
            for _ in 0..10 {
                waited += usize::from(tried(&mut watch, &tries, Duration::from_secs(1)).await == 0);
                let renews = tokio::spawn({
                    let inbox = inbox.clone();
                    async move {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        inbox.renew();
                    }
                });
                renewed += usize::from(tried(&mut watch, &tries, Duration::from_secs(1)).await > 0);
                renews.await.unwrap();
            }
            assert!(waited > 5, "{code}: it waits: {waited} of 10");
            assert!(if sooner { renewed == 10 } else { renewed < 5 }, "{code}: tried after {renewed} renewals of 10");
        }
    }

    #[test]
    fn an_object_of_another_shape_is_read_all_the_same() {
        let spec = json!({"replicas": "many", "selector": "app=web"});
        let spec: SlimSpec = serde_json::from_value(spec).unwrap();
        assert!(spec.replicas.is_none() && spec.selector.is_none());
        let spec: SlimSpec =
            serde_json::from_value(json!({"replicas": 4, "selector": {"matchLabels": {"app": "web"}}})).unwrap();
        assert!(spec.replicas == Some(4) && spec.selector.is_some());
    }

    #[tokio::test]
    async fn a_rollout_lasts_until_all_replicas_are_updated() {
        let (inbox, _events) = Inbox::new();
        let client = api_server(&Arc::default());
        let rolling_out = |plural: &str, updated: u32| {
            let resource = ApiResource { group: "apps".into(), plural: plural.into(), ..resource() };
            let status = SlimStatus { replicas: Some(4), updated_replicas: Some(updated) };
            let object = Object { status: Some(status), ..Object::new("web", &resource, SlimSpec::default()) };
            let scales = Scales::new(client.clone(), kind(), resource, inbox.clone());
            scales.scalable(&object, 4, Selector::default()).rolling_out
        };
        for plural in ["deployments", "statefulsets"] {
            assert!(rolling_out(plural, 0) && rolling_out(plural, 3) && !rolling_out(plural, 4), "{plural}");
        }
        assert!(!rolling_out("replicasets", 0), "they never count");
    }
}

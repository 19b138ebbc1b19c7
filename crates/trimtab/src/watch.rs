//! The watches: what the API server tells, as it tells it.
//!
//! Watches only, no polling: a listing once, then changes, with the library's jittered back-off after an error. Objects
//! are decoded into slim types and turned at once into what [`crate::view`] keeps; a full pod would take twenty times the memory.
//! Kinds outside `apps` are read through their `scale` subresource, after each change of their spec.

use crate::config::{Kind, Target};
use crate::inbox::{Event, Inbox};
use crate::view::{Change, Pod, Scalable};
use crate::words;
use futures::StreamExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use kube::api::{Api, ApiResource, DynamicObject, Object};
use kube::core::{NotUsed, Selector};
use kube::error::DiscoveryError;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use std::collections::BTreeMap;
use trimtab_core::unit::Seconds;
use trimtab_core::unit::Timestamp;

/// The label of a `ConfigMap` that holds policies.
pub const POLICY_LABEL: &str = "trimtab.dev/policy";
/// The label by which the owner of a workload lets trimtab write to it.
pub const MODE_LABEL: &str = "trimtab.dev/mode";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimSpec {
    replicas: Option<u32>,
    selector: Option<LabelSelector>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimStatus {
    replicas: Option<u32>,
    updated_replicas: Option<u32>,
    current_revision: Option<String>,
    update_revision: Option<String>,
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

/// Watches objects of one kind in one namespace, or in all, until the inbox closes.
#[must_use]
pub fn objects(
    client: Client,
    kind: Kind,
    resource: ApiResource,
    namespace: Option<String>,
    inbox: Inbox,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let what = format!("{} in {}", resource.plural, scope(namespace.as_deref()));
        let api: Api<Object<SlimSpec, SlimStatus>> = match &namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let mut stream = watcher(api, watch_config()).default_backoff().boxed();
        while let Some(item) = stream.next().await {
            let change = match item {
                Ok(watcher::Event::Init) => Change::Listing,
                Ok(watcher::Event::InitDone) => Change::Listed,
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                    match scalable(&client, &resource, &object).await {
                        Ok(scalable) => Change::Is(target(&kind, &object.metadata), scalable),
                        Err(problem) => {
                            inbox
                                .send(Event::Trouble {
                                    what: format!("{} {}", kind.resource, object.name_any()),
                                    problem: Some(problem),
                                })
                                .await;
                            continue;
                        }
                    }
                }
                Ok(watcher::Event::Delete(object)) => Change::Gone(target(&kind, &object.metadata)),
                Err(error) => {
                    inbox.send(trouble(&what, &error)).await;
                    continue;
                }
            };
            report_listed(&inbox, &what, &change).await;
            inbox.send(Event::Object { kind: kind.clone(), change }).await;
        }
    })
}

/// Watches pods in one namespace, or in all, until the inbox closes.
#[must_use]
pub fn pods(client: Client, namespace: Option<String>, inbox: Inbox) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let what = format!("pods in {}", scope(namespace.as_deref()));
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
        let api: Api<Object<NotUsed, SlimPodStatus>> = match &namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let mut stream = watcher(api, watch_config()).default_backoff().boxed();
        while let Some(item) = stream.next().await {
            let change = match item {
                Ok(watcher::Event::Init) => Change::Listing,
                Ok(watcher::Event::InitDone) => Change::Listed,
                Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => {
                    Change::Is((pod.namespace().unwrap_or_default(), pod.name_any()), slim_pod(pod))
                }
                Ok(watcher::Event::Delete(pod)) => Change::Gone((pod.namespace().unwrap_or_default(), pod.name_any())),
                Err(error) => {
                    inbox.send(trouble(&what, &error)).await;
                    continue;
                }
            };
            report_listed(&inbox, &what, &change).await;
            inbox.send(Event::Pod { scope: namespace.clone(), change }).await;
        }
    })
}

/// Watches the `ConfigMap`s that hold policies, in one namespace or in all, until the inbox closes.
#[must_use]
pub fn policies(client: Client, namespace: Option<String>, inbox: Inbox) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let what = format!("configmaps labelled {POLICY_LABEL} in {}", scope(namespace.as_deref()));
        let api: Api<ConfigMap> = match &namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let mut stream = watcher(api, watch_config().labels(POLICY_LABEL)).default_backoff().boxed();
        while let Some(item) = stream.next().await {
            let name = |map: &ConfigMap| (map.namespace().unwrap_or_default(), map.name_any());
            let change = match item {
                Ok(watcher::Event::Init) => Change::Listing,
                Ok(watcher::Event::InitDone) => Change::Listed,
                Ok(watcher::Event::Apply(map) | watcher::Event::InitApply(map)) => {
                    Change::Is(name(&map), map.data.unwrap_or_default())
                }
                Ok(watcher::Event::Delete(map)) => Change::Gone(name(&map)),
                Err(error) => {
                    inbox.send(trouble(&what, &error)).await;
                    continue;
                }
            };
            report_listed(&inbox, &what, &change).await;
            inbox.send(Event::PolicyMap { scope: namespace.clone(), change }).await;
        }
    })
}

fn watch_config() -> watcher::Config {
    watcher::Config::default().any_semantic()
}

fn scope(namespace: Option<&str>) -> String {
    namespace.map_or_else(|| "all namespaces".to_owned(), |namespace| format!("namespace {namespace}"))
}

async fn report_listed<K, V>(inbox: &Inbox, what: &str, change: &Change<K, V>) {
    if matches!(change, Change::Listed) {
        inbox.send(Event::Trouble { what: what.to_owned(), problem: None }).await;
    }
}

fn trouble(what: &str, error: &watcher::Error) -> Event {
    let problem = match error {
        watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source) => explain_refusal(what, source),
        watcher::Error::WatchError(status) => format!("watch of {what} broke: {}", status.message),
        watcher::Error::NoResourceVersion => format!("watch of {what} broke: no resourceVersion in the answer"),
    };
    Event::Trouble { what: what.to_owned(), problem: Some(problem) }
}

/// What the API server refused to show, and the cure, in one sentence.
#[must_use]
pub fn explain_refusal(what: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!(
                "not allowed to list and watch {what}: grant these verbs to trimtab's service account ({})",
                status.message
            )
        }
        other => format!("cannot read {what}: {}", words::api(other)),
    }
}

fn target(kind: &Kind, metadata: &ObjectMeta) -> Target {
    Target {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        kind: kind.clone(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

async fn scalable(
    client: &Client,
    resource: &ApiResource,
    object: &Object<SlimSpec, SlimStatus>,
) -> Result<Scalable, String> {
    let status = object.status.clone().unwrap_or_default();
    let (replicas, selector) = match (object.spec.replicas, &object.spec.selector) {
        (Some(replicas), Some(selector)) if resource.group == "apps" => {
            (replicas, Selector::try_from(selector.clone()).map_err(|error| error.to_string())?)
        }
        _ => read_scale(client, resource, object).await?,
    };
    let metadata = &object.metadata;
    Ok(Scalable {
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        replicas,
        selector,
        mode_label: object.labels().get(MODE_LABEL).cloned(),
        rolling_out: rolling_out(&status),
    })
}

/// Replicas and selector as the `scale` subresource gives them.
async fn read_scale(
    client: &Client,
    resource: &ApiResource,
    object: &Object<SlimSpec, SlimStatus>,
) -> Result<(u32, Selector), String> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, resource);
    let scale = api.get_scale(&name).await.map_err(|error| match &error {
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

fn rolling_out(status: &SlimStatus) -> bool {
    let revisions_differ = match (&status.current_revision, &status.update_revision) {
        (Some(current), Some(update)) => current != update,
        _ => false,
    };
    let old_pods_left = match (status.replicas, status.updated_replicas) {
        (Some(all), Some(updated)) => updated < all,
        (Some(all), None) => all > 0 && status.update_revision.is_none() && status.current_revision.is_none(),
        _ => false,
    };
    revisions_differ || old_pods_left
}

/// A pod that loses its readiness sooner after the kubelet took it is held for one that never had it. Conditions have seconds.
const READY_AT_ONCE: Seconds = Seconds::whole(2);

fn slim_pod(pod: Object<NotUsed, SlimPodStatus>) -> Pod {
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
    }
}

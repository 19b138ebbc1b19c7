//! `trimtab release`: giving back what trimtab holds, of one workload, or all of it, which is what an uninstall needs.
//!
//! What is held is told by marks on the objects themselves: labels, and annotations that keep what was there before. So no agent need run
//! and no policy be there, and what is opted out already but still carries a mark is found too. Each object is given back by itself: what
//! is refused is said, the others go on, and a second time does what is left. An object that changed since it was read, since an agent was
//! at it, is read again.

use super::{Change, KEPT, PAUSED, Step, apply, has_label, look, maps, missing, note, path, refused, step, text};
use super::{unchanged, unlabelling};
use crate::act;
use crate::autoscalers;
use crate::cli;
use crate::commands::Printed;
use crate::import::{self, Kind};
use crate::watch::{MODE_LABEL, POLICY_LABEL};
use crate::words;
use anyhow::{Context, anyhow};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use trimtab_claim::epoch;
use trimtab_journal::Refusal;

/// How often an object is read again that keeps changing: an agent writes it a few times at the most before it sees that it may not.
const ATTEMPTS: usize = 4;
/// Objects to a page of a listing.
const PAGE: u32 = 500;

/// What an object is to trimtab, in the order in which they are given back: first nobody may write any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    /// Its size is set.
    Workload,
    /// A `ConfigMap` that `trimtab own` made.
    Policy,
    /// It is paused, or its least size is raised.
    Autoscaler,
}

/// An object that trimtab may hold.
#[derive(Clone, Debug)]
pub(super) struct Held {
    thing: Thing,
    resource: ApiResource,
    object: Value,
}

impl Held {
    pub(super) fn new(thing: Thing, resource: &ApiResource, object: &Value) -> Self {
        Self { thing, resource: resource.clone(), object: object.clone() }
    }

    /// `None` of what is no autoscaler, or KEDA's own: that one's labels are copies.
    pub(super) fn autoscaler(object: &Value) -> Option<Self> {
        let source = import::source(object)?;
        Some(Self::new(Thing::Autoscaler, &autoscalers::resource(source.kind), object))
    }

    /// The steps by which it is given back: none where it is not held.
    pub(super) fn steps(&self) -> Vec<Step> {
        match self.thing {
            Thing::Workload => free(&self.resource, &self.object).into_iter().collect(),
            Thing::Policy => discard(&self.object).into_iter().collect(),
            Thing::Autoscaler => resume(&self.object).into_iter().chain(lower(&self.object)).collect(),
        }
    }

    /// Where it is given back among others.
    fn turn(&self) -> (String, Thing, String) {
        let of = |pointer: &str| text(&self.object, pointer).to_owned();
        (of("/metadata/namespace"), self.thing, of("/metadata/name"))
    }

    /// Reads it again; `false` where it is gone.
    async fn read_again(&mut self, client: &Client) -> Result<bool, kube::Error> {
        let (namespace, name) = (text(&self.object, "/metadata/namespace"), text(&self.object, "/metadata/name"));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &self.resource);
        let now = api.get_opt(name).await?;
        let there = now.is_some();
        if let Some(now) = now {
            self.object = import::typed(now, &self.resource);
        }
        Ok(there)
    }
}

// === steps ===

/// Takes the owner's word from a workload, and with it whose it was.
fn free(resource: &ApiResource, workload: &Value) -> Option<Step> {
    (has_label(workload, MODE_LABEL) || has_label(workload, epoch::LABEL)).then_some(())?;
    let (namespace, name) = (text(workload, "/metadata/namespace"), text(workload, "/metadata/name"));
    let kind = match resource.group.as_str() {
        "apps" => resource.kind.to_lowercase(),
        "" => resource.plural.clone(),
        group => format!("{}.{group}", resource.plural),
    };
    let says = format!("trimtab writes nothing to {namespace}/{kind}/{name} any more");
    Some(step(resource, workload, Change::Patch(unlabelling(workload)), says))
}

/// Deletes the policy that `trimtab own` made.
fn discard(map: &Value) -> Option<Step> {
    note(map, KEPT)?;
    let says = format!("policy {} was made by trimtab own", text(map, "/metadata/name"));
    Some(step(&maps(), map, Change::Delete, says))
}

/// Undoes the pause of an autoscaler.
fn resume(autoscaler: &Value) -> Option<Step> {
    let source = import::source(autoscaler)?;
    let kept: Value = serde_json::from_str(note(autoscaler, KEPT)?).unwrap_or_default();
    let mut operations = vec![unchanged(autoscaler)];
    operations.push(json!({"op": "remove", "path": path(&["metadata", "annotations", KEPT])}));
    match source.kind {
        Kind::ScaledObject => {
            let paused = path(&["metadata", "annotations", PAUSED]);
            match kept.get("paused").and_then(Value::as_str) {
                Some(before) => operations.push(json!({"op": "add", "path": paused, "value": before})),
                None if note(autoscaler, PAUSED).is_some() => operations.push(json!({"op": "remove", "path": paused})),
                None => {}
            }
        }
        Kind::Hpa => match kept.get("behavior").filter(|behavior| !behavior.is_null()) {
            Some(before) => operations.push(json!({"op": "add", "path": "/spec/behavior", "value": before})),
            None if autoscaler.pointer("/spec/behavior").is_some() => {
                operations.push(json!({"op": "remove", "path": "/spec/behavior"}));
            }
            None => {}
        },
    }
    let says = format!("{source} is in charge again, as it was");
    Some(step(&autoscalers::resource(source.kind), autoscaler, Change::Patch(operations), says))
}

/// Takes a floor away: the label that asks for it, and what was raised, at once, before an agent does.
fn lower(autoscaler: &Value) -> Option<Step> {
    let source = import::source(autoscaler)?;
    let object = autoscalers::seen(source.kind, autoscaler, 0);
    let resource = autoscalers::resource(source.kind);
    if object.kept.is_none() {
        (has_label(autoscaler, MODE_LABEL) || has_label(autoscaler, epoch::LABEL)).then_some(())?;
        let says = format!("{source} asks for no floor any more");
        return Some(step(&resource, autoscaler, Change::Patch(unlabelling(autoscaler)), says));
    }
    let min = object.floor(source.kind).own();
    let lowered = serde_json::to_value(act::raising(source.kind, &object, (None, min), None));
    let mut operations = lowered.ok().and_then(|all| all.as_array().cloned()).unwrap_or_default();
    let asks = object.mode_label.is_some();
    operations.extend(asks.then(|| json!({"op": "remove", "path": path(&["metadata", "labels", MODE_LABEL])})));
    let said = min.map_or_else(|| "unset".to_owned(), |min| min.to_string());
    let says = format!("{source} asks for no floor any more; its least size is its owner's again: {said}");
    Some(step(&resource, autoscaler, Change::Patch(operations), says))
}

// === the command ===

/// `trimtab release`. Exit code 3 where something was refused, 4 where there is no such workload or namespace.
#[must_use]
pub fn release(command: &cli::Release) -> BoxFuture<'_, anyhow::Result<Printed>> {
    Box::pin(async move {
        let client = import::client(command.context.as_deref()).await?;
        let (what, (held, unseen)) = if let Some(target) = &command.target {
            let Some(scene) = look(&client, target).await? else { return Ok(missing(target)) };
            (target.to_string(), (scene.held(), Vec::new()))
        } else {
            if let Some(unknown) = unknown(&client, &command.namespace).await {
                return Ok(Printed { text: format!("there is no namespace {unknown}\n"), code: 4 });
            }
            let what = match command.namespace.as_slice() {
                [] => "all namespaces".to_owned(),
                some => some.join(", "),
            };
            (what, everything(&client, &command.namespace).await?)
        };
        Ok(give(&client, &what, held, unseen, command.dry_run).await)
    })
}

/// Gives everything back that is held. `unseen` is what could not be looked at, and why.
async fn give(client: &Client, what: &str, held: Vec<Held>, unseen: Vec<String>, dry_run: bool) -> Printed {
    let held: Vec<Held> = held.into_iter().filter(|one| !one.steps().is_empty()).collect();
    let (mut out, mut wrong) = (String::new(), unseen);
    // Writing to a String cannot fail.
    if held.is_empty() && wrong.is_empty() {
        let _ = writeln!(out, "{what}: nothing to do, trimtab holds nothing of it");
    }
    for one in held {
        if dry_run {
            out.extend(one.steps().iter().map(|step| format!("{step}\n")));
            continue;
        }
        let (done, why) = give_back(client, one).await;
        out.extend(done.iter().map(|says| format!("done: {says}\n")));
        wrong.extend(why);
    }
    for why in &wrong {
        let _ = writeln!(out, "refused: {why}");
    }
    if !wrong.is_empty() {
        let rest = if dry_run { "the rest is shown" } else { "the rest is done" };
        let _ = writeln!(out, "{} refused, {rest}: mend that and run it again, it does what is left", wrong.len());
    }
    Printed { text: out, code: if wrong.is_empty() { 0 } else { 3 } }
}

/// Carries the steps of one object out: what was done, and why the rest was not.
async fn give_back(client: &Client, mut held: Held) -> (Vec<String>, Option<String>) {
    let mut done = Vec::new();
    for attempt in 1.. {
        let mut failed = None;
        for step in held.steps() {
            match apply(client, &step).await {
                Ok(()) => done.push(step.says),
                Err(error) => {
                    failed = Some((step, error));
                    break;
                }
            }
        }
        let Some((step, error)) = failed else { break };
        let why = || format!("{}: {}", step.says, refused(&step, &error));
        match act::classify(&error) {
            // Nothing is held of what is not there.
            Some(Refusal::Gone) => break,
            Some(Refusal::Changed) if attempt < ATTEMPTS => match held.read_again(client).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return (done, Some(format!("{}: {}", step.says, words::api(&error)))),
            },
            Some(_) | None => return (done, Some(why())),
        }
    }
    (done, None)
}

// === looking ===

/// A namespace of these that there is not; who may not look is believed.
async fn unknown(client: &Client, namespaces: &[String]) -> Option<String> {
    let api: Api<Namespace> = Api::all(client.clone());
    for name in namespaces {
        if matches!(api.get_opt(name).await, Ok(None)) {
            return Some(name.clone());
        }
    }
    None
}

/// Everything that carries a mark of ours in these namespaces, or in all; and what could not be looked at.
async fn everything(client: &Client, namespaces: &[String]) -> anyhow::Result<(Vec<Held>, Vec<String>)> {
    let (kinds, mut unseen) = scalable(client).await?;
    let scopes: Vec<Option<&str>> = match namespaces {
        [] => vec![None],
        some => some.iter().map(|name| Some(name.as_str())).collect(),
    };
    let mut held = BTreeMap::new();
    for scope in scopes {
        let place = scope.map_or_else(|| "all namespaces".to_owned(), |name| format!("namespace {name}"));
        let mut look = Vec::new();
        for kind in &kinds {
            look.extend([MODE_LABEL, epoch::LABEL].map(|label| (Thing::Workload, kind.clone(), Some(label))));
        }
        look.push((Thing::Policy, maps(), Some(POLICY_LABEL)));
        look.extend([Kind::Hpa, Kind::ScaledObject].map(|kind| (Thing::Autoscaler, autoscalers::resource(kind), None)));
        for (thing, resource, label) in look {
            match list(client, &resource, scope, label).await {
                Ok(objects) => {
                    let found = objects.iter().filter(|object| is_its_own(&resource, object));
                    let found = found.filter_map(|object| match thing {
                        Thing::Autoscaler => Held::autoscaler(object),
                        Thing::Workload | Thing::Policy => Some(Held::new(thing, &resource, object)),
                    });
                    held.extend(found.map(|one| ((one.turn(), one.resource.plural.clone()), one)));
                }
                // Its CRD is not installed.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    let why = words::api(&error);
                    unseen.push(format!("failed to list {} in {place}: {why}", resource.plural));
                }
            }
        }
    }
    // Of a kind that is listed by two labels, the same thing may be said twice.
    let unseen: BTreeSet<String> = unseen.into_iter().collect();
    Ok((held.into_values().collect(), unseen.into_iter().collect()))
}

/// Whether its labels are its own: those of a Deployment's `ReplicaSet` are copies of its pods'.
fn is_its_own(resource: &ApiResource, object: &Value) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten();
    resource.plural != "replicasets" || !owners.into_iter().any(|owner| text(owner, "/kind") == "Deployment")
}

/// Every kind whose size can be set, and which groups do not say whether they have one.
async fn scalable(client: &Client) -> anyhow::Result<(Vec<ApiResource>, Vec<String>)> {
    let failed = |error: kube::Error| anyhow!("failed to ask which kinds there are: {}", words::api(&error));
    let core = client.list_core_api_versions_aggregated().await.map_err(failed)?;
    let others = client.list_api_groups_aggregated().await.map_err(failed).context("discovery")?;
    let (mut kinds, mut silent) = (BTreeMap::new(), Vec::new());
    for group in core.items.into_iter().chain(others.items) {
        let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
        for version in group.versions {
            let number = version.version.unwrap_or_default();
            // Metrics have no size.
            if version.freshness.as_deref() == Some("Stale") && !name.ends_with("metrics.k8s.io") {
                silent.push(format!(
                    "{name}/{number} does not answer, and may have kinds with a size: is its API service up?"
                ));
            }
            for one in version.resources {
                let sized = one.subresources.iter().any(|sub| sub.subresource.as_deref() == Some("scale"));
                let listed = one.verbs.iter().any(|verb| verb == "list");
                let (Some(plural), Some(kind)) = (one.resource, one.response_kind) else { continue };
                if sized && listed && one.scope.as_deref() == Some("Namespaced") {
                    let api_version = if name.is_empty() { number.clone() } else { format!("{name}/{number}") };
                    let resource = ApiResource {
                        group: name.clone(),
                        version: number.clone(),
                        api_version,
                        kind: kind.kind.unwrap_or_default(),
                        plural: plural.clone(),
                    };
                    // The first version is the one that its group prefers.
                    kinds.entry((name.clone(), plural)).or_insert(resource);
                }
            }
        }
    }
    Ok((kinds.into_values().collect(), silent))
}

/// All objects of a kind that carry a label, or all, page by page.
async fn list(
    client: &Client,
    resource: &ApiResource,
    scope: Option<&str>,
    label: Option<&str>,
) -> Result<Vec<Value>, kube::Error> {
    let api: Api<DynamicObject> = match scope {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    };
    let mut params = ListParams { label_selector: label.map(str::to_owned), ..ListParams::default() }.limit(PAGE);
    let mut all = Vec::new();
    loop {
        let page = api.list(&params).await?;
        params.continue_token = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        all.extend(page.into_iter().map(|object| import::typed(object, resource)));
        if params.continue_token.is_none() {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::ANNOTATION;

    fn hpa(metadata: &Value, spec: &Value) -> Value {
        let mut object = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": "shop", "uid": "h"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 2, "maxReplicas": 9},
        });
        for (key, more) in [("metadata", metadata), ("spec", spec)] {
            object[key].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        }
        object
    }

    fn after(held: &Held) -> Value {
        held.steps().iter().fold(held.object.clone(), super::super::tests::patched)
    }

    #[test]
    fn a_floor_is_lowered_to_its_owners_value() {
        let raised = hpa(
            &json!({
                "labels": {MODE_LABEL: "floor", epoch::LABEL: "3.a.b"},
                "annotations": {ANNOTATION: r#"{"own":2,"set":6,"at":0,"spent":0}"#},
            }),
            &json!({"minReplicas": 6}),
        );
        let lowered = after(&Held::autoscaler(&raised).unwrap());
        assert_eq!(lowered, hpa(&json!({"labels": {}, "annotations": {}}), &json!({})));
    }

    #[test]
    fn what_carries_only_a_mark_is_given_back_and_what_carries_none_is_left() {
        let claimed = hpa(&json!({"labels": {epoch::LABEL: "3.a.b", "app": "web"}}), &json!({}));
        let freed = after(&Held::autoscaler(&claimed).unwrap());
        assert_eq!(freed, hpa(&json!({"labels": {"app": "web"}}), &json!({})));
        let plain = Held::autoscaler(&freed).unwrap();
        assert!(plain.steps().is_empty(), "a second time does nothing");

        let resource = ApiResource::erase::<k8s_openapi::api::apps::v1::StatefulSet>(&());
        let workload =
            json!({"metadata": {"name": "db", "namespace": "shop", "uid": "w", "labels": {MODE_LABEL: "shadow"}}});
        let held = Held::new(Thing::Workload, &resource, &workload);
        let [step] = held.steps().try_into().unwrap();
        assert!(step.to_string().contains("shop/statefulset/db"), "{step}");
        let theirs = json!({"metadata": {"name": "p", "namespace": "shop", "labels": {POLICY_LABEL: ""}}});
        assert!(Held::new(Thing::Policy, &maps(), &theirs).steps().is_empty(), "a policy that somebody wrote stays");
    }

    #[test]
    fn copies_of_labels_are_nobodys_word() {
        let owned = |kind: &str| json!({"metadata": {"ownerReferences": [{"kind": kind, "controller": true}]}});
        let sets = ApiResource::erase::<k8s_openapi::api::apps::v1::ReplicaSet>(&());
        assert!(!is_its_own(&sets, &owned("Deployment")) && is_its_own(&sets, &owned("Rollout")));
        let kedas =
            hpa(&json!({"labels": {MODE_LABEL: "floor"}, "ownerReferences": [{"kind": "ScaledObject"}]}), &json!({}));
        assert!(Held::autoscaler(&kedas).is_none());
    }
}

//! Carrying a decision out: one patch, once.
//!
//! A JSON Patch on the object itself whose `test`s make check and write one transaction in the API server: it must
//! still be the same object (uid), nobody may have changed its spec (generation), it must have the size that was decided
//! on, its owner must still let us (the mode label), and no other agent may have claimed it (the epoch label). The patch is sent once, with a deadline; the client has no retries
//! (by default the library would repeat any verb for minutes). What became of it is committed, refused with its kind, or
//! unknown, and an unknown outcome is read back. Nothing is ever queued: a refused decision is dropped, and the next one starts
//! from what is there then.

use crate::autoscalers::{self, Object};
use crate::config::Target;
use crate::floor::{ANNOTATION, Kept};
use crate::import::Kind;
use crate::owner;
use crate::view::Scalable;
use crate::watch::MODE_LABEL;
use crate::words::{self, NOT_ALLOWED, chain};
use crate::world::{Claim, Order, Raise};
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch as Operations, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use trimtab_claim::answer::{self, Meaning, Refused};
use trimtab_claim::claim::Label;
use trimtab_claim::epoch::{Epoch, LABEL};
use trimtab_claim::guard::{self, Test};
use trimtab_claim::lease::DEADLINE;
use trimtab_core::Decision;
use trimtab_core::unit::{Replicas, Timestamp};
use trimtab_journal::{Outcome, Refusal};

/// The name under which every change of ours is recorded.
pub const FIELD_MANAGER: &str = "trimtab";

/// How a write ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// What became of it.
    pub outcome: Outcome,
    /// When it was decided.
    pub at: Timestamp,
    /// The size before.
    pub from: Replicas,
    /// The size that was written.
    pub to: Replicas,
    /// The object that it was decided on: its uid.
    pub uid: String,
    /// The generation that it was decided on.
    pub seen: i64,
    /// The generation that it led to, where it was committed.
    pub generation: Option<i64>,
}

/// Sets the target of an order to what its decision says, if it still is as the object shows it, and ours.
pub(crate) async fn write(client: &Client, order: &Order) -> Written {
    let Order { resource, target, object, decision, epoch } = order;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &target.namespace, resource);
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let patch = Patch::Json::<()>(operations(object, decision, epoch.as_ref()));
    let answer = tokio::time::timeout(DEADLINE.duration(), api.patch(&target.name, &params, &patch)).await;
    let (outcome, generation) = match answer {
        Ok(Ok(after)) => (Outcome::Committed, after.metadata.generation),
        Ok(Err(error)) => match classify(&error) {
            Some(refusal) => (Outcome::Refused(refusal), None),
            None => read_back(&api, target, object, decision, &chain(&error)).await,
        },
        Err(_) => read_back(&api, target, object, decision, &no_answer()).await,
    };
    Written {
        outcome,
        at: decision.at,
        from: decision.from,
        to: decision.to,
        uid: object.uid.clone(),
        seen: object.generation,
        generation,
    }
}

/// Of a request that was given up: the API server may carry it out all the same.
fn no_answer() -> String {
    format!("no answer within {DEADLINE}")
}

fn pointer(tokens: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(tokens.iter().copied())
}

fn test(tokens: &[&str], value: serde_json::Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path: pointer(tokens), value })
}

fn add(tokens: &[&str], value: serde_json::Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: pointer(tokens), value })
}

fn remove(tokens: &[&str]) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation { path: pointer(tokens) })
}

/// What must hold in the API server, as JSON Patch says it.
fn fence(tests: Vec<Test>) -> Vec<PatchOperation> {
    let as_patch = |guard: Test| match guard {
        Test::Uid(uid) => test(&["metadata", "uid"], (*uid).into()),
        Test::Label(label) => test(&["metadata", "labels", LABEL], (*label).into()),
        Test::Version(version) => test(&["metadata", "resourceVersion"], (*version).into()),
        Test::Generation(generation) => test(&["metadata", "generation"], generation.into()),
    };
    tests.into_iter().map(as_patch).collect()
}

fn operations(object: &Scalable, decision: &Decision, epoch: Option<&Epoch>) -> Operations {
    let seen = owner::seen(object);
    let mut operations = fence(epoch.map_or_else(|| guard::alone(&seen), |epoch| guard::of_write(&seen, epoch)));
    operations.extend([
        test(&["metadata", "labels", MODE_LABEL], "own".into()),
        test(&["spec", "replicas"], object.replicas.into()),
        PatchOperation::Replace(ReplaceOperation { path: pointer(&["spec", "replicas"]), value: decision.to.0.into() }),
    ]);
    Operations(operations)
}

/// What an answer that is no success means, with what was said.
fn refusal(error: &kube::Error) -> (Meaning, String) {
    let kube::Error::Api(status) = error else { return (Meaning::Unknown, words::api(error)) };
    let causes = status.details.as_ref().is_some_and(|details| !details.causes.is_empty());
    (answer::meaning(Refused { code: status.code, message: &status.message, causes }), status.message.clone())
}

/// Sets the least size of another autoscaler, and what is kept on it, if it still is as it was seen, ours, and its owner still asks for a
/// floor. Handing it back asks for no label: that is the owner's own value.
pub(crate) async fn raise(client: &Client, raise: &Raise) -> Written {
    let Raise { source, object, .. } = raise;
    let resource = autoscalers::resource(source.kind);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &source.namespace, &resource);
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let patch = Patch::Json::<()>(raising(source.kind, object, (raise.kept.as_ref(), raise.min), raise.epoch.as_ref()));
    let outcome = match tokio::time::timeout(DEADLINE.duration(), api.patch(&source.name, &params, &patch)).await {
        Ok(Ok(_)) => Outcome::Committed,
        // What became of it is seen on the object: its least size and what is kept there are one.
        Ok(Err(error)) => classify(&error).map_or_else(|| Outcome::Unknown(chain(&error)), Outcome::Refused),
        Err(_) => Outcome::Unknown(no_answer()),
    };
    let size = |min: Option<u32>| Replicas(min.unwrap_or(1));
    Written {
        outcome,
        at: raise.at,
        from: size(object.min),
        to: size(raise.min),
        uid: object.uid.clone(),
        seen: i64::from(object.min.unwrap_or(0)),
        generation: None,
    }
}

/// The patch of a floor. Where there is no generation to test, the least size that it was decided on is tested, and what is kept, which
/// is another after every write; before the first there is nothing kept, and nothing at all may have changed.
pub(crate) fn raising(
    kind: Kind,
    object: &Object,
    (kept, min): (Option<&Kept>, Option<u32>),
    epoch: Option<&Epoch>,
) -> Operations {
    let (field, _) = autoscalers::fields(kind);
    let notes = ["metadata", "annotations", ANNOTATION];
    let seen = object.seen();
    let mut tests = epoch.map_or_else(|| guard::alone(&seen), |epoch| guard::of_write(&seen, epoch));
    // Where there are no annotations, a map of them is made: none may have come meanwhile.
    if (seen.generation.is_none() && object.kept.is_none()) || (kept.is_some() && !object.annotated) {
        tests.push(Test::Version(seen.version.clone()));
    }
    let mut operations = fence(tests);
    operations.extend(object.min.map(|min| test(&["spec", field], min.into())));
    operations.extend(object.kept.clone().map(|kept| test(&notes, kept.into())));
    match min {
        Some(min) => operations.push(add(&["spec", field], min.into())),
        None if object.min.is_some() => operations.push(remove(&["spec", field])),
        None => {}
    }
    if let Some(kept) = kept {
        operations.push(test(&["metadata", "labels", MODE_LABEL], "floor".into()));
        if !object.annotated {
            operations.push(add(&["metadata", "annotations"], serde_json::json!({})));
        }
        operations.push(add(&notes, kept.text().into()));
    } else {
        operations.push(remove(&notes));
        // Nobody's any more.
        operations.extend((seen.label != Label::Absent).then(|| remove(&["metadata", "labels", LABEL])));
    }
    Operations(operations)
}

/// What kind of refusal an error is; `None` where the write may have been done all the same.
pub(crate) fn classify(error: &kube::Error) -> Option<Refusal> {
    let (meaning, message) = refusal(error);
    Some(match meaning {
        Meaning::Changed => Refusal::Changed,
        Meaning::Invalid => Refusal::Invalid(message),
        Meaning::Denied | Meaning::PolicyBroken => Refusal::Admission(message),
        Meaning::Forbidden => Refusal::Forbidden(message),
        Meaning::Gone => Refusal::Gone,
        Meaning::Busy => Refusal::Busy(message),
        Meaning::Unknown => return None,
    })
}

/// Writes an epoch into the label of an object, if it still is as it was seen. Returns why it was not done, or that nobody knows: the
/// watch shows what became of it.
pub(crate) async fn claim(client: &Client, claim: &Claim) -> Option<(Meaning, String)> {
    let Claim { resource, site, seen, labelled, epoch } = claim;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), site.namespace(), resource);
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let mut operations = fence(guard::of_claim(seen));
    if !labelled {
        operations.push(add(&["metadata", "labels"], serde_json::json!({})));
    }
    operations.push(add(&["metadata", "labels", LABEL], epoch.to_string().into()));
    let patch = Patch::Json::<()>(Operations(operations));
    match tokio::time::timeout(DEADLINE.duration(), api.patch(site.name(), &params, &patch)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(refusal(&error)),
        Err(_) => Some((Meaning::Unknown, no_answer())),
    }
}

/// Reads what became of a write whose answer was lost: it was done if the object has our size one generation later. If the
/// object is as it was, the write may still be on its way.
async fn read_back(
    api: &Api<DynamicObject>,
    target: &Target,
    object: &Scalable,
    decision: &Decision,
    why: &str,
) -> (Outcome, Option<i64>) {
    let unknown = |detail: String| (Outcome::Unknown(format!("{why}; {detail}")), None);
    match tokio::time::timeout(DEADLINE.duration(), api.get(&target.name)).await {
        Ok(Ok(now)) => {
            let generation = now.metadata.generation.unwrap_or_default();
            let replicas = now.data.pointer("/spec/replicas").and_then(serde_json::Value::as_u64);
            if generation == object.generation {
                unknown("read back: not done yet".into())
            } else if generation == object.generation + 1 && replicas == Some(u64::from(decision.to.0)) {
                (Outcome::Committed, Some(generation))
            } else {
                unknown("read back: somebody else changed it since".into())
            }
        }
        Ok(Err(error)) => unknown(format!("reading back failed: {}", chain(&error))),
        Err(_) => unknown("reading back took longer than 5 s".into()),
    }
}

/// One Event on the workload: what happened, and why. Returns what kept it from being written, with the cure.
pub async fn announce(
    recorder: &Recorder,
    resource: &ApiResource,
    (target, object): (&Target, &Scalable),
    kind: EventType,
    reason: &str,
    note: String,
) -> Option<String> {
    let reference = reference(resource, (&target.namespace, &target.name), &object.uid);
    publish(recorder, &reference, kind, reason, note).await
}

/// The same on the autoscaler whose floor it is.
pub(crate) async fn announce_floor(
    recorder: &Recorder,
    raise: &Raise,
    kind: EventType,
    reason: &str,
    note: String,
) -> Option<String> {
    let Raise { source, object, .. } = raise;
    let resource = autoscalers::resource(source.kind);
    let reference = reference(&resource, (&source.namespace, &source.name), &object.uid);
    publish(recorder, &reference, kind, reason, note).await
}

fn reference(resource: &ApiResource, (namespace, name): (&str, &str), uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(resource.api_version.clone()),
        kind: Some(resource.kind.clone()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

async fn publish(
    recorder: &Recorder,
    reference: &ObjectReference,
    kind: EventType,
    reason: &str,
    note: String,
) -> Option<String> {
    let namespace = reference.namespace.as_deref().unwrap_or_default();
    let name = reference.name.as_deref().unwrap_or_default();
    // The API server refuses a note of more than 1 KiB.
    let note: String = note.chars().take(1_000).collect();
    let event = Event { type_: kind, reason: reason.into(), note: Some(note), action: "Scale".into(), secondary: None };
    match tokio::time::timeout(DEADLINE.duration(), recorder.publish(&event, reference)).await {
        Ok(Ok(())) => None,
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Some(format!(
            "{NOT_ALLOWED}write Events in namespace {namespace}: grant create and patch on events.events.k8s.io to trimtab's service account ({})",
            status.message
        )),
        Ok(Err(error)) => Some(format!("failed to write an Event on {namespace}/{name}: {}", words::api(&error))),
        Err(_) => Some(format!("writing an Event on {namespace}/{name} took longer than 5 s")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use kube::core::Status;
    use kube::core::response::{StatusCause, StatusDetails};
    use std::collections::BTreeMap;
    use trimtab_core::policy::{Bounds, Capacity, Method, Objective, Policy};
    use trimtab_core::snapshot::{Absence, Fleet, Reading, Snapshot};
    use trimtab_core::unit::{Ratio, RequestsPerSecond, Seconds};
    use trimtab_core::{State, decide};

    fn refused(code: u16, message: &str, causes: usize) -> Option<Refusal> {
        let cause = StatusCause { reason: "FieldValueInvalid".into(), message: "m".into(), field: "f".into() };
        let details = StatusDetails { causes: vec![cause; causes], ..serde_json::from_str("{}").unwrap() };
        let status =
            Status { code, message: message.into(), details: Some(details), ..serde_json::from_str("{}").unwrap() };
        classify(&kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn only_a_failed_test_counts_as_changed() {
        assert_eq!(
            refused(422, "the server rejected our request due to an error in our request", 0),
            Some(Refusal::Changed)
        );
        assert_eq!(refused(422, "Deployment is invalid", 1), Some(Refusal::Invalid("Deployment is invalid".into())));
        let denied = "ValidatingAdmissionPolicy 'trimtab' with binding 'trimtab' denied request: too large a step";
        assert_eq!(refused(422, denied, 0), Some(Refusal::Admission(denied.into())));
        assert_eq!(refused(403, denied, 0), Some(Refusal::Admission(denied.into())));
        let rbac = "deployments.apps \"web\" is forbidden: User cannot patch resource";
        assert_eq!(refused(403, rbac, 0), Some(Refusal::Forbidden(rbac.into())));
        assert_eq!(refused(404, "not found", 0), Some(Refusal::Gone));
    }

    #[test]
    fn what_may_have_been_done_is_unknown() {
        for code in [500, 502, 503, 504] {
            assert_eq!(refused(code, "etcdserver: request timed out", 0), None, "{code}");
        }
    }

    /// An API server that does not answer a patch, and shows the object like this afterwards.
    fn loses_the_answer(generation: i64, replicas: u32) -> Client {
        let answer = move |request: http::Request<kube::client::Body>| async move {
            if request.method() == http::Method::PATCH {
                return std::future::pending().await;
            }
            let object = serde_json::json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": { "name": "web", "namespace": "shop", "generation": generation },
                "spec": { "replicas": replicas },
            });
            let body = kube::client::Body::from(object.to_string().into_bytes());
            Ok::<_, std::convert::Infallible>(http::Response::new(body))
        };
        Client::new(tower::service_fn(answer), "shop")
    }

    /// From 1 to 9 replicas of 50/s, and 200 ms.
    pub(crate) fn policy() -> Policy {
        Policy {
            replicas: Bounds::new(Replicas(1), Replicas(9)).unwrap(),
            objective: Objective {
                latency: Seconds::milliseconds(200),
                misses: Ratio::percent(1),
                window: Objective::WINDOW,
            },
            capacity: Capacity::Declared(RequestsPerSecond::whole(50)),
            protect: Vec::new(),
            stabilization: Seconds::ZERO,
            events: Vec::new(),
            ramp: None,
            method: Method::Priced,
        }
    }

    /// Four replicas, and nothing that is known.
    pub(crate) fn snapshot() -> Snapshot {
        let missing = Absence::NotYetAsked;
        let fleet = Fleet {
            desired: Replicas(4),
            ready: Replicas(4),
            starting: Replicas(0),
            stuck: Replicas(0),
            startup: None,
            rolling_out: false,
        };
        Snapshot {
            at: Timestamp(0),
            demand: Reading::Missing(missing),
            capacity: Reading::Missing(missing),
            latency: Reading::Missing(missing),
            utilization: Reading::Missing(missing),
            foretold: Vec::new(),
            protected: BTreeMap::new(),
            fleet,
        }
    }

    fn first_look() -> Decision {
        decide(&policy(), &mut State::default(), &snapshot())
    }

    /// A decision to go from one size to another.
    pub(crate) fn decision(from: Replicas, to: Replicas) -> Decision {
        Decision { from, to, ..first_look() }
    }

    /// A write from 4 to 6 replicas, decided on generation 7, whose answer is lost.
    async fn lost(generation: i64, replicas: u32) -> Written {
        let resource = ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&());
        let target: Target = "shop/deployment/web".parse().unwrap();
        let object = Scalable {
            uid: "u".into(),
            generation: 7,
            replicas: 4,
            selector: kube::core::Selector::default(),
            mode_label: Some("own".into()),
            shown: crate::view::Shown::default(),
            rolling_out: false,
            manager: None,
        };
        let decision = Decision { from: Replicas(4), to: Replicas(6), ..first_look() };
        let order = Order { resource, target, object, decision, epoch: None };
        write(&loses_the_answer(generation, replicas), &order).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_is_read_back() {
        let done = lost(8, 6).await;
        assert_eq!((done.outcome, done.generation), (Outcome::Committed, Some(8)));
        for (generation, replicas, why) in [(7, 4, "not done yet"), (8, 5, "somebody else"), (9, 6, "somebody else")] {
            let lost = lost(generation, replicas).await;
            let Outcome::Unknown(said) = &lost.outcome else { panic!("{:?}", lost.outcome) };
            assert!(said.contains("no answer within 5 s") && said.contains(why), "{said}");
            assert_eq!(lost.generation, None);
        }
    }
}

//! The watches on other autoscalers: each that is seen becomes a policy, in shadow, with no configuration.
//!
//! Two kinds are watched, `HorizontalPodAutoscaler` and, where its CRD is installed, KEDA's `ScaledObject`. An object is made a policy of
//! ([`crate::import`]) when its spec changes, and again now and then, since what its pods request stands elsewhere; what its controller
//! writes into its status every few seconds costs nothing.

use crate::floor::{ANNOTATION, Floor, Kept};
use crate::import::{self, Imported, Kind, Source};
use crate::inbox::{Event, Inbox};
use crate::view::{Change, Scope, Shown};
use crate::watch::{MODE_LABEL, Watch, place};
use futures::future::BoxFuture;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use trimtab_claim::claim::Label;
use trimtab_claim::{Seen, epoch};

/// A CRD that is not installed is looked for again so often.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// What an autoscaler refers to is read again after so long: a release may change what its pods request. Every agent does.
const FRESH: Duration = Duration::from_hours(1);

/// What KEDA reads as false, by strconv.ParseBool of Go.
const NO: [&str; 6] = ["0", "f", "F", "false", "FALSE", "False"];

/// An autoscaler, with the policy that it amounts to.
#[derive(Clone, Debug, PartialEq)]
pub struct Autoscaler {
    /// What it became.
    pub imported: Box<Imported>,
    /// How it is.
    pub object: Object,
}

impl Autoscaler {
    /// Its least size.
    #[must_use]
    pub fn floor(&self) -> Floor {
        self.object.floor(self.imported.source.kind)
    }
}

/// An autoscaler as the API server has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`; a `HorizontalPodAutoscaler` has none to rely on.
    pub generation: Option<i64>,
    /// `minReplicas` or `minReplicaCount`, where it is set.
    pub min: Option<u32>,
    /// `maxReplicas` or `maxReplicaCount`.
    pub max: u32,
    /// The label `trimtab.dev/mode`, where it carries one.
    pub mode_label: Option<String>,
    /// What the claims of agents go by.
    pub shown: Shown,
    /// Whether it has labels at all.
    pub labelled: bool,
    /// Whether it has annotations at all.
    pub annotated: bool,
    /// What trimtab keeps on it: the annotation `trimtab.dev/floor`.
    pub kept: Option<String>,
    /// Who set the least size last, where that can be told.
    pub manager: Option<String>,
    /// Whether it changes the size of its target: it is not paused, nor are both its directions disabled.
    pub active: bool,
    /// What it asks for; of a `ScaledObject` the `HorizontalPodAutoscaler` says that, which KEDA makes of it.
    pub wish: Wish,
}

/// The size that an autoscaler asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// `status.desiredReplicas`, where it has decided on metrics.
    pub wants: Option<u32>,
    /// Why it has not, in its own words.
    pub problem: Option<String>,
}

impl Wish {
    /// What the status of a `HorizontalPodAutoscaler` says.
    fn of(object: &Value) -> Self {
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let text = |condition: &Value, key: &str| condition.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        let failed = |condition: &&Value| {
            ["ScalingActive", "AbleToScale"].contains(&text(condition, "type").as_str())
                && text(condition, "status") == "False"
        };
        let Some(conditions) = conditions else { return Self::default() };
        if let Some(failed) = conditions.iter().find(failed) {
            let problem = format!("{}: {}", text(failed, "reason"), text(failed, "message"));
            return Self { wants: None, problem: Some(problem) };
        }
        let active = conditions.iter().any(|condition| text(condition, "type") == "ScalingActive");
        let wants = object.pointer("/status/desiredReplicas").and_then(Value::as_u64);
        Self { wants: wants.filter(|_| active).and_then(|wants| u32::try_from(wants).ok()), problem: None }
    }
}

impl Object {
    /// Its least size, of an object of this kind.
    #[must_use]
    pub fn floor(&self, kind: Kind) -> Floor {
        // Where nothing is set, KEDA goes to 0; the API server fills a 1 into a HorizontalPodAutoscaler.
        let unset = (kind == Kind::ScaledObject).then_some(0);
        Floor { min: self.min.or(unset), max: self.max, kept: self.kept.as_deref().and_then(Kept::read) }
    }

    /// As the protocol of claims looks at it.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen {
            uid: self.uid.as_str().into(),
            version: self.shown.version.as_str().into(),
            generation: self.generation,
            label: self.shown.label.clone(),
            listing: self.shown.listing,
        }
    }
}

/// How the API server calls a kind.
#[must_use]
pub fn resource(kind: Kind) -> ApiResource {
    let (group, version, name, plural) = match kind {
        Kind::Hpa => ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
        Kind::ScaledObject => ("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects"),
    };
    ApiResource {
        group: group.into(),
        version: version.into(),
        api_version: format!("{group}/{version}"),
        kind: name.into(),
        plural: plural.into(),
    }
}

/// What was made of an object, and from what.
struct Made {
    spec: Value,
    at: Instant,
    imported: Option<Imported>,
}

/// Watches autoscalers of one kind, in one namespace or in all, for as long as the process lives.
#[must_use]
pub fn follow(client: Client, kind: Kind, scope: Scope, inbox: Inbox) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let resource = resource(kind);
        // Who has no KEDA is in no trouble for it.
        while kind == Kind::ScaledObject && kube::discovery::group(&client, &resource.group).await.is_err() {
            tokio::select! {
                () = inbox.closed() => return,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
        let what = format!("{} in {}", resource.plural, place(scope.as_deref()));
        let api: Api<DynamicObject> = match &scope {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let mut watch = Watch::start(api, watcher::Config::default(), what, inbox.clone());
        let mut made: BTreeMap<Source, Made> = BTreeMap::new();
        let mut listing = 0;
        loop {
            let change = match watch.next().await {
                watcher::Event::Init => {
                    listing += 1;
                    say_wish(&inbox, kind, &scope, Change::Listing).await;
                    Change::Listing
                }
                watcher::Event::InitDone => {
                    say_wish(&inbox, kind, &scope, Change::Listed).await;
                    Change::Listed
                }
                watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                    let object = import::typed(object, &resource);
                    if let Some(owner) = import::made_by(&object) {
                        say_wish(&inbox, kind, &scope, Change::Is(owner, Wish::of(&object))).await;
                    }
                    let Some(source) = import::source(&object) else { continue };
                    match read(&client, &mut made, &source, &object).await {
                        Some(imported) => {
                            let object = seen(kind, &object, listing);
                            Change::Is(source, Autoscaler { imported: Box::new(imported), object })
                        }
                        None => continue,
                    }
                }
                watcher::Event::Delete(object) => {
                    let object = import::typed(object, &resource);
                    if let Some(owner) = import::made_by(&object) {
                        say_wish(&inbox, kind, &scope, Change::Gone(owner)).await;
                    }
                    let Some(source) = import::source(&object) else { continue };
                    made.remove(&source);
                    Change::Gone(source)
                }
            };
            inbox.send(Event::Autoscaler { kind, scope: scope.clone(), change }).await;
        }
    })
}

/// What KEDA's own autoscalers ask for is said of the `ScaledObject`s that they are made of.
async fn say_wish(inbox: &Inbox, kind: Kind, scope: &Scope, change: Change<Source, Wish>) {
    if kind == Kind::Hpa {
        inbox.send(Event::Wish { scope: scope.clone(), change }).await;
    }
}

/// What the object amounts to, made anew only where something may have changed.
async fn read(client: &Client, made: &mut BTreeMap<Source, Made>, source: &Source, object: &Value) -> Option<Imported> {
    let at = |pointer: &str| object.pointer(pointer).cloned().unwrap_or_default();
    // Who claims it, and what is kept on it, is no part of its policy.
    let without = |pointer: &str, own: &str| {
        let mut all = at(pointer);
        all.as_object_mut().map(|all| all.remove(own));
        all
    };
    let labels = without("/metadata/labels", epoch::LABEL);
    let spec = serde_json::json!([at("/spec"), labels, without("/metadata/annotations", ANNOTATION)]);
    if let Some(before) = made.get(source).filter(|before| before.spec == spec && before.at.elapsed() < FRESH) {
        return before.imported.clone();
    }
    let (around, complete) = import::around(client, object).await;
    let imported = import::of(object, &around);
    // What could not be read just now is what it was.
    if !complete && let Some(before) = made.get(source).filter(|before| before.spec == spec) {
        return before.imported.clone();
    }
    made.insert(source.clone(), Made { spec, at: Instant::now(), imported: imported.clone() });
    imported
}

/// What of an object matters beside its policy, as a watch shows it that has listed so often.
#[must_use]
pub fn seen(kind: Kind, object: &Value, listing: u64) -> Object {
    let (min, max) = fields(kind);
    let at = |pointer: &str| object.pointer(pointer);
    let whole = |field: &str| at("/spec")?.get(field)?.as_u64().and_then(|number| u32::try_from(number).ok());
    let text = |pointer: &str, key: &str| at(pointer)?.get(key)?.as_str().map(str::to_owned);
    let managers = at("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let own = format!("f:{min}");
    let sets = |entry: &&Value| entry.pointer("/fieldsV1/f:spec").is_some_and(|spec| spec.get(&own).is_some());
    let manager = managers.filter(sets).max_by_key(|entry| entry.get("time").and_then(Value::as_str));
    let disabled = |direction: &str| {
        at(&format!("/spec/behavior/{direction}/selectPolicy")).and_then(Value::as_str) == Some("Disabled")
    };
    // As NeedToBePausedByAnnotation and its like read them, of KEDA's apis/keda/v1alpha1/scaledobject_types.go.
    let note = |name: &str| text("/metadata/annotations", &format!("autoscaling.keda.sh/{name}"));
    let says = |name: &str| note(name).is_some_and(|value| !NO.contains(&value.as_str()));
    let paused =
        note("paused-replicas").is_some() || says("paused") || (says("paused-scale-in") && says("paused-scale-out"));
    Object {
        uid: text("/metadata", "uid").unwrap_or_default(),
        generation: at("/metadata/generation").and_then(Value::as_i64).filter(|_| kind == Kind::ScaledObject),
        min: whole(min),
        // What KEDA fills in.
        max: whole(max).unwrap_or(100),
        mode_label: text("/metadata/labels", MODE_LABEL),
        shown: Shown {
            version: text("/metadata", "resourceVersion").unwrap_or_default(),
            label: Label::read(text("/metadata/labels", epoch::LABEL).as_deref()),
            listing,
        },
        labelled: at("/metadata/labels").is_some(),
        annotated: at("/metadata/annotations").is_some(),
        kept: text("/metadata/annotations", ANNOTATION),
        manager: manager.and_then(|entry| entry.get("manager")?.as_str().map(str::to_owned)),
        active: match kind {
            Kind::Hpa => !(disabled("scaleUp") && disabled("scaleDown")),
            Kind::ScaledObject => !paused,
        },
        wish: match kind {
            Kind::Hpa => Wish::of(object),
            Kind::ScaledObject => Wish::default(),
        },
    }
}

/// What a kind calls the least and the largest size.
#[must_use]
pub const fn fields(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Hpa => ("minReplicas", "maxReplicas"),
        Kind::ScaledObject => ("minReplicaCount", "maxReplicaCount"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hpa(active: &str, able: &str, wants: u32) -> Value {
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": "shop", "uid": "h"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 9},
            "status": {"currentReplicas": 4, "desiredReplicas": wants, "conditions": [
                {"type": "AbleToScale", "status": able, "reason": "FailedGetScale", "message": "no such object"},
                {"type": "ScalingActive", "status": active, "reason": "FailedGetResourceMetric", "message": "no metrics"},
                {"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas", "message": "at the most"},
            ]},
        })
    }

    #[test]
    fn an_autoscaler_says_what_it_wants_or_why_it_cannot() {
        assert_eq!(Wish::of(&hpa("True", "True", 7)), Wish { wants: Some(7), problem: None });
        let blind = Wish::of(&hpa("False", "True", 4));
        assert_eq!(blind.wants, None, "what it wanted before it went blind is no wish");
        assert!(blind.problem.is_some_and(|problem| problem == "FailedGetResourceMetric: no metrics"));
        assert!(
            Wish::of(&hpa("True", "False", 4)).problem.is_some_and(|problem| problem.starts_with("FailedGetScale"))
        );
        // It was just made: 0 is no wish.
        let mut new = hpa("True", "True", 0);
        new["status"] = json!({"currentReplicas": 0, "desiredReplicas": 0});
        assert_eq!(Wish::of(&new), Wish::default());
    }

    #[test]
    fn what_keda_made_speaks_for_the_object_that_it_is_made_of() {
        let mut made = hpa("True", "True", 7);
        assert_eq!(import::made_by(&made), None);
        made["metadata"]["ownerReferences"] = json!([{"kind": "ScaledObject", "name": "web-so", "controller": true}]);
        let owner = import::made_by(&made).unwrap();
        assert_eq!(owner.to_string(), "scaledobject shop/web-so");
        assert_eq!(import::source(&made), None, "and is no autoscaler of its own");
    }
}

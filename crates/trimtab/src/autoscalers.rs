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
    pub imported: Imported,
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
                    Change::Listing
                }
                watcher::Event::InitDone => Change::Listed,
                watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                    let object = import::typed(object, &resource);
                    let Some(source) = import::source(&object) else { continue };
                    match read(&client, &mut made, &source, &object).await {
                        Some(imported) => {
                            Change::Is(source, Autoscaler { imported, object: seen(kind, &object, listing) })
                        }
                        None => continue,
                    }
                }
                watcher::Event::Delete(object) => {
                    let Some(source) = import::source(&import::typed(object, &resource)) else { continue };
                    made.remove(&source);
                    Change::Gone(source)
                }
            };
            inbox.send(Event::Autoscaler { kind, scope: scope.clone(), change }).await;
        }
    })
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
    let paused = ["autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas"]
        .iter()
        .any(|name| text("/metadata/annotations", name).is_some_and(|value| !NO.contains(&value.as_str())));
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

//! Import: what another autoscaler's object says, as a policy.
//!
//! A `HorizontalPodAutoscaler` or a KEDA `ScaledObject` becomes the text of a policy document, which is read like any other: what is in
//! force is what `trimtab import` prints. Demand is what its metrics sum up to, capacity what its target lets one replica carry, and no
//! latency is promised, since nobody said one. What cannot be carried over is listed with its reason. Pure: objects in, text out.
//!
//! Deliberately absent: metrics with a target of type Value (a ratio says nothing of how much there is to do), and a guess at an objective.

mod adapter;
mod autoscaler;
mod command;
mod keda;
mod page;
mod signal;

pub use command::{around, import, read_files};
pub(crate) use command::{client, of_cluster, typed};

use crate::config::Target;
use crate::floor::{ANNOTATION, Kept};
use crate::watch::MODE_LABEL;
use serde_json::Value;
use std::fmt;

/// Kinds of objects that a policy is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `HorizontalPodAutoscaler`, `autoscaling/v2`.
    Hpa,
    /// KEDA's `ScaledObject`.
    ScaledObject,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hpa => "hpa",
            Self::ScaledObject => "scaledobject",
        })
    }
}

/// The object that a policy is made from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// What it is.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Something that could not be carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The field, or the metric.
    pub what: String,
    /// Why, and what there is instead.
    pub why: String,
}

impl Left {
    fn of(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into() }
    }
}

/// What an object became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The object.
    pub source: Source,
    /// What it scales, where that can be scaled by trimtab.
    pub target: Option<Target>,
    /// What it scales, as it names it: namespace/kind/name.
    pub named: String,
    /// The document of its policy, with comments; `None` where nothing is left to decide by.
    pub policy: Option<String>,
    /// What could not be carried over.
    pub left: Vec<Left>,
}

impl Imported {
    /// Why there is no policy, in one sentence.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let said = self.left.iter().map(|left| format!("{}: {}", left.what, left.why)).collect::<Vec<_>>().join("; ");
        self.policy.is_none().then(|| format!("{} gives no policy: {said}; write one (docs/policy.md)", self.source))
    }
}

/// The object that this is, where it is one that policies are made from. KEDA's own autoscalers are not: their `ScaledObject` says more.
#[must_use]
pub fn source(object: &Value) -> Option<Source> {
    let version = text(object, "/apiVersion");
    let kind = match text(object, "/kind") {
        "HorizontalPodAutoscaler" if version.starts_with("autoscaling/") => Kind::Hpa,
        "ScaledObject" if version.starts_with("keda.sh/") => Kind::ScaledObject,
        _ => return None,
    };
    if made_by(object).is_some() {
        return None;
    }
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
    Some(Source { kind, namespace: namespace.to_owned(), name: text(object, "/metadata/name").to_owned() })
}

/// The `ScaledObject` that KEDA made this `HorizontalPodAutoscaler` of.
#[must_use]
pub fn made_by(object: &Value) -> Option<Source> {
    let mut owners = list(object, "/metadata/ownerReferences");
    let owner = owners.find(|owner| text(owner, "/kind") == "ScaledObject")?;
    let hpa = text(object, "/kind") == "HorizontalPodAutoscaler";
    let (namespace, name) = (text(object, "/metadata/namespace").to_owned(), text(owner, "/name").to_owned());
    hpa.then_some(Source { kind: Kind::ScaledObject, namespace, name })
}

/// Makes a policy of an autoscaler. `around` are objects that it refers to, as far as they are known: its target (for the requests of its
/// pods), and the `ConfigMap` with the rules of a prometheus-adapter (for the expressions of its metrics).
#[must_use]
pub fn of(object: &Value, around: &[Value]) -> Option<Imported> {
    let source = source(object)?;
    let mut draft = page::Draft { wished: wished(object), ..page::Draft::default() };
    let reference = at(object, "/spec/scaleTargetRef");
    let target = match scaled(&source.namespace, reference) {
        Ok(target) => target,
        Err((named, left)) => return Some(Imported { source, target: None, named, policy: None, left: vec![left] }),
    };
    let scaled = signal::Scaled::new(&target, reference, around);
    match source.kind {
        Kind::Hpa => autoscaler::read(object, &scaled, &mut draft),
        Kind::ScaledObject => keda::read(object, &scaled, &mut draft),
    }
    for vpa in around.iter().filter(|one| sizes(one, &target, reference)) {
        let what = format!("VerticalPodAutoscaler {}", text(vpa, "/metadata/name"));
        let mode = vpa.pointer("/spec/updatePolicy/updateMode").and_then(Value::as_str).unwrap_or("Recreate");
        let why = format!("the size of pods is not decided here; it stays in charge of that (updateMode {mode})");
        draft.left.push(Left::of(what, why));
    }
    let policy = page::render(&source, &target, &draft);
    let named = target.to_string();
    Some(Imported { source, target: Some(target), named, policy, left: draft.left })
}

/// A regular expression of the names of a target's pods, as it stands in `PromQL`.
pub(crate) fn pods(target: &Target) -> String {
    let suffix = match target.kind.resource.as_str() {
        "deployments" => "[a-z0-9]+-[a-z0-9]{5}",
        "replicasets" => "[a-z0-9]{5}",
        "statefulsets" => "[0-9]+",
        _ => ".+",
    };
    format!("{}-{suffix}", target.name.replace('.', r"\\."))
}

/// Whether an object is a vertical autoscaler of the same target.
fn sizes(object: &Value, target: &Target, reference: &Value) -> bool {
    text(object, "/kind") == "VerticalPodAutoscaler"
        && text(object, "/metadata/namespace") == target.namespace
        && text(object, "/spec/targetRef/name") == target.name
        && text(object, "/spec/targetRef/kind")
            == reference.pointer("/kind").and_then(Value::as_str).unwrap_or("Deployment")
}

/// The mode that the owner of the autoscaler asks for, by its label.
fn wished(object: &Value) -> Option<String> {
    object.pointer("/metadata/labels")?.get(MODE_LABEL)?.as_str().map(str::to_owned)
}

/// The least size that the owner of the autoscaler set, though trimtab may have raised it; `default` where nobody set any.
fn least(object: &Value, field: &str, default: u32) -> u32 {
    let kept = object.pointer("/metadata/annotations").and_then(|notes| Kept::read(notes.get(ANNOTATION)?.as_str()?));
    let now = whole(object, field);
    match kept {
        Some(kept) if now == Some(kept.set) => kept.own.unwrap_or(default),
        _ => now.unwrap_or(default),
    }
}

/// What an autoscaler's reference names.
fn scaled(namespace: &str, reference: &Value) -> Result<Target, (String, Left)> {
    let part = |name: &str, default: &'static str| {
        reference
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map_or(default.to_owned(), str::to_owned)
    };
    let (version, kind, name) = (part("apiVersion", "apps/v1"), part("kind", "Deployment"), part("name", ""));
    let kind = kind.to_lowercase();
    let plural = if kind.ends_with('y') { format!("{}ies", kind.trim_end_matches('y')) } else { format!("{kind}s") };
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let written = match group {
        "" => {
            let why = format!(
                "{version} {kind} is not scaled by trimtab: expected apps/v1 Deployment, StatefulSet or ReplicaSet, or a kind of another group"
            );
            return Err((format!("{namespace}/{kind}/{name}"), Left::of("spec.scaleTargetRef", why)));
        }
        "apps" => format!("{namespace}/{kind}/{name}"),
        group => format!("{namespace}/{plural}.{group}/{name}"),
    };
    let refused = |error: crate::config::TargetError| Left::of("spec.scaleTargetRef", error.to_string());
    written.parse().map_err(|error| (written.clone(), refused(error)))
}

// === reading ===

fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    at(value, pointer).as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> std::slice::Iter<'a, Value> {
    at(value, pointer).as_array().map_or([].iter(), |items| items.iter())
}

/// A whole number; people's files also have it as text.
fn whole(value: &Value, pointer: &str) -> Option<u32> {
    let value = at(value, pointer);
    let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())?;
    u32::try_from(number).ok()
}

#[cfg(test)]
mod tests;

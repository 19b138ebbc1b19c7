//! A case: everything that one look of the controller depends on.

use crate::moment::{Moment, Span};
use crate::object::{Autoscaler, Pod, PodMetrics, Scale, null_is_absent};
use crate::quantity::Quantity;
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;

/// What the controller sees and remembers at one moment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    /// Goes into the answer.
    pub id: Id,
    /// The time.
    pub now: Moment,
    /// The autoscaler.
    pub hpa: Autoscaler,
    /// The scale subresource of its target.
    pub scale: Scale,
    /// Pods; those that the selector does not select are left out.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub pods: Vec<Pod>,
    /// What the resource metrics API answers; nothing is a failed fetch.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub pod_metrics: Vec<PodMetrics>,
    /// What the custom metrics API answers of pods: by metric, then pod. What is not there is a failed fetch, here and below.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub pods_metrics: BTreeMap<String, BTreeMap<String, Quantity>>,
    /// What the custom metrics API answers of objects, by metric.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub object_metrics: BTreeMap<String, Quantity>,
    /// What the external metrics API answers, by metric.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub external_metrics: BTreeMap<String, Vec<Quantity>>,
    /// How the controller was started.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub controller: Controller,
    /// What it recommended before; a controller that knows nothing begins with the current size.
    #[serde(default)]
    pub recommendations: Option<Vec<Recommendation>>,
    /// When it added replicas.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub scale_up_events: Vec<ScaleEvent>,
    /// When it removed replicas.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub scale_down_events: Vec<ScaleEvent>,
}

/// What a case is called: a text or a whole number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i128),
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Given;
        impl Visitor<'_> for Given {
            type Value = Id;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a text or a whole number")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
                Ok(Id::Text(text.to_owned()))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Id, E> {
                Ok(Id::Number(number.into()))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Id, E> {
                Ok(Id::Number(number.into()))
            }
        }
        deserializer.deserialize_any(Given)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_i128(*number),
        }
    }
}

/// Flags of the kube-controller-manager, with upstream's defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Flags")]
pub struct Controller {
    /// `--horizontal-pod-autoscaler-tolerance`: how far off the target is still on it, as a share.
    pub tolerance: f64,
    /// `--horizontal-pod-autoscaler-cpu-initialization-period`: how long after its start a pod's CPU may be that of starting.
    pub cpu_initialization_period: Span,
    /// `--horizontal-pod-autoscaler-initial-readiness-delay`: a pod that stops being ready this early was never ready.
    pub initial_readiness_delay: Span,
    /// `--horizontal-pod-autoscaler-downscale-stabilization`: how long recommendations hold a size.
    pub downscale_stabilization: Span,
    /// `--feature-gates`, those that the autoscaler knows.
    pub feature_gates: FeatureGates,
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            tolerance: 0.1,
            cpu_initialization_period: Span::from_seconds(300),
            initial_readiness_delay: Span::from_seconds(30),
            downscale_stabilization: Span::from_seconds(300),
            feature_gates: FeatureGates::default(),
        }
    }
}

/// The flags that are given.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Flags {
    tolerance: Option<f64>,
    cpu_initialization_period: Option<Span>,
    initial_readiness_delay: Option<Span>,
    downscale_stabilization: Option<Span>,
    feature_gates: Option<FeatureGates>,
}

impl From<Flags> for Controller {
    fn from(given: Flags) -> Self {
        let default = Self::default();
        Self {
            tolerance: given.tolerance.unwrap_or(default.tolerance),
            cpu_initialization_period: given.cpu_initialization_period.unwrap_or(default.cpu_initialization_period),
            initial_readiness_delay: given.initial_readiness_delay.unwrap_or(default.initial_readiness_delay),
            downscale_stabilization: given.downscale_stabilization.unwrap_or(default.downscale_stabilization),
            feature_gates: given.feature_gates.unwrap_or(default.feature_gates),
        }
    }
}

/// What of the autoscaler is switched on; by default what 1.36 has on.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct FeatureGates {
    /// `HPAScaleToZero`: from 0 replicas, and back, where the autoscaler itself went there (alpha, off).
    #[serde(rename = "HPAScaleToZero")]
    pub scale_to_zero: bool,
    /// `HPAConfigurableTolerance`: tolerances of `behavior` count (beta since 1.35, on).
    #[serde(rename = "HPAConfigurableTolerance")]
    pub configurable_tolerance: bool,
    /// `PodLevelResources`: what a pod asks for as a whole counts (beta since 1.34, on).
    pub pod_level_resources: bool,
}

impl Default for FeatureGates {
    fn default() -> Self {
        Self { scale_to_zero: false, configurable_tolerance: true, pod_level_resources: true }
    }
}

/// A number of replicas that the metrics once asked for.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Recommendation {
    /// When.
    pub at: Moment,
    /// Replicas.
    pub replicas: i32,
}

/// A change of size.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ScaleEvent {
    /// When.
    pub at: Moment,
    /// By how many replicas; positive in both directions.
    pub change: i32,
}

//! What is read of the Kubernetes objects of a case. Fields are as the API names them; what the controller does not look at is not
//! here. A field that is absent or `null` is what Go makes of it: empty, 0, or not given.

use crate::moment::{Moment, Span};
use crate::quantity::Quantity;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// `null` is the same as not there.
pub(crate) fn null_is_absent<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Amounts by resource, such as `cpu`.
pub type Resources = BTreeMap<String, Quantity>;

macro_rules! object {
    ($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $type:ty = $wire:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, Deserialize)]
        pub struct $name {
            $($(#[$field_about])* #[serde(rename = $wire, default, deserialize_with = "null_is_absent")] pub $field: $type,)*
        }
    };
}

object! {
    /// `metadata`.
    Metadata {
        /// Name in its namespace.
        name: String = "name",
        /// Namespace; the autoscaler's own where it is not given.
        namespace: String = "namespace",
        /// Labels.
        labels: BTreeMap<String, String> = "labels",
        /// Since when it is being deleted.
        deletion_timestamp: Option<Moment> = "deletionTimestamp",
    }
}

// === the autoscaler ===

object! {
    /// `HorizontalPodAutoscaler` of `autoscaling/v2`.
    Autoscaler {
        /// Must be `autoscaling/v2` where it is given: other versions have other fields.
        api_version: Version = "apiVersion",
        /// Which one it is.
        metadata: Metadata = "metadata",
        /// What is wanted.
        spec: Spec = "spec",
        /// What the controller said before.
        status: Status = "status",
    }
}

/// The version of an autoscaler object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Version;

impl TryFrom<String> for Version {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "" | "autoscaling/v2" => Ok(Self),
            other => {
                Err(format!("expected autoscaling/v2, not {other:?}: kubectl get hpa.v2.autoscaling -o json prints it"))
            }
        }
    }
}

object! {
    /// `spec` of an autoscaler.
    Spec {
        /// What is scaled.
        scale_target_ref: Reference = "scaleTargetRef",
        /// Fewest replicas; 1 where it is not given.
        min_replicas: Option<i32> = "minReplicas",
        /// Most replicas.
        max_replicas: i32 = "maxReplicas",
        /// What is measured.
        metrics: Vec<MetricSpec> = "metrics",
        /// How fast it may go.
        behavior: Option<Behavior> = "behavior",
    }
}

object! {
    /// Another object (`CrossVersionObjectReference`).
    Reference {
        /// Group and version.
        api_version: String = "apiVersion",
        /// Kind.
        kind: String = "kind",
        /// Name.
        name: String = "name",
    }
}

object! {
    /// One of `spec.metrics`: a type, and what belongs to that type.
    MetricSpec {
        /// `Resource`, `ContainerResource`, `Pods`, `Object` or `External`.
        kind: String = "type",
        /// Of the type `Resource`.
        resource: Option<ResourceSource> = "resource",
        /// Of the type `ContainerResource`.
        container_resource: Option<ResourceSource> = "containerResource",
        /// Of the type `Pods`.
        pods: Option<CustomSource> = "pods",
        /// Of the type `Object`.
        object: Option<CustomSource> = "object",
        /// Of the type `External`.
        external: Option<CustomSource> = "external",
    }
}

object! {
    /// A resource of pods, or of one container of each.
    ResourceSource {
        /// Resource, such as `cpu`.
        name: String = "name",
        /// Container; none for the whole pod.
        container: String = "container",
        /// What it should be.
        target: Target = "target",
    }
}

object! {
    /// A metric of pods, of an object, or of nothing in the cluster.
    CustomSource {
        /// Which metric.
        metric: MetricIdentifier = "metric",
        /// What it should be.
        target: Target = "target",
    }
}

object! {
    /// Which metric.
    MetricIdentifier {
        /// Name.
        name: String = "name",
        /// Which of its series.
        selector: Option<LabelSelector> = "selector",
    }
}

object! {
    /// Which labels (`metav1.LabelSelector`).
    LabelSelector {
        /// Labels with their values.
        match_labels: BTreeMap<String, String> = "matchLabels",
        /// Further requirements.
        match_expressions: Vec<MatchExpression> = "matchExpressions",
    }
}

object! {
    /// A requirement on one label.
    MatchExpression {
        /// Label.
        key: String = "key",
        /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
        operator: String = "operator",
        /// Values.
        values: Vec<String> = "values",
    }
}

object! {
    /// What a metric should be (`MetricTarget`).
    Target {
        /// `Utilization`, `Value` or `AverageValue`.
        kind: String = "type",
        /// Of the whole.
        value: Option<Quantity> = "value",
        /// Of each pod.
        average_value: Option<Quantity> = "averageValue",
        /// Of what pods request, in percent.
        average_utilization: Option<i32> = "averageUtilization",
    }
}

object! {
    /// `spec.behavior`.
    Behavior {
        /// How fast it may grow.
        scale_up: Option<Rules> = "scaleUp",
        /// How fast it may shrink.
        scale_down: Option<Rules> = "scaleDown",
    }
}

object! {
    /// How fast it may go in one direction (`HPAScalingRules`).
    Rules {
        /// How long recommendations are remembered, in seconds.
        stabilization_window_seconds: Option<i32> = "stabilizationWindowSeconds",
        /// `Max`, `Min` or `Disabled`.
        select_policy: Option<String> = "selectPolicy",
        /// What may change in a time.
        policies: Vec<Policy> = "policies",
        /// How far off the target is still on it, as a share.
        tolerance: Option<Quantity> = "tolerance",
    }
}

object! {
    /// What may change in a time (`HPAScalingPolicy`).
    Policy {
        /// `Pods` or `Percent`.
        kind: String = "type",
        /// How many, or what share.
        value: i32 = "value",
        /// In how many seconds.
        period_seconds: i32 = "periodSeconds",
    }
}

object! {
    /// `status` of an autoscaler.
    Status {
        /// What the controller said before.
        conditions: Vec<Condition> = "conditions",
    }
}

/// A condition: what holds of an autoscaler, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Condition {
    /// `AbleToScale`, `ScalingActive`, `ScalingLimited` or `ScaledToZero`.
    #[serde(rename = "type", default, deserialize_with = "null_is_absent")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub status: String,
    /// One word.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub reason: String,
}

// === its target, and the pods ===

object! {
    /// The scale subresource of the target.
    Scale {
        /// What is wanted.
        spec: ScaleSpec = "spec",
        /// What there is.
        status: ScaleStatus = "status",
    }
}

object! {
    /// `spec` of a scale.
    ScaleSpec {
        /// Replicas wanted.
        replicas: i32 = "replicas",
    }
}

object! {
    /// `status` of a scale.
    ScaleStatus {
        /// Replicas there are.
        replicas: i32 = "replicas",
        /// Which pods they are.
        selector: String = "selector",
    }
}

object! {
    /// A pod.
    Pod {
        /// Which one it is.
        metadata: Metadata = "metadata",
        /// What it asks for.
        spec: PodSpec = "spec",
        /// What became of it.
        status: PodStatus = "status",
    }
}

object! {
    /// `spec` of a pod.
    PodSpec {
        /// Containers.
        containers: Vec<Container> = "containers",
        /// What runs before them, or (restarted always) beside them.
        init_containers: Vec<Container> = "initContainers",
        /// What the pod asks for as a whole.
        resources: Option<Requests> = "resources",
        /// What running a pod takes.
        overhead: Resources = "overhead",
    }
}

object! {
    /// A container of a pod.
    Container {
        /// Name.
        name: String = "name",
        /// What it asks for.
        resources: Requests = "resources",
        /// `Always` for an init container that is a sidecar.
        restart_policy: String = "restartPolicy",
    }
}

object! {
    /// `resources`.
    Requests {
        /// What is asked for.
        requests: Resources = "requests",
    }
}

object! {
    /// `status` of a pod.
    PodStatus {
        /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
        phase: String = "phase",
        /// Since when the kubelet knows it.
        start_time: Option<Moment> = "startTime",
        /// What holds of it.
        conditions: Vec<PodCondition> = "conditions",
    }
}

object! {
    /// A condition of a pod.
    PodCondition {
        /// `Ready` is looked at.
        kind: String = "type",
        /// `True`, `False` or `Unknown`.
        status: String = "status",
        /// Since when it is so.
        last_transition_time: Option<Moment> = "lastTransitionTime",
    }
}

object! {
    /// What a pod used (`PodMetrics` of `metrics.k8s.io`).
    PodMetrics {
        /// Whose it is.
        metadata: Metadata = "metadata",
        /// When it was taken.
        timestamp: Option<Moment> = "timestamp",
        /// Over which time, ending then.
        window: Option<Span> = "window",
        /// By container.
        containers: Vec<ContainerMetrics> = "containers",
    }
}

object! {
    /// What a container used.
    ContainerMetrics {
        /// Container.
        name: String = "name",
        /// By resource.
        usage: Resources = "usage",
    }
}

//! One metric of the spec: what is fetched for it, and what it proposes (`computeReplicasForMetric`, and the metrics clients).

use crate::answer::{Missing, Usage};
use crate::calculate::{self, Tolerances, Wanted};
use crate::case::Case;
use crate::moment::{Moment, Span};
use crate::object::{CustomSource, MetricSpec, PodMetrics, ResourceSource, Target};
use crate::pods::{self, Groups, Pods};
use crate::quantity::Quantity;
use crate::request::requests;
use crate::selector::{self, Selector};
use std::collections::BTreeMap;

/// What a pod used, in thousandths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Moment,
    pub(crate) window: Span,
    pub(crate) value: i64,
}

impl Sample {
    /// What is put in for a pod whose own sample does not count; nobody asks when it was taken.
    pub(crate) const fn assumed(value: i64) -> Self {
        Self { at: Moment::ABSENT, window: Span::from_seconds(0), value }
    }
}

/// Samples by pod.
pub(crate) type Samples = BTreeMap<String, Sample>;

/// What all metrics of a case are looked at with.
pub(crate) struct Look<'a> {
    pub(crate) case: &'a Case,
    pub(crate) selector: Selector,
    pub(crate) pods: Pods<'a>,
    pub(crate) tolerances: Tolerances,
}

/// What a metric asks for.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) replicas: i32,
    pub(crate) usage: Usage,
    /// Of metrics of pods: who counted.
    pub(crate) groups: Option<Groups>,
}

/// Why a metric asks for nothing.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The condition's reason.
    pub(crate) reason: &'static str,
    pub(crate) error: String,
}

/// What a metric is called.
pub(crate) fn name(spec: &MetricSpec) -> &str {
    let source = match spec.kind.as_str() {
        "Resource" => spec.resource.as_ref().map(|source| &source.name),
        "ContainerResource" => spec.container_resource.as_ref().map(|source| &source.name),
        "Pods" => spec.pods.as_ref().map(|source| &source.metric.name),
        "Object" => spec.object.as_ref().map(|source| &source.metric.name),
        "External" => spec.external.as_ref().map(|source| &source.metric.name),
        _ => None,
    };
    source.unwrap_or(&spec.kind)
}

/// What a metric asks for, or why it cannot say. `index` is its place in the spec.
///
/// # Errors
/// Where upstream would crash because a part is not there that the API server always fills in.
pub(crate) fn propose(look: &Look<'_>, spec: &MetricSpec, index: usize) -> Result<Result<Proposal, Failure>, Missing> {
    let missing = |part: &str| Missing { field: format!("hpa.spec.metrics[{index}].{part}") };
    let (reason, proposed) = match spec.kind.as_str() {
        "Resource" => {
            let source = spec.resource.as_ref().ok_or_else(|| missing("resource"))?;
            ("FailedGetResourceMetric", look.of_resource(source, ""))
        }
        "ContainerResource" => {
            let source = spec.container_resource.as_ref().ok_or_else(|| missing("containerResource"))?;
            ("FailedGetContainerResourceMetric", look.of_resource(source, &source.container))
        }
        "Pods" => {
            let source = spec.pods.as_ref().ok_or_else(|| missing("pods"))?;
            ("FailedGetPodsMetric", look.of_pods(source, || missing("pods.target.averageValue"))?)
        }
        "Object" => {
            let source = spec.object.as_ref().ok_or_else(|| missing("object"))?;
            ("FailedGetObjectMetric", look.of_object(source))
        }
        "External" => {
            let source = spec.external.as_ref().ok_or_else(|| missing("external"))?;
            ("FailedGetExternalMetric", look.of_external(source))
        }
        other => ("InvalidMetricSourceType", Err(format!("{other:?} is no type of a metric"))),
    };
    Ok(proposed.map_err(|error| Failure { reason, error }))
}

impl Look<'_> {
    fn current(&self) -> i32 {
        self.case.scale.spec.replicas
    }

    fn there(&self) -> i32 {
        self.case.scale.status.replicas
    }

    // === pods ===

    /// Samples of the pods that count, and who does not.
    fn counted(&self, mut samples: Samples, cpu: bool) -> Result<(Samples, Groups), String> {
        if self.pods.is_empty() {
            return Err("the selector selects no pods".to_owned());
        }
        let groups = pods::group(&self.pods, &samples, cpu, &self.case.controller, self.case.now);
        for name in groups.ignored.iter().chain(&groups.unready) {
            samples.remove(name);
        }
        if samples.is_empty() {
            return Err("no sample is of a pod that counts (they may not be ready)".to_owned());
        }
        Ok((samples, groups))
    }

    fn of_resource(&self, source: &ResourceSource, container: &str) -> Result<Proposal, String> {
        let Target { average_value, average_utilization, .. } = source.target;
        if average_value.is_none() && average_utilization.is_none() {
            return Err("the target has neither averageValue nor averageUtilization".to_owned());
        }
        let samples = self.resource_samples(&source.name, container)?;
        let (samples, groups) = self.counted(samples, source.name == "cpu")?;
        let (wanted, usage): (Wanted, fn(i64, bool) -> Usage) = match (average_value, average_utilization) {
            (Some(target), _) => {
                let target = (target.milli(), self.tolerances);
                let milli = |milli, binary| Usage::Milli { milli, binary };
                (calculate::by_average(self.current(), samples, &groups, target)?, milli)
            }
            (None, target) => {
                let target = (target.unwrap_or_default(), self.tolerances);
                let pod_level = self.case.controller.feature_gates.pod_level_resources;
                let requests = requests(&self.pods, container, &source.name, pod_level)?;
                let percent = |percent, _| Usage::Percent(percent);
                (calculate::by_utilization(self.current(), samples, &groups, &requests, target)?, percent)
            }
        };
        let usage = usage(wanted.usage, source.name == "memory");
        Ok(Proposal { replicas: wanted.replicas, usage, groups: Some(groups) })
    }

    /// What the resource metrics API says of the target's pods. A pod one of whose containers does not say has no sample.
    fn resource_samples(&self, resource: &str, container: &str) -> Result<Samples, String> {
        let namespace = self.case.hpa.metadata.namespace.as_str();
        let asked = |sample: &&PodMetrics| {
            // The API server answers for the selector; a sample without labels or namespace is taken to be from such an answer.
            let own = &sample.metadata;
            (own.labels.is_empty() || self.selector.matches(&own.labels))
                && (own.namespace.is_empty() || namespace.is_empty() || own.namespace == namespace)
        };
        let given: Vec<&PodMetrics> = self.case.pod_metrics.iter().filter(asked).collect();
        if given.is_empty() {
            return Err("the resource metrics API has no samples".to_owned());
        }
        let value = |sample: &PodMetrics| {
            if container.is_empty() {
                let used = |one: &crate::object::ContainerMetrics| one.usage.get(resource).map(|used| used.milli());
                let sum = sample.containers.iter().try_fold(0i64, |sum, one| Some(sum.wrapping_add(used(one)?)));
                return sum.filter(|_| !sample.containers.is_empty());
            }
            let named = sample.containers.iter().find(|one| one.name == container);
            named.and_then(|one| one.usage.get(resource)).map(|used| used.milli())
        };
        let taken = |sample: &PodMetrics| Sample {
            at: sample.timestamp.unwrap_or(Moment::ABSENT),
            window: sample.window.unwrap_or(Span::from_seconds(0)),
            value: 0,
        };
        let samples = given.into_iter().filter_map(|sample| {
            let value = value(sample)?;
            Some((sample.metadata.name.clone(), Sample { value, ..taken(sample) }))
        });
        Ok(samples.collect())
    }

    fn of_pods(
        &self,
        source: &CustomSource,
        missing: impl FnOnce() -> Missing,
    ) -> Result<Result<Proposal, String>, Missing> {
        if let Err(error) = selector::check(source.metric.selector.as_ref()) {
            return Ok(Err(error));
        }
        let target = source.target.average_value.ok_or_else(missing)?;
        Ok(self.of_pods_values(&source.metric.name, target))
    }

    fn of_pods_values(&self, name: &str, target: Quantity) -> Result<Proposal, String> {
        let values = self.case.pods_metrics.get(name).filter(|values| !values.is_empty());
        let values = values.ok_or_else(|| format!("the custom metrics API has no {name} of pods"))?;
        let samples = values.iter().map(|(pod, value)| (pod.clone(), Sample::assumed(value.milli()))).collect();
        let (samples, groups) = self.counted(samples, false)?;
        let wanted = calculate::by_average(self.current(), samples, &groups, (target.milli(), self.tolerances))?;
        let usage = Usage::Milli { milli: wanted.usage, binary: false };
        Ok(Proposal { replicas: wanted.replicas, usage, groups: Some(groups) })
    }

    // === values of a whole ===

    fn ready(&self) -> Result<usize, String> {
        if self.pods.is_empty() { Err("the selector selects no pods".to_owned()) } else { Ok(pods::ready(&self.pods)) }
    }

    fn of_object(&self, source: &CustomSource) -> Result<Proposal, String> {
        selector::check(source.metric.selector.as_ref())?;
        let name = &source.metric.name;
        let usage = || {
            let value = self.case.object_metrics.get(name);
            value
                .map(|value| value.milli())
                .ok_or_else(|| format!("the custom metrics API has no {name} of the object"))
        };
        let Target { kind, value, average_value, .. } = &source.target;
        let wanted = match (kind.as_str(), value, average_value) {
            ("Value", Some(target), _) => {
                calculate::by_value(self.current(), usage()?, (target.milli(), self.tolerances), || self.ready())?
            }
            ("AverageValue", _, Some(target)) => {
                calculate::by_share(self.there(), usage()?, (target.milli(), self.tolerances), false)
            }
            _ => return Err("the target has neither a value nor an averageValue that its type names".to_owned()),
        };
        Ok(whole(wanted))
    }

    fn of_external(&self, source: &CustomSource) -> Result<Proposal, String> {
        let name = &source.metric.name;
        let values = || {
            selector::check(source.metric.selector.as_ref())?;
            let values = self.case.external_metrics.get(name).filter(|values| !values.is_empty());
            let values = values.ok_or_else(|| format!("the external metrics API has no {name}"))?;
            Ok::<Vec<i64>, String>(values.iter().map(|value| value.milli()).collect())
        };
        let wanted = match (source.target.average_value, source.target.value) {
            (Some(target), _) => {
                let usage = calculate::sum(&values()?, true);
                calculate::by_share(self.there(), usage, (target.milli(), self.tolerances), true)
            }
            (None, Some(target)) => {
                let usage = calculate::sum(&values()?, false);
                calculate::by_value(self.current(), usage, (target.milli(), self.tolerances), || self.ready())?
            }
            (None, None) => return Err("the target has neither a value nor an averageValue".to_owned()),
        };
        Ok(whole(wanted))
    }
}

fn whole(wanted: Wanted) -> Proposal {
    Proposal { replicas: wanted.replicas, usage: Usage::Milli { milli: wanted.usage, binary: false }, groups: None }
}

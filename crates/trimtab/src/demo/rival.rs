//! What others do with the same demand: the horizontal pod autoscaler on CPU, and KEDA on requests a second.
//!
//! Both are [`trimtab_hpa::evaluate`], which answers as upstream's code does, every 15 s, with upstream's defaults. KEDA hands the HPA an
//! external metric with an average value for each replica; that is all it does while it scales between 1 and N. The targets are common
//! ones: 70 % CPU, and 35 requests/s of the 50 that a replica serves, which is the same utilisation. CPU comes from the metrics server,
//! which a lost Prometheus does not touch; the rate from Prometheus, with trimtab's own query.

use super::plant::{Measured, Plant, TICK};
use std::collections::BTreeMap;
use trimtab_core::unit::{Replicas, Seconds, Timestamp};
use trimtab_hpa::object::{
    Autoscaler, Container, ContainerMetrics, CustomSource, Metadata, MetricIdentifier, MetricSpec, Pod, PodCondition,
    PodMetrics, PodSpec, PodStatus, Requests, ResourceSource, Scale, ScaleSpec, ScaleStatus, Spec, Target,
};
use trimtab_hpa::{Case, Controller, Id, Moment, Quantity, Recommendation, Span, evaluate};

/// `--horizontal-pod-autoscaler-sync-period`.
const SYNC: Seconds = Seconds::whole(15);
/// Percent of the CPU that replicas ask for.
const CPU: i32 = 70;
/// Requests a second for each replica.
const RATE: &str = "35";
/// What a replica asks for, thousandths of a core.
const ASKED: f64 = 1_000.0;
const MIN: i32 = 2;
const MAX: i32 = 40;
/// Recommendations are remembered so long: `--horizontal-pod-autoscaler-downscale-stabilization`.
const WINDOW: Seconds = Seconds::whole(300);

/// What it scales on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Cpu,
    Rate,
}

/// Another autoscaler.
#[derive(Debug)]
pub(crate) struct Rival {
    on: On,
    hpa: Autoscaler,
    recommended: Vec<(Timestamp, i32)>,
    synced: Option<Timestamp>,
}

/// What it did.
#[derive(Clone, Debug)]
pub(crate) struct Did {
    pub(crate) to: Replicas,
    pub(crate) because: String,
}

impl Rival {
    pub(crate) fn new(on: On) -> Self {
        let metric = match on {
            On::Cpu => MetricSpec {
                kind: "Resource".into(),
                resource: Some(ResourceSource {
                    name: "cpu".into(),
                    target: Target { kind: "Utilization".into(), average_utilization: Some(CPU), ..Target::default() },
                    ..ResourceSource::default()
                }),
                ..MetricSpec::default()
            },
            On::Rate => MetricSpec {
                kind: "External".into(),
                external: Some(CustomSource {
                    metric: MetricIdentifier { name: "s0-prometheus".into(), selector: None },
                    target: Target {
                        kind: "AverageValue".into(),
                        average_value: Quantity::parse(RATE).ok(),
                        ..Target::default()
                    },
                }),
                ..MetricSpec::default()
            },
        };
        let spec = Spec { min_replicas: Some(MIN), max_replicas: MAX, metrics: vec![metric], ..Spec::default() };
        let metadata = Metadata { name: "checkout".into(), namespace: "shop".into(), ..Metadata::default() };
        let hpa = Autoscaler { metadata, spec, ..Autoscaler::default() };
        Self { on, hpa, recommended: Vec::new(), synced: None }
    }

    /// A look, where its sync period is over; what it set, where that is another size. `dark`: Prometheus answers nothing.
    pub(crate) fn look(&mut self, plant: &Plant, dark: bool, at: Timestamp) -> Option<Did> {
        if self.synced.is_some_and(|synced| at.since(synced) < SYNC) {
            return None;
        }
        self.synced = Some(at);
        let current = i32::try_from(plant.wanted().0).unwrap_or(i32::MAX);
        let answer = evaluate(&self.case(plant, dark, at)).ok()?;
        if let Some(proposal) = answer.proposal {
            self.recommended.push((at, proposal.max(0)));
        }
        self.hpa.status.conditions = answer.conditions;
        let to = u32::try_from(answer.desired).unwrap_or_default();
        (answer.desired != current).then_some(Did { to: Replicas(to), because: answer.because })
    }

    fn case(&mut self, plant: &Plant, dark: bool, at: Timestamp) -> Case {
        let first = Recommendation { at: moment(at), replicas: i32::try_from(plant.wanted().0).unwrap_or(i32::MAX) };
        self.recommended.retain(|(when, _)| at.since(*when) <= WINDOW);
        let recommended =
            self.recommended.iter().map(|(when, replicas)| Recommendation { at: moment(*when), replicas: *replicas });
        let recommendations = if self.recommended.is_empty() { vec![first] } else { recommended.collect() };
        let (pods, pod_metrics) = match self.on {
            On::Cpu => pods(plant, at),
            On::Rate => (Vec::new(), Vec::new()),
        };
        let rate = format!("{:.0}m", 1000.0 * plant.measured.rate.get());
        let external = (self.on == On::Rate && !dark).then(|| Quantity::parse(&rate).ok()).flatten();
        Case {
            id: Id::Number(i128::from(at.0)),
            now: moment(at),
            hpa: self.hpa.clone(),
            scale: Scale {
                spec: ScaleSpec { replicas: i32::try_from(plant.wanted().0).unwrap_or(i32::MAX) },
                status: ScaleStatus {
                    replicas: i32::try_from(plant.wanted().0).unwrap_or(i32::MAX),
                    selector: "app=checkout".into(),
                },
            },
            pods,
            pod_metrics,
            pods_metrics: BTreeMap::new(),
            object_metrics: BTreeMap::new(),
            external_metrics: external.into_iter().map(|rate| ("s0-prometheus".to_owned(), vec![rate])).collect(),
            controller: Controller::default(),
            recommendations: Some(recommendations),
            scale_up_events: Vec::new(),
            scale_down_events: Vec::new(),
        }
    }
}

fn moment(at: Timestamp) -> Moment {
    Moment::from_nanos(i128::from(at.0) * 1_000_000)
}

/// The pods, and what the metrics server says of those that are ready.
fn pods(plant: &Plant, at: Timestamp) -> (Vec<Pod>, Vec<PodMetrics>) {
    let Measured { cpu, .. } = plant.measured;
    let asked = Quantity::parse(&format!("{ASKED:.0}m")).unwrap_or(Quantity::ZERO);
    let used = Quantity::parse(&format!("{:.0}m", ASKED * cpu.get())).unwrap_or(Quantity::ZERO);
    let named = |number: u64| Metadata {
        name: format!("checkout-{number}"),
        namespace: "shop".into(),
        labels: BTreeMap::from([("app".into(), "checkout".into())]),
        deletion_timestamp: None,
    };
    let container = Container {
        name: "checkout".into(),
        resources: Requests { requests: BTreeMap::from([("cpu".into(), asked)]) },
        ..Container::default()
    };
    let mut pods = Vec::new();
    let mut metrics = Vec::new();
    for replica in plant.replicas() {
        let ready = replica.ready;
        let status = if ready.is_some() { "True" } else { "False" };
        let condition = PodCondition {
            kind: "Ready".into(),
            status: status.into(),
            last_transition_time: Some(moment(ready.unwrap_or(replica.created))),
        };
        pods.push(Pod {
            metadata: named(replica.number),
            spec: PodSpec { containers: vec![container.clone()], ..PodSpec::default() },
            status: PodStatus {
                phase: "Running".into(),
                start_time: Some(moment(replica.created)),
                conditions: vec![condition],
            },
        });
        if ready.is_some_and(|ready| at.since(ready) >= TICK) {
            metrics.push(PodMetrics {
                metadata: named(replica.number),
                timestamp: Some(moment(at)),
                window: Some(Span::from_seconds(15)),
                containers: vec![ContainerMetrics {
                    name: "checkout".into(),
                    usage: BTreeMap::from([("cpu".into(), used)]),
                }],
            });
        }
    }
    (pods, metrics)
}

#[cfg(test)]
mod tests {
    use super::super::plant::Weather;
    use super::*;
    use trimtab_core::unit::RequestsPerSecond;

    /// The size after ten minutes at 350 requests/s.
    fn settled(on: On, dark: bool) -> u32 {
        let mut at = Timestamp(0);
        let (mut plant, mut rival) = (Plant::new(1, at), Rival::new(on));
        for _ in 0..120 {
            at = at.after(TICK);
            plant.advance(RequestsPerSecond::whole(350), Weather::default(), at);
            if let Some(did) = rival.look(&plant, dark, at) {
                plant.scale(did.to, at);
            }
        }
        plant.wanted().0
    }

    #[test]
    fn others_settle_where_their_targets_say() {
        assert!((9..=11).contains(&settled(On::Cpu, false)), "{}", settled(On::Cpu, false));
        assert!((9..=11).contains(&settled(On::Rate, false)), "{}", settled(On::Rate, false));
    }

    #[test]
    fn a_lost_prometheus_holds_keda_and_not_the_metrics_server() {
        assert_eq!(settled(On::Rate, true), super::super::plant::FIRST);
        assert!(settled(On::Cpu, true) > 8);
    }
}

//! What others do with the same demand: the horizontal pod autoscaler on CPU, and KEDA on requests a second.
//!
//! Both are [`trimtab_hpa::evaluate`], which answers as upstream's code does, every 15 s, with upstream's defaults. KEDA hands the HPA an
//! external metric with an average value for each replica; that is all it does while it scales between 1 and N. The targets are common
//! ones: 70 % CPU, and 35 requests/s of the 50 that a replica serves, which is the same utilisation. CPU comes from the metrics server,
//! which a lost Prometheus does not touch; the rate from Prometheus, with trimtab's own query.
//!
//! Where a day lasts five minutes, its waiting times are a tenth of upstream's defaults ([`Pace`]).

use super::plant::Replica;
use std::collections::BTreeMap;
use trimtab_core::unit::{Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_hpa::object::{
    Autoscaler, Container, ContainerMetrics, CustomSource, Metadata, MetricIdentifier, MetricSpec, Pod, PodCondition,
    PodMetrics, PodSpec, PodStatus, Requests, ResourceSource, Scale, ScaleSpec, ScaleStatus, Spec, Target,
};
use trimtab_hpa::{Case, Controller, Id, Moment, Quantity, Recommendation, Span, evaluate};

/// Percent of the CPU that replicas ask for.
const CPU: i32 = 70;
/// Requests a second for each replica.
const RATE: &str = "35";
/// What a replica asks for, thousandths of a core.
const ASKED: f64 = 1_000.0;
const MIN: i32 = 2;
const MAX: i32 = 40;

/// How long it waits for what.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// `--horizontal-pod-autoscaler-sync-period`.
    sync: Seconds,
    /// What one answer of the metrics server is the mean of.
    metrics: Span,
    controller: Controller,
    /// Recommendations are remembered so long: its stabilization window.
    remembers: Seconds,
}

impl Pace {
    /// Upstream's defaults.
    pub(crate) fn upstream() -> Self {
        Self {
            sync: Seconds::whole(15),
            metrics: Span::from_seconds(15),
            controller: Controller::default(),
            remembers: Seconds::whole(300),
        }
    }

    /// A tenth of them; the metrics server's, which are whole seconds, not less than that.
    pub(crate) fn tenth() -> Self {
        let controller = Controller {
            cpu_initialization_period: Span::from_seconds(30),
            initial_readiness_delay: Span::from_seconds(3),
            downscale_stabilization: Span::from_seconds(30),
            ..Controller::default()
        };
        let sync = Seconds::milliseconds(1_500);
        Self { sync, metrics: Span::from_seconds(1), controller, remembers: Seconds::whole(30) }
    }
}

/// What it can know of the fleet that it scales.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) wanted: Replicas,
    pub(crate) replicas: Vec<Replica>,
    /// From the metrics server: CPU relative to what a replica asks for, by its number.
    pub(crate) cpu: BTreeMap<u64, Ratio>,
    /// From Prometheus, where that answers: requests that arrive a second.
    pub(crate) rate: Option<RequestsPerSecond>,
}

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
    pace: Pace,
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
    pub(crate) fn new(on: On, pace: Pace) -> Self {
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
        Self { on, pace, hpa, recommended: Vec::new(), synced: None }
    }

    /// A look, where its sync period is over; what it set, where that is another size.
    pub(crate) fn look(&mut self, seen: &Seen, at: Timestamp) -> Option<Did> {
        if self.synced.is_some_and(|synced| at.since(synced) < self.pace.sync) {
            return None;
        }
        let current = i32::try_from(seen.wanted.0).unwrap_or(i32::MAX);
        if self.synced.replace(at).is_none() {
            // A controller that knows nothing begins with the size that it finds, and remembers that.
            self.recommended.push((at, current));
        }
        let answer = evaluate(&self.case(seen, at)).ok()?;
        if let Some(proposal) = answer.proposal {
            self.recommended.push((at, proposal.max(0)));
        }
        self.hpa.status.conditions = answer.conditions;
        let to = u32::try_from(answer.desired).unwrap_or_default();
        (answer.desired != current).then_some(Did { to: Replicas(to), because: answer.because })
    }

    fn case(&mut self, seen: &Seen, at: Timestamp) -> Case {
        let wanted = i32::try_from(seen.wanted.0).unwrap_or(i32::MAX);
        let remembers = self.pace.remembers;
        self.recommended.retain(|(when, _)| at.since(*when) <= remembers);
        let recommended =
            self.recommended.iter().map(|(when, replicas)| Recommendation { at: moment(*when), replicas: *replicas });
        let recommendations = recommended.collect();
        let (pods, pod_metrics) = match self.on {
            On::Cpu => pods(seen, self.pace.metrics, at),
            On::Rate => (Vec::new(), Vec::new()),
        };
        let rate = seen.rate.filter(|_| self.on == On::Rate);
        let external = rate.and_then(|rate| Quantity::parse(&format!("{:.0}m", 1000.0 * rate.get())).ok());
        Case {
            id: Id::Number(i128::from(at.0)),
            now: moment(at),
            hpa: self.hpa.clone(),
            scale: Scale {
                spec: ScaleSpec { replicas: wanted },
                status: ScaleStatus { replicas: wanted, selector: "app=checkout".into() },
            },
            pods,
            pod_metrics,
            pods_metrics: BTreeMap::new(),
            object_metrics: BTreeMap::new(),
            external_metrics: external.into_iter().map(|rate| ("s0-prometheus".to_owned(), vec![rate])).collect(),
            controller: self.pace.controller.clone(),
            recommendations: Some(recommendations),
            scale_up_events: Vec::new(),
            scale_down_events: Vec::new(),
        }
    }
}

fn moment(at: Timestamp) -> Moment {
    Moment::from_nanos(i128::from(at.0) * 1_000_000)
}

/// The pods, and what the metrics server says of them.
fn pods(seen: &Seen, window: Span, at: Timestamp) -> (Vec<Pod>, Vec<PodMetrics>) {
    let millis = |share: f64| Quantity::parse(&format!("{:.0}m", ASKED * share)).unwrap_or(Quantity::ZERO);
    let asked = millis(1.0);
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
    for replica in &seen.replicas {
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
        if let Some(cpu) = seen.cpu.get(&replica.number) {
            metrics.push(PodMetrics {
                metadata: named(replica.number),
                timestamp: Some(moment(at)),
                window: Some(window),
                containers: vec![ContainerMetrics {
                    name: "checkout".into(),
                    usage: BTreeMap::from([("cpu".into(), millis(cpu.get()))]),
                }],
            });
        }
    }
    (pods, metrics)
}

#[cfg(test)]
mod tests {
    use super::super::plant::{Plant, TICK, Weather};
    use super::*;

    /// The size after ten minutes at 350 requests/s.
    fn settled(on: On, dark: bool) -> u32 {
        let mut at = Timestamp(0);
        let (mut plant, mut rival) = (Plant::new(1, at), Rival::new(on, Pace::upstream()));
        for _ in 0..120 {
            at = at.after(TICK);
            plant.advance(RequestsPerSecond::whole(350), Weather::default(), at);
            if let Some(did) = rival.look(&plant.seen(dark, at), at) {
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

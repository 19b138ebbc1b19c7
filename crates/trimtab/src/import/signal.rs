//! Signals: a metric of another autoscaler as demand and as what one replica may carry of it.

use super::{Left, adapter, at, list, text};
use crate::config::{CountedAt, Target};
use serde_json::Value;
use trimtab_hpa::Quantity;

/// The window of a rate over what the kubelets measure: they are commonly scraped every 30 s, and four samples outlive a missed scrape.
const WINDOW: &str = "2m";

/// A metric as a signal.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Signal {
    /// What there is to do, all replicas together.
    pub(super) query: String,
    /// What one replica may carry of it.
    pub(super) carries: Carries,
    /// Both in words.
    pub(super) says: String,
    /// Where it is counted.
    pub(super) counted_at: CountedAt,
}

/// What one replica may carry.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Carries {
    /// So much.
    Amount(f64),
    /// What this expression gives.
    Query(String),
}

/// What is scaled, as far as it is known.
pub(super) struct Scaled<'a> {
    pub(super) namespace: &'a str,
    /// A regular expression of its pods' names, as it stands in `PromQL`.
    pub(super) pods: String,
    /// Its pods' spec.
    template: Option<&'a Value>,
    pub(super) rules: adapter::Rules,
}

impl<'a> Scaled<'a> {
    pub(super) fn new(target: &'a Target, reference: &Value, around: &'a [Value]) -> Self {
        let kind = reference.pointer("/kind").and_then(Value::as_str).unwrap_or("Deployment");
        let itself = |object: &&Value| {
            text(object, "/kind") == kind
                && text(object, "/metadata/name") == target.name
                && object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default")
                    == target.namespace
        };
        let template = around.iter().find(itself).and_then(|object| object.pointer("/spec/template/spec"));
        let pods = super::pods(target);
        Self { namespace: &target.namespace, pods, template, rules: adapter::Rules::read(around) }
    }

    /// The series of the pods' containers, or of one container.
    fn series(&self, name: &str, container: Option<&str>) -> String {
        let container =
            container.map_or(r#"container!="",container!="POD""#.to_owned(), |name| format!(r#"container="{name}""#));
        format!(r#"{name}{{namespace="{}",pod=~"{}",{container}}}"#, self.namespace, self.pods)
    }

    /// What the pods request of a resource: all containers together, or one; `None` where the pods are not known.
    fn requested(&self, resource: &str, container: Option<&str>) -> Option<Result<f64, String>> {
        let template = self.template?;
        let stays = |container: &&Value| text(container, "/restartPolicy") == "Always";
        let all = list(template, "/containers").chain(list(template, "/initContainers").filter(stays));
        let wanted: Vec<&Value> = all.filter(|one| container.is_none_or(|name| text(one, "/name") == name)).collect();
        if wanted.is_empty() {
            return Some(Err(format!("the pods have no container {}", container.unwrap_or_default())));
        }
        let request = |one: &&Value| {
            let of = |kind: &str| amount(at(one, &format!("/resources/{kind}/{resource}")));
            of("requests").or_else(|| of("limits")).ok_or_else(|| {
                format!(
                    "container {} requests no {resource}, so that a share of the request is a share of nothing",
                    text(one, "/name")
                )
            })
        };
        Some(wanted.iter().map(request).sum())
    }
}

/// A resource's use.
pub(super) struct Use<'a> {
    /// `cpu` or `memory`.
    pub(super) resource: &'a str,
    /// Of one container; `None`: of all.
    pub(super) container: Option<&'a str>,
    /// As the metric is called in messages.
    pub(super) called: &'a str,
}

/// What a replica may use.
pub(super) enum May {
    /// This share of its request, in per cent.
    Percent(f64),
    /// So much: cores or bytes.
    Amount(f64),
}

/// The signal of a resource's use.
pub(super) fn of_use(used: &Use<'_>, may: &May, scaled: &Scaled<'_>) -> Result<Signal, Left> {
    let Use { resource, container, called } = *used;
    // Millicores, since a policy's figures are easier to read above 1.
    let (query, unit, factor) = match resource {
        "cpu" => {
            let series = scaled.series("container_cpu_usage_seconds_total", container);
            (format!("1000 * sum(max by (pod, container) (rate({series}[{WINDOW}])))"), "millicores", 1000.0)
        }
        "memory" => {
            let series = scaled.series("container_memory_working_set_bytes", container);
            (format!("sum(max by (pod, container) ({series}))"), "bytes", 1.0)
        }
        other => {
            return Err(Left::of(called, format!("nothing that Prometheus usually holds tells the use of {other}")));
        }
    };
    let (carries, says) = match may {
        May::Amount(amount) => {
            (Carries::Amount(amount * factor), format!("{called}: {} {unit} a replica", amount * factor))
        }
        May::Percent(percent) => match scaled.requested(resource, container) {
            Some(Ok(request)) => {
                let carries = figure(request * factor * percent / 100.0);
                (
                    Carries::Amount(carries),
                    format!("{called}: {percent} % of the {} {unit} that a replica requests", figure(request * factor)),
                )
            }
            Some(Err(why)) => return Err(Left::of(called, why)),
            None => {
                let labels = container.map_or(String::new(), |name| format!(r#",container="{name}""#));
                let series = format!(
                    r#"kube_pod_container_resource_requests{{namespace="{}",pod=~"{}",resource="{resource}"{labels}}}"#,
                    scaled.namespace, scaled.pods
                );
                let query = format!("{} * max(sum by (pod) ({series}))", figure(factor * percent / 100.0));
                (
                    Carries::Query(query),
                    format!("{called}: {percent} % of what a replica requests, as kube-state-metrics says"),
                )
            }
        },
    };
    Ok(Signal { query, carries, says, counted_at: CountedAt::Pods })
}

/// Several signals as one: the largest counts, in replicas that it asks for; where one is missing, there is none, as its autoscaler then
/// removes nothing.
pub(super) fn together(signals: &[Signal]) -> Option<Signal> {
    let share = |signal: &Signal| match &signal.carries {
        Carries::Amount(amount) => format!("({}) / {amount}", signal.query),
        Carries::Query(query) => format!("({}) / ({query})", signal.query),
    };
    match signals {
        [] => None,
        [only] => Some(only.clone()),
        [first, rest @ ..] => {
            let largest =
                rest.iter().fold(share(first), |all, one| format!("clamp_min({all}, scalar({}))", share(one)));
            let pods = signals.iter().all(|signal| signal.counted_at == CountedAt::Pods);
            Some(Signal {
                query: largest,
                carries: Carries::Amount(1.0),
                says: "the replicas that the most demanding of these asks for".to_owned(),
                counted_at: if pods { CountedAt::Pods } else { CountedAt::Proxy },
            })
        }
    }
}

/// A Kubernetes quantity as a number above 0.
pub(super) fn amount(value: &Value) -> Option<f64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    Quantity::parse(&text).ok().map(Quantity::approximate).filter(|amount| *amount > 0.0 && amount.is_finite())
}

/// Nine digits: what a sum or a product adds behind them means nothing.
fn figure(value: f64) -> f64 {
    format!("{value:.9}").parse().unwrap_or(value)
}

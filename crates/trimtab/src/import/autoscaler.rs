//! A `HorizontalPodAutoscaler` as a policy.

use super::page::Draft;
use super::signal::{self, May, Scaled, Signal, Use, amount};
use super::{Left, at, least, list, text, whole};
use crate::config::CountedAt;
use serde_json::Value;

const VALUE: &str = "a target of type Value is a ratio to the size that there is, and says nothing of how much there is to do; give the \
                     demand behind it as a query";

/// Reads all of it into the draft.
pub(super) fn read(object: &Value, scaled: &Scaled<'_>, draft: &mut Draft) {
    // What the API server fills in.
    draft.min = least(object, "/spec/minReplicas", 1);
    draft.max = whole(object, "/spec/maxReplicas").unwrap_or(draft.min.max(1));
    if draft.min == 0 {
        draft
            .left
            .push(Left::of("minReplicas: 0", "trimtab decides from 1 up; to and from 0 stays with the autoscaler"));
    }
    let metrics: Vec<&Value> = list(object, "/spec/metrics").collect();
    if metrics.is_empty() {
        let used = Use { resource: "cpu", container: None, called: "cpu (the default metric)" };
        draft.add(signal::of_use(&used, &May::Percent(80.0), scaled));
    }
    for metric in metrics {
        draft.add(of_metric(metric, scaled));
    }
    behavior(at(object, "/spec/behavior"), "behavior", draft);
}

fn of_metric(metric: &Value, scaled: &Scaled<'_>) -> Result<Signal, Left> {
    match text(metric, "/type") {
        "Resource" => of_resource(at(metric, "/resource"), None, scaled),
        "ContainerResource" => {
            let source = at(metric, "/containerResource");
            of_resource(source, Some(text(source, "/container")), scaled)
        }
        "Pods" => {
            let (name, called) = named(metric, "pods");
            let carries = average(metric, "pods", &called)?;
            let query = scaled.rules.of_pods(name, scaled).map_err(|why| Left::of(&called, why))?;
            Ok(adapted(query, carries, &called, CountedAt::Pods))
        }
        "Object" => {
            let (name, called) = named(metric, "object");
            let carries = average(metric, "object", &called)?;
            let object = at(metric, "/object/describedObject");
            let query = scaled.rules.of_object(name, object, scaled).map_err(|why| Left::of(&called, why))?;
            Ok(adapted(query, carries, &called, CountedAt::Proxy))
        }
        "External" => {
            let (name, called) = named(metric, "external");
            let carries = average(metric, "external", &called)?;
            let selector = at(metric, "/external/metric/selector");
            let query = scaled.rules.external(name, selector, scaled).map_err(|why| Left::of(&called, why))?;
            Ok(adapted(query, carries, &called, CountedAt::Proxy))
        }
        other => Err(Left::of(format!("metric of type {other}"), "the type is not known")),
    }
}

fn adapted(query: String, carries: f64, called: &str, counted_at: CountedAt) -> Signal {
    let says = format!("{called}: {carries} a replica; the expression is the prometheus-adapter's");
    Signal { query, carries: signal::Carries::Amount(carries), says, counted_at }
}

fn named<'a>(metric: &'a Value, source: &str) -> (&'a str, String) {
    let name = text(metric, &format!("/{source}/metric/name"));
    (name, format!("{source} metric {name}"))
}

fn average(metric: &Value, source: &str, called: &str) -> Result<f64, Left> {
    amount(at(metric, &format!("/{source}/target/averageValue"))).ok_or_else(|| Left::of(called, VALUE))
}

fn of_resource(source: &Value, container: Option<&str>, scaled: &Scaled<'_>) -> Result<Signal, Left> {
    let resource = text(source, "/name");
    let called = container.map_or(resource.to_owned(), |name| format!("{resource} of container {name}"));
    let percent = at(source, "/target/averageUtilization").as_f64().filter(|percent| *percent > 0.0);
    let may = match (percent, amount(at(source, "/target/averageValue"))) {
        (Some(percent), _) => May::Percent(percent),
        (None, Some(amount)) => May::Amount(amount),
        (None, None) => return Err(Left::of(called, "its target has neither averageUtilization nor averageValue")),
    };
    signal::of_use(&Use { resource, container, called: &called }, &may, scaled)
}

/// What of `behavior` a policy knows: the window of the way down. The rest is listed.
pub(super) fn behavior(behavior: &Value, place: &str, draft: &mut Draft) {
    draft.stabilization = whole(behavior, "/scaleDown/stabilizationWindowSeconds");
    for direction in ["scaleUp", "scaleDown"] {
        let rules = at(behavior, &format!("/{direction}"));
        if text(rules, "/selectPolicy") == "Disabled" {
            let why =
                "one direction cannot be switched off here; in shadow nothing is written, and a floor only ever raises";
            draft.left.push(Left::of(format!("{place}.{direction}.selectPolicy: Disabled"), why));
        } else if list(rules, "/policies").len() > 0 {
            let why =
                "a decision goes to half or to four times plus four at most, in one step; `ramp` bounds it further";
            draft.left.push(Left::of(format!("{place}.{direction}.policies"), why));
        }
        if rules.get("tolerance").is_some() {
            let why = "there is no dead band: a replica goes only where it is worth it, and none has needed it for the window";
            draft.left.push(Left::of(format!("{place}.{direction}.tolerance"), why));
        }
    }
    if whole(behavior, "/scaleUp/stabilizationWindowSeconds").is_some_and(|window| window > 0) {
        let why = "the way up does not wait: the forecast, not a window, tells noise from a rise";
        draft.left.push(Left::of(format!("{place}.scaleUp.stabilizationWindowSeconds"), why));
    }
}

//! A KEDA `ScaledObject` as a policy.
//!
//! A prometheus trigger's query is demand as it stands. Of every other trigger KEDA's operator publishes the value that it read, as
//! `keda_scaler_metrics_value`: that is demand, where Prometheus scrapes the operator and the trigger says what one replica may have of it.

use super::autoscaler::behavior;
use super::page::Draft;
use super::signal::{self, Carries, May, Scaled, Signal, Use, amount};
use super::{Left, at, least, list, text, whole};
use crate::config::CountedAt;
use serde_json::Value;
use std::collections::BTreeMap;

/// The word for what one replica may have, which each scaler calls by another name.
const SHARES: [&str; 12] = [
    "threshold",
    "lagThreshold",
    "queueLength",
    "listLength",
    "value",
    "targetValue",
    "targetQueryValue",
    "targetMetricValue",
    "metricThreshold",
    "messageCount",
    "desiredReplicas",
    "streamLength",
];

/// Reads all of it into the draft.
pub(super) fn read(object: &Value, scaled: &Scaled<'_>, draft: &mut Draft) {
    // What KEDA fills in.
    draft.min = least(object, "/spec/minReplicaCount", 0);
    draft.max = whole(object, "/spec/maxReplicaCount").unwrap_or(100);
    if draft.min == 0 || whole(object, "/spec/idleReplicaCount").is_some() {
        draft.left.push(Left::of("scaling to 0", "trimtab decides from 1 up; to and from 0 stays with KEDA"));
    }
    let modifiers = at(object, "/spec/advanced/scalingModifiers");
    let read = list(object, "/spec/triggers")
        .enumerate()
        .map(|(index, trigger)| (trigger, of_trigger(object, index, trigger, scaled)));
    let read: Vec<(&Value, Result<Signal, Left>)> = read.collect();
    if text(modifiers, "/formula").is_empty() {
        for (_, signal) in read {
            draft.add(signal);
        }
    } else {
        composed(modifiers, read, draft);
    }
    behavior(at(object, "/spec/advanced/horizontalPodAutoscalerConfig/behavior"), "behavior", draft);
    if object.pointer("/spec/fallback").is_some() {
        draft.left.push(Left::of("fallback", "where a reading is missing, the size is held, and nothing is removed"));
    }
    paused(object, draft);
}

fn paused(object: &Value, draft: &mut Draft) {
    let annotations = at(object, "/metadata/annotations").as_object().into_iter().flatten();
    for (name, value) in annotations.filter(|(name, _)| name.starts_with("autoscaling.keda.sh/paused")) {
        let value = value.as_str().unwrap_or_default();
        let why = "KEDA stands still while it is there; what is decided here does not know of it";
        draft.left.push(Left::of(format!("annotation {name}: {value}"), why));
    }
}

/// One value out of all, by a formula: where it only reckons with what each trigger says, its names can stand for their queries.
fn composed(modifiers: &Value, read: Vec<(&Value, Result<Signal, Left>)>, draft: &mut Draft) {
    let formula = text(modifiers, "/formula");
    let mut queries = BTreeMap::new();
    for (trigger, signal) in read {
        match signal {
            // A formula takes the place of what comes from outside; what the pods use stays a metric of its own.
            Ok(signal) if ["cpu", "memory"].contains(&text(trigger, "/type")) => draft.add(Ok(signal)),
            Ok(signal) => {
                queries.insert(text(trigger, "/name"), signal.query);
            }
            Err(left) => draft.left.push(left),
        }
    }
    let called = "scalingModifiers.formula";
    let Some(carries) = amount(at(modifiers, "/target")).filter(|_| text(modifiers, "/metricType") != "Value") else {
        draft.left.push(Left::of(called, "its target is no amount for one replica"));
        return;
    };
    draft.add(match substitute(formula, &queries) {
        Ok(query) => {
            let says = format!("{called}: {carries} a replica of {formula}");
            Ok(Signal { query, carries: Carries::Amount(carries), says, counted_at: CountedAt::Proxy })
        }
        Err(why) => Err(Left::of(called, why)),
    });
}

/// The formula with each name replaced by its query.
fn substitute(formula: &str, queries: &BTreeMap<&str, String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = formula.trim();
    while let Some(letter) = rest.chars().next() {
        let word = |inner: fn(char) -> bool| rest.find(|letter: char| !inner(letter)).unwrap_or(rest.len());
        if letter.is_alphabetic() || letter == '_' {
            let (name, after) = rest.split_at(word(|letter| letter.is_alphanumeric() || letter == '_'));
            let query = queries.get(name).ok_or_else(|| {
                format!("`{name}` is no trigger whose value is known; of formulas only + - * / over triggers can be carried over")
            })?;
            out.extend(["(", query, ")"]);
            rest = after;
        } else if letter.is_ascii_digit() || letter == '.' {
            let (number, after) = rest.split_at(word(|letter| letter.is_ascii_digit() || letter == '.'));
            out.push_str(number);
            rest = after;
        } else if "+-*/() ".contains(letter) {
            out.push(letter);
            rest = rest.get(1..).unwrap_or_default();
        } else {
            return Err(format!("`{letter}` cannot be carried over: of formulas only + - * / over triggers can"));
        }
    }
    Ok(out)
}

fn of_trigger(object: &Value, index: usize, trigger: &Value, scaled: &Scaled<'_>) -> Result<Signal, Left> {
    let (kind, metadata) = (text(trigger, "/type"), at(trigger, "/metadata"));
    let called = match text(trigger, "/name") {
        "" => format!("trigger {index} ({kind})"),
        name => format!("trigger {name} ({kind})"),
    };
    match kind {
        "cpu" | "memory" => of_use(trigger, kind, &called, scaled),
        "cron" => {
            let span = format!(
                "from `{}` to `{}` {}",
                text(metadata, "/start"),
                text(metadata, "/end"),
                text(metadata, "/timezone")
            );
            let size = text(metadata, "/desiredReplicas");
            let why = format!(
                "at least {size} replicas {span}: a season that recurs is found in demand by itself; of what is known to come, tell `events`"
            );
            Err(Left::of(called, why))
        }
        _ if text(trigger, "/metricType") == "Value" => Err(Left::of(
            called,
            "a metric of type Value is a ratio to the size that there is, and says nothing of how much there is to do; give the demand behind it as a query",
        )),
        "prometheus" => of_prometheus(metadata, &called),
        _ => of_published(object, index, (kind, metadata), &called),
    }
}

fn of_use(trigger: &Value, kind: &str, called: &str, scaled: &Scaled<'_>) -> Result<Signal, Left> {
    let metadata = at(trigger, "/metadata");
    let container = Some(text(metadata, "/containerName")).filter(|name| !name.is_empty());
    let value = amount(at(metadata, "/value")).ok_or_else(|| Left::of(called, "it has no value"))?;
    let kinds = [text(trigger, "/metricType"), text(metadata, "/type")];
    let may = if kinds.contains(&"AverageValue") { May::Amount(value) } else { May::Percent(value) };
    signal::of_use(&Use { resource: kind, container, called }, &may, scaled)
}

fn of_prometheus(metadata: &Value, called: &str) -> Result<Signal, Left> {
    let (query, server) = (text(metadata, "/query"), text(metadata, "/serverAddress"));
    let carries = amount(at(metadata, "/threshold")).ok_or_else(|| Left::of(called, "it has no threshold"))?;
    if query.is_empty() {
        return Err(Left::of(called, "it has no query"));
    }
    let says =
        format!("{called}: {carries} a replica; KEDA asks {server}, trimtab its own Prometheus (--prometheus-url)");
    Ok(Signal { query: query.to_owned(), carries: Carries::Amount(carries), says, counted_at: CountedAt::Proxy })
}

fn of_published(object: &Value, index: usize, (kind, metadata): (&str, &Value), called: &str) -> Result<Signal, Left> {
    let share = SHARES.iter().find_map(|name| amount(metadata.get(*name)?));
    let Some(carries) = share else {
        let why = format!(
            "nothing in its metadata says what one replica may have (known are {}); give demand and capacity",
            SHARES.join(", ")
        );
        return Err(Left::of(called, why));
    };
    let (namespace, name) = (
        object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default"),
        text(object, "/metadata/name"),
    );
    // Prometheus renames the label of what it scrapes where it has one of its own.
    let published = |label: &str| {
        format!(r#"keda_scaler_metrics_value{{{label}="{namespace}",scaledObject="{name}",metric=~"s{index}-.*"}}"#)
    };
    let query = format!("max({} or {})", published("exported_namespace"), published("namespace"));
    let says = format!(
        "{called}: {carries} a replica of what KEDA's {kind} scaler reads; Prometheus has to scrape KEDA's operator"
    );
    Ok(Signal { query, carries: Carries::Amount(carries), says, counted_at: CountedAt::Proxy })
}

//! The real controller of horizontal pod autoscalers, and `trimtab hpa`, sync for sync.
//!
//! The status of a real autoscaler is looked at often, each time with all that its controller goes by (`trimtab hpa --case`). Where it
//! changed between two looks and the inputs did not, the controller has decided on just these inputs: what `trimtab hpa` makes of them
//! must be its word, size and conditions.

use crate::beside::{hpa, trimtab};
use crate::cluster::{Cluster, binary};
use crate::world::World;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

/// What happens, one after the other.
const STAGES: [&str; 6] =
    ["as it should be", "too much", "a metric that fails", "up disabled", "a rollout", "next to nothing"];
/// Syncs that are compared in each, and the longest that a stage lasts: the controller syncs every 15 s.
const SYNCS: usize = 1;
const STAGE: Duration = Duration::from_secs(75);
/// How long the size that was changed last still counts in a rate of 15 s, with the time between two looks.
const RECENT: Duration = Duration::from_secs(20);

fn look(cluster: &Cluster, namespace: &str) -> Option<Value> {
    let (said, code) = trimtab(cluster, &["hpa", &format!("{namespace}/web"), "--case"]);
    serde_json::from_str(said.trim()).ok().filter(|_| code == Some(0))
}

fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// What the controller goes by, but for its own status and what it changes itself.
fn inputs(case: &Value) -> Value {
    let pods = at(case, "/pods").as_array().into_iter().flatten();
    let pods: Vec<Value> = pods
        .map(|pod| json!([at(pod, "/metadata/name"), at(pod, "/metadata/deletionTimestamp"), at(pod, "/status")]))
        .collect();
    let metrics = at(case, "/podMetrics").as_array().into_iter().flatten();
    let metrics: Vec<Value> =
        metrics.map(|one| json!([at(one, "/metadata/name"), at(one, "/timestamp"), at(one, "/containers")])).collect();
    json!([at(case, "/hpa/spec"), pods, metrics, at(case, "/externalMetrics")])
}

/// The size, and the conditions with their reasons.
fn word(desired: &Value, conditions: &Value) -> Value {
    let conditions = conditions.as_array().into_iter().flatten();
    let conditions: Vec<Value> =
        conditions.map(|one| json!([at(one, "/type"), at(one, "/status"), at(one, "/reason")])).collect();
    json!([desired, conditions])
}

/// The controller's size; where its metrics all failed it leaves what its status said before, which stands for the size that there is.
fn desired(before: &Value, is: &Value) -> Value {
    let mut conditions = at(is, "/conditions").as_array().into_iter().flatten();
    let blind = conditions.any(|one| at(one, "/type") == "ScalingActive" && at(one, "/status") == "False");
    let said = |status: &Value| at(status, "/desiredReplicas").as_i64().unwrap_or_default();
    if blind && said(is) == said(at(before, "/hpa/status")) {
        return at(before, "/scale/spec/replicas").clone();
    }
    at(is, "/desiredReplicas").clone()
}

/// What `trimtab hpa --cases` makes of a case.
fn answer(case: &Value) -> Value {
    let mut process = Command::new(binary("trimtab"))
        .args(["hpa", "--cases", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    writeln!(process.stdin.take().expect("its input"), "{case}").expect("it reads");
    let output = process.wait_with_output().expect("it ends");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("one answer");
    word(at(&answer, "/desired"), at(&answer, "/conditions"))
}

/// The same inputs as the controller may have seen them: at the one look or at the other, and with or without the change of size that it
/// remembers, where that is about as old as its rates look back.
fn answers(before: &Value, after: &Value, changed: Option<(Instant, &str, i64)>) -> Vec<Value> {
    let mut answers = Vec::new();
    for seen in [before, after] {
        for event in [None, changed.filter(|(at, ..)| at.elapsed() < RECENT)] {
            let mut case = before.clone();
            let Some(fields) = case.as_object_mut() else { continue };
            for field in ["now", "pods", "podMetrics"] {
                fields.insert(field.to_owned(), at(seen, &format!("/{field}")).clone());
            }
            if let Some((_, direction, change)) = event {
                let event = json!([{"at": at(before, "/now"), "change": change}]);
                fields.insert(format!("scale{direction}Events"), event);
            }
            answers.push(answer(&case));
        }
    }
    answers.dedup();
    answers
}

async fn begin(world: &mut World, stage: &str) {
    let mut spec: Value = serde_json::from_str(&hpa("web", "web")).expect("it is JSON");
    let metric = json!({"type": "External", "external": {"metric": {"name": "nobody-has-it"}, "target": {"type": "AverageValue", "averageValue": "1"}}});
    let failing = ["a metric that fails", "up disabled"].contains(&stage);
    let up = if stage == "up disabled" { "Disabled" } else { "Max" };
    if let Some(spec) = spec.pointer_mut("/spec").and_then(Value::as_object_mut) {
        // What it recommended before is not seen here: nothing is held back for it.
        spec.insert(
            "behavior".into(),
            json!({"scaleDown": {"stabilizationWindowSeconds": 0}, "scaleUp": {"selectPolicy": up}}),
        );
        if failing && let Some(metrics) = spec.get_mut("metrics").and_then(Value::as_array_mut) {
            metrics.push(metric);
        }
    }
    world.apply(&spec.to_string()).await;
    match stage {
        "as it should be" => world.load(60).await,
        "too much" => world.load(150).await,
        "up disabled" => world.load(250).await,
        "a rollout" => {
            let status = Command::new("kubectl")
                .args(["-n", world.namespace(), "rollout", "restart", "deployment/web"])
                .env("KUBECONFIG", &world.cluster.kubeconfig)
                .stdout(Stdio::null())
                .status();
            assert!(status.is_ok_and(|status| status.success()), "kubectl rollout restart");
        }
        "next to nothing" => world.load(5).await,
        _ => {}
    }
}

#[tokio::test]
async fn the_real_controllers_word_is_ours_at_every_sync() {
    let Some(cluster) = Cluster::with_nodes("the real HPA controller").await else { return };
    let mut world = World::empty(&cluster, "e2e-hpa").await;
    world.start_service_with_cpu(2, &["--cpu-share", "0.08"], "100m").await;
    let namespace = world.namespace().to_owned();
    let (mut compared, mut differences) = (Vec::new(), String::new());
    let mut changed: Option<(Instant, &str, i64)> = None;
    let mut looks = tokio::time::interval(Duration::from_millis(500));
    for stage in STAGES {
        begin(&mut world, stage).await;
        let (begun, mut syncs) = (Instant::now(), 0);
        let mut before: Option<Value> = None;
        while syncs < SYNCS && begun.elapsed() < STAGE {
            looks.tick().await;
            let Some(after) = look(&cluster, &namespace) else { continue };
            let Some(before) = before.replace(after.clone()) else { continue };
            let (was, is) = (at(&before, "/hpa/status"), at(&after, "/hpa/status"));
            if was == is || at(is, "/conditions").is_null() {
                continue;
            }
            let (from, to) = (at(&before, "/scale/spec/replicas").as_i64(), at(is, "/desiredReplicas").as_i64());
            if inputs(&before) == inputs(&after) {
                let theirs = word(&desired(&before, is), at(is, "/conditions"));
                let ours = answers(&before, &after, changed);
                if !ours.contains(&theirs) {
                    let _ = writeln!(differences, "{stage}:\n theirs {theirs}\n ours   {ours:?}\n case   {before}");
                }
                syncs += 1;
                compared.push(stage);
            }
            if let (Some(from), Some(to)) = (from, to)
                && from != to
            {
                changed = Some((Instant::now(), if to > from { "Up" } else { "Down" }, (to - from).abs()));
            }
        }
    }
    println!("{} syncs of the real controller compared: {compared:?}", compared.len());
    assert!(differences.is_empty(), "{differences}");
    assert!(compared.len() >= STAGES.len(), "too few syncs could be compared: {compared:?}");
}

//! Autoscalers that nothing can be made of: each workload says so, holds, and the others go on. Needs no nodes.

use crate::beside::{hpa, trimtab};
use crate::cluster::{Cluster, until};
use crate::world::{Agent, World};
use serde_json::{Value, json};
use std::path::PathBuf;
use trimtab::report::{Lack, Report, Workload};

/// What each of them lacks, by its name in the namespace.
const MISFITS: [(&str, Lack); 5] = [
    ("deployment/ghost", Lack::TargetMissing),
    ("widgets.example.com/web", Lack::KindUnknown),
    ("boards.misfits.trimtab.dev/web", Lack::NotScalable),
    ("daemonset/web", Lack::NoPolicy),
    ("deployment/twice", Lack::ScaledTwice),
];

#[tokio::test]
async fn autoscalers_of_nothing_of_no_kind_and_in_pairs_are_each_said_once_and_the_others_go_on() {
    let Some(cluster) = Cluster::find("misfits").await else { return };
    let _kinds = [Crd::install(&cluster, "boards", "misfits.trimtab.dev", false).await];
    let world = World::empty(&cluster, "e2e-misfits").await;
    let namespace = world.namespace().to_owned();
    world.deploy_service(2, &[], "100m").await;
    world.apply(&idle("twice", 3)).await;
    until("the API server serves the new kind", 30, async || {
        kube::discovery::group(&cluster.client, "misfits.trimtab.dev").await.ok()
    })
    .await;
    world.apply(&custom("misfits.trimtab.dev/v1", "Board").to_string()).await;
    for autoscaler in [
        hpa("web", "web"),
        hpa("ghost", "ghost"),
        hpa("first", "twice"),
        hpa("second", "twice"),
        of("widget", "example.com/v1", "Widget"),
        of("board", "misfits.trimtab.dev/v1", "Board"),
        of("daemonset", "apps/v1", "DaemonSet"),
    ] {
        world.apply(&autoscaler).await;
    }
    let mark = cluster.is_testbed("misfits (audit log)").then(|| cluster.audit_mark());
    let agent = world.trimtab_without_policy();
    agent.until("the workload that is in order is decided", 90, |web| web.last.is_some()).await;
    for (name, lack) in MISFITS {
        until(&format!("{name} says {lack}"), 60, async || lacks(&agent.report().await?, &namespace, name, lack)).await;
    }
    each_is_shown_and_counted(&cluster, &agent, &namespace).await;
    each_is_logged_once(&world, &agent).await;
    assert_eq!(cluster.replicas_if_known(&namespace, "twice").await, Some(3), "it holds");
    what_is_mended_goes_on(&cluster, &world, &agent).await;
    assert!(agent.process.end("-TERM").success());
    if let Some(mark) = mark {
        let ours = |entry: &crate::cluster::Audited| entry.is_ours() && entry.object_ref.namespace == namespace;
        let written: Vec<_> = cluster.audited(mark).into_iter().filter(ours).collect();
        assert!(written.is_empty(), "shadow wrote: {written:?}");
    }
}

fn lacks(report: &Report, namespace: &str, name: &str, lack: Lack) -> Option<()> {
    let workload = named(report, namespace, name)?;
    let said = workload.conditions.iter().any(|condition| condition.name == lack);
    (said && workload.last.is_none()).then_some(())
}

fn named<'a>(report: &'a Report, namespace: &str, name: &str) -> Option<&'a Workload> {
    report.workloads.iter().find(|workload| workload.workload == format!("{namespace}/{name}"))
}

/// In `status` as a condition, in the metrics as a series.
async fn each_is_shown_and_counted(cluster: &Cluster, agent: &Agent, namespace: &str) {
    let (status, code) = trimtab(cluster, &["status", "--url", &agent.url]);
    assert_eq!(code, Some(0), "{status}");
    let metrics = reqwest::get(format!("{}/metrics", agent.url)).await.expect("it listens");
    let metrics = metrics.text().await.expect("it is text");
    for (name, lack) in MISFITS {
        assert!(status.contains(&format!("\n{lack}: {namespace}/{name}: ")), "{name}: {status}");
        let (kind, short) = name.split_once('/').expect("kind and name");
        let labels = format!(r#"namespace="{namespace}",kind="{kind}",workload="{short}",condition="{lack}""#);
        assert!(metrics.contains(&format!("trimtab_workload_condition{{{labels}}} 1")), "{labels}: {metrics}");
    }
    for both in [format!("hpa {namespace}/first"), format!("hpa {namespace}/second")] {
        assert!(status.contains(&both), "{status}");
    }
}

/// However often they are looked at.
async fn each_is_logged_once(world: &World, agent: &Agent) {
    let lines = |what: &str| world.log().lines().filter(|line| line.contains(what)).count();
    let said =
        |name: &str, lack: Lack| lines(&format!("workload=\"{}/{name}\" condition=\"{lack}\"", world.namespace()));
    for (name, lack) in MISFITS {
        until(&format!("{name} is logged"), 30, async || (said(name, lack) > 0).then_some(())).await;
    }
    // The API server is asked for an unknown kind every 30 s.
    let before = agent.report().await.expect("it answers").at;
    until("it looked for 35 s more, and the others went on", 90, async || {
        let web = agent.workload().await?;
        let last = web.last?.decision.at;
        (last.since(before).get() > 35.0).then_some(())
    })
    .await;
    for (name, lack) in MISFITS {
        assert_eq!(said(name, lack), 1, "{name}: {}", world.log());
        let (_, short) = name.split_once('/').expect("kind and name");
        let warned =
            world.log().lines().filter(|line| line.contains(" WARN ") && line.contains(&format!("/{short}"))).count();
        // Three of them are called `web`.
        assert!(warned <= if short == "web" { 3 } else { 1 }, "{name}: {warned}: {}", world.log());
    }
}

/// A target is created, a kind is installed, a second autoscaler is deleted.
async fn what_is_mended_goes_on(cluster: &Cluster, world: &World, agent: &Agent) {
    world.apply(&idle("ghost", 1)).await;
    world.delete("hpa", "second");
    let _widgets = Crd::install(cluster, "widgets", "example.com", true).await;
    until("the API server serves the kind that was missing", 30, async || {
        kube::discovery::group(&cluster.client, "example.com").await.ok()
    })
    .await;
    world.apply(&custom("example.com/v1", "Widget").to_string()).await;
    for name in ["deployment/ghost", "deployment/twice", "widgets.example.com/web"] {
        until(&format!("{name} is decided"), 90, async || {
            let report = agent.report().await?;
            let workload = named(&report, world.namespace(), name)?;
            (workload.conditions.is_empty() && workload.last.is_some()).then_some(())
        })
        .await;
        let over = format!("no longer lacking workload=\"{}/{name}\"", world.namespace());
        until(&format!("that {name} is mended is said"), 30, async || world.log().contains(&over).then_some(())).await;
    }
}

/// An autoscaler of CPU of an object `web` of any kind.
fn of(name: &str, version: &str, kind: &str) -> String {
    let mut autoscaler: Value = serde_json::from_str(&hpa(name, "web")).expect("it is JSON");
    let reference = autoscaler.pointer_mut("/spec/scaleTargetRef").expect("it has a target");
    *reference = json!({"apiVersion": version, "kind": kind, "name": "web"});
    autoscaler.to_string()
}

/// A Deployment whose pods need not run.
fn idle(name: &str, replicas: u32) -> String {
    let labels = json!({"app": name});
    let pause =
        json!({"name": "pause", "image": "trimtab.dev/reference:dev", "resources": {"requests": {"cpu": "10m"}}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [pause]}},
        },
    })
    .to_string()
}

fn custom(version: &str, kind: &str) -> Value {
    json!({
        "apiVersion": version, "kind": kind, "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": "app=web"},
    })
}

/// A kind of objects, gone with the test.
struct Crd(String, PathBuf);

impl Crd {
    async fn install(cluster: &Cluster, plural: &str, group: &str, scales: bool) -> Self {
        let singular = plural.trim_end_matches('s');
        let kind = format!("{}{}", singular[..1].to_uppercase(), &singular[1..]);
        let scale = json!({
            "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".spec.selector",
        });
        let subresources = if scales { json!({"scale": scale}) } else { json!({}) };
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}},
            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
        }});
        let name = format!("{plural}.{group}");
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"plural": plural, "singular": singular, "kind": kind},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": schema}, "subresources": subresources,
                }],
            },
        });
        cluster.apply("default", &crd.to_string()).await;
        Self(name, cluster.kubeconfig.clone())
    }
}

impl Drop for Crd {
    fn drop(&mut self) {
        let kubectl = ["delete", "crd", &self.0, "--wait=false", "--ignore-not-found"];
        let _ = std::process::Command::new("kubectl").args(kubectl).env("KUBECONFIG", &self.1).output();
    }
}

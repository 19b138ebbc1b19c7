//! A target that is no Deployment: a custom resource, known by its `scale` subresource alone.

use crate::cluster::{Cluster, until};
use crate::world::{Agent, World};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use trimtab::report::Writes;

const CRD: &str = "crews.tests.trimtab.dev";

#[tokio::test]
async fn a_custom_resource_with_a_scale_subresource_is_scaled() {
    let Some(cluster) = Cluster::with_nodes("a custom resource").await else { return };
    let world = World::with_service(&cluster, "e2e-custom", 2, &[]).await;
    let namespace = world.namespace();
    let _crd = Crd::install(&cluster).await;
    let gvk = GroupVersionKind::gvk("tests.trimtab.dev", "v1", "Crew");
    let crews: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), namespace, &ApiResource::from_gvk(&gvk));
    let crew = json!({
        "apiVersion": "tests.trimtab.dev/v1", "kind": "Crew",
        "metadata": { "name": "web", "labels": { "trimtab.dev/mode": "own" } },
        "spec": { "replicas": 2 },
    });
    let crew: DynamicObject = serde_json::from_value(crew).expect("an object");
    until("the API server serves the new kind", 30, async || crews.create(&PostParams::default(), &crew).await.ok())
        .await;

    std::fs::write(world.directory.path().join("policy.yaml"), policy(namespace)).expect("a file");
    let target = format!("{namespace}/crews.tests.trimtab.dev/web");
    let mut agent = Agent::start(&cluster, namespace, world.directory.path(), &cluster.kubeconfig);
    agent.workload.clone_from(&target);
    until("it says which selector it misses", 60, async || {
        let problem = agent.workload().await?.problem?;
        problem.contains("names no selector of its pods").then_some(())
    })
    .await;

    // As the kind's own controller would, later.
    let selected = json!({ "status": { "replicas": 2, "selector": "app=web" } });
    let merge = Patch::Merge(&selected);
    crews.patch_status("web", &PatchParams::default(), &merge).await.expect("its status can be written");
    let size = async || crews.get("web").await.ok()?.data.pointer("/spec/replicas").and_then(Value::as_u64);
    until("it is scaled to what 150 requests/s need", 90, async || size().await.filter(|size| *size >= 4)).await;
    let workload = agent.until("it shows its write", 30, |workload| workload.changed.is_some()).await;
    assert_eq!(workload.writes, Writes::Own);
    assert_eq!(workload.last.map(|last| last.snapshot.fleet.ready.0), Some(2), "its pods are found by its selector");
    until("nothing is in trouble any more", 60, async || {
        agent.report().await.filter(|report| report.troubles.is_empty())
    })
    .await;
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), namespace);
    until("the change is announced on it", 30, async || {
        let events = events.list(&ListParams::default()).await.ok()?;
        let regarding = |event: &Event| event.regarding.as_ref().and_then(|object| object.kind.clone());
        events.iter().any(|event| regarding(event).as_deref() == Some("Crew")).then_some(())
    })
    .await;
    assert!(agent.process.end("-TERM").success());
    world.replay(0);
}

fn policy(namespace: &str) -> String {
    format!(
        "workloads:
  - target: {namespace}/crews.tests.trimtab.dev/web
    replicas: {{ min: 2, max: 9 }}
    demand: {{ query: 'vector(150)' }}
    capacity: {{ rate: 50 }}
    slo: {{ target: 200ms }}
    mode: own
"
    )
}

/// The kind, gone with the test.
struct Crd(std::path::PathBuf);

impl Crd {
    async fn install(cluster: &Cluster) -> Self {
        let replicas = json!({ "type": "object", "properties": { "replicas": { "type": "integer" } } });
        let status = json!({
            "type": "object",
            "properties": { "replicas": { "type": "integer" }, "selector": { "type": "string" } },
        });
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": CRD },
            "spec": {
                "group": "tests.trimtab.dev", "scope": "Namespaced",
                "names": { "plural": "crews", "singular": "crew", "kind": "Crew" },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": {
                        "type": "object", "properties": { "spec": replicas, "status": status },
                    }},
                    "subresources": { "status": {}, "scale": {
                        "specReplicasPath": ".spec.replicas",
                        "statusReplicasPath": ".status.replicas",
                        "labelSelectorPath": ".status.selector",
                    }},
                }],
            },
        });
        cluster.apply("default", &crd.to_string()).await;
        Self(cluster.kubeconfig.clone())
    }
}

impl Drop for Crd {
    fn drop(&mut self) {
        let kubectl = ["delete", "crd", CRD, "--wait=false", "--ignore-not-found"];
        let _ = std::process::Command::new("kubectl").args(kubectl).env("KUBECONFIG", &self.0).output();
    }
}

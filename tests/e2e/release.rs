//! `trimtab release --all` on the real API server: through the shipped admission policies, while agents run.

use crate::beside::{know_scaled_objects, scaled_object, trimtab};
use crate::cluster::{Cluster, throughout, until};
use crate::install::{Install, OWN};
use crate::world::{World, policy_map};
use kube::api::{Api, ApiResource, DynamicObject};
use serde_json::{Value, json};
use std::process::Command;

const EPOCH: &str = "trimtab.dev/epoch";

/// A Deployment of no pods that can run: agents decide it all the same.
pub(crate) fn deployment(name: &str, labels: &Value) -> String {
    let container =
        json!({"name": "web", "image": "trimtab.dev/reference:dev", "resources": {"requests": {"cpu": "1"}}});
    let pod = json!({"automountServiceAccountToken": false, "nodeSelector": {"example.com/nowhere": "true"}, "containers": [container]});
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 4, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    });
    object.to_string()
}

/// An object with more in one of its maps.
fn with(text: &str, map: &str, more: &Value) -> String {
    let mut object: Value = serde_json::from_str(text).expect("it is JSON");
    let fields = object.pointer_mut(map).and_then(Value::as_object_mut).expect("there is such a map");
    fields.extend(more.as_object().expect("it is a map").clone());
    object.to_string()
}

pub(crate) fn hpa(name: &str) -> String {
    let behavior = json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}});
    with(&crate::beside::hpa(name, name), "/spec", &behavior)
}

/// Its owner's word, and a label of their own.
pub(crate) fn labelled(text: &str) -> String {
    with(text, "/metadata", &json!({"labels": {"trimtab.dev/mode": "floor", "team": "shop"}}))
}

/// Everything of a namespace that trimtab could mark: its metadata and its spec, by kind and name.
async fn everything(cluster: &Cluster, namespace: &str) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (group, version, kind, plural) in [
        ("apps", "v1", "Deployment", "deployments"),
        ("apps", "v1", "StatefulSet", "statefulsets"),
        ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
        ("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects"),
    ] {
        let resource = ApiResource {
            group: group.into(),
            version: version.into(),
            api_version: format!("{group}/{version}"),
            kind: kind.into(),
            plural: plural.into(),
        };
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), namespace, &resource);
        let listed = api.list(&kube::api::ListParams::default()).await.expect("it can be listed");
        // What KEDA makes of a ScaledObject carries copies.
        let owned = |object: &DynamicObject| object.metadata.owner_references.is_some();
        for object in listed.into_iter().filter(|object| !owned(object)) {
            let name = object.metadata.name.clone().unwrap_or_default();
            all.push((format!("{plural}/{name}"), serde_json::to_value(object).expect("it is JSON")));
        }
    }
    all
}

/// The marks of ours on any of them.
fn marks(all: &[(String, Value)]) -> Vec<String> {
    let mut marks = Vec::new();
    for (name, object) in all {
        for place in ["/metadata/labels", "/metadata/annotations"] {
            let keys = object.pointer(place).and_then(Value::as_object).into_iter().flat_map(|map| map.keys());
            marks.extend(keys.filter(|key| key.starts_with("trimtab.dev/")).map(|key| format!("{name} {key}")));
        }
    }
    marks
}

/// What the autoscalers say.
fn specs(all: &[(String, Value)]) -> Vec<(&str, &Value)> {
    let autoscalers = all.iter().filter(|(name, _)| !name.starts_with("deployments/"));
    autoscalers.map(|(name, object)| (name.as_str(), object.pointer("/spec").expect("a spec"))).collect()
}

/// Somebody who may look at everything in the namespace, and change all but one kind.
async fn somebody(world: &World, directory: &std::path::Path) -> std::path::PathBuf {
    let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "somebody"},
        "rules": [
            rule(&["*"], &["*"], &["get", "list"]),
            rule(&["apps"], &["deployments", "statefulsets"], &["patch"]),
            rule(&["autoscaling"], &["horizontalpodautoscalers"], &["patch"]),
            rule(&[""], &["configmaps"], &["delete"]),
        ],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "somebody"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "somebody"},
        "subjects": [{"kind": "ServiceAccount", "name": "somebody", "namespace": world.namespace()}],
    });
    world.apply(&role.to_string()).await;
    world.apply(&binding.to_string()).await;
    world.cluster.kubeconfig_of(world.namespace(), "somebody", directory).await
}

/// Two floors that agents raise, two workloads that are owned, one of each kind of autoscaler; and what was opted out long ago.
async fn put_in_charge(world: &World) {
    let (cluster, namespace) = (&world.cluster, world.namespace());
    let floors = ["low", "low-keda"].map(|name| {
        format!(
            "- target: {namespace}/deployment/{name}\n  replicas: {{min: 5, max: 8}}\n  demand: {{query: 'vector(1)', counted_at: proxy}}\n  capacity: {{rate: 50}}\n  slo: {{target: 200ms}}\n  mode: floor\n"
        )
    });
    for name in ["low", "low-keda", "own", "own-keda"] {
        world.apply(&deployment(name, &json!({"team": "shop"}))).await;
    }
    world.apply(&deployment("stray", &json!({EPOCH: "7.gone.1"}))).await;
    world.apply(&labelled(&hpa("low"))).await;
    world.apply(&labelled(&scaled_object(cluster, namespace, "low-keda", "low-keda"))).await;
    world.apply(&hpa("own")).await;
    world.apply(&scaled_object(cluster, namespace, "own-keda", "own-keda")).await;
    world.apply(&policy_map(&format!("workloads:\n{}", floors.concat()))).await;
}

#[tokio::test]
async fn everything_is_given_back_through_the_shipped_policies_while_agents_run() {
    let Some(cluster) = Cluster::with_nodes("release --all").await else { return };
    if !cluster.is_testbed("release --all (agents as pods)") || cluster.prometheus_for_pods.is_none() {
        return;
    }
    know_scaled_objects(&cluster).await;
    let world = World::empty(&cluster, "e2e-release").await;
    let namespace = world.namespace().to_owned();
    let _install = Install::apply(&cluster, OWN).await;
    put_in_charge(&world).await;
    let before = everything(&cluster, &namespace).await;
    for name in ["own", "own-keda"] {
        let (said, code) = trimtab(&cluster, &["own", &format!("{namespace}/{name}")]);
        assert_eq!(code, Some(0), "{said}");
    }
    until("agents hold all four, and have raised both floors", 150, async || {
        let all = everything(&cluster, &namespace).await;
        let marked =
            |name: &str, key: &str| marks(&all).iter().any(|mark| *mark == format!("{name} trimtab.dev/{key}"));
        let floors = ["horizontalpodautoscalers/low", "scaledobjects/low-keda"];
        let held = floors.iter().all(|name| marked(name, "floor") && marked(name, "epoch"));
        (held && ["deployments/own", "deployments/own-keda"].iter().all(|name| marked(name, "epoch"))).then_some(())
    })
    .await;
    a_label_of_a_claim_is_kept(&world).await;

    // Nothing is written by looking, wherever one looks.
    let (said, code) = trimtab(&cluster, &["release", "--all", "--dry-run"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains(&format!("kubectl -n {namespace} patch scaledobjects.keda.sh own-keda --type=json")),
        "{said}"
    );
    assert!(marks(&everything(&cluster, &namespace).await).len() > 6, "{said}");

    let directory = tempfile::tempdir().expect("a directory");
    let kubeconfig = somebody(&world, directory.path()).await;
    let mut somebody = cluster.clone();
    somebody.kubeconfig = kubeconfig;
    let arguments = ["release", "--all", "--namespace", &namespace];
    let (said, code) = trimtab(&somebody, &arguments);
    assert_eq!(code, Some(3), "what is refused is said, and the others go on: {said}");
    assert!(said.contains("refused: scaledobject") && said.contains("cannot patch resource"), "{said}");
    let left = marks(&everything(&cluster, &namespace).await);
    assert!(!left.is_empty() && left.iter().all(|mark| mark.starts_with("scaledobjects/")), "{left:?}: {said}");

    let (said, code) = trimtab(&cluster, &arguments);
    assert_eq!(code, Some(0), "{said}");
    let after = everything(&cluster, &namespace).await;
    assert_eq!(marks(&after), Vec::<String>::new(), "{said}");
    assert_eq!(specs(&after), specs(&before), "autoscalers are as they were");
    let (said, code) = trimtab(&cluster, &arguments);
    assert!(code == Some(0) && said.contains("nothing to do"), "a second time: {said}");
    // Agents still run, and their policies still ask for it: nobody lets them any more.
    throughout(20, async || match marks(&everything(&cluster, &namespace).await) {
        marks if marks.is_empty() => Ok(()),
        marks => Err(format!("{marks:?}")),
    })
    .await;
    let (said, code) = trimtab(&cluster, &["release", "--all", "--namespace", "e2e-no-such"]);
    assert!(code == Some(4) && said.contains("no namespace e2e-no-such"), "{said}");
}

/// The admission policy keeps the label by which agents claim against whoever is none, of workloads and both kinds of autoscalers. An agent
/// that lost its claim would make another one, with the next number.
async fn a_label_of_a_claim_is_kept(world: &World) {
    let kubectl = |arguments: &[&str]| {
        let output = Command::new("kubectl")
            .args(["-n", world.namespace()])
            .args(arguments)
            .env("KUBECONFIG", &world.cluster.kubeconfig)
            .output()
            .expect("kubectl is there");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (kind, name) in [("deployment", "own"), ("hpa", "low"), ("scaledobject", "low-keda")] {
        let claim = || kubectl(&["get", kind, name, "-o", r"jsonpath={.metadata.labels.trimtab\.dev/epoch}"]);
        until(&format!("the claim of {kind} {name} is kept"), 60, async || {
            let before = claim();
            kubectl(&["label", kind, name, &format!("{EPOCH}-")]);
            (!before.is_empty() && claim() == before).then_some(())
        })
        .await;
    }
}

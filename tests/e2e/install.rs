//! The install as it is shipped: its manifests on the real API server, its pods with exactly their permissions.

use crate::cluster::{Audited, Cluster, throughout, until};
use crate::world::{Agent, World, policy_map, repository};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};
use std::process::Command;
use trimtab::report::Lack;

pub(crate) const OWN: &str = "deploy/manifests/own.yaml";

fn manifests(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).expect("the manifests are there")
}

/// A client with the token of trimtab's service account.
async fn as_trimtab(cluster: &Cluster) -> Client {
    let token = cluster.token("trimtab", "trimtab").await;
    let kubeconfig = kube::config::Kubeconfig::read_from(&cluster.kubeconfig).expect("the kubeconfig can be read");
    let options = kube::config::KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("the kubeconfig is complete");
    config.auth_info = serde_json::from_value(json!({ "token": token })).expect("credentials");
    Client::try_from(config).expect("a client")
}

/// There is one namespace `trimtab` in a cluster: the tests that install take turns.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Applies an install, and takes all of it away again when dropped.
pub(crate) struct Install {
    cluster: Cluster,
    path: &'static str,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

/// While this is held nobody is installed: agents that look into all namespaces take what asks for it in any of them.
pub(crate) async fn nobody_installed() -> tokio::sync::MutexGuard<'static, ()> {
    TURN.lock().await
}

impl Install {
    pub(crate) async fn apply(cluster: &Cluster, path: &'static str) -> Self {
        let turn = TURN.lock().await;
        let prometheus = cluster.prometheus_for_pods.clone().unwrap_or_else(|| cluster.prometheus.clone());
        let text = manifests(path)
            .replace("http://prometheus.monitoring:9090", &prometheus)
            .replace("trimtab.dev/trimtab:0.1.0", "trimtab.dev/trimtab:dev");
        cluster.apply("trimtab", &text).await;
        Self { cluster: cluster.clone(), path, _turn: turn }
    }
}

impl Drop for Install {
    fn drop(&mut self) {
        let path = repository().join(self.path);
        let _ = Command::new("kubectl")
            .args(["delete", "--ignore-not-found", "--wait=true", "--timeout=60s", "-f"])
            .arg(path)
            .env("KUBECONFIG", &self.cluster.kubeconfig)
            .output();
    }
}

const VICTIM: &str = r#"
apiVersion: apps/v1
kind: KIND
metadata:
  name: NAME
  labels: {app: NAME, team: shop, trimtab.dev/mode: own}
  annotations: {example.com/note: kept}
spec:
  replicas: 8
  serviceName: NAME
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      automountServiceAccountToken: false
      nodeSelector: {example.com/nowhere: "true"}
      containers: [{name: web, image: trimtab.dev/reference:dev}]
"#;

fn victim(kind: &str, name: &str) -> String {
    let text = VICTIM.replace("KIND", kind).replace("NAME", name);
    if kind == "Deployment" { text.replace(&format!("  serviceName: {name}\n"), "") } else { text }
}

/// Merge patches that a stolen token would try; each is refused and changes nothing. What the API server lets nobody change
/// (selectors, claim templates) is not among them.
fn attacks(kind: &str) -> Vec<(&'static str, Value)> {
    let template = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    let of_kind = match kind {
        "deployments" => vec![
            ("pausing it", json!({"spec": {"paused": true}})),
            ("another strategy", json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}})),
            ("another deadline", json!({"spec": {"progressDeadlineSeconds": 7}})),
        ],
        _ => vec![
            (
                "another update strategy",
                json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}}),
            ),
            (
                "claims that go with a replica",
                json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}}}),
            ),
            ("other ordinals", json!({"spec": {"ordinals": {"start": 5}}})),
        ],
    };
    let of_both = vec![
        ("another image", template(json!({"containers": [{"name": "web", "image": "evil"}]}))),
        ("another service account", template(json!({"serviceAccountName": "admin"}))),
        ("the host's processes", template(json!({"hostPID": true}))),
        ("a template annotation", json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}})),
        ("a mode of its own choice", json!({"metadata": {"labels": {"trimtab.dev/mode": "floor"}}})),
        ("a foreign label", json!({"metadata": {"labels": {"owner": "me"}}})),
        ("another value of a label", json!({"metadata": {"labels": {"team": "evil"}}})),
        ("a label removed", json!({"metadata": {"labels": {"team": null}}})),
        ("opting out", json!({"metadata": {"labels": {"trimtab.dev/mode": null}}})),
        ("a foreign annotation", json!({"metadata": {"annotations": {"a": "b"}}})),
        ("another value of an annotation", json!({"metadata": {"annotations": {"example.com/note": "gone"}}})),
        ("an annotation removed", json!({"metadata": {"annotations": {"example.com/note": null}}})),
        ("a finalizer", json!({"metadata": {"finalizers": ["example.com/stuck"]}})),
        (
            "an owner",
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]}}),
        ),
        ("another revision history", json!({"spec": {"revisionHistoryLimit": 0}})),
        ("other seconds until ready", json!({"spec": {"minReadySeconds": 60}})),
        ("to 0", json!({"spec": {"replicas": 0}})),
        ("below half", json!({"spec": {"replicas": 3}})),
        ("above four times plus four", json!({"spec": {"replicas": 37}})),
        (
            "replicas and an image",
            json!({"spec": {"replicas": 9, "template": {"spec": {"containers": [{"name": "web", "image": "evil"}]}}}}),
        ),
    ];
    of_both.into_iter().chain(of_kind).collect()
}

/// Every field of a spec that the API server serves is one that the policy holds, but replicas.
async fn no_field_is_forgotten(cluster: &Cluster) {
    let request = axum::http::Request::get("/openapi/v3/apis/apps/v1").body(Vec::new()).expect("a request");
    let api: Value = cluster.client.request(request).await.expect("the API server describes itself");
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client.clone());
    for (kind, resource) in [("Deployment", "deployments"), ("StatefulSet", "statefulsets")] {
        let policy = policies.get(&format!("trimtab-trimtab-{resource}")).await.expect("it is installed");
        let validations = policy.spec.and_then(|spec| spec.validations).unwrap_or_default();
        let fields = api.pointer(&format!("/components/schemas/io.k8s.api.apps.v1.{kind}Spec/properties"));
        for field in
            fields.and_then(Value::as_object).expect("a spec has fields").keys().filter(|field| *field != "replicas")
        {
            let held = format!("object.spec.?{field} == oldObject.spec.?{field}");
            assert!(validations.iter().any(|rule| rule.expression.contains(&held)), "{kind}.spec.{field} is not held");
        }
    }
}

#[tokio::test]
async fn a_stolen_token_can_set_replicas_within_steps_where_invited_and_nothing_else() {
    let Some(cluster) = Cluster::find("a stolen token").await else { return };
    let _install = Install::apply(&cluster, OWN).await;
    let scope = cluster.namespace("e2e-attack").await;
    for kind in ["Deployment", "StatefulSet"] {
        cluster.apply(&scope.name, &victim(kind, "web")).await;
        cluster
            .apply(&scope.name, &victim(kind, "uninvited").replace("trimtab.dev/mode: own", "example.com/owner: shop"))
            .await;
    }
    let thief = as_trimtab(&cluster).await;
    let admin: Api<Deployment> = Api::namespaced(cluster.client.clone(), &scope.name);
    // The API server takes a moment until it enforces a new admission policy.
    until("the admission policies are in force", 60, async || {
        let stolen: Api<Deployment> = Api::namespaced(thief.clone(), &scope.name);
        let patch = Patch::Merge(json!({"spec": {"replicas": 0}}));
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        refused(&stolen.patch("web", &dry, &patch).await).then_some(())
    })
    .await;
    let before = spec_and_metadata(&admin.get("web").await.expect("it is there"));
    let mut allowed = Vec::new();
    let deployments: Api<Deployment> = Api::namespaced(thief.clone(), &scope.name);
    let statefulsets: Api<StatefulSet> = Api::namespaced(thief.clone(), &scope.name);
    let params = PatchParams::default();
    for (what, patch) in attacks("deployments") {
        if !refused(&deployments.patch("web", &params, &Patch::Merge(&patch)).await) {
            allowed.push(format!("deployment: {what}"));
        }
    }
    for (what, patch) in attacks("statefulsets") {
        if !refused(&statefulsets.patch("web", &params, &Patch::Merge(&patch)).await) {
            allowed.push(format!("statefulset: {what}"));
        }
    }
    let more = Patch::Merge(json!({"spec": {"replicas": 9}}));
    if !refused(&statefulsets.patch("uninvited", &params, &more).await) {
        allowed.push("a StatefulSet that did not opt in".into());
    }
    no_field_is_forgotten(&cluster).await;
    other_attacks(&thief, &scope.name, &mut allowed).await;
    assert!(allowed.is_empty(), "allowed: {allowed:#?}");
    assert_eq!(spec_and_metadata(&admin.get("web").await.expect("it is there")), before, "nothing was changed");

    for replicas in [9, 5, 24, 12] {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let fits = deployments.patch("web", &PatchParams::default(), &patch).await;
        assert!(fits.is_ok(), "to {replicas}: {fits:?}");
        let fits = statefulsets.patch("web", &PatchParams::default(), &patch).await;
        assert!(fits.is_ok(), "to {replicas}: {fits:?}");
    }
}

#[tokio::test]
async fn a_stolen_token_can_raise_floors_where_invited_and_nothing_else() {
    let Some(cluster) = Cluster::find("a stolen token and floors").await else { return };
    let _install = Install::apply(&cluster, OWN).await;
    let scope = cluster.namespace("e2e-attack-floor").await;
    for (name, label) in [("invited", "floor"), ("uninvited", "shadow")] {
        let mut hpa: serde_json::Value = serde_json::from_str(&crate::beside::hpa(name, name)).expect("it is JSON");
        hpa["metadata"]["labels"] = json!({"trimtab.dev/mode": label, "app": "x"});
        hpa["metadata"]["annotations"] = json!({"theirs": "1"});
        cluster.apply(&scope.name, &hpa.to_string()).await;
    }
    let stolen: Api<HorizontalPodAutoscaler> = Api::namespaced(as_trimtab(&cluster).await, &scope.name);
    let attempt = async |name: &str, patch: serde_json::Value| {
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        !refused(&stolen.patch(name, &params, &Patch::Merge(patch)).await)
    };
    until("the admission policies are in force", 60, async || {
        (!attempt("invited", json!({"spec": {"maxReplicas": 99}})).await).then_some(())
    })
    .await;
    let note = |note: serde_json::Value| json!({"trimtab.dev/floor": note});
    let mut allowed = Vec::new();
    for (name, patch) in [
        ("invited", json!({"spec": {"maxReplicas": 99}})),
        ("invited", json!({"spec": {"metrics": []}})),
        ("invited", json!({"spec": {"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}})),
        ("invited", json!({"spec": {"scaleTargetRef": {"name": "other"}}})),
        ("invited", json!({"metadata": {"labels": {"app": "y"}}})),
        ("invited", json!({"metadata": {"annotations": {"theirs": "2"}}})),
        ("invited", json!({"metadata": {"annotations": {"theirs": null}}})),
        ("invited", json!({"metadata": {"finalizers": ["example.com/x"]}})),
        ("uninvited", json!({"spec": {"minReplicas": 5}})),
        ("uninvited", json!({"metadata": {"annotations": note("x".into())}})),
        ("uninvited", json!({"metadata": {"labels": {"trimtab.dev/mode": "floor"}}, "spec": {"minReplicas": 5}})),
    ] {
        if attempt(name, patch.clone()).await {
            allowed.push(format!("{name}: {patch}"));
        }
    }
    assert!(allowed.is_empty(), "allowed: {allowed:#?}");
    assert!(stolen.delete("invited", &DeleteParams::default()).await.is_err());
    // The same object, in the older version of the API.
    let old: Api<k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler> =
        Api::namespaced(as_trimtab(&cluster).await, &scope.name);
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let metric = Patch::Merge(json!({"spec": {"targetCPUUtilizationPercentage": 1}}));
    assert!(refused(&old.patch("invited", &params, &metric).await), "another version is no way round");
    let raise = json!({"spec": {"minReplicas": 5}, "metadata": {"annotations": note("{}".into())}});
    assert!(attempt("invited", raise).await, "a floor can be raised where invited");
}

/// What is not a patch of an invited workload.
async fn other_attacks(thief: &Client, namespace: &str, allowed: &mut Vec<String>) {
    let mut check = |what: &str, refused: bool| {
        if !refused {
            allowed.push(what.to_owned());
        }
    };
    let deployments: Api<Deployment> = Api::namespaced(thief.clone(), namespace);
    let params = PatchParams::default();
    let more = Patch::Merge(json!({"spec": {"replicas": 9}}));
    check("a workload that did not opt in", refused(&deployments.patch("uninvited", &params, &more).await));
    let invite = Patch::Merge(json!({"metadata": {"labels": {"trimtab.dev/mode": "own"}}}));
    check("inviting itself", refused(&deployments.patch("uninvited", &params, &invite).await));
    check("the scale subresource", refused(&deployments.patch_scale("web", &params, &more).await));
    check(
        "the status",
        refused(&deployments.patch_status("web", &params, &Patch::Merge(json!({"status": {"replicas": 1}}))).await),
    );
    check("deleting a workload", refused(&deployments.delete("web", &DeleteParams::default()).await));
    let mut copy: Deployment = serde_json::from_value(json!({"metadata": {"name": "new"}})).expect("an object");
    copy.spec = deployments.get("web").await.expect("reading is allowed").spec;
    check("creating a workload", refused(&deployments.create(&PostParams::default(), &copy).await));
    let secrets: Api<Secret> = Api::namespaced(thief.clone(), namespace);
    check("reading secrets", refused(&secrets.list(&ListParams::default()).await));
    let pods: Api<Pod> = Api::namespaced(thief.clone(), namespace);
    check("deleting pods", refused(&pods.delete("any", &DeleteParams::default()).await));
    check("evicting pods", refused(&pods.evict("any", &kube::api::EvictParams::default()).await));
    let roles: Api<ClusterRole> = Api::all(thief.clone());
    let grant = Patch::Merge(json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}));
    check("widening its own role", refused(&roles.patch("trimtab-trimtab", &params, &grant).await));
    let bindings: Api<ClusterRoleBinding> = Api::all(thief.clone());
    check("reading role bindings", refused(&bindings.list(&ListParams::default()).await));
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(thief.clone());
    check("patching nodes", refused(&nodes.patch("n1", &params, &invite).await));
    let leases: Api<Lease> = Api::namespaced(thief.clone(), "kube-system");
    check("other leases", refused(&leases.list(&ListParams::default()).await));
    let namespaces: Api<Namespace> = Api::all(thief.clone());
    check("deleting a namespace", refused(&namespaces.delete(namespace, &DeleteParams::default()).await));
}

fn refused<T>(answer: &Result<T, kube::Error>) -> bool {
    matches!(answer, Err(kube::Error::Api(status)) if status.code == 403)
}

fn spec_and_metadata(deployment: &Deployment) -> Value {
    let metadata = &deployment.metadata;
    json!({"spec": deployment.spec, "labels": metadata.labels, "annotations": metadata.annotations, "finalizers": metadata.finalizers})
}

#[tokio::test]
async fn the_daemonset_scales_a_workload_with_exactly_its_permissions() {
    let Some(cluster) = Cluster::with_nodes("the DaemonSet").await else { return };
    if !cluster.is_testbed("the DaemonSet runs as pods") || cluster.prometheus_for_pods.is_none() {
        return;
    }
    let mut world = World::with_service(&cluster, "e2e-install", 2, &[]).await;
    world.load(150).await;
    let _install = Install::apply(&cluster, OWN).await;
    // Agents of an install before this one may lose their rights before they end.
    let mark = cluster.audit_mark();
    let agents: Api<DaemonSet> = Api::namespaced(cluster.client.clone(), "trimtab");
    until("an agent is ready on every node", 90, async || {
        let status = agents.get("trimtab").await.ok()?.status?;
        (status.desired_number_scheduled > 0 && status.number_ready == status.desired_number_scheduled).then_some(())
    })
    .await;
    let policy = world.policy("own", "");
    world.apply(&policy_map(&policy)).await;
    until("the workload is scaled out", 90, async || (world.replicas().await.0 >= 4).then_some(())).await;
    let scaled_out = k8s_openapi::jiff::Timestamp::now().to_string();

    let said = cli(&cluster, &["status"]);
    assert!(said.contains("e2e-install/deployment/web") && said.contains("own"), "{said}");
    let said = cli(&cluster, &["explain", "e2e-install/web"]);
    assert!(said.contains("Because") && said.contains("Demand"), "{said}");
    let past = cli(&cluster, &["explain", "e2e-install/web", "--at", &scaled_out]);
    assert!(past.contains("Because") && past.contains("policy as recorded"), "{past}");

    // From both agents' journals: each has recorded it, one of them every second.
    let compared = until("they have half a minute of it", 90, async || {
        let compared = cli(&cluster, &["compare", "e2e-install/web", "--since", "1h", "--json"]);
        let compared: Value = serde_json::from_str(&compared).expect("it is JSON");
        let hours = compared.pointer("/workloads/0/judgement/hours").and_then(Value::as_f64);
        hours.is_some_and(|hours| hours > 30.0 / 3_600.0).then_some(compared)
    })
    .await;
    let of = |pointer: &str| compared.pointer(&format!("/workloads/0{pointer}")).cloned().unwrap_or_default();
    assert_eq!(of("/workload"), json!("e2e-install/deployment/web"), "{compared}");
    assert!(!of("/remarks").to_string().contains("missing"), "every agent answered: {compared}");
    let none = try_cli(&cluster, &["compare", "e2e-install/nobody"]).expect_err("there is no such workload");
    assert!(none.contains("there are some of") && none.contains("e2e-install/deployment/web"), "{none}");

    let refused: Vec<Audited> = cluster
        .audited(mark)
        .into_iter()
        .filter(|entry| entry.is_ours() && entry.response_status.code == 403)
        .filter(|entry| [world.namespace(), "trimtab"].contains(&entry.object_ref.namespace.as_str()))
        .collect();
    assert!(refused.is_empty(), "its permissions are enough: {refused:?}");
    restarted_agents_change_nothing(&cluster, &world).await;
}

/// Every agent is killed at once; the size stays, and somebody writes again.
async fn restarted_agents_change_nothing(cluster: &Cluster, world: &World) {
    let before = world.replicas().await.0;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "trimtab");
    let old: Vec<String> =
        pods.list(&ListParams::default()).await.expect("pods").iter().map(ResourceExt::name_any).collect();
    for name in &old {
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.expect("an administrator may");
    }
    until("new agents are ready", 90, async || {
        let now = pods.list(&ListParams::default()).await.ok()?;
        let ready = cluster.ready_pods("trimtab", "app.kubernetes.io/name=trimtab").await?;
        (ready.len() >= old.len() && now.iter().all(|pod| !old.contains(&pod.name_any()))).then_some(())
    })
    .await;
    throughout(20, async || match world.replicas().await.0 {
        // One more may be due to the demand, whose noise goes on.
        now if (before..=before + 1).contains(&now) => Ok(()),
        now => Err(format!("{before} -> {now} replicas by a restart")),
    })
    .await;
    until("somebody may write again", 60, async || {
        let said = cli(cluster, &["status"]);
        said.lines().any(|line| line.contains("e2e-install/deployment/web") && line.contains(" own ")).then_some(())
    })
    .await;
}

/// Runs the command line as from a laptop: with the user's kubeconfig, by port-forward.
pub(crate) fn cli(cluster: &Cluster, arguments: &[&str]) -> String {
    try_cli(cluster, arguments).unwrap_or_else(|said| panic!("{arguments:?}: {said}"))
}

/// The same, where it may fail.
fn try_cli(cluster: &Cluster, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(crate::cluster::binary("trimtab"))
        .args(arguments)
        .env("KUBECONFIG", &cluster.kubeconfig)
        .output()
        .expect("it runs");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(text.into_owned()) } else { Err(format!("{text}{errors}")) }
}

/// Group, resource, verb, what is said without it, as what, and whether the workload then holds.
type Permission = (&'static str, &'static str, &'static str, &'static str, Lack, bool);

/// What trimtab may do, what must be said where it may not, under which condition, and whether the workload then keeps its size. `get` on
/// deployments and `patch` on events are not among them: only a lost answer and a repeated Event need them. A Lease that could be created lasts until it has to be updated.
const PERMISSIONS: [Permission; 15] = {
    use Lack::{Forbidden, NotReadable};
    const SCALING: &str = "autoscaling";
    const LEASES: &str = "coordination.k8s.io";
    [
        ("", "pods", "list", "not allowed to list and watch pods", NotReadable, true),
        ("", "pods", "watch", "not allowed to list and watch pods", NotReadable, true),
        ("", "configmaps", "list", "not allowed to list and watch configmaps", Forbidden, false),
        ("", "configmaps", "watch", "not allowed to list and watch configmaps", Forbidden, false),
        (SCALING, HPAS, "list", "not allowed to list and watch horizontalpodautoscalers", Forbidden, true),
        (SCALING, HPAS, "watch", "not allowed to list and watch horizontalpodautoscalers", Forbidden, true),
        ("apps", "deployments", "list", "not allowed to list and watch deployments", NotReadable, true),
        ("apps", "deployments", "watch", "not allowed to list and watch deployments", NotReadable, true),
        ("apps", "deployments", "patch", "cannot patch resource", Forbidden, true),
        (LEASES, "leases", "get", "not allowed to use leases", Forbidden, true),
        (LEASES, "leases", "create", "not allowed to use leases", Forbidden, true),
        (LEASES, "leases", "update", "not allowed to use leases", Forbidden, false),
        (
            "discovery.k8s.io",
            "endpointslices",
            "list",
            "not allowed to list and watch endpointslices",
            Forbidden,
            false,
        ),
        (
            "discovery.k8s.io",
            "endpointslices",
            "watch",
            "not allowed to list and watch endpointslices",
            Forbidden,
            false,
        ),
        ("events.k8s.io", "events", "create", "not allowed to write Events", Forbidden, false),
    ]
};
const HPAS: &str = "horizontalpodautoscalers";

#[tokio::test]
async fn each_permission_that_is_taken_away_is_named() {
    let Some(cluster) = Cluster::find("permissions taken away").await else { return };
    let failed = tokio::task::LocalSet::new().run_until(without_each(cluster)).await;
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Each in namespaces of its own, some at a time. What failed.
async fn without_each(cluster: Cluster) -> Vec<String> {
    let mut left = PERMISSIONS.into_iter().enumerate();
    let mut running = tokio::task::JoinSet::new();
    let mut failed = Vec::new();
    loop {
        while running.len() < 5
            && let Some(one) = left.next()
        {
            running.spawn_local(without(cluster.clone(), one));
        }
        match running.join_next().await {
            Some(Ok(())) => {}
            Some(Err(error)) => failed.push(error.to_string()),
            None => return failed,
        }
    }
}

/// Two namespaces, in one of which a right is lacking: that is said in the status, in the metrics, and once in the log; the workload holds
/// where it must; that of the other namespace goes on.
async fn without(cluster: Cluster, (number, (_, resource, verb, said, lack, holds)): (usize, Permission)) {
    let lacks = cluster.namespace(&format!("e2e-verbs-{number}")).await;
    let whole = cluster.namespace(&format!("e2e-verbs-{number}-whole")).await;
    let directory = tempfile::tempdir().expect("a directory");
    let kubeconfig = cluster.kubeconfig_of(&lacks.name, "trimtab", directory.path()).await;
    for scope in [&lacks, &whole] {
        let missing = (scope.name == lacks.name).then_some(number);
        for object in grant(&lacks.name, missing) {
            cluster.apply(&scope.name, &object.to_string()).await;
        }
        cluster.apply(&scope.name, &victim("Deployment", "web")).await;
    }
    // Below the policy's minimum, so that there is something to write.
    let one = |namespace: &str| {
        format!(
            "- target: {namespace}/deployment/web\n  replicas: {{min: 10, max: 12}}\n  demand: {{query: 'vector(1)', counted_at: proxy}}\n  capacity: {{rate: 50}}\n  slo: {{target: 200ms}}\n  mode: own\n"
        )
    };
    let policy = format!("workloads:\n{}{}", one(&lacks.name), one(&whole.name));
    std::fs::write(directory.path().join("policy.yaml"), policy).expect("a file");
    let both = format!("{},{}", lacks.name, whole.name);
    let agent = Agent::start(&cluster, &both, directory.path(), &kubeconfig);
    let what = format!("without {verb} on {resource}");
    let named = format!("\n{lack}: {}/deployment/web: ", lacks.name);
    let status = until(&format!("{what} the status says {named:?} and {said:?}"), 90, async || {
        let status = try_cli(&cluster, &["status", "--url", &agent.url]).ok()?;
        status.lines().any(|line| format!("\n{line}").starts_with(&named) && line.contains(said)).then_some(status)
    })
    .await;
    assert!(status.contains("grant"), "and what to do: {status}");
    let other = format!("{}/deployment/web", whole.name);
    let seen = until(&format!("{what} the other workload is decided"), 60, async || {
        let report = agent.report().await?;
        let other = report.workloads.iter().find(|workload| workload.workload == other)?;
        // Rights that are shared concern both.
        let alone = matches!(resource, "leases" | "endpointslices") || other.conditions.is_empty();
        assert!(alone, "{what}: {:?}", other.conditions);
        Some(other.last.as_ref()?.decision.at)
    })
    .await;
    let metrics = reqwest::get(format!("{}/metrics", agent.url)).await.expect("it listens").text().await.expect("text");
    let series = format!(
        r#"trimtab_workload_condition{{namespace="{}",kind="deployment",workload="web",condition="{lack}"}} 1"#,
        lacks.name
    );
    assert!(metrics.contains(&series), "{what}: {series}: {metrics}");
    until(&format!("{what} the other goes on for half a minute"), 90, async || {
        let report = agent.report().await?;
        let other = report.workloads.iter().find(|workload| workload.workload == other)?;
        (other.last.as_ref()?.decision.at.since(seen).get() > 30.0).then_some(())
    })
    .await;
    let log = std::fs::read_to_string(directory.path().join("trimtab.log")).expect("a log");
    let lines = log.lines().filter(|line| line.contains(said)).count();
    assert_eq!(lines, 1, "{what} it is said once: {log}");
    let size = cluster.replicas_if_known(&lacks.name, "web").await;
    assert_eq!(size, Some(if holds { 8 } else { 10 }), "{what}: {log}");
    assert!(agent.process.end("-TERM").success());
    println!("{what}: {}", status.lines().find(|line| line.contains(said)).unwrap_or_default());
}

/// A role of all permissions but one, and its binding to trimtab's account in the namespace `own`.
fn grant(own: &str, missing: Option<usize>) -> [Value; 2] {
    let granted = PERMISSIONS.iter().enumerate().filter(|(number, _)| Some(*number) != missing);
    let rule = |(group, resource, verb): (&str, &str, &str)| json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]});
    // Of a kind that is there only where KEDA is, or another test has brought it.
    let keda = ["list", "watch"].map(|verb| ("keda.sh", "scaledobjects", verb));
    let rules: Vec<Value> =
        granted.map(|(_, (group, resource, verb, ..))| (*group, *resource, *verb)).chain(keda).map(rule).collect();
    let version = "rbac.authorization.k8s.io/v1";
    let role = json!({"apiVersion": version, "kind": "Role", "metadata": {"name": "trimtab"}, "rules": rules});
    let binding = json!({
        "apiVersion": version, "kind": "RoleBinding", "metadata": {"name": "trimtab"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "trimtab"},
        "subjects": [{"kind": "ServiceAccount", "name": "trimtab", "namespace": own}]
    });
    [role, binding]
}

/// Which flow schema the API server counts a request of this client under, whether it is allowed or not.
async fn flow_schema(client: &Client, path: &str) -> Option<String> {
    let request = axum::http::Request::get(path).body(kube::client::Body::empty()).expect("a request");
    let answer = client.send(request).await.ok()?;
    Some(answer.headers().get("x-kubernetes-pf-flowschema-uid")?.to_str().ok()?.to_owned())
}

#[tokio::test]
async fn with_guards_removed_what_they_prevent_happens() {
    let Some(cluster) = Cluster::with_nodes("guards removed").await else { return };
    let _install = Install::apply(&cluster, OWN).await;
    let scope = cluster.namespace("e2e-guards").await;
    cluster.apply(&scope.name, &victim("Deployment", "web")).await;
    cluster.apply(&scope.name, &crate::beside::hpa("web", "web")).await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), &scope.name);
    let (params, epoch) = (PatchParams::default(), "trimtab.dev/epoch");
    let label = |value: Value| Patch::Merge(json!({"metadata": {"labels": {epoch: value}}}));
    deployments.patch("web", &params, &label("7.somebody.1".into())).await.expect("an administrator may");
    let remove = |kind: &str, name: &str| {
        let status = Command::new("kubectl")
            .args(["delete", kind, name])
            .env("KUBECONFIG", &cluster.kubeconfig)
            .output()
            .expect("kubectl is there")
            .status;
        assert!(status.success(), "{kind} {name} was there");
    };
    // What an export without the label does, as any GitOps tool applies it.
    let pruned = async || {
        let answer = deployments.patch("web", &params, &label(Value::Null)).await.expect("an administrator may");
        let kept = answer.labels().contains_key(epoch);
        if !kept {
            deployments.patch("web", &params, &label("7.somebody.1".into())).await.expect("an administrator may");
        }
        !kept
    };
    until("the policy keeps the claim", 30, async || (!pruned().await).then_some(())).await;
    remove("mutatingadmissionpolicybinding", "trimtab-trimtab-epoch");
    until("without it the claim is pruned", 30, async || pruned().await.then_some(())).await;

    let thief = as_trimtab(&cluster).await;
    let stolen: Api<Deployment> = Api::namespaced(thief.clone(), &scope.name);
    let image =
        Patch::Merge(json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "evil"}]}}}}));
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    until("the policy refuses another image", 30, async || {
        refused(&stolen.patch("web", &dry, &image).await).then_some(())
    })
    .await;
    remove("validatingadmissionpolicybinding", "trimtab-trimtab-deployments");
    until("without it a stolen token runs any image", 30, async || {
        stolen.patch("web", &dry, &image).await.is_ok().then_some(())
    })
    .await;

    let schemas: Api<k8s_openapi::api::flowcontrol::v1::FlowSchema> = Api::all(cluster.client.clone());
    let own = schemas.get("trimtab-trimtab").await.expect("it is installed").uid().expect("a uid");
    let namespace = &scope.name;
    for path in [
        format!("/apis/apps/v1/namespaces/{namespace}/deployments/web"),
        format!("/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/web"),
    ] {
        until("what is fenced has a flow of its own", 30, async || {
            (flow_schema(&thief, &path).await? == own).then_some(())
        })
        .await;
    }
    remove("flowschema", "trimtab-trimtab");
    let shared = schemas.get("service-accounts").await.expect("Kubernetes brings it").uid().expect("a uid");
    until("without it writes wait behind every service account's listings", 30, async || {
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/web");
        (flow_schema(&thief, &path).await? == shared).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_named() {
    let Some(cluster) = Cluster::find("a token that is not accepted").await else { return };
    let scope = cluster.namespace("e2e-token").await;
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("policy.yaml"), "workloads: []\n").expect("a file");
    let kubeconfig = cluster.kubeconfig_of(&scope.name, "trimtab", directory.path()).await;
    let text = std::fs::read_to_string(&kubeconfig).expect("it was written");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    *config.pointer_mut("/users/0/user/token").expect("a token") = json!("expired");
    std::fs::write(&kubeconfig, config.to_string()).expect("a file");
    let agent = Agent::start(&cluster, &scope.name, directory.path(), &kubeconfig);
    until("it says that its token is not accepted", 30, async || {
        let troubles = agent.report().await?.troubles;
        troubles.values().all(|text| text.contains("does not accept our token")).then_some(())?;
        (!troubles.is_empty()).then_some(())
    })
    .await;
}

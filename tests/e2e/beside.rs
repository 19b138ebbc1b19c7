//! Beside the autoscalers that are there: with no configuration each is a policy in shadow, and nothing is written.

use crate::cluster::{Cluster, binary, until};
use crate::install::nobody_installed;
use crate::world::{Agent, World};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use std::process::Command;
use trimtab::floor::{ANNOTATION, Kept};
use trimtab::report::{Lack, Report, Workload, Writes};
use trimtab_core::policy::Capacity;

/// A replica is full at 50 requests/s of 20 ms; this share of each burns CPU, and 100m is what that takes, HTTP included.
const SERVICE: [&str; 2] = ["--cpu-share", "0.08"];

/// An autoscaler of CPU.
pub(crate) fn hpa(name: &str, target: &str) -> String {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": 2, "maxReplicas": 14,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}],
        },
    })
    .to_string()
}

/// A `ScaledObject` of what Prometheus says.
pub(crate) fn scaled_object(cluster: &Cluster, namespace: &str, name: &str, target: &str) -> String {
    let query = format!("sum(rate(reference_requests_arrived_total{{namespace=\"{namespace}\"}}[15s]))");
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"name": target}, "minReplicaCount": 1, "maxReplicaCount": 5, "pollingInterval": 5,
            "triggers": [{"type": "prometheus", "metadata": {"serverAddress": cluster.prometheus, "query": query, "threshold": "40"}}],
        },
    })
    .to_string()
}

/// The kind `ScaledObject`, where KEDA did not bring it: the API server then keeps the objects, and nobody acts on them.
pub(crate) async fn know_scaled_objects(cluster: &Cluster) {
    if kube::discovery::group(&cluster.client, "keda.sh").await.is_ok() {
        return;
    }
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {
            "group": "keda.sh", "scope": "Namespaced",
            "names": {"plural": "scaledobjects", "singular": "scaledobject", "kind": "ScaledObject", "listKind": "ScaledObjectList"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    cluster.apply("default", &crd.to_string()).await;
    until("the API server serves ScaledObjects", 30, async || {
        kube::discovery::group(&cluster.client, "keda.sh").await.ok()
    })
    .await;
}

pub(crate) fn trimtab(cluster: &Cluster, arguments: &[&str]) -> (String, Option<i32>) {
    let output = Command::new(binary("trimtab"))
        .args(arguments)
        .env("KUBECONFIG", &cluster.kubeconfig)
        .output()
        .expect("it runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (said, output.status.code())
}

fn of<'a>(report: &'a Report, name: &str) -> Option<&'a Workload> {
    report.workloads.iter().find(|workload| workload.workload.ends_with(&format!("/deployment/{name}")))
}

async fn until_report<T>(agent: &Agent, what: &str, seconds: u64, condition: impl Fn(&Report) -> Option<T>) -> T {
    until(what, seconds, async || condition(&agent.report().await?)).await
}

fn demand(workload: &Workload) -> Option<f64> {
    Some(workload.last.as_ref()?.snapshot.demand.fresh()?.get())
}

#[tokio::test]
async fn with_no_configuration_every_autoscaler_is_shadowed_and_nothing_is_written() {
    let Some(cluster) = Cluster::with_nodes("zero-config shadow").await else { return };
    if !cluster.is_testbed("zero-config shadow (audit log)") {
        return;
    }
    know_scaled_objects(&cluster).await;
    let mut world = World::empty(&cluster, "e2e-beside").await;
    world.start_service_with_cpu(2, &SERVICE, "100m").await;
    world.start_also("worker").await;
    world.load(60).await;
    let namespace = world.namespace().to_owned();
    world.apply(&hpa("web", "web")).await;
    world.apply(&scaled_object(&cluster, &namespace, "worker", "worker")).await;
    let mark = cluster.audit_mark();
    let agent = world.trimtab_without_policy();

    // 60 requests/s take about 120 millicores, and 70 of 100 is what a replica may use.
    let web = until_report(&agent, "the HPA's workload is decided", 150, |report| {
        of(report, "web").filter(|web| demand(web).is_some_and(|demand| (60.0..240.0).contains(&demand))).cloned()
    })
    .await;
    assert_eq!(web.writes, Writes::Shadow);
    assert!(web.policy_origin.starts_with(&format!("hpa {namespace}/web:")), "{}", web.policy_origin);
    let policy = web.last.map(|last| last.policy).expect("it is decided");
    assert!(!policy.objective.is_promised());
    let Capacity::Declared(rate) = policy.capacity else { panic!("{:?}", policy.capacity) };
    assert!((rate.get() - 70.0).abs() < 1e-9, "{rate:?}");
    let worker = until_report(&agent, "the ScaledObject's workload is decided", 60, |report| {
        of(report, "worker").filter(|worker| demand(worker).is_some_and(|demand| demand > 50.0)).cloned()
    })
    .await;
    assert!(worker.policy_origin.starts_with(&format!("scaledobject {namespace}/worker:")), "{}", worker.policy_origin);

    what_others_want_stands_beside(&cluster, &agent, &namespace).await;
    what_is_shown(&cluster, &agent, &namespace);
    what_cannot_be_decided_says_why(&world, &agent).await;

    assert!(agent.process.end("-TERM").success());
    let ours = |entry: &crate::cluster::Audited| entry.is_ours() && entry.object_ref.namespace == namespace;
    let written: Vec<_> = cluster.audited(mark).into_iter().filter(ours).collect();
    assert!(written.is_empty(), "shadow wrote: {written:?}");
    // The worker's memory began anew, when it was matched twice and then once again.
    world.replay(1);
}

/// The live autoscalers' own words: of the HPA, and where KEDA runs of the one that KEDA made.
async fn what_others_want_stands_beside(cluster: &Cluster, agent: &Agent, namespace: &str) {
    let keda = std::env::var("TRIMTAB_TESTBED_WITH").is_ok_and(|with| with.contains("keda"));
    for (name, kind, says) in [("web", "hpa", true), ("worker", "scaledobject", keda)] {
        let other = until_report(agent, &format!("the {kind} of {name} is told"), 120, |report| {
            of(report, name)?.autoscaler.clone().filter(|other| !says || other.wants.is_some())
        })
        .await;
        assert_eq!(other.name, format!("{kind} {namespace}/{name}"));
        assert!(other.active && other.is_policy && other.max > 1, "{other:?}");
    }
    let theirs = autoscaler(cluster, namespace, "web").await.status.map(|status| status.desired_replicas);
    until_report(agent, "what the HPA wants is what it says", 60, |report| {
        let wants = of(report, "web")?.autoscaler.as_ref()?.wants?;
        (theirs == i32::try_from(wants.0).ok()).then_some(())
    })
    .await;
}

fn what_is_shown(cluster: &Cluster, agent: &Agent, namespace: &str) {
    let (status, code) = trimtab(cluster, &["status", "--url", &agent.url]);
    assert_eq!(code, Some(0), "{status}");
    assert!(status.contains("HPA"), "{status}");
    for name in ["web", "worker"] {
        assert!(status.contains(&format!("{namespace}/deployment/{name}")), "{status}");
    }
    let (policy, code) = trimtab(cluster, &["import", &format!("{namespace}/web")]);
    assert_eq!(code, Some(0), "{policy}");
    assert!(policy.contains("capacity: { rate: 70 }") && policy.contains("slo: none"), "{policy}");
    let (none, code) = trimtab(cluster, &["import", &format!("{namespace}/nobody")]);
    assert_eq!(code, Some(4), "{none}");
}

/// An autoscaler of nothing, two of one workload, and one that gives no policy: each says so, and the others go on.
async fn what_cannot_be_decided_says_why(world: &World, agent: &Agent) {
    world.apply(&hpa("ghost", "ghost")).await;
    world.apply(&hpa("second", "worker")).await;
    let strange = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "strange"},
        "spec": {"scaleTargetRef": {"name": "strange"}, "triggers": [{"type": "external", "metadata": {"scalerAddress": "x:1"}}]},
    });
    world.apply(&strange.to_string()).await;
    until_report(agent, "a target that does not exist is said", 60, |report| {
        let problem = of(report, "ghost")?.problem.clone()?;
        problem.contains("does not exist").then_some(())
    })
    .await;
    until_report(agent, "a target that is matched twice is said", 60, |report| {
        let problem = of(report, "worker")?.problem.clone()?;
        (problem.contains("hpa") && problem.contains("scaledobject")).then_some(())
    })
    .await;
    until_report(agent, "a trigger that nobody knows is said", 60, |report| {
        let strange = of(report, "strange")?.conditions.first()?;
        (strange.name == Lack::NoPolicy && strange.why.contains("trigger 0 (external)")).then_some(())
    })
    .await;
    let before = agent.report().await.expect("it answers").at;
    until_report(agent, "the others go on", 30, |report| {
        of(report, "web")?.last.as_ref().filter(|last| last.decision.at > before).map(drop)
    })
    .await;
    world.delete("hpa", "second");
    until_report(agent, "what is matched once again is decided again", 60, |report| {
        of(report, "worker")?.last.as_ref().map(drop)
    })
    .await;
}

async fn autoscaler(cluster: &Cluster, namespace: &str, name: &str) -> HorizontalPodAutoscaler {
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(cluster.client.clone(), namespace);
    api.get(name).await.expect("it is there")
}

fn least(hpa: &HorizontalPodAutoscaler) -> i32 {
    hpa.spec.as_ref().and_then(|spec| spec.min_replicas).unwrap_or_default()
}

fn kept(hpa: &HorizontalPodAutoscaler) -> Option<Kept> {
    Kept::read(hpa.metadata.annotations.as_ref()?.get(ANNOTATION)?)
}

fn label(world: &World, label: &str) {
    let status = Command::new("kubectl")
        .args(["-n", world.namespace(), "label", "hpa", "web", label])
        .env("KUBECONFIG", &world.cluster.kubeconfig)
        .stdout(std::process::Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "kubectl label {label}");
}

#[tokio::test]
async fn a_floor_raises_a_real_autoscalers_least_size_and_hands_it_back() {
    let Some(cluster) = Cluster::with_nodes("floor").await else { return };
    if !cluster.is_testbed("floor (audit log)") {
        return;
    }
    let _alone = nobody_installed().await;
    let mut world = World::empty(&cluster, "e2e-floor").await;
    world.start_service_with_cpu(2, &SERVICE, "100m").await;
    world.load(200).await;
    let namespace = world.namespace().to_owned();
    world.apply(&hpa("web", "web")).await;
    let mark = cluster.audit_mark();
    let agent = world.trimtab(&world.policy("floor", ""));
    agent.until("it asks for the owner's word", 60, |web| web.writes == Writes::FloorNotOptedIn).await;
    assert_eq!(least(&autoscaler(&cluster, &namespace, "web").await), 2);
    // The policy stands in a file of the agent's, and says something else.
    let (said, code) = trimtab(&cluster, &["own", &format!("{namespace}/web"), "--dry-run", "--url", &agent.url]);
    assert!(code == Some(1) && said.contains("policy.yaml:") && said.contains("its mode is floor"), "{said}");

    label(&world, "trimtab.dev/mode=floor");
    let raised = until("the least size is raised to what 200 requests/s need", 90, async || {
        Some(autoscaler(&cluster, &namespace, "web").await).filter(|hpa| least(hpa) >= 5)
    })
    .await;
    assert_eq!(kept(&raised).and_then(|kept| kept.own), Some(2), "the owner's value is kept on the object");
    until("the autoscaler does what it says", 90, async || (world.replicas().await.0 >= 5).then_some(())).await;

    // The next owner after a crash knows what to give back.
    agent.process.end("-KILL");
    label(&world, "trimtab.dev/mode-");
    let agent = world.trimtab_again();
    until("the next agent hands it back as it was", 90, async || {
        let hpa = autoscaler(&cluster, &namespace, "web").await;
        (least(&hpa) == 2 && kept(&hpa).is_none()).then_some(())
    })
    .await;

    label(&world, "trimtab.dev/mode=floor");
    until("it is raised anew", 90, async || {
        Some(autoscaler(&cluster, &namespace, "web").await).filter(|hpa| least(hpa) >= 5)
    })
    .await;
    somebody_else_sets_the_least_size(&world, &agent).await;

    assert!(agent.process.end("-TERM").success());
    let sizes = |entry: &crate::cluster::Audited| {
        entry.is_ours() && entry.object_ref.namespace == namespace && entry.object_ref.resource == "deployments"
    };
    let written: Vec<_> = cluster.audited(mark).into_iter().filter(sizes).collect();
    assert!(written.is_empty(), "a floor wrote a size: {written:?}");
}

/// As a controller of the manifests in Git does: by server-side apply.
async fn somebody_else_sets_the_least_size(world: &World, agent: &Agent) {
    let theirs = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 3, "maxReplicas": 14,
        },
    });
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(world.cluster.client.clone(), world.namespace());
    let params = PatchParams::apply("gitops").force();
    api.patch("web", &params, &Patch::Apply(&theirs)).await.expect("they may");
    agent.until("it stands back", 30, |web| matches!(web.writes, Writes::StandingDown(_))).await;
    assert!(world.log().contains("manager=\"gitops\""), "{}", world.log());
    crate::cluster::throughout(10, async || match least(&autoscaler(&world.cluster, world.namespace(), "web").await) {
        3 => Ok(()),
        other => Err(format!("fought: the least size is {other}")),
    })
    .await;
    label(world, "trimtab.dev/mode-");
    until("what is kept is taken away, and their value stays", 60, async || {
        let hpa = autoscaler(&world.cluster, world.namespace(), "web").await;
        assert_eq!(least(&hpa), 3);
        kept(&hpa).is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn keda_stands_still_while_trimtab_owns_and_goes_on_after_release() {
    let Some(cluster) = Cluster::with_nodes("KEDA").await else { return };
    if !std::env::var("TRIMTAB_TESTBED_WITH").is_ok_and(|with| with.contains("keda")) {
        println!("skipped: KEDA: needs KEDA: start the testbed --with keda");
        return;
    }
    let _alone = nobody_installed().await;
    let world = World::with_service(&cluster, "e2e-keda", 2, &[]).await;
    let namespace = world.namespace().to_owned();
    world.unlabel("deployment", "trimtab.dev/mode");
    world.apply(&scaled_object(&cluster, &namespace, "web", "web")).await;
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(cluster.client.clone(), &namespace);
    let there = async || api.get_opt("keda-hpa-web").await.ok().map(|hpa| hpa.is_some());
    until("KEDA made its autoscaler", 60, async || there().await.filter(|there| *there)).await;
    let agent = world.trimtab_without_policy();
    agent.until("it is decided once, though there are two objects", 60, |web| web.last.is_some()).await;
    let (said, code) = trimtab(&cluster, &["own", &format!("{namespace}/web")]);
    assert_eq!(code, Some(0), "{said}");
    until("KEDA took its autoscaler away", 60, async || there().await.filter(|there| !there)).await;
    agent.until("trimtab may write", 90, |web| web.writes == Writes::Own).await;
    let (said, code) = trimtab(&cluster, &["release", &format!("{namespace}/web")]);
    assert_eq!(code, Some(0), "{said}");
    until("KEDA is in charge again", 90, async || there().await.filter(|there| *there)).await;
    agent.until("it is a shadow again", 60, |web| web.writes == Writes::Shadow).await;
}

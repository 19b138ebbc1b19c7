//! Others who set the size that trimtab owns: a real `HorizontalPodAutoscaler`, and server-side apply as by a controller of manifests in
//! Git. Each is noticed, said once, and not fought. Needs no nodes: an autoscaler raises what is below its least size without any metrics.

use crate::beside::trimtab;
use crate::cluster::{Cluster, throughout, until};

use crate::install::nobody_installed;
use crate::release::{deployment, hpa};
use crate::world::{Agent, World};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use std::process::Command;
use trimtab::report::{Workload, Writes};

/// Asks for at least five.
fn policy(namespace: &str) -> String {
    format!(
        "workloads:\n- target: {namespace}/deployment/web\n  replicas: {{min: 5, max: 12}}\n  demand: {{query: 'vector(1)', counted_at: proxy}}\n  capacity: {{rate: 50}}\n  slo: {{target: 200ms}}\n  mode: own\n"
    )
}

async fn stays(world: &World, size: i32) {
    throughout(15, async || match world.cluster.replicas_if_known(world.namespace(), "web").await {
        None => Ok(()),
        Some(now) if now == size => Ok(()),
        Some(other) => Err(format!("{other} replicas instead of {size}: it fights")),
    })
    .await;
}

async fn becomes(world: &World, what: &str, size: i32) {
    until(what, 90, async || {
        (world.cluster.replicas_if_known(world.namespace(), "web").await == Some(size)).then_some(())
    })
    .await;
}

fn said(world: &World, words: &str) -> usize {
    world.log().lines().filter(|line| line.contains(words)).count()
}

#[tokio::test]
async fn an_autoscaler_a_human_and_a_server_side_apply_are_named_and_not_fought() {
    let Some(cluster) = Cluster::find("foreign writers of a size").await else { return };
    let _alone = nobody_installed().await;
    let world = World::empty(&cluster, "e2e-foreigners").await;
    world.apply(&deployment("web", &json!({"trimtab.dev/mode": "own"}))).await;
    let agent = world.trimtab(&policy(world.namespace()));
    becomes(&world, "trimtab sets its least size", 5).await;
    agent.until("it knows that it did", 30, |web| web.set_by.as_deref() == Some("trimtab")).await;
    a_real_autoscaler(&world, &agent).await;
    server_side_apply(&world, &agent).await;
    assert!(agent.process.end("-TERM").success());
    // An agent that starts anew stands back for nobody yet.
    let agent = world.trimtab_again();
    by_hand(&world, &agent).await;
    assert!(agent.process.end("-TERM").success());
}

/// It wants at least eight, and has them.
async fn a_real_autoscaler(world: &World, agent: &Agent) {
    let eight = hpa("web").replace("\"minReplicas\":2", "\"minReplicas\":8");
    assert!(eight.contains("\"minReplicas\":8"), "{eight}");
    world.apply(&eight).await;
    becomes(world, "the autoscaler sets what it wants", 8).await;
    let beside = Writes::Beside(format!("hpa {}/web", world.namespace()));
    agent.until("it writes nothing beside an autoscaler, and names it", 60, |web| web.writes == beside).await;
    let set_by = Some("kube-controller-manager");
    agent.until("and who carries out what that wants", 30, |web| web.set_by.as_deref() == set_by).await;
    stays(world, 8).await;
    world.delete("hpa", "web");
    agent.until("it owns again", 60, |web| web.writes == Writes::Own).await;
}

/// By another manager, with force, as controllers of manifests do.
async fn server_side_apply(world: &World, agent: &Agent) {
    let now = agent.report().await.expect("it answers").at;
    let owns = |web: &Workload| {
        web.writes == Writes::Own && web.last.as_ref().is_some_and(|last| last.decision.at.since(now).get() > 5.0)
    };
    agent.until("it has looked again, and may write", 60, owns).await;
    let theirs =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 4}});
    let api: Api<Deployment> = Api::namespaced(world.cluster.client.clone(), world.namespace());
    api.patch("web", &PatchParams::apply("gitops").force(), &Patch::Apply(&theirs)).await.expect("they may");
    stands_back_for(world, agent, "gitops").await;
    stays(world, 4).await;
    assert_eq!(said(world, " WARN standing down"), 1, "{}", world.log());
}

/// It says whose change it was: in the report, to whoever asks why, in the log, and as an Event.
async fn stands_back_for(world: &World, agent: &Agent, manager: &str) {
    agent.until("it stands back", 60, |web| matches!(web.writes, Writes::StandingDown(_))).await;
    let set_by = agent.workload().await.and_then(|web| web.set_by);
    assert_eq!(set_by.as_deref(), Some(manager), "{}", world.log());
    let line = format!("manager=\"{manager}\" note=\"{manager} set ");
    assert_eq!(
        world.log().lines().filter(|said| said.contains(" WARN standing down") && said.contains(&line)).count(),
        1
    );
    // It explains its last decision; one that was carried out before says nothing of it.
    let explain = ["explain", &format!("{}/web", world.namespace()), "--url", &agent.url];
    let says = format!("{manager} changed the size");
    until("explain says the same", 30, async || trimtab(&world.cluster, &explain).0.contains(&says).then_some(()))
        .await;
    let events: Api<Event> = Api::namespaced(world.cluster.client.clone(), world.namespace());
    until("an Event says the same", 30, async || {
        let all = events.list(&ListParams::default()).await.ok()?;
        let says = |event: &Event| event.note.as_ref().is_some_and(|note| note.starts_with(&format!("{manager} set ")));
        all.items.iter().any(says).then_some(())
    })
    .await;
}

/// Somebody with a real `kubectl scale`.
async fn by_hand(world: &World, agent: &Agent) {
    agent.until("it may write", 90, |web| web.writes == Writes::Own && web.last.is_some()).await;
    becomes(world, "it sets its least size again", 5).await;
    let output = Command::new("kubectl")
        .args(["-n", world.namespace(), "scale", "deployment", "web", "--replicas", "7"])
        .env("KUBECONFIG", &world.cluster.kubeconfig)
        .output();
    assert!(output.is_ok_and(|output| output.status.success()), "kubectl scale");
    stands_back_for(world, agent, "kubectl").await;
    stays(world, 7).await;
}

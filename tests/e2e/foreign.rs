//! Others who set the size that trimtab owns: a real `HorizontalPodAutoscaler`, and server-side apply as by a controller of manifests in
//! Git. Each is noticed, said once, and not fought. Needs no nodes: an autoscaler raises what is below its least size without any metrics.

use crate::cluster::{Cluster, throughout, until};
use crate::install::nobody_installed;
use crate::release::{deployment, hpa};
use crate::world::{Agent, World};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
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
async fn a_real_autoscaler_and_a_server_side_apply_are_not_fought() {
    let Some(cluster) = Cluster::find("foreign writers of a size").await else { return };
    let _alone = nobody_installed().await;
    let world = World::empty(&cluster, "e2e-foreigners").await;
    world.apply(&deployment("web", &json!({"trimtab.dev/mode": "own"}))).await;
    let agent = world.trimtab(&policy(world.namespace()));
    becomes(&world, "trimtab sets its least size", 5).await;
    a_real_autoscaler(&world, &agent).await;
    server_side_apply(&world, &agent).await;
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
    agent.until("it stands back", 30, |web| matches!(web.writes, Writes::StandingDown(_))).await;
    stays(world, 4).await;
    assert_eq!(said(world, " WARN standing down"), 1, "{}", world.log());
}

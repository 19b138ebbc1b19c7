//! What goes wrong around a trimtab that is scaling: everything here stops something that all tests share, so it is one
//! test that runs alone, in the order of a bad day.

use crate::cluster::{Cluster, throughout, until};
use crate::world::World;
use std::cell::Cell;
use std::time::Duration;
use tokio::time::Instant;
use trimtab::report::Writes;
use trimtab_core::Verb;

/// At full load: 250 requests/s need 6 replicas of 50, and 7 with a band.
const RATE: u32 = 250;

#[tokio::test]
async fn a_bad_day_removes_no_replica() {
    let Some(cluster) = Cluster::with_nodes("a bad day").await else { return };
    if !cluster.is_testbed("a bad day") {
        return;
    }
    let mut world = World::with_service(&cluster, "e2e-day", 7, &[]).await;
    world.load(RATE).await;
    let agent = world.trimtab(&world.policy("own", ""));
    settled(&agent, RATE).await;
    let size = world.replicas().await.0;
    assert!((6..=9).contains(&size), "{size} replicas for {RATE} requests/s");

    prometheus_stopped_for_two_minutes(&world, &agent, size).await;
    api_server_restarted(&cluster, &mut world, &agent, size).await;
    let agent = killed_and_restarted(&world, agent, size).await;
    rollout_in_the_middle(&world, &agent, size).await;

    assert!(agent.process.end("-TERM").success());
    world.replay(1);
}

async fn settled(agent: &crate::world::Agent, rate: u32) {
    agent
        .until("a settled size, the demand that there is, and the right to write", 150, |workload| {
            workload.writes == Writes::Own
                && workload.last.as_ref().is_some_and(|last| {
                    last.decision.verb == Verb::Hold
                        && last.snapshot.demand.fresh().is_some_and(|demand| demand.get() > 0.97 * f64::from(rate))
                        // What is planned for follows what is read within a window.
                        && last.decision.plan.is_some_and(|plan| plan.demand.get() > 0.97 * f64::from(rate))
                        && last.decision.reason.code() == "TT-R10"
                })
        })
        .await;
}

/// No replica is removed, whatever is decided meanwhile.
async fn nothing_is_removed(world: &World, size: i32, seconds: u64) {
    throughout(seconds, async || match world.cluster.replicas_if_known(world.namespace(), "web").await {
        Some(desired) if desired < size => Err(format!("{size} -> {desired} replicas")),
        Some(_) | None => Ok(()),
    })
    .await;
}

async fn prometheus_stopped_for_two_minutes(world: &World, agent: &crate::world::Agent, size: i32) {
    Cluster::component("stop", "prometheus");
    agent
        .until("it is blind and says why", 30, |workload| {
            workload.last.as_ref().is_some_and(|last| last.decision.reason.code() == "TT-R20")
                && workload
                    .signals
                    .iter()
                    .any(|signal| signal.problem.as_ref().is_some_and(|text| text.contains("cannot reach Prometheus")))
        })
        .await;
    nothing_is_removed(world, size, 120).await;
    Cluster::component("start", "prometheus");
    agent
        .until("it sees again", 60, |workload| {
            workload.last.as_ref().is_some_and(|last| last.snapshot.demand.fresh().is_some())
        })
        .await;
    // What comes back first is half of the truth: rates over a gap, and pods that are not scraped yet.
    nothing_is_removed(world, size, 20).await;
}

async fn api_server_restarted(cluster: &Cluster, world: &mut World, agent: &crate::world::Agent, size: i32) {
    Cluster::component("restart", "kube-apiserver");
    let restarted = agent.report().await.expect("it runs on").at;
    until("the API server answers", 60, async || cluster.replicas_if_known(world.namespace(), "web").await).await;
    nothing_is_removed(world, size, 15).await;
    agent
        .until("it decides and may write again", 60, |workload| {
            workload.writes == Writes::Own && workload.last.as_ref().is_some_and(|last| last.decision.at > restarted)
        })
        .await;
    until("nothing is in trouble any more", 60, async || {
        agent.report().await.filter(|report| report.troubles.is_empty())
    })
    .await;
    // It does write again, and sees what it wrote.
    world.load(RATE + 100).await;
    until("it scales out", 60, async || (world.replicas().await.1 > size).then_some(())).await;
    settled(agent, RATE + 100).await;
}

async fn killed_and_restarted(world: &World, agent: crate::world::Agent, size: i32) -> crate::world::Agent {
    // What it still makes of the last step of the load is not the restart's doing.
    let since = Cell::new(None);
    agent
        .until("the size stays for a whole window", 150, |workload| {
            let size = workload.last.as_ref().map(|last| last.decision.to);
            let (kept, at) = since.get().filter(|(kept, _)| *kept == size).unwrap_or((size, Instant::now()));
            since.set(Some((kept, at)));
            at.elapsed() > Duration::from_secs(31)
        })
        .await;
    let before = world.replicas().await.0;
    agent.process.end("-KILL");
    let agent = world.trimtab_again();
    let first = agent.until_decided().await;
    assert_eq!(first.last.map(|last| last.decision.verb), Some(Verb::Hold), "the first decision holds");
    agent.until("it may write again", 60, |workload| workload.writes == Writes::Own).await;
    throughout(30, async || match world.replicas().await.0 {
        // One more may be due to the demand, whose noise goes on; a memory that was lost would take some away, or add many.
        desired if (before..=before + 1).contains(&desired) => Ok(()),
        desired => Err(format!("{before} -> {desired} replicas by a restart (started with {size})")),
    })
    .await;
    agent
}

async fn rollout_in_the_middle(world: &World, agent: &crate::world::Agent, size: i32) {
    let deployments: kube::Api<k8s_openapi::api::apps::v1::Deployment> =
        kube::Api::namespaced(world.cluster.client.clone(), world.namespace());
    let patch = serde_json::json!({"spec": {"template": {"metadata": {"annotations": {"example.com/release": "2"}}}}});
    deployments
        .patch("web", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(&patch))
        .await
        .expect("a new release");
    agent
        .until("the rollout is seen", 30, |workload| {
            workload.last.as_ref().is_some_and(|last| last.snapshot.fleet.rolling_out)
        })
        .await;
    let before = world.replicas().await.0;
    until("the rollout ends", 120, async || {
        let (desired, _) = world.replicas().await;
        assert!(desired >= size.min(before), "{before} -> {desired} replicas during a rollout");
        let workload = agent.workload().await?;
        workload.last.is_some_and(|last| !last.snapshot.fleet.rolling_out).then_some(())
    })
    .await;
}

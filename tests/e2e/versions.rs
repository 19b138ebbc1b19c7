//! Upgrade, rollback and upgrade again, between a build of trimtab that was made long ago and this one: on the same journal, the same
//! annotations and the same claims.
//!
//! The older build is named by `TRIMTAB_OLDER`: `./bench versions COMMIT` makes one.

use crate::cluster::{Cluster, binary, until};
use crate::install::nobody_installed;
use crate::release::{deployment, hpa, labelled};
use crate::world::{Agent, World};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Api, ObjectMeta};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use trimtab::floor::{ANNOTATION, Kept};

/// Asks for at least so many, as a floor of one workload and as the size of the other.
fn policy(namespace: &str, least: u32) -> String {
    let one = |name: &str, mode: &str| {
        format!(
            "- target: {namespace}/deployment/{name}\n  replicas: {{min: {least}, max: 12}}\n  demand: {{query: 'vector(1)', counted_at: proxy}}\n  capacity: {{rate: 50}}\n  slo: {{target: 200ms}}\n  mode: {mode}\n"
        )
    };
    format!("workloads:\n{}{}", one("low", "floor"), one("own", "own"))
}

/// What stands on the objects.
#[derive(Debug, PartialEq)]
struct Seen {
    /// The least size of the autoscaler, and what is kept of its owner's.
    least: i32,
    kept: Option<Kept>,
    /// The size of the other workload.
    size: i32,
    /// The numbers of the claims, of the autoscaler and of the workload.
    claims: Vec<u64>,
}

fn claim(metadata: &ObjectMeta) -> Option<u64> {
    metadata.labels.as_ref()?.get("trimtab.dev/epoch")?.split('.').next()?.parse().ok()
}

async fn seen(world: &World) -> Option<Seen> {
    let client = &world.cluster.client;
    let hpa = Api::<HorizontalPodAutoscaler>::namespaced(client.clone(), world.namespace()).get("low").await.ok()?;
    let own = Api::<Deployment>::namespaced(client.clone(), world.namespace()).get("own").await.ok()?;
    let note = hpa.metadata.annotations.as_ref().and_then(|notes| notes.get(ANNOTATION).cloned());
    Some(Seen {
        least: hpa.spec.as_ref()?.min_replicas?,
        kept: note.map(|note| Kept::read(&note).expect("this version reads it")),
        size: own.spec.as_ref()?.replicas?,
        claims: [&hpa.metadata, &own.metadata].into_iter().filter_map(claim).collect(),
    })
}

fn start(world: &World, build: &Path, least: u32) -> Agent {
    std::fs::write(world.directory.path().join("policy.yaml"), policy(world.namespace(), least)).expect("a file");
    let (cluster, place) = (&world.cluster, (world.namespace(), world.directory.path()));
    Agent::of(build, cluster, place, &cluster.kubeconfig, &[])
}

/// It has claimed both, raised the floor and set the size, and knows the owner's value.
async fn carried_out(world: &World, what: &str, least: i32, after: &[u64]) -> Vec<u64> {
    let seen = until(&format!("{what}: both are at {least}"), 150, async || {
        seen(world).await.filter(|seen| (seen.least, seen.size) == (least, least) && seen.claims.len() == 2)
    })
    .await;
    println!("{what}: {seen:?}");
    assert_eq!(seen.kept.map(|kept| kept.own), Some(Some(2)), "{what}: the owner's value is kept");
    let later = seen.claims.iter().zip(after).all(|(now, before)| now > before);
    assert!(later, "{what}: claims go on from {after:?}: {:?}", seen.claims);
    seen.claims
}

/// What this version reads in the journal: records, and damage.
fn journal(world: &World) -> (u64, u64) {
    let output = Command::new(binary("trimtab")).arg("replay").arg(world.journal()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let first = text.lines().next().unwrap_or_default().to_owned();
    let counts: Vec<u64> =
        first.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
    let [taken, _, _, damaged, ..] = counts[..] else { panic!("{text}") };
    println!("  {first}");
    (taken, damaged)
}

#[tokio::test]
async fn upgrade_and_rollback_lose_nothing() {
    let Some(cluster) = Cluster::find("upgrade and rollback").await else { return };
    let Some(older) = std::env::var_os("TRIMTAB_OLDER") else {
        println!("skipped: upgrade and rollback: needs an older build of trimtab: name it by TRIMTAB_OLDER");
        return;
    };
    let _alone = nobody_installed().await;
    let world = World::empty(&cluster, "e2e-versions").await;
    world.apply(&deployment("low", &json!({}))).await;
    world.apply(&deployment("own", &json!({"trimtab.dev/mode": "own"}))).await;
    world.apply(&labelled(&hpa("low"))).await;
    let (older, newer) = (Path::new(&older).to_owned(), binary("trimtab"));
    let (mut claims, mut records, mut ends) = (vec![0, 0], 0, Vec::new());
    // Ended as a rollout ends it, and as a node does.
    for (what, build, least, signal) in [
        ("older", &older, 5, "-TERM"),
        ("upgraded", &newer, 6, "-KILL"),
        ("rolled back", &older, 7, "-TERM"),
        ("upgraded again", &newer, 8, "-TERM"),
    ] {
        let agent = start(&world, build, least);
        claims = carried_out(&world, what, i32::try_from(least).expect("small"), &claims).await;
        ends.push(agent.process.end(signal));
        let (now, damaged) = journal(&world);
        assert!(now > records && damaged == 0, "{what}: {now} records after {records}, {damaged} damaged");
        records = now;
    }
    assert!(ends[0].success() && ends[2].success() && ends[3].success(), "{ends:?}");
    let (said, code) = crate::beside::trimtab(&cluster, &["release", "--all", "--namespace", world.namespace()]);
    assert_eq!(code, Some(0), "{said}");
    let seen = seen(&world).await.expect("both are there");
    assert_eq!((seen.least, seen.kept, seen.claims), (2, None, Vec::new()), "given back: {said}");
}

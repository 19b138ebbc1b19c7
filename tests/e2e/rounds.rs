//! Many rounds of trouble for agents that share workloads: what no single scenario shows. Ignored as a test, `./bench rounds` runs it; its
//! short form is `claims`.
//!
//! In each round one thing happens, drawn from a seed: an agent's process is killed, or stopped for longer than its lease, or its node is
//! cut off from the API server, or the API server is restarted, or all agents are upgraded in a rolling update. Demand swings all the
//! while, so that there is always something to write. A clock that is off is not among them: processes of one kernel share its clock. The
//! model (`crates/claim/tests/model.rs`) and the simulation have such clocks.

use crate::claims::{self, Kind, LONGEST_GAP};
use crate::cluster::{Cluster, until};
use crate::install::{Install, OWN};
use crate::world::World;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use rand::seq::{IteratorRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;

/// Workloads.
const NUMBER: usize = 50;
/// Of the order and the victims.
const SEED: u64 = 1;

/// What happens in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Killed,
    Stopped,
    CutOff,
    ApiServer,
    Upgrade,
}

impl Trouble {
    const ALL: [Self; 5] = [Self::Killed, Self::Stopped, Self::CutOff, Self::ApiServer, Self::Upgrade];

    const fn name(self) -> &'static str {
        match self {
            Self::Killed => "an agent is killed",
            Self::Stopped => "an agent is stopped, and goes on",
            Self::CutOff => "a node is cut off",
            Self::ApiServer => "the API server is restarted",
            Self::Upgrade => "agents are upgraded",
        }
    }
}

#[tokio::test]
#[ignore = "a measurement of an hour and more: ./bench rounds"]
async fn no_two_agents_ever_both_write_in_many_rounds() {
    let Some(cluster) = Cluster::with_nodes("rounds of trouble").await else { return };
    if !cluster.is_testbed("rounds of trouble") || cluster.prometheus_for_pods.is_none() {
        return;
    }
    let rounds = std::env::var("TRIMTAB_ROUNDS").map_or(100, |text| text.parse().expect("TRIMTAB_ROUNDS is a number"));
    let world = World::empty(&cluster, "e2e-rounds").await;
    let mark = cluster.audit_mark();
    let _install = Install::apply(&cluster, OWN).await;
    let agents = claims::agents_are_ready(&cluster).await;
    assert!(agents >= 3, "three agents on three nodes: start the testbed with --nodes 3");
    claims::deploy(&world, NUMBER, Kind::Swings).await;
    let first = claims::settled(&world, NUMBER, None, Instant::now()).await;
    println!("{NUMBER} workloads, {agents} agents: all claimed after {:.1} s", first.as_secs_f64());

    let mut random = Pcg64Mcg::seed_from_u64(SEED);
    let mut longest = BTreeMap::<Trouble, (u32, Duration)>::new();
    let mut left = Vec::new();
    for round in 1..=rounds {
        if left.is_empty() {
            left = Trouble::ALL.to_vec();
            left.shuffle(&mut random);
        }
        let trouble = left.pop().expect("just filled");
        let took = strike(&world, trouble, &mut random).await;
        println!("round {round}: {}: all claimed by who can act after {:.1} s", trouble.name(), took.as_secs_f64());
        assert!(took <= LONGEST_GAP, "claimed again within 95 s");
        let (count, most) = longest.entry(trouble).or_default();
        (*count, *most) = (*count + 1, (*most).max(took));
        claims::agents_are_ready(&cluster).await;
        everybody_writes(&world).await;
    }
    let figures = claims::check(&cluster.audited(mark), world.namespace());
    for (trouble, (count, most)) in &longest {
        println!(
            "{:34} {count:3} rounds, all claimed by who can act within {:.1} s",
            trouble.name(),
            most.as_secs_f64()
        );
    }
    println!(
        "{} claims, {} writes, {} refused; no write under another claim than the last",
        figures.claims, figures.writes, figures.refused
    );
    assert!(figures.writes > rounds, "there was something to write: {figures:?}");
}

/// A claim alone is no life: whoever has workloads now, writes the size of one, as their demand swings.
async fn everybody_writes(world: &World) {
    let (client, mark) = (&world.cluster.client, world.cluster.audit_mark());
    let sized: BTreeSet<String> = (0..NUMBER - claims::FLOORS).map(claims::workload).collect();
    until("every agent that has workloads writes", 180, async || {
        let audited = world.cluster.audited(mark);
        let committed = audited.iter().filter(|entry| entry.is_ours() && entry.response_status.code == 200);
        let writers: BTreeSet<&str> =
            committed.filter(|entry| entry.size().is_some()).map(crate::cluster::Audited::pod).collect();
        let (held, pods) = (claims::claims(client, world.namespace()).await, claims::pods(client).await);
        let mut owners = held.iter().filter(|(name, _)| sized.contains(*name)).map(|(_, (agent, _))| agent);
        owners.all(|agent| pods.get(agent).is_some_and(|pod| writers.contains(pod.name_any().as_str()))).then_some(())
    })
    .await;
}

/// Lets it happen, waits until every workload is claimed by an agent that can act, and mends it. How long the first took.
async fn strike(world: &World, trouble: Trouble, random: &mut Pcg64Mcg) -> Duration {
    let (agent, pod) = victim(world, random).await;
    let before = claims::claims(&world.cluster.client, world.namespace()).await;
    let begun = Instant::now();
    match trouble {
        Trouble::Killed => {
            claims::signal(&pod, "-KILL");
            claims::settled(world, NUMBER, Some((&agent, &before)), begun).await
        }
        Trouble::Stopped => {
            claims::signal(&pod, "-STOP");
            let took = claims::settled(world, NUMBER, Some((&agent, &before)), begun).await;
            // The kubelet may have ended it meanwhile: it did not answer its probe.
            if claims::process(&pod).is_some() {
                claims::signal(&pod, "-CONT");
            }
            took
        }
        Trouble::CutOff => {
            let cut = Cut::off(&pod);
            let took = claims::settled(world, NUMBER, Some((&agent, &before)), begun).await;
            drop(cut);
            took
        }
        Trouble::ApiServer => {
            Cluster::component("restart", "kube-apiserver");
            claims::settled(world, NUMBER, None, begun).await
        }
        Trouble::Upgrade => {
            upgrade(world, random.random()).await;
            claims::settled(world, NUMBER, None, begun).await
        }
    }
}

/// An agent that has workloads: what happens to others is seen by nobody.
async fn victim(world: &World, random: &mut Pcg64Mcg) -> (String, Pod) {
    let client = &world.cluster.client;
    let mut pods = claims::pods(client).await;
    let held = claims::claims(client, world.namespace()).await;
    let busy: BTreeSet<String> = held.into_values().map(|(agent, _)| agent).collect();
    let agent = busy.into_iter().filter(|agent| pods.contains_key(agent)).choose(random).expect("somebody has some");
    let pod = pods.remove(&agent).expect("it is there");
    (agent, pod)
}

/// All agents are replaced, one after the other, as by a new image.
async fn upgrade(world: &World, release: u32) {
    let api: Api<DaemonSet> = Api::namespaced(world.cluster.client.clone(), "trimtab");
    let annotation =
        json!({"spec": {"template": {"metadata": {"annotations": {"example.com/release": release.to_string()}}}}});
    let patched = api.patch("trimtab", &PatchParams::default(), &Patch::Merge(&annotation)).await;
    let generation = patched.expect("an administrator may").metadata.generation;
    until("the rolling update is over", 90, async || {
        let status = api.get("trimtab").await.ok()?.status?;
        let all = status.desired_number_scheduled;
        (status.observed_generation >= generation
            && status.updated_number_scheduled == Some(all)
            && status.number_available == Some(all))
        .then_some(())
    })
    .await;
}

/// A node that does not reach the API server: neither its kubelet nor its pods. Mended when dropped.
struct Cut {
    /// A process in the node's network.
    kubelet: String,
}

impl Cut {
    fn off(pod: &Pod) -> Self {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).expect("it runs on a node");
        let cut = Self { kubelet: claims::kubelet(&node).unwrap_or_else(|| panic!("{}: no kubelet", pod.name_any())) };
        for chain in ["OUTPUT", "FORWARD"] {
            assert!(cut.rule("-I", chain), "the node's packets to the API server are dropped");
        }
        cut
    }

    fn rule(&self, verb: &str, chain: &str) -> bool {
        let network = format!("--net=/proc/{}/ns/net", self.kubelet);
        let rule = ["-p", "tcp", "--dport", "6443", "-j", "DROP"];
        let status = Command::new("nsenter").args([&network, "--", "iptables", "-w", verb, chain]).args(rule).status();
        status.is_ok_and(|status| status.success())
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        for chain in ["OUTPUT", "FORWARD"] {
            self.rule("-D", chain);
        }
    }
}

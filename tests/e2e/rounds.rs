//! Many rounds of trouble for agents that share workloads: what no single scenario shows. Ignored as a test, `./bench rounds` runs it; its
//! short form is `claims`.
//!
//! In each round one thing happens, drawn from a seed: an agent's process is killed, or stopped for longer than its lease, or its node is
//! cut off from the API server, or the API server is restarted, or all agents are upgraded in a rolling update, or the clock of one is an
//! hour off. Demand swings all the while; when it happens every size is to shrink, and when it is over to grow.

use crate::claims::{self, Bounds, Kind, LONGEST_GAP};
use crate::cluster::{Cluster, process_of, until};
use crate::install::{Install, OWN};
use crate::world::World;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams, LogParams, Patch, PatchParams};
use rand::seq::{IteratorRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;

/// Workloads.
const NUMBER: usize = 50;
/// Of the order and the victims.
const SEED: u64 = 1;
/// Between these every workload is sent to and fro: no size fits both, so there is something to write whatever an agent has learnt.
const LOW: Bounds = (2, 4);
const HIGH: Bounds = (5, 8);

/// What happens in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Killed,
    Stopped,
    CutOff,
    ApiServer,
    Upgrade,
    ClockOff,
}

impl Trouble {
    const ALL: [Self; 6] = [Self::Killed, Self::Stopped, Self::CutOff, Self::ApiServer, Self::Upgrade, Self::ClockOff];

    const fn name(self) -> &'static str {
        match self {
            Self::Killed => "an agent is killed",
            Self::Stopped => "an agent is stopped, and goes on",
            Self::CutOff => "a node is cut off",
            Self::ApiServer => "the API server is restarted",
            Self::Upgrade => "agents are upgraded",
            Self::ClockOff => "a clock is an hour off",
        }
    }

    /// How long workloads may take into new bounds once it is over. After the API server was away its own controllers take a minute
    /// and more to see to pods, and before those are ready nothing is removed.
    fn patience(self) -> Duration {
        Duration::from_secs(if self == Self::ApiServer { 180 } else { 90 })
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
    give_clocks(&world, &std::env::var("TRIMTAB_CLOCKS").expect("./bench rounds sets TRIMTAB_CLOCKS")).await;
    claims::deploy(&world, NUMBER, Kind::Swings, HIGH).await;
    let first = claims::settled(&world, NUMBER, None, Instant::now()).await;
    println!("{NUMBER} workloads, {agents} agents: all claimed after {:.1} s", first.as_secs_f64());
    all_are_within(&world, HIGH, Duration::from_secs(90)).await;

    let mut random = Pcg64Mcg::seed_from_u64(SEED);
    let mut spans = BTreeMap::<Trouble, (Vec<Duration>, Vec<Duration>)>::new();
    let mut left = Vec::new();
    for round in 1..=rounds {
        if left.is_empty() {
            left = Trouble::ALL.to_vec();
            left.shuffle(&mut random);
        }
        let trouble = left.pop().expect("just filled");
        let took = strike(&world, trouble, &mut random).await;
        assert!(took <= LONGEST_GAP, "claimed again within 95 s, not after {took:?}: {}", trouble.name());
        claims::agents_are_ready(&cluster).await;
        let followed = all_are_within(&world, LOW, trouble.patience()).await;
        let (claimed, within) = spans.entry(trouble).or_default();
        claimed.push(took);
        within.push(followed);
        let (took, followed) = (took.as_secs_f64(), followed.as_secs_f64());
        let name = trouble.name();
        println!(
            "round {round}: {name}: all claimed by who can act after {took:.1} s, all within new bounds {followed:.1} s after it was over"
        );
        claims::decide_within(&world, NUMBER, Kind::Swings, HIGH).await;
        all_are_within(&world, HIGH, trouble.patience()).await;
    }
    let figures = claims::check(&cluster.audited(mark), world.namespace());
    for (trouble, (claimed, within)) in &mut spans {
        println!(
            "{:34} {:3} rounds, all claimed by who can act within {}, all within new bounds within {}",
            trouble.name(),
            claimed.len(),
            half_and_all(claimed),
            half_and_all(within)
        );
    }
    println!(
        "{} claims, {} writes, {} refused; no write under another claim than the last",
        figures.claims, figures.writes, figures.refused
    );
    assert!(figures.writes > rounds, "there was something to write: {figures:?}");
}

/// How long half of them took at most, and how long all did.
fn half_and_all(spans: &mut [Duration]) -> String {
    spans.sort();
    let half = spans.len().div_ceil(2).saturating_sub(1);
    let second = |at: usize| spans.get(at).map_or(0.0, Duration::as_secs_f64);
    format!("{:.1} / {:.1} s", second(half), second(spans.len().saturating_sub(1)))
}

/// A claim alone is no life: whoever has a workload brings it into its bounds. How long that took.
async fn all_are_within(world: &World, (least, most): Bounds, patience: Duration) -> Duration {
    let begun = Instant::now();
    let api: Api<Deployment> = Api::namespaced(world.cluster.client.clone(), world.namespace());
    // A floor is the autoscaler's to follow.
    let sized: BTreeSet<String> = (0..NUMBER - claims::FLOORS).map(claims::workload).collect();
    let fits = |replicas: i32| u32::try_from(replicas).is_ok_and(|replicas| (least..=most).contains(&replicas));
    until("every workload is within its bounds", patience.as_secs(), async || {
        let listed = api.list(&ListParams::default()).await.ok()?;
        let mut sizes = listed.iter().filter(|it| sized.contains(&it.name_any()));
        sizes.all(|it| it.spec.as_ref().and_then(|spec| spec.replicas).is_some_and(fits)).then_some(())
    })
    .await;
    begun.elapsed()
}

/// Lets it happen, waits until every workload is claimed by an agent that can act, and mends it. How long the first took.
async fn strike(world: &World, trouble: Trouble, random: &mut Pcg64Mcg) -> Duration {
    let (agent, pod) = victim(world, random).await;
    let before = claims::claims(&world.cluster.client, world.namespace()).await;
    claims::decide_within(world, NUMBER, Kind::Swings, LOW).await;
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
            let release = random.random::<u32>().to_string();
            roll(world, &json!({"metadata": {"annotations": {"example.com/release": release}}})).await;
            claims::settled(world, NUMBER, None, begun).await
        }
        Trouble::ClockOff => {
            let off = Off::an_hour(&pod, random.random());
            let took = claims::settled(world, NUMBER, None, begun).await;
            all_are_within(world, LOW, trouble.patience()).await;
            off.is_seen(world, &pod).await;
            took
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

/// All agents are replaced, one after the other, as by a new image: their template is changed by this patch.
async fn roll(world: &World, template: &Value) {
    let api: Api<DaemonSet> = Api::namespaced(world.cluster.client.clone(), "trimtab");
    let patch = Patch::Strategic(json!({"spec": {"template": template}}));
    let patched = api.patch("trimtab", &PatchParams::default(), &patch).await;
    let generation = patched.expect("an administrator may").metadata.generation;
    until("the rolling update is over", 120, async || {
        let status = api.get("trimtab").await.ok()?.status?;
        let all = status.desired_number_scheduled;
        (status.observed_generation >= generation
            && status.updated_number_scheduled == Some(all)
            && status.number_available == Some(all))
        .then_some(())
    })
    .await;
}

/// Makes all agents run the build that is linked to the machine's C library, and with libfaketime, in this directory: processes of one
/// kernel share its clock, and what is linked statically cannot be shown another.
async fn give_clocks(world: &World, directory: &str) {
    let namespaces: Api<Namespace> = Api::all(world.cluster.client.clone());
    // The shipped one forbids a directory of the host.
    let allowed = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
    let patched = namespaces.patch("trimtab", &PatchParams::default(), &Patch::Merge(&allowed)).await;
    patched.expect("an administrator may");
    let container = json!({
        "name": "trimtab",
        "command": [
            "/clocks/ld-linux-x86-64.so.2", "--library-path", "/clocks", "--preload", "/clocks/libfaketimeMT.so.1", "/clocks/trimtab"
        ],
        "env": [
            {"name": "FAKETIME_TIMESTAMP_FILE", "value": Off::FILE},
            {"name": "FAKETIME_NO_CACHE", "value": "1"},
            {"name": "FAKETIME_DONT_FAKE_MONOTONIC", "value": "1"},
            {"name": "FAKETIME_DISABLE_SHM", "value": "1"},
        ],
        "volumeMounts": [
            {"name": "clocks", "mountPath": "/clocks", "readOnly": true}, {"name": "clock", "mountPath": "/clock"}
        ],
    });
    let volumes = json!([{"name": "clocks", "hostPath": {"path": directory}}, {"name": "clock", "emptyDir": {}}]);
    roll(world, &json!({"spec": {"containers": [container], "volumes": volumes}})).await;
}

/// An agent whose clock is an hour ahead or behind. Mended when dropped.
struct Off {
    file: PathBuf,
    seconds: i64,
}

impl Off {
    const FILE: &str = "/clock/offset";

    fn an_hour(pod: &Pod, ahead: bool) -> Self {
        let process = claims::process(pod).expect("the agent runs on this machine");
        let seconds = if ahead { 3_600 } else { -3_600 };
        let off = Self { file: PathBuf::from(format!("/proc/{process}/root{}", Self::FILE)), seconds };
        std::fs::write(&off.file, format!("{seconds:+}")).expect("the agent's clock is in its file system");
        off
    }

    /// It is off, says the agent's own log: else the round has shown nothing.
    async fn is_seen(&self, world: &World, pod: &Pod) {
        let api: Api<Pod> = Api::namespaced(world.cluster.client.clone(), "trimtab");
        until("the agent's log bears the time of a clock that is off", 90, async || {
            let recent = LogParams { since_seconds: Some(60), ..LogParams::default() };
            let log = api.logs(&pod.name_any(), &recent).await.ok()?;
            let apart = |line: &str| {
                let line: Value = serde_json::from_str(line).ok()?;
                let at: Timestamp = line.pointer("/timestamp")?.as_str()?.parse().ok()?;
                Some(at.as_second() - Timestamp::now().as_second())
            };
            log.lines().filter_map(apart).any(|apart| (apart - self.seconds).abs() < 600).then_some(())
        })
        .await;
    }
}

impl Drop for Off {
    fn drop(&mut self) {
        // The pod may have ended meanwhile, and its clock with it.
        let _ = std::fs::write(&self.file, "+0");
    }
}

/// A node that does not reach the API server: neither its kubelet nor its pods. Mended when dropped.
struct Cut {
    /// A process in the node's network: its kubelet.
    process: String,
}

impl Cut {
    fn off(pod: &Pod) -> Self {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).expect("it runs on a node");
        let process = process_of(&format!("kubelet-{node}")).unwrap_or_else(|| panic!("{node}: no kubelet"));
        let cut = Self { process };
        for chain in ["OUTPUT", "FORWARD"] {
            assert!(cut.rule("-I", chain), "the node's packets to the API server are dropped");
        }
        cut
    }

    fn rule(&self, verb: &str, chain: &str) -> bool {
        let network = format!("--net=/proc/{}/ns/net", self.process);
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

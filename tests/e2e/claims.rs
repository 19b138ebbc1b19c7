//! Several agents, as pods on several nodes, and what happens to them: from the API server's audit log.
//!
//! Agents are killed and stopped as processes of this
//! machine, which the testbed's nodes are made of.

use crate::cluster::{Audited, Cluster, until};
use crate::install::{Install, OWN, cli};
use crate::world::{World, policy_map};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;

const LABEL: &str = "trimtab.dev/epoch";
/// Workloads.
const NUMBER: usize = 12;
/// So many of them, the last ones, have an autoscaler, which is claimed instead of the workload and gets a floor.
pub(crate) const FLOORS: usize = 4;
/// The promise.
pub(crate) const LONGEST_GAP: Duration = Duration::from_secs(95);

pub(crate) fn workload(number: usize) -> String {
    format!("w{number}")
}

/// What workloads are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No pod of theirs can run, so that many cost nothing. The bounds alone move a size: there is something to write whenever it is changed.
    Still,
    /// Simulated pods, and a demand that steps up and down every minute, within bounds that are changed.
    Swings,
}

impl Kind {
    fn pods(self) -> serde_json::Value {
        match self {
            Self::Still => json!({"nodeSelector": {"example.com/nowhere": "true"}}),
            Self::Swings => json!({
                "nodeSelector": {"type": "kwok"}, "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}]
            }),
        }
    }

    fn demand(self) -> &'static str {
        match self {
            Self::Still => "vector(1)",
            Self::Swings => "vector(80) + 160 * (vector(time()) % 60 > bool 30)",
        }
    }
}

/// Least and most replicas.
pub(crate) type Bounds = (u32, u32);

/// Deployments, the last of them with an autoscaler, and the policy for all.
pub(crate) async fn deploy(world: &World, number: usize, kind: Kind, bounds: Bounds) {
    for (position, name) in (0..number).map(workload).enumerate() {
        let mode = mode(position, number);
        if mode == "floor" {
            let mut autoscaler: serde_json::Value =
                serde_json::from_str(&crate::beside::hpa(&name, &name)).expect("it is JSON");
            *autoscaler.pointer_mut("/metadata").expect("metadata") =
                json!({"name": name, "labels": {"trimtab.dev/mode": mode}});
            world.apply(&autoscaler.to_string()).await;
        }
        let labels = if mode == "own" { json!({"trimtab.dev/mode": mode}) } else { json!({}) };
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "replicas": 4, "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {
                        "automountServiceAccountToken": false,
                        "containers": [{"name": "web", "image": "trimtab.dev/reference:dev"}]
                    }
                }
            }
        });
        let pods = object.pointer_mut("/spec/template/spec").and_then(|spec| spec.as_object_mut());
        pods.expect("a template").extend(kind.pods().as_object().cloned().expect("an object"));
        world.apply(&object.to_string()).await;
    }
    decide_within(world, number, kind, bounds).await;
}

fn mode(position: usize, number: usize) -> &'static str {
    if position + FLOORS >= number { "floor" } else { "own" }
}

/// Applies the policy for all, with these bounds.
pub(crate) async fn decide_within(world: &World, number: usize, kind: Kind, (least, most): Bounds) {
    let (namespace, demand) = (world.namespace(), kind.demand());
    let mut policy = String::from("workloads:\n");
    for (position, name) in (0..number).map(workload).enumerate() {
        let mode = mode(position, number);
        write!(
            policy,
            "- target: {namespace}/deployment/{name}\n  replicas: {{min: {least}, max: {most}}}\n  stabilization: 15s\n  \
             demand: {{query: '{demand}', counted_at: proxy}}\n  capacity: {{rate: 50}}\n  slo: {{target: 200ms}}\n  mode: {mode}\n"
        )
        .expect("a string takes it");
    }
    world.apply(&policy_map(&policy)).await;
}

/// Who claims each workload, itself or its autoscaler: the agent, and its number.
pub(crate) async fn claims(client: &Client, namespace: &str) -> Claims {
    let workloads: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), namespace);
    let all = ListParams::default();
    let (Ok(workloads), Ok(autoscalers)) = (workloads.list(&all).await, autoscalers.list(&all).await) else {
        return BTreeMap::new();
    };
    let metadata = workloads.items.into_iter().map(|one| one.metadata);
    let metadata = metadata.chain(autoscalers.items.into_iter().map(|one| one.metadata));
    metadata.filter_map(|metadata| Some((metadata.name.clone()?, claim(metadata.labels?.get(LABEL)?)?))).collect()
}

fn claim(label: &str) -> Option<(String, u64)> {
    let mut parts = label.split('.');
    let number = parts.next()?.parse().ok()?;
    let agent = parts.next()?.to_owned();
    // An invitation is no claim.
    parts.next().map(|_| (agent, number))
}

fn agent_of(pod: &Pod) -> String {
    pod.uid().unwrap_or_default().replace('-', "").chars().take(12).collect()
}

pub(crate) async fn pods(client: &Client) -> BTreeMap<String, Pod> {
    let api: Api<Pod> = Api::namespaced(client.clone(), "trimtab");
    let listed = api.list(&ListParams::default().labels("app.kubernetes.io/name=trimtab")).await;
    let there = listed.map(|list| list.items).unwrap_or_default();
    there.into_iter().map(|pod| (agent_of(&pod), pod)).collect()
}

/// The process of an agent's pod: the nodes are namespaces of this machine.
pub(crate) fn process(pod: &Pod) -> Option<String> {
    let variable = format!("POD_UID={}", pod.uid()?);
    let numbers = std::fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut agents = numbers.filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    agents.find(|number| {
        let environment = std::fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one == variable.as_bytes())
    })
}

pub(crate) fn signal(pod: &Pod, signal: &str) {
    let process = process(pod).expect("the agent runs on this machine");
    assert!(Command::new("kill").args([signal, &process]).status().is_ok_and(|status| status.success()));
}

/// What the audit log shows of the claims and writes of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) claims: u32,
    pub(crate) writes: u32,
    pub(crate) refused: u32,
}

/// Goes through the log in its order, and holds every write to the last claim before it.
pub(crate) fn check(audited: &[Audited], namespace: &str) -> Figures {
    let mut figures = Figures::default();
    let mut last: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let mut patches: Vec<&Audited> = audited
        .iter()
        .filter(|entry| entry.verb == "patch" && entry.is_ours() && entry.object_ref.namespace == namespace)
        .collect();
    // In the order of their effects: a version of an object is greater than all before it.
    patches.sort_by_key(|entry| entry.version());
    for entry in patches {
        if entry.response_status.code != 200 {
            figures.refused += 1;
            continue;
        }
        let name = entry.object_ref.name.as_str();
        let path = "/metadata/labels/trimtab.dev~1epoch";
        if let Some(epoch) = entry.operation("add", path) {
            figures.claims += 1;
            last.insert(name, (epoch, entry.pod()));
        } else if entry.size().is_some() {
            figures.writes += 1;
            let tested = entry.operation("test", path).expect("every write tests the epoch");
            let (epoch, pod) = last.get(name).copied().expect("a claim comes before a write");
            assert_eq!((tested, entry.pod()), (epoch, pod), "{name}: a write under another claim than the last");
        }
    }
    figures
}

pub(crate) type Claims = BTreeMap<String, (String, u64)>;

/// Waits until everything is claimed by agents that are there, and nothing any more as it was `before` by the agent that is gone or stands
/// still: its own pod may be back, as another process. How long that took from `since`.
pub(crate) async fn settled(world: &World, number: usize, gone: Option<(&str, &Claims)>, since: Instant) -> Duration {
    let client = &world.cluster.client;
    until("every workload is claimed by an agent that is there", LONGEST_GAP.as_secs() + 10, async || {
        let there = pods(client).await;
        let claims = claims(client, world.namespace()).await;
        let moved = |name: &String, agent: &String, number: u64| {
            let old =
                |(gone, before): (&str, &Claims)| agent == gone && before.get(name).is_some_and(|it| it.1 >= number);
            !gone.is_some_and(old)
        };
        let held = claims.iter().all(|(name, (agent, at))| there.contains_key(agent) && moved(name, agent, *at));
        (claims.len() == number && held).then_some(())
    })
    .await;
    since.elapsed()
}

/// The agent that has the most workloads.
async fn busiest(world: &World) -> (String, Pod) {
    let client = &world.cluster.client;
    let mut counts = BTreeMap::<String, usize>::new();
    for (agent, _) in claims(client, world.namespace()).await.into_values() {
        *counts.entry(agent).or_default() += 1;
    }
    let agent = counts.into_iter().max_by_key(|(_, count)| *count).expect("somebody has some").0;
    let pod = pods(client).await.remove(&agent).expect("it is there");
    (agent, pod)
}

/// Brings every workload and every autoscaler back from its export, as it was before trimtab wrote to it: it is to be written again.
/// Anew, so that nobody stands back for who set the size.
async fn touch(world: &World) {
    let client = &world.cluster.client;
    anew::<HorizontalPodAutoscaler>(Api::namespaced(client.clone(), world.namespace()), &|one| {
        one.spec.as_mut().expect("a spec").min_replicas = Some(2);
        one.status = None;
    })
    .await;
    anew::<Deployment>(Api::namespaced(client.clone(), world.namespace()), &|one| {
        one.spec.as_mut().expect("a spec").replicas = Some(4);
        one.status = None;
    })
    .await;
}

async fn anew<K>(api: Api<K>, change: &dyn Fn(&mut K))
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let listed = api.list(&ListParams::default()).await.expect("they can be listed");
    for name in listed.iter().map(ResourceExt::name_any) {
        let mut anew = api.get(&name).await.expect("it is there");
        api.delete(&name, &DeleteParams::default()).await.expect("an administrator may");
        *anew.meta_mut() = serde_json::from_value(json!({"name": name, "labels": anew.labels()})).expect("metadata");
        change(&mut anew);
        until("it is created anew from its export", 30, async || api.create(&PostParams::default(), &anew).await.ok())
            .await;
    }
}

/// Waits until every node has an agent that is ready; how many those are.
pub(crate) async fn agents_are_ready(cluster: &Cluster) -> i32 {
    until("an agent is ready on every node", 90, async || {
        let agents: Api<DaemonSet> = Api::namespaced(cluster.client.clone(), "trimtab");
        let status = agents.get("trimtab").await.ok()?.status?;
        (status.desired_number_scheduled > 0 && status.number_ready == status.desired_number_scheduled)
            .then_some(status.number_ready)
    })
    .await
}

async fn written(world: &World, number: usize) {
    let api: Api<Deployment> = Api::namespaced(world.cluster.client.clone(), world.namespace());
    until("every workload has the size that its policy asks for", 60, async || {
        let listed = api.list(&ListParams::default()).await.ok()?;
        let sized = listed.iter().filter(|it| it.spec.as_ref().and_then(|spec| spec.replicas) == Some(5)).count();
        (sized == number).then_some(())
    })
    .await;
}

#[tokio::test]
async fn agents_share_the_workloads_and_no_two_ever_both_write() {
    let Some(cluster) = Cluster::with_nodes("agents that share workloads").await else { return };
    if !cluster.is_testbed("agents that share workloads") || cluster.prometheus_for_pods.is_none() {
        return;
    }
    let world = World::empty(&cluster, "e2e-claims").await;
    let mark = cluster.audit_mark();
    let _install = Install::apply(&cluster, OWN).await;
    let nodes = agents_are_ready(&cluster).await;
    let begun = Instant::now();
    deploy(&world, NUMBER, Kind::Still, (5, 8)).await;
    let first = settled(&world, NUMBER, None, begun).await;
    written(&world, NUMBER).await;
    println!("{NUMBER} workloads, {nodes} agents: all claimed after {:.1} s", first.as_secs_f64());
    if nodes < 2 {
        println!("skipped: what happens when an agent goes: needs nodes: start the testbed with --nodes 3");
        return;
    }
    let said = cli(&cluster, &["status", "--agents"]);
    assert!(said.contains("MOVED BECAUSE") && said.contains("nobody had claimed it"), "{said}");

    // An end with notice: handed over, nobody waits.
    let (agent, pod) = busiest(&world).await;
    let before = claims(&cluster.client, world.namespace()).await;
    let begun = Instant::now();
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), "trimtab");
    api.delete(&pod.name_any(), &DeleteParams::default()).await.expect("an administrator may");
    let handed = settled(&world, NUMBER, Some((&agent, &before)), begun).await;
    assert!(handed < Duration::from_secs(15), "handed over within a period: {handed:?}");

    // Stopped for longer than its lease, while it has claims; then it goes on.
    until("as many agents are ready again", 90, async || {
        (cluster.ready_pods("trimtab", "app.kubernetes.io/name=trimtab").await?.len() == usize::try_from(nodes).ok()?)
            .then_some(())
    })
    .await;
    let (agent, pod) = busiest(&world).await;
    let before = claims(&cluster.client, world.namespace()).await;
    let begun = Instant::now();
    signal(&pod, "-STOP");
    let taken = settled(&world, NUMBER, Some((&agent, &before)), begun).await;
    assert!(taken <= LONGEST_GAP, "taken over within 95 s: {taken:?}");
    touch(&world).await;
    if process(&pod).is_some() {
        signal(&pod, "-CONT");
    }
    written(&world, NUMBER).await;

    // An old label that somebody brings back is kept out.
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), world.namespace());
    let before = claims(&cluster.client, world.namespace()).await;
    let old = Patch::Merge(json!({"metadata": {"labels": {LABEL: format!("1.{agent}.00000000")}}}));
    deployments.patch("w0", &PatchParams::default(), &old).await.expect("an administrator may");
    assert_eq!(
        claims(&cluster.client, world.namespace()).await.get("w0"),
        before.get("w0"),
        "the admission policy keeps it"
    );

    let figures = check(&cluster.audited(mark), world.namespace());
    println!(
        "handed over after {:.1} s, taken over from a stopped agent after {:.1} s; {} claims, {} writes, {} refused; no write under another claim than the last",
        handed.as_secs_f64(),
        taken.as_secs_f64(),
        figures.claims,
        figures.writes,
        figures.refused
    );
    assert!(figures.writes as usize >= 2 * NUMBER, "{figures:?}");
}

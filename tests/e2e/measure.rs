//! Figures of docs/performance.md that need a cluster. Ignored as tests: `./bench` runs them, with release binaries.

use crate::cluster::{Audited, Cluster, until};
use crate::world::{Agent, World};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// A replica is full at 50 requests/s of 20 ms; this share of each burns CPU, and 100m is what that takes, HTTP included.
const SERVICE: [&str; 2] = ["--cpu-share", "0.08"];
const BEFORE: u32 = 60;
const AFTER: u32 = 300;
const REPEATS: usize = 3;

/// From a step of the load to the first write of a size, and to enough ready replicas: trimtab and a CPU HPA at 70 % by turns.
#[tokio::test]
#[ignore = "a measurement of ten minutes: ./bench"]
async fn load_step_to_scale_written() {
    let Some(cluster) = Cluster::with_nodes("load step").await else { return };
    if !cluster.is_testbed("load step") {
        return;
    }
    println!("{:8} {:>8} {:>10} {:>12} {:>22}", "", "write s", "size", "6 ready s", "5 s spans p90 > 200 ms");
    for _ in 0..REPEATS {
        step(&cluster, "trimtab").await;
        step(&cluster, "HPA").await;
    }
}

async fn step(cluster: &Cluster, contestant: &str) {
    let mut world = World::empty(cluster, "measure-step").await;
    world.start_service_with_cpu(2, &SERVICE, "100m").await;
    world.load(BEFORE).await;
    let agent = if contestant == "HPA" {
        world.apply(HPA).await;
        until("the HPA has a CPU metric", 120, async || {
            let output = tokio::process::Command::new("kubectl")
                .args(["-n", world.namespace(), "get", "hpa", "web", "-o"])
                .arg("jsonpath={.status.currentMetrics[0].resource.current.averageUtilization}")
                .output()
                .await;
            output.ok().filter(|output| !output.stdout.is_empty())
        })
        .await;
        None
    } else {
        let agent = world.trimtab(&world.policy("own", ""));
        agent
            .until("trimtab is settled", 60, |workload| {
                workload.last.as_ref().is_some_and(|last| last.decision.reason.code() == "TT-R10")
            })
            .await;
        Some(agent)
    };
    // Until the first seconds of new replicas have left every window.
    tokio::time::sleep(Duration::from_secs(30)).await;
    let mark = cluster.audit_mark();
    let (begun, instant) = (Instant::now(), jiff::Timestamp::now());
    world.load(AFTER).await;
    let is_scaling = |entry: &Audited| {
        entry.object_ref.namespace == world.namespace()
            && entry.response_status.code == 200
            && (entry.is_ours() || entry.object_ref.subresource == "scale")
            && entry.object_ref.resource == "deployments"
    };
    let written = until("a size is written", 180, async || cluster.audited(mark).into_iter().find(is_scaling)).await;
    let to_write = (written.request_received_timestamp - instant).total(jiff::Unit::Second).expect("seconds");
    let size = world.replicas().await.0;
    until("six are ready", 300, async || (world.replicas().await.1 >= 6).then_some(())).await;
    let to_ready = begun.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(20)).await;
    println!("{contestant:8} {to_write:8.1} {size:10} {to_ready:12.1} {:>22}", world.end_load(0.2));
    drop(agent);
}

const HPA: &str = r"
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 14
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}]
";

/// What a trimtab costs that watches 1, 100 and 1,000 workloads whose demand does not change.
#[tokio::test]
#[ignore = "a measurement of fifteen minutes: ./bench"]
async fn fleets() {
    let Some(cluster) = Cluster::find("fleets").await else { return };
    if !cluster.is_testbed("fleets") {
        return;
    }
    println!(
        "{:>9} {:>18} {:>10} {:>10} {:>8} {:>14} {:>21} {:>14}",
        "workloads",
        "first decision s",
        "RSS MB",
        "of it anon",
        "CPU %",
        "API requests/m",
        "Prometheus requests/m",
        "journal MB/h"
    );
    for size in [1, 100, 1000] {
        fleet(&cluster, size).await;
    }
}

async fn fleet(cluster: &Cluster, size: usize) {
    let namespace = format!("measure-fleet-{size}");
    let scope = cluster.namespace(&namespace).await;
    let directory = tempfile::tempdir().expect("a directory");
    for number in 0..size {
        cluster.apply(&namespace, &workload(number)).await;
    }
    expose(&namespace, size).await;
    until("all pods are ready", 600, async || {
        let ready = cluster.ready_pods(&namespace, "fleet=yes").await?;
        (ready.len() == 2 * size).then_some(())
    })
    .await;
    until("their demand is known", 60, async || {
        let answer = prometheus(cluster, &format!("count(demand{{fleet=\"{namespace}\"}})")).await?;
        (answer > size as f64 - 0.5).then_some(())
    })
    .await;
    let policies: String = (0..size).map(|number| policy(&namespace, number)).collect();
    std::fs::write(directory.path().join("policy.yaml"), format!("workloads:\n{policies}")).expect("a file");
    let kubeconfig = cluster.kubeconfig_of(&namespace, "trimtab-measure", directory.path()).await;
    cluster.apply(&namespace, &cluster_admin(&namespace)).await;
    cluster.apply(&namespace, &flow_schema(&namespace)).await;

    let begun = Instant::now();
    let agent = Agent::start(cluster, &namespace, directory.path(), &kubeconfig);
    until("every workload is decided", 60, async || {
        let report = agent.report().await?;
        let decided = report.workloads.iter().filter(|workload| workload.last.is_some()).count();
        (decided == size).then_some(())
    })
    .await;
    let first = begun.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let before = meters(cluster, &agent, directory.path()).await;
    tokio::time::sleep(Duration::from_mins(2)).await;
    let after = meters(cluster, &agent, directory.path()).await;
    let (resident, anonymous) = memory(&agent);
    println!(
        "{size:9} {first:18.1} {resident:10.1} {anonymous:10.1} {:8.2} {:14.0} {:21.0} {:14.1}",
        (after.cpu - before.cpu) / 120.0 * 100.0,
        (after.api - before.api) / 2.0,
        (after.prometheus - before.prometheus) / 2.0,
        (after.journal - before.journal) * 30.0 / 1e6,
    );
    assert!(agent.process.end("-TERM").success());
    drop(scope);
}

/// Counters that only rise.
struct Meters {
    api: f64,
    prometheus: f64,
    cpu: f64,
    journal: f64,
}

async fn meters(cluster: &Cluster, agent: &Agent, directory: &Path) -> Meters {
    let request = axum::http::Request::get("/metrics").body(Vec::new()).expect("a request");
    let api = cluster.client.request_text(request).await.expect("the API server's metrics");
    let prometheus =
        reqwest::get(format!("{}/metrics", cluster.prometheus)).await.expect("Prometheus").text().await.expect("text");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", agent.process.pid())).expect("it runs");
    // utime and stime, the 14th and 15th field (proc(5)), in hundredths of a second; the name in brackets is one word here.
    let ticks: f64 = stat.split(' ').skip(13).take(2).map(|field| field.parse::<f64>().expect("a number")).sum();
    let journal = std::fs::read_dir(directory).expect("a directory").flatten();
    let journal = journal.filter(|file| file.file_name().to_string_lossy().starts_with("journal.db"));
    Meters {
        api: sum(&api, "apiserver_flowcontrol_dispatched_requests_total", "flow_schema=\"trimtab-measure\""),
        prometheus: sum(&prometheus, "prometheus_http_requests_total", "handler=\"/api/v1/query"),
        cpu: ticks / 100.0,
        journal: journal.map(|file| file.metadata().map(|file| file.len()).unwrap_or_default() as f64).sum(),
    }
}

/// The sum of a metric's samples whose labels contain `label`.
fn sum(exposition: &str, metric: &str, label: &str) -> f64 {
    let samples = exposition.lines().filter(|line| line.starts_with(metric) && line.contains(label));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Resident memory and the anonymous part of it, MB (proc(5)).
fn memory(agent: &Agent) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.process.pid())).expect("it runs");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field of status");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0 / 1e6
    };
    (field("VmRSS:"), field("RssAnon:"))
}

/// One number from Prometheus.
async fn prometheus(cluster: &Cluster, query: &str) -> Option<f64> {
    let client = reqwest::Client::new().get(format!("{}/api/v1/query", cluster.prometheus)).query(&[("query", query)]);
    let answer: serde_json::Value = serde_json::from_str(&client.send().await.ok()?.text().await.ok()?).ok()?;
    answer.pointer("/data/result/0/value/1")?.as_str()?.parse().ok()
}

/// Has the testbed's Prometheus scrape a demand of 80 requests/s for each workload.
async fn expose(namespace: &str, size: usize) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let lines: Vec<String> =
        (0..size).map(|number| format!("demand{{fleet=\"{namespace}\",app=\"w{number}\"}} 80")).collect();
    let text = lines.join("\n") + "\n";
    let answer = axum::routing::get(async move || ([("content-type", "text/plain; version=0.0.4")], text.clone()));
    tokio::spawn(axum::serve(listener, axum::Router::new().route("/metrics", answer)).into_future());
    let targets = std::env::var("TRIMTAB_PROMETHEUS_TARGETS").expect("set inside the testbed");
    let target = serde_json::json!([{ "targets": [address] }]);
    std::fs::write(Path::new(&targets).join(format!("{namespace}.json")), target.to_string()).expect("a file");
}

fn policy(namespace: &str, number: usize) -> String {
    format!(
        "- {{target: {namespace}/deployment/w{number}, replicas: {{min: 2, max: 9}}, capacity: {{rate: 50}}, slo: {{target: 200ms}}, \
         demand: {{query: 'sum(demand{{fleet=\"{namespace}\", app=\"w{number}\"}})'}}}}\n"
    )
}

fn workload(number: usize) -> String {
    serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": format!("w{number}")},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": format!("w{number}")}},
            "template": {
                "metadata": {"labels": {"app": format!("w{number}"), "fleet": "yes"}},
                "spec": {
                    "nodeSelector": {"type": "kwok"},
                    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
                    "containers": [{"name": "main", "image": "simulated"}]
                }
            }
        }
    })
    .to_string()
}

fn cluster_admin(namespace: &str) -> String {
    serde_json::json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "trimtab-measure"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "trimtab-measure", "namespace": namespace}]
    })
    .to_string()
}

/// Has the API server count what the measured trimtab asks of it.
fn flow_schema(namespace: &str) -> String {
    serde_json::json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": "trimtab-measure"},
        "spec": {
            "priorityLevelConfiguration": {"name": "workload-high"}, "matchingPrecedence": 500,
            "rules": [{
                "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"name": "trimtab-measure", "namespace": namespace}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
            }]
        }
    })
    .to_string()
}

/// What 30 replicas of the reference service cost: idle, and at 1,000 requests/s together.
#[tokio::test]
#[ignore = "a measurement of five minutes: ./bench"]
async fn thirty_replicas() {
    let Some(cluster) = Cluster::with_nodes("thirty replicas").await else { return };
    let mut world = World::empty(&cluster, "measure-thirty").await;
    world.start_service(30, &[]).await;
    let cpu = "sum(rate(container_cpu_usage_seconds_total{namespace=\"measure-thirty\",container=\"web\"}[1m]))";
    let memory = "max(container_memory_working_set_bytes{namespace=\"measure-thirty\",container=\"web\"}) / 1e6";
    tokio::time::sleep(Duration::from_secs(75)).await;
    let idle = (prometheus(&cluster, cpu).await, prometheus(&cluster, memory).await);
    println!("30 replicas idle: CPU cores and the largest memory in MB: {idle:?}");
    world.load(1000).await;
    tokio::time::sleep(Duration::from_secs(90)).await;
    let busy = (prometheus(&cluster, cpu).await, prometheus(&cluster, memory).await);
    let slow = world.end_load(0.2);
    println!("30 replicas at 1,000 requests/s: {busy:?}; 5 s spans on end with p90 above 200 ms: {slow}");
    println!("{}", world.results());
}

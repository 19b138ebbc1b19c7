//! The live match: everybody in turn in charge of the same service under the same seeded load, on the same real cluster.
//!
//! `short` is a test: two contestants, one step in demand, and what must always hold. `long` is what `testbed/match` runs. Each run leaves a
//! directory that `trimtab bench live` reads. trimtab shadows everybody else, so that what it would have done is known too.

mod course;
mod disturb;
mod meters;

use crate::cluster::{Audited, Cluster, until};
use crate::world::{Agent, Process, World, write_targets};
use course::Course;
use disturb::Disturbance;
use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use meters::Meters;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;
use trimtab::bench::LiveRun;
use trimtab::report::Writes;
use trimtab_core::Verb;

/// A replica is full at 50 requests/s of 20 ms; a bit less than a tenth of each burns CPU, and the request is what a release build then uses, HTTP
/// included: 1.66 ms a request were measured.
const SERVICE: [&str; 2] = ["--cpu-share", "0.08"];
const CPU: &str = "85m";
/// As in the manifests beside this.
const BOUNDS: (u32, u32) = (2, 14);
/// Seconds until the rate over 15 s of the load that began is in Prometheus.
const SEEN: f64 = 20.0;
/// Requests a second that a replica of 70 % carries.
const PER_REPLICA: f64 = 35.0;

/// Who can be in charge: a name, and the manifest where there is one.
const CONTESTANTS: [(&str, Option<&str>); 8] = [
    ("hpa-cpu", Some(include_str!("hpa-cpu.yaml"))),
    ("hpa-rate", Some(include_str!("hpa-rate.yaml"))),
    ("hpa-rate-tuned", Some(include_str!("hpa-rate-tuned.yaml"))),
    ("keda", Some(include_str!("keda.yaml"))),
    ("keda-tuned", Some(include_str!("keda-tuned.yaml"))),
    ("static", None),
    // The HPA on CPU, whose least size a trimtab raises.
    ("floor", Some(include_str!("hpa-cpu.yaml"))),
    ("own", None),
];

/// A run that is to be made.
struct Plan {
    course: Course,
    contestant: &'static str,
    repeat: u32,
    /// How long a replica takes to start, beyond what Kubernetes takes.
    startup: String,
    seed: u32,
    /// What happens to the cluster when a third of the course is over.
    disturbance: Option<Disturbance>,
    out: PathBuf,
}

#[tokio::test]
async fn short() {
    let Some(cluster) = Cluster::with_nodes("the live match").await else { return };
    if !cluster.is_testbed("the live match") {
        return;
    }
    if !std::env::var("TRIMTAB_TESTBED_WITH").unwrap_or_default().contains("metrics-server") {
        println!("skipped: the live match: needs metrics-server: start the testbed --with metrics-server");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    for contestant in ["hpa-cpu", "own"] {
        let out = directory.path().join("step").join(contestant).join("1");
        let plan = Plan {
            course: Course::SHORT,
            contestant,
            repeat: 1,
            startup: "0s".into(),
            seed: 1,
            disturbance: None,
            out,
        };
        play(&cluster, &plan).await;
    }
    render(directory.path());
}

/// Reads from the environment what `testbed/match` was told.
#[tokio::test]
#[ignore = "a measurement of as long as its traces are: testbed/match"]
async fn long() {
    let Some(cluster) = Cluster::with_nodes("the live match").await else { return };
    let told = |name: &str| {
        std::env::var(format!("TRIMTAB_MATCH_{name}"))
            .unwrap_or_else(|_| panic!("testbed/match sets TRIMTAB_MATCH_{name}"))
    };
    let (traces, contestants, out) = (told("TRACES"), told("CONTESTANTS"), PathBuf::from(told("OUT")));
    let repeat: u32 = told("REPEAT").parse().expect("a number");
    let disturbance = Disturbance::named(&told("DISTURBANCE"));
    let mut failed = Vec::new();
    for trace in traces.split(',') {
        let names = || Course::ALL.map(|course| course.name).join(", ");
        let course = Course::ALL.into_iter().find(|course| course.name == trace);
        let course = course.unwrap_or_else(|| panic!("no trace {trace:?}: there are {}", names()));
        for name in contestants.split(',') {
            let names = || CONTESTANTS.map(|(name, _)| name).join(", ");
            let (contestant, _) = CONTESTANTS
                .into_iter()
                .find(|(known, _)| *known == name)
                .unwrap_or_else(|| panic!("no contestant {name:?}: there are {}", names()));
            let told_apart = disturbance.map_or_else(String::new, |it| format!("-{}", it.name()));
            let out = out.join(trace).join(format!("{contestant}{told_apart}")).join(repeat.to_string());
            println!("{trace}, {contestant}{told_apart}, repeat {repeat}");
            let startup = told("STARTUP");
            let plan = Plan { course, contestant, repeat, startup, seed: repeat, disturbance, out };
            // A run that fails is not the others' concern: what it panicked with is told, and the match goes on.
            if AssertUnwindSafe(play(&cluster, &plan)).catch_unwind().await.is_err() {
                failed.push(format!("{trace}, {contestant}{told_apart}"));
            }
        }
    }
    assert!(failed.is_empty(), "runs that failed: {}", failed.join("; "));
}

/// Prints what was recorded.
fn render(directory: &Path) {
    let mut command = Command::new(crate::cluster::binary("trimtab"));
    let output = command.args(["bench", "live"]).arg(directory).args(["--out", "none"]).output().expect("it runs");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a run and records it; checks what must always hold.
async fn play(cluster: &Cluster, plan: &Plan) {
    std::fs::create_dir_all(&plan.out).expect("a directory");
    let (rates, ends) = plan.course.rates();
    let rows: Vec<String> = rates.iter().map(|(at, rate)| format!("{at},{rate:.3}\n")).collect();
    std::fs::write(plan.out.join("trace.csv"), format!("t_seconds,rate\n{}", rows.concat())).expect("a file");
    let first = first_size(plan, &rates);
    let world = World::empty(cluster, &format!("match-{}", plan.contestant)).await;
    let flags = [SERVICE.as_slice(), &["--startup", &plan.startup]].concat();
    world.start_service_with_cpu(first, &flags, CPU).await;

    let targets = plan.out.join("targets");
    let mut course = Vec::new();
    let mut watch = Watch { world: &world, targets: &targets, asked: 0.0 };
    watch.look(0.0, None, &mut course).await;
    let mark = cluster.audit_mark();
    let (began, clock) = (jiff::Timestamp::now(), Instant::now());
    let mut load = begin_load(plan, &targets);
    watch.until(clock, SEEN, None, &mut course, || false).await;
    let agent = install(&world, plan).await;
    watch.until(clock, plan.course.warm_up, Some(&agent), &mut course, || false).await;
    is_in_charge(&world, plan, &agent).await;
    let (before, asked_before) = (Meters::read(cluster, Some(&agent.process.pid())).await, watch.asked);
    if let Some(disturbance) = plan.disturbance {
        watch
            .until(clock, plan.course.warm_up + (ends - plan.course.warm_up) / 3.0, Some(&agent), &mut course, || false)
            .await;
        let mut underway = tokio::spawn(disturbance.happen(cluster.clone(), world.namespace().to_owned()));
        watch.until(clock, f64::INFINITY, Some(&agent), &mut course, || underway.is_finished()).await;
        (&mut underway).await.expect("it happened");
    }
    watch.until(clock, f64::INFINITY, Some(&agent), &mut course, || load.has_ended()).await;
    let (after, asked) = (Meters::read(cluster, Some(&agent.process.pid())).await, watch.asked - asked_before);
    std::fs::remove_file(&targets).expect("it was written");

    let run = LiveRun {
        trace: plan.course.name.into(),
        contestant: plan.contestant.into(),
        repeat: plan.repeat,
        began,
        warm_up: plan.course.warm_up,
        ends,
        min: BOUNDS.0,
        max: BOUNDS.1,
        first,
        capacity: 50.0,
        slo: 0.2,
        queue: 200,
        stabilization: 30.0,
        disturbance: plan.disturbance.map_or_else(String::new, |it| it.name().to_owned()),
        cpu: after.cpu_since(&before),
        memory: after.memory.clone(),
        api_requests: after.api_requests - before.api_requests - asked,
        busy: after.busy_since(&before),
        stalled: after.stalled_since(&before),
        made_of: made_of(plan),
    };
    let written = cluster.audited(mark);
    record(plan, &run, &course, &written, world.namespace());
    assert!(agent.process.end("-TERM").success(), "a clean end");
    always(plan, &course, &written, world.namespace());
}

/// As many as carry the first rate at 70 %; of who never changes it, the largest.
fn first_size(plan: &Plan, rates: &[(f64, f64)]) -> u32 {
    let rate = match plan.contestant {
        "static" => rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max),
        _ => rates.first().map_or(0.0, |(_, rate)| *rate),
    };
    let size = (rate / PER_REPLICA).ceil();
    (BOUNDS.0..BOUNDS.1).find(|replicas| f64::from(*replicas) >= size).unwrap_or(BOUNDS.1)
}

fn begin_load(plan: &Plan, targets: &Path) -> Process {
    Process::start(
        Command::new(crate::cluster::binary("trimtab-load"))
            .arg("--targets-file")
            .arg(targets)
            .arg("--trace")
            .arg(plan.out.join("trace.csv"))
            .args(["--seed", &plan.seed.to_string(), "--balance", "least-outstanding", "--out"])
            .arg(plan.out.join("load.csv"))
            .arg("--requests")
            .arg(plan.out.join("requests.csv"))
            .stderr(std::fs::File::create(plan.out.join("load.json")).expect("a file")),
    )
}

/// Puts the contestant in charge, and a trimtab beside it that only watches, or is the contestant itself.
async fn install(world: &World, plan: &Plan) -> Agent {
    let told =
        |text: &str| text.replace("NAMESPACE", world.namespace()).replace("PROMETHEUS", &world.cluster.prometheus);
    let manifest =
        CONTESTANTS.into_iter().find(|(name, _)| *name == plan.contestant).and_then(|(_, manifest)| manifest);
    if let Some(manifest) = manifest {
        world.apply(&told(manifest)).await;
    }
    let mode = match plan.contestant {
        "own" | "floor" => plan.contestant,
        _ => "shadow",
    };
    world.trimtab(&told(include_str!("trimtab.yaml")).replace("MODE", mode))
}

/// Waits until the contestant decides: before the warm-up is over nothing is graded.
async fn is_in_charge(world: &World, plan: &Plan, agent: &Agent) {
    match plan.contestant {
        "own" => drop(agent.until("trimtab may write", 1, |workload| workload.writes == Writes::Own).await),
        "static" => {}
        _ => {
            let hpas: Api<k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler> =
                Api::namespaced(world.cluster.client.clone(), world.namespace());
            until("the HPA reads its metric", 5, async || {
                let status = hpas.list(&ListParams::default()).await.ok()?.items.pop()?.status?;
                let active = |it: &k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerCondition| {
                    it.type_ == "ScalingActive" && it.status == "True"
                };
                status.conditions?.iter().any(active).then_some(())
            })
            .await;
        }
    }
}

/// The fleet at a moment.
struct Sample {
    at: f64,
    desired: u32,
    pods: usize,
    ready: usize,
    said: Option<u32>,
    /// How often the kubelet has started a container again, of all pods that are there.
    restarts: i32,
}

/// Looks at the fleet four times a second, and has the load follow it.
struct Watch<'a> {
    world: &'a World,
    targets: &'a Path,
    /// Requests to the API server that watching cost.
    asked: f64,
}

impl Watch<'_> {
    async fn look(&mut self, at: f64, said: Option<u32>, course: &mut Vec<Sample>) {
        self.asked += 2.0;
        let api: Api<Pod> = Api::namespaced(self.world.cluster.client.clone(), self.world.namespace());
        let Ok(pods) = api.list(&ListParams::default().labels("app=web")).await else { return };
        let ready: Vec<String> = pods.iter().filter_map(ready_address).collect();
        if !ready.is_empty() {
            write_targets(self.targets, &ready);
        }
        let Some(desired) = self.world.cluster.replicas_if_known(self.world.namespace(), "web").await else { return };
        let desired = u32::try_from(desired).unwrap_or_default();
        let containers = pods.iter().filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref()).flatten();
        let restarts = containers.map(|container| container.restart_count).sum();
        course.push(Sample { at, desired, pods: pods.items.len(), ready: ready.len(), said, restarts });
    }

    /// Until `seconds` of the load's clock have passed or `ended` says so.
    async fn until(
        &mut self,
        clock: Instant,
        seconds: f64,
        agent: Option<&Agent>,
        course: &mut Vec<Sample>,
        mut ended: impl FnMut() -> bool,
    ) {
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut said, mut number) = (None, 0_u32);
        while clock.elapsed().as_secs_f64() < seconds && !ended() {
            tick.tick().await;
            // trimtab decides once a second.
            if let Some(agent) = agent.filter(|_| number.is_multiple_of(4)) {
                said = agent.workload().await.and_then(|workload| workload.last).map(|last| match last.decision.verb {
                    Verb::Hold => last.snapshot.fleet.desired.0,
                    _ => last.decision.to.0,
                });
            }
            number += 1;
            self.look(clock.elapsed().as_secs_f64(), said, course).await;
        }
    }
}

fn ready_address(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref().filter(|_| pod.metadata.deletion_timestamp.is_none())?;
    let conditions = status.conditions.as_ref()?;
    let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    status.pod_ip.clone().filter(|_| ready)
}

/// The requests that wrote a size.
fn sizes<'a>(written: &'a [Audited], namespace: &'a str) -> impl Iterator<Item = &'a Audited> {
    written.iter().filter(move |entry| {
        let object = &entry.object_ref;
        let sets = object.subresource == "scale" || entry.is_ours() && entry.size().is_some();
        object.namespace == namespace && object.resource == "deployments" && entry.response_status.code == 200 && sets
    })
}

fn record(plan: &Plan, run: &LiveRun, course: &[Sample], written: &[Audited], namespace: &str) {
    let write = |name: &str, text: &str| std::fs::write(plan.out.join(name), text).expect("a file");
    write("run.json", &serde_json::to_string_pretty(run).expect("it can be written"));
    let mut fleet = "t_s,desired,pods,ready,said\n".to_owned();
    for Sample { at, desired, pods, ready, said, .. } in course {
        let said = said.map_or_else(String::new, |said| said.to_string());
        // Writing to a String cannot fail.
        let _ = writeln!(fleet, "{at:.2},{desired},{pods},{ready},{said}");
    }
    write("fleet.csv", &fleet);
    let mut writes = "t_s,by\n".to_owned();
    for entry in sizes(written, namespace) {
        let at = (entry.request_received_timestamp - run.began).total(jiff::Unit::Second).expect("seconds");
        let _ = writeln!(writes, "{at:.2},{}", entry.user_agent.replace(',', ";"));
    }
    write("writes.csv", &writes);
}

/// What holds of every run, whoever is in charge and however busy the machine is.
fn always(plan: &Plan, course: &[Sample], written: &[Audited], namespace: &str) {
    let requests = std::fs::read_to_string(plan.out.join("requests.csv")).expect("the load wrote it");
    let lost: Vec<&str> = requests.lines().filter(|row| row.ends_with(",lost")).collect();
    // A node that dies takes requests with it, and so does the kubelet that ends a container which was too busy to say that it lives.
    let restarts = course.iter().map(|sample| sample.restarts).max().unwrap_or_default();
    if restarts > 0 {
        println!("the kubelet ended containers of {}: {restarts}, {} requests lost", plan.contestant, lost.len());
    }
    let innocent = plan.disturbance != Some(Disturbance::NodeKilled) && restarts == 0;
    assert!(lost.is_empty() || !innocent, "{} requests were lost, the first: {:?}", lost.len(), lost.first());
    let summary = std::fs::read_to_string(plan.out.join("load.json")).expect("the load wrote it");
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("a summary");
    let sent = summary.get("sent").and_then(serde_json::Value::as_u64);
    assert_eq!(sent, Some(requests.lines().count() as u64 - 1), "each request that was sent has a row: {summary}");
    let (least, most) = BOUNDS;
    let outside: Vec<f64> = course.iter().filter(|it| !(least..=most).contains(&it.desired)).map(|it| it.at).collect();
    assert!(outside.is_empty(), "sizes outside of {least} to {most} at {outside:?} s");
    if !["own", "floor"].contains(&plan.contestant) {
        let ours: Vec<&Audited> =
            written.iter().filter(|entry| entry.is_ours() && entry.object_ref.namespace == namespace).collect();
        assert!(ours.is_empty(), "a trimtab that only watches wrote: {ours:?}");
    }
}

fn made_of(plan: &Plan) -> BTreeMap<String, String> {
    let directory = crate::cluster::binary("trimtab").parent().map(Path::to_owned).unwrap_or_default();
    let profile = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let with = std::env::var("TRIMTAB_TESTBED_WITH").unwrap_or_default();
    [
        ("trimtab", env!("CARGO_PKG_VERSION").to_owned()),
        ("profile", profile),
        ("processors", processors.to_string()),
        ("testbed", format!("{} nodes, {with}", std::env::var("TRIMTAB_TESTBED_NODES").unwrap_or_default())),
        ("service", format!("{}, startup {}, CPU request {CPU}", SERVICE.join(" "), plan.startup)),
        ("seed", plan.seed.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

//! A Prometheus that lies, in every way that one does: a real one, behind a proxy that spoils its answers.
//!
//! For each way: the workload says so in `trimtab status` and in a metric, in a bounded number of log lines, its size holds, another workload that
//! asks the same server directly goes on, and all is well again when the answers are.

use crate::cluster::{Cluster, binary, throughout, until};
use crate::world::{Agent, Process, World, port};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// At this load the service needs its 6 replicas, so that whoever believes a lie would take some away.
const RATE: u32 = 220;
const REPLICAS: u32 = 6;
/// How long each lie lasts at the least: longer than the policy's stabilization, half a minute.
const LASTS: u64 = 45;

/// What is wrong with the answers.
#[derive(Clone, Debug, PartialEq)]
enum Lie {
    /// Nothing.
    None,
    /// They take longer than anybody waits.
    Slow,
    /// They are errors that call themselves successes: status 200, and an error in the body.
    ErrorBody,
    /// They are a page of somebody else, with status 200.
    Page,
    /// They say of themselves that they are incomplete.
    Warning,
    /// They know of these pods only, as after a shard was lost.
    Only(Vec<String>),
    /// They are no numbers.
    NotANumber,
    /// They are zero, where everything was in the hundreds before.
    Zero,
}

#[derive(Clone)]
struct Proxy {
    upstream: String,
    namespace: String,
    lie: Arc<Mutex<Lie>>,
    client: reqwest::Client,
}

impl Proxy {
    /// Starts one; its address.
    async fn start(upstream: &str, namespace: &str) -> (Self, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let proxy = Self {
            upstream: upstream.trim_end_matches('/').to_owned(),
            namespace: namespace.to_owned(),
            lie: Arc::new(Mutex::new(Lie::None)),
            client: reqwest::Client::new(),
        };
        let app = Router::new().fallback(answer).with_state(proxy.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        (proxy, address)
    }

    fn tell(&self, lie: Lie) {
        *self.lie.lock().expect("nobody panics with it") = lie;
    }

    fn lie(&self) -> Lie {
        self.lie.lock().expect("nobody panics with it").clone()
    }
}

async fn answer(State(proxy): State<Proxy>, uri: Uri, body: Bytes) -> Response {
    let lie = proxy.lie();
    match &lie {
        Lie::Slow => tokio::time::sleep(Duration::from_secs(90)).await,
        Lie::ErrorBody => {
            let error =
                json!({"status": "error", "errorType": "execution", "error": "expanding series: context canceled"});
            return axum::Json(error).into_response();
        }
        Lie::Page => return axum::response::Html("<html><title>Sign in</title></html>").into_response(),
        _ => {}
    }
    let mut body = String::from_utf8_lossy(&body).into_owned();
    if let Lie::Only(pods) = &lie {
        // In a form, a name in quotes stands like this.
        let all = format!("namespace%3D%22{}%22", proxy.namespace);
        body = body.replace(&all, &format!("{all}%2Cpod%3D~%22{}%22", pods.join("%7C")));
    }
    let request = proxy.client.post(format!("{}{uri}", proxy.upstream)).body(body);
    let answer = match request.header("content-type", "application/x-www-form-urlencoded").send().await {
        Ok(answer) => answer,
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    let status = StatusCode::from_u16(answer.status().as_u16()).expect("a status");
    let text = answer.bytes().await.unwrap_or_default();
    let said = serde_json::from_slice::<Value>(&text).map_or_else(|_| text.to_vec(), |json| spoil(json, &lie));
    ([(header::CONTENT_TYPE, "application/json")], (status, Body::from(said))).into_response()
}

/// What is left of an answer.
fn spoil(mut answer: Value, lie: &Lie) -> Vec<u8> {
    if *lie == Lie::Warning {
        let warnings = json!(["store 10.0.0.1:19090 did not answer: deadline exceeded"]);
        answer.as_object_mut().expect("an answer is an object").insert("warnings".to_owned(), warnings);
    }
    let value = match lie {
        Lie::NotANumber => Some("NaN"),
        Lie::Zero => Some("0"),
        _ => None,
    };
    let results = answer.pointer_mut("/data/result").and_then(Value::as_array_mut);
    for series in results.into_iter().flatten() {
        // Of what was asked, not of how many stand behind it and how old it is.
        let asked = series.pointer("/metric/trimtab_q").and_then(Value::as_str).is_some_and(|tag| tag.starts_with('v'));
        if let (true, Some(value), Some(place)) = (asked, value, series.pointer_mut("/value/1")) {
            *place = value.into();
        }
    }
    answer.to_string().into_bytes()
}

/// A trimtab that asks through the proxy, and directly for whoever names `direct`.
fn start(world: &World, prometheus: &str) -> Agent {
    let directory = world.directory.path();
    // No larger than it is: of a seventh replica two of six would be another share.
    let limits = format!("{{ min: 2, max: {REPLICAS} }}");
    let policy = world.policy("own", "").replace("{ min: 2, max: 14 }", &limits) + &other(world.namespace());
    std::fs::write(directory.join("policy.yaml"), policy).expect("a file");
    let sources = format!("sources:\n- name: direct\n  url: {}\n", world.cluster.prometheus);
    std::fs::write(directory.join("sources.yaml"), sources).expect("a file");
    let listen = format!("127.0.0.1:{}", port());
    let file = |name: &str| directory.join(name);
    let process = Process::start(
        Command::new(binary("trimtab"))
            .args(["run", "--prometheus-url", prometheus, "--listen", &listen])
            .args(["--namespace", world.namespace(), "--lease-namespace", world.namespace()])
            .args([
                Path::new("--prometheus-sources"),
                &file("sources.yaml"),
                Path::new("--policy"),
                &file("policy.yaml"),
            ])
            .args([Path::new("--journal"), &file("journal.db")])
            .env("KUBECONFIG", &world.cluster.kubeconfig)
            .env("RUST_LOG", "info")
            .stdout(Stdio::null())
            .stderr(File::create(file("trimtab.log")).expect("a file")),
    );
    Agent { url: format!("http://{listen}"), process, workload: format!("{}/deployment/web", world.namespace()) }
}

/// The workload that is told the truth.
fn other(namespace: &str) -> String {
    format!(
        "  - target: {namespace}/deployment/other\n    prometheus: direct\n    replicas: {{ min: 1, max: 3 }}\n    demand: {{ query: 'vector(20)', counted_at: proxy }}\n    capacity: {{ rate: 50 }}\n    slo: {{ target: 200ms }}\n"
    )
}

/// What a lie looks like from outside.
struct Look {
    /// In the workload's row of `trimtab status`.
    status: &'static str,
    /// In `trimtab explain`.
    explain: &'static str,
    /// The metric that is 1 meanwhile.
    metric: &'static str,
    /// In the line of the log that says so.
    log: &'static str,
}

/// Nothing is known.
const fn blind(explain: &'static str) -> Look {
    Look { status: "blind", explain, metric: "trimtab_workload_blind", log: "TT-R20" }
}

/// What is known may be less than there is.
const fn partial(explain: &'static str) -> Look {
    Look { status: "in part", explain, metric: "trimtab_workload_partial", log: "demand is known in part" }
}

#[tokio::test]
async fn a_prometheus_that_lies_removes_no_replica_and_is_named() {
    let Some(cluster) = Cluster::with_nodes("a Prometheus that lies").await else { return };
    let mut world = World::with_service(&cluster, "e2e-lies", REPLICAS, &[]).await;
    world.start_also("other").await;
    world.load(RATE).await;
    let (proxy, address) = Proxy::start(&cluster.prometheus, world.namespace()).await;
    let agent = start(&world, &address);
    all_is_well(&agent).await;
    let some = pods(&world).await.into_iter().take(2).collect();
    for (lie, look) in [
        (Lie::Slow, blind("did not answer within")),
        (Lie::ErrorBody, blind("context canceled")),
        (Lie::Page, blind("does not answer as a Prometheus does")),
        (Lie::NotANumber, blind("the query gives NaN")),
        (Lie::Warning, partial("the source says that its answer is partial")),
        (Lie::Only(some), partial("3 % of the ready replicas report")),
        (Lie::Zero, blind("a zero that contradicts what was seen before")),
    ] {
        is_seen_and_held(&world, &agent, (&proxy, &lie), &look).await;
        proxy.tell(Lie::None);
        all_is_well(&agent).await;
    }
    assert!(agent.process.end("-TERM").success());
    world.replay(0);
}

async fn pods(world: &World) -> Vec<String> {
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::namespaced(world.cluster.client.clone(), world.namespace());
    let all = pods.list(&kube::api::ListParams::default().labels("app=web")).await.expect("pods can be listed");
    all.into_iter().filter_map(|pod| pod.metadata.name).collect()
}

/// Both are decided on what is true, and nothing is in trouble.
async fn all_is_well(agent: &Agent) {
    until("both workloads see, and nothing is in trouble", 120, async || {
        let report = agent.report().await?;
        let sees = |name: &str, least: f64| {
            let workload = report.workloads.iter().find(|workload| workload.workload.ends_with(name));
            let last = workload.and_then(|workload| workload.last.as_ref()).filter(|last| !last.is_partial());
            last.and_then(|last| last.snapshot.demand.fresh()).is_some_and(|demand| demand.get() > least)
        };
        (sees("/web", 0.9 * f64::from(RATE)) && sees("/other", 10.0) && report.troubles.is_empty()).then_some(())
    })
    .await;
}

async fn is_seen_and_held(world: &World, agent: &Agent, (proxy, lie): (&Proxy, &Lie), look: &Look) {
    println!("{lie:?}");
    let (size, lines) = (world.replicas().await.0, world.log().lines().count());
    proxy.tell(lie.clone());
    let run = |arguments: &[&str]| crate::beside::trimtab(&world.cluster, arguments).0;
    let name = agent.workload.clone();
    until(&format!("{lie:?}: explain says {:?}", look.explain), 60, async || {
        run(&["explain", &name, "--url", &agent.url]).contains(look.explain).then_some(())
    })
    .await;
    throughout(LASTS, async || match world.cluster.replicas_if_known(world.namespace(), "web").await {
        Some(now) if now < size => Err(format!("{lie:?}: {size} -> {now} replicas")),
        Some(_) | None => Ok(()),
    })
    .await;
    let status = run(&["status", "--url", &agent.url]);
    let row = status.lines().find(|line| line.contains("/web ")).unwrap_or_default().to_owned();
    println!("  {row}");
    assert!(row.contains(look.status) && row.contains("Hold"), "{lie:?}: {status}");
    let metrics = reqwest::get(format!("{}/metrics", agent.url)).await.expect("it answers").text().await.expect("text");
    let series =
        format!("{}{{namespace=\"{}\",kind=\"deployment\",workload=\"web\"}} 1", look.metric, world.namespace());
    assert!(metrics.contains(&series), "{lie:?}: {series} in {metrics}");
    // The other one is decided on what is true meanwhile, and newly.
    let report = agent.report().await.expect("it answers");
    let other = report.workloads.iter().find(|workload| workload.workload.ends_with("/other")).expect("it is there");
    let last = other.last.as_ref().expect("it is decided");
    assert!(last.snapshot.demand.fresh().is_some() && report.at.since(last.decision.at).get() < 20.0, "{lie:?}");
    // It is said, where it lasts, and is no stream of lines.
    let said =
        |log: &str| log.lines().skip(lines).any(|line| line.contains("/deployment/web") && line.contains(look.log));
    until(&format!("{lie:?}: the log says {:?}", look.log), 60, async || said(&world.log()).then_some(())).await;
    let log = world.log();
    let new: Vec<&str> = log.lines().skip(lines).filter(|line| line.contains("/deployment/web")).collect();
    assert_eq!(new.iter().filter(|line| line.contains(look.log)).count(), 1, "{lie:?}: {new:#?}");
    assert!(new.len() <= 12, "{lie:?}: {} lines in {LASTS} s: {new:#?}", new.len());
}

//! The reference service and its load generator as processes: no cluster, real sockets, real signals.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::time::Instant;

/// A binary of the workspace, beside the test's own.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own binary");
    let path = test.parent().and_then(std::path::Path::parent).expect("tests lie in deps/").join(name);
    assert!(path.exists(), "{} is missing: build the workspace first (cargo build --workspace)", path.display());
    path
}

/// A replica that ends with the test.
struct Replica {
    process: Child,
    url: String,
    client: reqwest::Client,
}

impl Replica {
    /// Starts one on a port that is free, and waits until it listens.
    fn start(flags: &[&str]) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut process = Command::new(binary("trimtab-reference"))
            .args(flags)
            .args(["--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut log = BufReader::new(process.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        let started = log.find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line).ok()?;
            line.get("listen")?.as_str().map(str::to_owned)
        });
        // Read on, so that the pipe neither fills nor breaks.
        std::thread::spawn(move || log.for_each(drop));
        let url = format!("http://{}", started.expect("it says where it listens"));
        Self { process, url, client: reqwest::Client::new() }
    }

    fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    async fn get(&self, path: &str) -> Option<reqwest::Response> {
        self.client.get(format!("{}{path}", self.url)).send().await.ok()
    }

    /// A request for work, in a task of its own; the status of its answer.
    fn work(&self) -> tokio::task::JoinHandle<reqwest::Result<reqwest::StatusCode>> {
        let asked = self.client.get(format!("{}/work", self.url)).send();
        tokio::spawn(async { Ok(asked.await?.status()) })
    }

    /// The sum of a count's samples.
    async fn count(&self, name: &str) -> Option<u64> {
        let text = self.get("/metrics").await?.text().await.ok()?;
        let samples = text.lines().filter(|line| line.split([' ', '{']).next() == Some(name));
        samples.map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Resident memory, MiB (`VmRSS` of proc(5)).
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
    }

    async fn ended(&mut self) -> ExitStatus {
        until("the replica ends", async || self.process.try_wait().expect("a child can be waited for")).await
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until `condition` gives something, for 30 s at the most.
async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs the load generator to its end: the rows of its CSV, and its summary.
fn load(arguments: &[&str]) -> (Vec<Vec<String>>, serde_json::Value) {
    let output = Command::new(binary("trimtab-load")).args(arguments).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let rows = String::from_utf8_lossy(&output.stdout)
        .lines()
        .skip(1)
        .map(|row| row.split(',').map(str::to_owned).collect())
        .collect();
    (rows, serde_json::from_str(&errors).expect("a summary"))
}

fn count(summary: &serde_json::Value, field: &str) -> u64 {
    summary.get(field).and_then(serde_json::Value::as_u64).expect("a count")
}

#[tokio::test]
async fn a_terminated_replica_answers_every_request() {
    let mut replica = Replica::start(&["--service-time", "20ms", "--drain-delay", "3s"]);
    until("it is ready", async || replica.get("/readyz").await.filter(|answer| answer.status().is_success())).await;
    let mut answers: Vec<_> = (0..40).map(|_| replica.work()).collect();
    until("all are in flight or answered", async || {
        replica.count("reference_requests_arrived_total").await.filter(|arrived| *arrived == 40)
    })
    .await;
    replica.terminate();
    until("it is no longer ready", async || replica.get("/readyz").await.filter(|answer| answer.status() == 503)).await;
    assert!(replica.get("/healthz").await.expect("an answer").status().is_success(), "draining is not being ill");
    // Load balancers have not noticed yet.
    answers.extend((0..5).map(|_| replica.work()));
    for answer in answers {
        assert_eq!(answer.await.expect("a task").expect("every request is answered"), 200);
    }
    assert!(replica.ended().await.success());
}

#[tokio::test]
async fn a_client_that_goes_away_is_no_longer_in_flight() {
    let replica = Replica::start(&["--service-time", "1000s"]);
    let asked = replica.work();
    until("it is in flight", async || replica.count("reference_in_flight").await.filter(|now| *now == 1)).await;
    asked.abort();
    until("it is gone", async || replica.count("reference_in_flight").await.filter(|now| *now == 0)).await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_says_when_to_come_again() {
    let replica = Replica::start(&["--service-time", "1000s", "--queue", "1"]);
    let _served_and_waiting = [replica.work(), replica.work()];
    until("both are inside", async || replica.count("reference_in_flight").await.filter(|now| *now == 2)).await;
    let refused = replica.get("/work").await.expect("an answer");
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn a_slow_database_shows_in_latency_and_gives_connections_by_turns() {
    let mut database = Replica::start(&["database", "--latency", "50ms"]);
    let replica = Replica::start(&["--service-time", "1ms", "--database-url", &database.url, "--database-pool", "1"]);
    let begun = Instant::now();
    let answers: Vec<_> = (0..4).map(|_| replica.work()).collect();
    for answer in answers {
        assert_eq!(answer.await.expect("a task").expect("an answer"), 200);
    }
    assert!(begun.elapsed() >= Duration::from_millis(200), "one connection answers four in four turns");
    database.terminate();
    database.ended().await;
    assert_eq!(replica.get("/work").await.expect("an answer").status(), 502);
}

#[tokio::test]
async fn memory_follows_its_curve_and_is_given_back() {
    let replica = Replica::start(&["--memory", "spike:96Mi:300ms"]);
    until("the spike", async || (replica.resident() > 96).then_some(())).await;
    until("its end", async || (replica.resident() < 48).then_some(())).await;
    let replica = Replica::start(&["--memory", "leak:32Mi/s"]);
    until("a leak that grows", async || (replica.resident() > 80).then_some(())).await;
    let replica = Replica::start(&["--memory", "steady:64Mi"]);
    until("what is held", async || (64..96).contains(&replica.resident()).then_some(())).await;
}

#[tokio::test]
async fn load_is_open_and_every_request_is_accounted_for() {
    // Twenty times as much as it serves: a generator that waited for answers would send far less.
    let replica = Replica::start(&["--service-time", "1s"]);
    let target = format!("{}/work", replica.url);
    let (rows, summary) =
        load(&["--target", &target, "--rate", "20", "--duration", "3s", "--interval", "1s", "--seed", "7"]);
    let sent = count(&summary, "sent");
    assert!((30..=90).contains(&sent), "60 expected: {summary}");
    assert_eq!(count(&summary, "in_flight"), 0, "what is under way at the end is waited for: {summary}");
    assert_eq!(
        sent,
        count(&summary, "served") + count(&summary, "failed"),
        "every request is accounted for: {summary}"
    );
    let column = |index: usize| rows.iter().map(move |row| row[index].parse::<u64>().expect("a count"));
    assert_eq!(sent, column(2).sum::<u64>(), "the rows add up");
    assert!(column(9).max() > Some(20), "it sends on while nobody answers: {rows:?}");
    let again = load(&["--target", &target, "--rate", "20", "--duration", "3s", "--seed", "7"]).1;
    assert_eq!(count(&again, "sent"), sent, "one seed, one sequence of arrivals");
}

#[tokio::test]
async fn load_counts_what_nobody_answers_as_failed() {
    let (_, summary) = load(&["--target", "http://127.0.0.1:1/work", "--rate", "50", "--duration", "1s"]);
    assert!(count(&summary, "failed") > 0 && count(&summary, "served") == 0, "{summary}");
}

#[tokio::test]
async fn a_trace_is_played_faster_and_stronger() {
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace.csv");
    std::fs::write(&trace, "t_seconds,rate\n0,2\n60,4\n").expect("a file");
    let replica = Replica::start(&["--service-time", "1ms"]);
    let (_, summary) = load(&[
        "--target",
        &format!("{}/work", replica.url),
        "--trace",
        trace.to_str().expect("UTF-8"),
        "--time-scale",
        "60",
        "--rate-scale",
        "10",
    ]);
    // One second at 20/s, one at 40/s.
    assert!((30..=90).contains(&count(&summary, "sent")), "{summary}");
    assert_eq!(count(&summary, "failed"), 0, "{summary}");
}

//! The pages in a real browser: `trimtab demo`, Debian's Chromium, and Playwright from npm (`tests/browser`).
#![expect(clippy::print_stdout, reason = "prints the figures that it measures")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use trimtab::metrics::{Counters, registry};
use trimtab::report::{Considered, Hour, Report, Sight, Sights, Workload, Writes};
use trimtab::serve::{Shown, Stage, app};
use trimtab_core::policy::{Bounds, Capacity, Method, Objective};
use trimtab_core::snapshot::{Absence, Coverage, Fleet, Reading, Sample};
use trimtab_core::unit::{Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_core::{Policy, Snapshot, State, decide};

/// trimtab itself.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own binary");
    let binary = test.parent().and_then(Path::parent).expect("tests lie in deps/").join("trimtab");
    assert!(binary.exists(), "{} is missing: build the workspace first (cargo build --workspace)", binary.display());
    binary
}

/// A demo that ends with the test.
struct Demo {
    process: Child,
    url: String,
}

impl Demo {
    /// Starts one on a port that is free, and waits until it says where its page is.
    fn start(form: &[&str]) -> Self {
        let mut process = Command::new(binary())
            .args(["demo", "--listen", "127.0.0.1:0"])
            .args(form)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        let line = lines.find(|line| line.starts_with("page ")).expect("it says where its page is");
        // Read on, so that the pipe neither fills nor breaks.
        std::thread::spawn(move || lines.for_each(drop));
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).expect("an address");
        Self { url: url.trim_end_matches("/demo").to_owned(), process }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Where the browser tests are, with what they need from npm.
fn browser() -> PathBuf {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/browser"));
    if !["playwright-core", "axe-core"].iter().all(|module| directory.join("node_modules").join(module).exists()) {
        let installed =
            Command::new("npm").args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(&directory).status();
        assert!(installed.expect("npm is there: ./test installs it").success(), "npm ci in tests/browser failed");
    }
    directory
}

/// Runs a script of `tests/browser` on a demo.
fn look(script: &str, form: &[&str]) {
    let directory = browser();
    let demo = Demo::start(form);
    node(&directory, &[script, &demo.url]);
}

/// Runs a script of `tests/browser`; what it prints.
fn node(directory: &Path, arguments: &[&str]) -> String {
    let ran = Command::new("node").args(arguments).current_dir(directory).output();
    let ran = ran.expect("node is there: ./test installs it");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

#[test]
fn pages_say_what_the_api_says_and_ask_nobody_else() {
    look("check.mjs", &["--simulated"]);
}

#[test]
fn the_demo_of_real_requests_lives_and_its_buttons_act() {
    look("real.mjs", &[]);
}

#[test]
fn a_page_whose_agent_goes_away_says_so_and_goes_on_when_it_is_back() {
    let binary = binary();
    node(&browser(), &["gone.mjs", binary.to_str().expect("a path in UTF-8")]);
}

// === many workloads ===

fn sample<T>(value: T) -> Sample<T> {
    Sample { value, age: Some(Seconds::whole(3)), coverage: Coverage::Unmeasured }
}

/// Workloads of the largest fleet that a page is promised for.
const MANY: u32 = 2_000;

/// Many workloads that are really decided, each second anew.
struct Many {
    states: Vec<State>,
    policy: Policy,
}

impl Many {
    fn new(workloads: u32) -> Self {
        let objective =
            Objective { latency: Seconds::milliseconds(200), misses: Ratio::permille(5), window: Objective::WINDOW };
        let policy = Policy {
            replicas: Bounds::new(Replicas(2), Replicas(100)).expect("2 are fewer than 100"),
            objective,
            capacity: Capacity::Declared(RequestsPerSecond::whole(50)),
            protect: Vec::new(),
            stabilization: Seconds::whole(300),
            events: Vec::new(),
            ramp: None,
            method: Method::Priced,
        };
        Self { states: (0..workloads).map(|_| State::default()).collect(), policy }
    }

    /// What an agent would say after so many seconds; each hundredth workload is blind.
    fn report(&mut self, second: u32) -> (Report, Sights) {
        let at = Timestamp(1_795_511_000_000 + 1_000 * i64::from(second));
        let workloads = self.states.iter_mut().zip(0_u32..).map(|(state, number)| {
            let wave = (second * 7 + number * 13) % 300;
            let rate = Reading::Fresh(sample(RequestsPerSecond::whole(200 + wave)));
            let snapshot = Snapshot {
                at,
                demand: if number % 100 == 0 { Reading::Missing(Absence::NoSeries) } else { rate },
                capacity: Reading::Missing(Absence::NotConfigured),
                latency: Reading::Fresh(sample(Seconds::milliseconds(50 + wave))),
                utilization: Reading::Missing(Absence::NotConfigured),
                foretold: Vec::new(),
                protected: BTreeMap::default(),
                fleet: Fleet {
                    desired: Replicas(8),
                    ready: Replicas(8),
                    starting: Replicas(0),
                    stuck: Replicas(0),
                    startup: Some(Seconds::whole(30)),
                    rolling_out: false,
                },
            };
            let decision = decide(&self.policy, state, &snapshot);
            let last = Considered { policy: self.policy.clone(), snapshot, decision, outcome: None };
            Workload { writes: Writes::Shadow, ..Workload::recorded(format!("shop/deployment/w{number:04}"), last) }
        });
        let workloads: Vec<Workload> = workloads.collect();
        let sights = workloads.iter().zip(0_u32..).map(|(workload, number)| {
            let hour = Hour { missed: (number + second) % 12, windows: 120, replica_hours: 8.0, ..Hour::default() };
            (workload.workload.clone(), Sight { hour, ..Sight::default() })
        });
        let sights = sights.collect();
        (Report { at, workloads, ..Report::of("many") }, sights)
    }
}

/// An agent's pages about them, without a journal, until it is dropped.
struct Server {
    url: String,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Server {
    async fn start(mut many: Many) -> Self {
        let (first, sights) = many.report(0);
        let (report, reports) = watch::channel(Arc::new(first));
        let (seen, sights) = watch::channel(Arc::new(sights));
        let (turned, turns) = watch::channel(Instant::now());
        let (ready, readiness) = watch::channel(Ok(()));
        let shown = Shown {
            registry: Arc::new(registry(&Counters::default(), reports.clone(), sights.clone())),
            report: reports,
            sights,
            turned: turns,
            ready: readiness,
            journal: PathBuf::from("nothing is recorded"),
            looks: Arc::new(Semaphore::new(2)),
            stage: Stage::Cluster,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let serving = tokio::spawn(async move { drop(axum::serve(listener, app(shown)).await) });
        let turning = tokio::spawn(async move {
            let mut second = tokio::time::interval(Duration::from_secs(1));
            for number in 1_u32.. {
                second.tick().await;
                let (news, sights) = many.report(number);
                seen.send_replace(Arc::new(sights));
                report.send_replace(Arc::new(news));
                turned.send_replace(Instant::now());
            }
            drop(ready);
        });
        Self { url, tasks: [serving, turning] }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_nothing_to_show_pages_say_what_is_missing() {
    let (empty, unreadable) = (Server::start(Many::new(0)).await, Server::start(Many::new(2)).await);
    let urls = [empty.url.clone(), unreadable.url.clone()];
    let look = move || node(&browser(), &["missing.mjs", &urls[0], &urls[1]]);
    tokio::task::spawn_blocking(look).await.expect("it succeeds");
}

/// The overview of 2,000 workloads, all of which change each second, while somebody sorts, filters and turns pages. The bounds are wide, since
/// other tests run beside; the figures of docs/performance.md are what `./bench page` prints.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_workloads_are_followed_without_a_stutter() {
    let server = Server::start(Many::new(MANY)).await;
    let url = server.url.clone();
    let ran = tokio::task::spawn_blocking(move || node(&browser(), &["rows.mjs", &url]));
    let figures = ran.await.expect("it succeeds");
    println!("2,000 workloads: {}", figures.trim());
    let figures: serde_json::Value = serde_json::from_str(&figures).expect("it prints JSON");
    let number = |path: &str| figures.pointer(path).and_then(serde_json::Value::as_u64).expect(path);
    assert!(number("/first_row_ms") < 5_000, "{figures}");
    for part in ["/live", "/sorting", "/filtering", "/paging"] {
        assert!(number(&format!("{part}/longest_task_ms")) < 500, "{part}: {figures}");
    }
}

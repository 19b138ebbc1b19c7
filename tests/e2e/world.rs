//! What a scenario is made of: the reference service in pods, a load on it, and a trimtab that watches both.

use crate::cluster::{Cluster, Scope, binary, until};
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use trimtab::report::{Report, Workload};

/// A child process that ends with the test, also when the test fails.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    pub(crate) fn pid(&self) -> String {
        self.0.id().to_string()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("a child can be waited for").is_some()
    }

    fn signal(&self, signal: &str) {
        let _ = Command::new("kill").args([signal, &self.pid()]).status();
    }

    /// Ends it with `signal` and waits until it has ended.
    pub(crate) fn end(mut self, signal: &str) -> std::process::ExitStatus {
        self.signal(signal);
        self.0.wait().expect("a child can be waited for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Ports of loopback, one after the other: tests run side by side.
pub(crate) fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(27_100);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The reference service in a namespace, with a load on it.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) scope: Scope,
    pub(crate) directory: tempfile::TempDir,
    load: Option<Load>,
}

struct Load {
    control: String,
    process: Process,
    follower: tokio::task::JoinHandle<()>,
}

impl World {
    /// A namespace with `replicas` of the reference service, ready; `flags` go to the service.
    pub(crate) async fn with_service(cluster: &Cluster, name: &str, replicas: u32, flags: &[&str]) -> Self {
        let world = Self::empty(cluster, name).await;
        world.start_service(replicas, flags).await;
        world
    }

    /// A namespace with nothing in it.
    pub(crate) async fn empty(cluster: &Cluster, name: &str) -> Self {
        let scope = cluster.namespace(name).await;
        Self { cluster: cluster.clone(), scope, directory: tempfile::tempdir().expect("a directory"), load: None }
    }

    /// `replicas` of the reference service, ready; `flags` go to the service.
    pub(crate) async fn start_service(&self, replicas: u32, flags: &[&str]) {
        self.start_service_with_cpu(replicas, flags, "10m").await;
    }

    /// The same, where each replica requests `cpu`.
    pub(crate) async fn start_service_with_cpu(&self, replicas: u32, flags: &[&str], cpu: &str) {
        self.deploy_service(replicas, flags, cpu).await;
        self.until_ready(replicas, 60).await;
    }

    /// One more of it under another name, on which there is no load.
    pub(crate) async fn start_also(&self, name: &str) {
        self.apply(&service(1, &[], "10m").replace("web", name)).await;
        let what = format!("{name} is ready");
        until(&what, 60, async || (self.cluster.replicas(self.namespace(), name).await.1 == 1).then_some(())).await;
    }

    /// Takes a label away.
    pub(crate) fn unlabel(&self, kind: &str, label: &str) {
        let status = Command::new("kubectl")
            .args(["-n", self.namespace(), "label", kind, "web", &format!("{label}-")])
            .env("KUBECONFIG", &self.cluster.kubeconfig)
            .stdout(Stdio::null())
            .status();
        assert!(status.is_ok_and(|status| status.success()), "kubectl label {kind} {label}-");
    }

    /// Deletes an object, as a human does.
    pub(crate) fn delete(&self, kind: &str, name: &str) {
        let status = Command::new("kubectl")
            .args(["-n", self.namespace(), "delete", kind, name])
            .env("KUBECONFIG", &self.cluster.kubeconfig)
            .stdout(Stdio::null())
            .status();
        assert!(status.is_ok_and(|status| status.success()), "kubectl delete {kind} {name}");
    }

    /// The same, ready or not.
    pub(crate) async fn deploy_service(&self, replicas: u32, flags: &[&str], cpu: &str) {
        self.apply(&service(replicas, flags, cpu)).await;
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.scope.name
    }

    pub(crate) async fn apply(&self, yaml: &str) {
        self.cluster.apply(self.namespace(), yaml).await;
    }

    pub(crate) async fn replicas(&self) -> (i32, i32) {
        self.cluster.replicas(self.namespace(), "web").await
    }

    pub(crate) async fn until_ready(&self, replicas: u32, seconds: u64) {
        let wanted = i32::try_from(replicas).expect("a small number");
        until(&format!("{replicas} replicas are ready"), seconds, async || {
            (self.replicas().await.1 == wanted).then_some(())
        })
        .await;
    }

    /// Puts a load of `rate` requests a second on the service, whatever pods it has.
    pub(crate) async fn load(&mut self, rate: u32) {
        if let Some(load) = &self.load {
            let url = format!("{}/rate", load.control);
            let answer = reqwest::Client::new()
                .put(url)
                .body(rate.to_string())
                .send()
                .await
                .expect("the load generator listens");
            assert!(answer.status().is_success(), "{}", answer.status());
            return;
        }
        let targets = self.directory.path().join("targets");
        let follower = tokio::spawn(follow(self.cluster.clone(), self.namespace().to_owned(), targets.clone()));
        until("the load generator has targets", 30, async || {
            std::fs::read_to_string(&targets).ok().filter(|text| !text.is_empty())
        })
        .await;
        let control = format!("127.0.0.1:{}", port());
        let process = Process::start(
            Command::new(binary("trimtab-load"))
                .arg("--targets-file")
                .arg(&targets)
                .args(["--rate", &rate.to_string(), "--control", &control, "--balance", "least-outstanding"])
                .args(["--seed", "1", "--interval", "5s", "--duration", "1h", "--out"])
                .arg(self.directory.path().join("load.csv"))
                .stdout(File::create(self.directory.path().join("load.log")).expect("a file"))
                .stderr(Stdio::null()),
        );
        self.load = Some(Load { control: format!("http://{control}"), process, follower });
    }

    /// Ends the load; the most intervals on end in which more than a tenth of the requests took longer than `latency`
    /// seconds. The 90th percentile, because two shared cores make the odd slow request by themselves.
    pub(crate) fn end_load(&mut self, latency: f64) -> usize {
        if let Some(load) = self.load.take() {
            load.follower.abort();
            load.process.end("-INT");
        }
        let text = self.results();
        let mut rows = text.lines();
        let p90 =
            rows.next().and_then(|head| head.split(',').position(|name| name == "p90_s")).expect("a column p90_s");
        let slow = rows.filter_map(|row| row.split(',').nth(p90)?.parse::<f64>().ok()).map(|p90| p90 > latency);
        let (mut longest, mut run) = (0, 0);
        for slow in slow {
            run = if slow { run + 1 } else { 0 };
            longest = longest.max(run);
        }
        longest
    }

    /// What the load generator wrote.
    pub(crate) fn results(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("load.csv")).unwrap_or_default()
    }

    /// A policy for the service, to be completed with further lines of its own.
    pub(crate) fn policy(&self, mode: &str, more: &str) -> String {
        let namespace = self.namespace();
        format!(
            "workloads:
  - target: {namespace}/deployment/web
    replicas: {{ min: 2, max: 14 }}
    demand: {{ query: 'sum(rate(reference_requests_arrived_total{{namespace=\"{namespace}\"}}[15s]))' }}
    capacity: {{ rate: 50 }}
    slo: {{ query: 'histogram_quantile(0.99, sum by (le) (rate(reference_request_duration_seconds_bucket{{namespace=\"{namespace}\"}}[15s])))', target: 200ms, misses: 2% }}
    stabilization: 30s
    mode: {mode}
{more}"
        )
    }

    /// A trimtab that watches this namespace with `policy`.
    pub(crate) fn trimtab(&self, policy: &str) -> Agent {
        std::fs::write(self.directory.path().join("policy.yaml"), policy).expect("a file");
        self.trimtab_again()
    }

    /// A trimtab that watches this namespace with no policy of ours.
    pub(crate) fn trimtab_without_policy(&self) -> Agent {
        self.trimtab_again()
    }

    /// The same, with the files that are there.
    pub(crate) fn trimtab_again(&self) -> Agent {
        Agent::start(&self.cluster, self.namespace(), self.directory.path(), &self.cluster.kubeconfig)
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.directory.path().join("journal.db")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("trimtab.log")).unwrap_or_default()
    }

    /// Replays the whole journal, of a trimtab that was started anew so many times; it must be bit-identical.
    pub(crate) fn replay(&self, restarts: u64) {
        let output = Command::new(binary("trimtab")).arg("replay").arg(self.journal()).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "replay found differences:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        // "174 decisions taken again, 0 not: 0 differences, 0 damaged, 0 gaps"
        let counts: Vec<u64> = text
            .split(|c: char| !c.is_ascii_digit())
            .filter(|number| !number.is_empty())
            .map(|number| number.parse().expect("digits"))
            .collect();
        let [taken, not_taken, differences, damaged, gaps, ..] = counts[..] else { panic!("{text}") };
        assert_eq!((not_taken, differences, damaged, gaps), (0, 0, 0, restarts), "{text}");
        assert!(taken > 0, "{text}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            println!("--- the end of trimtab's log:");
            for line in tail.iter().rev() {
                println!("{line}");
            }
        }
        if let Some(load) = self.load.take() {
            load.follower.abort();
        }
    }
}

/// A running trimtab.
pub(crate) struct Agent {
    pub(crate) url: String,
    pub(crate) process: Process,
    /// The workload that is asked for: the service, unless a test says otherwise.
    pub(crate) workload: String,
}

impl Agent {
    /// A trimtab that watches `namespace`, or several with commas between them, the first its own, by `policy.yaml` in `directory`, where there is one, with the rights of `kubeconfig`; it writes its journal
    /// and its log there too.
    pub(crate) fn start(cluster: &Cluster, namespace: &str, directory: &Path, kubeconfig: &Path) -> Self {
        Self::start_with(cluster, namespace, directory, kubeconfig, &[])
    }

    /// The same, with settings of its own.
    pub(crate) fn start_with(
        cluster: &Cluster,
        namespace: &str,
        directory: &Path,
        kubeconfig: &Path,
        settings: &[(&str, &str)],
    ) -> Self {
        Self::of(&binary("trimtab"), cluster, (namespace, directory), kubeconfig, settings)
    }

    /// The same, of another build.
    pub(crate) fn of(
        build: &Path,
        cluster: &Cluster,
        (namespace, directory): (&str, &Path),
        kubeconfig: &Path,
        settings: &[(&str, &str)],
    ) -> Self {
        let listen = format!("127.0.0.1:{}", port());
        let own = namespace.split(',').next().unwrap_or_default();
        let log = File::options().create(true).append(true).open(directory.join("trimtab.log")).expect("a file");
        let policy = Some(directory.join("policy.yaml")).filter(|file| file.exists());
        let process = Process::start(
            Command::new(build)
                .args(["run", "--prometheus-url", &cluster.prometheus, "--listen", &listen])
                .args(["--namespace", namespace, "--lease-namespace", own])
                .args(policy.iter().flat_map(|file| [OsStr::new("--policy"), file.as_os_str()]))
                .arg("--journal")
                .arg(directory.join("journal.db"))
                .env("KUBECONFIG", kubeconfig)
                .env("RUST_LOG", "info")
                .envs(settings.iter().copied())
                .stdout(Stdio::null())
                .stderr(log),
        );
        Self { url: format!("http://{listen}"), process, workload: format!("{own}/deployment/web") }
    }

    pub(crate) async fn report(&self) -> Option<Report> {
        let response = reqwest::get(format!("{}/api/v1/report", self.url)).await.ok()?;
        serde_json::from_slice(&response.bytes().await.ok()?).ok()
    }

    pub(crate) async fn workload(&self) -> Option<Workload> {
        self.report().await?.workloads.into_iter().find(|workload| workload.workload == self.workload)
    }

    /// Waits until its last decision satisfies `condition`.
    pub(crate) async fn until(&self, what: &str, seconds: u64, condition: impl Fn(&Workload) -> bool) -> Workload {
        until(what, seconds, async || self.workload().await.filter(|workload| condition(workload))).await
    }

    /// Waits until it has decided once.
    pub(crate) async fn until_decided(&self) -> Workload {
        self.until("a first decision", 30, |workload| workload.last.is_some()).await
    }
}

/// A `ConfigMap` that holds a policy.
pub(crate) fn policy_map(policy: &str) -> String {
    let map = serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "web-policy", "labels": {"trimtab.dev/policy": "true"}},
        "data": {"policy.yaml": policy}
    });
    map.to_string()
}

/// Writes what the load generator asks, at once and whole.
pub(crate) fn write_targets(file: &Path, pods: &[String]) {
    let text = pods.iter().map(|ip| format!("http://{ip}:8080/work")).collect::<Vec<_>>().join("\n");
    let new = file.with_extension("new");
    if std::fs::write(&new, text).is_ok() {
        let _ = std::fs::rename(&new, file);
    }
}

/// Keeps the file of targets equal to the ready pods.
async fn follow(cluster: Cluster, namespace: String, file: PathBuf) {
    loop {
        if let Some(pods) = cluster.ready_pods(&namespace, "app=web").await.filter(|pods| !pods.is_empty()) {
            write_targets(&file, &pods);
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
}

fn service(replicas: u32, flags: &[&str], cpu: &str) -> String {
    let flags = serde_json::to_string(flags).expect("strings");
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, labels: {{app: web, trimtab.dev/mode: own}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata:
      labels: {{app: web}}
      annotations: {{prometheus.io/scrape: "true", prometheus.io/port: "8080"}}
    spec:
      terminationGracePeriodSeconds: 10
      automountServiceAccountToken: false
      containers:
      - name: web
        image: trimtab.dev/reference:dev
        imagePullPolicy: IfNotPresent
        args: {flags}
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /readyz, port: http}}, periodSeconds: 1}}
        livenessProbe: {{httpGet: {{path: /healthz, port: http}}, periodSeconds: 10}}
        resources: {{requests: {{cpu: {cpu}, memory: 16Mi}}}}
"#
    )
}

//! What the machine and the cluster's processes used.

use crate::cluster::{Cluster, component};
use std::collections::BTreeMap;

/// Counters that only rise, and what is held now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meters {
    /// CPU seconds of each component.
    pub(crate) cpu: BTreeMap<String, f64>,
    /// Resident bytes of each component.
    pub(crate) memory: BTreeMap<String, f64>,
    /// Requests that the API server answered.
    pub(crate) api_requests: f64,
    /// CPU seconds of the machine, used and in all.
    busy: (f64, f64),
    /// Microseconds in which something waited for a CPU.
    stalled: Option<f64>,
    at: f64,
}

impl Meters {
    /// Of the testbed's components, and of the process `agent` as trimtab.
    pub(crate) async fn read(cluster: &Cluster, agent: Option<&str>) -> Self {
        let mut meters = Self { busy: machine(), stalled: stalled(), at: uptime(), ..Self::default() };
        let owner = std::env::var("TRIMTAB_TESTBED").unwrap_or_default();
        for entry in std::fs::read_dir("/proc").expect("proc is mounted").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with(|c: char| c.is_ascii_digit()) {
                continue;
            }
            let component =
                if agent == Some(name.as_str()) { Some("trimtab".to_owned()) } else { component(&name, &owner) };
            if let Some((component, (cpu, memory))) = component.zip(used(&name)) {
                *meters.cpu.entry(component.clone()).or_default() += cpu;
                *meters.memory.entry(component).or_default() += memory;
            }
        }
        let request = axum::http::Request::get("/metrics").body(Vec::new()).expect("a request");
        let text = cluster.client.request_text(request).await.expect("the API server's metrics");
        let samples = text.lines().filter(|line| line.starts_with("apiserver_request_total{"));
        meters.api_requests = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        meters
    }

    /// CPU of each component since `before`.
    pub(crate) fn cpu_since(&self, before: &Self) -> BTreeMap<String, f64> {
        let since = |(name, now): (&String, &f64)| {
            let then = before.cpu.get(name).copied().unwrap_or_default();
            // One that was started again meanwhile has counted from zero.
            (name.clone(), if *now >= then { now - then } else { *now })
        };
        self.cpu.iter().map(since).collect()
    }

    /// Share of the machine's CPU time that was used since `before`.
    pub(crate) fn busy_since(&self, before: &Self) -> f64 {
        (self.busy.0 - before.busy.0) / (self.busy.1 - before.busy.1).max(0.01)
    }

    /// Share of the time since `before` in which something waited for a CPU.
    pub(crate) fn stalled_since(&self, before: &Self) -> Option<f64> {
        Some((self.stalled? - before.stalled?) / 1e6 / (self.at - before.at).max(0.01))
    }
}

/// CPU seconds and resident bytes of a process (proc(5)).
fn used(pid: &str) -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // What follows the name in brackets, which may hold anything: utime, stime and rss are the 14th, 15th and 24th field.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(((field(14)? + field(15)?) / 100.0, field(24)? * 4096.0))
}

/// CPU seconds that the machine used, and all of them.
fn machine() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/stat").expect("proc is mounted");
    let line = stat.lines().next().expect("a line for all processors");
    // user nice system idle iowait irq softirq steal; guests are within user.
    let times: Vec<f64> = line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
    let all: f64 = times.iter().sum();
    let idle: f64 = times.iter().skip(3).take(2).sum();
    ((all - idle) / 100.0, all / 100.0)
}

fn stalled() -> Option<f64> {
    let pressure = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
    let some = pressure.lines().find(|line| line.starts_with("some "))?;
    some.rsplit_once("total=")?.1.parse().ok()
}

fn uptime() -> f64 {
    let text = std::fs::read_to_string("/proc/uptime").expect("proc is mounted");
    text.split(' ').next().and_then(|seconds| seconds.parse().ok()).expect("seconds")
}

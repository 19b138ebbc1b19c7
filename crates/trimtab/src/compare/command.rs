//! `trimtab compare`, from a journal, and `trimtab backtest`, from Prometheus alone.

use super::page::{self, Comparison};
use super::{Course, Moment, seconds};
use crate::cli;
use crate::commands::Printed;
use crate::config::{self, Document, Target, Workload};
use crate::import;
use crate::prometheus::{self, Source};
use crate::sources::Sources;
use anyhow::{Context, anyhow, bail};
use futures::future::BoxFuture;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use trimtab_core::unit::{Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_journal::Reader;

/// From ordering a replica to its being ready, where nobody measured it: as the decision itself guesses.
const STARTUP: Seconds = Seconds::whole(30);
/// A question about days takes longer than one about now.
const PATIENCE: Duration = Duration::from_mins(1);

/// `trimtab compare`. Exit code 4 where the journal knows nothing of it.
#[must_use]
pub fn compare(command: &cli::Compare) -> BoxFuture<'_, anyhow::Result<Printed>> {
    Box::pin(async move {
        let path = &command.journal;
        let reader = Reader::open(path).with_context(|| path.display().to_string())?;
        let known = reader.workloads()?;
        let wanted: Vec<String> = match &command.target {
            Some(target) => known.iter().filter(|name| **name == target.to_string()).cloned().collect(),
            None => known.clone(),
        };
        let since = Timestamp(now().0.saturating_sub(milliseconds(command.since)));
        let mut all = Vec::new();
        for workload in &wanted {
            all.extend(recorded(&reader, workload, since)?.and_then(Comparison::of));
        }
        if all.is_empty() {
            let text = format!(
                "the journal {} has no decision of it in that time; it has some of {}\n",
                path.display(),
                known.join(", ")
            );
            return Ok(Printed { text, code: 4 });
        }
        print(&all, command.json, command.html.as_deref())
    })
}

/// `trimtab backtest`.
#[must_use]
pub fn backtest(command: &cli::Backtest) -> BoxFuture<'_, anyhow::Result<Printed>> {
    Box::pin(async move {
        let workload = policy(command).await?;
        let source = Sources::one(&command.prometheus_url, command.prometheus_token_file.clone(), PATIENCE)?;
        let course = remembered(&source, &workload, command).await?;
        let one = Comparison::of(course).context("Prometheus knows nothing of it in that time")?;
        print(&[one], command.json, command.html.as_deref())
    })
}

fn print(all: &[Comparison], json: bool, html: Option<&Path>) -> anyhow::Result<Printed> {
    if let Some(file) = html {
        std::fs::write(file, page::html(all)).with_context(|| format!("failed to write {}", file.display()))?;
    }
    if json {
        let document = json!({ "schema": "trimtab.dev/compare/v1", "workloads": all });
        return Ok(Printed::done(format!("{}\n", serde_json::to_string_pretty(&document)?)));
    }
    Ok(Printed::done(page::text(all)))
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

fn milliseconds(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

// === from a journal ===

/// `None` where nothing is recorded of it since then.
fn recorded(reader: &Reader, workload: &str, since: Timestamp) -> anyhow::Result<Option<Course>> {
    let mut moments = Vec::new();
    let mut last = None;
    let mut startup = None;
    let (mut written, mut policies) = (0_u32, 0_u32);
    for stored in reader.records(workload, since..=Timestamp(i64::MAX))? {
        let stored = stored?;
        let snapshot = &stored.snapshot;
        // Two agents may have kept records side by side.
        if moments.last().is_some_and(|before: &Moment| before.at >= snapshot.at) {
            continue;
        }
        moments.push(Moment {
            at: snapshot.at,
            demand: snapshot.demand.fresh(),
            capacity: snapshot.capacity.fresh(),
            latency: snapshot.latency.fresh(),
            wanted: snapshot.fleet.desired,
            ready: snapshot.fleet.ready,
        });
        startup = snapshot.fleet.startup.or(startup);
        policies += u32::from(last.as_ref().is_some_and(|before| *before != stored.policy));
        written += u32::from(last.is_some() && stored.from != stored.to);
        last = Some(stored.policy);
    }
    let Some(policy) = last else { return Ok(None) };
    let mut remarks = Vec::new();
    if policies > 0 {
        remarks.push(format!("its policy changed {policies} times; it is played with the last one"));
    }
    if written > 0 {
        remarks.push("what happened may be trimtab's own doing where its mode was own or floor".to_owned());
    }
    let (startup, startup_measured) = startup.map_or((STARTUP, false), |startup| (startup, true));
    Ok(Some(Course { workload: workload.to_owned(), policy, moments, startup, startup_measured, remarks }))
}

// === from Prometheus ===

/// The policy that it is played with: of a file, or what its autoscaler amounts to.
async fn policy(command: &cli::Backtest) -> anyhow::Result<Workload> {
    let target = &command.target;
    let (name, text) = if let Some(file) = &command.policy {
        (
            file.display().to_string(),
            std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?,
        )
    } else {
        let objects = if command.file.is_empty() {
            import::of_cluster(&import::client(command.context.as_deref()).await?, &target.namespace).await?
        } else {
            import::read_files(&command.file)?
        };
        let all = objects.iter().filter_map(|object| import::of(object, &objects));
        let imported = all.into_iter().find(|imported| imported.target.as_ref() == Some(target)).ok_or_else(|| {
            anyhow!("no autoscaler scales {target}: name a policy with --policy, or manifests with --file")
        })?;
        let text = imported.policy.clone().ok_or_else(|| anyhow!(imported.problem().unwrap_or_default()))?;
        (imported.source.to_string(), text)
    };
    let check = |promql: &str| prometheus::check(promql, None).iter().map(ToString::to_string).collect();
    let mut policies = config::Policies::default();
    if let Some(problems) =
        policies.apply(&Document { name: &name, namespace: None, text: text.as_bytes() }, &check).rejected
    {
        bail!("{problems}");
    }
    let found = policies.workloads().get(target).cloned();
    found.ok_or_else(|| anyhow!("{name} names no {target}"))
}

/// Values by the moments of a common grid.
type Values = BTreeMap<i64, f64>;

async fn read(source: &Source, promql: &str, command: &cli::Backtest) -> anyhow::Result<Values> {
    let step = milliseconds(command.step).max(1);
    let until = now().0 / step * step;
    let from = (until - milliseconds(command.since)) / step * step;
    match source.history(promql, from, until, command.step).await {
        Ok(points) => Ok(points.into_iter().collect()),
        Err(prometheus::Absence::NoSeries) => Ok(Values::new()),
        Err(absence) => Err(anyhow!("{absence}\n  query: {promql}")),
    }
}

/// The sizes that there were: as kube-state-metrics tells, else by the pods that the kubelets measured.
async fn sizes(source: &Source, target: &Target, command: &cli::Backtest) -> anyhow::Result<(Values, Values, String)> {
    let (namespace, name) = (&target.namespace, &target.name);
    let (label, wanted, ready) = match target.kind.resource.as_str() {
        "statefulsets" => ("statefulset", "kube_statefulset_replicas", "kube_statefulset_status_replicas_ready"),
        _ => ("deployment", "kube_deployment_spec_replicas", "kube_deployment_status_replicas_ready"),
    };
    let of = |series: &str| format!(r#"max({series}{{namespace="{namespace}",{label}="{name}"}})"#);
    let told = read(source, &of(wanted), command).await?;
    if !told.is_empty() {
        let there = read(source, &of(ready), command).await?;
        if there.is_empty() {
            let remark =
                format!("sizes are kube-state-metrics'; it has no {ready}, so all that were asked for count as ready");
            return Ok((told.clone(), told, remark));
        }
        return Ok((told, there, "sizes are kube-state-metrics'".to_owned()));
    }
    let pods = import::pods(target);
    let series = format!(
        r#"container_memory_working_set_bytes{{namespace="{namespace}",pod=~"{pods}",container!="",container!="POD"}}"#
    );
    let counted = read(source, &format!("count(count by (pod) ({series}))"), command).await?;
    if counted.is_empty() {
        bail!(
            "Prometheus does not know how many replicas {target} had: it has neither {wanted} of kube-state-metrics nor the kubelets' series of its pods"
        );
    }
    let remark =
        "sizes are counted pods that the kubelets measured: one that was asked for and did not run yet is not seen";
    Ok((counted.clone(), counted, remark.to_owned()))
}

async fn remembered(source: &Source, workload: &Workload, command: &cli::Backtest) -> anyhow::Result<Course> {
    let queries = &workload.queries;
    let demand = read(source, &queries.demand, command).await.context("demand")?;
    let (wanted, ready, remark) = sizes(source, &workload.target, command).await?;
    let none = Values::new();
    let capacity = match &queries.capacity {
        Some(query) => read(source, query, command).await.context("capacity")?,
        None => none.clone(),
    };
    let latency = match &queries.latency {
        Some(query) => read(source, query, command).await.context("latency")?,
        None => none,
    };
    // Who does not say how many were ready says nothing of that moment.
    let both = wanted.iter().filter_map(|(at, wanted)| Some((at, replicas(*wanted), replicas(*ready.get(at)?))));
    let moments = both.map(|(at, wanted, ready)| Moment {
        at: Timestamp(*at),
        demand: demand.get(at).and_then(|value| RequestsPerSecond::new(*value)),
        capacity: capacity
            .get(at)
            .and_then(|value| RequestsPerSecond::new(*value))
            .filter(|rate| *rate > RequestsPerSecond::ZERO),
        latency: latency.get(at).and_then(|value| Seconds::new(*value)),
        wanted,
        ready,
    });
    let moments: Vec<Moment> = moments.collect();
    let (startup, startup_measured) = match command.startup {
        Some(startup) => (seconds(startup.as_secs_f64()), true),
        None => (STARTUP, false),
    };
    let mut remarks = vec![remark];
    if !queries.protect.is_empty() {
        remarks.push("what is protected downstream is not played".to_owned());
    }
    Ok(Course {
        workload: workload.target.to_string(),
        policy: workload.policy.clone(),
        moments,
        startup,
        startup_measured,
        remarks,
    })
}

fn replicas(value: f64) -> Replicas {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range")]
    Replicas(value.round().clamp(0.0, f64::from(u32::MAX)) as u32)
}

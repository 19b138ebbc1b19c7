//! `trimtab compare`, from what the agents or a journal recorded, and `trimtab backtest`, from Prometheus alone.

use super::page::{self, Comparison};
use super::stretch::{Gathered, Piece, Stretch};
use super::{Course, Moment, STARTUP, seconds};
use crate::cli;
use crate::commands::{self, Printed};
use crate::config::{self, Document, Target, Workload};
use crate::import;
use crate::progress::Progress;
use crate::prometheus::{self, Source};
use crate::remote::{Agents, Answer};
use crate::serve::{Recorded, listing};
use crate::sources::Sources;
use anyhow::{Context, anyhow, bail};
use futures::future::{self, BoxFuture};
use futures::{StreamExt, stream};
use serde_json::json;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use trimtab_core::unit::{Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_journal::Reader;

/// A question about days takes longer than one about now.
const PATIENCE: Duration = Duration::from_mins(1);
/// Workloads that agents are asked about at the same time; an agent answers two at a time.
const WORKLOADS_AT_ONCE: usize = 8;
/// Whoever waits longer for a table wants a shorter one.
const LONGEST: Duration = Duration::from_mins(10);

/// Steps of a bar that reading a workload's journal is, and playing it again.
const READING: u64 = 600;
const PLAYING: u64 = 400;

/// `trimtab compare`. Exit code 4 where nothing is recorded of it.
#[must_use]
pub fn compare(command: &cli::Compare) -> BoxFuture<'_, anyhow::Result<Printed>> {
    Box::pin(async move {
        let past = Past { until: now(), since: command.since, target: command.target.as_ref() };
        let (all, known) = match &command.journal {
            Some(journal) => past.of_journal(journal)?,
            None => past.of_agents(&Agents::find(&command.source).await?).await?,
        };
        if all.is_empty() {
            let what = command.target.as_ref().map_or_else(|| "anything".to_owned(), ToString::to_string);
            let text =
                format!("no decision of {what} is recorded in that time; there are some of {}\n", listing(&known));
            return Ok(Printed { text, code: 4 });
        }
        print(&all, command.source.json, command.html.as_deref())
    })
}

/// `trimtab backtest`.
#[must_use]
pub fn backtest(command: &cli::Backtest) -> BoxFuture<'_, anyhow::Result<Printed>> {
    Box::pin(async move {
        let sources = Sources::patient(&command.prometheus, Some(PATIENCE))?;
        let waiting = Progress::waiting("asking for the autoscaler and its past");
        let workload = policy(command).await?;
        let name = workload.queries.prometheus.as_deref();
        let source = sources.get(name).ok_or_else(|| {
            let (asked, known) = (name.unwrap_or_default(), sources.names().join(", "));
            anyhow!(
                "{}: no Prometheus server is called {asked}; known are: {known} (--prometheus-sources)",
                workload.origin
            )
        })?;
        let course = remembered(source, &workload, command).await?;
        drop(waiting);
        let playing = Progress::of(course.moments.len() as u64, "the past, played again");
        let one =
            Comparison::watched(course, &|| playing.step()).context("Prometheus knows nothing of it in that time")?;
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

fn counted(workloads: usize) -> String {
    if workloads == 1 { "1 workload".to_owned() } else { format!("{workloads} workloads") }
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

fn milliseconds(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

// === from what was recorded ===

/// What is asked of the past.
struct Past<'a> {
    until: Timestamp,
    since: Duration,
    target: Option<&'a Target>,
}

/// The workloads that were compared, and all that something is recorded of.
type Compared = (Vec<Comparison>, Vec<String>);

impl Past<'_> {
    fn from(&self) -> Timestamp {
        Timestamp(self.until.0.saturating_sub(milliseconds(self.since)))
    }

    /// How much of the reading lies behind at that moment.
    fn share(&self, at: Timestamp) -> u64 {
        let since_begin = |at: Timestamp| u64::try_from(at.0 - self.from().0).unwrap_or_default();
        (READING * since_begin(at) / since_begin(self.until).max(1)).min(READING)
    }

    fn asks_for(&self, workload: &str) -> bool {
        self.target.is_none_or(|target| target.to_string() == workload)
    }

    fn of_journal(&self, path: &Path) -> anyhow::Result<Compared> {
        let known = Reader::open(path).with_context(|| path.display().to_string())?.workloads()?;
        let step = super::stretch::step(self.since);
        let wanted: Vec<&String> = known.iter().filter(|name| self.asks_for(name)).collect();
        let progress = Progress::of(READING + PLAYING, counted(wanted.len()));
        progress.all((READING + PLAYING) * wanted.len() as u64);
        let mut all = Vec::new();
        for (place, workload) in (0..).zip(wanted) {
            let begins = (READING + PLAYING) * place;
            let mut gathered = Gathered::of(workload, step);
            let mut next = Some(self.from());
            while let Some(from) = next {
                let span = (from, self.until, step);
                let stretch =
                    super::stretch::read(path, workload, span, Piece::OF_A_FILE).map_err(anyhow::Error::msg)?;
                next = stretch.next;
                gathered.take(stretch);
                progress.to(begins + self.share(next.unwrap_or(self.until)));
            }
            let Some(course) = gathered.course() else { continue };
            let (moments, played) = (course.moments.len() as u64, Cell::new(0));
            let watch = || {
                played.set(played.get() + 1);
                progress.to(begins + READING + PLAYING * played.get() / moments);
            };
            all.extend(Comparison::watched(course, &watch));
        }
        Ok((all, known))
    }

    /// Each workload from all agents that recorded some of it: what one did not see, because another decided it or because its journal went
    /// with its pod, another may have.
    async fn of_agents(&self, agents: &Agents) -> anyhow::Result<Compared> {
        let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut silent = BTreeMap::new();
        let waiting = Progress::waiting("waiting for the agents");
        for (agent, said) in agents.get_from_all("/api/v1/recorded").await {
            match answer::<Recorded>(said) {
                Ok(recorded) => {
                    recorded
                        .workloads
                        .into_iter()
                        .for_each(|workload| known.entry(workload).or_default().push(agent.clone()));
                }
                Err(why) => {
                    silent.insert(agent, format!("{why:#}"));
                }
            }
        }
        if silent.len() == agents.names().count() {
            let all: Vec<String> = silent.iter().map(|(agent, why)| format!("{agent}: {why}")).collect();
            bail!("no agent says what it recorded: {}", all.join("; "));
        }
        // Who does not answer once is not waited for again: there may be thousands of workloads.
        let silent = Mutex::new(silent);
        let wanted: Vec<(String, Vec<String>)> = known
            .iter()
            .filter(|(workload, _)| self.asks_for(workload))
            .map(|(workload, by)| (workload.clone(), by.clone()))
            .collect();
        let count = wanted.len();
        drop(waiting);
        let progress = Progress::of(count as u64, counted(count));
        let ask = async |(workload, by)| {
            let gathered = self.gather(agents, workload, by, &silent).await;
            progress.step();
            gathered
        };
        let asking = stream::iter(wanted).map(ask);
        let gathering = asking.buffered(WORKLOADS_AT_ONCE).filter_map(async |one| one).collect();
        let all = tokio::time::timeout(LONGEST, gathering).await.map_err(|_| {
            anyhow!("asking for {count} workloads took longer than 10 min: name one, or ask for less with --since")
        })?;
        Ok((all, known.into_keys().collect()))
    }

    /// What the agents `by` that recorded some of a workload have of it together. All of them are asked at once.
    async fn gather(
        &self,
        agents: &Agents,
        workload: String,
        by: Vec<String>,
        silent: &Mutex<BTreeMap<String, String>>,
    ) -> Option<Comparison> {
        let heard = |agent: &String| silent.lock().is_ok_and(|silent| !silent.contains_key(agent));
        let ask = |agent: String| {
            let workload = &workload;
            async move {
                let answer = self.ask(agents, &agent, workload).await;
                (agent, answer)
            }
        };
        let asked: Vec<_> = by.into_iter().filter(heard).map(ask).collect();
        let mut gathered = Gathered::of(&workload, super::stretch::step(self.since));
        let mut missing = BTreeMap::new();
        for (agent, answer) in future::join_all(asked).await {
            match answer {
                Ok(Ok(stretches)) => stretches.into_iter().for_each(|stretch| gathered.take(stretch)),
                Ok(Err(refused)) => drop(missing.insert(agent, format!("{refused:#}"))),
                Err(unreached) => {
                    let mut silent = silent.lock().unwrap_or_else(PoisonError::into_inner);
                    silent.insert(agent, format!("{unreached:#}"));
                }
            }
        }
        let silent = silent.lock().map(|silent| silent.clone()).unwrap_or_default();
        for (agent, why) in silent.iter().chain(&missing) {
            gathered.remark(format!("what only agent {agent} recorded is missing: {why}"));
        }
        // Nothing of it is kept but what is printed.
        gathered.course().and_then(Comparison::of)
    }

    /// Asks one agent for all that it has of a workload, piece by piece: whether it could be asked, and whether it said so.
    async fn ask(&self, agents: &Agents, agent: &str, workload: &str) -> anyhow::Result<anyhow::Result<Vec<Stretch>>> {
        #[expect(clippy::cast_possible_truncation, reason = "a minute at the most")]
        let step = (1_000.0 * super::stretch::step(self.since).get()) as i64;
        let mut pieces = Vec::new();
        let mut next = Some(self.from());
        while let Some(from) = next {
            let path = format!("/api/v1/course/{workload}?from={}&until={}&step={step}", from.0, self.until.0);
            let stretch: Stretch = match commands::parse(&agents.get(agent, &path).await?) {
                Ok(stretch) => stretch,
                Err(refused) => return Ok(Err(refused)),
            };
            next = stretch.next;
            if next.is_some_and(|next| next <= from) {
                return Ok(Err(anyhow::anyhow!("it does not get on at {}", from.0)));
            }
            pieces.push(stretch);
        }
        Ok(Ok(pieces))
    }
}

fn answer<T: serde::de::DeserializeOwned>(answer: anyhow::Result<Answer>) -> anyhow::Result<T> {
    commands::parse(&answer?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent;
    use crate::metrics::Counters;
    use crate::serve::{self, Stage};
    use std::time::Instant;
    use tokio::net::TcpListener;
    use trimtab_core::policy::Objective;
    use trimtab_core::unit::Ratio;

    const WORKLOAD: &str = "shop/deployment/web";

    /// A journal of ten minutes that have just passed.
    fn journal(file: &Path) {
        let objective = Objective { latency: Seconds::whole(1), misses: Ratio::percent(1), window: Objective::WINDOW };
        let begun = now().0 - 600_000;
        let moments = (0..120).map(|look| Timestamp(begun + 5_000 * look));
        super::super::tests::journal(file, (WORKLOAD, &super::super::tests::policy(objective)), moments, (100, 4));
    }

    async fn listener() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (listener, url)
    }

    /// An agent's own endpoints over that journal; where it `hangs`, its answers about the past of a workload never come.
    async fn agent(file: &Path, hangs: bool) -> String {
        let (_senders, shown) = agent::channels("web", &Counters::default(), file, Stage::Cluster);
        let mut endpoints = serve::app(shown);
        if hangs {
            endpoints = endpoints.layer(axum::middleware::from_fn(
                async |request: axum::extract::Request, next: axum::middleware::Next| {
                    if request.uri().path().starts_with("/api/v1/course") {
                        future::pending::<()>().await;
                    }
                    next.run(request).await
                },
            ));
        }
        let (listener, url) = listener().await;
        tokio::spawn(axum::serve(listener, endpoints).into_future());
        url
    }

    #[tokio::test]
    async fn agents_that_hang_cost_their_patience_once_and_are_named() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("journal.db");
        journal(&file);
        let well = agent(&file, false).await;
        // Four that never answer at all, and four that hang when it comes to the past.
        let mut all = vec![well.clone()];
        let mut deaf = Vec::new();
        for _ in 0..4 {
            let (kept, url) = listener().await;
            deaf.push((kept, url.clone()));
            all.extend([url, agent(&file, true).await]);
        }
        let patience = Duration::from_secs(3);
        let agents = Agents::at(all.clone(), patience);
        let past = Past { until: now(), since: Duration::from_hours(1), target: None };
        let begun = Instant::now();
        let (compared, known) = past.of_agents(&agents).await.unwrap();
        // Twice: of those that do not answer, and of those that hang later. One after the other it would be eight times.
        assert!(begun.elapsed() < 4 * patience, "{:?}", begun.elapsed());
        assert_eq!(known, [WORKLOAD]);
        let said = page::text(&compared);
        for hung in all.iter().filter(|url| **url != well) {
            assert!(
                said.contains(&format!(
                    "what only agent {hung} recorded is missing: agent {hung} did not answer within 3 s"
                )),
                "{hung}: {said}"
            );
        }
        assert!(!said.contains(&format!("agent {well}")), "{said}");
        // Nobody at all answers.
        let agents = Agents::at(deaf.iter().map(|(_, url)| url.clone()).collect(), Duration::from_millis(300));
        let refused = past.of_agents(&agents).await.unwrap_err().to_string();
        assert!(deaf.iter().all(|(_, url)| refused.contains(url)), "{refused}");
    }
}

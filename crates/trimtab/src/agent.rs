//! Starting and ending an agent: the clients, the sources, the endpoints, and the loop between them.

use crate::autoscalers;
use crate::boot::BootClock;
use crate::cli;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::door::Door;
use crate::import;
use crate::inbox::{Event, Inbox};
use crate::lease::Candidate;
use crate::metrics::{self, Counters};
use crate::owner::Identity;
use crate::policies::{self, Policies};
use crate::record::Recorder;
use crate::report::{Report, Sights};
use crate::run::{Loop, Parts};
use crate::serve::{self, Shown, Stage};
use crate::sources::Sources;
use crate::watch;
use crate::words;
use anyhow::{Context, anyhow};
use futures::future::BoxFuture;
use kube::runtime::events::{Recorder as EventRecorder, Reporter};
use kube::{Client, Config};
use sha2::{Digest, Sha256};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch as channel};
use tokio::time::Instant;
use trimtab_claim::{AgentId, Incarnation};
use trimtab_journal::{Bound, Journal};

/// The name of what there is one of.
const NAME: &str = "trimtab";
/// Claims and hand-overs that are sent at the same time.
const CLAIMS: usize = 8;
/// Moments of the past that are looked up in the journal at the same time.
const LOOKS: usize = 2;
/// How long the end of the process waits for answers that are under way.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Runs an agent until it is told to end.
#[must_use]
pub fn run(settings: cli::Run) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        let sources = Sources::new(&settings.prometheus)?;
        let policies = Policies::new(&settings, &sources.names());
        let journal = open_journal(&settings)?;
        let config = Config::infer().await.map_err(|error| {
            let cause = words::without_secrets(&error);
            anyhow!(
                "failed to find a cluster: run inside one, or set KUBECONFIG or ~/.kube/config as for kubectl: {cause}"
            )
        })?;
        let (client, writer) = clients(&config)?;
        let identity = identity(&settings);
        let agent = identity.name.clone();
        let boot = BootClock::start();
        let namespace = settings.lease_namespace.clone().unwrap_or_else(own_namespace);
        let (inbox, events) = Inbox::new();
        let counters = Counters::default();
        let (report, shown) = channels(&agent, &counters, &settings.journal, Stage::Cluster);
        let listener = tokio::net::TcpListener::bind(settings.listen).await.with_context(|| {
            format!("failed to listen on {}: is another agent running? see --listen", settings.listen)
        })?;
        tracing::info!(listen = %listener.local_addr()?, agent, mode = %settings.mode, "started");
        let ended = inbox.clone();
        let door = settings.authenticate.then(|| Door::new(writer.clone()));
        let server = axum::serve(listener, serve::app_behind(shown, door))
            .with_graceful_shutdown(async move { ended.closed().await });
        let server = tokio::spawn(server.into_future());
        start_watches(&client, &settings, &inbox);
        tokio::spawn(stop_on_signal(inbox.clone()));
        let recorder = Recorder::start(journal, counters.clone(), inbox.clone())
            .context("failed to start the journal's thread")?;
        let reporter = Reporter { controller: NAME.into(), instance: Some(agent.clone()) };
        let world = Cluster {
            client,
            events: EventRecorder::new(writer.clone(), reporter),
            writer,
            sources,
            candidate: Candidate { namespace, identity: identity.clone(), pod: pod(), interval: settings.interval },
            boot,
            turns: Arc::new(Semaphore::new(CLAIMS)),
            inbox,
            scopes: scopes(&settings),
        };
        let parts = Parts {
            agent: identity,
            boot,
            world: Box::new(world),
            mode: settings.mode,
            interval: settings.interval,
            scopes: scopes(&settings),
            recorder,
            counters,
            clock: Clock::start(),
            report: report.0,
            sights: report.1,
            turned: report.2,
            ready: report.3,
        };
        Loop::new(parts, policies).run(events).await;
        drop(tokio::time::timeout(LAST_ANSWERS, server).await);
        tracing::info!("ended");
        Ok(())
    })
}

fn open_journal(settings: &cli::Run) -> anyhow::Result<Journal> {
    let bound = Bound::mebibytes(settings.journal_limit);
    let opened = Journal::open(&settings.journal, bound).context("--journal")?;
    if let Some(note) = opened.note {
        tracing::warn!("{note}");
    }
    Ok(opened.journal)
}

/// A client for reading, which repeats what failed, and one for writing, which never does.
fn clients(config: &Config) -> anyhow::Result<(Client, Client)> {
    // The API server's audit log is read by people who want to know who did it.
    let mut config = config.clone();
    let ourselves = http::HeaderValue::from_static(concat!("trimtab/", env!("CARGO_PKG_VERSION")));
    config.headers.push((http::header::USER_AGENT, ourselves));
    let reader = Client::try_from(config.clone()).context("failed to use the cluster's configuration")?;
    let mut once = config.clone();
    once.default_retry = false;
    let writer = Client::try_from(once).context("failed to use the cluster's configuration")?;
    Ok((reader, writer))
}

fn start_watches(client: &Client, settings: &cli::Run, inbox: &Inbox) {
    for scope in scopes(settings) {
        tokio::spawn(watch::pods(client.clone(), scope.clone(), inbox.clone()));
        tokio::spawn(watch::policies(client.clone(), scope.clone(), inbox.clone()));
        for kind in [import::Kind::Hpa, import::Kind::ScaledObject] {
            tokio::spawn(autoscalers::follow(client.clone(), kind, scope.clone(), inbox.clone()));
        }
    }
    if let Some(file) = settings.policy.clone() {
        tokio::spawn(policies::follow_file(file, inbox.clone()));
    }
}

/// The namespaces that are watched one by one, or all at once.
fn scopes(settings: &cli::Run) -> Vec<Option<String>> {
    if settings.namespace.is_empty() { vec![None] } else { settings.namespace.iter().cloned().map(Some).collect() }
}

/// What the loop says: its report, its sights, when it last turned, and whether it is ready.
pub(crate) type Senders = (
    channel::Sender<Arc<Report>>,
    channel::Sender<Arc<Sights>>,
    channel::Sender<Instant>,
    channel::Sender<Result<(), String>>,
);

/// The way from a loop to what is shown of it.
pub(crate) fn channels(agent: &str, counters: &Counters, journal: &Path, stage: Stage) -> (Senders, Shown) {
    let (report, reports) = channel::channel(Arc::new(Report::of(agent)));
    let (sights, seen) = channel::channel(Arc::default());
    let (turned, turns) = channel::channel(Instant::now());
    let (ready, readiness) = channel::channel(Err("the first round has not ended yet".to_owned()));
    let registry = Arc::new(metrics::registry(counters, reports.clone(), seen.clone()));
    let shown = Shown {
        report: reports,
        sights: seen,
        turned: turns,
        ready: readiness,
        registry,
        journal: journal.to_owned(),
        looks: Arc::new(Semaphore::new(LOOKS)),
        stage,
    };
    ((report, sights, turned, ready), shown)
}

/// The pod, where there is one: its name and uid.
fn pod() -> Option<(String, String)> {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    Some((var("POD_NAME")?, var("POD_UID")?))
}

/// The pod where there is one: its name is what an operator looks for. Otherwise host and process; an agent that is started again
/// with the same journal is the same agent.
fn identity(settings: &cli::Run) -> Identity {
    // Random without being a dependency: the standard library seeds its hash maps from the system.
    let run = Incarnation((RandomState::new().hash_one(std::process::id()) >> 32) as u32);
    if let Some((name, uid)) = pod()
        && let Some(agent) = AgentId::of_pod(&uid)
    {
        return Identity { agent, run, name };
    }
    let host = std::env::var("POD_NAME").or_else(|_| std::fs::read_to_string("/etc/hostname")).unwrap_or_default();
    let host = host.trim();
    let journal = std::path::absolute(&settings.journal).unwrap_or_else(|_| settings.journal.clone());
    let same = Sha256::digest(format!("{host}\n{}", journal.display()));
    let digits = same.iter().take(6).fold(0_u64, |digits, byte| (digits << 8) | u64::from(*byte));
    let agent = AgentId::new(&format!("{digits:012x}")).expect("hexadecimal digits");
    Identity { agent, run, name: format!("{host}-{}", std::process::id()) }
}

fn own_namespace() -> String {
    std::env::var("POD_NAMESPACE").unwrap_or_else(|_| NAME.to_owned())
}

async fn stop_on_signal(inbox: Inbox) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("failed to listen for signals");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    inbox.send(Event::Stop).await;
}

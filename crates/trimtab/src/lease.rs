//! The Leases: one of this agent's own that it renews, and those of others that it looks after.
//!
//! What a Lease means is judged in [`trimtab_claim::lease`]; here is only the asking. One request for each renewal and each look, every
//! 20 s, whatever the number of agents. An agent whose loop no longer decides renews nothing. Of two
//! processes that take themselves for the same agent the one that was started last has the Lease, and the other stops.

use crate::boot::BootClock;
use crate::inbox::{Event, Inbox};
use crate::owner::Identity;
use crate::words::{self, NOT_ALLOWED, chain};
use futures::future::BoxFuture;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff;
use kube::Client;
use kube::api::{Api, PostParams};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use trimtab_claim::lease::{DEADLINE, DURATION, RENEW, Said, Sight};
use trimtab_claim::{AgentId, Boot};

/// Beyond its interval, a round may take so long until its agent is no longer worth renewing for.
const PATIENCE: Duration = Duration::from_secs(30);
/// The annotation by which an agent says that it sees nothing to decide from.
const BLIND: &str = "trimtab.dev/blind";
/// The label of all Leases of agents.
const LABEL: (&str, &str) = ("app.kubernetes.io/name", "trimtab");

/// Where the Leases are, and who renews one.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Namespace of the Leases.
    pub namespace: String,
    /// This agent.
    pub identity: Identity,
    /// Its pod's name and uid: the Lease goes with it.
    pub pod: Option<(String, String)>,
    /// How often its loop decides.
    pub interval: Duration,
}

/// What is to be done beside renewing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whose Leases are looked at.
    pub looks: BTreeSet<AgentId>,
    /// Whether this agent sees nothing to decide from, which its Lease then says.
    pub blind: bool,
}

/// What a Lease told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leased {
    /// Our own was renewed.
    Renewed {
        /// When that was asked for.
        sent: Boot,
    },
    /// Another process took our own.
    Lost,
    /// Another agent's was looked at.
    Looked {
        /// Whose.
        agent: AgentId,
        /// What it says; `None` where there is none.
        said: Option<Said>,
        /// When it was asked for.
        at: Boot,
    },
}

/// Renews and looks until the inbox closes. `decided` holds when the loop last decided.
#[must_use]
pub fn run(
    client: Client,
    candidate: Candidate,
    clock: BootClock,
    (decided, mut wanted): (watch::Receiver<Instant>, watch::Receiver<Wanted>),
    inbox: Inbox,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut keeper = Keeper::new(client, candidate, clock, inbox.clone());
        let mut due = Instant::now();
        let mut known = BTreeSet::new();
        loop {
            let Wanted { looks, blind } = wanted.borrow_and_update().clone();
            if due <= Instant::now() {
                due = Instant::now() + RENEW.duration();
                let useful = decided.borrow().elapsed() < keeper.candidate.interval + PATIENCE;
                keeper.renew(useful, blind).await;
                known.clear();
            }
            for agent in looks.difference(&known.clone()) {
                keeper.look(agent).await;
                known.insert(agent.clone());
            }
            tokio::select! {
                () = inbox.closed() => break,
                () = tokio::time::sleep_until(due) => {}
                Ok(()) = wanted.changed() => {}
            }
        }
        keeper.release().await;
    })
}

/// What the task keeps of the Leases.
pub(crate) struct Keeper {
    api: Api<Lease>,
    candidate: Candidate,
    clock: BootClock,
    inbox: Inbox,
    /// Our own, as it was written last.
    ours: Option<Lease>,
    /// Another process's hold on our own, once we have lost it.
    theirs: Option<Sight>,
}

impl Keeper {
    pub(crate) fn new(client: Client, candidate: Candidate, clock: BootClock, inbox: Inbox) -> Self {
        let api = Api::namespaced(client, &candidate.namespace);
        Self { api, candidate, clock, inbox, ours: None, theirs: None }
    }

    fn holder(&self) -> String {
        format!("{}.{}", self.candidate.identity.agent, self.candidate.identity.run)
    }

    async fn say(&self, leased: Leased) {
        self.inbox.send(Event::Leased(leased)).await;
    }

    async fn trouble(&self, problem: Option<String>) {
        let what = format!("leases in namespace {}", self.candidate.namespace);
        self.inbox.send(Event::Trouble { what, problem }).await;
    }

    pub(crate) async fn renew(&mut self, useful: bool, blind: bool) {
        if !useful {
            return;
        }
        let sent = self.clock.now();
        match tokio::time::timeout(DEADLINE.duration(), self.write(blind)).await {
            Ok(Ok(true)) => {
                self.trouble(None).await;
                self.say(Leased::Renewed { sent }).await;
                self.inbox.renew();
            }
            Ok(Ok(false)) => {
                let name = self.candidate.identity.agent.lease();
                self.trouble(Some(format!(
                    "another process took lease {name}, so nothing is written here: two agents have the same identity; give each its own pod, or --journal"
                )))
                .await;
                self.say(Leased::Lost).await;
            }
            Ok(Err(error)) => self.trouble(Some(explain(&self.candidate, &error))).await,
            Err(_) => self.trouble(Some(format!("no answer within {DEADLINE}"))).await,
        }
    }

    /// Writes our Lease; says whether it is ours then.
    async fn write(&mut self, blind: bool) -> Result<bool, kube::Error> {
        let name = self.candidate.identity.agent.lease();
        if let Some(ours) = &self.ours {
            match self.api.replace(&name, &PostParams::default(), &self.lease(Some(ours), blind)).await {
                Ok(written) => {
                    self.ours = Some(written);
                    return Ok(true);
                }
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(error),
            }
        }
        let Some(there) = self.api.get_opt(&name).await? else {
            self.ours = Some(self.api.create(&PostParams::default(), &self.lease(None, blind)).await?);
            return Ok(true);
        };
        if self.is_anothers(&there) {
            return Ok(false);
        }
        self.ours = Some(self.api.replace(&name, &PostParams::default(), &self.lease(Some(&there), blind)).await?);
        self.theirs = None;
        Ok(true)
    }

    /// Whether another process took the Lease from this one, and still renews it. At its start a process takes it from whoever has it.
    fn is_anothers(&mut self, there: &Lease) -> bool {
        let holder = there.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        let had = self.ours.take().is_some() || self.theirs.is_some();
        if !had || holder.is_empty() || holder == self.holder() {
            return false;
        }
        let now = self.clock.now();
        let sight = self.theirs.get_or_insert_default();
        sight.look(Some(said(there)), now);
        !sight.standing().is_over()
    }

    pub(crate) async fn look(&self, agent: &AgentId) {
        let at = self.clock.now();
        match tokio::time::timeout(DEADLINE.duration(), self.api.get_opt(&agent.lease())).await {
            Ok(Ok(lease)) => {
                let said = lease.as_ref().map(said);
                self.say(Leased::Looked { agent: agent.clone(), said, at }).await;
            }
            Ok(Err(error)) => self.trouble(Some(explain(&self.candidate, &error))).await,
            Err(_) => self.trouble(Some(format!("no answer within {DEADLINE}"))).await,
        }
    }

    fn lease(&self, before: Option<&Lease>, blind: bool) -> Lease {
        let now = MicroTime(jiff::Timestamp::now());
        let spec = before.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let holder = self.holder();
        let ours = spec.holder_identity.as_deref() == Some(&holder);
        let owner = self.candidate.pod.as_ref().map(|(name, uid)| OwnerReference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            name: name.clone(),
            uid: uid.clone(),
            ..OwnerReference::default()
        });
        Lease {
            metadata: ObjectMeta {
                name: Some(self.candidate.identity.agent.lease()),
                namespace: Some(self.candidate.namespace.clone()),
                resource_version: before.and_then(|lease| lease.metadata.resource_version.clone()),
                labels: Some([(LABEL.0.to_owned(), LABEL.1.to_owned())].into()),
                annotations: blind.then(|| [(BLIND.to_owned(), "true".to_owned())].into()),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder),
                lease_duration_seconds: i32::try_from(DURATION.0 / 1_000).ok(),
                acquire_time: if ours { spec.acquire_time } else { Some(now.clone()) },
                renew_time: Some(now),
                lease_transitions: Some(spec.lease_transitions.unwrap_or_default() + i32::from(!ours)),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Lets the Lease go at a clean end, so that nobody need wait for it to become silent.
    async fn release(self) {
        let Some(mut lease) = self.ours else { return };
        if let Some(spec) = lease.spec.as_mut() {
            spec.holder_identity = Some(String::new());
        }
        let name = self.candidate.identity.agent.lease();
        let params = PostParams::default();
        let released = self.api.replace(&name, &params, &lease);
        match tokio::time::timeout(DEADLINE.duration(), released).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "failed to release the lease"),
            Err(_) => tracing::warn!("failed to release the lease: no answer"),
        }
    }
}

fn said(lease: &Lease) -> Said {
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
    let annotations = lease.metadata.annotations.as_ref();
    Said {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        held: holder.is_some_and(|holder| !holder.is_empty()),
        blind: annotations.is_some_and(|annotations| annotations.contains_key(BLIND)),
    }
}

fn explain(candidate: &Candidate, error: &kube::Error) -> String {
    let namespace = &candidate.namespace;
    match error {
        kube::Error::Api(status) if status.code == 403 => format!(
            "{NOT_ALLOWED}use leases in namespace {namespace}, so nothing is written: grant get, create and update on leases in namespace {namespace} ({})",
            status.message
        ),
        kube::Error::Api(status) if status.code == 404 => format!(
            "namespace {namespace} of the leases does not exist, so nothing is written: create it, or name another with --lease-namespace"
        ),
        other => format!("cannot use leases in namespace {namespace}, so nothing is written: {}", words::api(other)),
    }
}

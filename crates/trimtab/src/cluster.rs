//! The world that a cluster is: its watches, its Prometheus, its API server.

use crate::act;
use crate::boot::BootClock;
use crate::config::{Kind, Target, Workload};
use crate::explain;
use crate::inbox::{Event, Inbox};
use crate::lease::{self, Candidate, Wanted};
use crate::sense;
use crate::sources::Sources;
use crate::watch;
use crate::words;
use crate::world::{Claim, Note, Order, Raise, Tasks, World};
use kube::Client;
use kube::api::ApiResource;
use kube::runtime::events::{EventType, Recorder};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch as channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use trimtab_core::unit::Timestamp;
use trimtab_journal::{Outcome, Refusal};

/// A kind that the API server does not know is asked for again so often.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(30);

/// What a trouble with Events is called.
pub(crate) const EVENTS: &str = "Events";

/// A cluster with its Prometheus.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// A client that never repeats a request.
    pub(crate) writer: Client,
    pub(crate) events: Recorder,
    pub(crate) sources: Sources,
    pub(crate) candidate: Candidate,
    pub(crate) boot: BootClock,
    /// Claims that are sent at the same time: an agent that ends hands over hundreds.
    pub(crate) turns: Arc<Semaphore>,
    pub(crate) inbox: Inbox,
    /// The namespaces that are watched one by one, or all at once.
    pub(crate) scopes: Vec<Option<String>>,
}

impl World for Cluster {
    fn look_up(&self, kind: &Kind) -> Tasks {
        let task = look_up(self.client.clone(), kind.clone(), self.inbox.clone());
        vec![AbortOnDropHandle::new(tokio::spawn(task))]
    }

    fn watch(&self, kind: &Kind, resource: &ApiResource, targets: channel::Receiver<Arc<BTreeSet<Target>>>) -> Tasks {
        let watches = self.scopes.iter().map(|scope| {
            let watched = watch::Watched { kind: kind.clone(), resource: resource.clone(), scope: scope.clone() };
            let watch = watch::objects(self.client.clone(), watched, targets.clone(), self.inbox.clone());
            AbortOnDropHandle::new(tokio::spawn(watch))
        });
        watches.collect()
    }

    fn ask(&self, workloads: Vec<Arc<Workload>>) {
        tokio::spawn(sense::ask(self.sources.clone(), workloads, self.inbox.clone()));
    }

    fn recall(&self, workloads: Vec<Arc<Workload>>, before: (Timestamp, Duration)) {
        tokio::spawn(sense::backfill(self.sources.clone(), workloads, before, self.inbox.clone()));
    }

    fn join(&self, turned: channel::Receiver<Instant>, wanted: channel::Receiver<Wanted>) -> JoinHandle<()> {
        tokio::spawn(watch::members(self.client.clone(), self.candidate.namespace.clone(), self.inbox.clone()));
        let (writer, candidate, inbox) = (self.writer.clone(), self.candidate.clone(), self.inbox.clone());
        tokio::spawn(lease::run(writer, candidate, self.boot, (turned, wanted), inbox))
    }

    fn claim(&self, claim: Claim, under_way: &TaskTracker) {
        let (writer, inbox, turns) = (self.writer.clone(), self.inbox.clone(), Arc::clone(&self.turns));
        under_way.spawn(async move {
            // A semaphore that is never closed.
            let _turn = turns.acquire_owned().await;
            let refused = act::claim(&writer, &claim).await;
            inbox.send(Event::Claimed { site: claim.site, refused }).await;
        });
    }

    fn write(&self, order: Order, under_way: &TaskTracker) {
        under_way.spawn(write(self.writer.clone(), self.events.clone(), self.inbox.clone(), order));
    }

    fn raise(&self, raise: Raise, under_way: &TaskTracker) {
        let (writer, events, inbox) = (self.writer.clone(), self.events.clone(), self.inbox.clone());
        under_way.spawn(async move {
            let written = act::raise(&writer, &raise).await;
            let said = match &written.outcome {
                Outcome::Committed => Some((EventType::Normal, "Floor", raise.because.clone())),
                Outcome::Refused(Refusal::Changed) => None,
                Outcome::Refused(refusal) => Some((EventType::Warning, "FloorRefused", refusal.to_string())),
                Outcome::Unknown(why) => Some((EventType::Warning, "FloorUnknown", why.clone())),
            };
            inbox.send(Event::Written { target: raise.target.clone(), written }).await;
            if let Some((kind, reason, note)) = said {
                let problem = act::announce_floor(&events, &raise, kind, reason, note).await;
                inbox
                    .send(Event::Trouble { what: watch::called(EVENTS, Some(&raise.source.namespace)), problem })
                    .await;
            }
        });
    }

    fn say(&self, note: Note, under_way: &TaskTracker) {
        let (events, inbox) = (self.events.clone(), self.inbox.clone());
        under_way.spawn(async move {
            let Note { resource, target, object, kind, reason, text } = note;
            let problem = act::announce(&events, &resource, (&target, &object), kind, reason, text).await;
            inbox.send(Event::Trouble { what: watch::called(EVENTS, Some(&target.namespace)), problem }).await;
        });
    }
}

/// One write, away from the loop: the patch, the word back, and the Event.
async fn write(writer: Client, events: Recorder, inbox: Inbox, order: Order) {
    let written = act::write(&writer, &order).await;
    let Order { resource, target, object, decision, .. } = order;
    let said = match &written.outcome {
        Outcome::Committed => Some((EventType::Normal, decision.verb.to_string(), explain::sentence(&decision))),
        Outcome::Refused(Refusal::Changed) => None,
        Outcome::Refused(refusal) => {
            Some((EventType::Warning, "ScalingRefused".into(), format!("{}: {refusal}", explain::sentence(&decision))))
        }
        Outcome::Unknown(why) => {
            Some((EventType::Warning, "ScalingUnknown".into(), format!("{}: {why}", explain::sentence(&decision))))
        }
    };
    inbox.send(Event::Written { target: target.clone(), written }).await;
    if let Some((kind, reason, note)) = said {
        let problem = act::announce(&events, &resource, (&target, &object), kind, &reason, note).await;
        inbox.send(Event::Trouble { what: watch::called(EVENTS, Some(&target.namespace)), problem }).await;
    }
}

/// Asks the API server for a kind until it knows it: a CRD may be installed later.
async fn look_up(client: Client, kind: Kind, inbox: Inbox) {
    loop {
        let resource = watch::resolve(&client, &kind).await;
        let known = resource.is_ok();
        let resource = resource.map_err(|error| words::chain(&error));
        inbox.send(Event::Kind { kind: kind.clone(), resource }).await;
        if known {
            return;
        }
        tokio::select! {
            () = inbox.closed() => return,
            () = tokio::time::sleep(LOOK_UP_AGAIN) => {}
        }
    }
}

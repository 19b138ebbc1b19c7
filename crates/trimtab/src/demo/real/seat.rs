//! trimtab's seat in a demo of real requests: what its loop senses through and acts on, in the place of a cluster and its Prometheus.

use super::super::scene::{CONTESTANTS, Happened};
use super::Real;
use super::deployment::Shown as Fleet;
use crate::act::Written;
use crate::config::{Kind, Target, Workload};
use crate::import;
use crate::inbox::{Event, Inbox};
use crate::lease::Wanted;
use crate::prometheus::{self, Answer};
use crate::sense::{self, Round, Signal};
use crate::view::{Change, Pod, PodName, Scalable, Shown};
use crate::world::{Claim, Note, Order, Tasks, World};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ApiResource;
use kube::core::Selector;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use trimtab_core::unit::{Replicas, Seconds, Timestamp};
use trimtab_journal::Outcome;

/// What a source that is lost is given up after.
const DEADLINE: Duration = Duration::from_secs(5);

/// The seat.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) real: Arc<Real>,
    pub(super) inbox: Inbox,
}

impl Seat {
    fn send(&self, event: Event) {
        let inbox = self.inbox.clone();
        tokio::spawn(async move { inbox.send(event).await });
    }

    /// What Prometheus would answer.
    fn answer(&self, signal: &Signal) -> Answer {
        let measured = self.real.ours().measured();
        let value = match (&measured, signal) {
            _ if self.real.is_dark() => {
                Err(prometheus::Absence::TimedOut { server: "prometheus".into(), after: DEADLINE })
            }
            (Some(measured), Signal::Demand) => Ok(measured.rate.get()),
            (Some(measured), Signal::Latency) => measured.p99.map(Seconds::get).ok_or(prometheus::Absence::NoSeries),
            (Some(measured), Signal::Protect(_)) => {
                measured.database.map(|seconds| 1000.0 * seconds.get()).ok_or(prometheus::Absence::NoSeries)
            }
            _ => Err(prometheus::Absence::NoSeries),
        };
        let of = measured.filter(|_| value.is_ok());
        Answer {
            value,
            oldest: of.as_ref().map(|measured| measured.oldest),
            newest: of.as_ref().map(|measured| measured.newest),
            targets: of.as_ref().map(|measured| measured.targets),
            partial: false,
            warnings: Vec::new(),
        }
    }
}

fn object(fleet: &Fleet) -> Scalable {
    Scalable {
        uid: "demo".into(),
        generation: fleet.generation,
        replicas: fleet.wanted,
        selector: Selector::from_iter([("app", "checkout")]),
        mode_label: Some("own".into()),
        shown: Shown::default(),
        rolling_out: false,
        manager: None,
    }
}

fn pods(fleet: &Fleet) -> BTreeMap<PodName, (Timestamp, Option<Timestamp>)> {
    let pod = |number: u64| ("shop".to_owned(), format!("checkout-{number}"));
    fleet.replicas.iter().map(|replica| (pod(replica.number), (replica.created, replica.ready))).collect()
}

fn pod(created: Timestamp, ready: Option<Timestamp>) -> Pod {
    let labels = BTreeMap::from([("app".to_owned(), "checkout".to_owned())]);
    Pod { labels, created, ready, was_ready: ready.is_some(), leaving: false, node: None }
}

/// Shows what is there, and from then on what changes, as a watch does.
async fn follow(real: Arc<Real>, kind: Kind, targets: BTreeSet<Target>, inbox: Inbox) {
    let mut changed = real.ours().changed.subscribe();
    let mut fleet = real.ours().shown();
    let mut told = pods(&fleet);
    let say_object = |change| Event::Object { kind: kind.clone(), scope: None, change };
    inbox.send(say_object(Change::Listing)).await;
    for target in &targets {
        inbox.send(say_object(Change::Is(target.clone(), object(&fleet)))).await;
    }
    inbox.send(say_object(Change::Listed)).await;
    inbox.send(Event::Pod { scope: None, change: Change::Listing }).await;
    for (name, (created, ready)) in told.clone() {
        inbox.send(Event::Pod { scope: None, change: Change::Is(name, pod(created, ready)) }).await;
    }
    inbox.send(Event::Pod { scope: None, change: Change::Listed }).await;
    // There is no other autoscaler in trimtab's part of the demo.
    inbox.send(Event::Autoscaler { kind: import::Kind::Hpa, scope: None, change: Change::Listed }).await;
    while changed.changed().await.is_ok() {
        let now = real.ours().shown();
        if (now.wanted, now.generation) != (fleet.wanted, fleet.generation) {
            for target in &targets {
                inbox.send(say_object(Change::Is(target.clone(), object(&now)))).await;
            }
        }
        let there = pods(&now);
        for name in told.keys().filter(|name| !there.contains_key(*name)) {
            inbox.send(Event::Pod { scope: None, change: Change::Gone(name.clone()) }).await;
        }
        for (name, is) in there.iter().filter(|(name, is)| told.get(*name) != Some(is)) {
            inbox.send(Event::Pod { scope: None, change: Change::Is(name.clone(), pod(is.0, is.1)) }).await;
        }
        (fleet, told) = (now, there);
    }
}

impl World for Seat {
    fn look_up(&self, kind: &Kind) -> Tasks {
        self.send(Event::Kind { kind: kind.clone(), resource: Ok(ApiResource::erase::<Deployment>(&())) });
        Vec::new()
    }

    fn watch(&self, kind: &Kind, _: &ApiResource, targets: watch::Receiver<Arc<BTreeSet<Target>>>) -> Tasks {
        let targets = targets.borrow().iter().cloned().collect();
        let watch = follow(Arc::clone(&self.real), kind.clone(), targets, self.inbox.clone());
        vec![AbortOnDropHandle::new(tokio::spawn(watch))]
    }

    fn ask(&self, workloads: Vec<Arc<Workload>>) {
        let signals = workloads
            .iter()
            .flat_map(|workload| sense::signals(workload).map(|(signal, _)| (workload.target.clone(), signal)));
        let answers: BTreeMap<(Target, Signal), Answer> = signals
            .map(|(target, signal)| {
                let answer = self.answer(&signal);
                ((target, signal), answer)
            })
            .collect();
        let dark = self.real.is_dark().then(|| "prometheus did not answer within 5 s".to_owned());
        let troubles = BTreeMap::from([("prometheus".to_owned(), dark)]);
        let round = Round { requests: 0, took: Duration::ZERO, troubles, clocks: BTreeMap::new(), answers };
        self.send(Event::Sensed(round));
    }

    fn recall(&self, workloads: Vec<Arc<Workload>>, _: (Timestamp, Duration)) {
        // Nobody measured anything before.
        for workload in workloads {
            let (target, query) = (workload.target.clone(), workload.queries.demand.clone());
            self.send(Event::History { target, query, demand: Vec::new() });
        }
    }

    fn join(&self, _: watch::Receiver<Instant>, _: watch::Receiver<Wanted>) -> JoinHandle<()> {
        self.send(Event::Alone);
        tokio::spawn(std::future::ready(()))
    }

    fn claim(&self, claim: Claim, _: &TaskTracker) {
        // Whoever is alone claims nothing.
        self.send(Event::Claimed { site: claim.site, refused: None });
    }

    fn write(&self, order: Order, under_way: &TaskTracker) {
        let Order { target, object: seen, decision, .. } = order;
        let fleet = self.real.ours();
        fleet.scale(Replicas(decision.to.0));
        let what = crate::explain::sentence(&decision);
        self.real.note(Happened { at: self.real.now(), who: CONTESTANTS[0], what });
        let written = Written {
            outcome: Outcome::Committed,
            at: decision.at,
            from: decision.from,
            to: decision.to,
            uid: seen.uid.clone(),
            seen: seen.generation,
            generation: Some(fleet.shown().generation),
        };
        let inbox = self.inbox.clone();
        under_way.spawn(async move { inbox.send(Event::Written { target, written }).await });
    }

    fn say(&self, note: Note, _: &TaskTracker) {
        self.real.note(Happened { at: self.real.now(), who: CONTESTANTS[0], what: note.text });
    }
}

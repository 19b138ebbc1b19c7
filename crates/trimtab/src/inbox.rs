//! Everything that can happen to the loop, in the order in which it happened.

use crate::act::Written;
use crate::autoscalers::{Autoscaler, Wish};
use crate::config::{Kind, Target};
use crate::import;
use crate::lease::Leased;
use crate::owner::{Member, Site};
use crate::sense::Round;
use crate::view::{Change, Pod, PodName, Scalable, Scope};
use kube::api::ApiResource;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};
use trimtab_claim::answer::Meaning;
use trimtab_core::unit::{RequestsPerSecond, Timestamp};

/// Events that wait at most. A listing of thousands of pods fills it; the watch then waits for the loop.
const WAITING: usize = 1_024;

/// One thing that happened.
#[derive(Debug)]
pub enum Event {
    /// A watch on scalable objects spoke.
    Object {
        /// Of which kind.
        kind: Kind,
        /// What it watches.
        scope: Scope,
        /// What it said.
        change: Change<Target, Scalable>,
    },
    /// A watch on pods spoke.
    Pod {
        /// What it watches.
        scope: Scope,
        /// What it said.
        change: Change<PodName, Pod>,
    },
    /// A watch on `ConfigMap`s that hold policies spoke.
    PolicyMap {
        /// What it watches.
        scope: Scope,
        /// What it said: the map's data.
        change: Change<(String, String), BTreeMap<String, String>>,
    },
    /// A watch on other autoscalers spoke.
    Autoscaler {
        /// Of which kind.
        kind: import::Kind,
        /// What it watches.
        scope: Scope,
        /// What it said.
        change: Change<import::Source, Autoscaler>,
    },
    /// The watch on `HorizontalPodAutoscaler`s spoke of one that KEDA made of a `ScaledObject`: what that asks for.
    Wish {
        /// What it watches.
        scope: Scope,
        /// What it said.
        change: Change<import::Source, Wish>,
    },
    /// The policy file is different.
    PolicyFile(Result<Vec<u8>, String>),
    /// A kind of target can be watched, or why not.
    Kind {
        /// Which.
        kind: Kind,
        /// How the API server calls it, or the problem with its cure.
        resource: Result<ApiResource, String>,
    },
    /// All readings of one round arrived.
    Sensed(Round),
    /// The past demand of a workload arrived, oldest first; empty where there is none to be had.
    History {
        /// Whose.
        target: Target,
        /// The query that it answers.
        query: String,
        /// Moments and demand.
        demand: Vec<(Timestamp, RequestsPerSecond)>,
    },
    /// A write ended.
    Written {
        /// To which workload.
        target: Target,
        /// How.
        written: Written,
    },
    /// A Lease was renewed, lost, or looked at.
    Leased(Leased),
    /// The watch on the agents' own Service spoke: its slices by their name, with the agents in each.
    Members(Change<String, Vec<Member>>),
    /// There is no other agent: every workload is ours.
    Alone,
    /// A claim or hand-over ended. One that was done is shown by the watch.
    Claimed {
        /// Of which object.
        site: Site,
        /// Why it was not done, where it was not or nobody knows; `Changed` where somebody else was quicker.
        refused: Option<(Meaning, String)>,
    },
    /// Something outside a single workload is in trouble, or no longer.
    Trouble {
        /// What.
        what: String,
        /// The problem with its cure; `None` when it is over.
        problem: Option<String>,
    },
    /// Time to end.
    Stop,
}

/// Where events are put.
#[derive(Clone, Debug)]
pub struct Inbox {
    events: mpsc::Sender<Event>,
    renewed: Arc<Notify>,
}

impl Inbox {
    /// An inbox, and the end that the loop reads.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { events: sender, renewed: Arc::default() }, receiver)
    }

    /// Puts an event in; waits while the loop is behind. Once the loop has ended nothing happens any more.
    pub async fn send(&self, event: Event) {
        // A send fails only after the loop ended, when nobody is left to care.
        drop(self.events.send(event).await);
    }

    /// The same from a thread outside the runtime.
    pub fn send_blocking(&self, event: Event) {
        drop(self.events.blocking_send(event));
    }

    /// Resolves when the loop has ended.
    pub async fn closed(&self) {
        self.events.closed().await;
    }

    /// The agent's Lease was renewed: the API server answers, and whoever waits to try it again need not.
    pub fn renew(&self) {
        self.renewed.notify_waiters();
    }

    /// Resolves when the agent's Lease is renewed next.
    pub async fn renewed(&self) {
        self.renewed.notified().await;
    }
}

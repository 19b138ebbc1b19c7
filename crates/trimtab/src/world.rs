//! What the loop senses through and acts on: the one door between it and the world.
//!
//! A cluster with its Prometheus (`cluster`), or the fleet of the demo; nothing of the loop knows which. Whatever takes
//! time is begun here and comes back as an [`Event`](crate::inbox::Event).

use crate::autoscalers;
use crate::config::{Kind, Target, Workload};
use crate::floor::Kept;
use crate::import;
use crate::lease::Wanted;
use crate::owner::Site;
use crate::view::Scalable;
use kube::api::ApiResource;
use kube::runtime::events::EventType;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use trimtab_claim::{Epoch, Seen};
use trimtab_core::Decision;
use trimtab_core::unit::Timestamp;

/// Tasks that end when they are dropped.
pub(crate) type Tasks = Vec<AbortOnDropHandle<()>>;

/// A decision that is to be carried out, on the object that it was taken on.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) resource: ApiResource,
    pub(crate) target: Target,
    pub(crate) object: Scalable,
    pub(crate) decision: Decision,
    /// The claim under which it is; `None` where there is no other agent.
    pub(crate) epoch: Option<Epoch>,
}

/// An epoch that is to be written into the label of an object, as it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) resource: ApiResource,
    pub(crate) site: Site,
    pub(crate) seen: Seen,
    /// Whether it has labels at all.
    pub(crate) labelled: bool,
    pub(crate) epoch: Epoch,
}

/// Something that is said on an object.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) resource: ApiResource,
    pub(crate) target: Target,
    pub(crate) object: Scalable,
    pub(crate) kind: EventType,
    pub(crate) reason: &'static str,
    pub(crate) text: String,
}

/// The least size of another autoscaler that is to be set, on the object as it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Raise {
    pub(crate) source: import::Source,
    pub(crate) object: autoscalers::Object,
    /// The workload that it scales.
    pub(crate) target: Target,
    /// What is kept on the object from then on; `None` hands it back to its owner.
    pub(crate) kept: Option<Kept>,
    /// The least size.
    pub(crate) min: Option<u32>,
    /// When that was decided.
    pub(crate) at: Timestamp,
    /// The claim under which it is; `None` where there is no other agent.
    pub(crate) epoch: Option<Epoch>,
    /// Why.
    pub(crate) because: String,
}

/// What the loop senses through and acts on.
pub(crate) trait World: Send {
    /// Finds out how a kind is called: [`Event::Kind`](crate::inbox::Event::Kind).
    fn look_up(&self, kind: &Kind) -> Tasks;
    /// Watches the objects of a kind that are `targets`: [`Event::Object`](crate::inbox::Event::Object).
    fn watch(&self, kind: &Kind, resource: &ApiResource, targets: watch::Receiver<Arc<BTreeSet<Target>>>) -> Tasks;
    /// Reads all signals: [`Event::Sensed`](crate::inbox::Event::Sensed).
    fn ask(&self, workloads: Vec<Arc<Workload>>);
    /// Reads the demand of so long before a moment: [`Event::History`](crate::inbox::Event::History).
    fn recall(&self, workloads: Vec<Arc<Workload>>, before: (Timestamp, Duration));
    /// Joins the agents that share the writing: [`Event::Leased`](crate::inbox::Event::Leased) and
    /// [`Event::Members`](crate::inbox::Event::Members), or [`Event::Alone`](crate::inbox::Event::Alone). `turned` holds when the
    /// loop last decided, `wanted` whose Leases it wants to know. What is returned ends when this agent has left.
    fn join(&self, turned: watch::Receiver<Instant>, wanted: watch::Receiver<Wanted>) -> JoinHandle<()>;
    /// Writes a claim or a hand-over, once: [`Event::Claimed`](crate::inbox::Event::Claimed).
    fn claim(&self, claim: Claim, under_way: &TaskTracker);
    /// Carries a decision out, once: [`Event::Written`](crate::inbox::Event::Written).
    fn write(&self, order: Order, under_way: &TaskTracker);
    /// Sets the least size of another autoscaler, once: [`Event::Written`](crate::inbox::Event::Written). A world without any has none to set.
    fn raise(&self, _: Raise, _: &TaskTracker) {}
    /// Says something on an object.
    fn say(&self, note: Note, under_way: &TaskTracker);
}

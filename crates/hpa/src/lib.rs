//! What the horizontal pod autoscaler of Kubernetes makes of a workload, and why.
//!
//! [`evaluate`] takes a [`Case`]: an `autoscaling/v2` object, its target's scale, the pods, what the metrics APIs answer, and what the
//! controller remembers; and says what upstream's controller would set, with every metric's proposal and the conditions that it would
//! report. Source: `pkg/controller/podautoscaler` of Kubernetes 1.36.3 (`horizontal.go`, `replica_calculator.go`) and the packages
//! that it counts with (`resource.Quantity`, `labels.Selector`, `resourcehelpers.PodRequests`).
//!
//! The arithmetic is upstream's to the bit: integers are milli-units and wrap, sums come before divisions, a division of integers cuts,
//! and a float that does not fit into an integer becomes the smallest one, as on amd64. "Mathematically equal" is not equal here.
//! `tests/upstream` builds upstream's own code into a program that answers the same cases; `tests/upstream.rs` compares.
//!
//! Deliberately absent: a clock, input and output, validation (an object that the API server would refuse gets upstream's answer), the
//! messages of conditions and Events, and the check that no second autoscaler selects the same pods (a case has one).

pub use answer::{Answer, MetricAnswer, Missing, Usage};
pub use case::{Case, Controller, Id, Recommendation, ScaleEvent};
pub use moment::{Moment, Span};
pub use pods::Groups;
pub use quantity::Quantity;
pub use reconcile::evaluate;

mod answer;
mod because;
mod calculate;
mod case;
mod limit;
mod metric;
mod moment;
mod number;
pub mod object;
mod pods;
mod quantity;
mod reconcile;
mod request;
mod selector;

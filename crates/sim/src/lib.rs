//! The plant: a simulated service that the decision is tried on.
//!
//! [`service`] serves requests by a [`law`], such as the benchmark's M/M/c queue; [`workload`] reads the course of its demand; [`run`]
//! puts a policy in charge of it, tick by tick, and scores what came of it. The policy is [`trimtab_core::decide`] itself:
//! nothing here knows how it thinks, and it sees nothing here but what a controller in a cluster sees.

pub mod baseline;
pub mod contest;
pub mod law;
pub mod run;
pub mod service;
pub mod shape;
pub mod statistics;
pub mod trace;
pub mod workload;

//! The shell around the decision core: sensing, acting, recording, showing.
//!
//! The decision itself is [`trimtab_core::decide`]; nothing of it is here. `run` is the loop that calls it live and in shadow,
//! [`view`] what the cluster looks like, [`sense`] what Prometheus says, [`act`] how a change is written, [`record`] the journal.

pub mod act;
pub mod agent;
pub mod autoscalers;
pub mod bench;
pub mod boot;
pub mod cli;
pub mod clock;
mod cluster;
pub mod commands;
pub mod compare;
pub mod config;
pub mod demo;
mod door;
pub mod drive;
pub mod explain;
pub mod floor;
pub mod hpa;
pub mod import;
pub mod inbox;
pub mod lease;
pub mod metrics;
pub mod own;
pub mod owner;
pub mod page;
pub mod policies;
mod progress;
pub mod prometheus;
pub mod record;
pub mod remote;
pub mod report;
pub mod rights;
mod run;
pub mod sense;
pub mod serve;
#[cfg(test)]
mod simulation;
pub mod sources;
mod tally;
pub mod telemetry;
mod terms;
pub mod top;
mod track;
pub mod view;
pub mod watch;
mod words;
mod world;

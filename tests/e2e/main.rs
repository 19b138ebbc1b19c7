//! End to end: the real binary on a real Kubernetes, with real load through real scrapes.
//!
//! Run inside an instance of the testbed that has the images loaded (`./test` does all of it). Scenarios that stop parts
//! of the cluster for everybody live in `disturbances`, alone; the others share the cluster and run side by side.

#![expect(clippy::print_stdout, reason = "a test that cannot run says by name what it needs")]

mod beside;
mod beside_doc;
mod claims;
mod cluster;
mod custom;
mod disturbances;
mod door;
mod foreign;
mod hpa_sync;
mod install;
mod lies;
mod live;
mod measure;
mod misfits;
mod pages;
mod readme;
mod release;
mod rounds;
mod scaling;
mod versions;
mod world;

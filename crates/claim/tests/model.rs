//! The protocol, checked exhaustively to a stated bound against an adversary that pauses, crashes, partitions and restarts agents,
//! delays, repeats and loses requests and answers, lets caches lag and watches list anew, prunes and restores the label, deletes and creates
//! the object anew from its export, edits it, and restores etcd from a backup.
//!
//! The agents run the crate's own functions; the API server is a dozen lines ([`world::Server`]). With every guard in place no
//! reachable state breaks a promise, and from each the workload is decided again within 95 s once the faults end. With any
//! one guard taken away some state does: the shortest way there is printed.
#![expect(clippy::print_stdout, reason = "prints what was explored")]
#![expect(clippy::indexing_slicing, reason = "agents and requests go by their number; a wrong one is to fail the test")]
#![expect(clippy::struct_excessive_bools, reason = "guards and faults are independent switches")]

#[path = "model/explore.rs"]
mod explore;
#[path = "model/heal.rs"]
mod heal;
#[path = "model/world.rs"]
mod world;

use explore::{Explored, explore};
use world::{Breach, Faults, Guards, Setup};

/// Every fault may happen so often, and so many of them in all.
const ALL: Faults = Faults {
    most: 2,
    lost: true,
    repeated: true,
    restarts: true,
    crashes: true,
    lists: true,
    leaves: true,
    labels: true,
    recreated: true,
    edits: true,
    backup: true,
};

const NONE: Faults = Faults {
    most: 2,
    lost: false,
    repeated: false,
    restarts: false,
    crashes: false,
    lists: false,
    leaves: false,
    labels: false,
    recreated: false,
    edits: false,
    backup: false,
};

fn kept(name: &str, setup: &Setup) -> Explored {
    let explored = explore(setup);
    println!(
        "{name}: {} states, {} ways between them, all that {} steps reach; healed from {} of them within {} s at the most",
        explored.states, explored.transitions, explored.depth, explored.healed, explored.slowest,
    );
    if let Some((breach, way)) = &explored.breach {
        panic!("{name}: {breach:?} after\n  {}", way.join("\n  "));
    }
    explored
}

#[test]
fn no_two_agents_both_write_whatever_fails() {
    let setup = Setup { agents: 2, guards: Guards::ALL, faults: ALL, policy: true, depth: 10, bounded: true };
    let explored = kept("two agents, all faults, epoch kept by the admission policy", &setup);
    assert!(explored.states > 10_000, "the adversary did something");
}

#[test]
fn three_agents_neither() {
    let faults = Faults { most: 1, ..ALL };
    let setup = Setup { agents: 3, guards: Guards::ALL, faults, policy: true, depth: 10, bounded: true };
    kept("three agents, one fault", &setup);
}

#[test]
#[ignore = "a measurement: minutes, for `./bench claim`"]
fn the_same_deeper() {
    for (agents, most, policy) in [(2, 3, true), (2, 3, false), (3, 2, true)] {
        let setup =
            Setup { agents, guards: Guards::ALL, faults: Faults { most, ..ALL }, policy, depth: 12, bounded: true };
        kept(&format!("{agents} agents, {most} faults, admission policy: {policy}"), &setup);
    }
}

#[test]
fn without_the_admission_policy_no_deposed_agent_writes_after_its_successor() {
    let setup = Setup { agents: 2, guards: Guards::ALL, faults: ALL, policy: false, depth: 10, bounded: true };
    kept("two agents, all faults, no admission policy", &setup);
}

/// Without `guard` some state is reached that breaks a promise.
fn needed(name: &str, guards: Guards, faults: Faults, policy: bool, expected: Breach) {
    let setup = Setup { agents: 2, guards, faults, policy, depth: 14, bounded: true };
    let explored = explore(&setup);
    let Some((breach, way)) = explored.breach else {
        panic!("without {name} nothing breaks in {} states: it is no guard", explored.states)
    };
    println!("without {name}: {breach:?} within {} states, after\n  {}", explored.states, way.join("\n  "));
    assert_eq!(breach, expected, "{way:#?}");
}

#[test]
fn without_the_test_of_the_epoch_two_write() {
    needed("the test of the epoch", Guards { epoch: false, ..Guards::ALL }, ALL, true, Breach::Deposed);
}

#[test]
fn without_the_test_of_the_uid_another_object_is_written() {
    needed("the test of the uid", Guards { uid: false, ..Guards::ALL }, ALL, true, Breach::OtherObject);
}

#[test]
fn without_the_test_of_the_generation_an_older_intention_lands() {
    needed("the test of the generation", Guards { generation: false, ..Guards::ALL }, ALL, true, Breach::OldIntention);
}

#[test]
fn without_the_test_in_a_claim_a_newer_claim_is_overwritten() {
    needed("the test in a claim", Guards { claim: false, ..Guards::ALL }, ALL, true, Breach::NumberFell);
}

#[test]
fn without_the_highest_number_a_claim_is_made_twice() {
    needed("the highest number", Guards { highest: false, ..Guards::ALL }, ALL, false, Breach::SameClaimTwice);
}

#[test]
fn a_claim_that_is_resumed_after_a_restart_lets_two_processes_write() {
    needed("a new claim after a restart", Guards { restart: false, ..Guards::ALL }, ALL, true, Breach::Deposed);
}

#[test]
fn a_claim_that_is_resumed_after_a_listing_writes_after_its_successor() {
    let faults = Faults { lists: true, labels: true, ..NONE };
    needed("a new claim after a listing", Guards { listing: false, ..Guards::ALL }, faults, false, Breach::Deposed);
}

#[test]
fn without_the_admission_policy_a_restored_label_brings_a_deposed_agent_back() {
    needed("the admission policy", Guards { strict: true, ..Guards::ALL }, ALL, false, Breach::Deposed);
}

//! The fence: what must hold in the API server at the instant of a write.
//!
//! A claim and a write are each one JSON Patch whose `test`s and change are one transaction of the API server, which orders all
//! transactions of one object. Each test is there for something that was seen to go wrong without it (`tests/model.rs` takes each away):
//! the *epoch*, because somebody else may have claimed since; the *uid*, because an object that is deleted and created
//! from its export carries the old epoch and generation 1 again; the *generation*, because an older intention, or the second delivery of
//! one request, must not undo a newer one. An absent label cannot be tested for, so the first claim tests the `resourceVersion`.

use crate::claim::{Label, Seen};
use crate::epoch::Epoch;
use std::sync::Arc;

/// Something that must hold, or nothing is changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// `/metadata/uid`.
    Uid(Arc<str>),
    /// The label that holds the epoch, to the letter.
    Label(Arc<str>),
    /// `/metadata/resourceVersion`: nobody has changed anything at all.
    Version(Arc<str>),
    /// `/metadata/generation`: nobody has changed what is wanted.
    Generation(i64),
}

/// What must hold for a claim, or a hand-off, of what was seen.
#[must_use]
pub fn of_claim(seen: &Seen) -> Vec<Test> {
    let uid = Test::Uid(Arc::clone(&seen.uid));
    match &seen.label {
        Label::Absent => vec![uid, Test::Version(Arc::clone(&seen.version))],
        Label::Epoch(epoch) => vec![uid, Test::Label(epoch.to_string().into())],
        Label::Other(text) => vec![uid, Test::Label(Arc::clone(text))],
    }
}

/// What must hold for a write where there is no other agent.
#[must_use]
pub fn alone(seen: &Seen) -> Vec<Test> {
    let uid = Test::Uid(Arc::clone(&seen.uid));
    [uid].into_iter().chain(seen.generation.map(Test::Generation)).collect()
}

/// What must hold for a write that was decided on what was seen, under `epoch`. Where the object has no dependable generation, the
/// writer tests the values that it decided on instead.
#[must_use]
pub fn of_write(seen: &Seen, epoch: &Epoch) -> Vec<Test> {
    let mut tests = vec![Test::Uid(Arc::clone(&seen.uid)), Test::Label(epoch.to_string().into())];
    tests.extend(seen.generation.map(Test::Generation));
    tests
}

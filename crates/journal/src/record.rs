//! What is recorded: decisions with all that they were taken from, and what became of them.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use trimtab_core::unit::Timestamp;
use trimtab_core::{Decision, Policy, Snapshot, State};

/// Something to be recorded.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A decision.
    Decided(Box<Record>),
    /// What became of one that was to be carried out.
    Ended {
        /// Namespace/kind/name.
        workload: String,
        /// The decision's moment.
        at: Timestamp,
        /// What became of it.
        outcome: Outcome,
    },
}

/// A decision with all that it was taken from.
#[derive(Clone, Debug)]
pub struct Record {
    /// Namespace/kind/name.
    pub workload: String,
    /// How many decisions of this workload came before it since its memory last came from elsewhere than from the
    /// decision before (a start, a backfill): 0 for the first. Counted for every decision, recorded or not: a number
    /// that is left out is how a reader knows that a round was lost.
    pub ordinal: u64,
    /// The memory before the decision. The journal stores it where nothing that is stored leads to it, and now and then.
    pub before: Box<State>,
    /// What the operator wants.
    pub policy: Policy,
    /// What was seen.
    pub snapshot: Snapshot,
    /// What was decided, and why.
    pub decision: Decision,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Committed,
    /// It was not done.
    Refused(Refusal),
    /// It may have been done: the answer was lost, and why.
    Unknown(String),
}

/// Why a write was not done. What the API server said is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The object is no longer as the decision saw it: the next decision sees it.
    Changed,
    /// An admission policy, a webhook or a quota said no.
    Admission(String),
    /// The object would not be valid.
    Invalid(String),
    /// The credentials do not allow it.
    Forbidden(String),
    /// The object does not exist any more.
    Gone,
    /// The API server is busy, or was; nothing was done.
    Busy(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed => f.write_str("committed"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed => f.write_str("the object has changed meanwhile"),
            Self::Admission(said) => write!(f, "admission: {said}"),
            Self::Invalid(said) => write!(f, "invalid: {said}"),
            Self::Forbidden(said) => write!(f, "forbidden: {said}"),
            Self::Gone => f.write_str("the object does not exist any more"),
            Self::Busy(said) => write!(f, "busy: {said}"),
        }
    }
}

/// The first 16 bytes of the SHA-256 of a decision's JSON: equal for equal decisions, to the bit of every number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub(crate) [u8; 16]);

impl Digest {
    /// The digest of a decision's JSON.
    pub(crate) fn of(json: &str) -> Self {
        let hash = Sha256::digest(json.as_bytes());
        let mut first = [0; 16];
        first.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        Self(first)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

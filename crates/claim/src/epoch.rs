//! The epoch: who decides a workload, as a label of the object says it.
//!
//! `trimtab.dev/epoch: 7.b7f1c2d40a1e.5a3c09f1` is claim number 7, by the agent `b7f1c2d40a1e` (the beginning of its pod's uid), in its
//! incarnation `5a3c09f1` (drawn at each start of the process: a container that restarts keeps its pod's uid, and must not
//! take the claims of the process before it for its own). Without an incarnation it is an invitation: the agent that it
//! names may claim, and nobody writes meanwhile. A label and no annotation, because `kubectl rollout undo` brings annotations back.
//! What cannot be read is no claim. Numbers saturate: at the largest, epochs still differ by their incarnation.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The label that holds the epoch.
pub const LABEL: &str = "trimtab.dev/epoch";

/// The number of a claim. Each claim of an object is one above all that its agent has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(pub u64);

impl Number {
    /// One above.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// An agent: lower-case letters, digits and dashes, at most 32 of them, as a Lease's name and a label can hold it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(Arc<str>);

impl AgentId {
    /// So many digits of a pod's uid tell it from all others: two of a thousand agents share 48 bits once in five hundred million times.
    const DIGITS: usize = 12;

    /// An agent of this name, if it can be one.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let ends = |name: &str| !name.starts_with('-') && !name.ends_with('-');
        let valid = (1..=32).contains(&name.len()) && name.bytes().all(fits) && ends(name);
        valid.then(|| Self(name.into()))
    }

    /// The agent whose pod has this uid.
    #[must_use]
    pub fn of_pod(uid: &str) -> Option<Self> {
        let digits: String = uid.chars().filter(|c| *c != '-').take(Self::DIGITS).collect();
        Self::new(&digits.to_lowercase())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The name of its Lease.
    #[must_use]
    pub fn lease(&self) -> String {
        format!("trimtab-{}", self.0)
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One run of an agent's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u32);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Who decides a workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// How many claims there were.
    pub number: Number,
    /// Whom it names.
    pub agent: AgentId,
    /// In which run, where it claimed; `None` is an invitation.
    pub run: Option<Incarnation>,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.number.0, self.agent)?;
        self.run.map_or(Ok(()), |run| write!(f, ".{run}"))
    }
}

/// A label that is no epoch: it counts as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEpoch;

impl FromStr for Epoch {
    type Err = NoEpoch;

    fn from_str(label: &str) -> Result<Self, NoEpoch> {
        let mut parts = label.split('.');
        let number = parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit())).ok_or(NoEpoch)?;
        let number = Number(number.parse().map_err(|_| NoEpoch)?);
        let agent = parts.next().and_then(AgentId::new).ok_or(NoEpoch)?;
        let run = match parts.next() {
            None => None,
            Some(run) if run.len() == 8 => Some(Incarnation(u32::from_str_radix(run, 16).map_err(|_| NoEpoch)?)),
            Some(_) => return Err(NoEpoch),
        };
        let epoch = Self { number, agent, run };
        // Exactly what we would write: a label that reads the same but is another text would fail every `test`.
        if parts.next().is_none() && epoch.to_string() == label { Ok(epoch) } else { Err(NoEpoch) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_as_it_is_written() {
        for label in ["7.b7f1c2d40a1e.5a3c09f1", "1.a", "18446744073709551615.node-1.ffffffff"] {
            assert_eq!(label.parse::<Epoch>().map(|epoch| epoch.to_string()), Ok(label.to_owned()));
        }
    }

    #[test]
    fn what_is_no_epoch_is_none() {
        for label in [
            "",
            ".",
            "7",
            "7.",
            "x.a",
            "+7.a",
            "07.a",
            "7.A",
            "7.a.",
            "7.a.5",
            "7.a.5A3C09F1",
            "7.a.zzzzzzzz",
            "7.a.00000001.b",
            "18446744073709551616.a",
            "7.-a",
            "7.a_b",
            "7.é",
            " 7.a",
        ] {
            assert_eq!(label.parse::<Epoch>(), Err(NoEpoch), "{label:?}");
        }
    }

    #[test]
    fn a_label_fits_where_labels_fit() {
        let longest = Epoch {
            number: Number(u64::MAX).next(),
            agent: AgentId::new(&"a".repeat(32)).unwrap(),
            run: Some(Incarnation(u32::MAX)),
        };
        assert!(longest.to_string().len() <= 63, "a label value holds 63 characters");
        assert_eq!(AgentId::new(&"a".repeat(33)), None);
        assert_eq!(AgentId::of_pod("b7f1c2d4-0a1e-4c55-9d2f-3f2b1a0c9e8d"), AgentId::new("b7f1c2d40a1e"));
    }
}

//! Replay: every recorded decision is taken again, and must be the same to the bit.

use crate::diff::{FieldDifference, diff};
use crate::read::{ReadError, Reader, Row, Stored, moment};
use crate::record::Digest;
use crate::thread::{Again, Read, Thread};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use trimtab_core::unit::Timestamp;
use trimtab_core::{Decision, State};

/// Differences, gaps and damages that are kept, each; more are counted. One cause makes thousands of them, and the first
/// few tell it.
const KEPT: usize = 100;

/// What to replay.
#[derive(Clone, Debug)]
pub struct Filter {
    /// One workload by its name, or all.
    pub workload: Option<String>,
    /// The moments, both ends included.
    pub range: RangeInclusive<Timestamp>,
}

impl Filter {
    /// Everything.
    #[must_use]
    pub const fn everything() -> Self {
        Self { workload: None, range: Timestamp(i64::MIN)..=Timestamp(i64::MAX) }
    }
}

/// What a replay found.
#[derive(Clone, Debug, Default)]
#[must_use = "a difference that nobody reads was not found"]
pub struct Replay {
    /// Records that were decided again.
    pub records: u64,
    /// Records that could not be, because what they rest on is gone or damaged.
    pub skipped: u64,
    /// What is not as it was recorded, oldest first, up to a hundred.
    pub differences: Vec<Difference>,
    /// What is damaged, oldest first, up to a hundred.
    pub damages: Vec<Damage>,
    /// Where a workload's records do not follow from each other, oldest first, up to a hundred.
    pub gaps: Vec<Gap>,
    /// Differences, damages and gaps beyond those hundreds.
    pub more: u64,
}

impl Replay {
    /// Whether all that could be decided again is as it was recorded. Gaps are no differences.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty() && self.damages.is_empty()
    }

    fn keep<T>(kept: &mut Vec<T>, more: &mut u64, item: T) {
        if kept.len() < KEPT {
            kept.push(item);
        } else {
            *more += 1;
        }
    }
}

/// Something that is not as it was recorded.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Namespace/kind/name.
    pub workload: String,
    /// The decision's moment.
    pub at: Timestamp,
    /// The version of trimtab that recorded it; another one may decide otherwise.
    pub version: String,
    /// What differs.
    pub what: Differing,
}

/// What differs.
#[derive(Clone, Debug)]
pub enum Differing {
    /// The decision.
    Decision {
        /// The digest of the recorded one.
        recorded: Digest,
        /// The decision that is taken now.
        recomputed: Box<Decision>,
        /// The recorded one, where the whole of it was stored.
        stored: Option<Box<Decision>>,
        /// The fields that differ: all of them where the recorded one was stored, else those that are kept of each.
        fields: Vec<FieldDifference>,
    },
    /// The memory: the one that was stored is not the one that the records before lead to.
    Memory(Vec<FieldDifference>),
}

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Namespace/kind/name.
    pub workload: String,
    /// Its moment.
    pub at: Timestamp,
    /// What is wrong with it.
    pub why: String,
}

/// A place where a workload's records do not follow from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Namespace/kind/name.
    pub workload: String,
    /// The last record before it.
    pub after: Timestamp,
    /// The first record behind it.
    pub until: Timestamp,
    /// Why.
    pub because: Because,
}

/// Why records do not follow from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The writer was started anew.
    Restart,
    /// The workload's memory began anew.
    Anew,
    /// So many decisions are missing: rounds that were not written, or records that cannot be read.
    Missing(u64),
}

/// Decides again what `filter` asks for and compares.
pub fn replay(reader: &Reader, filter: &Filter) -> Result<Replay, ReadError> {
    replay_watched(reader, filter, |_, _| {})
}

/// The same; after each row, `watch` is told how many places of the journal lie behind, and how many there are.
pub fn replay_watched(reader: &Reader, filter: &Filter, mut watch: impl FnMut(u64, u64)) -> Result<Replay, ReadError> {
    let mut found = Replay::default();
    let only = match &filter.workload {
        Some(workload) => match reader.id(workload)? {
            Some(id) => Some(id),
            None => return Ok(found),
        },
        None => None,
    };
    let mut workloads: BTreeMap<i64, Progress> = BTreeMap::new();
    let first = first(reader, only, *filter.range.start())?;
    // The first record has number one.
    let places = |seq: i64| u64::try_from(seq - first.max(1) + 1).unwrap_or_default();
    let all = places(reader.last()?);
    let mut rows = reader.rows(first, only);
    while let Some(row) = rows.next_row()? {
        let counted = filter.range.contains(&row.at);
        workloads.entry(row.id).or_default().step(&row, counted.then_some(&mut found));
        watch(places(row.seq), all);
    }
    Ok(found)
}

/// The row to begin with: the last from which all that is asked for can be decided again.
fn first(reader: &Reader, only: Option<i64>, from: Timestamp) -> Result<i64, ReadError> {
    let ids = only.map_or_else(|| reader.ids(), |id| Ok(vec![id]))?;
    let firsts = ids.into_iter().map(|id| Ok(reader.checkpoint(id, from)?.unwrap_or(0)));
    firsts.reduce(|one: Result<i64, ReadError>, other| Ok(one?.min(other?))).unwrap_or(Ok(0))
}

/// Where the replay of one workload has come to.
#[derive(Default)]
struct Progress {
    thread: Thread,
    last: Option<(i64, u64, Timestamp)>,
}

impl Progress {
    /// Takes the next row; what is found is noted where `found` says so.
    fn step(&mut self, row: &Row, found: Option<&mut Replay>) {
        let read = self.thread.follow(row);
        let gap = match &read {
            Read::Record(stored, _) => self.gap(stored),
            Read::Loose | Read::Damaged(_) => None,
        };
        let Some(found) = found else { return };
        if let Some(gap) = gap {
            Replay::keep(&mut found.gaps, &mut found.more, gap);
        }
        match read {
            Read::Record(stored, again) => note(found, *stored, *again),
            Read::Loose => found.skipped += 1,
            Read::Damaged(why) => {
                let damage = Damage { workload: row.workload.clone(), at: row.at, why };
                Replay::keep(&mut found.damages, &mut found.more, damage);
            }
        }
    }

    fn gap(&mut self, stored: &Stored) -> Option<Gap> {
        let (run, ordinal, after) = self.last.replace((stored.run, stored.ordinal, stored.at))?;
        let because = if run != stored.run {
            Because::Restart
        } else if stored.ordinal <= ordinal {
            Because::Anew
        } else if stored.ordinal > ordinal + 1 {
            Because::Missing(stored.ordinal - ordinal - 1)
        } else {
            return None;
        };
        Some(Gap { workload: stored.workload.clone(), after, until: stored.at, because })
    }
}

fn note(found: &mut Replay, stored: Stored, again: Again) {
    let (workload, at, version) = (stored.workload.clone(), stored.at, stored.version.clone());
    let mut differs = |what| {
        let difference = Difference { workload: workload.clone(), at, version: version.clone(), what };
        Replay::keep(&mut found.differences, &mut found.more, difference);
    };
    if let (Some(reached), Some(recorded)) = (&again.drifted, &stored.before) {
        differs(Differing::Memory(diff::<State>(recorded, reached)));
    }
    if let Some(what) = compare(stored, again.decision) {
        differs(what);
    }
    found.records += 1;
}

/// What differs between the recorded decision and the one that is taken now.
fn compare(stored: Stored, recomputed: Decision) -> Option<Differing> {
    let line = |verb: &str, reason: &str, from: u32, to: u32| serde_json::json!({ "verb": verb, "reason": reason, "from": from, "to": to });
    let before = line(&stored.verb, &stored.reason, stored.from.0, stored.to.0);
    let now = line(&recomputed.verb.to_string(), recomputed.reason.code(), recomputed.from.0, recomputed.to.0);
    let same = serde_json::to_string(&recomputed).is_ok_and(|json| Digest::of(&json) == stored.digest);
    if same && before == now {
        return None;
    }
    let fields = match &stored.decision {
        Some(recorded) if !same => diff(recorded, &recomputed),
        Some(_) | None => diff(&before, &now),
    };
    let kept = stored.decision.map(Box::new);
    Some(Differing::Decision { recorded: stored.digest, recomputed: Box::new(recomputed), stored: kept, fields })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ours = env!("CARGO_PKG_VERSION");
        write!(f, "{} at {}", self.workload, moment(self.at))?;
        if self.version != ours {
            write!(f, " (recorded by trimtab {}, this is {ours})", self.version)?;
        }
        let fields = match &self.what {
            Differing::Decision { fields, .. } if fields.is_empty() => {
                return f.write_str(
                    ": the decision is another one, in a value that was not kept or is not understood any more",
                );
            }
            Differing::Decision { fields, .. } => {
                f.write_str(": the decision is another one: ")?;
                fields
            }
            Differing::Memory(fields) => {
                f.write_str(": the memory is not the one that the records before lead to: ")?;
                fields
            }
        };
        let words: Vec<String> = fields.iter().map(ToString::to_string).collect();
        f.write_str(&words.join("; "))
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} to {}: ", self.workload, moment(self.after), moment(self.until))?;
        match self.because {
            Because::Restart => f.write_str("trimtab was started anew"),
            Because::Anew => f.write_str("the workload was taken up anew"),
            Because::Missing(1) => f.write_str("1 decision is missing"),
            Because::Missing(count) => write!(f, "{count} decisions are missing"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.workload, moment(self.at), self.why)
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (different, damaged, gaps) = (self.differences.len(), self.damages.len(), self.gaps.len());
        writeln!(
            f,
            "{} decisions taken again, {} not: {different} differences, {damaged} damaged, {gaps} gaps",
            self.records, self.skipped
        )?;
        self.differences.iter().try_for_each(|difference| writeln!(f, "difference: {difference}"))?;
        self.damages.iter().try_for_each(|damage| writeln!(f, "damaged: {damage}"))?;
        self.gaps.iter().try_for_each(|gap| writeln!(f, "gap: {gap}"))?;
        if self.more > 0 {
            writeln!(f, "and {} more", self.more)?;
        }
        Ok(())
    }
}

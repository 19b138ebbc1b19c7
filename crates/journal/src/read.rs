//! Reading, while the writer goes on.
//!
//! Rows are read a page at a time, each page in a read transaction of its own: a reader that takes its time never keeps
//! the writer's log from being folded into the file.

use crate::file::{self, OpenError};
use crate::format;
use crate::record::{Digest, Outcome};
use crate::thread::{Read, Thread};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::path::Path;
use trimtab_core::unit::{Replicas, Timestamp};
use trimtab_core::{Decision, Policy, Snapshot, State};

/// Rows to a page.
const PAGE: usize = 512;

/// A journal, open to read.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
}

/// Why the journal could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// SQLite could not read it.
    #[error("failed to read the journal")]
    Read(#[from] rusqlite::Error),
    /// A record is damaged; others may be intact.
    #[error("the record of {workload} at {} is damaged: {why}", moment(*at))]
    Damaged {
        /// Namespace/kind/name.
        workload: String,
        /// Its moment.
        at: Timestamp,
        /// What is wrong with it.
        why: String,
    },
    /// What became of a decision is not understood.
    #[error("failed to understand the outcome of {workload} at {}", moment(*at))]
    Outcome {
        /// Namespace/kind/name.
        workload: String,
        /// The decision's moment.
        at: Timestamp,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Namespace/kind/name.
    pub workload: String,
    /// The version of trimtab that wrote it.
    pub version: String,
    /// The writer's run: another number, another process.
    pub run: i64,
    /// How many decisions came before it; see [`Record::ordinal`](crate::Record::ordinal).
    pub ordinal: u64,
    /// The decision's moment.
    pub at: Timestamp,
    /// The outcome in one word, as in the decision.
    pub verb: String,
    /// The code of its reason.
    pub reason: String,
    /// Replicas before.
    pub from: Replicas,
    /// Replicas after.
    pub to: Replicas,
    /// What the operator wanted.
    pub policy: Policy,
    /// What was seen.
    pub snapshot: Snapshot,
    /// The memory before the decision, in some records: those that rest on no other.
    pub before: Option<State>,
    /// Of the decision.
    pub digest: Digest,
    /// The decision, where verb, reason or replicas were others than the time before.
    pub decision: Option<Decision>,
}

/// A decision, taken again, with all that it is taken from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// What the operator wanted.
    pub policy: Policy,
    /// What was seen.
    pub snapshot: Snapshot,
    /// The decision, taken again.
    pub decision: Decision,
    /// Whether it is the recorded one, bit for bit.
    pub agrees: bool,
    /// The version of trimtab that recorded it.
    pub version: String,
    /// What became of it, where it was carried out.
    pub outcome: Option<Outcome>,
}

/// A row of the table.
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) run: i64,
    pub(crate) id: i64,
    pub(crate) workload: String,
    pub(crate) version: String,
    pub(crate) ordinal: u64,
    pub(crate) at: Timestamp,
    pub(crate) verb: String,
    pub(crate) reason: String,
    pub(crate) before: Replicas,
    pub(crate) after: Replicas,
    pub(crate) input: String,
    pub(crate) state: Option<String>,
    pub(crate) decision: Option<String>,
    pub(crate) digest: Digest,
    pub(crate) seal: i64,
}

const ROWS: &str = "
    SELECT r.seq, r.run, r.workload, w.name, run.version, r.ordinal, r.at, r.verb, r.reason, r.before, r.after,
           r.input, r.state, r.decision, r.digest, r.seal
    FROM record r JOIN workload w ON w.id = r.workload LEFT JOIN run ON run.id = r.run
    WHERE r.seq >= ?1 AND (?2 IS NULL OR r.workload = ?2) ORDER BY r.seq LIMIT ?3";

impl Row {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let bytes: Vec<u8> = row.get(14)?;
        let digest = Digest::stored(&bytes).ok_or(rusqlite::Error::InvalidColumnName("digest".into()))?;
        Ok(Self {
            seq: row.get(0)?,
            run: row.get(1)?,
            id: row.get(2)?,
            workload: row.get(3)?,
            version: row.get::<_, Option<String>>(4)?.unwrap_or_else(|| "unknown".into()),
            ordinal: row.get(5)?,
            at: Timestamp(row.get(6)?),
            verb: text(row, 7)?.unwrap_or_default(),
            reason: text(row, 8)?.unwrap_or_default(),
            before: Replicas(row.get(9)?),
            after: Replicas(row.get(10)?),
            input: text(row, 11)?.unwrap_or_default(),
            state: text(row, 12)?,
            decision: text(row, 13)?,
            digest,
            seal: row.get(15)?,
        })
    }
}

/// A text, packed or not, whatever its bytes: one that is damaged breaks its record's seal, not the reading of all others.
fn text(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Some(format::unpack(bytes)),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => None,
    })
}

impl Reader {
    /// Opens the journal at `path` to read. A writer may write it meanwhile.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        file::open_to_read(path).map(|db| Self { db })
    }

    /// The workloads that there are records of, by name.
    pub fn workloads(&self) -> Result<Vec<String>, ReadError> {
        let mut names = self.db.prepare_cached("SELECT name FROM workload ORDER BY name")?;
        let names = names.query_map([], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// The records of a workload whose moments lie in the range, in the order they were written. What was written before
    /// its oldest checkpoint that is left is not among them, nor what was written after its first checkpoint beyond the range: whoever asks
    /// for an hour of last month is not read all that came since.
    pub fn records(&self, workload: &str, range: RangeInclusive<Timestamp>) -> Result<Records<'_>, ReadError> {
        let id = self.id(workload)?;
        let first = match id {
            Some(id) => self.checkpoint(id, *range.start())?.unwrap_or(0),
            None => i64::MAX,
        };
        Ok(Records { rows: self.rows(first, id), thread: Thread::default(), range })
    }

    /// The record that was in force at a moment: the last one written that is not younger.
    pub fn at(&self, workload: &str, at: Timestamp) -> Result<Option<Stored>, ReadError> {
        Ok(self.in_force(workload, at)?.map(|(stored, _)| stored))
    }

    /// The decision that was in force at a moment, taken again; `None` where there is none, or none left.
    pub fn explain(&self, workload: &str, at: Timestamp) -> Result<Option<Explained>, ReadError> {
        let Some((stored, decision)) = self.in_force(workload, at)? else { return Ok(None) };
        let outcome = self.outcome(workload, stored.at)?;
        let Stored { policy, snapshot, digest, version, .. } = stored;
        let agrees = serde_json::to_string(&decision).is_ok_and(|json| Digest::of(&json) == digest);
        Ok(Some(Explained { policy, snapshot, decision, agrees, version, outcome }))
    }

    /// The record in force, and its decision taken again.
    fn in_force(&self, workload: &str, at: Timestamp) -> Result<Option<(Stored, Decision)>, ReadError> {
        let Some(id) = self.id(workload)? else { return Ok(None) };
        let Some(first) = self.checkpoint(id, at)? else { return Ok(None) };
        let (mut rows, mut thread, mut found) = (self.rows(first, Some(id)), Thread::default(), None);
        while let Some(row) = rows.next_row()? {
            if row.seq > first && row.state.is_some() {
                break;
            }
            let read = thread.follow(&row);
            if row.at <= at {
                let damaged = |why| ReadError::Damaged { workload: row.workload, at: row.at, why };
                found = Some(match read {
                    Read::Record(stored, again) => Ok((*stored, again.decision)),
                    Read::Damaged(why) => Err(damaged(why)),
                    Read::Loose => Err(damaged("it rests on one that is damaged or gone".into())),
                });
            }
        }
        found.transpose()
    }

    /// What became of the decision of that moment.
    fn outcome(&self, workload: &str, at: Timestamp) -> Result<Option<Outcome>, ReadError> {
        let newest = "SELECT o.outcome FROM outcome o JOIN workload w ON w.id = o.workload
                      WHERE w.name = ?1 AND o.at = ?2 ORDER BY o.seq DESC LIMIT 1";
        let text =
            self.db.prepare_cached(newest)?.query_row((workload, at.0), |row| row.get::<_, String>(0)).optional()?;
        let outcome = text.map(|text| serde_json::from_str(&text)).transpose();
        outcome.map_err(|source| ReadError::Outcome { workload: workload.to_owned(), at, source })
    }

    /// Number of a workload.
    pub(crate) fn id(&self, workload: &str) -> Result<Option<i64>, ReadError> {
        let mut id = self.db.prepare_cached("SELECT id FROM workload WHERE name = ?1")?;
        Ok(id.query_row([workload], |row| row.get(0)).optional()?)
    }

    /// Numbers of all workloads.
    pub(crate) fn ids(&self) -> Result<Vec<i64>, ReadError> {
        let mut ids = self.db.prepare_cached("SELECT id FROM workload")?;
        let ids = ids.query_map([], |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// Where the last checkpoint of a workload stands that is not younger than `at`.
    pub(crate) fn checkpoint(&self, id: i64, at: Timestamp) -> Result<Option<i64>, ReadError> {
        let last =
            "SELECT seq FROM record WHERE state IS NOT NULL AND workload = ?1 AND at <= ?2 ORDER BY seq DESC LIMIT 1";
        let mut last = self.db.prepare_cached(last)?;
        Ok(last.query_row((id, at.0), |row| row.get(0)).optional()?)
    }

    /// Where the last record stands; 0 where there is none.
    pub(crate) fn last(&self) -> Result<i64, ReadError> {
        let mut last = self.db.prepare_cached("SELECT coalesce(max(seq), 0) FROM record")?;
        Ok(last.query_row([], |row| row.get(0))?)
    }

    /// The rows from `first` on, of one workload or of all.
    pub(crate) fn rows(&self, first: i64, workload: Option<i64>) -> Rows<'_> {
        Rows { reader: self, workload, next: Some(first), page: VecDeque::new() }
    }
}

/// Rows in the order they were written.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    reader: &'a Reader,
    workload: Option<i64>,
    next: Option<i64>,
    page: VecDeque<Row>,
}

impl Rows<'_> {
    pub(crate) fn next_row(&mut self) -> Result<Option<Row>, ReadError> {
        if self.page.is_empty()
            && let Some(next) = self.next
        {
            let mut rows = self.reader.db.prepare_cached(ROWS)?;
            let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
            let rows = rows.query_map((next, self.workload, limit), Row::read)?;
            self.page = rows.collect::<Result<_, _>>()?;
            self.next = self.page.back().filter(|_| self.page.len() == PAGE).map(|last| last.seq.saturating_add(1));
        }
        Ok(self.page.pop_front())
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} at {}", self.seq, self.workload, moment(self.at))
    }
}

/// The records of one workload; see [`Reader::records`].
#[derive(Debug)]
pub struct Records<'a> {
    rows: Rows<'a>,
    thread: Thread,
    range: RangeInclusive<Timestamp>,
}

impl Records<'_> {
    /// The same, each with its decision, taken again.
    pub fn decided(mut self) -> impl Iterator<Item = Result<(Stored, Decision), ReadError>> {
        std::iter::from_fn(move || self.next_decided())
    }

    fn next_decided(&mut self) -> Option<Result<(Stored, Decision), ReadError>> {
        loop {
            let row = match self.rows.next_row() {
                Ok(row) => row?,
                Err(error) => {
                    self.rows.next = None;
                    return Some(Err(error));
                }
            };
            if row.state.is_some() && row.at > *self.range.end() {
                self.rows.next = None;
                self.rows.page.clear();
                return None;
            }
            match self.thread.follow(&row) {
                Read::Damaged(why) => {
                    return Some(Err(ReadError::Damaged { workload: row.workload, at: row.at, why }));
                }
                Read::Record(stored, again) if self.range.contains(&stored.at) => {
                    return Some(Ok((*stored, again.decision)));
                }
                Read::Record(..) | Read::Loose => {}
            }
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Stored, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_decided().map(|read| read.map(|(stored, _)| stored))
    }
}

/// A moment in words.
pub(crate) fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| format!("{} ms", at.0), |at| at.to_string())
}

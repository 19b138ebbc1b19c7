//! Writing: a round of entries is one transaction, and the oldest records go when the bound is reached.

use crate::delta;
use crate::file::{self, Bound, OpenError};
use crate::format::{self, Input, Sealed};
use crate::record::{Digest, Entry, Outcome, Record};
use rusqlite::{Connection, ErrorCode, Transaction, params};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use trimtab_core::unit::{Replicas, Timestamp};
use trimtab_core::{Decision, Verb};

/// The least number of records that go at once when the bound is reached.
const TRIM: i64 = 64;
/// Otherwise this share of all, so that a bound that was lowered is reached in a few hundred steps.
const TRIM_SHARE: i64 = 256;

/// A state is stored at least with every so many records of a workload. It takes kilobytes, most of them seasons' profiles,
/// which are bounded; and a moment is explained by deciding at most this many again.
const CHECKPOINT_EVERY: u64 = 128;
/// And at least so many times in all that the bound leaves room for, so that some of it is left when the oldest go.
const CHECKPOINTS: i64 = 4;

/// A journal, open to write.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    bound: Bound,
    /// `None` after a file could not be replaced, until the next append.
    db: Option<Connection>,
    memory: Memory,
    _lock: File,
}

/// A journal that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The journal.
    pub journal: Journal,
    /// What to tell the operator: a damaged file was moved aside, and where to.
    pub note: Option<String>,
}

/// Why a round was not recorded. The journal stays usable: the next [`Journal::append`] tries again.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk is full.
    #[error("no space left for the journal {}: free some, or lower its limit", path.display())]
    Full {
        /// The journal.
        path: PathBuf,
    },
    /// A reader has held one moment of the file for so long that SQLite's log outgrows the bound.
    #[error("a reader has held the journal {} for too long: end it", path.display())]
    Held {
        /// The journal.
        path: PathBuf,
    },
    /// The file turned out to be damaged. It is moved aside, and a new one has begun.
    #[error("the journal was damaged and is now {}; a new one has begun", aside.display())]
    Damaged {
        /// Where the damaged file is.
        aside: PathBuf,
        /// What SQLite found.
        #[source]
        source: rusqlite::Error,
    },
    /// Somebody removed the file. A new one has begun.
    #[error("the journal {} was removed; a new one has begun", path.display())]
    Removed {
        /// The journal.
        path: PathBuf,
    },
    /// A new file could not be begun.
    #[error("failed to begin a new journal")]
    Anew(#[source] OpenError),
    /// A value cannot be stored.
    #[error("failed to encode a record")]
    Encode(#[from] serde_json::Error),
    /// Another error of SQLite's.
    #[error("failed to write the journal {}", path.display())]
    Write {
        /// The journal.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

/// What the writer knows of what it has committed.
#[derive(Debug, Default)]
struct Memory {
    run: Option<i64>,
    seq: i64,
    last: BTreeMap<String, Last>,
    /// When the oldest record is younger than this, names that nothing refers to are looked for.
    clean_after: i64,
}

/// The last record of a workload.
#[derive(Clone, Debug)]
struct Last {
    id: i64,
    /// `None` where only the name is known.
    record: Option<LastRecord>,
}

#[derive(Clone, Debug)]
struct LastRecord {
    ordinal: u64,
    seal: i64,
    input: String,
    /// The last record with a state: its ordinal, and where it stands.
    checkpoint: (u64, i64),
    outcome: (Verb, &'static str, Replicas, Replicas),
}

/// What goes wrong inside a round.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Encode(#[from] serde_json::Error),
    #[error("a reader holds the file")]
    Held,
}

impl Journal {
    /// Opens the journal at `path`, or begins one. A damaged file is moved aside, and so is one that a newer trimtab wrote: a version that was
    /// rolled back decides all the same. The note says so.
    pub fn open(path: &Path, bound: Bound) -> Result<Opened, OpenError> {
        let lock = file::lock(path)?;
        let ((db, memory), note) = begin_intact(path, bound)?;
        Ok(Opened { journal: Self { path: path.to_owned(), bound, db: Some(db), memory, _lock: lock }, note })
    }

    /// Records a round, all of it or, after an error, nothing of it.
    pub fn append(&mut self, round: &[Entry]) -> Result<(), AppendError> {
        let removed = self.db.is_some() && !self.path.exists();
        if removed {
            // Closed before another is begun: SQLite would otherwise fold the log of one file into the other.
            self.db = None;
        }
        let db = match self.db.take() {
            Some(db) => db,
            None => self.begin_anew()?,
        };
        let db = self.db.insert(db);
        if removed {
            return Err(AppendError::Removed { path: self.path.clone() });
        }
        let written = check_log(db, &self.path, self.bound).and_then(|()| self.memory.write(db, self.bound, round));
        written.map_err(|failed| match failed {
            Failed::Encode(source) => AppendError::Encode(source),
            Failed::Held => AppendError::Held { path: self.path.clone() },
            Failed::Sqlite(source) if file::is_damage(&source) => self.replace(source),
            Failed::Sqlite(source) if source.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                AppendError::Full { path: self.path.clone() }
            }
            Failed::Sqlite(source) => AppendError::Write { path: self.path.clone(), source },
        })
    }

    /// Moves the damaged file aside and begins another; what fails of that is tried again by the next append.
    fn replace(&mut self, source: rusqlite::Error) -> AppendError {
        self.db = None;
        let begun = file::move_aside(&self.path).map_err(AppendError::Anew).and_then(|aside| {
            self.db = Some(self.begin_anew()?);
            Ok(AppendError::Damaged { aside, source })
        });
        begun.unwrap_or_else(|error| error)
    }

    fn begin_anew(&mut self) -> Result<Connection, AppendError> {
        let ((db, memory), _) = begin_intact(&self.path, self.bound).map_err(AppendError::Anew)?;
        self.memory = memory;
        Ok(db)
    }
}

/// Opens the file, moving it aside where it is damaged or of a newer format; then the note says so.
fn begin_intact(path: &Path, bound: Bound) -> Result<((Connection, Memory), Option<String>), OpenError> {
    match begin(path, bound) {
        Err(OpenError::Open { source, .. }) if file::is_damage(&source) => {
            let aside = file::move_aside(path)?;
            let note = AppendError::Damaged { aside, source }.to_string();
            Ok((begin(path, bound)?, Some(note)))
        }
        Err(OpenError::Newer { found, .. }) => {
            let aside = file::move_newer_aside(path, found)?;
            let note = format!(
                "a newer trimtab wrote the journal {}: it is kept as {}, for that trimtab to read, and another is begun",
                path.display(),
                aside.display()
            );
            Ok((begin(path, bound)?, Some(note)))
        }
        begun => Ok((begun?, None)),
    }
}

/// Opens or begins the file, with what is known of it, and within its bound.
fn begin(path: &Path, bound: Bound) -> Result<(Connection, Memory), OpenError> {
    let mut db = file::open_to_write(path, bound)?;
    let known = shrink(&mut db, bound).and_then(|()| Memory::of(&db));
    let memory = known.map_err(|source| OpenError::Open { path: path.to_owned(), source })?;
    Ok((db, memory))
}

/// Gives back to the disk what a bound that was lowered does not allow any more.
fn shrink(db: &mut Connection, bound: Bound) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    trim(&tx, bound.records())?;
    tx.commit()?;
    if pragma(db, "page_count")? * file::PAGE > bound.records() {
        // Each step of the statement gives one page back; its rows are nothing.
        let mut vacuum = db.prepare("PRAGMA incremental_vacuum")?;
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
        drop(steps);
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    Ok(())
}

/// Refuses to write on where a reader keeps SQLite's log from being folded into the file, so that it grows and grows.
fn check_log(db: &Connection, path: &Path, bound: Bound) -> Result<(), Failed> {
    let log = file::beside(path, "-wal");
    let long = || std::fs::metadata(&log).is_ok_and(|log| log.len() > 2 * bound.log());
    if long() {
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        if long() {
            return Err(Failed::Held);
        }
    }
    Ok(())
}

impl Memory {
    /// Writes a round in one transaction.
    fn write(&mut self, db: &mut Connection, bound: Bound, round: &[Entry]) -> Result<(), Failed> {
        let tx = db.transaction()?;
        let oldest = "SELECT coalesce(min(seq), 0) FROM record";
        let oldest: i64 = tx.prepare_cached(oldest)?.query_row([], |row| row.get(0))?;
        let cleaned = self.clean_if_due(&tx, oldest)?;
        let known = if cleaned { &BTreeMap::new() } else { &self.last };
        let room = if oldest > 1 { self.seq - oldest } else { i64::MAX };
        let mut written = Written { run: self.run, seq: self.seq, room, last: BTreeMap::new() };
        for entry in round {
            match entry {
                Entry::Decided(record) => written.record(&tx, known, record)?,
                Entry::Ended { workload, at, outcome } => written.outcome(&tx, known, (workload, *at, outcome))?,
            }
        }
        trim(&tx, bound.records())?;
        tx.commit()?;
        self.take(written, cleaned);
        Ok(())
    }

    fn of(db: &Connection) -> rusqlite::Result<Self> {
        let newest =
            "SELECT max(coalesce((SELECT max(seq) FROM record), 0), coalesce((SELECT max(seq) FROM outcome), 0))";
        let seq = db.query_row(newest, [], |row| row.get(0))?;
        Ok(Self { run: None, seq, last: BTreeMap::new(), clean_after: seq })
    }

    /// Once in the life of a record, drops the runs and workloads that no record refers to any more. Then all workloads
    /// are written anew, whole, so that what this forgets is nobody's loss.
    fn clean_if_due(&self, tx: &Transaction<'_>, oldest: i64) -> rusqlite::Result<bool> {
        if oldest <= self.clean_after {
            return Ok(false);
        }
        tx.execute("DELETE FROM workload WHERE id NOT IN (SELECT workload FROM record WHERE state IS NOT NULL)", [])?;
        tx.execute("DELETE FROM run WHERE id < (SELECT run FROM record ORDER BY seq LIMIT 1)", [])?;
        Ok(true)
    }

    fn take(&mut self, written: Written, cleaned: bool) {
        if cleaned {
            self.last.clear();
            self.clean_after = self.seq;
        }
        self.run = written.run;
        self.seq = written.seq;
        self.last.extend(written.last);
    }
}

/// What a round has written, until it is committed.
struct Written {
    run: Option<i64>,
    seq: i64,
    /// Rows that the bound leaves room for; without end while it is not reached.
    room: i64,
    last: BTreeMap<String, Last>,
}

impl Written {
    fn record(&mut self, tx: &Transaction<'_>, known: &BTreeMap<String, Last>, record: &Record) -> Result<(), Failed> {
        let last = self.last(tx, known, &record.workload)?;
        let run = self.run(tx)?;
        self.seq += 1;
        let (workload, ordinal) = (record.workload.as_str(), record.ordinal);
        let now = serde_json::to_value(Input { policy: &record.policy, snapshot: &record.snapshot })?;
        let whole = now.to_string();
        let base = last.record.as_ref().filter(|last| last.ordinal + 1 == ordinal && !self.is_due(last));
        let patch = match base {
            Some(base) => {
                delta::between(&serde_json::from_str(&base.input)?, &now).map(|patch| (base, patch.to_string()))
            }
            None => None,
        };
        let (previous, checkpoint, input, state) = match &patch {
            Some((base, patch)) => (base.seal, base.checkpoint, patch, None),
            None => (0, (ordinal, self.seq), &whole, Some(serde_json::to_string(&record.before)?)),
        };
        let seal = Sealed { previous, workload, ordinal, input, state: state.as_deref() }.seal();
        let decision = serde_json::to_string(&record.decision)?;
        let outcome = summary(&record.decision);
        let told = last.record.as_ref().is_none_or(|last| last.outcome != outcome);
        let (verb, reason, from, to) = outcome;
        tx.prepare_cached("INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)")?
            .execute(params![
            self.seq,
            run,
            last.id,
            i64::try_from(ordinal).unwrap_or(i64::MAX),
            record.snapshot.at.0,
            verb.to_string(),
            reason,
            from.0,
            to.0,
            input,
            state.as_deref().map(format::pack),
            told.then(|| format::pack(&decision)),
            Digest::of(&decision).0,
            seal
        ])?;
        let record = Some(LastRecord { ordinal, seal, input: whole, checkpoint, outcome });
        self.last.insert(workload.to_owned(), Last { id: last.id, record });
        Ok(())
    }

    /// Whether a workload's next record is to store the state.
    fn is_due(&self, last: &LastRecord) -> bool {
        let (ordinal, seq) = last.checkpoint;
        last.ordinal + 1 - ordinal >= CHECKPOINT_EVERY || self.seq - seq > self.room / CHECKPOINTS
    }

    fn outcome(
        &mut self,
        tx: &Transaction<'_>,
        known: &BTreeMap<String, Last>,
        (workload, at, outcome): (&str, Timestamp, &Outcome),
    ) -> Result<(), Failed> {
        let last = self.last(tx, known, workload)?;
        self.seq += 1;
        tx.prepare_cached("INSERT INTO outcome VALUES (?1, ?2, ?3, ?4)")?.execute(params![
            self.seq,
            last.id,
            at.0,
            serde_json::to_string(outcome)?
        ])?;
        self.last.insert(workload.to_owned(), last);
        Ok(())
    }

    /// What is known of the workload's last record; its name is stored if this is its first.
    fn last(&self, tx: &Transaction<'_>, known: &BTreeMap<String, Last>, workload: &str) -> rusqlite::Result<Last> {
        if let Some(last) = self.last.get(workload).or_else(|| known.get(workload)) {
            return Ok(last.clone());
        }
        let id = "INSERT INTO workload (name) VALUES (?1) ON CONFLICT (name) DO UPDATE SET name = name RETURNING id";
        let id = tx.prepare_cached(id)?.query_row([workload], |row| row.get(0))?;
        Ok(Last { id, record: None })
    }

    /// This process's run; its first record begins it.
    fn run(&mut self, tx: &Transaction<'_>) -> rusqlite::Result<i64> {
        if let Some(run) = self.run {
            return Ok(run);
        }
        let run =
            tx.query_row("INSERT INTO run (version) VALUES (?1) RETURNING id", [env!("CARGO_PKG_VERSION")], |row| {
                row.get(0)
            })?;
        self.run = Some(run);
        Ok(run)
    }
}

/// What a decision comes down to: the whole of it is stored where this is another than before.
fn summary(decision: &Decision) -> (Verb, &'static str, Replicas, Replicas) {
    (decision.verb, decision.reason.code(), decision.from, decision.to)
}

/// Drops the oldest records until what is left fits; the newest one always stays.
fn trim(tx: &Connection, budget: u64) -> rusqlite::Result<()> {
    while (pragma(tx, "page_count")? - pragma(tx, "freelist_count")?) * file::PAGE > budget {
        let ends = "SELECT (SELECT min(seq) FROM record), (SELECT max(seq) FROM record)";
        let ends = tx.prepare_cached(ends)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (Some(oldest), Some(newest)): (Option<i64>, Option<i64>) = ends else { break };
        if oldest >= newest {
            break;
        }
        let keep = (oldest + TRIM.max((newest - oldest) / TRIM_SHARE)).min(newest);
        tx.prepare_cached("DELETE FROM record WHERE seq < ?1")?.execute([keep])?;
        tx.prepare_cached("DELETE FROM outcome WHERE seq < ?1")?.execute([keep])?;
    }
    Ok(())
}

fn pragma(db: &Connection, name: &str) -> rusqlite::Result<u64> {
    db.prepare_cached(&format!("PRAGMA {name}"))?.query_row([], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Because, Filter, Reader, replay};
    use std::collections::BTreeMap;
    use trimtab_core::policy::{Bounds, Capacity, Method, Objective, Policy};
    use trimtab_core::snapshot::{Absence, Fleet, Reading, Snapshot};
    use trimtab_core::unit::{Ratio, RequestsPerSecond, Seconds};
    use trimtab_core::{State, decide};

    fn record(state: &mut State, ordinal: u64) -> Entry {
        let policy = Policy {
            replicas: Bounds::new(Replicas(1), Replicas(9)).unwrap(),
            objective: Objective { latency: Seconds::whole(1), misses: Ratio::percent(1), window: Objective::WINDOW },
            capacity: Capacity::Declared(RequestsPerSecond::whole(50)),
            protect: Vec::new(),
            stabilization: Seconds::whole(300),
            events: Vec::new(),
            ramp: None,
            method: Method::Priced,
        };
        let fleet = Fleet {
            desired: Replicas(3),
            ready: Replicas(3),
            starting: Replicas(0),
            stuck: Replicas(0),
            startup: None,
            rolling_out: false,
        };
        let snapshot = Snapshot {
            at: Timestamp(i64::try_from(ordinal).unwrap() * 1_000),
            demand: Reading::Missing(Absence::NoSeries),
            capacity: Reading::Missing(Absence::NotConfigured),
            latency: Reading::Missing(Absence::NotConfigured),
            utilization: Reading::Missing(Absence::NotConfigured),
            foretold: Vec::new(),
            protected: BTreeMap::new(),
            fleet,
        };
        let before = Box::new(state.clone());
        let decision = decide(&policy, state, &snapshot);
        Entry::Decided(Box::new(Record {
            workload: "shop/Deployment/web".into(),
            ordinal,
            before,
            policy,
            snapshot,
            decision,
        }))
    }

    #[test]
    fn a_full_disk_costs_the_rounds_that_found_it_full_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.db");
        let mut journal = Journal::open(&path, Bound::mebibytes(8)).unwrap().journal;
        let (mut state, mut ordinal) = (State::default(), 0);
        let mut round = || {
            ordinal += 1;
            [record(&mut state, ordinal - 1)]
        };
        journal.append(&round()).unwrap();
        // SQLite's own limit gives the error that a full disk gives.
        let limit = |journal: &Journal, pages: u64| {
            journal.db.as_ref().unwrap().pragma_update(None, "max_page_count", pages).unwrap();
        };
        let pages = pragma(journal.db.as_ref().unwrap(), "page_count").unwrap();
        limit(&journal, pages + 1);
        let mut written = 1;
        let full = loop {
            match journal.append(&round()) {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(full, AppendError::Full { .. }), "{full}");
        assert!(journal.append(&round()).is_err());
        limit(&journal, 1 << 20);
        for _ in 0..5 {
            journal.append(&round()).unwrap();
        }
        let found = replay(&Reader::open(&path).unwrap(), &Filter::everything()).unwrap();
        assert!(found.is_clean(), "{found}");
        assert_eq!(found.gaps.iter().map(|gap| gap.because).collect::<Vec<_>>(), [Because::Missing(2)]);
        assert_eq!((found.records, found.skipped), (written + 5, 0));
    }
}

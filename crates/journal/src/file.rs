//! The file: opened, locked, told apart from other files, and moved aside where it is damaged.

use crate::format::{self, APPLICATION, FORMAT};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long to wait for a reader that holds the file for a moment.
const BUSY: Duration = Duration::from_secs(1);
/// Journals of newer formats that are kept beside.
const KEPT: u8 = 4;
/// SQLite's page size: its default, which is that of most file systems.
pub(crate) const PAGE: u64 = 4096;

/// The most bytes that a journal takes on the disk, SQLite's log included. One round may exceed it, and a reader that
/// holds the file may make it an eighth more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound(u64);

impl Bound {
    /// So many mebibytes, at least one.
    #[must_use]
    pub const fn mebibytes(count: u64) -> Self {
        Self(if count == 0 { 1 } else { count }.saturating_mul(1024 * 1024))
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The share of the write-ahead log: an eighth, and no more than the 8 MiB that thousands of workloads' states take.
    pub(crate) const fn log(self) -> u64 {
        let eighth = self.0 / 8;
        if eighth < 8 * 1024 * 1024 { eighth } else { 8 * 1024 * 1024 }
    }

    /// What is left for records.
    pub(crate) const fn records(self) -> u64 {
        self.0 - self.log()
    }
}

/// The version of what is stored in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format(pub i64);

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The lock beside it could not be taken.
    #[error("failed to create {}: its directory must exist and be writable", path.display())]
    Lock {
        /// The lock's path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process writes it.
    #[error("another trimtab writes the journal {}: give each its own", path.display())]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// A newer trimtab wrote it.
    #[error("the journal {} has format {} and this trimtab knows up to {FORMAT}: use the trimtab that wrote it, or give another path", path.display(), found.0)]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Its format.
        found: Format,
    },
    /// It is a database, but no journal.
    #[error("{} is an SQLite database of something else: give another path", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// There is no such journal to read.
    #[error("there is no journal {}", path.display())]
    Absent {
        /// The path.
        path: PathBuf,
    },
    /// It is damaged, or a newer trimtab wrote it, and it could not be moved aside.
    #[error("the journal {} cannot be written on, nor be moved aside: move it", path.display())]
    Aside {
        /// The journal.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// SQLite could not open it.
    #[error("failed to open the journal {}", path.display())]
    Open {
        /// The journal.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

/// Whether an error means that what is in the file is damaged, rather than that it cannot be reached.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Takes the lock that keeps a second writer out; it goes with the process, however that ends. A file of its own,
/// because closing any handle of the database would drop SQLite's locks on it.
pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let beside = beside(path, "-lock");
    let file = File::options().create(true).append(true).open(&beside);
    let file = file.map_err(|source| OpenError::Lock { path: beside.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Lock { path: beside, source }),
    }
}

/// Opens the file to write, or begins it.
pub(crate) fn open_to_write(path: &Path, bound: Bound) -> Result<Connection, OpenError> {
    let failed = |source| OpenError::Open { path: path.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.busy_timeout(BUSY).map_err(failed)?;
    let empty: bool = db.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if !empty {
        recognise(&db, path)?;
    }
    let set = |db: &mut Connection| {
        // Kept in the file, so only before its first table: lets it shrink when the bound is lowered.
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        // A commit survives a killed process; a lost power supply takes those since the last checkpoint of the log.
        db.pragma_update(None, "synchronous", "NORMAL")?;
        db.pragma_update(None, "wal_autocheckpoint", bound.log() / 2 / PAGE)?;
        db.pragma_update(None, "journal_size_limit", bound.log())?;
        if empty { format::create(db) } else { db.pragma_update(None, "user_version", FORMAT) }
    };
    set(&mut db).map_err(failed)?;
    Ok(db)
}

/// Opens the file to read. Where nobody writes it and its directory is read-only, it is read as it lies there.
pub(crate) fn open_to_read(path: &Path) -> Result<Connection, OpenError> {
    if !path.exists() {
        return Err(OpenError::Absent { path: path.to_owned() });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(BUSY)?;
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(db)
    };
    let opened = open().or_else(|error: rusqlite::Error| {
        let unreachable = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied)
        );
        let logged = std::fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
        if !unreachable || logged {
            return Err(error);
        }
        Connection::open_with_flags(immutable(path), flags | OpenFlags::SQLITE_OPEN_URI)
    });
    let db = opened.map_err(|source| OpenError::Open { path: path.to_owned(), source })?;
    recognise(&db, path)?;
    Ok(db)
}

/// The URI that tells SQLite that nobody writes the file; the three characters that mean something in one are escaped.
fn immutable(path: &Path) -> String {
    let escaped = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    format!("file:{escaped}?immutable=1")
}

/// Whether the file is a journal, and of a format that is known.
fn recognise(db: &Connection, path: &Path) -> Result<(), OpenError> {
    let pragma = |name| db.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let failed = |source| OpenError::Open { path: path.to_owned(), source };
    if pragma("application_id").map_err(failed)? != APPLICATION {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let found = pragma("user_version").map_err(failed)?;
    if found > FORMAT {
        return Err(OpenError::Newer { path: path.to_owned(), found: Format(found) });
    }
    // The first and the last page of the records and of the index: a file that was cut off fails here.
    let ends = "SELECT (SELECT at FROM record ORDER BY seq LIMIT 1), (SELECT at FROM record ORDER BY seq DESC LIMIT 1),
                       (SELECT max(workload) FROM record WHERE state IS NOT NULL)";
    db.query_row(ends, [], |_| Ok(())).map_err(failed)
}

/// Moves a damaged journal and its log to `.damaged`, in place of one that went there before: the damage of years must
/// not fill the disk.
pub(crate) fn move_aside(path: &Path) -> Result<PathBuf, OpenError> {
    let aside = beside(path, ".damaged");
    move_to(path, &aside)?;
    Ok(aside)
}

/// Moves a journal that a newer trimtab wrote to `.v3`, where 3 is its format, and the next ones to `.v3-2` and so on: nothing of it is damaged, and
/// nothing of it is to be lost. After so many the last one is replaced, since somebody goes back and forth.
pub(crate) fn move_newer_aside(path: &Path, found: Format) -> Result<PathBuf, OpenError> {
    let name = |number: u8| match number {
        1 => beside(path, &format!(".v{}", found.0)),
        more => beside(path, &format!(".v{}-{more}", found.0)),
    };
    let aside = (1..=KEPT).map(name).find(|aside| !aside.exists()).unwrap_or_else(|| name(KEPT));
    move_to(path, &aside)?;
    Ok(aside)
}

fn move_to(path: &Path, aside: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Aside { path: path.to_owned(), source };
    for end in ["-wal", "-shm"] {
        let (from, to) = (beside(path, end), beside(aside, end));
        let moved = if from.exists() { std::fs::rename(from, to) } else { remove_if_there(&to) };
        moved.map_err(failed)?;
    }
    std::fs::rename(path, aside).map_err(failed)
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The path with something appended to its name, as SQLite names the files beside a database.
pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_nobody_can_write_is_read_whatever_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a journal #1?50%.db");
        drop(open_to_write(&path, Bound::mebibytes(1)).unwrap());
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let db = Connection::open_with_flags(immutable(&path), flags).unwrap();
        recognise(&db, &path).unwrap();
    }
}

//! The format: what is in the file, and how a record is sealed.

use crate::record::Digest;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};
use trimtab_core::{Policy, Snapshot};

/// The version of what is stored (`user_version`). A file of a newer one is refused; one of an older is read, and written on in this one.
/// Since 2, states and decisions are packed: as BLOB, where they were TEXT.
pub(crate) const FORMAT: i64 = 2;
/// `trim` in ASCII (`application_id`): tells a journal from somebody else's database.
pub(crate) const APPLICATION: i64 = 0x7472_696d;

/// Records are in the order they were written, whichever workload they are of: writing a round touches one end of the
/// file, and the oldest go page by page. One workload is found by its checkpoints, which are few.
const TABLES: &str = "
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    version TEXT NOT NULL           -- of the trimtab that wrote it
);
CREATE TABLE workload (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE       -- namespace/kind/name
);
CREATE TABLE record (
    seq INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    workload INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,       -- decisions of the workload since its memory began
    at INTEGER NOT NULL,            -- milliseconds since 1970
    verb TEXT NOT NULL,
    reason TEXT NOT NULL,           -- its code
    before INTEGER NOT NULL,        -- replicas
    after INTEGER NOT NULL,
    input TEXT NOT NULL,            -- {policy, snapshot}; where state is NULL, a merge patch to the one before
    state BLOB,                     -- the memory before the decision, in the records that rest on no other
    decision BLOB,                  -- where verb, reason or replicas differ from the record before
    digest BLOB NOT NULL,           -- of the decision
    seal INTEGER NOT NULL           -- of the input, the state and the seal before
);
CREATE INDEX checkpoint ON record (workload, seq, at) WHERE state IS NOT NULL;
CREATE TABLE outcome (
    seq INTEGER PRIMARY KEY,        -- shares its numbers with record
    workload INTEGER NOT NULL,
    at INTEGER NOT NULL,            -- of the decision
    outcome TEXT NOT NULL
);
CREATE INDEX outcome_of ON outcome (workload, at);
CREATE VIEW history AS
    SELECT w.name AS workload, strftime('%Y-%m-%dT%H:%M:%fZ', r.at / 1000.0, 'unixepoch') AS at,
           r.verb, r.reason, r.before, r.after, o.outcome, run.version
    FROM record r JOIN workload w ON w.id = r.workload JOIN run ON run.id = r.run
    LEFT JOIN outcome o ON o.workload = r.workload AND o.at = r.at;
";

/// A JSON text as it is stored: in the zlib format (RFC 1950), a third of its size.
pub(crate) fn pack(text: &str) -> Vec<u8> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    let written = packed.write_all(text.as_bytes()).and_then(|()| packed.finish());
    written.expect("writing to memory does not fail")
}

/// The text of what was packed; what cannot be unpacked is no text that has a seal.
pub(crate) fn unpack(packed: &[u8]) -> String {
    let mut text = String::new();
    match ZlibDecoder::new(packed).read_to_string(&mut text) {
        Ok(_) => text,
        Err(_) => String::from_utf8_lossy(packed).into_owned(),
    }
}

/// Makes the tables in a file that has none. All or nothing.
pub(crate) fn create(db: &mut Connection) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    tx.execute_batch(TABLES)?;
    tx.pragma_update(None, "application_id", APPLICATION)?;
    tx.pragma_update(None, "user_version", FORMAT)?;
    tx.commit()
}

/// What a decision is taken from, but for the state.
#[derive(Serialize)]
pub(crate) struct Input<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) snapshot: &'a Snapshot,
}

/// The same, as it is read.
#[derive(Deserialize)]
pub(crate) struct OwnedInput {
    pub(crate) policy: Policy,
    pub(crate) snapshot: Snapshot,
}

/// What is stored of a record's input and state, to be sealed.
pub(crate) struct Sealed<'a> {
    /// The seal of the record that this one rests on; 0 where it rests on none.
    pub(crate) previous: i64,
    pub(crate) workload: &'a str,
    pub(crate) ordinal: u64,
    pub(crate) input: &'a str,
    pub(crate) state: Option<&'a str>,
}

impl Sealed<'_> {
    /// The first 8 bytes of a SHA-256 over what is stored, byte for byte, and the seal before: a byte that flips in any
    /// record breaks its seal, and those of the patches that rest on it.
    pub(crate) fn seal(&self) -> i64 {
        let mut hash = Sha256::new();
        hash.update(self.previous.to_le_bytes());
        hash.update(self.ordinal.to_le_bytes());
        for text in [self.workload, self.input, self.state.unwrap_or_default()] {
            hash.update(text.as_bytes());
            hash.update([0]);
        }
        let mut first = [0; 8];
        first.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        i64::from_le_bytes(first)
    }
}

impl Digest {
    /// The digest as it is stored.
    pub(crate) fn stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

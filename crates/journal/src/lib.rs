//! The record of every decision, and its replay.
//!
//! [`Journal`] writes, on a thread of the caller's; [`Reader`] reads while it does; [`replay()`] decides everything again
//! and compares bit by bit. The file is SQLite, so that `sqlite3` reads it too: `SELECT * FROM history`.
//!
//! What a record holds (see `format.rs` for the tables):
//! - the policy and the snapshot, whole at first and then as what changed since the record before (RFC 7396, which is
//!   what SQLite's own `json_patch` applies), sealed by a hash that rests on the one before;
//! - a digest of the decision, and the decision itself where its outcome or reason is another one than before;
//! - now and then, and after every gap, the [`State`](trimtab_core::State) before it, from which all decisions that follow
//!   are taken again: that is what [`Reader::explain`] does.
//!
//! Measured (2 shared cores, `cargo bench -p trimtab-journal`; made workloads whose demand never rests, so that every
//! seventh decision is stored): 450 bytes a record, 205 of them the change of the input, which whole takes 610; a round
//! of 1, 100 and 1,000 workloads takes 37 us, 2.3 ms and 26 ms; a moment is explained in 1.5, 10 and 35 ms; 200,000
//! records are decided again in 2.8 s.
//!
//! Each round is one transaction: a process that is killed loses the round it was writing, a machine that loses its power
//! loses those since the last checkpoint of SQLite's log, and neither damages the file. Deliberately absent: a clock
//! (moments come from the snapshots), threads, and any decision of the journal's own.

mod delta;
mod diff;
mod file;
mod format;
mod read;
mod record;
mod replay;
mod thread;
mod write;

pub use diff::{FieldDifference, diff};
pub use file::{Bound, Format, OpenError};
pub use read::{Explained, ReadError, Reader, Records, Stored};
pub use record::{Digest, Entry, Outcome, Record, Refusal};
pub use replay::{Because, Damage, Difference, Differing, Filter, Gap, Replay, replay, replay_watched};
pub use write::{AppendError, Journal, Opened};

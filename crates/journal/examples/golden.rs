//! Writes the golden journal of this format: `cargo run -p trimtab-journal --example golden`.
//!
//! It is replayed by every later version. To be run again only where the change of a decision is meant, or before the
//! first release.

#[path = "../tests/made/mod.rs"]
mod made;

use made::{World, moment};
use std::error::Error;
use std::path::Path;
use trimtab_journal::{Bound, Entry, Journal, Outcome, Refusal};

fn main() -> Result<(), Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v2.db");
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    let mut journal = Journal::open(&path, Bound::mebibytes(8))?.journal;
    let mut world = World::of(2, 0);
    for round in 0..140 {
        let mut entries = world.round();
        if round == 30 {
            continue; // a round that was lost
        }
        if round == 20 {
            let workload = "shop/Deployment/web-0".to_owned();
            let outcome = Outcome::Refused(Refusal::Admission("too large a step".into()));
            entries.push(Entry::Ended { workload, at: moment(world.round - 1), outcome });
        }
        journal.append(&entries)?;
    }
    drop(journal);
    let mut journal = Journal::open(&path, Bound::mebibytes(8))?.journal;
    let mut world = World::of(2, world.round);
    for _ in 0..20 {
        journal.append(&world.round())?;
    }
    drop(journal);
    std::fs::remove_file(path.with_extension("db-lock"))?;
    Ok(())
}

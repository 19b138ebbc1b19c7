//! A writer that is killed in the middle loses the round it was writing at most, and never the file.
//!
//! Run as `crash append PATH`, this is the writer, which never ends by itself and says each round that it has recorded.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test fails loudly")]

mod made;

use made::{TICK, World, moment};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use trimtab_core::unit::Timestamp;
use trimtab_journal::{Bound, Filter, Journal, Reader, replay};

/// Times that the writer is killed.
const KILLS: u64 = 10;
/// Small, so that the oldest records go and the log is folded in all the time.
const BOUND: Bound = Bound::mebibytes(1);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, "append", path] => append(Path::new(path)),
        // What test runners ask before they run anything.
        [_, .., "--list"] | [_, "--list", ..] => println!("a_killed_writer_loses_no_round_that_it_has_recorded: test"),
        _ => a_killed_writer_loses_no_round_that_it_has_recorded(),
    }
}

fn append(path: &Path) {
    let opened = Journal::open(path, BOUND).expect("the file opens after every kill");
    assert_eq!(opened.note, None);
    let (mut journal, mut world) = (opened.journal, World::of(20, 0));
    let mut out = std::io::stdout();
    loop {
        journal.append(&world.round()).unwrap();
        writeln!(out, "{}", moment(world.round - 1).0).unwrap();
    }
}

fn a_killed_writer_loses_no_round_that_it_has_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    for kill in 0..KILLS {
        let mut writer = Command::new(std::env::current_exe().unwrap());
        let mut writer = writer.arg("append").arg(&path).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(writer.stdout.take().unwrap()).lines().map(Result::unwrap);
        // Killed in another place each time: while it says so many rounds, it is already writing the next.
        let rounds = usize::try_from(3 + 11 * kill).unwrap();
        let mut last = said.nth(rounds).expect("the writer writes until it is killed");
        writer.kill().unwrap();
        writer.wait().unwrap();
        said.for_each(|round| last = round);

        let reader = Reader::open(&path).unwrap();
        let found = replay(&reader, &Filter::everything()).unwrap();
        assert!(found.is_clean(), "after kill {kill}: {found}");
        let recorded: i64 = last.parse().unwrap();
        for workload in reader.workloads().unwrap() {
            let newest = reader.at(&workload, Timestamp(i64::MAX)).unwrap().unwrap();
            let more = newest.at.0 - recorded;
            assert!(more == 0 || more == TICK, "after kill {kill}, {workload}: {more} ms beyond the last round said");
        }
    }
    println!("test a_killed_writer_loses_no_round_that_it_has_recorded ... ok");
}

//! What a round costs: `cargo bench -p trimtab-journal`. Before the benches it prints the bytes that a record takes.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench fails loudly and prints")]

#[path = "../tests/made/mod.rs"]
mod made;

use made::{World, moment};
use trimtab_journal::{Bound, Filter, Journal, Reader, replay};

fn main() {
    sizes();
    divan::main();
}

fn sizes() {
    for workloads in [1, 100, 1_000] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.db");
        let (mut journal, mut world) =
            (Journal::open(&path, Bound::mebibytes(1_024)).unwrap().journal, World::of(workloads, 0));
        let rounds = if workloads == 1 { 20_000 } else { 200_000 / workloads };
        for _ in 0..rounds {
            journal.append(&world.round()).unwrap();
        }
        drop(journal);
        let bytes = std::fs::metadata(&path).unwrap().len();
        println!("{workloads} workloads: {} bytes a record over {rounds} rounds", bytes / (rounds * workloads));
    }
}

/// One round, with the bound reached, as it is in a journal that has run for a while.
#[divan::bench(args = [1, 100, 1_000])]
fn append(bencher: divan::Bencher<'_, '_>, workloads: u64) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let mut journal = Journal::open(&path, Bound::mebibytes(64)).unwrap().journal;
    let mut world = World::of(workloads, 0);
    let full = || std::fs::metadata(&path).unwrap().len() > 55 * 1024 * 1024;
    while !full() {
        let rounds: Vec<_> = (0..=1_000 / workloads).flat_map(|_| world.round()).collect();
        journal.append(&rounds).unwrap();
    }
    bencher.with_inputs(|| world.round()).bench_local_values(|round| journal.append(&round).unwrap());
}

/// A moment in the middle of 200,000 records, explained.
#[divan::bench(args = [1, 100, 1_000])]
fn explain(bencher: divan::Bencher<'_, '_>, workloads: u64) {
    let (_directory, reader) = written(workloads);
    let middle = i64::try_from(100_000 / workloads).unwrap();
    let at = moment(middle);
    bencher.bench_local(|| reader.explain("shop/Deployment/web-0", at).unwrap().unwrap());
}

/// All of 200,000 records decided again.
#[divan::bench(args = [100], sample_count = 3, sample_size = 1)]
fn replay_200_000(bencher: divan::Bencher<'_, '_>, workloads: u64) {
    let (_directory, reader) = written(workloads);
    bencher.bench_local(|| assert!(replay(&reader, &Filter::everything()).unwrap().is_clean()));
}

fn written(workloads: u64) -> (tempfile::TempDir, Reader) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let mut journal = Journal::open(&path, Bound::mebibytes(1_024)).unwrap().journal;
    let mut world = World::of(workloads, 0);
    for _ in 0..200 {
        let rounds: Vec<_> = (0..1_000 / workloads).flat_map(|_| world.round()).collect();
        journal.append(&rounds).unwrap();
    }
    (directory, Reader::open(&path).unwrap())
}

//! What is written is read back and decides again the same, whatever happens to the writer and the file.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test fails loudly")]

mod made;

use made::{TICK, World, moment};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use trimtab_core::State;
use trimtab_core::unit::Timestamp;
use trimtab_journal::{
    AppendError, Because, Bound, Differing, Entry, Filter, Journal, OpenError, Opened, Outcome, Reader, Record,
    Refusal, Replay, Stored, replay,
};

const BOUND: Bound = Bound::mebibytes(64);
const WEB: &str = "shop/Deployment/web-0";

fn open(path: &Path) -> Journal {
    let opened = Journal::open(path, BOUND).unwrap();
    assert_eq!(opened.note, None);
    opened.journal
}

fn everything(path: &Path) -> Replay {
    replay(&Reader::open(path).unwrap(), &Filter::everything()).unwrap()
}

fn records(path: &Path, workload: &str) -> Vec<Stored> {
    let reader = Reader::open(path).unwrap();
    reader.records(workload, Timestamp(i64::MIN)..=Timestamp(i64::MAX)).unwrap().map(Result::unwrap).collect()
}

fn decided(entries: &[Entry]) -> impl Iterator<Item = &Record> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Decided(record) => Some(&**record),
        Entry::Ended { .. } => None,
    })
}

/// A directory, and a journal in it of so many rounds of so many workloads.
fn written(workloads: u64, rounds: u64) -> (tempfile::TempDir, PathBuf, Vec<Record>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let (mut journal, mut world, mut kept) = (open(&path), World::of(workloads, 0), Vec::new());
    for _ in 0..rounds {
        let entries = world.round();
        journal.append(&entries).unwrap();
        kept.extend(decided(&entries).cloned());
    }
    (directory, path, kept)
}

/// What is stored is what was recorded.
fn assert_same(stored: &Stored, record: &Record) {
    assert_eq!((&stored.workload, stored.ordinal), (&record.workload, record.ordinal));
    assert_eq!((&stored.policy, &stored.snapshot), (&record.policy, &record.snapshot));
    assert!(stored.before.as_ref().is_none_or(|before| *before == *record.before));
    assert_eq!((stored.from, stored.to), (record.decision.from, record.decision.to));
    assert!(stored.decision.as_ref().is_none_or(|decision| *decision == record.decision));
}

#[test]
fn what_is_written_is_read_back_and_decides_again_the_same() {
    let (_directory, path, kept) = written(3, 300);
    assert_eq!(Reader::open(&path).unwrap().workloads().unwrap().len(), 3);
    let ours: Vec<&Record> = kept.iter().filter(|record| record.workload == WEB).collect();
    let stored = records(&path, WEB);
    assert_eq!(stored.len(), 300);
    stored.iter().zip(ours).for_each(|(stored, record)| assert_same(stored, record));
    let whole = stored.iter().filter(|stored| stored.decision.is_some()).count();
    assert!((2..150).contains(&whole), "decisions are stored where they change: {whole} of 300");
    let replay = everything(&path);
    assert!(replay.is_clean(), "{replay}");
    assert_eq!((replay.records, replay.skipped, replay.gaps.len()), (900, 0, 0));
}

#[test]
fn every_moment_is_explained_by_the_decision_that_was_taken() {
    let (_directory, path, kept) = written(2, 200);
    let reader = Reader::open(&path).unwrap();
    for record in kept.iter().filter(|record| record.workload == WEB) {
        let at = Timestamp(record.snapshot.at.0 + TICK - 1);
        let explained = reader.explain(WEB, at).unwrap().unwrap();
        assert_eq!((&explained.decision, &explained.snapshot), (&record.decision, &record.snapshot));
        assert!(explained.agrees);
        assert_eq!(reader.at(WEB, at).unwrap().unwrap().at, record.snapshot.at);
    }
    assert_eq!(reader.explain(WEB, Timestamp(moment(0).0 - 1)).unwrap(), None);
    assert_eq!(reader.explain("shop/Deployment/nobody", Timestamp(i64::MAX)).unwrap(), None);
    let newest = reader.explain(WEB, Timestamp(i64::MAX)).unwrap().unwrap();
    assert_eq!(newest.snapshot.at, moment(199));
}

#[test]
fn a_range_is_read_and_replayed_alone() {
    let (_directory, path, _) = written(2, 300);
    let range = moment(150)..=moment(159);
    let reader = Reader::open(&path).unwrap();
    let moments: Vec<i64> = reader.records(WEB, range.clone()).unwrap().map(|stored| stored.unwrap().at.0).collect();
    assert_eq!(moments, (150..160).map(|round| moment(round).0).collect::<Vec<_>>());
    let one = replay(&reader, &Filter { workload: Some(WEB.into()), range: range.clone() }).unwrap();
    let both = replay(&reader, &Filter { workload: None, range }).unwrap();
    assert_eq!((one.records, both.records, both.is_clean()), (10, 20, true));
    let mut come = Vec::new();
    let watched =
        trimtab_journal::replay_watched(&reader, &Filter::everything(), |done, all| come.push((done, all))).unwrap();
    assert!(watched.is_clean());
    assert_eq!(come, (1..=600).map(|done| (done, 600)).collect::<Vec<_>>(), "how far it has come");
    let nobody = Filter { workload: Some("shop/Deployment/nobody".into()), ..Filter::everything() };
    assert_eq!(replay(&reader, &nobody).unwrap().records, 0);
}

#[test]
fn an_outcome_is_kept_with_its_decision() {
    let (_directory, path, _) = written(1, 5);
    let mut journal = open(&path);
    let outcome = Outcome::Refused(Refusal::Forbidden("no".into()));
    let at = moment(3);
    journal.append(&[Entry::Ended { workload: WEB.into(), at, outcome: outcome.clone() }]).unwrap();
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.explain(WEB, at).unwrap().unwrap().outcome, Some(outcome));
    assert_eq!(reader.explain(WEB, moment(4)).unwrap().unwrap().outcome, None);
}

#[test]
fn a_restart_and_a_lost_round_are_gaps_and_no_differences() {
    let (_directory, path, _) = written(0, 0);
    let (mut journal, mut world) = (open(&path), World::of(1, 0));
    for round in 0..200 {
        let entries = world.round();
        if !(20..23).contains(&round) {
            journal.append(&entries).unwrap();
        }
    }
    drop(journal);
    let (mut journal, mut world) = (open(&path), World::of(1, world.round));
    journal.append(&world.round()).unwrap();
    let replay = everything(&path);
    assert!(replay.is_clean(), "{replay}");
    let because: Vec<Because> = replay.gaps.iter().map(|gap| gap.because).collect();
    assert_eq!(because, [Because::Missing(3), Because::Restart]);
    assert_eq!((replay.records, replay.skipped), (198, 0), "the memory is stored after every gap");
    let explained = Reader::open(&path).unwrap().explain(WEB, moment(40)).unwrap().unwrap();
    assert!(explained.agrees);
}

#[test]
fn another_decision_is_a_difference_that_names_the_fields() {
    let (_directory, path, kept) = written(0, 0);
    drop(kept);
    let (mut journal, mut world) = (open(&path), World::of(1, 0));
    let mut entries: Vec<Entry> = (0..50).flat_map(|_| world.round()).collect();
    let Entry::Decided(record) = &mut entries[49] else { panic!("no decision") };
    record.decision.to = record.decision.to.plus(3);
    journal.append(&entries).unwrap();
    let replay = everything(&path);
    assert_eq!(replay.differences.len(), 1, "{replay}");
    let Differing::Decision { fields, stored, .. } = &replay.differences[0].what else { panic!("{replay}") };
    assert!(stored.is_some());
    assert_eq!(fields.iter().map(|field| field.field.as_str()).collect::<Vec<_>>(), ["to"]);
    assert!(replay.to_string().contains("to: recorded"), "{replay}");
    let explained = Reader::open(&path).unwrap().explain(WEB, Timestamp(i64::MAX)).unwrap().unwrap();
    assert!(!explained.agrees);
}

#[test]
fn a_memory_that_does_not_follow_from_the_records_is_a_difference() {
    let (_directory, path, _) = written(0, 0);
    let (mut journal, mut world) = (open(&path), World::of(1, 0));
    let mut entries: Vec<Entry> = (0..=128).flat_map(|_| world.round()).collect();
    let Some(Entry::Decided(record)) = entries.last_mut() else { panic!("no decision") };
    *record.before = State::default();
    journal.append(&entries).unwrap();
    let replay = everything(&path);
    assert!(matches!(replay.differences[0].what, Differing::Memory(_)), "{replay}");
    assert!(replay.to_string().contains("looked"), "{replay}");
}

#[test]
fn the_file_stays_within_its_bound_and_the_oldest_go_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let bound = Bound::mebibytes(1);
    let (mut journal, mut world) = (Journal::open(&path, bound).unwrap().journal, World::of(5, 0));
    let size = |end: &str| std::fs::metadata(format!("{}{end}", path.display())).map_or(0, |file| file.len());
    let mut largest = 0;
    for _ in 0..1_500 {
        journal.append(&world.round()).unwrap();
        largest = largest.max(size("") + size("-wal"));
    }
    assert!(largest <= bound.bytes() + 64 * 1024, "{largest} bytes: the bound and a round");
    assert!(largest >= bound.bytes() / 2, "{largest} bytes: the bound is used");
    let replay = everything(&path);
    assert!(replay.is_clean() && replay.records > 1_000, "{replay}");
    let stored = records(&path, WEB);
    assert!(stored[0].at > moment(0) && stored[0].before.is_some());
    assert_eq!(stored.last().unwrap().at, moment(world.round - 1));
    let read = i64::try_from(stored.len()).unwrap() - 1;
    assert_eq!(stored[0].at, moment(world.round - 1 - read), "what is left has no holes");

    drop(journal);
    let (smaller, larger) = (Bound::mebibytes(1), size(""));
    assert!(larger <= smaller.bytes());
}

#[test]
fn a_bound_that_was_lowered_gives_the_space_back() {
    let (_directory, path, _) = written(20, 300);
    let size = || std::fs::metadata(&path).unwrap().len();
    let before = size();
    let bound = Bound::mebibytes(1);
    assert!(before > 2 * bound.bytes(), "{before}");
    drop(Journal::open(&path, bound).unwrap());
    assert!(size() <= bound.bytes(), "{}", size());
    let replay = everything(&path);
    assert!(replay.is_clean() && replay.records > 500, "{replay}");
}

#[test]
fn workloads_that_are_gone_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let mut journal = Journal::open(&path, Bound::mebibytes(1)).unwrap().journal;
    journal.append(&World::of(50, 0).round()).unwrap();
    let mut world = World::of(4, 0);
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.workloads().unwrap().len(), 50);
    for _ in 0..1_500 {
        journal.append(&world.round()).unwrap();
    }
    assert_eq!(reader.workloads().unwrap().len(), 4);
    assert!(everything(&path).is_clean());
}

#[test]
fn a_damaged_file_is_moved_aside_and_named() {
    let (_directory, path, _) = written(2, 100);
    let intact = std::fs::read(&path).unwrap();
    let cut_off = intact[..intact.len() / 2].to_vec();
    let text = "this is no database, though it is longer than the header of one\n".repeat(9).into_bytes();
    let mut headless = intact.clone();
    headless[..4096].fill(0xa5);
    for damaged in [cut_off, text, headless] {
        std::fs::write(&path, damaged).unwrap();
        let Opened { mut journal, note } = Journal::open(&path, BOUND).unwrap();
        let note = note.expect("a note");
        assert!(note.contains("journal.db.damaged"), "{note}");
        assert!(path.with_extension("db.damaged").exists());
        journal.append(&World::of(1, 0).round()).unwrap();
        assert_eq!(everything(&path).records, 1);
    }
}

#[test]
fn damage_that_is_met_while_writing_begins_a_new_file() {
    let (_directory, path, _) = written(20, 300);
    let bound = Bound::mebibytes(2);
    drop(Journal::open(&path, bound).unwrap());
    damage_the_oldest(&path);
    let mut world = World::of(20, 1_000);
    // The oldest records are met when they are to go.
    let Opened { mut journal, note } = Journal::open(&path, bound).unwrap();
    assert_eq!(note, None, "the newest are intact");
    let met = (0..300).find_map(|_| journal.append(&world.round()).err()).expect("the damage is met");
    let AppendError::Damaged { aside, .. } = met else { panic!("{met}") };
    assert!(aside.exists());
    journal.append(&world.round()).unwrap();
    assert!(everything(&path).is_clean());
}

#[test]
fn damage_that_is_met_while_the_bound_is_lowered_begins_a_new_file() {
    let (_directory, path, _) = written(20, 300);
    damage_the_oldest(&path);
    let Opened { mut journal, note } = Journal::open(&path, Bound::mebibytes(1)).unwrap();
    assert!(note.is_some());
    journal.append(&World::of(1, 0).round()).unwrap();
    assert_eq!(everything(&path).records, 1);
}

/// Overwrites what lies behind the first pages.
fn damage_the_oldest(path: &Path) {
    let mut file = std::fs::read(path).unwrap();
    let (from, to) = (file.len() / 10, file.len() / 2);
    file[from..to].fill(0xa5);
    std::fs::write(path, file).unwrap();
}

#[test]
fn a_journal_that_somebody_removes_is_begun_anew() {
    let (_directory, path, _) = written(0, 0);
    let (mut journal, mut world) = (open(&path), World::of(1, 0));
    journal.append(&world.round()).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(journal.append(&world.round()), Err(AppendError::Removed { .. })));
    journal.append(&world.round()).unwrap();
    assert_eq!(records(&path, WEB).len(), 1);
}

#[test]
fn a_volume_that_goes_and_comes_back_is_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let volume = directory.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    let path = volume.join("journal.db");
    let (mut journal, mut world) = (open(&path), World::of(1, 0));
    journal.append(&world.round()).unwrap();
    std::fs::remove_dir_all(&volume).unwrap();
    for _ in 0..2 {
        assert!(matches!(journal.append(&world.round()), Err(AppendError::Anew(_))));
    }
    std::fs::create_dir(&volume).unwrap();
    journal.append(&world.round()).unwrap();
    assert_eq!(everything(&path).records, 1);
}

#[test]
fn what_is_no_journal_of_ours_is_refused_and_left_alone() {
    let (_directory, path, _) = written(1, 3);
    let journal = open(&path);
    assert!(matches!(Journal::open(&path, BOUND), Err(OpenError::InUse { .. })));
    drop(journal);
    let alter = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    alter("PRAGMA application_id = 7");
    assert!(matches!(Journal::open(&path, BOUND), Err(OpenError::Foreign { .. })));
    assert!(matches!(Reader::open(&path.with_extension("none")), Err(OpenError::Absent { .. })));
    let nowhere = path.with_file_name("no/such/directory.db");
    assert!(Journal::open(&nowhere, BOUND).unwrap_err().to_string().contains("directory must exist"));
}

#[test]
fn a_journal_of_a_newer_format_is_kept_beside_and_nothing_of_it_is_lost() {
    let (_directory, path, _) = written(1, 3);
    let newer =
        |path: &Path| rusqlite::Connection::open(path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let older =
        |path: &Path| rusqlite::Connection::open(path).unwrap().execute_batch("PRAGMA user_version = 2").unwrap();
    newer(&path);
    let refused = Reader::open(&path).unwrap_err();
    assert!(
        refused.to_string().contains("has format 99") && refused.to_string().contains("use the trimtab that wrote it")
    );
    // Rolled back, and forth, and back.
    for (aside, records) in [("journal.db.v99", 3), ("journal.db.v99-2", 5)] {
        let opened = Journal::open(&path, BOUND).unwrap();
        let note = opened.note.unwrap();
        assert!(note.contains(aside), "{note}");
        let (mut journal, mut world) = (opened.journal, World::of(1, 100));
        for _ in 0..5 {
            journal.append(&world.round()).unwrap();
        }
        drop(journal);
        assert_eq!(everything(&path).records, 5);
        let aside = path.with_file_name(aside);
        older(&aside);
        assert_eq!(everything(&aside).records, records, "as the trimtab that wrote it reads it");
        newer(&path);
    }
}

/// Begun by one version, written on by the first one whose format it is, as after a rollback: both were real builds (014322d, 207fbc9).
#[test]
fn a_journal_that_an_older_version_wrote_on_is_read_and_written_on() {
    let (_directory, path) = golden("v2-rolled-back.db");
    let both = everything(&path);
    assert_eq!((both.damages.len(), both.records, both.gaps.len()), (0, 2 * (30 + 109 + 20 + 20), 6), "{both}");
    let reader = Reader::open(&path).unwrap();
    let kept = reader.records(WEB, moment(160)..=moment(179)).unwrap();
    assert_eq!(kept.map(Result::unwrap).count(), 20, "what the older one wrote is understood");
    let mut journal = open(&path);
    let mut world = World::of(2, 180);
    for _ in 0..20 {
        journal.append(&world.round()).unwrap();
    }
    let after = everything(&path);
    assert_eq!((after.damages.len(), after.records), (0, both.records + 40), "{after}");
    assert_eq!(
        (after.differences.len(), after.more),
        (both.differences.len(), both.more),
        "what is new replays to the bit"
    );
}

#[test]
fn a_reader_sees_what_is_written_while_it_is_open() {
    let (_directory, path, _) = written(1, 3);
    let reader = Reader::open(&path).unwrap();
    let mut journal = open(&path);
    let mut world = World::of(1, 0);
    let mut read = reader.records(WEB, Timestamp(i64::MIN)..=Timestamp(i64::MAX)).unwrap();
    assert!(read.next().unwrap().is_ok());
    journal.append(&world.round()).unwrap();
    assert_eq!(read.count(), 2, "a page is read at once");
    assert_eq!(everything(&path).gaps.len(), 1);
}

#[test]
fn a_reader_that_holds_the_file_stops_the_writer_before_the_disk_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let bound = Bound::mebibytes(1);
    let (mut journal, mut world) = (Journal::open(&path, bound).unwrap().journal, World::of(100, 0));
    journal.append(&world.round()).unwrap();
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM record").unwrap();
    let held = (0..100).find_map(|_| journal.append(&world.round()).err()).expect("an error before the disk is full");
    assert!(matches!(held, AppendError::Held { .. }), "{held}");
    let size = |end: &str| std::fs::metadata(format!("{}{end}", path.display())).unwrap().len();
    assert!(size("") + size("-wal") < bound.bytes() + bound.bytes() / 8);
    reader.execute_batch("COMMIT").unwrap();
    journal.append(&world.round()).unwrap();
    let replay = everything(&path);
    assert!(replay.is_clean() && replay.gaps.len() == 100, "{replay}");
}

#[test]
fn a_clock_that_is_set_back_confuses_nobody() {
    let (_directory, path, _) = written(0, 0);
    let (mut journal, mut world) = (open(&path), World::of(1, 1_000));
    for _ in 0..20 {
        journal.append(&world.round()).unwrap();
    }
    world.round = 500;
    for _ in 0..20 {
        journal.append(&world.round()).unwrap();
    }
    let replay = everything(&path);
    assert!(replay.is_clean() && replay.records == 40 && replay.gaps.is_empty(), "{replay}");
    let reader = Reader::open(&path).unwrap();
    let newest = reader.explain(WEB, Timestamp(i64::MAX)).unwrap().unwrap();
    assert_eq!(newest.snapshot.at, moment(519), "the newest is the one that was written last");
}

#[test]
fn the_history_is_read_with_plain_sql() {
    let (_directory, path, _) = written(2, 10);
    let db = rusqlite::Connection::open(&path).unwrap();
    let first = "SELECT workload || ' ' || at || ' ' || verb || ' ' || reason || ' ' || before || ' ' || after FROM history LIMIT 1";
    let first: String = db.query_row(first, [], |row| row.get(0)).unwrap();
    assert_eq!(first, "shop/Deployment/web-0 2023-11-14T22:13:20.000Z Hold TT-R11 4 4");
}

/// A directory, and a golden journal in it.
fn golden(name: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name), &path).unwrap();
    (directory, path)
}

#[test]
fn the_golden_journal_replays_without_a_difference() {
    let (_directory, path) = golden("v2.db");
    let replay = everything(&path);
    assert!(replay.is_clean(), "{replay}");
    assert_eq!((replay.records, replay.skipped, replay.gaps.len()), (2 * (30 + 109 + 20), 0, 4), "{replay}");
    let refused = Reader::open(&path).unwrap().explain(WEB, moment(20)).unwrap().unwrap();
    assert_eq!(refused.outcome, Some(Outcome::Refused(Refusal::Admission("too large a step".into()))));
}

/// Written by the first core, whose states and texts were others: all of it is understood, and written on.
#[test]
fn a_journal_of_the_format_before_is_read_and_written_on() {
    let (_directory, path) = golden("v1.db");
    let old = everything(&path);
    assert_eq!((old.damages.len(), old.records, old.skipped, old.gaps.len()), (0, 2 * (30 + 109 + 20), 0, 4), "{old}");
    assert!(!old.differences.is_empty(), "it decides otherwise now, and says so");
    let mut journal = open(&path);
    let mut world = World::of(2, 160);
    for _ in 0..20 {
        journal.append(&world.round()).unwrap();
    }
    let both = everything(&path);
    assert_eq!((both.damages.len(), both.records), (0, old.records + 40), "{both}");
    assert_eq!(
        (both.differences.len(), both.more),
        (old.differences.len(), old.more),
        "what is new replays to the bit"
    );
    let version: i64 =
        rusqlite::Connection::open(&path).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 2, "a trimtab that does not know the new texts refuses it by name");
}

/// What befalls the writer between two rounds.
#[derive(Clone, Copy, Debug)]
enum Event {
    Round,
    Lost,
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![20 => Just(Event::Round), 1 => Just(Event::Lost), 1 => Just(Event::Restart)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_befalls_the_writer_all_that_it_wrote_is_read_back(
        workloads in 1_u64..4,
        events in prop::collection::vec(event(), 1..200),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.db");
        let (mut journal, mut world, mut kept) = (open(&path), World::of(workloads, 0), Vec::new());
        for event in events {
            match event {
                Event::Round => {
                    let entries = world.round();
                    journal.append(&entries).unwrap();
                    kept.extend(decided(&entries).cloned());
                }
                Event::Lost => drop(world.round()),
                Event::Restart => {
                    drop(journal);
                    journal = open(&path);
                    world = World::of(workloads, world.round);
                }
            }
        }
        for number in 0..workloads {
            let name = format!("shop/Deployment/web-{number}");
            let stored = records(&path, &name);
            let kept: Vec<&Record> = kept.iter().filter(|record| record.workload == name).collect();
            prop_assert_eq!(stored.len(), kept.len());
            stored.iter().zip(&kept).for_each(|(stored, record)| assert_same(stored, record));
        }
        let replay = everything(&path);
        prop_assert!(replay.is_clean(), "{}", replay);
        prop_assert_eq!((replay.records, replay.skipped), (kept.len() as u64, 0));
    }

    #[test]
    fn a_byte_that_flips_in_a_record_is_found(
        column in prop::sample::select(vec!["input", "state", "decision", "digest"]),
        place in 0.0..1.0,
        bit in 0_u8..8,
    ) {
        let (_directory, path) = copied();
        let before = [records(&path, WEB), records(&path, "shop/Deployment/web-1")];
        flip_stored(&path, column, place, bit);
        let found = Reader::open(&path).map_err(|error| error.to_string())
            .and_then(|reader| replay(&reader, &Filter::everything()).map_err(|error| error.to_string()));
        let is_found = found.as_ref().is_ok_and(|replay| !replay.is_clean());
        // The last bits of a packed text may mean nothing.
        let is_nothing = || [records(&path, WEB), records(&path, "shop/Deployment/web-1")] == before;
        prop_assert!(is_found || is_nothing(), "{:?}", found.map(|replay| replay.to_string()));
    }

    #[test]
    fn a_byte_that_flips_anywhere_in_the_file_never_panics(place in 0.0..1.0, bit in 0_u8..8) {
        let (_directory, path) = copied();
        let mut file = std::fs::read(&path).unwrap();
        flip(&mut file, place, bit);
        std::fs::write(&path, file).unwrap();
        if let Ok(reader) = Reader::open(&path) {
            let _ = replay(&reader, &Filter::everything());
            let _ = reader.explain(WEB, Timestamp(i64::MAX));
        }
        if let Ok(mut opened) = Journal::open(&path, BOUND) {
            let _ = opened.journal.append(&World::of(2, 0).round());
        }
    }
}

/// A journal of 140 rounds of two workloads, made once.
fn copied() -> (tempfile::TempDir, PathBuf) {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let (_directory, path, _) = written(2, 140);
        std::fs::read(path).unwrap()
    });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    std::fs::write(&path, file).unwrap();
    (directory, path)
}

fn flip(bytes: &mut [u8], place: f64, bit: u8) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a file")]
    let at = (place * bytes.len() as f64) as usize;
    bytes[at] ^= 1 << bit;
}

/// Flips a bit of a column, somewhere in the column's bytes of all records.
fn flip_stored(path: &Path, column: &str, place: f64, bit: u8) {
    let db = rusqlite::Connection::open(path).unwrap();
    let sql = format!("SELECT seq, CAST({column} AS BLOB) FROM record WHERE {column} IS NOT NULL ORDER BY seq");
    let mut rows = db.prepare(&sql).unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let rows: Vec<(i64, Vec<u8>)> = rows.map(Result::unwrap).collect();
    let mut all: Vec<u8> = rows.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    flip(&mut all, place, bit);
    let mut rest = all.as_slice();
    for (seq, bytes) in rows {
        let (now, after) = rest.split_at(bytes.len());
        rest = after;
        if now != bytes {
            let kind = if column == "input" { "TEXT" } else { "BLOB" };
            db.execute(&format!("UPDATE record SET {column} = CAST(?1 AS {kind}) WHERE seq = ?2"), (now, seq)).unwrap();
        }
    }
}

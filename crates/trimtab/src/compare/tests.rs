use super::judge::{self, Misses};
use super::*;
use trimtab_core::policy::Objective;
use trimtab_core::queue::Curve;
use trimtab_core::unit::Ratio;

const START: i64 = 1_795_500_000_000;
const LIMIT: Seconds = Seconds::milliseconds(200);

pub(crate) fn policy(objective: Objective) -> Policy {
    serde_json::from_value(serde_json::json!({
        "replicas": {"min": 2, "max": 40}, "objective": objective, "capacity": {"declared": 50.0},
        "protect": [], "stabilization": 300.0,
    }))
    .unwrap()
}

/// A journal of a workload that `policy` decides: at each moment the same demand, served by as many replicas. The last moment's.
pub(crate) fn journal(
    file: &std::path::Path,
    (workload, policy): (&str, &Policy),
    moments: impl Iterator<Item = Timestamp>,
    (rate, count): (u32, u32),
) -> Timestamp {
    use trimtab_core::snapshot::{Absence, Coverage, Fleet, Reading, Sample, Snapshot};
    use trimtab_core::{State, decide};
    use trimtab_journal::{Bound, Entry, Journal, Record};
    let mut journal = Journal::open(file, Bound::mebibytes(64)).unwrap().journal;
    let (mut state, mut last) = (State::default(), Timestamp(0));
    for (ordinal, at) in (0..).zip(moments) {
        let value = RequestsPerSecond::whole(rate);
        let demand = Reading::Fresh(Sample { value, age: Some(Seconds::whole(3)), coverage: Coverage::Unmeasured });
        let count = Replicas(count);
        let snapshot = Snapshot {
            at,
            demand,
            capacity: Reading::Missing(Absence::NotConfigured),
            latency: Reading::Missing(Absence::NotConfigured),
            utilization: Reading::Missing(Absence::NotConfigured),
            foretold: Vec::new(),
            protected: std::collections::BTreeMap::new(),
            fleet: Fleet {
                desired: count,
                ready: count,
                starting: Replicas(0),
                stuck: Replicas(0),
                startup: Some(Seconds::whole(30)),
                rolling_out: false,
            },
        };
        let before = Box::new(state.clone());
        let decision = decide(policy, &mut state, &snapshot);
        let record = Record { workload: workload.into(), ordinal, before, policy: policy.clone(), snapshot, decision };
        journal.append(&[Entry::Decided(Box::new(record))]).unwrap();
        last = at;
    }
    last
}

fn promised() -> Objective {
    Objective { latency: LIMIT, misses: Ratio::permille(5), window: Objective::WINDOW }
}

/// A course of so many hours: demand in waves of two hours between 100 and 500, and a size that follows it a quarter of an hour late.
/// Latencies are those of replicas that share a queue by `sharing`, or none.
fn course(hours: i64, objective: Objective, sharing: Option<Ratio>) -> Course {
    let demand = |at: i64| {
        let phase = std::f64::consts::TAU * (at - START) as f64 / 7_200_000.0;
        rate(300.0 - 200.0 * phase.cos())
    };
    let moments = (0..hours * 240).map(|step| {
        let at = START + step * 15_000;
        let ready = Erlangs::new(demand(at - 900_000).get() / 45.0).unwrap().ceil();
        let curve = sharing.and_then(|sharing| Curve::new(RequestsPerSecond::whole(50), LIMIT, sharing));
        Moment {
            at: Timestamp(at),
            demand: Some(demand(at)),
            capacity: None,
            latency: curve.map(|curve| curve.latency(erlangs(f64::from(ready.0)), demand(at))),
            wanted: ready,
            ready,
        }
    });
    Course {
        workload: "shop/deployment/web".into(),
        policy: policy(objective),
        moments: moments.collect(),
        startup: Seconds::whole(30),
        startup_measured: true,
        remarks: Vec::new(),
    }
}

#[test]
fn a_model_that_fits_tells_misses_with_its_own_error_beside_them() {
    let (model, said) = judge::fit(&course(12, promised(), Some(Ratio::percent(75)))).unwrap();
    let Misses::Modelled { measured, model: share } = said else { panic!("{said:?}") };
    assert!((measured - share).abs() <= 0.005_f64.max(measured / 2.0), "{measured} {share}");
    let at = |demand| model.latency(Replicas(10), RequestsPerSecond::whole(demand), None);
    assert!(at(450) > at(300), "{model:?}");
}

#[test]
fn where_the_data_cannot_say_nobody_does() {
    let few = Comparison::of(course(1, promised(), None)).unwrap();
    let Misses::Unknown(why) = &few.judgement.misses else { panic!("{:?}", few.judgement.misses) };
    assert!(why.contains("0 windows have a latency"), "{why}");
    assert_eq!((few.judgement.ours.misses, few.judgement.difference), (None, None));
    let page = text(&[few]);
    assert!(page.contains("cannot say: 1.0 h are too few") && page.contains("of misses nobody can say"), "{page}");

    // Latencies that no queue of this kind has: always far above, whatever the load is.
    let mut odd = course(12, promised(), Some(Ratio::ONE));
    for (place, moment) in odd.moments.iter_mut().enumerate() {
        moment.latency = Seconds::new(if place % 16 < 8 { 0.01 } else { 3.0 });
    }
    let odd = Comparison::of(odd).unwrap();
    let Misses::Unknown(why) = &odd.judgement.misses else { panic!("{:?}", odd.judgement.misses) };
    assert!(why.contains("it does not fit this workload"), "{why}");
}

#[test]
fn who_follows_late_is_told_episode_by_episode() {
    let one = Comparison::of(course(24, Objective::unpromised(), None)).unwrap();
    let judgement = &one.judgement;
    assert_eq!(judgement.misses, Misses::Load);
    assert!(judgement.theirs.misses > judgement.ours.misses, "{judgement:?}");
    assert!((judgement.hours - 24.0).abs() < 0.1 && judgement.blind_hours < 1e-9, "{judgement:?}");
    let difference = judgement.difference.expect("a day is enough");
    assert!(difference.low <= difference.mean && difference.mean <= difference.high);
    assert!(
        one.episodes.iter().any(|episode| episode.who == "demand rose: trimtab early, the other late"),
        "{:#?}",
        one.episodes
    );
    assert!(
        one.episodes.iter().all(|episode| episode.theirs.abs_diff(episode.ours) > 1 && episode.until > episode.from)
    );
    let again = Comparison::of(course(24, Objective::unpromised(), None)).unwrap();
    assert_eq!(text(&[one]), text(&[again]), "the same data give the same words");
}

#[test]
fn a_longer_step_judges_nearly_the_same() {
    let fine = course(24, promised(), Some(Ratio::percent(75)));
    let mut coarse = fine.clone();
    // One in four: a minute, the longest step that there is.
    let mut place = 0;
    coarse.moments.retain(|_| {
        place += 1;
        place % 4 == 1
    });
    let [fine, coarse] = [fine, coarse].map(|course| Comparison::of(course).unwrap().judgement);
    let near = |one: f64, other: f64| (one - other).abs() <= 0.03 * one.abs().max(other.abs());
    assert!(near(fine.theirs.replica_hours, coarse.theirs.replica_hours), "{fine:?} {coarse:?}");
    assert!(near(fine.ours.replica_hours, coarse.ours.replica_hours), "{fine:?} {coarse:?}");
    assert!(near(fine.hours, coarse.hours), "{fine:?} {coarse:?}");
}

#[test]
fn what_nobody_knows_counts_for_neither() {
    let mut course = course(12, Objective::unpromised(), None);
    let all = Comparison::of(course.clone()).unwrap().judgement;
    for moment in course.moments.iter_mut().skip(960).take(240) {
        moment.demand = None;
    }
    let blind = Comparison::of(course).unwrap().judgement;
    assert!((blind.blind_hours - 1.0).abs() < 0.01, "{blind:?}");
    assert!(blind.theirs.replica_hours < all.theirs.replica_hours && blind.ours.replica_hours < all.ours.replica_hours);
}

#[test]
fn a_page_is_one_file_without_links_and_nothing_gets_out_of_it() {
    let mut course = course(10, Objective::unpromised(), None);
    course.workload = "<script>alert(1)</script>".into();
    let page = html(&[Comparison::of(course).unwrap()]);
    assert!(page.contains("<svg") && page.contains("&lt;script&gt;"));
    for link in ["<script", "http://", "https://", "src=", "href="] {
        assert!(!page.contains(link), "{link}");
    }
}

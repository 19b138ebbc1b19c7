use super::*;
use crate::policy::Event;

static POLICY: Policy = Policy::PLAIN;

fn known(rate: f64) -> Demand {
    Demand::Known { rate: RequestsPerSecond::new(rate).unwrap(), age: None, complete: true }
}

fn at(second: i64) -> Sight<'static> {
    looking(second, 5)
}

fn looking(second: i64, every: u32) -> Sight<'static> {
    Sight { policy: &POLICY, every: Seconds::whole(every), foretold: &[], at: Timestamp(second * 1_000) }
}

/// Feeds `course(second)` every `tick` seconds until `end`, and returns the last forecast 30 s ahead.
fn after(end: i64, tick: i64, course: impl Fn(i64) -> f64) -> Forecast {
    let mut memory = Memory::default();
    let mut last = None;
    for second in (0..=end).step_by(usize::try_from(tick).unwrap()) {
        last = predict(
            &mut memory,
            &known(course(second)),
            Seconds::whole(30),
            looking(second, u32::try_from(tick).unwrap()),
        );
    }
    last.unwrap()
}

#[test]
fn it_is_useful_at_the_first_reading() {
    let first = after(0, 5, |_| 100.0);
    assert_eq!((first.now.get(), first.median.get(), first.errors), (100.0, 100.0, 0));
}

#[test]
fn a_window_that_ends_leaves_a_whole_one_ahead_whatever_the_tick() {
    for tick in [1, 5, 10, 30] {
        let windows = after(600, tick, |_| 100.0).windows;
        let spans: Vec<_> = windows.iter().take(2).map(|it| (it.starts.get(), it.lasts.get())).collect();
        assert_eq!(spans, [(0.0, 30.0), (30.0, 30.0)], "a tick of {tick} s");
    }
}

#[test]
fn the_window_that_runs_ends_when_it_should() {
    let windows = after(610, 5, |_| 100.0).windows;
    assert_eq!((windows[0].lasts.get(), windows[1].starts.get()), (20.0, 20.0));
}

#[test]
fn steady_demand_has_a_narrow_band_and_a_noisy_one_a_wide_one() {
    let width = |noise: f64| {
        let seen =
            after(3_000, 5, |second| 200.0 * (1.0 + if (second / 30).pow(2) % 101 < 50 { noise } else { -noise }));
        seen.windows[0].error.get() / seen.windows[0].mean.get()
    };
    assert!(width(0.0) < 0.012 && width(0.03) > 0.02, "{} and {}", width(0.0), width(0.03));
}

#[test]
fn a_steady_ramp_is_seen_ahead() {
    let ramp = after(3_000, 5, |second| 100.0 + second as f64 / 10.0);
    assert!((400.0..=410.0).contains(&ramp.median.get()), "400 now, 3 more each window: {:?}", ramp.median);
}

#[test]
fn a_steep_ramp_is_believed_from_the_reading_that_shows_it() {
    // 5 more each second: also where a window has just ended, whose mean is 75 below, and however often one looks.
    for (end, tick) in [(620, 5), (630, 5), (635, 5), (620, 1), (630, 1), (635, 1)] {
        let seen = after(end, tick, |second| 100.0 + 5.0 * (second - 600).max(0) as f64);
        let (now, next) = (seen.windows[0].mean.get(), seen.windows[1].mean.get());
        // But for what 5 s of readings may be off by chance.
        let least = seen.now.get() - CHANCE * (seen.now.get() / 5.0).sqrt();
        assert!(now >= least && next >= least, "{end}, {tick}: {:?} now, then {now} and {next}", seen.now);
    }
}

#[test]
fn what_a_source_reads_low_after_its_gap_is_no_rise() {
    let mut memory = Memory::default();
    for second in (0..=600).step_by(5) {
        predict(&mut memory, &known(250.0), Seconds::whole(30), at(second));
    }
    // Two minutes later: a rate over the gap, then what there is.
    for (second, rate) in [(725, 18.0), (735, 177.0), (745, 205.0)] {
        let seen = predict(&mut memory, &known(rate), Seconds::whole(30), at(second)).unwrap();
        assert!(rate < 100.0 || seen.windows[0].mean < seen.now, "at {second} s: {:?}", seen.windows[0]);
    }
}

#[test]
fn a_jump_is_believed_within_five_seconds_and_may_go_on() {
    let jump = after(3_005, 5, |second| if second <= 3_000 { 200.0 } else { 400.0 });
    assert!((390.0..=400.0).contains(&jump.windows[0].mean.get()), "{:?}", jump.windows[0]);
    assert!(jump.windows[1].chance > Ratio::percent(20), "the next step of the same height: {:?}", jump.windows[1]);
}

#[test]
fn however_large_a_jump_more_of_it_is_never_believed_less() {
    for (before, jump) in
        [(0.0, 1_000.0), (0.0, 100.0), (10.0, 250.0), (10.0, 400.0), (50.0, 1_500.0), (500.0, 12_000.0)]
    {
        let believed: Vec<f64> = (3_005..=3_025)
            .step_by(5)
            .map(|end| after(end, 5, |second| if second <= 3_000 { before } else { jump }).windows[0].mean.get())
            .collect();
        assert!(believed[1] > 0.9 * jump, "{before} to {jump}, two looks: {believed:?}");
        assert!(believed.is_sorted_by(|one, next| *next > 0.99 * one), "{before} to {jump}: {believed:?}");
    }
    let risen = after(3_010, 5, |second| if second <= 3_000 { 0.0 } else { 1_000.0 });
    assert!(risen.windows[1].mean.get() > 900.0, "nor is it gone in the next window: {:?}", risen.windows[1]);
}

#[test]
fn noise_of_one_look_is_hardly_believed() {
    let noisy = after(3_005, 5, |second| if second <= 3_000 { 200.0 } else { 212.0 });
    assert!(noisy.windows[0].mean.get() < 206.0, "{:?}", noisy.windows[0]);
}

#[test]
fn a_day_is_foreseen_once_it_was_seen_twice() {
    let course = |second: i64| 300.0 - 200.0 * libm::cos(std::f64::consts::TAU * (second % 3_600) as f64 / 3_600.0);
    let seen = after(3_600 * 4 + 900, 30, course);
    let (window, ahead) = (seen.windows[5], course(3_600 * 4 + 900 + 165));
    assert!((window.mean.get() / ahead - 1.0).abs() < 0.03, "{window:?} instead of {ahead}");
    assert_eq!(seen.season, Some(Seconds::whole(3_600)));
}

#[test]
fn nothing_is_forecast_from_unknown_demand() {
    let gap = Demand::Unknown(crate::snapshot::Absence::Unreachable);
    assert_eq!(predict(&mut Memory::default(), &gap, Seconds::whole(30), at(0)), None);
}

#[test]
fn a_past_at_long_steps_fills_its_windows() {
    let mut memory = Memory::default();
    for step in 0..10 {
        observe(&mut memory, RequestsPerSecond::whole(100), at(step * 300));
    }
    assert_eq!(memory.learned, 90);
}

#[test]
fn after_a_long_gap_the_level_starts_anew() {
    let mut memory = Memory::default();
    for second in (0..=600).step_by(5) {
        observe(&mut memory, RequestsPerSecond::whole(100), at(second));
    }
    let seen = predict(&mut memory, &known(500.0), Seconds::whole(30), at(7_205)).unwrap();
    assert_eq!(seen.windows[0].mean, RequestsPerSecond::whole(500));
}

#[test]
fn what_was_foretold_takes_part_and_wins_where_it_is_right() {
    let course = |second: i64| 200.0 + 20.0 * ((second / 300).pow(2) % 11) as f64;
    let foretold: Vec<Foretold> = (0..400)
        .map(|step| Foretold { at: Timestamp(step * 15_000), rate: RequestsPerSecond::new(course(step * 15)).unwrap() })
        .collect();
    let mut memory = Memory::default();
    let mut last = None;
    for second in (30..=4_770).step_by(30) {
        let sight = Sight { foretold: &foretold, ..at(second) };
        last = predict(&mut memory, &known(course(second - 15)), Seconds::whole(30), sight);
    }
    let shares = last.unwrap().shares;
    let external = shares.iter().find(|(expert, _)| *expert == Expert::External).unwrap().1;
    assert!(external > Ratio::percent(50), "{shares:?}");
}

#[test]
fn the_track_record_is_how_far_off_everybody_was() {
    // Twice as much and half as much in turn: whoever says that what is, stays, is off by 1 and by 0.5.
    let mut memory = Memory::default();
    assert_eq!(memory.track(), None);
    for second in (30..=60 * 30).step_by(30) {
        let rate = if second % 60 == 0 { 200 } else { 100 };
        predict(&mut memory, &known(f64::from(rate)), Seconds::whole(30), at(second)).unwrap();
    }
    let track = memory.track().unwrap();
    assert_eq!(track.windows.map(|ahead| ahead.0), [1, 2, 4, 7]);
    assert!(track.together.iter().all(Option::is_some));
    let persistence = track.experts[&Expert::Persistence].map(|error| error.unwrap().get());
    // Clipped at four standard errors of all together, which are small at first.
    assert!((0.5..=0.8).contains(&persistence[0]), "{track:?}");
    assert!(persistence[1] < 0.05 && persistence[2] < 0.05, "an even number of windows later it is right: {track:?}");
    assert!((0.5..=0.8).contains(&persistence[3]), "{track:?}");
    assert_eq!(track.experts.get(&Expert::External), None, "nobody spoke: {track:?}");
    // As it was kept before the errors were counted: those of long ago are taken to be in it.
    let mut old = serde_json::to_value(&memory).unwrap();
    old["record"].as_object_mut().unwrap().remove("judged").unwrap();
    let old: Memory = serde_json::from_value(old).unwrap();
    let old = old.track().unwrap();
    assert_eq!(old.experts.get(&Expert::External), None, "nobody spoke: {old:?}");
    assert!(old.experts[&Expert::Persistence][0].unwrap().get() < persistence[0], "{old:?}");
}

#[test]
fn what_the_operator_knows_stands_above_what_is_forecast() {
    let event = Event { from: Timestamp(640_000), until: Timestamp(700_000), rate: RequestsPerSecond::whole(900) };
    let policy = Policy { events: vec![event], ..Policy::PLAIN };
    let mut memory = Memory::default();
    let mut last = None;
    for second in (0..=600).step_by(5) {
        let sight = Sight { policy: &policy, ..at(second) };
        last = predict(&mut memory, &known(100.0), Seconds::whole(30), sight);
    }
    let means: Vec<f64> = last.unwrap().windows.iter().take(5).map(|it| it.mean.get()).collect();
    assert_eq!(means, [100.0, 900.0, 900.0, 900.0, 100.0], "40 s to 100 s ahead");
}

#[test]
fn beside_the_profiles_memory_is_small_and_does_not_grow() {
    let mut memory = Memory::default();
    let mut sizes = Vec::new();
    for window in 0..20_160_i64 {
        let rate = 300.0 + 100.0 * libm::sin(window as f64 / 40.0);
        observe(&mut memory, RequestsPerSecond::new(rate).unwrap(), at(window * 30));
        if (window + 1) % 2_880 == 0 {
            let mut value = serde_json::to_value(&memory).unwrap();
            let parts = value.as_object_mut().unwrap();
            assert!(parts.remove("fine").is_some() && parts.remove("coarse").is_some());
            sizes.push(value.to_string().len());
        }
    }
    assert!(sizes.iter().all(|size| *size < 3_072), "{sizes:?}: the histories' own bounds are tested with them");
    assert!(sizes[6] < sizes[0] * 11 / 10, "{sizes:?}");
}

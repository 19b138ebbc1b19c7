//! Episodes: spans in which the two disagreed by more than one replica, each told in one line.

use super::play::Played;
use super::{Course, LONGEST};
use serde::Serialize;
use trimtab_core::unit::{RequestsPerSecond, Seconds, Timestamp};

/// A disagreement that is shorter is the same change at two ticks.
const SHORTEST: Seconds = Seconds::whole(30);
/// Demand that differs by less is flat.
const FLAT: f64 = 0.05;

/// A span in which the two disagreed by more than one replica.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Episode {
    /// When it began, milliseconds since 1970-01-01 UTC.
    pub from: i64,
    /// When it ended.
    pub until: i64,
    /// What was in charge had so many at the widest.
    pub theirs: u32,
    /// trimtab would have had so many then.
    pub ours: u32,
    /// Replica-hours that trimtab would have used more (or fewer, below 0).
    pub replica_hours: f64,
    /// Who was early or late.
    pub who: String,
    /// Why trimtab would have done so.
    pub why: String,
}

/// All of them, in their order.
pub(super) fn episodes(course: &Course, played: &[Played]) -> Vec<Episode> {
    let mut found = Vec::new();
    let mut span: Option<(usize, usize)> = None;
    let apart = |place: usize| match (course.moments.get(place), played.get(place)) {
        (Some(moment), Some(ours)) => i64::from(ours.wanted.0) - i64::from(moment.wanted.0),
        _ => 0,
    };
    for (place, moment) in course.moments.iter().enumerate() {
        let continues = span.is_some_and(|(first, last)| {
            let gap = course.moments.get(last).is_some_and(|before| moment.at.since(before.at) >= LONGEST);
            !gap && apart(first).signum() == apart(place).signum()
        });
        let wide = apart(place).abs() > 1 && moment.demand.is_some();
        if wide && continues {
            span = span.map(|(first, _)| (first, place));
        } else {
            found.extend(span.take().and_then(|span| tell(course, played, span)));
            span = wide.then_some((place, place));
        }
    }
    found.extend(span.and_then(|span| tell(course, played, span)));
    found
}

fn tell(course: &Course, played: &[Played], (first, last): (usize, usize)) -> Option<Episode> {
    let inside = course.moments.get(first..=last)?;
    let ours = played.get(first..=last)?;
    let until = course.moments.get(last + 1).map_or(inside.last()?.at, |next| next.at);
    let from = inside.first()?.at;
    if until.since(from) < SHORTEST {
        return None;
    }
    let distance = |(moment, ours): &(&super::Moment, &Played)| moment.wanted.0.abs_diff(ours.wanted.0);
    let widest = inside.iter().zip(ours).max_by_key(distance)?;
    let hours = inside.iter().zip(ours).enumerate().map(|(place, (moment, ours))| {
        (f64::from(ours.wanted.0) - f64::from(moment.wanted.0)) * course.lasts(first + place).get() / 3_600.0
    });
    let more = widest.1.wanted > widest.0.wanted;
    Some(Episode {
        from: from.0,
        until: until.0,
        theirs: widest.0.wanted.0,
        ours: widest.1.wanted.0,
        replica_hours: hours.sum(),
        who: who(trend(course, from, until), more).to_owned(),
        why: widest.1.because.clone().unwrap_or_default(),
    })
}

/// Where demand went, over the episode and the five minutes around it: its relative change.
fn trend(course: &Course, from: Timestamp, until: Timestamp) -> f64 {
    const AROUND: Seconds = Seconds::whole(150);
    let mean = |begin: Timestamp, end: Timestamp| {
        let first = course.moments.partition_point(|moment| moment.at < begin);
        let after = course.moments.partition_point(|moment| moment.at <= end);
        let inside = course.moments.get(first..after).unwrap_or_default();
        let known: Vec<f64> = inside.iter().filter_map(|moment| moment.demand.map(RequestsPerSecond::get)).collect();
        known.iter().sum::<f64>() / known.len().max(1) as f64
    };
    let around = i64::from(150) * 1_000;
    let before = mean(Timestamp(from.0 - around), from.after(Seconds::whole(15)));
    let after = mean(Timestamp(until.0 - 15_000), until.after(AROUND));
    (after - before) / before.max(f64::MIN_POSITIVE)
}

const fn who(trend: f64, more: bool) -> &'static str {
    match (trend > FLAT, trend < -FLAT, more) {
        (true, _, true) => "demand rose: trimtab early, the other late",
        (true, _, false) => "demand rose: the other early, trimtab late",
        (_, true, true) => "demand fell: the other early, trimtab late",
        (_, true, false) => "demand fell: trimtab early, the other late",
        (_, _, true) => "demand stayed: trimtab keeps more",
        (_, _, false) => "demand stayed: trimtab keeps fewer",
    }
}

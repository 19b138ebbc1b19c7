//! The day that the demo shows: its demand, and what goes wrong in it.
//!
//! Demand is a morning ramp, a lunch hour, an afternoon and an evening, drawn through fixed points by straight lines, with a small ripple
//! of the seed; on top of it a flash crowd. What goes wrong is a table of spans; a button adds a span that begins now.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::Serialize;
use std::fmt;
use trimtab_core::unit::{RequestsPerSecond, Seconds, Timestamp};

/// Monday, 2 March 2026, midnight UTC: the day has a date, so that a repeated demo has the same bytes.
pub(crate) const MIDNIGHT: Timestamp = Timestamp(1_772_409_600_000);
/// It is played from six in the morning, before the first ramp, to midnight.
pub(crate) const BEGINS: Timestamp = Timestamp(MIDNIGHT.0 + 6 * 3_600_000);
pub(crate) const DAY: Seconds = Seconds::whole(18 * 3_600);

/// Hour and requests a second; straight lines between.
const COURSE: [(f64, f64); 12] = [
    (0.0, 70.0),
    (4.5, 60.0),
    (6.0, 90.0),
    (9.0, 380.0),
    (11.3, 360.0),
    (12.2, 520.0),
    (13.2, 500.0),
    (14.0, 350.0),
    (17.5, 410.0),
    (20.0, 300.0),
    (22.0, 140.0),
    (24.0, 70.0),
];
/// Ripple of the demand, relative: drawn anew every five minutes.
const RIPPLE: f64 = 0.04;
/// A flash crowd brings so much more, reached within this time.
const CROWD: f64 = 1.2;
const CROWD_RISES: f64 = 60.0;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Trouble {
    /// Many more requests within a minute.
    FlashCrowd,
    /// The database takes three times as long.
    SlowDatabase,
    /// No metric can be read, by anybody but the autoscaler's own CPU metrics.
    Blackout,
    /// Replicas take three times as long to start.
    SlowStart,
}

impl Trouble {
    pub(crate) const ALL: [Self; 4] = [Self::FlashCrowd, Self::SlowDatabase, Self::Blackout, Self::SlowStart];

    /// As a button and an address have it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::FlashCrowd => "flash-crowd",
            Self::SlowDatabase => "slow-database",
            Self::Blackout => "blackout",
            Self::SlowStart => "slow-start",
        }
    }

    /// How long it lasts where a button brings it.
    pub(crate) const fn lasts(self) -> Seconds {
        match self {
            Self::FlashCrowd | Self::Blackout => Seconds::whole(1_200),
            Self::SlowDatabase => Seconds::whole(600),
            Self::SlowStart => Seconds::whole(7_200),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FlashCrowd => "flash crowd",
            Self::SlowDatabase => "slow database",
            Self::Blackout => "metrics lost",
            Self::SlowStart => "slow start-up",
        })
    }
}

/// A span in which something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Span {
    pub(crate) what: Trouble,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

/// The day.
#[derive(Clone, Debug)]
pub(crate) struct Day {
    seed: u64,
    pub(crate) spans: Vec<Span>,
}

impl Day {
    pub(crate) fn new(seed: u64) -> Self {
        let span = |what: Trouble, hour: f64, minutes: u32| {
            let from = MIDNIGHT.after(Seconds::new(hour * 3600.0).unwrap_or_default());
            Span { what, from, until: from.after(Seconds::whole(60 * minutes)) }
        };
        let spans = vec![
            span(Trouble::SlowDatabase, 10.5, 10),
            span(Trouble::FlashCrowd, 15.0, 20),
            span(Trouble::Blackout, 18.5, 40),
        ];
        Self { seed, spans }
    }

    /// Something goes wrong from now on.
    pub(crate) fn strike(&mut self, what: Trouble, at: Timestamp) {
        self.spans.push(Span { what, from: at, until: at.after(what.lasts()) });
    }

    pub(crate) fn is(&self, what: Trouble, at: Timestamp) -> bool {
        self.spans.iter().any(|span| span.what == what && span.from <= at && at < span.until)
    }

    /// Requests that arrive a second.
    pub(crate) fn rate(&self, at: Timestamp) -> RequestsPerSecond {
        let crowd =
            self.spans.iter().filter(|span| span.what == Trouble::FlashCrowd && span.from <= at && at < span.until);
        let crowd: f64 = crowd
            .map(|span| {
                let edge = at.since(span.from).min(span.until.since(at));
                CROWD * (edge.get() / CROWD_RISES).min(1.0)
            })
            .fold(0.0, f64::max);
        // The golden ratio's bits spread seeds that follow one another.
        let slot = at.0.div_euclid(300_000);
        let spread = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ slot.unsigned_abs();
        let ripple = RIPPLE * (2.0 * Pcg64Mcg::seed_from_u64(spread).random::<f64>() - 1.0);
        RequestsPerSecond::new(course(at) * (1.0 + crowd) * (1.0 + ripple)).unwrap_or_default()
    }
}

/// The course without its ripple; days before are like this one.
fn course(at: Timestamp) -> f64 {
    let hour = (at.0 - MIDNIGHT.0).rem_euclid(86_400_000) as f64 / 3_600_000.0;
    let mut before = COURSE[0];
    for point in COURSE {
        if point.0 > hour {
            let share = (hour - before.0) / (point.0 - before.0);
            return before.1 + share * (point.1 - before.1);
        }
        before = point;
    }
    before.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: f64) -> Timestamp {
        MIDNIGHT.after(Seconds::new(hour * 3600.0).unwrap())
    }

    #[test]
    fn a_day_has_its_hours_and_its_crowd() {
        let day = Day::new(1);
        let rate = |hour: f64| day.rate(at(hour)).get();
        assert!(rate(9.0) > 3.0 * rate(5.0) && rate(12.5) > 1.2 * rate(9.5), "{} {}", rate(9.0), rate(12.5));
        assert!(rate(15.15) > 2.0 * rate(14.9), "{} and {}", rate(15.15), rate(14.9));
        assert!((rate(0.0) / rate(24.0) - 1.0).abs() < 0.1, "it begins as it ends");
    }

    #[test]
    fn what_a_button_brings_ends_by_itself() {
        let mut day = Day::new(1);
        day.strike(Trouble::Blackout, at(3.0));
        assert!(day.is(Trouble::Blackout, at(3.1)) && !day.is(Trouble::Blackout, at(3.5)));
        for trouble in Trouble::ALL {
            assert!(trouble.lasts() > Seconds::ZERO, "{}: {trouble}", trouble.name());
        }
    }
}

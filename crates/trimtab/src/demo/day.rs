//! The day that the demo shows: its demand, and what goes wrong in it.
//!
//! Demand is a morning ramp, a lunch hour, an afternoon and an evening, drawn through fixed points by straight lines, with a small ripple
//! of the seed; on top of it a flash crowd. What goes wrong is a table of spans; a button adds a span that begins now. A simulated day has
//! hours of an hour; one of real requests has hours of a quarter of a minute, and less demand, for one machine to carry three fleets.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::Serialize;
use std::fmt;
use trimtab_core::unit::{RequestsPerSecond, Seconds, Timestamp};

/// Monday, 2 March 2026, midnight UTC: the day has a date, so that a repeated demo has the same bytes.
pub(crate) const MIDNIGHT: Timestamp = Timestamp(1_772_409_600_000);
/// It is played from six in the morning, before the first ramp, to midnight.
const FIRST_HOUR: f64 = 6.0;
const HOURS: f64 = 18.0;
/// When a simulated day begins, and how long it lasts.
pub(crate) const BEGINS: Timestamp = Timestamp(MIDNIGHT.0 + 6 * 3_600_000);
pub(crate) const DAY: Seconds = Seconds::whole(18 * 3_600);
/// So long a day of real requests lasts.
pub(crate) const REAL_DAY: Seconds = Seconds::whole(300);

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
/// Ripple of the demand, relative.
const RIPPLE: f64 = 0.04;
/// A flash crowd brings so much more.
const CROWD: f64 = 1.2;

/// How a day passes.
#[derive(Clone, Copy, Debug)]
struct Pace {
    begins: Timestamp,
    /// How long an hour of it lasts.
    hour: Seconds,
    /// Demand, as a share of the course.
    scale: f64,
    /// How often the ripple is drawn anew, milliseconds.
    ripples: i64,
    /// A flash crowd has come, and has gone, within this time.
    rises: Seconds,
    /// How long flash crowd, slow database, blackout and slow start-up last where a button brings them.
    lasts: [Seconds; 4],
}

impl Pace {
    const SIMULATED: Self = Self {
        begins: BEGINS,
        hour: Seconds::whole(3_600),
        scale: 1.0,
        ripples: 300_000,
        rises: Seconds::whole(60),
        lasts: [Seconds::whole(1_200), Seconds::whole(600), Seconds::whole(1_200), Seconds::whole(7_200)],
    };

    /// Three fleets at up to 370 requests/s in the crowd, each request with a question to a database, are what two cores carry beside everything else.
    fn real(begins: Timestamp) -> Self {
        Self {
            begins,
            hour: Seconds::new(REAL_DAY.get() / HOURS).unwrap_or_default(),
            scale: 0.4,
            ripples: 5_000,
            rises: Seconds::whole(6),
            lasts: [Seconds::whole(30), Seconds::whole(20), Seconds::whole(25), Seconds::whole(60)],
        }
    }
}

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
    pace: Pace,
    pub(crate) spans: Vec<Span>,
}

impl Day {
    /// A day of virtual time.
    pub(crate) fn simulated(seed: u64) -> Self {
        let minutes = |minutes: u32| Seconds::whole(60 * minutes);
        let spans = [
            (Trouble::SlowDatabase, 10.5, minutes(10)),
            (Trouble::FlashCrowd, 15.0, minutes(20)),
            (Trouble::Blackout, 18.5, minutes(40)),
        ];
        Self::new(seed, Pace::SIMULATED, spans)
    }

    /// A day of real requests that begins at a moment.
    pub(crate) fn real(seed: u64, begins: Timestamp) -> Self {
        let spans = [
            (Trouble::SlowDatabase, 10.5, Seconds::whole(20)),
            (Trouble::FlashCrowd, 15.0, Seconds::whole(35)),
            (Trouble::Blackout, 18.5, Seconds::whole(25)),
        ];
        Self::new(seed, Pace::real(begins), spans)
    }

    fn new(seed: u64, pace: Pace, spans: [(Trouble, f64, Seconds); 3]) -> Self {
        let spans = spans.map(|(what, hour, lasts)| {
            let since = (hour - FIRST_HOUR) * pace.hour.get();
            let from = pace.begins.after(Seconds::new(since).unwrap_or_default());
            Span { what, from, until: from.after(lasts) }
        });
        Self { seed, pace, spans: spans.into() }
    }

    /// Something goes wrong from now on.
    pub(crate) fn strike(&mut self, what: Trouble, at: Timestamp) {
        let [crowd, database, blackout, start] = self.pace.lasts;
        let lasts = match what {
            Trouble::FlashCrowd => crowd,
            Trouble::SlowDatabase => database,
            Trouble::Blackout => blackout,
            Trouble::SlowStart => start,
        };
        self.spans.push(Span { what, from: at, until: at.after(lasts) });
    }

    pub(crate) fn is(&self, what: Trouble, at: Timestamp) -> bool {
        self.spans.iter().any(|span| span.what == what && span.from <= at && at < span.until)
    }

    /// What began (`true`) or ended between two moments.
    pub(crate) fn turns(&self, before: Timestamp, at: Timestamp) -> impl Iterator<Item = (Trouble, bool)> {
        let turns = move |what| match (self.is(what, before), self.is(what, at)) {
            (false, true) => Some((what, true)),
            (true, false) => Some((what, false)),
            _ => None,
        };
        Trouble::ALL.into_iter().filter_map(turns)
    }

    /// Requests that arrive a second.
    pub(crate) fn rate(&self, at: Timestamp) -> RequestsPerSecond {
        let crowd =
            self.spans.iter().filter(|span| span.what == Trouble::FlashCrowd && span.from <= at && at < span.until);
        let crowd: f64 = crowd
            .map(|span| {
                let edge = at.since(span.from).min(span.until.since(at));
                CROWD * (edge.get() / self.pace.rises.get()).min(1.0)
            })
            .fold(0.0, f64::max);
        // The golden ratio's bits spread seeds that follow one another.
        let slot = (at.0 - self.pace.begins.0).div_euclid(self.pace.ripples);
        let spread = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ slot.unsigned_abs();
        let ripple = RIPPLE * (2.0 * Pcg64Mcg::seed_from_u64(spread).random::<f64>() - 1.0);
        let hour = FIRST_HOUR + (at.0 - self.pace.begins.0) as f64 / (1000.0 * self.pace.hour.get());
        let rate = self.pace.scale * course(hour) * (1.0 + crowd) * (1.0 + ripple);
        RequestsPerSecond::new(rate).unwrap_or_default()
    }
}

/// The course without its ripple; days before and after are like this one.
fn course(hour: f64) -> f64 {
    let hour = hour.rem_euclid(24.0);
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
        let day = Day::simulated(1);
        let rate = |hour: f64| day.rate(at(hour)).get();
        assert!(rate(9.0) > 3.0 * rate(5.0) && rate(12.5) > 1.2 * rate(9.5), "{} {}", rate(9.0), rate(12.5));
        assert!(rate(15.15) > 2.0 * rate(14.9), "{} and {}", rate(15.15), rate(14.9));
        assert!((rate(0.0) / rate(24.0) - 1.0).abs() < 0.1, "it begins as it ends");
    }

    #[test]
    fn a_day_of_real_requests_has_the_same_hours_in_five_minutes() {
        let begins = Timestamp(1_790_000_000_123);
        let day = Day::real(1, begins);
        let rate = |second: u32| day.rate(begins.after(Seconds::whole(second))).get();
        assert!(rate(52) > 3.0 * rate(0), "{} and {}", rate(52), rate(0));
        assert!(rate(160) > 2.0 * rate(149), "{} and {}", rate(160), rate(149));
        assert!((0..300).map(rate).fold(0.0, f64::max) < 380.0, "two cores carry three of it");
        let dark = begins.after(Seconds::whole(215));
        assert!(day.is(Trouble::Blackout, dark) && !day.is(Trouble::Blackout, begins));
        let turns: Vec<_> = day.turns(begins, dark).collect();
        assert_eq!(turns, [(Trouble::Blackout, true)]);
    }

    #[test]
    fn what_a_button_brings_ends_by_itself() {
        let mut day = Day::simulated(1);
        day.strike(Trouble::Blackout, at(3.0));
        assert!(day.is(Trouble::Blackout, at(3.1)) && !day.is(Trouble::Blackout, at(3.5)));
        for trouble in Trouble::ALL {
            day.strike(trouble, at(5.0));
            assert!(day.is(trouble, at(5.05)) && !day.is(trouble, at(8.0)), "{}: {trouble}", trouble.name());
        }
    }
}

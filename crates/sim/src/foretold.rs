//! Forecasts that somebody else made: CSV, also compressed with gzip, with the columns `t_seconds,rate` and, where there is more than one
//! forecast, `made_seconds`.
//!
//! Each row says what was expected of a step, as in a [`crate::trace`]: `rate` is the mean a second over the step that begins at `t_seconds`, a
//! step being the distance of rows. Rows of one forecast have the same `made_seconds`, which tells when it was known; without that column all
//! rows are one forecast that was always known. The newest one that was made by a moment is what that moment sees, and it alone: so a
//! model that forecasts again and again is replayed without being shown what it did not know. Any producer of point forecasts (`TimesFM`,
//! Prophet, a spreadsheet) writes this with one loop over its origins.
//!
//! Whatever is wrong is said at once, each with its line and what was expected there.

use crate::trace::{ABSURD, Malformed, plain, records, short};
use std::collections::BTreeMap;
use std::fmt;
use trimtab_core::snapshot::Foretold;
use trimtab_core::unit::{RequestsPerSecond, Seconds, Timestamp};

/// Seconds to the year 287396, below which milliseconds lose nothing in a double.
const FARTHEST: f64 = 9e12;

/// Forecasts, by when they were made.
#[derive(Clone, Default, PartialEq)]
pub struct Forecasts {
    /// The first made first.
    made: Vec<Made>,
}

/// One forecast: times are seconds of the file's clock.
#[derive(Clone, Debug, PartialEq)]
struct Made {
    /// When it was known; minus infinity was always.
    at: f64,
    /// The middle of each step, and what was expected of it.
    points: Vec<(f64, f64)>,
}

/// There may be a hundred thousand rows.
impl fmt::Debug for Forecasts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} forecasts", self.made.len())
    }
}

/// How the clock of a simulation, and its load, follow from those of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replay {
    /// Where the simulation begins, in seconds of the file.
    pub begins: f64,
    /// Seconds of the simulation to one of the file.
    pub pace: f64,
    /// Load of the simulation to that of the file.
    pub scale: f64,
}

/// A row.
struct Row {
    line: u64,
    made: f64,
    seconds: f64,
    rate: f64,
}

impl Forecasts {
    /// Reads forecasts; gzip is told by its first bytes.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let (text, _) = plain(bytes)?;
        let mut malformed = Malformed::default();
        let rows = rows(&text, &mut malformed);
        let step = step(&rows);
        if step.is_none() && malformed == Malformed::default() {
            let expected = "expected at least two rows of different t_seconds, which tell how long a step is";
            malformed.add(text.lines().count() as u64 + 1, expected.into());
        }
        let made = gathered(&rows, step.unwrap_or_default() / 2.0, &mut malformed);
        malformed.problems.sort_by_key(|problem| problem.line);
        if malformed == Malformed::default() { Ok(Self { made }) } else { Err(malformed) }
    }

    /// The same on the clock and at the load of a simulation.
    #[must_use]
    pub fn replayed(&self, replay: Replay) -> Self {
        let clock = |seconds: f64| (seconds - replay.begins) * replay.pace;
        let made = self.made.iter().map(|made| Made {
            at: clock(made.at),
            points: made.points.iter().map(|(seconds, rate)| (clock(*seconds), rate * replay.scale)).collect(),
        });
        Self { made: made.collect() }
    }

    /// What is foretold at a moment of that moment and of the span after it: by the newest forecast that was made by then.
    #[must_use]
    pub fn at(&self, at: Timestamp, span: Seconds) -> Vec<Foretold> {
        #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 ms")]
        let now = at.0 as f64 / 1000.0;
        let newest = self.made.partition_point(|made| made.at <= now).checked_sub(1);
        let Some(made) = newest.and_then(|newest| self.made.get(newest)) else { return Vec::new() };
        let first = made.points.partition_point(|(seconds, _)| *seconds <= now).saturating_sub(1);
        let last = made.points.partition_point(|(seconds, _)| *seconds < now + span.get());
        let used = made.points.iter().take(last.saturating_add(1)).skip(first);
        used.filter_map(|(seconds, rate)| {
            #[expect(clippy::cast_possible_truncation, reason = "bounded where it was read, and saturates")]
            let at = Timestamp((seconds * 1000.0).round() as i64);
            Some(Foretold { at, rate: RequestsPerSecond::new(*rate)? })
        })
        .collect()
    }
}

/// The rows that can be read; what is wrong with the others is named.
fn rows(text: &str, malformed: &mut Malformed) -> Vec<Row> {
    let mut reader = records(text);
    let (mut columns, mut rows): (Option<[Option<usize>; 3]>, Vec<Row>) = (None, Vec::new());
    let mut width = 0;
    for record in reader.records() {
        // Text that is UTF-8 in records of any length: nothing else can be wrong.
        let Ok(record) = record else { continue };
        let line = record.position().map_or(0, csv::Position::line);
        if let Some(columns) = columns {
            // More than there are columns is a decimal comma, and would be read as another number.
            if record.len() > width {
                malformed.add(line, format!("expected {width} fields, one for each column, found {}", record.len()));
                continue;
            }
            rows.extend(row(&record, columns, line, malformed));
            continue;
        }
        width = record.len();
        let place = |name: &str| record.iter().position(|column| column.eq_ignore_ascii_case(name));
        columns = Some(["made_seconds", "t_seconds", "rate"].map(place));
        if let Some([_, None, _] | [_, _, None]) = columns {
            let found = record.iter().collect::<Vec<_>>().join(",");
            let expected =
                "a line with the column names made_seconds,t_seconds,rate, of which the first may be left out";
            malformed.add(line, format!("expected {expected}, found `{}`", short(&found)));
            return Vec::new();
        }
    }
    rows
}

fn row(
    record: &csv::StringRecord,
    [made, seconds, rate]: [Option<usize>; 3],
    line: u64,
    malformed: &mut Malformed,
) -> Option<Row> {
    let mut field = |name: &str, place: Option<usize>, expected: &str, sane: &dyn Fn(f64) -> bool| {
        let found = place.and_then(|place| record.get(place));
        let number = found.and_then(|found| found.parse().ok()).filter(|number| sane(*number));
        if number.is_none() {
            let found = found.map_or_else(|| "nothing".to_owned(), |found| format!("`{}`", short(found)));
            malformed.add(line, format!("expected {name} to be {expected}, found {found}"));
        }
        number
    };
    let time = |number: f64| number.abs() <= FARTHEST;
    let made = match made {
        Some(_) => field("made_seconds", made, "a number of seconds", &time),
        None => Some(f64::NEG_INFINITY),
    };
    let seconds = field("t_seconds", seconds, "a number of seconds", &time);
    let expected = format!("0 to {ABSURD} requests a second");
    let rate = field("rate", rate, &expected, &|rate| (0.0..=ABSURD).contains(&rate));
    Some(Row { line, made: made?, seconds: seconds?, rate: rate? })
}

/// How long a step is: the most frequent distance of rows of one forecast, the shortest of several; where each forecast has one row alone,
/// of rows. `None` where nothing tells.
fn step(rows: &[Row]) -> Option<f64> {
    let distances = |of_one: bool| {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for (row, next) in rows.iter().zip(rows.iter().skip(1)) {
            let same = row.made.to_bits() == next.made.to_bits();
            if next.seconds > row.seconds && (same || !of_one) {
                *counts.entry((next.seconds - row.seconds).to_bits()).or_default() += 1;
            }
        }
        // Distances are positive, and the bits of positive numbers are in their order.
        let most = counts.values().max().copied()?;
        counts.iter().find(|(_, count)| **count == most).map(|(bits, _)| f64::from_bits(*bits))
    };
    distances(true).or_else(|| distances(false))
}

/// The forecasts of the rows, each point in the middle of its step.
fn gathered(rows: &[Row], half: f64, malformed: &mut Malformed) -> Vec<Made> {
    let mut all: Vec<Made> = Vec::new();
    for Row { line, made, seconds, rate } in rows {
        let point = (seconds + half, *rate);
        match all.last_mut() {
            Some(last) if *made < last.at => {
                let what = format!("expected made_seconds of at least {}, found {made}: sort the rows by it", last.at);
                malformed.add(*line, what);
            }
            Some(last) if made.to_bits() == last.at.to_bits() => match last.points.last() {
                Some((before, _)) if point.0 <= *before => {
                    let before = before - half;
                    let what = format!("expected t_seconds above {before}, found {seconds}");
                    malformed.add(*line, format!("{what}: sort the rows of a forecast, one for each time"));
                }
                _ => last.points.push(point),
            },
            _ => all.push(Made { at: *made, points: vec![point] }),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        Forecasts::read(text.as_bytes()).unwrap_err().to_string()
    }

    fn seen(forecasts: &Forecasts, second: i64, span: u32) -> Vec<(i64, f64)> {
        let foretold = forecasts.at(Timestamp(second * 1000), Seconds::whole(span));
        foretold.iter().map(|point| (point.at.0 / 1000, point.rate.get())).collect()
    }

    /// Made each minute, of the next three steps.
    const TWO: &str =
        "# by a model\nmade_seconds,t_seconds,rate\n0,0,10\n0,30,20\n0,60,30\n60,60,31\n60,90,41\n60,120,51\n";

    #[test]
    fn a_moment_sees_the_newest_forecast_that_was_made_by_then() {
        let forecasts = Forecasts::read(TWO.as_bytes()).unwrap();
        assert_eq!(seen(&forecasts, -1, 100), []);
        assert_eq!(seen(&forecasts, 0, 30), [(15, 10.0), (45, 20.0)]);
        assert_eq!(seen(&forecasts, 59, 100), [(45, 20.0), (75, 30.0)]);
        assert_eq!(seen(&forecasts, 60, 100), [(75, 31.0), (105, 41.0), (135, 51.0)]);
        assert_eq!(seen(&forecasts, 500, 100), [(135, 51.0)], "the core says nothing of what is after it");
    }

    #[test]
    fn without_a_time_at_which_it_was_made_it_was_always_known() {
        let forecasts = Forecasts::read(b"rate,t_seconds\n10,0\n20,10\n30,20\n").unwrap();
        assert_eq!(seen(&forecasts, -1_000, 2_000), [(5, 10.0), (15, 20.0), (25, 30.0)]);
    }

    #[test]
    fn forecasts_of_one_step_each_have_the_step_between_them() {
        let forecasts = Forecasts::read(b"made_seconds,t_seconds,rate\n0,0,1\n30,30,2\n60,60,3\n").unwrap();
        assert_eq!(seen(&forecasts, 30, 90), [(45, 2.0)]);
    }

    #[test]
    fn a_replay_has_its_own_clock_and_load() {
        let forecasts =
            Forecasts::read(b"made_seconds,t_seconds,rate\n0,0,1\n0,3600,2\n3600,3600,3\n3600,7200,4\n").unwrap();
        let replayed = forecasts.replayed(Replay { begins: 3_600.0, pace: 30.0 / 3_600.0, scale: 10.0 });
        assert_eq!(seen(&replayed, -30, 60), [(-15, 10.0), (15, 20.0)]);
        assert_eq!(seen(&replayed, 0, 60), [(15, 30.0), (45, 40.0)]);
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let text = "\u{feff}made_seconds,t_seconds,rate\r\n0,0,10\r\n0,30,-1\r\n0,60\r\n0,soon,5\r\n,90,5\r\n0,30,5\r\n0,30,6\r\n60,60,NaN\r\n60,60,1e8\r\n60,60,9\r\n0,90,9\r\n";
        assert_eq!(
            problems(text),
            "line 3: expected rate to be 0 to 10000000 requests a second, found `-1`\n\
             line 4: expected rate to be 0 to 10000000 requests a second, found nothing\n\
             line 5: expected t_seconds to be a number of seconds, found `soon`\n\
             line 6: expected made_seconds to be a number of seconds, found ``\n\
             line 8: expected t_seconds above 30, found 30: sort the rows of a forecast, one for each time\n\
             line 9: expected rate to be 0 to 10000000 requests a second, found `NaN`\n\
             line 10: expected rate to be 0 to 10000000 requests a second, found `1e8`\n\
             line 12: expected made_seconds of at least 60, found 0: sort the rows by it"
        );
    }

    #[test]
    fn what_is_no_forecast_is_named() {
        let columns =
            "expected a line with the column names made_seconds,t_seconds,rate, of which the first may be left out";
        assert_eq!(problems("time,value\n0,-1\n"), format!("line 1: {columns}, found `time,value`"));
        let rows = "expected at least two rows of different t_seconds, which tell how long a step is";
        assert_eq!(problems(""), format!("line 1: {rows}"));
        assert_eq!(problems("t_seconds,rate\n0,1\n"), format!("line 3: {rows}"));
        assert_eq!(
            problems("t_seconds,rate\n0,1,5\n30,2\n60,3\n"),
            "line 2: expected 2 fields, one for each column, found 3"
        );
        assert!(problems("t_seconds,rate\n0,-1\n").ends_with("found `-1`"), "nothing of rows that were not read");
    }
}

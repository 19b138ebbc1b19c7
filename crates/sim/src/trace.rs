//! Measured courses of demand: CSV, also compressed with gzip, with the columns `t_seconds,rate`.
//!
//! Lines that begin with `#` are notes (`# key: value` or `# key=value key=value`). `t_seconds` counts from the first row, `rate` is the
//! mean a second over the step that begins there. Rows that are missing were not measured: a reader says whether that is refused or
//! bridged by a straight line, for a simulated service has some demand at any time. A course is rescaled to a stated peak, and
//! each of its rows, or of the steps that it is resampled to, becomes one interval of the simulator.
//!
//! Whatever is wrong is said at once, each with its line and what was expected there. A file that cannot be opened is the caller's to
//! name: this reads bytes.

use crate::workload::Workload;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use trimtab_core::unit::{RequestsPerSecond, Seconds};

/// No service of one queue sees more requests a second: a rate above is a count, or another unit.
pub(crate) const ABSURD: f64 = 1e7;
/// So many problems are named; the others are counted.
const NAMED: usize = 20;
/// No measured course is larger, uncompressed; what is, is something else.
const LARGEST: u64 = 512 << 20;

/// What is wrong in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: u64,
    /// What was expected there, and what was found.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// All that is wrong with a course.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Malformed {
    /// The first twenty problems, by line.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub more: usize,
}

impl Malformed {
    pub(crate) fn add(&mut self, line: u64, what: String) {
        if self.problems.len() < NAMED {
            self.problems.push(Problem { line, what });
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn at(line: u64, what: impl Into<String>) -> Self {
        Self { problems: vec![Problem { line, what: what.into() }], more: 0 }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if number == 0 { "" } else { "\n" })?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Malformed {}

/// A measured course.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// What its notes say, by key.
    pub notes: BTreeMap<String, String>,
    /// From one row to the next: the most frequent distance.
    pub step: Seconds,
    /// `t_seconds` of the first row.
    pub begins: f64,
    /// What was measured; `None` are rows that are missing.
    pub rows: Vec<Option<RequestsPerSecond>>,
    /// What was read over, such as a byte-order mark, and each gap with its line.
    pub notices: Vec<Problem>,
}

/// What becomes of rows that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// They are problems.
    Refuse,
    /// A straight line stands for them, and a notice says so.
    Bridge,
}

/// How a trace becomes a workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Course {
    /// The largest rate that it is rescaled to; `None` leaves it as it is.
    pub peak: Option<RequestsPerSecond>,
    /// What becomes one interval of the simulator; `None` takes each row.
    pub step: Option<Seconds>,
    /// Intervals that are left out at the beginning.
    pub skip: usize,
    /// Intervals that are past and not graded.
    pub history: usize,
    /// The most intervals that are graded; `None` takes all.
    pub graded: Option<usize>,
    /// Length of its season in intervals, 0 where there is none: told to baselines alone.
    pub season: usize,
}

impl Trace {
    /// Reads a course; gzip is told by its first bytes.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(bytes: &[u8], gaps: Gaps) -> Result<Self, Malformed> {
        let (text, mut notices) = plain(bytes)?;
        let text = text.as_str();
        let mut malformed = Malformed::default();
        let (rows, named) = rows(text, &mut malformed);
        if (rows.len() < 2 || !named) && malformed == Malformed::default() {
            malformed.add(text.lines().count() as u64 + 1, "expected at least two rows".into());
        }
        let step = frequent_step(&rows);
        let begins = rows.first().and_then(|row| row.seconds).unwrap_or_default();
        // Under other names the columns are something else, and their steps say nothing.
        let rows = if named { on_grid(&rows, step, gaps, &mut malformed, &mut notices) } else { Vec::new() };
        malformed.problems.sort_by_key(|problem| problem.line);
        if malformed == Malformed::default() {
            Ok(Self { notes: notes(text), step: Seconds::new(step).unwrap_or_default(), begins, rows, notices })
        } else {
            Err(malformed)
        }
    }

    /// The workload that it becomes.
    ///
    /// # Errors
    /// Where there is nothing to grade, or nothing to rescale.
    pub fn workload(&self, course: &Course) -> Result<Workload, Malformed> {
        let whole = bridged(&self.rows);
        let whole = match course.step {
            Some(step) if step.get() <= 0.0 => return Err(Malformed::at(1, "expected a step of more than 0 s")),
            Some(step) => resampled(&whole, step.get() / self.step.get()),
            None => whole,
        };
        let most = course.graded.map_or(usize::MAX, |graded| graded.saturating_add(course.history));
        let used: Vec<f64> = whole.iter().skip(course.skip).take(most).copied().collect();
        if used.len() <= course.history {
            let (rows, first) = (whole.len(), course.skip + course.history);
            return Err(Malformed::at(
                1,
                format!("expected more than {first} intervals before the first graded one, found {rows}"),
            ));
        }
        let largest = used.iter().copied().fold(0.0, f64::max);
        if course.peak.is_some() && largest <= 0.0 {
            return Err(Malformed::at(1, "expected a rate above 0 to rescale, found none"));
        }
        let scale = course.peak.map_or(1.0, |peak| peak.get() / largest);
        let mut rates: Vec<RequestsPerSecond> =
            used.into_iter().map(|rate| RequestsPerSecond::new(rate * scale).unwrap_or_default()).collect();
        let graded = rates.split_off(course.history);
        Ok(Workload { season: course.season, history: rates, rates: graded })
    }
}

/// The names of a file's columns as they stand there, plain or gzip; `None` where it has no line of them.
#[must_use]
pub fn columns(bytes: &[u8]) -> Option<String> {
    let unpacked;
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        unpacked = unpack(bytes).ok()?;
        unpacked.as_slice()
    } else {
        bytes
    };
    let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    text.lines().find(|line| !line.starts_with('#')).map(|line| line.trim().to_owned())
}

/// The text of a file, unpacked where it is gzip, and what was read over.
pub(crate) fn plain(bytes: &[u8]) -> Result<(String, Vec<Problem>), Malformed> {
    let unpacked;
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        unpacked = unpack(bytes)?;
        unpacked.as_slice()
    } else {
        bytes
    };
    let mut notices = Vec::new();
    let bytes = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => {
            notices.push(Problem { line: 1, what: "a byte-order mark is read over".into() });
            rest
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            return Err(Malformed::at(1, "expected UTF-8 text, found UTF-16: save the file as UTF-8"));
        }
        other => other,
    };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count() as u64;
        Malformed::at(line, "expected UTF-8 text, found a byte that is none: save the file as UTF-8")
    })?;
    // The parser takes the second half of a line end of two characters for the beginning of the next line, and counts one too few.
    Ok((text.replace("\r\n", "\n"), notices))
}

/// The records of such a text; lines that begin with `#` are none.
pub(crate) fn records(text: &str) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes())
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut unpacked = Vec::new();
    let read = flate2::read::MultiGzDecoder::new(bytes).take(LARGEST).read_to_end(&mut unpacked);
    match read {
        Err(error) => Err(Malformed::at(1, format!("expected a whole gzip file, found a broken one: {error}"))),
        Ok(length) if length as u64 == LARGEST => {
            Err(Malformed::at(1, format!("expected less than {} MiB when unpacked", LARGEST >> 20)))
        }
        Ok(_) => Ok(unpacked),
    }
}

/// What the notes say: `# key: value`, or `# words key=value key=value`.
fn notes(text: &str) -> BTreeMap<String, String> {
    let mut notes = BTreeMap::new();
    for note in text.lines().filter_map(|line| line.strip_prefix('#')) {
        let pairs = note.split_whitespace().filter_map(|word| word.split_once('='));
        let keyed = note.split_once(": ").filter(|(key, _)| !key.trim().contains(' '));
        for (key, value) in keyed.into_iter().chain(pairs) {
            notes.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    notes
}

/// A row as it stands in the file; what could not be read of it was named.
#[derive(Clone, Copy, Debug)]
struct Row {
    line: u64,
    seconds: Option<f64>,
    rate: Option<f64>,
}

/// The rows, and whether their columns are named as expected.
fn rows(text: &str, malformed: &mut Malformed) -> (Vec<Row>, bool) {
    let mut reader = records(text);
    let (mut columns, mut rows): (Option<Columns>, Vec<Row>) = (None, Vec::new());
    let mut last: Option<f64> = None;
    for record in reader.records() {
        // Text that is UTF-8 in records of any length: nothing else can be wrong.
        let Ok(record) = record else { continue };
        let line = record.position().map_or(0, csv::Position::line);
        let first = columns.is_none();
        let columns = columns.get_or_insert_with(|| Columns::of(&record, line, malformed));
        if !(first && columns.is_header) {
            rows.extend(row(&record, columns, line, &mut last, malformed));
        }
    }
    (rows, columns.is_some_and(|columns| columns.named))
}

/// Where the columns stand.
struct Columns {
    seconds: usize,
    rate: usize,
    /// How many there are.
    width: usize,
    /// Whether the record names any.
    is_header: bool,
    /// Whether they are named as expected.
    named: bool,
}

impl Columns {
    /// Of the first record; where names are missing, the first two are taken, so that the rows are looked at too.
    fn of(record: &csv::StringRecord, line: u64, malformed: &mut Malformed) -> Self {
        let position = |name: &str| record.iter().position(|column| column.eq_ignore_ascii_case(name));
        if let (Some(seconds), Some(rate)) = (position("t_seconds"), position("rate")) {
            return Self { seconds, rate, width: record.len(), is_header: true, named: true };
        }
        let found = record.iter().collect::<Vec<_>>().join(",");
        let is_header = record.iter().any(|field| field.parse::<f64>().is_err());
        malformed.add(line, format!("expected a line with the column names t_seconds,rate, found `{}`", short(&found)));
        Self { seconds: 0, rate: 1, width: record.len().max(2), is_header, named: false }
    }
}

/// One row; none where it stands before an earlier time.
fn row(
    record: &csv::StringRecord,
    &Columns { seconds, rate, width, .. }: &Columns,
    line: u64,
    last: &mut Option<f64>,
    malformed: &mut Malformed,
) -> Option<Row> {
    // More than there are columns is a decimal comma, and would be read as another number.
    let whole = record.len() == width;
    if !whole {
        malformed.add(line, format!("expected {width} fields, one for each column, found {}", record.len()));
    }
    let time = record.get(seconds).map(|field| (field, field.parse().ok().filter(|at: &f64| at.is_finite())));
    if let Some((field, None)) = time.filter(|_| whole) {
        malformed.add(line, format!("expected t_seconds to be a number of seconds, found `{}`", short(field)));
    }
    let measured =
        record.get(rate).map(|field| (field, field.parse().ok().filter(|rate: &f64| (0.0..=ABSURD).contains(rate))));
    let measured = measured.filter(|_| whole);
    if let Some((field, None)) = measured {
        let found = short(field);
        malformed.add(line, format!("expected a rate of 0 to {ABSURD} requests a second, found `{found}`"));
    }
    let (time, measured) = (time.and_then(|(_, time)| time), measured.and_then(|(_, rate)| rate));
    if let (Some(time), Some(last)) = (time, last.filter(|last| time.is_some_and(|time| time <= *last))) {
        malformed.add(line, format!("expected t_seconds above {last}, found {time}: sort the rows, one for each time"));
        return None;
    }
    *last = time.or(*last);
    Some(Row { line, seconds: time, rate: measured })
}

/// What is shown of a field.
pub(crate) fn short(field: &str) -> String {
    field.chars().take(40).collect()
}

/// The most frequent distance of two rows, the shortest of several; 1 s where there is none.
fn frequent_step(rows: &[Row]) -> f64 {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for (row, next) in rows.iter().zip(rows.iter().skip(1)) {
        if let (Some(before), Some(after)) = (row.seconds, next.seconds) {
            *counts.entry((after - before).to_bits()).or_default() += 1;
        }
    }
    // Distances are positive, and the bits of positive numbers are in their order.
    let most = counts.values().max().copied().unwrap_or_default();
    counts.iter().find(|(_, count)| **count == most).map_or(1.0, |(bits, _)| f64::from_bits(*bits))
}

/// The rows at each step; what is missing is `None`.
fn on_grid(
    rows: &[Row],
    step: f64,
    gaps: Gaps,
    malformed: &mut Malformed,
    notices: &mut Vec<Problem>,
) -> Vec<Option<RequestsPerSecond>> {
    /// A gap is no longer than all that was measured of most courses; what is, is a wrong time.
    const LONGEST: f64 = 1e6;
    let mut grid = Vec::with_capacity(rows.len());
    let mut before: Option<f64> = None;
    for Row { line, seconds, rate } in rows {
        // After a row whose time could not be read, nobody knows what is missing.
        if let (Some(before), Some(seconds)) = (before, *seconds) {
            let steps = (seconds - before) / step;
            let missing = steps.round() - 1.0;
            if (steps - steps.round()).abs() > 0.01 || steps > LONGEST {
                let expected = format!("expected a whole number of steps of {step} s after {before}");
                malformed.add(*line, format!("{expected}, found {seconds}"));
            } else if missing > 0.0 {
                let rows = if missing > 1.0 { "rows" } else { "row" };
                let what = format!("missing before t_seconds {seconds}: {missing} {rows} of {step} s");
                match gaps {
                    Gaps::Refuse => {
                        let expected = before + step;
                        malformed.add(*line, format!("expected t_seconds {expected}, found {seconds}; {what}"));
                    }
                    Gaps::Bridge => {
                        notices.push(Problem { line: *line, what: format!("{what}; a straight line bridges the gap") });
                    }
                }
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a million")]
                grid.resize(grid.len() + missing as usize, None);
            }
        }
        grid.push(rate.and_then(RequestsPerSecond::new));
        before = *seconds;
    }
    grid
}

/// Straight lines over what is missing. The first and the last row are there.
fn bridged(rows: &[Option<RequestsPerSecond>]) -> Vec<f64> {
    let mut whole: Vec<f64> = Vec::with_capacity(rows.len());
    let mut missing = 0;
    for rate in rows {
        let Some(rate) = rate else {
            missing += 1;
            continue;
        };
        let from = whole.last().copied().unwrap_or(rate.get());
        let part = (rate.get() - from) / f64::from(missing + 1);
        whole.extend((1..=missing).map(|number| from + part * f64::from(number)));
        whole.push(rate.get());
        missing = 0;
    }
    whole
}

/// Resampled to steps of so many rows each: means of longer ones, points on straight lines between the middles of rows for shorter ones.
fn resampled(rows: &[f64], ratio: f64) -> Vec<f64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and no more than memory holds"
    )]
    let (count, index) = ((rows.len() as f64 / ratio + 1e-9) as usize, |at: f64| at.max(0.0) as usize);
    let rate = |at: usize| rows.get(at.min(rows.len().saturating_sub(1))).copied().unwrap_or_default();
    let mean = |begins: f64, ends: f64| {
        let overlap = |row: usize| (ends.min(row as f64 + 1.0) - begins.max(row as f64)).max(0.0);
        let last = index(ends).min(rows.len().saturating_sub(1));
        (index(begins)..=last).map(|row| rate(row) * overlap(row)).sum::<f64>() / (ends - begins)
    };
    let between = |at: f64| {
        let row = index(at - 0.5);
        let share = (at - 0.5 - row as f64).clamp(0.0, 1.0);
        rate(row) + share * (rate(row + 1) - rate(row))
    };
    (0..count)
        .map(|step| {
            let begins = step as f64 * ratio;
            if ratio >= 1.0 { mean(begins, begins + ratio) } else { between(begins + ratio / 2.0) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn problems(text: &str) -> String {
        Trace::read(text.as_bytes(), Gaps::Refuse).unwrap_err().to_string()
    }

    const WHOLE: Course = Course { peak: None, step: None, skip: 0, history: 0, graded: None, season: 0 };

    fn rates(trace: &Trace, course: &Course) -> Vec<f64> {
        let workload = trace.workload(course).unwrap();
        workload.history.iter().chain(&workload.rates).map(|rate| rate.get()).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let text = "# title: a bad day\nt_seconds,rate\n0,10\n30,-1\n60,x\n50,3\n90\n120,1e8\n150,NaN\nsoon,5\n300,4\n";
        assert_eq!(
            problems(text),
            "line 4: expected a rate of 0 to 10000000 requests a second, found `-1`\n\
             line 5: expected a rate of 0 to 10000000 requests a second, found `x`\n\
             line 6: expected t_seconds above 60, found 50: sort the rows, one for each time\n\
             line 7: expected 2 fields, one for each column, found 1\n\
             line 8: expected a rate of 0 to 10000000 requests a second, found `1e8`\n\
             line 9: expected a rate of 0 to 10000000 requests a second, found `NaN`\n\
             line 10: expected t_seconds to be a number of seconds, found `soon`"
        );
    }

    #[test]
    fn twenty_problems_are_named_and_the_others_counted() {
        let text: String =
            std::iter::once("t_seconds,rate\n".to_owned()).chain((0..50).map(|row| format!("{row},-1\n"))).collect();
        let malformed = Trace::read(text.as_bytes(), Gaps::Refuse).unwrap_err();
        assert_eq!((malformed.problems.len(), malformed.more), (20, 30));
        assert!(malformed.to_string().ends_with("and 30 more"));
    }

    #[test]
    fn lines_that_end_in_two_characters_are_counted_once() {
        let malformed = Trace::read(b"t_seconds,rate\r\n0,1\r\n30,-5\r\n60,many\r\n", Gaps::Refuse).unwrap_err();
        assert_eq!(malformed.problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn wrong_columns_are_named() {
        assert_eq!(
            problems("time,value\n0,1\n30,2\n"),
            "line 1: expected a line with the column names t_seconds,rate, found `time,value`"
        );
        assert_eq!(
            problems("0,1\n30,2\n60,-2\n"),
            "line 1: expected a line with the column names t_seconds,rate, found `0,1`\n\
             line 3: expected a rate of 0 to 10000000 requests a second, found `-2`"
        );
        assert_eq!(
            problems("t_seconds,rate\n0,10,5\n30,11,0\n"),
            "line 2: expected 2 fields, one for each column, found 3\nline 3: expected 2 fields, one for each column, found 3"
        );
        assert_eq!(
            problems("t_seconds;rate\n0;1\n"),
            "line 1: expected a line with the column names t_seconds,rate, found `t_seconds;rate`\n\
             line 2: expected 2 fields, one for each column, found 1"
        );
    }

    #[test]
    fn a_file_without_rows_is_named() {
        assert_eq!(problems(""), "line 1: expected at least two rows");
        assert_eq!(problems("t_seconds,rate\n0,1\n"), "line 3: expected at least two rows");
    }

    #[test]
    fn a_gap_is_refused_with_its_line_or_bridged_with_a_notice() {
        let text = "t_seconds,rate\n0,10\n30,20\n60,30\n150,60\n180,50\n";
        assert_eq!(
            problems(text),
            "line 5: expected t_seconds 90, found 150; missing before t_seconds 150: 2 rows of 30 s"
        );
        let trace = Trace::read(text.as_bytes(), Gaps::Bridge).unwrap();
        assert_eq!(trace.rows.iter().filter(|row| row.is_none()).count(), 2);
        assert_eq!(rates(&trace, &WHOLE), [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 50.0]);
        assert_eq!(trace.notices.len(), 1);
        assert_eq!(trace.notices[0].line, 5);
    }

    #[test]
    fn a_row_between_the_steps_is_named() {
        assert_eq!(
            problems("t_seconds,rate\n0,1\n30,1\n60,1\n73,1\n103,1\n"),
            "line 5: expected a whole number of steps of 30 s after 60, found 73"
        );
    }

    #[test]
    fn marks_line_ends_order_of_columns_and_notes_do_not_matter() {
        let plain = Trace::read(b"# x interval_s=30\nt_seconds,rate\n0,1\n30,2\n", Gaps::Refuse).unwrap();
        let other = "\u{feff}# x interval_s=30\r\nnode,Rate,t_seconds\r\na,1,0\r\nb,\"2\",30\r\n";
        let other = Trace::read(other.as_bytes(), Gaps::Refuse).unwrap();
        assert_eq!((plain.rows, plain.step, &plain.notes), (other.rows, other.step, &other.notes));
        assert_eq!(other.notices.len(), 1);
        assert_eq!(plain.notes["interval_s"], "30");
    }

    #[test]
    fn what_is_no_text_is_named() {
        let utf_16 = Trace::read(&[0xff, 0xfe, b't', 0], Gaps::Refuse).unwrap_err();
        assert_eq!(utf_16.to_string(), "line 1: expected UTF-8 text, found UTF-16: save the file as UTF-8");
        let latin = Trace::read(b"t_seconds,rate\n0,1\n30,\xe9\n", Gaps::Refuse).unwrap_err();
        assert_eq!(latin.problems[0].line, 3);
    }

    #[test]
    fn gzip_is_unpacked_and_a_broken_one_named() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"# title: packed\nt_seconds,rate\n0,1\n60,3\n").unwrap();
        let packed = packed.finish().unwrap();
        let trace = Trace::read(&packed, Gaps::Refuse).unwrap();
        assert_eq!((trace.step, trace.notes["title"].as_str()), (Seconds::whole(60), "packed"));
        let broken = Trace::read(&packed[..packed.len() - 9], Gaps::Refuse).unwrap_err();
        assert!(broken.to_string().starts_with("line 1: expected a whole gzip file"), "{broken}");
    }

    #[test]
    fn a_course_is_rescaled_resampled_and_divided() {
        let text = "t_seconds,rate\n0,2\n10,4\n20,6\n30,8\n40,10\n50,12\n";
        let trace = Trace::read(text.as_bytes(), Gaps::Refuse).unwrap();
        let peak = Some(RequestsPerSecond::whole(600));
        assert_eq!(rates(&trace, &Course { peak, ..WHOLE }), [100.0, 200.0, 300.0, 400.0, 500.0, 600.0]);
        assert_eq!(rates(&trace, &Course { step: Some(Seconds::whole(20)), ..WHOLE }), [3.0, 7.0, 11.0]);
        assert_eq!(
            rates(&trace, &Course { step: Some(Seconds::whole(5)), ..WHOLE })[..6],
            [2.0, 2.5, 3.5, 4.5, 5.5, 6.5]
        );
        let workload = trace.workload(&Course { skip: 1, history: 2, graded: Some(2), ..WHOLE }).unwrap();
        assert_eq!((workload.history.len(), workload.rates.len()), (2, 2));
        assert_eq!(workload.rates[0], RequestsPerSecond::whole(8));
    }

    #[test]
    fn a_course_without_anything_to_grade_is_refused() {
        let trace = Trace::read(b"t_seconds,rate\n0,0\n10,0\n", Gaps::Refuse).unwrap();
        let short = trace.workload(&Course { history: 2, ..WHOLE }).unwrap_err();
        assert_eq!(short.to_string(), "line 1: expected more than 2 intervals before the first graded one, found 2");
        let peak = Some(RequestsPerSecond::whole(600));
        assert!(trace.workload(&Course { peak, ..WHOLE }).is_err());
    }
}

//! The courses of demand: parts of the benchmark's, faster and weaker, so that two cores carry them and their features survive.

use crate::world::repository;

/// Seconds of a row of the benchmark's traces.
const ROW: f64 = 30.0;
/// Seconds of a row of steps.
const STEP: f64 = 5.0;

/// Which part of a trace, and how it is played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    pub(crate) name: &'static str,
    /// What it is cut from; `None` where its steps are its own.
    source: Option<Cut>,
    /// Rates of [`STEP`] each, so many times, where there is no trace.
    steps: &'static [(usize, f64)],
    /// Seconds at the first rate before it, of whole half-minutes.
    pub(crate) warm_up: f64,
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    file: &'static str,
    /// The first row after its history, and how many.
    from: usize,
    rows: usize,
    /// So many times as fast.
    faster: f64,
    /// The largest rate, requests/s.
    peak: f64,
}

impl Course {
    /// Demand that doubles once: for the test command.
    pub(crate) const SHORT: Self = Self { name: "step", source: None, steps: &[(3, 70.0), (15, 150.0)], warm_up: 60.0 };

    const fn cut(name: &'static str, source: Cut) -> Self {
        Self { name, source: Some(source), steps: &[], warm_up: 60.0 }
    }

    /// Those of the long form.
    pub(crate) const ALL: [Self; 6] = [
        Self::SHORT,
        Self::cut("flash-crowd", Cut { file: "flash_crowd", from: 104, rows: 50, faster: 5.0, peak: 280.0 }),
        Self::cut("multi-burst", Cut { file: "multi_burst", from: 100, rows: 100, faster: 5.0, peak: 240.0 }),
        Self::cut("sawtooth", Cut { file: "sawtooth", from: 30, rows: 70, faster: 6.0, peak: 240.0 }),
        Self::cut("diurnal", Cut { file: "diurnal", from: 0, rows: 120, faster: 10.0, peak: 240.0 }),
        // One hour of a real week's hours, each of its rows half a minute.
        Self::cut("real-hour", Cut { file: "real_week", from: 96, rows: 120, faster: 1.0, peak: 240.0 }),
    ];

    /// When each rate begins, the warm-up first, and when the last one ends. All rows after the warm-up are of one length, which the load
    /// generator gives the last one too.
    pub(crate) fn rates(&self) -> (Vec<(f64, f64)>, f64) {
        let (span, rows) = match self.source {
            None => (STEP, self.steps.iter().flat_map(|(times, rate)| std::iter::repeat_n(*rate, *times)).collect()),
            Some(cut) => {
                let part: Vec<f64> = read(cut.file).into_iter().skip(cut.from).take(cut.rows).collect();
                let largest = part.iter().copied().fold(0.0, f64::max);
                assert!(part.len() == cut.rows && largest > 0.0, "{}: too short", cut.file);
                (ROW / cut.faster, part.into_iter().map(|rate| rate * cut.peak / largest).collect::<Vec<_>>())
            }
        };
        let mut at = self.warm_up;
        let mut rates = vec![(0.0, rows.first().copied().unwrap_or_default())];
        for rate in rows {
            rates.push((at, rate));
            at += span;
        }
        (rates, at)
    }
}

/// The graded rates of a trace.
fn read(file: &str) -> Vec<f64> {
    let path = repository().join(format!("crates/sim/workloads/{file}.csv"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = text.lines();
    let notes = lines.next().unwrap_or_default().split(' ').find_map(|note| note.strip_prefix("history_rows="));
    let history: usize = notes.and_then(|rows| rows.parse().ok()).expect("a note of how many rows are past");
    let rate = |line: &str| line.split(',').nth(1).and_then(|rate| rate.parse().ok()).expect("a rate");
    lines.skip(1).map(rate).skip(history).collect()
}

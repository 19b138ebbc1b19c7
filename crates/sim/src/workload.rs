//! The course of demand: a CSV with columns `t_seconds,rate`, one row for each interval; `#` begins a comment.
//! `history_rows` in a comment says how many of the first rows are past and not graded, `period` the length of a season in rows.

use crate::trace::{Course, Gaps, Malformed, Trace};
use trimtab_core::unit::{Ratio, RequestsPerSecond};

/// A course of demand.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Length of its season in intervals, where one is known; 0 where there is none. Only baselines are told.
    pub season: usize,
    /// Rates that are past when it begins.
    pub history: Vec<RequestsPerSecond>,
    /// Rates that are graded.
    pub rates: Vec<RequestsPerSecond>,
}

impl Workload {
    /// So many times the demand.
    #[must_use]
    pub fn scaled(&self, scale: Ratio) -> Self {
        let scaled = |rates: &[RequestsPerSecond]| rates.iter().map(|rate| *rate * scale).collect();
        Self { season: self.season, history: scaled(&self.history), rates: scaled(&self.rates) }
    }

    /// Reads a course of which each row is an interval.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(text: &str) -> Result<Self, Malformed> {
        let trace = Trace::read(text.as_bytes(), Gaps::Refuse)?;
        let number = |name: &str| {
            let Some(note) = trace.notes.get(name) else { return Ok(0) };
            note.parse().map_err(|_| {
                let line = text.lines().position(|line| line.starts_with('#') && line.contains(name)).unwrap_or(0) + 1;
                Malformed::at(line as u64, format!("expected a whole number after {name}, found `{note}`"))
            })
        };
        let (history, season) = (number("history_rows")?, number("period")?);
        trace.workload(&Course { peak: None, step: None, skip: 0, history, graded: None, season })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_told_from_what_is_graded() {
        let read =
            Workload::read("# period=0 history_rows=1 interval_s=30\nt_seconds,rate\n0,10\n30,20\n60,30\n").unwrap();
        assert_eq!((read.history.len(), read.rates.len()), (1, 2));
    }

    #[test]
    fn a_malformed_row_is_named() {
        let error = Workload::read("t_seconds,rate\n0,10\n30,-1\n").unwrap_err();
        assert_eq!(error.to_string(), "line 3: expected a rate of 0 to 10000000 requests a second, found `-1`");
    }

    #[test]
    fn a_note_that_is_no_number_is_named() {
        let error = Workload::read("# of a day\n# period=daily\nt_seconds,rate\n0,10\n30,1\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2: expected a whole number after period, found `daily`");
    }
}

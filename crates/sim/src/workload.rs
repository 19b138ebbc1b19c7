//! The course of demand: a CSV with columns `t_seconds,rate`, one row for each interval; `#` begins a comment.
//! `history_rows` in a comment says how many of the first rows are past and not graded.

use trimtab_core::unit::RequestsPerSecond;

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

/// What is wrong with a course.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The line, from 1.
    pub line: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: expected {}", self.line, self.expected)
    }
}

impl std::error::Error for Malformed {}

impl Workload {
    /// Reads a course.
    pub fn read(text: &str) -> Result<Self, Malformed> {
        let (mut history_rows, mut season) = (0, 0);
        let mut rates = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let wrong = |expected| Malformed { line: number + 1, expected };
            if line.starts_with('#') {
                let number = |name: &str| line.split_once(name).map(|(_, rest)| leading_number(rest));
                if let Some(rows) = number("history_rows") {
                    history_rows = rows.ok_or_else(|| wrong("a number after history_rows"))?;
                }
                if let Some(period) = number("period") {
                    season = period.ok_or_else(|| wrong("a number after period"))?;
                }
            } else if !line.trim().is_empty() && !line.starts_with("t_seconds") {
                let rate =
                    line.split(',').nth(1).and_then(|rate| rate.trim().parse().ok()).and_then(RequestsPerSecond::new);
                rates.push(rate.ok_or_else(|| wrong("t_seconds,rate with a rate of at least 0"))?);
            }
        }
        if history_rows >= rates.len() {
            return Err(Malformed { line: 1, expected: "more rows than history_rows" });
        }
        let graded = rates.split_off(history_rows);
        Ok(Self { season, history: rates, rates: graded })
    }
}

/// The number that a text such as `=120 further` begins with.
fn leading_number(rest: &str) -> Option<usize> {
    let digits: String = rest.trim_start_matches([':', '=', ' ']).chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
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
        assert_eq!(error.to_string(), "line 3: expected t_seconds,rate with a rate of at least 0");
    }
}

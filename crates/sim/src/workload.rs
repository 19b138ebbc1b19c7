//! The course of demand: a CSV with columns `t_seconds,rate`, one row for each interval; `#` begins a comment.
//! `history_rows` in a comment says how many of the first rows are past and not graded.

use trimtab_core::unit::RequestsPerSecond;

/// A course of demand.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
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
        let mut history_rows = 0;
        let mut rates = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let wrong = |expected| Malformed { line: number + 1, expected };
            if line.starts_with('#') {
                if let Some(rest) = line.split("history_rows").nth(1) {
                    let digits: String =
                        rest.trim_start_matches([':', '=', ' ']).chars().take_while(char::is_ascii_digit).collect();
                    history_rows = digits.parse().map_err(|_| wrong("a number after history_rows"))?;
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
        Ok(Self { history: rates, rates: graded })
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
        assert_eq!(error.to_string(), "line 3: expected t_seconds,rate with a rate of at least 0");
    }
}

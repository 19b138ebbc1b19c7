//! What came of the requests: a row for each interval, and a summary at the end.

use anyhow::Context;
use hdrhistogram::Histogram;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ended {
    /// Answered, so long after it was meant to be sent.
    Served(Duration),
    /// No target, no connection, no answer in time, or a status of 500 and above.
    Failed,
}

/// Rows and summary.
pub(crate) struct Results(Mutex<Book>);

struct Book {
    out: Box<dyn Write + Send>,
    interval: Duration,
    row_ends: Duration,
    at: Duration,
    rate: f64,
    targets: usize,
    row: Tally,
    whole: Tally,
    in_flight: u64,
}

struct Tally {
    sent: u64,
    served: u64,
    failed: u64,
    latency: Histogram<u64>,
}

impl Tally {
    fn new() -> anyhow::Result<Self> {
        // 1 µs to 10 minutes, 3 digits.
        let latency = Histogram::new_with_bounds(1, 600_000_000, 3).context("a histogram")?;
        Ok(Self { sent: 0, served: 0, failed: 0, latency })
    }

    fn end(&mut self, ended: Ended) {
        match ended {
            Ended::Served(latency) => {
                self.served += 1;
                self.latency.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
            }
            Ended::Failed => self.failed += 1,
        }
    }

    fn seconds(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e6
    }
}

impl Results {
    pub(crate) fn open(out: Option<&Path>, interval: Duration) -> anyhow::Result<Self> {
        let mut out: Box<dyn Write + Send> = match out {
            Some(path) => Box::new(File::create(path).with_context(|| format!("failed to write {}", path.display()))?),
            None => Box::new(std::io::stdout()),
        };
        writeln!(out, "t_s,rate,sent,served,failed,p50_s,p90_s,p99_s,max_s,in_flight,targets")?;
        Ok(Self(Mutex::new(Book {
            out,
            interval,
            row_ends: interval,
            at: Duration::ZERO,
            rate: 0.0,
            targets: 0,
            row: Tally::new()?,
            whole: Tally::new()?,
            in_flight: 0,
        })))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time goes on; a row is written when its interval has passed.
    pub(crate) fn turn(&self, at: Duration, rate: f64, targets: impl FnOnce() -> usize) {
        let mut book = self.book();
        book.at = at;
        book.rate = rate;
        if at >= book.row_ends {
            book.targets = targets();
            book.write_row();
        }
    }

    pub(crate) fn sent(&self) {
        let mut book = self.book();
        book.row.sent += 1;
        book.whole.sent += 1;
        book.in_flight += 1;
    }

    pub(crate) fn ended(&self, ended: Ended) {
        let mut book = self.book();
        book.row.end(ended);
        book.whole.end(ended);
        book.in_flight -= 1;
    }

    /// The last row, and the summary as JSON on standard error.
    pub(crate) fn finish(&self) -> anyhow::Result<()> {
        let mut book = self.book();
        book.write_row();
        book.out.flush()?;
        let Tally { sent, served, failed, .. } = book.whole;
        let summary = serde_json::json!({
            "seconds": book.at.as_secs_f64(), "sent": sent, "served": served, "failed": failed, "in_flight": book.in_flight,
            "p50_s": book.whole.seconds(0.5), "p99_s": book.whole.seconds(0.99), "max_s": book.whole.seconds(1.0),
        });
        writeln!(std::io::stderr(), "{summary}")?;
        Ok(())
    }
}

impl Book {
    fn write_row(&mut self) {
        while self.row_ends <= self.at {
            self.row_ends += self.interval;
        }
        let Tally { sent, served, failed, .. } = self.row;
        let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|quantile| self.row.seconds(quantile));
        let (at, rate, in_flight, targets) = (self.at.as_secs_f64(), self.rate, self.in_flight, self.targets);
        // A reader of our output that went away does not end the load.
        let _ = writeln!(
            self.out,
            "{at:.1},{rate:.1},{sent},{served},{failed},{p50},{p90},{p99},{max},{in_flight},{targets}"
        );
        let _ = self.out.flush();
        (self.row.sent, self.row.served, self.row.failed) = (0, 0, 0);
        self.row.latency.reset();
    }
}

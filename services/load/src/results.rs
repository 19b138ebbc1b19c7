//! What came of the requests: a row for each interval, one for each request where that is asked for, and a summary at the end.

use anyhow::Context;
use hdrhistogram::Histogram;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use trimtab_load::{End, Ended};

/// What the file of requests calls an end.
fn name(end: End) -> &'static str {
    match end {
        End::Served => "served",
        End::Refused => "refused",
        End::TimedOut => "timed out",
        End::Lost => "lost",
    }
}

/// Rows and summary.
pub(crate) struct Results(Mutex<Book>);

struct Book {
    out: Box<dyn Write + Send>,
    requests: Option<BufWriter<File>>,
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

    fn end(&mut self, ended: &Ended) {
        if ended.end == End::Served {
            self.served += 1;
            self.latency.saturating_record(u64::try_from(ended.latency.as_micros()).unwrap_or(u64::MAX));
        } else {
            self.failed += 1;
        }
    }

    fn seconds(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e6
    }
}

impl Results {
    pub(crate) fn open(out: Option<&Path>, requests: Option<&Path>, interval: Duration) -> anyhow::Result<Self> {
        let create = |path: &Path| File::create(path).with_context(|| format!("failed to write {}", path.display()));
        let mut out: Box<dyn Write + Send> = match out {
            Some(path) => Box::new(create(path)?),
            None => Box::new(std::io::stdout()),
        };
        let mut requests = requests.map(create).transpose()?.map(BufWriter::new);
        if let Some(requests) = &mut requests {
            writeln!(requests, "due_s,late_s,latency_s,end")?;
        }
        writeln!(out, "t_s,rate,sent,served,failed,p50_s,p90_s,p99_s,max_s,in_flight,targets")?;
        Ok(Self(Mutex::new(Book {
            out,
            requests,
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

    pub(crate) fn ended(&self, ended: &Ended) {
        let mut book = self.book();
        book.row.end(ended);
        book.whole.end(ended);
        book.in_flight -= 1;
        if let Some(requests) = &mut book.requests {
            let [due, late, latency] = [ended.due, ended.late, ended.latency].map(|span| span.as_secs_f64());
            // A disk that is full does not end the load; the rows that miss are missed by who reads them.
            let _ = writeln!(requests, "{due:.4},{late:.4},{latency:.4},{}", name(ended.end));
        }
    }

    /// Waits until nothing is under way any more: each request ends by its time-out.
    pub(crate) async fn all_ended(&self) {
        while self.book().in_flight > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The last row, and the summary as JSON on standard error.
    pub(crate) fn finish(&self) -> anyhow::Result<()> {
        let mut book = self.book();
        book.write_row();
        book.out.flush()?;
        if let Some(requests) = &mut book.requests {
            requests.flush()?;
        }
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

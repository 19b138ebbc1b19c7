//! Asks a Prometheus-compatible server: all workloads' questions in one round of a few requests, whatever their
//! number, each answered by a finite number or a named absence, with its age and with how many targets stand
//! behind it.
//!
//! A round is two queries at the same time. The first holds the values: every expression, tagged, joined by `or`
//! (`batch`). The second asks what stands behind them: from the selectors of each expression (`expression`), how
//! many pods have a live series and when the oldest and newest samples were scraped, by the server's own clock. The
//! two are apart because the first is written by people and may be wrong; what spoils a batch is kept apart
//! (`isolation`, `round`). Everything that comes in is bounded (`transport`, `wire`).
//!
//! Deliberately absent: a cache, a retry (the next round is one), judgement of what a value means, and redirects.

mod answer;
mod batch;
mod expression;
mod isolation;
mod round;
mod source;
mod transport;
mod wire;

pub use answer::{Absence, Answer, Question, QuestionId, Round};
pub use expression::{Position, Warning, check};
pub use source::{Credentials, Secret, SourceConfig, SourceError};

use futures::future::BoxFuture;
use round::Memory;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use transport::Server;

/// Points of one series that Prometheus gives in one answer.
const MAX_POINTS: i64 = 11_000;

/// One Prometheus-compatible server, with a pool of connections and the memory of which questions spoil the answers
/// of others.
pub struct Source {
    server: Server,
    memory: Mutex<Memory>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Source {
    /// Sets up the client; sends nothing. A rustls provider must be installed in the process before.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub fn new(config: SourceConfig) -> Result<Self, Vec<SourceError>> {
        let deadline = config.deadline;
        let server = Server::new(source::check(config)?, deadline);
        Ok(Self { server, memory: Mutex::default() })
    }

    /// Where the server is, without credentials.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.name()
    }

    /// One round: all questions, in one request for the values and one for what stands behind them (more where the
    /// text exceeds 900 KB, and a bounded number more where a question spoils the others). Answers every question,
    /// and not later than the deadline of the configuration. Rounds of one source are meant to follow each other.
    pub fn ask<'a>(&'a self, questions: &'a [Question]) -> BoxFuture<'a, Round> {
        Box::pin(round::ask(self, questions))
    }

    /// The values of an expression over a span of time, both ends included: pairs of milliseconds since 1970 and a
    /// finite number, ascending; where there was none, the pair is missing. One request for every 11,000 points,
    /// each with the deadline of the configuration.
    ///
    /// # Errors
    /// [`Absence::NoSeries`] where the whole span is empty, and all that a single question can meet.
    pub fn history<'a>(
        &'a self,
        promql: &'a str,
        from_ms: i64,
        to_ms: i64,
        step: Duration,
    ) -> BoxFuture<'a, Result<Vec<(i64, f64)>, Absence>> {
        Box::pin(self.span(promql, from_ms, to_ms, step))
    }

    async fn span(&self, promql: &str, from_ms: i64, to_ms: i64, step: Duration) -> Result<Vec<(i64, f64)>, Absence> {
        let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
        let mut points = Vec::new();
        let mut from_ms = from_ms;
        while from_ms <= to_ms {
            let last_ms = to_ms.min(from_ms.saturating_add(step_ms.saturating_mul(MAX_POINTS - 1)));
            let [start, end, step] = [from_ms, last_ms, step_ms].map(|ms| format!("{:.3}", ms as f64 / 1000.0));
            let form = [("query", promql), ("start", &start), ("end", &end), ("step", &step)];
            let reply = self.server.post("query_range", &form, self.server.deadline()).await?;
            if reply.series > 1 {
                return Err(round::many(reply.series, reply.found.values()));
            }
            points.extend(reply.points);
            from_ms = last_ms.saturating_add(step_ms);
        }
        if points.is_empty() { Err(Absence::NoSeries) } else { Ok(points) }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // whoever panicked left a memory that is at worst too suspicious
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

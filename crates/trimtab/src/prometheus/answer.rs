//! What is asked of a Prometheus and what comes back: a number, or a named absence. Never a silent 0 or NaN.

use std::collections::BTreeMap;
use std::time::Duration;

/// The caller's name for one question; unique within a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuestionId(pub u32);

/// One `PromQL` expression that stands for one number, e.g. the demand of one workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The answer carries the same.
    pub id: QuestionId,
    /// The expression; it should give exactly one series, or a scalar.
    pub promql: String,
    /// How old samples may be to count as current. The server does not look back further than twice the largest of
    /// a round, so that a value that is a little too old still arrives, with its age, and the series of pods that
    /// are gone do not.
    pub freshness: Duration,
}

/// The answers to all questions of one round.
#[derive(Clone, Debug)]
pub struct Round {
    /// The server's clock when it evaluated, in milliseconds since 1970; `None` where nothing was answered.
    pub server_time_ms: Option<i64>,
    /// How long the round took.
    pub took: Duration,
    /// How many HTTP requests it took.
    pub requests: u32,
    /// One answer for every question.
    pub answers: BTreeMap<QuestionId, Answer>,
}

/// The answer to one question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// A finite number, or why there is none.
    pub value: Result<f64, Absence>,
    /// How long before the evaluation, by the server's clock, the oldest current sample behind the value was
    /// scraped; `None` where nobody can tell.
    pub oldest: Option<Duration>,
    /// The same for the newest.
    pub newest: Option<Duration>,
    /// How many pods (where series have no `pod` label: instances) have a live series behind the value now. 0 while
    /// a value is still given means that a range function lives on the past. `None` where the series name neither
    /// (recording rules), or the expression could not be read here.
    pub targets: Option<u32>,
    /// The value may be too small: the server itself says that its answer is incomplete, or what stands behind the
    /// value was asked for and could not be told in this round.
    pub partial: bool,
    /// What the server remarked, for people; at most [`MAX_REMARKS`](Self::MAX_REMARKS).
    pub warnings: Vec<String>,
}

impl Answer {
    /// Remarks kept per answer: Prometheus itself sends at most 10 of each kind.
    pub const MAX_REMARKS: usize = 10;

    pub(super) fn absent(absence: Absence) -> Self {
        Self { value: Err(absence), oldest: None, newest: None, targets: None, partial: false, warnings: Vec::new() }
    }
}

/// Why there is no value: what happened, what was expected, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absence {
    /// No connection, or it broke.
    #[error("cannot reach Prometheus at {server}: {cause}; {}", way(.cause))]
    Unreachable {
        /// The URL without credentials.
        server: String,
        /// The chain of causes.
        cause: String,
    },
    /// No complete answer within the deadline, ours or the server's.
    #[error("Prometheus at {server} did not answer within {} ms; it is overloaded or the query is too heavy", .after.as_millis())]
    TimedOut {
        /// The URL without credentials.
        server: String,
        /// The deadline.
        after: Duration,
    },
    /// Something answers, but not a Prometheus.
    #[error(
        "{server} does not answer as a Prometheus does ({got}); expected the JSON of /api/v1/query; give the URL under which that path lies"
    )]
    NotPrometheus {
        /// The URL without credentials.
        server: String,
        /// What it answered, shortened.
        got: String,
    },
    /// The server refuses: credentials, overload, starting up, an internal error.
    #[error("Prometheus at {server} refused with status {status}: {message}{}", match .status { 401 | 403 => "; check the credentials", 413 => "; a proxy in between limits the size of requests", _ => "" })]
    Refused {
        /// The URL without credentials.
        server: String,
        /// The HTTP status.
        status: u16,
        /// What it said, shortened.
        message: String,
    },
    /// The credentials could not be read, so nothing was sent.
    #[error("cannot read the credentials for {server}: {cause}")]
    NoCredentials {
        /// The URL without credentials.
        server: String,
        /// The file and why.
        cause: String,
    },
    /// The server does not understand or cannot execute this expression.
    #[error("Prometheus refuses the query: {message}")]
    BadQuery {
        /// What Prometheus says, with line and column within the expression.
        message: String,
    },
    /// The expression gives nothing.
    #[error(
        "the query gives no series; expected exactly one: check the metric's name and labels, and that it is scraped"
    )]
    NoSeries,
    /// The expression gives several series.
    #[error("the query gives {count} series, expected one; they differ in {}: aggregate them, e.g. with sum(...)", .differ.join(", "))]
    ManySeries {
        /// How many.
        count: u32,
        /// The labels in which they differ from the first, in order.
        differ: Vec<String>,
    },
    /// The value is NaN, e.g. 0/0 or a quantile of an empty histogram.
    #[error("the query gives NaN, which is no number: 0/0, or a quantile of nothing")]
    NotANumber,
    /// The value is infinite.
    #[error("the query gives an infinite number: a division by 0, or a quantile in the +Inf bucket")]
    Infinite,
    /// The expression gives something else than a number.
    #[error("the query gives {got}, expected one number")]
    WrongType {
        /// What it gives, in words.
        got: &'static str,
    },
    /// The answer exceeds what we are willing to hold.
    #[error("the answer exceeds {limit}: the query gives far more series than one; aggregate them")]
    TooLarge {
        /// The bound, in words.
        limit: &'static str,
    },
    /// One of several queries asked together was refused and the search for it goes on in the next round.
    #[error(
        "not answered this round: another query that was asked together with it was refused; asked again in the next"
    )]
    Postponed,
}

/// What to do where there is no connection.
fn way(cause: &str) -> &'static str {
    if cause.contains("certificate") {
        "name the authority that signed its certificate: --prometheus-ca-file, or ca_file of a further server"
    } else {
        "check that it runs there and that the network lets us through"
    }
}

/// Who is to blame for an absence, which decides whether asking differently can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// The server or the way to it: asking in another way is no use.
    Server,
    /// Unknown: a query that is too heavy, or the server.
    Time,
    /// At least one of the queries that were asked together.
    Query,
}

impl Absence {
    pub(super) fn blame(&self) -> Blame {
        match self {
            Self::Unreachable { .. }
            | Self::NotPrometheus { .. }
            | Self::Refused { .. }
            | Self::NoCredentials { .. } => Blame::Server,
            Self::TimedOut { .. } => Blame::Time,
            Self::BadQuery { .. }
            | Self::NoSeries
            | Self::ManySeries { .. }
            | Self::NotANumber
            | Self::Infinite
            | Self::WrongType { .. }
            | Self::TooLarge { .. }
            | Self::Postponed => Blame::Query,
        }
    }
}

/// The first `limit` characters, with an ellipsis where something is missing; control characters become spaces.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    let mut short: String = text.trim().chars().take(limit).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.trim().chars().nth(limit).is_some() {
        short.push('…');
    }
    short
}

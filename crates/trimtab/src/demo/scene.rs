//! What a demo shows of itself, whether its fleets are simulated or real: the page, the report and the summary read this and nothing else.

use super::day::Span;
use serde::Serialize;
use trimtab_core::unit::{Seconds, Timestamp};

/// Who scales.
pub(crate) const CONTESTANTS: [&str; 3] = ["trimtab", "HPA", "KEDA"];

/// What a demo's fleets are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Form {
    /// Tasks that answer real requests on this machine's loopback.
    Real,
    /// Simulated services in virtual time.
    Simulated,
}

/// One contestant at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Side {
    pub(crate) wanted: u32,
    pub(crate) ready: u32,
    /// Requests that wait.
    pub(crate) waiting: usize,
    /// 99th percentile, seconds.
    pub(crate) p99: Option<f64>,
    /// Replica-hours so far.
    pub(crate) hours: f64,
}

/// A moment of the course.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Moment {
    pub(crate) at: Timestamp,
    /// Requests a second that arrived, the same for everybody.
    pub(crate) rate: f64,
    pub(crate) sides: [Side; 3],
}

/// A change of size, or something that happens to everybody.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Happened {
    pub(crate) at: Timestamp,
    /// A contestant; `world` where it happens to all.
    pub(crate) who: &'static str,
    pub(crate) what: String,
}

/// What a contestant paid, and what came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Hours of replicas, starting ones too.
    pub(crate) hours: f64,
    /// Changes of the size, and replicas added and removed by them.
    pub(crate) changes: u64,
    pub(crate) churn: u64,
    /// Requests of each window, and whether they missed the objective. The last ones may still change.
    pub(crate) windows: Vec<(u64, bool)>,
}

/// How the machine carried a demo of real requests.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Burden {
    /// How late requests were sent, 99 of 100 less than this, and the latest: what the generator itself added to every latency, seconds.
    pub(crate) late_p99: f64,
    pub(crate) late_most: f64,
    /// Processor cores in use by all of it, where the system says.
    pub(crate) cores: Option<f64>,
    /// Cores that there are.
    pub(crate) of: usize,
}

impl Burden {
    /// A tenth of the objective: above it, latencies are this machine's as much as a fleet's.
    const BEARABLE: f64 = 0.02;

    /// Whether this machine was too slow for what it was to carry.
    pub(crate) fn is_too_much(&self) -> bool {
        self.late_p99 > Self::BEARABLE
    }
}

/// A demo so far.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) form: Form,
    pub(crate) seed: u64,
    pub(crate) begins: Timestamp,
    pub(crate) at: Timestamp,
    /// How long it lasts where nobody ends it.
    pub(crate) lasts: Seconds,
    /// What the objective counts.
    pub(crate) window: Seconds,
    /// Between two moments.
    pub(crate) step: Seconds,
    pub(crate) moments: &'a [Moment],
    pub(crate) happened: &'a [Happened],
    pub(crate) spans: &'a [Span],
    pub(crate) ledgers: [Ledger; 3],
    pub(crate) burden: Option<Burden>,
}

impl Scene<'_> {
    /// A moment for people: the time of the simulated day, or minutes and seconds since the beginning.
    pub(crate) fn clock(&self, at: Timestamp) -> String {
        clock(self.form, self.begins, at)
    }

    /// Whether each contestant missed each window of which there is a moment.
    pub(crate) fn missed(&self) -> [Vec<bool>; 3] {
        let ended = self.moments.last().map_or(Seconds::ZERO, |last| last.at.since(self.begins)).get();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "windows of a day")]
        let windows = (ended / self.window.get()) as usize;
        self.ledgers.each_ref().map(|ledger| {
            let mut missed: Vec<bool> = ledger.windows.iter().map(|(_, missed)| *missed).take(windows).collect();
            missed.resize(windows, false);
            missed
        })
    }

    /// The moment with which a window of the objective ends.
    pub(crate) fn moment_of(&self, window: usize) -> Option<&Moment> {
        let end = self.begins.after(self.window_starts(window + 1));
        self.moments.iter().find(|moment| moment.at >= end)
    }

    /// When a window begins, after the beginning.
    pub(crate) fn window_starts(&self, window: usize) -> Seconds {
        Seconds::new(self.window.get() * window as f64).unwrap_or_default()
    }
}

/// The time of a simulated day, or what has passed of a real demo.
pub(crate) fn clock(form: Form, begins: Timestamp, at: Timestamp) -> String {
    match form {
        Form::Simulated => {
            let seconds = (at.0 - super::day::MIDNIGHT.0).div_euclid(1000);
            format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
        }
        Form::Real => {
            let seconds = (at.0 - begins.0).div_euclid(1000);
            format!("{}:{:02}", seconds / 60, seconds % 60)
        }
    }
}

//! What was recorded of a live run: a directory with `run.json`, `trace.csv`, `requests.csv`, `fleet.csv` and `writes.csv`.

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What a run was. Times are seconds on the clock of the load, which began at 0.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The course of demand, by its name.
    pub trace: String,
    /// Who was in charge, by its name.
    pub contestant: String,
    /// Which of the repeats, from 1.
    pub repeat: u32,
    /// When the load began.
    pub began: jiff::Timestamp,
    /// Until then demand was at rest, and nothing is graded.
    pub warm_up: f64,
    /// When demand ended.
    pub ends: f64,
    /// Least replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// Replicas at the beginning.
    pub first: u32,
    /// Requests a second that a replica serves at full use.
    pub capacity: f64,
    /// The promised 99th percentile, seconds.
    pub slo: f64,
    /// Requests that wait for a replica at most.
    pub queue: u32,
    /// Scale-down stabilization of trimtab's policy, seconds.
    pub stabilization: f64,
    /// What was done to the cluster meanwhile, and when; empty where nothing was.
    pub disturbance: String,
    /// CPU seconds of each process of the cluster, and of the agent, during the graded part.
    pub cpu: BTreeMap<String, f64>,
    /// Their resident memory at the end, bytes.
    pub memory: BTreeMap<String, f64>,
    /// Requests that the API server answered during the graded part, without those of who measured.
    pub api_requests: f64,
    /// Share of the machine's CPU time that was used during the graded part, whoever used it.
    pub busy: f64,
    /// Share of that time in which something waited for a CPU; `None` where the kernel does not count it.
    pub stalled: Option<f64>,
    /// What was measured with: versions, build profile, processors.
    pub made_of: BTreeMap<String, String>,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// When it was meant to be sent.
    pub(super) due: f64,
    /// How much later the generator sent it.
    pub(super) late: f64,
    pub(super) latency: f64,
    pub(super) end: End,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Served,
    Refused,
    TimedOut,
    Lost,
}

impl FromStr for End {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "served" => Ok(Self::Served),
            "refused" => Ok(Self::Refused),
            "timed out" => Ok(Self::TimedOut),
            "lost" => Ok(Self::Lost),
            other => anyhow::bail!("expected served, refused, timed out or lost, found `{other}`"),
        }
    }
}

/// The fleet at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fleet {
    pub(super) at: f64,
    /// Replicas that were asked for.
    pub(super) desired: u32,
    /// Pods that were there, starting and ending ones too.
    pub(super) pods: u32,
    pub(super) ready: u32,
    /// What a trimtab that only watches would have asked for.
    pub(super) said: Option<u32>,
}

/// A run, with what came of it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) run: Run,
    /// When a rate began, and the rate.
    pub(super) trace: Vec<(f64, f64)>,
    pub(super) requests: Vec<Request>,
    pub(super) fleet: Vec<Fleet>,
    /// When a size was written.
    pub(super) writes: Vec<f64>,
}

impl Record {
    /// Reads a run's directory.
    ///
    /// # Errors
    /// Where a file is missing or malformed: which, and in which line.
    pub(super) fn read(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join("run.json");
        let run = serde_json::from_str(&text(&path)?).with_context(|| format!("failed to read {}", path.display()))?;
        Ok(Self {
            run,
            trace: rows(&directory.join("trace.csv"), |row| Ok((number(row, 0)?, number(row, 1)?)))?,
            requests: rows(&directory.join("requests.csv"), |row| {
                let end = row.get(3).copied().unwrap_or_default().parse()?;
                Ok(Request { due: number(row, 0)?, late: number(row, 1)?, latency: number(row, 2)?, end })
            })?,
            fleet: rows(&directory.join("fleet.csv"), |row| {
                let said = row.get(4).filter(|said| !said.is_empty()).map(|said| said.parse()).transpose()?;
                let (desired, pods, ready) = (number(row, 1)?, number(row, 2)?, number(row, 3)?);
                Ok(Fleet { at: number(row, 0)?, desired, pods, ready, said })
            })?,
            writes: rows(&directory.join("writes.csv"), |row| number(row, 0))?,
        })
    }

    /// Every run below a directory, by trace, contestant and repeat.
    ///
    /// # Errors
    /// Where there is none, or one cannot be read.
    pub(super) fn all(directory: &Path) -> anyhow::Result<Vec<Self>> {
        let mut found = Vec::new();
        find(directory, &mut found)?;
        ensure!(
            !found.is_empty(),
            "no run.json below {}: expected the directory that testbed/match wrote",
            directory.display()
        );
        found.sort();
        found.iter().map(|path| Self::read(path)).collect()
    }

    /// Requests a second at a moment.
    pub(super) fn rate(&self, at: f64) -> f64 {
        let place = self.trace.partition_point(|(begins, _)| *begins <= at);
        place.checked_sub(1).and_then(|place| self.trace.get(place)).map_or(0.0, |(_, rate)| *rate)
    }
}

fn find(directory: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if directory.join("run.json").exists() {
        found.push(directory.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(directory).with_context(|| format!("failed to read {}", directory.display()))?;
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        find(&entry.path(), found)?;
    }
    Ok(())
}

fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

fn rows<T>(path: &Path, read: impl Fn(&[&str]) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    let text = text(path)?;
    let lines = text.lines().enumerate().skip(1).filter(|(_, line)| !line.is_empty());
    let of = |(number, line): (usize, &str)| {
        let fields: Vec<&str> = line.split(',').collect();
        read(&fields).with_context(|| format!("failed to read {}: line {}", path.display(), number + 1))
    };
    lines.map(of).collect()
}

fn number<T: FromStr>(row: &[&str], column: usize) -> anyhow::Result<T> {
    let field = row.get(column).copied().unwrap_or_default();
    field.parse().map_err(|_| anyhow::anyhow!("expected a number in column {}, found `{field}`", column + 1))
}

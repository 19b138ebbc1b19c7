//! What the core remembers of one workload: bounded in size, `Clone`, so that a replay can start anywhere.

use crate::{backlog, capacity, demand, forecast, limit, moves, protect, trust, utilization};
use serde::{Deserialize, Serialize};

/// The memory of one workload's decisions. Each step owns its part and sees no other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub(crate) looked: bool,
    pub(crate) demand: demand::Memory,
    #[serde(default)]
    pub(crate) utilization: utilization::Memory,
    pub(crate) capacity: capacity::Memory,
    pub(crate) lead: crate::decide::Lead,
    #[serde(default)]
    pub(crate) moves: moves::Memory,
    #[serde(default)]
    pub(crate) backlog: backlog::Memory,
    /// Not `forecast`: under that name older records keep what only the first forecast understood.
    #[serde(default, rename = "course")]
    pub(crate) forecast: forecast::Memory,
    #[serde(default)]
    pub(crate) trust: trust::Memory,
    pub(crate) protect: protect::Memory,
    pub(crate) limit: limit::Memory,
}

impl State {
    /// How near the forecasts of demand came, each expert's too; `None` before anything was judged.
    #[must_use]
    pub fn track_record(&self) -> Option<forecast::TrackRecord> {
        self.forecast.track()
    }
}

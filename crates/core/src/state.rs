//! What the core remembers of one workload: constant in size, `Clone`, so that a replay can start anywhere.

use crate::{capacity, demand, forecast, limit, protect};
use serde::{Deserialize, Serialize};

/// The memory of one workload's decisions. Each step owns its part and sees no other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub(crate) looked: bool,
    pub(crate) demand: demand::Memory,
    pub(crate) capacity: capacity::Memory,
    pub(crate) lead: crate::decide::Lead,
    pub(crate) forecast: forecast::Memory,
    pub(crate) protect: protect::Memory,
    pub(crate) limit: limit::Memory,
}

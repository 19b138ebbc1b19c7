//! What comes out: each metric's proposal, the number that won, the number that is set, and why.

use crate::case::Id;
use crate::object::Condition;
use crate::pods::Groups;
use crate::quantity::text_of_milli;
use serde::{Serialize, Serializer};
use std::fmt;

/// What the controller makes of a case.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// The case's own.
    pub id: Id,
    /// One for each metric of the spec, in its order.
    pub metrics: Vec<MetricAnswer>,
    /// What the metrics ask for together; nothing where they were not asked or could not say.
    pub proposal: Option<i32>,
    /// The size that is set; the current one where nothing is decided.
    pub desired: i32,
    /// What the autoscaler's status says then, in its order.
    pub conditions: Vec<Condition>,
    /// The same in words.
    pub because: String,
}

/// What one metric asks for. Nothing at all where it was not asked.
#[derive(Clone, Debug, Serialize)]
pub struct MetricAnswer {
    /// The resource or metric.
    pub name: String,
    /// Replicas.
    pub proposal: Option<i32>,
    /// What is compared with its target.
    pub usage: Option<Usage>,
    /// Why it cannot say.
    pub error: Option<String>,
    /// Of a metric of pods: who counted.
    #[serde(skip)]
    pub groups: Option<Groups>,
}

/// A usage as the status shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// In percent of what is asked for.
    Percent(i64),
    /// In thousandths of the metric's unit.
    Milli {
        /// How many.
        milli: i64,
        /// Written in powers of 1024 where possible.
        binary: bool,
    },
}

impl fmt::Display for Usage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Percent(percent) => write!(formatter, "{percent}%"),
            Self::Milli { milli, binary } => formatter.write_str(&text_of_milli(milli, binary)),
        }
    }
}

impl Serialize for Usage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A field that is not there, without which upstream's controller crashes; the API server always fills it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Where it belongs in the case.
    pub field: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: missing; the API server requires it, and the controller crashes without it", self.field)
    }
}

impl std::error::Error for Missing {}

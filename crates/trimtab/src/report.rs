//! What is known of each workload, as data: the answer of the read-only API, and what `status` and `explain` print.

use crate::config::Mode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trimtab_core::demand::Demand;
use trimtab_core::forecast::TrackRecord;
use trimtab_core::policy::Policy;
use trimtab_core::snapshot::{Coverage, Reading};
use trimtab_core::unit::{Replicas, Seconds, Timestamp};
use trimtab_core::{Decision, Snapshot};
use trimtab_journal::Outcome;

/// Everything that one agent knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// This agent's name.
    pub agent: String,
    /// Its version.
    pub version: String,
    /// When the report was made.
    pub at: Timestamp,
    /// Whether this agent's own Lease lasts, so that it may write what it has claimed.
    pub may_write: bool,
    /// What is in trouble beyond a single workload, with the cure.
    pub troubles: BTreeMap<String, String>,
    /// Workloads that no agent has claimed though one should have; each is in `troubles` too.
    #[serde(default)]
    pub unclaimed: usize,
    /// All workloads, by namespace/kind/name.
    pub workloads: Vec<Workload>,
}

impl Report {
    /// Of an agent that has just started and knows nothing.
    #[must_use]
    pub fn of(agent: &str) -> Self {
        Self {
            agent: agent.to_owned(),
            version: env!("CARGO_PKG_VERSION").into(),
            at: Timestamp::default(),
            may_write: false,
            troubles: BTreeMap::new(),
            unclaimed: 0,
            workloads: Vec::new(),
        }
    }
}

/// What all agents say together: of each workload what the agent says that decides it, or else the first.
#[must_use]
pub fn of_all(reports: Vec<Report>) -> Report {
    let mut all = Report::of("");
    let mut workloads: BTreeMap<String, Workload> = BTreeMap::new();
    for report in reports {
        if all.at < report.at {
            (all.agent, all.at) = (report.agent, report.at);
        }
        all.may_write |= report.may_write;
        all.troubles.extend(report.troubles);
        // All see the same claims.
        all.unclaimed = all.unclaimed.max(report.unclaimed);
        for workload in report.workloads {
            let known = workloads.get(&workload.workload);
            if known.is_none_or(|known| matches!(known.writes, Writes::OtherAgent(_))) {
                workloads.insert(workload.workload.clone(), workload);
            }
        }
    }
    all.workloads = workloads.into_values().collect();
    all
}

/// One workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Workload {
    /// Namespace/kind/name.
    pub workload: String,
    /// Where its policy stands: document and line.
    pub policy_origin: String,
    /// Whether its decisions are written, and if not, why not.
    pub writes: Writes,
    /// Why nothing is decided, with the cure; `None` while something is.
    pub problem: Option<String>,
    /// What could not be read, by signal, with the cure.
    pub signals: Vec<Signal>,
    /// The last decision with all that it was taken from.
    pub last: Option<Considered>,
    /// The last change that was written.
    pub changed: Option<Changed>,
    /// Who decides it, where an agent has claimed it.
    #[serde(default)]
    pub claim: Option<Claim>,
    /// What its policy, or else the agent, says of its decisions; `None` of what is only recorded.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// The other autoscaler that scales it, where there is one.
    #[serde(default)]
    pub autoscaler: Option<Autoscaler>,
    /// What somebody has to mend: most of it keeps the workload from being decided.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Who set the size last, as a field manager, where that can be told; while trimtab stands back for somebody, who that is.
    #[serde(default)]
    pub set_by: Option<String>,
}

/// Something about a workload that somebody has to mend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What it is.
    pub name: Lack,
    /// In words, with the cure.
    pub why: String,
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.why)
    }
}

/// What a workload lacks. While it does, nothing is decided of it, but where a policy was written for a workload that is scaled twice, or
/// where a right is lacking that is needed for writing alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Lack {
    /// There is no such object.
    TargetMissing,
    /// The API server knows no such kind, or did not say.
    KindUnknown,
    /// It cannot be scaled, or its size cannot be read.
    NotScalable,
    /// Its namespace is not watched.
    NotWatched,
    /// Its kind, or pods, cannot be listed.
    NotReadable,
    /// A right is lacking that it needs.
    Forbidden,
    /// Several autoscalers scale it.
    ScaledTwice,
    /// Its autoscaler gives no policy, and nobody wrote one.
    NoPolicy,
    /// Several documents have a policy for it.
    PolicyTwice,
    /// Its policy names a Prometheus server that is not configured.
    SourceUnknown,
}

impl Lack {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::TargetMissing,
        Self::KindUnknown,
        Self::NotScalable,
        Self::NotWatched,
        Self::NotReadable,
        Self::Forbidden,
        Self::ScaledTwice,
        Self::NoPolicy,
        Self::PolicyTwice,
        Self::SourceUnknown,
    ];

    /// As `status`, the log and the metric say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TargetMissing => "TargetMissing",
            Self::KindUnknown => "KindUnknown",
            Self::NotScalable => "NotScalable",
            Self::NotWatched => "NotWatched",
            Self::NotReadable => "NotReadable",
            Self::Forbidden => "Forbidden",
            Self::ScaledTwice => "ScaledTwice",
            Self::NoPolicy => "NoPolicy",
            Self::PolicyTwice => "PolicyTwice",
            Self::SourceUnknown => "SourceUnknown",
        }
    }

    /// It with its words.
    pub(crate) fn because(self, why: impl Into<String>) -> Condition {
        Condition { name: self, why: why.into() }
    }
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Another autoscaler beside a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autoscaler {
    /// `hpa shop/web`; where several scale the workload, all of them.
    pub name: String,
    /// The size that it asks for now; `None` where it does not say.
    pub wants: Option<Replicas>,
    /// The least that it may ask for, where that is set.
    pub min: Option<u32>,
    /// The most.
    pub max: u32,
    /// Whether it changes the size: it is not paused.
    pub active: bool,
    /// Why it cannot decide, in its own words.
    pub problem: Option<String>,
    /// Whether the workload's policy is what it amounts to, since nobody wrote one.
    pub is_policy: bool,
}

impl Autoscaler {
    /// Who it is in a word, `hpa` or `keda`, and what it asks for.
    #[must_use]
    pub fn wish(&self) -> String {
        let who = match self.name.split_once(' ') {
            Some(_) if self.name.contains(" and ") => "several",
            Some(("scaledobject", _)) => "keda",
            Some((kind, _)) => kind,
            None => &self.name,
        };
        match self.wants {
            _ if !self.active => format!("{who} paused"),
            Some(wants) => format!("{who} {wants}"),
            None => format!("{who} ?"),
        }
    }
}

/// Which agent decides a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The agent: its pod, where its Service lists it.
    pub agent: String,
    /// The label, as it is on the object.
    pub epoch: String,
    /// Since when, as the agent saw it that made this report.
    pub since: Timestamp,
    /// Why it changed hands last; only the agent that claimed it knows.
    pub why: Option<String>,
}

/// What an agent has seen of each workload by itself, by namespace/kind/name.
pub type Sights = BTreeMap<String, Sight>;

/// What an agent has seen of a workload by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sight {
    /// The last hour in figures.
    pub hour: Hour,
    /// How long its pods took from creation to Ready, oldest first.
    pub startups: Vec<Seconds>,
    /// How near the forecasts of its demand came, each expert's too; `None` before anything was judged.
    #[serde(default)]
    pub track_record: Option<TrackRecord>,
}

/// The last hour of a workload, or as much of it as this agent has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hour {
    /// Half-minutes of which the latency is known.
    pub windows: u32,
    /// Those of them in which it was above its target.
    pub missed: u32,
    /// Half-minutes in which demand was not known at some time.
    pub blind: u32,
    /// Hours of replicas that were asked for.
    pub replica_hours: f64,
    /// Hours of replicas if each decision had been carried out at once; the same where it was.
    pub decided_hours: f64,
    /// Hours that the other figures are about.
    pub seen: f64,
}

impl Workload {
    /// A workload as the journal alone knows it.
    #[must_use]
    pub fn recorded(workload: String, last: Considered) -> Self {
        Self {
            workload,
            policy_origin: "as recorded".into(),
            writes: Writes::NotRecorded,
            problem: None,
            signals: Vec::new(),
            last: Some(last),
            changed: None,
            claim: None,
            mode: None,
            autoscaler: None,
            conditions: Vec::new(),
            set_by: None,
        }
    }
}

/// A decision with all that it was taken from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Considered {
    /// What the operator wants.
    pub policy: Policy,
    /// What was seen.
    pub snapshot: Snapshot,
    /// What was decided, and why.
    pub decision: Decision,
    /// What became of it, where it was written.
    pub outcome: Option<Outcome>,
}

impl Considered {
    /// Whether demand is known of some replicas only, where they can be counted, or its source says so: a fall is then not believed.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        let counted = match &self.snapshot.demand {
            Reading::Fresh(sample) => sample.coverage != Coverage::Unmeasured,
            Reading::Stale(_) | Reading::Missing(_) => false,
        };
        counted && matches!(self.decision.demand, Demand::Known { complete: false, .. })
    }
}

/// Whether decisions are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writes {
    /// They are.
    Own,
    /// The least size of the workload's own autoscaler is raised.
    Floor,
    /// Mode floor, and its autoscaler does not carry the label `trimtab.dev/mode=floor`.
    FloorNotOptedIn,
    /// Mode floor, and there is nothing whose least size could be raised: why, and the cure.
    NoFloor(String),
    /// Mode own, and this autoscaler scales the workload.
    Beside(String),
    /// The policy says shadow.
    Shadow,
    /// The workload does not carry the label `trimtab.dev/mode=own`.
    NotOptedIn,
    /// Another agent has claimed it, or nobody has yet.
    OtherAgent(Option<String>),
    /// Of a decision that is past: the journal records what became of a write, not why there was none.
    NotRecorded,
    /// Somebody else changed the size: nothing is written until then.
    StandingDown(Timestamp),
    /// The API server refused, and would again: nothing is written until then.
    Blocked {
        /// When the next attempt may be made.
        until: Timestamp,
        /// What it said.
        why: String,
    },
}

impl std::fmt::Display for Writes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Own => f.write_str("own"),
            Self::Floor => f.write_str("floor"),
            Self::NoFloor(_) => f.write_str("no floor"),
            Self::Beside(_) => f.write_str("beside"),
            Self::Shadow => f.write_str("shadow"),
            Self::NotOptedIn | Self::FloorNotOptedIn => f.write_str("not opted in"),
            Self::OtherAgent(_) => f.write_str("other agent"),
            Self::NotRecorded => f.write_str("not recorded"),
            Self::StandingDown(_) => f.write_str("standing down"),
            Self::Blocked { .. } => f.write_str("blocked"),
        }
    }
}

/// One query of a workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signal {
    /// `demand`, `capacity`, `latency`, or `protect NAME`.
    pub name: String,
    /// Its expression.
    pub query: String,
    /// What is wrong with its answer, with the cure.
    pub problem: Option<String>,
}

/// A change that was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// When it was decided.
    pub at: Timestamp,
    /// The size before.
    pub from: Replicas,
    /// The size after.
    pub to: Replicas,
    /// What became of it.
    pub outcome: Outcome,
}

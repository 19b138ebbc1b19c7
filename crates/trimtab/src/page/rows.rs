//! The rows of the overview: what `trimtab status` says of each workload, as data that can be sorted, filtered and paged.

use crate::explain;
use crate::report::{Hour, Report, Sights, Workload};
use serde::{Deserialize, Serialize};
use trimtab_core::Verb;
use trimtab_core::demand::Demand;
use trimtab_core::unit::{RequestsPerSecond, Seconds, Timestamp};

/// Rows on one page.
pub(crate) const PAGE: usize = 100;

/// What a row is about; who needs a look comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// Nothing is decided.
    Undecided,
    /// Demand is not known.
    Blind,
    /// It is changing.
    ScaleOut,
    /// It is changing.
    ScaleDown,
    /// A limit holds a change back.
    Held,
    /// Nothing is to be done.
    Hold,
}

impl State {
    pub(crate) fn of(workload: &Workload) -> Self {
        let Some(last) = &workload.last else { return Self::Undecided };
        match (&last.decision.demand, last.decision.verb) {
            (Demand::Stale { .. } | Demand::Unknown(_), _) => Self::Blind,
            (Demand::Known { .. }, Verb::ScaleOut) => Self::ScaleOut,
            (Demand::Known { .. }, Verb::ScaleDown) => Self::ScaleDown,
            (Demand::Known { .. }, Verb::Hold) if !last.decision.bites.is_empty() => Self::Held,
            (Demand::Known { .. }, Verb::Hold | Verb::MoveToCheaperNode) => Self::Hold,
        }
    }

    /// Whether nobody knows what would be right.
    pub(crate) const fn is_blind(self) -> bool {
        matches!(self, Self::Undecided | Self::Blind)
    }

    /// Whether its size would change.
    pub(crate) const fn is_changing(self) -> bool {
        matches!(self, Self::ScaleOut | Self::ScaleDown)
    }

    /// A sign and a word: neither stands alone.
    pub(crate) const fn shown(self) -> (&'static str, &'static str) {
        match self {
            Self::Undecided => ("?", "undecided"),
            Self::Blind => ("◌", "blind"),
            Self::ScaleOut => ("▲", "scale out"),
            Self::ScaleDown => ("▼", "scale down"),
            Self::Held => ("▪", "held"),
            Self::Hold => ("·", "hold"),
        }
    }
}

/// One row. What is not known is not there.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) workload: String,
    pub(crate) state: State,
    /// Whether decisions are written, and if not, why not.
    pub(crate) writes: String,
    pub(crate) ready: Option<u32>,
    pub(crate) desired: Option<u32>,
    pub(crate) decided: Option<u32>,
    /// Who else scales it, and what that asks for; `-` where nobody does.
    pub(crate) autoscaler: String,
    /// What that asks for.
    pub(crate) autoscaler_wants: Option<u32>,
    pub(crate) demand: Option<RequestsPerSecond>,
    /// Upper edge of the forecast at the lead time.
    pub(crate) ahead: Option<RequestsPerSecond>,
    pub(crate) latency: Option<Seconds>,
    pub(crate) target: Option<Seconds>,
    /// Half-minutes of the last hour that were missed, and that are known.
    pub(crate) missed: u32,
    pub(crate) windows: u32,
    /// Of the last hour.
    pub(crate) replica_hours: f64,
    /// Signals with a problem, and all.
    pub(crate) signals_wrong: usize,
    pub(crate) signals: usize,
    pub(crate) why: String,
}

impl Row {
    /// Whether its latency is above its target.
    pub(crate) fn is_late(&self) -> bool {
        self.latency.zip(self.target).is_some_and(|(latency, target)| latency > target)
    }

    pub(crate) fn of(workload: &Workload, hour: Hour) -> Self {
        let last = workload.last.as_ref();
        let decision = last.map(|last| &last.decision);
        let undecided = || explain::undecided(workload).unwrap_or_else(|| "starting".into());
        let why = decision.map_or_else(undecided, explain::because);
        Self {
            workload: workload.workload.clone(),
            state: State::of(workload),
            writes: workload.writes.to_string(),
            ready: last.map(|last| last.snapshot.fleet.ready.0),
            desired: last.map(|last| last.snapshot.fleet.desired.0),
            decided: decision.map(|decision| decision.to.0),
            autoscaler: explain::wish(workload),
            autoscaler_wants: workload.autoscaler.as_ref().and_then(|other| other.wants).map(|wants| wants.0),
            demand: decision.and_then(|decision| known(&decision.demand)),
            ahead: decision.and_then(|decision| decision.forecast.as_ref()).map(|forecast| forecast.upper),
            latency: last.and_then(|last| last.snapshot.latency.fresh()),
            target: last.map(|last| last.policy.objective.latency),
            missed: hour.missed,
            windows: hour.windows,
            replica_hours: hour.replica_hours,
            signals_wrong: workload.signals.iter().filter(|signal| signal.problem.is_some()).count(),
            signals: workload.signals.len(),
            why,
        }
    }
}

pub(crate) fn known(demand: &Demand) -> Option<RequestsPerSecond> {
    match demand {
        Demand::Known { rate, .. } => Some(*rate),
        Demand::Stale { .. } | Demand::Unknown(_) => None,
    }
}

/// What is asked for: the state of the overview, as its address has it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Asked {
    /// Words that a row contains, all of them.
    #[serde(default)]
    pub(crate) q: String,
    /// A column; with `-` in front from the largest down.
    #[serde(default)]
    pub(crate) sort: String,
    /// From 1.
    #[serde(default)]
    pub(crate) page: usize,
}

/// A page of rows.
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the API calls them so")]
pub(crate) struct Rows {
    schema: &'static str,
    pub(crate) at: Timestamp,
    /// Workloads, and those that the filter leaves.
    pub(crate) all: usize,
    pub(crate) found: usize,
    pub(crate) page: usize,
    pub(crate) pages: usize,
    pub(crate) changing: usize,
    pub(crate) blind: usize,
    pub(crate) missed: u32,
    pub(crate) windows: u32,
    pub(crate) replica_hours: f64,
    pub(crate) rows: Vec<Row>,
}

impl Rows {
    /// A page of them.
    pub(crate) fn of(report: &Report, sights: &Sights, asked: &Asked) -> Self {
        let mut all = Self::whole(report, sights, asked);
        let page = asked.page.clamp(1, all.pages);
        all.rows.drain(..((page - 1) * PAGE).min(all.rows.len()));
        all.rows.truncate(PAGE);
        Self { page, ..all }
    }

    /// All that the filter leaves, in their order.
    pub(crate) fn whole(report: &Report, sights: &Sights, asked: &Asked) -> Self {
        let hour = |workload: &Workload| sights.get(&workload.workload).map(|sight| sight.hour).unwrap_or_default();
        let all: Vec<Row> = report.workloads.iter().map(|workload| Row::of(workload, hour(workload))).collect();
        let count = |of: &dyn Fn(&Row) -> bool| all.iter().filter(|row| of(row)).count();
        let changing = count(&|row| row.state.is_changing());
        let blind = count(&|row| row.state.is_blind());
        let (missed, windows) = all.iter().fold((0, 0), |sum, row| (sum.0 + row.missed, sum.1 + row.windows));
        // Of none it is zero, where `sum` says -0.
        let replica_hours = all.iter().fold(0.0, |sum, row| sum + row.replica_hours);
        let total = all.len();
        let mut found: Vec<Row> = all.into_iter().filter(|row| matches(row, &asked.q)).collect();
        sort(&mut found, &asked.sort);
        let pages = found.len().div_ceil(PAGE).max(1);
        Self {
            schema: "trimtab.dev/overview/v1",
            at: report.at,
            all: total,
            found: found.len(),
            page: 1,
            pages,
            changing,
            blind,
            missed,
            windows,
            replica_hours,
            rows: found,
        }
    }
}

fn matches(row: &Row, filter: &str) -> bool {
    let (word, other) = (row.state.shown().1, &row.autoscaler);
    let text = format!("{} {word} {} {other} {}", row.workload, row.writes, row.why).to_lowercase();
    filter.to_lowercase().split_whitespace().all(|word| text.contains(word))
}

fn sort(rows: &mut [Row], by: &str) {
    let (column, down) = by.strip_prefix('-').map_or((by, false), |column| (column, true));
    let number = |row: &Row| match column {
        "ready" => row.ready.map(f64::from),
        "decided" => row.decided.map(f64::from),
        "autoscaler" => row.autoscaler_wants.map(f64::from),
        "demand" => row.demand.map(RequestsPerSecond::get),
        "ahead" => row.ahead.map(RequestsPerSecond::get),
        "latency" => row.latency.map(Seconds::get),
        "missed" => Some(f64::from(row.missed)),
        "replica_hours" => Some(row.replica_hours),
        "signals" => Some(row.signals_wrong as f64),
        _ => None,
    };
    match column {
        "workload" => rows.sort_by(|one, other| one.workload.cmp(&other.workload)),
        "writes" => rows.sort_by(|one, other| one.writes.cmp(&other.writes)),
        "" | "state" => rows.sort_by(|one, other| (one.state, &one.workload).cmp(&(other.state, &other.workload))),
        // What is not known comes last, whichever way.
        _ => rows.sort_by(|one, other| match (number(one), number(other)) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            (one, other) => (one.is_none() != down).cmp(&(other.is_none() != down)),
        }),
    }
    if down {
        rows.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Autoscaler, Sight, Writes};
    use trimtab_core::unit::Replicas;

    fn report(workloads: usize) -> (Report, Sights) {
        let workload = |number: usize| Workload {
            workload: format!("shop/deployment/w{number:04}"),
            policy_origin: String::new(),
            writes: Writes::Shadow,
            problem: number.is_multiple_of(7).then(|| "does not exist".into()),
            signals: Vec::new(),
            last: None,
            changed: None,
            claim: None,
            mode: None,
            autoscaler: None,
            conditions: Vec::new(),
            set_by: None,
        };
        let report = Report { workloads: (0..workloads).map(workload).collect(), ..Report::of("a") };
        let sights = report.workloads.iter().zip(0_u32..).map(|(workload, number)| {
            let hour = Hour { missed: number % 10, windows: 120, ..Hour::default() };
            (workload.workload.clone(), Sight { hour, ..Sight::default() })
        });
        let sights = sights.collect();
        (report, sights)
    }

    #[test]
    fn rows_are_filtered_sorted_and_paged() {
        let (report, sights) = report(2_000);
        let rows = Rows::of(&report, &sights, &Asked { q: "SHOP w19".into(), sort: "-missed".into(), page: 0 });
        assert_eq!((rows.all, rows.found, rows.page, rows.pages, rows.rows.len()), (2_000, 100, 1, 1, 100));
        assert!(rows.rows.is_sorted_by(|one, other| one.missed >= other.missed));
        let rows = Rows::of(&report, &sights, &Asked { page: 99, ..Asked::default() });
        assert_eq!((rows.page, rows.pages, rows.rows.len()), (20, 20, 100), "beyond the last is the last");
        assert!(Rows::of(&report, &sights, &Asked { q: "exist".into(), ..Asked::default() }).found == 286);
    }

    #[test]
    fn who_else_scales_a_workload_is_shown_sorted_and_found() {
        let (mut report, sights) = report(4);
        for (number, (name, wants, active)) in [
            ("hpa shop/w", Some(9), true),
            ("scaledobject shop/w", Some(12), true),
            ("scaledobject shop/w", None, false),
        ]
        .into_iter()
        .enumerate()
        {
            report.workloads[number].autoscaler = Some(Autoscaler {
                name: name.into(),
                wants: wants.map(Replicas),
                min: Some(2),
                max: 14,
                active,
                problem: None,
                is_policy: true,
            });
        }
        let asked =
            |q: &str, sort: &str| Rows::of(&report, &sights, &Asked { q: q.into(), sort: sort.into(), page: 0 });
        let shown = |rows: Rows| rows.rows.into_iter().map(|row| row.autoscaler).collect::<Vec<_>>();
        assert_eq!(shown(asked("", "workload")), ["hpa 9", "keda 12", "keda paused", "-"]);
        assert_eq!(shown(asked("", "-autoscaler"))[..2], ["keda 12", "hpa 9"]);
        assert_eq!(shown(asked("KEDA", "workload")), ["keda 12", "keda paused"]);
        // In the same words as `trimtab status`.
        let status = explain::status(vec![report.clone()], None);
        assert!(["hpa 9", "keda 12", "keda paused"].iter().all(|words| status.contains(words)), "{status}");
    }
}

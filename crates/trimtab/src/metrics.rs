//! `/metrics`: typed, with bounded labels.
//!
//! What holds of each workload is read from the last report when somebody scrapes, so that a workload which is gone leaves no
//! series behind; what happened is counted as it happens.

use crate::report::{Hour, Report, Sights, Writes};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio::sync::watch;
use trimtab_core::Verb;
use trimtab_core::demand::Demand;
use trimtab_core::invariant::Breach;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerbLabel {
    verb: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InvariantLabel {
    invariant: &'static str,
}

/// What is counted as it happens.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    decisions: Family<VerbLabel, Counter>,
    writes: Family<OutcomeLabel, Counter>,
    breaches: Family<InvariantLabel, Counter>,
    queries: Counter,
    journal_errors: Counter,
    round_seconds: RoundSeconds,
}

#[derive(Clone, Debug)]
struct RoundSeconds(Histogram);

impl Default for RoundSeconds {
    fn default() -> Self {
        // From a local Prometheus with one query to the deadline of a round.
        Self(Histogram::new([0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]))
    }
}

impl Counters {
    /// A decision was taken.
    pub fn decided(&self, verb: Verb) {
        self.decisions.get_or_create(&VerbLabel { verb: verb.to_string() }).inc();
    }

    /// A write ended.
    pub fn wrote(&self, outcome: &'static str) {
        self.writes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A decision broke an invariant; it was not carried out.
    pub fn broke(&self, invariant: &'static str) {
        self.breaches.get_or_create(&InvariantLabel { invariant }).inc();
    }

    /// A round of queries ended.
    pub fn asked(&self, requests: u32, took: std::time::Duration) {
        self.queries.inc_by(u64::from(requests));
        self.round_seconds.0.observe(took.as_secs_f64());
    }

    /// The journal could not be written.
    pub fn journal_failed(&self) {
        self.journal_errors.inc();
    }
}

/// The registry that `/metrics` prints.
#[must_use]
pub fn registry(
    counters: &Counters,
    report: watch::Receiver<Arc<Report>>,
    sights: watch::Receiver<Arc<Sights>>,
) -> Registry {
    // A rise from nothing is no rise for Prometheus: what alerts are about is there from the start.
    for outcome in ["committed", "refused", "unknown"] {
        drop(counters.writes.get_or_create(&OutcomeLabel { outcome }));
    }
    for breach in
        [Breach::BlindRemoval, Breach::OutOfBounds, Breach::TooLargeStep, Breach::Inconsistent, Breach::IntoProtected]
    {
        drop(counters.breaches.get_or_create(&InvariantLabel { invariant: breach.name() }));
    }
    let mut registry = Registry::with_prefix("trimtab");
    registry.register("decisions", "Decisions taken, by verb", counters.decisions.clone());
    registry.register("writes", "Writes of replicas, by outcome: committed, refused, unknown", counters.writes.clone());
    registry.register(
        "invariant_breaches",
        "Decisions that broke an invariant and were not carried out",
        counters.breaches.clone(),
    );
    registry.register("prometheus_requests", "HTTP requests sent to Prometheus", counters.queries.clone());
    registry.register(
        "journal_errors",
        "Rounds that could not be written to the journal",
        counters.journal_errors.clone(),
    );
    registry.register("round_seconds", "Time that one round of queries takes", counters.round_seconds.0.clone());
    registry.register_collector(Box::new(Workloads(report, sights)));
    registry
}

#[derive(Debug)]
struct Workloads(watch::Receiver<Arc<Report>>, watch::Receiver<Arc<Sights>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkloadLabel {
    namespace: String,
    kind: String,
    workload: String,
}

impl Collector for Workloads {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let report = self.0.borrow().clone();
        one(
            &mut encoder,
            "lease",
            "1 while this agent's Lease lasts and it may write what it has claimed",
            u32::from(report.may_write),
        )?;
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let own = report.workloads.iter().filter(|workload| matches!(workload.writes, Writes::Own)).count();
        one(&mut encoder, "workloads_owned", "Workloads that this agent has claimed and may write", count(own))?;
        let help = "Workloads that no agent has claimed for 95 s";
        one(&mut encoder, "workloads_unclaimed", help, count(report.unclaimed))?;
        let troubles = u32::try_from(report.troubles.len()).unwrap_or(u32::MAX);
        one(&mut encoder, "troubles", "What trimtab status lists as trouble, rejected policies too", troubles)?;
        states(&mut encoder, &report)?;
        reasons(&mut encoder, &report)?;
        conditions(&mut encoder, &report)?;
        objectives(&mut encoder, &report, &self.1.borrow())?;
        let mut gauge = |name: &str, help: &str, read: &Read<'_>| gauge(&mut encoder, &report, (name, help), read);
        gauge("workload_replicas_desired", "Replicas asked for (spec.replicas)", &|workload| {
            workload.last.as_ref().map(|last| f64::from(last.snapshot.fleet.desired.0))
        })?;
        gauge("workload_replicas_ready", "Replicas that are Ready", &|workload| {
            workload.last.as_ref().map(|last| f64::from(last.snapshot.fleet.ready.0))
        })?;
        gauge("workload_replicas_decided", "Replicas that the last decision asks for", &|workload| {
            workload.last.as_ref().map(|last| f64::from(last.decision.to.0))
        })?;
        gauge(
            "workload_replicas_needed",
            "Replicas that cost least, the risk of misses priced in, before limits",
            &|workload| workload.last.as_ref()?.decision.plan.as_ref().map(|plan| f64::from(plan.replicas.0)),
        )?;
        gauge("workload_demand", "Requests that arrive a second", &|workload| {
            workload.last.as_ref()?.snapshot.demand.fresh().map(trimtab_core::unit::RequestsPerSecond::get)
        })?;
        gauge(
            "workload_demand_upper",
            "Upper edge of the forecast at the lead time, requests a second",
            &|workload| workload.last.as_ref()?.decision.forecast.as_ref().map(|forecast| forecast.upper.get()),
        )?;
        gauge("workload_latency_seconds", "The latency that the objective is about", &|workload| {
            workload.last.as_ref()?.snapshot.latency.fresh().map(trimtab_core::unit::Seconds::get)
        })?;
        gauge("workload_lead_time_seconds", "From ordering a replica to its serving", &|workload| {
            workload.last.as_ref().map(|last| last.decision.lead.total().get())
        })?;
        gauge("workload_blind", "1 while demand is not known", &|workload| {
            let blind = workload.last.as_ref().is_none_or(|last| !matches!(last.decision.demand, Demand::Known { .. }));
            Some(f64::from(u8::from(blind)))
        })?;
        gauge("workload_partial", "1 while demand is known of some replicas only", &|workload| {
            workload.last.as_ref().map(|last| f64::from(u8::from(last.is_partial())))
        })?;
        gauge("workload_decision_timestamp_seconds", "When it was last decided", &|workload| {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era are exact")]
            workload.last.as_ref().map(|last| last.decision.at.0 as f64 / 1000.0)
        })
    }
}

/// What a gauge says of a workload; nothing where it is not known.
type Read<'a> = dyn Fn(&crate::report::Workload) -> Option<f64> + 'a;

/// A gauge with a series for each workload.
fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    report: &Report,
    (name, help): (&str, &str),
    read: &Read<'_>,
) -> Result<(), std::fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, prometheus_client::metrics::MetricType::Gauge)?;
    for workload in &report.workloads {
        if let Some(value) = read(workload) {
            let labels = label(&workload.workload);
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// What is promised of each workload, and what of it is kept.
fn objectives(encoder: &mut DescriptorEncoder<'_>, report: &Report, sights: &Sights) -> Result<(), std::fmt::Error> {
    let mut gauge = |name: &str, help: &str, read: &Read<'_>| gauge(encoder, report, (name, help), read);
    gauge("workload_latency_target_seconds", "The latency that its policy promises", &|workload| {
        workload.last.as_ref().map(|last| last.policy.objective.latency.get())
    })?;
    gauge("workload_missed_ratio", "Share of the last hour's windows that missed the objective", &|workload| {
        let hour: Hour = sights.get(&workload.workload)?.hour;
        (hour.windows > 0).then(|| f64::from(hour.missed) / f64::from(hour.windows))
    })?;
    gauge("workload_missed_allowed_ratio", "Share of windows that its policy allows to miss", &|workload| {
        workload.last.as_ref().map(|last| last.policy.objective.misses.get())
    })?;
    gauge(
        "workload_margin_ratio",
        "Capacity reckoned with beyond the model, because the objective was missed",
        &|workload| workload.last.as_ref().map(|last| last.decision.trust.margin.get()),
    )
}

/// A number of the agent's own.
fn one(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u32) -> Result<(), std::fmt::Error> {
    let metric = encoder.encode_descriptor(name, help, None, prometheus_client::metrics::MetricType::Gauge)?;
    ConstGauge::new(f64::from(value)).encode(metric)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    namespace: String,
    kind: String,
    workload: String,
    state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    namespace: String,
    kind: String,
    workload: String,
    code: &'static str,
}

/// A gauge that is 1 for each of these.
fn ones<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    all: impl Iterator<Item = L>,
) -> Result<(), std::fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, prometheus_client::metrics::MetricType::Gauge)?;
    for labels in all {
        ConstGauge::new(1_u64).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// The reason that stands for each workload's last decision.
fn reasons(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> Result<(), std::fmt::Error> {
    let decided = report.workloads.iter().filter_map(|known| Some((known, known.last.as_ref()?)));
    let all = decided.map(|(known, last)| {
        let WorkloadLabel { namespace, kind, workload } = label(&known.workload);
        ReasonLabel { namespace, kind, workload, code: last.decision.reason.code() }
    });
    ones(encoder, ("workload_reason", "1 for the code of the reason that stands for the workload's last decision"), all)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabel {
    namespace: String,
    kind: String,
    workload: String,
    condition: &'static str,
}

/// What somebody has to mend of each workload.
fn conditions(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> Result<(), std::fmt::Error> {
    let every = report.workloads.iter().flat_map(|known| known.conditions.iter().map(move |one| (known, one)));
    let all = every.map(|(known, condition)| {
        let WorkloadLabel { namespace, kind, workload } = label(&known.workload);
        ConditionLabel { namespace, kind, workload, condition: condition.name.name() }
    });
    let help = "1 for each condition of the workload that somebody has to mend, as trimtab status names it";
    ones(encoder, ("workload_condition", help), all)
}

/// Whether each workload's decisions are written, as `trimtab status` says it.
fn states(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> Result<(), std::fmt::Error> {
    let all = report.workloads.iter().map(|known| {
        let WorkloadLabel { namespace, kind, workload } = label(&known.workload);
        StateLabel { namespace, kind, workload, state: known.writes.to_string() }
    });
    let help = "1 for the state that the workload's decisions are in: own, shadow, not opted in, other agent, standing down, blocked";
    ones(encoder, ("workload_writes", help), all)
}

fn label(workload: &str) -> WorkloadLabel {
    let mut parts = workload.splitn(3, '/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    WorkloadLabel { namespace: next(), kind: next(), workload: next() }
}

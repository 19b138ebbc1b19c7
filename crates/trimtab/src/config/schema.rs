//! The JSON Schema of policies, for editors and for CI.

use schemars::{JsonSchema, schema_for};

/// A document of policies.
#[derive(JsonSchema)]
#[schemars(title = "trimtab policies", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Policies {
    /// The workloads; an empty list selects nothing.
    #[schemars(length(max = 1000))]
    workloads: Vec<Workload>,
}

/// One workload and how it is to be sized.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Workload {
    /// What is scaled: namespace/kind/name; kind is deployment, statefulset, replicaset, or resource.group.
    #[schemars(regex(pattern = r"^[a-z0-9-]+/([A-Za-z0-9.-]+/)?[a-z0-9.-]+$"))]
    target: String,
    /// Least and most replicas.
    replicas: Replicas,
    /// Requests that arrive a second, refused ones too.
    demand: Query,
    /// Requests a second that one replica serves at full use: declared, or by a query.
    capacity: Capacity,
    /// The latency that users are promised.
    slo: Slo,
    /// What must not be overloaded by scaling out.
    protect: Option<Vec<Protection>>,
    /// Scale-down stabilization window; 5m where it is left out.
    stabilization: Option<String>,
    /// Whether decisions are written; what the command line says where it is left out.
    mode: Option<Mode>,
    /// The name of a Prometheus server of --prometheus-sources; the one of --prometheus-url where it is left out.
    prometheus: Option<String>,
}

/// Least and most replicas.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Replicas {
    /// Least.
    #[schemars(range(min = 1, max = 150_000))]
    min: u32,
    /// Most.
    #[schemars(range(min = 1, max = 150_000))]
    max: u32,
}

/// A PromQL expression that gives one number.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Query {
    /// The expression.
    #[schemars(length(min = 1))]
    query: String,
}

/// What one replica serves.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Capacity {
    /// Requests a second.
    Rate(#[schemars(range(min = 0.0))] f64),
    /// An expression that gives requests a second for one replica.
    Query(String),
}

/// A latency objective: in all but `misses` of the half-minutes, 99 of 100 requests end within `target`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Slo {
    /// An expression that gives the 99th percentile in seconds.
    query: Option<String>,
    /// The promised latency, 1ms to 1h.
    target: String,
    /// The share of half-minutes that may miss it: a percentage or a number below 0.5; 0.5% where it is left out.
    misses: Option<Share>,
}

/// A share.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Share {
    /// Such as 0.5%.
    Percentage(String),
    /// Such as 0.005.
    Number(f64),
}

/// Something downstream and its limit.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Protection {
    /// A name for it.
    name: String,
    /// An expression that gives its level.
    query: String,
    /// Above this nothing is scaled out into it: a number, a duration (seconds) or a percentage, as the query gives it.
    limit: Share,
}

/// Whether decisions are written.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Mode {
    /// They are not.
    Shadow,
    /// They are, where the workload carries the label trimtab.dev/mode=own.
    Own,
}

/// The schema, as text.
#[must_use]
pub fn schema() -> String {
    serde_json::to_string_pretty(&schema_for!(Policies)).unwrap_or_default()
}

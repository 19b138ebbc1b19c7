//! The JSON Schema of policies, for editors and for CI.

use super::{MOST, MOST_REPLICAS};
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

/// What the reader takes for a duration, loosely: it takes more spellings, and an editor need not know them.
const DURATION: &str = r"^\s*([0-9.]+\s*[a-zµ]+\s*)+$";
/// A name that is repeated in messages, metrics and journals.
const NAME: &str = r"^[A-Za-z0-9._-]{1,63}$";

/// A document of policies.
#[derive(JsonSchema)]
#[schemars(title = "trimtab policies", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Policies {
    /// The workloads; an empty list selects nothing.
    #[schemars(length(max = MOST))]
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
    demand: Demand,
    /// Requests a second that one replica serves at full use: declared, or by a query.
    capacity: Capacity,
    /// The share of the time that ready replicas are busy; with it, what a replica serves is learned.
    utilization: Option<Utilization>,
    /// The latency that users are promised; none where nobody promised any.
    slo: Promise,
    /// What must not be overloaded by scaling out.
    protect: Option<Vec<Protection>>,
    /// What your own model forecasts; one expert of several, believed as far as it was right.
    #[schemars(length(max = 14))]
    forecast: Option<Vec<Forecast>>,
    /// Demand that is known to come.
    #[schemars(length(max = 100))]
    events: Option<Vec<Event>>,
    /// The largest net change of replicas, either way, within any 30 s; unlimited where it is left out.
    #[schemars(range(min = 1, max = MOST_REPLICAS))]
    ramp: Option<u32>,
    /// Scale-down stabilization window; 5m where it is left out.
    #[schemars(regex(pattern = DURATION), extend("default" = "5m"))]
    stabilization: Option<String>,
    /// How sizes are chosen; priced where it is left out.
    #[schemars(extend("default" = "priced"))]
    method: Option<Method>,
    /// Whether decisions are written; what the command line says where it is left out.
    mode: Option<Mode>,
    /// The name of a Prometheus server of --prometheus-sources; the one of --prometheus-url where it is left out.
    #[schemars(regex(pattern = NAME))]
    prometheus: Option<String>,
}

/// Least and most replicas.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Replicas {
    /// Least.
    #[schemars(range(min = 1, max = MOST_REPLICAS))]
    min: u32,
    /// Most.
    #[schemars(range(min = 1, max = MOST_REPLICAS))]
    max: u32,
}

/// Requests that arrive a second.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Demand {
    /// A PromQL expression that gives one number.
    #[schemars(length(min = 1))]
    query: String,
    /// Where they are counted; pods where it is left out.
    #[schemars(extend("default" = "pods"))]
    counted_at: Option<CountedAt>,
}

/// Where demand is counted.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum CountedAt {
    /// At the workload's pods: as many must report as are ready.
    Pods,
    /// In front of them: ingress, mesh, load balancer.
    Proxy,
}

/// How sizes are chosen.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Method {
    /// By the price of a missed window against that of a replica.
    Priced,
    /// By the published confidence gate, on the same forecast: to compare with.
    Gate,
}

/// What one replica serves.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Capacity {
    /// Requests a second.
    Rate(#[schemars(extend("exclusiveMinimum" = 0))] f64),
    /// An expression that gives requests a second for one replica.
    Query(#[schemars(length(min = 1))] String),
}

/// How busy replicas are.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Utilization {
    /// An expression that gives the mean share of the time that ready replicas are busy.
    #[schemars(length(min = 1))]
    query: String,
}

/// What demand is forecast to be.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Forecast {
    /// How far ahead of now, 1s to 1h.
    #[schemars(regex(pattern = DURATION))]
    ahead: String,
    /// An expression that gives what demand will be then.
    #[schemars(length(min = 1))]
    query: String,
}

/// Demand that is known to come.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Event {
    /// When it begins, such as 2026-12-24T18:00:00+01:00.
    #[schemars(extend("format" = "date-time"))]
    from: String,
    /// When it ends.
    #[schemars(extend("format" = "date-time"))]
    until: String,
    /// Requests a second that are to be served meanwhile, at least.
    #[schemars(extend("exclusiveMinimum" = 0))]
    rate: f64,
}

/// A latency objective, or that there is none.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Promise {
    /// There is one.
    Latency(Slo),
    /// There is none: a replica is loaded up to its capacity, which then is what it may carry.
    None(Unpromised),
}

/// That no latency is promised.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Unpromised {
    /// A replica is loaded up to its capacity, which then is what it may carry.
    None,
}

/// A latency objective: in all but `misses` of the windows, 99 of 100 requests end within `target`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Slo {
    /// An expression that gives the 99th percentile in seconds.
    query: Option<String>,
    /// The promised latency, 1ms to 1h.
    #[schemars(regex(pattern = DURATION))]
    target: String,
    /// The share of windows that may miss it: a percentage or a number below 0.5; 0.5% where it is left out.
    #[schemars(extend("default" = "0.5%"))]
    misses: Option<Share>,
    /// How long a window is, 10s to 10m; 30s where it is left out.
    #[schemars(regex(pattern = DURATION), extend("default" = "30s"))]
    window: Option<String>,
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

/// A level in the unit of its query.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Limit {
    /// A duration such as 250ms, which means seconds, or a percentage such as 80%, which means a share.
    Text(String),
    /// A plain number.
    Number(#[schemars(extend("exclusiveMinimum" = 0))] f64),
}

/// Something downstream and its limit.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Protection {
    /// A name for it.
    #[schemars(regex(pattern = NAME))]
    name: String,
    /// An expression that gives its level.
    #[schemars(length(min = 1))]
    query: String,
    /// Above this nothing is scaled out into it: a number, a duration (seconds) or a percentage, as the query gives it.
    limit: Limit,
}

/// Whether decisions are written.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Mode {
    /// They are not.
    Shadow,
    /// The least size of the workload's own autoscaler is raised, where that carries the label trimtab.dev/mode=floor.
    Floor,
    /// They are, where the workload carries the label trimtab.dev/mode=own.
    Own,
}

/// The schema, as text.
#[must_use]
pub fn schema() -> String {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(without_null));
    let schema = settings.into_generator().into_root_schema_for::<Policies>();
    serde_json::to_string_pretty(&schema).unwrap_or_default()
}

/// A field may be left out, but not be given without a value.
fn without_null(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
    }
}

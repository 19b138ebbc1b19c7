//! Policies: from YAML to what the core takes, with every problem at once.
//!
//! A document that has a problem contributes nothing, and its last good version stays in force; other documents are not
//! touched by it. What a document leaves out gets a default whose reason stands beside it. The knobs are in `docs/policy.md`.

mod coming;
mod manifest;
mod node;
mod policies;
mod problem;
mod schema;
mod target;
mod walk;

pub use manifest::{Inner, inner};
pub use node::Place;
pub use policies::{Applied, Policies};
pub use problem::Problem;
pub use schema::schema;
pub use target::{Kind, Target, TargetError};

use node::{At, Node};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use trimtab_core::policy::{Bounds, Capacity, Method, Objective, Policy, Protection};
use trimtab_core::unit::{Level, Ratio, Replicas, RequestsPerSecond, Seconds};
use walk::{Fields, Findings};

/// A file is the administrator's: a thousand workloads are 300 KiB.
const LONGEST_FILE: usize = 1 << 20;
/// A `ConfigMap` is anybody's, and every agent parses it: 200 workloads fit.
const LONGEST_MAP: usize = 64 << 10;
/// Workloads in one document.
const MOST: usize = 1_000;
/// No workload has more replicas than Kubernetes supports pods in a whole cluster.
const MOST_REPLICAS: u32 = 150_000;
/// Misses where a policy names none: the benchmark's objective. One half-minute in 200.
const MISSES: Ratio = Ratio::permille(5);
/// Shorter windows have no hundreds of requests for a 99th percentile, and no scrapes; in longer ones a bad minute does not show.
const WINDOWS: std::ops::RangeInclusive<f64> = 10.0..=600.0;
/// The fields of a workload.
const KNOWN: [&str; 14] = [
    "target",
    "replicas",
    "demand",
    "capacity",
    "utilization",
    "slo",
    "protect",
    "forecast",
    "events",
    "ramp",
    "stabilization",
    "method",
    "mode",
    "prometheus",
];
/// Scale-down stabilization window where a policy names none: the default of the horizontal pod autoscaler.
const STABILIZATION: Seconds = Seconds::whole(300);

/// One workload and how it is to be sized.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// What is scaled.
    pub target: Target,
    /// What the core takes.
    pub policy: Policy,
    /// What is asked for it.
    pub queries: Queries,
    /// Whether its decisions are written; `None` where the command line decides.
    pub mode: Option<Mode>,
    /// Where it stands.
    pub origin: Origin,
}

/// The expressions of a workload's signals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queries {
    /// The name of the Prometheus server that is asked; `None`: the first one.
    pub prometheus: Option<String>,
    /// Requests that arrive a second.
    pub demand: String,
    /// Where they are counted.
    pub counted_at: CountedAt,
    /// Requests a second that one replica serves.
    pub capacity: Option<String>,
    /// The 99th percentile of latency, in seconds.
    pub latency: Option<String>,
    /// The share of the time that ready replicas are busy.
    pub utilization: Option<String>,
    /// What somebody else forecasts demand to be, by how far ahead.
    pub forecast: BTreeMap<Duration, String>,
    /// Protected levels by their names.
    pub protect: BTreeMap<String, String>,
}

/// Where demand is counted, which says whether the workload's own pods can vouch for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedAt {
    /// At the workload's pods: as many must report as are ready.
    Pods,
    /// In front of them (ingress, mesh, load balancer): how many report says nothing of the workload.
    Proxy,
}

/// Whether decisions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// They are not.
    Shadow,
    /// The least size of the workload's own autoscaler is raised, where that carries the label `trimtab.dev/mode=floor`.
    Floor,
    /// They are, where the workload carries the label `trimtab.dev/mode=own`.
    Own,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shadow => "shadow",
            Self::Floor => "floor",
            Self::Own => "own",
        })
    }
}

impl FromStr for Mode {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "shadow" => Ok(Self::Shadow),
            "own" => Ok(Self::Own),
            "floor" => Ok(Self::Floor),
            _ => Err("expected shadow, floor or own"),
        }
    }
}

/// Where a workload's policy stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file, or the `ConfigMap` and its key.
    pub document: String,
    /// Where in it.
    pub place: Place,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.document, self.place.line)
    }
}

/// A text that should hold policies.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// What it is called in messages.
    pub name: &'a str,
    /// The namespace whose workloads alone it may name; `None` where it may name any.
    pub namespace: Option<&'a str>,
    /// Its text.
    pub text: &'a [u8],
}

/// What a document says.
#[derive(Debug, Default)]
pub struct Parsed {
    /// Its workloads; none where there is a problem.
    pub workloads: Vec<Workload>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// What is probably not meant.
    pub warnings: Vec<Problem>,
}

/// Reads a document. `check` says what is odd about a `PromQL` expression. Total: any bytes give workloads or problems.
pub fn parse(document: &Document<'_>, check: &dyn Fn(&str) -> Vec<String>) -> Parsed {
    let mut reading = Reading {
        document: *document,
        check,
        findings: Findings::default(),
        warnings: Findings::default(),
        targets: Vec::new(),
    };
    let Some(root) = reading.read() else {
        return Parsed { problems: reading.findings.0, ..Parsed::default() };
    };
    let workloads = reading.workloads(&root);
    let (mut problems, mut warnings) = (reading.findings.0, reading.warnings.0);
    if !problems.is_empty() || !warnings.is_empty() {
        let paths = node::paths(&root);
        for problem in problems.iter_mut().chain(&mut warnings) {
            problem.path = paths.get(&problem.place).cloned().unwrap_or_default();
        }
    }
    for found in [&mut problems, &mut warnings] {
        found.sort();
        // What an alias repeats is said once.
        found.dedup();
    }
    let workloads = if problems.is_empty() { workloads } else { Vec::new() };
    Parsed { workloads, problems, warnings }
}

struct Reading<'a> {
    document: Document<'a>,
    check: &'a dyn Fn(&str) -> Vec<String>,
    findings: Findings,
    warnings: Findings,
    /// Every target, also of a workload in which something else is wrong.
    targets: Vec<(Target, Place)>,
}

impl Reading<'_> {
    fn read(&mut self) -> Option<At<Node>> {
        let size = self.document.text.len();
        let longest = if self.document.namespace.is_some() { LONGEST_MAP } else { LONGEST_FILE };
        if size > longest {
            let cure = format!("at most {} KiB: split it into several documents", longest >> 10);
            self.findings.add(Place::START, "TT-C01", format!("the document has {size} bytes"), cure);
            return None;
        }
        let text = match std::str::from_utf8(self.document.text) {
            Ok(text) => text,
            Err(error) => {
                let before = self.document.text.get(..error.valid_up_to()).unwrap_or_default();
                let line = before.split(|byte| *byte == b'\n').count();
                let place = Place { line: u32::try_from(line).unwrap_or(u32::MAX), ..Place::START };
                self.findings.add(place, "TT-C01", "this line is not UTF-8", "save the document as UTF-8");
                return None;
            }
        };
        match node::read(text) {
            Ok(root) => Some(root),
            Err((place, code, what, cure)) => {
                self.findings.add(place, code, what, cure);
                None
            }
        }
    }

    fn workloads(&mut self, root: &At<Node>) -> Vec<Workload> {
        const NOTHING: &str = "it selects nothing; if that is meant, write `workloads: []`";
        if matches!(root.value, Node::Null) {
            self.warnings.add(Place::START, "TT-C20", "the document is empty", NOTHING);
            return Vec::new();
        }
        let Node::Map(entries) = &root.value else {
            let what = format!("the document is {}", root.value.kind());
            self.findings.add(Place::of(root), "TT-C02", what, "expected a list under `workloads:`");
            return Vec::new();
        };
        if let [(key, value)] = entries.as_slice()
            && key.value == "workloads"
            && matches!(value.value, Node::Null)
        {
            // What a template renders that has nothing to list.
            self.warnings.add(Place::of(key), "TT-C20", "`workloads` has no value", NOTHING);
            return Vec::new();
        }
        let Some(fields) = Fields::of(root, "document", &["workloads"], &mut self.findings) else { return Vec::new() };
        let example = "[]`, or a list of workloads: `- target: shop/deployment/checkout";
        let Some(list) = fields.required("workloads", example, &mut self.findings) else { return Vec::new() };
        let Node::List(items) = &list.value else {
            self.findings.add(
                Place::of(list),
                "TT-C02",
                format!("`workloads` is {}", list.value.kind()),
                "expected a list: begin each workload with `- target:`",
            );
            return Vec::new();
        };
        if items.len() > MOST {
            self.findings.add(
                Place::of(list),
                "TT-C01",
                format!("the document names {} workloads", items.len()),
                format!("at most {MOST}: split it into several documents"),
            );
            return Vec::new();
        }
        if items.is_empty() {
            self.warnings.add(Place::of(list), "TT-C20", "`workloads` is empty", "this document selects nothing");
        }
        let workloads: Vec<Workload> = items.iter().filter_map(|item| self.workload(item)).collect();
        self.duplicates();
        workloads
    }

    fn duplicates(&mut self) {
        let mut first: BTreeMap<&Target, Place> = BTreeMap::new();
        for (target, place) in &self.targets {
            if let Some(earlier) = first.get(target) {
                let cure = format!("keep one of the two; the other stands in line {}", earlier.line);
                self.findings.add(*place, "TT-C08", format!("{target} is named twice"), cure);
            } else {
                first.insert(target, *place);
            }
        }
    }

    fn workload(&mut self, item: &At<Node>) -> Option<Workload> {
        let fields = Fields::of(item, "workload", &KNOWN, &mut self.findings)?;
        let target = fields
            .required("target", "shop/deployment/checkout", &mut self.findings)
            .and_then(|node| self.target(node));
        let policy = self.policy(&fields);
        let mode = match fields.get("mode") {
            None => Some(None),
            Some(node) => self.mode(node).map(Some),
        };
        let prometheus = match fields.get("prometheus") {
            None => Some(None),
            Some(node) => walk::name(node, "prometheus", "infra", &mut self.findings).map(|name| Some(name.to_owned())),
        };
        let (policy, queries) = policy?;
        let queries = Queries { prometheus: prometheus?, ..queries };
        let origin = Origin { document: self.document.name.to_owned(), place: Place::of(item) };
        Some(Workload { target: target?, policy, queries, mode: mode?, origin })
    }

    /// What the core takes, and what is asked for it.
    fn policy(&mut self, fields: &Fields<'_>) -> Option<(Policy, Queries)> {
        let bounds =
            fields.required("replicas", "{ min: 3, max: 50 }", &mut self.findings).and_then(|node| self.bounds(node));
        let demand = fields.required("demand", "{ query: 'sum(rate(...[1m]))' }", &mut self.findings);
        let demand = demand.and_then(|node| self.demand(node));
        let capacity =
            fields.required("capacity", "{ rate: 50 }", &mut self.findings).and_then(|node| self.capacity(node));
        let slo = fields.required("slo", "{ target: 200ms }", &mut self.findings).and_then(|node| self.slo(node));
        let protect = fields.get("protect").map_or(Some(Vec::new()), |node| self.protect(node));
        let utilization = fields.get("utilization").map_or(Some(None), |node| self.utilization(node).map(Some));
        let forecast = fields.get("forecast").map_or(Some(BTreeMap::new()), |node| self.forecast(node));
        let events = fields.get("events").map_or(Some(Vec::new()), |node| self.events(node));
        let ramp = fields.get("ramp").map_or(Some(None), |node| self.ramp(node).map(Some));
        let stabilization = fields.get("stabilization").map_or(Some(STABILIZATION), |node| {
            let expected = "a duration with its unit, at most 24h, such as 5m";
            let read = |node: &Node| walk::duration(node).filter(|seconds| (0.0..=86_400.0).contains(seconds));
            walk::quantity(node, "stabilization", expected, read, &mut self.findings).and_then(Seconds::new)
        });
        let method = fields.get("method").map_or(Some(Method::Priced), |node| self.method(node, slo.as_ref()));
        let ((demand, counted_at), (capacity, capacity_query), (objective, latency), protect) =
            (demand?, capacity?, slo?, protect?);
        let policy = Policy {
            replicas: bounds?,
            objective,
            capacity,
            protect: protect.iter().map(|(protection, _)| protection.clone()).collect(),
            stabilization: stabilization?,
            events: events?,
            ramp: ramp?,
            method: method?,
        };
        let queries = Queries {
            prometheus: None,
            demand,
            counted_at,
            capacity: capacity_query,
            latency,
            utilization: utilization?,
            forecast: forecast?,
            protect: protect.into_iter().map(|(protection, query)| (protection.name, query)).collect(),
        };
        Some((policy, queries))
    }

    fn target(&mut self, node: &At<Node>) -> Option<Target> {
        let text = walk::text(node, "target", "shop/deployment/checkout", &mut self.findings)?;
        let target: Target = match text.parse() {
            Ok(target) => target,
            Err(error) => {
                let TargetError { what, cure } = error;
                self.findings.add(Place::of(node), "TT-C07", what, cure);
                return None;
            }
        };
        match self.document.namespace {
            Some(own) if own != target.namespace => {
                let what = format!("a policy in namespace {own} names a workload in namespace {}", target.namespace);
                self.findings.add(
                    Place::of(node),
                    "TT-C09",
                    what,
                    "a ConfigMap may only name workloads of its own namespace",
                );
                None
            }
            _ => {
                if let Some(plural) = target.kind.meant() {
                    let what = format!("`{}` looks like a singular", target.kind);
                    let cure = "the API knows resources by their plural; see `kubectl api-resources`";
                    self.warnings.add(Place::of(node), "TT-C22", what, cure);
                    if let Some(warning) = self.warnings.0.last_mut() {
                        warning.meant = Some(plural);
                    }
                }
                self.targets.push((target.clone(), Place::of(node)));
                Some(target)
            }
        }
    }

    fn bounds(&mut self, node: &At<Node>) -> Option<Bounds> {
        let fields = Fields::of(node, "replicas", &["min", "max"], &mut self.findings)?;
        let mut bound = |name: &str, example: &str| {
            let node = fields.required(name, example, &mut self.findings)?;
            let whole = |node: &Node| {
                walk::number(node)
                    .filter(|number| number.fract() == 0.0 && (1.0..=f64::from(MOST_REPLICAS)).contains(number))
            };
            let number = walk::quantity(node, name, "a whole number from 1 to 150000", whole, &mut self.findings)?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number in range")]
            Some(Replicas(number as u32))
        };
        let (min, max) = (bound("min", "3"), bound("max", "50"));
        let (min, max) = (min?, max?);
        let bounds = Bounds::new(min, max);
        if bounds.is_none() {
            let what = format!("`min` {min} is above `max` {max}");
            self.findings.add(Place::of(node), "TT-C10", what, "expected min <= max: exchange them, or raise max");
        }
        bounds
    }

    fn demand(&mut self, node: &At<Node>) -> Option<(String, CountedAt)> {
        let fields = Fields::of(node, "demand", &["query", "counted_at"], &mut self.findings)?;
        let query = fields.required("query", "'sum(rate(...[1m]))'", &mut self.findings);
        let query = query.and_then(|query| self.query(query));
        let counted_at = match fields.get("counted_at") {
            None => Some(CountedAt::Pods),
            Some(node) => match walk::text(node, "counted_at", "pods", &mut self.findings)? {
                "pods" => Some(CountedAt::Pods),
                "proxy" => Some(CountedAt::Proxy),
                other => {
                    let what = format!("`counted_at` is `{}`", problem::excerpt(other));
                    let cure = "expected pods, or proxy where an ingress, mesh or load balancer counts the requests";
                    self.findings.add(Place::of(node), "TT-C15", what, cure);
                    None
                }
            },
        };
        Some((query?, counted_at?))
    }

    fn query(&mut self, node: &At<Node>) -> Option<String> {
        let text = walk::text(node, "query", "'sum(rate(http_requests_total[1m]))'", &mut self.findings)?;
        for warning in (self.check)(text) {
            self.warnings.add(Place::of(node), "TT-C21", warning, "Prometheus has the last word on its language");
        }
        Some(text.to_owned())
    }

    fn capacity(&mut self, node: &At<Node>) -> Option<(Capacity, Option<String>)> {
        let fields = Fields::of(node, "capacity", &["rate", "query"], &mut self.findings)?;
        match (fields.get("rate"), fields.get("query")) {
            (Some(rate), None) => {
                let positive = |node: &Node| walk::number(node).filter(|rate| *rate > 0.0);
                let rate = walk::quantity(rate, "rate", "requests a second above 0", positive, &mut self.findings)?;
                Some((Capacity::Declared(RequestsPerSecond::new(rate)?), None))
            }
            (None, Some(query)) => Some((Capacity::Measured, Some(self.query(query)?))),
            (given, _) => {
                let what = if given.is_some() {
                    "`capacity` has both `rate` and `query`"
                } else {
                    "`capacity` has neither `rate` nor `query`"
                };
                self.findings.add(
                    Place::of(node),
                    "TT-C11",
                    what,
                    "expected one of them: `rate: 50`, or a query that gives requests a second for one replica",
                );
                None
            }
        }
    }

    fn slo(&mut self, node: &At<Node>) -> Option<(Objective, Option<String>)> {
        if matches!(&node.value, Node::Text(text) if text == "none") {
            return Some((Objective::unpromised(), None));
        }
        let fields = Fields::of(node, "slo", &["query", "target", "misses", "window"], &mut self.findings)?;
        let latency = fields.required("target", "200ms", &mut self.findings).and_then(|node| {
            let sane = |node: &Node| walk::duration(node).filter(|seconds| *seconds >= 0.001 && *seconds <= 3_600.0);
            walk::quantity(
                node,
                "target",
                "a duration with its unit, from 1ms to 1h, such as 200ms",
                sane,
                &mut self.findings,
            )
        });
        let misses = fields.get("misses").map_or(Some(MISSES), |node| {
            let sane = |node: &Node| walk::share(node).filter(|share| *share > 0.0 && *share < 0.5);
            let expected = "a share above 0 and below 50%, such as 0.5% (no size misses never)";
            walk::quantity(node, "misses", expected, sane, &mut self.findings).and_then(Ratio::new)
        });
        let window = fields.get("window").map_or(Some(Objective::WINDOW), |node| {
            let sane = |node: &Node| walk::duration(node).filter(|window| WINDOWS.contains(window));
            let expected = "a duration from 10s to 10m, such as 30s";
            walk::quantity(node, "window", expected, sane, &mut self.findings).and_then(Seconds::new)
        });
        let query = match fields.get("query") {
            None => Some(None),
            Some(node) => self.query(node).map(Some),
        };
        Some((Objective { latency: Seconds::new(latency?)?, misses: misses?, window: window? }, query?))
    }

    fn protect(&mut self, node: &At<Node>) -> Option<Vec<(Protection, String)>> {
        let Node::List(items) = &node.value else {
            let what = format!("`protect` is {}", node.value.kind());
            self.findings.add(
                Place::of(node),
                "TT-C02",
                what,
                "expected a list: `[{ name: postgres, query: '...', limit: 250ms }]`",
            );
            return None;
        };
        let mut names: BTreeMap<&str, Place> = BTreeMap::new();
        let mut all = Some(Vec::new());
        for item in items {
            match (self.protection(item, &mut names), &mut all) {
                (Some(protection), Some(all)) => all.push(protection),
                _ => all = None,
            }
        }
        all
    }

    fn protection<'a>(
        &mut self,
        item: &'a At<Node>,
        names: &mut BTreeMap<&'a str, Place>,
    ) -> Option<(Protection, String)> {
        let fields = Fields::of(item, "protect", &["name", "query", "limit"], &mut self.findings)?;
        let name = fields.required("name", "postgres", &mut self.findings).and_then(|node| {
            let name = walk::name(node, "name", "postgres", &mut self.findings)?;
            if let Some(earlier) = names.insert(name, Place::of(node)) {
                let cure = format!("give each its own name; the other stands in line {}", earlier.line);
                self.findings.add(Place::of(node), "TT-C12", format!("`protect` names `{name}` twice"), cure);
            }
            Some(name.to_owned())
        });
        let query = fields.required("query", "'...'", &mut self.findings).and_then(|node| self.query(node));
        let limit = fields.required("limit", "250ms", &mut self.findings).and_then(|node| {
            let positive = |node: &Node| walk::level(node).filter(|level| *level > 0.0);
            let expected = "a number above 0, a duration such as 250ms or a percentage such as 80%";
            walk::quantity(node, "limit", expected, positive, &mut self.findings).and_then(Level::new)
        });
        Some((Protection { name: name?, limit: limit? }, query?))
    }

    fn method(&mut self, node: &At<Node>, slo: Option<&(Objective, Option<String>)>) -> Option<Method> {
        let (what, cure) = match walk::text(node, "method", "priced", &mut self.findings)? {
            "priced" => return Some(Method::Priced),
            "gate" if slo.is_none_or(|(objective, _)| objective.is_promised()) => return Some(Method::Gate),
            "gate" => (
                "`method: gate` stands beside `slo: none`".to_owned(),
                "the gate sizes for a latency: give slo a target, or leave method out",
            ),
            other => (
                format!("`method` is `{}`", problem::excerpt(other)),
                "expected priced, or gate for the published confidence gate",
            ),
        };
        self.findings.add(Place::of(node), "TT-C18", what, cure);
        None
    }

    fn mode(&mut self, node: &At<Node>) -> Option<Mode> {
        let text = walk::text(node, "mode", "shadow", &mut self.findings)?;
        match text.parse() {
            Ok(mode) => Some(mode),
            Err(cure) => {
                let what = format!("`mode` is `{}`", problem::excerpt(text));
                self.findings.add(Place::of(node), "TT-C13", what, cure);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! The rules of a prometheus-adapter: which expression stands behind a name of the custom or external metrics API.
//!
//! A rule names its metrics by rewriting the names of series; here the rewriting is turned around, where it only takes something from the
//! ends of a name and puts something else there, as nearly all rules do.

use super::signal::Scaled;
use super::{at, list, text};
use serde_json::Value;

const NO_RULES: &str =
    "what is behind it is known to the custom metrics API's server alone: no prometheus-adapter rules were found";
const NO_RULE: &str = "no rule of the prometheus-adapter gives a metric of that name";

/// The rules that were found.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pods: Vec<Value>,
    external: Vec<Value>,
}

impl Rules {
    /// The rules that stand in any of these `ConfigMap`s.
    pub(super) fn read(objects: &[Value]) -> Self {
        let mut rules = Self::default();
        let maps = objects.iter().filter(|object| text(object, "/kind") == "ConfigMap");
        for document in maps.flat_map(|map| at(map, "/data").as_object().into_iter().flatten().map(|(_, text)| text)) {
            let Some(document) = document.as_str().filter(|text| text.contains("metricsQuery")) else { continue };
            let Ok(document) = serde_saphyr::from_str::<Value>(document) else { continue };
            rules.pods.extend(list(&document, "/rules").cloned());
            rules.external.extend(list(&document, "/externalRules").cloned());
        }
        rules
    }

    /// The sum of a metric over the pods.
    pub(super) fn of_pods(&self, metric: &str, scaled: &Scaled<'_>) -> Result<String, String> {
        find(&self.pods, metric, |rule, series| {
            let (namespace, pod) = (label(rule, "namespace")?, label(rule, "pod")?);
            let matchers = format!(r#"{namespace}="{}",{pod}=~"{}""#, scaled.namespace, scaled.pods);
            expand(rule, series, &matchers, &pod)
        })
    }

    /// A metric of one object.
    pub(super) fn of_object(&self, metric: &str, object: &Value, scaled: &Scaled<'_>) -> Result<String, String> {
        let kind = text(object, "/kind").to_lowercase();
        find(&self.pods, metric, |rule, series| {
            let (namespace, own) = (label(rule, "namespace")?, label(rule, &kind)?);
            let matchers = format!(r#"{namespace}="{}",{own}="{}""#, scaled.namespace, text(object, "/name"));
            expand(rule, series, &matchers, &own)
        })
    }

    /// A metric from outside, all its series together.
    pub(super) fn external(&self, metric: &str, selector: &Value, scaled: &Scaled<'_>) -> Result<String, String> {
        if list(selector, "/matchExpressions").len() > 0 {
            return Err("a selector with matchExpressions cannot be carried over".to_owned());
        }
        find(&self.external, metric, |rule, series| {
            let namespaced = at(rule, "/resources/namespaced").as_bool().unwrap_or(true);
            let namespace = label(rule, "namespace").ok().filter(|_| namespaced);
            let namespace = namespace.map(|label| format!(r#"{label}="{}""#, scaled.namespace));
            let labels = at(selector, "/matchLabels").as_object().into_iter().flatten();
            let labels = labels.map(|(name, value)| format!(r#"{name}="{}""#, value.as_str().unwrap_or_default()));
            let matchers: Vec<String> = namespace.into_iter().chain(labels).collect();
            expand(rule, series, &matchers.join(","), "")
        })
    }
}

fn find(
    rules: &[Value],
    metric: &str,
    expression: impl Fn(&Value, &str) -> Result<String, String>,
) -> Result<String, String> {
    if rules.is_empty() {
        return Err(NO_RULES.to_owned());
    }
    let named = rules.iter().find_map(|rule| series(rule, metric).map(|series| (rule, series)));
    let (rule, series) = named.ok_or(NO_RULE)?;
    expression(rule, &series)
}

/// The series that a rule gives this name to.
fn series(rule: &Value, metric: &str) -> Option<String> {
    let query = text(rule, "/seriesQuery");
    let literal = query.split('{').next().map(str::trim).filter(|name| !name.is_empty());
    let (matches, renamed) = (text(rule, "/name/matches"), text(rule, "/name/as"));
    let name = match (matches, renamed) {
        ("", "") => metric.to_owned(),
        // Without a pattern, or with one that takes anything, the new name is given outright.
        ("" | ".*" | "^.*$" | "^(.*)$", name) if !name.contains('$') => {
            return (name == metric).then(|| literal.map(str::to_owned)).flatten();
        }
        (pattern, renamed) => {
            let renamed = if renamed.is_empty() { "$1" } else { renamed };
            let (before, after) = renamed.split_once("${1}").or_else(|| renamed.split_once("$1"))?;
            let stem = metric.strip_prefix(before)?.strip_suffix(after)?;
            let (before, after) = pattern.trim_start_matches('^').trim_end_matches('$').split_once("(.*)")?;
            format!("{before}{stem}{after}")
        }
    };
    literal.is_none_or(|literal| literal == name).then_some(name)
}

/// The label that names a resource.
fn label(rule: &Value, resource: &str) -> Result<String, String> {
    let overrides = at(rule, "/resources/overrides").as_object().into_iter().flatten();
    let mut overrides = overrides.filter(|(_, to)| text(to, "/resource").trim_end_matches('s') == resource);
    if let Some((label, _)) = overrides.next() {
        return Ok(label.clone());
    }
    match text(rule, "/resources/template") {
        "" => Err(format!("the prometheus-adapter's rule does not say which label names the {resource}")),
        template => Ok(template.replace("<<.Resource>>", resource).replace("<<.Group>>", "")),
    }
}

fn expand(rule: &Value, series: &str, matchers: &str, group: &str) -> Result<String, String> {
    let query = text(rule, "/metricsQuery");
    let expanded =
        query.replace("<<.Series>>", series).replace("<<.LabelMatchers>>", matchers).replace("<<.GroupBy>>", group);
    if expanded.contains("<<") {
        return Err(format!("the prometheus-adapter's metricsQuery has a word that is not known here: {query}"));
    }
    Ok(format!("sum({expanded})"))
}

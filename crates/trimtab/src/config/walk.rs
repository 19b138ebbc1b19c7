//! Walking a document: fields that are known, missing or wrong, each problem kept and the walk going on.

use super::node::{At, Node, Place};
use super::problem::{Problem, nearest};

/// The problems that were found so far.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Problem>);

impl Findings {
    pub(super) fn add(&mut self, place: Place, code: &'static str, what: impl Into<String>, cure: impl Into<String>) {
        self.0.push(Problem { place, code, what: what.into(), cure: cure.into() });
    }
}

/// A mapping whose fields are asked for by name.
pub(super) struct Fields<'a> {
    /// Where it begins, and what it is called.
    place: Place,
    name: &'a str,
    entries: Vec<(Place, &'a str, &'a At<Node>)>,
}

impl<'a> Fields<'a> {
    /// The fields of a mapping; says which are unknown or given twice.
    pub(super) fn of(node: &'a At<Node>, name: &'a str, known: &[&str], findings: &mut Findings) -> Option<Self> {
        let Node::Map(entries) = &node.value else {
            let what = format!("`{name}` is {}", node.value.kind());
            findings.add(Place::of(node), "TT-C02", what, format!("expected a mapping with {}", list(known)));
            return None;
        };
        for (key, _) in entries {
            let word = key.value.as_str();
            if !known.contains(&word) {
                let hint = nearest(word, known).map_or_else(String::new, |near| format!("did you mean `{near}`? "));
                findings.add(
                    Place::of(key),
                    "TT-C03",
                    format!("unknown field `{}`", word.chars().take(64).collect::<String>()),
                    format!("{hint}expected one of: {}", list(known)),
                );
            }
        }
        let entries = entries.iter().map(|(key, value)| (Place::of(key), key.value.as_str(), value)).collect();
        Some(Self { place: Place::of(node), name, entries })
    }

    pub(super) fn get(&self, field: &str) -> Option<&'a At<Node>> {
        self.entries
            .iter()
            .find(|(_, key, value)| *key == field && !matches!(value.value, Node::Null))
            .map(|(_, _, value)| *value)
    }

    /// The field, or a problem that it is missing.
    pub(super) fn required(&self, field: &str, example: &str, findings: &mut Findings) -> Option<&'a At<Node>> {
        let found = self.get(field);
        if found.is_none() {
            let what = format!("`{}` has no `{field}`", self.name);
            findings.add(self.place, "TT-C04", what, format!("add `{field}: {example}`"));
        }
        found
    }
}

/// The text of a node, or a problem.
pub(super) fn text<'a>(node: &'a At<Node>, field: &str, example: &str, findings: &mut Findings) -> Option<&'a str> {
    match &node.value {
        Node::Text(text) if !text.trim().is_empty() => Some(text),
        Node::Text(_) => {
            findings.add(
                Place::of(node),
                "TT-C05",
                format!("`{field}` is empty"),
                format!("expected text such as {example}"),
            );
            None
        }
        other => {
            let what = format!("`{field}` is {}", other.kind());
            findings.add(Place::of(node), "TT-C05", what, format!("expected text such as {example}"));
            None
        }
    }
}

/// A number in a range, in any of the notations that `read` understands, or a problem.
pub(super) fn quantity(
    node: &At<Node>,
    field: &str,
    expected: &str,
    read: impl Fn(&Node) -> Option<f64>,
    findings: &mut Findings,
) -> Option<f64> {
    let value = read(&node.value).filter(|value| value.is_finite());
    if value.is_none() {
        let got = match &node.value {
            Node::Text(text) => format!("`{}`", text.chars().take(40).collect::<String>()),
            Node::Number(number) => number.to_string(),
            other => other.kind().to_owned(),
        };
        findings.add(Place::of(node), "TT-C06", format!("`{field}` is {got}"), format!("expected {expected}"));
    }
    value
}

/// A plain number.
pub(super) fn number(node: &Node) -> Option<f64> {
    match node {
        Node::Number(number) => Some(*number),
        _ => None,
    }
}

/// A duration such as `200ms`, `5m` or `1h30m`, in seconds.
pub(super) fn duration(node: &Node) -> Option<f64> {
    match node {
        Node::Text(text) => text.parse::<jiff::SignedDuration>().ok().map(|span| span.as_secs_f64()),
        _ => None,
    }
}

/// A share: `0.5%`, or a number from 0 to 1.
pub(super) fn share(node: &Node) -> Option<f64> {
    match node {
        Node::Number(number) => Some(*number),
        Node::Text(text) => text.trim().strip_suffix('%')?.trim().parse::<f64>().ok().map(|percent| percent / 100.0),
        _ => None,
    }
}

/// A level: a number, a duration (in seconds) or a percentage (as a share).
pub(super) fn level(node: &Node) -> Option<f64> {
    number(node).or_else(|| share(node)).or_else(|| duration(node))
}

fn list(words: &[&str]) -> String {
    words.join(", ")
}

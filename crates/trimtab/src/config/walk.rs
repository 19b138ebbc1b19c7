//! Walking a document: fields that are known, missing or wrong, each problem kept and the walk going on.

use super::node::{At, Node, Place};
use super::problem::{Problem, excerpt, nearest};

/// The problems that were found so far.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Problem>);

impl Findings {
    pub(super) fn add(&mut self, place: Place, code: &'static str, what: impl Into<String>, cure: impl Into<String>) {
        let (what, cure) = (what.into(), cure.into());
        self.0.push(Problem { place, path: String::new(), code, what, cure, meant: None });
    }
}

/// A mapping whose fields are asked for by name.
pub(super) struct Fields<'a> {
    /// Where it begins, and what it is called.
    place: Place,
    name: &'a str,
    entries: Vec<(&'a str, &'a At<Node>)>,
    /// Known fields that unknown ones were meant to be.
    meant: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The fields of a mapping; says which are unknown, and which have no value.
    pub(super) fn of(
        node: &'a At<Node>,
        name: &'a str,
        known: &[&'static str],
        findings: &mut Findings,
    ) -> Option<Self> {
        let Node::Map(entries) = &node.value else {
            let what = format!("`{name}` is {}", node.value.kind());
            findings.add(Place::of(node), "TT-C02", what, format!("expected a mapping with {}", list(known)));
            return None;
        };
        let mut fields = Self { place: Place::of(node), name, entries: Vec::new(), meant: Vec::new() };
        for (key, value) in entries {
            let word = key.value.as_str();
            if !known.contains(&word) {
                let meant = nearest(word, known);
                fields.meant.extend(meant);
                findings.0.push(Problem {
                    place: Place::of(key),
                    path: String::new(),
                    code: "TT-C03",
                    what: format!("unknown field `{}`", excerpt(word)),
                    cure: format!("expected one of: {}", list(known)),
                    meant: meant.map(str::to_owned),
                });
            } else if matches!(value.value, Node::Null) {
                // A template that rendered to nothing: a protection must not be lost in silence.
                let what = format!("`{word}` has no value");
                findings.add(Place::of(key), "TT-C05", what, "give it one, or leave the field out");
            }
            fields.entries.push((word, value));
        }
        Some(fields)
    }

    fn find(&self, field: &str) -> Option<&'a At<Node>> {
        self.entries.iter().find(|(key, _)| *key == field).map(|(_, value)| *value)
    }

    /// The field, if it is there and has a value.
    pub(super) fn get(&self, field: &str) -> Option<&'a At<Node>> {
        self.find(field).filter(|value| !matches!(value.value, Node::Null))
    }

    /// The field, or a problem that it is missing, unless it was only misspelt or left without a value: that is said already.
    pub(super) fn required(&self, field: &str, example: &str, findings: &mut Findings) -> Option<&'a At<Node>> {
        if self.find(field).is_none() && !self.meant.contains(&field) {
            let what = format!("`{}` has no `{field}`", self.name);
            findings.add(self.place, "TT-C04", what, format!("add `{field}: {example}`"));
        }
        self.get(field)
    }
}

/// The text of a node, or a problem.
pub(super) fn text<'a>(node: &'a At<Node>, field: &str, example: &str, findings: &mut Findings) -> Option<&'a str> {
    let (what, cure) = match &node.value {
        Node::Text(text) if !text.trim().is_empty() => return Some(text),
        Node::Text(_) => (format!("`{field}` is empty"), format!("expected text such as {example}")),
        other => {
            let quotes = if matches!(other, Node::Number(_) | Node::Bool) { "; text needs quotes here" } else { "" };
            (format!("`{field}` is {}", other.kind()), format!("expected text such as {example}{quotes}"))
        }
    };
    findings.add(Place::of(node), "TT-C05", what, cure);
    None
}

/// A name that is repeated in messages, metrics and journals, or a problem.
pub(super) fn name<'a>(node: &'a At<Node>, field: &str, example: &str, findings: &mut Findings) -> Option<&'a str> {
    /// As long as a label value may be in Kubernetes.
    const LONGEST: usize = 63;
    let name = text(node, field, example, findings)?;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    if name.len() > LONGEST || !name.chars().all(plain) {
        let what = format!("`{field}` is `{}`", excerpt(name));
        let cure = format!("expected letters, digits, `-`, `_` and `.`, at most {LONGEST}, such as {example}");
        findings.add(Place::of(node), "TT-C05", what, cure);
        return None;
    }
    Some(name)
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
            Node::Text(text) => format!("`{}`", excerpt(text)),
            Node::Number(number) => excerpt(&number.to_string()),
            other => other.kind().to_owned(),
        };
        let quoted = match &node.value {
            Node::Text(text) => text.trim().parse().is_ok_and(|number| read(&Node::Number(number)).is_some()),
            _ => false,
        };
        let cure =
            if quoted { format!("take the quotes away: expected {expected}") } else { format!("expected {expected}") };
        findings.add(Place::of(node), "TT-C06", format!("`{field}` is {got}"), cure);
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

/// A moment such as `2026-12-24T18:00:00+01:00`, in milliseconds since 1970-01-01 UTC.
pub(super) fn moment(node: &Node) -> Option<f64> {
    match node {
        #[expect(clippy::cast_precision_loss, reason = "exact: the calendar ends in the year 9999")]
        Node::Text(text) => text.trim().parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond() as f64),
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

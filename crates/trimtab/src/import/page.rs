//! The document that an import prints: a policy with comments that say where each part comes from.

use super::signal::{Carries, Signal, together};
use super::{Kind, Left, Source};
use crate::config::{CountedAt, Target};
use std::fmt::Write;

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) signals: Vec<Signal>,
    /// Seconds.
    pub(super) stabilization: Option<u32>,
    pub(super) left: Vec<Left>,
    /// The mode that the object's owner asks for.
    pub(super) wished: Option<String>,
}

impl Draft {
    /// Takes a signal, or why there is none.
    pub(super) fn add(&mut self, signal: Result<Signal, Left>) {
        match signal {
            Ok(signal) => self.signals.push(signal),
            Err(left) => self.left.push(left),
        }
    }
}

/// The document; nothing where no signal is left.
pub(super) fn render(source: &Source, target: &Target, draft: &Draft) -> Option<String> {
    let signal = together(&draft.signals)?;
    let kind = match source.kind {
        Kind::Hpa => "HorizontalPodAutoscaler",
        Kind::ScaledObject => "ScaledObject",
    };
    let mut out = format!("# {kind} {}/{} as a policy of trimtab.\n", source.namespace, source.name);
    for signal in &draft.signals {
        comment(&mut out, &signal.says);
    }
    if let [_, _, ..] = draft.signals.as_slice() {
        comment(&mut out, &format!("demand: {}", signal.says));
    }
    if !draft.left.is_empty() {
        comment(&mut out, "Not carried over:");
    }
    for left in &draft.left {
        comment(&mut out, &format!("- {}: {}", left.what, left.why));
    }
    let min = draft.min.max(1);
    let counted_at = match signal.counted_at {
        CountedAt::Pods => "pods",
        CountedAt::Proxy => "proxy",
    };
    let capacity = match &signal.carries {
        Carries::Amount(amount) => format!("{{ rate: {amount} }}"),
        Carries::Query(query) => format!("{{ query: {} }}", quoted(query)),
    };
    let mode = draft.wished.as_deref().filter(|mode| *mode == "floor").unwrap_or("shadow");
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "workloads:
  - target: {target}
    replicas: {{ min: {min}, max: {} }}
    demand:
      query: {}
      counted_at: {counted_at}
    capacity: {capacity}
    # What a replica may carry is what it carries today. With an objective it is held for users instead:
    # slo: {{ query: 'histogram_quantile(0.99, ...)', target: 200ms }}, and capacity what a replica serves at full use.
    slo: none
    stabilization: {}s
    mode: {mode}
",
        draft.max.max(min),
        quoted(&signal.query),
        draft.stabilization.unwrap_or(300),
    );
    Some(out)
}

/// One line: what comes from elsewhere must not end the comment.
fn comment(out: &mut String, text: &str) {
    let text: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let _ = writeln!(out, "# {text}");
}

/// A text as YAML reads it back.
fn quoted(text: &str) -> String {
    if text.chars().any(char::is_control) {
        return serde_json::Value::from(text).to_string();
    }
    format!("'{}'", text.replace('\'', "''"))
}

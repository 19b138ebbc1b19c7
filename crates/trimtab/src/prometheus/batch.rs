//! Puts many expressions into one query, and finds out which of them an error or a warning is about.
//!
//! Each expression is tagged with a label and stands on lines of its own, because Prometheus names places as
//! `line:column`. The tagged ones are joined by `or` as a balanced tree: as a plain chain the server would copy
//! what it has for every further operand (1,000 small ones: 0.18 s against 0.05 s, measured on Prometheus 3).

use super::wire::TAG;
use std::fmt::Write as _;

/// Bytes of one query as a form. Prometheus itself takes 10 MB (Go's default for forms), nginx 1 MB by default.
pub(super) const MAX_FORM_BYTES: usize = 900 * 1024;

/// One expression, and the tag under which its series are to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) tag: String,
    pub(super) promql: String,
}

/// A query that answers several parts at once.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) query: String,
    /// The first line of each part, ascending, with its place in the list of parts.
    lines: Vec<(u32, usize)>,
}

/// Builds the query; `None` where there are no parts.
pub(super) fn join(parts: &[&Part]) -> Option<Batch> {
    let mut batch = Batch { query: String::new(), lines: Vec::new() };
    let mut line = 1;
    batch.branch(parts, 0, &mut line);
    (!parts.is_empty()).then_some(batch)
}

impl Batch {
    fn branch(&mut self, parts: &[&Part], first: usize, line: &mut u32) {
        match parts {
            [] => {}
            [part] => {
                let _ = write!(self.query, "label_replace((\n{}\n),\"{TAG}\",\"{}\",\"\",\"\")", part.promql, part.tag);
                self.lines.push((*line + 1, first));
                *line += 2 + newlines(&part.promql);
            }
            _ => {
                let (left, right) = parts.split_at(parts.len() / 2);
                self.query.push('(');
                self.branch(left, first, line);
                self.query.push_str(" or ");
                self.branch(right, first + left.len(), line);
                self.query.push(')');
            }
        }
    }

    /// The part that a message of the server is about, and the message with the place as seen from that part.
    pub(super) fn locate(&self, message: &str) -> Option<(usize, String)> {
        let (range, line) = place(message)?;
        let (first, part) = *self.lines.get(self.lines.partition_point(|(first, _)| *first <= line).checked_sub(1)?)?;
        let (before, after) = (message.get(..range.start)?, message.get(range.end..)?);
        Some((part, format!("{before}{}{after}", line - first + 1)))
    }
}

fn newlines(text: &str) -> u32 {
    u32::try_from(text.matches('\n').count()).unwrap_or(u32::MAX)
}

/// Where in a message the line of a place stands, and the line: `... "query": 3:5: parse error: ...` or `... (3:5)`.
fn place(message: &str) -> Option<(std::ops::Range<usize>, u32)> {
    let start = match message.strip_suffix(')') {
        Some(open) => open.rfind('(')? + 1,
        None => message.find("\"query\": ")? + "\"query\": ".len(),
    };
    let (line, rest) = message.get(start..)?.split_once(':')?;
    rest.starts_with(|c: char| c.is_ascii_digit()).then_some(())?;
    Some((start..start + line.len(), line.parse().ok()?))
}

/// The part of a query that asks how many targets have a live series among `selectors` now.
///
/// A pod may be scraped on several ports, so pods are counted where the series name them, and instances otherwise.
pub(super) fn targets(selectors: &[String]) -> String {
    let count = |labels: &str, present: &str| {
        let groups: Vec<String> =
            selectors.iter().map(|selector| format!("group by({labels})({{{selector},{present}!=\"\"}})")).collect();
        format!("count({})", groups.join(" or "))
    };
    format!("{} or {}", count("namespace,pod", "pod"), count("instance", "instance"))
}

/// The part of a query that asks how many seconds ago the oldest (`min`) or newest (`max`) of the current samples
/// among `selectors` was scraped, by the server's own clock.
pub(super) fn age(extreme: &str, selectors: &[String]) -> String {
    let times: Vec<String> = selectors.iter().map(|selector| format!("timestamp({{{selector}}})")).collect();
    format!("time()-{extreme}({})", times.join(" or "))
}

/// How long a text is in a form, where most punctuation takes three bytes.
pub(super) fn form_bytes(text: &str) -> usize {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() || b" *-._".contains(&byte) { 1 } else { 3 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(promql: &[&str]) -> Vec<Part> {
        promql
            .iter()
            .enumerate()
            .map(|(n, promql)| Part { tag: format!("v{n}"), promql: (*promql).to_owned() })
            .collect()
    }

    #[test]
    fn parts_are_tagged_and_joined_as_a_tree() {
        let parts = parts(&["sum(a)", "sum(b) # note", "c"]);
        let batch = join(&parts.iter().collect::<Vec<_>>()).unwrap();
        insta::assert_snapshot!(batch.query, @r#"
        (label_replace((
        sum(a)
        ),"trimtab_q","v0","","") or (label_replace((
        sum(b) # note
        ),"trimtab_q","v1","","") or label_replace((
        c
        ),"trimtab_q","v2","","")))
        "#);
        assert!(join(&[]).is_none());
    }

    #[test]
    fn a_message_is_attributed_to_its_part_and_to_its_line_there() {
        let parts = parts(&["a", "b\n+\nc", "d"]);
        let batch = join(&parts.iter().collect::<Vec<_>>()).unwrap();
        for (n, line) in batch.query.lines().enumerate() {
            let expected = match line {
                "a" => (0, 1),
                "b" => (1, 1),
                "+" => (1, 2),
                "c" => (1, 3),
                "d" => (2, 1),
                _ => continue,
            };
            let located = |message: &str| batch.locate(message).unwrap();
            let (part, message) = located(&format!("invalid parameter \"query\": {}:5: parse error: x", n + 1));
            assert_eq!(
                (part, message),
                (expected.0, format!("invalid parameter \"query\": {}:5: parse error: x", expected.1))
            );
            let (part, message) = located(&format!("PromQL info: no counter: \"a\" ({}:12)", n + 1));
            assert_eq!((part, message), (expected.0, format!("PromQL info: no counter: \"a\" ({}:12)", expected.1)));
        }
        for message in [
            "results truncated due to limit",
            "store 10.0.0.1:19090 gave up (after 5s)",
            "é:1 (é:1)",
            ")",
            "(99999999999:1)",
        ] {
            assert_eq!(batch.locate(message), None, "{message}");
        }
    }

    #[test]
    fn coverage_counts_pods_before_instances_and_ages_use_the_servers_clock() {
        let selectors = [r#"__name__="a",x="y""#.to_owned(), r#"__name__="b""#.to_owned()];
        insta::assert_snapshot!(targets(&selectors), @r#"count(group by(namespace,pod)({__name__="a",x="y",pod!=""}) or group by(namespace,pod)({__name__="b",pod!=""})) or count(group by(instance)({__name__="a",x="y",instance!=""}) or group by(instance)({__name__="b",instance!=""}))"#);
        insta::assert_snapshot!(age("min", &selectors), @r#"time()-min(timestamp({__name__="a",x="y"}) or timestamp({__name__="b"}))"#);
    }

    #[test]
    fn the_length_as_a_form_is_that_of_percent_encoding() {
        assert_eq!(form_bytes("a b{}"), 3 + 2 * 3);
    }
}

//! Policies inside manifests: the `ConfigMap`s of a file, each key as a document whose lines are the file's.

use serde_json::Value;
use std::collections::BTreeMap;

/// The label of a `ConfigMap` that holds policies.
const LABEL: &str = "trimtab.dev/policy";

/// A document that stands in a manifest.
#[derive(Debug, PartialEq, Eq)]
pub struct Inner {
    /// The namespace of its `ConfigMap`: it may name workloads of no other.
    pub namespace: String,
    /// Its text, with blank lines where the file holds something else.
    pub text: String,
}

/// The documents of the `ConfigMap`s in a file; `None` where the file is no manifest (or no YAML, which its own reading tells better). Those
/// without the label are no policies, and are passed over.
#[must_use]
pub fn inner(text: &str) -> Option<Vec<Inner>> {
    let lines: Vec<&str> = text.lines().collect();
    let ends = (0..lines.len()).filter(|line| lines.get(*line).is_some_and(|line| line.trim_end() == "---"));
    let mut begin = 0;
    let mut found = None;
    for end in ends.chain([lines.len()]) {
        let document = lines.get(begin..end).unwrap_or_default().join("\n");
        let object: Value = serde_saphyr::from_str(&document).unwrap_or_default();
        if object.get("kind").is_some() && object.get("metadata").is_some() {
            let found: &mut Vec<Inner> = found.get_or_insert_default();
            if object.get("kind") == Some(&"ConfigMap".into()) {
                found.extend(of_map(&object, &lines, begin..end));
            }
        }
        begin = end + 1;
    }
    found
}

fn of_map(map: &Value, lines: &[&str], within: std::ops::Range<usize>) -> Vec<Inner> {
    let label = map.pointer("/metadata/labels").and_then(|labels| labels.get(LABEL));
    let data: BTreeMap<String, String> = match map.get("data").map(|data| serde_json::from_value(data.clone())) {
        Some(Ok(data)) if label.is_some() => data,
        _ => return Vec::new(),
    };
    let namespace = map.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
    data.into_iter()
        .map(|(key, value)| {
            let text = in_place(&key, lines, within.clone()).unwrap_or(value);
            Inner { namespace: namespace.to_owned(), text }
        })
        .collect()
}

/// The block of a key as it stands, with its indentation: then lines and columns are the file's.
fn in_place(key: &str, lines: &[&str], within: std::ops::Range<usize>) -> Option<String> {
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let begins = within.clone().find(|place| {
        lines.get(*place).is_some_and(|line| {
            let rest = line.trim_start().trim_start_matches(['"', '\'']).strip_prefix(key);
            let rest = rest.map(|rest| rest.trim_start_matches(['"', '\'']).trim());
            rest.and_then(|rest| rest.strip_prefix(':')).is_some_and(|rest| rest.trim_start().starts_with('|'))
        })
    })?;
    let own = indentation(lines.get(begins)?);
    let block = lines.get(begins + 1..within.end)?;
    let inside = block.iter().take_while(|line| line.trim().is_empty() || indentation(line) > own);
    let mut text = "\n".repeat(begins + 1);
    for line in inside {
        text.push_str(line);
        text.push('\n');
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: web
  namespace: shop
  labels: { trimtab.dev/policy: \"\" }
data:
  web.yaml: |
    workloads:
      - target: shop/web
  other: \"workloads: []\"
---
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { a: b }
";

    #[test]
    fn the_lines_of_a_configmap_are_those_of_the_file() {
        let inner = inner(MANIFEST).unwrap();
        let [other, web] = inner.as_slice() else { panic!("{inner:?}") };
        assert_eq!((other.text.as_str(), other.namespace.as_str()), ("workloads: []", "shop"));
        let placed: Vec<&str> = web.text.lines().collect();
        assert_eq!((placed.len(), placed[13]), (14, "      - target: shop/web"));
        assert_eq!(MANIFEST.lines().nth(13), Some(placed[13]));
    }

    #[test]
    fn a_policy_file_is_no_manifest() {
        assert_eq!(inner("workloads: []\n"), None);
        assert_eq!(inner("}{"), None);
        assert_eq!(inner(""), None);
    }
}

//! What is scaled: `namespace/kind/name`.

use std::fmt;
use std::str::FromStr;

/// Something with a scale subresource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Its namespace.
    pub namespace: String,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// A kind of object: the plural resource name and its API group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Plural, lower case: `deployments`.
    pub resource: String,
    /// `apps`, `argoproj.io`.
    pub group: Option<String>,
}

/// Why a text names no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {cure}")]
pub struct TargetError {
    /// What is wrong.
    pub what: String,
    /// What was expected.
    pub cure: String,
}

/// Kinds that need no group: singular and short names as `kubectl` takes them, and the plural.
const KNOWN: [(&str, &[&str]); 3] = [
    ("deployments", &["deployment", "deployments", "deploy"]),
    ("statefulsets", &["statefulset", "statefulsets", "sts"]),
    ("replicasets", &["replicaset", "replicasets", "rs"]),
];

const EXPECTED: &str = "expected namespace/kind/name, such as shop/deployment/checkout";

impl FromStr for Target {
    type Err = TargetError;

    /// `namespace/kind/name`, or `namespace/name` for a deployment.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let error = |what: String, cure: &str| TargetError { what, cure: cure.to_owned() };
        let shown: String = text.chars().take(80).collect();
        let (namespace, kind, name) = match text.split('/').collect::<Vec<_>>().as_slice() {
            [namespace, name] => (*namespace, "deployment", *name),
            [namespace, kind, name] => (*namespace, *kind, *name),
            _ => return Err(error(format!("`{shown}` names no workload"), EXPECTED)),
        };
        if !is_label(namespace) {
            return Err(error(
                format!("`{shown}` has no valid namespace"),
                "lower-case letters, digits and `-`, at most 63",
            ));
        }
        if !is_name(name) {
            return Err(error(
                format!("`{shown}` has no valid name"),
                "lower-case letters, digits, `-` and `.`, at most 253",
            ));
        }
        Ok(Self { namespace: namespace.to_owned(), kind: kind.parse()?, name: name.to_owned() })
    }
}

impl FromStr for Kind {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let kind = text.to_lowercase();
        let known = KNOWN.iter().find(|(_, names)| names.contains(&kind.trim_end_matches(".apps")));
        if let Some((resource, _)) = known {
            return Ok(Self { resource: (*resource).to_owned(), group: Some("apps".to_owned()) });
        }
        match kind.split_once('.') {
            Some((resource, group)) if is_label(resource) && is_name(group) => {
                Ok(Self { resource: resource.to_owned(), group: Some(group.to_owned()) })
            }
            _ => Err(TargetError {
                what: format!("`{}` is no kind that can be scaled", text.chars().take(80).collect::<String>()),
                cure: "expected deployment, statefulset, replicaset, or resource.group such as rollouts.argoproj.io"
                    .to_owned(),
            }),
        }
    }
}

/// RFC 1123 label.
fn is_label(text: &str) -> bool {
    let inner = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    (1..=63).contains(&text.len()) && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// RFC 1123 subdomain.
fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group.as_deref() {
            Some("apps") => f.write_str(self.resource.trim_end_matches('s')),
            Some(group) => write!(f, "{}.{group}", self.resource),
            None => f.write_str(&self.resource),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_reads_back_as_it_is_written() {
        for text in ["shop/deployment/checkout", "shop/statefulset/db", "shop/rollouts.argoproj.io/web.v2"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert_eq!("shop/checkout".parse::<Target>().unwrap().to_string(), "shop/deployment/checkout");
        assert_eq!("shop/Deployments.apps/web".parse::<Target>().unwrap().to_string(), "shop/deployment/web");
    }

    #[test]
    fn what_is_no_target_says_what_was_expected() {
        for text in [
            "",
            "checkout",
            "a/b/c/d",
            "Shop/deployment/x",
            "shop/pod/x",
            "shop/deployment/-x",
            "/deployment/x",
            "shop/deployment/",
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(!error.what.is_empty() && !error.cure.is_empty(), "{text}");
        }
    }
}

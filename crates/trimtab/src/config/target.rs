//! What is scaled: `namespace/kind/name`.

use super::problem::excerpt;
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
        let shown = excerpt(text);
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
        // Also as `kubectl api-resources` and `kubectl get` name them: deployments.apps, deployments.v1.apps.
        let bare = kind.strip_suffix(".v1.apps").or_else(|| kind.strip_suffix(".apps")).unwrap_or(&kind);
        let known = KNOWN.iter().find(|(_, names)| names.contains(&bare));
        if let Some((resource, _)) = known {
            return Ok(Self { resource: (*resource).to_owned(), group: Some("apps".to_owned()) });
        }
        match kind.split_once('.') {
            Some((resource, group)) if is_label(resource) && is_name(group) && group != "apps" => {
                Ok(Self { resource: resource.to_owned(), group: Some(group.to_owned()) })
            }
            _ => Err(TargetError {
                what: format!("`{}` is no kind that can be scaled", excerpt(text)),
                cure: "expected deployment, statefulset, replicaset, or resource.group such as rollouts.argoproj.io"
                    .to_owned(),
            }),
        }
    }
}

impl Kind {
    /// The plural that was probably meant, where the resource looks like a singular: `rollout.argoproj.io`.
    pub(super) fn meant(&self) -> Option<String> {
        let plural = if self.resource.ends_with('y') {
            format!("{}ies", self.resource.trim_end_matches('y'))
        } else {
            format!("{}s", self.resource)
        };
        let group = self.group.as_deref()?;
        (!self.resource.ends_with('s')).then(|| format!("{plural}.{group}"))
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
    use proptest::prelude::*;

    #[test]
    fn a_target_reads_back_as_it_is_written() {
        for text in ["shop/deployment/checkout", "shop/statefulset/db", "shop/rollouts.argoproj.io/web.v2"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert_eq!("shop/checkout".parse::<Target>().unwrap().to_string(), "shop/deployment/checkout");
        for same in ["shop/Deployments.apps/web", "shop/deployments.v1.apps/web", "shop/deploy/web"] {
            assert_eq!(same.parse::<Target>().unwrap().to_string(), "shop/deployment/web");
        }
    }

    proptest! {
        #[test]
        fn every_target_is_printed_so_that_it_reads_back(text in "[a-z-]{1,4}/([a-z.-]{1,16}/)?[a-z0-9.-]{1,8}") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
            }
        }
    }

    #[test]
    fn a_singular_is_told_from_a_plural() {
        let meant = |kind: &str| kind.parse::<Kind>().unwrap().meant();
        assert_eq!(meant("rollout.argoproj.io"), Some("rollouts.argoproj.io".into()));
        assert_eq!(meant("proxy.example.org"), Some("proxies.example.org".into()));
        assert_eq!((meant("rollouts.argoproj.io"), meant("deploy")), (None, None));
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
            "shop/daemonset.apps/x",
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(!error.what.is_empty() && !error.cure.is_empty(), "{text}");
        }
    }
}

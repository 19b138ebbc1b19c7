//! The roles that are shipped give exactly what the code's own list of rights says.
#![expect(clippy::indexing_slicing, reason = "indexing JSON answers null for what is not there")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use trimtab::rights::{ALL, Place, When};

type Granted = BTreeSet<(String, String, String, Place)>;

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What the roles of a manifest grant.
fn shipped(manifest: &str) -> Granted {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/manifests").join(manifest);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut granted = Granted::new();
    for document in text.split("\n---") {
        let Ok(object) = serde_saphyr::from_str::<Value>(document) else { continue };
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let place = match object["kind"].as_str() {
            Some("ClusterRole") if name.ends_with("-door") => Place::Cluster,
            Some("ClusterRole") => Place::Workloads,
            Some("Role") => Place::Own,
            _ => continue,
        };
        for rule in object["rules"].as_array().into_iter().flatten() {
            assert!(rule.get("resourceNames").is_none(), "{manifest}: a rule by name is not in the list");
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    let verbs = texts(&rule["verbs"]).into_iter();
                    granted.extend(verbs.map(|verb| (group.clone(), resource.clone(), verb, place)));
                }
            }
        }
    }
    granted
}

fn needed(when: &[When]) -> Granted {
    let rights = ALL.iter().filter(|right| when.contains(&right.when));
    rights
        .flat_map(|right| {
            let of = |verb: &&str| (right.group.to_owned(), right.resource.to_owned(), (*verb).to_owned(), right.place);
            right.verbs.iter().map(of).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn the_shipped_roles_grant_what_is_needed_and_nothing_else() {
    let (always, writes) = ([When::Always], [When::Always, When::Writes]);
    let manifests: [(&str, &[When]); 4] = [
        ("shadow.yaml", &always),
        ("own.yaml", &writes),
        ("own-deployment.yaml", &writes),
        ("shadow-authenticated.yaml", &[When::Always, When::Authenticates]),
    ];
    for (manifest, when) in manifests {
        let (shipped, needed) = (shipped(manifest), needed(when));
        assert!(!shipped.is_empty(), "{manifest} has roles");
        let missing: Vec<_> = needed.difference(&shipped).collect();
        let beyond: Vec<_> = shipped.difference(&needed).collect();
        assert!(missing.is_empty() && beyond.is_empty(), "{manifest}: missing {missing:#?}, beyond {beyond:#?}");
    }
}

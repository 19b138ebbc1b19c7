//! The policies of many documents together: the last good version of each, and no workload named by two.

use super::problem::{render_all, render_warnings};
use super::{Document, Target, Workload, parse};
use std::collections::BTreeMap;

/// The documents in force.
#[derive(Debug, Default)]
pub struct Policies {
    documents: BTreeMap<String, Vec<Workload>>,
    in_force: BTreeMap<Target, Workload>,
    conflicts: BTreeMap<Target, String>,
}

/// What became of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What is probably not meant, in words.
    pub warnings: Vec<String>,
    /// All its problems in words; `None` where it is in force now.
    pub rejected: Option<String>,
}

impl Policies {
    /// Puts a document in force, or leaves its last good version where it is.
    pub fn apply(&mut self, document: &Document<'_>, check: &dyn Fn(&str) -> Vec<String>) -> Applied {
        let applied = self.take(document, check);
        self.settle();
        applied
    }

    /// The same of one of many: what is in force changes when they [`Policies::settle`].
    pub fn take(&mut self, document: &Document<'_>, check: &dyn Fn(&str) -> Vec<String>) -> Applied {
        let parsed = parse(document, check);
        let text = String::from_utf8_lossy(document.text);
        let warnings = render_warnings(document.name, &text, &parsed.warnings);
        if !parsed.problems.is_empty() {
            return Applied { warnings, rejected: Some(render_all(document.name, &text, &parsed.problems)) };
        }
        self.documents.insert(document.name.to_owned(), parsed.workloads);
        Applied { warnings, rejected: None }
    }

    /// Takes a document out of force.
    pub fn remove(&mut self, name: &str) {
        self.discard(name);
        self.settle();
    }

    /// The same of one of many, until they [`Policies::settle`].
    pub fn discard(&mut self, name: &str) {
        self.documents.remove(name);
    }

    /// All workloads that exactly one document names.
    #[must_use]
    pub fn workloads(&self) -> &BTreeMap<Target, Workload> {
        &self.in_force
    }

    /// Workloads that several documents name, and where: neither is in force, since nobody can say which was meant.
    #[must_use]
    pub fn conflicts(&self) -> &BTreeMap<Target, String> {
        &self.conflicts
    }

    /// Puts in force what was taken, and out of force what was discarded.
    pub fn settle(&mut self) {
        let mut named: BTreeMap<&Target, Vec<&Workload>> = BTreeMap::new();
        for workload in self.documents.values().flatten() {
            named.entry(&workload.target).or_default().push(workload);
        }
        let (mut in_force, mut conflicts) = (BTreeMap::new(), BTreeMap::new());
        for (target, workloads) in named {
            if let [only] = workloads.as_slice() {
                in_force.insert(target.clone(), Workload::clone(only));
            } else {
                let places: Vec<String> = workloads.iter().map(|workload| workload.origin.to_string()).collect();
                let problem = format!(
                    "{target} is named by {}: keep one; until then none of them is in force",
                    places.join(" and ")
                );
                conflicts.insert(target.clone(), problem);
            }
        }
        (self.in_force, self.conflicts) = (in_force, conflicts);
    }
}

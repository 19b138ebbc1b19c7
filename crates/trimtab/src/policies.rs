//! The policies in force: from the file and from labelled `ConfigMap`s, followed while running.
//!
//! A document with a problem leaves the last good version of that same document in force, and touches no other; what is wrong is
//! logged once, and reported until it is mended. Nothing here ends the process: a policy that could would take all agents
//! down at once.

use crate::autoscalers::{Autoscaler, Wish};
use crate::cli::{self, Autoscalers};
use crate::commands::Printed;
use crate::config::{self, Document, Target, Workload};
use crate::import;
use crate::inbox::{Event, Inbox};
use crate::prometheus;
use crate::report::{self, Condition, Lack};
use crate::view::{Change, Scope, Shelf};
use crate::watch;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use trimtab_core::unit::Replicas;

/// A file is read again so often. Kubernetes itself takes up to a minute to bring a changed `ConfigMap` into a mounted file.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

type MapName = (String, String);
type MapData = BTreeMap<String, String>;

/// All policies in force.
#[derive(Debug)]
pub struct Policies {
    loaded: config::Policies,
    file: Option<String>,
    maps: BTreeMap<Option<String>, Shelf<MapName, MapData>>,
    /// What other autoscalers amount to: it counts where nobody wrote a policy.
    imported: config::Policies,
    autoscalers: BTreeMap<(import::Kind, Scope), Shelf<import::Source, Autoscaler>>,
    /// What KEDA's own autoscalers ask for, by the `ScaledObject`s that they are made of.
    wishes: BTreeMap<Scope, Shelf<import::Source, Wish>>,
    /// Them, by what they scale.
    scaling: BTreeMap<Target, BTreeSet<import::Source>>,
    /// Whether they are policies where nobody wrote one.
    shadows: bool,
    /// Whether some changed since they were last put in force: a listing is, as a whole.
    stale: bool,
    /// The watches that have listed once.
    listed: BTreeSet<(Option<import::Kind>, Scope)>,
    /// Whether the file was read once.
    file_read: bool,
    sources: Vec<String>,
    in_force: BTreeMap<Target, Arc<Workload>>,
    /// What is wrong with each document.
    documents: BTreeMap<String, String>,
    /// The same, of which each was said.
    problems: BTreeMap<String, String>,
    /// The autoscalers that give no policy.
    barren: BTreeSet<import::Source>,
    /// The workloads that no policy is in force for, though somebody asks for them.
    undecided: BTreeMap<String, Undecided>,
}

/// A workload that no policy is in force for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// What it is, where that can be scaled.
    pub target: Option<Target>,
    /// Who asks for it.
    pub origin: String,
    /// Why there is none.
    pub condition: Condition,
}

impl Policies {
    /// No policies yet; `sources` are the names of Prometheus servers that a policy may use.
    #[must_use]
    pub fn new(settings: &cli::Run, sources: &[&str]) -> Self {
        let shadows = settings.autoscalers == Autoscalers::Shadow;
        Self { shadows, ..Self::of(settings.policy.as_deref().map(document_name), sources) }
    }

    /// No policies yet, of a file that is called like this.
    pub(crate) fn of(file: Option<String>, sources: &[&str]) -> Self {
        Self {
            loaded: config::Policies::default(),
            file,
            maps: BTreeMap::new(),
            imported: config::Policies::default(),
            autoscalers: BTreeMap::new(),
            wishes: BTreeMap::new(),
            scaling: BTreeMap::new(),
            shadows: false,
            stale: false,
            listed: BTreeSet::new(),
            file_read: false,
            sources: sources.iter().map(ToString::to_string).collect(),
            in_force: BTreeMap::new(),
            documents: BTreeMap::new(),
            problems: BTreeMap::new(),
            barren: BTreeSet::new(),
            undecided: BTreeMap::new(),
        }
    }

    /// The workloads that are decided, with their policies.
    #[must_use]
    pub fn workloads(&self) -> &BTreeMap<Target, Arc<Workload>> {
        &self.in_force
    }

    /// The workloads that are not, though a policy or an autoscaler names them, by namespace/kind/name.
    #[must_use]
    pub fn undecided(&self) -> &BTreeMap<String, Undecided> {
        &self.undecided
    }

    /// That several autoscalers scale a workload, where they do. One that is paused does not.
    #[must_use]
    pub fn scaled_twice(&self, target: &Target) -> Option<Condition> {
        let sources: BTreeSet<import::Source> =
            self.counted(target).filter(|(_, one)| one.object.active).map(named).collect();
        (sources.len() > 1).then(|| {
            let sources = listed(&sources);
            let why =
                format!("{target} is scaled by {sources}, which undo each other's work: delete or pause all but one");
            Lack::ScaledTwice.because(why)
        })
    }

    /// That nobody can say which of several autoscalers is a workload's policy: all of them scale it, or none does.
    fn unclear(&self, target: &Target) -> Option<Condition> {
        let twice = self.scaled_twice(target);
        let sources: BTreeSet<import::Source> = self.counted(target).map(named).collect();
        twice.or_else(|| {
            (sources.len() > 1).then(|| {
                let sources = listed(&sources);
                let why = format!("{target} has {sources}, all of them paused: delete all but one, or write a policy");
                Lack::ScaledTwice.because(why)
            })
        })
    }

    /// The autoscalers of a workload that count: those that are not paused, or else all.
    fn counted<'a>(&'a self, target: &'a Target) -> impl Iterator<Item = (&'a import::Source, &'a Autoscaler)> + 'a {
        let any = self.autoscalers_of(target).any(|(_, one)| one.object.active);
        self.autoscalers_of(target).filter(move |(_, one)| !any || one.object.active)
    }

    /// All other autoscalers that are seen.
    pub fn autoscalers(&self) -> impl Iterator<Item = (&import::Source, &Autoscaler)> {
        self.autoscalers.values().flat_map(Shelf::iter)
    }

    /// An autoscaler that is seen.
    #[must_use]
    pub fn autoscaler_named(&self, source: &import::Source) -> Option<&Autoscaler> {
        let mut shelves = self.autoscalers.iter().filter(|((kind, _), _)| *kind == source.kind);
        shelves.find_map(|(_, shelf)| shelf.get(source))
    }

    /// The other autoscalers of a workload.
    pub fn autoscalers_of<'a>(
        &'a self,
        target: &'a Target,
    ) -> impl Iterator<Item = (&'a import::Source, &'a Autoscaler)> + 'a {
        let sources = self.scaling.get(target).into_iter().flatten();
        sources.filter_map(|source| Some((source, self.autoscaler_named(source)?)))
    }

    /// Whether all autoscalers of these scopes are known: before, nobody can say that a workload has none.
    #[must_use]
    pub fn knows_autoscalers(&self, scopes: &[Scope]) -> bool {
        scopes.iter().all(|scope| self.listed.contains(&(Some(import::Kind::Hpa), scope.clone())))
    }

    /// Whether all policies of these scopes are known: before, nobody can say what is not wanted.
    #[must_use]
    pub fn knows_policies(&self, scopes: &[Scope]) -> bool {
        let file = self.file.is_none() || self.file_read;
        file && scopes.iter().all(|scope| self.listed.contains(&(None, scope.clone())))
    }

    /// The one other autoscaler of a workload, paused ones beside it left aside; `None` also where there are several.
    #[must_use]
    pub fn autoscaler<'a>(&'a self, target: &'a Target) -> Option<(&'a import::Source, &'a Autoscaler)> {
        let mut all = self.counted(target);
        all.next().filter(|_| all.next().is_none())
    }

    /// What other autoscalers ask for, for a workload's report.
    #[must_use]
    pub fn beside(&self, target: &Target) -> Option<report::Autoscaler> {
        let all: Vec<_> = self.counted(target).collect();
        // One of them, where there are several: that they are is said as a trouble.
        let (source, one) = all.first()?;
        let names: Vec<String> = all.iter().map(|(source, _)| source.to_string()).collect();
        let wish = match source.kind {
            import::Kind::Hpa => Some(&one.object.wish),
            import::Kind::ScaledObject => self.wishes.values().find_map(|shelf| shelf.get(source)),
        };
        Some(report::Autoscaler {
            name: names.join(" and "),
            wants: wish.and_then(|wish| wish.wants).map(Replicas),
            min: one.object.min,
            max: one.object.max,
            active: one.object.active,
            problem: wish.and_then(|wish| wish.problem.clone()),
            is_policy: !self.loaded.workloads().contains_key(target) && self.imported.workloads().contains_key(target),
        })
    }

    /// What KEDA's own autoscalers ask for.
    pub fn apply_wish(&mut self, scope: &Scope, change: Change<import::Source, Wish>) {
        self.wishes.entry(scope.clone()).or_insert_with(Shelf::new).apply(change);
    }

    /// What is wrong now, by document.
    #[must_use]
    pub fn problems(&self) -> &BTreeMap<String, String> {
        &self.problems
    }

    /// The file reads like this now, or cannot be read.
    pub fn apply_file(&mut self, text: Result<Vec<u8>, String>) {
        let Some(name) = self.file.clone() else { return };
        self.file_read = true;
        match text {
            Ok(text) => self.apply(&name, None, &text),
            Err(problem) => {
                self.documents.insert(name, format!("{problem}; its last good version stays in force"));
            }
        }
        self.settle();
    }

    /// A watch on `ConfigMap`s speaks.
    pub fn apply_map(&mut self, scope: &Option<String>, change: Change<MapName, MapData>) {
        if matches!(change, Change::Listed) {
            self.listed.insert((None, scope.clone()));
        }
        let shelf = self.maps.entry(scope.clone()).or_insert_with(Shelf::new);
        for (name, before) in shelf.apply(change) {
            let now = self.maps.get(scope).and_then(|shelf| shelf.get(&name)).cloned().unwrap_or_default();
            for key in before.unwrap_or_default().keys().filter(|key| !now.contains_key(*key)) {
                let document = map_document(&name, key);
                self.loaded.remove(&document);
                self.documents.remove(&document);
            }
            for (key, text) in now {
                self.apply(&map_document(&name, &key), Some(&name.0), text.as_bytes());
            }
        }
        self.settle();
    }

    /// A watch on other autoscalers speaks. Says whether what is wanted may be another thing now.
    pub fn apply_autoscaler(
        &mut self,
        kind: import::Kind,
        scope: &Option<String>,
        change: Change<import::Source, Autoscaler>,
    ) -> bool {
        if matches!(change, Change::Listed) {
            self.listed.insert((Some(kind), scope.clone()));
        }
        let shelf = self.autoscalers.entry((kind, scope.clone())).or_insert_with(Shelf::new);
        let (mut renewed, mut targets) = (BTreeSet::new(), BTreeSet::new());
        for (source, before) in shelf.apply(change) {
            let now = shelf.get(&source);
            let same = |before: &Autoscaler, now: &Autoscaler| {
                (&before.imported, before.object.active) == (&now.imported, now.object.active)
            };
            if now.zip(before.as_ref()).is_some_and(|(now, before)| same(before, now)) {
                continue;
            }
            self.stale = true;
            if let Some(target) = before.and_then(|before| before.imported.target) {
                if let Some(sources) = self.scaling.get_mut(&target) {
                    sources.remove(&source);
                    if sources.is_empty() {
                        self.scaling.remove(&target);
                    }
                }
                targets.insert(target);
            }
            if let Some(target) = now.and_then(|now| now.imported.target.as_ref()) {
                self.scaling.entry(target.clone()).or_default().insert(source.clone());
                targets.insert(target.clone());
            }
            renewed.insert(source);
        }
        let is_listing = shelf.is_listing();
        // Whether one counts depends on the others of the same workload.
        renewed.extend(targets.iter().filter_map(|target| self.scaling.get(target)).flatten().cloned());
        if self.shadows {
            for source in renewed {
                self.renew(source);
            }
        }
        let ready = self.stale && !is_listing;
        if ready {
            self.stale = false;
            self.imported.settle();
            self.settle();
        }
        ready
    }

    /// Takes the policy of an autoscaler, where it counts, in the place of what it was.
    fn renew(&mut self, source: import::Source) {
        let name = source.to_string();
        self.imported.discard(&name);
        self.documents.remove(&name);
        self.barren.remove(&source);
        let Some(imported) = self.autoscaler_named(&source).map(|one| one.imported.clone()) else { return };
        let counts = |target: &Target| self.counted(target).any(|(counted, _)| *counted == source);
        if imported.target.as_ref().is_some_and(|target| !counts(target)) {
            return;
        }
        let Some(text) = &imported.policy else {
            self.barren.insert(source);
            return;
        };
        // Written here, so that it has no problem; its expressions are somebody else's, and the server has the last word on them.
        let document = Document { name: &name, namespace: Some(&source.namespace), text: text.as_bytes() };
        if let Some(problem) = self.imported.take(&document, &|_| Vec::new()).rejected {
            self.documents.insert(name, problem);
        }
    }

    fn apply(&mut self, name: &str, namespace: Option<&str>, text: &[u8]) {
        let check = |promql: &str| prometheus::check(promql, None).iter().map(ToString::to_string).collect();
        let applied = self.loaded.apply(&Document { name, namespace, text }, &check);
        for warning in applied.warnings {
            tracing::warn!("{warning}");
        }
        match applied.rejected {
            None => self.documents.remove(name),
            Some(problems) => self.documents.insert(name.to_owned(), problems),
        };
    }

    /// What follows from the documents together.
    fn settle(&mut self) {
        self.in_force.clear();
        self.undecided.clear();
        let written = self.loaded.workloads();
        let (named, unclear) = (|target: &Target| written.contains_key(target), self.loaded.conflicts());
        let imported = self.imported.workloads().iter();
        let twice: BTreeSet<&Target> =
            self.scaling.keys().filter(|target| self.counted(target).nth(1).is_some()).collect();
        let imported =
            imported.filter(|(target, _)| !named(target) && !unclear.contains_key(*target) && !twice.contains(*target));
        for (target, workload) in written.iter().chain(imported) {
            match &workload.queries.prometheus {
                Some(source) if !self.sources.contains(source) => {
                    let known = if self.sources.is_empty() {
                        "none is configured".to_owned()
                    } else {
                        format!("known are: {}", self.sources.join(", "))
                    };
                    let problem = format!(
                        "{}: no Prometheus server is called {source}; {known} (--prometheus-sources)",
                        workload.origin
                    );
                    let undecided = Undecided {
                        target: Some(target.clone()),
                        origin: workload.origin.to_string(),
                        condition: Lack::SourceUnknown.because(problem),
                    };
                    self.undecided.insert(target.to_string(), undecided);
                }
                _ => {
                    self.in_force.insert(target.clone(), Arc::new(workload.clone()));
                }
            }
        }
        for (target, problem) in unclear {
            let undecided = Undecided {
                target: Some(target.clone()),
                origin: "several policies".into(),
                condition: Lack::PolicyTwice.because(problem),
            };
            self.undecided.insert(target.to_string(), undecided);
        }
        let without = if self.shadows { self.without_policy() } else { Vec::new() };
        for (name, undecided) in without {
            self.undecided.entry(name).or_insert(undecided);
        }
        for (document, problem) in &self.documents {
            if self.problems.get(document) != Some(problem) {
                tracing::warn!("{problem}");
            }
        }
        self.problems.clone_from(&self.documents);
    }

    /// What autoscalers scale of which no policy could be made, and nobody wrote one.
    fn without_policy(&self) -> Vec<(String, Undecided)> {
        let written = self.loaded.workloads();
        let twice = self.scaling.keys().filter(|target| !written.contains_key(target)).filter_map(|target| {
            let condition = self.unclear(target)?;
            let origin = listed(&self.counted(target).map(named).collect());
            Some((target.to_string(), Undecided { target: Some(target.clone()), origin, condition }))
        });
        let barren = self.barren.iter().filter_map(|source| {
            let imported = &self.autoscaler_named(source)?.imported;
            let target = imported.target.clone();
            if target.as_ref().is_some_and(|target| written.contains_key(target)) {
                return None;
            }
            let condition = Lack::NoPolicy.because(imported.problem()?);
            Some((imported.named.clone(), Undecided { target, origin: source.to_string(), condition }))
        });
        twice.chain(barren).collect()
    }
}

fn named((source, _): (&import::Source, &Autoscaler)) -> import::Source {
    source.clone()
}

/// Several autoscalers in a sentence.
fn listed(sources: &BTreeSet<import::Source>) -> String {
    sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// The name of a file in messages: as it was given.
fn document_name(path: &Path) -> String {
    path.display().to_string()
}

fn map_document((namespace, name): &MapName, key: &str) -> String {
    format!("configmap {namespace}/{name} key {key}")
}

/// Reads the file now and whenever it changes, until the inbox closes. Its content decides, not its time: a mounted
/// `ConfigMap` changes by a link that points elsewhere. A change counts once two looks agree, so that a file that is being
/// written is not taken for a shorter one.
#[must_use]
pub fn follow_file(path: PathBuf, inbox: Inbox) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let read = async || {
            tokio::fs::read(&path).await.map_err(|error| format!("failed to read {}: {error}", path.display()))
        };
        let mut seen = read().await;
        let mut sent = None;
        loop {
            if sent.as_ref() != Some(&seen) {
                sent = Some(seen.clone());
                inbox.send(Event::PolicyFile(seen.clone())).await;
            }
            // Until two looks agree on something new.
            loop {
                tokio::select! {
                    () = inbox.closed() => return,
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
                let now = read().await;
                if now == seen {
                    break;
                }
                seen = now;
            }
        }
    })
}

/// What `trimtab lint` says of these files, by name and content; one that cannot be read keeps the others from nothing. Of manifests, the
/// `ConfigMap`s that hold policies are read.
#[must_use]
pub fn lint(files: &[(String, std::io::Result<Vec<u8>>)]) -> Printed {
    let check = |promql: &str| prometheus::check(promql, None).iter().map(ToString::to_string).collect();
    let mut loaded = config::Policies::default();
    let mut wrong = 0;
    let mut said = Vec::new();
    let mut apply = |document: &Document<'_>| {
        let applied = loaded.apply(document, &check);
        wrong += usize::from(applied.rejected.is_some());
        said.extend(applied.warnings.into_iter().chain(applied.rejected));
    };
    let mut unread = Vec::new();
    for (name, content) in files {
        let manifest = content.as_ref().ok().and_then(|content| config::inner(std::str::from_utf8(content).ok()?));
        match (content, manifest) {
            (Ok(_), Some(inner)) if inner.is_empty() => {
                unread.push(format!(
                    "error: {name} is a manifest without a ConfigMap that is labelled {}",
                    watch::POLICY_LABEL
                ));
            }
            (Ok(_), Some(inner)) => {
                for (place, one) in inner.iter().enumerate() {
                    // Several of one file are several documents, though they share its name.
                    let name = if place == 0 { name.clone() } else { format!("{name} ({})", place + 1) };
                    apply(&Document { name: &name, namespace: Some(&one.namespace), text: one.text.as_bytes() });
                }
            }
            (Ok(content), None) => apply(&Document { name, namespace: None, text: content }),
            (Err(error), _) => unread.push(format!("error: failed to read {name}: {error}")),
        }
    }
    wrong += unread.len();
    said.extend(unread);
    for conflict in loaded.conflicts().values() {
        wrong += 1;
        said.push(format!("error[TT-C08]: {conflict}"));
    }
    if wrong == 0 {
        said.push(format!("{} workloads in {} files, no problem", loaded.workloads().len(), files.len()));
    }
    Printed { text: said.join("\n") + "\n", code: u8::from(wrong > 0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    fn policies() -> Policies {
        let cli = cli::Cli::parse_from(["trimtab", "run", "--prometheus-url", "http://x", "--policy", "file"]);
        let cli::Command::Run(settings) = cli.command else { panic!("it is run") };
        Policies::new(&settings, &[])
    }

    fn is(policies: &mut Policies, name: &str, trigger: &serde_json::Value) -> import::Source {
        noted(policies, name, trigger, &json!({}))
    }

    fn noted(
        policies: &mut Policies,
        name: &str,
        trigger: &serde_json::Value,
        annotations: &serde_json::Value,
    ) -> import::Source {
        let object = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"namespace": "shop", "name": name, "annotations": annotations},
            "spec": {"scaleTargetRef": {"name": "web"}, "triggers": [trigger]},
        });
        let imported = import::of(&object, &[]).unwrap();
        let source = imported.source.clone();
        let object = crate::autoscalers::seen(import::Kind::ScaledObject, &object, 0);
        let now = Autoscaler { imported: Box::new(imported), object };
        policies.apply_autoscaler(import::Kind::ScaledObject, &None, Change::Is(source.clone(), now));
        source
    }

    fn prometheus_trigger() -> serde_json::Value {
        json!({"type": "prometheus", "metadata": {"query": "sum(x)", "threshold": "5"}})
    }

    fn origins(policies: &Policies) -> Vec<String> {
        policies.workloads().values().map(|workload| workload.origin.document.clone()).collect()
    }

    #[test]
    fn an_autoscaler_counts_where_nobody_wrote_a_policy() {
        let mut policies = policies();
        let one = is(&mut policies, "one", &prometheus_trigger());
        assert_eq!(origins(&policies), ["scaledobject shop/one"]);
        let text = "workloads:\n- target: shop/web\n  replicas: { min: 1, max: 2 }\n  demand: { query: x }\n  capacity: { rate: 1 }\n  slo: none\n";
        policies.apply_file(Ok(text.as_bytes().to_vec()));
        assert_eq!(origins(&policies), ["file"]);
        policies.apply_file(Ok(b"workloads: []".to_vec()));
        assert_eq!(origins(&policies), ["scaledobject shop/one"]);
        let two = is(&mut policies, "two", &prometheus_trigger());
        assert!(policies.workloads().is_empty());
        let said = &policies.undecided()["shop/deployment/web"];
        assert_eq!(
            (said.condition.name, said.origin.as_str()),
            (Lack::ScaledTwice, "scaledobject shop/one and scaledobject shop/two")
        );
        // A policy that somebody wrote is decided by, and that there are two is said beside.
        policies.apply_file(Ok(text.as_bytes().to_vec()));
        let target = "shop/web".parse().unwrap();
        assert_eq!((origins(&policies), policies.undecided().len()), (vec!["file".to_owned()], 0));
        assert!(policies.scaled_twice(&target).is_some());
        policies.apply_file(Ok(b"workloads: []".to_vec()));
        assert_eq!(policies.undecided().len(), 1);
        policies.apply_autoscaler(import::Kind::ScaledObject, &None, Change::Gone(one));
        assert_eq!((origins(&policies), policies.undecided().len()), (vec!["scaledobject shop/two".to_owned()], 0));
        policies.apply_autoscaler(import::Kind::ScaledObject, &None, Change::Gone(two));
        assert!(policies.workloads().is_empty() && policies.scaled_twice(&target).is_none());
    }

    #[test]
    fn one_that_is_paused_does_not_scale_a_workload_twice() {
        let mut policies = policies();
        let target = "shop/web".parse().unwrap();
        is(&mut policies, "one", &prometheus_trigger());
        is(&mut policies, "two", &prometheus_trigger());
        assert!(policies.workloads().is_empty() && policies.autoscaler(&target).is_none());
        for paused in [
            json!({"autoscaling.keda.sh/paused": "true"}),
            json!({"autoscaling.keda.sh/paused": "whatever"}),
            json!({"autoscaling.keda.sh/paused-replicas": "0"}),
            json!({"autoscaling.keda.sh/paused-scale-in": "true", "autoscaling.keda.sh/paused-scale-out": "true"}),
        ] {
            let two = noted(&mut policies, "two", &prometheus_trigger(), &paused);
            assert_eq!(origins(&policies), ["scaledobject shop/one"], "{paused}");
            assert!(policies.undecided().is_empty() && policies.scaled_twice(&target).is_none(), "{paused}");
            assert_eq!(policies.beside(&target).unwrap().name, "scaledobject shop/one");
            // Alone it is still a policy, of which nobody decides beside us.
            let one = import::Source { name: "one".into(), ..two };
            policies.apply_autoscaler(import::Kind::ScaledObject, &None, Change::Gone(one));
            assert_eq!(origins(&policies), ["scaledobject shop/two"], "{paused}");
            assert!(!policies.beside(&target).unwrap().active, "{paused}");
            is(&mut policies, "one", &prometheus_trigger());
            // A trigger that nobody can read is none of our business while it is paused.
            noted(&mut policies, "two", &json!({"type": "external", "metadata": {}}), &paused);
            assert_eq!((origins(&policies).len(), policies.undecided().len()), (1, 0), "{paused}");
        }
        for goes_on in [
            json!({"autoscaling.keda.sh/paused": "false"}),
            json!({"autoscaling.keda.sh/paused-scale-in": "true"}),
            json!({"autoscaling.keda.sh/paused-scale-in": "true", "autoscaling.keda.sh/paused-scale-out": "0"}),
        ] {
            noted(&mut policies, "two", &prometheus_trigger(), &goes_on);
            assert!(policies.workloads().is_empty() && policies.scaled_twice(&target).is_some(), "{goes_on}");
        }
        // All are paused: nobody undoes anybody's work, and which is the policy nobody can say.
        for name in ["one", "two"] {
            noted(&mut policies, name, &prometheus_trigger(), &json!({"autoscaling.keda.sh/paused": ""}));
        }
        let said = &policies.undecided()["shop/deployment/web"].condition;
        assert!(said.name == Lack::ScaledTwice && said.why.contains("all of them paused"), "{said}");
        assert!(policies.workloads().is_empty() && policies.scaled_twice(&target).is_none());
    }

    #[test]
    fn an_autoscaler_that_gives_no_policy_is_said() {
        let mut policies = policies();
        let odd = json!({"type": "external", "metadata": {}});
        let source = is(&mut policies, "odd", &odd);
        let said = &policies.undecided()["shop/deployment/web"].condition;
        assert!(said.name == Lack::NoPolicy && said.why.contains("trigger 0 (external)"), "{said}");
        is(&mut policies, "odd", &prometheus_trigger());
        assert_eq!((origins(&policies).len(), policies.undecided().len()), (1, 0));
        // One that gives none scales it all the same.
        let other = is(&mut policies, "other", &odd);
        assert_eq!(policies.undecided()["shop/deployment/web"].condition.name, Lack::ScaledTwice);
        policies.apply_autoscaler(import::Kind::ScaledObject, &None, Change::Gone(other));
        assert_eq!((origins(&policies).len(), policies.undecided().len()), (1, 0));
        policies.apply_autoscaler(import::Kind::ScaledObject, &None, Change::Gone(source));
        assert!(policies.workloads().is_empty() && policies.undecided().is_empty());
    }

    #[test]
    fn of_a_manifest_its_policies_are_checked_in_their_place() {
        let manifest = "kind: ConfigMap\nmetadata:\n  name: web\n  namespace: shop\n  labels: { trimtab.dev/policy: '' }\ndata:\n  a: |\n    workloads:\n      - target: other/web\n        replcas: { min: 1, max: 2 }\n";
        let said = lint(&[("web.yaml".to_owned(), Ok(manifest.as_bytes().to_vec()))]);
        assert_eq!(said.code, 1);
        assert!(said.text.contains("web.yaml:10:9") && said.text.contains("did you mean `replicas`?"), "{}", said.text);
        assert!(said.text.contains("web.yaml:9:17"), "another namespace's workload: {}", said.text);
        let none = lint(&[("x.yaml".to_owned(), Ok(b"kind: Service\nmetadata: {}\n".to_vec()))]);
        assert!(none.code == 1 && none.text.contains("without a ConfigMap"), "{}", none.text);
    }
}

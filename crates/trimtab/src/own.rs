//! `trimtab own` and `trimtab release`: taking the size of a workload over from its autoscaler, and giving it back as it was.
//!
//! Both are a list of steps that the user's own rights carry out: an autoscaler is paused the way its kind documents it, a policy is put
//! into the workload's namespace, and the workload gets the label by which its owner lets trimtab write. What is changed is kept beside the
//! change, on the object itself, so that it can be given back by whoever comes later (`back`). `--dry-run` prints the steps as commands.

use crate::autoscalers;
use crate::cli;
use crate::commands::{self, Printed};
use crate::config::{self, Document, Mode, Target};
use crate::import::{self, Kind};
use crate::remote;
use crate::report::Workload;
use crate::watch::{self, MODE_LABEL, POLICY_LABEL};
use crate::words;
use anyhow::{Context, anyhow};
use futures::future::BoxFuture;
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use trimtab_claim::epoch;

mod back;

pub use back::release;
use back::{Held, Thing};

/// Where what was there before is kept, on the object that was changed.
pub const KEPT: &str = "trimtab.dev/own";
/// How KEDA is told to stand still.
const PAUSED: &str = "autoscaling.keda.sh/paused";
/// The name under which these changes are recorded.
const FIELD_MANAGER: &str = "trimtab-own";

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Step {
    resource: ApiResource,
    namespace: String,
    name: String,
    change: Change,
    says: String,
}

#[derive(Clone, Debug)]
enum Change {
    Patch(Vec<Value>),
    Create(Value),
    Delete,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { resource, namespace, name, change, says } = self;
        let kind = if resource.group.is_empty() {
            resource.plural.clone()
        } else {
            format!("{}.{}", resource.plural, resource.group)
        };
        writeln!(f, "# {says}")?;
        match change {
            Change::Patch(operations) => {
                let patch = Value::from(operations.clone()).to_string().replace('\'', r"'\''");
                write!(f, "kubectl -n {namespace} patch {kind} {name} --type=json -p '{patch}'")
            }
            Change::Create(object) => {
                write!(
                    f,
                    "kubectl -n {namespace} create -f - <<'EOF'\n{}\nEOF",
                    serde_json::to_string_pretty(object).unwrap_or_default()
                )
            }
            Change::Delete => write!(f, "kubectl -n {namespace} delete {kind} {name}"),
        }
    }
}

/// What is known of a workload and of what surrounds it.
#[derive(Debug)]
pub struct Scene {
    /// The workload.
    pub target: Target,
    /// How the API server calls its kind.
    pub resource: ApiResource,
    /// It, as the API server has it.
    pub workload: Value,
    /// Its autoscalers.
    pub autoscalers: Vec<Value>,
    /// What they refer to.
    pub around: Vec<Value>,
    /// The `ConfigMap`s of its namespace that hold policies.
    pub maps: Vec<Value>,
    /// The policy that agents decide it by, where somebody wrote one.
    pub in_force: Option<InForce>,
}

/// A policy that somebody wrote, as an agent has read it: it may stand in a file that only agents see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Document and line.
    pub origin: String,
    /// What it says, or else the agent.
    pub mode: Mode,
}

impl Scene {
    fn map_name(&self) -> String {
        let name = self.target.name.replace('.', "-");
        // A StatefulSet may be called as a Deployment is.
        match self.resource.plural.as_str() {
            "deployments" => format!("trimtab-{name}"),
            plural => format!("trimtab-{plural}-{name}"),
        }
    }

    /// The `ConfigMap` that `own` made.
    fn own_map(&self) -> Option<&Value> {
        let name = self.map_name();
        self.maps.iter().find(|map| text(map, "/metadata/name") == name && note(map, KEPT).is_some())
    }

    /// The mode that policies of its namespace say, where one names it; `None` in it where that does not say.
    #[expect(clippy::option_option, reason = "whether it is named, and what is said then")]
    fn policy_mode(&self) -> Option<Option<Mode>> {
        let documents =
            self.maps.iter().flat_map(|map| map.pointer("/data").and_then(Value::as_object).into_iter().flatten());
        documents.filter_map(|(_, text)| text.as_str()).find_map(|text| {
            let document = Document { name: "policy", namespace: Some(&self.target.namespace), text: text.as_bytes() };
            let workloads = config::parse(&document, &|_| Vec::new()).workloads;
            workloads.into_iter().find(|workload| workload.target == self.target).map(|workload| workload.mode)
        })
    }

    /// What trimtab may hold of it.
    fn held(&self) -> Vec<Held> {
        let workload = Held::new(Thing::Workload, &self.resource, &self.workload);
        let map = self.own_map().map(|map| Held::new(Thing::Policy, &maps(), map));
        let autoscalers = self.autoscalers.iter().filter_map(Held::autoscaler);
        [workload].into_iter().chain(map).chain(autoscalers).collect()
    }
}

fn step(resource: &ApiResource, object: &Value, change: Change, says: String) -> Step {
    let (namespace, name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
    Step { resource: resource.clone(), namespace: namespace.to_owned(), name: name.to_owned(), change, says }
}

/// The steps by which trimtab takes a workload over.
///
/// # Errors
/// Why it cannot, and what to do.
pub fn take(scene: &Scene) -> Result<Vec<Step>, String> {
    let target = &scene.target;
    let active: Vec<&Value> = scene.autoscalers.iter().filter(|one| is_active(one)).collect();
    if let Some(InForce { origin, mode }) = scene.in_force.as_ref().filter(|policy| policy.mode != Mode::Own) {
        return Err(format!(
            "the policy of {target} stands at {origin}, and its mode is {mode}, so that nobody would set its size: set mode: own there first"
        ));
    }
    // What an agent has read comes first: of a policy that does not say, it knows the mode.
    let mode = scene.in_force.as_ref().map_or_else(|| scene.policy_mode(), |policy| Some(Some(policy.mode)));
    if mode.is_some_and(|mode| mode != Some(Mode::Own)) {
        return Err(format!(
            "the policy of {target} in its namespace does not say mode: own, so that nobody would set its size: set it there first"
        ));
    }
    let mut steps = Vec::new();
    let mut pauses = None;
    match active.as_slice() {
        [] if mode.is_none() => {
            return Err(format!(
                "{target} has neither an autoscaler nor a policy in its namespace: write one (docs/policy.md), with mode: own"
            ));
        }
        [] => {}
        [one] => {
            if mode.is_none() {
                steps.push(policy(scene, one)?);
            }
            pauses = Some(pause(one));
        }
        [..] => {
            let names: Vec<String> =
                active.iter().filter_map(|one| import::source(one)).map(|source| source.to_string()).collect();
            return Err(format!("{target} is scaled by {}: delete all but one first", names.join(" and ")));
        }
    }
    if label(&scene.workload) != Some("own") {
        let operations = labelling(&scene.workload, "own");
        let says = format!("let trimtab set the size of {target}");
        steps.push(step(&scene.resource, &scene.workload, Change::Patch(operations), says));
    }
    // Last: until then it goes on, and trimtab writes nothing beside it.
    steps.extend(pauses);
    Ok(steps)
}

fn is_active(autoscaler: &Value) -> bool {
    import::source(autoscaler).is_some_and(|source| autoscalers::seen(source.kind, autoscaler, 0).active)
}

/// Pauses an autoscaler the way its kind documents it.
fn pause(autoscaler: &Value) -> Step {
    let name = text(autoscaler, "/metadata/name");
    let kind = import::source(autoscaler).map_or(Kind::Hpa, |source| source.kind);
    let mut operations = vec![unchanged(autoscaler)];
    let behavior = autoscaler.pointer("/spec/behavior").filter(|_| kind == Kind::Hpa);
    operations.extend(behavior.map(|now| json!({"op": "test", "path": "/spec/behavior", "value": now})));
    let kept = match kind {
        Kind::ScaledObject => json!({ "paused": note(autoscaler, PAUSED) }),
        Kind::Hpa => json!({ "behavior": autoscaler.pointer("/spec/behavior") }),
    };
    operations.extend(noting(autoscaler, KEPT, &kept.to_string()));
    let says = match kind {
        Kind::ScaledObject => {
            operations.push(json!({"op": "add", "path": path(&["metadata", "annotations", PAUSED]), "value": "true"}));
            format!("pause ScaledObject {name}: KEDA stands still while the annotation is there")
        }
        Kind::Hpa => {
            let mut behavior = autoscaler.pointer("/spec/behavior").cloned().unwrap_or_else(|| json!({}));
            for direction in ["scaleUp", "scaleDown"] {
                if let Some(rules) = behavior.as_object_mut() {
                    let rules = rules.entry(direction).or_insert_with(|| json!({}));
                    if let Some(rules) = rules.as_object_mut() {
                        rules.insert("selectPolicy".into(), "Disabled".into());
                    }
                }
            }
            operations.push(json!({"op": "add", "path": "/spec/behavior", "value": behavior}));
            format!("pause HorizontalPodAutoscaler {name}: it goes neither up nor down, and still holds its bounds")
        }
    };
    step(&autoscalers::resource(kind), autoscaler, Change::Patch(operations), says)
}

/// The policy that the autoscaler amounts to, in the workload's namespace.
fn policy(scene: &Scene, autoscaler: &Value) -> Result<Step, String> {
    let around: Vec<Value> = scene.around.iter().chain([&scene.workload]).cloned().collect();
    let imported = import::of(autoscaler, &around).ok_or("it is no autoscaler")?;
    let text = imported.policy.clone().ok_or_else(|| imported.problem().unwrap_or_default())?;
    let text = text.replace("    mode: shadow\n", "    mode: own\n").replace("    mode: floor\n", "    mode: own\n");
    let name = scene.map_name();
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": name, "namespace": scene.target.namespace,
            "labels": { POLICY_LABEL: "" }, "annotations": { KEPT: "made by trimtab own; trimtab release deletes it" },
        },
        "data": { "policy.yaml": text },
    });
    let says = format!("the policy that {} amounts to, with mode own: trimtab import prints it", imported.source);
    let made = step(&maps(), &object, Change::Delete, says);
    Ok(Step { change: Change::Create(object), ..made })
}

// === patches ===

fn maps() -> ApiResource {
    ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&())
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn note<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(name)?.as_str()
}

fn label(object: &Value) -> Option<&str> {
    object.pointer("/metadata/labels")?.get(MODE_LABEL)?.as_str()
}

/// A JSON pointer.
fn path(tokens: &[&str]) -> String {
    let tokens: Vec<String> = tokens.iter().map(|token| token.replace('~', "~0").replace('/', "~1")).collect();
    format!("/{}", tokens.join("/"))
}

/// That it is still the object that was looked at.
fn unchanged(object: &Value) -> Value {
    json!({"op": "test", "path": "/metadata/uid", "value": text(object, "/metadata/uid")})
}

fn noting(object: &Value, name: &str, value: &str) -> Vec<Value> {
    let one = json!({"op": "add", "path": path(&["metadata", "annotations", name]), "value": value});
    a_map(object, "/metadata/annotations").into_iter().chain([one]).collect()
}

/// Makes a map where there is none, if none has come meanwhile.
fn a_map(object: &Value, pointer: &str) -> Vec<Value> {
    if object.pointer(pointer).is_some() {
        return Vec::new();
    }
    let version = text(object, "/metadata/resourceVersion");
    let unchanged =
        (!version.is_empty()).then(|| json!({"op": "test", "path": "/metadata/resourceVersion", "value": version}));
    unchanged.into_iter().chain([json!({"op": "add", "path": pointer, "value": {}})]).collect()
}

fn has_label(object: &Value, name: &str) -> bool {
    object.pointer("/metadata/labels").is_some_and(|labels| labels.get(name).is_some())
}

/// Takes the owner's word away, and with it whose it was.
fn unlabelling(object: &Value) -> Vec<Value> {
    let there = |name: &&str| has_label(object, name);
    let remove = |name: &str| json!({"op": "remove", "path": path(&["metadata", "labels", name])});
    [unchanged(object)].into_iter().chain([MODE_LABEL, epoch::LABEL].into_iter().filter(there).map(remove)).collect()
}

fn labelling(object: &Value, value: &str) -> Vec<Value> {
    let one = json!({"op": "add", "path": path(&["metadata", "labels", MODE_LABEL]), "value": value});
    [unchanged(object)].into_iter().chain(a_map(object, "/metadata/labels")).chain([one]).collect()
}

// === commands ===

/// `trimtab own`. Exit code 1 where it cannot be taken over, 4 where there is no such workload.
#[must_use]
pub fn own(command: &cli::Own) -> BoxFuture<'_, anyhow::Result<Printed>> {
    Box::pin(async move {
        let client = import::client(command.context.as_deref()).await?;
        let Some(mut scene) = look(&client, &command.target).await? else { return Ok(missing(&command.target)) };
        let unasked = match in_force(command).await {
            Ok(policy) => {
                scene.in_force = policy;
                String::new()
            }
            Err(why) => format!(
                "# no agent says whether a file of its own has a policy of it: name one with --url or --agent-namespace ({why:#})\n"
            ),
        };
        match take(&scene) {
            Ok(steps) => {
                let printed = carry_out(&client, &command.target, steps, command.dry_run).await?;
                Ok(Printed { text: unasked + &printed.text, ..printed })
            }
            Err(why) => Ok(Printed { text: format!("{why}\n"), code: 1 }),
        }
    })
}

/// The policy that agents decide a workload by, where somebody wrote one. All read the same files: any of them knows.
async fn in_force(command: &cli::Own) -> anyhow::Result<Option<InForce>> {
    let (url, context) = (command.url.clone(), command.context.clone());
    let source = cli::Source {
        url,
        agent_namespace: command.agent_namespace.clone(),
        context,
        token_file: command.token_file.clone(),
        json: false,
    };
    let answer = remote::get(&source, &format!("/api/v1/workloads/{}", command.target), None).await?;
    if answer.status == 404 {
        return Ok(None);
    }
    let workload: Workload = commands::parse(&answer)?;
    let imported = workload.autoscaler.is_some_and(|other| other.is_policy);
    let policy = workload.mode.map(|mode| InForce { origin: workload.policy_origin, mode });
    Ok(policy.filter(|_| !imported))
}

fn missing(target: &Target) -> Printed {
    Printed { text: format!("there is no {target}; kubectl get {} -A lists what there is\n", target.kind), code: 4 }
}

async fn look(client: &Client, target: &Target) -> anyhow::Result<Option<Scene>> {
    let resource = watch::resolve(client, &target.kind).await.map_err(|error| anyhow!(words::chain(&error)))?;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &target.namespace, &resource);
    let workload =
        api.get_opt(&target.name).await.map_err(|error| anyhow!("failed to read {target}: {}", words::api(&error)))?;
    let Some(workload) = workload else { return Ok(None) };
    let workload = import::typed(workload, &resource);
    let objects = import::of_cluster(client, &target.namespace).await?;
    let scales =
        |object: &&Value| import::of(object, &[]).and_then(|imported| imported.target).as_ref() == Some(target);
    let autoscalers: Vec<Value> = objects.iter().filter(scales).cloned().collect();
    let map: Api<DynamicObject> = Api::namespaced_with(client.clone(), &target.namespace, &maps());
    let labelled = kube::api::ListParams::default().labels(POLICY_LABEL);
    let maps_there =
        map.list(&labelled).await.map_err(|error| anyhow!("failed to list policies: {}", words::api(&error)))?;
    let maps = maps_there.into_iter().map(|object| import::typed(object, &maps())).collect();
    Ok(Some(Scene { target: target.clone(), resource, workload, autoscalers, around: objects, maps, in_force: None }))
}

async fn carry_out(client: &Client, target: &Target, steps: Vec<Step>, dry_run: bool) -> anyhow::Result<Printed> {
    let mut out = String::new();
    if steps.is_empty() {
        out = format!("{target}: nothing to do\n");
    }
    for step in steps {
        if dry_run {
            out.extend([step.to_string().as_str(), "\n"]);
            continue;
        }
        apply(client, &step)
            .await
            .map_err(|error| anyhow!(refused(&step, &error)))
            .with_context(|| format!("{}; what was done before stays done", step.says))?;
        out.extend(["done: ", step.says.as_str(), "\n"]);
    }
    Ok(Printed::done(out))
}

async fn apply(client: &Client, step: &Step) -> Result<(), kube::Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &step.namespace, &step.resource);
    let manager = || Some(FIELD_MANAGER.to_owned());
    match &step.change {
        Change::Patch(operations) => {
            let patch: json_patch::Patch =
                serde_json::from_value(Value::from(operations.clone())).map_err(kube::Error::SerdeError)?;
            let params = PatchParams { field_manager: manager(), ..PatchParams::default() };
            api.patch(&step.name, &params, &Patch::Json::<()>(patch)).await.map(drop)
        }
        Change::Create(object) => {
            let object: DynamicObject = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
            api.create(&PostParams { field_manager: manager(), ..PostParams::default() }, &object).await.map(drop)
        }
        Change::Delete => api.delete(&step.name, &DeleteParams::default()).await.map(drop),
    }
}

/// Why a step was not done.
fn refused(step: &Step, error: &kube::Error) -> String {
    format!("{} {}/{}: {}", step.resource.kind, step.namespace, step.name, words::api(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give_back(scene: &Scene) -> Vec<Step> {
        scene.held().iter().flat_map(Held::steps).collect()
    }

    fn scene(autoscalers: Vec<Value>, maps: Vec<Value>) -> Scene {
        let resource = ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&());
        let workload = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "uid": "w"},
            "spec": {"template": {"spec": {"containers": [{"name": "app", "resources": {"requests": {"cpu": "1"}}}]}}},
        });
        let target = "shop/web".parse().unwrap();
        Scene { target, resource, workload, autoscalers, around: Vec::new(), maps, in_force: None }
    }

    fn hpa(spec: &Value) -> Value {
        let mut object = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": "shop", "uid": "h", "annotations": {"theirs": "1"}},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 2, "maxReplicas": 9},
        });
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        object
    }

    fn scaled_object() -> Value {
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": "so", "namespace": "shop", "uid": "s", "generation": 3},
            "spec": {"scaleTargetRef": {"name": "web"}, "minReplicaCount": 1, "triggers": [
                {"type": "prometheus", "metadata": {"query": "sum(x)", "threshold": "5"}},
            ]},
        })
    }

    /// Does to an object what a step's patch says.
    pub(super) fn patched(mut object: Value, step: &Step) -> Value {
        let Change::Patch(operations) = &step.change else { panic!("{step}") };
        let patch: json_patch::Patch = serde_json::from_value(Value::from(operations.clone())).unwrap();
        json_patch::patch(&mut object, &patch).unwrap_or_else(|error| panic!("{error}: {step}"));
        object
    }

    #[test]
    fn what_is_taken_over_is_given_back_as_it_was() {
        let behavior = json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 60, "selectPolicy": "Min"}}});
        let mut paused_before = scaled_object();
        paused_before["metadata"]["annotations"] = json!({PAUSED: "false"});
        for before in [hpa(&json!({})), hpa(&behavior), scaled_object(), paused_before] {
            let steps = take(&scene(vec![before.clone()], Vec::new())).unwrap();
            assert_eq!(steps.len(), 3, "it is paused, there is a policy, and the owner's word");
            let taken = patched(before.clone(), &steps[2]);
            assert!(is_active(&before) && !is_active(&taken), "{taken}");
            let back = give_back(&scene(vec![taken.clone()], Vec::new()));
            let mut after = patched(taken, &back[0]);
            // An empty map of annotations is none.
            if after.pointer("/metadata/annotations") == Some(&json!({})) {
                after["metadata"].as_object_mut().unwrap().remove("annotations");
            }
            assert_eq!(after, before);
        }
    }

    #[test]
    fn the_policy_that_is_made_is_its_autoscalers_with_mode_own() {
        let mut scene = scene(vec![scaled_object()], Vec::new());
        let steps = take(&scene).unwrap();
        let Change::Create(map) = &steps[0].change else { panic!("{}", steps[0]) };
        scene.maps = vec![map.clone()];
        assert!(
            scene.policy_mode() == Some(Some(Mode::Own))
                && map.pointer("/data/policy.yaml").unwrap().as_str().unwrap().contains("mode: own")
        );
        assert!(give_back(&scene).iter().any(|step| matches!(step.change, Change::Delete)));
        assert_eq!(take(&scene).unwrap().len(), 2, "a policy that is there is not made again");
    }

    #[test]
    fn what_cannot_be_taken_over_says_why() {
        let policy = "workloads:\n- target: shop/web\n  replicas: { min: 1, max: 2 }\n  demand: { query: x }\n  capacity: { rate: 1 }\n  slo: none\n  mode: floor\n";
        let map = json!({"metadata": {"name": "p"}, "data": {"p.yaml": policy}});
        let said = take(&scene(vec![hpa(&json!({}))], vec![map])).unwrap_err();
        assert!(said.contains("does not say mode: own"), "{said}");
        assert!(take(&scene(Vec::new(), Vec::new())).unwrap_err().contains("neither an autoscaler nor a policy"));
        let two = take(&scene(vec![hpa(&json!({})), scaled_object()], Vec::new())).unwrap_err();
        assert!(two.contains("hpa shop/web and scaledobject shop/so"), "{two}");
    }

    #[test]
    fn a_policy_in_a_file_that_agents_read_is_the_policy() {
        let mut scene = scene(vec![hpa(&json!({}))], Vec::new());
        let policy = |mode| Some(InForce { origin: "policy.yaml:2".into(), mode });
        scene.in_force = policy(Mode::Floor);
        let said = take(&scene).unwrap_err();
        assert!(said.contains("policy.yaml:2, and its mode is floor"), "{said}");
        scene.in_force = policy(Mode::Own);
        let steps = take(&scene).unwrap();
        assert!(steps.len() == 2 && !steps.iter().any(|step| matches!(step.change, Change::Create(_))), "{steps:?}");
        // The agent that runs with --mode own knows what a policy means that does not say.
        let silent = "workloads:\n- target: shop/web\n  replicas: { min: 1, max: 2 }\n  demand: { query: x }\n  capacity: { rate: 1 }\n  slo: none\n";
        scene.maps = vec![json!({"metadata": {"name": "p"}, "data": {"p.yaml": silent}})];
        assert_eq!(take(&scene).unwrap().len(), 2);
        scene.in_force = None;
        assert!(take(&scene).unwrap_err().contains("does not say mode: own"));
    }

    #[test]
    fn a_step_is_printed_as_the_command_that_does_it() {
        let steps = take(&scene(vec![hpa(&json!({}))], Vec::new())).unwrap();
        let first = steps[2].to_string();
        assert!(
            first.contains(
                "kubectl -n shop patch horizontalpodautoscalers.autoscaling web --type=json -p '[{\"op\":\"test\""
            ),
            "{first}"
        );
    }
}

//! The cluster that the tests run on: an instance of the testbed, or whatever `TRIMTAB_E2E_KUBECONFIG` names.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, Config, ResourceExt};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;

/// A cluster, and what it can do.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) prometheus: String,
    /// Where pods reach Prometheus.
    pub(crate) prometheus_for_pods: Option<String>,
    audit_log: Option<PathBuf>,
}

impl Cluster {
    /// The cluster, or `None` where there is none; then the reason is printed, and the test has nothing to do.
    pub(crate) async fn find(test: &str) -> Option<Self> {
        drop(rustls::crypto::ring::default_provider().install_default());
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let given = var("TRIMTAB_E2E_KUBECONFIG");
        let Some(kubeconfig) = given.clone().or_else(|| var("TRIMTAB_TESTBED").and(var("KUBECONFIG"))) else {
            println!(
                "skipped: {test}: needs a cluster: run it inside `testbed/testbed exec`, or set TRIMTAB_E2E_KUBECONFIG"
            );
            return None;
        };
        let Some(prometheus) = var("PROMETHEUS_URL") else {
            println!("skipped: {test}: needs a Prometheus that scrapes the cluster's pods: set PROMETHEUS_URL");
            return None;
        };
        let options = kube::config::KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(
            kube::config::Kubeconfig::read_from(&kubeconfig).expect("the kubeconfig can be read"),
            &options,
        );
        let client =
            Client::try_from(config.await.expect("the kubeconfig is complete")).expect("the kubeconfig can be used");
        Some(Self {
            client,
            kubeconfig: kubeconfig.into(),
            prometheus,
            prometheus_for_pods: var("PROMETHEUS_POD_URL"),
            audit_log: if given.is_none() { var("TRIMTAB_AUDIT_LOG").map(PathBuf::from) } else { None },
        })
    }

    /// The cluster, where it can run pods; the testbed has nodes only where it was started by root.
    pub(crate) async fn with_nodes(test: &str) -> Option<Self> {
        let cluster = Self::find(test).await?;
        if std::env::var("TRIMTAB_TESTBED_NODES").as_deref() == Ok("0") {
            println!("skipped: {test}: needs real nodes: start the testbed as root with --nodes 1");
            return None;
        }
        Some(cluster)
    }

    /// Whether components can be stopped and the audit log be read, as in the testbed; says so where not.
    pub(crate) fn is_testbed(&self, test: &str) -> bool {
        if self.audit_log.is_none() {
            println!("skipped: {test}: needs the testbed: it stops components and reads the API server's audit log");
        }
        self.audit_log.is_some()
    }

    /// A namespace of the test's own; removed with everything in it when dropped.
    pub(crate) async fn namespace(&self, name: &str) -> Scope {
        let api: Api<Namespace> = Api::all(self.client.clone());
        if api.get_opt(name).await.expect("namespaces can be read").is_some() {
            drop(api.delete(name, &DeleteParams::default()).await);
            until("the namespace of an earlier run is gone", 120, async || {
                api.get_opt(name).await.ok()?.is_none().then_some(())
            })
            .await;
        }
        let namespace: Namespace =
            serde_json::from_value(serde_json::json!({"metadata": {"name": name}})).expect("it is one");
        api.create(&PostParams::default(), &namespace).await.expect("a namespace can be made");
        Scope { name: name.to_owned(), kubeconfig: self.kubeconfig.clone() }
    }

    /// A token of a service account, which is made where there is none.
    pub(crate) async fn token(&self, namespace: &str, account: &str) -> String {
        let account_object =
            serde_json::json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}});
        self.apply(namespace, &account_object.to_string()).await;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = accounts.create_token_request(account, &PostParams::default(), &TokenRequest::default()).await;
        request.expect("a token can be made").status.expect("a token has a status").token
    }

    /// A kubeconfig in `directory` with the rights of a service account.
    pub(crate) async fn kubeconfig_of(&self, namespace: &str, account: &str, directory: &Path) -> PathBuf {
        let text = std::fs::read_to_string(&self.kubeconfig).expect("the kubeconfig can be read");
        let mut config: serde_json::Value = serde_saphyr::from_str(&text).expect("the kubeconfig is YAML");
        let user = config.pointer_mut("/users/0/user").expect("the kubeconfig names a user");
        *user = serde_json::json!({ "token": self.token(namespace, account).await });
        let path = directory.join("kubeconfig");
        std::fs::write(&path, config.to_string()).expect("a file");
        path
    }

    /// Applies every object of a YAML text, in `namespace` where it has one and names none.
    pub(crate) async fn apply(&self, namespace: &str, yaml: &str) {
        for document in yaml.split("\n---") {
            if document.lines().all(|line| line.is_empty() || line.starts_with('#') || line == "---") {
                continue;
            }
            let object = kube_yaml(document).unwrap_or_else(|error| panic!("{error}:\n{document}"));
            let types = object.types.clone().expect("an object has a type");
            let gvk = GroupVersionKind::try_from(&types).expect("an object has a kind");
            let (resource, capabilities) =
                kube::discovery::pinned_kind(&self.client, &gvk).await.expect("the API server knows the kind");
            let api: Api<DynamicObject> = match capabilities.scope {
                kube::discovery::Scope::Cluster => Api::all_with(self.client.clone(), &resource),
                kube::discovery::Scope::Namespaced => {
                    let own = object.namespace();
                    Api::namespaced_with(self.client.clone(), own.as_deref().unwrap_or(namespace), &resource)
                }
            };
            let params = PatchParams::apply("trimtab-tests").force();
            if let Err(error) = api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await {
                panic!("failed to apply {} {}: {error}", gvk.kind, object.name_any());
            }
        }
    }

    /// `spec.replicas` of a Deployment, and how many are ready.
    pub(crate) async fn replicas(&self, namespace: &str, name: &str) -> (i32, i32) {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let Ok(deployment) = api.get(name).await else { return (0, 0) };
        let desired = deployment.spec.and_then(|spec| spec.replicas).unwrap_or_default();
        (desired, deployment.status.and_then(|status| status.ready_replicas).unwrap_or_default())
    }

    /// `spec.replicas` of a Deployment, where the API server answers.
    pub(crate) async fn replicas_if_known(&self, namespace: &str, name: &str) -> Option<i32> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        api.get(name).await.ok()?.spec?.replicas
    }

    /// IPs of the ready pods that carry `label`.
    pub(crate) async fn ready_pods(&self, namespace: &str, label: &str) -> Option<Vec<String>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pods = api.list(&ListParams::default().labels(label)).await.ok()?;
        let ready = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).filter_map(|pod| {
            let status = pod.status?;
            let ready =
                status.conditions?.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
            ready.then_some(status.pod_ip?)
        });
        Some(ready.collect())
    }

    /// All requests since `mark` that changed something, as the API server noted them.
    pub(crate) fn audited(&self, mark: u64) -> Vec<Audited> {
        let path = self.audit_log.as_ref().expect("asked for only in the testbed");
        let text = std::fs::read(path).expect("the audit log can be read");
        let from = usize::try_from(mark).unwrap_or_default().min(text.len());
        String::from_utf8_lossy(text.get(from..).unwrap_or_default())
            .lines()
            .filter_map(|line| serde_json::from_str::<Audited>(line).ok())
            .filter(|entry| entry.stage == "ResponseComplete")
            .collect()
    }

    /// Where the audit log ends now.
    pub(crate) fn audit_mark(&self) -> u64 {
        let path = self.audit_log.as_ref().expect("asked for only in the testbed");
        std::fs::metadata(path).map(|file| file.len()).unwrap_or_default()
    }

    /// Stops, starts or restarts a component of the testbed.
    pub(crate) fn component(verb: &str, component: &str) {
        let status =
            Command::new("testbed").args([verb, component]).status().expect("testbed is in PATH inside `testbed exec`");
        assert!(status.success(), "testbed {verb} {component}: {status}");
    }
}

/// One line of the audit log, as far as the tests care.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Audited {
    stage: String,
    /// When the API server took the request.
    pub(crate) request_received_timestamp: jiff::Timestamp,
    pub(crate) verb: String,
    #[serde(default)]
    pub(crate) user_agent: String,
    #[serde(default)]
    pub(crate) object_ref: ObjectRef,
    #[serde(default)]
    pub(crate) response_status: ResponseStatus,
    /// The body, where there was one.
    #[serde(default)]
    request_object: serde_json::Value,
    /// Who asked.
    #[serde(default)]
    user: serde_json::Value,
    /// The answer, where it is kept.
    #[serde(default)]
    response_object: serde_json::Value,
}

impl Audited {
    /// The size that a JSON Patch sets.
    pub(crate) fn size(&self) -> Option<u64> {
        let operations = self.request_object.as_array()?.iter();
        let sizes = [("replace", "/spec/replicas"), ("add", "/spec/minReplicas")];
        let is = |operation: &&serde_json::Value, key: &str, value: &str| operation.pointer(key) == Some(&value.into());
        let mut sets =
            operations.filter(|one| sizes.iter().any(|(op, path)| is(one, "/op", op) && is(one, "/path", path)));
        sets.next()?.pointer("/value")?.as_u64()
    }

    /// What a JSON Patch does (or tests) at `path`.
    pub(crate) fn operation(&self, op: &str, path: &str) -> Option<&str> {
        let mut operations = self.request_object.as_array()?.iter();
        let is = |operation: &&serde_json::Value, key: &str, value: &str| operation.pointer(key) == Some(&value.into());
        operations
            .find(|operation| is(operation, "/op", op) && is(operation, "/path", path))?
            .pointer("/value")?
            .as_str()
    }

    /// The pod whose token was used.
    pub(crate) fn pod(&self) -> &str {
        let name = self.user.pointer("/extra/authentication.kubernetes.io~1pod-name/0");
        name.and_then(serde_json::Value::as_str).unwrap_or_default()
    }

    /// The version that the object got, where the answer is kept.
    pub(crate) fn version(&self) -> Option<u64> {
        self.response_object.pointer("/metadata/resourceVersion")?.as_str()?.parse().ok()
    }

    /// Whether a trimtab sent it, which says so in its user agent.
    pub(crate) fn is_ours(&self) -> bool {
        self.user_agent.starts_with("trimtab/")
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ObjectRef {
    #[serde(default)]
    pub(crate) resource: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default)]
    pub(crate) subresource: String,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ResponseStatus {
    #[serde(default)]
    pub(crate) code: u16,
}

/// A namespace that goes with the test.
pub(crate) struct Scope {
    pub(crate) name: String,
    kubeconfig: PathBuf,
}

impl Drop for Scope {
    fn drop(&mut self) {
        // Nobody waits for it: the next test has a namespace of its own.
        let _ = Command::new("kubectl")
            .args(["delete", "namespace", &self.name, "--wait=false", "--ignore-not-found"])
            .env("KUBECONFIG", &self.kubeconfig)
            .output();
    }
}

fn kube_yaml(document: &str) -> Result<DynamicObject, String> {
    let value: serde_json::Value = serde_saphyr::from_str(document).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// What a test that failed says of a machine that had no time for it.
pub(crate) struct Busy {
    since: Instant,
    stalled: Option<Duration>,
}

impl Busy {
    pub(crate) fn begin() -> Self {
        Self { since: Instant::now(), stalled: Self::stalled() }
    }

    /// How long something has waited for a CPU since the machine started; `None` where the kernel does not count it.
    fn stalled() -> Option<Duration> {
        let pressure = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
        let some = pressure.lines().find(|line| line.starts_with("some "))?;
        some.rsplit_once("total=")?.1.parse().ok().map(Duration::from_micros)
    }

    /// Empty, but where something waited for a CPU nearly all the time.
    pub(crate) fn said(&self) -> String {
        let waited = Self::stalled().zip(self.stalled).map(|(now, then)| now.saturating_sub(then));
        let share = waited.map_or(0.0, |waited| waited.as_secs_f64() / self.since.elapsed().as_secs_f64().max(0.001));
        if share < 0.9 {
            return String::new();
        }
        format!(" (something waited for a CPU in {:.0} % of that time: is other work running here?)", 100.0 * share)
    }
}

/// Waits until `condition` gives something, for `seconds` at the most.
pub(crate) async fn until<T>(what: &str, seconds: u64, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let (begun, busy) = (Instant::now(), Busy::begin());
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        let late = begun.elapsed() >= Duration::from_secs(seconds);
        assert!(!late, "waited {seconds} s in vain: {what}{}", busy.said());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The component of the testbed's instance that a process belongs to.
pub(crate) fn component(pid: &str, owner: &str) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let words = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let value = |name: &str| words.clone().find_map(|word| Some(word.strip_prefix(name)?.to_owned()));
    (value("TRIMTAB_TESTBED_OWNER=")? == owner).then(|| value("TRIMTAB_TESTBED_COMPONENT="))?
}

/// The process of the testbed's instance that is this component.
pub(crate) fn process_of(name: &str) -> Option<String> {
    let owner = std::env::var("TRIMTAB_TESTBED").expect("set inside the testbed");
    let pids = std::fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    pids.into_iter().find(|pid| component(pid, &owner).is_some_and(|it| it == name))
}

/// Watches for `seconds` that `condition` never fails; it says what is wrong.
pub(crate) async fn throughout(seconds: u64, mut condition: impl AsyncFnMut() -> Result<(), String>) {
    let (begun, busy) = (Instant::now(), Busy::begin());
    while begun.elapsed() < Duration::from_secs(seconds) {
        if let Err(wrong) = condition().await {
            panic!("after {:.1} s: {wrong}{}", begun.elapsed().as_secs_f64(), busy.said());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A binary of the workspace, beside the test's own; `TRIMTAB_BINARIES` names another directory, for what is measured.
pub(crate) fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own binary");
    let beside = || test.parent().and_then(Path::parent).expect("tests lie in deps/").to_owned();
    let path = std::env::var("TRIMTAB_BINARIES").map_or_else(|_| beside(), PathBuf::from).join(name);
    assert!(path.exists(), "{} is missing: build the workspace first (cargo build --workspace)", path.display());
    path
}

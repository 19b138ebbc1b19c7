//! What goes wrong in the middle of a run.

use crate::cluster::{Cluster, component};
use std::process::Command;
use std::time::Duration;

/// What happens to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// The second node dies with all that runs on it, and stays dead.
    NodeKilled,
    /// Every replica is replaced by one of another release.
    Rollout,
    /// Prometheus is away for a minute.
    PrometheusLost,
}

impl Disturbance {
    const ALL: [Self; 3] = [Self::NodeKilled, Self::Rollout, Self::PrometheusLost];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NodeKilled => "node-killed",
            Self::Rollout => "rollout",
            Self::PrometheusLost => "prometheus-lost",
        }
    }

    /// The one of that name; none of no name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|it| it.name() == name);
        let names = || Self::ALL.map(Self::name).join(", ");
        assert!(found.is_some() || name.is_empty(), "no disturbance {name:?}: there are {}", names());
        found
    }

    /// Lets it happen, and waits until it is over.
    pub(crate) async fn happen(self, cluster: Cluster, namespace: String) {
        match self {
            Self::NodeKilled => kill_node(),
            Self::Rollout => {
                let deployments: kube::Api<k8s_openapi::api::apps::v1::Deployment> =
                    kube::Api::namespaced(cluster.client, &namespace);
                let patch = serde_json::json!({"spec": {"template": {"metadata": {"annotations": {"example.com/release": "2"}}}}});
                let params = kube::api::PatchParams::default();
                deployments.patch("web", &params, &kube::api::Patch::Merge(&patch)).await.expect("a new release");
            }
            Self::PrometheusLost => {
                let tell =
                    |verb: &'static str| tokio::task::spawn_blocking(move || Cluster::component(verb, "prometheus"));
                tell("stop").await.expect("it is stopped");
                tokio::time::sleep(Duration::from_mins(1)).await;
                tell("start").await.expect("it is started");
            }
        }
    }
}

/// The first process of a node's namespace takes all others with it.
fn kill_node() {
    let owner = std::env::var("TRIMTAB_TESTBED").expect("set inside the testbed");
    let processes = std::fs::read_dir("/proc").expect("proc is mounted").flatten();
    let pids = processes.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let of_node: Vec<String> =
        pids.filter(|pid| component(pid, &owner).is_some_and(|component| component.ends_with("-n2"))).collect();
    assert!(!of_node.is_empty(), "no second node: start the testbed with --nodes 2 at least");
    // It complains of those that ended with another.
    let _ = Command::new("kill").arg("-KILL").args(&of_node).output().expect("kill runs");
}

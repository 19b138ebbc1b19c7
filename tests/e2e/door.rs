//! Who may look: an agent that asks for tokens, which the real API server reviews; with exactly the rights that are shipped for it.

use crate::cluster::{Cluster, binary, until};
use crate::install::{Install, cli};
use crate::world::{Agent, World};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, DeleteParams, PostParams};
use reqwest::StatusCode;
use serde_json::json;
use std::process::Command;

const AUTHENTICATED: &str = "deploy/manifests/shadow-authenticated.yaml";

/// Takes a binding away again when dropped.
struct Bound<'a>(&'a Cluster, &'static str);

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        let _ = Command::new("kubectl")
            .args(["delete", "--ignore-not-found", "clusterrolebinding", self.1])
            .env("KUBECONFIG", &self.0.kubeconfig)
            .output();
    }
}

async fn bind<'a>(cluster: &'a Cluster, name: &'static str, role: &str, account: &str) -> Bound<'a> {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "e2e-door"}],
    });
    let binding: ClusterRoleBinding = serde_json::from_value(binding).expect("it is one");
    let all: Api<ClusterRoleBinding> = Api::all(cluster.client.clone());
    drop(all.delete(name, &DeleteParams::default()).await);
    all.create(&PostParams::default(), &binding).await.expect("roles can be bound");
    Bound(cluster, name)
}

/// Asks for a path with these credentials.
async fn asked(agent: &Agent, path: &str, token: Option<&str>) -> (StatusCode, String) {
    let mut request = reqwest::Client::new().get(format!("{}{path}", agent.url));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.expect("the agent answers");
    (answer.status(), answer.text().await.unwrap_or_default())
}

#[tokio::test]
async fn an_agent_shows_itself_to_whom_the_api_server_lets_look_and_to_nobody_else() {
    let Some(cluster) = Cluster::find("who may look").await else { return };
    let world = World::empty(&cluster, "e2e-door").await;
    let install = Install::apply(&cluster, AUTHENTICATED).await;
    let rights = tempfile::tempdir().expect("a directory");
    let kubeconfig = cluster.kubeconfig_of("trimtab", "trimtab", rights.path()).await;
    let directory = world.directory.path();
    let agent = Agent::start_with(&cluster, "e2e-door", directory, &kubeconfig, &[("TRIMTAB_AUTHENTICATE", "true")]);
    until("probes need no token", 30, async || {
        let answer = reqwest::get(format!("{}/readyz", agent.url)).await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;

    for path in ["/", "/api/v1/report", "/metrics", "/events/overview", "/assets/page.js", "/w/a/deployment/b"] {
        let (status, said) = asked(&agent, path, None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}: {said}");
        assert!(said.contains("--token-file") && !said.contains("trimtab_"), "{said}");
        assert_eq!(asked(&agent, path, Some("made.up.token")).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    let (viewer, scraper) = (cluster.token("e2e-door", "viewer").await, cluster.token("e2e-door", "scraper").await);
    let (status, said) = asked(&agent, "/api/v1/report", Some(&viewer)).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{said}");
    assert!(said.contains("system:serviceaccount:e2e-door:viewer may not get /trimtab"), "{said}");

    let bound = bind(&cluster, "e2e-door-view", "trimtab-trimtab-view", "viewer").await;
    let _scrapes = bind(&cluster, "e2e-door-scrape", "trimtab-trimtab-scrape", "scraper").await;
    until("a right that was given counts", 30, async || {
        (asked(&agent, "/api/v1/report", Some(&viewer)).await.0 == StatusCode::OK).then_some(())
    })
    .await;
    let (status, metrics) = asked(&agent, "/metrics", Some(&scraper)).await;
    assert!(status.is_success() && metrics.contains("trimtab_troubles"), "{status}: {metrics}");
    assert_eq!(asked(&agent, "/metrics", Some(&viewer)).await.0, StatusCode::FORBIDDEN, "each its own");
    assert_eq!(asked(&agent, "/", Some(&scraper)).await.0, StatusCode::FORBIDDEN, "each its own");
    let browser = reqwest::Client::new().get(&agent.url).basic_auth("anybody", Some(&viewer)).send().await;
    assert!(browser.expect("it answers").status().is_success(), "a browser's password is a token");

    let file = rights.path().join("token");
    std::fs::write(&file, format!("{viewer}\n")).expect("a file");
    let file = file.to_str().expect("a path");
    let said = cli(&cluster, &["status", "--url", &agent.url, "--token-file", file]);
    assert!(said.contains("workloads: 0 would change") || said.contains("as of"), "{said}");
    let refused = Command::new(binary("trimtab")).args(["status", "--url", &agent.url]).output().expect("it runs");
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("--token-file"), "{refused}");

    // Whose right is taken back is shown nothing a minute later, and whose account is gone neither.
    drop(bound);
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "e2e-door");
    accounts.delete("scraper", &DeleteParams::default()).await.expect("accounts can be removed");
    until("what was allowed is no longer believed", 90, async || {
        let viewer = asked(&agent, "/api/v1/report", Some(&viewer)).await.0;
        let scraper = asked(&agent, "/metrics", Some(&scraper)).await.0;
        ((viewer, scraper) == (StatusCode::FORBIDDEN, StatusCode::UNAUTHORIZED)).then_some(())
    })
    .await;
    let mistakes = world.log();
    assert!(!mistakes.contains("cannot create resource"), "its rights are enough: {mistakes}");
    through_a_port_forward(&cluster, file).await;
    drop(install);
}

/// The same by the way that a laptop takes, where the cluster can run pods.
async fn through_a_port_forward(cluster: &Cluster, file: &str) {
    if cluster.prometheus_for_pods.is_none() || std::env::var("TRIMTAB_TESTBED_NODES").as_deref() == Ok("0") {
        println!("skipped: by port-forward: needs real nodes: start the testbed as root with --nodes 1");
        return;
    }
    let agents: Api<DaemonSet> = Api::namespaced(cluster.client.clone(), "trimtab");
    until("an agent is ready on every node", 90, async || {
        let status = agents.get("trimtab").await.ok()?.status?;
        (status.desired_number_scheduled > 0 && status.number_ready == status.desired_number_scheduled).then_some(())
    })
    .await;
    let _bound = bind(cluster, "e2e-door-view", "trimtab-trimtab-view", "viewer").await;
    until("a right that was given counts", 30, async || {
        let asked = Command::new(binary("trimtab"))
            .args(["status", "--token-file", file])
            .env("KUBECONFIG", &cluster.kubeconfig)
            .output();
        asked.ok()?.status.success().then_some(())
    })
    .await;
    let said = cli(cluster, &["status", "--agents", "--token-file", file]);
    assert!(said.contains("AGENT"), "{said}");
}

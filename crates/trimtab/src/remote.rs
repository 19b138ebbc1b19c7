//! Reaching an agent: by its URL, or from a laptop by port-forward with the user's own kubeconfig.
//!
//! Of several agents the one that holds the Lease is asked, since it is the one that writes; otherwise the first that is ready.

use crate::cli::Source;
use crate::words;
use anyhow::{Context, anyhow, bail};
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::config::KubeConfigOptions;
use kube::{Client, Config, ResourceExt};
use std::time::Duration;

/// The port that agents listen on in a cluster.
const PORT: u16 = 7070;
/// Which pods are agents.
const AGENTS: &str = "app.kubernetes.io/name=trimtab";
/// A report of a thousand workloads is about 3 MB.
const LONGEST_ANSWER: usize = 64 << 20;
/// Port-forward, request and answer together.
const DEADLINE: Duration = Duration::from_secs(30);

/// What an agent answered.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// Asks an agent for `path`.
#[must_use]
pub fn get<'a>(source: &'a Source, path: &'a str) -> BoxFuture<'a, anyhow::Result<Answer>> {
    Box::pin(async move {
        let asked = async {
            match &source.url {
                Some(url) => by_url(url, path).await,
                None => by_port_forward(source, path).await,
            }
        };
        tokio::time::timeout(DEADLINE, asked).await.context("the agent did not answer within 30 s")?
    })
}

async fn by_url(url: &str, path: &str) -> anyhow::Result<Answer> {
    let address = format!("{}{path}", url.trim_end_matches('/'));
    let response = reqwest::get(&address).await.with_context(|| format!("failed to reach an agent at {url}"))?;
    let status = response.status().as_u16();
    Ok(Answer { status, body: response.bytes().await.context("failed to read the agent's answer")? })
}

async fn by_port_forward(source: &Source, path: &str) -> anyhow::Result<Answer> {
    let options = KubeConfigOptions { context: source.context.clone(), ..KubeConfigOptions::default() };
    let config = Config::from_kubeconfig(&options).await.map_err(|error| {
        let cause = words::without_secrets(&error);
        anyhow!("failed to read the kubeconfig: set KUBECONFIG, or name an agent with --url: {cause}")
    })?;
    let client = Client::try_from(config).context("failed to use the kubeconfig")?;
    let namespace = &source.agent_namespace;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let agents = pods
        .list(&ListParams::default().labels(AGENTS))
        .await
        .map_err(|error| anyhow!("failed to list the agents in namespace {namespace}: {}", words::api(&error)))?;
    let ready: Vec<String> = agents.iter().filter(|pod| is_ready(pod)).map(ResourceExt::name_any).collect();
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    let holder = leases.get_opt("trimtab").await.ok().flatten().and_then(|lease| lease.spec?.holder_identity);
    let Some(agent) = ready.iter().find(|name| Some(*name) == holder.as_ref()).or(ready.first()) else {
        bail!(
            "no agent is ready in namespace {namespace} (pods labelled {AGENTS}): name another with --agent-namespace, or an address with --url"
        );
    };
    let mut forward = pods
        .portforward(agent, &[PORT])
        .await
        .map_err(|error| anyhow!("failed to forward a port to pod {namespace}/{agent}: {}", words::api(&error)))?;
    let stream = forward.take_stream(PORT).context("the port-forward gave no stream")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .with_context(|| format!("failed to speak HTTP to pod {namespace}/{agent}"))?;
    let connection = tokio::spawn(connection);
    let request = http::Request::get(path).header("host", "trimtab").body(Empty::<Bytes>::new())?;
    let response =
        sender.send_request(request).await.with_context(|| format!("pod {namespace}/{agent} did not answer"))?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), LONGEST_ANSWER)
        .collect()
        .await
        .map_err(|error| anyhow!("failed to read the agent's answer: {error}"))?
        .to_bytes();
    connection.abort();
    forward.abort();
    Ok(Answer { status, body })
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
}

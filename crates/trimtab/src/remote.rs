//! Reaching agents: one by its URL, or all from a laptop by port-forward with the user's own kubeconfig.
//!
//! Agents share the workloads: what is true of a workload is known by the agent that has claimed it.

use crate::cli::Source;
use crate::words;
use anyhow::{Context, anyhow, bail};
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use http::{HeaderValue, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::config::KubeConfigOptions;
use kube::{Client, Config, ResourceExt};
use std::path::Path;
use std::time::Duration;

/// The port that agents listen on in a cluster.
const PORT: u16 = 7070;
/// Which pods are agents.
const AGENTS: &str = "app.kubernetes.io/name=trimtab";
/// A report of a thousand workloads is about 3 MB.
const LONGEST_ANSWER: usize = 64 << 20;
/// Port-forward, request and answer together.
const DEADLINE: Duration = Duration::from_secs(30);

/// Agents that are asked at the same time.
const ASKED_AT_ONCE: usize = 8;

/// What an agent answered.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// The agents that can be asked: found once, and then asked by name.
pub(crate) struct Agents {
    reach: Reach,
    /// `Authorization`, where a token was given.
    credentials: Option<HeaderValue>,
}

enum Reach {
    /// One, by its address.
    Url(String),
    /// All that are ready, by the names of their pods.
    Pods(Box<Api<Pod>>, Vec<String>),
}

impl Agents {
    /// Those that the command line means.
    pub(crate) async fn find(source: &Source) -> anyhow::Result<Self> {
        let credentials = source.token_file.as_deref().map(credentials).transpose()?;
        if let Some(url) = &source.url {
            return Ok(Self { reach: Reach::Url(url.clone()), credentials });
        }
        let found = tokio::time::timeout(DEADLINE, agents(source)).await;
        let (pods, ready) = found.context("the API server did not answer within 30 s")??;
        Ok(Self { reach: Reach::Pods(Box::new(pods), ready), credentials })
    }

    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let names = match &self.reach {
            Reach::Url(url) => std::slice::from_ref(url),
            Reach::Pods(_, ready) => ready,
        };
        names.iter().map(String::as_str)
    }

    /// Asks the one of this name for `path`.
    pub(crate) async fn get(&self, agent: &str, path: &str) -> anyhow::Result<Answer> {
        let asked = async {
            match &self.reach {
                Reach::Url(url) => by_url(url, path, self.credentials.clone()).await,
                Reach::Pods(pods, _) => by_port_forward(pods, agent, path, self.credentials.clone()).await,
            }
        };
        let answer = tokio::time::timeout(DEADLINE, asked).await;
        answer.unwrap_or_else(|_| Err(anyhow!("agent {agent} did not answer within 30 s")))
    }
}

/// Asks one agent for `path`, the one of this name where there is such a one.
#[must_use]
pub fn get<'a>(source: &'a Source, path: &'a str, agent: Option<&'a str>) -> BoxFuture<'a, anyhow::Result<Answer>> {
    Box::pin(async move {
        let agents = Agents::find(source).await?;
        let named = agents.names().find(|name| Some(*name) == agent).or(agents.names().next());
        agents.get(named.unwrap_or_default(), path).await
    })
}

/// Asks every agent that is ready for `path`; what one of them does not answer is left out, where another does.
#[must_use]
pub fn get_all<'a>(source: &'a Source, path: &'a str) -> BoxFuture<'a, anyhow::Result<Vec<Answer>>> {
    Box::pin(async move {
        let agents = Agents::find(source).await?;
        let names: Vec<String> = agents.names().map(str::to_owned).collect();
        let ask = |agent: String| {
            let agents = &agents;
            async move { agents.get(&agent, path).await }
        };
        let asked = stream::iter(names).map(ask);
        let answers: Vec<anyhow::Result<Answer>> = asked.buffered(ASKED_AT_ONCE).collect().await;
        let (answered, mut failed): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        if answered.is_empty() {
            return Err(failed.pop().and_then(Result::err).unwrap_or_else(|| anyhow!("no agent answered")));
        }
        Ok(answered.into_iter().filter_map(Result::ok).collect())
    })
}

/// What a token is shown as.
fn credentials(file: &Path) -> anyhow::Result<HeaderValue> {
    let token =
        std::fs::read_to_string(file).with_context(|| format!("failed to read --token-file {}", file.display()))?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
        .with_context(|| format!("--token-file {}: expected one line with a token", file.display()))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn by_url(url: &str, path: &str, credentials: Option<HeaderValue>) -> anyhow::Result<Answer> {
    let address = format!("{}{path}", url.trim_end_matches('/'));
    let mut request = reqwest::Client::new().get(&address);
    if let Some(credentials) = credentials {
        request = request.header(header::AUTHORIZATION, credentials);
    }
    let response = request.send().await.with_context(|| format!("failed to reach an agent at {url}"))?;
    let status = response.status().as_u16();
    Ok(Answer { status, body: response.bytes().await.context("failed to read the agent's answer")? })
}

/// The agents that are ready, by their pods.
async fn agents(source: &Source) -> anyhow::Result<(Api<Pod>, Vec<String>)> {
    let options = KubeConfigOptions { context: source.context.clone(), ..KubeConfigOptions::default() };
    let config = Config::from_kubeconfig(&options).await.map_err(|error| {
        let cause = words::without_secrets(&error);
        anyhow!("failed to read the kubeconfig: set KUBECONFIG, or name an agent with --url: {cause}")
    })?;
    let client = Client::try_from(config).context("failed to use the kubeconfig")?;
    let namespace = &source.agent_namespace;
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let agents = pods
        .list(&ListParams::default().labels(AGENTS))
        .await
        .map_err(|error| anyhow!("failed to list the agents in namespace {namespace}: {}", words::api(&error)))?;
    let ready: Vec<String> = agents.iter().filter(|pod| is_ready(pod)).map(ResourceExt::name_any).collect();
    if ready.is_empty() {
        bail!(
            "no agent is ready in namespace {namespace} (pods labelled {AGENTS}): name another with --agent-namespace, or an address with --url"
        );
    }
    Ok((pods, ready))
}

async fn by_port_forward(
    pods: &Api<Pod>,
    agent: &str,
    path: &str,
    credentials: Option<HeaderValue>,
) -> anyhow::Result<Answer> {
    let mut forward = pods
        .portforward(agent, &[PORT])
        .await
        .map_err(|error| anyhow!("failed to forward a port to pod {agent}: {}", words::api(&error)))?;
    let stream = forward.take_stream(PORT).context("the port-forward gave no stream")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .with_context(|| format!("failed to speak HTTP to pod {agent}"))?;
    let connection = tokio::spawn(connection);
    let mut request = http::Request::get(path).header("host", "trimtab").body(Empty::<Bytes>::new())?;
    if let Some(credentials) = credentials {
        request.headers_mut().insert(header::AUTHORIZATION, credentials);
    }
    let response = sender.send_request(request).await.with_context(|| format!("pod {agent} did not answer"))?;
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

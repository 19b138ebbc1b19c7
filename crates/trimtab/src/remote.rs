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
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// The port that agents listen on in a cluster.
const PORT: u16 = 7070;
/// Which pods are agents.
const AGENTS: &str = "app.kubernetes.io/name=trimtab";
/// A report of a thousand workloads is about 3 MB.
const LONGEST_ANSWER: usize = 64 << 20;
/// Port-forward, request and answer together.
const DEADLINE: Duration = Duration::from_secs(30);
/// Agents that are asked at the same time.
const ASKED_AT_ONCE: usize = 32;
/// All agents together are waited for this many times as long as one.
const TURNS: u32 = 2;

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
    /// How long one is waited for.
    patience: Duration,
}

enum Reach {
    /// By their addresses.
    Urls(reqwest::Client, Vec<String>),
    /// All that are ready, by the names of their pods.
    Pods(Box<Api<Pod>>, Vec<String>),
}

impl Agents {
    /// Those that the command line means.
    pub(crate) async fn find(source: &Source) -> anyhow::Result<Self> {
        let credentials = source.token_file.as_deref().map(credentials).transpose()?;
        if let Some(url) = &source.url {
            return Ok(Self { credentials, ..Self::at(vec![url.clone()], DEADLINE) });
        }
        let found = tokio::time::timeout(DEADLINE, agents(source)).await;
        let (pods, ready) = found.context("the API server did not answer within 30 s")??;
        Ok(Self { reach: Reach::Pods(Box::new(pods), ready), credentials, patience: DEADLINE })
    }

    /// Those at these addresses.
    pub(crate) fn at(urls: Vec<String>, patience: Duration) -> Self {
        Self { reach: Reach::Urls(reqwest::Client::new(), urls), credentials: None, patience }
    }

    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let names = match &self.reach {
            Reach::Urls(_, names) | Reach::Pods(_, names) => names,
        };
        names.iter().map(String::as_str)
    }

    /// Asks the one of this name for `path`.
    pub(crate) async fn get(&self, agent: &str, path: &str) -> anyhow::Result<Answer> {
        let asked = async {
            match &self.reach {
                Reach::Urls(client, _) => by_url(client, agent, path, self.credentials.clone()).await,
                Reach::Pods(pods, _) => by_port_forward(pods, agent, path, self.credentials.clone()).await,
            }
        };
        let answer = tokio::time::timeout(self.patience, asked).await;
        answer.unwrap_or_else(|_| Err(hangs(agent, self.patience)))
    }

    /// Asks all of them for `path`, many at once, and waits for a minute at the most: who has not answered by then is named.
    pub(crate) async fn get_from_all(&self, path: &str) -> Vec<(String, anyhow::Result<Answer>)> {
        let longest = self.patience * TURNS;
        let until = Instant::now() + longest;
        let ask = |agent: String| async move {
            let answer = tokio::time::timeout_at(until, self.get(&agent, path)).await;
            let answer = answer.unwrap_or_else(|_| Err(hangs(&agent, longest)));
            (agent, answer)
        };
        let names: Vec<String> = self.names().map(str::to_owned).collect();
        stream::iter(names).map(ask).buffered(ASKED_AT_ONCE).collect().await
    }
}

fn hangs(agent: &str, waited: Duration) -> anyhow::Error {
    anyhow!("agent {agent} did not answer within {} s", waited.as_secs_f64())
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

/// What the agents answered, and why the others did not, by their names.
pub type Answers = (Vec<Answer>, BTreeMap<String, String>);

/// Asks every agent that is ready for `path`.
///
/// # Errors
/// Where none of them answers: why.
#[must_use]
pub fn get_all<'a>(source: &'a Source, path: &'a str) -> BoxFuture<'a, anyhow::Result<Answers>> {
    Box::pin(async move { all_of(&Agents::find(source).await?, path).await })
}

async fn all_of(agents: &Agents, path: &str) -> anyhow::Result<Answers> {
    let (mut answers, mut silent) = (Vec::new(), BTreeMap::new());
    for (agent, answer) in agents.get_from_all(path).await {
        match answer {
            Ok(answer) => answers.push(answer),
            Err(why) => drop(silent.insert(agent, format!("{why:#}"))),
        }
    }
    if answers.is_empty() {
        bail!("{}", silent.into_values().collect::<Vec<_>>().join("; "));
    }
    Ok((answers, silent))
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

async fn by_url(
    client: &reqwest::Client,
    url: &str,
    path: &str,
    credentials: Option<HeaderValue>,
) -> anyhow::Result<Answer> {
    let address = format!("{}{path}", url.trim_end_matches('/'));
    let mut request = client.get(&address);
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;

    /// An agent that answers, and so many that take a connection and never do.
    async fn agents(hung: usize, patience: Duration) -> (Agents, Vec<tokio::net::TcpListener>) {
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut listeners = Vec::new();
        for _ in 0..hung {
            listeners.push(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let well = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let urls = std::iter::once(&well).chain(&listeners).map(url).collect();
        tokio::spawn(axum::serve(well, Router::new().route("/x", get(async || "it is well"))).into_future());
        (Agents::at(urls, patience), listeners)
    }

    fn url(listener: &tokio::net::TcpListener) -> String {
        format!("http://{}", listener.local_addr().unwrap())
    }

    #[tokio::test]
    async fn agents_that_hang_are_named_and_waited_for_together() {
        let patience = Duration::from_secs(2);
        // More than are asked at once.
        let (agents, hung) = agents(3 * ASKED_AT_ONCE, patience).await;
        let begun = Instant::now();
        let (answers, silent) = all_of(&agents, "/x").await.unwrap();
        // One after the other it would have been three minutes.
        assert!(begun.elapsed() < 6 * patience, "{:?}", begun.elapsed());
        assert_eq!((answers.len(), silent.len()), (1, hung.len()));
        let first = url(&hung[0]);
        assert!(silent[&first].contains(&format!("agent {first} did not answer within 2 s")), "{}", silent[&first]);
    }

    #[tokio::test]
    async fn who_answers_is_heard_beside_those_that_hang() {
        let (agents, hung) = agents(3, Duration::from_secs(2)).await;
        let (answers, silent) = all_of(&agents, "/x").await.unwrap();
        assert_eq!((answers.len(), silent.len()), (1, 3));
        drop(hung);
        let none = Agents::at(vec!["http://127.0.0.1:9".into()], Duration::from_secs(5));
        assert!(all_of(&none, "/x").await.is_err());
    }
}

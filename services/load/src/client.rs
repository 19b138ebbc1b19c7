//! HTTP/1.1 with a pool of connections for each target; a connection carries one request at a time.

use anyhow::{Context, bail};
use http::Uri;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;

type Connection = SendRequest<Empty<Bytes>>;

/// The connections that are idle.
#[derive(Debug)]
pub(crate) struct Client {
    timeout: Duration,
    keep_alive: bool,
    idle: Mutex<BTreeMap<String, Vec<Connection>>>,
}

impl Client {
    pub(crate) fn new(timeout: Duration, keep_alive: bool) -> Self {
        Self { timeout, keep_alive, idle: Mutex::default() }
    }

    /// Asks once and reads the answer to its end; its status.
    pub(crate) async fn get(&self, url: &str) -> anyhow::Result<u16> {
        tokio::time::timeout(self.timeout, self.ask(url)).await.context("no answer in time")?
    }

    async fn ask(&self, url: &str) -> anyhow::Result<u16> {
        let uri: Uri =
            url.parse().with_context(|| format!("expected a URL such as http://10.0.0.7:8080/work, got {url:?}"))?;
        let Some(authority) = uri.authority().map(ToString::to_string) else { bail!("{url} names no host") };
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        // A connection that the server closed while it was idle is noticed when it is used: then a new one is tried, once.
        if let Some(idle) = self.take_idle(&authority)
            && let Ok(status) = self.ask_on(idle, &authority, path).await
        {
            return Ok(status);
        }
        let fresh = connect(&authority).await?;
        self.ask_on(fresh, &authority, path).await
    }

    async fn ask_on(&self, mut connection: Connection, authority: &str, path: &str) -> anyhow::Result<u16> {
        let request = http::Request::get(path).header(http::header::HOST, authority).body(Empty::new())?;
        let response = connection.send_request(request).await?;
        let status = response.status().as_u16();
        response.into_body().collect().await?;
        if self.keep_alive {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.entry(authority.to_owned()).or_default().push(connection);
        }
        Ok(status)
    }

    fn take_idle(&self, authority: &str) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.get_mut(authority)?;
        connections.retain(|connection| !connection.is_closed());
        connections.pop()
    }
}

async fn connect(authority: &str) -> anyhow::Result<Connection> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    Ok(connection)
}

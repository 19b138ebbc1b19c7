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

type Request = http::Request<Empty<Bytes>>;
type Connection = SendRequest<Empty<Bytes>>;

/// The connections that are idle, by the targets that there are.
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

    /// These are the targets now: connections to others are closed, at once or when their request has ended.
    pub(crate) fn follow(&self, urls: &[String]) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *idle);
        // A URL that names no host fails with each request to it, and says so there.
        let known = urls.iter().filter_map(|url| url.parse::<Uri>().ok()?.authority().map(ToString::to_string));
        idle.extend(known.map(|authority| {
            let connections = before.remove(&authority).unwrap_or_default();
            (authority, connections)
        }));
    }

    /// Asks once and reads the answer to its end; its status, or `None` where it did not come in time.
    pub(crate) async fn get(&self, url: &str) -> anyhow::Result<Option<u16>> {
        match tokio::time::timeout(self.timeout, self.ask(url)).await {
            Ok(answer) => answer.map(Some),
            Err(_) => Ok(None),
        }
    }

    async fn ask(&self, url: &str) -> anyhow::Result<u16> {
        let uri: Uri =
            url.parse().with_context(|| format!("expected a URL such as http://10.0.0.7:8080/work, got {url:?}"))?;
        let Some(authority) = uri.authority().map(ToString::to_string) else { bail!("{url} names no host") };
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let mut request = http::Request::get(path).header(http::header::HOST, &authority).body(Empty::new())?;
        // That the server closed an idle connection may be noticed only when it is used. Only what was never written to it
        // is sent again: a request that a server may have taken and lost is a failure of that server.
        if let Some(idle) = self.take_idle(&authority) {
            match self.ask_on(idle, &authority, request).await? {
                Ok(status) => return Ok(status),
                Err(unsent) => request = unsent,
            }
        }
        let fresh = connect(&authority).await?;
        let Ok(status) = self.ask_on(fresh, &authority, request).await? else {
            bail!("{authority} closed a new connection");
        };
        Ok(status)
    }

    /// The status of the answer, or the request where nothing of it was written.
    async fn ask_on(
        &self,
        mut connection: Connection,
        authority: &str,
        request: Request,
    ) -> anyhow::Result<Result<u16, Request>> {
        let response = match connection.try_send_request(request).await {
            Ok(response) => response,
            Err(mut failed) => match failed.take_message() {
                Some(unsent) => return Ok(Err(unsent)),
                None => return Err(failed.into_error().into()),
            },
        };
        let status = response.status().as_u16();
        response.into_body().collect().await?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if self.keep_alive
            && let Some(connections) = idle.get_mut(authority)
        {
            connections.push(connection);
        }
        Ok(Ok(status))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A server that answers so many requests on each connection; then it takes one more, or does not, and closes.
    struct Server {
        url: String,
        taken: Arc<AtomicUsize>,
        open: Arc<AtomicUsize>,
    }

    impl Server {
        async fn start(answers: usize, takes_one_more: bool) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            let (taken, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let server = Self { url, taken: Arc::clone(&taken), open: Arc::clone(&open) };
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (taken, open) = (Arc::clone(&taken), Arc::clone(&open));
                    open.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(async move {
                        serve(stream, answers, takes_one_more, &taken).await;
                        open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            });
            server
        }

        fn taken(&self) -> usize {
            self.taken.load(Ordering::SeqCst)
        }
    }

    async fn serve(mut stream: TcpStream, answers: usize, takes_one_more: bool, taken: &AtomicUsize) {
        for answered in 0..answers + usize::from(takes_one_more) {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            taken.fetch_add(1, Ordering::SeqCst);
            if answered < answers {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
        }
    }

    fn client(server: &Server) -> Client {
        let client = Client::new(Duration::from_secs(10), true);
        client.follow(std::slice::from_ref(&server.url));
        client
    }

    async fn until(what: &str, condition: impl Fn() -> bool) {
        let waited = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waited)
            .await
            .unwrap_or_else(|_| panic!("waited in vain: {what}"));
    }

    #[tokio::test]
    async fn a_request_that_a_server_took_and_lost_has_failed() {
        let server = Server::start(1, true).await;
        let client = client(&server);
        assert_eq!(client.get(&server.url).await.unwrap(), Some(200));
        assert!(client.get(&server.url).await.is_err());
        assert_eq!(server.taken(), 2, "it is not sent again");
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_while_idle_fails_nothing() {
        let server = Server::start(1, false).await;
        let client = client(&server);
        for served in 1..=5 {
            assert_eq!(client.get(&server.url).await.unwrap(), Some(200));
            assert_eq!(server.taken(), served);
            until("the client notices that the connection is closed", || {
                client.idle.lock().unwrap().values().flatten().all(Connection::is_closed)
            })
            .await;
        }
    }

    #[tokio::test]
    async fn connections_of_targets_that_are_gone_are_closed() {
        let (stays, goes) = (Server::start(9, false).await, Server::start(9, false).await);
        let client = Client::new(Duration::from_secs(10), true);
        client.follow(&[stays.url.clone(), goes.url.clone()]);
        for server in [&stays, &goes] {
            assert_eq!(client.get(&server.url).await.unwrap(), Some(200));
        }
        client.follow(std::slice::from_ref(&stays.url));
        until("the connection is closed", || goes.open.load(Ordering::SeqCst) == 0).await;
        // One that was under way meanwhile is not kept either.
        assert_eq!(client.get(&goes.url).await.unwrap(), Some(200));
        until("the connection is closed", || goes.open.load(Ordering::SeqCst) == 0).await;
        assert_eq!(stays.open.load(Ordering::SeqCst), 1);
    }
}

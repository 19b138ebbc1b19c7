//! One HTTP request with everything bounded: time, bytes, where it goes. And what a failure means.

use super::answer::{Absence, shorten};
use super::source::{Credentials, Parts};
use super::wire::{self, MAX_SERIES, Reply, WireError};
use crate::words::chain;
use reqwest::{Response, StatusCode, Url};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of an answer after decompression. An answer to a thousand questions has about 80 KB, ten thousand small
/// series have 2 MB; what is larger is a mistake, or an attack on our memory.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Characters of a server's message that are passed on.
const MAX_MESSAGE: usize = 300;

/// Of the time that is left, what the server may use: the rest is for the way back.
const SERVER_SHARE: f64 = 0.8;

/// A server, and how to speak to it.
pub(super) struct Server {
    parts: Parts,
    deadline: Duration,
}

impl Server {
    pub(super) fn new(parts: Parts, deadline: Duration) -> Self {
        Self { parts, deadline }
    }

    /// The URL, which holds no credentials.
    pub(super) fn name(&self) -> String {
        self.parts.base.as_str().trim_end_matches('/').to_owned()
    }

    /// When a round that begins now has to be over.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.deadline
    }

    /// Sends a form to `page` below `/api/v1/` and reads the answer.
    pub(super) async fn post(&self, page: &str, form: &[(&str, &str)], deadline: Instant) -> Result<Reply, Absence> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.timed_out());
        }
        let timeout = format!("{}ms", left.mul_f64(SERVER_SHARE).as_millis().max(1));
        let limit = (MAX_SERIES + 1).to_string();
        // with partial_response a Thanos leaves out a store that is slow, and answers with less as if it were all
        let common = [("timeout", timeout.as_str()), ("limit", limit.as_str()), ("partial_response", "false")];
        let form: Vec<_> = form.iter().chain(&common).collect();
        let url = self.url(page);
        let request = self.authorize(self.parts.client.post(url).form(&form)).await?.timeout(left);
        let mut response = request.send().await.map_err(|error| self.broken(error))?;
        let status = response.status();
        let body = self.body(&mut response).await?;
        self.interpret(status, &response, &body)
    }

    fn url(&self, page: &str) -> Url {
        let mut url = self.parts.base.clone();
        let path = format!("{}api/v1/{page}", url.path());
        url.set_path(&path);
        url
    }

    async fn authorize(&self, request: reqwest::RequestBuilder) -> Result<reqwest::RequestBuilder, Absence> {
        Ok(match &self.parts.credentials {
            Credentials::None => request,
            Credentials::Basic { user, password } => request.basic_auth(user, Some(password.reveal())),
            Credentials::BearerFile(path) => {
                let token = tokio::fs::read_to_string(path).await.map_err(|error| Absence::NoCredentials {
                    server: self.name(),
                    cause: format!("{}: {error}", path.display()),
                })?;
                request.bearer_auth(token.trim())
            }
        })
    }

    /// Reads the body piece by piece, and stops at the bound.
    async fn body(&self, response: &mut Response) -> Result<Vec<u8>, Absence> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.broken(error))? {
            if body.len() + piece.len() > MAX_BODY_BYTES {
                return Err(Absence::TooLarge { limit: "4 MiB" });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    fn interpret(&self, status: StatusCode, response: &Response, body: &[u8]) -> Result<Reply, Absence> {
        let said = || shorten(&String::from_utf8_lossy(body.get(..4 * MAX_MESSAGE).unwrap_or(body)), MAX_MESSAGE);
        if status.is_redirection() {
            let location = response.headers().get("location").and_then(|value| value.to_str().ok());
            let to = location.and_then(|to| response.url().join(to).ok());
            let to = to.map_or_else(
                || "elsewhere".to_owned(),
                |to| format!("{}://{}", to.scheme(), to.host_str().unwrap_or_default()),
            );
            return Err(self.stranger(format!("status {status} and a redirect to {to}, which is not followed")));
        }
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return Err(self.refused(status, said()));
        }
        match wire::read(body) {
            Ok(reply) if reply.success == Some(true) && status.is_success() => Ok(reply),
            Ok(reply) => Err(match (reply.error_type.as_str(), status.as_u16()) {
                // The status says it too, where the type is the server's own: VictoriaMetrics writes "422".
                ("bad_data" | "execution", _) | (_, 400 | 422) => {
                    Absence::BadQuery { message: shorten(&reply.error, MAX_MESSAGE) }
                }
                ("timeout" | "canceled", _) => self.timed_out(),
                _ => self.refused(status, format!("{} {}", reply.error_type, shorten(&reply.error, MAX_MESSAGE))),
            }),
            Err(WireError::TooManySeries) => Err(Absence::TooLarge { limit: "10000 series" }),
            Err(WireError::Malformed(error)) if status.is_success() => {
                Err(self.stranger(format!("{error} in {:?}", shorten(&said(), 80))))
            }
            Err(WireError::Malformed(_)) if matches!(status.as_u16(), 404 | 405) => {
                Err(self.stranger(format!("status {status} for {}", response.url().path())))
            }
            Err(WireError::Malformed(_)) => Err(self.refused(status, said())),
        }
    }

    fn broken(&self, error: reqwest::Error) -> Absence {
        if error.is_timeout() {
            return self.timed_out();
        }
        Absence::Unreachable { server: self.name(), cause: shorten(&chain(&error.without_url()), MAX_MESSAGE) }
    }

    fn timed_out(&self) -> Absence {
        Absence::TimedOut { server: self.name(), after: self.deadline }
    }

    fn refused(&self, status: StatusCode, message: String) -> Absence {
        Absence::Refused { server: self.name(), status: status.as_u16(), message }
    }

    fn stranger(&self, got: String) -> Absence {
        Absence::NotPrometheus { server: self.name(), got }
    }
}

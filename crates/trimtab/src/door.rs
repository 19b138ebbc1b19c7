//! Who may look, where that is asked for: whoever has a token that the API server knows, and whom it allows to `get` what they ask for.
//!
//! As in front of other controllers, a token is reviewed by the API server (`TokenReview`), and so is what its owner may do
//! (`SubjectAccessReview`): the non-resource URL `/metrics` for the metrics, `/trimtab` for everything else. A browser cannot send a bearer
//! token of its own accord, so that it may send it as the password of basic authentication. Probes need none.
//!
//! Answers are remembered for a while, so many of them, under the token's hash: no token is kept. What cannot be reviewed is not shown.

use crate::words;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// What a right is taken back from is shown for so long at most; a stream that is open, for [`STREAM`] more.
const ALLOWED: Duration = Duration::from_mins(1);
/// A right that was just given is seen after so long; a guesser asks the API server no more often for the same token.
const REFUSED: Duration = Duration::from_secs(10);
/// Answers that are remembered at most, of about 100 bytes each.
const REMEMBERED: usize = 1_024;
/// Reviews under way at most: whoever makes tokens up must not flood the API server through us.
const REVIEWS: usize = 4;
/// A review that takes longer than this, its turn included, says nothing: who asks is told so at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// A stream is cut after so long, and asked for again with its token.
const STREAM: Duration = Duration::from_mins(5);
/// A token is about 1 KiB; a header that is longer is none.
const LONGEST: usize = 16 << 10;
/// What probes ask for.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// The door to what an agent shows.
#[derive(Clone)]
pub(crate) struct Door {
    client: Client,
    known: Arc<Mutex<Known>>,
    turns: Arc<Semaphore>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

/// What came of a review.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Allowed,
    /// The API server does not know the token.
    Unknown,
    /// It knows whose it is, who may not look.
    Forbidden(String),
}

/// The answers that are remembered, by the hash of token and path.
#[derive(Debug, Default)]
struct Known(BTreeMap<[u8; 32], (Verdict, Instant)>);

impl Known {
    fn get(&self, key: &[u8; 32], now: Instant) -> Option<Verdict> {
        self.0.get(key).filter(|(_, until)| *until > now).map(|(verdict, _)| verdict.clone())
    }

    fn remember(&mut self, key: [u8; 32], verdict: Verdict, now: Instant) {
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, (_, until)| *until > now);
        }
        if self.0.len() >= REMEMBERED {
            // Who was refused goes first: nobody who may look is forgotten for somebody who guesses.
            let soonest = self.0.iter().min_by_key(|(_, (_, until))| *until).map(|(key, _)| *key);
            soonest.and_then(|key| self.0.remove(&key));
        }
        let lasts = if verdict == Verdict::Allowed { ALLOWED } else { REFUSED };
        self.0.insert(key, (verdict, now + lasts));
    }
}

impl Door {
    /// By a client that repeats nothing: whoever asks does.
    pub(crate) fn new(client: Client) -> Self {
        Self { client, known: Arc::default(), turns: Arc::new(Semaphore::new(REVIEWS)) }
    }

    /// The same endpoints, behind this door.
    pub(crate) fn before(self, endpoints: Router) -> Router {
        endpoints.layer(middleware::from_fn_with_state(self, ask))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whoever panicked left answers that are each whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn verdict(&self, token: &str, path: &'static str) -> kube::Result<Verdict> {
        let key: [u8; 32] = Sha256::new().chain_update(path).chain_update([0]).chain_update(token).finalize().into();
        if let Some(known) = self.known().get(&key, Instant::now()) {
            return Ok(known);
        }
        // A semaphore that is never closed.
        let _turn = self.turns.acquire().await;
        if let Some(known) = self.known().get(&key, Instant::now()) {
            return Ok(known);
        }
        let verdict = match self.whose(token).await? {
            Some(user) => self.may(user, path).await?,
            None => Verdict::Unknown,
        };
        self.known().remember(key, verdict.clone(), Instant::now());
        Ok(verdict)
    }

    /// Whose token it is; nobody's where the API server does not know it.
    async fn whose(&self, token: &str) -> kube::Result<Option<UserInfo>> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = Api::<TokenReview>::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        let status = answer.status.unwrap_or_default();
        Ok(status.user.filter(|_| status.authenticated == Some(true)))
    }

    async fn may(&self, user: UserInfo, path: &str) -> kube::Result<Verdict> {
        let name = user.username.clone().unwrap_or_default();
        let asked = NonResourceAttributes { path: Some(path.to_owned()), verb: Some("get".to_owned()) };
        let spec = SubjectAccessReviewSpec {
            user: user.username,
            groups: user.groups,
            uid: user.uid,
            extra: user.extra,
            non_resource_attributes: Some(asked),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let answer =
            Api::<SubjectAccessReview>::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        let allowed = answer.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        Ok(if allowed { Verdict::Allowed } else { Verdict::Forbidden(name) })
    }
}

async fn ask(State(door): State<Door>, request: Request, next: Next) -> Response {
    let asked = request.uri().path();
    if OPEN.contains(&asked) {
        return next.run(request).await;
    }
    let path = if asked == "/metrics" { "/metrics" } else { "/trimtab" };
    let Some(token) = token(request.headers()) else { return unknown("this agent asks for a token") };
    let Ok(verdict) = tokio::time::timeout(PATIENCE, door.verdict(&token, path)).await else {
        return unasked("it did not answer in 5 s");
    };
    match verdict {
        Ok(Verdict::Allowed) => cut(next.run(request).await),
        Ok(Verdict::Unknown) => unknown("the API server does not know this token, or it has expired"),
        Ok(Verdict::Forbidden(user)) => {
            let cure = format!(
                "{user} may not get {path}: bind them to a ClusterRole with `nonResourceURLs: [{path}], verbs: [get]`, such as the chart's trimtab-trimtab-view\n"
            );
            (StatusCode::FORBIDDEN, cure).into_response()
        }
        Err(error) => unasked(&words::api(&error)),
    }
}

fn unasked(why: &str) -> Response {
    let why = format!("the API server could not be asked who may look: {why}\n");
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

fn unknown(why: &str) -> Response {
    let cure = format!(
        "{why}: kubectl create token NAME > FILE, then trimtab status --token-file FILE; in a browser any user, with the token as password\n"
    );
    let mut response = (StatusCode::UNAUTHORIZED, cure).into_response();
    let basic = HeaderValue::from_static("Basic realm=\"trimtab: any user, a Kubernetes token as password\"");
    response.headers_mut().append(header::WWW_AUTHENTICATE, basic);
    response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// A stream outlives no right for long.
fn cut(response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
        return response;
    }
    response.map(|body| {
        let stream = body.into_data_stream().take_until(Box::pin(tokio::time::sleep(STREAM)));
        Body::from_stream(stream)
    })
}

/// The bearer token of a request, or the password of its basic authentication.
fn token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok().filter(|value| value.len() <= LONGEST)?;
    let (scheme, credentials) = value.trim().split_once(' ')?;
    let token = match scheme.to_ascii_lowercase().as_str() {
        "bearer" => credentials.trim().to_owned(),
        "basic" => {
            let pair = String::from_utf8(from_base64(credentials.trim())?).ok()?;
            pair.split_once(':')?.1.to_owned()
        }
        _ => return None,
    };
    (!token.is_empty()).then_some(token)
}

/// RFC 4648, as browsers write it: the standard alphabet, padded.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut kept, mut bits) = (0_u32, 0_u32);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        kept = (kept << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((kept >> bits) & 0xff).unwrap_or_default());
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_token_comes_as_bearer_or_as_a_password() {
        assert_eq!(token(&headers("Bearer abc.def")).as_deref(), Some("abc.def"));
        assert_eq!(token(&headers("bearer  abc")).as_deref(), Some("abc"));
        // me:abc:def
        assert_eq!(token(&headers("Basic bWU6YWJjOmRlZg==")).as_deref(), Some("abc:def"));
        for none in ["Bearer ", "Basic bWU=", "Basic !", "Digest x", "abc", "Bearer"] {
            assert_eq!(token(&headers(none)), None, "{none}");
        }
        assert_eq!(token(&headers(&format!("Bearer {}", "x".repeat(LONGEST)))), None);
        assert_eq!(token(&HeaderMap::new()), None);
    }

    #[test]
    fn answers_are_remembered_for_a_while_and_so_many_of_them() {
        let key = |number: usize| -> [u8; 32] { Sha256::digest(number.to_string()).into() };
        let (mut known, now) = (Known::default(), Instant::now());
        known.remember(key(0), Verdict::Allowed, now);
        for guess in 1..5 * REMEMBERED {
            known.remember(key(guess), Verdict::Unknown, now);
        }
        assert_eq!(known.0.len(), REMEMBERED);
        assert_eq!(known.get(&key(0), now), Some(Verdict::Allowed), "a guesser drives nobody out");
        assert_eq!(known.get(&key(0), now + ALLOWED), None);
        known.remember(key(1), Verdict::Forbidden("me".into()), now + REFUSED);
        assert_eq!(known.0.len(), 2, "what has expired goes first");
    }
}

//! Who may look, where that is asked for: whoever has a token that the API server knows, and whom it allows to `get` what they ask for.
//!
//! As in front of other controllers, a token is reviewed by the API server (`TokenReview`), and so is what its owner may do
//! (`SubjectAccessReview`): the non-resource URL `/metrics` for the metrics, `/trimtab` for everything else. A browser cannot send a bearer
//! token of its own accord, so that it may send it as the password of basic authentication. Probes need none.
//!
//! Answers are remembered for a while, so many of them, under the token's hash: no token is kept. Whose token was let in within the last
//! hour is reviewed in a line of their own, so that a flood of guesses delays guesses alone; the line of strangers is short, and who finds
//! it full is told so at once. What cannot be reviewed is not shown. Reviews are read here and not by the client library, whose log would
//! print an answer that it does not understand, and the API server repeats the token in its answers.

use crate::words;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http_body_util::{BodyExt, Limited};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::core::Request as Asking;
use kube::{Client, Resource};
use serde::{Serialize, de::DeserializeOwned};
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
/// Who was let in is known for so long after the last review that let them in: their next one waits for no stranger's.
const FAMILIAR: Duration = Duration::from_hours(1);
/// Reviews under way at most, in each of the two lines: whoever makes tokens up must not flood the API server through us.
const REVIEWS: usize = 4;
/// Strangers that wait for a review at most: so many are answered within [`PATIENCE`] by an API server that takes 300 ms.
const LINE: usize = 64;
/// A review that takes longer than this, its turn included, says nothing: who asks is told so at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// A stream is cut after so long, and asked for again with its token.
const STREAM: Duration = Duration::from_mins(5);
/// A token is about 1 KiB; a header that is longer is none.
const LONGEST: usize = 16 << 10;
/// A review is the token and its owner's groups; an answer that is longer is none.
const LONGEST_ANSWER: usize = 1 << 20;
/// What probes ask for.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// The door to what an agent shows.
#[derive(Clone)]
pub(crate) struct Door {
    client: Client,
    known: Arc<Mutex<Known>>,
    /// Reviews of whoever was let in lately, and of everybody else.
    familiar: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    /// Places in the strangers' line, those under review counted in.
    line: Arc<Semaphore>,
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

/// The hash of a token and of what is asked for with it.
type Key = [u8; 32];

/// The answers that are remembered.
#[derive(Debug, Default)]
struct Known {
    answers: BTreeMap<Key, (Verdict, Instant)>,
    /// Who was let in, and until when that counts: no guess ever stands here.
    familiar: BTreeMap<Key, Instant>,
}

impl Known {
    fn get(&self, key: &Key, now: Instant) -> Option<Verdict> {
        self.answers.get(key).filter(|(_, until)| *until > now).map(|(verdict, _)| verdict.clone())
    }

    /// Whether it was let in lately, and not refused since.
    fn is_familiar(&self, key: &Key, now: Instant) -> bool {
        self.familiar.get(key).is_some_and(|until| *until > now)
    }

    fn remember(&mut self, key: Key, verdict: Verdict, now: Instant) {
        let allowed = verdict == Verdict::Allowed;
        if allowed {
            make_room(&mut self.familiar, now, |until| *until);
            self.familiar.insert(key, now + FAMILIAR);
        } else {
            self.familiar.remove(&key);
        }
        // Who was refused goes first, since that lasts less: nobody who may look is forgotten for somebody who guesses.
        make_room(&mut self.answers, now, |(_, until)| *until);
        self.answers.insert(key, (verdict, now + if allowed { ALLOWED } else { REFUSED }));
    }
}

/// Lets what has expired go, and then what would expire next, where there is no room for one more.
fn make_room<T>(map: &mut BTreeMap<Key, T>, now: Instant, until: impl Fn(&T) -> Instant) {
    if map.len() >= REMEMBERED {
        map.retain(|_, value| until(value) > now);
    }
    if map.len() >= REMEMBERED {
        let soonest = map.iter().min_by_key(|(_, value)| until(value)).map(|(key, _)| *key);
        soonest.and_then(|key| map.remove(&key));
    }
}

impl Door {
    /// By a client that repeats nothing: whoever asks does.
    pub(crate) fn new(client: Client) -> Self {
        let turns = |places| Arc::new(Semaphore::new(places));
        let (familiar, strangers, line) = (turns(REVIEWS), turns(REVIEWS), turns(REVIEWS + LINE));
        Self { client, known: Arc::default(), familiar, strangers, line }
    }

    /// The same endpoints, behind this door.
    pub(crate) fn before(self, endpoints: Router) -> Router {
        endpoints.layer(middleware::from_fn_with_state(self, ask))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whoever panicked left answers that are each whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn verdict(&self, token: &str, path: &'static str) -> Result<Verdict, String> {
        let key: Key = Sha256::new().chain_update(path).chain_update([0]).chain_update(token).finalize().into();
        let now = Instant::now();
        let (known, familiar) = {
            let kept = self.known();
            (kept.get(&key, now), kept.is_familiar(&key, now))
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let full = || format!("more than {LINE} unknown tokens wait for it");
        let _place = if familiar { None } else { Some(self.line.try_acquire().map_err(|_| full())?) };
        // Semaphores that are never closed.
        let _turn = if familiar { &self.familiar } else { &self.strangers }.acquire().await;
        if let Some(known) = self.known().get(&key, Instant::now()) {
            return Ok(known);
        }
        let verdict = match self.whose(token).await? {
            Some(user) => self.may(token, user, path).await?,
            None => Verdict::Unknown,
        };
        self.known().remember(key, verdict.clone(), Instant::now());
        Ok(verdict)
    }

    /// Whose token it is; nobody's where the API server does not know it.
    async fn whose(&self, token: &str) -> Result<Option<UserInfo>, String> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let answer = self.review(token, &TokenReview { spec, ..TokenReview::default() }).await?;
        let status = answer.status.unwrap_or_default();
        Ok(status.user.filter(|_| status.authenticated == Some(true)))
    }

    async fn may(&self, token: &str, user: UserInfo, path: &str) -> Result<Verdict, String> {
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
        let answer = self.review(token, &SubjectAccessReview { spec, ..SubjectAccessReview::default() }).await?;
        let allowed = answer.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        Ok(if allowed { Verdict::Allowed } else { Verdict::Forbidden(name) })
    }

    /// The API server's answer to a review of this token, or why there is none: without the token, whatever was answered.
    async fn review<R>(&self, token: &str, review: &R) -> Result<R, String>
    where
        R: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
    {
        let body = serde_json::to_vec(review).map_err(|_| "the review cannot be written down")?;
        let request = Asking::new(R::url_path(&(), None)).create(&PostParams::default(), body);
        let request = request.map_err(|error| words::chain(&error))?.map(kube::client::Body::from);
        let answer = self.client.send(request).await.map_err(|error| words::api(&error))?;
        let status = answer.status();
        let whole = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
        let whole = whole.map_err(|_| "its answer broke off, or is too long")?.to_bytes();
        if status.is_success() {
            let kind = R::kind(&());
            return serde_json::from_slice(&whole).map_err(|_| format!("it answered what is no {kind}"));
        }
        let said = serde_json::from_slice::<kube::core::Status>(&whole).map(|status| status.message);
        match said.ok().filter(|said| !said.is_empty() && !said.contains(token)) {
            Some(said) => Err(words::api(&kube::Error::Api(
                kube::core::Status::failure(&said, "").with_code(status.as_u16()).boxed(),
            ))),
            None => Err(format!("it answered {status}")),
        }
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
        Err(why) => unasked(&why),
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
    use kube::Api;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tower::ServiceExt;

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
        let key = |number: usize| -> Key { Sha256::digest(number.to_string()).into() };
        let (mut known, now) = (Known::default(), Instant::now());
        known.remember(key(0), Verdict::Allowed, now);
        for guess in 1..5 * REMEMBERED {
            known.remember(key(guess), Verdict::Unknown, now);
        }
        assert_eq!(known.answers.len(), REMEMBERED);
        assert_eq!(known.get(&key(0), now), Some(Verdict::Allowed), "a guesser drives nobody out");
        assert_eq!(known.get(&key(0), now + ALLOWED), None);
        assert!(known.is_familiar(&key(0), now + ALLOWED), "and is not taken for a stranger afterwards");
        assert!(!known.is_familiar(&key(0), now + FAMILIAR));
        known.remember(key(1), Verdict::Forbidden("me".into()), now + REFUSED);
        assert_eq!(known.answers.len(), 2, "what has expired goes first");
        known.remember(key(0), Verdict::Forbidden("me".into()), now + ALLOWED);
        assert!(known.familiar.is_empty(), "whose right was taken back is a stranger");
        for allowed in 0..2 * REMEMBERED {
            known.remember(key(allowed), Verdict::Allowed, now);
        }
        assert_eq!((known.answers.len(), known.familiar.len()), (REMEMBERED, REMEMBERED));
    }

    // === an API server of one's own ===

    /// What it answers a review: nothing, for ever, or a status and a body.
    type Answers = Arc<dyn Fn(&str, &serde_json::Value) -> Option<(u16, String)> + Send + Sync>;

    /// A door before one page, and how many reviews were asked for.
    fn door(answers: Answers) -> (Router, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let page = Router::new().fallback(async || "shown");
        (Door::new(api_server(answers, Arc::clone(&asked))).before(page), asked)
    }

    fn api_server(answers: Answers, count: Arc<AtomicUsize>) -> Client {
        let server = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (answers, count) = (Arc::clone(&answers), Arc::clone(&count));
            async move {
                count.fetch_add(1, Ordering::Relaxed);
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                match answers(&path, &serde_json::from_slice(&body).unwrap()) {
                    Some((status, answer)) => {
                        // As long as an API server takes.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        let answer = http::Response::builder().status(status).body(Body::from(answer));
                        Ok::<_, std::convert::Infallible>(answer.unwrap())
                    }
                    None => std::future::pending().await,
                }
            }
        });
        Client::new(server, "default")
    }

    /// It knows one token, whose owner may look at everything, and answers others as `stranger` says.
    fn knowing(good: &'static str, stranger: fn() -> Option<(u16, String)>) -> Answers {
        Arc::new(move |path, review| {
            let status = if path.ends_with("/subjectaccessreviews") {
                serde_json::json!({"allowed": review["spec"]["user"] == "me"})
            } else if review["spec"]["token"] == good {
                serde_json::json!({"authenticated": true, "user": {"username": "me"}})
            } else {
                return stranger();
            };
            let mut review = review.clone();
            review["status"] = status;
            Some((201, review.to_string()))
        })
    }

    async fn get(door: &Router, path: &str, token: &str) -> (StatusCode, String) {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        let answer = door.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status();
        let said = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8_lossy(&said).into_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_api_server_does_not_answer_nothing_is_shown_and_it_is_said_soon() {
        let (door, asked) = door(Arc::new(|_, _| None));
        let began = Instant::now();
        let tokens: Vec<String> = (0..3 * REVIEWS).map(|number| format!("token-{number}")).collect();
        let answers = futures::future::join_all(tokens.iter().map(|token| get(&door, "/", token)));
        let (answers, probe) = tokio::join!(answers, get(&door, "/healthz", ""));
        assert!(began.elapsed() <= PATIENCE + Duration::from_millis(1), "{:?}", began.elapsed());
        for (status, said) in answers {
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(said.contains("did not answer in 5 s") && !said.contains("shown"), "{said}");
        }
        assert_eq!(probe.0, StatusCode::OK, "probes ask nobody");
        assert_eq!(asked.load(Ordering::Relaxed), REVIEWS, "who waits in the line is not asked about");
        // The turns of those who gave up are free again.
        assert_eq!(get(&door, "/", "another").await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(asked.load(Ordering::Relaxed), REVIEWS + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_let_in_is_let_in_again_while_somebody_floods_the_door_with_guesses() {
        // Guesses take for ever: the worst that a flood can do.
        let (door, asked) = door(knowing("good", || None));
        assert_eq!(get(&door, "/", "good").await, (StatusCode::OK, "shown".into()));
        let flood = futures::future::join_all((0..20 * LINE).map(|number| {
            let door = door.clone();
            async move { get(&door, "/", &format!("guess-{number}")).await.0 }
        }));
        let flood = tokio::spawn(flood);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = asked.load(Ordering::Relaxed);
        assert_eq!(get(&door, "/", "good").await.0, StatusCode::OK);
        assert_eq!(asked.load(Ordering::Relaxed), before, "a review of a moment ago is remembered");
        assert_eq!(flood.await.unwrap(), vec![StatusCode::SERVICE_UNAVAILABLE; 20 * LINE]);
        // And again when it is remembered no longer, in the middle of the next flood.
        tokio::time::sleep(ALLOWED).await;
        let flood = futures::future::join_all((0..20 * LINE).map(|number| {
            let door = door.clone();
            async move { get(&door, "/", &format!("next-{number}")).await.0 }
        }));
        let flood = tokio::spawn(flood);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (began, before) = (Instant::now(), asked.load(Ordering::Relaxed));
        assert_eq!(get(&door, "/", "good").await.0, StatusCode::OK);
        assert_eq!(asked.load(Ordering::Relaxed), before + 2, "it was reviewed anew");
        assert!(began.elapsed() < Duration::from_millis(100), "and waited for no guess: {:?}", began.elapsed());
        drop(flood);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_remembered_and_a_full_line_is_said_at_once() {
        let (door, asked) =
            door(knowing("good", || Some((201, r#"{"spec": {}, "status": {"authenticated": false}}"#.into()))));
        for _ in 0..3 {
            assert_eq!(get(&door, "/", "wrong").await.0, StatusCode::UNAUTHORIZED);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1, "the same guess is reviewed once");
        tokio::time::sleep(REFUSED).await;
        assert_eq!(get(&door, "/", "wrong").await.0, StatusCode::UNAUTHORIZED);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let guesses: Vec<String> = (0..2 * LINE).map(|number| format!("guess-{number}")).collect();
        let answers = futures::future::join_all(guesses.iter().map(|guess| get(&door, "/", guess))).await;
        let refused = answers.iter().filter(|(status, _)| *status == StatusCode::UNAUTHORIZED).count();
        assert_eq!(refused, LINE + REVIEWS, "who has a place in the line is answered");
        let full = answers.iter().find(|(status, _)| *status == StatusCode::SERVICE_UNAVAILABLE).unwrap();
        assert!(full.1.contains("more than 64 unknown tokens wait"), "{}", full.1);
    }

    /// A log that a test reads.
    #[derive(Clone, Debug, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn no_answer_of_the_api_server_puts_a_token_into_the_log_or_into_ours() {
        let log = Log::default();
        let writer = log.clone();
        // Everything, of every library.
        let all = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
        let _log = tracing::subscriber::set_default(all.finish());
        let status = |message: &str| serde_json::json!({"kind": "Status", "message": message, "code": 403}).to_string();
        let answers = [
            (201, r#"{"status": "s3cret", "spec": {"token": "s3cret"}}"#.into(), "no TokenReview"),
            (201, r#"{"status": {"user": {"username": ["s3cret"]}}}"#.into(), "no TokenReview"),
            (201, "s3cret".into(), "no TokenReview"),
            (500, "s3cret".into(), "500 Internal Server Error"),
            (403, status("you sent s3cret"), "403 Forbidden"),
            (403, status("trimtab cannot create tokenreviews"), "trimtab cannot create tokenreviews"),
        ];
        for (status, answer, why) in answers {
            let (door, asked) = door(Arc::new(move |_, _| Some((status, answer.clone()))));
            let (status, said) = get(&door, "/", "s3cret").await;
            assert_eq!((status, asked.load(Ordering::Relaxed)), (StatusCode::SERVICE_UNAVAILABLE, 1), "{said}");
            assert!(said.contains(why) && !said.contains("s3cret"), "{said}");
        }
        let said = || String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
        assert!(!said().contains("s3cret"), "{}", said());
        // The client library's own reading does print it: else this test shows nothing.
        let client = api_server(Arc::new(|_, review| Some((201, review.to_string() + "?"))), Arc::default());
        let spec = TokenReviewSpec { token: Some("s3cret".into()), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        Api::all(client).create(&PostParams::default(), &review).await.unwrap_err();
        assert!(said().contains("s3cret"), "{}", said());
    }
}

//! The demo's page: the three contestants beside each other, what happens, and buttons that make something happen; and the same as one file.

use super::day::{Span, Trouble};
use super::fleet::Fleet;
use super::real::Real;
use super::scene::{Form, Happened, Moment, Scene};
use super::summary::{Contestant, Summary, contestants};
use crate::page;
use crate::serve::{self, Shown};
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use trimtab_core::unit::Timestamp;

/// Speeds that there are buttons for, in seconds of the day a second.
const SPEEDS: [(&str, f64); 5] = [("Pause", 0.0), ("×10", 10.0), ("×60", 60.0), ("×216", 216.0), ("×1000", 1_000.0)];
/// Where a workload's own page is.
const WORKLOAD: &str = "/w/shop/deployment/checkout";

/// A demo that is played, while somebody looks at it and presses buttons.
#[derive(Clone, Debug)]
pub(crate) enum Played {
    /// In virtual time, so many seconds of the day a second (as bits).
    Simulated { fleet: Fleet, speed: Arc<AtomicU64> },
    /// With real requests, in real time.
    Real(Arc<Real>),
}

impl Played {
    /// Reads what is to be shown.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Scene<'_>) -> T) -> T {
        match self {
            Self::Simulated { fleet, .. } => read(&fleet.stage().scene()),
            Self::Real(real) => real.read(read),
        }
    }

    fn speed(&self) -> f64 {
        match self {
            Self::Simulated { speed, .. } => f64::from_bits(speed.load(Ordering::Relaxed)),
            Self::Real(_) => 1.0,
        }
    }

    fn kill(&self) {
        match self {
            Self::Simulated { fleet, .. } => fleet.stage().kill(),
            Self::Real(real) => real.kill(),
        }
    }

    fn strike(&self, what: Trouble) {
        match self {
            Self::Simulated { fleet, .. } => fleet.stage().strike(what),
            Self::Real(real) => real.strike(what),
        }
    }
}

/// What the page reads, and what its buttons do.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    played: Played,
    shown: Shown,
    /// Whether it is served to this machine alone.
    local: bool,
}

/// Everything that the page draws.
#[derive(Debug, Serialize)]
struct Course<'a> {
    schema: &'static str,
    form: Form,
    at: Timestamp,
    begins: Timestamp,
    /// Seconds: how long all of it lasts, a window of the objective, and from one moment to the next.
    lasts: f64,
    window: f64,
    step: f64,
    /// Seconds of the day a second; nothing where it goes as fast as it can.
    speed: Option<f64>,
    per_replica: f64,
    moments: &'a [Moment],
    happened: &'a [Happened],
    /// The place of the first of these among all that happened, and how many that are.
    first: usize,
    told: usize,
    spans: &'a [Span],
    /// The half-minutes that each contestant missed, from 0.
    missed: [Vec<usize>; 3],
    contestants: Vec<Contestant>,
}

impl<'a> Course<'a> {
    fn of(scene: &'a Scene<'a>, speed: f64, (moment, happened): (usize, usize)) -> Self {
        let missed = scene.missed();
        let contestants = contestants(scene, &missed);
        let places = |missed: Vec<bool>| {
            missed.iter().enumerate().filter_map(|(place, missed)| missed.then_some(place)).collect()
        };
        Self {
            schema: "trimtab.dev/demo-course/v1",
            form: scene.form,
            at: scene.at,
            begins: scene.begins,
            lasts: scene.lasts.get(),
            window: scene.window.get(),
            step: scene.step.get(),
            speed: speed.is_finite().then_some(speed),
            per_replica: 50.0,
            moments: scene.moments.get(moment..).unwrap_or_default(),
            happened: scene.happened.get(happened..).unwrap_or_default(),
            first: happened,
            told: scene.happened.len(),
            spans: scene.spans,
            missed: missed.map(places),
            contestants,
        }
    }
}

impl Board {
    pub(crate) fn new(played: Played, shown: Shown, listen: SocketAddr) -> Self {
        Self { played, shown, local: listen.ip().is_loopback() }
    }

    /// What is new, and from where the next is.
    fn json(&self, from: (usize, usize)) -> (String, (usize, usize)) {
        self.played.read(|scene| {
            let course = Course::of(scene, self.played.speed(), from);
            // Numbers and names always have a JSON.
            (serde_json::to_string(&course).unwrap_or_default(), (scene.moments.len(), scene.happened.len()))
        })
    }
}

/// All endpoints of a demo: those of an agent, and its own.
pub(crate) fn app(board: Board) -> Router {
    let (shown, local) = (board.shown.clone(), board.local);
    let mut own = Router::new()
        .route("/demo", get(demo))
        .route("/api/v1/demo", get(course))
        .route("/events/demo", get(follow))
        .route("/demo/strike/{trouble}", post(strike))
        .route("/demo/kill", post(kill));
    if matches!(board.played, Played::Simulated { .. }) {
        own = own.route("/demo/speed/{speed}", post(set_speed));
    }
    let own = own.layer(middleware::from_fn(own_pages_only)).with_state(board);
    let all = serve::endpoints().with_state(shown).merge(own);
    page::guarded(if local { all.layer(middleware::from_fn(this_machine_only)) } else { all })
}

/// What is served to this machine alone is asked for by an address of it: a name that a page elsewhere lets point here would make that page
/// one of ours to a browser.
async fn this_machine_only(request: Request, next: Next) -> Response {
    if request.headers().get(header::HOST).is_some_and(|host| !is_address(host.as_bytes())) {
        let cure = "ask for this demo at localhost or by its address; to reach it by another name, give --listen an address that is not this machine's alone\n";
        return (StatusCode::FORBIDDEN, cure).into_response();
    }
    next.run(request).await
}

/// Whether a host, perhaps with its port, is no name, or `localhost`.
fn is_address(host: &[u8]) -> bool {
    let Ok(host) = http::uri::Authority::try_from(host) else { return false };
    let host = host.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// Buttons are pressed by this page alone: a browser says from where a request comes, and another site's is refused.
async fn own_pages_only(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let foreign = headers.get(header::ORIGIN).is_some_and(|origin| !is_own(origin.as_bytes(), headers));
    if request.method() == http::Method::POST && foreign {
        return (StatusCode::FORBIDDEN, "only this demo's own page may do that\n").into_response();
    }
    next.run(request).await
}

fn is_own(origin: &[u8], headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).map(http::HeaderValue::as_bytes).unwrap_or_default();
    origin.strip_prefix(b"http://").is_some_and(|origin| origin == host)
}

async fn course(State(board): State<Board>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], board.json((0, 0)).0).into_response()
}

async fn follow(State(board): State<Board>) -> Response {
    let mut from = board.played.read(|scene| (scene.moments.len(), scene.happened.len()));
    let shown = board.shown.clone();
    let mut said = None;
    page::follow(&shown, move |report| {
        let (news, next) = board.json(from);
        from = next;
        // What trimtab forecasts, once for each of its decisions.
        let last = report.workloads.iter().find_map(|workload| workload.last.as_ref());
        let last = last.filter(|last| said.replace(last.decision.at) != Some(last.decision.at));
        let point = last.and_then(|last| page::point(last).ok()).map(|point| ("point", point));
        point.into_iter().chain([("demo", news)]).collect()
    })
}

async fn strike(State(board): State<Board>, Path(name): Path<String>) -> Response {
    let Some(trouble) = Trouble::ALL.into_iter().find(|trouble| trouble.name() == name) else {
        return (StatusCode::NOT_FOUND, "there is no such button\n").into_response();
    };
    board.played.strike(trouble);
    StatusCode::OK.into_response()
}

async fn kill(State(board): State<Board>) -> StatusCode {
    board.played.kill();
    StatusCode::OK
}

async fn set_speed(State(board): State<Board>, Path(speed): Path<f64>) -> Response {
    if !(0.0..=100_000.0).contains(&speed) {
        return (StatusCode::BAD_REQUEST, "expected 0 to 100000\n").into_response();
    }
    if let Played::Simulated { speed: set, .. } = &board.played {
        set.store(speed.to_bits(), Ordering::Relaxed);
    }
    StatusCode::OK.into_response()
}

/// What a demo is, in a sentence.
fn note(form: Form) -> &'static str {
    match form {
        Form::Simulated => {
            "Simulated: no cluster is touched. trimtab decides with the code that runs in a cluster; HPA (CPU at 70 %) and KEDA (35 requests/s a replica) \
             decide as Kubernetes 1.36 does. All three serve the very same requests."
        }
        Form::Real => {
            "Real requests, to three fleets on this machine: no cluster is touched. trimtab decides with the code that runs in a cluster; HPA (CPU at 70 %) and \
             KEDA (35 requests/s a replica) decide as Kubernetes 1.36 does. A day lasts five minutes, so that starting a replica, stabilization and the HPA's \
             sync take a tenth of what is common."
        }
    }
}

/// The buttons: what each brings, and what is promised then.
fn buttons(form: Form) -> [(Trouble, &'static str); 4] {
    let database = match form {
        Form::Simulated => "The database takes three times as long: nothing is scaled out into it.",
        Form::Real => "The database takes 15 times as long: nothing is scaled out into it.",
    };
    [
        (Trouble::FlashCrowd, "More than twice the requests, within moments."),
        (Trouble::Blackout, "No metric can be read: no replica may go."),
        (Trouble::SlowDatabase, database),
        (Trouble::SlowStart, "Replicas take three times as long to start: orders come earlier."),
    ]
}

async fn demo(State(board): State<Board>) -> Html<String> {
    let (form, zero, contestants) =
        board.played.read(|scene| (scene.form, scene.clock(scene.begins), contestants(scene, &scene.missed())));
    let content = html! {
        h1.hidden { "Demo" }
        p.note { (note(form)) }
        div.controls {
            div.clock id="clock" role="timer" aria-label="Time of the day" { (zero) }
            @if form == Form::Simulated {
                div role="group" aria-label="Speed" {
                    @for (name, speed) in SPEEDS { button type="button" data-speed=(speed) data-post=(format!("/demo/speed/{speed}")) { (name) } }
                }
            }
            div role="group" aria-label="Break it" {
                b { "Break it: " }
                @for (trouble, promise) in buttons(form) {
                    button type="button" data-post=(format!("/demo/strike/{}", trouble.name())) title=(promise) { (trouble) }
                }
                button type="button" data-post="/demo/kill" title="Everybody loses one." { "kill a replica" }
            }
        }
        (body(form, &contestants))
        p.command { a href=(WORKLOAD) { "trimtab's view of this workload" } " · " a href="/api/v1/demo" { "JSON" } }
    };
    page::whole(&board.shown, "demo", "Demo", "/events/demo", &content)
}

/// What the page and the report have in common.
fn body(form: Form, contestants: &[Contestant]) -> Markup {
    let (missed, hours, spans) = match form {
        Form::Simulated => (
            "Missed half-minutes",
            "Replica-hours",
            [("30 m", 1_800), ("2 h", 7_200), ("6 h", 21_600), ("24 h", 86_400)].as_slice(),
        ),
        Form::Real => {
            ("Missed windows of 10 s", "Replica-minutes", [("1 m", 60), ("2 m", 120), ("5 m", 300)].as_slice())
        }
    };
    html! {
        div.scroll tabindex="0" role="region" aria-label="Score" {
            table.score {
                thead { tr { th {} th.number scope="col" { (missed) } th.number scope="col" { (hours) } th.number scope="col" { "Changes" } th.number scope="col" { "Replicas +/−" } } }
                tbody {
                    @for one in contestants {
                        tr data-who=(one.name) {
                            th scope="row" { (one.name) }
                            @for (name, value) in ["missed_windows", "replica_hours", "changes", "churn"].into_iter().zip(one.cells(form)) {
                                td.number data-value=(name) { (value) }
                            }
                        }
                    }
                }
            }
        }
        div.columns {
            section.charts aria-label="Course" {
                div.spans role="group" aria-label="Span" {
                    @for (name, seconds) in spans {
                        button type="button" data-span=(seconds) { (name) }
                    }
                }
                (page::chart("demand", "Demand, and what ready replicas serve, requests/s"))
                (page::chart("replicas", "Replicas ready"))
                (page::chart("queue", "Requests that wait"))
                (page::chart("latency", "p99, ms (cut at 2 s)"))
                (page::chart("missed", missed))
            }
            section.side aria-label="What happens" {
                section.box { h2 { "As it happens" } ol.decisions id="changes" tabindex="0" aria-label="As it happens" {} }
            }
        }
    }
}

/// The whole demo as one file that asks nobody for anything.
pub(crate) fn report(scene: &Scene<'_>, summary: &Summary) -> String {
    let course = Course::of(scene, 0.0, (0, 0));
    let (heading, zone, span) = match scene.form {
        Form::Simulated => ("A simulated day: trimtab, HPA and KEDA on the same requests", Some("UTC"), None),
        Form::Real => ("Real requests to three fleets: trimtab, HPA and KEDA", None, Some("300")),
    };
    // `<` cannot end a script inside JSON when it is written like this.
    let data = serde_json::to_string(&course).unwrap_or_default().replace('<', "\\u003c");
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "trimtab demo, seed " (scene.seed) }
                style { (PreEscaped(page::STYLES[0])) (PreEscaped(page::STYLES[1])) }
            }
            body data-page="demo" data-live="" data-zone=[zone] data-span=[span] {
                header.top { span.brand { "trimtab demo" } p.live id="live" { "seed " (scene.seed) } button.plain id="theme" type="button" hidden { "Dark" } }
                main id="main" {
                    h1 { (heading) }
                    pre.small { (summary.text()) }
                    div.clock id="clock" {}
                    (body(scene.form, &summary.contestants))
                }
                script type="application/json" id="data" { (PreEscaped(data)) }
                script { (PreEscaped(page::SCRIPTS[0])) }
                script { (PreEscaped(page::SCRIPTS[1])) }
            }
        }
    };
    let PreEscaped(text) = markup;
    text
}

#[cfg(test)]
mod tests {
    use super::super::Demo;
    use super::*;
    use axum::body::Body;
    use tower::ServiceExt;
    use trimtab_core::unit::Seconds;

    /// A demo of a few minutes that has been played, and its endpoints.
    fn played(directory: &std::path::Path, local: bool) -> (Demo, Router) {
        let (mut demo, shown) = Demo::new(1, Seconds::whole(300), &directory.join("journal.db")).unwrap();
        while demo.step() {}
        let played = Played::Simulated { fleet: demo.fleet.clone(), speed: Arc::default() };
        let board = Board { played, shown, local };
        (demo, app(board))
    }

    async fn ask(app: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        let request = headers
            .iter()
            .fold(Request::builder().method(method).uri(path), |request, (name, value)| request.header(*name, *value));
        app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[test]
    fn an_address_of_this_machine_is_told_from_a_name() {
        for own in ["localhost", "LocalHost:7070", "127.0.0.1:7070", "127.0.0.1", "[::1]:7070", "192.0.2.1:80"] {
            assert!(is_address(own.as_bytes()), "{own}");
        }
        for name in ["elsewhere.example:7070", "localhost.example", "127.0.0.1.example:7070", "", ":7070", "[::1"] {
            assert!(!is_address(name.as_bytes()), "{name}");
        }
    }

    #[tokio::test]
    async fn a_name_that_points_here_is_refused_where_only_this_machine_is_served() {
        let kept = tempfile::tempdir().unwrap();
        let (_demo, app) = played(kept.path(), true);
        let rebound = [("host", "elsewhere.example:7070"), ("origin", "http://elsewhere.example:7070")];
        let own = [("host", "localhost:7070"), ("origin", "http://localhost:7070")];
        for (method, path) in [("POST", "/demo/kill"), ("GET", "/api/v1/demo"), ("GET", "/")] {
            assert_eq!(ask(&app, method, path, &rebound).await.status(), StatusCode::FORBIDDEN, "{path}");
            assert_eq!(ask(&app, method, path, &own).await.status(), StatusCode::OK, "{path}");
        }
        let kept = tempfile::tempdir().unwrap();
        let (_demo, open) = played(kept.path(), false);
        assert_eq!(ask(&open, "POST", "/demo/kill", &rebound).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn every_answer_says_what_a_browser_may_do_with_it() {
        let kept = tempfile::tempdir().unwrap();
        let (_demo, app) = played(kept.path(), true);
        let paths =
            ["/", "/demo", "/metrics", "/healthz", "/readyz", "/api/v1/report", "/api/v1/demo", "/nothing/there"];
        let workload = "/api/v1/workloads/shop/deployment/checkout";
        for path in paths.into_iter().chain([workload]) {
            let answer = ask(&app, "GET", path, &[]).await;
            let headers = answer.headers();
            assert_eq!(headers.get_all(header::CONTENT_SECURITY_POLICY).iter().count(), 1, "{path}");
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        }
        let refused = ask(&app, "GET", "/", &[("host", "elsewhere.example")]).await;
        assert!(refused.headers().contains_key(header::CONTENT_SECURITY_POLICY));
    }

    #[tokio::test]
    async fn a_span_beyond_all_time_is_empty_and_no_span_is_the_last_hours() {
        let kept = tempfile::tempdir().unwrap();
        let (demo, app) = played(kept.path(), true);
        let summary = tokio::task::spawn_blocking(|| demo.end(false)).await.unwrap().summary;
        assert!(!summary.contestants.is_empty());
        let body = async |path: &str| {
            let answer = ask(&app, "GET", path, &[]).await;
            let status = answer.status();
            (status, axum::body::to_bytes(answer.into_body(), 1 << 24).await.unwrap())
        };
        let records = async |query: &str| {
            let (status, text) = body(&format!("/api/v1/series/shop/deployment/checkout{query}")).await;
            assert_eq!(status, StatusCode::OK, "{query}: {text:?}");
            serde_json::from_slice::<serde_json::Value>(&text).unwrap()["records"].as_u64().unwrap()
        };
        assert_eq!(records("?until=-9223372036854775808").await, 0);
        assert_eq!(records("?from=9223372036854775807").await, 0);
        let all = records("").await;
        assert!(all >= 60, "{all}");
        let what_if = async |query: &str| body(&format!("/api/v1/what-if/shop/deployment/checkout{query}")).await;
        let (status, text) = what_if("?max=3").await;
        assert_eq!(status, StatusCode::OK, "{text:?}");
        let (status, text) = what_if("?until=-9223372036854775808").await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{text:?}");
    }
}

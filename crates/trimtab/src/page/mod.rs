//! The pages: what an agent knows, to be looked at. No endpoint changes anything.
//!
//! A page is whole without a script; the script draws the charts, follows what changes (server-sent events), and asks the sliders' question.
//! Everything comes from this process: scripts, style and icon are in the binary, and the policy in every answer's header lets a
//! browser ask nobody else. What changes is rendered here and sent as it is to be shown, so that a page cannot say another number
//! than the API.

mod html;
pub(crate) mod rows;
mod series;
pub(crate) mod what_if;

pub(crate) use html::chart;

use crate::config::Target;
use crate::explain;
use crate::progress::Progress;
use crate::report::{Considered, Report, Sights, Workload};
use crate::serve::{Past, Shown, past};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::StreamExt;
use maud::Markup;
use rows::{Asked, Rows};
use serde::Deserialize;
use series::Point;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use trimtab_core::unit::{Seconds, Timestamp};

/// A browser may load from here alone, run nothing that stands in a page, and be framed by nobody.
const CONTENT: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                       form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// What changes is sent this often at most; the eye asks for no more.
const AT_MOST: Duration = Duration::from_millis(500);
/// Whoever hears nothing new hears after so long that somebody is there.
const BEAT: Duration = Duration::from_secs(5);
/// A proxy that hears nothing for half a minute hangs up.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A course that nobody gave a span: the last two hours.
const SPAN: Seconds = Seconds::whole(7_200);
/// The longest course: a week.
const LONGEST: Seconds = Seconds::whole(604_800);

/// The scripts, in their order, for a file that has them in it.
pub(crate) const SCRIPTS: [&str; 2] = [include_str!("assets/uPlot.iife.min.js"), include_str!("assets/page.js")];
/// The styles, in their order.
pub(crate) const STYLES: [&str; 2] = [include_str!("assets/uPlot.min.css"), include_str!("assets/page.css")];

/// The pages and what belongs to them.
pub(crate) fn pages() -> Router<Shown> {
    Router::new()
        .route("/", get(overview))
        .route("/agents", get(agents))
        .route("/w/{namespace}/{kind}/{name}", get(workload))
        .route("/assets/{name}", get(asset))
        .route("/events/overview", get(follow_overview))
        .route("/events/agents", get(follow_agents))
        .route("/events/w/{namespace}/{kind}/{name}", get(follow_workload))
        .route("/api/v1/overview", get(rows_as_json))
        .route("/api/v1/sights", get(sights_as_json))
        .route("/api/v1/series/{namespace}/{kind}/{name}", get(course))
        .route("/api/v1/explain/{namespace}/{kind}/{name}", get(explanation))
        .route("/api/v1/what-if/{namespace}/{kind}/{name}", get(answer))
        .fallback(nowhere)
}

/// The same endpoints, each answer with the headers that tell a browser what it may do with it.
pub(crate) fn guarded(endpoints: Router) -> Router {
    endpoints.layer(middleware::from_fn(guard))
}

async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

pub(crate) fn whole(shown: &Shown, kind: &str, title: &str, live: &str, content: &Markup) -> Html<String> {
    Html(html::text(&html::page(shown, kind, title, live, content)))
}

async fn asset(Path(name): Path<String>) -> Response {
    let [uplot_script, script] = SCRIPTS;
    let [uplot_style, style] = STYLES;
    let (kind, content) = match name.as_str() {
        "uplot.js" => ("text/javascript; charset=utf-8", uplot_script),
        "page.js" => ("text/javascript; charset=utf-8", script),
        "uplot.css" => ("text/css; charset=utf-8", uplot_style),
        "page.css" => ("text/css; charset=utf-8", style),
        "icon.svg" => ("image/svg+xml", include_str!("assets/icon.svg")),
        _ => return (StatusCode::NOT_FOUND, "there is no such file\n").into_response(),
    };
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=300")], content).into_response()
}

// === pages ===

async fn overview(State(shown): State<Shown>, Query(asked): Query<Asked>) -> Html<String> {
    let content = html::overview(&shown.report.borrow(), &shown.sights.borrow(), &asked);
    whole(&shown, "overview", "Workloads", "/events/overview", &content)
}

async fn agents(State(shown): State<Shown>) -> Html<String> {
    let content = html::agents(&shown.report.borrow());
    whole(&shown, "agents", "Agents", "/events/agents", &content)
}

pub(crate) type Name = Path<(String, String, String)>;

pub(crate) fn target(Path((namespace, kind, name)): Name) -> Result<Target, String> {
    format!("{namespace}/{kind}/{name}").parse().map_err(|error: crate::config::TargetError| error.to_string())
}

fn known(report: &Report, target: &Target) -> Option<Workload> {
    let name = target.to_string();
    report.workloads.iter().find(|workload| workload.workload == name).cloned()
}

#[derive(Debug, Deserialize)]
struct When {
    /// Milliseconds since 1970-01-01 UTC.
    t: Option<i64>,
}

async fn workload(State(shown): State<Shown>, name: Name, Query(when): Query<When>) -> Response {
    let found = match target(name) {
        Ok(target) => find(&shown, target, when.t.map(Timestamp)).await,
        Err(why) => Err((StatusCode::BAD_REQUEST, why)),
    };
    match found {
        Ok(workload) => {
            let live = if when.t.is_some() { String::new() } else { format!("/events/w/{}", workload.workload) };
            let content = html::workload(&shown, &workload, when.t.map(Timestamp));
            whole(&shown, "workload", &workload.workload, &live, &content).into_response()
        }
        Err((status, why)) => {
            let title = match status {
                StatusCode::NOT_FOUND if when.t.is_some() => "No such moment",
                StatusCode::INTERNAL_SERVER_ERROR => "Could not be read",
                _ => "No such workload",
            };
            wrong(&shown, status, title, &why)
        }
    }
}

fn wrong(shown: &Shown, status: StatusCode, title: &str, why: &str) -> Response {
    (status, Html(html::text(&html::wrong(shown, title, why)))).into_response()
}

/// Where nothing is.
async fn nowhere(State(shown): State<Shown>, request: Request) -> Response {
    let path = request.uri().path();
    let of_programs = ["/api/", "/events/", "/assets/"].iter().any(|of| path.starts_with(of));
    let why = format!("there is nothing at {path}");
    if of_programs {
        return (StatusCode::NOT_FOUND, format!("{why}\n")).into_response();
    }
    let workload = path.strip_prefix("/w/").map_or("", |_| ": a workload is at /w/namespace/kind/name");
    wrong(&shown, StatusCode::NOT_FOUND, "No such page", &format!("{why}{workload}"))
}

/// A workload as it is, or was.
pub(crate) async fn find(
    shown: &Shown,
    target: Target,
    at: Option<Timestamp>,
) -> Result<Workload, (StatusCode, String)> {
    let Some(at) = at else {
        let found = known(&shown.report.borrow(), &target);
        return found.ok_or_else(|| (StatusCode::NOT_FOUND, format!("no policy names {target}")));
    };
    match look(shown, move |journal| past(journal, &target, at)).await {
        Ok(Past::Known(workload)) => Ok(*workload),
        Ok(Past::Unknown(why)) => Err((StatusCode::NOT_FOUND, why)),
        // Nothing that was asked is wrong.
        Err((_, problem)) => Err((StatusCode::INTERNAL_SERVER_ERROR, problem)),
    }
}

/// Looks into the journal, which takes a while, beside everything else.
pub(crate) async fn look<T: Send + 'static>(
    shown: &Shown,
    work: impl FnOnce(&std::path::Path) -> Result<T, String> + Send + 'static,
) -> Result<T, (StatusCode, String)> {
    let journal = shown.journal.clone();
    let done = in_turn(&shown.looks, move || work(&journal)).await;
    done.map_err(|why| (StatusCode::UNPROCESSABLE_ENTITY, why))
}

/// Works beside everything else, once it is its turn. The turn lasts as long as the work, also where whoever asked has gone away.
async fn in_turn<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let turn = Arc::clone(turns).acquire_owned().await.map_err(|error| error.to_string())?;
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    done.await.map_err(|error| error.to_string())?
}

// === what pages and programs read ===

async fn rows_as_json(State(shown): State<Shown>, Query(asked): Query<Asked>) -> Json<Rows> {
    Json(Rows::of(&shown.report.borrow(), &shown.sights.borrow(), &asked))
}

async fn sights_as_json(State(shown): State<Shown>) -> Json<Sights> {
    Json(Sights::clone(&shown.sights.borrow()))
}

#[derive(Debug, Deserialize)]
struct Span {
    /// Milliseconds since 1970-01-01 UTC.
    from: Option<i64>,
    until: Option<i64>,
}

async fn course(State(shown): State<Shown>, name: Name, Query(span): Query<Span>) -> Response {
    let until = span.until.map_or(shown.report.borrow().at, Timestamp);
    let from = span.from.map_or(before(until, SPAN), Timestamp).max(before(until, LONGEST));
    let Ok(target) = target(name) else { return (StatusCode::BAD_REQUEST, "no such workload\n").into_response() };
    let read = look(&shown, move |journal| series::read(journal, &target.to_string(), from, until)).await;
    json(read)
}

/// The moment that is a span before another, as far as there is one.
fn before(at: Timestamp, span: Seconds) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "a week")]
    let milliseconds = (1_000.0 * span.get()) as i64;
    Timestamp(at.0.saturating_sub(milliseconds))
}

pub(crate) fn json<T: serde::Serialize>(answer: Result<T, (StatusCode, String)>) -> Response {
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err((status, why)) => (status, format!("{why}\n")).into_response(),
    }
}

async fn explanation(State(shown): State<Shown>, name: Name, Query(when): Query<When>) -> Response {
    let Ok(target) = target(name) else { return (StatusCode::BAD_REQUEST, "no such workload\n").into_response() };
    match find(&shown, target, when.t.map(Timestamp)).await {
        Ok(workload) => explain::explain(&workload).into_response(),
        Err((status, why)) => (status, format!("{why}\n")).into_response(),
    }
}

async fn answer(State(shown): State<Shown>, name: Name, Query(asked): Query<what_if::Asked>) -> Response {
    let Ok(target) = target(name) else { return (StatusCode::BAD_REQUEST, "no such workload\n").into_response() };
    let span = asked.span(shown.report.borrow().at);
    let played = look(&shown, move |journal| {
        Ok(what_if::answer(journal, &target.to_string(), asked, span, &Progress::hidden()))
    })
    .await;
    json(played.and_then(|answer| {
        answer.map_err(|refusal| match refusal {
            what_if::Refusal::Unknown(why) => (StatusCode::NOT_FOUND, why),
            what_if::Refusal::Unable(why) => (StatusCode::UNPROCESSABLE_ENTITY, why),
        })
    }))
}

// === what changes ===

/// What is sent to one reader.
struct Reader<R> {
    reports: watch::Receiver<Arc<Report>>,
    render: R,
    /// By event, what it was told last.
    told: BTreeMap<&'static str, String>,
    begun: bool,
}

/// Sends what `render` makes of each report that is new: events by their names, none where nothing changed.
pub(crate) fn follow<R>(shown: &Shown, render: R) -> Response
where
    R: FnMut(&Report) -> Vec<(&'static str, String)> + Send + 'static,
{
    let reader = Reader { reports: shown.report.clone(), render, told: BTreeMap::new(), begun: false };
    let events = futures::stream::unfold(reader, async |mut reader| {
        if reader.begun {
            tokio::time::sleep(AT_MOST).await;
            if let Ok(changed) = tokio::time::timeout(BEAT, reader.reports.changed()).await {
                // An error: the agent has ended.
                changed.ok()?;
            }
        }
        reader.begun = true;
        let report = reader.reports.borrow_and_update().clone();
        let turn = Event::default().id(report.at.0.to_string()).event("turn").data(report.at.0.to_string());
        let mut events = Vec::new();
        for (name, data) in (reader.render)(&report) {
            if reader.told.get(name) != Some(&data) {
                events.push(Ok::<_, Infallible>(Event::default().event(name).data(&data)));
                reader.told.insert(name, data);
            }
        }
        events.push(Ok(turn));
        Some((futures::stream::iter(events), reader))
    });
    Sse::new(events.flatten()).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response()
}

async fn follow_overview(State(shown): State<Shown>, Query(asked): Query<Asked>) -> Response {
    let sights = shown.sights.clone();
    follow(&shown, move |report| vec![("rows", html::text(&html::rows(report, &sights.borrow(), &asked)))])
}

async fn follow_agents(State(shown): State<Shown>) -> Response {
    follow(&shown, |report| vec![("facts", html::text(&html::agent(report)))])
}

/// A decision as the charts take it.
pub(crate) fn point(last: &Considered) -> serde_json::Result<String> {
    serde_json::to_string(&Point::of(&last.policy, &last.snapshot, &last.decision))
}

async fn follow_workload(State(shown): State<Shown>, name: Name) -> Response {
    let Ok(target) = target(name) else { return (StatusCode::BAD_REQUEST, "no such workload\n").into_response() };
    let mut sent = None;
    let sights = shown.sights.clone();
    follow(&shown, move |report| {
        let Some(workload) = known(report, &target) else { return Vec::new() };
        let mut news =
            vec![("facts", html::text(&html::facts(&workload, &html::sight(&sights.borrow(), &workload), None)))];
        if let Some(last) =
            workload.last.as_ref().filter(|last| sent.replace(last.decision.at) != Some(last.decision.at))
        {
            news.extend(point(last).ok().map(|point| ("point", point)));
        }
        news
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_look_keeps_its_turn_when_nobody_waits_for_it_any_more() {
        let turns = Arc::new(Semaphore::new(1));
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (end, ends) = mpsc::channel::<()>();
        let asking = in_turn(&turns, move || {
            begun.send(()).map_err(|()| "nobody waits for the beginning".to_owned())?;
            ends.recv().map_err(|error| error.to_string())
        });
        tokio::select! {
            _ = asking => panic!("it ended before it was told to"),
            started = begins => started.unwrap(),
        }
        // Whoever asked has gone, and the work goes on.
        assert_eq!(turns.available_permits(), 0);
        end.send(()).unwrap();
        let turn = tokio::time::timeout(Duration::from_mins(1), turns.acquire()).await;
        assert!(turn.unwrap().is_ok());
    }
}

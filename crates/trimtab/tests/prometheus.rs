//! The client against a real Prometheus that scrapes a real exporter, both on loopback.
//!
//! Needs a Prometheus binary, named by `TRIMTAB_PROMETHEUS_BIN`; without it each test says so and passes.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails loudly and says what it needs")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use trimtab::prometheus::{Absence, Answer, Credentials, Question, QuestionId, Round, Secret, Source, SourceConfig};

/// What a condition may take to come true on a machine with much else to do; it is seconds normally.
const PATIENCE: Duration = Duration::from_mins(1);

/// Something that can be scraped and can be taken down.
struct Exporter {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Exporter {
    async fn start() -> Self {
        Self::with_wide(0).await
    }

    /// Serves a counter that grows by 10 with every scrape, a gauge, a histogram without observations, and `wide`
    /// with that many series.
    async fn with_wide(series: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scrapes = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let wide: String =
            (0..series).flat_map(|n| ["wide{n=\"".to_owned(), n.to_string(), "\"} 1\n".to_owned()]).collect();
        let metrics = move || {
            let count = 10 * scrapes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let text = format!(
                "# TYPE req_total counter\nreq_total{{code=\"200\"}} {count}\nreq_total{{code=\"500\"}} 0\n\
                 # TYPE depth gauge\ndepth 3\n# TYPE wait histogram\nwait_bucket{{le=\"1\"}} 0\nwait_bucket{{le=\"+Inf\"}} 0\nwait_sum 0\nwait_count 0\n{wide}"
            );
            async move { text }
        };
        let app = axum::Router::new().route("/metrics", axum::routing::get(metrics));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, serving }
    }

    /// Refuses connections from now on.
    async fn stop(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }
}

/// A Prometheus that scrapes exporters every second as pods `p0`, `p1`...; stopped when dropped.
struct Prometheus {
    process: Child,
    url: String,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// `None`, and a word about it, where there is no binary.
    fn spawn(test: &str, exporters: &[&Exporter], arguments: &[&str]) -> Option<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let Some(binary) = std::env::var_os("TRIMTAB_PROMETHEUS_BIN").map(PathBuf::from) else {
            eprintln!(
                "skipped: {test} needs a Prometheus binary; build one with `testbed/testbed build prometheus` and \
                 name it by TRIMTAB_PROMETHEUS_BIN"
            );
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let mut config =
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n- job_name: test\n  static_configs:\n"
                .to_owned();
        for (n, exporter) in exporters.iter().enumerate() {
            writeln!(config, "  - {{targets: ['{}'], labels: {{namespace: shop, pod: p{n}}}}}", exporter.address)
                .unwrap();
        }
        std::fs::write(directory.path().join("prometheus.yml"), config).unwrap();
        // a port that was free a moment ago; whoever takes it in between makes Prometheus exit, which is seen later
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap();
        drop(port);
        let process = Command::new(binary)
            .arg(format!("--config.file={}", directory.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .args(arguments)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Some(Self { process, url: format!("http://{address}"), _directory: directory })
    }

    /// The same, when it has scraped everything twice.
    async fn start(test: &str, exporters: &[&Exporter]) -> Option<Self> {
        let mut prometheus = Self::spawn(test, exporters, &[])?;
        let source = prometheus.source();
        let up = [question(0, "count(rate(req_total[1m]))")];
        let expected = (2 * exporters.len()) as f64;
        until("Prometheus has scraped everything twice", async || {
            assert_eq!(prometheus.process.try_wait().unwrap(), None, "Prometheus exited");
            only(&source.ask(&up).await).value == Ok(expected)
        })
        .await;
        Some(prometheus)
    }

    fn source(&self) -> Source {
        Source::new(SourceConfig::new(self.url.clone())).unwrap()
    }

    async fn stop(mut self) {
        self.process.kill().await.unwrap();
    }
}

fn question(id: u32, promql: &str) -> Question {
    Question { id: QuestionId(id), promql: promql.to_owned(), freshness: Duration::from_secs(10) }
}

fn only(round: &Round) -> &Answer {
    round.answers.values().next().unwrap()
}

/// Asks one batch and gives the answers in the order of the expressions.
async fn ask(source: &Source, promql: &[&str]) -> (Round, Vec<Answer>) {
    let questions: Vec<_> = (0..).zip(promql).map(|(id, promql)| question(id, promql)).collect();
    let round = source.ask(&questions).await;
    assert_eq!(round.answers.len(), questions.len());
    let answers = round.answers.values().cloned().collect();
    (round, answers)
}

/// Waits for a condition; each look at it takes a request, so nothing spins.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn every_shape_of_answer_is_told_apart_in_one_round() {
    let exporters = [Exporter::start().await, Exporter::start().await];
    let Some(prometheus) =
        Prometheus::start("every_shape_of_answer_is_told_apart_in_one_round", &exporters.each_ref()).await
    else {
        return;
    };
    let source = prometheus.source();
    let (round, answers) = ask(
        &source,
        &[
            "sum(rate(req_total[10s]))",
            "sum by (pod) (depth)",
            "sum(no_such_metric)",
            "\"a text\"",
            "depth[1m]",
            "histogram_quantile(0.99, sum by (le) (rate(wait_bucket[1m])))",
            "sum(depth) / 0",
            "scalar(sum(depth)) * 2",
            "sum(depth) # a note )",
            "sum(depth) - 100",
        ],
    )
    .await;
    assert_eq!(round.requests, 2, "{answers:#?}");
    assert!((0.1..100.0).contains(answers[0].value.as_ref().unwrap()), "{:?}", answers[0]);
    assert_eq!(answers[1].value, Err(Absence::ManySeries { count: 2, differ: vec!["pod".to_owned()] }));
    assert_eq!(answers[2].value, Err(Absence::NoSeries));
    assert!(matches!(answers[3].value, Err(Absence::WrongType { .. })));
    assert!(matches!(answers[4].value, Err(Absence::WrongType { .. })));
    assert_eq!(answers[5].value, Err(Absence::NotANumber));
    assert_eq!(answers[6].value, Err(Absence::Infinite));
    assert_eq!(answers[7].value, Ok(12.0));
    assert_eq!(answers[8].value, Ok(6.0));
    assert_eq!(answers[9].value, Ok(-94.0));

    assert_eq!((answers[0].targets, answers[2].targets, answers[8].targets), (Some(2), Some(0), Some(2)));
    assert_eq!(answers[2].oldest, None);
    let (oldest, newest) = (answers[8].oldest.unwrap(), answers[8].newest.unwrap());
    assert!(newest <= oldest && oldest < Duration::from_secs(10), "{newest:?} {oldest:?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    assert!(round.server_time_ms.unwrap().abs_diff(i64::try_from(now).unwrap()) < 60_000);
    assert!(answers.iter().all(|answer| !answer.partial), "{answers:#?}");
    prometheus.stop().await;
}

#[tokio::test]
async fn a_bad_query_among_many_hurts_only_itself_and_is_asked_alone_from_then_on() {
    let exporter = Exporter::start().await;
    let Some(prometheus) =
        Prometheus::start("a_bad_query_among_many_hurts_only_itself_and_is_asked_alone_from_then_on", &[&exporter])
            .await
    else {
        return;
    };
    let source = prometheus.source();
    let good: Vec<String> = (0..40).map(|n| format!("sum(depth) + {n}")).collect();
    // refused by the grammar, by its types, when it is evaluated, for a bracket that is not its own, as a duplicate
    let bad = [
        "sum(depth",
        "sum(\n  rate(depth)\n)",
        "{__name__=~\"req_total|depth\"} * on(namespace) {__name__=~\"req_total|depth\"}",
        "vector(9)), \"trimtab_q\", \"v0\", \"\", \"\") or label_replace((vector(9)",
        "rate({__name__=~\"req_total|wait_count|depth\",code!=\"500\"}[1m]) + label_replace(req_total, \"code\", \"x\", \"\", \"\")",
    ];
    let mut promql: Vec<&str> = good.iter().map(String::as_str).collect();
    promql.extend(bad);
    let mut requests = Vec::new();
    for _ in 0..4 {
        let (round, answers) = ask(&source, &promql).await;
        for (n, answer) in answers.iter().take(good.len()).enumerate() {
            assert_eq!(answer.value, Ok(3.0 + n as f64));
            assert_eq!(answer.targets, Some(1));
        }
        requests.push(round.requests);
        for (promql, answer) in bad.iter().zip(&answers[good.len()..]) {
            assert!(matches!(answer.value, Err(Absence::BadQuery { .. } | Absence::Postponed)), "{promql}: {answer:?}");
        }
    }
    let (_, answers) = ask(&source, &promql).await;
    let Err(Absence::BadQuery { message }) = &answers[good.len() + 1].value else {
        panic!("{:?}", answers[good.len() + 1])
    };
    assert!(message.contains("2:8: parse error"), "the place is that in the expression itself: {message}");
    assert!(requests[0] <= 2 + 40, "{requests:?}");
    assert!(requests[1..].iter().all(|requests| *requests <= 2 + 4), "{requests:?}");

    // what is cured is back at once
    let (round, answers) = ask(&source, &promql[..good.len()]).await;
    assert_eq!((round.requests, answers.iter().filter(|answer| answer.value.is_ok()).count()), (2, good.len()));
    prometheus.stop().await;
}

#[tokio::test]
async fn a_target_that_goes_down_lowers_the_coverage_while_the_rate_still_answers() {
    let mut exporters = [Exporter::start().await, Exporter::start().await];
    let name = "a_target_that_goes_down_lowers_the_coverage_while_the_rate_still_answers";
    let Some(prometheus) = Prometheus::start(name, &exporters.each_ref()).await else { return };
    let source = prometheus.source();
    let demand = [question(0, "sum(rate(req_total[1m]))")];
    assert_eq!(only(&source.ask(&demand).await).targets, Some(2));
    exporters[1].stop().await;
    until("one target of two", async || only(&source.ask(&demand).await).targets == Some(1)).await;
    exporters[0].stop().await;
    until("no target of two", async || only(&source.ask(&demand).await).targets == Some(0)).await;
    let round = source.ask(&demand).await;
    assert!(only(&round).value.is_ok(), "rate() lives on the past: {round:?}");
    assert_eq!(only(&round).oldest, None);
    prometheus.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_questions_take_a_handful_of_requests() {
    let exporter = Exporter::start().await;
    let Some(prometheus) = Prometheus::start("a_thousand_questions_take_a_handful_of_requests", &[&exporter]).await
    else {
        return;
    };
    // the number of requests is what counts here, not how busy the machine is
    let deadline = Duration::from_secs(30);
    let source = Source::new(SourceConfig { deadline, ..SourceConfig::new(prometheus.url.clone()) }).unwrap();
    let questions: Vec<_> = (0..1000)
        .map(|n| {
            question(
                n,
                &format!(
                    "sum(rate(req_total{{namespace=\"shop\",pod=~\"p.*\",pod!=\"checkout-{n}\"}}[10s])) * 0 + {n}"
                ),
            )
        })
        .collect();
    // a scrape that comes late on a busy machine leaves its target uncounted until the next one
    until("every answer with its target, twice", async || {
        let mut counted = 0;
        for _ in 0..2 {
            let round = source.ask(&questions).await;
            eprintln!("1,000 questions: {} requests, {:?}", round.requests, round.took);
            assert!(round.requests <= 3, "{}", round.requests);
            assert_eq!(round.answers.len(), questions.len());
            for (id, answer) in &round.answers {
                assert_eq!(answer.value, Ok(f64::from(id.0)));
                counted += usize::from(answer.targets == Some(1) && answer.oldest.is_some());
            }
        }
        counted == 2 * questions.len()
    })
    .await;
    prometheus.stop().await;
}

#[tokio::test]
async fn history_comes_with_its_times_and_says_what_is_wrong() {
    let exporter = Exporter::start().await;
    let Some(prometheus) = Prometheus::start("history_comes_with_its_times_and_says_what_is_wrong", &[&exporter]).await
    else {
        return;
    };
    let source = prometheus.source();
    let (round, _) = ask(&source, &["sum(depth)"]).await;
    let now = round.server_time_ms.unwrap();
    let second = Duration::from_secs(1);
    let points = source.history("sum(depth)", now, now + 2_000, second).await.unwrap();
    assert_eq!(points, [(now, 3.0), (now + 1000, 3.0), (now + 2000, 3.0)]);
    // more points than Prometheus gives at once
    let points = source.history("vector(1)", now - 15_000_000, now, second).await.unwrap();
    assert_eq!(points.len(), 15_001);
    assert!(points.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1000));
    let many = source.history("req_total", now, now, second).await;
    assert_eq!(many, Err(Absence::ManySeries { count: 2, differ: vec!["code".to_owned()] }));
    assert_eq!(source.history("nothing", now, now, second).await, Err(Absence::NoSeries));
    assert!(matches!(source.history("sum(", now, now, second).await, Err(Absence::BadQuery { .. })));
    prometheus.stop().await;
}

#[tokio::test]
async fn a_query_of_very_many_series_is_refused_and_the_others_are_answered() {
    let exporter = Exporter::with_wide(10_500).await;
    let name = "a_query_of_very_many_series_is_refused_and_the_others_are_answered";
    let Some(prometheus) = Prometheus::start(name, &[&exporter]).await else { return };
    let source = prometheus.source();
    // found by halving twice, then asked alone
    for requests in [6, 3] {
        let (round, answers) = ask(&source, &["sum(depth)", "wide", "sum(wide)"]).await;
        assert!(matches!(answers[1].value, Err(Absence::TooLarge { .. })), "{:?}", answers[1]);
        assert_eq!((&answers[0].value, &answers[2].value), (&Ok(3.0), &Ok(10_500.0)));
        assert_eq!(round.requests, requests);
    }
    prometheus.stop().await;
}

/// Stands before a Prometheus and never answers what holds the word `stuck`.
async fn tarpit(prometheus: &Prometheus, stuck: &'static str) -> (String, JoinHandle<()>) {
    let (target, client) = (prometheus.url.clone(), reqwest::Client::new());
    let forward = async move |uri: axum::http::Uri, body: String| {
        if body.contains(stuck) {
            std::future::pending::<()>().await;
        }
        let request = client.post(format!("{target}{}", uri.path())).body(body);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.send().await.unwrap().text().await.unwrap()
    };
    let app = axum::Router::new().fallback(axum::routing::post(forward));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }))
}

#[tokio::test]
async fn a_query_that_never_ends_is_found_and_then_delays_no_one_for_long() {
    let exporter = Exporter::start().await;
    let name = "a_query_that_never_ends_is_found_and_then_delays_no_one_for_long";
    let Some(prometheus) = Prometheus::start(name, &[&exporter]).await else { return };
    let (url, serving) = tarpit(&prometheus, "stuck").await;
    let deadline = Duration::from_secs(1);
    let source = Source::new(SourceConfig { deadline, ..SourceConfig::new(url) }).unwrap();
    let mut promql: Vec<String> = (0..20).map(|n| format!("sum(depth) + {n}")).collect();
    promql.push("sum(stuck)".to_owned());
    let promql: Vec<&str> = promql.iter().map(String::as_str).collect();
    until("all but one are answered", async || {
        let (round, answers) = ask(&source, &promql).await;
        assert!(round.took < deadline + Duration::from_secs(5), "{:?}", round.took);
        assert!(matches!(answers[20].value, Err(Absence::TimedOut { .. })), "{:?}", answers[20]);
        answers[..20].iter().all(|answer| answer.value.is_ok())
    })
    .await;
    serving.abort();
    prometheus.stop().await;
}

#[tokio::test]
async fn a_value_of_which_nobody_knows_what_stands_behind_it_counts_as_partial() {
    let exporter = Exporter::start().await;
    let name = "a_value_of_which_nobody_knows_what_stands_behind_it_counts_as_partial";
    let Some(prometheus) = Prometheus::start(name, &[&exporter]).await else { return };
    let (url, serving) = tarpit(&prometheus, "timestamp").await;
    let source = Source::new(SourceConfig { deadline: Duration::from_secs(1), ..SourceConfig::new(url) }).unwrap();
    until("a value without backing", async || {
        let answer = ask(&source, &["sum(depth)"]).await.1.remove(0);
        assert_eq!((answer.targets, answer.oldest, answer.partial), (None, None, true));
        assert!(answer.warnings[0].contains("did not answer within"), "{:?}", answer.warnings);
        answer.value == Ok(3.0)
    })
    .await;
    serving.abort();
    prometheus.stop().await;
}

/// Makes an authority and a certificate for 127.0.0.1; `None`, and a word about it, where there is no `openssl`.
async fn certificates(test: &str, directory: &std::path::Path) -> Option<()> {
    let commands = [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 2",
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out request.pem -subj /CN=prometheus",
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile names",
    ];
    std::fs::write(directory.join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
    for command in commands {
        let mut openssl = Command::new("openssl");
        openssl.args(command.split(' ')).current_dir(directory).stderr(Stdio::null());
        match openssl.status().await {
            Ok(status) => assert!(status.success(), "openssl {command}"),
            Err(error) => {
                eprintln!("skipped: {test} needs openssl: {error}");
                return None;
            }
        }
    }
    Some(())
}

#[tokio::test]
async fn a_certificate_of_a_private_authority_and_a_password_are_honoured() {
    let name = "a_certificate_of_a_private_authority_and_a_password_are_honoured";
    let directory = tempfile::tempdir().unwrap();
    if certificates(name, directory.path()).await.is_none() {
        return;
    }
    // the hash is bcrypt of "test", from Prometheus' own documentation
    let web = "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nbasic_auth_users:\n  \
               ana: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay\n";
    let web_file = directory.path().join("web.yml");
    std::fs::write(&web_file, web).unwrap();
    let argument = format!("--web.config.file={}", web_file.display());
    let Some(prometheus) = Prometheus::spawn(name, &[], &[&argument]) else { return };
    let url = prometheus.url.replace("http://", "https://ana:test@");
    let config = SourceConfig { ca_file: Some(directory.path().join("ca.pem")), ..SourceConfig::new(url.clone()) };
    let value = async |config: SourceConfig| ask(&Source::new(config).unwrap(), &["vector(7)"]).await.1.remove(0).value;
    until("it answers", async || value(config.clone()).await == Ok(7.0)).await;

    let trusting = SourceConfig { accept_any_certificate: true, ..SourceConfig::new(url.clone()) };
    assert_eq!(value(trusting).await, Ok(7.0));
    let wrong = SourceConfig { url: url.replace("ana:test", "ana:wrong"), ..config };
    assert!(matches!(value(wrong).await, Err(Absence::Refused { status: 401, .. })));
    let unknown = value(SourceConfig::new(url.clone())).await.unwrap_err().to_string();
    assert!(unknown.contains("certificate") && !unknown.contains("test@"), "{unknown}");
    backtest_uses_them(directory.path(), &url).await;
    prometheus.stop().await;
}

/// What a command says that asks for the past, with these credentials and others.
async fn backtest_uses_them(directory: &std::path::Path, url: &str) {
    let policy = |more: &str| {
        format!(
            "workloads:\n- target: shop/web\n  replicas: {{ min: 1, max: 2 }}\n  demand: {{ query: vector(7) }}\n  capacity: {{ rate: 5 }}\n  slo: none\n{more}"
        )
    };
    std::fs::write(directory.join("policy.yaml"), policy("")).unwrap();
    std::fs::write(directory.join("named.yaml"), policy("  prometheus: infra\n")).unwrap();
    let said = async |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
        command.args(["backtest", "shop/web", "--since", "5m", "--prometheus-url", url]).args(arguments);
        let output = command.current_dir(directory).output().await.unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let trusting = ["--policy", "policy.yaml", "--prometheus-ca-file", "ca.pem"];
    let reached = said(&trusting).await;
    assert!(reached.contains("does not know how many replicas shop/deployment/web had"), "{reached}");
    let unknown = said(&trusting[..2]).await;
    assert!(unknown.contains("certificate") && !unknown.contains("test@"), "{unknown}");
    let header = said(&[&trusting[..], &["--prometheus-header", "tenant"]].concat()).await;
    assert!(header.contains("expected `Name: value`"), "{header}");
    let named = said(&["--policy", "named.yaml", "--prometheus-ca-file", "ca.pem"]).await;
    assert!(named.contains("no Prometheus server is called infra"), "{named}");
}

#[tokio::test]
async fn a_prometheus_that_is_gone_is_named_without_secrets() {
    let Some(prometheus) = Prometheus::spawn("a_prometheus_that_is_gone_is_named_without_secrets", &[], &[]) else {
        return;
    };
    let source = prometheus.source();
    until("it answers", async || ask(&source, &["vector(7)"]).await.1[0].value == Ok(7.0)).await;
    let url = prometheus.url.clone();
    prometheus.stop().await;
    let with_user = Source::new(SourceConfig::new(url.replace("http://", "http://ana:s3cret@"))).unwrap();
    let (round, answers) = ask(&with_user, &["sum(depth)", "sum(other)"]).await;
    assert_eq!(round.server_time_ms, None);
    for answer in &answers {
        let Err(absence @ Absence::Unreachable { server, .. }) = &answer.value else { panic!("{answer:?}") };
        assert_eq!(server, &url);
        assert!(
            absence.to_string().contains("refused") && !format!("{absence} {round:?} {with_user:?}").contains("s3cret")
        );
    }
}

/// What `VictoriaMetrics` answers to an expression that it does not understand (its issue 6413).
const VICTORIA: &str = r#"{"status":"error","errorType":"422","error":"unknown func \"typo\""}"#;

/// A server that is no Prometheus, and one that does things that Prometheus does only on a bad day.
async fn stranger() -> (String, JoinHandle<()>) {
    use axum::http::{HeaderMap, StatusCode};
    use axum::response::{Html, IntoResponse, Redirect};
    let guarded = async |headers: HeaderMap| {
        let sent = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let tenant = headers.get("x-scope-orgid").is_some_and(|tenant| tenant == "shop");
        if sent == "Bearer right" && tenant {
            (
                StatusCode::OK,
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]}]},"warnings":["a store was slow"]}"#,
            )
        } else {
            (StatusCode::UNAUTHORIZED, "who are you?")
        }
    };
    let app = axum::Router::new()
        .route("/page/api/v1/query", axum::routing::post(async || Html("<html>Sign in</html>")))
        .route(
            "/moved/api/v1/query",
            axum::routing::post(async || Redirect::temporary("http://169.254.169.254/latest/meta-data/")),
        )
        .route("/guarded/api/v1/query", axum::routing::post(guarded))
        .route("/huge/api/v1/query", axum::routing::post(async || vec![b' '; 5 << 20].into_response()))
        .route("/hung/api/v1/query", axum::routing::post(async || std::future::pending::<String>().await))
        .route("/compatible/api/v1/query", axum::routing::post(async || (StatusCode::UNPROCESSABLE_ENTITY, VICTORIA)))
        .route(
            "/starting/api/v1/query",
            axum::routing::post(async || (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }))
}

#[tokio::test]
async fn what_is_no_prometheus_is_named_with_the_cure() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (url, serving) = stranger().await;
    let absence = async |path: &str| {
        let config =
            SourceConfig { deadline: Duration::from_millis(500), ..SourceConfig::new(format!("{url}/{path}")) };
        ask(&Source::new(config).unwrap(), &["up"]).await.1[0].value.clone().unwrap_err()
    };
    for (path, expected) in [
        ("page", "does not answer as a Prometheus does"),
        ("nothing", "status 404 Not Found for /nothing/api/v1/query"),
        ("moved", "a redirect to http://169.254.169.254, which is not followed"),
        ("guarded", "status 401: who are you?; check the credentials"),
        ("huge", "exceeds 4 MiB"),
        ("hung", "did not answer within 500 ms"),
        ("starting", "status 503: Service Unavailable"),
    ] {
        let absence = absence(path).await.to_string();
        assert!(absence.contains(expected), "{path}: {absence}");
    }
    serving.abort();
}

#[tokio::test]
async fn a_bad_query_is_no_outage_whatever_the_server_calls_it() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (url, serving) = stranger().await;
    let source = Source::new(SourceConfig::new(format!("{url}/compatible"))).unwrap();
    let (_, answers) = ask(&source, &["typo(up)"]).await;
    let Err(Absence::BadQuery { message }) = &answers[0].value else { panic!("{:?}", answers[0].value) };
    assert!(message.contains("unknown func"), "{message}");
    serving.abort();
}

#[tokio::test]
async fn tokens_and_headers_are_sent_and_a_rotated_token_is_read_again() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (url, serving) = stranger().await;
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    let source = Source::new(SourceConfig {
        credentials: Credentials::BearerFile(token.clone()),
        headers: BTreeMap::from([("X-Scope-OrgID".to_owned(), Secret::new("shop".to_owned()))]),
        ..SourceConfig::new(format!("{url}/guarded"))
    })
    .unwrap();
    let value = async || ask(&source, &["up"]).await.1.remove(0);
    assert!(matches!(value().await.value, Err(Absence::NoCredentials { .. })));
    std::fs::write(&token, "wrong\n").unwrap();
    assert!(matches!(value().await.value, Err(Absence::Refused { status: 401, .. })));
    std::fs::write(&token, "right\n").unwrap();
    let answer = value().await;
    assert_eq!((answer.value, answer.partial), (Ok(1.0), true), "a warning of the server makes it partial");
    assert!(answer.warnings.contains(&"a store was slow".to_owned()));
    serving.abort();
}

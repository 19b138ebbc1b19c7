//! The Grafana dashboard, the recording rules and the alerts, against the metrics that are really exported.
#![expect(clippy::print_stderr, reason = "says what it needs")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn deployed(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/")).join(path)
}

/// What a running agent (the demo's) exports, by the names that PromQL knows.
async fn exported() -> BTreeSet<String> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let test = std::env::current_exe().expect("a test knows its own binary");
    let binary = test.parent().and_then(Path::parent).expect("tests lie in deps/").join("trimtab");
    assert!(binary.exists(), "{} is missing: build the workspace first (cargo build --workspace)", binary.display());
    let mut demo = Command::new(binary)
        .args(["demo", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(demo.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let page = lines.find(|line| line.starts_with("page ")).expect("it says where its page is");
    std::thread::spawn(move || lines.for_each(drop));
    let page = page.split_whitespace().find(|word| word.starts_with("http://")).expect("an address").to_owned();
    let metrics = page.replace("/demo", "/metrics");
    let ask = async || -> Option<String> { reqwest::get(&metrics).await.ok()?.text().await.ok() };
    // Once something was decided, every family is there.
    let mut text = String::new();
    for _ in 0..300 {
        text = ask().await.unwrap_or_default();
        if text.contains("trimtab_workload_demand{") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    drop(demo.kill());
    drop(demo.wait());
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .flat_map(|(name, kind)| match kind {
            "counter" => vec![format!("{name}_total")],
            "histogram" => ["bucket", "sum", "count"].map(|suffix| format!("{name}_{suffix}")).into(),
            _ => vec![name.to_owned()],
        })
        .collect()
}

/// The metrics of ours that a text names; those that the rules themselves record have a colon.
fn named(text: &str) -> BTreeSet<String> {
    let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    text.split(|letter| !word(letter)).filter(|word| word.starts_with("trimtab_")).map(str::to_owned).collect()
}

fn strings(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => found.push(text.clone()),
        serde_json::Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        serde_json::Value::Object(fields) => fields.values().for_each(|field| strings(field, found)),
        _ => {}
    }
}

#[tokio::test]
async fn dashboard_and_alerts_ask_for_what_is_exported() {
    let exported = exported().await;
    assert!(exported.contains("trimtab_workload_demand") && exported.contains("trimtab_writes_total"), "{exported:?}");
    let dashboard: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(deployed("grafana/trimtab.json")).expect("it is there"))
            .expect("it is JSON");
    let mut texts = Vec::new();
    strings(&dashboard, &mut texts);
    let rules = std::fs::read_to_string(deployed("alerts/trimtab.yaml")).expect("it is there");
    texts.push(rules.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n"));
    let named: BTreeSet<String> = texts.iter().flat_map(|text| named(text)).collect();
    assert!(named.len() > 15, "{named:?}");
    let missing: Vec<&String> = named.difference(&exported).collect();
    assert!(missing.is_empty(), "asked for and not exported: {missing:?}");
}

#[test]
fn no_panel_has_two_axes_and_every_expression_is_promql() {
    let text = std::fs::read_to_string(deployed("grafana/trimtab.json")).expect("it is there");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    assert!(!text.contains("axisPlacement"), "one axis to a panel");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.len() >= 12);
    for target in panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets")) {
        let expression = target["expr"].as_str().expect("an expression");
        let plain = expression.replace("$__rate_interval", "1m");
        let warnings = trimtab::prometheus::check(&plain, None);
        assert!(warnings.is_empty(), "{expression}: {warnings:?}");
    }
}

#[test]
fn every_rule_is_promql() {
    let text = std::fs::read_to_string(deployed("alerts/trimtab.yaml")).expect("it is there");
    let rules: serde_json::Value = serde_saphyr::from_str(&text).expect("it is YAML");
    let groups = rules["groups"].as_array().expect("groups");
    let rules: Vec<_> = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).collect();
    assert!(rules.len() >= 15, "{rules:?}");
    for rule in rules {
        let expression = rule["expr"].as_str().expect("an expression");
        let warnings = trimtab::prometheus::check(expression, None);
        assert!(warnings.is_empty(), "{expression}: {warnings:?}");
        let named = rule["record"].is_string() != rule["alert"].is_string();
        assert!(named, "one of record and alert: {rule}");
    }
}

/// What promtool says of files: whether it is content, and its words. `None`, and a word about it, where there is no promtool.
fn promtool(test: &str, arguments: &[&str], file: &Path) -> Option<(bool, String)> {
    let Some(tool) = std::env::var_os("TRIMTAB_PROMTOOL_BIN") else {
        eprintln!(
            "skipped: {test} needs Prometheus' promtool; build it with `testbed/testbed which promtool` and name it by \
             TRIMTAB_PROMTOOL_BIN"
        );
        return None;
    };
    let ran = Command::new(&tool).args(arguments).arg(file).output();
    let ran = ran.unwrap_or_else(|error| panic!("TRIMTAB_PROMTOOL_BIN is {}: {error}", tool.display()));
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    Some((ran.status.success(), said))
}

/// The rules and what is expected of them, the rules with a text in place of another, in a directory of their own.
fn altered(directory: &Path, from: &str, to: &str) -> [PathBuf; 2] {
    let [rules, expected] = [deployed("alerts/trimtab.yaml"), PathBuf::from(EXPECTED)]
        .map(|path| std::fs::read_to_string(path).expect("it is there"));
    assert!(rules.contains(from) && expected.contains("../deploy/alerts/"));
    let files = ["trimtab.yaml", "expected.yaml"].map(|name| directory.join(name));
    std::fs::write(&files[0], rules.replace(from, to)).expect("it is written");
    std::fs::write(&files[1], expected.replace("../deploy/alerts/", "")).expect("it is written");
    files
}

/// What the alerts fire on, and what they do not.
const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/alerts.yaml");
const CHECK: [&str; 4] = ["check", "rules", "--lint=all", "--lint-fatal"];

#[test]
fn promtool_accepts_the_rules() {
    let test = "promtool_accepts_the_rules";
    let Some((content, said)) = promtool(test, &CHECK, &deployed("alerts/trimtab.yaml")) else { return };
    assert!(content && said.contains("rules found"), "{said}");
    let directory = tempfile::tempdir().expect("a directory");
    let [broken, _] = altered(directory.path(), "trimtab:workload_burn > 6", "trimtab:workload_burn > of 6");
    let (content, said) = promtool(test, &CHECK, &broken).expect("it is there");
    assert!(!content && said.contains("could not parse expression"), "a rule that is no PromQL passes: {said}");
}

#[test]
fn alerts_fire_on_what_they_are_for_and_on_nothing_else() {
    let test = "alerts_fire_on_what_they_are_for_and_on_nothing_else";
    let Some((content, said)) = promtool(test, &["test", "rules"], Path::new(EXPECTED)) else { return };
    assert!(content && said.contains("SUCCESS"), "{said}");
    let directory = tempfile::tempdir().expect("a directory");
    let [_, expected] = altered(directory.path(), "trimtab:workload_burn > 6", "trimtab:workload_burn > 60");
    let (content, said) = promtool(test, &["test", "rules"], &expected).expect("it is there");
    assert!(!content && said.contains("TrimtabBudgetBurning"), "an alert with another bound passes: {said}");
}

#[test]
fn promtool_is_of_the_prometheus_that_the_testbed_runs() {
    let version = |component: &str| {
        let path = format!("{}/../testbed/mod/{component}/go.mod", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("it is there");
        let line = text.lines().find_map(|line| line.trim().strip_prefix("github.com/prometheus/prometheus v"));
        line.expect("it names a version").to_owned()
    };
    assert_eq!(version("promtool"), version("prometheus"));
}

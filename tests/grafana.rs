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

#[test]
fn promtool_accepts_the_rules() {
    let tool = std::env::var_os("TRIMTAB_PROMTOOL").unwrap_or_else(|| "promtool".into());
    let Ok(checked) = Command::new(tool).args(["check", "rules"]).arg(deployed("alerts/trimtab.yaml")).output() else {
        eprintln!(
            "skipped: promtool_accepts_the_rules needs Prometheus' promtool on the PATH, or named by TRIMTAB_PROMTOOL"
        );
        return;
    };
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.contains("rules found"), "{said}");
}

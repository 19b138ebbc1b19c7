//! `trimtab hpa`: what the horizontal pod autoscaler of Kubernetes makes of one autoscaler now, or of cases (JSON lines in, one line out
//! for each), and why.
//!
//! The answers are [`trimtab_hpa::evaluate`]'s; here is only how a case is had, and what is said of one that cannot be read.

use crate::cli::Hpa;
use crate::commands::Printed;
use crate::words;
use anyhow::{Context, anyhow};
use futures::future::BoxFuture;
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use live::at;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::str::FromStr;
use trimtab_hpa::{Answer, Case, MetricAnswer, evaluate};

mod live;

/// Which autoscaler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autoscaler {
    namespace: String,
    name: String,
}

impl FromStr for Autoscaler {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split('/').collect::<Vec<_>>().as_slice() {
            [namespace, name] if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self { namespace: (*namespace).to_owned(), name: (*name).to_owned() })
            }
            _ => Err("expected namespace/name of a HorizontalPodAutoscaler".to_owned()),
        }
    }
}

/// `trimtab hpa`. Exit code 1 where a case has no answer, 4 where there is no such autoscaler.
#[must_use]
pub fn hpa(command: &Hpa) -> BoxFuture<'_, anyhow::Result<Printed>> {
    Box::pin(async move {
        match (&command.cases, &command.target) {
            (Some(file), _) => cases(file),
            (None, Some(target)) => now(target, command).await,
            (None, None) => Err(anyhow!("name an autoscaler, or a file with --cases")),
        }
    })
}

// === one autoscaler, now ===

async fn now(target: &Autoscaler, command: &Hpa) -> anyhow::Result<Printed> {
    let options = KubeConfigOptions { context: command.context.clone(), ..KubeConfigOptions::default() };
    let config = match &command.context {
        Some(_) => Config::from_kubeconfig(&options).await.map_err(|error| words::without_secrets(&error)),
        None => Config::infer().await.map_err(|error| words::without_secrets(&error)),
    };
    let config = config.map_err(|error| anyhow!("failed to read the kubeconfig: set KUBECONFIG: {error}"))?;
    let client = Client::try_from(config).context("failed to use the kubeconfig")?;
    let Autoscaler { namespace, name } = target;
    let Some(seen) = live::look(&client, namespace, name).await? else {
        let text = format!(
            "there is no HorizontalPodAutoscaler {name} in namespace {namespace}; kubectl get hpa -A lists them\n"
        );
        return Ok(Printed { text, code: 4 });
    };
    if command.case {
        return Ok(Printed { text: format!("{}\n", seen.case), code: 0 });
    }
    let case = read(&serde_json::to_vec(&seen.case)?).map_err(|problem| anyhow!("{namespace}/{name}: {problem}"))?;
    let answer = evaluate(&case)?;
    let text =
        if command.json { format!("{}\n", serde_json::to_string_pretty(&answer)?) } else { page(&seen, &answer) };
    Ok(Printed { text, code: 0 })
}

/// What is shown of an autoscaler.
fn page(seen: &live::Seen, answer: &Answer) -> String {
    let case = &seen.case;
    let said = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut page = format!("{}: HPA asked now\nBecause  {}\n", said(at(case, "/id")), answer.because);
    for metric in &answer.metrics {
        let _ = writeln!(page, "Metric   {}", of_metric(metric, &seen.failures));
    }
    let conditions = answer.conditions.iter().map(|condition| format!("{} {}", condition.kind, condition.reason));
    let _ = writeln!(page, "Would be {}", conditions.collect::<Vec<_>>().join(", "));
    let status = at(case, "/hpa/status");
    let conditions = at(status, "/conditions").as_array().into_iter().flatten();
    let conditions =
        conditions.map(|one| format!("{} {}", said(at(one, "/type")), said(at(one, "/reason")))).collect::<Vec<_>>();
    let desired = at(status, "/desiredReplicas").as_i64().unwrap_or_default();
    let _ = writeln!(page, "Is       desired {desired}; {} (the controller's last word)", conditions.join(", "));
    page + "Unseen   what the controller recommended and changed before: a size that it holds for that is not held here\n"
}

fn of_metric(metric: &MetricAnswer, failures: &BTreeMap<String, String>) -> String {
    let usage = metric.usage.map(|usage| format!(" at {usage}")).unwrap_or_default();
    let mut text = match (metric.proposal, &metric.error) {
        (Some(proposal), _) => format!("{}{usage} asks for {proposal}", metric.name),
        (None, Some(error)) => format!("{} failed: {error}", metric.name),
        (None, None) => format!("{} was not asked", metric.name),
    };
    if let Some(error) = &metric.error {
        let shared = failures.get(live::RESOURCE_METRICS).filter(|_| error.starts_with(live::RESOURCE_METRICS));
        text.extend(failures.get(&metric.name).or(shared).map(|why| format!(" ({why})")));
    }
    let Some(groups) = &metric.groups else { return text };
    let _ = write!(text, "; {} pods count", groups.ready);
    let left_out = [
        ("not ready or just started", &groups.unready),
        ("without a sample", &groups.missing),
        ("going or failed", &groups.ignored),
    ];
    for (why, pods) in left_out.into_iter().filter(|(_, pods)| !pods.is_empty()) {
        let _ = write!(text, "; {why}: {}", listed(pods));
    }
    text
}

/// The first few of many.
fn listed(pods: &BTreeSet<String>) -> String {
    const SHOWN: usize = 5;
    let first: Vec<&str> = pods.iter().take(SHOWN).map(String::as_str).collect();
    let more = pods.len().saturating_sub(SHOWN);
    if more == 0 { first.join(", ") } else { format!("{} and {more} more", first.join(", ")) }
}

// === cases ===

/// Answers to standard output, problems to standard error. Exit code 1 where a line has no answer.
fn cases(file: &Path) -> anyhow::Result<Printed> {
    let (output, errors) = (io::stdout().lock(), io::stderr().lock());
    let malformed = if file == Path::new("-") {
        answer(io::stdin().lock(), output, errors)
    } else {
        let opened = std::fs::File::open(file).with_context(|| format!("failed to open {}", file.display()))?;
        answer(BufReader::new(opened), output, errors)
    };
    let malformed = malformed.with_context(|| format!("failed to answer {}", file.display()))?;
    Ok(Printed { text: String::new(), code: u8::from(malformed > 0) })
}

/// Answers each line at once, since whoever asks may wait for it; says how many have no answer.
fn answer(mut input: impl BufRead, mut output: impl Write, mut errors: impl Write) -> io::Result<u64> {
    let mut malformed = 0;
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = line.trim_ascii();
        let text = if number == 1 { text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text) } else { text };
        if text.is_empty() {
            continue;
        }
        match answer_one(text) {
            Ok(answer) => {
                serde_json::to_writer(&mut output, &answer)?;
                output.write_all(b"\n")?;
                output.flush()?;
            }
            Err(problem) => {
                malformed += 1;
                writeln!(errors, "error: line {number}: {problem}")?;
            }
        }
    }
    Ok(malformed)
}

fn answer_one(text: &[u8]) -> Result<Answer, String> {
    evaluate(&read(text)?).map_err(|missing| missing.to_string())
}

/// A case, or the field that is wrong and how.
fn read(text: &[u8]) -> Result<Case, String> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let mut track = serde_path_to_error::Track::new();
    let case = Case::deserialize(serde_path_to_error::Deserializer::new(&mut reader, &mut track));
    case.and_then(|case| reader.end().map(|()| case)).map_err(|error| problem(&track.path().to_string(), &error))
}

/// The field with its path, and what was expected there.
fn problem(path: &str, error: &serde_json::Error) -> String {
    let said = error.to_string();
    // A case is one line, so that only the column says where.
    let message = said.split(" at line ").next().unwrap_or_default();
    if error.is_syntax() || error.is_eof() {
        return format!("column {}: {message}; expected one JSON object on the line", error.column());
    }
    let field = if path == "." { "" } else { path };
    match message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        Some(name) if field.is_empty() => format!("{name}: missing; a case needs id, now, hpa and scale"),
        Some(name) => format!("{field}.{name}: missing"),
        None if field.is_empty() => format!("{message}; expected one JSON object on the line"),
        None => format!("{field}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn case(id: &str) -> Value {
        json!({
            "id": id, "now": "2026-11-24T09:00:00Z",
            "hpa": {"metadata": {"namespace": "shop", "name": "web"}, "spec": {"maxReplicas": 10, "metrics": [
                {"type": "External", "external": {"metric": {"name": "lag"}, "target": {"type": "AverageValue", "averageValue": "100"}}},
            ]}},
            "scale": {"spec": {"replicas": 2}, "status": {"replicas": 2, "selector": "app=web"}},
            "externalMetrics": {"lag": ["350", "1500m"]},
        })
    }

    fn answered(lines: &[String]) -> (Vec<Value>, String, u64) {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let malformed = answer(lines.join("\n").as_bytes(), &mut output, &mut errors).unwrap();
        let output = String::from_utf8(output).unwrap();
        let answers = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (answers, String::from_utf8(errors).unwrap(), malformed)
    }

    #[test]
    fn a_case_is_answered_with_all_that_led_there() {
        let (answers, errors, _) = answered(&[case("a").to_string()]);
        assert_eq!(errors, "");
        assert_eq!(
            answers,
            [json!({
                "id": "a",
                "metrics": [{"name": "lag", "proposal": 4, "usage": "175750m", "error": null}],
                "proposal": 4,
                "desired": 4,
                "conditions": [
                    {"type": "AbleToScale", "status": "True", "reason": "SucceededRescale"},
                    {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound"},
                    {"type": "ScalingLimited", "status": "False", "reason": "DesiredWithinRange"},
                ],
                "because": "2 -> 4: lag at 175750m (target 100) asks for 4",
            })]
        );
    }

    #[test]
    fn a_malformed_line_is_named_with_its_field_and_the_others_are_answered() {
        let without = |field: &str| {
            let mut case = case("x");
            case.as_object_mut().unwrap().remove(field);
            case.to_string()
        };
        let with = |pointer: &str, value: Value| {
            let mut case = case("x");
            *case.pointer_mut(pointer).unwrap() = value;
            case.to_string()
        };
        let mut lines = vec![
            case("first").to_string(),
            String::new(),
            without("hpa"),
            with("/now", json!("yesterday")),
            with("/hpa/spec/maxReplicas", json!(3_000_000_000_u32)),
            with("/externalMetrics/lag/1", json!("1 apple")),
            with("/hpa/spec/metrics/0", json!({"type": "Pods"})),
            "{\"id\": \"cut".to_owned(),
            "[]".to_owned(),
            case("x").to_string() + "{}",
        ];
        lines.push(case("last").to_string());
        let (answers, errors, malformed) = answered(&lines);
        assert_eq!(answers.iter().map(|answer| &answer["id"]).collect::<Vec<_>>(), ["first", "last"]);
        assert_eq!(malformed, 8);
        let starts = [
            "error: line 3: hpa: missing; a case needs id, now, hpa and scale",
            "error: line 4: now: expected a time such as \"2026-11-24T09:02:15Z\", not \"yesterday\"",
            "error: line 5: hpa.spec.maxReplicas: invalid value: integer `3000000000`, expected i32",
            "error: line 6: externalMetrics.lag[1]: expected a quantity such as \"250m\", \"2\" or \"1.5Gi\", not \"1 apple\"",
            "error: line 7: hpa.spec.metrics[0].pods: missing; the API server requires it",
            "error: line 8: column ",
            "error: line 9: ",
            "error: line 10: column ",
        ];
        for (said, expected) in errors.lines().zip(starts) {
            assert!(said.starts_with(expected), "{said}\n{expected}");
        }
    }
}

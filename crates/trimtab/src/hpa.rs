//! `trimtab hpa`: what the horizontal pod autoscaler of Kubernetes makes of a case, and why. JSON lines in, one line out for each.
//!
//! The answers are [`trimtab_hpa::evaluate`]'s; here is only how a case is read, and what is said of one that cannot be.

use crate::commands::Printed;
use anyhow::Context;
use serde::Deserialize;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use trimtab_hpa::{Answer, Case, evaluate};

/// `trimtab hpa --cases`: answers to standard output, problems to standard error. Exit code 1 where a line has no answer.
///
/// # Errors
/// Where the file cannot be read, or nobody reads the answers.
pub fn cases(file: &Path) -> anyhow::Result<Printed> {
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

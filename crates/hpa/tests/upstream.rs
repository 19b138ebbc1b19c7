//! Our answers beside those of upstream's own code. `tests/upstream/build` makes a program of that code, and
//! `cargo run -p trimtab-hpa --example upstream -- PROGRAM` compares with it on as many cases as are asked for.

use serde_json::Value;

#[path = "upstream/compare.rs"]
mod compare;

#[test]
fn kept_cases_are_answered_as_upstream_answers_them() {
    let lines: Vec<&str> = include_str!("upstream/kept.jsonl").lines().collect();
    assert!(lines.len() >= 200, "{} cases", lines.len());
    let mut differences = Vec::new();
    for line in lines {
        let kept: Value = serde_json::from_str(line).expect("JSON");
        differences.extend(
            compare::difference(&kept["case"], &kept["answer"]).map(|said| format!("{}\n{said}", kept["case"])),
        );
    }
    assert!(differences.is_empty(), "{} differences, the first:\n{}", differences.len(), differences[0]);
}

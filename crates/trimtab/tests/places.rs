//! Where an answer comes from: what is typed comes before what the environment says, and two that are typed are refused.
#![expect(clippy::unwrap_used, reason = "a test fails loudly")]

use std::path::Path;
use std::process::Command;

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:9";

/// What a command says, in an environment that names an agent, and how it ends.
fn trimtab(arguments: &[&str]) -> (String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_trimtab"))
        .args(arguments)
        .env("TRIMTAB_URL", NOBODY)
        .env("TRIMTAB_AGENT_NAMESPACE", "elsewhere")
        .env("KUBECONFIG", "/nonexistent/kubeconfig")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (said, output.status.code())
}

/// The journal of half an hour of the demo's service.
fn journal(directory: &Path) -> String {
    let file = directory.join("journal.db").display().to_string();
    let demo = ["demo", "--simulated", "--headless", "--speed", "max", "--until", "30m", "--json", "--journal", &file];
    let (said, code) = trimtab(&demo);
    assert_eq!(code, Some(0), "{said}");
    file
}

#[test]
fn a_journal_that_is_named_is_read_whatever_the_environment_says() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let (said, code) = trimtab(&["compare", "--since", "400d", "--json", "--journal", &journal]);
    assert_eq!(code, Some(0), "{said}");
    let all: serde_json::Value = serde_json::from_str(&said).unwrap();
    let workload = all["workloads"][0]["workload"].as_str().unwrap();
    for arguments in
        [vec!["explain", workload], vec!["explain", workload, "-v"], vec!["explain", workload, "--what-if", "max=3"]]
    {
        let (said, code) = trimtab(&[arguments.as_slice(), &["--journal", &journal]].concat());
        assert!(code == Some(0) && said.contains(workload), "{arguments:?}: {said}");
    }
}

#[test]
fn what_is_typed_comes_before_what_the_environment_says() {
    for command in [&["status"][..], &["explain", "shop/web"], &["compare"], &["own", "shop/web", "--dry-run"]] {
        // The environment alone: it is asked there.
        let (said, code) = trimtab(command);
        let elsewhere = said.contains("kubeconfig");
        assert!(code == Some(3) && (elsewhere == (command[0] == "own")), "{command:?}: {said}");
        for typed in [["--context", "x"], ["--agent-namespace", "x"]] {
            let (said, code) = trimtab(&[command, &typed].concat());
            assert!(code == Some(3) && said.contains("kubeconfig"), "{command:?} {typed:?}: {said}");
        }
    }
}

#[test]
fn two_places_that_are_typed_are_refused_by_every_command() {
    let commands = [&["status"][..], &["top"], &["explain", "shop/web"], &["compare"], &["own", "shop/web"]];
    for command in commands {
        let mut pairs = vec![["--url", "--agent-namespace"]];
        if command[0] != "own" {
            pairs.push(["--url", "--context"]);
        }
        if ["explain", "compare"].contains(&command[0]) {
            pairs.extend([["--journal", "--url"], ["--journal", "--context"], ["--journal", "--agent-namespace"]]);
        }
        for [one, other] in pairs {
            let (said, code) = trimtab(&[command, &[one, NOBODY, other, NOBODY]].concat());
            assert_eq!(code, Some(2), "{command:?}: {said}");
            assert!(said.contains(&format!("{one} and {other} both say where the answer comes from")), "{said}");
        }
    }
}

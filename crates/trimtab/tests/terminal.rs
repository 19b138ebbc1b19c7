//! The commands as processes, as a shell or a pipeline sees them: exit codes, what goes where, and that nothing but text goes into a pipe.
#![expect(clippy::unwrap_used, reason = "a test fails loudly")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const CHECKOUT: &str = "shop/deployment/checkout";
/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:1";

fn trimtab(arguments: &[&str]) -> Output {
    // A terminal's colours are asked for as loudly as can be, and a pipe gets none.
    Command::new(env!("CARGO_BIN_EXE_trimtab"))
        .args(arguments)
        .env("TERM", "xterm-256color")
        .env_remove("TRIMTAB_URL")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs it, and holds its exit code and its output against what is promised; what it printed.
fn ends(arguments: &[&str], code: i32) -> String {
    let output = trimtab(arguments);
    let (said, complained) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "trimtab {arguments:?}: {said}{complained}");
    assert!(!said.contains('\x1b') && !complained.contains('\x1b'), "trimtab {arguments:?}: {said:?}{complained:?}");
    assert!(code != 0 || !said.is_empty(), "trimtab {arguments:?} says nothing");
    said + &complained
}

/// Twenty simulated minutes, as a journal and as a report, and their summary.
fn played(directory: &Path) -> (String, String, String) {
    let (journal, report) = (directory.join("journal.db"), directory.join("report.html"));
    let (journal, report) = (journal.to_str().unwrap().to_owned(), report.to_str().unwrap().to_owned());
    let demo = ["demo", "--simulated", "--speed", "max", "--until", "20m", "--headless", "--seed", "3"];
    let output = trimtab(&[&demo[..], &["--journal", &journal, "--html", &report]].concat());
    assert!(output.status.success(), "{output:?}");
    (journal, std::fs::read_to_string(report).unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn each_command_ends_with_the_code_that_the_reference_says_and_pipes_get_text_alone() {
    let kept = tempfile::tempdir().unwrap();
    let (journal, report, summary) = played(kept.path());
    // The report says what the terminal said, to the digit.
    let of_somebody =
        |line: &&str| ["trimtab", "HPA", "KEDA"].iter().any(|name| line.starts_with(&format!("{name}  ")));
    let lines = summary.lines().map(str::trim).filter(of_somebody);
    assert_eq!(lines.clone().count(), 3, "{summary}");
    for line in lines {
        let cells: Vec<&str> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let [name, cells @ ..] = cells.as_slice() else { panic!("{line}") };
        let row = report.split("<tr data-who=\"").find(|row| row.starts_with(*name)).unwrap();
        let row = row.split("</tr>").next().unwrap();
        for cell in cells {
            assert!(row.contains(&format!(">{cell}</td>")), "{cell} of {line} in {row}");
        }
    }

    let explain = |more: &[&str], code| ends(&[&["explain", "--journal", &journal][..], more].concat(), code);
    assert!(explain(&[CHECKOUT], 0).starts_with(CHECKOUT));
    explain(&["shop/deployment/nobody"], 4);
    explain(&[CHECKOUT, "--at", "2020-01-01T00:00:00Z"], 4);
    assert!(explain(&[CHECKOUT, "--what-if", "max=20"], 0).contains("what if max 20"));
    let said = explain(&["shop/deployment/nobody", "--what-if", "max=20"], 4);
    assert!(said.contains("no decision of shop/deployment/nobody; it has some of shop/deployment/checkout"), "{said}");
    explain(&[CHECKOUT, "--what-if", "max=20,min=30"], 3);
    explain(&[CHECKOUT, "--what-if", "colour=red"], 2);
    ends(&["replay", &journal], 0);
    ends(&["replay", &journal, "--workload", "shop/deployment/nobody"], 4);
    for command in [&["status"][..], &["explain", CHECKOUT], &["explain", CHECKOUT, "--what-if", "max=20"], &["top"]] {
        ends(&[command, &["--url", NOBODY]].concat(), 3);
    }
    ends(&["explain", "--no-such-flag"], 2);
    ends(&["demo", "--speed", "10"], 2);

    let policy = kept.path().join("policy.yaml");
    std::fs::write(&policy, "workloads: [{target: nowhere}]\n").unwrap();
    let said = ends(&["lint", policy.to_str().unwrap()], 1);
    assert!(said.contains("policy.yaml"), "{said}");
    ends(&["lint", "--schema"], 0);
    ends(&["schema"], 0);
}

#[test]
fn help_completions_and_manual_pages_know_every_command() {
    let help = ends(&["--help"], 0);
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() > 12 && commands.contains(&"explain"), "{commands:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = ends(&["completions", shell], 0);
        for command in &commands {
            assert!(script.contains(command), "{command} in {shell}");
        }
    }
    let kept = tempfile::tempdir().unwrap();
    ends(&["man", kept.path().to_str().unwrap()], 0);
    for command in commands {
        let page = std::fs::read_to_string(kept.path().join(format!("trimtab-{command}.1"))).unwrap();
        assert!(page.contains(".TH") && page.contains("SYNOPSIS"), "{command}: {page}");
        ends(&[command, "--help"], 0);
    }
}

#[test]
fn an_agent_that_knows_no_such_workload_says_so_with_its_own_exit_code() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_trimtab"))
        .args(["demo", "--simulated", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stderr.take().unwrap()).lines().map_while(Result::ok);
    let page = lines.find(|line| line.starts_with("page ")).unwrap();
    // Read on, so that the pipe neither fills nor breaks.
    std::thread::spawn(move || lines.for_each(drop));
    let url = page.split_whitespace().find(|word| word.starts_with("http://")).unwrap().trim_end_matches("/demo");
    let status = ends(&["status", "--url", url], 0);
    let nobody = ["explain", "shop/deployment/nobody", "--url", url];
    let said = [ends(&nobody, 4), ends(&[&nobody[..], &["--what-if", "max=9"]].concat(), 4)];
    demo.kill().unwrap();
    demo.wait().unwrap();
    assert!(status.contains("checkout"), "{status}");
    assert!(said.iter().all(|said| said.contains("trimtab status lists what there is")), "{said:?}");
}

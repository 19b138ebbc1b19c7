//! The commands as processes, as a shell or a pipeline sees them: exit codes, what goes where, and that nothing but text goes into a pipe.
#![expect(clippy::unwrap_used, reason = "a test fails loudly")]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

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

/// As the README has it, where the workspace has other programs too.
#[test]
fn at_the_root_of_a_clone_cargo_run_means_trimtab() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(env!("CARGO")).args(["run", "--quiet", "--", "--version"]).current_dir(root).output();
    let output = output.unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"trimtab "), "{output:?}");
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

/// Somebody who takes every connection, and says nothing until he is dropped.
struct Silent {
    url: String,
    _hang_up: mpsc::Sender<()>,
}

impl Silent {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        listener.set_nonblocking(true).unwrap();
        let (hang_up, hung_up) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            while hung_up.recv_timeout(Duration::from_millis(20)) == Err(mpsc::RecvTimeoutError::Timeout) {
                kept.extend(listener.accept().map(|(connection, _)| connection));
            }
        });
        Self { url, _hang_up: hang_up }
    }
}

/// A command on a terminal of its own, and what stands there.
fn on_a_terminal(arguments: &[&str]) -> (Child, Arc<Mutex<String>>) {
    let line = [&[env!("CARGO_BIN_EXE_trimtab")], arguments].concat().join(" ");
    let mut child = Command::new("script")
        .args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"])
        .env("TERM", "xterm-256color")
        .env("NO_COLOR", "1")
        .env_remove("TRIMTAB_URL")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut output, shown) = (child.stdout.take().unwrap(), Arc::new(Mutex::new(String::new())));
    let screen = Arc::clone(&shown);
    std::thread::spawn(move || {
        let mut some = [0; 4096];
        while let Some(read @ [_, ..]) = output.read(&mut some).ok().and_then(|length| some.get(..length)) {
            screen.lock().unwrap().push_str(&String::from_utf8_lossy(read));
        }
    });
    (child, shown)
}

#[test]
fn whoever_waits_at_a_terminal_is_told_for_what_and_a_pipe_gets_not_a_byte_of_it() {
    let kept = tempfile::tempdir().unwrap();
    let policy = kept.path().join("policy.yaml");
    let text = "workloads:\n  - target: shop/deployment/checkout\n    replicas: { min: 3, max: 50 }\n    demand: { query: 'sum(rate(a[1m]))' }\n    capacity: { rate: 50 }\n    slo: { target: 200ms, misses: 0.5% }\n";
    std::fs::write(&policy, text).unwrap();
    let silent = Silent::new();
    let url = silent.url.clone();
    let commands: [(&[&str], &str); 5] = [
        (&["status", "--url", &url], "waiting for the agents: "),
        (&["explain", CHECKOUT, "--url", &url], "waiting for the agents: "),
        (
            &["explain", CHECKOUT, "--what-if", "max=20", "--url", &url],
            "the agent plays the recorded demand again, twice: ",
        ),
        (&["compare", CHECKOUT, "--url", &url], "waiting for the agents: "),
        (
            &["backtest", CHECKOUT, "--since", "1h", "--prometheus-url", &url, "--policy", policy.to_str().unwrap()],
            "asking for the autoscaler and its past: ",
        ),
    ];
    let into_a_pipe = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
        command.args(arguments).env("TERM", "xterm-256color").env_remove("TRIMTAB_URL").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // Those with a pipe begin first: when the others are told something, they wait for as long.
    let piped: Vec<Child> = commands.iter().map(|(arguments, _)| into_a_pipe(arguments)).collect();
    let mut shown: Vec<(Child, Arc<Mutex<String>>)> =
        commands.iter().map(|(arguments, _)| on_a_terminal(arguments)).collect();
    let begun = Instant::now();
    for ((arguments, expected), (child, screen)) in commands.iter().zip(&mut shown) {
        while !screen.lock().unwrap().contains(expected) {
            let waits = child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(25);
            assert!(waits, "{arguments:?}: {:?}", screen.lock().unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
        // It moves its cursor, and has no colour.
        let screen = screen.lock().unwrap();
        assert!(
            !screen
                .split("\x1b[")
                .skip(1)
                .any(|rest| rest.trim_start_matches(|c: char| !c.is_alphabetic()).starts_with('m')),
            "{screen:?}"
        );
    }
    drop(silent);
    for ((arguments, expected), child) in commands.iter().zip(piped) {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        assert_eq!(output.stdout, b"", "{arguments:?}");
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(
            complaint.starts_with("error: ") && !complaint.contains(['\x1b', '\r']),
            "{arguments:?}: {complaint:?}"
        );
        assert!(!complaint.contains(expected), "{arguments:?}: {complaint:?}");
    }
    for (mut child, screen) in shown {
        child.wait().unwrap();
        drop(screen);
    }
}

#[test]
fn a_demo_opens_its_page_where_a_terminal_stands_on_a_desktop_and_nowhere_else() {
    use std::os::unix::fs::PermissionsExt;
    let kept = tempfile::tempdir().unwrap();
    // A desktop whose browser writes down what it is to open.
    let opener = kept.path().join("xdg-open");
    std::fs::write(&opener, "#!/bin/sh\necho \"$1\" > \"$OPENED\"\n").unwrap();
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", kept.path().display(), std::env::var("PATH").unwrap());
    let demo = |name: &str, terminal: bool, more: &str| {
        let words = format!("demo --simulated --listen 127.0.0.1:0 {more}");
        let mut command = if terminal {
            let mut script = Command::new("script");
            let line = format!("{} {words}", env!("CARGO_BIN_EXE_trimtab"));
            script.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]);
            script
        } else {
            let mut plain = Command::new(env!("CARGO_BIN_EXE_trimtab"));
            plain.args(words.split_whitespace());
            plain
        };
        let opened = kept.path().join(name);
        command.env("PATH", &path).env("DISPLAY", ":9").env("OPENED", &opened).env("TERM", "xterm");
        (command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(), opened)
    };
    let short = "--speed max --until 20m";
    let (mut piped, by_a_pipe) = demo("pipe", false, short);
    let (mut refused, where_refused) = demo("refused", true, &format!("{short} --no-open"));
    let (mut shown, opened) = demo("desktop", true, "");
    let begun = Instant::now();
    let address = loop {
        if let Some(address) = std::fs::read_to_string(&opened).ok().filter(|address| address.ends_with('\n')) {
            break address;
        }
        assert!(begun.elapsed() < Duration::from_mins(2), "nothing is opened");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(address.starts_with("http://127.0.0.1:") && address.ends_with("/demo\n"), "{address}");
    shown.kill().unwrap();
    shown.wait().unwrap();
    assert!(piped.wait().unwrap().success() && refused.wait().unwrap().success());
    assert!(!by_a_pipe.exists() && !where_refused.exists());
}

//! The pages in a real browser: `trimtab demo`, Debian's Chromium, and Playwright from npm (`tests/browser`).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A demo that ends with the test.
struct Demo {
    process: Child,
    url: String,
}

impl Demo {
    /// Starts one on a port that is free, and waits until it says where its page is.
    fn start(form: &[&str]) -> Self {
        let test = std::env::current_exe().expect("a test knows its own binary");
        let binary = test.parent().and_then(Path::parent).expect("tests lie in deps/").join("trimtab");
        assert!(
            binary.exists(),
            "{} is missing: build the workspace first (cargo build --workspace)",
            binary.display()
        );
        let mut process = Command::new(binary)
            .args(["demo", "--listen", "127.0.0.1:0"])
            .args(form)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        let line = lines.find(|line| line.starts_with("page ")).expect("it says where its page is");
        // Read on, so that the pipe neither fills nor breaks.
        std::thread::spawn(move || lines.for_each(drop));
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).expect("an address");
        Self { url: url.trim_end_matches("/demo").to_owned(), process }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Where the browser tests are, with what they need from npm.
fn browser() -> PathBuf {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/browser"));
    if !directory.join("node_modules/playwright-core").exists() {
        let installed =
            Command::new("npm").args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(&directory).status();
        assert!(installed.expect("npm is there: ./test installs it").success(), "npm ci in tests/browser failed");
    }
    directory
}

/// Runs a script of `tests/browser` on a demo.
fn look(script: &str, form: &[&str]) {
    let directory = browser();
    let demo = Demo::start(form);
    let ran = Command::new("node").args([script, &demo.url]).current_dir(directory).output();
    let ran = ran.expect("node is there: ./test installs it");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
}

#[test]
fn pages_say_what_the_api_says_and_ask_nobody_else() {
    look("check.mjs", &["--simulated"]);
}

#[test]
fn the_demo_of_real_requests_lives_and_its_buttons_act() {
    look("real.mjs", &[]);
}

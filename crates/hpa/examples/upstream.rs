//! Compares our answers with those of upstream's own code on generated cases, or keeps some of them with upstream's answers:
//!
//!     crates/hpa/tests/upstream/build FILE
//!     cargo run -p trimtab-hpa --example upstream -- FILE --cases 100000 --seed 1
//!     cargo run -p trimtab-hpa --example upstream -- FILE --cases 20000 --seed 1 --keep crates/hpa/tests/upstream/kept.jsonl
#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program for developers: it prints, and stops at what is not there"
)]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

#[path = "upstream/cases.rs"]
mod cases;
#[path = "../tests/upstream/compare.rs"]
mod compare;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| arguments.iter().position(|one| one == name).and_then(|at| arguments.get(at + 1));
    let number = |name: &str, default| option(name).map_or(default, |text| text.parse().expect("a number"));
    let program = arguments.first().expect("the program that tests/upstream/build made");
    let (count, seed): (u64, u64) = (number("--cases", 10_000), number("--seed", 1));
    let keep = option("--keep");
    let mut tally = Tally { keeps: keep.is_some(), ..Tally::default() };
    let differences = ask(program, seed, count, &mut tally);
    match keep {
        Some(file) => std::fs::write(file, tally.kept()).expect("the file can be written"),
        None => println!("{}", tally.reasons()),
    }
    println!("{count} cases of seed {seed}, {differences} differences");
    ExitCode::from(u8::from(differences > 0))
}

/// Sends the cases, and reads the answers beside them.
fn ask(program: &str, seed: u64, count: u64, tally: &mut Tally) -> u64 {
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut input = child.stdin.take().expect("piped");
    let answers = BufReader::new(child.stdout.take().expect("piped"));
    let sent = std::thread::spawn(move || {
        for number in 0..count {
            writeln!(input, "{}", cases::case(seed, number)).expect("the program reads");
        }
    });
    let mut differences = 0;
    let mut answered = 0;
    for (number, line) in (0..).zip(answers.lines()) {
        let answer: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
        let case = cases::case(seed, number);
        assert_eq!(case["id"], answer["id"], "the program left a case out");
        if let Some(said) = compare::difference(&case, &answer) {
            differences += 1;
            if differences <= 5 {
                println!("{said}\n{case}\n");
            }
        }
        tally.add(case, answer);
        answered += 1;
    }
    sent.join().expect("everything was sent");
    assert_eq!(answered, count, "the program stopped early");
    assert!(child.wait().expect("the program ends").success());
    differences
}

/// How often each reason was given, and, where they are kept, what kinds of answers there were with the smallest case of each.
#[derive(Default)]
struct Tally {
    keeps: bool,
    reasons: BTreeMap<String, u64>,
    kinds: BTreeMap<String, (u64, Value, Value)>,
}

impl Tally {
    fn add(&mut self, case: Value, answer: Value) {
        let list = |of: &Value, each: &dyn Fn(&Value) -> String| {
            of.as_array().into_iter().flatten().map(each).collect::<Vec<_>>().join(" ")
        };
        for condition in answer["conditions"].as_array().into_iter().flatten() {
            *self.reasons.entry(condition["reason"].to_string()).or_default() += 1;
        }
        if !self.keeps {
            return;
        }
        let conditions = list(&answer["conditions"], &|one| format!("{}={}", one["type"], one["reason"]));
        let metrics = list(&case["hpa"]["spec"]["metrics"], &|one| one["type"].to_string());
        let errors = list(&answer["metrics"], &|one| one["error"].is_null().to_string());
        let kind = format!("{conditions} of {metrics}, fine: {errors}").replace('"', "");
        let (count, smallest, own) = self.kinds.entry(kind).or_insert_with(|| (0, case.clone(), answer.clone()));
        *count += 1;
        if case.to_string().len() < smallest.to_string().len() {
            (*smallest, *own) = (case, answer);
        }
    }

    fn reasons(&self) -> String {
        self.reasons.iter().map(|(reason, count)| format!("{count:8} {reason}")).collect::<Vec<_>>().join("\n")
    }

    /// The commonest kinds, a line each: a case, and upstream's answer.
    fn kept(self) -> String {
        const KEPT: usize = 300;
        let mut kinds: Vec<_> = self.kinds.into_values().collect();
        kinds.sort_by_key(|(count, case, _)| (std::cmp::Reverse(*count), case["id"].to_string()));
        kinds.truncate(KEPT);
        let line = |(_, case, answer): &(u64, Value, Value)| format!("{}\n", json!({"case": case, "answer": answer}));
        kinds.iter().map(line).collect()
    }
}

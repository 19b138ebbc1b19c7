//! `trimtab drive` as a process, in charge of the simulator.
#![expect(clippy::unwrap_used, reason = "a test fails loudly")]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use trimtab_core::Policy;
use trimtab_core::policy::Method;
use trimtab_core::unit::{Replicas, RequestsPerSecond, Seconds};
use trimtab_sim::contest::policy;
use trimtab_sim::law::Startup;
use trimtab_sim::run::{self, BOUNDS, Look, Scenario};
use trimtab_sim::workload::Workload;

/// A running `trimtab drive`.
struct Drive {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Drive {
    fn start(config: &Value, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_trimtab"))
            .arg("drive")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut drive = Self { child, answers };
        drive.say(config);
        drive
    }

    fn say(&mut self, line: &Value) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits for the answer before anything else is said: an answer that is not flushed would end the test by its time-out.
    fn ask(&mut self, line: &Value) -> Replicas {
        self.say(line);
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        Replicas(u32::try_from(answer.get("replicas").and_then(Value::as_u64).unwrap()).unwrap())
    }

    fn end(mut self) {
        self.say(&json!({"type": "end"}));
        assert!(self.child.wait().unwrap().success());
    }
}

fn config(workload: &Workload, scenario: &Scenario) -> Value {
    let history: Vec<f64> = workload.history.iter().map(|rate| rate.get()).collect();
    json!({
        "type": "config", "protocol": 1, "interval_s": 30, "tick_s": scenario.tick.get(), "mu": scenario.law.capacity.get(),
        "slo_p99_s": scenario.law.target.get(), "min": BOUNDS.min().0, "max": BOUNDS.max().0, "ramp": scenario.ramp,
        "startup_delay_s": scenario.law.startup.median().get(), "replicas": 8, "history": history,
    })
}

fn observe(look: &Look) -> Value {
    let snapshot = &look.snapshot;
    json!({
        "type": "observe", "t": snapshot.at.0 as f64 / 1000.0, "rate": snapshot.demand.fresh().map(RequestsPerSecond::get),
        "p99_s": look.interval.and_then(|interval| interval.p99).map(Seconds::get),
        "replicas": snapshot.fleet.desired.0, "ready": snapshot.fleet.ready.0,
        "cpu_util": snapshot.utilization.fresh().map(f64::from), "interval_end": look.interval.is_some(),
    })
}

/// Two hours that rise, fall and jump.
fn workload() -> Workload {
    let rate = |number: u32| 150 + 40 * (number % 12) + if (60..70).contains(&number) { 500 } else { 0 };
    let rates: Vec<RequestsPerSecond> = (0..240).map(|number| RequestsPerSecond::whole(rate(number))).collect();
    let (history, rates) = rates.split_at(60);
    Workload { season: 0, history: history.into(), rates: rates.into() }
}

#[test]
fn a_simulator_that_drives_it_gets_the_scores_of_the_benchmark() {
    let workload = workload();
    let mut sizes = BTreeSet::new();
    for (tick, start_up, method) in
        [(5, 0, Method::Priced), (30, 0, Method::Priced), (5, 30, Method::Priced), (5, 0, Method::Gate)]
    {
        let mut scenario = Scenario { tick: Seconds::whole(tick), ..Scenario::benchmark(3) };
        scenario.law.startup = Startup::Fixed(Seconds::whole(start_up));
        let arguments: &[&str] = if method == Method::Gate { &["--method", "gate"] } else { &[] };
        let mut drive = Drive::start(&config(&workload, &scenario), arguments);
        let driven = run::run(&workload, &scenario, &mut |look| drive.ask(&observe(look)));
        drive.end();
        let policy = Policy { method, ..policy(&scenario) };
        let benchmark = run::run(&workload, &scenario, &mut run::trimtab(policy, &workload, |_, _, _| {}));
        assert!(benchmark.churn > 0);
        assert_eq!(driven, benchmark, "a look every {tick} s, {start_up} s to start, {method:?}");
        sizes.insert(driven.rows.iter().map(|row| row.replicas).collect::<Vec<_>>());
    }
    assert_eq!(sizes.len(), 4, "the gate chooses other sizes");
}

#[test]
fn the_end_of_the_input_ends_it_well() {
    let mut drive = Drive::start(&json!({"type": "config", "mu": 50}), &[]);
    drop(drive.child.stdin.take());
    assert!(drive.child.wait().unwrap().success());
}

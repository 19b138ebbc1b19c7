//! `trimtab drive`: the decision, for anyone's own simulator. JSON lines in, one line out for each observation.
//!
//! The same core with the same policy as `trimtab bench`, or the published gate on its forecast. Only what is said of time, replicas and rates is believed: the other side applies
//! the ramp limit and the start-up delay, and tells what came of it. Reference: `docs/reference.md`.

use crate::explain::because;
use message::{Config, Message, Observation, Problem};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use trimtab_core::forecast::AHEAD;
use trimtab_core::policy::{Method, Objective};
use trimtab_core::snapshot::{Absence, Coverage, Fleet, Reading, Sample, Snapshot};
use trimtab_core::unit::{Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_core::{Policy, State, Verb, backfill, decide};
use trimtab_sim::contest;
use trimtab_sim::foretold::Forecasts;
use trimtab_sim::run::Scenario;

mod message;

/// Answers `input` line by line until it ends, or says `end`; sizes are chosen by `method`. Whoever asks waits for the answer: each is flushed
/// at once. Forecasts are on the clock of the observations.
///
/// # Errors
/// Where one of the three cannot be read or written any more.
pub fn drive(
    forecasts: &Forecasts,
    method: Method,
    mut input: impl BufRead,
    mut output: impl Write,
    mut errors: impl Write,
) -> io::Result<()> {
    let mut session = None;
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
        let problems = match (message::read(text), &mut session) {
            (Ok(Message::End), _) => break,
            (Ok(Message::Config(config)), session) => {
                *session = Some(Session::begin(&config, method));
                continue;
            }
            (Ok(Message::Observe(seen)), Some(session)) => {
                let late = session.is_late(&seen);
                let answer = if late.is_some() { session.hold(&seen) } else { session.answer(&seen, forecasts) };
                serde_json::to_writer(&mut output, &answer)?;
                output.write_all(b"\n")?;
                output.flush()?;
                late.into_iter().collect()
            }
            (Ok(Message::Observe(_)), None) => {
                vec![Problem::of_line("an observe before a valid config: send a line of type \"config\" first")]
            }
            (Err(malformed), session) => {
                if malformed.config {
                    *session = None;
                }
                malformed.problems
            }
        };
        for problem in problems {
            writeln!(errors, "error: line {number}: {problem}")?;
        }
        errors.flush()?;
    }
    Ok(())
}

/// What is answered.
#[derive(Debug, Serialize)]
struct Answer {
    replicas: Replicas,
    t: f64,
    verb: Verb,
    because: String,
}

/// A run, from one config to the next.
struct Session {
    policy: Policy,
    state: State,
    startup: Seconds,
    tick: Seconds,
    /// Until the first observation tells when it ended.
    past: Option<Past>,
    /// When the first interval began, in milliseconds: windows are counted from there.
    origin: Option<i64>,
    /// When the last observation was.
    last: Option<i64>,
    /// The last percentile that was told, and when: it stands until the next one.
    percentile: Option<(Seconds, Timestamp)>,
}

/// Rates of before the run.
struct Past {
    rates: Vec<Option<RequestsPerSecond>>,
    interval: Seconds,
    tick: Seconds,
}

impl Session {
    fn begin(config: &Config, method: Method) -> Self {
        let mut scenario = Scenario { tick: config.tick, ramp: config.ramp, ..Scenario::benchmark(1) };
        (scenario.law.capacity, scenario.law.target) = (config.capacity, config.target);
        let benchmark = contest::policy(&scenario);
        let objective = Objective { window: config.interval, ..benchmark.objective };
        let past = Past { rates: config.history.clone(), interval: config.interval, tick: config.tick };
        Self {
            policy: Policy { replicas: config.bounds, objective, method, ..benchmark },
            state: State::default(),
            startup: config.startup,
            past: Some(past),
            tick: config.tick,
            origin: None,
            last: None,
            percentile: None,
        }
    }

    /// As far as the decision looks ahead.
    fn foreseen(&self) -> Seconds {
        Seconds::new(self.policy.objective.window.get() * (AHEAD + 1) as f64).unwrap_or_default()
    }

    fn answer(&mut self, seen: &Observation, forecasts: &Forecasts) -> Answer {
        #[expect(clippy::cast_possible_truncation, reason = "a tick, in milliseconds")]
        let tick = (self.tick.get() * 1000.0).round() as i64;
        self.last = Some(seen.at);
        let origin = *self.origin.get_or_insert(seen.at.saturating_sub(tick));
        let at = Timestamp(seen.at.saturating_sub(origin));
        if let Some(past) = self.past.take() {
            backfill(&self.policy, &mut self.state, &past.until(at.0));
        }
        self.percentile = seen.p99.map(|p99| (p99, at)).or(self.percentile);
        let latency = self.percentile.map_or(Reading::Missing(Absence::NoSeries), |(value, when)| {
            Reading::Fresh(Sample { value, age: Some(at.since(when)), coverage: Coverage::Share(Ratio::ONE) })
        });
        let mut foretold = forecasts.at(Timestamp(seen.at), self.foreseen());
        for point in &mut foretold {
            point.at = Timestamp(point.at.0.saturating_sub(origin));
        }
        let snapshot = Snapshot { at, latency, foretold, ..snapshot(seen, self.startup) };
        let decision = decide(&self.policy, &mut self.state, &snapshot);
        let to = if decision.verb == Verb::Hold { seen.replicas } else { decision.to };
        self.said(seen, to, decision.verb, because(&decision))
    }

    /// What is wrong with an observation that comes after a later one.
    fn is_late(&self, seen: &Observation) -> Option<Problem> {
        let last = self.last.filter(|last| seen.at <= *last)?;
        let (last, found) = (seconds(last), seconds(seen.at));
        let what =
            format!("expected more than {last}, when the last observation was, found {found}; answered by a Hold");
        Some(Problem::of("t", what))
    }

    /// The answer to what nothing can be learned from. Whoever asks waits for one.
    fn hold(&self, seen: &Observation) -> Answer {
        self.said(seen, seen.replicas, Verb::Hold, "the observation is not later than the last one".to_owned())
    }

    fn said(&self, seen: &Observation, to: Replicas, verb: Verb, because: String) -> Answer {
        let bounds = self.policy.replicas;
        Answer { replicas: to.clamp(bounds.min(), bounds.max()), t: seconds(seen.at), verb, because }
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53 ms")]
fn seconds(at: i64) -> f64 {
    at as f64 / 1000.0
}

impl Past {
    /// The rates with their moments: the last interval ended where what the first observation tells of began.
    fn until(&self, first: i64) -> Vec<(Timestamp, RequestsPerSecond)> {
        let known = |(rate, ago): (&Option<RequestsPerSecond>, u32)| {
            let before = self.tick.get() + self.interval.get() * f64::from(ago);
            #[expect(clippy::cast_possible_truncation, reason = "days, in milliseconds")]
            let at = first.saturating_sub((before * 1000.0).round() as i64);
            rate.map(|rate| (Timestamp(at), rate))
        };
        let mut past: Vec<_> = self.rates.iter().rev().zip(0..).filter_map(known).collect();
        past.reverse();
        past
    }
}

fn snapshot(seen: &Observation, startup: Seconds) -> Snapshot {
    Snapshot {
        at: Timestamp(seen.at),
        demand: reading(seen.rate),
        capacity: Reading::Missing(Absence::NotConfigured),
        latency: reading(seen.p99),
        utilization: reading(seen.utilization),
        foretold: Vec::new(),
        protected: BTreeMap::new(),
        fleet: Fleet {
            desired: seen.replicas,
            ready: seen.ready,
            starting: seen.replicas.minus(seen.ready.0),
            stuck: Replicas(0),
            startup: Some(startup),
            rolling_out: false,
        },
    }
}

/// What an observation tells is of the very moment, and complete.
fn reading<T>(value: Option<T>) -> Reading<T> {
    value.map_or(Reading::Missing(Absence::NoSeries), |value| {
        Reading::Fresh(Sample { value, age: Some(Seconds::ZERO), coverage: Coverage::Share(Ratio::ONE) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const CONFIG: &str = r#"{"type":"config","protocol":1,"interval_s":30,"tick_s":30,"mu":50,"slo_p99_s":0.2,"min":2,"max":60,"ramp":null,"startup_delay_s":0,"replicas":8,"history":[300,300]}"#;

    fn observe(t: i64, rate: f64, replicas: u32) -> String {
        format!(
            r#"{{"type":"observe","t":{t},"rate":{rate},"p99_s":0.08,"replicas":{replicas},"ready":{replicas},"cpu_util":0.75,"interval_end":true}}"#
        )
    }

    /// What is answered, and what is complained about.
    fn driven(lines: &[&str]) -> (Vec<Value>, String) {
        driven_with(&Forecasts::default(), lines)
    }

    fn driven_with(forecasts: &Forecasts, lines: &[&str]) -> (Vec<Value>, String) {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        drive(forecasts, Method::Priced, lines.join("\n").as_bytes(), &mut output, &mut errors).unwrap();
        let answers = String::from_utf8(output).unwrap();
        (answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), String::from_utf8(errors).unwrap())
    }

    #[test]
    fn each_observation_gets_one_answer_within_the_bounds() {
        let lines: Vec<String> = (1..=20).map(|turn| observe(30 * turn, 3000.0, 8)).collect();
        let lines: Vec<&str> = std::iter::once(CONFIG).chain(lines.iter().map(String::as_str)).collect();
        let (answers, errors) = driven(&lines);
        assert_eq!((answers.len(), errors.as_str()), (20, ""));
        assert_eq!(answers[0]["replicas"], 8, "the first look holds");
        assert!(answers[0]["because"].as_str().unwrap().contains("TT-R11"));
        assert_eq!((&answers[1]["verb"], &answers[19]["t"]), (&Value::from("ScaleOut"), &Value::from(600.0)));
        let most = answers.iter().map(|answer| answer["replicas"].as_u64().unwrap()).max();
        assert!(most > Some(8) && most <= Some(60), "{most:?}");
    }

    #[test]
    fn a_malformed_line_is_named_and_the_next_one_answered() {
        let wrong = observe(60, 300.0, 8).replace("300", "\"many\"");
        let (answers, errors) = driven(&[CONFIG, &observe(30, 300.0, 8), &wrong, "{oops", "", &observe(90, 300.0, 8)]);
        assert_eq!(answers.len(), 2);
        let errors: Vec<&str> = errors.lines().collect();
        assert_eq!(errors.len(), 2);
        assert!(errors[0].starts_with("error: line 3: field \"rate\": expected requests a second"), "{}", errors[0]);
        assert!(errors[1].starts_with("error: line 4: expected one JSON object"), "{}", errors[1]);
    }

    #[test]
    fn an_observation_that_is_not_after_the_last_one_is_named_held_and_learned_nothing_from() {
        let lines = |late: &[i64]| {
            let times = [30, 60, 90].iter().chain(late).chain(&[120, 150, 180]);
            let lines: Vec<String> =
                times.map(|t| observe(*t, if late.contains(t) { 9e6 } else { 340.0 }, 8)).collect();
            driven(&std::iter::once(CONFIG).chain(lines.iter().map(String::as_str)).collect::<Vec<_>>())
        };
        let (answers, errors) = lines(&[45, -5]);
        let expected = "field \"t\": expected more than 90, when the last observation was, found";
        assert_eq!(
            errors,
            format!(
                "error: line 5: {expected} 45; answered by a Hold\nerror: line 6: {expected} -5; answered by a Hold\n"
            )
        );
        assert_eq!((answers.len(), &answers[3]["replicas"], &answers[4]["verb"]), (8, &8.into(), &"Hold".into()));
        assert_eq!(answers[5..], lines(&[]).0[3..]);
    }

    #[test]
    fn an_observation_before_a_config_or_after_a_refused_one_gets_none() {
        let refused = CONFIG.replace("\"min\":2", "\"min\":99");
        let (answers, errors) = driven(&[&observe(30, 300.0, 8), CONFIG, &refused, &observe(60, 300.0, 8)]);
        assert_eq!(answers.len(), 0);
        assert_eq!(
            errors,
            "error: line 1: an observe before a valid config: send a line of type \"config\" first\n\
             error: line 3: field \"min\": 99 is above max, 60\n\
             error: line 4: an observe before a valid config: send a line of type \"config\" first\n"
        );
    }

    #[test]
    fn a_second_config_starts_anew_wherever_time_stands() {
        let run: Vec<String> = (1..=9).map(|turn| observe(30 * turn, 100.0 * turn as f64, 8)).collect();
        let later: Vec<String> =
            (1..=9).map(|turn| observe(1_800_000_000 + 30 * turn, 100.0 * turn as f64, 8)).collect();
        let lines: Vec<&str> = std::iter::once(CONFIG)
            .chain(run.iter().map(String::as_str))
            .chain([CONFIG])
            .chain(later.iter().map(String::as_str))
            .chain([r#"{"type":"end"}"#, "never read"])
            .collect();
        let (answers, errors) = driven(&lines);
        assert_eq!(errors, "");
        let sizes: Vec<&Value> = answers.iter().map(|answer| &answer["replicas"]).collect();
        assert_eq!(sizes[..9], sizes[9..]);
    }

    #[test]
    fn a_forecast_is_on_the_clock_of_the_observations() {
        // A course that nothing announces: its forecaster alone knows the jump, and has been right for an hour.
        let rate = |turn: i64| if turn < 120 { 300 + 40 * ((turn * 7) % 5) } else { 1500 };
        let begins = 1_800_000_000;
        let rows: Vec<String> = (0..200).map(|turn| format!("{},{}\n", begins + 30 * turn, rate(turn + 1))).collect();
        let forecasts = Forecasts::read(format!("t_seconds,rate\n{}", rows.concat()).as_bytes()).unwrap();
        let config = CONFIG.replace("\"startup_delay_s\":0", "\"startup_delay_s\":60").replace("[300,300]", "[]");
        let lines: Vec<String> = (1..=117).map(|turn| observe(begins + 30 * turn, rate(turn) as f64, 12)).collect();
        let lines: Vec<&str> = std::iter::once(config.as_str()).chain(lines.iter().map(String::as_str)).collect();
        let last =
            |forecasts: &Forecasts| driven_with(forecasts, &lines).0.last().unwrap()["replicas"].as_u64().unwrap();
        let (with, without) = (last(&forecasts), last(&Forecasts::default()));
        assert!(with > without + 3, "{with} replicas with the forecast, {without} without");
    }

    #[test]
    fn the_past_ends_where_the_first_observation_begins() {
        let rates = [Some(10), None, Some(30)].map(|rate| rate.map(RequestsPerSecond::whole));
        let past = Past { rates: rates.into(), interval: Seconds::whole(30), tick: Seconds::whole(5) };
        let expected = [(Timestamp(40_000), 10), (Timestamp(100_000), 30)];
        assert_eq!(past.until(105_000), expected.map(|(at, rate)| (at, RequestsPerSecond::whole(rate))));
    }
}

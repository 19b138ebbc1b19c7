//! The lines of the protocol, read field by field, so that whatever is wrong with a line is said at once.

use serde_json::{Map, Value};
use std::fmt;
use trimtab_core::policy::Bounds;
use trimtab_core::unit::{Ratio, Replicas, RequestsPerSecond, Seconds};

/// No service of one queue sees more requests a second: a rate above is a count, or another unit.
const MOST_RATE: f64 = 1e7;
/// No workload has more replicas; the queueing model's cost grows with them.
const MOST_REPLICAS: u32 = 100_000;
/// A day: a start-up, an interval or an objective that is longer is another unit.
const LONGEST: f64 = 86_400.0;
/// Seconds to the year 287396 in either direction, below which milliseconds lose nothing in a double.
const FARTHEST: f64 = 9e12;
/// Characters of a value that a message shows.
const LONGEST_SHOWN: usize = 40;
/// So many problems of a line are named; a history may have thousands.
const NAMED: usize = 20;

/// A line.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    /// Begins a run.
    Config(Box<Config>),
    /// Asks for a decision.
    Observe(Observation),
    /// Ends everything.
    End,
}

/// What a run is about.
#[derive(Debug, PartialEq)]
pub(super) struct Config {
    /// What is graded.
    pub(super) interval: Seconds,
    /// From one observation to the next.
    pub(super) tick: Seconds,
    /// Requests a second that one replica serves.
    pub(super) capacity: RequestsPerSecond,
    /// The 99th percentile that is promised.
    pub(super) target: Seconds,
    /// Least and most replicas.
    pub(super) bounds: Bounds,
    /// The net change of replicas within any half-minute; `None` is unlimited.
    pub(super) ramp: Option<u32>,
    /// From ordering a replica to its serving.
    pub(super) startup: Seconds,
    /// Past rates, one for each interval, oldest first; `None` was not measured.
    pub(super) history: Vec<Option<RequestsPerSecond>>,
}

/// What is seen at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Observation {
    /// The moment, in milliseconds from wherever the other side begins to count.
    pub(super) at: i64,
    /// Requests that arrived a second since the last observation.
    pub(super) rate: Option<RequestsPerSecond>,
    /// 99th percentile of the requests that ended in the interval.
    pub(super) p99: Option<Seconds>,
    /// Replicas that were ordered, starting ones too.
    pub(super) replicas: Replicas,
    /// Replicas that serve.
    pub(super) ready: Replicas,
    /// Share of the time since the last observation that ready replicas were busy.
    pub(super) utilization: Option<Ratio>,
}

/// What is wrong with a line.
#[derive(Debug, PartialEq)]
pub(super) struct Problem {
    /// The field; `None` where it is the line as such.
    field: Option<String>,
    /// What was expected and what was found, or why it cannot be.
    what: String,
}

impl Problem {
    pub(super) fn of_line(what: impl Into<String>) -> Self {
        Self { field: None, what: what.into() }
    }

    pub(super) fn of(field: &str, what: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "field \"{field}\": {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// All that is wrong with a line.
#[derive(Debug, PartialEq)]
pub(super) struct Malformed {
    /// Whether it was to begin a run: what observations mean is not known then.
    pub(super) config: bool,
    /// At least one.
    pub(super) problems: Vec<Problem>,
}

/// Reads one line.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn read(line: &[u8]) -> Result<Message, Malformed> {
    let no_object = |what: String| {
        let problem = Problem::of_line(format!("expected one JSON object{what}"));
        Malformed { config: false, problems: vec![problem] }
    };
    let value: Value = serde_json::from_slice(line).map_err(|error| match value_at(line, error.column()) {
        Some((field, found)) => {
            let what = format!("expected a value of JSON, found {found}: {}", without_line(&error));
            Malformed { config: begins_a_run(line), problems: vec![Problem::of(&field, what)] }
        }
        None => Malformed { config: begins_a_run(line), ..no_object(format!(": {}", without_line(&error))) },
    })?;
    let Value::Object(object) = value else {
        return Err(no_object(format!(", found {}", shown(&value))));
    };
    let mut fields = Fields { object: &object, problems: Vec::new(), more: 0 };
    let kind = object.get("type").and_then(Value::as_str);
    let message = match kind {
        Some("config") => fields.config().map(|config| Message::Config(Box::new(config))),
        Some("observe") => fields.observation().map(Message::Observe),
        Some("end") => Some(Message::End),
        _ => {
            fields.wrong("type", "\"config\", \"observe\" or \"end\"");
            None
        }
    };
    match message {
        Some(message) if fields.problems.is_empty() => Ok(message),
        _ => Err(Malformed { config: kind == Some("config"), problems: fields.all_problems() }),
    }
}

/// The parser counts lines within what it was given, which is always one.
fn without_line(error: &serde_json::Error) -> String {
    let said = error.to_string();
    said.split_once(" at line ")
        .map_or_else(|| said.clone(), |(what, _)| format!("{what} at column {}", error.column()))
}

/// Whether a line that cannot be read was meant to begin a run.
fn begins_a_run(line: &[u8]) -> bool {
    let dense: Vec<u8> = line.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let kind = br#""type":"config""#;
    dense.windows(kind.len()).any(|part| part == kind)
}

/// The field in whose value a column stands, and how that value begins: some writers say NaN or Infinity, which JSON does not know.
fn value_at(line: &[u8], column: usize) -> Option<(String, String)> {
    let (mut depth, mut in_text, mut escaped) = (0_u32, false, false);
    let (mut text, mut field, mut begins) = (Vec::new(), None, 0);
    for (place, byte) in line.iter().copied().enumerate().take(column.saturating_sub(1)) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => {
                in_text = !in_text;
                if in_text {
                    text.clear();
                }
            }
            other if in_text => text.push(other),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b':' if depth == 1 => (field, begins) = (Some(beginning(&String::from_utf8_lossy(&text))), place + 1),
            b',' if depth == 1 => field = None,
            _ => {}
        }
    }
    let value = String::from_utf8_lossy(line.get(begins..)?);
    let value = value.trim_start();
    let ends = value.find([',', '}']).unwrap_or(value.len());
    let found = beginning(value.get(..ends)?.trim());
    field.filter(|_| !in_text && !found.is_empty()).map(|field| (field, found))
}

/// A value as a message shows it: short, however long it is.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
        value => beginning(&value.to_string()),
    }
}

fn beginning(text: &str) -> String {
    if text.chars().count() <= LONGEST_SHOWN {
        return text.to_owned();
    }
    text.chars().take(LONGEST_SHOWN - 1).chain(['…']).collect()
}

struct Fields<'a> {
    object: &'a Map<String, Value>,
    problems: Vec<Problem>,
    more: usize,
}

impl Fields<'_> {
    fn add(&mut self, problem: Problem) {
        if self.problems.len() < NAMED {
            self.problems.push(problem);
        } else {
            self.more += 1;
        }
    }

    fn all_problems(mut self) -> Vec<Problem> {
        if self.more > 0 {
            self.problems.push(Problem::of_line(format!("and {} more problems", self.more)));
        }
        self.problems
    }

    /// The field is not what was expected.
    fn wrong(&mut self, field: &str, expected: &str) {
        let found = self.object.get(field).map_or_else(|| "nothing".to_owned(), shown);
        self.add(Problem::of(field, format!("expected {expected}, found {found}")));
    }

    /// A field that is null or absent; the protocol knows no difference.
    fn absent(&self, field: &str) -> bool {
        self.object.get(field).is_none_or(Value::is_null)
    }

    fn number(&mut self, field: &str, expected: &str, sane: impl Fn(f64) -> bool) -> Option<f64> {
        let number = self.object.get(field).and_then(Value::as_f64).filter(|number| sane(*number));
        if number.is_none() {
            self.wrong(field, expected);
        }
        number
    }

    /// A whole number; some writers know no integers, and say 4.0.
    fn count(&mut self, field: &str, least: u32, expected: &str) -> Option<u32> {
        let sane =
            |number: f64| number.fract() == 0.0 && number >= f64::from(least) && number <= f64::from(MOST_REPLICAS);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number in range")]
        self.number(field, expected, sane).map(|number| number as u32)
    }

    fn span(&mut self, field: &str) -> Option<Seconds> {
        let sane = |span: f64| span > 0.0 && span <= LONGEST;
        self.number(field, "seconds, above 0 and at most 86400", sane).and_then(Seconds::new)
    }

    fn config(&mut self) -> Option<Config> {
        if !self.absent("protocol") {
            self.number("protocol", "1", |protocol| protocol.to_bits() == 1_f64.to_bits());
        }
        let interval = self.span("interval_s");
        let tick = if self.absent("tick_s") { interval } else { self.span("tick_s") };
        if let (Some(interval), Some(tick)) = (interval, tick)
            && tick > interval
        {
            let what = format!("{} s is longer than interval_s, {} s", tick.get(), interval.get());
            self.add(Problem::of("tick_s", what));
        }
        let sane = |rate: f64| rate > 0.0 && rate <= MOST_RATE;
        let capacity = self.number("mu", "requests a second that one replica serves, above 0 and at most 1e7", sane);
        let target = self.span("slo_p99_s");
        if let (Some(capacity), Some(target)) = (capacity, target)
            && target.get() < 1.0 / capacity
        {
            let service = 1.0 / capacity;
            let what = format!(
                "{} s is below the mean service time, {service} s (1/mu): no number of replicas can keep it",
                target.get()
            );
            self.add(Problem::of("slo_p99_s", what));
        }
        let bounds = self.bounds();
        let ramp = if self.absent("ramp") {
            Some(None)
        } else {
            self.count("ramp", 1, "a whole number of at least 1, or null for no limit").map(Some)
        };
        let startup = if self.absent("startup_delay_s") {
            Some(Seconds::ZERO)
        } else {
            let sane = |span: f64| (0.0..=LONGEST).contains(&span);
            self.number("startup_delay_s", "seconds, from 0 to 86400", sane).and_then(Seconds::new)
        };
        if !self.absent("replicas") {
            self.count("replicas", 0, "a whole number from 0 to 100000");
        }
        let history = self.history();
        Some(Config {
            interval: interval?,
            tick: tick?,
            capacity: RequestsPerSecond::new(capacity?)?,
            target: target?,
            bounds: bounds?,
            ramp: ramp?,
            startup: startup?,
            history: history?,
        })
    }

    fn bounds(&mut self) -> Option<Bounds> {
        let expected = "a whole number of replicas from 1 to 100000";
        let (min, max) = (self.count("min", 1, expected), self.count("max", 1, expected));
        let (min, max) = (min?, max?);
        let bounds = Bounds::new(Replicas(min), Replicas(max));
        if bounds.is_none() {
            self.add(Problem::of("min", format!("{min} is above max, {max}")));
        }
        bounds
    }

    fn history(&mut self) -> Option<Vec<Option<RequestsPerSecond>>> {
        if self.absent("history") {
            return Some(Vec::new());
        }
        let object = self.object;
        let Some(rates) = object.get("history").and_then(Value::as_array) else {
            self.wrong("history", "an array of past rates, one for each interval");
            return None;
        };
        let mut history = Vec::with_capacity(rates.len());
        for (number, rate) in rates.iter().enumerate() {
            let known = rate.as_f64().filter(|rate| (0.0..=MOST_RATE).contains(rate)).and_then(RequestsPerSecond::new);
            if known.is_none() && !rate.is_null() {
                let what = format!("expected a rate from 0 to 1e7, or null for a gap, found {}", shown(rate));
                self.add(Problem::of(&format!("history[{number}]"), what));
            }
            history.push(known);
        }
        Some(history)
    }

    fn observation(&mut self) -> Option<Observation> {
        let at = self.number("t", "seconds, from -9e12 to 9e12", |t| t.abs() <= FARTHEST);
        let rate = self.reading("rate", "requests a second from 0 to 1e7, or null for a gap", MOST_RATE);
        let p99 = self.optional("p99_s", "seconds, from 0 to 86400, or null", LONGEST);
        let replicas = self.count("replicas", 0, "a whole number from 0 to 100000");
        let ready = if self.absent("ready") {
            replicas
        } else {
            self.count("ready", 0, "a whole number from 0 to 100000, or null where all are")
        };
        // More than 1 is seen where replicas that leave are still busy.
        let utilization = self.optional("cpu_util", "a share from 0 to 1000, or null", 1000.0);
        if !self.absent("interval_end") && !self.object.get("interval_end").is_some_and(Value::is_boolean) {
            self.wrong("interval_end", "true or false");
        }
        #[expect(clippy::cast_possible_truncation, reason = "in range, and meant to be whole milliseconds")]
        let at = (at? * 1000.0).round() as i64;
        Some(Observation {
            at,
            rate: rate.and_then(RequestsPerSecond::new),
            p99: p99.and_then(Seconds::new),
            replicas: Replicas(replicas?),
            ready: Replicas(ready?),
            utilization: utilization.and_then(Ratio::new),
        })
    }

    /// A number, or null where it was not measured.
    fn reading(&mut self, field: &str, expected: &str, most: f64) -> Option<f64> {
        match self.object.get(field) {
            Some(Value::Null) => None,
            _ => self.number(field, expected, |number| (0.0..=most).contains(&number)),
        }
    }

    /// The same of a field that may be left out.
    fn optional(&mut self, field: &str, expected: &str, most: f64) -> Option<f64> {
        if self.object.contains_key(field) { self.reading(field, expected, most) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"type":"config","protocol":1,"interval_s":30,"tick_s":5,"mu":50,"slo_p99_s":0.2,"min":1,"max":60,
        "ramp":4,"startup_delay_s":0,"replicas":8,"history":[301.5,null,299]}"#;

    /// A line in which some fields are replaced, and what is said of it.
    fn said(line: &str, replaced: &[(&str, Value)]) -> Vec<String> {
        let mut object: Map<String, Value> = serde_json::from_str(line).unwrap();
        object.extend(replaced.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let problems = read(Value::Object(object).to_string().as_bytes()).unwrap_err().problems;
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_lines_of_the_protocol_are_read() {
        let Message::Config(config) = read(CONFIG.as_bytes()).unwrap() else { panic!("a config") };
        assert_eq!((config.interval, config.tick, config.ramp), (Seconds::whole(30), Seconds::whole(5), Some(4)));
        assert_eq!(config.history.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
        let line = r#"{"type":"observe","t":1e3,"rate":301.2,"p99_s":null,"replicas":8.0,"ready":7,"cpu_util":0.75,
            "interval_end":false,"node":"new in a later protocol"}"#;
        let Message::Observe(seen) = read(line.as_bytes()).unwrap() else { panic!("an observation") };
        assert_eq!((seen.at, seen.p99, seen.replicas, seen.ready), (1_000_000, None, Replicas(8), Replicas(7)));
        assert_eq!(read(br#"{"type":"end"}"#), Ok(Message::End));
    }

    #[test]
    fn a_config_that_cannot_be_is_refused_with_every_reason() {
        let replaced = [
            ("min", 9.into()),
            ("max", 3.into()),
            ("tick_s", 60.into()),
            ("slo_p99_s", 0.01.into()),
            ("ramp", 0.into()),
            ("startup_delay_s", (-1).into()),
            ("history", serde_json::json!([1, -2, "three"])),
        ];
        assert_eq!(
            said(CONFIG, &replaced),
            [
                "field \"tick_s\": 60 s is longer than interval_s, 30 s",
                "field \"slo_p99_s\": 0.01 s is below the mean service time, 0.02 s (1/mu): no number of replicas can keep it",
                "field \"min\": 9 is above max, 3",
                "field \"ramp\": expected a whole number of at least 1, or null for no limit, found 0",
                "field \"startup_delay_s\": expected seconds, from 0 to 86400, found -1",
                "field \"history[1]\": expected a rate from 0 to 1e7, or null for a gap, found -2",
                "field \"history[2]\": expected a rate from 0 to 1e7, or null for a gap, found \"three\"",
            ]
        );
    }

    #[test]
    fn a_line_that_is_none_says_what_was_expected() {
        let one = |line: &str| read(line.as_bytes()).unwrap_err().problems[0].to_string();
        assert!(one("{\"type\":").starts_with("expected one JSON object: EOF"), "{}", one("{\"type\":"));
        assert!(one("[]").ends_with("found an array of 0"));
        assert_eq!(one("{\"kind\":1}"), "field \"type\": expected \"config\", \"observe\" or \"end\", found nothing");
        assert!(one("{\"type\":\"observe\",\"t\"").starts_with("expected one JSON object: EOF"));
        for (value, why) in [
            ("NaN", "expected value"),
            ("-Infinity", "invalid number"),
            ("1e999", "number out of range"),
            ("[1,", "EOF"),
        ] {
            let said = one(&format!(r#"{{"type":"observe","t":1,"p99_s": {value},"replicas":1}}"#));
            let found = value.trim_end_matches(',');
            let expected = format!("field \"p99_s\": expected a value of JSON, found {found}: {why}");
            assert!(value == "[1," || said.starts_with(&expected), "{said}");
        }
        let history = r#"{"type":"config","mu":50,"history":[300,{"a":1},NaN],"min":1}"#;
        let malformed = read(history.as_bytes()).unwrap_err();
        assert!(malformed.config, "what follows is not about the run before");
        assert!(malformed.problems[0].to_string().starts_with("field \"history\": "), "{malformed:?}");
    }

    #[test]
    fn a_thousand_problems_are_counted_rather_than_named() {
        let problems = said(CONFIG, &[("history", vec![-1; 1_000].into())]);
        assert_eq!(problems.len(), NAMED + 1);
        assert_eq!(problems.last().unwrap(), "and 980 more problems");
    }
}

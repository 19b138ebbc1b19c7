//! What can be told of a `PromQL` expression without asking the server.
//!
//! Three things: whether it may be put into a larger query without getting out of its parentheses, what kind of
//! value it has, and which series it reads now (so that coverage and age can be asked for). The parser may know
//! less than the server, so an expression that it cannot read is asked all the same: its errors are warnings.

use super::answer::shorten;
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{self, Expr, VectorSelector};
use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

/// Longer expressions are not parsed here: parsing and walking recurse, and this bounds the stack. The longest in
/// the collections of alerting rules that people share have about 2,000 bytes.
const MAX_PARSED_BYTES: usize = 8 * 1024;

/// Deeper nesting is not parsed here, for the same reason.
const MAX_PARSED_DEPTH: u32 = 64;

/// The sum of the counts in regular expressions (`x{5}`) beyond which nothing is parsed here: the parser compiles
/// what it reads, and 8 KiB of nested counts would take hundreds of megabytes. Names of pods need about 20.
const MAX_PARSED_COUNTS: u32 = 256;

/// Characters of the parser's message that are passed on.
const MAX_MESSAGE: usize = 200;

/// Larger numbers are not parsed here: the parser panics where one that no `Duration` holds stands for seconds.
const MAX_PARSED_NUMBER: f64 = 1e15;

/// An expression that reads more selectors than this gets no coverage and age: the question would be longer than
/// what it is about.
const MAX_SELECTORS: usize = 8;

/// Samples a window must hold for `rate()` to survive a missed scrape: two are the least, and a window of four
/// intervals still holds three of them.
const SCRAPES_PER_WINDOW: u32 = 4;

/// A place in an expression, both counted from 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// Something about an expression that will probably not work as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where, if it can be told.
    pub at: Option<Position>,
    /// What is wrong and what to do.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(Position { line, column }) => write!(f, "line {line}, column {column}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Vector,
    Scalar,
    Text,
    Range,
    /// The parser here could not read it; the server may.
    Unread,
}

/// What is known of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Anatomy {
    pub(super) kind: Kind,
    /// Brackets, texts and comments are balanced: it cannot get out of parentheses around it.
    pub(super) contained: bool,
    /// The selectors of what it reads at the time of evaluation, as sets of matchers (`__name__="x",job="y"`),
    /// sorted, each once. Empty where there are none or they are not known.
    pub(super) selectors: Vec<String>,
}

/// Takes an expression apart. Total.
pub(super) fn read(promql: &str) -> Anatomy {
    let scanned = scan(promql);
    match parse(promql, &scanned) {
        Some(Ok(expression)) => Anatomy { kind: kind(&expression), contained: true, selectors: current(&expression) },
        Some(Err(_)) | None => Anatomy { kind: Kind::Unread, contained: scanned.is_ok(), selectors: Vec::new() },
    }
}

/// What will probably not work as meant, for whoever loads a policy. Never a reason to refuse it: the server knows
/// its language better than we do. `scrape_interval` where it is known.
#[must_use]
pub fn check(promql: &str, scrape_interval: Option<Duration>) -> Vec<Warning> {
    let scanned = scan(promql);
    let expression = match (&scanned, parse(promql, &scanned)) {
        (Err(warning), _) => return vec![warning.clone()],
        (Ok(_), None) => {
            return vec![unplaced(
                "too long, nested too deeply or with too large numbers to be checked here".to_owned(),
            )];
        }
        (Ok(_), Some(Err(message))) => {
            return vec![unplaced(format!("does not look like PromQL: {}", shorten(&message, MAX_MESSAGE)))];
        }
        (Ok(_), Some(Ok(expression))) => expression,
    };
    let mut warnings = Vec::new();
    match kind(&expression) {
        Kind::Range => {
            warnings.push(unplaced("gives a range of samples, expected one number: put it into rate(...)".to_owned()));
        }
        Kind::Text => warnings.push(unplaced("gives a text, expected one number".to_owned())),
        Kind::Vector | Kind::Scalar | Kind::Unread => {}
    }
    walk(&expression, &mut |part| {
        if let Some(text) = misuse(part, scrape_interval) {
            warnings.push(unplaced(text));
        }
    });
    warnings
}

fn unplaced(text: String) -> Warning {
    Warning { at: None, text }
}

/// What is wrong with this part by itself.
fn misuse(part: &Expr, scrape_interval: Option<Duration>) -> Option<String> {
    if let Expr::MatrixSelector(matrix) = part {
        let least = scrape_interval?.saturating_mul(SCRAPES_PER_WINDOW);
        return (matrix.range < least).then(|| {
            format!(
                "the window of {matrix} is shorter than {SCRAPES_PER_WINDOW} scrapes: one missed scrape leaves it empty; \
                 use at least [{}s]",
                least.as_secs_f64()
            )
        });
    }
    let Expr::Call(call) = part else { return None };
    let inner = call.args.args.first()?;
    let Expr::Subquery(subquery) = inner.as_ref() else { return None };
    let mut aggregated = false;
    walk(&subquery.expr, &mut |part| aggregated |= matches!(part, Expr::Aggregate(_)));
    (matches!(call.func.name, "rate" | "increase" | "irate") && aggregated).then(|| {
        format!(
            "{}() of a sum takes the restart of one pod for a burst: aggregate last, as in sum(rate(...))",
            call.func.name
        )
    })
}

/// `None` where the expression is not balanced, or not safe to be parsed: a panic here would be the end of the
/// agent, and expressions come from every tenant.
fn parse(promql: &str, scanned: &Result<Scan, Warning>) -> Option<Result<Expr, String>> {
    let Scan { depth, code, texts } = scanned.as_ref().ok()?;
    let small = promql.len() <= MAX_PARSED_BYTES && *depth <= MAX_PARSED_DEPTH;
    let safe = small && numbers_are_small(code) && patterns_are_small(texts);
    safe.then(|| parser::parse(promql))
}

/// Whether all that may be read as a number is finite and small.
fn numbers_are_small(code: &str) -> bool {
    let part_of_one = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    let joined = code.replace("e+", "e").replace("E+", "E");
    joined.split(|c| !part_of_one(c)).all(|word| match word.replace('_', "").parse::<f64>() {
        Ok(number) => (0.0..=MAX_PARSED_NUMBER).contains(&number),
        Err(_) => true,
    })
}

/// Whether regular expressions in the texts stay small when they are compiled: few counts, and none of a group.
fn patterns_are_small(texts: &str) -> bool {
    let counts = texts.split('{').skip(1).map(|after| {
        let numbers = after.split('}').next().unwrap_or_default().split(',');
        numbers.filter_map(|number| number.parse::<u32>().ok()).fold(0, u32::saturating_add)
    });
    counts.fold(0, u32::saturating_add) <= MAX_PARSED_COUNTS && !texts.contains("){")
}

fn kind(expression: &Expr) -> Kind {
    match expression.value_type() {
        ValueType::Vector => Kind::Vector,
        ValueType::Scalar => Kind::Scalar,
        ValueType::Matrix => Kind::Range,
        ValueType::String => Kind::Text,
    }
}

/// Visits an expression and all its parts.
fn walk(expression: &Expr, visit: &mut dyn FnMut(&Expr)) {
    visit(expression);
    match expression {
        Expr::Aggregate(aggregate) => {
            walk(&aggregate.expr, visit);
            if let Some(parameter) = &aggregate.param {
                walk(parameter, visit);
            }
        }
        Expr::Unary(unary) => walk(&unary.expr, visit),
        Expr::Binary(binary) => {
            walk(&binary.lhs, visit);
            walk(&binary.rhs, visit);
        }
        Expr::Paren(paren) => walk(&paren.expr, visit),
        Expr::Subquery(subquery) => walk(&subquery.expr, visit),
        Expr::Call(call) => call.args.args.iter().for_each(|argument| walk(argument, visit)),
        Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_) => {}
    }
}

/// The selectors that look at the present. One with `offset` or `@` tells nothing about which targets live now.
fn current(expression: &Expr) -> Vec<String> {
    let mut selectors = BTreeSet::new();
    let mut readable = true;
    walk(expression, &mut |part| {
        let selector = match part {
            Expr::VectorSelector(selector) => selector,
            Expr::MatrixSelector(matrix) => &matrix.vs,
            Expr::Subquery(subquery) => {
                readable &= subquery.offset.is_none() && subquery.at.is_none();
                return;
            }
            Expr::Aggregate(_)
            | Expr::Unary(_)
            | Expr::Binary(_)
            | Expr::Paren(_)
            | Expr::NumberLiteral(_)
            | Expr::StringLiteral(_)
            | Expr::Call(_)
            | Expr::Extension(_) => return,
        };
        if selector.offset.is_none() && selector.at.is_none() {
            readable &= selector.matchers.or_matchers.is_empty() && names_one_metric(selector);
            selectors.insert(matchers(selector));
        }
    });
    if readable && selectors.len() <= MAX_SELECTORS { selectors.into_iter().collect() } else { Vec::new() }
}

/// Whether the name of the metric is fixed: `timestamp()` drops it, and fails where series then become equal.
fn names_one_metric(selector: &VectorSelector) -> bool {
    let fixed = |matcher: &Matcher| matcher.name == "__name__" && matcher.op == MatchOp::Equal;
    selector.name.is_some() || selector.matchers.matchers.iter().any(fixed)
}

/// Writes a selector as a list of matchers to which others can be added.
fn matchers(selector: &VectorSelector) -> String {
    let mut text = String::new();
    if let Some(name) = &selector.name {
        matcher(&mut text, "__name__", "=", name);
    }
    for Matcher { op, name, value } in &selector.matchers.matchers {
        let operator = match op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Re(_) => "=~",
            MatchOp::NotRe(_) => "!~",
        };
        matcher(&mut text, name, operator, value);
    }
    text
}

fn matcher(text: &mut String, name: &str, operator: &str, value: &str) {
    let plain =
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit());
    if !text.is_empty() {
        text.push(',');
    }
    if plain {
        text.push_str(name);
    } else {
        quote(text, name);
    }
    text.push_str(operator);
    quote(text, value);
}

/// Writes a text as a literal of `PromQL`, which has the escapes of Go.
fn quote(text: &mut String, raw: &str) {
    text.push('"');
    for c in raw.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            c if c.is_control() => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

/// A balanced expression.
struct Scan {
    /// How deep its brackets go.
    depth: u32,
    /// What is neither in a text nor a comment.
    code: String,
    /// The contents of its texts.
    texts: String,
}

/// Checks that brackets, texts and comments close where they should. Whoever passes this cannot close a bracket that
/// is not theirs, so one tenant's expression cannot answer for another's.
fn scan(promql: &str) -> Result<Scan, Warning> {
    let mut open: Vec<(char, Position)> = Vec::new();
    let mut depth = 0;
    let (mut code, mut texts) = (String::new(), String::new());
    let mut at = Position { line: 1, column: 0 };
    let mut characters = promql.chars();
    while let Some(c) = characters.next() {
        step(&mut at, c);
        code.push(c);
        match c {
            '#' => {
                // the server ends a comment at either of the two
                for c in characters.by_ref() {
                    step(&mut at, c);
                    if matches!(c, '\n' | '\r') {
                        break;
                    }
                }
            }
            '"' | '\'' | '`' => read_text(&mut characters, &mut at, c, &mut texts)?,
            '(' | '[' | '{' => {
                open.push((c, at));
                depth = depth.max(u32::try_from(open.len()).unwrap_or(u32::MAX));
            }
            ')' | ']' | '}' => {
                let opener = open.pop().map(|(opener, _)| opener);
                if !matches!((opener, c), (Some('('), ')') | (Some('['), ']') | (Some('{'), '}')) {
                    return Err(Warning { at: Some(at), text: format!("`{c}` closes nothing that is open") });
                }
            }
            _ => {}
        }
    }
    match open.pop() {
        Some((opener, at)) => Err(Warning { at: Some(at), text: format!("`{opener}` is never closed") }),
        None => Ok(Scan { depth, code, texts }),
    }
}

fn step(at: &mut Position, c: char) {
    if c == '\n' {
        *at = Position { line: at.line + 1, column: 0 };
    } else {
        at.column += 1;
    }
}

/// Takes the contents of a text literal that `quote` opened, and goes behind its end.
fn read_text(
    characters: &mut std::str::Chars<'_>,
    at: &mut Position,
    quote: char,
    texts: &mut String,
) -> Result<(), Warning> {
    let opened = *at;
    let raw = quote == '`';
    while let Some(c) = characters.next() {
        step(at, c);
        match c {
            c if c == quote => {
                // what ends one text and begins the next is not one pattern
                texts.push('\n');
                return Ok(());
            }
            '\n' if !raw => break,
            '\\' if !raw => {
                if let Some(escaped) = characters.next() {
                    step(at, escaped);
                    texts.push(escaped);
                }
            }
            c => texts.push(c),
        }
    }
    Err(Warning { at: Some(opened), text: format!("the text that {quote} opens here does not end on its line") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_selectors_of_the_present_are_found_wherever_they_stand() {
        let cases: [(&str, Kind, &[&str]); 11] = [
            ("sum({__name__=~\"a|b\"})", Kind::Vector, &[]),
            ("sum({__name__=\"a\",x=\"y\"})", Kind::Vector, &[r#"__name__="a",x="y""#]),
            (
                "sum(rate(http_requests_total{app=\"shop\"}[1m]))",
                Kind::Vector,
                &[r#"__name__="http_requests_total",app="shop""#],
            ),
            ("sum(a) / sum(b{x!~\"y|z\"})", Kind::Vector, &[r#"__name__="a""#, r#"__name__="b",x!~"y|z""#]),
            ("sum(a) + sum(a)", Kind::Vector, &[r#"__name__="a""#]),
            ("sum(a) - sum(a offset 1w)", Kind::Vector, &[r#"__name__="a""#]),
            ("quantile(scalar(q), v)", Kind::Vector, &[r#"__name__="q""#, r#"__name__="v""#]),
            (r#"{"foo.bar", "é"="\"\\"}"#, Kind::Vector, &[r#"__name__="foo.bar","é"="\"\\""#]),
            ("scalar(x) * 2", Kind::Scalar, &[r#"__name__="x""#]),
            ("max_over_time(x[1h:1m] offset 1d)", Kind::Vector, &[]),
            ("x[5m]", Kind::Range, &[r#"__name__="x""#]),
        ];
        for (promql, kind, selectors) in cases {
            let anatomy = read(promql);
            assert_eq!(
                (anatomy.kind, anatomy.selectors),
                (kind, selectors.iter().map(ToString::to_string).collect()),
                "{promql}"
            );
        }
    }

    #[test]
    fn an_expression_cannot_get_out_of_its_parentheses() {
        for promql in [
            "up)",
            "up) or (up",
            "(up]",
            "up{a=\"x}",
            "up # (\r) or (up",
            "up{a='\\'}",
            "vector(1), \"trimtab_q\", \"7\", \"\", \"\") or label_replace(vector(2)",
        ] {
            assert!(!read(promql).contained, "{promql:?}");
        }
        for promql in ["up", "up # )", "up{a=\")\"}", "up{a=')\\''}", "up{a=`)\\`}", "((up))", "# only (\nup"] {
            assert!(read(promql).contained, "{promql:?}");
        }
    }

    #[test]
    fn warnings_name_the_place_and_the_cure() {
        let check =
            |promql| check(promql, Some(Duration::from_secs(15))).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(check("sum(rate(x_total[1m]))").is_empty());
        assert_eq!(check("sum(\n  rate(x[1m])"), ["line 1, column 4: `(` is never closed"]);
        assert_eq!(check("sum(x))"), ["line 1, column 7: `)` closes nothing that is open"]);
        assert_eq!(check("sum(x{a=\"b})"), ["line 1, column 9: the text that \" opens here does not end on its line"]);
        assert!(check("sum(rate(x_total[30s]))")[0].contains("use at least [60s]"));
        assert!(check("rate(sum(x_total)[5m:])")[0].contains("aggregate last"));
        assert!(check("rate(sum(x_total))")[0].starts_with("does not look like PromQL"));
        assert!(check("x[5m]").iter().any(|warning| warning.contains("put it into rate")));
        assert!(check("\"x\"")[0].contains("a text"));
    }

    #[test]
    fn the_largest_expressions_that_are_parsed_fit_a_small_stack() {
        let chain = vec!["x"; MAX_PARSED_BYTES / 2].join("+");
        let minus = format!("{}x", "-".repeat(MAX_PARSED_BYTES - 1));
        let depth = usize::try_from(MAX_PARSED_DEPTH).unwrap();
        let nested = format!("{}x{}", "(".repeat(depth), ")".repeat(depth));
        let calls = format!("{}x{}", "abs(".repeat(depth), ")".repeat(depth));
        for promql in [chain, minus, nested, calls] {
            // what tokio gives to a worker
            let parsed =
                std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(move || read(&promql)).unwrap().join();
            assert_ne!(parsed.unwrap().kind, Kind::Unread);
        }
        assert_eq!(read(&"(".repeat(100_000)).kind, Kind::Unread);
        assert_eq!(read(&"1+".repeat(100_000)).kind, Kind::Unread);
    }

    #[test]
    fn numbers_at_which_the_parser_panics_are_kept_from_it() {
        for number in ["NaN", "nan", "Inf", "1e300", "1E+300", "1e+25", "99999999999999999999", "9999999999_9999999999"]
        {
            for promql in [
                format!("x offset {number}"),
                format!("x[{number}]"),
                format!("x[1h:{number}]"),
                format!("x @ {number}"),
            ] {
                assert_eq!(read(&promql).kind, Kind::Unread, "{promql}");
            }
        }
        assert_eq!(read("x{a=\"NaN\"} > 1e3 # Inf").kind, Kind::Vector);
    }

    #[test]
    fn patterns_that_grow_when_compiled_are_kept_from_the_parser() {
        for pattern in ["(x{99}){99}", "x{300}", "x{200}y{200,}", "(x|y){2}"] {
            assert_eq!(read(&format!("up{{pod=~\"{pattern}\"}}")).kind, Kind::Unread, "{pattern}");
        }
        assert_eq!(read("up{pod=~\"web-[a-z0-9]{8,10}-[a-z0-9]{5}\"}").kind, Kind::Vector);
        assert!(check(&format!("up{{pod=~\"{}\"}}", "(".repeat(5_000)), None)[0].text.len() < 1_000);
    }

    const WORDS: &[&str] = &[
        "sum",
        "rate",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "5m",
        ":",
        "@",
        "offset",
        "-",
        "+",
        "e",
        "^",
        "by",
        "on",
        "group_left",
        "x",
        "a:b",
        "'b\\x'",
        "'\\777'",
        "`c`",
        "=",
        "=~",
        "!~",
        ",",
        "0x1f",
        "1e999",
        "1e-5",
        "1_0",
        "Inf",
        "NaN",
        "start()",
        "bool",
        ">",
        "or",
        "topk",
        "quantile",
        "time()",
        "#c\n",
        "\\",
        "é",
        "99999999999y",
        "1y1ms",
        "0",
        "__name__",
        "\"(\"",
        "\"a{2,1}\"",
        ".5",
        "5.",
    ];

    proptest! {
        #[test]
        fn any_text_can_be_read_and_checked(promql in "[a-z(){}\\[\\]\"'`#\\\\\r\n=~!,:0-9 +\\-@]{0,60}") {
            let _ = read(&promql);
            let _ = check(&promql, Some(Duration::from_secs(15)));
        }

        #[test]
        fn any_words_of_the_language_can_be_read_and_checked(
            words in prop::collection::vec(prop::sample::select(WORDS), 0..12),
            between in prop::sample::select(&["", " "][..]),
        ) {
            let promql = words.join(between);
            let _ = read(&promql);
            let _ = check(&promql, Some(Duration::from_secs(15)));
        }

        #[test]
        fn what_is_contained_stays_contained(promql in "[a(){}\\[\\]\"'`#\\\\\r\n ]{0,12}") {
            if read(&promql).contained {
                let around = format!("(\n{promql}\n)");
                prop_assert!(read(&around).contained);
            }
        }
    }
}

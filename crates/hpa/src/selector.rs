//! Label selectors: the text form that a scale subresource carries (`labels.Parse`), and whether an object form is well formed
//! (`metav1.LabelSelectorAsSelector`).

use crate::object::LabelSelector;
use std::collections::BTreeMap;

/// What an object's labels must be like.
#[derive(Debug)]
pub(crate) struct Selector(Vec<Requirement>);

#[derive(Debug)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Equals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

impl Selector {
    /// Whether labels are as wanted.
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    fn checked(key: &str, operator: Operator, values: Vec<String>) -> Result<Self, String> {
        let enough = match operator {
            Operator::In | Operator::NotIn => !values.is_empty(),
            Operator::Exists | Operator::DoesNotExist => values.is_empty(),
            Operator::Equals | Operator::NotEquals => values.len() == 1,
            Operator::GreaterThan | Operator::LessThan => {
                values.len() == 1 && values.iter().all(|value| value.parse::<i64>().is_ok())
            }
        };
        if !enough {
            return Err(format!("the values {values:?} of {key} do not fit its operator"));
        }
        if !is_key(key) {
            return Err(format!("{key:?} is no label key"));
        }
        match values.iter().find(|value| !is_value(value)) {
            Some(wrong) => Err(format!("{wrong:?} is no label value")),
            None => Ok(Self { key: key.to_owned(), operator, values }),
        }
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            Operator::In | Operator::Equals => listed,
            Operator::NotIn | Operator::NotEquals => !listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.numbers(value).is_some_and(|(value, limit)| value > limit),
            Operator::LessThan => self.numbers(value).is_some_and(|(value, limit)| value < limit),
        }
    }

    fn numbers(&self, value: Option<&String>) -> Option<(i64, i64)> {
        Some((value?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

/// `[A-Za-z0-9]` at both ends, and `-`, `_`, `.` between; at most 63.
fn is_name(text: &str) -> bool {
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().all(inside) && end(bytes.first()) && end(bytes.last())
}

fn is_value(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

/// Lower-case labels of DNS with points between; at most 253.
fn is_subdomain(text: &str) -> bool {
    let part = |part: &str| {
        let end = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let bytes = part.as_bytes();
        let inside = |byte: &u8| end(Some(byte)) || *byte == b'-';
        bytes.iter().all(inside) && end(bytes.first()) && end(bytes.last())
    };
    text.len() <= 253 && text.split('.').all(part)
}

fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        None => is_name(text),
        Some((prefix, name)) => is_subdomain(prefix) && is_name(name),
    }
}

/// Whether upstream can make a selector of the object form.
pub(crate) fn check(selector: Option<&LabelSelector>) -> Result<(), String> {
    let Some(selector) = selector else { return Ok(()) };
    for (key, value) in &selector.match_labels {
        Requirement::checked(key, Operator::Equals, vec![value.clone()])?;
    }
    for expression in &selector.match_expressions {
        let operator = match expression.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => return Err(format!("{other:?} is no operator of a label selector")),
        };
        Requirement::checked(&expression.key, operator, expression.values.clone())?;
    }
    Ok(())
}

// === the text form ===

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Not,
    Equal,
    NotEqual,
    Greater,
    Less,
    Open,
    Close,
    Comma,
}

fn tokens(text: &str) -> Vec<Token> {
    const SPECIAL: &[char] = &['=', '!', '(', ')', ',', '<', '>'];
    const BLANK: &[char] = &[' ', '\t', '\r', '\n'];
    let mut tokens = Vec::new();
    // A zero byte ends the text, as the end does.
    let mut rest = text.split('\0').next().unwrap_or_default().trim_start_matches(BLANK);
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '=' => (Token::Equal, if rest.starts_with("==") { 2 } else { 1 }),
            '!' if rest.starts_with("!=") => (Token::NotEqual, 2),
            '!' => (Token::Not, 1),
            '>' => (Token::Greater, 1),
            '<' => (Token::Less, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            _ => {
                let ends = |character: char| SPECIAL.contains(&character) || BLANK.contains(&character);
                let length = rest.find(ends).unwrap_or(rest.len());
                (Token::Word(rest.split_at(length).0.to_owned()), length)
            }
        };
        tokens.push(token);
        rest = rest.split_at(length).1.trim_start_matches(BLANK);
    }
    tokens
}

/// A recursive descent over the tokens; the end is `None`.
struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

/// Reads the text form of a selector. No text selects everything.
pub(crate) fn parse(text: &str) -> Result<Selector, String> {
    let mut parser = Parser { tokens: tokens(text).into_iter().peekable() };
    let mut requirements = Vec::new();
    while parser.tokens.peek().is_some() {
        requirements.push(parser.requirement()?);
        match parser.tokens.next() {
            None => break,
            Some(Token::Comma) if matches!(parser.tokens.peek(), Some(Token::Word(_) | Token::Not)) => {}
            Some(Token::Comma) => return Err("expected a label key after ','".to_owned()),
            Some(other) => return Err(format!("found {other:?}, expected ',' or the end")),
        }
    }
    Ok(Selector(requirements))
}

impl Parser {
    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = self.tokens.next_if_eq(&Token::Not).is_some();
        let Some(Token::Word(key)) = self.tokens.next() else { return Err("expected a label key".to_owned()) };
        if negated {
            return Requirement::checked(&key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.tokens.peek(), None | Some(Token::Comma)) {
            return Requirement::checked(&key, Operator::Exists, Vec::new());
        }
        let operator = match self.tokens.next() {
            Some(Token::Equal) => Operator::Equals,
            Some(Token::NotEqual) => Operator::NotEquals,
            Some(Token::Greater) => Operator::GreaterThan,
            Some(Token::Less) => Operator::LessThan,
            Some(Token::Word(word)) if word == "in" => Operator::In,
            Some(Token::Word(word)) if word == "notin" => Operator::NotIn,
            other => return Err(format!("found {other:?}, expected an operator behind {key}")),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.value()?],
        };
        Requirement::checked(&key, operator, values)
    }

    fn value(&mut self) -> Result<String, String> {
        match self.tokens.peek() {
            None | Some(Token::Comma) => Ok(String::new()),
            Some(_) => match self.tokens.next() {
                Some(Token::Word(value)) => Ok(value),
                other => Err(format!("found {other:?}, expected a value")),
            },
        }
    }

    /// `(a,b)`; what stands empty between commas is the empty value.
    fn values(&mut self) -> Result<Vec<String>, String> {
        if self.tokens.next() != Some(Token::Open) {
            return Err("expected '('".to_owned());
        }
        let mut values = Vec::new();
        loop {
            let value = match self.tokens.peek() {
                Some(Token::Word(_)) => self.value()?,
                _ => String::new(),
            };
            values.push(value);
            match self.tokens.next() {
                Some(Token::Comma) => {}
                Some(Token::Close) => return Ok(values),
                other => return Err(format!("found {other:?}, expected ',' or ')'")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        parse(selector).unwrap_or_else(|error| panic!("{selector}: {error}")).matches(&labels)
    }

    #[test]
    fn a_selector_selects_as_upstreams_does() {
        let labels = [("app", "web"), ("tier", "5"), ("in", "in"), ("empty", "")];
        for yes in [
            "app=web",
            "app == web",
            "app in (api, web)",
            "other notin (x)",
            "other!=x",
            "app,!other",
            "tier>4",
            "tier<6",
        ] {
            assert!(selects(yes, &labels), "{yes}");
        }
        for yes in ["in in (in)", "empty in ()", "empty in (,x)", "empty=", "empty in (x,,y)", "tier in (5)"] {
            assert!(selects(yes, &labels), "{yes}");
        }
        for no in ["app=api", "app notin (web)", "!app", "tier>5", "app>4", "other in (x)", "other>1"] {
            assert!(!selects(no, &labels), "{no}");
        }
    }

    #[test]
    fn a_selector_that_upstream_refuses_is_refused() {
        for wrong in [
            ",",
            "app=web,",
            "app in web",
            "app in (web",
            "a b",
            "!app=web",
            "=x",
            "app=we b",
            "app===x",
            "-x=y",
            "A.b/c/d=e",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for wrong in ["app>x", "x/=y", "App.example/x=y/", "app=!x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("app=(").is_err());
    }
}

//! YAML with the place of every value, so that each problem can name its line.
//!
//! A document is first read as it is and then walked: a typed reading would end at its first mistake, and people
//! mend files faster when they hear all of it at once. What aliases and nesting may cost is bounded before it is spent.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, NonFiniteFloatPolicy, Options, Spanned};
use std::collections::BTreeMap;
use std::fmt;

/// A policy needs six levels. Each costs 40 KiB of stack in a debug build, and a thread has 2 MiB: more would end the process.
const DEEPEST: usize = 12;
/// Values with all aliases written out; a thousand workloads have 20 each.
const MOST_VALUES: usize = 50_000;

/// A place in a document; line and column count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
    /// How many characters from there it is about; 0 where that is not known.
    pub width: u32,
}

impl Place {
    /// Where something stands.
    pub(super) fn of<T>(spanned: &Spanned<T>) -> Self {
        Self::at(&spanned.referenced)
    }

    /// Where a document begins.
    pub(super) const START: Self = Self { line: 1, column: 1, width: 0 };

    fn at(location: &serde_saphyr::Location) -> Self {
        let number = |raw: u64| u32::try_from(raw).unwrap_or(u32::MAX);
        Self {
            line: number(location.line()).max(1),
            column: number(location.column()).max(1),
            width: number(location.span().len()),
        }
    }
}

/// The values of a document, or the one place where it stops being YAML: what is wrong there, and what to do.
pub(super) fn read(text: &str) -> Result<At<Node>, (Place, &'static str, String, String)> {
    // The words of YAML 1.1 (`y`, `on`, `off`) are text, as in JSON and in Kubernetes' own YAML; NaN is refused where it stands.
    let options: Options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEEPEST, flow_nesting_limit: DEEPEST, max_nodes: MOST_VALUES },
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map_or(Place::START, |location| Place::at(&location));
        let (code, what, cure) = explain(text, place, error.without_snippet());
        (place, code, what, cure)
    })
}

/// The YAML library speaks to programmers; this is the same for who wrote the document.
fn explain(text: &str, place: Place, error: &Error) -> (&'static str, String, String) {
    const TOO_DEEP: &str = "the document is nested too deeply";
    const LEVELS: &str = "a policy needs six levels, and no more than 12 are read";
    const TOO_MUCH: &str = "the document holds too many values, all aliases written out";
    let said = |code, what: &str, cure: &str| (code, what.to_owned(), cure.to_owned());
    match error {
        Error::MultipleDocuments { .. } => {
            said("TT-C01", "a second YAML document begins here", "one document only: put this one in a file of its own")
        }
        Error::DuplicateMappingKey { key, .. } => {
            let what =
                key.as_ref().map_or("a field is given twice".to_owned(), |key| format!("`{key}` is given twice"));
            ("TT-C14", what, "keep one of the two".to_owned())
        }
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => said("TT-C01", TOO_DEEP, LEVELS),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => {
            said("TT-C01", TOO_MUCH, "use fewer aliases, or split the document")
        }
        Error::AliasError { error, .. } => explain(text, place, error),
        Error::Unexpected { expected: "string scalar", .. } if !braces_at(text, place) => {
            said("TT-C01", "a field's name must be plain text", "write it as `name: value`")
        }
        Error::UnknownAnchor { .. } => said("TT-C01", "this alias names no anchor", "define it earlier, as `&name`"),
        _ if braces_at(text, place) => {
            said("TT-C01", "`{{` is not YAML", "render the template first, or take one brace away")
        }
        other => {
            let message = other.to_string();
            let what = message.lines().find(|line| !line.trim().is_empty()).unwrap_or("unreadable").trim();
            // The place is shown already.
            let what = what.split_once(" at line ").map_or(what, |(what, _)| what).to_owned();
            let cure = if what.contains("tab") {
                "indent with spaces"
            } else {
                "not YAML from here on: look at the indentation, quotes and brackets here and in the line above"
            };
            // The parser has its own bound for brackets, and no variant for it.
            if what.contains("recursion limit") {
                return said("TT-C01", TOO_DEEP, LEVELS);
            }
            ("TT-C01", what, cure.to_owned())
        }
    }
}

/// Whether an unrendered template stands there.
fn braces_at(text: &str, place: Place) -> bool {
    let line = usize::try_from(place.line - 1).ok().and_then(|line| text.lines().nth(line)).unwrap_or_default();
    line.contains("{{")
}

/// The path of everything that has a place, such as `workloads[0].slo`: of a value its own, of a key its mapping's.
pub(super) fn paths(root: &At<Node>) -> BTreeMap<Place, String> {
    let mut paths = BTreeMap::new();
    collect(root, String::new(), &mut paths);
    paths
}

fn collect(node: &At<Node>, path: String, paths: &mut BTreeMap<Place, String>) {
    match &node.value {
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{path}[{index}]"), paths);
            }
        }
        Node::Map(entries) => {
            for (key, value) in entries {
                paths.entry(Place::of(key)).or_insert_with(|| path.clone());
                let dot = if path.is_empty() { "" } else { "." };
                // A key may be as long as the document, and is repeated in the path of all below it.
                let short: String = key.value.chars().take(32).collect();
                collect(value, format!("{path}{dot}{short}"), paths);
            }
        }
        Node::Null | Node::Bool | Node::Number(_) | Node::Text(_) => {}
    }
    paths.entry(Place::of(node)).or_insert(path);
}

/// A value and its place.
pub(super) type At<T> = Spanned<T>;

/// A YAML value.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Null,
    Bool,
    Number(f64),
    Text(String),
    List(Vec<At<Node>>),
    Map(Vec<(At<String>, At<Node>)>),
}

impl Node {
    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a YAML value")
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }
            fn visit_none<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
                Node::deserialize(deserializer)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Bool)
            }
            fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
                Ok(Node::Number(number as f64))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
                Ok(Node::Number(number as f64))
            }
            fn visit_i128<E>(self, number: i128) -> Result<Node, E> {
                Ok(Node::Number(number as f64))
            }
            fn visit_u128<E>(self, number: u128) -> Result<Node, E> {
                Ok(Node::Number(number as f64))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
                Ok(Node::Number(number))
            }
            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Node::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
                let mut map = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    map.push(entry);
                }
                Ok(Node::Map(map))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

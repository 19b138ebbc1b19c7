//! What is wrong with a document: where, what was expected, and what to do.
//!
//! A document may come from anyone who may write a `ConfigMap`, and what is said of it goes to logs and terminals:
//! nothing of it is repeated before what would act there (escape sequences, line breaks, direction marks) is taken out.

use super::node::Place;
use std::fmt::Write;

/// So many problems of one document are shown, the rest is counted: a small document can hold thousands.
const SHOWN: usize = 50;
/// Characters of a line that are shown; a `PromQL` expression may be longer.
const WIDTH: usize = 110;
/// What stays in sight before the place, where a line is too long to be shown from its beginning.
const BEFORE: usize = 60;

/// Something that is wrong, or (as a warning) probably not meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where in the document.
    pub place: Place,
    /// The same as a path, such as `workloads[0].slo`; empty at the top, and where the document could not be read.
    pub path: String,
    /// The stable code, such as `TT-C03`; each kind of mistake has its own.
    pub code: &'static str,
    /// What is wrong.
    pub what: String,
    /// What was expected, or what to do.
    pub cure: String,
    /// The word that was probably meant.
    pub meant: Option<String>,
}

/// The lines of a document as YAML counts them.
fn lines_of(text: &str) -> Vec<String> {
    // A byte order mark has no column.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.replace("\r\n", "\n").split(['\n', '\r']).map(str::to_owned).collect()
}

/// One problem with the line that it is about, as a compiler shows it.
fn render(document: &str, lines: &[String], level: &str, problem: &Problem) -> String {
    let Problem { place, path, code, what, cure, meant } = problem;
    let path = if path.is_empty() { String::new() } else { format!(" ({})", harmless(path)) };
    let mut out = format!("{level}[{code}]: {}\n  {document}:{}:{}{path}\n", harmless(what), place.line, place.column);
    let cure = harmless(cure);
    let number = |raw: u32| usize::try_from(raw).unwrap_or(usize::MAX);
    let line = lines.get(number(place.line) - 1).filter(|line| !line.trim().is_empty());
    // Writing to a String cannot fail.
    let _ = match line {
        Some(line) => {
            let column = number(place.column) - 1;
            let skipped = if column < WIDTH - 10 { 0 } else { column - BEFORE };
            let window = line.chars().skip(skipped).take(WIDTH);
            let shown: String = window.map(|letter| if acts(letter) { ' ' } else { letter }).collect();
            let length = shown.chars().count();
            let indent = (column - skipped).min(length);
            let carets = "^".repeat(number(place.width).clamp(1, (length - indent).max(1)));
            writeln!(out, "{:>4} | {shown}\n     | {}{carets} {cure}", place.line, " ".repeat(indent))
        }
        None => writeln!(out, "     = {cure}"),
    };
    if let Some(word) = meant {
        let _ = writeln!(out, "  did you mean `{}`?", harmless(word));
    }
    out
}

/// Warnings, each as it is shown.
pub(super) fn render_warnings(document: &str, text: &str, warnings: &[Problem]) -> Vec<String> {
    let lines = lines_of(text);
    let one = |warning| render(document, &lines, "warning", warning).trim_end().to_owned();
    warnings.iter().take(SHOWN).map(one).collect()
}

/// The problems of a document, one after the other, with their number.
pub(super) fn render_all(document: &str, text: &str, problems: &[Problem]) -> String {
    let lines = lines_of(text);
    let shown = problems.iter().take(SHOWN);
    let mut out: String = shown.map(|problem| render(document, &lines, "error", problem)).collect();
    let count = problems.len();
    let noun = if count == 1 { "problem" } else { "problems" };
    let first = if count > SHOWN { format!("; the first {SHOWN} are shown") } else { String::new() };
    let _ = write!(out, "{count} {noun} in {document}{first}; nothing of it was applied");
    out
}

/// A piece of a document as it is repeated in a message: short.
pub(super) fn excerpt(text: &str) -> String {
    /// Longer than any word that is meant.
    const LONGEST: usize = 64;
    if text.chars().nth(LONGEST).is_none() {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

/// The text with what would act on a terminal or a log written as an escape.
fn harmless(text: &str) -> String {
    text.chars().map(|letter| if acts(letter) { letter.escape_unicode().to_string() } else { letter.into() }).collect()
}

/// Control characters, and the format characters that reorder or hide text (Unicode Technical Report 36, 2.10).
fn acts(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The known word that is nearest to what was written, where one is near enough to be meant.
pub(super) fn nearest(written: &str, known: &[&'static str]) -> Option<&'static str> {
    let allowed = 1 + written.chars().count() / 3;
    known
        .iter()
        .map(|word| (distance(written, word), *word))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, word)| word)
}

/// Edit distance (Levenshtein 1966), bounded by the lengths of field names.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, letter) in b.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, own) in row.iter_mut().skip(1).zip(&a) {
            let new = (*cell + 1).min(left + 1).min(diagonal + usize::from(*own != letter));
            diagonal = *cell;
            *cell = new;
            left = new;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_its_word() {
        let known = ["target", "replicas", "demand", "stabilization"];
        assert_eq!(nearest("replcas", &known), Some("replicas"));
        assert_eq!(nearest("stabilisation", &known), Some("stabilization"));
        assert_eq!(nearest("cpu", &known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}

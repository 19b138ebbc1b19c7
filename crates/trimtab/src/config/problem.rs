//! What is wrong with a document: where, what was expected, and what to do.

use super::node::Place;
use std::fmt::Write;

/// Something that is wrong, or (as a warning) probably not meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where in the document.
    pub place: Place,
    /// The stable code, such as `TT-C03`; each kind of mistake has its own.
    pub code: &'static str,
    /// What is wrong.
    pub what: String,
    /// What was expected, or what to do.
    pub cure: String,
}

/// One problem with the line that it is about, as a compiler shows it.
pub(super) fn render(document: &str, text: &str, level: &str, problem: &Problem) -> String {
    let Problem { place, code, what, cure } = problem;
    let mut out = format!("{level}[{code}]: {what}\n  {document}:{}:{}\n", place.line, place.column);
    let line = usize::try_from(place.line).ok().and_then(|line| text.lines().nth(line.saturating_sub(1)));
    if let Some(line) = line {
        // A document may hold anything; what is shown of it is short and one line.
        let shown: String =
            line.chars().take(110).map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        let indent = usize::try_from(place.column).unwrap_or(1).saturating_sub(1).min(shown.chars().count());
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:>4} | {shown}\n     | {}^ {cure}", place.line, " ".repeat(indent));
    } else {
        let _ = writeln!(out, "     = {cure}");
    }
    out
}

/// All problems of a document, one after the other, with their number.
pub(super) fn render_all(document: &str, text: &str, problems: &[Problem]) -> String {
    let mut out: String = problems.iter().map(|problem| render(document, text, "error", problem)).collect();
    let count = problems.len();
    let noun = if count == 1 { "problem" } else { "problems" };
    let _ = write!(out, "{count} {noun} in {document}; nothing of it was applied");
    out
}

/// The known word that is nearest to what was written, where one is near enough to be meant.
pub(super) fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
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

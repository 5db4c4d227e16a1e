//! The decision what a column without dates is: numbers, digits that are no quantity, or texts. Every
//! threshold of the classification of columns is in this file, and none depends on a word.

use greenroom_protocol::Cause;

use super::evidence::{DISTINCT_MAX, Evidence};
use super::findings::{Findings, Sort};
use super::meaning::{Meaning, names_one_thing};
use super::table::Kind;
use crate::tables::grid::list;
use crate::tables::note::{Note, count, invalid, lines, preview};

/// Percentage of figures above which a column is meant to have numbers.
const NUMBERS_PERCENT: usize = 50;
/// Percentage of figures from which a column of texts is reported.
const REPORTED_PERCENT: usize = 10;
/// Distinct texts with digits, such as `A45`, from which a column has codes and not numbers with mistakes.
const CODES_DISTINCT_MIN: usize = 3;
/// Percentage of such texts from which a column has codes.
const CODES_PERCENT: usize = 10;
/// Texts beside figures that are reported together.
const SUFFIXES_REPORTED_MAX: usize = 3;
/// Rows for each distinct text from which a column divides the rows into groups.
const ROWS_OF_GROUP_MIN: usize = 2;

/// What a column is.
#[derive(Debug)]
pub(super) struct Decision {
    /// Its kind; `Category` and `Text` are distinguished here as well.
    pub(super) kind: Kind,
    /// The reason, as a sentence.
    pub(super) reason: String,
    /// True if a cell that is no figure counts as no value.
    pub(super) skips_exceptions: bool,
}

impl Decision {
    pub(super) fn new(kind: Kind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), skips_exceptions: false }
    }
}

/// Where the name of a column is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// The header states it.
    Stated,
    /// The header has an empty cell instead of one.
    Unstated,
    /// The file has no header.
    NoHeader,
}

/// The column that is decided about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Where its name is from.
    pub(super) naming: Naming,
    /// What its name means.
    pub(super) meaning: Meaning,
    /// What its cells are.
    pub(super) evidence: &'a Evidence,
}

/// Decides what a column is.
///
/// # Errors
/// `invalid_data` with the line of a cell that is no figure in a column of numbers.
pub(super) fn decide(subject: Subject<'_>, findings: &mut Findings) -> Result<Decision, Cause> {
    let Subject { name, evidence, .. } = subject;
    let digits = evidence.figures + evidence.codes.count;
    let filled = evidence.filled - evidence.errors.count;
    if evidence.filled == 0 {
        return Ok(Decision::new(Kind::Text, "no cell has a value"));
    }
    if digits * 100 <= filled * NUMBERS_PERCENT {
        return Ok(decide_texts(subject, digits, filled, findings));
    }
    if let Some(reason) = identifier_reason(subject) {
        let message =
            format!("Column {} is read as an identifier and is not added up, because {reason}.", preview(name));
        findings.note(Note::new(message).in_column(name));
        return Ok(Decision::new(Kind::Identifier, reason));
    }
    report_missing(name, evidence, findings);
    if evidence.exceptions() == 0 {
        return Ok(Decision::new(Kind::Number, format!("all {} are numbers", count(evidence.figures, "cell"))));
    }
    decide_exceptions(subject, findings)
}

/// The reason why digits are no quantity, if there is one.
fn identifier_reason(subject: Subject<'_>) -> Option<String> {
    let Subject { name, naming, meaning, evidence } = subject;
    let are_integers = evidence.integers == evidence.figures;
    if evidence.codes.count > 0 {
        return Some(format!(
            "{} in line {} begins with a zero or a plus sign, as only codes do",
            preview(&evidence.codes.first),
            evidence.codes.line()
        ));
    }
    if evidence.mixed.count * 100 > evidence.filled * CODES_PERCENT
        && evidence.distinct_mixed >= CODES_DISTINCT_MIN
        && are_integers
    {
        let (line, text) = (evidence.mixed.line(), &evidence.mixed.first);
        return Some(format!("it also has codes such as {} in line {line}", preview(text)));
    }
    if naming == Naming::Unstated
        && are_integers
        && evidence.counting == evidence.figures
        && evidence.exceptions() == 0
        && evidence.figures > 1
    {
        return Some("it has no name and counts the rows".to_owned());
    }
    if naming != Naming::Stated && evidence.exceptions() == 0 && evidence.years.are_all(evidence.figures) {
        return Some("it has no name and its figures follow each other as years do".to_owned());
    }
    if are_integers && names_one_thing(name) {
        return Some(format!("its name {} is that of one thing, whose numbers are its ids", preview(name)));
    }
    match meaning {
        Meaning::Identifier if are_integers => Some(format!("its name {} is that of a number or code", preview(name))),
        Meaning::Calendar if are_integers => Some(format!("its name {} is that of a part of a date", preview(name))),
        Meaning::Identifier
        | Meaning::Calendar
        | Meaning::Ratio
        | Meaning::RatioOrAmount
        | Meaning::Price
        | Meaning::UnitPrice
        | Meaning::Level
        | Meaning::Revenue
        | Meaning::Profit
        | Meaning::Cost
        | Meaning::Quantity
        | Meaning::Amount
        | Meaning::Plan
        | Meaning::Unknown => None,
    }
}

fn decide_texts(subject: Subject<'_>, digits: usize, filled: usize, findings: &mut Findings) -> Decision {
    let Subject { name, evidence, .. } = subject;
    if evidence.too_long.count * 100 > filled * NUMBERS_PERCENT {
        let (line, text) = (evidence.too_long.line(), &evidence.too_long.first);
        let reason = format!("{} in line {line} has more digits than a figure", preview(text));
        let message =
            format!("Column {} is read as an identifier and is not added up, because {reason}.", preview(name));
        findings.warn(Note::new(message).at_line(line).in_column(name));
        return Decision::new(Kind::Identifier, reason);
    }
    report_suffix(name, evidence, filled, findings);
    let is_reported = digits * 100 >= filled * REPORTED_PERCENT && digits > 0;
    if is_reported && evidence.codes.count == 0 && !is_grouping(evidence) {
        let (line, text) = evidence.first_exception();
        let message = format!(
            "Column {} has {} among {}, so it is read as text and is left out of the figures; {} in line {line} is not a \
             number.",
            preview(name),
            count(digits, "number"),
            count(filled, "value"),
            preview(text)
        );
        findings.warn(Note::new(message).at_line(line).in_column(name));
    }
    if is_grouping(evidence) {
        return Decision::new(
            Kind::Category,
            format!("{} divide the rows into groups", count(evidence.distinct, "text")),
        );
    }
    Decision::new(Kind::Text, "its cells are texts that differ from row to row")
}

/// Reports figures that are texts only because of unknown words beside them: the column would vanish. There may be
/// several of them, such as `CR` and `DR`.
fn report_suffix(name: &str, evidence: &Evidence, filled: usize, findings: &mut Findings) {
    let mut sorts: Vec<(&String, &Sort)> = evidence.suffixes.iter().filter(|(_, sort)| sort.count > 1).collect();
    sorts.sort_by_key(|(_, sort)| std::cmp::Reverse(sort.count));
    sorts.truncate(SUFFIXES_REPORTED_MAX);
    let all: usize = sorts.iter().map(|(_, sort)| sort.count).sum();
    let Some((_, first)) = sorts.iter().min_by_key(|(_, sort)| sort.line()) else { return };
    if all * 100 <= filled * NUMBERS_PERCENT {
        return;
    }
    let (are, units) = if sorts.len() > 1 { ("are", "units that are") } else { ("is", "a unit that is") };
    let message = format!(
        "Column {} has figures with {}, such as {} in line {}, which {are} not {units} known here; it is read as text and \
         is left out of the figures.",
        preview(name),
        list(sorts.iter().map(|(suffix, _)| suffix.as_str())),
        preview(&first.first),
        first.line()
    );
    findings.warn(Note::new(message).at_line(first.line()).in_column(name));
}

fn is_grouping(evidence: &Evidence) -> bool {
    (2..DISTINCT_MAX).contains(&evidence.distinct)
        && evidence.distinct * ROWS_OF_GROUP_MIN <= evidence.filled + evidence.no_values.count
}

/// Decides about a column of numbers that also has texts.
fn decide_exceptions(subject: Subject<'_>, findings: &mut Findings) -> Result<Decision, Cause> {
    let Subject { name, meaning, evidence, .. } = subject;
    let (line, text) = evidence.first_exception();
    if is_grouping(evidence) && evidence.integers == evidence.figures {
        let message = format!(
            "Column {} has numbers and also texts such as {} in line {line}; its few values divide the rows into groups, so \
             it is not added up.",
            preview(name),
            preview(text)
        );
        findings.warn(Note::new(message).at_line(line).in_column(name));
        return Ok(Decision::new(Kind::Category, "its few values, numbers and texts, divide the rows into groups"));
    }
    if matches!(meaning, Meaning::Ratio | Meaning::Price | Meaning::UnitPrice) {
        let message = format!(
            "Column {}: texts such as {} ({}) are not numbers and count as no value.",
            preview(name),
            preview(text),
            lines(&evidence.exception_lines())
        );
        findings.warn(Note::new(message).at_line(line).in_column(name));
        let reason = format!("{} are numbers, {} not", count(evidence.figures, "cell"), evidence.exceptions());
        return Ok(Decision { kind: Kind::Number, reason, skips_exceptions: true });
    }
    Err(not_a_number(name, evidence))
}

/// The error for the first cell of a column that is no figure.
pub(super) fn not_a_number(name: &str, evidence: &Evidence) -> Cause {
    let (line, text) = evidence.first_exception();
    let others = match evidence.exceptions() {
        1 => String::new(),
        all => format!(" ({all} cells are not: {})", lines(&evidence.exception_lines())),
    };
    let message = format!(
        "{} in column {} is not a number, as {} of the column are{others}; correct it, or leave the cell empty",
        preview(text),
        preview(name),
        count(evidence.figures, "other cell")
    );
    invalid(line, message)
}

/// Reports the cells of a number column that have no value, and the figures that a word scales.
fn report_missing(name: &str, evidence: &Evidence, findings: &mut Findings) {
    let column = preview(name);
    let note = |sort: &Sort, message: String| Note::new(message).at_line(sort.line()).in_column(name);
    let example = |sort: &Sort| format!("such as {} ({})", preview(&sort.first), lines(&sort.lines));
    let Evidence { errors, no_values, scaled, .. } = evidence;
    if errors.count > 0 {
        let message = format!(
            "Column {column}: spreadsheet errors {} count as no value, so figures of the column are those of its other cells.",
            example(errors)
        );
        findings.warn(note(errors, message));
    }
    if no_values.count > 0 {
        findings.note(note(no_values, format!("Column {column}: marks {} count as no value.", example(no_values))));
    }
    if scaled.count > 0 {
        let message = format!(
            "Column {column}: figures {} are counted in full (k = 1,000, M = 1,000,000, B = 1,000,000,000).",
            example(scaled)
        );
        findings.note(note(scaled, message));
    }
}

#[cfg(test)]
mod tests;

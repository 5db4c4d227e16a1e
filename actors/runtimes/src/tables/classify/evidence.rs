//! What the cells of one column are, counted before anything is decided.

use std::collections::{BTreeMap, BTreeSet};

use super::cells::{form, text_of};
use super::figure::Form;
use super::findings::Sort;
use super::notation::Marks;
use super::years::Years;
use crate::tables::grid::Cell;

/// Distinct texts that are counted; a column with more does not group its rows.
pub(super) const DISTINCT_MAX: usize = 1_000;

/// Different texts beside figures that are counted, and the bytes of one.
const SUFFIXES_MAX: usize = 20;
const SUFFIX_BYTES_MAX: usize = 24;
/// What stands before a figure and makes it a text: an estimate, a bound, or a quote.
const MARKS_BEFORE: [&str; 21] = [
    "approx.", "approx", "about", "circa", "est.", "ca.", "ca", "<=", ">=", "≤", "≥", "<", ">", "=", "~", "≈", "±",
    "'", "’", "“", "*",
];

/// One cell of a column.
#[derive(Debug, Clone, Copy)]
pub(super) struct ColumnCell<'a> {
    /// The line of its row.
    pub(super) line: u64,
    /// The cell.
    pub(super) cell: &'a Cell,
}

/// What the cells of a column are.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Cells with a value.
    pub(super) filled: usize,
    /// Figures.
    pub(super) figures: usize,
    /// Figures without a fraction or a unit.
    pub(super) integers: usize,
    /// Figures that count 0, 1, 2 or 1, 2, 3 and so on, from the first row.
    pub(super) counting: usize,
    /// Figures that are calendar years.
    pub(super) years: Years,
    /// Digits that begin with a zero, or telephone numbers.
    pub(super) codes: Sort,
    /// Texts without a digit.
    pub(super) words: Sort,
    /// Texts with a digit that are no figures.
    pub(super) mixed: Sort,
    /// How many of them are distinct.
    pub(super) distinct_mixed: usize,
    /// Those of them that are a figure with a text after it, or with a mark before it, by that.
    pub(super) suffixes: BTreeMap<String, Sort>,
    /// Digits that are too many to be added up.
    pub(super) too_long: Sort,
    /// Marks for "no value", such as `n/a`.
    pub(super) no_values: Sort,
    /// Errors of a spreadsheet.
    pub(super) errors: Sort,
    /// Figures that a word such as `Mio` scales.
    pub(super) scaled: Sort,
    /// Distinct texts of the column, up to a bound.
    pub(super) distinct: usize,
    /// What the figures show about the notation.
    pub(super) marks: Marks,
}

/// The mark before a figure. A word is one only before a space: `CA-100` and `CA100` are codes.
fn mark_before(text: &str) -> Option<&'static str> {
    let lower = text.to_lowercase();
    let mark = MARKS_BEFORE.into_iter().find(|mark| lower.starts_with(mark))?;
    let rest = lower.strip_prefix(mark)?;
    if mark.ends_with(char::is_alphabetic) && !rest.starts_with(' ') {
        return None;
    }
    let is_figure = |c: char| c.is_ascii_digit() || matches!(c, '-' | '$' | '€' | '£');
    rest.trim_start().starts_with(is_figure).then_some(mark)
}

impl Evidence {
    /// Counts the cells of a column.
    pub(super) fn collect<'a>(cells: impl Iterator<Item = ColumnCell<'a>>) -> Self {
        let mut evidence = Self::default();
        let mut distinct: BTreeSet<String> = BTreeSet::new();
        let mut mixed: BTreeSet<String> = BTreeSet::new();
        for ColumnCell { line, cell } in cells {
            let text = text_of(cell);
            if distinct.len() < DISTINCT_MAX && *cell != Cell::Empty && !distinct.contains(text.as_ref()) {
                distinct.insert(text.clone().into_owned());
            }
            evidence.filled += 1;
            match form(cell) {
                Form::NoValue => {
                    evidence.filled -= 1;
                    if *cell != Cell::Empty {
                        evidence.no_values.add(line, &text);
                    }
                }
                Form::SheetError => evidence.errors.add(line, &text),
                Form::Code => evidence.codes.add(line, &text),
                Form::Figure(figure) => {
                    let is_integer =
                        |value: Option<crate::tables::decimal::Decimal>| value.is_none_or(|value| value.is_integer());
                    evidence.integers +=
                        usize::from(figure.unit.is_none() && is_integer(figure.point) && is_integer(figure.comma));
                    let number = text.parse::<usize>().ok();
                    let expected = [evidence.figures, evidence.figures + 1];
                    evidence.counting += usize::from(number.is_some_and(|number| expected.contains(&number)));
                    evidence.years.count(&text);
                    evidence.figures += 1;
                    if figure.is_scaled {
                        evidence.scaled.add(line, &text);
                    }
                    if !matches!(cell, Cell::Number(_) | Cell::Measured(..)) {
                        evidence.marks.count(line, &text, &figure);
                    }
                }
                Form::Words if text.chars().any(|c| c.is_ascii_digit()) => {
                    evidence.mixed.add(line, &text);
                    evidence.add_suffix(line, &text);
                    if mixed.len() < DISTINCT_MAX {
                        mixed.insert(text.into_owned());
                    }
                }
                Form::Words => evidence.words.add(line, &text),
            }
        }
        evidence.distinct = distinct.len();
        evidence.distinct_mixed = mixed.len();
        evidence
    }

    fn add_suffix(&mut self, line: u64, text: &str) {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            self.too_long.add(line, text);
            return;
        }
        if let Some(mark) = mark_before(digits) {
            self.suffixes.entry(mark.to_owned()).or_default().add(line, text);
            return;
        }
        let is_of_figure = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '\'' | ' ');
        let suffix: String = digits.chars().filter(|c| !is_of_figure(*c)).collect();
        let is_suffix = digits.starts_with(|c: char| c.is_ascii_digit())
            && !suffix.trim_matches(['-', '/', '+', '(', ')']).is_empty()
            && suffix.len() <= SUFFIX_BYTES_MAX;
        if is_suffix && (self.suffixes.len() < SUFFIXES_MAX || self.suffixes.contains_key(&suffix)) {
            self.suffixes.entry(suffix).or_default().add(line, text);
        }
    }

    /// Cells that are neither a figure nor a mark for "no value" nor an error.
    pub(super) fn exceptions(&self) -> usize {
        self.words.count + self.mixed.count
    }

    /// The first of them: its line and its text.
    pub(super) fn first_exception(&self) -> (u64, &str) {
        match (self.words.count, self.mixed.count) {
            (0, _) => (self.mixed.line(), &self.mixed.first),
            (_, 0) => (self.words.line(), &self.words.first),
            _ if self.words.line() < self.mixed.line() => (self.words.line(), &self.words.first),
            _ => (self.mixed.line(), &self.mixed.first),
        }
    }

    /// The lines of the exceptions, in the order of the file.
    pub(super) fn exception_lines(&self) -> Vec<u64> {
        let mut lines: Vec<u64> = self.words.lines.iter().chain(&self.mixed.lines).copied().collect();
        lines.sort_unstable();
        lines
    }
}

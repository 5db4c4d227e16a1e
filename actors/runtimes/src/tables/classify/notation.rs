//! The notation of the numbers of a column: whether its commas or its points are decimal. One decisive figure
//! decides for its column; other columns of the file are only a hint, and every choice without a decisive
//! figure is reported. The caller may state the mark for such columns.

use super::figure::Figure;
use super::findings::{Findings, Sort};
use crate::tables::decimal::Decimal;
use crate::tables::note::{Note, preview};

/// The decimal mark of figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// `1,234.50`
    Point,
    /// `1.234,50`
    Comma,
}

impl Notation {
    /// The value of a figure in this notation; `None` if it is not written in it.
    pub(super) const fn value(self, figure: &Figure) -> Option<Decimal> {
        match self {
            Self::Point => figure.point,
            Self::Comma => figure.comma,
        }
    }

    /// The notation in words.
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Self::Point => "a decimal point",
            Self::Comma => "a decimal comma",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Point => Self::Comma,
            Self::Comma => Self::Point,
        }
    }

    /// The value of the input `decimal_mark`.
    pub(super) const fn mark(self) -> char {
        match self {
            Self::Point => '.',
            Self::Comma => ',',
        }
    }
}

/// One figure of a column, as an example.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Example {
    line: u64,
    text: String,
}

/// What the figures of a column show about their notation.
#[derive(Debug, Default)]
pub(super) struct Marks {
    point: Sort,
    comma: Sort,
    /// Figures that are a thousand times as much in one notation as in the other: `1.234`.
    either_with_comma: Option<Example>,
    either_with_point: Option<Example>,
    /// Figures without any mark and below one thousand: a column that groups digits has them.
    unmarked: usize,
    /// Figures without any mark from one thousand: a column that groups digits has none.
    ungrouped: usize,
}

impl Marks {
    /// Counts one figure.
    pub(super) fn count(&mut self, line: u64, text: &str, figure: &Figure) {
        match (figure.point, figure.comma) {
            (Some(point), Some(comma)) if point == comma => {
                if !text.contains([',', '.', '\'', ' ']) {
                    let thousand = text.bytes().filter(u8::is_ascii_digit).count() > 3;
                    *if thousand { &mut self.ungrouped } else { &mut self.unmarked } += 1;
                }
            }
            (Some(_), Some(_)) => {
                let entry = if text.contains(',') { &mut self.either_with_comma } else { &mut self.either_with_point };
                entry.get_or_insert_with(|| Example { line, text: text.to_owned() });
            }
            (Some(_), None) => self.point.add(line, text),
            (None, Some(_)) => self.comma.add(line, text),
            (None, None) => {}
        }
    }

    /// The first figure that could be read both ways.
    fn either(&self) -> Option<&Example> {
        self.either_with_comma.iter().chain(&self.either_with_point).min_by_key(|example| example.line)
    }

    /// The line and text of a figure, if some have a comma, others have a point, and none is decisive.
    pub(super) fn contradiction(&self) -> Option<(u64, &str)> {
        let (comma, point) = (self.either_with_comma.as_ref()?, self.either_with_point.as_ref()?);
        let later = if comma.line > point.line { comma } else { point };
        self.decisive().is_none().then_some((later.line, later.text.as_str()))
    }

    /// The notation of the decisive figures; the more frequent one if they contradict each other.
    pub(super) fn decisive(&self) -> Option<Notation> {
        match (self.point.count, self.comma.count) {
            (0, 0) => None,
            (point, comma) => Some(if point >= comma { Notation::Point } else { Notation::Comma }),
        }
    }

    /// The figures that can only be read in this notation.
    const fn only(&self, notation: Notation) -> &Sort {
        match notation {
            Notation::Point => &self.point,
            Notation::Comma => &self.comma,
        }
    }
}

/// What else is known about the file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FileHint<'a> {
    /// The notation that the caller states.
    pub(super) stated: Option<Notation>,
    /// True if semicolons separate the cells, which often means that commas are decimal.
    pub(super) has_semicolons: bool,
    /// The only notation of the columns with a decisive figure, and the name of the first of them.
    pub(super) other: Option<(Notation, &'a str)>,
}

impl<'a> FileHint<'a> {
    /// Collects the hint of a file from its decided columns; contradicting columns give none.
    pub(super) fn new(
        stated: Option<Notation>,
        has_semicolons: bool,
        decided: impl Iterator<Item = (Notation, &'a str)>,
    ) -> Self {
        let all: Vec<(Notation, &str)> = decided.collect();
        let other = all.first().copied().filter(|(first, _)| all.iter().all(|(notation, _)| notation == first));
        Self { stated, has_semicolons, other }
    }
}

/// Chooses the notation of a column, and reports a choice that no figure of the column decides.
pub(super) fn choose(name: &str, marks: &Marks, hint: FileHint<'_>, findings: &mut Findings) -> Notation {
    if let Some(stated) = hint.stated {
        return stated_or_decisive(name, marks, stated, findings);
    }
    if let Some(decisive) = marks.decisive() {
        return decisive;
    }
    let Some(example) = marks.either() else {
        return hint.other.map_or(Notation::Point, |(notation, _)| notation);
    };
    let looks_grouped =
        hint.has_semicolons && marks.either_with_comma.is_none() && marks.unmarked > 0 && marks.ungrouped == 0;
    let (notation, reason) = match hint.other {
        Some((notation, column)) => {
            (notation, format!("because column {} is written with {}", preview(column), notation.describe()))
        }
        None if looks_grouped => {
            (Notation::Comma, "because the column also has whole numbers below one thousand".to_owned())
        }
        None => (Notation::Point, "because no figure of the file is written with a decimal comma".to_owned()),
    };
    let mark = if example.text.contains(',') { "comma" } else { "point" };
    let role =
        if (mark == "comma") == (notation == Notation::Comma) { "is decimal" } else { "separates groups of digits" };
    let message = format!(
        "Column {}, line {}: in {} the {mark} {role}, {reason}; every figure of the column can be read both ways. The \
         input `decimal_mark` with `{}` reads them otherwise.",
        preview(name),
        example.line,
        preview(&example.text),
        notation.other().mark(),
    );
    let note = Note::new(message).at_line(example.line).in_column(name);
    // Another column of the file, or a delimiter that makes a decimal comma unlikely, is fair evidence.
    let is_likely = hint.other.is_some() || !hint.has_semicolons;
    if is_likely {
        findings.note(note)
    } else {
        findings.warn(note)
    }
    notation
}

/// The notation that the caller states, unless every decisive figure of the column is written in the other one.
fn stated_or_decisive(name: &str, marks: &Marks, stated: Notation, findings: &mut Findings) -> Notation {
    let others = marks.only(stated.other());
    if others.count == 0 || marks.only(stated).count > 0 {
        return stated;
    }
    let message = format!(
        "Column {} is written with {}, such as {} in line {}, although the input `decimal_mark` is `{}`; it is read as \
         it is written.",
        preview(name),
        stated.other().describe(),
        preview(&others.first),
        others.line(),
        stated.mark()
    );
    findings.warn(Note::new(message).at_line(others.line()).in_column(name));
    stated.other()
}

#[cfg(test)]
mod tests {
    use super::super::figure::{Form, form_of};
    use super::super::findings::Findings;
    use super::{FileHint, Marks, Notation, choose};

    fn chosen(texts: &[&str], hint: FileHint<'_>) -> (Notation, Findings) {
        let mut marks = Marks::default();
        for (line, text) in (2_u64..).zip(texts) {
            let Form::Figure(figure) = form_of(text) else { panic!("{text} is no figure") };
            marks.count(line, text, &figure);
        }
        let mut findings = Findings::default();
        (choose("price", &marks, hint, &mut findings), findings)
    }

    #[test]
    fn one_decisive_figure_decides_for_the_column_and_nothing_is_reported() {
        for (texts, expected) in [
            (&["1,234", "2,50"][..], Notation::Comma),
            (&["1,234", "1,234,567"], Notation::Point),
            (&["1.234", "0.673"], Notation::Point),
            (&["1.234,50"], Notation::Comma),
            (&["12"], Notation::Point),
        ] {
            let (notation, findings) = chosen(texts, FileHint { has_semicolons: true, ..FileHint::default() });
            assert_eq!(notation, expected, "{texts:?}");
            assert!(findings.notes.is_empty() && findings.warnings.is_empty());
        }
    }

    #[test]
    fn semicolons_do_not_make_a_point_a_group_mark() {
        let semicolons = FileHint { has_semicolons: true, ..FileHint::default() };
        for texts in [&["1.659", "1.702"][..], &["1,200", "3,400"], &["1.250"]] {
            let (notation, findings) = chosen(texts, semicolons);
            assert_eq!(notation, Notation::Point, "{texts:?}");
            assert_eq!(findings.warnings.len(), 1, "{texts:?}");
            assert!(findings.warnings[0].message.starts_with("Column \"price\", line 2"), "{:?}", findings.warnings);
        }
        assert_eq!(chosen(&["1.250", "850"], semicolons).0, Notation::Comma);
        assert_eq!(chosen(&["1.250", "1850"], semicolons).0, Notation::Point);
    }

    #[test]
    fn another_column_is_a_hint_that_is_reported() {
        let hint = FileHint { has_semicolons: true, other: Some((Notation::Comma, "Umsatz")), ..FileHint::default() };
        let (notation, findings) = chosen(&["1.000", "2.000"], hint);
        assert_eq!((notation, findings.notes.len()), (Notation::Comma, 1));
        assert!(findings.notes[0].message.contains("because column \"Umsatz\""), "{:?}", findings.notes);
    }

    #[test]
    fn columns_that_contradict_each_other_are_no_hint() {
        let decided = [(Notation::Comma, "a"), (Notation::Point, "b")];
        assert_eq!(FileHint::new(None, true, decided.into_iter()).other, None);
    }

    #[test]
    fn the_caller_decides_what_no_figure_of_the_column_decides() {
        for (stated, texts, expected) in [
            (Notation::Comma, &["1.250", "2.375"][..], Notation::Comma),
            (Notation::Point, &["1.250", "850"], Notation::Point),
            (Notation::Comma, &["1.250", "2,375"], Notation::Comma),
            (Notation::Comma, &["1.5", "2,5", "3.5"], Notation::Comma),
        ] {
            let hint = FileHint { stated: Some(stated), has_semicolons: true, other: None };
            let (notation, findings) = chosen(texts, hint);
            assert_eq!(notation, expected, "{texts:?}");
            assert!(findings.notes.is_empty() && findings.warnings.is_empty(), "{findings:?}");
        }
    }

    #[test]
    fn a_column_that_contradicts_the_caller_is_read_as_written_with_a_warning() {
        let hint = FileHint { stated: Some(Notation::Comma), ..FileHint::default() };
        let (notation, findings) = chosen(&["1", "0.5"], hint);
        assert_eq!(notation, Notation::Point);
        let message = &findings.warnings[0].message;
        assert!(message.contains("\"0.5\" in line 3") && message.contains("`decimal_mark` is `,`"), "{message}");
    }
}

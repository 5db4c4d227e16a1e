//! Columns that are the parts of one date, such as `Year` and `Month`, in a table without another column of dates:
//! a column with the complete dates is added, and everything that follows reads it like one of the file.

use super::cells::text_of;
use super::findings::Findings;
use super::layout::Layout;
use super::totals::Label;
use crate::tables::dates::{self, DateSettings, DateVerdict, Joined, NamedPart, Part, Parts};
use crate::tables::grid::{COLUMNS_MAX, Cell, GridRow, list};
use crate::tables::note::{Note, preview};

/// Percentage of the rows with a year above which the parts are those of dates.
const DATES_PERCENT: usize = 50;

/// The column that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JoinedDate {
    /// Its name.
    pub(super) name: String,
    /// The indexes of its parts.
    pub(super) parts: Vec<usize>,
}

/// A column that may be a part.
struct Candidate {
    index: usize,
    named: NamedPart,
}

/// The columns of one date.
struct Selection<'c> {
    year: &'c Candidate,
    finer: &'c Candidate,
    day: Option<&'c Candidate>,
}

impl Selection<'_> {
    fn indexes(&self) -> Vec<usize> {
        [Some(self.year), Some(self.finer), self.day].into_iter().flatten().map(|candidate| candidate.index).collect()
    }

    /// The date of one row; none if it lacks a part.
    fn join(&self, row: &GridRow, settings: &DateSettings) -> Option<Joined> {
        let text = |candidate: &Candidate| row.cells.get(candidate.index).map(text_of).filter(|text| !text.is_empty());
        let (year, finer) = (text(self.year)?, text(self.finer)?);
        let day = match self.day {
            Some(day) => Some(text(day)?),
            None => None,
        };
        let parts = Parts {
            year: &year,
            is_fiscal: self.year.named.is_fiscal,
            finer: (self.finer.named.part, &finer),
            is_finer_fiscal: self.finer.named.is_fiscal,
            day: day.as_deref(),
        };
        Some(dates::join(&parts, settings.fiscal_year))
    }
}

/// Adds the column of dates, if the table has their parts and no other dates.
pub(super) fn join(
    layout: &mut Layout,
    labels: &[Option<Label>],
    settings: &DateSettings,
    findings: &mut Findings,
) -> Option<JoinedDate> {
    let candidates = candidates(layout);
    let selection = select(&candidates).filter(|_| !has_dates(layout, labels, settings))?;
    let joined: Vec<Option<Joined>> = layout.rows.iter().map(|row| selection.join(row, settings)).collect();
    let count = |wanted: &dyn Fn(&Joined) -> bool| joined.iter().flatten().filter(|joined| wanted(joined)).count();
    let parts = selection.indexes();
    let names: Vec<&str> = parts.iter().filter_map(|index| layout.names.get(*index)).map(String::as_str).collect();
    let listed = list(names.iter().copied());
    if count(&|joined| *joined == Joined::NeedsFiscalYear) > 0 {
        let message = format!(
            "Columns {listed} have months of a fiscal year, and the month in which the year begins is not known; the \
             input `fiscal_year_start` states it, such as 10 for October. Without it, they date no rows."
        );
        findings.warn_undated(Note::new(message));
        return None;
    }
    let dates = count(&|joined| matches!(joined, Joined::Date(_)));
    let is_filled = |row: &&GridRow| row.cells.get(selection.year.index).is_some_and(|cell| *cell != Cell::Empty);
    if dates * 100 <= layout.rows.iter().filter(is_filled).count() * DATES_PERCENT || layout.names.len() >= COLUMNS_MAX
    {
        return None;
    }
    let mut name = names.join(" + ");
    while layout.names.contains(&name) {
        name.push_str(" (date)");
    }
    let mut first: Option<(u64, String)> = None;
    for ((row, joined), label) in layout.rows.iter_mut().zip(joined).zip(labels) {
        let texts: Vec<String> =
            parts.iter().filter_map(|index| row.cells.get(*index)).map(|cell| text_of(cell).into_owned()).collect();
        let cell = match joined {
            Some(Joined::Date(date)) => {
                first.get_or_insert_with(|| (row.line, date.clone()));
                Cell::Text(date)
            }
            Some(Joined::Unreadable) if label.is_none() => Cell::Text(texts.join(" / ")),
            Some(Joined::Unreadable | Joined::NeedsFiscalYear) | None => Cell::Empty,
        };
        row.cells.push(cell);
    }
    if let Some((line, date)) = first {
        let message = format!("Columns {listed} together date the rows: line {line} is {}.", preview(&date));
        findings.note(Note::new(message).at_line(line).in_column(&name));
    }
    layout.names.push(name.clone());
    layout.stated_names.push(name.clone());
    Some(JoinedDate { name, parts })
}

fn candidates(layout: &Layout) -> Vec<Candidate> {
    let names = layout.names.iter().enumerate();
    names.filter_map(|(index, name)| Some(Candidate { index, named: dates::named_part(name)? })).collect()
}

/// The year with the finest part that belongs to it: with the same other words in its name, or with any if the name
/// of the year has none. A `Model Year` and a `Month` are no date.
fn select(candidates: &[Candidate]) -> Option<Selection<'_>> {
    let of = |part: Part| candidates.iter().filter(move |candidate| candidate.named.part == part);
    let matching = |year: &Candidate, part: Part| {
        let is_any = year.named.others.is_empty();
        let same = of(part).find(|candidate| candidate.named.others == year.named.others);
        same.or_else(|| of(part).next().filter(|_| is_any))
    };
    let finest = |year| [Part::Month, Part::Quarter, Part::Week].into_iter().find_map(|part| matching(year, part));
    let (year, finer) = of(Part::Year).find_map(|year| Some((year, finest(year)?)))?;
    let day = matching(year, Part::Day).filter(|_| finer.named.part == Part::Month);
    Some(Selection { year, finer, day })
}

/// True if a column has complete dates by itself, or was meant to.
fn has_dates(layout: &Layout, labels: &[Option<Label>], settings: &DateSettings) -> bool {
    layout.names.iter().enumerate().any(|(index, name)| {
        let rows = layout.rows.iter().zip(labels).filter(|(_, label)| label.is_none());
        let cells: Vec<(u64, &Cell)> = rows.filter_map(|(row, _)| Some((row.line, row.cells.get(index)?))).collect();
        match dates::classify_date_column(name, &cells, settings) {
            DateVerdict::Dates { .. } | DateVerdict::Unreadable { .. } => true,
            DateVerdict::NotDates | DateVerdict::Undated { .. } => false,
        }
    })
}

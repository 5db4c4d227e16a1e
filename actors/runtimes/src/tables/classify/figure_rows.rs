//! Tables that have one figure in each row and one period in each column, such as a profit and loss statement: `Revenue`
//! and `Cost` are below each other. Their columns do not add up.

use super::findings::Findings;
use super::meaning::{Meaning, meaning_of};
use super::table::{Additivity, Column, Kind, Row, Series};
use crate::tables::dates;
use crate::tables::note::{Note, preview};

/// Years that a name of four digits may be.
const YEARS: std::ops::RangeInclusive<u16> = 1900..=2100;

/// Marks the series of such a table, which has no column of dates.
pub(super) fn mark(columns: &[Column], rows: &[Row], series: &mut [Series], findings: &mut Findings) {
    let is_label = |column: &Column| matches!(column.kind, Kind::Category | Kind::Text);
    let Some(label) = columns.iter().position(is_label) else { return };
    let known: Vec<(&str, u64, Meaning)> = rows.iter().filter_map(|row| named_figure(row, label)).collect();
    let Some((first, first_line, meaning)) = known.first().copied() else { return };
    let Some((other, other_line, _)) = known.iter().find(|(_, _, other)| *other != meaning).copied() else { return };
    let periods = columns.iter().filter(|column| column.kind == Kind::Number && is_period(&column.name)).count();
    // A few such words among many others are names of departments or of products.
    if periods < 2 && known.len() * 2 <= rows.len() {
        return;
    }
    for one in series.iter_mut().filter(|one| one.additivity != Additivity::None) {
        one.additivity = Additivity::None;
    }
    let message = format!(
        "The rows are different figures, such as {} in line {first_line} and {} in line {other_line}, so no column is added \
         up. Put each figure into a column of its own, with one row for each period.",
        preview(first),
        preview(other)
    );
    findings.warn(Note::new(message).at_line(first_line));
}

/// The label of a row, its line and its meaning, if it is a figure that does not add up with others.
fn named_figure(row: &Row, label: usize) -> Option<(&str, u64, Meaning)> {
    let text = row.cells.get(label)?;
    let meaning = meaning_of(text);
    matches!(meaning, Meaning::Revenue | Meaning::Cost | Meaning::Profit).then_some((text.as_str(), row.line, meaning))
}

fn is_period(name: &str) -> bool {
    let name = name.trim();
    name.parse::<u16>().is_ok_and(|year| YEARS.contains(&year)) || dates::looks_like_date(name)
}

//! The totals of a period by month and by the columns that group rows. Whatever is cut at a limit is noted.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_protocol::Cause;

use super::{figure, number, others};
use crate::tables::classify::{Additivity, Kind, Series, Table};
use crate::tables::decimal::Decimal;
use crate::tables::facts::{Breakdown, Group, Month, Totals};
use crate::tables::grid::list;
use crate::tables::note::{Note, preview};

/// Maximum months that are listed; the newest are.
const MONTHS_MAX: usize = 60;
/// Maximum columns by which the period is broken down.
const BREAKDOWNS_MAX: usize = 6;
/// Maximum groups of a column that are listed; the others are summed up.
const GROUPS_MAX: usize = 24;
/// Distinct texts above which a column is not broken down.
const DISTINCT_MAX: usize = 200;

/// A table and the series of its headline.
pub(super) struct Groups<'a> {
    /// The table.
    pub(super) table: &'a Table,
    /// The headline.
    pub(super) headline: &'a [&'a Series],
}

/// One group while it is computed.
struct Part<'a> {
    value: &'a str,
    rows: Vec<usize>,
    figure: Decimal,
}

impl<'a> Groups<'a> {
    fn totals(&self, rows: &[usize]) -> Result<Totals, Cause> {
        let mut totals = Totals::new();
        for series in self.headline {
            if let Some(figure) = figure(series, rows)? {
                totals.insert(series.name.clone(), number(figure));
            }
        }
        Ok(totals)
    }

    /// The totals of each month of the file.
    pub(super) fn by_month(&self, period: &[usize], notes: &mut Vec<Note>) -> Result<Vec<Month>, Cause> {
        let mut months: BTreeMap<(i16, i8), Vec<usize>> = BTreeMap::new();
        let days = self.table.dates.as_ref().map_or(&[][..], |dates| &dates.days);
        for (row, day) in days.iter().enumerate() {
            months.entry((day.year(), day.month())).or_default().push(row);
        }
        let period: BTreeSet<usize> = period.iter().copied().collect();
        let skipped = months.len().saturating_sub(MONTHS_MAX);
        if skipped > 0 {
            let message = format!("The file has {} months; the {MONTHS_MAX} newest are listed.", months.len());
            notes.push(Note::new(message));
        }
        months
            .into_iter()
            .skip(skipped)
            .map(|((year, month), rows)| {
                Ok(Month {
                    month: format!("{year:04}-{month:02}"),
                    rows: rows.len() as u64,
                    in_period: rows.iter().any(|row| period.contains(row)),
                    totals: self.totals(&rows)?,
                })
            })
            .collect()
    }

    /// The totals of the period by each column that groups rows.
    pub(super) fn breakdowns(
        &self,
        rows: &[usize],
        previous: &[usize],
        notes: &mut Vec<Note>,
    ) -> Result<Vec<Breakdown>, Cause> {
        let Some(first) = self.headline.first() else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        let mut omitted: Vec<&str> = Vec::new();
        let columns = self.table.columns.iter().enumerate().filter(|(_, column)| column.kind == Kind::Category);
        for (index, column) in columns {
            let now = self.group_rows(index, rows);
            if now.len() > DISTINCT_MAX {
                let message = format!(
                    "Column {} has {} different values, more than {DISTINCT_MAX}, so there is no breakdown by it.",
                    preview(&column.name),
                    now.len()
                );
                notes.push(Note::new(message).in_column(&column.name));
                continue;
            }
            if all.len() == BREAKDOWNS_MAX {
                omitted.push(&column.name);
                continue;
            }
            let before = self.group_rows(index, previous);
            let groups = self.groups(&column.name, first, now, &before, notes)?;
            all.push(Breakdown { column: column.name.clone(), groups });
        }
        if !omitted.is_empty() {
            let message = format!("There are breakdowns by {BREAKDOWNS_MAX} columns, and none by {}.", list(omitted));
            notes.push(Note::new(message));
        }
        Ok(all)
    }

    fn group_rows(&self, index: usize, rows: &[usize]) -> BTreeMap<&'a str, Vec<usize>> {
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for row in rows {
            let cell = self.table.rows.get(*row).and_then(|row| row.cells.get(index)).map_or("", String::as_str);
            groups.entry(cell).or_default().push(*row);
        }
        groups
    }

    /// The groups of one column, the largest first.
    fn groups(
        &self,
        column: &str,
        first: &Series,
        now: BTreeMap<&'a str, Vec<usize>>,
        before: &BTreeMap<&'a str, Vec<usize>>,
        notes: &mut Vec<Note>,
    ) -> Result<Vec<Group>, Cause> {
        let mut parts = Vec::with_capacity(now.len());
        for (value, rows) in now {
            let figure = figure(first, &rows)?.unwrap_or(Decimal::ZERO);
            parts.push(Part { value, rows, figure });
        }
        parts.sort_by(|a, b| b.figure.compare(a.figure));
        let total = self.share_base(column, first, &parts, notes);
        let rest = parts.split_off(parts.len().min(GROUPS_MAX));
        let mut groups = Vec::with_capacity(parts.len() + 1);
        for part in &parts {
            let earlier = match before.get(part.value) {
                Some(rows) => figure(first, rows)?,
                None => None,
            };
            let value = if part.value.is_empty() { "(none)" } else { part.value };
            let growth = earlier.and_then(|earlier| part.figure.growth_pct(earlier));
            groups.push(self.group(value.to_owned(), &part.rows, part.figure, total, growth)?);
        }
        if !rest.is_empty() {
            let message = format!(
                "Column {} has {} groups; the {GROUPS_MAX} largest are listed, the others are summed up.",
                preview(column),
                parts.len() + rest.len()
            );
            notes.push(Note::new(message).in_column(column));
            let rows: Vec<usize> = rest.iter().flat_map(|part| part.rows.iter().copied()).collect();
            let figure = figure(first, &rows)?.unwrap_or(Decimal::ZERO);
            let group = self.group(others(rest.len()), &rows, figure, total, None)?;
            groups.push(Group { others: Some(rest.len() as u64), ..group });
        }
        Ok(groups)
    }

    fn group(
        &self,
        value: String,
        rows: &[usize],
        figure: Decimal,
        total: Option<Decimal>,
        growth: Option<Decimal>,
    ) -> Result<Group, Cause> {
        Ok(Group {
            value,
            rows: rows.len() as u64,
            share_pct: total.and_then(|total| figure.share_pct(total)).map(number),
            growth_pct: growth.map(number),
            totals: self.totals(rows)?,
            others: None,
        })
    }

    /// The total that shares refer to; `None` if shares would mislead: figures that do not add up, or groups
    /// with different signs, whose shares are below zero and above 100 %.
    fn share_base(&self, column: &str, first: &Series, parts: &[Part<'_>], notes: &mut Vec<Note>) -> Option<Decimal> {
        if first.additivity != Additivity::Additive {
            return None;
        }
        let has_negative = parts.iter().any(|part| part.figure.is_negative());
        let has_positive = parts.iter().any(|part| !part.figure.is_negative() && !part.figure.is_zero());
        if has_negative && has_positive {
            let message = format!(
                "There are no shares of {} by {}: some groups are below zero, so shares would exceed 100 %.",
                preview(&first.name),
                preview(column)
            );
            notes.push(Note::new(message).in_column(column));
            return None;
        }
        parts.iter().map(|part| part.figure).try_fold(Decimal::ZERO, Decimal::checked_add)
    }
}

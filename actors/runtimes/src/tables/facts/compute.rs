//! Table → [`TableFacts`]: selects the rows of the period and adds them up.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_protocol::{Cause, ErrorCode, Json};
use jiff::civil::Date;
use serde_json::{Number, json};

use super::{Breakdown, ColumnFact, Group, GrowthFact, Measure, Month, PeriodFact, TableFacts, Totals};
use crate::tables::columns::{self, Cells, Column};
use crate::tables::dates::{DateSettings, Period, PeriodKind};
use crate::tables::decimal::Decimal;
use crate::tables::table::{self, Table};

/// Maximum measures of the headline, and therefore of each month and group.
const HEADLINE_MAX: usize = 6;
/// Maximum months that are listed; the newest are.
const MONTHS_MAX: usize = 60;
/// Maximum columns by which the period is broken down.
const BREAKDOWNS_MAX: usize = 6;
/// Records of the sample.
const SAMPLE_ROWS_MAX: usize = 5;
/// Maximum columns of a sampled record, and maximum characters of a cell in it.
const SAMPLE_COLUMNS_MAX: usize = 24;
const SAMPLE_CHARS_MAX: usize = 80;

/// Computes the facts of a table about a quarter, or about all of it.
///
/// # Errors
/// `invalid_data` for an invalid cell, a row without a date, or a table without a number column;
/// `no_data_for_period` with the range of the file, if the quarter has no rows.
pub(crate) fn compute_facts(
    file: &str,
    table: &Table,
    settings: &DateSettings,
    quarter: Option<Period>,
) -> Result<TableFacts, Cause> {
    let mut findings = columns::Findings::default();
    let columns = columns::type_columns(table, settings, &mut findings)?;
    if !columns.iter().any(|column| matches!(column.cells, Cells::Numbers(_))) {
        return Err(Cause::new(ErrorCode::InvalidData, "the data has no column of numbers"));
    }
    let data = Data::new(table, &columns)?;
    let (period, rows) = data.period(quarter)?;
    let previous = quarter.and_then(|quarter| quarter.previous());
    let previous_rows = previous.map(|previous| data.rows_in(&previous)).unwrap_or_default();
    let comparison = data.comparison(quarter, &rows, &previous_rows);
    let measures = data.measures(&rows, comparison.as_ref())?;
    let headline = headline(&measures);
    Ok(TableFacts {
        file: file.to_owned(),
        rows: table.rows.len() as u64,
        columns: columns.iter().map(column_fact).collect(),
        date_column: data.date.and_then(|index| columns.get(index)).map(|column| column.name.clone()),
        growth: comparison.as_ref().map(|comparison| comparison.labels.clone()),
        by_month: data.by_month(&rows, &headline)?,
        breakdowns: data.breakdowns(&rows, &previous_rows, &headline)?,
        sample: data.sample(&rows),
        period,
        previous: previous
            .filter(|_| !previous_rows.is_empty())
            .map(|period| period_fact(&period, previous_rows.len())),
        measures,
        headline,
        notes: findings.notes,
        warnings: findings.warnings,
    })
}

fn column_fact(column: &Column) -> ColumnFact {
    let kind = match column.cells {
        Cells::Dates(_) => "date",
        Cells::Numbers(_) => "number",
        Cells::Texts { groups: true } => "category",
        Cells::Texts { groups: false } => "text",
    };
    ColumnFact { name: column.name.clone(), kind: kind.to_owned() }
}

fn period_fact(period: &Period, rows: usize) -> PeriodFact {
    PeriodFact {
        label: period.to_string(),
        from: Some(period.from.to_string()),
        to: Some(period.to.to_string()),
        rows: rows as u64,
    }
}

/// The most important measures, by their names; of equal ones, in the order of the file.
fn headline(measures: &[Measure]) -> Vec<String> {
    let mut ranked: Vec<&Measure> =
        measures.iter().filter(|measure| columns::headline_weight(&measure.name) > 0).collect();
    ranked.sort_by_key(|measure| std::cmp::Reverse(columns::headline_weight(&measure.name)));
    if ranked.is_empty() {
        ranked = measures.iter().collect();
    }
    ranked.iter().take(HEADLINE_MAX).map(|measure| measure.name.clone()).collect()
}

fn number(decimal: Decimal) -> Number {
    match decimal.to_json() {
        Json::Number(number) => number,
        Json::Null | Json::Bool(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => Number::from(0),
    }
}

/// Two lists of rows that growth compares.
struct Comparison {
    labels: GrowthFact,
    now: Vec<usize>,
    before: Vec<usize>,
}

/// A typed table.
struct Data<'a> {
    table: &'a Table,
    columns: &'a [Column],
    date: Option<usize>,
    days: Vec<Date>,
}

impl<'a> Data<'a> {
    fn new(table: &'a Table, columns: &'a [Column]) -> Result<Self, Cause> {
        let date = columns::date_column(columns);
        let mut days = Vec::new();
        if let Some(Column { name, cells: Cells::Dates(cells), .. }) = date.and_then(|index| columns.get(index)) {
            for (row, day) in table.rows.iter().zip(cells) {
                let missing = || table::invalid(row.line, format!("the row has no date in column {name:?}"));
                days.push((*day).ok_or_else(missing)?);
            }
        }
        Ok(Self { table, columns, date, days })
    }

    fn rows_in(&self, period: &Period) -> Vec<usize> {
        self.days.iter().enumerate().filter(|(_, day)| period.contains(**day)).map(|(row, _)| row).collect()
    }

    fn range(&self) -> Option<(Date, Date)> {
        Some((*self.days.iter().min()?, *self.days.iter().max()?))
    }

    fn period(&self, quarter: Option<Period>) -> Result<(PeriodFact, Vec<usize>), Cause> {
        let all: Vec<usize> = (0..self.table.rows.len()).collect();
        match (quarter, self.range()) {
            (Some(_), None) => {
                Err(Cause::new(ErrorCode::InvalidData, "the request names a quarter, and the data has no date column"))
            }
            (Some(quarter), Some((from, to))) => {
                let rows = self.rows_in(&quarter);
                if rows.is_empty() {
                    let message = format!("the data has no rows in {quarter}; it has {from} to {to}");
                    let details =
                        json!({ "period": quarter.to_string(), "from": from.to_string(), "to": to.to_string() });
                    return Err(Cause::new(ErrorCode::NoDataForPeriod, message).with_details(details));
                }
                Ok((period_fact(&quarter, rows.len()), rows))
            }
            (None, Some((from, to))) => {
                let complete = Period { kind: PeriodKind::Complete, from, to };
                Ok((period_fact(&complete, all.len()), all))
            }
            (None, None) => {
                let label = "all rows".to_owned();
                Ok((PeriodFact { label, from: None, to: None, rows: all.len() as u64 }, all))
            }
        }
    }

    fn comparison(&self, quarter: Option<Period>, rows: &[usize], previous: &[usize]) -> Option<Comparison> {
        if let Some(quarter) = quarter {
            let before = quarter.previous()?;
            return (!previous.is_empty()).then(|| Comparison {
                labels: GrowthFact { now: quarter.to_string(), before: before.to_string() },
                now: rows.to_vec(),
                before: previous.to_vec(),
            });
        }
        let (from, to) = self.range()?;
        let (first, last) = (Period::containing(PeriodKind::Month, from)?, Period::containing(PeriodKind::Month, to)?);
        (first != last).then(|| Comparison {
            labels: GrowthFact { now: last.to_string(), before: first.to_string() },
            now: self.rows_in(&last),
            before: self.rows_in(&first),
        })
    }

    fn numbers(&self) -> impl Iterator<Item = (&'a Column, &'a [Option<Decimal>])> {
        self.columns.iter().filter_map(|column| match &column.cells {
            Cells::Numbers(cells) => Some((column, cells.as_slice())),
            Cells::Dates(_) | Cells::Texts { .. } => None,
        })
    }

    fn measures(&self, rows: &[usize], comparison: Option<&Comparison>) -> Result<Vec<Measure>, Cause> {
        self.numbers()
            .map(|(column, cells)| {
                let values: Vec<Decimal> = select_rows(cells, rows).collect();
                let total = sum(column, values.iter().copied())?;
                let (now, before) = match comparison {
                    Some(comparison) => (
                        Some(sum(column, select_rows(cells, &comparison.now))?),
                        Some(sum(column, select_rows(cells, &comparison.before))?),
                    ),
                    None => (None, None),
                };
                Ok(Measure {
                    name: column.name.clone(),
                    unit: column.unit.map(str::to_owned),
                    count: values.len() as u64,
                    total: number(total),
                    mean: total.divide_by(values.len() as u64).map(number),
                    min: values.iter().copied().min_by(|a, b| a.compare(*b)).map(number),
                    max: values.iter().copied().max_by(|a, b| a.compare(*b)).map(number),
                    compared_total: now.map(number),
                    previous_total: before.map(number),
                    growth_pct: now.zip(before).and_then(|(now, before)| now.growth_pct(before)).map(number),
                    lower_is_better: columns::is_lower_better(&column.name),
                })
            })
            .collect()
    }

    fn totals(&self, rows: &[usize], headline: &[String]) -> Result<Totals, Cause> {
        self.numbers()
            .filter(|(column, _)| headline.contains(&column.name))
            .map(|(column, cells)| Ok((column.name.clone(), number(sum(column, select_rows(cells, rows))?))))
            .collect()
    }

    fn by_month(&self, period: &[usize], headline: &[String]) -> Result<Vec<Month>, Cause> {
        let mut months: BTreeMap<(i16, i8), Vec<usize>> = BTreeMap::new();
        for (row, day) in self.days.iter().enumerate() {
            months.entry((day.year(), day.month())).or_default().push(row);
        }
        let period: BTreeSet<usize> = period.iter().copied().collect();
        let skipped = months.len().saturating_sub(MONTHS_MAX);
        months
            .into_iter()
            .skip(skipped)
            .map(|((year, month), rows)| {
                Ok(Month {
                    month: format!("{year:04}-{month:02}"),
                    rows: rows.len() as u64,
                    in_period: rows.iter().any(|row| period.contains(row)),
                    totals: self.totals(&rows, headline)?,
                })
            })
            .collect()
    }

    fn breakdowns(&self, rows: &[usize], previous: &[usize], headline: &[String]) -> Result<Vec<Breakdown>, Cause> {
        let Some(first) = headline.first() else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        let groups =
            self.columns.iter().enumerate().filter(|(_, column)| matches!(column.cells, Cells::Texts { groups: true }));
        for (index, column) in groups.take(BREAKDOWNS_MAX) {
            let (now, before) = (self.group_rows(index, rows), self.group_rows(index, previous));
            let total_of_all = self.total_of(first, rows)?;
            let mut ranked = Vec::with_capacity(now.len());
            for (value, rows) in &now {
                let total = self.total_of(first, rows)?;
                let earlier = before.get(value).map(|rows| self.total_of(first, rows)).transpose()?;
                ranked.push((
                    total,
                    Group {
                        value: if value.is_empty() { "(none)".to_owned() } else { (*value).to_owned() },
                        rows: rows.len() as u64,
                        share_pct: total.share_pct(total_of_all).map(number),
                        growth_pct: earlier.and_then(|earlier| total.growth_pct(earlier)).map(number),
                        totals: self.totals(rows, headline)?,
                    },
                ));
            }
            ranked.sort_by(|(a, _), (b, _)| b.compare(*a));
            let groups = ranked.into_iter().map(|(_, group)| group).collect();
            all.push(Breakdown { column: column.name.clone(), groups });
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

    fn total_of(&self, name: &str, rows: &[usize]) -> Result<Decimal, Cause> {
        match self.numbers().find(|(column, _)| column.name == name) {
            Some((column, cells)) => sum(column, select_rows(cells, rows)),
            None => Ok(Decimal::ZERO),
        }
    }

    fn sample(&self, rows: &[usize]) -> Vec<BTreeMap<String, String>> {
        let short = |cell: &String| cell.chars().take(SAMPLE_CHARS_MAX).collect::<String>();
        rows.iter()
            .take(SAMPLE_ROWS_MAX)
            .filter_map(|row| self.table.rows.get(*row))
            .map(|row| {
                let named = self.table.columns.iter().cloned().zip(row.cells.iter().map(short));
                named.take(SAMPLE_COLUMNS_MAX).collect()
            })
            .collect()
    }
}

fn select_rows<'c>(cells: &'c [Option<Decimal>], rows: &'c [usize]) -> impl Iterator<Item = Decimal> + 'c {
    rows.iter().filter_map(|row| cells.get(*row).copied().flatten())
}

fn sum(column: &Column, mut values: impl Iterator<Item = Decimal>) -> Result<Decimal, Cause> {
    let total = values.try_fold(Decimal::ZERO, Decimal::checked_add);
    total.ok_or_else(|| {
        Cause::new(
            ErrorCode::InvalidData,
            format!("the numbers of column {:?} are too large to be added exactly", column.name),
        )
    })
}

#[cfg(test)]
mod tests;

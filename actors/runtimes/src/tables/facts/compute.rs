//! Table → [`TableFacts`]: selects the rows of the period and computes the measures over them.

use std::collections::BTreeMap;

use greenroom_protocol::{Cause, ErrorCode, Json};
use jiff::civil::Date;
use serde_json::{Number, json};

use super::{ColumnFact, GrowthFact, Measure, PeriodFact, TableFacts};
use crate::tables::classify::{Additivity, Column, Series, Table, is_lower_better};
use crate::tables::dates::{Period, PeriodKind};
use crate::tables::decimal::Decimal;
use crate::tables::grid::list;
use crate::tables::note::{Note, count, invalid, preview, unreadable};

mod groups;

/// Maximum measures of the headline, and therefore of each month and group.
const HEADLINE_MAX: usize = 6;
/// Records of the sample.
const SAMPLE_ROWS_MAX: usize = 5;
/// Maximum columns of a sampled record, and maximum characters of a cell in it.
const SAMPLE_COLUMNS_MAX: usize = 24;
const SAMPLE_CHARS_MAX: usize = 80;

/// Computes the facts of a table about a quarter, or about all of it.
///
/// # Errors
/// `invalid_data` if a quarter is requested of a table without dates, or if numbers are too large;
/// `no_data_for_period` with the range of the file, if the quarter has no rows.
pub(crate) fn compute_facts(file: &str, mut table: Table, quarter: Option<Period>) -> Result<TableFacts, Cause> {
    let (warnings, mut notes) = (std::mem::take(&mut table.warnings), std::mem::take(&mut table.notes));
    let data = Data { table: &table };
    let (period, rows) = data.period(quarter)?;
    let previous = quarter.and_then(|quarter| quarter.previous());
    let previous_rows = previous.map(|previous| data.rows_in(&previous)).unwrap_or_default();
    let comparison = data.comparison(quarter, &rows, &previous_rows);
    let measures = data.measures(&rows, comparison.as_ref(), &mut notes)?;
    let headline = headline(&table.series, &mut notes);
    let groups = groups::Groups { table: &table, headline: &headline };
    let names = headline.iter().map(|series| series.name.clone()).collect();
    Ok(TableFacts {
        file: file.to_owned(),
        rows: table.rows.len() as u64,
        columns: table.columns.iter().map(column_fact).collect(),
        date_column: table
            .dates
            .as_ref()
            .and_then(|dates| table.columns.get(dates.column))
            .map(|column| column.name.clone()),
        growth: comparison.as_ref().map(|comparison| comparison.labels.clone()),
        by_month: groups.by_month(&rows, &mut notes)?,
        breakdowns: groups.breakdowns(&rows, &previous_rows, &mut notes)?,
        sample: data.sample(&rows),
        period,
        previous: previous
            .filter(|_| !previous_rows.is_empty())
            .map(|period| period_fact(&period, previous_rows.len())),
        measures,
        headline: names,
        warnings,
        notes,
    })
}

fn column_fact(column: &Column) -> ColumnFact {
    ColumnFact { name: column.name.clone(), kind: column.kind.as_str().to_owned(), reason: column.reason.clone() }
}

fn period_fact(period: &Period, rows: usize) -> PeriodFact {
    PeriodFact {
        label: period.to_string(),
        from: Some(period.from.to_string()),
        to: Some(period.to.to_string()),
        rows: rows as u64,
    }
}

/// The most important series, by their meaning; of equal ones, in the order of the file. Figures that do not
/// add up are in a headline only if no others are.
fn headline<'t>(all: &'t [Series], notes: &mut Vec<Note>) -> Vec<&'t Series> {
    let rank = |additive: bool| -> Vec<&Series> {
        let is_candidate = |series: &&Series| {
            (series.additivity == Additivity::Additive) == additive && series.meaning.headline_weight() > 0
        };
        let mut ranked: Vec<&Series> = all.iter().filter(is_candidate).collect();
        ranked.sort_by_key(|series| std::cmp::Reverse(series.meaning.headline_weight()));
        ranked
    };
    let mut ranked = rank(true);
    if ranked.is_empty() {
        ranked = rank(false);
    }
    if ranked.is_empty() {
        ranked = all.iter().collect();
    }
    if ranked.len() > HEADLINE_MAX {
        let others = list(ranked.iter().skip(HEADLINE_MAX).map(|series| series.name.as_str()));
        let message = format!(
            "The headline, the months and the groups have the {HEADLINE_MAX} most important measures; {others} are only among \
             the measures."
        );
        notes.push(Note::new(message));
        ranked.truncate(HEADLINE_MAX);
    }
    ranked
}

/// Converts a number to JSON.
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

/// The rows of a table by their dates.
struct Data<'a> {
    table: &'a Table,
}

impl Data<'_> {
    fn days(&self) -> &[Date] {
        self.table.dates.as_ref().map_or(&[], |dates| &dates.days)
    }

    fn rows_in(&self, period: &Period) -> Vec<usize> {
        self.days().iter().enumerate().filter(|(_, day)| period.contains(**day)).map(|(row, _)| row).collect()
    }

    fn range(&self) -> Option<(Date, Date)> {
        Some((*self.days().iter().min()?, *self.days().iter().max()?))
    }

    fn period(&self, quarter: Option<Period>) -> Result<(PeriodFact, Vec<usize>), Cause> {
        let all: Vec<usize> = (0..self.table.rows.len()).collect();
        match (quarter, self.range()) {
            (Some(quarter), None) => Err(self.undated(&quarter)),
            (Some(quarter), Some((from, to))) => {
                let rows = self.rows_in(&quarter);
                if rows.is_empty() {
                    return Err(self.no_rows(&quarter, (from, to)));
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

    /// The error for a quarter without rows. If the order of day and month was assumed, another one may have some.
    fn no_rows(&self, quarter: &Period, (from, to): (Date, Date)) -> Cause {
        let dates = self.table.dates.as_ref();
        let column = dates.and_then(|dates| self.table.columns.get(dates.column)).map(|column| column.name.as_str());
        let order = dates.and_then(|dates| dates.order.as_ref());
        let assumed = order.map(|note| format!(". {}", note.message)).unwrap_or_default();
        let message = format!("the data has no rows in {quarter}; it has {from} to {to}{assumed}");
        let details = json!({
            "period": quarter.to_string(),
            "from": from.to_string(),
            "to": to.to_string(),
            "column": column,
            "order_assumed": order.is_some(),
        });
        Cause::new(ErrorCode::NoDataForPeriod, message).with_details(details)
    }

    /// The error for a quarter of a table that no column dates: it names the column that comes closest.
    fn undated(&self, quarter: &Period) -> Cause {
        let message = format!("the request is about {quarter}, and no column of the data dates its rows");
        match self.table.undated.first() {
            Some(Note { line: Some(line), message: reason, .. }) => invalid(*line, format!("{message}. {reason}")),
            Some(Note { line: None, message: reason, .. }) => unreadable(format!("{message}. {reason}")),
            None => {
                let names = list(self.table.columns.iter().map(|column| column.name.as_str()));
                unreadable(format!(
                    "{message}: its columns are {names}. A column of dates that are plain numbers has a name such as `date`"
                ))
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

    fn measures(
        &self,
        rows: &[usize],
        comparison: Option<&Comparison>,
        notes: &mut Vec<Note>,
    ) -> Result<Vec<Measure>, Cause> {
        let mut all = Vec::with_capacity(self.table.series.len());
        for series in &self.table.series {
            let values: Vec<Decimal> = values_of(series, rows).collect();
            let total = sum(series, values.iter().copied())?;
            let (now, before) = match comparison {
                Some(comparison) => (figure(series, &comparison.now)?, figure(series, &comparison.before)?),
                None => (None, None),
            };
            let is_summed = series.additivity != Additivity::None && !values.is_empty();
            if is_summed && !total.is_exact_in_json() {
                let message = format!(
                    "The total of {} is {total}, which has more digits than a JSON number carries; the facts have the nearest \
                     one.",
                    preview(&series.name)
                );
                notes.push(Note::new(message).in_column(&series.name));
            }
            all.push(Measure {
                name: series.name.clone(),
                unit: series.unit.clone(),
                additive: series.additivity == Additivity::Additive,
                count: values.len() as u64,
                total: (series.additivity != Additivity::None).then(|| number(total)),
                mean: total.divide_by(values.len() as u64).map(number),
                min: values.iter().copied().min_by(|a, b| a.compare(*b)).map(number),
                max: values.iter().copied().max_by(|a, b| a.compare(*b)).map(number),
                compared_total: now.map(number),
                previous_total: before.map(number),
                growth_pct: now.zip(before).and_then(|(now, before)| now.growth_pct(before)).map(number),
                lower_is_better: is_lower_better(&series.name),
            });
        }
        Ok(all)
    }

    fn sample(&self, rows: &[usize]) -> Vec<BTreeMap<String, String>> {
        let short = |cell: &String| cell.chars().take(SAMPLE_CHARS_MAX).collect::<String>();
        let names = || self.table.columns.iter().map(|column| column.name.clone());
        rows.iter()
            .take(SAMPLE_ROWS_MAX)
            .filter_map(|row| self.table.rows.get(*row))
            .map(|row| names().zip(row.cells.iter().map(short)).take(SAMPLE_COLUMNS_MAX).collect())
            .collect()
    }
}

/// The values of a series in these rows.
fn values_of<'s>(series: &'s Series, rows: &'s [usize]) -> impl Iterator<Item = Decimal> + 's {
    rows.iter().filter_map(|row| series.values.get(*row).copied().flatten())
}

/// The figure that stands for a series over these rows: the total, or the mean of figures that do not add up;
/// `None` if there is no mean.
fn figure(series: &Series, rows: &[usize]) -> Result<Option<Decimal>, Cause> {
    let total = sum(series, values_of(series, rows))?;
    Ok(match series.additivity {
        Additivity::Additive => Some(total),
        Additivity::Doubtful | Additivity::None => total.divide_by(values_of(series, rows).count() as u64),
    })
}

fn sum(series: &Series, mut values: impl Iterator<Item = Decimal>) -> Result<Decimal, Cause> {
    let total = values.try_fold(Decimal::ZERO, Decimal::checked_add);
    total.ok_or_else(|| {
        Cause::new(
            ErrorCode::InvalidData,
            format!("the numbers of column {} are too large to be added exactly", preview(&series.name)),
        )
    })
}

/// `1 other`, `2 others`
fn others(number: usize) -> String {
    count(number, "other")
}

#[cfg(test)]
mod tests;

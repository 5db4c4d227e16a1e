//! What each column of a table is: a date, a figure, or a text. Decided by the whole column, so that
//! one broken cell is an error with its line and never a column that quietly stops being counted.

use std::collections::BTreeSet;

use greenroom_protocol::Cause;
use jiff::civil::Date;

use super::dates::{FORMATS, Format};
use super::decimal::{self, Decimal, Style};
use super::table::{self, Table};

/// Of a column whose name says what it is, more than half of the cells must bear it out.
const NAMED_PERCENT: usize = 50;
/// Any other column is mostly figures or dates from here on; the rest of its cells are broken.
const UNNAMED_PERCENT: usize = 90;
/// Cells on which every format of a date is tried; the ones that read any are tried on all.
const TRIED_CELLS: usize = 500;
/// Different texts of a column that groups rows.
const GROUPS: std::ops::RangeInclusive<usize> = 2..=24;

/// The cells of one column, typed. Each has as many as the table has rows.
#[derive(Debug)]
pub(crate) enum Cells {
    /// Days.
    Dates(Vec<Option<Date>>),
    /// Figures.
    Numbers(Vec<Option<Decimal>>),
    /// Texts; `groups` if they divide the rows into a few groups.
    Texts {
        /// True if there are few different ones.
        groups: bool,
    },
}

/// One column.
#[derive(Debug)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: String,
    /// Its sign, such as `$` or `%`, if all figures that have one have the same.
    pub(crate) unit: Option<&'static str>,
    /// Its cells.
    pub(crate) cells: Cells,
}

/// Types every column of a table.
///
/// # Errors
/// `invalid_data` for a cell that breaks what its column is.
pub(crate) fn of(table: &Table) -> Result<Vec<Column>, Cause> {
    let styles: Vec<Option<Style>> = (0..table.columns.len())
        .map(|place| decimal::evidence(table.cells(place).map(|(_, cell)| cell).filter(|cell| is_figure(cell))))
        .collect();
    let commas = table.semicolons || styles.contains(&Some(Style::CommaIsDecimal));
    let harness = if commas && !styles.contains(&Some(Style::PointIsDecimal)) {
        Style::CommaIsDecimal
    } else {
        Style::PointIsDecimal
    };
    let mut columns = Vec::with_capacity(table.columns.len());
    for (place, (name, style)) in table.columns.iter().zip(styles).enumerate() {
        let cells = typed(table, place, name, style.unwrap_or(harness))?;
        let unit = matches!(cells, Cells::Numbers(_)).then(|| unit_of(table, place)).flatten();
        columns.push(Column { name: name.clone(), unit, cells });
    }
    Ok(columns)
}

fn is_figure(cell: &str) -> bool {
    !decimal::is_blank(cell) && decimal::looks_numeric(cell)
}

/// The column that says when a row happened: by its name, else the first that is a date.
pub(crate) fn date_column(columns: &[Column]) -> Option<usize> {
    let dates = || columns.iter().enumerate().filter(|(_, column)| matches!(column.cells, Cells::Dates(_)));
    let by_name = dates().find(|(_, column)| is_date_column(&column.name));
    by_name.or_else(|| dates().next()).map(|(place, _)| place)
}

fn words(name: &str) -> Vec<String> {
    name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

fn names_any(name: &str, list: &[&str]) -> bool {
    words(name).iter().any(|word| list.contains(&word.as_str()))
}

fn is_date_column(name: &str) -> bool {
    let name = name.to_lowercase();
    ["date", "datum", "day", "month", "period", "quarter", "time", "week"].iter().any(|word| name.contains(word))
}

fn is_number_column(name: &str) -> bool {
    const FIGURES: [&str; 24] = [
        "revenue",
        "sales",
        "amount",
        "cost",
        "costs",
        "price",
        "units",
        "quantity",
        "qty",
        "total",
        "profit",
        "count",
        "orders",
        "customers",
        "users",
        "value",
        "income",
        "expense",
        "spend",
        "turnover",
        "margin",
        "tax",
        "budget",
        "volume",
    ];
    names_any(name, &FIGURES)
}

fn typed(table: &Table, place: usize, name: &str, style: Style) -> Result<Cells, Cause> {
    let filled = table.cells(place).filter(|(_, cell)| !decimal::is_blank(cell)).count();
    if filled == 0 {
        return Ok(Cells::Texts { groups: false });
    }
    let format = best_format(table, place, name);
    let dates = format.map_or(0, |format| fitting(table, place, |cell| format.parse(cell).is_some()));
    let figures = fitting(table, place, |cell| Decimal::parse(cell, style).is_some());
    let enough =
        |found: usize, named: bool| found * 100 > filled * if named { NAMED_PERCENT } else { UNNAMED_PERCENT - 1 };
    if let Some(format) = format
        && dates >= figures
        && enough(dates, is_date_column(name))
    {
        return read(table, place, "date", |cell| format.parse(cell)).map(Cells::Dates);
    }
    if enough(figures, is_number_column(name)) {
        return read(table, place, "number", |cell| Decimal::parse(cell, style)).map(Cells::Numbers);
    }
    let mut different: BTreeSet<&str> = BTreeSet::new();
    for (_, cell) in table.cells(place) {
        different.insert(cell);
        if different.len() > *GROUPS.end() {
            break;
        }
    }
    let groups = GROUPS.contains(&different.len()) && different.len() * 2 <= table.rows.len();
    Ok(Cells::Texts { groups })
}

fn fitting(table: &Table, place: usize, fits: impl Fn(&str) -> bool) -> usize {
    table.cells(place).filter(|(_, cell)| !decimal::is_blank(cell) && fits(cell)).count()
}

fn read<T>(
    table: &Table,
    place: usize,
    what: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<Option<T>>, Cause> {
    let name = table.columns.get(place).map_or("", String::as_str);
    table
        .cells(place)
        .map(|(line, cell)| {
            if decimal::is_blank(cell) {
                return Ok(None);
            }
            let broken = || {
                table::invalid(
                    line,
                    format!("{} in column {} is no {what}", table::preview(cell), table::preview(name)),
                )
            };
            parse(cell).map(Some).ok_or_else(broken)
        })
        .collect()
}

/// The format that reads the most cells; of several that read as many, the first one, except that a
/// file with semicolons writes the day first.
fn best_format(table: &Table, place: usize, name: &str) -> Option<Format> {
    let mut best: Option<(usize, Format)> = None;
    for format in FORMATS {
        if format == Format::Compact && !is_date_column(name) {
            continue;
        }
        // A format that reads none of the first cells is not the format of the column.
        let first = table.cells(place).filter(|(_, cell)| !decimal::is_blank(cell)).take(TRIED_CELLS);
        if !first.into_iter().any(|(_, cell)| format.parse(cell).is_some()) {
            continue;
        }
        let found = fitting(table, place, |cell| format.parse(cell).is_some());
        let better = match best {
            None => found > 0,
            Some((most, Format::MonthFirst)) if format == Format::DayFirst && table.semicolons => found >= most,
            Some((most, _)) => found > most,
        };
        if better {
            best = Some((found, format));
        }
    }
    best.map(|(_, format)| format)
}

fn unit_of(table: &Table, place: usize) -> Option<&'static str> {
    const UNITS: [(&str, &str); 8] =
        [("$", "$"), ("USD", "$"), ("€", "€"), ("EUR", "€"), ("£", "£"), ("GBP", "£"), ("%", "%"), ("CHF", "CHF")];
    let mut found = None;
    let plain = |cell: &str| cell.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b',' | b'-'));
    for (_, cell) in table.cells(place).filter(|(_, cell)| !plain(cell)) {
        let unit = UNITS.iter().find(|(sign, _)| cell.contains(sign)).map(|(_, unit)| *unit);
        match (found, unit) {
            (None, Some(unit)) => found = Some(unit),
            (Some(known), Some(unit)) if known != unit => return None,
            (Some(_), Some(_)) | (_, None) => {}
        }
    }
    found
}

/// How much a figure says about a business, by its name: what a headline takes first.
pub(crate) fn headline_weight(name: &str) -> u8 {
    const WEIGHTS: [(u8, &[&str]); 7] = [
        (0, &["id", "year", "month", "zip", "code", "number", "no", "day", "week", "lat", "lon", "phone"]),
        (10, &["rate", "pct", "percent", "ratio", "price", "score", "avg", "average", "discount", "index"]),
        (100, &["revenue", "sales", "turnover", "umsatz"]),
        (80, &["amount", "total", "value", "gmv", "income", "bookings", "arr", "mrr", "billings"]),
        (70, &["profit", "margin", "ebit", "ebitda", "earnings"]),
        (60, &["cost", "costs", "cogs", "expense", "expenses", "spend"]),
        (50, &["units", "quantity", "qty", "volume", "orders", "customers", "users", "count"]),
    ];
    let found = WEIGHTS.iter().find(|(_, list)| names_any(name, list));
    found.map_or(30, |(weight, _)| *weight)
}

/// True if less of it is better.
pub(crate) fn is_lower_better(name: &str) -> bool {
    names_any(
        name,
        &[
            "cost",
            "costs",
            "cogs",
            "expense",
            "expenses",
            "spend",
            "returns",
            "refunds",
            "churn",
            "tax",
            "complaints",
            "errors",
        ],
    )
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;

    use super::{Cells, Column, date_column, headline_weight, of};
    use crate::tables::csv;

    fn typed(text: &str) -> Vec<Column> {
        of(&csv::read(text.as_bytes()).unwrap()).unwrap()
    }

    fn totals(columns: &[Column]) -> Vec<String> {
        columns
            .iter()
            .filter_map(|column| match &column.cells {
                Cells::Numbers(all) => Some(
                    all.iter().flatten().fold(super::Decimal::ZERO, |sum, one| sum.plus(*one).unwrap()).to_string(),
                ),
                Cells::Dates(_) | Cells::Texts { .. } => None,
            })
            .collect()
    }

    #[test]
    fn each_column_is_what_all_of_it_says() {
        let columns = typed(
            "order_date,region,revenue,code\n2024-01-01,N,\"$1,200.50\",007\n2024-01-02,N,n/a,008\n2024-01-03,S,$3,009\n2024-01-03,S,$1,010\n",
        );
        assert_eq!(date_column(&columns), Some(0));
        assert_eq!(totals(&columns), ["1204.5"]);
        assert_eq!(columns[2].unit, Some("$"));
        assert!(matches!(columns[1].cells, Cells::Texts { groups: true }));
        assert!(matches!(columns[3].cells, Cells::Texts { groups: false }));
    }

    #[test]
    fn a_european_file_is_read_the_european_way() {
        let columns = typed("Datum;Umsatz;Menge\n03.04.2024;1.234,50;1.000\n04.04.2024;2,5;2.000\n");
        assert_eq!(totals(&columns), ["1237", "3000"]);
        let Cells::Dates(days) = &columns[0].cells else { panic!("no dates") };
        assert_eq!(days[0].unwrap().to_string(), "2024-04-03");
    }

    #[test]
    fn one_day_above_twelve_decides_the_column() {
        let Cells::Dates(days) = &typed("date,n\n03/04/2024,1\n14/04/2024,2\n")[0].cells else { panic!("no dates") };
        assert_eq!(days[0].unwrap().to_string(), "2024-04-03");
        let Cells::Dates(days) = &typed("date,n\n03/04/2024,1\n04/14/2024,2\n")[0].cells else { panic!("no dates") };
        assert_eq!(days[0].unwrap().to_string(), "2024-03-04");
    }

    #[test]
    fn a_broken_cell_is_an_error_with_its_line() {
        for (text, line) in [
            ("date,revenue\n2024-01-01,5\n2024-01-02,12x\n2024-01-03,6\n", 3),
            ("date,revenue\n2024-01-01,5\n2024-13-02,12\n2024-01-03,6\n", 3),
        ] {
            let cause = of(&csv::read(text.as_bytes()).unwrap()).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidData);
            assert_eq!(cause.details["line"], line, "{cause}");
        }
    }

    #[test]
    fn what_a_headline_takes_first_goes_by_name() {
        assert!(headline_weight("net_revenue") > headline_weight("units"));
        assert!(headline_weight("units") > headline_weight("unit_price"));
        assert_eq!(headline_weight("customer_id"), 0);
    }
}

//! The types of the columns of a table: date, figure or text. The complete column determines its type, so
//! that an invalid cell is an error with its line, and never turns its column into text unnoticed.

use std::collections::BTreeSet;

use greenroom_protocol::Cause;
use jiff::civil::Date;

use super::dates::{self, DateSettings, DateVerdict};
use super::decimal::{self, Decimal, Style};
use super::grid::Cell;
use super::note::Note;
use super::table::{self, Table};

/// Percentage of matching cells above which a column has the type that its name suggests.
const NAMED_PERCENT: usize = 50;
/// Percentage of matching cells from which any other column has the type; its other cells are invalid.
const UNNAMED_PERCENT: usize = 90;
/// Number of distinct texts of a column that groups rows.
const GROUPS: std::ops::RangeInclusive<usize> = 2..=24;

/// The typed cells of one column, one per row.
#[derive(Debug)]
pub(crate) enum Cells {
    /// Days.
    Dates(Vec<Option<Date>>),
    /// Figures.
    Numbers(Vec<Option<Decimal>>),
    /// Texts.
    Texts {
        /// True if few distinct texts divide the rows into groups.
        groups: bool,
    },
}

/// One column.
#[derive(Debug)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: String,
    /// Its unit, such as `$` or `%`, if all figures with a unit have the same.
    pub(crate) unit: Option<&'static str>,
    /// Its cells.
    pub(crate) cells: Cells,
}

/// Determines the type of every column of a table.
///
/// # Errors
/// `invalid_data` for a cell that does not match the type of its column.
pub(crate) fn type_columns(
    table: &Table,
    settings: &DateSettings,
    findings: &mut Findings,
) -> Result<Vec<Column>, Cause> {
    let styles: Vec<Option<Style>> = (0..table.columns.len())
        .map(|index| decimal::detect_style(table.cells(index).map(|(_, cell)| cell).filter(|cell| is_figure(cell))))
        .collect();
    let commas = table.semicolons || styles.contains(&Some(Style::CommaIsDecimal));
    let default_style = if commas && !styles.contains(&Some(Style::PointIsDecimal)) {
        Style::CommaIsDecimal
    } else {
        Style::PointIsDecimal
    };
    let mut columns = Vec::with_capacity(table.columns.len());
    for (index, (name, style)) in table.columns.iter().zip(styles).enumerate() {
        let cells = match type_dates(table, index, name, settings, findings)? {
            Some(cells) => cells,
            None => type_cells(table, index, name, style.unwrap_or(default_style))?,
        };
        let unit = matches!(cells, Cells::Numbers(_)).then(|| unit_of(table, index)).flatten();
        columns.push(Column { name: name.clone(), unit, cells });
    }
    Ok(columns)
}

fn is_figure(cell: &str) -> bool {
    !decimal::is_blank(cell) && decimal::looks_numeric(cell)
}

/// The column that dates the rows: by its name, or else the first date column.
pub(crate) fn date_column(columns: &[Column]) -> Option<usize> {
    let dates = || columns.iter().enumerate().filter(|(_, column)| matches!(column.cells, Cells::Dates(_)));
    let by_name = dates().find(|(_, column)| is_date_column(&column.name));
    by_name.or_else(|| dates().next()).map(|(index, _)| index)
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

fn type_cells(table: &Table, index: usize, name: &str, style: Style) -> Result<Cells, Cause> {
    let filled = table.cells(index).filter(|(_, cell)| !decimal::is_blank(cell)).count();
    if filled == 0 {
        return Ok(Cells::Texts { groups: false });
    }
    let figures = count_matches(table, index, |cell| Decimal::parse(cell, style).is_some());
    let is_enough = |matches: usize, is_named: bool| {
        matches * 100 > filled * if is_named { NAMED_PERCENT } else { UNNAMED_PERCENT - 1 }
    };
    if is_enough(figures, is_number_column(name)) {
        return parse_cells(table, index, "number", |cell| Decimal::parse(cell, style)).map(Cells::Numbers);
    }
    let mut distinct: BTreeSet<&str> = BTreeSet::new();
    for (_, cell) in table.cells(index) {
        distinct.insert(cell);
        if distinct.len() > *GROUPS.end() {
            break;
        }
    }
    let groups = GROUPS.contains(&distinct.len()) && distinct.len() * 2 <= table.rows.len();
    Ok(Cells::Texts { groups })
}

fn count_matches(table: &Table, index: usize, is_match: impl Fn(&str) -> bool) -> usize {
    table.cells(index).filter(|(_, cell)| !decimal::is_blank(cell) && is_match(cell)).count()
}

fn parse_cells<T>(
    table: &Table,
    index: usize,
    type_name: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<Option<T>>, Cause> {
    let name = table.columns.get(index).map_or("", String::as_str);
    table
        .cells(index)
        .map(|(line, cell)| {
            if decimal::is_blank(cell) {
                return Ok(None);
            }
            let invalid = || {
                table::invalid(
                    line,
                    format!("{} in column {} is not a {type_name}", table::preview(cell), table::preview(name)),
                )
            };
            parse(cell).map(Some).ok_or_else(invalid)
        })
        .collect()
}

/// The notes and the warnings about the columns.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Choices.
    pub(crate) notes: Vec<Note>,
    /// Doubts.
    pub(crate) warnings: Vec<Note>,
}

fn type_dates(
    table: &Table,
    index: usize,
    name: &str,
    settings: &DateSettings,
    findings: &mut Findings,
) -> Result<Option<Cells>, Cause> {
    let cells: Vec<(u64, Cell)> = table.cells(index).map(|(line, cell)| (line, Cell::from_text(cell))).collect();
    let cells: Vec<(u64, &Cell)> = cells.iter().map(|(line, cell)| (*line, cell)).collect();
    match dates::classify_date_column(name, &cells, settings) {
        DateVerdict::NotDates => Ok(None),
        DateVerdict::Dates { values, notes } => {
            findings.notes.extend(notes);
            Ok(Some(Cells::Dates(values)))
        }
        DateVerdict::Undated { warning } => {
            findings.warnings.push(warning);
            Ok(Some(Cells::Texts { groups: false }))
        }
        DateVerdict::Unreadable { line, message } => Err(table::invalid(line, message)),
    }
}

fn unit_of(table: &Table, index: usize) -> Option<&'static str> {
    const UNITS: [(&str, &str); 8] =
        [("$", "$"), ("USD", "$"), ("€", "€"), ("EUR", "€"), ("£", "£"), ("GBP", "£"), ("%", "%"), ("CHF", "CHF")];
    let mut common = None;
    let plain = |cell: &str| cell.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b',' | b'-'));
    for (_, cell) in table.cells(index).filter(|(_, cell)| !plain(cell)) {
        let unit = UNITS.iter().find(|(sign, _)| cell.contains(sign)).map(|(_, unit)| *unit);
        match (common, unit) {
            (None, Some(unit)) => common = Some(unit),
            (Some(known), Some(unit)) if known != unit => return None,
            (Some(_), Some(_)) | (_, None) => {}
        }
    }
    common
}

/// The importance of a figure in a headline, by its name; the headline takes the highest first.
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
    let entry = WEIGHTS.iter().find(|(_, list)| names_any(name, list));
    entry.map_or(30, |(weight, _)| *weight)
}

/// True if a lower value is better.
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

    use super::{Cells, Column, DateSettings, Findings, date_column, headline_weight, type_columns};
    use crate::tables::read::read;
    use crate::tables::table::Table;

    fn table(text: &str) -> Table {
        Table::from_grid(read(text.as_bytes(), None).unwrap()).unwrap()
    }

    fn settings() -> DateSettings {
        DateSettings { has_semicolons: true, ..DateSettings::default() }
    }

    fn typed(text: &str) -> Vec<Column> {
        type_columns(&table(text), &settings(), &mut Findings::default()).unwrap()
    }

    fn totals(columns: &[Column]) -> Vec<String> {
        columns
            .iter()
            .filter_map(|column| match &column.cells {
                Cells::Numbers(all) => Some(
                    all.iter()
                        .flatten()
                        .fold(super::Decimal::ZERO, |sum, one| sum.checked_add(*one).unwrap())
                        .to_string(),
                ),
                Cells::Dates(_) | Cells::Texts { .. } => None,
            })
            .collect()
    }

    #[test]
    fn the_complete_column_determines_its_type() {
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
    fn a_european_file_has_decimal_commas_and_days_first() {
        let columns = typed("Datum;Umsatz;Menge\n03.04.2024;1.234,50;1.000\n04.04.2024;2,5;2.000\n");
        assert_eq!(totals(&columns), ["1237", "3000"]);
        let Cells::Dates(days) = &columns[0].cells else { panic!("no dates") };
        assert_eq!(days[0].unwrap().to_string(), "2024-04-03");
    }

    #[test]
    fn one_day_above_twelve_determines_the_format_of_the_column() {
        let Cells::Dates(days) = &typed("date,n\n03/04/2024,1\n14/04/2024,2\n")[0].cells else { panic!("no dates") };
        assert_eq!(days[0].unwrap().to_string(), "2024-04-03");
        let Cells::Dates(days) = &typed("date,n\n03/04/2024,1\n04/14/2024,2\n")[0].cells else { panic!("no dates") };
        assert_eq!(days[0].unwrap().to_string(), "2024-03-04");
    }

    #[test]
    fn an_invalid_cell_is_an_error_with_its_line() {
        for (text, line) in [
            ("date,revenue\n2024-01-01,5\n2024-01-02,12x\n2024-01-03,6\n", 3),
            ("date,revenue\n2024-01-01,5\n2024-13-02,12\n2024-01-03,6\n", 3),
        ] {
            let cause = type_columns(&table(text), &settings(), &mut Findings::default()).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidData);
            assert_eq!(cause.details["line"], line, "{cause}");
        }
    }

    #[test]
    fn the_headline_weight_depends_on_the_name() {
        assert!(headline_weight("net_revenue") > headline_weight("units"));
        assert!(headline_weight("units") > headline_weight("unit_price"));
        assert_eq!(headline_weight("customer_id"), 0);
    }
}

//! The units of the figures of a column: amounts of several currencies become a series for each of them, and
//! are never added up.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::figure::{Form, form_of};
use super::findings::Findings;
use super::meaning::Meaning;
use super::name_unit::{NameUnit, unit_of_name};
use super::numbers::Numbers;
use super::table::Row;
use crate::tables::decimal::Decimal;
use crate::tables::grid::list;
use crate::tables::note::{Note, preview};
use crate::tables::unit::{self, Affix, Unit};

/// Maximum units of one column.
const UNITS_MAX: usize = 40;
/// Distinct texts up to which a column that is named like one of units has units, also if they are not known.
const NAMED_UNITS_MAX: usize = 12;
/// Maximum characters of such a text.
const NAMED_UNIT_CHARS_MAX: usize = 16;
/// The label of figures without a unit in a column where others have one.
const NO_UNIT: &str = "no unit";

/// A column whose cells are the units of other columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnitColumn {
    /// The index of the column.
    pub(super) column: usize,
    /// True if the units are currencies.
    pub(super) has_currencies: bool,
}

/// True if the name of a column is that of a currency.
pub(super) fn names_currency(name: &str) -> bool {
    const WORDS: [&str; 16] = [
        "currency",
        "currencies",
        "curr",
        "ccy",
        "währung",
        "waehrung",
        "devise",
        "moneda",
        "divisa",
        "valuta",
        "moeda",
        "waluta",
        "měna",
        "валюта",
        "通貨",
        "货币",
    ];
    let lower = name.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).any(|word| WORDS.contains(&word))
}

/// True if the name of a column is nothing but a word for units.
fn names_unit(name: &str) -> bool {
    const NAMES: [&str; 31] = [
        "unit",
        "units",
        "uom",
        "u o m",
        "unit of measure",
        "unit of measurement",
        "units of measure",
        "measurement unit",
        "measure unit",
        "base unit",
        "quantity unit",
        "qty unit",
        "amount unit",
        "einheit",
        "einheiten",
        "mengeneinheit",
        "maßeinheit",
        "masseinheit",
        "unité",
        "unité de mesure",
        "unidad",
        "unidad de medida",
        "unità",
        "unità di misura",
        "unidade",
        "eenheid",
        "enhet",
        "enhed",
        "jednostka",
        "jednostka miary",
        "yksikkö",
    ];
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    NAMES.contains(&words.join(" ").as_str())
}

/// Determines whether the texts of a column are units: currencies by their content or by the name of the column, other
/// units by their content, or by the name if the texts are few and short.
pub(super) fn unit_column<'a>(
    column: usize,
    name: &str,
    mut texts: impl Iterator<Item = &'a str> + Clone,
) -> Option<UnitColumn> {
    texts.clone().next()?;
    if names_currency(name) || texts.clone().all(|text| unit::named_currency(text).is_some()) {
        return Some(UnitColumn { column, has_currencies: true });
    }
    let is_unit = |text: &str| unit::measure(text).is_some();
    let is_named = || {
        let is_short = |text: &str| {
            text.chars().count() <= NAMED_UNIT_CHARS_MAX && (is_unit(text) || !text.contains(char::is_numeric))
        };
        let distinct: BTreeSet<String> = texts.clone().map(fold).collect();
        texts.clone().all(is_short) && distinct.len() <= NAMED_UNITS_MAX
    };
    let is_column = (names_unit(name) && is_named()) || texts.all(is_unit);
    is_column.then_some(UnitColumn { column, has_currencies: false })
}

/// The column of units that a column of figures has. Figures of several columns of units have the nearest one.
pub(super) fn unit_column_of(
    numbers: &Numbers,
    (name, meaning): (&str, Meaning),
    units: &[UnitColumn],
    quantities: &[usize],
) -> Option<UnitColumn> {
    let states_currency = matches!(unit_of_name(name).unit, Some(Unit::Currency(_)));
    let applies = |unit: &&UnitColumn| {
        if unit.has_currencies {
            return meaning.may_be_money();
        }
        // Where a column has quantities, an amount is money, unless the unit follows it.
        let is_described = quantities.is_empty() || numbers.column + 1 == unit.column;
        meaning == Meaning::Quantity || (meaning.may_be_quantity() && is_described && !states_currency)
    };
    let distance = |unit: &&UnitColumn| (!unit.has_currencies, unit.column.abs_diff(numbers.column));
    units.iter().filter(applies).min_by_key(distance).copied()
}

/// A text by which two spellings of one unit are equal: without its case and its plural.
fn fold(text: &str) -> String {
    let lower = text.trim().to_lowercase();
    match lower.strip_suffix('s') {
        Some(singular) if singular.chars().count() > 2 => singular.to_owned(),
        Some(_) | None => lower,
    }
}

/// One unit of a column, with the values that have it.
#[derive(Debug)]
pub(super) struct UnitSeries {
    /// The unit.
    pub(super) unit: Option<String>,
    /// True if the unit is a currency.
    pub(super) is_currency: bool,
    /// True if the unit is per cent or per mille.
    pub(super) is_share: bool,
    /// One value for each row; `None` where the value has another unit.
    pub(super) values: Vec<Option<Decimal>>,
}

/// The column whose units are determined.
pub(super) struct Subject<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its values.
    pub(super) numbers: &'a Numbers,
    /// The rows, for their lines and for the column of units.
    pub(super) rows: &'a [Row],
    /// The column of units that belongs to it.
    pub(super) unit_column: Option<UnitColumn>,
}

/// Splits a column into one series for each unit. An empty list means that its figures have no common kind, so
/// that the column is left out; this is reported.
pub(super) fn split(subject: &Subject<'_>, findings: &mut Findings) -> Vec<UnitSeries> {
    let name_unit = unit_of_name(subject.name);
    // With the index and the line of the first row: several rows of a file may be on one line.
    let mut series: BTreeMap<String, (UnitSeries, (usize, u64))> = BTreeMap::new();
    let rows = subject.numbers.values.len();
    let mut contradiction: Option<(u64, &str, &str)> = None;
    for (index, row) in subject.rows.iter().enumerate() {
        let Some(value) = subject.numbers.values.get(index).copied().flatten() else { continue };
        let own = subject.numbers.units.get(index).copied().flatten();
        let unit = unit_of_row(subject, row, own, name_unit);
        if let (Some(Unit::Currency(own)), Some(Unit::Currency(stated))) = (own, name_unit.unit)
            && unit::reconcile(own, stated).or_else(|| unit::reconcile(stated, own)).is_none()
        {
            contradiction.get_or_insert((row.line, own, stated));
        }
        // Zero is the same in every unit.
        if value.is_zero() && own.is_none() && unit.label.is_empty() && !subject.numbers.units.is_empty() {
            continue;
        }
        let (entry, _) = series.entry(unit.key()).or_insert_with(|| {
            let label = (!unit.label.is_empty()).then(|| unit.label.clone().into_owned());
            (
                UnitSeries {
                    unit: label,
                    is_currency: unit.is_currency,
                    is_share: unit.is_share,
                    values: vec![None; rows],
                },
                (index, row.line),
            )
        });
        if let Some(cell) = entry.values.get_mut(index) {
            *cell = Some(value);
        }
    }
    if let Some((line, own, stated)) = contradiction {
        let message = format!(
            "The name of column {} states {stated}, and the figure in line {line} has {own}; the figure decides.",
            preview(subject.name)
        );
        findings.warn(Note::new(message).at_line(line).in_column(subject.name));
    }
    let mut all: Vec<(UnitSeries, (usize, u64))> = series.into_values().collect();
    all.sort_by_key(|(_, first)| *first);
    let all = all.into_iter().map(|(series, (_, line))| (series, line)).collect();
    merge(subject, all, findings)
}

/// The unit of one figure.
struct RowUnit<'a> {
    label: Cow<'a, str>,
    /// True if it is one of the units that are known here.
    is_known: bool,
    is_currency: bool,
    is_share: bool,
}

impl RowUnit<'_> {
    fn known(unit: Unit) -> Self {
        let (is_currency, is_share) = (matches!(unit, Unit::Currency(_)), matches!(unit, Unit::Share(_)));
        Self { label: Cow::Borrowed(unit.label()), is_known: true, is_currency, is_share }
    }

    const fn none() -> Self {
        Self { label: Cow::Borrowed(""), is_known: true, is_currency: false, is_share: false }
    }

    /// A text by which units are equal. The first spelling of an unknown one is its label.
    fn key(&self) -> String {
        if self.is_known { self.label.clone().into_owned() } else { fold(&self.label) }
    }
}

/// The unit in the cell is the most exact one; then that of the row, then that of the name.
fn unit_of_row<'a>(subject: &Subject<'a>, row: &'a Row, own: Option<Unit>, name_unit: NameUnit) -> RowUnit<'a> {
    let unit = unscaled_unit(subject, row, own, name_unit.unit);
    // A share is no amount, and a figure with a scale of its own was counted in full.
    if name_unit.scale == 0 || unit.is_share {
        return unit;
    }
    RowUnit { label: Cow::Owned(name_unit.label(&unit.label).into_owned()), ..unit }
}

fn unscaled_unit<'a>(subject: &Subject<'a>, row: &'a Row, own: Option<Unit>, name_unit: Option<Unit>) -> RowUnit<'a> {
    let stated = subject.unit_column.and_then(|column| row.cells.get(column.column)).map(String::as_str);
    let stated = stated.filter(|text| form_of(text) != Form::NoValue);
    match (own, stated) {
        (Some(own @ Unit::Currency(sign)), Some(text)) => match unit::named_currency(text) {
            Some(Unit::Currency(code)) => RowUnit::known(unit::reconcile(sign, code).map_or(own, Unit::Currency)),
            Some(Unit::Share(_) | Unit::Other(_)) | None => RowUnit::known(own),
        },
        (Some(own), _) => RowUnit::known(own),
        (None, Some(text)) => stated_unit(text, subject.unit_column.is_some_and(|column| column.has_currencies)),
        (None, None) => name_unit.map_or(RowUnit::none(), RowUnit::known),
    }
}

/// The unit that a text in a column of units is.
fn stated_unit(text: &str, is_currency: bool) -> RowUnit<'_> {
    let (first, second) = if is_currency {
        (unit::named_currency(text), unit::measure(text))
    } else {
        (unit::measure(text), unit::named_currency(text))
    };
    let share = match unit::affix(text) {
        Some(Affix::Unit(unit @ Unit::Share(_))) => Some(unit),
        Some(Affix::Unit(Unit::Currency(_) | Unit::Other(_)) | Affix::Scale(_)) | None => None,
    };
    first
        .or(second)
        .or(share)
        .map_or(RowUnit { label: Cow::Borrowed(text), is_known: false, is_currency, is_share: false }, RowUnit::known)
}

/// Decides what to do with the figures of each unit, and reports it.
fn merge(subject: &Subject<'_>, mut all: Vec<(UnitSeries, u64)>, findings: &mut Findings) -> Vec<UnitSeries> {
    let name = preview(subject.name);
    let bare = all.iter().position(|(series, _)| series.unit.is_none());
    let with_unit = all.len() - usize::from(bare.is_some());
    let shares = all.iter().filter(|(series, _)| series.is_share).count();
    if shares > 0 && all.len() > 1 {
        let first = all.iter().find(|(series, _)| !series.is_share).map_or(0, |(_, line)| *line);
        let message = format!(
            "Column {name} mixes percentages with other figures (line {first}), so it is left out; write all figures of a \
             column alike."
        );
        findings.warn(Note::new(message).at_line(first).in_column(subject.name));
        return Vec::new();
    }
    if let (Some(bare), 1) = (bare, with_unit) {
        return vec![join(subject, bare, all, findings)];
    }
    if all.len() > UNITS_MAX {
        let message = format!(
            "Column {name} has figures in {} units, at most {UNITS_MAX} are distinguished, so it is left out.",
            all.len()
        );
        findings.warn(Note::new(message).in_column(subject.name));
        return Vec::new();
    }
    if all.len() > 1 {
        let labels: Vec<&str> = all.iter().map(|(series, _)| series.unit.as_deref().unwrap_or(NO_UNIT)).collect();
        let kind = if all.iter().all(|(series, _)| series.is_currency) { "currencies" } else { "units" };
        let message = format!(
            "Column {name} has figures in {} {kind} ({}); each of them is a measure of its own, and they are never added up.",
            all.len(),
            list(labels)
        );
        findings.warn(Note::new(message).in_column(subject.name));
    }
    all.drain(..).map(|(series, _)| series).collect()
}

/// Figures without a unit beside figures with a single unit have the same unit; this is reported.
fn join(subject: &Subject<'_>, bare: usize, mut all: Vec<(UnitSeries, u64)>, findings: &mut Findings) -> UnitSeries {
    let (without, line) = all.swap_remove(bare);
    let Some((mut series, _)) = all.pop() else { return without };
    let count = without.values.iter().flatten().count();
    for (value, other) in series.values.iter_mut().zip(without.values) {
        *value = value.or(other);
    }
    let message = format!(
        "Column {}: {count} of its figures have no unit (the first in line {line}); they are counted as {}, the only unit of \
         the column.",
        preview(subject.name),
        series.unit.as_deref().unwrap_or(NO_UNIT)
    );
    findings.note(Note::new(message).at_line(line).in_column(subject.name));
    series
}

#[cfg(test)]
mod tests;

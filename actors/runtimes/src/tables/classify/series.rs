//! Figures of one unit → a series: its name, and whether its figures add up.

use super::findings::Findings;
use super::meaning::Meaning;
use super::table::{Additivity, Series};
use super::units::UnitSeries;
use crate::tables::decimal::Decimal;
use crate::tables::note::{Note, preview};

/// A margin or a discount whose values are all within this bound is a ratio and not an amount.
const RATIO_MAX: &str = "100";
/// Rows from which the values of one column that add up those of another are no coincidence.
const RUNNING_ROWS_MIN: usize = 3;

/// Makes the series of one column.
pub(super) fn make(name: &str, meaning: Meaning, units: Vec<UnitSeries>, findings: &mut Findings) -> Vec<Series> {
    let has_several = units.len() > 1;
    let mut all = Vec::with_capacity(units.len());
    for unit in units {
        let label = unit.unit.as_deref();
        let additivity = additivity(meaning, &unit);
        let full_name = if has_several { format!("{name} ({})", label.unwrap_or("no unit")) } else { name.to_owned() };
        if additivity != Additivity::Additive {
            let message = format!("Column {}: {}", preview(&full_name), reason(meaning, additivity));
            findings.note(Note::new(message).in_column(&full_name));
        }
        all.push(Series { name: full_name, unit: unit.unit, meaning, additivity, values: unit.values });
    }
    all
}

fn additivity(meaning: Meaning, unit: &UnitSeries) -> Additivity {
    if unit.is_share {
        return Additivity::None;
    }
    match meaning {
        // An identifier with a fraction is a coordinate or a number of a version.
        Meaning::Ratio | Meaning::UnitPrice | Meaning::Level | Meaning::Identifier | Meaning::Calendar => {
            Additivity::None
        }
        Meaning::Price => Additivity::Doubtful,
        Meaning::RatioOrAmount if !unit.is_currency && is_within_ratio(&unit.values) => Additivity::None,
        Meaning::RatioOrAmount
        | Meaning::Revenue
        | Meaning::Profit
        | Meaning::Cost
        | Meaning::Quantity
        | Meaning::Amount
        | Meaning::Plan
        | Meaning::Unknown => Additivity::Additive,
    }
}

fn is_within_ratio(values: &[Option<Decimal>]) -> bool {
    let bound = Decimal::parse(RATIO_MAX).map_or(0.0, Decimal::to_f64);
    values.iter().flatten().all(|value| value.to_f64().abs() <= bound)
}

/// The reason why figures are not added up, as a sentence.
fn reason(meaning: Meaning, additivity: Additivity) -> &'static str {
    match (additivity, meaning) {
        (Additivity::Doubtful, _) => {
            "prices add up only if each row is one item, so the headline has their mean and not their total."
        }
        (_, Meaning::UnitPrice) => "prices for one unit do not add up; there is a mean, a minimum and a maximum.",
        (_, Meaning::Level) => "balances and running totals do not add up; there is a mean, a minimum and a maximum.",
        (_, Meaning::Identifier | Meaning::Calendar) => {
            "codes, coordinates and parts of dates do not add up; there is a mean, a minimum and a maximum."
        }
        (
            _,
            Meaning::Ratio
            | Meaning::RatioOrAmount
            | Meaning::Price
            | Meaning::Revenue
            | Meaning::Profit
            | Meaning::Cost
            | Meaning::Quantity
            | Meaning::Amount
            | Meaning::Plan
            | Meaning::Unknown,
        ) => "percentages, rates and ratios do not add up; there is a mean, a minimum and a maximum.",
    }
}

/// Finds the series that are running totals of others: each value adds the other's value of its row.
pub(super) fn mark_running_totals(all: &mut [Series], findings: &mut Findings) {
    let pairs: Vec<(usize, String)> = (0..all.len())
        .filter_map(|index| {
            let total = all.get(index).filter(|series| series.additivity == Additivity::Additive)?;
            let part = all.iter().enumerate().find(|(other, part)| *other != index && is_running_total(total, part));
            part.map(|(_, part)| (index, part.name.clone()))
        })
        .collect();
    for (index, part) in pairs {
        let Some(series) = all.get_mut(index) else { continue };
        series.meaning = Meaning::Level;
        series.additivity = Additivity::None;
        let message = format!(
            "Column {} is the running total of column {}: each row adds one value. It is not added up once more.",
            preview(&series.name),
            preview(&part)
        );
        findings.warn(Note::new(message).in_column(&series.name));
    }
}

fn is_running_total(total: &Series, part: &Series) -> bool {
    let mut sum = Decimal::ZERO;
    let mut rows = 0_usize;
    for (total, part) in total.values.iter().zip(&part.values) {
        let (Some(total), Some(part)) = (total, part) else { return false };
        let Some(next) = sum.checked_add(*part) else { return false };
        if !total.compare(next).is_eq() {
            return false;
        }
        sum = next;
        rows += usize::from(!part.is_zero());
    }
    rows >= RUNNING_ROWS_MIN
}

#[cfg(test)]
mod tests {
    use super::super::findings::Findings;
    use super::super::meaning::{Meaning, meaning_of};
    use super::super::table::{Additivity, Series};
    use super::super::units::UnitSeries;
    use super::{make, mark_running_totals};
    use crate::tables::decimal::Decimal;

    fn unit_series(unit: Option<&str>, values: &[&str]) -> UnitSeries {
        UnitSeries {
            unit: unit.map(str::to_owned),
            is_currency: unit == Some("$"),
            is_share: unit == Some("%"),
            values: values.iter().map(|value| Decimal::parse(value)).collect(),
        }
    }

    fn series(name: &str, unit: Option<&str>, values: &[&str]) -> Series {
        make(name, meaning_of(name), vec![unit_series(unit, values)], &mut Findings::default()).remove(0)
    }

    #[test]
    fn percentages_prices_rates_and_ratios_do_not_add_up() {
        for (name, unit, values, expected) in [
            ("margin", None, &["0.3", "0.4"][..], Additivity::None),
            ("margin", None, &["1082.14"], Additivity::Additive),
            ("margin", Some("$"), &["5"], Additivity::Additive),
            ("growth", Some("%"), &["5"], Additivity::None),
            ("foo", Some("%"), &["5"], Additivity::None),
            ("price", None, &["5"], Additivity::Doubtful),
            ("unit_price", Some("$"), &["5"], Additivity::None),
            ("saldo", Some("$"), &["5"], Additivity::None),
            ("lat", None, &["52.5"], Additivity::None),
            ("revenue", Some("$"), &["5"], Additivity::Additive),
        ] {
            assert_eq!(series(name, unit, values).additivity, expected, "{name} {unit:?}");
        }
    }

    #[test]
    fn each_unit_is_a_series_with_its_name() {
        let units = vec![unit_series(Some("$"), &["5"]), unit_series(None, &["6"])];
        let all = make("amount", Meaning::Amount, units, &mut Findings::default());
        let names: Vec<&str> = all.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["amount ($)", "amount (no unit)"]);
    }

    #[test]
    fn a_running_total_is_recognised_by_its_arithmetic() {
        let mut all = vec![series("sold", None, &["1", "2", "4"]), series("until now", None, &["1", "3", "7"])];
        let mut findings = Findings::default();
        mark_running_totals(&mut all, &mut findings);
        assert_eq!((all[0].additivity, all[1].additivity), (Additivity::Additive, Additivity::None));
        assert!(
            findings.warnings[0].message.starts_with("Column \"until now\" is the running total of column \"sold\"")
        );
    }
}

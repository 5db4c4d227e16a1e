//! Sums of rows, and whether a row repeats them.

use crate::tables::decimal::Decimal;

/// Relative difference up to which two sums are equal.
const EQUAL_WITHIN: f64 = 1e-9;

/// The values of a row in the columns whose figures add up.
pub(super) type Values = Vec<Option<Decimal>>;

/// Sums of each number column.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    totals: Vec<Decimal>,
    /// Rows that were added.
    pub(super) rows: usize,
}

impl Sums {
    pub(super) fn new(columns: usize) -> Self {
        Self { totals: vec![Decimal::ZERO; columns], rows: 0 }
    }

    pub(super) fn add(&mut self, values: &[Option<Decimal>]) {
        self.rows += 1;
        for (total, value) in self.totals.iter_mut().zip(values) {
            *total = value.and_then(|value| total.checked_add(value)).unwrap_or(*total);
        }
    }

    /// The sums without those of a row that was added.
    pub(super) fn without(&self, values: &[Option<Decimal>]) -> Self {
        let mut own = Self::new(self.totals.len());
        own.add(values);
        self.since(&own)
    }

    /// The sums of the rows that were added after these.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let pairs = self.totals.iter().zip(&earlier.totals);
        let totals = pairs.map(|(now, before)| now.checked_sub(*before).unwrap_or(*now)).collect();
        Self { totals, rows: self.rows.saturating_sub(earlier.rows) }
    }

    /// True if each figure of a row is the sum of its column, and one of them is not zero.
    pub(super) fn equal(&self, values: &[Option<Decimal>]) -> bool {
        values.iter().flatten().any(|value| !value.is_zero()) && self.equal_or_zero(values)
    }

    /// True if each figure of a row is the sum of its column.
    pub(super) fn equal_or_zero(&self, values: &[Option<Decimal>]) -> bool {
        let mut pairs = self.totals.iter().zip(values).filter_map(|(total, value)| Some((total, (*value)?)));
        // Spreadsheets store sums as binary fractions.
        let is_equal = |(total, value): (&Decimal, Decimal)| {
            let (total, value) = (total.to_f64(), value.to_f64());
            (total - value).abs() <= total.abs() * EQUAL_WITHIN
        };
        self.rows > 0 && values.iter().any(Option::is_some) && pairs.all(is_equal)
    }
}

/// What a row describes other rows by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statistic {
    /// The sum divided by the number of values.
    Mean,
    /// The value in the middle.
    Median,
    /// The least value.
    Minimum,
    /// The greatest value.
    Maximum,
    /// The number of values.
    Count,
}

/// True if each figure of a row is this statistic of the values of its column. Means are rounded to the digits of the
/// row.
pub(super) fn is_statistic(statistic: Statistic, rows: &[Values], values: &[Option<Decimal>]) -> bool {
    let columns: Vec<(Decimal, Vec<Decimal>)> = values
        .iter()
        .enumerate()
        .filter_map(|(column, value)| {
            let mut all: Vec<Decimal> = rows.iter().filter_map(|row| row.get(column).copied().flatten()).collect();
            all.sort_by(|a, b| a.compare(*b));
            Some(((*value)?, all))
        })
        .collect();
    let is = |statistic: &dyn Fn(&[Decimal]) -> Option<f64>| {
        columns.iter().all(|(value, all)| {
            let half = 0.5 * 10_f64.powi(-i32::try_from(value.fraction_digits()).unwrap_or(i32::MAX));
            statistic(all).is_some_and(|found| (found - value.to_f64()).abs() <= half * (1.0 + EQUAL_WITHIN))
        })
    };
    #[expect(clippy::cast_precision_loss, reason = "a table has fewer rows than 2^53")]
    let number = |all: &[Decimal]| all.len() as f64;
    let sum = |all: &[Decimal]| all.iter().map(|value| value.to_f64()).sum::<f64>();
    let at = |all: &[Decimal], index: usize| all.get(index).map(|value| value.to_f64());
    !columns.is_empty()
        && rows.len() > 1
        && match statistic {
            Statistic::Mean => is(&|all| Some(sum(all) / number(all))),
            Statistic::Median => {
                is(&|all| Some((at(all, (all.len().checked_sub(1)?) / 2)? + at(all, all.len() / 2)?) / 2.0))
            }
            Statistic::Minimum => is(&|all| at(all, 0)),
            Statistic::Maximum => is(&|all| at(all, all.len().checked_sub(1)?)),
            Statistic::Count => is(&|all| Some(number(all))),
        }
}

#[cfg(test)]
mod tests {
    use super::{Statistic, Sums, Values, is_statistic};
    use crate::tables::decimal::Decimal;

    fn values(texts: &[&str]) -> Values {
        texts.iter().map(|text| Decimal::parse(text)).collect()
    }

    #[test]
    fn sums_since_a_row_are_those_of_the_rows_after_it() {
        let mut sums = Sums::new(2);
        sums.add(&values(&["1", "0.1"]));
        let earlier = sums.clone();
        sums.add(&values(&["2", "0.2"]));
        assert!(sums.equal(&values(&["3", "0.3"])) && sums.since(&earlier).equal(&values(&["2", "0.2"])));
        assert!(!sums.equal(&values(&["3", "0.4"])) && !sums.equal(&values(&["", ""])));
        assert!(sums.without(&values(&["2", ""])).equal(&values(&["1", "0.3"])));
    }

    #[test]
    fn a_row_of_statistics_has_its_statistic_in_each_column() {
        let rows = [values(&["1", "10"]), values(&["2", "20"]), values(&["6", "60"])];
        for (row, statistic) in [
            (["3", "30"], Some(Statistic::Mean)),
            (["2", "20"], Some(Statistic::Median)),
            (["1", "10"], Some(Statistic::Minimum)),
            (["6", "60"], Some(Statistic::Maximum)),
            (["3", "3"], Some(Statistic::Count)),
            (["3", "60"], None),
            (["4", "40"], None),
        ] {
            for one in [Statistic::Mean, Statistic::Median, Statistic::Minimum, Statistic::Maximum, Statistic::Count] {
                assert_eq!(is_statistic(one, &rows, &values(&row)), Some(one) == statistic, "{row:?} {one:?}");
            }
        }
        let rounded = [values(&["1"]), values(&["1"]), values(&["2"])];
        assert!(is_statistic(Statistic::Mean, &rounded, &values(&["1.33"])));
    }
}

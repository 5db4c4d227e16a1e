//! The periods of a report.

use std::fmt;

use jiff::ToSpan;
use jiff::civil::Date;

use super::quarter::{FiscalYear, Quarter, QuarterYear};

/// A range of days with its usual name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period {
    /// Its kind.
    pub(crate) kind: PeriodKind,
    /// Its first day.
    pub(crate) from: Date,
    /// Its last day.
    pub(crate) to: Date,
}

/// Kinds of periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeriodKind {
    /// Three months of a calendar year.
    Quarter,
    /// Three months of a fiscal year.
    FiscalQuarter {
        /// The year that names the fiscal year.
        year: i16,
        /// From 1 to 4.
        number: i8,
    },
    /// One month.
    Month,
    /// The complete range of the file.
    Complete,
}

impl Period {
    /// The days of a quarter; `None` for a quarter of a fiscal year that is not known.
    pub(crate) fn from_quarter(quarter: Quarter, fiscal_year: Option<FiscalYear>) -> Option<Self> {
        let from = quarter.first_day(fiscal_year)?;
        let kind = match quarter.year {
            QuarterYear::Calendar(_) => PeriodKind::Quarter,
            QuarterYear::Fiscal(_) | QuarterYear::Span(_) => PeriodKind::FiscalQuarter {
                year: i16::try_from(fiscal_year?.label_year(quarter.year)).ok()?,
                number: i8::try_from(quarter.number).ok()?,
            },
        };
        Some(Self { kind, from, to: from.checked_add(2.months()).ok()?.last_of_month() })
    }

    /// The period of this kind that contains a day; `None` for a kind that the day does not determine.
    pub(crate) fn containing(kind: PeriodKind, day: Date) -> Option<Self> {
        let (first, months) = match kind {
            PeriodKind::Month => (day.month(), 0_i64),
            PeriodKind::Quarter => ((day.month() - 1) / 3 * 3 + 1, 2),
            PeriodKind::FiscalQuarter { .. } | PeriodKind::Complete => return None,
        };
        let from = Date::new(day.year(), first, 1).ok()?;
        Some(Self { kind, from, to: from.checked_add(months.months()).ok()?.last_of_month() })
    }

    /// The period of the same kind that ends the day before this one begins.
    pub(crate) fn previous(&self) -> Option<Self> {
        match self.kind {
            PeriodKind::FiscalQuarter { year, number } => {
                let (year, number) = if number == 1 { (year - 1, 4) } else { (year, number - 1) };
                let from = self.from.checked_sub(3.months()).ok()?;
                Some(Self { kind: PeriodKind::FiscalQuarter { year, number }, from, to: self.from.yesterday().ok()? })
            }
            PeriodKind::Quarter | PeriodKind::Month | PeriodKind::Complete => {
                Self::containing(self.kind, self.from.yesterday().ok()?)
            }
        }
    }

    /// True if the period contains the day.
    pub(crate) fn contains(&self, day: Date) -> bool {
        self.from <= day && day <= self.to
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PeriodKind::Quarter => write!(f, "Q{} {}", (self.from.month() + 2) / 3, self.from.year()),
            PeriodKind::FiscalQuarter { year, number } => write!(f, "FY{year} Q{number}"),
            PeriodKind::Month => write!(f, "{:04}-{:02}", self.from.year(), self.from.month()),
            PeriodKind::Complete => write!(f, "{} to {}", self.from, self.to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::quarter::{FiscalYear, NamedBy, Quarter};
    use super::Period;

    fn period(text: &str, fiscal_year: Option<FiscalYear>) -> Period {
        Period::from_quarter(Quarter::parse(text).unwrap(), fiscal_year).unwrap()
    }

    fn days(period: &Period) -> (String, String, String) {
        (period.to_string(), period.from.to_string(), period.to.to_string())
    }

    #[test]
    fn the_previous_quarter_crosses_the_year() {
        let quarter = period("Q1 2025", None);
        assert_eq!(days(&quarter.previous().unwrap()), ("Q4 2024".into(), "2024-10-01".into(), "2024-12-31".into()));
        assert!(quarter.contains("2025-03-31".parse().unwrap()) && !quarter.contains("2025-04-01".parse().unwrap()));
    }

    #[test]
    fn a_fiscal_quarter_has_the_months_of_its_year() {
        let fiscal_year = FiscalYear { first_month: 2, named_by: NamedBy::End };
        let quarter = period("FY24 Q1", Some(fiscal_year));
        assert_eq!(days(&quarter), ("FY2024 Q1".into(), "2023-02-01".into(), "2023-04-30".into()));
        let before = quarter.previous().unwrap();
        assert_eq!(days(&before), ("FY2023 Q4".into(), "2022-11-01".into(), "2023-01-31".into()));
        assert_eq!(days(&period("2023/24 Q1", Some(fiscal_year))), days(&quarter));
    }
}

//! What a caller states about a table: the period of the report, and what its file leaves open.

use greenroom_protocol::{Cause, ErrorCode};

use super::classify::{ClassifySettings, Notation};
use super::dates::{DateOrder, DateSettings, FiscalYear, Period, Quarter};
use super::note::preview;

/// What a caller states about a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// The quarter of the report, such as `Q4 2024` or `FY24 Q1`; without it, the complete file.
    pub quarter: Option<String>,
    /// The sheet of a workbook or the list of a JSON document, if the file has several tables.
    pub table: Option<String>,
    /// The order of day and month where the dates of a column do not decide it.
    pub date_order: Option<DateOrder>,
    /// The decimal mark of the columns whose figures do not show it.
    pub decimal_mark: Option<Notation>,
    /// The fiscal year to which quarters such as `FY24 Q1` belong.
    pub fiscal_year: Option<FiscalYear>,
}

impl TableOptions {
    /// The options of a report about one quarter.
    #[must_use]
    pub fn for_quarter(quarter: &str) -> Self {
        Self { quarter: Some(quarter.to_owned()), ..Self::default() }
    }

    /// The period of the report.
    ///
    /// # Errors
    /// `invalid_input` if the quarter cannot be read, or belongs to a fiscal year that is not stated.
    pub(super) fn period(&self) -> Result<Option<Period>, Cause> {
        let Some(text) = &self.quarter else { return Ok(None) };
        let quarter = Quarter::parse(text).ok_or_else(|| {
            Cause::new(
                ErrorCode::InvalidInput,
                format!(
                    "{} is not a quarter; write it like `Q4 2024`, `2024-Q4`, `2024Q4` or `FY24 Q4`",
                    preview(text)
                ),
            )
        })?;
        let period = Period::from_quarter(quarter, self.fiscal_year).ok_or_else(|| {
            let message = format!(
                "{} is a quarter of a fiscal year; state the number of its first month with the input \
                 `fiscal_year_start`, such as 10 for October",
                preview(text)
            );
            Cause::new(ErrorCode::InvalidInput, message)
        })?;
        Ok(Some(period))
    }

    /// The settings for the classification of a file.
    pub(super) fn settings(&self, has_semicolons: bool) -> ClassifySettings {
        let dates =
            DateSettings { order: self.date_order, fiscal_year: self.fiscal_year, file_order: None, has_semicolons };
        ClassifySettings { dates, notation: self.decimal_mark }
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;

    use super::TableOptions;
    use crate::tables::dates::{FiscalYear, NamedBy};

    #[test]
    fn a_fiscal_quarter_needs_its_fiscal_year() {
        let mut options = TableOptions::for_quarter("FY24 Q1");
        let cause = options.period().unwrap_err();
        assert_eq!(cause.code, ErrorCode::InvalidInput);
        assert!(cause.message.contains("`fiscal_year_start`"), "{cause}");
        options.fiscal_year = Some(FiscalYear { first_month: 10, named_by: NamedBy::End });
        assert_eq!(options.period().unwrap().unwrap().from.to_string(), "2023-10-01");
    }

    #[test]
    fn an_unreadable_quarter_is_rejected() {
        assert_eq!(TableOptions::for_quarter("soon").period().unwrap_err().code, ErrorCode::InvalidInput);
        assert_eq!(TableOptions::default().period().unwrap(), None);
    }
}

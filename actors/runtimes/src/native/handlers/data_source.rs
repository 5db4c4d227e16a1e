//! The inputs that name a data file and state what is known about its table, as the data handlers share them.

use greenroom_actors::handler::FileAccess;
use greenroom_protocol::{Cause, ErrorCode, Json, Values};

use crate::tables::{DateOrder, FiscalYear, NamedBy, Notation, TableFacts, TableOptions, read_facts};

/// Maximum size of a data file. Policy may allow less; larger files are never read.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Reads the file and computes the facts about a quarter of it, or about all of it.
///
/// # Errors
/// As [`FileAccess::open_file`] and [`read_facts`].
pub(super) async fn load_facts(files: &FileAccess, source: &Json, options: &TableOptions) -> Result<TableFacts, Cause> {
    let file = files.open_file(source, FILE_BYTES_MAX).await?;
    read_facts(&file.name, &file.bytes, options)
}

/// Reads the options from the first of the sources that states each; an empty text counts as absent.
///
/// # Errors
/// `invalid_input` if a value is not one of those that are allowed.
pub(super) fn read_options(sources: &[&Values]) -> Result<TableOptions, Cause> {
    let text = |name: &str, expected: &str| find_text(sources, name, expected);
    let date_order = match text("date_order", "`day_first`, `month_first` or `year_first`")?.as_deref() {
        None => None,
        Some("day_first") => Some(DateOrder::DayFirst),
        Some("month_first") => Some(DateOrder::MonthFirst),
        Some("year_first") => Some(DateOrder::YearFirst),
        Some(_) => return Err(rejected("date_order", "`day_first`, `month_first` or `year_first`")),
    };
    let decimal_mark = match text("decimal_mark", "`,` or `.`")?.as_deref() {
        None => None,
        Some(".") => Some(Notation::Point),
        Some(",") => Some(Notation::Comma),
        Some(_) => return Err(rejected("decimal_mark", "`,` or `.`")),
    };
    let named_by = match text("fiscal_year_named_by", "`start` or `end`")?.as_deref() {
        None => NamedBy::default(),
        Some("start") => NamedBy::Start,
        Some("end") => NamedBy::End,
        Some(_) => return Err(rejected("fiscal_year_named_by", "`start` or `end`")),
    };
    let first_month = match text("fiscal_year_start", "the number of a month, from 1 to 12")? {
        None => None,
        Some(number) => match number.parse::<i8>() {
            Ok(month @ 1..=12) => Some(month),
            Ok(_) | Err(_) => return Err(rejected("fiscal_year_start", "the number of a month, from 1 to 12")),
        },
    };
    Ok(TableOptions {
        quarter: text("quarter", "a text, written like `Q4 2024`")?,
        table: text("table", "the name of a sheet or of a list")?,
        date_order,
        decimal_mark,
        fiscal_year: first_month.map(|first_month| FiscalYear { first_month, named_by }),
    })
}

fn rejected(name: &str, expected: &str) -> Cause {
    Cause::new(ErrorCode::InvalidInput, format!("the input `{name}` is {expected}"))
}

fn find_text(sources: &[&Values], name: &str, expected: &str) -> Result<Option<String>, Cause> {
    for source in sources {
        match source.get(name) {
            None | Some(Json::Null) => {}
            Some(Json::String(text)) if text.trim().is_empty() => {}
            Some(Json::String(text)) => return Ok(Some(text.trim().to_owned())),
            Some(Json::Number(number)) if name == "fiscal_year_start" => return Ok(Some(number.to_string())),
            Some(Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => {
                return Err(rejected(name, expected));
            }
        }
    }
    Ok(None)
}

/// Finds the input that names the file.
pub(super) fn find_source(inputs: &Values) -> Option<&Json> {
    let single =
        ["data_source", "file", "source"].iter().find_map(|name| inputs.get(*name).filter(|value| !value.is_null()));
    let first_listed = || inputs.get("data_sources").and_then(Json::as_array).and_then(|sources| sources.first());
    single.or_else(first_listed)
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::{ErrorCode, Json, Values};
    use serde_json::json;

    use super::{find_source, read_options};
    use crate::tables::{DateOrder, FiscalYear, NamedBy, Notation, TableOptions};

    fn values(json: Json) -> Values {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn options_are_read_from_the_first_source_that_states_them() {
        let inputs = values(
            json!({ "quarter": " ", "table": "Sales", "fiscal_year_start": 10, "date_order": "day_first", "decimal_mark": "," }),
        );
        let context = values(json!({ "quarter": "FY24 Q1", "table": "Old", "fiscal_year_named_by": "start" }));
        let expected = TableOptions {
            quarter: Some("FY24 Q1".to_owned()),
            table: Some("Sales".to_owned()),
            date_order: Some(DateOrder::DayFirst),
            decimal_mark: Some(Notation::Comma),
            fiscal_year: Some(FiscalYear { first_month: 10, named_by: NamedBy::Start }),
        };
        assert_eq!(read_options(&[&inputs, &context]).unwrap(), expected);
        assert_eq!(read_options(&[&values(json!({ "quarter": null }))]).unwrap(), TableOptions::default());
    }

    #[test]
    fn a_value_that_is_not_allowed_is_rejected_by_its_name() {
        for (name, value) in [
            ("quarter", json!(4)),
            ("table", json!(["Sales"])),
            ("date_order", json!("dmy")),
            ("decimal_mark", json!(";")),
            ("decimal_mark", json!(1)),
            ("fiscal_year_start", json!(13)),
            ("fiscal_year_start", json!("October")),
            ("fiscal_year_named_by", json!("middle")),
        ] {
            let cause = read_options(&[&values(json!({ name: value }))]).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidInput);
            assert!(cause.message.contains(name), "{cause}");
        }
    }

    #[test]
    fn the_source_is_found_under_each_of_its_usual_names() {
        let inputs = [("data_sources".to_owned(), json!(["a.csv", "b.csv"]))].into();
        assert_eq!(find_source(&inputs), Some(&json!("a.csv")));
        assert_eq!(find_source(&[("data_source".to_owned(), json!(null))].into()), None);
    }
}

//! `native.data_collection`: a file → the facts about a period of it.

use async_trait::async_trait;
use greenroom_actors::handler::{File, FileAccess, Handler, HandlerInput, HandlerMode};
use greenroom_protocol::{Cause, ErrorCode, Json, Values};

use super::dates::Period;
use super::facts::{TableFacts, compute};
use super::{csv, json_lines};

/// Bytes of a file that are read. Policy may allow less; this is what is read at all.
pub(crate) const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The handler.
#[derive(Debug, Clone, Copy, Default)]
pub struct DataCollection;

#[async_trait]
impl Handler for DataCollection {
    fn name(&self) -> &'static str {
        "native.data_collection"
    }

    fn mode(&self) -> HandlerMode {
        HandlerMode::Blocking
    }

    async fn run(&self, work: &HandlerInput, files: &FileAccess) -> Result<Values, Cause> {
        let quarter = quarter_of(&work.inputs)?;
        let Some(source) = source_of(&work.inputs) else {
            let message = "the file is given as `data_source`: a path within the allowed folders, or an artifact";
            return Err(Cause::new(ErrorCode::MissingInput, message));
        };
        let file = files.open_file(source, FILE_BYTES_MAX).await?;
        let facts = facts_of(&file, quarter.as_deref())?;
        let facts = serde_json::to_value(facts)
            .map_err(|_| Cause::new(ErrorCode::HandlerFailed, "the facts cannot be written as JSON"))?;
        Ok([("raw_data".to_owned(), facts)].into())
    }
}

/// The facts about a quarter of a file, or about all of it.
///
/// # Errors
/// `invalid_input` if the quarter is none; `invalid_data` with the line; `no_data_for_period` with
/// the range of the file; `payload_too_large` beyond the bounds of a table.
pub fn facts_of(file: &File, quarter: Option<&str>) -> Result<TableFacts, Cause> {
    let period = quarter.map(period_of).transpose()?;
    let table = if json_lines::is_json(&file.bytes) { json_lines::read(&file.bytes)? } else { csv::read(&file.bytes)? };
    compute::facts(&file.name, &table, period)
}

fn period_of(text: &str) -> Result<Period, Cause> {
    Period::quarter_of(text).ok_or_else(|| {
        Cause::new(ErrorCode::InvalidInput, "the quarter is written like `Q4 2024`, `2024-Q4` or `2024Q4`")
    })
}

/// The quarter that the inputs name; an empty text is none.
///
/// # Errors
/// `invalid_input` if it is not a text.
pub(crate) fn quarter_of(inputs: &Values) -> Result<Option<String>, Cause> {
    match inputs.get("quarter") {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => {
            Err(Cause::new(ErrorCode::InvalidInput, "the quarter is a text, written like `Q4 2024`"))
        }
    }
}

/// The file that the inputs name.
pub(crate) fn source_of(inputs: &Values) -> Option<&Json> {
    let named =
        ["data_source", "file", "source"].iter().find_map(|name| inputs.get(*name).filter(|value| !value.is_null()));
    let listed = || inputs.get("data_sources").and_then(Json::as_array).and_then(|sources| sources.first());
    named.or_else(listed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use greenroom_actors::handler::File;
    use greenroom_protocol::ErrorCode;
    use serde_json::json;

    use super::{facts_of, quarter_of, source_of};

    fn file(text: &str) -> File {
        File { bytes: Arc::from(text.as_bytes()), name: "x.csv".into(), media_type: "text/csv".into() }
    }

    #[test]
    fn csv_and_json_lines_of_the_same_rows_give_the_same_facts() {
        let csv = facts_of(&file("date,revenue\n2024-10-01,5.5\n2024-11-01,6\n"), Some("2024-Q4")).unwrap();
        let lines = "{\"date\":\"2024-10-01\",\"revenue\":5.5}\n{\"date\":\"2024-11-01\",\"revenue\":6}\n";
        let json = facts_of(&file(lines), Some("2024-Q4")).unwrap();
        assert_eq!(csv.measures, json.measures);
        assert_eq!(json!(csv.measures[0].total), json!(11.5));
    }

    #[test]
    fn a_quarter_that_is_none_is_refused() {
        assert_eq!(facts_of(&file("a,b\n1,2\n"), Some("soon")).unwrap_err().code, ErrorCode::InvalidInput);
        assert_eq!(quarter_of(&[("quarter".to_owned(), json!(4))].into()).unwrap_err().code, ErrorCode::InvalidInput);
        assert_eq!(quarter_of(&[("quarter".to_owned(), json!(" "))].into()).unwrap(), None);
    }

    #[test]
    fn the_source_has_the_names_that_people_give_it() {
        let inputs = [("data_sources".to_owned(), json!(["a.csv", "b.csv"]))].into();
        assert_eq!(source_of(&inputs), Some(&json!("a.csv")));
        assert_eq!(source_of(&[("data_source".to_owned(), json!(null))].into()), None);
    }
}

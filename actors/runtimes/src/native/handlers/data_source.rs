//! The inputs that name a data file and a quarter, as the data handlers share them.

use greenroom_actors::handler::FileAccess;
use greenroom_protocol::{Cause, ErrorCode, Json, Values};

use crate::tables::{TableFacts, read_facts};

/// Maximum size of a data file. Policy may allow less; larger files are never read.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Reads the file and computes the facts about a quarter of it, or about all of it.
///
/// # Errors
/// As [`FileAccess::open_file`] and [`read_facts`].
pub(super) async fn load_facts(files: &FileAccess, source: &Json, quarter: Option<&str>) -> Result<TableFacts, Cause> {
    let file = files.open_file(source, FILE_BYTES_MAX).await?;
    read_facts(&file.name, &file.bytes, quarter)
}

/// Reads the quarter that the inputs name; an empty text counts as absent.
///
/// # Errors
/// `invalid_input` if the value is not a text.
pub(super) fn read_quarter(inputs: &Values) -> Result<Option<String>, Cause> {
    match inputs.get("quarter") {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => {
            Err(Cause::new(ErrorCode::InvalidInput, "the quarter is a text, written like `Q4 2024`"))
        }
    }
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
    use greenroom_protocol::ErrorCode;
    use serde_json::json;

    use super::{find_source, read_quarter};

    #[test]
    fn a_quarter_that_is_not_a_text_is_rejected() {
        assert_eq!(read_quarter(&[("quarter".to_owned(), json!(4))].into()).unwrap_err().code, ErrorCode::InvalidInput);
        assert_eq!(read_quarter(&[("quarter".to_owned(), json!(" "))].into()).unwrap(), None);
    }

    #[test]
    fn the_source_is_found_under_each_of_its_usual_names() {
        let inputs = [("data_sources".to_owned(), json!(["a.csv", "b.csv"]))].into();
        assert_eq!(find_source(&inputs), Some(&json!("a.csv")));
        assert_eq!(find_source(&[("data_source".to_owned(), json!(null))].into()), None);
    }
}

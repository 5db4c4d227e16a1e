//! `k=v` and `k=@PATH` become typed values. A file is read here, with the rights of the person who
//! types; the platform itself reads nothing of theirs.

use std::collections::BTreeMap;
use std::path::Path;

use greenroom_definitions::FieldType;
use greenroom_definitions::types::parse_cli_value;
use greenroom_protocol::limits::DOCUMENT_BYTES_MAX;
use greenroom_protocol::{Cause, ErrorCode, Json, Values};

use super::session::Session;
use crate::ingress::frame::FILE_BYTES_MAX;

/// The declared types of inputs by name.
pub type Types = BTreeMap<String, FieldType>;

/// Reads inputs.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] if one has no `=`, comes twice, or is not of its type;
/// [`ErrorCode::PathNotAllowed`] if a file cannot be read.
pub async fn inputs(session: &Session, written: &[String], types: &Types) -> Result<Values, Cause> {
    let mut values = Values::new();
    for text in written {
        let (name, value) = split(text)?;
        let kind = types.get(name).copied();
        let value = match value.strip_prefix('@') {
            Some(path) => file(session, name, Path::new(path), kind).await?,
            None => parse(name, value, kind)?,
        };
        if values.insert(name.to_owned(), value).is_some() {
            return Err(Cause::new(ErrorCode::InvalidInput, format!("the input {name} is given twice")));
        }
    }
    Ok(values)
}

/// Reads values of the context, which have no declared type.
///
/// # Errors
/// As [`inputs`].
pub fn context(written: &[String]) -> Result<Values, Cause> {
    let mut values = Values::new();
    for text in written {
        let (name, value) = split(text)?;
        values.insert(name.to_owned(), parse(name, value, None)?);
    }
    Ok(values)
}

fn split(text: &str) -> Result<(&str, &str), Cause> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name, value)),
        Some(_) | None => Err(Cause::new(ErrorCode::InvalidInput, format!("{text:?} is not NAME=VALUE"))),
    }
}

/// Reads a value as its declared type. Without one, only what looks like a list or an object is read
/// as JSON: a quarter, a year or a postcode stays what was typed.
fn parse(name: &str, text: &str, kind: Option<FieldType>) -> Result<Json, Cause> {
    match kind {
        Some(kind) => parse_cli_value(kind, text)
            .map_err(|wrong| Cause::new(ErrorCode::InvalidInput, format!("the input {name} {wrong}"))),
        None if text.starts_with(['[', '{']) => Ok(serde_json::from_str(text).unwrap_or_else(|_| Json::from(text))),
        None => Ok(Json::from(text)),
    }
}

async fn file(session: &Session, name: &str, path: &Path, kind: Option<FieldType>) -> Result<Json, Cause> {
    let bytes = read(path)?;
    let Some(kind) = kind.filter(|kind| *kind != FieldType::File) else { return keep(session, path, &bytes).await };
    // A text that is larger than any policy lets through travels as an artifact: policy sees its size.
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return keep(session, path, &bytes).await;
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        let message = format!("the input {name} takes text, and {} is not UTF-8", path.display());
        Cause::new(ErrorCode::InvalidInput, message)
    })?;
    parse(name, &text, Some(kind))
}

fn read(path: &Path) -> Result<Vec<u8>, Cause> {
    let refused = |error: std::io::Error| {
        Cause::new(ErrorCode::PathNotAllowed, format!("{} cannot be read: {error}", path.display()))
    };
    let bytes = std::fs::metadata(path).map_err(refused)?.len();
    if bytes > FILE_BYTES_MAX {
        let message = format!("{} has {bytes} bytes, at most {FILE_BYTES_MAX} are taken", path.display());
        return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
    }
    std::fs::read(path).map_err(refused)
}

async fn keep(session: &Session, path: &Path, bytes: &[u8]) -> Result<Json, Cause> {
    let name = path.file_name().map_or_else(|| "input".into(), |name| name.to_string_lossy().into_owned());
    let artifact = session.store_artifact(bytes.to_vec(), media_type(path), &name).await?;
    Ok(artifact.to_json())
}

fn media_type(path: &Path) -> &'static str {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    match ending.as_str() {
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "json" => "application/json",
        "jsonl" | "ndjson" => "application/x-ndjson",
        "md" => "text/markdown",
        "txt" => "text/plain",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_its_declared_type() {
        assert_eq!(parse("n", "7", Some(FieldType::Integer)).unwrap(), 7);
        assert_eq!(parse("n", "7", Some(FieldType::Text)).unwrap(), "7");
        let wrong = parse("n", "7.5", Some(FieldType::Integer)).unwrap_err();
        assert_eq!(wrong.code, ErrorCode::InvalidInput);
        assert!(wrong.message.contains("the input n must be"), "{}", wrong.message);
    }

    #[test]
    fn without_a_type_only_lists_and_objects_are_more_than_text() {
        assert_eq!(parse("q", "Q4 2024", None).unwrap(), "Q4 2024");
        assert_eq!(parse("year", "2024", None).unwrap(), "2024");
        assert_eq!(parse("list", "[1, 2]", None).unwrap(), serde_json::json!([1, 2]));
        assert_eq!(parse("odd", "[not json", None).unwrap(), "[not json");
        assert_eq!(split("no equals sign").unwrap_err().code, ErrorCode::InvalidInput);
    }
}

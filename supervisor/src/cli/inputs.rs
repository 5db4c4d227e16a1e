//! Parses `k=v` and `k=@PATH` into typed values. The command reads the file, with the permissions of its
//! user; the pod reads none of the user's files.

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

/// Parses inputs.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] if an input has no `=`, is repeated, or is not of its type;
/// [`ErrorCode::PathNotAllowed`] if a file cannot be read.
pub async fn inputs(session: &Session, arguments: &[String], types: &Types) -> Result<Values, Cause> {
    let mut values = Values::new();
    for text in arguments {
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

/// Parses values of the context, which have no declared type.
///
/// # Errors
/// As [`inputs`].
pub fn context(arguments: &[String]) -> Result<Values, Cause> {
    let mut values = Values::new();
    for text in arguments {
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

/// Parses a value as its declared type. Without one, only a list or an object is parsed as JSON: a
/// quarter, a year or a postcode remains text.
fn parse(name: &str, text: &str, kind: Option<FieldType>) -> Result<Json, Cause> {
    match kind {
        Some(kind) => parse_cli_value(kind, text)
            .map_err(|problem| Cause::new(ErrorCode::InvalidInput, format!("the input {name} {problem}"))),
        None if text.starts_with(['[', '{']) => Ok(serde_json::from_str(text).unwrap_or_else(|_| Json::from(text))),
        None => Ok(Json::from(text)),
    }
}

async fn file(session: &Session, name: &str, path: &Path, kind: Option<FieldType>) -> Result<Json, Cause> {
    let bytes = read(path)?;
    let Some(kind) = kind.filter(|kind| *kind != FieldType::File) else { return store(session, path, &bytes).await };
    // A text above the limit of every policy is sent as an artifact, whose size is a fact for policy.
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return store(session, path, &bytes).await;
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        let message = format!("the input {name} takes text, and {} is not UTF-8", path.display());
        Cause::new(ErrorCode::InvalidInput, message)
    })?;
    parse(name, &text, Some(kind))
}

fn read(path: &Path) -> Result<Vec<u8>, Cause> {
    let unreadable = |error: std::io::Error| {
        Cause::new(ErrorCode::PathNotAllowed, format!("{} cannot be read: {error}", path.display()))
    };
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        let message = format!("{} has {bytes} bytes, the limit is {FILE_BYTES_MAX}", path.display());
        return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
    }
    std::fs::read(path).map_err(unreadable)
}

async fn store(session: &Session, path: &Path, bytes: &[u8]) -> Result<Json, Cause> {
    let name = path.file_name().map_or_else(|| "input".into(), |name| name.to_string_lossy().into_owned());
    let artifact = session.store_artifact(bytes.to_vec(), media_type(path), &name).await?;
    Ok(artifact.to_json())
}

fn media_type(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
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
    fn a_value_is_parsed_as_its_declared_type() {
        assert_eq!(parse("n", "7", Some(FieldType::Integer)).unwrap(), 7);
        assert_eq!(parse("n", "7", Some(FieldType::Text)).unwrap(), "7");
        let error = parse("n", "7.5", Some(FieldType::Integer)).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidInput);
        assert!(error.message.contains("the input n must be"), "{}", error.message);
    }

    #[test]
    fn without_a_type_only_lists_and_objects_are_not_text() {
        assert_eq!(parse("q", "Q4 2024", None).unwrap(), "Q4 2024");
        assert_eq!(parse("year", "2024", None).unwrap(), "2024");
        assert_eq!(parse("list", "[1, 2]", None).unwrap(), serde_json::json!([1, 2]));
        assert_eq!(parse("odd", "[not json", None).unwrap(), "[not json");
        assert_eq!(split("no equals sign").unwrap_err().code, ErrorCode::InvalidInput);
    }
}

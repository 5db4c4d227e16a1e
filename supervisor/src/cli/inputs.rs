//! Parses `k=v`, `k=@PATH` and `k=-` into typed values. The command reads the file, with the permissions of its
//! user; the pod reads none of the user's files.

mod file_source;

use std::collections::BTreeMap;

use greenroom_definitions::FieldType;
use greenroom_definitions::types::parse_cli_value;
use greenroom_protocol::limits::DOCUMENT_BYTES_MAX;
use greenroom_protocol::{Cause, ErrorCode, Json, Values};

use self::file_source::FileSource;
use super::session::Session;

/// The declared types of inputs by name.
pub type Types = BTreeMap<String, FieldType>;

/// Parses inputs. A repeated input is one more item of its list.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] if an input has no `=`, is repeated and no list, or is not of its type;
/// [`ErrorCode::PathNotAllowed`] if a file cannot be read.
pub async fn inputs(session: &Session, arguments: &[String], types: &Types) -> Result<Values, Cause> {
    let mut values = Values::new();
    for (name, texts) in by_name(arguments)? {
        let kind = types.get(name).copied();
        let value = match *texts.as_slice() {
            [text] => input(session, name, text, kind).await?,
            _ if kind != Some(FieldType::Array) => return Err(repeated(name, kind)),
            _ => {
                let mut items = Vec::with_capacity(texts.len());
                for text in texts {
                    items.push(input(session, name, text, Some(FieldType::Text)).await?);
                }
                Json::Array(items)
            }
        };
        values.insert(name.to_owned(), value);
    }
    Ok(values)
}

/// Parses values of the context, which have no declared type.
///
/// # Errors
/// As [`inputs`].
pub fn context(arguments: &[String]) -> Result<Values, Cause> {
    let mut values = Values::new();
    for (name, texts) in by_name(arguments)? {
        let [text] = *texts.as_slice() else { return Err(repeated(name, None)) };
        values.insert(name.to_owned(), parse(name, text, None)?);
    }
    Ok(values)
}

/// The texts of each name, in the order of the command line.
fn by_name(arguments: &[String]) -> Result<BTreeMap<&str, Vec<&str>>, Cause> {
    let mut texts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for argument in arguments {
        let (name, text) = split(argument)?;
        texts.entry(name).or_default().push(text);
    }
    Ok(texts)
}

fn repeated(name: &str, kind: Option<FieldType>) -> Cause {
    let reason = match kind {
        Some(kind) => format!("is {}, and takes one value", kind.described()),
        None => "takes one value; write several as a JSON list, [\"a\", \"b\"]".to_owned(),
    };
    Cause::new(ErrorCode::InvalidInput, format!("the input {name} is given more than once, but {reason}"))
}

/// The value of one text: `@PATH` and `-` are read, and `@@` begins a text that begins with `@`.
async fn input(session: &Session, name: &str, text: &str, kind: Option<FieldType>) -> Result<Json, Cause> {
    match text.strip_prefix('@') {
        Some(literal) if literal.starts_with('@') => parse(name, literal, kind),
        Some("-") => content(session, name, FileSource::StandardInput, kind).await,
        Some(path) => content(session, name, FileSource::File(path.into()), kind).await,
        None if text == "-" => content(session, name, FileSource::StandardInput, kind).await,
        None => parse(name, text, kind),
    }
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

async fn content(session: &Session, name: &str, source: FileSource, kind: Option<FieldType>) -> Result<Json, Cause> {
    let (file_name, media_type, source_name) = (source.name(), source.media_type(), source.to_string());
    let bytes = source.read().await?;
    let store = |bytes: Vec<u8>| async move {
        let artifact = session.store_artifact(bytes, media_type, &file_name).await?;
        Ok(artifact.to_json())
    };
    let Some(kind) = kind.filter(|kind| *kind != FieldType::File) else { return store(bytes).await };
    // A text above the limit of every policy is sent as an artifact, whose size is a fact for policy.
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return store(bytes).await;
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Cause::new(ErrorCode::InvalidInput, format!("the input {name} takes text, and {source_name} is not UTF-8"))
    })?;
    parse(name, &text, Some(kind))
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

    #[test]
    fn a_context_value_that_is_given_twice_is_rejected() {
        let twice = ["quarter=Q1".to_owned(), "quarter=Q2".to_owned()];
        let error = context(&twice).unwrap_err();
        assert!(error.message.contains("quarter is given more than once"), "{}", error.message);
    }
}

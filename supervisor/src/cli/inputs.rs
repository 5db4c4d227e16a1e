//! From `k=v`, `k=@PATH` and `k=-` to raw inputs, which the pod turns into values of the declared types. The command
//! reads a file, with the permissions of its user; the pod reads none of the user's files.

mod file_source;

use std::collections::BTreeMap;
use std::path::PathBuf;

use greenroom_protocol::raw_input::{RawFile, RawInput, RawItem};
use greenroom_protocol::{Cause, ErrorCode, Values, strict_json};

use self::file_source::FileSource;
use super::session::Session;
use crate::pipeline::raw_inputs::{parse, repeated};

/// Bytes of a text file that travels inside of the request. A larger one is uploaded first, as is one that is no text.
const INLINE_FILE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a file of inputs.
const INPUTS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The inputs of the file, and the raw inputs, which replace those of the file. A repeated input is one more item of its
/// list.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] if an input has no `=`, or if the file has no JSON object; [`ErrorCode::PathNotAllowed`] if
/// a file cannot be read.
pub async fn inputs(session: &Session, file: Option<PathBuf>, arguments: &[String]) -> Result<Values, Cause> {
    let mut values = match file {
        Some(path) => read_object(path).await?,
        None => Values::new(),
    };
    for (name, texts) in by_name(arguments)? {
        let mut items = Vec::with_capacity(texts.len());
        for text in texts {
            items.push(item(session, text).await?);
        }
        values.insert(name.to_owned(), RawInput(items).to_json());
    }
    Ok(values)
}

/// Reads a file of inputs.
async fn read_object(path: PathBuf) -> Result<Values, Cause> {
    let source = if path.as_os_str() == "-" { FileSource::StandardInput } else { FileSource::File(path) };
    let name = source.to_string();
    let invalid = |problem: String| Cause::new(ErrorCode::InvalidInput, format!("{name}: {problem}"));
    let text = source.open(INPUTS_BYTES_MAX).await?.into_text();
    let text = text.map_err(|_| invalid(format!("this is no text of at most {INPUTS_BYTES_MAX} bytes")))?;
    parse_object(&text).map_err(|error| invalid(format!("this is not a JSON object of inputs: {error}")))
}

/// Parses an object. Some programs begin a file with a byte order mark.
fn parse_object(text: &str) -> serde_json::Result<Values> {
    strict_json::from_str(text.trim_start_matches('\u{feff}'))
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

/// The item of one text: `@PATH` and `-` are read, and `@@` begins a text that begins with `@`.
async fn item(session: &Session, text: &str) -> Result<RawItem, Cause> {
    match text.strip_prefix('@') {
        Some(literal) if literal.starts_with('@') => Ok(RawItem::Text(literal.to_owned())),
        Some("") => {
            Err(Cause::new(ErrorCode::InvalidInput, "`@` names no file; write `@PATH`, or `@@` for the text `@`"))
        }
        Some("-") => file(session, FileSource::StandardInput).await,
        Some(path) => file(session, FileSource::File(path.into())).await,
        None if text == "-" => file(session, FileSource::StandardInput).await,
        None => Ok(RawItem::Text(text.to_owned())),
    }
}

fn split(text: &str) -> Result<(&str, &str), Cause> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name, value)),
        Some(_) | None => Err(Cause::new(ErrorCode::InvalidInput, format!("{text:?} is not NAME=VALUE"))),
    }
}

async fn file(session: &Session, source: FileSource) -> Result<RawItem, Cause> {
    let (name, media_type) = (source.name(), source.media_type());
    match source.open(INLINE_FILE_BYTES_MAX).await?.into_text() {
        Ok(content) => Ok(RawItem::File(RawFile { content, media_type: media_type.to_owned(), name })),
        Err(file) => Ok(RawItem::Artifact(session.store_artifact(file.into_chunks(), media_type, &name).await?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_a_name_and_a_text() {
        assert_eq!(split("q=a=b").unwrap(), ("q", "a=b"));
        for argument in ["no equals sign", "=value"] {
            assert_eq!(split(argument).unwrap_err().code, ErrorCode::InvalidInput, "{argument}");
        }
    }

    #[test]
    fn a_file_of_inputs_is_one_object_with_different_members() {
        let values = parse_object("\u{feff}{\"a\": 1, \"b\": {\"a\": 2}}\n").unwrap();
        assert_eq!(serde_json::to_value(&values).unwrap(), serde_json::json!({ "a": 1, "b": { "a": 2 } }));
        for (text, problem) in [
            ("{\"a\": 1, \"a\": 2}", "`a` occurs twice"),
            ("{\"b\": [{\"a\": 1, \"a\": 2}]}", "`b[0].a` occurs twice"),
            ("{\"id\": 18446744073709551616}", "`id` is 18446744073709551616"),
            ("[1]", "expected a map"),
            ("{} {}", "trailing"),
            ("", "EOF"),
        ] {
            let error = parse_object(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn a_context_value_that_is_given_twice_is_rejected() {
        let twice = ["quarter=Q1".to_owned(), "quarter=Q2".to_owned()];
        let error = context(&twice).unwrap_err();
        assert!(error.message.contains("quarter is given more than once"), "{}", error.message);
    }
}

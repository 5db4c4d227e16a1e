//! Arguments → the address, the headers and the body of a request. A value never becomes more than the value that it is:
//! it is percent-encoded in a path and a query, no value leads to another path, none ends a header, and none is a parameter
//! that the configuration adds.

use bytes::Bytes;
use greenroom_protocol::{Cause, ErrorCode, Json, Values};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::operation::parameter::{Location, Parameter, Style};
use super::operation::template::Piece;
use super::operation::{Body, BodyForm, Operation};

/// Maximum bytes of an address.
const URL_BYTES_MAX: usize = 16 * 1024;
/// How often a value is decoded before it is examined: each server on its way may decode it once.
const DECODINGS_MAX: usize = 3;
/// Maximum bytes of a body.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a value is encoded from: everything but the unreserved characters of RFC 3986.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What a text of the document's path is encoded from, which may be encoded already.
const PATH_TEXT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'\\')
    .add(b'^')
    .add(b'|');

/// A request without what the configuration adds.
#[derive(Debug)]
pub(super) struct EncodedRequest {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

/// Writes the request of a call.
///
/// # Errors
/// [`ErrorCode::MissingInput`], [`ErrorCode::InvalidInput`] and [`ErrorCode::PayloadTooLarge`], with the argument.
pub(super) fn encode(operation: &Operation, base: &Url, arguments: &Values) -> Result<EncodedRequest, Cause> {
    check_names(operation, arguments)?;
    let url = url(operation, base, arguments)?;
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/plain;q=0.9, */*;q=0.8"));
    for (parameter, value) in values_at(operation, arguments, Location::Header) {
        let value = join_value(parameter, value, ",", str::to_owned)?;
        let name = HeaderName::from_bytes(parameter.name.as_bytes());
        let value = HeaderValue::from_str(&value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(invalid(&parameter.argument, "has characters that no header may have"));
        };
        headers.insert(name, value);
    }
    let mut body = None;
    if let Some(declared) = &operation.body
        && let Some(value) = argument_value(arguments, declared.argument)
    {
        let media_type = HeaderValue::from_str(&declared.media_type);
        headers.insert(CONTENT_TYPE, media_type.unwrap_or_else(|_| HeaderValue::from_static("application/json")));
        body = Some(write_body(declared, value)?);
    }
    Ok(EncodedRequest { url, headers, body })
}

/// Checks that each argument is one of the operation, and that none is missing.
fn check_names(operation: &Operation, arguments: &Values) -> Result<(), Cause> {
    let parameters = operation.parameters.iter().map(|one| (one.argument.as_str(), one.is_required));
    let body = operation.body.iter().map(|body| (body.argument, body.is_required));
    let known: Vec<(&str, bool)> = parameters.chain(body).collect();
    if let Some(unknown) = arguments.keys().find(|name| known.iter().all(|(known, _)| known != name)) {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let unknown: String = unknown.chars().take(100).collect();
        let message = format!("there is no argument `{unknown}`; the arguments are: {}", names.join(", "));
        return Err(Cause::new(ErrorCode::InvalidInput, message));
    }
    let missing = known.iter().find(|(name, is_required)| *is_required && argument_value(arguments, name).is_none());
    match missing {
        Some((name, _)) => Err(Cause::new(ErrorCode::MissingInput, format!("the argument `{name}` is missing"))),
        None => Ok(()),
    }
}

/// The value of an argument; null is none. A body may be null, as JSON can be, only by being left out.
fn argument_value<'a>(arguments: &'a Values, name: &str) -> Option<&'a Json> {
    arguments.get(name).filter(|value| !value.is_null())
}

/// The parameters of a location that have a value.
fn values_at<'a>(
    operation: &'a Operation,
    arguments: &'a Values,
    location: Location,
) -> impl Iterator<Item = (&'a Parameter, &'a Json)> {
    let parameters = operation.parameters.iter().filter(move |one| one.location == location);
    parameters.filter_map(|parameter| Some((parameter, argument_value(arguments, &parameter.argument)?)))
}

fn url(operation: &Operation, base: &Url, arguments: &Values) -> Result<Url, Cause> {
    let mut path = base.path().trim_end_matches('/').to_owned();
    for segment in &operation.path.segments {
        path.push('/');
        path.push_str(&path_segment(operation, segment, arguments)?);
    }
    let query = query(operation, arguments)?;
    let mut url = base.clone();
    url.set_path(&path);
    url.set_query((!query.is_empty()).then_some(query.as_str()));
    // No value may have changed the path: the parser has nothing left to interpret.
    if url.path() != path {
        return Err(Cause::new(ErrorCode::InvalidInput, "the arguments of the path cannot be written as one path"));
    }
    if url.as_str().len() > URL_BYTES_MAX {
        let message = format!("the address of the request has more than {URL_BYTES_MAX} bytes");
        return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
    }
    Ok(url)
}

fn path_segment(operation: &Operation, pieces: &[Piece], arguments: &Values) -> Result<String, Cause> {
    let mut segment = String::new();
    let mut argument = None;
    for piece in pieces {
        match piece {
            Piece::Text(text) => segment.extend(utf8_percent_encode(text, PATH_TEXT)),
            Piece::Parameter(name) => {
                let found =
                    values_at(operation, arguments, Location::Path).find(|(parameter, _)| parameter.name == *name);
                let (parameter, value) = found.ok_or_else(|| invalid(name, "is missing"))?;
                let value = join_value(parameter, value, ",", encode_text)?;
                if value.is_empty() {
                    return Err(invalid(&parameter.argument, "is empty, which would be another path"));
                }
                if has_parent_segment(&value) {
                    return Err(invalid(&parameter.argument, "leads to another path"));
                }
                segment.push_str(&value);
                argument = Some(&parameter.argument);
            }
        }
    }
    // `..` leads to another path, however it is encoded.
    match argument.filter(|_| matches!(&*percent_decode_str(&segment).decode_utf8_lossy(), "." | "..")) {
        Some(argument) => Err(invalid(argument, "leads to another path")),
        None => Ok(segment),
    }
}

/// True if a value would lead to another path on a server that decodes it before it looks for the path.
fn has_parent_segment(value: &str) -> bool {
    let mut decoded = value.to_owned();
    for _ in 0..DECODINGS_MAX {
        decoded = percent_decode_str(&decoded).decode_utf8_lossy().into_owned();
        // Some servers cut what follows a semicolon.
        let mut parts = decoded.split(['/', '\\']).map(|part| part.split(';').next());
        if decoded.contains(['/', '\\']) && parts.any(|part| part == Some("..")) {
            return true;
        }
    }
    false
}

/// Adds the parameters of the configuration, in place of those of the arguments with the same names.
pub(super) fn add_query<'q>(url: &mut Url, added: impl Iterator<Item = (&'q str, &'q str)> + Clone) {
    if added.clone().next().is_none() {
        return;
    }
    // Some servers read `name[x]` as a part of `name`, and `Name` as it.
    let plain = |name: &str| name.split('[').next().unwrap_or_default().to_ascii_lowercase();
    let is_added = |pair: &&str| {
        let name = url::form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| plain(&name));
        name.is_some_and(|name| added.clone().any(|(known, _)| plain(known) == name))
    };
    let pairs: Vec<&str> = url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).collect();
    let others = pairs.into_iter().filter(|pair| !is_added(pair)).collect::<Vec<_>>().join("&");
    url.set_query((!others.is_empty()).then_some(others.as_str()));
    url.query_pairs_mut().extend_pairs(added);
}

fn query(operation: &Operation, arguments: &Values) -> Result<String, Cause> {
    let mut pairs: Vec<String> = Vec::new();
    for (parameter, value) in values_at(operation, arguments, Location::Query) {
        let name = encode_text(&parameter.name);
        match (parameter.style, value) {
            (Style::Json, _) => pairs.push(format!("{name}={}", encode_text(&value.to_string()))),
            (Style::DeepObject, Json::Object(members)) => {
                pairs.extend(members.iter().map(|(member, value)| {
                    format!("{name}%5B{}%5D={}", encode_text(member), encode_text(&item_text(value)))
                }));
            }
            (Style::Form, Json::Object(members)) if parameter.explodes => {
                pairs.extend(
                    members
                        .iter()
                        .map(|(member, value)| format!("{}={}", encode_text(member), encode_text(&item_text(value)))),
                );
            }
            (_, Json::Array(items)) if parameter.explodes => {
                pairs.extend(items.iter().map(|item| format!("{name}={}", encode_text(&item_text(item)))));
            }
            (style, _) => {
                let separator = match style {
                    Style::SpaceDelimited => "%20",
                    Style::PipeDelimited => "%7C",
                    Style::Simple | Style::Form | Style::DeepObject | Style::Json => ",",
                };
                pairs.push(format!("{name}={}", join_value(parameter, value, separator, encode_text)?));
            }
        }
    }
    Ok(pairs.join("&"))
}

fn encode_text(text: &str) -> String {
    utf8_percent_encode(text, VALUE).to_string()
}

/// A value as one text: a scalar, the items of a list, or the members of an object with their names.
fn join_value(
    parameter: &Parameter,
    value: &Json,
    separator: &str,
    write: impl Fn(&str) -> String,
) -> Result<String, Cause> {
    let texts: Vec<String> = match value {
        _ if parameter.style == Style::Json => vec![write(&value.to_string())],
        Json::Array(items) => items.iter().map(|item| write(&item_text(item))).collect(),
        Json::Object(members) => members
            .iter()
            .flat_map(|(name, value)| {
                let (name, value) = (write(name), write(&item_text(value)));
                if parameter.explodes { vec![format!("{name}={value}")] } else { vec![name, value] }
            })
            .collect(),
        Json::Null => return Err(invalid(&parameter.argument, "is null")),
        Json::Bool(_) | Json::Number(_) | Json::String(_) => vec![write(&item_text(value))],
    };
    Ok(texts.join(separator))
}

/// A value within a list or an object: a text is written as it is, anything else as JSON.
fn item_text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => value.to_string(),
    }
}

fn write_body(declared: &Body, value: &Json) -> Result<Bytes, Cause> {
    let bytes = match (declared.form, value) {
        (BodyForm::Json, _) => value.to_string().into_bytes(),
        (BodyForm::Text, Json::String(text)) => text.clone().into_bytes(),
        (BodyForm::Text, _) => return Err(invalid(declared.argument, "is no text")),
        (BodyForm::UrlEncoded, Json::Object(members)) => {
            let pairs = members.iter().flat_map(|(name, value)| match value {
                Json::Array(items) => items.iter().map(|item| (name, item_text(item))).collect(),
                Json::Null => Vec::new(),
                Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_) => vec![(name, item_text(value))],
            });
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().into_bytes()
        }
        (BodyForm::UrlEncoded, _) => return Err(invalid(declared.argument, "is no object, as a form is")),
    };
    if bytes.len() > BODY_BYTES_MAX {
        let message = format!(
            "the argument `{}` has {} bytes, at most {BODY_BYTES_MAX} are sent",
            declared.argument,
            bytes.len()
        );
        return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
    }
    Ok(bytes.into())
}

fn invalid(argument: &str, problem: &str) -> Cause {
    Cause::new(ErrorCode::InvalidInput, format!("the argument `{argument}` {problem}"))
}

#[cfg(test)]
mod tests;

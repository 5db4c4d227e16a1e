//! One parameter of an operation: where it is, and how its value is written there.

use greenroom_protocol::Json;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName};

use crate::foreign::{is_visible, visible_text};
use crate::outbound::credentials::is_reserved;

/// Maximum bytes of the name of a parameter.
const NAME_BYTES_MAX: usize = 128;
/// Maximum bytes of a description.
const DESCRIPTION_BYTES_MAX: usize = 500;

/// A parameter.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Parameter {
    /// Its name in requests.
    pub(in super::super) name: String,
    /// The name of the argument.
    pub(in super::super) argument: String,
    pub(in super::super) location: Location,
    pub(in super::super) style: Style,
    /// True if the items of a value are written one by one.
    pub(in super::super) explodes: bool,
    pub(in super::super) is_required: bool,
}

/// A parameter as a document declares it. Its schema remains there: many operations may refer to one.
#[derive(Debug, PartialEq)]
pub(super) struct Declaration<'a> {
    pub(super) parameter: Parameter,
    /// `None` for any value.
    pub(super) schema: Option<&'a Json>,
    pub(super) description: Option<String>,
}

/// Where a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Location {
    Path,
    Query,
    Header,
}

impl Location {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Style {
    /// Items with commas, in a path or a header.
    Simple,
    /// `name=value`.
    Form,
    /// Items with spaces.
    SpaceDelimited,
    /// Items with bars.
    PipeDelimited,
    /// `name[member]=value`.
    DeepObject,
    /// As JSON.
    Json,
}

impl<'a> Declaration<'a> {
    /// Reads a parameter; `None` for one that is never sent.
    ///
    /// # Errors
    /// Why the operation can be no tool.
    pub(super) fn parse(declared: &'a Json) -> Result<Option<Self>, String> {
        let text = |name: &str| declared.get(name).and_then(Json::as_str);
        let name = text("name").filter(|name| !name.is_empty()).ok_or("a parameter has no name")?;
        if name.len() > NAME_BYTES_MAX || !name.chars().all(is_visible) {
            return Err("a parameter has a name that is too long, or has characters that are not visible".to_owned());
        }
        let is_required = declared.get("required") == Some(&Json::Bool(true));
        let unsupported = |problem: &str| match is_required {
            true => Err(format!("the required parameter `{name}` {problem}")),
            false => Ok(None),
        };
        let location = match text("in") {
            Some("path") => Location::Path,
            Some("query") => Location::Query,
            Some("header") => Location::Header,
            Some("cookie") => return unsupported("is a cookie"),
            _ => return Err(format!("the parameter `{name}` is nowhere")),
        };
        if location == Location::Header && is_ignored(name) {
            return Ok(None);
        }
        let default = if location == Location::Query { Style::Form } else { Style::Simple };
        let style = match (declared.get("content"), text("style"), location) {
            (Some(_), _, _) => Style::Json,
            (None, None, _) => default,
            (None, Some("simple"), Location::Path | Location::Header) => Style::Simple,
            (None, Some("form"), Location::Query) => Style::Form,
            (None, Some("spaceDelimited"), Location::Query) => Style::SpaceDelimited,
            (None, Some("pipeDelimited"), Location::Query) => Style::PipeDelimited,
            (None, Some("deepObject"), Location::Query) => Style::DeepObject,
            (None, Some(_), _) => return unsupported("has a style that is not supported"),
        };
        let explodes = declared.get("explode").and_then(Json::as_bool).unwrap_or(style == Style::Form);
        let media = declared.get("content").and_then(Json::as_object).and_then(|content| content.values().next());
        let parameter =
            Parameter { name: name.to_owned(), argument: name.to_owned(), location, style, explodes, is_required };
        let schema = media.unwrap_or(declared).get("schema");
        let description = text("description").map(|text| visible_text(text, DESCRIPTION_BYTES_MAX));
        Ok(Some(Self { parameter, schema, description }))
    }
}

/// True for a header that OpenAPI lets a document not define, or that the platform or the configuration writes.
fn is_ignored(name: &str) -> bool {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(header) => [ACCEPT, AUTHORIZATION, CONTENT_TYPE].contains(&header) || is_reserved(&header),
        // No request can have it.
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_parameter_has_the_style_of_its_location_by_default() {
        let parse = |declared: Json| Declaration::parse(&declared).unwrap().unwrap().parameter;
        let query = parse(json!({ "name": "q", "in": "query", "schema": { "type": "string" } }));
        assert_eq!((query.style, query.explodes, query.is_required), (Style::Form, true, false));
        let path = parse(json!({ "name": "p", "in": "path", "required": true }));
        assert_eq!((path.style, path.explodes, path.is_required), (Style::Simple, false, true));
        let pipe = parse(json!({ "name": "q", "in": "query", "style": "pipeDelimited", "explode": false }));
        assert_eq!((pipe.style, pipe.explodes), (Style::PipeDelimited, false));
        let json = json!({ "name": "q", "in": "query", "content": { "application/json": { "schema": { "type": "object" } } } });
        let json = Declaration::parse(&json).unwrap().unwrap();
        assert_eq!((json.parameter.style, json.schema), (Style::Json, Some(&json!({ "type": "object" }))));
    }

    #[test]
    fn what_cannot_be_sent_is_left_out_unless_it_is_required() {
        for declared in [
            json!({ "name": "c", "in": "cookie" }),
            json!({ "name": "Authorization", "in": "header" }),
            json!({ "name": "Host", "in": "header", "required": true }),
            json!({ "name": "a b", "in": "header" }),
            json!({ "name": "q", "in": "query", "style": "matrix" }),
        ] {
            assert_eq!(Declaration::parse(&declared), Ok(None), "{declared}");
        }
        for declared in [
            json!({ "name": "c", "in": "cookie", "required": true }),
            json!({ "name": "p", "in": "path", "style": "matrix", "required": true }),
            json!({ "in": "query" }),
            json!({ "name": "q" }),
            json!({ "name": "q", "in": "body" }),
            json!({ "name": "x".repeat(1_000), "in": "query" }),
            json!([]),
        ] {
            assert!(Declaration::parse(&declared).is_err(), "{declared}");
        }
    }
}

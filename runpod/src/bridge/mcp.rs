//! The route of MCP: one message of a client, and the reply to it. The server stores nothing between two messages, so it has no
//! sessions and no stream of its own: a client that opens one is refused with 405, as the protocol has it. A client cancels a
//! request by closing it.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use greenroom_protocol::{Cause, ErrorCode, IdempotencyKey};

use super::body::read_json;
use super::incoming::{Head, Incoming};
use super::problem::Problem;
use super::respond;
use crate::mcp::{
    CallSettings, McpMessage, McpReply, McpRequest, McpServer, Selection, is_handshake_version, stated_version,
};
use crate::random::random_text;

/// The path of the route.
pub(super) const PATH: &str = "/mcp";
/// The names of the query: the category of agents, and the names of tools, separated by commas.
pub(super) const MCP_QUERY: [&str; 2] = ["category", "tools"];
/// The headers that repeat what the body states.
const VERSION_HEADER: &str = "MCP-Protocol-Version";
const METHOD_HEADER: &str = "Mcp-Method";
const NAME_HEADER: &str = "Mcp-Name";

/// Replies to a message.
pub(super) async fn serve(incoming: Incoming) -> Result<Response, Problem> {
    let Incoming { head, body } = incoming;
    let headers = head.request_headers()?;
    let mut query = head.query(&MCP_QUERY)?;
    if headers.credential.is_none() && head.bridge.has_identity {
        let message = "send `Authorization: Bearer TOKEN` or `Authorization: ApiKey KEY`";
        return Err(Cause::new(ErrorCode::Unauthenticated, message).into());
    }
    let received = read_json(&head.bridge, &head.headers, body).await?;
    let request = match McpMessage::read(&received.bytes) {
        Ok(McpMessage::Request(request)) => request,
        Ok(McpMessage::Notification(_) | McpMessage::Response) => return Ok(StatusCode::ACCEPTED.into_response()),
        Err(reply) => return written(&reply),
    };
    drop(received);
    if let Some(header) = contradicting_header(&head, &request) {
        return written(&McpReply::header_mismatch(request.id, header));
    }
    let tools = query.remove("tools").map(|names| names.split(',').map(|name| name.trim().to_owned()).collect());
    let server = McpServer::new(Selection { category: query.remove("category"), tools });
    let settings = CallSettings {
        key: match headers.idempotency_key {
            Some(key) => key,
            None => random_key()?,
        },
        timeout: headers.timeout,
        trace: headers.trace.map(|trace| trace.trace().clone()),
    };
    let client = head.bridge.client(headers.credential);
    written(&server.respond(&client, request, settings).await?)
}

/// A key of one request only.
fn random_key() -> Result<IdempotencyKey, Cause> {
    IdempotencyKey::new(random_text()).map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))
}

fn written(reply: &McpReply) -> Result<Response, Problem> {
    respond::json(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK), &reply.document)
}

/// The first header that is not what the body states, or is there twice: whatever is on the way decides by the headers. In
/// the versions with a handshake, the body states no version, the header has any of them, and no header is required.
fn contradicting_header(head: &Head, request: &McpRequest) -> Option<&'static str> {
    let version = stated_version(request);
    let is_contradicting = |header: &str, stated: &str| match single(head, header) {
        Ok(Some(text)) => decoded(text).as_deref() != Some(stated),
        Ok(None) => version.is_some(),
        Err(Ambiguous) => true,
    };
    let has_wrong_version = match (version, single(head, VERSION_HEADER)) {
        (Some(stated), Ok(text)) => text != Some(stated),
        (None, Ok(text)) => text.is_some_and(|text| !is_handshake_version(text)),
        (Some(_) | None, Err(Ambiguous)) => true,
    };
    if has_wrong_version {
        return Some(VERSION_HEADER);
    }
    if is_contradicting(METHOD_HEADER, &request.method) {
        return Some(METHOD_HEADER);
    }
    request.name().filter(|name| is_contradicting(NAME_HEADER, name)).map(|_| NAME_HEADER)
}

/// A header that is there twice, or is no text.
struct Ambiguous;

/// The text of a header, if it is there.
fn single<'h>(head: &'h Head, name: &str) -> Result<Option<&'h str>, Ambiguous> {
    let mut values = head.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Ambiguous),
        (Some(_), Some(_)) => Err(Ambiguous),
    }
}

/// The value of a header: a text that no header can have is in Base64.
fn decoded(text: &str) -> Option<String> {
    let Some(encoded) = text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(text.to_owned());
    };
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_no_header_can_have_is_in_base64() {
        assert_eq!(decoded("agent_x").as_deref(), Some("agent_x"));
        assert_eq!(decoded("=?base64?w6k=?=").as_deref(), Some("é"));
        assert_eq!(decoded("=?base64?not!?="), None);
    }
}

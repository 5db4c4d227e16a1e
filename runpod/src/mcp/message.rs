//! One message of JSON-RPC: what a client sends, and the reply.

use greenroom_protocol::{Cause, ErrorCode, Json, strict_json};
use serde_json::{Map, json};

/// Codes of JSON-RPC and of the protocol.
const PARSE_ERROR: i64 = -32_700;
const INVALID_REQUEST: i64 = -32_600;
const METHOD_NOT_FOUND: i64 = -32_601;
const INVALID_PARAMS: i64 = -32_602;
const INTERNAL_ERROR: i64 = -32_603;
const OVERLOADED: i64 = -32_000;
const HEADER_MISMATCH: i64 = -32_020;
const UNSUPPORTED_VERSION: i64 = -32_022;
/// Characters of a method or a name in a message.
const NAME_CHARS_MAX: usize = 128;

/// A message of a client.
#[derive(Debug, Clone, PartialEq)]
pub enum McpMessage {
    /// A request, which has a reply.
    Request(McpRequest),
    /// A notification, which has none.
    Notification(McpNotification),
    /// A response. This server sends no requests, so that nothing waits for it.
    Response,
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct McpRequest {
    /// Its id: a text or a number.
    pub id: Json,
    /// What it requests.
    pub method: String,
    /// Its parameters.
    pub params: Map<String, Json>,
}

/// A notification.
#[derive(Debug, Clone, PartialEq)]
pub struct McpNotification {
    /// What it notifies of.
    pub method: String,
    /// Its parameters.
    pub params: Map<String, Json>,
}

impl McpMessage {
    /// Reads one message.
    ///
    /// # Errors
    /// The reply to what is none.
    pub fn read(bytes: &[u8]) -> Result<Self, McpReply> {
        let invalid = |id: Json, problem: &str| McpReply::error(id, RpcError::new(INVALID_REQUEST, problem), false);
        let message: Json = serde_json::from_slice(bytes).map_err(|error| {
            let error = RpcError::new(PARSE_ERROR, format!("this is not JSON: {error}"));
            McpReply::error(Json::Null, error, false)
        })?;
        let Json::Object(mut message) = message else {
            return Err(invalid(Json::Null, "a message is one object; several are sent one by one"));
        };
        let id = message.remove("id");
        let known_id = id.clone().filter(|id| id.is_string() || id.is_i64() || id.is_u64());
        let reply_id = known_id.clone().unwrap_or_default();
        if let Err(ambiguity) = strict_json::check(bytes) {
            return Err(invalid(reply_id, &ambiguity.to_string()));
        }
        if message.get("jsonrpc").is_none_or(|version| version != "2.0") {
            return Err(invalid(reply_id, "`jsonrpc` is not \"2.0\""));
        }
        let method = match message.remove("method") {
            Some(Json::String(method)) => method,
            Some(_) => return Err(invalid(reply_id, "`method` is no text")),
            None if message.contains_key("result") || message.contains_key("error") => return Ok(Self::Response),
            None => return Err(invalid(reply_id, "`method` is missing")),
        };
        let params = match message.remove("params") {
            None | Some(Json::Null) => Map::new(),
            Some(Json::Object(params)) => params,
            Some(_) => return Err(invalid(reply_id, "`params` is no object")),
        };
        match (id, known_id) {
            (None, _) => Ok(Self::Notification(McpNotification { method, params })),
            (Some(_), Some(id)) => Ok(Self::Request(McpRequest { id, method, params })),
            (Some(_), None) => Err(invalid(Json::Null, "`id` is no text and no whole number")),
        }
    }
}

impl McpRequest {
    /// The token by which the client recognises the progress of the request, if it wants any.
    #[must_use]
    pub fn progress_token(&self) -> Option<&Json> {
        self.params.get("_meta")?.get("progressToken").filter(|token| token.is_string() || token.is_number())
    }

    /// The name that the headers of the request repeat.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.params.get("name").and_then(Json::as_str).filter(|_| self.method == "tools/call")
    }
}

impl McpNotification {
    /// The id of the request that the client cancels.
    #[must_use]
    pub fn cancelled(&self) -> Option<&Json> {
        if self.method == "notifications/cancelled" { self.params.get("requestId") } else { None }
    }
}

/// The reply to a request, and the status that it has over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct McpReply {
    /// The message.
    pub document: Json,
    /// The status.
    pub status: u16,
}

impl McpReply {
    pub(super) fn result(id: Json, result: Json) -> Self {
        Self { document: json!({ "jsonrpc": "2.0", "id": id, "result": result }), status: 200 }
    }

    /// An error. In the versions without a handshake, further codes have a status of their own.
    pub(super) fn error(id: Json, error: RpcError, has_statuses: bool) -> Self {
        let status = match error.code {
            PARSE_ERROR | INVALID_REQUEST | HEADER_MISMATCH | UNSUPPORTED_VERSION => 400,
            INVALID_PARAMS if has_statuses => 400,
            METHOD_NOT_FOUND if has_statuses => 404,
            _ => 200,
        };
        let mut members = json!({ "code": error.code, "message": error.message });
        if let (Some(data), Some(members)) = (error.data, members.as_object_mut()) {
            members.insert("data".to_owned(), data);
        }
        Self { document: json!({ "jsonrpc": "2.0", "id": id, "error": members }), status }
    }

    /// The reply to a request whose header names something else than its body.
    #[must_use]
    pub fn header_mismatch(id: Json, header: &str) -> Self {
        let message = format!("the header `{header}` is missing, there twice, or not what the body states");
        Self::error(id, RpcError::new(HEADER_MISMATCH, message), true)
    }

    /// The reply to a request beyond those that are under way.
    #[must_use]
    pub fn overloaded(id: Json, requests_max: usize) -> Self {
        let message = format!("more than {requests_max} requests are under way; send it again later");
        Self::error(id, RpcError::new(OVERLOADED, message), false)
    }

    /// The reply to a request that failed for this cause.
    #[must_use]
    pub fn failed(id: Json, cause: &Cause) -> Self {
        Self::error(id, RpcError::of(cause), false)
    }
}

/// An error of JSON-RPC.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RpcError {
    code: i64,
    message: String,
    data: Option<Json>,
}

impl RpcError {
    fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(INVALID_PARAMS, message)
    }

    pub(super) fn method_not_found(method: &str) -> Self {
        let method: String = method.chars().take(NAME_CHARS_MAX).collect();
        Self::new(METHOD_NOT_FOUND, format!("there is no method `{method}`"))
    }

    pub(super) fn unknown_tool(name: &str) -> Self {
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        Self::invalid_params(format!("there is no tool `{name}`"))
    }

    pub(super) fn unsupported_version(requested: &str, supported: &[&str]) -> Self {
        let requested: String = requested.chars().take(NAME_CHARS_MAX).collect();
        let message = format!("the version `{requested}` of the protocol is not supported");
        let data = json!({ "requested": requested, "supported": supported });
        Self { data: Some(data), ..Self::new(UNSUPPORTED_VERSION, message) }
    }

    /// The error of a request that failed for this cause.
    fn of(cause: &Cause) -> Self {
        let code = if cause.code == ErrorCode::Overloaded { OVERLOADED } else { INTERNAL_ERROR };
        Self { data: Some(json!(cause)), ..Self::new(code, cause.to_string()) }
    }
}

/// Why a request has no result.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Refusal {
    /// An error, which is the reply.
    Rpc(RpcError),
    /// The caller could not be authenticated. Over HTTP, that is a status of its own.
    Unauthenticated(Cause),
}

impl From<RpcError> for Refusal {
    fn from(error: RpcError) -> Self {
        Self::Rpc(error)
    }
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        match cause.code {
            ErrorCode::Unauthenticated => Self::Unauthenticated(cause),
            _ => Self::Rpc(RpcError::of(&cause)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_message_is_recognised() {
        let read = |text: &str| McpMessage::read(text.as_bytes()).unwrap();
        let McpMessage::Request(request) = read(
            r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"x","_meta":{"progressToken":7}}}"#,
        ) else {
            panic!("a request")
        };
        assert_eq!((request.progress_token(), request.name()), (Some(&json!(7)), Some("x")));
        let McpMessage::Notification(notification) =
            read(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#)
        else {
            panic!("a notification")
        };
        assert_eq!(notification.cancelled(), Some(&json!(3)));
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), McpMessage::Response);
    }

    #[test]
    fn what_is_no_message_has_a_reply_with_its_reason() {
        for (text, code, id) in [
            ("", PARSE_ERROR, json!(null)),
            ("{", PARSE_ERROR, json!(null)),
            ("[]", INVALID_REQUEST, json!(null)),
            (r#"{"id":1,"method":"ping"}"#, INVALID_REQUEST, json!(1)),
            (r#"{"jsonrpc":"2.0","id":1}"#, INVALID_REQUEST, json!(1)),
            (r#"{"jsonrpc":"2.0","id":1,"method":5}"#, INVALID_REQUEST, json!(1)),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, INVALID_REQUEST, json!(null)),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, INVALID_REQUEST, json!(null)),
            (r#"{"jsonrpc":"2.0","id":2,"method":"ping","params":[]}"#, INVALID_REQUEST, json!(2)),
            (
                r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"arguments":{"a":1,"a":2}}}"#,
                INVALID_REQUEST,
                json!(3),
            ),
        ] {
            let reply = McpMessage::read(text.as_bytes()).unwrap_err();
            assert_eq!((reply.status, &reply.document["error"]["code"]), (400, &json!(code)), "{text}");
            assert_eq!(reply.document["id"], id, "{text}");
        }
    }

    #[test]
    fn only_versions_without_a_handshake_have_statuses_for_further_codes() {
        let error = || RpcError::method_not_found(&"x".repeat(10_000));
        let (with, without) = (McpReply::error(json!(1), error(), true), McpReply::error(json!(1), error(), false));
        assert_eq!((with.status, without.status), (404, 200));
        assert!(with.document.to_string().len() < 300, "a name is cut");
        let denied = Refusal::from(Cause::new(ErrorCode::PolicyDenied, "no"));
        let Refusal::Rpc(error) = denied else { panic!("an error") };
        assert_eq!(error.data.unwrap()["code"], "policy_denied");
    }
}

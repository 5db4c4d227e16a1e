//! Our agents and workflows as the tools of a server that speaks the Model Context Protocol, over HTTP (`/mcp` of the bridge)
//! and over standard input and output (`greenroom mcp`).
//!
//! ```text
//! message    one message of JSON-RPC: what a client sends, and the reply
//! version    the versions of the protocol: with a handshake, and without one
//! selection  which definitions are tools
//! tools      tools/list: definitions → tools
//! call       tools/call: a tool → a request of the client → its result
//! stdio      the messages of one client over lines
//! ```
//!
//! Nothing is stored between two messages: a client of any version may send each of them to another process. What a caller
//! may list and call is decided by the pods, for each request.

use greenroom_client::Client;
use greenroom_protocol::request::{Page, RunListFilter};
use greenroom_protocol::{Cause, ErrorCode, Json};
use serde_json::json;

mod call;
mod message;
mod selection;
pub mod stdio;
mod tools;
mod version;

pub use call::CallSettings;
pub use message::{McpMessage, McpNotification, McpReply, McpRequest};
pub use selection::Selection;

use message::{Refusal, RpcError};
pub(crate) use version::is_handshake as is_handshake_version;
use version::{Dialect, ResultKind};

/// What a client should know of all tools.
const INSTRUCTIONS: &str = "Each tool is an agent or a workflow of Greenroom. Every call is authorized by policy, audited \
                            and paid from a budget. A value that is too large for a result is a reference `$artifact`.";

/// The server. It has no state but its selection.
#[derive(Debug, Clone, Default)]
pub struct McpServer {
    selection: Selection,
}

impl McpServer {
    /// A server with these tools.
    #[must_use]
    pub const fn new(selection: Selection) -> Self {
        Self { selection }
    }

    /// Replies to a request of the caller whom the client authenticates.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`] if the caller is not; every other failure is a reply.
    pub async fn respond(
        &self,
        client: &Client,
        request: McpRequest,
        settings: CallSettings,
    ) -> Result<McpReply, Cause> {
        let McpRequest { id, method, params } = request;
        let dialect = match Dialect::of(&params) {
            Ok(dialect) => dialect,
            Err(error) => return Ok(McpReply::error(id, error, Dialect::Stateless.has_statuses())),
        };
        let replied = match method.as_str() {
            "initialize" => introduced(client, version::initialize_result(&params, INSTRUCTIONS)).await,
            "server/discover" => introduced(client, version::discover_result(INSTRUCTIONS)).await,
            "ping" => Ok((json!({}), ResultKind::Plain)),
            "tools/list" => {
                tools::list(client, &self.selection, &params).await.map(|page| (page, ResultKind::Cacheable))
            }
            "tools/call" => {
                call::call(client, &self.selection, params, settings).await.map(|result| (result, ResultKind::Plain))
            }
            _ => Err(RpcError::method_not_found(&method).into()),
        };
        match replied {
            Ok((result, kind)) => Ok(McpReply::result(id, dialect.complete(result, kind))),
            Err(Refusal::Rpc(error)) => Ok(McpReply::error(id, error, dialect.has_statuses())),
            Err(Refusal::Unauthenticated(cause)) => Err(cause),
        }
    }
}

/// The version of the protocol that a request itself states.
pub(crate) fn stated_version(request: &McpRequest) -> Option<&str> {
    version::stated(&request.params)
}

/// The result of a message with which a client begins, once its caller is authenticated: a query that may be denied.
async fn introduced(client: &Client, result: (Json, ResultKind)) -> Result<(Json, ResultKind), Refusal> {
    let page = Page { limit: 1, ..Page::default() };
    let reply = client.runs(RunListFilter::default(), page).await.map_err(|error| Refusal::from(Cause::from(error)))?;
    match reply.error {
        Some(cause) if cause.code == ErrorCode::Unauthenticated => Err(Refusal::Unauthenticated(cause)),
        Some(_) | None => Ok(result),
    }
}

#[cfg(test)]
mod tests;

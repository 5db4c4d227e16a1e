//! `tools/call`: executes an agent or runs a workflow, as the caller. A failure of the work is a result that the model of the
//! client reads, with its code; only a tool that does not exist is an error of the protocol.

use std::time::Duration;

use greenroom_client::{CallParams, Client};
use greenroom_protocol::header::{TRACEPARENT, Traceparent};
use greenroom_protocol::{Cause, ErrorCode, IdempotencyKey, Json, Reply, Status, TraceId, Values};
use serde_json::{Map, json};

use super::message::{Refusal, RpcError};
use super::selection::{Callee, Selection};

/// The member of `_meta` with the id of the request, which is that of the run that it started.
const REQUEST_KEY: &str = "greenroom/requestId";

/// What belongs to one call, beside its message.
#[derive(Debug, Clone)]
pub struct CallSettings {
    /// A repetition with this key gets the result of the first call.
    pub key: IdempotencyKey,
    /// The time for which the caller waits; `None` for that of every request.
    pub timeout: Option<Duration>,
    /// The trace that the call belongs to; if absent, that of its message.
    pub trace: Option<TraceId>,
}

/// Calls a tool.
pub(super) async fn call(
    client: &Client,
    selection: &Selection,
    mut params: Map<String, Json>,
    settings: CallSettings,
) -> Result<Json, Refusal> {
    let Some(Json::String(name)) = params.remove("name") else {
        return Err(RpcError::invalid_params("`name` is no text").into());
    };
    let inputs: Values = match params.remove("arguments") {
        None | Some(Json::Null) => Values::new(),
        Some(Json::Object(arguments)) => arguments.into_iter().collect(),
        Some(_) => return Err(RpcError::invalid_params("`arguments` is no object").into()),
    };
    let callee = Callee::parse(&name).filter(|_| selection.has_name(&name));
    let call = match callee.ok_or_else(|| RpcError::unknown_tool(&name))? {
        Callee::Agent(id) => client.agent(id),
        Callee::Workflow(id) => client.workflow(id),
    };
    let CallSettings { key, timeout, trace } = settings;
    let trace = trace.or_else(|| trace_of(&params));
    let mut call = call.params(CallParams { inputs, ..CallParams::default() }).idempotency_key(key);
    if let Some(timeout) = timeout {
        call = call.timeout(timeout);
    }
    if let Some(trace) = trace {
        call = call.trace(trace);
    }
    match call.send().await {
        Ok(reply) => result(&name, reply),
        Err(error) => failure(&name, Cause::from(error), None),
    }
}

/// The trace that a client writes beside the parameters.
fn trace_of(params: &Map<String, Json>) -> Option<TraceId> {
    let text = params.get("_meta")?.get(TRACEPARENT)?.as_str()?;
    Some(text.parse::<Traceparent>().ok()?.trace().clone())
}

/// The result of a reply.
fn result(name: &str, reply: Reply) -> Result<Json, Refusal> {
    match (reply.error, reply.status) {
        (Some(cause), _) => failure(name, cause, Some(&reply.id)),
        (None, Status::Success) => {
            let outputs = Json::Object(reply.outputs.into_iter().collect());
            Ok(json!({
                "content": [{ "type": "text", "text": outputs.to_string() }],
                "structuredContent": outputs, "isError": false, "_meta": { REQUEST_KEY: reply.id },
            }))
        }
        (None, status @ (Status::Failed | Status::Denied | Status::Cancelled | Status::TimedOut)) => {
            let message = format!("the reply is {} and has no cause", status.as_str());
            failure(name, Cause::new(ErrorCode::Internal, message), Some(&reply.id))
        }
    }
}

/// The result of a call that failed.
fn failure(name: &str, cause: Cause, request: Option<&str>) -> Result<Json, Refusal> {
    match cause.code {
        ErrorCode::Unauthenticated => Err(Refusal::Unauthenticated(cause)),
        ErrorCode::UnknownAgent | ErrorCode::UnknownWorkflow => Err(RpcError::unknown_tool(name).into()),
        _ => {
            let mut result = json!({
                "content": [{ "type": "text", "text": cause.to_string() }],
                "structuredContent": { "error": cause }, "isError": true,
            });
            if let (Some(request), Some(members)) = (request, result.as_object_mut()) {
                members.insert("_meta".to_owned(), json!({ REQUEST_KEY: request }));
            }
            Ok(result)
        }
    }
}

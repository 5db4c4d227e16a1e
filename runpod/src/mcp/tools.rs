//! `tools/list`: the agents and workflows that the caller may list, in the order of their names, in pages. The schema of a
//! tool is that of the inputs of its definition.

use futures::future::try_join;
use futures::stream::{self, StreamExt};
use greenroom_client::{Client, ReplyResult};
use greenroom_protocol::{AgentId, Cause, Json, Values, WorkflowId};
use serde_json::{Map, json};

use super::message::{Refusal, RpcError};
use super::selection::{Callee, Selection};

/// Tools of a page.
const PAGE_TOOLS_MAX: usize = 50;
/// Definitions of a page that are read at the same time.
const CONCURRENT_READS_MAX: usize = 8;

/// One page of the list. The cursor is the name of the last tool of the page before.
pub(super) async fn list(client: &Client, selection: &Selection, params: &Map<String, Json>) -> Result<Json, Refusal> {
    let after = cursor(params)?;
    let (agents, workflows) = try_join(rows(client.agents(), "agents"), rows(client.workflows(), "workflows")).await?;
    let agents = agents.iter().filter_map(|row| {
        let callee = Callee::Agent(AgentId::new(text(row, "agent_id")?).ok()?);
        let name = callee.name()?;
        selection.has(&name, text(row, "category")).then_some((name, callee))
    });
    let workflows = workflows.iter().filter_map(|row| {
        let callee = Callee::Workflow(WorkflowId::new(text(row, "workflow_id")?).ok()?);
        let name = callee.name()?;
        selection.has(&name, None).then_some((name, callee))
    });
    let mut all: Vec<(String, Callee)> = agents.chain(workflows).filter(|(name, _)| name.as_str() > after).collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    let next =
        if all.len() > PAGE_TOOLS_MAX { all.get(PAGE_TOOLS_MAX - 1).map(|(name, _)| name.clone()) } else { None };
    all.truncate(PAGE_TOOLS_MAX);
    let reads: Vec<_> = all.into_iter().map(|(name, callee)| Box::pin(describe(client, name, callee))).collect();
    let described: Vec<Result<Option<Json>, Cause>> =
        stream::iter(reads).buffered(CONCURRENT_READS_MAX).collect().await;
    let tools: Vec<Option<Json>> = described.into_iter().collect::<Result<_, _>>()?;
    let tools: Vec<Json> = tools.into_iter().flatten().collect();
    Ok(match next {
        Some(next) => json!({ "tools": tools, "nextCursor": next }),
        None => json!({ "tools": tools }),
    })
}

fn cursor(params: &Map<String, Json>) -> Result<&str, RpcError> {
    match params.get("cursor") {
        None | Some(Json::Null) => Ok(""),
        Some(Json::String(name)) if Callee::parse(name).is_some() => Ok(name),
        Some(_) => Err(RpcError::invalid_params("`cursor` is none that this server has returned")),
    }
}

/// The rows of a list of the catalogue.
async fn rows(reply: impl Future<Output = ReplyResult>, list: &str) -> Result<Vec<Json>, Cause> {
    match outputs(reply.await)?.remove(list) {
        Some(Json::Array(rows)) => Ok(rows),
        Some(_) | None => Ok(Vec::new()),
    }
}

fn outputs(reply: ReplyResult) -> Result<Values, Cause> {
    let reply = reply?;
    match reply.error {
        Some(cause) => Err(cause),
        None => Ok(reply.outputs),
    }
}

/// The tool of a definition; `None` if the definition is not in service any more, or the caller may not read it.
async fn describe(client: &Client, name: String, callee: Callee) -> Result<Option<Json>, Cause> {
    let (reply, kind) = match callee {
        Callee::Agent(id) => (client.agent_definition(id).await, "agent"),
        Callee::Workflow(id) => (client.workflow_definition(id).await, "workflow"),
    };
    let mut outputs = match outputs(reply) {
        Ok(outputs) => outputs,
        Err(cause) if cause.code.is_retryable() => return Err(cause),
        Err(_) => return Ok(None),
    };
    let definition = outputs.get(kind).cloned().unwrap_or_default();
    // A pod of an earlier release does not have it.
    let schema = outputs.remove("input_schema").filter(Json::is_object).unwrap_or_else(|| json!({ "type": "object" }));
    let member = |member: &str| text(&definition, member).unwrap_or_default();
    Ok(Some(json!({
        "name": name, "title": member("name"), "description": member("description"), "inputSchema": schema,
    })))
}

fn text<'r>(row: &'r Json, member: &str) -> Option<&'r str> {
    row.get(member).and_then(Json::as_str)
}

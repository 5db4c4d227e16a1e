//! The end of an execution whose model has called tools that need an approval, and its continuation with the decisions.
//! The conversation is stored as an artifact of the agent's tenant, so that nothing of it is lost with the process.

use greenroom_protocol::conversation::{
    ConversationMessage, ConversationPart, ConversationRole, PendingToolCall, StepApprovals, SuspendedCall,
    SuspendedConversation, TurnCall,
};
use greenroom_protocol::{ArtifactRef, Cause, ErrorCode};

use super::runtime::ExecutionContext;
use super::tools::{CallResult, CallState, PlannedCall};
use crate::model::{Message, Part, Role, ToolCall};

/// Maximum size of a stored conversation.
const CONVERSATION_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Maximum calls of one turn that wait for an approval, all of which are in the journal. Further ones are not made.
pub(super) const PENDING_CALLS_MAX: usize = 32;
/// Maximum size of the arguments of a pending call in the journal; larger ones become an artifact.
const ARGUMENTS_BYTES_MAX: usize = 4 * 1024;
/// Media type of what is stored.
const JSON: &str = "application/json";

/// The cause for an agent whose caller cannot wait for approvals.
pub(super) fn no_approver(agent: &str) -> Cause {
    let message = format!(
        "a tool of {agent} needs an approval, for which only a run can wait: call the agent as a step of a workflow, and \
         start that"
    );
    Cause::new(ErrorCode::ApprovalRequired, message)
}

/// The result of a call beyond [`PENDING_CALLS_MAX`].
pub(super) fn too_many_pending() -> String {
    format!("not called: at most {PENDING_CALLS_MAX} calls of one turn wait for an approval; call it in a later turn")
}

/// Stores a conversation, and returns the cause with which the execution ends.
///
/// # Errors
/// [`ErrorCode::PayloadTooLarge`] if it could not be read again; an error of the artifact store.
pub(super) async fn suspend(
    ctx: &ExecutionContext<'_>,
    conversation: &SuspendedConversation,
    pending: Vec<PendingToolCall>,
) -> Result<Cause, Cause> {
    let bytes = serde_json::to_vec(conversation).map_err(|error| unreadable(&error.to_string()))?;
    if bytes.len() as u64 > CONVERSATION_BYTES_MAX {
        let mebibytes = CONVERSATION_BYTES_MAX / (1024 * 1024);
        let message =
            format!("a conversation that waits for an approval has at most {mebibytes} MiB: use smaller inputs");
        return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
    }
    let stored = ctx.files.store_artifact(&bytes, "conversation.json", JSON).await?;
    let mut calls = Vec::with_capacity(pending.len());
    for call in pending {
        calls.push(with_bounded_arguments(ctx, call).await?);
    }
    Ok(SuspendedCall { conversation: stored, calls, artifacts: conversation.artifacts.clone() }.into_cause())
}

async fn with_bounded_arguments(ctx: &ExecutionContext<'_>, call: PendingToolCall) -> Result<PendingToolCall, Cause> {
    let text = call.arguments.to_string();
    if text.len() <= ARGUMENTS_BYTES_MAX {
        return Ok(call);
    }
    let stored = ctx.files.store_artifact(text.as_bytes(), "arguments.json", JSON).await?;
    Ok(PendingToolCall { arguments: stored.to_json(), ..call })
}

/// The conversation with which an agent continues, and the calls of its last turn.
pub(super) struct Continuation {
    pub(super) messages: Vec<Message>,
    pub(super) calls: Vec<PlannedCall>,
    pub(super) stored: SuspendedConversation,
}

/// Loads the conversation that a request continues; `None` if the agent begins.
///
/// # Errors
/// [`ErrorCode::UnknownRecord`] if the conversation is missing; an error of the artifact store.
pub(super) async fn load(ctx: &ExecutionContext<'_>) -> Result<Option<Continuation>, Cause> {
    let approvals = ctx.invocation.invoke.approvals.as_ref();
    let Some(StepApprovals { conversation: Some(artifact), decisions }) = approvals else { return Ok(None) };
    let mut stored = read(ctx, artifact).await?;
    let messages: Vec<Message> = std::mem::take(&mut stored.messages).into_iter().map(from_stored).collect();
    let made: Vec<ToolCall> = messages.last().into_iter().flat_map(|last| &last.parts).filter_map(tool_call).collect();
    let turn = std::mem::take(&mut stored.calls);
    if made.len() != turn.len() {
        return Err(unreadable("its last message has other calls than its turn"));
    }
    let calls = made.into_iter().zip(turn).map(|(call, recorded)| {
        let state = match recorded {
            TurnCall::Ended { content, is_error } => CallState::Ended(CallResult { content, is_error }),
            TurnCall::Waiting { call: id, described } => match decisions.iter().find(|decision| decision.call == id) {
                Some(decision) => CallState::Decided { decision: decision.clone(), described },
                None => CallState::New,
            },
        };
        PlannedCall { call, state }
    });
    let calls = calls.collect();
    Ok(Some(Continuation { messages, calls, stored }))
}

async fn read(ctx: &ExecutionContext<'_>, artifact: &ArtifactRef) -> Result<SuspendedConversation, Cause> {
    let file = ctx.files.open_file(&artifact.to_json(), CONVERSATION_BYTES_MAX).await?;
    serde_json::from_slice(&file.bytes).map_err(|error| unreadable(&error.to_string()))
}

fn unreadable(problem: &str) -> Cause {
    Cause::new(ErrorCode::StoreUnavailable, format!("the conversation of the step cannot be read: {problem}"))
}

fn tool_call(part: &Part) -> Option<ToolCall> {
    match part {
        Part::ToolCall(call) => Some(call.clone()),
        Part::Text(_) | Part::ToolResult { .. } => None,
    }
}

/// The messages as they are stored.
pub(super) fn to_stored(messages: &[Message]) -> Vec<ConversationMessage> {
    let part = |part: &Part| match part.clone() {
        Part::Text(text) => ConversationPart::Text { text },
        Part::ToolCall(ToolCall { id, name, arguments }) => ConversationPart::ToolCall { id, name, arguments },
        Part::ToolResult { id, content, is_error } => ConversationPart::ToolResult { id, content, is_error },
    };
    let role = |role: Role| match role {
        Role::User => ConversationRole::User,
        Role::Assistant => ConversationRole::Assistant,
    };
    let message = |message: &Message| ConversationMessage {
        role: role(message.role),
        parts: message.parts.iter().map(part).collect(),
    };
    messages.iter().map(message).collect()
}

fn from_stored(message: ConversationMessage) -> Message {
    let part = |part: ConversationPart| match part {
        ConversationPart::Text { text } => Part::Text(text),
        ConversationPart::ToolCall { id, name, arguments } => Part::ToolCall(ToolCall { id, name, arguments }),
        ConversationPart::ToolResult { id, content, is_error } => Part::ToolResult { id, content, is_error },
    };
    let role = match message.role {
        ConversationRole::User => Role::User,
        ConversationRole::Assistant => Role::Assistant,
    };
    Message { role, parts: message.parts.into_iter().map(part).collect() }
}

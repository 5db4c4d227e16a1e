//! The conversation of an agent with its model while a person decides about calls of its tools. The execution of the
//! agent has ended by then: what it needs to continue, on any pod and in any release that reads it, is here.
//!
//! ```text
//! execution ends   SuspendedCall, in the details of its cause → the journal of the run
//!                  └── SuspendedConversation, an artifact
//! step continues   StepApprovals, in its request: that artifact, and the decisions
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Cause, ErrorCode};
use crate::hash::ContentHash;
use crate::id::{CallKey, ToolCallId, UserId};
use crate::value::{ArtifactRef, Json};

/// The member of a cause's details that has a suspended call.
const SUSPENDED_MEMBER: &str = "suspended";

/// A call of a tool that waits for an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingToolCall {
    /// Its id, which names exactly this tool with these arguments.
    pub call: ToolCallId,
    /// The tool, such as `native:calculator`.
    pub tool: String,
    /// Its arguments; a reference to an artifact if they are large.
    pub arguments: Json,
}

impl PendingToolCall {
    /// Describes the call of a model: `key` is the key of the call, which no other call has.
    #[must_use]
    pub fn new(key: &CallKey, tool: &str, arguments: Json) -> Self {
        Self { call: ToolCallId::for_call(key, tool, &arguments), tool: tool.to_owned(), arguments }
    }
}

/// A call of an agent that has ended because calls of its tools wait for an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuspendedCall {
    /// The conversation so far: a [`SuspendedConversation`].
    pub conversation: ArtifactRef,
    /// The calls that wait, in the order in which the model made them.
    pub calls: Vec<PendingToolCall>,
    /// The artifacts that the conversation refers to, so that they are retained with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ContentHash>,
}

impl SuspendedCall {
    /// The cause with which the execution ends.
    #[must_use]
    pub fn into_cause(self) -> Cause {
        let tools: Vec<String> = self.calls.iter().map(|call| format!("`{}`", call.tool)).collect();
        let message = format!("a person has to approve the call of {}", tools.join(", "));
        Cause::new(ErrorCode::ApprovalRequired, message).with_details(serde_json::json!({ SUSPENDED_MEMBER: self }))
    }

    /// The suspended call that a cause reports; `None` for any other cause.
    #[must_use]
    pub fn from_cause(cause: &Cause) -> Option<Self> {
        let suspended = cause.details.get(SUSPENDED_MEMBER).filter(|_| cause.code == ErrorCode::ApprovalRequired)?;
        Self::deserialize(suspended).ok()
    }
}

/// The decision of a person about one call of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolDecision {
    /// The call.
    pub call: ToolCallId,
    /// True if it may be made.
    pub approved: bool,
    /// Who decided.
    pub by: UserId,
    /// Why it was rejected, if the person gave a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a run adds to the call of an agent whose tools need approvals: it waits for people, which no other caller does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StepApprovals {
    /// The conversation that is continued: a [`SuspendedConversation`]; absent if the agent begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ArtifactRef>,
    /// The decisions about its calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<ToolDecision>,
}

/// The conversation of an agent with its model that waits for approvals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuspendedConversation {
    /// The messages, the last one of which is that of the model with the calls of the turn.
    pub messages: Vec<ConversationMessage>,
    /// The calls of the turn, in the order of that message.
    pub calls: Vec<TurnCall>,
    /// The requests that were sent to models, from which the keys of the next ones follow.
    pub requests: u32,
    /// The turns in which the model has called tools.
    pub turns: u32,
    /// The corrections that were requested.
    pub repairs: u32,
    /// The artifacts that results of tools became.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ContentHash>,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConversationMessage {
    /// Its author.
    pub role: ConversationRole,
    /// Its parts.
    pub parts: Vec<ConversationPart>,
}

/// The author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationRole {
    /// The user.
    User,
    /// The model.
    Assistant,
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum ConversationPart {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// A call of a tool by the model.
    ToolCall {
        /// The provider's id of the call.
        id: String,
        /// The tool, as the model names it.
        name: String,
        /// The arguments, as the model gave them.
        arguments: Json,
    },
    /// The result of such a call.
    ToolResult {
        /// The provider's id of the call.
        id: String,
        /// The result, as the model reads it.
        content: String,
        /// True if the call failed.
        is_error: bool,
    },
}

/// One call of the turn that was interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TurnCall {
    /// It has ended, and is not repeated.
    Ended {
        /// The result, as the model reads it.
        content: String,
        /// True if the call failed.
        is_error: bool,
    },
    /// It waits for an approval.
    Waiting {
        /// Its id.
        call: ToolCallId,
        /// The hash of its tool as it was described to the model: an approval is none for another tool of the same name.
        described: ContentHash,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pending(key: &str, tool: &str, arguments: Json) -> PendingToolCall {
        PendingToolCall::new(&CallKey::new(key).unwrap_or_else(|_| unreachable!()), tool, arguments)
    }

    #[test]
    fn the_id_of_a_call_names_its_key_its_tool_and_its_arguments() {
        let first = pending("run_1/pay/tool[0]", "native:pay", json!({ "amount": 3 }));
        assert_eq!(first, pending("run_1/pay/tool[0]", "native:pay", json!({ "amount": 3 })));
        for other in [
            pending("run_1/pay/tool[0]", "native:pay", json!({ "amount": 4 })),
            pending("run_1/pay/tool[0]", "native:book", json!({ "amount": 3 })),
            pending("run_1/pay/tool[1]", "native:pay", json!({ "amount": 3 })),
        ] {
            assert_ne!(first.call, other.call, "{other:?}");
        }
    }

    #[test]
    fn only_the_cause_of_a_suspended_call_is_read_as_one() {
        let suspended = SuspendedCall {
            conversation: ArtifactRef {
                hash: ContentHash::from_content(b"x"),
                bytes: 1,
                media_type: "application/json".into(),
                name: "conversation.json".into(),
            },
            calls: vec![pending("run_1/pay/tool[0]", "native:pay", json!({}))],
            artifacts: Vec::new(),
        };
        let cause = suspended.clone().into_cause();
        assert!(cause.message.contains("`native:pay`"), "{cause}");
        assert_eq!(SuspendedCall::from_cause(&cause), Some(suspended));
        let other = Cause { code: ErrorCode::HandlerFailed, ..cause };
        assert_eq!(SuspendedCall::from_cause(&other), None, "a handler cannot suspend its step");
        assert_eq!(SuspendedCall::from_cause(&Cause::new(ErrorCode::ApprovalRequired, "no")), None);
    }
}

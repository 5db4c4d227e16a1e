//! The conversation of an agent that waits for approvals of its tools' calls.

use greenroom_protocol::conversation::{
    ConversationMessage, ConversationPart, ConversationRole, SuspendedConversation, TurnCall,
};
use serde_json::json;

use super::assert_written;
use super::samples::{hash, id};

fn conversation() -> SuspendedConversation {
    let text = |text: &str| ConversationPart::Text { text: text.to_owned() };
    let call = |id: &str, name: &str| ConversationPart::ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: json!({ "amount": 3 }),
    };
    let result = ConversationPart::ToolResult { id: "a".into(), content: "{\"result\":1}".into(), is_error: false };
    SuspendedConversation {
        messages: vec![
            ConversationMessage { role: ConversationRole::User, parts: vec![text("pay it")] },
            ConversationMessage { role: ConversationRole::Assistant, parts: vec![call("a", "calculator")] },
            ConversationMessage { role: ConversationRole::User, parts: vec![result] },
            ConversationMessage {
                role: ConversationRole::Assistant,
                parts: vec![text("now"), call("b", "calculator"), call("c", "transfer")],
            },
        ],
        calls: vec![
            TurnCall::Ended { content: "denied".into(), is_error: true },
            TurnCall::Waiting { call: id("0a1b2c3d"), described: hash() },
        ],
        requests: 2,
        turns: 2,
        repairs: 1,
        artifacts: vec![hash()],
    }
}

#[test]
fn a_conversation_that_waits_is_written_whole() {
    assert_written("suspended_conversation", &[conversation()]);
}

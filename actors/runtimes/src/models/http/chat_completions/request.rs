//! The body of a request. Every member that is not in the first version of the API is optional, since each of them is
//! unknown to some server.

use greenroom_actors::model::{Message, ModelCall, Part, Role};
use greenroom_protocol::Json;
use serde_json::json;

use crate::models::http::rejections::{RequestForm, SchemaMode, TokenLimit};
use crate::models::http::schemas::{self, AnswerSchema};
use crate::models::http::tool_arguments;

/// Writes the body.
pub(super) fn body(call: &ModelCall<'_>, form: RequestForm) -> Json {
    let mut system = call.system.to_owned();
    let mut format = None;
    if let Some(schema) = call.schema {
        let adapted = match form.schema {
            SchemaMode::Native => schemas::adapt_chat_completions(&schema.schema),
            SchemaMode::InPrompt => AnswerSchema::InPrompt,
        };
        let spec =
            |strict: bool, schema_json: Json| json!({ "name": schema.name, "strict": strict, "schema": schema_json });
        match adapted {
            AnswerSchema::Strict(adapted) => format = Some(spec(true, adapted)),
            AnswerSchema::Loose(adapted) => format = Some(spec(false, adapted)),
            AnswerSchema::InPrompt => system.push_str(&schemas::in_prompt(&schema.schema)),
        }
    }
    let mut messages = Vec::new();
    if !system.is_empty() {
        messages.push(json!({ "role": "system", "content": system }));
    }
    messages.extend(call.messages.iter().flat_map(message));
    let mut body = json!({ "model": call.model.model, "stream": true, "messages": messages });
    let limit = match form.limit {
        TokenLimit::MaxTokens => "max_tokens",
        TokenLimit::MaxCompletionTokens => "max_completion_tokens",
    };
    let tools: Vec<Json> = call.tools.iter().map(tool).collect();
    let optional = [
        Some((limit, json!(call.tokens_max))),
        form.requests_usage.then(|| ("stream_options", json!({ "include_usage": true }))),
        format.map(|spec| ("response_format", json!({ "type": "json_schema", "json_schema": spec }))),
        (!tools.is_empty()).then(|| ("tools", json!(tools))),
        form.parameters.temperature.map(|temperature| ("temperature", json!(temperature))),
        form.parameters.reasoning_effort.map(|effort| ("reasoning_effort", json!(effort.as_str()))),
        form.parameters.seed.map(|seed| ("seed", json!(seed))),
    ];
    if let Some(members) = body.as_object_mut() {
        members.extend(optional.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)));
    }
    body
}

fn tool(tool: &greenroom_actors::model::ToolSpec) -> Json {
    let parameters = schemas::complete_parameters(&tool.parameters);
    let function = json!({ "name": tool.name, "description": tool.description, "parameters": parameters });
    json!({ "type": "function", "function": function })
}

/// Writes a message. The results of tools are messages of their own and come first.
fn message(message: &Message) -> Vec<Json> {
    let mut written = Vec::new();
    let mut texts: Vec<&str> = Vec::new();
    let mut calls = Vec::new();
    for part in &message.parts {
        match part {
            Part::Text(text) => texts.push(text),
            Part::ToolCall(call) => {
                let arguments = tool_arguments::as_object(&call.arguments).to_string();
                let function = json!({ "name": call.name, "arguments": arguments });
                calls.push(json!({ "type": "function", "id": call.id, "function": function }));
            }
            Part::ToolResult { id, content, .. } => {
                written.push(json!({ "role": "tool", "tool_call_id": id, "content": content }));
            }
        }
    }
    if texts.is_empty() && calls.is_empty() {
        return written;
    }
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    // Some servers reject a null content, even beside tool calls.
    let mut main = json!({ "role": role, "content": texts.join("\n\n") });
    if let (Some(members), false) = (main.as_object_mut(), calls.is_empty()) {
        members.insert("tool_calls".into(), Json::Array(calls));
    }
    written.push(main);
    written
}

//! Model call → genai's request. The system part remains the system part; data is always a message.

use std::sync::Arc;

use genai::Headers;
use genai::adapter::AdapterKind;
use genai::chat::{
    CacheControl, ChatMessage, ChatOptions, ChatRequest, ContentPart, CustomPart, JsonSpec, MessageContent,
    ReasoningEffort, Tool, ToolCall, ToolResponse,
};
use greenroom_actors::model::{Message, ModelCall, Part, Role};
use greenroom_definitions::agent::{ModelParameters, ReasoningEffort as Effort};
use greenroom_protocol::Json;
use serde_json::json;

use super::frame_meter::FrameMeter;
use crate::models::http::endpoint::ProviderEndpoint;
use crate::models::http::rejections::{RequestForm, SchemaMode};
use crate::models::http::schemas::{self, AnswerSchema};
use crate::models::http::tool_arguments;

/// Builds the request and its options.
pub(super) fn build(
    call: &ModelCall<'_>,
    endpoint: &ProviderEndpoint,
    form: RequestForm,
    meter: Arc<FrameMeter>,
) -> (ChatRequest, ChatOptions) {
    let mut system = call.system.to_owned();
    let mut options = ChatOptions::default()
        .with_max_tokens(call.tokens_max)
        .with_capture_usage(true)
        .with_capture_tool_calls(true)
        .with_stream_header_timeout(call.timeouts.first_token)
        .with_stream_read_timeout(call.timeouts.idle.max(call.timeouts.first_token))
        .with_extra_headers(Headers::from([("Idempotency-Key", call.key.as_str())]))
        .with_raw_frame_sink_arc(meter);
    options = with_parameters(options, form.parameters);
    if endpoint.api == AdapterKind::Anthropic {
        // System part and tools come from the definition and are identical in every call, so they are cached.
        options = options.with_cache_control(CacheControl::Ephemeral);
    }
    if let Some(schema) = call.schema {
        let adapted = match form.schema {
            SchemaMode::Native => schemas::adapt_answer(endpoint.api, &schema.schema),
            SchemaMode::InPrompt => AnswerSchema::InPrompt,
        };
        match adapted {
            AnswerSchema::Strict(adapted) => {
                options = options.with_response_format(JsonSpec::new(schema.name.as_str(), adapted));
            }
            // genai marks every schema as strict.
            AnswerSchema::Loose(_) | AnswerSchema::InPrompt => {
                system.push_str(&schemas::in_prompt(&schema.schema));
            }
        }
    }
    let mut chat = ChatRequest::new(call.messages.iter().flat_map(|message| messages(message, endpoint.api)).collect());
    if !system.is_empty() {
        chat = chat.with_system(system);
    }
    if !call.tools.is_empty() {
        let tools = call.tools.iter().map(|tool| {
            Tool::new(tool.name.as_str())
                .with_description(tool.description.as_str())
                .with_schema(schemas::complete_parameters(&tool.parameters))
        });
        chat = chat.with_tools(tools.collect::<Vec<_>>());
    }
    (chat, options)
}

/// Adds the parameters of the model. An API that has no such parameter is not sent it by genai.
fn with_parameters(mut options: ChatOptions, parameters: ModelParameters) -> ChatOptions {
    if let Some(temperature) = parameters.temperature {
        options = options.with_temperature(temperature);
    }
    if let Some(effort) = parameters.reasoning_effort {
        options = options.with_reasoning_effort(match effort {
            Effort::Minimal => ReasoningEffort::Minimal,
            Effort::Low => ReasoningEffort::Low,
            Effort::Medium => ReasoningEffort::Medium,
            Effort::High => ReasoningEffort::High,
        });
    }
    if let Some(seed) = parameters.seed {
        options = options.with_seed(seed);
    }
    options
}

/// Splits a message with tool results and text in two: the results come first.
fn messages(message: &Message, api: AdapterKind) -> Vec<ChatMessage> {
    let mut results: Vec<ContentPart> = Vec::new();
    let mut parts: Vec<ContentPart> = Vec::new();
    for part in &message.parts {
        match part {
            Part::Text(text) => parts.push(ContentPart::from_text(text.as_str())),
            Part::ToolCall(call) => parts.push(ContentPart::ToolCall(ToolCall {
                call_id: call.id.clone(),
                fn_name: call.name.clone(),
                fn_arguments: tool_arguments::as_object(&call.arguments),
                thought_signatures: None,
            })),
            Part::ToolResult { id, content, is_error } => results.push(tool_result(id, content, *is_error, api)),
        }
    }
    let mut all = Vec::new();
    if !results.is_empty() {
        all.push(ChatMessage::tool(MessageContent::from_parts(results)));
    }
    if !parts.is_empty() {
        let content = MessageContent::from_parts(parts);
        all.push(match message.role {
            Role::User => ChatMessage::user(content),
            Role::Assistant => ChatMessage::assistant(content),
        });
    }
    all
}

/// Converts a tool result. genai has no flag for a failed tool, but Anthropic's API has, so that part is
/// written directly.
fn tool_result(id: &str, content: &str, is_error: bool, api: AdapterKind) -> ContentPart {
    if is_error && api == AdapterKind::Anthropic {
        let data: Json = json!({ "type": "tool_result", "tool_use_id": id, "content": content, "is_error": true });
        return ContentPart::Custom(CustomPart { model_iden: None, data });
    }
    ContentPart::ToolResponse(ToolResponse::new(id, content))
}

//! The provider that needs no network and no key: it fills the schema of the answer with values and sentences
//! of the inputs, and with figures of their facts. It is deterministic and free, and it is not a language
//! model: its texts end with [`DISCLAIMER`], and what the inputs do not state it does not answer.

use async_trait::async_trait;
use futures::StreamExt;
use greenroom_actors::model::{Delta, Deltas, Message, ModelCall, ModelError, ModelProvider, Part, Role, StopReason};
use greenroom_definitions::models::TokenCounts;
use greenroom_protocol::value::truncate_utf8;

mod lists;
mod mark;
mod narrative;
mod parsed_prompt;
mod schema;
mod schema_fill;
mod stated_values;

pub(crate) use mark::DISCLAIMER;
use parsed_prompt::ParsedPrompt;
use schema_fill::Gap;

/// The name before the dot of a model's name.
pub const NAME: &str = "offline";

/// Maximum bytes of a request that are read; more would add nothing to an extract.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Size of one delta of the stream.
const DELTA_BYTES: usize = 256;
/// Bytes of an answer that `tokens_max` allows for each token.
const TOKEN_BYTES: u64 = 4;
/// What a user can do about an output that is not stated in the inputs.
const REMEDY: &str = "set ANTHROPIC_API_KEY, OPENAI_API_KEY, GEMINI_API_KEY or OLLAMA_BASE_URL, or OPENAI_BASE_URL \
                      and OPENAI_MODEL, so that a language model answers";

/// The provider.
#[derive(Debug, Clone, Copy, Default)]
pub struct Offline;

#[async_trait]
impl ModelProvider for Offline {
    fn name(&self) -> &str {
        NAME
    }

    fn is_external(&self) -> bool {
        false
    }

    fn disclaimer(&self) -> Option<&'static str> {
        Some(DISCLAIMER)
    }

    async fn stream(&self, call: ModelCall<'_>) -> Result<Deltas, ModelError> {
        let mut answer = write_answer(&call)?;
        let mut stop = StopReason::Complete;
        let bytes_max = usize::try_from(u64::from(call.tokens_max) * TOKEN_BYTES).unwrap_or(usize::MAX);
        if answer.len() > bytes_max {
            answer = truncate_utf8(&answer, bytes_max).to_owned();
            stop = StopReason::Length;
        }
        let mut deltas: Vec<Result<Delta, ModelError>> =
            split_deltas(&answer).map(|delta| Ok(Delta::Text(delta))).collect();
        // Nothing was read or written by a language model.
        deltas.push(Ok(Delta::Usage(TokenCounts::default())));
        deltas.push(Ok(Delta::End(stop)));
        Ok(futures::stream::iter(deltas).boxed())
    }
}

/// Writes the answer: a JSON object if there is a schema, otherwise a text.
fn write_answer(call: &ModelCall<'_>) -> Result<String, ModelError> {
    let material = material(call.messages);
    let prompt = ParsedPrompt::parse(call.system, truncate_utf8(&material, READ_BYTES_MAX), call.inputs);
    let answer = match call.schema {
        Some(schema) => schema_fill::object(&prompt, &schema.schema).map(|object| object.to_string()),
        None => schema_fill::text(&prompt),
    };
    answer.map_err(|gaps| unanswerable(&gaps))
}

/// The request and the results of tools, as one text. What a model wrote, and the requests to repair it, are
/// not material.
fn material(messages: &[Message]) -> String {
    let mut text = String::new();
    let mut has_answer = false;
    for message in messages {
        has_answer |= message.role == Role::Assistant;
        for part in &message.parts {
            match part {
                Part::Text(content) if !has_answer => text.push_str(content),
                Part::ToolResult { content, is_error: false, .. } => text.push_str(content),
                Part::Text(_) | Part::ToolResult { .. } | Part::ToolCall(_) => continue,
            }
            text.push('\n');
        }
    }
    text
}

fn unanswerable(gaps: &[Gap]) -> ModelError {
    let names: Vec<String> = gaps.iter().map(|gap| format!("`{}` ({})", gap.field, gap.expected)).collect();
    let message = format!(
        "no language model was called, and the inputs do not state {}. To answer, {REMEDY} (see \
         docs/configuration.md)",
        names.join(", ")
    );
    ModelError::Unanswerable { fields: gaps.iter().map(|gap| gap.field.clone()).collect(), message }
}

fn split_deltas(text: &str) -> impl Iterator<Item = String> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let delta = truncate_utf8(rest, DELTA_BYTES);
        rest = rest.get(delta.len()..).unwrap_or_default();
        Some(delta.to_owned())
    })
}

#[cfg(test)]
mod shipped;
#[cfg(test)]
mod tests;

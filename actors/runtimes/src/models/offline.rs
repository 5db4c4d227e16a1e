//! The provider that needs no network and no key: it fills the schema of the answer with extracts of the
//! request. It is deterministic, costs nothing, and does not present itself as a language model: its texts end
//! with [`DISCLAIMER`].

use async_trait::async_trait;
use futures::StreamExt;
use greenroom_actors::model::{Delta, Deltas, ModelCall, ModelError, ModelProvider, Part, StopReason};
use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{Json, Tokens};

mod narrative;
mod parsed_prompt;
mod schema_fill;

use parsed_prompt::ParsedPrompt;

/// The name before the dot of a model's name.
pub const NAME: &str = "offline";
/// Ends every text of this provider.
pub const DISCLAIMER: &str = "(offline extract, no language model)";

/// Maximum bytes of a request that are read; more would add nothing to an extract.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Size of one delta of the stream.
const DELTA_BYTES: usize = 256;
/// Bytes that count as one token.
const TOKEN_BYTES: u64 = 4;

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

    async fn stream(&self, call: ModelCall<'_>) -> Result<Deltas, ModelError> {
        let user = conversation_text(&call);
        let input = count_tokens(call.system.len() + user.len());
        let mut answer = write_answer(call.system, &user, call.schema.map(|schema| &*schema.schema));
        let mut stop = StopReason::Complete;
        let bytes_max = usize::try_from(u64::from(call.tokens_max) * TOKEN_BYTES).unwrap_or(usize::MAX);
        if answer.len() > bytes_max {
            answer = truncate_utf8(&answer, bytes_max).to_owned();
            stop = StopReason::Length;
        }
        let usage = Tokens { input, output: count_tokens(answer.len()) };
        let mut deltas: Vec<Result<Delta, ModelError>> =
            split_deltas(&answer).map(|delta| Ok(Delta::Text(delta))).collect();
        deltas.push(Ok(Delta::Usage(usage)));
        deltas.push(Ok(Delta::End(stop)));
        Ok(futures::stream::iter(deltas).boxed())
    }
}

/// The messages, tool results included, as one text.
fn conversation_text(call: &ModelCall<'_>) -> String {
    let mut text = String::new();
    for part in call.messages.iter().flat_map(|message| &message.parts) {
        match part {
            Part::Text(content) => text.push_str(content),
            Part::ToolResult { content, .. } => text.push_str(content),
            Part::ToolCall(_) => continue,
        }
        text.push('\n');
    }
    text
}

/// Writes the answer: a JSON object if there is a schema, otherwise a text.
fn write_answer(system: &str, user: &str, schema: Option<&Json>) -> String {
    let prompt = ParsedPrompt::parse(system, truncate_utf8(user, READ_BYTES_MAX));
    match schema {
        Some(schema) => schema_fill::object(&prompt, schema).to_string(),
        None => schema_fill::text(&prompt),
    }
}

fn count_tokens(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX).div_ceil(TOKEN_BYTES).max(1)
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

//! The provider that needs no network and no key: it extracts from the request what the answer's
//! schema asks for. It is deterministic, costs nothing, and never pretends to be a language model:
//! its texts end with [`MARK`].

use async_trait::async_trait;
use futures::StreamExt;
use greenroom_actors::model::{Delta, Deltas, ModelCall, ModelError, ModelProvider, Part, StopReason};
use greenroom_protocol::{Json, Tokens};

mod narrative;
mod parsed_prompt;
mod schema_fill;

use parsed_prompt::ParsedPrompt;

/// The name before the dot of a model's name.
pub const NAME: &str = "offline";
/// What every text of this provider says of itself.
pub const DISCLAIMER: &str = "(offline extract, no language model)";

/// Bytes of a request that are read; the rest adds nothing to an extract.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of one piece of the stream.
const PIECE_BYTES: usize = 256;
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
        let user = conversation(&call);
        let input = tokens(call.system.len() + user.len());
        let mut answer = answer(call.system, &user, call.schema.map(|schema| &*schema.schema));
        let mut stop = StopReason::Complete;
        let bytes_max = usize::try_from(u64::from(call.tokens_max) * TOKEN_BYTES).unwrap_or(usize::MAX);
        if answer.len() > bytes_max {
            answer = parsed_prompt::cut(&answer, bytes_max).to_owned();
            stop = StopReason::Length;
        }
        let usage = Tokens { input, output: tokens(answer.len()) };
        let mut deltas: Vec<Result<Delta, ModelError>> = pieces(&answer).map(|piece| Ok(Delta::Text(piece))).collect();
        deltas.push(Ok(Delta::Usage(usage)));
        deltas.push(Ok(Delta::End(stop)));
        Ok(futures::stream::iter(deltas).boxed())
    }
}

/// What the request says, tool results included, as one text.
fn conversation(call: &ModelCall<'_>) -> String {
    let mut text = String::new();
    for part in call.messages.iter().flat_map(|message| &message.parts) {
        match part {
            Part::Text(said) => text.push_str(said),
            Part::ToolResult { content, .. } => text.push_str(content),
            Part::ToolCall(_) => continue,
        }
        text.push('\n');
    }
    text
}

/// The answer: a JSON object where a schema asks for one, else a text.
fn answer(system: &str, user: &str, schema: Option<&Json>) -> String {
    let reading = ParsedPrompt::of(system, parsed_prompt::cut(user, READ_BYTES_MAX));
    match schema {
        Some(schema) => schema_fill::object(&reading, schema).to_string(),
        None => schema_fill::text(&reading),
    }
}

fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX).div_ceil(TOKEN_BYTES).max(1)
}

fn pieces(text: &str) -> impl Iterator<Item = String> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let piece = parsed_prompt::cut(rest, PIECE_BYTES);
        rest = rest.get(piece.len()..).unwrap_or_default();
        Some(piece.to_owned())
    })
}

#[cfg(test)]
mod shipped;
#[cfg(test)]
mod tests;

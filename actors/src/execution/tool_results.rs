//! Results of tools in a conversation: a large one becomes an artifact, of which the model reads the beginning and then as
//! much as it needs.

use greenroom_protocol::ContentHash;
use greenroom_protocol::value::truncate_utf8;
use serde_json::json;

use super::runtime::ExecutionContext;
use super::tools::CallResult;

/// Maximum size of one tool result in a model request.
const RESULT_BYTES_MAX: usize = 64 * 1024;
/// Size of the excerpt of a result that became an artifact.
const EXCERPT_BYTES: usize = 8 * 1024;
/// Media type of results.
const JSON: &str = "application/json";

/// A result within the bound of a model request.
pub(super) struct FittedResult {
    pub(super) result: CallResult,
    /// The artifact that has the whole result, if it was too large.
    pub(super) artifact: Option<ContentHash>,
}

/// Fits a result into a model request. `tool` names it, and `reader` is the tool by which the model reads artifacts.
pub(super) async fn fit(
    ctx: &ExecutionContext<'_>,
    result: CallResult,
    tool: &str,
    reader: Option<&str>,
) -> FittedResult {
    let CallResult { content, is_error } = result;
    if content.len() <= RESULT_BYTES_MAX {
        return FittedResult { result: CallResult { content, is_error }, artifact: None };
    }
    if is_error {
        return cut(&content, is_error, "cut");
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = tool.chars().map(plain).take(64).collect();
    let stored = Box::pin(ctx.files.store_artifact(content.as_bytes(), &format!("{name}_result.json"), JSON)).await;
    let artifact = match stored {
        Ok(artifact) => artifact,
        // The tool has been called, so what fits is better than no result.
        Err(cause) => return cut(&content, is_error, &format!("cut; the rest could not be stored: {cause}")),
    };
    let excerpt = truncate_utf8(&content, EXCERPT_BYTES);
    let read_on = reader.map(|reader| {
        format!("call `{reader}` with this `artifact`, unchanged, and `offset` {}, to read on", excerpt.len())
    });
    let output = json!({
        "excerpt": excerpt,
        "artifact": artifact.to_json(),
        "total_bytes": content.len(),
        "next_offset": excerpt.len(),
        "note": format!("the result is too large for one message; {}", read_on.as_deref().unwrap_or("this is its beginning")),
    });
    FittedResult { result: CallResult { content: output.to_string(), is_error }, artifact: Some(artifact.hash) }
}

/// Cuts a result, and marks it.
fn cut(content: &str, is_error: bool, mark: &str) -> FittedResult {
    let content = format!("{} … ({mark})", truncate_utf8(content, RESULT_BYTES_MAX));
    FittedResult { result: CallResult { content, is_error }, artifact: None }
}

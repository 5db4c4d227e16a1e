//! The MCP server of the benchmark: a process with one tool, which returns its text, over standard input and output.

use std::io::{BufRead as _, Write as _};

use greenroom_protocol::Json;
use serde_json::json;

/// The name of the tool.
pub(super) const TOOL: &str = "echo";
/// The version of the protocol that it has.
pub(super) const VERSION: &str = "2025-11-25";
/// The error code of JSON-RPC for a method that does not exist.
const METHOD_NOT_FOUND: i64 = -32_601;

/// Serves until standard input ends.
pub(super) fn serve() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let message: Json = serde_json::from_str(&line?)?;
        // A message without an id is a notification.
        if let Some(id) = message.get("id") {
            let line = format!("{}\n", response(id, &message));
            out.write_all(line.as_bytes())?;
            out.flush()?;
        }
    }
    Ok(())
}

fn response(id: &Json, message: &Json) -> Json {
    let result = match message.get("method").and_then(Json::as_str) {
        Some("initialize") => json!({
            "protocolVersion": VERSION,
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "bench", "version": "1" },
        }),
        Some("ping") => json!({}),
        Some("tools/list") => {
            let schema =
                json!({ "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"] });
            json!({ "tools": [{ "name": TOOL, "description": "Returns its text", "inputSchema": schema }] })
        }
        Some("tools/call") => {
            json!({ "content": [{ "type": "text", "text": message.pointer("/params/arguments/text") }] })
        }
        Some(_) | None => {
            let error = json!({ "code": METHOD_NOT_FOUND, "message": "there is no such method" });
            return json!({ "jsonrpc": "2.0", "id": id, "error": error });
        }
    };
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

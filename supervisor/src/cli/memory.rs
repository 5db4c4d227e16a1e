//! `greenroom memory`: lists, recalls and forgets memories of an agent, for the tenant of the user. Policy
//! decides who may.

use greenroom_protocol::{Cause, Json};

use super::args::MemoryCommand;
use super::catalogue::print_list;
use super::output::Output;
use super::session::Session;

/// Executes the command.
///
/// # Errors
/// A cause that prevents the request or its reply.
pub async fn memory(session: &Session, command: MemoryCommand, output: Output) -> Result<u8, Cause> {
    let client = session.client();
    let columns = [("memory_id", "MEMORY"), ("at", "AT"), ("text", "TEXT")];
    match command {
        MemoryCommand::List { agent, limit } => {
            Ok(print_list(&client.memories(agent, None, limit).await?, "memories", &columns, output))
        }
        MemoryCommand::Recall { agent, query, limit } => {
            let columns = [("similarity", "SIMILARITY"), ("memory_id", "MEMORY"), ("at", "AT"), ("text", "TEXT")];
            Ok(print_list(&client.memories(agent, Some(query), limit).await?, "memories", &columns, output))
        }
        MemoryCommand::Forget { agent, memory, all: _ } => {
            let reply = client.forget(agent, memory).await?;
            if let Some(cause) = &reply.error {
                output.print_error(cause);
                return Ok(reply.exit_code());
            }
            let document = serde_json::to_value(&reply.outputs).unwrap_or_default();
            let count = reply.outputs.get("forgotten").and_then(Json::as_u64).unwrap_or_default();
            output.document(&document, || format!("{count} forgotten"));
            Ok(0)
        }
    }
}

//! `greenroom memory`: what an agent remembers for the tenant of the one who asks. Who may look, and
//! who may let it forget, the policy says.

use greenroom_protocol::{Cause, Json};

use super::args::MemoryCommand;
use super::catalogue::list;
use super::output::Output;
use super::session::Session;

/// Does it.
///
/// # Errors
/// A cause that came before any reply.
pub async fn memory(session: &Session, command: MemoryCommand, output: Output) -> Result<u8, Cause> {
    let client = session.client();
    let columns = [("memory_id", "MEMORY"), ("at", "AT"), ("text", "TEXT")];
    match command {
        MemoryCommand::List { agent, limit } => {
            Ok(list(&client.memories(agent, None, limit).await?, "memories", &columns, output))
        }
        MemoryCommand::Recall { agent, query, limit } => {
            let columns = [("similarity", "LIKENESS"), ("memory_id", "MEMORY"), ("at", "AT"), ("text", "TEXT")];
            Ok(list(&client.memories(agent, Some(query), limit).await?, "memories", &columns, output))
        }
        MemoryCommand::Forget { agent, memory, all: _ } => {
            let reply = client.forget(agent, memory).await?;
            if let Some(cause) = &reply.error {
                output.print_error(cause);
                return Ok(reply.exit_code());
            }
            let document = serde_json::to_value(&reply.outputs).unwrap_or_default();
            let many = reply.outputs.get("forgotten").and_then(Json::as_u64).unwrap_or_default();
            output.document(&document, || format!("{many} forgotten"));
            Ok(0)
        }
    }
}

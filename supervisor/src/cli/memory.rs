//! `greenroom memory`: lists, recalls, counts and forgets memories of an agent, and lets it remember documents, for the
//! tenant of the user. Policy decides who may.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use greenroom_protocol::limits::MEMORY_DOCUMENT_BYTES_MAX;
use greenroom_protocol::request::Maintenance;
use greenroom_protocol::{AgentId, Cause, ErrorCode, Json, Reply};
use serde_json::json;

use super::args::{ForgetArgs, MemoryCommand};
use super::catalogue::print_list;
use super::output::{Output, table};
use super::session::Session;

/// The columns of a list of memories.
const COLUMNS: [(&str, &str); 6] = [
    ("memory_id", "MEMORY"),
    ("at", "AT"),
    ("source", "SOURCE"),
    ("first_line", "LINE"),
    ("user", "USER"),
    ("text", "TEXT"),
];
/// Those of a recall.
const MATCH_COLUMNS: [(&str, &str); 6] = [
    ("similarity", "SIMILARITY"),
    ("memory_id", "MEMORY"),
    ("at", "AT"),
    ("source", "SOURCE"),
    ("first_line", "LINE"),
    ("text", "TEXT"),
];
/// Those of documents that were remembered.
const DOCUMENT_COLUMNS: [(&str, &str); 3] = [("source", "SOURCE"), ("parts", "PARTS"), ("replaced", "REPLACED")];

/// Executes the command.
///
/// # Errors
/// A cause that prevents the request or its reply.
pub async fn memory(session: &Session, command: MemoryCommand, output: Output) -> Result<u8, Cause> {
    let client = session.client();
    match command {
        MemoryCommand::List { agent, limit } => {
            Ok(print_list(&client.memories(agent, None, limit).await?, "memories", &COLUMNS, output))
        }
        MemoryCommand::Recall { agent, query, limit } => {
            Ok(print_list(&client.memories(agent, Some(query), limit).await?, "memories", &MATCH_COLUMNS, output))
        }
        MemoryCommand::Count { agent } => {
            let reply = client.count_memories(agent).await?;
            Ok(print_number(&reply, "memories", |count| format!("{count} memories"), output))
        }
        MemoryCommand::Ingest { agent, files, source } => {
            if source.is_some() && files.len() > 1 {
                let message = "--source names one document, and there are several files";
                return Err(Cause::new(ErrorCode::InvalidRequest, message));
            }
            let documents = files.iter().map(|file| (source.clone().unwrap_or_else(|| name_of(file)), file.as_path()));
            ingest(session, agent, documents, output).await
        }
        MemoryCommand::Forget(arguments) => forget(session, arguments, output).await,
    }
}

/// Lets an agent remember files, one after the other. The first that is refused ends the command; those before it are
/// remembered.
async fn ingest(
    session: &Session,
    agent: AgentId,
    documents: impl Iterator<Item = (String, &Path)>,
    output: Output,
) -> Result<u8, Cause> {
    let mut rows: Vec<Json> = Vec::new();
    let mut exit_code = 0;
    for (source, file) in documents {
        let reply = session.client().ingest(agent.clone(), source, read_text(file)?).await?;
        if let Some(cause) = &reply.error {
            output.print_error(cause);
            exit_code = reply.exit_code();
            break;
        }
        rows.push(serde_json::to_value(&reply.outputs).unwrap_or_default());
    }
    if exit_code == 0 {
        output.document(&json!({ "documents": rows }), || table(&rows, &DOCUMENT_COLUMNS));
    }
    Ok(exit_code)
}

/// The name of the document of a file: its path as it was typed.
fn name_of(file: &Path) -> String {
    file.to_string_lossy().into_owned()
}

/// Reads a text file with the rights of the user of this process.
fn read_text(file: &Path) -> Result<String, Cause> {
    let invalid = |code: ErrorCode, problem: String| Cause::new(code, format!("{}: {problem}", file.display()));
    let unreadable = |error: std::io::Error| invalid(ErrorCode::InvalidInput, error.to_string());
    let mut bytes = Vec::new();
    // A device or a pipe has no size, and may have no end.
    let mut bounded = File::open(file).map_err(unreadable)?.take(MEMORY_DOCUMENT_BYTES_MAX as u64 + 1);
    bounded.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MEMORY_DOCUMENT_BYTES_MAX {
        let problem = format!("the document is too large, the limit is {MEMORY_DOCUMENT_BYTES_MAX} bytes");
        return Err(invalid(ErrorCode::PayloadTooLarge, problem));
    }
    let not_text = "this is not a text in UTF-8; convert it to one first";
    String::from_utf8(bytes).map_err(|_| invalid(ErrorCode::InvalidInput, not_text.to_owned()))
}

async fn forget(session: &Session, arguments: ForgetArgs, output: Output) -> Result<u8, Cause> {
    let ForgetArgs { agent, memory, all: _, source, of, tenant } = arguments;
    let client = session.client();
    let Some(agent) = agent else {
        // The arguments require one of both.
        if of.is_none() && !tenant {
            return Ok(0);
        }
        let report = session.maintain(Maintenance::ForgetMemories { user: of }).await?;
        let count = report.get("forgotten").and_then(Json::as_u64).unwrap_or_default();
        output.document(&report, || format!("{count} forgotten"));
        return Ok(0);
    };
    let reply = match source {
        Some(source) => client.forget_source(agent, source).await?,
        None => client.forget(agent, memory).await?,
    };
    Ok(print_number(&reply, "forgotten", |count| format!("{count} forgotten"), output))
}

/// Prints the outputs of a reply, in the table format as one of its numbers.
fn print_number(reply: &Reply, name: &str, text: impl FnOnce(u64) -> String, output: Output) -> u8 {
    output.outputs(reply, |outputs| text(outputs.get(name).and_then(Json::as_u64).unwrap_or_default()))
}

//! `greenroom mcp`: offers agents and workflows as tools over standard input and output, as a client of the Model Context
//! Protocol starts it. Standard output has messages of the protocol and nothing else.

use std::io::{self, Write};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use greenroom_protocol::limits::ENVELOPE_BYTES_MAX;
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_runpod::mcp::stdio::StdioSession;
use greenroom_runpod::mcp::stdio::lines::read_lines;
use greenroom_runpod::mcp::{McpServer, Selection};
use tokio::sync::mpsc;

use super::args::McpArgs;
use super::session::Session;
use crate::compose::blocking::run_blocking;

/// Messages that wait to be served, or to be written.
const MESSAGES_MAX: usize = 64;

/// Executes the command, until the client closes standard input.
///
/// # Errors
/// [`ErrorCode::Internal`] if the system has no thread for standard input and output.
pub async fn mcp(session: &Session, arguments: McpArgs) -> Result<u8, Cause> {
    let McpArgs { category, tools, timeout } = arguments;
    let server = McpServer::new(Selection { category, tools: Some(tools).filter(|tools| !tools.is_empty()) });
    let (lines_tx, lines) = mpsc::channel(MESSAGES_MAX);
    let (out_tx, mut out) = mpsc::channel::<String>(MESSAGES_MAX);
    // Reading and writing block, and a read ends with the process only: neither is on a thread that the process waits for.
    start_thread("mcp input", move || {
        // The end of the input is the end of the session, whatever its reason is.
        let pass = |line| lines_tx.blocking_send(line).is_ok();
        let _ = read_lines(io::stdin().lock(), ENVELOPE_BYTES_MAX, pass);
    })?;
    let writer = start_thread("mcp output", move || {
        while let Some(message) = out.blocking_recv() {
            if write(&message).is_err() {
                // The client has ended.
                return;
            }
        }
    })?;
    let client = session.client();
    StdioSession::new(&server, &client, timeout.map(Duration::from), out_tx).serve(lines).await;
    // The session has dropped its end, so that the writer ends once everything is written.
    let _ = run_blocking(move || writer.join()).await;
    Ok(0)
}

fn write(message: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{message}")?;
    out.flush()
}

fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Cause> {
    let started = Builder::new().name(name.to_owned()).spawn(work);
    started.map_err(|error| Cause::new(ErrorCode::Internal, format!("the thread of {name} cannot be started: {error}")))
}

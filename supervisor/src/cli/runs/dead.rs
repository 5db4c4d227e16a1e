//! `greenroom runs dead`: lists the runs that were given up, and has one continued.

use futures::StreamExt;
use greenroom_protocol::event::{EventNumber, RunEventKind, RunStatus, WatchedRun};
use greenroom_protocol::request::{Page, RunListFilter};
use greenroom_protocol::{Cause, Json, Reply, RunId};

use crate::cli::args::DeadCommand;
use crate::cli::catalogue::print_list;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::cli::session::Session;

/// Executes the command.
///
/// # Errors
/// A cause that prevents the request or its reply.
pub(super) async fn dead(session: &Session, command: DeadCommand, output: Output) -> Result<u8, Cause> {
    match command {
        DeadCommand::List { workflow, limit, after } => {
            let columns = [
                ("run_id", "RUN"),
                ("workflow_id", "WORKFLOW"),
                ("owner", "OWNER"),
                ("failures", "FAILURES"),
                ("attempts", "DEATHS OF PODS"),
                ("dead_since", "SINCE"),
                ("reason", "REASON"),
            ];
            let filter = RunListFilter { status: Some(RunStatus::Dead), workflow };
            let listed = session.client().runs(filter, Page { after, limit }).await?;
            Ok(print_list(&listed, "runs", &columns, output))
        }
        DeadCommand::Retry { run } => retry(session, run, output).await,
    }
}

/// Has a dead run continued and watches it until it ends or is dead again.
async fn retry(session: &Session, run: RunId, output: Output) -> Result<u8, Cause> {
    session.set_run(WatchedRun::Id(run.clone()));
    let client = session.client();
    // Its last entry before the request: a run may have been dead before, and what follows is of this request.
    let before = client.run_record(run.clone()).await?;
    let retried = client.retry_dead(run.clone()).await?;
    if before.error.is_some() || retried.error.is_some() {
        let reply = if retried.error.is_some() { retried } else { before };
        output.reply(&reply);
        return Ok(reply.exit_code());
    }
    let progress = Progress::new(output);
    let mut events = client.watch(&run, last_entry(&before));
    while let Some(event) = events.next().await {
        let event = event?;
        progress.print_event(&event);
        match event.kind {
            RunEventKind::RunEnded { reply } => {
                output.reply(&reply);
                return Ok(reply.exit_code());
            }
            RunEventKind::RunGivenUp { cause } => {
                output.print_error(&cause);
                return Ok(cause.code.exit_code());
            }
            _ => {}
        }
    }
    output.reply(&retried);
    Ok(retried.exit_code())
}

/// The number of the last entry of a run as it was then.
fn last_entry(before: &Reply) -> EventNumber {
    let run = before.outputs.get("run");
    EventNumber::after_entry(run.and_then(|run| run.get("entries")).and_then(Json::as_u64).unwrap_or(0))
}

//! `greenroom run agent|workflow|team`: sends a request, prints its progress and its reply, whose status
//! decides the exit code.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use greenroom_client::transport::Events;
use greenroom_client::{Call, CallParams, Client, ReplyResult};
use greenroom_definitions::parse_inline_team;
use greenroom_protocol::event::{EventNumber, RunEventKind, WatchedRun};
use greenroom_protocol::limits::INLINE_TEAM_BYTES_MAX;
use greenroom_protocol::request::{CallOptions, InlineTeam, TeamRef};
use greenroom_protocol::{Cause, Clock, Deadline, ErrorCode, Json, Reply, RequestId, RunId, TeamId, WorkflowId};

use super::args::{CallArgs, RunCommand, StartArgs};
use super::inputs::{context, inputs};
use super::output::{Output, describe, print_note};
use super::progress::Progress;
use super::report::{self, ReportDir};
use super::session::Session;
use crate::clock::WallClock;

/// Default timeout of a run: it may await an approval.
const RUN_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest wait for the last events of a run after its reply.
const LAST_EVENTS_WAIT: Duration = Duration::from_secs(1);

/// Executes the command.
///
/// # Errors
/// A cause that prevents the request or its reply.
pub async fn run(session: &Session, command: RunCommand, output: Output) -> Result<u8, Cause> {
    let reply = match command {
        RunCommand::Agent { id, call } => {
            let client = session.client();
            prepare(session, call, client.agent(id)).await?.send().await?
        }
        RunCommand::Workflow { id, call, end } => {
            let dir = prepare_report(&end)?;
            let client = session.client();
            let call = prepare(session, call, client.workflow(id)).await?;
            let reply = start(session, call, end.detach, output).await?;
            return finish(session, &reply, dir, output).await;
        }
        RunCommand::Team { id, inline, workflow, call, end } => {
            let dir = prepare_report(&end)?;
            let client = session.client();
            let (team, workflow) = requested_team(&client, id, inline, workflow).await?;
            let call = prepare(session, call, client.team_call(team, &workflow)).await?;
            let reply = start(session, call, end.detach, output).await?;
            return finish(session, &reply, dir, output).await;
        }
    };
    output.reply(&reply);
    Ok(reply.exit_code())
}

fn prepare_report(arguments: &StartArgs) -> Result<Option<ReportDir>, Cause> {
    arguments.report.as_deref().map(|dir| ReportDir::prepare(dir, false)).transpose()
}

/// Prints the reply of a run and writes its report, whose paths go to standard error: a reader of the reply
/// receives the reply alone.
async fn finish(session: &Session, reply: &Reply, dir: Option<ReportDir>, output: Output) -> Result<u8, Cause> {
    output.reply(reply);
    let Some(dir) = dir else { return Ok(reply.exit_code()) };
    if reply.error.is_some() {
        output.note("the run has no report, because it did not succeed");
        return Ok(reply.exit_code());
    }
    let run = RunId::new(&*reply.id).map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))?;
    match report::write(session, &run, &dir).await {
        Ok(written) => {
            output.note(&format!("the report: {}", written.join(", ")));
            Ok(0)
        }
        Err(cause) => {
            print_note(&format!("error: {}", describe(&cause)));
            Ok(cause.code.exit_code())
        }
    }
}

/// Adds the arguments of the command to a call; their files are uploaded.
async fn prepare<'c>(session: &Session, arguments: CallArgs, call: Call<'c>) -> Result<Call<'c>, Cause> {
    let timeout = arguments.timeout.map_or(RUN_TIMEOUT, Duration::from);
    let mut call = call.deadline(Deadline::after(WallClock.now(), timeout));
    if let Some(key) = arguments.idempotency_key {
        call = call.idempotency_key(key);
    }
    let uploading = inputs(session, arguments.inputs_file, &arguments.inputs);
    let values = tokio::time::timeout(timeout, uploading).await.map_err(|_elapsed| {
        Cause::new(ErrorCode::TimedOut, "the deadline passed before the files of the request were uploaded")
    })??;
    let params = CallParams {
        inputs: values,
        context: context(&arguments.context)?,
        options: CallOptions { model: arguments.model, cost_max: arguments.max_cost_usd },
        detach: false,
    };
    Ok(call.params(params))
}

/// Starts a run and prints its events until its reply.
async fn start(session: &Session, call: Call<'_>, detach: bool, output: Output) -> Result<Reply, Cause> {
    let request = RequestId::from_u128(greenroom_protocol::IdGenerator::next_id(&crate::clock::TimeOrdered));
    let call = call.request_id(request.clone());
    if detach {
        let reply = call.detach().send().await?;
        if session.is_in_process() && reply.error.is_none() {
            output
                .note("no pod is running: the run resumes when `greenroom up` starts, or with `greenroom runs resume`");
        }
        return Ok(reply);
    }
    follow_run(session, &request, Progress::new(output), call.send()).await
}

/// Waits for the reply of a run and prints its events meanwhile.
pub(super) async fn follow_run(
    session: &Session,
    request: &RequestId,
    progress: Progress,
    reply: impl Future<Output = ReplyResult>,
) -> Result<Reply, Cause> {
    session.set_run(WatchedRun::StartedBy(request.clone()));
    let has_started = AtomicBool::new(false);
    let events = print_events_from(session.client().watch_started(request, EventNumber::START), progress, &has_started);
    tokio::pin!(reply, events);
    tokio::select! {
        reply = &mut reply => {
            // The reply arrives before the last events; without them, the last step would seem unfinished.
            if reply.is_ok() && has_started.load(Ordering::Relaxed) {
                let _ = tokio::time::timeout(LAST_EVENTS_WAIT, events).await;
            }
            Ok(reply?)
        }
        _ = &mut events => Ok(reply.await?),
    }
}

/// Prints the events of a run from its first to its last, and returns its reply.
pub(super) async fn print_events(client: &Client, run: &RunId, progress: Progress) -> Option<Reply> {
    print_events_from(client.watch(run, EventNumber::START), progress, &AtomicBool::new(false)).await
}

/// As [`print_events`]; sets `has_started` at the first event.
async fn print_events_from(mut events: Events, progress: Progress, has_started: &AtomicBool) -> Option<Reply> {
    while let Some(Ok(event)) = events.next().await {
        has_started.store(true, Ordering::Relaxed);
        progress.print_event(&event);
        if let RunEventKind::RunEnded { reply } = event.kind {
            return Some(*reply);
        }
    }
    None
}

/// The team that the command names, or that its file contains, and its workflow.
async fn requested_team(
    client: &Client,
    id: Option<TeamId>,
    inline: Option<PathBuf>,
    workflow: Option<WorkflowId>,
) -> Result<(TeamRef, WorkflowId), Cause> {
    match (id, inline, workflow) {
        (Some(id), None, Some(workflow)) => Ok((id.into(), workflow)),
        (Some(id), None, None) => {
            let workflow = only_workflow(client, &id).await?;
            Ok((id.into(), workflow))
        }
        (None, Some(file), Some(workflow)) => Ok((read_inline_team(&file)?.into(), workflow)),
        (None, None, _) | (None, Some(_), None) | (Some(_), Some(_), _) => {
            let message = "name a team, or pass --inline FILE with --workflow ID";
            Err(Cause::new(ErrorCode::InvalidRequest, message))
        }
    }
}

/// Reads a team for one run.
fn read_inline_team(file: &Path) -> Result<InlineTeam, Cause> {
    let unreadable =
        |error: io::Error| Cause::new(ErrorCode::PathNotAllowed, format!("{} cannot be read: {error}", file.display()));
    let mut bytes = Vec::new();
    let limit = u64::try_from(INLINE_TEAM_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    File::open(file).and_then(|opened| opened.take(limit).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() > INLINE_TEAM_BYTES_MAX {
        let message = format!("{} has more than {INLINE_TEAM_BYTES_MAX} bytes", file.display());
        return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
    }
    parse_inline_team(file, &bytes).map_err(|problems| {
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Cause::new(ErrorCode::InvalidDefinition, texts.join("\n"))
    })
}

async fn only_workflow(client: &Client, team: &TeamId) -> Result<WorkflowId, Cause> {
    let reply = client.team_definition(team.clone()).await?;
    if let Some(cause) = reply.error {
        return Err(cause);
    }
    let workflows = reply.outputs.get("team").and_then(|team| team.get("workflows")).and_then(Json::as_array);
    let first = workflows
        .and_then(|workflows| workflows.first())
        .and_then(Json::as_str)
        .and_then(|id| WorkflowId::new(id).ok());
    first.ok_or_else(|| {
        Cause::new(ErrorCode::MissingInput, format!("the team {team} names no workflow; pass --workflow ID"))
    })
}

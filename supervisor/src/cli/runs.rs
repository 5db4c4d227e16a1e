//! `greenroom runs`: list, show, watch, report, resume, approve, reject, publish to, cancel and prune runs. Those that were
//! given up are in `dead`.

use futures::StreamExt;
use greenroom_protocol::event::{EventNumber, RunEventKind, WatchedRun};
use greenroom_protocol::journal::{PendingApproval, PendingWait};
use greenroom_protocol::request::{Maintenance, Page, PublishedEvent, RunListFilter, Signal};
use greenroom_protocol::{Cause, Clock, Json, Reply, RunId, Timestamp};

use super::args::{ApprovalTarget, OutputFormat, RunsCommand};
use super::catalogue::print_list;
use super::output::{Output, describe, print_note};
use super::progress::{Progress, line, pending_lines, publish_command};
use super::report::report;
use super::run::print_events;
use super::session::Session;
use crate::clock::WallClock;
use dead::dead;

mod dead;

/// Executes the command.
///
/// # Errors
/// A cause that prevents the request or its reply.
pub async fn runs(session: &Session, command: RunsCommand, output: Output) -> Result<u8, Cause> {
    let client = session.client();
    match command {
        RunsCommand::List { status, workflow, limit, after } => {
            let columns = [
                ("run_id", "RUN"),
                ("status", "STATUS"),
                ("workflow_id", "WORKFLOW"),
                ("owner", "OWNER"),
                ("created", "CREATED"),
            ];
            let filter = RunListFilter { status, workflow };
            Ok(print_list(&client.runs(filter, Page { after, limit }).await?, "runs", &columns, output))
        }
        RunsCommand::Show { run } => Ok(print_run(&client.run_record(run).await?, output)),
        RunsCommand::Watch { run, after } => watch(session, &run, after, output).await,
        RunsCommand::Report { run, out } => report(session, &run, &out, output).await,
        RunsCommand::Cancel { run } => print_signalled(&client.cancel(run).await?, Signal::Cancel, output),
        RunsCommand::Approve { run, targets } => {
            let approve = |ApprovalTarget { step, call }| Signal::Approve { step, call };
            decide(session, &run, targets.into_iter().map(approve).collect(), output).await
        }
        RunsCommand::Reject { run, targets, reason } => {
            let reject = |ApprovalTarget { step, call }| Signal::Reject { step, call, reason: reason.clone() };
            decide(session, &run, targets.into_iter().map(reject).collect(), output).await
        }
        RunsCommand::Dead(command) => dead(session, command, output).await,
        RunsCommand::Publish { run, event: name, data, idempotency_key } => {
            let event = PublishedEvent { name, data: data.unwrap_or_default() };
            let mut call = client.run(&run).signal(Signal::Event(event.clone()));
            if let Some(key) = idempotency_key {
                call = call.idempotency_key(key);
            }
            print_signalled(&call.send().await?, Signal::Event(event), output)
        }
        RunsCommand::Resume { run: Some(run) } => resume(session, run, output).await,
        RunsCommand::Resume { run: None } => {
            let report = session.maintain(Maintenance::ResumeRuns).await?;
            output.document(&report, || format_report(&report));
            Ok(u8::from(report.get("failed").and_then(Json::as_u64).unwrap_or(0) > 0))
        }
        RunsCommand::Prune { older_than } => {
            let before = WallClock.now().saturating_sub(older_than.into());
            let report = session.maintain(Maintenance::PruneRuns { before }).await?;
            output.document(&report, || format_report(&report));
            Ok(0)
        }
    }
}

/// Sends decisions one after the other, up to the first one that is refused. Each names what it is about, so none decides
/// what has come to wait since the user has looked.
async fn decide(session: &Session, run: &RunId, decisions: Vec<Signal>, output: Output) -> Result<u8, Cause> {
    if decisions.len() > 1 && output.format() != OutputFormat::Table {
        return Ok(decide_as_list(session, run, decisions, output).await);
    }
    let client = session.client();
    for signal in decisions {
        let reply = client.run(run).signal(signal.clone()).send().await?;
        let code = print_signalled(&reply, signal, output)?;
        if code != 0 {
            return Ok(code);
        }
    }
    Ok(0)
}

/// As [`decide`]. The output is one list of the replies, so that a program reads one document; if a decision is refused, its
/// error is the last element, after what was decided before.
async fn decide_as_list(session: &Session, run: &RunId, decisions: Vec<Signal>, output: Output) -> u8 {
    let client = session.client();
    let (mut documents, mut refusal) = (Vec::with_capacity(decisions.len()), None);
    for signal in decisions {
        let sent = client.run(run).signal(signal).send().await.map_err(Cause::from);
        let (document, cause) = decision_document(sent);
        documents.push(document);
        if cause.is_some() {
            refusal = cause;
            break;
        }
    }
    output.document(&Json::Array(documents), String::new);
    refusal.map_or(0, |cause| {
        print_note(&format!("error: {}", describe(&cause)));
        cause.code.exit_code()
    })
}

/// The element of a decision in the list of several, and its error if it is refused.
fn decision_document(sent: Result<Reply, Cause>) -> (Json, Option<Cause>) {
    let cause = match sent {
        Ok(Reply { error: Some(cause), .. }) | Err(cause) => cause,
        Ok(reply) => return (serde_json::to_value(&reply).unwrap_or_default(), None),
    };
    (serde_json::json!({ "error": cause }), Some(cause))
}

/// Formats the record of a run, with what it waits for.
fn format_run(run: &Json) -> String {
    let mut run = run.clone();
    let mut remove = |name: &str| run.as_object_mut().and_then(|members| members.remove(name));
    let (pending, waits) = (remove("pending_approvals"), remove("pending_waits"));
    let mut text = format_report(&run);
    let pending: Vec<PendingApproval> = pending.and_then(|all| serde_json::from_value(all).ok()).unwrap_or_default();
    let limit =
        |until: Option<Timestamp>| until.map_or_else(|| "without limit".to_owned(), |until| format!("until {until}"));
    for approval in pending {
        let (since, until) = (approval.since, limit(approval.until));
        text.push_str(&format!("\nawaits approval since {since}, {until}:\n{}", pending_lines(&approval)));
    }
    let waits: Vec<PendingWait> = waits.and_then(|all| serde_json::from_value(all).ok()).unwrap_or_default();
    for PendingWait { run, step, target, since, until } in waits {
        let command = publish_command(&run, &target);
        text.push_str(&format!("\n{step} waits for {target} since {since}, {}{command}", limit(until)));
    }
    text
}

/// Formats a small report as `name: value` lines.
pub(super) fn format_report(report: &Json) -> String {
    let members = report.as_object().into_iter().flatten();
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    members.map(|(name, value)| format!("{name}: {}", text(value))).collect::<Vec<_>>().join("\n")
}

fn print_run(reply: &Reply, output: Output) -> u8 {
    output.outputs(reply, |outputs| {
        let mut text = outputs.get("run").map(format_run).unwrap_or_default();
        let events = outputs.get("events").and_then(Json::as_array);
        for event in events.into_iter().flatten() {
            if let Some(line) = serde_json::from_value(event.clone()).ok().as_ref().and_then(line) {
                text.push('\n');
                text.push_str(&line);
            }
        }
        text
    })
}

async fn watch(session: &Session, run: &RunId, after: EventNumber, output: Output) -> Result<u8, Cause> {
    session.set_run(WatchedRun::Id(run.clone()));
    let mut events = session.client().watch(run, after);
    while let Some(event) = events.next().await {
        let event = event?;
        // One line for each event, so that a reader need not wait for the end.
        output.line(&serde_json::to_value(&event).unwrap_or_default(), || line(&event));
        if let RunEventKind::RunEnded { reply } = event.kind {
            return Ok(reply.exit_code());
        }
    }
    print_note("the watch ended before the run did");
    Ok(1)
}

/// Resumes an interrupted run and watches it until it ends.
async fn resume(session: &Session, run: RunId, output: Output) -> Result<u8, Cause> {
    session.set_run(WatchedRun::Id(run.clone()));
    let client = session.client();
    let resumed = client.resume(run.clone()).await?;
    if resumed.error.is_some() {
        output.reply(&resumed);
        return Ok(resumed.exit_code());
    }
    let reply = print_events(&client, &run, Progress::new(output)).await.unwrap_or(resumed);
    output.reply(&reply);
    Ok(reply.exit_code())
}

fn print_signalled(reply: &Reply, signal: Signal, output: Output) -> Result<u8, Cause> {
    if let Some(cause) = &reply.error {
        output.print_error(cause);
        return Ok(reply.exit_code());
    }
    let document = serde_json::to_value(reply).unwrap_or_default();
    output.document(&document, || match signal {
        Signal::Cancel => format!("cancelling {}", reply.id),
        Signal::Approve { step, call } => format!("{} of {} was approved", ApprovalTarget { step, call }, reply.id),
        Signal::Reject { step, call, .. } => {
            format!("{} of {} was rejected", ApprovalTarget { step, call }, reply.id)
        }
        Signal::Event(event) => format!("{} was published to {}", event.name, reply.id),
    });
    Ok(0)
}

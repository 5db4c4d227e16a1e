//! `greenroom run agent|workflow|team`: words become a request, its progress is told, and the reply
//! decides the exit code.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use greenroom_client::{CallParams, Client};
use greenroom_definitions::Field;
use greenroom_protocol::event::RunEventKind;
use greenroom_protocol::request::CallOptions;
use greenroom_protocol::{
    AgentId, Cause, Clock, Deadline, ErrorCode, Json, MicroUsd, Reply, RequestId, RunId, TeamId, WorkflowId,
};

use super::args::{CallArgs, RunCommand};
use super::inputs::{Types, context, inputs};
use super::output::{Output, print_note};
use super::progress::Progress;
use super::session::Session;
use crate::clock::WallClock;

/// How long a run of the command line may take where nothing is said: it may wait for a person.
const RUN_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the last events of a run may come behind its reply.
const LAST_EVENTS_WAIT: Duration = Duration::from_secs(1);

/// Does it.
///
/// # Errors
/// A cause that came before any reply.
pub async fn run(session: &Session, command: RunCommand, output: Output) -> Result<u8, Cause> {
    let reply = match command {
        RunCommand::Agent { id, work } => {
            let types = agent_types(&session.client(), &id).await;
            let (client, work) = prepare(session, work, &types).await?;
            client.run_agent(id, work).await?
        }
        RunCommand::Workflow { id, work } => {
            let types = workflow_types(&session.client(), &id).await;
            start(session, work, &types, |client, work| async move { client.run_workflow(id, work).await }).await?
        }
        RunCommand::Team { id, workflow, work } => {
            let workflow = match workflow {
                Some(workflow) => workflow,
                None => only_workflow(&session.client(), &id).await?,
            };
            let types = workflow_types(&session.client(), &workflow).await;
            start(session, work, &types, |client, work| async move { client.run_team(id, workflow, work).await })
                .await?
        }
    };
    output.reply(&reply);
    Ok(reply.exit_code())
}

async fn prepare(session: &Session, work: CallArgs, types: &Types) -> Result<(Client, CallParams), Cause> {
    let cost_max = match work.max_cost_usd {
        None => None,
        Some(usd) => Some(MicroUsd::from_usd(usd).ok_or_else(|| {
            Cause::new(ErrorCode::InvalidInput, format!("--max-cost-usd is {usd}, not a sum of money"))
        })?),
    };
    let mut client = session.client();
    let wait = work.timeout.map_or(RUN_WAIT, Duration::from);
    client = client.with_deadline(Deadline::after(WallClock.now(), wait));
    if let Some(key) = work.idempotency_key {
        client = client.with_idempotency_key(key);
    }
    let prepared = CallParams {
        inputs: inputs(session, &work.inputs, types).await?,
        context: context(&work.context)?,
        options: CallOptions { model: work.model, cost_max },
        detach: work.detach,
    };
    Ok((client, prepared))
}

/// Starts a run and tells of it while it goes on.
async fn start<F>(
    session: &Session,
    work: CallArgs,
    types: &Types,
    ask: impl FnOnce(Client, CallParams) -> F,
) -> Result<Reply, Cause>
where
    F: Future<Output = Result<Reply, greenroom_client::TransportError>>,
{
    let detach = work.detach;
    let (client, work) = prepare(session, work, types).await?;
    let named = RequestId::from_u128(greenroom_protocol::IdGenerator::next_id(&crate::clock::TimeOrdered));
    let run = RunId::for_request(&named);
    let client = client.with_request_id(named);
    if detach {
        let reply = ask(client, work).await?;
        if session.is_in_process() && reply.error.is_none() {
            print_note(
                "no `greenroom up` is running: the run goes on with the next one, or with `greenroom runs resume`",
            );
        }
        return Ok(reply);
    }
    follow_run(&session.client(), &run, Progress::new(), ask(client, work)).await
}

/// Waits for a run's reply and tells of the run meanwhile.
pub(super) async fn follow_run(
    client: &Client,
    run: &RunId,
    progress: Progress,
    asked: impl Future<Output = Result<Reply, greenroom_client::TransportError>>,
) -> Result<Reply, Cause> {
    let has_begun = AtomicBool::new(false);
    let telling = print_events_from(client, run, progress, &has_begun);
    tokio::pin!(asked, telling);
    tokio::select! {
        reply = &mut asked => {
            // The reply overtakes the last events; without them, the last step would seem unfinished.
            if reply.is_ok() && has_begun.load(Ordering::Relaxed) {
                let _ = tokio::time::timeout(LAST_EVENTS_WAIT, telling).await;
            }
            Ok(reply?)
        }
        _ = &mut telling => Ok(asked.await?),
    }
}

/// Tells of a run from its first event to its last, and answers with its reply.
pub(super) async fn print_events(client: &Client, run: &RunId, progress: Progress) -> Option<Reply> {
    print_events_from(client, run, progress, &AtomicBool::new(false)).await
}

/// The same, and says as soon as there is something to tell of.
async fn print_events_from(client: &Client, run: &RunId, progress: Progress, has_begun: &AtomicBool) -> Option<Reply> {
    let mut events = client.watch(run, 0);
    while let Some(Ok(event)) = events.next().await {
        has_begun.store(true, Ordering::Relaxed);
        progress.print_events(&event);
        if let RunEventKind::RunEnded { reply } = event.kind {
            return Some(*reply);
        }
    }
    None
}

// === declared types ===

async fn agent_types(client: &Client, id: &AgentId) -> Types {
    // A refused look is no reason to stop: the request itself is judged, and says why.
    match client.agent(id.clone()).await {
        Ok(reply) => fields(reply.outputs.get("agent")),
        Err(_) => Types::new(),
    }
}

/// The workflow's declared inputs; one that it does not declare has the type that the first agent of
/// its steps gives to that name, since that is where it ends up.
async fn workflow_types(client: &Client, id: &WorkflowId) -> Types {
    let Ok(reply) = client.workflow(id.clone()).await else { return Types::new() };
    let workflow = reply.outputs.get("workflow");
    let mut types = fields(workflow);
    let steps = workflow.and_then(|workflow| workflow.get("steps")).and_then(Json::as_array);
    for step in steps.into_iter().flatten() {
        let agent = step.get("agent").and_then(Json::as_str).and_then(|id| AgentId::new(id).ok());
        let Some(agent) = agent else { continue };
        for (name, kind) in agent_types(client, &agent).await {
            types.entry(name).or_insert(kind);
        }
    }
    types
}

fn fields(definition: Option<&Json>) -> Types {
    let inputs = definition.and_then(|definition| definition.get("inputs")).and_then(Json::as_array);
    let read = |field: &Json| serde_json::from_value::<Field>(field.clone()).ok();
    inputs.into_iter().flatten().filter_map(read).map(|field| (field.name, field.field_type)).collect()
}

async fn only_workflow(client: &Client, team: &TeamId) -> Result<WorkflowId, Cause> {
    let reply = client.team(team.clone()).await?;
    if let Some(cause) = reply.error {
        return Err(cause);
    }
    let named = reply.outputs.get("team").and_then(|team| team.get("workflows")).and_then(Json::as_array);
    let first = named.and_then(|named| named.first()).and_then(Json::as_str).and_then(|id| WorkflowId::new(id).ok());
    first.ok_or_else(|| {
        Cause::new(ErrorCode::MissingInput, format!("the team {team} names no workflow; say --workflow ID"))
    })
}

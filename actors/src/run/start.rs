//! The record with which a run starts, and the deduplication key of the request that starts it.

use greenroom_protocol::journal::RunStarted;
use greenroom_protocol::request::StartRun;
use greenroom_protocol::{AgentId, Cause, ContentHash, Deadline, RunId, Timestamp};
use greenroom_registry::runs::DedupKey;
use greenroom_rego::{Caller, Grant};

use super::handle::RunsHandle;
use super::machine::RUN_RETRIES_MAX;
use super::pinned::PinnedDefinitions;
use super::values::store_result;
use super::{RUN_TIME_MAX, RunEnv};

impl RunsHandle {
    /// Pins the definitions of a run, validates its inputs and stores large values as artifacts.
    pub(super) async fn prepare(
        &self,
        run: &RunId,
        grant: &Grant,
        start: StartRun,
        now: Timestamp,
    ) -> Result<(RunStarted, PinnedDefinitions), Cause> {
        let RunEnv { resolver, stores, .. } = &**self.env();
        let workflow = resolver.workflow(&start.workflow, grant.version()).await?;
        let pinned = PinnedDefinitions::from_newest(&workflow, &**resolver)?;
        let inputs = workflow.validate_inputs(start.inputs)?;
        self.stored_definitions().ensure_stored(&pinned, &workflow, &*stores.definitions).await?;
        let (inputs, _) = store_result(inputs, "inputs", &*stores.artifacts).await?;
        let (context, _) = store_result(start.context, "context", &*stores.artifacts).await?;
        let run_deadline = Deadline::after(now, workflow.plan().timeout.unwrap_or(RUN_TIME_MAX));
        let started = RunStarted {
            run: run.clone(),
            workflow: workflow.id().clone(),
            version: workflow.hash(),
            agents: pinned.versions(),
            team: grant.team().cloned(),
            parent: parent_run(grant),
            owner: grant.principal().user.clone(),
            inputs,
            context,
            options: start.options,
            deadline: if start.detach { run_deadline } else { run_deadline.earlier(grant.deadline()) },
            steps: u32::try_from(workflow.plan().steps.len()).unwrap_or(u32::MAX),
            retry_budget: RUN_RETRIES_MAX,
            members: self.members(grant),
            checks: grant.checks().to_vec(),
            trace: Some(grant.trace().clone()),
        };
        Ok((started, pinned))
    }

    /// The full ids of the members of the run's team.
    fn members(&self, grant: &Grant) -> Vec<AgentId> {
        let catalogue = self.env().resolver.catalogue();
        let Some(team) = grant.team().and_then(|team| catalogue.team(team)) else { return Vec::new() };
        let agents = team.spec().agents.iter().filter_map(|agent_id| catalogue.agent(agent_id));
        agents.map(|agent| agent.id().clone()).collect()
    }
}

/// The deduplication key of a request: the caller's idempotency key and the request hash; else, for a call of a run
/// or a team, the call key, because its inputs may be bound again after a crash.
pub(super) fn dedup_key(grant: &Grant, start: &StartRun) -> (ContentHash, Option<DedupKey>) {
    if let Some(idempotency) = grant.idempotency() {
        return (idempotency.request_hash, Some(DedupKey::Caller(idempotency.key.clone())));
    }
    match (grant.caller(), team_dedup_key(start)) {
        (Caller::Team { .. }, Some((body, key))) => (body, Some(key)),
        (Caller::Workflow { .. } | Caller::Agent { .. } | Caller::Team { .. }, _) => {
            (ContentHash::from_content(grant.request_id().as_str().as_bytes()), None)
        }
        (Caller::User { .. } | Caller::None, _) => (request_hash(start), None),
    }
}

/// The deduplication key of a team's request for its run, if the request for the team had an idempotency key.
pub(crate) fn team_dedup_key(start: &StartRun) -> Option<(ContentHash, DedupKey)> {
    start.key.as_ref().map(|key| (request_hash(start), DedupKey::Call(key.clone())))
}

fn request_hash(start: &StartRun) -> ContentHash {
    ContentHash::from_content(serde_json::to_string(start).unwrap_or_default().as_bytes())
}

/// The run that calls this one as a step, if there is one.
fn parent_run(grant: &Grant) -> Option<RunId> {
    grant.chain().iter().rev().find_map(|caller| match caller {
        Caller::Workflow { run, .. } => Some(run.clone()),
        Caller::User { .. } | Caller::Agent { .. } | Caller::Team { .. } | Caller::None => None,
    })
}

//! What a run begins with, and by what a repeated request for it is known.

use greenroom_protocol::journal::RunStarted;
use greenroom_protocol::request::StartRun;
use greenroom_protocol::{AgentId, Cause, ContentHash, Deadline, RunId, Timestamp};
use greenroom_registry::runs::DedupKey;
use greenroom_rego::{Caller, Grant};

use super::handle::RunsHandle;
use super::machine::RUN_RETRIES_MAX;
use super::pinned::Pinned;
use super::values::store_result;
use super::{RUN_TIME_MAX, RunEnv};

impl RunsHandle {
    /// What a run begins with: its definitions pinned, its inputs checked and put where they belong.
    pub(super) async fn prepare(
        &self,
        run: &RunId,
        grant: &Grant,
        start: StartRun,
        now: Timestamp,
    ) -> Result<(RunStarted, Pinned), Cause> {
        let RunEnv { resolver, stores, .. } = &**self.env();
        let workflow = resolver.workflow(&start.workflow, grant.version()).await?;
        let pinned = Pinned::newest(&workflow, &**resolver)?;
        let inputs = workflow.validate_inputs(start.inputs)?;
        self.stored_definitions().ensure_stored(&pinned, &workflow, &*stores.definitions).await?;
        let (inputs, _) = store_result(inputs, "inputs", &*stores.artifacts).await?;
        let (context, _) = store_result(start.context, "context", &*stores.artifacts).await?;
        let own = Deadline::after(now, workflow.plan().timeout.unwrap_or(RUN_TIME_MAX));
        let begun = RunStarted {
            run: run.clone(),
            workflow: workflow.id().clone(),
            version: workflow.hash(),
            agents: pinned.versions(),
            team: grant.team().cloned(),
            parent: parent(grant),
            owner: grant.principal().user.clone(),
            inputs,
            context,
            options: start.options,
            deadline: if start.detach { own } else { own.earlier(grant.deadline()) },
            steps: u32::try_from(workflow.plan().steps.len()).unwrap_or(u32::MAX),
            retry_budget: RUN_RETRIES_MAX,
            members: self.members(grant),
            checks: grant.checks().to_vec(),
            trace: Some(grant.trace().clone()),
        };
        Ok((begun, pinned))
    }

    /// The members of the team that the run is for, by their whole ids.
    fn members(&self, grant: &Grant) -> Vec<AgentId> {
        let catalogue = self.env().resolver.catalogue();
        let Some(team) = grant.team().and_then(|team| catalogue.team(team)) else { return Vec::new() };
        let found = team.spec().agents.iter().filter_map(|written| catalogue.agent(written));
        found.map(|agent| agent.id().clone()).collect()
    }
}

/// By what a repeated request is known: the caller's key and body; else, for a call of a run or a team,
/// the call itself, whose inputs may be bound anew after a crash.
pub(super) fn dedup_key(grant: &Grant, start: &StartRun) -> (ContentHash, Option<DedupKey>) {
    if let Some(idempotency) = grant.idempotency() {
        return (idempotency.request_hash, Some(DedupKey::Caller(idempotency.key.clone())));
    }
    match (grant.caller(), team_dedup_key(start)) {
        (Caller::Team { .. }, Some((body, key))) => (body, Some(key)),
        (Caller::Workflow { .. } | Caller::Agent { .. } | Caller::Team { .. }, _) => {
            (ContentHash::of(grant.request_id().as_str().as_bytes()), None)
        }
        (Caller::User { .. } | Caller::None, _) => (body_of(start), None),
    }
}

/// By what a repeated request of a team for its run is known, where the team was asked for with a key.
pub(crate) fn team_dedup_key(start: &StartRun) -> Option<(ContentHash, DedupKey)> {
    start.key.as_ref().map(|key| (body_of(start), DedupKey::Call(key.clone())))
}

fn body_of(start: &StartRun) -> ContentHash {
    ContentHash::of(serde_json::to_string(start).unwrap_or_default().as_bytes())
}

/// The run that calls this one as a step.
fn parent(grant: &Grant) -> Option<RunId> {
    grant.chain().iter().rev().find_map(|speaker| match speaker {
        Caller::Workflow { run, .. } => Some(run.clone()),
        Caller::User { .. } | Caller::Agent { .. } | Caller::Team { .. } | Caller::None => None,
    })
}

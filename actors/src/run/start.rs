//! Starts a run: prepares its record, writes it with the first journal entries, and activates the run.

use std::sync::Arc;

use greenroom_protocol::journal::RunStarted;
use greenroom_protocol::request::StartRun;
use greenroom_protocol::value::for_each_artifact;
use greenroom_protocol::{AgentId, Cause, Deadline, ErrorCode, Reply, RunId, Timestamp};
use greenroom_registry::Stores;
use greenroom_registry::core::PendingAuditEntry;
use greenroom_registry::journal::Seq;
use greenroom_registry::runs::{Created, NewRun};
use greenroom_rego::{Grant, Permitted};

use super::actor::decide_with_outputs;
use super::artifacts::RunArtifacts;
use super::context::initial_context;
use super::dedup_key::{dedup_key, key_conflict_error};
use super::effects::EffectContext;
use super::handle::{RunsHandle, into_reply};
use super::loops::Loops;
use super::machine::{Event, RUN_RETRIES_MAX, State};
use super::message::{FirstAction, RunArgs};
use super::offload::store_result;
use super::parent_run::parent_run;
use super::personal_data::has_personal_data;
use super::pinned::PinnedDefinitions;
use super::{RUN_TIME_MAX, RunEnv};
use crate::concurrency::OwnedTickets;
use crate::dispatcher::RunTicket;

impl RunsHandle {
    /// Starts a run and waits for its end; with `detach`, until its start is durable. A repeated request does not
    /// start a second run: it waits for, or returns, the first reply.
    ///
    /// The run record is written after the audit entry of its request, in the same commit where possible; no effect
    /// starts before both are durable.
    pub async fn start(
        &self,
        permit: Permitted<StartRun>,
        audit_entry: &mut PendingAuditEntry,
        ticket: Option<RunTicket>,
    ) -> Reply {
        let (grant, start) = permit.redeem();
        let id = grant.request_id().clone();
        into_reply(&id, self.try_start(grant, start, audit_entry, ticket).await)
    }

    async fn try_start(
        &self,
        grant: Grant,
        start: StartRun,
        audit_entry: &mut PendingAuditEntry,
        ticket: Option<RunTicket>,
    ) -> Result<Reply, Cause> {
        let env = self.env();
        let now = env.clock.now();
        let run = grant.run().cloned().ok_or_else(|| Cause::new(ErrorCode::Internal, "the permit starts no run"))?;
        let detach = start.detach;
        if let Some(existing) = self.find_existing_run(&grant).await? {
            return self.wait_existing(&existing, detach, &grant).await;
        }
        let (body, key) = dedup_key(&grant, &start);
        let context = grant.team().is_some().then(|| initial_context(&start.context)).transpose()?;
        let (started, pinned, personal_data) = self.prepare(&run, &grant, start, now).await?;
        let started = Arc::new(started);
        let new = NewRun {
            started: Arc::clone(&started),
            tenant: grant.principal().tenant.clone(),
            request_hash: body,
            personal_data,
            pod: env.pod.clone(),
            lease: env.lease,
        };
        let decision = decide_with_outputs(&pinned, &State::default(), &Event::Started(started.clone()), now);
        let created = env.stores.core.create_run(new, key.as_ref(), decision.entries(), now).await;
        match created.map_err(|error| error.cause())? {
            (Created::New(fence), Some(receipt)) => {
                if let Err(error) = audit_entry.wait_durable().await {
                    self.cancel_start(&run, fence, receipt.through(), decision.next(), error.cause()).await;
                    return Err(error.cause());
                }
                let run_deadline = decision.next().effective_deadline().unwrap_or(started.deadline);
                let ctx = EffectContext {
                    env: env.clone(),
                    pinned: Arc::new(pinned),
                    grant: grant.with_run_deadline(run_deadline),
                    started,
                    loops: Loops::default(),
                };
                let (seq, state, first) = (Seq(0), State::default(), FirstAction::Start(Box::new(decision), receipt));
                // A run without a ticket of its own is a part of the work that has started it.
                let tickets = ticket.map_or_else(OwnedTickets::of_task, |own| OwnedTickets::default().with(own));
                self.activate(RunArgs { fence, seq, state, context, first, ctx, tickets }).await?;
                self.wait_as_caller(&run, detach, &grant).await
            }
            (Created::New(_), None) => {
                Err(Cause::new(ErrorCode::Internal, "the run was created without journal entries"))
            }
            (Created::Existing(first), _) => self.wait_existing(&first, detach, &grant).await,
            (Created::Conflict, _) => Err(key_conflict_error()),
        }
    }

    /// Pins the definitions of a run, validates its inputs and stores large values as artifacts. A run has personal
    /// data if an agent that it may call processes such data, or if it receives some: from the run that calls it, or
    /// as an artifact.
    async fn prepare(
        &self,
        run: &RunId,
        grant: &Grant,
        mut start: StartRun,
        now: Timestamp,
    ) -> Result<(RunStarted, PinnedDefinitions, bool), Cause> {
        let RunEnv { resolver, stores, .. } = &**self.env();
        let workflow = resolver.workflow(&start.workflow, grant.version()).await?;
        let receives_personal_data = received_personal_data(stores, grant, &mut start).await?;
        let pinned = PinnedDefinitions::from_newest(&workflow, &**resolver)?;
        let inputs = workflow.validate_inputs(start.inputs)?;
        self.stored_definitions().ensure_stored(&pinned, &workflow, &*stores.definitions).await?;
        let personal_data = receives_personal_data || has_personal_data(&workflow, grant.team(), &resolver.catalogue());
        let artifacts = RunArtifacts { stores, run, tenant: &grant.principal().tenant, personal_data };
        let (inputs, _) = store_result(inputs, "inputs", artifacts).await?;
        let (context, _) = store_result(start.context, "context", artifacts).await?;
        let parent = parent_run(grant);
        let is_called = parent.is_some() && !start.detach;
        let run_deadline = Deadline::after(now, workflow.plan().timeout.unwrap_or(RUN_TIME_MAX));
        let started = RunStarted {
            run: run.clone(),
            workflow: workflow.id().clone(),
            version: workflow.hash(),
            agents: pinned.versions(),
            team: grant.team().cloned(),
            request_deadline: (!start.detach && !is_called).then(|| grant.deadline()),
            deadline: if is_called { run_deadline.earlier(grant.deadline()) } else { run_deadline },
            parent,
            owner: grant.principal().user.clone(),
            inputs,
            context,
            options: start.options,
            steps: u32::try_from(workflow.plan().steps.len()).unwrap_or(u32::MAX),
            retry_budget: RUN_RETRIES_MAX,
            members: self.members(grant),
            checks: grant.checks().to_vec(),
            policies: Some(grant.policies().iter().map(str::to_owned).collect()),
            trace: Some(grant.trace().clone()),
        };
        Ok((started, pinned, personal_data))
    }

    /// The full ids of the members of the run's team.
    fn members(&self, grant: &Grant) -> Vec<AgentId> {
        let catalogue = self.env().resolver.catalogue();
        let Some(team) = grant.team().and_then(|team| catalogue.team(team)) else { return Vec::new() };
        let agents = team.spec().agents.iter().filter_map(|agent_id| catalogue.agent(agent_id));
        agents.map(|agent| agent.id().clone()).collect()
    }
}

/// True if the run that calls this one has personal data, or if an artifact among the inputs or the context does.
async fn received_personal_data(stores: &Stores, grant: &Grant, start: &mut StartRun) -> Result<bool, Cause> {
    if let Some(parent) = parent_run(grant) {
        let record = stores.runs.get(&parent).await.map_err(|error| error.cause())?;
        if record.is_some_and(|record| record.personal_data) {
            return Ok(true);
        }
    }
    let mut hashes = Vec::new();
    for value in start.inputs.values_mut().chain(start.context.values_mut()) {
        for_each_artifact(value, &mut |artifact| hashes.push(artifact.hash));
    }
    for hash in hashes {
        let info = stores.artifacts.info(&grant.principal().tenant, &hash).await.map_err(|error| error.cause())?;
        if info.is_some_and(|info| info.personal_data) {
            return Ok(true);
        }
    }
    Ok(false)
}

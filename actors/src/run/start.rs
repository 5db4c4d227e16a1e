//! Starts a run: prepares its record, writes it with the first journal entries, and activates the run. A run that a
//! step calls is started in the tree of its caller, or resumed there if its caller was. A detached run for which this pod
//! has no capacity, or for which another pod is woken, is left to the pods of the store.

use std::sync::Arc;

use greenroom_definitions::{Team, Workflow};
use greenroom_protocol::journal::{Entry, RunStarted};
use greenroom_protocol::request::{InlineTeam, StartRun};
use greenroom_protocol::value::for_each_artifact;
use greenroom_protocol::{
    AgentId, Cause, ContentHash, Deadline, ErrorCode, MicroUsd, Reply, RunId, SpendingLimits, Timestamp,
};
use greenroom_registry::Stores;
use greenroom_registry::context::ContextData;
use greenroom_registry::core::PendingAuditEntry;
use greenroom_registry::runs::{Created, DedupKey, NewRun};
use greenroom_rego::{Caller, Grant, Permitted, SpendingScope};

use super::artifacts::RunArtifacts;
use super::context::initial_context;
use super::create::{Creation, RunOfRequest, complete_start};
use super::dedup_key::{dedup_key, key_conflict_error};
use super::handle::{RunsHandle, into_reply};
use super::inner_start::InnerStart;
use super::journal_version::{check_version, needed_version};
use super::machine::RUN_RETRIES_MAX;
use super::offload::store_result;
use super::parent_run::parent_run;
use super::personal_data::has_personal_data;
use super::pinned::{NewestInner, PinnedDefinitions};
use super::{RUN_TIME_MAX, RunEnv};
use crate::dispatcher::RunTicket;

/// A run that is ready to be created.
struct PreparedRun {
    started: Arc<RunStarted>,
    pinned: PinnedDefinitions,
    personal_data: bool,
}

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
        let detach = start.detach;
        match Box::pin(self.start_or_resume(&grant, start, audit_entry, ticket)).await? {
            RunOfRequest::New(run) => self.wait_as_caller(&run, detach, &grant).await,
            RunOfRequest::Existing(run) => self.wait_existing(&run, detach, &grant).await,
        }
    }

    /// Creates and activates the run, resumes it with the run that calls it, or finds the one that the same request has
    /// started.
    async fn start_or_resume(
        &self,
        grant: &Grant,
        start: StartRun,
        audit_entry: &mut PendingAuditEntry,
        ticket: Option<RunTicket>,
    ) -> Result<RunOfRequest, Cause> {
        let env = self.env();
        let now = env.clock.now();
        let run = grant.run().cloned().ok_or_else(|| Cause::new(ErrorCode::Internal, "the permit starts no run"))?;
        let inner = self.begin_inner_start(grant, &run)?;
        let (body, key) = dedup_key(grant, &start);
        if let Some(inner_start) = &inner
            && inner_start.tree().is_claimed()
            && self.resume_inner(&run, &body, inner_start, grant).await?
        {
            return Ok(RunOfRequest::New(complete_start(run, inner)));
        }
        // After the resumption, because no other request resumes a run that its caller calls again.
        if let Some(existing) = self.find_existing_run(grant).await? {
            return Ok(RunOfRequest::Existing(complete_start(existing, inner)));
        }
        let context = own_context(grant, &run, &start)?;
        let is_unowned = start.detach && self.is_left_to_pods(grant, ticket.is_some());
        let prepared = self.prepare_in_time(&run, grant, start, inner.as_ref(), now).await?;
        let new = NewRun { is_unowned, ..self.new_run(&prepared, body, inner.as_ref()) };
        check_version(&*env.stores.cluster, new.journal_version).await?;
        if is_unowned {
            return self.create_unowned(new, key.as_ref(), audit_entry, now).await;
        }
        let creation = Creation { new, key, pinned: prepared.pinned, context, inner, ticket, now };
        Box::pin(self.create_and_activate(grant, creation, audit_entry)).await
    }

    /// The record of a run that this pod will own.
    fn new_run(&self, prepared: &PreparedRun, request_hash: ContentHash, inner: Option<&InnerStart>) -> NewRun {
        let RunEnv { pod, lease, .. } = &**self.env();
        NewRun {
            started: Arc::clone(&prepared.started),
            request_hash,
            personal_data: prepared.personal_data,
            tree_fence: inner.map(|inner| inner.tree().fence()),
            is_unowned: false,
            journal_version: needed_version(&prepared.pinned),
            pod: pod.clone(),
            lease: *lease,
        }
    }

    /// True if a detached run is left to the pods of the store: admission control had no ticket for it, or another pod is
    /// woken for it. The team of a run was formed on this pod.
    fn is_left_to_pods(&self, grant: &Grant, has_ticket: bool) -> bool {
        let RunEnv { stores, creates_runs_unowned, .. } = &**self.env();
        let is_handed_over = *creates_runs_unowned && grant.team_run().is_none();
        stores.cluster.is_shared() && (!has_ticket || is_handed_over)
    }

    /// Creates a run without an owner. It may be claimed at once, so the audit entry of its request is durable before.
    async fn create_unowned(
        &self,
        new: NewRun,
        key: Option<&DedupKey>,
        audit_entry: &mut PendingAuditEntry,
        now: Timestamp,
    ) -> Result<RunOfRequest, Cause> {
        audit_entry.wait_durable().await.map_err(|error| error.cause())?;
        let (run, entries) = (new.id().clone(), [Entry::RunStarted(Box::new(new.started.as_ref().clone()))]);
        let created = self.env().stores.core.create_run(new, key, &entries, now).await;
        match created.map_err(|error| error.cause())?.0 {
            Created::New(_) => {
                self.env().stores.cluster.announce_tree();
                Ok(RunOfRequest::New(run))
            }
            Created::Existing(first) => Ok(RunOfRequest::Existing(first)),
            Created::Conflict => Err(key_conflict_error()),
        }
    }

    /// As [`Self::prepare`], up to the deadline of the request: a store of artifacts may not reply.
    async fn prepare_in_time(
        &self,
        run: &RunId,
        grant: &Grant,
        start: StartRun,
        inner: Option<&InnerStart>,
        now: Timestamp,
    ) -> Result<PreparedRun, Cause> {
        let preparing = self.prepare(run, grant, start, inner, now);
        tokio::time::timeout(grant.deadline().remaining(now), preparing).await.unwrap_or_else(|_elapsed| {
            Err(Cause::new(ErrorCode::TimedOut, "the deadline passed before the run was started"))
        })
    }

    /// Pins the definitions of a run, validates its inputs and stores large values as artifacts. A run has personal
    /// data if an agent that it may call processes such data, or if it receives some: from the run that calls it, or
    /// as an artifact.
    async fn prepare(
        &self,
        run: &RunId,
        grant: &Grant,
        mut start: StartRun,
        inner: Option<&InnerStart>,
        now: Timestamp,
    ) -> Result<PreparedRun, Cause> {
        let RunEnv { resolver, stores, budgets, .. } = &**self.env();
        let workflow = resolver.workflow(&start.workflow, grant.version()).await?;
        let receives_personal_data = received_personal_data(stores, grant, &mut start).await?;
        let members = self.members(grant, inner).await?;
        let (pinned, below) = self.pin(&workflow, inner).await?;
        let inputs = workflow.validate_inputs(start.inputs)?;
        let definitions = pinned.definitions(&workflow).into_iter().chain(below.definitions);
        self.stored_definitions().ensure_stored(definitions, &*stores.definitions).await?;
        let personal_data = receives_personal_data || has_personal_data(&workflow, &members, &resolver.catalogue());
        let artifacts = RunArtifacts { stores, run, tenant: &grant.principal().id.tenant, personal_data };
        let (inputs, _) = store_result(inputs, "inputs", artifacts).await?;
        let (context, _) = store_result(start.context, "context", artifacts).await?;
        let parent = parent_run(grant);
        let is_called = parent.is_some() && !start.detach;
        let run_deadline = Deadline::after(now, workflow.plan().timeout.unwrap_or(RUN_TIME_MAX));
        let root = grant.root().unwrap_or(run).clone();
        let started = RunStarted {
            run: run.clone(),
            workflow: workflow.id().clone(),
            version: workflow.hash(),
            agents: pinned.versions(),
            inner: below.versions,
            team: grant.team().cloned(),
            team_run: grant.team_run().cloned(),
            request_deadline: (!start.detach && !is_called).then(|| grant.deadline()),
            deadline: if is_called { run_deadline.earlier(grant.deadline()) } else { run_deadline },
            parent,
            retry_budget: budgets.remaining(&root).unwrap_or(RUN_RETRIES_MAX),
            root,
            owner: grant.principal().id.clone(),
            inputs,
            context,
            limits: spending_limits(run, grant, &workflow, start.options.cost_max),
            options: start.options,
            steps: u32::try_from(workflow.plan().steps.len()).unwrap_or(u32::MAX),
            members,
            checks: grant.checks().to_vec(),
            policies: Some(grant.policies().iter().map(str::to_owned).collect()),
            trace: Some(grant.trace().clone()),
        };
        Ok(PreparedRun { started: Arc::new(started), pinned, personal_data })
    }

    /// The agents of a run, and the versions of all runs below it: those that its caller is pinned to, else the newest.
    async fn pin(
        &self,
        workflow: &Workflow,
        inner: Option<&InnerStart>,
    ) -> Result<(PinnedDefinitions, NewestInner), Cause> {
        let resolver = &*self.env().resolver;
        match inner {
            Some(inner) => {
                let versions = inner.caller().inner.clone();
                let pinned = PinnedDefinitions::from_inner(workflow, &versions, resolver).await?;
                // The caller has stored them.
                Ok((pinned, NewestInner { versions, definitions: Vec::new() }))
            }
            None => {
                let pinned = PinnedDefinitions::from_newest(workflow, resolver)?;
                Ok((pinned, NewestInner::below(workflow.plan(), &resolver.catalogue())))
            }
        }
    }

    /// Stores a team that a request contains: under the hash of its definition, by which its id finds it, and under its
    /// own hash, to which a run is pinned.
    ///
    /// # Errors
    /// An error of the store.
    pub(crate) async fn store_inline_team(&self, inline: &InlineTeam, team: &Team) -> Result<(), Cause> {
        let definitions = [(inline.hash(), Arc::from(inline.to_json())), (team.hash(), team.body().clone())];
        self.stored_definitions().ensure_stored(definitions, &*self.env().stores.definitions).await
    }

    /// The full ids of the members of the run's team.
    async fn members(&self, grant: &Grant, inner: Option<&InnerStart>) -> Result<Vec<AgentId>, Cause> {
        let RunEnv { resolver, .. } = &**self.env();
        let catalogue = resolver.catalogue();
        let team = match (grant.caller(), inner, grant.team()) {
            // The version of a team that was formed just now need not be stored.
            (Caller::Team { team, version, .. }, ..) => match resolver.team(team, Some(version)).await {
                Ok(team) => team,
                Err(_) => catalogue.require_team(team)?.clone(),
            },
            (_, Some(inner), Some(_)) => return Ok(inner.caller().members.clone()),
            (_, None, Some(team)) => resolver.team(team, None).await?,
            (_, _, None) => return Ok(Vec::new()),
        };
        let agents = team.spec().agents.iter().filter_map(|agent_id| catalogue.agent(agent_id));
        Ok(agents.map(|agent| agent.id().clone()).collect())
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
        let info = stores.artifacts.info(&grant.principal().id.tenant, &hash).await.map_err(|error| error.cause())?;
        if info.is_some_and(|info| info.personal_data) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The context of the run that a team was formed for. A run that this one calls in the same team has no context of its
/// own.
fn own_context(grant: &Grant, run: &RunId, start: &StartRun) -> Result<Option<ContextData>, Cause> {
    let is_own = grant.team_run() == Some(run);
    is_own.then(|| initial_context(&start.context)).transpose()
}

/// The limits of a run: the tightest of its request, its workflow and its team, which the grant has.
fn spending_limits(run: &RunId, grant: &Grant, workflow: &Workflow, requested: Option<MicroUsd>) -> SpendingLimits {
    let plan = workflow.plan();
    let written = SpendingLimits { cost_max: plan.cost_max, tokens_max: plan.tokens_max };
    let own = SpendingLimits { cost_max: requested, tokens_max: None }.tightest(written);
    let scope = SpendingScope::Run(run.clone());
    let of_team = grant.spending().iter().find(|bound| bound.scope == scope).map(|bound| bound.limits);
    own.tightest(of_team.unwrap_or_default())
}

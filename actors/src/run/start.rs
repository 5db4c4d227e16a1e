//! Starts a run: prepares its record, writes it with the first journal entries, and activates the run. A run that a
//! step calls is started in the tree of its caller, or resumed there if its caller was.

use std::sync::Arc;

use greenroom_definitions::Workflow;
use greenroom_protocol::journal::RunStarted;
use greenroom_protocol::request::StartRun;
use greenroom_protocol::{AgentId, Cause, Deadline, ErrorCode, Reply, RunId, SpendingLimits, Timestamp};
use greenroom_registry::audit::PendingAuditEntry;
use greenroom_registry::journal::Seq;
use greenroom_registry::runs::{Created, NewRun};
use greenroom_rego::{Caller, Grant, Permitted, SpendingScope};

use super::actor::decide_with_outputs;
use super::artifacts::RunArtifacts;
use super::dedup_key::dedup_key;
use super::effects::{EffectContext, ItemLists};
use super::handle::{RunsHandle, into_reply};
use super::inner_start::{InnerStart, parent_run};
use super::machine::{Event, RUN_RETRIES_MAX, State};
use super::message::{FirstAction, RunArgs};
use super::personal_data::has_personal_data;
use super::pinned::{NewestInner, PinnedDefinitions};
use super::values::store_result;
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
        let (detach, wait_deadline) = (start.detach, grant.deadline());
        let run = Box::pin(self.start_or_resume(grant, start, audit_entry, ticket)).await?;
        if detach { self.wait_accepted(&run, wait_deadline).await } else { self.wait_ended(&run, wait_deadline).await }
    }

    /// Creates and activates the run, or finds the one that the same request has started. Returns its id.
    async fn start_or_resume(
        &self,
        grant: Grant,
        start: StartRun,
        audit_entry: &mut PendingAuditEntry,
        ticket: Option<RunTicket>,
    ) -> Result<RunId, Cause> {
        let run = grant.run().cloned().ok_or_else(|| Cause::new(ErrorCode::Internal, "the permit starts no run"))?;
        let inner = self.begin_inner_start(&grant, &run)?;
        let env = self.env();
        let now = env.clock.now();
        let (body, key) = dedup_key(&grant, &start);
        if let Some(start) = &inner
            && start.tree().is_claimed()
            && self.resume_inner(&run, &body, start, &grant).await?
        {
            return Ok(complete_start(run, inner));
        }
        let PreparedRun { started, pinned, personal_data } =
            self.prepare(&run, &grant, start, inner.as_ref(), now).await?;
        let new = NewRun {
            started: Arc::clone(&started),
            tenant: grant.principal().tenant.clone(),
            request_hash: body,
            personal_data,
            tree_fence: inner.as_ref().map(|inner| inner.tree().fence()),
            pod: env.pod.clone(),
            lease: env.lease,
        };
        let decision = decide_with_outputs(&pinned.plan, &State::default(), &Event::Started(started.clone()), now);
        let created = env.stores.runs.create_with_entries(&new, key.as_ref(), decision.entries(), now).await;
        match created.map_err(|error| error.cause())? {
            (Created::New(fence), Some(receipt)) => {
                let tree = match &inner {
                    Some(inner) => inner.tree().clone(),
                    None => self.own_started_tree(run.clone(), fence),
                };
                if let Err(error) = audit_entry.wait_durable().await {
                    self.cancel_start(&run, fence, receipt.through(), decision.next(), error.cause()).await;
                    return Err(error.cause());
                }
                let limits = started.limits;
                let grant = grant
                    .with_run_deadline(started.deadline)
                    .with_spending_limits(SpendingScope::Run(run.clone()), limits);
                let ctx = EffectContext {
                    env: env.clone(),
                    tree,
                    pinned: Arc::new(pinned),
                    grant,
                    started,
                    item_lists: ItemLists::default(),
                };
                let (seq, state, first) = (Seq(0), State::default(), FirstAction::Start(Box::new(decision), receipt));
                let caller = inner.as_ref().map(|inner| inner.caller().run.clone());
                self.activate(RunArgs { seq, state, first, caller, ctx, ticket }).await?;
                Ok(complete_start(run, inner))
            }
            (Created::New(_), None) => {
                Err(Cause::new(ErrorCode::Internal, "the run was created without journal entries"))
            }
            (Created::Existing(first), _) => Ok(complete_start(first, inner)),
            (Created::Conflict, _) => {
                let message = "the idempotency key was used before with another request";
                Err(Cause::new(ErrorCode::IdempotencyConflict, message))
            }
        }
    }

    /// Pins the definitions of a run, validates its inputs and stores large values as artifacts.
    async fn prepare(
        &self,
        run: &RunId,
        grant: &Grant,
        start: StartRun,
        inner: Option<&InnerStart>,
        now: Timestamp,
    ) -> Result<PreparedRun, Cause> {
        let RunEnv { resolver, stores, budgets, .. } = &**self.env();
        let workflow = resolver.workflow(&start.workflow, grant.version()).await?;
        let (pinned, below) = self.pin(&workflow, inner).await?;
        let inputs = workflow.validate_inputs(start.inputs)?;
        let definitions = pinned.definitions(&workflow).into_iter().chain(below.definitions);
        self.stored_definitions().ensure_stored(definitions, &*stores.definitions).await?;
        let personal_data = has_personal_data(&workflow, grant.team(), &resolver.catalogue());
        let artifacts = RunArtifacts { stores, run, tenant: &grant.principal().tenant, personal_data };
        let (inputs, _) = store_result(inputs, "inputs", artifacts).await?;
        let (context, _) = store_result(start.context, "context", artifacts).await?;
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
            parent: parent_run(grant),
            retry_budget: budgets.remaining(&root).unwrap_or(RUN_RETRIES_MAX),
            root,
            owner: grant.principal().user.clone(),
            inputs,
            context,
            limits: spending_limits(run, grant, &workflow, start.options.cost_max),
            options: start.options,
            deadline: if start.detach { run_deadline } else { run_deadline.earlier(grant.deadline()) },
            steps: u32::try_from(workflow.plan().steps.len()).unwrap_or(u32::MAX),
            members: self.members(grant, inner).await?,
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
            (_, None, Some(team)) => catalogue.require_team(team)?.clone(),
            (_, _, None) => return Ok(Vec::new()),
        };
        let agents = team.spec().agents.iter().filter_map(|agent_id| catalogue.agent(agent_id));
        Ok(agents.map(|agent| agent.id().clone()).collect())
    }
}

fn complete_start(run: RunId, inner: Option<InnerStart>) -> RunId {
    if let Some(inner) = inner {
        inner.complete();
    }
    run
}

/// The limits of a run: the tightest of its request, its workflow and its team, which the grant has.
fn spending_limits(
    run: &RunId,
    grant: &Grant,
    workflow: &Workflow,
    requested: Option<greenroom_protocol::MicroUsd>,
) -> SpendingLimits {
    let plan = workflow.plan();
    let written = SpendingLimits { cost_max: plan.cost_max, tokens_max: plan.tokens_max };
    let own = SpendingLimits { cost_max: requested, tokens_max: None }.tightest(written);
    let scope = SpendingScope::Run(run.clone());
    let of_team = grant.spending().iter().find(|bound| bound.scope == scope).map(|bound| bound.limits);
    own.tightest(of_team.unwrap_or_default())
}

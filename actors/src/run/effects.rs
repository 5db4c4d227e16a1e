//! The effects of a run, as futures. Each ends in one event to its run; the run's actor links them, so they stop with
//! it. Every call enters the pipeline as a request issued by the run's grant.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use greenroom_definitions::Agent;
use greenroom_definitions::Scope;
use greenroom_definitions::binding::{
    self, approval_prompt, bind_agent, bind_compensation, bind_workflow, run_outputs, step_outputs,
};
use greenroom_definitions::plan::PlanStep;
use greenroom_protocol::journal::{RunStarted, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::{CallOptions, ContextChange, ContextRead, ContextWrite, Invoke, StartRun, StartTeam};
use greenroom_protocol::{
    CallKey, Cause, ContextKey, Deadline, ErrorCode, Json, Reply, Request, Status, StepId, Values,
};
use greenroom_rego::{Grant, NameSet};

use super::RunEnv;
use super::artifacts::RunArtifacts;
use super::machine::{CallResult, CallTarget, Event, StepEvaluation};
use super::pinned::PinnedDefinitions;
use super::tree::RunTree;
use super::values::{EffectInputs, LoadedValues, offload_if_large, offload_large, store_result};
use crate::pipeline::CommitWaiter;

/// Time after the timeout of a step at which the run that it calls ends by itself.
const INNER_RUN_GRACE: Duration = Duration::from_secs(1);

/// Bounds concurrent evaluations, because each occupies a thread.
static EVALUATIONS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(8);

/// Dependencies that the effects of one run share.
#[derive(Clone)]
pub(super) struct EffectContext {
    pub(super) env: Arc<RunEnv>,
    /// The tree that the run belongs to.
    pub(super) tree: Arc<RunTree>,
    pub(super) pinned: Arc<PinnedDefinitions>,
    pub(super) grant: Grant,
    pub(super) started: Arc<RunStarted>,
    pub(super) item_lists: ItemLists,
}

/// The lists of `for_each` steps, evaluated once for all of their items.
#[derive(Clone, Default)]
pub(super) struct ItemLists(Arc<Mutex<BTreeMap<StepId, Arc<Vec<Json>>>>>);

impl ItemLists {
    /// The item of a call and its index; `None` if the step has no list.
    fn item(&self, step: &PlanStep, index: Option<u32>, scope: &Scope<'_>) -> Result<Option<(Json, u32)>, Cause> {
        let Some(index) = index else { return Ok(None) };
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&step.id).cloned();
        let list = match cached {
            Some(list) => list,
            None => {
                let list = Arc::new(binding::items(step, scope)?.unwrap_or_default());
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(step.id.clone(), list.clone());
                list
            }
        };
        Ok(list.get(index as usize).map(|item| (item.clone(), index)))
    }
}

/// One call, as the effect requests it.
pub(super) struct Call {
    pub(super) key: StepKey,
    pub(super) attempt: u32,
    pub(super) target: CallTarget,
    pub(super) call: CallKey,
}

/// Evaluates the condition, the items and the approval prompt of a step.
pub(super) async fn evaluate_step(ctx: EffectContext, step: StepId, inputs: EffectInputs) -> Event {
    let evaluation = try_evaluate(&ctx, &step, inputs).await;
    Event::StepEvaluated { step, evaluation }
}

async fn try_evaluate(ctx: &EffectContext, step: &StepId, inputs: EffectInputs) -> Result<StepEvaluation, Cause> {
    let mut loaded = inputs.load(ctx.artifacts()).await?;
    ctx.refresh_context(&mut loaded, &ctx.child_key(step, "evaluate"), 1).await?;
    let shutting_down_error =
        |_| Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down and accepts no new requests");
    let ticket = EVALUATIONS.acquire().await.map_err(shutting_down_error)?;
    let (pinned, step) = (ctx.pinned.clone(), step.clone());
    let evaluation = tokio::task::spawn_blocking(move || evaluate_inline(pinned.step(&step)?, &loaded)).await;
    drop(ticket);
    evaluation
        .map_err(|error| Cause::new(ErrorCode::ExpressionFailed, format!("the condition was not evaluated: {error}")))?
}

fn evaluate_inline(step: &PlanStep, loaded: &LoadedValues) -> Result<StepEvaluation, Cause> {
    let scope = loaded.scope();
    let is_per_item = step.when.as_ref().is_some_and(|when| when.uses_item());
    if let Some(when) = step.when.as_ref().filter(|_| !is_per_item)
        && !when.evaluate(&scope)?
    {
        return Ok(StepEvaluation::default());
    }
    let items = binding::items(step, &scope)?;
    let mut skipped_items = Vec::new();
    if let (Some(when), Some(items)) = (step.when.as_ref().filter(|_| is_per_item), &items) {
        for (index, item) in (0_u32..).zip(items) {
            if !when.evaluate(&scope.with_item(item, index))? {
                skipped_items.push(index);
            }
        }
    }
    let count = items.map(|items| u32::try_from(items.len()).unwrap_or(u32::MAX));
    Ok(StepEvaluation { runs: true, item_count: count, skipped_items, approval_prompt: approval_prompt(step, &scope) })
}

/// Calls the target of a step, once the journal entries before it are durable.
pub(super) async fn call(ctx: EffectContext, call: Call, inputs: EffectInputs, commit: CommitWaiter) -> Event {
    let (key, attempt) = (call.key.clone(), call.attempt);
    let mut usage = Usage::default();
    let result = match try_call(&ctx, &call, inputs, commit, &mut usage).await {
        Ok(values) => match store_result(values, key.step.as_str(), ctx.artifacts()).await {
            Ok((result, hash)) => CallResult::Completed { result, hash, usage },
            Err(cause) => CallResult::Failed { cause, usage },
        },
        Err(cause) => CallResult::Failed { cause, usage },
    };
    Event::CallCompleted { key, attempt, result }
}

async fn try_call(
    ctx: &EffectContext,
    call: &Call,
    inputs: EffectInputs,
    commit: CommitWaiter,
    usage: &mut Usage,
) -> Result<Values, Cause> {
    if ctx.started.team_run.is_some() {
        // The team's context is read first, which is a call of its own.
        commit.clone().wait().await?;
    }
    let mut loaded = inputs.load(ctx.artifacts()).await?;
    *usage = ctx.refresh_context(&mut loaded, &call.call, call.attempt).await?;
    let step = ctx.pinned.step(&call.key.step)?;
    let item = ctx.item_lists.item(step, call.key.index, &loaded.scope())?;
    let (request, agent) = ctx.build_request(call, step, &item_scope(&loaded, item.as_ref())).await?;
    let reply = ctx.issue(call, step.timeout, request, commit).await;
    usage.add(&reply.usage());
    let outputs = outputs_of(reply)?;
    let Some(agent) = agent else { return Ok(outputs) };
    let outputs = step_outputs(step, &agent, outputs);
    ctx.publish_outputs(call, &agent, &outputs, usage).await?;
    Ok(outputs)
}

/// Calls the agent that compensates a step.
pub(super) async fn compensate(ctx: EffectContext, call: Call, after: Duration, inputs: EffectInputs) -> Event {
    tokio::time::sleep(after).await;
    let (key, attempt) = (call.key.clone(), call.attempt);
    let mut usage = Usage::default();
    let cause = try_compensate(&ctx, &call, inputs, &mut usage).await.err();
    Event::Compensated { key, attempt, cause, usage }
}

async fn try_compensate(
    ctx: &EffectContext,
    call: &Call,
    mut inputs: EffectInputs,
    usage: &mut Usage,
) -> Result<(), Cause> {
    inputs.retain_item(&call.key);
    let loaded = inputs.load(ctx.artifacts()).await?;
    let step = ctx.pinned.step(&call.key.step)?;
    let item = ctx.item_lists.item(step, call.key.index, &loaded.scope())?;
    let scope = item_scope(&loaded, item.as_ref());
    let CallTarget::Agent { agent, version } = &call.target else {
        return Err(Cause::new(ErrorCode::Internal, "only an agent compensates a step"));
    };
    let bound = bind_compensation(step, ctx.pinned.agent(agent)?, &scope)?;
    let request = Request::Invoke(Invoke {
        agent: agent.clone(),
        inputs: bound,
        context: loaded.context.clone(),
        version: Some(*version),
        key: Some(call.call.clone()),
        options: ctx.call_options(),
    });
    let reply = ctx.issue(call, step.timeout, request, CommitWaiter::ready()).await;
    usage.add(&reply.usage());
    outputs_of(reply).map(drop)
}

/// Collects the outputs of the run.
pub(super) async fn collect_outputs(ctx: EffectContext, inputs: EffectInputs) -> Event {
    Event::OutputsCollected { outputs: try_collect(&ctx, inputs).await }
}

async fn try_collect(ctx: &EffectContext, inputs: EffectInputs) -> Result<Values, Cause> {
    let artifacts = ctx.artifacts();
    let loaded = inputs.load(artifacts).await?;
    offload_large(run_outputs(&ctx.pinned.plan, &loaded.scope()), artifacts).await
}

fn item_scope<'l>(loaded: &'l LoadedValues, item: Option<&'l (Json, u32)>) -> Scope<'l> {
    match item {
        Some((item, index)) => loaded.scope().with_item(item, *index),
        None => loaded.scope(),
    }
}

/// The outputs of a reply, or its cause.
fn outputs_of(reply: Reply) -> Result<Values, Cause> {
    match (reply.status, reply.error) {
        (Status::Success, _) => Ok(reply.outputs),
        (_, Some(cause)) => Err(cause),
        (status, None) => {
            Err(Cause::new(ErrorCode::Internal, format!("the call ended as {} without a cause", status.as_str())))
        }
    }
}

impl EffectContext {
    /// The artifacts of the run.
    fn artifacts(&self) -> RunArtifacts<'_> {
        RunArtifacts {
            stores: &self.env.stores,
            run: &self.started.run,
            tenant: &self.grant.principal().tenant,
            personal_data: self.pinned.has_personal_data(),
        }
    }

    /// Builds the request of a call; for an agent also returns the agent.
    async fn build_request(
        &self,
        call: &Call,
        step: &PlanStep,
        scope: &Scope<'_>,
    ) -> Result<(Request, Option<Arc<Agent>>), Cause> {
        let key = Some(call.call.clone());
        let context = scope.context.clone();
        Ok(match &call.target {
            CallTarget::Agent { agent: id, version } => {
                let agent = self.pinned.agent(id)?;
                let inputs = bind_agent(step, agent, scope)?;
                let (agent_id, version, options) = (id.clone(), Some(*version), self.call_options());
                let invoke = Invoke { agent: agent_id, inputs, context, version, key, options };
                (Request::Invoke(invoke), Some(agent.clone()))
            }
            CallTarget::Workflow { workflow } => {
                let version = self.started.inner.workflows.get(workflow).copied();
                let pinned = self.env.resolver.workflow(workflow, version.as_ref()).await?;
                let inputs = bind_workflow(step, pinned.plan(), scope)?;
                let (workflow, options) = (workflow.clone(), self.call_options());
                let start = StartRun { workflow, inputs, context, version, detach: false, key, options };
                (Request::StartRun(start), None)
            }
            CallTarget::Team { team, workflow } => {
                let inner = &self.started.inner;
                let workflow_version = inner.workflows.get(workflow).copied();
                let pinned = self.env.resolver.workflow(workflow, workflow_version.as_ref()).await?;
                let inputs = bind_workflow(step, pinned.plan(), scope)?;
                let (version, detach, options) = (inner.teams.get(team).copied(), false, self.call_options());
                let (team, workflow) = (team.clone(), workflow.clone());
                let start =
                    StartTeam { team, workflow, inputs, context, version, workflow_version, detach, key, options };
                (Request::StartTeam(start), None)
            }
        })
    }

    /// Issues a nested request and awaits its reply, bounded by the timeout of the step. A run that the step calls
    /// ends by itself a moment later, should this one not end it.
    async fn issue(&self, call: &Call, time_max: Option<Duration>, request: Request, commit: CommitWaiter) -> Reply {
        let grant = match (time_max, &call.target) {
            (Some(time_max), CallTarget::Workflow { .. } | CallTarget::Team { .. }) => {
                let latest = Deadline::after(self.env.clock.now(), time_max.saturating_add(INNER_RUN_GRACE));
                self.grant.with_earlier_deadline(latest)
            }
            (_, CallTarget::Agent { .. }) | (None, _) => self.grant.clone(),
        };
        let request = grant.issue_request(call.call.request_id(call.attempt), request);
        let id = request.id().clone();
        let reply = self.env.pipeline.handle_after(request, commit);
        let Some(time_max) = time_max else { return reply.await };
        match tokio::time::timeout(time_max, reply).await {
            Ok(reply) => reply,
            Err(_elapsed) => {
                let message = format!("the step exceeded its timeout of {} s", time_max.as_secs());
                failed_reply(&id, Cause::new(ErrorCode::TimedOut, message))
            }
        }
    }

    /// The options of every call. The grant has the limits on spending, which bind the whole run together.
    fn call_options(&self) -> CallOptions {
        CallOptions { cost_max: None, ..self.started.options.clone() }
    }

    fn child_key(&self, step: &StepId, part: &str) -> CallKey {
        CallKey::for_step(&self.started.run, step, None).child(part)
    }

    /// Merges the team's shared context over the context with which the run started.
    async fn refresh_context(&self, loaded: &mut LoadedValues, call: &CallKey, attempt: u32) -> Result<Usage, Cause> {
        let Some(run) = self.started.team_run.clone() else { return Ok(Usage::default()) };
        let read = Request::ContextRead(ContextRead { run, keys: Vec::new() });
        let reply =
            self.env.pipeline.handle(self.grant.issue_request(call.child("context").request_id(attempt), read)).await;
        let usage = reply.usage();
        loaded.context.extend(outputs_of(reply)?);
        Ok(usage)
    }

    /// Writes the outputs that a member provides to its team: the output named like the key, or else the first
    /// output.
    async fn publish_outputs(
        &self,
        call: &Call,
        agent: &Agent,
        outputs: &Values,
        usage: &mut Usage,
    ) -> Result<(), Cause> {
        let Some(team_run) = self.started.team_run.as_ref().filter(|_| self.started.members.contains(agent.id()))
        else {
            return Ok(());
        };
        // The run writes what the agent provides, so the agent's policies bind the write.
        let policies: NameSet = agent.spec().policies.iter().collect();
        for (key, value) in team_outputs(agent, outputs) {
            let value = offload_if_large(key.as_str(), value, self.artifacts()).await?;
            let id = call.call.child(key.as_str()).request_id(call.attempt);
            let (run, change) = (team_run.clone(), ContextChange::Put(value));
            let write = Request::ContextWrite(ContextWrite { run, key, expect: None, change, ttl_ms: None });
            let reply = self.env.pipeline.handle(self.grant.issue_request_for(id, write, &policies)).await;
            usage.add(&reply.usage());
            outputs_of(reply)?;
        }
        Ok(())
    }
}

/// The values that an agent provides to its team, by key.
fn team_outputs(agent: &Agent, outputs: &Values) -> BTreeMap<ContextKey, Json> {
    let first = agent.spec().outputs.first().and_then(|field| outputs.get(&field.name));
    let of_key = |key: &ContextKey| Some((key.clone(), outputs.get(key.as_str()).or(first)?.clone()));
    agent.spec().collaboration.provides_to_team.iter().filter_map(of_key).collect()
}

/// The reply to a request that failed.
pub(super) fn failed_reply(id: &greenroom_protocol::RequestId, cause: Cause) -> Reply {
    Reply {
        id: id.to_string(),
        status: Status::from_cause(&cause),
        outputs: Values::new(),
        error: Some(cause),
        metadata: greenroom_protocol::Metadata::default(),
    }
}

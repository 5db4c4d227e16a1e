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
use greenroom_protocol::{CallKey, Cause, ContextKey, ErrorCode, Json, Reply, Request, Status, StepId, Values};
use greenroom_registry::ledger::Settled;
use greenroom_rego::{Grant, NameSet};

use super::RunEnv;
use super::artifacts::RunArtifacts;
use super::machine::{CallResult, CallTarget, Event, StepEvaluation};
use super::pinned::PinnedDefinitions;
use super::values::{EffectInputs, LoadedValues, offload_if_large, offload_large, store_result};
use crate::pipeline::{CallScope, CommitWaiter, Settlements};

/// Bounds concurrent evaluations, because each occupies a thread.
static EVALUATIONS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(8);

/// Dependencies that the effects of one run share.
#[derive(Clone)]
pub(super) struct EffectContext {
    pub(super) env: Arc<RunEnv>,
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

/// The event in which an effect ends, and the settlements that become durable together with what it decides.
pub(super) struct EffectOutcome {
    pub(super) event: Event,
    pub(super) settled: Vec<Settled>,
}

impl From<Event> for EffectOutcome {
    fn from(event: Event) -> Self {
        Self { event, settled: Vec::new() }
    }
}

/// What a call has cost so far.
#[derive(Default)]
struct CallCosts {
    usage: Usage,
    settlements: Settlements,
}

/// Evaluates the condition, the items and the approval prompt of a step.
pub(super) async fn evaluate_step(ctx: EffectContext, step: StepId, inputs: EffectInputs) -> EffectOutcome {
    let evaluation = try_evaluate(&ctx, &step, inputs).await;
    Event::StepEvaluated { step, evaluation }.into()
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
pub(super) async fn call(ctx: EffectContext, call: Call, inputs: EffectInputs, commit: CommitWaiter) -> EffectOutcome {
    let (key, attempt) = (call.key.clone(), call.attempt);
    let mut costs = CallCosts::default();
    let called = match try_call(&ctx, &call, inputs, commit, &mut costs).await {
        Ok((values, provided)) => {
            let stored = store_result(values, key.step.as_str(), ctx.artifacts()).await;
            stored.map(|(result, hash)| (result, hash, provided))
        }
        Err(cause) => Err(cause),
    };
    let CallCosts { usage, settlements } = costs;
    let result = match called {
        Ok((result, hash, provided)) => CallResult::Completed { result, hash, usage, provided },
        Err(cause) => CallResult::Failed { cause, usage },
    };
    EffectOutcome { event: Event::CallCompleted { key, attempt, result }, settled: settlements.take() }
}

async fn try_call(
    ctx: &EffectContext,
    call: &Call,
    inputs: EffectInputs,
    commit: CommitWaiter,
    costs: &mut CallCosts,
) -> Result<(Values, ProvidedValues), Cause> {
    if ctx.started.team.is_some() {
        // The team's context is read first, which is a call of its own.
        commit.clone().wait().await?;
    }
    let mut loaded = inputs.load(ctx.artifacts()).await?;
    costs.usage = ctx.refresh_context(&mut loaded, &call.call, call.attempt).await?;
    let step = ctx.pinned.step(&call.key.step)?;
    let item = ctx.item_lists.item(step, call.key.index, &loaded.scope())?;
    let (request, agent) = ctx.build_request(call, step, &item_scope(&loaded, item.as_ref())).await?;
    let scope = CallScope { commit, settlements: costs.settlements.clone() };
    let reply = ctx.issue(call, step.timeout, request, scope).await;
    costs.usage.add(&reply.usage());
    let outputs = outputs_of(reply)?;
    let Some(agent) = agent else { return Ok((outputs, ProvidedValues::new())) };
    let outputs = step_outputs(step, &agent, outputs);
    let provided = ctx.permit_provided(call, &agent, &outputs, &mut costs.usage).await?;
    Ok((outputs, provided))
}

/// Calls the agent that compensates a step.
pub(super) async fn compensate(ctx: EffectContext, call: Call, after: Duration, inputs: EffectInputs) -> EffectOutcome {
    tokio::time::sleep(after).await;
    let (key, attempt) = (call.key.clone(), call.attempt);
    let mut costs = CallCosts::default();
    let cause = try_compensate(&ctx, &call, inputs, &mut costs).await.err();
    let CallCosts { usage, settlements } = costs;
    EffectOutcome { event: Event::Compensated { key, attempt, cause, usage }, settled: settlements.take() }
}

async fn try_compensate(
    ctx: &EffectContext,
    call: &Call,
    mut inputs: EffectInputs,
    costs: &mut CallCosts,
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
    let scope = CallScope { settlements: costs.settlements.clone(), ..CallScope::default() };
    let reply = ctx.issue(call, step.timeout, request, scope).await;
    costs.usage.add(&reply.usage());
    outputs_of(reply).map(drop)
}

/// Collects the outputs of the run.
pub(super) async fn collect_outputs(ctx: EffectContext, inputs: EffectInputs) -> EffectOutcome {
    Event::OutputsCollected { outputs: try_collect(&ctx, inputs).await }.into()
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
    pub(super) fn artifacts(&self) -> RunArtifacts<'_> {
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
                let newest = self.env.resolver.workflow(workflow, None).await?;
                let inputs = bind_workflow(step, newest.plan(), scope)?;
                let (workflow, options) = (workflow.clone(), self.call_options());
                let start = StartRun { workflow, inputs, context, version: None, detach: false, key, options };
                (Request::StartRun(start), None)
            }
            CallTarget::Team { team, workflow } => {
                let newest = self.env.resolver.workflow(workflow, None).await?;
                let inputs = bind_workflow(step, newest.plan(), scope)?;
                let (team, workflow, options) = (team.clone(), workflow.clone(), self.call_options());
                let start = StartTeam { team, workflow, inputs, context, detach: false, key, options };
                (Request::StartTeam(start), None)
            }
        })
    }

    /// Issues a nested request and awaits its reply, bounded by the timeout of the step.
    async fn issue(&self, call: &Call, time_max: Option<Duration>, request: Request, scope: CallScope) -> Reply {
        let request = self.grant.issue_request(call.call.request_id(call.attempt), request);
        let id = request.id().clone();
        let reply = self.env.pipeline.handle_within(request, scope);
        let Some(time_max) = time_max else { return reply.await };
        match tokio::time::timeout(time_max, reply).await {
            Ok(reply) => reply,
            Err(_elapsed) => {
                let message = format!("the step exceeded its timeout of {} s", time_max.as_secs());
                failed_reply(&id, Cause::new(ErrorCode::TimedOut, message))
            }
        }
    }

    /// The options of every call: the model, and the cost limit of the whole run.
    fn call_options(&self) -> CallOptions {
        let request = self.started.options.cost_max;
        let written = self.pinned.plan.cost_max;
        let cost_max = match (request, written) {
            (Some(one), Some(commit)) => Some(one.min(commit)),
            (one, commit) => one.or(commit),
        };
        CallOptions { cost_max, ..self.started.options.clone() }
    }

    fn child_key(&self, step: &StepId, part: &str) -> CallKey {
        CallKey::for_step(&self.started.run, step, None).child(part)
    }

    /// Merges the team's shared context over the context with which the run started.
    async fn refresh_context(&self, loaded: &mut LoadedValues, call: &CallKey, attempt: u32) -> Result<Usage, Cause> {
        if self.started.team.is_none() {
            return Ok(Usage::default());
        }
        let read = Request::ContextRead(ContextRead { run: self.started.run.clone(), keys: Vec::new() });
        let reply =
            self.env.pipeline.handle(self.grant.issue_request(call.child("context").request_id(attempt), read)).await;
        let usage = reply.usage();
        loaded.context.extend(outputs_of(reply)?);
        Ok(usage)
    }

    /// The outputs that a member provides to its team: the output named like the key, or else the first output. Each
    /// write is permitted and audited by itself; the run records the values together with the end of the step.
    async fn permit_provided(
        &self,
        call: &Call,
        agent: &Agent,
        outputs: &Values,
        usage: &mut Usage,
    ) -> Result<ProvidedValues, Cause> {
        let mut provided = ProvidedValues::new();
        if self.started.team.is_none() || !self.started.members.contains(agent.id()) {
            return Ok(provided);
        }
        // The run writes what the agent provides, so the agent's policies bind the write.
        let policies: NameSet = agent.spec().policies.iter().collect();
        for (key, value) in team_outputs(agent, outputs) {
            let value = offload_if_large(key.as_str(), value, self.artifacts()).await?;
            let id = call.call.child(key.as_str()).request_id(call.attempt);
            let (run, change) = (self.started.run.clone(), ContextChange::Put(value.clone()));
            let write = ContextWrite { run, key: key.clone(), expect: None, change, ttl_ms: None };
            let write = Request::ContextWrite(write);
            let reply = self.env.pipeline.handle(self.grant.issue_request_for(id, write, &policies)).await;
            usage.add(&reply.usage());
            outputs_of(reply)?;
            provided.insert(key, value);
        }
        Ok(provided)
    }
}

/// The values that an agent provides to its team, by key.
type ProvidedValues = BTreeMap<ContextKey, Json>;

fn team_outputs(agent: &Agent, outputs: &Values) -> ProvidedValues {
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

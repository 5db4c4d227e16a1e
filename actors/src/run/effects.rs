//! What a run asks for, as futures. Each one ends in one event to its run; the run's actor links them,
//! so they die with it. Every call goes in at the door, spoken by the run's grant.

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
use greenroom_rego::Grant;

use super::RunEnv;
use super::machine::{CallResult, CallTarget, Event, StepEvaluation};
use super::pinned::Pinned;
use super::values::{EffectInputs, LoadedValues, offload_large, shrink_value, store_result};
use crate::pipeline::CommitWaiter;

/// Conditions that are evaluated at one time, since each holds a thread while it is.
static EVALUATIONS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(8);

/// What the effects of one run have in common.
#[derive(Clone)]
pub(super) struct EffectContext {
    pub(super) env: Arc<RunEnv>,
    pub(super) pinned: Arc<Pinned>,
    pub(super) grant: Grant,
    pub(super) begun: Arc<RunStarted>,
    pub(super) lists: ItemLists,
}

/// The lists of `for_each` steps, worked out once for all of their items.
#[derive(Clone, Default)]
pub(super) struct ItemLists(Arc<Mutex<BTreeMap<StepId, Arc<Vec<Json>>>>>);

impl ItemLists {
    /// The item of a call, and its place; none where the step has no list.
    fn item(&self, step: &PlanStep, index: Option<u32>, scope: &Scope<'_>) -> Result<Option<(Json, u32)>, Cause> {
        let Some(index) = index else { return Ok(None) };
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&step.id).cloned();
        let list = match known {
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

/// One call, as the machine asked for it.
pub(super) struct Call {
    pub(super) key: StepKey,
    pub(super) attempt: u32,
    pub(super) target: CallTarget,
    pub(super) call: CallKey,
}

/// Works out a step's condition, items and question.
pub(super) async fn evaluate_step(ctx: EffectContext, step: StepId, material: EffectInputs) -> Event {
    let weight = try_evaluate(&ctx, &step, material).await;
    Event::StepEvaluated { step, weight }
}

async fn try_evaluate(ctx: &EffectContext, step: &StepId, material: EffectInputs) -> Result<StepEvaluation, Cause> {
    let mut loaded = material.load(&*ctx.env.stores.artifacts).await?;
    ctx.refresh_context(&mut loaded, &ctx.key(step, "weigh"), 1).await?;
    let closed = |_| Cause::new(ErrorCode::ShuttingDown, "the process is about to end");
    let ticket = EVALUATIONS.acquire().await.map_err(closed)?;
    let (pinned, step) = (ctx.pinned.clone(), step.clone());
    let weight = tokio::task::spawn_blocking(move || evaluate_inline(pinned.step(&step)?, &loaded)).await;
    drop(ticket);
    weight
        .map_err(|error| Cause::new(ErrorCode::ExpressionFailed, format!("the condition was not evaluated: {error}")))?
}

fn evaluate_inline(step: &PlanStep, loaded: &LoadedValues) -> Result<StepEvaluation, Cause> {
    let scope = loaded.scope();
    let of_items = step.when.as_ref().is_some_and(|when| when.uses_item());
    if let Some(when) = step.when.as_ref().filter(|_| !of_items)
        && !when.evaluate(&scope)?
    {
        return Ok(StepEvaluation::default());
    }
    let items = binding::items(step, &scope)?;
    let mut unneeded = Vec::new();
    if let (Some(when), Some(items)) = (step.when.as_ref().filter(|_| of_items), &items) {
        for (index, item) in (0_u32..).zip(items) {
            if !when.evaluate(&scope.with_item(item, index))? {
                unneeded.push(index);
            }
        }
    }
    let count = items.map(|items| u32::try_from(items.len()).unwrap_or(u32::MAX));
    Ok(StepEvaluation {
        runs: true,
        item_count: count,
        skipped_items: unneeded,
        approval_prompt: approval_prompt(step, &scope),
    })
}

/// Calls whoever does a step, once what the run wrote before is durable.
pub(super) async fn call(ctx: EffectContext, call: Call, material: EffectInputs, other: CommitWaiter) -> Event {
    let (key, attempt) = (call.key.clone(), call.attempt);
    let mut usage = Usage::default();
    let answer = match try_call(&ctx, &call, material, other, &mut usage).await {
        Ok(values) => match store_result(values, key.step.as_str(), &*ctx.env.stores.artifacts).await {
            Ok((result, hash)) => CallResult::Completed { result, hash, usage },
            Err(cause) => CallResult::Failed { cause, usage },
        },
        Err(cause) => CallResult::Failed { cause, usage },
    };
    Event::CallCompleted { key, attempt, answer }
}

async fn try_call(
    ctx: &EffectContext,
    call: &Call,
    material: EffectInputs,
    other: CommitWaiter,
    usage: &mut Usage,
) -> Result<Values, Cause> {
    if ctx.begun.team.is_some() {
        // The team's context is read first, and that is an act too.
        other.clone().wait().await?;
    }
    let mut loaded = material.load(&*ctx.env.stores.artifacts).await?;
    *usage = ctx.refresh_context(&mut loaded, &call.call, call.attempt).await?;
    let step = ctx.pinned.step(&call.key.step)?;
    let item = ctx.lists.item(step, call.key.index, &loaded.scope())?;
    let (request, agent) = ctx.request(call, step, &in_item(&loaded, item.as_ref())).await?;
    let reply = ctx.ask(call, step.timeout, request, other).await;
    usage.add(&reply.usage());
    let outputs = done(reply)?;
    let Some(agent) = agent else { return Ok(outputs) };
    let outputs = step_outputs(step, &agent, outputs);
    ctx.publish_outputs(call, &agent, &outputs, usage).await?;
    Ok(outputs)
}

/// Calls whoever undoes a step.
pub(super) async fn undo(ctx: EffectContext, call: Call, after: Duration, material: EffectInputs) -> Event {
    tokio::time::sleep(after).await;
    let (key, attempt) = (call.key.clone(), call.attempt);
    let mut usage = Usage::default();
    let cause = try_compensate(&ctx, &call, material, &mut usage).await.err();
    Event::Compensated { key, attempt, cause, usage }
}

async fn try_compensate(
    ctx: &EffectContext,
    call: &Call,
    mut material: EffectInputs,
    usage: &mut Usage,
) -> Result<(), Cause> {
    material.only_item(&call.key);
    let loaded = material.load(&*ctx.env.stores.artifacts).await?;
    let step = ctx.pinned.step(&call.key.step)?;
    let item = ctx.lists.item(step, call.key.index, &loaded.scope())?;
    let scope = in_item(&loaded, item.as_ref());
    let CallTarget::Agent { agent, version } = &call.target else {
        return Err(Cause::new(ErrorCode::Internal, "only an agent undoes a step"));
    };
    let bound = bind_compensation(step, ctx.pinned.agent(agent)?, &scope)?;
    let request = Request::Invoke(Invoke {
        agent: agent.clone(),
        inputs: bound,
        context: loaded.context.clone(),
        version: Some(*version),
        key: Some(call.call.clone()),
        options: ctx.options(),
    });
    let reply = ctx.ask(call, step.timeout, request, CommitWaiter::ready()).await;
    usage.add(&reply.usage());
    done(reply).map(drop)
}

/// Puts the run's outputs together.
pub(super) async fn collect_outputs(ctx: EffectContext, material: EffectInputs) -> Event {
    Event::OutputsCollected { outputs: try_collect(&ctx, material).await }
}

async fn try_collect(ctx: &EffectContext, material: EffectInputs) -> Result<Values, Cause> {
    let artifacts = &*ctx.env.stores.artifacts;
    let loaded = material.load(artifacts).await?;
    offload_large(run_outputs(&ctx.pinned.plan, &loaded.scope()), artifacts).await
}

fn in_item<'l>(loaded: &'l LoadedValues, item: Option<&'l (Json, u32)>) -> Scope<'l> {
    match item {
        Some((item, index)) => loaded.scope().with_item(item, *index),
        None => loaded.scope(),
    }
}

/// What a reply gives, or why it gives nothing.
fn done(reply: Reply) -> Result<Values, Cause> {
    match (reply.status, reply.error) {
        (Status::Success, _) => Ok(reply.outputs),
        (_, Some(cause)) => Err(cause),
        (status, None) => {
            Err(Cause::new(ErrorCode::Internal, format!("the call ended as {} without a cause", status.as_str())))
        }
    }
}

impl EffectContext {
    /// What the call is asked, and which agent's outputs it gives.
    async fn request(
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
                let (agent_id, version, options) = (id.clone(), Some(*version), self.options());
                let invoke = Invoke { agent: agent_id, inputs, context, version, key, options };
                (Request::Invoke(invoke), Some(agent.clone()))
            }
            CallTarget::Workflow { workflow } => {
                let newest = self.env.resolver.workflow(workflow, None).await?;
                let inputs = bind_workflow(step, newest.plan(), scope)?;
                let (workflow, options) = (workflow.clone(), self.options());
                let start = StartRun { workflow, inputs, context, version: None, detach: false, key, options };
                (Request::StartRun(start), None)
            }
            CallTarget::Team { team, workflow } => {
                let newest = self.env.resolver.workflow(workflow, None).await?;
                let inputs = bind_workflow(step, newest.plan(), scope)?;
                let (team, workflow, options) = (team.clone(), workflow.clone(), self.options());
                let start = StartTeam { team, workflow, inputs, context, detach: false, key, options };
                (Request::StartTeam(start), None)
            }
        })
    }

    /// Asks at the door and waits, no longer than the step allows.
    async fn ask(&self, call: &Call, time_max: Option<Duration>, request: Request, other: CommitWaiter) -> Reply {
        let asked = self.grant.issue_request(call.call.request_id(call.attempt), request);
        let id = asked.id().clone();
        let entered = self.env.pipeline.enter_behind(asked, other);
        let Some(time_max) = time_max else { return entered.await };
        match tokio::time::timeout(time_max, entered).await {
            Ok(reply) => reply,
            Err(_elapsed) => {
                let message = format!("the step has a time-out of {} s", time_max.as_secs());
                failed(&id, Cause::new(ErrorCode::TimedOut, message))
            }
        }
    }

    /// What differs from the definitions in every call: the model, and what the whole run may cost.
    fn options(&self) -> CallOptions {
        let asked = self.begun.options.cost_max;
        let written = self.pinned.plan.cost_max;
        let cost_max = match (asked, written) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        CallOptions { cost_max, ..self.begun.options.clone() }
    }

    fn key(&self, step: &StepId, part: &str) -> CallKey {
        CallKey::for_step(&self.begun.run, step, None).child(part)
    }

    /// Reads the team's shared context over the one that the run began with.
    async fn refresh_context(&self, loaded: &mut LoadedValues, call: &CallKey, attempt: u32) -> Result<Usage, Cause> {
        if self.begun.team.is_none() {
            return Ok(Usage::default());
        }
        let read = Request::ContextRead(ContextRead { run: self.begun.run.clone(), keys: Vec::new() });
        let reply =
            self.env.pipeline.enter(self.grant.issue_request(call.child("context").request_id(attempt), read)).await;
        let usage = reply.usage();
        loaded.context.extend(done(reply)?);
        Ok(usage)
    }

    /// Writes what a member provides to its team: the output of the key's name, or else its first one.
    async fn publish_outputs(
        &self,
        call: &Call,
        agent: &Agent,
        outputs: &Values,
        usage: &mut Usage,
    ) -> Result<(), Cause> {
        if self.begun.team.is_none() || !self.begun.members.contains(agent.id()) {
            return Ok(());
        }
        for (key, value) in provided(agent, outputs) {
            let value = shrink_value(key.as_str(), value, &*self.env.stores.artifacts).await?;
            let id = call.call.child(key.as_str()).request_id(call.attempt);
            let (run, change) = (self.begun.run.clone(), ContextChange::Put(value));
            let write = Request::ContextWrite(ContextWrite { run, key, expect: None, change, ttl_ms: None });
            let reply = self.env.pipeline.enter(self.grant.issue_request(id, write)).await;
            usage.add(&reply.usage());
            done(reply)?;
        }
        Ok(())
    }
}

/// What an agent's outputs give to its team, by key.
fn provided(agent: &Agent, outputs: &Values) -> BTreeMap<ContextKey, Json> {
    let first = agent.spec().outputs.first().and_then(|field| outputs.get(&field.name));
    let of_key = |key: &ContextKey| Some((key.clone(), outputs.get(key.as_str()).or(first)?.clone()));
    agent.spec().collaboration.provides_to_team.iter().filter_map(of_key).collect()
}

/// The answer to a request that was not done.
pub(super) fn failed(id: &greenroom_protocol::RequestId, cause: Cause) -> Reply {
    Reply {
        id: id.to_string(),
        status: Status::from_cause(&cause),
        outputs: Values::new(),
        error: Some(cause),
        metadata: greenroom_protocol::Metadata::default(),
    }
}

//! The effects of a run, as futures. Each ends in one event to its run; the run's actor links them, so they stop with
//! it. Every call enters the pipeline as a request issued by the run's grant.

mod awaited;
mod context_request;
mod deltas;
mod outage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use greenroom_definitions::binding::{self, bind_agent, bind_compensation, bind_workflow, run_outputs, step_outputs};
use greenroom_definitions::plan::PlanStep;
use greenroom_definitions::{Agent, Scope};
use greenroom_protocol::journal::{ItemList, RunStarted, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::{CallOptions, Invoke, StartRun, StartTeam};
use greenroom_protocol::{
    CallKey, Cause, ContextKey, Deadline, ErrorCode, Json, Reply, Request, RequestId, Status, StepId, Values,
    WrittenVersion,
};
use greenroom_registry::journal::Seq;
use greenroom_registry::ledger::Settled;
use greenroom_rego::Grant;
use tokio::sync::watch;
use tokio::time::Instant;

use super::RunEnv;
use super::artifacts::RunArtifacts;
use super::context::ContextChanges;
use super::loops::Loops;
use super::machine::{CallResult, CallTarget, Event, Suspension};
use super::offload::{offload_large, store_result};
use super::pinned::PinnedDefinitions;
use super::tree::RunTree;
use super::values::{EffectInputs, LoadedValues};
use crate::pipeline::{CallScope, CommitWaiter, Settlements};

pub(super) use awaited::{AwaitedValue, await_context};

/// Time after the timeout of a step at which the call of an agent ends by itself.
const CALL_GRACE: Duration = Duration::from_secs(1);

/// Dependencies that the effects of one run share.
#[derive(Clone)]
pub(super) struct EffectContext {
    pub(super) env: Arc<RunEnv>,
    /// The tree that the run belongs to.
    pub(super) tree: Arc<RunTree>,
    pub(super) pinned: Arc<PinnedDefinitions>,
    pub(super) grant: Grant,
    pub(super) started: Arc<RunStarted>,
    pub(super) loops: Loops,
}

/// One call, as the effect requests it.
pub(super) struct Call {
    pub(super) key: StepKey,
    pub(super) attempt: u32,
    pub(super) target: CallTarget,
    pub(super) call: CallKey,
    /// Whether the run that the step calls only waits for approvals: then the timeout of the step does not pass.
    pub(super) idle: Option<watch::Receiver<bool>>,
    /// The journal entry with which the attempt begins, if its deltas are published.
    pub(super) origin: Option<Seq>,
    /// What the agent continues with, if it waited for approvals of its tools.
    pub(super) suspension: Option<Suspension>,
    /// The changes of the context of the team, if one has the run.
    pub(super) team_context: Option<Arc<ContextChanges>>,
}

impl Call {
    /// The id of its request, the same for each repetition. A step that continues after an approval sends another request.
    fn request_id(&self) -> RequestId {
        match &self.suspension {
            None => self.call.request_id(self.attempt),
            Some(suspension) => {
                let continued = self.call.child(&format!("continued[{}]", suspension.number()));
                continued.request_id(self.attempt)
            }
        }
    }
}

/// The values that a call needs, captured from the state.
pub(super) struct CallInputs {
    /// The values that its inputs name; `None` if the items of its list share values that are loaded.
    pub(super) values: Option<EffectInputs>,
    /// The list whose item it is for.
    pub(super) list: Option<Arc<ItemList>>,
    /// The values that the list names, for a journal without the list.
    pub(super) list_values: Option<EffectInputs>,
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

/// The values that an agent provides to its team, by key.
type ProvidedValues = BTreeMap<ContextKey, Json>;

/// Calls the target of a step, once the journal entries before it are durable.
pub(super) async fn call(ctx: EffectContext, call: Call, inputs: CallInputs, commit: CommitWaiter) -> EffectOutcome {
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
    mut inputs: CallInputs,
    commit: CommitWaiter,
    costs: &mut CallCosts,
) -> Result<(Values, ProvidedValues), Cause> {
    if ctx.started.team_run.is_some() {
        // The team's context is read first, which is a call of its own.
        commit.clone().wait().await?;
    }
    let step = ctx.pinned.step(&call.key.step)?;
    let values = ctx.shared_values(call, inputs.values.take()).await?;
    let mut context = values.context.clone();
    costs.usage = ctx.refresh_context(&mut context, &call.call, call.attempt).await?;
    let item = ctx.item(call, inputs).await?;
    let scope = item_scope(Scope::new(&values.inputs, &context, &values.steps), item.as_ref());
    let call_scope = CallScope { commit, settlements: costs.settlements.clone(), sink: None };
    let (reply, agent) = ctx.request_published_call(call, step, &scope, call_scope).await?;
    costs.usage.add(&reply.usage());
    let outputs = outputs_of(reply)?;
    let Some(agent) = agent else { return Ok((outputs, ProvidedValues::new())) };
    // The outputs of the agent: its step may have the first one under the name of a key too.
    let provided = ctx.permit_provided(call, &agent, &outputs, &mut costs.usage).await?;
    Ok((step_outputs(step, &agent, outputs), provided))
}

/// Calls the agent that compensates a step.
pub(super) async fn compensate(ctx: EffectContext, call: Call, after: Duration, inputs: CallInputs) -> EffectOutcome {
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
    mut inputs: CallInputs,
    costs: &mut CallCosts,
) -> Result<(), Cause> {
    let values = inputs.values.take().ok_or_else(missing_values_error)?;
    let loaded = values.load(ctx.artifacts()).await?;
    let step = ctx.pinned.step(&call.key.step)?;
    let item = ctx.item(call, inputs).await?;
    let scope = item_scope(loaded.scope(), item.as_ref());
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
        approvals: None,
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

const fn item_scope<'l>(scope: Scope<'l>, item: Option<&'l (Json, u32)>) -> Scope<'l> {
    match item {
        Some((item, index)) => scope.with_item(item, *index),
        None => scope,
    }
}

fn missing_values_error() -> Cause {
    Cause::new(ErrorCode::Internal, "the values of a call were not captured")
}

/// Waits for a reply; `None` after the timeout, which does not pass while `idle` is true.
async fn wait_within<T>(
    time_max: Duration,
    idle: Option<watch::Receiver<bool>>,
    reply: impl Future<Output = T>,
) -> Option<T> {
    let mut reply = std::pin::pin!(reply);
    let mut time_left = time_max;
    let Some(mut idle) = idle else { return tokio::time::timeout(time_left, reply).await.ok() };
    loop {
        let (is_idle, since) = (*idle.borrow_and_update(), Instant::now());
        tokio::select! {
            reply = &mut reply => return Some(reply),
            () = tokio::time::sleep(time_left), if !is_idle => return None,
            changed = idle.changed() => match changed {
                Ok(()) if is_idle => {}
                Ok(()) => time_left = time_left.saturating_sub(since.elapsed()),
                // Its run does not report any more.
                Err(_closed) => return tokio::time::timeout(time_left, reply).await.ok(),
            },
        }
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
    /// The same context for requests with this deadline. The deadline of a run moves while it waits for approvals, and
    /// its compensation has one of its own.
    pub(super) fn with_deadline(&self, deadline: Deadline) -> Self {
        let grant = match self.grant.deadline() == deadline {
            true => self.grant.clone(),
            false => self.grant.with_run_deadline(deadline),
        };
        Self { grant, ..self.clone() }
    }

    /// The values that the inputs of a call name. Those of the items of a list are loaded once.
    async fn shared_values(&self, call: &Call, inputs: Option<EffectInputs>) -> Result<Arc<LoadedValues>, Cause> {
        if call.key.index.is_some() {
            return self.loops.open(&call.key.step).values(inputs, self.artifacts()).await;
        }
        Ok(Arc::new(inputs.ok_or_else(missing_values_error)?.load(self.artifacts()).await?))
    }

    /// The item of a call and its index; `None` if the step has no list.
    async fn item(&self, call: &Call, inputs: CallInputs) -> Result<Option<(Json, u32)>, Cause> {
        let Some(index) = call.key.index else { return Ok(None) };
        let of_step = self.loops.open(&call.key.step);
        let item = match inputs.list {
            Some(list) => of_step.item(&list, index, self.artifacts()).await?,
            None => {
                let evaluated = of_step.evaluated(async || self.evaluate_list(call, inputs.list_values).await).await?;
                evaluated.get(index as usize).cloned()
            }
        };
        Ok(item.map(|item| (item, index)))
    }

    /// Evaluates the list of a step again, for a journal without it.
    async fn evaluate_list(&self, call: &Call, inputs: Option<EffectInputs>) -> Result<Vec<Json>, Cause> {
        let mut loaded = inputs.ok_or_else(missing_values_error)?.load(self.artifacts()).await?;
        self.refresh_context(&mut loaded.context, &call.call, call.attempt).await?;
        let items = binding::items(self.pinned.step(&call.key.step)?, &loaded.scope())?;
        Ok(items.unwrap_or_default().into_owned())
    }

    /// The artifacts of the run.
    pub(super) fn artifacts(&self) -> RunArtifacts<'_> {
        RunArtifacts {
            stores: &self.env.stores,
            run: &self.started.run,
            tenant: &self.grant.principal().id.tenant,
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
                let suspension = call.suspension.as_ref();
                let approvals = suspension.map(Suspension::approvals).unwrap_or_default();
                let approvals = agent.needs_tool_approval().then_some(approvals);
                let invoke = Invoke { agent: agent_id, inputs, context, version, key, options, approvals };
                (Request::Invoke(invoke), Some(agent.clone()))
            }
            CallTarget::Workflow { workflow } => {
                let inputs = bind_workflow(step, &*self.called_plan(workflow).await?, scope)?;
                let version = self.started.inner.workflows.get(workflow).copied();
                let (workflow, options) = (workflow.clone(), self.call_options());
                let start = StartRun { workflow, inputs, context, version, detach: false, key, options };
                (Request::StartRun(start), None)
            }
            CallTarget::Team { team, workflow } => {
                let inputs = bind_workflow(step, &*self.called_plan(workflow).await?, scope)?;
                let inner = &self.started.inner;
                let workflow_version = inner.workflows.get(workflow).copied();
                let (version, detach, options) = (inner.teams.get(team).copied(), false, self.call_options());
                let (team, workflow) = (team.clone().into(), workflow.clone());
                let start =
                    StartTeam { team, workflow, inputs, context, version, workflow_version, detach, key, options };
                (Request::StartTeam(start), None)
            }
        })
    }

    /// Issues a nested request and awaits its reply, bounded by the timeout of the step.
    async fn issue(&self, call: &Call, time_max: Option<Duration>, request: Request, scope: CallScope) -> Reply {
        let grant = match time_max.filter(|_| matches!(call.target, CallTarget::Agent { .. })) {
            // The agent knows how long it may wait for a model. A called run does not: its time stops while it waits
            // for people, and it ends with the call.
            Some(time_max) => {
                let latest = Deadline::after(self.env.clock.now(), time_max.saturating_add(CALL_GRACE));
                self.grant.with_earlier_deadline(latest)
            }
            None => self.grant.clone(),
        };
        let request = grant.issue_request(call.request_id(), request);
        let id = request.id().clone();
        let reply = self.env.pipeline.handle_within(request, scope);
        let Some(time_max) = time_max else { return reply.await };
        match wait_within(time_max, call.idle.clone(), reply).await {
            Some(reply) => reply,
            None => {
                let message = format!("the step exceeded its timeout of {} s", time_max.as_secs());
                failed_reply(&id, Cause::new(ErrorCode::TimedOut, message))
            }
        }
    }

    /// The options of every call. The grant has the limits on spending, which bind the whole run together.
    fn call_options(&self) -> CallOptions {
        CallOptions { cost_max: None, ..self.started.options.clone() }
    }

    pub(super) fn child_key(&self, step: &StepId, part: &str) -> CallKey {
        CallKey::for_step(&self.started.run, step, None).child(part)
    }
}

/// The reply to a request that failed.
pub(super) fn failed_reply(id: &RequestId, cause: Cause) -> Reply {
    Reply {
        id: id.to_string(),
        status: Status::from_cause(&cause),
        outputs: Values::new(),
        error: Some(cause),
        metadata: greenroom_protocol::Metadata::default(),
        protocol_version: WrittenVersion::OWN,
    }
}

//! What a run asks for, as futures. Each one ends in one event to its run; the run's actor links them,
//! so they die with it. Every call goes in at the door, spoken by the run's grant.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use greenroom_definitions::Agent;
use greenroom_definitions::binding::{
    self, Scope, approval_prompt, bind_agent, bind_compensation, bind_workflow, run_outputs, step_outputs,
};
use greenroom_definitions::plan::PlanStep;
use greenroom_protocol::journal::{Begun, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::{ContextChange, ContextRead, ContextWrite, Invoke, Options, StartRun, StartTeam};
use greenroom_protocol::{CallKey, Cause, Code, ContextKey, Json, Reply, Request, Status, StepId, Values};
use greenroom_rego::Grant;

use super::Hands;
use super::machine::{Answer, Event, Target, Weight};
use super::pinned::Pinned;
use super::values::{Loaded, Material, keep, shrink, shrink_value};
use crate::pipeline::Behind;

/// Conditions that are evaluated at one time, since each holds a thread while it is.
static WEIGHING: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(8);

/// What the effects of one run have in common.
#[derive(Clone)]
pub(super) struct Reach {
    pub(super) hands: Arc<Hands>,
    pub(super) pinned: Arc<Pinned>,
    pub(super) grant: Grant,
    pub(super) begun: Arc<Begun>,
    pub(super) lists: Lists,
}

/// The lists of `for_each` steps, worked out once for all of their items.
#[derive(Clone, Default)]
pub(super) struct Lists(Arc<Mutex<BTreeMap<StepId, Arc<Vec<Json>>>>>);

impl Lists {
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
    pub(super) target: Target,
    pub(super) call: CallKey,
}

/// Works out a step's condition, items and question.
pub(super) async fn weigh(reach: Reach, step: StepId, material: Material) -> Event {
    let weight = weighed(&reach, &step, material).await;
    Event::Weighed { step, weight }
}

async fn weighed(reach: &Reach, step: &StepId, material: Material) -> Result<Weight, Cause> {
    let mut loaded = material.load(&*reach.hands.stores.artifacts).await?;
    reach.freshen(&mut loaded, &reach.key(step, "weigh"), 1).await?;
    let closed = |_| Cause::new(Code::ShuttingDown, "the process is about to end");
    let place = WEIGHING.acquire().await.map_err(closed)?;
    let (pinned, step) = (reach.pinned.clone(), step.clone());
    let weight = tokio::task::spawn_blocking(move || weigh_now(pinned.step(&step)?, &loaded)).await;
    drop(place);
    weight.map_err(|error| Cause::new(Code::ExpressionFailed, format!("the condition was not evaluated: {error}")))?
}

fn weigh_now(step: &PlanStep, loaded: &Loaded) -> Result<Weight, Cause> {
    let scope = loaded.scope();
    let of_items = step.when.as_ref().is_some_and(|when| when.uses_item());
    if let Some(when) = step.when.as_ref().filter(|_| !of_items)
        && !when.holds(&scope)?
    {
        return Ok(Weight::default());
    }
    let items = binding::items(step, &scope)?;
    let mut unneeded = Vec::new();
    if let (Some(when), Some(items)) = (step.when.as_ref().filter(|_| of_items), &items) {
        for (index, item) in (0_u32..).zip(items) {
            if !when.holds(&scope.with_item(item, index))? {
                unneeded.push(index);
            }
        }
    }
    let count = items.map(|items| u32::try_from(items.len()).unwrap_or(u32::MAX));
    Ok(Weight { needed: true, items: count, unneeded, prompt: approval_prompt(step, &scope) })
}

/// Calls whoever does a step, once what the run wrote before is durable.
pub(super) async fn call(reach: Reach, call: Call, material: Material, other: Behind) -> Event {
    let (key, attempt) = (call.key.clone(), call.attempt);
    let mut usage = Usage::default();
    let answer = match called(&reach, &call, material, other, &mut usage).await {
        Ok(values) => match keep(values, key.step.as_str(), &*reach.hands.stores.artifacts).await {
            Ok((result, hash)) => Answer::Done { result, hash, usage },
            Err(cause) => Answer::Failed { cause, usage },
        },
        Err(cause) => Answer::Failed { cause, usage },
    };
    Event::Answered { key, attempt, answer }
}

async fn called(
    reach: &Reach,
    call: &Call,
    material: Material,
    other: Behind,
    usage: &mut Usage,
) -> Result<Values, Cause> {
    if reach.begun.team.is_some() {
        // The team's context is read first, and that is an act too.
        other.clone().reached().await?;
    }
    let mut loaded = material.load(&*reach.hands.stores.artifacts).await?;
    *usage = reach.freshen(&mut loaded, &call.call, call.attempt).await?;
    let step = reach.pinned.step(&call.key.step)?;
    let item = reach.lists.item(step, call.key.index, &loaded.scope())?;
    let (request, agent) = reach.request(call, step, &in_item(&loaded, item.as_ref())).await?;
    let reply = reach.ask(call, step.timeout, request, other).await;
    usage.add(&reply.usage());
    let outputs = done(reply)?;
    let Some(agent) = agent else { return Ok(outputs) };
    let outputs = step_outputs(step, &agent, outputs);
    reach.provide(call, &agent, &outputs, usage).await?;
    Ok(outputs)
}

/// Calls whoever undoes a step.
pub(super) async fn undo(reach: Reach, call: Call, after: Duration, material: Material) -> Event {
    tokio::time::sleep(after).await;
    let (key, attempt) = (call.key.clone(), call.attempt);
    let mut usage = Usage::default();
    let cause = undone(&reach, &call, material, &mut usage).await.err();
    Event::Undone { key, attempt, cause, usage }
}

async fn undone(reach: &Reach, call: &Call, mut material: Material, usage: &mut Usage) -> Result<(), Cause> {
    material.only_item(&call.key);
    let loaded = material.load(&*reach.hands.stores.artifacts).await?;
    let step = reach.pinned.step(&call.key.step)?;
    let item = reach.lists.item(step, call.key.index, &loaded.scope())?;
    let scope = in_item(&loaded, item.as_ref());
    let Target::Agent { agent, version } = &call.target else {
        return Err(Cause::new(Code::Internal, "only an agent undoes a step"));
    };
    let bound = bind_compensation(step, reach.pinned.agent(agent)?, &scope)?;
    let request = Request::Invoke(Invoke {
        agent: agent.clone(),
        inputs: bound,
        context: loaded.context.clone(),
        version: Some(*version),
        key: Some(call.call.clone()),
        options: reach.options(),
    });
    let reply = reach.ask(call, step.timeout, request, Behind::nothing()).await;
    usage.add(&reply.usage());
    done(reply).map(drop)
}

/// Puts the run's outputs together.
pub(super) async fn gather(reach: Reach, material: Material) -> Event {
    Event::Gathered { outputs: gathered(&reach, material).await }
}

async fn gathered(reach: &Reach, material: Material) -> Result<Values, Cause> {
    let artifacts = &*reach.hands.stores.artifacts;
    let loaded = material.load(artifacts).await?;
    shrink(run_outputs(&reach.pinned.plan, &loaded.scope()), artifacts).await
}

fn in_item<'l>(loaded: &'l Loaded, item: Option<&'l (Json, u32)>) -> Scope<'l> {
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
            Err(Cause::new(Code::Internal, format!("the call ended as {} without a cause", status.as_str())))
        }
    }
}

impl Reach {
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
            Target::Agent { agent: id, version } => {
                let agent = self.pinned.agent(id)?;
                let inputs = bind_agent(step, agent, scope)?;
                let (agent_id, version, options) = (id.clone(), Some(*version), self.options());
                let invoke = Invoke { agent: agent_id, inputs, context, version, key, options };
                (Request::Invoke(invoke), Some(agent.clone()))
            }
            Target::Workflow { workflow } => {
                let newest = self.hands.library.workflow(workflow, None).await?;
                let inputs = bind_workflow(step, newest.plan(), scope)?;
                let (workflow, options) = (workflow.clone(), self.options());
                let start = StartRun { workflow, inputs, context, version: None, detach: false, key, options };
                (Request::StartRun(start), None)
            }
            Target::Team { team, workflow } => {
                let newest = self.hands.library.workflow(workflow, None).await?;
                let inputs = bind_workflow(step, newest.plan(), scope)?;
                let (team, workflow, options) = (team.clone(), workflow.clone(), self.options());
                let start = StartTeam { team, workflow, inputs, context, detach: false, key, options };
                (Request::StartTeam(start), None)
            }
        })
    }

    /// Asks at the door and waits, no longer than the step allows.
    async fn ask(&self, call: &Call, time_max: Option<Duration>, request: Request, other: Behind) -> Reply {
        let asked = self.grant.speak(call.call.request(call.attempt), request);
        let id = asked.id().clone();
        let entered = self.hands.door.enter_behind(asked, other);
        let Some(time_max) = time_max else { return entered.await };
        match tokio::time::timeout(time_max, entered).await {
            Ok(reply) => reply,
            Err(_elapsed) => {
                let message = format!("the step has a time-out of {} s", time_max.as_secs());
                failed(&id, Cause::new(Code::TimedOut, message))
            }
        }
    }

    /// What differs from the definitions in every call: the model, and what the whole run may cost.
    fn options(&self) -> Options {
        let asked = self.begun.options.cost_max;
        let written = self.pinned.plan.cost_max;
        let cost_max = match (asked, written) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Options { cost_max, ..self.begun.options.clone() }
    }

    fn key(&self, step: &StepId, part: &str) -> CallKey {
        CallKey::of_step(&self.begun.run, step, None).part(part)
    }

    /// Reads the team's shared context over the one that the run began with.
    async fn freshen(&self, loaded: &mut Loaded, call: &CallKey, attempt: u32) -> Result<Usage, Cause> {
        if self.begun.team.is_none() {
            return Ok(Usage::default());
        }
        let read = Request::ContextRead(ContextRead { run: self.begun.run.clone(), keys: Vec::new() });
        let reply = self.hands.door.enter(self.grant.speak(call.part("context").request(attempt), read)).await;
        let usage = reply.usage();
        loaded.context.extend(done(reply)?);
        Ok(usage)
    }

    /// Writes what a member provides to its team: the output of the key's name, or else its first one.
    async fn provide(&self, call: &Call, agent: &Agent, outputs: &Values, usage: &mut Usage) -> Result<(), Cause> {
        if self.begun.team.is_none() || !self.begun.members.contains(agent.id()) {
            return Ok(());
        }
        for (key, value) in provided(agent, outputs) {
            let value = shrink_value(key.as_str(), value, &*self.hands.stores.artifacts).await?;
            let id = call.call.part(key.as_str()).request(call.attempt);
            let (run, change) = (self.begun.run.clone(), ContextChange::Put(value));
            let write = Request::ContextWrite(ContextWrite { run, key, expect: None, change, ttl_ms: None });
            let reply = self.hands.door.enter(self.grant.speak(id, write)).await;
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
        status: Status::of(&cause),
        outputs: Values::new(),
        error: Some(cause),
        metadata: greenroom_protocol::Metadata::default(),
    }
}

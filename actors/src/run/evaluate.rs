//! The evaluation of a step before it starts: whether it is executed, for which items, and what its approver reads.

use greenroom_definitions::binding::{self, approval_prompt};
use greenroom_definitions::condition::{Condition, Verdict};
use greenroom_definitions::needs::absent_need;
use greenroom_definitions::plan::StepTarget;
use greenroom_definitions::{Field, PlanStep, Scope};
use greenroom_protocol::journal::SkipReason;
use greenroom_protocol::{Cause, ErrorCode, Json, StepId};

use super::effects::{EffectContext, EffectOutcome};
use super::loops::{EncodedItems, encode_items, store_items};
use super::machine::{Event, StepEvaluation};
use super::values::{EffectInputs, LoadedValues};
use crate::concurrency::spawn_blocking;

/// Bounds concurrent evaluations, because each occupies a thread.
static EVALUATIONS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(8);

/// Evaluates the condition, the items and the approval prompt of a step.
pub(super) async fn evaluate_step(ctx: EffectContext, step: StepId, inputs: EffectInputs) -> EffectOutcome {
    let evaluation = try_evaluate(&ctx, &step, inputs).await;
    Event::StepEvaluated { step, evaluation }.into()
}

async fn try_evaluate(ctx: &EffectContext, step: &StepId, inputs: EffectInputs) -> Result<StepEvaluation, Cause> {
    let mut loaded = inputs.load(ctx.artifacts()).await?;
    ctx.refresh_context(&mut loaded.context, &ctx.child_key(step, "evaluate"), 1).await?;
    let receiver = ctx.receiver(ctx.pinned.step(step)?, &loaded.scope()).await?;
    let shutting_down_error =
        |_| Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down and accepts no new requests");
    let ticket = EVALUATIONS.acquire().await.map_err(shutting_down_error)?;
    let (pinned, step_id) = (ctx.pinned.clone(), step.clone());
    let evaluation = spawn_blocking(move || {
        let _ticket = ticket;
        evaluate_inline(pinned.step(&step_id)?, &receiver, &loaded)
    });
    let evaluation = evaluation.await.map_err(|error| {
        Cause::new(ErrorCode::ExpressionFailed, format!("the condition was not evaluated: {error}"))
    })?;
    let (mut evaluation, items) = evaluation?;
    if let Some(items) = items {
        evaluation.item_list = Some(store_items(items, step, ctx.artifacts()).await?);
    }
    Ok(evaluation)
}

/// The evaluation of a step without its list, and the list.
fn evaluate_inline(
    step: &PlanStep,
    receiver: &[Field],
    loaded: &LoadedValues,
) -> Result<(StepEvaluation, Option<EncodedItems>), Cause> {
    let scope = loaded.scope();
    let skipped = |reason| StepEvaluation { skip: Some(reason), ..StepEvaluation::default() };
    if let Some(reason) = skip_reason(step, receiver, &scope)? {
        return Ok((skipped(reason), None));
    }
    let items = binding::items(step, &scope)?;
    let skipped_items = match (item_condition(step), &items) {
        (Some(when), Some(items)) => match skipped_items(when, items, &scope)? {
            Ok(skipped_items) => skipped_items,
            Err(reason) => return Ok((skipped(reason), None)),
        },
        (Some(_) | None, _) => Vec::new(),
    };
    let evaluation = StepEvaluation {
        item_count: items.as_ref().map(|items| u32::try_from(items.len()).unwrap_or(u32::MAX)),
        skipped_items,
        approval_prompt: approval_prompt(step, &scope),
        ..StepEvaluation::default()
    };
    Ok((evaluation, items.as_deref().map(encode_items).transpose()?))
}

/// Why a step is skipped, if it is.
fn skip_reason(step: &PlanStep, receiver: &[Field], scope: &Scope<'_>) -> Result<Option<SkipReason>, Cause> {
    let condition = step.when.as_ref().filter(|when| !when.uses_item());
    match condition.map_or(Ok(Verdict::True), |when| when.evaluate(scope))? {
        Verdict::True => Ok(absent_need(step, receiver, scope)),
        Verdict::False => Ok(Some(SkipReason::ConditionFalse)),
        Verdict::Absent(steps) => Ok(Some(SkipReason::ConditionAbsent { steps })),
    }
}

/// The condition of a step, if it is evaluated for each item.
fn item_condition(step: &PlanStep) -> Option<&Condition> {
    step.when.as_ref().filter(|when| when.uses_item())
}

/// The items whose condition is false, or why the whole step is skipped.
fn skipped_items(when: &Condition, items: &[Json], scope: &Scope<'_>) -> Result<Result<Vec<u32>, SkipReason>, Cause> {
    when.check_items(items.len())?;
    let bound = when.bind(scope)?;
    let mut skipped = Vec::new();
    for (index, item) in (0_u32..).zip(items) {
        match bound.evaluate(Some(item), Some(index))? {
            Verdict::True => {}
            Verdict::False => skipped.push(index),
            Verdict::Absent(steps) => return Ok(Err(SkipReason::ConditionAbsent { steps })),
        }
    }
    Ok(Ok(skipped))
}

impl EffectContext {
    /// The inputs of the agent or workflow that executes a step, if it matters what it needs: a step to which it
    /// refers was skipped.
    async fn receiver(&self, step: &PlanStep, scope: &Scope<'_>) -> Result<Vec<Field>, Cause> {
        if step.input_steps().iter().all(|id| scope.steps.contains_key(*id)) {
            return Ok(Vec::new());
        }
        match &step.target {
            StepTarget::Agent(id) => match self.started.agent(id) {
                Some((agent, _)) => Ok(self.pinned.agent(agent)?.spec().inputs.clone()),
                None => Ok(Vec::new()),
            },
            StepTarget::Workflow(workflow) | StepTarget::Team { workflow, .. } => {
                Ok(self.called_plan(workflow).await?.inputs.clone())
            }
            StepTarget::Approval | StepTarget::Wait { .. } => Ok(Vec::new()),
        }
    }
}

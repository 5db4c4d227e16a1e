//! A step that waits until the context of its run has a value. The context belongs to the run that the team was formed
//! for, which runs on the same pod: it notifies of each change once the change is in the view.

use std::sync::Arc;
use std::time::Duration;

use greenroom_definitions::named_values::Names;
use greenroom_definitions::plan::WAIT_OUTPUT;
use greenroom_protocol::journal::StepKey;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{Cause, ContextKey, Deadline, ErrorCode, Json, RunId, Values};

use super::{EffectContext, EffectOutcome, ProvidedValues};
use crate::run::context::{ContextChanges, lease_lost_error};
use crate::run::machine::{CallResult, Event};
use crate::run::offload::store_result;
use crate::run::values::fetch;

/// Timeout of one read of the value.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The value for which a step waits.
pub(in crate::run) struct AwaitedValue {
    /// Its key.
    pub(in crate::run) context: ContextKey,
    /// The changes of the context of the team; none if no team has the run.
    pub(in crate::run) changes: Option<Arc<ContextChanges>>,
}

/// Waits until the context has the value.
pub(in crate::run) async fn await_context(
    ctx: EffectContext,
    key: StepKey,
    attempt: u32,
    awaited: AwaitedValue,
) -> EffectOutcome {
    let mut usage = Usage::default();
    let stored = match value(&ctx, &key, attempt, &awaited, &mut usage).await {
        Ok(value) => {
            let values = Values::from([(WAIT_OUTPUT.to_owned(), value)]);
            store_result(values, key.step.as_str(), ctx.artifacts()).await
        }
        Err(cause) => Err(cause),
    };
    let result = match stored {
        Ok((result, hash)) => CallResult::Completed { result, hash, usage, provided: ProvidedValues::new() },
        Err(cause) => CallResult::Failed { cause, usage },
    };
    Event::CallCompleted { key, attempt, result }.into()
}

async fn value(
    ctx: &EffectContext,
    key: &StepKey,
    attempt: u32,
    awaited: &AwaitedValue,
    usage: &mut Usage,
) -> Result<Json, Cause> {
    let AwaitedValue { context, changes } = awaited;
    let Some(team_run) = &ctx.started.team_run else { return initial_value(ctx, context).await };
    let known = changes.as_ref().ok_or_else(lease_lost_error)?;
    let (mut versions, call) = (known.subscribe(), ctx.child_key(&key.step, "wait"));
    for number in 1_u32.. {
        // Each judged read is audited, so there is one only if the view has the value, or cannot be read.
        if may_have(ctx, team_run, context, known).await {
            let deadline = Deadline::after(ctx.env.clock.now(), READ_TIMEOUT);
            // The run has waited, and its own deadline moves when it continues.
            let reading = ctx.with_deadline(deadline);
            let call = call.child(&number.to_string());
            if let Some(value) = reading.read_context_key(context, &call, attempt, usage).await? {
                return Ok(value);
            }
        }
        versions.changed().await.map_err(|_closed| lease_lost_error())?;
    }
    Err(Cause::new(ErrorCode::Internal, "the context changed too often"))
}

/// True if the view has the value, or if that is not known.
async fn may_have(ctx: &EffectContext, team_run: &RunId, context: &ContextKey, known: &ContextChanges) -> bool {
    let keys = [context.clone()];
    let read = ctx.env.stores.context.read(team_run, &keys, known.last(), ctx.env.clock.now()).await;
    match read {
        Ok(snapshot) => snapshot.values.contains_key(context),
        Err(_) => true,
    }
}

/// The value with which the run started: nothing changes the context of a run without a team.
async fn initial_value(ctx: &EffectContext, context: &ContextKey) -> Result<Json, Cause> {
    let names = Names::Only([context.to_string()].into());
    let mut values = fetch(&ctx.started.context, &names, ctx.artifacts()).await?;
    values.remove(context.as_str()).ok_or_else(|| {
        let message = format!(
            "nothing sets the context key `{context}`: the run has no team, and it was started without the value"
        );
        Cause::new(ErrorCode::InvalidInput, message)
    })
}

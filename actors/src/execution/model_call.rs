//! One model request: reserves the cost, sends it, reads the answer and settles; retries it, or falls back
//! to the next model, as the failure policy and the definition say.

use std::time::Duration;

use greenroom_protocol::{CallKey, Cause, ErrorCode, Tokens};
use serde_json::json;
use tokio::time::Instant;

use super::accounting::{self, OpenReservation};
use super::model_registry::Candidate;
use super::runtime::ExecutionContext;
use super::settlement::{CallEnd, Charge};
use super::stream::{self, AnswerEvent, Collected, ModelAnswer, Written};
use crate::failure::{BackoffScope, FailureClass, FailurePolicy, MODEL_CALLS_MAX, RetryAction, cause_from_error};
use crate::model::{CallPhase, Message, ModelCall, ModelError, OutputSchema, Timeouts, ToolSpec};

/// Until the connection is established.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Until the first delta of an answer.
const FIRST_TOKEN_TIMEOUT: Duration = Duration::from_secs(120);
/// Between two deltas of an answer.
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest back-off of an overloaded provider that is waited for if another candidate is left.
const OVERLOAD_WAIT_MAX: Duration = Duration::from_secs(2);

/// A request to a model.
pub(super) struct ModelRequest<'r> {
    pub(super) system: &'r str,
    pub(super) messages: &'r [Message],
    pub(super) schema: Option<&'r OutputSchema>,
    pub(super) tools: &'r [ToolSpec],
    pub(super) key: &'r CallKey,
}

/// The candidates that may be called, and the current one. An execution never returns to a candidate that
/// it has given up.
pub(super) struct FallbackChain {
    candidates: std::iter::Peekable<std::vec::IntoIter<Candidate>>,
    current: Candidate,
    /// Calls of the current candidate for this turn: retries and repairs count, earlier turns do not.
    calls: u32,
}

impl FallbackChain {
    /// # Errors
    /// [`ErrorCode::UnknownModel`] if there is no candidate.
    pub(super) fn new(candidates: Vec<Candidate>) -> Result<Self, Cause> {
        let mut candidates = candidates.into_iter().peekable();
        let current =
            candidates.next().ok_or_else(|| Cause::new(ErrorCode::UnknownModel, "there is no model to call"))?;
        Ok(Self { candidates, current, calls: 0 })
    }

    /// Begins the next turn of the conversation.
    pub(super) const fn begin_turn(&mut self) {
        self.calls = 0;
    }

    fn has_next(&mut self) -> bool {
        self.candidates.peek().is_some()
    }

    /// Moves to the next candidate; false if there is none.
    fn advance(&mut self) -> bool {
        match self.candidates.next() {
            Some(next) => {
                self.current = next;
                self.calls = 0;
                true
            }
            None => false,
        }
    }

    /// Takes one retry for another call of the current model for the same turn, because its answer cannot be used.
    pub(super) fn try_take_repair(&self, ctx: &ExecutionContext<'_>) -> bool {
        self.calls < turn_calls_max(ctx).unwrap_or(MODEL_CALLS_MAX) && ctx.budget.try_take()
    }

    /// True if the current model may be called again after a failure of this policy. The last retries of the budget
    /// are left to the fallbacks.
    fn may_repeat(&mut self, ctx: &ExecutionContext<'_>, policy: &FailurePolicy) -> bool {
        let calls_max = match policy.action {
            RetryAction::SameModelThenFallback { attempts_max } => turn_calls_max(ctx).unwrap_or(attempts_max),
            RetryAction::Fallback if policy.code.is_retryable() && !self.has_next() => {
                turn_calls_max(ctx).unwrap_or_default()
            }
            RetryAction::Fallback | RetryAction::None | RetryAction::RepairOutput | RetryAction::DefinitionRetry => 0,
        };
        let fallbacks = u32::try_from(self.candidates.len()).unwrap_or(u32::MAX);
        self.calls < calls_max && ctx.budget.remaining() > fallbacks
    }
}

/// The calls of one model for one turn that the definition allows; `None` if it has no retry policy.
fn turn_calls_max(ctx: &ExecutionContext<'_>) -> Option<u32> {
    ctx.invocation.agent.spec().retry.as_ref().map(|retry| retry.max_attempts)
}

/// The failure of one attempt.
enum AttemptError {
    /// The model or its provider failed.
    Model(ModelError),
    /// The platform refused, for example by a budget.
    Internal(Cause),
}

/// Calls models until one answers or no attempt is left.
pub(super) async fn call_model(
    ctx: &ExecutionContext<'_>,
    chain: &mut FallbackChain,
    request: &ModelRequest<'_>,
) -> Result<ModelAnswer, Cause> {
    let backoff = &ctx.env.provider_backoff;
    loop {
        let provider = chain.current.name.provider.clone();
        if let Some(delay) = backoff.delay_for(&provider, request.key.as_str(), Instant::now()) {
            if delay.spread > OVERLOAD_WAIT_MAX && chain.advance() {
                continue;
            }
            Box::pin(wait_within(ctx, delay.spread, || overloaded(&chain.current, delay.remaining))).await?;
        }
        chain.calls = chain.calls.saturating_add(1);
        ctx.meter.record_model(chain.current.name.to_string());
        let sent_at = Instant::now();
        let error = match attempt(ctx, &chain.current, request).await {
            Ok(answer) => {
                backoff.record_success(&provider, sent_at);
                let Candidate { name, provider, .. } = &chain.current;
                ctx.meter.record_answer(name.to_string(), provider.disclaimer());
                return Ok(answer);
            }
            Err(AttemptError::Internal(cause)) => return Err(cause),
            Err(AttemptError::Model(error)) => error,
        };
        tracing::warn!(model.name = %chain.current.name, error = %error, attempt = chain.calls, "model call failed");
        if let ModelError::Overloaded { retry_after, .. } = &error {
            backoff.record_overload(&provider, *retry_after, Instant::now());
        }
        Box::pin(prepare_retry(ctx, chain, &error)).await?;
        stream::publish(ctx.invocation.sink.as_ref(), AnswerEvent::Restarted).await;
    }
}

/// Selects the candidate of the next attempt and waits for its back-off.
///
/// # Errors
/// The cause of the failure, if no attempt is left.
async fn prepare_retry(ctx: &ExecutionContext<'_>, chain: &mut FallbackChain, error: &ModelError) -> Result<(), Cause> {
    let policy = FailureClass::from_error(error).policy();
    let name = chain.current.name.to_string();
    let cause = || cause_from_error(&name, error);
    let has_fallback = match policy.action {
        RetryAction::SameModelThenFallback { .. } | RetryAction::Fallback => chain.has_next(),
        RetryAction::None | RetryAction::RepairOutput | RetryAction::DefinitionRetry => false,
    };
    let repeats = chain.may_repeat(ctx, &policy);
    if !(repeats || has_fallback) || !ctx.budget.try_take() {
        return Err(cause());
    }
    if !repeats {
        chain.advance();
        return Ok(());
    }
    match policy.scope {
        // `call_model` waits for the back-off of the provider before the next attempt.
        BackoffScope::Provider => Ok(()),
        BackoffScope::Execution | BackoffScope::None => {
            let retry = ctx.invocation.agent.spec().retry.as_ref();
            let delay = retry.and_then(|retry| retry.delay_after(chain.calls));
            wait_within(ctx, delay.unwrap_or_else(|| policy.backoff.delay_before(chain.calls)), cause).await
        }
    }
}

/// Waits, or fails at once if the execution would end during the wait.
async fn wait_within(ctx: &ExecutionContext<'_>, delay: Duration, cause: impl FnOnce() -> Cause) -> Result<(), Cause> {
    if delay >= ctx.time_left() {
        return Err(cause());
    }
    tokio::time::sleep(delay).await;
    Ok(())
}

fn overloaded(candidate: &Candidate, delay: Duration) -> Cause {
    let message = format!(
        "{} is overloaded for another {} s, which is longer than the time that is left to the call",
        candidate.name,
        delay.as_secs_f64().ceil()
    );
    Cause::new(ErrorCode::ModelOverloaded, message)
        .with_details(json!({ "model": candidate.name.to_string() }))
        .with_retry_after(delay)
}

/// Makes one attempt at one model.
async fn attempt(
    ctx: &ExecutionContext<'_>,
    candidate: &Candidate,
    request: &ModelRequest<'_>,
) -> Result<ModelAnswer, AttemptError> {
    let agent = &ctx.invocation.agent;
    let ceiling = candidate.output_tokens_max.and_then(|max| u32::try_from(max).ok()).unwrap_or(u32::MAX);
    let tokens_max = agent.tokens_max().min(ceiling);
    let upper_bound = match candidate.provider.disclaimer() {
        None => Tokens {
            input: accounting::request_tokens(request.system, request.messages, request.schema, request.tools),
            output: u64::from(tokens_max),
        },
        Some(_) => Tokens::default(),
    };
    let accounting = &ctx.env.accounting;
    let reservation =
        accounting.reserve(ctx, candidate, upper_bound, request.key).await.map_err(AttemptError::Internal)?;
    accounting.wait_lease().await.map_err(AttemptError::Internal)?;
    let timeouts = Timeouts {
        connect: CONNECT_TIMEOUT,
        first_token: FIRST_TOKEN_TIMEOUT,
        idle: STREAM_IDLE_TIMEOUT,
        total: ctx.time_left(),
    };
    let call = ModelCall {
        model: &candidate.name,
        system: request.system,
        messages: request.messages,
        inputs: &ctx.invocation.invoke.inputs,
        schema: request.schema,
        tools: request.tools,
        tokens_max,
        parameters: agent.spec().implementation.parameters,
        key: request.key,
        timeouts,
        reservation: reservation.reservation().map_err(AttemptError::Internal)?,
    };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT + FIRST_TOKEN_TIMEOUT, candidate.provider.stream(call)).await;
    let deltas = match stream.unwrap_or(Err(ModelError::TimedOut { phase: CallPhase::FirstToken })) {
        Ok(deltas) => deltas,
        Err(error) => {
            settle(reservation, candidate, Written::default(), Some(&error));
            return Err(AttemptError::Model(error));
        }
    };
    let Collected { answer, written } = stream::collect(deltas, &timeouts, ctx.invocation.sink.as_ref()).await;
    settle(reservation, candidate, written, answer.as_ref().err());
    answer.map_err(AttemptError::Model)
}

/// Settles an attempt.
fn settle(reservation: OpenReservation<'_>, candidate: &Candidate, written: Written, error: Option<&ModelError>) {
    let Written { usage, is_written } = written;
    let is_metered = reservation.upper_bound().tokens != Tokens::default();
    match (CallEnd { usage, is_written, is_metered, error }).charge() {
        Charge::Actual(counts) => reservation.settle_actual(counts, candidate),
        Charge::Estimated => reservation.settle_estimated(),
        Charge::Nothing => reservation.release(),
    }
}

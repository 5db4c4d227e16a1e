//! One question to a model: reserved, sent, read, settled; and asked again, or of another model, as
//! the table of failures says.

use std::time::Duration;

use greenroom_protocol::{CallKey, Cause, ErrorCode, Tokens};
use tokio::time::Instant;

use super::accounting::{self, OpenReservation};
use super::invocation::ExecutionContext;
use super::model_registry::Candidate;
use super::stream::{self, AnswerEvent, Collected, ModelAnswer};
use crate::failure::{BackoffScope, FailureClass, RetryAction, cause_of, is_unbilled};
use crate::model::{CallPhase, Message, ModelCall, ModelError, OutputSchema, Timeouts, ToolSpec};

/// Until the connection stands.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Until the first piece of an answer.
const FIRST_TOKEN_MAX: Duration = Duration::from_secs(120);
/// Between two pieces of an answer.
const STREAM_IDLE_MAX: Duration = Duration::from_secs(60);
/// How long an overloaded provider is waited for while another model could be asked instead.
const OVERLOAD_WAIT_MAX: Duration = Duration::from_secs(2);

/// What is asked.
pub(super) struct ModelRequest<'q> {
    pub(super) system: &'q str,
    pub(super) messages: &'q [Message],
    pub(super) schema: Option<&'q OutputSchema>,
    pub(super) tools: &'q [ToolSpec],
    pub(super) key: &'q CallKey,
}

/// The models that may be asked, and the one that is asked now. A model that was given up is not
/// asked again by the same execution.
pub(super) struct FallbackChain {
    candidates: std::iter::Peekable<std::vec::IntoIter<Candidate>>,
    current: Candidate,
    attempts: u32,
}

impl FallbackChain {
    /// # Errors
    /// [`ErrorCode::UnknownModel`] if nobody can be asked.
    pub(super) fn new(candidates: Vec<Candidate>) -> Result<Self, Cause> {
        let mut candidates = candidates.into_iter().peekable();
        let current = candidates.next().ok_or_else(|| Cause::new(ErrorCode::UnknownModel, "no model can be asked"))?;
        Ok(Self { candidates, current, attempts: 0 })
    }

    fn has_next(&mut self) -> bool {
        self.candidates.peek().is_some()
    }

    fn next_model(&mut self) -> bool {
        match self.candidates.next() {
            Some(next) => {
                self.current = next;
                self.attempts = 0;
                true
            }
            None => false,
        }
    }
}

/// Why one attempt gave no answer.
enum AttemptError {
    /// The model or its provider.
    Model(ModelError),
    /// Something of ours, such as a budget.
    Internal(Cause),
}

/// Asks until there is an answer or nothing is left to try.
pub(super) async fn call_model(
    ctx: &ExecutionContext<'_>,
    chain: &mut FallbackChain,
    question: &ModelRequest<'_>,
) -> Result<ModelAnswer, Cause> {
    let clocks = &ctx.env.clocks;
    loop {
        let provider = chain.current.name.provider.clone();
        if let Some(hold) = clocks.delay_for(&provider, question.key.as_str(), Instant::now()) {
            if hold > OVERLOAD_WAIT_MAX && chain.next_model() {
                continue;
            }
            Box::pin(wait_within_deadline(ctx, hold, || overloaded(&chain.current, hold))).await?;
        }
        chain.attempts = chain.attempts.saturating_add(1);
        ctx.meter.record_model(chain.current.name.to_string());
        let error = match attempt(ctx, &chain.current, question).await {
            Ok(answer) => {
                clocks.record_success(&provider);
                return Ok(answer);
            }
            Err(AttemptError::Internal(cause)) => return Err(cause),
            Err(AttemptError::Model(error)) => error,
        };
        tracing::warn!(model.name = %chain.current.name, error = %error, attempt = chain.attempts, "model call failed");
        if let ModelError::Overloaded { retry_after, .. } = &error {
            clocks.record_overload(&provider, *retry_after, Instant::now());
        }
        Box::pin(prepare_retry(ctx, chain, &error)).await?;
        stream::publish(ctx.job.sink.as_ref(), AnswerEvent::Restarted).await;
    }
}

/// Decides what is asked next and waits for its time, or gives the cause if nothing is left to try.
async fn prepare_retry(ctx: &ExecutionContext<'_>, chain: &mut FallbackChain, error: &ModelError) -> Result<(), Cause> {
    let treatment = FailureClass::of(error).policy();
    let name = chain.current.name.to_string();
    let cause = || cause_of(&name, error);
    let same = match treatment.action {
        RetryAction::SameModelThenFallback { attempts_max } => chain.attempts < attempts_max,
        RetryAction::Fallback => false,
        RetryAction::None | RetryAction::RepairOutput | RetryAction::DefinitionRetry => return Err(cause()),
    };
    if !same && !chain.has_next() {
        return Err(cause());
    }
    if !ctx.budget.try_take() {
        return Err(cause());
    }
    if !same {
        chain.next_model();
        return Ok(());
    }
    match treatment.scope {
        BackoffScope::Execution => wait_within_deadline(ctx, treatment.backoff.before(chain.attempts), cause).await,
        // The provider's own clock is looked at before the next attempt.
        BackoffScope::Provider | BackoffScope::None => Ok(()),
    }
}

/// Waits, unless the deadline would pass meanwhile: then there is no use in waiting.
async fn wait_within_deadline(
    ctx: &ExecutionContext<'_>,
    how_long: Duration,
    cause: impl FnOnce() -> Cause,
) -> Result<(), Cause> {
    let left = ctx.job.grant.deadline().remaining(ctx.env.clock.now());
    if how_long >= left {
        return Err(cause());
    }
    tokio::time::sleep(how_long).await;
    Ok(())
}

fn overloaded(candidate: &Candidate, hold: Duration) -> Cause {
    let message = format!("{} is overloaded, and the deadline is nearer than its return", candidate.name);
    Cause::new(ErrorCode::ModelOverloaded, message).with_retry_after(hold)
}

/// One attempt at one model.
async fn attempt(
    ctx: &ExecutionContext<'_>,
    candidate: &Candidate,
    question: &ModelRequest<'_>,
) -> Result<ModelAnswer, AttemptError> {
    let agent = &ctx.job.agent;
    let ceiling = candidate.output_tokens_max.and_then(|max| u32::try_from(max).ok()).unwrap_or(u32::MAX);
    let tokens_max = agent.tokens_max().min(ceiling);
    let input = accounting::request_tokens(question.system, question.messages, question.schema, question.tools);
    let worst = Tokens { input, output: u64::from(tokens_max) };
    let accounting = &ctx.env.accounting;
    let spending =
        accounting.reserve(ctx.job, ctx.meter, candidate, worst, question.key).await.map_err(AttemptError::Internal)?;
    let total = ctx.job.grant.deadline().remaining(ctx.env.clock.now()).min(agent.timeout());
    let timeouts = Timeouts { connect: CONNECT_MAX, first_token: FIRST_TOKEN_MAX, idle: STREAM_IDLE_MAX, total };
    let call = ModelCall {
        model: &candidate.name,
        system: question.system,
        messages: question.messages,
        schema: question.schema,
        tools: question.tools,
        tokens_max,
        key: question.key,
        timeouts,
        reservation: spending.reservation().map_err(AttemptError::Internal)?,
    };
    let opened = tokio::time::timeout(CONNECT_MAX + FIRST_TOKEN_MAX, candidate.provider.stream(call)).await;
    let deltas = match opened.unwrap_or(Err(ModelError::TimedOut { phase: CallPhase::FirstToken })) {
        Ok(deltas) => deltas,
        Err(error) => {
            Box::pin(settle(spending, candidate, None, Some(&error))).await;
            return Err(AttemptError::Model(error));
        }
    };
    let Collected { answer, usage: counted } = stream::collect(deltas, &timeouts, ctx.job.sink.as_ref()).await;
    Box::pin(settle(spending, candidate, counted, answer.as_ref().err())).await;
    answer.map_err(AttemptError::Model)
}

/// Settles an attempt: at what the provider counted, at nothing where it turned the request away, and
/// else at the reservation.
async fn settle(
    spending: OpenReservation<'_>,
    candidate: &Candidate,
    counted: Option<Tokens>,
    error: Option<&ModelError>,
) {
    match (counted, error) {
        (Some(tokens), _) => spending.settle_actual(tokens, candidate).await,
        (None, Some(error)) if is_unbilled(error) => spending.release().await,
        (None, Some(_) | None) => spending.settle_estimated().await,
    }
}

//! One question to a model: reserved, sent, read, settled; and asked again, or of another model, as
//! the table of failures says.

use std::time::Duration;

use greenroom_protocol::{CallKey, Cause, Code, Tokens};
use tokio::time::Instant;

use super::accounting::{self, Spending};
use super::invocation::Scene;
use super::model_registry::Candidate;
use super::stream::{self, Answer, Collected, Streamed};
use crate::failure::{Again, FailureClass, Whose, cause_of, was_turned_away};
use crate::model::{Message, ModelCall, ModelError, OutputSchema, Phase, Timeouts, ToolSpec};

/// Until the connection stands.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Until the first piece of an answer.
const FIRST_TOKEN_MAX: Duration = Duration::from_secs(120);
/// Between two pieces of an answer.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long an overloaded provider is waited for while another model could be asked instead.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is asked.
pub(super) struct Question<'q> {
    pub(super) system: &'q str,
    pub(super) messages: &'q [Message],
    pub(super) schema: Option<&'q OutputSchema>,
    pub(super) tools: &'q [ToolSpec],
    pub(super) key: &'q CallKey,
}

/// The models that may be asked, and the one that is asked now. A model that was given up is not
/// asked again by the same execution.
pub(super) struct Cast {
    candidates: std::iter::Peekable<std::vec::IntoIter<Candidate>>,
    current: Candidate,
    attempts: u32,
}

impl Cast {
    /// # Errors
    /// [`Code::UnknownModel`] if nobody can be asked.
    pub(super) fn new(candidates: Vec<Candidate>) -> Result<Self, Cause> {
        let mut candidates = candidates.into_iter().peekable();
        let current = candidates.next().ok_or_else(|| Cause::new(Code::UnknownModel, "no model can be asked"))?;
        Ok(Self { candidates, current, attempts: 0 })
    }

    fn has_next(&mut self) -> bool {
        self.candidates.peek().is_some()
    }

    fn advance(&mut self) -> bool {
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
enum Failed {
    /// The model or its provider.
    Model(ModelError),
    /// Something of ours, such as a budget.
    Ours(Cause),
}

/// Asks until there is an answer or nothing is left to try.
pub(super) async fn ask(scene: &Scene<'_>, cast: &mut Cast, question: &Question<'_>) -> Result<Answer, Cause> {
    let clocks = &scene.backstage.clocks;
    loop {
        let provider = cast.current.name.provider.clone();
        if let Some(hold) = clocks.hold(&provider, question.key.as_str(), Instant::now()) {
            if hold > PATIENCE && cast.advance() {
                continue;
            }
            Box::pin(wait(scene, hold, || overloaded(&cast.current, hold))).await?;
        }
        cast.attempts = cast.attempts.saturating_add(1);
        scene.tab.asked(cast.current.name.to_string());
        let error = match attempt(scene, &cast.current, question).await {
            Ok(answer) => {
                clocks.well(&provider);
                return Ok(answer);
            }
            Err(Failed::Ours(cause)) => return Err(cause),
            Err(Failed::Model(error)) => error,
        };
        tracing::warn!(model.name = %cast.current.name, error = %error, attempt = cast.attempts, "model call failed");
        if let ModelError::Overloaded { retry_after, .. } = &error {
            clocks.overloaded(&provider, *retry_after, Instant::now());
        }
        Box::pin(again(scene, cast, &error)).await?;
        stream::show(scene.job.sink.as_ref(), Streamed::Restarted).await;
    }
}

/// Decides what is asked next and waits for its time, or gives the cause if nothing is left to try.
async fn again(scene: &Scene<'_>, cast: &mut Cast, error: &ModelError) -> Result<(), Cause> {
    let treatment = FailureClass::of(error).treatment();
    let name = cast.current.name.to_string();
    let cause = || cause_of(&name, error);
    let same = match treatment.again {
        Again::SameThenNext { attempts_max } => cast.attempts < attempts_max,
        Again::Next => false,
        Again::Never | Again::Repair | Again::ByDefinition => return Err(cause()),
    };
    if !same && !cast.has_next() {
        return Err(cause());
    }
    if !scene.budget.take() {
        return Err(cause());
    }
    if !same {
        cast.advance();
        return Ok(());
    }
    match treatment.whose {
        Whose::Execution => wait(scene, treatment.backoff.before(cast.attempts), cause).await,
        // The provider's own clock is looked at before the next attempt.
        Whose::Provider | Whose::Nobody => Ok(()),
    }
}

/// Waits, unless the deadline would pass meanwhile: then there is no use in waiting.
async fn wait(scene: &Scene<'_>, how_long: Duration, cause: impl FnOnce() -> Cause) -> Result<(), Cause> {
    let left = scene.job.grant.deadline().left(scene.backstage.clock.now());
    if how_long >= left {
        return Err(cause());
    }
    tokio::time::sleep(how_long).await;
    Ok(())
}

fn overloaded(candidate: &Candidate, hold: Duration) -> Cause {
    let message = format!("{} is overloaded, and the deadline is nearer than its return", candidate.name);
    Cause::new(Code::ModelOverloaded, message).retry_after(hold)
}

/// One attempt at one model.
async fn attempt(scene: &Scene<'_>, candidate: &Candidate, question: &Question<'_>) -> Result<Answer, Failed> {
    let agent = &scene.job.agent;
    let ceiling = candidate.output_tokens_max.and_then(|max| u32::try_from(max).ok()).unwrap_or(u32::MAX);
    let tokens_max = agent.tokens_max().min(ceiling);
    let input = accounting::request_tokens(question.system, question.messages, question.schema, question.tools);
    let worst = Tokens { input, output: u64::from(tokens_max) };
    let treasury = &scene.backstage.treasury;
    let spending =
        treasury.reserve(scene.job, scene.tab, candidate, worst, question.key).await.map_err(Failed::Ours)?;
    let total = scene.job.grant.deadline().left(scene.backstage.clock.now()).min(agent.timeout());
    let timeouts = Timeouts { connect: CONNECT_MAX, first_token: FIRST_TOKEN_MAX, idle: IDLE_MAX, total };
    let call = ModelCall {
        model: &candidate.name,
        system: question.system,
        messages: question.messages,
        schema: question.schema,
        tools: question.tools,
        tokens_max,
        key: question.key,
        timeouts,
        paid: spending.paid().map_err(Failed::Ours)?,
    };
    let opened = tokio::time::timeout(CONNECT_MAX + FIRST_TOKEN_MAX, candidate.provider.open(call)).await;
    let deltas = match opened.unwrap_or(Err(ModelError::TimedOut { phase: Phase::FirstToken })) {
        Ok(deltas) => deltas,
        Err(error) => {
            Box::pin(close(spending, candidate, None, Some(&error))).await;
            return Err(Failed::Model(error));
        }
    };
    let Collected { answer, counted } = stream::collect(deltas, &timeouts, scene.job.sink.as_ref()).await;
    Box::pin(close(spending, candidate, counted, answer.as_ref().err())).await;
    answer.map_err(Failed::Model)
}

/// Settles an attempt: at what the provider counted, at nothing where it turned the request away, and
/// else at the reservation.
async fn close(spending: Spending<'_>, candidate: &Candidate, counted: Option<Tokens>, error: Option<&ModelError>) {
    match (counted, error) {
        (Some(tokens), _) => spending.actual(tokens, candidate).await,
        (None, Some(error)) if was_turned_away(error) => spending.nothing().await,
        (None, Some(_) | None) => spending.estimated().await,
    }
}

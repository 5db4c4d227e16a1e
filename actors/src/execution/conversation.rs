//! The conversation with a model: its turns with tools, its repairs, and how it ends.

use greenroom_protocol::{CallKey, Cause, ErrorCode, Values};
use serde_json::json;

use super::invocation::ExecutionContext;
use super::model_call::{self, FallbackChain, ModelRequest};
use super::repair;
use super::stream::{self, AnswerEvent, ModelAnswer};
use super::tools::Tools;
use crate::failure::REPAIRS_MAX;
use crate::model::{Message, OutputSchema, Role, StopReason};

/// A conversation.
pub(super) struct Conversation {
    system: String,
    messages: Vec<Message>,
    schema: OutputSchema,
    key: CallKey,
    questions: u32,
}

impl Conversation {
    pub(super) fn new(system: String, user: String, schema: OutputSchema, key: CallKey) -> Self {
        Self { system, messages: vec![Message::text(Role::User, user)], schema, key, questions: 0 }
    }

    /// The key of the next question: the same for each retry of it, another for each new one.
    fn next_key(&mut self) -> Result<CallKey, Cause> {
        self.questions = self.questions.saturating_add(1);
        match self.questions {
            1 => Ok(self.key.clone()),
            more => child_key(&self.key, &format!("turn[{more}]")),
        }
    }
}

/// The key of a part of an effect.
///
/// # Errors
/// [`ErrorCode::TooManyHops`] if calls nest so deep that the key is too long.
pub(super) fn child_key(key: &CallKey, part: &str) -> Result<CallKey, Cause> {
    CallKey::new(format!("{key}/{part}")).map_err(|error| Cause::new(ErrorCode::TooManyHops, error.to_string()))
}

/// Talks until the model gives outputs that fit, or until something says no.
pub(super) async fn run_conversation(
    ctx: &ExecutionContext<'_>,
    chain: &mut FallbackChain,
    conversation: &mut Conversation,
    tools: &Tools,
) -> Result<Values, Cause> {
    let agent = &ctx.job.agent;
    let (mut turns, mut repairs) = (0_u32, 0_u32);
    loop {
        let key = conversation.next_key()?;
        let question = ModelRequest {
            system: &conversation.system,
            messages: &conversation.messages,
            schema: Some(&conversation.schema),
            tools: tools.specs(),
            key: &key,
        };
        let answer = model_call::call_model(ctx, chain, &question).await?;
        match ending(&answer)? {
            TurnEnd::Tools => {
                turns += 1;
                if turns > agent.turns_max() {
                    return Err(too_many_turns(agent.turns_max()));
                }
                let results = Box::pin(tools.call_all(ctx, &answer.calls, &key)).await?;
                conversation.messages.push(answer.message());
                conversation.messages.push(Message { role: Role::User, parts: results });
            }
            TurnEnd::Complete => match repair::read(agent, &ctx.job.invoke.inputs, &answer.text) {
                Ok(outputs) => return Ok(outputs),
                Err(cause) if repairs >= REPAIRS_MAX => {
                    return Err(cause);
                }
                Err(cause) => {
                    repairs += 1;
                    conversation.messages.push(answer.message());
                    conversation.messages.push(Message::text(Role::User, repair::request(&cause)));
                }
            },
        }
        stream::publish(ctx.job.sink.as_ref(), AnswerEvent::Restarted).await;
    }
}

enum TurnEnd {
    /// The model waits for tools.
    Tools,
    /// The model is done.
    Complete,
}

fn ending(answer: &ModelAnswer) -> Result<TurnEnd, Cause> {
    match &answer.stop {
        StopReason::Complete | StopReason::Tools if !answer.calls.is_empty() => Ok(TurnEnd::Tools),
        StopReason::Complete | StopReason::Tools => Ok(TurnEnd::Complete),
        StopReason::Length => {
            Err(Cause::new(ErrorCode::OutputTruncated, "the answer was cut at the agent's limits.max_tokens"))
        }
        StopReason::Refusal => Err(Cause::new(ErrorCode::ModelRefused, "the model declines to answer")),
        StopReason::Other(why) => Err(Cause::new(ErrorCode::ModelFailed, "the model stopped without being done")
            .with_details(json!({ "stop": why }))),
    }
}

fn too_many_turns(turns_max: u32) -> Cause {
    let message = format!("the model asked for tools more than {turns_max} times");
    Cause::new(ErrorCode::TooManyTurns, message).with_details(json!({ "max_turns": turns_max }))
}

//! The conversation with a model: turns with tool calls, repairs of invalid answers, and its end.

use greenroom_protocol::{CallKey, Cause, ErrorCode, Values};
use serde_json::json;

use super::model_call::{self, FallbackChain, ModelRequest};
use super::repair;
use super::runtime::ExecutionContext;
use super::stream::{self, AnswerEvent, ModelAnswer};
use super::tools::ToolSet;
use crate::failure::REPAIRS_MAX;
use crate::model::{Message, OutputSchema, Role, StopReason};

/// A conversation so far.
pub(super) struct Conversation {
    system: String,
    messages: Vec<Message>,
    schema: OutputSchema,
    key: CallKey,
    requests: u32,
}

impl Conversation {
    pub(super) fn new(system: String, user: String, schema: OutputSchema, key: CallKey) -> Self {
        Self { system, messages: vec![Message::text(Role::User, user)], schema, key, requests: 0 }
    }

    /// Derives the key of the next model request: its retries share it, each new request has its own.
    fn next_key(&mut self) -> CallKey {
        self.requests = self.requests.saturating_add(1);
        match self.requests {
            1 => self.key.clone(),
            number => self.key.child(&format!("turn[{number}]")),
        }
    }
}

/// Continues the conversation until an answer matches the declared outputs, or until a bound or a failure
/// ends it.
pub(super) async fn run_conversation(
    ctx: &ExecutionContext<'_>,
    chain: &mut FallbackChain,
    conversation: &mut Conversation,
    tools: &ToolSet,
) -> Result<Values, Cause> {
    let agent = &ctx.invocation.agent;
    let (mut turns, mut repairs) = (0_u32, 0_u32);
    loop {
        let key = conversation.next_key();
        let request = ModelRequest {
            system: &conversation.system,
            messages: &conversation.messages,
            schema: Some(&conversation.schema),
            tools: tools.specs(),
            key: &key,
        };
        let answer = model_call::call_model(ctx, chain, &request).await?;
        match turn_end(&answer)? {
            TurnEnd::Tools => {
                turns += 1;
                if turns > agent.turns_max() {
                    return Err(too_many_turns(agent.turns_max()));
                }
                let results = Box::pin(tools.call_all(ctx, &answer.calls, &key)).await;
                conversation.messages.push(answer.to_message());
                conversation.messages.push(Message { role: Role::User, parts: results });
                chain.begin_turn();
            }
            TurnEnd::Stopped(cause) => {
                if !chain.try_take_repair(ctx) {
                    return Err(cause);
                }
            }
            TurnEnd::Complete => match repair::parse_outputs(agent, &ctx.invocation.invoke.inputs, &answer.text) {
                Ok(outputs) => return Ok(outputs),
                Err(cause) if repairs >= REPAIRS_MAX || !chain.try_take_repair(ctx) => return Err(cause),
                Err(cause) => {
                    repairs += 1;
                    conversation.messages.push(answer.to_message());
                    conversation.messages.push(Message::text(Role::User, repair::repair_message(agent, &cause)));
                }
            },
        }
        stream::publish(ctx.invocation.sink.as_ref(), AnswerEvent::Restarted).await;
    }
}

/// How a turn of the model ended.
enum TurnEnd {
    /// The model waits for tool results.
    Tools,
    /// The model is done.
    Complete,
    /// The model stopped for a reason that may not occur again.
    Stopped(Cause),
}

fn turn_end(answer: &ModelAnswer) -> Result<TurnEnd, Cause> {
    match &answer.stop {
        StopReason::Complete | StopReason::Tools if !answer.calls.is_empty() => Ok(TurnEnd::Tools),
        StopReason::Complete | StopReason::Tools => Ok(TurnEnd::Complete),
        StopReason::Length => {
            Err(Cause::new(ErrorCode::OutputTruncated, "the answer was truncated at the agent's limits.max_tokens"))
        }
        StopReason::Refusal => Err(Cause::new(ErrorCode::ModelRefused, "the model declined to answer")),
        StopReason::Other(reason) => {
            let message = format!("the model stopped before its answer was complete: {reason}");
            Ok(TurnEnd::Stopped(Cause::new(ErrorCode::ModelFailed, message).with_details(json!({ "stop": reason }))))
        }
    }
}

fn too_many_turns(turns_max: u32) -> Cause {
    let message = format!("the model called tools in more than {turns_max} turns");
    Cause::new(ErrorCode::TooManyTurns, message).with_details(json!({ "max_turns": turns_max }))
}

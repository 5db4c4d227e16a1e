//! The conversation with a model: turns with tool calls, repairs of invalid answers, and its end. A turn with calls that
//! need an approval ends the execution; another one continues the conversation with the decisions.

use greenroom_protocol::conversation::{PendingToolCall, SuspendedConversation, TurnCall};
use greenroom_protocol::{CallKey, Cause, ContentHash, ErrorCode, Values};
use serde_json::json;

use super::model_call::{self, FallbackChain, ModelRequest};
use super::repair;
use super::runtime::ExecutionContext;
use super::stream::{self, AnswerEvent, ModelAnswer};
use super::suspension::{self, Continuation};
use super::tool_results;
use super::tools::{CallOutcome, CallState, PlannedCall, ToolSet};
use crate::failure::REPAIRS_MAX;
use crate::model::{Message, OutputSchema, Part, Role, StopReason, ToolCall};

/// Words of the reasons of an answer that failed, whatever was written of it.
const FAILURE_WORDS: [&str; 6] = ["error", "fail", "abort", "cancel", "malformed", "timeout"];

/// A conversation so far.
pub(super) struct Conversation {
    system: String,
    messages: Vec<Message>,
    schema: OutputSchema,
    key: CallKey,
    requests: u32,
    /// The turns in which the model has called tools.
    turns: u32,
    repairs: u32,
    /// The artifacts that results of tools became.
    artifacts: Vec<ContentHash>,
    /// The calls with which it continues.
    interrupted: Vec<PlannedCall>,
}

impl Conversation {
    pub(super) fn new(system: String, user: String, schema: OutputSchema, key: CallKey) -> Self {
        Self {
            system,
            messages: vec![Message::text(Role::User, user)],
            schema,
            key,
            requests: 0,
            turns: 0,
            repairs: 0,
            artifacts: Vec::new(),
            interrupted: Vec::new(),
        }
    }

    /// The conversation that waited for approvals.
    pub(super) fn resume(system: String, schema: OutputSchema, key: CallKey, continuation: Continuation) -> Self {
        let Continuation { messages, calls, stored } = continuation;
        let SuspendedConversation { requests, turns, repairs, artifacts, .. } = stored;
        Self { system, messages, schema, key, requests, turns, repairs, artifacts, interrupted: calls }
    }

    /// Derives the key of the next model request: its retries share it, each new request has its own.
    fn next_key(&mut self) -> CallKey {
        self.requests = self.requests.saturating_add(1);
        self.last_key()
    }

    /// The key of the last model request.
    fn last_key(&self) -> CallKey {
        match self.requests {
            0 | 1 => self.key.clone(),
            number => self.key.child(&format!("turn[{number}]")),
        }
    }

    /// Makes the calls of the model's last message, and adds their results.
    ///
    /// # Errors
    /// [`ErrorCode::ApprovalRequired`], with what the next execution needs, if calls wait for an approval.
    async fn call_tools(
        &mut self,
        ctx: &ExecutionContext<'_>,
        tools: &ToolSet,
        calls: Vec<PlannedCall>,
    ) -> Result<(), Cause> {
        let names: Vec<(String, String)> =
            calls.iter().map(|planned| (planned.call.id.clone(), planned.call.name.clone())).collect();
        let outcomes = tools.call_all(ctx, calls, &self.last_key()).await;
        let (mut turn, mut pending): (Vec<TurnCall>, Vec<PendingToolCall>) = (Vec::new(), Vec::new());
        for (outcome, (_, name)) in outcomes.into_iter().zip(&names) {
            turn.push(match outcome {
                CallOutcome::Ended(result) => {
                    let fitted = tool_results::fit(ctx, result, name, tools.reader()).await;
                    self.artifacts.extend(fitted.artifact);
                    TurnCall::Ended { content: fitted.result.content, is_error: fitted.result.is_error }
                }
                CallOutcome::Waiting { .. } if pending.len() >= suspension::PENDING_CALLS_MAX => {
                    TurnCall::Ended { content: suspension::too_many_pending(), is_error: true }
                }
                CallOutcome::Waiting { call, described } => {
                    let id = call.call.clone();
                    pending.push(call);
                    TurnCall::Waiting { call: id, described }
                }
            });
        }
        if !pending.is_empty() {
            return Err(suspension::suspend(ctx, &self.to_suspended(turn), pending).await?);
        }
        let results = turn.into_iter().zip(names).filter_map(|(call, (id, _))| match call {
            TurnCall::Ended { content, is_error } => Some(Part::ToolResult { id, content, is_error }),
            TurnCall::Waiting { .. } => None,
        });
        self.messages.push(Message { role: Role::User, parts: results.collect() });
        Ok(())
    }

    fn to_suspended(&self, calls: Vec<TurnCall>) -> SuspendedConversation {
        SuspendedConversation {
            messages: suspension::to_stored(&self.messages),
            calls,
            requests: self.requests,
            turns: self.turns,
            repairs: self.repairs,
            artifacts: self.artifacts.clone(),
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
    let interrupted = std::mem::take(&mut conversation.interrupted);
    if !interrupted.is_empty() {
        Box::pin(conversation.call_tools(ctx, tools, interrupted)).await?;
    }
    loop {
        let key = conversation.next_key();
        let request = ModelRequest {
            system: &conversation.system,
            messages: &conversation.messages,
            schema: Some(&conversation.schema),
            tools: tools.specs(!conversation.artifacts.is_empty()),
            key: &key,
        };
        let answer = model_call::call_model(ctx, chain, &request).await?;
        let parse = || repair::parse_outputs(agent, &ctx.invocation.invoke.inputs, &answer);
        match turn_end(&answer)? {
            TurnEnd::Tools => {
                conversation.turns = conversation.turns.saturating_add(1);
                if conversation.turns > agent.turns_max() {
                    return Err(too_many_turns(agent.turns_max()));
                }
                conversation.messages.push(answer.to_message());
                let calls = answer.calls.into_iter().map(|call| PlannedCall { call, state: CallState::New });
                Box::pin(conversation.call_tools(ctx, tools, calls.collect())).await?;
                chain.begin_turn();
            }
            // What has the declared outputs is whole, whatever the server calls the end.
            TurnEnd::Unclear(cause) => match parse() {
                Ok(outputs) => return Ok(outputs),
                Err(_) if !chain.try_take_repair(ctx) => return Err(cause),
                Err(_) => {}
            },
            TurnEnd::Stopped(cause) => {
                if !chain.try_take_repair(ctx) {
                    return Err(cause);
                }
            }
            TurnEnd::Complete => match parse() {
                Ok(outputs) => return Ok(outputs),
                Err(cause) if conversation.repairs >= REPAIRS_MAX || !chain.try_take_repair(ctx) => return Err(cause),
                Err(cause) => {
                    conversation.repairs = conversation.repairs.saturating_add(1);
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
    /// The model stopped for a reason that is not known, and has written a text only.
    Unclear(Cause),
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
            let cause = Cause::new(ErrorCode::ModelFailed, message).with_details(json!({ "stop": reason }));
            let lower = reason.to_lowercase();
            // Arguments that were cut are nothing, or a text and no object.
            let is_whole = |call: &ToolCall| call.arguments.is_object();
            Ok(if FAILURE_WORDS.iter().any(|word| lower.contains(word)) {
                TurnEnd::Stopped(cause)
            } else if answer.calls.is_empty() {
                TurnEnd::Unclear(cause)
            } else if answer.calls.iter().all(is_whole) {
                TurnEnd::Tools
            } else {
                TurnEnd::Stopped(cause)
            })
        }
    }
}

fn too_many_turns(turns_max: u32) -> Cause {
    let message = format!("the model called tools in more than {turns_max} turns");
    Cause::new(ErrorCode::TooManyTurns, message).with_details(json!({ "max_turns": turns_max }))
}

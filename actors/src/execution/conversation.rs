//! The conversation with a model: its turns with tools, its repairs, and how it ends.

use greenroom_protocol::{CallKey, Cause, Code, Values};
use serde_json::json;

use super::invocation::Scene;
use super::model_call::{self, Cast, Question};
use super::repair;
use super::stream::{self, Answer, Streamed};
use super::tools::Tools;
use crate::failure::REPAIRS_MAX;
use crate::model::{Message, OutputSchema, Role, StopReason};

/// A conversation.
pub(super) struct Talk {
    system: String,
    messages: Vec<Message>,
    schema: OutputSchema,
    key: CallKey,
    questions: u32,
}

impl Talk {
    pub(super) fn new(system: String, user: String, schema: OutputSchema, key: CallKey) -> Self {
        Self { system, messages: vec![Message::text(Role::User, user)], schema, key, questions: 0 }
    }

    /// The key of the next question: the same for each retry of it, another for each new one.
    fn next_key(&mut self) -> Result<CallKey, Cause> {
        self.questions = self.questions.saturating_add(1);
        match self.questions {
            1 => Ok(self.key.clone()),
            more => part_of(&self.key, &format!("turn[{more}]")),
        }
    }
}

/// The key of a part of an effect.
///
/// # Errors
/// [`Code::TooManyHops`] if calls nest so deep that the key is too long.
pub(super) fn part_of(key: &CallKey, part: &str) -> Result<CallKey, Cause> {
    CallKey::new(format!("{key}/{part}")).map_err(|error| Cause::new(Code::TooManyHops, error.to_string()))
}

/// Talks until the model gives outputs that fit, or until something says no.
pub(super) async fn hold(scene: &Scene<'_>, cast: &mut Cast, talk: &mut Talk, tools: &Tools) -> Result<Values, Cause> {
    let agent = &scene.job.agent;
    let (mut turns, mut repairs) = (0_u32, 0_u32);
    loop {
        let key = talk.next_key()?;
        let question = Question {
            system: &talk.system,
            messages: &talk.messages,
            schema: Some(&talk.schema),
            tools: tools.specs(),
            key: &key,
        };
        let answer = model_call::ask(scene, cast, &question).await?;
        match ending(&answer)? {
            Ending::Tools => {
                turns += 1;
                if turns > agent.turns_max() {
                    return Err(too_many_turns(agent.turns_max()));
                }
                let results = Box::pin(tools.use_all(scene, &answer.calls, &key)).await?;
                talk.messages.push(answer.message());
                talk.messages.push(Message { role: Role::User, parts: results });
            }
            Ending::Complete => match repair::read(agent, &scene.job.invoke.inputs, &answer.text) {
                Ok(outputs) => return Ok(outputs),
                Err(cause) if repairs >= REPAIRS_MAX => {
                    return Err(cause);
                }
                Err(cause) => {
                    repairs += 1;
                    talk.messages.push(answer.message());
                    talk.messages.push(Message::text(Role::User, repair::request(&cause)));
                }
            },
        }
        stream::show(scene.job.sink.as_ref(), Streamed::Restarted).await;
    }
}

enum Ending {
    /// The model waits for tools.
    Tools,
    /// The model is done.
    Complete,
}

fn ending(answer: &Answer) -> Result<Ending, Cause> {
    match &answer.stop {
        StopReason::Complete | StopReason::Tools if !answer.calls.is_empty() => Ok(Ending::Tools),
        StopReason::Complete | StopReason::Tools => Ok(Ending::Complete),
        StopReason::Length => {
            Err(Cause::new(Code::OutputTruncated, "the answer was cut at the agent's limits.max_tokens"))
        }
        StopReason::Refusal => Err(Cause::new(Code::ModelRefused, "the model declines to answer")),
        StopReason::Other(why) => {
            Err(Cause::new(Code::ModelFailed, "the model stopped without being done").with(json!({ "stop": why })))
        }
    }
}

fn too_many_turns(turns_max: u32) -> Cause {
    let message = format!("the model asked for tools more than {turns_max} times");
    Cause::new(Code::TooManyTurns, message).with(json!({ "max_turns": turns_max }))
}

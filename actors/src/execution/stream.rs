//! The pieces of an answer, put together within bounds, and shown on the way to whoever watches.

use std::time::Duration;

use futures::StreamExt;
use greenroom_protocol::Tokens;
use tokio::sync::mpsc;

use crate::model::{CallPhase, Delta, Deltas, Message, ModelError, Part, Role, StopReason, Timeouts, ToolCall};

/// Bytes of one answer, tool calls included.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Tools that one answer may ask for.
const TOOL_CALLS_MAX: usize = 64;

/// What a watcher is shown of an answer as it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerEvent {
    /// More text.
    Text(String),
    /// What was shown so far does not count: another attempt begins.
    Restarted,
}

/// Where an answer is shown as it comes. The channel's bound slows the model down to its reader; a
/// reader that has gone away is forgotten.
pub type DeltaSink = mpsc::Sender<AnswerEvent>;

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ModelAnswer {
    pub(super) text: String,
    pub(super) calls: Vec<ToolCall>,
    pub(super) stop: StopReason,
}

impl ModelAnswer {
    /// The answer as a message of the conversation.
    pub(super) fn message(&self) -> Message {
        let text = (!self.text.is_empty()).then(|| Part::Text(self.text.clone()));
        let calls = self.calls.iter().cloned().map(Part::ToolCall);
        Message { role: Role::Assistant, parts: text.into_iter().chain(calls).collect() }
    }
}

/// What came of reading an answer: the answer or why there is none, and what the provider counted,
/// which may have come before the failure.
pub(super) struct Collected {
    pub(super) answer: Result<ModelAnswer, ModelError>,
    pub(super) usage: Option<Tokens>,
}

/// Reads an answer to its end.
pub(super) async fn collect(mut deltas: Deltas, timeouts: &Timeouts, sink: Option<&DeltaSink>) -> Collected {
    let mut counted = None;
    let answer = read(&mut deltas, timeouts, sink, &mut counted).await;
    Collected { answer, usage: counted }
}

async fn read(
    deltas: &mut Deltas,
    timeouts: &Timeouts,
    sink: Option<&DeltaSink>,
    counted: &mut Option<Tokens>,
) -> Result<ModelAnswer, ModelError> {
    let mut answer = ModelAnswer { text: String::new(), calls: Vec::new(), stop: StopReason::Complete };
    let mut bytes = 0_usize;
    let mut wait = (timeouts.first_token, CallPhase::FirstToken);
    loop {
        let delta = next(deltas, wait.0, wait.1).await?;
        wait = (timeouts.idle, CallPhase::Idle);
        match delta {
            Delta::Text(text) => {
                bytes = bounded(bytes, text.len())?;
                answer.text.push_str(&text);
                publish(sink, AnswerEvent::Text(text)).await;
            }
            Delta::Tool(call) => {
                bytes = bounded(bytes, call.name.len() + call.arguments.to_string().len())?;
                if answer.calls.len() >= TOOL_CALLS_MAX {
                    let message = format!("the answer asks for more than {TOOL_CALLS_MAX} tools");
                    return Err(ModelError::MalformedResponse { message });
                }
                answer.calls.push(call);
            }
            Delta::Usage(tokens) => *counted = Some(tokens),
            Delta::End(stop) => {
                answer.stop = stop;
                return Ok(answer);
            }
        }
    }
}

async fn next(deltas: &mut Deltas, wait: Duration, phase: CallPhase) -> Result<Delta, ModelError> {
    match tokio::time::timeout(wait, deltas.next()).await {
        Ok(Some(delta)) => delta,
        Ok(None) => Err(ModelError::MalformedResponse { message: "the answer ends in the middle".to_owned() }),
        Err(_elapsed) => Err(ModelError::TimedOut { phase }),
    }
}

fn bounded(bytes: usize, more: usize) -> Result<usize, ModelError> {
    let bytes = bytes.saturating_add(more);
    if bytes > ANSWER_BYTES_MAX {
        return Err(ModelError::MalformedResponse {
            message: format!("the answer has more than {ANSWER_BYTES_MAX} bytes"),
        });
    }
    Ok(bytes)
}

/// Shows something to the watcher, if there is one still.
pub(super) async fn publish(sink: Option<&DeltaSink>, what: AnswerEvent) {
    if let Some(sink) = sink {
        // Whoever has stopped watching misses nothing.
        let _ = Box::pin(sink.send(what)).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        connect: Duration::from_secs(1),
        first_token: Duration::from_secs(9),
        idle: Duration::from_secs(3),
        total: Duration::from_secs(99),
    };

    fn text(text: &str) -> Result<Delta, ModelError> {
        Ok(Delta::Text(text.to_owned()))
    }

    #[tokio::test]
    async fn pieces_become_an_answer_and_are_shown_on_the_way() {
        let (sink, mut shown) = mpsc::channel(8);
        let tokens = Tokens { input: 3, output: 2 };
        let deltas = vec![text("a"), text("b"), Ok(Delta::Usage(tokens)), Ok(Delta::End(StopReason::Complete))];
        let collected = collect(Box::pin(stream::iter(deltas)), &TIMEOUTS, Some(&sink)).await;
        assert_eq!(collected.answer.unwrap().text, "ab");
        assert_eq!(collected.usage, Some(tokens));
        assert_eq!(shown.recv().await, Some(AnswerEvent::Text("a".into())));
    }

    #[tokio::test]
    async fn half_an_answer_keeps_what_was_counted() {
        let tokens = Tokens { input: 3, output: 0 };
        let deltas = vec![Ok(Delta::Usage(tokens)), text("a")];
        let collected = collect(Box::pin(stream::iter(deltas)), &TIMEOUTS, None).await;
        assert!(matches!(collected.answer, Err(ModelError::MalformedResponse { .. })));
        assert_eq!(collected.usage, Some(tokens));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_told_apart_by_when_it_falls() {
        let silent = collect(Box::pin(stream::pending()), &TIMEOUTS, None).await;
        assert_eq!(silent.answer, Err(ModelError::TimedOut { phase: CallPhase::FirstToken }));
        let stalled = Box::pin(stream::iter(vec![text("a")]).chain(stream::pending()));
        let stalled = collect(stalled, &TIMEOUTS, None).await;
        assert_eq!(stalled.answer, Err(ModelError::TimedOut { phase: CallPhase::Idle }));
    }

    #[tokio::test]
    async fn an_endless_answer_ends_at_its_bound() {
        let piece = "x".repeat(64 * 1024);
        let endless = stream::repeat_with(move || text(&piece));
        let collected = collect(Box::pin(endless), &TIMEOUTS, None).await;
        assert!(matches!(collected.answer, Err(ModelError::MalformedResponse { .. })));
    }
}

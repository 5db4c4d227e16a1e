//! Assembles an answer from its deltas, within bounds, and publishes them to the client as they arrive.

use std::time::Duration;

use futures::StreamExt;
use greenroom_definitions::models::TokenCounts;
use tokio::sync::mpsc;

use crate::model::{CallPhase, Delta, Deltas, Message, ModelError, Part, Role, StopReason, Timeouts, ToolCall};

/// Maximum size of one answer, tool calls included.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Maximum tool calls of one answer.
const TOOL_CALLS_MAX: usize = 64;

/// An event of an answer as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerEvent {
    /// More text.
    Text(String),
    /// The text published so far is void: another attempt or turn begins.
    Restarted,
}

/// Receives the events of an answer. The channel's bound slows the model down to the speed of its reader;
/// a closed channel is ignored.
pub type DeltaSink = mpsc::Sender<AnswerEvent>;

/// A complete answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ModelAnswer {
    pub(super) text: String,
    pub(super) calls: Vec<ToolCall>,
    pub(super) stop: StopReason,
    /// True if the model wrote reasoning, which is no part of the text.
    pub(super) has_reasoning: bool,
}

impl ModelAnswer {
    /// Converts the answer to a message of the conversation.
    pub(super) fn to_message(&self) -> Message {
        let text = (!self.text.is_empty()).then(|| Part::Text(self.text.clone()));
        let calls = self.calls.iter().cloned().map(Part::ToolCall);
        Message { role: Role::Assistant, parts: text.into_iter().chain(calls).collect() }
    }
}

/// The result of reading an answer: the answer or the failure, and what was reported and written, possibly before
/// the failure.
pub(super) struct Collected {
    pub(super) answer: Result<ModelAnswer, ModelError>,
    pub(super) written: Written,
}

/// What the provider reported and the model wrote so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// The count that the provider reported.
    pub(super) usage: Option<TokenCounts>,
    /// True if the model wrote anything: text, reasoning or a tool call.
    pub(super) is_written: bool,
}

/// Reads an answer to its end and publishes its text.
pub(super) async fn collect(mut deltas: Deltas, timeouts: &Timeouts, sink: Option<&DeltaSink>) -> Collected {
    let mut written = Written::default();
    let answer = read(&mut deltas, timeouts, sink, &mut written).await;
    Collected { answer, written }
}

async fn read(
    deltas: &mut Deltas,
    timeouts: &Timeouts,
    sink: Option<&DeltaSink>,
    written: &mut Written,
) -> Result<ModelAnswer, ModelError> {
    let mut answer =
        ModelAnswer { text: String::new(), calls: Vec::new(), stop: StopReason::Complete, has_reasoning: false };
    let mut bytes = 0_usize;
    let (mut timeout, mut phase) = (timeouts.first_token, CallPhase::FirstToken);
    loop {
        let delta = next_delta(deltas, timeout, phase).await?;
        (timeout, phase) = (timeouts.idle, CallPhase::Idle);
        written.is_written |= matches!(delta, Delta::Text(_) | Delta::Reasoning | Delta::Tool(_));
        match delta {
            Delta::Reasoning => answer.has_reasoning = true,
            Delta::Text(text) => {
                bytes = add_bytes(bytes, text.len())?;
                answer.text.push_str(&text);
                publish(sink, AnswerEvent::Text(text)).await;
            }
            Delta::Tool(call) => {
                bytes = add_bytes(bytes, call.name.len() + call.arguments.to_string().len())?;
                if answer.calls.len() >= TOOL_CALLS_MAX {
                    let message = format!("the answer has more than {TOOL_CALLS_MAX} tool calls");
                    return Err(ModelError::MalformedResponse { message });
                }
                answer.calls.push(call);
            }
            Delta::Usage(counts) => written.usage = Some(counts),
            Delta::End(stop) => {
                answer.stop = stop;
                return Ok(answer);
            }
        }
    }
}

async fn next_delta(deltas: &mut Deltas, timeout: Duration, phase: CallPhase) -> Result<Delta, ModelError> {
    match tokio::time::timeout(timeout, deltas.next()).await {
        Ok(Some(delta)) => delta,
        Ok(None) => {
            Err(ModelError::MalformedResponse { message: "the answer ended before it was complete".to_owned() })
        }
        Err(_elapsed) => Err(ModelError::TimedOut { phase }),
    }
}

fn add_bytes(bytes: usize, added: usize) -> Result<usize, ModelError> {
    let bytes = bytes.saturating_add(added);
    if bytes > ANSWER_BYTES_MAX {
        return Err(ModelError::MalformedResponse {
            message: format!("the answer has more than {ANSWER_BYTES_MAX} bytes"),
        });
    }
    Ok(bytes)
}

/// Publishes an event, if a client still reads.
pub(super) async fn publish(sink: Option<&DeltaSink>, event: AnswerEvent) {
    if let Some(sink) = sink {
        // A closed channel means that the client stopped reading; the execution continues without it.
        let _ = Box::pin(sink.send(event)).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use greenroom_protocol::Tokens;

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
    async fn deltas_become_an_answer_and_are_published_as_they_arrive() {
        let (sink, mut published) = mpsc::channel(8);
        let tokens = Tokens { input: 3, output: 2 };
        let deltas = vec![
            Ok(Delta::Reasoning),
            text("a"),
            text("b"),
            Ok(Delta::Usage(tokens.into())),
            Ok(Delta::End(StopReason::Complete)),
        ];
        let collected = collect(Box::pin(stream::iter(deltas)), &TIMEOUTS, Some(&sink)).await;
        assert_eq!(collected.answer.unwrap().text, "ab");
        assert_eq!(collected.written, Written { usage: Some(tokens.into()), is_written: true });
        assert_eq!(published.recv().await, Some(AnswerEvent::Text("a".into())));
    }

    #[tokio::test]
    async fn an_incomplete_answer_retains_its_reported_usage() {
        let tokens = Tokens { input: 3, output: 0 };
        let deltas = vec![Ok(Delta::Usage(tokens.into())), text("a")];
        let collected = collect(Box::pin(stream::iter(deltas)), &TIMEOUTS, None).await;
        assert!(matches!(collected.answer, Err(ModelError::MalformedResponse { .. })));
        assert_eq!(collected.written.usage, Some(tokens.into()));
        let thought = collect(Box::pin(stream::iter(vec![Ok(Delta::Reasoning)])), &TIMEOUTS, None).await;
        assert_eq!(thought.written, Written { usage: None, is_written: true }, "reasoning was written too");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_before_the_first_token_differs_from_silence_after_it() {
        let silent = collect(Box::pin(stream::pending()), &TIMEOUTS, None).await;
        assert_eq!(silent.answer, Err(ModelError::TimedOut { phase: CallPhase::FirstToken }));
        let stalled = Box::pin(stream::iter(vec![text("a")]).chain(stream::pending()));
        let stalled = collect(stalled, &TIMEOUTS, None).await;
        assert_eq!(stalled.answer, Err(ModelError::TimedOut { phase: CallPhase::Idle }));
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut_at_its_bound() {
        let piece = "x".repeat(64 * 1024);
        let endless = stream::repeat_with(move || text(&piece));
        let collected = collect(Box::pin(endless), &TIMEOUTS, None).await;
        assert!(matches!(collected.answer, Err(ModelError::MalformedResponse { .. })));
    }
}

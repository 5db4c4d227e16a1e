//! The answer of a model that writes on another pod, for the caller of the agent. It is streamed beside the session of the
//! call, whose reply has all of it: a part that is lost only ends the stream, until the answer begins anew.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use greenroom_actors::execution::{AnswerEvent, DeltaSink};
use greenroom_protocol::{CallKey, PodId};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::text_channel::{TextChannel, Topic, pieces};

/// Events of an answer that wait to be published. Beyond them, the model waits until they are, which never takes long.
pub(crate) const EVENTS_MAX: usize = 256;
/// How long text is collected after other text was sent.
const COLLECT_INTERVAL: Duration = Duration::from_millis(20);
/// How long the last text is awaited after the reply, which may overtake it.
const LAST_TEXT_WAIT: Duration = Duration::from_millis(100);

/// A part of an answer, as it crosses pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerPart {
    /// Its number, from 1.
    n: u64,
    content: PartContent,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PartContent {
    Text(String),
    /// The text so far is void.
    Restarted,
    /// No other part follows.
    End,
}

/// The answers to the call with this key that the pod writes.
fn topic(pod: &PodId, key: &CallKey) -> Topic {
    Topic::new("answers", &[pod.as_str(), key.as_str()])
}

/// The parts of the answer to a call of another pod, from now on.
pub(crate) async fn subscribe(channel: &TextChannel, pod: &PodId, key: &CallKey) -> BoxStream<'static, AnswerPart> {
    channel.subscribe(&topic(pod, key)).await
}

/// Publishes the answer to one call of another pod.
pub(crate) struct AnswerPublisher {
    channel: TextChannel,
    topic: Topic,
    n: u64,
    text: String,
}

impl AnswerPublisher {
    pub(crate) fn new(channel: TextChannel, pod: &PodId, key: &CallKey) -> Self {
        Self { channel, topic: topic(pod, key), n: 0, text: String::new() }
    }

    /// Publishes the events until the work is done, and returns its output.
    pub(crate) async fn publish_while<F: Future>(
        mut self,
        work: F,
        mut events: mpsc::Receiver<AnswerEvent>,
    ) -> F::Output {
        let mut work = pin!(work);
        let mut send_at = Instant::now();
        let output = loop {
            tokio::select! {
                output = &mut work => break output,
                Some(event) = events.recv() => self.add(event),
                () = sleep_until(send_at), if !self.text.is_empty() => {}
            }
            if !self.text.is_empty() && Instant::now() >= send_at {
                self.send_text();
                send_at = Instant::now() + COLLECT_INTERVAL;
            }
        };
        while let Ok(event) = events.try_recv() {
            self.add(event);
        }
        self.send_text();
        if self.n > 0 {
            self.send(PartContent::End);
        }
        output
    }

    fn add(&mut self, event: AnswerEvent) {
        match event {
            AnswerEvent::Text(text) => self.text.push_str(&text),
            AnswerEvent::Restarted => {
                self.text.clear();
                self.send(PartContent::Restarted);
            }
        }
    }

    fn send_text(&mut self) {
        let text = std::mem::take(&mut self.text);
        pieces(&text).for_each(|piece| self.send(PartContent::Text(piece.to_owned())));
    }

    fn send(&mut self, content: PartContent) {
        self.n = self.n.saturating_add(1);
        self.channel.publish(&self.topic, &AnswerPart { n: self.n, content });
    }
}

/// What has arrived of an answer.
#[derive(Debug, Default)]
struct ReceivedAnswer {
    /// The number of the newest part.
    newest: u64,
    /// A part is missing: what follows is not passed on until the answer begins anew.
    has_gap: bool,
    has_ended: bool,
}

impl ReceivedAnswer {
    /// The event of a part; `None` if it is not to be passed on.
    fn read(&mut self, part: AnswerPart) -> Option<AnswerEvent> {
        let AnswerPart { n, content } = part;
        if n <= self.newest {
            return None;
        }
        self.has_gap |= n != self.newest.saturating_add(1);
        self.newest = n;
        match content {
            PartContent::Text(text) => (!self.has_gap).then_some(AnswerEvent::Text(text)),
            PartContent::Restarted => {
                self.has_gap = false;
                Some(AnswerEvent::Restarted)
            }
            PartContent::End => {
                self.has_ended = true;
                None
            }
        }
    }

    /// True if text has arrived, and the last one has not.
    const fn is_open(&self) -> bool {
        self.newest > 0 && !self.has_ended
    }
}

/// Passes the parts on until the call has its reply, and returns it.
pub(crate) async fn pass_on_while<F: Future>(
    call: F,
    mut parts: BoxStream<'static, AnswerPart>,
    sink: &DeltaSink,
) -> F::Output {
    let mut received = ReceivedAnswer::default();
    let mut call = pin!(call);
    let output = loop {
        tokio::select! {
            output = &mut call => break output,
            Some(part) = parts.next() => pass_on(&mut received, part, sink).await,
        }
    };
    let rest = async {
        while received.is_open()
            && let Some(part) = parts.next().await
        {
            pass_on(&mut received, part, sink).await;
        }
    };
    // What is later than that is in the reply.
    let _ = timeout(LAST_TEXT_WAIT, rest).await;
    output
}

async fn pass_on(received: &mut ReceivedAnswer, part: AnswerPart, sink: &DeltaSink) {
    if let Some(event) = received.read(part) {
        // A reader that is gone needs no text.
        let _ = sink.send(event).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn part(n: u64, text: &str) -> AnswerPart {
        AnswerPart { n, content: PartContent::Text(text.to_owned()) }
    }

    fn text(text: &str) -> AnswerEvent {
        AnswerEvent::Text(text.to_owned())
    }

    #[test]
    fn text_after_a_gap_is_not_passed_on_until_the_answer_begins_anew() {
        let mut received = ReceivedAnswer::default();
        let restarted = AnswerPart { n: 6, content: PartContent::Restarted };
        let parts = [part(1, "a"), part(2, "b"), part(2, "b"), part(4, "d"), part(5, "e"), restarted, part(7, "f")];
        let events: Vec<AnswerEvent> = parts.into_iter().filter_map(|part| received.read(part)).collect();
        assert_eq!(events, [text("a"), text("b"), AnswerEvent::Restarted, text("f")]);
        assert!(received.is_open());
        assert_eq!(received.read(AnswerPart { n: 8, content: PartContent::End }), None);
        assert!(!received.is_open());
    }

    #[test]
    fn an_execution_that_is_joined_later_has_no_beginning() {
        let mut received = ReceivedAnswer::default();
        assert_eq!(received.read(part(3, "c")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn text_that_the_reply_has_overtaken_is_passed_on_within_a_bound() {
        let (sink, mut events) = mpsc::channel(EVENTS_MAX);
        let end = AnswerPart { n: 3, content: PartContent::End };
        let parts = stream::iter([part(1, "a"), part(2, "b"), end]).boxed();
        assert_eq!(pass_on_while(std::future::ready(7), parts, &sink).await, 7);
        let silent = pass_on_while(tokio::time::sleep(COLLECT_INTERVAL), stream::pending().boxed(), &sink);
        let started_at = Instant::now();
        silent.await;
        assert_eq!(started_at.elapsed(), COLLECT_INTERVAL, "a call without text waits for none");
        drop(sink);
        while let Some(event) = events.recv().await {
            assert!(event == text("a") || event == text("b"), "{event:?}");
        }
    }
}

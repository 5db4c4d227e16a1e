//! The text that the models of runs write, for the watchers of these runs on any pod. The owner of a run publishes it, with
//! its fence, and each watch subscribes to that of its run. Texts that arrive within some milliseconds are one message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use greenroom_actors::execution::AnswerEvent;
use greenroom_actors::run::{DeltaEvent, DeltaId, StepDelta, StepDeltas};
use greenroom_actors::supervision::ChildKind;
use greenroom_protocol::event::RunEvent;
use greenroom_protocol::journal::StepKey;
use greenroom_protocol::{Clock, FrameId, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::text_channel::{TextChannel, Topic, pieces};
use super::text_history::TextHistory;
use crate::services::Service;
use crate::telemetry::metrics::DroppedMessage;

/// Deltas that wait to be published. Beyond them, they are dropped.
const DELTAS_MAX: usize = 4_096;
/// The kind of the topics.
pub(crate) const TOPIC: &str = "texts";
/// How long texts are collected after others were sent.
const COLLECT_INTERVAL: Duration = Duration::from_millis(20);
/// Messages that one delta has at most: an answer has at most four megabytes.
const MESSAGES_OF_DELTA_MAX: u64 = 1_024;

/// A text of a step, as it crosses pods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepText {
    /// Its position.
    pub(crate) id: FrameId,
    /// The step.
    pub(crate) step: StepKey,
    /// The text; `None` if that of this attempt so far is void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// When the model has written it, by the clock of the pods.
    pub(crate) at: Timestamp,
    /// True for the last one of an attempt, whose text may be empty. A pod of an earlier release does not state it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_last: bool,
}

/// Publishes the texts of the runs of this pod, and receives those of any run.
pub(crate) struct StepTexts {
    channel: TextChannel,
    clock: Arc<dyn Clock>,
    queue: mpsc::Sender<StepDelta>,
    queued: Mutex<mpsc::Receiver<StepDelta>>,
}

/// What is collected of one step.
#[derive(Debug, Clone, PartialEq)]
struct Batch {
    id: DeltaId,
    is_restarted: bool,
    text: String,
    at: Timestamp,
    is_last: bool,
}

/// What is collected of a step, and which it is.
type StepBatch = ((RunId, StepKey), Batch);

/// What is collected.
#[derive(Debug, Default)]
struct Batches(BTreeMap<(RunId, StepKey), Batch>);

impl StepTexts {
    pub(crate) fn new(channel: TextChannel, clock: Arc<dyn Clock>) -> Self {
        let (queue, queued) = mpsc::channel(DELTAS_MAX);
        Self { channel, clock, queue, queued: Mutex::new(queued) }
    }

    /// The service that publishes what is queued.
    pub(crate) fn service(self: Arc<Self>) -> Service {
        Service::droppable("texts of steps", ChildKind::Periodic, move || {
            let texts = Arc::clone(&self);
            async move { texts.run().await }
        })
    }

    /// The texts of a run that are stored, and then those from now on; one may be in both.
    pub(crate) async fn subscribe(&self, run: &RunId) -> BoxStream<'static, StepText> {
        self.channel.replay(&topic(run)).await
    }

    /// The stream that stores the texts, if there is one.
    pub(crate) fn history(&self) -> Option<TextHistory> {
        self.channel.history().cloned()
    }

    /// The time by the clock of the pods.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Counts how long an event has needed to this pod. One from before the watch, which began at `since`, has waited for it.
    pub(crate) fn observe_event_lag(&self, event: &RunEvent, since: Timestamp) {
        if event.at >= since {
            let lag = self.clock.now().saturating_duration_since(event.at);
            self.channel.metrics().nats().observe_event_lag(lag);
        }
    }

    /// Counts how long a text has needed to this pod.
    pub(crate) fn observe_text_lag(&self, text: &StepText) {
        let lag = self.clock.now().saturating_duration_since(text.at);
        self.channel.metrics().nats().observe_text_lag(lag);
    }

    async fn run(&self) -> Result<(), String> {
        let mut queued = self.queued.lock().await;
        let (mut batches, mut send_at) = (Batches::default(), Instant::now());
        loop {
            tokio::select! {
                delta = queued.recv() => match delta {
                    Some(delta) => if let Some(ended) = batches.add(delta, self.clock.now()) {
                        self.send(ended);
                    },
                    // The sender is in `self`.
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(send_at), if !batches.0.is_empty() => {}
            }
            if Instant::now() >= send_at {
                std::mem::take(&mut batches.0).into_iter().for_each(|batch| self.send(batch));
                send_at = Instant::now() + COLLECT_INTERVAL;
            }
        }
    }

    fn send(&self, ((run, step), batch): StepBatch) {
        let topic = topic(&run);
        batch.into_messages(&step).for_each(|message| self.channel.publish(&topic, &message));
    }
}

impl StepDeltas for StepTexts {
    fn publish(&self, delta: StepDelta) {
        if self.queue.try_send(delta).is_err() {
            self.channel.metrics().nats().count_dropped(DroppedMessage::Delta);
        }
    }
}

impl Batches {
    /// Collects a delta. Returns what is collected of an attempt that has ended, which is sent at once.
    fn add(&mut self, delta: StepDelta, now: Timestamp) -> Option<StepBatch> {
        let StepDelta { run, step, id, event } = delta;
        let new = || Batch { id, is_restarted: false, text: String::new(), at: now, is_last: false };
        let key = (run, step);
        let batch = self.0.entry(key.clone()).or_insert_with(new);
        if (batch.id.fence, batch.id.seq) != (id.fence, id.seq) {
            // The text of the attempt before is void.
            *batch = new();
        }
        batch.id = id;
        match event {
            DeltaEvent::Answer(AnswerEvent::Text(text)) => batch.text.push_str(&text),
            DeltaEvent::Answer(AnswerEvent::Restarted) => {
                batch.text.clear();
                batch.is_restarted = true;
            }
            DeltaEvent::Ended => {
                batch.is_last = true;
                return self.0.remove_entry(&key);
            }
        }
        None
    }
}

impl Batch {
    /// The messages, whose numbers continue those of the deltas.
    fn into_messages(self, step: &StepKey) -> impl Iterator<Item = StepText> {
        let Self { id: DeltaId { fence, seq, n }, is_restarted, text, at, is_last } = self;
        let mut texts: Vec<Option<String>> = is_restarted.then_some(None).into_iter().collect();
        texts.extend(pieces(&text).map(|piece| Some(piece.to_owned())));
        if is_last && !matches!(texts.last(), Some(Some(_))) {
            texts.push(Some(String::new()));
        }
        let (first, count) = (n.saturating_mul(MESSAGES_OF_DELTA_MAX), texts.len());
        (first..).zip(texts).enumerate().map(move |(index, (n, text))| {
            let is_last = is_last && index + 1 == count;
            StepText { id: FrameId { fence, seq, n }, step: step.clone(), text, at, is_last }
        })
    }
}

fn topic(run: &RunId) -> Topic {
    Topic::new(TOPIC, &[run.as_str()])
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::StepId;

    use super::*;

    fn delta(seq: u64, n: u64, text: Option<&str>) -> StepDelta {
        let event = text.map_or(AnswerEvent::Restarted, |text| AnswerEvent::Text(text.to_owned()));
        of_event(seq, n, DeltaEvent::Answer(event))
    }

    fn of_event(seq: u64, n: u64, event: DeltaEvent) -> StepDelta {
        StepDelta { run: RunId::new("run_1").unwrap(), step: key(), id: DeltaId { fence: 3, seq, n }, event }
    }

    fn key() -> StepKey {
        StepKey { step: StepId::new("write").unwrap(), index: None }
    }

    fn collected(deltas: impl IntoIterator<Item = StepDelta>) -> Vec<(FrameId, Option<String>)> {
        let mut batches = Batches::default();
        for delta in deltas {
            assert_eq!(batches.add(delta, Timestamp::default()), None, "its attempt has not ended");
        }
        let messages = batches.0.into_values().flat_map(|batch| batch.into_messages(&key()).collect::<Vec<_>>());
        messages.map(|message| (message.id, message.text)).collect()
    }

    #[test]
    fn the_texts_of_a_moment_are_one_message() {
        let messages = collected([delta(5, 1, Some("The ")), delta(5, 2, Some("quarter"))]);
        let id = FrameId { fence: 3, seq: 5, n: 2 * MESSAGES_OF_DELTA_MAX };
        assert_eq!(messages, [(id, Some("The quarter".to_owned()))]);
    }

    #[test]
    fn a_restart_and_a_new_attempt_make_the_text_before_void() {
        let messages = collected([delta(5, 1, Some("old")), delta(5, 2, None), delta(5, 3, Some("new"))]);
        let texts: Vec<Option<&str>> = messages.iter().map(|(_, text)| text.as_deref()).collect();
        assert_eq!(texts, [None, Some("new")]);
        assert!(messages.is_sorted_by_key(|(id, _)| *id), "{messages:?}");
        let messages = collected([delta(5, 9, Some("old")), delta(8, 1, Some("new"))]);
        let id = FrameId { fence: 3, seq: 8, n: MESSAGES_OF_DELTA_MAX };
        assert_eq!(messages, [(id, Some("new".to_owned()))]);
    }

    #[test]
    fn the_end_of_an_attempt_is_sent_at_once_with_the_text_before_it() {
        for (text, expected) in [("The ", vec![("The ", true)]), ("", vec![("", true)])] {
            let mut batches = Batches::default();
            if !text.is_empty() {
                assert_eq!(batches.add(delta(5, 1, Some(text)), Timestamp::default()), None);
            }
            let (_, batch) = batches.add(of_event(5, 2, DeltaEvent::Ended), Timestamp::default()).unwrap();
            assert!(batches.0.is_empty());
            let messages: Vec<StepText> = batch.into_messages(&key()).collect();
            let sent: Vec<_> = messages.iter().map(|sent| (sent.text.as_deref().unwrap(), sent.is_last)).collect();
            assert_eq!(sent, expected);
        }
    }

    #[test]
    fn a_long_text_has_messages_with_rising_numbers_below_those_of_the_next_delta() {
        let messages = collected([delta(5, 1, Some(&"x".repeat(20_000)))]);
        assert!(messages.len() > 2 && messages.is_sorted_by_key(|(id, _)| *id), "{}", messages.len());
        assert!(messages.iter().all(|(id, _)| id.n < 2 * MESSAGES_OF_DELTA_MAX));
    }
}

//! What a watcher of a run receives, in one order: the events of its journal, and between them the text that its models
//! write. The text has the fence of the owner that has published it. Once a newer owner is known, that of an older one is
//! dropped: such a pod may have been frozen, and its text would be mixed with that of its successor.
//!
//! Events come from the journal, which has no entries of an owner that was replaced. So none is dropped, and their frames
//! have the newest fence that is known here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use greenroom_client::TransportError;
use greenroom_client::transport::Events;
use greenroom_protocol::event::{EventNumber, RunEvent, RunEventKind};
use greenroom_protocol::journal::StepKey;
use greenroom_protocol::{Frame, FrameId, RunId};
use greenroom_registry::Stores;
use tokio::time::{Instant, timeout_at};

use super::events;
use crate::cluster::step_texts::{StepText, StepTexts};

/// How long the last text of a step is awaited before the event that ends the step: the journal may overtake it. A step
/// whose last text has arrived, and one without text, waits for nothing.
const LAST_TEXT_WAIT: Duration = Duration::from_millis(40);

/// The frames of a run.
pub(crate) type Frames = BoxStream<'static, Result<Frame, TransportError>>;

struct RunFrames {
    stores: Stores,
    run: RunId,
    events: Events,
    texts: BoxStream<'static, StepText>,
    pending: PendingFrames,
}

/// The frames that are to be passed on, and what decides which texts are.
#[derive(Default)]
struct PendingFrames {
    /// The newest fence that is known.
    fence: u64,
    /// The position after which the text of each step is passed on.
    newest: HashMap<StepKey, FrameId>,
    /// The steps whose attempt has ended, so that no further text of it follows.
    complete: HashSet<StepKey>,
    frames: VecDeque<Frame>,
}

/// The frames of a run after the event with this number, also later ones, until the run has ended. Without `texts`, they are
/// the events alone.
pub(crate) fn frames(stores: &Stores, texts: Option<&Arc<StepTexts>>, run: &RunId, after: EventNumber) -> Frames {
    let (stores, texts, run) = (stores.clone(), texts.cloned(), run.clone());
    let opening = async move {
        let events = events(&stores, &run, after);
        let (texts, events) = match texts {
            Some(texts) => {
                let (since, observer, received) = (texts.now(), Arc::clone(&texts), texts.subscribe(&run).await);
                let events = events.inspect_ok(move |event| observer.observe_event_lag(event, since));
                (received.inspect(move |text| texts.observe_text_lag(text)).boxed(), events.boxed())
            }
            None => (stream::pending().boxed(), events),
        };
        let mut frames = RunFrames { stores, run, events, texts, pending: PendingFrames::default() };
        frames.read_fence().await;
        frames.into_stream()
    };
    stream::once(opening).flatten().boxed()
}

impl RunFrames {
    fn into_stream(self) -> Frames {
        let frames = stream::unfold(self, |mut frames| async move {
            let frame = frames.next().await?;
            Some((frame, frames))
        });
        frames.boxed()
    }

    /// Looks which owner the run has. If the store cannot be read, the next text of a newer owner has its fence.
    async fn read_fence(&mut self) {
        if let Ok(Some(record)) = self.stores.runs.get(&self.run).await {
            self.pending.fence = self.pending.fence.max(record.fence.0);
        }
    }

    /// Does what has to be done before an event is passed on.
    async fn prepare(&mut self, event: &RunEvent) {
        if let RunEventKind::RunResumed { .. } = event.kind {
            self.read_fence().await;
        }
        let RunEventKind::StepEnded { step, index, .. } = &event.kind else { return };
        let (step, until) = (StepKey { step: step.clone(), index: *index }, Instant::now() + LAST_TEXT_WAIT);
        while self.pending.awaits_text(&step)
            && let Ok(Some(text)) = timeout_at(until, self.texts.next()).await
        {
            self.pending.on_text(text);
        }
    }

    async fn next(&mut self) -> Option<Result<Frame, TransportError>> {
        loop {
            if let Some(frame) = self.pending.frames.pop_front() {
                return Some(Ok(frame));
            }
            tokio::select! {
                biased;
                event = self.events.next() => match event? {
                    Ok(event) => {
                        self.prepare(&event).await;
                        self.pending.on_event(event);
                    }
                    Err(error) => return Some(Err(error)),
                },
                Some(text) = self.texts.next() => self.pending.on_text(text),
            }
        }
    }
}

impl PendingFrames {
    /// True if text of the attempt of a step has arrived, and its last one has not.
    fn awaits_text(&self, step: &StepKey) -> bool {
        !self.complete.contains(step) && self.newest.get(step).is_some_and(|newest| newest.n > 0)
    }

    fn on_event(&mut self, event: RunEvent) {
        let position = FrameId { fence: self.fence, seq: event.seq, n: 0 };
        if let RunEventKind::StepStarted { step, index, .. } = &event.kind {
            // Unless text of this attempt has arrived before its event, the one before it is complete, and it is not.
            let step = StepKey { step: step.clone(), index: *index };
            if self.newest.get(&step).is_none_or(|newest| *newest < position) {
                self.complete.remove(&step);
            }
        }
        let mut restarted = None;
        if let RunEventKind::StepRestarted { step, index } = &event.kind {
            restarted = Some(StepKey { step: step.clone(), index: *index });
        }
        if let RunEventKind::StepEnded { step, index, .. } = &event.kind {
            // What still arrives of it is in its result.
            self.newest.insert(StepKey { step: step.clone(), index: *index }, position);
        }
        self.frames.push_back(Frame::Event { id: FrameId { n: event.n.into(), ..position }, event });
        if let Some(step) = restarted {
            self.begin(position, step);
        }
    }

    fn on_text(&mut self, text: StepText) {
        let StepText { id, step, text, at: _, is_last } = text;
        let newest = self.newest.get(&step).copied();
        if id.fence < self.fence || newest.is_some_and(|newest| id <= newest) {
            return;
        }
        self.fence = id.fence;
        if newest.is_some() {
            self.begin(FrameId { n: 0, ..id }, step.clone());
        }
        self.newest.insert(step.clone(), id);
        if is_last {
            self.complete.insert(step.clone());
        } else {
            self.complete.remove(&step);
        }
        match text {
            Some(text) if text.is_empty() => {}
            Some(text) => self.frames.push_back(Frame::Delta { id, step: Some(step), text }),
            None => self.frames.push_back(Frame::Restarted { id, step: Some(step) }),
        }
    }

    /// A later attempt of a step begins here: the text so far is void. Nothing happens if its text has arrived before its
    /// event, or if it has begun already.
    fn begin(&mut self, position: FrameId, step: StepKey) {
        let has_begun = self.newest.get(&step).is_some_and(|newest| *newest >= position);
        if !has_begun {
            self.newest.insert(step.clone(), position);
            self.frames.push_back(Frame::Restarted { id: position, step: Some(step) });
        }
    }
}

#[cfg(test)]
mod tests;

//! The frames of a reply that arrives in parts: of a call whose text is published as the model writes it, and of a run that
//! is watched. One empty message after the last frame ends the stream.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Cause, ErrorCode};
use crate::event::{EventNumber, RunEvent};
use crate::id::{PodId, RunId};
use crate::journal::StepKey;
use crate::limits::ENVELOPE_BYTES_MAX;
use crate::peek::document;
use crate::reply::Reply;
use crate::time::Timestamp;

/// The position of a frame. The fields are in the order by which frames are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub struct FrameId {
    /// The fence of the pod that has sent it: the frames of an earlier owner of the run are void.
    pub fence: u64,
    /// The number of the newest journal entry; 0 without a run.
    pub seq: u64,
    /// The number of the frame after that entry.
    pub n: u64,
}

/// One part of a reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum Frame {
    /// A pod has accepted the request: the first frame, within a second, unless the reply is there before.
    Accepted {
        /// The pod.
        pod: PodId,
        /// The run, if the request starts or watches one that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<RunId>,
        /// The protocol version of the pod.
        version: u16,
    },
    /// More text of an answer.
    Delta {
        /// Its position.
        id: FrameId,
        /// The step whose agent writes; absent for a call without a run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepKey>,
        /// The text.
        text: String,
    },
    /// An event of the run.
    Event {
        /// Its position.
        id: FrameId,
        /// The event.
        event: RunEvent,
    },
    /// The text published so far is void: another attempt, turn or owner begins.
    Restarted {
        /// Its position.
        id: FrameId,
        /// The step; absent for a call without a run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepKey>,
    },
    /// The pod works, and has nothing else to send.
    Working {
        /// The time of the pod.
        at: Timestamp,
    },
    /// The reply: the last frame.
    Reply {
        /// The reply.
        reply: Box<Reply>,
    },
    /// The request was not accepted: the only frame.
    Refused {
        /// The cause.
        cause: Cause,
    },
    /// A frame of a later release, which a reader ignores.
    #[serde(other)]
    Unknown,
}

document!(Frame);

/// A [`Frame::Reply`] whose writer has the reply afterwards too.
#[derive(Debug, Serialize)]
#[serde(tag = "frame", rename = "reply")]
pub struct ReplyFrame<'r> {
    /// The reply.
    pub reply: &'r Reply,
}

impl Frame {
    /// Decodes a message of a stream; `None` for the empty one that ends it.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`], before parsing; [`ErrorCode::Internal`] if a pod has sent something else.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, Cause> {
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() > ENVELOPE_BYTES_MAX {
            let message = format!("a frame has {} bytes, at most {ENVELOPE_BYTES_MAX} are allowed", bytes.len());
            return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
        }
        serde_json::from_slice(bytes)
            .map(Some)
            .map_err(|error| Cause::new(ErrorCode::Internal, format!("a frame cannot be read: {error}")))
    }

    /// The position of the frame, if it has one.
    #[must_use]
    pub const fn id(&self) -> Option<FrameId> {
        match self {
            Self::Delta { id, .. } | Self::Event { id, .. } | Self::Restarted { id, .. } => Some(*id),
            Self::Accepted { .. }
            | Self::Working { .. }
            | Self::Reply { .. }
            | Self::Refused { .. }
            | Self::Unknown => None,
        }
    }

    /// True if no other frame follows.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        match self {
            Self::Reply { .. } | Self::Refused { .. } => true,
            Self::Accepted { .. }
            | Self::Delta { .. }
            | Self::Event { .. }
            | Self::Restarted { .. }
            | Self::Working { .. }
            | Self::Unknown => false,
        }
    }
}

/// Steps whose newest text is remembered.
const STEPS_MAX: usize = 4_096;

/// Decides which frames of a run a reader drops: texts of an earlier owner, and what it has received already. An event is
/// never dropped for its fence: it comes from the journal, which has no entries of an owner that was replaced.
#[derive(Debug, Clone, Default)]
pub struct FrameOrder {
    fence: u64,
    /// The number of the newest event.
    event: EventNumber,
    /// The position of the newest text of each step.
    texts: BTreeMap<Option<StepKey>, FrameId>,
}

impl FrameOrder {
    /// The order of a reader that has received the events up to this number.
    #[must_use]
    pub const fn after(event: EventNumber) -> Self {
        Self { fence: 0, event, texts: BTreeMap::new() }
    }

    /// True if the reader takes the frame. A frame without a position, or of a kind that is unknown, is always taken.
    pub fn accepts(&mut self, frame: &Frame) -> bool {
        match frame {
            Frame::Event { id, event } => {
                let is_new = event.number() > self.event;
                self.event = self.event.max(event.number());
                self.fence = self.fence.max(id.fence);
                is_new
            }
            Frame::Delta { id, step, .. } | Frame::Restarted { id, step } => self.accepts_text(*id, step.as_ref()),
            Frame::Accepted { .. }
            | Frame::Working { .. }
            | Frame::Reply { .. }
            | Frame::Refused { .. }
            | Frame::Unknown => true,
        }
    }

    /// True for a text that is later than the newest one of its step, and of no earlier owner than any frame.
    fn accepts_text(&mut self, id: FrameId, step: Option<&StepKey>) -> bool {
        let step = step.cloned();
        if id.fence < self.fence || self.texts.get(&step).is_some_and(|newest| id <= *newest) {
            return false;
        }
        if self.texts.len() >= STEPS_MAX {
            self.texts.clear();
        }
        self.texts.insert(step, id);
        self.fence = id.fence;
        true
    }

    /// The number of the event after which a watch is resumed.
    #[must_use]
    pub const fn newest_event(&self) -> EventNumber {
        self.event
    }
}

#[cfg(test)]
mod tests;

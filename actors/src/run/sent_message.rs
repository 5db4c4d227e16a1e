//! What pods send to the owner of a run, as the body of a message of [`greenroom_registry::cluster::ClusterStore`]: the
//! sender has authenticated and authorized it, and the owner records it.

use greenroom_protocol::request::ContextWrite;
use greenroom_protocol::{Cause, Deadline, ErrorCode, EventId};
use greenroom_registry::runs::Fence;
use serde::{Deserialize, Serialize};

use super::user_signal::UserSignal;

/// The body of a message. A signal has no name of its own, as in the messages of earlier releases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum MessageBody {
    /// A user or the handler of an agent writes the context of the run.
    Write(SentWrite),
    /// A user signals the run.
    Signal(UserSignal),
}

/// A write of a user, or of the handler of an agent on another pod, to the context of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SentWrite {
    /// The write.
    pub(super) write: ContextWrite,
    /// The id under which it is recorded, once.
    pub(super) id: EventId,
    /// Until when its sender waits for it. It is not recorded later.
    pub(super) deadline: Deadline,
    /// The call whose handler writes; `None` if a user does, as in each message of a release without this field. An owner
    /// of such a release records the write as one of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) handler: Option<HandlerWrite>,
}

/// The call of an agent whose handler writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HandlerWrite {
    /// The request of the handler, the same for each write of the key by one call.
    pub(super) request: EventId,
    /// The fence of the owner of the run's tree that has placed the call.
    pub(super) fence: u64,
}

impl SentWrite {
    /// True if an owner before the one with this fence has placed the call that writes. The later one repeats the call.
    pub(super) fn is_outdated(&self, owner: Fence) -> bool {
        self.handler.as_ref().is_some_and(|handler| handler.fence < owner.0)
    }
}

impl MessageBody {
    /// Reads a body that was sent.
    pub(super) fn from_text(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The text that is sent.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] if it cannot be written.
    pub(super) fn to_text(&self) -> Result<String, Cause> {
        serde_json::to_string(self).map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))
    }
}

/// Reads a body as the owner of a run does, and writes it as its sender does: for checks of the format, since bodies are in
/// a database that other programs may write.
///
/// # Errors
/// [`ErrorCode::Internal`] if it is no body of a message.
pub fn rewrite_message(body: &str) -> Result<String, Cause> {
    let read = MessageBody::from_text(body);
    read.map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))?.to_text()
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::request::{ContextChange, PublishedEvent, Signal};
    use greenroom_protocol::{ContextKey, EventName, RunId, StepId, Timestamp, UserId};
    use serde_json::json;

    use super::*;

    fn signal(signal: Signal, event: Option<EventId>) -> MessageBody {
        MessageBody::Signal(UserSignal::new(signal, UserId::new("alice").unwrap(), event))
    }

    fn write(change: ContextChange, expect: Option<u64>, ttl_ms: Option<u64>) -> MessageBody {
        let (run, key) = (RunId::new("run_1").unwrap(), ContextKey::new("facts").unwrap());
        let write = ContextWrite { run, key, expect, change, ttl_ms };
        let deadline = Deadline(Timestamp::from_micros(1_700_000_000_000_000));
        MessageBody::Write(SentWrite { write, id: EventId::new("req_1").unwrap(), deadline, handler: None })
    }

    fn of_handler(write: MessageBody, fence: u64) -> MessageBody {
        let MessageBody::Write(sent) = write else { panic!("a write") };
        let handler = Some(HandlerWrite { request: EventId::new("req_2").unwrap(), fence });
        MessageBody::Write(SentWrite { handler, ..sent })
    }

    #[test]
    fn a_message_is_read_as_it_was_sent() {
        let step = StepId::new("release").unwrap();
        let data = json!({ "amount": 3.5, "large": u64::MAX, "write": [null] });
        let paid = PublishedEvent { name: EventName::new("paid").unwrap(), data: data.clone() };
        for body in [
            signal(Signal::Cancel, None),
            signal(Signal::Approve { step: step.clone(), call: None }, None),
            signal(Signal::Reject { step, call: None, reason: None }, None),
            signal(Signal::Event(paid), Some(EventId::new("key_1").unwrap())),
            write(ContextChange::Put(data), Some(0), Some(5_000)),
            write(ContextChange::Append(json!("item")), None, None),
            of_handler(write(ContextChange::Put(json!("item")), None, None), u64::MAX),
        ] {
            let text = body.to_text().unwrap();
            assert_eq!(serde_json::from_str::<MessageBody>(&text).unwrap(), body, "{text}");
        }
    }

    #[test]
    fn a_decision_is_sent_with_what_it_is_about() {
        for subject in [json!("step"), json!({ "calls": ["0a1b2c3d"] })] {
            let signal = json!({ "signal": "approve", "step": "release" });
            let sent = json!({ "signal": signal, "by": "alice", "subject": subject });
            let written = rewrite_message(&sent.to_string()).unwrap();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), sent);
        }
    }

    #[test]
    fn a_signal_of_an_earlier_release_is_read_and_anything_else_is_an_error() {
        let cancel: MessageBody = serde_json::from_str(r#"{"signal":{"signal":"cancel"},"by":"alice"}"#).unwrap();
        assert_eq!(cancel, signal(Signal::Cancel, None));
        let written = write(ContextChange::Put(json!(1)), None, None);
        assert!(!written.to_text().unwrap().contains("handler"), "an earlier release has written it without");
        for text in ["", "{}", "null", r#"{"write":{}}"#, r#"{"signal":{"signal":"sleep"},"by":"alice"}"#] {
            assert!(rewrite_message(text).is_err(), "{text}");
        }
    }
}

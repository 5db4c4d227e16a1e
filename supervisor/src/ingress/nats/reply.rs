//! Where the reply to a message goes, and how it is sent: one message with the headers of its error.

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use greenroom_protocol::header::reply_headers;
use greenroom_protocol::limits::SUBJECT_BYTES_MAX;
use greenroom_protocol::{Cause, ErrorCode, Reply};
use serde::Serialize;

use super::connection::NatsConnection;
use crate::ingress::document;

/// What the subject of a reply begins with: an inbox, also one of a user's own (`_INBOX_NAME.`), or the subject of a reply
/// across accounts. A pod may publish what its callers may not, so it must not publish wherever they want.
const INBOXES: [&str; 3] = ["_INBOX.", "_INBOX_", "_R_."];

/// The inbox of a caller.
#[derive(Debug, Clone)]
pub(super) struct ReplySubject(Subject);

impl ReplySubject {
    /// The inbox in a message; `None` if it has none.
    pub(super) fn of(message: &Message) -> Option<Self> {
        let subject = message.reply.as_ref()?;
        let text = subject.as_str();
        let is_inbox = INBOXES.iter().any(|inbox| text.starts_with(inbox));
        let is_plain = text.len() <= SUBJECT_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
        (is_inbox && is_plain && !text.contains(['*', '>'])).then(|| Self(subject.clone()))
    }

    /// Sends a document as one message. False if the connection does not take it.
    pub(super) async fn send(&self, connection: &NatsConnection, error: Option<&Cause>, body: Vec<u8>) -> bool {
        connection.publish(self.0.clone(), headers(error), body.into()).await
    }

    /// As [`ReplySubject::send`], for a caller that cannot wait.
    pub(super) fn try_send(&self, connection: &NatsConnection, error: Option<&Cause>, body: Vec<u8>) -> bool {
        connection.try_publish(self.0.clone(), headers(error), body.into())
    }

    /// Ends a stream of frames.
    pub(super) async fn end(&self, connection: &NatsConnection) -> bool {
        connection.publish(self.0.clone(), HeaderMap::new(), Bytes::new()).await
    }

    /// As [`ReplySubject::end`], for a caller that cannot wait.
    pub(super) fn try_end(&self, connection: &NatsConnection) -> bool {
        connection.try_publish(self.0.clone(), HeaderMap::new(), Bytes::new())
    }
}

/// The document of a reply or a frame.
pub(super) fn to_body(document: &impl Serialize) -> Vec<u8> {
    document::append(Vec::new(), document).unwrap_or_else(|error| {
        // Each of them is JSON already, or a structure of names and numbers.
        tracing::error!(error.message = %error, "a reply cannot be written as JSON");
        let cause = Cause::new(ErrorCode::Internal, "the reply cannot be written as JSON");
        serde_json::json!({ "error": cause }).to_string().into_bytes()
    })
}

/// The error of a reply, for its headers.
pub(super) const fn error_of(reply: &Reply) -> Option<&Cause> {
    reply.error.as_ref()
}

fn headers(error: Option<&Cause>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in reply_headers(error) {
        headers.insert(name, value);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(reply: Option<&str>) -> Message {
        Message {
            subject: "p.v1.requests".into(),
            reply: reply.map(Subject::from),
            payload: Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn a_reply_goes_to_an_inbox_and_nowhere_else() {
        for inbox in ["_INBOX.abc.1", "_INBOX_alice.abc", "_R_.xyz"] {
            assert!(ReplySubject::of(&message(Some(inbox))).is_some(), "{inbox}");
        }
        let long = format!("_INBOX.{}", "x".repeat(SUBJECT_BYTES_MAX));
        for other in [
            "greenroom.internal.wake",
            "greenroom.v1.requests",
            "$SYS.REQ.SERVER.PING",
            "orders.new",
            "_INBOX",
            "_INBOX.>",
            "_INBOX.a b",
            long.as_str(),
        ] {
            assert!(ReplySubject::of(&message(Some(other))).is_none(), "{other}");
        }
        assert!(ReplySubject::of(&message(None)).is_none());
    }

    #[test]
    fn a_reply_with_an_error_has_its_code_in_the_headers() {
        let cause = Cause::new(ErrorCode::UnknownAgent, "no agent\r\nof this id");
        let headers = headers(Some(&cause));
        let value = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        assert_eq!(value("Greenroom-Code").as_deref(), Some("unknown_agent"));
        assert_eq!(value("Nats-Service-Error-Code").as_deref(), Some("404"));
        assert!(value("Nats-Service-Error").is_some_and(|text| !text.contains(['\r', '\n'])));
        assert!(headers_have_only_the_version());
    }

    fn headers_have_only_the_version() -> bool {
        let headers = headers(None);
        headers.len() == 1 && headers.get("Greenroom-Version").is_some()
    }
}

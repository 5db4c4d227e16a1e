//! Reads a message: its subject, headers and body become a request. Nothing of it is trusted, and nothing is looked up.

use async_nats::{HeaderValue, Message};
use greenroom_protocol::{Cause, RequestHeaders, SubjectRequest, Subjects, header};

/// A message that was read.
pub(super) struct Incoming {
    pub(super) request: SubjectRequest,
    pub(super) headers: RequestHeaders,
}

/// Reads a message.
///
/// # Errors
/// Those of its subject, its headers and its body.
pub(super) fn read(message: &Message, subjects: &Subjects) -> Result<Incoming, Cause> {
    let subject = subjects.parse(message.subject.as_str())?;
    let headers = RequestHeaders::read(|name| value(message, name))?;
    let request = subject.into_request(&message.payload, headers.version)?;
    Ok(Incoming { request, headers })
}

/// The value of a header.
pub(super) fn value<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
    message.headers.as_ref()?.get(name).map(HeaderValue::as_str)
}

/// True if the sender requests frames, also if nothing else of the message can be read.
pub(super) fn wants_frames(message: &Message) -> bool {
    value(message, header::FRAMES).is_some_and(|text| text.trim() == "1")
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;
    use greenroom_protocol::{ErrorCode, Request};

    use super::*;

    fn message(subject: &str, headers: &[(&str, &str)], body: &str) -> Message {
        let headers = headers.iter().fold(HeaderMap::new(), |mut all, (name, value)| {
            all.insert(*name, *value);
            all
        });
        Message {
            subject: subject.into(),
            reply: None,
            payload: body.to_owned().into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: body.len(),
        }
    }

    #[test]
    fn a_message_is_read_by_its_subject_headers_and_body() {
        let subjects = Subjects::new("p").unwrap();
        let headers = [("Authorization", "ApiKey k"), ("Greenroom-Frames", "1")];
        let read_back = message("p.v1.agents.a.execute", &headers, r#"{"inputs":{}}"#);
        assert!(wants_frames(&read_back));
        let Incoming { request, headers } = read(&read_back, &subjects).unwrap();
        assert!(headers.wants_frames && headers.credential.is_some());
        let SubjectRequest::Send(envelope) = request else { panic!("{request:?}") };
        assert!(matches!(&envelope.request, Request::Invoke(invoke) if invoke.agent.as_str() == "a"));
    }

    #[test]
    fn what_cannot_be_read_has_a_code() {
        let subjects = Subjects::new("p").unwrap();
        let bad_scheme = [("Authorization", "Basic k")];
        for (message, code) in [
            (message("p.v1.agents.*.execute", &[], "{}"), ErrorCode::InvalidRequest),
            (message("q.v1.agents.a.execute", &[], "{}"), ErrorCode::InvalidRequest),
            (message("p.v1.agents.a.execute", &[], "{"), ErrorCode::InvalidRequest),
            (message("p.v1.agents.a.execute", &bad_scheme, "{}"), ErrorCode::Unauthenticated),
        ] {
            let cause = read(&message, &subjects).err().unwrap();
            assert_eq!(cause.code, code, "{message:?}: {cause}");
            assert!(!wants_frames(&message));
        }
    }
}

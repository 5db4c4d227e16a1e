//! The target `message`: everything that a message to a subject can carry. The first line of the input is the subject, the
//! lines up to an empty one are headers, and the rest is the body. The same body is read as a frame of a reply too.

use greenroom_protocol::frame::FrameOrder;
use greenroom_protocol::received::IngressKind;
use greenroom_protocol::{
    Cause, ErrorCode, Frame, IdGenerator, Received, Request, RequestHeaders, SubjectRequest, Subjects, Timestamp,
    header,
};

/// Tokens of messages.
pub(super) const WORDS: &[&str] = &[
    "greenroom.v1.",
    "agents.",
    ".execute",
    "workflows.",
    ".run",
    "teams.execute",
    "runs.",
    ".signal",
    ".events",
    "catalogue.",
    ".list",
    ".get",
    "requests",
    "artifacts.upload",
    "%2E",
    "*",
    ">",
    "..",
    "\n",
    "\n\n",
    "Authorization: Bearer t",
    "Idempotency-Key: k",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "Greenroom-Deadline: 2125-01-02T03:04:05Z",
    "Greenroom-Timeout: 1",
    "Greenroom-Version: 2",
    "Greenroom-Frames: 1",
    "Greenroom-Chunk: 0",
    "{\"inputs\":{}}",
    "\"options\":{\"model\":\"tier.small\"}",
    "\"detach\":true",
    "\"after\":7",
    "\"signal\":\"approve\",\"step\":\"a\"",
    "\"version\":2",
    "\"frame\":\"delta\"",
    "null",
    "\"later\":[{}]",
];

struct Fixed;

impl IdGenerator for Fixed {
    fn next_id(&self) -> u128 {
        7
    }
}

/// Reads a message, and checks that what was read is written as something that is read as the same.
pub(super) fn message(bytes: &[u8]) {
    let (head, body) = split(bytes);
    frame(body);
    let Ok(head) = std::str::from_utf8(head) else { return };
    let mut lines = head.lines();
    let subject = lines.next().unwrap_or_default();
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let value = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    if let Err(cause) = header::read_chunk(value) {
        assert_code(&cause, &[ErrorCode::InvalidRequest]);
    }
    let Ok(subjects) = Subjects::new("greenroom") else { return };
    let purpose = match subjects.parse(subject) {
        Ok(purpose) => purpose,
        Err(cause) => return assert_code(&cause, &[ErrorCode::InvalidRequest]),
    };
    assert_eq!(subjects.build(&purpose), subject, "a subject that is accepted has one form");
    let headers = match RequestHeaders::read(value) {
        Ok(headers) => headers,
        Err(cause) => return assert_code(&cause, &[ErrorCode::InvalidRequest, ErrorCode::Unauthenticated]),
    };
    match purpose.into_request(body, headers.version) {
        Err(cause) => assert_code(&cause, &[ErrorCode::InvalidRequest, ErrorCode::PayloadTooLarge]),
        Ok(SubjectRequest::Send(envelope)) => {
            let now = Timestamp::from_micros(1_735_787_045_000_000);
            match Received::from_message(*envelope, headers, IngressKind::Nats, &Fixed, now) {
                Err(cause) => {
                    let codes = [ErrorCode::InvalidRequest, ErrorCode::Unauthenticated, ErrorCode::TimedOut];
                    assert_code(&cause, &codes);
                }
                Ok(received) => {
                    assert!(!received.deadline().has_passed(now), "a received request has time remaining");
                    assert!(received.request().check_outside().is_ok(), "only the platform sets inner members");
                    assert_survives(&subjects, received.request());
                }
            }
        }
        Ok(SubjectRequest::Watch { run, after }) => {
            let message = subjects.of_watch(&run, after);
            assert!(
                message.is_ok_and(
                    |message| read_message(&subjects, &message) == Some(SubjectRequest::Watch { run, after })
                )
            );
        }
        Ok(SubjectRequest::Upload { name, media_type }) => {
            let message = subjects.of_upload(&name, &media_type);
            let expected = SubjectRequest::Upload { name, media_type };
            assert!(message.is_ok_and(|message| read_message(&subjects, &message) == Some(expected)));
        }
    }
}

/// The lines up to an empty one, and what follows it.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
    (head, rest.get(2..).unwrap_or_default())
}

fn frame(body: &[u8]) {
    if let Ok(Some(frame)) = Frame::decode(body) {
        let mut order = FrameOrder::default();
        let is_repeated = order.accepts(&frame) && frame.id().is_some() && order.accepts(&frame);
        assert!(!is_repeated, "a reader takes a frame with a position once");
        let bytes = serde_json::to_vec(&frame).unwrap_or_default();
        assert_eq!(Frame::decode(&bytes), Ok(Some(frame)), "a frame survives its JSON");
    }
}

fn read_message(subjects: &Subjects, (subject, body): &(String, Vec<u8>)) -> Option<SubjectRequest> {
    let version = RequestHeaders::default().version;
    subjects.parse(subject).ok()?.into_request(body, version).ok()
}

/// Checks that a client that sends the request sends this request.
fn assert_survives(subjects: &Subjects, request: &Request) {
    let read = subjects.of_request(request).ok().and_then(|message| read_message(subjects, &message));
    let is_same = matches!(&read, Some(SubjectRequest::Send(envelope)) if envelope.request == *request);
    assert!(is_same, "{request:?} is read as {read:?}");
}

fn assert_code(cause: &Cause, codes: &[ErrorCode]) {
    assert!(codes.contains(&cause.code), "{cause}");
}

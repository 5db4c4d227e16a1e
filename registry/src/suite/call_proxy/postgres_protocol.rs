//! The messages of PostgreSQL: a request ends with a message to which the server replies, a reply with `ReadyForQuery`.

use std::collections::HashMap;

use super::{Protocol, Request};

/// The code of the request for TLS, which precedes the start of a session.
const TLS_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();
/// Bytes of the type and of the length of a message.
const HEAD: usize = 5;

/// The state of one session.
#[derive(Default)]
pub(super) struct PostgresProtocol {
    has_started: bool,
    /// The prepared statements by their names.
    statements: HashMap<String, String>,
}

impl Protocol for PostgresProtocol {
    fn request(&mut self, received: &[u8]) -> Option<Request> {
        if !self.has_started {
            // The first message has no type.
            let length = length_at(received, 0)?;
            self.has_started = received.get(..length)?[4..8] != TLS_REQUEST;
            return Some(Request { length, call: None });
        }
        let (mut length, mut call) = (0, None);
        loop {
            let end = message_end(received, length)?;
            let body = &received[length + HEAD..end];
            let kind = received[length];
            length = end;
            match kind {
                // Parse: the name of a statement and its text.
                b'P' => {
                    let (name, rest) = text(body)?;
                    self.statements.insert(name, text(rest)?.0);
                }
                // Bind: the names of a portal and of a statement.
                b'B' => {
                    let (_, rest) = text(body)?;
                    call = self.statements.get(&text(rest)?.0).cloned();
                }
                b'Q' => return Some(Request { length, call: text(body).map(|(sql, _)| sql) }),
                // Describe, Execute and Close are parts of a request.
                b'D' | b'E' | b'C' => {}
                _ => return Some(Request { length, call }),
            }
        }
    }

    fn reply_length(&self, received: &[u8]) -> Option<usize> {
        let mut length = 0;
        loop {
            let kind = *received.get(length)?;
            length = message_end(received, length)?;
            if kind == b'Z' {
                return Some(length);
            }
        }
    }
}

/// The end of the message at this position, once it is complete.
fn message_end(bytes: &[u8], at: usize) -> Option<usize> {
    let end = at + 1 + length_at(bytes, at + 1)?;
    (bytes.len() >= end).then_some(end)
}

/// The length at this position, which counts itself.
fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let number = u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().unwrap());
    Some(usize::try_from(number).unwrap())
}

/// A text, and what follows its end.
fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((String::from_utf8_lossy(&bytes[..end]).into_owned(), &bytes[end + 1..]))
}

#[test]
fn a_request_is_complete_with_its_last_message_and_names_its_statement() {
    let message = |kind: u8, body: &[u8]| {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length[..], body].concat()
    };
    let mut protocol = PostgresProtocol::default();
    let start = [8_u32.to_be_bytes(), [0, 3, 0, 0]].concat();
    assert_eq!(protocol.request(&start).unwrap().length, 8);
    let parse = [message(b'P', b"s1\0SELECT f()\0\0\0"), message(b'D', b"Ss1\0"), message(b'S', b"")].concat();
    assert!(protocol.request(&parse[..parse.len() - 1]).is_none());
    assert!(protocol.request(&parse).unwrap().call.is_none(), "it is only prepared");
    let call = [message(b'B', b"\0s1\0\0\0\0\0\0\0"), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat();
    let request = protocol.request(&[call.clone(), parse].concat()).unwrap();
    assert_eq!((request.length, request.call.as_deref()), (call.len(), Some("SELECT f()")));
    let query = protocol.request(&message(b'Q', b"COMMIT\0")).unwrap();
    assert_eq!(query.call.as_deref(), Some("COMMIT"));
    let reply = [message(b'2', b""), message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat();
    assert_eq!(protocol.reply_length(&reply[..reply.len() - 1]), None);
    assert_eq!(protocol.reply_length(&reply), Some(reply.len()));
}

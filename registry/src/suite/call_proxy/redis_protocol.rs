//! The protocol of Redis: a request is a list of words; a call is its first two.

use super::{Protocol, Request};

const LINE_END: &[u8] = b"\r\n";

/// It has no state.
pub(super) struct RedisProtocol;

impl Protocol for RedisProtocol {
    fn request(&mut self, received: &[u8]) -> Option<Request> {
        let (count, mut length) = line_at(received, 0)?;
        let mut words = Vec::new();
        for _ in 0..count {
            let (bytes, start) = line_at(received, length)?;
            let end = start + usize::try_from(bytes).unwrap();
            words.push(String::from_utf8_lossy(received.get(start..end)?).into_owned());
            length = end + LINE_END.len();
        }
        words.truncate(2);
        (received.len() >= length).then(|| Request { length, call: Some(words.join(" ")) })
    }

    fn reply_length(&self, received: &[u8]) -> Option<usize> {
        value_end(received, 0)
    }
}

/// The number of the line at this position, which follows a sign, and the end of the line.
fn line_at(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let end = line_end(bytes, at)?;
    let number = std::str::from_utf8(&bytes[at + 1..end - LINE_END.len()]).unwrap();
    Some((number.parse().unwrap(), end))
}

fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    let length = bytes.get(at..)?.windows(LINE_END.len()).position(|pair| pair == LINE_END)?;
    Some(at + length + LINE_END.len())
}

/// The end of the value at this position, once it is complete.
fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'$' => {
            let (length, start) = line_at(bytes, at)?;
            // A missing value has a negative length.
            let end = usize::try_from(length).map_or(start, |length| start + length + LINE_END.len());
            (bytes.len() >= end).then_some(end)
        }
        b'*' => {
            let (count, mut end) = line_at(bytes, at)?;
            for _ in 0..count {
                end = value_end(bytes, end)?;
            }
            Some(end)
        }
        _ => line_end(bytes, at),
    }
}

#[test]
fn a_request_and_a_reply_end_with_their_last_word() {
    let mut protocol = RedisProtocol;
    let call = b"*3\r\n$5\r\nFCALL\r\n$7\r\nx_claim\r\n$1\r\n1\r\n";
    assert!(protocol.request(&call[..call.len() - 1]).is_none());
    let request = protocol.request(&[&call[..], &b"*1\r\n"[..]].concat()).unwrap();
    assert_eq!((request.length, request.call.as_deref()), (call.len(), Some("FCALL x_claim")));
    for reply in
        ["+OK\r\n", "-ERR no\r\n", ":1\r\n", "$-1\r\n", "$2\r\nab\r\n", "*2\r\n$2\r\nOK\r\n*1\r\n:7\r\n", "*-1\r\n"]
    {
        assert_eq!(protocol.reply_length(reply.as_bytes()), Some(reply.len()), "{reply}");
        assert_eq!(protocol.reply_length(&reply.as_bytes()[..reply.len() - 1]), None, "{reply}");
    }
}

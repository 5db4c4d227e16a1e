//! Two ends of a session, without a transport between them.

use super::*;
use crate::cluster::keys::{ClusterKey, ClusterSecret, KeyLabel};

const WINDOW: u32 = 64;

fn key(context: &[u8]) -> ClusterKey {
    let secret = ClusterSecret::new("a secret of sixteen bytes or more", "green").unwrap();
    secret.key(KeyLabel::Chunks, context).unwrap()
}

fn ends() -> (StreamState, StreamState) {
    let end = |send: &[u8], receive: &[u8]| {
        StreamState::new(ChunkSealer::new(key(send)), ChunkOpener::new(key(receive)), WINDOW, WINDOW)
    };
    (end(b"a", b"b"), end(b"b", b"a"))
}

#[test]
fn bytes_arrive_in_order_in_whatever_parts_they_are_read() {
    let (mut one, mut other) = ends();
    let (sent, chunk) = one.send(b"abcdef", 4).unwrap();
    assert_eq!((sent, other.receive(&chunk)), (4, Change::Readable));
    let (sent, chunk) = one.send(b"ef", 4).unwrap();
    assert_eq!((sent, other.receive(&chunk)), (2, Change::Readable));
    let parts: Vec<Bytes> = (0..4).map(|_| other.read(3)).collect();
    assert_eq!(parts, ["abc", "d", "ef", ""]);
}

#[test]
fn a_sender_waits_for_credit_and_gets_it_once_the_reader_has_taken_bytes() {
    let (mut one, mut other) = ends();
    let (sent, chunk) = one.send(&[7; 100], 1_000).unwrap();
    assert_eq!((sent, one.has_credit(), one.send(&[7], 1)), (64, false, None));
    assert_eq!(other.receive(&chunk), Change::Readable);
    assert_eq!(other.grant(), None, "the reader has taken nothing");
    assert_eq!((other.read(15).len(), other.grant()), (15, None), "less than a quarter of the window");
    assert_eq!(other.read(5).len(), 5);
    let credit = other.grant().unwrap();
    assert_eq!((one.receive(&credit), one.has_credit()), (Change::Writable, true));
    assert_eq!(one.send(&[7; 100], 1_000).unwrap().0, 20);
}

#[test]
fn a_sender_that_takes_more_than_it_was_granted_ends_the_session() {
    let (_, mut other) = ends();
    let mut greedy = ChunkSealer::new(key(b"a"));
    assert_eq!(other.receive(&greedy.data(&[0; 64])), Change::Readable);
    assert_eq!(other.receive(&greedy.data(&[0; 1])), Change::Closed(CloseReason::Overrun));
}

#[test]
fn a_forged_and_a_replayed_chunk_change_nothing() {
    let (mut one, mut other) = ends();
    let (_, chunk) = one.send(b"abc", 10).unwrap();
    let mut forged = chunk.to_vec();
    forged[10] ^= 1;
    assert_eq!(other.receive(&forged.into()), Change::Refused(RefusedMessage::Forged));
    assert_eq!(other.receive(&Bytes::from_static(b"garbage")), Change::Refused(RefusedMessage::Forged));
    assert_eq!(other.receive(&chunk), Change::Readable);
    assert_eq!(other.receive(&chunk), Change::Refused(RefusedMessage::Replayed));
    let (_, next) = one.send(b"def", 10).unwrap();
    assert_eq!(other.receive(&next), Change::Readable);
    assert_eq!((other.read(10), other.read(10)), ("abc".into(), "def".into()));
}

#[test]
fn a_missing_chunk_ends_the_session() {
    let (mut one, mut other) = ends();
    let _lost = one.send(b"abc", 10).unwrap();
    let (_, next) = one.send(b"def", 10).unwrap();
    assert_eq!(other.receive(&next), Change::Closed(CloseReason::Gap));
    assert_eq!((other.read(10), other.closed()), (Bytes::new(), Some(CloseReason::Gap)));
    assert!(!other.close(CloseReason::Local), "it has ended already");
    assert_eq!(one.receive(&other.take_last().unwrap()), Change::Closed(CloseReason::Peer));
    assert!(!one.has_last() && !other.has_last());
}

#[test]
fn what_was_received_before_the_end_can_be_read() {
    let (mut one, mut other) = ends();
    let (_, chunk) = one.send(b"abc", 10).unwrap();
    assert!(one.close(CloseReason::Local) && !one.close(CloseReason::Silent));
    assert_eq!((one.send(b"x", 1), one.has_credit()), (None, false));
    let close = one.take_last().unwrap();
    assert_eq!(other.receive(&chunk), Change::Readable);
    assert_eq!(other.receive(&close), Change::Closed(CloseReason::Peer));
    assert_eq!(other.read(10), "abc");
    assert_eq!(other.receive(&chunk), Change::Closed(CloseReason::Peer));
}

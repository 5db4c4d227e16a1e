//! The target `cluster`: the documents that pods publish for each other, once their signature is accepted, and the messages
//! that they send to the owners of runs through the database. The first byte of the input selects what the rest is read as. Another release, or a pod that is out of order, has signed it: whatever it
//! is, it is read or dropped, and what is read is written as something that is read as the same.

use std::fmt::Debug;

use greenroom_actors::run::rewrite_message;
use greenroom_supervisor::cluster::answers::AnswerPart;
use greenroom_supervisor::cluster::keys::{ClusterKey, ClusterSecret, KeyLabel};
use greenroom_supervisor::cluster::signed;
use greenroom_supervisor::cluster::step_texts::StepText;
use greenroom_supervisor::cluster::store_watch::{Challenge, PodNotice};
use greenroom_supervisor::cluster::wake::WakeMessage;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Tokens of documents.
pub(super) const WORDS: &[&str] = &[
    "\0{\"id\":{\"fence\":1,\"seq\":2,\"n\":3},\"step\":{\"step\":\"write\"},\"text\":\"a\",\"at\":\"2025-01-02T03:04:05Z\"}",
    "\u{1}{\"n\":1,\"content\":{\"text\":\"a\"}}",
    "\u{2}{\"cluster\":\"c\",\"store\":\"s\",\"pod\":\"one\",\"is_serving\":true}",
    "\u{3}{\"nonce\":\"00\"}",
    "\u{4}{\"pod\":\"one\",\"n\":1}",
    "\u{5}{\"signal\":{\"signal\":\"cancel\"},\"by\":\"alice\"}",
    "\u{5}{\"write\":{\"run\":\"run_1\",\"key\":\"facts\",\"change\":{\"put\":1}},\"id\":\"req_1\",\"deadline\":\"2025-01-02T03:04:05Z\"}",
    "\"signal\":\"event\"",
    "\"restarted\"",
    "\"end\"",
    "\"is_last\":true",
    "\"index\":4294967295",
    "\"nonce\":null",
    "18446744073709551615",
    "9999-12-31T23:59:59.999999Z",
    "-9999-01-01T00:00:00Z",
    "\"later\":[{}]",
    "null",
];

const SECRET: &str = "a secret of sixteen bytes or more";
const SUBJECT: &str = "greenroom.internal.fuzz";
/// How many kinds of documents there are that are published, and the kind of the messages.
const KINDS: u8 = 5;
const MESSAGE: u8 = KINDS;

/// Reads a document that is signed, as a pod does.
fn read<T: DeserializeOwned>(key: &ClusterKey, body: &[u8]) -> Option<T> {
    signed::open(key, SUBJECT, body, &signed::signature(key, SUBJECT, body))
}

fn check<T: DeserializeOwned + Serialize + PartialEq + Debug>(key: &ClusterKey, body: &[u8]) {
    if let Some(document) = read::<T>(key, body) {
        let written = serde_json::to_vec(&document).unwrap_or_default();
        assert_eq!(read::<T>(key, &written), Some(document), "a document survives its JSON");
    }
}

/// Reads the body of a message to the owner of a run.
fn message(body: &[u8]) {
    let Ok(body) = std::str::from_utf8(body) else { return };
    if let Ok(written) = rewrite_message(body) {
        // Its numbers may be written with fewer digits.
        assert!(rewrite_message(&written).is_ok(), "a message survives its JSON");
    }
}

/// Reads a document of another pod.
pub(super) fn cluster(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let kind = kind % (KINDS + 1);
    if kind == MESSAGE {
        return message(body);
    }
    let secret = ClusterSecret::new(SECRET, "fuzz").ok();
    let Some(key) = secret.and_then(|secret| secret.key(KeyLabel::Texts, b"greenroom").ok()) else { return };
    match kind {
        0 => check::<StepText>(&key, body),
        1 => check::<AnswerPart>(&key, body),
        2 => check::<PodNotice>(&key, body),
        3 => check::<Challenge>(&key, body),
        _ => check::<WakeMessage>(&key, body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_the_corpus_are_read() {
        let messages = WORDS.iter().filter(|word| word.as_bytes()[0] == MESSAGE);
        let read: Vec<bool> = messages.map(|word| rewrite_message(&word[1..]).is_ok()).collect();
        assert_eq!(read, [true, true]);
    }

    #[test]
    fn what_pods_publish_is_read_and_a_document_of_another_kind_is_dropped() {
        let key = ClusterSecret::new(SECRET, "fuzz").unwrap().key(KeyLabel::Texts, b"greenroom").unwrap();
        let bodies: Vec<&[u8]> = WORDS.iter().take(usize::from(KINDS)).map(|word| &word.as_bytes()[1..]).collect();
        let readable = |body: &[u8]| {
            [
                read::<StepText>(&key, body).is_some(),
                read::<AnswerPart>(&key, body).is_some(),
                read::<PodNotice>(&key, body).is_some(),
                read::<Challenge>(&key, body).is_some(),
                read::<WakeMessage>(&key, body).is_some(),
            ]
        };
        for (kind, body) in bodies.into_iter().enumerate() {
            let expected: [bool; 5] = std::array::from_fn(|other| other == kind);
            assert_eq!(readable(body), expected, "{}", String::from_utf8_lossy(body));
        }
    }
}

//! Messages of the cluster's own traffic: JSON with a signature in a header, which covers the subject too. One without the
//! right signature is dropped and counted, and its content is not read.

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::keys::ClusterKey;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::DroppedMessage;

/// The header with the signature.
const SIGNATURE: &str = "Greenroom-Signature";
/// Bytes of a message; a larger one is not from a pod.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Separates the subject from the body in what is signed. No subject contains it.
const SEPARATOR: u8 = 0;

/// The headers and the body of a message to this subject; `None` if it cannot be written.
pub(super) fn sign(key: &ClusterKey, subject: &str, document: &impl Serialize) -> Option<(HeaderMap, Bytes)> {
    let body = serde_json::to_vec(document).ok()?;
    let mut headers = HeaderMap::new();
    headers.insert(SIGNATURE, signature(key, subject, &body));
    Some((headers, body.into()))
}

/// The document of a message from a pod of the cluster; `None` for any other one.
pub(super) fn read<T: DeserializeOwned>(key: &ClusterKey, metrics: &Metrics, message: &Message) -> Option<T> {
    read_parts(key, metrics, &message.subject, message.headers.as_ref(), &message.payload)
}

/// As [`read`], for a message of a stream.
pub(super) fn read_parts<T: DeserializeOwned>(
    key: &ClusterKey,
    metrics: &Metrics,
    subject: &Subject,
    headers: Option<&HeaderMap>,
    payload: &[u8],
) -> Option<T> {
    let signature = headers.and_then(|headers| headers.get(SIGNATURE));
    let document = signature.and_then(|signature| open(key, subject.as_str(), payload, signature.as_str()));
    if document.is_none() {
        metrics.nats().count_dropped(DroppedMessage::Unsigned);
        tracing::warn!(nats.subject = %subject, "a message without the signature of the cluster is dropped");
    }
    document
}

/// The document of a body that was signed for this subject; `None` for any other one. An unsigned body is not parsed.
#[must_use]
pub fn open<T: DeserializeOwned>(key: &ClusterKey, subject: &str, body: &[u8], signature: &str) -> Option<T> {
    let is_signed = body.len() <= MESSAGE_BYTES_MAX && is_signature(key, subject, body, signature);
    if is_signed { serde_json::from_slice(body).ok() } else { None }
}

/// The signature of a message to this subject, in hexadecimal digits.
#[must_use]
pub fn signature(key: &ClusterKey, subject: &str, body: &[u8]) -> String {
    hex::encode(key.tag(&signed(subject, body)))
}

/// True if this is the signature of a message to this subject.
fn is_signature(key: &ClusterKey, subject: &str, body: &[u8], signature: &str) -> bool {
    hex::decode(signature).is_ok_and(|tag| key.is_tag(&signed(subject, body), &tag))
}

fn signed(subject: &str, body: &[u8]) -> Vec<u8> {
    [subject.as_bytes(), &[SEPARATOR], body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::keys::{ClusterSecret, KeyLabel};

    const SECRET: &str = "a secret of sixteen bytes or more";

    fn key(secret: &str, prefix: &str, cluster: &str, label: KeyLabel) -> ClusterKey {
        ClusterSecret::new(secret, cluster).unwrap().key(label, prefix.as_bytes()).unwrap()
    }

    #[test]
    fn a_signature_holds_for_its_secret_cluster_purpose_subject_and_body_only() {
        let own = key(SECRET, "p", "c", KeyLabel::Pods);
        let signature = signature(&own, "p.internal.pods", b"body");
        let is_own = |key: &ClusterKey, subject, body: &[u8]| is_signature(key, subject, body, &signature);
        assert!(is_own(&key(SECRET, "p", "c", KeyLabel::Pods), "p.internal.pods", b"body"));
        for other in [
            key("another secret of the cluster", "p", "c", KeyLabel::Pods),
            key(SECRET, "q", "c", KeyLabel::Pods),
            key(SECRET, "p", "d", KeyLabel::Pods),
            key(SECRET, "p", "c", KeyLabel::Wake),
        ] {
            assert!(!is_own(&other, "p.internal.pods", b"body"));
        }
        assert!(!is_own(&own, "p.internal.wake", b"body"));
        assert!(!is_own(&own, "p.internal.pods", b"bodY"));
        for forged in ["", "zz", "00", &signature[..62]] {
            assert!(!is_signature(&own, "p.internal.pods", b"body", forged), "{forged}");
        }
    }
}

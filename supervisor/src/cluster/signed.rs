//! Messages of the cluster's own traffic: JSON with a signature in a header. One without the right signature is dropped and
//! counted, and its content is not read.

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::keys::ClusterKey;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::DroppedMessage;

/// The header with the signature.
const SIGNATURE: &str = "Greenroom-Signature";
/// Bytes of a message; a larger one is not from a pod.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// The headers and the body of a message to this subject; `None` if it cannot be written.
pub(super) fn sign(key: &ClusterKey, subject: &str, document: &impl Serialize) -> Option<(HeaderMap, Bytes)> {
    let body = serde_json::to_vec(document).ok()?;
    let mut headers = HeaderMap::new();
    headers.insert(SIGNATURE, key.sign(subject, &body));
    Some((headers, body.into()))
}

/// The document of a message from a pod of the cluster; `None` for any other one.
pub(super) fn read<T: DeserializeOwned>(key: &ClusterKey, metrics: &Metrics, message: &Message) -> Option<T> {
    let signature = message.headers.as_ref().and_then(|headers| headers.get(SIGNATURE));
    let is_signed = message.payload.len() <= MESSAGE_BYTES_MAX
        && signature
            .is_some_and(|signature| key.verify(message.subject.as_str(), &message.payload, signature.as_str()));
    let document = if is_signed { serde_json::from_slice(&message.payload).ok() } else { None };
    if document.is_none() {
        metrics.nats().count_dropped(DroppedMessage::Unsigned);
        tracing::debug!(nats.subject = %message.subject, "a message without the signature of the cluster is dropped");
    }
    document
}

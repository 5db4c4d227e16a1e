//! Signed messages with text that a model writes, between pods. Nothing waits for them or depends on them: what the connection
//! does not take at once is dropped and counted.

use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, future};
use greenroom_protocol::ContentHash;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::keys::ClusterKey;
use super::signed::{read, read_parts, sign};
use super::text_history::TextHistory;
use crate::ingress::nats::connection::NatsConnection;
use crate::telemetry::Metrics;

/// Bytes of text in one message: also escaped, it is one that pods read.
const PIECE_BYTES_MAX: usize = 8 * 1024;

/// Sends and receives texts.
#[derive(Clone)]
pub(crate) struct TextChannel {
    connection: NatsConnection,
    key: ClusterKey,
    metrics: Arc<Metrics>,
    /// What is stored of each topic.
    history: Option<TextHistory>,
}

impl TextChannel {
    pub(crate) const fn new(connection: NatsConnection, key: ClusterKey, metrics: Arc<Metrics>) -> Self {
        Self { connection, key, metrics, history: None }
    }

    /// The same channel, whose messages are stored for a while.
    pub(crate) fn with_history(self, history: Option<TextHistory>) -> Self {
        Self { history, ..self }
    }

    pub(crate) const fn history(&self) -> Option<&TextHistory> {
        self.history.as_ref()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Sends a message about this topic.
    pub(crate) fn publish(&self, topic: &Topic, message: &impl Serialize) {
        let subject = topic.subject(&self.connection);
        if let Some((headers, body)) = sign(&self.key, &subject, message) {
            self.connection.try_publish(subject.into(), headers, body);
        }
    }

    /// The messages about this topic that are stored, and then those from now on; one may be in both.
    pub(crate) async fn replay<T>(&self, topic: &Topic) -> BoxStream<'static, T>
    where
        T: DeserializeOwned + Send + 'static,
    {
        // Subscribed first, so that no message is between them.
        let live = self.subscribe(topic).await;
        let Some(history) = &self.history else { return live };
        let (key, metrics) = (self.key.clone(), Arc::clone(&self.metrics));
        let stored = history.read(topic.subject(&self.connection)).filter_map(move |message| {
            future::ready(read_parts(&key, &metrics, &message.subject, Some(&message.headers), &message.payload))
        });
        stored.chain(live).boxed()
    }

    /// The messages about this topic from now on, as long as the stream is read.
    pub(crate) async fn subscribe<T>(&self, topic: &Topic) -> BoxStream<'static, T>
    where
        T: DeserializeOwned + Send + 'static,
    {
        match self.connection.subscribe(topic.subject(&self.connection), None).await {
            Ok(messages) => {
                let (key, metrics) = (self.key.clone(), Arc::clone(&self.metrics));
                messages.filter_map(move |message| future::ready(read(&key, &metrics, &message))).boxed()
            }
            Err(cause) => {
                tracing::warn!(error.message = cause.message, "texts of other pods are not received");
                stream::pending().boxed()
            }
        }
    }
}

/// What texts are about. A subject has its hash: an id of any length and with any character is one token of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Topic {
    kind: &'static str,
    hash: ContentHash,
}

impl Topic {
    /// The topic of this kind with these ids.
    pub(crate) fn new(kind: &'static str, ids: &[&str]) -> Self {
        // No id contains the separator.
        Self { kind, hash: ContentHash::from_content(ids.join("\0").as_bytes()) }
    }

    fn subject(&self, connection: &NatsConnection) -> String {
        connection.subjects().internal(&format!("{}.{}", self.kind, self.hash))
    }
}

/// The text in pieces that fit into a message.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, tail) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES_MAX));
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_has_several_pieces_and_no_character_is_divided() {
        let text = "ä€𝄞x".repeat(4_000);
        let parts: Vec<&str> = pieces(&text).collect();
        assert!(parts.len() > 1 && parts.iter().all(|part| part.len() <= PIECE_BYTES_MAX));
        assert_eq!(parts.concat(), text);
        assert_eq!(pieces("").count(), 0);
    }

    #[test]
    fn each_kind_and_each_list_of_ids_is_a_topic() {
        assert_eq!(Topic::new("a", &["x", "y"]), Topic::new("a", &["x", "y"]));
        for other in [Topic::new("b", &["x", "y"]), Topic::new("a", &["xy"]), Topic::new("a", &["y", "x"])] {
            assert_ne!(Topic::new("a", &["x", "y"]), other);
        }
    }
}

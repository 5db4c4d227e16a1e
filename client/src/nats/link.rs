//! What the exchanges over NATS need of the connection: to send one message and to receive the frames that answer it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use greenroom_protocol::{Frame, RequestHeaders};

use crate::transport::TransportError;

/// A message to the pods.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) headers: RequestHeaders,
    pub(super) body: Bytes,
}

impl Message {
    /// The same message for a caller that waits this long from now.
    pub(super) fn with_timeout(&self, timeout: Duration) -> Self {
        let headers = RequestHeaders { timeout: Some(timeout), ..self.headers.clone() };
        Self { subject: self.subject.clone(), headers, body: self.body.clone() }
    }
}

/// The frames that answer a message, up to the empty message that ends them. Nothing follows an error.
pub(super) type FrameStream = BoxStream<'static, Result<Frame, TransportError>>;

/// Sends messages and receives frames: the connection to NATS, or the script of a test.
#[async_trait]
pub(super) trait Link: Send + Sync {
    /// Sends a message. Its frames are received until the stream is dropped.
    ///
    /// # Errors
    /// [`TransportError::Unreachable`] if it was not sent; [`TransportError::Rejected`] if it cannot be.
    async fn open(&self, message: Message) -> Result<FrameStream, TransportError>;
}

//! What exchanges and watches need of a connection: to send one message and to receive the frames that answer it. A link
//! is the connection to NATS, a bridge over HTTP, or the script of a test.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use greenroom_protocol::{Frame, RequestHeaders};

use crate::transport::TransportError;

/// A message to the pods.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) headers: RequestHeaders,
    pub(crate) body: Bytes,
}

impl Message {
    /// The same message for a caller that waits this long from now.
    pub(crate) fn with_timeout(&self, timeout: Duration) -> Self {
        let headers = RequestHeaders { timeout: Some(timeout), ..self.headers.clone() };
        Self { subject: self.subject.clone(), headers, body: self.body.clone() }
    }
}

/// The frames that answer a message, up to the empty message that ends them. Nothing follows an error.
pub(crate) type FrameStream = BoxStream<'static, Result<Frame, TransportError>>;

/// Sends messages and receives frames.
#[async_trait]
pub(crate) trait Link: Send + Sync {
    /// Sends a message. Its frames are received until the stream is dropped.
    ///
    /// # Errors
    /// [`TransportError::Unreachable`] if it was not sent; [`TransportError::Rejected`] if it cannot be.
    async fn open(&self, message: Message) -> Result<FrameStream, TransportError>;
}

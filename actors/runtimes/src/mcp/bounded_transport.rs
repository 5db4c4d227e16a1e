//! A transport that ends once too many messages wait to be sent. A server may send requests without reading the replies, or
//! read nothing at all: what waits for it would fill the memory of the pod.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;

/// Messages that wait to be sent: far more than the calls of a server at the same time, with their cancellations.
const WAITING_MAX: usize = 512;

/// The transport.
pub(super) struct BoundedTransport<T> {
    inner: T,
    waiting_count: Arc<AtomicUsize>,
    is_unread: Arc<AtomicBool>,
}

impl<T> BoundedTransport<T> {
    /// Sends and receives by `inner`. Sets `is_unread` once too much waits.
    pub(super) fn new(inner: T, is_unread: Arc<AtomicBool>) -> Self {
        Self { inner, waiting_count: Arc::default(), is_unread }
    }
}

/// One message that waits.
struct WaitingMessage(Arc<AtomicUsize>);

impl WaitingMessage {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for WaitingMessage {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for BoundedTransport<T> {
    type Error = T::Error;

    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let waiting = WaitingMessage::new(&self.waiting_count);
        let sending = self.inner.send(item);
        async move {
            let sent = sending.await;
            drop(waiting);
            sent
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        if self.waiting_count.load(Ordering::Relaxed) > WAITING_MAX {
            self.is_unread.store(true, Ordering::Relaxed);
            return None;
        }
        self.inner.receive().await
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;

    use rmcp::model::{ClientRequest, JsonRpcMessage, ListToolsRequest, PaginatedRequestParams, RequestId};

    use super::*;

    /// A server that reads nothing.
    struct Unread;

    impl Transport<RoleClient> for Unread {
        type Error = Infallible;

        fn send(
            &mut self,
            _: TxJsonRpcMessage<RoleClient>,
        ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
            pending()
        }

        async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
            pending().await
        }

        async fn close(&mut self) -> Result<(), Self::Error> {
            Ok(())
        }
    }

    fn message() -> TxJsonRpcMessage<RoleClient> {
        let request = ListToolsRequest::with_param(PaginatedRequestParams::default());
        JsonRpcMessage::request(ClientRequest::ListToolsRequest(request), RequestId::Number(1))
    }

    #[tokio::test]
    async fn a_server_that_reads_nothing_ends_the_connection_and_what_was_given_up_does_not_count() {
        let is_unread = Arc::new(AtomicBool::new(false));
        let mut transport = BoundedTransport::new(Unread, Arc::clone(&is_unread));
        for _ in 0..2 * WAITING_MAX {
            drop(transport.send(message()));
        }
        assert!(futures::poll!(std::pin::pin!(transport.receive())).is_pending());
        let mut waiting = Vec::new();
        for _ in 0..=WAITING_MAX {
            waiting.push(transport.send(message()));
        }
        assert!(transport.receive().await.is_none() && is_unread.load(Ordering::Relaxed));
        assert_eq!(waiting.len(), WAITING_MAX + 1);
    }
}

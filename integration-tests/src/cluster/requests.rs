//! Requests over NATS: each is repeated with its idempotency key as long as the code of its reply, or the lack of a reply,
//! says that it may succeed, and counted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use greenroom_client::{Client, Credential, Error, ReplyResult};
use greenroom_protocol::Reply;
use tokio::time::{Instant, sleep};

use super::history::RequestCounts;
use super::workload::key_of;

/// How long one call of the client waits. The client itself sends its message again after three seconds.
pub const CALL_MAX: Duration = Duration::from_secs(10);
/// How long a request is repeated.
const REQUEST_MAX: Duration = Duration::from_secs(120);
/// Delay of a repetition for which the pod names none.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Counts requests that have ended.
#[derive(Debug, Default)]
pub struct Requests {
    sent: AtomicUsize,
    replied: AtomicUsize,
    repeated: AtomicUsize,
}

impl Requests {
    /// Sends a request by calls of the client until a reply is final; `None` if there is none in time.
    ///
    /// # Errors
    /// If a call fails in a way that no repetition changes.
    pub async fn send<F>(&self, call: impl Fn() -> F) -> anyhow::Result<Option<Reply>>
    where
        F: Future<Output = ReplyResult>,
    {
        self.send_until(Instant::now() + REQUEST_MAX, call).await
    }

    /// As [`Requests::send`], until this moment.
    ///
    /// # Errors
    /// As [`Requests::send`].
    pub async fn send_until<F>(&self, give_up_at: Instant, call: impl Fn() -> F) -> anyhow::Result<Option<Reply>>
    where
        F: Future<Output = ReplyResult>,
    {
        let mut is_repeated = false;
        let reply = loop {
            let delay = match call().await {
                Ok(reply) => match reply.error.as_ref().filter(|cause| cause.code.is_retryable()) {
                    None => break Some(reply),
                    Some(cause) => cause.retry_after_ms.map(Duration::from_millis),
                },
                Err(error) => {
                    let error = Error::from(error);
                    if !error.is_retryable() {
                        return Err(error).context("a request has no reply, and must not be repeated");
                    }
                    error.retry_after()
                }
            };
            if Instant::now() >= give_up_at {
                break None;
            }
            is_repeated = true;
            sleep(delay.unwrap_or(RETRY_DELAY)).await;
        };
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.replied.fetch_add(usize::from(reply.is_some()), Ordering::Relaxed);
        self.repeated.fetch_add(usize::from(is_repeated), Ordering::Relaxed);
        Ok(reply)
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> RequestCounts {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        RequestCounts { sent: count(&self.sent), replied: count(&self.replied), repeated: count(&self.repeated) }
    }
}

/// A client of this user.
#[must_use]
pub fn client_of(client: &Client, user: &str) -> Client {
    client.clone().with_credential(Credential::ApiKey(key_of(user)))
}

#[cfg(test)]
mod tests {
    use greenroom_client::TransportError;
    use greenroom_protocol::{Cause, ErrorCode, Metadata, Status, Values, WrittenVersion};

    use super::*;

    fn reply(code: Option<ErrorCode>) -> ReplyResult {
        let error = code.map(|code| Cause::new(code, "for the test"));
        let (id, status, outputs, metadata) = ("run_1".to_owned(), Status::Failed, Values::new(), Metadata::default());
        Ok(Reply { id, status, outputs, error, metadata, protocol_version: WrittenVersion::OWN })
    }

    #[tokio::test]
    async fn a_request_is_repeated_until_its_reply_is_final_and_counted_once() {
        let (requests, calls) = (Requests::default(), AtomicUsize::new(0));
        let call = || {
            let number = calls.fetch_add(1, Ordering::Relaxed);
            async move {
                match number {
                    0 => Err(TransportError::ConnectionLost),
                    1 => reply(Some(ErrorCode::LeaseLost)),
                    _ => reply(Some(ErrorCode::BudgetExceeded)),
                }
            }
        };
        let sent = requests.send(call).await.unwrap().unwrap();
        assert_eq!(sent.error.map(|cause| cause.code), Some(ErrorCode::BudgetExceeded));
        assert_eq!(requests.counts(), RequestCounts { sent: 1, replied: 1, repeated: 1 });
        let refused = || async { reply(Some(ErrorCode::ShuttingDown)) };
        assert!(requests.send_until(Instant::now(), refused).await.unwrap().is_none());
        assert_eq!(requests.counts(), RequestCounts { sent: 2, replied: 1, repeated: 1 });
        let invalid = || async { Err(TransportError::InvalidResponse { reason: "no JSON".to_owned() }) };
        assert!(requests.send(invalid).await.is_err());
    }
}

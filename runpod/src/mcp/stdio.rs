//! The messages of one client over lines, as a process has them on its standard input and output. Requests are served at the
//! same time; a client cancels one by a notification, and those that last by closing its end.

use std::time::Duration;

use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{FutureExt, TryFutureExt};
use greenroom_client::Client;
use greenroom_protocol::{Cause, ErrorCode, IdempotencyKey, Json};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

pub mod lines;

use self::lines::Line;
use super::{CallSettings, McpMessage, McpNotification, McpReply, McpRequest, McpServer};
use crate::random::random_text;

/// Requests of a client at the same time.
const REQUESTS_MAX: usize = 64;
/// How often the progress of a request is notified of: a client may end one of which it receives nothing.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// How long what is under way may take once the client has closed its end.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// What becomes of a request: its reply, or nothing if it was cancelled.
type Serving<'s> = BoxFuture<'s, (Json, Option<McpReply>)>;

/// The session of one client.
pub struct StdioSession<'s> {
    server: &'s McpServer,
    client: &'s Client,
    timeout: Option<Duration>,
    /// The beginning of the idempotency keys of this session.
    key: String,
    under_way: FuturesUnordered<Serving<'s>>,
    requests: Vec<UnderWay>,
    out: mpsc::Sender<String>,
}

/// A request under way.
struct UnderWay {
    id: Json,
    handle: AbortHandle,
    progress: Option<(Json, u64)>,
}

/// The reader of the messages has ended.
struct Closed;

impl<'s> StdioSession<'s> {
    /// A session that writes each message to `out`. Its calls wait for `timeout`.
    #[must_use]
    pub fn new(
        server: &'s McpServer,
        client: &'s Client,
        timeout: Option<Duration>,
        out: mpsc::Sender<String>,
    ) -> Self {
        let key = format!("mcp-{}", random_text());
        Self { server, client, timeout, key, under_way: FuturesUnordered::new(), requests: Vec::new(), out }
    }

    /// Serves the messages until the client closes its end. What is under way then is cancelled if it does not end soon.
    pub async fn serve(mut self, mut lines: mpsc::Receiver<Line>) {
        let mut progress = interval(PROGRESS_INTERVAL);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let served = tokio::select! {
                line = lines.recv() => match line {
                    Some(line) => self.receive(line).await,
                    None => break,
                },
                Some((id, reply)) = self.under_way.next(), if !self.under_way.is_empty() => self.end(&id, reply).await,
                _ = progress.tick() => self.notify_of_progress().await,
            };
            if served.is_err() {
                return;
            }
        }
        let _ = timeout(DRAIN_TIME_MAX, self.drain()).await;
    }

    async fn drain(&mut self) {
        while let Some((id, reply)) = self.under_way.next().await {
            if self.end(&id, reply).await.is_err() {
                return;
            }
        }
    }

    async fn receive(&mut self, line: Line) -> Result<(), Closed> {
        let bytes = match line {
            Line::Complete(bytes) => bytes,
            Line::TooLong { bytes_max } => {
                let cause = Cause::new(ErrorCode::PayloadTooLarge, format!("a message has at most {bytes_max} bytes"));
                return self.write(&McpReply::failed(Json::Null, &cause).document).await;
            }
        };
        match McpMessage::read(&bytes) {
            Ok(McpMessage::Request(request)) => self.begin(request).await,
            Ok(McpMessage::Notification(notification)) => {
                self.cancel(&notification);
                Ok(())
            }
            Ok(McpMessage::Response) => Ok(()),
            Err(reply) => self.write(&reply.document).await,
        }
    }

    async fn begin(&mut self, request: McpRequest) -> Result<(), Closed> {
        let id = request.id.clone();
        if self.requests.len() >= REQUESTS_MAX {
            return self.write(&McpReply::overloaded(id, REQUESTS_MAX).document).await;
        }
        let progress = request.progress_token().map(|token| (token.clone(), 0));
        // The key of a call is that of its id: a client that repeats a request has one result.
        let key = match &id {
            Json::String(text) => format!("{}-text-{text}", self.key),
            // The text "1" is another id than the number.
            number => format!("{}-{number}", self.key),
        };
        let key = IdempotencyKey::new(key);
        let Ok(key) = key.or_else(|_| IdempotencyKey::new(random_text())) else {
            let cause = Cause::new(ErrorCode::Internal, "the request has no key");
            return self.write(&McpReply::failed(id, &cause).document).await;
        };
        let (handle, registration) = AbortHandle::new_pair();
        let settings = CallSettings { key, timeout: self.timeout, trace: None };
        let failed_id = id.clone();
        let (server, client) = (self.server, self.client);
        let responding = server.respond(client, request, settings);
        let responding = responding.unwrap_or_else(move |cause| McpReply::failed(failed_id, &cause));
        let ended_id = id.clone();
        let serving = Abortable::new(responding, registration).map(move |reply| (ended_id, reply.ok()));
        self.under_way.push(serving.boxed());
        self.requests.push(UnderWay { id, handle, progress });
        Ok(())
    }

    /// Cancels a request. It has no reply then.
    fn cancel(&self, notification: &McpNotification) {
        let cancelled = notification.cancelled();
        for request in self.requests.iter().filter(|request| cancelled == Some(&request.id)) {
            request.handle.abort();
        }
    }

    async fn end(&mut self, id: &Json, reply: Option<McpReply>) -> Result<(), Closed> {
        if let Some(position) = self.requests.iter().position(|request| request.id == *id) {
            self.requests.swap_remove(position);
        }
        match reply {
            Some(reply) => self.write(&reply.document).await,
            None => Ok(()),
        }
    }

    async fn notify_of_progress(&mut self) -> Result<(), Closed> {
        let mut notifications = Vec::new();
        for request in &mut self.requests {
            if let Some((token, progress)) = &mut request.progress {
                *progress += 1;
                let params = json!({ "progressToken": token, "progress": progress, "message": "under way" });
                notifications.push(json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params }));
            }
        }
        for notification in notifications {
            self.write(&notification).await?;
        }
        Ok(())
    }

    async fn write(&self, message: &Json) -> Result<(), Closed> {
        self.out.send(message.to_string()).await.map_err(|_| Closed)
    }
}

#[cfg(test)]
mod tests;

//! One server: it is connected when it is needed, connected again after a delay if it ends, and called within bounds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use greenroom_actors::handler::FileAccess;
use greenroom_actors::model::ToolSpec;
use greenroom_actors::supervision::Backoff;
use greenroom_actors::tool::{ToolDescription, ToolInput};
use greenroom_protocol::header::TRACEPARENT;
use greenroom_protocol::{Cause, ErrorCode, Json};
use rmcp::ServiceError;
use rmcp::model::{CallToolRequestParams, CallToolResponse, ErrorCode as RpcCode, RequestMetaObject};
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use super::connection::{Connection, End, stopped};
use super::http::{self, HttpServer};
use super::observer::{McpEvent, McpObserver};
use super::process::MESSAGE_BYTES_MAX;
use super::report::{ServerReport, ServerStatus, ToolReport};
use super::settings::{ServerAddress, ServerSettings};
use super::state::{Link, Shared};
use super::tool_result;
use crate::foreign::visible_text;
use crate::outbound::credentials::Redaction;

/// Calls of one server at the same time.
const CALLS_MAX: usize = 64;
/// The delay before a server is connected again.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(60) };
/// A connection that has lived so long was no failure.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// Bytes of the message of a server's error.
const MESSAGE_MAX: usize = 1024;
/// The member of `_meta` with the idempotency key of a call.
const KEY_MEMBER: &str = "greenroom/idempotencyKey";

/// One server.
pub(super) struct Server {
    settings: ServerSettings,
    http: Option<HttpServer>,
    shared: Arc<Shared>,
    calls: Semaphore,
    observer: Arc<dyn McpObserver>,
    redaction: Redaction,
}

impl Server {
    /// A server that is not connected.
    ///
    /// # Errors
    /// As [`HttpServer::new`].
    pub(super) fn new(settings: ServerSettings, observer: Arc<dyn McpObserver>) -> Result<Self, Cause> {
        let http = match &settings.address {
            ServerAddress::Process { .. } | ServerAddress::Unusable { .. } => None,
            ServerAddress::Http { url, headers } => {
                let opened = HttpServer::new(url, headers);
                Some(opened.map_err(|cause| Cause {
                    message: format!("mcp.servers.{}: {}", settings.name, cause.message),
                    ..cause
                })?)
            }
        };
        let (shared, redaction) = (Arc::new(Shared::new()), Redaction::new(settings.address.secrets()));
        Ok(Self { settings, http, shared, calls: Semaphore::new(CALLS_MAX), observer, redaction })
    }

    /// True if a call of it is communication with something outside of this organization.
    pub(super) const fn is_external(&self) -> bool {
        self.settings.is_external
    }

    /// Connects once a caller needs the server, and again if the connection ends, until the pod stops.
    pub(super) async fn serve(&self, mut stop: watch::Receiver<bool>) {
        let (mut failures, mut is_needed) = (0_u32, false);
        loop {
            if !is_needed {
                tokio::select! {
                    () = self.shared.demanded() => {}
                    () = stopped(&mut stop) => return,
                }
            }
            let started = Instant::now();
            let connection = Connection {
                settings: &self.settings,
                http: self.http.as_ref(),
                shared: &self.shared,
                observer: &*self.observer,
                redaction: &self.redaction,
            };
            let reason = match Box::pin(connection.run(&mut stop)).await {
                End::Stopped => return self.shared.on_stopped(),
                End::NotConnected(reason) => {
                    is_needed = false;
                    self.observer.on_event(McpEvent::NotConnected);
                    reason
                }
                End::Disconnected(reason) => {
                    is_needed = true;
                    self.observer.on_event(McpEvent::Disconnected);
                    reason
                }
            };
            failures = if is_needed && started.elapsed() > HEALTHY_AFTER { 1 } else { failures.saturating_add(1) };
            let delay = BACKOFF.delay_before(failures);
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                server.name = self.settings.name,
                server.reason = reason,
                delay_ms,
                "an MCP server is not connected"
            );
            self.shared.on_failure(reason, Instant::now() + delay);
            tokio::select! {
                () = sleep(delay) => {}
                () = stopped(&mut stop) => return,
            }
        }
    }

    /// Waits until the list is fresh, or an attempt to fetch it has failed.
    pub(super) async fn wait_fresh(&self) {
        // A start connects, subscribes and fetches the list.
        self.shared.wait_fresh(self.settings.start_timeout.saturating_mul(3)).await;
    }

    /// All tools of the list that was fetched last.
    pub(super) fn describe_all(&self) -> Vec<ToolDescription> {
        self.shared.list().tools.values().cloned().collect()
    }

    /// One tool of the list that was fetched last.
    pub(super) fn describe(&self, tool: &str) -> Option<ToolDescription> {
        self.shared.list().tools.get(tool).cloned()
    }

    /// Checks that a tool is the one that was described.
    ///
    /// # Errors
    /// [`ErrorCode::VersionConflict`]; [`ErrorCode::UnknownTool`].
    pub(super) fn require_unchanged(&self, tool: &str, described: &ToolSpec) -> Result<(), Cause> {
        let list = self.shared.list();
        let Some(known) = list.tools.get(tool) else { return Err(self.unknown(tool)) };
        if known.parameters == described.parameters && known.description == described.description {
            return Ok(());
        }
        self.observer.on_event(McpEvent::ToolChanged);
        let message = "has changed on its server since it was described; only a new execution sees the new description";
        Err(self.cause(ErrorCode::VersionConflict, tool, message))
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownTool`]; [`ErrorCode::Interrupted`] if the server is not connected, or ends;
    /// [`ErrorCode::TimedOut`]; [`ErrorCode::Overloaded`]; [`ErrorCode::PayloadTooLarge`] if a message is too long;
    /// [`ErrorCode::InvalidInput`], [`ErrorCode::HandlerFailed`] and [`ErrorCode::InvalidOutput`] by what the server
    /// replies; those of artifacts.
    pub(super) async fn call(&self, tool: &str, input: ToolInput, files: &FileAccess) -> Result<Json, Cause> {
        let result = self.try_call(tool, input, files).await;
        self.observer.on_event(McpEvent::CallEnded(result.as_ref().err().map(|cause| cause.code)));
        result
    }

    async fn try_call(&self, tool: &str, input: ToolInput, files: &FileAccess) -> Result<Json, Cause> {
        self.wait_fresh().await;
        let link = self.shared.link().ok_or_else(|| self.not_connected(tool))?;
        if !self.shared.list().tools.contains_key(tool) {
            return Err(self.unknown(tool));
        }
        let Ok(Ok(_call)) = timeout(self.settings.timeout, self.calls.acquire()).await else {
            return Err(self.cause(ErrorCode::Overloaded, tool, "waits for other calls of its server"));
        };
        let params = call_params(tool, input);
        // A call that is dropped is cancelled on the server.
        let response = match timeout(self.settings.timeout, Box::pin(link.peer.call_tool_once(params))).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.failed(tool, &link, &error)),
            Err(_elapsed) => {
                // A server that does nothing any more is connected again, and one whose tool is slow is not.
                self.shared.on_changed();
                let message = format!("did not return within {} seconds", self.settings.timeout.as_secs());
                return Err(self.cause(ErrorCode::TimedOut, tool, &message));
            }
        };
        let CallToolResponse::Complete(result) = response else {
            let message = "needs an input of a person or a task, which no agent has";
            return Err(self.cause(ErrorCode::InvalidOutput, tool, message));
        };
        let result = serde_json::to_value(result)
            .map_err(|_| self.cause(ErrorCode::InvalidOutput, tool, "returned a result that cannot be read"))?;
        let converted = tool_result::convert(&format!("{}/{tool}", self.settings.name), &result, files).await;
        converted.map_err(|cause| Cause { message: self.redaction.hide(&cause.message), ..cause })
    }

    /// What is known of it.
    pub(super) fn report(&self) -> ServerReport {
        let list = self.shared.list();
        let status = match (self.shared.link(), self.shared.failure()) {
            (Some(_), _) => ServerStatus::Connected,
            (None, Some(failure)) => ServerStatus::Failed { reason: failure.reason },
            (None, None) => ServerStatus::Unused,
        };
        let tools = list.tools.values();
        let tools = tools.map(|tool| ToolReport { name: tool.name.clone(), description: tool.description.clone() });
        ServerReport {
            name: self.settings.name.clone(),
            status,
            is_external: self.settings.is_external,
            tools: tools.collect(),
            skipped: list.skipped.clone(),
        }
    }

    fn failed(&self, tool: &str, link: &Link, error: &ServiceError) -> Cause {
        let too_long = || format!("returned more than {MESSAGE_BYTES_MAX} bytes");
        match error {
            ServiceError::McpError(error) => {
                let code = match error.code {
                    RpcCode::INVALID_PARAMS => ErrorCode::InvalidInput,
                    RpcCode::METHOD_NOT_FOUND => ErrorCode::UnknownTool,
                    _ => ErrorCode::HandlerFailed,
                };
                let text = visible_text(&self.redaction.redact(&error.message, MESSAGE_MAX), MESSAGE_MAX);
                self.cause(code, tool, &format!("was refused by its server: {text}"))
            }
            ServiceError::TransportSend(error) if http::is_too_large(error) => {
                self.cause(ErrorCode::PayloadTooLarge, tool, &too_long())
            }
            ServiceError::TransportClosed if link.is_exceeded.load(Ordering::Relaxed) => {
                self.cause(ErrorCode::PayloadTooLarge, tool, &too_long())
            }
            ServiceError::UnexpectedResponse => {
                self.cause(ErrorCode::InvalidOutput, tool, "returned what is no result of a tool")
            }
            _ => {
                self.shared.on_changed();
                let message = "was interrupted: its server has ended, or cannot be reached";
                self.cause(ErrorCode::Interrupted, tool, message).with_retry_after(BACKOFF.first)
            }
        }
    }

    fn not_connected(&self, tool: &str) -> Cause {
        let (reason, delay) = match self.shared.failure() {
            Some(failure) => (failure.reason, failure.retry_at.saturating_duration_since(Instant::now())),
            None => ("it has not been connected yet".to_owned(), BACKOFF.first),
        };
        self.cause(ErrorCode::Interrupted, tool, &format!("is not available, its server is not connected: {reason}"))
            .with_retry_after(delay)
    }

    fn unknown(&self, tool: &str) -> Cause {
        self.cause(ErrorCode::UnknownTool, tool, "is not in the list of its server")
    }

    fn cause(&self, code: ErrorCode, tool: &str, message: &str) -> Cause {
        let server = &self.settings.name;
        let message = format!("the tool `{server}/{tool}` {message}");
        Cause::new(code, message).with_details(json!({ "server": server, "tool": tool }))
    }
}

/// The call of a tool, with what a server may use to recognise a repetition, and the trace that the call belongs to.
fn call_params(tool: &str, input: ToolInput) -> CallToolRequestParams {
    let mut meta = RequestMetaObject::new();
    meta.0.0.insert(KEY_MEMBER.to_owned(), json!(input.key.as_str()));
    if let Some(trace) = input.trace {
        meta.0.0.insert(TRACEPARENT.to_owned(), json!(trace.to_string()));
    }
    let mut params = CallToolRequestParams::new(tool.to_owned()).with_arguments(input.arguments.into_iter().collect());
    params.meta = Some(meta);
    params
}

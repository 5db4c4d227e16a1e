//! One connection to a server, from its start to its end. It fetches the list of tools, and fetches it again when the
//! server notifies of a change, and before the list is too old.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use greenroom_protocol::Json;
use rmcp::model::{
    ClientCapabilities, ClientConfig, ClientRequest, Implementation, ListToolsRequest, PaginatedRequestParams,
    ProtocolVersion, SubscriptionFilter,
};
use rmcp::service::{NotificationContext, RunningService, Subscription};
use rmcp::transport::{IntoTransport, TransportAdapterIdentity};
use rmcp::{ClientHandler, ClientLifecycleMode, Peer, RoleClient, serve_client_with_lifecycle};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use super::bounded_transport::BoundedTransport;
use super::http::HttpServer;
use super::observer::{McpEvent, McpObserver};
use super::process::bounded_lines::BoundedLines;
use super::process::{MESSAGE_BYTES_MAX, ServerProcess, stderr};
use super::settings::{ServerAddress, ServerSettings};
use super::state::{LIST_AGE_MAX, Link, Shared};
use super::tool_list::{ListReader, ToolList};
use crate::outbound::credentials::Redaction;

/// Pages of a list.
const PAGES_MAX: usize = 64;
/// Shortest time between two fetches, whatever the server notifies of.
const LIST_INTERVAL_MIN: Duration = Duration::from_millis(200);
/// Longest wait for the status of a process whose connection has ended.
const STATUS_WAIT_MAX: Duration = Duration::from_millis(200);
/// Bytes of the reason of a failure.
const REASON_BYTES_MAX: usize = 300;
/// Skipped tools of one list that are logged.
const LOGGED_MAX: usize = 20;

/// How a connection ended.
pub(super) enum End {
    /// The pod has ended it.
    Stopped,
    /// It was never usable.
    NotConnected(String),
    /// It was usable.
    Disconnected(String),
}

/// Waits until the pod stops.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A dropped sender means that the pod is dropped, which stops everything as well.
    let _ = stop.wait_for(|is_stopped| *is_stopped).await;
}

/// A server to connect to.
pub(super) struct Connection<'c> {
    pub(super) settings: &'c ServerSettings,
    pub(super) http: Option<&'c HttpServer>,
    pub(super) shared: &'c Arc<Shared>,
    pub(super) observer: &'c dyn McpObserver,
    pub(super) redaction: &'c Redaction,
}

impl Connection<'_> {
    /// Connects, and keeps the list fresh until the connection ends.
    pub(super) async fn run(&self, stop: &mut watch::Receiver<bool>) -> End {
        match (&self.settings.address, self.http) {
            (ServerAddress::Process { command, args, env }, _) => match ServerProcess::start(command, args, env) {
                Ok((process, pipes)) => {
                    let is_exceeded = Arc::new(AtomicBool::new(false));
                    let stdout = BoundedLines::new(pipes.stdout, MESSAGE_BYTES_MAX, Arc::clone(&is_exceeded));
                    let log = stderr::log_lines(&self.settings.name, pipes.stderr, self.redaction);
                    let serving = Box::pin(self.serve((stdout, pipes.stdin), is_exceeded));
                    let end = tokio::select! {
                        end = serving => end,
                        () = stopped(stop) => End::Stopped,
                        never = without_end(log) => match never {},
                    };
                    end_process(process, end).await
                }
                Err(reason) => End::NotConnected(reason),
            },
            (ServerAddress::Http { .. }, Some(http)) => {
                let serving = Box::pin(self.serve(http.open(), Arc::default()));
                tokio::select! {
                    end = serving => end,
                    () = stopped(stop) => End::Stopped,
                }
            }
            (ServerAddress::Unusable { reason }, _) => End::NotConnected(reason.clone()),
            (ServerAddress::Http { .. }, None) => End::NotConnected("it has no client".to_owned()),
        }
    }

    async fn serve<T, E, A>(&self, transport: T, is_exceeded: Arc<AtomicBool>) -> End
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let events = ClientEvents { shared: Arc::clone(self.shared) };
        let is_unread = Arc::<AtomicBool>::default();
        let transport = BoundedTransport::new(transport.into_transport(), Arc::clone(&is_unread));
        let starting = serve_client_with_lifecycle::<_, _, _, TransportAdapterIdentity>(events, transport, lifecycle());
        let running = match timeout(self.settings.start_timeout, Box::pin(starting)).await {
            Ok(Ok(running)) => running,
            Ok(Err(error)) => return End::NotConnected(self.reason(&error)),
            Err(_elapsed) => return End::NotConnected(self.overdue("connect")),
        };
        let link = Link { peer: running.peer().clone(), is_exceeded, is_unread };
        // Before the list is fetched, so that no change after it is missed.
        let changes = self.subscribe(&link.peer).await;
        if let Err(reason) = self.list(&link).await {
            return End::NotConnected(reason);
        }
        self.observer.on_event(McpEvent::Connected);
        tracing::info!(server.name = self.settings.name, "an MCP server is connected");
        End::Disconnected(self.keep_fresh(running, &link, changes).await)
    }

    /// Fetches the list whenever it may have changed; returns the reason why the connection has ended.
    async fn keep_fresh(
        &self,
        running: RunningService<RoleClient, ClientEvents>,
        link: &Link,
        mut changes: Option<Subscription>,
    ) -> String {
        let mut closed = pin!(running.waiting());
        loop {
            tokio::select! {
                _ = closed.as_mut() => return link.end_reason().to_owned(),
                () = self.shared.demanded() => {}
                () = sleep_until(self.shared.listed_at() + LIST_AGE_MAX) => {}
                is_changed = next_change(&mut changes) => if is_changed {
                    self.shared.on_changed();
                },
            }
            if self.shared.is_fresh() {
                continue;
            }
            sleep_until(self.shared.listed_at() + LIST_INTERVAL_MIN).await;
            if let Err(reason) = self.list(link).await {
                return reason;
            }
        }
    }

    /// Fetches the list, within the time of a start.
    async fn list(&self, link: &Link) -> Result<(), String> {
        let changes = self.shared.changes();
        let fetching = Box::pin(self.fetch(&link.peer));
        let list = timeout(self.settings.start_timeout, fetching).await.map_err(|_elapsed| self.overdue("list"))??;
        let (skipped, logged) = (list.skipped_count, list.skipped.iter().take(LOGGED_MAX).cloned());
        let logged: Vec<_> = logged.collect();
        if self.shared.on_listed(link, list, changes) && skipped > 0 {
            self.observer.on_event(McpEvent::ToolsSkipped(skipped));
            for tool in logged {
                tracing::warn!(
                    server.name = self.settings.name,
                    tool.name = tool.tool,
                    tool.reason = tool.reason,
                    "a tool of an MCP server is skipped"
                );
            }
            tracing::warn!(
                server.name = self.settings.name,
                tools.skipped = skipped,
                "tools of an MCP server are skipped"
            );
        }
        Ok(())
    }

    async fn fetch(&self, peer: &Peer<RoleClient>) -> Result<ToolList, String> {
        let mut reader = ListReader::new(&self.settings.name, self.settings.tools.as_deref());
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = self.page(peer, cursor.clone()).await?;
            match reader.add_page(&page)? {
                None => return Ok(reader.finish()),
                next if next == cursor => {
                    reader.skip_rest("its list repeats a page");
                    return Ok(reader.finish());
                }
                next => cursor = next,
            }
        }
        reader.skip_rest(&format!("its list has more than {PAGES_MAX} pages"));
        Ok(reader.finish())
    }

    /// One page, as plain JSON: a page with one invalid tool is no list for the library, and is passed on as it is.
    async fn page(&self, peer: &Peer<RoleClient>, cursor: Option<String>) -> Result<Json, String> {
        let params = PaginatedRequestParams::default().with_cursor(cursor);
        // Not through the library's cache, whose age the server decides.
        let request = ClientRequest::ListToolsRequest(ListToolsRequest::with_param(params));
        let page = peer.send_request(request).await.map_err(|error| self.reason(&error))?;
        serde_json::to_value(page).map_err(|error| self.reason(&error))
    }

    /// Subscribes to changes, where the server sends them to subscribers only.
    async fn subscribe(&self, peer: &Peer<RoleClient>) -> Option<Subscription> {
        let info = peer.peer_info()?;
        let notifies = info.capabilities.tools.as_ref().and_then(|tools| tools.list_changed).unwrap_or_default();
        if info.protocol_version.has_initialize() || !notifies {
            return None;
        }
        let filter = SubscriptionFilter::builder().tools_list_changed().build();
        timeout(self.settings.start_timeout, peer.listen(filter)).await.ok()?.ok()
    }

    /// An error in one short line, without secrets, and without addresses, whose queries may be secrets.
    fn reason(&self, error: &dyn Display) -> String {
        let text = self.redaction.redact(&error.to_string(), REASON_BYTES_MAX);
        let words = text.split(' ').map(|word| if word.contains("://") { "(its address)" } else { word });
        words.collect::<Vec<_>>().join(" ")
    }

    fn overdue(&self, action: &str) -> String {
        format!("it did not {action} within {} seconds", self.settings.start_timeout.as_secs())
    }
}

/// The newest protocol that the server has: the stateless one, or the ones before it.
fn lifecycle() -> ClientLifecycleMode {
    ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
    }
}

/// Runs something whose end is no event.
async fn without_end(work: impl Future<Output = ()>) -> Infallible {
    work.await;
    pending().await
}

/// Waits for a change; false if the subscription has ended.
async fn next_change(changes: &mut Option<Subscription>) -> bool {
    let Some(subscription) = changes else { return pending().await };
    let next = subscription.next().await;
    let is_changed = matches!(next, Ok(Some(_)));
    if !is_changed {
        *changes = None;
    }
    is_changed
}

/// Ends a process, and adds its status to the reason if it has ended by itself.
async fn end_process(mut process: ServerProcess, end: End) -> End {
    let with_status = |reason: String, status: Option<String>| match status {
        Some(status) => format!("{reason}: {status}"),
        None => reason,
    };
    match end {
        End::Stopped => {
            process.end().await;
            End::Stopped
        }
        End::NotConnected(reason) => {
            End::NotConnected(with_status(reason, timeout(STATUS_WAIT_MAX, process.wait_ended()).await.ok()))
        }
        End::Disconnected(reason) => {
            End::Disconnected(with_status(reason, timeout(STATUS_WAIT_MAX, process.wait_ended()).await.ok()))
        }
    }
}

/// Receives what a server sends by itself. Its requests, such as one for an answer of a model, are declined.
struct ClientEvents {
    shared: Arc<Shared>,
}

impl ClientHandler for ClientEvents {
    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.shared.on_changed();
    }

    fn get_info(&self) -> ClientConfig {
        let implementation = Implementation::new("greenroom", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), implementation)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }
}

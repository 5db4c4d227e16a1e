//! The tools of servers that speak the Model Context Protocol: `mcp:SERVER/TOOL`.
//!
//! ```text
//! settings         what is configured of a server
//! server           one server: its state, its list, its calls; connected while the pod serves
//! ├── state        what is known of it; callers wait for it
//! ├── connection   one connection, from its start to its end
//! ├── bounded_transport   ends a connection whose messages are not read
//! ├── process      a server that is a process of this pod, with its group
//! │   ├── bounded_lines   cuts a connection whose message is too long
//! │   └── stderr          what the process writes to standard error, as lines of the log
//! ├── http         a server at a URL
//! ├── tool_list    a list as a server sent it → the tools that it has, and what was skipped
//! │   └── schema   whether the schema of a tool can be described to a model
//! └── tool_result  a result as a server sent it → the value that a model reads, and artifacts
//! report           what is known of the servers, for people
//! observer         what becomes of servers and calls, for the metrics
//! ```
//!
//! What a server sends is data: names, descriptions, schemas and results are bounded and checked, and never decide what
//! this pod does. A server is connected when an agent first needs one of its tools.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use greenroom_actors::handler::FileAccess;
use greenroom_actors::model::ToolSpec;
use greenroom_actors::tool::{ToolDescription, ToolInput, ToolSource};
use greenroom_definitions::Catalogue;
use greenroom_protocol::{Cause, ErrorCode, Json};
use tokio::sync::watch;

mod bounded_transport;
mod connection;
mod http;
pub mod observer;
mod process;
mod report;
mod schema;
mod server;
pub mod settings;
mod state;
mod tool_list;
mod tool_result;

use observer::{McpEvent, McpObserver};
pub use report::{ServerReport, ServerStatus, ToolReport};
use server::Server;
use settings::ServerSettings;
pub use tool_list::SkippedTool;

/// The scheme of the names of these tools.
const SCHEME: &str = "mcp";
/// Longest wait of a shutdown for the processes of servers to end by themselves.
const END_MAX: Duration = Duration::from_millis(600);

/// The tools of the configured servers. Nothing is connected until [`McpTools::serve`] runs.
pub struct McpTools {
    servers: BTreeMap<String, Arc<Server>>,
    observer: Arc<dyn McpObserver>,
}

impl McpTools {
    /// The tools of these servers.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if the client of a server over HTTP cannot be built.
    pub fn new(settings: Vec<ServerSettings>, observer: Arc<dyn McpObserver>) -> Result<Self, Cause> {
        let mut servers = BTreeMap::new();
        for settings in settings {
            let name = settings.name.clone();
            servers.insert(name, Arc::new(Server::new(settings, Arc::clone(&observer))?));
        }
        Ok(Self { servers, observer })
    }

    /// True if no server is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Keeps the servers connected that are needed, until `stopped` returns. Then their processes are ended.
    pub async fn serve(&self, stopped: impl Future<Output = ()>) {
        let stop = watch::Sender::new(false);
        let serving = join_all(self.servers.values().map(|server| server.serve(stop.subscribe())));
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            _ = serving.as_mut() => {}
            () = stopped => {
                stop.send_replace(true);
                // What has not ended by then is killed when it is dropped.
                let _ = tokio::time::timeout(END_MAX, serving.as_mut()).await;
            }
        }
    }

    /// Connects every server, or one of this name, and reports what they have.
    pub async fn report(&self, name: Option<&str>) -> Vec<ServerReport> {
        let servers = self.servers.iter().filter(|(known, _)| name.is_none_or(|name| name == known.as_str()));
        join_all(servers.map(|(_, server)| async move {
            server.wait_fresh().await;
            server.report()
        }))
        .await
    }

    /// The server and the tool of a name without its scheme.
    fn find<'n>(&self, name: &'n str) -> Option<(&Arc<Server>, &'n str)> {
        let (server, tool) = name.split_once('/')?;
        Some((self.servers.get(server)?, tool))
    }

    fn require<'n>(&self, name: &'n str) -> Result<(&Arc<Server>, &'n str), Cause> {
        self.find(name).ok_or_else(|| {
            let message = format!("there is no tool `{SCHEME}:{name}`: no such MCP server is configured");
            Cause::new(ErrorCode::UnknownTool, message)
        })
    }
}

#[async_trait]
impl ToolSource for McpTools {
    fn scheme(&self) -> &str {
        SCHEME
    }

    fn list(&self, _: &Catalogue) -> Vec<ToolDescription> {
        self.servers.values().flat_map(|server| server.describe_all()).collect()
    }

    fn describe(&self, name: &str, _: &Catalogue) -> Option<ToolDescription> {
        let found = self.find(name).and_then(|(server, tool)| server.describe(tool));
        if found.is_none() {
            self.observer.on_event(McpEvent::ToolMissing);
            tracing::warn!(tool.name = name, "a definition names a tool that its MCP server does not list now");
        }
        found
    }

    fn is_external(&self, name: &str) -> bool {
        self.find(name).is_none_or(|(server, _)| server.is_external())
    }

    async fn refresh(&self, names: &[&str]) {
        let servers: BTreeSet<&str> = names.iter().filter_map(|name| Some(name.split_once('/')?.0)).collect();
        join_all(servers.iter().filter_map(|name| self.servers.get(*name)).map(|server| server.wait_fresh())).await;
    }

    async fn require_unchanged(&self, name: &str, described: &ToolSpec) -> Result<(), Cause> {
        let (server, tool) = self.require(name)?;
        server.wait_fresh().await;
        server.require_unchanged(tool, described)
    }

    async fn call(&self, name: &str, input: ToolInput, files: &FileAccess) -> Result<Json, Cause> {
        let (server, tool) = self.require(name)?;
        server.call(tool, input, files).await
    }
}

#[cfg(test)]
mod tests;

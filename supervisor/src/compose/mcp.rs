//! From the configuration to the tools of MCP servers, and the service that is connected to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use greenroom_actors::supervision::ChildKind;
use greenroom_protocol::Cause;
use greenroom_runtimes::mcp::McpTools;
use greenroom_runtimes::mcp::observer::McpObserver;
use greenroom_runtimes::mcp::settings::{ServerAddress, ServerSettings};

use crate::config::{Config, McpAddress, McpServerConfig, Secret};
use crate::services::{Phase, RunService, Service};

/// The tools of the configured servers.
///
/// # Errors
/// [`greenroom_protocol::ErrorCode::InvalidConfiguration`] if a header cannot be sent.
pub(crate) fn open(config: &Config, observer: Arc<dyn McpObserver>) -> Result<Arc<McpTools>, Cause> {
    let settings = config.mcp.servers.iter().map(settings).collect();
    Ok(Arc::new(McpTools::new(settings, observer)?))
}

/// Keeps the servers connected that agents need; a shutdown ends their processes.
pub(crate) fn service(tools: Arc<McpTools>) -> Service {
    let run: RunService = Arc::new(move |stop| {
        let tools = Arc::clone(&tools);
        async move {
            tools.serve(stop.stopped()).await;
            Ok(())
        }
        .boxed()
    });
    Service { name: "MCP servers", phase: Phase::Ingress, restart: ChildKind::ToolServers, run }
}

fn settings(server: &McpServerConfig) -> ServerSettings {
    let McpServerConfig { name, address, missing, timeout, start_timeout, tools, internal } = server.clone();
    let reveal = |values: BTreeMap<String, Secret>| {
        values.into_iter().map(|(name, value)| (name, value.reveal().to_owned())).collect()
    };
    let address = match (missing.first(), address) {
        (Some(reason), _) => ServerAddress::Unusable { reason: reason.clone() },
        (None, McpAddress::Process { command, args, env }) => {
            ServerAddress::Process { command, args, env: reveal(env) }
        }
        (None, McpAddress::Http { url, headers }) => ServerAddress::Http { url, headers: reveal(headers) },
    };
    ServerSettings { name, address, timeout, start_timeout, tools, is_external: !internal }
}

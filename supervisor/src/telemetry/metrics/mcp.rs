//! The metrics of MCP servers: connections, skipped, missing and changed tools, and calls by their results. No label names a
//! server or a tool.

use greenroom_protocol::ErrorCode;
use greenroom_runtimes::mcp::observer::{McpEvent, McpObserver};
use metrics::{Counter, Gauge, Key, Label, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::{METADATA, increment};

/// The results of calls that have a counter of their own.
const RESULTS: [&str; 5] = ["success", "failed", "timed_out", "interrupted", "refused"];

/// Metrics of MCP servers.
pub struct McpMetrics {
    connected: Gauge,
    connections: Counter,
    not_connected: Counter,
    skipped: Counter,
    missing: Counter,
    changed: Counter,
    calls: Vec<(&'static str, Counter)>,
}

impl McpMetrics {
    pub(super) fn register(recorder: &PrometheusRecorder) -> Self {
        for (name, help) in [
            ("mcp_connections", "attempts to connect to an MCP server, by their result"),
            ("mcp_tools_skipped", "tools of MCP servers that were skipped when a list was read"),
            ("mcp_tools_missing", "tools of definitions that their MCP server did not list"),
            ("mcp_tools_changed", "calls that were rejected because the tool had changed since it was described"),
            ("mcp_calls", "calls of tools of MCP servers, by their result"),
        ] {
            recorder.describe_counter(name.into(), None, help.into());
        }
        recorder.describe_gauge("mcp_servers_connected".into(), None, "MCP servers that are connected".into());
        let counter = |name, label, value| {
            recorder.register_counter(&Key::from_parts(name, vec![Label::new(label, value)]), &METADATA)
        };
        let count = |name| recorder.register_counter(&Key::from_static_name(name), &METADATA);
        let connected = recorder.register_gauge(&Key::from_static_name("mcp_servers_connected"), &METADATA);
        connected.set(0.0);
        Self {
            connected,
            connections: counter("mcp_connections", "result", "success"),
            not_connected: counter("mcp_connections", "result", "failed"),
            skipped: count("mcp_tools_skipped"),
            missing: count("mcp_tools_missing"),
            changed: count("mcp_tools_changed"),
            calls: RESULTS.map(|result| (result, counter("mcp_calls", "result", result))).into(),
        }
    }
}

/// The result of a call with this code.
const fn result(code: Option<ErrorCode>) -> &'static str {
    match code {
        None => "success",
        Some(ErrorCode::TimedOut) => "timed_out",
        Some(ErrorCode::Interrupted) => "interrupted",
        Some(ErrorCode::UnknownTool | ErrorCode::InvalidInput | ErrorCode::Overloaded) => "refused",
        Some(_) => "failed",
    }
}

impl McpObserver for McpMetrics {
    fn on_event(&self, event: McpEvent) {
        match event {
            McpEvent::Connected => {
                self.connected.increment(1.0);
                self.connections.increment(1);
            }
            McpEvent::Disconnected => self.connected.decrement(1.0),
            McpEvent::NotConnected => self.not_connected.increment(1),
            McpEvent::ToolsSkipped(count) => self.skipped.increment(u64::try_from(count).unwrap_or(u64::MAX)),
            McpEvent::ToolMissing => self.missing.increment(1),
            McpEvent::ToolChanged => self.changed.increment(1),
            McpEvent::CallEnded(code) => increment(&self.calls, &result(code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn what_becomes_of_servers_and_calls_is_counted() {
        let metrics = Metrics::new().unwrap();
        for event in [
            McpEvent::Connected,
            McpEvent::Connected,
            McpEvent::Disconnected,
            McpEvent::NotConnected,
            McpEvent::ToolsSkipped(9_000),
            McpEvent::ToolMissing,
            McpEvent::ToolChanged,
            McpEvent::CallEnded(None),
            McpEvent::CallEnded(Some(ErrorCode::TimedOut)),
            McpEvent::CallEnded(Some(ErrorCode::PayloadTooLarge)),
        ] {
            metrics.mcp().on_event(event);
        }
        let page = metrics.render();
        for line in [
            "mcp_servers_connected 1",
            "mcp_connections{result=\"success\"} 2",
            "mcp_connections{result=\"failed\"} 1",
            "mcp_tools_skipped 9000",
            "mcp_tools_missing 1",
            "mcp_tools_changed 1",
            "mcp_calls{result=\"success\"} 1",
            "mcp_calls{result=\"timed_out\"} 1",
            "mcp_calls{result=\"failed\"} 1",
            "mcp_calls{result=\"refused\"} 0",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is missing in\n{page}");
        }
    }
}

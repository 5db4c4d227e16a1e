//! What becomes of servers and calls, for the metrics. No event names a server, a tool or a user.

use greenroom_protocol::ErrorCode;

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum McpEvent {
    /// A server is connected, and its list is known.
    Connected,
    /// A connection has ended.
    Disconnected,
    /// A server could not be connected.
    NotConnected,
    /// Tools of a list that were skipped.
    ToolsSkipped(usize),
    /// A definition names a tool that its server does not list now.
    ToolMissing,
    /// A call was rejected, because the tool has changed since it was described.
    ToolChanged,
    /// A call has ended, with this code unless it succeeded.
    CallEnded(Option<ErrorCode>),
}

/// Receives the events.
pub trait McpObserver: Send + Sync {
    /// Receives one event; it must not block.
    fn on_event(&self, event: McpEvent);
}

/// Receives the events of a command that has no metrics.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl McpObserver for NoObserver {
    fn on_event(&self, _: McpEvent) {}
}

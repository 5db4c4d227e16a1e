//! `greenroom config check|mcp`: prints every setting with its origin; connects the MCP servers and lists their tools.

use std::future::pending;
use std::sync::Arc;

use greenroom_protocol::{Cause, ErrorCode, Json};
use greenroom_runtimes::mcp::observer::NoObserver;
use greenroom_runtimes::mcp::{ServerReport, ServerStatus};
use serde_json::json;

use super::output::{Output, print_note, table};
use crate::compose::mcp;
use crate::config::{Config, LoadedConfig};

/// Executes the command.
///
/// # Errors
/// [`greenroom_protocol::ErrorCode::InvalidConfiguration`] if no store of this version is configured.
pub fn check(loaded: &LoadedConfig, output: Output) -> Result<u8, Cause> {
    loaded.config.store.supported()?;
    let rows: Vec<_> = loaded.resolved.iter().filter_map(|row| serde_json::to_value(row).ok()).collect();
    let document = serde_json::json!({ "settings": rows, "warnings": loaded.warnings });
    output.document(&document, || table(&rows, &[("key", "SETTING"), ("value", "VALUE"), ("origin", "ORIGIN")]));
    for warning in &loaded.warnings {
        print_note(&format!("warning: {warning}"));
    }
    Ok(0)
}

/// Connects the servers, or the one of this name, in this process, and lists what they have.
///
/// # Errors
/// [`ErrorCode::UnknownRecord`] if no server has this name.
pub async fn servers(config: &Config, name: Option<&str>, output: Output) -> Result<u8, Cause> {
    let names: Vec<&str> = config.mcp.servers.iter().map(|server| server.name.as_str()).collect();
    if let Some(name) = name.filter(|name| !names.contains(name)) {
        let message = format!("no MCP server is configured as `{name}`; the names are: {}", names.join(", "));
        return Err(Cause::new(ErrorCode::UnknownRecord, message));
    }
    let tools = mcp::open(config, Arc::new(NoObserver))?;
    let reports = tokio::select! {
        reports = tools.report(name) => reports,
        // Without a server, it ends at once.
        () = tools.serve(pending()) => Vec::new(),
    };
    let document = json!({ "servers": reports });
    output.document(&document, || {
        let rows: Vec<Json> = reports.iter().flat_map(rows).collect();
        table(&rows, &[("tool", "TOOL"), ("status", "STATUS"), ("note", "NOTE")])
    });
    let has_failed = reports.iter().any(|report| matches!(report.status, ServerStatus::Failed { .. }));
    Ok(u8::from(has_failed))
}

/// The rows of a server: its failure, its tools, and what is skipped.
fn rows(report: &ServerReport) -> Vec<Json> {
    let name = &report.name;
    let row = |tool: String, status: &str, note: &str| json!({ "tool": tool, "status": status, "note": note });
    let failure = match &report.status {
        ServerStatus::Failed { reason } => Some(row(format!("mcp:{name}/*"), "not connected", reason)),
        ServerStatus::Connected | ServerStatus::Unused => None,
    };
    let tools = report.tools.iter().map(|tool| row(format!("mcp:{}", tool.name), "available", &tool.description));
    let skipped = report.skipped.iter().map(|tool| row(format!("mcp:{name}/{}", tool.tool), "skipped", &tool.reason));
    failure.into_iter().chain(tools).chain(skipped).collect()
}

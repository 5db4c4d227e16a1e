//! Measures what agents are executed by and what they call beside a model: handlers in Python, WebAssembly components,
//! services over HTTP, the tools of an MCP server, and the memories of agents.
//!
//! Each part is a process of its own, which has the pod and its callers. The service and the server of tools are this
//! program too, in processes of their own.

mod echo_pod;
mod http;
mod mcp;
mod mcp_model;
mod mcp_server;
mod python;
mod recall;
mod wasm;

use anyhow::ensure;
use greenroom_integration_tests::bench::{Threshold, missing};

use crate::nats::{all_threads, one_thread};

/// The name of the group.
const GROUP: &str = "tools";
/// The parts in their order.
const PARTS: [&str; 5] = ["python", "wasm", "http", "mcp", "recall"];

pub(crate) fn main(arguments: &[&str]) -> anyhow::Result<()> {
    match arguments {
        [] => run_parts(),
        ["python"] => all_threads()?.block_on(python::measure()),
        ["wasm"] => all_threads()?.block_on(wasm::measure()),
        ["http"] => all_threads()?.block_on(http::measure()),
        ["serve_http"] => one_thread()?.block_on(http::serve()),
        ["mcp"] => all_threads()?.block_on(mcp::measure()),
        ["recall"] => all_threads()?.block_on(recall::measure()),
        ["serve_mcp"] => mcp_server::serve(),
        other => anyhow::bail!("no part is named {}", other.join(" ")),
    }
}

/// Runs every part, also after one that fails: a machine without Python has the other rows.
fn run_parts() -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for part in PARTS {
        if let Err(error) = super::run_separately(&[GROUP, part]) {
            missing(GROUP, format!("{part}: the rest"), &format!("{error:#}"), "", Threshold::AtLeast(0.0))?;
            failed.push(part);
        }
    }
    ensure!(failed.is_empty(), "these parts failed: {}", failed.join(", "));
    Ok(())
}

//! Models, handlers and tools behind the traits of `greenroom-actors`.
//!
//! ```text
//! models    providers of language models: servers, offline, scripted
//! embeddings  models that compute the vectors of memories: servers
//! native    handlers and tools that need no language model
//! http_service   agents that are services elsewhere
//! http_tools     operations of HTTP APIs as tools
//! outbound       the requests of both, and where they may be sent
//! foreign   what other parties write, before a model reads it
//! mcp       tools of servers that speak the Model Context Protocol
//! python    handlers in Python, in processes of their own
//! tables    files → facts; charts, report: facts → pictures and pages
//! wasm      agents that are WebAssembly components
//! files     reads files within the configured directories
//! json_bounds   how large JSON of handlers may be in memory
//! model_server   a scripted server, for tests only
//! ```
//!
//! This crate does not decide who may use them, what a call may cost or when it is retried, and it has
//! no actor.

use std::sync::Arc;

use greenroom_actors::handler::Handler;
use greenroom_actors::model::ModelProvider;
use greenroom_actors::tool::Tool;
use greenroom_protocol::Cause;

pub(crate) mod charts;
pub mod embeddings;
pub mod files;
pub(crate) mod foreign;
pub mod http_service;
pub mod http_tools;
mod json_bounds;
pub mod mcp;
#[cfg(any(test, feature = "testing"))]
pub mod model_server;
pub mod models;
mod native;
pub mod outbound;
pub mod python;
pub mod report;
pub mod tables;
pub mod wasm;

use models::{http, offline, scripted};

/// The providers to open.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Providers that are servers.
    pub http: http::Settings,
    /// The script that `scripted` plays, for tests and benchmarks; absent in production.
    pub script: Option<scripted::Script>,
}

/// Opens every provider of the settings; `offline` is always among them.
///
/// # Errors
/// `invalid_configuration`, as [`http::open`].
pub fn providers(settings: &Settings) -> Result<Vec<Arc<dyn ModelProvider>>, Cause> {
    let mut all: Vec<Arc<dyn ModelProvider>> = vec![Arc::new(offline::Offline)];
    if let Some(script) = &settings.script {
        all.push(Arc::new(scripted::Scripted::new(script.clone())));
    }
    all.extend(http::open(&settings.http)?);
    Ok(all)
}

/// Creates every native handler.
#[must_use]
pub fn handlers() -> Vec<Arc<dyn Handler>> {
    vec![
        Arc::new(native::handlers::data_collection::DataCollection),
        Arc::new(native::handlers::data_visualization::DataVisualization),
        Arc::new(native::handlers::echo::Echo),
    ]
}

/// Creates every native tool.
#[must_use]
pub fn tools() -> Vec<Arc<dyn Tool>> {
    native::tools::all()
}

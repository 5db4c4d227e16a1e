//! Models and handlers behind the seams of the actors.
//!
//! Here live the providers of models (offline, scripted, and the real ones through the genai crate)
//! and the native handlers and tools. What does not live here: who may use them, what a call may
//! cost, when it is tried again, and any actor.

use std::sync::Arc;

use greenroom_actors::handler::Handler;
use greenroom_actors::model::ModelProvider;
use greenroom_actors::tool::Tool;
use greenroom_protocol::Cause;

pub mod files;
pub mod genai;
pub mod native;
pub mod offline;
pub mod scripted;
#[cfg(test)]
mod test_calls;

/// Which providers there are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// The real ones.
    pub real: genai::Settings,
    /// What `scripted` plays, for tests and benchmarks; none in a product.
    pub script: Option<scripted::Script>,
}

/// Opens every provider of the settings; `offline` is always there.
///
/// # Errors
/// `invalid_configuration`, as [`genai::open`] says.
pub fn providers(settings: &Settings) -> Result<Vec<Arc<dyn ModelProvider>>, Cause> {
    let mut all: Vec<Arc<dyn ModelProvider>> = vec![Arc::new(offline::Offline)];
    if let Some(script) = &settings.script {
        all.push(Arc::new(scripted::Scripted::new(script.clone())));
    }
    all.extend(genai::open(&settings.real)?);
    Ok(all)
}

/// Every native handler.
#[must_use]
pub fn handlers() -> Vec<Arc<dyn Handler>> {
    vec![
        Arc::new(native::data_collection::DataCollection),
        Arc::new(native::data_visualization::DataVisualization),
        Arc::new(native::echo::Echo),
    ]
}

/// Every native tool.
#[must_use]
pub fn tools() -> Vec<Arc<dyn Tool>> {
    vec![Arc::new(native::calculator::Calculator)]
}

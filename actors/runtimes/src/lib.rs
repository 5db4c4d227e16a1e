//! Models and handlers behind the seams of the actors.
//!
//! Here live the providers of models (offline, scripted, and the real ones through the genai crate)
//! and the native handlers and tools. What does not live here: who may use them, what a call may
//! cost, when it is tried again, and any actor.
#![cfg_attr(
    test,
    expect(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )
)]

use std::sync::Arc;

use greenroom_actors::handler::Handler;
use greenroom_actors::tool::Tool;

#[cfg(test)]
mod calls;
pub mod files;
pub mod native;
pub mod offline;
pub mod scripted;

/// Every native handler.
#[must_use]
pub fn handlers() -> Vec<Arc<dyn Handler>> {
    vec![
        Arc::new(native::collect::DataCollection),
        Arc::new(native::visualize::DataVisualization),
        Arc::new(native::echo::Echo),
    ]
}

/// Every native tool.
#[must_use]
pub fn tools() -> Vec<Arc<dyn Tool>> {
    vec![Arc::new(native::calculator::Calculator)]
}

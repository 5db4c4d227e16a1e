//! State that the writer needs to decide commands. Only the writer's thread touches it.

use std::sync::Arc;

use crate::audit::signer::Signer;
use crate::sqlite::audit::chain::{Chain, CloseEntry};
use crate::sqlite::runs::cache::RunRecordCache;
use crate::sqlite::shared::Shared;

/// State that the writer needs to decide commands.
pub(super) struct WriterState {
    pub(super) shared: Arc<Shared>,
    pub(super) signer: Arc<Signer>,
    pub(super) chain: Chain,
    pub(super) runs: RunRecordCache,
    /// Closings whose commit failed; the next commit writes them.
    pub(super) unwritten_closings: Vec<CloseEntry>,
}

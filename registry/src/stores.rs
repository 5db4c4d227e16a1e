//! The set of stores, and the types for opening and running an implementation.

use std::sync::Arc;

use futures::future::BoxFuture;
use greenroom_protocol::{Clock, PodId};

use crate::agent_memory::MemoryStore;
use crate::artifacts::ArtifactStore;
use crate::audit::AuditLog;
use crate::audit::signer::Signer;
use crate::cluster::ClusterStore;
use crate::context::ContextView;
use crate::core::CoreStore;
use crate::credential_store::CredentialStore;
use crate::definition_store::DefinitionStore;
use crate::error::StoreError;
use crate::generation_store::GenerationStore;
use crate::idempotency::IdempotencyStore;
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::maintenance::StoreMaintenance;
use crate::runs::RunStore;

/// Every store of one process.
#[derive(Clone)]
pub struct Stores {
    /// The id of the database, which its copies share. Stores in memory have one of their own.
    pub id: String,
    /// Writes what must be durable together; the stores below read it.
    pub core: Arc<dyn CoreStore>,
    /// Runs and their owners.
    pub runs: Arc<dyn RunStore>,
    /// The journals of runs.
    pub journal: Arc<dyn Journal>,
    /// The audit of requests, decisions and effects.
    pub audit: Arc<dyn AuditLog>,
    /// Usage and money.
    pub ledger: Arc<dyn Ledger>,
    /// The live view of the shared contexts of teams, whose changes are in the journals.
    pub context: Arc<dyn ContextView>,
    /// Blobs by their hash.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// Pinned versions of definitions by their hash.
    pub definitions: Arc<dyn DefinitionStore>,
    /// The catalogues and policies that were applied for every pod.
    pub generations: Arc<dyn GenerationStore>,
    /// API keys, and the principals that identity providers vouch for.
    pub credentials: Arc<dyn CredentialStore>,
    /// Replies by idempotency key.
    pub idempotency: Arc<dyn IdempotencyStore>,
    /// The memories of agents.
    pub memory: Arc<dyn MemoryStore>,
    /// Check, backup, pruning and close.
    pub maintenance: Arc<dyn StoreMaintenance>,
    /// What the pods of the store do for each other.
    pub cluster: Arc<dyn ClusterStore>,
}

/// A future that must run for as long as the stores are used. It returns `Ok` once the stores are
/// closed. An error means that nothing can be recorded any more and the process must stop. The future
/// may block its thread while the disk writes, so it needs a thread of its own.
pub struct StoreTask {
    /// Its name, for logs.
    pub name: &'static str,
    /// The future.
    pub run: BoxFuture<'static, Result<(), StoreError>>,
}

/// Stores and the tasks that must run beside them.
pub struct OpenedStores {
    /// The stores.
    pub stores: Stores,
    /// The tasks, which the composition root runs.
    pub tasks: Vec<StoreTask>,
}

/// Constructor arguments of every implementation.
pub struct StoreParts {
    /// The clock of the pod. A store that other pods share tells it the time of the database ([`Clock::follow`]).
    pub clock: Arc<dyn Clock>,
    /// Signs the head of the audit.
    pub signer: Signer,
    /// The artifact store.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// The pod that opens the stores, with an id of this start ([`PodId::for_start`]). A store that other pods have
    /// owned before settles, releases and closes what these have left open.
    pub pod: PodId,
}

/// The durability of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// A commit survives a power failure: it is flushed to the disk before its callers get a reply.
    #[default]
    Full,
    /// A commit survives a crash of the process. A power failure may lose the last commits; the
    /// database remains consistent.
    Normal,
}

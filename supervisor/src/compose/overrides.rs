//! What a caller may put into a pod beside its configuration: the lock of the data directory, and
//! models, handlers and tools of tests and benchmarks.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use greenroom_actors::handler::Handler;
use greenroom_actors::model::ModelProvider;
use greenroom_actors::observer::Observer;
use greenroom_actors::tool::Tool;
use greenroom_registry::Stores;
use greenroom_rego::{Evaluator, IdentityProvider};

use crate::data_dir::DataDirLock;

/// Wraps the evaluator of the guard.
pub type WrapEvaluator = Box<dyn FnOnce(Arc<dyn Evaluator>) -> Arc<dyn Evaluator> + Send>;

/// Wraps the stores.
pub type WrapStores = Box<dyn FnOnce(Stores) -> Stores + Send>;

/// A pod that decides whether a backup is restored. It serves no other request, and its database is replaced once it
/// has shut down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestorePod {
    /// It decides and records in the database that is to be replaced.
    OverDatabase,
    /// That database cannot be opened: it decides and records in the copy of the backup.
    OverCopy {
        /// The copy.
        database: PathBuf,
        /// Where the newest signed head of the copy is saved.
        head_file: PathBuf,
    },
}

/// What is added to a pod beside its configuration. The default adds nothing.
#[derive(Default)]
pub struct Overrides {
    /// The lock of the data directory, which the pod holds until it has shut down. A pod whose
    /// directory is its own by construction, as in tests, needs none.
    pub lock: Option<DataDirLock>,
    /// Providers beside those of the configuration.
    pub providers: Vec<Arc<dyn ModelProvider>>,
    /// Handlers beside those of the product.
    pub handlers: Vec<Arc<dyn Handler>>,
    /// Tools beside those of the product.
    pub tools: Vec<Arc<dyn Tool>>,
    /// Where `/metrics` is served; `None` serves it nowhere.
    pub metrics: Option<SocketAddr>,
    /// Receives the events that the metrics receive.
    pub observer: Option<Arc<dyn Observer>>,
    /// Resolves users instead of the configuration, such as one for requests without a credential.
    pub identities: Option<Arc<dyn IdentityProvider>>,
    /// Wraps the evaluator between the pipeline and the engines; it can only pass decisions on.
    pub evaluator: Option<WrapEvaluator>,
    /// Wraps the stores; it can only pass on what they return.
    pub stores: Option<WrapStores>,
    /// Connects to NATS, if the configuration has it: the pod can take requests there, and it calls other pods and is
    /// called by them. A pod of one command does not.
    pub uses_nats: bool,
    /// Set for the one pod that decides whether a backup is restored.
    pub restores: Option<RestorePod>,
    /// True for the pod of a command that applies a catalogue or a policy: it starts with its own ones if none of those
    /// that were applied before can be loaded.
    pub is_repair: bool,
    /// Leaves detached runs to other pods although these are not woken over NATS.
    pub creates_runs_unowned: bool,
}

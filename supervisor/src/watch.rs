//! A changed file of definitions or policies is in force within a second; a broken one changes
//! nothing and says so, in the log and in the audit.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::guard::GuardHandle;
use greenroom_actors::library::Library as _;
use greenroom_definitions::{Catalogue, Loaded, Source, Vocabulary};
use greenroom_protocol::{Cause, Clock, Code, ContentHash};
use greenroom_registry::audit::AuditLog;
use greenroom_rego::Bundle;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use crate::library::Shelves;

/// How long the folder must be quiet before it is read: an editor writes in several steps.
const QUIET: Duration = Duration::from_millis(150);
/// How long a folder that is never quiet may keep us waiting.
const QUIET_WAIT_MAX: Duration = Duration::from_millis(600);

/// Puts changed definitions and policies in force.
pub struct Reloader {
    pub(crate) library: Arc<Shelves>,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) guard: GuardHandle,
    pub(crate) audit: Arc<dyn AuditLog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) definitions_dir: Option<PathBuf>,
    pub(crate) policy_dir: Option<PathBuf>,
}

impl Reloader {
    /// True if there is a folder to watch.
    #[must_use]
    pub const fn has_work(&self) -> bool {
        self.definitions_dir.is_some() || self.policy_dir.is_some()
    }

    /// Watches until it is dropped.
    ///
    /// # Errors
    /// What the operating system says of the folders.
    pub async fn run(self) -> Result<(), String> {
        let (changed_tx, mut changed) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let touched = event.is_ok_and(|event| !event.kind.is_access());
            if touched {
                // A full channel says already that something changed.
                let _ = changed_tx.try_send(());
            }
        })
        .map_err(|error| error.to_string())?;
        for dir in [&self.definitions_dir, &self.policy_dir].into_iter().flatten() {
            watcher.watch(dir, RecursiveMode::Recursive).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        // What changed between the start and the first watch is not missed.
        let mut policy = self.policy_hash();
        while changed.recv().await.is_some() {
            quiet(&mut changed).await;
            self.definitions().await;
            let found = self.policy_hash();
            if found != policy {
                policy = found;
                self.policy().await;
            }
        }
        Ok(())
    }

    fn policy_hash(&self) -> Option<ContentHash> {
        let dir = self.policy_dir.as_deref()?;
        Some(Bundle::fingerprint(dir))
    }

    async fn definitions(&self) {
        let Some(dir) = self.definitions_dir.clone() else { return };
        let vocabulary = self.vocabulary.clone();
        let read = tokio::task::spawn_blocking(move || read_definitions(&dir, &vocabulary)).await;
        let outcome = match read {
            Ok(Ok(catalogue)) if catalogue.hash() == self.library.catalogue().hash() => return,
            Ok(Ok(catalogue)) => {
                let message = format!("the catalogue {} is in force", catalogue.hash().short());
                self.library.swap(catalogue);
                Ok(message)
            }
            Ok(Err(cause)) => Err(cause),
            Err(error) => Err(Cause::new(Code::Internal, error.to_string())),
        };
        self.tell("definitions", outcome).await;
    }

    async fn policy(&self) {
        let Some(dir) = &self.policy_dir else { return };
        let outcome = match Bundle::open(dir) {
            Ok(bundle) => self.guard.load(bundle).await.map(|revision| format!("the policy {revision} is in force")),
            Err(error) => Err(error.into()),
        };
        self.tell("policy", outcome).await;
    }

    async fn tell(&self, subject: &'static str, outcome: Result<String, Cause>) {
        let message = match outcome {
            Ok(message) => {
                tracing::info!(reload.subject = subject, reload.result = message, "change is in force");
                message
            }
            Err(cause) => {
                tracing::error!(
                    reload.subject = subject, error.code = %cause.code, error.message = cause.message,
                    "change refused, the last good version stays in force"
                );
                format!("a change was refused, and the last good version stays in force: {cause}")
            }
        };
        if let Err(error) = self.audit.note(subject, &message, self.clock.now()).await {
            tracing::error!(error.message = %error, "reload could not be noted in the audit");
        }
    }
}

/// Reads a folder of definitions as a catalogue.
///
/// # Errors
/// [`Code::InvalidDefinition`] with every problem of every file.
pub fn read_definitions(dir: &Path, vocabulary: &Vocabulary) -> Result<Arc<Catalogue>, Cause> {
    catalogue_of(greenroom_definitions::load(&Source::Directory(dir.to_owned()), vocabulary))
}

/// The catalogue of what was loaded, if nothing is wrong with it.
///
/// # Errors
/// [`Code::InvalidDefinition`] with every problem of every file.
pub fn catalogue_of(loaded: Loaded) -> Result<Arc<Catalogue>, Cause> {
    let Loaded { catalogue, report } = loaded;
    let wrong = || report.to_cause().unwrap_or_else(|| Cause::new(Code::Internal, "the loader made no catalogue"));
    catalogue.ok_or_else(wrong)
}

async fn quiet(changed: &mut mpsc::Receiver<()>) {
    let settle = async { while let Ok(Some(())) = tokio::time::timeout(QUIET, changed.recv()).await {} };
    let _ = tokio::time::timeout(QUIET_WAIT_MAX, settle).await;
}

//! A changed file of definitions or policies is in force within a second; a broken one changes
//! nothing and says so, in the log and in the audit.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::definition_resolver::DefinitionResolver as _;
use greenroom_actors::guard::GuardHandle;
use greenroom_definitions::{Catalogue, KnownNames, LoadOutcome, Source};
use greenroom_protocol::{Cause, Clock, ContentHash, ErrorCode};
use greenroom_registry::audit::AuditLog;
use greenroom_rego::Bundle;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::cached_definitions::CachedDefinitions;
use crate::compose::build_tree::CategorySpawner;

/// How long after the first touch a change is in force, or refused.
pub const RELOAD_MAX: Duration = Duration::from_secs(1);
/// How long the folder must be quiet before it is read: an editor writes in several steps.
const DEBOUNCE: Duration = Duration::from_millis(150);
/// How long a folder that is never quiet may keep us waiting. What is left of [`IN_FORCE_WAIT_MAX`] is
/// for reading and compiling.
const DEBOUNCE_MAX: Duration = Duration::from_millis(400);

/// Puts changed definitions and policies in force.
pub struct Reloader {
    pub(crate) definitions: Arc<CachedDefinitions>,
    pub(crate) vocabulary: KnownNames,
    pub(crate) spawner: CategorySpawner,
    pub(crate) guard: GuardHandle,
    pub(crate) audit: Arc<dyn AuditLog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) definitions_dir: Option<PathBuf>,
    pub(crate) policy_dir: Option<PathBuf>,
}

impl Reloader {
    /// True if there is a folder to watch.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.definitions_dir.is_some() || self.policy_dir.is_some()
    }

    /// Watches until it is dropped.
    ///
    /// # Errors
    /// What the operating system says of the folders.
    pub async fn run(self) -> Result<(), String> {
        let (touched_tx, mut touched) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // What the operating system cannot tell may be a change as well.
            if event.map_or(true, |event| !event.kind.is_access()) {
                // A full channel holds the moment of an earlier touch that was not looked at yet.
                let _ = touched_tx.try_send(Instant::now());
            }
        })
        .map_err(|error| error.to_string())?;
        for dir in [&self.definitions_dir, &self.policy_dir].into_iter().flatten() {
            watcher.watch(dir, RecursiveMode::Recursive).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        // What changed between the start and the first watch is not missed.
        let mut policy = self.policy_dir.as_ref().map(|_| *self.guard.active_policy().hash());
        let mut since = Instant::now();
        loop {
            let found = self.policy_hash();
            tokio::join!(self.definitions(since), async {
                if found != policy {
                    self.policy(since).await;
                }
            });
            policy = found;
            let Some(first) = touched.recv().await else { return Ok(()) };
            since = first;
            debounce(&mut touched, since).await;
        }
    }

    fn policy_hash(&self) -> Option<ContentHash> {
        let dir = self.policy_dir.as_deref()?;
        Some(Bundle::fingerprint(dir))
    }

    async fn definitions(&self, since: Instant) {
        let Some(dir) = self.definitions_dir.clone() else { return };
        let vocabulary = self.vocabulary.clone();
        let read = tokio::task::spawn_blocking(move || read_definitions(&dir, &vocabulary)).await;
        let outcome = match read {
            Ok(Ok(catalogue)) if catalogue.hash() == self.definitions.catalogue().hash() => return,
            Ok(Ok(catalogue)) => self.spawner.ensure_supervisors(&catalogue).await.map(|()| {
                let message = format!("the catalogue {} is in force", catalogue.hash().short());
                self.definitions.swap(catalogue);
                message
            }),
            Ok(Err(cause)) => Err(cause),
            Err(error) => Err(Cause::new(ErrorCode::Internal, error.to_string())),
        };
        self.report("definitions", outcome, since).await;
    }

    async fn policy(&self, since: Instant) {
        let Some(dir) = &self.policy_dir else { return };
        let outcome = match Bundle::open(dir) {
            Ok(bundle) => self.guard.load(bundle).await.map(|revision| format!("the policy {revision} is in force")),
            Err(error) => Err(error.into()),
        };
        self.report("policy", outcome, since).await;
    }

    async fn report(&self, subject: &'static str, outcome: Result<String, Cause>, since: Instant) {
        let took = since.elapsed();
        let elapsed_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if took > RELOAD_MAX {
            tracing::warn!(reload.subject = subject, elapsed_ms, "change was read late");
        }
        let message = match outcome {
            Ok(message) => {
                tracing::info!(reload.subject = subject, reload.result = message, elapsed_ms, "change is in force");
                message
            }
            Err(cause) => {
                tracing::error!(
                    reload.subject = subject, error.code = %cause.code, error.message = cause.message, elapsed_ms,
                    "change refused, the last good version stays in force"
                );
                format!("a change was refused, and the last good version stays in force: {cause}")
            }
        };
        if let Err(error) = self.audit.record_system_event(subject, &message, self.clock.now()).await {
            tracing::error!(error.message = %error, "reload could not be noted in the audit");
        }
    }
}

/// Reads a folder of definitions as a catalogue.
///
/// # Errors
/// [`ErrorCode::InvalidDefinition`] with every problem of every file.
pub fn read_definitions(dir: &Path, vocabulary: &KnownNames) -> Result<Arc<Catalogue>, Cause> {
    catalogue_of(greenroom_definitions::load(&Source::Directory(dir.to_owned()), vocabulary))
}

/// The catalogue of what was loaded, if nothing is wrong with it.
///
/// # Errors
/// [`ErrorCode::InvalidDefinition`] with every problem of every file.
pub fn catalogue_of(loaded: LoadOutcome) -> Result<Arc<Catalogue>, Cause> {
    let LoadOutcome { catalogue, report } = loaded;
    let wrong = || report.to_cause().unwrap_or_else(|| Cause::new(ErrorCode::Internal, "the loader made no catalogue"));
    catalogue.ok_or_else(wrong)
}

/// Waits until nothing was touched for a while, but not much longer after the first touch.
async fn debounce(touched: &mut mpsc::Receiver<Instant>, since: Instant) {
    let settle = async { while let Ok(Some(_)) = tokio::time::timeout(DEBOUNCE, touched.recv()).await {} };
    let _ = tokio::time::timeout_at(since + DEBOUNCE_MAX, settle).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_is_quiet_again_is_read_soon_and_one_that_never_is_within_the_bound() {
        let (touch, mut touched) = mpsc::channel(1);
        let since = Instant::now();
        debounce(&mut touched, since).await;
        assert_eq!(since.elapsed(), DEBOUNCE);

        let since = Instant::now();
        let editor = async {
            loop {
                let _ = touch.try_send(Instant::now());
                tokio::time::sleep(DEBOUNCE / 2).await;
            }
        };
        tokio::select! {
            () = debounce(&mut touched, since) => {}
            () = editor => unreachable!("the editor never ends"),
        }
        assert_eq!(since.elapsed(), DEBOUNCE_MAX);
    }

    #[test]
    fn most_of_the_bound_is_left_for_reading() {
        assert!(DEBOUNCE < DEBOUNCE_MAX && DEBOUNCE_MAX * 2 < RELOAD_MAX);
    }
}

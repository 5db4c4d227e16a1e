//! Reloads definitions and policy. A changed file is active within a second; an invalid one changes
//! nothing, and the log and the audit record why it was rejected.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::definition_resolver::DefinitionResolver as _;
use greenroom_actors::guard::GuardHandle;
use greenroom_definitions::KnownNames;
use greenroom_protocol::{Cause, Clock, ContentHash, ErrorCode};
use greenroom_registry::audit::AuditLog;
use greenroom_rego::Bundle;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::cached_definitions::CachedDefinitions;
use crate::compose::catalogue;
use crate::compose::category_spawner::CategorySpawner;

/// Time from the first change of a file until the change is active or rejected.
pub const RELOAD_MAX: Duration = Duration::from_secs(1);
/// Time without a change before a directory is read: an editor writes in several steps.
const DEBOUNCE: Duration = Duration::from_millis(150);
/// Longest wait for a directory that keeps changing. The rest of [`RELOAD_MAX`] is for reading and
/// compiling.
const DEBOUNCE_MAX: Duration = Duration::from_millis(400);

/// Activates changed definitions and policies.
pub struct Reloader {
    pub(crate) definitions: Arc<CachedDefinitions>,
    pub(crate) known_names: KnownNames,
    pub(crate) spawner: CategorySpawner,
    pub(crate) guard: GuardHandle,
    pub(crate) audit: Arc<dyn AuditLog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) definitions_dir: Option<PathBuf>,
    pub(crate) policy_dir: Option<PathBuf>,
}

impl Reloader {
    /// True if there is a directory to watch.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.definitions_dir.is_some() || self.policy_dir.is_some()
    }

    /// Watches the directories until it is dropped.
    ///
    /// # Errors
    /// Those of the operating system for the directories.
    pub async fn run(&self) -> Result<(), String> {
        let (changed_tx, mut changed) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error of the watcher may hide a change, so it counts as one.
            if event.map_or(true, |event| !event.kind.is_access()) {
                // A full channel holds the time of an earlier change that is not handled yet.
                let _ = changed_tx.try_send(Instant::now());
            }
        })
        .map_err(|error| error.to_string())?;
        for dir in [&self.definitions_dir, &self.policy_dir].into_iter().flatten() {
            watcher.watch(dir, RecursiveMode::Recursive).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        // The first round reads both directories: they may have changed between start and first watch.
        let mut active = self.policy_dir.as_ref().map(|_| *self.guard.active_policy().hash());
        let mut since = Instant::now();
        loop {
            let current = self.policy_hash();
            tokio::join!(self.reload_definitions(since), async {
                if current != active {
                    self.reload_policy(since).await;
                }
            });
            active = current;
            let Some(first) = changed.recv().await else { return Ok(()) };
            since = first;
            debounce(&mut changed, since).await;
        }
    }

    fn policy_hash(&self) -> Option<ContentHash> {
        let dir = self.policy_dir.as_deref()?;
        Some(Bundle::fingerprint(dir))
    }

    async fn reload_definitions(&self, since: Instant) {
        let Some(dir) = self.definitions_dir.clone() else { return };
        let known_names = self.known_names.clone();
        let loaded = tokio::task::spawn_blocking(move || catalogue::load_directory(&dir, &known_names)).await;
        let outcome = match loaded {
            Ok(Ok(catalogue)) if catalogue.hash() == self.definitions.catalogue().hash() => return,
            Ok(Ok(catalogue)) => self.spawner.ensure_supervisors(&catalogue).await.map(|()| {
                let message = format!("the catalogue {} is active", catalogue.hash().short());
                self.definitions.swap(catalogue);
                message
            }),
            Ok(Err(cause)) => Err(cause),
            Err(error) => Err(Cause::new(ErrorCode::Internal, error.to_string())),
        };
        self.report("definitions", outcome, since).await;
    }

    async fn reload_policy(&self, since: Instant) {
        let Some(dir) = &self.policy_dir else { return };
        let outcome = match Bundle::open(dir) {
            Ok(bundle) => self.guard.load(bundle).await.map(|revision| format!("the policy {revision} is active")),
            Err(error) => Err(error.into()),
        };
        self.report("policy", outcome, since).await;
    }

    async fn report(&self, subject: &'static str, outcome: Result<String, Cause>, since: Instant) {
        let elapsed = since.elapsed();
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        if elapsed > RELOAD_MAX {
            tracing::warn!(reload.subject = subject, elapsed_ms, "reload exceeded its time limit");
        }
        let message = match outcome {
            Ok(message) => {
                tracing::info!(reload.subject = subject, reload.result = message, elapsed_ms, "reload activated");
                message
            }
            Err(cause) => {
                tracing::error!(
                    reload.subject = subject, error.code = %cause.code, error.message = cause.message, elapsed_ms,
                    "reload rejected, keeping the active version"
                );
                format!("a reload was rejected, the active version was kept: {cause}")
            }
        };
        if let Err(error) = self.audit.record_system_event(subject, &message, self.clock.now()).await {
            tracing::error!(error.message = %error, "cannot record the reload in the audit");
        }
    }
}

/// Waits until no file has changed for [`DEBOUNCE`], but at most [`DEBOUNCE_MAX`] after `since`.
async fn debounce(changed: &mut mpsc::Receiver<Instant>, since: Instant) {
    let settle = async { while let Ok(Some(_)) = tokio::time::timeout(DEBOUNCE, changed.recv()).await {} };
    let _ = tokio::time::timeout_at(since + DEBOUNCE_MAX, settle).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_quiet_directory_is_read_soon_and_a_busy_one_within_the_bound() {
        let (changed_tx, mut changed) = mpsc::channel(1);
        let since = Instant::now();
        debounce(&mut changed, since).await;
        assert_eq!(since.elapsed(), DEBOUNCE);

        let since = Instant::now();
        let editor = async {
            loop {
                let _ = changed_tx.try_send(Instant::now());
                tokio::time::sleep(DEBOUNCE / 2).await;
            }
        };
        tokio::select! {
            () = debounce(&mut changed, since) => {}
            () = editor => unreachable!("the editor never ends"),
        }
        assert_eq!(since.elapsed(), DEBOUNCE_MAX);
    }

    #[test]
    fn debouncing_leaves_most_of_the_bound_for_reading() {
        assert!(DEBOUNCE < DEBOUNCE_MAX && DEBOUNCE_MAX * 2 < RELOAD_MAX);
    }
}

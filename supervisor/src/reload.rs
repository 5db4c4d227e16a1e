//! Reloads users, definitions and policy. A changed file is active within a second once nothing changes any more; an
//! invalid definition is quarantined, an invalid settings file or policy changes nothing, and the log and the audit
//! record it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::definition_resolver::DefinitionResolver as _;
use greenroom_actors::guard::{GuardHandle, LoadError};
use greenroom_definitions::{Catalogue, KnownNames};
use greenroom_protocol::{Cause, Clock, ErrorCode};
use greenroom_registry::core::CoreStore;
use greenroom_rego::Bundle;
use tokio::time::Instant;

use self::look::{Fingerprints, Settling};
use self::progress::{Progress, Round};
pub(crate) use self::users::UserFile;
use self::watch::Watch;
use crate::cached_definitions::CachedDefinitions;
use crate::compose::catalogue::{self, LoadTime};
use crate::compose::category_spawner::CategorySpawner;
use crate::compose::in_service::InService;
use crate::config::source::load_users;
use crate::telemetry::Metrics;

mod look;
mod progress;
mod users;
mod watch;

#[cfg(test)]
mod tests;

/// Time from the last change of a directory until the change is active or rejected.
pub const RELOAD_MAX: Duration = Duration::from_secs(1);

/// Activates changed users, definitions and policies.
pub struct Reloader {
    pub(crate) definitions: Arc<CachedDefinitions>,
    pub(crate) in_service: InService,
    pub(crate) known_names: KnownNames,
    pub(crate) spawner: CategorySpawner,
    pub(crate) guard: GuardHandle,
    pub(crate) core: Arc<dyn CoreStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) strict: bool,
    pub(crate) definitions_dir: Option<PathBuf>,
    pub(crate) policy_dir: Option<PathBuf>,
    /// `None` if the pod has no settings file, or if something else than the configuration resolves users.
    pub(crate) users: Option<UserFile>,
}

impl Reloader {
    /// True if there is a directory or a file to watch.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.definitions_dir.is_some() || self.policy_dir.is_some() || self.users.is_some()
    }

    /// Watches the directories and the settings file until it is dropped.
    ///
    /// # Errors
    /// Those of the operating system for the directories.
    pub async fn run(&self) -> Result<(), String> {
        let dirs = [&self.definitions_dir, &self.policy_dir];
        let mut watch = Watch::start(dirs.into_iter().flatten().cloned().collect(), self.user_file_path())?;
        // The first round reads everything: it may have changed between start and first watch.
        let active = self.policy_dir.as_ref().map(|_| *self.guard.active_policy().hash());
        let mut progress = Progress::new(active);
        loop {
            let (look, since) = self.settled_look().await;
            let round = self.reload(look, &mut progress, since).await;
            watch.wait_changed(round.retry_delay()).await?;
        }
    }

    /// Looks at the directories until they no longer change: a directory that is being copied is not loaded. Returns
    /// the last look and the time of the last change.
    async fn settled_look(&self) -> (Fingerprints, Instant) {
        let mut settling = Settling::new(self.look().await, Instant::now());
        while let Some(delay) = settling.next_look_in(Instant::now()) {
            tokio::time::sleep(delay).await;
            settling.on_look(self.look().await, Instant::now());
        }
        settling.settled()
    }

    async fn look(&self) -> Fingerprints {
        let (definitions, policy) = (self.definitions_dir.clone(), self.policy_dir.clone());
        let users = self.user_file_path();
        let take = move || Fingerprints::take(definitions.as_deref(), policy.as_deref(), users.as_deref());
        tokio::task::spawn_blocking(take).await.unwrap_or_default()
    }

    fn user_file_path(&self) -> Option<PathBuf> {
        self.users.as_ref().map(|file| file.path.clone())
    }

    /// Loads what has changed: users first, because a right may have been withdrawn; the policy before the definitions,
    /// because it has the names of policies that definitions may list.
    async fn reload(&self, look: Fingerprints, progress: &mut Progress, since: Instant) -> Round {
        let mut round = Round::Done;
        if progress.needs_users(look) {
            match self.reload_users(look, since).await {
                Round::Done => progress.on_users(look),
                Round::Retry => round = Round::Retry,
            }
        }
        if progress.needs_policy(look) {
            match self.reload_policy(since).await {
                Round::Done => progress.on_policy(look),
                Round::Retry => round = Round::Retry,
            }
        }
        let known_names = self.known_names();
        if progress.needs_definitions(look, &known_names) {
            match self.reload_definitions(look, &known_names, since).await {
                Round::Done => progress.on_definitions(look, known_names),
                Round::Retry => round = Round::Retry,
            }
        }
        round
    }

    async fn reload_users(&self, look: Fingerprints, since: Instant) -> Round {
        let Some(file) = &self.users else { return Round::Done };
        let path = file.path.clone();
        let loaded = tokio::task::spawn_blocking(move || load_users(&path)).await;
        // The file changed while it was read.
        if self.look().await.users != look.users {
            return Round::Retry;
        }
        let outcome = match loaded {
            Ok(Ok(changed)) => match file.activate(changed) {
                Some(message) => Ok(message),
                None => return Round::Done,
            },
            Ok(Err(error)) => Err(Cause::from(error)),
            Err(error) => Err(Cause::new(ErrorCode::Internal, error.to_string())),
        };
        self.report("users", outcome, since).await;
        Round::Done
    }

    /// The names that definitions may use, with those of the active policy.
    fn known_names(&self) -> KnownNames {
        catalogue::with_policy(self.known_names.clone(), self.guard.active_policy().data())
    }

    async fn reload_definitions(&self, look: Fingerprints, known_names: &KnownNames, since: Instant) -> Round {
        let Some(dir) = self.definitions_dir.clone() else { return Round::Done };
        let (known_names, active, strict) = (known_names.clone(), self.definitions.catalogue(), self.strict);
        let active_hash = active.hash();
        let loaded = tokio::task::spawn_blocking(move || catalogue::reload(&dir, &known_names, &active, strict)).await;
        // The directory changed while it was read.
        if !self.look().await.has_same_definitions(look) {
            return Round::Retry;
        }
        let outcome = match loaded {
            Ok(Ok(catalogue)) if catalogue.hash() == active_hash => return Round::Done,
            Ok(Ok(catalogue)) => self.activate(catalogue).await,
            Ok(Err(cause)) => Err(cause),
            Err(error) => Err(Cause::new(ErrorCode::Internal, error.to_string())),
        };
        match outcome {
            Err(cause) if cause.code != ErrorCode::InvalidDefinition => {
                tracing::warn!(error.code = %cause.code, error.message = cause.message, "definitions are loaded again");
                Round::Retry
            }
            outcome => {
                self.report("definitions", outcome, since).await;
                Round::Done
            }
        }
    }

    async fn activate(&self, catalogue: Arc<Catalogue>) -> Result<String, Cause> {
        self.spawner.ensure_supervisors(&catalogue).await?;
        catalogue::log_quarantined(&catalogue, LoadTime::Reload);
        self.metrics.set_quarantined(catalogue.quarantined().len());
        let mut message = format!("the catalogue {} is active", catalogue.hash().short());
        if let Some(first) = catalogue.quarantined().next() {
            message
                .push_str(&format!("; {} definitions are quarantined, first {first}", catalogue.quarantined().len()));
        }
        self.definitions.swap(Arc::clone(&catalogue));
        self.in_service.store(&catalogue).await;
        Ok(message)
    }

    async fn reload_policy(&self, since: Instant) -> Round {
        let Some(dir) = &self.policy_dir else { return Round::Done };
        let loaded = match Bundle::open(dir) {
            Ok(bundle) => self.guard.load(bundle).await,
            Err(error) => Err(LoadError::Rejected(error.into())),
        };
        let outcome = match loaded {
            Ok(revision) => Ok(format!("the policy {revision} is active")),
            Err(LoadError::Rejected(cause)) => Err(cause),
            Err(error @ LoadError::Unavailable) => {
                tracing::warn!(error.message = %error, "policy was not examined, it is loaded again");
                return Round::Retry;
            }
        };
        self.report("policy", outcome, since).await;
        Round::Done
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
        if let Err(error) = self.core.record_system_event(subject, &message, self.clock.now()).await {
            tracing::error!(error.message = %error, "cannot record the reload in the audit");
        }
    }
}

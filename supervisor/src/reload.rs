//! Reloads users, definitions and policy. A changed file is active within a second once nothing changes any more; an
//! invalid definition is quarantined, an invalid settings file or policy changes nothing, and the log and the audit
//! record it. What was applied for every pod replaces the definitions or the policy of the pod's own source.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use greenroom_actors::definition_resolver::DefinitionResolver as _;
use greenroom_actors::guard::{GuardHandle, LoadError};
use greenroom_definitions::{Catalogue, KnownNames};
use greenroom_protocol::{Cause, Clock, ContentHash, ErrorCode};
use greenroom_registry::core::CoreStore;
use greenroom_registry::generation_store::{GenerationKind, GenerationStore, Generations};
use tokio::sync::watch::{Receiver, Sender};
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use self::look::{Fingerprints, Settling};
use self::progress::{Progress, Round};
pub(crate) use self::users::UserFile;
use self::watch::Watch;
use crate::cached_definitions::CachedDefinitions;
use crate::compose::blocking::run_blocking;
use crate::compose::catalogue::{self, LoadTime};
use crate::compose::category_spawner::CategorySpawner;
use crate::compose::host_names::HostNames;
use crate::compose::in_service::InService;
use crate::config::source::load_users;
use crate::readiness::Readiness;
use crate::sources::OwnSources;
use crate::telemetry::Metrics;

mod generations;
mod look;
mod progress;
mod users;
mod watch;

#[cfg(test)]
mod tests;

/// Time from the last change of a directory until the change is active or rejected.
pub const RELOAD_MAX: Duration = Duration::from_secs(1);
/// How often the objects of a bucket are listed.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Activates changed users, definitions and policies.
pub struct Reloader {
    pub(crate) definitions: Arc<CachedDefinitions>,
    pub(crate) in_service: InService,
    /// The names that definitions may use, except for those of the policy.
    pub(crate) host_names: HostNames,
    pub(crate) spawner: CategorySpawner,
    pub(crate) guard: GuardHandle,
    pub(crate) core: Arc<dyn CoreStore>,
    pub(crate) generations: Arc<dyn GenerationStore>,
    /// The generations that are active here.
    pub(crate) active: Arc<Sender<Generations>>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) strict: bool,
    pub(crate) sources: OwnSources,
    /// `None` if the pod has no settings file, or if something else than the configuration resolves users.
    pub(crate) users: Option<UserFile>,
    /// Held while something is activated, so that nothing of an own source replaces what was applied.
    pub(crate) activating: Mutex<()>,
    /// The active policy has other names for the definitions of the own source.
    pub(crate) policy_changed: Notify,
    /// The sources that cannot be looked at, which the log has.
    pub(crate) failing_sources: std::sync::Mutex<BTreeSet<&'static str>>,
}

impl Reloader {
    /// True if there is a source or a file to watch.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.sources.definitions.is_some() || self.sources.policy.is_some() || self.users.is_some()
    }

    /// Watches the sources and the settings file until it is dropped.
    ///
    /// # Errors
    /// Those of the operating system for the directories.
    pub async fn run(&self) -> Result<(), String> {
        let mut watch = Watch::start(self.directories(), self.user_file_path())?;
        let mut names = self.host_names.changes();
        // The first round reads everything: it may have changed between start and first watch.
        let active = self.sources.policy.as_ref().filter(|source| source.location().path().is_some());
        let mut progress = Progress::new(active.map(|_| *self.guard.active_policy().hash()));
        let mut look = Fingerprints::default();
        loop {
            let since;
            (look, since) = self.settled_look(look).await;
            let round = self.reload(look, &mut progress, since).await;
            self.wait_changed((&mut watch, &mut names), round, look).await?;
        }
    }

    /// The directories that the operating system watches.
    fn directories(&self) -> Vec<PathBuf> {
        let sources = [&self.sources.definitions, &self.sources.policy].into_iter().flatten();
        sources.filter_map(|source| source.location().path().map(ToOwned::to_owned)).collect()
    }

    /// True if the tags of objects have to be compared.
    fn has_bucket(&self) -> bool {
        let mut sources = [&self.sources.definitions, &self.sources.policy].into_iter().flatten();
        sources.any(|source| source.location().path().is_none())
    }

    /// Waits until something may have changed since the last look, or a load is to be repeated.
    async fn wait_changed(
        &self,
        (watch, names): (&mut Watch, &mut Receiver<usize>),
        round: Round,
        last: Fingerprints,
    ) -> Result<(), String> {
        loop {
            let delay = if self.has_bucket() { Some(POLL_INTERVAL) } else { round.retry_delay() };
            tokio::select! {
                changed = watch.wait_changed(delay) => changed?,
                () = self.policy_changed.notified() => return Ok(()),
                Ok(()) = names.changed() => return Ok(()),
            }
            if round == Round::Retry || !self.has_bucket() || self.look(last).await != last {
                return Ok(());
            }
        }
    }

    /// Looks at the sources until they no longer change: a directory that is being copied is not loaded. Returns the last
    /// look and the time of the last change.
    async fn settled_look(&self, last: Fingerprints) -> (Fingerprints, Instant) {
        let mut settling = Settling::new(self.look(last).await, Instant::now());
        while let Some(delay) = settling.next_look_in(Instant::now()) {
            tokio::time::sleep(delay).await;
            settling.on_look(self.look(last).await, Instant::now());
        }
        settling.settled()
    }

    /// Looks at the sources. One that cannot be looked at has not changed, as far as is known.
    async fn look(&self, last: Fingerprints) -> Fingerprints {
        let definitions = match &self.sources.definitions {
            Some(source) => self.known_or(source.definitions_fingerprint().await, last.definitions, "definitions"),
            None => None,
        };
        let policy = match &self.sources.policy {
            Some(source) => self.known_or(source.policy_fingerprint().await, last.policy, "policy"),
            None => None,
        };
        let users = match self.user_file_path() {
            Some(path) => tokio::task::spawn_blocking(move || users::fingerprint(&path)).await.ok().flatten(),
            None => None,
        };
        Fingerprints { definitions, policy, users }
    }

    fn known_or(
        &self,
        looked: Result<ContentHash, Cause>,
        last: Option<ContentHash>,
        subject: &'static str,
    ) -> Option<ContentHash> {
        // It is changed in one step.
        let mut failing = self.failing_sources.lock().unwrap_or_else(PoisonError::into_inner);
        match looked {
            Ok(fingerprint) => {
                failing.remove(subject);
                Some(fingerprint)
            }
            Err(cause) => {
                if failing.insert(subject) {
                    self.metrics.generations().count_failure(subject);
                    tracing::error!(
                        reload.subject = subject, error.code = %cause.code, error.message = cause.message,
                        "source cannot be read, keeping the active version"
                    );
                }
                last
            }
        }
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
        if self.look(look).await.users != look.users {
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
        catalogue::with_policy(self.host_names.current(), self.guard.active_policy().data())
    }

    /// True if what was applied for every pod replaces the own source.
    fn is_replaced(&self, kind: GenerationKind) -> bool {
        let (active, current) = (*self.active.borrow(), *self.generations.watch().borrow());
        active.number(kind) > 0 || current.number(kind) > 0
    }

    async fn reload_definitions(&self, look: Fingerprints, known_names: &KnownNames, since: Instant) -> Round {
        let Some(source) = &self.sources.definitions else { return Round::Done };
        if self.is_replaced(GenerationKind::Catalogue) {
            return Round::Done;
        }
        let (known_names, active, strict) = (known_names.clone(), self.definitions.catalogue(), self.strict);
        let active_hash = active.hash();
        let loaded = match source.definitions().await {
            Ok(source) => run_blocking(move || catalogue::reload(&source, &known_names, &active, strict)).await,
            Err(cause) => Err(cause),
        };
        // The source changed while it was read.
        if !self.look(look).await.has_same_definitions(look) {
            return Round::Retry;
        }
        let outcome = match loaded {
            Ok(Ok(catalogue)) if catalogue.hash() == active_hash => return Round::Done,
            Ok(Ok(catalogue)) => {
                let _activating = self.activating.lock().await;
                if self.is_replaced(GenerationKind::Catalogue) {
                    return Round::Done;
                }
                let activated = self.activate(&catalogue).await;
                if activated.is_ok() {
                    self.in_service.store(&catalogue).await;
                }
                activated
            }
            Ok(Err(cause)) | Err(cause) => Err(cause),
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

    async fn activate(&self, catalogue: &Arc<Catalogue>) -> Result<String, Cause> {
        self.spawner.ensure_supervisors(catalogue).await?;
        catalogue::log_quarantined(catalogue, LoadTime::Reload);
        self.metrics.set_quarantined(catalogue.quarantined().len());
        let mut message = format!("the catalogue {} is active", catalogue.hash().short());
        if let Some(first) = catalogue.quarantined().next() {
            message
                .push_str(&format!("; {} definitions are quarantined, first {first}", catalogue.quarantined().len()));
        }
        self.definitions.swap(Arc::clone(catalogue));
        Ok(message)
    }

    async fn reload_policy(&self, since: Instant) -> Round {
        let Some(source) = &self.sources.policy else { return Round::Done };
        let bundle = source.bundle().await;
        let _activating = self.activating.lock().await;
        if self.is_replaced(GenerationKind::Policy) {
            return Round::Done;
        }
        let loaded = match bundle {
            // An object may have another tag, and the same content.
            Ok(bundle) if source.location().path().is_none() && bundle.hash() == self.guard.active_policy().hash() => {
                return Round::Done;
            }
            Ok(bundle) => self.guard.load(bundle).await,
            Err(cause) if cause.code == ErrorCode::InvalidPolicy => Err(LoadError::Rejected(cause)),
            Err(cause) => {
                tracing::warn!(error.code = %cause.code, error.message = cause.message, "policy is loaded again");
                return Round::Retry;
            }
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
                self.metrics.generations().count_failure(subject);
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

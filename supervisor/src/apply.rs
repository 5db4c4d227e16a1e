//! Checks definitions or a policy that a user applies for every pod, and stores them as the next generation.
//!
//! What is stored has passed together: definitions are checked with the names of the current policy, and a policy with
//! the current definitions. If another user applies something meanwhile, the check is repeated.

use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::guard::GuardHandle;
use greenroom_definitions::{Catalogue, KnownNames, Report};
use greenroom_protocol::{Cause, Clock, ErrorCode, Json, PrincipalId};
use greenroom_registry::core::CoreStore;
use greenroom_registry::generation_store::{
    GenerationFiles, GenerationKind, GenerationStore, Generations, NewGeneration, hash_files,
};
use greenroom_rego::{Action, Bundle, Engine, PolicySnapshot, Principal, is_allowed_at_best};
use serde_json::json;
use tokio::sync::watch;

use crate::compose::catalogue::{load_valid, with_policy};
use crate::compose::host_names::HostNames;
use crate::config::{Config, SourceLocation};
use crate::generations::{bundle_files, definition_files, policy_bundle, read};
use crate::sources::SourceReader;

/// Checks that other users may make void, one after the other.
const ATTEMPTS_MAX: usize = 10;
/// How long a reply waits until what was applied is active on this pod too.
const ACTIVATION_WAIT_MAX: Duration = Duration::from_secs(2);

/// Applies definitions and policies.
pub(crate) struct Applier {
    pub(crate) config: Config,
    pub(crate) generations: Arc<dyn GenerationStore>,
    /// The generations that are active on this pod.
    pub(crate) active: watch::Receiver<Generations>,
    pub(crate) guard: GuardHandle,
    /// The names that definitions may use, except for those of the policy.
    pub(crate) host_names: HostNames,
    pub(crate) core: Arc<dyn CoreStore>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What a user applies.
#[derive(Clone, Copy)]
struct Application<'a> {
    kind: GenerationKind,
    /// Where it is.
    from: &'a str,
    by: &'a PrincipalId,
}

/// What was stored.
struct Stored {
    number: u64,
    /// False if the same files are current already.
    is_new: bool,
}

impl Applier {
    /// Applies the definitions of a directory or a bucket, and returns a report.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidDefinition`] with every problem of every file; [`ErrorCode::InvalidInput`] for a source that
    /// cannot be read; those of the stores. Nothing was changed then.
    pub(crate) async fn apply_definitions(&self, from: &str, by: &PrincipalId) -> Result<Json, Cause> {
        let application = Application { kind: GenerationKind::Catalogue, from, by };
        let set = self.open(from)?.definition_files().await?;
        for _ in 0..ATTEMPTS_MAX {
            let checked = self.current().await?;
            let (catalogue, report) = load_valid(set.clone(), self.known_names(checked).await?).await?;
            if let Some(stored) = self.store(application, &set.files, checked).await? {
                let hash = hash_files(&set.files).to_string();
                let details = catalogue_json(&catalogue, &report);
                return self.finish(application, stored, &hash, details).await;
            }
        }
        Err(contention())
    }

    /// Applies the policy bundle of a file, a directory or a bucket, and returns a report.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidPolicy`] if the bundle is not valid, fails its trial, has a rule on a path that the input never
    /// has, denies the principal to apply the next one, or lacks names that the current definitions use;
    /// [`ErrorCode::InvalidInput`] for a source that cannot be read; those of the stores. Nothing was changed then.
    pub(crate) async fn apply_policy(&self, from: &str, by: &Principal) -> Result<Json, Cause> {
        let application = Application { kind: GenerationKind::Policy, from, by: &by.id };
        let bytes = self.open(from)?.bundle_bytes().await?;
        let bundle = Bundle::read(&bytes)?;
        let hash = bundle.hash().to_string();
        let snapshot = self.guard.validate(bundle).await?;
        require_no_error(&snapshot)?;
        require_replaceable(&snapshot, by).await?;
        let files = bundle_files(bytes);
        for _ in 0..ATTEMPTS_MAX {
            let checked = self.current().await?;
            self.require_names(&snapshot, checked).await?;
            if let Some(stored) = self.store(application, &files, checked).await? {
                return self.finish(application, stored, &hash, policy_json(&snapshot)).await;
            }
        }
        Err(contention())
    }

    fn open(&self, from: &str) -> Result<SourceReader, Cause> {
        let location = SourceLocation::parse(from).map_err(|problem| Cause::new(ErrorCode::InvalidInput, problem))?;
        SourceReader::open(&location, &self.config)
    }

    async fn current(&self) -> Result<Generations, Cause> {
        self.generations.current_generations().await.map_err(|error| error.cause())
    }

    /// The names that definitions may use, with those of the current policy; of that of this pod, if none was applied.
    async fn known_names(&self, current: Generations) -> Result<KnownNames, Cause> {
        let names = self.host_names.current();
        if current.policy == self.active.borrow().policy {
            return Ok(with_policy(names, self.guard.active_policy().data()));
        }
        let generation = read(&*self.generations, GenerationKind::Policy, current.policy).await?;
        Ok(with_policy(names, policy_bundle(&generation)?.data()))
    }

    /// Checks that a policy has the names that the current definitions use. Those of a pod's own source are checked when
    /// the policy becomes active there.
    async fn require_names(&self, policy: &PolicySnapshot, current: Generations) -> Result<(), Cause> {
        if current.catalogue == 0 {
            return Ok(());
        }
        let generation = read(&*self.generations, GenerationKind::Catalogue, current.catalogue).await?;
        let names = with_policy(self.host_names.current(), policy.data());
        match load_valid(definition_files(generation), names).await {
            Err(cause) if cause.code == ErrorCode::InvalidDefinition => {
                let message = format!(
                    "the definitions of generation {} are not valid with this policy: {}",
                    current.catalogue, cause.message
                );
                Err(Cause { code: ErrorCode::InvalidPolicy, message, ..cause })
            }
            loaded => loaded.map(drop),
        }
    }

    /// Stores files that were checked with the current generations; `None` if others are current by now.
    async fn store(
        &self,
        application: Application<'_>,
        files: &GenerationFiles,
        checked: Generations,
    ) -> Result<Option<Stored>, Cause> {
        let Application { kind, from, by } = application;
        let current = checked.number(kind);
        let infos = self.generations.list(kind).await.map_err(|error| error.cause())?;
        let info = infos.into_iter().find(|info| info.number == current);
        if info.is_some_and(|info| info.hash == hash_files(files)) {
            return Ok(Some(Stored { number: current, is_new: false }));
        }
        let (files, source, at) = (files.clone(), from.to_owned(), self.clock.now());
        let new = NewGeneration { kind, files, source, by: by.clone(), at };
        let number = self.generations.apply(new, checked).await.map_err(|error| error.cause())?;
        Ok(number.map(|number| Stored { number, is_new: true }))
    }

    /// Records what was applied, waits until it is active here, and returns the report.
    async fn finish(
        &self,
        application: Application<'_>,
        stored: Stored,
        hash: &str,
        mut details: Json,
    ) -> Result<Json, Cause> {
        let (Application { kind, from, by }, Stored { number, is_new }) = (application, stored);
        let name = kind.as_str();
        if is_new {
            tracing::info!(generation.kind = name, generation.number = number, "generation was applied");
            let message = format!("generation {number} of the {name} ({hash}) was applied by {by} from {from}");
            let recorded = self.core.record_system_event(subject(kind), &message, self.clock.now()).await;
            recorded.map(drop).map_err(|error| error.cause())?;
        }
        let is_active = self.wait_active(kind, number).await;
        if let Some(members) = details.as_object_mut() {
            members.extend([
                ("generation".to_owned(), json!(number)),
                ("changed".to_owned(), json!(is_new)),
                ("active".to_owned(), json!(is_active)),
                ("hash".to_owned(), json!(hash)),
                ("source".to_owned(), json!(from)),
            ]);
        }
        Ok(details)
    }

    async fn wait_active(&self, kind: GenerationKind, number: u64) -> bool {
        let mut active = self.active.clone();
        let activated = active.wait_for(|active| active.number(kind) >= number);
        tokio::time::timeout(ACTIVATION_WAIT_MAX, activated).await.is_ok_and(|activated| activated.is_ok())
    }
}

/// The subject of the audit.
const fn subject(kind: GenerationKind) -> &'static str {
    match kind {
        GenerationKind::Catalogue => "definitions",
        GenerationKind::Policy => "policy",
    }
}

/// Rejects a policy with a rule that cannot decide what its author meant, as `policy check` does.
fn require_no_error(policy: &PolicySnapshot) -> Result<(), Cause> {
    let errors: Vec<String> =
        policy.warnings().iter().filter(|warning| warning.is_error()).map(ToString::to_string).collect();
    match errors.first() {
        Some(first) => {
            let rest = if errors.len() > 1 { format!(" (and {} more)", errors.len() - 1) } else { String::new() };
            let message = format!("{first}{rest}");
            Err(Cause::new(ErrorCode::InvalidPolicy, message).with_details(json!({ "errors": errors })))
        }
        None => Ok(()),
    }
}

/// Rejects a policy that denies its principal to apply the next one: it might stay for ever.
async fn require_replaceable(policy: &Arc<PolicySnapshot>, by: &Principal) -> Result<(), Cause> {
    let mut engine = Engine::new(Arc::clone(policy)).await?;
    if is_allowed_at_best(&mut engine, Action::ApplyPolicy, by).await? {
        return Ok(());
    }
    let message = format!(
        "this policy denies `{}` to {}, who applies it, so that it might never be replaced; it can be applied by a user \
         whom it allows that",
        Action::ApplyPolicy.as_str(),
        by.id
    );
    Err(Cause::new(ErrorCode::InvalidPolicy, message))
}

fn catalogue_json(catalogue: &Catalogue, report: &Report) -> Json {
    json!({
        "files": report.files,
        "agents": catalogue.agent_count(),
        "workflows": catalogue.workflow_count(),
        "teams": catalogue.team_count(),
        "warnings": report.warnings().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn policy_json(policy: &PolicySnapshot) -> Json {
    let warnings: Vec<String> = policy.warnings().iter().map(ToString::to_string).collect();
    json!({ "revision": &**policy.revision(), "warnings": warnings })
}

fn contention() -> Cause {
    let message = "others have applied definitions or a policy at the same time; apply it again";
    Cause::new(ErrorCode::VersionConflict, message)
}

#[cfg(test)]
mod tests;

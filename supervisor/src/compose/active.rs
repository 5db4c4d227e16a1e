//! What is active when a pod starts: the policy and the catalogue that were applied for every pod, and else those of its
//! own sources.
//!
//! A pod whose release cannot load what was applied last starts with an earlier generation, as one that runs already
//! remains with it; it is not ready then. It never starts with its own policy or catalogue instead, which may permit
//! more. Only the pod of a command that replaces them does so, because nothing could be replaced otherwise.

use std::sync::Arc;

use greenroom_definitions::{Catalogue, KnownNames};
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_registry::Stores;
use greenroom_registry::generation_store::{GenerationKind, Generations};
use greenroom_rego::snapshot::Compiler;
use greenroom_rego::{Bundle, PolicySnapshot};

use super::catalogue::{self, LoadTime, load_valid, log_quarantined, with_policy};
use super::in_service::InService;
use super::policy;
use crate::config::Config;
use crate::generations::{definition_files, policy_bundle, read};
use crate::pipeline::store_failure::name_store;
use crate::sources::OwnSources;
use crate::telemetry::Metrics;

/// Generations of one kind that a start tries, the current one first.
const TRIES_MAX: usize = 8;
/// The number that stands for the own source of a pod.
const OWN: u64 = 0;

/// What is active when a pod starts.
pub(crate) struct ActiveParts {
    /// Their generations; zero for what is of an own source.
    pub(crate) generations: Generations,
    /// The policy, and the compiler for its successors.
    pub(crate) policy: (Arc<PolicySnapshot>, Compiler),
    /// The catalogue.
    pub(crate) catalogue: Arc<Catalogue>,
    /// Stores what is in service of the own source.
    pub(crate) in_service: InService,
}

/// Loads what is active when a pod starts.
pub(crate) struct StartLoader<'a> {
    config: &'a Config,
    sources: &'a OwnSources,
    stores: &'a Stores,
    /// The names that definitions may use, except for those of the policy.
    host_names: KnownNames,
    in_service: InService,
    /// True for the pod of a command that replaces what cannot be loaded.
    is_repair: bool,
}

/// A policy with its compiler, a catalogue, and the generations of both.
type Loaded = ((Arc<PolicySnapshot>, Compiler), Arc<Catalogue>, Generations);

impl<'a> StartLoader<'a> {
    /// A loader that has loaded nothing yet.
    pub(crate) fn new(
        config: &'a Config,
        sources: &'a OwnSources,
        stores: &'a Stores,
        host_names: KnownNames,
        is_repair: bool,
    ) -> Self {
        let in_service = InService::new(config, Arc::clone(&stores.definitions));
        Self { config, sources, stores, host_names, in_service, is_repair }
    }

    /// Loads policy and catalogue, and reports what is active.
    ///
    /// # Errors
    /// Those of the stores and of the sources; [`ErrorCode::InvalidPolicy`] and [`ErrorCode::InvalidDefinition`] of the
    /// current generation, if no earlier one can be loaded either.
    pub(crate) async fn load(self, metrics: &Metrics) -> Result<ActiveParts, Cause> {
        let (policy, catalogue, generations) = self.load_current().await?;
        log_quarantined(&catalogue, LoadTime::Start);
        metrics.set_quarantined(catalogue.quarantined().len());
        metrics.generations().set_active(generations);
        log_unused(generations, self.sources);
        if generations.catalogue == OWN {
            self.in_service.store(&catalogue).await;
        }
        Ok(ActiveParts { generations, policy, catalogue, in_service: self.in_service })
    }

    async fn load_current(&self) -> Result<Loaded, Cause> {
        let current = self.stores.generations.current_generations().await;
        let current = current.map_err(|error| self.named(error.cause()))?;
        let mut refusal = None;
        for number in self.candidates(GenerationKind::Policy, current.policy).await? {
            let bundle = match self.bundle(number).await {
                Ok(bundle) => bundle,
                Err(cause) => {
                    refusal = refusal.or(Some(refusal_of(GenerationKind::Policy, number, cause)?));
                    continue;
                }
            };
            let known_names = with_policy(self.host_names.clone(), bundle.data());
            let compiling = policy::compile(self.config, bundle);
            let (policy, catalogue) = tokio::join!(compiling, self.load_catalogue(current.catalogue, &known_names));
            match policy {
                Ok(policy) => {
                    let (catalogue, of_catalogue) = catalogue?;
                    let generations = Generations { catalogue: of_catalogue, policy: number };
                    warn_of_earlier(current, generations);
                    return Ok((policy, catalogue, generations));
                }
                Err(cause) => refusal = refusal.or(Some(refusal_of(GenerationKind::Policy, number, cause)?)),
            }
        }
        Err(refusal.unwrap_or_else(missing_generation))
    }

    /// Loads the catalogue over these names, and returns its generation too.
    async fn load_catalogue(&self, current: u64, known_names: &KnownNames) -> Result<(Arc<Catalogue>, u64), Cause> {
        let mut refusal = None;
        for number in self.candidates(GenerationKind::Catalogue, current).await? {
            let loaded = match number {
                OWN => self.load_own_catalogue(known_names).await,
                number => self.load_generation(number, known_names).await,
            };
            match loaded {
                Ok(catalogue) => return Ok((catalogue, number)),
                Err(cause) => refusal = refusal.or(Some(refusal_of(GenerationKind::Catalogue, number, cause)?)),
            }
        }
        Err(refusal.unwrap_or_else(missing_generation))
    }

    /// The numbers that are tried, in this order.
    async fn candidates(&self, kind: GenerationKind, current: u64) -> Result<Vec<u64>, Cause> {
        if current == OWN {
            return Ok(vec![OWN]);
        }
        let stored = self.stores.generations.list(kind).await.map_err(|error| self.named(error.cause()))?;
        // One that was applied since is found by the pod when it runs.
        let numbers = stored.into_iter().map(|info| info.number).filter(|number| *number <= current);
        Ok(numbers.take(TRIES_MAX).chain(self.is_repair.then_some(OWN)).collect())
    }

    async fn bundle(&self, number: u64) -> Result<Bundle, Cause> {
        match number {
            OWN => self.sources.bundle().await,
            number => policy_bundle(&read(&*self.stores.generations, GenerationKind::Policy, number).await?),
        }
    }

    async fn load_own_catalogue(&self, known_names: &KnownNames) -> Result<Arc<Catalogue>, Cause> {
        let source = self.sources.definitions().await?;
        let outcome = catalogue::load(source.clone(), self.config.strict, known_names.clone()).await?;
        self.in_service.with_last_valid(outcome, source, known_names).await
    }

    async fn load_generation(&self, number: u64, known_names: &KnownNames) -> Result<Arc<Catalogue>, Cause> {
        let generation = read(&*self.stores.generations, GenerationKind::Catalogue, number).await?;
        Ok(load_valid(definition_files(generation), known_names.clone()).await?.0)
    }

    /// A cause of the store with its database.
    fn named(&self, cause: Cause) -> Cause {
        name_store(cause, &self.config.store, None)
    }
}

/// The refusal of a generation that this release cannot load.
///
/// # Errors
/// The cause itself, if it is one of the store, or of the own source.
fn refusal_of(kind: GenerationKind, number: u64, cause: Cause) -> Result<Cause, Cause> {
    if number == OWN || !matches!(cause.code, ErrorCode::InvalidDefinition | ErrorCode::InvalidPolicy) {
        return Err(cause);
    }
    tracing::error!(
        generation.kind = kind.as_str(), generation.number = number, error.code = %cause.code,
        error.message = cause.message, "applied generation cannot be loaded"
    );
    let message = format!(
        "generation {number} of the {}, which was applied, cannot be loaded by this release: {}",
        kind.as_str(),
        cause.message
    );
    Ok(Cause { message, ..cause })
}

/// No generation is stored, although there is a current one.
fn missing_generation() -> Cause {
    Cause::new(ErrorCode::Internal, "the current generation is not stored")
}

fn warn_of_earlier(current: Generations, active: Generations) {
    for kind in [GenerationKind::Catalogue, GenerationKind::Policy] {
        let (current, active) = (current.number(kind), active.number(kind));
        if active != current {
            tracing::error!(
                generation.kind = kind.as_str(),
                generation.number = active,
                generation.current = current,
                "an earlier generation is active, because the current one cannot be loaded"
            );
        }
    }
}

/// Reports the sources that are not used because something was applied for every pod.
fn log_unused(generations: Generations, sources: &OwnSources) {
    for (kind, source) in [(GenerationKind::Catalogue, &sources.definitions), (GenerationKind::Policy, &sources.policy)]
    {
        if let (1.., Some(source)) = (generations.number(kind), source) {
            tracing::info!(
                generation.kind = kind.as_str(), generation.number = generations.number(kind),
                source = %source.location(), "source is not used, because a generation was applied for every pod"
            );
        }
    }
}

//! Activates what is applied for every pod. A generation that this pod cannot load is reported, and what is active
//! remains active; the pod is not ready once that has lasted for a while.

use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::definition_resolver::DefinitionResolver as _;
use greenroom_actors::guard::LoadError;
use greenroom_definitions::{Catalogue, KnownNames};
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_registry::generation_store::{GenerationKind, Generations};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Reloader;
use super::progress::Round;
use crate::compose::catalogue::load_valid;
use crate::generations::{definition_files, policy_bundle, read};

const DEFINITIONS: &str = "definitions";
const POLICY: &str = "policy";

/// What was examined last, so that a generation which was rejected is examined again only if something has changed.
#[derive(Default)]
struct Examined {
    policy: u64,
    /// With the names with which it was checked.
    catalogue: Option<(u64, KnownNames)>,
}

/// Why a generation is not active.
enum Refusal {
    /// This pod cannot load it.
    Rejected(Cause),
    /// It was not examined, and is examined again.
    Unexamined(Cause),
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        if matches!(cause.code, ErrorCode::InvalidDefinition | ErrorCode::InvalidPolicy) {
            Self::Rejected(cause)
        } else {
            Self::Unexamined(cause)
        }
    }
}

impl Reloader {
    /// Activates each generation that is applied, until it is dropped.
    ///
    /// # Errors
    /// If the stores are closed.
    pub async fn follow(&self) -> Result<(), String> {
        let (mut current, mut names) = (self.generations.watch(), self.host_names.changes());
        let (mut examined, mut since) = (Examined::default(), Instant::now());
        loop {
            let wanted = *current.borrow_and_update();
            let round = self.activate_generations(wanted, &mut examined, since).await;
            let next_report = self.readiness.report(self.metrics.generations(), Instant::now());
            let delay = [round.retry_delay(), next_report].into_iter().flatten().min();
            if wait_changed(&mut current, &mut names, delay).await? {
                since = Instant::now();
            }
        }
    }

    /// Activates the policy first, because it has the names of policies that definitions may list.
    async fn activate_generations(&self, wanted: Generations, examined: &mut Examined, since: Instant) -> Round {
        let mut round = Round::Done;
        if wanted.policy > self.active.borrow().policy && wanted.policy != examined.policy {
            let activated = self.activate_policy(wanted.policy).await;
            match self.finish(POLICY, activated, since).await {
                Round::Done => examined.policy = wanted.policy,
                Round::Retry => round = Round::Retry,
            }
        }
        let active = self.active.borrow().catalogue;
        // The watch is older than the start until the first tick.
        let target = wanted.catalogue.max(active);
        let key = (target, self.known_names());
        if target == 0 || examined.catalogue.as_ref() == Some(&key) {
            return round;
        }
        if examined.catalogue.is_none() && target == active {
            // The start has checked it with these names.
            examined.catalogue = Some(key);
            return round;
        }
        let activated = self.activate_catalogue(target, &key.1).await;
        match self.finish(DEFINITIONS, activated, since).await {
            Round::Done => examined.catalogue = Some(key),
            Round::Retry => round = Round::Retry,
        }
        round
    }

    /// Reports the end of an attempt; `None` is a success without a change.
    async fn finish(&self, subject: &'static str, activated: Result<Option<String>, Refusal>, since: Instant) -> Round {
        let outcome = match activated {
            Ok(message) => {
                self.readiness.on_success(subject);
                match message {
                    Some(message) => Ok(message),
                    None => return Round::Done,
                }
            }
            Err(Refusal::Rejected(cause)) => {
                self.readiness.on_failure(subject, cause.clone(), Instant::now());
                Err(cause)
            }
            Err(Refusal::Unexamined(cause)) => {
                tracing::warn!(
                    reload.subject = subject, error.code = %cause.code, error.message = cause.message,
                    "applied generation was not examined, it is loaded again"
                );
                self.readiness.on_failure(subject, cause, Instant::now());
                return Round::Retry;
            }
        };
        self.report(subject, outcome, since).await;
        Round::Done
    }

    async fn activate_policy(&self, number: u64) -> Result<Option<String>, Refusal> {
        let generation = read(&*self.generations, GenerationKind::Policy, number).await?;
        let bundle = policy_bundle(&generation)?;
        let _activating = self.activating.lock().await;
        let revision = self.guard.load(bundle).await.map_err(|error| match error {
            LoadError::Rejected(cause) => Refusal::Rejected(cause),
            error @ LoadError::Unavailable => Refusal::Unexamined(error.into()),
        })?;
        self.set_active(GenerationKind::Policy, number);
        self.policy_changed.notify_one();
        Ok(Some(format!("the policy {revision} of generation {number} is active")))
    }

    async fn activate_catalogue(&self, number: u64, known_names: &KnownNames) -> Result<Option<String>, Refusal> {
        let generation = read(&*self.generations, GenerationKind::Catalogue, number).await?;
        let catalogue = load_valid(definition_files(generation), known_names.clone()).await?.0;
        let _activating = self.activating.lock().await;
        if self.is_active(number, &catalogue) {
            return Ok(None);
        }
        let message = self.activate(&catalogue).await?;
        self.set_active(GenerationKind::Catalogue, number);
        Ok(Some(format!("{message} as generation {number}")))
    }

    /// True if only the names with which the catalogue was checked have changed.
    fn is_active(&self, number: u64, catalogue: &Arc<Catalogue>) -> bool {
        self.active.borrow().catalogue == number && self.definitions.catalogue().hash() == catalogue.hash()
    }

    fn set_active(&self, kind: GenerationKind, number: u64) {
        self.active.send_modify(|active| *active = active.with_number(kind, number));
        self.metrics.generations().set_active(*self.active.borrow());
    }
}

/// Waits for a change of the generations or of the names, at most this long if there is a delay. True if there is one.
async fn wait_changed(
    current: &mut watch::Receiver<Generations>,
    names: &mut watch::Receiver<usize>,
    delay: Option<Duration>,
) -> Result<bool, String> {
    let delayed = async {
        match delay {
            Some(delay) => tokio::time::sleep(delay).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        changed = current.changed() => changed.map(|()| true).map_err(|_| "the stores are closed".to_owned()),
        Ok(()) = names.changed() => Ok(true),
        () = delayed => Ok(false),
    }
}

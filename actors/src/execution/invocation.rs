//! What one execution gets, and the tab on which it writes what it takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use greenroom_definitions::{Agent, FieldType};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::Invoke;
use greenroom_protocol::{AgentId, ArtifactRef, CallKey, Cause, ErrorCode, Json, MicroUsd, PriceBasis, Tokens, Values};
use greenroom_rego::{Grant, Permitted};

use super::ExecutionEnv;
use super::stream::DeltaSink;
use crate::failure::RetryBudget;
use crate::handler::FileAccess;

/// Bytes of one value that is read back from the artifact store for an execution.
const RESOLVED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What an agent without a model is said to have answered with.
pub const NATIVE_MODEL: &str = "native";

/// One execution, asked for.
pub struct Invocation {
    /// The permit's particulars; the agent speaks from it.
    pub grant: Grant,
    /// What is asked.
    pub invoke: Invoke,
    /// The version that was judged.
    pub agent: Arc<Agent>,
    /// Where tokens are shown as they come.
    pub sink: Option<DeltaSink>,
}

impl Invocation {
    /// Redeems a permit to let this version of the agent work.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] if the permit was given for another version.
    pub fn from_permit(
        permit: Permitted<Invoke>,
        agent: Arc<Agent>,
        sink: Option<DeltaSink>,
    ) -> Result<Box<Self>, Cause> {
        if permit.grant().version() != Some(&agent.hash()) {
            return Err(Cause::new(ErrorCode::Internal, "the permit was given for another version of the agent"));
        }
        let (grant, invoke) = permit.redeem();
        Ok(Box::new(Self { grant, invoke, agent, sink }))
    }

    /// The idempotency key of the effect.
    #[must_use]
    pub fn key(&self) -> CallKey {
        self.invoke.key.clone().unwrap_or_else(|| CallKey::for_request(self.grant.request_id()))
    }
}

/// What the parts of one execution see of it.
pub(crate) struct ExecutionContext<'a> {
    pub(crate) env: &'a ExecutionEnv,
    pub(crate) job: &'a Invocation,
    pub(crate) meter: &'a UsageMeter,
    pub(crate) budget: &'a Arc<RetryBudget>,
}

/// What one execution has taken so far. It is shared with the agent's actor, so an execution that is
/// dropped in the middle is still accounted for.
#[derive(Debug, Clone, Default)]
pub struct UsageMeter(Arc<Mutex<Usage>>);

impl UsageMeter {
    fn lock(&self) -> MutexGuard<'_, Usage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agent has begun.
    pub fn record_agent(&self, agent: &AgentId) {
        let mut usage = self.lock();
        usage.agents.push(agent.clone());
        usage.model = Some(NATIVE_MODEL.to_owned());
    }

    /// A model has answered, or was asked last.
    pub fn record_model(&self, model: String) {
        self.lock().model = Some(model);
    }

    /// A provider has counted these tokens, and by this price they cost this.
    pub fn record_tokens(&self, tokens: Tokens, cost: MicroUsd, price: PriceBasis) {
        let mut usage = self.lock();
        usage.tokens += tokens;
        usage.cost += cost;
        usage.price = usage.price.combine(price);
    }

    /// A call whose usage never arrived is taken to have cost this.
    pub fn record_estimate(&self, cost: MicroUsd, price: PriceBasis) {
        let mut usage = self.lock();
        usage.cost += cost;
        usage.estimated = true;
        usage.price = usage.price.combine(price);
    }

    /// An inner call took this. What answered stays the name of this agent's own model.
    pub fn add_nested(&self, inner: &Usage) {
        let mut usage = self.lock();
        let model = usage.model.take();
        usage.add(inner);
        usage.model = model;
    }

    /// What has been taken so far.
    #[must_use]
    pub fn total(&self) -> Usage {
        self.lock().clone()
    }
}

/// Reads back the values that travel as a claim check, but for files, which handlers read themselves.
pub(super) async fn load_artifacts(files: &FileAccess, job: &mut Invocation) -> Result<(), Cause> {
    let Invocation { invoke, agent, .. } = job;
    for (name, value) in &mut invoke.inputs {
        let is_file = agent.input(name).is_some_and(|field| field.field_type == FieldType::File);
        if !is_file {
            let as_text = agent.input(name).is_some_and(|field| field.field_type.is_text());
            resolve_value(files, value, as_text).await?;
        }
    }
    resolve_all(files, &mut invoke.context).await
}

async fn resolve_all(files: &FileAccess, values: &mut Values) -> Result<(), Cause> {
    for value in values.values_mut() {
        resolve_value(files, value, false).await?;
    }
    Ok(())
}

async fn resolve_value(files: &FileAccess, value: &mut Json, as_text: bool) -> Result<(), Cause> {
    let Some(artifact) = ArtifactRef::from_json(value) else { return Ok(()) };
    let file = files.open_file(value, RESOLVED_BYTES_MAX).await?;
    let is_json = artifact.media_type == "application/json";
    *value = if is_json {
        serde_json::from_slice(&file.bytes).map_err(|error| unreadable(&artifact, &error.to_string()))?
    } else {
        match std::str::from_utf8(&file.bytes) {
            Ok(text) => Json::String(text.to_owned()),
            // A value that need not be text stays the reference that it was.
            Err(_) if !as_text => return Ok(()),
            Err(error) => return Err(unreadable(&artifact, &error.to_string())),
        }
    };
    Ok(())
}

fn unreadable(artifact: &ArtifactRef, why: &str) -> Cause {
    Cause::new(ErrorCode::InvalidData, format!("{} cannot be read: {why}", artifact.name))
}

//! One permitted call of one agent version, and the meter that records its usage.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use greenroom_definitions::{Agent, FieldType};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::Invoke;
use greenroom_protocol::{
    AgentId, ArtifactRef, CallKey, Cause, ErrorCode, Json, MicroUsd, PriceBasis, SpendingLimits, Tokens, Values,
};
use greenroom_rego::{Grant, Permitted, SpendingScope};

use super::stream::DeltaSink;
use crate::handler::FileAccess;
use crate::pipeline::Settlements;

/// Maximum size of a value that an execution loads from the artifact store.
const LOADED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The model that a reply names for an agent without a model.
pub const NATIVE_MODEL: &str = "native";

/// One permitted call of an agent.
pub struct Invocation {
    /// The grant of the permit; the agent issues its nested requests from it.
    pub grant: Grant,
    /// The request.
    pub invoke: Invoke,
    /// The authorized version.
    pub agent: Arc<Agent>,
    /// Receives the answer as it arrives.
    pub sink: Option<DeltaSink>,
    /// Receives the settlements of its model calls.
    pub settlements: Settlements,
}

impl Invocation {
    /// Redeems a permit for this version of the agent.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] if the permit names another version.
    pub fn from_permit(
        permit: Permitted<Invoke>,
        agent: Arc<Agent>,
        sink: Option<DeltaSink>,
        settlements: Settlements,
    ) -> Result<Box<Self>, Cause> {
        if permit.grant().version() != Some(&agent.hash()) {
            return Err(Cause::new(ErrorCode::Internal, "the permit names another version of the agent"));
        }
        let (grant, invoke) = permit.redeem();
        let mut invocation = Box::new(Self { grant, invoke, agent, sink, settlements });
        // The limit of the request binds the execution and all calls below it.
        let limits = SpendingLimits { cost_max: invocation.invoke.options.cost_max, tokens_max: None };
        let scope = SpendingScope::Execution(invocation.budget_key());
        invocation.grant = invocation.grant.with_spending_limits(scope, limits);
        Ok(invocation)
    }

    /// The idempotency key of the call, which the handler, the tools and the provider receive.
    #[must_use]
    pub fn key(&self) -> CallKey {
        self.invoke.key.clone().unwrap_or_else(|| self.grant.effect_key())
    }

    /// The key of the budget of this execution. The attempts of a step share one, but a repetition of a user's request
    /// is another request with a budget of its own, although its effect has the same key. So outside a run the key is
    /// nested in the outermost request, and not in the key of its effect.
    #[must_use]
    pub fn budget_key(&self) -> CallKey {
        let step_key = self.grant.run().and_then(|_| self.invoke.key.clone());
        step_key.unwrap_or_else(|| {
            let (id, outermost) = (self.grant.request_id(), self.grant.outermost_request());
            let key = CallKey::for_request(outermost);
            if id == outermost {
                return key;
            }
            let nested = self.invoke.key.as_ref().and_then(|key| key.as_str().split_once('/'));
            key.child(nested.map_or(id.as_str(), |(_, part)| part))
        })
    }
}

/// The usage of one execution so far. The agent's actor shares it, so the usage of an execution that is
/// dropped before its end is still known.
#[derive(Debug, Clone, Default)]
pub struct UsageMeter(Arc<Mutex<Usage>>);

impl UsageMeter {
    fn lock(&self) -> MutexGuard<'_, Usage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the agent has started.
    pub fn record_agent(&self, agent: &AgentId) {
        let mut usage = self.lock();
        usage.agents.push(agent.clone());
        usage.model = Some(NATIVE_MODEL.to_owned());
    }

    /// Records the model that is called.
    pub fn record_model(&self, model: String) {
        self.lock().model = Some(model);
    }

    /// Records the model that answered, and the disclaimer of its answers.
    pub fn record_answer(&self, model: String, disclaimer: Option<&str>) {
        self.lock().add_model(model, disclaimer);
    }

    /// Records the tokens that a provider reported for this model, and their cost at this price.
    pub fn record_tokens(&self, model: &str, tokens: Tokens, cost: MicroUsd, price: PriceBasis) {
        let mut usage = self.lock();
        usage.tokens += tokens;
        record_cost(&mut usage, model, cost, price);
    }

    /// Records the estimated cost of a call of this model whose usage was not reported.
    pub fn record_estimate(&self, model: &str, cost: MicroUsd, price: PriceBasis) {
        let mut usage = self.lock();
        usage.estimated = true;
        record_cost(&mut usage, model, cost, price);
    }

    /// Adds the usage of a nested call. The reported model stays that of this agent.
    pub fn add_nested(&self, nested: &Usage) {
        let mut usage = self.lock();
        let model = usage.model.take();
        usage.add(nested);
        usage.model = model;
    }

    /// The usage so far.
    #[must_use]
    pub fn total(&self) -> Usage {
        self.lock().clone()
    }
}

fn record_cost(usage: &mut Usage, model: &str, cost: MicroUsd, price: PriceBasis) {
    usage.cost += cost;
    usage.price = usage.price.combine(price);
    usage.add_model(model.to_owned(), None);
}

/// Replaces references to artifacts by their content, except for files, which handlers read themselves.
pub(super) async fn load_artifacts(files: &FileAccess, invocation: &mut Invocation) -> Result<(), Cause> {
    let Invocation { invoke, agent, .. } = invocation;
    for (name, value) in &mut invoke.inputs {
        let is_file = agent.input(name).is_some_and(|field| field.kind() == FieldType::File);
        if !is_file {
            let as_text = agent.input(name).is_some_and(|field| field.kind().is_text());
            load_value(files, value, as_text).await?;
        }
    }
    load_all(files, &mut invoke.context).await
}

async fn load_all(files: &FileAccess, values: &mut Values) -> Result<(), Cause> {
    for value in values.values_mut() {
        load_value(files, value, false).await?;
    }
    Ok(())
}

async fn load_value(files: &FileAccess, value: &mut Json, as_text: bool) -> Result<(), Cause> {
    let Some(artifact) = ArtifactRef::from_json(value) else { return Ok(()) };
    let file = files.open_file(value, LOADED_BYTES_MAX).await?;
    let is_json = artifact.media_type == "application/json";
    *value = if is_json {
        serde_json::from_slice(&file.bytes).map_err(|error| unreadable(&artifact, &error.to_string()))?
    } else {
        match std::str::from_utf8(&file.bytes) {
            Ok(text) => Json::String(text.to_owned()),
            // A value that need not be text remains a reference.
            Err(_) if !as_text => return Ok(()),
            Err(error) => return Err(unreadable(&artifact, &error.to_string())),
        }
    };
    Ok(())
}

fn unreadable(artifact: &ArtifactRef, problem: &str) -> Cause {
    Cause::new(ErrorCode::InvalidData, format!("{} cannot be read: {problem}", artifact.name))
}

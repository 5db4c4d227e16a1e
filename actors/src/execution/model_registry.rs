//! The configured models: resolves the tier or model of an agent to the candidates that may be called.

use std::collections::HashMap;
use std::sync::Arc;

use greenroom_definitions::agent::RuntimeKind;
use greenroom_definitions::models::{Priced, Tier};
use greenroom_definitions::{Agent, ModelRef, Models};
use greenroom_protocol::{Cause, ErrorCode, PriceBasis};

use crate::model::{ModelName, ModelProvider};

/// One model that may be called.
#[derive(Clone)]
pub struct Candidate {
    /// Its name.
    pub name: ModelName,
    /// Its provider.
    pub provider: Arc<dyn ModelProvider>,
    /// Its price.
    pub price: Option<Priced>,
    /// Maximum tokens of one answer.
    pub output_tokens_max: Option<u64>,
}

impl Candidate {
    /// The basis of its price: its own, or that of its tier. A cost without any price is assumed to be nothing.
    #[must_use]
    pub const fn basis(&self) -> PriceBasis {
        match self.price {
            Some(Priced { assumed: false, .. }) => PriceBasis::Listed,
            Some(Priced { assumed: true, .. }) | None => PriceBasis::Assumed,
        }
    }
}

/// The providers of this pod, the default model and the offline model.
#[derive(Clone, Default)]
pub struct ModelRegistry {
    providers: HashMap<String, Arc<dyn ModelProvider>>,
    default_model: Option<ModelRef>,
    offline_model: Option<ModelRef>,
}

impl ModelRegistry {
    /// Creates a registry of these providers.
    #[must_use]
    pub fn new(providers: Vec<Arc<dyn ModelProvider>>) -> Self {
        let providers = providers.into_iter().map(|provider| (provider.name().to_owned(), provider)).collect();
        Self { providers, default_model: None, offline_model: None }
    }

    /// Sets the model that serves every tier, and every model whose provider is not configured:
    /// `OPENAI_MODEL` at `OPENAI_BASE_URL`.
    #[must_use]
    pub fn with_default_model(mut self, model: Option<ModelRef>) -> Self {
        self.default_model = model;
        self
    }

    /// Sets the offline model, which serves an agent that has no other candidate.
    #[must_use]
    pub fn with_offline_model(mut self, model: Option<ModelRef>) -> Self {
        self.offline_model = model;
        self
    }

    /// Lists the candidates for this agent, in order. `requested` overrides the model of the definition.
    /// With `internal_only`, external models are left out.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownModel`] if `requested` is not a model, if its provider is not configured, or if
    /// there is no candidate.
    pub fn candidates_for(
        &self,
        models: &Models,
        agent: &Agent,
        requested: Option<&str>,
        internal_only: bool,
    ) -> Result<Vec<Candidate>, Cause> {
        let model = match requested {
            Some(text) => text.parse::<ModelRef>().map_err(|problem| Cause::new(ErrorCode::UnknownModel, problem))?,
            None => agent.model(),
        };
        if requested.is_some() && model.tier().is_none() && !self.providers.contains_key(model.provider()) {
            let message = format!("there is no provider `{}` on this pod", model.provider());
            return Err(Cause::new(ErrorCode::UnknownModel, message));
        }
        let fallbacks = if requested.is_some() { &[][..] } else { &agent.spec().implementation.fallback_models };
        let tier = model.tier();
        let mut refs = match (&self.default_model, tier) {
            (Some(default_model), Some(_)) => vec![default_model.clone()],
            _ => models.chain(&model, fallbacks),
        };
        let is_allowed = |candidate: &Candidate| !internal_only || !candidate.provider.is_external();
        let mut chain = self.available(models, &refs, tier, is_allowed);
        for substitute in [&self.default_model, &self.offline_model].into_iter().flatten() {
            if chain.is_empty() {
                refs = vec![substitute.clone()];
                chain = self.available(models, &refs, tier, is_allowed);
            }
        }
        if chain.is_empty() {
            let message = format!("there is no model for {}: {model} has no provider on this pod", agent.id());
            return Err(Cause::new(ErrorCode::UnknownModel, message));
        }
        Ok(chain)
    }

    fn available(
        &self,
        models: &Models,
        refs: &[ModelRef],
        tier: Option<Tier>,
        is_allowed: impl Fn(&Candidate) -> bool,
    ) -> Vec<Candidate> {
        // Sized exactly: a `Vec` that grows starts with a capacity of four.
        let mut candidates = Vec::with_capacity(refs.len());
        candidates.extend(refs.iter().filter_map(|model| self.candidate(models, model, tier)).filter(is_allowed));
        candidates
    }

    fn candidate(&self, models: &Models, model: &ModelRef, tier: Option<Tier>) -> Option<Candidate> {
        let provider = Arc::clone(self.providers.get(model.provider())?);
        let spec = models.model(model);
        let price = match provider.disclaimer() {
            None => models.call_price(model, tier),
            Some(_) => Some(Priced::FREE),
        };
        Some(Candidate {
            name: ModelName { provider: model.provider().to_owned(), model: model.name().to_owned() },
            provider,
            price,
            output_tokens_max: spec.and_then(|spec| spec.output_tokens_max),
        })
    }

    /// True if every candidate for this agent, substitutes included, is an internal model, or if the agent
    /// calls no model. The rule `deny_external_models` depends on it.
    #[must_use]
    pub fn is_internal(&self, models: &Models, agent: &Agent, requested: Option<&str>) -> bool {
        if agent.spec().implementation.runtime != RuntimeKind::Llm {
            return true;
        }
        self.candidates_for(models, agent, requested, false)
            .is_ok_and(|chain| chain.iter().all(|candidate| !candidate.provider.is_external()))
    }

    /// The names of the configured providers.
    pub fn providers(&self) -> impl Iterator<Item = &str> {
        self.providers.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests;

//! Which model answers for an agent: tiers and names to providers that are there.

use std::collections::HashMap;
use std::sync::Arc;

use greenroom_definitions::agent::RuntimeKind;
use greenroom_definitions::models::{Priced, Tier};
use greenroom_definitions::{Agent, ModelRef, Models};
use greenroom_protocol::{Cause, ErrorCode, PriceBasis};

use crate::model::{ModelName, ModelProvider};

/// One model that can be asked.
#[derive(Clone)]
pub struct Candidate {
    /// Its name.
    pub name: ModelName,
    /// Who serves it.
    pub provider: Arc<dyn ModelProvider>,
    /// What it costs.
    pub price: Option<Priced>,
    /// Tokens that one answer may have.
    pub output_tokens_max: Option<u64>,
}

impl Candidate {
    /// Whose price its calls are reckoned by.
    #[must_use]
    pub const fn basis(&self) -> PriceBasis {
        match self.price {
            Some(Priced { assumed: true, .. }) => PriceBasis::Assumed,
            Some(Priced { assumed: false, .. }) | None => PriceBasis::Listed,
        }
    }
}

/// The providers of this process, and where requests go that no definition decides.
#[derive(Clone, Default)]
pub struct ModelRegistry {
    providers: HashMap<String, Arc<dyn ModelProvider>>,
    default_model: Option<ModelRef>,
    last_resort: Option<ModelRef>,
}

impl ModelRegistry {
    /// A roster of these providers.
    #[must_use]
    pub fn new(providers: Vec<Arc<dyn ModelProvider>>) -> Self {
        let providers = providers.into_iter().map(|provider| (provider.name().to_owned(), provider)).collect();
        Self { providers, default_model: None, last_resort: None }
    }

    /// The model to which every tier goes, and every model whose provider is not there:
    /// `OPENAI_MODEL` at `OPENAI_BASE_URL`.
    #[must_use]
    pub fn with_default_model(mut self, model: Option<ModelRef>) -> Self {
        self.default_model = model;
        self
    }

    /// The model that answers where nothing else is there: the offline one.
    #[must_use]
    pub fn with_offline_model(mut self, model: Option<ModelRef>) -> Self {
        self.last_resort = model;
        self
    }

    /// The models to ask for this agent, in order. `asked` stands instead of the definition's model.
    /// With `internal_only`, no model outside the house is among them.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownModel`] if `asked` is no model or its provider is not there, or if nothing at
    /// all can answer.
    pub fn candidates_for(
        &self,
        models: &Models,
        agent: &Agent,
        asked: Option<&str>,
        internal_only: bool,
    ) -> Result<Vec<Candidate>, Cause> {
        let wanted = match asked {
            Some(text) => text.parse::<ModelRef>().map_err(|why| Cause::new(ErrorCode::UnknownModel, why))?,
            None => agent.model(),
        };
        if asked.is_some() && wanted.tier().is_none() && !self.providers.contains_key(wanted.provider()) {
            let message = format!("no provider of this process is called `{}`", wanted.provider());
            return Err(Cause::new(ErrorCode::UnknownModel, message));
        }
        let fallbacks = if asked.is_some() { &[][..] } else { &agent.spec().implementation.fallback_models };
        let tier = wanted.tier();
        let mut refs = match (&self.default_model, tier) {
            (Some(harness), Some(_)) => vec![harness.clone()],
            _ => models.chain(&wanted, fallbacks),
        };
        let fits = |candidate: &Candidate| !internal_only || !candidate.provider.is_external();
        let mut chain = self.available(models, &refs, tier, fits);
        for stand_in in [&self.default_model, &self.last_resort].into_iter().flatten() {
            if chain.is_empty() {
                refs = vec![stand_in.clone()];
                chain = self.available(models, &refs, tier.or(Some(Tier::Standard)), fits);
            }
        }
        if chain.is_empty() {
            let message = format!("no model can answer for {}: {wanted} has no provider here", agent.id());
            return Err(Cause::new(ErrorCode::UnknownModel, message));
        }
        Ok(chain)
    }

    fn available(
        &self,
        models: &Models,
        refs: &[ModelRef],
        tier: Option<Tier>,
        fits: impl Fn(&Candidate) -> bool,
    ) -> Vec<Candidate> {
        // Room for as many as there are: a list that grows begins with room for four.
        let mut there = Vec::with_capacity(refs.len());
        there.extend(refs.iter().filter_map(|model| self.candidate(models, model, tier)).filter(fits));
        there
    }

    fn candidate(&self, models: &Models, model: &ModelRef, tier: Option<Tier>) -> Option<Candidate> {
        let provider = Arc::clone(self.providers.get(model.provider())?);
        let known = models.model(model);
        Some(Candidate {
            name: ModelName { provider: model.provider().to_owned(), model: model.name().to_owned() },
            provider,
            price: models.price(model, tier),
            output_tokens_max: known.and_then(|spec| spec.output_tokens_max),
        })
    }

    /// True if every model that may answer for this agent, stand-ins included, is inside the house, or
    /// if it asks none; `deny_external_models` asks.
    #[must_use]
    pub fn is_internal(&self, models: &Models, agent: &Agent, asked: Option<&str>) -> bool {
        if agent.spec().implementation.runtime == RuntimeKind::Native {
            return true;
        }
        self.candidates_for(models, agent, asked, false)
            .is_ok_and(|chain| chain.iter().all(|candidate| !candidate.provider.is_external()))
    }

    /// The names of the providers that are there.
    pub fn providers(&self) -> impl Iterator<Item = &str> {
        self.providers.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests;

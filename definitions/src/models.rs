//! Models: tiers, prices, context sizes and fallbacks.
//!
//! All of it comes from `models.yaml`; the code contains no model name and no price.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod price;

pub use price::{PRICE_UNIT_TOKENS, Price, Priced, TokenCounts};

/// The first part of a tier's name: `tier.standard`.
pub const TIER: &str = "tier";

/// A tier (`tier.standard`) or a provider's model (`anthropic.claude-3-5-sonnet-20241022`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ModelRef {
    provider: String,
    name: String,
}

impl ModelRef {
    /// The tier of a definition that names no model.
    #[must_use]
    pub fn standard() -> Self {
        Self { provider: TIER.to_owned(), name: Tier::Standard.as_str().to_owned() }
    }

    /// Creates a reference to a tier.
    #[must_use]
    pub fn from_tier(tier: Tier) -> Self {
        Self { provider: TIER.to_owned(), name: tier.as_str().to_owned() }
    }

    /// The tier that it names; `None` if it names a provider's model.
    #[must_use]
    pub fn tier(&self) -> Option<Tier> {
        (self.provider == TIER).then(|| Tier::ALL.iter().copied().find(|tier| tier.as_str() == self.name)).flatten()
    }

    /// The provider, such as `anthropic`; `tier` for a tier.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The model's name as its provider knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.provider, self.name)
    }
}

impl FromStr for ModelRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\' | '`'))
        };
        let model = match text.split_once('.') {
            Some((provider, name)) if plain(provider) && plain(name) => {
                Self { provider: provider.to_owned(), name: name.to_owned() }
            }
            _ => return Err("a model is `tier.NAME` or `PROVIDER.NAME`".to_owned()),
        };
        if model.provider == TIER && model.tier().is_none() {
            let tiers: Vec<&str> = Tier::ALL.iter().map(|tier| tier.as_str()).collect();
            return Err(format!("a tier is one of {}", tiers.join(", ")));
        }
        Ok(model)
    }
}

impl TryFrom<String> for ModelRef {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ModelRef> for String {
    fn from(model: ModelRef) -> Self {
        model.to_string()
    }
}

/// A class of models by capability and cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Fast and cheap.
    Small,
    /// The class for most agents.
    Standard,
    /// The most capable.
    Large,
}

impl Tier {
    /// Every tier.
    pub const ALL: &'static [Self] = &[Self::Small, Self::Standard, Self::Large];

    /// The tier as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Standard => "standard",
            Self::Large => "large",
        }
    }
}

/// The file `models.yaml`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Models {
    /// The models of each tier.
    pub tiers: BTreeMap<Tier, TierSpec>,
    /// The properties of each model, by `PROVIDER.NAME`.
    pub models: BTreeMap<ModelRef, ModelSpec>,
}

/// The models of a tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TierSpec {
    /// The first model.
    pub model: ModelRef,
    /// The fallback models, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<ModelRef>,
}

/// The properties of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The tier whose price applies if the model has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// The size of its context, in tokens.
    pub context_tokens: u64,
    /// The maximum number of tokens of one answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_max: Option<u64>,
    /// Its price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The fallback models, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<ModelRef>,
}

impl Models {
    /// Returns the fallback chain of a reference, each model once: the model (or the first model of its
    /// tier), the definition's own fallbacks, then the fallbacks of each of them. Tiers are resolved.
    #[must_use]
    pub fn chain(&self, model: &ModelRef, fallbacks: &[ModelRef]) -> Vec<ModelRef> {
        let mut chain: Vec<ModelRef> = Vec::new();
        let mut first: Vec<&ModelRef> = Vec::new();
        let mut later: Vec<&ModelRef> = Vec::new();
        for reference in std::iter::once(model).chain(fallbacks) {
            let (head, tail) = self.step(reference);
            first.extend(head);
            later.extend(tail);
        }
        let mut queue: std::collections::VecDeque<&ModelRef> = first.into_iter().chain(later).collect();
        while let Some(next) = queue.pop_front() {
            let (head, tail) = self.step(next);
            match head {
                Some(head) if !chain.contains(head) => chain.push(head.clone()),
                Some(_) | None => continue,
            }
            queue.extend(tail);
        }
        chain
    }

    /// Resolves a reference to its model and the fallbacks of that model.
    fn step<'a>(&'a self, model: &'a ModelRef) -> (Option<&'a ModelRef>, &'a [ModelRef]) {
        match model.tier() {
            Some(tier) => self.tiers.get(&tier).map_or((None, &[][..]), |spec| (Some(&spec.model), &spec.fallback)),
            None => (Some(model), self.models.get(model).map_or(&[][..], |spec| &spec.fallback)),
        }
    }

    /// The properties of a model; `None` if `models.yaml` does not describe it.
    #[must_use]
    pub fn model(&self, model: &ModelRef) -> Option<&ModelSpec> {
        self.models.get(model)
    }

    /// Returns the price of a model: its own, else that of its tier. `stands_for` is the requested tier,
    /// which applies to a model that `models.yaml` does not describe.
    #[must_use]
    pub fn price(&self, model: &ModelRef, stands_for: Option<Tier>) -> Option<Priced> {
        let known = self.models.get(model);
        if let Some(price) = known.and_then(|spec| spec.price) {
            return Some(Priced { price, assumed: false });
        }
        let tier = known.and_then(|spec| spec.tier).or(stands_for)?;
        let tier_model = self.models.get(&self.tiers.get(&tier)?.model)?;
        tier_model.price.map(|price| Priced { price, assumed: true })
    }

    /// Returns the price of a call of a language model, as [`Models::price`] does. A model that neither has a tier nor
    /// stands for one is assumed to cost what the tier `standard` does, because a text that was written is never free.
    /// `None` if the tier has no price.
    #[must_use]
    pub fn call_price(&self, model: &ModelRef, stands_for: Option<Tier>) -> Option<Priced> {
        self.price(model, stands_for.or(Some(Tier::Standard)))
    }
}

#[cfg(test)]
mod tests;

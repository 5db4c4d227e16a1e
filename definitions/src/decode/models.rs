//! `models.yaml`.

use std::collections::BTreeMap;

use super::agent::{model, models as model_list, refer_to_provider};
use super::{Decoder, MapFields, money, one_of, positive};
use crate::models::{ModelRef, ModelSpec, Models, Price, Tier, TierSpec};
use crate::problem::{ProblemKind, did_you_mean};
use crate::yaml::{Node, NodeValue};

pub(crate) fn models(decoder: &mut Decoder, node: &Node) -> Option<Models> {
    let mut fields = MapFields::new(decoder, node, "the models")?;
    let tiers = fields.required(decoder, "tiers", tiers);
    let models = fields.required(decoder, "models", model_specs);
    fields.finish(decoder);
    Some(Models { tiers: tiers?, models: models? })
}

fn tier_words() -> Vec<(&'static str, Tier)> {
    Tier::ALL.iter().map(|tier| (tier.as_str(), *tier)).collect()
}

fn tiers(decoder: &mut Decoder, node: &Node) -> Option<BTreeMap<Tier, TierSpec>> {
    let NodeValue::Map(entries) = &node.value else { return decoder.mistyped(node, "a map of tiers") };
    let mut decoded = BTreeMap::new();
    for entry in entries {
        let words = tier_words();
        match words.iter().find(|(word, _)| *word == entry.name) {
            Some((_, tier)) => {
                if let Some(spec) = tier_spec(decoder, &entry.value) {
                    decoded.insert(*tier, spec);
                }
            }
            None => {
                let hint = did_you_mean(&entry.name, words.iter().map(|(word, _)| *word)).unwrap_or_default();
                decoder.error(
                    entry.at,
                    ProblemKind::InvalidValue,
                    format!("there is no tier `{}`{hint}", entry.name),
                    "",
                );
            }
        }
    }
    for tier in Tier::ALL.iter().filter(|tier| !decoded.contains_key(tier)) {
        decoder.error(node.at, ProblemKind::MissingField, format!("the tier `{}` has no model", tier.as_str()), "");
    }
    Some(decoded)
}

fn tier_spec(decoder: &mut Decoder, node: &Node) -> Option<TierSpec> {
    let mut fields = MapFields::new(decoder, node, "a tier")?;
    let first = fields.required(decoder, "model", model);
    let fallback = fields.or_default(decoder, "fallback", model_list);
    fields.finish(decoder);
    Some(TierSpec { model: first?, fallback: fallback? })
}

fn model_specs(decoder: &mut Decoder, node: &Node) -> Option<BTreeMap<ModelRef, ModelSpec>> {
    let NodeValue::Map(entries) = &node.value else { return decoder.mistyped(node, "a map of models") };
    let mut decoded = BTreeMap::new();
    for entry in entries {
        match entry.name.parse::<ModelRef>() {
            Ok(name) if name.tier().is_none() => {
                // An invalid model is still registered, so that a reference to it is not a second problem.
                // A set with a problem is never used, so its values do not matter.
                let free = Price::new(0.0, 0.0);
                let placeholder = ModelSpec {
                    tier: None,
                    context_tokens: 1,
                    output_tokens_max: None,
                    price: Some(free),
                    fallback: Vec::new(),
                };
                refer_to_provider(decoder, &entry.value, &name);
                decoded.insert(name, model_spec(decoder, &entry.value).unwrap_or(placeholder));
            }
            Ok(_) | Err(_) => {
                let found = format!("`{}` is not the model of a provider", entry.name);
                decoder.error(entry.at, ProblemKind::InvalidValue, found, "a model is `PROVIDER.NAME`");
            }
        }
    }
    Some(decoded)
}

fn model_spec(decoder: &mut Decoder, node: &Node) -> Option<ModelSpec> {
    let mut fields = MapFields::new(decoder, node, "a model")?;
    let tier = fields.optional(decoder, "tier", tier);
    let context_tokens = fields.required(decoder, "context_tokens", positive);
    let output_tokens_max = fields.optional(decoder, "output_tokens_max", positive);
    let price = fields.optional(decoder, "price", price);
    let fallback = fields.or_default(decoder, "fallback", model_list);
    fields.finish(decoder);
    Some(ModelSpec {
        tier: tier?,
        context_tokens: context_tokens?,
        output_tokens_max: output_tokens_max?,
        price: price?,
        fallback: fallback?,
    })
}

fn tier(decoder: &mut Decoder, node: &Node) -> Option<Tier> {
    one_of(decoder, node, &tier_words())
}

fn price(decoder: &mut Decoder, node: &Node) -> Option<Price> {
    let mut fields = MapFields::new(decoder, node, "a price")?;
    let input = fields.required(decoder, "input", money);
    let output = fields.required(decoder, "output", money);
    let cache_read = fields.optional(decoder, "cache_read", money);
    let cache_write = fields.optional(decoder, "cache_write", money);
    let reasoning = fields.optional(decoder, "reasoning", money);
    fields.finish(decoder);
    Some(Price {
        input: input?,
        output: output?,
        cache_read: cache_read?,
        cache_write: cache_write?,
        reasoning: reasoning?,
    })
}

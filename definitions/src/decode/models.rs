//! `models.yaml` and `categories.yaml`.

use std::collections::BTreeMap;

use super::agent::{model, models as model_list};
use super::{Decoder, MapFields, amount, list, name, one_of, parsed, positive, text};
use crate::category::{Categories, Category};
use crate::models::{ModelRef, ModelSpec, Models, Price, Tier, TierSpec};
use crate::problem::{ProblemKind, did_you_mean};
use crate::yaml::{Node, NodeValue};

pub(crate) fn models(reader: &mut Decoder, node: &Node) -> Option<Models> {
    let mut fields = MapFields::of(reader, node, "the models")?;
    let tiers = fields.required(reader, "tiers", tiers);
    let models = fields.required(reader, "models", known);
    fields.finish(reader);
    Some(Models { tiers: tiers?, models: models? })
}

fn tier_words() -> Vec<(&'static str, Tier)> {
    Tier::ALL.iter().map(|tier| (tier.as_str(), *tier)).collect()
}

fn tiers(reader: &mut Decoder, node: &Node) -> Option<BTreeMap<Tier, TierSpec>> {
    let NodeValue::Map(entries) = &node.tree else { return reader.mistyped(node, "a map of tiers") };
    let mut found = BTreeMap::new();
    for entry in entries {
        let words = tier_words();
        match words.iter().find(|(word, _)| *word == entry.name) {
            Some((_, tier)) => {
                if let Some(spec) = tier_spec(reader, &entry.value) {
                    found.insert(*tier, spec);
                }
            }
            None => {
                let hint = did_you_mean(&entry.name, words.iter().map(|(word, _)| *word)).unwrap_or_default();
                reader.error(
                    entry.at,
                    ProblemKind::InvalidValue,
                    format!("there is no tier `{}`{hint}", entry.name),
                    "",
                );
            }
        }
    }
    for tier in Tier::ALL.iter().filter(|tier| !found.contains_key(tier)) {
        reader.error(
            node.at,
            ProblemKind::MissingField,
            format!("the tier `{}` stands for no model", tier.as_str()),
            "",
        );
    }
    Some(found)
}

fn tier_spec(reader: &mut Decoder, node: &Node) -> Option<TierSpec> {
    let mut fields = MapFields::of(reader, node, "a tier")?;
    let first = fields.required(reader, "model", model);
    let fallback = fields.or_default(reader, "fallback", model_list);
    fields.finish(reader);
    Some(TierSpec { model: first?, fallback: fallback? })
}

fn known(reader: &mut Decoder, node: &Node) -> Option<BTreeMap<ModelRef, ModelSpec>> {
    let NodeValue::Map(entries) = &node.tree else { return reader.mistyped(node, "a map of models") };
    let mut found = BTreeMap::new();
    for entry in entries {
        match entry.name.parse::<ModelRef>() {
            Ok(name) if name.tier().is_none() => {
                // A model that is described wrongly is still known, so that a reference to it is no
                // second problem; with a problem, nothing of it is used.
                let free = Price { input: 0.0, output: 0.0 };
                let wrong = ModelSpec {
                    tier: None,
                    context_tokens: 1,
                    output_tokens_max: None,
                    price: Some(free),
                    fallback: Vec::new(),
                };
                found.insert(name, model_spec(reader, &entry.value).unwrap_or(wrong));
            }
            Ok(_) | Err(_) => {
                let found = format!("`{}` is no provider's model", entry.name);
                reader.error(entry.at, ProblemKind::InvalidValue, found, "a model is `PROVIDER.NAME`");
            }
        }
    }
    Some(found)
}

fn model_spec(reader: &mut Decoder, node: &Node) -> Option<ModelSpec> {
    let mut fields = MapFields::of(reader, node, "a model")?;
    let tier = fields.optional(reader, "tier", tier);
    let context_tokens = fields.required(reader, "context_tokens", positive);
    let output_tokens_max = fields.optional(reader, "output_tokens_max", positive);
    let price = fields.optional(reader, "price", price);
    let fallback = fields.or_default(reader, "fallback", model_list);
    fields.finish(reader);
    Some(ModelSpec {
        tier: tier?,
        context_tokens: context_tokens?,
        output_tokens_max: output_tokens_max?,
        price: price?,
        fallback: fallback?,
    })
}

fn tier(reader: &mut Decoder, node: &Node) -> Option<Tier> {
    one_of(reader, node, &tier_words())
}

fn price(reader: &mut Decoder, node: &Node) -> Option<Price> {
    let mut fields = MapFields::of(reader, node, "a price")?;
    let input = fields.required(reader, "input", amount);
    let output = fields.required(reader, "output", amount);
    fields.finish(reader);
    Some(Price { input: input?, output: output? })
}

pub(crate) fn categories(reader: &mut Decoder, node: &Node) -> Option<Categories> {
    let mut fields = MapFields::of(reader, node, "the categories")?;
    let categories = fields.required(reader, "categories", category_list);
    fields.finish(reader);
    Some(Categories { categories: categories? })
}

fn category_list(reader: &mut Decoder, node: &Node) -> Option<Vec<Category>> {
    list(reader, node, category)
}

fn category(reader: &mut Decoder, node: &Node) -> Option<Category> {
    let mut fields = MapFields::of(reader, node, "a category")?;
    let id = fields.required(reader, "id", parsed);
    let name = fields.required(reader, "name", name);
    let description = fields.or_default(reader, "description", text);
    fields.finish(reader);
    Some(Category { id: id?, name: name?, description: description? })
}

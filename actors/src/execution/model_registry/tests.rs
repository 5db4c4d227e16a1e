//! The candidates for an agent, in order.

use serde_json::json;

use super::*;
use crate::test_env::{ScriptedModel, agent, prices};

fn model(text: &str) -> ModelRef {
    text.parse().unwrap()
}

fn registry(names: &[(&'static str, bool)]) -> ModelRegistry {
    ModelRegistry::new(
        names
            .iter()
            .map(|(name, external)| ScriptedModel::new(name, *external, vec![]) as Arc<dyn ModelProvider>)
            .collect(),
    )
}

/// The candidates for an agent of this model.
fn chain(
    registry: &ModelRegistry,
    model: &str,
    requested: Option<&str>,
    internal_only: bool,
) -> Result<Vec<String>, ErrorCode> {
    let models: Models = serde_json::from_value(prices()).unwrap();
    let spec = agent("a", json!({"implementation": {"runtime": "llm", "model": model}}));
    let agent = Agent::new(serde_json::from_value(spec).unwrap()).unwrap();
    let chain = registry.candidates_for(&models, &agent, requested, internal_only).map_err(|cause| cause.code)?;
    Ok(chain.iter().map(|candidate| candidate.name.to_string()).collect())
}

#[test]
fn a_tier_resolves_to_its_model_and_its_fallback_chain() {
    let both = registry(&[("play", true), ("other", true)]);
    let both_models = Ok(vec!["play.one".to_owned(), "other.two".to_owned()]);
    assert_eq!(chain(&both, "tier.standard", None, false), both_models);
    assert_eq!(chain(&both, "play.one", None, false), both_models);
    assert_eq!(chain(&both, "play.one", Some("other.two"), false), Ok(vec!["other.two".to_owned()]));
}

#[test]
fn the_default_model_serves_every_tier_and_every_model_without_a_provider() {
    let registry = registry(&[("play", true), ("mine", false)]).with_default_model(Some(model("mine.llama")));
    let mine = Ok(vec!["mine.llama".to_owned()]);
    assert_eq!(chain(&registry, "tier.standard", None, false), mine);
    assert_eq!(chain(&registry, "absent.model", None, false), mine);
    assert_eq!(chain(&registry, "play.one", None, false), Ok(vec!["play.one".to_owned()]));
}

#[test]
fn the_offline_model_serves_only_agents_without_another_candidate() {
    let alone = registry(&[("offline", false)]).with_offline_model(Some(model("offline.extractive")));
    assert_eq!(chain(&alone, "tier.standard", None, false), Ok(vec!["offline.extractive".to_owned()]));
    let with = registry(&[("offline", false), ("other", true)]).with_offline_model(Some(model("offline.extractive")));
    assert_eq!(chain(&with, "tier.standard", None, false), Ok(vec!["other.two".to_owned()]));
    assert_eq!(chain(&registry(&[]), "tier.standard", None, false), Err(ErrorCode::UnknownModel));
}

#[test]
fn no_external_model_is_a_candidate_if_policy_forbids_it() {
    let mixed = registry(&[("play", true), ("other", false), ("offline", false)])
        .with_offline_model(Some(model("offline.extractive")));
    assert_eq!(chain(&mixed, "tier.standard", None, true), Ok(vec!["other.two".to_owned()]));
    let external =
        registry(&[("play", true), ("offline", false)]).with_offline_model(Some(model("offline.extractive")));
    assert_eq!(chain(&external, "tier.standard", None, true), Ok(vec!["offline.extractive".to_owned()]));
    assert_eq!(chain(&registry(&[("play", true)]), "play.one", None, true), Err(ErrorCode::UnknownModel));
}

#[test]
fn a_requested_model_without_a_provider_is_an_error() {
    let some = registry(&[("play", true)]).with_offline_model(Some(model("play.one")));
    for requested in ["absent.model", "nonsense", "tier.huge"] {
        assert_eq!(chain(&some, "play.one", Some(requested), false), Err(ErrorCode::UnknownModel), "{requested}");
    }
}

#[test]
fn a_substitute_without_a_price_has_the_price_of_the_tier() {
    let models: Models = serde_json::from_value(prices()).unwrap();
    let spec = agent("a", json!({"implementation": {"runtime": "llm", "model": "tier.standard"}}));
    let agent = Agent::new(serde_json::from_value(spec).unwrap()).unwrap();
    let registry = registry(&[("mine", false)]).with_default_model(Some(model("mine.llama")));
    let chain = registry.candidates_for(&models, &agent, None, false).unwrap();
    assert_eq!(chain[0].price.map(|priced| priced.assumed), Some(true));
}

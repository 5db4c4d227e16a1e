//! Who is asked for an agent.

use serde_json::json;

use super::*;
use crate::test_env::{ScriptedModel, agent, prices};

fn model(text: &str) -> ModelRef {
    text.parse().unwrap()
}

fn roster(names: &[(&'static str, bool)]) -> ModelRegistry {
    ModelRegistry::new(
        names
            .iter()
            .map(|(name, external)| ScriptedModel::new(name, *external, vec![]) as Arc<dyn ModelProvider>)
            .collect(),
    )
}

/// Who is asked for an agent of this model.
fn chain(roster: &ModelRegistry, of: &str, asked: Option<&str>, internal_only: bool) -> Result<Vec<String>, ErrorCode> {
    let models: Models = serde_json::from_value(prices()).unwrap();
    let spec = agent("a", json!({"implementation": {"runtime": "llm", "model": of}}));
    let agent = Agent::new(serde_json::from_value(spec).unwrap()).unwrap();
    let chain = roster.candidates_for(&models, &agent, asked, internal_only).map_err(|cause| cause.code)?;
    Ok(chain.iter().map(|candidate| candidate.name.to_string()).collect())
}

#[test]
fn a_tier_stands_for_its_model_and_its_chain() {
    let both = roster(&[("play", true), ("other", true)]);
    let both_models = Ok(vec!["play.one".to_owned(), "other.two".to_owned()]);
    assert_eq!(chain(&both, "tier.standard", None, false), both_models);
    assert_eq!(chain(&both, "play.one", None, false), both_models);
    assert_eq!(chain(&both, "play.one", Some("other.two"), false), Ok(vec!["other.two".to_owned()]));
}

#[test]
fn the_house_model_takes_every_tier_and_whatever_has_no_provider() {
    let harness = roster(&[("play", true), ("mine", false)]).with_default_model(Some(model("mine.llama")));
    let mine = Ok(vec!["mine.llama".to_owned()]);
    assert_eq!(chain(&harness, "tier.standard", None, false), mine);
    assert_eq!(chain(&harness, "absent.model", None, false), mine);
    assert_eq!(chain(&harness, "play.one", None, false), Ok(vec!["play.one".to_owned()]));
}

#[test]
fn the_last_resort_answers_only_where_nothing_else_is_there() {
    let alone = roster(&[("offline", false)]).with_offline_model(Some(model("offline.extractive")));
    assert_eq!(chain(&alone, "tier.standard", None, false), Ok(vec!["offline.extractive".to_owned()]));
    let with = roster(&[("offline", false), ("other", true)]).with_offline_model(Some(model("offline.extractive")));
    assert_eq!(chain(&with, "tier.standard", None, false), Ok(vec!["other.two".to_owned()]));
    assert_eq!(chain(&roster(&[]), "tier.standard", None, false), Err(ErrorCode::UnknownModel));
}

#[test]
fn no_model_outside_the_house_is_cast_where_policy_forbids_it() {
    let mixed = roster(&[("play", true), ("other", false), ("offline", false)])
        .with_offline_model(Some(model("offline.extractive")));
    assert_eq!(chain(&mixed, "tier.standard", None, true), Ok(vec!["other.two".to_owned()]));
    let outside = roster(&[("play", true), ("offline", false)]).with_offline_model(Some(model("offline.extractive")));
    assert_eq!(chain(&outside, "tier.standard", None, true), Ok(vec!["offline.extractive".to_owned()]));
    assert_eq!(chain(&roster(&[("play", true)]), "play.one", None, true), Err(ErrorCode::UnknownModel));
}

#[test]
fn who_asks_for_a_model_by_name_is_told_if_it_is_not_there() {
    let some = roster(&[("play", true)]).with_offline_model(Some(model("play.one")));
    for asked in ["absent.model", "nonsense", "tier.huge"] {
        assert_eq!(chain(&some, "play.one", Some(asked), false), Err(ErrorCode::UnknownModel), "{asked}");
    }
}

#[test]
fn a_stand_in_without_a_price_takes_that_of_the_tier() {
    let models: Models = serde_json::from_value(prices()).unwrap();
    let spec = agent("a", json!({"implementation": {"runtime": "llm", "model": "tier.standard"}}));
    let agent = Agent::new(serde_json::from_value(spec).unwrap()).unwrap();
    let harness = roster(&[("mine", false)]).with_default_model(Some(model("mine.llama")));
    let chain = harness.candidates_for(&models, &agent, None, false).unwrap();
    assert_eq!(chain[0].price.map(|priced| priced.assumed), Some(true));
}

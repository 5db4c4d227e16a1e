//! Who is asked for an agent.

use serde_json::json;

use super::*;
use crate::test_env::{Player, agent, prices};

fn model(text: &str) -> ModelRef {
    text.parse().unwrap()
}

fn roster(names: &[(&'static str, bool)]) -> ModelRoster {
    ModelRoster::new(
        names.iter().map(|(name, external)| Player::new(name, *external, vec![]) as Arc<dyn ModelProvider>).collect(),
    )
}

/// Who is asked for an agent of this model.
fn cast(roster: &ModelRoster, of: &str, asked: Option<&str>, internal_only: bool) -> Result<Vec<String>, Code> {
    let models: Models = serde_json::from_value(prices()).unwrap();
    let spec = agent("a", json!({"implementation": {"runtime": "llm", "model": of}}));
    let agent = Agent::new(serde_json::from_value(spec).unwrap()).unwrap();
    let cast = roster.cast(&models, &agent, asked, internal_only).map_err(|cause| cause.code)?;
    Ok(cast.iter().map(|candidate| candidate.name.to_string()).collect())
}

#[test]
fn a_tier_stands_for_its_model_and_its_chain() {
    let both = roster(&[("play", true), ("other", true)]);
    let chain = Ok(vec!["play.one".to_owned(), "other.two".to_owned()]);
    assert_eq!(cast(&both, "tier.standard", None, false), chain);
    assert_eq!(cast(&both, "play.one", None, false), chain);
    assert_eq!(cast(&both, "play.one", Some("other.two"), false), Ok(vec!["other.two".to_owned()]));
}

#[test]
fn the_house_model_takes_every_tier_and_whatever_has_no_provider() {
    let house = roster(&[("play", true), ("mine", false)]).with_house_model(Some(model("mine.llama")));
    let mine = Ok(vec!["mine.llama".to_owned()]);
    assert_eq!(cast(&house, "tier.standard", None, false), mine);
    assert_eq!(cast(&house, "absent.model", None, false), mine);
    assert_eq!(cast(&house, "play.one", None, false), Ok(vec!["play.one".to_owned()]));
}

#[test]
fn the_last_resort_answers_only_where_nothing_else_is_there() {
    let alone = roster(&[("offline", false)]).with_last_resort(Some(model("offline.extractive")));
    assert_eq!(cast(&alone, "tier.standard", None, false), Ok(vec!["offline.extractive".to_owned()]));
    let with = roster(&[("offline", false), ("other", true)]).with_last_resort(Some(model("offline.extractive")));
    assert_eq!(cast(&with, "tier.standard", None, false), Ok(vec!["other.two".to_owned()]));
    assert_eq!(cast(&roster(&[]), "tier.standard", None, false), Err(Code::UnknownModel));
}

#[test]
fn no_model_outside_the_house_is_cast_where_policy_forbids_it() {
    let mixed = roster(&[("play", true), ("other", false), ("offline", false)])
        .with_last_resort(Some(model("offline.extractive")));
    assert_eq!(cast(&mixed, "tier.standard", None, true), Ok(vec!["other.two".to_owned()]));
    let outside = roster(&[("play", true), ("offline", false)]).with_last_resort(Some(model("offline.extractive")));
    assert_eq!(cast(&outside, "tier.standard", None, true), Ok(vec!["offline.extractive".to_owned()]));
    assert_eq!(cast(&roster(&[("play", true)]), "play.one", None, true), Err(Code::UnknownModel));
}

#[test]
fn who_asks_for_a_model_by_name_is_told_if_it_is_not_there() {
    let some = roster(&[("play", true)]).with_last_resort(Some(model("play.one")));
    for asked in ["absent.model", "nonsense", "tier.huge"] {
        assert_eq!(cast(&some, "play.one", Some(asked), false), Err(Code::UnknownModel), "{asked}");
    }
}

#[test]
fn a_stand_in_without_a_price_takes_that_of_the_tier() {
    let models: Models = serde_json::from_value(prices()).unwrap();
    let spec = agent("a", json!({"implementation": {"runtime": "llm", "model": "tier.standard"}}));
    let agent = Agent::new(serde_json::from_value(spec).unwrap()).unwrap();
    let house = roster(&[("mine", false)]).with_house_model(Some(model("mine.llama")));
    let cast = house.cast(&models, &agent, None, false).unwrap();
    assert_eq!(cast[0].price.map(|priced| priced.assumed), Some(true));
}

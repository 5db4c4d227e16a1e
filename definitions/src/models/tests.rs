//! Chains and prices.

use super::*;

fn model(text: &str) -> ModelRef {
    text.parse().unwrap()
}

fn spec(price: Option<Price>, tier: Option<Tier>, fallback: &[&str]) -> ModelSpec {
    let fallback = fallback.iter().map(|text| model(text)).collect();
    ModelSpec { tier, context_tokens: 1_000, output_tokens_max: None, price, fallback }
}

fn models() -> Models {
    let price = Price::new(3.0, 15.0);
    Models {
        tiers: BTreeMap::from([(
            Tier::Standard,
            TierSpec { model: model("anthropic.sonnet"), fallback: vec![model("openai.mid")] },
        )]),
        models: BTreeMap::from([
            (model("anthropic.sonnet"), spec(Some(price), None, &["anthropic.old"])),
            (model("openai.mid"), spec(None, Some(Tier::Standard), &["anthropic.sonnet", "openai.last"])),
        ]),
    }
}

#[test]
fn a_model_is_two_parts_and_a_tier_one_of_three() {
    let gpt = model("openai.gpt-4.1-mini");
    assert_eq!((gpt.provider(), gpt.name(), gpt.tier()), ("openai", "gpt-4.1-mini", None));
    assert_eq!(model("tier.small").tier(), Some(Tier::Small));
    assert_eq!("tier.smal".parse::<ModelRef>(), Err("a tier is one of small, standard, large".to_owned()));
    for wrong in ["", "sonnet", ".x", "x.", "a b.c", "a.b\n"] {
        assert!(wrong.parse::<ModelRef>().is_err(), "{wrong:?}");
    }
}

#[test]
fn a_fallback_chain_contains_each_model_once_even_in_a_cycle() {
    let chain = models().chain(&ModelRef::standard(), &[]);
    let texts: Vec<String> = chain.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["anthropic.sonnet", "openai.mid", "anthropic.old", "openai.last"]);
}

#[test]
fn a_definitions_own_fallbacks_come_before_those_of_its_model() {
    let chain = models().chain(&model("anthropic.sonnet"), &[model("x.y"), model("tier.standard")]);
    let texts: Vec<String> = chain.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["anthropic.sonnet", "x.y", "anthropic.old", "openai.mid", "openai.last"]);
}

#[test]
fn a_model_without_a_price_has_the_assumed_price_of_its_tier() {
    let models = models();
    assert_eq!(models.price(&model("anthropic.sonnet"), None).map(|found| found.assumed), Some(false));
    assert_eq!(models.price(&model("openai.mid"), None).map(|found| found.assumed), Some(true));
    assert_eq!(models.price(&model("vllm.local"), Some(Tier::Standard)).map(|found| found.assumed), Some(true));
    assert_eq!(models.price(&model("vllm.local"), None), None);
    assert_eq!(models.price(&model("vllm.local"), Some(Tier::Large)), None);
}

#[test]
fn a_call_of_a_model_without_a_tier_has_the_assumed_price_of_the_standard_tier() {
    let mut models = models();
    let standard = Some(Priced { price: Price::new(3.0, 15.0), assumed: true });
    assert_eq!(models.call_price(&model("vllm.local"), None), standard);
    assert_eq!(models.call_price(&model("openai.mid"), None), standard);
    assert_eq!(models.call_price(&model("anthropic.sonnet"), None).map(|found| found.assumed), Some(false));
    assert_eq!(models.call_price(&model("vllm.local"), Some(Tier::Large)), None, "that tier has no price");
    models.tiers.clear();
    assert_eq!(models.call_price(&model("vllm.local"), None), None, "no tier has a price");
}

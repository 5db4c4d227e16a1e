//! Numbers of an input reach the module exactly: each limit is compared, and named in its reason, to the last
//! digit. The limits are where a 32-bit integer, a double and a 64-bit integer end.

use greenroom_rego::{AccessRequest, Engine, Explanation, Input, Limits, Principal};
use proptest::prelude::{Strategy, any};
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::harness;

/// The number of inputs of each test.
const INPUTS: usize = 400;

fn runner() -> TestRunner {
    TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, b"numbers are exact to their digit"),
    )
}

/// A number near the end of the range of a type, or any.
fn number() -> impl Strategy<Value = u64> {
    let ends = vec![0, 10_485_760, 268_435_456, 1 << 31, 1 << 32, 1 << 53, 1 << 63, u64::MAX];
    (select(ends), -3_i64..=3, any::<u64>(), 0..4).prop_map(|(end, step, number, chance)| match chance {
        0 => number,
        _ => end.saturating_add_signed(step),
    })
}

fn document() -> Value {
    json!({
        "action": "invoke", "caller": "user", "hops": 1, "document_bytes": 100, "caller_policies": {},
        "agent": { "id": "an_agent", "category": "business_ops" },
        "policies": {}, "facts": { "audited": 1, "authenticated": 1, "own_tenant": 1 },
        "usage": { "requests": 1, "tokens_left": -1, "usd_left": -1 },
        "user": { "id": "admin", "tenant": "default", "roles": { "admin": 1 }, "rate_limit": 100, "permissions": {} },
    })
}

/// Reads the document as `policy eval` does, and requires both entrypoints to agree.
async fn explain(engine: &mut Engine, document: &Value) -> Explanation {
    let input: Input = serde_json::from_str(&document.to_string()).unwrap();
    let is_allowed = engine.decide(&input).await.unwrap().is_allowed();
    let explanation = engine.explain(&input).await.unwrap_or_else(|error| panic!("{document}: {error}"));
    assert_eq!(is_allowed, explanation.allow, "{document}");
    explanation
}

fn reasons(explanation: &Explanation) -> Vec<(&str, &str)> {
    explanation.deny.iter().map(|reason| (reason.code.as_str(), reason.message.as_str())).collect()
}

#[tokio::test]
async fn a_limit_of_requests_or_queries_of_any_size_is_exact() {
    for (action, used, limited, code, noun) in [
        ("invoke", "requests", "rate_limit", "rate_limit_exceeded", "requests"),
        ("query_catalogue", "queries", "query_limit", "query_limit_exceeded", "queries"),
    ] {
        let (mut engine, mut runner) = (harness::engine().await, runner());
        let mut denied = 0;
        for _ in 0..INPUTS {
            let (limit, step) = (number(), -2_i64..=2).new_tree(&mut runner).unwrap().current();
            let count = limit.saturating_add_signed(step);
            let mut document = document();
            document["action"] = json!(action);
            document["usage"][used] = json!(count);
            document["user"][limited] = json!(limit);
            let explanation = explain(&mut engine, &document).await;
            if count <= limit {
                assert!(explanation.allow, "{document}: {explanation:?}");
                continue;
            }
            let message = format!("{count} {noun} in the last hour, {limit} are allowed");
            assert_eq!(reasons(&explanation), [(code, message.as_str())]);
            denied += 1;
        }
        assert!((INPUTS / 10..INPUTS).contains(&denied), "{denied} of {INPUTS} are denied: the test proves little");
    }
}

#[tokio::test]
async fn a_document_of_any_size_is_compared_and_named_exactly() {
    let (mut engine, mut runner) = (harness::engine().await, runner());
    for _ in 0..INPUTS {
        let bytes = number().new_tree(&mut runner).unwrap().current();
        let mut document = document();
        document["document_bytes"] = json!(bytes);
        document["policies"] = json!({ "max_document_size_10mb": 1 });
        let explanation = explain(&mut engine, &document).await;
        let message = format!("a value has {bytes} bytes, 268435456 are allowed");
        let mut expected = Vec::new();
        if bytes > 268_435_456 {
            expected.push(("document_too_large", message.as_str()));
        }
        let found = reasons(&explanation);
        let is_above_policy = found.iter().any(|(code, _)| *code == "max_document_size_10mb");
        assert_eq!(is_above_policy, bytes > 10_485_760, "{document}");
        assert_eq!(found.into_iter().filter(|(code, _)| *code == "document_too_large").collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn a_remaining_amount_of_any_size_is_exact() {
    let (mut engine, mut runner) = (harness::engine().await, runner());
    let amount =
        || (number(), any::<bool>()).prop_map(|(size, owed)| if owed { -i128::from(size) } else { i128::from(size) });
    for _ in 0..INPUTS {
        let (tokens, usd) = (amount(), amount()).new_tree(&mut runner).unwrap().current();
        let text = document().to_string().replace(r#""tokens_left":-1"#, &format!(r#""tokens_left":{tokens}"#));
        let text = text.replace(r#""usd_left":-1"#, &format!(r#""usd_left":{usd}"#));
        let input: Input = serde_json::from_str(&text).unwrap();
        let has_some = |amount: i128| amount == -1 || amount > 0;
        let is_allowed = engine.decide(&input).await.unwrap().is_allowed();
        assert_eq!(is_allowed, has_some(tokens) && has_some(usd), "{text}");
        assert_eq!(engine.explain(&input).await.unwrap().allow, is_allowed, "{text}");
    }
}

#[tokio::test]
async fn the_host_writes_a_remaining_amount_beyond_63_bits_exactly() {
    let limits = Limits { tokens: Some(u64::MAX), ..Limits::default() };
    let principal = Principal { limits, ..harness::user("admin").unwrap() };
    let request = harness::request_as(principal, harness::invoke("an_agent")).await;
    let mut facts = harness::agent_facts("an_agent", "business_ops", &[], &[]);
    facts.usage.user.tokens = 1;
    let request = AccessRequest::new(request, facts);
    assert_eq!(request.input().usage.tokens_left, Some(i128::from(u64::MAX) - 1));
    assert!(harness::guard().await.permit(request).await.is_ok());
}

#[test]
fn a_number_that_is_no_whole_number_of_its_range_is_rejected() {
    let text = document().to_string();
    assert!(serde_json::from_str::<Input>(&text).is_ok());
    for (valid, invalid) in [
        (r#""document_bytes":100"#, r#""document_bytes":1e400"#),
        (r#""document_bytes":100"#, r#""document_bytes":1e2"#),
        (r#""document_bytes":100"#, r#""document_bytes":100.0"#),
        (r#""document_bytes":100"#, r#""document_bytes":-1"#),
        (r#""document_bytes":100"#, r#""document_bytes":18446744073709551616"#),
        (r#""document_bytes":100"#, r#""document_bytes":100,"document_bytes":99999999"#),
        (r#""hops":1"#, r#""hops":4294967296"#),
        (r#""requests":1"#, r#""requests":18446744073709551616"#),
        (r#""tokens_left":-1"#, r#""tokens_left":-1.5"#),
        (r#""usd_left":-1"#, r#""usd_left":0.1"#),
        (r#""rate_limit":100"#, r#""rate_limit":100,"rate_limit":1000000"#),
        (r#""roles":{"admin":1}"#, r#""roles":{"admin":1,"admin":1}"#),
        (r#""roles":{"admin":1}"#, r#""roles":{"admin":2}"#),
    ] {
        let changed = text.replace(valid, invalid);
        assert_ne!(changed, text, "{valid}");
        assert!(serde_json::from_str::<Input>(&changed).is_err(), "{invalid}");
    }
}

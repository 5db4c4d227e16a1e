//! Budgets: a call whose worst case exceeds one is refused before a byte is sent, and every call that was
//! sent is settled.

use std::sync::Arc;
use std::time::Duration;

use greenroom_definitions::models::TokenCounts;
use greenroom_protocol::request::Invoke;
use greenroom_protocol::{CallKey, ErrorCode, MicroUsd, PriceBasis, Tokens};
use greenroom_registry::ledger::Ledger;
use greenroom_rego::testing;
use serde_json::json;

use super::{execute, nested, test_env};
use crate::execution::invocation::UsageMeter;
use crate::model::{Delta, ModelError, ModelProvider, StopReason};
use crate::test_env::{ScriptedAnswer, ScriptedModel, TestEnv, TestEnvOptions, agent, invoke, text_answer};

const GOOD: &str = r#"{"summary": "ok"}"#;

fn limited(members: serde_json::Value, model: &Arc<ScriptedModel>) -> TestEnv {
    TestEnv::new(TestEnvOptions {
        agents: vec![agent("writer", members)],
        providers: vec![model.clone()],
        ..TestEnvOptions::default()
    })
}

async fn total_cost(ledger: &dyn Ledger) -> MicroUsd {
    let rows = ledger.costs(None).await.unwrap();
    rows.iter().map(|row| row.actual.cost + row.estimated.cost).sum()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_exceed_a_budget_is_not_sent() {
    let model = ScriptedModel::new("play", true, vec![text_answer(GOOD, 10, 1)]);
    // 4,096 tokens of answer at two millionths are more than a thousandth of a dollar.
    let test_env = limited(json!({"limits": {"max_cost_usd": 0.001}}), &model);
    let error = execute(test_env.env.clone(), test_env.invocation("writer", "x").await, UsageMeter::default())
        .await
        .unwrap_err();
    assert_eq!((error.code, model.calls().len()), (ErrorCode::BudgetExceeded, 0));
    assert_eq!(total_cost(&*test_env.ledger).await, MicroUsd(0));
}

#[tokio::test(start_paused = true)]
async fn each_limit_above_a_call_applies() {
    let mut user_limited = testing::admin();
    user_limited.limits.usd = Some(MicroUsd(100));
    let mut tenant_limited = testing::admin();
    tenant_limited.tenant_limits.tokens = Some(100);
    let mut capped = invoke("writer", "x");
    capped.options.cost_max = Some(MicroUsd(100));
    let cases = [
        (user_limited, invoke("writer", "x"), "user"),
        (tenant_limited, invoke("writer", "x"), "tenant"),
        (testing::admin(), capped, "execution"),
    ];
    for (principal, request, budget) in cases {
        let model = ScriptedModel::new("play", true, vec![text_answer(GOOD, 10, 1)]);
        let test_env = test_env(&model);
        let job = test_env.invocation_for(principal, request, None).await;
        let error = execute(test_env.env.clone(), job, UsageMeter::default()).await.unwrap_err();
        assert_eq!((error.code, model.calls().len()), (ErrorCode::BudgetExceeded, 0), "{budget}");
        assert_eq!(error.details["budget"], budget);
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_without_a_price_and_without_a_tier_has_that_of_the_standard_tier_and_is_bounded_by_it() {
    // One is listed without a price, the other is not listed.
    for name in ["free.of_price", "free.unlisted"] {
        let spec = json!({"implementation": {"runtime": "llm", "model": name}});
        let model = ScriptedModel::new("free", true, vec![text_answer(GOOD, 10, 1)]);
        let test_env = limited(spec, &model);
        let mut capped = invoke("writer", "x");
        capped.options.cost_max = Some(MicroUsd(100));
        let job = test_env.invocation_for(testing::admin(), capped, None).await;
        let error = execute(test_env.env.clone(), job, UsageMeter::default()).await.unwrap_err();
        assert_eq!((error.code, model.calls().len()), (ErrorCode::BudgetExceeded, 0), "{name}");
        let meter = UsageMeter::default();
        execute(test_env.env.clone(), test_env.invocation("writer", "x").await, meter.clone()).await.unwrap();
        assert_eq!((meter.total().cost, meter.total().price), (MicroUsd(12), PriceBasis::Assumed), "{name}");
        let rows = test_env.ledger.costs(None).await.unwrap();
        let assumed = rows.iter().map(|row| row.assumed).sum::<MicroUsd>();
        assert_eq!((assumed, total_cost(&*test_env.ledger).await), (MicroUsd(12), MicroUsd(12)), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn if_no_tier_has_a_price_a_budget_refuses_and_a_call_without_one_is_marked() {
    let model = ScriptedModel::new("free", true, vec![text_answer(GOOD, 10, 1)]);
    let test_env = TestEnv::new(TestEnvOptions {
        agents: vec![agent("writer", json!({"implementation": {"runtime": "llm", "model": "free.of_price"}}))],
        providers: vec![model.clone()],
        models: json!({"tiers": {}, "models": {"free.of_price": {"context_tokens": 1000}}}),
        ..TestEnvOptions::default()
    });
    let mut capped = invoke("writer", "x");
    capped.options.cost_max = Some(MicroUsd(1_000_000));
    let job = test_env.invocation_for(testing::admin(), capped, None).await;
    let error = execute(test_env.env.clone(), job, UsageMeter::default()).await.unwrap_err();
    assert_eq!((error.code, model.calls().len()), (ErrorCode::PriceUnknown, 0));
    let meter = UsageMeter::default();
    execute(test_env.env.clone(), test_env.invocation("writer", "x").await, meter.clone()).await.unwrap();
    assert_eq!((meter.total().cost, meter.total().price), (MicroUsd(0), PriceBasis::Assumed));
}

#[tokio::test(start_paused = true)]
async fn a_model_without_a_price_has_the_assumed_price_of_its_tier() {
    let mut models = crate::test_env::prices();
    models["models"]["play.bare"] = json!({"context_tokens": 1000, "tier": "standard"});
    let member = |name: &str| json!({"implementation": {"runtime": "llm", "model": name}});
    for (name, price) in [("play.bare", PriceBasis::Assumed), ("play.one", PriceBasis::Listed)] {
        let model = ScriptedModel::new("play", true, vec![text_answer(GOOD, 10, 1)]);
        let test_env = TestEnv::new(TestEnvOptions {
            agents: vec![agent("writer", member(name))],
            providers: vec![model],
            models: models.clone(),
            ..TestEnvOptions::default()
        });
        let meter = UsageMeter::default();
        execute(test_env.env.clone(), test_env.invocation("writer", "x").await, meter.clone()).await.unwrap();
        assert_eq!((meter.total().cost, meter.total().price), (MicroUsd(12), price), "{name}");
        let rows = test_env.ledger.costs(None).await.unwrap();
        let assumed = if price == PriceBasis::Assumed { (1, MicroUsd(12)) } else { (0, MicroUsd(0)) };
        assert_eq!((rows[0].calls_assumed, rows[0].assumed), assumed, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn repairs_count_against_the_same_budget() {
    let wrong = || text_answer("no", 4_000, 4_000);
    let model = ScriptedModel::new("play", true, vec![wrong(), wrong(), text_answer(GOOD, 1, 1)]);
    let test_env = limited(json!({"limits": {"max_cost_usd": 0.02}}), &model);
    let meter = UsageMeter::default();
    let error =
        execute(test_env.env.clone(), test_env.invocation("writer", "x").await, meter.clone()).await.unwrap_err();
    assert_eq!((error.code, model.calls().len()), (ErrorCode::BudgetExceeded, 1));
    assert_eq!(meter.total().cost, MicroUsd(12_000), "the failed execution reports its cost");
    assert_eq!(total_cost(&*test_env.ledger).await, MicroUsd(12_000));
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_is_dropped_is_settled_at_its_reservation() {
    let model = ScriptedModel::new("play", true, vec![ScriptedAnswer::Hang]);
    let test_env = test_env(&model);
    let meter = UsageMeter::default();
    let mut running = Box::pin(execute(test_env.env.clone(), test_env.invocation("writer", "x").await, meter.clone()));
    while model.calls().is_empty() {
        assert!(futures::poll!(&mut running).is_pending());
        tokio::task::yield_now().await;
    }
    drop(running);
    let usage = meter.total();
    assert!(usage.estimated && usage.cost > MicroUsd(8_192));
    let ledger = test_env.ledger.clone();
    let mut settled = MicroUsd(0);
    for _ in 0..100 {
        settled = total_cost(&*ledger).await;
        if settled > MicroUsd(0) {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(settled, usage.cost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_executions_cannot_exceed_a_budget() {
    // Each call reserves about 0.9 cents and costs about a hundredth of that.
    let answers = (0..400).map(|_| text_answer(GOOD, 60, 20)).collect();
    let model = ScriptedModel::new("play", true, answers);
    let test_env = test_env(&model);
    let mut principal = testing::admin();
    principal.limits.usd = Some(MicroUsd(30_000));
    let mut executions = tokio::task::JoinSet::new();
    for _ in 0..400 {
        let job = test_env.invocation_for(principal.clone(), invoke("writer", "x"), None).await;
        executions.spawn(execute(test_env.env.clone(), job, UsageMeter::default()));
    }
    let results = executions.join_all().await;
    let succeeded = results.iter().filter(|result| result.is_ok()).count() as u64;
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(error.code, ErrorCode::BudgetExceeded);
    }
    let total = total_cost(&*test_env.ledger).await;
    assert_eq!(total, MicroUsd(succeeded * 100), "exactly the reported usage");
    assert!(succeeded > 0 && total <= MicroUsd(30_000), "{succeeded} calls, {total}");
    assert_eq!(model.calls().len() as u64, succeeded, "a refused execution sends nothing");
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_budget_within_the_time_that_is_left_to_its_execution() {
    let mut models = crate::test_env::prices();
    models["models"]["play.bare"] = json!({"context_tokens": 1000, "tier": "standard"});
    let busy = ModelError::Overloaded { status: 429, retry_after: Some(Duration::from_secs(20)) };
    let model = ScriptedModel::new("play", true, vec![ScriptedAnswer::Fail(busy)]);
    let other = ScriptedModel::new("other", true, vec![ScriptedAnswer::Hang]);
    let of_model = |name: &str| json!({"implementation": {"runtime": "llm", "model": name, "timeout": 30}});
    let test_env = TestEnv::new(TestEnvOptions {
        agents: vec![agent("writer", of_model("play.bare")), agent("reader", of_model("other.two"))],
        providers: vec![model.clone(), other.clone() as Arc<dyn ModelProvider>],
        models,
        ..TestEnvOptions::default()
    });
    // Two worst cases do not fit together.
    let mut principal = testing::admin();
    principal.limits.usd = Some(MicroUsd(15_000));
    let first = test_env.invocation_for(principal.clone(), invoke("writer", "x"), None).await;
    let second = test_env.invocation_for(principal, invoke("reader", "x"), None).await;
    let started = tokio::time::Instant::now();
    let mut waiting = Box::pin(execute(test_env.env.clone(), first, UsageMeter::default()));
    let mut silent = Box::pin(execute(test_env.env.clone(), second, UsageMeter::default()));
    for (execution, provider) in [(&mut waiting, &model), (&mut silent, &other)] {
        while provider.calls().is_empty() {
            assert!(futures::poll!(&mut *execution).is_pending());
            tokio::task::yield_now().await;
        }
    }
    let error = waiting.await.unwrap_err();
    assert_eq!(error.code, ErrorCode::BudgetExceeded, "{error}");
    assert!(error.message.contains("only reserved by calls in flight"), "{error}");
    let elapsed = started.elapsed();
    assert!((Duration::from_secs(20)..Duration::from_secs(30)).contains(&elapsed), "{elapsed:?} of 30 s");
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn caches_and_reasoning_are_billed_at_their_own_prices() {
    let mut models = crate::test_env::prices();
    models["models"]["play.one"]["price"] =
        json!({ "input": 10.0, "output": 20.0, "cache_read": 1.0, "cache_write": 12.0, "reasoning": 30.0 });
    let counts = TokenCounts { input: 1_000, output: 100, cache_read: 600, cache_write: 100, reasoning: 40 };
    let deltas = vec![Ok(Delta::Text(GOOD.into())), Ok(Delta::Usage(counts)), Ok(Delta::End(StopReason::Complete))];
    let model = ScriptedModel::new("play", true, vec![ScriptedAnswer::Deltas(deltas)]);
    let test_env = TestEnv::new(TestEnvOptions {
        agents: vec![agent("writer", json!({}))],
        providers: vec![model.clone()],
        models,
        ..TestEnvOptions::default()
    });
    let meter = UsageMeter::default();
    execute(test_env.env.clone(), test_env.invocation("writer", "x").await, meter.clone()).await.unwrap();
    let expected = MicroUsd(300 * 10 + 600 + 100 * 12 + 60 * 20 + 40 * 30);
    assert_eq!((meter.total().cost, total_cost(&*test_env.ledger).await), (expected, expected));
    assert_eq!(meter.total().tokens, Tokens { input: 1_000, output: 100 });
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_request_covers_the_agents_that_are_called_at_the_same_time() {
    let limited = || {
        let mut request = invoke("writer", "x");
        request.options.cost_max = Some(MicroUsd(15_000));
        request
    };
    let delegated = |key: &str| Invoke { key: Some(CallKey::new(key).unwrap()), ..invoke("writer", "x") };
    // Each call reserves more than half of what the whole request may cost.
    let model = ScriptedModel::new("play", true, vec![ScriptedAnswer::Hang, ScriptedAnswer::Hang]);
    let test_env = test_env(&model);
    let grant = test_env.invocation_for(testing::admin(), limited(), None).await.grant;
    let repeated = test_env.invocation_for(testing::admin(), limited(), None).await.grant;
    // The key of an effect is the same at each repetition of its request; the budget is not.
    let first = nested(&test_env, &grant, delegated("key_1/tool[0]")).await;
    let second = nested(&test_env, &grant, delegated("key_1/tool[1]")).await;
    let of_repetition = nested(&test_env, &repeated, delegated("key_1/tool[0]")).await;
    assert_eq!(of_repetition.budget_key().root().as_str(), repeated.request_id().as_str());
    let mut running = Box::pin(execute(test_env.env.clone(), first, UsageMeter::default()));
    while model.calls().is_empty() {
        assert!(futures::poll!(&mut running).is_pending());
        tokio::task::yield_now().await;
    }
    let error = execute(test_env.env.clone(), second, UsageMeter::default()).await.unwrap_err();
    assert_eq!((error.code, model.calls().len()), (ErrorCode::BudgetExceeded, 1));
    assert_eq!(error.details["owner"], grant.request_id().as_str());
}

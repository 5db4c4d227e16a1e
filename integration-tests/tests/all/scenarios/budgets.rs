//! Budgets: what calls of a model cost is limited and counted, whichever interface they arrive by.

use anyhow::Result;
use greenroom_integration_tests::http_pod::ADMIN_KEY;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior, TOKENS_IN, TOKENS_OUT};
use greenroom_integration_tests::up_process::UpProcess;
use greenroom_protocol::{ErrorCode, MicroUsd};

use super::code;

/// An agent that calls the model, and a workflow that calls it six times.
pub(super) const MODEL_AGENT: &str = "model_agent";
const SIX_CALLS: &str = "six_calls";
/// Cost of one answer, at the standard tier's 3 and 15 dollars per million tokens.
const ANSWER_MICROS: u64 = TOKENS_IN * 3 + TOKENS_OUT * 15;
/// One cent.
const LIMIT: MicroUsd = MicroUsd(10_000);

/// Starts a process whose agent calls this model, for answers of at most so many tokens.
pub(super) async fn start_with_model(model: &ScriptServer, tokens_max: u32) -> Result<UpProcess> {
    let url = model.url().to_owned();
    UpProcess::start(|terminal, definitions| {
        for (name, value) in
            [("OPENAI_BASE_URL", url.as_str()), ("OPENAI_MODEL", "scripted-model"), ("OPENAI_API_KEY", "planted-key")]
        {
            terminal.set_variable(name, value);
        }
        definitions.write_llm_agent(MODEL_AGENT, 60, tokens_max, "")?;
        definitions.write_row_workflow(SIX_CALLS, MODEL_AGENT, 6)
    })
    .await
}

#[tokio::test]
async fn a_run_ends_at_the_cost_limit_of_its_request() -> Result<()> {
    let model = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let up = start_with_model(&model, 200).await?;
    for client in [up.http(ADMIN_KEY)?, up.nats(ADMIN_KEY).await?] {
        let before = model.count() as u64;
        let refused = client.workflow(SIX_CALLS).input("text", "hello").cost_max(LIMIT).run().await;
        assert_eq!(code(refused), Some(ErrorCode::BudgetExceeded));
        let answers = model.count() as u64 - before;
        assert!(answers > 0 && answers * ANSWER_MICROS <= LIMIT.0, "{answers} calls were made");
    }
    Ok(())
}

#[tokio::test]
async fn a_call_that_may_exceed_its_limit_is_refused_before_the_model_is_called() -> Result<()> {
    let model = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let up = start_with_model(&model, 4_000).await?;
    let body = r#"{"inputs":{"text":"hello"},"options":{"cost_max":10000}}"#;
    let refused = up.post(&format!("/v1/agents/{MODEL_AGENT}/execute"), &[], body).await?;
    assert_eq!((refused.status, &refused.json()?["code"]), (402, &"budget_exceeded".into()), "{refused:?}");
    assert_eq!(model.count(), 0, "the worst case of 4,000 tokens costs six cents");
    Ok(())
}

#[tokio::test]
async fn the_costs_of_every_interface_are_in_one_account() -> Result<()> {
    let model = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let up = start_with_model(&model, 200).await?;
    for client in [up.http(ADMIN_KEY)?, up.nats(ADMIN_KEY).await?] {
        client.agent(MODEL_AGENT).input("text", "hello").execute().await?;
    }
    up.terminal.run(&["run", "agent", MODEL_AGENT, "--input", "text=hello"]).await?.expect_success()?;
    let costs = up.terminal.run(&["costs"]).await?.expect_success()?;
    assert_eq!(costs["total_micro_usd"].as_u64(), Some(3 * ANSWER_MICROS), "{costs:#}");
    Ok(())
}

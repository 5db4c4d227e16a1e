//! Idempotency keys: a request that is repeated over any interface is executed once.

use anyhow::Result;
use greenroom_integration_tests::http_pod::ADMIN_KEY;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::up_process::OPERATOR_KEY;
use greenroom_protocol::ErrorCode;

use super::budgets::{MODEL_AGENT, start_with_model};
use super::{ECHO, ROW, code, shared};

#[tokio::test]
async fn a_call_that_is_repeated_over_another_interface_gets_the_first_reply() -> Result<()> {
    let model = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let up = start_with_model(&model, 200).await?;
    let mut ids = Vec::new();
    for client in [up.http(ADMIN_KEY)?, up.nats(ADMIN_KEY).await?, up.http(ADMIN_KEY)?] {
        let call = client.agent(MODEL_AGENT).input("text", "hello").idempotency_key("one_call");
        ids.push(call.reply().await?.id);
    }
    ids.dedup();
    assert_eq!((ids.len(), model.count()), (1, 1), "{ids:?}");
    Ok(())
}

#[tokio::test]
async fn a_command_that_is_repeated_with_its_key_gets_the_first_reply() -> Result<()> {
    let up = shared().await?;
    let words = ["run", "agent", ECHO, "--input", "text=hello", "--idempotency-key", "of_a_command"];
    let first = up.terminal.run(&words).await?.expect_success()?;
    let second = up.terminal.run(&words).await?.expect_success()?;
    assert_eq!(first["id"], second["id"]);
    Ok(())
}

#[tokio::test]
async fn another_request_with_a_used_key_is_refused() -> Result<()> {
    let up = shared().await?;
    let (http, nats) = (up.http(ADMIN_KEY)?, up.nats(ADMIN_KEY).await?);
    http.agent(ECHO).input("text", "first").idempotency_key("used_key").execute().await?;
    for client in [http, nats] {
        let refused = client.agent(ECHO).input("text", "second").idempotency_key("used_key").execute().await;
        assert_eq!(code(refused), Some(ErrorCode::IdempotencyConflict));
    }
    Ok(())
}

#[tokio::test]
async fn a_run_that_is_started_twice_with_one_key_exists_once() -> Result<()> {
    let up = shared().await?;
    let body = r#"{"inputs":{"text":"hello"},"detach":true}"#;
    let path = format!("/v1/workflows/{ROW}/run");
    let first = up.post(&path, &["Idempotency-Key: one_run"], body).await?;
    let second = up.post(&path, &["Idempotency-Key: one_run"], body).await?;
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(first.header("location"), second.header("location"));
    Ok(())
}

#[tokio::test]
async fn one_key_of_two_users_names_two_requests() -> Result<()> {
    let up = shared().await?;
    let mut ids = Vec::new();
    for key in [ADMIN_KEY, OPERATOR_KEY] {
        let client = up.nats(key).await?;
        ids.push(client.agent(ECHO).input("text", "hello").idempotency_key("of_two_users").reply().await?.id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 2, "{ids:?}");
    Ok(())
}

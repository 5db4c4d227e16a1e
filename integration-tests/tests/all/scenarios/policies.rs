//! Policy: every interface passes the same pipeline, which denies by the same rules and records every request.

use anyhow::{Context, Result};
use greenroom_integration_tests::http_pod::{ADMIN_KEY, GUEST_KEY, send_to};
use greenroom_protocol::ErrorCode;

use super::interface::{ADMIN, Callee, GUEST, Interface, OPERATOR, Outcome};
use super::{ECHO, LEDGER_AGENT, ROW, code, shared};

const BODY: &str = r#"{"inputs":{"text":"hello"}}"#;

#[tokio::test]
async fn a_user_without_a_role_is_denied_over_every_interface() -> Result<()> {
    let up = shared().await?;
    for interface in Interface::ALL {
        for callee in [Callee::Agent(ECHO), Callee::Workflow(ROW)] {
            let outcome = interface.call(&up, &GUEST, callee, Some("hello")).await?;
            assert_eq!(outcome, Outcome::refusal("policy_denied"), "{interface:?} {callee:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_operator_has_the_agents_of_the_allowed_categories_over_every_interface() -> Result<()> {
    let up = shared().await?;
    for interface in Interface::ALL {
        let outcome = interface.call(&up, &OPERATOR, Callee::Agent(ECHO), Some("hello")).await?;
        assert_eq!(outcome, Outcome::output("text", "hello"), "{interface:?}");
        let outcome = interface.call(&up, &OPERATOR, Callee::Agent(LEDGER_AGENT), Some("hello")).await?;
        assert_eq!(outcome, Outcome::refusal("policy_denied"), "{interface:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_denial_over_http_is_a_problem_with_its_reasons() -> Result<()> {
    let up = shared().await?;
    let line = format!("POST /v1/agents/{ECHO}/execute");
    let denied = send_to(up.addr, &line, Some(GUEST_KEY), &[], BODY).await?;
    assert_eq!((denied.status, denied.header("content-type")), (403, Some("application/problem+json")));
    let problem = denied.json()?;
    let reasons = problem["details"]["reasons"].as_array().context("reasons")?;
    assert!(reasons.iter().any(|reason| reason["code"] == "role_missing"), "{problem:#}");
    Ok(())
}

#[tokio::test]
async fn a_caller_without_a_valid_key_is_refused_over_the_network() -> Result<()> {
    let up = shared().await?;
    let line = format!("POST /v1/agents/{ECHO}/execute");
    for key in [None, Some("wrong")] {
        let refused = send_to(up.addr, &line, key, &[], BODY).await?;
        assert_eq!((refused.status, &refused.json()?["code"]), (401, &"unauthenticated".into()));
    }
    for client in [up.http("wrong")?, up.nats("wrong").await?] {
        let refused = client.agent(ECHO).input("text", "hello").execute().await;
        assert_eq!(code(refused), Some(ErrorCode::Unauthenticated));
    }
    Ok(())
}

#[tokio::test]
async fn a_user_whom_the_command_line_names_must_be_configured() -> Result<()> {
    let up = shared().await?;
    let words = ["run", "agent", ECHO, "--input", "text=hello", "--user", "stranger"];
    let refused = up.terminal.run(&words).await?.expect_error(3)?;
    assert_eq!(refused["code"], "unauthenticated");
    Ok(())
}

#[tokio::test]
async fn the_audit_has_the_requests_of_every_interface_and_verifies() -> Result<()> {
    let up = shared().await?;
    for interface in Interface::ALL {
        let outcome = interface.call(&up, &ADMIN, Callee::Agent(LEDGER_AGENT), Some("a secret")).await?;
        assert_eq!(outcome, Outcome::output("text", "a secret"), "{interface:?}");
    }
    let audit = up.terminal.run(&["audit", "list", "--limit", "1000"]).await?.expect_success()?;
    let records = audit["records"].as_array().context("records")?;
    let is_call = |event: &greenroom_protocol::Json| {
        event["kind"] == "opened" && event["user"] == ADMIN.name && event["resource"] == LEDGER_AGENT
    };
    assert_eq!(records.iter().filter(|record| is_call(&record["event"])).count(), Interface::ALL.len());
    assert!(!audit.to_string().contains("a secret"), "the audit contains no inputs");
    assert!(!audit.to_string().contains(ADMIN_KEY), "the audit contains no keys");
    assert_eq!(up.terminal.run(&["audit", "verify"]).await?.expect_success()?["valid"], true);
    Ok(())
}

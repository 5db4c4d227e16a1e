//! Agents: one call has one outcome, whichever interface it arrives by.

use anyhow::Result;
use greenroom_integration_tests::http_pod::ADMIN_KEY;
use serde::Deserialize;

use super::interface::{ADMIN, Callee, Interface, Outcome};
use super::{ECHO, shared};

#[derive(Debug, PartialEq, Deserialize)]
struct Text {
    text: String,
}

#[tokio::test]
async fn an_agent_returns_the_same_outputs_over_every_interface() -> Result<()> {
    let up = shared().await?;
    for interface in Interface::ALL {
        let outcome = interface.call(&up, &ADMIN, Callee::Agent(ECHO), Some("hello")).await?;
        assert_eq!(outcome, Outcome::output("text", "hello"), "{interface:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_that_does_not_exist_is_refused_over_every_interface() -> Result<()> {
    let up = shared().await?;
    for interface in Interface::ALL {
        let outcome = interface.call(&up, &ADMIN, Callee::Agent("no_such_agent"), Some("hello")).await?;
        assert_eq!(outcome, Outcome::refusal("unknown_agent"), "{interface:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_call_without_a_required_input_is_refused_over_every_interface() -> Result<()> {
    let up = shared().await?;
    for interface in Interface::ALL {
        let outcome = interface.call(&up, &ADMIN, Callee::Agent(ECHO), None).await?;
        assert_eq!(outcome, Outcome::refusal("missing_input"), "{interface:?}");
    }
    Ok(())
}

#[tokio::test]
async fn outputs_are_read_as_a_type_of_the_caller() -> Result<()> {
    let up = shared().await?;
    for client in [up.http(ADMIN_KEY)?, up.nats(ADMIN_KEY).await?] {
        let outputs: Text = client.agent(ECHO).input("text", "typed").execute_as().await?;
        assert_eq!(outputs, Text { text: "typed".to_owned() });
    }
    Ok(())
}

#[tokio::test]
async fn an_input_of_a_megabyte_is_returned_whole_over_http() -> Result<()> {
    let up = shared().await?;
    let large = "x".repeat(1024 * 1024);
    let outputs: Text = up.http(ADMIN_KEY)?.agent(ECHO).input("text", &large).execute_as().await?;
    assert!(outputs.text == large, "{} characters", outputs.text.len());
    Ok(())
}

#[tokio::test]
async fn a_call_whose_time_has_passed_is_not_executed() -> Result<()> {
    let up = shared().await?;
    let body = r#"{"inputs":{"text":"hello"}}"#;
    let overdue = up.post(&format!("/v1/agents/{ECHO}/execute"), &["Greenroom-Timeout: 0"], body).await?;
    assert_eq!((overdue.status, &overdue.json()?["code"]), (504, &"timed_out".into()));
    Ok(())
}

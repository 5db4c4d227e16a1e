//! Teams: those of the catalogue, and those that a request contains.

use anyhow::Result;
use greenroom_client::Team;
use greenroom_integration_tests::http_pod::ADMIN_KEY;
use greenroom_protocol::ErrorCode;
use serde_json::json;

use super::interface::{ADMIN, Callee, Interface, Outcome};
use super::{ECHO, GREETING, ROW, TEAM, code, shared};

#[tokio::test]
async fn a_team_runs_its_workflow_over_every_interface() -> Result<()> {
    let up = shared().await?;
    for interface in Interface::ALL {
        let outcome = interface.call(&up, &ADMIN, Callee::Team(TEAM, ROW), Some("hello")).await?;
        assert_eq!(outcome, Outcome::run_outputs("hello"), "{interface:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_shared_context_of_a_team_arrives_at_its_steps() -> Result<()> {
    let up = shared().await?;
    for interface in Interface::ALL {
        let outcome = interface.call(&up, &ADMIN, Callee::Team(TEAM, GREETING), None).await?;
        assert_eq!(outcome, Outcome::run_outputs("hello"), "{interface:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_team_that_a_request_contains_is_formed_over_the_network() -> Result<()> {
    let up = shared().await?;
    for client in [up.http(ADMIN_KEY)?, up.nats(ADMIN_KEY).await?] {
        let team = Team::new("Greeters").agents([ECHO]).shared_context(json!({ "greeting": "good morning" }));
        let outputs = team.execute_workflow(&client, GREETING, json!({})).await?;
        assert_eq!(outputs["final_output"], "good morning");
    }
    Ok(())
}

#[tokio::test]
async fn a_team_without_members_or_with_an_unknown_one_is_refused() -> Result<()> {
    let up = shared().await?;
    for client in [up.http(ADMIN_KEY)?, up.nats(ADMIN_KEY).await?] {
        for team in [Team::new("Empty"), Team::new("Unknown").agents(["no_such_agent"])] {
            let refused = team.execute_workflow(&client, ROW, json!({ "text": "hello" })).await;
            assert_eq!(code(refused), Some(ErrorCode::InvalidDefinition));
        }
    }
    Ok(())
}

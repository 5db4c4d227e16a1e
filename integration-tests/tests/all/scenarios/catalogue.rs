//! The catalogue: its lists and definitions over every interface, and files that change or are invalid.

use anyhow::{Context, Result};
use greenroom_integration_tests::http_pod::ADMIN_KEY;
use greenroom_integration_tests::up_process::UpProcess;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{AgentId, ErrorCode, Json};

use super::{ECHO, ROW, TEAM, WAIT_MAX, code, shared, start, write_definitions};

#[tokio::test]
async fn the_lists_are_the_same_over_every_interface() -> Result<()> {
    let up = shared().await?;
    let nats = up.nats(ADMIN_KEY).await?;
    for (kind, id) in [("agents", ECHO), ("workflows", ROW), ("teams", TEAM)] {
        let by_command = up.terminal.run(&[kind, "list"]).await?.expect_success()?;
        let over_http = up.get(&format!("/v1/{kind}")).await?.json()?;
        let over_nats = match kind {
            "agents" => nats.agents().await?,
            "workflows" => nats.workflows().await?,
            _ => nats.teams().await?,
        };
        assert_eq!(by_command[kind], over_http["outputs"][kind]);
        assert_eq!(Some(&by_command[kind]), over_nats.outputs.get(kind));
        assert!(by_command[kind].to_string().contains(id), "{by_command:#}");
    }
    Ok(())
}

#[tokio::test]
async fn the_agents_of_one_category_are_listed() -> Result<()> {
    let up = shared().await?;
    let all = up.terminal.run(&["agents", "list"]).await?.expect_success()?;
    let listed = up.terminal.run(&["agents", "list", "--category", "business_ops"]).await?.expect_success()?;
    let of_category = |list: &Json| -> Vec<Json> {
        let rows = list["agents"].as_array().into_iter().flatten();
        rows.filter(|row| row["category"] == "business_ops").cloned().collect()
    };
    assert!(!of_category(&all).is_empty(), "{all:#}");
    assert_eq!(listed["agents"], Json::Array(of_category(&all)));
    let refused = up.terminal.run(&["agents", "list", "--category", "no_such_category"]).await?.expect_error(2)?;
    assert_eq!(refused["code"], "unknown_record");
    assert!(refused["message"].to_string().contains("business_ops"), "the message names those that exist: {refused:#}");
    Ok(())
}

#[tokio::test]
async fn a_definition_is_the_same_over_every_interface() -> Result<()> {
    let up = shared().await?;
    let by_command = up.terminal.run(&["agents", "show", ECHO]).await?.expect_success()?;
    let over_http = up.get(&format!("/v1/agents/{ECHO}")).await?.json()?;
    let over_nats = up.nats(ADMIN_KEY).await?.agent_definition(AgentId::new(ECHO)?).await?;
    assert_eq!(by_command["agent"]["agent_id"], ECHO, "{by_command:#}");
    assert_eq!(by_command["agent"], over_http["outputs"]["agent"]);
    assert_eq!(Some(&by_command["agent"]), over_nats.outputs.get("agent"));
    Ok(())
}

#[tokio::test]
async fn a_definition_that_does_not_exist_is_refused_over_every_interface() -> Result<()> {
    let up = shared().await?;
    for (kind, expected) in [("agents", "unknown_agent"), ("workflows", "unknown_workflow"), ("teams", "unknown_team")]
    {
        let by_command = up.terminal.run(&[kind, "show", "no_such_id"]).await?.expect_error(2)?;
        assert_eq!(by_command["code"], expected);
        let over_http = up.get(&format!("/v1/{kind}/no_such_id")).await?;
        assert_eq!((over_http.status, &over_http.json()?["code"]), (404, &expected.into()));
    }
    let over_nats = up.nats(ADMIN_KEY).await?.agent_definition(AgentId::new("no_such_id")?).await?;
    assert_eq!(over_nats.error.map(|cause| cause.code), Some(ErrorCode::UnknownAgent));
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_added_is_served_without_a_restart() -> Result<()> {
    let up = start().await?;
    let file = |id: &str| format!("definitions/agents/business_ops/{id}.yaml");
    let text = std::fs::read_to_string(up.terminal.folder().join(file(ECHO)))?;
    assert_eq!(up.get("/v1/agents/added_agent").await?.status, 404);
    up.terminal.write_file(&file("added_agent"), text.replace(ECHO, "added_agent"))?;
    let served = || async { up.get("/v1/agents/added_agent").await.ok().filter(|found| found.status == 200).map(drop) };
    wait_until("the agent is served", WAIT_MAX, served).await?;
    let outputs = up.nats(ADMIN_KEY).await?.agent("added_agent").input("text", "hello").execute().await?;
    assert_eq!(outputs["text"], "hello");
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_invalid_takes_only_its_own_agent_out_of_service() -> Result<()> {
    let up = UpProcess::start(|_, definitions| {
        write_definitions(definitions)?;
        definitions.write_agent("invalid_agent", "no_category", "runtime: native\n  handler: native.echo")
    })
    .await?;
    let listed: Json = up.get("/v1/agents").await?.json()?;
    let quarantined = listed["outputs"]["quarantined"].as_array().context("what is quarantined")?;
    assert_eq!(quarantined.iter().map(|row| &row["id"]).collect::<Vec<_>>(), ["invalid_agent"]);
    for client in [up.http(ADMIN_KEY)?, up.nats(ADMIN_KEY).await?] {
        let refused = client.agent("invalid_agent").input("text", "hello").execute().await;
        assert_eq!(code(refused), Some(ErrorCode::InvalidDefinition));
        assert_eq!(client.agent(ECHO).input("text", "hello").execute().await?["text"], "hello");
    }
    Ok(())
}

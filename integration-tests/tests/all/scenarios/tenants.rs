//! Tenants: for the administrator of another tenant, what a tenant has does not exist, over every interface.

use anyhow::{Context, Result};
use greenroom_integration_tests::http_pod::{ADMIN_KEY, OTHER_KEY, send_to};
use greenroom_protocol::ErrorCode;

use super::{ECHO, ROW, await_approval, code, detach, shared, wait_for_status};

#[tokio::test]
async fn a_run_of_another_tenant_is_neither_described_nor_watched() -> Result<()> {
    let up = shared().await?;
    let run = detach(&up, ROW).await?;
    wait_for_status(&up, &run, "success").await?;
    for path in [format!("/v1/runs/{run}"), format!("/v1/runs/{run}/events")] {
        let refused = send_to(up.addr, &format!("GET {path}"), Some(OTHER_KEY), &[], "").await?;
        assert_eq!((refused.status, &refused.json()?["code"]), (404, &"unknown_run".into()), "{path}");
    }
    let refused = up.nats(OTHER_KEY).await?.run(&run).get().reply().await;
    assert_eq!(code(refused), Some(ErrorCode::UnknownRun));
    let refused = up.terminal.run(&["runs", "show", &run, "--user", "other"]).await?.expect_error(2)?;
    assert_eq!(refused["code"], "unknown_run");
    Ok(())
}

#[tokio::test]
async fn a_run_of_another_tenant_is_neither_approved_nor_cancelled() -> Result<()> {
    let up = shared().await?;
    let run = await_approval(&up).await?;
    for client in [up.http(OTHER_KEY)?, up.nats(OTHER_KEY).await?] {
        assert_eq!(code(client.run(&run).approve("sign").reply().await), Some(ErrorCode::UnknownRun));
        assert_eq!(code(client.run(&run).cancel().reply().await), Some(ErrorCode::UnknownRun));
    }
    wait_for_status(&up, &run, "waiting_approval").await?;
    up.http(ADMIN_KEY)?.run(&run).approve("sign").reply().await?;
    wait_for_status(&up, &run, "success").await?;
    Ok(())
}

#[tokio::test]
async fn the_runs_of_another_tenant_are_not_listed() -> Result<()> {
    let up = shared().await?;
    let run = detach(&up, ROW).await?;
    wait_for_status(&up, &run, "success").await?;
    let listed = send_to(up.addr, "GET /v1/runs?limit=1000", Some(OTHER_KEY), &[], "").await?;
    assert_eq!(listed.status, 200, "{listed:?}");
    assert!(!listed.text().contains(&run), "{}", listed.text());
    Ok(())
}

#[tokio::test]
async fn an_artifact_of_another_tenant_is_neither_read_nor_an_input() -> Result<()> {
    let up = shared().await?;
    let stored = up.http(ADMIN_KEY)?.upload("plan.txt", "text/plain", "the plan of the tenant").await?;
    let line = format!("GET /v1/artifacts/{}", stored.hash);
    assert_eq!(send_to(up.addr, &line, Some(OTHER_KEY), &[], "").await?.status, 404);
    for client in [up.http(OTHER_KEY)?, up.nats(OTHER_KEY).await?] {
        let refused = client.agent(ECHO).input("text", stored.to_json()).execute().await;
        assert!(code(refused).is_some(), "the content is not returned");
    }
    Ok(())
}

#[tokio::test]
async fn one_idempotency_key_of_two_tenants_names_two_requests() -> Result<()> {
    let up = shared().await?;
    let mut ids = Vec::new();
    for key in [ADMIN_KEY, OTHER_KEY] {
        let client = up.http(key)?;
        let reply = client.agent(ECHO).input("text", key).idempotency_key("of_two_tenants");
        let reply = reply.reply().await?;
        assert_eq!(reply.outputs["text"], key);
        ids.push(reply.id);
    }
    assert_ne!(ids.first().context("an id")?, ids.last().context("an id")?);
    Ok(())
}

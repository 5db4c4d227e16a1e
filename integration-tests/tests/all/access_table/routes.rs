//! The routes of HTTP, as the served OpenAPI document lists them.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::http_pod::{ADMIN_KEY, GUEST_KEY, HttpPod, OTHER_KEY};
use greenroom_protocol::Json;
use tempfile::TempDir;

use super::invalid_credentials;
use crate::http::{ECHO, INPUTS, WORKFLOW, definitions};
use crate::issuer::{self, RefusedToken, refused_tokens};
use crate::metrics::value_of;

/// What a route replies: to a user of another tenant, to one without a role, and to the administrator of the tenant of the
/// run and of the artifact in the path.
struct Row {
    id: &'static str,
    body: &'static str,
    other: u16,
    guest: u16,
    admin: u16,
}

const fn row(id: &'static str, body: &'static str, other: u16, guest: u16, admin: u16) -> Row {
    Row { id, body, other, guest, admin }
}

/// A user without a role may query the catalogue and nothing else; a resource of another tenant does not exist. An upload is
/// stored for every authenticated user, in the user's own tenant.
const ROWS: &[Row] = &[
    row("execute_agent", INPUTS, 200, 403, 200),
    row("run_workflow", INPUTS, 200, 403, 200),
    row("execute_team", r#"{"team":"none","workflow":"two_steps"}"#, 404, 404, 404),
    row("send_request", r#"{"version":1,"request":{"verb":"query","query":"agents"}}"#, 200, 200, 200),
    row("call_mcp", r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, 200, 200, 200),
    row("list_agents", "", 200, 200, 200),
    row("get_agent", "", 200, 200, 200),
    row("list_workflows", "", 200, 200, 200),
    row("get_workflow", "", 200, 200, 200),
    row("list_teams", "", 200, 200, 200),
    row("get_team", "", 404, 404, 404),
    row("list_runs", "", 200, 403, 200),
    row("get_run", "", 404, 403, 200),
    row("cancel_run", "", 404, 403, 409),
    row("resume_run", "", 404, 403, 409),
    row("approve_step", r#"{"step":"step_0"}"#, 404, 403, 409),
    row("reject_step", r#"{"step":"step_0"}"#, 404, 403, 409),
    row("signal_run", r#"{"signal":"cancel"}"#, 404, 403, 409),
    row("watch_run", "", 404, 403, 200),
    row("issue_events_token", "", 404, 403, 201),
    row("upload_artifact", "content", 201, 201, 201),
    row("download_artifact", "", 404, 403, 200),
];

/// One operation of the document.
struct Operation {
    id: String,
    /// The line of a request, with the ids of this test, and a query where it needs one.
    line: String,
    is_public: bool,
}

/// The operations of the document that the bridge serves.
fn operations(document: &Json, run: &str, hash: &str) -> Result<Vec<Operation>> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().context("paths")? {
        for (method, operation) in item.as_object().context("operations")? {
            let id = operation["operationId"].as_str().context("an id")?.to_owned();
            let path = path.replace("{agent_id}", ECHO).replace("{workflow_id}", WORKFLOW).replace("{team_id}", "none");
            let path = path.replace("{run_id}", run).replace("{hash}", hash);
            ensure!(!path.contains('{'), "{path}: give its parameter a value");
            let query = if id == "upload_artifact" { "?name=a.txt" } else { "" };
            let line = format!("{} {path}{query}", method.to_ascii_uppercase());
            operations.push(Operation { id, line, is_public: operation.get("security").is_none() });
        }
    }
    Ok(operations)
}

/// A pod that accepts the tokens of an issuer, too.
async fn start() -> Result<(HttpPod, TempDir)> {
    let (definitions, folder) = definitions()?;
    let issuers = issuer::config("acme")?;
    Ok((HttpPod::start_with(Some(definitions.dir()), |config| config.issuers = issuers).await?, folder))
}

#[tokio::test]
async fn every_route_refuses_the_callers_who_may_not_use_it() -> Result<()> {
    let (pod, _definitions) = start().await?;
    let started = pod.send(&format!("POST /v1/workflows/{WORKFLOW}/run"), Some(ADMIN_KEY), &[], INPUTS).await?;
    let run = started.json()?["id"].as_str().context("an id")?.to_owned();
    let upload = pod.send("POST /v1/artifacts?name=b.txt", Some(ADMIN_KEY), &[], "of acme").await?;
    let hash = upload.json()?["hash"].as_str().context("a hash")?.to_owned();
    let document = pod.send("GET /openapi.json", None, &[], "").await?.json()?;
    let operations = operations(&document, &run, &hash)?;
    for operation in &operations {
        if operation.is_public {
            let open = pod.send(&operation.line, None, &[], "").await?;
            ensure!(open.status == 200, "{}: {open:?}", operation.id);
            continue;
        }
        let found = ROWS.iter().find(|row| row.id == operation.id);
        let row = found.with_context(|| format!("{} has no row: add one, with who may use it", operation.id))?;
        refuses_unauthenticated(&pod, operation, row).await?;
        for (caller, credential, status) in [
            ("another tenant", format!("ApiKey {OTHER_KEY}"), row.other),
            ("no role", format!("ApiKey {GUEST_KEY}"), row.guest),
            ("no role, by a token", format!("Bearer {}", issuer::token("guest", "none")?), row.guest),
            ("the administrator", format!("ApiKey {ADMIN_KEY}"), row.admin),
            ("an administrator, by a token", format!("Bearer {}", issuer::token("root", "admin")?), row.admin),
        ] {
            let header = format!("Authorization: {credential}");
            let response = pod.send(&operation.line, None, &[&header], row.body).await?;
            assert_eq!(response.status, status, "{} for {caller}: {}", operation.id, response.text());
            let is_problem = response.header("content-type") == Some("application/problem+json");
            assert_eq!(is_problem, status >= 400, "{} for {caller}: {response:?}", operation.id);
        }
    }
    let ids: BTreeSet<&str> = operations.iter().filter(|one| !one.is_public).map(|one| one.id.as_str()).collect();
    ensure!(ROWS.iter().all(|row| ids.contains(row.id)), "a row names a route that is not there");
    Ok(())
}

async fn refuses_unauthenticated(pod: &HttpPod, operation: &Operation, row: &Row) -> Result<()> {
    let anonymous = pod.send(&operation.line, None, &[], row.body).await?;
    assert_eq!(anonymous.status, 401, "{}: {anonymous:?}", operation.id);
    for (name, credential) in invalid_credentials()? {
        let header = format!("Authorization: {credential}");
        let refused = pod.send(&operation.line, None, &[&header], row.body).await?;
        assert_eq!(refused.status, 401, "{} with {name}: {}", operation.id, refused.text());
        assert_eq!(refused.json()?["code"], "unauthenticated", "{} with {name}", operation.id);
    }
    Ok(())
}

#[tokio::test]
async fn each_token_is_refused_for_the_reason_that_it_has() -> Result<()> {
    let (pod, _definitions) = start().await?;
    let mut details = BTreeSet::new();
    for RefusedToken { name, reason, text } in refused_tokens()? {
        let metric = format!("identity_tokens_refused{{reason=\"{reason}\"}}");
        let refusals = || value_of(&pod.pod.metrics().render(), &metric).with_context(|| format!("no {metric}"));
        let before = refusals()?;
        let header = format!("Authorization: Bearer {text}");
        let refused = pod.send("GET /v1/agents", None, &[&header], "").await?;
        assert_eq!((refused.status, &refused.json()?["code"]), (401, &"unauthenticated".into()), "{name}");
        details.insert(refused.json()?["detail"].to_string());
        ensure!((refusals()? - before - 1.0).abs() < 1e-9, "{name} is not refused as {reason}");
    }
    ensure!(details.len() == 1, "a caller learns why a token is refused: {details:?}");
    Ok(())
}

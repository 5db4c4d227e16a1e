//! The subjects of NATS, as the service itself lists them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::{Client, HeaderMap};
use greenroom_integration_tests::http_pod::{ADMIN_KEY, GUEST_KEY, OTHER_KEY};
use greenroom_integration_tests::up_process::{SETTINGS, UpProcess};
use greenroom_protocol::Json;

use super::invalid_credentials;
use crate::issuer;

const ECHO: &str = "echo_agent";
const WORKFLOW: &str = "two_steps";
const TEAM: &str = "letters";
const WAIT_MAX: Duration = Duration::from_secs(60);
const INPUTS: &str = r#"{"inputs":{"text":"hello"}}"#;

/// The codes that an endpoint replies with: to a user of another tenant, to one without a role, and to the administrator of
/// the tenant of the run in the subject. An empty code is a success.
struct Row {
    endpoint: &'static str,
    body: &'static str,
    other: &'static str,
    guest: &'static str,
    admin: &'static str,
}

const fn row(
    endpoint: &'static str,
    body: &'static str,
    other: &'static str,
    guest: &'static str,
    admin: &'static str,
) -> Row {
    Row { endpoint, body, other, guest, admin }
}

const DENIED: &str = "policy_denied";

const ROWS: &[Row] = &[
    row("agents_execute", INPUTS, "", DENIED, ""),
    row("workflows_run", INPUTS, "", DENIED, ""),
    row("teams_execute", r#"{"team":"letters","workflow":"two_steps","inputs":{"text":"a"}}"#, "", DENIED, ""),
    row("runs_get", "", "unknown_run", DENIED, ""),
    row("runs_cancel", "", "unknown_run", DENIED, "run_not_active"),
    row("runs_resume", "", "unknown_run", DENIED, "run_not_active"),
    row("runs_signal", r#"{"signal":"cancel"}"#, "unknown_run", DENIED, "run_not_active"),
    row("runs_events", "", "unknown_run", DENIED, ""),
    row("catalogue_agents_list", "", "", "", ""),
    row("catalogue_workflows_list", "", "", "", ""),
    row("catalogue_teams_list", "", "", "", ""),
    row("catalogue_agents_get", "", "", "", ""),
    row("catalogue_workflows_get", "", "", "", ""),
    row("catalogue_teams_get", "", "", "", ""),
    row("requests", r#"{"version":1,"request":{"verb":"query","query":"runs","page":{"limit":1}}}"#, "", DENIED, ""),
    row("artifacts_upload", r#"{"name":"a.txt","media_type":"text/plain"}"#, "", "", ""),
];

async fn start() -> Result<UpProcess> {
    UpProcess::start(|terminal, definitions| {
        terminal.write_file(SETTINGS, issuer::settings("default"))?;
        definitions.write_echo_agent(ECHO)?;
        definitions.write_row_workflow(WORKFLOW, ECHO, 2)?;
        let team = format!("team_id: {TEAM}\nname: Letters\nagents: [{ECHO}]\nworkflows: [{WORKFLOW}]\n");
        definitions.write_team(TEAM, &team)
    })
    .await
}

/// The code of the reply to a message, or of its first frame; empty if it has none.
async fn code(client: &Client, subject: &str, credential: Option<&str>, body: &str) -> Result<String> {
    let mut headers = HeaderMap::new();
    if let Some(credential) = credential {
        headers.insert("Authorization", credential);
    }
    let request = async_nats::Request::new().headers(headers).payload(body.to_owned().into()).timeout(Some(WAIT_MAX));
    let message = client.send_request(subject.to_owned(), request).await;
    let message = message.with_context(|| format!("no reply to {subject}"))?;
    let code = message.headers.as_ref().and_then(|headers| headers.get("Greenroom-Code"));
    Ok(code.map(|code| code.as_str().to_owned()).unwrap_or_default())
}

/// The subject of an endpoint with the ids of this test.
fn subject(endpoint: &str, pattern: &str, run: &str) -> String {
    let id = match endpoint {
        "agents_execute" | "catalogue_agents_get" => ECHO,
        "workflows_run" | "catalogue_workflows_get" => WORKFLOW,
        "catalogue_teams_get" => TEAM,
        _ => run,
    };
    pattern.replace('*', id)
}

#[tokio::test]
async fn every_subject_refuses_the_callers_who_may_not_use_it() -> Result<()> {
    let up = start().await?;
    let started = up.post(&format!("/v1/workflows/{WORKFLOW}/run"), &[], INPUTS).await?;
    let run = started.json()?["id"].as_str().context("an id")?.to_owned();
    let client = async_nats::connect(up.nats.url()).await?;
    let info = client.request("$SRV.INFO.greenroom", "".into()).await?;
    let info: Json = serde_json::from_slice(&info.payload)?;
    let endpoints = info["endpoints"].as_array().context("endpoints")?;
    for endpoint in endpoints {
        let name = endpoint["name"].as_str().context("a name")?;
        let found = ROWS.iter().find(|row| row.endpoint == name);
        let row = found.with_context(|| format!("{name} has no row: add one, with who may use it"))?;
        let subject = subject(name, endpoint["subject"].as_str().context("a subject")?, &run);
        let anonymous = code(&client, &subject, None, row.body).await?;
        assert_eq!(anonymous, "unauthenticated", "{name} without a credential");
        for (kind, credential) in invalid_credentials()? {
            let refused = code(&client, &subject, Some(&credential), row.body).await?;
            assert_eq!(refused, "unauthenticated", "{name} with {kind}");
        }
        for (caller, credential, expected) in [
            ("another tenant", format!("ApiKey {OTHER_KEY}"), row.other),
            ("no role", format!("ApiKey {GUEST_KEY}"), row.guest),
            ("the administrator", format!("ApiKey {ADMIN_KEY}"), row.admin),
            ("an administrator, by a token", format!("Bearer {}", issuer::token("root", "admin")?), row.admin),
        ] {
            let found = code(&client, &subject, Some(&credential), row.body).await?;
            assert_eq!(found, expected, "{name} for {caller}");
        }
    }
    let is_served = |row: &Row| endpoints.iter().any(|endpoint| endpoint["name"] == row.endpoint);
    ensure!(ROWS.iter().all(is_served), "a row names an endpoint that is not there");
    Ok(())
}

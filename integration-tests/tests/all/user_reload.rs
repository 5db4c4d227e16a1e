//! Users of the settings file of a running host: roles, permissions and revocations of a changed file act at the next
//! hop, of new requests and of runs that wait; a broken file changes nothing.

use std::fs;

use anyhow::{Context, Result};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, CliHarness, RunningCommand};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Json;
use serde_json::json;

const APPLIED: &str = "reload activated";
const REJECTED: &str = "reload rejected, keeping the active version";
const ADMIN: &str = "[[users]]\nname = \"admin\"\nroles = [\"admin\"]\n";
/// A workflow that waits for an approval before it calls an agent.
const WAITING: &str = "\
workflow_id: waiting_flow
name: Waits
steps:
  - id: wait
    approval: { prompt: \"Go on?\" }
  - id: work
    agent: echo_agent
    depends_on: [wait]
    inputs: { text: done }
    outputs: [text]
";

/// Another user with these members.
fn clara(members: &str) -> String {
    format!("{ADMIN}[[users]]\nname = \"clara\"\n{members}\n")
}

/// Starts a host with a settings file of its own, which the other commands do not read.
async fn start_host(users: &str) -> Result<(CliHarness, RunningCommand)> {
    let terminal = CliHarness::open()?;
    let folder = terminal.folder().join("definitions");
    let definitions = DefinitionsDir::new(&folder)?;
    definitions.write_echo_agent("echo_agent")?;
    definitions.write_workflow("waiting_flow", WAITING)?;
    terminal.write_file("pod.toml", users)?;
    let up = terminal.start(&["up", "--definitions", "definitions", "--config", "pod.toml"])?;
    up.wait_for_output("greenroom is up").await?;
    Ok((terminal, up))
}

/// Replaces the settings file of the host, and waits for so many of these lines of its log.
async fn change(terminal: &CliHarness, up: &RunningCommand, users: &str, line: &str, count: usize) -> Result<()> {
    let beside = terminal.write_file("pod.toml.new", users)?;
    fs::rename(beside, terminal.folder().join("pod.toml"))?;
    let is_printed = || async { (up.err().matches(line).count() >= count).then_some(()) };
    wait_until(line, COMMAND_WAIT_MAX, is_printed).await.with_context(|| up.err())
}

/// The error code of a call of the agent by this user; null for a success.
async fn call_as(terminal: &CliHarness, user: &str) -> Result<Json> {
    let output = terminal.run(&["run", "agent", "echo_agent", "--input", "text=hello", "--user", user]).await?;
    Ok(output.json()?["error"]["code"].clone())
}

/// The messages of the audit about users, the newest first.
async fn messages(terminal: &CliHarness) -> Result<Vec<String>> {
    let audit = terminal.run(&["audit", "list", "--limit", "200"]).await?.expect_success()?;
    let events = audit["records"].as_array().into_iter().flatten().map(|record| &record["event"]);
    let events = events.filter(|event| event["subject"] == "users").filter_map(|event| event["message"].as_str());
    Ok(events.map(str::to_owned).collect())
}

#[tokio::test]
async fn users_of_a_changed_file_act_at_the_next_request_and_a_broken_file_changes_nothing() -> Result<()> {
    let (terminal, up) = start_host(ADMIN).await?;
    assert_eq!(call_as(&terminal, "clara").await?, "unauthenticated");
    change(&terminal, &up, &clara(""), APPLIED, 1).await?;
    assert_eq!(call_as(&terminal, "clara").await?, "policy_denied");
    let operator = "roles = [\"agent_operator\"]\npermissions = { allowed_categories = [\"business_ops\"] }";
    change(&terminal, &up, &clara(operator), APPLIED, 2).await?;
    assert_eq!(call_as(&terminal, "clara").await?, Json::Null);

    // Half a file, a misspelt table and an unknown member: each would take users or rights away, or give others.
    let valid = clara(operator);
    let half = &valid[..ADMIN.len() + 12];
    let unknown_member = clara("role = [\"admin\"]");
    for (count, broken) in (1..).zip([half, "[[user]]\nname = \"eve\"\n", &unknown_member]) {
        change(&terminal, &up, broken, REJECTED, count).await?;
        assert_eq!(call_as(&terminal, "clara").await?, Json::Null, "the last valid users are active");
        assert_eq!(call_as(&terminal, "eve").await?, "unauthenticated");
    }
    fs::remove_file(terminal.folder().join("pod.toml"))?;
    let is_rejected = || async { (up.err().matches(REJECTED).count() >= 4).then_some(()) };
    wait_until("a removed file is rejected", COMMAND_WAIT_MAX, is_rejected).await?;
    assert_eq!(call_as(&terminal, "guest").await?, "unauthenticated", "the built-in users do not return");

    change(&terminal, &up, ADMIN, APPLIED, 3).await?;
    assert_eq!(call_as(&terminal, "clara").await?, "unauthenticated");
    let messages = messages(&terminal).await?;
    assert!(messages[0].contains("1 users and 0 tenants"), "{messages:#?}");
    assert!(
        messages.iter().any(|message| message.contains("rejected") && message.contains("pod.toml:")),
        "{messages:#?}"
    );
    assert_eq!(terminal.run(&["audit", "verify"]).await?.expect_success()?["valid"], true);
    Ok(())
}

#[tokio::test]
async fn a_run_that_waits_is_refused_at_its_next_hop_once_its_owner_is_revoked_or_moved() -> Result<()> {
    let admin_role = "roles = [\"admin\"]";
    for (name, members, end) in [
        ("removed", None, "denied"),
        ("moved", Some(format!("{admin_role}\ntenant = \"acme\"")), "denied"),
        ("without a role", Some(String::new()), "denied"),
        ("with a limit", Some(format!("{admin_role}\nrate_limit = 7")), "success"),
    ] {
        let (terminal, up) = start_host(&clara(admin_role)).await?;
        let words = ["run", "workflow", "waiting_flow", "--detach", "--user", "clara"];
        let started = terminal.run(&words).await?.expect_success()?;
        let run = started["id"].as_str().with_context(|| format!("{started:#} has no id"))?;
        let show = async || terminal.run(&["runs", "show", run]).await.ok()?.json().ok();
        let waits = || async { (show().await?["run"]["status"] == "waiting_approval").then_some(()) };
        wait_until("the run waits", COMMAND_WAIT_MAX, waits).await?;
        let users = members.map_or_else(|| ADMIN.to_owned(), |members| clara(&members));
        change(&terminal, &up, &users, APPLIED, 1).await?;
        terminal.run(&["runs", "approve", run, "wait"]).await?.expect_success()?;
        let is_ended = |report: &Json| report["run"]["status"] == "denied" || report["run"]["status"] == "success";
        let ended = || async { show().await.filter(is_ended) };
        let report = wait_until("the run ends", COMMAND_WAIT_MAX, ended).await?;
        assert_eq!(report["run"]["status"], end, "{name}: {report:#}");
        assert_eq!((&report["run"]["owner"], &report["run"]["tenant"]), (&json!("clara"), &json!("default")), "{name}");
        up.terminate()?;
        assert_eq!(up.wait().await?.code, 0);
    }
    Ok(())
}

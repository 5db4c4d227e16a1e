//! Writes to the context of a team's run that a pod receives which does not own the run. The shipped policy lets only
//! members of the team write, so the pods have a policy of their own.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use greenroom_client::Team;
use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::ContextChange;
use greenroom_protocol::{ErrorCode, Json, Reply, RunId, StepId};
use serde_json::json;

use super::shared_database::{PodProcess, SharedDatabase};
use super::{ensure_success, replying, sign};

/// Starts a team whose run awaits an approval.
fn start_team(pod: &PodProcess) -> Result<RunId> {
    let client = pod.client()?;
    let team = Team::new("Letters").agents(["draft_agent", "send_agent"]).shared_context(json!({ "tone": "kind" }));
    let call = team.workflow(&client, "signed_letter").input("text", "hello").detach();
    let started = pod.block_on(call.reply())?;
    let run = RunId::new(&started.id)?;
    pod.wait_status(&run, RunStatus::WaitingApproval)?;
    Ok(run)
}

fn write(pod: &PodProcess, run: &RunId, expect: Option<u64>, change: ContextChange) -> Result<Reply> {
    let client = pod.client()?;
    let written = client.run(run).write_context("notes", expect, change);
    Ok(pod.block_on(written.send())?)
}

fn notes(pod: &PodProcess, run: &RunId) -> Result<Option<Json>> {
    let client = pod.client()?;
    let mut read = pod.block_on(client.run(run).read_context([]).send())?;
    ensure_success(&read)?;
    Ok(read.outputs.remove("notes"))
}

fn is_change(entry: &Entry) -> bool {
    matches!(entry, Entry::ContextChanged { .. })
}

#[test]
fn every_pod_writes_the_context_of_a_run_of_another_one() -> Result<()> {
    let database = SharedDatabase::create("contexts", [replying("draft"), replying("send")])?;
    let policy = database.write_open_policy()?;
    let start = |name| database.start_with(name, |config| config.policy = Some(policy.clone().into()));
    let (a, b) = (start("pod_a")?, start("pod_b")?);
    let run = start_team(&a)?;
    let first = write(&b, &run, Some(0), ContextChange::Put(json!(["b"])))?;
    ensure_success(&first)?;
    let version = first.outputs["version"].as_u64().context("a write has a version")?;
    ensure_success(&write(&a, &run, None, ContextChange::Append(json!("a")))?)?;
    let stale = write(&b, &run, Some(version), ContextChange::Put(json!("late")))?;
    assert_eq!(stale.error.map(|cause| cause.code), Some(ErrorCode::VersionConflict));
    for pod in [&a, &b] {
        assert_eq!(notes(pod, &run)?, Some(json!(["b", "a"])));
    }
    assert_eq!((b.count_entries(&run, is_change)?, b.count_resumptions(&run)?), (2, 0), "its owner has recorded them");
    database.wait_count("SELECT count(*) FROM inbox", 0)?;
    ensure_success(&sign(&b, &run)?)?;
    ensure_success(&b.wait_ended(&run)?)?;
    let ended = write(&b, &run, None, ContextChange::Put(json!("late")))?;
    ensure!(ended.error.is_some_and(|cause| cause.code == ErrorCode::UnknownRun));
    Ok(())
}

#[test]
fn a_write_wakes_a_parked_run_and_is_recorded_by_its_new_owner() -> Result<()> {
    let database = SharedDatabase::create("contexts_park", [replying("draft"), replying("send")])?;
    let policy = database.write_open_policy()?;
    let start = |name| {
        database.start_with(name, |config| {
            config.policy = Some(policy.clone().into());
            config.park_delay = Duration::from_secs(3);
        })
    };
    let (a, mut b) = (start("pod_a")?, start("pod_b")?);
    b.recover();
    let run = start_team(&a)?;
    database.wait_count("SELECT count(*) FROM trees WHERE parked AND holder IS NULL", 1)?;
    ensure_success(&write(&a, &run, Some(0), ContextChange::Put(json!("woken")))?)?;
    assert_eq!(b.count_resumptions(&run)?, 1, "the pod that resumes runs has claimed it");
    assert_eq!(notes(&a, &run)?, Some(json!("woken")));
    let approved = a.block_on(a.client()?.approve(run.clone(), StepId::new("sign")?))?;
    ensure_success(&approved)?;
    ensure_success(&b.wait_ended(&run)?)?;
    assert_eq!(database.calls(), 2, "no call was repeated");
    Ok(())
}

#[test]
fn the_shipped_policy_denies_the_write_of_a_user_on_every_pod() -> Result<()> {
    let database = SharedDatabase::create("contexts_denied", [replying("draft"), replying("send")])?;
    let (a, b) = (database.start("pod_a")?, database.start("pod_b")?);
    let run = start_team(&a)?;
    for pod in [&a, &b] {
        let denied = write(pod, &run, Some(0), ContextChange::Put(json!("x")))?;
        assert_eq!(denied.error.map(|cause| cause.code), Some(ErrorCode::PolicyDenied));
        assert_eq!(notes(pod, &run)?, None);
    }
    database.wait_count("SELECT count(*) FROM inbox", 0)
}

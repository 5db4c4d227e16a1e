//! Pods that share one PostgreSQL database and nothing else: what a pod leaves in any way is continued by another one, a
//! run is shown and signalled by every pod, and a pod without its lease has no effect.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt as _;
use greenroom_client::CallParams;
use greenroom_integration_tests::shifted_clock::ShiftedClock;
use greenroom_integration_tests::test_pod::text;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::event::{EventNumber, RunEventKind, RunStatus};
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::{Page, RunListFilter};
use greenroom_protocol::{ErrorCode, Reply, RunId, Status, StepId, WorkflowId};
use greenroom_registry::cluster::LeaseStatus;
use greenroom_runtimes::models::scripted::{ScriptedCall, ScriptedReply};
use serde_json::json;
use tokio::time::timeout;

use self::shared_database::{PodProcess, SharedDatabase, WAIT_MAX};

mod agent_memory;
mod contexts;
mod events;
mod lost_servers;
mod resumed_workers;
mod scaling;
mod server_restart;
mod shared_database;
mod wrong_clocks;

/// A model that replies to every call.
fn replying(model: &str) -> ScriptedCall {
    let reply = ScriptedReply::Json(json!({ "text": model }));
    ScriptedCall { model: Some(model.to_owned()), reply, ..ScriptedCall::default() }
}

/// A model that never replies to its first calls.
fn silent(model: &str, times: u32) -> ScriptedCall {
    ScriptedCall { times: Some(times), reply: ScriptedReply::Silence, ..replying(model) }
}

fn ensure_success(reply: &Reply) -> Result<()> {
    ensure!(reply.status == Status::Success, "{reply:?}");
    Ok(())
}

/// The value of a metric of a pod.
fn metric(pod: &PodProcess, name: &str) -> f64 {
    let page = pod.pod().metrics().render();
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or_default()
}

/// Waits until a metric of a pod is more than 0.
async fn wait_counted(pod: &PodProcess, name: &str) -> Result<()> {
    wait_until(name, WAIT_MAX, || async { (metric(pod, name) > 0.0).then_some(()) }).await
}

/// Approves the step that signs a letter, by a request to this pod.
fn sign(pod: &PodProcess, run: &RunId) -> Result<Reply> {
    let client = pod.client()?;
    Ok(pod.block_on(client.approve(run.clone(), StepId::new("sign")?))?)
}

#[test]
fn the_runs_of_a_pod_that_dies_are_resumed_by_the_others_and_no_recorded_call_is_repeated() -> Result<()> {
    let calls = [replying("draft"), silent("send", 4), replying("send")];
    let database = SharedDatabase::create("dies", calls)?;
    let a = database.start("pod_a")?;
    let (mut b, mut c) = (database.start("pod_b")?, database.start("pod_c")?);
    b.recover();
    c.recover();
    let runs = (0..4).map(|_| a.start_detached("letter")).collect::<Result<Vec<_>>>()?;
    database.wait_calls(8)?;
    a.crash();
    for run in &runs {
        ensure_success(&b.wait_ended(run)?)?;
        assert_eq!(b.count_resumptions(run)?, 1, "one of them has resumed it");
    }
    assert_eq!(database.calls(), 12, "the calls in flight were repeated, and no recorded one");
    assert!(b.block_on(b.pod().stores().audit.verify())?.is_valid());
    Ok(())
}

#[test]
fn the_runs_of_a_pod_that_ends_in_order_are_resumed_without_its_death() -> Result<()> {
    let calls = [replying("draft"), silent("send", 1), replying("send")];
    let database = SharedDatabase::create("ends", calls)?;
    let (a, mut b) = (database.start("pod_a")?, database.start("pod_b")?);
    b.recover();
    let run = a.start_detached("letter")?;
    database.wait_calls(2)?;
    a.shutdown();
    ensure_success(&b.wait_ended(&run)?)?;
    assert_eq!(database.calls(), 3);
    assert_eq!(b.pod().stores().cluster.watch().borrow().pods_declared_dead, 0);
    assert!(b.block_on(b.pod().stores().audit.verify())?.is_valid());
    Ok(())
}

#[test]
fn every_pod_shows_and_approves_the_run_of_another_one() -> Result<()> {
    let database = SharedDatabase::create("shows", [replying("draft"), replying("send")])?;
    let (a, b) = (database.start("pod_a")?, database.start("pod_b")?);
    let run = a.start_detached("signed_letter")?;
    b.wait_status(&run, RunStatus::WaitingApproval)?;
    let client = b.client()?;
    let report = b.block_on(client.run_record(run.clone()))?;
    assert_eq!(report.outputs["run"]["status"], "waiting_approval", "{report:?}");
    let wrong = b.block_on(client.approve(run.clone(), StepId::new("send")?))?;
    assert_eq!(wrong.error.map(|cause| cause.code), Some(ErrorCode::UnknownStep));

    let signed = sign(&b, &run)?;
    assert_eq!((signed.status, &signed.error), (Status::Success, &None));
    let events =
        b.block_on(async { timeout(WAIT_MAX, client.watch(&run, EventNumber::START).try_collect::<Vec<_>>()).await })??;
    let last = events.last().context("a run has events")?;
    let RunEventKind::RunEnded { reply } = &last.kind else { panic!("{last:?}") };
    ensure_success(reply)?;
    let resolved = a.count_entries(&run, |entry| matches!(entry, Entry::ApprovalResolved { .. }))?;
    assert_eq!((resolved, a.count_resumptions(&run)?), (1, 0), "its owner has recorded the signal");
    assert_eq!(sign(&b, &run)?.error.map(|cause| cause.code), Some(ErrorCode::RunNotActive));
    Ok(())
}

/// The run of a fresh database, once it awaits its approval.
async fn find_waiting_run(pod: &PodProcess) -> Option<RunId> {
    let listed = pod.client().ok()?.runs(RunListFilter::default(), Page::default()).await.ok()?;
    let run = listed.outputs.get("runs")?.as_array()?.first()?;
    let is_waiting = run["status"] == "waiting_approval";
    is_waiting.then(|| run["run_id"].as_str()?.parse().ok())?
}

#[test]
fn a_caller_that_waits_gets_its_reply_when_another_pod_has_signalled_the_run() -> Result<()> {
    let database = SharedDatabase::create("waits", [replying("draft"), replying("send")])?;
    let (a, b) = (database.start("pod_a")?, database.start("pod_b")?);
    let (caller, other) = (a.client()?, b.client()?);
    let (letter, params) =
        (WorkflowId::new("signed_letter")?, CallParams { inputs: text("hello"), ..CallParams::default() });
    let (reply, ()) = a.block_on(async {
        let cancel = async {
            let run = wait_until("the run awaits an approval", WAIT_MAX, || find_waiting_run(&b)).await?;
            let cancelled = other.cancel(run).await?;
            ensure!(cancelled.error.is_none(), "{cancelled:?}");
            anyhow::Ok(())
        };
        let call = async { anyhow::Ok(timeout(WAIT_MAX, caller.run_workflow(letter, params)).await??) };
        tokio::try_join!(call, cancel)
    })?;
    assert_eq!(reply.status, Status::Cancelled, "{reply:?}");
    Ok(())
}

#[test]
fn a_parked_run_is_woken_by_a_signal_on_whichever_pod_has_capacity() -> Result<()> {
    let database = SharedDatabase::create("parks", [replying("draft"), replying("send")])?;
    let start = |name| database.start_with(name, |config| config.park_delay = Duration::from_secs(3));
    let (a, mut b) = (start("pod_a")?, start("pod_b")?);
    b.recover();
    let run = a.start_detached("signed_letter")?;
    database.wait_count("SELECT count(*) FROM trees WHERE parked AND holder IS NULL", 1)?;
    a.wait_status(&run, RunStatus::WaitingApproval)?;
    assert_eq!(b.count_resumptions(&run)?, 0, "it is not due");
    let signed = sign(&a, &run)?;
    assert_eq!((signed.status, &signed.error), (Status::Success, &None));
    ensure_success(&a.wait_ended(&run)?)?;
    assert_eq!((b.count_resumptions(&run)?, database.calls()), (1, 2), "no call was repeated");
    database.wait_count("SELECT count(*) FROM inbox", 0)
}

#[test]
fn a_run_whose_pods_died_too_often_is_dead_until_a_user_has_any_pod_continue_it() -> Result<()> {
    let database = SharedDatabase::create("gives_up", [replying("draft"), silent("send", 1), replying("send")])?;
    let (a, mut b) = (database.start("pod_a")?, database.start("pod_b")?);
    let run = a.start_detached("letter")?;
    database.wait_calls(2)?;
    database.execute("UPDATE trees SET attempts = 5")?;
    a.crash();
    b.recover();
    b.wait_status(&run, RunStatus::Dead)?;
    database.wait_count("SELECT count(*) FROM trees WHERE holder IS NULL AND wake_at > 253402000000000000", 1)?;
    let c = database.start("pod_c")?;
    let client = c.client()?;
    let filter = RunListFilter { status: Some(RunStatus::Dead), workflow: None };
    let listed = c.block_on(client.runs(filter, Page::default()))?;
    let row = &listed.outputs["runs"][0];
    assert_eq!((&row["run_id"], &row["attempts"], &row["failures"]), (&json!(run), &json!(6), &json!(0)), "{listed:?}");
    assert!(row["dead_since"].is_string() && row["reason"].is_string(), "{listed:?}");
    let refused = c.block_on(client.resume(run.clone()))?;
    assert_eq!(refused.error.map(|cause| cause.code), Some(ErrorCode::RunNotActive));

    ensure_success(&c.block_on(client.retry_dead(run.clone()))?)?;
    ensure_success(&c.wait_ended(&run)?)?;
    assert_eq!(database.calls(), 3, "the recorded call was not repeated");
    assert_eq!(c.count_entries(&run, |entry| matches!(entry, Entry::RunReopened { .. }))?, 1);
    let refused = c.block_on(client.retry_dead(run))?;
    assert_eq!(refused.error.map(|cause| cause.code), Some(ErrorCode::RunNotActive), "it has ended");
    assert!(c.block_on(c.pod().stores().audit.verify())?.is_valid());
    Ok(())
}

#[test]
fn a_detached_run_for_which_its_pod_has_no_capacity_is_executed_by_another_one() -> Result<()> {
    let database = SharedDatabase::create("leaves", [replying("draft"), replying("send")])?;
    let a = database.start_with("pod_a", |config| config.admission.max_in_flight = 1)?;
    let mut b = database.start("pod_b")?;
    let run = a.start_detached("letter")?;
    database.wait_count("SELECT count(*) FROM trees WHERE holder IS NULL AND open_runs > 0", 1)?;
    assert_eq!(database.calls(), 0);
    b.recover();
    ensure_success(&a.wait_ended(&run)?)?;
    assert_eq!(database.calls(), 2);
    Ok(())
}

#[test]
fn a_pod_that_was_declared_dead_writes_nothing_and_starts_again_as_another_one() -> Result<()> {
    let database = SharedDatabase::create("dead", [replying("draft")])?;
    let a = database.start("pod_a")?;
    database.execute("UPDATE pods SET dead = true")?;
    for _ in 0..2 {
        let cause = a.run_agent("draft_agent")?.error.context("an error")?;
        assert_eq!((cause.code, cause.code.is_retryable()), (ErrorCode::LeaseLost, true), "{cause:?}");
        a.block_on(async { timeout(WAIT_MAX, a.pod().stores().cluster.wait_dead()).await })?;
    }
    assert_eq!(database.calls(), 0);
    database.wait_count("SELECT count(*) FROM audit_open", 0)?;
    a.abandon();
    let next = database.start("pod_a")?;
    ensure_success(&next.run_agent("draft_agent")?)?;
    database.wait_count("SELECT count(*) FROM pods", 2)?;
    assert!(next.block_on(next.pod().stores().audit.verify())?.is_valid());
    Ok(())
}

#[test]
fn a_pod_whose_lease_has_lapsed_begins_nothing_until_it_is_renewed() -> Result<()> {
    let database = SharedDatabase::create("lapses", [replying("draft"), replying("send")])?;
    let a = database.start("pod_a")?;
    let paused = database.pause_replies();
    let run = a.start_detached("letter")?;
    database.wait_calls(1)?;
    let prevented = database.prevent_renewals()?;
    let has_lapsed = || async { (a.pod().stores().cluster.lease_status() == LeaseStatus::Lapsed).then_some(()) };
    a.block_on(wait_until("the lease has lapsed", WAIT_MAX, has_lapsed))?;
    let cause = a.run_agent("send_agent")?.error.context("an error")?;
    assert_eq!((cause.code, cause.code.is_retryable()), (ErrorCode::LeaseLost, true), "{cause:?}");
    // The reply to the first call is recorded, and nothing follows from it yet.
    drop(paused);
    database.wait_count("SELECT count(*) FROM reservations", 0)?;
    assert_eq!(database.calls(), 1);
    prevented.end()?;
    ensure_success(&a.wait_ended(&run)?)?;
    assert_eq!((database.calls(), a.count_resumptions(&run)?), (2, 0), "it is still the owner");
    a.block_on(wait_counted(&a, "pod_lease_lapses"))
}

#[test]
fn a_reply_for_a_tree_that_its_pod_owns_no_more_is_fenced_and_counted() -> Result<()> {
    let database = SharedDatabase::create("fenced", [replying("draft"), replying("send")])?;
    let (a, mut b) = (database.start("pod_a")?, database.start("pod_b")?);
    let paused = database.pause_replies();
    let run = a.start_detached("letter")?;
    database.wait_calls(1)?;
    assert_eq!(metric(&a, "fenced_writes"), 0.0);
    // As after a release whose acknowledgement was lost.
    database.execute("UPDATE trees SET holder = NULL")?;
    drop(paused);
    a.block_on(wait_counted(&a, "fenced_writes"))?;
    assert_eq!(a.count_entries(&run, |entry| matches!(entry, Entry::StepDone { .. }))?, 0, "it has written nothing");
    b.recover();
    ensure_success(&b.wait_ended(&run)?)?;
    assert_eq!((database.calls(), b.count_resumptions(&run)?), (3, 1), "the next owner has repeated the call");
    assert_eq!(metric(&b, "fenced_writes"), 0.0);
    Ok(())
}

#[test]
fn a_pod_whose_machine_was_suspended_begins_nothing_until_its_lease_is_renewed() -> Result<()> {
    let database = SharedDatabase::create("suspends", [replying("draft"), replying("send")])?;
    let clock = Arc::new(ShiftedClock::default());
    let a = database.start_with_clock("pod_a", clock.clone())?;
    let paused = database.pause_replies();
    let run = a.start_detached("letter")?;
    database.wait_calls(1)?;
    let prevented = database.prevent_renewals()?;
    // Longer than a lease. Nothing in the process notices it but the clock.
    clock.put_forward(Duration::from_secs(10));
    let cause = a.run_agent("send_agent")?.error.context("an error")?;
    assert_eq!(cause.code, ErrorCode::LeaseLost, "{cause:?}");
    drop(paused);
    database.wait_count("SELECT count(*) FROM journal WHERE entry::text LIKE '%step_done%'", 1)?;
    assert_eq!(database.calls(), 1, "the reply to the first call is recorded, and nothing follows from it yet");
    prevented.end()?;
    ensure_success(&a.wait_ended(&run)?)?;
    assert_eq!((database.calls(), a.count_resumptions(&run)?), (2, 0), "it is still the owner");
    a.block_on(wait_counted(&a, "pod_lease_lapses"))
}

#[test]
fn a_clock_that_is_put_forward_repeats_no_call_in_flight() -> Result<()> {
    let slow = ScriptedCall { delay_ms: 3_000, ..replying("draft") };
    let database = SharedDatabase::create("shifts", [slow, replying("send")])?;
    let clock = Arc::new(ShiftedClock::default());
    let mut a = database.start_with_clock("pod_a", clock.clone())?;
    a.recover();
    let run = a.start_detached("letter")?;
    database.wait_calls(1)?;
    // Longer than the lease of a tree. The pod looks for trees that are due several times until the reply.
    clock.put_forward(Duration::from_secs(10));
    ensure_success(&a.wait_ended(&run)?)?;
    assert_eq!((database.calls(), a.count_resumptions(&run)?), (2, 0), "it has not claimed its own tree again");
    Ok(())
}

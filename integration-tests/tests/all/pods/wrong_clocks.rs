//! Pods whose wall clocks are wrong, one early and one late: what they write has the time of the database, and what they
//! wait for is over when that has come.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::shifted_clock::ShiftedClock;
use greenroom_integration_tests::test_pod::text;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::{Clock, Deadline, ErrorCode, RunId, Timestamp};
use greenroom_registry::audit::AuditScope;
use greenroom_registry::journal::{JournalRecord, Seq};
use greenroom_runtimes::models::scripted::ScriptedCall;

use super::shared_database::{PodProcess, SharedDatabase, WAIT_MAX};
use super::{ensure_success, replying, silent};

/// How wrong the clocks are, in seconds.
const ERROR: i64 = 40;
/// The clock of a pod differs by less from that of the database: its renewal takes no longer.
const ACCURACY: Duration = Duration::from_secs(3);

/// A pod on a machine whose wall clock is wrong by this many seconds.
fn start(database: &SharedDatabase, name: &str, error: i64) -> Result<(PodProcess, Arc<ShiftedClock>)> {
    let clock = Arc::new(ShiftedClock::default());
    clock.set_wall_error(error);
    Ok((database.start_with_clock(name, clock.clone())?, clock))
}

fn journal(pod: &PodProcess, run: &RunId) -> Result<Vec<JournalRecord>> {
    Ok(pod.block_on(pod.pod().stores().journal.read(run, Seq(0), 1_000))?)
}

fn is_between(time: Timestamp, first: Timestamp, last: Timestamp) -> bool {
    time >= first.saturating_sub(ACCURACY) && time <= last.saturating_add(ACCURACY)
}

#[test]
fn a_run_of_two_pods_with_wrong_clocks_has_the_times_and_deadlines_of_the_database() -> Result<()> {
    let calls = [replying("draft"), silent("send", 1), replying("send")];
    let database = SharedDatabase::create("wrong_clocks", calls)?;
    let (a, _) = start(&database, "pod_a", ERROR)?;
    let (mut b, _) = start(&database, "pod_b", -ERROR)?;
    b.recover();
    let before = database.time()?;
    let run = a.start_detached("letter")?;
    let started = database.time()?;
    database.wait_calls(2)?;
    a.crash();
    ensure_success(&b.wait_ended(&run)?)?;
    let after = database.time()?;
    let records = journal(&b, &run)?;
    for record in &records {
        assert!(is_between(record.at, before, after), "{before} to {after}: {record:?}");
    }
    assert!(records.is_sorted_by_key(|record| record.at), "{records:?}");
    let deadlines: Vec<Timestamp> = records
        .iter()
        .filter_map(|record| match &record.entry {
            Entry::RunStarted(started) => Some(started.deadline.0),
            Entry::RunResumed { deadline, .. } => Some(deadline.0),
            _ => None,
        })
        .collect();
    let [first, resumed] = deadlines[..] else { panic!("{records:?}") };
    assert!(is_between(resumed, first, first.saturating_add(after.saturating_duration_since(before))), "{deadlines:?}");
    // The same workflow has the same time on the other pod.
    let other = b.start_detached("letter")?;
    let other_started = database.time()?;
    ensure_success(&b.wait_ended(&other)?)?;
    let records = journal(&b, &other)?;
    let Some(Entry::RunStarted(second)) = records.first().map(|record| &record.entry) else { panic!("{records:?}") };
    let expected = first.saturating_add(other_started.saturating_duration_since(started));
    assert!(is_between(second.deadline.0, expected, expected), "{expected}, {:?}", second.deadline);
    Ok(())
}

#[test]
fn a_pod_with_a_wrong_clock_writes_its_audit_and_accepts_deadlines_in_time() -> Result<()> {
    let slow = ScriptedCall { delay_ms: 60_000, ..replying("send") };
    let database = SharedDatabase::create("wrong_deadlines", [replying("draft"), slow])?;
    for (name, error) in [("pod_a", ERROR), ("pod_b", -ERROR)] {
        let (pod, clock) = start(&database, name, error)?;
        let before = database.time()?;
        ensure_success(&pod.run_agent("draft_agent")?)?;
        // A caller on the machine computes its deadline by the wrong clock.
        let deadline = Deadline::after(clock.now(), Duration::from_secs(5));
        let client = pod.client()?;
        let call = client.agent("send_agent").inputs(&text("hello")).deadline(deadline);
        let reply = pod.block_on(call.send())?;
        let cause = reply.error.context("the model is slower than the deadline")?;
        assert_eq!(cause.code, ErrorCode::TimedOut, "{cause:?}");
        let after = database.time()?;
        let waited = after.saturating_duration_since(before);
        assert!(waited >= Duration::from_secs(4) && waited < Duration::from_secs(35), "{name}: {waited:?}");
        let page = pod.block_on(pod.pod().stores().audit.read(&AuditScope::All, None, 100))?;
        let own = page.records.iter().filter(|record| record.at >= before.saturating_sub(ACCURACY)).count();
        assert!(own >= 4, "two entries are open and closed: {page:?}");
        assert!(page.records.iter().all(|record| record.at <= after.saturating_add(ACCURACY)), "{page:?}");
    }
    Ok(())
}

#[test]
fn the_difference_of_a_wrong_clock_is_in_the_metrics() -> Result<()> {
    let database = SharedDatabase::create("wrong_metrics", [replying("draft")])?;
    for (name, error) in [("pod_a", ERROR), ("pod_b", -ERROR)] {
        let (pod, _) = start(&database, name, error)?;
        let is_shown = || async {
            let metrics = pod.pod().metrics().render();
            let line = metrics.lines().find_map(|line| line.strip_prefix("pod_clock_offset_seconds "))?;
            let seconds: f64 = line.parse().ok()?;
            ((seconds - error as f64).abs() < ACCURACY.as_secs_f64()).then_some(())
        };
        pod.block_on(wait_until("the metric has the difference", WAIT_MAX, is_shown))?;
        ensure!(pod.pod().metrics().render().contains("pod_lease_lapsed 0"), "it has its lease");
    }
    Ok(())
}

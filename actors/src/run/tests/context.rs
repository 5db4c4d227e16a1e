//! The shared context of a team's run: its journal, its view, its owner.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::{ContextChange, ContextRead, ContextWrite};
use greenroom_protocol::{ContextKey, ErrorCode, Json, Reply, Request, RunId, Status, Timestamp};
use greenroom_registry::context::{ContextData, ContextValue, ContextView, Snapshot, Version, ViewError};
use greenroom_registry::journal::{JournalRecord, Seq};
use greenroom_registry::runs::Fence;
use greenroom_registry::{StoreError, Stores};
use serde_json::json;

use super::harness::{Harness, run_id, start_team, stores, until, values};
use crate::team::tests::{at_check, definitions, stuck_at_check};

pub(super) fn key(name: &str) -> ContextKey {
    ContextKey::new(name).unwrap()
}

pub(super) async fn write(harness: &Harness, run: &RunId, name: &str, change: ContextChange) -> Reply {
    let write = ContextWrite { run: run.clone(), key: key(name), expect: None, change, ttl_ms: None };
    harness.request(Request::ContextWrite(write)).await
}

pub(super) async fn read(harness: &Harness, run: &RunId) -> Reply {
    harness.request(Request::ContextRead(ContextRead { run: run.clone(), keys: Vec::new() })).await
}

pub(super) async fn journal(harness: &Harness, run: &RunId) -> Vec<JournalRecord> {
    harness.stores.journal.read(run, Seq(0), 1_000).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_change_is_an_entry_whose_number_is_its_version() {
    let harness = Harness::new(definitions(), stuck_at_check()).await;
    let run = at_check(&harness).await;
    for item in ["a", "b"] {
        let written = write(&harness, &run, "notes", ContextChange::Append(json!(item))).await;
        let last = journal(&harness, &run).await.pop().unwrap();
        assert_eq!(written.outputs["version"], json!(last.seq.0));
        let change = ContextChange::Append(json!(item));
        let (key, until, id, request) = (key("notes"), None, None, None);
        assert_eq!(last.entry, Entry::ContextChanged { key, change, until, id, request });
    }
    assert_eq!(read(&harness, &run).await.outputs["notes"], json!(["a", "b"]));
}

#[tokio::test(start_paused = true)]
async fn what_a_member_provides_is_recorded_with_the_end_of_its_step() {
    let harness = Harness::new(definitions(), stuck_at_check()).await;
    let run = at_check(&harness).await;
    let records = journal(&harness, &run).await;
    let changed = records.iter().position(|record| matches!(record.entry, Entry::ContextChanged { .. })).unwrap();
    let Entry::ContextChanged { key: of, change, .. } = &records[changed].entry else { unreachable!() };
    assert_eq!((of, change), (&key("facts"), &ContextChange::Put(json!("Q4 2024 Acme"))));
    assert!(matches!(&records[changed + 1].entry, Entry::StepDone { key, .. } if key.step.as_str() == "find"));
    assert_eq!(records[changed].at, records[changed + 1].at);
    let requests = harness.pipeline.requests.lock().unwrap().clone();
    assert!(requests.iter().any(|line| line.starts_with("context_write workflow:w/")), "it is permitted by itself");
}

#[tokio::test(start_paused = true)]
async fn a_view_that_was_lost_is_made_anew_when_it_is_read() {
    let harness = Harness::new(definitions(), stuck_at_check()).await;
    let run = at_check(&harness).await;
    write(&harness, &run, "notes", ContextChange::Put(json!("kept"))).await;
    let fence = harness.stores.runs.get(&run).await.unwrap().unwrap().fence;
    harness.stores.context.remove(&run, fence).await.unwrap();
    let expected = json!({"quarter": "Q4 2024", "company": "Acme", "facts": "Q4 2024 Acme", "notes": "kept"});
    assert_eq!(read(&harness, &run).await.outputs, values(expected));
    // A change after a loss makes it anew too.
    harness.stores.context.remove(&run, fence).await.unwrap();
    harness.stores.context.claim(&run, fence, &ContextData::default(), harness.clock.now()).await.unwrap();
    write(&harness, &run, "notes", ContextChange::Put(json!("new"))).await;
    let snapshot = harness.stores.context.read(&run, &[], Version(0), harness.clock.now()).await.unwrap();
    assert_eq!((snapshot.values.len(), &snapshot.values[&key("notes")].value), (4, &json!("new")));
}

/// A view whose store is away.
struct UnavailableView;

fn unavailable<T>() -> Result<T, ViewError> {
    Err(StoreError::Timeout.into())
}

#[async_trait]
impl ContextView for UnavailableView {
    async fn claim(&self, _: &RunId, _: Fence, _: &ContextData, _: Timestamp) -> Result<(), ViewError> {
        unavailable()
    }
    async fn apply(
        &self,
        _: &RunId,
        _: Fence,
        _: Version,
        _: &[(ContextKey, ContextValue)],
        _: Timestamp,
    ) -> Result<(), ViewError> {
        unavailable()
    }
    async fn read(&self, _: &RunId, _: &[ContextKey], _: Version, _: Timestamp) -> Result<Snapshot, ViewError> {
        unavailable()
    }
    async fn remove(&self, _: &RunId, _: Fence) -> Result<(), ViewError> {
        unavailable()
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_without_a_view_replies_from_its_own_values_and_does_not_fail() {
    let (stores, clock) = stores();
    let stores = Stores { context: Arc::new(UnavailableView), ..stores };
    let harness = Harness::open("pod_1", vec![definitions()], stuck_at_check(), stores, clock).await;
    let run = at_check(&harness).await;
    let written = write(&harness, &run, "notes", ContextChange::Put(json!("new"))).await;
    assert_eq!(written.status, Status::Success, "{:?}", written.error);
    let expected = json!({"quarter": "Q4 2024", "company": "Acme", "facts": "Q4 2024 Acme", "notes": "new"});
    assert_eq!(read(&harness, &run).await.outputs, values(expected));
    let some = ContextRead { run: run.clone(), keys: vec![key("notes"), key("none")] };
    let some = harness.request(Request::ContextRead(some)).await;
    assert_eq!(some.outputs, values(json!({"notes": "new"})));
    let script = super::harness::immediate(|_| Ok(values(json!({"out": "x"}))));
    let (stores, clock) = self::stores();
    let stores = Stores { context: Arc::new(UnavailableView), ..stores };
    let harness = Harness::open("pod_1", vec![definitions()], script, stores, clock).await;
    let reply = harness.request(start_team("crew", "w", json!({}), json!({}))).await;
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
}

#[tokio::test(start_paused = true)]
async fn a_resumed_run_has_every_change_although_the_view_was_lost() {
    let harness = Harness::new(definitions(), stuck_at_check()).await;
    let run = at_check(&harness).await;
    let item = |number: u32| ContextChange::Append(json!(number));
    for number in 0..3 {
        write(&harness, &run, "list", item(number)).await;
    }
    let fence = harness.stores.runs.get(&run).await.unwrap().unwrap().fence;
    harness.stores.context.remove(&run, fence).await.unwrap();
    let harness = harness.crash(vec![definitions()], stuck_at_check()).await;
    assert_eq!(harness.recover().await.resumed, 1);
    until("the second step is active again", || !harness.calls().is_empty()).await;
    assert_eq!(read(&harness, &run).await.outputs["list"], json!([0, 1, 2]));
    assert_eq!(write(&harness, &run, "list", item(3)).await.status, Status::Success);
    assert_eq!(read(&harness, &run).await.outputs["list"], json!([0, 1, 2, 3]));
}

#[tokio::test(start_paused = true)]
async fn a_stale_owner_writes_nothing_and_stops() {
    let harness = Harness::new(definitions(), stuck_at_check()).await;
    let run = at_check(&harness).await;
    assert_eq!(write(&harness, &run, "notes", ContextChange::Put(json!("mine"))).await.status, Status::Success);
    // Another pod claims the run.
    let (stores, now) = (&harness.stores, harness.clock.now());
    let record = stores.runs.get(&run).await.unwrap().unwrap();
    stores.core.release_tree(&run, record.fence, now).await;
    stores.core.claim_tree(&run, &record.pod, crate::run::LEASE, now).await.unwrap().unwrap();
    let rejected = write(&harness, &run, "notes", ContextChange::Put(json!("late"))).await;
    assert_eq!(rejected.error.map(|cause| cause.code), Some(ErrorCode::LeaseLost));
    assert_eq!(stores.runs.get(&run).await.unwrap().unwrap().seq, record.seq);
    until("the stale owner has stopped", || harness.runs.hosted() == 0).await;
    assert_eq!(read(&harness, &run).await.error.map(|cause| cause.code), Some(ErrorCode::UnknownRun));
}

#[tokio::test(start_paused = true)]
async fn the_view_ends_with_its_run() {
    let script = super::harness::immediate(|_| Ok(values(json!({"out": "x"}))));
    let harness = Harness::new(definitions(), script).await;
    let reply = harness.request(start_team("crew", "w", json!({}), json!({}))).await;
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    let (run, stores) = (run_id(&reply), harness.stores.clone());
    until("the run has left", || harness.runs.hosted() == 0).await;
    assert!(stores.context.read(&run, &[], Version(0), harness.clock.now()).await.is_err());
    assert_eq!(read(&harness, &run).await.error.map(|cause| cause.code), Some(ErrorCode::UnknownRun));
}

/// More teams than any store keeps contexts of in memory, all in use at the same time.
#[tokio::test(start_paused = true)]
async fn the_contexts_of_three_hundred_teams_in_use_at_once_are_each_their_own() {
    const TEAMS: usize = 300;
    let harness = Harness::new(definitions(), stuck_at_check()).await;
    let Request::StartTeam(start) = start_team("crew", "w", json!({}), json!({})) else { panic!("a team") };
    let start = Request::StartTeam(greenroom_protocol::request::StartTeam { detach: true, ..start });
    let mut runs = Vec::new();
    for _ in 0..TEAMS {
        runs.push(run_id(&harness.request(start.clone()).await));
    }
    until("every second step is active", || harness.calls().len() == 2 * TEAMS).await;
    for round in 0..3 {
        let writes = runs.iter().map(|run| write(&harness, run, "list", ContextChange::Append(json!(round))));
        let written = futures::future::join_all(writes).await;
        assert!(written.iter().all(|reply| reply.status == Status::Success), "{round}");
    }
    for run in &runs {
        let read: Json = read(&harness, run).await.outputs["list"].clone();
        assert_eq!(read, json!([0, 1, 2]), "{run}");
    }
}

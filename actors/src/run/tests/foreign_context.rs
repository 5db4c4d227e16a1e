//! Reads and writes of a context by a pod that does not own its run.

use std::sync::Arc;

use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::{ContextChange, ContextWrite};
use greenroom_protocol::{ErrorCode, Reply, Request, RunId, Status};
use serde_json::json;

use super::context::{journal, key, read, write};
use super::harness::{Harness, SharedCluster, stores, until};
use crate::team::tests::{at_check, definitions, stuck_at_check};

/// The pod that owns the runs of a test, and another one that shares its stores.
async fn two_pods() -> (Arc<SharedCluster>, Harness, Harness) {
    let (stores, clock) = stores();
    let (cluster, stores) = SharedCluster::over(stores);
    let open = async |pod: &str| {
        Harness::open(pod, vec![definitions()], stuck_at_check(), stores.clone(), clock.clone()).await
    };
    let (owner, other) = (open("pod_1").await, open("pod_2").await);
    (cluster, owner, other)
}

pub(super) async fn until_sent(cluster: &SharedCluster) {
    until("a message is sent", || !cluster.messages().is_empty()).await;
}

/// Delivers the only message to the owner of its run, twice, as ticks may.
pub(super) async fn deliver(cluster: &SharedCluster, owner: &Harness) {
    let messages = cluster.messages();
    let [message] = &messages[..] else { panic!("{messages:?}") };
    for _ in 0..2 {
        owner.runs.deliver(message).await.unwrap();
    }
    assert_eq!(cluster.messages(), []);
}

async fn put(harness: &Harness, run: &RunId, expect: u64, value: &str) -> Reply {
    let change = ContextChange::Put(json!(value));
    let write = ContextWrite { run: run.clone(), key: key("notes"), expect: Some(expect), change, ttl_ms: None };
    harness.request(Request::ContextWrite(write)).await
}

pub(super) fn code(reply: Reply) -> Option<ErrorCode> {
    reply.error.map(|cause| cause.code)
}

#[tokio::test(start_paused = true)]
async fn any_pod_reads_the_context_of_a_run() {
    let (_cluster, owner, other) = two_pods().await;
    let run = at_check(&owner).await;
    assert_eq!(write(&owner, &run, "notes", ContextChange::Put(json!("mine"))).await.status, Status::Success);
    let found = read(&other, &run).await;
    assert_eq!((&found.outputs["notes"], &found.outputs["facts"]), (&json!("mine"), &json!("Q4 2024 Acme")));
    assert_eq!(found.outputs, read(&owner, &run).await.outputs);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_another_pod_receives_is_recorded_once_by_the_owner() {
    let (cluster, owner, other) = two_pods().await;
    let run = at_check(&owner).await;
    for (round, items) in [json!(["a"]), json!(["a", "a"])].into_iter().enumerate() {
        let delivering = async {
            until_sent(&cluster).await;
            deliver(&cluster, &owner).await;
        };
        let append = write(&other, &run, "notes", ContextChange::Append(json!("a")));
        let (written, ()) = tokio::join!(append, delivering);
        assert_eq!((written.status, &written.error), (Status::Success, &None), "{round}");
        let last = journal(&owner, &run).await.pop().unwrap();
        assert!(matches!(last.entry, Entry::ContextChanged { id: Some(_), .. }), "{last:?}");
        assert_eq!(written.outputs["version"], json!(last.seq.0));
        for pod in [&owner, &other] {
            assert_eq!(read(pod, &run).await.outputs["notes"], items);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_version_was_replaced_is_rejected_before_and_after_it_is_sent() {
    let (cluster, owner, other) = two_pods().await;
    let run = at_check(&owner).await;
    let first = put(&owner, &run, 0, "first").await.outputs["version"].as_u64().unwrap();
    assert_eq!(code(put(&other, &run, 0, "late").await), Some(ErrorCode::VersionConflict));
    assert_eq!(cluster.messages(), [], "the owner has nothing to decide");
    let overtaking = async {
        until_sent(&cluster).await;
        assert_eq!(put(&owner, &run, first, "second").await.status, Status::Success);
        deliver(&cluster, &owner).await;
    };
    let (rejected, ()) = tokio::join!(put(&other, &run, first, "late"), overtaking);
    assert_eq!(code(rejected), Some(ErrorCode::VersionConflict));
    assert_eq!(read(&other, &run).await.outputs["notes"], json!("second"));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_no_owner_decides_by_its_deadline_is_not_recorded_later() {
    let (cluster, owner, other) = two_pods().await;
    let run = at_check(&owner).await;
    let undecided = write(&other, &run, "notes", ContextChange::Put(json!("late"))).await;
    assert_eq!(code(undecided), Some(ErrorCode::OutcomeUnknown));
    let before = journal(&owner, &run).await.len();
    deliver(&cluster, &owner).await;
    assert_eq!(journal(&owner, &run).await.len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_write_to_a_run_that_does_not_exist_is_not_sent() {
    let (cluster, _owner, other) = two_pods().await;
    let none = RunId::new("run_none").unwrap();
    assert_eq!(code(write(&other, &none, "notes", ContextChange::Put(json!(1))).await), Some(ErrorCode::UnknownRun));
    assert_eq!(cluster.messages(), []);
}

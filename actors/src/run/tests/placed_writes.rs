//! What the handler of an agent writes into the context of its team while it is executed on another pod than its run.

use std::sync::Arc;

use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::{ContextChange, ContextWrite, Invoke, StartTeam};
use greenroom_protocol::{ErrorCode, EventId, Reply, Request, RunId, Status};
use greenroom_registry::runs::Fence;
use greenroom_rego::Grant;
use serde_json::json;

use super::context::{journal, key, read};
use super::foreign_context::{code, deliver, until_sent};
use super::harness::{Gate, Harness, Script, SharedCluster, run_id, start_team, stores, until, values};
use crate::run::{LEASE, handler_write_id};
use crate::team::tests::definitions;

/// The owner of a run whose member is called, and the pod on which it places the call.
struct Pods {
    cluster: Arc<SharedCluster>,
    owner: Harness,
    other: Harness,
    run: RunId,
    call: (Grant, Invoke),
    /// Ends the call.
    gate: Gate,
}

/// The member ends once the gate is open; the step after it never ends.
fn stopped_at_find(gate: Gate) -> Script {
    Arc::new(move |call| {
        let gate = gate.clone();
        Box::pin(async move {
            match call.key.ends_with("/check") {
                true => std::future::pending::<()>().await,
                false => gate.pass().await,
            }
            Ok(values(json!({"out": call.inputs["text"]})))
        })
    })
}

async fn at_find() -> Pods {
    let (stores, clock) = stores();
    let (cluster, stores) = SharedCluster::over(stores);
    let gate = Gate::closed();
    let open = async |pod: &str| {
        let script = stopped_at_find(gate.clone());
        Harness::open(pod, vec![definitions()], script, stores.clone(), clock.clone()).await
    };
    let (owner, other) = (open("pod_1").await, open("pod_3").await);
    let Request::StartTeam(start) = start_team("crew", "w", json!({}), json!({})) else { panic!("a team") };
    let reply = owner.request(Request::StartTeam(StartTeam { detach: true, ..start })).await;
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    // A detached run has no owner yet.
    tokio::time::advance(LEASE * 2).await;
    assert_eq!(owner.runs.recover_due().await.unwrap().resumed, 1);
    until("the member is called", || owner.calls().len() == 1).await;
    let call = owner.pipeline.invocations.lock().unwrap()[0].clone();
    Pods { cluster, owner, other, run: run_id(&reply), call, gate }
}

async fn fence(harness: &Harness, run: &RunId) -> Fence {
    harness.stores.runs.get(run).await.unwrap().unwrap().fence
}

fn facts(run: &RunId, value: &str) -> ContextWrite {
    let change = ContextChange::Put(json!(value));
    ContextWrite { run: run.clone(), key: key("facts"), expect: None, change, ttl_ms: None }
}

/// The handler writes on this pod, where the owner with this fence has placed its call.
async fn write_placed(pod: &Harness, call: &(Grant, Invoke), fence: Fence, write: ContextWrite) -> Reply {
    let grant = pod.receive_placed(call, fence).await;
    pod.write_as_handler(&grant, &call.1, write).await
}

#[tokio::test(start_paused = true)]
async fn the_owner_records_each_write_of_a_placed_handler_and_its_first_output_does_not_replace_the_last_one() {
    let Pods { cluster, owner, other, run, call, gate } = at_find().await;
    let fence = fence(&owner, &run).await;
    let request = EventId::for_request(&handler_write_id(call.1.key.as_ref().unwrap(), &key("facts")));
    for value in ["draft", "by the handler"] {
        let delivering = async {
            until_sent(&cluster).await;
            deliver(&cluster, &owner).await;
        };
        let (written, ()) = tokio::join!(write_placed(&other, &call, fence, facts(&run, value)), delivering);
        assert_eq!((written.status, &written.error), (Status::Success, &None), "{value}");
        let last = journal(&owner, &run).await.pop().unwrap();
        let Entry::ContextChanged { change, id: Some(_), request: found, .. } = &last.entry else { panic!("{last:?}") };
        assert_eq!((change, found.as_ref()), (&ContextChange::Put(json!(value)), Some(&request)));
        assert_eq!(written.outputs["version"], json!(last.seq.0));
        assert_eq!(read(&other, &run).await.outputs["facts"], json!(value));
    }
    gate.open();
    until("the next step is active", || owner.calls().len() == 2).await;
    assert_eq!(read(&owner, &run).await.outputs["facts"], json!("by the handler"));
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_owner_was_replaced_sends_no_write() {
    let Pods { cluster, owner, other, run, call, .. } = at_find().await;
    let Fence(present) = fence(&owner, &run).await;
    let placed_earlier = write_placed(&other, &call, Fence(present - 1), facts(&run, "late")).await;
    assert_eq!(code(placed_earlier), Some(ErrorCode::LeaseLost));
    // The pod has been the owner itself, and executes what it has not placed.
    let own = other.write_as_handler(&call.0, &call.1, facts(&run, "late")).await;
    assert_eq!(code(own), Some(ErrorCode::LeaseLost));
    assert_eq!(cluster.messages(), []);
}

#[tokio::test(start_paused = true)]
async fn the_next_owner_rejects_a_write_of_a_call_that_the_one_before_it_has_placed() {
    let Pods { cluster, owner, other, run, call, .. } = at_find().await;
    let earlier = fence(&owner, &run).await;
    let replacing = async {
        until_sent(&cluster).await;
        let next = owner.crash(vec![definitions()], stopped_at_find(Gate::closed())).await;
        assert_eq!(next.runs.recover_due().await.unwrap().resumed, 1);
        deliver(&cluster, &next).await;
        next
    };
    let (rejected, next) = tokio::join!(write_placed(&other, &call, earlier, facts(&run, "late")), replacing);
    assert_eq!(code(rejected), Some(ErrorCode::LeaseLost));
    assert!(fence(&next, &run).await > earlier);
    // The call may have been placed on the pod that is the owner now.
    assert_eq!(code(write_placed(&next, &call, earlier, facts(&run, "late")).await), Some(ErrorCode::LeaseLost));
    let records = journal(&next, &run).await;
    assert!(!records.iter().any(|record| matches!(record.entry, Entry::ContextChanged { .. })), "{records:?}");
}

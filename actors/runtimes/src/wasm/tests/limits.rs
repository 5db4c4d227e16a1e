//! Components that trap, spin and allocate: each ends with a cause that names the reason, and no other one notices.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use greenroom_protocol::ErrorCode;
use serde_json::json;
use tokio::task::JoinSet;

use super::super::test_components::Behavior;
use super::super::{FUEL_PER_SECOND, MEMORY_MIB_DEFAULT, MEMORY_MIB_MAX};
use super::{Fixture, RecordingHost, agent};

/// Bound of what must happen soon.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_component_that_traps_ends_as_crashed() {
    let cause = Fixture::new(&[Behavior::Trap]).failure(json!({ "text": "secret" })).await;
    assert_eq!(cause.code, ErrorCode::AgentCrashed);
    assert!(cause.message.contains("unreachable"), "{cause}");
    assert!(!cause.message.contains("secret"), "{cause}");
}

#[tokio::test]
async fn a_component_that_spins_is_stopped_by_its_fuel() {
    for behavior in [Behavior::Spin, Behavior::FillMemory] {
        let fixture = Fixture::new(&[behavior]);
        let agent = agent("0.wasm", json!({ "memory": 64 }));
        let (inputs, host) = (Default::default(), RecordingHost::default());
        let spinning = fixture.executor.execute(&agent, (&inputs, &inputs), &host);
        let cause = tokio::time::timeout(SOON, spinning).await.unwrap().unwrap_err();
        assert_eq!((cause.code, &cause.details["limit"]), (ErrorCode::HandlerFailed, &json!("fuel")), "{cause}");
    }
}

#[tokio::test]
async fn a_component_that_spins_yields_to_its_neighbours_and_is_dropped_at_a_timeout() {
    // One thread, which the first component would use forever.
    let fixture = Fixture::with_settings(&[Behavior::Spin, Behavior::FillMemory, Behavior::Echo], |settings| {
        super::WasmSettings { fuel_per_second: u64::MAX, ..settings }
    });
    let (host, inputs) = (RecordingHost::default(), json!({ "text": "neighbour" }));
    let agent = agent("1.wasm", json!({ "memory": 64 }));
    let nothing = Default::default();
    let mut spinning = Box::pin(fixture.execute("0.wasm", json!({}), &host));
    let mut filling = Box::pin(fixture.executor.execute(&agent, (&nothing, &nothing), &host));
    let neighbours = async {
        for _ in 0..20 {
            assert_eq!(fixture.execute("2.wasm", inputs.clone(), &host).await.unwrap(), inputs);
        }
    };
    let result = tokio::time::timeout(SOON, async {
        tokio::select! {
            result = &mut spinning => panic!("it has ended: {result:?}"),
            result = &mut filling => panic!("it has ended: {result:?}"),
            () = neighbours => {}
        }
    });
    result.await.unwrap();
    // Both are in the middle of their code. To drop them releases their memory for the next executions.
    drop((spinning, filling));
    assert_eq!(fixture.execute("2.wasm", inputs.clone(), &host).await.unwrap(), inputs);
}

#[tokio::test]
async fn a_component_is_denied_more_memory_than_its_definition_allows() {
    let fixture = Fixture::new(&[Behavior::GrowAndTrap, Behavior::GrowAndEcho]);
    let cause = fixture.failure(json!({})).await;
    assert_eq!((cause.code, &cause.details["limit"]), (ErrorCode::HandlerFailed, &json!("memory")), "{cause}");
    assert!(cause.message.contains("16 MiB"), "{cause}");
    let inputs = json!({ "text": "it continues with what it has" });
    assert_eq!(fixture.execute("1.wasm", inputs.clone(), &RecordingHost::default()).await.unwrap(), inputs);
    // Inputs that do not fit are the same limit.
    let cause = fixture.failure(json!({ "text": "x".repeat(20 << 20) })).await;
    assert_eq!((cause.code, &cause.details["limit"]), (ErrorCode::HandlerFailed, &json!("memory")), "{cause}");
}

#[tokio::test]
async fn an_execution_waits_for_the_memory_of_others_for_a_bounded_time() {
    let fixture = Arc::new(Fixture::with_settings(&[Behavior::Echo], |settings| super::WasmSettings {
        memory_mib: 32,
        ..settings
    }));
    let inputs = json!({ "text": "a" });
    let executions = (0..64).map(|_| {
        let (fixture, inputs) = (Arc::clone(&fixture), inputs.clone());
        async move { fixture.execute("0.wasm", inputs, &RecordingHost::default()).await.unwrap() }
    });
    let all = tokio::time::timeout(SOON, join_all(executions)).await.unwrap();
    assert!(all.iter().all(|outputs| *outputs == inputs), "two at a time");
    let agent = agent("0.wasm", json!({ "memory": 33 }));
    let (nothing, host) = (Default::default(), RecordingHost::default());
    let cause = fixture.executor.execute(&agent, (&nothing, &nothing), &host).await.unwrap_err();
    assert_eq!(cause.code, ErrorCode::RuntimeUnavailable);
    assert!(cause.message.contains("`runtimes.wasm.memory_mib`"), "{cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_are_executed_in_parallel() {
    let fixture = Arc::new(Fixture::new(&[Behavior::CallAgent("other"), Behavior::Trap]));
    let mut executions = JoinSet::new();
    for number in 0..200 {
        let fixture = Arc::clone(&fixture);
        executions.spawn(async move {
            let (inputs, host) = (json!({ "number": number }), RecordingHost::default());
            if number % 3 == 0 {
                let cause = fixture.execute("1.wasm", inputs, &host).await.unwrap_err();
                return cause.code == ErrorCode::AgentCrashed;
            }
            let outputs = fixture.execute("0.wasm", inputs.clone(), &host).await.unwrap();
            outputs["inputs"] == inputs
        });
    }
    let all = tokio::time::timeout(SOON, executions.join_all()).await.unwrap();
    assert!(all.len() == 200 && all.into_iter().all(|is_expected| is_expected));
}

#[test]
fn limits_are_those_of_the_definition() {
    let fixture =
        Fixture::with_settings(&[], |settings| super::WasmSettings { fuel_per_second: FUEL_PER_SECOND, ..settings });
    let limits = |more| fixture.executor.limits(&agent("a.wasm", more));
    assert_eq!(limits(json!({ "memory": null })).memory_mib, MEMORY_MIB_DEFAULT);
    assert_eq!(limits(json!({ "memory": 7, "timeout": 30 })).memory_mib, 7);
    assert_eq!(limits(json!({ "memory": 7, "timeout": 30 })).fuel, 30 * FUEL_PER_SECOND);
    assert_eq!(limits(json!({ "memory": u64::MAX })).memory_mib, MEMORY_MIB_MAX);
}

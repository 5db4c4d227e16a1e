//! What a component calls, and what it sees of a call that fails.

use greenroom_actors::execution::host_calls::{HostCall, LogLevel};
use greenroom_protocol::{Cause, ErrorCode};
use serde_json::json;

use super::super::test_components::Behavior;
use super::{Fixture, RecordingHost, values};

#[tokio::test]
async fn each_function_of_the_host_is_called_with_the_values_of_the_component() {
    let inputs = json!({ "text": "hello" });
    let text = inputs.to_string();
    let cases = [
        (
            Behavior::CallAgent("other_agent"),
            HostCall::CallAgent { agent: "other_agent".to_owned(), inputs: values(inputs.clone()) },
            json!({ "agent": "other_agent", "inputs": inputs.clone() }),
        ),
        (Behavior::ReadContext, HostCall::ReadContext { key: None }, json!({ "key": null })),
        (
            Behavior::WriteContext("findings"),
            HostCall::WriteContext { key: "findings".to_owned(), value: inputs.clone() },
            inputs.clone(),
        ),
        (
            Behavior::StoreArtifact,
            HostCall::StoreArtifact {
                name: "stored.json".to_owned(),
                media_type: "application/json".to_owned(),
                bytes: text.clone().into_bytes(),
            },
            json!({ "file": { "name": "stored.json", "media_type": "application/json", "bytes": text.len() } }),
        ),
    ];
    let behaviors: Vec<_> = cases.iter().map(|(behavior, _, _)| *behavior).collect();
    let fixture = Fixture::new(&behaviors);
    for (number, (behavior, call, outputs)) in cases.into_iter().enumerate() {
        let host = RecordingHost::default();
        let found = fixture.execute(&format!("{number}.wasm"), inputs.clone(), &host).await;
        assert_eq!(found.unwrap(), outputs, "{behavior:?}");
        let number = u32::from(matches!(call, HostCall::CallAgent { .. }));
        assert_eq!(host.calls(), [(call, number)], "{behavior:?}");
    }
}

#[tokio::test]
async fn an_artifact_is_opened_by_the_value_of_an_input() {
    let fixture = Fixture::new(&[Behavior::OpenArtifact]);
    let (artifact, host) = (json!({ "$artifact": { "name": "a.json" } }), RecordingHost::default());
    let outputs = fixture.execute("0.wasm", json!({ "file": artifact.clone() }), &host).await.unwrap();
    assert_eq!(outputs, json!({ "content": artifact.clone() }));
    assert_eq!(host.calls(), [(HostCall::OpenArtifact { artifact }, 0)]);
}

#[tokio::test]
async fn a_denied_call_is_a_result_that_the_component_can_pass_on() {
    let denial = Cause::new(ErrorCode::PolicyDenied, "the policy denies it").with_details(json!({ "reasons": ["r"] }));
    let behaviors = [
        Behavior::CallAgent("other_agent"),
        Behavior::ReadContext,
        Behavior::WriteContext("findings"),
        Behavior::OpenArtifact,
        Behavior::StoreArtifact,
    ];
    let fixture = Fixture::new(&behaviors);
    for (number, behavior) in behaviors.iter().enumerate() {
        let host = RecordingHost::with_denial(denial.clone());
        let cause = fixture.execute(&format!("{number}.wasm"), json!({ "file": "a" }), &host).await.unwrap_err();
        assert_eq!(cause, denial, "{behavior:?}");
    }
}

#[tokio::test]
async fn lines_of_the_log_are_bounded_and_never_fail_the_component() {
    let fixture = Fixture::new(&[Behavior::Log(1_500)]);
    let inputs = json!({ "text": "progress" });
    let host = RecordingHost::default();
    assert_eq!(fixture.execute("0.wasm", inputs.clone(), &host).await.unwrap(), inputs);
    let calls = host.calls();
    assert_eq!(calls.len(), 1_000);
    assert_eq!(calls[0].0, HostCall::Log { level: LogLevel::Info, message: inputs.to_string() });
    let denied = RecordingHost::with_denial(Cause::new(ErrorCode::Internal, "the log is full"));
    assert_eq!(fixture.execute("0.wasm", inputs.clone(), &denied).await.unwrap(), inputs);
}

#[tokio::test]
async fn a_component_that_fails_names_a_code_and_a_message() {
    let fixture = Fixture::new(&[Behavior::Fail("invalid_data", "line 3 has no date")]);
    let cause = fixture.failure(json!({})).await;
    assert_eq!(cause, Cause::new(ErrorCode::InvalidData, "line 3 has no date"));
    let fixture = Fixture::new(&[Behavior::Fail("policy_denied", "pretended")]);
    assert_eq!(fixture.failure(json!({})).await.code, ErrorCode::HandlerFailed);
}

/// The functions of an interface or world in the text of `greenroom.wit`.
fn functions(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("///"));
    lines.filter_map(|line| line.trim_start_matches("export ").split_once(": func(")).map(|(name, _)| name).collect()
}

#[test]
fn the_frame_of_the_tests_imports_every_function_of_the_world() {
    let world = include_str!("../greenroom.wit");
    let frame = include_str!("../test_components/frame.wat");
    let functions = functions(world);
    assert_eq!(
        functions,
        ["call-agent", "read-context", "write-context", "open-artifact", "store-artifact", "log", "execute"]
    );
    for name in functions {
        assert!(frame.contains(&format!("(export \"{name}\" (func")), "{name}");
    }
    assert!(world.starts_with("package greenroom:agent@1.0.0;") && frame.contains("greenroom:agent/host@1.0.0"));
}

//! The files of components: missing ones, ones that are no component of the world, and changed ones.

use std::time::Duration;

use greenroom_protocol::ErrorCode;
use serde_json::json;

use super::super::test_components::{Behavior, component_from_text};
use super::{Fixture, RecordingHost};

/// More than a file is taken to be what it was.
const LATER: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_missing_component_is_named_and_taken_once_it_is_there() {
    let fixture = Fixture::new(&[]);
    let cause = fixture.failure(json!({})).await;
    assert_eq!(cause.code, ErrorCode::RuntimeUnavailable);
    assert_eq!(cause.message, "the folder of components of this pod has no file `0.wasm`");
    fixture.write("0.wasm", Behavior::Echo.component().unwrap());
    let inputs = json!({ "text": "a" });
    assert_eq!(fixture.execute("0.wasm", inputs.clone(), &RecordingHost::default()).await.unwrap(), inputs);
}

#[tokio::test]
async fn a_name_that_points_out_of_the_folder_is_refused() {
    let fixture = Fixture::new(&[Behavior::Echo]);
    for name in ["../0.wasm", "/etc/passwd", "a/../0.wasm", "", "0.wat"] {
        let cause = fixture.execute(name, json!({}), &RecordingHost::default()).await.unwrap_err();
        assert_eq!(cause.code, ErrorCode::RuntimeUnavailable, "{name}");
        assert!(cause.message.contains("no name of a component"), "{cause}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_component_of_the_world_is_described() {
    let record = "(type $f' (record (field \"code\" string) (field \"message\" string)))";
    let cases = [
        (b"garbage".to_vec(), "cannot be executed"),
        (Vec::new(), "cannot be executed"),
        (Behavior::Echo.component().unwrap().into_iter().take(500).collect(), "cannot be executed"),
        (component_from_text("(module)").unwrap(), "cannot be executed"),
        (component_from_text("(component)").unwrap(), "it does not export the function `execute`, but nothing"),
        (
            component_from_text(&format!("(component {record} (export \"failure\" (type $f')))")).unwrap(),
            "it does not export the function `execute`, but `failure`",
        ),
        (
            component_from_text(
                "(component (core module $m (func (export \"execute\"))) (core instance $i (instantiate $m)) \
                 (func $execute (canon lift (core func $i \"execute\"))) (export \"execute\" (func $execute)))",
            )
            .unwrap(),
            "its export `execute` is not `func(inputs: string, context: string) -> result<string, failure>`",
        ),
    ];
    for (bytes, problem) in cases {
        let fixture = Fixture::new(&[]);
        fixture.write("0.wasm", bytes);
        let cause = fixture.failure(json!({})).await;
        assert_eq!(cause.code, ErrorCode::RuntimeUnavailable);
        assert!(cause.message.starts_with("the component `0.wasm` cannot be executed: "), "{cause}");
        assert!(cause.message.contains(problem), "{cause}");
        assert!(cause.message.len() < 1_000, "{}", cause.message.len());
    }
}

#[tokio::test]
async fn an_import_that_the_host_does_not_have_is_named() {
    let text = Behavior::Echo.text().replace("greenroom:agent/host@1.0.0", "greenroom:agent/host@2.0.0");
    let fixture = Fixture::new(&[]);
    fixture.write("0.wasm", component_from_text(&text).unwrap());
    let cause = fixture.failure(json!({})).await;
    assert_eq!(cause.code, ErrorCode::RuntimeUnavailable);
    assert!(cause.message.contains("greenroom:agent/host@2.0.0"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_replaces_the_component() {
    let fixture = Fixture::new(&[Behavior::Return(r#"{"version":1}"#)]);
    let host = RecordingHost::default();
    assert_eq!(fixture.execute("0.wasm", json!({}), &host).await.unwrap(), json!({ "version": 1 }));
    fixture.write("0.wasm", Behavior::Return(r#"{"version":2}"#).component().unwrap());
    tokio::time::advance(LATER).await;
    assert_eq!(fixture.execute("0.wasm", json!({}), &host).await.unwrap(), json!({ "version": 2 }));
    // One that is invalid is refused, and does not stop the pod; the next valid one is taken.
    fixture.write("0.wasm", b"garbage");
    tokio::time::advance(LATER).await;
    assert_eq!(fixture.failure(json!({})).await.code, ErrorCode::RuntimeUnavailable);
    fixture.write("0.wasm", Behavior::Return(r#"{"version":3}"#).component().unwrap());
    tokio::time::advance(LATER).await;
    assert_eq!(fixture.execute("0.wasm", json!({}), &host).await.unwrap(), json!({ "version": 3 }));
}

#[tokio::test]
async fn what_a_start_has_compiled_is_in_the_cache_of_the_next_one() {
    let cache = tempfile::tempdir().unwrap();
    for hits in [0, 1] {
        let cache = Some(cache.path().to_owned());
        let fixture = Fixture::with_settings(&[Behavior::Echo], |settings| super::WasmSettings { cache, ..settings });
        let inputs = json!({ "text": "a" });
        assert_eq!(fixture.execute("0.wasm", inputs.clone(), &RecordingHost::default()).await.unwrap(), inputs);
        assert_eq!(fixture.executor.components.cache_hits(), hits);
    }
}

#[tokio::test]
async fn files_with_one_content_are_compiled_once() {
    let cache = tempfile::tempdir().unwrap();
    let cache = Some(cache.path().to_owned());
    let fixture =
        Fixture::with_settings(&[Behavior::Echo, Behavior::Echo], |settings| super::WasmSettings { cache, ..settings });
    for name in ["0.wasm", "1.wasm"] {
        fixture.execute(name, json!({}), &RecordingHost::default()).await.unwrap();
    }
    assert_eq!(fixture.executor.components.cache_hits(), 0, "the second one is in memory");
}

//! Components in a folder, executed as the runtime does, with a host that records what they call.

use std::path::PathBuf;
use std::sync::Mutex;

use async_trait::async_trait;
use greenroom_actors::execution::host_calls::{HostCall, HostReply};
use greenroom_actors::handler::File;
use greenroom_definitions::Agent;
use greenroom_protocol::{Cause, ErrorCode, Json, Values};
use serde_json::json;
use tokio::sync::oneshot;

use super::host_port::Host;
use super::test_components::Behavior;
use super::{EpochTicker, Executor, WasmSettings};

mod files;
mod host_calls;
mod limits;

/// A host that records the calls of a component.
#[derive(Default)]
pub(super) struct RecordingHost {
    calls: Mutex<Vec<(HostCall, u32)>>,
    /// What each call fails with; `None` for a reply.
    denial: Option<Cause>,
}

impl RecordingHost {
    fn with_denial(denial: Cause) -> Self {
        Self { denial: Some(denial), ..Self::default() }
    }

    fn calls(&self) -> Vec<(HostCall, u32)> {
        self.calls.lock().unwrap().clone()
    }
}

#[async_trait]
impl Host for RecordingHost {
    async fn call(&self, call: HostCall, number: u32) -> Result<HostReply, Cause> {
        // A real host waits, so the component must be suspended meanwhile.
        tokio::task::yield_now().await;
        self.calls.lock().unwrap().push((call.clone(), number));
        if let Some(denial) = &self.denial {
            return Err(denial.clone());
        }
        Ok(match call {
            HostCall::CallAgent { agent, inputs } => HostReply::Json(json!({ "agent": agent, "inputs": inputs })),
            HostCall::ReadContext { key } => HostReply::Json(json!({ "key": key })),
            HostCall::WriteContext { .. } | HostCall::Log { .. } => HostReply::Json(Json::Null),
            HostCall::OpenArtifact { artifact } => HostReply::File(File {
                bytes: json!({ "content": artifact }).to_string().into_bytes().into(),
                name: "a.json".to_owned(),
                media_type: "application/json".to_owned(),
            }),
            HostCall::StoreArtifact { name, media_type, bytes } => {
                HostReply::Json(json!({ "name": name, "media_type": media_type, "bytes": bytes.len() }))
            }
        })
    }
}

/// The thread of the ticker, which ends with this.
struct TickerThread {
    _stop: oneshot::Sender<()>,
}

impl TickerThread {
    fn start(ticker: EpochTicker) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = ticker.run() => {}
                    _ = stopped => {}
                }
            });
        });
        Self { _stop: stop }
    }
}

/// A folder of components and what executes them.
pub(super) struct Fixture {
    folder: tempfile::TempDir,
    executor: Executor,
    _ticker: TickerThread,
}

impl Fixture {
    /// A folder with a component of each behaviour, called `0.wasm`, `1.wasm`, ….
    pub(super) fn new(behaviors: &[Behavior<'_>]) -> Self {
        Self::with_settings(behaviors, |settings| settings)
    }

    fn with_settings(behaviors: &[Behavior<'_>], change: impl FnOnce(WasmSettings) -> WasmSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let components = PathBuf::from(folder.path());
        let settings = WasmSettings { components, cache: None, memory_mib: 1_024, fuel_per_second: 20_000_000 };
        let (executor, ticker) = Executor::open(change(settings)).unwrap();
        let fixture = Self { folder, executor, _ticker: TickerThread::start(ticker) };
        for (number, behavior) in behaviors.iter().enumerate() {
            fixture.write(&format!("{number}.wasm"), behavior.component().unwrap());
        }
        fixture
    }

    /// Puts a file in the position of another one, as a deployment does.
    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let temporary = self.folder.path().join("temporary");
        std::fs::write(&temporary, bytes).unwrap();
        std::fs::rename(temporary, self.folder.path().join(name)).unwrap();
    }

    /// Executes the component with this name for an agent with a timeout of a second and 16 MiB.
    async fn execute(&self, name: &str, inputs: Json, host: &dyn Host) -> Result<Json, Cause> {
        let (agent, inputs, context) = (agent(name, json!({})), values(inputs), values(json!({ "quarter": "Q4" })));
        let outputs = self.executor.execute(&agent, (&inputs, &context), host).await?;
        Ok(outputs.into_iter().collect())
    }

    /// Executes the first component with these inputs, and returns the cause that it fails with.
    async fn failure(&self, inputs: Json) -> Cause {
        self.execute("0.wasm", inputs, &RecordingHost::default()).await.unwrap_err()
    }
}

/// An agent with this handler, and these members of its implementation.
fn agent(handler: &str, more: Json) -> Agent {
    let mut implementation = json!({ "runtime": "wasm", "handler": handler, "timeout": 1, "memory": 16 });
    let (members, more) = (implementation.as_object_mut().unwrap(), more.as_object().unwrap().clone());
    members.extend(more);
    let spec = json!({
        "agent_id": "a", "name": "A", "category": "c", "description": "d", "version": "1",
        "outputs": [{ "name": "out", "type": "object" }], "implementation": implementation
    });
    Agent::new(serde_json::from_value(spec).unwrap()).unwrap()
}

fn values(object: Json) -> Values {
    serde_json::from_value(object).unwrap()
}

#[tokio::test]
async fn inputs_and_context_are_texts_of_json_and_so_are_outputs() {
    let fixture = Fixture::new(&[Behavior::Echo, Behavior::EchoContext, Behavior::Return(r#"{"a":[1,null]}"#)]);
    let host = RecordingHost::default();
    let inputs = json!({ "text": "Grüße ✓", "rows": [1, 2.5, { "nested": null }] });
    assert_eq!(fixture.execute("0.wasm", inputs.clone(), &host).await.unwrap(), inputs);
    assert_eq!(fixture.execute("1.wasm", inputs.clone(), &host).await.unwrap(), json!({ "quarter": "Q4" }));
    assert_eq!(fixture.execute("2.wasm", inputs, &host).await.unwrap(), json!({ "a": [1, null] }));
    let large = json!({ "text": "x".repeat(1_000_000) });
    assert_eq!(fixture.execute("0.wasm", large.clone(), &host).await.unwrap(), large);
    assert!(host.calls().is_empty());
}

#[tokio::test]
async fn a_result_that_is_no_object_is_an_invalid_output() {
    for (text, problem) in [
        ("", "EOF while parsing a value"),
        ("[]", "invalid type"),
        ("{\"a\":1} tail", "trailing characters"),
        ("Done. Here is the result.", "expected value"),
    ] {
        let cause = Fixture::new(&[Behavior::Return(text)]).failure(json!({})).await;
        assert_eq!(cause.code, ErrorCode::InvalidOutput, "{text}");
        assert!(cause.message.contains(problem), "{cause}");
    }
}

#[tokio::test]
async fn a_result_with_more_values_than_the_host_has_memory_for_is_not_parsed() {
    let many = json!({ "a": vec![0; crate::json_bounds::VALUES_MAX + 1] });
    let cause = Fixture::new(&[Behavior::Echo]).failure(many).await;
    assert_eq!(cause.code, ErrorCode::InvalidOutput, "{cause}");
    assert!(cause.message.contains("more than 1000000 values"), "{cause}");
}

#[tokio::test]
async fn a_component_has_no_variable_no_argument_and_no_folder() {
    let fixture = Fixture::new(&[]);
    fixture.write(
        "authority.wasm",
        super::test_components::component_from_text(super::test_components::AUTHORITY).unwrap(),
    );
    let found = fixture.execute("authority.wasm", json!({}), &RecordingHost::default()).await.unwrap();
    assert_eq!(found, json!({ "found": 0 }));
}

#[tokio::test]
async fn each_execution_begins_with_a_memory_of_its_own() {
    // The allocator never frees: in one memory, the executions would not fit into 16 MiB.
    let fixture = Fixture::new(&[Behavior::Echo]);
    let inputs = json!({ "text": "x".repeat(1 << 20) });
    for _ in 0..20 {
        assert_eq!(fixture.execute("0.wasm", inputs.clone(), &RecordingHost::default()).await.unwrap(), inputs);
    }
}

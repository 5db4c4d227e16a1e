//! The real binary with servers that have OpenAI's API and habits of their own: how their streams are framed, what
//! models write into them, what they count, and when they may be called again.

mod answers;
mod costs;
mod retries;
mod tool_calls;

use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{RecordedRequest, ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::CommandOutput;
use serde_json::{Value, json};

const AGENT: &str = "llm_agent";
const DONE: &str = "data: [DONE]\n\n";

/// One event.
fn data(document: &Value) -> String {
    format!("data: {document}\n\n")
}

/// A chunk with this delta and this stop reason.
fn chunk(delta: &Value, reason: &Value) -> Value {
    json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }] })
}

/// The events of a text, without a count and without a mark of the end.
fn text(text: &str) -> String {
    data(&chunk(&json!({ "content": text }), &Value::Null)) + &data(&chunk(&json!({}), &json!("stop")))
}

/// The event of a count.
fn usage(input: i64, output: i64) -> String {
    data(&json!({ "choices": [], "usage": { "prompt_tokens": input, "completion_tokens": output } }))
}

/// A call of the agent, and what the server received.
struct CallOutcome {
    fixture: ModelFixture,
    output: CommandOutput,
    reply: Value,
    requests: Vec<RecordedRequest>,
}

impl CallOutcome {
    /// The content of the message with the first tool's result.
    fn tool_result(&self) -> &str {
        let messages = self.requests.last().and_then(|request| request.body["messages"].as_array()).expect("messages");
        let result = messages.iter().find(|message| message["role"] == "tool").expect("a result");
        result["content"].as_str().expect("a text")
    }

    /// The document of `greenroom costs`.
    async fn costs(&self) -> Value {
        self.fixture.terminal.run(&["costs"]).await.expect("an end").expect_success().expect("the costs")
    }

    #[track_caller]
    fn expect_text(&self, text: &str) {
        assert_eq!(self.output.code, 0, "{:?}", self.output);
        assert_eq!(self.reply["outputs"]["text"], text, "{:#}", self.reply);
    }
}

/// Calls an agent with these further members; the server behaves as `script` decides.
async fn call_agent(
    members: &str,
    script: impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync + 'static,
) -> CallOutcome {
    let server = ScriptServer::start(script).await.expect("a server");
    let fixture = ModelFixture::with_openai(server.url()).expect("a fixture");
    fixture.write_llm_agent_with(AGENT, 60, 1_000, members).expect("a file");
    let output = fixture.terminal.run(&["run", "agent", AGENT, "--input", "text=hello"]).await.expect("an end");
    let reply = output.json().expect("a reply");
    CallOutcome { fixture, output, reply, requests: server.requests() }
}

/// Calls an agent whose server always streams these events.
async fn call_with_events(events: String) -> CallOutcome {
    call_agent("", move |_| ServerBehavior::Events(events.clone())).await
}

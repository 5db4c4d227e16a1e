//! Tool calls as servers number them and as models fill them in.

use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use serde_json::{Value, json};

use super::{AGENT, CallOutcome, DONE, call_agent, chunk, data, usage};

/// Calls an agent with a calculator; the first answer calls a tool by this entry, and the second one is good.
async fn call_tool(entry: &Value, tail: &str) -> CallOutcome {
    let events = data(&chunk(&json!({ "tool_calls": [entry] }), &Value::Null))
        + &data(&chunk(&json!({}), &json!("tool_calls")))
        + tail;
    call_agent("tools: [\"native:calculator\"]\n", move |request| {
        if request.number == 0 { ServerBehavior::Events(events.clone()) } else { ServerBehavior::Good }
    })
    .await
}

fn entry(members: Value, arguments: &Value) -> Value {
    let mut entry = json!({ "type": "function", "function": { "name": "calculator", "arguments": arguments } });
    if let (Some(all), Value::Object(members)) = (entry.as_object_mut(), members) {
        all.extend(members);
    }
    entry
}

fn sum() -> Value {
    json!(json!({ "expression": "2 + 3" }).to_string())
}

#[tokio::test]
async fn a_tool_call_without_an_index_is_a_tool_call() {
    for members in [json!({ "id": "call_1" }), json!({}), json!({ "index": 0, "id": "call_1" })] {
        let outcome = call_tool(&entry(members, &sum()), &(usage(1_000, 20) + DONE)).await;
        outcome.expect_text("done");
        assert_eq!((outcome.requests.len(), outcome.tool_result()), (2, "{\"result\":5.0}"));
    }
}

#[tokio::test]
async fn arguments_are_used_or_received_by_the_tool_as_what_they_are() {
    let object = json!({ "expression": "2 + 3" });
    for (arguments, result) in [
        (object.clone(), "{\"result\":5.0}"),
        (json!(sum().to_string()), "{\"result\":5.0}"),
        (json!(""), "the argument `expression` (text) is missing"),
        (json!("null"), "the argument `expression` (text) is missing"),
        (json!("[]"), "one JSON object with the argument `expression`, not a list"),
        (json!("2 + 3"), "not a text that is no JSON object"),
        (json!({ "expression": 5 }), "the argument `expression` must be a text, not a number"),
    ] {
        let outcome = call_tool(&entry(json!({ "index": 0, "id": "call_1" }), &arguments), DONE).await;
        outcome.expect_text("done");
        assert_eq!(outcome.requests.len(), 2, "the result says what is wrong, and the model continues");
        assert!(outcome.tool_result().contains(result), "{arguments}: {}", outcome.tool_result());
        let call = &outcome.requests[1].body["messages"][2]["tool_calls"][0]["function"]["arguments"];
        let sent: Value = serde_json::from_str(call.as_str().expect("a text")).expect("JSON");
        assert!(sent.is_object(), "a server may parse the arguments of the history: {sent}");
    }
}

#[tokio::test]
async fn a_whole_tool_call_needs_no_mark_of_the_end() {
    let outcome = call_tool(&entry(json!({ "index": 0, "id": "call_1" }), &sum()), "").await;
    outcome.expect_text("done");
    assert_eq!((outcome.requests.len(), outcome.tool_result()), (2, "{\"result\":5.0}"));
}

#[tokio::test]
async fn an_agent_with_an_array_is_a_tool_that_every_server_takes() {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await.expect("a server");
    let fixture = ModelFixture::with_openai(server.url()).expect("a fixture");
    let members = "tools: [\"agent:tagger\"]\ncollaboration: { can_work_with: [tagger] }\n";
    fixture.write_llm_agent_with(AGENT, 60, 1_000, members).expect("a file");
    let tagger = "agent_id: tagger\nname: tagger\ncategory: business_ops\ndescription: Returns tags\nversion: \"1.0.0\"\n\
                  inputs:\n  - { name: tags, type: array, required: true }\noutputs:\n  - { name: tags, type: array }\n\
                  implementation: { runtime: native, handler: native.echo, timeout: 10 }\n";
    let file = fixture.definitions.dir().join("agents/business_ops/tagger.yaml");
    std::fs::write(file, tagger).expect("a file");
    let output = fixture.terminal.run(&["run", "agent", AGENT, "--input", "text=hello"]).await.expect("an end");
    output.expect_success().expect("a reply");
    let parameters = &server.requests()[0].body["tools"][0]["function"]["parameters"];
    assert_eq!(parameters["properties"]["tags"]["items"], json!({}), "{parameters:#}");
}

//! Answers as servers frame them and as models write them.

use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::wait::wait_until;
use serde_json::{Value, json};

use super::{AGENT, DONE, call_agent, call_with_events, chunk, data, text, usage};

const GOOD: &str = "{\"text\": \"done\"}";

#[tokio::test]
async fn an_empty_error_in_every_chunk_is_no_error() {
    let blank = |mut document: Value| {
        document["error"] = Value::Null;
        data(&document)
    };
    let events = blank(chunk(&json!({ "content": GOOD }), &Value::Null))
        + &blank(chunk(&json!({}), &json!("stop")))
        + &usage(1_000, 20)
        + DONE;
    let outcome = call_with_events(events).await;
    outcome.expect_text("done");
    assert_eq!(outcome.requests.len(), 1);
}

#[tokio::test]
async fn an_error_within_a_stream_ends_the_call_and_costs_nothing() {
    let error = json!({ "error": { "code": 400, "type": "exceed_context_size_error", "n_ctx": 4096,
        "n_prompt_tokens": 5210, "message": "the request exceeds the available context size, try increasing it" } });
    let outcome = call_with_events(data(&error) + DONE).await;
    let reported = &outcome.reply["error"];
    assert_eq!(reported["code"], "context_overflow", "{reported:#}");
    let details = &reported["details"];
    assert_eq!((&details["tokens_requested"], &details["tokens_max"]), (&json!(5_210), &json!(4_096)));
    assert_eq!(outcome.requests.len(), 1);
    assert_eq!(outcome.costs().await["total_micro_usd"], 0);
}

#[tokio::test]
async fn the_one_object_is_taken_at_the_first_answer() {
    for answer in [
        format!("Here is the JSON that you asked for:\n\n```json\n{GOOD}\n```\n"),
        format!("```JSON\n{GOOD}\n```"),
        format!("```json\n{GOOD}\n```\n\nTell me if you want it shorter."),
        format!("<think>\nThe user wants {{\"text\": \"draft\"}}? No, a whole one.\n</think>\n\n{GOOD}"),
        "{\"text\": \"done\", \"note\": \"cut \\ud83d here\"}".to_owned(),
    ] {
        let scripted = answer.clone();
        let outcome = call_agent("", move |_| ServerBehavior::Text(scripted.clone())).await;
        outcome.expect_text("done");
        assert_eq!(outcome.requests.len(), 1, "{answer}");
    }
}

#[tokio::test]
async fn a_repair_describes_the_object_to_a_server_that_ignores_the_schema() {
    let outcome = call_agent("", |request| {
        let messages = request.body["messages"].to_string();
        if messages.contains("text: text") { ServerBehavior::Good } else { ServerBehavior::Text("Prose.".to_owned()) }
    })
    .await;
    outcome.expect_text("done");
    assert_eq!(outcome.requests.len(), 2);
    let outcome = call_agent("", |_| ServerBehavior::Text("Prose, always.".to_owned())).await;
    let message = outcome.reply["error"]["message"].as_str().expect("a message");
    assert!(message.contains("response_format"), "the server is suspected: {message}");
}

#[tokio::test]
async fn a_stream_needs_no_mark_of_its_end_and_a_server_need_not_stream() {
    let document = json!({ "object": "chat.completion", "usage": { "prompt_tokens": 1000, "completion_tokens": 20 },
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": GOOD }, "finish_reason": "stop" }] });
    let whole = document.to_string();
    let outcome = call_agent("", move |_| ServerBehavior::Body("200 OK", whole.clone())).await;
    outcome.expect_text("done");
    for events in [text(GOOD), text(GOOD) + &usage(1_000, 20)] {
        let outcome = call_with_events(events).await;
        outcome.expect_text("done");
        assert_eq!(outcome.requests.len(), 1);
    }
}

#[tokio::test]
async fn characters_that_are_hard_to_store_are_stored_unchanged() {
    let piece = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let events = piece("{\\\"text\\\": \\\"Up \\ud83d")
        + &piece("\\udcc8 \\\\u0000 end\\\"}")
        + &data(&chunk(&json!({}), &json!("stop")))
        + &usage(1_000, 20)
        + DONE;
    let server = ScriptServer::start(move |_| ServerBehavior::Events(events.clone())).await.expect("a server");
    let fixture = ModelFixture::with_openai(server.url()).expect("a fixture");
    fixture.write_llm_agent(AGENT, 60, 1_000).expect("a file");
    fixture.definitions.write_row_workflow("two_steps", AGENT, 2).expect("a workflow");
    let run = ["run", "workflow", "two_steps", "--input", "text=hello"];
    let reply = fixture.terminal.run(&run).await.expect("an end").expect_success().expect("a reply");
    assert_eq!(reply["outputs"]["final_output"], "Up 📈 \u{0} end");
    let id = reply["id"].as_str().expect("an id");
    let output = fixture.terminal.run(&["runs", "show", id]).await.expect("an end").expect_success().expect("a run");
    assert_eq!(output["reply"]["outputs"], reply["outputs"]);
    for words in [["audit", "verify"], ["db", "check"]] {
        fixture.terminal.run(&words).await.expect("an end").expect_success().expect("it is sound");
    }
}

#[tokio::test]
async fn a_run_with_such_characters_resumes_after_a_crash() {
    let script = |request: &greenroom_integration_tests::script_server::RecordedRequest| match request.number {
        0 => ServerBehavior::Text("{\"text\": \"a \\u0000 b\"}".to_owned()),
        1 => ServerBehavior::Silence,
        _ => ServerBehavior::Good,
    };
    let server = ScriptServer::start(script).await.expect("a server");
    let fixture = ModelFixture::with_openai(server.url()).expect("a fixture");
    fixture.write_llm_agent(AGENT, 60, 1_000).expect("a file");
    fixture.definitions.write_row_workflow("two_steps", AGENT, 2).expect("a workflow");
    let process = fixture.terminal.start(&["run", "workflow", "two_steps", "--input", "text=hello"]).expect("a run");
    let bound = std::time::Duration::from_secs(60);
    let is_in_second_step = || async { (server.count() == 2).then_some(()) };
    wait_until("the second step", bound, is_in_second_step).await.expect("a call");
    drop(process);
    let resumed = fixture.terminal.run(&["runs", "resume"]).await.expect("an end").expect_success().expect("a report");
    assert_eq!((&resumed["resumed"], &resumed["runs"][0]["status"]), (&json!(1), &json!("success")), "{resumed:#}");
    let users: Vec<String> = server.requests().iter().map(|request| request.body["messages"][1].to_string()).collect();
    assert_eq!(users.len(), 3, "{users:?}");
    assert_eq!((users[1].contains("\\u0000"), &users[1]), (true, &users[2]), "the recorded text is sent again");
    fixture.terminal.run(&["audit", "verify"]).await.expect("an end").expect_success().expect("it holds");
}

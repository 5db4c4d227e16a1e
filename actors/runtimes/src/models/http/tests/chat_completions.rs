//! The habits of servers that have OpenAI's API, over real sockets.

use std::time::Duration;

use greenroom_actors::model::{ModelError, StopReason};
use greenroom_definitions::models::TokenCounts;
use greenroom_protocol::Tokens;
use serde_json::{Value, json};

use super::server::{Server, head, status};
use crate::model_server::Step;
use crate::models::test_calls::{Call, CollectedAnswer};

const DONE: &str = "data: [DONE]\n\n";

fn data(document: &Value) -> String {
    format!("data: {document}\n\n")
}

fn chunk(delta: Value, reason: Value) -> Value {
    json!({ "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }] })
}

fn text(text: &str) -> String {
    data(&chunk(json!({ "content": text }), Value::Null))
}

fn stop(reason: &str) -> String {
    data(&chunk(json!({}), json!(reason)))
}

fn usage(input: i64, output: i64) -> String {
    data(&json!({ "choices": [], "usage": { "prompt_tokens": input, "completion_tokens": output } }))
}

/// Calls a server that streams these events.
async fn stream(events: &str) -> CollectedAnswer {
    steps(vec![head(), Step::Send(events.to_owned())]).await
}

async fn steps(steps: Vec<Step>) -> CollectedAnswer {
    let server = Server::start(vec![steps]).await;
    Call::new("openai.test-model", "", "hello").send(&*server.provider("openai")).await
}

fn tool_call(entry: &Value) -> String {
    data(&chunk(json!({ "tool_calls": [entry] }), Value::Null)) + &stop("tool_calls")
}

#[tokio::test]
async fn tool_calls_are_read_however_they_are_numbered() {
    let function = json!({ "name": "calculator", "arguments": "{\"expression\": \"2 + 3\"}" });
    let expected = ("calculator".to_owned(), json!({ "expression": "2 + 3" }));
    for entry in [
        json!({ "id": "call_1", "type": "function", "function": function }),
        json!({ "type": "function", "function": function }),
        json!({ "index": 0, "id": "call_1", "function": function }),
    ] {
        let answer = stream(&(tool_call(&entry) + &usage(10, 2) + DONE)).await;
        assert_eq!(answer.tools, std::slice::from_ref(&expected), "{entry}");
        assert_eq!((answer.stop, answer.error), (Some(StopReason::Tools), None));
    }
    let both = ["a", "b"].map(|id| json!({ "index": 0, "id": id, "function": function }));
    let events = data(&chunk(json!({ "tool_calls": [both[0]] }), Value::Null)) + &tool_call(&both[1]) + DONE;
    assert_eq!(stream(&events).await.tools.len(), 2, "all with index 0");
}

#[tokio::test]
async fn the_tool_receives_arguments_as_what_they_are() {
    let object = json!({ "expression": "2 + 3" });
    for (sent, expected) in [
        (object.clone(), object.clone()),
        (json!(json!(object.to_string()).to_string()), object.clone()),
        (json!(""), Value::Null),
        (json!("null"), Value::Null),
        (json!("[]"), json!([])),
        (json!("2 + 3"), json!("2 + 3")),
    ] {
        let entry = json!({ "index": 0, "id": "a", "function": { "name": "calculator", "arguments": sent } });
        let answer = stream(&(tool_call(&entry) + DONE)).await;
        assert_eq!(answer.tools, [("calculator".to_owned(), expected)], "{entry}");
    }
}

#[tokio::test]
async fn empty_members_of_every_chunk_mean_nothing() {
    let with_blanks = |mut document: Value| {
        for (name, value) in [("error", Value::Null), ("usage", Value::Null), ("warnings", json!([]))] {
            document[name] = value;
        }
        data(&document)
    };
    let events = with_blanks(chunk(json!({ "content": "a", "tool_calls": null }), json!("")))
        + &with_blanks(chunk(json!({}), json!("stop")))
        + &usage(10, 2)
        + DONE;
    let answer = stream(&events).await;
    assert_eq!((answer.text.as_str(), answer.stop, answer.error), ("a", Some(StopReason::Complete), None));
}

#[tokio::test]
async fn an_error_within_a_stream_has_its_class() {
    let overflow = json!({ "code": 400, "type": "exceed_context_size_error", "n_ctx": 4096, "n_prompt_tokens": 5210,
        "message": "the request exceeds the available context size, try increasing it" });
    let sentence = "request (5210 tokens) exceeds the available context size (4096 tokens), try increasing it";
    for events in [
        data(&json!({ "error": overflow })) + DONE,
        format!("error: {overflow}\n\n"),
        data(&json!({ "object": "error", "message": sentence, "code": 400 })),
    ] {
        let expected = ModelError::ContextOverflow { requested: Some(5_210), limit: Some(4_096) };
        assert_eq!(stream(&events).await.error, Some(expected), "{events}");
    }
    let answer = stream(&(text("half") + &data(&json!({ "error": { "type": "overloaded" } })))).await;
    assert_eq!(answer.text, "half");
    assert_eq!(answer.error, Some(ModelError::Overloaded { status: 529, retry_after: None }));
}

#[tokio::test]
async fn a_stop_reason_is_the_end_whatever_follows() {
    let function = json!({ "name": "calculator", "arguments": "{}" });
    for (events, reason) in [
        (text("a") + &stop("stop"), StopReason::Complete),
        (tool_call(&json!({ "id": "x", "function": function })), StopReason::Tools),
        (text("a") + &stop("stop") + "data: [DO", StopReason::Complete),
    ] {
        for last in [Step::Wait(Duration::ZERO), Step::Silence] {
            let mut call = Call::new("openai.test-model", "", "hello");
            call.timeouts.idle = Duration::from_millis(200);
            let server = Server::start(vec![vec![head(), Step::Send(events.clone()), last]]).await;
            let answer = call.send(&*server.provider("openai")).await;
            assert_eq!((answer.stop, answer.error), (Some(reason.clone()), None), "{events}");
        }
    }
    let answer = stream(&text("a")).await;
    assert!(matches!(answer.error, Some(ModelError::MalformedResponse { .. })), "{answer:?}");
}

#[tokio::test]
async fn one_document_instead_of_a_stream_is_an_answer() {
    let document = json!({ "object": "chat.completion", "usage": { "prompt_tokens": 10, "completion_tokens": 2 },
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": "whole" }, "finish_reason": "stop" }] });
    let answer = steps(status("200 OK", "", &format!("{document:#}"))).await;
    let counted = (answer.usage, answer.stop, answer.error);
    assert_eq!(answer.text, "whole");
    assert_eq!(counted, (Some(Tokens { input: 10, output: 2 }), Some(StopReason::Complete), None));
    let error = json!([{ "error": { "code": 503, "message": "busy", "status": "UNAVAILABLE" } }]);
    let answer = steps(status("200 OK", "", &error.to_string())).await;
    assert_eq!(answer.error, Some(ModelError::Overloaded { status: 503, retry_after: None }));
}

#[tokio::test]
async fn a_character_that_is_cut_over_two_chunks_is_whole() {
    let piece = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let events = piece("Up \\ud83d") + &piece("\\udcc8 and \\ud83d") + &piece("on \\u0000") + &stop("stop") + DONE;
    let answer = stream(&events).await;
    assert_eq!((answer.text.as_str(), answer.error), ("Up 📈 and \u{fffd}on \u{0}", None));
}

#[tokio::test]
async fn the_credible_count_is_reported() {
    let answer_with = |counts: String| text("a") + &stop("stop") + &counts + DONE;
    let right = Some(Tokens { input: 1_000, output: 200 });
    for (counts, expected) in [
        (usage(1_000, 200), right),
        (usage(1_000, 200) + &usage(0, 0), right),
        (usage(1_000, 1) + &usage(1_000, 200) + &usage(1_000, 0), right),
        (usage(0, 0), Some(Tokens::default())),
        (usage(1_000, -5), None),
        (String::new(), None),
    ] {
        assert_eq!(stream(&answer_with(counts.clone())).await.usage, expected, "{counts}");
    }
    let in_the_last_chunk = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 1000, "completion_tokens": 200,
            "prompt_tokens_details": { "cached_tokens": 300 }, "completion_tokens_details": { "reasoning_tokens": 50 } } });
    let answer = stream(&(text("a") + &data(&in_the_last_chunk) + &usage(0, 0) + DONE)).await;
    let expected = TokenCounts { input: 1_000, output: 200, cache_read: 300, cache_write: 0, reasoning: 50 };
    assert_eq!(answer.counts, expected);
    let half = stream(&(text("a") + &usage(1_000, 1))).await;
    assert_eq!((half.usage, half.error.is_some()), (None, true), "the count of half an answer is not complete");
}

#[tokio::test]
async fn reasoning_is_written_but_no_part_of_the_answer() {
    let thought = data(&chunk(json!({ "reasoning_content": "hm" }), Value::Null));
    let answer = stream(&(thought + &text("a") + &stop("stop") + DONE)).await;
    assert!(answer.has_reasoning && answer.text == "a", "{answer:?}");
}

#[tokio::test]
async fn comments_do_not_count_as_an_answer() {
    let mut call = Call::new("openai.test-model", "", "hello");
    call.timeouts.first_token = Duration::from_millis(400);
    let mut all = vec![head()];
    for _ in 0..20 {
        all.extend([Step::Send(": processing\n\n".to_owned()), Step::Wait(Duration::from_millis(100))]);
    }
    let server = Server::start(vec![all]).await;
    let answer = call.send(&*server.provider("openai")).await;
    let phase = greenroom_actors::model::CallPhase::FirstToken;
    assert_eq!(answer.error, Some(ModelError::TimedOut { phase }));
}

#[tokio::test]
async fn a_page_is_a_rejection_and_a_stream_with_its_media_type_is_an_answer() {
    let respond = |body: &str| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: Text/HTML; charset=utf-8\r\nconnection: close\r\n\r\n";
        steps(vec![Step::Send(head.to_owned()), Step::Send(body.to_owned())])
    };
    for body in ["<!doctype html><html><body>Welcome</body></html>\n", ""] {
        let answer = respond(body).await;
        let is_rejection = matches!(&answer.error, Some(ModelError::Rejected { status: 200, message })
            if message.contains("text/html"));
        assert!(is_rejection, "{body}: {answer:?}");
    }
    let answer = respond(&(text("a") + &stop("stop") + DONE)).await;
    assert_eq!((answer.text.as_str(), answer.error), ("a", None));
}

#[tokio::test]
async fn a_text_instead_of_an_answer_is_a_rejection_with_its_words() {
    let respond = |media_type: &str, body: &str| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\nconnection: close\r\n\r\n");
        steps(vec![Step::Send(head), Step::Send(body.to_owned())])
    };
    let words = "Internal error: upstream timed out";
    let answer = respond("text/plain", words).await;
    let is_rejection = matches!(&answer.error, Some(ModelError::Rejected { status: 200, message })
        if message.ends_with(words));
    assert!(is_rejection, "{answer:?}");
    let answer = respond("text/event-stream", words).await;
    let has_words =
        matches!(&answer.error, Some(ModelError::MalformedResponse { message }) if message.ends_with(words));
    assert!(has_words, "{answer:?}");
    let answer = respond("text/plain", &(text("a") + &stop("stop") + DONE)).await;
    assert_eq!((answer.text.as_str(), answer.error), ("a", None));
    let broken = respond("text/plain", &text("a")).await;
    assert!(matches!(broken.error, Some(ModelError::MalformedResponse { .. })), "{broken:?}");
}

#[tokio::test]
async fn a_document_of_something_else_is_a_rejection_at_once() {
    for (body, words) in [
        ("{\"message\": \"No such deployment\"}", "No such deployment"),
        ("{\"status\": \"error\", \"msg\": \"out of order\"}", "out of order"),
        ("{}", "choices"),
    ] {
        for events in [false, true] {
            let answer = if events {
                stream(&format!("data: {body}\n\n{DONE}")).await
            } else {
                steps(status("200 OK", "", body)).await
            };
            let is_rejection = matches!(&answer.error, Some(ModelError::Rejected { status: 200, message })
                if message.contains(words));
            assert!(is_rejection && answer.stop.is_none(), "{body} {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_document_without_a_reason_is_a_whole_answer() {
    let document = json!({ "object": "chat.completion", "choices": [{ "message": { "content": "whole" } }] });
    for answer in [steps(status("200 OK", "", &document.to_string())).await, stream(&data(&document)).await] {
        assert_eq!((answer.text.as_str(), answer.stop, answer.error), ("whole", Some(StopReason::Complete), None));
    }
    let mut cut = document.to_string();
    cut.truncate(cut.len() - 4);
    let answer = steps(status("200 OK", "", &cut)).await;
    assert!(matches!(answer.error, Some(ModelError::MalformedResponse { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_compressed_answer_is_named() {
    for line in ["200 OK", "500 Internal Server Error"] {
        let answer = steps(status(line, "content-encoding: GZip\r\n", "\u{1f}binary")).await;
        let Some(ModelError::MalformedResponse { message } | ModelError::Failed { message, .. }) = &answer.error else {
            panic!("{answer:?}")
        };
        assert!(message.contains("compressed (gzip)"), "{message}");
    }
}

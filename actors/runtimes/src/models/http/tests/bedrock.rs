//! Amazon Bedrock, whose answers are binary frames (`application/vnd.amazon.eventstream`).

use greenroom_actors::model::{ModelError, StopReason};
use greenroom_protocol::{Json, Tokens};
use serde_json::json;

use super::server::{KEY, Server, status};
use crate::model_server::Step;
use crate::models::test_calls::{Call, CollectedAnswer};

const MODEL: &str = "bedrock_api.anthropic.claude-test-v1:0";

/// One frame: lengths, their checksum, headers, the payload, the checksum of all.
/// <https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html>
fn frame(kind: &str, payload: &Json) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in [(":message-type", "event"), (":event-type", kind)] {
        headers.push(u8::try_from(name.len()).unwrap());
        headers.extend_from_slice(name.as_bytes());
        // 7 is the type of a text.
        headers.push(7);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let payload = payload.to_string();
    let length = 12 + headers.len() + payload.len() + 4;
    let mut frame = u32::try_from(length).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(&headers);
    frame.extend_from_slice(payload.as_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
}

fn text(piece: &str) -> Vec<u8> {
    let delta = frame("contentBlockDelta", &json!({ "contentBlockIndex": 0, "delta": { "text": piece } }));
    [frame("messageStart", &json!({ "role": "assistant" })), delta].concat()
}

fn stop(reason: &str) -> Vec<u8> {
    let closed = frame("contentBlockStop", &json!({ "contentBlockIndex": 0 }));
    [closed, frame("messageStop", &json!({ "stopReason": reason }))].concat()
}

fn usage() -> Vec<u8> {
    frame("metadata", &json!({ "usage": { "inputTokens": 25, "outputTokens": 7, "totalTokens": 32 } }))
}

async fn call(body: Vec<u8>) -> (CollectedAnswer, Server) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\nconnection: close\r\n\r\n";
    let server = Server::start(vec![vec![Step::Send(head.to_owned()), Step::Bytes(body)]]).await;
    let answer = Call::new(MODEL, "Be brief.", "hello").send(&*server.provider("bedrock_api")).await;
    (answer, server)
}

#[tokio::test]
async fn a_valid_answer_is_streamed_with_its_exact_usage() {
    let (answer, server) = call([text("hi"), stop("end_turn"), usage()].concat()).await;
    let expected = CollectedAnswer {
        text: "hi".into(),
        usage: Some(Tokens { input: 25, output: 7 }),
        counts: Tokens { input: 25, output: 7 }.into(),
        stop: Some(StopReason::Complete),
        ..CollectedAnswer::default()
    };
    assert_eq!(answer, expected);
    let request = server.requests().remove(0);
    assert_eq!(request.line, "POST /v1/model/anthropic.claude-test-v1%3A0/converse-stream HTTP/1.1");
    assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(request.body["inferenceConfig"]["maxTokens"], 4096);
    assert_eq!(request.body["system"][0]["text"], "Be brief.");
    assert_eq!(request.body["messages"][0]["content"][0]["text"], "hello");
}

#[tokio::test]
async fn each_stop_reason_is_mapped() {
    for (reason, expected) in [
        ("max_tokens", StopReason::Length),
        ("stop_sequence", StopReason::Complete),
        ("content_filtered", StopReason::Refusal),
        ("guardrail_intervened", StopReason::Refusal),
    ] {
        let (answer, _server) = call([text("half"), stop(reason), usage()].concat()).await;
        assert_eq!((answer.stop, answer.error), (Some(expected), None), "{reason}");
    }
}

/// genai synthesizes an end when the connection closes, so an incomplete answer looks complete to it.
#[tokio::test]
async fn an_answer_cut_at_any_byte_has_an_error_and_no_end() {
    let (content, end) = (text("half"), stop("end_turn"));
    for at in (0..content.len() + end.len()).step_by(13) {
        let cut = [content.clone(), end.clone()].concat()[..at].to_vec();
        let (answer, _server) = call(cut).await;
        assert!(matches!(answer.error, Some(ModelError::MalformedResponse { .. })), "{at} {answer:?}");
        assert_eq!((answer.stop, answer.usage), (None, None), "{at}");
    }
    // An answer that lacks only its usage is complete; its usage is estimated.
    let (answer, _server) = call([content, end].concat()).await;
    assert_eq!((answer.stop, answer.usage), (Some(StopReason::Complete), None));
}

#[tokio::test]
async fn a_frame_with_a_wrong_checksum_is_an_error() {
    let mut body = [text("hi"), stop("end_turn"), usage()].concat();
    body[40] ^= 1;
    let (answer, _server) = call(body).await;
    assert!(answer.error.is_some(), "{answer:?}");
    assert_eq!((answer.stop, answer.usage), (None, None));
}

#[tokio::test]
async fn the_retry_delay_of_an_overloaded_server_is_reported() {
    let steps = status("429 Too Many Requests", "retry-after: 7\r\n", "{\"message\":\"busy\"}");
    let server = Server::start(vec![steps]).await;
    let answer = Call::new(MODEL, "", "hello").send(&*server.provider("bedrock_api")).await;
    let after = Some(std::time::Duration::from_secs(7));
    assert_eq!(answer.error, Some(ModelError::Overloaded { status: 429, retry_after: after }));
}

//! Documents of every kind of server, and the deltas that they become.

use greenroom_definitions::models::TokenCounts;
use serde_json::json;

use super::*;

/// A document of a stream.
fn event(json: &Json) -> Document {
    Document { json: json.clone(), has_markers: false, is_body: false }
}

fn read(documents: &[Json]) -> Result<Vec<Delta>, ModelError> {
    let mut reader = ChunkReader::default();
    let mut deltas = VecDeque::new();
    for json in documents {
        reader.read(&event(json), &mut deltas)?;
    }
    reader.finish(false, &mut deltas)?;
    Ok(deltas.into())
}

fn text(text: &str) -> Delta {
    Delta::Text(text.to_owned())
}

#[test]
fn empty_members_have_no_meaning() {
    let chunk = |delta: Json| json!({ "error": null, "usage": null, "choices": [{ "index": 0, "finish_reason": "", "delta": delta }] });
    let calls =
        json!([null, {}, { "index": 0, "id": "", "type": "function", "function": { "name": "", "arguments": "" } }]);
    let blank =
        json!({ "content": null, "tool_calls": calls, "refusal": "", "reasoning_content": "", "function_call": null });
    let last = json!({ "choices": [{ "delta": null, "finish_reason": "stop" }], "error": {} });
    let documents = [chunk(blank), chunk(json!({ "content": "a" })), json!({ "choices": [] }), json!({}), last];
    assert_eq!(read(&documents).unwrap(), [text("a"), Delta::End(StopReason::Complete)]);
}

#[test]
fn one_document_is_an_answer() {
    let message = json!({ "role": "assistant", "content": "a", "reasoning_content": "hm",
        "tool_calls": [{ "id": "x", "function": { "name": "f", "arguments": { "a": 1 } } }] });
    let document = json!({ "object": "chat.completion", "usage": { "prompt_tokens": 5, "completion_tokens": 2 },
        "choices": [{ "index": 0, "message": message, "finish_reason": "tool_calls" }] });
    let deltas = read(&[document]).unwrap();
    assert_eq!(deltas[..2], [Delta::Reasoning, text("a")]);
    assert!(matches!(&deltas[2], Delta::Tool(call) if call.arguments == json!({ "a": 1 })));
    let counts = TokenCounts { input: 5, output: 2, ..TokenCounts::default() };
    assert_eq!(deltas[3..], [Delta::Usage(counts), Delta::End(StopReason::Tools)]);
}

#[test]
fn parts_of_a_content_are_text_or_thoughts() {
    let parts = json!([{ "type": "thinking", "thinking": [{ "type": "text", "text": "hm" }] }, { "type": "text", "text": "a" }, "b"]);
    let chunk = json!({ "choices": [{ "delta": { "content": parts }, "finish_reason": "stop" }] });
    assert_eq!(read(&[chunk]).unwrap(), [Delta::Reasoning, text("a"), text("b"), Delta::End(StopReason::Complete)]);
}

#[test]
fn a_failure_is_found_in_every_position() {
    for document in [
        json!({ "error": { "message": "boom" } }),
        json!({ "object": "error", "message": "boom" }),
        json!([{ "error": { "message": "boom" } }]),
        json!({ "choices": [{ "delta": {} }], "error": "boom" }),
        json!({ "choices": [{ "delta": {}, "finish_reason": "error", "error": { "message": "boom" } }] }),
    ] {
        let expected = ModelError::Failed { status: None, message: "boom".into() };
        assert_eq!(read(std::slice::from_ref(&document)), Err(expected), "{document}");
    }
}

#[test]
fn an_answer_without_a_reason_or_a_mark_is_not_complete() {
    let chunk = json!({ "choices": [{ "delta": { "content": "a" } }], "usage": { "prompt_tokens": 5, "completion_tokens": 1 } });
    assert_eq!(read(std::slice::from_ref(&chunk)), Err(malformed("the answer broke off")));
    assert_eq!(read(&[]), Err(malformed("the server sent no event of an answer")));
    let mut reader = ChunkReader::default();
    let mut deltas = VecDeque::new();
    reader.read(&event(&chunk), &mut deltas).unwrap();
    assert_eq!(reader.take_usage_after_failure(), None, "the count of half an answer");
    reader.finish(true, &mut deltas).unwrap();
    assert_eq!(deltas.back(), Some(&Delta::End(StopReason::Complete)));
}

#[test]
fn a_wrong_type_is_malformed() {
    for choice in [
        json!({ "delta": { "content": 5 } }),
        json!({ "delta": "x" }),
        json!({ "delta": {}, "finish_reason": 7 }),
        json!({ "delta": { "tool_calls": "x" } }),
    ] {
        let result = read(&[json!({ "choices": [choice] })]);
        assert!(matches!(result, Err(ModelError::MalformedResponse { .. })), "{result:?}");
    }
    assert!(read(&[json!({ "choices": "x" })]).is_err());
}

#[test]
fn a_text_that_is_sent_twice_is_read_once() {
    let stop = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let both = |text: &str| json!({ "choices": [{ "delta": { "content": text }, "message": { "content": text } }] });
    let expected = [text("a"), text("b"), Delta::End(StopReason::Complete)];
    assert_eq!(read(&[both("a"), both("b"), stop.clone()]).unwrap(), expected);
    let whole = json!({ "choices": [{ "delta": {}, "message": { "content": "ab" }, "finish_reason": "stop" }] });
    let piece = |text: &str| json!({ "choices": [{ "delta": { "content": text } }] });
    assert_eq!(read(&[piece("a"), piece("b"), whole.clone()]).unwrap(), expected, "the whole text at the end");
    assert_eq!(read(&[whole]).unwrap(), [text("ab"), Delta::End(StopReason::Complete)], "no text in a delta");
    let empty_first = json!({ "choices": [{ "delta": { "role": "assistant", "content": "" } }] });
    let message = json!({ "choices": [{ "message": { "content": "a" } }] });
    assert_eq!(read(&[empty_first, message, stop]).unwrap(), [text("a"), Delta::End(StopReason::Complete)]);
}

#[test]
fn a_call_that_is_sent_twice_is_made_once() {
    let function = json!({ "name": "f", "arguments": "{\"x\": 1}" });
    let calls = json!([{ "index": 0, "id": "a", "function": function }]);
    let unnumbered = json!([{ "function": function }]);
    let stop = json!({ "choices": [{ "delta": {}, "finish_reason": "tool_calls" }] });
    let delta = |delta: Json| json!({ "choices": [{ "delta": delta }] });
    for documents in [
        vec![delta(json!({ "function_call": function, "tool_calls": calls })), stop.clone()],
        vec![delta(json!({ "tool_calls": calls })), delta(json!({ "function_call": function })), stop.clone()],
        vec![delta(json!({ "function_call": function })), delta(json!({ "tool_calls": calls })), stop.clone()],
        vec![delta(json!({ "function_call": function })), stop],
        vec![
            delta(json!({ "tool_calls": calls })),
            json!({ "choices": [{ "delta": {}, "message": { "tool_calls": unnumbered }, "finish_reason": "tool_calls" }] }),
        ],
    ] {
        let deltas = read(&documents).unwrap();
        let made = deltas.iter().filter(|delta| matches!(delta, Delta::Tool(call) if call.name == "f")).count();
        assert_eq!(made, 1, "{documents:?}");
    }
}

#[test]
fn a_whole_document_needs_no_reason() {
    let usage = json!({ "prompt_tokens": 5, "completion_tokens": 2 });
    let document = |object: &str| json!({ "object": object, "choices": [{ "index": 0, "message": { "content": "a" }, "finish_reason": null }], "usage": usage });
    let counts = TokenCounts { input: 5, output: 2, ..TokenCounts::default() };
    let expected = [text("a"), Delta::Usage(counts), Delta::End(StopReason::Complete)];
    assert_eq!(read(&[document("chat.completion")]).unwrap(), expected);
    assert!(read(&[document("chat.completion.chunk")]).is_err(), "a piece of a stream");
    let mut reader = ChunkReader::default();
    let mut deltas = VecDeque::new();
    reader.read(&Document { is_body: true, ..event(&document("")) }, &mut deltas).unwrap();
    reader.finish(false, &mut deltas).unwrap();
    assert_eq!(Vec::from(deltas), expected, "a response without a stream");
}

#[test]
fn the_lowest_choice_is_read_whatever_its_index() {
    let choice = |index: Json, text: &str| json!({ "index": index, "delta": { "content": text } });
    let chunk = |choices: Json| json!({ "choices": choices });
    let stop = |index: Json| json!({ "choices": [{ "index": index, "delta": {}, "finish_reason": "stop" }] });
    let expected = [text("a"), text("b"), Delta::End(StopReason::Complete)];
    for documents in [
        [chunk(json!([choice(json!(1), "a")])), chunk(json!([choice(json!(1), "b")])), stop(json!(1))],
        [chunk(json!([choice(json!("1"), "a")])), chunk(json!([choice(json!(1.0), "b")])), stop(Json::Null)],
        [
            chunk(json!([choice(json!(1), "x"), choice(json!(0), "a")])),
            chunk(json!([choice(json!(0), "b"), choice(json!(1), "x")])),
            stop(json!(0)),
        ],
        [chunk(json!([null, choice(json!(1), "a")])), chunk(json!([choice(json!(1), "b")])), stop(json!(1))],
    ] {
        assert_eq!(read(&documents).unwrap(), expected, "{documents:?}");
    }
    let role = json!({ "choices": [{ "index": 1, "delta": { "role": "assistant" } }] });
    let documents =
        [role, chunk(json!([choice(json!(0), "a")])), chunk(json!([choice(json!(0), "b")])), stop(json!(0))];
    assert_eq!(read(&documents).unwrap(), expected, "a lower one before any text");
}

#[test]
fn a_document_of_something_else_is_a_rejection_with_its_words() {
    let rejected = |status: u16, message: &str| ModelError::Rejected { status, message: message.to_owned() };
    for (document, error) in [
        (json!({ "message": "No such deployment", "code": 404 }), rejected(404, "No such deployment")),
        (json!({ "detail": "Model overloaded" }), rejected(200, "Model overloaded")),
        (json!({ "status": "error", "msg": "insufficient balance" }), rejected(429, "insufficient balance")),
        (json!({ "status": "error", "msg": "out of memory" }), rejected(200, "out of memory")),
        (json!({ "detail": [{ "loc": ["body", "model"], "msg": "unknown" }] }), rejected(200, "body.model: unknown")),
        (json!({ "choices": null, "usage": null, "message": "gone" }), rejected(200, "gone")),
        (json!({ "error": { "code": "invalid_api_key" } }), ModelError::Unauthorized { status: 401 }),
    ] {
        assert_eq!(read(std::slice::from_ref(&document)), Err(error), "{document}");
    }
    let mut reader = ChunkReader::default();
    reader.read(&Document { is_body: true, ..event(&json!({})) }, &mut VecDeque::new()).unwrap();
    let ended = reader.finish(false, &mut VecDeque::new());
    assert!(
        matches!(&ended, Err(ModelError::Rejected { status: 200, message }) if message.contains("choices")),
        "{ended:?}"
    );
    let mut empty = ChunkReader::default();
    assert!(
        matches!(empty.finish(true, &mut VecDeque::new()), Err(ModelError::MalformedResponse { .. })),
        "only an end"
    );
}
